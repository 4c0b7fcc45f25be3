// Keys that are in the cache already: moved by a delta, and carried from one scaling to another.
#include "kernels/cache_support.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

using ropewalk::CacheAppend;
using ropewalk::Direction;
using ropewalk::HeadsView;
using ropewalk::PositionsView;
using ropewalk::Rerotation;
using ropewalk::Rotary;
using ropewalk::RotarySpec;
using support::Cache;
using support::CacheFormat;
using support::CacheShape;
using support::DType;
using support::Format;
using support::PairLayout;
using support::Shape;
using support::Tensor;

RotarySpec spec_of(int head_dim, int rotary_dim, int offset, PairLayout layout) {
  return {.head_dim = head_dim, .rotary_dim = rotary_dim, .rotary_offset = offset, .theta = 10000.0, .layout = layout};
}

/// Rows of normal variates, turned to `positions`, in slots 0, 1, ...
void fill(Cache& cache, const CacheShape& shape, const Rotary& rotary, const PositionsView& positions,
          std::uint64_t seed = 1) {
  Tensor k({.tokens = positions.tokens, .heads = shape.heads, .head_dim = shape.head_dim}, DType::kFloat32);
  k.fill(seed);
  std::vector<std::int64_t> slots(static_cast<std::size_t>(positions.tokens));
  std::iota(slots.begin(), slots.end(), 0);
  CacheAppend call;
  call.keys = k.view(), call.key_cache = cache.view(), call.slots = slots;
  const auto error = check_append(rotary, call, positions);
  ASSERT_FALSE(error) << error->line();
  append(rotary, call, positions);
}

/// What a format rounds by at most, as a share of the row's largest magnitude: half a step.
double rounding_of(const Format& format) {
  switch (format.format) {
    case CacheFormat::kFloat32: return 0x1p-24;
    case CacheFormat::kBFloat16: return 0x1p-8;
    case CacheFormat::kFloat16: return 0x1p-11;
    case CacheFormat::kFloat8E4M3: return 0x1p-4;
    case CacheFormat::kInt8: return 0.5 / 127;
    case CacheFormat::kInt4: return 0.5 / 7;
  }
  return 0;
}

/// The largest difference of two rows, as a share of the largest magnitude.
double apart(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, largest = 0;
  for (std::size_t c = 0; c < a.size(); ++c) {
    difference = std::max(difference, std::fabs(double{a[c]} - double{b[c]}));
    largest = std::max(largest, std::fabs(double{b[c]}));
  }
  return difference / largest;
}

void shift_checked(const Rotary& rotary, const Cache& cache, std::span<const std::int64_t> slots,
                   std::span<const std::int64_t> deltas, int threads = 1) {
  const auto error = check_shift(rotary, cache.view(), slots, PositionsView::row(deltas));
  ASSERT_FALSE(error) << error->line();
  shift(rotary, cache.view(), slots, PositionsView::row(deltas), {.threads = threads});
}

// Enough for three threads (threads.hpp).
const CacheShape kManySlots{.pages = 9, .page_tokens = 37, .heads = 5, .head_dim = 128};

std::vector<std::int64_t> counted_from(std::int64_t first) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(kManySlots.slots()));
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

/// Every slot once, far from its neighbours.
std::vector<std::int64_t> shuffled() {
  std::vector<std::int64_t> slots = counted_from(0);
  for (auto& slot : slots) slot = slot * 7 % kManySlots.slots();
  return slots;
}

class CacheShift : public support::EveryTarget {};

