// Turns the pairs of every head of a token. No include guard on purpose: it is read once per target.
//
//     y0 = x0 cos - x1 sin        (y0 + i y1) = (x0 + i x1) e^(i phase)
//     y1 = x1 cos + x0 sin
//
// A token's cosines and sines serve all of its heads, so a block of them is loaded into registers and the heads walk
// past it. The compiler cannot do this by itself: a store to a head might change the table.
//
// bf16 goes in twos: a vector of 2 kLanes elements is split into its even and its odd ones, for which a shift and a
// mask do, and put together again after rounding. The other way, widening one half of the vector and the other half,
// took 1.1 times as long with vcvtne2ps2bf16 and twice as long with rounding by integers (EPYC 9005, AVX-512, in L1).

template <class T>
constexpr bool kInTwos = false;
template <>
constexpr bool kInTwos<BFloat16> = true;

/// a c - b s and a c + b s. Both of a pair by one call, before the first is stored, made GCC 12 read every element
/// twice (EPYC 9005, AVX-512 and AVX2, in L1: 1.4 times as long in halves of float32).
ROPEWALK_INLINE Vec less_sine(Vec a, Vec c, Vec b, Vec s) noexcept {
  return together<true>([&](auto& sums) { return mul_sub(sums, a, c, mul(b, s)); });
}
ROPEWALK_INLINE Vec plus_sine(Vec a, Vec c, Vec b, Vec s) noexcept {
  return together<true>([&](auto& sums) { return mul_add(sums, a, c, mul(b, s)); });
}

/// How results reach memory.
struct ToCache {
  template <class Part, class T>
  static void put(Part part, Vec x, T* at) noexcept {
    store(part, x, at);
  }
  static void put(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
    store_twos<false>(a, at_a, b, at_b);
  }
};
/// Past the caches; a part of a vector goes the usual way.
struct ToMemory {
  template <class T>
  static void put(Whole, Vec x, T* at) noexcept {
    stream(x, at);
  }
  template <class T>
  static void put(First part, Vec x, T* at) noexcept {
    store(part, x, at);
  }
  static void put(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
    store_twos<true>(a, at_a, b, at_b);
  }
};

// A head is asked for so many bytes ahead, as if heads and tokens lay side by side; where they do not, nothing is lost.
// Tried (EPYC 9005, AVX-512, float32, 40 heads of 128, share of a sign flip): 4 096 tokens 0.81 without, 1.12 with 2
// KiB, 1.2 to 1.3 with 4 KiB, 1.09 with 8; 512 tokens, which the last cache holds, 0.95 without, 0.8 to 0.9 with any.
constexpr std::int64_t kAheadOfHead = 4096;
template <int kToWrite>
inline void ask_for(const void* at, std::int64_t bytes) noexcept {
  const char* const ahead = static_cast<const char*>(at) + kAheadOfHead;
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i, kToWrite);
}

/// Calls turn_head(in, out) for every head: `channels` from `at` on, and as many again `second` further if that is not
/// 0.
template <class T, class TurnHead>
inline void for_each_head(const HeadRows& rows, std::int64_t at, std::int64_t channels, std::int64_t second,
                          const TurnHead& turn_head) noexcept {
  const T* in = static_cast<const T*>(rows.in) + at;
  T* out = static_cast<T*>(rows.out) + at;
  // Copied, for all that the compiler knows is that a store may change `rows` too.
  const std::int64_t in_stride = rows.in_stride, out_stride = rows.out_stride;
  std::int64_t heads = rows.heads;
  if (!rows.from_memory) {
    for (; heads > 0; --heads, in += in_stride, out += out_stride) turn_head(in, out);
    return;
  }
  const auto bytes = channels * static_cast<std::int64_t>(sizeof(T));
  const bool in_place = in == out;
  for (; heads > 0; --heads, in += in_stride, out += out_stride) {
    if (in_place) {
      ask_for<1>(in, bytes);
      if (second != 0) ask_for<1>(in + second, bytes);
    } else {
      ask_for<0>(in, bytes);
      if (second != 0) ask_for<0>(in + second, bytes);
    }
    turn_head(in, out);
  }
}

/// x0 in the first half of the channels that turn, x1 in the second: a vector is kLanes pairs.
struct Halves {
  static constexpr std::int64_t kChannelsOfPair = 1;  // in the row of x0

