// Every target's block kernels against the formulas in double.
#include "runner/kernels/kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "runner/dequantize.hpp"

namespace {

using namespace ropewalk::runner;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> gaussian(std::int64_t n, float width, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, width);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

std::vector<std::uint16_t> shortened(const std::vector<float>& x) {
  std::vector<std::uint16_t> out;
  for (const float v : x) out.push_back(bfloat16_from_float(v));
  return out;
}

std::vector<const Kernels*> targets() {
  std::vector<const Kernels*> out;
  for (int i = 0; kernels_here(i) != nullptr; ++i) out.push_back(kernels_here(i));
  return out;
}

class EveryTarget : public testing::TestWithParam<const Kernels*> {};
INSTANTIATE_TEST_SUITE_P(Runner, EveryTarget, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(target.param->name); });

TEST_P(EveryTarget, ProductIsTheSumOfProductsForEveryTileBorder) {
  for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 12, 17})
    for (const std::int64_t depth : {2, 16, 50})
      for (const std::int64_t columns : {16, 32, 48, 64, 80, 144}) {
        const std::int64_t a_stride = depth + 4, b_stride = columns + 16, c_stride = columns + 3;
        const auto a = gaussian(rows * a_stride, 1, 1), b = gaussian(depth * b_stride, 1, 2);
        const auto before = gaussian(rows * c_stride, 1, 3);
        const auto a_short = shortened(a);
        std::vector<std::uint16_t> b_short(static_cast<std::size_t>(depth * b_stride));
        for (std::int64_t k = 0; k < depth; ++k)
          for (std::int64_t j = 0; j < columns; ++j)
            b_short[k / 2 * 2 * b_stride + 2 * j + k % 2] = bfloat16_from_float(b[k * b_stride + j]);
        for (const bool accumulate : {false, true})
          for (const bool bf16 : {false, true}) {
            if (bf16 && GetParam()->multiply_bf16 == nullptr) continue;
            auto c = before;
            if (bf16)
              GetParam()->multiply_bf16(a_short.data(), a_stride, b_short.data(), b_stride, c.data(), c_stride, rows,
                                        depth, columns, accumulate);
            else
              GetParam()->multiply(a.data(), a_stride, b.data(), b_stride, c.data(), c_stride, rows, depth, columns,
                                   accumulate);
            for (std::int64_t i = 0; i < rows; ++i) {
              for (std::int64_t j = 0; j < columns; ++j) {
                double want = accumulate ? before[i * c_stride + j] : 0.0;
                for (std::int64_t k = 0; k < depth; ++k) {
                  const float x = a[i * a_stride + k], y = b[k * b_stride + j];
                  want += bf16 ? double{float_from_bfloat16(bfloat16_from_float(x))} *
                                     double{float_from_bfloat16(bfloat16_from_float(y))}
                               : double{x} * double{y};
                }
                ASSERT_NEAR(c[i * c_stride + j], want, 2e-5) << rows << " x " << depth << " x " << columns;
              }
              for (std::int64_t j = columns; j < c_stride; ++j)
                ASSERT_EQ(c[i * c_stride + j], before[i * c_stride + j]) << "wrote beyond the columns";
            }
          }
      }
}

TEST_P(EveryTarget, RunningSoftmaxEqualsTheWholeSoftmax) {
  for (const std::int64_t n : {1, 7, 16, 33, 256, 500}) {
    auto scores = gaussian(2 * n, 30, static_cast<unsigned>(n));
    if (n > 2) scores[1] = scores[n + 2] = -kInf;
    float m = -kInf, sum = 0.0f;
    std::vector<float> first(n), second(n);
    GetParam()->softmax_step(scores.data(), n, first.data(), &m, &sum);
    const float correction = GetParam()->softmax_step(scores.data() + n, n, second.data(), &m, &sum);
    double top = -kInf, total = 0.0;
    for (const float s : scores) top = std::max(top, double{s});
    for (const float s : scores) total += std::exp2(s - top);
    EXPECT_EQ(m, static_cast<float>(top));
    EXPECT_NEAR(sum / total, 1.0, 1e-6);
    for (std::int64_t i = 0; i < 2 * n; ++i) {
      if (std::isinf(scores[i])) {
        EXPECT_EQ(i < n ? first[i] : second[i - n], 0.0f);
        continue;
      }
      const double want = std::exp2(scores[i] - top);
      const double got = i < n ? first[i] * correction : second[i - n];
      EXPECT_NEAR(got, want, (4e-7 + (top - scores[i]) * 0x1p-23) * want + 1e-37) << "score " << scores[i] - top;
    }
    float m_short = -kInf, sum_short = 0.0f;
    std::vector<std::uint16_t> p(n);
    GetParam()->softmax_step_bf16(scores.data(), n, p.data(), &m_short, &sum_short);
    for (std::int64_t i = 0; i < n; ++i)
      EXPECT_NEAR(float_from_bfloat16(p[i]), first[i], first[i] * 0x1p-8f + 0x1p-126f) << "rounded to bf16";
  }
}

TEST_P(EveryTarget, NothingIsSeenIsWeightedNothing) {
  std::vector<float> scores(40, -kInf), p(40, 1.0f);
  float m = 3.0f, sum = 2.0f;
  EXPECT_EQ(GetParam()->softmax_step(scores.data(), 40, p.data(), &m, &sum), 1.0f);
  EXPECT_EQ(m, 3.0f);
  EXPECT_EQ(sum, 2.0f);
  for (const float x : p) EXPECT_EQ(x, 0.0f);
}

