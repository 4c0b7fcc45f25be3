// The gradients of attention against the formulas as they read, in double.
#include <ropewalk/attention.hpp>

#include "attention_support.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;
using namespace support::attention;
using support::Tensor;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// The call that goes forwards, and room for everything that comes back.
struct Training : Data {
  Case c;
  Tensor d_out, d_q, d_k, d_v;
  std::vector<float> d_temperature;
  // [batch, heads, tokens, keys], and how often each entry was told.
  std::vector<float> d_score;
  std::vector<int> told;
  // Sums that keep the order in which blocks come, of each part and of each [batch, heads, tokens].
  std::vector<double> of_part, of_query;
  std::array<std::atomic<int>, 8> inside{};  // blocks of each thread that are being told
  std::atomic<int> crowded = 0;              // how often there were two of them
  AttentionGradients gradients;

  Training(const Case& of, DType dtype, DType out_dtype, DType gradient_dtype)
      : Data(of, dtype, dtype, out_dtype),
        c(of),
        d_out({c.batch, c.tokens, c.heads, c.values(), c.order, c.gap}, out_dtype),
        d_q({c.batch, c.tokens, c.heads, c.dim, c.order, c.gap}, gradient_dtype),
        d_k({c.batch, c.keys, c.kv_heads, c.dim, c.order, c.gap}, gradient_dtype),
        d_v({c.batch, c.keys, c.kv_heads, c.values(), c.order, c.gap}, gradient_dtype),
        d_temperature(at(c.batch * c.tokens), -7.0f),
        d_score(at(c.batch * c.heads * c.tokens * c.keys)),
        told(d_score.size()),
        of_part(at(score_gradient_parts(attention))),
        of_query(at(c.batch * c.heads * c.tokens)) {
    d_out.fill(4);
    gradients = {.d_out = d_out.view(),
                 .d_q = d_q.view(),
                 .d_k = d_k.view(),
                 .d_v = d_v.view(),
                 .d_temperature = d_temperature.data(),
                 .d_score = {this, note}};
  }
  explicit Training(const Case& of) : Training(of, DType::kFloat32, DType::kFloat32, DType::kFloat32) {}

  static void note(void* state, const ScoreGradientBlock& block) {
    auto& my = *static_cast<Training*>(state);
    my.crowded += my.inside[at(block.thread)]++;
    std::int64_t query0 = my.c.tokens - my.c.keys, key0 = 0;
    if (const std::size_t s = at(block.sequence); !my.c.query_starts.empty()) {
      query0 = my.c.query_starts[s + 1] - (my.c.key_starts[s + 1] - my.c.key_starts[s]);
      key0 = my.c.key_starts[s];
    }
    for (std::int64_t i = 0; i < block.queries; ++i)
      for (std::int64_t j = 0; j < block.keys; ++j) {
        const std::int64_t t = query0 + block.first_query + i, key = key0 + block.first_key + j;
        const std::size_t query = at((block.row * my.c.heads + block.head) * my.c.tokens + t);
        const std::size_t entry = query * at(my.c.keys) + at(key);
        const float x = block.d_score[i * block.stride + j];
        my.d_score[entry] = x;
        ++my.told[entry];
        for (double* sum : {&my.of_part[at(block.part)], &my.of_query[query]})
          *sum = 0.75 * *sum + static_cast<double>(x) * static_cast<double>(key + 1);
      }
    --my.inside[at(block.thread)];
  }

  void backward(int threads = 1, const ThreadPool* pool = nullptr) {
    support::Pages workspace(at(attention_backward_workspace(attention, threads)));
    std::memset(workspace.data(), 0xff, workspace.size());
    const AttentionCall call{.threads = threads, .pool = pool, .workspace = {workspace.data(), workspace.size()}};
    const auto error = check_attention_backward(attention, gradients, call);
    ASSERT_FALSE(error) << error->line();
    attend_backward(attention, gradients, call);
    for (const Tensor* x : {&d_q, &d_k, &d_v}) EXPECT_TRUE(x->border_untouched());
  }
  void train(int threads = 1, const ThreadPool* pool = nullptr) {
    std::vector<std::byte> workspace(at(attention_workspace(attention, threads)));
    attend(attention, {.threads = threads, .pool = pool, .workspace = workspace});
    backward(threads, pool);
  }
  bool same_gradients(const Training& other) const {
    return d_q.same_elements(other.d_q) && d_k.same_elements(other.d_k) && d_v.same_elements(other.d_v) &&
           d_temperature == other.d_temperature && of_part == other.of_part && of_query == other.of_query;
  }
};

