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
