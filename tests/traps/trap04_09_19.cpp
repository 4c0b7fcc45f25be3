// Traps that modules of a framework fall into, as far as a library without one can: its state is a few numbers and no
// castable table, and nothing is shared between operators.
#include <ropewalk/ropewalk.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <thread>
#include <vector>

namespace {

using ropewalk::DType;
using ropewalk::HeadsView;
using ropewalk::Numerics;
using ropewalk::PairLayout;
using ropewalk::PositionsView;
using ropewalk::Rotary;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;

RotarySpec spec_of(int dim, double theta, Numerics numerics = Numerics::kExact) {
  return {.head_dim = dim,
          .rotary_dim = dim,
          .theta = theta,
          .layout = PairLayout::kHalf,
          .scaling = ropewalk::NoScaling{},
          .numerics = numerics};
}

// Cosines of every pair, as the operator forms them: it turns (1, 0) in each.
std::vector<float> cosines(const Rotary& rotary, std::int64_t position) {
  const auto dim = static_cast<std::size_t>(rotary.spec().head_dim);
  std::vector<float> x(dim, 0.0f);
  for (std::size_t j = 0; j < dim / 2; ++j) x[j] = 1.0f;
  const auto operand =
      RotaryOperand::in_place(HeadsView::thd(x.data(), DType::kFloat32, 1, 1, static_cast<std::int64_t>(dim)));
  rotary.apply({&operand, 1}, PositionsView::row({&position, 1}));
  x.resize(dim / 2);
  return x;
}

double worst_to(std::int64_t end, Numerics numerics) {
  const auto rotary = Rotary::make(spec_of(32, 1e4, numerics));
  double worst = 0;
  for (std::int64_t p = 0; p < end; ++p) {
    const std::vector<float> got = cosines(*rotary, p);
    for (std::size_t j = 0; j < got.size(); ++j) {
      const long double angle = static_cast<long double>(p) * std::pow(1e4L, -2.0L * static_cast<long double>(j) / 32);
      worst = std::max(worst, static_cast<double>(std::fabs(static_cast<long double>(got[j]) - std::cos(angle))));
    }
  }
  return worst;
}

TEST(Trap04ModelCast, AngleOfAKnownPosition) {
  const auto rotary = Rotary::make(spec_of(32, 1e4));
  EXPECT_NEAR(1857 * rotary->frequencies().inv_freq[1], 1044.267841, 1e-6);
  EXPECT_NEAR(cosines(*rotary, 1857)[1], 0.30669281, 1e-7);
}

// fp16 phases give 0.782 here and bf16 phases 1.995.
TEST(Trap04ModelCast, AWholeTableTo2048) {
  EXPECT_LE(worst_to(2048, Numerics::kExact), 6e-8);
  EXPECT_LE(worst_to(2048, Numerics::kFp32), 1.5e-4);
}

// The data's dtype is none of the phase's business: in bfloat16 positions 256 and 257 would be one.
TEST(Trap04ModelCast, HalfPrecisionDataKeepItsPositionsApart) {
  const auto rotary = Rotary::make(spec_of(32, 1e4));
  std::vector<std::uint16_t> rows[2];
  for (const std::int64_t p : {256, 257}) {
    std::vector<std::uint16_t>& x = rows[p - 256];
    x.assign(32, 0x3f80);  // 1 in bfloat16
    const auto operand = RotaryOperand::in_place(HeadsView::thd(x.data(), DType::kBFloat16, 1, 1, 32));
    rotary->apply({&operand, 1}, PositionsView::row({&p, 1}));
  }
  EXPECT_NE(rows[0], rows[1]);
  EXPECT_NE(cosines(*rotary, 256), cosines(*rotary, 257));
}

TEST(Trap09MetaDevice, TheFirstPairTurnsByOneRadianAToken) {
  for (const double theta : {1e4, 5e5, 1e6, 1.5e5})
    for (const Numerics numerics : {Numerics::kExact, Numerics::kFp32})
      EXPECT_EQ(Rotary::make(spec_of(128, theta, numerics))->frequencies().inv_freq[0], 1.0);
}

TEST(Trap09MetaDevice, AnOperatorOutlivesTheOneItWasCopiedFrom) {
  std::optional<Rotary> first = *Rotary::make(spec_of(64, 1e4));
  const std::vector<float> wanted = cosines(*first, 4097);
  const Rotary copy = *first;
  Rotary moved = *std::move(first);
  first.reset();
  const auto other = Rotary::make(spec_of(64, 5e5));
  EXPECT_NE(cosines(*other, 4097), wanted);
  EXPECT_EQ(cosines(copy, 4097), wanted);
  EXPECT_EQ(cosines(moved, 4097), wanted);
}

TEST(Trap19Aliasing, ModelsOfOneProcessDoNotShareAndEqualOnesAgree) {
  std::vector<RotarySpec> specs = {spec_of(64, 1e4), spec_of(64, 5e5), spec_of(64, 1e4, Numerics::kFp32),
                                   spec_of(128, 1e4)};
  std::vector<std::vector<float>> alone, together(specs.size());
  for (const RotarySpec& spec : specs) alone.push_back(cosines(*Rotary::make(spec), 100003));
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < specs.size(); ++i)
    threads.emplace_back([&, i] {
      for (int n = 0; n < 200; ++n) together[i] = cosines(*Rotary::make(specs[i]), 100003);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
  EXPECT_NE(alone[0], alone[1]);
  EXPECT_NE(alone[0], alone[2]);
}

// A longer request makes an operator of its own; the one for the shorter keeps its bits, and can be made again.
TEST(Trap19Aliasing, LengthsDoNotLeakIntoEachOther) {
  RotarySpec dynamic = spec_of(128, 1e4), longrope = spec_of(128, 1e4);
  dynamic.scaling = ropewalk::DynamicNtkOptions{.factor = 2.0, .trained_context = 4096};
  ropewalk::LongRopeOptions lists{.trained_context = 4096, .factor = 32.0};
  for (int j = 0; j < 64; ++j) {
    lists.short_factor.push_back(1.0 + 0.01 * j);
    lists.long_factor.push_back(1.0 + j);
  }
  longrope.scaling = lists;
  for (const RotarySpec& spec : {dynamic, longrope}) {
    const auto brief = Rotary::make(spec, 100);
    const std::vector<float> wanted = cosines(*brief, 99);
    const auto extended = Rotary::make(spec, 16384);
    EXPECT_NE(cosines(*extended, 99), wanted);
    EXPECT_EQ(cosines(*brief, 99), wanted);
    EXPECT_EQ(cosines(*Rotary::make(spec, 100), 99), wanted);
  }
}

}  // namespace
