// Position maps against the formulas of their papers, key by key over whole tables of distances.
#include <ropewalk/position_maps.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace ropewalk {
namespace {

std::int64_t floored(std::int64_t a, std::int64_t b) { return a / b; }

// ---- what the papers say: how far key j stands from query i >= j

// Self-Extend, algorithm 1: two score matrices, one of them taken where i - j < w.
double paper(const SelfExtend& m, std::int64_t i, std::int64_t j) {
  if (i - j < m.window) return static_cast<double>(i - j);
  const std::int64_t shift = m.window - floored(m.window, m.group);
  return static_cast<double>(floored(i, m.group) + shift - floored(j, m.group));
}

double paper(const ReRope& m, std::int64_t i, std::int64_t j) {
  const auto n = static_cast<double>(i - j), w = static_cast<double>(m.window);
  if (n < w) return n;
  return std::isinf(m.divisor) ? w : w + (n - w) / m.divisor;
}

// Dual chunk attention, equations 2 to 7: P_k = j mod s; P_q = i mod s in the own chunk; s, s + 1, ..., s + w - 1, c,
// c,
// ... for the chunk before; c for all earlier ones.
double paper(const DualChunk& m, std::int64_t i, std::int64_t j) {
  const std::int64_t s = m.chunk_size - m.local_size, key = j % s, inside = i % s;
  if (i / s == j / s) return static_cast<double>(inside - key);
  std::vector<std::int64_t> successive;
  for (std::int64_t r = 0; r < s; ++r) successive.push_back(r < m.local_size ? s + r : m.chunk_size);
  if (i / s == j / s + 1) return static_cast<double>(successive[static_cast<std::size_t>(inside)] - key);
  return static_cast<double>(successive.back() - key);
}

double paper(const PositionMap& map, std::int64_t i, std::int64_t j) {
  return std::visit([&](const auto& m) { return paper(m, i, j); }, map);
}

double at(const MappedPositions& positions, std::int64_t t) {
  return std::visit([&](const auto& list) { return static_cast<double>(list[static_cast<std::size_t>(t)]); },
                    positions);
}

const std::vector<PositionMap>& maps() {
  static const std::vector<PositionMap> all = {
      SelfExtend{1, 1},  SelfExtend{2, 8},   SelfExtend{3, 8},    SelfExtend{8, 3},    SelfExtend{7, 1},
      SelfExtend{5, 64}, SelfExtend{4, 200}, SelfExtend{1, 20},   SelfExtend{100, 16}, ReRope{1},
      ReRope{8},         ReRope{200},        ReRope{8, 1.0},      ReRope{8, 4.0},      ReRope{13, 2.5},
      ReRope{64, 1e6},   DualChunk{8, 2},    DualChunk{8, 0},     DualChunk{24, 8},    DualChunk{24, 12},
      DualChunk{7, 6},   DualChunk{64, 16},  DualChunk{300, 100}, DualChunk{1, 0}};
  return all;
}

// Every pair of query and key, asked for in one piece, in chunks, and token by token: one part and no more has it, and
// its two positions lie apart by what the paper says.
TEST(PositionMaps, PartsGiveEveryDistanceOfThePaperOnce) {
  constexpr std::int64_t kTokens = 150;
  for (const PositionMap& map : maps())
    for (const std::int64_t step : {std::int64_t{1}, std::int64_t{7}, std::int64_t{64}, kTokens}) {
      std::map<std::pair<std::int64_t, std::int64_t>, double> table;
      for (std::int64_t first = 0; first < kTokens; first += step) {
        const std::int64_t queries = std::min(step, kTokens - first);
        const auto parts = map_parts(map, first, queries);
        ASSERT_TRUE(parts) << parts.error().line();
        std::int64_t covered = first;
        for (std::size_t p = 0; p < parts->size(); ++p) {
          const MapPart& part = (*parts)[p];
          ASSERT_GE(part.first_key, 0);
          if (p == 0 || part.first_query != (*parts)[p - 1].first_query) {
            ASSERT_EQ(part.first_query, covered) << "stretches follow one another";
            covered += part.queries;
          } else {
            ASSERT_EQ(part.queries, (*parts)[p - 1].queries);
          }
          const auto q = map_query_positions(map, part.query_turn, part.first_query, part.queries);
          const auto k = map_key_positions(map, part.key_turn, part.first_key, part.keys);
          ASSERT_TRUE(q && k);
          for (std::int64_t t = 0; t < part.queries; ++t) {
            // As attention.hpp reads a mask.
            const std::int64_t place = t + part.keys - part.queries;
            std::int64_t seen = 0;
            for (std::int64_t j = 0; j < part.keys; ++j) {
              if (part.mask.left != AttentionMask::kUnlimited && j < place - part.mask.left) continue;
              if (part.mask.right != AttentionMask::kUnlimited && j > place + part.mask.right) continue;
              ++seen;
              const auto fresh =
                  table.emplace(std::pair(part.first_query + t, part.first_key + j), at(*q, t) - at(*k, j));
              ASSERT_TRUE(fresh.second) << to_string(map) << ": query " << part.first_query + t << " has key "
                                        << part.first_key + j << " twice";
            }
            ASSERT_GT(seen, 0);
          }
        }
        ASSERT_EQ(covered, first + queries);
      }
      ASSERT_EQ(table.size(), static_cast<std::size_t>(kTokens * (kTokens + 1) / 2)) << to_string(map);
      for (const auto& [pair, distance] : table) {
        ASSERT_NEAR(distance, paper(map, pair.first, pair.second), 1e-12)
            << to_string(map) << ": query " << pair.first << " key " << pair.second;
        ASSERT_EQ(mapped_distance(map, pair.first, pair.second), paper(map, pair.first, pair.second));
      }
    }
}

TEST(PositionMaps, TheLargestDistanceIsTheLargest) {
  for (const PositionMap& map : maps()) {
    double largest = 0.0;
    for (std::int64_t i = 0; i < 200; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const double distance = paper(map, i, j);
        ASSERT_GE(distance, i == j ? 0.0 : std::holds_alternative<DualChunk>(map) ? 0.0 : 1.0);
        largest = std::max(largest, distance);
      }
      ASSERT_EQ(largest_mapped_distance(map, i + 1), largest) << to_string(map) << " at " << i + 1 << " tokens";
    }
  }
  // What each was made for: no more than was trained.
  EXPECT_LE(largest_mapped_distance(DualChunk{1536, 128}, std::int64_t{1} << 40), 1536.0);
  EXPECT_EQ(largest_mapped_distance(ReRope{512}, std::int64_t{1} << 40), 512.0);
  EXPECT_EQ(largest_mapped_distance(SelfExtend{4, 1024}, (4096 - 1024) * 4 + 1024), 4095.0);
}

