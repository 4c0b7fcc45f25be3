// The words of the kernels in Advanced SIMD as every AArch64 processor has it, little-endian; vec/scalar.hpp says what
// each means. No include guard on purpose: a target reads it inside its own namespace.

constexpr std::int64_t kLanes = 4;
constexpr int kBlock = 8;  // 16 of the 32 registers hold cosines and sines

struct Vec {
  float32x4_t v;
};
struct Bits {
  uint32x4_t v;
};
struct Two {
  Vec even, odd;
};
struct TurnsVec {
  Bits high, low;
};

struct Whole {};
struct First {
  std::int64_t n;
};

// ---- memory

// There is no masked access: a short row goes lane by lane.
inline Vec load(Whole, const float* at) noexcept { return {vld1q_f32(at)}; }
inline Vec load(First part, const float* at) noexcept {
  float32x4_t x = vld1q_lane_f32(at, vdupq_n_f32(0.0f), 0);
  if (part.n > 1) x = vld1q_lane_f32(at + 1, x, 1);
  if (part.n > 2) x = vld1q_lane_f32(at + 2, x, 2);
  return {x};
}
inline void store(Whole, Vec x, float* at) noexcept { vst1q_f32(at, x.v); }
inline void store(First part, Vec x, float* at) noexcept {
  vst1q_lane_f32(at, x.v, 0);
  if (part.n > 1) vst1q_lane_f32(at + 1, x.v, 1);
  if (part.n > 2) vst1q_lane_f32(at + 2, x.v, 2);
}

// T is an element of 16 bits with a member `bits`.
template <class T>
inline uint16x4_t load_16_bit(Whole, const T* at) noexcept {
  uint16x4_t x;
  __builtin_memcpy(&x, at, sizeof x);
  return x;
}
template <class T>
inline uint16x4_t load_16_bit(First part, const T* at) noexcept {
  uint16x4_t x = vld1_lane_u16(&at[0].bits, vdup_n_u16(0), 0);
  if (part.n > 1) x = vld1_lane_u16(&at[1].bits, x, 1);
  if (part.n > 2) x = vld1_lane_u16(&at[2].bits, x, 2);
  return x;
}
template <class T>
inline void store_16_bit(Whole, uint16x4_t x, T* at) noexcept {
  __builtin_memcpy(at, &x, sizeof x);
}
template <class T>
inline void store_16_bit(First part, uint16x4_t x, T* at) noexcept {
  vst1_lane_u16(&at[0].bits, x, 0);
  if (part.n > 1) vst1_lane_u16(&at[1].bits, x, 1);
  if (part.n > 2) vst1_lane_u16(&at[2].bits, x, 2);
}

/// The bits of the nearest bf16, ties to even, are the upper half of x plus this. By integers: BFCVTN is not on every
/// AArch64 processor.
inline uint32x4_t rounding_of(uint32x4_t x) noexcept {
  return vaddq_u32(vandq_u32(vshrq_n_u32(x, 16), vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
}
template <class Part>
inline Vec load(Part part, const BFloat16* at) noexcept {
  return {vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(load_16_bit(part, at)), 16))};
}
template <class Part>
inline void store(Part part, Vec x, BFloat16* at) noexcept {
  const uint32x4_t bits = vreinterpretq_u32_f32(x.v);
  store_16_bit(part, vaddhn_u32(bits, rounding_of(bits)), at);
}

// FCVTL and FCVTN, which Armv8.0 has: only arithmetic on binary16 came later.
template <class Part>
inline Vec load(Part part, const Float16* at) noexcept {
  return {vcvt_f32_f16(vreinterpret_f16_u16(load_16_bit(part, at)))};
}
template <class Part>
inline void store(Part part, Vec x, Float16* at) noexcept {
  store_16_bit(part, vreinterpret_u16_f16(vcvt_f16_f32(x.v)), at);
}

// STNP is a hint about pairs of registers, for which there is no intrinsic.
template <class T>
inline void stream(Vec x, T* at) noexcept {
  store(Whole{}, x, at);
}
inline void end_streaming() noexcept {}

inline Two load_two(const BFloat16* at) noexcept {
  uint32x4_t x;
  __builtin_memcpy(&x, at, sizeof x);
  return {{vreinterpretq_f32_u32(vshlq_n_u32(x, 16))}, {vreinterpretq_f32_u32(vandq_u32(x, vdupq_n_u32(0xffff0000u)))}};
}
inline Two in_twos(Vec a, Vec b) noexcept { return {{vuzp1q_f32(a.v, b.v)}, {vuzp2q_f32(a.v, b.v)}}; }
inline void store_two(const Two& x, BFloat16* at) noexcept {
  const uint32x4_t even = vreinterpretq_u32_f32(x.even.v), odd = vreinterpretq_u32_f32(x.odd.v);
  const uint32x4_t both = vsriq_n_u32(vaddq_u32(odd, rounding_of(odd)), vaddq_u32(even, rounding_of(even)), 16);
  __builtin_memcpy(at, &both, sizeof both);
}
template <bool kStream>
inline void store_twos(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
  store_two(a, at_a);
  store_two(b, at_b);
}

