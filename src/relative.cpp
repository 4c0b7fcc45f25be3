// Where encodings of queries and keys meet kernels: blocks of scores, their gradients, Shaw's values.
#include <ropewalk/relative.hpp>

#include "cpu/dispatch.hpp"
#include "math/field_checks.hpp"
#include "math/relative/prepared.hpp"
#include "view_checks.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace ropewalk {

struct RelativeScore::Prepared : math::PreparedRelative {};

namespace {

using math::CopeTerm;
using math::index;
using math::PreparedRelative;
using math::TableTerm;

// So many queries (or keys) go over the rows of a table at once, as far as their channels fit.
constexpr std::int64_t kTile = 8, kStageFloats = 8192;
// Rows of a table, or keys, that they go over before results are gathered.
constexpr std::int64_t kChunk = 256;
// Keys of CoPE's walk whose gates are opened together; those behind the last position were for nothing.
constexpr std::int64_t kKeysOfWalk = 64;

using Stage = std::array<float, static_cast<std::size_t>(kStageFloats)>;
using Products = std::array<float, static_cast<std::size_t>(kTile* kChunk)>;

const cpu::AttentionKernels& kernels() noexcept { return cpu::active_target().kernels->attention; }

const std::byte* element(const HeadsView& x, std::int64_t row, std::int64_t token, std::int64_t head) noexcept {
  const std::int64_t at = row * x.batch_stride + token * x.token_stride + head * x.head_stride;
  return static_cast<const std::byte*>(x.data) + at * static_cast<std::int64_t>(size_of(x.dtype));
}
/// Of a view in float32.
float* written(const HeadsView& x, std::int64_t row, std::int64_t token, std::int64_t head) noexcept {
  return static_cast<float*>(x.data) + row * x.batch_stride + token * x.token_stride + head * x.head_stride;
}
void widen(const HeadsView& x, std::int64_t row, std::int64_t token, std::int64_t count, std::int64_t head,
           float* to) noexcept {
  kernels().widen[static_cast<std::size_t>(x.dtype)](element(x, row, token, head), x.token_stride, count, x.head_dim,
                                                     to, x.head_dim);
}

bool is_run(const BiasAxis& axis) noexcept { return axis.data == nullptr; }
BiasAxis part_of(const BiasAxis& axis, std::int64_t first, std::int64_t count) noexcept {
  return is_run(axis) ? BiasAxis::range(axis.first + first, count) : BiasAxis{axis.data + first, 0, count};
}

/// What of a call does not change from head to head.
struct Work {
  const PreparedRelative& p;
  const RelativeBlock& block;
  std::int64_t heads;    // of the block
  std::int64_t dim;      // of a head
  std::int64_t sharing;  // heads to a key head

  Work(const PreparedRelative& prepared, const RelativeBlock& b) noexcept
      : p(prepared),
        block(b),
        heads(b.heads > 0 ? b.heads : prepared.heads - b.first_head),
        dim(prepared.head_dim),
        sharing(prepared.reads_keys() ? prepared.heads / b.k.heads : 1) {}

  bool is_empty() const noexcept { return block.queries.count == 0 || block.keys.count == 0; }
  std::int64_t head(std::int64_t h) const noexcept { return block.first_head + h; }
  std::int64_t key_head(std::int64_t h) const noexcept { return head(h) / sharing; }
};

/// A term's side that is multiplied with its table, and the other one.
struct Sides {
  const Work& work;
  const TableTerm& term;
  const HeadsView& x;
  const BiasAxis &own, &other;

  Sides(const Work& w, const TableTerm& t) noexcept
      : work(w),
        term(t),
        x(t.of_keys ? w.block.k : w.block.q),
        own(t.of_keys ? w.block.keys : w.block.queries),
        other(t.of_keys ? w.block.queries : w.block.keys) {}

