// One softmax out of several over keys of their own, against the whole one written as the formula reads, in double.
#include <ropewalk/attention.hpp>

#include "support.hpp"

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
using support::Tensor;

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Sizes {
  std::int64_t batch = 1, tokens = 1, keys = 1, heads = 2, kv_heads = 1, dim = 16;
};

struct Data {
  Tensor q, k, v;
  explicit Data(const Sizes& s, DType dtype = DType::kFloat32)
      : q({s.batch, s.tokens, s.heads, s.dim}, DType::kFloat32),
        k({s.batch, s.keys, s.kv_heads, s.dim}, dtype),
        v({s.batch, s.keys, s.kv_heads, s.dim}, dtype) {
    q.fill(1), k.fill(2), v.fill(3);
  }
};

struct Outcome {
  Tensor out;
  std::vector<float> log_sum_exp;
  Outcome(const Sizes& s, DType dtype)
      : out({s.batch, s.tokens, s.heads, s.dim}, dtype),
        log_sum_exp(static_cast<std::size_t>(s.batch * s.heads * s.tokens), -7.0f) {}
  AttentionPart part() const { return {out.view(), log_sum_exp.data()}; }
};

void run(const Data& data, AttentionMask mask, Outcome& to) {
  const Attention attention{.q = data.q.view(),
                            .k = data.k.view(),
                            .v = data.v.view(),
                            .out = to.out.view(),
                            .softmax_scale = 0.3,
                            .mask = mask,
                            .log_sum_exp = to.log_sum_exp.data()};
  std::vector<std::byte> workspace(static_cast<std::size_t>(attention_workspace(attention, 1)));
  ASSERT_FALSE(check_attention(attention, {.workspace = workspace}));
  attend(attention, {.workspace = workspace});
}

void merge(const std::vector<AttentionPart>& parts, Outcome& to, int threads = 1) {
  const AttentionMerge merge{
      .parts = parts, .out = to.out.view(), .log_sum_exp = to.log_sum_exp.data(), .threads = threads};
  const auto error = check_attention_merge(merge);
  ASSERT_FALSE(error) << error->line();
  merge_attention(merge);
}

/// The whole softmax of one query and head over all keys up to its own.
void expect_whole(const Sizes& s, const Data& data, const Outcome& got, double tolerance) {
  for (std::int64_t b = 0; b < s.batch; ++b)
    for (std::int64_t h = 0; h < s.heads; ++h)
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::int64_t g = h / (s.heads / s.kv_heads), end = t + s.keys - s.tokens + 1;
        std::vector<double> weights;
        for (std::int64_t j = 0; j < end; ++j) {
          double dot = 0.0;
          for (std::int64_t d = 0; d < s.dim; ++d) dot += data.q.get(b, t, h, d) * data.k.get(b, j, g, d);
          weights.push_back(0.3 * dot);
        }
        const float log = got.log_sum_exp[static_cast<std::size_t>((b * s.heads + h) * s.tokens + t)];
        if (weights.empty()) {
          ASSERT_EQ(log, kNone);
          for (std::int64_t d = 0; d < s.dim; ++d) ASSERT_EQ(got.out.get(b, t, h, d), 0.0);
          continue;
        }
        const double top = *std::max_element(weights.begin(), weights.end());
        double total = 0.0;
        for (double& w : weights) total += w = std::exp(w - top);
        ASSERT_NEAR(static_cast<double>(log), top + std::log(total), 3e-6 + tolerance);
        for (std::int64_t d = 0; d < s.dim; ++d) {
          double want = 0.0;
          for (std::int64_t j = 0; j < end; ++j)
            want += weights[static_cast<std::size_t>(j)] / total * data.v.get(b, j, g, d);
          ASSERT_NEAR(got.out.get(b, t, h, d), want, tolerance) << "token " << t << " head " << h << " channel " << d;
        }
      }
}

class MergeOnTarget : public support::EveryTarget {};
ROPEWALK_ON_EVERY_TARGET(MergeOnTarget);

