#pragma once

#include <ropewalk/positions.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/rotary.hpp>
#include <ropewalk/tensor.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace ropewalk {

// ---- 1. Sinusoids ---------------------------------------------------------------------------------------------------

/// Where the sines and cosines of an axis stand among its channels. Drawn for 8 channels; a digit is a pair:
///
///     kInterleaved            s0 c0 s1 c1 s2 c2 s3 c3    the paper (arXiv 1706.03762), XLM, VideoMAE, DETR, SAM 2
///     kConcatenated           s0 s1 s2 s3 c0 c1 c2 c3    tensor2tensor, fairseq, Marian, Whisper, M2M-100, CTRL, MAE
///     kInterleavedCosFirst    c0 s0 c1 s1 c2 s2 c3 s3
///     kConcatenatedCosFirst   c0 c1 c2 c3 s0 s1 s2 s3    diffusers' flip_sin_to_cos, DiT's timestep embedding
///
/// They differ by a permutation of channels: no matter in training, fatal when weights are loaded.
enum class SinusoidOrder : std::uint8_t {
  kUnset = 0,
  kInterleaved = 1,
  kConcatenated = 2,
  kInterleavedCosFirst = 3,
  kConcatenatedCosFirst = 4,
};

/// How fast pair k of an axis with n channels turns, half = floor(n / 2), in radians a position:
///
///     kPaper          theta^(-k / half)                the paper, Marian, DETR, MAE
///     kTensor2Tensor  theta^(-k / max(half - 1, 1))    tensor2tensor, fairseq, M2M-100, Whisper
///
/// diffusers calls them `downscale_freq_shift` 0 and 1. The slowest pair of the second turns by exactly 1 / theta. At
/// 512 channels the two are a radian apart after 700 positions.
enum class SinusoidExponent : std::uint8_t { kUnset = 0, kPaper = 1, kTensor2Tensor = 2 };

/// Sinusoidal embeddings as plain data: sines and cosines of positions, added to token or patch embeddings.
struct SinusoidalSpec {
  int dim = 0;             ///< channels of an embedding; divided by axes, each part is an axis' own
  int axes = 1;            ///< 1, 2 (row and column of a picture) or 3; the channels divide by them
  double theta = 10000.0;  ///< > 0; DETR's `temperature`, Whisper's `max_timescale`
  SinusoidOrder order = SinusoidOrder::kUnset;           ///< no default: checkpoints differ
  SinusoidExponent exponent = SinusoidExponent::kUnset;  ///< no default: checkpoints differ
  /// The sines of every axis stand before all cosines (timm): [sin a0 | sin a1 | cos a0 | cos a1]. Concatenated orders
  /// only.
  bool sines_of_all_axes_first = false;
  /// Added to every whole position: fairseq starts at padding_idx + 1. Coordinates are taken as they are.
  std::int64_t position_offset = 0;
  /// The position (offset included) whose row is zero: fairseq's padding_idx. One axis only.
  std::optional<std::int64_t> zero_position{};
  double gain = 1.0;  ///< on every sine and cosine; x-transformers' learned scale, dim^-0.5 at first
  bool operator==(const SinusoidalSpec&) const = default;
};
// An axis with an odd number of channels leaves its last one zero, as tensor2tensor and fairseq do.

struct AbsoluteCall {
  float embedding_scale = 1.0f;      ///< on the embeddings before the sum: sqrt(dim) in the original
  int threads = 1;                   ///< as in RotaryCall
  const ThreadPool* pool = nullptr;  ///< OpenMP's threads if null
};

/// The prepared embedding. Immutable, shared by any number of threads. Holds no table: rows are formed as needed, each
/// position as exact as any other (phase.hpp): |position| * 2^-65 turns from the real-number formula.
class Sinusoidal {
 public:
  /// Errors: kInvalid for dim below 1 or not divisible by axes, axes outside [1, 3], theta, gain, an order or exponent
  /// that is unset, sines_of_all_axes_first with an interleaved order or odd channels, zero_position with several axes;
  /// kUnavailable as Rotary::make.
  static Result<Sinusoidal> make(const SinusoidalSpec& spec);

