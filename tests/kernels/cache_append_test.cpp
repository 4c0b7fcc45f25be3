// Norm, rotation, rounding and store in one pass: the bits of the four one after the other, and nothing else touched.
#include "kernels/cache_support.hpp"
#include "oracle/quantise.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <thread>

namespace {

using ropewalk::CacheAppend;
using ropewalk::HeadNorm;
using ropewalk::HeadsView;
using ropewalk::NormPlace;
using ropewalk::PositionsView;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using support::Cache;
using support::CacheFormat;
using support::CacheShape;
using support::DType;
using support::Format;
using support::Pages;
using support::PairLayout;
using support::Shape;
using support::Tensor;

struct Channels {
  int head_dim, rotary_dim, offset;
};
constexpr Channels kChannels[] = {{64, 64, 0}, {80, 80, 0}, {96, 96, 0}, {128, 128, 0}, {256, 256, 0}, {128, 64, 0},
                                  {80, 32, 0}, {7, 2, 0},   {21, 6, 3},  {20, 20, 0},   {46, 30, 9},   {192, 64, 128},
                                  {33, 32, 1}, {2, 2, 0},   {39, 38, 0}, {320, 320, 0}};

RotarySpec spec_of(const Channels& channels, PairLayout layout) {
  return {.head_dim = channels.head_dim,
          .rotary_dim = channels.rotary_dim,
          .rotary_offset = channels.offset,
          .theta = 10000.0,
          .layout = layout};
}

/// Row (b, t, h) after norm, Rotary::apply and norm, in float32.
std::vector<float> plainly_turned_row(const ropewalk::Rotary& rotary, const HeadNorm& norm, const Tensor& x,
                                      std::int64_t b, std::int64_t t, std::int64_t h, const PositionsView& token) {
  std::vector<float> row(static_cast<std::size_t>(x.shape().head_dim));
  for (std::size_t c = 0; c < row.size(); ++c)
    row[c] = static_cast<float>(x.get(b, t, h, static_cast<std::int64_t>(c)));
  if (norm.place == NormPlace::kBeforeRotation) row = support::plainly_normed(rotary.spec(), norm, h, row);
  support::turn(rotary, HeadsView::thd(row.data(), DType::kFloat32, 1, 1, x.shape().head_dim), token);
  if (norm.place == NormPlace::kAfterRotation) row = support::plainly_normed(rotary.spec(), norm, h, row);
  return row;
}

std::vector<float> plain_row(const Tensor& x, std::int64_t b, std::int64_t t, std::int64_t h) {
  std::vector<float> row(static_cast<std::size_t>(x.shape().head_dim));
  for (std::size_t c = 0; c < row.size(); ++c)
    row[c] = static_cast<float>(x.get(b, t, h, static_cast<std::int64_t>(c)));
  return row;
}

class CacheAppendTest : public support::EveryTarget {};

TEST_P(CacheAppendTest, HasTheBitsOfNormRotationAndRoundingOneAfterTheOther) {
  std::vector<float> weights(3 * 400);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.5f + static_cast<float>(i % 17) / 16.0f;
  const std::vector<std::int64_t> positions = {10'000'000, 0, -5, 131071}, slots = {3, -1, 7, 0};
  int seed = 0;
  for (const Channels& channels : kChannels)
    for (const PairLayout layout : support::kLayouts)
      for (const Format format : support::kFormats)
        for (const DType dtype : support::kDTypes)
          for (const NormPlace place : {NormPlace::kNone, NormPlace::kBeforeRotation, NormPlace::kAfterRotation}) {
            ++seed;
            SCOPED_TRACE(testing::Message() << channels.head_dim << '/' << channels.rotary_dim << '+' << channels.offset
                                            << ' ' << name_of(layout) << ' ' << format.name() << ' ' << name_of(dtype)
                                            << ' ' << static_cast<int>(place));
            const auto rotary = support::made(spec_of(channels, layout));
            HeadNorm norm{.place = place, .epsilon = 1e-5f};
            if (seed % 4 != 0) norm.weight = weights.data();
            if (seed % 4 == 2) norm.weight_stride = channels.head_dim;
            if (seed % 4 == 3) norm.weight_plus_one = true;
            const auto edge = seed % 2 == 0 ? Pages::Edge::kEnd : Pages::Edge::kBegin;
            const Shape keys{.tokens = 4, .heads = 3, .head_dim = channels.head_dim, .gap = seed % 3};
            Tensor k(keys, dtype, edge), v(keys, dtype, edge), untouched(keys, dtype, edge);
            k.fill(1), v.fill(2), untouched.fill(1);
            const CacheShape shape{.pages = 2,
                                   .page_tokens = 4,
                                   .heads = 3,
                                   .head_dim = channels.head_dim,
                                   .by_head = seed % 5 == 0,
                                   .gap = seed % 3};
            Cache key_cache(shape, format, edge), value_cache(shape, format, edge), want_keys(shape, format, edge),
                want_values(shape, format, edge);
            const CacheAppend call{.keys = k.view(),
                                   .key_cache = key_cache.view(),
                                   .values = v.view(),
                                   .value_cache = value_cache.view(),
                                   .slots = slots,
                                   .key_norm = norm};
            const auto error = check_append(rotary, call, PositionsView::row(positions));
            ASSERT_FALSE(error) << error->line();
            append(rotary, call, PositionsView::row(positions));
            for (std::int64_t t = 0; t < 4; ++t)
              for (std::int64_t h = 0; h < 3; ++h) {
                if (slots[static_cast<std::size_t>(t)] < 0) continue;
                const auto token = PositionsView::row(std::span(positions).subspan(static_cast<std::size_t>(t), 1));
                want_keys.store(slots[static_cast<std::size_t>(t)], h,
                                plainly_turned_row(rotary, norm, k, 0, t, h, token));
                want_values.store(slots[static_cast<std::size_t>(t)], h, plain_row(v, 0, t, h));
              }
            ASSERT_TRUE(key_cache.same_bytes(want_keys));
            ASSERT_TRUE(value_cache.same_bytes(want_values));
            ASSERT_TRUE(k.same_elements(untouched) && k.border_untouched());
          }
}

TEST_P(CacheAppendTest, TurnsTheQueriesOnTheWayInPlaceAndApart) {
  const std::vector<std::int64_t> positions = {9, -1'000'000, 4}, slots = {-1, 2, 0};
  std::vector<float> weights(64, 1.5f);
  for (const DType dtype : support::kDTypes)
    for (const bool in_place : {false, true}) {
      const auto rotary = support::made(spec_of({64, 64, 0}, PairLayout::kHalf));
      const Shape queries{.tokens = 3, .heads = 19, .head_dim = 64, .gap = 1},
          keys{.tokens = 3, .heads = 1, .head_dim = 64};
      const Shape apart{.tokens = 3, .heads = 19, .head_dim = 64, .order = "bhsd", .gap = 2};
      Tensor q(queries, dtype), out(apart, dtype), before(queries, dtype), k(keys, dtype);
      q.fill(3), before.fill(3), k.fill(4);
      Cache cache({.page_tokens = 3, .head_dim = 64}, {CacheFormat::kInt8, true});
      CacheAppend call;
      call.keys = k.view(), call.key_cache = cache.view(), call.slots = slots;
      call.queries = {q.view(), in_place ? q.view() : out.view()};
      call.query_norm = {.place = NormPlace::kBeforeRotation, .weight = weights.data()};
      const auto error = check_append(rotary, call, PositionsView::row(positions));
      ASSERT_FALSE(error) << error->line();
      append(rotary, call, PositionsView::row(positions));
      const Tensor& got = in_place ? q : out;
      for (std::int64_t t = 0; t < 3; ++t)
        for (std::int64_t h = 0; h < 19; ++h) {
          const auto token = PositionsView::row(std::span(positions).subspan(static_cast<std::size_t>(t), 1));
          const auto row = plainly_turned_row(rotary, call.query_norm, before, 0, t, h, token);
          for (std::size_t c = 0; c < row.size(); ++c)
            ASSERT_EQ(got.bits(0, t, h, static_cast<std::int64_t>(c)),
                      support::bits_of(support::rounded(double{row[c]}, dtype), dtype));
        }
      EXPECT_TRUE(got.border_untouched());
      if (!in_place) {
        EXPECT_TRUE(q.same_elements(before));
      }
    }
}

TEST_P(CacheAppendTest, WritesNothingOutsideOfItsSlotsInAnyOrderOfMemory) {
  const std::vector<std::int64_t> positions = {5, 6, 7, 8, 9, 10};
  const std::vector<std::int64_t> slots = {11, -1, 4, -9223372036854775807 - 1, 0, 7};
  for (const Format format : support::kFormats)
    for (const bool by_head : {false, true})
      for (const std::int64_t gap : {0, 1, 5})
        for (const Pages::Edge edge : {Pages::Edge::kBegin, Pages::Edge::kEnd}) {
          const auto rotary = support::made(spec_of({45, 22, 7}, PairLayout::kInterleaved));
          const Shape keys{.batch = 2, .tokens = 3, .heads = 11, .head_dim = 45, .order = "bhsd"};
          Tensor k(keys, DType::kFloat16, edge);
          k.fill(9);
          const CacheShape shape{
              .pages = 3, .page_tokens = 4, .heads = 11, .head_dim = 45, .by_head = by_head, .gap = gap};
          Cache cache(shape, format, edge), wanted(shape, format, edge);
          CacheAppend call;
          call.keys = k.view(), call.key_cache = cache.view(), call.slots = slots;
          const auto where = PositionsView::rows(positions, 2);
          const auto error = check_append(rotary, call, where);
          ASSERT_FALSE(error) << error->line();
          append(rotary, call, where, {.threads = 3});
          for (std::int64_t i = 0; i < 6; ++i)
            for (std::int64_t h = 0; h < 11; ++h)
              if (slots[static_cast<std::size_t>(i)] >= 0)
                wanted.store(slots[static_cast<std::size_t>(i)], h,
                             plainly_turned_row(
                                 rotary, {}, k, i / 3, i % 3, h,
                                 PositionsView::row(std::span(positions).subspan(static_cast<std::size_t>(i), 1))));
          ASSERT_TRUE(cache.same_bytes(wanted)) << format.name() << ' ' << by_head << ' ' << gap;
        }
}

// A row that is not finite comes back as NaN, a row of nearly nothing as zeros; bfloat16 does not turn a NaN into a
// zero by the carry of its rounding.
TEST_P(CacheAppendTest, KeepsWhatIsNoNumberInSight) {
  const auto rotary = support::made(spec_of({24, 8, 0}, PairLayout::kHalf));
  const std::uint32_t odd_ones[] = {0x7fc00000u, 0x7fffffffu, 0xffffffffu, 0x7f800001u, 0x7f800000u, 0xff800000u};
  for (const Format format : support::kFormats)
    for (const std::uint32_t bits : odd_ones)
      for (const std::int64_t channel : {1, 20}) {
        const Shape shape{.tokens = 1, .heads = 2, .head_dim = 24};
        Tensor k(shape, DType::kFloat32);
        k.fill(5).set_bits(0, 0, 1, channel, bits);
        Cache cache({.heads = 2, .head_dim = 24}, format);
        const std::int64_t zero[] = {0};
        CacheAppend call;
        call.keys = k.view(), call.key_cache = cache.view(), call.slots = zero;
        append(rotary, call, PositionsView::row(zero));
        const auto sound = cache.load(0, 0), ill = cache.load(0, 1);
        for (const float x : sound) ASSERT_TRUE(std::isfinite(x));
        const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
        const auto c = static_cast<std::size_t>(channel);
        SCOPED_TRACE(testing::Message() << format.name() << ' ' << std::hex << bits << ' ' << channel);
        if (format.scaled) {
          for (const float x : ill) ASSERT_TRUE(std::isnan(x));
        } else if (is_nan || channel == 1) {  // an infinity that turns leaves infinity * sin(0)
          ASSERT_TRUE(std::isnan(ill[c]) || (!is_nan && !std::isfinite(ill[c])) ||
                      (!is_nan && format.format == CacheFormat::kFloat8E4M3 && std::fabs(ill[c]) == 448.0f));
        } else if (format.format == CacheFormat::kFloat8E4M3) {
          ASSERT_EQ(ill[c], (bits >> 31) != 0 ? -448.0f : 448.0f);
        } else {
          ASSERT_TRUE(std::isinf(ill[c]));
        }
      }
}

TEST_P(CacheAppendTest, RowsOfNothingAndOfNearlyNothing) {
  const auto rotary = support::made(spec_of({64, 64, 0}, PairLayout::kHalf));
  const std::int64_t slots[] = {0}, positions[] = {123456789};
  for (const Format format : support::kFormats)
    for (const float size : {0.0f, -0.0f, 0x1p-149f, 0x1p-101f, 0x1p-99f, 0x1p120f}) {
      Tensor k({.tokens = 1, .heads = 1, .head_dim = 64}, DType::kFloat32);
      support::for_each_element(k.shape(), [&](auto b, auto t, auto h, auto c) {
        k.set(b, t, h, c, double{size} * (c % 3 == 0 ? -1.0 : 0.5));
      });
      Cache cache({.head_dim = 64}, format), wanted({.head_dim = 64}, format);
      CacheAppend call;
      call.keys = k.view(), call.key_cache = cache.view(), call.slots = slots;
      append(rotary, call, PositionsView::row(positions));
      wanted.store(0, 0, plainly_turned_row(rotary, {}, k, 0, 0, 0, PositionsView::row(positions)));
      ASSERT_TRUE(cache.same_bytes(wanted)) << format.name() << ' ' << size;
    }
}

/// Every float16 there is, and the neighbours of every tie of E4M3.
TEST_P(CacheAppendTest, EveryFloat16RoundsToE4M3AsTheFormatSays) {
  std::vector<float> all;
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits)
    all.push_back(static_cast<float>(support::value_of(bits, DType::kFloat16)));
  for (int byte = 0; byte < 0x7e; ++byte) {
    const auto tie = static_cast<float>((oracle::e4m3_value(byte) + oracle::e4m3_value(byte + 1)) / 2);
    for (const float x : {std::nextafter(tie, 0.0f), tie, std::nextafter(tie, 1e9f)})
      all.push_back(x), all.push_back(-x);
  }
  while (all.size() % 64 != 0) all.push_back(0.0f);
  const auto rows = static_cast<std::int64_t>(all.size() / 64);
  const auto rotary = support::made(spec_of({64, 2, 0}, PairLayout::kHalf));
  std::vector<std::int64_t> slots(static_cast<std::size_t>(rows));
  std::iota(slots.begin(), slots.end(), 0);
  Cache cache({.page_tokens = rows, .head_dim = 64}, {CacheFormat::kFloat8E4M3, false}),
      wanted({.page_tokens = rows, .head_dim = 64}, {CacheFormat::kFloat8E4M3, false});
  CacheAppend call;  // as values, which do not turn
  call.keys = HeadsView::thd(nullptr, DType::kFloat32, rows, 0, 64);
  call.values = HeadsView::thd(all.data(), DType::kFloat32, rows, 1, 64);
  call.value_cache = cache.view(), call.slots = slots;
  const auto where = PositionsView::row(slots);
  const auto error = check_append(rotary, call, where);
  ASSERT_FALSE(error) << error->line();
  append(rotary, call, where);
  for (std::int64_t r = 0; r < rows; ++r)
    wanted.store(r, 0, std::vector<float>(all.data() + r * 64, all.data() + (r + 1) * 64));
  EXPECT_TRUE(cache.same_bytes(wanted));
}

