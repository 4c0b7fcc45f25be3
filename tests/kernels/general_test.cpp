// What a spec may say beyond one ladder and one layout: blocks, output layouts, frequencies that are given, angles of
// the second channel, xPos, Fourier mixes, coordinates. Each against its formula in 113 bits, on every target.
#include "kernels/support.hpp"
#include "oracle/quad.hpp"

#include <cmath>
#include <limits>
#include <numbers>

namespace {

using oracle::Quad;
using ropewalk::CoordinatesView;
using ropewalk::Direction;
using ropewalk::PositionsView;
using ropewalk::Role;
using ropewalk::Rotary;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using support::DType;
using support::PairLayout;
using support::Shape;
using support::Tensor;

constexpr std::int64_t kPositions[] = {0, 1, 511, (1 << 17) - 1, 10000000, -77, std::int64_t{1} << 36};
constexpr int kHeadDim = 44, kOffset = 2, kRotaryDim = 40, kPairs = kRotaryDim / 2;

RotarySpec plain_spec(PairLayout layout) {
  return {.head_dim = kHeadDim, .rotary_dim = kRotaryDim, .rotary_offset = kOffset, .theta = 10000.0, .layout = layout};
}

Quad frequency(double theta, int rung, int dim) { return powq(Quad(theta), -2 * Quad(rung) / dim); }

struct Head : Tensor {
  explicit Head(std::uint64_t seed, std::int64_t heads = 1, DType dtype = DType::kFloat32)
      : Tensor({.heads = heads, .head_dim = kHeadDim}, dtype) {
    fill(seed);
  }
};

class General : public support::EveryTarget {
 protected:
  template <class View>
  static void turn(const Rotary& rotary, const Tensor& x, const View& positions,
                   Direction direction = Direction::kForward, Role role = Role::kUnset) {
    const RotaryOperand operand = RotaryOperand::in_place(x.view(), role);
    const auto wrong = rotary.check({&operand, 1}, positions);
    ASSERT_FALSE(wrong) << wrong->line();
    rotary.apply({&operand, 1}, positions, {.direction = direction});
  }
  static void turn_at(const Rotary& rotary, const Tensor& x, std::int64_t p, Direction direction = Direction::kForward,
                      Role role = Role::kUnset) {
    turn(rotary, x, PositionsView::row({&p, 1}), direction, role);
  }
};

TEST_P(General, BlocksAreLaidOutByThemselves) {
  for (const DType dtype : support::kDTypes) {
    RotarySpec spec = plain_spec(PairLayout::kHalf);
    spec.pair_blocks = {13, 1, 6};
    const Rotary rotary = support::made(spec);
    const Head x(1, 3, dtype), y(1, 3, dtype);
    turn_at(rotary, y, 12345);
    // The same with a spec for each block: other pairs stand still through a list of frequencies.
    const Head z(1, 3, dtype);
    int begin = 0;
    for (const int block : spec.pair_blocks) {
      RotarySpec one = plain_spec(PairLayout::kHalf);
      one.rotary_offset = kOffset + 2 * begin;
      one.rotary_dim = 2 * block;
      one.frequency_dim = kRotaryDim;
      for (int j = 0; j < block; ++j) one.rung_of_pair.push_back(begin + j);
      turn_at(support::made(one), z, 12345);
      begin += block;
    }
    EXPECT_TRUE(y.same_elements(z)) << name_of(dtype);
    EXPECT_FALSE(y.same_elements(x));
    EXPECT_TRUE(y.border_untouched());
  }
}

TEST_P(General, AnOutputLayoutMovesTheSameBits) {
  for (const DType dtype : support::kDTypes)
    for (const PairLayout layout : support::kLayouts) {
      RotarySpec spec = plain_spec(layout);
      const Rotary usual = support::made(spec);
      spec.output_layout = layout == PairLayout::kHalf ? PairLayout::kInterleaved : PairLayout::kHalf;
      const Rotary moving = support::made(spec);
      for (const std::int64_t p : kPositions) {
        const Head x(2, 3, dtype), y(2, 3, dtype), z(2, 3, dtype);
        turn_at(usual, y, p);
        turn_at(moving, z, p);
        for (std::int64_t h = 0; h < 3; ++h) {
          for (int j = 0; j < kPairs; ++j) {
            const auto from = spec.channels(j), to = spec.output_channels(j);
            ASSERT_EQ(y.bits(0, 0, h, from.first), z.bits(0, 0, h, to.first)) << p << ' ' << j;
            ASSERT_EQ(y.bits(0, 0, h, from.second), z.bits(0, 0, h, to.second)) << p << ' ' << j;
          }
          for (const int c : {0, 1, 42, 43}) ASSERT_EQ(x.bits(0, 0, h, c), z.bits(0, 0, h, c));
        }
        if (dtype == DType::kFloat32) {
          turn_at(moving, z, 5, Direction::kShift);
          turn_at(moving, z, p + 5, Direction::kInverse);
          for (int c = 0; c < kHeadDim; ++c) ASSERT_NEAR(z.get(0, 0, 0, c), x.get(0, 0, 0, c), 2e-6);
        }
        EXPECT_TRUE(z.border_untouched());
      }
    }
}

TEST_P(General, ASecondAngleIsTheFormulaAndItsTransposeTheAdjoint) {
  RotarySpec spec = plain_spec(PairLayout::kInterleaved);
  ropewalk::SecondAngle second;
  // V-JEPA 2: channel c turns by the frequency c mod pairs of a list that was repeated for halves.
  for (int j = 0; j < kPairs; ++j) {
    spec.rung_of_pair.push_back(2 * j % kPairs);
    second.rung_of_pair.push_back((2 * j + 1) % kPairs);
    spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j % 2));
    second.axis_of_pair.push_back(static_cast<std::uint8_t>(j % 3));
  }
  spec.second = second;
  ASSERT_EQ(spec.axes(), 3);
  const Rotary rotary = support::made(spec);
  const std::int64_t positions[] = {100003, -7, 13};
  const auto view = PositionsView::streams(positions, 3);

  const Head x(3), y(3), u(4), back(4);
  turn(rotary, y, view);
  turn(rotary, back, view, Direction::kTranspose);
  double there = 0, adjoint = 0;
  for (int j = 0; j < kPairs; ++j) {
    const auto at = static_cast<std::size_t>(j);
    const Quad a = positions[spec.axis_of_pair[at]] * frequency(10000, spec.rung_of_pair[at], kRotaryDim);
    const Quad b = positions[second.axis_of_pair[at]] * frequency(10000, second.rung_of_pair[at], kRotaryDim);
    const auto c = spec.channels(j);
    const Quad x0 = x.get(0, 0, 0, c.first), x1 = x.get(0, 0, 0, c.second);
    EXPECT_NEAR(y.get(0, 0, 0, c.first), static_cast<double>(x0 * cosq(a) - x1 * sinq(a)), 1e-6) << j;
    EXPECT_NEAR(y.get(0, 0, 0, c.second), static_cast<double>(x1 * cosq(b) + x0 * sinq(b)), 1e-6) << j;
  }
  for (int c = 0; c < kHeadDim; ++c) {
    there += y.get(0, 0, 0, c) * u.get(0, 0, 0, c);
    adjoint += x.get(0, 0, 0, c) * back.get(0, 0, 0, c);
  }
  EXPECT_NEAR(there, adjoint, 1e-5);
  turn(rotary, y, view, Direction::kInverse);
  for (int c = 0; c < kHeadDim; ++c) EXPECT_NEAR(y.get(0, 0, 0, c), x.get(0, 0, 0, c), 1e-4) << c;
  EXPECT_FALSE(spec.is_rotation());
}

