// What is added to the scores: every kind against its formula in 113 bits, and the laws that all of them obey.
#include <ropewalk/bias.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "math/elementary.hpp"
#include "oracle/encodings.hpp"

namespace ropewalk {
namespace {

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min(),
                       kMost = std::numeric_limits<std::int64_t>::max();

std::vector<float> normal(std::size_t count, std::uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> variate(0.0f, scale);
  std::vector<float> x(count);
  for (float& value : x) value = variate(random);
  return x;
}

std::vector<float> positive(std::size_t count, std::uint64_t seed, float most) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> variate(0.05f, most);
  std::vector<float> x(count);
  for (float& value : x) value = variate(random);
  return x;
}

T5Bias t5(bool causal, int heads = 3) {
  T5Bias o;
  o.heads = heads;
  o.causal = causal;
  o.table = normal(static_cast<std::size_t>(32 * heads), 1);
  return o;
}

AlibiBias alibi(int heads, bool symmetric = false) {
  AlibiBias o;
  o.heads = heads;
  o.symmetric = symmetric;
  return o;
}

KerpleBias kerple(KerpleKind kind, bool symmetric = false) {
  KerpleBias o;
  o.heads = 5;
  o.kind = kind;
  o.symmetric = symmetric;
  o.r1 = positive(5, 2, 2.0f);
  o.r2 = positive(5, 3, kind == KerpleKind::kPower ? 1.9f : 1.0f);
  return o;
}

FireBias fire(double threshold = 20.3) {
  FireBias o;
  o.heads = 4;
  o.threshold = threshold;
  o.threshold_multiplier = -1.25f;
  o.c = -0.3f;
  o.w1 = normal(32, 4);
  o.b1 = normal(32, 5, 0.5f);
  o.w2 = normal(4 * 32, 6);
  o.b2 = normal(4, 7);
  return o;
}

SandwichBias sandwich() {
  SandwichBias o;
  o.heads = 6;
  return o;
}

WindowBias window(bool class_token = false) {
  WindowBias o;
  o.heads = 2;
  o.rows = 3;
  o.columns = 4;
  o.class_token = class_token;
  o.table = normal(static_cast<std::size_t>((5 * 7 + (class_token ? 3 : 0)) * 2), 8);
  return o;
}

LogCpbBias log_cpb(int pretrained = 0) {
  LogCpbBias o;
  o.heads = 2;
  o.rows = 3;
  o.columns = 4;
  o.pretrained_rows = o.pretrained_columns = pretrained;
  o.width = 24;
  o.w1 = normal(48, 9, 0.5f);
  o.b1 = normal(24, 10, 0.5f);
  o.w2 = normal(48, 11, 0.3f);
  return o;
}

std::vector<BiasSpec> every_spec() {
  return {alibi(6),
          alibi(5, true),
          t5(true),
          t5(false),
          kerple(KerpleKind::kLog),
          kerple(KerpleKind::kLog, true),
          kerple(KerpleKind::kPower),
          fire(),
          sandwich(),
          window(),
          window(true),
          log_cpb(),
          log_cpb(7)};
}

bool is_window(const BiasSpec& spec) {
  return std::holds_alternative<WindowBias>(spec) || std::holds_alternative<LogCpbBias>(spec);
}

ScoreBias made(const BiasSpec& spec) {
  auto bias = ScoreBias::make(spec);
  EXPECT_TRUE(bias) << bias.error().line();
  return *std::move(bias);
}

std::vector<float> block(const ScoreBias& bias, const BiasAxis& queries, const BiasAxis& keys) {
  std::vector<float> out(static_cast<std::size_t>(bias.heads() * queries.count * keys.count), NAN);
  const BiasView view = BiasView::contiguous(out.data(), queries.count, keys.count);
  const auto error = bias.check(queries, keys, view);
  EXPECT_FALSE(error) << error->line();
  bias.fill(queries, keys, view);
  return out;
}

/// The bias as its paper writes it.
oracle::Quad plainly(const BiasSpec& spec, int head, std::int64_t query, std::int64_t key) {
  using oracle::Quad;
  const auto h = static_cast<std::size_t>(head);
  const Quad exact = Quad(query) - Quad(key);
  const Quad n = exact > kMost ? Quad(kMost) : exact < kLeast ? Quad(kLeast) : exact;
  const Quad before = oracle::larger(n, 0), either = oracle::abs_of(n);
  const auto quads = [](const std::vector<float>& x) { return std::vector<Quad>(x.begin(), x.end()); };
  if (const auto* o = std::get_if<AlibiBias>(&spec))
    return -oracle::alibi_slopes(o->heads, o->bias_max)[h] * (o->symmetric ? either : before);
  if (const auto* o = std::get_if<T5Bias>(&spec)) {
    const int of_side = o->causal ? o->num_buckets : o->num_buckets / 2;
    const Quad length = o->causal ? before : either;
    const Quad far = Quad(o->max_distance);
    const int bucket =
        oracle::t5_bucket(static_cast<std::int64_t>(length > far ? far : length), of_side, o->max_distance) +
        (!o->causal && n < 0 ? of_side : 0);
    return o->table[static_cast<std::size_t>(bucket * o->heads + head)];
  }
  if (const auto* o = std::get_if<KerpleBias>(&spec)) {
    const Quad length = o->symmetric ? either : before;
    return o->kind == KerpleKind::kLog ? oracle::kerple_log(o->r1[h], o->r2[h], length)
                                       : oracle::kerple_power(o->r1[h], o->r2[h], length);
  }
  if (const auto* o = std::get_if<FireBias>(&spec)) {
    const Quad threshold = oracle::abs_of(Quad(o->threshold_multiplier) * Quad(o->threshold));
    const Quad x = oracle::fire_input(o->c, threshold, o->epsilon, Quad(query) - o->first_position, n);
    return oracle::Network{quads(o->w1), quads(o->b1), quads(o->w2), quads(o->b2)}({x}, h);
  }
  if (const auto* o = std::get_if<SandwichBias>(&spec))
    return (oracle::sandwich(n, o->dim, o->theta, o->first_term) - o->subtrahend) / (8 * Quad(head + 1) / o->heads);
  if (const auto* o = std::get_if<WindowBias>(&spec)) {
    const std::int64_t all = (2 * o->rows - 1) * (2 * o->columns - 1);
    std::int64_t row = 0;
    if (o->class_token && query == 0 && key == 0) {
      row = all + 2;
    } else if (o->class_token && query == 0) {
      row = all;
    } else if (o->class_token && key == 0) {
      row = all + 1;
    } else {
      const std::int64_t i = query - (o->class_token ? 1 : 0), j = key - (o->class_token ? 1 : 0);
      row = (i / o->columns - j / o->columns + o->rows - 1) * (2 * o->columns - 1) + i % o->columns - j % o->columns +
            o->columns - 1;
    }
    return o->table[static_cast<std::size_t>(row * o->heads + head)];
  }
  const auto& o = std::get<LogCpbBias>(spec);
  const auto coordinate = [](std::int64_t displacement, int pretrained, int side) {
    return oracle::log_coordinate(displacement, pretrained > 0 ? pretrained : side);
  };
  const Quad y = coordinate(query / o.columns - key / o.columns, o.pretrained_rows, o.rows);
  const Quad x = coordinate(query % o.columns - key % o.columns, o.pretrained_columns, o.columns);
  return oracle::sixteen_sigmoids(oracle::Network{quads(o.w1), quads(o.b1), quads(o.w2), {}}({y, x}, h));
}

void expect_near(float got, oracle::Quad wanted, const std::string& where) {
  const double near = static_cast<double>(wanted);
  EXPECT_NEAR(got, near, 1e-6 + 6e-8 * std::abs(near)) << where;
}

std::string named(const BiasSpec& spec, int head, std::int64_t query, std::int64_t key) {
  return std::string(name_of(spec)) + " head " + std::to_string(head) + " at " + std::to_string(query) + ", " +
         std::to_string(key);
}

TEST(Bias, EveryEntryIsItsFormula) {
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    // FIRE's threshold is 25.375
    const std::int64_t tokens = is_window(spec) ? 12 : std::holds_alternative<SandwichBias>(spec) ? 15 : 60;
    for (int head = 0; head < bias.heads(); ++head)
      for (std::int64_t query = 0; query < tokens; ++query)
        for (std::int64_t key = 0; key < tokens; ++key)
          expect_near(bias.at(head, query, key), plainly(spec, head, query, key), named(spec, head, query, key));
  }
}

