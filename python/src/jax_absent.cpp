// In place of jax_ffi.cpp where XLA's headers were not there when the package was built.
#include "rooms.hpp"

namespace ropewalk::python {

void bind_jax(nanobind::module_&) {}

}  // namespace ropewalk::python
