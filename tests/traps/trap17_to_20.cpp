#include "support.hpp"

#include <algorithm>
#include <limits>

namespace traps {
namespace {

// onnxruntime#27597, sglang#20559, vllm#17091: positions that a table does not have.
TEST(Trap17MemorySafety, AnyPositionIsAnsweredAndNothingOutsideIsTouched) {
  const Rotary rotary = made(spec_of(64, 1e4));
  const Positions where = {0,
                           -1,
                           std::numeric_limits<std::int32_t>::min(),
                           std::numeric_limits<std::int64_t>::max(),
                           std::numeric_limits<std::int64_t>::min(),
                           8192};
  const std::size_t guard = 64, inner = where.size() * 64;
  Heads x = heads_of(guard + inner + guard);
  const Heads before = x;
  const RotaryOperand operand = RotaryOperand::in_place(HeadsView::thd(x.data() + guard, DType::kFloat32, 6, 1, 64));
  ASSERT_FALSE(rotary.check({&operand, 1}, PositionsView::row(where)));
  rotary.apply({&operand, 1}, PositionsView::row(where));
  EXPECT_TRUE(std::equal(x.begin(), x.begin() + 64, before.begin()));
  EXPECT_TRUE(std::equal(x.end() - 64, x.end(), before.end() - 64));
  for (std::size_t c = guard; c < guard + inner; ++c) EXPECT_TRUE(std::isfinite(x[c]));
}

TEST(Trap17MemorySafety, WhatDoesNotFitIsAnErrorThatSaysWhere) {
  const Rotary rotary = made(spec_of(64, 1e4));
  Heads x = heads_of(4 * 64);
  const RotaryOperand operand = RotaryOperand::in_place(HeadsView::thd(x.data(), DType::kFloat32, 4, 1, 64));
  const Positions three = {0, 1, 2};
  const auto short_of_one = rotary.check({&operand, 1}, PositionsView::row(three));
  ASSERT_TRUE(short_of_one);
  EXPECT_EQ(short_of_one->path.substr(0, 9), "positions") << short_of_one->line();
  // Positions of one axis for a spec of three.
  RotarySpec several = spec_of(64, 1e4);
  several.axis_of_pair.assign(32, 2);
  const Positions four = {0, 1, 2, 3};
  EXPECT_TRUE(made(several).check({&operand, 1}, PositionsView::row(four)));
}

TEST(Trap17MemorySafety, SlicesOfAFusedBufferLeaveTheRestAlone) {
  // q [T, 4, 64] in rows of 256 a head, k [T, 1, 64]: both slices of one fused [T, 2048] buffer.
  const Rotary rotary = made(spec_of(64, 1e4));
  const std::int64_t tokens = 5, row = 2048;
  Heads fused = heads_of(static_cast<std::size_t>(tokens * row));
  const Heads before = fused;
  const auto slice = [&](std::int64_t from, std::int64_t heads, std::int64_t head_stride) {
    return HeadsView{fused.data() + from, DType::kFloat32, 1, tokens, heads, 64, 0, row, head_stride};
  };
  const RotaryOperand operands[] = {RotaryOperand::in_place(slice(0, 4, 256)),
                                    RotaryOperand::in_place(slice(1024, 1, 64))};
  const Positions where = {3, 1, 4, 1, 5};
  ASSERT_FALSE(rotary.check(operands, PositionsView::row(where)));
  rotary.apply(operands, PositionsView::row(where));
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < row; ++c) {
      const auto at = static_cast<std::size_t>(t * row + c);
      const bool turns = (c < 1024 && c % 256 < 64) || (c >= 1024 && c < 1088);
      if (!turns) {
        ASSERT_EQ(fused[at], before[at]) << t << ' ' << c;
      }
    }
  const auto at = [&](std::int64_t t, std::int64_t from) { return before.begin() + t * row + from; };
  for (std::int64_t t = 0; t < tokens; ++t) {
    const Heads alone =
        turned(rotary, Heads(at(t, 256), at(t, 256) + 64), Positions{where[static_cast<std::size_t>(t)]});
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), fused.begin() + t * row + 256));
  }
}

