#define ROPEWALK_RUNNER_TARGET_NAMESPACE avx2
#define ROPEWALK_RUNNER_LANES 8
#include "runner/kernels/vectors-inl.hpp"

#include "runner/kernels/bf16_plain-inl.hpp"
#include "runner/kernels/exp2_plain-inl.hpp"

#include "runner/kernels/blocks-inl.hpp"

namespace ropewalk::runner::avx2 {
const Kernels kernels = {
    "avx2",     []() noexcept { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); },
    scale,      scale_bf16,
    rms_norm,   rms_norm_bf16,
    swiglu,     swiglu_bf16,
    geglu,      geglu_bf16,
    log_sum_exp};
}  // namespace ropewalk::runner::avx2
