// The targets of a build for a processor that has no file of its own yet.
#include "cpu/dispatch.hpp"

namespace ropewalk::cpu {

namespace scalar {
extern const KernelTable table;
}

namespace {

bool always() noexcept { return true; }

constexpr Target kTargets[] = {{"scalar", "nothing", always, &scalar::table}};

}  // namespace

std::span<const Target> targets() noexcept { return kTargets; }

}  // namespace ropewalk::cpu
