#pragma once

#include <cstdint>

namespace ropewalk {

/// How far a pair has turned, modulo a turn: 2^64 is one full turn, so wrapping is the range reduction.
using Turns = std::uint64_t;

/// The phase of a pair at a position. The one place where the product is formed in `exact` numerics.
///
/// Exact modulo a turn for every int64 position, negative ones included, so that
/// phase(m, t) - phase(n, t) == phase(m - n, t) bit for bit: RoPE's own law.
/// Against the real-number formula only the rounding of turns_per_token is left: |position| * 2^-65 turns,
/// 1.2e-8 radians at 2^36, 1.2e-7 at 3.5e11 (about 2^38), growing linearly from there.
constexpr Turns phase(std::int64_t position, Turns turns_per_token) noexcept {
  return static_cast<Turns>(position) * turns_per_token;
}

/// The phase in `fp32` numerics: float(position) * inv_freq rounded to float, as transformers forms it, then reduced
/// modulo a turn without further loss: the exact multiple of 1/(2 pi), rounded to 2^-64 turn, for every finite product.
/// A product that is not finite (inv_freq beyond 2^65) gives 0.
Turns phase_fp32(std::int64_t position, float inv_freq) noexcept;

/// The same for a coordinate that need not be whole, rounded to float first and multiplied by `scale`, rounded again.
Turns phase_fp32(double coordinate, float scale, float inv_freq) noexcept;

/// An angle in radians as a phase: the exact multiple of 1/(2 pi), rounded to 2^-64 turn. Not finite: 0.
Turns turns_from_radians(float radians) noexcept;

/// How far a pair turns in one unit of position, as a fraction of a turn in twice the precision of a double, whole
/// turns included: for positions that are no whole numbers, where whole turns do not drop out.
struct TurnsPerUnit {
  double high = 0.0;
  double low = 0.0;
};

/// The phase of a pair at a coordinate, in `exact` numerics: the product in about 106 bits, its whole turns dropped,
/// the rest rounded to 2^-64 turn. For |coordinate * turns| up to 2^40 the error is below 2^-62 turn. A whole
/// coordinate differs by that much from the phase of the same integer. A coordinate that is not finite counts as 0.
Turns phase(double coordinate, const TurnsPerUnit& turns_per_unit) noexcept;

/// A phase as a signed fraction of a turn, in [-0.5, 0.5), rounded once to double.
constexpr double signed_turns(Turns turns) noexcept {
  return static_cast<double>(static_cast<std::int64_t>(turns)) * 0x1p-64;
}

}  // namespace ropewalk