inline Vec load_twice(Whole, const float* at) noexcept {
  const float32x2_t x = vld1_f32(at);
  return {vcombine_f32(vdup_lane_f32(x, 0), vdup_lane_f32(x, 1))};
}
// An even part of 4 lanes is 2 of them.
inline Vec load_twice(First, const float* at) noexcept { return {vcombine_f32(vld1_dup_f32(at), vdup_n_f32(0.0f))}; }

inline TurnsVec split(uint64x2_t first, uint64x2_t second) noexcept {
  const uint32x4_t a = vreinterpretq_u32_u64(first), b = vreinterpretq_u32_u64(second);
  return {{vuzp2q_u32(a, b)}, {vuzp1q_u32(a, b)}};
}
inline TurnsVec load_turns(Whole, const std::uint64_t* at) noexcept { return split(vld1q_u64(at), vld1q_u64(at + 2)); }
inline TurnsVec load_turns(First part, const std::uint64_t* at) noexcept {
  uint64x2_t first = vld1q_lane_u64(at, vdupq_n_u64(0), 0), second = vdupq_n_u64(0);
  if (part.n > 1) first = vld1q_lane_u64(at + 1, first, 1);
  if (part.n > 2) second = vld1q_lane_u64(at + 2, second, 0);
  return split(first, second);
}
/// a * b modulo 2^64 from 32-bit products: lower * lower + 2^32 (lower * upper + upper * lower).
inline TurnsVec mul_64_bit(TurnsVec a, TurnsVec b) noexcept {
  const uint64x2_t first = vmull_u32(vget_low_u32(a.low.v), vget_low_u32(b.low.v));
  const uint64x2_t second = vmull_high_u32(a.low.v, b.low.v);
  const TurnsVec lower = split(first, second);
  return {{vmlaq_u32(vmlaq_u32(lower.high.v, a.low.v, b.high.v), a.high.v, b.low.v)}, lower.low};
}
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, std::uint64_t factor) noexcept {
  const TurnsVec f = {{vdupq_n_u32(static_cast<std::uint32_t>(factor >> 32))},
                      {vdupq_n_u32(static_cast<std::uint32_t>(factor))}};
  return mul_64_bit(load_turns(part, at), f);
}

template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, const std::uint64_t* factors) noexcept {
  return mul_64_bit(load_turns(part, at), load_turns(Whole{}, factors));
}

// ---- arithmetic

inline Vec splat(float x) noexcept { return {vdupq_n_f32(x)}; }
inline Vec add(Vec a, Vec b) noexcept { return {vaddq_f32(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) noexcept { return {vsubq_f32(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) noexcept { return {vmulq_f32(a.v, b.v)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) noexcept { return {vfmaq_f32(c.v, a.v, b.v)}; }
// Not -(c - a * b), which differs in the sign of a zero.
inline Vec mul_sub(Vec a, Vec b, Vec c) noexcept { return {vfmaq_f32(vnegq_f32(c.v), a.v, b.v)}; }
inline Vec sub_mul(Vec c, Vec a, Vec b) noexcept { return {vfmsq_f32(c.v, a.v, b.v)}; }
#include "cpu/vec/fused.hpp"
inline Vec swap_neighbours(Vec x) noexcept { return {vrev64q_f32(x.v)}; }
inline Vec negate(Vec x) noexcept { return {vnegq_f32(x.v)}; }
inline Vec negate_even(Vec x) noexcept {
  const uint32x4_t even = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u));
  return {vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x.v), even))};
}

// ---- 32-bit integers, modulo 2^32

inline Bits splat_bits(std::uint32_t x) noexcept { return {vdupq_n_u32(x)}; }
inline Bits add(Bits a, Bits b) noexcept { return {vaddq_u32(a.v, b.v)}; }
inline Bits sub(Bits a, Bits b) noexcept { return {vsubq_u32(a.v, b.v)}; }
inline Bits bit_or(Bits a, Bits b) noexcept { return {vorrq_u32(a.v, b.v)}; }
template <int kCount>
inline Bits shift_left(Bits x) noexcept {
  return {vshlq_n_u32(x.v, kCount)};
}
template <int kCount>
inline Bits shift_right(Bits x) noexcept {
  return {vshrq_n_u32(x.v, kCount)};
}
inline Vec to_float(Bits x) noexcept { return {vcvtq_f32_s32(vreinterpretq_s32_u32(x.v))}; }
// The conversion saturates: 2^31 becomes 2^31 - 1, from which a comparison's -1 is taken.
inline Bits to_integer(Vec x) noexcept {
  const uint32x4_t saturated = vreinterpretq_u32_s32(vcvtq_s32_f32(x.v));
  return {vsubq_u32(saturated, vcgeq_f32(x.v, vdupq_n_f32(0x1p31f)))};
}
inline Vec select_by_top_bit(Bits choice, Vec yes, Vec no) noexcept {
  return {vbslq_f32(vcltzq_s32(vreinterpretq_s32_u32(choice.v)), yes.v, no.v)};
}
inline Vec negate_by_top_bit(Bits choice, Vec x) noexcept {
  const uint32x4_t sign = vandq_u32(choice.v, vdupq_n_u32(0x80000000u));
  return {vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x.v), sign))};
}

