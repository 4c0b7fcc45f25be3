// Norm, rotation, rounding and store in one pass: the bits of the four one after the other, and nothing else touched.
#include "kernels/cache_support.hpp"

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

ROPEWALK_ON_EVERY_TARGET(CacheAppendTest);

}  // namespace
