// Dynamic NTK: the base of NTK-aware scaling follows the length.
//
//     theta' = theta * (s l / L0 - (s - 1))^(d/(d-2)),  g[j] = theta'^(-2j/d),  l = max(running length, L0)
//
// Up to L0 it is the plain ladder exactly, whatever s. DynamicLength (scaling.hpp) is the rule by which l moves from
// call to call.
//
// Source:       emozilla, "Dynamically Scaled RoPE", r/LocalLLaMA, June 2023; transformers, rope_type "dynamic".
// Checkpoints:  InternLM2 (s = 2 or 3), Yi and XVERSE long variants, DeepSeek-LLM conversions. L0 is the checkpoint's
//               max_position_embeddings, not its original_max_position_embeddings.
// Deviations:   vLLM fixes l = s L0 for every prompt (DynamicGrowth::kFullLength), so that even a first token differs.
//               ggml has no dynamic type. transformers 5.0 to early 2026 never went back (DynamicReset::kNever).
// Float32:      transformers' forward pass holds the running length in a tensor, so that beyond L0 the base itself is
//               worked out in float32; vLLM's, in Python's float64.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {
namespace {

// theta' in whichever arithmetic N the implementation forms it. torch raises a lone float32 to a float64 power.
template <class N, class S>
N grown(N theta, N factor, N length, N trained, N less_one, S exponent) noexcept {
  return theta * pow(factor * length / trained - less_one, exponent);
}

}  // namespace

template <class T>
Scaled<T> scaled(const Ladder& ladder, const DynamicNtkOptions& options, std::int64_t running_length) {
  using S = Setting<T>;
  const S factor(options.factor), exponent = ntk_exponent<T>(ladder.dim);
  const S less_one = factor - S(1.0);

  if (options.growth == DynamicGrowth::kFullLength) {
    const auto trained = S(options.trained_context);
    const S theta = grown(S(ladder.theta), factor, trained * factor, trained, less_one, exponent);
    return {.inv_freq = plain(narrowed<T>(theta), ladder)};
  }
  if (running_length <= options.trained_context) return {.inv_freq = plain<T>(ladder)};
  const T theta = grown(narrowed<T>(S(ladder.theta)), narrowed<T>(factor), T(running_length),
                        T(options.trained_context), narrowed<T>(less_one), exponent);
  return {.inv_freq = plain(theta, ladder)};
}

template Scaled<Real> scaled<Real>(const Ladder&, const DynamicNtkOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const DynamicNtkOptions&, std::int64_t);

}  // namespace ropewalk::math
