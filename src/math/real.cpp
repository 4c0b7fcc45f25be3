#include "math/real.hpp"

#include <bit>
#include <limits>

// Error-free transformations after Knuth, Dekker and Shewchuk; the operations on pairs are those whose bounds are
// proved in Joldes, Muller, Popescu 2017, "Tight and rigorous error bounds for basic building blocks of double-word
// arithmetic".

namespace ropewalk::math {
namespace {

// a + b exactly, for |a| >= |b| or a = 0.
Real quick_two_sum(double a, double b) noexcept {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}

// a + b exactly.
Real two_sum(double a, double b) noexcept {
  const double sum = a + b;
  const double from_b = sum - a;
  return {sum, (a - (sum - from_b)) + (b - from_b)};
}

// a * b exactly.
Real two_product(double a, double b) noexcept {
  const double product = a * b;
  return {product, std::fma(a, b, -product)};
}

Real times(Real a, double b) noexcept {
  const Real product = two_product(a.hi, b);
  return quick_two_sum(product.hi, std::fma(a.lo, b, product.lo));
}

Real scaled_by_power_of_two(Real x, int exponent) noexcept {
  return {std::ldexp(x.hi, exponent), std::ldexp(x.lo, exponent)};
}

// The logarithm of a double in [0.7, 1.42] to about 50 bits, by the series of atanh.
double rough_log(double x) noexcept {
  const double s = (x - 1.0) / (x + 1.0);
  const double s2 = s * s;
  double sum = 0.0;
  for (int n = 23; n >= 1; n -= 2) sum = sum * s2 + 1.0 / n;
  return 2.0 * s * sum;
}

}  // namespace

Real::Real(std::int64_t value) noexcept {
  // Two halves that a double holds each.
  const auto low = static_cast<double>(value & 0xffffffff);
  const auto high = static_cast<double>(value >> 32) * 0x1p32;
  *this = two_sum(high, low);
}

Real operator+(Real a, Real b) noexcept {
  const Real high = two_sum(a.hi, b.hi);
  const Real low = two_sum(a.lo, b.lo);
  const Real sum = quick_two_sum(high.hi, high.lo + low.hi);
  return quick_two_sum(sum.hi, low.lo + sum.lo);
}

Real operator-(Real a) noexcept { return {-a.hi, -a.lo}; }

Real operator-(Real a, Real b) noexcept { return a + -b; }

Real operator*(Real a, Real b) noexcept {
  const Real product = two_product(a.hi, b.hi);
  const double cross = std::fma(a.lo, b.hi, std::fma(a.hi, b.lo, a.lo * b.lo));
  return quick_two_sum(product.hi, product.lo + cross);
}

Real operator/(Real a, Real b) noexcept {
  // Long division, three digits of 53 bits.
  const double q1 = a.hi / b.hi;
  Real rest = a - times(b, q1);
  const double q2 = rest.hi / b.hi;
  rest = rest - times(b, q2);
  const double q3 = rest.hi / b.hi;
  return quick_two_sum(q1, q2) + Real(q3);
}

Real sqrt(Real x) noexcept {
  if (x.hi <= 0.0) return Real{};
  const double root = std::sqrt(x.hi);
  const Real rest = x - two_product(root, root);
  return quick_two_sum(root, rest.hi / (2.0 * root));
}

Real exp(Real x) noexcept {
  if (x.hi < -700.0) return Real{};
  // e^x = 2^k (e^r)^256, |r| <= ln 2 / 512. The powers are taken of e^r - 1, which loses nothing where e^r is near 1.
  constexpr int kSquarings = 8;
  const double k = std::floor(x.hi / kLn2.hi + 0.5);
  const Real r = scaled_by_power_of_two(x - times(kLn2, k), -kSquarings);

  constexpr int kTerms = 11;  // r^12 / 12! is below 2^-140 of r
  Real sum{1.0};
  for (int n = kTerms; n >= 2; --n) sum = Real(1.0) + r * sum / Real(n);
  Real less_one = r * sum;
  for (int i = 0; i < kSquarings; ++i) less_one = scaled_by_power_of_two(less_one, 1) + less_one * less_one;
  return scaled_by_power_of_two(Real(1.0) + less_one, static_cast<int>(k));
}

Real log(Real x) noexcept {
  // x = 2^k m, m in [sqrt(1/2), sqrt(2)); then one Newton step on exp from a double's worth of ln m:
  // ln m = y + ln(1 + z), z = m e^-y - 1, and z is so small that z - z^2/2 is all of it.
  int k = 0;
  if (std::frexp(x.hi, &k) < 0.70710678118654752) --k;
  const Real m = scaled_by_power_of_two(x, -k);
  const double y = rough_log(m.hi);
  const Real z = m * exp(Real(-y)) - Real(1.0);
  return times(kLn2, k) + (Real(y) + (z - Real(0.5 * z.hi * z.hi)));
}

Real pow(Real x, Real y) noexcept {
  if (y.lo == 0.0 && y.hi >= 0.0 && y.hi <= 16.0 && std::floor(y.hi) == y.hi) {
    Real power{1.0};
    for (int i = 0; i < static_cast<int>(y.hi); ++i) power = power * x;
    return power;
  }
  return exp(y * log(x));
}

Real floor(Real x) noexcept {
  const double high = std::floor(x.hi);
  return high == x.hi ? quick_two_sum(high, std::floor(x.lo)) : Real(high);
}

Real ceil(Real x) noexcept { return -floor(-x); }

float to_float(Real x) noexcept {
  // Round to odd first: of the two doubles around the exact sum the one with an odd last bit. Rounding that to float
  // is then the same as rounding the sum (Boldo, Melquiond 2008).
  auto bits = std::bit_cast<std::uint64_t>(x.hi);
  if (x.lo != 0.0 && (bits & 1) == 0) bits = ((x.lo > 0.0) == (x.hi > 0.0)) ? bits + 1 : bits - 1;
  return static_cast<float>(std::bit_cast<double>(bits));
}

std::uint64_t to_turns(Real radians) noexcept {
  const Real turns = radians * kInverseTwoPi;
  const Real scaled = scaled_by_power_of_two(turns - floor(turns), 64);  // [0, 2^64]

  // Whole parts add up modulo 2^64; what is left of each half is below 1 and decides the rounding.
  const double high = std::floor(scaled.hi), low = std::floor(scaled.lo);
  const auto whole = (high >= 0x1p64 ? 0 : static_cast<std::uint64_t>(high)) +
                     static_cast<std::uint64_t>(static_cast<std::int64_t>(low));
  const Real rest = two_sum(scaled.hi - high, scaled.lo - low);  // [0, 2)
  return whole + static_cast<std::uint64_t>(static_cast<std::int64_t>(to_double(floor(rest + Real(0.5)))));
}

double log(double x) noexcept { return to_double(log(Real(x))); }

double pow(double x, double y) noexcept { return to_double(pow(Real(x), Real(y))); }

float exp(float x) noexcept {
  if (x > 89.0f) return std::numeric_limits<float>::infinity();
  return to_float(exp(Real(double{x})));
}

float log(float x) noexcept { return to_float(log(Real(double{x}))); }

float pow(float x, double y) noexcept {
  if (x == std::numeric_limits<float>::infinity()) return y == 0.0 ? 1.0f : x;
  return to_float(pow(Real(double{x}), Real(y)));
}

}  // namespace ropewalk::math
