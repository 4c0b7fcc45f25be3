// What is done to a block of scores between the products, forwards and backwards alike.
#pragma once

#include <ropewalk/attention.hpp>

#include "attention_shape.hpp"
#include "cpu/dispatch.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace ropewalk {

/// A row of the batch and a key head.
struct Place {
  std::int64_t row = 0, head = 0;
};

/// Up to kPanelColumns queries of a key head and of one sequence: column r is token r / group, head r % group of the
/// group.
struct QueryColumns {
  std::int64_t begin = 0, end = 0;

  std::int64_t count() const noexcept { return end - begin; }
  /// As the kernels take them.
  std::int64_t padded() const noexcept { return (count() + 15) / 16 * 16; }
};

class ScoreBlocks {
 public:
  explicit ScoreBlocks(const Attention& attention) noexcept
      : a_(attention),
        kernels_(cpu::active_target().kernels->attention),
        group_(attention.k.heads > 0 ? attention.q.heads / attention.k.heads : 0) {}

  std::int64_t token_of(std::int64_t column) const noexcept { return column / group_; }
  std::int64_t head_of(Place place, std::int64_t column) const noexcept {
    return place.head * group_ + column % group_;
  }
  /// Keys that any of the queries sees.
  KeyRange seen(const Sequence& sequence, QueryColumns columns) const noexcept {
    return {sequence.seen(a_.mask, token_of(columns.begin)).begin,
            sequence.seen(a_.mask, token_of(columns.end - 1)).end};
  }

  /// What the queries do not all see of scores[keys first to last, columns] becomes -infinity. Windows move on with the
  /// queries: at a key, those that do not reach it yet are the first columns, and those that have left it behind the
  /// last ones.
  void hide(const Sequence& sequence, QueryColumns columns, std::int64_t first, std::int64_t last,
            float* scores) const noexcept {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const std::int64_t first_token = token_of(columns.begin), last_token = token_of(columns.end - 1);
    const KeyRange of_first = sequence.seen(a_.mask, first_token), of_last = sequence.seen(a_.mask, last_token);
    // The first token sees the least to the right, the last one to the left.
    for (std::int64_t t = first_token, j = std::max(first, of_first.end); j < last; ++j) {
      while (t <= last_token && sequence.seen(a_.mask, t).end <= j) ++t;
      const std::int64_t hidden = std::clamp(t * group_ - columns.begin, std::int64_t{0}, columns.count());
      std::fill_n(scores + (j - first) * kPanelColumns, hidden, kNone);
    }
    for (std::int64_t t = first_token, j = first; j < std::min(last, of_last.begin); ++j) {
      while (t <= last_token && sequence.seen(a_.mask, t).begin <= j) ++t;
      const std::int64_t seen = std::clamp(t * group_ - columns.begin, std::int64_t{0}, columns.count());
      std::fill_n(scores + (j - first) * kPanelColumns + seen, columns.count() - seen, kNone);
    }
  }

  /// `inverse`: 1 / what a score of each column is multiplied by; `stage`: [kPanelColumns, kBlockKeys] and `biases`:
  /// [kBlockKeys, kPanelColumns], to work in.
  void add_bias(Place place, const Sequence& sequence, QueryColumns columns, std::int64_t first, std::int64_t last,
                const float* inverse, float* stage, float* biases, float* scores) const noexcept {
    for_each_head(place, columns, [&](std::int64_t head, std::int64_t token, std::int64_t end, std::int64_t column) {
      a_.bias.fill(a_.bias.state, place.row, head, sequence.place(token) - sequence.first_key, end - token,
                   first - sequence.first_key, last - first, stage + column * kBlockKeys, group_ * kBlockKeys);
    });
    for (std::int64_t c = columns.count(); c < columns.padded(); ++c)
      std::fill_n(stage + c * kBlockKeys, last - first, 0.0f);
    kernels_.transpose(stage, kBlockKeys, columns.padded(), last - first, biases, kPanelColumns);
    kernels_.add_scaled(scores, biases, inverse, last - first, columns.padded());
  }

  /// visit(head, tokens begin, end, column of the first): the columns of a head are every group-th.
  template <class Visit>
  void for_each_head(Place place, QueryColumns columns, const Visit& visit) const noexcept {
    for (std::int64_t h = 0; h < group_; ++h) {
      const std::int64_t token = (columns.begin - h + group_ - 1) / group_, end = (columns.end - 1 - h) / group_ + 1;
      if (columns.end - 1 < h || token >= end) continue;
      visit(place.head * group_ + h, token, end, token * group_ + h - columns.begin);
    }
  }

 private:
  const Attention& a_;
  const cpu::AttentionKernels& kernels_;
  std::int64_t group_;
};

}  // namespace ropewalk
