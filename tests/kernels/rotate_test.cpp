// The operator against the formula in double, over shapes, layouts, dtypes and orders in memory, on every target.
#include "kernels/support.hpp"

#include <array>
#include <cmath>
#include <cstring>

namespace {

using ropewalk::Direction;
using ropewalk::PositionsView;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using support::DType;
using support::PairLayout;
using support::Shape;
using support::Tensor;

struct Width {
  int head_dim, rotary_dim, rotary_offset;
};
constexpr Width kWidths[] = {{2, 2, 0},    {6, 6, 0},   {20, 20, 0},    {32, 32, 0},    {64, 64, 0},
                             {80, 80, 0},  {96, 96, 0}, {128, 128, 0},  {192, 192, 0},  {256, 256, 0},
                             {256, 64, 0}, {80, 20, 0}, {192, 64, 128}, {13, 6, 5},     {127, 96, 31},
                             {67, 2, 65},  {10, 8, 1},  {576, 64, 512}, {4200, 4100, 7}};

RotarySpec spec_of(const Width& width, PairLayout layout) {
  return {.head_dim = width.head_dim,
          .rotary_dim = width.rotary_dim,
          .rotary_offset = width.rotary_offset,
          .theta = 10000.0,
          .layout = layout};
}

/// Half a unit of the stored result, and the arithmetic in float before it on elements below 6.
double tolerance(DType dtype, double result) {
  constexpr double kArithmetic = 1e-6;
  switch (dtype) {
    case DType::kFloat32: return kArithmetic;
    case DType::kBFloat16: return kArithmetic + 0x1p-8 * std::fabs(result);
    case DType::kFloat16: return kArithmetic + 0x1p-11 * std::fabs(result);
  }
  return 0;
}

std::vector<std::int64_t> some_positions(std::int64_t n) {
  const std::int64_t known[] = {511, 0, 1, (1 << 17) - 1, (1 << 20) - 1, 10000000, -1, -777, -123456};
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < n; ++i)
    positions.push_back(known[static_cast<std::size_t>(i) % std::size(known)] + i / std::ssize(known));
  return positions;
}

void expect_like_the_formula(const RotarySpec& spec, const Shape& shape, DType dtype) {
  SCOPED_TRACE(to_string(spec) + " " + shape.order + " " + std::string(name_of(dtype)));
  const auto rotary = support::made(spec);
  const auto positions = some_positions(shape.batch * shape.tokens);
  Tensor before(shape, dtype);
  before.fill(7);
  for (const auto edge : {support::Pages::Edge::kEnd, support::Pages::Edge::kBegin}) {
    Tensor x(shape, dtype, edge);
    x.fill(7);
    support::turn(rotary, x.view(), PositionsView::rows(positions, shape.batch));
    EXPECT_TRUE(x.border_untouched());
    support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
      if (c < spec.rotary_offset || c >= spec.rotary_offset + spec.rotary_dim) {
        ASSERT_EQ(x.bits(b, t, h, c), before.bits(b, t, h, c));
        return;
      }
      const double want = support::plainly_turned(spec, 1.0, 1.0, before, b, t, h, c, [&](auto row, auto token, int) {
        return positions[static_cast<std::size_t>(row * shape.tokens + token)];
      });
      ASSERT_NEAR(x.get(b, t, h, c), want, tolerance(dtype, want)) << b << ' ' << t << ' ' << h << ' ' << c;
    });
  }
}

class Rotate : public support::EveryTarget {};

TEST_P(Rotate, FollowsTheFormulaAtEveryWidth) {
  for (const Width& width : kWidths)
    for (const PairLayout layout : support::kLayouts)
      for (const DType dtype : support::kDTypes)
        expect_like_the_formula(spec_of(width, layout),
                                {.tokens = width.head_dim > 1000 ? 2 : 9,
                                 .heads = width.head_dim > 100 ? 2 : 3,
                                 .head_dim = width.head_dim},
                                dtype);
}

TEST_P(Rotate, FollowsTheFormulaInEveryOrderOfMemory) {
  for (const char* order : {"bshd", "bhsd", "sbhd", "hbsd"})
    for (const std::int64_t gap : {0, 1, 5})
      for (const bool backwards : {false, true})
        for (const std::int64_t heads : {1, 3, 9, 32})
          for (const DType dtype : support::kDTypes)
            expect_like_the_formula(spec_of({20, 12, 3}, heads % 2 == 0 ? PairLayout::kHalf : PairLayout::kInterleaved),
                                    {.batch = 2,
                                     .tokens = heads > 9 ? 3 : 35,
                                     .heads = heads,
                                     .head_dim = 20,
                                     .order = order,
                                     .gap = gap,
                                     .backwards = backwards},
                                    dtype);
}

