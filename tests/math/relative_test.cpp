// What is added to the scores and takes the queries or the keys: every kind against its paper's formula in 113 bits,
// and the laws that they obey.
#include <ropewalk/relative.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/dispatch.hpp"
#include "oracle/quad.hpp"

namespace ropewalk {
namespace {

using oracle::Quad;

constexpr int kHeads = 4, kDim = 20;

/// Multiples of 1/16 up to 2, which bf16 and f16 hold too.
template <class Count>
std::vector<float> sixteenths(Count count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = static_cast<float>(static_cast<int>(random() % 65) - 32) / 16.0f;
  return x;
}
ShawRelative shaw(bool per_head = false) {
  ShawRelative o;
  o.heads = kHeads;
  o.head_dim = kDim;
  o.left = 5;
  o.right = 3;
  o.table_per_head = per_head;
  o.value_dim = 7;
  o.key_table = sixteenths(9 * kDim * (per_head ? kHeads : 1), 1);
  o.value_table = sixteenths(9 * 7 * (per_head ? kHeads : 1), 2);
  return o;
}

TransformerXlRelative transformer_xl(std::int64_t least = -60, std::int64_t most = 60) {
  TransformerXlRelative o;
  o.heads = kHeads;
  o.head_dim = kDim;
  o.least_distance = least;
  o.most_distance = most;
  o.clamp = true;
  o.table = sixteenths((most - least + 1) * kHeads * kDim, 3);
  o.u = sixteenths(kHeads * kDim, 4);
  o.v = sixteenths(kHeads * kDim, 5);
  return o;
}

TransformerXlRelative projected(SinusoidOrder order = SinusoidOrder::kConcatenated) {
  TransformerXlRelative o = transformer_xl();
  o.table.clear();
  o.model_dim = 14;
  o.order = order;
  o.projection = sixteenths(kHeads * kDim * 14, 6);
  return o;
}

DebertaRelative deberta(bool buckets, P2cDistance p2c = P2cDistance::kAsCheckpoints) {
  DebertaRelative o;
  o.heads = kHeads;
  o.head_dim = kDim;
  o.span = 10;
  o.max_distance = buckets ? 81 : 0;  // mid 5, (81 - 1) / 5 = 2^4: buckets end exactly at 10, 20, 40 and 80
  o.p2c_distance = p2c;
  o.c2p_table = sixteenths(20 * kHeads * kDim, 7);
  o.p2c_table = sixteenths(20 * kHeads * kDim, 8);
  return o;
}

CopeRelative cope(bool causal = true) {
  CopeRelative o;
  o.heads = kHeads;
  o.head_dim = kDim;
  o.positions = 9;
  o.causal = causal;
  o.table = sixteenths(9 * kDim, 9);
  return o;
}

DebertaRelative only_p2c() {
  DebertaRelative o = deberta(true);
  o.c2p_table.clear();
  return o;
}
TransformerXlRelative without_biases() {
  TransformerXlRelative o = transformer_xl();
  o.u.clear();
  o.v.clear();
  return o;
}

std::vector<RelativeSpec> every_spec() {
  return {shaw(),           shaw(true),    transformer_xl(),
          without_biases(), projected(),   projected(SinusoidOrder::kInterleaved),
          deberta(false),   deberta(true), deberta(true, P2cDistance::kAsPrinted),
          only_p2c(),       cope(),        cope(false)};
}

RelativeScore made(const RelativeSpec& spec) {
  auto score = RelativeScore::make(spec);
  EXPECT_TRUE(score) << score.error().line();
  return *std::move(score);
}

/// A batch of two, of which row 1 is asked for.
struct Data {
  std::int64_t queries, keys, kv_heads;
  std::vector<float> q, k;

  Data(std::int64_t query_count, std::int64_t key_count, std::int64_t key_heads = 2)
      : queries(query_count),
        keys(key_count),
        kv_heads(key_heads),
        q(sixteenths(2 * query_count * kHeads * kDim, 10)),
        k(sixteenths(2 * key_count * key_heads * kDim, 11)) {}

