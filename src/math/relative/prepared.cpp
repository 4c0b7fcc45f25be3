// What the options of a relative encoding may hold, and what is made of them.
#include "math/relative/prepared.hpp"

#include <array>
#include <cmath>

#include "math/field_checks.hpp"

namespace ropewalk {

constexpr std::array<std::string_view, std::variant_size_v<RelativeSpec>> kRelativeNames{"shaw", "transformer_xl",
                                                                                         "deberta", "cope"};

std::string_view name_of(const RelativeSpec& spec) noexcept { return kRelativeNames[spec.index()]; }

namespace math {
namespace {

constexpr std::int64_t kMostHeads = 65536, kMostHeadDim = 4096, kMostRows = std::int64_t{1} << 24;
constexpr std::int64_t kNear = 4096;  // distances whose buckets are looked up

using Prepared = Result<PreparedRelative>;

bool has(const std::vector<float>& numbers) noexcept { return !numbers.empty(); }

template <class Options>
PreparedRelative begun(const Options& o) {
  PreparedRelative p;
  p.spec = o;
  p.heads = o.heads;
  p.head_dim = o.head_dim;
  p.value_dim = o.head_dim;
  p.scale = p.softmax_scale = 1.0 / std::sqrt(static_cast<double>(o.head_dim));
  return p;
}

Checks& check_heads(Checks& checks, int heads, int head_dim) {
  return checks.whole("heads", heads, 1, kMostHeads).whole("head_dim", head_dim, 1, kMostHeadDim);
}

Checks& check_scale(Checks& checks, const char* field, const std::optional<double>& scale) {
  return checks.that(field, !scale || (*scale >= 0x1p-60 && *scale <= 0x1p60), "a number > 0 (2^-60 to 2^60)",
                     scale.value_or(1.0));
}

Checks& check_unless_empty(Checks& checks, const char* field, const std::vector<float>& numbers, std::int64_t wanted) {
  return has(numbers) ? checks.numbers(field, numbers, wanted) : checks;
}

Prepared make(const ShawRelative& o, Checks checks) {
  check_heads(checks, o.heads, o.head_dim)
      .whole("left", o.left, 0, kMostRows)
      .whole("right", o.right, 0, kMostRows)
      .whole("value_dim", o.value_dim, 0, kMostHeadDim);
  check_scale(checks, "scale", o.scale);
  const std::int64_t rows = o.left + o.right + 1, tables = o.table_per_head ? o.heads : 1;
  const int value_dim = o.value_dim > 0 ? o.value_dim : o.head_dim;
  if (has(o.key_table) || !has(o.value_table)) checks.numbers("key_table", o.key_table, tables * rows * o.head_dim);
  check_unless_empty(checks, "value_table", o.value_table, tables * rows * value_dim);
  if (auto error = std::move(checks).first()) return *std::move(error);

  PreparedRelative p = begun(o);
  p.scale = o.scale.value_or(p.scale);
  p.softmax_scale = p.scale;
  p.value_dim = value_dim;
  RowOfDistance row_of;
  row_of.negated = true;
  row_of.center = o.left;
  row_of.rows = rows;
  const auto term = [&](const std::vector<float>& table, int dim) {
    TableTerm made;
    made.row_of = row_of;
    made.table = table;
    made.row_stride = dim;
    made.head_stride = o.table_per_head ? rows * dim : 0;
    made.offset = p.parameter_count;
    return made;
  };
  if (has(o.key_table)) {
    p.tables.push_back(term(o.key_table, o.head_dim));
    p.parameters.push_back({"key_table", 0, o.key_table.size()});
    p.parameter_count = o.key_table.size();
  }
  if (has(o.value_table)) {
    p.values = term(o.value_table, value_dim);
    p.parameters.push_back({"value_table", 0, o.value_table.size()});
  }
  return p;
}

Prepared make(const TransformerXlRelative& o, Checks checks) {
  constexpr std::int64_t kFar = std::int64_t{1} << 40;
  const std::int64_t width = std::int64_t{o.heads} * o.head_dim;
  check_heads(checks, o.heads, o.head_dim)
      .whole("least_distance", o.least_distance, -kFar, kFar)
      .whole("most_distance", o.most_distance, o.least_distance, o.least_distance + kMostRows - 1);
  check_scale(checks, "scale", o.scale);
  const std::int64_t rows = o.most_distance - o.least_distance + 1;
  if (has(o.projection)) {
    checks.whole("model_dim", o.model_dim, 2, 65536)
        .that("model_dim", o.model_dim % 2 == 0, "an even number", o.model_dim)
        .whole("order", static_cast<int>(o.order), 1, 4)
        .that("theta", o.theta >= 1e-30 && o.theta <= 1e30, "a number in [1e-30, 1e30]", o.theta)
        .numbers("table", o.table, 0)
        .numbers("projection", o.projection, width * o.model_dim);
  } else {
    checks.numbers("table", o.table, rows * width);
  }
  check_unless_empty(checks, "u", o.u, width);
  check_unless_empty(checks, "v", o.v, width);
  if (auto error = std::move(checks).first()) return *std::move(error);

  PreparedRelative p = begun(o);
  p.scale = o.scale.value_or(p.scale);
  p.softmax_scale = p.scale;
  TableTerm term;
  term.row_of.center = -o.least_distance;
  term.row_of.rows = rows;
  term.table = o.table;
  term.row_stride = width;
  term.head_stride = o.head_dim;
  term.added = o.v;
  if (has(o.projection)) {
    p.projected.emplace(o);
    term.table = p.projected->table(o.projection);
  }
  const std::size_t first = has(o.projection) ? o.projection.size() : o.table.size();
  p.parameters.push_back({has(o.projection) ? "projection" : "table", 0, first});
  p.offset_of_keys = first;
  term.offset_of_added = first + o.u.size();
  p.of_keys = o.u;
  if (has(o.u)) p.parameters.push_back({"u", 0, o.u.size()});
  if (has(o.v)) p.parameters.push_back({"v", 0, o.v.size()});
  p.tables.push_back(std::move(term));
  return p;
}

Prepared make(const DebertaRelative& o, Checks checks) {
  check_heads(checks, o.heads, o.head_dim);
  RowOfDistance row_of;
  row_of.center = o.span;
  row_of.rows = 2 * o.span;
  if (o.max_distance == 0) {
    checks.whole("span", o.span, 1, kMostRows);
  } else if (auto starts = deberta_bucket_starts(o.span, o.max_distance)) {
    row_of.starts = *std::move(starts);
    for (std::size_t b = 1; b < row_of.starts.size(); ++b)
      row_of.by_single_steps = row_of.by_single_steps && row_of.starts[b] > row_of.starts[b - 1];
    for (std::int64_t length = 0; length < kNear; ++length)
      row_of.near.push_back(static_cast<std::int16_t>(row_of.bucket_of(length)));
  } else {
    checks.take(starts.error());
  }
  checks.whole("p2c_distance", static_cast<int>(o.p2c_distance), 0, 1);
  check_scale(checks, "scale", o.scale);
  const std::int64_t width = std::int64_t{o.heads} * o.head_dim;
  if (checks.passed()) {
    if (has(o.c2p_table) || !has(o.p2c_table)) checks.numbers("c2p_table", o.c2p_table, 2 * o.span * width);
    check_unless_empty(checks, "p2c_table", o.p2c_table, 2 * o.span * width);
  }
  if (auto error = std::move(checks).first()) return *std::move(error);

  PreparedRelative p = begun(o);
  const int terms = 1 + (has(o.c2p_table) ? 1 : 0) + (has(o.p2c_table) ? 1 : 0);
  p.scale = o.scale.value_or(1.0 / std::sqrt(static_cast<double>(terms) * o.head_dim));
  p.softmax_scale = p.scale;
  const auto push = [&](const char* name, const std::vector<float>& table, bool of_keys) {
    if (!has(table)) return;
    TableTerm term;
    term.of_keys = of_keys;
    term.row_of = row_of;
    term.table = table;
    term.row_stride = width;
    term.head_stride = o.head_dim;
    term.offset = p.parameter_count;
    term.row_of.negated = of_keys && o.p2c_distance == P2cDistance::kAsPrinted;
    p.tables.push_back(std::move(term));
    p.parameters.push_back({name, 0, table.size()});
    p.parameter_count += table.size();
  };
  push("c2p_table", o.c2p_table, false);
  push("p2c_table", o.p2c_table, true);
  return p;
}

Prepared make(const CopeRelative& o, Checks checks) {
  check_heads(checks, o.heads, o.head_dim).whole("positions", o.positions, 2, 4096);
  check_scale(checks, "gate_scale", o.gate_scale);
  check_scale(checks, "scale", o.scale);
  checks.numbers("table", o.table, std::int64_t{o.head_dim} * o.positions);
  if (auto error = std::move(checks).first()) return *std::move(error);

  PreparedRelative p = begun(o);
  p.scale = o.scale;
  p.softmax_scale = o.gate_scale.value_or(p.softmax_scale);
  const auto dim = index(o.head_dim), positions = index(o.positions);
  CopeTerm term;
  term.positions = o.positions;
  term.table.resize(dim * positions);
  term.causal = o.causal;
  term.gate_scale = p.softmax_scale;
  for (std::size_t c = 0; c < dim; ++c)
    for (std::size_t m = 0; m < positions; ++m) term.table[m * dim + c] = o.table[c * positions + m];
  p.cope = std::move(term);
  p.parameters.push_back({"table", 0, o.table.size()});
  return p;
}

}  // namespace

bool PreparedRelative::reads_queries() const noexcept {
  return cope || std::any_of(tables.begin(), tables.end(), [](const TableTerm& t) { return !t.of_keys; });
}

bool PreparedRelative::reads_keys() const noexcept {
  return cope || !of_keys.empty() ||
         std::any_of(tables.begin(), tables.end(), [](const TableTerm& t) { return t.of_keys; });
}

Result<PreparedRelative> prepare(const RelativeSpec& spec) {
  auto made = std::visit([&](const auto& options) { return make(options, Checks(name_of(spec))); }, spec);
  if (!made) return made.error();
  std::size_t offset = 0;
  for (BiasParameter& parameter : made->parameters) {
    parameter.offset = offset;
    offset += parameter.size;
  }
  made->parameter_count = offset;
  return made;
}

}  // namespace math
}  // namespace ropewalk
