// Streamed attention against the whole softmax, written as the formula reads, in double.
#include <ropewalk/attention.hpp>

#include "attention_support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;
using namespace support::attention;

void run(const Attention& attention, int threads = 1, const ThreadPool* pool = nullptr) {
  // One byte from any boundary, and not one byte more than asked for.
  const std::int64_t bytes = attention_workspace(attention, threads);
  support::Pages workspace(static_cast<std::size_t>(bytes));
  std::memset(workspace.data(), 0xff, workspace.size());
  const AttentionCall call{.threads = threads, .pool = pool, .workspace = {workspace.data(), workspace.size()}};
  const auto error = check_attention(attention, call);
  ASSERT_FALSE(error) << error->line();
  attend(attention, call);
}

/// What query t of head h gets, and the log of its sum.
std::vector<double> plain(const Case& c, const Data& data, std::int64_t b, std::int64_t t, std::int64_t h,
                          double* log_sum_exp) {
  const Seen where = seen_by(c, t);
  const std::int64_t g = h / (c.heads / c.kv_heads), p = where.place, key0 = where.first_key;
  const double factor = data.scale(c, b, t);
  std::vector<double> scores;
  std::vector<std::int64_t> seen;
  for (std::int64_t j = where.begin; j < where.end; ++j) {
    double dot = 0.0;
    for (std::int64_t d = 0; d < c.dim; ++d) dot += data.q.get(b, t, h, d) * data.k.get(b, key0 + j, g, d);
    const double score = factor * dot + (c.bias ? bias_at(b, h, p, j) : 0.0);
    if (score == kNone) continue;
    scores.push_back(score);
    seen.push_back(key0 + j);
  }
  std::vector<double> out(static_cast<std::size_t>(c.values()));
  *log_sum_exp = kNone;
  if (seen.empty()) return out;
  const double top = *std::max_element(scores.begin(), scores.end());
  double total = 0.0;
  for (double& x : scores) total += x = std::exp(x - top);
  *log_sum_exp = top + std::log(total);
  for (std::size_t i = 0; i < seen.size(); ++i)
    for (std::int64_t d = 0; d < c.values(); ++d)
      out[static_cast<std::size_t>(d)] += scores[i] / total * data.v.get(b, seen[i], g, d);
  return out;
}

/// Every query of some rows and heads, or of so many that a test takes seconds.
void expect_plain(const Case& c, const Data& data, double tolerance) {
  const std::int64_t work = c.batch * c.tokens * c.heads * c.keys * c.dim;
  const std::int64_t step = std::max<std::int64_t>(1, work / 1000000);
  std::int64_t count = 0;
  for (std::int64_t b = 0; b < c.batch; ++b)
    for (std::int64_t h = 0; h < c.heads; ++h)
      for (std::int64_t t = 0; t < c.tokens; ++t) {
        if (count++ % step != 0 && t != c.tokens - 1) continue;
        double want_log = 0.0;
        const auto want = plain(c, data, b, t, h, &want_log);
        for (std::int64_t d = 0; d < c.values(); ++d)
          ASSERT_NEAR(data.out.get(b, t, h, d), want[static_cast<std::size_t>(d)], tolerance)
              << "row " << b << " token " << t << " head " << h << " channel " << d;
        const double got_log =
            static_cast<double>(data.log_sum_exp[static_cast<std::size_t>((b * c.heads + h) * c.tokens + t)]);
        if (want_log == kNone)
          ASSERT_EQ(got_log, kNone);
        else
          ASSERT_NEAR(got_log, want_log, tolerance + 1e-6 * std::abs(want_log)) << "token " << t << " head " << h;
      }
  EXPECT_TRUE(data.out.border_untouched());
}

void expect_plain(const Case& c, DType dtype, double tolerance) {
  Data data(c, dtype, dtype, dtype);
  run(data.attention);
  expect_plain(c, data, tolerance);
}

class AttentionOnTarget : public support::EveryTarget {};
ROPEWALK_ON_EVERY_TARGET(AttentionOnTarget);