TEST(Bias, HugeDistancesAreAsRightAsSmallOnes) {
  const std::pair<std::int64_t, std::int64_t> places[] = {
      {131071, 3}, {1 << 20, -5}, {10000000, 0},  {1LL << 36, 17}, {17, 1LL << 36}, {-(1LL << 40), -(1LL << 41)},
      {kMost, 0},  {kMost, -1},   {kLeast, kMost}};
  for (const BiasSpec& spec : every_spec()) {
    if (is_window(spec) || std::holds_alternative<SandwichBias>(spec)) continue;
    const ScoreBias bias = made(spec);
    for (int head = 0; head < bias.heads(); ++head)
      for (const auto& [query, key] : places)
        expect_near(bias.at(head, query, key), plainly(spec, head, query, key), named(spec, head, query, key));
  }
  // Sandwich within what 2^-65 turns a token leave.
  const BiasSpec spec = sandwich();
  const ScoreBias bias = made(spec);
  for (const std::int64_t n : {1LL << 20, 10000000LL, 1LL << 36, -(1LL << 36)})
    EXPECT_NEAR(bias.at(0, n, 0), static_cast<double>(plainly(spec, 0, n, 0)), 2e-6);
}

TEST(Bias, ABlockIsItsEntriesWhateverItsShape) {
  const std::vector<std::int64_t> some{5, 0, 11, 3, 3}, others{2, 10, 7};
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    const std::int64_t most = is_window(spec) ? 12 : 70;
    const std::pair<BiasAxis, BiasAxis> blocks[] = {
        {BiasAxis::range(0, most), BiasAxis::range(0, most)}, {BiasAxis::range(5, 1), BiasAxis::range(0, 9)},
        {BiasAxis::range(2, 7), BiasAxis::range(3, 1)},       {BiasAxis::of(some), BiasAxis::range(1, 8)},
        {BiasAxis::range(1, 8), BiasAxis::of(others)},        {BiasAxis::of(some), BiasAxis::of(others)},
        {BiasAxis::range(3, 0), BiasAxis::range(0, 4)}};
    for (const auto& [queries, keys] : blocks) {
      const auto out = block(bias, queries, keys);
      std::size_t place = 0;
      for (int head = 0; head < bias.heads(); ++head)
        for (std::int64_t i = 0; i < queries.count; ++i)
          for (std::int64_t j = 0; j < keys.count; ++j, ++place)
            ASSERT_EQ(out[place], bias.at(head, queries.at(i), keys.at(j)))
                << named(spec, head, queries.at(i), keys.at(j));
    }
  }
}

