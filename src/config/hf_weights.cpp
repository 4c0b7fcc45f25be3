// What a family keeps about its positions among the weights, beside config.json.

#include "config/hf_weights.hpp"

#include "config/families.hpp"
#include "config/keys.hpp"
#include "config/mapped_file.hpp"
#include "config/printable.hpp"

#include <ropewalk/dtype.hpp>
#include <ropewalk/safetensors.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>

namespace ropewalk::config {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAlpha = "rotary_emb.alpha";
constexpr std::string_view kIndex = "model.safetensors.index.json";

bool is_alpha(std::string_view name) { return name == kAlpha || name.ends_with("." + std::string(kAlpha)); }

float widened(const std::byte* at, std::string_view dtype) {
  if (dtype == "F32") {
    float value = 0.0f;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

// The safetensors files that may hold the tensor: those that the index names for it, or all of the folder.
std::set<std::string> files_of(const fs::path& folder) {
  std::set<std::string> files;
  std::error_code problem;
  if (const fs::path index = folder / kIndex; fs::exists(index, problem)) {
    const Result<MappedFile> file = MappedFile::open(index.string());
    if (!file) throw Refusal{file.error()};
    const auto bytes = file->bytes();
    const Result<Json> json =
        parse_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, std::string(kIndex));
    if (!json) throw Refusal{json.error()};
    if (!json->contains("weight_map") || !json->at("weight_map").is_object())
      refuse(Code::kFormat, std::string(kIndex), "want a weight_map, got none");
    for (const auto& [name, shard] : json->at("weight_map").items()) {
      if (!is_alpha(name)) continue;
      // A shard lies beside its index.
      if (!shard.is_string() || fs::path(shard.get<std::string>()).filename() != fs::path(shard.get<std::string>()))
        refuse(Code::kFormat, std::string(kIndex) + ": " + printable(name, 80),
               "want the name of a file, got " + shown(shard));
      files.insert((folder / shard.get<std::string>()).string());
    }
    if (files.empty()) refuse(Code::kInvalid, std::string(kIndex), "want a tensor rotary_emb.alpha, got none");
    return files;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, problem))
    if (entry.path().extension() == ".safetensors") files.insert(entry.path().string());
  return files;
}

void learned_alpha(CheckpointPositions& positions, const fs::path& folder) {
  const std::set<std::string> files = files_of(folder);
  if (files.empty()) {
    positions.notes.emplace_back(
        "frequencies are multiplied by exp(rotary_emb.alpha), which stands in the weights: there are none beside the "
        "config, so alpha is taken for 0, as it is before training");
    return;
  }
  std::vector<double> alpha;
  std::string from;
  for (const std::string& path : files) {
    const Result<SafetensorsFile> file = SafetensorsFile::open(path);
    if (!file) throw Refusal{file.error()};
    for (const SafetensorsTensor& tensor : file->tensors()) {
      if (!is_alpha(tensor.name)) continue;
      const std::string where = printable(fs::path(path).filename().string(), 80) + ": " + printable(tensor.name, 80);
      if (tensor.dtype != "F32" && tensor.dtype != "BF16")
        refuse(Code::kUnsupported, where, "want F32 or BF16, got " + printable(tensor.dtype, 20));
      std::vector<double> values;
      const std::size_t width = tensor.dtype == "F32" ? 4 : 2;
      for (std::size_t at = 0; at + width <= tensor.bytes; at += width)
        values.push_back(double{widened(file->data(tensor).data() + at, tensor.dtype)});
      if (!from.empty() && values != alpha)
        refuse(Code::kUnsupported, where, "want the same numbers as " + from + ", got others");
      alpha = std::move(values);
      from = where;
    }
  }
  if (from.empty())
    refuse(Code::kInvalid, std::string(kAlpha), "want this tensor in the weights beside the config, got none");
  for (LayerKind& kind : positions.kinds) {
    if (!kind.spec) continue;
    if (static_cast<int>(alpha.size()) != kind.spec->pairs())
      refuse(
          Code::kInvalid, from,
          "want " + std::to_string(kind.spec->pairs()) + " numbers, one a pair, got " + std::to_string(alpha.size()));
    kind.spec->frequency_multipliers.clear();
    for (const double one : alpha) kind.spec->frequency_multipliers.push_back(std::exp(one));
    if (auto error = validate(*kind.spec)) throw Refusal{{error->code, from, error->message}};
  }
  positions.provenance.push_back(
      {"frequency_multipliers", "exp of " + std::to_string(alpha.size()) + " numbers", from});
}

}  // namespace

std::optional<Error> read_learned(CheckpointPositions& positions, const std::string& config_path) {
  const Row* const row = find_row(positions.family);
  if (row == nullptr || !row->learned_alpha) return std::nullopt;
  try {
    learned_alpha(positions,
                  fs::path(config_path).parent_path().empty() ? fs::path(".") : fs::path(config_path).parent_path());
  } catch (const Refusal& refusal) {
    return refusal.error;
  }
  return std::nullopt;
}

}  // namespace ropewalk::config
