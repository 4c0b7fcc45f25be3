#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

// The rotation as the papers draw it, one head, in double. Shares nothing with the library.

namespace oracle {

inline std::pair<int, int> adjacent(int pair, int /*pairs*/) { return {2 * pair, 2 * pair + 1}; }
inline std::pair<int, int> halves(int pair, int pairs) { return {pair, pair + pairs}; }

/// Turns pair j of `head` by angles[j] radians, times `gain`; channels from 2 * angles.size() on are left alone.
inline std::vector<double> rotated(std::vector<double> head, const std::vector<double>& angles,
                                   std::pair<int, int> (*channels)(int, int), double gain = 1.0) {
  const int pairs = static_cast<int>(angles.size());
  for (int j = 0; j < pairs; ++j) {
    const auto [a, b] = channels(j, pairs);
    const auto first = static_cast<std::size_t>(a), second = static_cast<std::size_t>(b);
    const double angle = angles[static_cast<std::size_t>(j)], x0 = head[first], x1 = head[second];
    head[first] = gain * (x0 * std::cos(angle) - x1 * std::sin(angle));
    head[second] = gain * (x1 * std::cos(angle) + x0 * std::sin(angle));
  }
  return head;
}

/// The angles of the plain ladder at a position.
inline std::vector<double> angles(double position, double theta, int rotary_dim) {
  std::vector<double> result;
  for (int j = 0; j < rotary_dim / 2; ++j) result.push_back(position * std::pow(theta, -2.0 * j / rotary_dim));
  return result;
}

}  // namespace oracle
