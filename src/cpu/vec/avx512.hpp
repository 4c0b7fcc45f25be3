// The words of the kernels in AVX-512 F, BW, DQ and VL; vec/scalar.hpp says what each means.
// No include guard on purpose: a target reads it inside its own namespace.

constexpr std::int64_t kLanes = 16;
constexpr int kBlock = 8;  // 16 of the 32 registers hold cosines and sines

struct Vec {
  __m512 v;
};
struct Bits {
  __m512i v;
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
  __mmask16 lanes() const noexcept { return static_cast<__mmask16>((1u << n) - 1u); }
  __mmask8 lower_lanes() const noexcept { return static_cast<__mmask8>(lanes()); }
  __mmask8 upper_lanes() const noexcept { return static_cast<__mmask8>(lanes() >> 8); }
};

// ---- memory

inline Vec load(Whole, const float* at) noexcept { return {_mm512_loadu_ps(at)}; }
inline Vec load(First part, const float* at) noexcept { return {_mm512_maskz_loadu_ps(part.lanes(), at)}; }
inline void store(Whole, Vec x, float* at) noexcept { _mm512_storeu_ps(at, x.v); }
inline void store(First part, Vec x, float* at) noexcept { _mm512_mask_storeu_ps(at, part.lanes(), x.v); }

inline __m256i load_16_bit(Whole, const void* at) noexcept {
  return _mm256_loadu_si256(static_cast<const __m256i*>(at));
}
inline __m256i load_16_bit(First part, const void* at) noexcept { return _mm256_maskz_loadu_epi16(part.lanes(), at); }
inline void store_16_bit(Whole, __m256i x, void* at) noexcept { _mm256_storeu_si256(static_cast<__m256i*>(at), x); }
inline void store_16_bit(First part, __m256i x, void* at) noexcept { _mm256_mask_storeu_epi16(at, part.lanes(), x); }

template <class Part>
inline Vec load(Part part, const BFloat16* at) noexcept {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_16_bit(part, at)), 16))};
}
/// The bits of the nearest bf16, ties to even, in the upper half of each lane; the lower half is of no use.
inline __m512i rounded_in_place(Vec x) noexcept {
  const __m512i bits = _mm512_castps_si512(x.v);
  const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
  const __m512i down = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
  return _mm512_mask_add_epi32(down, odd, bits, _mm512_set1_epi32(0x8000));
}
inline __m256i as_bfloat16(Vec x) noexcept { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_in_place(x), 16)); }
template <class Part>
inline void store(Part part, Vec x, BFloat16* at) noexcept {
  store_16_bit(part, as_bfloat16(x), at);
}

template <class Part>
inline Vec load(Part part, const Float16* at) noexcept {
  return {_mm512_cvtph_ps(load_16_bit(part, at))};
}
template <class Part>
inline void store(Part part, Vec x, Float16* at) noexcept {
  store_16_bit(part, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), at);
}

inline void stream(Vec x, float* at) noexcept { _mm512_stream_ps(at, x.v); }
inline void stream_16_bit(__m256i x, void* at) noexcept { _mm256_stream_si256(static_cast<__m256i*>(at), x); }
inline void stream(Vec x, BFloat16* at) noexcept { stream_16_bit(as_bfloat16(x), at); }
inline void stream(Vec x, Float16* at) noexcept {
  stream_16_bit(_mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), at);
}
inline void end_streaming() noexcept { _mm_sfence(); }

inline __m512i upper_half_of_each() noexcept { return _mm512_set1_epi32(static_cast<int>(0xffff0000u)); }
inline Two load_two(const BFloat16* at) noexcept {
  const __m512i x = _mm512_loadu_si512(at);
  return {{_mm512_castsi512_ps(_mm512_slli_epi32(x, 16))},
          {_mm512_castsi512_ps(_mm512_and_si512(x, upper_half_of_each()))}};
}
inline Two in_twos(Vec a, Vec b) noexcept {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return {{_mm512_permutex2var_ps(a.v, even, b.v)}, {_mm512_permutex2var_ps(a.v, odd, b.v)}};
}
/// Lanes whose upper halves are bf16: those of `even` go below those of `odd`.
inline __m512i merged(__m512i even, __m512i odd) noexcept {
  constexpr int kFirstOrBothOthers = 0xf8;
  return _mm512_ternarylogic_epi32(_mm512_srli_epi32(even, 16), odd, upper_half_of_each(), kFirstOrBothOthers);
}
template <bool kStream>
inline void put_two(__m512i x, BFloat16* at) noexcept {
  if constexpr (kStream)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(at), x);
  else
    _mm512_storeu_si512(at, x);
}

