// Biases and relative encodings, block by block for attention.
#include <ropewalk/score_fill.hpp>

#include "view_checks.hpp"

#include <cstddef>
#include <string>

namespace ropewalk {
namespace {

void fill_bias(void* state, std::int64_t /*row*/, std::int64_t head, std::int64_t first_query, std::int64_t queries,
               std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) {
  const auto& fill = *static_cast<const BiasFill*>(state);
  fill.bias->fill_head(static_cast<int>(head), BiasAxis::range(fill.first_position + first_query, queries),
                       BiasAxis::range(fill.first_position + first_key, keys), {out, 0, stride, 1});
}

void fill_relative(void* state, std::int64_t row, std::int64_t head, std::int64_t first_query, std::int64_t queries,
                   std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) {
  const auto& fill = *static_cast<const RelativeFill*>(state);
  RelativeBlock block;
  block.q = fill.q;
  const std::int64_t token = first_query - (fill.k.tokens - fill.q.tokens);
  block.q.data =
      static_cast<std::byte*>(fill.q.data) + token * fill.q.token_stride * std::int64_t(size_of(fill.q.dtype));
  block.q.tokens = queries;
  block.k = fill.k;
  block.queries = BiasAxis::range(first_query, queries);
  block.keys = BiasAxis::range(0, fill.k.tokens);
  block.row = row;
  block.first_head = head;
  block.heads = 1;
  fill.score->fill_keys(block, first_key, keys, {out, 0, stride, 1});
}

// Stands for the block, which checks do not write.
constexpr float kNothing = 0.0f;

constexpr BiasView kNowhere{const_cast<float*>(&kNothing), 1, 1, 1};

std::optional<Error> check_positions(const BiasFill& fill, std::int64_t queries, std::int64_t keys) {
  constexpr std::int64_t kFar = std::int64_t{1} << 62;
  if (fill.first_position < -kFar || fill.first_position > kFar)
    return invalid("first_position", "want a number in [-2^62, 2^62], got " + std::to_string(fill.first_position));
  return fill.bias->check(BiasAxis::range(fill.first_position + keys - queries, queries),
                          BiasAxis::range(fill.first_position, keys), kNowhere);
}

}  // namespace

std::optional<Error> check_fill(const BiasFill& fill, const Attention& attention) {
  if (fill.bias == nullptr) return invalid("bias", "want a bias, got null");
  if (auto error = want("bias.heads", attention.q.heads, fill.bias->heads())) return error;
  if (attention.query_starts.empty()) return check_positions(fill, attention.q.tokens, attention.k.tokens);
  for (std::size_t s = 1; s < attention.query_starts.size() && s < attention.key_starts.size(); ++s)
    if (auto error = check_positions(fill, attention.query_starts[s] - attention.query_starts[s - 1],
                                     attention.key_starts[s] - attention.key_starts[s - 1]))
      return error;
  return std::nullopt;
}

ScoreFill score_fill(const BiasFill& fill) noexcept { return {const_cast<BiasFill*>(&fill), fill_bias}; }

std::optional<Error> check_fill(const RelativeFill& fill, const Attention& attention) {
  if (fill.score == nullptr) return invalid("score", "want an encoding, got null");
  if (!attention.query_starts.empty())
    return Error{Code::kUnsupported, "query_starts",
                 "want no packed sequences, for blocks do not say which one they are of, got some"};
  if (auto error = want("q.batch", attention.q.batch, fill.q.batch)) return error;
  if (auto error = want("k.batch", attention.k.batch, fill.k.batch)) return error;
  if (auto error = want("q.tokens", attention.q.tokens, fill.q.tokens)) return error;
  if (auto error = want("k.tokens", attention.k.tokens, fill.k.tokens)) return error;
  if (auto error = want("score.heads", attention.q.heads, fill.score->heads())) return error;
  RelativeBlock block;
  block.q = fill.q;
  block.k = fill.k;
  block.queries = BiasAxis::range(fill.k.tokens - fill.q.tokens, fill.q.tokens);
  block.keys = BiasAxis::range(0, fill.k.tokens);
  if (fill.q.batch == 0) return std::nullopt;
  return fill.score->check(block, kNowhere);
}

ScoreFill score_fill(const RelativeFill& fill) noexcept { return {const_cast<RelativeFill*>(&fill), fill_relative}; }

}  // namespace ropewalk
