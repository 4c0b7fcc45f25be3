#pragma once

#include <ropewalk/config.hpp>

#include <optional>
#include <string>

namespace ropewalk::config {

/// Adds what the family of `positions` has learned about them and keeps in the safetensors files beside its config.json
/// (Mistral Large 4: factors on the frequencies). Nothing for other families. Errors name the tensor or the file.
std::optional<Error> read_learned(CheckpointPositions& positions, const std::string& config_path);

}  // namespace ropewalk::config
