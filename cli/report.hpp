#pragma once

#include "cli/eval_results.hpp"

#include <string>

namespace ropewalk::cli {

/// The evaluation as one HTML page that needs no network: curves (Chart.js, embedded at build time from the installed
/// package), the numbers as a table, and what was measured. Whatever names and texts the results carry, they stay text.
std::string report_html(const EvalResults& results);

}  // namespace ropewalk::cli
