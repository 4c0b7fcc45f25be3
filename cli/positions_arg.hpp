#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

/// Positions as they are written on a command line: numbers and ranges with commas between, "0,5,-3,0:4096:64". A range
/// is start:stop[:step] with Python's meaning: stop is left out, a negative step counts down, an absent start is 0.
/// Ranges are kept as ranges, so that a long one costs nothing until it is read.
class PositionList {
 public:
  /// Refuses with `option` as the path: what is no int64, a step of 0, no position at all.
  static PositionList parse(std::string_view text, const std::string& option);

  std::uint64_t count() const noexcept { return count_; }  ///< positions; UINT64_MAX if more than that
  std::int64_t largest() const noexcept { return largest_; }

  /// Positions [first, first + count) of the list, first to last. They must exist.
  std::vector<std::int64_t> slice(std::uint64_t first, std::uint64_t count) const;

 private:
  struct Range {
    std::int64_t start;
    std::int64_t step;
    std::uint64_t count;
  };
  std::vector<Range> ranges_;
  std::uint64_t count_ = 0;
  std::int64_t largest_ = INT64_MIN;
};

/// The running length for scalings that depend on it, unless the user gave one: largest position + 1, as transformers
/// takes it; at least 0, at most the largest int64.
std::int64_t running_length_of(std::int64_t largest_position) noexcept;

}  // namespace ropewalk::cli