inline Vec twice(__m256 x) noexcept {
  const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return {_mm512_permutexvar_ps(index, _mm512_castps256_ps512(x))};
}
inline Vec load_twice(Whole, const float* at) noexcept { return twice(_mm256_loadu_ps(at)); }
inline Vec load_twice(First part, const float* at) noexcept {
  return twice(_mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << (part.n / 2)) - 1u), at));
}

inline TurnsVec split(__m512i first, __m512i second) noexcept {
  const __m512i low = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i high = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return {{_mm512_permutex2var_epi32(first, high, second)}, {_mm512_permutex2var_epi32(first, low, second)}};
}
struct TwoHalves {
  __m512i first, second;
};
inline TwoHalves load_64_bit(Whole, const std::uint64_t* at) noexcept {
  return {_mm512_loadu_si512(at), _mm512_loadu_si512(at + 8)};
}
inline TwoHalves load_64_bit(First part, const std::uint64_t* at) noexcept {
  return {_mm512_maskz_loadu_epi64(part.lower_lanes(), at), _mm512_maskz_loadu_epi64(part.upper_lanes(), at + 8)};
}
template <class Part>
inline TurnsVec load_turns(Part part, const std::uint64_t* at) noexcept {
  const TwoHalves x = load_64_bit(part, at);
  return split(x.first, x.second);
}
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, std::uint64_t factor) noexcept {
  const TwoHalves x = load_64_bit(part, at);
  const __m512i f = _mm512_set1_epi64(static_cast<long long>(factor));
  return split(_mm512_mullo_epi64(x.first, f), _mm512_mullo_epi64(x.second, f));
}

template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, const std::uint64_t* factors) noexcept {
  const TwoHalves x = load_64_bit(part, at), f = load_64_bit(Whole{}, factors);
  return split(_mm512_mullo_epi64(x.first, f.first), _mm512_mullo_epi64(x.second, f.second));
}

// ---- arithmetic

inline Vec splat(float x) noexcept { return {_mm512_set1_ps(x)}; }
inline Vec add(Vec a, Vec b) noexcept { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec sub(Vec a, Vec b) noexcept { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec mul(Vec a, Vec b) noexcept { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec mul_add(Vec a, Vec b, Vec c) noexcept { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec mul_sub(Vec a, Vec b, Vec c) noexcept { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }
inline Vec sub_mul(Vec c, Vec a, Vec b) noexcept { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
#include "cpu/vec/fused.hpp"
inline Vec swap_neighbours(Vec x) noexcept { return {_mm512_permute_ps(x.v, 0xb1)}; }
inline Vec negate(Vec x) noexcept { return {_mm512_xor_ps(x.v, _mm512_set1_ps(-0.0f))}; }
inline Vec negate_even(Vec x) noexcept {
  return {_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x.v), _mm512_set1_epi64(0x80000000ll)))};
}

// ---- 32-bit integers, modulo 2^32

inline Bits splat_bits(std::uint32_t x) noexcept { return {_mm512_set1_epi32(static_cast<int>(x))}; }
inline Bits add(Bits a, Bits b) noexcept { return {_mm512_add_epi32(a.v, b.v)}; }
inline Bits sub(Bits a, Bits b) noexcept { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Bits bit_or(Bits a, Bits b) noexcept { return {_mm512_or_si512(a.v, b.v)}; }
template <int kCount>
inline Bits shift_left(Bits x) noexcept {
  return {_mm512_slli_epi32(x.v, kCount)};
}
template <int kCount>
inline Bits shift_right(Bits x) noexcept {
  return {_mm512_srli_epi32(x.v, kCount)};
}
inline Vec to_float(Bits x) noexcept { return {_mm512_cvtepi32_ps(x.v)}; }
// 2^31 does not fit and becomes 0x80000000, which is 2^31 modulo 2^32.
inline Bits to_integer(Vec x) noexcept { return {_mm512_cvtps_epi32(x.v)}; }
inline Vec select_by_top_bit(Bits choice, Vec yes, Vec no) noexcept {
  return {_mm512_mask_blend_ps(_mm512_movepi32_mask(choice.v), no.v, yes.v)};
}
inline Vec negate_by_top_bit(Bits choice, Vec x) noexcept {
  const __m512i sign = _mm512_and_si512(choice.v, _mm512_set1_epi32(static_cast<int>(0x80000000u)));
  return {_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x.v), sign))};
}

