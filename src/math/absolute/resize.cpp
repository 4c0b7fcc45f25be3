// Tables of positions moved to another grid, as torch's interpolate moves them, and the transpose of it.
#include <ropewalk/absolute.hpp>

#include "math/text.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

namespace ropewalk {
namespace {

/// What one new place takes from the old ones: first, first + 1, ...
struct Taps {
  std::int64_t first = 0;
  std::vector<double> weights;
};

// Keys 1981: the cubic of the family with slope A at 1. torch takes -0.75, and -0.5 (as Pillow) where it smooths.
double cubic(double x, double slope) noexcept {
  x = std::abs(x);
  if (x < 1.0) return ((slope + 2.0) * x - (slope + 3.0)) * x * x + 1.0;
  if (x < 2.0) return ((slope * x - 5.0 * slope) * x + 8.0 * slope) * x - 4.0 * slope;
  return 0.0;
}

double triangle(double x) noexcept { return std::max(0.0, 1.0 - std::abs(x)); }

// Places outside are those at the border.
Taps interpolated(Resampling resampling, double step, std::int64_t place, std::int64_t old_places) {
  double at = step * (static_cast<double>(place) + 0.5) - 0.5;
  if (resampling == Resampling::kLinear) at = std::max(at, 0.0);
  const double floor = std::floor(at);
  const auto clamped = [&](std::int64_t k) { return std::clamp<std::int64_t>(k, 0, old_places - 1); };
  const auto from = static_cast<std::int64_t>(std::min(floor, 0x1p40)) - (resampling == Resampling::kCubic ? 1 : 0);
  const std::int64_t count = resampling == Resampling::kCubic ? 4 : 2;
  Taps taps{clamped(from), {}};
  taps.weights.assign(static_cast<std::size_t>(clamped(from + count - 1) - taps.first + 1), 0.0);
  for (std::int64_t k = from; k < from + count; ++k) {
    const double away = at - floor - static_cast<double>(k - from - (resampling == Resampling::kCubic ? 1 : 0));
    taps.weights[static_cast<std::size_t>(clamped(k) - taps.first)] +=
        resampling == Resampling::kCubic ? cubic(away, -0.75) : triangle(away);
  }
  return taps;
}

// The filter widened by the step where the table shrinks, cut off at the borders and divided by its sum.
Taps smoothed(Resampling resampling, double step, std::int64_t place, std::int64_t old_places) {
  const double wide = std::max(step, 1.0);
  const double support = (resampling == Resampling::kCubic ? 2.0 : 1.0) * wide;
  const double centre = step * (static_cast<double>(place) + 0.5);
  const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(centre - support + 0.5), 0);
  const auto end = std::min<std::int64_t>(static_cast<std::int64_t>(centre + support + 0.5), old_places);
  Taps taps{first, {}};
  double sum = 0.0;
  for (std::int64_t k = first; k < end; ++k) {
    const double away = (static_cast<double>(k) - centre + 0.5) / wide;
    taps.weights.push_back(resampling == Resampling::kCubic ? cubic(away, -0.5) : triangle(away));
    sum += taps.weights.back();
  }
  for (double& weight : taps.weights) weight /= sum;
  return taps;
}

std::vector<Taps> taps_of(const TableResize& resize, const std::optional<double>& given, std::int64_t old_places,
                          std::int64_t new_places) {
  const double step = given ? *given : static_cast<double>(old_places) / static_cast<double>(new_places);
  std::vector<Taps> taps;
  for (std::int64_t place = 0; place < new_places; ++place)
    taps.push_back(resize.antialias ? smoothed(resize.resampling, step, place, old_places)
                                    : interpolated(resize.resampling, step, place, old_places));
  return taps;
}

std::optional<Error> check(const TableResize& resize, std::int64_t dim, std::size_t in, std::size_t out,
                           const char* in_path, const char* out_path) {
  const auto invalid = [](std::string path, std::string message) {
    return std::optional<Error>(Error{Code::kInvalid, std::move(path), std::move(message)});
  };
  constexpr std::int64_t kMostSide = std::int64_t{1} << 20;
  const std::pair<const char*, std::int64_t> sides[] = {{"rows", resize.rows},
                                                        {"columns", resize.columns},
                                                        {"new_rows", resize.new_rows},
                                                        {"new_columns", resize.new_columns},
                                                        {"dim", dim}};
  for (const auto& [path, side] : sides)
    if (side < 1 || side > kMostSide) return invalid(path, "want a number in [1, 2^20], got " + std::to_string(side));
  const std::pair<const char*, std::int64_t> kept[] = {{"leading_rows", resize.leading_rows},
                                                       {"trailing_rows", resize.trailing_rows}};
  for (const auto& [path, rows] : kept)
    if (rows < 0 || rows > kMostSide) return invalid(path, "want a number in [0, 2^20], got " + std::to_string(rows));
  if (resize.resampling != Resampling::kLinear && resize.resampling != Resampling::kCubic)
    return invalid("resampling",
                   "want linear or cubic, got number " + std::to_string(static_cast<int>(resize.resampling)));
  const std::pair<const char*, const std::optional<double>*> steps[] = {{"row_step", &resize.row_step},
                                                                        {"column_step", &resize.column_step}};
  for (const auto& [path, step] : steps) {
    if (!*step) continue;
    if (!(**step > 0.0) || **step > 0x1p20)
      return invalid(path, "want a number in (0, 2^20], got " + math::shown(**step));
    if (resize.antialias) return invalid(path, "want none with antialias, got " + math::shown(**step));
  }
  // Both are below 2^61: rows * columns <= 2^40, dim <= 2^20.
  if (static_cast<std::uint64_t>(resize.rows_in()) * static_cast<std::uint64_t>(dim) != in)
    return invalid(std::string(in_path) + ".size",
                   "want " + std::to_string(resize.rows_in() * dim) + ", got " + std::to_string(in));
  if (static_cast<std::uint64_t>(resize.rows_out()) * static_cast<std::uint64_t>(dim) != out)
    return invalid(std::string(out_path) + ".size",
                   "want " + std::to_string(resize.rows_out() * dim) + ", got " + std::to_string(out));
  return std::nullopt;
}

/// visit(old row, new row, weight) for every weight of the grid, the leading rows counted in.
template <class Visit>
void for_each_weight(const TableResize& resize, const Visit& visit) {
  const std::vector<Taps> of_rows = taps_of(resize, resize.row_step, resize.rows, resize.new_rows);
  const std::vector<Taps> of_columns = taps_of(resize, resize.column_step, resize.columns, resize.new_columns);
  std::int64_t to = resize.leading_rows;
  for (const Taps& row : of_rows)
    for (const Taps& column : of_columns) {
      for (std::size_t r = 0; r < row.weights.size(); ++r)
        for (std::size_t c = 0; c < column.weights.size(); ++c) {
          const std::int64_t from = resize.leading_rows + (row.first + static_cast<std::int64_t>(r)) * resize.columns +
                                    column.first + static_cast<std::int64_t>(c);
          visit(from, to, row.weights[r] * column.weights[c]);
        }
      ++to;
    }
}

std::size_t at(std::int64_t row, std::int64_t dim) noexcept { return static_cast<std::size_t>(row * dim); }

}  // namespace

