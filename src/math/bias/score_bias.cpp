// The bias of any kind: what its options may hold, and how a block of it is walked.
#include <ropewalk/bias.hpp>

#include <array>
#include <tuple>
#include <type_traits>

#include "math/bias/kinds.hpp"
#include "math/field_checks.hpp"

namespace ropewalk {
namespace {

using Kind = std::variant<math::Alibi, math::T5, math::Kerple, math::Fire, math::Sandwich, math::Window>;

template <class K>
constexpr bool kByDistance = !std::is_same_v<K, math::Fire> && !std::is_same_v<K, math::Window>;

using math::Checks;

constexpr std::int64_t kMostHeads = 65536, kMostWidth = 65536, kMostSide = 1024;

struct Made {
  Kind kind;
  std::vector<BiasParameter> parameters;  // without offsets
};

std::optional<Error> refused(Checks&& checks) { return std::move(checks).first(); }

Result<Made> make_kind(const AlibiBias& o, Checks checks) {
  checks.whole("heads", o.heads, 1, kMostHeads);
  std::vector<double> slopes = o.slopes;
  if (o.slopes.empty()) {
    auto computed = alibi_slopes(o.heads, o.bias_max);
    if (!computed)
      checks.take(computed.error());
    else
      slopes = *std::move(computed);
  } else {
    checks.numbers("slopes", o.slopes, o.heads);
  }
  if (auto error = refused(std::move(checks))) return *std::move(error);
  const std::size_t heads = slopes.size();
  return Made{math::Alibi(o, std::move(slopes)), {{"slopes", 0, heads}}};
}

Result<Made> make_kind(const T5Bias& o, Checks checks) {
  checks.whole("heads", o.heads, 1, kMostHeads);
  auto starts = t5_bucket_starts(o.num_buckets, o.max_distance, o.causal);
  if (!starts) checks.take(starts.error());
  checks.numbers("table", o.table, std::int64_t{o.num_buckets} * o.heads);
  if (auto error = refused(std::move(checks))) return *std::move(error);
  return Made{math::T5(o, *std::move(starts)), {{"table", 0, o.table.size()}}};
}

Result<Made> make_kind(const KerpleBias& o, Checks checks) {
  checks.whole("heads", o.heads, 1, kMostHeads)
      .whole("kind", static_cast<int>(o.kind), 0, 1)
      .that("smallest", o.smallest > 0.0f && o.smallest <= 1.0f, "a number in (0, 1]", static_cast<double>(o.smallest))
      .numbers("r1", o.r1, o.heads)
      .numbers("r2", o.r2, o.heads);
  if (auto error = refused(std::move(checks))) return *std::move(error);
  return Made{math::Kerple(o), {{"r1", 0, o.r1.size()}, {"r2", 0, o.r2.size()}}};
}

Result<Made> make_kind(const FireBias& o, Checks checks) {
  checks.whole("heads", o.heads, 1, kMostHeads)
      .whole("width", o.width, 1, kMostWidth)
      .that("c", true, "a finite number", static_cast<double>(o.c))
      .that("threshold_multiplier", true, "a finite number", static_cast<double>(o.threshold_multiplier))
      .that("threshold", o.threshold > 0.0 && o.threshold <= 0x1p62, "a number in (0, 2^62]", o.threshold)
      .that("epsilon", o.epsilon > 0.0 && o.epsilon <= 1.0, "a number in (0, 1]", o.epsilon)
      .numbers("w1", o.w1, o.width)
      .numbers("b1", o.b1, o.width)
      .numbers("w2", o.w2, std::int64_t{o.heads} * o.width)
      .numbers("b2", o.b2, o.heads);
  if (auto error = refused(std::move(checks))) return *std::move(error);
  return Made{math::Fire(o),
              {{"c", 0, 1},
               {"threshold_multiplier", 0, 1},
               {"w1", 0, o.w1.size()},
               {"b1", 0, o.b1.size()},
               {"w2", 0, o.w2.size()},
               {"b2", 0, o.b2.size()}}};
}

Result<Made> make_kind(const SandwichBias& o, Checks checks) {
  checks.whole("heads", o.heads, 1, kMostHeads)
      .whole("dim", o.dim, 2, 65536)
      .that("dim", o.dim % 2 == 0, "an even number", o.dim)
      .that("theta", o.theta >= 1e-30 && o.theta <= 1e30, "a number in [1e-30, 1e30]", o.theta)
      .whole("first_term", o.first_term, 0, 1)
      .that("subtrahend", true, "a finite number", o.subtrahend);
  if (auto error = refused(std::move(checks))) return *std::move(error);
  return Made{math::Sandwich(o), {}};
}

Result<Made> make_kind(const WindowBias& o, Checks checks) {
  checks.whole("heads", o.heads, 1, kMostHeads)
      .whole("rows", o.rows, 1, kMostSide)
      .whole("columns", o.columns, 1, kMostSide)
      .numbers("table", o.table,
               ((std::int64_t{2} * o.rows - 1) * (2 * o.columns - 1) + (o.class_token ? 3 : 0)) * o.heads);
  if (auto error = refused(std::move(checks))) return *std::move(error);
  return Made{math::Window(o), {{"table", 0, o.table.size()}}};
}

Result<Made> make_kind(const LogCpbBias& o, Checks checks) {
  const bool both = (o.pretrained_rows == 0) == (o.pretrained_columns == 0);
  checks.whole("heads", o.heads, 1, kMostHeads)
      .whole("rows", o.rows, 1, kMostSide)
      .whole("columns", o.columns, 1, kMostSide)
      .that("pretrained_rows", (o.pretrained_rows == 0 || o.pretrained_rows >= 2) && both,
            "at least 2, or 0 with pretrained_columns 0", o.pretrained_rows)
      .that("pretrained_columns", o.pretrained_columns == 0 || o.pretrained_columns >= 2,
            "at least 2, or 0 with pretrained_rows 0", o.pretrained_columns)
      .whole("width", o.width, 1, kMostWidth)
      .numbers("w1", o.w1, std::int64_t{2} * o.width)
      .numbers("b1", o.b1, o.width)
      .numbers("w2", o.w2, std::int64_t{o.heads} * o.width);
  if (auto error = refused(std::move(checks))) return *std::move(error);
  return Made{math::Window(o), {{"w1", 0, o.w1.size()}, {"b1", 0, o.b1.size()}, {"w2", 0, o.w2.size()}}};
}

// ---- walking a block

bool is_run(const BiasAxis& axis) noexcept { return axis.data == nullptr; }

/// each(i, j) of the first row and the first column of a block: every distance of two runs, once.
template <class Each>
void for_each_distance(std::int64_t queries, std::int64_t keys, const Each& each) {
  for (std::int64_t j = 0; j < keys; ++j) each(0, j);
  for (std::int64_t i = 1; i < queries; ++i) each(i, 0);
}

/// Where entries go, that of the first head to head 0.
struct Into {
  math::Heads heads;
  const BiasView& out;

