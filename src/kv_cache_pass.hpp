// One pass over rows on their way into, through or out of a cache: tiles of tokens, whose cosines and sines serve every
// head of every stream.
#pragma once

#include <ropewalk/kv_cache.hpp>

#include "cpu/dispatch.hpp"
#include "math/token_turns.hpp"
#include "rotary_tiles.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <span>

namespace ropewalk {

/// How a row is cut for the kernel: cpu::CacheRows has the order and its reasons.
class RowPlan {
 public:
  /// A row that does not turn.
  explicit RowPlan(std::int64_t head_dim) noexcept { cut(0, head_dim); }

  explicit RowPlan(const RotarySpec& spec) noexcept {
    const std::int64_t begin = spec.rotary_offset, pairs = spec.pairs();
    if (spec.layout == PairLayout::kHalf) {
      turn_ = cpu::RowTurn::kHalf;
      cut(begin, pairs);
      cut(begin + pairs, pairs);
    } else {
      turn_ = cpu::RowTurn::kInterleaved;
      cut(begin, 2 * pairs);
    }
    turning_ = count_;
    cut(0, begin);
    cut(begin + spec.rotary_dim, spec.head_dim - begin - spec.rotary_dim);
  }

  void write_to(cpu::CacheRows& rows) const noexcept {
    rows.groups = groups_.data();
    rows.group_count = count_;
    rows.turning_groups = turning_;
    rows.groups_are_whole = whole_;
    rows.splits_bytes = odd_;
    rows.turn = turn_;
  }

 private:
  void cut(std::int64_t begin, std::int64_t channels) noexcept {
    odd_ = odd_ || (begin % 2 != 0 && channels > 0);
    for (; channels > 0; begin += 16, channels -= 16) {
      const std::int64_t count = std::min<std::int64_t>(channels, 16);
      whole_ = whole_ && count == 16;
      groups_[static_cast<std::size_t>(count_++)] = {static_cast<std::int32_t>(begin),
                                                     static_cast<std::int32_t>(count)};
    }
  }

  std::array<cpu::RowGroup, cpu::kMostRowGroups> groups_;
  std::int32_t count_ = 0, turning_ = 0;
  bool whole_ = true, odd_ = false;
  cpu::RowTurn turn_ = cpu::RowTurn::kNone;
};

/// Where rows lie. In bytes, as CacheView counts.
struct RowsInMemory {
  char* data = nullptr;
  CacheFormat format = CacheFormat::kFloat32;
  std::int64_t batch_stride = 0, token_stride = 0, head_stride = 0;
  bool is_cache = false;  // found by slot, else by row and token
  std::int64_t page_tokens = 1, page_stride = 0;
  char* scales = nullptr;
  std::int64_t scale_page_stride = 0, scale_token_stride = 0, scale_head_stride = 0;

  explicit RowsInMemory(const HeadsView& x) noexcept
      : data(static_cast<char*>(x.data)), format(cache_format_of(x.dtype)) {
    const auto size = static_cast<std::int64_t>(size_of(x.dtype));
    batch_stride = size * x.batch_stride;
    token_stride = size * x.token_stride;
    head_stride = size * x.head_stride;
  }
  explicit RowsInMemory(const CacheView& x) noexcept
      : data(static_cast<char*>(x.data)),
        format(x.format),
        token_stride(x.token_stride),
        head_stride(x.head_stride),
        is_cache(true),
        page_tokens(x.page_tokens),
        page_stride(x.page_stride),
        scales(reinterpret_cast<char*>(x.scales)),
        scale_page_stride(4 * x.scale_page_stride),
        scale_token_stride(4 * x.scale_token_stride),
        scale_head_stride(4 * x.scale_head_stride) {}

  char* row(std::int64_t batch_row, std::int64_t token, std::int64_t slot, std::int64_t head) const noexcept {
    if (!is_cache) return data + batch_row * batch_stride + token * token_stride + head * head_stride;
    return data + slot / page_tokens * page_stride + slot % page_tokens * token_stride + head * head_stride;
  }
  char* scale(std::int64_t slot, std::int64_t head) const noexcept {
    if (scales == nullptr) return nullptr;
    return scales + slot / page_tokens * scale_page_stride + slot % page_tokens * scale_token_stride +
           head * scale_head_stride;
  }
};

/// Rows of one kind: the queries, the keys or the values of a call.
struct RowStream {
  RowsInMemory in, out;
  std::int64_t heads = 0, head_dim = 0;
  const RowPlan* plan = nullptr;
  const HeadNorm* norm = nullptr;  // or none
};

/// The cosines and sines of a token, and whether it stands where nothing changes.
class TokenCosSin {
 public:
  TokenCosSin(const RotarySpec& spec, const Frequencies& frequencies, const PositionsView& positions,
              const cpu::Gain& gain) noexcept
      : rows_(spec, frequencies, positions, gain),
        kernels_(*cpu::active_target().kernels),
        gain_(gain),
        pairs_(spec.pairs()),
        keeps_size_(gain.high == 1.0f && gain.low == 0.0f),
        streams_(std::max(spec.axes(), spec.given ? spec.given->axes : 1)) {}

  /// Less the phases of another spec.
  void subtract(const RotarySpec& spec, const Frequencies& frequencies, const PositionsView& positions) noexcept {
    less_.emplace(spec, frequencies, positions);
  }

  std::int64_t pairs() const noexcept { return pairs_; }

  /// True if every row of this token would stay as it is.
  bool changes_nothing(std::int64_t row, std::int64_t token) const noexcept {
    if (!keeps_size_) return false;
    for (int axis = 0; axis < streams_; ++axis)
      if (rows_.turns().position(axis, row, token) != 0) return false;
    return true;
  }

