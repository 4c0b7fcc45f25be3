// Cosine and sine of one vector of phases given in turns. No include guard on purpose: it is read once per target, and
// once by src/cuda, whose vectors have one lane. ROPEWALK_INLINE is `inline`, and what a compiler wants to hear beside
// it.
//
// A phase t is a 64-bit integer, 2^64 to a turn. Its top two bits, rounded, are the nearest quarter turn q; the rest is
// a signed fraction of a quarter, |r| <= 1/2, so an angle of at most pi/4 either way:
//
//     t = (q + r) 2^62 modulo 2^64        angle = r pi/2        cos, sin of t = (c, s), (-s, c), (-c, -s), (s, -c)
//
// The angle is carried as x + dx, two floats, and only the last operation of each result rounds in its place. Error,
// measured over every target at positions to +-2^36 (tests/kernels/cos_sin_test.cpp): below 4.5e-8 for a gain of 1.
// The parts are 2.98e-8 for half a unit in the last place below 1, 1.9e-9 (sine) and 1.2e-10 (cosine) for the
// polynomials, and the rounding of x^3 S(x^2). A gain multiplies all of it but the first, which is half a unit of the
// result.

// Minimax on [0, pi/4] for floats as coefficients, found by Remez exchange with the lower ones rounded first:
//     sin x = x + x^3 S(x^2)                 error 1.81e-9
//     cos x = 1 - x^2 / 2 + x^4 C(x^2)       error 1.10e-10
constexpr float kS0 = -0x1.5555400000000p-3f, kS1 = 0x1.1105be0000000p-7f, kS2 = -0x1.98dd160000000p-13f;
constexpr float kC0 = 0x1.55554a0000000p-5f, kC1 = -0x1.6c0c320000000p-10f, kC2 = 0x1.99ec880000000p-16f;
// pi / 2 * 2^-32, as the sum of two floats.
constexpr float kUnitHigh = 0x1.921fb60000000p-32f, kUnitLow = -0x1.777a5c0000000p-57f;

struct CosSin {
  Vec cos, sin;
};

/// Of r + dr quarter turns, r and dr in units of 2^-32: r is the float nearest to a 32-bit integer, and |dr| <= 64 has
/// what is left of it and 24 bits of fraction.
///
/// Sums by double: the errors of products are floats, r kUnitLow ends 48 bits below where the rest of x begins, and
/// 1 - near is a multiple of 2^-24 beside the 48 bits of x^2 / 2. Those of x alone are never in doubt, for any of the
/// 75 million r (tests/kernels/fused_test.cpp). And without a gain none is rounded below 2^-126: x is 0 or at least
/// 2^-32, dx a multiple of 2^-102, and what cancels further leaves no more bits than a float has.
template <bool kHasGain, class Sums>
ROPEWALK_INLINE CosSin cos_sin_of_quarter(Sums& sums, Vec r, Vec dr, const Gain& gain) noexcept {
  constexpr ByDouble by_double;
  const Vec x = mul(r, splat(kUnitHigh));
  Vec dx = mul_sub(by_double, r, splat(kUnitHigh), x);
  dx = mul_add(by_double, r, splat(kUnitLow), dx);
  dx = mul_add(sums, dr, splat(kUnitHigh), dx);

  // sin(x + dx) = x + (x^3 S + dx (1 - x^2 / 2)),  cos(x + dx) = near + (its rounding + x^4 C - x dx)
  const Vec half_x = mul(x, splat(0.5f)), xx = mul(x, x);
  const Vec near = sub_mul(by_double, splat(1.0f), half_x, x);
  const Vec near_rest = sub_mul(by_double, sub(splat(1.0f), near), half_x, x);
  const Vec s = mul_add(by_double, mul_add(by_double, splat(kS2), xx, splat(kS1)), xx, splat(kS0));
  const Vec c = mul_add(by_double, mul_add(by_double, splat(kC2), xx, splat(kC1)), xx, splat(kC0));
  const Vec sine_rest = mul_add(sums, mul(xx, x), s, mul(dx, near));
  const Vec cosine_rest = mul_add(sums, mul(xx, xx), c, sub_mul(sums, near_rest, x, dx));

  if constexpr (kHasGain) {
    const Vec high = splat(gain.high), low = splat(gain.low);
    return {mul_add(sums, near, high, mul_add(sums, near, low, mul(cosine_rest, high))),
            mul_add(sums, x, high, mul_add(sums, x, low, mul(sine_rest, high)))};
  } else {
    return {add(near, cosine_rest), add(x, sine_rest)};
  }
}

template <bool kHasGain, class Part>
ROPEWALK_INLINE void cos_sin_step(Part part, TurnsVec turns, const Gain& gain, float* cos_at, float* sin_at) noexcept {
  // Bits 31 and 30 of `quarter` are q. The lower half of t cannot carry into it: half a quarter is a whole 2^29 there.
  const Bits quarter = add(turns.high, splat_bits(1u << 29));

  // r in units of 2^-32: a signed integer `whole` and 24 bits of fraction. The float of `whole` drops up to 7 bits,
  // which go with the fraction. (Cutting those bits off first would be shorter but leave a small negative angle as the
  // difference of two large ones, and its sine without digits.)
  const Bits whole = bit_or(shift_left<2>(turns.high), shift_right<30>(turns.low));
  const Bits fraction = shift_right<8>(shift_left<2>(turns.low));
  const Vec r = to_float(whole);
  const Vec dr = mul_add(ByDouble{}, to_float(fraction), splat(0x1p-24f), to_float(sub(whole, to_integer(r))));

  const auto [cosine, sine] =
      together<kHasGain>([&](auto& sums) { return cos_sin_of_quarter<kHasGain>(sums, r, dr, gain); });

  const Bits is_odd = shift_left<1>(quarter);
  const Bits sine_sign = add(quarter, splat_bits(gain.turns_back ? 1u << 31 : 0u));
  const Bits cosine_sign = add(quarter, splat_bits(1u << 30));
  store(part, negate_by_top_bit(cosine_sign, select_by_top_bit(is_odd, sine, cosine)), cos_at);
  store(part, negate_by_top_bit(sine_sign, select_by_top_bit(is_odd, cosine, sine)), sin_at);
}