TEST_P(CacheShift, HasTheBitsOfReadingTurningAndRounding) {
  const std::vector<std::int64_t> slots = {5, -1, 2, 0, 7}, deltas = {-4096, 77, 10'000'000, 0, 1};
  for (const auto& [head_dim, rotary_dim, offset] : {std::tuple{128, 128, 0},
                                                     {80, 80, 0},
                                                     {64, 64, 0},
                                                     {7, 2, 0},
                                                     {21, 6, 3},
                                                     {46, 30, 9},
                                                     {33, 32, 1},
                                                     {80, 32, 0}})
    for (const PairLayout layout : support::kLayouts)
      for (const Format format : support::kFormats)
        for (const bool by_head : {false, true}) {
          SCOPED_TRACE(testing::Message() << head_dim << '/' << rotary_dim << '+' << offset << ' ' << name_of(layout)
                                          << ' ' << format.name() << ' ' << by_head);
          RotarySpec spec = spec_of(head_dim, rotary_dim, offset, layout);
          spec.scaling = ropewalk::YarnOptions{.factor = 4.0, .trained_context = 512};  // whose factor must stay out
          const auto rotary = support::made(spec);
          const CacheShape shape{
              .pages = 2, .page_tokens = 4, .heads = 3, .head_dim = head_dim, .by_head = by_head, .gap = 1};
          Cache cache(shape, format), wanted(shape, format);
          std::vector<std::int64_t> positions(8);
          std::iota(positions.begin(), positions.end(), 1000);
          fill(cache, shape, rotary, PositionsView::row(positions));
          wanted.copy_from(cache);
          for (std::size_t t = 0; t < slots.size(); ++t)
            for (std::int64_t h = 0; h < 3; ++h) {
              if (slots[t] < 0 || deltas[t] == 0) continue;
              auto row = wanted.load(slots[t], h);
              support::turn(rotary, HeadsView::thd(row.data(), DType::kFloat32, 1, 1, head_dim),
                            PositionsView::row(std::span(deltas).subspan(t, 1)), {.direction = Direction::kShift});
              wanted.store(slots[t], h, row);
            }
          shift_checked(rotary, cache, slots, deltas, by_head ? 2 : 1);
          ASSERT_TRUE(cache.same_bytes(wanted));
        }
}

// What another program left in the upper half of an odd row's last byte is no channel: it may not make the row's scale.
TEST_P(CacheShift, TheSpareHalfByteOfAnOddRowIsNobodys) {
  for (const auto& [head_dim, rotary_dim, offset] : {std::tuple{21, 6, 3}, {33, 32, 1}, {17, 16, 0}}) {
    const auto rotary = support::made(spec_of(head_dim, rotary_dim, offset, PairLayout::kHalf));
    const CacheShape shape{.page_tokens = 2, .heads = 2, .head_dim = head_dim};
    Cache cache(shape, {CacheFormat::kInt4, true}), littered(shape, {CacheFormat::kInt4, true});
    const std::vector<std::int64_t> positions = {1000, 1001}, slots = {0, 1}, deltas = {-4096, 3};
    fill(cache, shape, rotary, PositionsView::row(positions));
    // Codes of 1 at most, beside which a stray 7 would be the largest.
    for (const std::int64_t slot : slots)
      for (std::int64_t head = 0; head < 2; ++head)
        for (int i = 0; i < (head_dim + 1) / 2; ++i)
          cache.row(slot, head)[i] = i == head_dim / 2 ? std::byte{0x01} : std::byte{0x1f};
    littered.copy_from(cache);
    for (const std::int64_t slot : slots)
      for (std::int64_t head = 0; head < 2; ++head) {
        littered.row(slot, head)[head_dim / 2] |= std::byte{0x70};
      }
    shift_checked(rotary, cache, slots, deltas);
    shift_checked(rotary, littered, slots, deltas);
    for (const std::int64_t slot : slots)
      for (std::int64_t head = 0; head < 2; ++head) EXPECT_EQ(cache.load(slot, head), littered.load(slot, head));
  }
}

