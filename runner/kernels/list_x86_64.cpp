// The targets of an x86-64 build.
#include <array>

#include "runner/kernels/targets.hpp"

namespace ropewalk::runner {
namespace {

constexpr std::array kTargets = {&avx512_bf16::kernels, &avx512::kernels, &avx2::kernels, &portable::kernels};

}  // namespace

std::span<const Kernels* const> compiled_kernels() noexcept { return kTargets; }

}  // namespace ropewalk::runner