TEST(Bias, ABlockOfOneHeadIsThatHeadOfTheBlock) {
  const std::vector<std::int64_t> some{5, 0, 11, 3, 3};
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    const std::int64_t most = is_window(spec) ? 12 : 70;
    for (const BiasAxis& queries : {BiasAxis::range(0, most), BiasAxis::of(some)}) {
      const auto keys = BiasAxis::range(1, 9);
      const auto all = block(bias, queries, keys);
      const auto size = static_cast<std::size_t>(queries.count * keys.count);
      for (int head = 0; head < bias.heads(); ++head) {
        std::vector<float> one(size, NAN);
        bias.fill_head(head, queries, keys, BiasView::contiguous(one.data(), queries.count, keys.count));
        for (std::size_t e = 0; e < size; ++e)
          ASSERT_EQ(one[e], all[static_cast<std::size_t>(head) * size + e]) << name_of(spec) << " head " << head;
      }
    }
  }
}

TEST(Bias, StridesAreFollowedAndNothingElseIsWritten) {
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    const std::int64_t heads = bias.heads(), queries = 4, keys = 5;
    // [keys, queries, heads] with two floats between keys, from the end.
    std::vector<float> memory(static_cast<std::size_t>(keys * (queries * heads + 2)), -77.0f);
    const std::int64_t key_stride = -(queries * heads + 2);
    const BiasView view{memory.data() - (keys - 1) * key_stride, 1, heads, key_stride};
    bias.fill(BiasAxis::range(1, queries), BiasAxis::range(2, keys), view);
    int untouched = 0;
    for (const float x : memory) untouched += x == -77.0f;
    EXPECT_EQ(untouched, 2 * keys);
    for (int head = 0; head < heads; ++head)
      for (std::int64_t i = 0; i < queries; ++i)
        for (std::int64_t j = 0; j < keys; ++j) EXPECT_EQ(view.at(head, i, j), bias.at(head, 1 + i, 2 + j));
  }
}

TEST(Bias, WhatDependsOnTheDistanceIsShiftInvariantAndToeplitz) {
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    EXPECT_EQ(bias.depends_on_distance_only(), !is_window(spec) && !std::holds_alternative<FireBias>(spec));
    if (is_window(spec)) {
      std::vector<float> out(8);
      EXPECT_EQ(bias.toeplitz(0, out)->line(), "spec: want a bias of the distance, got " + std::string(name_of(spec)) +
                                                   ", which depends on rows and columns");
      continue;
    }
    const bool is_fire = std::holds_alternative<FireBias>(spec);
    const std::int64_t tokens = is_fire ? 26 : 200;  // fire()'s threshold is 25.375
    EXPECT_TRUE(bias.depends_on_distance_only(tokens - 1));
    std::vector<float> vector(static_cast<std::size_t>(bias.heads() * (2 * tokens - 1)));
    ASSERT_FALSE(bias.toeplitz(1 - tokens, vector));
    const auto whole = block(bias, BiasAxis::range(0, tokens), BiasAxis::range(0, tokens));
    for (std::int64_t head = 0; head < bias.heads(); ++head)
      for (std::int64_t i = 0; i < tokens; ++i)
        for (std::int64_t j = 0; j < tokens; ++j)
          ASSERT_EQ(whole[static_cast<std::size_t>((head * tokens + i) * tokens + j)],
                    vector[static_cast<std::size_t>(head * (2 * tokens - 1) + i - j + tokens - 1)]);
    if (is_fire) continue;
    for (const std::int64_t shift : {std::int64_t{1}, std::int64_t{1} << 20, -(std::int64_t{1} << 45)})
      EXPECT_EQ(block(bias, BiasAxis::range(shift, tokens), BiasAxis::range(shift, tokens)), whole) << name_of(spec);
  }
}

