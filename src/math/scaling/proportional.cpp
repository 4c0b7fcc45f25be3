// The proportional encoding: a ladder of which only the first rungs turn.
//
//     n = trunc(fraction * D // 2)      the product in float64, floor division before the truncation
//     g[j] = theta^(-2j/D) / s  for j < n,  0 for the rest
//
// D is the ladder's whole width, rotary_dim unless frequency_dim says otherwise: all of Gemma 4's head, the turning
// part of a latent one. So a fraction does not steepen the ladder, and half pairs lie D/2 apart: with n = 64 of D = 512
// channels [64, 256) and [320, 512) stand still. "Rotate the first d channels" is another encoding: its pair 32 would
// turn 178 times slower.
//
// Source:       transformers, rope_type "proportional", whose D is what a config class calls head_dim; Gemma 4's
//               configuration.
// Checkpoints:  the full-attention layers of Gemma 4 and its relatives (D 512, fraction 0.25, theta 1e6).
// Deviations:   vLLM's class does not take `factor`; mlx counts 2 int(fraction * D // 2) channels. GGUF files carry the
//               same thing as rope_freqs with huge divisors for the pairs that stand still (divisors.cpp).

#include <ropewalk/scaling.hpp>

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {

int live_rungs(const ProportionalOptions& options, int dim) noexcept {
  return static_cast<int>(std::floor(options.fraction * static_cast<double>(dim) / 2.0));
}

template <class T>
Scaled<T> scaled(const Ladder& ladder, const ProportionalOptions& options, std::int64_t) {
  using S = Setting<T>;
  const int live = live_rungs(options, ladder.dim);
  const T factor = narrowed<T>(S(options.factor));

  Scaled<T> result{.inv_freq = plain<T>(ladder)};
  for (std::size_t j = 0; j < ladder.pairs(); ++j)
    result.inv_freq[j] = ladder.rungs[j] < live ? result.inv_freq[j] / factor : T(0);
  return result;
}

template Scaled<Real> scaled<Real>(const Ladder&, const ProportionalOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const ProportionalOptions&, std::int64_t);

}  // namespace ropewalk::math
