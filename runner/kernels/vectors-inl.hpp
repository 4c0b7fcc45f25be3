// No include guard on purpose: it is read once per target. The target defines ROPEWALK_RUNNER_TARGET_NAMESPACE and
// ROPEWALK_RUNNER_LANES, the floats in a vector, before it.

#include <bit>
#include <cstdint>
#include <cstring>

#include "runner/kernels/kernels.hpp"
#include "runner/kernels/targets.hpp"

namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE {
namespace {

constexpr int kLanes = ROPEWALK_RUNNER_LANES;
typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * kLanes)));

inline Vec splat(float value) noexcept { return value - Vec{}; }
inline Vec larger(Vec a, Vec b) noexcept { return a > b ? a : b; }

// 2^f for f in [-1/2, 1/2], as its Taylor series: the first term left out, (f ln 2)^7 / 7!, is below 1.2e-7.
inline Vec exp2_of_fraction(Vec f) noexcept {
  Vec p = splat(1.540353039e-4f);
  p = p * f + 1.333355815e-3f;
  p = p * f + 9.618129108e-3f;
  p = p * f + 5.550410866e-2f;
  p = p * f + 2.402265070e-1f;
  p = p * f + 6.931471806e-1f;
  return p * f + 1.0f;
}

}  // namespace
}  // namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE
