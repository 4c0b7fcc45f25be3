#include <ropewalk/frequencies.hpp>
#include <ropewalk/scaling.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cases.hpp"

namespace ropewalk {
namespace {

using test::Case;
using test::spec_of;

void expect_truth(const Case& c) {
  const auto got = make_frequencies(c.spec, c.running_length);
  ASSERT_TRUE(got) << c.name << ": " << got.error().line();
  ASSERT_EQ(got->inv_freq.size(), c.truth.inv_freq.size()) << c.name;
  ASSERT_EQ(got->turns_per_token.size(), c.truth.inv_freq.size()) << c.name;
  EXPECT_TRUE(got->inv_freq_fp32.empty());
  for (std::size_t j = 0; j < got->inv_freq.size(); ++j) {
    EXPECT_EQ(got->inv_freq[j], static_cast<double>(c.truth.inv_freq[j])) << c.name << " pair " << j;
    EXPECT_EQ(got->turns_per_token[j], oracle::turns(c.truth.inv_freq[j])) << c.name << " pair " << j;
  }
  EXPECT_EQ(got->attention_factor, static_cast<double>(c.truth.attention_factor)) << c.name;
  EXPECT_EQ(got->softmax_scale_multiplier, static_cast<double>(c.truth.softmax_multiplier)) << c.name;
}

// The last bit of every frequency, in double and in 2^-64 turn, is that of the real-number formula.
TEST(Scaling, PublishedEncodingsAreCorrectlyRounded) {
  for (const Case& c : test::published_cases()) expect_truth(c);
}

TEST(Scaling, RandomEncodingsAreCorrectlyRounded) {
  for (const Case& c : test::random_cases(60, 11)) expect_truth(c);
}

TEST(Scaling, LadderOfOddWidthHasARungMore) {
  RotarySpec spec = spec_of(28, 1e4);
  spec.frequency_dim = 27;
  expect_truth({"odd", spec, 0, oracle::none(1e4, 27)});
}

TEST(Scaling, RungsAndMultipliersAreApplied) {
  RotarySpec spec = spec_of(16, 100.0, LinearOptions{2.0});
  spec.frequency_dim = 8;
  spec.rung_of_pair = {0, 1, 2, 3, 0, 1, 2, 3};
  spec.axis_of_pair = {0, 0, 0, 0, 1, 1, 1, 1};
  spec.frequency_multipliers = {1, 1, 1, 1, -0.1, 0, 3, 1.5};
  const auto got = make_frequencies(spec);
  ASSERT_TRUE(got) << got.error().line();
  EXPECT_EQ(spec.axes(), 2);
  for (int j = 0; j < 8; ++j) {
    const oracle::Quad want = oracle::plain(100, j % 4, 8) / 2 * spec.frequency_multipliers[j];
    EXPECT_EQ(got->inv_freq[j], static_cast<double>(want));
    EXPECT_EQ(got->turns_per_token[j], oracle::turns(want));
  }
}

TEST(Scaling, SoftmaxFactorsOfFamilyAndScalingMultiply) {
  RotarySpec spec =
      spec_of(64, 1e4, YarnOptions{.factor = 40, .trained_context = 4096, .mscale_all_dim = 1, .scale_softmax = true});
  spec.softmax_scale_multiplier = 0.5;
  EXPECT_NEAR(make_frequencies(spec)->softmax_scale_multiplier, 0.5 * 1.873854207, 1e-9);
}

TEST(Scaling, Fp32SettingsTakeTheSameBranches) {
  // The float32 chain of every method lies within float32 rounding of the real-number formula, so that no branch, ramp
  // or list is taken wrongly in one of the two arithmetics.
  auto cases = test::published_cases();
  for (Case& c : cases) {
    c.spec.numerics = Numerics::kFp32;
    const auto got = make_frequencies(c.spec, c.running_length);
    ASSERT_TRUE(got) << c.name;
    EXPECT_TRUE(got->turns_per_token.empty());
    for (std::size_t j = 0; j < got->inv_freq.size(); ++j) {
      const auto want = static_cast<double>(c.truth.inv_freq[j]);
      EXPECT_NEAR(got->inv_freq[j], want, 4e-6 * want) << c.name << " pair " << j;
      EXPECT_EQ(got->inv_freq[j], double{got->inv_freq_fp32[j]});
    }
    EXPECT_NEAR(got->attention_factor, static_cast<double>(c.truth.attention_factor), 1e-15) << c.name;
  }
}

TEST(Scaling, LongRopeTakesTheListOfItsPolicy) {
  LongRopeOptions options{.short_factor = {1, 1}, .long_factor = {2, 4}, .trained_context = 100, .factor = 4};
  const auto last = [&](std::int64_t length) {
    return make_frequencies(spec_of(4, 1e4, options), length)->inv_freq[1];
  };
  EXPECT_EQ(last(0), 0.01);
  EXPECT_EQ(last(100), 0.01);
  EXPECT_EQ(last(101), 0.0025);
  options.policy = LongRopePolicy::kShort;
  EXPECT_EQ(last(101), 0.01);
  options.policy = LongRopePolicy::kLong;
  EXPECT_EQ(last(1), 0.0025);
}

TEST(Scaling, PhiMoeReplacesTheFactorListByList) {
  const LongRopeOptions options{.short_factor = {1, 1},
                                .long_factor = {2, 4},
                                .trained_context = 100,
                                .factor = 4,
                                .short_mscale = 1.25,
                                .long_mscale = 1.5};
  EXPECT_EQ(make_frequencies(spec_of(4, 1e4, options), 100)->attention_factor, 1.25);
  EXPECT_EQ(make_frequencies(spec_of(4, 1e4, options), 101)->attention_factor, 1.5);
}

TEST(Scaling, Llama3WithEqualFactorsHasNoBlend) {
  // Llama 4 Scout: low = high = 1, where a blend would divide by zero.
  for (const Numerics numerics : {Numerics::kExact, Numerics::kFp32}) {
    RotarySpec spec = spec_of(
        128, 5e5, Llama3Options{.factor = 16, .low_freq_factor = 1, .high_freq_factor = 1, .trained_context = 8192});
    spec.numerics = numerics;
    const auto scout = make_frequencies(spec);
    spec.scaling = NoScaling{};
    const auto plain = make_frequencies(spec);
    for (std::size_t j = 0; j < 64; ++j)
      EXPECT_EQ(scout->inv_freq[j],
                wavelength_tokens(plain->inv_freq[j]) > 8192 ? plain->inv_freq[j] / 16 : plain->inv_freq[j]);
  }
}

TEST(Scaling, Llama3WithEqualFactorsKeepsAWavelengthThatMeetsThem) {
  // Pair 0 has a wavelength of 2 pi, in float32 the very number of L0 / low here: neither kept nor divided by the
  // strict comparisons, and transformers divides 0 by 0.
  const double low = 1.0 / static_cast<double>(static_cast<float>(2.0 * 3.14159265358979323846));
  RotarySpec spec = spec_of(
      4, 1e4, Llama3Options{.factor = 8, .low_freq_factor = low, .high_freq_factor = low, .trained_context = 1});
  spec.numerics = Numerics::kFp32;
  EXPECT_EQ(make_frequencies(spec)->inv_freq_fp32[0], 1.0f);
}

TEST(Scaling, InfiniteDivisorStopsAPair) {
  const double infinity = std::numeric_limits<double>::infinity();
  RotarySpec spec = spec_of(4, 1e4, DivisorOptions{.divisors = {1.0, infinity}});
  EXPECT_EQ(make_frequencies(spec)->inv_freq[1], 0.0);
  EXPECT_EQ(make_frequencies(spec)->turns_per_token[1], 0u);
  spec.numerics = Numerics::kFp32;
  EXPECT_EQ(make_frequencies(spec)->inv_freq_fp32[1], 0.0f);
  EXPECT_TRUE(std::isinf(wavelength_tokens(0.0)));
}

TEST(Scaling, YarnRampGuardsDifferWhereTheRampIsReversed) {
  // Divergence B-21: an original context so small that the ramp ends before it begins.
  YarnOptions options{.factor = 4, .trained_context = 40, .beta_fast = 1, .beta_slow = 8, .truncate = false};
  const auto nudge = make_frequencies(spec_of(64, 1e4, options));
  options.ramp_guard = RampGuard::kFloor;
  const auto floor = make_frequencies(spec_of(64, 1e4, options));
  EXPECT_NE(nudge->inv_freq, floor->inv_freq);
}

TEST(Scaling, DynamicLengthGrowsKeepsAndResets) {
  DynamicLength length(4096);
  EXPECT_EQ(length.observe(100), 4096);
  EXPECT_EQ(length.epoch(), 0u);
  EXPECT_EQ(length.observe(10000), 10000);
  EXPECT_EQ(length.epoch(), 1u);
  EXPECT_EQ(length.observe(6000), 10000);  // between: keeps
  EXPECT_EQ(length.observe(4096), 10000);  // not *below* the trained length: keeps
  EXPECT_EQ(length.epoch(), 1u);
  EXPECT_EQ(length.observe(4095), 4096);  // below: back
  EXPECT_EQ(length.epoch(), 2u);
  EXPECT_EQ(length.observe(4097), 4097);
  EXPECT_EQ(length.epoch(), 3u);

  DynamicLength never(4096, DynamicReset::kNever);
  never.observe(10000);
  EXPECT_EQ(never.observe(10), 10000);
}

TEST(Scaling, NamesAreThoseOfTheVariant) {
  EXPECT_EQ(name_of(NoScaling{}), "none");
  EXPECT_EQ(name_of(LinearOptions{}), "linear");
  EXPECT_EQ(name_of(NtkOptions{}), "ntk");
  EXPECT_EQ(name_of(DynamicNtkOptions{}), "dynamic");
  EXPECT_EQ(name_of(YarnOptions{}), "yarn");
  EXPECT_EQ(name_of(LongRopeOptions{}), "longrope");
  EXPECT_EQ(name_of(Llama3Options{}), "llama3");
  EXPECT_EQ(name_of(ProportionalOptions{}), "proportional");
  EXPECT_EQ(name_of(DivisorOptions{}), "divisors");
}

TEST(Scaling, DependsOnLengthOnlyWhereItSaysSo) {
  EXPECT_TRUE(depends_on_length(DynamicNtkOptions{}));
  EXPECT_FALSE(depends_on_length(DynamicNtkOptions{.growth = DynamicGrowth::kFullLength}));
  EXPECT_TRUE(depends_on_length(LongRopeOptions{}));
  EXPECT_FALSE(depends_on_length(LongRopeOptions{.policy = LongRopePolicy::kLong}));
  EXPECT_FALSE(depends_on_length(YarnOptions{}));
}

TEST(Scaling, MadeByNameOrRefusedByName) {
  EXPECT_TRUE(*make_scaling("none", 1, 1) == Scaling{NoScaling{}});
  EXPECT_TRUE(*make_scaling("linear", 4, 1) == Scaling{LinearOptions{4}});
  EXPECT_TRUE(*make_scaling("ntk", 4, 1) == Scaling{NtkOptions{4}});
  EXPECT_TRUE(*make_scaling("dynamic", 4, 99) == (Scaling{DynamicNtkOptions{.factor = 4, .trained_context = 99}}));
  EXPECT_TRUE(*make_scaling("yarn", 4, 99) == (Scaling{YarnOptions{.factor = 4, .trained_context = 99}}));

  EXPECT_EQ(make_scaling("longrope", 4, 99).error().line(),
            "scaling: want one of none, linear, ntk, dynamic, yarn, got \"longrope\"");
  EXPECT_EQ(make_scaling("longrope", 4, 99).error().code, Code::kUnsupported);
  EXPECT_EQ(make_scaling("yarn", 0.25, 99).error().line(), "factor: want a number >= 1, got 0.25");
  EXPECT_EQ(make_scaling("yarn", std::nan(""), 99).error().line(), "factor: want a number >= 1, got nan");
  EXPECT_EQ(make_scaling("yarn", 2, 0).error().line(), "trained_context: want a number of tokens >= 1, got 0");
}

}  // namespace
}  // namespace ropewalk