TEST(Bias, BeyondItsThresholdFireDependsOnTheQuery) {
  const ScoreBias bias = made(fire());
  EXPECT_FALSE(bias.depends_on_distance_only(26));
  EXPECT_NE(bias.at(0, 100, 90), bias.at(0, 1000, 990));
  // The last row of any length sees its first key at 1: the interpolation the method is named for.
  const double last = bias.at(0, 1000, 0);
  EXPECT_NEAR(bias.at(0, 100000, 0), last, 1e-6);
  FireBias shifted = fire();
  shifted.first_position = 5000;
  EXPECT_EQ(made(shifted).at(1, 5100, 5030), bias.at(1, 100, 30));
}

TEST(Bias, CausalKindsGiveAKeyBehindItsQueryWhatTheQueryItselfHas) {
  for (const BiasSpec& spec : {BiasSpec(alibi(8)), BiasSpec(t5(true)), BiasSpec(kerple(KerpleKind::kLog)),
                               BiasSpec(kerple(KerpleKind::kPower)), BiasSpec(fire())}) {
    const ScoreBias bias = made(spec);
    for (const std::int64_t key : {std::int64_t{4}, std::int64_t{50}, std::int64_t{1} << 40})
      EXPECT_EQ(bias.at(0, 3, key), bias.at(0, 3, 3)) << name_of(spec);
  }
}

TEST(Alibi, FallsWithDistanceInEveryHead) {
  for (const int heads : {1, 3, 8, 12, 71}) {
    const ScoreBias bias = made(alibi(heads));
    for (int head = 0; head < heads; ++head) {
      EXPECT_EQ(bias.at(head, 9, 9), 0.0f);
      for (std::int64_t n = 1; n < 4096; n *= 2) EXPECT_LT(bias.at(head, 2 * n, 0), bias.at(head, n, 0));
      EXPECT_FLOAT_EQ(bias.at(head, 7000, 3000), 4000 * bias.at(head, 1, 0)) << heads;
    }
    const ScoreBias both = made(alibi(heads, true));
    EXPECT_EQ(both.at(0, 3, 10), both.at(0, 10, 3));
    EXPECT_EQ(both.at(0, 10, 3), bias.at(0, 10, 3));
  }
}

TEST(Alibi, SlopesAreThePublishedOnes) {
  const auto expect_exponents = [](const std::vector<double>& wanted, double most = 8.0) {
    const auto slopes = *alibi_slopes(static_cast<int>(wanted.size()), most);
    ASSERT_EQ(slopes.size(), wanted.size());
    for (std::size_t h = 0; h < slopes.size(); ++h) EXPECT_DOUBLE_EQ(-std::log2(slopes[h]), wanted[h]);
  };
  expect_exponents({1, 2, 3, 4, 5, 6, 7, 8});
  expect_exponents({1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5});
  expect_exponents({2, 4, 6, 8, 1, 3});
  expect_exponents({8});
  expect_exponents({4, 8, 12, 16}, 16.0);
  for (int heads = 1; heads <= 130; ++heads) {
    const auto wanted = oracle::alibi_slopes(heads);
    const auto got = *alibi_slopes(heads);
    ASSERT_EQ(got.size(), static_cast<std::size_t>(heads));
    for (std::size_t h = 0; h < got.size(); ++h) EXPECT_EQ(got[h], static_cast<double>(wanted[h]));
  }
}

// Intervals worked out by hand from the formula; the classic off-by-one is where 16, 32 and 64 are powers of the ratio.
TEST(T5, BucketsBeginAtTheGoldenDistances) {
  EXPECT_EQ(*t5_bucket_starts(32, 128, true),
            (std::vector<std::int64_t>{0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                       16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113}));
  EXPECT_EQ(*t5_bucket_starts(32, 128, false),
            (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91}));
}

