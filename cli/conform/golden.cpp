#include "cli/conform/golden.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace ropewalk::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kFormat[] = "ropewalk-golden/1";
constexpr std::size_t kMostBytes = 64u << 20;

std::vector<double> numbers(const Json& list) { return list.get<std::vector<double>>(); }

std::vector<std::vector<double>> rows(const Json& table) { return table.get<std::vector<std::vector<double>>>(); }

void want(bool right, const std::string& what) {
  if (!right) throw std::runtime_error(what);
}

std::vector<std::uint8_t> axes_of(const Json& json, const char* name, std::size_t pairs, std::size_t axes) {
  std::vector<std::uint8_t> out;
  if (!json.contains(name) || json[name].is_null()) return out;
  for (const Json& item : json[name]) {
    const int axis = item.get<int>();
    want(axis >= 0 && static_cast<std::size_t>(axis) < axes, fmt::format("{}: want axes below {}", name, axes));
    out.push_back(static_cast<std::uint8_t>(axis));
  }
  want(out.size() == pairs, fmt::format("{}: want {} entries, got {}", name, pairs, out.size()));
  return out;
}

void read_pairs(GoldenEncoding& e, const Json& json) {
  e.has_pairs = true;
  e.first = json.at("first").get<std::vector<int>>();
  e.second = json.at("second").get<std::vector<int>>();
  want(e.first.size() == e.second.size(), "first, second: want as many entries in each");
  for (const std::vector<int>* side : {&e.first, &e.second})
    for (const int channel : *side)
      want(channel >= 0 && channel < e.head_dim, fmt::format("first, second: want channels below {}", e.head_dim));
  const Json& rates = json.at("inv_freq");
  if (!rates.empty() && rates[0].is_array()) {
    for (const auto& row : rows(rates)) {
      want(row.size() == e.pairs(), "inv_freq: want one number a pair");
      e.inv_freq.insert(e.inv_freq.end(), row.begin(), row.end());
    }
    e.rates = static_cast<int>(rates.size());
    want(rates.size() == e.turned_by.size(), "inv_freq: want one row an axis");
  } else {
    e.inv_freq = numbers(rates);
    want(e.inv_freq.size() == e.pairs(), "inv_freq: want one number a pair");
  }
  e.axis = axes_of(json, "axis", e.pairs(), e.turned_by.size());
  if (json.contains("inv_freq_second")) {
    e.second_freq = numbers(json["inv_freq_second"]);
    want(e.second_freq.size() == e.pairs(), "inv_freq_second: want one number a pair");
    e.second_axis = axes_of(json, "axis_second", e.pairs(), e.turned_by.size());
  }
}

GoldenEncoding read_encoding(const Json& json) {
  GoldenEncoding e;
  e.name = json.at("name").get<std::string>();
  e.head_dim = json.at("head_dim").get<int>();
  want(e.head_dim > 0 && e.head_dim <= 65536, "head_dim: want a number in [1, 65536]");
  e.layout = json.at("layout").get<std::string>();
  e.scaling = json.at("scaling").get<std::string>();
  e.attention_factor = json.at("attention_factor").get<double>();
  e.softmax_scale_multiplier = json.at("softmax_scale_multiplier").get<double>();
  e.clockwise = json.at("clockwise").get<bool>();
  if (const Json& length = json.at("running_length"); !length.is_null()) e.running_length = length.get<std::int64_t>();
  e.asked_positions = json.at("positions");
  e.turned_by = rows(json.contains("turned_by") ? json["turned_by"] : e.asked_positions);
  e.x = numbers(json.at("x"));
  e.query = rows(json.at("query"));
  e.key = json.contains("key") ? rows(json["key"]) : e.query;
  if (json.contains("query_scale")) e.query_scale = numbers(json["query_scale"]);
  if (json.contains("query_gain")) e.query_gain = rows(json["query_gain"]), e.key_gain = rows(json.at("key_gain"));
  if (json.contains("weights")) e.weights = json["weights"];
  if (json.contains("ladder")) {
    e.ladder_theta = json["ladder"].at("theta").get<double>();
    e.ladder_dim = json["ladder"].at("dim").get<int>();
  }
  if (json.contains("first")) read_pairs(e, json);

  const auto channels = static_cast<std::size_t>(e.head_dim);
  want(e.x.size() == channels, "x: want head_dim numbers");
  want(!e.turned_by.empty() && e.asked_positions.size() >= 1, "positions: want at least one axis");
  for (const auto& axis : e.turned_by) want(axis.size() == e.tokens(), "positions: want one a row of query");
  for (const Json& axis : e.asked_positions) want(axis.size() == e.tokens(), "positions: want one a row of query");
  want(e.key.size() == e.tokens(), "key: want as many rows as query");
  want(e.query_scale.empty() || e.query_scale.size() == e.tokens(), "query_scale: want one a row of query");
  for (const auto* gains : {&e.query_gain, &e.key_gain}) {
    want(gains->empty() || gains->size() == e.tokens(), "query_gain, key_gain: want one row a row of query");
    for (const auto& row : *gains) want(row.size() == e.pairs(), "query_gain, key_gain: want one number a pair");
  }
  for (const auto* side : {&e.query, &e.key})
    for (const auto& row : *side) want(row.size() == channels, "query, key: want rows of head_dim numbers");
  return e;
}

