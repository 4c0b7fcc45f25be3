#pragma once

#include <ropewalk/phase.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/spec.hpp>

#include <cstdint>
#include <numbers>
#include <vector>

namespace ropewalk {

/// How fast every pair turns, and what the scaling asks of the logits. The three factors are kept apart so that each is
/// applied once: attention_factor multiplies cos and sin, hence q.k by its square on the channels that turn;
/// softmax_scale_multiplier multiplies 1/sqrt(head_dim).
///
/// The lists have one entry a pair; for a spec with `given` frequencies [heads, axes, pairs], as they are given there.
struct Frequencies {
  std::vector<double> inv_freq;                ///< radians per token (per unit of position), position_scale included
  std::vector<std::uint64_t> turns_per_token;  ///< 2^64 to a turn, modulo a turn; empty under Numerics::kFp32
  std::vector<TurnsPerUnit> turns_per_unit;    ///< the same, not reduced, for coordinates; empty under kFp32
  std::vector<float> inv_freq_fp32;            ///< without position_scale; empty under Numerics::kExact
  // The second channel's, for a spec with `second`; else empty.
  std::vector<double> second_inv_freq;
  std::vector<std::uint64_t> second_turns_per_token;
  std::vector<TurnsPerUnit> second_turns_per_unit;
  std::vector<float> second_inv_freq_fp32;
  double attention_factor = 1.0;          ///< on cos and sin
  double softmax_scale_multiplier = 1.0;  ///< on the softmax scale
  std::int64_t centre = 0;                ///< xPos: the position of magnitude 1
};

/// Computes them from a spec.
///
/// running_length  tokens the sequence reaches (largest position + 1), for scalings that depend on it; 0: the trained
/// one
///
/// Under Numerics::kExact turns_per_token is the real-number formula rounded once to 2^-64 turn (computed in about 104
/// bits, with no libm, hence the same bits on every machine) and inv_freq is its rounding to double.
/// Under kFp32 inv_freq holds the float32 chain of transformers, in its order, each step rounded to the nearest float.
/// Measured against torch: within 1 unit in the last place where torch's float32 pow is correctly rounded (about 99
/// values of 100), within 2 elsewhere, and up to 3 after linear, YaRN or LongRoPE scaling; where Llama 3's blend
/// cancels it may be more. For a dynamic base beyond the trained length it is the forward pass that is followed, which
/// works the base out in float32 too. Errors: those of `validate`; running_length < 0.
Result<Frequencies> make_frequencies(const RotarySpec& spec, std::int64_t running_length = 0);

/// Tokens per full turn; +infinity for a pair that stands still. Never stored: converted where it is printed.
inline double wavelength_tokens(double inv_freq) noexcept { return 2.0 * std::numbers::pi / inv_freq; }

}  // namespace ropewalk