struct Wanted {
  std::vector<double> d_q, d_k, d_v, d_temperature, d_score;
};

/// [batch, tokens, heads, head_dim] in one stretch.
std::vector<double> elements_of(const Tensor& x) {
  std::vector<double> out;
  support::for_each_element(x.shape(), [&](auto b, auto t, auto h, auto d) { out.push_back(x.get(b, t, h, d)); });
  return out;
}

Wanted plain(const Training& x) {
  const Case& c = x.c;
  const std::int64_t values = c.values();
  Wanted w{std::vector<double>(at(c.batch * c.tokens * c.heads * c.dim)),
           std::vector<double>(at(c.batch * c.keys * c.kv_heads * c.dim)),
           std::vector<double>(at(c.batch * c.keys * c.kv_heads * values)), std::vector<double>(at(c.batch * c.tokens)),
           std::vector<double>(at(c.batch * c.heads * c.tokens * c.keys))};
  const auto q = elements_of(x.q), k = elements_of(x.k), v = elements_of(x.v), d_out = elements_of(x.d_out);
  for (std::int64_t b = 0; b < c.batch; ++b)
    for (std::int64_t h = 0; h < c.heads; ++h)
      for (std::int64_t t = 0; t < c.tokens; ++t) {
        const Seen where = seen_by(c, t);
        const std::int64_t g = h / (c.heads / c.kv_heads);
        const double scale = x.scale(c, b, t);
        // Where the first channel of a query, a key and a value lies.
        const std::size_t of_query = at(((b * c.tokens + t) * c.heads + h) * c.dim);
        const std::size_t of_out = at(((b * c.tokens + t) * c.heads + h) * values);
        const auto of_key = [&](std::int64_t j) {
          return at(((b * c.keys + where.first_key + j) * c.kv_heads + g) * c.dim);
        };
        const auto of_value = [&](std::int64_t j) {
          return at(((b * c.keys + where.first_key + j) * c.kv_heads + g) * values);
        };
        std::vector<double> p, products, d_p;
        double top = kNone, total = 0.0, mean = 0.0;
        for (std::int64_t j = where.begin; j < where.end; ++j) {
          double dot = 0.0, d_dot = 0.0;
          for (std::size_t d = 0; d < at(c.dim); ++d) dot += q[of_query + d] * k[of_key(j) + d];
          for (std::size_t d = 0; d < at(values); ++d) d_dot += d_out[of_out + d] * v[of_value(j) + d];
          products.push_back(dot);
          d_p.push_back(d_dot);
          p.push_back(scale * dot + (c.bias ? bias_at(b, h, where.place, j) : 0.0));
          top = std::max(top, p.back());
        }
        if (top == kNone) continue;
        for (double& each : p) total += each = std::exp(each - top);
        for (std::size_t i = 0; i < p.size(); ++i) mean += (p[i] /= total) * d_p[i];
        for (std::size_t i = 0; i < p.size(); ++i) {
          const std::int64_t j = where.begin + static_cast<std::int64_t>(i);
          const double d_score = p[i] * (d_p[i] - mean);
          w.d_score[at(((b * c.heads + h) * c.tokens + t) * c.keys + where.first_key + j)] = d_score;
          w.d_temperature[at(b * c.tokens + t)] += c.softmax_scale() * d_score * products[i];
          for (std::size_t d = 0; d < at(c.dim); ++d) {
            w.d_q[of_query + d] += scale * d_score * k[of_key(j) + d];
            w.d_k[of_key(j) + d] += scale * d_score * q[of_query + d];
          }
          for (std::size_t d = 0; d < at(values); ++d) w.d_v[of_value(j) + d] += p[i] * d_out[of_out + d];
        }
      }
  return w;
}

/// Within `tolerance` of the largest element, or of 1.
void expect_near(const char* name, const std::vector<double>& want, double tolerance,
                 const std::function<double(std::int64_t)>& got) {
  double largest = 1.0;
  for (const double x : want) largest = std::max(largest, std::abs(x));
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got(static_cast<std::int64_t>(i)), want[i], tolerance * largest) << name << " at " << i;
}

