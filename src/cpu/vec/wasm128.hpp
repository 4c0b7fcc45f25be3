// The words of the kernels in WebAssembly's vectors of 128 bits; vec/scalar.hpp says what each means.
// No include guard on purpose: a target reads it inside its own namespace.

constexpr std::int64_t kLanes = 4;
constexpr int kBlock = 2;

struct Vec {
  v128_t v;
};
struct Bits {
  v128_t v;
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
inline Vec load(Whole, const float* at) noexcept { return {wasm_v128_load(at)}; }
inline Vec load(First part, const float* at) noexcept {
  v128_t x = wasm_v128_load32_zero(at);
  if (part.n > 1) x = wasm_v128_load32_lane(at + 1, x, 1);
  if (part.n > 2) x = wasm_v128_load32_lane(at + 2, x, 2);
  return {x};
}
inline void store(Whole, Vec x, float* at) noexcept { wasm_v128_store(at, x.v); }
inline void store(First part, Vec x, float* at) noexcept {
  wasm_v128_store32_lane(at, x.v, 0);
  if (part.n > 1) wasm_v128_store32_lane(at + 1, x.v, 1);
  if (part.n > 2) wasm_v128_store32_lane(at + 2, x.v, 2);
}

/// Elements of 16 bits in the lower half of each lane.
inline v128_t load_16_bit(Whole, const void* at) noexcept { return wasm_u32x4_load16x4(at); }
inline v128_t load_16_bit(First part, const void* at) noexcept {
  const auto* const x = static_cast<const char*>(at);
  v128_t y = wasm_v128_load16_lane(x, wasm_i32x4_splat(0), 0);
  if (part.n > 1) y = wasm_v128_load16_lane(x + 2, y, 2);
  if (part.n > 2) y = wasm_v128_load16_lane(x + 4, y, 4);
  return y;
}
inline void store_16_bit(Whole, v128_t x, void* at) noexcept {
  wasm_v128_store64_lane(at, wasm_u16x8_narrow_i32x4(x, x), 0);
}
inline void store_16_bit(First part, v128_t x, void* at) noexcept {
  std::uint16_t copy[4];
  wasm_v128_store64_lane(copy, wasm_u16x8_narrow_i32x4(x, x), 0);
  __builtin_memcpy(at, copy, static_cast<std::size_t>(part.n) * sizeof copy[0]);
}

/// The bits of the nearest bf16, ties to even, in the upper half of each lane; the lower half is of no use.
inline v128_t rounded_in_place(Vec x) noexcept {
  const v128_t odd = wasm_v128_and(wasm_u32x4_shr(x.v, 16), wasm_i32x4_splat(1));
  return wasm_i32x4_add(x.v, wasm_i32x4_add(odd, wasm_i32x4_splat(0x7fff)));
}
template <class Part>
inline Vec load(Part part, const BFloat16* at) noexcept {
  return {wasm_i32x4_shl(load_16_bit(part, at), 16)};
}
template <class Part>
inline void store(Part part, Vec x, BFloat16* at) noexcept {
  store_16_bit(part, wasm_u32x4_shr(rounded_in_place(x), 16), at);
}

// A binary16 behind 13 zeros is a float, 2^112 too small, denormal ones included; infinities and NaNs lack the upper
// bits of the exponent.
template <class Part>
inline Vec load(Part part, const Float16* at) noexcept {
  const v128_t x = load_16_bit(part, at);
  const v128_t magnitude = wasm_v128_and(wasm_i32x4_shl(x, 13), wasm_i32x4_splat(0x0fffe000));
  const v128_t finite = wasm_f32x4_mul(magnitude, wasm_f32x4_splat(0x1p112f));
  const v128_t is_special = wasm_i32x4_gt(magnitude, wasm_i32x4_splat(0x0f7fffff));
  const v128_t exponent = wasm_v128_and(is_special, wasm_i32x4_splat(0x7f800000));
  const v128_t sign = wasm_v128_and(wasm_i32x4_shl(x, 16), wasm_i32x4_splat(static_cast<std::int32_t>(0x80000000u)));
  return {wasm_v128_or(wasm_v128_or(finite, exponent), sign)};
}
// vec/scalar.hpp, its branches as choices.
inline v128_t as_float16(Vec x) noexcept {
  const v128_t sign = wasm_v128_and(wasm_u32x4_shr(x.v, 16), wasm_i32x4_splat(0x8000));
  const v128_t magnitude = wasm_v128_and(x.v, wasm_i32x4_splat(0x7fffffff));
  const v128_t place = wasm_u32x4_shr(magnitude, 13);
  const v128_t odd = wasm_v128_and(place, wasm_i32x4_splat(1));
  const v128_t normal =
      wasm_u32x4_shr(wasm_i32x4_add(wasm_i32x4_add(magnitude, odd), wasm_i32x4_splat(0xfff - 0x38000000)), 13);
  const v128_t denormal =
      wasm_i32x4_sub(wasm_f32x4_add(magnitude, wasm_f32x4_splat(0.5f)), wasm_i32x4_splat(0x3f000000));
  const v128_t nan = wasm_v128_or(wasm_v128_and(place, wasm_i32x4_splat(0x3ff)), wasm_i32x4_splat(0x7e00));
  v128_t half = wasm_v128_bitselect(denormal, normal, wasm_i32x4_lt(magnitude, wasm_i32x4_splat(0x38800000)));
  half = wasm_v128_bitselect(wasm_i32x4_splat(0x7c00), half, wasm_i32x4_gt(magnitude, wasm_i32x4_splat(0x477fefff)));
  half = wasm_v128_bitselect(nan, half, wasm_i32x4_gt(magnitude, wasm_i32x4_splat(0x7f800000)));
  return wasm_v128_or(half, sign);
}
template <class Part>
inline void store(Part part, Vec x, Float16* at) noexcept {
  store_16_bit(part, as_float16(x), at);
}

// Nothing writes past the caches.
template <class T>
inline void stream(Vec x, T* at) noexcept {
  store(Whole{}, x, at);
}
inline void end_streaming() noexcept {}

inline Two load_two(const BFloat16* at) noexcept {
  const v128_t x = wasm_v128_load(at);
  return {{wasm_i32x4_shl(x, 16)}, {wasm_v128_and(x, wasm_i32x4_splat(static_cast<std::int32_t>(0xffff0000u)))}};
}
inline Two in_twos(Vec a, Vec b) noexcept {
  return {{wasm_i32x4_shuffle(a.v, b.v, 0, 2, 4, 6)}, {wasm_i32x4_shuffle(a.v, b.v, 1, 3, 5, 7)}};
}
inline void store_two(const Two& x, BFloat16* at) noexcept {
  const v128_t upper = wasm_i32x4_splat(static_cast<std::int32_t>(0xffff0000u));
  const v128_t even = wasm_u32x4_shr(rounded_in_place(x.even), 16), odd = rounded_in_place(x.odd);
  wasm_v128_store(at, wasm_v128_bitselect(odd, even, upper));
}
template <bool kStream>
inline void store_twos(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
  store_two(a, at_a);
  store_two(b, at_b);
}

inline Vec load_twice(Whole, const float* at) noexcept {
  const v128_t x = wasm_v128_load64_zero(at);
  return {wasm_i32x4_shuffle(x, x, 0, 0, 1, 1)};
}
// An even part of 4 lanes is 2 of them.
inline Vec load_twice(First, const float* at) noexcept {
  const v128_t x = wasm_v128_load32_zero(at);
  return {wasm_i32x4_shuffle(x, x, 0, 0, 1, 1)};
}

inline TurnsVec split(v128_t first, v128_t second) noexcept {
  return {{wasm_i32x4_shuffle(first, second, 1, 3, 5, 7)}, {wasm_i32x4_shuffle(first, second, 0, 2, 4, 6)}};
}
struct TwoHalves {
  v128_t first, second;
};
inline TwoHalves load_64_bit(Whole, const std::uint64_t* at) noexcept {
  return {wasm_v128_load(at), wasm_v128_load(at + 2)};
}
inline TwoHalves load_64_bit(First part, const std::uint64_t* at) noexcept {
  v128_t first = wasm_v128_load64_zero(at), second = wasm_i64x2_splat(0);
  if (part.n > 1) first = wasm_v128_load64_lane(at + 1, first, 1);
  if (part.n > 2) second = wasm_v128_load64_lane(at + 2, second, 0);
  return {first, second};
}
template <class Part>
inline TurnsVec load_turns(Part part, const std::uint64_t* at) noexcept {
  const TwoHalves x = load_64_bit(part, at);
  return split(x.first, x.second);
}
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, std::uint64_t factor) noexcept {
  const TwoHalves x = load_64_bit(part, at);
  const v128_t f = wasm_i64x2_splat(static_cast<std::int64_t>(factor));
  return split(wasm_i64x2_mul(x.first, f), wasm_i64x2_mul(x.second, f));
}
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, const std::uint64_t* factors) noexcept {
  const TwoHalves x = load_64_bit(part, at), f = load_64_bit(Whole{}, factors);
  return split(wasm_i64x2_mul(x.first, f.first), wasm_i64x2_mul(x.second, f.second));
}