TEST_P(CacheShift, AShiftedKeyIsTheKeyOfItsNewPlace) {
  const std::vector<std::int64_t> positions = {0, 8191, 100'000, 10'000'000}, slots = {0, 1, 2, 3};
  for (const std::int64_t delta : {std::int64_t{-4096}, std::int64_t{1}, std::int64_t{131072}, std::int64_t{1} << 40})
    for (const Format format : support::kFormats) {
      const auto rotary = support::made(spec_of(128, 128, 0, PairLayout::kHalf));
      const CacheShape shape{.page_tokens = 4, .heads = 2, .head_dim = 128};
      Cache moved(shape, format), fresh(shape, format);
      std::vector<std::int64_t> there = positions;
      for (auto& p : there) p += delta;
      fill(moved, shape, rotary, PositionsView::row(positions));
      fill(fresh, shape, rotary, PositionsView::row(there));
      shift_checked(rotary, moved, slots, std::vector<std::int64_t>(4, delta));
      // The old rounding, turned (both channels of a pair in one), the new one and that of fresh: 1 + 1 + sqrt 2; the
      // largest magnitude may have grown by sqrt 2 too.
      const double bound = format.format == CacheFormat::kFloat32 ? 6e-7 : 4 * rounding_of(format) + 6e-7;
      for (std::int64_t t = 0; t < 4; ++t)
        for (std::int64_t h = 0; h < 2; ++h)
          EXPECT_LE(apart(moved.load(t, h), fresh.load(t, h)), bound) << format.name() << ' ' << delta;
    }
}

TEST_P(CacheShift, TwoShiftsAreTheShiftByTheirSum) {
  const std::vector<std::int64_t> positions = {3, 1 << 20}, slots = {0, 1};
  const auto rotary = support::made(spec_of(64, 64, 0, PairLayout::kInterleaved));
  const CacheShape shape{.page_tokens = 2, .heads = 4, .head_dim = 64};
  for (const auto& [a, b] : {std::pair<std::int64_t, std::int64_t>{5, -5}, {100, 23}, {-10'000'000, 9'999'999}}) {
    Cache twice(shape, {CacheFormat::kFloat32, false}), once(shape, {CacheFormat::kFloat32, false});
    fill(twice, shape, rotary, PositionsView::row(positions));
    once.copy_from(twice);
    shift_checked(rotary, twice, slots, std::vector<std::int64_t>(2, a));
    shift_checked(rotary, twice, slots, std::vector<std::int64_t>(2, b));
    shift_checked(rotary, once, slots, std::vector<std::int64_t>(2, a + b));
    for (std::int64_t t = 0; t < 2; ++t)
      for (std::int64_t h = 0; h < 4; ++h) EXPECT_LE(apart(twice.load(t, h), once.load(t, h)), 6e-7) << a << ' ' << b;
  }
}

// llama.cpp refuses to shift under M-RoPE (ggml-org/llama.cpp#19928); here every stream has its own delta.
TEST_P(CacheShift, EveryAxisHasItsOwnDelta) {
  RotarySpec spec = spec_of(128, 128, 0, PairLayout::kHalf);
  for (int j = 0; j < 64; ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j % 3));
  const auto rotary = support::made(spec);
  const CacheShape shape{.page_tokens = 2, .heads = 2, .head_dim = 128};
  Cache moved(shape, {CacheFormat::kFloat32, false}), fresh(shape, {CacheFormat::kFloat32, false});
  const std::vector<std::int64_t> slots = {0, 1}, from = {5, 6, 100, 101, 7, 8}, deltas = {-5, 0, 11, 0, 1 << 20, 0};
  std::vector<std::int64_t> there = from;
  for (std::size_t i = 0; i < there.size(); ++i) there[i] += deltas[i];
  fill(moved, shape, rotary, PositionsView::streams(from, 3));
  fill(fresh, shape, rotary, PositionsView::streams(there, 3));
  Cache before(shape, {CacheFormat::kFloat32, false});
  before.copy_from(moved);
  ASSERT_FALSE(check_shift(rotary, moved.view(), slots, PositionsView::streams(deltas, 3)));
  shift(rotary, moved.view(), slots, PositionsView::streams(deltas, 3));
  for (std::int64_t h = 0; h < 2; ++h) {
    EXPECT_LE(apart(moved.load(0, h), fresh.load(0, h)), 6e-7);
    EXPECT_EQ(moved.load(1, h), before.load(1, h));
  }
}

TEST_P(CacheShift, ThreadsDoNotChangeAByte) {
  const auto rotary = support::made(spec_of(128, 128, 0, PairLayout::kHalf));
  const std::vector<std::int64_t> positions = counted_from(1000), slots = shuffled(), deltas = counted_from(-150);
  const auto by = PositionsView::row(deltas);
  for (const Format format : {Format{CacheFormat::kFloat32, false}, Format{CacheFormat::kInt4, true}}) {
    Cache one(kManySlots, format), many(kManySlots, format), before(kManySlots, format);
    fill(before, kManySlots, rotary, PositionsView::row(positions));
    one.copy_from(before);
    ASSERT_FALSE(check_shift(rotary, one.view(), slots, by));
    shift(rotary, one.view(), slots, by, {.threads = 1});
    for (const int threads : {0, 2, 3}) {
      many.copy_from(before);
      shift(rotary, many.view(), slots, by, {.threads = threads});
      EXPECT_TRUE(one.same_bytes(many)) << threads << ' ' << format.name();
    }
  }
}

