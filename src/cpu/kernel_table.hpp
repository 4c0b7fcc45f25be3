#pragma once

#include "cpu/gain.hpp"

#include <ropewalk/dtype.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/phase.hpp>

#include <cstddef>
#include <cstdint>

namespace ropewalk::cpu {

/// The heads of one token, and the row of cosines and sines that turns them all.
struct HeadRows {
  const void* in = nullptr;     ///< the first channel that turns, in head 0
  void* out = nullptr;          ///< where it goes; may equal `in`
  std::int64_t in_stride = 0;   ///< elements from a head to the next
  std::int64_t out_stride = 0;  ///< the same in `out`
  std::int64_t heads = 0;
  std::int64_t second = 0;     ///< elements from x0 of a pair to x1, PairLayout::kHalf; unread in kInterleaved
  const float* cos = nullptr;  ///< [pairs]
  const float* sin = nullptr;  ///< [pairs]
  std::int64_t pairs = 0;      ///< side by side from `in` on
  bool turns_back = false;     ///< turn by -phase: the sines change their sign
  bool from_memory = false;    ///< more than the caches hold: ask for what is read next before it is reached
  bool streams =
      false;  ///< write past the caches: `out` and its stride are multiples of kStreamBytes, `in` is elsewhere
};
/// What a write past the caches is aligned to.
constexpr std::int64_t kStreamBytes = 64;

/// The heads of one token, every pair with the channels it is read from and written to, and a 2 x 2 matrix.
struct ScatteredRows {
  const void* in = nullptr;     ///< channel 0 of head 0
  void* out = nullptr;          ///< the same where results go; may equal `in`
  std::int64_t in_stride = 0;   ///< elements from a head to the next
  std::int64_t out_stride = 0;  ///< the same in `out`
  std::int64_t heads = 0;
  const std::int32_t* in_first = nullptr;                                      ///< [pairs] channels of x0
  const std::int32_t* in_second = nullptr;                                     ///< [pairs] of x1
  const std::int32_t* out_first = nullptr;                                     ///< [pairs] of y0
  const std::int32_t* out_second = nullptr;                                    ///< [pairs] of y1
  const float *m00 = nullptr, *m01 = nullptr, *m10 = nullptr, *m11 = nullptr;  ///< [pairs] each
  std::int64_t pairs = 0;                                                      ///< at most kMostScatteredPairs
};
constexpr std::int64_t kMostScatteredPairs = 1024;

/// Channels [begin, begin + count) of a row; count in [1, 16].
struct RowGroup {
  std::int32_t begin = 0, count = 0;
};
constexpr int kMostRowChannels = 4096;
constexpr int kMostRowGroups = kMostRowChannels / 16 + 4;  // each of four stretches may end in a short one

enum class RowTurn : std::uint8_t { kNone = 0, kHalf = 1, kInterleaved = 2 };
enum class RowNorm : std::uint8_t { kNone = 0, kBefore = 1, kAfter = 2 };

/// The heads of one token on their way from one format to another: y = quantised(norm(turned(norm(x)))), one norm at
/// most. Addresses and strides are in bytes, for half a byte is the smallest element; a row itself lies side by side.
struct CacheRows {
  const char* in = nullptr;        ///< channel 0 of head 0
  char* out = nullptr;             ///< may equal `in` if the formats are equal
  const char* in_scale = nullptr;  ///< the float of head 0, any alignment; kInt8 and kInt4 need it; null: 1
  char* out_scale = nullptr;
  std::int64_t in_stride = 0, out_stride = 0, in_scale_stride = 0, out_scale_stride = 0;  ///< from a head to the next
  std::int64_t heads = 0, head_dim = 0;
  CacheFormat in_format = CacheFormat::kFloat32, out_format = CacheFormat::kFloat32;
  // First the groups of channels that turn (for kHalf those of x0, then those of x1), then the others. Every stretch of
  // channels is cut into groups of 16 from its own begin on; its last may be shorter.
  const RowGroup* groups = nullptr;
  std::int32_t group_count = 0, turning_groups = 0;
  bool groups_are_whole = false;  ///< all have 16 channels
  bool splits_bytes = false;      ///< some begin at an odd channel, which int4 has to know
  RowTurn turn = RowTurn::kNone;
  const float* cos = nullptr;  ///< of every pair that turns, and finite numbers up to a multiple of 16
  const float* sin = nullptr;
  RowNorm norm = RowNorm::kNone;
  float epsilon = 0.0f;
  const float* weight = nullptr;   ///< [heads, head_dim], or null: 1
  std::int64_t weight_stride = 0;  ///< elements from a head's to the next; 0: one for all
  bool weight_plus_one = false;    ///< the factor is 1 + weight
};

/// Queries of an attention stand side by side, so many columns to a panel: a row of a panel is one channel, or one key.
constexpr std::int64_t kPanelColumns = 64;

/// c[i, j] = c[i, j] * scale[j] + sum over k of a[i, k] * b[k, j], or without c where scale is null. T is a float, or
/// two bf16 in 32 bits: the product of two such is the sum of both products. Counts and strides are in T.
template <class T>
struct Product {
  const T* a = nullptr;    ///< [rows, depth]
  std::int64_t a_row = 0;  ///< from a row to the next, and from k to k + 1: one of the two is 1
  std::int64_t a_step = 0;
  const T* b = nullptr;  ///< [depth, columns], kPanelColumns from a row to the next
  float* c = nullptr;    ///< [rows, columns], kPanelColumns from a row to the next
  std::int64_t rows = 0, depth = 0;
  std::int64_t columns = 0;      ///< a multiple of 16, at most kPanelColumns
  const float* scale = nullptr;  ///< [columns]
};

/// A step of a running softmax down the columns of scores[keys, columns]; each column by itself. With top' = max(top,
/// all scores): p = 2^((score - top') factor), total = total * correction + sum of p, correction = 2^((top - top')
/// factor), top = top'. Each power is within 2e-7 + |exponent| 2^-24 of itself down to 2^-126, below which it is 0.
struct SoftmaxPanel {
  float* scores = nullptr;  ///< kPanelColumns from a row to the next
  std::int64_t keys = 0, columns = 0;
  const float* factor = nullptr;  ///< [columns], > 0
  float* top = nullptr;           ///< [columns], finite or +infinity
  float* total = nullptr;         ///< [columns]
  float* correction = nullptr;    ///< [columns], written
};

/// Backwards through softmax, down the columns of scores[keys, columns], each by itself: p = 2^((score - top) factor)
/// and gradient' = p (gradient - mean).
struct SoftmaxGradientPanel {
  float* scores = nullptr;     ///< kPanelColumns from a row to the next; p is written over it
  float* gradients = nullptr;  ///< as the scores: of p; that of (score factor ln 2) is written over it
  std::int64_t keys = 0, columns = 0;
  const float* factor = nullptr;  ///< [columns], > 0
  const float* top = nullptr;     ///< [columns], where p is 1; +infinity where nothing is seen
  const float* mean = nullptr;    ///< [columns], the sum of p * gradient over all keys
};

/// A few queries, a row each, against many keys that are read where they lie.
struct FewRows {
  const float* a = nullptr;  ///< [rows, head_dim]: queries, or [rows, keys]: weights
  std::int64_t a_stride = 0;
  std::int64_t rows = 0;
  const void* keys_at = nullptr;  ///< [keys, channels]: keys, or values
  std::int64_t key_stride = 0;    ///< elements
  std::int64_t keys = 0, channels = 0;
  std::int64_t ahead = 0;  ///< a key is asked for so many keys before it is read; there need not be any
  float* out = nullptr;    ///< [rows, keys], written, or [rows, channels], added to
  std::int64_t out_stride = 0;
};

/// What attention is made of. Not bound to the same bits on every target.
struct AttentionKernels {
  void (*multiply)(const Product<float>& product) noexcept;
  void (*softmax)(const SoftmaxPanel& panel) noexcept;  ///< p is written over the scores
  void (*softmax_gradient)(const SoftmaxGradientPanel& panel) noexcept;
  /// scores[j, c] += bias[j, c] * factor[c]; both kPanelColumns from a row to the next.
  void (*add_scaled)(float* scores, const float* bias, const float* factor, std::int64_t keys,
                     std::int64_t columns) noexcept;
  /// to[c, r] = from[r, c], words of 32 bits.
  void (*transpose)(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns, float* to,
                    std::int64_t to_stride) noexcept;
  void (*widen[3])(const void* from, std::int64_t from_stride, std::int64_t rows, std::int64_t channels, float* to,
                   std::int64_t to_stride) noexcept;                               ///< by DType
  void (*narrow[3])(const float* from, std::int64_t channels, void* to) noexcept;  ///< by DType, to nearest even

