// What tests/python/test_relative_vs_torch.py asks: one request a line, one answer a line, JSON.
//
//   "kind", "options"                   as the struct of that kind in relative.hpp
//   "q": flat [queries, heads, head_dim], "k": flat [keys, kv_heads, head_dim], "kv_heads"
//   "queries", "keys"                   [first position, count]
//   "d_score": flat [heads, queries, keys], or none
//   "p": flat [heads, queries, keys] and "d_out": flat [queries, heads, value_dim], or none: Shaw's values
//
//   -> "score": flat [heads, queries, keys], "softmax_scale"
//      with d_score: "d_q", "d_k", "gradient": {name: flat}
//      with p: "out", "d_p", and the values' part in "gradient"
#include <ropewalk/relative.hpp>

#include <nlohmann/json.hpp>

#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;
using Json = nlohmann::json;
using Floats = std::vector<float>;

void passed(const std::optional<Error>& error) {
  if (error) throw std::runtime_error(error->line());
}

std::optional<double> number(const Json& j, const char* name) {
  return j.contains(name) ? std::optional<double>(j.at(name).get<double>()) : std::nullopt;
}

RelativeSpec relative_spec(const std::string& kind, const Json& j) {
  const auto begun = [&](auto o) {
    o.heads = j.at("heads");
    o.head_dim = j.at("head_dim");
    return o;
  };
  const auto floats = [&](const char* name) { return j.value(name, Floats{}); };
  if (kind == "shaw") {
    auto o = begun(ShawRelative{});
    o.left = j.at("left");
    o.right = j.at("right");
    o.key_table = floats("key_table");
    o.value_table = floats("value_table");
    o.scale = number(j, "scale");
    return o;
  }
  if (kind == "transformer_xl") {
    auto o = begun(TransformerXlRelative{});
    o.least_distance = j.at("least_distance");
    o.most_distance = j.at("most_distance");
    o.clamp = j.value("clamp", false);
    o.table = floats("table");
    o.projection = floats("projection");
    o.model_dim = j.value("model_dim", 0);
    if (j.value("order", "concatenated") == "interleaved") o.order = SinusoidOrder::kInterleaved;
    o.u = floats("u");
    o.v = floats("v");
    return o;
  }
  if (kind == "deberta") {
    auto o = begun(DebertaRelative{});
    o.span = j.at("span");
    o.max_distance = j.value("max_distance", std::int64_t{0});
    o.c2p_table = floats("c2p_table");
    o.p2c_table = floats("p2c_table");
    if (j.value("printed", false)) o.p2c_distance = P2cDistance::kAsPrinted;
    return o;
  }
  auto o = begun(CopeRelative{});
  o.positions = j.at("positions");
  o.table = floats("table");
  o.causal = j.value("causal", true);
  return o;
}

Json answer_to(const Json& j) {
  const auto made = RelativeScore::make(relative_spec(j.at("kind"), j.at("options")));
  if (!made) throw std::runtime_error(made.error().line());
  const RelativeScore& score = *made;
  const auto axis = [&](const char* name) {
    return BiasAxis::range(j.at(name).at(0).get<std::int64_t>(), j.at(name).at(1).get<std::int64_t>());
  };
  auto q = j.at("q").get<Floats>(), k = j.at("k").get<Floats>();
  RelativeBlock block;
  block.queries = axis("queries");
  block.keys = axis("keys");
  const auto view = [&](Floats& x, std::int64_t tokens, std::int64_t heads, std::int64_t dim) {
    return HeadsView::bshd(x.data(), DType::kFloat32, 1, tokens, heads, dim);
  };
  const std::int64_t queries = block.queries.count, keys = block.keys.count, kv_heads = j.at("kv_heads");
  block.q = view(q, queries, score.heads(), score.head_dim());
  block.k = view(k, keys, kv_heads, score.head_dim());
  Floats out(static_cast<std::size_t>(score.heads() * queries * keys));
  const auto of_out = BiasView::contiguous(out.data(), queries, keys);
  passed(score.check(block, of_out));
  score.fill(block, of_out);
  Json answer = {{"score", out}, {"softmax_scale", score.softmax_scale()}};

  std::vector<double> gradient(score.parameter_count());
  if (j.contains("d_score")) {
    const auto d_score = j.at("d_score").get<Floats>();
    Floats d_q(q.size()), d_k(k.size());
    passed(score.add_gradient(
        block, ConstBiasView::contiguous(d_score.data(), queries, keys),
        {view(d_q, queries, score.heads(), score.head_dim()), view(d_k, keys, kv_heads, score.head_dim()), gradient}));
    answer["d_q"] = d_q;
    answer["d_k"] = d_k;
  }
  if (j.contains("p")) {
    const auto p = j.at("p").get<Floats>();
    auto d_out = j.at("d_out").get<Floats>();
    Floats values(d_out.size()), d_p(p.size());
    const std::int64_t dim = static_cast<std::int64_t>(values.size()) / (queries * score.heads());
    const auto of_p = ConstBiasView::contiguous(p.data(), queries, keys);
    passed(score.check_values(block, of_p, view(values, queries, score.heads(), dim)));
    score.add_values(block, of_p, view(values, queries, score.heads(), dim));
    passed(score.add_value_gradient(block, of_p, view(d_out, queries, score.heads(), dim),
                                    BiasView::contiguous(d_p.data(), queries, keys), gradient));
    answer["out"] = values;
    answer["d_p"] = d_p;
  }
  for (const BiasParameter& p : score.parameters())
    answer["gradient"][std::string(p.name)] =
        std::vector<double>(gradient.begin() + static_cast<std::ptrdiff_t>(p.offset),
                            gradient.begin() + static_cast<std::ptrdiff_t>(p.offset + p.size));
  return answer;
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
