#include <ropewalk/frequencies.hpp>
#include <ropewalk/spec.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "cases.hpp"

namespace ropewalk {
namespace {

using test::spec_of;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string refusal(const RotarySpec& spec) {
  const auto error = validate(spec);
  return error ? error->line() : "accepted";
}

// What `validate` says of a good spec with one thing changed.
std::string refusal(const std::function<void(RotarySpec&)>& change) {
  RotarySpec spec = spec_of(128, 1e4);
  change(spec);
  return refusal(spec);
}

std::string refusal(Scaling scaling) { return refusal(spec_of(8, 1e4, std::move(scaling))); }

TEST(Validate, AcceptsEveryPublishedEncoding) {
  for (const test::Case& c : test::published_cases()) EXPECT_EQ(refusal(c.spec), "accepted") << c.name;
}

TEST(Validate, ChannelsOfTheHead) {
  const auto dims = [](int head, int rotary, int offset) {
    return refusal([=](RotarySpec& s) {
      s.head_dim = head;
      s.rotary_dim = rotary;
      s.rotary_offset = offset;
    });
  };
  EXPECT_EQ(dims(128, 5, 0), "rotary_dim: want an even number in [2, 128], got 5");
  EXPECT_EQ(dims(128, 130, 0), "rotary_dim: want an even number in [2, 128], got 130");
  EXPECT_EQ(dims(128, 0, 0), "rotary_dim: want an even number in [2, 128], got 0");
  EXPECT_EQ(dims(128, 64, 128), "rotary_offset: want a whole number in [0, 126], got 128");
  EXPECT_EQ(dims(128, 64, -2), "rotary_offset: want a whole number in [0, 126], got -2");
  EXPECT_EQ(dims(128, 64, 100), "rotary_dim: want an even number in [2, 28], got 64");
  EXPECT_EQ(dims(0, 0, 0), "head_dim: want a whole number in [2, 65536], got 0");
  EXPECT_EQ(dims(-8, 4, 0), "head_dim: want a whole number in [2, 65536], got -8");
  EXPECT_EQ(dims(2000000000, 128, 0), "head_dim: want a whole number in [2, 65536], got 2000000000");
  EXPECT_EQ(dims(192, 64, 128), "accepted");
  EXPECT_EQ(dims(65536, 65536, 0), "accepted");
}

TEST(Validate, Theta) {
  const auto theta = [](double value) { return refusal([=](RotarySpec& s) { s.theta = value; }); };
  EXPECT_EQ(theta(0.0), "theta: want a number > 1, got 0");
  EXPECT_EQ(theta(1.0), "theta: want a number > 1, got 1");
  EXPECT_EQ(theta(-10000.0), "theta: want a number > 1, got -10000");
  EXPECT_EQ(theta(std::nan("")), "theta: want a number > 1, got nan");
  EXPECT_EQ(theta(kInfinity), "theta: want a number <= 1e+30, got inf");
}

TEST(Validate, LayoutHasNoDefault) {
  EXPECT_EQ(refusal([](RotarySpec& s) { s.layout = PairLayout::kUnset; }),
            "layout: want half or interleaved, got unset");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.layout = static_cast<PairLayout>(7); }),
            "layout: want half or interleaved, got ?");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.numerics = static_cast<Numerics>(9); }),
            "numerics: want a whole number in [0, 1], got 9");
}