  void put(std::size_t h, std::int64_t i, std::int64_t j, double value) const noexcept {
    out.at(static_cast<std::int64_t>(h - heads.first), i, j) = static_cast<float>(value);
  }
};

/// Entries of equal distance lie on the diagonals; the first of each is computed and the rest are copies of it.
template <class ForHeads>
void fill_by_diagonals(const Into& into, const BiasAxis& queries, const BiasAxis& keys,
                       const ForHeads& for_heads) noexcept {
  const BiasView& out = into.out;
  for_each_distance(queries.count, keys.count, [&](std::int64_t i, std::int64_t j) {
    for_heads(math::distance(queries.at(i), keys.at(j)),
              [&](std::size_t h, double value) { into.put(h, i, j, value); });
  });
  for (std::int64_t h = 0; h < static_cast<std::int64_t>(into.heads.end - into.heads.first); ++h)
    for (std::int64_t i = 1; i < queries.count; ++i) {
      const float* const before = &out.at(h, i - 1, 0);
      float* const row = &out.at(h, i, 0);
      if (out.key_stride == 1)
        std::copy_n(before, keys.count - 1, row + 1);
      else
        for (std::int64_t j = 1; j < keys.count; ++j) row[j * out.key_stride] = before[(j - 1) * out.key_stride];
    }
}

/// for_heads(i, j, put) for every entry.
template <class ForHeads>
void fill_by_entries(const Into& into, const BiasAxis& queries, const BiasAxis& keys,
                     const ForHeads& for_heads) noexcept {
  for (std::int64_t i = 0; i < queries.count; ++i)
    for (std::int64_t j = 0; j < keys.count; ++j)
      for_heads(i, j, [&](std::size_t h, double value) { into.put(h, i, j, value); });
}

template <class K>
void fill_kind(const K& kind, math::Heads heads, const BiasAxis& queries, const BiasAxis& keys,
               const BiasView& out) noexcept {
  const Into into{heads, out};
  const bool runs = is_run(queries) && is_run(keys);
  const auto by_distance = [&](std::int64_t n, const auto& put) {
    if constexpr (!std::is_same_v<K, math::Window>) kind.for_heads(n, heads, put);
  };
  if constexpr (kByDistance<K>) {
    if (runs) return fill_by_diagonals(into, queries, keys, by_distance);
    fill_by_entries(into, queries, keys, [&](std::int64_t i, std::int64_t j, const auto& put) {
      by_distance(math::distance(queries.at(i), keys.at(j)), put);
    });
  } else if constexpr (std::is_same_v<K, math::Fire>) {
    if (runs && kind.is_below_threshold(queries.at(queries.count - 1)))
      return fill_by_diagonals(into, queries, keys, by_distance);
    for (std::int64_t i = 0; i < queries.count; ++i) {
      const double denominator = kind.denominator(queries.at(i));
      for (std::int64_t j = 0; j < keys.count; ++j)
        kind.for_heads(math::distance(queries.at(i), keys.at(j)), denominator, heads,
                       [&](std::size_t h, double value) { into.put(h, i, j, value); });
    }
  } else {
    fill_by_entries(into, queries, keys, [&](std::int64_t i, std::int64_t j, const auto& put) {
      kind.for_heads(queries.at(i), keys.at(j), heads, put);
    });
  }
}

template <class K>
void add_kind_gradient(const K& kind, math::Heads heads, const BiasAxis& queries, const BiasAxis& keys,
                       const ConstBiasView& d_bias, std::span<double> out) {
  const auto entry = [&](std::size_t h, std::int64_t i, std::int64_t j) {
    return static_cast<double>(d_bias.at(static_cast<std::int64_t>(h - heads.first), i, j));
  };
  const auto for_each_entry = [&](const auto& gather) {
    for (std::int64_t i = 0; i < queries.count; ++i)
      for (std::int64_t j = 0; j < keys.count; ++j)
        gather(queries.at(i), keys.at(j), [&](std::size_t h) { return entry(h, i, j); });
  };
  if constexpr (kByDistance<K>) {
    if (!(is_run(queries) && is_run(keys)))
      return for_each_entry([&](std::int64_t query, std::int64_t key, const auto& d) {
        kind.add_gradient(math::distance(query, key), heads, d, out);
      });
    for_each_distance(queries.count, keys.count, [&](std::int64_t i, std::int64_t j) {
      const std::int64_t length = std::min(queries.count - i, keys.count - j);
      kind.add_gradient(
          math::distance(queries.at(i), keys.at(j)), heads,
          [&](std::size_t h) {
            double sum = 0.0;
            for (std::int64_t k = 0; k < length; ++k) sum += entry(h, i + k, j + k);
            return sum;
          },
          out);
    });
  } else if constexpr (std::is_same_v<K, math::Fire>) {
    math::Fire::Sums sums = kind.no_sums();
    for_each_entry(
        [&](std::int64_t query, std::int64_t key, const auto& d) { kind.gather(query, key, heads, d, sums); });
    kind.propagate(sums, out);
  } else {
    std::vector<double> d_table(kind.table_size());
    for_each_entry(
        [&](std::int64_t query, std::int64_t key, const auto& d) { kind.gather(query, key, heads, d, d_table); });
    kind.propagate(d_table, out);
  }
}

std::optional<Error> check_axis(const Kind& kind, const char* name, const BiasAxis& axis) {
  if (auto error = math::check_axis(name, axis)) return error;
  if (const auto* window = std::get_if<math::Window>(&kind)) {
    const std::int64_t tokens = window->tokens();
    for (std::int64_t i = 0; i < axis.count; i = is_run(axis) && i == 0 && axis.count > 1 ? axis.count - 1 : i + 1)
      if (axis.at(i) < 0 || axis.at(i) >= tokens)
        return Error{
            Code::kInvalid, std::string(name) + '[' + std::to_string(i) + ']',
            "want a token of the window, 0 to " + std::to_string(tokens - 1) + ", got " + std::to_string(axis.at(i))};
  }
  return std::nullopt;
}

std::optional<Error> check_block(const Kind& kind, const BiasAxis& queries, const BiasAxis& keys, const void* data,
                                 const char* path) {
  if (auto error = check_axis(kind, "queries", queries)) return error;
  if (auto error = check_axis(kind, "keys", keys)) return error;
  if (queries.count > 0 && keys.count > 0 && data == nullptr)
    return Error{Code::kInvalid, path, "want an address, got null"};
  return std::nullopt;
}

constexpr std::array<std::string_view, std::variant_size_v<BiasSpec>> kNames{"alibi",    "t5",     "kerple", "fire",
                                                                             "sandwich", "window", "log_cpb"};

}  // namespace

struct ScoreBias::Heads : math::Heads {};

struct ScoreBias::Prepared {
  BiasSpec spec;
  int heads;
  Kind kind;
  std::vector<BiasParameter> parameters;
  std::size_t parameter_count;
};

std::string_view name_of(const BiasSpec& spec) noexcept { return kNames[spec.index()]; }

Result<ScoreBias> ScoreBias::make(const BiasSpec& spec) {
  auto made = std::visit([&](const auto& options) { return make_kind(options, Checks(name_of(spec))); }, spec);
  if (!made) return made.error();
  std::size_t offset = 0;
  for (BiasParameter& parameter : made->parameters) {
    parameter.offset = offset;
    offset += parameter.size;
  }
  const int heads = std::visit([](const auto& options) { return options.heads; }, spec);
  return ScoreBias(std::make_shared<const Prepared>(
      Prepared{spec, heads, std::move(made->kind), std::move(made->parameters), offset}));
}

const BiasSpec& ScoreBias::spec() const noexcept { return prepared_->spec; }
int ScoreBias::heads() const noexcept { return prepared_->heads; }
std::span<const BiasParameter> ScoreBias::parameters() const noexcept { return prepared_->parameters; }
std::size_t ScoreBias::parameter_count() const noexcept { return prepared_->parameter_count; }

bool ScoreBias::depends_on_distance_only(std::int64_t last_query) const noexcept {
  if (const auto* fire = std::get_if<math::Fire>(&prepared_->kind)) return fire->is_below_threshold(last_query);
  return !std::holds_alternative<math::Window>(prepared_->kind);
}

std::optional<Error> ScoreBias::toeplitz(std::int64_t first_distance, std::span<float> out) const {
  if (std::holds_alternative<math::Window>(prepared_->kind))
    return Error{Code::kUnsupported, "spec",
                 "want a bias of the distance, got " + std::string(name_of(prepared_->spec)) +
                     ", which depends on rows and columns"};
  const auto heads = static_cast<std::size_t>(prepared_->heads), count = out.size() / heads;
  if (out.size() % heads != 0)
    return Error{Code::kInvalid, "out.size",
                 "want a multiple of the " + std::to_string(heads) + " heads, got " + std::to_string(out.size())};
  if (count > 0 && first_distance > std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(count - 1))
    return Error{Code::kInvalid, "first_distance",
                 "want " + std::to_string(count) + " distances within int64, got the first at " +
                     std::to_string(first_distance)};
  std::visit(
      [&](const auto& kind) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(kind)>, math::Window>)
          for (std::size_t d = 0; d < count; ++d)
            kind.for_heads(first_distance + static_cast<std::int64_t>(d), {0, heads},
                           [&](std::size_t h, double value) { out[h * count + d] = static_cast<float>(value); });
      },
      prepared_->kind);
  return std::nullopt;
}

