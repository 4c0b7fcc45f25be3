#include <ropewalk/positions.hpp>

#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace ropewalk {
namespace {

using Positions = std::vector<std::int64_t>;
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

TEST(Positions, RangesStartAnywhere) {
  EXPECT_EQ(*positions_from_range(0, 4), (Positions{0, 1, 2, 3}));
  EXPECT_EQ(*positions_from_range(-5, 4), (Positions{-5, -4, -3, -2}));
  EXPECT_EQ(*positions_from_range(kMax, 1), (Positions{kMax}));
  EXPECT_EQ(*positions_from_range(kMin, 2), (Positions{kMin, kMin + 1}));
  EXPECT_EQ(*positions_from_range(kMax, 0), Positions{});
}

TEST(Positions, RangesThatLeaveInt64AreRefused) {
  EXPECT_EQ(positions_from_range(0, -1).error().line(), "tokens: want a number >= 0, got -1");
  EXPECT_EQ(positions_from_range(kMax, 2).error().path, "first");
  EXPECT_FALSE(positions_from_range(1, kMax));
  EXPECT_EQ(positions_from_range(kMax, 2).error().code, Code::kInvalid);
}

TEST(Positions, WhatDoesNotFitInMemoryIsAnErrorAndNoCrash) {
  EXPECT_EQ(positions_from_range(0, kMax).error().path, "tokens");
  EXPECT_FALSE(positions_from_offsets(Positions{0}, kMax / 2, 3));
  EXPECT_FALSE(positions_from_cu_seqlens(Positions{0, kMax}));
  EXPECT_FALSE(positions_for_rank(kMax - 7, 8, 0, ShardScheme::kContiguous));
}

TEST(Positions, OffsetsServeAllRowsOrOneEach) {
  EXPECT_EQ(*positions_from_offsets(Positions{7}, 2, 3), (Positions{7, 8, 9, 7, 8, 9}));
  EXPECT_EQ(*positions_from_offsets(Positions{7, -1}, 2, 3), (Positions{7, 8, 9, -1, 0, 1}));
  EXPECT_EQ(*positions_from_offsets(Positions{7}, 0, 3), Positions{});
  EXPECT_EQ(positions_from_offsets(Positions{1, 2, 3}, 2, 3).error().line(),
            "seqlen_offsets: want 1 entry or one a row (2), got 3");
  EXPECT_EQ(positions_from_offsets(Positions{0, kMax}, 2, 2).error().path, "seqlen_offsets[1]");
  EXPECT_FALSE(positions_from_offsets(Positions{0}, -1, 2));
}

TEST(Positions, PackedSequencesCountFromZeroOrTheirOffset) {
  EXPECT_EQ(*positions_from_cu_seqlens(Positions{0, 3, 8}), (Positions{0, 1, 2, 0, 1, 2, 3, 4}));
  EXPECT_EQ(*positions_from_cu_seqlens(Positions{0, 3, 3, 5}, Positions{10, 20, -1}), (Positions{10, 11, 12, -1, 0}));
  EXPECT_EQ(*positions_from_cu_seqlens(Positions{0}), Positions{});
  EXPECT_EQ(positions_from_cu_seqlens(Positions{}).error().path, "cu_seqlens");
  EXPECT_EQ(positions_from_cu_seqlens(Positions{1, 3}).error().line(), "cu_seqlens[0]: want 0, got 1");
  EXPECT_EQ(positions_from_cu_seqlens(Positions{0, 3, 2}).error().line(), "cu_seqlens[2]: want a number >= 3, got 2");
  EXPECT_EQ(positions_from_cu_seqlens(Positions{0, 3}, Positions{1, 2}).error().path, "seqlen_offsets");
  EXPECT_EQ(positions_from_cu_seqlens(Positions{0, 3}, Positions{kMax}).error().path, "seqlen_offsets[0]");
}

TEST(Positions, MasksCountRealTokensOnly) {
  const std::vector<std::uint8_t> left = {0, 0, 1, 1, 1}, two = {0, 1, 1, 1, 0, 1};
  EXPECT_EQ(*positions_from_mask(left, 1), (Positions{0, 0, 0, 1, 2}));
  EXPECT_EQ(*positions_from_mask(left, 1, -7), (Positions{-7, -7, 0, 1, 2}));
  EXPECT_EQ(*positions_from_mask(two, 2, 9), (Positions{9, 0, 1, 0, 9, 1}));
  EXPECT_EQ(*positions_from_mask({}, 3), Positions{});
  EXPECT_EQ(positions_from_mask(left, 2).error().line(), "mask: want a multiple of 2 entries, got 5");
  EXPECT_EQ(positions_from_mask(left, 0).error().line(), "batch: want a number >= 1, got 0");
}

TEST(Positions, RanksShareASequenceWithoutLossOrOverlap) {
  for (const ShardScheme scheme : {ShardScheme::kContiguous, ShardScheme::kZigzag})
    for (const int ranks : {1, 2, 3, 8}) {
      std::multiset<std::int64_t> held;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto part = *positions_for_rank(48, ranks, rank, scheme, -10);
        EXPECT_EQ(part.size(), 48u / static_cast<unsigned>(ranks));
        held.insert(part.begin(), part.end());
      }
      const auto all = *positions_from_range(-10, 48);
      EXPECT_EQ(held, std::multiset<std::int64_t>(all.begin(), all.end()));
    }
}

TEST(Positions, ShardErrorsSayWhatIsWanted) {
  const auto line = [](std::int64_t tokens, int ranks, int rank, ShardScheme scheme) {
    return positions_for_rank(tokens, ranks, rank, scheme).error().line();
  };
  EXPECT_EQ(line(16, 2, 2, ShardScheme::kZigzag), "rank: want a number in [0, 1], got 2");
  EXPECT_EQ(line(16, 2, -1, ShardScheme::kZigzag), "rank: want a number in [0, 1], got -1");
  EXPECT_EQ(line(16, 0, 0, ShardScheme::kZigzag), "ranks: want a number >= 1, got 0");
  EXPECT_EQ(line(18, 2, 0, ShardScheme::kZigzag), "tokens: want a multiple of 4, got 18");
  EXPECT_EQ(line(17, 2, 0, ShardScheme::kContiguous), "tokens: want a multiple of 2, got 17");
  EXPECT_EQ(line(-4, 2, 0, ShardScheme::kContiguous), "tokens: want a number >= 0, got -4");
  EXPECT_FALSE(positions_for_rank(16, 2, 0, ShardScheme::kContiguous, kMax - 3));
  EXPECT_EQ(line(16, std::numeric_limits<int>::max(), 0, ShardScheme::kZigzag),
            "tokens: want a multiple of 4294967294, got 16");
}

TEST(Positions, ViewsDescribeTheirShapes) {
  const Positions six = {1, 2, 3, 4, 5, 6};
  const PositionsView rows = PositionsView::rows(six, 2), streams = PositionsView::streams(six, 3);
  EXPECT_EQ(rows.tokens, 3);
  EXPECT_EQ(rows.data[1 * rows.batch_stride + 2 * rows.token_stride], 6);
  EXPECT_EQ(streams.tokens, 2);
  EXPECT_EQ(streams.data[2 * streams.axis_stride], 5);
}

}  // namespace
}  // namespace ropewalk
