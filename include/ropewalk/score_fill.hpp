#pragma once

#include <ropewalk/attention.hpp>
#include <ropewalk/bias.hpp>
#include <ropewalk/relative.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/tensor.hpp>

#include <cstdint>
#include <optional>

namespace ropewalk {

// Biases and relative encodings as what attention asks for while it forms scores. What a ScoreFill points to is the
// caller's: it and all it names stay where they are while attention runs. Blocks are filled without allocation, by any
// number of threads at once.

/// A bias by position. Positions of every sequence, packed ones too, are counted from its first key.
struct BiasFill {
  const ScoreBias* bias = nullptr;
  std::int64_t first_position = 0;  ///< of a sequence's first key
};

/// What is wrong with a bias for this attention, or nothing: "bias" null, other heads than q ("bias.heads"), what
/// ScoreBias::check says of the positions.
[[nodiscard]] std::optional<Error> check_fill(const BiasFill& fill, const Attention& attention);
ScoreFill score_fill(const BiasFill& fill) noexcept;
ScoreFill score_fill(BiasFill&& fill) = delete;  // would be gone before attention runs

/// An encoding of queries and keys, which are the attention's own (or others of their shape: CoPE's gates may have keys
/// of their own). Attention multiplies q . k by its softmax_scale, which wants to be the encoding's softmax_scale().
///
/// CoPE needs the keys between a block and its queries: for each block those up to the query are multiplied once more,
/// until the last position is reached.
struct RelativeFill {
  const RelativeScore* score = nullptr;
  HeadsView q{};  ///< [batch, tokens, heads, head_dim]
  HeadsView k{};  ///< [batch, keys, kv_heads, head_dim]
};

/// "score" null, packed sequences (kUnsupported, "query_starts": blocks do not say whose they are), other counts than
/// the attention's, what RelativeScore::check says of all queries and keys.
[[nodiscard]] std::optional<Error> check_fill(const RelativeFill& fill, const Attention& attention);
ScoreFill score_fill(const RelativeFill& fill) noexcept;
ScoreFill score_fill(RelativeFill&& fill) = delete;

}  // namespace ropewalk
