// What the operations of a cache say about calls that may not be made, and where tokens lie in pages.
#include "kernels/cache_support.hpp"

namespace {

using ropewalk::CacheAppend;
using ropewalk::HeadsView;
using ropewalk::PositionsView;
using ropewalk::Rerotation;
using ropewalk::RotarySpec;
using support::CacheFormat;
using support::CacheView;
using support::DType;

class CacheCheck : public testing::Test {
 protected:
  CacheCheck() {
    right_.keys = right_.values = HeadsView::bshd(x_.data(), DType::kFloat32, 2, 3, 4, 8);
    right_.key_cache = right_.value_cache =
        CacheView::paged_by_token(rows_.data(), CacheFormat::kInt8, 4, 2, 4, 8, scales_.data());
    right_.slots = slots_;
    right_.queries = ropewalk::RotaryOperand::in_place(right_.keys);
  }
  std::string said(const CacheAppend& append) const { return said(append, PositionsView::row(positions_)); }
  std::string said(const CacheAppend& append, const PositionsView& positions) const {
    const auto error = check_append(rotary_, append, positions);
    return error ? error->line() : "";
  }
  template <class Change>
  std::string said_after(const Change& change) const {
    CacheAppend changed = right_;
    change(changed);
    return said(changed);
  }

  RotarySpec spec_{.head_dim = 8, .rotary_dim = 8, .theta = 10000.0, .layout = ropewalk::PairLayout::kHalf};
  ropewalk::Rotary rotary_ = support::made(spec_);
  std::vector<float> x_ = std::vector<float>(2 * 3 * 4 * 8), scales_ = std::vector<float>(4 * 2 * 4);
  std::vector<char> rows_ = std::vector<char>(4 * 2 * 4 * 8);
  std::vector<std::int64_t> slots_ = {0, 1, 2, 3, -1, 7}, positions_ = {0, 1, 2};
  CacheAppend right_;
};

TEST_F(CacheCheck, HasNothingToSayAboutARightCall) {
  EXPECT_EQ(said(right_), "");
  EXPECT_EQ(said_after([](auto& x) { x.values = {}, x.queries = {}; }), "");
}

TEST_F(CacheCheck, NamesTheViewAndTheField) {
  EXPECT_EQ(said_after([](auto& x) { x.keys.head_dim = 7; }), "keys.head_dim: want 8, got 7");
  EXPECT_EQ(said_after([](auto& x) { x.keys.data = nullptr; }), "keys.data: want an address, got null");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.head_dim = 16; }), "key_cache.head_dim: want 8, got 16");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.heads = 3; }), "key_cache.heads: want 4, got 3");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.pages = -1; }), "key_cache.pages: want at least 0, got -1");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.pages = std::int64_t{1} << 60; }),
            "key_cache.pages: want at most 2^40 slots in all, got 1152921504606846976 pages of 2");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.data = nullptr; }), "key_cache.data: want an address, got null");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.scales = nullptr; }),
            "key_cache.scales: want a scale a row for int8, got null");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.format = CacheFormat::kFloat32, x.key_cache.head_stride = 6; }),
            "key_cache.head_stride: want bytes that 4 divides, as a float32 needs");
  EXPECT_EQ(said_after([this](auto& x) {
              x.key_cache = CacheView::by_token(x_.data(), CacheFormat::kFloat16, 8, 4, 8, scales_.data());
            }),
            "key_cache.scales: want none for float16, got an address");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.format = static_cast<CacheFormat>(9); }),
            "key_cache.format: want a format of CacheFormat, got number 9");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.token_stride = 0; }),
            "key_cache.token_stride: want a stride other than 0 on an axis of 2, got 0");
  EXPECT_EQ(said_after([](auto& x) { x.key_cache.scale_head_stride = 0; }),
            "key_cache.scale_head_stride: want a stride other than 0 on an axis of 4, got 0");
  EXPECT_EQ(said_after([](auto& x) { x.values.tokens = 2; }), "values.tokens: want 3, got 2");
  EXPECT_EQ(said_after([](auto& x) { x.values.head_dim = 6; }), "value_cache.head_dim: want 6, got 8");
  EXPECT_EQ(said_after([](auto& x) { x.queries.in.batch = 1; }), "queries.in.batch: want 2, got 1");
  EXPECT_EQ(said_after([](auto& x) { x.queries.out.dtype = DType::kFloat16; }),
            "queries.out.dtype: want float32, got float16");
  EXPECT_EQ(said_after([](auto& x) { x.queries.out.token_stride = 8; }),
            "queries.out: want the view of in itself or memory apart from it, got its data in other strides");
  EXPECT_EQ(said_after([](auto& x) {
              x.key_norm.place = ropewalk::NormPlace::kBeforeRotation;
              x.key_norm.epsilon = -1.0f;
            }),
            "key_norm.epsilon: want a finite number >= 0, got -1.000000");
}

