// No include guard on purpose. Rounding to bf16 where the processor has no instruction for it.

namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE {
namespace {

// Rounded to nearest, ties to even. A NaN of arithmetic keeps its quiet bit, which lies in the upper half.
inline Halves to_bf16(Vec v) noexcept {
  const Words bits = std::bit_cast<Words>(v);
  return __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, Halves);
}

}  // namespace
}  // namespace ropewalk::runner::ROPEWALK_RUNNER_TARGET_NAMESPACE
