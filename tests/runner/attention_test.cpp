// Streamed attention against the whole softmax, written as the formula reads, in double.
#include "runner/attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "runner/dequantize.hpp"

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;

struct Case {
  std::int64_t heads, kv_heads, head_dim, keys, first, window = 0;
};

struct Data {
  std::vector<float> q, k, v;  // [keys, heads, head_dim], [keys, kv_heads, head_dim] twice
};

Data random_data(const Case& c, bool bf16) {
  std::mt19937 random(static_cast<unsigned>(c.keys));
  std::normal_distribution<float> normal(0.0f, 2.0f);
  Data data;
  const auto fill = [&](std::vector<float>& x, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
      const float value = normal(random);
      x.push_back(bf16 ? float_from_bfloat16(bfloat16_from_float(value)) : value);
    }
  };
  fill(data.q, c.keys * c.heads * c.head_dim);
  fill(data.k, c.keys * c.kv_heads * c.head_dim);
  fill(data.v, c.keys * c.kv_heads * c.head_dim);
  return data;
}

// Row t, head h of the answer.
std::vector<double> plain(const Case& c, const Data& data, double scale, std::int64_t t, std::int64_t h) {
  const std::int64_t g = h / (c.heads / c.kv_heads);
  const std::int64_t oldest = c.window > 0 ? std::max<std::int64_t>(t + 1 - c.window, 0) : 0;
  std::vector<double> weights;
  for (std::int64_t p = oldest; p <= t; ++p) {
    double score = 0.0;
    for (std::int64_t d = 0; d < c.head_dim; ++d)
      score +=
          double{data.q[(t * c.heads + h) * c.head_dim + d]} * double{data.k[(p * c.kv_heads + g) * c.head_dim + d]};
    weights.push_back(scale * score);
  }
  const double top = *std::max_element(weights.begin(), weights.end());
  double total = 0.0;
  for (double& w : weights) total += w = std::exp(w - top);
  std::vector<double> out(static_cast<std::size_t>(c.head_dim));
  for (std::int64_t p = oldest; p <= t; ++p)
    for (std::int64_t d = 0; d < c.head_dim; ++d)
      out[d] += weights[p - oldest] / total * double{data.v[(p * c.kv_heads + g) * c.head_dim + d]};
  return out;
}

void expect_plain(const Case& c, DType dtype, double tolerance) {
  const bool bf16 = dtype == DType::kBFloat16;
  const Data data = random_data(c, bf16);
  const double scale = 0.7 / std::sqrt(static_cast<double>(c.head_dim));
  KvCache cache(dtype, c.kv_heads, c.head_dim, c.keys);
  // Written in uneven pieces, as chunks and single steps come.
  for (std::int64_t at = 0; at < c.keys;) {
    const std::int64_t count = std::min<std::int64_t>(c.keys - at, at % 3 == 0 ? 50 : 17);
    const std::int64_t offset = at * c.kv_heads * c.head_dim;
    cache.write(at, count, data.k.data() + offset, data.v.data() + offset, c.kv_heads * c.head_dim);
    at += count;
  }
  const std::int64_t tokens = c.keys - c.first;
  std::vector<float> out(static_cast<std::size_t>(tokens * c.heads * c.head_dim));
  attend(cache, data.q.data() + c.first * c.heads * c.head_dim, c.heads * c.head_dim, c.heads, c.first, tokens,
         c.window, scale, out.data(), DType::kFloat32, 2);
  for (std::int64_t t = c.first; t < c.keys; ++t)
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const auto want = plain(c, data, scale, t, h);
      for (std::int64_t d = 0; d < c.head_dim; ++d)
        ASSERT_NEAR(out[((t - c.first) * c.heads + h) * c.head_dim + d], want[d], tolerance)
            << "token " << t << " head " << h << " channel " << d;
    }
}

