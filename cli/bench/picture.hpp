#pragma once

#include "cli/bench/results.hpp"

#include <string>

namespace ropewalk::cli::bench {

/// GB/s against tokens as an SVG picture: rotation in place, halves, 32+8 heads, a panel for each dtype, a line for
/// each contestant and the ceiling on top, all with this many threads. Follows the reader's light or dark preference.
/// Empty if nothing of it was measured.
std::string speed_svg(const BenchResults& results, int threads);

}  // namespace ropewalk::cli::bench
