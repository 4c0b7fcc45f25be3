#pragma once

#include <cmath>
#include <cstdint>

namespace ropewalk::math {

/// A real number to about 104 bits: the unevaluated sum of two doubles, |lo| at most half a unit in the last place of
/// hi.
///
/// Why not double: turns_per_token is wanted to 2^-64 of a turn, and a double inv_freq carries 2^-53 of itself, 8e-6
/// radians at position 2^36. Why not long double or libm: neither has the same bits on every machine.
///
/// Relative error of one operation at most 2^-101, of exp and log (absolute, where the logarithm is near 0) and pow
/// 2^-98 for results within [1e-30, 1e30]; tests/math/real_test.cpp holds them to it. Finite values only: results
/// beyond the range of double, and their low halves below it, are not looked after.
/// Needs IEEE arithmetic, so src/math is compiled without fast-math; contracted multiply-adds would do no harm.
struct Real {
  double hi = 0.0;
  double lo = 0.0;

  constexpr Real() = default;
  constexpr explicit Real(double value) noexcept : hi(value) {}
  constexpr Real(double high, double low) noexcept : hi(high), lo(low) {}
  explicit Real(int value) noexcept : hi(value) {}
  explicit Real(std::int64_t value) noexcept;  ///< exact
};

// Constants: 107 bits and more of each.
inline constexpr Real kTwoPi{0x1.921fb54442d18p+2, 0x1.1a62633145c07p-52};
inline constexpr Real kInverseTwoPi{0x1.45f306dc9c883p-3, -0x1.6b01ec5417056p-57};
inline constexpr Real kLn2{0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};

Real operator+(Real a, Real b) noexcept;
Real operator-(Real a) noexcept;
Real operator-(Real a, Real b) noexcept;
Real operator*(Real a, Real b) noexcept;
Real operator/(Real a, Real b) noexcept;

inline bool operator<(Real a, Real b) noexcept { return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo); }
inline bool operator>(Real a, Real b) noexcept { return b < a; }
inline bool operator==(Real a, Real b) noexcept { return a.hi == b.hi && a.lo == b.lo; }

Real sqrt(Real x) noexcept;         ///< x >= 0
Real exp(Real x) noexcept;          ///< 0 below -700; x <= 700
Real log(Real x) noexcept;          ///< x > 0
Real pow(Real x, Real y) noexcept;  ///< x > 0; by multiplication, exact while it fits, for whole y in [0, 16]
Real floor(Real x) noexcept;
Real ceil(Real x) noexcept;

/// The nearest double.
inline double to_double(Real x) noexcept { return x.hi; }
inline double to_double(double x) noexcept { return x; }

/// The nearest float, rounded once (going through double would round twice).
float to_float(Real x) noexcept;

/// An angle in radians as a fraction of a turn, 2^64 to a turn, rounded once and taken modulo a turn.
/// |radians| at most 2^40; correctly rounded while |radians| is below 2^20 (but for one value in 2^18 at that end, one
/// in 2^35 for the usual angles of at most 1).
std::uint64_t to_turns(Real radians) noexcept;

// The same functions for the two narrower arithmetics, each the real result rounded once. A libm's would depend on
// the machine; here `float` is what an ideal float32 library returns, which torch's stays within 1 unit of.
double log(double x) noexcept;
double pow(double x, double y) noexcept;
inline double sqrt(double x) noexcept { return std::sqrt(x); }
inline double floor(double x) noexcept { return std::floor(x); }
inline double ceil(double x) noexcept { return std::ceil(x); }
float exp(float x) noexcept;
float log(float x) noexcept;
float pow(float x, double y) noexcept;  ///< a base of +infinity follows IEEE 754: 1 for y = 0, else infinity
inline float pow(float x, float y) noexcept { return pow(x, double{y}); }

}  // namespace ropewalk::math
