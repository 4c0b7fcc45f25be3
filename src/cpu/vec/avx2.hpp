// The words of the kernels in AVX2, FMA and F16C; vec/scalar.hpp says what each means.
// No include guard on purpose: a target reads it inside its own namespace.

constexpr std::int64_t kLanes = 8;
constexpr int kBlock = 4;  // 8 of the 16 registers hold cosines and sines

struct Vec {
  __m256 v;
};
struct Bits {
  __m256i v;
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

alignas(32) constexpr std::int32_t kMaskWords[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
/// All bits set in the first n lanes of 32 bits.
inline __m256i lanes(std::int64_t n) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskWords + 8 - n));
}

// ---- memory

inline Vec load(Whole, const float* at) noexcept { return {_mm256_loadu_ps(at)}; }
inline Vec load(First part, const float* at) noexcept { return {_mm256_maskload_ps(at, lanes(part.n))}; }
inline void store(Whole, Vec x, float* at) noexcept { _mm256_storeu_ps(at, x.v); }
inline void store(First part, Vec x, float* at) noexcept { _mm256_maskstore_ps(at, lanes(part.n), x.v); }

// AVX2 has no masked access to 16-bit elements; a short row goes by way of the stack.
inline __m128i load_16_bit(Whole, const void* at) noexcept { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
inline __m128i load_16_bit(First part, const void* at) noexcept {
  alignas(16) std::uint16_t copy[8] = {};
  __builtin_memcpy(copy, at, static_cast<std::size_t>(part.n) * sizeof copy[0]);
  return _mm_load_si128(reinterpret_cast<const __m128i*>(copy));
}
inline void store_16_bit(Whole, __m128i x, void* at) noexcept { _mm_storeu_si128(static_cast<__m128i*>(at), x); }
inline void store_16_bit(First part, __m128i x, void* at) noexcept {
  alignas(16) std::uint16_t copy[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(copy), x);
  __builtin_memcpy(at, copy, static_cast<std::size_t>(part.n) * sizeof copy[0]);
}

/// The bits of the nearest bf16, ties to even, in the upper half of each lane; the lower half is of no use.
inline __m256i rounded_in_place(Vec x) noexcept {
  const __m256i bits = _mm256_castps_si256(x.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}
inline __m128i as_bfloat16(Vec x) noexcept {
  const __m256i rounded = _mm256_srli_epi32(rounded_in_place(x), 16);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0x08));
}
template <class Part>
inline Vec load(Part part, const BFloat16* at) noexcept {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_16_bit(part, at)), 16))};
}
template <class Part>
inline void store(Part part, Vec x, BFloat16* at) noexcept {
  store_16_bit(part, as_bfloat16(x), at);
}

template <class Part>
inline Vec load(Part part, const Float16* at) noexcept {
  return {_mm256_cvtph_ps(load_16_bit(part, at))};
}
template <class Part>
inline void store(Part part, Vec x, Float16* at) noexcept {
  store_16_bit(part, _mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), at);
}

inline void stream(Vec x, float* at) noexcept { _mm256_stream_ps(at, x.v); }
inline void stream_16_bit(__m128i x, void* at) noexcept { _mm_stream_si128(static_cast<__m128i*>(at), x); }
inline void stream(Vec x, Float16* at) noexcept {
  stream_16_bit(_mm256_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), at);
}
inline void stream(Vec x, BFloat16* at) noexcept { stream_16_bit(as_bfloat16(x), at); }
inline void end_streaming() noexcept { _mm_sfence(); }

