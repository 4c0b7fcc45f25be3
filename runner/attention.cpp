#include "runner/attention.hpp"

#include <ropewalk/attention.hpp>

#include <cstring>

#include "runner/dequantize.hpp"

namespace ropewalk::runner {
namespace {

void narrow(const float* from, std::int64_t channels, DType dtype, std::byte* to) noexcept {
  if (dtype == DType::kFloat32) {
    std::memcpy(to, from, static_cast<std::size_t>(channels) * sizeof(float));
    return;
  }
  auto* const halves = reinterpret_cast<std::uint16_t*>(to);
  for (std::int64_t d = 0; d < channels; ++d) halves[d] = bfloat16_from_float(from[d]);
}

void widen(const std::byte* from, std::int64_t channels, DType dtype, float* to) noexcept {
  if (dtype == DType::kFloat32) {
    std::memcpy(to, from, static_cast<std::size_t>(channels) * sizeof(float));
    return;
  }
  const auto* const halves = reinterpret_cast<const std::uint16_t*>(from);
  for (std::int64_t d = 0; d < channels; ++d) to[d] = float_from_bfloat16(halves[d]);
}

}  // namespace

KvCache::KvCache(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity, int key_turns)
    : dtype_(dtype),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      capacity_(capacity),
      keys_(bytes(dtype, kv_heads, head_dim, capacity) / 2 * key_turns),
      values_(bytes(dtype, kv_heads, head_dim, capacity) / 2) {}

std::int64_t KvCache::bytes(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity,
                            int key_turns) {
  return (1 + key_turns) * kv_heads * capacity * head_dim * static_cast<std::int64_t>(size_of(dtype));
}

void KvCache::write(std::int64_t first, std::int64_t tokens, const float* keys, const float* values,
                    std::int64_t token_stride) {
  write_keys(0, first, tokens, keys, token_stride);
  write_values(first, tokens, values, token_stride);
}

void KvCache::write_values(std::int64_t first, std::int64_t tokens, const float* values, std::int64_t token_stride) {
  const auto size = static_cast<std::int64_t>(size_of(dtype_));
  for (std::int64_t t = 0; t < tokens; ++t, values += token_stride)
    for (std::int64_t head = 0; head < kv_heads_; ++head)
      narrow(values + head * head_dim_, head_dim_, dtype_, values_.data() + at(head, first + t) * size);
}

void KvCache::write_keys(int turn, std::int64_t first, std::int64_t tokens, const float* keys,
                         std::int64_t token_stride) {
  const auto size = static_cast<std::int64_t>(size_of(dtype_));
  for (std::int64_t t = 0; t < tokens; ++t, keys += token_stride)
    for (std::int64_t head = 0; head < kv_heads_; ++head)
      narrow(keys + head * head_dim_, head_dim_, dtype_, keys_.data() + at(turn * kv_heads_ + head, first + t) * size);
}

void KvCache::read(std::int64_t first, std::int64_t tokens, float* keys, float* values,
                   std::int64_t token_stride) const {
  const auto size = static_cast<std::int64_t>(size_of(dtype_));
  for (std::int64_t t = 0; t < tokens; ++t, keys += token_stride, values += token_stride)
    for (std::int64_t head = 0; head < kv_heads_; ++head) {
      widen(keys_.data() + at(head, first + t) * size, head_dim_, dtype_, keys + head * head_dim_);
      widen(values_.data() + at(head, first + t) * size, head_dim_, dtype_, values + head * head_dim_);
    }
}

HeadsView KvCache::view(const Buffer<std::byte>& rows, std::int64_t first_head, std::int64_t first,
                        std::int64_t tokens) const noexcept {
  const auto size = static_cast<std::int64_t>(size_of(dtype_));
  return {const_cast<std::byte*>(rows.data()) + at(first_head, first) * size,
          dtype_,
          1,
          tokens,
          kv_heads_,
          head_dim_,
          0,
          head_dim_,
          capacity_ * head_dim_};
}

void attend(const KvCache& cache, const float* q, std::int64_t q_stride, std::int64_t heads, std::int64_t first,
            std::int64_t tokens, std::int64_t window, double softmax_scale, void* out, DType out_dtype, int threads) {
  const std::int64_t dim = cache.head_dim();
  const Attention attention{.q = {const_cast<float*>(q), DType::kFloat32, 1, tokens, heads, dim, 0, q_stride, dim},
                            .k = cache.keys(0, first + tokens),
                            .v = cache.values(0, first + tokens),
                            .out = HeadsView::bshd(out, out_dtype, 1, tokens, heads, dim),
                            .softmax_scale = softmax_scale,
                            .mask = window > 0 ? AttentionMask::sliding(window) : AttentionMask::causal()};
  const std::int64_t bytes = attention_workspace(attention, threads);
  Buffer<std::byte> workspace(bytes);
  ropewalk::attend(attention, {.threads = threads, .workspace = {workspace.data(), static_cast<std::size_t>(bytes)}});
}

}  // namespace ropewalk::runner