std::optional<Error> ScoreBias::check(const BiasAxis& queries, const BiasAxis& keys, const BiasView& out) const {
  if (auto error = check_block(prepared_->kind, queries, keys, out.data, "out.data")) return error;
  if (queries.count == 0 || keys.count == 0) return std::nullopt;
  const std::tuple<const char*, std::int64_t, std::int64_t> axes[] = {
      {"out.head_stride", heads(), out.head_stride},
      {"out.query_stride", queries.count, out.query_stride},
      {"out.key_stride", keys.count, out.key_stride}};
  for (const auto& [path, count, stride] : axes)
    if (count > 1 && stride == 0)
      return Error{Code::kInvalid, path,
                   "want a stride other than 0 on an axis of " + std::to_string(count) + " that is written, got 0"};
  return std::nullopt;
}

void ScoreBias::fill(const BiasAxis& queries, const BiasAxis& keys, const BiasView& out) const noexcept {
  if (queries.count == 0 || keys.count == 0) return;
  const math::Heads all{0, math::index(heads())};
  std::visit([&](const auto& kind) { fill_kind(kind, all, queries, keys, out); }, prepared_->kind);
}

void ScoreBias::fill_head(int head, const BiasAxis& queries, const BiasAxis& keys, const BiasView& out) const noexcept {
  if (queries.count == 0 || keys.count == 0) return;
  const math::Heads one{math::index(head), math::index(head) + 1};
  std::visit([&](const auto& kind) { fill_kind(kind, one, queries, keys, out); }, prepared_->kind);
}

