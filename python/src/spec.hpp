#pragma once

#include "errors.hpp"

#include <ropewalk/spec.hpp>

#include <nanobind/nanobind.h>

namespace ropewalk::python {

/// The dataclasses of ropewalk/spec.py. Errors name the field: "scaling.factor: want a number, got str".
RotarySpec spec_from(nanobind::handle spec);
nanobind::object spec_to_python(const RotarySpec& spec);
Scaling scaling_from(nanobind::handle scaling, const std::string& path = "scaling");
nanobind::object scaling_to_python(const Scaling& scaling);
nanobind::object to_python(const QueryTemperature& temperature);
Numerics numerics_named(const std::string& name);

void bind_spec(nanobind::module_& m);

}  // namespace ropewalk::python