void expect_plain(const Training& x, double tolerance) {
  const Wanted want = plain(x);
  const auto element_of = [](const Tensor& tensor) {
    return [&tensor](std::int64_t i) {
      const support::Shape& s = tensor.shape();
      const std::int64_t d = i % s.head_dim, h = i / s.head_dim % s.heads, t = i / s.head_dim / s.heads;
      return tensor.get(t / s.tokens, t % s.tokens, h, d);
    };
  };
  expect_near("d_q", want.d_q, tolerance, element_of(x.d_q));
  expect_near("d_k", want.d_k, tolerance, element_of(x.d_k));
  expect_near("d_v", want.d_v, tolerance, element_of(x.d_v));
  expect_near("d_temperature", want.d_temperature, 2 * tolerance,
              [&](std::int64_t i) { return static_cast<double>(x.d_temperature[at(i)]); });
  expect_near("d_score", want.d_score, tolerance,
              [&](std::int64_t i) { return static_cast<double>(x.d_score[at(i)]); });
  for (std::size_t i = 0; i < x.told.size(); ++i) {
    ASSERT_LE(x.told[i], 1) << "told twice: " << i;
    ASSERT_TRUE(x.told[i] == 1 || want.d_score[i] == 0.0) << "not told: " << i;
  }
}

void expect_plain(const Case& c, double tolerance = 4e-6) {
  Training x(c);
  x.train();
  expect_plain(x, tolerance);
}

class AttentionBackwardOnTarget : public support::EveryTarget {};
ROPEWALK_ON_EVERY_TARGET(AttentionBackwardOnTarget);

TEST_P(AttentionBackwardOnTarget, EqualsThePlainGradientsAtEveryLength) {
  for (const std::int64_t keys : {1, 2, 65, 127, 128, 129, 260})
    for (const std::int64_t tokens : {1, 3, 63, 64, 65, 150})
      for (const AttentionMask mask : {AttentionMask::causal(), AttentionMask::everything()})
        expect_plain({.tokens = tokens, .keys = keys, .heads = 2, .kv_heads = 1, .dim = 8, .mask = mask});
}

TEST_P(AttentionBackwardOnTarget, TakesEveryHeadShapeAndGroup) {
  for (const std::int64_t dim : {1, 7, 16, 63, 64, 65, 80, 128, 200, 300})
    expect_plain({.tokens = 40, .keys = 133, .heads = 6, .kv_heads = 2, .dim = dim, .mask = AttentionMask::causal()});
  expect_plain({.tokens = 50, .keys = 50, .heads = 4, .kv_heads = 4, .dim = 48, .value_dim = 33});
  expect_plain({.tokens = 50, .keys = 50, .heads = 4, .kv_heads = 2, .dim = 20, .value_dim = 129});
  expect_plain({.tokens = 5, .keys = 40, .heads = 71, .kv_heads = 1, .dim = 64});
}

TEST_P(AttentionBackwardOnTarget, TakesSeveralRunsOfKeys) {
  expect_plain({.tokens = 700, .keys = 700, .heads = 2, .kv_heads = 1, .dim = 16, .mask = AttentionMask::causal()});
  expect_plain({.tokens = 300, .keys = 1100, .heads = 1, .kv_heads = 1, .dim = 16});
}

TEST_P(AttentionBackwardOnTarget, WindowsHideWhatIsOutside) {
  constexpr std::int64_t kAll = AttentionMask::kUnlimited;
  for (const std::int64_t left : {std::int64_t{-50}, std::int64_t{-3}, std::int64_t{0}, std::int64_t{5},
                                  std::int64_t{127}, std::int64_t{129}, kAll})
    for (const std::int64_t right :
         {std::int64_t{0}, std::int64_t{40}, std::int64_t{128}, std::int64_t{-4}, std::int64_t{-130}, kAll})
      for (const std::int64_t tokens : {2, 299, 310})
        expect_plain({.tokens = tokens, .keys = 300, .heads = 3, .kv_heads = 1, .dim = 4, .mask = {left, right}});
}