  std::int64_t head_of_x(std::int64_t h) const noexcept { return term.of_keys ? work.key_head(h) : work.head(h); }
  std::int64_t row_at(std::int64_t a, std::int64_t b) const noexcept {
    const std::int64_t here = own.at(a), there = other.at(b);
    return term.row_of(term.of_keys ? math::distance(there, here) : math::distance(here, there));
  }
  template <class Float>
  Float& entry(const BasicBiasView<Float>& view, std::int64_t h, std::int64_t a, std::int64_t b) const noexcept {
    return term.of_keys ? view.at(h, b, a) : view.at(h, a, b);
  }
  void take(std::int64_t h, std::int64_t first, std::int64_t count, float* to) const noexcept {
    widen(x, work.block.row, first, count, head_of_x(h), to);
    const float* const added = term.added_of(work.head(h), work.dim);
    if (added == nullptr) return;
    for (std::int64_t a = 0; a < count; ++a)
      for (std::int64_t c = 0; c < work.dim; ++c) to[a * work.dim + c] += added[c];
  }
};

/// A tile of own, a chunk of other: entries of equal distance lie on diagonals, and neighbouring diagonals have
/// neighbouring rows, which every x of the tile is multiplied with once.
void add_table(const Work& work, const TableTerm& term, const BiasView& out) noexcept {
  const Sides sides(work, term);
  const bool by_diagonals = is_run(sides.own) && is_run(sides.other) && term.row_of.by_single_steps;
  const std::int64_t tile = by_diagonals ? std::clamp(kStageFloats / work.dim, std::int64_t{1}, kTile) : 1;
  const std::int64_t chunk = by_diagonals ? kChunk - kTile + 1 : 1;
  const auto scale = static_cast<float>(work.p.scale);
  Stage stage;
  Products products;
  std::array<std::int64_t, static_cast<std::size_t>(kChunk)> rows;
  for (std::int64_t h = 0; h < work.heads; ++h)
    for (std::int64_t a0 = 0; a0 < sides.own.count; a0 += tile) {
      const std::int64_t as = std::min(tile, sides.own.count - a0);
      sides.take(h, a0, as, stage.data());
      for (std::int64_t b0 = 0; b0 < sides.other.count; b0 += chunk) {
        const std::int64_t bs = std::min(chunk, sides.other.count - b0), diagonals = as + bs - 1;
        for (std::int64_t t = 0; t < diagonals; ++t)
          rows[index(t)] =
              sides.row_at(a0 + std::max(t - (bs - 1), std::int64_t{0}), b0 + std::max(bs - 1 - t, std::int64_t{0}));
        const auto [first, last] = std::minmax(rows[0], rows[index(diagonals - 1)]);
        kernels().scores_of_few[0]({.a = stage.data(),
                                    .a_stride = work.dim,
                                    .rows = as,
                                    .keys_at = term.row(work.head(h), first),
                                    .key_stride = term.row_stride,
                                    .keys = last - first + 1,
                                    .channels = work.dim,
                                    .out = products.data(),
                                    .out_stride = kChunk});
        const auto add = [&, first = first](std::int64_t a, std::int64_t b) {
          const std::int64_t row = rows[index(a - b + bs - 1)];
          sides.entry(out, h, a0 + a, b0 + b) += scale * products[index(a * kChunk + row - first)];
        };
        // Keys lie side by side in most blocks.
        if (term.of_keys)
          for (std::int64_t b = 0; b < bs; ++b)
            for (std::int64_t a = 0; a < as; ++a) add(a, b);
        else
          for (std::int64_t a = 0; a < as; ++a)
            for (std::int64_t b = 0; b < bs; ++b) add(a, b);
      }
    }
}

/// Transformer-XL's u . k, the same for every query.
void add_of_keys(const Work& work, const BiasView& out) noexcept {
  const RelativeBlock& block = work.block;
  const auto scale = static_cast<float>(work.p.scale);
  std::array<float, static_cast<std::size_t>(kChunk)> products;
  for (std::int64_t h = 0; h < work.heads; ++h)
    for (std::int64_t j0 = 0; j0 < block.keys.count; j0 += kChunk) {
      const std::int64_t keys = std::min(kChunk, block.keys.count - j0);
      kernels().scores_of_few[static_cast<std::size_t>(block.k.dtype)](
          {.a = work.p.of_keys.data() + work.head(h) * work.dim,
           .a_stride = work.dim,
           .rows = 1,
           .keys_at = element(block.k, block.row, j0, work.key_head(h)),
           .key_stride = block.k.token_stride,
           .keys = keys,
           .channels = work.dim,
           .out = products.data(),
           .out_stride = kChunk});
      for (std::int64_t i = 0; i < block.queries.count; ++i)
        for (std::int64_t j = 0; j < keys; ++j) out.at(h, i, j0 + j) += scale * products[index(j)];
    }
}

// ---- CoPE

double sigmoid(double x) noexcept { return 1.0 / (1.0 + math::fast_exp(-x)); }

/// Between which two rows of the table a sum of gates lies.
struct Between {
  std::size_t floor = 0, ceil = 0;
  double weight = 0.0;  // of the second

