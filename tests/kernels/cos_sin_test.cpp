// The cosine and sine kernels against long double and numbers of 113 bits, on every target.
#include "kernels/support.hpp"
#include "oracle/quad.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

namespace {

using ropewalk::PairLayout;
using ropewalk::Turns;
using ropewalk::cpu::Gain;

struct CosSin {
  std::vector<float> cos, sin;
  bool operator==(const CosSin& other) const {
    return std::memcmp(cos.data(), other.cos.data(), cos.size() * sizeof(float)) == 0 &&
           std::memcmp(sin.data(), other.sin.data(), sin.size() * sizeof(float)) == 0;
  }
};

CosSin cos_sin_of(const ropewalk::cpu::Target& target, const std::vector<Turns>& turns, const Gain& gain) {
  CosSin y{std::vector<float>(turns.size()), std::vector<float>(turns.size())};
  target.kernels->cos_sin_of(turns.data(), static_cast<std::int64_t>(turns.size()), gain, y.cos.data(), y.sin.data());
  return y;
}

/// Phases of every size, both signs, and around each multiple of an eighth of a turn, where the quarter changes.
std::vector<Turns> phases_of_every_kind() {
  std::vector<Turns> turns;
  std::mt19937_64 random(1);
  for (Turns eighth = 0; eighth < 8; ++eighth)
    for (int bit = 0; bit < 62; ++bit)
      for (const Turns around : {Turns{1} << bit, Turns{0}, Turns{0} - (Turns{1} << bit)})
        turns.push_back((eighth << 61) + around);
  // A fraction of a quarter so near to 1/2 that its float is 1/2: 2^31 units, which no signed integer holds.
  for (int i = 0; i < 4000; ++i) turns.push_back((static_cast<Turns>(2 * i + 1) << 61) - (random() >> 28));
  for (int i = 0; i < 200003; ++i) {
    const Turns small = random() >> (random() % 64);
    turns.push_back(i % 4 == 0 ? small : i % 4 == 1 ? Turns{0} - small : random());
  }
  return turns;
}

class CosSinKernel : public support::EveryTarget {};

// What the comment in kernels/cos_sin-inl.hpp says. Seen: 4.27e-8 at a gain of 1, on every target.
TEST_P(CosSinKernel, IsNearTheRealNumber) {
  const std::vector<Turns> turns = phases_of_every_kind();
  std::vector<long double> cos(turns.size()), sin(turns.size());
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const long double angle =
        static_cast<long double>(static_cast<std::int64_t>(turns[i])) * 0x1p-63L * std::numbers::pi_v<long double>;
    cos[i] = std::cos(angle);
    sin[i] = std::sin(angle);
  }
  for (const double gain : {1.0, 1.138629436, 0.5, 0.731, 2.9}) {
    const CosSin got = cos_sin_of(*GetParam(), turns, Gain::of(gain, false));
    const long double bound = 4.5e-8L * std::max(1.0, 1.35 * gain);
    for (std::size_t i = 0; i < turns.size(); ++i) {
      ASSERT_LE(std::fabs(static_cast<long double>(got.cos[i]) - gain * cos[i]), bound) << turns[i];
      ASSERT_LE(std::fabs(static_cast<long double>(got.sin[i]) - gain * sin[i]), bound) << turns[i];
    }
  }
}

// A slow pair near position 0 has a sine that is all but its own angle: its digits are not lost to a fixed unit.
TEST_P(CosSinKernel, KeepsTheDigitsOfSmallAngles) {
  std::vector<Turns> turns;
  std::mt19937_64 random(2);
  for (int i = 0; i < 10000; ++i) turns.push_back((random() | Turns{1} << 63) >> (3 + random() % 29));
  const CosSin got = cos_sin_of(*GetParam(), turns, {});
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const long double sine = std::sin(static_cast<long double>(turns[i]) * 0x1p-63L * std::numbers::pi_v<long double>);
    ASSERT_LE(std::fabs(static_cast<long double>(got.sin[i]) - sine), 1.2e-7L * sine) << turns[i];
  }
}

TEST_P(CosSinKernel, HasTheSameBitsOnEveryTarget) {
  const std::vector<Turns> turns = phases_of_every_kind();
  for (const double gain : {1.0, 1.138629436}) {
    const CosSin first = cos_sin_of(ropewalk::cpu::targets().back(), turns, Gain::of(gain, false));
    EXPECT_EQ(cos_sin_of(*GetParam(), turns, Gain::of(gain, false)), first);
  }
}