  RelativeBlock block(const BiasAxis& at_queries, const BiasAxis& at_keys) {
    RelativeBlock b;
    b.q = HeadsView::bshd(q.data(), DType::kFloat32, 2, queries, kHeads, kDim);
    b.k = HeadsView::bshd(k.data(), DType::kFloat32, 2, keys, kv_heads, kDim);
    b.queries = at_queries;
    b.keys = at_keys;
    b.row = 1;
    return b;
  }
  RelativeBlock block(std::int64_t first_query, std::int64_t first_key) {
    return block(BiasAxis::range(first_query, queries), BiasAxis::range(first_key, keys));
  }
};

std::vector<float> filled(const RelativeScore& score, const RelativeBlock& block) {
  const std::int64_t heads = block.heads > 0 ? block.heads : kHeads - block.first_head;
  std::vector<float> out(static_cast<std::size_t>(heads * block.queries.count * block.keys.count), NAN);
  const auto view = BiasView::contiguous(out.data(), block.queries.count, block.keys.count);
  const auto error = score.check(block, view);
  EXPECT_FALSE(error) << error->line();
  if (!error) score.fill(block, view);
  return out;
}

// ---- the formulas of the papers

Quad absolute(Quad x) { return x < 0 ? -x : x; }

/// Equation of DeBERTa-v2's code, the smallest whole step that is not below the logarithm; ties by powers.
std::int64_t bucket(std::int64_t n, std::int64_t span, std::int64_t max_distance) {
  const std::int64_t mid = span / 2, length = n < 0 ? -n : n;
  if (max_distance == 0 || length <= mid) return n;
  const Quad exact = logq(Quad(length) / mid) / logq(Quad(max_distance - 1) / mid) * (mid - 1);
  const Quad near = rintq(exact);
  const Quad step = absolute(exact - near) < Quad(1e-25) ? near : ceilq(exact);
  const auto of_length = mid + static_cast<std::int64_t>(step);
  return n < 0 ? -of_length : of_length;
}

std::int64_t clip(std::int64_t x, std::int64_t least, std::int64_t most) { return std::min(std::max(x, least), most); }

/// The channels of a query or key of the block.
std::vector<Quad> channels(const Data& d, bool of_query, std::int64_t token, std::int64_t head) {
  const std::int64_t heads = of_query ? kHeads : d.kv_heads, tokens = of_query ? d.queries : d.keys;
  const auto& from = of_query ? d.q : d.k;
  const std::int64_t at = ((tokens + token) * heads + (of_query ? head : head / (kHeads / d.kv_heads))) * kDim;
  return {from.data() + at, from.data() + at + kDim};
}

template <class Row>
Quad dot(const std::vector<Quad>& x, const Row& row) {
  Quad sum = 0;
  for (std::size_t c = 0; c < x.size(); ++c) sum += x[c] * Quad(row(c));
  return sum;
}

/// Sine and cosine of pair m at distance n, kept: they take a microsecond each.
std::pair<Quad, Quad> sinusoid(std::int64_t n, int m, int model_dim) {
  static std::map<std::tuple<std::int64_t, int, int>, std::pair<Quad, Quad>> kept;
  const auto [at, is_new] = kept.try_emplace({n, m, model_dim});
  if (is_new) {
    const Quad phase = n * powq(10000, Quad(-2 * m) / model_dim);
    at->second = {sinq(phase), cosq(phase)};
  }
  return at->second;
}

Quad plainly(const RelativeSpec& spec, const Data& data, const BiasAxis& queries, const BiasAxis& keys,
             std::int64_t head, std::int64_t i, std::int64_t j) {
  const auto q = channels(data, true, i, head), k = channels(data, false, j, head);
  const std::int64_t query = queries.at(i), key = keys.at(j);
  const Quad root = 1 / sqrtq(Quad(kDim));
  if (const auto* o = std::get_if<ShawRelative>(&spec)) {
    const std::int64_t rows = o->left + o->right + 1;
    const std::int64_t row = clip(key - query, -o->left, o->right) + o->left + (o->table_per_head ? head * rows : 0);
    return root * dot(q, [&](std::size_t c) { return o->key_table[static_cast<std::size_t>(row) * kDim + c]; });
  }
  if (const auto* o = std::get_if<TransformerXlRelative>(&spec)) {
    const std::int64_t n = clip(query - key, o->least_distance, o->most_distance);
    const auto h = static_cast<std::size_t>(head);
    const auto of_distance = [&](std::size_t c) {
      if (o->projection.empty())
        return Quad(o->table[(static_cast<std::size_t>(n - o->least_distance) * kHeads + h) * kDim + c]);
      Quad sum = 0;
      const int half = o->model_dim / 2;
      for (int m = 0; m < half; ++m) {
        const auto [sin, cos] = sinusoid(n, m, o->model_dim);
        const bool interleaved = o->order == SinusoidOrder::kInterleaved;
        const std::size_t of_sin = static_cast<std::size_t>(interleaved ? 2 * m : m),
                          of_cos = static_cast<std::size_t>(interleaved ? 2 * m + 1 : half + m);
        const float* const row = o->projection.data() + (h * kDim + c) * static_cast<std::size_t>(o->model_dim);
        sum += row[of_sin] * sin + row[of_cos] * cos;
      }
      return sum;
    };
    Quad sum = dot(q, of_distance);
    for (std::size_t c = 0; c < kDim; ++c) {
      if (!o->v.empty()) sum += o->v[h * kDim + c] * of_distance(c);
      if (!o->u.empty()) sum += o->u[h * kDim + c] * k[c];
    }
    return root * sum;
  }
  if (const auto* o = std::get_if<DebertaRelative>(&spec)) {
    const auto delta = [&](std::int64_t a, std::int64_t b) {
      return clip(bucket(a - b, o->span, o->max_distance) + o->span, 0, 2 * o->span - 1);
    };
    const auto row_of = [&](const std::vector<float>& table, std::int64_t row) {
      return [&table, row, head](std::size_t c) {
        return table[static_cast<std::size_t>(row * kHeads + head) * kDim + c];
      };
    };
    Quad sum = 0, terms = 1;
    if (!o->c2p_table.empty()) sum += dot(q, row_of(o->c2p_table, delta(query, key))), terms += 1;
    if (!o->p2c_table.empty()) {
      const bool printed = o->p2c_distance == P2cDistance::kAsPrinted;
      sum += dot(k, row_of(o->p2c_table, printed ? delta(key, query) : delta(query, key))), terms += 1;
    }
    return sum / sqrtq(terms * kDim);
  }
  const auto& o = std::get<CopeRelative>(spec);
  Quad p = 0;
  for (std::int64_t t = j; t < keys.count; ++t) {
    if (o.causal && keys.at(t) > query) continue;
    const auto of_key = channels(data, false, t, head);
    p += 1 / (1 + expq(-root * dot(q, [&](std::size_t c) { return of_key[c]; })));
  }
  if (p > o.positions - 1) p = o.positions - 1;
  const auto logit = [&](Quad m) {
    return dot(q, [&](std::size_t c) {
      return o.table[c * static_cast<std::size_t>(o.positions) + static_cast<std::size_t>(m)];
    });
  };
  const Quad w = p - floorq(p);
  return (1 - w) * logit(floorq(p)) + w * logit(ceilq(p));
}

void expect_block(const RelativeSpec& spec, const Data& data, const RelativeBlock& block, const std::vector<float>& got,
                  double tolerance = 4e-5) {
  std::size_t place = 0;
  const std::int64_t heads = block.heads > 0 ? block.heads : kHeads - block.first_head;
  const RelativeScore score = made(spec);
  for (std::int64_t h = block.first_head; h < block.first_head + heads; ++h)
    for (std::int64_t i = 0; i < block.queries.count; ++i)
      for (std::int64_t j = 0; j < block.keys.count; ++j) {
        const auto wanted = static_cast<double>(plainly(spec, data, block.queries, block.keys, h, i, j));
        ASSERT_NEAR(got[place], wanted, tolerance) << name_of(spec) << " head " << h << " at " << i << ", " << j;
        ++place;
        // A table made from sinusoids is rounded to float.
        const auto* xl = std::get_if<TransformerXlRelative>(&spec);
        ASSERT_NEAR(score.at(block, h, i, j), wanted, xl != nullptr && !xl->projection.empty() ? 2e-5 : 1e-12);
      }
}

TEST(Relative, EveryEntryIsItsFormulaOnEveryTarget) {
  for (const cpu::Target& target : cpu::targets()) {
    if (!target.runs_here()) continue;
    cpu::override_target(&target);
    for (const RelativeSpec& spec : every_spec()) {
      Data data(11, 17);
      const RelativeBlock block = data.block(6, 0);
      expect_block(spec, data, block, filled(made(spec), block));
    }
    cpu::override_target(nullptr);
  }
}

TEST(Relative, LongBlocksAreTheirEntries) {
  for (const RelativeSpec& spec : every_spec()) {
    Data data(2, 280, 1);
    RelativeBlock block = data.block(278, 0);
    block.first_head = 2;
    block.heads = 1;
    expect_block(spec, data, block, filled(made(spec), block));
    if (std::holds_alternative<CopeRelative>(spec)) continue;
    Data tall(280, 2, 4);
    RelativeBlock other = tall.block(-150, 0);
    other.heads = 1;
    expect_block(spec, tall, other, filled(made(spec), other));
  }
}

TEST(Relative, PositionsMayBeAnyListOrFarAwayOrNegative) {
  const std::vector<std::int64_t> some{5, 0, 11, 3, 3, -40, 900}, others{2, 10, 7, 11};
  for (const RelativeSpec& spec : every_spec()) {
    for (const std::int64_t far : {std::int64_t{10'000'000}, std::int64_t{-10'000'000}, std::int64_t{1} << 61}) {
      Data data(9, 12);
      const RelativeBlock block = data.block(far + 3, far);
      expect_block(spec, data, block, filled(made(spec), block));
    }
    if (std::holds_alternative<CopeRelative>(spec)) continue;
    Data data(7, 4);
    for (const auto& [queries, keys] :
         {std::pair{BiasAxis::of(some), BiasAxis::of(others)}, std::pair{BiasAxis::of(some), BiasAxis::range(1, 4)},
          std::pair{BiasAxis::range(1, 7), BiasAxis::of(others)}}) {
      const RelativeBlock block = data.block(queries, keys);
      expect_block(spec, data, block, filled(made(spec), block));
    }
  }
}

TEST(Relative, DistancesBeyondInt64AreItsEnds) {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min(),
                         kMost = std::numeric_limits<std::int64_t>::max();
  for (const RelativeSpec& spec : every_spec()) {
    if (std::holds_alternative<CopeRelative>(spec)) continue;
    Data data(2, 3);
    const RelativeScore score = made(spec);
    const auto near = filled(score, data.block(1 << 20, -(1 << 20)));
    EXPECT_EQ(filled(score, data.block(kMost - 1, kLeast)), near) << name_of(spec);
    EXPECT_EQ(filled(score, data.block(kLeast, kMost - 2)), filled(score, data.block(-(1 << 20), 1 << 20)));
  }
}

TEST(Relative, OnlyTheDistanceCounts) {
  for (const RelativeSpec& spec : every_spec()) {
    Data data(10, 13);
    const RelativeScore score = made(spec);
    const auto here = filled(score, data.block(3, 0));
    for (const std::int64_t shift : {std::int64_t{1}, std::int64_t{10'000'000}, -(std::int64_t{1} << 45)})
      EXPECT_EQ(filled(score, data.block(3 + shift, shift)), here) << name_of(spec) << " by " << shift;
  }
}

TEST(Relative, PartsOfABlockAreItsParts) {
  for (const RelativeSpec& spec : every_spec()) {
    Data data(11, 300);
    const RelativeScore score = made(spec);
    RelativeBlock block = data.block(289, 0);
    const auto whole = filled(score, block);
    // Some heads, some queries (of a view that begins later), some keys.
    block.first_head = 1;
    block.heads = 2;
    block.q.data = data.q.data() + 4 * kHeads * kDim;
    block.q.tokens = 5;
    block.queries = BiasAxis::range(293, 5);
    std::vector<float> part(2 * 5 * 40, NAN);
    score.fill_keys(block, 17, 40, BiasView::contiguous(part.data(), 5, 40));
    for (std::size_t h = 0; h < 2; ++h)
      for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t j = 0; j < 40; ++j)
          ASSERT_NEAR(part[(h * 5 + i) * 40 + j], whole[((h + 1) * 11 + i + 4) * 300 + j + 17], 1e-5) << name_of(spec);
  }
}

TEST(Relative, StridesAreFollowedAndAddAdds) {
  for (const RelativeSpec& spec : every_spec()) {
    Data data(4, 6);
    const RelativeScore score = made(spec);
    const RelativeBlock block = data.block(2, 0);
    const auto plain = filled(score, block);
    // [keys, queries, heads] from the end, two floats between keys.
    constexpr std::int64_t kKeyStride = -(4 * kHeads + 2);
    std::vector<float> memory(6 * -kKeyStride, -77.0f);
    const BiasView view{memory.data() - 5 * kKeyStride, 1, kHeads, kKeyStride};
    score.fill(block, view);
    EXPECT_EQ(std::count(memory.begin(), memory.end(), -77.0f), 12);
    score.add(block, view);
    for (std::int64_t h = 0; h < kHeads; ++h)
      for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t j = 0; j < 6; ++j)
          EXPECT_NEAR(view.at(h, i, j), 2.0f * plain[static_cast<std::size_t>((h * 4 + i) * 6 + j)], 2e-5);
  }
}