  Between(double sum, std::int64_t positions) noexcept {
    const double most = static_cast<double>(positions - 1), p = sum < most ? sum : most;  // a NaN is at the last one
    floor = static_cast<std::size_t>(p);
    weight = p - static_cast<double>(floor);
    ceil = floor + (weight > 0.0 ? 1 : 0);
  }
  template <class Float>
  double of(const Float* products) const noexcept {
    return (1.0 - weight) * static_cast<double>(products[floor]) + weight * static_cast<double>(products[ceil]);
  }
};

/// The keys before this one count; the others have gates of 0. Keys are a run.
std::int64_t end_of_counted(const CopeTerm& cope, std::int64_t query, const BiasAxis& keys) noexcept {
  if (!cope.causal) return keys.count;
  return std::clamp(math::distance(query, keys.first), std::int64_t{-1}, keys.count - 1) + 1;
}

/// Keys are walked from the last one down, so that a running sum is the position; those from first_key on, `count` of
/// them, are written.
void add_cope(const Work& work, std::int64_t first_key, std::int64_t count, const BiasView& out) noexcept {
  const RelativeBlock& block = work.block;
  const CopeTerm& cope = *work.p.cope;
  const std::int64_t tile = std::clamp(kStageFloats / std::max(work.dim, cope.positions), std::int64_t{1}, kTile);
  const double most = static_cast<double>(cope.positions - 1);
  Stage stage, of_positions;
  Products scores;
  for (std::int64_t h = 0; h < work.heads; ++h)
    for (std::int64_t i0 = 0; i0 < block.queries.count; i0 += tile) {
      const std::int64_t queries = std::min(tile, block.queries.count - i0);
      widen(block.q, block.row, i0, queries, work.head(h), stage.data());
      kernels().scores_of_few[0]({.a = stage.data(),
                                  .a_stride = work.dim,
                                  .rows = queries,
                                  .keys_at = cope.table.data(),
                                  .key_stride = work.dim,
                                  .keys = cope.positions,
                                  .channels = work.dim,
                                  .out = of_positions.data(),
                                  .out_stride = cope.positions});
      std::array<double, static_cast<std::size_t>(kTile)> sums{};
      std::array<std::int64_t, static_cast<std::size_t>(kTile)> ends{};  // behind the last key that counts
      const auto value_at = [&](std::int64_t a, double sum) {
        return static_cast<float>(work.p.scale *
                                  Between(sum, cope.positions).of(of_positions.data() + a * cope.positions));
      };
      std::int64_t end = first_key + count;
      for (std::int64_t a = 0; a < queries; ++a) {
        ends[index(a)] = end_of_counted(cope, block.queries.at(i0 + a), block.keys);
        end = std::max(end, ends[index(a)]);
      }
      for (std::int64_t begin = end; end > first_key; end = begin) {
        bool moves = false;  // some sum is still to grow
        for (std::int64_t a = 0; a < queries; ++a)
          moves = moves || (sums[index(a)] < most && ends[index(a)] > first_key);
        if (!moves) {
          for (std::int64_t a = 0; a < queries; ++a) {
            const float value = value_at(a, sums[index(a)]);
            for (std::int64_t j = std::min(end - first_key, count); j-- > 0;) out.at(h, i0 + a, j) += value;
          }
          break;
        }
        begin = std::max(first_key, end - kKeysOfWalk);
        kernels().scores_of_few[static_cast<std::size_t>(block.k.dtype)](
            {.a = stage.data(),
             .a_stride = work.dim,
             .rows = queries,
             .keys_at = element(block.k, block.row, begin, work.key_head(h)),
             .key_stride = block.k.token_stride,
             .keys = end - begin,
             .channels = work.dim,
             .out = scores.data(),
             .out_stride = kChunk});
        for (std::int64_t a = 0; a < queries; ++a) {
          double& sum = sums[index(a)];
          for (std::int64_t j = end - 1; j >= begin; --j) {
            if (sum < most && j < ends[index(a)])
              sum += sigmoid(cope.gate_scale * static_cast<double>(scores[index(a * kChunk + j - begin)]));
            if (j >= first_key + count) continue;
            out.at(h, i0 + a, j - first_key) += value_at(a, sum);
          }
        }
      }
    }
}

void clear(std::int64_t heads, std::int64_t queries, std::int64_t keys, const BiasView& out) noexcept {
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < queries; ++i)
      for (std::int64_t j = 0; j < keys; ++j) out.at(h, i, j) = 0.0f;
}

// ---- gradients

/// Sums of doubles on their way to a row of floats.
void add_rounded(const std::vector<double>& sums, const HeadsView& to, std::int64_t row, std::int64_t token,
                 std::int64_t head) noexcept {
  if (to.data == nullptr) return;
  float* const out = written(to, row, token, head);
  for (std::size_t c = 0; c < sums.size(); ++c) out[c] = static_cast<float>(static_cast<double>(out[c]) + sums[c]);
}

