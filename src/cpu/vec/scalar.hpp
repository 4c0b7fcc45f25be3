// The words of the kernels in plain C++, four lanes in a loop: what every processor has, and what the words mean.
// No include guard on purpose: a target reads it inside its own namespace.

constexpr std::int64_t kLanes = 4;  // floats, or 32-bit integers, in a Vec or Bits
constexpr int kBlock = 2;           // most vectors of cosines held in registers across the heads

struct Vec {
  float lane[kLanes];
};
struct Bits {
  std::uint32_t lane[kLanes];
};
/// 2 kLanes neighbours: those with an even index, those with an odd one.
struct Two {
  Vec even, odd;
};
/// Phases, 2^64 to a turn, split into their upper and lower halves.
struct TurnsVec {
  Bits high, low;
};

/// How much of a vector a step uses: all lanes, or the first n of them. Lanes that are not used are neither read from
/// memory nor written to it.
struct Whole {
  static constexpr std::int64_t n = kLanes;
};
struct First {
  std::int64_t n;  // 1 ... kLanes - 1
};

template <class F>
inline Vec each_lane(F f) noexcept {
  Vec y;
  for (std::int64_t i = 0; i < kLanes; ++i) y.lane[i] = f(i);
  return y;
}
template <class F>
inline Bits each_lane_bits(F f) noexcept {
  Bits y;
  for (std::int64_t i = 0; i < kLanes; ++i) y.lane[i] = f(i);
  return y;
}

inline std::uint32_t bits_of(float x) noexcept { return __builtin_bit_cast(std::uint32_t, x); }
inline float float_of(std::uint32_t x) noexcept { return __builtin_bit_cast(float, x); }

// ---- one element to a float and back

inline float widen(float x) noexcept { return x; }
inline float widen(BFloat16 x) noexcept { return float_of(static_cast<std::uint32_t>(x.bits) << 16); }
inline float widen(Float16 x) noexcept {
  const std::uint32_t sign = (x.bits & 0x8000u) << 16, exponent = (x.bits >> 10) & 31u, mantissa = x.bits & 0x3ffu;
  if (exponent == 0) return float_of(sign | bits_of(static_cast<float>(mantissa) * 0x1p-24f));
  if (exponent == 31) return float_of(sign | 0x7f800000u | (mantissa << 13));
  return float_of(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

inline void narrow(float x, float* y) noexcept { __builtin_memcpy(y, &x, sizeof x); }
// A NaN needs no care: the lower half of every one that gets here is zero, for it is the processor's own or came from
// 16 bits, and so the rounding cannot carry out of it.
inline void narrow(float x, BFloat16* y) noexcept {
  const std::uint32_t bits = bits_of(x);
  const BFloat16 z{static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
  __builtin_memcpy(y, &z, sizeof z);
}
inline void narrow(float x, Float16* y) noexcept {
  const std::uint32_t sign = (bits_of(x) >> 16) & 0x8000u, magnitude = bits_of(x) & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);  // a NaN stays one
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;  // 65520 and above round to infinity
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14 a binary16 is a multiple of 2^-24, the last place of a float in [0.5, 1): the sum rounds to it.
    half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  }
  const Float16 z{static_cast<std::uint16_t>(sign | half)};
  __builtin_memcpy(y, &z, sizeof z);
}

// ---- memory

/// Elements [at, at + n) as floats; zero in the other lanes.
template <class Part, class T>
inline Vec load(Part part, const T* at) noexcept {
  Vec y{};
  for (std::int64_t i = 0; i < part.n; ++i) {
    T x;
    __builtin_memcpy(&x, at + i, sizeof x);
    y.lane[i] = widen(x);
  }
  return y;
}

/// Rounds to nearest even where T is narrower than a float.
template <class Part, class T>
inline void store(Part part, Vec x, T* at) noexcept {
  for (std::int64_t i = 0; i < part.n; ++i) narrow(x.lane[i], at + i);
}

/// Past the caches, to an address that kStreamBytes divides; like store where a processor has no such thing.
template <class T>
inline void stream(Vec x, T* at) noexcept {
  store(Whole{}, x, at);
}
/// Orders what was streamed before everything that follows.
inline void end_streaming() noexcept {}

/// 2 kLanes elements.
inline Two load_two(const BFloat16* at) noexcept {
  return {each_lane([&](std::int64_t i) { return widen(at[2 * i]); }),
          each_lane([&](std::int64_t i) { return widen(at[2 * i + 1]); })};
}
/// 2 kLanes floats, the first half of them in a.
inline Two in_twos(Vec a, Vec b) noexcept {
  const auto pick = [&](std::int64_t i) { return i < kLanes ? a.lane[i] : b.lane[i - kLanes]; };
  return {each_lane([&](std::int64_t i) { return pick(2 * i); }),
          each_lane([&](std::int64_t i) { return pick(2 * i + 1); })};
}
/// Two times 2 kLanes elements, together because what is rare in rounding is then looked for once.
template <bool kStream>
inline void store_twos(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
  for (std::int64_t i = 0; i < kLanes; ++i) {
    narrow(a.even.lane[i], at_a + 2 * i);
    narrow(a.odd.lane[i], at_a + 2 * i + 1);
    narrow(b.even.lane[i], at_b + 2 * i);
    narrow(b.odd.lane[i], at_b + 2 * i + 1);
  }
}

/// n / 2 floats, each in two lanes: a a b b ...
template <class Part>
inline Vec load_twice(Part part, const float* at) noexcept {
  Vec y{};
  for (std::int64_t i = 0; i < part.n; ++i) y.lane[i] = at[i / 2];
  return y;
}

template <class Part>
inline TurnsVec load_turns(Part part, const std::uint64_t* at) noexcept {
  TurnsVec y{};
  for (std::int64_t i = 0; i < part.n; ++i) {
    y.high.lane[i] = static_cast<std::uint32_t>(at[i] >> 32);
    y.low.lane[i] = static_cast<std::uint32_t>(at[i]);
  }
  return y;
}

/// factor * at[i], modulo 2^64.
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, std::uint64_t factor) noexcept {
  TurnsVec y{};
  for (std::int64_t i = 0; i < part.n; ++i) {
    const std::uint64_t product = factor * at[i];
    y.high.lane[i] = static_cast<std::uint32_t>(product >> 32);
    y.low.lane[i] = static_cast<std::uint32_t>(product);
  }
  return y;
}