TEST_P(AttentionBackwardOnTarget, WhatSeesNothingOrIsNotSeenGetsZeros) {
  const Case c{.tokens = 200, .keys = 30, .heads = 2, .kv_heads = 2, .mask = AttentionMask::causal()};
  Training x(c);
  x.train();
  expect_plain(x, 4e-6);
  for (std::int64_t t = 0; t < 170; ++t)
    for (std::int64_t d = 0; d < c.dim; ++d) ASSERT_EQ(x.d_q.get(0, t, 1, d), 0.0);
  const Case window{.tokens = 3, .keys = 300, .heads = 2, .kv_heads = 1, .mask = AttentionMask::sliding(2)};
  Training y(window);
  y.train();
  expect_plain(y, 4e-6);
  for (std::int64_t j = 0; j < 296; ++j)
    for (std::int64_t d = 0; d < window.dim; ++d) {
      ASSERT_EQ(y.d_k.get(0, j, 0, d), 0.0);
      ASSERT_EQ(y.d_v.get(0, j, 0, d), 0.0);
    }
  expect_plain({.tokens = 100, .keys = 0, .heads = 2, .kv_heads = 1}, 0.0);
  expect_plain({.batch = 2, .tokens = 0, .keys = 9, .heads = 2, .kv_heads = 1}, 0.0);
}

// All entries of some queries are -infinity by the bias, whatever the mask says.
TEST_P(AttentionBackwardOnTarget, AQueryWhoseBiasHidesEverythingGetsZeros) {
  Training x({.tokens = 70, .keys = 140, .heads = 2, .kv_heads = 1, .mask = AttentionMask::causal()});
  x.attention.bias.fill = [](void*, std::int64_t, std::int64_t, std::int64_t first_query, std::int64_t queries,
                             std::int64_t, std::int64_t keys, float* out, std::int64_t stride) {
    for (std::int64_t i = 0; i < queries; ++i)
      std::fill_n(out + i * stride, keys, (first_query + i) % 3 == 0 ? -std::numeric_limits<float>::infinity() : 0.0f);
  };
  x.train();
  for (std::int64_t t = 0; t < 70; ++t)
    for (std::int64_t d = 0; d < x.c.dim; ++d) {
      const double got = x.d_q.get(0, t, 1, d);
      if ((t + 70) % 3 == 0)
        ASSERT_EQ(got, 0.0) << t;
      else
        ASSERT_TRUE(std::isfinite(got) && got != 0.0) << t;
    }
  for (std::int64_t j = 0; j < 140; ++j) ASSERT_TRUE(std::isfinite(x.d_k.get(0, j, 0, 3) + x.d_v.get(0, j, 0, 3)));
}

TEST_P(AttentionBackwardOnTarget, AddsBiasAndTemperature) {
  for (const std::int64_t tokens : {1, 2, 100, 300})
    for (const AttentionMask mask : {AttentionMask::causal(), AttentionMask{33, 70}})
      expect_plain({.batch = 2,
                    .tokens = tokens,
                    .keys = 300,
                    .heads = 6,
                    .kv_heads = 2,
                    .dim = 8,
                    .mask = mask,
                    .temperature = true,
                    .bias = true});
}

const Case kPacked{.tokens = 300,
                   .keys = 394,
                   .heads = 6,
                   .kv_heads = 2,
                   .dim = 24,
                   .mask = AttentionMask::causal(),
                   .query_starts = {0, 1, 1, 64, 100, 101, 290, 300, 300},
                   .key_starts = {0, 1, 1, 64, 200, 205, 390, 390, 394},
                   .temperature = true,
                   .bias = true};

TEST_P(AttentionBackwardOnTarget, PackedSequencesSeeThemselvesOnly) {
  for (const AttentionMask mask : {AttentionMask::causal(), AttentionMask::everything(), AttentionMask{20, 3}}) {
    Case c = kPacked;
    c.mask = mask;
    expect_plain(c);
  }
}

HeadsView from_token(HeadsView x, std::int64_t token) {
  x.data = static_cast<std::byte*>(x.data) + token * x.token_stride * static_cast<std::int64_t>(size_of(x.dtype));
  x.tokens -= token;
  return x;
}

