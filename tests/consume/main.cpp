// The smallest program that uses the installed library: one head, one quarter turn.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ropewalk/ropewalk.hpp>

int main() {
  const ropewalk::RotarySpec spec{
      .head_dim = 2, .rotary_dim = 2, .theta = 10000.0, .layout = ropewalk::PairLayout::kInterleaved};
  const auto rotary = ropewalk::Rotary::make(spec);
  if (!rotary) return std::fprintf(stderr, "%s\n", rotary.error().line().c_str()), 1;

  std::array<float, 2> q{1.0f, 0.0f};
  const std::array<std::int64_t, 1> position{1};
  const ropewalk::RotaryOperand operands[] = {
      ropewalk::RotaryOperand::in_place(ropewalk::HeadsView::thd(q.data(), ropewalk::DType::kFloat32, 1, 1, 2))};
  rotary->apply(operands, ropewalk::PositionsView::row(position));
  std::printf("%.6f %.6f\n", q[0], q[1]);
  return std::abs(q[0] - std::cos(1.0f)) < 1e-6f && std::abs(q[1] - std::sin(1.0f)) < 1e-6f ? 0 : 1;
}
