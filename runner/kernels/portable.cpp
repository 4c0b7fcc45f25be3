#define ROPEWALK_RUNNER_TARGET_NAMESPACE portable
#define ROPEWALK_RUNNER_LANES 4
#include "runner/kernels/vectors-inl.hpp"

#include "runner/kernels/bf16_plain-inl.hpp"
#include "runner/kernels/exp2_plain-inl.hpp"

#include "runner/kernels/blocks-inl.hpp"

namespace ropewalk::runner::portable {
const Kernels kernels = {"portable", []() noexcept { return true; },
                         scale,      scale_bf16,
                         rms_norm,   rms_norm_bf16,
                         swiglu,     swiglu_bf16,
                         geglu,      geglu_bf16,
                         log_sum_exp};
}  // namespace ropewalk::runner::portable
