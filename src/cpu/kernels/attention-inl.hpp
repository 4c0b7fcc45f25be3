// What attention is made of. No include guard on purpose: it is read once per target.
//
// Scores are formed transposed, keys down and queries across, so that the running softmax goes down columns without
// ever looking across a vector, and keys and values are read in the order in which they lie: they are the factor that
// a product spreads over a vector, queries and powers the one that it reads in vectors.

// ---- products

template <int kRows, int kVectors, bool kAcross>
inline void multiply_tile(const float* a, std::int64_t a_stride, const float* b, float* c, std::int64_t depth,
                          const float* scale) noexcept {
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = scale != nullptr
                       ? mul(load(Whole{}, c + r * kPanelColumns + v * kLanes), load(Whole{}, scale + v * kLanes))
                       : splat(0.0f);
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) row[v] = load(Whole{}, b + k * kPanelColumns + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec factor = splat(kAcross ? a[k * a_stride + r] : a[r * a_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = accumulated(factor, row[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(Whole{}, sums[r][v], c + r * kPanelColumns + v * kLanes);
}

/// Rows in tiles of kTileRows; what is left in tiles of 2 and 1.
template <int kVectors, bool kAcross>
inline void multiply_columns(const Product<float>& p, std::int64_t at) noexcept {
  const std::int64_t next = kAcross ? 1 : p.a_row, stride = kAcross ? p.a_step : p.a_row;
  const float* const scale = p.scale != nullptr ? p.scale + at : nullptr;
  std::int64_t r = 0;
  for (; r + kTileRows <= p.rows; r += kTileRows)
    multiply_tile<kTileRows, kVectors, kAcross>(p.a + r * next, stride, p.b + at, p.c + r * kPanelColumns + at, p.depth,
                                                scale);
  for (; r + 2 <= p.rows; r += 2)
    multiply_tile<2, kVectors, kAcross>(p.a + r * next, stride, p.b + at, p.c + r * kPanelColumns + at, p.depth, scale);
  if (r < p.rows)
    multiply_tile<1, kVectors, kAcross>(p.a + r * next, stride, p.b + at, p.c + r * kPanelColumns + at, p.depth, scale);
}

template <bool kAcross>
inline void multiply_panel(const Product<float>& p) noexcept {
  constexpr std::int64_t kColumns = kTileVectors * kLanes;
  std::int64_t at = 0;
  for (; at + kColumns <= p.columns; at += kColumns) multiply_columns<kTileVectors, kAcross>(p, at);
  for (; at < p.columns; at += kLanes) multiply_columns<1, kAcross>(p, at);
}

void multiply(const Product<float>& p) noexcept {
  if (p.a_step == 1)
    multiply_panel<false>(p);
  else
    multiply_panel<true>(p);
}

// ---- softmax

/// 2^x for x <= 127, as the Taylor series of 2^f for f in [-1/2, 1/2]: the first term left out, (f ln 2)^7 / 7!, is
/// below 1.2e-7. A NaN stays one.
inline Vec exp2_of(Vec x) noexcept {
  const Vec within = larger(splat(-200.0f), x);
  const Vec whole = nearest_whole(within);
  const Vec f = sub(within, whole);
  Vec p = splat(1.540353039e-4f);
  p = accumulated(p, f, splat(1.333355815e-3f));
  p = accumulated(p, f, splat(9.618129108e-3f));
  p = accumulated(p, f, splat(5.550410866e-2f));
  p = accumulated(p, f, splat(2.402265070e-1f));
  p = accumulated(p, f, splat(6.931471806e-1f));
  p = accumulated(p, f, splat(1.0f));
  return times_two_to(p, whole);
}

/// What a step of kVectors columns knows, and the tops that it found.
template <int kVectors>
struct SoftmaxColumns {
  Vec top[kVectors], factor[kVectors], total[kVectors];

  SoftmaxColumns(const SoftmaxPanel& panel, std::int64_t at) noexcept {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      top[v] = load(Whole{}, panel.top + at + v * kLanes);
      factor[v] = load(Whole{}, panel.factor + at + v * kLanes);
      total[v] = splat(0.0f);
    }
    for (std::int64_t j = 0; j < panel.keys; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        top[v] = larger(top[v], load(Whole{}, panel.scores + j * kPanelColumns + at + v * kLanes));
  }
  Vec power(const SoftmaxPanel& panel, std::int64_t j, std::int64_t at, int v) noexcept {
    const Vec score = load(Whole{}, panel.scores + j * kPanelColumns + at + v * kLanes);
    const Vec p = exp2_of(mul(sub(score, top[v]), factor[v]));
    total[v] = add(total[v], p);
    return p;
  }
  void finish(const SoftmaxPanel& panel, std::int64_t at) const noexcept {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t i = at + v * kLanes;
      const Vec correction = exp2_of(mul(sub(load(Whole{}, panel.top + i), top[v]), factor[v]));
      store(Whole{}, correction, panel.correction + i);
      store(Whole{}, accumulated(load(Whole{}, panel.total + i), correction, total[v]), panel.total + i);
      store(Whole{}, top[v], panel.top + i);
    }
  }
};

template <int kVectors>
inline void softmax_columns(const SoftmaxPanel& panel, std::int64_t at) noexcept {
  SoftmaxColumns<kVectors> columns(panel, at);
  for (std::int64_t j = 0; j < panel.keys; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      store(Whole{}, columns.power(panel, j, at, v), panel.scores + j * kPanelColumns + at + v * kLanes);
  columns.finish(panel, at);
}

void softmax(const SoftmaxPanel& panel) noexcept {
  std::int64_t at = 0;
  for (; at + 4 * kLanes <= panel.columns; at += 4 * kLanes) softmax_columns<4>(panel, at);
  for (; at < panel.columns; at += kLanes) softmax_columns<1>(panel, at);
}

template <int kVectors>
inline void softmax_gradient_columns(const SoftmaxGradientPanel& panel, std::int64_t at) noexcept {
  Vec top[kVectors], factor[kVectors], mean[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    top[v] = load(Whole{}, panel.top + at + v * kLanes);
    factor[v] = load(Whole{}, panel.factor + at + v * kLanes);
    mean[v] = load(Whole{}, panel.mean + at + v * kLanes);
  }
  for (std::int64_t j = 0; j < panel.keys; ++j)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* const score = panel.scores + j * kPanelColumns + at + v * kLanes;
      float* const gradient = panel.gradients + j * kPanelColumns + at + v * kLanes;
      const Vec p = exp2_of(mul(sub(load(Whole{}, score), top[v]), factor[v]));
      store(Whole{}, p, score);
      store(Whole{}, mul(p, sub(load(Whole{}, gradient), mean[v])), gradient);
    }
}

void softmax_gradient(const SoftmaxGradientPanel& panel) noexcept {
  std::int64_t at = 0;
  for (; at + 4 * kLanes <= panel.columns; at += 4 * kLanes) softmax_gradient_columns<4>(panel, at);
  for (; at < panel.columns; at += kLanes) softmax_gradient_columns<1>(panel, at);
}

void add_scaled(float* scores, const float* bias, const float* factor, std::int64_t keys,
                std::int64_t columns) noexcept {
  for (std::int64_t j = 0; j < keys; ++j)
    for (std::int64_t c = 0; c < columns; c += kLanes) {
      const std::int64_t at = j * kPanelColumns + c;
      store(Whole{}, accumulated(load(Whole{}, bias + at), load(Whole{}, factor + c), load(Whole{}, scores + at)),
            scores + at);
    }
}

// ---- from one order or width to another

void transpose(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns, float* to,
               std::int64_t to_stride) noexcept {
  std::int64_t r = 0;
  for (; r + kLanes <= rows; r += kLanes) {
    std::int64_t c = 0;
    for (; c + kLanes <= columns; c += kLanes)
      transpose_tile(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    for (; c < columns; ++c)
      for (std::int64_t i = r; i < r + kLanes; ++i)
        __builtin_memcpy(to + c * to_stride + i, from + i * from_stride + c, sizeof(float));
  }
  for (; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      __builtin_memcpy(to + c * to_stride + r, from + r * from_stride + c, sizeof(float));
}

template <class T>
void widen_rows(const void* from, std::int64_t from_stride, std::int64_t rows, std::int64_t channels, float* to,
                std::int64_t to_stride) noexcept {
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* const x = static_cast<const T*>(from) + r * from_stride;
    float* const y = to + r * to_stride;
    std::int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) store(Whole{}, load(Whole{}, x + c), y + c);
    if (c < channels) store(First{channels - c}, load(First{channels - c}, x + c), y + c);
  }
}

template <class T>
void narrow_row(const float* from, std::int64_t channels, void* to) noexcept {
  T* const y = static_cast<T*>(to);
  std::int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) store(Whole{}, load(Whole{}, from + c), y + c);
  if (c < channels) store(First{channels - c}, load(First{channels - c}, from + c), y + c);
}

// ---- few queries

// The strides between keys are the caller's, and hardware follows but some of them.

template <class T>
inline void ask_for_key(const FewRows& x, std::int64_t key) noexcept {
  const auto* const at =
      reinterpret_cast<const char*>(static_cast<const T*>(x.keys_at) + (key + x.ahead) * x.key_stride);
  for (std::int64_t i = 0; i < x.channels * static_cast<std::int64_t>(sizeof(T)); i += 64) __builtin_prefetch(at + i);
}

/// kKeys x kRows scores at once, enough sums to keep the multipliers busy.
template <class T, int kKeys, int kRows>
inline void few_scores(const FewRows& x, std::int64_t row, std::int64_t key) noexcept {
  const float* const a = x.a + row * x.a_stride;
  const T* const k = static_cast<const T*>(x.keys_at) + key * x.key_stride;
  Vec sums[kKeys][kRows];
#pragma GCC unroll 8
  for (int j = 0; j < kKeys; ++j)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[j][r] = splat(0.0f);
  const auto step = [&](auto part, std::int64_t c) {
    Vec keys[kKeys];
#pragma GCC unroll 8
    for (int j = 0; j < kKeys; ++j) keys[j] = load(part, k + j * x.key_stride + c);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec query = load(part, a + r * x.a_stride + c);
#pragma GCC unroll 8
      for (int j = 0; j < kKeys; ++j) sums[j][r] = accumulated(query, keys[j], sums[j][r]);
    }
  };
  std::int64_t c = 0;
  for (; c + kLanes <= x.channels; c += kLanes) step(Whole{}, c);
  if (c < x.channels) step(First{x.channels - c}, c);
  float* const out = x.out + row * x.out_stride + key;
  if constexpr (kKeys % 2 == 0 && kRows >= 3) {
#pragma GCC unroll 8
    for (int j = 0; j < kKeys; j += 2) {
      Vec all[8];
#pragma GCC unroll 8
      for (int r = 0; r < 4; ++r)
#pragma GCC unroll 8
        for (int i = 0; i < 2; ++i) all[2 * r + i] = r < kRows ? sums[j + i][r % kRows] : splat(0.0f);
      float each[8];
      store_sums(all, each);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) __builtin_memcpy(out + r * x.out_stride + j, each + 2 * r, 2 * sizeof(float));
    }
  } else {
#pragma GCC unroll 8
    for (int j = 0; j < kKeys; ++j)
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) out[r * x.out_stride + j] = sum_of_lanes(sums[j][r]);
  }
}

