#include "config/stated_layout.hpp"

#include "config/printable.hpp"

#include <ropewalk/safetensors.hpp>

#include <filesystem>
#include <system_error>

namespace ropewalk::config {
namespace {

namespace fs = std::filesystem;

fs::path weights_beside(const fs::path& config) {
  const fs::path folder = config.parent_path().empty() ? fs::path(".") : config.parent_path();
  std::error_code ignored;
  if (fs::exists(folder / "model.safetensors", ignored)) return folder / "model.safetensors";
  fs::path first;
  for (auto entry = fs::directory_iterator(folder, ignored); !ignored && entry != fs::directory_iterator();
       entry.increment(ignored))
    if (entry->path().extension() == ".safetensors" && (first.empty() || entry->path() < first)) first = entry->path();
  return first;
}

}  // namespace

std::optional<Error> follow_stated_layout(CheckpointPositions& positions, const std::string& config_path) {
  const fs::path path = weights_beside(config_path);
  if (path.empty()) return std::nullopt;
  const auto file = SafetensorsFile::open(path.string());
  if (!file) return std::nullopt;
  for (const auto& [key, word] : file->metadata()) {
    if (key != "ropewalk.pair_layout") continue;
    const std::string where = "safetensors:" + file_name(path.string()) + ": " + key;
    if (word != "half" && word != "interleaved")
      return Error{Code::kFormat, where, "want half or interleaved, got " + in_quotes(word)};
    for (LayerKind& kind : positions.kinds) {
      if (!kind.spec) continue;
      kind.spec->layout = word == "half" ? PairLayout::kHalf : PairLayout::kInterleaved;
      if (kind.spec->output_layout == kind.spec->layout) kind.spec->output_layout = PairLayout::kUnset;
    }
    for (Provenance& entry : positions.provenance)
      if (entry.what.starts_with("pair_layout")) entry = {entry.what, word, where};
  }
  return std::nullopt;
}

}  // namespace ropewalk::config