// reference: the pairing oracle, D = 4, theta = 10000, p = 3; the numbers are of the real-number formula.
TEST_P(Rotate, KnowsWhichChannelsMakeAPair) {
  const double half[] = {-1.413352521, 1.879118067, -2.828857482, 4.058191135};
  const double interleaved[] = {-1.272232513, -1.838864985, 2.878668100, 4.088186636};
  for (const PairLayout layout : support::kLayouts) {
    Tensor x({.head_dim = 4}, DType::kFloat32);
    for (int c = 0; c < 4; ++c) x.set(0, 0, 0, c, c + 1);
    const std::int64_t position[] = {3};
    support::turn(support::made(spec_of({4, 4, 0}, layout)), x.view(), PositionsView::row(position));
    for (int c = 0; c < 4; ++c)
      EXPECT_NEAR(x.get(0, 0, 0, c), (layout == PairLayout::kHalf ? half : interleaved)[c], 5e-7);
  }
}

TEST_P(Rotate, HasTheSameBitsOnEveryTarget) {
  for (const Width& width : kWidths) {
    for (const PairLayout layout : support::kLayouts) {
      for (const DType dtype : support::kDTypes) {
        const auto rotary = support::made(spec_of(width, layout));
        const Shape shape{.batch = 2, .tokens = 5, .heads = 3, .head_dim = width.head_dim};
        const auto positions = some_positions(5);
        Tensor x(shape, dtype), y(shape, dtype);
        support::turn(rotary, x.fill(11).view(), PositionsView::row(positions));
        ropewalk::cpu::override_target(&ropewalk::cpu::targets().back());
        support::turn(rotary, y.fill(11).view(), PositionsView::row(positions));
        ropewalk::cpu::override_target(GetParam());
        ASSERT_TRUE(x.same_elements(y)) << to_string(rotary.spec()) << ' ' << name_of(dtype);
      }
    }
  }
}

// Zeros of both signs, subnormals, the largest and infinities, each with each. Only what is in a NaN may differ.
TEST_P(Rotate, HasTheSameBitsOnEveryTargetAtTheEndsOfTheNumbers) {
  for (const PairLayout layout : support::kLayouts) {
    for (const DType dtype : support::kDTypes) {
      const auto rotary = support::made(spec_of({98, 98, 0}, layout));
      const double least = dtype == DType::kFloat16 ? 0x1p-24 : dtype == DType::kBFloat16 ? 0x1p-133 : 0x1p-149;
      const double most = dtype == DType::kFloat16 ? 65504.0 : dtype == DType::kBFloat16 ? 0x1.fep127 : 0x1.fffffep127;
      const double ends[] = {0.0, -0.0, least, -most, most, INFINITY, -INFINITY};
      Tensor x({.tokens = 4, .head_dim = 98}, dtype), y({.tokens = 4, .head_dim = 98}, dtype);
      for (Tensor* z : {&x, &y})
        for (int t = 0; t < 4; ++t)
          for (int j = 0; j < 49; ++j) {
            z->set(0, t, 0, channels_of(layout, j, 49).first, ends[j / 7]);
            z->set(0, t, 0, channels_of(layout, j, 49).second, ends[j % 7]);
          }
      const std::int64_t positions[] = {0, 1, -1, 1000003};
      support::turn(rotary, x.view(), PositionsView::row(positions));
      ropewalk::cpu::override_target(&ropewalk::cpu::targets().back());
      support::turn(rotary, y.view(), PositionsView::row(positions));
      ropewalk::cpu::override_target(GetParam());
      support::for_each_element(x.shape(), [&](auto b, auto t, auto h, auto c) {
        if (std::isnan(y.get(b, t, h, c)))
          ASSERT_TRUE(std::isnan(x.get(b, t, h, c)));
        else
          ASSERT_EQ(x.bits(b, t, h, c), y.bits(b, t, h, c)) << name_of(dtype) << ' ' << t << ' ' << c;
      });
    }
  }
}

// ... and on every processor, from the spec on. No libm: the elements are random integers times a power of two.
TEST_P(Rotate, HasTheSameBitsOnEveryProcessor) {
  std::vector<std::uint32_t> bits;
  for (const Width& width : kWidths) {
    for (const PairLayout layout : support::kLayouts) {
      for (const DType dtype : support::kDTypes) {
        const Shape shape{.tokens = 9, .heads = 3, .head_dim = width.head_dim};
        const auto positions = some_positions(9);
        Tensor x(shape, dtype);
        std::mt19937_64 random(29);
        support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
          x.set(b, t, h, c, static_cast<double>(static_cast<std::int64_t>(random()) >> 40) * 0x1p-22);
        });
        support::turn(support::made(spec_of(width, layout)), x.view(), PositionsView::row(positions));
        support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) { bits.push_back(x.bits(b, t, h, c)); });
      }
    }
  }
  EXPECT_EQ(support::digest(bits), 0x1b4f8b9ff3205013u);
}