TEST(Relative, NarrowDtypesAreWidened) {
  for (const RelativeSpec& spec : every_spec()) {
    Data data(9, 9);
    const RelativeScore score = made(spec);
    const auto wide = filled(score, data.block(0, 0));
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
      std::vector<std::uint16_t> q(data.q.size()), k(data.k.size());
      const auto narrow = cpu::active_target().kernels->attention.narrow[static_cast<std::size_t>(dtype)];
      narrow(data.q.data(), static_cast<std::int64_t>(q.size()), q.data());
      narrow(data.k.data(), static_cast<std::int64_t>(k.size()), k.data());
      RelativeBlock block = data.block(0, 0);
      block.q = HeadsView::bshd(q.data(), dtype, 2, 9, kHeads, kDim);
      block.k = HeadsView::bshd(k.data(), dtype, 2, 9, 2, kDim);
      const auto got = filled(score, block);
      for (std::size_t e = 0; e < wide.size(); ++e) ASSERT_NEAR(got[e], wide[e], 2e-5) << name_of(spec);
    }
  }
}

// ---- laws of one kind

TEST(Shaw, IsFlatBeyondItsClip) {
  const RelativeScore score = made(shaw());
  Data data(1, 200);
  const auto before = filled(score, data.block(1000, 0)), behind = filled(score, data.block(-1000, 0));
  for (std::size_t h = 0; h < kHeads; ++h)
    for (std::size_t j = 1; j < 200; ++j) {
      EXPECT_EQ(before[h * 200 + j], before[h * 200]);
      EXPECT_EQ(behind[h * 200 + j], behind[h * 200]);
    }
  EXPECT_NE(before[0], behind[0]);
  // At the clip, and one before it.
  EXPECT_EQ(filled(score, data.block(5, 0))[0], before[0]);
  EXPECT_NE(filled(score, data.block(4, 0))[0], before[0]);
}

