#pragma once

#include <ropewalk/frequencies.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/phase.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/spec.hpp>

#include <cstdint>
#include <optional>
#include <span>

namespace ropewalk {

/// Writes the phase of every token and pair, modulo a turn.
///
///     turns_out[t, j] = phase of positions[axis_of_pair[j], t] and pair j     2^64 to a turn
///
/// frequencies   from make_frequencies; turns_per_token or inv_freq_fp32 is used, whichever it holds
/// positions     one row: batch == 1; positions.axes > every axis_of_pair
/// axis_of_pair  empty (all follow stream 0), or one entry a pair
/// turns_out     caller-owned, [tokens, pairs], written whole
void fill_turns(const Frequencies& frequencies, const PositionsView& positions,
                std::span<const std::uint8_t> axis_of_pair, Turns* turns_out) noexcept;

/// The same for every kind of spec, and for coordinates: the first channels' phases of its first table of frequencies.
///
/// spec  the one that frequencies were made from
/// turns_out  caller-owned, [tokens, spec.pairs()], written whole
void fill_turns(const RotarySpec& spec, const Frequencies& frequencies, const PositionsView& positions,
                Turns* turns_out) noexcept;
void fill_turns(const RotarySpec& spec, const Frequencies& frequencies, const CoordinatesView& positions,
                Turns* turns_out) noexcept;

/// Writes the cosine and sine of phases, computed in double and rounded to float once.
///
///     cos_out[i] = float(amplitude * cos(2 pi turns[i] / 2^64)), the sine likewise
///
/// amplitude  attention_factor of YaRN and LongRoPE; 1 otherwise
/// Error: half a unit in the last place of the float plus |amplitude| * 2^-51, against the cosine of the same turns;
/// its bits do not depend on libm, compiler or CPU target. For a user's own cache; rotary.hpp needs no table.
void fill_cos_sin(std::span<const Turns> turns, double amplitude, float* cos_out, float* sin_out) noexcept;

/// A caller's cosines and sines, float32, half width: one for each pair, whatever its layout.
///
///     cos[row * row_stride + j]      row of a token: its position, or wherever the caller put it
struct CosSinTable {
  const float* cos = nullptr;  ///< [rows, pairs]; owned by the caller
  const float* sin = nullptr;  ///< [rows, pairs]; may lie in the rows of cos ([rows, 2, pairs])
  std::int64_t rows = 0;
  std::int64_t row_stride = 0;  ///< floats from a row to the next, in both
};

/// Takes one of each two from a table of the width that transformers passes around, in which every value stands twice.
///
/// full       [rows, 2 * pairs], contiguous: cos or sin
/// duplicate  how the two lie: kHalf for cat(x, x), kInterleaved for repeat_interleave(x, 2)
/// half_out   caller-owned, [rows, pairs], written whole
/// Errors: kInvalid with the first place where the two differ ("full[3, 5]"), for then the table is of another kind;
/// for sizes below 0 and for kUnset. half_out is then written in part.
std::optional<Error> halve_table(std::span<const float> full, std::int64_t rows, PairLayout duplicate,
                                 std::span<float> half_out);

/// The same in double: error at most |amplitude| * 2^-51.
void fill_cos_sin(std::span<const Turns> turns, double amplitude, double* cos_out, double* sin_out) noexcept;

}  // namespace ropewalk