TEST_P(CacheAppendTest, ThreadsDoNotChangeAByte) {
  const auto rotary = support::made(spec_of({128, 128, 0}, PairLayout::kHalf));
  std::vector<std::int64_t> positions(333), slots(333);
  std::iota(positions.begin(), positions.end(), -100);
  for (std::size_t t = 0; t < slots.size(); ++t) slots[t] = static_cast<std::int64_t>(t * 7 % 333);
  for (const bool by_head : {false, true}) {
    const CacheShape shape{.pages = 9, .page_tokens = 37, .heads = 5, .head_dim = 128, .by_head = by_head};
    Tensor k({.tokens = 333, .heads = 5, .head_dim = 128}, DType::kBFloat16);
    k.fill(6);
    Cache one(shape, {CacheFormat::kInt4, true});
    CacheAppend call;
    call.keys = k.view(), call.key_cache = one.view(), call.slots = slots;
    call.key_norm.place = NormPlace::kBeforeRotation;
    append(rotary, call, PositionsView::row(positions), {.threads = 1});
    for (const int threads : {0, 2, 4, 7}) {
      Cache many(shape, {CacheFormat::kInt4, true});
      call.key_cache = many.view();
      append(rotary, call, PositionsView::row(positions), {.threads = threads});
      EXPECT_TRUE(one.same_bytes(many)) << threads;
    }
    std::vector<std::thread> callers;
    std::vector<char> same(8, 0);
    for (std::size_t i = 0; i < same.size(); ++i)
      callers.emplace_back([&, i] {
        Cache own(shape, {CacheFormat::kInt4, true});
        CacheAppend mine = call;
        mine.key_cache = own.view();
        append(rotary, mine, PositionsView::row(positions), {.threads = 2});
        same[i] = own.same_bytes(one) ? 1 : 0;
      });
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(std::accumulate(same.begin(), same.end(), 0), 8);
  }
}

