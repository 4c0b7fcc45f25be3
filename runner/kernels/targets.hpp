#pragma once

#include "runner/kernels/kernels.hpp"

#include <span>

namespace ropewalk::runner {

/// The targets of this build, best first, "portable" last: list_x86_64.cpp or list_portable.cpp.
std::span<const Kernels* const> compiled_kernels() noexcept;

// What the targets export, one table a file.
namespace portable {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
namespace avx512 {
extern const Kernels kernels;
}
namespace avx512_bf16 {
extern const Kernels kernels;
}
}  // namespace ropewalk::runner