inline __m256i upper_half_of_each() noexcept { return _mm256_set1_epi32(static_cast<int>(0xffff0000u)); }
inline Two load_two(const BFloat16* at) noexcept {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  return {{_mm256_castsi256_ps(_mm256_slli_epi32(x, 16))},
          {_mm256_castsi256_ps(_mm256_and_si256(x, upper_half_of_each()))}};
}
inline Two in_twos(Vec a, Vec b) noexcept {
  const auto in_order = [](__m256 x) {
    return Vec{_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), _MM_SHUFFLE(3, 1, 2, 0)))};
  };
  return {in_order(_mm256_shuffle_ps(a.v, b.v, _MM_SHUFFLE(2, 0, 2, 0))),
          in_order(_mm256_shuffle_ps(a.v, b.v, _MM_SHUFFLE(3, 1, 3, 1)))};
}
template <bool kStream>
inline void store_two(const Two& x, BFloat16* at) noexcept {
  const __m256i even = _mm256_srli_epi32(rounded_in_place(x.even), 16), odd = rounded_in_place(x.odd);
  const __m256i both = _mm256_blend_epi16(even, odd, 0xaa);
  if constexpr (kStream)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(at), both);
  else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), both);
}
template <bool kStream>
inline void store_twos(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
  store_two<kStream>(a, at_a);
  store_two<kStream>(b, at_b);
}

inline Vec twice(__m128 x) noexcept {
  return {_mm256_permutevar8x32_ps(_mm256_castps128_ps256(x), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3))};
}
inline Vec load_twice(Whole, const float* at) noexcept { return twice(_mm_loadu_ps(at)); }
inline Vec load_twice(First part, const float* at) noexcept {
  return twice(_mm_maskload_ps(at, _mm256_castsi256_si128(lanes(part.n / 2))));
}

inline TurnsVec split(__m256i first, __m256i second) noexcept {
  const __m256 a = _mm256_castsi256_ps(first), b = _mm256_castsi256_ps(second);
  const __m256i low = _mm256_castps_si256(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));
  const __m256i high = _mm256_castps_si256(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
  return {{_mm256_permute4x64_epi64(high, _MM_SHUFFLE(3, 1, 2, 0))},
          {_mm256_permute4x64_epi64(low, _MM_SHUFFLE(3, 1, 2, 0))}};
}
struct TwoHalves {
  __m256i first, second;
};
inline TwoHalves load_64_bit(Whole, const std::uint64_t* at) noexcept {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 4))};
}
inline TwoHalves load_64_bit(First part, const std::uint64_t* at) noexcept {
  const auto* words = reinterpret_cast<const long long*>(at);
  const __m256i used = lanes(part.n);
  return {_mm256_maskload_epi64(words, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(used))),
          _mm256_maskload_epi64(words + 4, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(used, 1)))};
}
template <class Part>
inline TurnsVec load_turns(Part part, const std::uint64_t* at) noexcept {
  const TwoHalves x = load_64_bit(part, at);
  return split(x.first, x.second);
}
/// a * b modulo 2^64 from 32-bit products: lower * lower + 2^32 (lower * upper + upper * lower).
inline __m256i mul_64_bit(__m256i a, __m256i b) noexcept {
  const __m256i crossed = _mm256_mullo_epi32(a, _mm256_shuffle_epi32(b, _MM_SHUFFLE(2, 3, 0, 1)));
  const __m256i upper = _mm256_add_epi32(_mm256_slli_epi64(crossed, 32), crossed);
  const __m256i kept = _mm256_and_si256(upper, _mm256_set1_epi64x(static_cast<long long>(0xffffffff00000000ull)));
  return _mm256_add_epi64(_mm256_mul_epu32(a, b), kept);
}
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, std::uint64_t factor) noexcept {
  const TwoHalves x = load_64_bit(part, at);
  const __m256i f = _mm256_set1_epi64x(static_cast<long long>(factor));
  return split(mul_64_bit(x.first, f), mul_64_bit(x.second, f));
}

template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, const std::uint64_t* factors) noexcept {
  const TwoHalves x = load_64_bit(part, at), f = load_64_bit(Whole{}, factors);
  return split(mul_64_bit(x.first, f.first), mul_64_bit(x.second, f.second));
}

// ---- arithmetic

