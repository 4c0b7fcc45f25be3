// No include guard on purpose: it is read once per target. The target defines, before it,
//
//     ROPEWALK_RUNNER_TARGET_NAMESPACE   its namespace
//     kLanes                             floats in a vector
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
