// No include guard on purpose: it is read once per target. The target defines, before it,
//
//     ROPEWALK_RUNNER_TARGET_NAMESPACE   its namespace
//     kLanes                             floats in a vector
//     kTileRows, kTileVectors            the block of sums that a product keeps in registers
//
// The arithmetic is written in the compiler's own vectors, so that one body serves every width. These files are
// compiled with -ffp-contract=fast: a * b + c is one rounding wherever the processor has it.

namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE {
namespace {

inline Vec load(const float* at) noexcept {
  Vec v;
  std::memcpy(&v, at, sizeof v);
  return v;
}

// The first `n` lanes; the others are `fill`.
inline Vec load_first(const float* at, std::int64_t n, float fill) noexcept {
  Vec v = splat(fill);
  std::memcpy(&v, at, static_cast<std::size_t>(n) * sizeof(float));
  return v;
}

inline void store(Vec v, float* at, std::int64_t n = kLanes) noexcept {
  std::memcpy(at, &v, static_cast<std::size_t>(n) * sizeof(float));
}

inline void store(Vec v, std::uint16_t* at, std::int64_t n = kLanes) noexcept {
  const Halves rounded = to_bf16(v);
  std::memcpy(at, &rounded, static_cast<std::size_t>(n) * sizeof(std::uint16_t));
}

struct LaneNumbers {
  std::int32_t twice[2 * kLanes] = {};  // 0, 1, ..., kLanes - 1, and the same again
  constexpr LaneNumbers() noexcept {
    for (int i = 0; i < 2 * kLanes; ++i) twice[i] = i % kLanes;
  }
};
constexpr LaneNumbers kLaneNumbers;

// The lanes turned by `by`: after log2(kLanes) steps of a reduction every lane has the result. The numbers are read
// from memory: built from constants, g++ 12 inserts them one by one.
inline Vec turned(Vec v, int by) noexcept {
  Ints from;
  std::memcpy(&from, kLaneNumbers.twice + by, sizeof from);
  return __builtin_shuffle(v, from);
}

inline float sum_of(Vec v) noexcept {
#pragma GCC unroll 8
  for (int width = kLanes / 2; width > 0; width /= 2) v += turned(v, width);
  return v[0];
}

inline float largest_of(Vec v) noexcept {
#pragma GCC unroll 8
  for (int width = kLanes / 2; width > 0; width /= 2) v = larger(v, turned(v, width));
  return v[0];
}

constexpr float kLog2OfE = 1.44269504088896341f;

// Calls body(vector loader, count) over n elements: whole vectors, then what is left.
template <class Body>
inline void in_steps(std::int64_t n, const Body& body) noexcept {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    body(
        i, [](const float* at, float) { return load(at); }, kLanes);
  if (i < n) {
    const std::int64_t left = n - i;
    body(
        i, [left](const float* at, float fill) { return load_first(at, left, fill); }, left);
  }
}

// kRows x kVectors sums stay in registers while k runs over the depth.
template <int kRows, int kVectors>
inline void multiply_tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float* c,
                          std::int64_t c_stride, std::int64_t depth, bool accumulate) noexcept {
  Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sums[r][v] = accumulate ? load(c + r * c_stride + v * kLanes) : Vec{};
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) row[v] = load(b + k * b_stride + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec factor = splat(a[r * a_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] += factor * row[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(sums[r][v], c + r * c_stride + v * kLanes);
}

// Rows in tiles of kTileRows; what is left in tiles of 2 and 1.
template <int kVectors>
inline void multiply_columns(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float* c,
                             std::int64_t c_stride, std::int64_t rows, std::int64_t depth, bool accumulate) noexcept {
  std::int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows)
    multiply_tile<kTileRows, kVectors>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth,
                                       accumulate);
  for (; r + 2 <= rows; r += 2)
    multiply_tile<2, kVectors>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth, accumulate);
  for (; r < rows; ++r)
    multiply_tile<1, kVectors>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth, accumulate);
}

void multiply(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, float* c,
              std::int64_t c_stride, std::int64_t rows, std::int64_t depth, std::int64_t columns,
              bool accumulate) noexcept {
  std::int64_t j = 0;
  for (; j + kTileVectors * kLanes <= columns; j += kTileVectors * kLanes)
    multiply_columns<kTileVectors>(a, a_stride, b + j, b_stride, c + j, c_stride, rows, depth, accumulate);
  for (; j < columns; j += kLanes)
    multiply_columns<1>(a, a_stride, b + j, b_stride, c + j, c_stride, rows, depth, accumulate);
}

// Four vectors at a time: one running maximum or sum would wait for itself at every step.
constexpr std::int64_t kStep = 4 * kLanes;

inline float largest_of(const float* x, std::int64_t n) noexcept {
  constexpr float kNone = -__builtin_inff();
  Vec top[4] = {splat(kNone), splat(kNone), splat(kNone), splat(kNone)};
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) top[v] = larger(top[v], load(x + i + v * kLanes));
  in_steps(n - i, [&](std::int64_t j, auto part, std::int64_t) { top[0] = larger(top[0], part(x + i + j, kNone)); });
  return largest_of(larger(larger(top[0], top[1]), larger(top[2], top[3])));
}

