// The fast way through a call: tiles of tokens, whose cosines and sines serve every head of every operand. For every
// spec whose pairs turn alike in all heads and go back where they came from.
#pragma once

#include <ropewalk/rotary.hpp>

#include "cpu/dispatch.hpp"
#include "math/token_turns.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

namespace ropewalk {

// A tile is some tokens of one batch row, whose cosines and sines wait on the stack (in L1) while every operand passes.
inline constexpr std::int64_t kTilePairs = 1024;  // pairs times tokens in a tile: 8 KiB of cosines and sines
inline constexpr std::int64_t kTileTokens = 16;
// Where a token's heads lie apart (bhsd), so many of them are walked side by side: enough to hold the cosines in
// registers, few enough for the processor to follow each. Tried (EPYC 9005, AVX-512, float32, 64 tokens, in cache,
// share of the ceiling): one head at a time over the tile 0.36, 4 heads 0.65, 8 heads 0.62 to 0.72, all 40 heads 0.67.
// From memory 8 and 40 are alike and one is the worst again.
inline constexpr std::int64_t kHeadsSideBySide = 8;

inline bool same_place(const HeadsView& a, const HeadsView& b) noexcept {
  return a.data == b.data && (a.batch < 2 || a.batch_stride == b.batch_stride) &&
         (a.tokens < 2 || a.token_stride == b.token_stride) && (a.heads < 2 || a.head_stride == b.head_stride);
}

/// The gain of a direction, and whether the sine changes its sign.
inline cpu::Gain gain_of(const RotarySpec& spec, const Frequencies& frequencies, Direction direction) noexcept {
  const double factor = frequencies.attention_factor;
  const bool back = direction == Direction::kInverse || direction == Direction::kTranspose;
  const double gain = direction == Direction::kInverse ? 1.0 / factor : direction == Direction::kShift ? 1.0 : factor;
  return cpu::Gain::of(gain, back != spec.clockwise);
}

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

/// One call, cut into items: a tile of tokens in one batch row each.
template <class View>
class TilePass {
 public:
  TilePass(const RotarySpec& spec, const Frequencies& frequencies, std::span<const RotaryOperand> operands,
           const View& positions, Direction direction, std::int64_t threads) noexcept
      : spec_(spec),
        frequencies_(frequencies),
        operands_(operands),
        turns_(spec, frequencies, positions),
        kernels_(*cpu::active_target().kernels),
        gain_(gain_of(spec, frequencies, direction)),
        one_position_(spec.numerics == Numerics::kExact && spec.axes() == 1),
        axes_(spec.numerics == Numerics::kExact && !spec.axis_of_pair.empty() ? spec.axes() : 0) {
    const HeadsView& x = operands.front().in;
    batch_ = x.batch;
    tokens_ = x.tokens;
    pairs_at_once_ = std::min<std::int64_t>(spec.pairs(), kTilePairs);
    tile_tokens_ = std::clamp<std::int64_t>(kTilePairs / pairs_at_once_, 1, kTileTokens);
    tile_tokens_ = std::min(tile_tokens_, std::max<std::int64_t>(1, tokens_ * batch_ / threads));
    tiles_ = (tokens_ + tile_tokens_ - 1) / tile_tokens_;
  }

  std::int64_t items() const noexcept { return tiles_ * batch_; }

  /// Items [first, last). Neighbouring items share their phases where all batch rows stand at the same positions.
  void run(std::int64_t first, std::int64_t last) const noexcept {
    const bool shared_row = turns_.shared_row();
    alignas(64) std::array<float, kTilePairs> cos;
    alignas(64) std::array<float, kTilePairs> sin;
    for (std::int64_t pair = 0; pair < spec_.pairs(); pair += pairs_at_once_) {
      const std::int64_t pairs = std::min(pairs_at_once_, spec_.pairs() - pair);
      std::int64_t filled_tile = -1;
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t tile = shared_row ? i / batch_ : i % tiles_;
        const std::int64_t row = shared_row ? i % batch_ : i / tiles_;
        const std::int64_t token = tile * tile_tokens_;
        const std::int64_t tokens = std::min(tile_tokens_, tokens_ - token);
        if (!shared_row || tile != filled_tile)
          for (std::int64_t t = 0; t < tokens; ++t)
            fill_cos_sin(row, token + t, pair, pairs, cos.data() + t * pairs, sin.data() + t * pairs);
        filled_tile = tile;
        for (const RotaryOperand& operand : operands_)
          rotate_tile(operand, row, token, tokens, pair, pairs, cos.data(), sin.data());
      }
    }
  }