/// factors[i] * at[i], modulo 2^64; every one of the kLanes factors is there to be read.
template <class Part>
inline TurnsVec load_turns_times(Part part, const std::uint64_t* at, const std::uint64_t* factors) noexcept {
  TurnsVec y{};
  for (std::int64_t i = 0; i < part.n; ++i) {
    const std::uint64_t product = factors[i] * at[i];
    y.high.lane[i] = static_cast<std::uint32_t>(product >> 32);
    y.low.lane[i] = static_cast<std::uint32_t>(product);
  }
  return y;
}

// ---- arithmetic

inline Vec splat(float x) noexcept {
  return each_lane([&](std::int64_t) { return x; });
}
inline Vec add(Vec a, Vec b) noexcept {
  return each_lane([&](std::int64_t i) { return a.lane[i] + b.lane[i]; });
}
inline Vec sub(Vec a, Vec b) noexcept {
  return each_lane([&](std::int64_t i) { return a.lane[i] - b.lane[i]; });
}
inline Vec mul(Vec a, Vec b) noexcept {
  return each_lane([&](std::int64_t i) { return a.lane[i] * b.lane[i]; });
}
/// a * b + c rounded once.
inline float fused(float a, float b, float c) noexcept {
#ifdef __FP_FAST_FMAF
  return __builtin_fmaf(a, b, c);
#else
  // Without the instruction fmaf is a call that changes the rounding mode twice. Instead: the product of two floats is
  // exact in double, and the sum is rounded to odd (Boldo and Melquiond 2008), so that the rounding to float is the
  // only one that counts.
  const double product = static_cast<double>(a) * static_cast<double>(b), addend = static_cast<double>(c);
  const double sum = product + addend, other = sum - product;
  const double left = (product - (sum - other)) + (addend - other);  // what the sum dropped; NaN for an infinite sum
  const auto bits = __builtin_bit_cast(std::int64_t, sum);
  const std::int64_t outwards = (left > 0.0) == (sum > 0.0) ? 1 : -1;
  const bool is_even_and_inexact = (left > 0.0 || left < 0.0) && (bits & 1) == 0;
  return static_cast<float>(__builtin_bit_cast(double, bits + (is_even_and_inexact ? outwards : 0)));
#endif
}