  void (*scores_of_few[3])(const FewRows& rows) noexcept;  ///< by DType of the keys
  void (*add_few[3])(const FewRows& rows) noexcept;        ///< by DType of the values
  /// A step of a running softmax along a row; returns the correction.
  float (*softmax_row)(float* scores, std::int64_t keys, float factor, float* top, float* total) noexcept;

  // In pairs of bf16; null where the processor has no such product.
  void (*multiply_pairs)(const Product<std::uint32_t>& product) noexcept;
  /// p rounded to bf16, those of two keys in one row of pairs; after an odd number of keys a half is 0. The total is of
  /// the powers before that rounding.
  void (*softmax_pairs)(const SoftmaxPanel& panel, std::uint32_t* p) noexcept;
  /// Rows of bf16, two in one row of pairs; after an odd number a half is 0.
  void (*pair_rows)(const void* from, std::int64_t from_stride, std::int64_t rows, std::int64_t channels,
                    std::uint32_t* to, std::int64_t to_stride) noexcept;
};

/// Everything that exists once for each processor target. No entry checks its arguments, allocates or throws, and none
/// touches an element beyond those that its arguments name. Every target computes the same bits (NaN payloads aside),
/// attention apart.
struct KernelTable {
  /// cos[j] = gain * cos(2 pi t / 2^64) and the sine likewise, where t = position * turns_per_token[j]; all [pairs].
  void (*cos_sin_at)(std::int64_t position, const Turns* turns_per_token, std::int64_t pairs, const Gain& gain,
                     float* cos, float* sin) noexcept;
  /// The same for t = positions[axis_of_pair[j]] * turns_per_token[j].
  void (*cos_sin_on_axes)(const std::int64_t* positions, const std::uint8_t* axis_of_pair, const Turns* turns_per_token,
                          std::int64_t pairs, const Gain& gain, float* cos, float* sin) noexcept;
  /// The same for t = turns[j].
  void (*cos_sin_of)(const Turns* turns, std::int64_t pairs, const Gain& gain, float* cos, float* sin) noexcept;

