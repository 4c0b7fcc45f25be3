// The words of the kernels as a thread of CUDA says them: vectors of one lane, and pieces of memory. As in src/cpu/vec
// every operation is rounded where it stands: the intrinsics are never fused.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#define ROPEWALK_INLINE __device__ __forceinline__

namespace ropewalk::cuda {

// ---- what src/cpu/kernels/cos_sin_step-inl.hpp is written in

using Vec = float;
using Bits = std::uint32_t;
struct TurnsVec {
  Bits high, low;
};
struct Whole {};

ROPEWALK_INLINE Vec splat(float x) { return x; }
ROPEWALK_INLINE Bits splat_bits(std::uint32_t x) { return x; }
ROPEWALK_INLINE Vec add(Vec a, Vec b) { return __fadd_rn(a, b); }
ROPEWALK_INLINE Vec sub(Vec a, Vec b) { return __fsub_rn(a, b); }
ROPEWALK_INLINE Vec mul(Vec a, Vec b) { return __fmul_rn(a, b); }
/// a * b + c, a * b - c and c - a * b, each rounded once.
ROPEWALK_INLINE Vec mul_add(Vec a, Vec b, Vec c) { return __fmaf_rn(a, b, c); }
ROPEWALK_INLINE Vec mul_sub(Vec a, Vec b, Vec c) { return __fmaf_rn(a, b, -c); }
ROPEWALK_INLINE Vec sub_mul(Vec c, Vec a, Vec b) { return __fmaf_rn(-a, b, c); }
#include "cpu/vec/fused.hpp"

ROPEWALK_INLINE Bits add(Bits a, Bits b) { return a + b; }
ROPEWALK_INLINE Bits sub(Bits a, Bits b) { return a - b; }
ROPEWALK_INLINE Bits bit_or(Bits a, Bits b) { return a | b; }
template <int kCount>
ROPEWALK_INLINE Bits shift_left(Bits x) {
  return x << kCount;
}
template <int kCount>
ROPEWALK_INLINE Bits shift_right(Bits x) {
  return x >> kCount;
}
/// Signed integers to floats, to nearest even.
ROPEWALK_INLINE Vec to_float(Bits x) { return __int2float_rn(static_cast<int>(x)); }
/// Whole floats in [-2^31, 2^31] to integers modulo 2^32.
ROPEWALK_INLINE Bits to_integer(Vec x) { return static_cast<Bits>(__float2ll_rz(x)); }
ROPEWALK_INLINE Vec select_by_top_bit(Bits choice, Vec yes, Vec no) { return (choice >> 31) != 0 ? yes : no; }
ROPEWALK_INLINE Vec negate_by_top_bit(Bits choice, Vec x) {
  return __uint_as_float(__float_as_uint(x) ^ (choice & 0x80000000u));
}
ROPEWALK_INLINE void store(Whole, Vec x, float* at) { *at = x; }

// ---- elements as they lie in memory

struct BFloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};

ROPEWALK_INLINE float widen(float x) { return x; }
ROPEWALK_INLINE float widen(BFloat16 x) { return __uint_as_float(std::uint32_t{x.bits} << 16); }
ROPEWALK_INLINE float widen(Float16 x) {
  __half_raw raw;
  raw.x = x.bits;
  return __half2float(__half(raw));
}
ROPEWALK_INLINE void narrow(float x, float* y) { *y = x; }
ROPEWALK_INLINE void narrow(float x, BFloat16* y) {
  y->bits = static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x;
}
ROPEWALK_INLINE void narrow(float x, Float16* y) { y->bits = static_cast<__half_raw>(__float2half_rn(x)).x; }

// ---- pieces of memory: one element, or kPieceBytes of them

template <class T, int kCount>
struct Piece {
  T element[kCount];
};
/// In words of 32 bits, the first element in the lower half of the first.
struct alignas(16) Words {
  std::uint32_t word[4];
};
template <>
struct Piece<float, 4> : Words {};
template <>
struct Piece<BFloat16, 8> : Words {};
template <>
struct Piece<Float16, 8> : Words {};

template <class T, int kCount>
ROPEWALK_INLINE Piece<T, kCount> load_piece(const T* at) {
  return *reinterpret_cast<const Piece<T, kCount>*>(at);
}
template <class T, int kCount>
ROPEWALK_INLINE void store_piece(const Piece<T, kCount>& piece, T* at) {
  *reinterpret_cast<Piece<T, kCount>*>(at) = piece;
}

template <class T>
ROPEWALK_INLINE void unpack(const Piece<T, 1>& piece, float* x) {
  x[0] = widen(piece.element[0]);
}
ROPEWALK_INLINE void unpack(const Piece<float, 4>& piece, float* x) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = __uint_as_float(piece.word[i]);
}
ROPEWALK_INLINE void unpack(const Piece<BFloat16, 8>& piece, float* x) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = __uint_as_float(piece.word[i] << 16);
    x[2 * i + 1] = __uint_as_float(piece.word[i] & 0xffff0000u);
  }
}
ROPEWALK_INLINE void unpack(const Piece<Float16, 8>& piece, float* x) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = widen(Float16{static_cast<std::uint16_t>(piece.word[i])});
    x[2 * i + 1] = widen(Float16{static_cast<std::uint16_t>(piece.word[i] >> 16)});
  }
}

template <class T>
ROPEWALK_INLINE void pack(const float* x, Piece<T, 1>* piece) {
  narrow(x[0], &piece->element[0]);
}
ROPEWALK_INLINE void pack(const float* x, Piece<float, 4>* piece) {
#pragma unroll
  for (int i = 0; i < 4; ++i) piece->word[i] = __float_as_uint(x[i]);
}
// Two at once, for which there is one instruction.
ROPEWALK_INLINE void pack(const float* x, Piece<BFloat16, 8>* piece) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162_raw two = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
    piece->word[i] = std::uint32_t{two.x} | std::uint32_t{two.y} << 16;
  }
}
ROPEWALK_INLINE void pack(const float* x, Piece<Float16, 8>* piece) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __half2_raw two = __floats2half2_rn(x[2 * i], x[2 * i + 1]);
    piece->word[i] = std::uint32_t{two.x} | std::uint32_t{two.y} << 16;
  }
}

/// kCount floats of shared memory that lie side by side, aligned as far as kCount is a power of two.
template <int kCount>
ROPEWALK_INLINE void load_floats(const float* at, float* x) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) unpack(load_piece<float, 4>(at + i), x + i);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = at[i];
  }
}

}  // namespace ropewalk::cuda