ROPEWALK_ON_EVERY_TARGET(CacheShift);

class CacheRerotation : public support::EveryTarget {
 protected:
  struct Case {
    std::string name;
    RotarySpec from, to;
    std::int64_t from_length, to_length;
  };
  static std::vector<Case> cases() {
    const RotarySpec plain = spec_of(96, 96, 0, PairLayout::kHalf);
    const auto scaled = [&](const ropewalk::Scaling& scaling) {
      RotarySpec spec = plain;
      spec.scaling = scaling;
      return spec;
    };
    const auto dynamic = scaled(ropewalk::DynamicNtkOptions{.factor = 4.0, .trained_context = 4096});
    std::vector<double> short_factor(48, 1.0), long_factor(48);
    for (std::size_t j = 0; j < 48; ++j) long_factor[j] = 1.0 + static_cast<double>(j);
    ropewalk::LongRopeOptions crossing{
        .short_factor = short_factor, .long_factor = long_factor, .trained_context = 4096, .factor = 32.0};
    crossing.short_mscale = 1.1;
    crossing.long_mscale = 1.3;
    const auto longrope = scaled(crossing);
    const auto yarn = scaled(ropewalk::YarnOptions{.factor = 8.0, .trained_context = 4096});
    RotarySpec interleaved = spec_of(40, 20, 4, PairLayout::kInterleaved), faster = interleaved;
    faster.theta = 500000.0;
    return {{"dynamic NTK", dynamic, dynamic, 5000, 16000},
            {"LongRoPE", longrope, longrope, 4096, 4097},
            {"LongRoPE back", longrope, longrope, 9000, 100},
            {"YaRN switched on", plain, yarn, 0, 0},
            {"another base", interleaved, faster, 0, 0}};
  }
};

TEST_P(CacheRerotation, ACarriedCacheIsTheCacheOfTheNewScaling) {
  const std::vector<std::int64_t> positions = {0, 1, 4095, 15999, 1'000'000, -7}, slots = {0, 1, 2, 3, 4, 5};
  const auto where = PositionsView::row(positions);
  for (const Case& tried : cases())
    for (const auto& [one, other] : {std::pair{ropewalk::Numerics::kExact, ropewalk::Numerics::kExact},
                                     {ropewalk::Numerics::kFp32, ropewalk::Numerics::kFp32},
                                     {ropewalk::Numerics::kFp32, ropewalk::Numerics::kExact}})
      for (const Format format : support::kFormats) {
        RotarySpec from = tried.from, to = tried.to;
        from.numerics = one, to.numerics = other;
        SCOPED_TRACE(testing::Message() << tried.name << ' ' << format.name() << ' ' << name_of(one) << ' '
                                        << name_of(other));
        const auto before = Rotary::make(from, tried.from_length), after = Rotary::make(to, tried.to_length);
        ASSERT_TRUE(before && after);
        const auto carried = Rerotation::make(from, tried.from_length, to, tried.to_length);
        ASSERT_TRUE(carried) << carried.error().line();
        EXPECT_DOUBLE_EQ(carried->gain(),
                         after->frequencies().attention_factor / before->frequencies().attention_factor);
        const CacheShape shape{.pages = 2, .page_tokens = 3, .heads = 3, .head_dim = from.head_dim, .gap = 1};
        Cache moved(shape, format), fresh(shape, format);
        fill(moved, shape, *before, where);
        fill(fresh, shape, *after, where);
        ASSERT_FALSE(carried->check(moved.view(), slots, where));
        carried->apply(moved.view(), slots, where);
        const double bound = format.format == CacheFormat::kFloat32 ? 6e-7 : 4 * rounding_of(format) + 6e-7;
        for (std::int64_t t = 0; t < 6; ++t)
          for (std::int64_t h = 0; h < 3; ++h) ASSERT_LE(apart(moved.load(t, h), fresh.load(t, h)), bound);
      }
}