// ---- rows of a cache

inline Bits as_bits(Vec x) noexcept { return {_mm512_castps_si512(x.v)}; }
inline Vec as_floats(Bits x) noexcept { return {_mm512_castsi512_ps(x.v)}; }
inline Bits bit_and(Bits a, Bits b) noexcept { return {_mm512_and_si512(a.v, b.v)}; }
inline Bits larger(Bits a, Bits b) noexcept { return {_mm512_max_epi32(a.v, b.v)}; }
inline Bits smaller(Bits a, Bits b) noexcept { return {_mm512_min_epi32(a.v, b.v)}; }
inline std::uint32_t largest_lane(Bits x) noexcept {
  const __m256i half = _mm256_max_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
  __m128i y = _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  y = _mm_max_epi32(y, _mm_shuffle_epi32(y, _MM_SHUFFLE(1, 0, 3, 2)));
  y = _mm_max_epi32(y, _mm_shuffle_epi32(y, _MM_SHUFFLE(2, 3, 0, 1)));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(y));
}
inline float sum_of_lanes(Vec x) noexcept {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 y = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  y = _mm_add_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
inline float square_root(float x) noexcept { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

inline __mmask16 first_bytes(std::int64_t n) noexcept { return static_cast<__mmask16>((1u << n) - 1u); }

inline Bits load_int8(Whole, const void* at) noexcept {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(at)))};
}
inline Bits load_int8(First part, const void* at) noexcept {
  return {_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(part.lanes(), at))};
}
inline void store_int8(Whole, Bits x, void* at) noexcept {
  _mm_storeu_si128(static_cast<__m128i*>(at), _mm512_cvtepi32_epi8(x.v));
}
inline void store_int8(First part, Bits x, void* at) noexcept {
  _mm_mask_storeu_epi8(at, part.lanes(), _mm512_cvtepi32_epi8(x.v));
}

/// A byte in each 64 bits, to a half in each 32.
inline Bits halves_of(__m512i bytes) noexcept {
  const __m512i apart = _mm512_or_si512(bytes, _mm512_slli_epi64(bytes, 28));
  return {_mm512_srai_epi32(_mm512_slli_epi32(apart, 28), 28)};
}
inline Bits load_int4(Whole, const void* at) noexcept {
  return halves_of(_mm512_cvtepu8_epi64(_mm_loadl_epi64(static_cast<const __m128i*>(at))));
}
inline Bits load_int4(First part, const void* at) noexcept {
  const __m512i bytes = _mm512_cvtepu8_epi64(_mm_maskz_loadu_epi8(first_bytes((part.n + 1) / 2), at));
  return {_mm512_maskz_mov_epi32(part.lanes(), halves_of(bytes).v)};
}
/// Lanes that hold four bits each, to eight bytes.
inline __m128i joined_halves(__m512i x) noexcept {
  return _mm512_cvtepi64_epi8(_mm512_or_si512(x, _mm512_srli_epi64(x, 28)));
}
inline void store_int4(Whole, Bits x, void* at) noexcept {
  _mm_storel_epi64(static_cast<__m128i*>(at), joined_halves(_mm512_and_si512(x.v, _mm512_set1_epi32(15))));
}
inline void store_int4(First part, Bits x, void* at) noexcept {
  const __m512i kept = _mm512_maskz_and_epi32(part.lanes(), x.v, _mm512_set1_epi32(15));
  _mm_mask_storeu_epi8(at, first_bytes((part.n + 1) / 2), joined_halves(kept));
}
/// The upper 16 bits of every lane, those of a first.
inline __m512i upper_halves(__m512i a, __m512i b) noexcept {
  const __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25,
                                       23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_permutex2var_epi16(a, odd, b);
}