/// each(b, length, row): runs of `other` that share a row of the table.
template <class Each>
void for_each_row(const Sides& sides, std::int64_t a, const Each& each) {
  for (std::int64_t b = 0, end = 0; b < sides.other.count; b = end) {
    const std::int64_t row = sides.row_at(a, b);
    for (end = b + 1; end < sides.other.count && sides.row_at(a, end) == row;) ++end;
    each(b, end - b, row);
  }
}

/// d_table, laid out as the term's table, is null if it is not wanted.
void add_table_gradient(const Work& work, const TableTerm& term, const ConstBiasView& d_score,
                        const RelativeGradient& gradient, double* d_table) {
  const Sides sides(work, term);
  const auto dim = index(work.dim);
  std::vector<float> x(dim);
  std::vector<double> d_x(dim);
  for (std::int64_t h = 0; h < work.heads; ++h)
    for (std::int64_t a = 0; a < sides.own.count; ++a) {
      sides.take(h, a, 1, x.data());
      std::fill(d_x.begin(), d_x.end(), 0.0);
      for_each_row(sides, a, [&](std::int64_t b, std::int64_t length, std::int64_t row) {
        double sum = 0.0;
        for (std::int64_t e = b; e < b + length; ++e) sum += static_cast<double>(sides.entry(d_score, h, a, e));
        sum *= work.p.scale;
        if (sum == 0.0) return;
        const float* const of_row = term.row(work.head(h), row);
        for (std::size_t c = 0; c < dim; ++c) d_x[c] += sum * static_cast<double>(of_row[c]);
        if (d_table == nullptr) return;
        double* const d_row = d_table + (of_row - term.table.data());
        for (std::size_t c = 0; c < dim; ++c) d_row[c] += sum * static_cast<double>(x[c]);
      });
      add_rounded(d_x, term.of_keys ? gradient.d_k : gradient.d_q, work.block.row, a, sides.head_of_x(h));
      if (term.added.empty() || gradient.d_parameters.empty()) continue;
      double* const d_added = gradient.d_parameters.data() + term.offset_of_added + index(work.head(h)) * dim;
      for (std::size_t c = 0; c < dim; ++c) d_added[c] += d_x[c];
    }
}

void add_gradient_of_keys(const Work& work, const ConstBiasView& d_score, const RelativeGradient& gradient) {
  const auto dim = index(work.dim);
  std::vector<float> k(dim);
  std::vector<double> d_k(dim);
  for (std::int64_t h = 0; h < work.heads; ++h)
    for (std::int64_t j = 0; j < work.block.keys.count; ++j) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < work.block.queries.count; ++i) sum += static_cast<double>(d_score.at(h, i, j));
      sum *= work.p.scale;
      const float* const u = work.p.of_keys.data() + index(work.head(h)) * dim;
      for (std::size_t c = 0; c < dim; ++c) d_k[c] = sum * static_cast<double>(u[c]);
      add_rounded(d_k, gradient.d_k, work.block.row, j, work.key_head(h));
      if (gradient.d_parameters.empty()) continue;
      widen(work.block.k, work.block.row, j, 1, work.key_head(h), k.data());
      double* const d_u = gradient.d_parameters.data() + work.p.offset_of_keys + index(work.head(h)) * dim;
      for (std::size_t c = 0; c < dim; ++c) d_u[c] += sum * static_cast<double>(k[c]);
    }
}

double product(const float* a, const float* b, std::int64_t dim) noexcept {
  double sum = 0.0;
  for (std::int64_t c = 0; c < dim; ++c) sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  return sum;
}

