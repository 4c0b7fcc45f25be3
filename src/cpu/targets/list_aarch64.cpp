// The targets of an AArch64 build. Advanced SIMD is part of the architecture's baseline, for which everything else in
// such a build is compiled too.
#include "cpu/dispatch.hpp"

namespace ropewalk::cpu {

namespace neon {
extern const KernelTable table;
}
namespace scalar {
extern const KernelTable table;
}

namespace {

bool always() noexcept { return true; }

constexpr Target kTargets[] = {
    {"neon", "Advanced SIMD", always, &neon::table},
    {"scalar", "nothing", always, &scalar::table},
};

}  // namespace

std::span<const Target> targets() noexcept { return kTargets; }

}  // namespace ropewalk::cpu
