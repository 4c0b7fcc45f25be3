// NTK-aware scaling with a fixed factor: fast pairs keep their speed, slow ones are stretched.
//
//     kBase    theta' = theta * s^(d/(d-2)),  g[j] = theta'^(-2j/d)                     the last rung is divided by s
//     kFixed   theta' = theta * s,            g[j] = theta'^(-2j/d) / s^(2/d)
//     kMixed   a = ln s / (d/2)^b,            g[j] = theta^(-2j/d) / exp(a (j+1)^b)     the last rung is divided by s
//
// Source:       kBase: bloc97, "NTK-Aware Scaled RoPE", r/LocalLLaMA, June 2023. kFixed and kMixed: Su 2023,
// "Transformer
//               upgrade 11: beta-ary positions", kexue.fm/archives/9706.
// Checkpoints:  HunYuan's `alpha` is s of kBase (alpha = 1000: theta' = 1.1e7); CodeLlama's and others' enlarged theta
//               are kBase worked out beforehand. kFixed and kMixed are what vLLM's rope_type "ntk" does, without and
//               with `mixed_b`.
// Deviations:   transformers' HunYuan classes label it "dynamic"; older versions fell back to the dynamic formula
// beyond
//               max_position_embeddings and lost alpha. That fault is not offered.
// Float32:      vLLM's ntk_scaling_rope.py for kFixed and kMixed, transformers' HunYuan for kBase.

#include "math/scaling/scaling.hpp"

namespace ropewalk::math {
namespace {

template <class T>
std::vector<T> base_form(const Ladder& ladder, const NtkOptions& options) {
  using S = Setting<T>;
  const S theta = S(ladder.theta) * pow(S(options.factor), ntk_exponent<T>(ladder.dim));
  return plain(narrowed<T>(theta), ladder);
}

template <class T>
std::vector<T> fixed_form(const Ladder& ladder, const NtkOptions& options) {
  using S = Setting<T>;
  const S theta = S(ladder.theta) * S(options.factor);
  const T divisor = narrowed<T>(pow(S(options.factor), S(2.0) / S(ladder.dim)));
  std::vector<T> g = plain(narrowed<T>(theta), ladder);
  for (T& one : g) one = one / divisor;
  return g;
}

template <class T>
std::vector<T> mixed_form(const Ladder& ladder, const NtkOptions& options) {
  using S = Setting<T>;
  const T b = narrowed<T>(S(options.mixed_b));
  const S half_to_b = pow(S(ladder.dim) / S(2.0), S(options.mixed_b));
  const T a = log(narrowed<T>(S(options.factor))) / narrowed<T>(half_to_b);
  std::vector<T> g = plain<T>(ladder);
  for (std::size_t j = 0; j < g.size(); ++j) g[j] = g[j] / exp(a * pow(T(ladder.rungs[j] + 1), b));
  return g;
}

}  // namespace

template <class T>
Scaled<T> scaled(const Ladder& ladder, const NtkOptions& options, std::int64_t) {
  switch (options.form) {
    case NtkForm::kFixed: return {.inv_freq = fixed_form<T>(ladder, options)};
    case NtkForm::kMixed: return {.inv_freq = mixed_form<T>(ladder, options)};
    case NtkForm::kBase: break;
  }
  return {.inv_freq = base_form<T>(ladder, options)};
}

template Scaled<Real> scaled<Real>(const Ladder&, const NtkOptions&, std::int64_t);
template Scaled<float> scaled<float>(const Ladder&, const NtkOptions&, std::int64_t);

}  // namespace ropewalk::math
