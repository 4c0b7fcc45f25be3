// The rows of a cache as their definition reads (include/ropewalk/kv_cache.hpp), one element at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace oracle {

struct QuantisedRow {
  float scale = 0.0f;
  std::vector<int> codes;  // whole numbers, or bytes of E4M3
};

/// Sign, 4 bits of exponent with bias 7, 3 of mantissa; 0x7f is the NaN; no infinity.
inline double e4m3_value(int byte) {
  const int exponent = (byte >> 3) & 15, mantissa = byte & 7;
  const double sign = (byte & 0x80) != 0 ? -1.0 : 1.0;
  if ((byte & 0x7f) == 0x7f) return std::numeric_limits<double>::quiet_NaN();
  return sign * (exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10));
}

inline int e4m3_byte(double x) {
  const int sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return sign | 0x7f;
  const double size = std::fabs(x);
  if (size >= 448.0) return sign | 0x7e;
  const int exponent = size == 0.0 ? -6 : std::max(std::ilogb(size), -6);
  const double steps = std::nearbyint(std::ldexp(size, 3 - exponent));  // of 2^(exponent - 3), ties to even
  // 8 ... 16 steps are 1 ... 2 times 2^exponent, and 16 of them carry into the exponent; fewer are subnormal.
  return sign | (static_cast<int>(steps) + ((exponent + 6) << 3));
}

/// `most` is 127, 7 or 448.
inline QuantisedRow quantised(const std::vector<float>& row, int most) {
  QuantisedRow made{0.0f, std::vector<int>(row.size(), 0)};
  double largest = 0.0;
  for (const float x : row) {
    if (!std::isfinite(x)) return {std::numeric_limits<float>::quiet_NaN(), made.codes};
    largest = std::max(largest, std::fabs(double{x}));
  }
  if (largest < std::ldexp(1.0, -100)) return made;
  made.scale = static_cast<float>(largest / most);
  const double factor = static_cast<float>(most / largest);
  for (std::size_t c = 0; c < row.size(); ++c)
    made.codes[c] = most == 448 ? e4m3_byte(double{static_cast<float>(double{row[c]} * factor)})
                                : static_cast<int>(std::nearbyint(double{row[c]} * factor));
  return made;
}

}  // namespace oracle
