// Rows of a cache: read in one format, normed, turned, and written in another, in one pass over memory. No include
// guard on purpose: it is read once per target.
//
// A row is cut into groups of 16 channels (RowGroup), whatever the target's vectors hold, so that every sum over a row
// is formed in the same order everywhere. It is read whole before any of it is written, into registers for the usual
// widths and onto the stack for any other; both ways are one body.

constexpr int kPartsOfGroup = 16 / static_cast<int>(kLanes);  // vectors to a group
// The sums of so many heads are formed ahead, the heads being read again from the first cache: square root and division
// take longer than a processor can look ahead past a row. Tried (EPYC 9005, AVX-512, bf16, 32+8 heads of 128, 64
// tokens): one head at a time 33 ns a row, ahead 18.
constexpr std::int64_t kHeadsOfBlock = 16;
constexpr int kChains = 4;  // sums of squares kept apart, by group modulo 4

// What a row is divided by in int8, int4 and e4m3 is the largest magnitude over one of these.
constexpr float kMostInt8 = 127.0f, kMostInt4 = 7.0f, kMostE4M3 = 448.0f;
// Added to a float it rounds it to a whole number (ties to even), which the lower bits of the sum then hold.
constexpr float kRounder = 0x1.8p23f;
constexpr std::uint32_t kInfinity = 0x7f800000u, kQuietNaN = 0x7fc00000u;
constexpr std::uint32_t kTinyRow = (127u - 100u) << 23;  // the bits of 2^-100

inline Bits magnitude(Vec x) noexcept { return bit_and(as_bits(x), splat_bits(0x7fffffffu)); }
inline Bits choose(Bits by_top_bit, Bits yes, Bits no) noexcept {
  return as_bits(select_by_top_bit(by_top_bit, as_floats(yes), as_floats(no)));
}

/// Every NaN becomes the quiet one without payload: the rounding to bfloat16 might carry out of another. Those that
/// came from 16 bits need no care (vec/scalar.hpp); those of float32 rows and weights do.
inline Vec with_plain_nan(Vec x) noexcept {
  const Bits is_nan = sub(splat_bits(kInfinity), magnitude(x));
  return as_floats(choose(is_nan, splat_bits(kQuietNaN), as_bits(x)));
}

/// To OCP E4M3 in the lowest byte: nearest even, what is beyond 448 (infinity too) to 448, a NaN to a NaN.
inline Bits to_e4m3(Vec x) noexcept {
  const Bits size = magnitude(x), sign = bit_and(shift_right<24>(as_bits(x)), splat_bits(0x80u));
  const Bits clamped = smaller(size, splat_bits(0x43e00000u));
  // Bits 23 to 26 of the float, its exponent less 120, and bits 20 to 22 are the result; the rest rounds.
  const Bits odd = bit_and(shift_right<20>(clamped), splat_bits(1u));
  const Bits normal = shift_right<20>(add(add(clamped, odd), splat_bits(0x7ffffu - (120u << 23))));
  // Below 2^-6 it is a multiple of 2^-9, the last place of a float in [2^14, 2^15): the sum rounds to it.
  const Bits small = sub(as_bits(add(as_floats(clamped), splat(0x1p14f))), splat_bits(0x46800000u));
  const Bits finite = choose(sub(clamped, splat_bits(0x3c800000u)), small, normal);
  return bit_or(sign, choose(sub(splat_bits(kInfinity), size), splat_bits(0x7fu), finite));
}

/// From the lowest byte, exactly.
inline Vec from_e4m3(Bits x) noexcept {
  const Bits size = bit_and(x, splat_bits(0x7fu)), sign = shift_left<24>(bit_and(x, splat_bits(0x80u)));
  const Bits normal = add(shift_left<20>(size), splat_bits(120u << 23));
  const Bits small = as_bits(mul(to_float(size), splat(0x1p-9f)));
  const Bits finite = choose(sub(size, splat_bits(8u)), small, normal);
  return as_floats(bit_or(sign, choose(sub(splat_bits(0x7eu), size), splat_bits(kQuietNaN), finite)));
}

/// Calls use(i) for i in [0, kCount) with the loop written out, so that what i counts can lie in registers; with kCount
/// 0 for i in [0, count), as a loop.
template <int kCount, int kFrom = 0, class Use>
[[gnu::always_inline]] inline void repeat(int count, const Use& use) noexcept {
  if constexpr (kCount == 0) {
    for (int i = 0; i < count; ++i) use(i);
  } else if constexpr (kFrom < kCount) {
    use(kFrom);
    repeat<kCount, kFrom + 1>(count, use);
  }
}

