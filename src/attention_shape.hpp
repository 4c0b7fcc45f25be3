// What follows from the shapes of an attention alone: which way it goes, and where in the workspace things lie.
#pragma once

#include <ropewalk/attention.hpp>

#include "cpu/kernel_table.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numbers>
#include <span>

namespace ropewalk {

using cpu::kPanelColumns;

// Keys of a block: its scores against a panel are 32 KiB, and a panel's sums are read and written once a block.
inline constexpr std::int64_t kBlockKeys = 128;
// The same where queries are few.
inline constexpr std::int64_t kBlockKeysOfFew = 256;
// A key of one head is asked for so many keys ahead.
inline constexpr std::int64_t kKeysAhead = 16;
// Where the heads of a token lie side by side, the next head goes over some tokens after so many bytes of all heads,
// and as many are asked for ahead. Four times as many took 1.1 times as long, fewer than four keys 3 times in bf16, and
// two turns ahead no less (EPYC 9005, 32:8 heads x 128).
inline constexpr std::int64_t kTurnBytes = 8192;
inline constexpr std::int64_t kLeastOfTurn = 4;
inline constexpr std::int64_t kMostKeysOfTurn = 8;
inline constexpr std::int64_t kMostValuesOfTurn = 16;
// Panels that share a block of packed keys and values; with head_dim 128 their queries and sums are 512 KiB, which the
// second-level cache holds beside the block.
inline constexpr std::int64_t kMostPanels = 8;
// So many queries of a key head go over the keys at once where they lie.
inline constexpr std::int64_t kMostFewRows = 8;
// Ranges of keys that few queries of a row are cut into: by shapes alone, so that the bits do not depend on threads.
inline constexpr std::int64_t kMostRanges = 16;
inline constexpr std::int64_t kLeastKeysOfRange = 512;
// Stands for -infinity where a difference of two is taken.
inline constexpr float kLowest = -3e38f;

/// Hands out stretches of floats on 64-byte boundaries.
class Stretches {
 public:
  explicit Stretches(std::byte* at = nullptr) noexcept
      : at_(at == nullptr ? 0 : (reinterpret_cast<std::uintptr_t>(at) + 63) / 64 * 64), begin_(at_) {}
  float* take(std::int64_t floats) noexcept {
    const std::uintptr_t taken = at_;
    at_ += (static_cast<std::uintptr_t>(floats) * sizeof(float) + 63) / 64 * 64;
    return reinterpret_cast<float*>(taken);
  }
  std::int64_t bytes() const noexcept { return static_cast<std::int64_t>(at_ - begin_); }

 private:
  std::uintptr_t at_, begin_;
};

/// The keys [begin, end) that a query sees, end >= begin.
struct KeyRange {
  std::int64_t begin = 0, end = 0;
};

/// One sequence: whose queries, whose keys.
struct Sequence {
  std::int64_t first_query = 0, end_query = 0, first_key = 0, end_key = 0;

  /// The key that query t stands at.
  std::int64_t place(std::int64_t t) const noexcept { return t + end_key - end_query; }
  KeyRange seen(const AttentionMask& mask, std::int64_t t) const noexcept {
    // Wider than any sequence, and cannot overflow.
    constexpr std::int64_t kWidest = std::int64_t{1} << 41;
    const std::int64_t p = place(t), left = std::clamp(mask.left, -kWidest, kWidest),
                       right = std::clamp(mask.right, -kWidest, kWidest);
    const std::int64_t begin = std::clamp(p - left, first_key, end_key);
    return {begin, std::clamp(p + right + 1, begin, end_key)};
  }
};

struct AttentionShape {
  std::int64_t group = 0;    // query heads to a key head
  std::int64_t columns = 0;  // queries of a key head: column r is token r / group, head r % group of the group
  bool few = false;          // FewQueries goes, not QueryPanels
  std::int64_t panels = 0;   // at most, of QueryPanels
  // Of FewQueries:
  std::int64_t ranges = 0;
  std::int64_t heads_of_item = 1;  // 1 or all

  std::int64_t dim = 0, value_dim = 0, batch = 0, kv_heads = 0;

