#define ROPEWALK_RUNNER_TARGET_NAMESPACE avx512_bf16
#define ROPEWALK_RUNNER_LANES 16
#include "runner/kernels/vectors-inl.hpp"

#include "runner/kernels/exp2_avx512-inl.hpp"

namespace ropewalk::runner::avx512_bf16 {
namespace {

inline Halves to_bf16(Vec v) noexcept { return std::bit_cast<Halves>(_mm512_cvtneps_pbh(v)); }

}  // namespace
}  // namespace ropewalk::runner::avx512_bf16

namespace ropewalk::runner::avx512_bf16 {
namespace {
constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;
}  // namespace
}  // namespace ropewalk::runner::avx512_bf16
#include "runner/kernels/blocks-inl.hpp"

namespace ropewalk::runner::avx512_bf16 {
namespace {

// As multiply_tile, two steps of k at once: a lane adds a[k] b[k] + a[k + 1] b[k + 1].
template <int kRows, int kVectors>
inline void bf16_tile(const std::uint16_t* a, std::int64_t a_stride, const std::uint16_t* b, std::int64_t b_stride,
                      float* c, std::int64_t c_stride, std::int64_t depth, bool accumulate) noexcept {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = accumulate ? _mm512_loadu_ps(c + r * c_stride + v * kLanes) : _mm512_setzero_ps();
  for (std::int64_t k = 0; k < depth; k += 2) {
    __m512bh row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      row[v] = std::bit_cast<__m512bh>(_mm512_loadu_si512(b + k * b_stride + v * 2 * kLanes));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      std::int32_t pair;
      std::memcpy(&pair, a + r * a_stride + k, sizeof pair);
      const __m512bh factor = std::bit_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], factor, row[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + r * c_stride + v * kLanes, sums[r][v]);
}

template <int kVectors>
inline void bf16_columns(const std::uint16_t* a, std::int64_t a_stride, const std::uint16_t* b, std::int64_t b_stride,
                         float* c, std::int64_t c_stride, std::int64_t rows, std::int64_t depth,
                         bool accumulate) noexcept {
  std::int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows)
    bf16_tile<kTileRows, kVectors>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth,
                                   accumulate);
  for (; r + 2 <= rows; r += 2)
    bf16_tile<2, kVectors>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth, accumulate);
  for (; r < rows; ++r)
    bf16_tile<1, kVectors>(a + r * a_stride, a_stride, b, b_stride, c + r * c_stride, c_stride, depth, accumulate);
}

void multiply_bf16(const std::uint16_t* a, std::int64_t a_stride, const std::uint16_t* b, std::int64_t b_stride,
                   float* c, std::int64_t c_stride, std::int64_t rows, std::int64_t depth, std::int64_t columns,
                   bool accumulate) noexcept {
  std::int64_t j = 0;
  for (; j + kTileVectors * kLanes <= columns; j += kTileVectors * kLanes)
    bf16_columns<kTileVectors>(a, a_stride, b + 2 * j, b_stride, c + j, c_stride, rows, depth, accumulate);
  for (; j < columns; j += kLanes)
    bf16_columns<1>(a, a_stride, b + 2 * j, b_stride, c + j, c_stride, rows, depth, accumulate);
}

}  // namespace

const Kernels kernels = {
    "avx512_bf16", []() noexcept { return avx512::kernels.runs_here() && __builtin_cpu_supports("avx512bf16"); },
    multiply,      multiply_bf16,
    softmax_step,  softmax_step_bf16,
    scale,         scale_bf16,
    rms_norm,      rms_norm_bf16,
    swiglu,        swiglu_bf16,
    geglu,         geglu_bf16,
    log_sum_exp};

}  // namespace ropewalk::runner::avx512_bf16
