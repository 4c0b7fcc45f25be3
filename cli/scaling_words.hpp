#pragma once

#include "cli/json_out.hpp"

#include <ropewalk/position_maps.hpp>
#include <ropewalk/scaling.hpp>

#include <optional>

namespace ropewalk::cli {

/// A scaling as a JSON object: "type", then every option in the words of config.json. Options that are not set are
/// null.
void write_scaling(JsonOut& json, const Scaling& scaling);

/// A position map as the field "map": an object with "type" and its numbers in the words of position_maps.hpp. Nothing
/// if there is none.
void write_position_map(JsonOut& json, const std::optional<PositionMap>& map);

}  // namespace ropewalk::cli