TEST(Validate, ListsHaveOneEntryAPair) {
  EXPECT_EQ(refusal([](RotarySpec& s) {
              s.axis_of_pair = {0, 1};
            }),
            "axis_of_pair: want 64 entries, one a pair, got 2");
  EXPECT_EQ(refusal([](RotarySpec& s) {
              s.rung_of_pair = {0, 1};
            }),
            "rung_of_pair: want 64 entries, one a pair, got 2");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.frequency_multipliers = {1}; }),
            "frequency_multipliers: want 64 entries, one a pair, got 1");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.rung_of_pair.assign(64, 64); }),
            "rung_of_pair[0]: want a whole number in [0, 63], got 64");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.rung_of_pair.assign(64, -1); }),
            "rung_of_pair[0]: want a whole number in [0, 63], got -1");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.frequency_multipliers.assign(64, kInfinity); }),
            "frequency_multipliers[0]: want a number in [-65536, 65536], got inf");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.frequency_multipliers.assign(64, std::nan("")); }),
            "frequency_multipliers[0]: want a number in [-65536, 65536], got nan");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.frequency_dim = -1; }),
            "frequency_dim: want a whole number in [0, 65536], got -1");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.frequency_dim = 64; }),
            "frequency_dim: want at least 127 for 64 pairs on rungs of their own, got 64");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.frequency_dim = 127; }), "accepted");
}

TEST(Validate, FactorsOnLogits) {
  const auto softmax = [](double value) { return refusal([=](RotarySpec& s) { s.softmax_scale_multiplier = value; }); };
  EXPECT_EQ(softmax(0.0), "softmax_scale_multiplier: want a number > 0, got 0");
  EXPECT_EQ(softmax(kInfinity), "softmax_scale_multiplier: want a number <= 1000000, got inf");
  const auto temperature = [](QueryTemperature t) { return refusal([=](RotarySpec& s) { s.query_temperature = t; }); };
  EXPECT_EQ(temperature({.beta = -1}), "query_temperature.beta: want a number >= 0, got -1");
  EXPECT_EQ(temperature({.beta = 0.1, .context = 0}), "query_temperature.context: want a number of tokens >= 1, got 0");
  EXPECT_EQ(temperature({.beta = 0.1, .context = 8192, .offset = -1}),
            "query_temperature.offset: want a number of tokens >= 0, got -1");
  EXPECT_EQ(temperature({.beta = 0.1, .context = 8192, .offset = 1}), "accepted");
}

TEST(Validate, FactorOfEveryScaling) {
  const std::vector<double> ones(4, 1.0);
  for (const double factor : {0.25, 0.0, -4.0}) {
    const std::string want = "scaling.factor: want a number >= 1, got " + std::string(factor == 0.25  ? "0.25"
                                                                                      : factor == 0.0 ? "0"
                                                                                                      : "-4");
    EXPECT_EQ(refusal(LinearOptions{factor}), want);
    EXPECT_EQ(refusal(NtkOptions{factor}), want);
    EXPECT_EQ(refusal(DynamicNtkOptions{.factor = factor, .trained_context = 8}), want);
    EXPECT_EQ(refusal(YarnOptions{.factor = factor, .trained_context = 8}), want);
    EXPECT_EQ(
        refusal(LongRopeOptions{.short_factor = ones, .long_factor = ones, .trained_context = 8, .factor = factor}),
        want);
    EXPECT_EQ(refusal(Llama3Options{.factor = factor, .trained_context = 8}), want);
    EXPECT_EQ(refusal(ProportionalOptions{.fraction = 0.5, .factor = factor}), want);
    EXPECT_EQ(refusal(DivisorOptions{.divisors = ones, .factor = factor}), want);
  }
  EXPECT_EQ(refusal(LinearOptions{std::nan("")}), "scaling.factor: want a number >= 1, got nan");
  EXPECT_EQ(refusal(LinearOptions{kInfinity}), "scaling.factor: want a number <= 1e+12, got inf");
}

TEST(Validate, TrainedContextIsNeverGuessed) {
  const std::vector<double> ones(4, 1.0);
  const std::string want = "scaling.trained_context: want a number of tokens >= 1, got 0";
  EXPECT_EQ(refusal(DynamicNtkOptions{.factor = 2}), want);
  EXPECT_EQ(refusal(YarnOptions{.factor = 2}), want);
  EXPECT_EQ(refusal(Llama3Options{.factor = 2}), want);
  EXPECT_EQ(refusal(LongRopeOptions{.short_factor = ones, .long_factor = ones}), want);
  // ln 1 would stand below a fraction line.
  EXPECT_EQ(refusal(LongRopeOptions{.short_factor = ones, .long_factor = ones, .trained_context = 1, .factor = 2}),
            "scaling.trained_context: want a number of tokens >= 2, got 1");
}

