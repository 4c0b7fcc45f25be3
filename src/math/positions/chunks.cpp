#include <ropewalk/grids.hpp>
#include <ropewalk/positions.hpp>

#include <algorithm>
#include <limits>

#include "math/positions/common.hpp"

namespace ropewalk {
namespace {

using Positions = std::vector<std::int64_t>;
using math::at_least;
using math::invalid;
constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();

std::optional<Error> dual_chunk_error(std::span<const std::int64_t> positions, DualChunk sizes) {
  // Half of int64, so that no sum of two leaves it.
  if (sizes.chunk_size < 1 || sizes.chunk_size > kLargest / 2)
    return invalid("chunk_size", "want a number in [1, 2^62), got " + std::to_string(sizes.chunk_size));
  if (sizes.local_size < 0 || sizes.local_size >= sizes.chunk_size)
    return invalid("local_size", "want a number in [0, " + std::to_string(sizes.chunk_size - 1) + "], got " +
                                     std::to_string(sizes.local_size));
  for (std::size_t i = 0; i < positions.size(); ++i)
    if (auto error = at_least(0, positions[i], "positions[" + std::to_string(i) + "]")) return error;
  return std::nullopt;
}

// Each position by itself.
template <class Map>
Result<Positions> mapped(std::span<const std::int64_t> positions, DualChunk sizes, const Map& map) {
  if (auto error = dual_chunk_error(positions, sizes)) return *std::move(error);
  auto result = math::filled(static_cast<std::int64_t>(positions.size()), std::int64_t{0});
  if (result) std::transform(positions.begin(), positions.end(), result->begin(), map);
  return result;
}

}  // namespace

Result<Positions> dual_chunk_key_positions(std::span<const std::int64_t> positions, DualChunk sizes) {
  return mapped(positions, sizes, [&](std::int64_t p) { return p % (sizes.chunk_size - sizes.local_size); });
}

Result<Positions> dual_chunk_query_positions(std::span<const std::int64_t> positions, DualChunk sizes,
                                             DualChunkQuery kind) {
  return mapped(positions, sizes, [&](std::int64_t p) {
    const std::int64_t length = sizes.chunk_size - sizes.local_size, inside = p % length;
    switch (kind) {
      case DualChunkQuery::kIntra: break;
      case DualChunkQuery::kSuccessive: return std::min(inside + length, sizes.chunk_size);
      case DualChunkQuery::kInter: return std::min(2 * length - 1, sizes.chunk_size);
      case DualChunkQuery::kSuccessiveCritical: return inside + length;
      case DualChunkQuery::kInterCritical: return inside + sizes.chunk_size;
    }
    return inside;
  });
}

Result<Positions> positions_from_compressed(std::int64_t first_entry, std::int64_t entries, std::int64_t ratio) {
  if (auto error = at_least(0, first_entry, "first_entry")) return *std::move(error);
  if (auto error = at_least(0, entries, "entries")) return *std::move(error);
  if (auto error = at_least(1, ratio, "ratio")) return *std::move(error);
  if (entries > 0 && (first_entry > kLargest - (entries - 1) || first_entry + (entries - 1) > kLargest / ratio))
    return invalid("entries", "want a last position below 2^63, got entry " + std::to_string(first_entry) + " and " +
                                  std::to_string(entries) + " entries of " + std::to_string(ratio));
  auto result = math::filled(entries, std::int64_t{0});
  if (!result) return result;
  for (std::int64_t j = 0; j < entries; ++j) (*result)[static_cast<std::size_t>(j)] = (first_entry + j) * ratio;
  return result;
}

Result<Positions> positions_from_rope_deltas(std::span<const std::int64_t> cached_tokens,
                                             std::span<const std::int64_t> rope_deltas, std::int64_t tokens) {
  const std::size_t batch = rope_deltas.size();
  if (cached_tokens.size() != 1 && cached_tokens.size() != batch)
    return invalid("cached_tokens", "want 1 entry or one a row (" + std::to_string(batch) + "), got " +
                                        std::to_string(cached_tokens.size()));
  auto first = math::filled(static_cast<std::int64_t>(batch), std::int64_t{0});
  if (!first) return first;
  for (std::size_t b = 0; b < batch; ++b) {
    const std::int64_t cached = cached_tokens[cached_tokens.size() == 1 ? 0 : b];
    if (auto error = at_least(0, cached, "cached_tokens[" + std::to_string(b) + "]")) return *std::move(error);
    if (rope_deltas[b] > kLargest - cached)
      return invalid(
          "rope_deltas[" + std::to_string(b) + "]",
          "want a position below 2^63, got " + std::to_string(cached) + " + " + std::to_string(rope_deltas[b]));
    (*first)[b] = cached + rope_deltas[b];
  }
  return positions_from_offsets(*first, static_cast<std::int64_t>(batch), tokens);
}

}  // namespace ropewalk