TEST_P(CacheAppendTest, SeveralAxesAndAnAttentionFactor) {
  RotarySpec spec = spec_of({128, 128, 0}, PairLayout::kHalf);
  spec.scaling = ropewalk::YarnOptions{.factor = 4.0, .trained_context = 8192};
  for (int j = 0; j < 64; ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j < 16 ? 0 : j < 40 ? 1 : 2));
  const auto rotary = support::made(spec);
  const std::vector<std::int64_t> positions = {1, 70000, 3, 4, -5, 6};  // [axes, tokens]
  const std::int64_t slots[] = {1, 0};
  Tensor k({.tokens = 2, .heads = 2, .head_dim = 128}, DType::kFloat32), turned(k.shape(), DType::kFloat32);
  k.fill(8), turned.fill(8);
  Cache cache({.page_tokens = 2, .heads = 2, .head_dim = 128}, {CacheFormat::kInt8, true}),
      wanted({.page_tokens = 2, .heads = 2, .head_dim = 128}, {CacheFormat::kInt8, true});
  CacheAppend call;
  call.keys = k.view(), call.key_cache = cache.view(), call.slots = slots;
  const auto where = PositionsView::streams(positions, 3);
  ASSERT_FALSE(check_append(rotary, call, where));
  append(rotary, call, where);
  support::turn(rotary, turned.view(), where);
  for (std::int64_t t = 0; t < 2; ++t)
    for (std::int64_t h = 0; h < 2; ++h) wanted.store(slots[t], h, plain_row(turned, 0, t, h));
  EXPECT_TRUE(cache.same_bytes(wanted));
}

ROPEWALK_ON_EVERY_TARGET(CacheAppendTest);

}  // namespace