TEST(Validate, NtkWantsMoreThanOnePair) {
  const RotarySpec dynamic = spec_of(2, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 8});
  EXPECT_EQ(refusal(dynamic), "rotary_dim: want more than 2 for dynamic scaling, whose exponent is d / (d - 2), got 2");
  EXPECT_EQ(refusal(spec_of(2, 1e4, NtkOptions{2})),
            "rotary_dim: want more than 2 for ntk scaling, whose exponent is d / (d - 2), got 2");
  EXPECT_EQ(refusal(spec_of(2, 1e4, NtkOptions{.factor = 2, .form = NtkForm::kFixed})), "accepted");
  EXPECT_EQ(refusal(spec_of(4, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 8})), "accepted");
}

TEST(Validate, OptionsOfTheMethods) {
  EXPECT_EQ(refusal(NtkOptions{.factor = 2, .form = NtkForm::kMixed, .mixed_b = 0}),
            "scaling.mixed_b: want a number > 0, got 0");
  EXPECT_EQ(refusal(YarnOptions{.factor = 2, .trained_context = 8, .beta_fast = 0}),
            "scaling.beta_fast: want a number > 0, got 0");
  EXPECT_EQ(refusal(YarnOptions{.factor = 2, .trained_context = 8, .beta_slow = std::nan("")}),
            "scaling.beta_slow: want a number > 0, got nan");
  EXPECT_EQ(refusal(YarnOptions{.factor = 2, .trained_context = 8, .attention_factor = -1.0}),
            "scaling.attention_factor: want a number >= 0, got -1");
  EXPECT_EQ(refusal(YarnOptions{.factor = 2, .trained_context = 8, .mscale = kInfinity}),
            "scaling.mscale: want a number <= 1000000, got inf");
  EXPECT_EQ(refusal(YarnOptions{.factor = 2, .trained_context = 8, .extrapolation_factor = 1.5}),
            "scaling.extrapolation_factor: want a number <= 1, got 1.5");
  EXPECT_EQ(refusal(Llama3Options{.factor = 2, .low_freq_factor = 4, .high_freq_factor = 1, .trained_context = 8}),
            "scaling.high_freq_factor: want a number >= 4, got 1");
  EXPECT_EQ(refusal(Llama3Options{.factor = 2, .low_freq_factor = 0, .trained_context = 8}),
            "scaling.low_freq_factor: want a number > 0, got 0");
  EXPECT_EQ(refusal(ProportionalOptions{.fraction = 0}), "scaling.fraction: want a number > 0, got 0");
  EXPECT_EQ(refusal(ProportionalOptions{.fraction = 1.5}), "scaling.fraction: want a number <= 1, got 1.5");
  EXPECT_EQ(refusal(DivisorOptions{.divisors = {1, 2}}), "scaling.divisors: want 4 entries, one a pair, got 2");
  EXPECT_EQ(refusal(DivisorOptions{.divisors = {1, 2, 0, 4}}),
            "scaling.divisors[2]: want a number >= 1.52587890625e-05, got 0");
  EXPECT_EQ(refusal(DivisorOptions{.divisors = {1, 2, std::nan(""), 4}}),
            "scaling.divisors[2]: want a number >= 1.52587890625e-05, got nan");
  EXPECT_EQ(refusal(LongRopeOptions{.short_factor = {1, 1, 1, 1}, .long_factor = {1, 1, 1}, .trained_context = 8}),
            "scaling.long_factor: want 4 entries, one a pair, got 3");
  EXPECT_NE(
      refusal(LongRopeOptions{.short_factor = {1, 1, 1, kInfinity}, .long_factor = {1, 1, 1, 1}, .trained_context = 8}),
      "accepted");
}

