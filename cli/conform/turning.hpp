#pragma once

#include "cli/conform/golden.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace ropewalk::cli {

/// 2^-24 is half a unit in the last place of 1. Fp32 class: inv_freq in float32 is off by a few half units (a power, a
/// reciprocal, a scaling), the product by one more.
constexpr double kHalfUlp = 0x1p-24;
constexpr double kPhaseSteps = 8;

/// A binary floating-point format: `bits` of significand, the exponent of its smallest subnormal, its largest number.
struct Format {
  int bits, least_exponent;
  double largest;
};
inline constexpr Format kBfloat16{8, -133, 0x1.FEp127}, kFloat16{11, -24, 65504.0};

/// To the nearest of the format, ties to even; infinity beyond its largest.
double rounded_to(double value, const Format& format);

/// The angles of one encoding, or of what somebody took for it.
struct Turning {
  std::vector<int> first, second;  ///< [pairs]
  std::vector<std::uint8_t> axis;  ///< [pairs] or empty
  std::vector<double> inv_freq;    ///< [rates, pairs]
  int rates = 1;
  std::vector<double> second_freq;
  std::vector<std::uint8_t> second_axis;
  std::vector<std::vector<double>> turned_by;  ///< [axes][tokens]
  double factor = 1.0;
  double sine_factor = 1.0, cosine_factor = 1.0;  ///< beside `factor`
  bool factor_on_all = false;                     ///< on the channels that do not turn, too
  bool reversed = false;
  bool exchanged = false;                 ///< the sine where the cosine belongs, and the reverse
  bool in_place = false;                  ///< the second channel made of the first one's result
  std::vector<double> scale;              ///< [tokens]
  std::vector<std::vector<double>> gain;  ///< [tokens][pairs] or empty
  std::function<double(double, double)> phase = [](double p, double f) { return p * f; };
  bool deinterleaved = false;  ///< results in the order of halves
  /// What cosine and sine, the two products and the result are rounded to; null: nothing coarser than float32.
  bool factor_after = false;  ///< the table is rounded before `factor` multiplies it
  const Format *table = nullptr, *product = nullptr, *result = nullptr;
};

Turning turning_of(const GoldenEncoding& e, bool key);

/// The phase of a pair; `second` where the second channel has one of its own.
double angle_of(const Turning& t, std::size_t token, std::size_t pair, bool second);
double gain_of(const Turning& t, std::size_t token, std::size_t pair);

/// All channels in pairs, rising.
std::vector<int> sorted_channels(const std::vector<int>& first, const std::vector<int>& second);

/// Where a result may lie: what a float32 phase, and a little more, allows. Where a rounding to fewer bits may go
/// either way both are in it, and nothing else. Not a number where there is none.
struct Span {
  double low, high;
};
std::vector<Span> turned(const Turning& t, const std::vector<double>& x, std::size_t token);

}  // namespace ropewalk::cli