// What the papers' code does: the products of every query with every distance, padded by a column, seen as if a row had
// one entry less, cut.
TEST(TransformerXl, RelativeShiftIsTheDirectEntry) {
  TransformerXlRelative o = transformer_xl(-12, 12);
  o.clamp = false;
  o.u.clear();
  const RelativeScore score = made(o);
  constexpr std::int64_t kTokens = 13, kDistances = 25;
  Data data(kTokens, kTokens);
  const RelativeBlock block = data.block(0, 0);
  const auto direct = filled(score, block);
  for (std::int64_t h = 0; h < kHeads; ++h) {
    // [kTokens, 1 + kDistances]: a zero, then distances from the largest down.
    std::vector<double> padded;
    for (std::int64_t i = 0; i < kTokens; ++i) {
      padded.push_back(0.0);
      for (std::int64_t n = 12; n >= -12; --n) {
        double sum = 0.0;
        for (std::int64_t c = 0; c < kDim; ++c)
          sum += static_cast<double>((data.q[static_cast<std::size_t>(((kTokens + i) * kHeads + h) * kDim + c)] +
                                      o.v[static_cast<std::size_t>(h * kDim + c)]) *
                                     o.table[static_cast<std::size_t>(((n + 12) * kHeads + h) * kDim + c)]);
        padded.push_back(sum / std::sqrt(static_cast<double>(kDim)));
      }
    }
    // Seen as [1 + kDistances, kTokens], its first row dropped, seen as [kTokens, kDistances] again.
    for (std::int64_t i = 0; i < kTokens; ++i)
      for (std::int64_t j = 0; j < kTokens; ++j)
        EXPECT_NEAR(direct[static_cast<std::size_t>((h * kTokens + i) * kTokens + j)],
                    padded[static_cast<std::size_t>(kTokens + i * kDistances + j)], 1e-5);
  }
}

TEST(TransformerXl, AKeyBehindItsQueryTakesTheFirstRowOfACausalTable) {
  TransformerXlRelative o = transformer_xl(0, 30);
  o.clamp = false;
  o.u.clear();
  Data data(1, 9);
  const auto got = filled(made(o), data.block(4, 0));
  for (std::size_t h = 0; h < kHeads; ++h)
    for (std::size_t j = 5; j < 9; ++j) EXPECT_EQ(got[h * 9 + j], got[h * 9 + 4]);
}

/// With keys (or queries) of one 1 an entry reads a number of the table, which is that of its row.
DebertaRelative counting_rows(bool c2p, P2cDistance p2c) {
  DebertaRelative o;
  o.heads = 1;
  o.head_dim = 1;
  o.span = 8;
  o.scale = 1.0;
  auto& table = c2p ? o.c2p_table : o.p2c_table;
  for (int row = 0; row < 16; ++row) table.push_back(static_cast<float>(row));
  o.p2c_distance = p2c;
  return o;
}

float row_read(const DebertaRelative& o, std::int64_t query, std::int64_t key) {
  float one = 1.0f, out = 0.0f;
  RelativeBlock block;
  block.q = block.k = HeadsView::bshd(&one, DType::kFloat32, 1, 1, 1, 1);
  block.queries = BiasAxis::range(query, 1);
  block.keys = BiasAxis::range(key, 1);
  made(o).fill(block, BiasView::contiguous(&out, 1, 1));
  return out;
}

TEST(Deberta, P2cTakesTheKeysViewAsPrintedAndTheQuerysAsTrained) {
  const auto c2p = counting_rows(true, P2cDistance::kAsCheckpoints);
  const auto trained = counting_rows(false, P2cDistance::kAsCheckpoints);
  const auto printed = counting_rows(false, P2cDistance::kAsPrinted);
  EXPECT_EQ(row_read(c2p, 7, 2), 8 + 5);
  EXPECT_EQ(row_read(trained, 7, 2), 8 + 5);
  EXPECT_EQ(row_read(printed, 7, 2), 8 - 5);
  EXPECT_EQ(row_read(printed, 2, 7), 8 + 5);
  // The two ends of a span are not alike: -span has a row, span has not.
  EXPECT_EQ(row_read(trained, 100, 0), 15);
  EXPECT_EQ(row_read(trained, 0, 100), 0);
  EXPECT_EQ(row_read(printed, 100, 0), 0);
  EXPECT_EQ(row_read(printed, 0, 100), 15);
}

TEST(Deberta, BucketsBeginWhereWholeNumberArithmeticSays) {
  // Of v2 and v3: 128 alone, then ceil(ln(n / 128) / ln(511 / 128) * 127).
  const auto starts = *deberta_bucket_starts(256, 512);
  ASSERT_EQ(starts.size(), 257u);
  for (std::int64_t n = 0, of_n = 0; n < 3000; ++n) {
    while (of_n < 256 && starts[static_cast<std::size_t>(of_n) + 1] <= n) ++of_n;
    ASSERT_EQ(of_n, std::min(bucket(n, 256, 512), std::int64_t{256})) << n;
  }
  EXPECT_EQ(starts[255], 506);  // 511 is the last of bucket 255, exactly
  EXPECT_EQ(starts[256], 512);
  // Boundaries that are whole: 10 is the last of bucket 6, 20 of 7, 40 of 8, 80 of 9.
  EXPECT_EQ(*deberta_bucket_starts(10, 81), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 11, 21, 41, 81}));
  // Odd, and with more steps than distances.
  EXPECT_EQ(*deberta_bucket_starts(9, 6), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 5, 5, 6, 6}));
  EXPECT_EQ(deberta_bucket_starts(7, 512).error().line(), "span: want a number in [8, 4096], got 7");
  EXPECT_EQ(deberta_bucket_starts(256, 129).error().line(), "max_distance: want a number in [130, 2^20], got 129");
}