  void fill(std::int64_t row, std::int64_t token, float* cos, float* sin) const noexcept {
    if (!less_) return rows_.fill(row, token, 0, pairs_, cos, sin);
    constexpr std::int64_t kSome = 64;
    std::array<Turns, kSome> turns, less;
    for (std::int64_t at = 0; at < pairs_; at += kSome) {
      const std::int64_t some = std::min(kSome, pairs_ - at);
      rows_.turns().fill(row, token, 0, at, some, turns.data());
      less_->fill(row, token, 0, at, some, less.data());
      for (std::size_t j = 0; j < static_cast<std::size_t>(some); ++j) turns[j] -= less[j];
      kernels_.cos_sin_of(turns.data(), some, gain_, cos + at, sin + at);
    }
  }

 private:
  TokenRows<PositionsView> rows_;
  std::optional<math::TokenTurns<PositionsView>> less_;
  const cpu::KernelTable& kernels_;
  cpu::Gain gain_;
  std::int64_t pairs_;
  bool keeps_size_;
  int streams_;
};

/// One call; an item is a token. `slots` is empty where no stream has a cache. skips: tokens that would stay as they
/// are stay untouched.
class CachePass {
 public:
  CachePass(std::span<const RowStream> streams, const TokenCosSin& cos_sin, std::span<const std::int64_t> slots,
            std::int64_t batch, std::int64_t tokens, bool skips) noexcept
      : streams_(streams),
        cos_sin_(cos_sin),
        slots_(slots),
        tokens_(tokens),
        items_(batch * tokens),
        skips_(skips),
        kernels_(*cpu::active_target().kernels),
        padded_pairs_((cos_sin.pairs() + 15) / 16 * 16),
        tile_tokens_(std::clamp<std::int64_t>(kTileFloats / padded_pairs_, 1, kTileTokens)) {}

  std::int64_t items() const noexcept { return items_; }

  void run(std::int64_t first, std::int64_t last) const noexcept {
    alignas(64) std::array<float, kTileFloats> cos, sin;
    std::array<bool, kTileTokens> left{};
    for (std::int64_t tokens; first < last; first += tokens) {
      const std::int64_t row = first / tokens_, token = first % tokens_;
      tokens = std::min({tile_tokens_, tokens_ - token, last - first});
      for (std::int64_t t = 0; t < tokens; ++t) {
        left[static_cast<std::size_t>(t)] = skips_ && cos_sin_.changes_nothing(row, token + t);
        if (left[static_cast<std::size_t>(t)]) continue;
        float *const cos_of = cos.data() + t * padded_pairs_, *const sin_of = sin.data() + t * padded_pairs_;
        cos_sin_.fill(row, token + t, cos_of, sin_of);
        // The kernel reads on from the last pair to a multiple of 16.
        std::fill(cos_of + cos_sin_.pairs(), cos_of + padded_pairs_, 0.0f);
        std::fill(sin_of + cos_sin_.pairs(), sin_of + padded_pairs_, 0.0f);
      }
      for (const RowStream& stream : streams_)
        write_tile(stream, row, token, tokens, left.data(), cos.data(), sin.data());
    }
  }

 private:
  static constexpr std::int64_t kTileFloats = kMostCacheHeadDim / 2;

  void write_tile(const RowStream& stream, std::int64_t row, std::int64_t first_token, std::int64_t tokens,
                  const bool* left, const float* cos, const float* sin) const noexcept {
    const RowsInMemory &in = stream.in, &out = stream.out;
    cpu::CacheRows rows{.in_stride = in.head_stride,
                        .out_stride = out.head_stride,
                        .in_scale_stride = in.scale_head_stride,
                        .out_scale_stride = out.scale_head_stride,
                        .head_dim = stream.head_dim,
                        .in_format = in.format,
                        .out_format = out.format};
    stream.plan->write_to(rows);
    if (stream.norm != nullptr && stream.norm->place != NormPlace::kNone) {
      rows.norm = stream.norm->place == NormPlace::kBeforeRotation ? cpu::RowNorm::kBefore : cpu::RowNorm::kAfter;
      rows.epsilon = stream.norm->epsilon;
      rows.weight_stride = stream.norm->weight_stride;
      rows.weight_plus_one = stream.norm->weight_plus_one;
    }
    const bool heads_apart = std::abs(out.head_stride) > std::abs(out.token_stride);
    const std::int64_t group = heads_apart && tokens > 1 ? kHeadsSideBySide : stream.heads;
    for (std::int64_t head = 0; head < stream.heads; head += group) {
      rows.heads = std::min(group, stream.heads - head);
      if (rows.norm != cpu::RowNorm::kNone && stream.norm->weight != nullptr)
        rows.weight = stream.norm->weight + head * stream.norm->weight_stride;
      for (std::int64_t t = 0; t < tokens; ++t) {
        const std::int64_t token = first_token + t;
        const std::int64_t slot = slots_.empty() ? 0 : slots_[static_cast<std::size_t>(row * tokens_ + token)];
        if (left[t] || (slot < 0 && out.is_cache)) continue;
        rows.in = in.row(row, token, slot, head);
        rows.out = out.row(row, token, slot, head);
        rows.in_scale = in.is_cache ? in.scale(slot, head) : nullptr;
        rows.out_scale = out.is_cache ? out.scale(slot, head) : nullptr;
        rows.cos = cos + t * padded_pairs_;
        rows.sin = sin + t * padded_pairs_;
        kernels_.cache_rows(rows);
      }
    }
  }

  std::span<const RowStream> streams_;
  const TokenCosSin& cos_sin_;
  std::span<const std::int64_t> slots_;
  std::int64_t tokens_, items_;
  bool skips_;
  const cpu::KernelTable& kernels_;
  std::int64_t padded_pairs_, tile_tokens_;
};

}  // namespace ropewalk
