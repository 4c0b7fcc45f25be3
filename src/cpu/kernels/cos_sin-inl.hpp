// Cosines and sines of the phases of a token. No include guard on purpose: it is read once per target.

#include "cpu/kernels/cos_sin_step-inl.hpp"

/// step(Part, j) for vectors of pairs, the last perhaps partial.
template <class Step>
inline void for_each_vector(std::int64_t pairs, const Step& step) noexcept {
  std::int64_t j = 0;
  for (; j + kLanes <= pairs; j += kLanes) step(Whole{}, j);
  if (const First rest{pairs - j}; rest.n > 0) step(rest, j);
}

/// Whether there is a gain other than 1 is decided once; the bits do not depend on it.
template <class TurnsOf>
inline void cos_sin_from(const TurnsOf& turns_of, std::int64_t pairs, const Gain& gain, float* cos,
                         float* sin) noexcept {
  if (gain.high == 1.0f && gain.low == 0.0f)
    for_each_vector(pairs, [&](auto part, std::int64_t j) {
      cos_sin_step<false>(part, turns_of(part, j), gain, cos + j, sin + j);
    });
  else
    for_each_vector(
        pairs, [&](auto part, std::int64_t j) { cos_sin_step<true>(part, turns_of(part, j), gain, cos + j, sin + j); });
}

inline void cos_sin_at(std::int64_t position, const std::uint64_t* turns_per_token, std::int64_t pairs,
                       const Gain& gain, float* cos, float* sin) noexcept {
  const auto factor = static_cast<std::uint64_t>(position);
  cos_sin_from([&](auto part, std::int64_t j) { return load_turns_times(part, turns_per_token + j, factor); }, pairs,
               gain, cos, sin);
}

inline void cos_sin_on_axes(const std::int64_t* positions, const std::uint8_t* axis_of_pair,
                            const std::uint64_t* turns_per_token, std::int64_t pairs, const Gain& gain, float* cos,
                            float* sin) noexcept {
  const auto turns_of = [&](auto part, std::int64_t j) {
    alignas(64) std::uint64_t factors[kLanes] = {};
    const std::int64_t n = j + kLanes <= pairs ? kLanes : pairs - j;
    for (std::int64_t i = 0; i < n; ++i) factors[i] = static_cast<std::uint64_t>(positions[axis_of_pair[j + i]]);
    return load_turns_times(part, turns_per_token + j, factors);
  };
  cos_sin_from(turns_of, pairs, gain, cos, sin);
}

inline void cos_sin_of(const std::uint64_t* turns, std::int64_t pairs, const Gain& gain, float* cos,
                       float* sin) noexcept {
  cos_sin_from([&](auto part, std::int64_t j) { return load_turns(part, turns + j); }, pairs, gain, cos, sin);
}