inline Vec splat(float x) noexcept { return {_mm256_set1_ps(x)}; }
inline Vec add(Vec a, Vec b) noexcept { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) noexcept { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) noexcept { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) noexcept { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec mul_sub(Vec a, Vec b, Vec c) noexcept { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }
inline Vec sub_mul(Vec c, Vec a, Vec b) noexcept { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
#include "cpu/vec/fused.hpp"
inline Vec swap_neighbours(Vec x) noexcept { return {_mm256_permute_ps(x.v, 0xb1)}; }
inline Vec negate(Vec x) noexcept { return {_mm256_xor_ps(x.v, _mm256_set1_ps(-0.0f))}; }
inline Vec negate_even(Vec x) noexcept {
  return {_mm256_xor_ps(x.v, _mm256_castsi256_ps(_mm256_set1_epi64x(0x80000000ll)))};
}

// ---- 32-bit integers, modulo 2^32

inline Bits splat_bits(std::uint32_t x) noexcept { return {_mm256_set1_epi32(static_cast<int>(x))}; }
inline Bits add(Bits a, Bits b) noexcept { return {_mm256_add_epi32(a.v, b.v)}; }
inline Bits sub(Bits a, Bits b) noexcept { return {_mm256_sub_epi32(a.v, b.v)}; }
inline Bits bit_or(Bits a, Bits b) noexcept { return {_mm256_or_si256(a.v, b.v)}; }
template <int kCount>
inline Bits shift_left(Bits x) noexcept {
  return {_mm256_slli_epi32(x.v, kCount)};
}
template <int kCount>
inline Bits shift_right(Bits x) noexcept {
  return {_mm256_srli_epi32(x.v, kCount)};
}
inline Vec to_float(Bits x) noexcept { return {_mm256_cvtepi32_ps(x.v)}; }
// 2^31 does not fit and becomes 0x80000000, which is 2^31 modulo 2^32.
inline Bits to_integer(Vec x) noexcept { return {_mm256_cvtps_epi32(x.v)}; }
inline Vec select_by_top_bit(Bits choice, Vec yes, Vec no) noexcept {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_castsi256_ps(choice.v))};
}
inline Vec negate_by_top_bit(Bits choice, Vec x) noexcept {
  const __m256i sign = _mm256_and_si256(choice.v, _mm256_set1_epi32(static_cast<int>(0x80000000u)));
  return {_mm256_xor_ps(x.v, _mm256_castsi256_ps(sign))};
}

// ---- rows of a cache

inline Bits as_bits(Vec x) noexcept { return {_mm256_castps_si256(x.v)}; }
inline Vec as_floats(Bits x) noexcept { return {_mm256_castsi256_ps(x.v)}; }
inline Bits bit_and(Bits a, Bits b) noexcept { return {_mm256_and_si256(a.v, b.v)}; }
inline Bits larger(Bits a, Bits b) noexcept { return {_mm256_max_epi32(a.v, b.v)}; }
inline Bits smaller(Bits a, Bits b) noexcept { return {_mm256_min_epi32(a.v, b.v)}; }
inline std::uint32_t largest_lane(Bits x) noexcept {
  __m128i y = _mm_max_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  y = _mm_max_epi32(y, _mm_shuffle_epi32(y, _MM_SHUFFLE(1, 0, 3, 2)));
  y = _mm_max_epi32(y, _mm_shuffle_epi32(y, _MM_SHUFFLE(2, 3, 0, 1)));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(y));
}
inline float sum_of_lanes(Vec x) noexcept {
  __m128 y = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  y = _mm_add_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
inline float square_root(float x) noexcept { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

/// Up to 8 bytes by way of the stack.
inline __m128i load_bytes(const void* at, std::int64_t n) noexcept {
  alignas(16) std::uint8_t copy[16] = {};
  __builtin_memcpy(copy, at, static_cast<std::size_t>(n));
  return _mm_load_si128(reinterpret_cast<const __m128i*>(copy));
}
inline void store_bytes(__m128i x, void* at, std::int64_t n) noexcept {
  alignas(16) std::uint8_t copy[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(copy), x);
  __builtin_memcpy(at, copy, static_cast<std::size_t>(n));
}

inline Bits load_int8(Whole, const void* at) noexcept {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(at)))};
}
inline Bits load_int8(First part, const void* at) noexcept { return {_mm256_cvtepi8_epi32(load_bytes(at, part.n))}; }
inline __m128i lowest_bytes(Bits x) noexcept {
  const __m256i packed = _mm256_shuffle_epi8(x.v, _mm256_set1_epi32(0x0c080400));
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
}
inline void store_int8(Whole, Bits x, void* at) noexcept {
  _mm_storel_epi64(static_cast<__m128i*>(at), lowest_bytes(x));
}
inline void store_int8(First part, Bits x, void* at) noexcept { store_bytes(lowest_bytes(x), at, part.n); }

