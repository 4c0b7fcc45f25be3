// No scaling: the plain ladder.
//
//     g[j] = theta^(-2j/d)
//
// Source:       Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv 2104.09864.
// Checkpoints:  the most: GPT-NeoX, GPT-J, Llama 1 to 3.0, Mistral, Qwen2 and 3 as shipped, SmolLM2.
// Deviations:   ggml's CPU code multiplies its way down the ladder in float32 (theta[j+1] = theta[j] * theta^(-2/d))
// and
//               drifts: 0.011 radians at position 131072. Not offered: it is an error, not a method.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {

template <class T>
Scaled<T> scaled(const Ladder& ladder, const NoScaling&, std::int64_t) {
  return {.inv_freq = plain<T>(ladder)};
}

template Scaled<Real> scaled<Real>(const Ladder&, const NoScaling&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const NoScaling&, std::int64_t);

}  // namespace ropewalk::math
