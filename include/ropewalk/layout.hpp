#pragma once

#include <ropewalk/result.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

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

/// The channels of one head: head_dim of them, of which [rotary_offset, rotary_offset + rotary_dim) turn.
struct HeadChannels {
  int head_dim = 0;       ///< channels in one head, in [1, 2^20]
  int rotary_dim = 0;     ///< channels that turn, even, in [2, head_dim - rotary_offset]
  int rotary_offset = 0;  ///< the first of them, >= 0
  bool operator==(const HeadChannels&) const = default;
};

/// The order of a head's channels that takes it from one layout to another, as a gather:
///
///     to_head[c] = from_head[order[c]]        c in [0, head_dim)
///
/// so that the two channels of every pair, and which is its first, stay what they were: for every angle,
/// rope_to(to_head) is rope_from(from_head) in the same order, bit for bit, and a score of two heads that are both
/// reordered is what it was. Channels that do not turn stay where they are. order(from, to) and order(to, from) are
/// inverses; from == to gives the identity. Nothing else of a spec matters: frequencies and axes belong to pairs.
///
/// For rotary_dim = head_dim = D, half to interleaved: order[c] = c / 2 + (c % 2) * D / 2.
///
/// Errors (kInvalid, path the field's name): head_dim, rotary_dim, rotary_offset outside their domain; "from" or "to"
/// if unset.
Result<std::vector<int>> channel_order(PairLayout from, PairLayout to, const HeadChannels& head);

/// Reorders what projects to `heads` heads, one row a channel: a weight matrix [heads * head_dim, columns], a bias or
/// the weight of a norm [heads * head_dim], the scales of quantised rows. Row h * head_dim + c of `to_rows` is row
/// h * head_dim + order[c] of `from_rows`, with `order` as channel_order(from, to, head) gives it, so that
///
///     rope_to(permuted(W) x + permuted(b))  =  rope_from(W x + b), each head in that order
///
/// A row is moved whole and never read as numbers: any dtype, packed ones too as long as no two rows share a byte.
/// Queries and keys are two calls with head counts of their own. Applied with `from` and `to` exchanged it gives the
/// bytes back.
///
/// row_bytes            bytes of one row, >= 1
/// from_rows, to_rows   heads * head_dim * row_bytes bytes each; they must not overlap; to_rows is written whole
///
/// Errors (kInvalid): those of channel_order; "heads" below 0, "row_bytes" below 1, "from_rows" or "to_rows" of another
/// size, or overlapping. Nothing is written then.
std::optional<Error> permute_rows(PairLayout from, PairLayout to, const HeadChannels& head, std::int64_t heads,
                                  std::int64_t row_bytes, std::span<const std::byte> from_rows,
                                  std::span<std::byte> to_rows);

}  // namespace ropewalk
