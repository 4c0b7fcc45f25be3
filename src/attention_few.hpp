// One query, or a few: keys and values are read where they lie, cut into ranges that all threads share.
#pragma once

#include <ropewalk/attention.hpp>

#include "attention_shape.hpp"
#include "cpu/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace ropewalk {

class FewQueries {
 public:
  FewQueries(const Attention& attention, const AttentionShape& shape, std::span<std::byte> workspace) noexcept
      : a_(attention),
        shape_(shape),
        kernels_(cpu::active_target().kernels->attention),
        sequence_{0, attention.q.tokens, 0, attention.k.tokens},
        seen_{sequence_.seen(attention.mask, 0).begin, sequence_.seen(attention.mask, attention.q.tokens - 1).end},
        threads_(Stretches(workspace.data()).take(0)),
        results_(Stretches(workspace.data()).take(0)) {
    threads_ += (shape_.shared_floats() + 15) / 16 * 16;
  }

  /// An item is one range of the keys of a row: of one key head, or of all of them where the heads of a token lie side
  /// by side, for then a page of memory holds all heads of a few tokens and had to be found again for each.
  std::int64_t items() const noexcept {
    return shape_.batch * (shape_.kv_heads / shape_.heads_of_item) * shape_.ranges;
  }

  void run(std::int64_t item, int thread) const noexcept {
    const std::int64_t range = item % shape_.ranges, at = item / shape_.ranges * shape_.heads_of_item;
    const std::int64_t row = at / shape_.kv_heads, first_head = at % shape_.kv_heads;
    const std::int64_t rows = shape_.columns, dim = shape_.dim, heads = shape_.heads_of_item;
    float* const queries = threads_ + thread * shape_.thread_floats();
    float* const scores = queries + (heads * rows * dim + 15) / 16 * 16;
    for (std::int64_t h = 0; h < heads; ++h) {
      const Result result = result_of(row, first_head + h, range);
      std::fill_n(result.top, rows, kLowest);
      std::fill_n(result.total, rows * (shape_.value_dim + 1), 0.0f);
      for (std::int64_t r = 0; r < rows; ++r)
        kernels_.widen[static_cast<std::size_t>(a_.q.dtype)](
            element(a_.q, row, r / shape_.group, (first_head + h) * shape_.group + r % shape_.group), 0, 1, dim,
            queries + (h * rows + r) * dim, 0);
    }
    const std::int64_t all = std::max<std::int64_t>(seen_.end - seen_.begin, 0);
    const std::int64_t each = (all + shape_.ranges - 1) / shape_.ranges;
    const std::int64_t begin = seen_.begin + range * each;
    const std::int64_t end = std::min(begin + each, seen_.end);
    for (std::int64_t first = begin; first < end; first += kBlockKeysOfFew)
      run_block(row, first_head, range, first, std::min(kBlockKeysOfFew, end - first), queries, scores);
  }

  /// Brings the ranges together, always in the same order.
  void merge() const noexcept {
    for (std::int64_t row = 0; row < shape_.batch; ++row)
      for (std::int64_t head = 0; head < shape_.kv_heads; ++head)
        for (std::int64_t r = 0; r < shape_.columns; ++r) merge_row(row, head, r);
  }

 private:
  /// Of one range: the softmax so far, for every column.
  struct Result {
    float *top, *total;  // [columns]
    float* sums;         // [columns, value_dim]
  };
  Result result_of(std::int64_t row, std::int64_t head, std::int64_t range) const noexcept {
    float* const at = results_ + ((row * shape_.kv_heads + head) * shape_.ranges + range) * shape_.result_floats();
    return {at, at + shape_.columns, at + 2 * shape_.columns};
  }

  /// So many tokens, of all heads, are kTurnBytes, which the first cache holds beside those that are asked for.
  static std::int64_t turn_of(const HeadsView& x, std::int64_t most) noexcept {
    const std::int64_t bytes = x.heads * x.head_dim * static_cast<std::int64_t>(size_of(x.dtype));
    return std::clamp(kTurnBytes / bytes, kLeastOfTurn, most);
  }

