// What tests/python/test_encodings_vs_torch.py asks: one request a line, one answer a line, JSON. A request says
// "what":
//
//   sinusoid         "spec", "positions": [axes, tokens] whole or not    -> "rows": [tokens, dim], "inv_freq"
//   sinusoid_grid    "family", "dim", "rows", "columns"                  -> "rows"
//   learned          "table": [rows, dim], "offset", "positions", "x": [tokens, dim], "scale" -> "rows"
//   resize           "resize", "dim", "table" [, "d_out"]                -> "table" [, "gradient"]
//   t5_starts        "num_buckets", "max_distance", "causal"             -> "starts"
//   bias             "kind", "options", "queries", "keys" [, "d_bias"]   -> "bias", flat [heads, queries, keys]
//                                                                           [, "gradient": {name: flat}]
#include <ropewalk/absolute.hpp>
#include <ropewalk/bias.hpp>

#include <nlohmann/json.hpp>

#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;
using Json = nlohmann::json;
using Floats = std::vector<float>;

template <class T>
T taken(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().line());
  return *std::move(result);
}
void passed(const std::optional<Error>& error) {
  if (error) throw std::runtime_error(error->line());
}

Json rows_of(const Floats& flat, std::size_t width) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < flat.size(); i += width)
    rows.push_back(
        Floats(flat.begin() + static_cast<std::ptrdiff_t>(i), flat.begin() + static_cast<std::ptrdiff_t>(i + width)));
  return rows;
}

template <class T>
std::vector<T> flat_of(const Json& streams) {
  std::vector<T> flat;
  for (const Json& stream : streams)
    for (const Json& value : stream) flat.push_back(value.get<T>());
  return flat;
}

SinusoidalSpec sinusoidal_spec(const Json& j) {
  SinusoidalSpec spec;
  spec.dim = j.at("dim");
  spec.axes = j.value("axes", 1);
  spec.theta = j.value("theta", 10000.0);
  const std::string order = j.at("order"), exponent = j.at("exponent");
  spec.order = order == "interleaved"              ? SinusoidOrder::kInterleaved
               : order == "concatenated"           ? SinusoidOrder::kConcatenated
               : order == "interleaved_cos_first"  ? SinusoidOrder::kInterleavedCosFirst
               : order == "concatenated_cos_first" ? SinusoidOrder::kConcatenatedCosFirst
                                                   : SinusoidOrder::kUnset;
  spec.exponent = exponent == "paper"           ? SinusoidExponent::kPaper
                  : exponent == "tensor2tensor" ? SinusoidExponent::kTensor2Tensor
                                                : SinusoidExponent::kUnset;
  spec.position_offset = j.value("position_offset", std::int64_t{0});
  if (j.contains("zero_position")) spec.zero_position = j.at("zero_position").get<std::int64_t>();
  spec.gain = j.value("gain", 1.0);
  return spec;
}

template <class View>
Json sinusoid_rows(const SinusoidalSpec& spec, const View& positions) {
  const Sinusoidal sinusoidal = taken(Sinusoidal::make(spec));
  Floats rows(static_cast<std::size_t>(positions.tokens * spec.dim));
  const auto out = EmbeddingsView::contiguous(rows.data(), DType::kFloat32, 1, positions.tokens, spec.dim);
  passed(sinusoidal.check(out, out, positions));
  sinusoidal.fill(out, positions);
  const auto inv_freq = sinusoidal.inv_freq();
  return {{"rows", rows_of(rows, static_cast<std::size_t>(spec.dim))},
          {"inv_freq", std::vector<double>(inv_freq.begin(), inv_freq.end())}};
}

Json sinusoid(const Json& j) {
  const SinusoidalSpec spec = sinusoidal_spec(j.at("spec"));
  if (j.at("positions").at(0).at(0).is_number_integer()) {
    const auto positions = flat_of<std::int64_t>(j.at("positions"));
    return sinusoid_rows(spec, PositionsView::streams(positions, spec.axes));
  }
  const auto coordinates = flat_of<double>(j.at("positions"));
  return sinusoid_rows(spec, CoordinatesView::streams(coordinates, spec.axes));
}

Json sinusoid_grid_rows(const Json& j) {
  const SinusoidGridFamily* const family = find_sinusoid_grid_family(j.at("family").get<std::string>());
  if (family == nullptr) throw std::runtime_error("family: want a known one");
  SinusoidalSpec spec = family->spec;
  spec.dim = j.at("dim");
  const auto where = taken(sinusoid_grid(j.at("rows"), j.at("columns"), family->grid));
  return sinusoid_rows(spec, CoordinatesView::streams(where, 2));
}

Json learned(const Json& j) {
  Floats table = flat_of<float>(j.at("table")), x = flat_of<float>(j.at("x"));
  const auto positions = j.at("positions").get<std::vector<std::int64_t>>();
  const auto dim = static_cast<std::int64_t>(j.at("x").at(0).size()),
             rows = static_cast<std::int64_t>(j.at("table").size());
  const auto view =
      EmbeddingsView::contiguous(x.data(), DType::kFloat32, 1, static_cast<std::int64_t>(positions.size()), dim);
  const auto learned_table = LearnedTable::contiguous(table.data(), DType::kFloat32, rows, dim, j.at("offset"));
  passed(check_learned(learned_table, view, view, PositionsView::row(positions)));
  add_learned(learned_table, view, view, PositionsView::row(positions), {.embedding_scale = j.value("scale", 1.0f)});
  return {{"rows", rows_of(x, static_cast<std::size_t>(dim))}};
}