// ... and on every processor: the number stands here because no build has the targets of two.
TEST_P(CosSinKernel, HasTheSameBitsOnEveryProcessor) {
  const CosSin got = cos_sin_of(*GetParam(), phases_of_every_kind(), Gain::of(1.138629436, false));
  std::vector<std::uint32_t> bits;
  for (const auto* row : {&got.cos, &got.sin})
    for (const float x : *row) bits.push_back(std::bit_cast<std::uint32_t>(x));
  EXPECT_EQ(support::digest(bits), 0x11a8a20daafd933du);
}

TEST_P(CosSinKernel, FormsThePhaseOfAPositionExactly) {
  std::mt19937_64 random(3);
  for (const std::int64_t pairs : {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64}) {
    std::vector<Turns> per_token(static_cast<std::size_t>(pairs)), turns(per_token.size());
    for (auto& t : per_token) t = random();
    for (const std::int64_t position : {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, std::int64_t{1} << 36,
                                        std::int64_t{-1} << 63, static_cast<std::int64_t>(random())}) {
      for (std::size_t j = 0; j < turns.size(); ++j) turns[j] = ropewalk::phase(position, per_token[j]);
      CosSin got{std::vector<float>(turns.size()), std::vector<float>(turns.size())};
      GetParam()->kernels->cos_sin_at(position, per_token.data(), pairs, {}, got.cos.data(), got.sin.data());
      EXPECT_EQ(got, cos_sin_of(*GetParam(), turns, {})) << pairs << " pairs at " << position;
    }
  }
}

TEST_P(CosSinKernel, TurnsBackByTheSignOfTheSine) {
  const std::vector<Turns> turns = phases_of_every_kind();
  CosSin back = cos_sin_of(*GetParam(), turns, Gain::of(1.25, true));
  for (float& s : back.sin) s = -s;
  EXPECT_EQ(back, cos_sin_of(*GetParam(), turns, Gain::of(1.25, false)));
}

TEST_P(CosSinKernel, IsOneAndZeroWhereNothingTurns) {
  for (const double gain : {1.0, 1.138629436, 0.1}) {
    const CosSin got = cos_sin_of(*GetParam(), {0}, Gain::of(gain, false));
    EXPECT_EQ(got.cos[0], static_cast<float>(gain));
    EXPECT_EQ(got.sin[0], 0.0f);
  }
}

ROPEWALK_ON_EVERY_TARGET(CosSinKernel);

class CosSinOfOperator : public support::EveryTarget {};

// The promise of rotary.hpp, from a spec to the last bit: a pair (1, 0) comes out as its cosine and sine.
TEST_P(CosSinOfOperator, IsNearTheFormulaAtEveryPosition) {
  const ropewalk::RotarySpec spec{.head_dim = 128, .rotary_dim = 128, .theta = 500000.0, .layout = PairLayout::kHalf};
  const auto rotary = support::made(spec);
  std::vector<std::int64_t> positions;
  for (const std::int64_t p :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{511}, (std::int64_t{1} << 17) - 1, (std::int64_t{1} << 20) - 1,
        std::int64_t{10000000}, std::int64_t{16777217}, std::int64_t{1} << 36})
    for (const std::int64_t near : {p, -p, p - 3, 3 - p}) positions.push_back(near);
  const auto tokens = static_cast<std::int64_t>(positions.size());
  support::Tensor x({.tokens = tokens, .head_dim = 128}, ropewalk::DType::kFloat32);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < 128; ++c) x.set(0, t, 0, c, c < 64 ? 1.0 : 0.0);
  support::turn(rotary, x.view(), ropewalk::PositionsView::row(positions));
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t j = 0; j < 64; ++j) {
      const oracle::Quad inv_freq = powq(500000, -oracle::Quad(j) / 64);
      const oracle::Quad angle = oracle::Quad(positions[static_cast<std::size_t>(t)]) * inv_freq;
      ASSERT_NEAR(x.get(0, t, 0, j), static_cast<double>(cosq(angle)), 6e-8) << positions[static_cast<std::size_t>(t)];
      ASSERT_NEAR(x.get(0, t, 0, j + 64), static_cast<double>(sinq(angle)), 6e-8);
    }
  }
}

ROPEWALK_ON_EVERY_TARGET(CosSinOfOperator);

}  // namespace