TEST_P(General, ASecondAngleThatIsTheFirstIsARotation) {
  for (const DType dtype : support::kDTypes) {
    RotarySpec spec = plain_spec(PairLayout::kHalf);
    const Rotary usual = support::made(spec);
    spec.second = ropewalk::SecondAngle{};
    const Rotary rotary = support::made(spec);
    for (const std::int64_t p : kPositions) {
      const Head y(5, 2, dtype), z(5, 2, dtype);
      turn_at(usual, y, p);
      turn_at(rotary, z, p);
      EXPECT_TRUE(y.same_elements(z)) << p;
    }
  }
}

// RoPE-Mixed: phase = x a + y b with an (a, b) for every head and pair.
TEST_P(General, GivenFrequenciesAddUpOverTheirAxesForEachHead) {
  RotarySpec spec = plain_spec(PairLayout::kInterleaved);
  spec.theta = 0.0;
  ropewalk::GivenFrequencies given{.heads = 2, .axes = 2};
  for (int i = 0; i < 2 * 2 * kPairs; ++i) given.inv_freq.push_back(std::sin(1.0 + i) * (i % 5));
  spec.given = given;
  const Rotary rotary = support::made(spec);
  const std::int64_t positions[] = {1000003, -31};
  const Head x(6, 4), y(6, 4);
  turn(rotary, y, PositionsView::streams(positions, 2));
  for (std::int64_t h = 0; h < 4; ++h)
    for (int j = 0; j < kPairs; ++j) {
      const std::size_t table = static_cast<std::size_t>(h / 2) * 2 * kPairs + static_cast<std::size_t>(j);
      const Quad a = positions[0] * Quad(given.inv_freq[table]) + positions[1] * Quad(given.inv_freq[table + kPairs]);
      const auto c = spec.channels(j);
      const Quad x0 = x.get(0, 0, h, c.first), x1 = x.get(0, 0, h, c.second);
      ASSERT_NEAR(y.get(0, 0, h, c.first), static_cast<double>(x0 * cosq(a) - x1 * sinq(a)), 1e-6) << h << ' ' << j;
      ASSERT_NEAR(y.get(0, 0, h, c.second), static_cast<double>(x1 * cosq(a) + x0 * sinq(a)), 1e-6) << h << ' ' << j;
    }
  const Head three(6, 3);
  const RotaryOperand odd = RotaryOperand::in_place(three.view());
  const auto wrong = rotary.check({&odd, 1}, PositionsView::streams(positions, 2));
  ASSERT_TRUE(wrong);
  EXPECT_EQ(wrong->path, "operands[0].in.heads");
}

