// No include guard on purpose. AVX-512 scales by a power of two in one instruction, which also ends in 0 by itself.

#include <immintrin.h>

namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE {
namespace {

// 2^x for x <= 127; 0 below -150, a subnormal number from there to -126.
inline Vec exp2_of(Vec x) noexcept {
  // The unmasked forms pass an undefined vector along, of which g++ 12 warns (GCC bug 105593).
  constexpr __mmask16 kAll = 0xffff;
  const Vec clamped = _mm512_maskz_max_ps(kAll, x, splat(-200.0f));
  const Vec whole = _mm512_maskz_roundscale_ps(kAll, clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_maskz_scalef_ps(kAll, exp2_of_fraction(clamped - whole), whole);
}

}  // namespace
}  // namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE
