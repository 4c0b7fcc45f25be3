#include <ropewalk/grids.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "math/positions/common.hpp"
#include "math/text.hpp"

namespace ropewalk {
namespace {

using Coordinates = std::vector<double>;
using math::at_least;
using math::invalid;

// Whole numbers of patches are exact up to 2^53; no product of three such leaves the doubles.
std::optional<Error> finite(double value, std::string path) {
  if (std::abs(value) <= 0x1p53) return std::nullopt;
  return invalid(std::move(path), "want a number in [-2^53, 2^53], got " + math::shown(value));
}

// Of each patch along one axis, in patches or in halves of `side` from its middle.
Result<Coordinates> along(std::int64_t patches, std::int64_t side, const CoordinateOptions& options, double scale) {
  auto out = math::filled(patches, 0.0);
  if (!out) return out;
  for (std::int64_t k = 0; k < patches; ++k) {
    const double place = static_cast<double>(k) + options.offset;
    double value = place;
    if (options.unit != CoordinateUnit::kPatches) {
      // 2 place - side is exact for whole and half offsets, so the division is the one rounding.
      const auto length = static_cast<double>(side);
      value = side > 0 ? (2.0 * place - length) / length : -1.0;
    }
    (*out)[static_cast<std::size_t>(k)] = value * scale;
  }
  return out;
}

std::int64_t side_of(const GridShape& grid, std::int64_t patches, CoordinateUnit unit) noexcept {
  switch (unit) {
    case CoordinateUnit::kLongerSide: return std::max(grid.rows, grid.columns);
    case CoordinateUnit::kShorterSide: return std::min(grid.rows, grid.columns);
    case CoordinateUnit::kEnds: return patches - 1;
    case CoordinateUnit::kPatches:
    case CoordinateUnit::kOwnSide: break;
  }
  return patches;
}

std::optional<Error> input_error(const GridShape& grid, const CoordinateOptions& options) {
  if (auto error = at_least(1, grid.frames, "grid.frames")) return error;
  if (auto error = at_least(1, grid.rows, "grid.rows")) return error;
  if (auto error = at_least(1, grid.columns, "grid.columns")) return error;
  if (auto error = at_least(0, options.leading_tokens, "leading_tokens")) return error;
  if (auto error = at_least(0, options.trailing_tokens, "trailing_tokens")) return error;
  if (auto error = finite(options.offset, "offset")) return error;
  if (auto error = finite(options.row_scale, "row_scale")) return error;
  if (auto error = finite(options.column_scale, "column_scale")) return error;
  if (options.unit == CoordinateUnit::kEnds && options.offset != 0.0)
    return invalid("offset", "want 0 where both ends are met, got " + math::shown(options.offset));
  return std::nullopt;
}

}  // namespace

Result<Coordinates> coordinates_from_grid(const GridShape& grid, const CoordinateOptions& options) {
  if (auto error = input_error(grid, options)) return *std::move(error);
  const std::int64_t patches = math::product(grid.rows, grid.columns);
  const std::int64_t tokens =
      math::sum(math::product(grid.frames, patches), math::sum(options.leading_tokens, options.trailing_tokens));
  auto result = math::filled(math::product(2, tokens), 0.0);
  if (!result) return result;

  const auto rows = along(grid.rows, side_of(grid, grid.rows, options.unit), options, options.row_scale);
  const auto columns = along(grid.columns, side_of(grid, grid.columns, options.unit), options, options.column_scale);
  if (!rows) return rows.error();
  if (!columns) return columns.error();
  double* const first = result->data() + options.leading_tokens;
  double* row_out = first + (options.column_first ? tokens : 0);
  double* column_out = first + (options.column_first ? 0 : tokens);
  for (std::int64_t frame = 0; frame < grid.frames; ++frame)
    for (const double row : *rows)
      for (const double column : *columns) {
        *row_out++ = row;
        *column_out++ = column;
      }
  return result;
}

Result<Coordinates> coordinates_from_audio_windows(const AudioWindows& sound) {
  if (auto error = at_least(0, sound.windows, "windows")) return *std::move(error);
  if (auto error = at_least(1, sound.tokens_per_window, "tokens_per_window")) return *std::move(error);
  if (auto error = at_least(1, sound.max_positions, "max_positions")) return *std::move(error);
  if (!(sound.seconds_per_token > 0.0 && sound.seconds_per_token <= 0x1p20))
    return invalid("seconds_per_token", "want a number in (0, 2^20], got " + math::shown(sound.seconds_per_token));
  const std::int64_t tokens = math::product(sound.windows, sound.tokens_per_window);
  auto result = math::filled(math::product(2, tokens), 0.0);
  if (!result) return result;

  constexpr double kTurn = 2.0 * std::numbers::pi;
  const auto longest = static_cast<double>(sound.max_positions);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::int64_t window = token / sound.tokens_per_window, inside = token % sound.tokens_per_window;
    const double angle = kTurn * (static_cast<double>(token) * sound.seconds_per_token);
    double* const at = result->data() + token;
    at[0] = angle * (static_cast<double>(window) / longest);
    at[tokens] = angle * (kTurn * static_cast<double>(inside) / longest);
  }
  return result;
}

}  // namespace ropewalk
