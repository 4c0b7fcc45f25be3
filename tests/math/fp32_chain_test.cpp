#include <ropewalk/frequencies.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <utility>

#include "cases.hpp"

// Bits that transformers 5.23.0 over torch 2.13.0 (CPU, AVX-512) gives for the published cases: its own init functions,
// the dynamic one with a running length in a tensor as in its forward pass, HunYuan's for the NTK base.

namespace ropewalk {
namespace {

struct Golden {
  const char* name;
  double attention_factor;
  std::vector<std::pair<std::size_t, float>> inv_freq;  ///< pair, radians per token
};

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = {
      {"none",
       1.0,
       {{1, 0x1.bb5faep-1f},
        {8, 0x1.43d136p-2f},
        {16, 0x1.99999ap-4f},
        {24, 0x1.030dc6p-5f},
        {32, 0x1.47ae14p-7f},
        {40, 0x1.9e7c70p-9f},
        {48, 0x1.0624dep-10f},
        {63, 0x1.e459c4p-14f}}},
      {"linear",
       1.0,
       {{1, 0x1.cb9da6p-4f},
        {16, 0x1.6c310ep-6f},
        {32, 0x1.030dc6p-8f},
        {48, 0x1.708938p-11f},
        {64, 0x1.0624dep-13f},
        {80, 0x1.74eea6p-16f},
        {96, 0x1.094564p-18f},
        {127, 0x1.2b07b4p-23f}}},
      {"dynamic_10000",
       1.0,
       {{1, 0x1.b1edc2p-1f},
        {8, 0x1.109378p-2f},
        {16, 0x1.2239b6p-4f},
        {24, 0x1.350482p-6f},
        {32, 0x1.4906ccp-8f},
        {40, 0x1.5e54c4p-10f},
        {48, 0x1.7503dep-12f},
        {63, 0x1.f2f80cp-16f}}},
      {"yarn_qwen3",
       1.138629436111989,
       {{1, 0x1.9c975ap-1f},
        {8, 0x1.6c310ep-3f},
        {16, 0x1.030dc6p-5f},
        {24, 0x1.6046eep-8f},
        {32, 0x1.3c1d64p-11f},
        {40, 0x1.74eea6p-15f},
        {48, 0x1.094564p-17f},
        {63, 0x1.4d1c98p-22f}}},
      {"yarn_deepseek_v3",
       1.0,
       {{1, 0x1.7ff222p-1f},
        {4, 0x1.43d136p-2f},
        {8, 0x1.99999ap-4f},
        {12, 0x1.b86436p-6f},
        {16, 0x1.6872b2p-8f},
        {20, 0x1.9e7c6ep-11f},
        {24, 0x1.a36e2ep-16f},
        {31, 0x1.bf749ep-19f}}},
      {"yarn_gpt_oss",
       1.3465735902799727,
       {{1, 0x1.60ca6ap-1f},
        {4, 0x1.cda7f4p-3f},
        {8, 0x1.a04328p-5f},
        {12, 0x1.bd5080p-8f},
        {16, 0x1.dea878p-12f},
        {20, 0x1.312650p-16f},
        {24, 0x1.132518p-18f},
        {31, 0x1.44a5a6p-22f}}},
      {"longrope_short",
       1.1902380714238083,
       {{1, 0x1.a26c36p-1f},
        {6, 0x1.317cecp-2f},
        {12, 0x1.6db6dcp-4f},
        {18, 0x1.b71302p-6f},
        {24, 0x1.084210p-7f},
        {30, 0x1.3ed5e0p-9f},
        {36, 0x1.818182p-11f},
        {47, 0x1.59ae68p-14f}}},
      {"longrope_long",
       1.1902380714238083,
       {{1, 0x1.77a68ep-2f},
        {6, 0x1.30c4e8p-5f},
        {12, 0x1.99999ap-8f},
        {18, 0x1.60c10cp-10f},
        {24, 0x1.524016p-12f},
        {30, 0x1.588206p-14f},
        {36, 0x1.6cb8dap-16f},
        {47, 0x1.1025e8p-19f}}},
      {"llama3_1",
       1.0,
       {{1, 0x1.a11582p-1f},
        {8, 0x1.8d2760p-3f},
        {16, 0x1.341190p-5f},
        {24, 0x1.ddee9ep-8f},
        {32, 0x1.132ba4p-11f},
        {40, 0x1.1f91f0p-15f},
        {48, 0x1.be2188p-18f},
        {63, 0x1.4985fep-22f}}},
      {"llama3_2",
       1.0,
       {{1, 0x1.53c38cp-1f},
        {4, 0x1.8d2760p-3f},
        {8, 0x1.341190p-5f},
        {12, 0x1.ddee9ep-8f},
        {16, 0x1.c26c40p-12f},
        {20, 0x1.1f91f0p-17f},
        {24, 0x1.be2188p-20f},
        {31, 0x1.948360p-24f}}},
      {"proportional_gemma4",
       1.0,
       {{1, 0x1.e519f0p-1f},
        {32, 0x1.6c310ep-3f},
        {64, 0x0.0p+0f},
        {96, 0x0.0p+0f},
        {128, 0x0.0p+0f},
        {160, 0x0.0p+0f},
        {192, 0x0.0p+0f},
        {255, 0x0.0p+0f}}},
      {"ntk_base", 1.0, {{1, 0x1.8d5460p-1f}, {32, 0x1.39e63ap-12f}, {63, 0x1.eff9a0p-24f}}},
  };
  return all;
}

const RotarySpec& spec_named(const std::vector<test::Case>& cases, const std::string& name, std::int64_t& length) {
  for (const test::Case& c : cases)
    if (c.name == name) {
      length = c.running_length;
      return c.spec;
    }
  std::abort();
}

TEST(Fp32Chain, HasTheBitsOfTransformersToOneUnit) {
  auto cases = test::published_cases();
  cases.push_back(
      {"dynamic_10000", test::spec_of(128, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 4096}), 10000, {}});
  int equal = 0, all = 0;
  for (const Golden& golden : goldens()) {
    std::int64_t length = 0;
    RotarySpec spec = spec_named(cases, golden.name, length);
    spec.numerics = Numerics::kFp32;
    const auto got = make_frequencies(spec, length);
    ASSERT_TRUE(got) << golden.name;
    EXPECT_NEAR(got->attention_factor, golden.attention_factor, 2.3e-16) << golden.name;
    for (const auto& [pair, want] : golden.inv_freq) {
      const auto units = std::bit_cast<std::int32_t>(got->inv_freq_fp32[pair]) - std::bit_cast<std::int32_t>(want);
      EXPECT_LE(std::abs(units), 1) << golden.name << " pair " << pair;
      equal += units == 0;
      ++all;
    }
  }
  EXPECT_GE(equal, all * 9 / 10) << "nearly all should be equal, not only near";
}

TEST(Fp32Chain, LearnedMultipliersAreRoundedToFloatFirst) {
  RotarySpec spec = test::spec_of(4, 1e4);
  spec.numerics = Numerics::kFp32;
  spec.frequency_multipliers = {1.1, 0.3};
  const auto got = make_frequencies(spec);
  EXPECT_EQ(got->inv_freq_fp32[0], 1.1f);
  EXPECT_EQ(got->inv_freq_fp32[1], 0.01f * 0.3f);
}

}  // namespace
}  // namespace ropewalk