TEST(Deberta, SkippedBucketsAreFilledToo) {
  DebertaRelative o = deberta(true);
  o.span = 9;
  o.max_distance = 6;
  o.c2p_table.resize(18 * kHeads * kDim);
  o.p2c_table.resize(18 * kHeads * kDim);
  Data data(20, 20);
  const RelativeBlock block = data.block(0, 0);
  expect_block(o, data, block, filled(made(o), block));
}

/// Queries of one 1 and keys of one number: gates are all sigmoid(number), table[0, m] = m reads the position.
float position_read(float gate, std::int64_t query, std::size_t key, int positions = 64) {
  CopeRelative o;
  o.heads = o.head_dim = 1;
  o.positions = positions;
  for (int m = 0; m < positions; ++m) o.table.push_back(static_cast<float>(m));
  std::vector<float> q{1.0f}, k(50, gate), out(50);
  RelativeBlock block;
  block.q = HeadsView::bshd(q.data(), DType::kFloat32, 1, 1, 1, 1);
  block.k = HeadsView::bshd(k.data(), DType::kFloat32, 1, 50, 1, 1);
  block.queries = BiasAxis::range(query, 1);
  block.keys = BiasAxis::range(0, 50);
  const RelativeScore score = made(o);
  const auto view = BiasView::contiguous(out.data(), 1, 50);
  EXPECT_FALSE(score.check(block, view));
  score.fill(block, view);
  return out[key];
}

TEST(Cope, OpenGatesCountTokensAndShutOnesNone) {
  for (const std::size_t key : {0u, 1u, 30u, 40u}) {
    EXPECT_EQ(position_read(100.0f, 40, key), 40.0f - static_cast<float>(key) + 1.0f);
    EXPECT_EQ(position_read(-1000.0f, 40, key), 0.0f);
    EXPECT_EQ(position_read(0.0f, 40, key), (40.0f - static_cast<float>(key) + 1.0f) / 2.0f);
  }
  EXPECT_EQ(position_read(100.0f, 40, 45), 0.0f) << "behind its query";
  EXPECT_EQ(position_read(100.0f, 49, 0, 20), 19.0f) << "the last position";
  EXPECT_EQ(position_read(NAN, 40, 30), 63.0f) << "no place outside of the table";
}

// ---- Shaw's values

TEST(Shaw, ValuesAreAddedByProbability) {
  for (const bool per_head : {false, true}) {
    const ShawRelative o = shaw(per_head);
    const RelativeScore score = made(o);
    ASSERT_TRUE(score.has_values());
    constexpr std::int64_t kQueries = 6, kKeys = 40;
    std::vector<float> p = sixteenths(2 * kQueries * kKeys, 20);
    std::vector<float> out(kQueries * kHeads * 7, 1.0f);
    RelativeBlock block;
    block.queries = BiasAxis::range(20, kQueries);
    block.keys = BiasAxis::range(3, kKeys);
    block.first_head = 1;
    block.heads = 2;
    const auto view = HeadsView::bshd(out.data(), DType::kFloat32, 1, kQueries, kHeads, 7);
    const auto of_p = ConstBiasView::contiguous(p.data(), kQueries, kKeys);
    ASSERT_FALSE(score.check_values(block, of_p, view));
    score.add_values(block, of_p, view);
    for (std::int64_t i = 0; i < kQueries; ++i)
      for (std::int64_t h = 0; h < kHeads; ++h)
        for (std::int64_t c = 0; c < 7; ++c) {
          double wanted = 1.0;
          for (std::int64_t j = 0; j < kKeys && h >= 1 && h < 3; ++j) {
            const std::int64_t row = clip(3 + j - 20 - i, -5, 3) + 5 + (per_head ? 9 * h : 0);
            wanted += static_cast<double>(of_p.at(h - 1, i, j) * o.value_table[static_cast<std::size_t>(row * 7 + c)]);
          }
          EXPECT_NEAR(out[static_cast<std::size_t>((i * kHeads + h) * 7 + c)], wanted, 1e-4);
        }
  }
}

TEST(Shaw, ValuesOfListsAndBlocksAddUpToTheWhole) {
  const RelativeScore score = made(shaw());
  constexpr std::int64_t kQueries = 5, kKeys = 30;
  const std::vector<float> p = sixteenths(kHeads * kQueries * kKeys, 21), d_out = sixteenths(kQueries * kHeads * 7, 22);
  const auto view = [](std::vector<float>& x) {
    return HeadsView::bshd(x.data(), DType::kFloat32, 1, kQueries, kHeads, 7);
  };
  const auto of_p = ConstBiasView::contiguous(p.data(), kQueries, kKeys);
  std::vector<std::int64_t> list(kKeys);
  for (std::size_t j = 0; j < list.size(); ++j) list[j] = static_cast<std::int64_t>(j);
  struct Sums {
    std::vector<float> out, d_p;
    std::vector<double> d_parameters;
  };
  const auto run = [&](const std::vector<std::pair<std::int64_t, std::int64_t>>& parts, bool by_list) {
    Sums s{std::vector<float>(kQueries * kHeads * 7), std::vector<float>(p.size()),
           std::vector<double>(score.parameter_count())};
    auto d = d_out;
    for (const auto& [first, count] : parts) {
      RelativeBlock block;
      block.queries = BiasAxis::range(12, kQueries);
      block.keys = by_list ? BiasAxis{list.data() + first, 0, count} : BiasAxis::range(first, count);
      auto part = of_p;
      part.data += first;
      BiasView d_part{s.d_p.data() + first, of_p.head_stride, of_p.query_stride, 1};
      score.add_values(block, part, view(s.out));
      EXPECT_FALSE(score.add_value_gradient(block, part, view(d), d_part, s.d_parameters));
    }
    return s;
  };
  const Sums whole = run({{0, kKeys}}, false);
  // <d_out, out> is linear in both: its derivatives by p and by the table.
  double by_out = 0, by_p = 0, by_table = 0;
  for (std::size_t e = 0; e < whole.out.size(); ++e) by_out += static_cast<double>(whole.out[e] * d_out[e]);
  for (std::size_t e = 0; e < p.size(); ++e) by_p += static_cast<double>(whole.d_p[e] * p[e]);
  const auto& values = score.parameters().back();
  ASSERT_EQ(values.name, "value_table");
  for (std::size_t e = 0; e < values.size; ++e)
    by_table += whole.d_parameters[values.offset + e] * static_cast<double>(shaw().value_table[e]);
  EXPECT_NEAR(by_out, by_p, 1e-3);
  EXPECT_NEAR(by_out, by_table, 1e-3);
  for (std::size_t e = 0; e < values.offset; ++e) EXPECT_EQ(whole.d_parameters[e], 0.0);
  for (const Sums& other : {run({{0, 11}, {11, 19}}, false), run({{0, kKeys}}, true)}) {
    for (std::size_t e = 0; e < whole.out.size(); ++e) EXPECT_NEAR(other.out[e], whole.out[e], 1e-4);
    for (std::size_t e = 0; e < p.size(); ++e) EXPECT_NEAR(other.d_p[e], whole.d_p[e], 1e-5);
    for (std::size_t e = 0; e < score.parameter_count(); ++e)
      EXPECT_NEAR(other.d_parameters[e], whole.d_parameters[e], 1e-9);
  }
}