// ---- arithmetic

inline Vec splat(float x) noexcept { return {wasm_f32x4_splat(x)}; }
inline Vec add(Vec a, Vec b) noexcept { return {wasm_f32x4_add(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) noexcept { return {wasm_f32x4_sub(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) noexcept { return {wasm_f32x4_mul(a.v, b.v)}; }
inline Vec negate(Vec x) noexcept { return {wasm_f32x4_neg(x.v)}; }

// There is no fused multiply-add. In double the product of two floats is exact, and the sum rounded to 53 bits and then
// to 24 is the sum rounded once, unless the first rounding ends half way between two floats, where the second cannot
// see what the first dropped. Half way is 1 followed by 28 zeros in what a float has no room for; a float below 2^-126
// has less room, so there every sum is suspected. What is suspected (one in 2^29 of numbers by chance) goes the way of
// vec/scalar.hpp.

/// In double: two lanes and two lanes.
struct Wide {
  v128_t lower, upper;
};
inline v128_t upper_lanes(v128_t x) noexcept { return wasm_i32x4_shuffle(x, x, 2, 3, 2, 3); }
inline Wide widened(Vec x) noexcept {
  return {wasm_f64x2_promote_low_f32x4(x.v), wasm_f64x2_promote_low_f32x4(upper_lanes(x.v))};
}
inline Vec narrowed(Wide x) noexcept {
  return {wasm_i32x4_shuffle(wasm_f32x4_demote_f64x2_zero(x.lower), wasm_f32x4_demote_f64x2_zero(x.upper), 0, 1, 4, 5)};
}
inline Wide add(Wide a, Wide b) noexcept {
  return {wasm_f64x2_add(a.lower, b.lower), wasm_f64x2_add(a.upper, b.upper)};
}
inline Wide sub(Wide a, Wide b) noexcept {
  return {wasm_f64x2_sub(a.lower, b.lower), wasm_f64x2_sub(a.upper, b.upper)};
}
inline Wide product(Vec a, Vec b) noexcept {
  const Wide x = widened(a), y = widened(b);
  return {wasm_f64x2_mul(x.lower, y.lower), wasm_f64x2_mul(x.upper, y.upper)};
}

inline v128_t rounded_to_odd(v128_t product, v128_t addend) noexcept {
  const v128_t sum = wasm_f64x2_add(product, addend), other = wasm_f64x2_sub(sum, product);
  const v128_t left = wasm_f64x2_add(wasm_f64x2_sub(product, wasm_f64x2_sub(sum, other)),
                                     wasm_f64x2_sub(addend, other));  // NaN for an infinite sum
  const v128_t zero = wasm_f64x2_splat(0.0), one = wasm_i64x2_splat(1);
  const v128_t is_positive = wasm_f64x2_gt(left, zero),
               is_inexact = wasm_v128_or(is_positive, wasm_f64x2_lt(left, zero));
  // 1 or -1: away from zero where the rest has the sign of the sum.
  const v128_t inwards = wasm_v128_xor(is_positive, wasm_f64x2_gt(sum, zero));
  const v128_t outwards = wasm_v128_or(inwards, one);
  const v128_t is_even = wasm_i64x2_eq(wasm_v128_and(sum, one), wasm_i64x2_splat(0));
  return wasm_i64x2_add(sum, wasm_v128_and(outwards, wasm_v128_and(is_even, is_inexact)));
}
__attribute__((noinline)) Vec add_rounded_to_odd(Wide product, Wide addend) noexcept {
  return narrowed({rounded_to_odd(product.lower, addend.lower), rounded_to_odd(product.upper, addend.upper)});
}

/// Sums, looked at for one that is suspected.
template <bool kIsEverSmall>
struct Watched {
  v128_t least_rest = wasm_i32x4_splat(0x7fffffff), least_size = least_rest;

  Vec rounded(Wide sum) noexcept {
    const Vec y = narrowed(sum);
    // The bits for which a float has no room: half way is the lowest integer.
    const v128_t low_words = wasm_i32x4_shuffle(sum.lower, sum.upper, 0, 2, 4, 6);
    least_rest = wasm_i32x4_min(least_rest, wasm_i32x4_shl(low_words, 3));
    // Without its sign a float that is small and not 0 has bits in [1, 2^23]. Twice that, moved, is the lowest
    // integers. (A sum is not 0 but rounds to it only where it has less than 53 bits.)
    if constexpr (kIsEverSmall)
      least_size = wasm_i32x4_min(least_size, wasm_i32x4_add(wasm_i32x4_shl(y.v, 1), wasm_i32x4_splat(0x7fffffff)));
    return y;
  }
  bool is_suspected() const noexcept {
    v128_t any = wasm_i32x4_eq(least_rest, wasm_i32x4_splat(static_cast<std::int32_t>(0x80000000u)));
    if constexpr (kIsEverSmall)
      any = wasm_v128_or(any, wasm_i32x4_lt(least_size, wasm_i32x4_splat(static_cast<std::int32_t>(0x81000000u))));
    return wasm_v128_any_true(any);
  }
};
inline Vec mul_add(Vec a, Vec b, Vec c) noexcept {
  const Wide x = product(a, b), y = widened(c);
  Watched<true> sums;
  const Vec made = sums.rounded(add(x, y));
  if (__builtin_expect(sums.is_suspected(), 0)) return add_rounded_to_odd(x, y);
  return made;
}
inline Vec mul_sub(Vec a, Vec b, Vec c) noexcept { return mul_add(a, b, negate(c)); }
inline Vec sub_mul(Vec c, Vec a, Vec b) noexcept { return mul_add(negate(a), b, c); }

// vec/fused.hpp says what these mean.
struct Fused {};
struct ByDouble {
  static Vec rounded(Wide sum) noexcept { return narrowed(sum); }
};
__attribute__((noinline)) Vec mul_add(Fused, Vec a, Vec b, Vec c) noexcept { return mul_add(a, b, c); }
inline Vec mul_sub(Fused sums, Vec a, Vec b, Vec c) noexcept { return mul_add(sums, a, b, negate(c)); }
inline Vec sub_mul(Fused sums, Vec c, Vec a, Vec b) noexcept { return mul_add(sums, negate(a), b, c); }
template <class Sums>
ROPEWALK_INLINE Vec mul_add(Sums&& sums, Vec a, Vec b, Vec c) noexcept {
  return sums.rounded(add(product(a, b), widened(c)));
}
template <class Sums>
ROPEWALK_INLINE Vec mul_sub(Sums&& sums, Vec a, Vec b, Vec c) noexcept {
  return sums.rounded(sub(product(a, b), widened(c)));
}
template <class Sums>
ROPEWALK_INLINE Vec sub_mul(Sums&& sums, Vec c, Vec a, Vec b) noexcept {
  return sums.rounded(sub(widened(c), product(a, b)));
}
template <bool kIsEverSmall, class Body>
ROPEWALK_INLINE auto together(const Body& body) noexcept {
  Watched<kIsEverSmall> sums;
  const auto made = body(sums);
  if (__builtin_expect(sums.is_suspected(), 0)) {
    const Fused again;
    return body(again);
  }
  return made;
}

inline Vec swap_neighbours(Vec x) noexcept { return {wasm_i32x4_shuffle(x.v, x.v, 1, 0, 3, 2)}; }
inline Vec negate_even(Vec x) noexcept { return {wasm_v128_xor(x.v, wasm_i64x2_splat(0x80000000ll))}; }

// ---- 32-bit integers, modulo 2^32

inline Bits splat_bits(std::uint32_t x) noexcept { return {wasm_i32x4_splat(static_cast<std::int32_t>(x))}; }
inline Bits add(Bits a, Bits b) noexcept { return {wasm_i32x4_add(a.v, b.v)}; }
inline Bits sub(Bits a, Bits b) noexcept { return {wasm_i32x4_sub(a.v, b.v)}; }
inline Bits bit_or(Bits a, Bits b) noexcept { return {wasm_v128_or(a.v, b.v)}; }
template <int kCount>
inline Bits shift_left(Bits x) noexcept {
  return {wasm_i32x4_shl(x.v, kCount)};
}
template <int kCount>
inline Bits shift_right(Bits x) noexcept {
  return {wasm_u32x4_shr(x.v, kCount)};
}
inline Vec to_float(Bits x) noexcept { return {wasm_f32x4_convert_i32x4(x.v)}; }
// The conversion saturates: 2^31 becomes 2^31 - 1, from which a comparison's -1 is taken.
inline Bits to_integer(Vec x) noexcept {
  return {wasm_i32x4_sub(wasm_i32x4_trunc_sat_f32x4(x.v), wasm_f32x4_ge(x.v, wasm_f32x4_splat(0x1p31f)))};
}
inline Vec select_by_top_bit(Bits choice, Vec yes, Vec no) noexcept {
  return {wasm_v128_bitselect(yes.v, no.v, wasm_i32x4_shr(choice.v, 31))};
}
inline Vec negate_by_top_bit(Bits choice, Vec x) noexcept {
  return {wasm_v128_xor(x.v, wasm_v128_and(choice.v, wasm_i32x4_splat(static_cast<std::int32_t>(0x80000000u))))};
}

// ---- rows of a cache

inline Bits as_bits(Vec x) noexcept { return {x.v}; }
inline Vec as_floats(Bits x) noexcept { return {x.v}; }
inline Bits bit_and(Bits a, Bits b) noexcept { return {wasm_v128_and(a.v, b.v)}; }
inline Bits larger(Bits a, Bits b) noexcept { return {wasm_i32x4_max(a.v, b.v)}; }
inline Bits smaller(Bits a, Bits b) noexcept { return {wasm_i32x4_min(a.v, b.v)}; }
inline std::uint32_t largest_lane(Bits x) noexcept {
  const v128_t y = wasm_i32x4_max(x.v, upper_lanes(x.v));
  const std::int32_t a = wasm_i32x4_extract_lane(y, 0), b = wasm_i32x4_extract_lane(y, 1);
  return static_cast<std::uint32_t>(a > b ? a : b);
}
inline float sum_of_lanes(Vec x) noexcept {
  const v128_t y = wasm_f32x4_add(x.v, upper_lanes(x.v));
  return wasm_f32x4_extract_lane(y, 0) + wasm_f32x4_extract_lane(y, 1);
}
inline float square_root(float x) noexcept { return __builtin_sqrtf(x); }

inline std::int64_t lanes_of(Whole) noexcept { return kLanes; }
inline std::int64_t lanes_of(First part) noexcept { return part.n; }

template <class Part>
inline Bits load_int8(Part part, const void* at) noexcept {
  std::uint32_t bytes = 0;
  __builtin_memcpy(&bytes, at, static_cast<std::size_t>(lanes_of(part)));
  return {wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_i32x4_splat(static_cast<std::int32_t>(bytes))))};
}
template <class Part>
inline void store_int8(Part part, Bits x, void* at) noexcept {
  const v128_t packed = wasm_i8x16_shuffle(x.v, x.v, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  const std::int32_t bytes = wasm_i32x4_extract_lane(packed, 0);
  __builtin_memcpy(at, &bytes, static_cast<std::size_t>(lanes_of(part)));
}
template <class Part>
inline Bits load_int4(Part part, const void* at) noexcept {
  std::uint32_t bytes = 0;
  __builtin_memcpy(&bytes, at, static_cast<std::size_t>((lanes_of(part) + 1) / 2));
  bytes &= 0xffffu >> (16 - 4 * lanes_of(part));
  const auto half = [bytes](int i) { return static_cast<std::int32_t>(bytes << (28 - 4 * i)) >> 28; };
  return {wasm_i32x4_make(half(0), half(1), half(2), half(3))};
}
template <class Part>
inline void store_int4(Part part, Bits x, void* at) noexcept {
  const v128_t y = wasm_v128_and(x.v, wasm_i32x4_splat(15));
  const std::int32_t all = wasm_i32x4_extract_lane(y, 0) | wasm_i32x4_extract_lane(y, 1) << 4 |
                           wasm_i32x4_extract_lane(y, 2) << 8 | wasm_i32x4_extract_lane(y, 3) << 12;
  const std::uint32_t bytes = static_cast<std::uint32_t>(all) & (0xffffu >> (16 - 4 * lanes_of(part)));
  __builtin_memcpy(at, &bytes, static_cast<std::size_t>((lanes_of(part) + 1) / 2));
}
inline void store_both(Vec a, Vec b, BFloat16* at) noexcept {
  store(Whole{}, a, at);
  store(Whole{}, b, at + kLanes);
}

// ---- attention

constexpr int kTileRows = 4;
constexpr int kTileVectors = 2;
constexpr int kKeysAtOnce = 2;

inline Vec accumulated(Vec a, Vec b, Vec c) noexcept { return add(mul(a, b), c); }
inline Vec larger(Vec a, Vec b) noexcept { return {wasm_f32x4_pmax(b.v, a.v)}; }
inline Vec nearest_whole(Vec x) noexcept { return {wasm_f32x4_nearest(x.v)}; }
inline Vec times_two_to(Vec p, Vec n) noexcept {
  const v128_t exponent = wasm_i32x4_shl(wasm_i32x4_trunc_sat_f32x4(n.v), 23);
  return {wasm_v128_andnot(wasm_i32x4_add(p.v, exponent), wasm_f32x4_lt(n.v, wasm_f32x4_splat(-126.0f)))};
}
inline float largest_of_lanes(Vec x) noexcept {
  const v128_t y = larger(x, {upper_lanes(x.v)}).v;
  const float a = wasm_f32x4_extract_lane(y, 0), b = wasm_f32x4_extract_lane(y, 1);
  return a > b ? a : b;
}
inline void transpose_tile(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) noexcept {
  const v128_t a = wasm_v128_load(from), b = wasm_v128_load(from + from_stride);
  const v128_t c = wasm_v128_load(from + 2 * from_stride), d = wasm_v128_load(from + 3 * from_stride);
  const v128_t low = wasm_i32x4_shuffle(a, b, 0, 4, 1, 5), high = wasm_i32x4_shuffle(a, b, 2, 6, 3, 7);
  const v128_t low_2 = wasm_i32x4_shuffle(c, d, 0, 4, 1, 5), high_2 = wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
  wasm_v128_store(to, wasm_i32x4_shuffle(low, low_2, 0, 1, 4, 5));
  wasm_v128_store(to + to_stride, wasm_i32x4_shuffle(low, low_2, 2, 3, 6, 7));
  wasm_v128_store(to + 2 * to_stride, wasm_i32x4_shuffle(high, high_2, 0, 1, 4, 5));
  wasm_v128_store(to + 3 * to_stride, wasm_i32x4_shuffle(high, high_2, 2, 3, 6, 7));
}
/// The sums of eight vectors, side by side.
inline void store_sums(const Vec (&x)[8], float* at) noexcept {
  for (int i = 0; i < 8; ++i) at[i] = sum_of_lanes(x[i]);
}
