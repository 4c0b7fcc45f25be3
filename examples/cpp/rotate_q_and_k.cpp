// The smallest whole program: queries and keys of one layer, rotated in place.
#include <ropewalk/ropewalk.hpp>

#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

namespace {

constexpr std::int64_t kTokens = 16;

/// [1, kTokens, heads, 128], contiguous.
ropewalk::RotaryOperand in_place(std::vector<float>& x, std::int64_t heads) {
  return ropewalk::RotaryOperand::in_place(
      ropewalk::HeadsView::bshd(x.data(), ropewalk::DType::kFloat32, 1, kTokens, heads, 128));
}

int refused(const ropewalk::Error& error) {
  std::fprintf(stderr, "%s\n", error.line().c_str());
  return 1;
}

}  // namespace

int main() {
  // What a checkpoint says about its positions (Llama 3.1 8B); config.hpp reads it from config.json or a GGUF.
  const auto rotary =
      ropewalk::Rotary::make({.head_dim = 128,
                              .rotary_dim = 128,
                              .theta = 500000.0,
                              .layout = ropewalk::PairLayout::kHalf,
                              .scaling = ropewalk::Llama3Options{.factor = 8.0, .trained_context = 8192}});
  if (!rotary) return refused(rotary.error());

  // 16 tokens behind a cache of 1 000 000: 32 query heads and 8 key heads of 128 channels.
  std::vector<float> q(kTokens * 32 * 128, 1.0f), k(kTokens * 8 * 128, 1.0f);
  std::vector<std::int64_t> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 1000000);

  // region three_lines
  const ropewalk::RotaryOperand operands[] = {in_place(q, 32), in_place(k, 8)};
  const auto where = ropewalk::PositionsView::row(positions);
  if (const auto error = rotary->check(operands, where)) return refused(*error);  // says what does not fit, and where
  rotary->apply(operands, where);  // q and k together, in place: cannot fail
  // endregion

  std::printf("q[0, 0, 0] = %.6f   (cos - sin of 1000000 radians: 1.286746)\n", static_cast<double>(q[0]));
  return std::abs(static_cast<double>(q[0]) - 1.286746) < 1e-6 ? 0 : 1;
}
