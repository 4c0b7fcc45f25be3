// What check() says about a call that may not be made.
#include "kernels/support.hpp"

#include <algorithm>

namespace {

using ropewalk::HeadsView;
using ropewalk::PositionsView;
using ropewalk::RotaryOperand;
using support::DType;

class Check : public testing::Test {
 protected:
  std::string said(const RotaryOperand& changed) { return said({{changed}}, PositionsView::row(positions_)); }
  std::string said(std::vector<RotaryOperand> operands, const PositionsView& positions) {
    const auto error = rotary_.check(operands, positions);
    return error ? error->line() : "";
  }
  HeadsView view(float* data) const { return HeadsView::bshd(data, DType::kFloat32, 2, 3, 4, 8); }

  ropewalk::Rotary rotary_ =
      support::made({.head_dim = 8, .rotary_dim = 8, .theta = 10000.0, .layout = ropewalk::PairLayout::kHalf});
  std::vector<float> q_ = std::vector<float>(2 * 3 * 4 * 8), out_ = q_;
  std::vector<std::int64_t> positions_ = {0, 1, 2};
};

TEST_F(Check, HasNothingToSayAboutARightCall) {
  EXPECT_EQ(said(RotaryOperand::in_place(view(q_.data()))), "");
  EXPECT_EQ(said({view(q_.data()), view(out_.data())}), "");
  EXPECT_EQ(said({}, {}), "");
}

TEST_F(Check, NamesTheViewAndTheField) {
  const RotaryOperand right{view(q_.data()), view(out_.data())};
  RotaryOperand x = right;
  x.in.head_dim = x.out.head_dim = 7;
  EXPECT_EQ(said(x), "operands[0].in.head_dim: want 8, got 7");
  x = right, x.out.head_dim = 16;
  EXPECT_EQ(said(x), "operands[0].out.head_dim: want 8, got 16");
  x = right, x.in.tokens = -1;
  EXPECT_EQ(said(x), "operands[0].in.tokens: want at least 0, got -1");
  x = right, x.out.heads = 3;
  EXPECT_EQ(said(x), "operands[0].out.heads: want 4, got 3");
  x = right, x.out.batch = 1;
  EXPECT_EQ(said(x), "operands[0].out.batch: want 2, got 1");
  x = right, x.out.tokens = 2;
  EXPECT_EQ(said(x), "operands[0].out.tokens: want 3, got 2");
  x = right, x.out.dtype = DType::kFloat16;
  EXPECT_EQ(said(x), "operands[0].out.dtype: want float32, got float16");
  x = right, x.in.dtype = static_cast<DType>(9);
  EXPECT_EQ(said(x), "operands[0].in.dtype: want float32, bfloat16 or float16, got number 9");
  x = right, x.in.data = nullptr;
  EXPECT_EQ(said(x), "operands[0].in.data: want an address, got null");
  x = right, x.in.data = reinterpret_cast<char*>(q_.data()) + 2;
  EXPECT_EQ(said(x), "operands[0].in.data: want an address that 4 divides, as a float32 needs");
  x = right, x.out.head_stride = 0;
  EXPECT_EQ(said(x), "operands[0].out.head_stride: want a stride other than 0 on an axis of 4 that is written, got 0");
  x = RotaryOperand::in_place(view(q_.data())), x.out.token_stride = 8;
  EXPECT_EQ(said(x),
            "operands[0].out: want the view of in itself or memory apart from it, got its data in other strides");
}

TEST_F(Check, WantsTheSameTokensOfEveryOperand) {
  HeadsView keys = view(out_.data());
  keys.tokens = 2;
  EXPECT_EQ(
      said({RotaryOperand::in_place(view(q_.data())), RotaryOperand::in_place(keys)}, PositionsView::row(positions_)),
      "operands[1].in.tokens: want 3, got 2");
  keys = view(out_.data());
  keys.batch = 1;
  EXPECT_EQ(
      said({RotaryOperand::in_place(view(q_.data())), RotaryOperand::in_place(keys)}, PositionsView::row(positions_)),
      "operands[1].in.batch: want 2, got 1");
}

TEST_F(Check, WantsAPositionForEveryToken) {
  const std::vector<RotaryOperand> q = {RotaryOperand::in_place(view(q_.data()))};
  positions_.resize(12);
  const auto row = [&](std::size_t n) { return PositionsView::row(std::span(positions_).first(n)); };
  EXPECT_EQ(said(q, row(2)), "positions.tokens: want 3, got 2");
  EXPECT_EQ(said(q, PositionsView::rows(std::span(positions_).first(9), 3)), "positions.batch: want 2, got 3");
  PositionsView none = row(3);
  none.data = nullptr;
  EXPECT_EQ(said(q, none), "positions.data: want an address, got null");
  const auto three_axes = support::made({.head_dim = 8,
                                         .rotary_dim = 8,
                                         .theta = 10000.0,
                                         .layout = ropewalk::PairLayout::kHalf,
                                         .axis_of_pair = {0, 1, 2, 0}});
  EXPECT_EQ(three_axes.check(q, row(3))->line(), "positions.axes: want at least 3, got 1");
}

TEST_F(Check, MakeRefusesWhatASpecMayNotHold) {
  const auto odd =
      ropewalk::Rotary::make({.head_dim = 8, .rotary_dim = 7, .theta = 10000.0, .layout = ropewalk::PairLayout::kHalf});
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().path, "rotary_dim");
  const auto unset = ropewalk::Rotary::make({.head_dim = 8, .rotary_dim = 8, .theta = 10000.0});
  ASSERT_FALSE(unset);
  EXPECT_EQ(unset.error().path, "layout");
}

TEST_F(Check, HugeAxesWithoutElementsAreDoneAtOnceAndWithElementsRefused) {
  HeadsView x = view(q_.data());
  x.batch = std::numeric_limits<std::int64_t>::max();
  x.heads = 0;
  const PositionsView row = PositionsView::row(positions_);
  EXPECT_EQ(said({RotaryOperand::in_place(x)}, row), "");
  const std::vector<RotaryOperand> nothing = {RotaryOperand::in_place(x)};
  rotary_.apply(nothing, row);  // ended in a loop over 2^63 empty rows
  x.heads = 1;
  EXPECT_EQ(said({RotaryOperand::in_place(x)}, row),
            "operands[0].in.tokens: want at most 2^40 in all rows, got 3 in each of 9223372036854775807");
}

}  // namespace