TEST_P(General, XPosIsItsFormulaAndScoresFallWithDistanceAlone) {
  RotarySpec spec = plain_spec(PairLayout::kInterleaved);
  spec.xpos = ropewalk::XPos{};
  const std::int64_t length = 4001;
  auto made = Rotary::make(spec, length);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->frequencies().centre, 2000);
  const std::int64_t p = 3001;
  const Head x(7), q(7), k(7);
  turn_at(*made, q, p, Direction::kForward, Role::kQuery);
  turn_at(*made, k, p, Direction::kForward, Role::kKey);
  for (int j = 0; j < kPairs; ++j) {
    const Quad zeta = (2 * Quad(j) + Quad(0.4) * kRotaryDim) / (kRotaryDim + Quad(0.4) * kRotaryDim);
    const Quad grows = powq(zeta, Quad(p - 2000) / 512), a = p * frequency(10000, j, kRotaryDim);
    const auto c = spec.channels(j);
    const Quad x0 = x.get(0, 0, 0, c.first), x1 = x.get(0, 0, 0, c.second), y0 = x0 * cosq(a) - x1 * sinq(a);
    EXPECT_NEAR(q.get(0, 0, 0, c.first) / static_cast<double>(y0 * grows), 1.0, 1e-5) << j;
    EXPECT_NEAR(k.get(0, 0, 0, c.first) / static_cast<double>(y0 / grows), 1.0, 1e-5) << j;
  }
  const auto score = [&](std::int64_t running, std::int64_t m, std::int64_t n) {
    const auto rotary = Rotary::make(spec, running);
    const Head a(8), b(9);
    turn_at(*rotary, a, m, Direction::kForward, Role::kQuery);
    turn_at(*rotary, b, n, Direction::kForward, Role::kKey);
    double sum = 0;
    for (int c = 0; c < kHeadDim; ++c) sum += a.get(0, 0, 0, c) * b.get(0, 0, 0, c);
    return sum;
  };
  EXPECT_NEAR(score(0, 40, 10), score(1000, 240, 210), 2e-5);
  turn_at(*made, q, p, Direction::kInverse, Role::kQuery);
  turn_at(*made, k, 17, Direction::kShift, Role::kKey);
  turn_at(*made, k, p + 17, Direction::kInverse, Role::kKey);
  for (int c = 0; c < kHeadDim; ++c) {
    EXPECT_NEAR(q.get(0, 0, 0, c), x.get(0, 0, 0, c), 5e-6);
    EXPECT_NEAR(k.get(0, 0, 0, c), x.get(0, 0, 0, c), 5e-6);
  }
  const RotaryOperand unnamed = RotaryOperand::in_place(x.view());
  const auto wrong = made->check({&unnamed, 1}, PositionsView::row({&p, 1}));
  ASSERT_TRUE(wrong);
  EXPECT_EQ(wrong->path, "operands[0].role");
}

