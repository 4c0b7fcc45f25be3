// The smallest whole program: queries and keys of one layer, rotated in place.
#include <ropewalk/ropewalk.hpp>

#include <cstdio>
#include <numeric>
#include <vector>

int main() {
  // What a checkpoint says about its positions (Llama 3.1 8B); config.hpp reads it from config.json or a GGUF.
  const auto rotary =
      ropewalk::Rotary::make({.head_dim = 128,
                              .rotary_dim = 128,
                              .theta = 500000.0,
                              .layout = ropewalk::PairLayout::kHalf,
                              .scaling = ropewalk::Llama3Options{.factor = 8.0, .trained_context = 8192}});
  if (!rotary) {
    std::fprintf(stderr, "%s\n", rotary.error().line().c_str());
    return 1;
  }

  // 16 tokens behind a cache of 1 000 000: 32 query heads and 8 key heads of 128 channels.
  constexpr std::int64_t kTokens = 16;
  std::vector<float> q(kTokens * 32 * 128, 1.0f), k(kTokens * 8 * 128, 1.0f);
  std::vector<std::int64_t> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 1000000);

  using ropewalk::HeadsView;
  using ropewalk::RotaryOperand;
  const RotaryOperand operands[] = {
      RotaryOperand::in_place(HeadsView::bshd(q.data(), ropewalk::DType::kFloat32, 1, kTokens, 32, 128)),
      RotaryOperand::in_place(HeadsView::bshd(k.data(), ropewalk::DType::kFloat32, 1, kTokens, 8, 128))};
  const auto where = ropewalk::PositionsView::row(positions);
  if (const auto error = rotary->check(operands, where)) {
    std::fprintf(stderr, "%s\n", error->line().c_str());
    return 1;
  }
  rotary->apply(operands, where);

  std::printf("q[0, 0, 0] = %.6f   (cos - sin of 1000000 radians: 1.286746)\n", static_cast<double>(q[0]));
  return std::abs(static_cast<double>(q[0]) - 1.286746) < 1e-6 ? 0 : 1;
}