// ---- gradients

std::vector<float*> numbers_of(RelativeSpec& spec) {
  std::vector<float*> out;
  const auto all = [&](std::vector<float>& x) {
    for (float& value : x) out.push_back(&value);
  };
  if (auto* o = std::get_if<ShawRelative>(&spec)) all(o->key_table), all(o->value_table);
  if (auto* o = std::get_if<TransformerXlRelative>(&spec))
    all(o->projection.empty() ? o->table : o->projection), all(o->u), all(o->v);
  if (auto* o = std::get_if<DebertaRelative>(&spec)) all(o->c2p_table), all(o->p2c_table);
  if (auto* o = std::get_if<CopeRelative>(&spec)) all(o->table);
  return out;
}

struct Gradient {
  std::vector<float> d_q, d_k;
  std::vector<double> d_parameters;

  Gradient(const RelativeScore& score, const Data& data)
      : d_q(data.q.size()), d_k(data.k.size()), d_parameters(score.parameter_count()) {}
  RelativeGradient view(const Data& data) {
    return {HeadsView::bshd(d_q.data(), DType::kFloat32, 2, data.queries, kHeads, kDim),
            HeadsView::bshd(d_k.data(), DType::kFloat32, 2, data.keys, data.kv_heads, kDim), d_parameters};
  }
};

TEST(RelativeGradient, IsTheDerivativeOfTheFormula) {
  for (RelativeSpec spec : every_spec()) {
    const RelativeScore score = made(spec);
    Data data(4, 9);
    const RelativeBlock block = data.block(5, 0);
    const std::vector<float> d = sixteenths(kHeads * 4 * 9, 12);
    Gradient got(score, data);
    const auto error = score.add_gradient(block, ConstBiasView::contiguous(d.data(), 4, 9), got.view(data));
    ASSERT_FALSE(error) << error->line();
    const auto loss = [&] {
      Quad sum = 0;
      std::size_t place = 0;
      for (std::int64_t h = 0; h < kHeads; ++h)
        for (std::int64_t i = 0; i < 4; ++i)
          for (std::int64_t j = 0; j < 9; ++j)
            sum += Quad(d[place++]) * plainly(spec, data, block.queries, block.keys, h, i, j);
      return sum;
    };
    const auto expect_slope = [&](float& number, double slope, const std::string& what) {
      const float here = number;
      number = here + 0x1p-12f;
      const Quad above = loss();
      number = here - 0x1p-12f;
      const auto wanted = static_cast<double>((above - loss()) / Quad(0x1p-11));
      number = here;
      EXPECT_NEAR(slope, wanted, 1e-4 * (1.0 + std::abs(wanted))) << name_of(spec) << ' ' << what;
    };
    const auto numbers = numbers_of(spec);
    ASSERT_EQ(numbers.size(), score.parameter_count());
    for (std::size_t p = 0; p < numbers.size(); p += 1 + numbers.size() / 12)
      expect_slope(*numbers[p], got.d_parameters[p], "parameter " + std::to_string(p));
    expect_slope(*numbers.back(), got.d_parameters.back(), "the last parameter");
    for (std::size_t e = data.q.size() / 2; e < data.q.size(); e += 31)
      expect_slope(data.q[e], static_cast<double>(got.d_q[e]), "q " + std::to_string(e));
    for (std::size_t e = data.k.size() / 2; e < data.k.size(); e += 31)
      expect_slope(data.k[e], static_cast<double>(got.d_k[e]), "k " + std::to_string(e));
    // Row 0 of the batch is not of the block.
    for (std::size_t e = 0; e < data.q.size() / 2; ++e) ASSERT_EQ(got.d_q[e], 0.0f);
    for (std::size_t e = 0; e < data.k.size() / 2; ++e) ASSERT_EQ(got.d_k[e], 0.0f);
  }
}

