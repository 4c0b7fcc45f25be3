#include <ropewalk/positions.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "capi/lists.hpp"
#include "capi/status.hpp"

namespace ropewalk::capi {
namespace {

static_assert(static_cast<int>(ShardScheme::kContiguous) == RW_SHARD_CONTIGUOUS &&
              static_cast<int>(ShardScheme::kZigzag) == RW_SHARD_ZIGZAG);

/// What a builder made, or why it made none. `count` is what it will make of good arguments; of others it says itself
/// what is wrong, before it allocates.
template <class Build>
Failure build_into(std::int64_t count, std::int64_t* positions, std::size_t positions_count, Build&& build) {
  std::span<std::int64_t> room;
  if (auto failure = want_room(positions, positions_count, count, "positions", room)) return failure;
  const Result<std::vector<std::int64_t>> built = build();
  if (!built) return built.error();
  if (built->size() != room.size())
    return refused("positions_count",
                   "want " + std::to_string(built->size()) + ", got " + std::to_string(positions_count));
  std::copy(built->begin(), built->end(), room.begin());
  return std::nullopt;
}

}  // namespace
}  // namespace ropewalk::capi

using namespace ropewalk::capi;

rw_status rw_positions_from_range(int64_t first, int64_t tokens, int64_t* positions, size_t positions_count,
                                  char* error, size_t error_size) {
  return guarded(error, error_size, [&] {
    return build_into(tokens, positions, positions_count,
                      [&] { return ropewalk::positions_from_range(first, tokens); });
  });
}

rw_status rw_positions_from_offsets(const int64_t* seqlen_offsets, size_t seqlen_offsets_count, int64_t batch,
                                    int64_t tokens, int64_t* positions, size_t positions_count, char* error,
                                    size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<const int64_t> offsets;
    if (auto failure = take_span(seqlen_offsets, seqlen_offsets_count, Where{"seqlen_offsets"}, "", offsets))
      return failure;
    // Of numbers whose product is none the builder says so.
    const bool fits = batch >= 0 && tokens >= 0 && (tokens == 0 || batch <= INT64_MAX / tokens);
    return build_into(fits ? batch * tokens : -1, positions, positions_count,
                      [&] { return ropewalk::positions_from_offsets(offsets, batch, tokens); });
  });
}

rw_status rw_positions_from_cu_seqlens(const int64_t* cu_seqlens, size_t cu_seqlens_count,
                                       const int64_t* seqlen_offsets, size_t seqlen_offsets_count, int64_t* positions,
                                       size_t positions_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<const int64_t> ends, offsets;
    if (auto failure = take_span(cu_seqlens, cu_seqlens_count, Where{"cu_seqlens"}, "", ends)) return failure;
    if (auto failure = take_span(seqlen_offsets, seqlen_offsets_count, Where{"seqlen_offsets"}, "", offsets))
      return failure;
    return build_into(ends.empty() ? -1 : ends.back(), positions, positions_count,
                      [&] { return ropewalk::positions_from_cu_seqlens(ends, offsets); });
  });
}

rw_status rw_positions_from_mask(const uint8_t* mask, size_t mask_count, int64_t batch, int64_t padding,
                                 int64_t* positions, size_t positions_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<const uint8_t> tokens;
    if (auto failure = take_span(mask, mask_count, Where{"mask"}, "", tokens)) return failure;
    return build_into(static_cast<int64_t>(tokens.size()), positions, positions_count,
                      [&] { return ropewalk::positions_from_mask(tokens, batch, padding); });
  });
}

rw_status rw_positions_for_rank(int64_t tokens, int32_t ranks, int32_t rank, rw_shard_scheme scheme, int64_t first,
                                int64_t* positions, size_t positions_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::ShardScheme cut{};
    if (auto failure = take_enum(scheme, ropewalk::ShardScheme::kZigzag, Where{"scheme"}, "", cut)) return failure;
    const int64_t parts = cut == ropewalk::ShardScheme::kZigzag ? 2 * int64_t{ranks} : ranks;
    const bool divides = tokens >= 0 && ranks >= 1 && tokens % parts == 0;
    return build_into(divides ? tokens / ranks : -1, positions, positions_count,
                      [&] { return ropewalk::positions_for_rank(tokens, ranks, rank, cut, first); });
  });
}