// ---- rows of a cache

inline Bits as_bits(Vec x) noexcept { return {vreinterpretq_u32_f32(x.v)}; }
inline Vec as_floats(Bits x) noexcept { return {vreinterpretq_f32_u32(x.v)}; }
inline Bits bit_and(Bits a, Bits b) noexcept { return {vandq_u32(a.v, b.v)}; }
inline Bits larger(Bits a, Bits b) noexcept { return {vmaxq_u32(a.v, b.v)}; }
inline Bits smaller(Bits a, Bits b) noexcept { return {vminq_u32(a.v, b.v)}; }
inline std::uint32_t largest_lane(Bits x) noexcept { return vmaxvq_u32(x.v); }
inline float sum_of_lanes(Vec x) noexcept {
  const float32x2_t y = vadd_f32(vget_low_f32(x.v), vget_high_f32(x.v));
  return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
}
inline float square_root(float x) noexcept { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

inline std::int64_t lanes_of(Whole) noexcept { return kLanes; }
inline std::int64_t lanes_of(First part) noexcept { return part.n; }

template <class Part>
inline Bits load_int8(Part part, const void* at) noexcept {
  std::uint64_t bytes = 0;
  __builtin_memcpy(&bytes, at, static_cast<std::size_t>(lanes_of(part)));
  return {vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(bytes)))))};
}
template <class Part>
inline void store_int8(Part part, Bits x, void* at) noexcept {
  const uint16x4_t halves = vmovn_u32(x.v);
  const std::uint64_t bytes = vget_lane_u64(vreinterpret_u64_u8(vmovn_u16(vcombine_u16(halves, halves))), 0);
  __builtin_memcpy(at, &bytes, static_cast<std::size_t>(lanes_of(part)));
}
template <class Part>
inline Bits load_int4(Part part, const void* at) noexcept {
  std::uint32_t bytes = 0;
  __builtin_memcpy(&bytes, at, static_cast<std::size_t>((lanes_of(part) + 1) / 2));
  bytes &= 0xffffu >> (16 - 4 * lanes_of(part));
  const int32x4_t up = {28, 24, 20, 16};
  return {vreinterpretq_u32_s32(vshrq_n_s32(vshlq_s32(vreinterpretq_s32_u32(vdupq_n_u32(bytes)), up), 28))};
}
template <class Part>
inline void store_int4(Part part, Bits x, void* at) noexcept {
  const int32x4_t up = {0, 4, 8, 12};
  const std::uint32_t all = vaddvq_u32(vshlq_u32(vandq_u32(x.v, vdupq_n_u32(15)), up));
  const std::uint32_t bytes = all & (0xffffu >> (16 - 4 * lanes_of(part)));
  __builtin_memcpy(at, &bytes, static_cast<std::size_t>((lanes_of(part) + 1) / 2));
}
inline void store_both(Vec a, Vec b, BFloat16* at) noexcept {
  store(Whole{}, a, at);
  store(Whole{}, b, at + kLanes);
}

// ---- attention

constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;
constexpr int kKeysAtOnce = 4;

inline Vec accumulated(Vec a, Vec b, Vec c) noexcept { return mul_add(a, b, c); }
inline Vec larger(Vec a, Vec b) noexcept { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
inline Vec nearest_whole(Vec x) noexcept { return {vrndnq_f32(x.v)}; }
inline Vec times_two_to(Vec p, Vec n) noexcept {
  const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_s32(vcvtq_s32_f32(n.v)), 23);
  const uint32x4_t power = vaddq_u32(vreinterpretq_u32_f32(p.v), exponent);
  return {vreinterpretq_f32_u32(vbicq_u32(power, vcltq_f32(n.v, vdupq_n_f32(-126.0f))))};
}
inline float largest_of_lanes(Vec x) noexcept { return vmaxvq_f32(x.v); }
inline void transpose_tile(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) noexcept {
  const float32x4x2_t low = vtrnq_f32(vld1q_f32(from), vld1q_f32(from + from_stride));
  const float32x4x2_t high = vtrnq_f32(vld1q_f32(from + 2 * from_stride), vld1q_f32(from + 3 * from_stride));
  vst1q_f32(to, vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0])));
  vst1q_f32(to + to_stride, vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1])));
  vst1q_f32(to + 2 * to_stride, vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0])));
  vst1q_f32(to + 3 * to_stride, vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1])));
}
/// The sums of eight vectors, side by side.
inline void store_sums(const Vec (&x)[8], float* at) noexcept {
  for (int i = 0; i < 8; ++i) at[i] = sum_of_lanes(x[i]);
}