  const SinusoidalSpec& spec() const noexcept { return spec_; }
  /// Radians a position, one for each pair of an axis: [floor(dim / axes / 2)].
  std::span<const double> inv_freq() const noexcept { return inv_freq_; }

  /// What is wrong with a call, or nothing: dtypes, shapes, strides, addresses, axes, batch and tokens of the
  /// positions. `in` is not looked at by fill; pass `out` twice. Paths: "out.dim", "positions.tokens".
  [[nodiscard]] std::optional<Error> check(const EmbeddingsView& in, const EmbeddingsView& out,
                                           const PositionsView& positions) const;
  [[nodiscard]] std::optional<Error> check(const EmbeddingsView& in, const EmbeddingsView& out,
                                           const CoordinatesView& positions) const;

  /// out[b, t] = row of positions[b, t]: gain times sines and cosines, within 1.2e-7 * max(1, gain) of the real-number
  /// formula at positions to +-2^36, the same bits on every CPU target; rounded to nearest even in bf16 and f16.
  /// Requires check() to have nothing to say. Never fails; allocates nothing beyond its stack (16 KiB).
  void fill(const EmbeddingsView& out, const PositionsView& positions, const AbsoluteCall& call = {}) const noexcept;
  void fill(const EmbeddingsView& out, const CoordinatesView& positions, const AbsoluteCall& call = {}) const noexcept;

  /// out[b, t] = embedding_scale * in[b, t] + row of positions[b, t], one fused multiply-add in float32, rounded once
  /// more in bf16 and f16. In place when both views are the same. The gradient of `in` is embedding_scale times that of
  /// `out`.
  void add(const EmbeddingsView& in, const EmbeddingsView& out, const PositionsView& positions,
           const AbsoluteCall& call = {}) const noexcept;
  void add(const EmbeddingsView& in, const EmbeddingsView& out, const CoordinatesView& positions,
           const AbsoluteCall& call = {}) const noexcept;

 private:
  Sinusoidal() = default;
  SinusoidalSpec spec_;
  std::vector<double> inv_freq_;
  std::vector<Turns> turns_per_token_;
  std::vector<TurnsPerUnit> turns_per_unit_;
};

/// Where the patches of a picture stand for a sinusoid of two axes.
struct SinusoidGridOptions {
  bool column_first = false;  ///< axis 0 is the column (MAE) and not the row
  double first = 0.0;         ///< coordinate of the first row and column; 1 in DETR
  /// Coordinates are divided by the last one (plus epsilon) and multiplied by this: 2 pi in DETR's `normalize`. Unset:
  /// left alone.
  std::optional<double> normalized_to{};
  double epsilon = 1e-6;  ///< DETR's
  double shift = 0.0;     ///< added before the division, not to what divides; -1/2 in Deformable DETR
  bool operator==(const SinusoidGridOptions&) const = default;
};

/// [2, rows * columns]: the coordinates of patches in raster order, for CoordinatesView::streams(..., 2).
/// Errors: kInvalid for a side below 1, more than 2^31 patches, numbers that are not finite.
Result<std::vector<double>> sinusoid_grid(std::int64_t rows, std::int64_t columns,
                                          const SinusoidGridOptions& options = {});

/// How a family embeds the patches of a picture; dim is its configuration's.
struct SinusoidGridFamily {
  std::string_view name;  ///< "detr", "sam2", "deformable_detr", "mae", "vit_mae", "timm", "timm_interleaved"
  SinusoidalSpec spec;    ///< dim 0
  SinusoidGridOptions grid;
  std::string_view source;
};

std::span<const SinusoidGridFamily> sinusoid_grid_families() noexcept;
/// Null if there is no such row.
const SinusoidGridFamily* find_sinusoid_grid_family(std::string_view name) noexcept;

// ---- 2. Learned tables ----------------------------------------------------------------------------------------------

/// Rows that were learned, one a position.
struct LearnedTable {
  const void* data = nullptr;  ///< [rows, dim], owned by the caller, who keeps it while it is used
  DType dtype = DType::kFloat32;
  std::int64_t rows = 0;
  std::int64_t dim = 0;
  std::int64_t row_stride = 0;       ///< elements from a row to the next
  std::int64_t position_offset = 0;  ///< row = position + this: 2 for OPT and BART, padding_idx + 1 for RoBERTa

