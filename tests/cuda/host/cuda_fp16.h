// What src/cuda asks of NVIDIA's header of this name, for the compiler of the host: rounding by the definition of the
// format (tests/kernels/support.hpp). Builds with CUDA run the same tests with NVIDIA's own.
#pragma once

#include "kernels/support.hpp"

#include <cstdint>

#define __device__
#define __forceinline__ inline

struct __half_raw {
  std::uint16_t x = 0;
};
struct __half2_raw {
  std::uint16_t x = 0, y = 0;
};
using __half = __half_raw;

inline float __half2float(__half x) { return static_cast<float>(support::value_of(x.x, ropewalk::DType::kFloat16)); }
inline __half __float2half_rn(float x) {
  const double rounded = support::rounded(static_cast<double>(x), ropewalk::DType::kFloat16);
  return {static_cast<std::uint16_t>(support::bits_of(rounded, ropewalk::DType::kFloat16))};
}
inline __half2_raw __floats2half2_rn(float x, float y) { return {__float2half_rn(x).x, __float2half_rn(y).x}; }
