#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "quad.hpp"

// The truth, in the plainest way it can be written: every formula as its paper or the checkpoint's own code reads, in
// 113 bits. Shares nothing with the library, not even the options structs. Slow is fine; clever is not.

namespace oracle {

inline const Quad kPi = acosq(-1);

/// One entry a pair, and the two factors on the logits.
struct Encoding {
  std::vector<Quad> inv_freq;  ///< radians per token
  Quad attention_factor = 1;   ///< on cos and sin
  Quad softmax_multiplier = 1;
};

/// theta^(-2i/d)
inline Quad plain(Quad theta, int i, int d) { return powq(theta, -2 * Quad(i) / d); }

inline Encoding none(Quad theta, int d) {
  Encoding e;
  for (int i = 0; i < (d + 1) / 2; ++i) e.inv_freq.push_back(plain(theta, i, d));
  return e;
}

inline Encoding linear(Quad theta, int d, Quad s) {
  Encoding e = none(theta, d);
  for (Quad& f : e.inv_freq) f /= s;
  return e;
}

inline Quad ntk_base(Quad theta, int d, Quad s) { return theta * powq(s, Quad(d) / (d - 2)); }

inline Encoding ntk(Quad theta, int d, Quad s) { return none(ntk_base(theta, d, s), d); }

inline Encoding ntk_fixed(Quad theta, int d, Quad s) {
  Encoding e = none(theta * s, d);
  for (Quad& f : e.inv_freq) f /= powq(s, Quad(2) / d);
  return e;
}

inline Encoding ntk_mixed(Quad theta, int d, Quad s, Quad b) {
  const Quad a = logq(s) / powq(Quad(d) / 2, b);
  Encoding e = none(theta, d);
  for (std::size_t i = 0; i < e.inv_freq.size(); ++i) e.inv_freq[i] /= expq(a * powq(Quad(i + 1), b));
  return e;
}

inline Quad dynamic_base(Quad theta, int d, Quad s, Quad trained, Quad length) {
  if (length < trained) length = trained;
  return theta * powq(s * length / trained - (s - 1), Quad(d) / (d - 2));
}

inline Encoding dynamic(Quad theta, int d, Quad s, Quad trained, Quad length) {
  return none(dynamic_base(theta, d, s, trained, length), d);
}

/// The rung whose pair makes n turns over the trained context.
inline Quad yarn_corr(Quad theta, int d, Quad trained, Quad n) {
  return d * logq(trained / (2 * kPi * n)) / (2 * logq(theta));
}

struct YarnRamp {
  Quad low;
  Quad high;
};

inline YarnRamp yarn_ramp(Quad theta, int d, Quad trained, Quad beta_fast, Quad beta_slow, bool truncate) {
  YarnRamp ramp{yarn_corr(theta, d, trained, beta_fast), yarn_corr(theta, d, trained, beta_slow)};
  if (truncate) ramp = {floorq(ramp.low), ceilq(ramp.high)};
  if (ramp.low < 0) ramp.low = 0;
  if (ramp.high > d - 1) ramp.high = d - 1;
  return ramp;
}

/// c a ln s + 1
inline Quad yarn_magnitude(Quad s, Quad a, Quad c) {
  if (s <= 1) return 1;
  return c * a * logq(s) + 1;
}

struct Yarn {
  Quad s = 1;
  Quad trained = 0;
  Quad beta_fast = 32;
  Quad beta_slow = 1;
  bool truncate = true;
  std::optional<Quad> attention_factor{};
  Quad mscale = 0;
  Quad mscale_all_dim = 0;
  bool each_mscale_alone = false;
  Quad coefficient = 0.1;  ///< as the double that Python and C++ read
  Quad extrapolation = 1;
  bool least_width = false;  ///< ggml: the ramp is at least 0.001 wide
  bool softmax = false;
};

inline Encoding yarn(Quad theta, int d, const Yarn& y) {
  const YarnRamp ramp = yarn_ramp(theta, d, y.trained, y.beta_fast, y.beta_slow, y.truncate);
  Quad width = ramp.high - ramp.low;
  if (y.least_width && width < Quad(0.001)) width = Quad(0.001);
  if (!y.least_width && width == 0) width = Quad(0.001);

  Encoding e = none(theta, d);
  for (std::size_t i = 0; i < e.inv_freq.size(); ++i) {
    Quad r = (Quad(i) - ramp.low) / width;
    if (r < 0) r = 0;
    if (r > 1) r = 1;
    const Quad kept = (1 - r) * y.extrapolation;
    e.inv_freq[i] = e.inv_freq[i] / y.s * (1 - kept) + e.inv_freq[i] * kept;
  }

  const auto gm = [&](Quad a) { return yarn_magnitude(y.s, a, y.coefficient); };
  if (y.attention_factor)
    e.attention_factor = *y.attention_factor;
  else if (y.each_mscale_alone)
    e.attention_factor = gm(y.mscale != 0 ? y.mscale : 1) / gm(y.mscale_all_dim);
  else if (y.mscale != 0 && y.mscale_all_dim != 0)
    e.attention_factor = gm(y.mscale) / gm(y.mscale_all_dim);
  else
    e.attention_factor = gm(1);
  if (y.softmax && y.mscale_all_dim != 0) e.softmax_multiplier = gm(y.mscale_all_dim) * gm(y.mscale_all_dim);
  return e;
}

inline Encoding longrope(Quad theta, int d, const std::vector<double>& divisors, Quad s, Quad trained) {
  Encoding e = none(theta, d);
  for (std::size_t i = 0; i < e.inv_freq.size(); ++i) e.inv_freq[i] /= Quad(divisors[i]);
  e.attention_factor = s <= 1 ? Quad(1) : sqrtq(1 + logq(s) / logq(trained));
  return e;
}

inline Encoding llama3(Quad theta, int d, Quad s, Quad low, Quad high, Quad trained) {
  Encoding e = none(theta, d);
  for (Quad& f : e.inv_freq) {
    const Quad wavelength = 2 * kPi / f;
    if (wavelength < trained / high) continue;
    if (wavelength > trained / low) {
      f /= s;
      continue;
    }
    const Quad t = (trained / wavelength - low) / (high - low);
    f = (1 - t) * f / s + t * f;
  }
  return e;
}

inline Encoding proportional(Quad theta, int d, int live_pairs, Quad s) {
  Encoding e = none(theta, d);
  for (std::size_t i = 0; i < e.inv_freq.size(); ++i)
    e.inv_freq[i] = i < static_cast<std::size_t>(live_pairs) ? e.inv_freq[i] / s : Quad(0);
  return e;
}

inline Encoding divided(Quad theta, int d, const std::vector<double>& divisors, Quad s) {
  Encoding e = none(theta, d);
  for (std::size_t i = 0; i < e.inv_freq.size(); ++i) e.inv_freq[i] /= Quad(divisors[i]) * s;
  return e;
}

/// An angle in turns, 2^64 to a turn, to the nearest, modulo a turn.
inline std::uint64_t turns(Quad radians) {
  Quad t = radians / (2 * kPi);
  t -= floorq(t);
  const Quad scaled = rintq(t * 0x1p64);
  return scaled >= Quad(0x1p64) ? 0 : static_cast<std::uint64_t>(scaled);
}

/// cos and sin of position * inv_freq. The multiple of a turn is taken off first, since sinq does so less exactly.
inline Quad reduced(std::int64_t position, Quad inv_freq) {
  const Quad t = Quad(position) * (inv_freq / (2 * kPi));
  return (t - rintq(t)) * (2 * kPi);
}
inline Quad cosine(std::int64_t position, Quad inv_freq) { return cosq(reduced(position, inv_freq)); }
inline Quad sine(std::int64_t position, Quad inv_freq) { return sinq(reduced(position, inv_freq)); }

}  // namespace oracle
