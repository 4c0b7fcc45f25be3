#pragma once

#include <ropewalk/frequencies.hpp>
#include <ropewalk/phase.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/spec.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace ropewalk::math {

/// The phases of a token's pairs, for whole positions (PositionsView) and for coordinates (CoordinatesView): which axis
/// a pair follows, which table of given frequencies a head has, exact or fp32. Holds references; copies nothing.
template <class View>
class TokenTurns {
 public:
  static constexpr bool kWhole = std::is_same_v<View, PositionsView>;
  using Position = std::remove_const_t<std::remove_pointer_t<decltype(View::data)>>;

  TokenTurns(const RotarySpec& spec, const Frequencies& frequencies, const View& positions) noexcept
      : spec_(spec),
        frequencies_(frequencies),
        positions_(positions),
        exact_(spec.numerics == Numerics::kExact),
        summed_axes_(spec.given ? spec.given->axes : 1),
        pairs_(spec.pairs()),
        batch_stride_(positions.batch == 1 ? 0 : positions.batch_stride) {}

  /// True if all rows of a batch stand at the same positions.
  bool shared_row() const noexcept { return batch_stride_ == 0; }

  Position position(std::int64_t axis, std::int64_t row, std::int64_t token) const noexcept {
    return positions_.data[axis * positions_.axis_stride + row * batch_stride_ + token * positions_.token_stride];
  }

  /// Phases of the pairs [first, first + count) of table `table`.
  void fill(std::int64_t row, std::int64_t token, std::int64_t table, std::int64_t first, std::int64_t count,
            Turns* out) const noexcept {
    if (summed_axes_ > 1) return fill_sums(row, token, table, first, count, out);
    const Source source{frequencies_.turns_per_token, frequencies_.turns_per_unit, frequencies_.inv_freq_fp32};
    fill_from(source, spec_.axis_of_pair, row, token, table * pairs_, first, count, out);
  }

  /// The same of the pairs' second channels, for a spec that has angles of their own for them.
  void fill_second(std::int64_t row, std::int64_t token, std::int64_t first, std::int64_t count,
                   Turns* out) const noexcept {
    const Source source{frequencies_.second_turns_per_token, frequencies_.second_turns_per_unit,
                        frequencies_.second_inv_freq_fp32};
    const std::vector<std::uint8_t>& own = spec_.second->axis_of_pair;
    fill_from(source, own.empty() ? spec_.axis_of_pair : own, row, token, 0, first, count, out);
  }

 private:
  struct Source {
    const std::vector<std::uint64_t>& turns_per_token;
    const std::vector<TurnsPerUnit>& turns_per_unit;
    const std::vector<float>& inv_freq_fp32;
  };

  Turns one(const Source& source, Position p, std::size_t at) const noexcept {
    if constexpr (kWhole) {
      if (exact_) return phase(p, source.turns_per_token[at]);
      if (spec_.position_scale == 1.0) return phase_fp32(p, source.inv_freq_fp32[at]);
    } else if (exact_) {
      return phase(p, source.turns_per_unit[at]);
    }
    return phase_fp32(static_cast<double>(p), static_cast<float>(spec_.position_scale), source.inv_freq_fp32[at]);
  }

  void fill_from(const Source& source, const std::vector<std::uint8_t>& axes, std::int64_t row, std::int64_t token,
                 std::int64_t table_begin, std::int64_t first, std::int64_t count, Turns* out) const noexcept {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t axis = axes.empty() ? 0 : axes[static_cast<std::size_t>(first + i)];
      out[i] = one(source, position(axis, row, token), static_cast<std::size_t>(table_begin + first + i));
    }
  }

  void fill_sums(std::int64_t row, std::int64_t token, std::int64_t table, std::int64_t first, std::int64_t count,
                 Turns* out) const noexcept {
    const Source source{frequencies_.turns_per_token, frequencies_.turns_per_unit, frequencies_.inv_freq_fp32};
    for (std::int64_t i = 0; i < count; ++i) {
      Turns sum = 0;
      float radians = 0.0f;  // fp32 adds angles, as the published code does
      for (std::int64_t axis = 0; axis < summed_axes_; ++axis) {
        const auto at = static_cast<std::size_t>((table * summed_axes_ + axis) * pairs_ + first + i);
        const Position p = position(axis, row, token);
        if (exact_)
          sum += one(source, p, at);
        else
          radians += static_cast<float>(p) * static_cast<float>(spec_.position_scale) * source.inv_freq_fp32[at];
      }
      out[i] = exact_ ? sum : turns_from_radians(radians);
    }
  }

  const RotarySpec& spec_;
  const Frequencies& frequencies_;
  const View& positions_;
  bool exact_;
  std::int64_t summed_axes_;
  std::int64_t pairs_;
  std::int64_t batch_stride_;
};

}  // namespace ropewalk::math
