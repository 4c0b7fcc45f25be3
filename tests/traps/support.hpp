// What the traps share: heads through the library's operator, and the same through tests/oracle in double.
#pragma once

#include <ropewalk/ropewalk.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "oracle/rotate.hpp"

namespace traps {

using namespace ropewalk;
using Heads = std::vector<float>;
using Positions = std::vector<std::int64_t>;

inline RotarySpec spec_of(int dim, double theta, PairLayout layout = PairLayout::kHalf, Scaling scaling = NoScaling{}) {
  RotarySpec spec;
  spec.head_dim = spec.rotary_dim = dim;
  spec.theta = theta;
  spec.layout = layout;
  spec.scaling = std::move(scaling);
  return spec;
}

inline Rotary made(const RotarySpec& spec, std::int64_t running_length = 0) {
  auto rotary = Rotary::make(spec, running_length);
  if (!rotary) throw std::runtime_error(rotary.error().line());
  return *rotary;
}

/// Numbers without a pattern, none of them zero.
inline Heads heads_of(std::size_t count, double seed = 1.0) {
  Heads x(count);
  for (std::size_t i = 0; i < count; ++i)
    x[i] = static_cast<float>(std::sin(seed + 1.7 * static_cast<double>(i)) + 0.01);
  return x;
}

/// [tokens, heads, head_dim] turned in place.
inline Heads turned(const Rotary& rotary, Heads x, const PositionsView& where, std::int64_t heads = 1,
                    Direction direction = Direction::kForward) {
  const std::int64_t channels = rotary.spec().head_dim;
  const auto tokens = static_cast<std::int64_t>(x.size()) / heads / channels;
  const RotaryOperand operand =
      RotaryOperand::in_place(HeadsView::thd(x.data(), DType::kFloat32, tokens, heads, channels));
  const auto error = rotary.check({&operand, 1}, where);
  EXPECT_FALSE(error) << error->line();
  if (!error) rotary.apply({&operand, 1}, where, {.direction = direction});
  return x;
}

inline Heads turned(const Rotary& rotary, Heads x, const Positions& where, std::int64_t heads = 1,
                    Direction direction = Direction::kForward) {
  return turned(rotary, std::move(x), PositionsView::row(where), heads, direction);
}

inline bool same_bits(const Heads& a, const Heads& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

inline void expect_near(const Heads& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]), want[i], tolerance) << "channel " << i;
}

inline std::vector<double> in_double(const Heads& x) { return {x.begin(), x.end()}; }

}  // namespace traps