TEST(RunnerAttention, EqualsThePlainSoftmax) {
  for (const Case& c : {Case{1, 1, 16, 1, 0}, Case{1, 1, 64, 130, 0}, Case{9, 3, 64, 70, 0}, Case{4, 1, 80, 65, 0},
                        Case{8, 8, 8, 100, 0}, Case{6, 2, 20, 64, 0}})
    expect_plain(c, DType::kFloat32, 2e-5);
}

TEST(RunnerAttention, HoldsAtTheBordersOfBlocksAndPanels) {
  for (const std::int64_t keys : {63, 64, 65, 511, 512, 513, 1030})
    expect_plain({3, 1, 16, keys, 0}, DType::kFloat32, 3e-5);
}

TEST(RunnerAttention, AChunkSeesWhatCameBeforeIt) {
  for (const std::int64_t first : {1, 64, 100, 512, 599}) expect_plain({6, 2, 32, 600, first}, DType::kFloat32, 3e-5);
}

// Windows that end inside a panel, at its border and one beside it, narrower and wider than a block of queries (96
// rows) and than a block of keys (512); chunks that begin inside the first window and behind it.
TEST(RunnerAttention, AWindowHidesWhatIsOlder) {
  for (const std::int64_t window : {1, 2, 63, 64, 65, 100, 511, 512, 513, 1029, 1030, 5000})
    for (const std::int64_t first : {0, 700}) expect_plain({4, 1, 16, 1030, first, window}, DType::kFloat32, 3e-5);
  expect_plain({8, 8, 24, 200, 0, 7}, DType::kFloat32, 2e-5);
}

TEST(RunnerAttention, OneQueryAtATimeSeesTheSameWindow) {
  for (const std::int64_t first : {0, 39, 40, 63, 64, 103, 104, 599})
    expect_plain({6, 2, 32, first + 1, first, 40}, DType::kFloat32, 2e-5);
}

TEST(RunnerAttention, AWindowInBf16IsWithinItsRounding) {
  for (const std::int64_t window : {1, 64, 100, 513}) expect_plain({4, 1, 20, 700, 0, window}, DType::kBFloat16, 0.06);
}

// A key outside of the window may be anything.
TEST(RunnerAttention, WhatIsHiddenDoesNotMatterToTheLastBit) {
  const Case c{2, 1, 16, 300, 0, 70};
  Data data = random_data(c, false);
  const auto answer = [&] {
    KvCache cache(DType::kFloat32, c.kv_heads, c.head_dim, c.keys);
    cache.write(0, c.keys, data.k.data(), data.v.data(), c.head_dim);
    std::vector<float> out(static_cast<std::size_t>(c.heads * c.head_dim));
    attend(cache, data.q.data() + 299 * c.heads * c.head_dim, c.heads * c.head_dim, c.heads, 299, 1, c.window, 0.25,
           out.data(), DType::kFloat32, 1);
    return out;
  };
  const auto want = answer();
  for (std::int64_t i = 0; i < 230 * c.head_dim; ++i) data.k[i] = data.v[i] = 1e4f;
  EXPECT_EQ(answer(), want);
  data.v[230 * c.head_dim] += 1.0f;
  EXPECT_NE(answer(), want) << "the oldest key in the window";
}

TEST(RunnerAttention, InBf16IsWithinItsRounding) {
  expect_plain({9, 3, 64, 300, 0}, DType::kBFloat16, 0.06);
  expect_plain({4, 2, 20, 600, 590}, DType::kBFloat16, 0.06);
}

// What lies behind the last token of a panel is whatever memory held; it must not matter, be it a NaN.
TEST(RunnerAttention, UnwrittenKeysDoNotLeak) {
  const Case c{2, 1, 16, 5, 0};
  for (int i = 0; i < 4; ++i) {
    std::vector<float> dirt(1 << 16, std::nanf(""));
    ASSERT_TRUE(std::isnan(dirt[100]));
    dirt.clear();
    dirt.shrink_to_fit();
    expect_plain(c, DType::kFloat32, 1e-5);
  }
}

}  // namespace
