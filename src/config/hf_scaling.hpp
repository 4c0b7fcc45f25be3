#pragma once

#include "config/families.hpp"
#include "config/keys.hpp"

#include <ropewalk/config.hpp>

#include <optional>
#include <string>
#include <vector>

namespace ropewalk::config {

/// What reading a scaling needs to know of the config around it.
struct ScalingContext {
  const Row& row;
  Keys& config;              ///< the object that holds the rope parameters: older files keep some keys there
  std::int64_t max_context;  ///< max_position_embeddings; 0: unknown
  bool nested;               ///< the parameters are those of one layer type
  std::string kind;          ///< its name, for provenance; empty if there is one kind only
  std::vector<Provenance>& provenance;
  std::vector<std::string>& notes;
};

/// A scaling as one set of rope parameters states it, checked; a list of divisors is not yet held against the width.
struct ReadScaling {
  Scaling scaling = NoScaling{};
  std::string type = "default";         ///< rope_type after its aliases are resolved
  double softmax_scale_multiplier = 1;  ///< DeepSeek's factor for methods other than YaRN
  std::optional<QueryTemperature> query_temperature{};
};

/// Reads `rope`, or the family's plain meaning if there is none. Throws a Refusal that names the key.
ReadScaling read_scaling(std::optional<Keys>& rope, ScalingContext& context);

}  // namespace ropewalk::config