TEST(RelativeGradient, BlocksAndListsAddUpToTheWhole) {
  for (const RelativeSpec& spec : every_spec()) {
    const RelativeScore score = made(spec);
    Data data(6, 20);
    const RelativeBlock block = data.block(14, 0);
    const std::vector<float> d = sixteenths(kHeads * 6 * 20, 13);
    const auto of_d = ConstBiasView::contiguous(d.data(), 6, 20);
    Gradient whole(score, data), parts(score, data);
    ASSERT_FALSE(score.add_gradient(block, of_d, whole.view(data)));
    std::vector<std::int64_t> list{14, 15, 16, 17, 18, 19};
    for (const std::int64_t first_head : {0, 3})
      for (const std::int64_t first : {0, 2}) {
        RelativeBlock part = block;
        part.first_head = first_head;
        part.heads = first_head == 0 ? 3 : 1;
        const std::int64_t count = first == 0 ? 2 : 4;
        part.q.tokens = part.queries.count = count;
        part.q.data = data.q.data() + first * kHeads * kDim;
        part.queries.data = list.data() + first;
        RelativeGradient to = parts.view(data);
        to.d_q.data = parts.d_q.data() + first * kHeads * kDim;
        to.d_q.tokens = count;
        auto of_part = of_d;
        of_part.data = &of_d.at(first_head, first, 0);
        ASSERT_FALSE(score.add_gradient(part, of_part, to));
      }
    for (std::size_t e = 0; e < whole.d_q.size(); ++e) ASSERT_NEAR(parts.d_q[e], whole.d_q[e], 1e-4) << name_of(spec);
    for (std::size_t e = 0; e < whole.d_k.size(); ++e) ASSERT_NEAR(parts.d_k[e], whole.d_k[e], 1e-4) << name_of(spec);
    for (std::size_t e = 0; e < whole.d_parameters.size(); ++e)
      ASSERT_NEAR(parts.d_parameters[e], whole.d_parameters[e], 1e-8) << name_of(spec);
    // What is not wanted is left out.
    Gradient only_q(score, data);
    RelativeGradient to = only_q.view(data);
    to.d_k = {};
    to.d_parameters = {};
    ASSERT_FALSE(score.add_gradient(block, of_d, to));
    EXPECT_EQ(only_q.d_q, whole.d_q);
    EXPECT_EQ(std::count(only_q.d_k.begin(), only_q.d_k.end(), 0.0f), static_cast<std::ptrdiff_t>(only_q.d_k.size()));
  }
}

TEST(Relative, ParametersAreNamedInOrder) {
  std::string all;
  for (const RelativeSpec& spec : every_spec()) {
    const RelativeScore score = made(spec);
    std::size_t offset = 0;
    all += std::string(name_of(spec)) + ':';
    for (const BiasParameter& p : score.parameters()) {
      EXPECT_EQ(p.offset, offset);
      offset += p.size;
      all += ' ' + std::string(p.name);
    }
    EXPECT_EQ(offset, score.parameter_count());
    all += '\n';
  }
  EXPECT_EQ(
      all,
      "shaw: key_table value_table\nshaw: key_table value_table\ntransformer_xl: table u v\ntransformer_xl: table\n"
      "transformer_xl: projection u v\ntransformer_xl: projection u v\ndeberta: c2p_table p2c_table\n"
      "deberta: c2p_table p2c_table\ndeberta: c2p_table p2c_table\ndeberta: p2c_table\ncope: table\ncope: table\n");
}

TEST(Relative, SaysWhatItNeeds) {
  const auto needs = [](const RelativeSpec& spec) {
    const RelativeScore s = made(spec);
    return std::string(s.reads_queries() ? "q" : "") + (s.reads_keys() ? "k" : "") + (s.has_values() ? "v" : "") +
           (s.needs_whole_rows() ? "!" : "");
  };
  EXPECT_EQ(needs(shaw()), "qv");
  EXPECT_EQ(needs(transformer_xl()), "qk");
  EXPECT_EQ(needs(without_biases()), "q");
  EXPECT_EQ(needs(deberta(false)), "qk");
  EXPECT_EQ(needs(only_p2c()), "k");
  EXPECT_EQ(needs(cope()), "qk!");
  ShawRelative values = shaw();
  values.key_table.clear();
  EXPECT_EQ(needs(values), "v");
  EXPECT_DOUBLE_EQ(made(shaw()).softmax_scale(), 1.0 / std::sqrt(20.0));
  EXPECT_DOUBLE_EQ(made(deberta(true)).softmax_scale(), 1.0 / std::sqrt(60.0));
  EXPECT_DOUBLE_EQ(made(only_p2c()).softmax_scale(), 1.0 / std::sqrt(40.0));
}

// ---- what is refused, by name

TEST(RelativeRefuses, WrongOptionsByName) {
  const auto with = [](auto options, const auto& change) {
    change(options);
    const auto score = RelativeScore::make(options);
    return score ? "nothing" : score.error().line();
  };
  EXPECT_EQ(with(shaw(), [](auto& o) { o.heads = 0; }), "shaw.heads: want a number in [1, 65536], got 0");
  EXPECT_EQ(with(shaw(), [](auto& o) { o.head_dim = 5000; }), "shaw.head_dim: want a number in [1, 4096], got 5000");
  EXPECT_EQ(with(shaw(), [](auto& o) { o.left = -1; }), "shaw.left: want a number in [0, 16777216], got -1");
  EXPECT_EQ(with(shaw(), [](auto& o) { o.key_table.pop_back(); }), "shaw.key_table.size: want 180, got 179");
  EXPECT_EQ(with(shaw(), [](auto& o) { o.key_table.clear(), o.value_table.clear(); }),
            "shaw.key_table.size: want 180, got 0");
  EXPECT_EQ(with(shaw(true), [](auto& o) { o.value_table.pop_back(); }), "shaw.value_table.size: want 252, got 251");
  EXPECT_EQ(with(shaw(), [](auto& o) { o.key_table[3] = NAN; }), "shaw.key_table[3]: want a finite number, got nan");
  EXPECT_EQ(with(shaw(), [](auto& o) { o.scale = 0; }), "shaw.scale: want a number > 0 (2^-60 to 2^60), got 0");
  EXPECT_EQ(with(transformer_xl(), [](auto& o) { o.most_distance = -61; }),
            "transformer_xl.most_distance: want a number in [-60, 16777155], got -61");
  EXPECT_EQ(with(transformer_xl(), [](auto& o) { o.table.pop_back(); }),
            "transformer_xl.table.size: want 9680, got 9679");
  EXPECT_EQ(with(transformer_xl(), [](auto& o) { o.u.pop_back(); }), "transformer_xl.u.size: want 80, got 79");
  EXPECT_EQ(with(projected(), [](auto& o) { o.table.assign(5, 0); }), "transformer_xl.table.size: want 0, got 5");
  EXPECT_EQ(with(projected(), [](auto& o) { o.model_dim = 7; }),
            "transformer_xl.model_dim: want an even number, got 7");
  EXPECT_EQ(with(projected(), [](auto& o) { o.order = SinusoidOrder::kUnset; }),
            "transformer_xl.order: want a number in [1, 4], got 0");
  EXPECT_EQ(with(deberta(false), [](auto& o) { o.span = 0; }), "deberta.span: want a number in [1, 16777216], got 0");
  EXPECT_EQ(with(deberta(true), [](auto& o) { o.max_distance = 6; }),
            "deberta.max_distance: want a number in [7, 2^20], got 6");
  EXPECT_EQ(with(deberta(true), [](auto& o) { o.p2c_table.pop_back(); }),
            "deberta.p2c_table.size: want 1600, got 1599");
  EXPECT_EQ(with(cope(), [](auto& o) { o.positions = 1; }), "cope.positions: want a number in [2, 4096], got 1");
  EXPECT_EQ(with(cope(), [](auto& o) { o.table.pop_back(); }), "cope.table.size: want 180, got 179");
}