TEST_F(CacheCheck, NamesTheSlotAndThePositions) {
  slots_[3] = 8;
  EXPECT_EQ(said(right_), "slots[3]: want below 8, got 8");
  EXPECT_EQ(said_after([this](auto& x) { x.slots = std::span(slots_).first(5); }), "slots.size: want 6, got 5");
  slots_[3] = 3;
  EXPECT_EQ(said(right_, PositionsView::row(std::span(positions_).first(2))), "positions.tokens: want 3, got 2");
}

TEST_F(CacheCheck, RefusesByNameWhatItDoesNotDo) {
  spec_.xpos = ropewalk::XPos{};
  const auto xpos = support::made(spec_);
  EXPECT_EQ(check_append(xpos, right_, PositionsView::row(positions_))->line(), "spec.xpos: want a rotation, got xPos");
  EXPECT_EQ(check_shift(xpos, right_.key_cache, slots_, PositionsView::row(positions_))->code,
            ropewalk::Code::kUnsupported);
  EXPECT_EQ(Rerotation::make(spec_, 0, spec_, 0).error().line(), "from.xpos: want a rotation, got xPos");
}

TEST_F(CacheCheck, ShiftNamesKeysSlotsAndDeltas) {
  const auto refused = [&](const CacheView& keys, std::span<const std::int64_t> slots) {
    const auto error = check_shift(rotary_, keys, slots, PositionsView::row(positions_));
    return error ? error->line() : "";
  };
  const CacheView& right = right_.key_cache;
  EXPECT_EQ(refused(right, std::span(slots_).first(3)), "");
  EXPECT_EQ(refused(right, slots_), "deltas.tokens: want 6, got 3");
  CacheView wrong = right;
  wrong.head_dim = 9;
  EXPECT_EQ(refused(wrong, std::span(slots_).first(3)), "keys.head_dim: want 8, got 9");
}

TEST_F(CacheCheck, ReRotationRefusesSpecsThatDifferInMoreThanSpeed) {
  const auto refused = [&](const auto& change) {
    RotarySpec to = spec_;
    change(to);
    const auto made = Rerotation::make(spec_, 0, to, 0);
    return made ? "" : made.error().line();
  };
  EXPECT_EQ(refused([](auto&) {}), "");
  EXPECT_EQ(refused([](auto& to) { to.theta = 5e5; }), "");
  EXPECT_EQ(refused([](auto& to) { to.layout = ropewalk::PairLayout::kInterleaved; }),
            "to.layout: want half as before, got interleaved");
  EXPECT_EQ(refused([](auto& to) { to.rotary_dim = 4; }), "to.rotary_dim: want 8, got 4");
  EXPECT_EQ(refused([](auto& to) { to.head_dim = 16; }), "to.head_dim: want 8, got 16");
  EXPECT_EQ(refused([](auto& to) { to.axis_of_pair = {0, 0, 1, 0}; }), "to.axis_of_pair[2]: want 0, got 1");
  EXPECT_EQ(refused([](auto& to) { to.axis_of_pair = {0, 0, 0, 0}; }), "");
  EXPECT_EQ(refused([](auto& to) { to.theta = 0.0; }).substr(0, 9), "to.theta:");
}

TEST(Slots, FollowTheBlockTable) {
  const std::int64_t table[] = {7, 0, 3};
  const auto slots = ropewalk::slots_of_pages(table, 4, 2, 8);
  ASSERT_TRUE(slots);
  EXPECT_EQ(*slots, (std::vector<std::int64_t>{30, 31, 0, 1, 2, 3, 12, 13}));
  EXPECT_TRUE(ropewalk::slots_of_pages({}, 4, 0, 0));
  EXPECT_EQ(ropewalk::slots_of_pages(table, 4, 5, 8).error().line(),
            "block_table: want pages for tokens up to 5 + 8, got 3 of 4");
  EXPECT_EQ(ropewalk::slots_of_pages(table, 0, 0, 1).error().line(), "page_tokens: want at least 1, got 0");
  EXPECT_EQ(ropewalk::slots_of_pages(table, 4, -1, 1).error().line(), "first: want at least 0, got -1");
  const std::int64_t wrong[] = {0, -2};
  EXPECT_EQ(ropewalk::slots_of_pages(wrong, 4, 0, 8).error().path, "block_table[1]");
  const std::int64_t far[] = {std::int64_t{1} << 61};
  EXPECT_EQ(ropewalk::slots_of_pages(far, 4, 0, 1).error().path, "block_table[0]");
  EXPECT_EQ(ropewalk::slots_of_pages(table, std::int64_t{1} << 62, 0, 1).error().path, "block_table[0]");
}

}  // namespace
