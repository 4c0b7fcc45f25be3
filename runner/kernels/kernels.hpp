#pragma once

#include <cstdint>
#include <string_view>

namespace ropewalk::runner {

/// The inner loops that oneDNN does not have, for one kind of processor. bf16 is the upper half of a float in a uint16.
/// Nothing fails, allocates or starts a thread. Pointers need no alignment beyond their element's.
struct Kernels {
  std::string_view name;         ///< "avx512": the word in ROPEWALK_RUNNER_TARGET, in reports and in test names
  bool (*runs_here)() noexcept;  ///< asks the processor

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
