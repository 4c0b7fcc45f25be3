#pragma once

#include <ropewalk/scaling.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "math/real.hpp"

// Inside the mathematics: every published method, one file each, written once over the arithmetic T.
//
//   T = Real   the real-number formula (Numerics::kExact)
//   T = float  the float32 chain of transformers (Numerics::kFp32): the same steps in the same order, each rounded
//
// Those steps follow transformers 5.23.0, src/transformers/modeling_rope_utils.py, and for the methods that it does not
// have the project named at the top of the file. transformers works out scalars (bases, ramps, factors on cos and sin)
// in Python's float64 and tensors in float32. So each formula has two types: Setting<T> for the scalars, T for what has
// an entry a pair, and `narrowed` where the one is handed to the other.

namespace ropewalk::math {

template <class T>
struct SettingOf;
template <>
struct SettingOf<Real> {
  using Type = Real;
};
template <>
struct SettingOf<float> {
  using Type = double;
};
template <class T>
using Setting = typename SettingOf<T>::Type;

template <class S>
S two_pi() noexcept {
  if constexpr (std::is_same_v<S, Real>)
    return kTwoPi;
  else
    return to_double(kTwoPi);
}

template <class T>
T narrowed(Setting<T> value) noexcept {
  return T(value);
}

/// What the methods start from: pair j stands on rung rungs[j] of theta^(-2 rung / dim).
struct Ladder {
  double theta = 0.0;      ///< > 1
  int dim = 0;             ///< channels of the whole ladder, d of the formulas
  std::vector<int> rungs;  ///< [pairs]

  std::size_t pairs() const noexcept { return rungs.size(); }
};

/// What they give.
template <class T>
struct Scaled {
  std::vector<T> inv_freq;                ///< [pairs] radians per token
  double attention_factor = 1.0;          ///< on cos and sin
  double softmax_scale_multiplier = 1.0;  ///< on the softmax scale
};

/// theta^(2 rung / dim), the reciprocal of the plain frequency.
template <class T>
T period(T theta, int rung, int dim) noexcept {
  return pow(theta, T(2 * rung) / T(dim));
}

/// The plain ladder, 1 / theta^(2 rung / dim) of every pair.
template <class T>
std::vector<T> plain(T theta, const Ladder& ladder) {
  std::vector<T> inv_freq(ladder.pairs());
  for (std::size_t j = 0; j < inv_freq.size(); ++j) inv_freq[j] = T(1) / period(theta, ladder.rungs[j], ladder.dim);
  return inv_freq;
}

template <class T>
std::vector<T> plain(const Ladder& ladder) {
  return plain(T(ladder.theta), ladder);
}

/// The exponent d / (d - 2) of the NTK family: with it the last rung is divided by the factor. dim > 2.
template <class T>
Setting<T> ntk_exponent(int dim) noexcept {
  return Setting<T>(dim) / Setting<T>(dim - 2);
}

// Every options struct has passed `validate` with the ladder's spec. running_length >= 0, 0 for the trained length.
template <class T>
Scaled<T> scaled(const Ladder&, const NoScaling&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const LinearOptions&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const NtkOptions&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const DynamicNtkOptions&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const YarnOptions&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const LongRopeOptions&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const Llama3Options&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const ProportionalOptions&, std::int64_t running_length);
template <class T>
Scaled<T> scaled(const Ladder&, const DivisorOptions&, std::int64_t running_length);

/// How many rungs from the first turn under the proportional encoding: trunc(fraction * dim // 2).
int live_rungs(const ProportionalOptions& options, int dim) noexcept;

}  // namespace ropewalk::math
