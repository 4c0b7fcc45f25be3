// A spec out of its fields; the way back is rw_spec's constructor.
#pragma once

#include <ropewalk/ropewalk.h>
#include <ropewalk/spec.hpp>

#include "capi/status.hpp"

namespace ropewalk::capi {

/// What is left unchecked is validate()'s.
Failure take_spec(const rw_spec_fields* given, RotarySpec& to);

/// The scaling of fields that were taken.
Failure take_scaling(const rw_spec_fields& fields, Scaling& to);

}  // namespace ropewalk::capi
