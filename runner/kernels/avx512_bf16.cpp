#define ROPEWALK_RUNNER_TARGET_NAMESPACE avx512_bf16
#define ROPEWALK_RUNNER_LANES 16
#include "runner/kernels/vectors-inl.hpp"

#include "runner/kernels/exp2_avx512-inl.hpp"

namespace ropewalk::runner::avx512_bf16 {
namespace {

inline Halves to_bf16(Vec v) noexcept { return std::bit_cast<Halves>(_mm512_cvtneps_pbh(v)); }

}  // namespace
}  // namespace ropewalk::runner::avx512_bf16
#include "runner/kernels/blocks-inl.hpp"

namespace ropewalk::runner::avx512_bf16 {
const Kernels kernels = {
    "avx512_bf16", []() noexcept { return avx512::kernels.runs_here() && __builtin_cpu_supports("avx512bf16"); },
    scale,         scale_bf16,
    rms_norm,      rms_norm_bf16,
    swiglu,        swiglu_bf16,
    geglu,         geglu_bf16,
    log_sum_exp};

}  // namespace ropewalk::runner::avx512_bf16
