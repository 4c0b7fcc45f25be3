#pragma once

#include <ropewalk/frequencies.hpp>
#include <ropewalk/phase.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/spec.hpp>

#include <cstdint>
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

/// The same in double: error at most |amplitude| * 2^-51.
void fill_cos_sin(std::span<const Turns> turns, double amplitude, double* cos_out, double* sin_out) noexcept;

}  // namespace ropewalk
