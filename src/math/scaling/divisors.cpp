// An explicit list of divisors, one a pair: how a GGUF file says it.
//
//     g[j] = theta^(-2j/d) / (c[j] s)
//
// Source:       ggml, GGML_OP_ROPE's third tensor; the GGUF tensor rope_freqs.weight.
// Checkpoints:  every GGUF of Llama 3.1 and later (worked out from the Llama 3 rule by the converter), Gemma 4 (huge
//               divisors where nothing turns), Step-3.5; rope_factors_short and _long of the LongRoPE family, once one
//               of them is chosen.
// Deviations:   ggml multiplies by 1/s in float32 and keeps c in float32; the numbers here are whatever the list holds.

#include <limits>

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {

template <class T>
Scaled<T> scaled(const Ladder& ladder, const DivisorOptions& options, std::int64_t) {
  using S = Setting<T>;
  const T factor = narrowed<T>(S(options.factor));

  Scaled<T> result{.inv_freq = plain<T>(ladder), .attention_factor = options.attention_factor};
  for (std::size_t j = 0; j < ladder.pairs(); ++j) {
    const double divisor = options.divisors[j];
    const bool turns = divisor < std::numeric_limits<double>::infinity();
    result.inv_freq[j] = turns ? result.inv_freq[j] / (narrowed<T>(S(divisor)) * factor) : T(0);
  }
  return result;
}

template Scaled<Real> scaled<Real>(const Ladder&, const DivisorOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const DivisorOptions&, std::int64_t);

}  // namespace ropewalk::math