/// Calls use(part, channel) for vector i of a row; kWhole: every group has 16 channels, and they follow each other.
template <bool kWhole, class Use>
[[gnu::always_inline]] inline void at_vector(const RowGroup* groups, int i, const Use& use) noexcept {
  if constexpr (kWhole) {
    use(Whole{}, i * kLanes);
  } else {
    const RowGroup& group = groups[i / kPartsOfGroup];
    const std::int64_t before = (i % kPartsOfGroup) * kLanes, channel = group.begin + before, n = group.count - before;
    if (n >= kLanes)
      use(Whole{}, channel);
    else if (n > 0)
      use(First{n}, channel);
  }
}

/// One row: `vectors` of them in x, the first `turning` of which turn. kGroups: how many groups, 0 for any number.
template <int kGroups, bool kWhole>
struct Row {
  static constexpr bool kFixed = kGroups > 0;
  static constexpr int kRoom = (kFixed ? kGroups : kMostRowGroups) * kPartsOfGroup;

  const CacheRows& rows;
  const RowGroup* groups;
  int some_vectors, some_turning;
  Vec x[kRoom];

  Row(const CacheRows& given, const RowGroup* cut, int count) noexcept
      : rows(given), groups(cut), some_vectors(count), some_turning(given.turning_groups * kPartsOfGroup) {}

  int vectors() const noexcept { return kFixed ? kRoom : some_vectors; }
  int turning() const noexcept { return kFixed ? kRoom : some_turning; }

  template <class Use>
  [[gnu::always_inline]] void each(const Use& use) const noexcept {
    repeat<kFixed ? kRoom : 0>(vectors(), use);
  }
  template <class Load>
  void fill(const Load& load_at) noexcept {
    each([&](int i) {
      if constexpr (!kWhole) x[i] = splat(0.0f);
      at_vector<kWhole>(groups, i, [&](auto part, std::int64_t channel) { x[i] = load_at(part, channel); });
    });
  }
  template <class Store>
  void drain(const Store& store_at) const noexcept {
    each([&](int i) {
      at_vector<kWhole>(groups, i, [&](auto part, std::int64_t channel) { store_at(part, x[i], channel); });
    });
  }

  void read(const char* in, const char* in_scale) noexcept {
    float scale = 1.0f;
    if (in_scale != nullptr) __builtin_memcpy(&scale, in_scale, sizeof scale);
    switch (rows.in_format) {
      case CacheFormat::kFloat32:
        return fill([&](auto part, auto at) { return load(part, reinterpret_cast<const float*>(in) + at); });
      case CacheFormat::kBFloat16:
        return fill([&](auto part, auto at) { return load(part, reinterpret_cast<const BFloat16*>(in) + at); });
      case CacheFormat::kFloat16:
        return fill([&](auto part, auto at) { return load(part, reinterpret_cast<const Float16*>(in) + at); });
      case CacheFormat::kFloat8E4M3:
        return fill([&](auto part, auto at) { return mul(from_e4m3(load_int8(part, in + at)), splat(scale)); });
      case CacheFormat::kInt8:
        return fill([&](auto part, auto at) { return mul(to_float(load_int8(part, in + at)), splat(scale)); });
      case CacheFormat::kInt4: break;
    }
    if constexpr (!kFixed) {
      if (rows.splits_bytes) {
        std::uint8_t apart[kMostRowChannels];
        for (std::int64_t c = 0; c < rows.head_dim; ++c) {
          const std::uint32_t half = static_cast<std::uint8_t>(in[c / 2]) >> (c % 2 == 0 ? 0 : 4) & 15u;
          apart[c] = static_cast<std::uint8_t>((half ^ 8u) - 8u);
        }
        return fill([&](auto part, auto at) { return mul(to_float(load_int8(part, apart + at)), splat(scale)); });
      }
    }
    fill([&](auto part, auto at) { return mul(to_float(load_int4(part, in + at / 2)), splat(scale)); });
  }

  /// What the norm multiplies the row by, its weight not counted: 1 / sqrt(mean of squares + epsilon).
  float norm_factor() const noexcept {
    constexpr int kSums = kChains * kPartsOfGroup;
    Vec sums[kSums];
    repeat<kSums>(0, [&](int i) { sums[i] = splat(0.0f); });
    each([&](int i) { sums[i % kSums] = mul_add(x[i], x[i], sums[i % kSums]); });
    for (int half = kSums / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) sums[i] = add(sums[i], sums[i + half]);
    const float mean = sum_of_lanes(sums[0]) / static_cast<float>(rows.head_dim);
    return 1.0f / square_root(mean + rows.epsilon);
  }

