#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <string>

namespace ropewalk::math {

/// The shortest decimal that reads back as the same number, the same on every machine and in every locale. Whole
/// numbers of up to nine digits have no exponent: a theta of 500000 reads so.
inline std::string shown(double value) {
  if (std::isnan(value)) return "nan";
  std::array<char, 32> text{};
  char* const first = text.data();
  char* const last = first + text.size();
  const bool whole = std::abs(value) < 1e9 && std::floor(value) == value;
  const auto written =
      whole ? std::to_chars(first, last, value, std::chars_format::fixed) : std::to_chars(first, last, value);
  return {first, written.ptr};
}

}  // namespace ropewalk::math