TEST_P(AttentionOnTarget, EqualsThePlainSoftmaxAtEveryLength) {
  for (const std::int64_t keys : {1, 2, 63, 64, 65, 127, 128, 129, 300})
    for (const std::int64_t tokens : {1, 3, 63, 64, 65, 200})
      for (const AttentionMask mask : {AttentionMask::causal(), AttentionMask::everything()})
        expect_plain({.tokens = tokens, .keys = keys, .heads = 2, .kv_heads = 1, .mask = mask}, DType::kFloat32, 3e-6);
}

TEST_P(AttentionOnTarget, TakesEveryHeadShapeAndGroup) {
  for (const std::int64_t dim : {1, 7, 16, 20, 64, 80, 96, 128, 256})
    expect_plain({.tokens = 70, .keys = 133, .heads = 9, .kv_heads = 3, .dim = dim, .mask = AttentionMask::causal()},
                 DType::kFloat32, 5e-6);
  expect_plain({.tokens = 50, .keys = 50, .heads = 4, .kv_heads = 4, .dim = 48, .value_dim = 33}, DType::kFloat32,
               5e-6);
  expect_plain({.tokens = 1, .keys = 700, .heads = 71, .kv_heads = 1, .dim = 64, .value_dim = 80}, DType::kFloat32,
               5e-6);
  expect_plain({.tokens = 11, .keys = 40, .heads = 71, .kv_heads = 1, .dim = 64}, DType::kFloat32, 5e-6);
}

TEST_P(AttentionOnTarget, TakesLongRowsAndManyPanels) {
  expect_plain({.tokens = 1000, .keys = 1000, .heads = 9, .kv_heads = 3, .dim = 64, .mask = AttentionMask::causal()},
               DType::kFloat32, 5e-6);
  expect_plain({.tokens = 65, .keys = 1000, .heads = 3, .kv_heads = 1, .dim = 64, .mask = AttentionMask::causal()},
               DType::kFloat32, 5e-6);
}

TEST_P(AttentionOnTarget, WindowsHideWhatIsOutside) {
  constexpr std::int64_t kAll = AttentionMask::kUnlimited;
  for (const std::int64_t left : {std::int64_t{0}, std::int64_t{1}, std::int64_t{5}, std::int64_t{63}, std::int64_t{64},
                                  std::int64_t{127}, std::int64_t{129}, std::int64_t{1000}, std::int64_t{-40}, kAll})
    for (const std::int64_t right : {std::int64_t{0}, std::int64_t{1}, std::int64_t{40}, std::int64_t{128},
                                     std::int64_t{-1}, std::int64_t{-70}, std::int64_t{-1000}, kAll})
      for (const std::int64_t tokens : {2, 299, 310})
        expect_plain({.tokens = tokens, .keys = 300, .heads = 3, .kv_heads = 1, .dim = 8, .mask = {left, right}},
                     DType::kFloat32, 3e-6);
}

TEST_P(AttentionOnTarget, TheFarthestMasksDoNotOverflow) {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  for (const std::int64_t tokens : {1, 90}) {
    const Case all{.tokens = tokens, .keys = 90, .heads = 2, .kv_heads = 1};
    Data data(all, DType::kFloat32, DType::kFloat32, DType::kFloat32);
    data.attention.mask = {AttentionMask::kUnlimited - 1, AttentionMask::kUnlimited - 1};
    run(data.attention);
    expect_plain(all, data, 3e-6);
    for (const AttentionMask nothing : {AttentionMask{kLeast, 0}, AttentionMask{0, kLeast}}) {
      data.attention.mask = nothing;
      run(data.attention);
      for (std::int64_t t = 0; t < tokens; ++t) ASSERT_EQ(data.out.get(0, t, 1, 3), 0.0);
      for (const float log : data.log_sum_exp) ASSERT_EQ(log, -std::numeric_limits<float>::infinity());
    }
  }
}