void add_cope_gradient(const Work& work, const ConstBiasView& d_score, const RelativeGradient& gradient) {
  const RelativeBlock& block = work.block;
  const CopeTerm& cope = *work.p.cope;
  const auto dim = index(work.dim), keys = index(block.keys.count), positions = index(cope.positions);
  const double most = static_cast<double>(cope.positions - 1);
  std::vector<float> k(keys * dim), q(dim);
  std::vector<double> d_k(keys * dim), d_q(dim), d_key(dim), gates(keys), d_sums(keys), of_positions(positions),
      d_of_positions(positions);
  for (std::int64_t h = 0; h < work.heads; ++h) {
    widen(block.k, block.row, 0, block.keys.count, work.key_head(h), k.data());
    std::fill(d_k.begin(), d_k.end(), 0.0);
    for (std::int64_t i = 0; i < block.queries.count; ++i) {
      widen(block.q, block.row, i, 1, work.head(h), q.data());
      for (std::size_t m = 0; m < positions; ++m)
        of_positions[m] = product(q.data(), cope.table.data() + m * dim, work.dim);
      std::fill(d_of_positions.begin(), d_of_positions.end(), 0.0);
      std::fill(d_q.begin(), d_q.end(), 0.0);
      double sum = 0.0;
      const auto end = index(end_of_counted(cope, block.queries.at(i), block.keys));
      for (std::size_t j = keys; j-- > 0;) {
        gates[j] = j < end ? sigmoid(cope.gate_scale * product(q.data(), k.data() + j * dim, work.dim)) : 0.0;
        sum += gates[j];
        const Between place(sum, cope.positions);
        const double d = work.p.scale * static_cast<double>(d_score.at(h, i, static_cast<std::int64_t>(j)));
        d_of_positions[place.floor] += (1.0 - place.weight) * d;
        d_of_positions[place.ceil] += place.weight * d;
        // Beyond the last position it does not move; at it torch's clamp does.
        d_sums[j] = sum <= most ? d * (of_positions[place.ceil] - of_positions[place.floor]) : 0.0;
      }
      double d_gate = 0.0;  // a gate is in the sums of all keys before it, and its own
      for (std::size_t t = 0; t < keys; ++t) {
        d_gate += d_sums[t];
        const double d = d_gate * gates[t] * (1.0 - gates[t]) * cope.gate_scale;
        if (d == 0.0) continue;
        for (std::size_t c = 0; c < dim; ++c) {
          d_q[c] += d * static_cast<double>(k[t * dim + c]);
          d_k[t * dim + c] += d * static_cast<double>(q[c]);
        }
      }
      for (std::size_t m = 0; m < positions; ++m) {
        const double d = d_of_positions[m];
        if (d == 0.0) continue;
        for (std::size_t c = 0; c < dim; ++c) {
          d_q[c] += d * static_cast<double>(cope.table[m * dim + c]);
          if (!gradient.d_parameters.empty()) gradient.d_parameters[c * positions + m] += d * static_cast<double>(q[c]);
        }
      }
      add_rounded(d_q, gradient.d_q, block.row, i, work.head(h));
    }
    for (std::size_t j = 0; j < keys; ++j) {
      std::copy_n(d_k.begin() + static_cast<std::ptrdiff_t>(j * dim), dim, d_key.begin());
      add_rounded(d_key, gradient.d_k, block.row, static_cast<std::int64_t>(j), work.key_head(h));
    }
  }
}

// ---- what may be asked

std::string text(std::int64_t number) { return std::to_string(number); }

std::optional<Error> check_row(const RelativeBlock& block, const Path& path, const HeadsView& x) {
  if (block.row >= 0 && block.row < x.batch) return std::nullopt;
  return invalid("row", "want a row of " + path.text() + ", 0 to " + text(x.batch - 1) + ", got " + text(block.row));
}

std::optional<Error> check_view_of(const PreparedRelative& p, const RelativeBlock& block, const Path& path,
                                   const HeadsView& x, std::int64_t tokens, bool is_key) {
  if (auto error = check_view(path, x, p.head_dim)) return error;
  if (is_key) {
    if (x.heads < 1 || p.heads % x.heads != 0)
      return invalid(path + ".heads",
                     "want a number that divides the " + text(p.heads) + " heads, got " + text(x.heads));
  } else if (auto error = want(path + ".heads", p.heads, x.heads)) {
    return error;
  }
  if (auto error = want(path + ".tokens", tokens, x.tokens)) return error;
  return check_row(block, path, x);
}

std::optional<Error> check_heads(const PreparedRelative& p, const RelativeBlock& block) {
  if (block.first_head < 0 || block.first_head >= p.heads)
    return invalid("first_head", "want 0 to " + text(p.heads - 1) + ", got " + text(block.first_head));
  if (block.heads < 0 || block.heads > p.heads - block.first_head)
    return invalid("heads", "want 0 to " + text(p.heads - block.first_head) + ", got " + text(block.heads));
  return std::nullopt;
}

std::pair<std::int64_t, std::int64_t> ends_of(const BiasAxis& axis) {
  if (is_run(axis)) return {axis.first, axis.first + (axis.count - 1)};
  const auto [least, most] = std::minmax_element(axis.data, axis.data + axis.count);
  return {*least, *most};
}

