#define ROPEWALK_RUNNER_TARGET_NAMESPACE avx512
#define ROPEWALK_RUNNER_LANES 16
#include "runner/kernels/vectors-inl.hpp"

#include "runner/kernels/bf16_plain-inl.hpp"
#include "runner/kernels/exp2_avx512-inl.hpp"

#include "runner/kernels/blocks-inl.hpp"

namespace ropewalk::runner::avx512 {
const Kernels kernels = {"avx512",
                         []() noexcept {
                           return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
                         },
                         scale,
                         scale_bf16,
                         rms_norm,
                         rms_norm_bf16,
                         swiglu,
                         swiglu_bf16,
                         geglu,
                         geglu_bf16,
                         log_sum_exp};
}  // namespace ropewalk::runner::avx512