TEST(T5, BucketsAreThoseOfWholeNumberArithmetic) {
  for (const bool causal : {true, false})
    for (const int buckets : {4, 5, 7, 8, 16, 17, 32, 33})
      for (const std::int64_t most : {9, 20, 32, 64, 100, 128}) {
        const int of_side = causal ? buckets : buckets / 2;
        if (most <= of_side / 2) continue;
        const auto starts = *t5_bucket_starts(buckets, most, causal);
        ASSERT_EQ(starts.size(), static_cast<std::size_t>(of_side));
        for (std::int64_t a = 0; a < 2 * most; ++a) {
          int bucket = of_side - 1;
          while (starts[static_cast<std::size_t>(bucket)] > a) --bucket;
          ASSERT_EQ(bucket, oracle::t5_bucket(a, of_side, most)) << buckets << " buckets to " << most << " at " << a;
        }
      }
}

TEST(T5, LargeTablesHaveRisingBucketsThatEndAtTheLargestDistance) {
  for (const auto& [buckets, most] :
       {std::pair{320, std::int64_t{800}}, {320, std::int64_t{1} << 31}, {4096, std::int64_t{1} << 31}}) {
    const auto starts = *t5_bucket_starts(buckets, most, true);
    for (std::size_t i = 1; i < starts.size(); ++i) EXPECT_LE(starts[i - 1], starts[i]);
    EXPECT_LT(starts.back(), most);
    // The last bucket's beginning, as the real number.
    const int exact = buckets / 2;
    const oracle::Quad begin = exact * powq(oracle::Quad(most) / exact, 1 - oracle::Quad(1) / (buckets - exact));
    EXPECT_EQ(starts.back(), static_cast<std::int64_t>(ceilq(begin)));
  }
}

TEST(T5, TheTwoSidesAreTablesOfTheirOwn) {
  const ScoreBias bias = made(t5(false));
  EXPECT_NE(bias.at(0, 5, 4), bias.at(0, 4, 5));
  EXPECT_EQ(bias.at(0, 500, 4), bias.at(0, 100000, 4)) << "all far ones are one";
}

TEST(Kerple, PowerOfOneIsAlibi) {
  KerpleBias o;
  o.heads = 8;
  o.kind = KerpleKind::kPower;
  o.smallest = 1e-6f;
  const auto slopes = *alibi_slopes(8);
  for (const double slope : slopes) o.r1.push_back(static_cast<float>(slope));
  o.r2.assign(8, 1.0f);
  const ScoreBias power = made(o), linear = made(alibi(8));
  for (const std::int64_t n : {0LL, 1LL, 17LL, 4096LL, 1LL << 40})
    EXPECT_FLOAT_EQ(power.at(3, n, 0), linear.at(3, n, 0));
}

TEST(Kerple, NumbersBelowTheSmallestAreRaisedToIt) {
  KerpleBias o = kerple(KerpleKind::kLog);
  o.r1[0] = -3.0f;
  o.r2[1] = 0.0f;
  KerpleBias raised = o;
  raised.r1[0] = 0.01f;
  raised.r2[1] = 0.01f;
  for (int head = 0; head < 2; ++head) EXPECT_EQ(made(o).at(head, 100, 0), made(raised).at(head, 100, 0));
  KerpleBias power = kerple(KerpleKind::kPower);
  power.r2[0] = 5.0f;
  EXPECT_FLOAT_EQ(made(power).at(0, 100, 0), -power.r1[0] * 10000.0f);
}

TEST(Sandwich, IsItsSumOfCosinesOverEachHeadsRatio) {
  SandwichBias o = sandwich();
  EXPECT_FLOAT_EQ(made(o).at(5, 3, 3), 64.0f / 8.0f);
  EXPECT_FLOAT_EQ(made(o).at(0, 3, 3), 64.0f / (8.0f / 6.0f));
  o.subtrahend = 64.0;
  EXPECT_EQ(made(o).at(0, 3, 3), 0.0f);
  EXPECT_EQ(made(o).at(0, 3, 11), made(o).at(0, 11, 3));
  SandwichBias from_one = sandwich();
  from_one.first_term = 1;
  const BiasSpec spec = from_one;
  expect_near(made(spec).at(2, 100, 7), plainly(spec, 2, 100, 7), "from the first term");
}

// ---- gradients

/// The learned numbers of a spec, in the order of parameters().
std::vector<float*> numbers_of(BiasSpec& spec) {
  std::vector<float*> out;
  const auto all = [&](std::vector<float>& x) {
    for (float& value : x) out.push_back(&value);
  };
  if (auto* o = std::get_if<T5Bias>(&spec)) all(o->table);
  if (auto* o = std::get_if<KerpleBias>(&spec)) all(o->r1), all(o->r2);
  if (auto* o = std::get_if<FireBias>(&spec))
    out = {&o->c, &o->threshold_multiplier}, all(o->w1), all(o->b1), all(o->w2), all(o->b2);
  if (auto* o = std::get_if<WindowBias>(&spec)) all(o->table);
  if (auto* o = std::get_if<LogCpbBias>(&spec)) all(o->w1), all(o->b1), all(o->w2);
  return out;
}

