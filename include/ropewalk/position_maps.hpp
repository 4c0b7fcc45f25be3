#pragma once

#include <ropewalk/attention.hpp>
#include <ropewalk/grids.hpp>
#include <ropewalk/result.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ropewalk {

// A model reads texts longer than it was trained for, without training, if no key seems to stand farther from its query
// than keys did then. A position map says how far key j seems to stand from query i >= j of a causal attention, n = i -
// j tokens behind it. Where that is no difference of one position a query and one a key, the keys of a query fall into
// parts with positions of their own, and one softmax goes over all of them.

/// Self-Extend (arXiv 2401.01325): n < window: n; else floor(i / group) - floor(j / group) + window - floor(window /
/// group). Takes about (trained - window) * group + window tokens.
struct SelfExtend {
  std::int64_t group = 1;   ///< in [1, 2^62); checkpoints and papers: group_size_1
  std::int64_t window = 1;  ///< in [1, 2^62); the neighbor window, group_size_2
  bool operator==(const SelfExtend&) const = default;
};

/// ReRoPE and leaky ReRoPE (kexue.fm 9708): n < window: n; else window + (n - window) / divisor. The factor on queries
/// that its authors add (log n) is a query temperature, and not part of this.
struct ReRope {
  std::int64_t window = 1;                                   ///< in [1, 2^62)
  double divisor = std::numeric_limits<double>::infinity();  ///< >= 1; infinite: ReRoPE, every far key at `window`
  bool operator==(const ReRope&) const = default;
};

/// DualChunk (grids.hpp) is the third: with c = chunk_size - local_size, keys at j mod c, and queries at i mod c for
/// keys of their own chunk, at min(i mod c + c, chunk_size) for the chunk before, at min(2 c - 1, chunk_size) for all
/// earlier ones. Never above chunk_size; n itself up to min(local_size, c).
using PositionMap = std::variant<SelfExtend, ReRope, DualChunk>;

/// What is wrong with its numbers, or nothing. Paths: "group", "window", "divisor", "chunk_size", "local_size".
[[nodiscard]] std::optional<Error> check_position_map(const PositionMap& map);

/// "self-extend group=4 window=512"; equal for equal maps and for no others.
std::string to_string(const PositionMap& map);

/// How far key j seems to stand from query i, 0 <= j <= i < 2^40. Requires check_position_map() to have nothing to say,
/// as everything below.
double mapped_distance(const PositionMap& map, std::int64_t query, std::int64_t key) noexcept;

/// The largest of them among the first `tokens` tokens, 1 to 2^40. What was trained on L tokens has seen L - 1.
double largest_mapped_distance(const PositionMap& map, std::int64_t tokens) noexcept;

/// So many tokens from the first one on are one part, at their own positions: nothing is changed up to there. 2^40:
/// all.
std::int64_t unmapped_tokens(const PositionMap& map) noexcept;

/// Queries of one stretch and the keys that they see by one rule. Tokens are counted from the first of the sequence.
struct MapPart {
  std::int64_t first_query = 0, queries = 0;
  std::int64_t first_key = 0, keys = 0;
  AttentionMask mask{};  ///< of an attention over just these queries and keys
  int query_turn = 0;    ///< which map_query_positions turns the queries
  int key_turn = 0;      ///< which map_key_positions turns the keys
  bool operator==(const MapPart&) const = default;
};

/// The parts of the queries [first, first + queries) over all keys up to each of them. Parts of the same queries stand
/// side by side, and their keys are disjoint and all that these queries see; stretches follow one another. A stretch
/// with one part needs no merge_attention. Every query sees a key in every part of its stretch.
/// Errors: those of check_position_map; kInvalid for first or queries < 0, or first + queries > 2^40.
Result<std::vector<MapPart>> map_parts(const PositionMap& map, std::int64_t first, std::int64_t queries);

/// In how many ways queries and keys are turned: keys of a cache are turned as they are written, once for each way.
int map_query_turns(const PositionMap& map) noexcept;
int map_key_turns(const PositionMap& map) noexcept;

/// [tokens]: whole positions, or, of leaky ReRoPE beyond its window, others (CoordinatesView).
using MappedPositions = std::variant<std::vector<std::int64_t>, std::vector<double>>;

/// Where queries, or keys, [first, first + tokens) stand for one turn; none depends on what is asked for beside it.
/// Errors: as map_parts; kInvalid for a turn that there is not (path "turn").
Result<MappedPositions> map_query_positions(const PositionMap& map, int turn, std::int64_t first, std::int64_t tokens);
Result<MappedPositions> map_key_positions(const PositionMap& map, int turn, std::int64_t first, std::int64_t tokens);

}  // namespace ropewalk