  /// Where an item has all heads, they take turns after a few keys: memory is then read from one end to the other.
  void run_block(std::int64_t row, std::int64_t first_head, std::int64_t range, std::int64_t first, std::int64_t keys,
                 const float* queries, float* scores) const noexcept {
    const auto dtype = static_cast<std::size_t>(a_.k.dtype);
    const std::int64_t rows = shape_.columns, heads = shape_.heads_of_item;
    const std::int64_t some_keys = heads > 1 ? turn_of(a_.k, kMostKeysOfTurn) : keys;
    const std::int64_t some_values = heads > 1 ? turn_of(a_.v, kMostValuesOfTurn) : keys;
    for (std::int64_t j = 0; j < keys; j += some_keys)
      for (std::int64_t h = 0; h < heads; ++h)
        kernels_.scores_of_few[dtype]({.a = queries + h * rows * shape_.dim,
                                       .a_stride = shape_.dim,
                                       .rows = rows,
                                       .keys_at = element(a_.k, row, first + j, first_head + h),
                                       .key_stride = a_.k.token_stride,
                                       .keys = std::min(some_keys, keys - j),
                                       .channels = shape_.dim,
                                       .ahead = heads > 1 ? some_keys : kKeysAhead,
                                       .out = scores + h * rows * kBlockKeysOfFew + j,
                                       .out_stride = kBlockKeysOfFew});
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t r = 0; r < rows; ++r)
        softmax(row, first_head + h, r, first, keys, scores + (h * rows + r) * kBlockKeysOfFew,
                result_of(row, first_head + h, range));
    for (std::int64_t j = 0; j < keys; j += some_values)
      for (std::int64_t h = 0; h < heads; ++h)
        kernels_.add_few[dtype]({.a = scores + h * rows * kBlockKeysOfFew + j,
                                 .a_stride = kBlockKeysOfFew,
                                 .rows = rows,
                                 .keys_at = element(a_.v, row, first + j, first_head + h),
                                 .key_stride = a_.v.token_stride,
                                 .keys = std::min(some_values, keys - j),
                                 .channels = shape_.value_dim,
                                 .ahead = heads > 1 ? some_values : kKeysAhead,
                                 .out = result_of(row, first_head + h, range).sums,
                                 .out_stride = shape_.value_dim});
  }

  void softmax(std::int64_t row, std::int64_t head, std::int64_t r, std::int64_t first, std::int64_t keys,
               float* scores, const Result& result) const noexcept {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const std::int64_t token = r / shape_.group;
    const double scale = scale_of(a_, row, token);
    if (a_.bias.fill != nullptr) {
      alignas(64) float bias[kBlockKeysOfFew];
      a_.bias.fill(a_.bias.state, row, head * shape_.group + r % shape_.group, sequence_.place(token), 1, first, keys,
                   bias, kBlockKeysOfFew);
      const auto inverse = static_cast<float>(1.0 / scale);
      for (std::int64_t j = 0; j < keys; ++j) scores[j] += bias[j] * inverse;
    }
    const KeyRange seen = sequence_.seen(a_.mask, token);
    const std::int64_t begin = std::clamp(seen.begin - first, std::int64_t{0}, keys);
    const std::int64_t end = std::clamp(seen.end - first, begin, keys);
    std::fill(scores, scores + begin, kNone);
    std::fill(scores + end, scores + keys, kNone);
    float* const sums = result.sums + r * shape_.value_dim;
    const float correction = kernels_.softmax_row(scores, keys, factor_of(scale), result.top + r, result.total + r);
    if (correction != 1.0f)
      for (std::int64_t d = 0; d < shape_.value_dim; ++d) sums[d] *= correction;
  }

  void merge_row(std::int64_t row, std::int64_t kv_head, std::int64_t r) const noexcept {
    const std::int64_t token = r / shape_.group, head = kv_head * shape_.group + r % shape_.group;
    const float factor = factor_of(scale_of(a_, row, token));
    float top = kLowest;
    for (std::int64_t i = 0; i < shape_.ranges; ++i) top = std::max(top, result_of(row, kv_head, i).top[r]);
    float total = 0.0f;
    const Result whole = result_of(row, kv_head, 0);
    float* const sums = whole.sums + r * shape_.value_dim;
    for (std::int64_t i = 0; i < shape_.ranges; ++i) {
      const Result part = result_of(row, kv_head, i);
      const float weight = std::exp2((part.top[r] - top) * factor);
      const float* const more = part.sums + r * shape_.value_dim;
      total += weight * part.total[r];
      for (std::int64_t d = 0; d < shape_.value_dim; ++d)
        sums[d] = i == 0 ? weight * sums[d] : sums[d] + weight * more[d];
    }
    const float share = 1.0f / total;
    for (std::int64_t d = 0; d < shape_.value_dim; ++d) sums[d] = total == 0.0f ? 0.0f : sums[d] * share;
    kernels_.narrow[static_cast<std::size_t>(a_.out.dtype)](sums, shape_.value_dim,
                                                            written_element(a_.out, row, token, head));
    write_log_sum_exp(a_, row, head, token, top, total);
  }

  const Attention& a_;
  const AttentionShape& shape_;
  const cpu::AttentionKernels& kernels_;
  Sequence sequence_;
  KeyRange seen_;
  float* threads_;
  float* results_;
};

}  // namespace ropewalk
