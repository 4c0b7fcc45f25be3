// The fast way through a call: tiles of tokens, whose cosines and sines serve every head of every operand. For every
// spec whose pairs turn alike in all heads and go back where they came from.
#pragma once

#include <ropewalk/rotary.hpp>

#include "cpu/dispatch.hpp"
#include "math/token_turns.hpp"
#include "rotary_call.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

namespace ropewalk {

// A tile is some tokens of one batch row, whose cosines and sines wait on the stack (in L1) while every operand passes.
// Tried (EPYC 9005, AVX-512, 40 heads of 128): forming the next row a vector at a time between the heads of this one,
// 35 ns a token slower in L1 and 25 from L2, for the rotation itself leaves no multiplier idle. Not done: a recurrence
// over positions, which would save 15 of 24 ns a token and cost two thirds of the last digit, and make a row's bits
// depend on where its call began.
inline constexpr std::int64_t kTilePairs = 1024;  // pairs times tokens in a tile: 8 KiB of cosines and sines
inline constexpr std::int64_t kTileTokens = 16;
// Where a token's heads lie apart (bhsd), so many of them are walked side by side: enough to hold the cosines in
// registers, few enough for the processor to follow each. Tried (EPYC 9005, AVX-512, float32, 64 tokens, in cache,
// share of the ceiling): one head at a time over the tile 0.36, 4 heads 0.65, 8 heads 0.62 to 0.72, all 40 heads 0.67.
// From memory 8 and 40 are alike and one is the worst again.
inline constexpr std::int64_t kHeadsSideBySide = 8;

/// Copies the channels that do not turn; `size` bytes to an element.
inline void copy_untouched(const RotarySpec& spec, const char* from, char* to, std::int64_t size, std::int64_t heads,
                           std::int64_t in_stride, std::int64_t out_stride) noexcept {
  const std::int64_t before = spec.rotary_offset, turned_end = before + spec.rotary_dim;
  const std::int64_t after = spec.head_dim - turned_end;
  if (before == 0 && after == 0) return;
  for (std::int64_t head = 0; head < heads; ++head, from += size * in_stride, to += size * out_stride) {
    std::memcpy(to, from, static_cast<std::size_t>(size * before));
    std::memcpy(to + size * turned_end, from + size * turned_end, static_cast<std::size_t>(size * after));
  }
}

/// Turns the heads of a tile with the cosines and sines that it is given.
class HeadTurner {
 public:
  HeadTurner(const RotarySpec& spec, std::span<const RotaryOperand> operands, bool turns_back) noexcept
      : spec_(spec),
        operands_(operands),
        kernels_(*cpu::active_target().kernels),
        first_(spec.channels(0)),
        turns_back_(turns_back) {
    double bytes = 0.0;  // a product of four int64 need not fit one
    for (const RotaryOperand& operand : operands) {
      const HeadsView& x = operand.in;
      bytes += (same_place(x, operand.out) ? 1.0 : 2.0) * static_cast<double>(size_of(x.dtype)) *
               static_cast<double>(x.batch) * static_cast<double>(x.tokens) * static_cast<double>(x.heads) *
               static_cast<double>(x.head_dim);
    }
    is_large_ = bytes > static_cast<double>(cpu::cache_bytes());
  }

  const cpu::KernelTable& kernels() const noexcept { return kernels_; }

  /// Tokens [first_token, first_token + tokens) of a row, pairs [first_pair, first_pair + pairs) of their heads.
  /// cos_of(t), sin_of(t) point at the pairs of the t-th of these tokens.
  template <class CosOf, class SinOf>
  void turn(std::int64_t row, std::int64_t first_token, std::int64_t tokens, std::int64_t first_pair,
            std::int64_t pairs, const CosOf& cos_of, const SinOf& sin_of) const noexcept {
    for (const RotaryOperand& operand : operands_) {
      const HeadsView &in = operand.in, &out = operand.out;
      const auto size = static_cast<std::int64_t>(size_of(in.dtype));
      const auto element = [&](const HeadsView& x, std::int64_t token, std::int64_t head) {
        return static_cast<char*>(x.data) +
               size * (row * x.batch_stride + token * x.token_stride + head * x.head_stride);
      };
      const cpu::KernelTable::Rotate rotate = kernels_.rotate(in.dtype, spec_.layout);
      const bool moves = !same_place(in, out);
      const bool heads_apart = std::abs(out.head_stride) > std::abs(out.token_stride);
      const std::int64_t group = heads_apart && tokens > 1 ? kHeadsSideBySide : in.heads;

      for (std::int64_t head = 0; head < in.heads; head += group) {
        const std::int64_t heads = std::min(group, in.heads - head);
        for (std::int64_t t = 0; t < tokens; ++t) {
          const char* from = element(in, first_token + t, head);
          char* to = element(out, first_token + t, head);
          if (moves && first_pair == 0) copy_untouched(spec_, from, to, size, heads, in.head_stride, out.head_stride);
          for_each_stretch(first_pair, pairs, [&](std::int64_t pair, std::int64_t count, const ChannelPair& channels) {
            const std::int64_t channel = channels.first, second = channels.second - channels.first;
            char* const first = to + size * channel;
            const bool streams = is_large_ && moves && are_aligned(first, size * second, size * out.head_stride);
            rotate({.in = from + size * channel,
                    .out = first,
                    .in_stride = in.head_stride,
                    .out_stride = out.head_stride,
                    .heads = heads,
                    .second = second,
                    .cos = cos_of(t) + (pair - first_pair),
                    .sin = sin_of(t) + (pair - first_pair),
                    .pairs = count,
                    .turns_back = turns_back_,
                    .from_memory = is_large_,
                    .streams = streams});
          });
        }
      }
    }
  }