// More queries than keys: the first ones stand before all keys.
TEST_P(AttentionOnTarget, AQueryThatSeesNothingGetsZeros) {
  const Case c{.tokens = 200, .keys = 30, .heads = 2, .kv_heads = 2, .mask = AttentionMask::causal()};
  Data data(c, DType::kFloat32, DType::kFloat32, DType::kFloat32);
  run(data.attention);
  expect_plain(c, data, 3e-6);
  for (std::int64_t t = 0; t < 170; ++t)
    for (std::int64_t d = 0; d < c.dim; ++d) ASSERT_EQ(data.out.get(0, t, 1, d), 0.0);
  expect_plain({.tokens = 3, .keys = 1, .heads = 2, .kv_heads = 1, .mask = AttentionMask::causal()}, DType::kFloat32,
               1e-6);
  expect_plain({.tokens = 100, .keys = 0, .heads = 2, .kv_heads = 1}, DType::kFloat32, 0.0);
  expect_plain({.tokens = 1, .keys = 0, .heads = 2, .kv_heads = 1}, DType::kFloat32, 0.0);
}

TEST_P(AttentionOnTarget, PackedSequencesSeeThemselvesOnly) {
  const std::vector<std::int64_t> queries{0, 1, 1, 64, 100, 101, 290, 300}, keys{0, 1, 1, 64, 200, 205, 394, 394};
  for (const AttentionMask mask : {AttentionMask::causal(), AttentionMask::everything(), AttentionMask{20, 3}})
    expect_plain({.tokens = 300,
                  .keys = 394,
                  .heads = 6,
                  .kv_heads = 2,
                  .dim = 24,
                  .mask = mask,
                  .query_starts = queries,
                  .key_starts = keys,
                  .temperature = true,
                  .bias = true},
                 DType::kFloat32, 5e-6);
}

TEST_P(AttentionOnTarget, APackedSequenceHasTheBitsItHasAlone) {
  const Case c{.tokens = 333,
               .keys = 333,
               .heads = 6,
               .kv_heads = 2,
               .dim = 64,
               .mask = AttentionMask::causal(),
               .query_starts = {0, 37, 333},
               .key_starts = {0, 37, 333}};
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Data packed(c, dtype, dtype, DType::kFloat32), alone(c, dtype, dtype, DType::kFloat32);
    run(packed.attention);
    Attention second = alone.attention;
    second.query_starts = second.key_starts = {};
    const auto behind = [](HeadsView x) {
      x.data = static_cast<std::byte*>(x.data) + 37 * x.token_stride * static_cast<std::int64_t>(size_of(x.dtype));
      x.tokens -= 37;
      return x;
    };
    second.q = behind(second.q), second.k = behind(second.k), second.v = behind(second.v),
    second.out = behind(second.out);
    run(second);
    for (std::int64_t t = 37; t < 333; ++t)
      for (std::int64_t d = 0; d < c.dim; ++d)
        for (std::int64_t h = 0; h < c.heads; ++h) ASSERT_EQ(packed.out.bits(0, t, h, d), alone.out.bits(0, t, h, d));
  }
}

TEST_P(AttentionOnTarget, AddsBiasAndTemperature) {
  for (const std::int64_t tokens : {1, 2, 100, 300})
    for (const AttentionMask mask : {AttentionMask::causal(), AttentionMask{33, 70}})
      expect_plain({.batch = 2,
                    .tokens = tokens,
                    .keys = 300,
                    .heads = 6,
                    .kv_heads = 2,
                    .dim = 32,
                    .mask = mask,
                    .temperature = true,
                    .bias = true},
                   DType::kFloat32, 5e-6);
  expect_plain({.tokens = 60, .keys = 60, .heads = 5, .kv_heads = 1, .bias = true, .scale = 1.0}, DType::kFloat32,
               2e-5);
}