template <class T, int kKeys>
inline void few_scores_of(const FewRows& x, std::int64_t key) noexcept {
  std::int64_t r = 0;
  for (; r + 4 <= x.rows; r += 4) few_scores<T, kKeys, 4>(x, r, key);
  if (r + 3 == x.rows) return few_scores<T, kKeys, 3>(x, r, key);
  for (; r < x.rows; ++r) few_scores<T, kKeys, 1>(x, r, key);
}

template <class T>
void scores_of_few(const FewRows& x) noexcept {
  // Floats come from memory more slowly than two at once are summed; more of them, a page apart each, took 1.2 times as
  // long (EPYC 9005, 32:8 heads x 128, heads side by side in a token).
  constexpr int kKeys = sizeof(T) == 2 ? kKeysAtOnce : 2;
  std::int64_t j = 0;
  for (; j + kKeys <= x.keys; j += kKeys) {
    for (std::int64_t i = 0; i < kKeys; ++i) ask_for_key<T>(x, j + i);
    few_scores_of<T, kKeys>(x, j);
  }
  for (; j < x.keys; ++j) few_scores_of<T, 1>(x, j);
}

/// Sums of kRows rows and kVectors vectors of channels over the keys [begin, end).
template <class T, int kRows, int kVectors, class Part>
inline void few_sums(Part part, const FewRows& x, std::int64_t row, std::int64_t c, std::int64_t begin,
                     std::int64_t end) noexcept {
  float* const out = x.out + row * x.out_stride + c;
  const float* const a = x.a + row * x.a_stride;
  Vec sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = load(part, out + r * x.out_stride + v * kLanes);
  for (std::int64_t j = begin; j < end; ++j) {
    const T* const values = static_cast<const T*>(x.keys_at) + j * x.key_stride + c;
    Vec value[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) value[v] = load(part, values + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vec weight = splat(a[r * x.a_stride + j]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = accumulated(weight, value[v], sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(part, sums[r][v], out + r * x.out_stride + v * kLanes);
}

template <class T, int kRows>
inline void few_sums_of(const FewRows& x, std::int64_t row, std::int64_t begin, std::int64_t end) noexcept {
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= x.channels; c += 4 * kLanes) few_sums<T, kRows, 4>(Whole{}, x, row, c, begin, end);
  for (; c + kLanes <= x.channels; c += kLanes) few_sums<T, kRows, 1>(Whole{}, x, row, c, begin, end);
  if (c < x.channels) few_sums<T, kRows, 1>(First{x.channels - c}, x, row, c, begin, end);
}

// So many keys at a time, asked for before they are summed: their rows stay in the first-level cache while channels and
// queries go over them again.
constexpr std::int64_t kKeysOfSums = 32;

template <class T>
void add_few(const FewRows& x) noexcept {
  for (std::int64_t begin = 0; begin < x.keys; begin += kKeysOfSums) {
    const std::int64_t end = begin + kKeysOfSums < x.keys ? begin + kKeysOfSums : x.keys;
    for (std::int64_t j = begin; j < end; ++j) ask_for_key<T>(x, j);
    std::int64_t r = 0;
    for (; r + 4 <= x.rows; r += 4) few_sums_of<T, 4>(x, r, begin, end);
    if (r + 3 == x.rows) {
      few_sums_of<T, 3>(x, r, begin, end);
      r += 3;
    }
    for (; r < x.rows; ++r) few_sums_of<T, 1>(x, r, begin, end);
  }
}

float softmax_row(float* scores, std::int64_t keys, float factor, float* top, float* total) noexcept {
  constexpr float kNone = -__builtin_inff();
  Vec tops = splat(kNone);
  std::int64_t j = 0;
  for (; j + kLanes <= keys; j += kLanes) tops = larger(tops, load(Whole{}, scores + j));
  const float found = largest_of_lanes(tops);
  float now = *top > found ? *top : found;
  for (std::int64_t i = j; i < keys; ++i) now = now > scores[i] ? now : scores[i];
  Vec sums = splat(0.0f);
  for (j = 0; j + kLanes <= keys; j += kLanes) {
    const Vec p = exp2_of(mul(sub(load(Whole{}, scores + j), splat(now)), splat(factor)));
    sums = add(sums, p);
    store(Whole{}, p, scores + j);
  }
  float sum = sum_of_lanes(sums);
  if (j < keys) {
    const First part{keys - j};
    const Vec p = exp2_of(mul(sub(load(part, scores + j), splat(now)), splat(factor)));
    store(part, p, scores + j);
    for (; j < keys; ++j) sum += scores[j];
  }
  float correction;
  store(First{1}, exp2_of(splat((*top - now) * factor)), &correction);
  *top = now;
  *total = *total * correction + sum;
  return correction;
}
