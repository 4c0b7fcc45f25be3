#pragma once

#include <ropewalk/dtype.hpp>
#include <ropewalk/tensor.hpp>

#include "runner/memory.hpp"

#include <cstddef>
#include <cstdint>

namespace ropewalk::runner {

/// The keys and values of one layer, [kv_heads, capacity, head_dim] each, in the dtype; keys once for each turn that
/// they are read under (position_maps.hpp). Not for two threads at once.
class KvCache {
 public:
  KvCache() = default;
  /// dtype is float32 or bfloat16. Throws std::bad_alloc. Pages are taken as tokens come.
  KvCache(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity, int key_turns = 1);

  static std::int64_t bytes(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity,
                            int key_turns = 1);

  /// Writes tokens [first, first + tokens). keys and values are [tokens, kv_heads, head_dim] with `token_stride` floats
  /// from a token to the next. first <= the number of tokens written so far; first + tokens <= capacity.
  void write(std::int64_t first, std::int64_t tokens, const float* keys, const float* values,
             std::int64_t token_stride);

  /// The same apart; write() is these with the first turn.
  void write_keys(int turn, std::int64_t first, std::int64_t tokens, const float* keys, std::int64_t token_stride);
  void write_values(std::int64_t first, std::int64_t tokens, const float* values, std::int64_t token_stride);

  /// Reads tokens [first, first + tokens), which were written before, as floats; shapes as in write; keys of the first
  /// turn.
  void read(std::int64_t first, std::int64_t tokens, float* keys, float* values, std::int64_t token_stride) const;

  std::int64_t kv_heads() const noexcept { return kv_heads_; }
  std::int64_t head_dim() const noexcept { return head_dim_; }

  /// Tokens [first, first + tokens).
  HeadsView keys(std::int64_t first, std::int64_t tokens, int turn = 0) const noexcept {
    return view(keys_, turn * kv_heads_, first, tokens);
  }
  HeadsView values(std::int64_t first, std::int64_t tokens) const noexcept { return view(values_, 0, first, tokens); }

 private:
  HeadsView view(const Buffer<std::byte>& rows, std::int64_t first_head, std::int64_t first,
                 std::int64_t tokens) const noexcept;
  std::int64_t at(std::int64_t head, std::int64_t token) const noexcept {
    return (head * capacity_ + token) * head_dim_;
  }

  DType dtype_ = DType::kFloat32;
  std::int64_t kv_heads_ = 0;
  std::int64_t head_dim_ = 0;
  std::int64_t capacity_ = 0;
  Buffer<std::byte> keys_;  // [turns, kv_heads, capacity, head_dim]
  Buffer<std::byte> values_;
};

/// Causal attention (ropewalk/attention.hpp) of `tokens` queries that stand behind one another from `first` on, over
/// all keys up to each of them, or over the last `window` of these.
///
/// window  keys a query sees, > 0, its own the last of them: first + t - window < p <= first + t; 0: all
/// q       [tokens, heads, head_dim] floats, `q_stride` from a token to the next; heads a multiple of cache.kv_heads()
/// out     [tokens, heads * head_dim], contiguous, in `out_dtype`
///
/// Runs on `threads` threads. Throws std::bad_alloc.
void attend(const KvCache& cache, const float* q, std::int64_t q_stride, std::int64_t heads, std::int64_t first,
            std::int64_t tokens, std::int64_t window, double softmax_scale, void* out, DType out_dtype, int threads);

}  // namespace ropewalk::runner