  explicit AttentionShape(const Attention& a) noexcept
      : group(a.q.heads / a.k.heads),
        columns(a.q.tokens * group),
        few(a.query_starts.empty() && (a.q.tokens == 1 || columns <= kMostFewRows)),
        dim(a.q.head_dim),
        value_dim(a.v.head_dim),
        batch(a.q.batch),
        kv_heads(a.k.heads) {
    const std::int64_t all = (columns + kPanelColumns - 1) / kPanelColumns;
    panels = std::min(all, std::clamp<std::int64_t>(1024 / std::max(dim, value_dim), 1, kMostPanels));
    if (std::abs(a.k.head_stride) < std::abs(a.k.token_stride)) heads_of_item = kv_heads;
    const std::int64_t wanted = (kMostRanges - 1) / (kv_heads / heads_of_item) + 1;
    ranges = std::clamp<std::int64_t>(a.k.tokens / kLeastKeysOfRange, 1, wanted);
  }

  /// Of what a thread has for itself.
  std::int64_t thread_floats() const noexcept {
    Stretches all;
    if (few) {
      all.take(heads_of_item * columns * dim);
      all.take(heads_of_item * columns * kBlockKeysOfFew);
      return all.bytes() / static_cast<std::int64_t>(sizeof(float));
    }
    all.take(panels * kPanelColumns * dim);
    all.take(panels * kPanelColumns * value_dim);
    all.take(kBlockKeys * dim);
    all.take(kBlockKeys * value_dim);
    all.take(kPanelColumns * std::max({dim, value_dim, kBlockKeys}));
    for (int i = 0; i < 3; ++i) all.take(kBlockKeys * kPanelColumns);
    for (int i = 0; i < 5; ++i) all.take(panels * kPanelColumns);
    return all.bytes() / static_cast<std::int64_t>(sizeof(float));
  }
  /// Floats of one result of FewQueries: top, total, and value_dim sums, for each column.
  std::int64_t result_floats() const noexcept { return columns * (value_dim + 2); }
  std::int64_t shared_floats() const noexcept { return few ? batch * kv_heads * ranges * result_floats() : 0; }

  std::int64_t workspace(int threads) const noexcept {
    return static_cast<std::int64_t>(sizeof(float)) * (shared_floats() + threads * thread_floats()) + 128;
  }
  int threads_in(std::span<const std::byte> workspace_given, int most) const noexcept {
    int threads = most;
    while (threads > 1 && workspace(threads) > static_cast<std::int64_t>(workspace_given.size())) --threads;
    return threads;
  }
};

/// What the score of column r is multiplied by, in natural units.
inline double scale_of(const Attention& a, std::int64_t row, std::int64_t token) noexcept {
  const double temperature =
      a.temperature != nullptr ? static_cast<double>(a.temperature[row * a.temperature_batch_stride + token]) : 1.0;
  return a.softmax_scale * temperature;
}

/// Scores come out of 2^x.
inline float factor_of(double scale) noexcept { return static_cast<float>(scale * std::numbers::log2e); }

inline const std::byte* element(const HeadsView& x, std::int64_t row, std::int64_t token, std::int64_t head) noexcept {
  const std::int64_t at = row * x.batch_stride + token * x.token_stride + head * x.head_stride;
  return static_cast<const std::byte*>(x.data) + at * static_cast<std::int64_t>(size_of(x.dtype));
}
inline std::byte* written_element(const HeadsView& x, std::int64_t row, std::int64_t token,
                                  std::int64_t head) noexcept {
  return const_cast<std::byte*>(element(x, row, token, head));
}

inline void write_log_sum_exp(const Attention& a, std::int64_t row, std::int64_t head, std::int64_t token, float top,
                              float total) noexcept {
  if (a.log_sum_exp == nullptr) return;
  a.log_sum_exp[(row * a.q.heads + head) * a.q.tokens + token] =
      static_cast<float>(static_cast<double>(top) * scale_of(a, row, token) + std::log(static_cast<double>(total)));
}

}  // namespace ropewalk