float ScoreBias::at(int head, std::int64_t query, std::int64_t key) const noexcept {
  float found = 0.0f;
  fill_head(head, BiasAxis::range(query, 1), BiasAxis::range(key, 1), BiasView::contiguous(&found, 1, 1));
  return found;
}

std::optional<Error> ScoreBias::add_gradient(const BiasAxis& queries, const BiasAxis& keys, const ConstBiasView& d_bias,
                                             std::span<double> d_parameters) const {
  return add_gradient(Heads{{0, math::index(heads())}}, queries, keys, d_bias, d_parameters);
}

std::optional<Error> ScoreBias::add_gradient_head(int head, const BiasAxis& queries, const BiasAxis& keys,
                                                  const ConstBiasView& d_bias, std::span<double> d_parameters) const {
  if (head < 0 || head >= heads())
    return Error{Code::kInvalid, "head",
                 "want a number in [0, " + std::to_string(heads() - 1) + "], got " + std::to_string(head)};
  return add_gradient(Heads{{math::index(head), math::index(head) + 1}}, queries, keys, d_bias, d_parameters);
}

std::optional<Error> ScoreBias::add_gradient(const Heads& heads, const BiasAxis& queries, const BiasAxis& keys,
                                             const ConstBiasView& d_bias, std::span<double> d_parameters) const {
  if (auto error = check_block(prepared_->kind, queries, keys, d_bias.data, "d_bias.data")) return error;
  if (d_parameters.size() != prepared_->parameter_count)
    return Error{Code::kInvalid, "d_parameters.size",
                 "want " + std::to_string(prepared_->parameter_count) + ", got " + std::to_string(d_parameters.size())};
  if (queries.count == 0 || keys.count == 0) return std::nullopt;
  std::visit([&](const auto& kind) { add_kind_gradient(kind, heads, queries, keys, d_bias, d_parameters); },
             prepared_->kind);
  return std::nullopt;
}

}  // namespace ropewalk