// Windows shared out so that the first queries see nothing in the far ones, and some see nothing at all.
TEST_P(MergeOnTarget, PartsOfAnyCutMakeTheWholeSoftmax) {
  for (const Sizes& s : {Sizes{.batch = 2, .tokens = 150, .keys = 150}, Sizes{.tokens = 150, .keys = 120, .dim = 33},
                         Sizes{.tokens = 70, .keys = 300, .heads = 6, .kv_heads = 2, .dim = 64},
                         Sizes{.tokens = 1, .keys = 300, .heads = 6, .kv_heads = 2, .dim = 64}})
    for (const std::int64_t window : {1, 17, 128, 1000}) {
      const Data data(s);
      Outcome near(s, DType::kFloat32), far(s, DType::kFloat32), whole(s, DType::kFloat32);
      run(data, AttentionMask::sliding(window), near);
      run(data, AttentionMask::beyond(window), far);
      merge({near.part(), far.part()}, whole);
      expect_whole(s, data, whole, 5e-6);

      Outcome middle(s, DType::kFloat32), farthest(s, DType::kFloat32), again(s, DType::kFloat32);
      run(data, {2 * window - 1, -window}, middle);
      run(data, AttentionMask::beyond(2 * window), farthest);
      merge({farthest.part(), near.part(), middle.part()}, again);
      expect_whole(s, data, again, 5e-6);
    }
}

TEST_P(MergeOnTarget, RoundsPartsAndResultToTheirDTypes) {
  const Sizes s{.tokens = 90, .keys = 200, .heads = 4, .kv_heads = 2, .dim = 64};
  for (const DType dtype : support::kDTypes) {
    const Data data(s, dtype);
    Outcome near(s, DType::kFloat32), far(s, dtype), whole(s, dtype);
    run(data, AttentionMask::sliding(50), near);
    run(data, AttentionMask::beyond(50), far);
    merge({near.part(), far.part()}, whole);
    expect_whole(s, data, whole, dtype == DType::kFloat32 ? 5e-6 : dtype == DType::kFloat16 ? 3e-3 : 3e-2);
  }
}

TEST_P(MergeOnTarget, InPlaceAndOnThreadsItHasTheSameBits) {
  const Sizes s{.batch = 2, .tokens = 300, .keys = 300, .heads = 6, .kv_heads = 2, .dim = 128};
  const Data data(s);
  Outcome near(s, DType::kFloat32), far(s, DType::kFloat32), whole(s, DType::kFloat32), many(s, DType::kFloat32);
  run(data, AttentionMask::sliding(100), near);
  run(data, AttentionMask::beyond(100), far);
  merge({near.part(), far.part()}, whole);
  for (const int threads : {2, 5}) {
    merge({near.part(), far.part()}, many, threads);
    EXPECT_TRUE(whole.out.same_elements(many.out));
    EXPECT_EQ(whole.log_sum_exp, many.log_sum_exp);
  }
  merge({near.part(), far.part()}, near);
  EXPECT_TRUE(whole.out.same_elements(near.out));
  EXPECT_EQ(whole.log_sum_exp, near.log_sum_exp);
}

TEST_P(MergeOnTarget, OnePartAloneKeepsItsBitsAndNoneIsZero) {
  const Sizes s{.tokens = 20, .keys = 20};
  const Data data(s);
  Outcome only(s, DType::kFloat32), whole(s, DType::kFloat32), nothing(s, DType::kFloat32);
  run(data, AttentionMask::causal(), only);
  merge({only.part()}, whole);
  EXPECT_TRUE(whole.out.same_elements(only.out));
  EXPECT_EQ(whole.log_sum_exp, only.log_sum_exp);
  merge({}, nothing);
  for (const float log : nothing.log_sum_exp) EXPECT_EQ(log, kNone);
  for (std::int64_t t = 0; t < 20; ++t) EXPECT_EQ(nothing.out.get(0, t, 1, 5), 0.0);
}

