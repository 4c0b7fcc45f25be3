#include <cstdlib>
#include <string_view>

#include "runner/kernels/targets.hpp"

namespace ropewalk::runner {
namespace {

const Kernels& chosen() noexcept {
  const char* const wanted = std::getenv("ROPEWALK_RUNNER_TARGET");
  if (wanted != nullptr)
    for (const Kernels* each : compiled_kernels())
      if (each->name == std::string_view(wanted) && each->runs_here()) return *each;
  return *kernels_here(0);
}

}  // namespace

const Kernels* kernels_here(int i) noexcept {
  for (const Kernels* each : compiled_kernels())
    if (each->runs_here() && i-- == 0) return each;
  return nullptr;
}

const Kernels& active_kernels() noexcept {
  static const Kernels& kernels = chosen();
  return kernels;
}

}  // namespace ropewalk::runner
