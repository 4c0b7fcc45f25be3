// Cosines and sines that the caller brings: what they mean, what is refused, and how transformers' doubled ones get in.
#include "kernels/support.hpp"

#include <array>
#include <cmath>
#include <limits>

namespace {

using ropewalk::CosSinTable;
using ropewalk::Direction;
using ropewalk::PositionsView;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using support::DType;
using support::PairLayout;
using support::Shape;
using support::Tensor;

/// Rows [rows, 2, pairs] of made-up cosines and sines: nothing about a position can be guessed from them.
struct Table {
  Table(std::int64_t table_rows, std::int64_t table_pairs) : rows(table_rows), pairs(table_pairs) {
    std::mt19937_64 random(static_cast<std::uint64_t>(rows * 1000 + pairs));
    std::uniform_real_distribution<float> number(-1.0f, 1.0f);
    values.resize(static_cast<std::size_t>(rows * 2 * pairs));
    for (float& x : values) x = number(random);
  }
  CosSinTable view() const { return {values.data(), values.data() + pairs, rows, 2 * pairs}; }
  float cos(std::int64_t row, std::int64_t j) const { return values[static_cast<std::size_t>(row * 2 * pairs + j)]; }
  float sin(std::int64_t row, std::int64_t j) const { return cos(row, j + pairs); }

  std::int64_t rows, pairs;
  std::vector<float> values;
};

RotarySpec spec_of(int head_dim, int rotary_dim, int offset, PairLayout layout) {
  return {.head_dim = head_dim, .rotary_dim = rotary_dim, .rotary_offset = offset, .theta = 10000.0, .layout = layout};
}

class CallersTable : public support::EveryTarget {};

TEST_P(CallersTable, IsFollowedRowByRow) {
  for (const DType dtype : support::kDTypes)
    for (const PairLayout layout : support::kLayouts)
      for (const int rotary_dim : {2, 6, 20, 64, 96, 130})
        for (const Direction direction : {Direction::kForward, Direction::kTranspose}) {
          const RotarySpec spec = spec_of(rotary_dim + 5, rotary_dim, 3, layout);
          const auto rotary = support::made(spec);
          const Table table(11, rotary_dim / 2);
          const Shape shape{.batch = 2, .tokens = 3, .heads = 3, .head_dim = rotary_dim + 5, .gap = 1};
          Tensor x(shape, dtype), before(shape, dtype);
          x.fill(5), before.fill(5);
          const std::array<std::int64_t, 6> rows = {10, 0, 3, 3, 7, 1};
          const auto positions = PositionsView::rows(rows, 2);
          const RotaryOperand operands[] = {RotaryOperand::in_place(x.view())};
          ASSERT_FALSE(rotary.check(operands, table.view(), positions, direction));
          rotary.apply(operands, table.view(), positions, {.direction = direction});
          EXPECT_TRUE(x.border_untouched());
          support::for_each_element(
              {.batch = 2, .tokens = 3, .heads = 3, .head_dim = rotary_dim / 2}, [&](auto b, auto t, auto h, auto j) {
                const auto channels = spec.channels(static_cast<int>(j));
                const std::int64_t row = rows[static_cast<std::size_t>(b * 3 + t)];
                const float c = table.cos(row, j);
                const float s = direction == Direction::kForward ? table.sin(row, j) : -table.sin(row, j);
                const auto x0 = static_cast<float>(before.get(b, t, h, channels.first));
                const auto x1 = static_cast<float>(before.get(b, t, h, channels.second));
                const double y0 = std::fma(x0, c, -(x1 * s)), y1 = std::fma(x1, c, x0 * s);
                ASSERT_EQ(x.get(b, t, h, channels.first), support::rounded(y0, dtype));
                ASSERT_EQ(x.get(b, t, h, channels.second), support::rounded(y1, dtype));
              });
        }
}

TEST_P(CallersTable, FilledByTheOperatorTurnsAsItDoes) {
  RotarySpec yarn = spec_of(80, 48, 16, PairLayout::kInterleaved);
  yarn.scaling = ropewalk::YarnOptions{.factor = 4.0, .trained_context = 512};
  RotarySpec fp32 = spec_of(64, 64, 0, PairLayout::kHalf);
  fp32.numerics = ropewalk::Numerics::kFp32;
  RotarySpec axes = spec_of(64, 64, 0, PairLayout::kHalf);
  axes.axis_of_pair.resize(32);
  for (std::size_t j = 0; j < 32; ++j) axes.axis_of_pair[j] = static_cast<std::uint8_t>(j % 3);
  for (const RotarySpec& spec : {yarn, fp32, axes}) {
    const auto rotary = support::made(spec);
    const std::int64_t pairs = spec.pairs(), tokens = 7;
    std::vector<std::int64_t> positions(static_cast<std::size_t>(3 * tokens));
    for (std::size_t i = 0; i < positions.size(); ++i)
      positions[i] = static_cast<std::int64_t>(i * i * i) * 99991 - 5000;
    const auto view = PositionsView::streams(positions, 3);
    std::vector<float> cos(static_cast<std::size_t>(tokens * pairs)), sin(cos.size());
    const auto error = rotary.fill_table(view, cos, sin);
    ASSERT_FALSE(error) << error->line();
    const Shape shape{.tokens = tokens, .heads = 2, .head_dim = spec.head_dim};
    Tensor by_table(shape, DType::kFloat32), by_operator(shape, DType::kFloat32);
    const RotaryOperand operands[] = {RotaryOperand::in_place(by_table.fill(3).view())};
    const std::array<std::int64_t, 7> rows = {0, 1, 2, 3, 4, 5, 6};
    rotary.apply(operands, CosSinTable{cos.data(), sin.data(), tokens, pairs}, PositionsView::row(rows));
    support::turn(rotary, by_operator.fill(3).view(), view);
    EXPECT_TRUE(by_table.same_elements(by_operator)) << to_string(spec);
  }
}

ROPEWALK_ON_EVERY_TARGET(CallersTable);

TEST(CheckTable, SaysWhatIsWrong) {
  const auto rotary = support::made(spec_of(8, 8, 0, PairLayout::kHalf));
  const Table table(4, 4);
  Tensor x({.tokens = 3, .heads = 1, .head_dim = 8}, DType::kFloat32);
  const RotaryOperand operands[] = {RotaryOperand::in_place(x.view())};
  const std::array<std::int64_t, 3> fine = {0, 3, 1}, beyond = {0, 4, 1}, before = {0, 1, -1};
  const auto line = [&](const CosSinTable& given, std::span<const std::int64_t> positions,
                        Direction direction = Direction::kForward) {
    const auto error = rotary.check(operands, given, PositionsView::row(positions), direction);
    return error ? error->line() : "";
  };
  CosSinTable view = table.view();
  EXPECT_EQ(line(view, fine), "");
  EXPECT_EQ(line(view, beyond), "positions[0, 1]: want a row of the table, 0 to 3, got 4");
  EXPECT_EQ(line(view, before), "positions[0, 2]: want a row of the table, 0 to 3, got -1");
  EXPECT_EQ(line(view, std::span(fine).first(2)), "positions.tokens: want 3, got 2");
  EXPECT_EQ(line(view, fine, Direction::kInverse), "direction: want forward or transpose with a table, got inverse");
  view.row_stride = 3;
  EXPECT_EQ(line(view, fine), "table.row_stride: want at least 4, got 3");
  view = table.view();
  view.sin = nullptr;
  EXPECT_EQ(line(view, fine), "table.sin: want an address, got null");
  RotarySpec mixed = spec_of(8, 8, 0, PairLayout::kHalf);
  mixed.output_layout = PairLayout::kInterleaved;
  const auto error = support::made(mixed).check(operands, table.view(), PositionsView::row(fine));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ropewalk::Code::kUnsupported);
}

