#include <ropewalk/table.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "cases.hpp"

namespace ropewalk {
namespace {

using test::Case;

double distance(double got, oracle::Quad want) { return static_cast<double>(fabsq(oracle::Quad(got) - want)); }

std::vector<std::int64_t> positions_near() {
  std::vector<std::int64_t> positions = {0, 1, -1, 511, (1 << 17) - 1, (1 << 20) - 1, 10'000'000, -10'000'000};
  positions.push_back(std::int64_t{1} << 36);
  positions.push_back(-(std::int64_t{1} << 36));
  std::mt19937_64 random(5);
  for (int i = 0; i < 6; ++i) positions.push_back(static_cast<std::int64_t>(random() >> 27) * (i % 2 == 0 ? 1 : -1));
  return positions;
}

struct Table {
  std::vector<float> cos, sin;
};

Table table_of(const Frequencies& frequencies, const std::vector<std::int64_t>& positions) {
  std::vector<Turns> turns(positions.size() * frequencies.inv_freq.size());
  fill_turns(frequencies, PositionsView::row(positions), {}, turns.data());
  Table table{std::vector<float>(turns.size()), std::vector<float>(turns.size())};
  fill_cos_sin(turns, frequencies.attention_factor, table.cos.data(), table.sin.data());
  return table;
}

// Largest distance of cos and sin from the real-number formula, in units of the attention factor.
double worst_error(const Case& c, const std::vector<std::int64_t>& positions) {
  const auto frequencies = make_frequencies(c.spec, c.running_length);
  const Table table = table_of(*frequencies, positions);
  const oracle::Quad m = c.truth.attention_factor;
  double worst = 0;
  std::size_t i = 0;
  for (const std::int64_t position : positions)
    for (const oracle::Quad inv_freq : c.truth.inv_freq) {
      worst = std::max(worst, distance(table.cos[i], m * oracle::cosine(position, inv_freq)));
      worst = std::max(worst, distance(table.sin[i], m * oracle::sine(position, inv_freq)));
      ++i;
    }
  return worst / std::max(1.0, static_cast<double>(m));
}

TEST(Table, WithinTheBoundToTwoToThe36ForEveryMethod) {
  const auto positions = positions_near();
  double worst = 0;
  for (const Case& c : test::published_cases()) {
    const double error = worst_error(c, positions);
    EXPECT_LE(error, 1.2e-7) << c.name;
    worst = std::max(worst, error);
  }
  for (const Case& c : test::random_cases(2, 21)) {
    const double error = worst_error(c, positions);
    EXPECT_LE(error, 1.2e-7) << c.name;
    worst = std::max(worst, error);
  }
  RecordProperty("log2_worst", std::to_string(std::log2(worst)));
}

TEST(Table, GrowsAsStatedBeyond) {
  // |p| * 2^-65 turns, and no more; and not much less either, or the bound would be idle.
  std::mt19937_64 random(6);
  const Case c = test::published_cases()[0];
  const auto frequencies = make_frequencies(c.spec);
  double largest_share = 0;
  for (int bits = 37; bits <= 62; ++bits) {
    for (int i = 0; i < 4; ++i) {
      const auto p =
          static_cast<std::int64_t>((std::uint64_t{1} << bits) - 1 - random() % 1000) * (i % 2 == 0 ? 1 : -1);
      const double bound = 2 * M_PI * std::ldexp(std::abs(static_cast<double>(p)), -65);
      for (std::size_t j = 0; j < c.truth.inv_freq.size(); ++j) {
        const Turns turns = phase(p, frequencies->turns_per_token[j]);
        double cosine = 0, sine = 0;
        fill_cos_sin({&turns, 1}, 1.0, &cosine, &sine);
        const double error = std::max(distance(cosine, oracle::cosine(p, c.truth.inv_freq[j])),
                                      distance(sine, oracle::sine(p, c.truth.inv_freq[j])));
        EXPECT_LE(error, bound + 0x1p-51) << p << " pair " << j;
        largest_share = std::max(largest_share, error / bound);
      }
    }
  }
  EXPECT_GT(largest_share, 0.5);
}

TEST(Table, DoubleCosAndSinKeepTheirBound) {
  std::mt19937_64 random(7);
  std::vector<Turns> turns;
  for (int i = 0; i < 20000; ++i) turns.push_back(random());
  for (Turns eighth = 0; eighth < 8; ++eighth)
    for (int near = -3; near <= 3; ++near) turns.push_back((eighth << 61) + static_cast<Turns>(near));
  for (int bit = 0; bit < 64; ++bit) turns.push_back(Turns{1} << bit);

  std::vector<double> cos(turns.size()), sin(turns.size());
  fill_cos_sin(turns, 1.0, cos.data(), sin.data());
  double worst = 0;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const oracle::Quad angle = 2 * oracle::kPi * oracle::Quad(turns[i]) * 0x1p-64;
    worst = std::max({worst, distance(cos[i], cosq(angle)), distance(sin[i], sinq(angle))});
  }
  RecordProperty("log2_worst", std::to_string(std::log2(worst)));
  EXPECT_LE(worst, 0x1p-52);  // the header promises 2^-51
}

TEST(Table, FloatIsTheDoubleRoundedOnceWithItsAmplitude) {
  std::mt19937_64 random(8);
  for (const double amplitude : {1.0, 1.138629436111989, 0.5, 0.0, 40.0}) {
    for (int i = 0; i < 2000; ++i) {
      const Turns turns = random();
      float cosine = 0, sine = 0;
      double cosine_wide = 0, sine_wide = 0;
      fill_cos_sin({&turns, 1}, amplitude, &cosine, &sine);
      fill_cos_sin({&turns, 1}, amplitude, &cosine_wide, &sine_wide);
      EXPECT_EQ(cosine, static_cast<float>(cosine_wide));
      EXPECT_EQ(sine, static_cast<float>(sine_wide));
    }
  }
}

TEST(Table, QuarterTurnsAreExact) {
  const std::vector<Turns> quarters = {0, Turns{1} << 62, Turns{2} << 62, Turns{3} << 62};
  std::vector<double> cos(4), sin(4);
  fill_cos_sin(quarters, 1.0, cos.data(), sin.data());
  EXPECT_EQ(cos, (std::vector<double>{1, 0, -1, 0}));
  EXPECT_EQ(sin, (std::vector<double>{0, 1, 0, -1}));
}

TEST(Table, OppositePhasesMirrorBitForBit) {
  std::mt19937_64 random(9);
  for (int i = 0; i < 20000; ++i) {
    const Turns turns[] = {random() | 1, 0};
    const Turns both[] = {turns[0], Turns{0} - turns[0]};
    double cos[2], sin[2];
    fill_cos_sin(both, 1.0, cos, sin);
    ASSERT_EQ(cos[0], cos[1]) << turns[0];
    ASSERT_EQ(sin[0], -sin[1]) << turns[0];
  }
}

TEST(Table, EveryPairFollowsItsAxis) {
  RotarySpec spec = test::spec_of(8, 100.0);
  spec.axis_of_pair = {0, 1, 2, 0};
  const auto frequencies = make_frequencies(spec);
  // [axes, tokens] behind one another, and the same numbers [tokens, axes] through strides.
  const std::vector<std::int64_t> by_axis = {1, 2, 30, 40, -5, 6}, by_token = {1, 30, -5, 2, 40, 6};
  std::vector<Turns> out(8), strided(8);
  fill_turns(*frequencies, PositionsView::streams(by_axis, 3), spec.axis_of_pair, out.data());
  fill_turns(*frequencies,
             {.data = by_token.data(), .axes = 3, .batch = 1, .tokens = 2, .axis_stride = 1, .token_stride = 3},
             spec.axis_of_pair, strided.data());
  EXPECT_EQ(out, strided);
  for (std::size_t t = 0; t < 2; ++t)
    for (std::size_t j = 0; j < 4; ++j)
      EXPECT_EQ(out[t * 4 + j], phase(by_axis[spec.axis_of_pair[j] * 2 + t], frequencies->turns_per_token[j]));
}

TEST(Table, Fp32NumericsUseTheFloatProduct) {
  RotarySpec spec = test::spec_of(128, 1e4);
  spec.numerics = Numerics::kFp32;
  const auto frequencies = make_frequencies(spec);
  const std::vector<std::int64_t> positions = {131071, -77777, 16777217};
  std::vector<Turns> turns(3 * 64);
  fill_turns(*frequencies, PositionsView::row(positions), {}, turns.data());
  std::vector<double> cos(turns.size()), sin(turns.size());
  fill_cos_sin(turns, 1.0, cos.data(), sin.data());
  // cos of the float32 product, in float64: torch 2.13.0 over transformers' ladder.
  EXPECT_NEAR(cos[1], -0x1.f496d4c75544bp-1, 1e-15);
  EXPECT_NEAR(cos[64 + 2], -0x1.512c58b4efbbap-1, 1e-15);
  EXPECT_NEAR(cos[128], 0x1.40ad67f3f0c9ap-1, 1e-15);
  EXPECT_NEAR(sin[128], -0x1.8f22f8433d6eep-1, 1e-15);
}

}  // namespace
}  // namespace ropewalk
