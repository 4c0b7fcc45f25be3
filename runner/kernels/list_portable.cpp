// The targets of a build for a processor that has no file of its own yet.
#include <array>

#include "runner/kernels/targets.hpp"

namespace ropewalk::runner {
namespace {

constexpr std::array kTargets = {&portable::kernels};

}  // namespace

std::span<const Kernels* const> compiled_kernels() noexcept { return kTargets; }

}  // namespace ropewalk::runner
