// Llama 3.1's scaling by wavelength: short waves are kept, long ones divided, those between blended.
//
//     w[j] = 2 pi / f[j],     f[j] = theta^(-2j/d)
//     w < L0 / high           g = f
//     w > L0 / low            g = f / s
//     otherwise               t = (L0 / w - low) / (high - low),  g = (1 - t) f / s + t f
//
// Source:       Meta's llama-models, `apply_scaling` in models/llama3/reference_impl/model.py, July 2024.
// Checkpoints:  Llama 3.1 and 3.3 (s 8, low 1, high 4, L0 8192), 3.2 (s 32), Llama 4 Scout (s 16, low = high = 1), CSM.
// Deviations:   the comparisons are strict on both sides, so that equality blends. With low == high the blend divides
//               by zero and belongs to no wavelength but the one that meets L0 / low exactly, where it counts as kept
//               here (transformers would give NaN); code that folds the ramp into a slope and a clamp gives NaN for
//               every pair. llama.cpp's converter takes L0 from a top-level key with the default 8192.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {

template <class T>
Scaled<T> scaled(const Ladder& ladder, const Llama3Options& options, std::int64_t) {
  using S = Setting<T>;
  const S trained = S(options.trained_context), low = S(options.low_freq_factor), high = S(options.high_freq_factor);
  const T longest_kept = narrowed<T>(trained / high), shortest_divided = narrowed<T>(trained / low);
  const T factor = narrowed<T>(S(options.factor));

  Scaled<T> result{.inv_freq = plain<T>(ladder)};
  for (T& g : result.inv_freq) {
    const T wavelength = narrowed<T>(two_pi<S>()) * (T(1) / g);
    if (wavelength > shortest_divided) {
      g = g / factor;
    } else if (!(wavelength < longest_kept) && low < high) {
      const T t = (narrowed<T>(trained) * (T(1) / wavelength) - narrowed<T>(low)) / narrowed<T>(high - low);
      g = (T(1) - t) * g / factor + t * g;
    }
  }
  return result;
}

template Scaled<Real> scaled<Real>(const Ladder&, const Llama3Options&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const Llama3Options&, std::int64_t);

}  // namespace ropewalk::math
