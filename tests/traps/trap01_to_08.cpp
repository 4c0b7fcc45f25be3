#include "support.hpp"

namespace traps {
namespace {

// TensorRT-LLM#16378, ERNIE-Image#6: D = 4, theta 1e4, position 3, 1 2 3 4.
TEST(Trap01PairingOracle, TheOperatorGivesTheFourNumbersOfEachLayout) {
  const Heads x = {1, 2, 3, 4};
  expect_near(turned(made(spec_of(4, 1e4)), x, Positions{3}), {-1.413352521, 1.879118067, -2.828857482, 4.058191135},
              1e-6);
  expect_near(turned(made(spec_of(4, 1e4, PairLayout::kInterleaved)), x, Positions{3}),
              {-1.272232513, -1.838864985, 2.878668100, 4.088186636}, 1e-6);
}

TEST(Trap01PairingOracle, AMixedFormCannotBeBuilt) {
  RotarySpec spec = spec_of(4, 1e4);
  spec.layout = PairLayout::kUnset;
  EXPECT_FALSE(Rotary::make(spec));
  const Heads y = turned(made(spec_of(4, 1e4)), {1, 2, 3, 4}, Positions{3});
  EXPECT_NEAR(y[0] * y[0] + y[1] * y[1] + y[2] * y[2] + y[3] * y[3], 30.0, 1e-5);  // the mixed form gives 34.11
}

// mlx#3494, mlx#3949, exllama#101: x of [B, H, 1, D] at decode, where a kernel takes one row for all.
TEST(Trap05RowIndependenceAtDecode, ARowIsWhatItIsAlone) {
  for (const PairLayout layout : {PairLayout::kHalf, PairLayout::kInterleaved})
    for (const std::int64_t batch : {1, 2, 7})
      for (const std::int64_t tokens : {1, 3})
        for (const bool gaps : {false, true}) {
          const std::int64_t heads = 3, channels = 64, stride = gaps ? channels + 13 : channels;
          const Rotary rotary = made(spec_of(64, 1e4, layout));
          Heads x = heads_of(static_cast<std::size_t>(batch * heads * tokens * stride));
          const Heads before = x;
          Positions where;
          for (std::int64_t i = 0; i < batch * tokens; ++i) where.push_back(1000 * i * i + 17);
          HeadsView view = HeadsView::bhsd(x.data(), DType::kFloat32, batch, heads, tokens, channels);
          view.token_stride = stride;
          view.head_stride = tokens * stride;
          view.batch_stride = heads * tokens * stride;
          const RotaryOperand operand = RotaryOperand::in_place(view);
          const auto positions = PositionsView::rows(where, batch);
          ASSERT_FALSE(rotary.check({&operand, 1}, positions));
          rotary.apply({&operand, 1}, positions);
          for (std::int64_t b = 0; b < batch; ++b)
            for (std::int64_t h = 0; h < heads; ++h)
              for (std::int64_t t = 0; t < tokens; ++t) {
                const auto at = static_cast<std::size_t>(((b * heads + h) * tokens + t) * stride);
                const Heads alone = turned(rotary,
                                           Heads(before.begin() + static_cast<std::ptrdiff_t>(at),
                                                 before.begin() + static_cast<std::ptrdiff_t>(at + 64)),
                                           Positions{where[static_cast<std::size_t>(b * tokens + t)]});
                ASSERT_TRUE(same_bits(alone, Heads(x.begin() + static_cast<std::ptrdiff_t>(at),
                                                   x.begin() + static_cast<std::ptrdiff_t>(at + 64))));
              }
        }
}

// mobius#548, transformers#47435: one key hides an amplitude, two show it.
TEST(Trap06YarnAmplitudeIsCountedOnce, ScoresOfTwoKeysGrowByItsSquare) {
  const YarnOptions yarn{.factor = 4, .trained_context = 32768};
  const auto score = [](const Rotary& rotary, std::int64_t distance) {
    const Heads q = turned(rotary, heads_of(128, 1), Positions{distance}),
                k = turned(rotary, heads_of(128, 2), Positions{0});
    double sum = 0;
    for (std::size_t c = 0; c < q.size(); ++c) sum += static_cast<double>(q[c]) * static_cast<double>(k[c]);
    return sum;
  };
  YarnOptions plain = yarn;
  plain.attention_factor = 1.0;
  const Rotary amplified = made(spec_of(128, 1e6, PairLayout::kHalf, yarn));
  const Rotary bare = made(spec_of(128, 1e6, PairLayout::kHalf, plain));
  for (const std::int64_t distance : {0, 1000})
    EXPECT_NEAR(score(amplified, distance) / score(bare, distance), 1.296476993, 2e-4) << distance;
  EXPECT_NEAR(score(amplified, 1000) - score(amplified, 0), 1.296476993 * (score(bare, 1000) - score(bare, 0)), 2e-3);
  EXPECT_EQ(amplified.frequencies().softmax_scale_multiplier, 1.0);
}

// Megatron-LM#453, OLMo-core#503: packed sequences, and positions in any order.
TEST(Trap07PositionValuesAreHonoured, PackedSequencesEqualSeparateCalls) {
  const Rotary rotary = made(spec_of(64, 1e4));
  const Positions packed = *positions_from_cu_seqlens(Positions{0, 3, 8});
  const Heads x = heads_of(8 * 64);
  const Heads together = turned(rotary, x, packed);
  Heads first(x.begin(), x.begin() + 3 * 64), second(x.begin() + 3 * 64, x.end());
  Heads apart = turned(rotary, first, *positions_from_range(0, 3));
  const Heads rest = turned(rotary, second, *positions_from_range(0, 5));
  apart.insert(apart.end(), rest.begin(), rest.end());
  EXPECT_TRUE(same_bits(together, apart));
}

TEST(Trap07PositionValuesAreHonoured, AnyOrderGivesEachTokenItsOwn) {
  const Rotary rotary = made(spec_of(64, 1e4, PairLayout::kInterleaved));
  for (const Positions& where : {Positions{7, 8, 9, 10}, {3, 2, 1, 0}, {5, 5, 5, 5}, {0, 17, 3, 1000000}}) {
    const Heads x = heads_of(4 * 64), y = turned(rotary, x, where);
    for (std::size_t t = 0; t < 4; ++t) {
      const auto at = static_cast<std::ptrdiff_t>(64 * t);
      const Heads row(x.begin() + at, x.begin() + at + 64);
      expect_near(
          Heads(y.begin() + at, y.begin() + at + 64),
          oracle::rotated(in_double(row), oracle::angles(static_cast<double>(where[t]), 1e4, 64), oracle::adjacent),
          1e-6);
    }
  }
}

TEST(Trap07PositionValuesAreHonoured, SeveralAxesAreNoPackedSequences) {
  RotarySpec spec = spec_of(64, 1e4);
  spec.axis_of_pair.assign(32, 0);
  for (std::size_t j = 10; j < 32; ++j) spec.axis_of_pair[j] = static_cast<std::uint8_t>(1 + j % 2);
  // A picture's positions fall and begin again on an axis: nothing may take that for the start of a sequence.
  const Positions streams = {4, 4, 4, 4, 0, 0, 1, 1, 0, 1, 0, 1};
  const Heads x = heads_of(4 * 64);
  const Heads y = turned(made(spec), x, PositionsView::streams(streams, 3));
  for (std::size_t t = 0; t < 4; ++t) {
    Positions alone = {streams[t], streams[4 + t], streams[8 + t]};
    const auto at = static_cast<std::ptrdiff_t>(64 * t);
    EXPECT_TRUE(
        same_bits(turned(made(spec), Heads(x.begin() + at, x.begin() + at + 64), PositionsView::streams(alone, 3)),
                  Heads(y.begin() + at, y.begin() + at + 64)));
  }
}

// transformers#22161, unsloth#4078: left padding.
TEST(Trap08LeftPaddingAndNegativePositions, RealTokensAreThoseOfTheUnpaddedCall) {
  const Rotary rotary = made(spec_of(64, 1e4));
  const Heads x = heads_of(5 * 64);
  const Heads padded = turned(rotary, x, *positions_from_mask(std::vector<std::uint8_t>{0, 0, 1, 1, 1}, 1));
  const Heads bare = turned(rotary, Heads(x.begin() + 2 * 64, x.end()), Positions{0, 1, 2});
  EXPECT_TRUE(same_bits(Heads(padded.begin() + 2 * 64, padded.end()), bare));
}

TEST(Trap08LeftPaddingAndNegativePositions, ANegativePositionIsTheTransposeOfThePositiveOne) {
  for (const PairLayout layout : {PairLayout::kHalf, PairLayout::kInterleaved}) {
    const Rotary rotary = made(spec_of(64, 1e4, layout));
    for (std::int64_t p = -5; p <= 4; ++p) {
      const Heads x = heads_of(64, static_cast<double>(p));
      EXPECT_TRUE(
          same_bits(turned(rotary, x, Positions{-p}), turned(rotary, x, Positions{p}, 1, Direction::kTranspose)));
    }
  }
}

}  // namespace
}  // namespace traps
