#pragma once

#include <ropewalk/result.hpp>

#include <cstdint>
#include <span>
#include <vector>

namespace ropewalk {

/// Where every token stands, seen as [axes, batch, tokens]. A stride of 0 repeats: one row for the whole batch.
struct PositionsView {
  const std::int64_t* data = nullptr;  ///< owned by the caller; any int64, in any order
  int axes = 1;                        ///< streams; a spec with one axis reads stream 0
  std::int64_t batch = 1;              ///< rows; 1 serves any batch
  std::int64_t tokens = 0;
  std::int64_t axis_stride = 0;   ///< elements from a stream to the next
  std::int64_t batch_stride = 0;  ///< elements from a row to the next; 0 if batch is 1
  std::int64_t token_stride = 1;  ///< elements from a token to the next

  /// One stream, one row for the whole batch: [tokens].
  static PositionsView row(std::span<const std::int64_t> positions) noexcept {
    return {positions.data(), 1, 1, static_cast<std::int64_t>(positions.size()), 0, 0, 1};
  }
  /// One stream, a row each: contiguous [batch, tokens].
  static PositionsView rows(std::span<const std::int64_t> positions, std::int64_t batch) noexcept {
    const std::int64_t tokens = batch > 0 ? static_cast<std::int64_t>(positions.size()) / batch : 0;
    return {positions.data(), 1, batch, tokens, 0, tokens, 1};
  }
  /// Several streams for one row: contiguous [axes, tokens].
  static PositionsView streams(std::span<const std::int64_t> positions, int axes) noexcept {
    const std::int64_t tokens = axes > 0 ? static_cast<std::int64_t>(positions.size()) / axes : 0;
    return {positions.data(), axes, 1, tokens, tokens, 0, 1};
  }
};

/// The same for positions that are no whole numbers: patch centres (DINOv3), seconds, physical coordinates. Not finite
/// ones count as 0.
struct CoordinatesView {
  const double* data = nullptr;  ///< owned by the caller
  int axes = 1;
  std::int64_t batch = 1;
  std::int64_t tokens = 0;
  std::int64_t axis_stride = 0;
  std::int64_t batch_stride = 0;
  std::int64_t token_stride = 1;

  /// One stream, one row for the whole batch: [tokens].
  static CoordinatesView row(std::span<const double> coordinates) noexcept {
    return {coordinates.data(), 1, 1, static_cast<std::int64_t>(coordinates.size()), 0, 0, 1};
  }
  /// Several streams for one row: contiguous [axes, tokens].
  static CoordinatesView streams(std::span<const double> coordinates, int axes) noexcept {
    const std::int64_t tokens = axes > 0 ? static_cast<std::int64_t>(coordinates.size()) / axes : 0;
    return {coordinates.data(), axes, 1, tokens, tokens, 0, 1};
  }
};

/// first, first + 1, ..., `tokens` of them.
/// Errors: kInvalid if tokens < 0 or the last position leaves int64.
Result<std::vector<std::int64_t>> positions_from_range(std::int64_t first, std::int64_t tokens);

/// [batch, tokens]: row b counts from seqlen_offsets[b]; one offset serves every row if `batch` says more rows.
/// Errors: kInvalid if seqlen_offsets has neither 1 nor `batch` entries, or a position leaves int64.
Result<std::vector<std::int64_t>> positions_from_offsets(std::span<const std::int64_t> seqlen_offsets,
                                                         std::int64_t batch, std::int64_t tokens);

/// [cu_seqlens.back()]: sequences packed one behind the other, each counting from 0 (or from its own offset).
///
/// cu_seqlens      [sequences + 1], starts with 0, never falls: {0, 3, 8} gives 0 1 2 0 1 2 3 4
/// seqlen_offsets  empty, or one entry a sequence
/// Errors: kInvalid for a start other than 0, a falling entry, or a wrong number of offsets.
Result<std::vector<std::int64_t>> positions_from_cu_seqlens(std::span<const std::int64_t> cu_seqlens,
                                                            std::span<const std::int64_t> seqlen_offsets = {});

/// [batch, tokens]: the real tokens of each row count 0, 1, 2, ... wherever they stand; a padded one gets `padding`.
///
/// mask  contiguous [batch, tokens], 0 for padding and anything else for a token: {0, 0, 1, 1, 1} gives x x 0 1 2
/// Errors: kInvalid if batch < 1 or the mask's size is not a multiple of it.
Result<std::vector<std::int64_t>> positions_from_mask(std::span<const std::uint8_t> mask, std::int64_t batch,
                                                      std::int64_t padding = 0);

/// How a sequence is cut for context parallelism.
enum class ShardScheme : std::uint8_t {
  kContiguous = 0,  ///< rank r holds [r * n, (r + 1) * n), n = tokens / ranks
  kZigzag = 1,      ///< 2 * ranks chunks; rank r holds chunk r and chunk 2 * ranks - 1 - r, so that causal work is even
};

/// The positions that one rank holds of a sequence of `tokens`, counted from `first`.
/// tokens = 16, 2 ranks, zigzag: rank 0 has 0-3 and 12-15, rank 1 has 4-11.
/// Errors: kInvalid if rank is not in [0, ranks), or tokens does not divide by ranks (contiguous) or 2 * ranks
/// (zigzag).
Result<std::vector<std::int64_t>> positions_for_rank(std::int64_t tokens, int ranks, int rank, ShardScheme scheme,
                                                     std::int64_t first = 0);

}  // namespace ropewalk
