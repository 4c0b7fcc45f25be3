// Turns the pairs of every head of a token. No include guard on purpose: it is read once per target.
//
//     y0 = x0 cos - x1 sin        (y0 + i y1) = (x0 + i x1) e^(i phase)
//     y1 = x1 cos + x0 sin
//
// A token's cosines and sines serve all of its heads, so a block of them is loaded into registers and the heads walk
// past it. The compiler cannot do this by itself: a store to a head might change the table.

/// x0 in the first half of the channels that turn, x1 in the second: a vector is kLanes pairs.
struct Halves {
  static constexpr std::int64_t kChannelsOfPair = 1;  // in the row of x0

  template <int kVectors, class Part, class T>
  static void turn(Part part, const HeadRows& rows, std::int64_t at) noexcept {
    Vec c[kVectors], s[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      c[i] = load(part, rows.cos + at + i * kLanes);
      s[i] = load(part, rows.sin + at + i * kLanes);
    }
    const T* in = static_cast<const T*>(rows.in) + at;
    T* out = static_cast<T*>(rows.out) + at;
    // Copied, for all that the compiler knows is that a store may change `rows` too.
    const std::int64_t second = rows.second, in_stride = rows.in_stride, out_stride = rows.out_stride;
    for (std::int64_t heads = rows.heads; heads > 0; --heads, in += in_stride, out += out_stride) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        const Vec x0 = load(part, in + i * kLanes), x1 = load(part, in + i * kLanes + second);
        store(part, mul_sub(x0, c[i], mul(x1, s[i])), out + i * kLanes);
        store(part, mul_add(x1, c[i], mul(x0, s[i])), out + i * kLanes + second);
      }
    }
  }
};

/// x0 and x1 side by side: a vector is kLanes / 2 pairs. With cos and sin in both lanes of a pair, the sine negated in
/// the first, both lines of the formula are y = x cos + x' sin, x' being the other one of the pair.
struct Neighbours {
  static constexpr std::int64_t kChannelsOfPair = 2;

  template <int kVectors, class Part, class T>
  static void turn(Part part, const HeadRows& rows, std::int64_t at) noexcept {
    Vec c[kVectors], s[kVectors];
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      c[i] = load_twice(part, rows.cos + (at + i * kLanes) / 2);
      s[i] = negate_even(load_twice(part, rows.sin + (at + i * kLanes) / 2));
    }
    const T* in = static_cast<const T*>(rows.in) + at;
    T* out = static_cast<T*>(rows.out) + at;
    const std::int64_t in_stride = rows.in_stride, out_stride = rows.out_stride;
    for (std::int64_t heads = rows.heads; heads > 0; --heads, in += in_stride, out += out_stride) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        const Vec x = load(part, in + i * kLanes);
        store(part, mul_add(x, c[i], mul(swap_neighbours(x), s[i])), out + i * kLanes);
      }
    }
  }
};

/// The channels [at, channels) in blocks of kVectors vectors, the remainder in smaller ones, the last perhaps partial.
template <class T, class Pairs, int kVectors>
inline void rotate_from(const HeadRows& rows, std::int64_t channels, std::int64_t at) noexcept {
  for (; at + kVectors * kLanes <= channels; at += kVectors * kLanes)
    Pairs::template turn<kVectors, Whole, T>(Whole{}, rows, at);
  if constexpr (kVectors > 1)
    rotate_from<T, Pairs, kVectors / 2>(rows, channels, at);
  else if (at < channels)
    Pairs::template turn<1, First, T>(First{channels - at}, rows, at);
}

template <class T, class Pairs>
void rotate(const HeadRows& rows) noexcept {
  rotate_from<T, Pairs, kBlock>(rows, rows.pairs * Pairs::kChannelsOfPair, 0);
}