TEST(FillTable, SaysWhatIsWrong) {
  const auto rotary = support::made(spec_of(8, 8, 0, PairLayout::kHalf));
  const std::array<std::int64_t, 3> positions = {5, 6, 7};
  std::vector<float> cos(12), sin(12), few(11);
  EXPECT_FALSE(rotary.fill_table(PositionsView::row(positions), cos, sin));
  EXPECT_EQ(rotary.fill_table(PositionsView::row(positions), few, sin)->line(), "cos.size: want 12, got 11");
  EXPECT_EQ(rotary.fill_table(PositionsView::row(positions), cos, few)->line(), "sin.size: want 12, got 11");
  EXPECT_FALSE(rotary.fill_table(PositionsView{}, {}, {}));
}

TEST(HalveTable, TakesOneOfEachTwo) {
  const std::vector<float> cat = {1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}, each = {1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6};
  const std::vector<float> want = {1, 2, 3, 4, 5, 6};
  std::vector<float> got(6);
  EXPECT_FALSE(ropewalk::halve_table(cat, 2, PairLayout::kHalf, got));
  EXPECT_EQ(got, want);
  got.assign(6, 0.0f);
  EXPECT_FALSE(ropewalk::halve_table(each, 2, PairLayout::kInterleaved, got));
  EXPECT_EQ(got, want);
  EXPECT_FALSE(ropewalk::halve_table({}, 0, PairLayout::kHalf, {}));
}

TEST(HalveTable, RefusesWhatIsNoSuchTable) {
  std::vector<float> cat = {1, 2, 3, 1, 2, 3}, got(3);
  const auto line = [&](std::int64_t rows, PairLayout layout) {
    const auto error = ropewalk::halve_table(cat, rows, layout, got);
    return error ? error->line() : "";
  };
  EXPECT_EQ(line(1, PairLayout::kInterleaved), "full[0, 1]: want the value at 0 again, 1, got 2");
  EXPECT_EQ(line(1, PairLayout::kUnset), "duplicate: want half or interleaved, got unset");
  EXPECT_EQ(line(2, PairLayout::kHalf), "full: want 2 rows of an even width, got 6 elements");
  EXPECT_EQ(line(-1, PairLayout::kHalf), "rows: want at least 0, got -1");
  // Whoever hands over partial cosines, whose rest is 1 and 0, or two axes, must not be answered by half of them.
  cat = {1, 0, 1, -0.0f};
  got.resize(2);
  EXPECT_EQ(line(1, PairLayout::kHalf), "full[0, 3]: want the value at 1 again, 0, got -0");
}

}  // namespace