TEST_P(AttentionOnTarget, TakesAnyStrides) {
  for (const char* order : {"bshd", "bhsd", "sbhd"})
    for (const std::int64_t tokens : {1, 90})
      for (const DType dtype : support::kDTypes)
        expect_plain({.batch = 3,
                      .tokens = tokens,
                      .keys = 90,
                      .heads = 4,
                      .kv_heads = 2,
                      .dim = 40,
                      .mask = AttentionMask::causal(),
                      .order = order,
                      .gap = 3},
                     dtype,
                     dtype == DType::kFloat32   ? 5e-6
                     : dtype == DType::kFloat16 ? 2e-3
                                                : 3e-2);
}

// Rounding q, p and the result to 8 bits; everything else is float32.
TEST_P(AttentionOnTarget, In16BitsIsWithinTheirRounding) {
  for (const std::int64_t dim : {7, 64, 128})
    for (const std::int64_t tokens : {1, 65, 500}) {
      const Case c{.tokens = tokens,
                   .keys = 500,
                   .heads = 9,
                   .kv_heads = 3,
                   .dim = dim,
                   .mask = AttentionMask::causal(),
                   .bias = tokens == 65};
      expect_plain(c, DType::kBFloat16, 2e-2);
      expect_plain(c, DType::kFloat16, 3e-3);
      Data mixed(c, DType::kFloat32, DType::kBFloat16, DType::kFloat32);
      run(mixed.attention);
      expect_plain(c, mixed, 2e-2);
    }
}

// One query attends to everything in its dtype's own exact sums, so keys in bf16 cost a rounding of the result only.
TEST_P(AttentionOnTarget, OneQueryReadsBf16Exactly) {
  const Case c{.batch = 2, .tokens = 1, .keys = 3000, .heads = 8, .kv_heads = 2, .dim = 128};
  Data data(c, DType::kFloat32, DType::kBFloat16, DType::kFloat32);
  run(data.attention);
  expect_plain(c, data, 5e-6);
}

TEST_P(AttentionOnTarget, HugeScoresDoNotOverflow) {
  for (const std::int64_t tokens : {1, 80}) {
    const Case c{
        .tokens = tokens, .keys = 80, .heads = 2, .kv_heads = 1, .mask = AttentionMask::causal(), .scale = 3e4};
    Data data(c, DType::kFloat32, DType::kFloat32, DType::kFloat32);
    run(data.attention);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t d = 0; d < c.dim; ++d) ASSERT_TRUE(std::isfinite(data.out.get(0, t, 1, d)));
    double unread = 0.0;
    // All weight is on one key, unless two are close.
    const auto want = plain(c, data, 0, tokens - 1, 0, &unread);
    for (std::int64_t d = 0; d < c.dim; ++d)
      EXPECT_NEAR(data.out.get(0, tokens - 1, 0, d), want[static_cast<std::size_t>(d)], 0.05);
  }
}

// What a query does not see, and what lies behind the last key, may be anything.
TEST_P(AttentionOnTarget, WhatIsHiddenDoesNotMatterToTheLastBit) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const std::int64_t tokens : {1, 65}) {
      const Case c{.tokens = tokens, .keys = 300, .heads = 2, .kv_heads = 1, .mask = AttentionMask::sliding(70)};
      Data data(c, dtype, dtype, DType::kFloat32), other(c, dtype, dtype, DType::kFloat32);
      run(data.attention);
      for (std::int64_t j = 0; j < 300 - tokens - 69; ++j)
        for (std::int64_t d = 0; d < c.dim; ++d)
          other.k.set_bits(0, j, 0, d, 0x7fc07fc0u), other.v.set_bits(0, j, 0, d, 0x7fc07fc0u);
      run(other.attention);
      EXPECT_TRUE(data.out.same_elements(other.out));
    }
  // A NaN in a key reaches those that see it, and no other.
  const Case c{.tokens = 100, .keys = 100, .mask = AttentionMask::causal()};
  Data data(c, DType::kFloat32, DType::kFloat32, DType::kFloat32),
      other(c, DType::kFloat32, DType::kFloat32, DType::kFloat32);
  run(data.attention);
  other.k.set_bits(0, 50, 0, 3, 0x7fc00000u);
  run(other.attention);
  for (std::int64_t t = 0; t < 100; ++t)
    for (std::int64_t d = 0; d < c.dim; ++d) {
      if (t < 50)
        ASSERT_EQ(data.out.bits(0, t, 0, d), other.out.bits(0, t, 0, d)) << t;
      else
        ASSERT_TRUE(std::isnan(other.out.get(0, t, 0, d))) << t;
    }
}

