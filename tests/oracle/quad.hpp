#pragma once

#include <cfloat>

// Numbers of 113 bits and their functions by the names of libquadmath: long double's where that has as many bits
// (AArch64), else that library's (x86-64).

#if LDBL_MANT_DIG == 113

#include <cmath>

namespace oracle {
using Quad = long double;
}

inline long double acosq(long double x) { return std::acos(x); }
inline long double ceilq(long double x) { return std::ceil(x); }
inline long double cosq(long double x) { return std::cos(x); }
inline long double expq(long double x) { return std::exp(x); }
inline long double fabsq(long double x) { return std::fabs(x); }
inline long double floorq(long double x) { return std::floor(x); }
inline long double log2q(long double x) { return std::log2(x); }
inline long double logq(long double x) { return std::log(x); }
inline long double powq(long double x, long double y) { return std::pow(x, y); }
inline long double rintq(long double x) { return std::rint(x); }
inline long double sinq(long double x) { return std::sin(x); }
inline long double sqrtq(long double x) { return std::sqrt(x); }

#else

#include <quadmath.h>

namespace oracle {
using Quad = __float128;
}

#endif