Json resize(const Json& j) {
  const Json& o = j.at("resize");
  TableResize r;
  r.rows = o.at("rows");
  r.columns = o.at("columns");
  r.new_rows = o.at("new_rows");
  r.new_columns = o.at("new_columns");
  r.resampling = o.at("resampling") == "linear" ? Resampling::kLinear : Resampling::kCubic;
  r.antialias = o.value("antialias", false);
  r.leading_rows = o.value("leading_rows", std::int64_t{0});
  r.trailing_rows = o.value("trailing_rows", std::int64_t{0});
  if (o.contains("row_step")) r.row_step = o.at("row_step").get<double>();
  if (o.contains("column_step")) r.column_step = o.at("column_step").get<double>();
  const std::int64_t dim = j.at("dim");
  const auto table = j.at("table").get<Floats>();
  Floats out(static_cast<std::size_t>(r.rows_out() * dim)), gradient(table.size());
  passed(resize_table(r, dim, table, out));
  Json answer = {{"table", out}};
  if (j.contains("d_out")) {
    passed(add_resize_gradient(r, dim, j.at("d_out").get<Floats>(), gradient));
    answer["gradient"] = gradient;
  }
  return answer;
}

BiasSpec bias_spec(const std::string& kind, const Json& j) {
  const auto floats = [&](const char* name) { return j.value(name, Floats{}); };
  if (kind == "alibi") {
    AlibiBias o;
    o.heads = j.at("heads");
    o.symmetric = j.value("symmetric", false);
    o.bias_max = j.value("bias_max", 8.0);
    o.slopes = j.value("slopes", std::vector<double>{});
    return o;
  }
  if (kind == "t5") {
    T5Bias o;
    o.heads = j.at("heads");
    o.causal = j.at("causal");
    o.num_buckets = j.value("num_buckets", 32);
    o.max_distance = j.value("max_distance", std::int64_t{128});
    o.table = floats("table");
    return o;
  }
  if (kind == "kerple") {
    KerpleBias o;
    o.heads = j.at("heads");
    o.kind = j.at("kernel") == "power" ? KerpleKind::kPower : KerpleKind::kLog;
    o.symmetric = j.value("symmetric", false);
    o.r1 = floats("r1");
    o.r2 = floats("r2");
    return o;
  }
  if (kind == "fire") {
    FireBias o;
    o.heads = j.at("heads");
    o.width = j.at("width");
    o.c = j.at("c");
    o.threshold_multiplier = j.at("threshold_multiplier");
    o.threshold = j.at("threshold");
    o.first_position = j.value("first_position", std::int64_t{0});
    o.w1 = floats("w1");
    o.b1 = floats("b1");
    o.w2 = floats("w2");
    o.b2 = floats("b2");
    return o;
  }
  if (kind == "sandwich") {
    SandwichBias o;
    o.heads = j.at("heads");
    o.dim = j.at("dim");
    o.first_term = j.value("first_term", 0);
    return o;
  }
  if (kind == "window") {
    WindowBias o;
    o.heads = j.at("heads");
    o.rows = j.at("rows");
    o.columns = j.at("columns");
    o.class_token = j.value("class_token", false);
    o.table = floats("table");
    return o;
  }
  LogCpbBias o;
  o.heads = j.at("heads");
  o.rows = j.at("rows");
  o.columns = j.at("columns");
  o.pretrained_rows = j.value("pretrained_rows", 0);
  o.pretrained_columns = j.value("pretrained_columns", 0);
  o.width = j.value("width", 512);
  o.w1 = floats("w1");
  o.b1 = floats("b1");
  o.w2 = floats("w2");
  return o;
}

Json bias_block(const Json& j) {
  const ScoreBias bias = taken(ScoreBias::make(bias_spec(j.at("kind"), j.at("options"))));
  const auto queries = j.at("queries").get<std::vector<std::int64_t>>(),
             keys = j.at("keys").get<std::vector<std::int64_t>>();
  // [first, count]
  const BiasAxis rows = BiasAxis::range(queries.at(0), queries.at(1)),
                 columns = BiasAxis::range(keys.at(0), keys.at(1));
  Floats out(static_cast<std::size_t>(bias.heads() * rows.count * columns.count));
  const BiasView view = BiasView::contiguous(out.data(), rows.count, columns.count);
  passed(bias.check(rows, columns, view));
  bias.fill(rows, columns, view);
  Json answer = {{"bias", out}};
  if (j.contains("d_bias")) {
    const auto d_bias = j.at("d_bias").get<Floats>();
    std::vector<double> gradient(bias.parameter_count());
    passed(bias.add_gradient(rows, columns, ConstBiasView::contiguous(d_bias.data(), rows.count, columns.count),
                             gradient));
    for (const BiasParameter& p : bias.parameters())
      answer["gradient"][std::string(p.name)] =
          std::vector<double>(gradient.begin() + static_cast<std::ptrdiff_t>(p.offset),
                              gradient.begin() + static_cast<std::ptrdiff_t>(p.offset + p.size));
  }
  return answer;
}

Json answer_to(const Json& j) {
  const std::string what = j.at("what");
  if (what == "sinusoid") return sinusoid(j);
  if (what == "sinusoid_grid") return sinusoid_grid_rows(j);
  if (what == "learned") return learned(j);
  if (what == "resize") return resize(j);
  if (what == "t5_starts")
    return {{"starts", taken(t5_bucket_starts(j.at("num_buckets"), j.at("max_distance"), j.at("causal")))}};
  if (what == "bias") return bias_block(j);
  throw std::runtime_error("what: want a known question, got " + what);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << answer_to(Json::parse(line)).dump() << std::endl;
    } catch (const std::exception& error) {
      std::cout << Json{{"error", error.what()}}.dump() << std::endl;
    }
  }
}