TEST(Validate, ProportionalTakesEveryLadder) {
  RotarySpec spec = spec_of(512, 1e6, ProportionalOptions{.fraction = 0.25});
  spec.rotary_dim = 128;
  EXPECT_EQ(refusal(spec), "accepted");
  spec.rotary_offset = 384;
  EXPECT_EQ(refusal(spec), "accepted");
  spec.frequency_dim = 1024;
  EXPECT_EQ(refusal(spec), "accepted");
  spec.frequency_dim = 126;
  EXPECT_EQ(refusal(spec), "frequency_dim: want at least 127 for 64 pairs on rungs of their own, got 126");
}

TEST(Validate, GivenFrequenciesTakeThePlaceOfALadder) {
  const auto given = [](const std::function<void(RotarySpec&)>& change) {
    return refusal([&](RotarySpec& s) {
      s.theta = 0.0;
      s.given = GivenFrequencies{.heads = 2, .axes = 3, .inv_freq = std::vector<double>(2 * 3 * 64, 0.5)};
      change(s);
    });
  };
  EXPECT_EQ(given([](RotarySpec&) {}), "accepted");
  EXPECT_EQ(given([](RotarySpec& s) { s.theta = 1e4; }), "theta: want none where frequencies are given, got 10000");
  EXPECT_EQ(given([](RotarySpec& s) { s.scaling = LinearOptions{2.0}; }),
            "scaling: want none where frequencies are given, got linear");
  EXPECT_EQ(given([](RotarySpec& s) { s.frequency_dim = 128; }),
            "frequency_dim: want none where frequencies are given, got 128");
  EXPECT_EQ(given([](RotarySpec& s) { s.axis_of_pair.assign(64, 0); }),
            "axis_of_pair: want none where frequencies are given, got a list beside given.axes > 1");
  EXPECT_EQ(given([](RotarySpec& s) { s.given->inv_freq.pop_back(); }),
            "given.inv_freq: want 2 x 3 x 64 entries, got 383");
  EXPECT_EQ(given([](RotarySpec& s) { s.given->heads = 0; }), "given.heads: want a whole number in [1, 65536], got 0");
  EXPECT_EQ(given([](RotarySpec& s) { s.given->inv_freq[7] = kInfinity; }),
            "given.inv_freq[7]: want a number in [-1000000, 1000000], got inf");
  EXPECT_EQ(given([](RotarySpec& s) { s.given->inv_freq[7] = std::nan(""); }),
            "given.inv_freq[7]: want a number in [-1000000, 1000000], got nan");
}

TEST(Validate, BlocksAddUpToThePairs) {
  const auto blocks = [](std::vector<int> list) { return refusal([&](RotarySpec& s) { s.pair_blocks = list; }); };
  EXPECT_EQ(blocks({32, 32}), "accepted");
  EXPECT_EQ(blocks({32, 31}), "pair_blocks: want numbers that add up to 64 pairs, got 63");
  EXPECT_EQ(blocks({64, 0}), "pair_blocks[1]: want a whole number in [1, 64], got 0");
  EXPECT_EQ(blocks({-1, 65}), "pair_blocks[0]: want a whole number in [1, 64], got -1");
}

TEST(Validate, WhatNeedsAWholeHeadHasAtMost1024Pairs) {
  for (const auto& [path, change] : std::vector<std::pair<std::string, std::function<void(RotarySpec&)>>>{
           {"output_layout", [](RotarySpec& s) { s.output_layout = PairLayout::kInterleaved; }},
           {"second", [](RotarySpec& s) { s.second = SecondAngle{}; }},
           {"fourier", [](RotarySpec& s) {
              s.fourier = FourierMix{1, 1, 1, {1.0}, {1.0}};
            }}}) {
    const auto wide = [&, change = change](int dim) {
      return refusal([&](RotarySpec& s) {
        s.layout = PairLayout::kHalf;
        s.head_dim = s.rotary_dim = dim;
        change(s);
      });
    };
    EXPECT_EQ(wide(2048), "accepted");
    EXPECT_EQ(wide(2050), path + ": want at most 1024 pairs, got 1025");
  }
}

