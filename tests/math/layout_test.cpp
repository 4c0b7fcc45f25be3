#include <ropewalk/layout.hpp>
#include <ropewalk/rotary.hpp>

#include "oracle/rotate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace ropewalk {
namespace {

constexpr PairLayout kHalf = PairLayout::kHalf;
constexpr PairLayout kInterleaved = PairLayout::kInterleaved;
using Order = std::vector<int>;
using Bytes = std::vector<std::byte>;

constexpr HeadChannels kShapes[] = {{2, 2, 0},      {3, 2, 1},    {4, 4, 0},      {10, 8, 0},
                                    {64, 64, 0},    {80, 32, 0},  {128, 128, 0},  {96, 48, 48},
                                    {192, 64, 128}, {256, 64, 0}, {577, 64, 512}, {7, 4, 2}};

Bytes random_bytes(std::size_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  Bytes out(count);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

TEST(ChannelOrder, IsTheGatherOfTheFirstGoldenTrap) {
  EXPECT_EQ(*channel_order(kHalf, kInterleaved, {4, 4, 0}), (Order{0, 2, 1, 3}));
  EXPECT_EQ(*channel_order(kHalf, kInterleaved, {8, 8, 0}), (Order{0, 4, 1, 5, 2, 6, 3, 7}));
  EXPECT_EQ(*channel_order(kInterleaved, kHalf, {8, 8, 0}), (Order{0, 2, 4, 6, 1, 3, 5, 7}));
  const Order order = *channel_order(kHalf, kInterleaved, {128, 128, 0});
  for (int c = 0; c < 128; ++c) EXPECT_EQ(order[static_cast<std::size_t>(c)], c / 2 + c % 2 * 64);
}

TEST(ChannelOrder, LeavesWhatDoesNotTurn) {
  EXPECT_EQ(*channel_order(kHalf, kInterleaved, {10, 8, 0}), (Order{0, 4, 1, 5, 2, 6, 3, 7, 8, 9}));
  EXPECT_EQ(*channel_order(kHalf, kInterleaved, {8, 4, 3}), (Order{0, 1, 2, 3, 5, 4, 6, 7}));
  EXPECT_EQ(*channel_order(kInterleaved, kHalf, {6, 4, 2}), (Order{0, 1, 2, 4, 3, 5}));
}

TEST(ChannelOrder, OneWayAndBackIsTheIdentity) {
  for (const HeadChannels& head : kShapes) {
    const Order there = *channel_order(kHalf, kInterleaved, head), back = *channel_order(kInterleaved, kHalf, head);
    Order none(there.size());
    for (std::size_t c = 0; c < none.size(); ++c) none[c] = static_cast<int>(c);
    for (std::size_t c = 0; c < none.size(); ++c) {
      EXPECT_EQ(there[static_cast<std::size_t>(back[c])], none[c]);
      EXPECT_EQ(back[static_cast<std::size_t>(there[c])], none[c]);
    }
    EXPECT_EQ(*channel_order(kHalf, kHalf, head), none);
    EXPECT_EQ(*channel_order(kInterleaved, kInterleaved, head), none);
  }
}

TEST(ChannelOrder, RefusesWhatIsNoHead) {
  const auto refusal = [](const HeadChannels& head) { return channel_order(kHalf, kInterleaved, head).error(); };
  EXPECT_EQ(refusal({0, 2, 0}).line(), "head_dim: want a number from 1 to 1048576, got 0");
  EXPECT_EQ(refusal({64, 0, 0}).path, "rotary_dim");
  EXPECT_EQ(refusal({64, 63, 0}).line(), "rotary_dim: want an even number from 2 to 64, got 63");
  EXPECT_EQ(refusal({64, 66, 0}).path, "rotary_dim");
  EXPECT_EQ(refusal({64, 64, 2}).path, "rotary_dim");
  EXPECT_EQ(refusal({64, 2, -1}).path, "rotary_offset");
  EXPECT_EQ(refusal({64, 2, 64}).path, "rotary_offset");
  EXPECT_EQ(refusal({-64, -64, 0}).path, "head_dim");
  EXPECT_EQ(refusal({1 << 30, 2, 0}).path, "head_dim");
  EXPECT_EQ(channel_order(PairLayout::kUnset, kHalf, {4, 4, 0}).error().line(),
            "from: want half or interleaved, got unset");
  EXPECT_EQ(channel_order(kHalf, static_cast<PairLayout>(7), {4, 4, 0}).error().path, "to");
}

// 64 query heads on 8 key heads alone would be no test: 64 / 8 is 8, so a wrong count of key heads passes it.
TEST(PermuteRows, GivesTheBytesBackForEveryHeadCount) {
  for (const std::int64_t heads : {0, 1, 4, 7, 8, 28, 32, 64})
    for (const HeadChannels& head : kShapes)
      for (const std::int64_t row_bytes : {1, 2, 3, 4, 18, 34}) {
        const auto size = static_cast<std::size_t>(heads * head.head_dim * row_bytes);
        const Bytes rows = random_bytes(size, 7);
        Bytes there(size), back(size);
        ASSERT_FALSE(permute_rows(kHalf, kInterleaved, head, heads, row_bytes, rows, there));
        ASSERT_FALSE(permute_rows(kInterleaved, kHalf, head, heads, row_bytes, there, back));
        ASSERT_EQ(rows, back);
        if (heads > 0 && head.rotary_dim > 2 && row_bytes > 2) {
          ASSERT_NE(rows, there);
        }
      }
}

TEST(PermuteRows, MovesWholeRowsWithinTheirHead) {
  const std::string rows = "a0a1a2a3a4b0b1b2b3b4";  // two heads of five rows, of which the last four turn
  std::string out(rows.size(), '?');
  ASSERT_FALSE(permute_rows(kHalf, kInterleaved, {5, 4, 1}, 2, 2, std::as_bytes(std::span(rows)),
                            std::as_writable_bytes(std::span(out))));
  EXPECT_EQ(out, "a0a1a3a2a4b0b1b3b2b4");
}

// The law for which the function exists, against the oracle: turning W x in one layout is turning permuted(W) x in the
// other, for every head. x is a row of integers, so that the products are exact.
TEST(PermuteRows, TurnedProjectionsAreTheSameInTheOtherLayout) {
  std::mt19937_64 random(3);
  std::uniform_int_distribution<int> digit(-9, 9);
  for (const HeadChannels& head : kShapes)
    for (const std::int64_t heads : {1, 4, 28}) {
      const auto dim = static_cast<std::size_t>(head.head_dim), rows = dim * static_cast<std::size_t>(heads);
      constexpr std::size_t kColumns = 3;
      std::vector<float> weight(rows * kColumns), moved(weight.size());
      for (float& w : weight) w = static_cast<float>(digit(random));
      const std::vector<float> x = {3, -1, 2};
      ASSERT_FALSE(permute_rows(kHalf, kInterleaved, head, heads, kColumns * sizeof(float),
                                std::as_bytes(std::span(weight)), std::as_writable_bytes(std::span(moved))));
      const auto turned = [&](const std::vector<float>& w, std::size_t h, auto channels) {
        std::vector<double> projected(dim);
        for (std::size_t c = 0; c < dim; ++c)
          for (std::size_t k = 0; k < kColumns; ++k) projected[c] += w[(h * dim + c) * kColumns + k] * x[k];
        const auto first = projected.begin() + head.rotary_offset;
        std::vector<double> part(first, first + head.rotary_dim);
        part = oracle::rotated(part, oracle::angles(1048573, 10000, head.rotary_dim), channels);
        std::copy(part.begin(), part.end(), first);
        return projected;
      };
      const Order order = *channel_order(kHalf, kInterleaved, head);
      for (std::size_t h = 0; h < static_cast<std::size_t>(heads); ++h) {
        const auto half = turned(weight, h, oracle::halves), interleaved = turned(moved, h, oracle::adjacent);
        for (std::size_t c = 0; c < dim; ++c)
          ASSERT_EQ(interleaved[c], half[static_cast<std::size_t>(order[c])]) << "head " << h << " channel " << c;
      }
    }
}

// The same with the library's own kernels, to the bit.
TEST(PermuteRows, OurOwnRotationAgreesToTheBit) {
  const HeadChannels head{96, 64, 16};
  constexpr std::int64_t kHeads = 5;
  std::mt19937_64 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> half(static_cast<std::size_t>(kHeads * head.head_dim)), interleaved(half.size());
  for (float& value : half) value = normal(random);
  ASSERT_FALSE(permute_rows(kHalf, kInterleaved, head, kHeads, sizeof(float), std::as_bytes(std::span(half)),
                            std::as_writable_bytes(std::span(interleaved))));
  const auto turn = [&](std::vector<float>& x, PairLayout layout) {
    const auto rotary = Rotary::make({.head_dim = head.head_dim,
                                      .rotary_dim = head.rotary_dim,
                                      .rotary_offset = head.rotary_offset,
                                      .theta = 10000,
                                      .layout = layout});
    ASSERT_TRUE(rotary) << rotary.error().line();
    const RotaryOperand operands[] = {
        RotaryOperand::in_place(HeadsView::bshd(x.data(), DType::kFloat32, 1, 1, kHeads, head.head_dim))};
    const std::int64_t position[] = {-1234567};
    const auto where = PositionsView::row(position);
    const auto wrong = rotary->check(operands, where);
    ASSERT_FALSE(wrong) << wrong->line();
    rotary->apply(operands, where);
  };
  turn(half, kHalf);
  turn(interleaved, kInterleaved);
  std::vector<float> expected(half.size());
  ASSERT_FALSE(permute_rows(kHalf, kInterleaved, head, kHeads, sizeof(float), std::as_bytes(std::span(half)),
                            std::as_writable_bytes(std::span(expected))));
  EXPECT_EQ(std::memcmp(expected.data(), interleaved.data(), half.size() * sizeof(float)), 0);
}

TEST(PermuteRows, RefusesWhatDoesNotFit) {
  Bytes rows(2 * 8 * 4), out(rows.size());
  const HeadChannels head{8, 8, 0};
  const auto refusal = [&](std::int64_t heads, std::int64_t row_bytes) {
    return permute_rows(kHalf, kInterleaved, head, heads, row_bytes, rows, out).value_or(Error{}).path;
  };
  EXPECT_EQ(refusal(2, 4), "");
  EXPECT_EQ(refusal(3, 4), "from_rows");
  EXPECT_EQ(refusal(-2, 4), "heads");
  EXPECT_EQ(refusal(2, 0), "row_bytes");
  EXPECT_EQ(refusal(2, -4), "row_bytes");
  EXPECT_EQ(refusal(std::int64_t{1} << 40, std::int64_t{1} << 40), "from_rows");
  EXPECT_EQ(permute_rows(kHalf, kHalf, head, 2, 4, rows, std::span(out).first(8))->path, "to_rows");
  EXPECT_EQ(permute_rows(kHalf, kHalf, head, 2, 4, rows, rows)->line(),
            "to_rows: want rows of their own, got rows that overlap from_rows");
  EXPECT_EQ(permute_rows(kHalf, kHalf, {8, 7, 0}, 2, 4, rows, out)->path, "rotary_dim");
}

}  // namespace
}  // namespace ropewalk