// Against differences of the 113-bit formula, so that no rounding of the library hides in them.
TEST(BiasGradient, IsTheDerivativeOfTheFormula) {
  for (BiasSpec spec : every_spec()) {
    const ScoreBias bias = made(spec);
    const std::vector<float*> numbers = numbers_of(spec);
    const std::int64_t queries = is_window(spec) ? 12 : 40, keys = is_window(spec) ? 12 : 8;
    const std::vector<float> d = normal(static_cast<std::size_t>(bias.heads() * queries * keys), 12);
    std::vector<double> got(bias.parameter_count());
    const auto view = ConstBiasView::contiguous(d.data(), queries, keys);
    ASSERT_FALSE(bias.add_gradient(BiasAxis::range(0, queries), BiasAxis::range(0, keys), view, got));
    if (std::holds_alternative<AlibiBias>(spec) || std::holds_alternative<SandwichBias>(spec)) continue;
    ASSERT_EQ(numbers.size(), got.size()) << name_of(spec);
    const auto loss = [&] {
      oracle::Quad sum = 0;
      std::size_t place = 0;
      for (int head = 0; head < bias.heads(); ++head)
        for (std::int64_t i = 0; i < queries; ++i)
          for (std::int64_t j = 0; j < keys; ++j) sum += oracle::Quad(d[place++]) * plainly(spec, head, i, j);
      return sum;
    };
    for (std::size_t p = 0; p < numbers.size(); p += p < 4 ? 1 : 1 + numbers.size() / 60) {
      const float here = *numbers[p], step = std::ldexp(1.0f, -14);
      *numbers[p] = here + step;
      const float up = *numbers[p];
      const oracle::Quad above = loss();
      *numbers[p] = here - step;
      const float down = *numbers[p];
      const double slope = static_cast<double>((above - loss()) / (oracle::Quad(up) - oracle::Quad(down)));
      *numbers[p] = here;
      EXPECT_NEAR(got[p], slope, 2e-3 * (1.0 + std::abs(slope))) << name_of(spec) << " parameter " << p;
    }
  }
}

TEST(BiasGradient, OfSlopesIsTheSumOfDistances) {
  const ScoreBias bias = made(alibi(2));
  const std::vector<float> d{1, 0, 0, 1, 2, 0, 0, 3};  // [2 heads, 2 queries, 2 keys]
  std::vector<double> got(2, 100.0);
  ASSERT_FALSE(
      bias.add_gradient(BiasAxis::range(10, 2), BiasAxis::range(0, 2), ConstBiasView::contiguous(d.data(), 2, 2), got));
  EXPECT_EQ(got, (std::vector<double>{100.0 - 10 - 10, 100.0 - 20 - 30}));
}

TEST(BiasGradient, BlocksAddUpToTheWhole) {
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    const std::int64_t heads = bias.heads(), tokens = 12;
    const std::vector<float> d = normal(static_cast<std::size_t>(heads * tokens * tokens), 13);
    const auto whole = ConstBiasView::contiguous(d.data(), tokens, tokens);
    std::vector<double> at_once(bias.parameter_count()), in_blocks(at_once), by_list(at_once);
    const auto all = BiasAxis::range(0, tokens);
    ASSERT_FALSE(bias.add_gradient(all, all, whole, at_once));
    for (const std::int64_t first : {0, 5})
      for (const std::int64_t key : {0, 7}) {
        auto part = whole;
        part.data = &whole.at(0, first, key);
        ASSERT_FALSE(bias.add_gradient(BiasAxis::range(first, first == 0 ? 5 : 7),
                                       BiasAxis::range(key, key == 0 ? 7 : 5), part, in_blocks));
      }
    std::vector<std::int64_t> list(static_cast<std::size_t>(tokens));
    for (std::size_t i = 0; i < list.size(); ++i) list[i] = static_cast<std::int64_t>(i);
    ASSERT_FALSE(bias.add_gradient(BiasAxis::of(list), BiasAxis::of(list), whole, by_list));
    for (std::size_t p = 0; p < at_once.size(); ++p) {
      EXPECT_NEAR(in_blocks[p], at_once[p], 1e-9 * (1 + std::abs(at_once[p]))) << name_of(spec);
      EXPECT_NEAR(by_list[p], at_once[p], 1e-9 * (1 + std::abs(at_once[p]))) << name_of(spec);
    }
  }
}