TEST(Trap17MemorySafety, ManyRowsAndNoTokens) {
  const Rotary rotary = made(spec_of(16, 1e4));
  const std::int64_t batch = 70000;
  Heads x = heads_of(static_cast<std::size_t>(batch * 16));
  const Heads before = x;
  const RotaryOperand operand = RotaryOperand::in_place(HeadsView::bshd(x.data(), DType::kFloat32, batch, 1, 1, 16));
  const Positions where = {9};
  ASSERT_FALSE(rotary.check({&operand, 1}, PositionsView::row(where)));
  rotary.apply({&operand, 1}, PositionsView::row(where), {.threads = 2});
  for (const std::int64_t b : {std::int64_t{0}, std::int64_t{65535}, std::int64_t{65536}, batch - 1}) {
    const auto at = static_cast<std::ptrdiff_t>(16 * b);
    EXPECT_TRUE(same_bits(turned(rotary, Heads(before.begin() + at, before.begin() + at + 16), where),
                          Heads(x.begin() + at, x.begin() + at + 16)));
  }
  EXPECT_TRUE(turned(rotary, {}, Positions{}).empty());
}

// candle#3568, llama.cpp#3974: the gradient is the inverse rotation times the amplitude.
TEST(Trap18Backward, TheTransposeIsTheGradient) {
  const YarnOptions yarn{.factor = 4, .trained_context = 4096};
  for (const PairLayout layout : {PairLayout::kHalf, PairLayout::kInterleaved})
    for (const int width : {64, 48}) {
      RotarySpec spec = spec_of(64, 1e4, layout, yarn);
      spec.rotary_dim = width;
      const Rotary rotary = made(spec);
      const Positions where = {0, 5, -7, 131071};
      const Heads x = heads_of(4 * 64, 1), g = heads_of(4 * 64, 2);
      const Heads y = turned(rotary, x, where), back = turned(rotary, g, where, 1, Direction::kTranspose);
      double left = 0, right = 0;  // <g, R x> = <R^T g, x>
      for (std::size_t i = 0; i < x.size(); ++i) {
        left += static_cast<double>(g[i]) * static_cast<double>(y[i]);
        right += static_cast<double>(back[i]) * static_cast<double>(x[i]);
      }
      EXPECT_NEAR(left, right, 2e-5);
      // There and back with the transpose is the amplitude squared, with the inverse exactly what it was.
      const double m = rotary.frequencies().attention_factor;
      const Heads twice = turned(rotary, y, where, 1, Direction::kTranspose);
      const Heads undone = turned(rotary, y, where, 1, Direction::kInverse);
      for (std::size_t t = 0; t < 4; ++t)
        for (std::size_t c = 0; c < 64; ++c) {
          const double turns = static_cast<int>(c) < width ? m * m : 1.0;
          EXPECT_NEAR(twice[64 * t + c], turns * x[64 * t + c], 2e-6);
          EXPECT_NEAR(undone[64 * t + c], x[64 * t + c], 1e-6);
        }
    }
}

// llama.cpp#5653, shainet#110.
TEST(Trap20CompositionAndSharding, TurningTwiceIsTurningByTheSum) {
  const Rotary rotary = made(spec_of(4, 1e4));
  const Heads x = {1, 2, 3, 4};
  expect_near(turned(rotary, turned(rotary, x, Positions{5}), Positions{-2}),
              {-1.413352521, 1.879118067, -2.828857482, 4.058191135}, 2e-6);
  EXPECT_TRUE(same_bits(turned(rotary, x, Positions{0}), x));
}

TEST(Trap20CompositionAndSharding, ShiftedKeysKeepTheirAmplitude) {
  const Rotary rotary = made(spec_of(64, 1e6, PairLayout::kHalf, YarnOptions{.factor = 4, .trained_context = 32768}));
  const Heads x = heads_of(64);
  const Heads moved = turned(rotary, turned(rotary, x, Positions{100}), Positions{-30}, 1, Direction::kShift);
  expect_near(moved, in_double(turned(rotary, x, Positions{70})), 2e-6);
}

TEST(Trap20CompositionAndSharding, ShardsGiveTheTokensWhatTheWholeGives) {
  const Rotary rotary = made(spec_of(64, 1e4));
  const Heads x = heads_of(16 * 64), whole = turned(rotary, x, *positions_from_range(0, 16));
  for (const int rank : {0, 1}) {
    const Positions held = *positions_for_rank(16, 2, rank, ShardScheme::kZigzag);
    EXPECT_EQ(held, rank == 0 ? (Positions{0, 1, 2, 3, 12, 13, 14, 15}) : (Positions{4, 5, 6, 7, 8, 9, 10, 11}));
    Heads part, expected;
    for (const std::int64_t t : held) {
      part.insert(part.end(), x.begin() + t * 64, x.begin() + t * 64 + 64);
      expected.insert(expected.end(), whole.begin() + t * 64, whole.begin() + t * 64 + 64);
    }
    EXPECT_TRUE(same_bits(turned(rotary, part, held), expected));
  }
}

}  // namespace
}  // namespace traps
