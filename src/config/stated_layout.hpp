#pragma once

#include <ropewalk/config.hpp>

#include <optional>
#include <string>

namespace ropewalk::config {

/// `ropewalk convert` says in a safetensors file's metadata which pair layout its queries and keys have
/// ("ropewalk.pair_layout"), since config.json has no word for it. Follows that word, if the weights beside the
/// config.json at `config_path` (model.safetensors, else the first .safetensors by name) have one; weights that are not
/// there or cannot be read say nothing.
/// Errors: kFormat for a word that is no layout.
std::optional<Error> follow_stated_layout(CheckpointPositions& positions, const std::string& config_path);

}  // namespace ropewalk::config
