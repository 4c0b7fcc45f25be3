#pragma once

#include <cstdint>

namespace ropewalk::math {

/// The sign (-1, 0, 1) of ln(a / from) / ln(to / from) * parts - step, exactly, for whole numbers: the scale on which
/// T5 and DeBERTa let their buckets widen. 1 <= from < to, from <= a, all below 2^32; parts and step in [0, 4096].
int compare_log_steps(std::int64_t a, std::int64_t from, std::int64_t to, int parts, int step);

/// The smallest whole number in (below, reached] that reaches(); `below` does not, `reached` does, and so do all behind
/// one that does.
template <class Reaches>
std::int64_t first_that(std::int64_t below, std::int64_t reached, const Reaches& reaches) {
  while (reached - below > 1) {
    const std::int64_t middle = below + (reached - below) / 2;
    (reaches(middle) ? reached : below) = middle;
  }
  return reached;
}

}  // namespace ropewalk::math
