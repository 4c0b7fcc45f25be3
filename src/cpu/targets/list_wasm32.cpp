// The targets of a WebAssembly build. A module with vectors in it is refused as a whole where there are none, so that
// everything else in such a build is compiled for them too.
#include "cpu/dispatch.hpp"

namespace ropewalk::cpu {

namespace wasm128 {
extern const KernelTable table;
}
namespace scalar {
extern const KernelTable table;
}

namespace {

bool always() noexcept { return true; }

constexpr Target kTargets[] = {
    {"wasm128", "WebAssembly SIMD", always, &wasm128::table},
    {"scalar", "nothing", always, &scalar::table},
};

}  // namespace

std::span<const Target> targets() noexcept { return kTargets; }

}  // namespace ropewalk::cpu