/// a * b + c, a * b - c and c - a * b, each rounded once.
inline Vec mul_add(Vec a, Vec b, Vec c) noexcept {
  return each_lane([&](std::int64_t i) { return fused(a.lane[i], b.lane[i], c.lane[i]); });
}
inline Vec mul_sub(Vec a, Vec b, Vec c) noexcept {
  return each_lane([&](std::int64_t i) { return fused(a.lane[i], b.lane[i], -c.lane[i]); });
}
inline Vec sub_mul(Vec c, Vec a, Vec b) noexcept {
  return each_lane([&](std::int64_t i) { return fused(-a.lane[i], b.lane[i], c.lane[i]); });
}
#include "cpu/vec/fused.hpp"

/// b a d c ...
inline Vec swap_neighbours(Vec x) noexcept {
  return each_lane([&](std::int64_t i) { return x.lane[i ^ 1]; });
}
inline Vec negate(Vec x) noexcept {
  return each_lane([&](std::int64_t i) { return -x.lane[i]; });
}
/// -a b -c d ...
inline Vec negate_even(Vec x) noexcept {
  return each_lane([&](std::int64_t i) { return i % 2 == 0 ? -x.lane[i] : x.lane[i]; });
}

// ---- 32-bit integers, modulo 2^32

inline Bits splat_bits(std::uint32_t x) noexcept {
  return each_lane_bits([&](std::int64_t) { return x; });
}
inline Bits add(Bits a, Bits b) noexcept {
  return each_lane_bits([&](std::int64_t i) { return a.lane[i] + b.lane[i]; });
}
inline Bits sub(Bits a, Bits b) noexcept {
  return each_lane_bits([&](std::int64_t i) { return a.lane[i] - b.lane[i]; });
}
inline Bits bit_or(Bits a, Bits b) noexcept {
  return each_lane_bits([&](std::int64_t i) { return a.lane[i] | b.lane[i]; });
}
template <int kCount>
inline Bits shift_left(Bits x) noexcept {
  return each_lane_bits([&](std::int64_t i) { return x.lane[i] << kCount; });
}
template <int kCount>
inline Bits shift_right(Bits x) noexcept {
  return each_lane_bits([&](std::int64_t i) { return x.lane[i] >> kCount; });
}

/// Signed integers to floats, to nearest even.
inline Vec to_float(Bits x) noexcept {
  return each_lane([&](std::int64_t i) { return static_cast<float>(static_cast<std::int32_t>(x.lane[i])); });
}
/// Whole floats in [-2^31, 2^31] to integers modulo 2^32.
inline Bits to_integer(Vec x) noexcept {
  return each_lane_bits(
      [&](std::int64_t i) { return static_cast<std::uint32_t>(static_cast<std::int64_t>(x.lane[i])); });
}

/// Per lane: `yes` where the top bit of `choice` is set, else `no`.
inline Vec select_by_top_bit(Bits choice, Vec yes, Vec no) noexcept {
  return each_lane([&](std::int64_t i) { return (choice.lane[i] >> 31) != 0 ? yes.lane[i] : no.lane[i]; });
}
/// Per lane: -x where the top bit of `choice` is set, else x.
inline Vec negate_by_top_bit(Bits choice, Vec x) noexcept {
  return each_lane([&](std::int64_t i) { return float_of(bits_of(x.lane[i]) ^ (choice.lane[i] & 0x80000000u)); });
}

// ---- rows of a cache: 8 and 4 bits to an element, and what is said of a whole row

