#pragma once

#include <cstdint>
#include <string_view>

namespace ropewalk::runner {

/// The inner loops that oneDNN does not have, for one kind of processor. Matrices are row-major; a `stride` counts
/// elements from a row to the next; bf16 is the upper half of a float in a uint16. Nothing fails, allocates or starts a
/// thread. Pointers need no alignment beyond their element's.
struct Kernels {
  std::string_view name;         ///< "avx512": the word in ROPEWALK_RUNNER_TARGET, in reports and in test names
  bool (*runs_here)() noexcept;  ///< asks the processor

  /// c[i, j] = sum over k of a[i, k] * b[k, j], added to what is there if `accumulate`. In float32, fused.
  /// a [rows, depth], b [depth, columns], c [rows, columns]; columns is a multiple of 16.
  void (*multiply)(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float* c,
                   std::int64_t c_stride, std::int64_t rows, std::int64_t depth, std::int64_t columns,
                   bool accumulate) noexcept;

  /// The same of bf16 with float32 sums, depth even. b holds two rows interleaved: element [k, j] lies at
  /// b[(k / 2) * 2 * b_stride + 2 * j + k % 2]. nullptr where the processor has no such product.
  void (*multiply_bf16)(const std::uint16_t* a, std::int64_t a_stride, const std::uint16_t* b, std::int64_t b_stride,
                        float* c, std::int64_t c_stride, std::int64_t rows, std::int64_t depth, std::int64_t columns,
                        bool accumulate) noexcept;

  /// One step of a running softmax over a row of scores in units of log 2: with m' = max(m, max of scores[0, n)),
  /// writes p[i] = 2^(scores[i] - m'), sets m = m' and sum = sum * 2^(m - m') + the sum of p, and returns 2^(m - m'),
  /// by which what was summed before has to be multiplied. A score of -infinity gives 0. At least one score, or m, is
  /// finite. p may be scores. Each power is within 2e-7 + |scores[i] - m'| 2^-24 of itself down to 2^-126 (the exponent
  /// is rounded to float); what is below may be 0, in either form.
  float (*softmax_step)(const float* scores, std::int64_t n, float* p, float* m, float* sum) noexcept;
  /// The same, p rounded to bf16 (the sum is not).
  float (*softmax_step_bf16)(const float* scores, std::int64_t n, std::uint16_t* p, float* m, float* sum) noexcept;

  /// out = x * factor, in float32 or rounded to nearest even. out may be x.
  void (*scale)(const float* x, std::int64_t n, float factor, float* out) noexcept;
  void (*scale_bf16)(const float* x, std::int64_t n, float factor, std::uint16_t* out) noexcept;

  /// out = x / sqrt(mean(x^2) + epsilon) * weight. out may be x.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, std::int64_t n, float* out) noexcept;
  void (*rms_norm_bf16)(const float* x, const float* weight, float epsilon, std::int64_t n,
                        std::uint16_t* out) noexcept;

  /// out = gate / (1 + exp(-gate)) * up, within 1e-6 + |gate| 2^-23 of itself, and 1e-34.
  void (*swiglu)(const float* gate, const float* up, std::int64_t n, float* out) noexcept;
  void (*swiglu_bf16)(const float* gate, const float* up, std::int64_t n, std::uint16_t* out) noexcept;

  /// out = gate / 2 (1 + tanh(sqrt(2 / pi) (gate + 0.044715 gate^3))) * up, for |gate| <= 1e12, within 2e-6 + (|gate| +
  /// |gate|^3 / 16) 2^-21 of itself, and 1e-24.
  void (*geglu)(const float* gate, const float* up, std::int64_t n, float* out) noexcept;
  void (*geglu_bf16)(const float* gate, const float* up, std::int64_t n, std::uint16_t* out) noexcept;

  /// ln of the sum of exp(x[i]), the sum of stretches of 1024 in double; n > 0.
  double (*log_sum_exp)(const float* x, std::int64_t n) noexcept;
};

/// All that were compiled in and run on this processor, best first; "portable" is the last.
/// One of them is chosen once a process: the first, or the one that ROPEWALK_RUNNER_TARGET names.
const Kernels& active_kernels() noexcept;
/// The i-th that runs here, or nullptr: for tests, which ask every one.
const Kernels* kernels_here(int i) noexcept;

}  // namespace ropewalk::runner