TEST(Validate, SecondAnglesXPosAndFourierMixes) {
  EXPECT_EQ(refusal([](RotarySpec& s) { s.second = SecondAngle{.rung_of_pair = std::vector<int>(63, 0)}; }),
            "second.rung_of_pair: want 64 entries, one a pair, got 63");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.second = SecondAngle{.rung_of_pair = std::vector<int>(64, 64)}; }),
            "second.rung_of_pair[0]: want a whole number in [0, 63], got 64");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.second = SecondAngle{.axis_of_pair = {0}}; }),
            "second.axis_of_pair: want 64 entries, one a pair, got 1");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.xpos = XPos{.scale_base = 0.0}; }),
            "xpos.scale_base: want a number >= 1, got 0");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.xpos = XPos{.gamma = -1.0}; }), "xpos.gamma: want a number >= 0.001, got -1");
  EXPECT_EQ(refusal([](RotarySpec& s) {
              s.fourier = FourierMix{1, 65, 1, {}, {}};
            }),
            "fourier.tones: want a whole number in [1, 64], got 65");
  EXPECT_EQ(refusal([](RotarySpec& s) {
              s.fourier = FourierMix{1, 2, 3, std::vector<double>(6), {}};
            }),
            "fourier.sin_mix: want 1 x 2 x 3 entries, got 0");
  EXPECT_EQ(refusal([](RotarySpec& s) { s.position_scale = 0.0; }), "position_scale: want a number > 0, got 0");
}

TEST(Validate, MakingFrequenciesSaysTheSame) {
  RotarySpec spec = spec_of(128, 1e4);
  spec.rotary_dim = 5;
  EXPECT_EQ(make_frequencies(spec).error().line(), refusal(spec));
  EXPECT_EQ(fingerprint(spec).error().line(), refusal(spec));
  EXPECT_EQ(make_frequencies(spec_of(128, 1e4), -1).error().line(),
            "running_length: want a number of tokens >= 0, got -1");
}

std::string print_of(const RotarySpec& spec, std::int64_t length = 0) { return *fingerprint(spec, length); }

TEST(Fingerprint, IsTheSameEverywhere) {
  // Worked out apart from the library, in Python with mpmath: tests/oracle/mpmath_oracle.py `fingerprint`.
  EXPECT_EQ(print_of(spec_of(128, 1e4)), "cd10d38adccd8009");
  EXPECT_EQ(print_of(spec_of(128, 1e6, YarnOptions{.factor = 4, .trained_context = 32768})), "75c75c25da98219b");
}