TEST(BiasGradient, OfEachHeadAddsUpToThatOfAll) {
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    const std::int64_t tokens = 12;
    const std::vector<float> d = normal(static_cast<std::size_t>(bias.heads() * tokens * tokens), 14);
    const auto whole = ConstBiasView::contiguous(d.data(), tokens, tokens);
    std::vector<double> at_once(bias.parameter_count()), by_heads(at_once);
    const auto all = BiasAxis::range(0, tokens);
    ASSERT_FALSE(bias.add_gradient(all, all, whole, at_once));
    for (int h = 0; h < bias.heads(); ++h)
      ASSERT_FALSE(
          bias.add_gradient_head(h, all, all, ConstBiasView::contiguous(&whole.at(h, 0, 0), tokens, tokens), by_heads));
    for (std::size_t p = 0; p < at_once.size(); ++p)
      EXPECT_NEAR(by_heads[p], at_once[p], 1e-9 * (1 + std::abs(at_once[p]))) << name_of(spec);
    EXPECT_EQ(bias.add_gradient_head(bias.heads(), all, all, whole, by_heads)->path, "head") << name_of(spec);
    EXPECT_EQ(bias.add_gradient_head(-1, all, all, whole, by_heads)->path, "head") << name_of(spec);
  }
}

// Biases of the hidden layer start at 0, and the diagonal's input is 0: every unit is at its kink there.
TEST(BiasGradient, FireHasNoSlopeAtAKink) {
  FireBias o = fire();
  o.b1.assign(o.b1.size(), 0.0f);
  const ScoreBias bias = made(o);
  const std::vector<float> d{1, 2, 3, 4};
  std::vector<double> got(bias.parameter_count());
  ASSERT_FALSE(
      bias.add_gradient(BiasAxis::range(3, 1), BiasAxis::range(3, 1), ConstBiasView::contiguous(d.data(), 1, 1), got));
  const auto parameters = bias.parameters();
  ASSERT_EQ(parameters.back().name, "b2");
  for (std::size_t p = 0; p < parameters.back().offset; ++p) EXPECT_EQ(got[p], 0.0);
  for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(got[parameters.back().offset + h], d[h]);
}

TEST(Bias, ParametersAreNamedInOrder) {
  std::string all;
  for (const BiasSpec& spec : every_spec()) {
    const ScoreBias bias = made(spec);
    std::size_t offset = 0;
    for (const BiasParameter& p : bias.parameters()) {
      EXPECT_EQ(p.offset, offset);
      offset += p.size;
      if (std::holds_alternative<FireBias>(spec)) all += std::string(p.name) + ' ';
    }
    EXPECT_EQ(offset, bias.parameter_count());
  }
  EXPECT_EQ(all, "c threshold_multiplier w1 b1 w2 b2 ");
}

// ---- what is refused, by name

std::string refused(const BiasSpec& spec) {
  const auto bias = ScoreBias::make(spec);
  return bias ? "nothing" : bias.error().line();
}

TEST(BiasRefuses, WrongOptionsByName) {
  const auto with = [](auto options, const auto& change) {
    change(options);
    return refused(options);
  };
  EXPECT_EQ(with(alibi(8), [](auto& o) { o.heads = 0; }), "alibi.heads: want a number in [1, 65536], got 0");
  EXPECT_EQ(with(alibi(8), [](auto& o) { o.bias_max = -1; }), "alibi.bias_max: want a number in [0, 1000], got -1");
  EXPECT_EQ(with(alibi(8), [](auto& o) { o.slopes = {1, 2}; }), "alibi.slopes.size: want 8, got 2");
  EXPECT_EQ(with(t5(true), [](auto& o) { o.num_buckets = 1; }), "t5.num_buckets: want a number in [2, 4096], got 1");
  EXPECT_EQ(with(t5(false), [](auto& o) { o.max_distance = 8; }), "t5.max_distance: want a number in [9, 2^31], got 8");
  EXPECT_EQ(with(t5(false), [](auto& o) { o.table.pop_back(); }), "t5.table.size: want 96, got 95");
  EXPECT_EQ(with(t5(false), [](auto& o) { o.table[7] = NAN; }), "t5.table[7]: want a finite number, got nan");
  EXPECT_EQ(with(kerple(KerpleKind::kLog), [](auto& o) { o.smallest = 0; }),
            "kerple.smallest: want a number in (0, 1], got 0");
  EXPECT_EQ(with(kerple(KerpleKind::kLog), [](auto& o) { o.r2.clear(); }), "kerple.r2.size: want 5, got 0");
  EXPECT_EQ(with(fire(), [](auto& o) { o.threshold = 0; }), "fire.threshold: want a number in (0, 2^62], got 0");
  EXPECT_EQ(with(fire(), [](auto& o) { o.epsilon = 0; }), "fire.epsilon: want a number in (0, 1], got 0");
  EXPECT_EQ(with(fire(), [](auto& o) { o.w2.resize(5); }), "fire.w2.size: want 128, got 5");
  EXPECT_EQ(with(fire(), [](auto& o) { o.c = NAN; }), "fire.c: want a finite number, got nan");
  EXPECT_EQ(with(sandwich(), [](auto& o) { o.dim = 7; }), "sandwich.dim: want an even number, got 7");
  EXPECT_EQ(with(sandwich(), [](auto& o) { o.first_term = 2; }), "sandwich.first_term: want a number in [0, 1], got 2");
  EXPECT_EQ(with(window(), [](auto& o) { o.class_token = true; }), "window.table.size: want 76, got 70");
  EXPECT_EQ(with(window(), [](auto& o) { o.rows = 2000; }), "window.rows: want a number in [1, 1024], got 2000");
  EXPECT_EQ(with(log_cpb(), [](auto& o) { o.pretrained_rows = 8; }),
            "log_cpb.pretrained_rows: want at least 2, or 0 with pretrained_columns 0, got 8");
  EXPECT_EQ(with(log_cpb(), [](auto& o) { o.w1.pop_back(); }), "log_cpb.w1.size: want 48, got 47");
}

