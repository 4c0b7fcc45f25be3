#include "config/gguf_positions.hpp"
#include "config/hf_weights.hpp"
#include "config/mapped_file.hpp"
#include "config/printable.hpp"
#include "config/stated_layout.hpp"
#include "math/text.hpp"

#include <ropewalk/config.hpp>
#include <ropewalk/gguf.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace ropewalk {
namespace {

std::string_view text_of(const config::MappedFile& file) {
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// FNV-1a of 64 bits (Fowler, Noll, Vo), as 16 hexadecimal digits.
std::string hash_of(std::string_view text) {
  std::uint64_t state = 0xcbf29ce484222325;
  for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::string digits;
  for (int shift = 60; shift >= 0; shift -= 4) digits += "0123456789abcdef"[state >> shift & 0xf];
  return digits;
}

// Of layers that do not turn, what is left to say: their query temperature.
std::string fingerprint_of_unrotated(const LayerKind& kind) {
  const std::optional<QueryTemperature>& t = kind.unrotated_query_temperature;
  if (!t || t->beta == 0.0) return "none";
  return "none " + math::shown(t->beta) + " " + std::to_string(t->context) + " " + std::to_string(t->offset);
}

// A spec by what it does. Where that depends on the length and no length was asked for, also by what it does at four
// times the trained one: without it dynamic NTK could not be told from none.
Result<std::string> fingerprint_of(const LayerKind& kind, std::int64_t trained, std::int64_t running_length) {
  if (!kind.spec) return fingerprint_of_unrotated(kind);
  Result<std::string> here = fingerprint(*kind.spec, running_length);
  if (!here || running_length != 0 || !depends_on_length(kind.spec->scaling)) return here;
  const Result<std::string> far = fingerprint(*kind.spec, 4 * (trained > 0 ? trained : 1));
  if (!far) return far;
  return hash_of(*here + " " + *far);
}

}  // namespace

Result<CheckpointPositions> read_positions(const std::string& path, const ReadOptions& options) {
  namespace fs = std::filesystem;
  const auto unavailable = [&](std::string message) {
    return Error{Code::kUnavailable, config::printable(path, 200), std::move(message)};
  };
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (problem && problem != std::errc::no_such_file_or_directory)
    return unavailable("want a file or folder, got: " + problem.message());
  if (!fs::exists(status))
    return unavailable("want a config.json, a GGUF file or a folder with config.json, got no such file");

  std::string file_path = path;
  if (fs::is_directory(status)) {
    const fs::path inside = fs::path(path) / "config.json";
    if (!fs::exists(inside, problem)) return unavailable("want a folder with config.json, got one without");
    file_path = inside.string();
  }
  const Result<config::MappedFile> file = config::MappedFile::open(file_path);
  if (!file) return file.error();
  if (text_of(*file).substr(0, 4) == "GGUF") {
    if (!options.part.empty())
      return Error{Code::kUnsupported, "part",
                   "want none for a GGUF file, which holds one model, got " + config::printable(options.part, 60)};
    const Result<GgufFile> gguf = GgufFile::open(file_path);
    if (!gguf) return gguf.error();
    return config::positions_from_gguf(*gguf, options);
  }
  Result<CheckpointPositions> positions = read_config_json(text_of(*file), config::printable(file_path, 200), options);
  if (!positions) return positions;
  if (auto error = config::read_learned(*positions, file_path)) return *std::move(error);
  if (options.part.empty())  // convert moves the language model's rows
    if (auto error = config::follow_stated_layout(*positions, file_path)) return *std::move(error);
  return positions;
}

// One spec for all layers that turn: its own fingerprint, however many layers there are. Otherwise a hash of the kinds
// in the order of their first layers, each with its layers. Names do not count, nor do kinds that say the same.
Result<std::string> fingerprint(const CheckpointPositions& positions, std::int64_t running_length) {
  std::vector<std::string> kinds;
  std::vector<std::vector<int>> layers;
  for (const LayerKind& kind : positions.kinds) {
    const Result<std::string> one = fingerprint_of(kind, positions.trained_context, running_length);
    if (!one) return one;
    std::size_t same = 0;
    while (same < kinds.size() && kinds[same] != *one) ++same;
    if (same == kinds.size()) {
      kinds.push_back(*one);
      layers.emplace_back();
    }
    layers[same].insert(layers[same].end(), kind.layers.begin(), kind.layers.end());
  }
  if (kinds.size() == 1 && !kinds[0].starts_with("none")) return kinds[0];

  std::vector<std::pair<std::vector<int>, std::string>> ordered;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    std::sort(layers[i].begin(), layers[i].end());
    ordered.emplace_back(layers[i], kinds[i]);
  }
  std::sort(ordered.begin(), ordered.end());
  std::string text = "ropewalk/1 kinds";
  for (const auto& [indices, kind] : ordered) {
    text += " " + kind + ":";
    for (const int index : indices) text += " " + std::to_string(index);
  }
  return hash_of(text);
}

}  // namespace ropewalk
