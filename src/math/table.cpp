#include <ropewalk/table.hpp>

#include <cstddef>
#include <numbers>

#include "math/token_turns.hpp"

namespace ropewalk {
namespace {

struct CosSin {
  double cos;
  double sin;
};

// Both within 2^-52 of the true value: the phase is a number of quarter turns and a rest in [-1/8, 1/8) turn.
CosSin cos_sin(Turns turns) noexcept {
  constexpr Turns kEighth = Turns{1} << 61;
  const Turns quarter = (turns + kEighth) >> 62;
  const auto rest = static_cast<std::int64_t>(turns - (quarter << 62));
  const double x = static_cast<double>(rest) * (2.0 * std::numbers::pi * 0x1p-64);

  // The series to x^19 and x^18, from their far ends: sin = x (1 - sin_sum), cos = 1 - cos_sum. At 1/8 turn what is
  // left out is below 2^-72 and 2^-68.
  const double x2 = x * x;
  double sin_sum = 0.0, cos_sum = 0.0;
  for (int n = 18; n >= 2; n -= 2) {
    sin_sum = (1.0 - sin_sum) * (x2 / (n * (n + 1)));
    cos_sum = (1.0 - cos_sum) * (x2 / ((n - 1) * n));
  }
  const double s = x - x * sin_sum;
  const double c = 1.0 - cos_sum;

  switch (quarter & 3) {
    case 0: return {c, s};
    case 1: return {-s, c};
    case 2: return {-c, -s};
    default: return {s, -c};
  }
}

template <class Out>
void fill(std::span<const Turns> turns, double amplitude, Out* cos_out, Out* sin_out) noexcept {
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const auto [c, s] = cos_sin(turns[i]);
    cos_out[i] = static_cast<Out>(amplitude * c);
    sin_out[i] = static_cast<Out>(amplitude * s);
  }
}

}  // namespace

void fill_turns(const Frequencies& frequencies, const PositionsView& positions,
                std::span<const std::uint8_t> axis_of_pair, Turns* turns_out) noexcept {
  const bool exact = !frequencies.turns_per_token.empty();
  const std::size_t pairs = frequencies.inv_freq.size();
  for (std::int64_t t = 0; t < positions.tokens; ++t) {
    const std::int64_t* const token = positions.data + t * positions.token_stride;
    for (std::size_t j = 0; j < pairs; ++j) {
      const std::int64_t axis = axis_of_pair.empty() ? 0 : axis_of_pair[j];
      const std::int64_t position = token[axis * positions.axis_stride];
      *turns_out++ =
          exact ? phase(position, frequencies.turns_per_token[j]) : phase_fp32(position, frequencies.inv_freq_fp32[j]);
    }
  }
}

namespace {

template <class View>
void fill_rows(const RotarySpec& spec, const Frequencies& frequencies, const View& positions, Turns* out) noexcept {
  const math::TokenTurns<View> turns(spec, frequencies, positions);
  for (std::int64_t token = 0; token < positions.tokens; ++token, out += spec.pairs())
    turns.fill(0, token, 0, 0, spec.pairs(), out);
}

}  // namespace

void fill_turns(const RotarySpec& spec, const Frequencies& frequencies, const PositionsView& positions,
                Turns* turns_out) noexcept {
  fill_rows(spec, frequencies, positions, turns_out);
}

void fill_turns(const RotarySpec& spec, const Frequencies& frequencies, const CoordinatesView& positions,
                Turns* turns_out) noexcept {
  fill_rows(spec, frequencies, positions, turns_out);
}

void fill_cos_sin(std::span<const Turns> turns, double amplitude, float* cos_out, float* sin_out) noexcept {
  fill(turns, amplitude, cos_out, sin_out);
}

void fill_cos_sin(std::span<const Turns> turns, double amplitude, double* cos_out, double* sin_out) noexcept {
  fill(turns, amplitude, cos_out, sin_out);
}

}  // namespace ropewalk