  template <int kVectors, class Put, class Part, class T>
  static void turn(Part part, const HeadRows& rows, std::int64_t at) noexcept {
    Vec c[kVectors] = {}, s[kVectors] = {};
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      c[i] = load(part, rows.cos + at + i * kLanes);
      s[i] = load(part, rows.sin + at + i * kLanes);
      if (rows.turns_back) s[i] = negate(s[i]);
    }
    const std::int64_t second = rows.second;
    if constexpr (kInTwos<T> && kVectors % 2 == 0) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; i += 2) {
        const Two cos = in_twos(c[i], c[i + 1]), sin = in_twos(s[i], s[i + 1]);
        c[i] = cos.even, c[i + 1] = cos.odd, s[i] = sin.even, s[i + 1] = sin.odd;
      }
      for_each_head<T>(rows, at, kVectors * kLanes, second, [&](const T* in, T* out) {
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; i += 2) {
          const Two x0 = load_two(in + i * kLanes), x1 = load_two(in + i * kLanes + second);
          const Two y0 = {less_sine(x0.even, c[i], x1.even, s[i]), less_sine(x0.odd, c[i + 1], x1.odd, s[i + 1])};
          const Two y1 = {plus_sine(x1.even, c[i], x0.even, s[i]), plus_sine(x1.odd, c[i + 1], x0.odd, s[i + 1])};
          Put::put(y0, out + i * kLanes, y1, out + i * kLanes + second);
        }
      });
    } else {
      for_each_head<T>(rows, at, kVectors * kLanes, second, [&](const T* in, T* out) {
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; ++i) {
          const Vec x0 = load(part, in + i * kLanes), x1 = load(part, in + i * kLanes + second);
          Put::put(part, less_sine(x0, c[i], x1, s[i]), out + i * kLanes);
          Put::put(part, plus_sine(x1, c[i], x0, s[i]), out + i * kLanes + second);
        }
      });
    }
  }
};

/// x0 and x1 side by side: a vector is kLanes / 2 pairs. With cos and sin in both lanes of a pair, the sine negated in
/// the first, both lines of the formula are y = x cos + x' sin, x' being the other one of the pair. In twos the even
/// elements are the x0 and the odd ones the x1 of kLanes pairs.
struct Neighbours {
  static constexpr std::int64_t kChannelsOfPair = 2;

  template <int kVectors, class Put, class Part, class T>
  static void turn(Part part, const HeadRows& rows, std::int64_t at) noexcept {
    if constexpr (kInTwos<T> && kVectors % 4 == 0) {
      constexpr int kPairVectors = kVectors / 2;
      Vec c[kPairVectors] = {}, s[kPairVectors] = {};
#pragma GCC unroll 8
      for (int i = 0; i < kPairVectors; ++i) {
        c[i] = load(part, rows.cos + at / 2 + i * kLanes);
        s[i] = load(part, rows.sin + at / 2 + i * kLanes);
        if (rows.turns_back) s[i] = negate(s[i]);
      }
      for_each_head<T>(rows, at, kVectors * kLanes, 0, [&](const T* in, T* out) {
#pragma GCC unroll 8
        for (int i = 0; i < kPairVectors; i += 2) {
          const Two x = load_two(in + 2 * i * kLanes), z = load_two(in + 2 * (i + 1) * kLanes);
          const Two y = {less_sine(x.even, c[i], x.odd, s[i]), plus_sine(x.odd, c[i], x.even, s[i])};
          const Two w = {less_sine(z.even, c[i + 1], z.odd, s[i + 1]), plus_sine(z.odd, c[i + 1], z.even, s[i + 1])};
          Put::put(y, out + 2 * i * kLanes, w, out + 2 * (i + 1) * kLanes);
        }
      });
    } else {
      Vec c[kVectors] = {}, s[kVectors] = {};
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        c[i] = load_twice(part, rows.cos + (at + i * kLanes) / 2);
        s[i] = negate_even(load_twice(part, rows.sin + (at + i * kLanes) / 2));
        if (rows.turns_back) s[i] = negate(s[i]);
      }
      for_each_head<T>(rows, at, kVectors * kLanes, 0, [&](const T* in, T* out) {
#pragma GCC unroll 8
        for (int i = 0; i < kVectors; ++i) {
          const Vec x = load(part, in + i * kLanes);
          Put::put(part, plus_sine(x, c[i], swap_neighbours(x), s[i]), out + i * kLanes);
        }
      });
    }
  }
};

/// The channels [at, channels) in blocks of kVectors vectors, the remainder in smaller ones, the last perhaps partial.
template <class T, class Pairs, class Put, int kVectors>
inline void rotate_from(const HeadRows& rows, std::int64_t channels, std::int64_t at) noexcept {
  for (; at + kVectors * kLanes <= channels; at += kVectors * kLanes)
    Pairs::template turn<kVectors, Put, Whole, T>(Whole{}, rows, at);
  if constexpr (kVectors > 1)
    rotate_from<T, Pairs, Put, kVectors / 2>(rows, channels, at);
  else if (at < channels)
    Pairs::template turn<1, Put, First, T>(First{channels - at}, rows, at);
}

template <class T, class Pairs>
void rotate(const HeadRows& rows) noexcept {
  if (rows.streams)
    rotate_from<T, Pairs, ToMemory, kBlock>(rows, rows.pairs * Pairs::kChannelsOfPair, 0);
  else
    rotate_from<T, Pairs, ToCache, kBlock>(rows, rows.pairs * Pairs::kChannelsOfPair, 0);
}