GoldenFamily read_family(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::error_code ignored;
  if (!in || fs::file_size(path, ignored) > kMostBytes)
    refuse(path.string(), "want a file of at most 64 MiB that can be read");
  try {
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    want(deepest_nesting(text) <= kDeepestJson, fmt::format("want JSON at most {} deep", kDeepestJson));
    const Json json = Json::parse(text);
    want(json.is_object() && json.value("format", "") == kFormat, fmt::format("want \"format\": \"{}\"", kFormat));
    GoldenFamily family{json.at("family").get<std::string>(), json.at("about").get<std::string>(), {}};
    for (const Json& item : json.at("encodings")) {
      const auto encoding = std::make_shared<const GoldenEncoding>(read_encoding(item));
      for (const Json& by : item.at("asked_by"))
        for (const bool key : {false, true}) {
          GoldenCase one;
          one.family = family.name;
          one.config_name = by.at("config").get<std::string>();
          one.kind = by.at("kind").get<std::string>();
          one.layer = by.at("layer").get<int>();
          one.key = key;
          one.config = json.at("configs").at(one.config_name).at("config");
          one.encoding = encoding;
          one.id = fmt::format("{}/{}/{}/{}", family.name, encoding->name, one.config_name, key ? "key" : "query");
          family.cases.push_back(std::move(one));
        }
    }
    return family;
  } catch (const std::exception& error) {
    // nlohmann/json's own messages begin with "[json.exception.parse_error.101] ".
    std::string_view what = error.what();
    if (const std::size_t end = what.find("] "); what.starts_with("[json.") && end != std::string_view::npos)
      what.remove_prefix(end + 2);
    refuse(path.string(), fmt::format("want a file of the golden suite, got: {}", one_line(what)));
  }
}

bool holds_a_suite(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / "plain_half.json", ignored);
}

}  // namespace

int deepest_nesting(std::string_view text) noexcept {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\')
        ++i;
      else
        quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

std::string golden_folder(const std::string& given) {
  std::error_code ignored;
  if (!given.empty()) {
    if (!fs::is_directory(given, ignored)) refuse("--suite", fmt::format("want a folder, got \"{}\"", given));
    return given;
  }
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const fs::path& folder : {program / ".." / "tests" / "golden", program / ".." / "share" / "ropewalk" / "golden",
                                 fs::path("tests") / "golden"})
    if (holds_a_suite(folder)) return folder.lexically_normal().string();
  refuse("--suite",
         "want the folder of the golden suite, got none: outside the source tree say --suite DIR, its tests/golden "
         "(docs/conform.md)");
}

std::vector<GoldenFamily> read_golden(const std::string& folder, const std::vector<std::string>& names) {
  std::set<std::string> there;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    if (entry.is_regular_file() && entry.path().extension() == ".json") there.insert(entry.path().stem().string());
  if (there.empty()) refuse("--suite", fmt::format("want a folder with families in .json files, got \"{}\"", folder));
  for (const std::string& name : names)
    if (!there.contains(name))
      refuse("--families", fmt::format("want some of {}; got \"{}\"", fmt::join(there, ", "), one_line(name)));
  std::vector<GoldenFamily> families;
  for (const std::string& name : names.empty() ? std::vector<std::string>(there.begin(), there.end()) : names)
    families.push_back(read_family(fs::path(folder) / (name + ".json")));
  return families;
}

std::string request_line(const GoldenCase& asked) {
  const GoldenEncoding& e = *asked.encoding;
  Json heads = Json::array();
  for (const double scale : kHeadScales) {
    Json head = Json::array();
    for (const double value : e.x) head.push_back(scale * value);
    heads.push_back(std::move(head));
  }
  Json x = Json::array();
  for (std::size_t token = 0; token < e.tokens(); ++token) x.push_back(heads);
  Json line = {{"id", asked.id},     {"family", asked.family}, {"config", asked.config},
               {"kind", asked.kind}, {"layer", asked.layer},   {"operand", asked.key ? "key" : "query"},
               {"dtype", "float32"}, {"head_dim", e.head_dim}, {"positions", e.asked_positions},
               {"x", std::move(x)}};
  if (e.running_length) line["running_length"] = *e.running_length;
  if (!e.weights.is_null()) line["weights"] = e.weights;
  return line.dump();
}

}  // namespace ropewalk::cli
