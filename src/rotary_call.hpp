// What every way through a call asks, on the CPU and on a device: is it well formed, which way does the spec need, with
// what gain.
#pragma once

#include "cpu/gain.hpp"
#include "view_checks.hpp"

#include <ropewalk/rotary.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace ropewalk {

/// Tables of frequencies (or of Fourier weights) that the heads share out among themselves.
inline std::int64_t tables_of(const RotarySpec& spec) noexcept {
  return std::max(spec.given ? spec.given->heads : 1, spec.fourier ? spec.fourier->heads : 1);
}

inline bool needs_whole_heads(const RotarySpec& spec) noexcept {
  const bool moves = spec.output_layout != PairLayout::kUnset && spec.output_layout != spec.layout;
  return moves || !spec.is_rotation() || tables_of(spec) > 1;
}

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

inline std::optional<Error> check_operands(const RotarySpec& spec, std::span<const RotaryOperand> operands) {
  const HeadsView& model = operands.front().in;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const Path path("operands", i);
    const auto& [in, out, role] = operands[i];
    if (auto error = check_view(path + ".in", in, spec.head_dim)) return error;
    if (auto error = check_view(path + ".out", out, spec.head_dim)) return error;
    if (out.dtype != in.dtype)
      return invalid(path + ".out.dtype",
                     "want " + std::string(name_of(in.dtype)) + ", got " + std::string(name_of(out.dtype)));
    if (auto error = want(path + ".in.batch", model.batch, in.batch)) return error;
    if (auto error = want(path + ".in.tokens", model.tokens, in.tokens)) return error;
    if (auto error = want(path + ".out.batch", in.batch, out.batch)) return error;
    if (auto error = want(path + ".out.tokens", in.tokens, out.tokens)) return error;
    if (auto error = want(path + ".out.heads", in.heads, out.heads)) return error;
    if (in.heads % tables_of(spec) != 0)
      return invalid(path + ".in.heads", "want a multiple of the spec's " + std::to_string(tables_of(spec)) +
                                             " tables, got " + std::to_string(in.heads));
    if (spec.xpos && role != Role::kQuery && role != Role::kKey)
      return invalid(path + ".role", "want query or key for xPos, got none");
    if (!has_elements(in)) continue;
    if (auto error = check_written(path + ".out", out)) return error;
    if (in.data == out.data && !same_place(in, out))
      return invalid(path + ".out",
                     "want the view of in itself or memory apart from it, got its data in other strides");
  }
  return std::nullopt;
}

/// Of views with axes, batch and tokens.
template <class View>
std::optional<Error> check_extents(int axes, const HeadsView& model, const View& positions) {
  if (auto error = want_at_least("positions.axes", axes, positions.axes)) return error;
  if (positions.batch != 1)
    if (auto error = want("positions.batch", model.batch, positions.batch)) return error;
  return want("positions.tokens", model.tokens, positions.tokens);
}

inline bool nothing_to_do(std::span<const RotaryOperand> operands) noexcept {
  return std::none_of(operands.begin(), operands.end(), [](const auto& x) { return has_elements(x.in); });
}

}  // namespace ropewalk
