#include <ropewalk/table.hpp>

#include <bit>
#include <cstddef>
#include <numbers>
#include <string>
#include <utility>

#include "math/text.hpp"
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

std::optional<Error> halve_table(std::span<const float> full, std::int64_t rows, PairLayout duplicate,
                                 std::span<float> half_out) {
  const auto invalid = [](std::string path, std::string message) {
    return Error{Code::kInvalid, std::move(path), std::move(message)};
  };
  const auto all = static_cast<std::int64_t>(full.size());
  if (duplicate == PairLayout::kUnset) return invalid("duplicate", "want half or interleaved, got unset");
  if (rows < 0) return invalid("rows", "want at least 0, got " + std::to_string(rows));
  if (rows == 0 ? all != 0 : all % rows != 0 || all / rows % 2 != 0)
    return invalid("full",
                   "want " + std::to_string(rows) + " rows of an even width, got " + std::to_string(all) + " elements");
  if (2 * static_cast<std::int64_t>(half_out.size()) != all)
    return invalid("half_out", "want " + std::to_string(all / 2) + " elements, got " + std::to_string(half_out.size()));
  const std::int64_t pairs = rows > 0 ? all / rows / 2 : 0;
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t j = 0; j < pairs; ++j) {
      const auto at = [&](std::int64_t channel) { return full[static_cast<std::size_t>(row * 2 * pairs + channel)]; };
      const ChannelPair two = channels_of(duplicate, static_cast<int>(j), static_cast<int>(pairs));
      const float value = at(two.first), again = at(two.second);
      if (std::bit_cast<std::uint32_t>(value) != std::bit_cast<std::uint32_t>(again))
        return invalid("full[" + std::to_string(row) + ", " + std::to_string(two.second) + ']',
                       "want the value at " + std::to_string(two.first) + " again, " + math::shown(double{value}) +
                           ", got " + math::shown(double{again}));
      half_out[static_cast<std::size_t>(row * pairs + j)] = value;
    }
  return std::nullopt;
}

}  // namespace ropewalk