TEST(PositionMaps, NothingChangesWithinTheWindow) {
  for (const PositionMap& map : maps()) {
    const std::int64_t tokens = std::min<std::int64_t>(unmapped_tokens(map), 250);
    ASSERT_GE(tokens, 1);
    EXPECT_EQ(*map_parts(map, 0, tokens), (std::vector<MapPart>{{0, tokens, 0, tokens, AttentionMask::causal(), 0, 0}}))
        << to_string(map);
    for (std::int64_t t = 0; t < tokens; ++t) {
      ASSERT_EQ(at(*map_query_positions(map, 0, t, 1), 0), static_cast<double>(t));
      ASSERT_EQ(at(*map_key_positions(map, 0, t, 1), 0), static_cast<double>(t));
    }
    // Beyond it near keys keep their distance.
    std::int64_t near = 0;
    if (const auto* const m = std::get_if<SelfExtend>(&map)) near = m->window - 1;
    if (const auto* const m = std::get_if<ReRope>(&map)) near = m->window - 1;
    if (const auto* const m = std::get_if<DualChunk>(&map))
      near = std::min(m->local_size, m->chunk_size - m->local_size);
    for (std::int64_t i = 0; i < 200; ++i)
      for (std::int64_t j = std::max<std::int64_t>(i - near, 0); j <= i; ++j)
        ASSERT_EQ(mapped_distance(map, i, j), static_cast<double>(i - j)) << to_string(map) << " " << i << " " << j;
  }
}

