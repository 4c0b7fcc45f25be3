// The targets of an x86-64 build.
#include "cpu/dispatch.hpp"

namespace ropewalk::cpu {

namespace avx512_bf16 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace scalar {
extern const KernelTable table;
}

namespace {

bool has_avx2() noexcept {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool has_avx512() noexcept {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_avx512_bf16() noexcept { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

bool always() noexcept { return true; }

constexpr Target kTargets[] = {
    {"avx512_bf16", "AVX-512 F, BW, DQ, VL, BF16", has_avx512_bf16, &avx512_bf16::table},
    {"avx512", "AVX-512 F, BW, DQ, VL", has_avx512, &avx512::table},
    {"avx2", "AVX2, FMA, F16C", has_avx2, &avx2::table},
    {"scalar", "nothing", always, &scalar::table},
};

}  // namespace

std::span<const Target> targets() noexcept { return kTargets; }

}  // namespace ropewalk::cpu