TEST_P(AttentionBackwardOnTarget, APackedSequenceHasTheBitsItHasAlone) {
  const Case c{.tokens = 333,
               .keys = 333,
               .heads = 6,
               .kv_heads = 2,
               .dim = 64,
               .mask = AttentionMask::causal(),
               .query_starts = {0, 37, 333},
               .key_starts = {0, 37, 333}};
  Training packed(c), alone(c);
  packed.train();
  std::vector<float> logs(at(c.heads * 296));
  Attention& second = alone.attention;
  second.query_starts = second.key_starts = {};
  alone.gradients.d_score = {};
  for (HeadsView* x : {&second.q, &second.k, &second.v, &second.out, &alone.gradients.d_out, &alone.gradients.d_q,
                       &alone.gradients.d_k, &alone.gradients.d_v})
    *x = from_token(*x, 37);
  second.log_sum_exp = logs.data();
  alone.train();
  for (std::int64_t t = 37; t < 333; ++t)
    for (std::int64_t d = 0; d < c.dim; ++d) {
      for (std::int64_t h = 0; h < c.heads; ++h) ASSERT_EQ(packed.d_q.bits(0, t, h, d), alone.d_q.bits(0, t, h, d));
      for (std::int64_t g = 0; g < c.kv_heads; ++g) {
        ASSERT_EQ(packed.d_k.bits(0, t, g, d), alone.d_k.bits(0, t, g, d));
        ASSERT_EQ(packed.d_v.bits(0, t, g, d), alone.d_v.bits(0, t, g, d));
      }
    }
}

TEST_P(AttentionBackwardOnTarget, TakesAnyStridesAndDTypes) {
  const auto tolerance = [](DType dtype) {
    return dtype == DType::kFloat32 ? 4e-6 : dtype == DType::kFloat16 ? 2e-3 : 1.5e-2;
  };
  const auto expect = [&](const char* order, std::int64_t tokens, DType dtype, DType gradient) {
    Training x({.batch = 2,
                .tokens = tokens,
                .keys = 70,
                .heads = 4,
                .kv_heads = 2,
                .dim = 24,
                .mask = AttentionMask::causal(),
                .order = order,
                .gap = 3},
               dtype, dtype, gradient);
    x.train();
    expect_plain(x, std::max(tolerance(dtype), tolerance(gradient)));
  };
  for (const char* order : {"bshd", "bhsd", "sbhd"})
    for (const DType dtype : support::kDTypes) {
      expect(order, 1, dtype, dtype);
      expect(order, 70, dtype, dtype);
    }
  expect("bshd", 70, DType::kFloat32, DType::kBFloat16);
  expect("bhsd", 70, DType::kBFloat16, DType::kFloat32);
}

// All but the results of the pass before is exact, so 16 bits of q, k and v cost nothing if `out` is float32.
TEST_P(AttentionBackwardOnTarget, ReadsF16Exactly) {
  Training x({.tokens = 70, .keys = 200, .heads = 4, .kv_heads = 2, .dim = 32, .mask = AttentionMask::causal()},
             DType::kFloat16, DType::kFloat32, DType::kFloat32);
  x.train();
  expect_plain(x, 4e-6);
}

TEST_P(AttentionBackwardOnTarget, HugeScoresStayFinite) {
  Training x({.tokens = 80, .keys = 80, .heads = 2, .kv_heads = 1, .mask = AttentionMask::causal(), .scale = 1e4});
  x.train();
  for (const Tensor* gradient : {&x.d_q, &x.d_k, &x.d_v})
    support::for_each_element(gradient->shape(), [&](auto b, auto t, auto h, auto d) {
      ASSERT_TRUE(std::isfinite(gradient->get(b, t, h, d)));
    });
}

// What no query sees, and what lies behind the last key, may be anything.
TEST_P(AttentionBackwardOnTarget, WhatIsHiddenDoesNotMatterToTheLastBit) {
  const Case c{.tokens = 65, .keys = 300, .heads = 2, .kv_heads = 1, .mask = AttentionMask::sliding(70)};
  Training x(c), other(c);
  x.train();
  for (std::int64_t j = 0; j < 300 - 65 - 69; ++j)
    for (std::int64_t d = 0; d < c.dim; ++d)
      other.k.set_bits(0, j, 0, d, 0x7fc00000u), other.v.set_bits(0, j, 0, d, 0x7fc00000u);
  other.train();
  EXPECT_TRUE(x.same_gradients(other));
}

/// Runs parts one after the other, the last first.
void run_backwards(void*, int parts, void (*part)(void*, int), void* argument) {
  for (int i = parts - 1; i >= 0; --i) part(argument, i);
}