TEST(Fingerprint, TwoSpellingsOfOneEncodingAgree) {
  const RotarySpec plain = spec_of(64, 1e4);
  EXPECT_EQ(print_of(plain), print_of(spec_of(64, 1e4, LinearOptions{1.0})));
  EXPECT_EQ(print_of(plain), print_of(spec_of(64, 1e4, DivisorOptions{std::vector<double>(32, 1.0)})));
  EXPECT_EQ(print_of(plain), print_of(spec_of(64, 1e4, ProportionalOptions{})));
  EXPECT_EQ(print_of(spec_of(64, 1e4, LinearOptions{4})),
            print_of(spec_of(64, 1e4, DivisorOptions{std::vector<double>(32, 2.0), 2.0})));

  RotarySpec spelled = plain;
  spelled.frequency_dim = 64;
  spelled.axis_of_pair.assign(32, 0);
  spelled.frequency_multipliers.assign(32, 1.0);
  for (int j = 0; j < 32; ++j) spelled.rung_of_pair.push_back(j);
  spelled.query_temperature = QueryTemperature{.beta = 0.0, .context = 77};
  EXPECT_NE(spelled, plain);
  EXPECT_EQ(print_of(spelled), print_of(plain));

  // Turning backwards by f is turning by -f.
  RotarySpec clockwise = plain, negated = plain;
  clockwise.clockwise = true;
  negated.frequency_multipliers.assign(32, -1.0);
  EXPECT_EQ(print_of(clockwise), print_of(negated));
  EXPECT_NE(print_of(clockwise), print_of(plain));
  clockwise.numerics = negated.numerics = Numerics::kFp32;
  EXPECT_EQ(print_of(clockwise), print_of(negated));

  // A prefix of the head, or the whole head with the other pairs standing still.
  RotarySpec prefix = spec_of(8, 1e4), still = spec_of(8, 1e4);
  prefix.rotary_dim = 4;
  prefix.layout = still.layout = PairLayout::kInterleaved;
  still.frequency_dim = 4;
  still.rung_of_pair = {0, 1, 0, 0};
  still.frequency_multipliers = {1, 1, 0, 0};
  EXPECT_EQ(print_of(prefix), print_of(still));

  // YaRN's default factor on cos and sin, or the same number given.
  YarnOptions yarn{.factor = 4, .trained_context = 32768};
  const std::string by_default = print_of(spec_of(128, 1e6, yarn));
  yarn.attention_factor = 1.138629436111989;
  EXPECT_EQ(print_of(spec_of(128, 1e6, yarn)), by_default);

  // One pair lies the same way in both layouts.
  RotarySpec one = spec_of(2, 1e4), other = one;
  other.layout = PairLayout::kInterleaved;
  EXPECT_EQ(print_of(one), print_of(other));
}

TEST(Fingerprint, EveryFieldThatMattersChangesIt) {
  const std::vector<std::function<void(RotarySpec&)>> changes = {
      [](RotarySpec&) {},
      [](RotarySpec& s) { s.head_dim = 256; },
      [](RotarySpec& s) { s.rotary_dim = 64; },
      [](RotarySpec& s) {
        s.head_dim = 256;
        s.rotary_offset = 128;
      },
      [](RotarySpec& s) { s.theta = std::nextafter(1e4, 2e4); },
      [](RotarySpec& s) { s.layout = PairLayout::kInterleaved; },
      [](RotarySpec& s) { s.numerics = Numerics::kFp32; },
      [](RotarySpec& s) { s.frequency_dim = 256; },
      [](RotarySpec& s) { s.rung_of_pair.assign(64, 3); },
      [](RotarySpec& s) {
        s.axis_of_pair.assign(64, 0);
        s.axis_of_pair[7] = 1;
      },
      [](RotarySpec& s) {
        s.frequency_multipliers.assign(64, 1.0);
        s.frequency_multipliers[63] = 1.0 + 0x1p-40;
      },
      [](RotarySpec& s) { s.clockwise = true; },
      [](RotarySpec& s) { s.softmax_scale_multiplier = 1.5; },
      [](RotarySpec& s) { s.query_temperature = QueryTemperature{.beta = 0.1, .context = 8192}; },
      [](RotarySpec& s) { s.query_temperature = QueryTemperature{.beta = 0.2, .context = 8192}; },
      [](RotarySpec& s) { s.query_temperature = QueryTemperature{.beta = 0.1, .context = 4096}; },
      [](RotarySpec& s) { s.query_temperature = QueryTemperature{.beta = 0.1, .context = 8192, .offset = 1}; },
      [](RotarySpec& s) { s.scaling = LinearOptions{2}; },
      [](RotarySpec& s) { s.scaling = NtkOptions{2}; },
      [](RotarySpec& s) { s.scaling = NtkOptions{.factor = 2, .form = NtkForm::kFixed}; },
      [](RotarySpec& s) { s.scaling = NtkOptions{.factor = 2, .form = NtkForm::kMixed}; },
      [](RotarySpec& s) { s.scaling = YarnOptions{.factor = 2, .trained_context = 4096}; },
      [](RotarySpec& s) { s.scaling = YarnOptions{.factor = 2, .trained_context = 4096, .truncate = false}; },
      [](RotarySpec& s) { s.scaling = YarnOptions{.factor = 2, .trained_context = 4096, .attention_factor = 1.0}; },
      [](RotarySpec& s) {
        s.scaling = YarnOptions{
            .factor = 2, .trained_context = 4096, .attention_factor = 1.0, .mscale_all_dim = 1, .scale_softmax = true};
      },
      [](RotarySpec& s) { s.scaling = Llama3Options{.trained_context = 8192}; },
      [](RotarySpec& s) { s.scaling = ProportionalOptions{.fraction = 0.5}; },
  };
  std::set<std::string> seen;
  for (const auto& change : changes) {
    RotarySpec spec = spec_of(128, 1e4);
    change(spec);
    EXPECT_TRUE(seen.insert(print_of(spec)).second) << to_string(spec);
  }
  EXPECT_EQ(seen.size(), changes.size());
}