// What a part did not see may hold anything; sums far apart lose the smaller one and nothing else.
TEST_P(MergeOnTarget, TakesNothingFromPartsThatSawNothing) {
  const Sizes s{.tokens = 3, .keys = 3};
  Outcome a(s, DType::kFloat32), b(s, DType::kFloat32), whole(s, DType::kFloat32);
  support::for_each_element(a.out.shape(), [&](auto n, auto t, auto h, auto c) {
    a.out.set(n, t, h, c, 2.0);
    b.out.set_bits(n, t, h, c, t == 0 ? 0x7fc00000u : 0xbf800000u);  // NaN, or -1
  });
  for (const float log : {-3e38f, -1000.0f, 0.0f, 1000.0f, 3e38f}) {
    std::fill(a.log_sum_exp.begin(), a.log_sum_exp.end(), log);
    for (std::size_t i = 0; i < b.log_sum_exp.size(); ++i)
      b.log_sum_exp[i] = i % 3 == 0 ? kNone : i % 3 == 1 ? log : std::max(log - 200.0f, -3.4e38f);
    merge({b.part(), a.part()}, whole);
    for (std::int64_t h = 0; h < s.heads; ++h) {
      EXPECT_EQ(whole.out.get(0, 0, h, 4), 2.0);
      EXPECT_EQ(whole.out.get(0, 1, h, 4), 0.5);
      // At 3e38 the two logs are the same float.
      EXPECT_EQ(whole.out.get(0, 2, h, 4), std::abs(log) < 1e6f ? 2.0 : 0.5);
      EXPECT_EQ(whole.log_sum_exp[static_cast<std::size_t>(3 * h)], log);
      EXPECT_NEAR(whole.log_sum_exp[static_cast<std::size_t>(3 * h + 1)], log + std::log(2.0f),
                  1e-6f * std::abs(log) + 1e-6f);
    }
  }
  a.log_sum_exp[0] = std::nanf("");
  merge({b.part(), a.part()}, whole);
  EXPECT_TRUE(std::isnan(whole.out.get(0, 0, 0, 4)));
}

TEST(Merge, SaysWhatIsWrong) {
  const Sizes s{.batch = 2, .tokens = 3, .keys = 3};
  const Outcome a(s, DType::kFloat32), b(s, DType::kFloat32);
  Outcome whole(s, DType::kFloat32);
  const auto line = [&](const std::function<void(AttentionMerge&, std::vector<AttentionPart>&)>& spoil) {
    std::vector<AttentionPart> parts{a.part(), b.part()};
    AttentionMerge merge{.out = whole.out.view(), .log_sum_exp = whole.log_sum_exp.data()};
    spoil(merge, parts);
    merge.parts = parts;
    const auto error = check_attention_merge(merge);
    return error ? error->line() : std::string("nothing");
  };
  EXPECT_EQ(line([](auto&, auto&) {}), "nothing");
  EXPECT_EQ(line([](auto& m, auto&) { m.log_sum_exp = nullptr; }), "nothing");
  EXPECT_EQ(line([](auto&, auto& p) { p[1].out.heads = 3; }), "parts[1].heads: want 2, got 3");
  EXPECT_EQ(line([](auto&, auto& p) { p[0].out.tokens = 2; }), "parts[0].tokens: want 3, got 2");
  EXPECT_EQ(line([](auto&, auto& p) { p[0].log_sum_exp = nullptr; }),
            "parts[0].log_sum_exp: want an address, got null");
  EXPECT_EQ(line([](auto&, auto& p) { p[1].out.data = nullptr; }), "parts[1].data: want an address, got null");
  EXPECT_EQ(line([](auto& m, auto&) { m.out.head_dim = 5000; }), "out.head_dim: want 1 to 4096, got 5000");
  EXPECT_EQ(line([](auto& m, auto&) { m.out.token_stride = 0; }),
            "out.token_stride: want a stride other than 0 on an axis of 3 that is written, got 0");
}

}  // namespace
