#pragma once

#include <ropewalk/position_maps.hpp>
#include <ropewalk/rotary.hpp>

#include "runner/attention.hpp"
#include "runner/memory.hpp"

#include <cstdint>
#include <span>

namespace ropewalk::runner {

/// Causal attention under a position map: the parts of each stretch of queries, and one softmax over them. Holds what
/// it works in; not for two threads at once.
class MappedAttention {
 public:
  /// Of at most `chunk` queries at once. The map has passed check_position_map. Throws std::bad_alloc.
  MappedAttention(const PositionMap& map, std::int64_t chunk, std::int64_t heads, std::int64_t kv_heads,
                  std::int64_t head_dim);
  static std::int64_t bytes(const PositionMap& map, std::int64_t chunk, std::int64_t heads, std::int64_t kv_heads,
                            std::int64_t head_dim);

  /// Writes `tokens` keys and values to the cache as its tokens first, first + 1, ..., and attends with as many
  /// queries. Queries and keys come as they are before any turn.
  ///
  /// cache    has keys of map_key_turns(map) turns, and the tokens before `first`
  /// q, k, v  [tokens, heads or kv_heads, head_dim] floats, `token_stride` from a token to the next
  /// out      [tokens, heads * head_dim], contiguous, in `out_dtype`
  ///
  /// Runs on `threads` threads. Throws std::bad_alloc.
  void run(const Rotary& rotary, KvCache& cache, const float* q, const float* k, const float* v,
           std::int64_t token_stride, std::int64_t first, std::int64_t tokens, double softmax_scale, void* out,
           DType out_dtype, int threads);

 private:
  HeadsView rows(float* data, std::int64_t tokens, std::int64_t heads) const noexcept;
  void run_stretch(const Rotary& rotary, const KvCache& cache, std::span<const MapPart> parts, const HeadsView& q,
                   const HeadsView& out, double softmax_scale, int threads);

  PositionMap map_;
  std::int64_t heads_, kv_heads_, head_dim_;
  Buffer<float> queries_;      // [chunk, heads, head_dim]: turned for one part
  Buffer<float> keys_;         // [chunk, kv_heads, head_dim]: turned for the cache
  Buffer<float> results_;      // [parts, chunk, heads, head_dim]
  Buffer<float> log_sum_exp_;  // [parts, heads, chunk]
};

}  // namespace ropewalk::runner