TEST_P(AttentionOnTarget, AnInfiniteScoreIsNotHidden) {
  for (const std::int64_t tokens : {1, 40}) {
    const Case c{.tokens = tokens, .keys = 40};
    Data data(c, DType::kFloat32, DType::kFloat32, DType::kFloat32);
    for (std::int64_t d = 0; d < c.dim; ++d)
      data.k.set(0, 5, 0, d, d == 0 ? std::copysign(INFINITY, data.q.get(0, 0, 0, 0)) : 0.0);
    run(data.attention);
    EXPECT_TRUE(std::isnan(data.out.get(0, 0, 0, 0)));
  }
}

TEST_P(AttentionOnTarget, ThreadsGiveTheSameBits) {
  for (const Case& c :
       {Case{.tokens = 700,
       .keys = 700,
       .heads = 6,
       .kv_heads = 2,
       .dim = 64,
       .mask = AttentionMask::causal(),
       .bias = true},
        Case{.batch = 3, .tokens = 200, .keys = 300, .heads = 2, .kv_heads = 1, .dim = 64, .mask = {40, 9}},
        Case{.tokens = 600,
        .keys = 600,
        .heads = 2,
        .kv_heads = 1,
        .dim = 64,
        .query_starts = {0, 7, 300, 301, 600},
        .key_starts = {0, 7, 300, 301, 600}},
        Case{.tokens = 1, .keys = 20000, .heads = 6, .kv_heads = 2, .dim = 64}})
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      Data one(c, dtype, dtype, DType::kFloat32);
      run(one.attention);
      for (const int threads : {2, 3, 7}) {
        Data many(c, dtype, dtype, DType::kFloat32), pooled(c, dtype, dtype, DType::kFloat32);
        run(many.attention, threads);
        EXPECT_TRUE(one.out.same_elements(many.out));
        EXPECT_EQ(std::memcmp(one.log_sum_exp.data(), many.log_sum_exp.data(), one.log_sum_exp.size() * sizeof(float)),
                  0);
        int parts = 0;
        const ThreadPool pool{run_with_threads, &parts};
        run(pooled.attention, threads, &pool);
        EXPECT_GT(parts, 1);
        EXPECT_TRUE(one.out.same_elements(pooled.out));
      }
    }
}

TEST(Attention, ItsWorkspaceDoesNotGrowWithLength) {
  const auto bytes = [](std::int64_t tokens, std::int64_t keys) {
    float x = 0.0f;
    return attention_workspace({.q = HeadsView::bshd(&x, DType::kFloat32, 1, tokens, 9, 64),
                                .k = HeadsView::bshd(&x, DType::kFloat32, 1, keys, 3, 64),
                                .v = HeadsView::bshd(&x, DType::kFloat32, 1, keys, 3, 64),
                                .out = HeadsView::bshd(&x, DType::kFloat32, 1, tokens, 9, 64),
                                .softmax_scale = 1.0},
                               2);
  };
  EXPECT_EQ(bytes(1024, 1024), bytes(1 << 20, 1 << 20));
  EXPECT_EQ(bytes(1, 1 << 15), bytes(1, 1 << 30));
  EXPECT_LT(bytes(1 << 20, 1 << 20), 4 << 20);
}

TEST(Attention, NothingToDoIsNothing) {
  const Case c{.tokens = 0, .keys = 10};
  Data data(c, DType::kFloat32, DType::kFloat32, DType::kFloat32);
  run(data.attention);
}

