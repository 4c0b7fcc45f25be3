// No include guard on purpose. Powers of two where the processor has nothing better than integer arithmetic on
// exponents.

namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE {
namespace {

// 2^x for x <= 127; 0 below -126.
inline Vec exp2_of(Vec x) noexcept {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Vec clamped = larger(x, splat(-126.0f));
  const Vec shifted = clamped + kRound;
  const Vec p = exp2_of_fraction(clamped - (shifted - kRound));
  const Ints exponent = std::bit_cast<Ints>(shifted) << 23;
  const Vec power = std::bit_cast<Vec>(std::bit_cast<Ints>(p) + exponent);
  return x < -126.0f ? Vec{} : power;
}

}  // namespace
}  // namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE
