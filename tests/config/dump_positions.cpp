// Reads one request a line, {"path": FILE} or {"config": {...}}, with "length", "numerics" ("exact", "fp32"),
// "family" and "part" if wanted, and prints one answer a line: what the checkpoint's positions are, or why there is no
// answer.

#include <ropewalk/config.hpp>
#include <ropewalk/frequencies.hpp>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <iostream>
#include <string>

using Json = nlohmann::json;

namespace {

Json kind_json(const ropewalk::LayerKind& kind, std::int64_t length) {
  Json out = {{"name", kind.name}, {"layers", kind.layers}, {"head_dim", kind.head_dim}, {"inv_freq", Json::array()}};
  if (const auto& temperature = kind.query_temperature())
    out["query_temperature"] = {
        {"beta", temperature->beta}, {"context", temperature->context}, {"offset", temperature->offset}};
  if (!kind.spec) return out;
  const ropewalk::RotarySpec& spec = *kind.spec;
  const auto frequencies = ropewalk::make_frequencies(spec, length);
  if (!frequencies) {
    out["error"] = frequencies.error().line();
    return out;
  }
  out["inv_freq"] = frequencies->inv_freq;
  out["attention_factor"] = frequencies->attention_factor;
  out["softmax_scale_multiplier"] = frequencies->softmax_scale_multiplier;
  out["rotary_dim"] = spec.rotary_dim;
  out["rotary_offset"] = spec.rotary_offset;
  out["pair_layout"] = std::string(ropewalk::name_of(spec.layout));
  out["clockwise"] = spec.clockwise;
  out["theta"] = spec.theta;
  out["scaling"] = std::string(ropewalk::name_of(spec.scaling));
  out["axis_of_pair"] = spec.axis_of_pair;
  return out;
}

Json answer(const Json& request) {
  ropewalk::ReadOptions options;
  options.family = request.value("family", "");
  options.part = request.value("part", "");
  if (request.value("numerics", "exact") == "fp32") options.numerics = ropewalk::Numerics::kFp32;
  const std::int64_t length = request.value("length", std::int64_t{0});
  const auto positions = request.contains("path")
                             ? ropewalk::read_positions(request["path"], options)
                             : ropewalk::read_config_json(request["config"].dump(), "config.json", options);
  if (!positions)
    return {{"ok", false}, {"code", static_cast<int>(positions.error().code)}, {"error", positions.error().line()}};
  Json kinds = Json::array();
  for (const ropewalk::LayerKind& kind : positions->kinds) kinds.push_back(kind_json(kind, length));
  Json out = {{"ok", true},
              {"model_type", positions->model_type},
              {"family", positions->family},
              {"part", positions->part},
              {"parts", positions->parts},
              {"layer_count", positions->layer_count},
              {"kinds", kinds},
              {"keys", {{"used", positions->keys_used}, {"ignored", positions->keys_ignored}}},
              {"notes", positions->notes}};
  const auto print = ropewalk::fingerprint(*positions, length);
  out["fingerprint"] = print ? *print : print.error().line();
  return out;
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {  // the table of families
    Json all = Json::array();
    for (const ropewalk::Family& family : ropewalk::known_families())
      all.push_back({{"name", std::string(family.name)},
                     {"pair_layout", std::string(ropewalk::name_of(family.layout))},
                     {"rotates", family.rotates},
                     {"source", std::string(family.source)}});
    std::cout << all.dump() << '\n';
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);)
    std::cout << answer(Json::parse(line)).dump() << '\n' << std::flush;
  return 0;
}
