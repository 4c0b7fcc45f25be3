#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ropewalk::config {

/// Levenshtein's distance: insertions, deletions and replacements that make `a` into `b`.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);  // distances of the first i bytes of a to the first j of b
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

/// The `most` names nearest to `name`, nearest first; of equally near ones the earlier in `known`.
inline std::vector<std::string> nearest(std::string_view name, std::span<const std::string_view> known, int most = 3) {
  name = name.substr(0, 64);  // no known name is as long, and the distance takes time in proportion
  std::vector<std::pair<std::size_t, std::string_view>> ranked;
  for (const std::string_view candidate : known) ranked.emplace_back(edit_distance(name, candidate), candidate);
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });

  std::vector<std::string> names;
  for (const auto& [distance, candidate] : ranked) {
    if (static_cast<int>(names.size()) >= most) break;
    names.emplace_back(candidate);
  }
  return names;
}

}  // namespace ropewalk::config