TEST_P(EveryTarget, NormAndGateAreTheirFormulas) {
  for (const std::int64_t n : {1, 15, 16, 48, 577}) {
    const auto x = gaussian(n, 3, 4), weight = gaussian(n, 1, 5);
    std::vector<float> out(n);
    std::vector<std::uint16_t> small(n);
    double squares = 0.0;
    for (const float v : x) squares += double{v} * double{v};
    const double root = std::sqrt(squares / static_cast<double>(n) + double{1e-5f});
    GetParam()->rms_norm(x.data(), weight.data(), 1e-5f, n, out.data());
    GetParam()->rms_norm_bf16(x.data(), weight.data(), 1e-5f, n, small.data());
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(out[i], x[i] / root * weight[i], 1e-6 + 1e-6 * std::fabs(out[i]));
      EXPECT_NEAR(float_from_bfloat16(small[i]), out[i], std::fabs(out[i]) * 0x1p-8f);
    }
    auto gate = gaussian(n, 40, 6);
    gate[0] = -300.0f;
    GetParam()->swiglu(gate.data(), weight.data(), n, out.data());
    GetParam()->swiglu_bf16(gate.data(), weight.data(), n, small.data());
    for (std::int64_t i = 0; i < n; ++i) {
      const double want = gate[i] / (1.0 + std::exp(-double{gate[i]})) * weight[i];
      EXPECT_NEAR(out[i], want, (1e-6 + std::fabs(gate[i]) * 0x1p-23) * std::fabs(want) + 1e-34) << gate[i];
      EXPECT_NEAR(float_from_bfloat16(small[i]), out[i], std::fabs(out[i]) * 0x1p-8f + 1e-38f);
    }
  }
}

TEST_P(EveryTarget, GegluIsTheTanhFormOfGelu) {
  const std::int64_t n = 2003;
  auto gate = gaussian(n, 3, 9);
  const auto up = gaussian(n, 1, 10);
  const std::vector<float> hard = {0.0f,   -0.0f,  1e-30f,  -1e-30f, 0.75f, -0.75f, 10.0f,
                                   -10.0f, 300.0f, -300.0f, 1e6f,    -1e6f, 1e12f,  -1e12f};
  std::copy(hard.begin(), hard.end(), gate.begin());
  std::vector<float> out(n);
  std::vector<std::uint16_t> small(n);
  GetParam()->geglu(gate.data(), up.data(), n, out.data());
  GetParam()->geglu_bf16(gate.data(), up.data(), n, small.data());
  for (std::int64_t i = 0; i < n; ++i) {
    // In long double, so that 1 + tanh keeps its digits down to where both sides are 0.
    const long double g = gate[i];
    const long double u = std::sqrt(2.0L / 3.14159265358979323846L) * (g + 0.044715L * g * g * g);
    const double want = static_cast<double>(g / (1.0L + std::exp(-2.0L * u)) * static_cast<long double>(up[i]));
    const double size = std::fabs(double{gate[i]});
    EXPECT_NEAR(out[i], want, (2e-6 + (size + size * size * size / 16) * 0x1p-21) * std::fabs(want) + 1e-24) << gate[i];
    EXPECT_NEAR(float_from_bfloat16(small[i]), out[i], std::fabs(out[i]) * 0x1p-8f + 1e-38f);
  }
}

TEST_P(EveryTarget, NormAndScaleMayWriteWhereTheyRead) {
  auto x = gaussian(77, 3, 4);
  const auto weight = gaussian(77, 1, 5);
  std::vector<float> normed(77), scaled(77);
  GetParam()->rms_norm(x.data(), weight.data(), 1e-6f, 77, normed.data());
  GetParam()->scale(x.data(), 77, 25.3f, scaled.data());
  auto y = x;
  GetParam()->rms_norm(x.data(), weight.data(), 1e-6f, 77, x.data());
  GetParam()->scale(y.data(), 77, 25.3f, y.data());
  EXPECT_EQ(x, normed);
  EXPECT_EQ(y, scaled);
}

TEST_P(EveryTarget, LogSumExpHoldsOverAVocabulary) {
  for (const std::int64_t n : {1, 5, 1024, 1025, 49152}) {
    auto x = gaussian(n, 6, 8);
    x[0] = 80.0f;  // exp alone would be near overflow
    double total = 0.0;
    for (const float v : x) total += std::exp(double{v} - 80.0);
    EXPECT_NEAR(GetParam()->log_sum_exp(x.data(), n), 80.0 + std::log(total), 1e-6);
  }
}

TEST_P(EveryTarget, RoundingToBf16IsToNearestEven) {
  const std::vector<float> x = {1.0f,       1.00390625f, 1.01171875f, -1.00390625f, 3.3895314e38f, 0.0f, -0.0f,
                                1.0000001f, 1.0039064f,  kInf,        -kInf,        1e-20f,        5.0f, 6.0f};
  std::vector<std::uint16_t> out(x.size());
  GetParam()->scale_bf16(x.data(), static_cast<std::int64_t>(x.size()), 1.0f, out.data());
  EXPECT_EQ(out, shortened(x));
}

}  // namespace
