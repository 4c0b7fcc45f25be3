// The targets of ropewalk.wasm, in the place of list_wasm32.cpp: the one that every engine which takes the module runs,
// and no environment to name another. Plain C++ would make it a quarter longer.
#include "cpu/dispatch.hpp"

namespace ropewalk::cpu {

namespace wasm128 {
extern const KernelTable table;
}

namespace {

constexpr Target kTargets[] = {{"wasm128", "WebAssembly SIMD", []() noexcept { return true; }, &wasm128::table}};

}  // namespace

std::span<const Target> targets() noexcept { return kTargets; }

}  // namespace ropewalk::cpu