// A narrow result is the float32 result of the same inputs, rounded to nearest even: nothing is computed in 16 bits.
TEST_P(Rotate, RoundsNarrowResultsOnce) {
  for (const PairLayout layout : support::kLayouts) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
      const auto rotary = support::made(spec_of({80, 70, 3}, layout));
      const Shape shape{.tokens = 33, .heads = 5, .head_dim = 80};
      const auto positions = some_positions(33);
      Tensor narrow(shape, dtype), wide(shape, DType::kFloat32);
      narrow.fill(13);
      support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
        // Some rows tiny and some huge, so that subnormals and infinities come out.
        const double scale = t % 3 == 0   ? 1.0
                             : t % 3 == 1 ? (dtype == DType::kFloat16 ? 0x1p-16 : 0x1p-131)
                                          : (dtype == DType::kFloat16 ? 30000.0 : 2e38);
        narrow.set(b, t, h, c, std::fmod(narrow.get(b, t, h, c), 1.5) * scale);
        wide.set(b, t, h, c, narrow.get(b, t, h, c));
      });
      support::turn(rotary, narrow.view(), PositionsView::row(positions));
      support::turn(rotary, wide.view(), PositionsView::row(positions));
      support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
        const double want = support::rounded(wide.get(b, t, h, c), dtype);
        ASSERT_EQ(narrow.bits(b, t, h, c), support::bits_of(want, dtype)) << wide.get(b, t, h, c);
      });
    }
  }
}

// Every value of 16 bits, and every tie between two of them: a gain of 1 + 2^-digits puts each result on a tie or next
// to one.
TEST_P(Rotate, RoundsEveryNarrowValueToNearestEven) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    for (const bool ties : {false, true}) {
      const double gain = !ties ? 1.0 : 1.0 + (dtype == DType::kBFloat16 ? 0x1p-8 : 0x1p-11);
      for (const PairLayout layout : support::kLayouts) {
        const Width width{46, 46, 0};
        RotarySpec spec = spec_of(width, layout);
        spec.scaling = ropewalk::YarnOptions{.factor = 2.0, .trained_context = 4096, .attention_factor = gain};
        const Shape shape{.tokens = 1, .heads = 65536 / 23 + 1, .head_dim = 46};
        Tensor x(shape, dtype);
        const auto channels = [&](int j) { return channels_of(layout, j, 23); };
        for (std::int64_t i = 0; i < shape.heads * 23; ++i) {
          x.set_bits(0, 0, i / 23, channels(static_cast<int>(i % 23)).first, static_cast<std::uint32_t>(i & 0xffff));
          x.set(0, 0, i / 23, channels(static_cast<int>(i % 23)).second, 0.0);
        }
        const std::int64_t origin[] = {0};
        support::turn(support::made(spec), x.view(), PositionsView::row(origin));
        for (std::int64_t i = 0; i < shape.heads * 23; ++i) {
          const double before = support::value_of(static_cast<std::uint32_t>(i & 0xffff), dtype);
          const double after = x.get(0, 0, i / 23, channels(static_cast<int>(i % 23)).first);
          if (std::isnan(before))
            ASSERT_TRUE(std::isnan(after));
          else
            ASSERT_EQ(after, support::rounded(before * gain, dtype)) << before;
        }
      }
    }
  }
}

TEST_P(Rotate, AtPositionZeroOnlyMultipliesByTheFactor) {
  for (const std::optional<double> factor : {std::optional<double>(1.0), std::optional<double>(1.138629436)}) {
    RotarySpec spec = spec_of({64, 64, 0}, PairLayout::kHalf);
    spec.scaling = ropewalk::YarnOptions{.factor = 4.0, .trained_context = 4096, .attention_factor = factor};
    Tensor before({.heads = 3, .head_dim = 64}, DType::kFloat32), x({.heads = 3, .head_dim = 64}, DType::kFloat32);
    before.fill(5);
    const std::int64_t origin[] = {0};
    support::turn(support::made(spec), x.fill(5).view(), PositionsView::row(origin));
    support::for_each_element(x.shape(), [&](auto b, auto t, auto h, auto c) {
      ASSERT_EQ(static_cast<float>(x.get(b, t, h, c)),
                static_cast<float>(before.get(b, t, h, c)) * static_cast<float>(*factor));
    });
  }
}