TEST(Fingerprint, FollowsTheLengthWhereTheScalingDoes) {
  const RotarySpec dynamic = spec_of(128, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 4096});
  EXPECT_EQ(print_of(dynamic), print_of(spec_of(128, 1e4)));
  EXPECT_NE(print_of(dynamic, 4097), print_of(dynamic));
}

TEST(ToString, SaysWhatDiffersInTheWordsOfConfigs) {
  EXPECT_EQ(to_string(spec_of(64, 500000)), "head_dim=64 rotary_dim=64 rope_theta=500000 layout=half");
  RotarySpec spec = spec_of(64, 1e4, YarnOptions{.factor = 4, .trained_context = 32768, .truncate = false});
  spec.rotary_dim = 4;
  spec.rotary_offset = 60;
  spec.layout = PairLayout::kInterleaved;
  spec.numerics = Numerics::kFp32;
  spec.axis_of_pair = {0, 2};
  spec.clockwise = true;
  spec.query_temperature = QueryTemperature{.beta = 0.1, .context = 8192, .offset = 1};
  EXPECT_EQ(to_string(spec),
            "head_dim=64 rotary_dim=4 rotary_offset=60 rope_theta=10000 layout=interleaved scaling={rope_type=yarn "
            "factor=4 original_max_position_embeddings=32768 truncate=false} numerics=fp32 axis_of_pair=[0,2] "
            "direction=clockwise query_temperature={beta=0.1 context=8192 offset=1}");
  EXPECT_EQ(spec.axes(), 3);
}

TEST(ToString, NamesEveryScaling) {
  EXPECT_EQ(to_string(Scaling{NoScaling{}}), "rope_type=none");
  EXPECT_EQ(to_string(Scaling{LinearOptions{8}}), "rope_type=linear factor=8");
  EXPECT_EQ(to_string(Scaling{NtkOptions{.factor = 8, .form = NtkForm::kMixed}}),
            "rope_type=ntk factor=8 form=mixed mixed_b=0.625");
  EXPECT_EQ(to_string(Scaling{DynamicNtkOptions{.factor = 2, .trained_context = 4096}}),
            "rope_type=dynamic factor=2 max_position_embeddings=4096");
  EXPECT_EQ(to_string(Scaling{LongRopeOptions{.short_factor = {1, 1.5}, .long_factor = {2, 4}, .trained_context = 9}}),
            "rope_type=longrope short_factor=[1,1.5] long_factor=[2,4] original_max_position_embeddings=9");
  EXPECT_EQ(to_string(Scaling{Llama3Options{.trained_context = 8192}}),
            "rope_type=llama3 factor=8 low_freq_factor=1 high_freq_factor=4 original_max_position_embeddings=8192");
  EXPECT_EQ(to_string(Scaling{ProportionalOptions{.fraction = 0.25}}),
            "rope_type=proportional partial_rotary_factor=0.25");
  EXPECT_EQ(to_string(Scaling{DivisorOptions{.divisors = {1, kInfinity}}}), "rope_type=divisors divisors=[1,inf]");
}

}  // namespace
}  // namespace ropewalk
