#pragma once

namespace ropewalk::math {

/// Functions of a double within 4 units in the last place, by arithmetic alone: the same bits whatever libm a machine
/// has. (real.hpp's are right to the last place and a hundred times slower.)
double fast_log(double x) noexcept;    ///< x > 0, finite
double fast_log1p(double x) noexcept;  ///< ln(1 + x), x >= 0, finite
double fast_exp(double x) noexcept;    ///< 0 below -708, infinity above 709

}  // namespace ropewalk::math