TEST_P(Rotate, GainAndSignFollowTheDirection) {
  for (const bool clockwise : {false, true}) {
    RotarySpec spec = spec_of({20, 14, 2}, PairLayout::kInterleaved);
    spec.clockwise = clockwise;
    const RotarySpec plain = spec;  // yarn with a factor of 1 leaves the frequencies alone
    spec.scaling = ropewalk::YarnOptions{.factor = 1.0, .trained_context = 4096, .attention_factor = 1.25};
    const auto rotary = support::made(spec);
    const Shape shape{.tokens = 9, .heads = 3, .head_dim = 20};
    const auto positions = some_positions(9);
    Tensor before(shape, DType::kFloat32);
    before.fill(17);
    const struct {
      Direction direction;
      double gain, sign;
    } cases[] = {{Direction::kForward, 1.25, 1},
                 {Direction::kInverse, 0.8, -1},
                 {Direction::kTranspose, 1.25, -1},
                 {Direction::kShift, 1.0, 1}};
    for (const auto& [direction, gain, sign] : cases) {
      Tensor x(shape, DType::kFloat32);
      support::turn(rotary, x.fill(17).view(), PositionsView::row(positions), {.direction = direction});
      support::for_each_element(shape, [&, gain = gain, sign = sign](auto b, auto t, auto h, auto c) {
        const double want =
            support::plainly_turned(plain, gain, clockwise ? -sign : sign, before, b, t, h, c,
                                    [&](auto, auto token, int) { return positions[static_cast<std::size_t>(token)]; });
        ASSERT_NEAR(x.get(b, t, h, c), want, 2e-6);
      });
    }
  }
}

TEST_P(Rotate, EveryPairFollowsItsOwnAxis) {
  RotarySpec spec = spec_of({40, 36, 2}, PairLayout::kHalf);
  for (int j = 0; j < 18; ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j < 16 ? j % 3 : 0));
  const auto rotary = support::made(spec);
  const Shape shape{.tokens = 19, .heads = 2, .head_dim = 40};
  const auto positions = some_positions(3 * 19);
  Tensor before(shape, DType::kFloat32), x(shape, DType::kFloat32);
  before.fill(19);
  support::turn(rotary, x.fill(19).view(), PositionsView::streams(positions, 3));
  support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
    const double want = support::plainly_turned(spec, 1.0, 1.0, before, b, t, h, c, [&](auto, auto token, int axis) {
      return positions[static_cast<std::size_t>(axis * 19 + token)];
    });
    ASSERT_NEAR(x.get(b, t, h, c), want, 1e-6);
  });
}

TEST_P(Rotate, EqualAxesAreOneAxisBitForBit) {
  for (const auto numerics : {ropewalk::Numerics::kExact, ropewalk::Numerics::kFp32}) {
    RotarySpec one = spec_of({192, 180, 0}, PairLayout::kHalf);
    one.numerics = numerics;
    RotarySpec three = one;
    for (int j = 0; j < 90; ++j) three.axis_of_pair.push_back(static_cast<std::uint8_t>(j % 3));
    const Shape shape{.tokens = 19, .heads = 2, .head_dim = 192};
    const auto positions = some_positions(19);
    Tensor x(shape, DType::kFloat32), y(shape, DType::kFloat32);
    support::turn(support::made(one), x.fill(23).view(), PositionsView::row(positions));
    support::turn(support::made(three), y.fill(23).view(),
                  {.data = positions.data(), .axes = 3, .tokens = 19, .axis_stride = 0});
    EXPECT_TRUE(x.same_elements(y));
  }
}

// float(position) * inv_freq rounded to float, as transformers has it, and then the exact cosine of that.
TEST_P(Rotate, Fp32NumericsRoundThePhaseToFloat) {
  RotarySpec spec = spec_of({64, 64, 0}, PairLayout::kHalf);
  spec.numerics = ropewalk::Numerics::kFp32;
  const auto rotary = support::made(spec);
  const std::vector<std::int64_t> positions = {0, 1, 511, -511, 131071, 1048575, 10000000};
  Tensor x({.tokens = 7, .head_dim = 64}, DType::kFloat32);
  for (std::int64_t t = 0; t < 7; ++t)
    for (std::int64_t c = 0; c < 64; ++c) x.set(0, t, 0, c, c < 32 ? 1.0 : 0.0);
  support::turn(rotary, x.view(), PositionsView::row(positions));
  for (std::int64_t t = 0; t < 7; ++t) {
    for (std::int64_t j = 0; j < 32; ++j) {
      const float angle = static_cast<float>(positions[static_cast<std::size_t>(t)]) *
                          rotary.frequencies().inv_freq_fp32[static_cast<std::size_t>(j)];
      ASSERT_NEAR(x.get(0, t, 0, j), static_cast<double>(std::cos(static_cast<long double>(angle))), 6e-8);
      ASSERT_NEAR(x.get(0, t, 0, j + 32), static_cast<double>(std::sin(static_cast<long double>(angle))), 6e-8);
    }
  }
}

ROPEWALK_ON_EVERY_TARGET(Rotate);

}  // namespace