 private:
  /// cos and sin, [pairs] each, of the pairs from `first` on.
  void fill_cos_sin(std::int64_t row, std::int64_t token, std::int64_t first, std::int64_t pairs, float* cos,
                    float* sin) const noexcept {
    if constexpr (math::TokenTurns<View>::kWhole) {
      if (one_position_) {
        kernels_.cos_sin_at(turns_.position(0, row, token), frequencies_.turns_per_token.data() + first, pairs, gain_,
                            cos, sin);
        return;
      }
    }
    if constexpr (math::TokenTurns<View>::kWhole) {
      if (axes_ > 0) {
        std::array<std::int64_t, 256> positions;
        for (std::int64_t axis = 0; axis < axes_; ++axis)
          positions[static_cast<std::size_t>(axis)] = turns_.position(axis, row, token);
        kernels_.cos_sin_on_axes(positions.data(), spec_.axis_of_pair.data() + first,
                                 frequencies_.turns_per_token.data() + first, pairs, gain_, cos, sin);
        return;
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

  void rotate_tile(const RotaryOperand& operand, std::int64_t row, std::int64_t first_token, std::int64_t tokens,
                   std::int64_t first_pair, std::int64_t pairs, const float* cos, const float* sin) const noexcept {
    const HeadsView &in = operand.in, &out = operand.out;
    const auto size = static_cast<std::int64_t>(size_of(in.dtype));
    const auto element = [&](const HeadsView& x, std::int64_t token, std::int64_t head) {
      return static_cast<char*>(x.data) + size * (row * x.batch_stride + token * x.token_stride + head * x.head_stride);
    };
    const cpu::KernelTable::Rotate rotate = kernels_.rotate(in.dtype, spec_.layout);
    const bool moves = first_pair == 0 && !same_place(in, out);
    const bool heads_apart = std::abs(out.head_stride) > std::abs(out.token_stride);
    const std::int64_t group = heads_apart && tokens > 1 ? kHeadsSideBySide : in.heads;

    for (std::int64_t head = 0; head < in.heads; head += group) {
      const std::int64_t heads = std::min(group, in.heads - head);
      for (std::int64_t t = 0; t < tokens; ++t) {
        const char* from = element(in, first_token + t, head);
        char* to = element(out, first_token + t, head);
        if (moves) copy_untouched(spec_, from, to, size, heads, in.head_stride, out.head_stride);
        for_each_stretch(first_pair, pairs, [&](std::int64_t pair, std::int64_t count) {
          const ChannelPair channels = spec_.channels(static_cast<int>(pair));
          rotate({.in = from + size * channels.first,
                  .out = to + size * channels.first,
                  .in_stride = in.head_stride,
                  .out_stride = out.head_stride,
                  .heads = heads,
                  .second = channels.second - channels.first,
                  .cos = cos + t * pairs + (pair - first_pair),
                  .sin = sin + t * pairs + (pair - first_pair),
                  .pairs = count});
        });
      }
    }
  }

  /// Calls use(pair, count) for the part of each block of channels that lies in [first, first + pairs).
  template <class Use>
  void for_each_stretch(std::int64_t first, std::int64_t pairs, const Use& use) const noexcept {
    if (spec_.pair_blocks.empty()) return use(first, pairs);
    std::int64_t begin = 0;
    for (const int block : spec_.pair_blocks) {
      const std::int64_t from = std::max(begin, first), end = std::min(begin + block, first + pairs);
      if (from < end) use(from, end - from);
      begin += block;
    }
  }

  const RotarySpec& spec_;
  const Frequencies& frequencies_;
  std::span<const RotaryOperand> operands_;
  math::TokenTurns<View> turns_;
  const cpu::KernelTable& kernels_;
  cpu::Gain gain_;
  bool one_position_;  // a token's phases are one integer times a list
  std::int64_t axes_;  // ... or one of so many integers for each pair; 0 if they are neither
  std::int64_t batch_ = 0, tokens_ = 0;
  std::int64_t pairs_at_once_ = 1;  // a wider spec takes several passes
  std::int64_t tile_tokens_ = 1, tiles_ = 0;
};

}  // namespace ropewalk
