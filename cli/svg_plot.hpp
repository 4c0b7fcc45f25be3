#pragma once

#include "cli/eval_results.hpp"

#include <string>

namespace ropewalk::cli {

/// The curves of perplexity against context length as an SVG picture, for pages that run no script. Follows the
/// reader's light or dark preference.
std::string results_svg(const EvalResults& results);

}  // namespace ropewalk::cli