std::optional<Error> check_distances(const PreparedRelative& p, const RelativeBlock& block) {
  if (block.queries.count == 0 || block.keys.count == 0) return std::nullopt;
  if (const auto* xl = std::get_if<TransformerXlRelative>(&p.spec); xl != nullptr && !xl->clamp) {
    const auto [first_query, last_query] = ends_of(block.queries);
    const auto [first_key, last_key] = ends_of(block.keys);
    const std::int64_t least = math::distance(first_query, last_key), most = math::distance(last_query, first_key);
    const std::int64_t got = most > xl->most_distance ? most : least;
    if (most > xl->most_distance || (least < xl->least_distance && xl->least_distance != 0))
      return invalid("queries", "want distances of the table, " + text(xl->least_distance) + " to " +
                                    text(xl->most_distance) + ", got " + text(got));
  }
  if (p.cope) {
    if (!is_run(block.keys)) return invalid("keys.data", "want a run of positions, for rows are whole, got a list");
    const std::int64_t last_query = ends_of(block.queries).second, last_key = ends_of(block.keys).second;
    if (p.cope->causal && last_key < last_query)
      return invalid("keys", "want all keys up to the last query's position, " + text(last_query) +
                                 ", for rows are whole, got the last at " + text(last_key));
  }
  return std::nullopt;
}

std::optional<Error> check_block(const PreparedRelative& p, const RelativeBlock& block, const void* data,
                                 const char* path) {
  if (auto error = math::check_axis("queries", block.queries)) return error;
  if (auto error = math::check_axis("keys", block.keys)) return error;
  if (auto error = check_heads(p, block)) return error;
  if (p.reads_queries())
    if (auto error = check_view_of(p, block, "q", block.q, block.queries.count, false)) return error;
  if (p.reads_keys())
    if (auto error = check_view_of(p, block, "k", block.k, block.keys.count, true)) return error;
  if (block.queries.count > 0 && block.keys.count > 0 && data == nullptr)
    return invalid(path, "want an address, got null");
  return check_distances(p, block);
}

std::optional<Error> check_strides(const char* name, std::int64_t heads, const RelativeBlock& block,
                                   const BiasView& view) {
  const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> axes[] = {
      {".head_stride", {heads, view.head_stride}},
      {".query_stride", {block.queries.count, view.query_stride}},
      {".key_stride", {block.keys.count, view.key_stride}}};
  for (const auto& [axis, of_axis] : axes)
    if (of_axis.first > 1 && of_axis.second == 0)
      return invalid(Path(name) + axis,
                     "want a stride other than 0 on an axis of " + text(of_axis.first) + " that is written, got 0");
  return std::nullopt;
}

std::optional<Error> check_float32(const Path& path, const HeadsView& x) {
  if (x.dtype == DType::kFloat32) return std::nullopt;
  return check_dtype(path, x.dtype) ? check_dtype(path, x.dtype)
                                    : invalid(path + ".dtype", "want float32, got " + std::string(name_of(x.dtype)));
}

std::optional<Error> check_like(const Path& path, const HeadsView& x, const HeadsView& as) {
  if (x.data == nullptr) return std::nullopt;
  if (auto error = check_float32(path, x)) return error;
  if (auto error = check_view(path, x, static_cast<int>(as.head_dim))) return error;
  if (auto error = want(path + ".batch", as.batch, x.batch)) return error;
  if (auto error = want(path + ".tokens", as.tokens, x.tokens)) return error;
  if (auto error = want(path + ".heads", as.heads, x.heads)) return error;
  return check_written(path, x);
}

std::optional<Error> check_parameters(const PreparedRelative& p, std::span<const double> d_parameters) {
  if (d_parameters.empty()) return std::nullopt;
  return want("d_parameters.size", static_cast<std::int64_t>(p.parameter_count),
              static_cast<std::int64_t>(d_parameters.size()));
}

std::optional<Error> check_value_call(const PreparedRelative& p, const RelativeBlock& block,
                                      const ConstBiasView& probabilities, const Path& path, const HeadsView& out) {
  if (!p.values)
    return Error{Code::kUnsupported, "spec",
                 "want values to add, got " + std::string(name_of(p.spec)) + " without a value_table"};
  if (auto error = math::check_axis("queries", block.queries)) return error;
  if (auto error = math::check_axis("keys", block.keys)) return error;
  if (auto error = check_heads(p, block)) return error;
  if (block.queries.count > 0 && block.keys.count > 0 && probabilities.data == nullptr)
    return invalid("probabilities.data", "want an address, got null");
  if (auto error = check_float32(path, out)) return error;
  if (auto error = check_view(path, out, p.value_dim)) return error;
  if (auto error = want(path + ".heads", p.heads, out.heads)) return error;
  if (auto error = want(path + ".tokens", block.queries.count, out.tokens)) return error;
  return check_row(block, path, out);
}

}  // namespace

Result<RelativeScore> RelativeScore::make(const RelativeSpec& spec) {
  auto prepared = math::prepare(spec);
  if (!prepared) return prepared.error();
  if (std::string refused = cpu::target_error(); !refused.empty())
    return Error{Code::kUnavailable, "ROPEWALK_TARGET", std::move(refused)};
  return RelativeScore(std::make_shared<const Prepared>(Prepared{*std::move(prepared)}));
}

