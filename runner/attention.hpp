#pragma once

#include <ropewalk/dtype.hpp>

#include "runner/memory.hpp"

#include <cstdint>

namespace ropewalk::runner {

/// The keys and values of one layer, kept in the order in which attention reads them:
///
///     keys    [kv_heads, panels, head_dim, 64]   a panel is 64 tokens, side by side for each channel
///     values  [kv_heads, panels, 64, head_dim]
///
/// head_dim is rounded up to a multiple of 16, in zeros. In bf16 the second-last axis goes in pairs, as
/// Kernels::multiply_bf16 wants it. On a processor without that product the numbers are rounded to bf16 and kept in
/// float32. Not for two threads at once.
class KvCache {
 public:
  static constexpr std::int64_t kPanel = 64;

  KvCache() = default;
  /// Throws std::bad_alloc. Pages are taken as tokens come.
  KvCache(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity);

  static std::int64_t bytes(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity);

  /// Writes tokens [first, first + tokens). keys and values are [tokens, kv_heads, head_dim] with `token_stride` floats
  /// from a token to the next. first <= the number of tokens written so far; first + tokens <= capacity.
  void write(std::int64_t first, std::int64_t tokens, const float* keys, const float* values,
             std::int64_t token_stride);

  /// Reads tokens [first, first + tokens), which were written before, as floats; shapes as in write.
  void read(std::int64_t first, std::int64_t tokens, float* keys, float* values, std::int64_t token_stride) const;

  std::int64_t kv_heads() const noexcept { return kv_heads_; }
  std::int64_t head_dim() const noexcept { return head_dim_; }
  std::int64_t padded_dim() const noexcept { return (head_dim_ + 15) / 16 * 16; }
  bool in_bf16() const noexcept { return bf16_; }  ///< as stored

  const float* key_panel(std::int64_t head, std::int64_t panel) const noexcept {
    return keys_.data() + at(head, panel);
  }
  const float* value_panel(std::int64_t head, std::int64_t panel) const noexcept {
    return values_.data() + at(head, panel);
  }
  const std::uint16_t* key_panel_bf16(std::int64_t head, std::int64_t panel) const noexcept {
    return short_keys_.data() + at(head, panel);
  }
  const std::uint16_t* value_panel_bf16(std::int64_t head, std::int64_t panel) const noexcept {
    return short_values_.data() + at(head, panel);
  }

 private:
  std::int64_t at(std::int64_t head, std::int64_t panel) const noexcept {
    return (head * panels_ + panel) * kPanel * padded_dim();
  }
  void write_panel(std::int64_t head, std::int64_t panel, std::int64_t begin, std::int64_t end, const float* keys,
                   const float* values, std::int64_t token_stride);

  DType dtype_ = DType::kFloat32;
  bool bf16_ = false;
  std::int64_t kv_heads_ = 0;
  std::int64_t head_dim_ = 0;
  std::int64_t panels_ = 0;
  Buffer<float> keys_;
  Buffer<float> values_;
  Buffer<std::uint16_t> short_keys_;
  Buffer<std::uint16_t> short_values_;
};

/// Causal attention of `tokens` queries that stand behind one another from `first` on, over all keys up to each of
/// them, or over the last `window` of these:
///
///     out[t, h] = sum over p <= first + t of softmax(softmax_scale * q[t, h] . key[p, g]) value[p, g],  g = h / group
///
/// window  keys a query sees, > 0, its own the last of them: first + t - window < p <= first + t; 0: all
/// q       [tokens, heads, head_dim] floats, `q_stride` from a token to the next; heads a multiple of cache.kv_heads()
/// out     [tokens, heads * head_dim], contiguous, in `out_dtype`
///
/// Keys are streamed in blocks with a running softmax: what it holds beside its arguments does not grow with their
/// number. Runs on `threads` threads.
void attend(const KvCache& cache, const float* q, std::int64_t q_stride, std::int64_t heads, std::int64_t first,
            std::int64_t tokens, std::int64_t window, double softmax_scale, void* out, DType out_dtype, int threads);

}  // namespace ropewalk::runner