TEST(Attention, SaysWhatIsWrong) {
  const Case c{.batch = 2, .tokens = 10, .keys = 20, .heads = 6, .kv_heads = 2, .dim = 16, .temperature = true};
  Data data(c, DType::kFloat32, DType::kFloat32, DType::kFloat32);
  std::vector<std::byte> workspace(static_cast<std::size_t>(attention_workspace(data.attention, 1)));
  const auto line = [&](const std::function<void(Attention&, AttentionCall&)>& spoil) {
    Attention attention = data.attention;
    AttentionCall call{.workspace = workspace};
    spoil(attention, call);
    const auto error = check_attention(attention, call);
    return error ? error->line() : std::string("nothing");
  };
  EXPECT_EQ(line([](auto&, auto&) {}), "nothing");
  EXPECT_EQ(line([](auto& a, auto&) { a.k.heads = 4; }), "k.heads: want a number that divides the 6 heads of q, got 4");
  EXPECT_EQ(line([](auto& a, auto&) { a.k.heads = 0; }), "k.heads: want a number that divides the 6 heads of q, got 0");
  EXPECT_EQ(line([](auto& a, auto&) { a.k.head_dim = 15; }), "k.head_dim: want 16, got 15");
  EXPECT_EQ(line([](auto& a, auto&) { a.q.head_dim = 5000; }), "q.head_dim: want 1 to 4096, got 5000");
  EXPECT_EQ(line([](auto& a, auto&) { a.v.tokens = 19; }), "v.tokens: want 20, got 19");
  EXPECT_EQ(line([](auto& a, auto&) { a.v.dtype = DType::kFloat16; }), "v.dtype: want float32 as k, got float16");
  EXPECT_EQ(line([](auto& a, auto&) { a.v.data = nullptr; }), "v.data: want an address, got null");
  EXPECT_EQ(line([](auto& a, auto&) { a.out.head_dim = 8; }), "out.head_dim: want 16, got 8");
  EXPECT_EQ(line([](auto& a, auto&) { a.out.token_stride = 0; }),
            "out.token_stride: want a stride other than 0 on an axis of 10 that is written, got 0");
  EXPECT_EQ(line([](auto& a, auto&) { a.softmax_scale = 0.0; }),
            "softmax_scale: want a number > 0 (2^-60 to 2^60), got 0");
  EXPECT_NE(line([](auto& a, auto&) { a.softmax_scale = std::nan(""); }), "nothing");
  EXPECT_EQ(line([&](auto&, auto&) { data.temperature[13] = -1.0f; }),
            "temperature[1, 3]: want a number > 0 (2^-60 to 2^60), got -1.000000");
  data.temperature[13] = 1.0f;
  EXPECT_EQ(line([](auto&, auto& call) { call.workspace = call.workspace.first(100); }),
            "workspace.size: want at least " + std::to_string(workspace.size()) + ", got 100");
  EXPECT_NE(line([](auto&, auto& call) { call.threads = 3; }), "nothing");
  const std::vector<std::int64_t> good{0, 4, 10}, keys{0, 4, 20}, falling{0, 5, 4, 10}, four{0, 4, 4, 20},
      short_keys{0, 4, 19};
  const auto packed = [&](const std::vector<std::int64_t>& q, const std::vector<std::int64_t>& k) {
    return line([&](auto& a, auto&) {
      a.q.batch = a.k.batch = a.v.batch = a.out.batch = 1;
      a.query_starts = q, a.key_starts = k;
    });
  };
  EXPECT_EQ(packed(good, keys), "nothing");
  EXPECT_EQ(packed(good, short_keys), "key_starts[2]: want 20, got 19");
  EXPECT_EQ(packed(falling, four), "query_starts[2]: want at least 5, got 4");
  EXPECT_EQ(packed(good, four), "key_starts.size: want 3, got 4");
  EXPECT_EQ(line([&](auto& a, auto&) { a.query_starts = good, a.key_starts = keys; }), "q.batch: want 1, got 2");
}

}  // namespace