  /// After the last turn() of a thread.
  void end() const noexcept {
    if (is_large_) kernels_.end_streaming();
  }

 private:
  bool are_aligned(const char* first, std::int64_t second_bytes, std::int64_t stride_bytes) const noexcept {
    const bool apart = spec_.layout != PairLayout::kHalf || second_bytes % cpu::kStreamBytes == 0;
    return apart && stride_bytes % cpu::kStreamBytes == 0 &&
           reinterpret_cast<std::uintptr_t>(first) % cpu::kStreamBytes == 0;
  }

  /// Calls use(pair, count, channels of pair) for the part of each block of channels that lies in
  /// [first, first + pairs).
  template <class Use>
  void for_each_stretch(std::int64_t first, std::int64_t pairs, const Use& use) const noexcept {
    if (spec_.pair_blocks.empty())
      return use(first, pairs, first == 0 ? first_ : spec_.channels(static_cast<int>(first)));
    std::int64_t begin = 0;
    for (const int block : spec_.pair_blocks) {
      const std::int64_t from = std::max(begin, first), end = std::min(begin + block, first + pairs);
      if (from < end) use(from, end - from, spec_.channels(static_cast<int>(from)));
      begin += block;
    }
  }

  const RotarySpec& spec_;
  std::span<const RotaryOperand> operands_;
  const cpu::KernelTable& kernels_;
  ChannelPair first_;  // of pair 0
  bool turns_back_;
  bool is_large_ = false;  // more than the caches hold
};

/// A row of the batch and some of its tokens.
struct Tile {
  std::int64_t row, first_token, tokens;
};

/// Where the tiles of a call lie: row by row, or all rows of a tile one after the other where they share their phases.
class Tiles {
 public:
  Tiles(const HeadsView& x, std::int64_t most_tokens, std::int64_t threads, bool shared_row) noexcept
      : batch_(x.batch), tokens_(x.tokens), shared_row_(shared_row), each_(most_tokens) {
    if (threads > 1) each_ = std::min(each_, std::max<std::int64_t>(1, tokens_ * batch_ / threads));
    tiles_ = each_ >= tokens_ ? 1 : (tokens_ + each_ - 1) / each_;
  }
  std::int64_t count() const noexcept { return tiles_ * batch_; }
  Tile operator[](std::int64_t i) const noexcept {
    if (tiles_ == 1) return {i, 0, tokens_};
    const std::int64_t tile = shared_row_ ? i / batch_ : i % tiles_;
    const std::int64_t first = tile * each_;
    return {shared_row_ ? i % batch_ : i / tiles_, first, std::min(each_, tokens_ - first)};
  }

 private:
  std::int64_t batch_, tokens_;
  bool shared_row_;
  std::int64_t each_;
  std::int64_t tiles_ = 1;
};

/// The cosines and sines of tokens, for specs whose pairs turn alike in all heads.
template <class View>
class TokenRows {
 public:
  TokenRows(const RotarySpec& spec, const Frequencies& frequencies, const View& positions,
            const cpu::Gain& gain) noexcept
      : spec_(spec),
        frequencies_(frequencies),
        turns_(spec, frequencies, positions),
        kernels_(*cpu::active_target().kernels),
        gain_(gain),
        one_position_(spec.numerics == Numerics::kExact && spec.axes() == 1),
        axes_(spec.numerics == Numerics::kExact && !spec.axis_of_pair.empty() ? spec.axes() : 0) {}

  const math::TokenTurns<View>& turns() const noexcept { return turns_; }

