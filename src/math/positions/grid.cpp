#include <ropewalk/grids.hpp>

#include <algorithm>
#include <limits>

#include "math/positions/common.hpp"

namespace ropewalk {
namespace {

using Positions = std::vector<std::int64_t>;
using math::at_least;
using math::invalid;

std::int64_t merge_of(const GridShape& grid, const GridOptions& options) noexcept {
  return grid.merge != 0 ? grid.merge : options.merge;
}

std::optional<Error> grid_error(const GridShape& grid, std::int64_t merge, const std::string& path) {
  if (auto error = at_least(1, grid.frames, path + ".frames")) return error;
  if (auto error = at_least(1, grid.rows, path + ".rows")) return error;
  if (auto error = at_least(1, grid.columns, path + ".columns")) return error;
  if (auto error = at_least(1, merge, grid.merge != 0 ? path + ".merge" : "merge")) return error;
  if (grid.rows % merge != 0)
    return invalid(path + ".rows",
                   "want a multiple of merge = " + std::to_string(merge) + ", got " + std::to_string(grid.rows));
  if (grid.columns % merge != 0)
    return invalid(path + ".columns",
                   "want a multiple of merge = " + std::to_string(merge) + ", got " + std::to_string(grid.columns));
  return std::nullopt;
}

std::optional<Error> options_error(const GridOptions& options) {
  if (auto error = at_least(0, options.window, "window")) return error;
  if (auto error = at_least(0, options.leading_tokens, "leading_tokens")) return error;
  if (auto error = at_least(0, options.trailing_tokens, "trailing_tokens")) return error;
  return at_least(0, options.pad_to, "pad_to");
}

// Writes the streams of an [axes, tokens] array side by side.
class Streams {
 public:
  Streams(Positions& out, GridAxes axes) : axes_(axes), tokens_(out.size() / axes_of(axes)), out_(out.data()) {}

  void put(std::int64_t frame, std::int64_t row, std::int64_t column) noexcept {
    std::int64_t* at = out_ + next_++;
    if (axes_ == GridAxes::kFrameRowColumn) {
      *at = frame;
      at += tokens_;
    }
    const bool row_first = axes_ != GridAxes::kColumnRow;
    at[0] = row_first ? row : column;
    at[tokens_] = row_first ? column : row;
  }

 private:
  GridAxes axes_;
  std::size_t tokens_;
  std::size_t next_ = 0;
  std::int64_t* out_;
};

// One frame: windows of blocks of patches, each level in raster order.
template <class Put>
void visit_frame(const GridShape& grid, std::int64_t merge, std::int64_t window, const Put& put) {
  const std::int64_t block_rows = grid.rows / merge, block_columns = grid.columns / merge;
  const std::int64_t high = window > 0 ? std::min(window, block_rows) : block_rows;
  const std::int64_t wide = window > 0 ? std::min(window, block_columns) : block_columns;
  for (std::int64_t top = 0; top < block_rows; top += high)
    for (std::int64_t left = 0; left < block_columns; left += wide)
      for (std::int64_t r = top; r < std::min(top + high, block_rows); ++r)
        for (std::int64_t c = left; c < std::min(left + wide, block_columns); ++c)
          for (std::int64_t dy = 0; dy < merge; ++dy)
            for (std::int64_t dx = 0; dx < merge; ++dx) put(r * merge + dy, c * merge + dx);
}

}  // namespace

Result<Positions> positions_from_grids(std::span<const GridShape> grids, const GridOptions& options) {
  if (auto error = options_error(options)) return *std::move(error);
  std::int64_t tokens = 0, longest = 1;
  for (std::size_t g = 0; g < grids.size(); ++g) {
    const GridShape& grid = grids[g];
    if (auto error = grid_error(grid, merge_of(grid, options), "grids[" + std::to_string(g) + "]"))
      return *std::move(error);
    tokens = math::sum(tokens, math::product(grid.frames, math::product(grid.rows, grid.columns)));
    tokens = math::sum(tokens, math::sum(options.leading_tokens, options.trailing_tokens));
    longest = std::max({longest, grid.rows, grid.columns});
  }
  if (options.offset > std::numeric_limits<std::int64_t>::max() - (longest - 1))
    return invalid("offset", "want positions below 2^63, got " + std::to_string(options.offset) + " and a side of " +
                                 std::to_string(longest));
  if (options.pad_to > 0) {
    if (tokens > options.pad_to)
      return invalid("pad_to", "want at least the tokens there are (" + std::to_string(tokens) + "), got " +
                                   std::to_string(options.pad_to));
    tokens = options.pad_to;
  }

  auto result = math::filled(math::product(axes_of(options.axes), tokens), options.padding);
  if (!result) return result;
  Streams streams(*result, options.axes);
  const auto stand_still = [&](std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) streams.put(0, 0, 0);
  };
  for (const GridShape& grid : grids) {
    stand_still(options.leading_tokens);
    for (std::int64_t frame = 0; frame < grid.frames; ++frame)
      visit_frame(grid, merge_of(grid, options), options.window, [&](std::int64_t row, std::int64_t column) {
        streams.put(frame, row + options.offset, column + options.offset);
      });
    stand_still(options.trailing_tokens);
  }
  return result;
}

Result<Positions> positions_from_patch_ids(std::span<const std::int64_t> ids, std::int64_t rows, std::int64_t columns,
                                           GridAxes axes) {
  if (auto error = at_least(1, rows, "rows")) return *std::move(error);
  if (auto error = at_least(1, columns, "columns")) return *std::move(error);
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (auto error = at_least(0, ids[i], "ids[" + std::to_string(i) + "]")) return *std::move(error);

  auto result = math::filled(math::product(axes_of(axes), static_cast<std::int64_t>(ids.size())), std::int64_t{0});
  if (!result) return result;
  Streams streams(*result, axes);
  for (const std::int64_t id : ids) streams.put(id / columns / rows, id / columns % rows, id % columns);
  return result;
}

}  // namespace ropewalk
