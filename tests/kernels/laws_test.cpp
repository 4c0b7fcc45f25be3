// The laws of a rotation, on every target, at the positions for which the library exists.
#include "kernels/support.hpp"

#include <cmath>

namespace {

using ropewalk::Direction;
using ropewalk::PositionsView;
using ropewalk::RotarySpec;
using support::DType;
using support::PairLayout;
using support::Shape;
using support::Tensor;

RotarySpec spec_of(PairLayout layout, double attention_factor = 1.0) {
  return {
      .head_dim = 128,
      .rotary_dim = 128,
      .theta = 10000.0,
      .layout = layout,
      .scaling = ropewalk::YarnOptions{.factor = 4.0, .trained_context = 4096, .attention_factor = attention_factor}};
}

constexpr std::int64_t kPositions[] = {0,        1,      511,  (1 << 17) - 1,        (1 << 20) - 1,
                                       10000000, -10000, -511, std::int64_t{1} << 36};

/// One head of 128 channels, filled from a seed.
struct Head : Tensor {
  explicit Head(std::uint64_t seed) : Tensor({.head_dim = 128}, DType::kFloat32) { fill(seed); }
  Head& turned(const ropewalk::Rotary& rotary, std::int64_t position, Direction direction = Direction::kForward) {
    support::turn(rotary, view(), PositionsView::row({&position, 1}), {.direction = direction});
    return *this;
  }
  double dot(const Head& other) const {
    double sum = 0;
    for (std::int64_t c = 0; c < 128; ++c) sum += get(0, 0, 0, c) * other.get(0, 0, 0, c);
    return sum;
  }
  double distance(const Head& other) const {
    double largest = 0;
    for (std::int64_t c = 0; c < 128; ++c)
      largest = std::max(largest, std::fabs(get(0, 0, 0, c) - other.get(0, 0, 0, c)));
    return largest;
  }
};

class Law : public support::EveryTarget {};

TEST_P(Law, AScoreDependsOnlyOnTheDistance) {
  for (const PairLayout layout : support::kLayouts) {
    const auto rotary = support::made(spec_of(layout));
    const double score = Head(1).turned(rotary, 17).dot(Head(2).turned(rotary, 5));
    for (const std::int64_t p : kPositions)
      EXPECT_NEAR(Head(1).turned(rotary, p + 17).dot(Head(2).turned(rotary, p + 5)), score, 2e-5) << p;
  }
}

TEST_P(Law, TheInverseUndoes) {
  for (const PairLayout layout : support::kLayouts) {
    const auto rotary = support::made(spec_of(layout, 1.138629436));
    for (const std::int64_t p : kPositions)
      EXPECT_LE(Head(3).turned(rotary, p).turned(rotary, p, Direction::kInverse).distance(Head(3)), 1e-6) << p;
  }
}

TEST_P(Law, ShiftsAdd) {
  for (const PairLayout layout : support::kLayouts) {
    const auto rotary = support::made(spec_of(layout, 1.138629436));
    for (const std::int64_t a : kPositions) {
      for (const std::int64_t b : {std::int64_t{1}, std::int64_t{-2}, std::int64_t{1000000}, -a}) {
        Head twice(4), once(4), moved(4), there(4);
        twice.turned(rotary, a, Direction::kShift).turned(rotary, b, Direction::kShift);
        EXPECT_LE(twice.distance(once.turned(rotary, a + b, Direction::kShift)), 2e-6) << a << ' ' << b;
        moved.turned(rotary, a).turned(rotary, b, Direction::kShift);
        EXPECT_LE(moved.distance(there.turned(rotary, a + b)), 2e-6) << a << ' ' << b;
      }
    }
  }
}

TEST_P(Law, TheTransposeIsTheAdjoint) {
  for (const PairLayout layout : support::kLayouts) {
    const auto rotary = support::made(spec_of(layout, 1.138629436));
    for (const std::int64_t p : kPositions) {
      const double there = Head(5).turned(rotary, p).dot(Head(6));
      const double back = Head(5).dot(Head(6).turned(rotary, p, Direction::kTranspose));
      EXPECT_NEAR(there, back, 1e-5) << p;
    }
  }
}

TEST_P(Law, LengthsAreKeptUpToTheFactor) {
  for (const PairLayout layout : support::kLayouts) {
    for (const double factor : {1.0, 1.138629436}) {
      const auto rotary = support::made(spec_of(layout, factor));
      const double before = Head(7).dot(Head(7));
      for (const std::int64_t p : kPositions) {
        Head turned(7);
        turned.turned(rotary, p);
        EXPECT_NEAR(turned.dot(turned) / (before * factor * factor), 1.0, 3e-7) << p;
      }
    }
  }
}

TEST_P(Law, ANegativePositionTurnsBack) {
  for (const PairLayout layout : support::kLayouts) {
    const auto rotary = support::made(spec_of(layout));
    for (const std::int64_t p : kPositions)
      EXPECT_LE(Head(8).turned(rotary, -p).distance(Head(8).turned(rotary, p, Direction::kInverse)), 1e-6) << p;
  }
}

TEST_P(Law, TheLayoutsDifferByAPermutationOnly) {
  const auto half = support::made(spec_of(PairLayout::kHalf));
  const auto interleaved = support::made(spec_of(PairLayout::kInterleaved));
  for (const std::int64_t p : kPositions) {
    Head x(9), gathered(9);
    for (int j = 0; j < 64; ++j) {
      gathered.set_bits(0, 0, 0, 2 * j, x.bits(0, 0, 0, j));
      gathered.set_bits(0, 0, 0, 2 * j + 1, x.bits(0, 0, 0, j + 64));
    }
    x.turned(half, p);
    gathered.turned(interleaved, p);
    for (int j = 0; j < 64; ++j) {
      ASSERT_EQ(gathered.bits(0, 0, 0, 2 * j), x.bits(0, 0, 0, j));
      ASSERT_EQ(gathered.bits(0, 0, 0, 2 * j + 1), x.bits(0, 0, 0, j + 64));
    }
  }
}

ROPEWALK_ON_EVERY_TARGET(Law);

}  // namespace
