// Position interpolation: every pair is slowed by the same factor.
//
//     g[j] = theta^(-2j/d) / s
//
// Source:       Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation",
//               arXiv 2306.15595; at the same time kaiokendev's "SuperHOT" notes.
// Checkpoints:  LongChat and Vicuna 16k (s = 8 and 4), DeepSeek-Coder (s = 4), the global layers of Gemma 3 from 4B on
//               (s = 8, the local layers plain).
// Deviations:   vLLM divides the positions and ggml multiplies the angle by 1/s. Real numbers do not see a difference;
//               in float32 they differ in the last bit.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {

template <class T>
Scaled<T> scaled(const Ladder& ladder, const LinearOptions& options, std::int64_t) {
  Scaled<T> result{.inv_freq = plain<T>(ladder)};
  for (T& g : result.inv_freq) g = g / narrowed<T>(Setting<T>(options.factor));
  return result;
}

template Scaled<Real> scaled<Real>(const Ladder&, const LinearOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const LinearOptions&, std::int64_t);

}  // namespace ropewalk::math