TEST_P(AttentionBackwardOnTarget, ThreadsGiveTheSameBits) {
  for (const Case& c :
       {Case{.tokens = 600,
       .keys = 600,
       .heads = 6,
       .kv_heads = 2,
       .dim = 64,
       .mask = AttentionMask::causal(),
       .temperature = true,
       .bias = true},
        // One key head, so that runs wait for each other.
        Case{.tokens = 400, .keys = 1500, .heads = 3, .kv_heads = 1, .dim = 32},
        Case{.batch = 3, .tokens = 200, .keys = 300, .heads = 2, .kv_heads = 1, .mask = {40, 9}}, kPacked}) {
    Training one(c);
    one.train();
    for (const int threads : {2, 3, 4, 5, 6, 7, 8}) {
      Training many(c);
      many.train(threads);
      EXPECT_TRUE(one.same_gradients(many)) << threads << " threads";
      EXPECT_EQ(many.crowded, 0);
    }
    int parts = 0;
    for (const ThreadPool& pool : {ThreadPool{run_with_threads, &parts}, ThreadPool{run_backwards, nullptr}}) {
      Training pooled(c);
      pooled.train(5, &pool);
      EXPECT_TRUE(one.same_gradients(pooled));
    }
    EXPECT_GT(parts, 1);
  }
}

// The child has none of the threads that OpenMP keeps for its parent, and would wait for them.
TEST(AttentionBackward, AForkedChildWorksAlone) {
  const Case c{.tokens = 300, .keys = 300, .heads = 4, .kv_heads = 2, .dim = 64};
  Training parent(c), child(c);
  parent.train(2);
  const pid_t forked = fork();
  if (forked == 0) {
    alarm(60);
    child.train(2);
    _exit(parent.same_gradients(child) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(forked, &status, 0), forked);
  EXPECT_EQ(status, 0);
}

TEST(AttentionBackward, ItsWorkspaceGrowsWithTokensAndNotWithTheirSquare) {
  const auto bytes = [](std::int64_t tokens) {
    float x = 0.0f;
    return attention_backward_workspace({.q = HeadsView::bshd(&x, DType::kFloat32, 1, tokens, 9, 64),
                                         .k = HeadsView::bshd(&x, DType::kFloat32, 1, tokens, 3, 64),
                                         .v = HeadsView::bshd(&x, DType::kFloat32, 1, tokens, 3, 64),
                                         .out = HeadsView::bshd(&x, DType::kFloat32, 1, tokens, 9, 64),
                                         .softmax_scale = 1.0},
                                        2);
  };
  EXPECT_LT(bytes(1 << 20) - bytes(1 << 19), (1 << 19) * 9 * (64 + 2) * 4);
  EXPECT_LT(bytes(64), 8 << 20);
}

TEST(AttentionBackward, SaysWhatIsWrong) {
  Training x({.batch = 2, .tokens = 10, .keys = 20, .heads = 6, .kv_heads = 2, .dim = 16});
  std::vector<std::byte> workspace(at(attention_backward_workspace(x.attention, 1)));
  const auto line = [&](const std::function<void(Attention&, AttentionGradients&, AttentionCall&)>& spoil) {
    Attention attention = x.attention;
    AttentionGradients gradients = x.gradients;
    AttentionCall call{.workspace = workspace};
    spoil(attention, gradients, call);
    const auto error = check_attention_backward(attention, gradients, call);
    return error ? error->line() : std::string("nothing");
  };
  EXPECT_EQ(line([](auto&, auto&, auto&) {}), "nothing");
  EXPECT_EQ(line([](auto& a, auto&, auto&) { a.k.head_dim = 15; }), "k.head_dim: want 16, got 15");
  EXPECT_EQ(line([](auto& a, auto&, auto&) { a.log_sum_exp = nullptr; }), "log_sum_exp: want an address, got null");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_out.tokens = 9; }), "d_out.tokens: want 10, got 9");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_q.heads = 2; }), "d_q.heads: want 6, got 2");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_k.heads = 6; }), "d_k.heads: want 2, got 6");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_v.head_dim = 15; }), "d_v.head_dim: want 16, got 15");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_v.batch = 1; }), "d_v.batch: want 2, got 1");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_k.data = nullptr; }), "d_k.data: want an address, got null");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_q.dtype = static_cast<DType>(9); }),
            "d_q.dtype: want float32, bfloat16 or float16, got number 9");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_v.token_stride = 0; }),
            "d_v.token_stride: want a stride other than 0 on an axis of 20 that is written, got 0");
  EXPECT_EQ(line([](auto&, auto& g, auto&) { g.d_out.token_stride = 0; }), "nothing");
  EXPECT_EQ(line([](auto&, auto&, auto& call) { call.workspace = call.workspace.first(100); }),
            "workspace.size: want at least " + std::to_string(workspace.size()) + ", got 100");
  EXPECT_EQ(score_gradient_parts(x.attention), 4);
}

}  // namespace