/// A byte in each 64 bits, to a half in each 32.
inline Bits halves_of(__m256i bytes) noexcept {
  const __m256i apart = _mm256_or_si256(bytes, _mm256_slli_epi64(bytes, 28));
  return {_mm256_srai_epi32(_mm256_slli_epi32(apart, 28), 28)};
}
inline Bits load_int4(Whole, const void* at) noexcept {
  std::int32_t word;
  __builtin_memcpy(&word, at, sizeof word);
  return halves_of(_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(word)));
}
inline Bits load_int4(First part, const void* at) noexcept {
  return {_mm256_and_si256(halves_of(_mm256_cvtepu8_epi64(load_bytes(at, (part.n + 1) / 2))).v, lanes(part.n))};
}
/// Lanes that hold four bits each, to four bytes.
inline __m128i joined_halves(__m256i x) noexcept {
  const __m256i joined = _mm256_or_si256(x, _mm256_srli_epi64(x, 28));
  const __m256i packed = _mm256_shuffle_epi8(joined, _mm256_set1_epi32(0x0800));
  return _mm_unpacklo_epi16(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1));
}
inline void store_int4(Whole, Bits x, void* at) noexcept {
  const std::int32_t word = _mm_cvtsi128_si32(joined_halves(_mm256_and_si256(x.v, _mm256_set1_epi32(15))));
  __builtin_memcpy(at, &word, sizeof word);
}
inline void store_int4(First part, Bits x, void* at) noexcept {
  const __m256i kept = _mm256_and_si256(_mm256_set1_epi32(15), lanes(part.n));
  store_bytes(joined_halves(_mm256_and_si256(x.v, kept)), at, (part.n + 1) / 2);
}
inline void store_both(Vec a, Vec b, BFloat16* at) noexcept {
  const __m256i y = _mm256_srli_epi32(rounded_in_place(a), 16), z = _mm256_srli_epi32(rounded_in_place(b), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(at),
                      _mm256_permute4x64_epi64(_mm256_packus_epi32(y, z), _MM_SHUFFLE(3, 1, 2, 0)));
}

// ---- attention

constexpr int kTileRows = 6;
constexpr int kTileVectors = 2;
constexpr int kKeysAtOnce = 2;

inline Vec accumulated(Vec a, Vec b, Vec c) noexcept { return mul_add(a, b, c); }
inline Vec larger(Vec a, Vec b) noexcept { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec nearest_whole(Vec x) noexcept {
  return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec times_two_to(Vec p, Vec n) noexcept {
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n.v), 23);
  const __m256 power = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.v), exponent));
  return {_mm256_andnot_ps(_mm256_cmp_ps(n.v, _mm256_set1_ps(-126.0f), _CMP_LT_OQ), power)};
}
inline float largest_of_lanes(Vec x) noexcept {
  __m128 y = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  y = _mm_max_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}
inline void transpose_tile(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) noexcept {
  __m256 x[8], y[8];
  for (int i = 0; i < 8; ++i) x[i] = _mm256_loadu_ps(from + i * from_stride);
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_shuffle_ps(y[i], y[i + 2], _MM_SHUFFLE(1, 0, 1, 0));
    x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], _MM_SHUFFLE(3, 2, 3, 2));
    x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], _MM_SHUFFLE(1, 0, 1, 0));
    x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], _MM_SHUFFLE(3, 2, 3, 2));
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(x[i], x[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(x[i], x[i + 4], 0x31));
  }
}
/// The sums of eight vectors, side by side.
inline void store_sums(const Vec (&x)[8], float* at) noexcept {
  for (int i = 0; i < 8; ++i) at[i] = sum_of_lanes(x[i]);
}