TEST(BiasRefuses, BlocksThatDoNotFit) {
  std::vector<float> memory(1000);
  const auto line = [&](const BiasSpec& spec, const BiasAxis& queries, const BiasAxis& keys, float* data) {
    const auto error = made(spec).check(queries, keys, BiasView::contiguous(data, 3, 3));
    return error ? error->line() : "nothing";
  };
  const auto three = BiasAxis::range(0, 3);
  EXPECT_EQ(line(alibi(2), three, three, nullptr), "out.data: want an address, got null");
  EXPECT_EQ(line(alibi(2), BiasAxis::range(kMost - 1, 3), three, memory.data()),
            "queries.first: want 3 positions within int64, got the first at 9223372036854775806");
  EXPECT_EQ(line(alibi(2), three, BiasAxis::range(0, -1), memory.data()),
            "keys.count: want a number in [0, 2^40], got -1");
  EXPECT_EQ(line(window(), three, BiasAxis::range(10, 3), memory.data()),
            "keys[2]: want a token of the window, 0 to 11, got 12");
  EXPECT_EQ(line(window(true), three, BiasAxis::range(10, 3), memory.data()), "nothing");
  EXPECT_EQ(made(alibi(2)).check(three, three, {memory.data(), 9, 0, 1})->line(),
            "out.query_stride: want a stride other than 0 on an axis of 3 that is written, got 0");
  const std::vector<std::int64_t> positions{0, -1, 2};
  EXPECT_EQ(line(log_cpb(), BiasAxis::of(positions), three, memory.data()),
            "queries[1]: want a token of the window, 0 to 11, got -1");
  std::vector<double> d(3);
  EXPECT_EQ(made(alibi(2)).add_gradient(three, three, ConstBiasView::contiguous(memory.data(), 3, 3), d)->line(),
            "d_parameters.size: want 2, got 3");
  EXPECT_EQ(made(alibi(2)).toeplitz(0, std::span(memory).first(3))->line(),
            "out.size: want a multiple of the 2 heads, got 3");
}

TEST(Elementary, FunctionsAreWithinFourUnitsInTheLastPlace) {
  std::mt19937_64 random(1);
  const auto off = [](double got, oracle::Quad wanted) {
    const double unit =
        std::nextafter(std::abs(static_cast<double>(wanted)), INFINITY) - std::abs(static_cast<double>(wanted));
    return static_cast<double>(fabsq(got - wanted)) / unit;
  };
  const auto log1p_of = [](oracle::Quad x) {
    return x < oracle::Quad(0x1p-40) ? x - x * x / 2 + x * x * x / 3 : logq(1 + x);
  };
  double worst = 0;
  for (int i = 0; i < 100000; ++i) {
    const double small = std::ldexp(static_cast<double>(random() >> 11), -53);
    const double x = std::ldexp(small + 0x1p-60, static_cast<int>(random() % 160) - 80);
    worst = std::max({worst, off(math::fast_log(x), logq(x)), off(math::fast_log1p(x), log1p_of(x))});
    const double y = (small - 0.5) * 1400;
    worst = std::max(worst, off(math::fast_exp(y), expq(y)));
  }
  EXPECT_LT(worst, 4.0);
  EXPECT_EQ(math::fast_log1p(0.0), 0.0);
  EXPECT_EQ(math::fast_exp(0.0), 1.0);
  EXPECT_EQ(math::fast_exp(-1000.0), 0.0);
}

}  // namespace
}  // namespace ropewalk
