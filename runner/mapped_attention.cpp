#include "runner/mapped_attention.hpp"

#include <array>
#include <variant>

namespace ropewalk::runner {
namespace {

void turn(const Rotary& rotary, const HeadsView& from, const HeadsView& to, const Result<MappedPositions>& positions,
          int threads) {
  const std::array operands = {RotaryOperand{from, to}};
  const auto apply = [&](const auto& view) { rotary.apply(operands, view, {.threads = threads}); };
  if (const auto* const whole = std::get_if<std::vector<std::int64_t>>(&*positions))
    apply(PositionsView::row(*whole));
  else
    apply(CoordinatesView::row(std::get<std::vector<double>>(*positions)));
}

HeadsView tokens_of(HeadsView x, std::int64_t first, std::int64_t tokens) noexcept {
  x.data = static_cast<std::byte*>(x.data) + first * x.token_stride * static_cast<std::int64_t>(size_of(x.dtype));
  x.tokens = tokens;
  return x;
}

}  // namespace

MappedAttention::MappedAttention(const PositionMap& map, std::int64_t chunk, std::int64_t heads, std::int64_t kv_heads,
                                 std::int64_t head_dim)
    : map_(map),
      heads_(heads),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      queries_(chunk * heads * head_dim),
      keys_(chunk * kv_heads * head_dim),
      results_(map_query_turns(map) * chunk * heads * head_dim),
      log_sum_exp_(map_query_turns(map) * heads * chunk) {}

std::int64_t MappedAttention::bytes(const PositionMap& map, std::int64_t chunk, std::int64_t heads,
                                    std::int64_t kv_heads, std::int64_t head_dim) {
  const std::int64_t parts = map_query_turns(map);
  return 4 * chunk * (((1 + parts) * heads + kv_heads) * head_dim + parts * heads);
}

HeadsView MappedAttention::rows(float* data, std::int64_t tokens, std::int64_t heads) const noexcept {
  return HeadsView::bshd(data, DType::kFloat32, 1, tokens, heads, head_dim_);
}

void MappedAttention::run(const Rotary& rotary, KvCache& cache, const float* q, const float* k, const float* v,
                          std::int64_t token_stride, std::int64_t first, std::int64_t tokens, double softmax_scale,
                          void* out, DType out_dtype, int threads) {
  const auto strided = [&](const float* data, std::int64_t heads) {
    return HeadsView{
        const_cast<float*>(data), DType::kFloat32, 1, tokens, heads, head_dim_, 0, token_stride, head_dim_};
  };
  const std::int64_t key_stride = kv_heads_ * head_dim_;
  cache.write_values(first, tokens, v, token_stride);
  for (int key_turn = 0; key_turn < map_key_turns(map_); ++key_turn) {
    turn(rotary, strided(k, kv_heads_), rows(keys_.data(), tokens, kv_heads_),
         map_key_positions(map_, key_turn, first, tokens), threads);
    cache.write_keys(key_turn, first, tokens, keys_.data(), key_stride);
  }

  const HeadsView all = HeadsView::bshd(out, out_dtype, 1, tokens, heads_, head_dim_);
  const auto answer = map_parts(map_, first, tokens);
  const std::span<const MapPart> parts = *answer;
  for (std::size_t begin = 0, end = 0; begin < parts.size(); begin = end) {
    while (end < parts.size() && parts[end].first_query == parts[begin].first_query) ++end;
    const std::int64_t at = parts[begin].first_query - first, queries = parts[begin].queries;
    run_stretch(rotary, cache, parts.subspan(begin, end - begin), tokens_of(strided(q, heads_), at, queries),
                tokens_of(all, at, queries), softmax_scale, threads);
  }
}

void MappedAttention::run_stretch(const Rotary& rotary, const KvCache& cache, std::span<const MapPart> parts,
                                  const HeadsView& q, const HeadsView& out, double softmax_scale, int threads) {
  const std::int64_t floats = out.tokens * heads_ * head_dim_;
  std::array<AttentionPart, 3> results;  // map_query_turns() at most
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const MapPart& part = parts[i];
    const HeadsView turned = rows(queries_.data(), out.tokens, heads_);
    turn(rotary, q, turned, map_query_positions(map_, part.query_turn, part.first_query, part.queries), threads);
    float* const log_sum_exp = log_sum_exp_.data() + static_cast<std::int64_t>(i) * heads_ * out.tokens;
    const HeadsView result =
        parts.size() == 1 ? out : rows(results_.data() + static_cast<std::int64_t>(i) * floats, out.tokens, heads_);
    results[i] = {result, log_sum_exp};
    const Attention attention{.q = turned,
                              .k = cache.keys(part.first_key, part.keys, part.key_turn),
                              .v = cache.values(part.first_key, part.keys),
                              .out = result,
                              .softmax_scale = softmax_scale,
                              .mask = part.mask,
                              .log_sum_exp = log_sum_exp};
    const std::int64_t bytes = attention_workspace(attention, threads);
    Buffer<std::byte> workspace(bytes);
    ropewalk::attend(attention, {.threads = threads, .workspace = {workspace.data(), static_cast<std::size_t>(bytes)}});
  }
  if (parts.size() > 1) merge_attention({.parts = {results.data(), parts.size()}, .out = out, .threads = threads});
}

}  // namespace ropewalk::runner