TEST(PositionMaps, TakesTheFarthestPlaces) {
  constexpr std::int64_t kEnd = std::int64_t{1} << 40, kLargest = (std::int64_t{1} << 62) - 1;
  for (const PositionMap& map :
       {PositionMap{SelfExtend{kLargest, kLargest}}, PositionMap{SelfExtend{3, 7}}, PositionMap{ReRope{kLargest, 2.0}},
        PositionMap{DualChunk{kLargest, 0}}, PositionMap{DualChunk{1000, 100}}}) {
    const auto parts = map_parts(map, kEnd - 3, 3);
    ASSERT_TRUE(parts) << parts.error().line();
    EXPECT_TRUE(map_query_positions(map, 1, kEnd - 3, 3));
    EXPECT_TRUE(map_key_positions(map, 0, kEnd - 3, 3));
    EXPECT_TRUE(std::isfinite(largest_mapped_distance(map, kEnd)));
  }
  EXPECT_EQ(map_parts(SelfExtend{3, 7}, 5, 0)->size(), 0u);
}

TEST(PositionMaps, SaysWhatIsWrong) {
  const auto line = [](const PositionMap& map, std::int64_t first = 0, std::int64_t queries = 1) {
    const auto parts = map_parts(map, first, queries);
    return parts ? std::string("nothing") : parts.error().line();
  };
  EXPECT_EQ(line(SelfExtend{0, 8}), "group: want a number in [1, 2^62), got 0");
  EXPECT_EQ(line(SelfExtend{4, 0}), "window: want a number in [1, 2^62), got 0");
  EXPECT_EQ(line(SelfExtend{4, std::numeric_limits<std::int64_t>::max()}),
            "window: want a number in [1, 2^62), got 9223372036854775807");
  EXPECT_EQ(line(ReRope{-1}), "window: want a number in [1, 2^62), got -1");
  EXPECT_EQ(line(ReRope{8, 0.5}), "divisor: want a number >= 1, got 0.5");
  EXPECT_EQ(line(ReRope{8, std::nan("")}), "divisor: want a number >= 1, got nan");
  EXPECT_EQ(line(DualChunk{8, 8}), "local_size: want a number in [0, 7], got 8");
  EXPECT_EQ(line(SelfExtend{4, 8}, -1), "first: want a number >= 0, got -1");
  EXPECT_EQ(line(SelfExtend{4, 8}, 0, -1), "queries: want a number >= 0, got -1");
  EXPECT_EQ(line(SelfExtend{4, 8}, std::int64_t{1} << 40, 1),
            "queries: want an end of at most 2^40, got 1099511627776 and 1 more");
  EXPECT_EQ(map_query_positions(SelfExtend{4, 8}, 2, 0, 1).error().line(), "turn: want 0 to 1, got 2");
  EXPECT_EQ(map_key_positions(DualChunk{8, 2}, 1, 0, 1).error().line(), "turn: want 0 to 0, got 1");
}

TEST(PositionMaps, AreNamedApart) {
  EXPECT_EQ(to_string(SelfExtend{4, 512}), "self-extend group=4 window=512");
  EXPECT_EQ(to_string(ReRope{512}), "rerope window=512");
  EXPECT_EQ(to_string(ReRope{512, 2.5}), "leaky-rerope divisor=2.5 window=512");
  EXPECT_EQ(to_string(DualChunk{1536, 128}), "dual-chunk chunk_size=1536 local_size=128");
}

}  // namespace
}  // namespace ropewalk