TEST_P(General, AFourierMixIsItsFormula) {
  RotarySpec spec = plain_spec(PairLayout::kHalf);
  ropewalk::FourierMix mix{.heads = 2, .tones = 7, .outputs = 11};
  for (int i = 0; i < 2 * 7 * 11; ++i) {
    mix.cos_mix.push_back(std::cos(2.0 * i) / 7);
    mix.sin_mix.push_back(std::cos(3.0 * i) / 7);
  }
  spec.fourier = mix;
  const Rotary rotary = support::made(spec);
  const std::int64_t p = 123457;
  const Head x(10, 2), y(10, 2);
  turn_at(rotary, y, p);
  for (int h = 0; h < 2; ++h)
    for (int j = 0; j < kPairs; ++j) {
      Quad c = j < 11 ? 0 : 1, s = 0;
      for (int t = 0; t < 7 && j < 11; ++t) {
        const auto at = static_cast<std::size_t>((h * 7 + t) * 11 + j);
        c += cosq(p * frequency(10000, t, kRotaryDim)) * Quad(mix.cos_mix[at]);
        s += sinq(p * frequency(10000, t, kRotaryDim)) * Quad(mix.sin_mix[at]);
      }
      const auto at = spec.channels(j);
      const Quad x0 = x.get(0, 0, h, at.first), x1 = x.get(0, 0, h, at.second);
      ASSERT_NEAR(y.get(0, 0, h, at.first), static_cast<double>(x0 * c - x1 * s), 1e-6) << h << ' ' << j;
      ASSERT_NEAR(y.get(0, 0, h, at.second), static_cast<double>(x1 * c + x0 * s), 1e-6) << h << ' ' << j;
    }
}

TEST_P(General, CoordinatesNeedNotBeWhole) {
  RotarySpec spec = plain_spec(PairLayout::kHalf);
  spec.position_scale = 2 * std::numbers::pi;
  for (int j = 0; j < kPairs; ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j % 2));
  const Rotary rotary = support::made(spec);
  for (const auto& [a, b] : {std::pair{-0.96875, 0.3}, {1e6 + 0.1, -12345.678}, {0.0, 1e-9}}) {
    const double coordinates[] = {a, b};
    const Head x(11), y(11);
    turn(rotary, y, CoordinatesView::streams(coordinates, 2));
    for (int j = 0; j < kPairs; ++j) {
      const Quad angle = Quad(coordinates[j % 2]) * Quad(spec.position_scale) * frequency(10000, j, kRotaryDim);
      const auto c = spec.channels(j);
      const Quad x0 = x.get(0, 0, 0, c.first), x1 = x.get(0, 0, 0, c.second);
      ASSERT_NEAR(y.get(0, 0, 0, c.first), static_cast<double>(x0 * cosq(angle) - x1 * sinq(angle)), 1e-6) << j;
    }
  }
}

