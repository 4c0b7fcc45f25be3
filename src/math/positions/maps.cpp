// How far keys seem to stand from their queries, for texts longer than the trained ones.
#include <ropewalk/position_maps.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "math/positions/common.hpp"
#include "math/text.hpp"

namespace ropewalk {
namespace {

using math::invalid;
using math::kMostEntries;
using Positions = std::vector<std::int64_t>;

// No sum of two of them leaves int64.
constexpr std::int64_t kLargestSize = (std::int64_t{1} << 62) - 1;

// Of windows: what is near, and what is beyond. Of chunks: the kinds of dual_chunk_query_positions.
constexpr int kNear = 0, kFar = 1;

std::optional<Error> check_size(std::int64_t size, const char* path) {
  if (size >= 1 && size <= kLargestSize) return std::nullopt;
  return invalid(path, "want a number in [1, 2^62), got " + std::to_string(size));
}

std::optional<Error> check(const SelfExtend& map) {
  if (auto error = check_size(map.group, "group")) return error;
  return check_size(map.window, "window");
}

std::optional<Error> check(const ReRope& map) {
  if (auto error = check_size(map.window, "window")) return error;
  if (map.divisor >= 1.0) return std::nullopt;
  return invalid("divisor", "want a number >= 1, got " + math::shown(map.divisor));
}

std::optional<Error> check(const DualChunk& map) {
  const auto answer = dual_chunk_key_positions({}, map);
  return answer ? std::nullopt : std::optional(answer.error());
}

std::optional<Error> check_range(const PositionMap& map, std::int64_t first, std::int64_t count, const char* name) {
  if (auto error = check_position_map(map)) return error;
  if (auto error = math::at_least(0, first, "first")) return error;
  if (auto error = math::at_least(0, count, name)) return error;
  if (first <= kMostEntries && count <= kMostEntries - first) return std::nullopt;
  return invalid(
      name, "want an end of at most 2^40, got " + std::to_string(first) + " and " + std::to_string(count) + " more");
}

std::int64_t chunk_of(const DualChunk& map) noexcept { return map.chunk_size - map.local_size; }

double far_distance(const SelfExtend& map, std::int64_t i, std::int64_t j) noexcept {
  return static_cast<double>(i / map.group - j / map.group + map.window - map.window / map.group);
}
double far_distance(const ReRope& map, std::int64_t i, std::int64_t j) noexcept {
  return static_cast<double>(map.window) + static_cast<double>(i - j - map.window) / map.divisor;
}

template <class Windowed>
double distance(const Windowed& map, std::int64_t i, std::int64_t j) noexcept {
  return i - j < map.window ? static_cast<double>(i - j) : far_distance(map, i, j);
}
double distance(const DualChunk& map, std::int64_t i, std::int64_t j) noexcept {
  const std::int64_t c = chunk_of(map), back = i / c - j / c;
  const std::int64_t query = back == 0   ? i % c
                             : back == 1 ? std::min(i % c + c, map.chunk_size)
                                         : std::min(2 * c - 1, map.chunk_size);
  return static_cast<double>(query - j % c);
}

// The last query's distance to the first key: no rule lets a nearer key stand farther.
template <class Windowed>
double largest(const Windowed& map, std::int64_t tokens) noexcept {
  return distance(map, tokens - 1, 0);
}
double largest(const DualChunk& map, std::int64_t tokens) noexcept {
  return static_cast<double>(std::min({tokens - 1, 2 * chunk_of(map) - 1, map.chunk_size}));
}

std::int64_t unmapped(const SelfExtend& map) noexcept { return map.group == 1 ? kMostEntries : map.window; }
std::int64_t unmapped(const ReRope& map) noexcept { return map.divisor == 1.0 ? kMostEntries : map.window; }
std::int64_t unmapped(const DualChunk& map) noexcept { return chunk_of(map); }

template <class Windowed>
void add_parts(const Windowed& map, std::int64_t first, std::int64_t end, std::vector<MapPart>& parts) {
  const std::int64_t w = map.window, split = std::clamp(unmapped(map), first, end);
  if (first < split) parts.push_back({first, split - first, 0, split, AttentionMask::causal(), kNear, kNear});
  if (split == end) return;
  const std::int64_t first_near = std::max<std::int64_t>(split - w + 1, 0);
  parts.push_back({split, end - split, first_near, end - first_near, AttentionMask::sliding(w), kNear, kNear});
  // The last query stands at the last key that is `window` behind it.
  parts.push_back({split, end - split, 0, end - w, AttentionMask::causal(), kFar, kFar});
}

void add_parts(const DualChunk& map, std::int64_t first, std::int64_t end, std::vector<MapPart>& parts) {
  const std::int64_t c = chunk_of(map);
  for (std::int64_t at = first; at < end;) {
    const std::int64_t chunk = at / c * c, here = std::min(end, chunk + c) - at;
    const auto add = [&](DualChunkQuery kind, std::int64_t first_key, std::int64_t end_key, AttentionMask mask) {
      parts.push_back({at, here, first_key, end_key - first_key, mask, static_cast<int>(kind), 0});
    };
    add(DualChunkQuery::kIntra, chunk, at + here, AttentionMask::causal());
    if (chunk >= c) add(DualChunkQuery::kSuccessive, chunk - c, chunk, AttentionMask::everything());
    if (chunk >= 2 * c) add(DualChunkQuery::kInter, 0, chunk - c, AttentionMask::everything());
    at += here;
  }
}

template <class T, class Rule>
Result<MappedPositions> positions(std::int64_t first, std::int64_t tokens, const Rule& rule) {
  auto out = math::filled(tokens, T{});
  if (!out) return out.error();
  for (std::int64_t t = 0; t < tokens; ++t) (*out)[static_cast<std::size_t>(t)] = rule(first + t);
  return MappedPositions(*std::move(out));
}

Result<MappedPositions> own_positions(std::int64_t first, std::int64_t tokens) {
  return positions<std::int64_t>(first, tokens, [](std::int64_t t) { return t; });
}

Result<MappedPositions> query_positions(const SelfExtend& map, int, std::int64_t first, std::int64_t tokens) {
  return positions<std::int64_t>(first, tokens,
                                 [&](std::int64_t i) { return i / map.group + map.window - map.window / map.group; });
}
Result<MappedPositions> key_positions(const SelfExtend& map, int, std::int64_t first, std::int64_t tokens) {
  return positions<std::int64_t>(first, tokens, [&](std::int64_t j) { return j / map.group; });
}

Result<MappedPositions> query_positions(const ReRope& map, int, std::int64_t first, std::int64_t tokens) {
  if (std::isinf(map.divisor)) return positions<std::int64_t>(first, tokens, [&](std::int64_t) { return map.window; });
  return positions<double>(first, tokens, [&](std::int64_t i) {
    return static_cast<double>(map.window) + static_cast<double>(i - map.window) / map.divisor;
  });
}
Result<MappedPositions> key_positions(const ReRope& map, int, std::int64_t first, std::int64_t tokens) {
  if (std::isinf(map.divisor)) return positions<std::int64_t>(first, tokens, [](std::int64_t) { return 0; });
  return positions<double>(first, tokens, [&](std::int64_t j) { return static_cast<double>(j) / map.divisor; });
}

template <class Answer>
Result<MappedPositions> whole(Answer answer) {
  return answer ? Result<MappedPositions>(*std::move(answer)) : Result<MappedPositions>(answer.error());
}
Result<MappedPositions> query_positions(const DualChunk& map, int turn, std::int64_t first, std::int64_t tokens) {
  const auto own = positions_from_range(first, tokens);
  return own ? whole(dual_chunk_query_positions(*own, map, static_cast<DualChunkQuery>(turn)))
             : Result<MappedPositions>(own.error());
}
Result<MappedPositions> key_positions(const DualChunk& map, int, std::int64_t first, std::int64_t tokens) {
  const auto own = positions_from_range(first, tokens);
  return own ? whole(dual_chunk_key_positions(*own, map)) : Result<MappedPositions>(own.error());
}

std::optional<Error> check_turn(int turn, int turns) {
  if (turn >= 0 && turn < turns) return std::nullopt;
  return invalid("turn", "want 0 to " + std::to_string(turns - 1) + ", got " + std::to_string(turn));
}

}  // namespace

std::optional<Error> check_position_map(const PositionMap& map) {
  return std::visit([](const auto& each) { return check(each); }, map);
}

std::string to_string(const PositionMap& map) {
  if (const auto* const m = std::get_if<SelfExtend>(&map))
    return "self-extend group=" + std::to_string(m->group) + " window=" + std::to_string(m->window);
  if (const auto* const m = std::get_if<DualChunk>(&map))
    return "dual-chunk chunk_size=" + std::to_string(m->chunk_size) + " local_size=" + std::to_string(m->local_size);
  const auto& m = std::get<ReRope>(map);
  return (std::isinf(m.divisor) ? "rerope" : "leaky-rerope divisor=" + math::shown(m.divisor)) +
         " window=" + std::to_string(m.window);
}

double mapped_distance(const PositionMap& map, std::int64_t query, std::int64_t key) noexcept {
  return std::visit([&](const auto& each) { return distance(each, query, key); }, map);
}

double largest_mapped_distance(const PositionMap& map, std::int64_t tokens) noexcept {
  return std::visit([&](const auto& each) { return largest(each, tokens); }, map);
}

std::int64_t unmapped_tokens(const PositionMap& map) noexcept {
  return std::visit([](const auto& each) { return std::min(unmapped(each), kMostEntries); }, map);
}

Result<std::vector<MapPart>> map_parts(const PositionMap& map, std::int64_t first, std::int64_t queries) {
  if (auto error = check_range(map, first, queries, "queries")) return *std::move(error);
  std::vector<MapPart> parts;
  std::visit([&](const auto& each) { add_parts(each, first, first + queries, parts); }, map);
  return parts;
}

int map_query_turns(const PositionMap& map) noexcept { return std::holds_alternative<DualChunk>(map) ? 3 : 2; }
int map_key_turns(const PositionMap& map) noexcept { return std::holds_alternative<DualChunk>(map) ? 1 : 2; }

Result<MappedPositions> map_query_positions(const PositionMap& map, int turn, std::int64_t first, std::int64_t tokens) {
  if (auto error = check_range(map, first, tokens, "tokens")) return *std::move(error);
  if (auto error = check_turn(turn, map_query_turns(map))) return *std::move(error);
  if (turn == kNear && !std::holds_alternative<DualChunk>(map)) return own_positions(first, tokens);
  return std::visit([&](const auto& each) { return query_positions(each, turn, first, tokens); }, map);
}

Result<MappedPositions> map_key_positions(const PositionMap& map, int turn, std::int64_t first, std::int64_t tokens) {
  if (auto error = check_range(map, first, tokens, "tokens")) return *std::move(error);
  if (auto error = check_turn(turn, map_key_turns(map))) return *std::move(error);
  if (turn == kNear && !std::holds_alternative<DualChunk>(map)) return own_positions(first, tokens);
  return std::visit([&](const auto& each) { return key_positions(each, turn, first, tokens); }, map);
}

}  // namespace ropewalk