  /// The weights of a head's norm, in the order of the row.
  void read_weights(std::int64_t head, Vec* weights) const noexcept {
    const float* const from = rows.weight + head * rows.weight_stride;
    const Vec more = splat(rows.weight_plus_one ? 1.0f : -0.0f);  // -0 leaves every float as it is, -0 too
    for (int i = 0; i < vectors(); ++i) {
      weights[i] = splat(1.0f);
      if (rows.weight == nullptr) continue;
      at_vector<kWhole>(groups, i, [&](auto part, std::int64_t channel) {
        weights[i] = with_plain_nan(add(load(part, from + channel), more));
      });
    }
  }
  void norm(float factor, const Vec* weights) noexcept {
    each([&](int i) { x[i] = mul(mul(x[i], splat(factor)), weights[i]); });
  }

  void turn() noexcept {
    const float *const cos = rows.cos, *const sin = rows.sin;
    if (rows.turn == RowTurn::kHalf) {
      const int half = turning() / 2;
      repeat<kFixed ? kRoom / 2 : 0>(half, [&](int i) {
        const Vec c = load(Whole{}, cos + i * kLanes), s = load(Whole{}, sin + i * kLanes);
        const Vec x0 = x[i], x1 = x[i + half];
        x[i] = mul_sub(x0, c, mul(x1, s));
        x[i + half] = mul_add(x1, c, mul(x0, s));
      });
    } else {
      repeat<kFixed ? kRoom : 0>(turning(), [&](int i) {
        const Vec c = load_twice(Whole{}, cos + i * kLanes / 2);
        const Vec s = negate_even(load_twice(Whole{}, sin + i * kLanes / 2));
        x[i] = mul_add(x[i], c, mul(swap_neighbours(x[i]), s));
      });
    }
  }

  /// What the row is to be multiplied by so that its largest magnitude becomes `most`; writes the scale that undoes it.
  float quantised_by(float most, char* out_scale) noexcept {
    Bits largest = splat_bits(0);
    each([&](int i) { largest = larger(largest, magnitude(x[i])); });
    const std::uint32_t bits = largest_lane(largest);
    float scale = 0.0f, factor = 1.0f;
    if (bits >= kTinyRow && bits < kInfinity) {
      const float size = __builtin_bit_cast(float, bits);
      scale = size / most;
      factor = most / size;
    } else {  // the scale says it all
      if (bits >= kInfinity) scale = __builtin_bit_cast(float, kQuietNaN);
      each([&](int i) { x[i] = splat(0.0f); });
    }
    __builtin_memcpy(out_scale, &scale, sizeof scale);
    return factor;
  }

  static Bits code(Vec y, float factor) noexcept { return as_bits(mul_add(y, splat(factor), splat(kRounder))); }

  void write(char* out, char* out_scale) noexcept {
    switch (rows.out_format) {
      case CacheFormat::kFloat32:
        return drain([&](auto part, Vec y, auto at) { store(part, y, reinterpret_cast<float*>(out) + at); });
      case CacheFormat::kBFloat16:
        if (rows.in_format == CacheFormat::kFloat32)
          return drain([&](auto part, Vec y, auto at) {
            store(part, with_plain_nan(y), reinterpret_cast<BFloat16*>(out) + at);
          });
        if constexpr (kFixed && kWhole && kRoom % 2 == 0) {
          auto* const to = reinterpret_cast<BFloat16*>(out);
          return repeat<kRoom / 2>(0, [&](int i) { store_both(x[2 * i], x[2 * i + 1], to + 2 * i * kLanes); });
        }
        return drain([&](auto part, Vec y, auto at) { store(part, y, reinterpret_cast<BFloat16*>(out) + at); });
      case CacheFormat::kFloat16:
        return drain([&](auto part, Vec y, auto at) { store(part, y, reinterpret_cast<Float16*>(out) + at); });
      case CacheFormat::kFloat8E4M3: {
        if (out_scale == nullptr)
          return drain([&](auto part, Vec y, auto at) { store_int8(part, to_e4m3(y), out + at); });
        const float factor = quantised_by(kMostE4M3, out_scale);
        return drain([&](auto part, Vec y, auto at) { store_int8(part, to_e4m3(mul(y, splat(factor))), out + at); });
      }
      case CacheFormat::kInt8: {
        const float factor = quantised_by(kMostInt8, out_scale);
        return drain([&](auto part, Vec y, auto at) { store_int8(part, code(y, factor), out + at); });
      }
      case CacheFormat::kInt4: break;
    }
    const float factor = quantised_by(kMostInt4, out_scale);
    if constexpr (!kFixed) {
      if (rows.splits_bytes) {
        std::uint8_t apart[kMostRowChannels + 1];
        drain([&](auto part, Vec y, auto at) { store_int8(part, code(y, factor), apart + at); });
        apart[rows.head_dim] = 0;
        for (std::int64_t c = 0; c < rows.head_dim; c += 2)
          out[c / 2] = static_cast<char>((apart[c] & 15u) | (apart[c + 1] & 15u) << 4);
        return;
      }
    }
    drain([&](auto part, Vec y, auto at) { store_int4(part, code(y, factor), out + at / 2); });
  }
};