  static constexpr LearnedTable contiguous(const void* data, DType dtype, std::int64_t rows, std::int64_t dim,
                                           std::int64_t position_offset = 0) noexcept {
    return {data, dtype, rows, dim, dim, position_offset};
  }
};

/// What is wrong with a call, or nothing: the table, the views as in Sinusoidal::check, and every position, for each
/// must have a row: "positions[2, 17]".
[[nodiscard]] std::optional<Error> check_learned(const LearnedTable& table, const EmbeddingsView& in,
                                                 const EmbeddingsView& out, const PositionsView& positions);

/// out[b, t] = table[positions[b, t] + position_offset]. Requires check_learned() to have nothing to say.
void fill_learned(const LearnedTable& table, const EmbeddingsView& out, const PositionsView& positions,
                  const AbsoluteCall& call = {}) noexcept;

/// out[b, t] = embedding_scale * in[b, t] + table[positions[b, t] + position_offset], as Sinusoidal::add.
void add_learned(const LearnedTable& table, const EmbeddingsView& in, const EmbeddingsView& out,
                 const PositionsView& positions, const AbsoluteCall& call = {}) noexcept;

/// The gradient of the table, the transpose of the gather: d_table[positions[b, t] + position_offset] += d_out[b, t].
///
/// table    only its rows, dim and position_offset are read
/// d_table  caller-owned, contiguous [rows, dim], accumulated: a row that stands at several places gets their sum, in
///          the order of the batch and its tokens whatever the number of threads
/// Errors: those of check_learned, "d_table.size".
std::optional<Error> add_learned_gradient(const LearnedTable& table, const EmbeddingsView& d_out,
                                          const PositionsView& positions, std::span<float> d_table,
                                          const AbsoluteCall& call = {});

enum class Resampling : std::uint8_t {
  kLinear = 0,  ///< torch's linear (one axis) and bilinear (two)
  kCubic = 1,   ///< torch's bicubic, A = -0.75; A = -0.5 with antialias, as there
};

/// A table of rows on a grid, moved to another grid: what vision transformers do for another resolution. Means torch's
/// `interpolate(..., align_corners=False)`, on weights in double.
struct TableResize {
  std::int64_t rows = 0, columns = 0;          ///< of the grid that was learned; columns 1 for a sequence
  std::int64_t new_rows = 0, new_columns = 0;  ///< wanted
  Resampling resampling = Resampling::kCubic;
  bool antialias = false;          ///< where it shrinks; timm's default, torch's is off
  std::int64_t leading_rows = 0;   ///< in front of the grid, kept: class and distillation tokens
  std::int64_t trailing_rows = 0;  ///< behind the grid, kept: BEiT's three in a table of biases
  /// Old places for each new one; unset: rows / new_rows. DINO and DINOv2 pass scale_factor = (new + 0.1) / old to
  /// torch, which is old / (new + 0.1) here.
  std::optional<double> row_step{}, column_step{};
  bool operator==(const TableResize&) const = default;

  std::int64_t rows_in() const noexcept { return leading_rows + rows * columns + trailing_rows; }
  std::int64_t rows_out() const noexcept { return leading_rows + new_rows * new_columns + trailing_rows; }
};

/// table_out[rows_out(), dim] from table_in[rows_in(), dim], both contiguous and apart; the grid is walked row by row.
/// Errors: kInvalid for sides below 1 or above 2^20, negative leading or trailing rows, a step that is not a number >
/// 0, antialias with a step given, "table_in.size", "table_out.size".
std::optional<Error> resize_table(const TableResize& resize, std::int64_t dim, std::span<const float> table_in,
                                  std::span<float> table_out);

/// The gradient, its transpose: d_table_in += (d table_out / d table_in)^T d_table_out. Errors as resize_table.
std::optional<Error> add_resize_gradient(const TableResize& resize, std::int64_t dim,
                                         std::span<const float> d_table_out, std::span<float> d_table_in);

}  // namespace ropewalk
