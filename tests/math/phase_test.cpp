#include <ropewalk/frequencies.hpp>
#include <ropewalk/phase.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "oracle/quad.hpp"

#include "cases.hpp"

namespace ropewalk {
namespace {

TEST(Phase, DifferenceOfPhasesIsPhaseOfDifference) {
  // RoPE's own law, bit for bit, over all of int64 (differences wrap as the positions do).
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const Turns turns = random();
    const auto m = static_cast<std::int64_t>(random()), n = static_cast<std::int64_t>(random());
    const auto difference = static_cast<std::int64_t>(static_cast<std::uint64_t>(m) - static_cast<std::uint64_t>(n));
    ASSERT_EQ(phase(m, turns) - phase(n, turns), phase(difference, turns));
    ASSERT_EQ(phase(m, turns) + phase(n, turns), phase(m, turns + turns) - phase(difference, turns));
  }
}

TEST(Phase, NegativePositionsTurnBackwards) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 1000; ++i) {
    const Turns turns = random();
    const auto position = static_cast<std::int64_t>(random() >> 1);
    EXPECT_EQ(phase(-position, turns) + phase(position, turns), 0u);
  }
}

TEST(Phase, SignedTurnsAreHalfOpen) {
  EXPECT_EQ(signed_turns(0), 0.0);
  EXPECT_EQ(signed_turns(Turns{1} << 63), -0.5);
  EXPECT_EQ(signed_turns(Turns{1} << 62), 0.25);
  EXPECT_EQ(signed_turns(Turns{3} << 62), -0.25);
}

TEST(PhaseFp32, IsTheFloatProductReducedExactly) {
  // Against 113 bits, for products that they reduce with enough bits to spare to decide every rounding.
  std::mt19937_64 random(3);
  for (int i = 0; i < 100000; ++i) {
    const auto position = static_cast<std::int64_t>(random()) >> (random() % 63);
    const auto inv_freq =
        static_cast<float>(std::ldexp(static_cast<double>(random() >> 11), -53 - static_cast<int>(random() % 30)));
    const float product = static_cast<float>(position) * inv_freq;
    if (std::abs(product) > 0x1p16f) continue;
    ASSERT_EQ(phase_fp32(position, inv_freq), oracle::turns(product)) << position << " * " << inv_freq;
  }
}

TEST(PhaseFp32, KeepsItsBitsForEveryFiniteProduct) {
  // Goldens from mpmath at 400 bits.
  struct Golden {
    std::int64_t position;
    float inv_freq;
    Turns turns;
  };
  const Golden goldens[] = {
      {3, 1.0f, 8807671509846003679ull},
      {-3, 1.0f, 9639072563863547937ull},
      {16777217, 1.0f, 15822149367793387990ull},
      {std::numeric_limits<std::int64_t>::max(), 1.0f, 4577041481829096376ull},
      {std::numeric_limits<std::int64_t>::min(), 1.0f, 13869702591880455240ull},
      {1000000000000007, 0x1p16f, 514585661300374048ull},
      {std::numeric_limits<std::int64_t>::max(), 0x1p64f, 1976045265924682248ull},
      {1, std::numeric_limits<float>::max(), 16834795360054115777ull},
      {1, std::numeric_limits<float>::denorm_min(), 0ull},
      {1, 0x1.2725dep-60f, 3ull},
      {12345, 0x1.c4858ep-49f, 113804809ull},
  };
  for (const Golden& golden : goldens)
    EXPECT_EQ(phase_fp32(golden.position, golden.inv_freq), golden.turns) << golden.position;
  EXPECT_EQ(phase_fp32(std::numeric_limits<std::int64_t>::max(), std::numeric_limits<float>::max()), 0u);
}

TEST(PhaseFp32, PositionsBeyondAFloatAreRoundedAsTransformersDoes) {
  EXPECT_EQ(phase_fp32(16777217, 1.0f), phase_fp32(16777216, 1.0f));
  EXPECT_NE(phase_fp32(16777215, 1.0f), phase_fp32(16777216, 1.0f));
}

// Against the real product in 113 bits; what is wanted grows only where a double's own places end.
TEST(PhaseOfACoordinate, IsTheRealProductModuloATurn) {
  std::mt19937_64 random(20);
  for (int i = 0; i < 100000; ++i) {
    const double unit = std::ldexp(static_cast<double>(random() >> 11), -53), low = unit * 0x1p-55;
    const double high = std::ldexp(unit, static_cast<int>(random() % 44) - 40);
    const TurnsPerUnit turns{high, high * low};
    const double coordinate =
        std::ldexp(static_cast<double>(static_cast<std::int64_t>(random())), -static_cast<int>(random() % 80) - 24);
    const oracle::Quad real = oracle::Quad(coordinate) * (oracle::Quad(high) + turns.low);
    const oracle::Quad rest = real - floorq(real);
    const auto got = oracle::Quad(phase(coordinate, turns)) * 0x1p-64;
    oracle::Quad difference = fabsq(got - rest);
    if (difference > 0.5) difference = 1 - difference;
    ASSERT_LE(static_cast<double>(difference), 0x1p-61) << coordinate << ' ' << high;
  }
}

TEST(PhaseOfACoordinate, WholeTurnsDropOutAndNothingElse) {
  EXPECT_EQ(phase(3.0, TurnsPerUnit{1.0, 0.0}), 0u);
  EXPECT_EQ(phase(0.25, TurnsPerUnit{1.0, 0.0}), Turns{1} << 62);
  EXPECT_EQ(phase(-0.25, TurnsPerUnit{1.0, 0.0}), Turns{3} << 62);
  EXPECT_EQ(phase(0.5, TurnsPerUnit{1.0, 0.0}), Turns{1} << 63);
  EXPECT_EQ(phase(std::numeric_limits<double>::infinity(), TurnsPerUnit{1.0, 0.0}), 0u);
  EXPECT_EQ(phase(std::numeric_limits<double>::quiet_NaN(), TurnsPerUnit{1.0, 0.0}), 0u);
}

}  // namespace
}  // namespace ropewalk