const RelativeSpec& RelativeScore::spec() const noexcept { return prepared_->spec; }
int RelativeScore::heads() const noexcept { return prepared_->heads; }
int RelativeScore::head_dim() const noexcept { return prepared_->head_dim; }
bool RelativeScore::reads_queries() const noexcept { return prepared_->reads_queries(); }
bool RelativeScore::reads_keys() const noexcept { return prepared_->reads_keys(); }
bool RelativeScore::has_values() const noexcept { return prepared_->values.has_value(); }
bool RelativeScore::needs_whole_rows() const noexcept { return prepared_->cope.has_value(); }
double RelativeScore::softmax_scale() const noexcept { return prepared_->softmax_scale; }
std::span<const BiasParameter> RelativeScore::parameters() const noexcept { return prepared_->parameters; }
std::size_t RelativeScore::parameter_count() const noexcept { return prepared_->parameter_count; }

std::optional<Error> RelativeScore::check(const RelativeBlock& block, const BiasView& out) const {
  if (auto error = check_block(*prepared_, block, out.data, "out.data")) return error;
  return check_strides("out", Work(*prepared_, block).heads, block, out);
}

void RelativeScore::fill(const RelativeBlock& block, const BiasView& out) const noexcept {
  fill_keys(block, 0, block.keys.count, out);
}

void RelativeScore::add(const RelativeBlock& block, const BiasView& out) const noexcept {
  const Work work(*prepared_, block);
  if (work.is_empty()) return;
  for (const TableTerm& term : prepared_->tables) add_table(work, term, out);
  if (!prepared_->of_keys.empty()) add_of_keys(work, out);
  if (prepared_->cope) add_cope(work, 0, block.keys.count, out);
}

void RelativeScore::fill_keys(const RelativeBlock& block, std::int64_t first_key, std::int64_t keys,
                              const BiasView& out) const noexcept {
  const Work work(*prepared_, block);
  clear(work.heads, block.queries.count, keys, out);
  if (work.is_empty() || keys == 0) return;
  if (prepared_->cope) return add_cope(work, first_key, keys, out);
  RelativeBlock part = block;
  part.keys = part_of(block.keys, first_key, keys);
  if (prepared_->reads_keys()) {
    part.k.data = const_cast<std::byte*>(element(block.k, 0, first_key, 0));
    part.k.tokens = keys;
  }
  add(part, out);
}

double RelativeScore::at(const RelativeBlock& block, std::int64_t head, std::int64_t i, std::int64_t j) const noexcept {
  const Work work(*prepared_, block);
  const std::int64_t h = head - block.first_head;
  Stage x, y;
  double sum = 0.0;
  for (const TableTerm& term : prepared_->tables) {
    const Sides sides(work, term);
    const std::int64_t a = term.of_keys ? j : i, b = term.of_keys ? i : j;
    widen(sides.x, block.row, a, 1, sides.head_of_x(h), x.data());
    const float* const row = term.row(head, sides.row_at(a, b));
    sum += product(x.data(), row, work.dim);
    if (const float* const added = term.added_of(head, work.dim)) sum += product(added, row, work.dim);
  }
  if (!prepared_->of_keys.empty()) {
    widen(block.k, block.row, j, 1, work.key_head(h), x.data());
    sum += product(x.data(), prepared_->of_keys.data() + head * work.dim, work.dim);
  }
  if (prepared_->cope) {
    const CopeTerm& cope = *prepared_->cope;
    widen(block.q, block.row, i, 1, head, x.data());
    double position = 0.0;
    for (std::int64_t t = j; t < end_of_counted(cope, block.queries.at(i), block.keys); ++t) {
      widen(block.k, block.row, t, 1, work.key_head(h), y.data());
      position += sigmoid(cope.gate_scale * product(x.data(), y.data(), work.dim));
    }
    const Between place(position, cope.positions);
    const auto of_row = [&](std::size_t m) {
      return product(x.data(), cope.table.data() + m * index(work.dim), work.dim);
    };
    sum += (1.0 - place.weight) * of_row(place.floor) + place.weight * of_row(place.ceil);
  }
  return prepared_->scale * sum;
}