TEST(RelativeRefuses, BlocksThatDoNotFit) {
  Data data(3, 5);
  std::vector<float> memory(1000);
  const auto with = [&](const RelativeSpec& spec, const auto& change) {
    RelativeBlock block = data.block(2, 0);
    BiasView out = BiasView::contiguous(memory.data(), 3, 5);
    change(block, out);
    const auto error = made(spec).check(block, out);
    return error ? error->line() : "nothing";
  };
  EXPECT_EQ(with(shaw(), [](auto&, auto& out) { out.data = nullptr; }), "out.data: want an address, got null");
  EXPECT_EQ(with(shaw(), [](auto&, auto& out) { out.query_stride = 0; }),
            "out.query_stride: want a stride other than 0 on an axis of 3 that is written, got 0");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.q.tokens = 4; }), "q.tokens: want 3, got 4");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.q.heads = 2; }), "q.heads: want 4, got 2");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.q.head_dim = 8; }), "q.head_dim: want 20, got 8");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.q.data = nullptr; }), "q.data: want an address, got null");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.k = {}; }), "nothing") << "its keys are not looked at";
  EXPECT_EQ(with(only_p2c(), [](auto& b, auto&) { b.q = {}; }), "nothing");
  EXPECT_EQ(with(deberta(true), [](auto& b, auto&) { b.k.heads = 3; }),
            "k.heads: want a number that divides the 4 heads, got 3");
  EXPECT_EQ(with(deberta(true), [](auto& b, auto&) { b.k.tokens = 4; }), "k.tokens: want 5, got 4");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.row = 2; }), "row: want a row of q, 0 to 1, got 2");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.first_head = 4; }), "first_head: want 0 to 3, got 4");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.first_head = 2, b.heads = 3; }), "heads: want 0 to 2, got 3");
  EXPECT_EQ(with(shaw(), [](auto& b, auto&) { b.keys = BiasAxis::range(0, -1); }),
            "keys.count: want a number in [0, 2^40], got -1");
  TransformerXlRelative narrow = transformer_xl(-3, 4);
  EXPECT_EQ(with(narrow, [](auto& b, auto&) { b.queries.first = 50; }), "nothing");
  narrow.clamp = false;
  EXPECT_EQ(with(narrow, [](auto&, auto&) {}), "nothing");
  EXPECT_EQ(with(narrow, [](auto& b, auto&) { b.queries.first = 3; }),
            "queries: want distances of the table, -3 to 4, got 5");
  EXPECT_EQ(with(narrow, [](auto& b, auto&) { b.queries.first = 0; }),
            "queries: want distances of the table, -3 to 4, got -4");
  EXPECT_EQ(with(cope(), [](auto& b, auto&) { b.queries.first = 3; }),
            "keys: want all keys up to the last query's position, 5, for rows are whole, got the last at 4");
  EXPECT_EQ(with(cope(false), [](auto& b, auto&) { b.queries.first = 3; }), "nothing");
  const std::vector<std::int64_t> list{0, 1, 2, 3, 4};
  EXPECT_EQ(with(cope(), [&](auto& b, auto&) { b.keys = BiasAxis::of(list); }),
            "keys.data: want a run of positions, for rows are whole, got a list");
}

TEST(RelativeRefuses, GradientsAndValuesThatDoNotFit) {
  Data data(3, 5);
  const RelativeScore score = made(transformer_xl());
  std::vector<float> d(kHeads * 3 * 5);
  const auto with = [&](const auto& change) {
    RelativeBlock block = data.block(2, 0);
    Gradient gradient(score, data);
    RelativeGradient to = gradient.view(data);
    change(to);
    const auto error = score.add_gradient(block, ConstBiasView::contiguous(d.data(), 3, 5), to);
    return error ? error->line() : "nothing";
  };
  EXPECT_EQ(with([](auto& to) { to.d_q.dtype = DType::kFloat16; }), "d_q.dtype: want float32, got float16");
  EXPECT_EQ(with([](auto& to) { to.d_q.tokens = 2; }), "d_q.tokens: want 3, got 2");
  EXPECT_EQ(with([](auto& to) { to.d_k.head_stride = 0; }),
            "d_k.head_stride: want a stride other than 0 on an axis of 2 that is written, got 0");
  EXPECT_EQ(with([](auto& to) { to.d_parameters = to.d_parameters.first(7); }), "d_parameters.size: want 9840, got 7");
  EXPECT_EQ(score.add_gradient(data.block(2, 0), {}, {})->line(), "d_score.data: want an address, got null");

  std::vector<float> out(3 * kHeads * 7);
  auto view = HeadsView::bshd(out.data(), DType::kFloat32, 1, 3, kHeads, 7);
  RelativeBlock block;
  block.queries = BiasAxis::range(0, 3);
  block.keys = BiasAxis::range(0, 5);
  const auto p = ConstBiasView::contiguous(d.data(), 3, 5);
  EXPECT_EQ(score.check_values(block, p, view)->line(),
            "spec: want values to add, got transformer_xl without a value_table");
  EXPECT_FALSE(made(shaw()).check_values(block, p, view));
  view.head_dim = 8;
  EXPECT_EQ(made(shaw()).check_values(block, p, view)->line(), "out.head_dim: want 7, got 8");
  view.head_dim = 7;
  view.dtype = DType::kBFloat16;
  EXPECT_EQ(made(shaw()).check_values(block, p, view)->line(), "out.dtype: want float32, got bfloat16");
}

}  // namespace
}  // namespace ropewalk