TEST_P(CacheRerotation, KeysOutsideOfACacheTurnByTheSameBits) {
  const Case tried = cases()[1];
  const auto carried = Rerotation::make(tried.from, tried.from_length, tried.to, tried.to_length);
  ASSERT_TRUE(carried);
  const std::vector<std::int64_t> positions = {5, 6, 7, 8}, slots = {0, 1, 2, 3};
  const auto where = PositionsView::row(positions);
  for (const DType dtype : support::kDTypes) {
    Tensor k({.batch = 2, .tokens = 4, .heads = 2, .head_dim = 96, .order = "bhsd", .gap = 3}, dtype);
    k.fill(3);
    const CacheShape shape{.page_tokens = 4, .heads = 2, .head_dim = 96};
    const Format format{static_cast<CacheFormat>(dtype), false};
    Cache cache(shape, format);
    for (std::int64_t t = 0; t < 4; ++t)
      for (std::int64_t h = 0; h < 2; ++h) {
        std::vector<float> row(96);
        for (std::size_t c = 0; c < 96; ++c) row[c] = static_cast<float>(k.get(1, t, h, static_cast<std::int64_t>(c)));
        cache.store(t, h, row);
      }
    carried->apply(cache.view(), slots, where);
    const auto error = carried->check(k.view(), where);
    ASSERT_FALSE(error) << error->line();
    carried->apply(k.view(), where, {.threads = 2});
    EXPECT_TRUE(k.border_untouched());
    for (std::int64_t t = 0; t < 4; ++t)
      for (std::int64_t h = 0; h < 2; ++h) {
        const auto row = cache.load(t, h);
        for (std::size_t c = 0; c < 96; ++c)
          ASSERT_EQ(static_cast<float>(k.get(1, t, h, static_cast<std::int64_t>(c))), row[c]);
      }
  }
}

// The phase of a difference of two turns per token is the difference of the phases, bit for bit, at any position.
TEST_P(CacheRerotation, FromASpecToItselfNothingChanges) {
  const Case tried = cases()[0];
  const auto carried = Rerotation::make(tried.from, 9000, tried.to, 9000);
  ASSERT_TRUE(carried);
  const CacheShape shape{.page_tokens = 2, .heads = 2, .head_dim = 96};
  const std::vector<std::int64_t> positions = {12345, -(std::int64_t{1} << 62)}, slots = {0, 1};
  Cache cache(shape, {CacheFormat::kFloat32, false}), before(shape, {CacheFormat::kFloat32, false});
  fill(cache, shape, support::made(tried.from), PositionsView::row(positions));
  before.copy_from(cache);
  carried->apply(cache.view(), slots, PositionsView::row(positions));
  for (std::int64_t t = 0; t < 2; ++t)
    for (std::int64_t h = 0; h < 2; ++h) EXPECT_EQ(cache.load(t, h), before.load(t, h));
}

TEST_P(CacheRerotation, ThreadsDoNotChangeAByte) {
  RotarySpec from = spec_of(128, 128, 0, PairLayout::kHalf), to = from;
  to.theta = 500000.0;
  const auto carried = Rerotation::make(from, 0, to, 0);
  ASSERT_TRUE(carried);
  const std::vector<std::int64_t> positions = counted_from(1000), slots = shuffled();
  const auto where = PositionsView::row(positions);
  for (const Format format : {Format{CacheFormat::kFloat32, false}, Format{CacheFormat::kInt4, true}}) {
    Cache one(kManySlots, format), many(kManySlots, format), before(kManySlots, format);
    fill(before, kManySlots, support::made(from), where);
    one.copy_from(before);
    ASSERT_FALSE(carried->check(one.view(), slots, where));
    carried->apply(one.view(), slots, where, {.threads = 1});
    for (const int threads : {0, 2, 3}) {
      many.copy_from(before);
      carried->apply(many.view(), slots, where, {.threads = threads});
      EXPECT_TRUE(one.same_bytes(many)) << threads << ' ' << format.name();
    }
  }
  Tensor alone({.tokens = 333, .heads = 5, .head_dim = 128}, DType::kFloat32), shared(alone.shape(), DType::kFloat32);
  alone.fill(4), shared.fill(4);
  ASSERT_FALSE(carried->check(alone.view(), where));
  carried->apply(alone.view(), where, {.threads = 1});
  carried->apply(shared.view(), where, {.threads = 3});
  EXPECT_TRUE(alone.same_elements(shared));
}

ROPEWALK_ON_EVERY_TARGET(CacheRerotation);

}  // namespace