template <class Out>
float softmax_into(const float* scores, std::int64_t n, Out* p, float* m, float* sum) noexcept {
  constexpr float kNone = -__builtin_inff();
  const float before = *m;
  const float highest = largest_of(scores, n);
  const float now = before > highest ? before : highest;
  Vec total[4] = {};
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep)
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const Vec power = exp2_of(load(scores + i + v * kLanes) - now);
      total[v] += power;
      store(power, p + i + v * kLanes);
    }
  in_steps(n - i, [&](std::int64_t j, auto part, std::int64_t count) {
    const Vec power = exp2_of(part(scores + i + j, kNone) - now);
    total[0] += power;
    store(power, p + i + j, count);
  });
  const float correction = exp2_of(splat(before - now))[0];
  *m = now;
  *sum = *sum * correction + sum_of((total[0] + total[1]) + (total[2] + total[3]));
  return correction;
}

float softmax_step(const float* scores, std::int64_t n, float* p, float* m, float* sum) noexcept {
  return softmax_into(scores, n, p, m, sum);
}
float softmax_step_bf16(const float* scores, std::int64_t n, std::uint16_t* p, float* m, float* sum) noexcept {
  return softmax_into(scores, n, p, m, sum);
}

template <class Out>
void scale_into(const float* x, std::int64_t n, float factor, Out* out) noexcept {
  in_steps(n,
           [&](std::int64_t i, auto part, std::int64_t count) { store(part(x + i, 0.0f) * factor, out + i, count); });
}
void scale(const float* x, std::int64_t n, float factor, float* out) noexcept { scale_into(x, n, factor, out); }
void scale_bf16(const float* x, std::int64_t n, float factor, std::uint16_t* out) noexcept {
  scale_into(x, n, factor, out);
}

template <class Out>
void rms_norm_into(const float* x, const float* weight, float epsilon, std::int64_t n, Out* out) noexcept {
  Vec squares = {};
  in_steps(n, [&](std::int64_t i, auto part, std::int64_t) {
    const Vec v = part(x + i, 0.0f);
    squares += v * v;
  });
  const float factor = 1.0f / __builtin_sqrtf(sum_of(squares) / static_cast<float>(n) + epsilon);
  in_steps(n, [&](std::int64_t i, auto part, std::int64_t count) {
    store(part(x + i, 0.0f) * factor * part(weight + i, 0.0f), out + i, count);
  });
}
void rms_norm(const float* x, const float* weight, float epsilon, std::int64_t n, float* out) noexcept {
  rms_norm_into(x, weight, epsilon, n, out);
}
void rms_norm_bf16(const float* x, const float* weight, float epsilon, std::int64_t n, std::uint16_t* out) noexcept {
  rms_norm_into(x, weight, epsilon, n, out);
}

// gate / (1 + exp(-steepness(gate))) * up.
template <class Out, class Steepness>
void gated_into(const float* gate, const float* up, std::int64_t n, Out* out, const Steepness& steepness) noexcept {
  in_steps(n, [&](std::int64_t i, auto part, std::int64_t count) {
    const Vec g = part(gate + i, 0.0f);
    const Vec power = steepness(g) * -kLog2OfE;
    const Vec e = exp2_of(power < 126.0f ? power : splat(126.0f));
    store(g / (1.0f + e) * part(up + i, 0.0f), out + i, count);
  });
}

inline Vec silu_steepness(Vec g) noexcept { return g; }
// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), so that the tanh form of GELU is a gate too: 2u = sqrt(8 / pi) (g + 0.044715
// g^3).
inline Vec gelu_steepness(Vec g) noexcept { return 1.5957691216057308f * (g + 0.044715f * g * g * g); }

void swiglu(const float* gate, const float* up, std::int64_t n, float* out) noexcept {
  gated_into(gate, up, n, out, silu_steepness);
}
void swiglu_bf16(const float* gate, const float* up, std::int64_t n, std::uint16_t* out) noexcept {
  gated_into(gate, up, n, out, silu_steepness);
}
void geglu(const float* gate, const float* up, std::int64_t n, float* out) noexcept {
  gated_into(gate, up, n, out, gelu_steepness);
}
void geglu_bf16(const float* gate, const float* up, std::int64_t n, std::uint16_t* out) noexcept {
  gated_into(gate, up, n, out, gelu_steepness);
}

double log_sum_exp(const float* x, std::int64_t n) noexcept {
  constexpr float kNone = -__builtin_inff();
  constexpr std::int64_t kStretch = 1024;
  Vec top = splat(kNone);
  in_steps(n, [&](std::int64_t i, auto part, std::int64_t) { top = larger(top, part(x + i, kNone)); });
  const float highest = largest_of(top);
  double total = 0.0;
  for (std::int64_t first = 0; first < n; first += kStretch) {
    Vec sums = {};
    in_steps(n - first < kStretch ? n - first : kStretch, [&](std::int64_t i, auto part, std::int64_t) {
      sums += exp2_of((part(x + first + i, kNone) - highest) * kLog2OfE);
    });
    total += static_cast<double>(sum_of(sums));
  }
  return static_cast<double>(highest) + __builtin_log(total);
}

}  // namespace
}  // namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE
