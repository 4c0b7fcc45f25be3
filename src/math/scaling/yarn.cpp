// YaRN: NTK-by-parts, with a factor on cos and sin.
//
//     corr(n) = d ln(L0 / (2 pi n)) / (2 ln theta)          the rung whose pair turns n times over the trained context
//     lo = corr(beta_fast), hi = corr(beta_slow)            truncate: lo = floor lo, hi = ceil hi
//     lo = max(lo, 0), hi = min(hi, d - 1)
//     keep[j] = e (1 - clamp((j - lo) / (hi - lo), 0, 1))
//     g[j] = f[j] / s (1 - keep[j]) + f[j] keep[j],         f[j] = theta^(-2j/d)
//     m = c ln s + 1 (c = 0.1), or as the mscale keys say; softmax scale times gm(s, mscale_all_dim)^2 for DeepSeek
//
// The upper clamp is d - 1, although the last rung is d/2 - 1. That is the paper's own code and every checkpoint relies
// on it: cutting at d/2 - 1 changes the ramp whenever corr(beta_slow) lies beyond (theta 1e4, L0 131072, d 128: 69.1).
//
// Source:       Peng et al. 2023, "YaRN: Efficient Context Window Extension of Large Language Models", arXiv
// 2309.00071,
//               and its repository jquesnelle/yarn (extrapolation_factor e). DeepSeek-V2's modeling code for mscale.
// Checkpoints:  Qwen2.5 and Qwen3 (s = 4), DeepSeek V2, V3, R1 and Kimi K2 (mscale, softmax scale), GPT-OSS (truncate
//               false), OLMo 3 and Mellum (full-attention layers only), TeleChat3 (c = 0.07).
// Deviations:   MscaleRule (transformers wants both keys, DeepSeek and vLLM take them one by one); RampGuard (ggml);
//               truncate = false is not known to ggml, mlx and older vLLM; ggml reads the betas for two architectures
//               only. transformers' DeepSeek-V2 leaves the softmax factor out (scale_softmax = false).
// Float32:      ramp and factors in float64, as Python's `math`; frequencies in float32.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {
namespace {

/// gm(s, a) = c a ln s + 1, and 1 where nothing is stretched.
template <class S>
S magnitude(const YarnOptions& options, double weight) noexcept {
  if (options.factor <= 1.0) return S(1.0);
  return S(options.mscale_coefficient) * S(weight) * log(S(options.factor)) + S(1.0);
}

template <class S>
S attention_factor(const YarnOptions& options) noexcept {
  const double numerator = options.mscale, denominator = options.mscale_all_dim;
  if (options.attention_factor) return S(*options.attention_factor);
  if (options.mscale_rule == MscaleRule::kNumerator)
    return magnitude<S>(options, numerator != 0.0 ? numerator : 1.0) / magnitude<S>(options, denominator);
  if (numerator != 0.0 && denominator != 0.0)
    return magnitude<S>(options, numerator) / magnitude<S>(options, denominator);
  return magnitude<S>(options, 1.0);
}

template <class S>
struct Ramp {
  S low;
  S width;
};

template <class S>
Ramp<S> ramp_of(const Ladder& ladder, const YarnOptions& options) noexcept {
  const auto rung_turning = [&](double turns) {
    const S ratio = S(options.trained_context) / (S(turns) * two_pi<S>());
    return (S(ladder.dim) * log(ratio)) / (S(2.0) * log(S(ladder.theta)));
  };
  S low = rung_turning(options.beta_fast), high = rung_turning(options.beta_slow);
  if (options.truncate) {
    low = floor(low);
    high = ceil(high);
  }
  low = std::max(low, S(0.0));
  high = std::min(high, S(ladder.dim - 1));
  if (options.ramp_guard == RampGuard::kFloor) return {low, std::max(high - low, S(0.001))};
  if (low == high) high = high + S(0.001);
  return {low, high - low};
}

}  // namespace

template <class T>
Scaled<T> scaled(const Ladder& ladder, const YarnOptions& options, std::int64_t) {
  using S = Setting<T>;
  const Ramp<S> ramp = ramp_of<S>(ladder, options);
  const T low = narrowed<T>(ramp.low), width = narrowed<T>(ramp.width);
  const T theta = narrowed<T>(S(ladder.theta)), factor = narrowed<T>(S(options.factor));
  const T extrapolation = narrowed<T>(S(options.extrapolation_factor));

  Scaled<T> result{.inv_freq = std::vector<T>(ladder.pairs()),
                   .attention_factor = to_double(attention_factor<S>(options))};
  for (std::size_t j = 0; j < ladder.pairs(); ++j) {
    const T f_period = period(theta, ladder.rungs[j], ladder.dim);
    const T unscaled = T(1) / f_period, interpolated = T(1) / (factor * f_period);
    const T along = std::min(std::max((T(ladder.rungs[j]) - low) / width, T(0)), T(1));
    const T keep = (T(1) - along) * extrapolation;
    result.inv_freq[j] = interpolated * (T(1) - keep) + unscaled * keep;
  }
  if (options.scale_softmax && options.mscale_all_dim != 0.0) {
    const S once = magnitude<S>(options, options.mscale_all_dim);
    result.softmax_scale_multiplier = to_double(once * once);
  }
  return result;
}

template Scaled<Real> scaled<Real>(const Ladder&, const YarnOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const YarnOptions&, std::int64_t);

}  // namespace ropewalk::math
