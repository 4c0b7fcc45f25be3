// Many queries: panels of 64 columns, past which blocks of keys go.
#pragma once

#include <ropewalk/attention.hpp>

#include "attention_scores.hpp"
#include "attention_shape.hpp"
#include "cpu/dispatch.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

namespace ropewalk {

class QueryPanels {
 public:
  QueryPanels(const Attention& attention, const AttentionShape& shape, std::span<std::byte> workspace,
              int threads) noexcept
      : a_(attention),
        shape_(shape),
        scores_(attention),
        kernels_(cpu::active_target().kernels->attention),
        in_pairs_(attention.k.dtype == DType::kBFloat16 && kernels_.multiply_pairs != nullptr),
        workspace_(Stretches(workspace.data()).take(0)) {
    // Fewer panels share a block of packed keys where there would not be items for all threads.
    panels_ = shape_.panels;
    while (panels_ > 1 && items() < 4 * threads) --panels_;
  }

  /// An item is up to panels_ panels of a key head of a row.
  std::int64_t items() const noexcept { return blocks() * shape_.batch * shape_.kv_heads; }

  /// The longest items come first: the last queries, which see the most keys if the mask is causal.
  void run(std::int64_t item, int thread) const noexcept {
    const std::int64_t heads = shape_.batch * shape_.kv_heads;
    const std::int64_t begin = (blocks() - 1 - item / heads) * item_columns();
    const Place place{item % heads / shape_.kv_heads, item % shape_.kv_heads};
    const std::int64_t end = std::min(begin + item_columns(), shape_.columns);
    Scratch scratch(shape_, workspace_ + thread * shape_.thread_floats());
    if (a_.query_starts.empty()) return run_sequence(place, {0, a_.q.tokens, 0, a_.k.tokens}, begin, end, scratch);
    const auto& starts = a_.query_starts;
    const std::int64_t first_token = begin / shape_.group, end_token = (end - 1) / shape_.group + 1;
    // The last sequence that begins at or before the first token.
    auto s = static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), first_token) - starts.begin()) - 1;
    for (; s + 1 < starts.size() && starts[s] < end_token; ++s)
      run_sequence(place, {starts[s], starts[s + 1], a_.key_starts[s], a_.key_starts[s + 1]},
                   std::max(begin, starts[s] * shape_.group), std::min(end, starts[s + 1] * shape_.group), scratch);
  }

 private:
  // What one thread works with.
  struct Scratch {
    float *queries, *sums;   // [panels][channels][64]
    float *keys, *values;    // [kBlockKeys][channels]
    float* stage;            // [64][channels] on their way into or out of a panel, or [64][kBlockKeys] biases
    float *scores, *biases;  // [kBlockKeys][64]
    float* powers;           // in pairs of bf16
    float *factor, *inverse, *top, *total, *correction;  // [panels][64]

    Scratch(const AttentionShape& shape, float* at) noexcept {
      Stretches all(reinterpret_cast<std::byte*>(at));
      queries = all.take(shape.panels * kPanelColumns * shape.dim);
      sums = all.take(shape.panels * kPanelColumns * shape.value_dim);
      keys = all.take(kBlockKeys * shape.dim);
      values = all.take(kBlockKeys * shape.value_dim);
      stage = all.take(kPanelColumns * std::max({shape.dim, shape.value_dim, kBlockKeys}));
      for (float** each : {&scores, &biases, &powers}) *each = all.take(kBlockKeys * kPanelColumns);
      for (float** each : {&factor, &inverse, &top, &total, &correction})
        *each = all.take(shape.panels * kPanelColumns);
    }
  };

  struct Panel : QueryColumns {
    KeyRange seen{};     // by any of its queries
    bool begun = false;  // its sums hold something
  };

  std::int64_t item_columns() const noexcept { return panels_ * kPanelColumns; }
  std::int64_t blocks() const noexcept { return (shape_.columns + item_columns() - 1) / item_columns(); }
  /// 32-bit words that hold the channels of a query or key.
  std::int64_t words() const noexcept { return in_pairs_ ? (shape_.dim + 1) / 2 : shape_.dim; }

  void run_sequence(Place place, const Sequence& sequence, std::int64_t begin, std::int64_t end,
                    Scratch& scratch) const noexcept {
    if (begin >= end) return;
    std::array<Panel, kMostPanels> panels;
    std::int64_t count = 0;
    KeyRange all{std::numeric_limits<std::int64_t>::max(), 0};
    for (std::int64_t at = begin; at < end; at += kPanelColumns) {
      Panel& panel = panels[static_cast<std::size_t>(count)];
      panel = {{at, std::min(at + kPanelColumns, end)}};
      panel.seen = scores_.seen(sequence, panel);
      if (panel.seen.begin < panel.seen.end)
        all = {std::min(all.begin, panel.seen.begin), std::max(all.end, panel.seen.end)};
      take_queries(place, panel, count++, scratch);
    }
    // Blocks are counted from the sequence's first key, whatever of them is seen: so a result does not depend on what
    // else is in the batch or in the item.
    const std::int64_t skipped = all.begin < all.end ? (all.begin - sequence.first_key) / kBlockKeys * kBlockKeys : 0;
    for (std::int64_t block = sequence.first_key + skipped; block < all.end; block += kBlockKeys) {
      const std::int64_t pack = std::max(block, even_from(block, all.begin));
      const std::int64_t pack_end = std::min(block + kBlockKeys, all.end);
      take_keys(place, pack, pack_end, scratch);
      for (std::int64_t i = 0; i < count; ++i) {
        Panel& panel = panels[static_cast<std::size_t>(i)];
        const std::int64_t first = std::max(block, even_from(block, panel.seen.begin));
        const std::int64_t last = std::min(block + kBlockKeys, panel.seen.end);
        if (first < last) step(place, sequence, panel, i, first, last, pack, scratch);
      }
    }
    for (std::int64_t i = 0; i < count; ++i) give_results(place, panels[static_cast<std::size_t>(i)], i, scratch);
  }

  /// Keys go in pairs, counted from the block's first.
  static std::int64_t even_from(std::int64_t block, std::int64_t key) noexcept {
    return key - (key > block ? (key - block) % 2 : 0);
  }

  void take_queries(Place place, const Panel& panel, std::int64_t index, Scratch& scratch) const noexcept {
    const std::int64_t stride = words(), dim = shape_.dim;
    for (std::int64_t c = 0; c < panel.count(); ++c) {
      const std::int64_t column = panel.begin + c, token = scores_.token_of(column);
      const std::byte* const from = element(a_.q, place.row, token, scores_.head_of(place, column));
      float* const to = scratch.stage + c * stride;
      if (!in_pairs_) {
        kernels_.widen[static_cast<std::size_t>(a_.q.dtype)](from, 0, 1, dim, to, 0);
      } else {
        auto* const halves = reinterpret_cast<std::uint16_t*>(to);
        if (a_.q.dtype == DType::kBFloat16) {
          std::memcpy(halves, from, static_cast<std::size_t>(dim) * sizeof *halves);
        } else {
          float* const wide = scratch.scores;  // kMostAttentionHeadDim floats fit
          kernels_.widen[static_cast<std::size_t>(a_.q.dtype)](from, 0, 1, dim, wide, 0);
          kernels_.narrow[static_cast<std::size_t>(DType::kBFloat16)](wide, dim, halves);
        }
        if (dim % 2 != 0) halves[dim] = 0;
      }
      const double scale = scale_of(a_, place.row, token);
      scratch.factor[index * kPanelColumns + c] = factor_of(scale);
      scratch.inverse[index * kPanelColumns + c] = static_cast<float>(1.0 / scale);
    }
    // Columns up to the next 16 are computed and not used.
    for (std::int64_t c = panel.count(); c < panel.padded(); ++c) {
      std::fill_n(scratch.stage + c * stride, stride, 0.0f);
      scratch.factor[index * kPanelColumns + c] = scratch.inverse[index * kPanelColumns + c] = 1.0f;
    }
    kernels_.transpose(scratch.stage, stride, panel.padded(), stride,
                       scratch.queries + index * kPanelColumns * shape_.dim, kPanelColumns);
    std::fill_n(scratch.top + index * kPanelColumns, kPanelColumns, kLowest);
    std::fill_n(scratch.total + index * kPanelColumns, kPanelColumns, 0.0f);
  }

  void take_keys(Place place, std::int64_t begin, std::int64_t end, Scratch& scratch) const noexcept {
    const std::byte* const keys = element(a_.k, place.row, begin, place.head);
    const std::byte* const values = element(a_.v, place.row, begin, place.head);
    const auto dtype = static_cast<std::size_t>(a_.k.dtype);
    if (!in_pairs_) {
      kernels_.widen[dtype](keys, a_.k.token_stride, end - begin, shape_.dim, scratch.keys, shape_.dim);
      kernels_.widen[dtype](values, a_.v.token_stride, end - begin, shape_.value_dim, scratch.values, shape_.value_dim);
      return;
    }
    auto* to = reinterpret_cast<std::uint16_t*>(scratch.keys);
    for (std::int64_t j = 0; j < end - begin; ++j, to += 2 * words()) {
      std::memcpy(to, keys + j * a_.k.token_stride * 2, static_cast<std::size_t>(shape_.dim) * sizeof *to);
      if (shape_.dim % 2 != 0) to[shape_.dim] = 0;
    }
    kernels_.pair_rows(values, a_.v.token_stride, end - begin, shape_.value_dim,
                       reinterpret_cast<std::uint32_t*>(scratch.values), shape_.value_dim);
  }

  /// Keys [first, last) go past one panel; `pack` is the first key that scratch holds.
  void step(Place place, const Sequence& sequence, Panel& panel, std::int64_t index, std::int64_t first,
            std::int64_t last, std::int64_t pack, Scratch& scratch) const noexcept {
    const std::int64_t keys = last - first, at = index * kPanelColumns;
    float* const sums = scratch.sums + at * shape_.value_dim;
    if (in_pairs_)
      kernels_.multiply_pairs({.a = reinterpret_cast<const std::uint32_t*>(scratch.keys) + (first - pack) * words(),
                               .a_row = words(),
                               .a_step = 1,
                               .b = reinterpret_cast<const std::uint32_t*>(scratch.queries + at * shape_.dim),
                               .c = scratch.scores,
                               .rows = keys,
                               .depth = words(),
                               .columns = panel.padded()});
    else
      kernels_.multiply({.a = scratch.keys + (first - pack) * shape_.dim,
                         .a_row = shape_.dim,
                         .a_step = 1,
                         .b = scratch.queries + at * shape_.dim,
                         .c = scratch.scores,
                         .rows = keys,
                         .depth = shape_.dim,
                         .columns = panel.padded()});
    if (a_.bias.fill != nullptr)
      scores_.add_bias(place, sequence, panel, first, last, scratch.inverse + at, scratch.stage, scratch.biases,
                       scratch.scores);
    scores_.hide(sequence, panel, first, last, scratch.scores);
    const cpu::SoftmaxPanel softmax{.scores = scratch.scores,
                                    .keys = keys,
                                    .columns = panel.padded(),
                                    .factor = scratch.factor + at,
                                    .top = scratch.top + at,
                                    .total = scratch.total + at,
                                    .correction = scratch.correction + at};
    const float* const scale = panel.begun ? scratch.correction + at : nullptr;
    panel.begun = true;
    if (in_pairs_) {
      auto* const powers = reinterpret_cast<std::uint32_t*>(scratch.powers);
      kernels_.softmax_pairs(softmax, powers);
      kernels_.multiply_pairs(
          {.a = reinterpret_cast<const std::uint32_t*>(scratch.values) + (first - pack) / 2 * shape_.value_dim,
           .a_row = 1,
           .a_step = shape_.value_dim,
           .b = powers,
           .c = sums,
           .rows = shape_.value_dim,
           .depth = (keys + 1) / 2,
           .columns = panel.padded(),
           .scale = scale});
    } else {
      kernels_.softmax(softmax);
      kernels_.multiply({.a = scratch.values + (first - pack) * shape_.value_dim,
                         .a_row = 1,
                         .a_step = shape_.value_dim,
                         .b = scratch.scores,
                         .c = sums,
                         .rows = shape_.value_dim,
                         .depth = keys,
                         .columns = panel.padded(),
                         .scale = scale});
    }
  }

  void give_results(Place place, const Panel& panel, std::int64_t index, Scratch& scratch) const noexcept {
    const std::int64_t at = index * kPanelColumns, dim = shape_.value_dim;
    float* const sums = scratch.sums + at * dim;
    if (!panel.begun) std::fill_n(sums, kPanelColumns * dim, 0.0f);
    kernels_.transpose(sums, kPanelColumns, dim, panel.padded(), scratch.stage, dim);
    for (std::int64_t c = 0; c < panel.count(); ++c) {
      const std::int64_t column = panel.begin + c, token = scores_.token_of(column),
                         head = scores_.head_of(place, column);
      const float total = scratch.total[at + c];
      const float share = total == 0.0f ? 0.0f : 1.0f / total;
      float* const row = scratch.stage + c * dim;
      if (total == 0.0f)
        std::fill_n(row, dim, 0.0f);
      else
        for (std::int64_t d = 0; d < dim; ++d) row[d] *= share;
      kernels_.narrow[static_cast<std::size_t>(a_.out.dtype)](row, dim,
                                                              written_element(a_.out, place.row, token, head));
      write_log_sum_exp(a_, place.row, head, token, scratch.top[at + c], total);
    }
  }

  const Attention& a_;
  const AttentionShape& shape_;
  const ScoreBlocks scores_;
  const cpu::AttentionKernels& kernels_;
  bool in_pairs_;
  float* workspace_;
  std::int64_t panels_ = 1;
};

}  // namespace ropewalk
