// As cuda_fp16.h.
#pragma once

#include "kernels/support.hpp"

#include <cstdint>

struct __nv_bfloat16_raw {
  std::uint16_t x = 0;
};
struct __nv_bfloat162_raw {
  std::uint16_t x = 0, y = 0;
};

inline __nv_bfloat16_raw __float2bfloat16_rn(float x) {
  const double rounded = support::rounded(static_cast<double>(x), ropewalk::DType::kBFloat16);
  return {static_cast<std::uint16_t>(support::bits_of(rounded, ropewalk::DType::kBFloat16))};
}
inline __nv_bfloat162_raw __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x).x, __float2bfloat16_rn(y).x};
}
