// LongRoPE: a searched divisor for every pair, one list for short sequences and one for long ones.
//
//     g[j] = theta^(-2j/d) / e[j],     e = long_factor beyond L0 tokens, else short_factor
//     m = 1 if s <= 1, else sqrt(1 + ln s / ln L0)
//
// Source:       Ding et al. 2024, "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", arXiv 2402.13753.
// Checkpoints:  Phi-3 (128k: s = 32, m = 1.190238), Phi-3.5, Phi-4-mini and -multimodal (three quarters of the head),
//               PhiMoE (short_mscale, long_mscale), MiniCPM 3 and 4. "su" is the older name; in Phi-3's configs "yarn"
//               means this as well.
// Deviations:   transformers chooses by the running length of each call, so that a cache filled before the switch holds
//               keys of the other list; vLLM chooses by the configured length and llama.cpp by the context's size
//               (LongRopePolicy::kShort, kLong). vLLM takes s from the two lengths whatever `factor` says.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {
namespace {

bool is_long(const LongRopeOptions& options, std::int64_t running_length) noexcept {
  switch (options.policy) {
    case LongRopePolicy::kShort: return false;
    case LongRopePolicy::kLong: return true;
    case LongRopePolicy::kByLength: break;
  }
  return running_length > options.trained_context;
}

template <class S>
S attention_factor(const LongRopeOptions& options, bool is_long) noexcept {
  if (const auto& mscale = is_long ? options.long_mscale : options.short_mscale) return S(*mscale);
  if (options.attention_factor) return S(*options.attention_factor);
  if (options.factor <= 1.0) return S(1.0);
  return sqrt(S(1.0) + log(S(options.factor)) / log(S(options.trained_context)));
}

}  // namespace

template <class T>
Scaled<T> scaled(const Ladder& ladder, const LongRopeOptions& options, std::int64_t running_length) {
  using S = Setting<T>;
  const bool use_long = is_long(options, running_length);
  const std::vector<double>& divisors = use_long ? options.long_factor : options.short_factor;
  const T theta = narrowed<T>(S(ladder.theta));

  Scaled<T> result{.inv_freq = std::vector<T>(ladder.pairs()),
                   .attention_factor = to_double(attention_factor<S>(options, use_long))};
  for (std::size_t j = 0; j < ladder.pairs(); ++j)
    result.inv_freq[j] = T(1) / (narrowed<T>(S(divisors[j])) * period(theta, ladder.rungs[j], ladder.dim));
  return result;
}

template Scaled<Real> scaled<Real>(const Ladder&, const LongRopeOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const LongRopeOptions&, std::int64_t);

}  // namespace ropewalk::math