  /// cos and sin, [pairs] each, of the pairs from `first` on.
  void fill(std::int64_t row, std::int64_t token, std::int64_t first, std::int64_t pairs, float* cos,
            float* sin) const noexcept {
    if constexpr (math::TokenTurns<View>::kWhole) {
      if (one_position_)
        return kernels_.cos_sin_at(turns_.position(0, row, token), frequencies_.turns_per_token.data() + first, pairs,
                                   gain_, cos, sin);
      if (axes_ > 0) {
        std::array<std::int64_t, 256> positions;
        for (std::int64_t axis = 0; axis < axes_; ++axis)
          positions[static_cast<std::size_t>(axis)] = turns_.position(axis, row, token);
        return kernels_.cos_sin_on_axes(positions.data(), spec_.axis_of_pair.data() + first,
                                        frequencies_.turns_per_token.data() + first, pairs, gain_, cos, sin);
      }
    }
    constexpr std::int64_t kSome = 64;
    std::array<Turns, kSome> turns;
    for (std::int64_t at = 0; at < pairs; at += kSome) {
      const std::int64_t some = std::min(kSome, pairs - at);
      turns_.fill(row, token, 0, first + at, some, turns.data());
      kernels_.cos_sin_of(turns.data(), some, gain_, cos + at, sin + at);
    }
  }

 private:
  const RotarySpec& spec_;
  const Frequencies& frequencies_;
  math::TokenTurns<View> turns_;
  const cpu::KernelTable& kernels_;
  cpu::Gain gain_;
  bool one_position_;  // a token's phases are one integer times a list
  std::int64_t axes_;  // ... or one of so many integers for each pair; 0 if they are neither
};

/// One call whose cosines and sines are formed on the way.
template <class View>
class TilePass {
 public:
  TilePass(const RotarySpec& spec, const Frequencies& frequencies, std::span<const RotaryOperand> operands,
           const View& positions, Direction direction, std::int64_t threads) noexcept
      : pairs_(spec.pairs()),
        pairs_at_once_(std::min<std::int64_t>(pairs_, kTilePairs)),
        rows_(spec, frequencies, positions, gain_of(spec, frequencies, direction)),
        turner_(spec, operands, false),
        tiles_(operands.front().in,
               pairs_at_once_ * kTileTokens <= kTilePairs ? kTileTokens : kTilePairs / pairs_at_once_, threads,
               rows_.turns().shared_row()) {}

  std::int64_t items() const noexcept { return tiles_.count(); }

  /// Items [first, last). Neighbouring items share their phases where all batch rows stand at the same positions.
  void run(std::int64_t first, std::int64_t last) const noexcept {
    alignas(64) std::array<float, kTilePairs> cos;
    alignas(64) std::array<float, kTilePairs> sin;
    for (std::int64_t pair = 0; pair < pairs_; pair += pairs_at_once_) {
      const std::int64_t pairs = std::min(pairs_at_once_, pairs_ - pair);
      Tile filled{-1, -1, 0};
      for (std::int64_t i = first; i < last; ++i) {
        const Tile tile = tiles_[i];
        if (tile.first_token != filled.first_token || (tile.row != filled.row && !rows_.turns().shared_row()))
          for (std::int64_t t = 0; t < tile.tokens; ++t)
            rows_.fill(tile.row, tile.first_token + t, pair, pairs, cos.data() + t * pairs, sin.data() + t * pairs);
        filled = tile;
        turner_.turn(
            tile.row, tile.first_token, tile.tokens, pair, pairs,
            [&](std::int64_t t) { return cos.data() + t * pairs; },
            [&](std::int64_t t) { return sin.data() + t * pairs; });
      }
    }
    turner_.end();
  }

 private:
  std::int64_t pairs_;
  std::int64_t pairs_at_once_;  // a wider spec takes several passes
  TokenRows<View> rows_;
  HeadTurner turner_;
  Tiles tiles_;
};

/// One call whose cosines and sines a table holds.
class TablePass {
 public:
  TablePass(const RotarySpec& spec, std::span<const RotaryOperand> operands, const CosSinTable& table,
            const PositionsView& rows, Direction direction, std::int64_t threads) noexcept
      : pairs_(spec.pairs()),
        table_(table),
        rows_(rows),
        rows_batch_stride_(rows.batch == 1 ? 0 : rows.batch_stride),
        turner_(spec, operands, direction == Direction::kTranspose),
        tiles_(operands.front().in, kTileTokens, threads, rows_batch_stride_ == 0) {}

  std::int64_t items() const noexcept { return tiles_.count(); }

  void run(std::int64_t first, std::int64_t last) const noexcept {
    for (std::int64_t i = first; i < last; ++i) {
      const Tile tile = tiles_[i];
      const auto at = [&](std::int64_t t) {
        const std::int64_t token = tile.first_token + t;
        return rows_.data[tile.row * rows_batch_stride_ + token * rows_.token_stride] * table_.row_stride;
      };
      turner_.turn(
          tile.row, tile.first_token, tile.tokens, 0, pairs_, [&](std::int64_t t) { return table_.cos + at(t); },
          [&](std::int64_t t) { return table_.sin + at(t); });
    }
    turner_.end();
  }

 private:
  std::int64_t pairs_;
  const CosSinTable& table_;
  const PositionsView& rows_;
  std::int64_t rows_batch_stride_;
  HeadTurner turner_;
  Tiles tiles_;
};

}  // namespace ropewalk