inline Bits as_bits(Vec x) noexcept {
  return each_lane_bits([&](std::int64_t i) { return bits_of(x.lane[i]); });
}
inline Vec as_floats(Bits x) noexcept {
  return each_lane([&](std::int64_t i) { return float_of(x.lane[i]); });
}
inline Bits bit_and(Bits a, Bits b) noexcept {
  return each_lane_bits([&](std::int64_t i) { return a.lane[i] & b.lane[i]; });
}
/// Of integers below 2^31.
inline Bits larger(Bits a, Bits b) noexcept {
  return each_lane_bits([&](std::int64_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Bits smaller(Bits a, Bits b) noexcept {
  return each_lane_bits([&](std::int64_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline std::uint32_t largest_lane(Bits x) noexcept {
  std::uint32_t y = x.lane[0];
  for (std::int64_t i = 1; i < kLanes; ++i) y = x.lane[i] > y ? x.lane[i] : y;
  return y;
}
/// The upper half of the lanes is added to the lower one until one is left.
inline float sum_of_lanes(Vec x) noexcept {
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2)
    for (std::int64_t i = 0; i < half; ++i) x.lane[i] += x.lane[i + half];
  return x.lane[0];
}
inline float square_root(float x) noexcept { return __builtin_sqrtf(x); }

/// Signed bytes, one a lane; zero in the other lanes.
template <class Part>
inline Bits load_int8(Part part, const void* at) noexcept {
  Bits y{};
  for (std::int64_t i = 0; i < part.n; ++i)
    y.lane[i] = static_cast<std::uint32_t>(std::int32_t{static_cast<const std::int8_t*>(at)[i]});
  return y;
}
/// The lowest byte of each lane.
template <class Part>
inline void store_int8(Part part, Bits x, void* at) noexcept {
  for (std::int64_t i = 0; i < part.n; ++i) static_cast<std::uint8_t*>(at)[i] = static_cast<std::uint8_t>(x.lane[i]);
}
/// Signed halves of bytes, the lower first: n of them from (n + 1) / 2 bytes; zero in the other lanes.
template <class Part>
inline Bits load_int4(Part part, const void* at) noexcept {
  Bits y{};
  for (std::int64_t i = 0; i < part.n; ++i) {
    const std::uint32_t shifted = std::uint32_t{static_cast<const std::uint8_t*>(at)[i / 2]} << (i % 2 == 0 ? 28 : 24);
    y.lane[i] = static_cast<std::uint32_t>(static_cast<std::int32_t>(shifted) >> 28);
  }
  return y;
}
/// The lowest four bits of n lanes to (n + 1) / 2 bytes; the last half is zero if n is odd.
template <class Part>
inline void store_int4(Part part, Bits x, void* at) noexcept {
  for (std::int64_t i = 0; i < part.n; i += 2) {
    const std::uint32_t upper = i + 1 < part.n ? x.lane[i + 1] & 15u : 0u;
    static_cast<std::uint8_t*>(at)[i / 2] = static_cast<std::uint8_t>((x.lane[i] & 15u) | (upper << 4));
  }
}
/// 2 kLanes elements, the first half of them in a.
inline void store_both(Vec a, Vec b, BFloat16* at) noexcept {
  store(Whole{}, a, at);
  store(Whole{}, b, at + kLanes);
}

// ---- attention, whose last bit may differ between targets

constexpr int kTileRows = 4;     // the sums that a product keeps in registers:
constexpr int kTileVectors = 2;  // kTileRows x kTileVectors
constexpr int kKeysAtOnce = 2;   // of 16 bits an element, with up to four queries each

/// a * b + c, rounded once or twice, whichever is faster.
inline Vec accumulated(Vec a, Vec b, Vec c) noexcept {
  return each_lane([&](std::int64_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
/// The larger one; b if that is a NaN.
inline Vec larger(Vec a, Vec b) noexcept {
  return each_lane([&](std::int64_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
/// For |x| <= 2^22.
inline Vec nearest_whole(Vec x) noexcept {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no place for a fraction
  return each_lane([&](std::int64_t i) { return (x.lane[i] + kRound) - kRound; });
}
/// p 2^n for p in [1/2, 2] and whole n in [-200, 127]; 0 where n is below -126.
inline Vec times_two_to(Vec p, Vec n) noexcept {
  return each_lane([&](std::int64_t i) {
    if (n.lane[i] < -126.0f) return 0.0f;
    const float power = n.lane[i] >= -126.0f ? n.lane[i] : 0.0f;  // a NaN is in p already
    return float_of(bits_of(p.lane[i]) + (static_cast<std::uint32_t>(static_cast<std::int32_t>(power)) << 23));
  });
}
inline float largest_of_lanes(Vec x) noexcept {
  float y = x.lane[0];
  for (std::int64_t i = 1; i < kLanes; ++i) y = y > x.lane[i] ? y : x.lane[i];
  return y;
}
/// kLanes by kLanes elements.
inline void transpose_tile(const float* from, std::int64_t from_stride, float* to, std::int64_t to_stride) noexcept {
  for (std::int64_t r = 0; r < kLanes; ++r)
    for (std::int64_t c = 0; c < kLanes; ++c) __builtin_memcpy(to + c * to_stride + r, from + r * from_stride + c, 4);
}
/// The sums of eight vectors, side by side.
inline void store_sums(const Vec (&x)[8], float* at) noexcept {
  for (int i = 0; i < 8; ++i) at[i] = sum_of_lanes(x[i]);
}
