#pragma once

#include "cpu/kernel_table.hpp"

#include <span>
#include <string>
#include <string_view>

namespace ropewalk::cpu {

/// One way to run the kernels.
struct Target {
  std::string_view name;   ///< "avx2": the word in ROPEWALK_TARGET, in reports and in test names
  std::string_view needs;  ///< "AVX2, FMA, F16C": what runs_here() asks the processor for
  bool (*runs_here)() noexcept;
  const KernelTable* kernels;
};

/// Every one compiled in, best first; "scalar" is the last and runs anywhere.
std::span<const Target> targets() noexcept;

/// The one the process works with: the first that runs here, or the one that the environment variable ROPEWALK_TARGET
/// named when this was first called. A name that cannot be followed leaves the first that runs here; target_error says
/// so.
const Target& active_target() noexcept;

/// Why ROPEWALK_TARGET could not be followed ("want one of avx2, scalar, got \"avx3\""); empty if all is well.
std::string target_error();

/// Makes active_target() answer `target`, which must run here; nullptr restores the process's own choice.
/// For tests and benchmarks: it may not be called while kernels run.
void override_target(const Target* target) noexcept;

/// What the last cache holds, in bytes; 32 MiB where the system does not say. A call that reads and writes more than
/// this in different places writes past the caches.
std::int64_t cache_bytes() noexcept;

/// Makes cache_bytes() answer `bytes`; a negative number restores the usual answer. For tests, as override_target.
void override_cache_bytes(std::int64_t bytes) noexcept;

}  // namespace ropewalk::cpu