TEST_P(General, WholeCoordinatesAreThePositions) {
  const Rotary rotary = support::made(plain_spec(PairLayout::kHalf));
  for (const std::int64_t p : kPositions) {
    const double coordinate = static_cast<double>(p);
    const Head x(12), y(12);
    turn_at(rotary, x, p);
    turn(rotary, y, CoordinatesView::row({&coordinate, 1}));
    for (int c = 0; c < kHeadDim; ++c) ASSERT_NEAR(x.get(0, 0, 0, c), y.get(0, 0, 0, c), 1e-6) << p;
  }
  const double none = std::numeric_limits<double>::quiet_NaN();
  const Head x(13), y(13);
  turn(rotary, y, CoordinatesView::row({&none, 1}));
  EXPECT_TRUE(x.same_elements(y));
}

TEST_P(General, EqualAxesAreOneAxis) {
  for (const PairLayout layout : support::kLayouts)
    for (const DType dtype : support::kDTypes) {
      const Rotary one = support::made(plain_spec(layout));
      RotarySpec spec = plain_spec(layout);
      for (int j = 0; j < kPairs; ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j * 7 % 4));
      const Rotary four = support::made(spec);
      for (const std::int64_t p : kPositions) {
        const std::int64_t positions[] = {p, p, p, p};
        const Head x(15, 3, dtype), y(15, 3, dtype);
        turn_at(one, x, p);
        turn(four, y, PositionsView::streams(positions, 4));
        EXPECT_TRUE(x.same_elements(y)) << p;
      }
    }
}

TEST_P(General, EveryPairFollowsItsAxis) {
  RotarySpec spec = plain_spec(PairLayout::kHalf);
  for (int j = 0; j < kPairs; ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j * 7 % 4));
  const Rotary rotary = support::made(spec);
  const std::int64_t positions[] = {10000019, -3, (1 << 20) - 1, std::int64_t{1} << 36};
  const Head x(16), y(16);
  turn(rotary, y, PositionsView::streams(positions, 4));
  for (int j = 0; j < kPairs; ++j) {
    const Quad angle = positions[j * 7 % 4] * frequency(10000, j, kRotaryDim);
    const auto c = spec.channels(j);
    const Quad x0 = x.get(0, 0, 0, c.first), x1 = x.get(0, 0, 0, c.second);
    EXPECT_NEAR(y.get(0, 0, 0, c.first), static_cast<double>(x0 * cosq(angle) - x1 * sinq(angle)), 1e-6) << j;
    EXPECT_NEAR(y.get(0, 0, 0, c.second), static_cast<double>(x1 * cosq(angle) + x0 * sinq(angle)), 1e-6) << j;
  }
}

TEST_P(General, TheBitsDoNotDependOnTheThreads) {
  RotarySpec spec = plain_spec(PairLayout::kInterleaved);
  spec.output_layout = PairLayout::kHalf;
  const Rotary rotary = support::made(spec);
  const Shape shape{.batch = 3, .tokens = 700, .heads = 4, .head_dim = kHeadDim, .gap = 3};
  Tensor x(shape, DType::kFloat32), y(shape, DType::kFloat32);
  x.fill(14);
  y.fill(14);
  std::vector<std::int64_t> positions(3 * 700);
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i * i);
  const auto view = PositionsView::rows(positions, 3);
  support::turn(rotary, x.view(), view, {.threads = 1});
  support::turn(rotary, y.view(), view, {.threads = 5});
  EXPECT_TRUE(x.same_elements(y));
  EXPECT_TRUE(y.border_untouched());
}

ROPEWALK_ON_EVERY_TARGET(General);

}  // namespace
