#include "math/elementary.hpp"

#include <array>
#include <cmath>
#include <limits>

namespace ropewalk::math {
namespace {

// ln 2 as two doubles, the first with 21 trailing zeros, so that its product with an exponent is exact.
constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;

// 2 atanh(s) = ln((1 + s) / (1 - s)) for |s| <= 0.172: what is left out is below 2^-58 of it.
double twice_atanh(double s) noexcept {
  const double s2 = s * s;
  double sum = 0.0;
  for (int n = 23; n >= 3; n -= 2) sum = (sum + 1.0 / n) * s2;
  return 2.0 * s + 2.0 * s * sum;
}

}  // namespace

double fast_log(double x) noexcept {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0x1.6a09e667f3bcdp-1) {
    m *= 2.0;
    --exponent;
  }
  return exponent * kLn2High + (twice_atanh((m - 1.0) / (m + 1.0)) + exponent * kLn2Low);
}

double fast_log1p(double x) noexcept { return x < 0.4 ? twice_atanh(x / (2.0 + x)) : fast_log(1.0 + x); }

double fast_exp(double x) noexcept {
  if (x < -708.0) return 0.0;
  if (x > 709.0) return std::numeric_limits<double>::infinity();
  const double whole = std::floor(x * 0x1.71547652b82fep+0 + 0.5);
  const double r = (x - whole * kLn2High) - whole * kLn2Low;
  double sum = 1.0;
  for (int n = 14; n >= 1; --n) sum = 1.0 + sum * (r * (1.0 / n));  // a division each took six times as long
  return std::ldexp(sum, static_cast<int>(whole));
}

}  // namespace ropewalk::math
