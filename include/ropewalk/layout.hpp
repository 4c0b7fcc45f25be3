#pragma once

#include <cstdint>
#include <string_view>

namespace ropewalk {

/// Which two channels of a head turn together. Drawn for rotary_dim = 8 of head_dim = 10:
///
///     channel         0 1 2 3 4 5 6 7 8 9
///     kInterleaved    a a b b c c d d . .    also called: adjacent, GPT-J, "norm" (GGUF), traditional (MLX)
///     kHalf           a b c d a b c d . .    also called: rotate_half, GPT-NeoX, "neox" (GGUF), non-interleaved
///
/// A letter is a pair, its first channel x0 and its second x1; a dot is left as it was. The layout is a property of the
/// weights, not a preference: there is no default, and a spec without one is refused.
enum class PairLayout : std::uint8_t { kInterleaved = 0, kHalf = 1, kUnset = 255 };

constexpr std::string_view name_of(PairLayout layout) noexcept {
  switch (layout) {
    case PairLayout::kInterleaved: return "interleaved";
    case PairLayout::kHalf: return "half";
    case PairLayout::kUnset: return "unset";
  }
  return "?";
}

/// The two channels of a pair, counted from the first channel that turns.
struct ChannelPair {
  int first = 0;   ///< the channel of x0
  int second = 0;  ///< the channel of x1
};

/// Where pair `pair` of `pairs` stands; `layout` must not be kUnset.
constexpr ChannelPair channels_of(PairLayout layout, int pair, int pairs) noexcept {
  return layout == PairLayout::kInterleaved ? ChannelPair{2 * pair, 2 * pair + 1} : ChannelPair{pair, pair + pairs};
}

}  // namespace ropewalk
