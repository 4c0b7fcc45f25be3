#pragma once

#include "cli/conform/cause.hpp"

#include <ropewalk/config.hpp>

#include <optional>
#include <string>

namespace ropewalk::cli {

/// What this library answers to a case: the config through read_positions, the heads through Rotary.
struct SelfAnswer {
  Answer y;
  std::optional<double> softmax_scale_multiplier;
  std::string unsupported;  ///< why there is no answer, or empty
};

/// The kind of layer that a case asks about; null if there is none.
const LayerKind* kind_of(const CheckpointPositions& positions, const GoldenCase& asked);

SelfAnswer answer_by_self(const GoldenCase& asked, Numerics numerics);

}  // namespace ropewalk::cli
