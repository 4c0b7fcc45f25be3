#pragma once

#include "cli/conform/cause.hpp"

#include <ropewalk/spec.hpp>

#include <optional>
#include <string>

namespace ropewalk::cli {

/// What this library answers to a case: the config through read_positions, the heads through Rotary.
struct SelfAnswer {
  Answer y;
  std::optional<double> softmax_scale_multiplier;
  std::string unsupported;  ///< why there is no answer, or empty
};

SelfAnswer answer_by_self(const GoldenCase& asked, Numerics numerics);

}  // namespace ropewalk::cli
