#pragma once

#include "cli/json_out.hpp"

#include <ropewalk/scaling.hpp>

namespace ropewalk::cli {

/// A scaling as a JSON object: "type", then every option in the words of config.json. Options that are not set are
/// null.
void write_scaling(JsonOut& json, const Scaling& scaling);

}  // namespace ropewalk::cli
