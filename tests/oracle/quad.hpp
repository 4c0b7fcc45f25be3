#pragma once

#include <cfloat>

// Numbers of 113 bits and their functions by the names of libquadmath: long double's where that has as many bits
// (AArch64, WebAssembly), else that library's (x86-64).

#if LDBL_MANT_DIG == 113

#include <cmath>

namespace oracle {
using Quad = long double;
}

inline long double acosq(long double x) { return std::acos(x); }
inline long double ceilq(long double x) { return std::ceil(x); }
inline long double cosq(long double x) { return std::cos(x); }
inline long double fabsq(long double x) { return std::fabs(x); }
inline long double floorq(long double x) { return std::floor(x); }
inline long double rintq(long double x) { return std::rint(x); }
inline long double sinq(long double x) { return std::sin(x); }
inline long double sqrtq(long double x) { return std::sqrt(x); }

#ifdef __EMSCRIPTEN__  // whose musl has exp, log and pow of 53 bits under these names too

inline long double expq(long double x) {
  // ln 2 in two parts, the first of 60 bits, so that a multiple of it is exact.
  constexpr long double kLn2High = 0xb17217f7d1cf79ap-60L, kLn2Low = 0x2f278ece600fcbdabd03cd0c99ca63p-178L;
  const long double k = std::rint(x / (kLn2High + kLn2Low));
  const long double r = ((x - k * kLn2High) - k * kLn2Low) * 0x1p-8L;
  long double less_one = 0.0L;  // e^r - 1 by its series, |r| < 0.0014
  for (int n = 14; n >= 1; --n) less_one = r / static_cast<long double>(n) * (1.0L + less_one);
  for (int i = 0; i < 8; ++i) less_one *= 2.0L + less_one;  // (1 + y)^2 - 1
  return std::ldexp(1.0L + less_one, static_cast<int>(k));
}
inline long double logq(long double x) {
  if (std::fabs(x - 1.0L) < 0.1L) {  // 2 atanh(s) by its series, |s| < 0.053
    const long double s = (x - 1.0L) / (x + 1.0L), ss = s * s;
    long double sum = 0.0L;
    for (int n = 27; n >= 1; n -= 2) sum = sum * ss + 1.0L / static_cast<long double>(n);
    return 2.0L * s * sum;
  }
  const long double near = std::log(static_cast<double>(x)), e = expq(near);
  return near + 2.0L * (x - e) / (x + e);  // Halley's step: as many digits three times
}
inline long double log2q(long double x) { return logq(x) / logq(2.0L); }
inline long double powq(long double x, long double y) { return x == 0.0L ? 0.0L : expq(y * logq(x)); }

#else

inline long double expq(long double x) { return std::exp(x); }
inline long double log2q(long double x) { return std::log2(x); }
inline long double logq(long double x) { return std::log(x); }
inline long double powq(long double x, long double y) { return std::pow(x, y); }

#endif

#else

#include <quadmath.h>

namespace oracle {
using Quad = __float128;
}

#endif