// ---- attention

constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;
constexpr int kKeysAtOnce = 4;

inline Vec accumulated(Vec a, Vec b, Vec c) noexcept { return mul_add(a, b, c); }
inline Vec larger(Vec a, Vec b) noexcept { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec nearest_whole(Vec x) noexcept {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// One instruction, and what is below 2^-126 ends in 0 by way of the subnormal numbers.
inline Vec times_two_to(Vec p, Vec n) noexcept { return {_mm512_scalef_ps(p.v, n.v)}; }
inline float largest_of_lanes(Vec x) noexcept { return _mm512_reduce_max_ps(x.v); }
inline void transpose_tile(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) noexcept {
  __m512 x[16], y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = _mm512_loadu_ps(from + i * from_stride);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
  // x[4 i + j]: in its 128-bit lane l, column 4 l + j of rows 4 i to 4 i + 3.
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_shuffle_ps(y[i], y[i + 2], _MM_SHUFFLE(1, 0, 1, 0));
    x[i + 1] = _mm512_shuffle_ps(y[i], y[i + 2], _MM_SHUFFLE(3, 2, 3, 2));
    x[i + 2] = _mm512_shuffle_ps(y[i + 1], y[i + 3], _MM_SHUFFLE(1, 0, 1, 0));
    x[i + 3] = _mm512_shuffle_ps(y[i + 1], y[i + 3], _MM_SHUFFLE(3, 2, 3, 2));
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 8)
#pragma GCC unroll 16
    for (int j = 0; j < 4; ++j) {
      y[i + j] = _mm512_shuffle_f32x4(x[i + j], x[i + 4 + j], 0x88);
      y[i + 4 + j] = _mm512_shuffle_f32x4(x[i + j], x[i + 4 + j], 0xdd);
    }
#pragma GCC unroll 16
  for (int j = 0; j < 4; ++j) {
    _mm512_storeu_ps(to + j * to_stride, _mm512_shuffle_f32x4(y[j], y[8 + j], 0x88));
    _mm512_storeu_ps(to + (4 + j) * to_stride, _mm512_shuffle_f32x4(y[4 + j], y[12 + j], 0x88));
    _mm512_storeu_ps(to + (8 + j) * to_stride, _mm512_shuffle_f32x4(y[j], y[8 + j], 0xdd));
    _mm512_storeu_ps(to + (12 + j) * to_stride, _mm512_shuffle_f32x4(y[4 + j], y[12 + j], 0xdd));
  }
}
/// The sums of eight vectors, side by side.
inline void store_sums(const Vec (&x)[8], float* at) noexcept {
  // Lanes of a and of b, alternating, half as many of each.
  const auto halved = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  };
  const auto paired = [](__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                         _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
  };
  const __m512 low = paired(halved(x[0].v, x[1].v), halved(x[2].v, x[3].v));
  const __m512 high = paired(halved(x[4].v, x[5].v), halved(x[6].v, x[7].v));
  // Each 128 bits of `low` hold parts of the first four sums.
  const __m512 both = _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
  const __m256 first = _mm512_castps512_ps256(both), second = _mm512_extractf32x8_ps(both, 1);
  const __m128 sums_low = _mm_add_ps(_mm256_castps256_ps128(first), _mm256_extractf128_ps(first, 1));
  const __m128 sums_high = _mm_add_ps(_mm256_castps256_ps128(second), _mm256_extractf128_ps(second, 1));
  _mm_storeu_ps(at, sums_low);
  _mm_storeu_ps(at + 4, sums_high);
}
