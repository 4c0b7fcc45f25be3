#include "errors.hpp"
#include "rooms.hpp"
#include "spec.hpp"

#include <ropewalk/target.hpp>
#include <ropewalk/version.hpp>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string_view.h>

NB_MODULE(_core, m) {
  using namespace ropewalk::python;
  nanobind::set_leak_warnings(false);  // registries of torch keep operators until the process ends
  m.doc() = "The library behind the ropewalk package; its public names are those of ropewalk itself.";
  m.attr("__version__") = ROPEWALK_VERSION;
  m.def(
      "active_target_name", [] { return ropewalk::active_target_name(); },
      "The CPU target whose kernels run here: avx512_bf16, avx512, avx2, neon or scalar (ROPEWALK_TARGET forces one).");
  bind_errors(m);
  bind_spec(m);
  bind_config(m);
  bind_positions(m);
  bind_grids(m);
  bind_absolute(m);
  bind_bias(m);
  bind_attention(m);
  bind_layout(m);
  bind_rotary(m);
  bind_kv_cache(m);
  bind_jax(m);
  bind_torch(m);
  bind_cuda(m);
}