std::optional<Error> RelativeScore::add_gradient(const RelativeBlock& block, const ConstBiasView& d_score,
                                                 const RelativeGradient& gradient) const {
  const PreparedRelative& p = *prepared_;
  if (auto error = check_block(p, block, d_score.data, "d_score.data")) return error;
  if (p.reads_queries())
    if (auto error = check_like("d_q", gradient.d_q, block.q)) return error;
  if (p.reads_keys())
    if (auto error = check_like("d_k", gradient.d_k, block.k)) return error;
  if (auto error = check_parameters(p, gradient.d_parameters)) return error;
  const Work work(p, block);
  if (work.is_empty()) return std::nullopt;
  double* const d_parameters = gradient.d_parameters.empty() ? nullptr : gradient.d_parameters.data();
  if (p.cope) add_cope_gradient(work, d_score, gradient);
  if (!p.of_keys.empty()) add_gradient_of_keys(work, d_score, gradient);
  for (const TableTerm& term : p.tables) {
    if (!p.projected || d_parameters == nullptr) {
      add_table_gradient(work, term, d_score, gradient, d_parameters == nullptr ? nullptr : d_parameters + term.offset);
      continue;
    }
    std::vector<double> d_table(term.table.size());
    add_table_gradient(work, term, d_score, gradient, d_table.data());
    p.projected->add_gradient(d_table, d_parameters + term.offset);
  }
  return std::nullopt;
}

std::optional<Error> RelativeScore::check_values(const RelativeBlock& block, const ConstBiasView& probabilities,
                                                 const HeadsView& out) const {
  if (auto error = check_value_call(*prepared_, block, probabilities, "out", out)) return error;
  return has_elements(out) ? check_written("out", out) : std::nullopt;
}

void RelativeScore::add_values(const RelativeBlock& block, const ConstBiasView& probabilities,
                               const HeadsView& out) const noexcept {
  const TableTerm& values = *prepared_->values;
  const std::int64_t heads = block.heads > 0 ? block.heads : prepared_->heads - block.first_head;
  std::array<float, static_cast<std::size_t>(kChunk)> weights;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < block.queries.count; ++i) {
      // Probabilities of keys that share a row add up first; rows that follow each other go through the kernel at once.
      for (std::int64_t j = 0; j < block.keys.count;) {
        std::int64_t first = 0, count = 0;
        for (; j < block.keys.count; ++j) {
          const std::int64_t row = values.row_of(math::distance(block.queries.at(i), block.keys.at(j)));
          if (count == 0) first = row;
          const bool next = row == first + count && count < kChunk;
          if (!next && row != first + count - 1) break;
          if (next) weights[index(count++)] = 0.0f;
          weights[index(count - 1)] += probabilities.at(h, i, j);
        }
        kernels().add_few[0]({.a = weights.data(),
                              .a_stride = kChunk,
                              .rows = 1,
                              .keys_at = values.row(block.first_head + h, first),
                              .key_stride = values.row_stride,
                              .keys = count,
                              .channels = prepared_->value_dim,
                              .out = written(out, block.row, i, block.first_head + h),
                              .out_stride = 0});
      }
    }
}

std::optional<Error> RelativeScore::add_value_gradient(const RelativeBlock& block, const ConstBiasView& probabilities,
                                                       const HeadsView& d_out, const BiasView& d_probabilities,
                                                       std::span<double> d_parameters) const {
  if (auto error = check_value_call(*prepared_, block, probabilities, "d_out", d_out)) return error;
  if (auto error = check_parameters(*prepared_, d_parameters)) return error;
  const std::int64_t heads = block.heads > 0 ? block.heads : prepared_->heads - block.first_head;
  if (d_probabilities.data != nullptr)
    if (auto error = check_strides("d_probabilities", heads, block, d_probabilities)) return error;
  const TableTerm& values = *prepared_->values;
  const std::int64_t dim = prepared_->value_dim;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < block.queries.count; ++i) {
      const float* const d_of_query = written(d_out, block.row, i, block.first_head + h);
      for (std::int64_t j = 0; j < block.keys.count;) {
        const auto row_at = [&](std::int64_t key) {
          return values.row_of(math::distance(block.queries.at(i), block.keys.at(key)));
        };
        const std::int64_t row = row_at(j);
        const float* const of_row = values.row(block.first_head + h, row);
        const double d_weight = product(d_of_query, of_row, dim);
        double weight = 0.0;
        for (; j < block.keys.count && row_at(j) == row; ++j) {
          weight += static_cast<double>(probabilities.at(h, i, j));
          if (d_probabilities.data != nullptr) {
            float& d = d_probabilities.at(h, i, j);
            d = static_cast<float>(static_cast<double>(d) + d_weight);
          }
        }
        if (d_parameters.empty() || weight == 0.0) continue;
        double* const d_row = d_parameters.data() + values.offset + (of_row - values.table.data());
        for (std::int64_t c = 0; c < dim; ++c) d_row[c] += weight * static_cast<double>(d_of_query[c]);
      }
    }
  return std::nullopt;
}

}  // namespace ropewalk