// A row is asked for so many bytes ahead, as if heads and tokens lay side by side; where they do not, nothing is lost.
// A processor looks ahead by itself past two or three of these rows. Tried (EPYC 9005, AVX-512, bf16 to bf16 and int8,
// 32+8 heads of 128, from memory, of the time of moving the bytes): nothing 1.56, 2048 1.4 to 1.5, 4096 and 8192 1.25.
constexpr std::int64_t kAheadBytes = 4096;
template <int kToWrite>
inline void prefetch(const char* at, CacheFormat format, std::int64_t head_dim) noexcept {
  const std::int64_t bytes = format == CacheFormat::kFloat32   ? 4 * head_dim
                             : format <= CacheFormat::kFloat16 ? 2 * head_dim
                             : format == CacheFormat::kInt4    ? head_dim / 2
                                                               : head_dim;
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(at + kAheadBytes + i, kToWrite);
}

// Flattened, for a row stays in registers only where every step of its way is inlined.
template <int kGroups, bool kWhole>
[[gnu::flatten]] inline void cache_rows_as(const CacheRows& given) noexcept {
  const CacheRows rows = given;  // copied, for all that the compiler knows is that a store may change `given` too
  RowGroup groups[kGroups > 0 ? kGroups : kMostRowGroups];
  const int count = kGroups > 0 ? kGroups : rows.group_count;
  for (int i = 0; i < count; ++i) groups[i] = rows.groups[i];
  Row<kGroups, kWhole> row(rows, groups, count * kPartsOfGroup);
  Vec weights[Row<kGroups, kWhole>::kRoom];
  row.read_weights(0, weights);
  const auto read = [&](std::int64_t head) {
    row.read(rows.in + head * rows.in_stride,
             rows.in_scale != nullptr ? rows.in_scale + head * rows.in_scale_stride : nullptr);
  };
  for (std::int64_t block = 0; block < rows.heads; block += kHeadsOfBlock) {
    const std::int64_t end = block + kHeadsOfBlock < rows.heads ? block + kHeadsOfBlock : rows.heads;
    float factors[kHeadsOfBlock];
    if (rows.norm == RowNorm::kBefore)
      for (std::int64_t head = block; head < end; ++head) {
        prefetch<0>(rows.in + head * rows.in_stride, rows.in_format, rows.head_dim);
        read(head);
        factors[head - block] = row.norm_factor();
      }
    for (std::int64_t head = block; head < end; ++head) {
      if (rows.norm != RowNorm::kBefore) prefetch<0>(rows.in + head * rows.in_stride, rows.in_format, rows.head_dim);
      if (rows.in != rows.out) prefetch<1>(rows.out + head * rows.out_stride, rows.out_format, rows.head_dim);
      read(head);
      if (head > 0 && rows.weight_stride != 0) row.read_weights(head, weights);
      if (rows.norm == RowNorm::kBefore) row.norm(factors[head - block], weights);
      if (rows.turn != RowTurn::kNone) row.turn();
      if (rows.norm == RowNorm::kAfter) row.norm(row.norm_factor(), weights);
      row.write(rows.out + head * rows.out_stride,
                rows.out_scale != nullptr ? rows.out_scale + head * rows.out_scale_stride : nullptr);
    }
  }
}

inline void cache_rows(const CacheRows& rows) noexcept {
  const bool all_turn = rows.turning_groups == rows.group_count || rows.turn == RowTurn::kNone;
  if constexpr (kLanes < 8) return cache_rows_as<0, false>(rows);  // no registers to speak of
  if (all_turn && rows.groups_are_whole) switch (rows.group_count) {
      case 4: return cache_rows_as<4, true>(rows);
      case 5: return cache_rows_as<5, true>(rows);
      case 6: return cache_rows_as<6, true>(rows);
      case 8: return cache_rows_as<8, true>(rows);
      case 16: return cache_rows_as<16, true>(rows);
      default: break;
    }
  if (all_turn && rows.group_count == 6) return cache_rows_as<6, false>(rows);
  cache_rows_as<0, false>(rows);
}
