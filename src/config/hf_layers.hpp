#pragma once

#include "config/families.hpp"
#include "config/keys.hpp"

#include <string>
#include <vector>

namespace ropewalk::config {

/// The type of every layer: the config's own list, or the family's pattern for a missing one. Empty if the family has
/// none, or if neither a list nor the number of layers (0) is known. Throws a Refusal.
std::vector<std::string> layer_types(Keys& config, const Row& row, int layers);

/// A layer type by its present name: older files say "attention" for "full_attention".
std::string modern_layer_type(std::string name);

/// Throws a Refusal that names the first entry of that list which is no type of layer to transformers.
void check_layer_types(const Keys& config, std::string_view key);

/// True for a name that transformers gives to a type of layer: tells nested rope parameters from flat ones.
bool is_layer_type(std::string_view name) noexcept;

}  // namespace ropewalk::config