std::optional<Error> resize_table(const TableResize& resize, std::int64_t dim, std::span<const float> table_in,
                                  std::span<float> table_out) {
  if (auto error = check(resize, dim, table_in.size(), table_out.size(), "table_in", "table_out")) return error;
  const auto width = static_cast<std::size_t>(dim);
  std::vector<double> sums(width);
  std::int64_t open = -1;
  const auto close = [&] {
    if (open < 0) return;
    for (std::size_t c = 0; c < width; ++c) table_out[at(open, dim) + c] = static_cast<float>(sums[c]);
    std::fill(sums.begin(), sums.end(), 0.0);
  };
  for_each_weight(resize, [&](std::int64_t from, std::int64_t to, double weight) {
    if (to != open) close();
    open = to;
    for (std::size_t c = 0; c < width; ++c) sums[c] += weight * static_cast<double>(table_in[at(from, dim) + c]);
  });
  close();
  std::copy_n(table_in.begin(), at(resize.leading_rows, dim), table_out.begin());
  std::copy_n(table_in.end() - static_cast<std::ptrdiff_t>(at(resize.trailing_rows, dim)),
              at(resize.trailing_rows, dim),
              table_out.end() - static_cast<std::ptrdiff_t>(at(resize.trailing_rows, dim)));
  return std::nullopt;
}

std::optional<Error> add_resize_gradient(const TableResize& resize, std::int64_t dim,
                                         std::span<const float> d_table_out, std::span<float> d_table_in) {
  if (auto error = check(resize, dim, d_table_in.size(), d_table_out.size(), "d_table_in", "d_table_out")) return error;
  const auto width = static_cast<std::size_t>(dim);
  std::vector<double> sums(d_table_in.begin(), d_table_in.end());
  const auto add = [&](std::int64_t from, std::int64_t to, double weight) {
    for (std::size_t c = 0; c < width; ++c)
      sums[at(from, dim) + c] += weight * static_cast<double>(d_table_out[at(to, dim) + c]);
  };
  for_each_weight(resize, add);
  for (std::int64_t row = 0; row < resize.leading_rows; ++row) add(row, row, 1.0);
  for (std::int64_t row = 1; row <= resize.trailing_rows; ++row)
    add(resize.rows_in() - row, resize.rows_out() - row, 1.0);
  std::transform(sums.begin(), sums.end(), d_table_in.begin(), [](double sum) { return static_cast<float>(sum); });
  return std::nullopt;
}

}  // namespace ropewalk