  /// y0 = fma(x0, cos, -(x1 * sin)), y1 = fma(x1, cos, x0 * sin) on every pair of every head.
  using Rotate = void (*)(const HeadRows& rows) noexcept;
  Rotate rotate_half[3];         ///< by DType
  Rotate rotate_interleaved[3];  ///< by DType

  /// y0 = fma(x0, m00, x1 * m01), y1 = fma(x1, m11, x0 * m10) on every pair of every head.
  void (*turn_scattered[3])(const ScatteredRows& rows) noexcept;  ///< by DType

  /// Orders writes past the caches before everything that follows.
  void (*end_streaming)() noexcept;
  /// Reads, norms, turns and writes the rows of a token. kv_cache.hpp says which bits.
  void (*cache_rows)(const CacheRows& rows) noexcept;

  /// out[j] = fma(in[j], scale, row[j]), or row[j] where `in` is null, in [0, channels); `out` may equal `in`.
  using AddRow = void (*)(const void* in, float scale, const float* row, std::int64_t channels, void* out) noexcept;
  AddRow add_row[3];  ///< by DType of in and out
  /// sums[j] = fma(in[j], scale, sums[j])
  using AccumulateRow = void (*)(const void* in, float scale, std::int64_t channels, float* sums) noexcept;
  AccumulateRow accumulate_row[3];  ///< by DType of in

  AttentionKernels attention;

  Rotate rotate(DType dtype, PairLayout layout) const noexcept {
    const auto column = static_cast<std::size_t>(dtype);
    return layout == PairLayout::kHalf ? rotate_half[column] : rotate_interleaved[column];
  }
};

/// 16-bit elements as they lie in memory. Arithmetic on them is that of the floats they stand for.
struct BFloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};

}  // namespace ropewalk::cpu
