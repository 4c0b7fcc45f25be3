#pragma once

#include <nanobind/nanobind.h>

namespace ropewalk::python {

void bind_absolute(nanobind::module_& m);
void bind_attention(nanobind::module_& m);
void bind_bias(nanobind::module_& m);
void bind_config(nanobind::module_& m);
void bind_cuda(nanobind::module_& m);
void bind_grids(nanobind::module_& m);
void bind_jax(nanobind::module_& m);
void bind_kv_cache(nanobind::module_& m);
void bind_layout(nanobind::module_& m);
void bind_positions(nanobind::module_& m);
void bind_rotary(nanobind::module_& m);
void bind_torch(nanobind::module_& m);

}  // namespace ropewalk::python
