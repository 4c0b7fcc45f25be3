#pragma once

#include "cli/json_out.hpp"

#include <ropewalk/spec.hpp>

namespace ropewalk::cli {

/// A spec as the plain object that the JavaScript face takes (javascript/ropewalk.d.ts: SpecFields). What stands at its
/// default is left out.
void write_spec(JsonOut& json, const RotarySpec& spec);

}  // namespace ropewalk::cli
