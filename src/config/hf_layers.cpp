#include "config/hf_layers.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::string_view kFull = "full_attention";
constexpr std::string_view kSliding = "sliding_attention";
constexpr std::string_view kLinear = "linear_attention";
constexpr std::string_view kIndexed = "indexed_attention";
constexpr std::string_view kConv = "conv";

std::vector<std::string> by_index(int layers, auto&& type_of) {
  std::vector<std::string> types;
  for (int i = 0; i < layers; ++i) types.emplace_back(type_of(i));
  return types;
}

std::vector<std::string> listed_at(Keys& config, std::string_view key, int layers) {
  const auto indices = config.integers(key, 0, 1 << 16);
  return by_index(layers, [&](int i) {
    const bool attends = !indices || std::find(indices->begin(), indices->end(), i) != indices->end();
    return attends ? kFull : std::string_view();
  });
}

}  // namespace

std::string modern_layer_type(std::string name) {
  // transformers 5.23.0 configuration_utils.py, _LEGACY_LAYER_TYPE_REMAP.
  if (name == "mamba") return "linear_attention";
  if (name == "attention") return "full_attention";
  if (name == "deepseek_sparse_attention" || name == "qwen_sparse_attention") return "indexed_attention";
  return name;
}

void check_layer_types(const Keys& config, std::string_view key) {
  // transformers 5.23.0 configuration_utils.py, ALLOWED_ATTN_LAYER_TYPES.
  constexpr std::string_view kAllowed[] = {"full_attention",
                                           "sliding_attention",
                                           "chunked_attention",
                                           "window_attention",
                                           "indexed_attention",
                                           "compressed_sparse_attention",
                                           "heavily_compressed_attention",
                                           "minimax_m3_sparse",
                                           "conv",
                                           "moe",
                                           "hybrid",
                                           "hybrid_sliding",
                                           "reference_sliding_attention",
                                           "linear_attention"};
  const Json* const list = config.peek(key);
  if (list == nullptr || !list->is_array()) return;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& type = (*list)[i];
    if (type.is_string() && std::find(std::begin(kAllowed), std::end(kAllowed),
                                      modern_layer_type(type.get<std::string>())) != std::end(kAllowed))
      continue;
    std::string names;
    for (const std::string_view name : kAllowed) names += (names.empty() ? "" : ", ") + std::string(name);
    refuse(Code::kInvalid, config.where(key) + "[" + std::to_string(i) + "]",
           "want one of " + names + ", got " + shown(type));
  }
}

bool is_layer_type(std::string_view name) noexcept {
  constexpr std::string_view kTypes[] = {"full_attention",
                                         "sliding_attention",
                                         "chunked_attention",
                                         "linear_attention",
                                         "indexed_attention",
                                         "hybrid",
                                         "hybrid_sliding",
                                         "conv",
                                         "main",
                                         "compress",
                                         "attention",
                                         "reference_sliding_attention",
                                         "minimax_m3_sparse",
                                         "mamba"};
  return std::find(std::begin(kTypes), std::end(kTypes), name) != std::end(kTypes);
}

std::vector<std::string> layer_types(Keys& config, const Row& row, int layers) {
  // transformers maps layers_block_type and layer_types to one attribute for the hybrid families.
  for (const std::string_view key : {"layer_types", "layers_block_type"}) {
    auto list = config.texts(key);
    if (!list) continue;
    if (layers > 0 && static_cast<int>(list->size()) != layers)
      refuse(Code::kInvalid, config.where(key),
             "want a type for each of the " + std::to_string(layers) + " layers, got " + std::to_string(list->size()));
    for (std::string& type : *list) type = modern_layer_type(std::move(type));
    // Older files of these call the layers that have an indexer full.
    if (row.name == "qwen4_exp_text" || (row.name == "dots3_note_text" && !config.has("per_layer_config")))
      std::replace(list->begin(), list->end(), std::string(kFull), std::string(kIndexed));
    if (row.pattern == Pattern::kEveryAndLast && !list->empty() && list->back() != row.special)
      refuse(Code::kUnsupported, config.where(key),
             "want " + std::string(row.special) + " for the last layer, which transformers would force, got " +
                 list->back());
    return *list;
  }
  if (layers <= 0 || row.pattern == Pattern::kNone) return {};

  int every = row.every;
  if (!row.every_key.empty())
    if (const auto given = config.integer(row.every_key, 1, 1 << 16)) every = static_cast<int>(*given);
  const auto special_or_common = [&](bool special) { return special ? row.special : row.common; };
  switch (row.pattern) {
    case Pattern::kNone: break;
    case Pattern::kEvery: return by_index(layers, [&](int i) { return special_or_common((i + 1) % every == 0); });
    case Pattern::kEveryAndLast:
    case Pattern::kEveryAndEnd:
      return by_index(layers, [&](int i) { return special_or_common((i + 1) % every == 0 || i + 1 == layers); });
    case Pattern::kFirstAndEvery:
      return by_index(layers, [&](int i) { return special_or_common(i == 0 || (i + 1) % every == 0); });
    case Pattern::kModulo: return by_index(layers, [&](int i) { return special_or_common(i % every == 0); });
    case Pattern::kDots3: return by_index(layers, [](int i) { return i < 2 || i % 4 == 1 ? kIndexed : kSliding; });
    case Pattern::kUniform: return by_index(layers, [&](int) { return row.special; });
    case Pattern::kFromEnd:
      return by_index(layers, [&](int i) { return special_or_common((layers - 1 - i) % every == 0); });
    case Pattern::kFlint:
      return by_index(layers, [&](int i) { return i < 2 || i % 4 == 1 || i + 1 == layers ? kFull : kSliding; });
    case Pattern::kLfm3:
      return by_index(layers, [](int i) { return i % 4 == 2 ? kFull : i % 4 == 0 && i > 0 ? kSliding : kConv; });
    case Pattern::kLfm2: {
      auto types = listed_at(config, "full_attn_idxs", layers);
      for (std::string& type : types)
        if (type.empty()) type = kConv;
      return types;
    }
    case Pattern::kBamba: {
      if (!config.has("attn_layer_indices")) return by_index(layers, [](int) { return kLinear; });
      auto types = listed_at(config, "attn_layer_indices", layers);
      for (std::string& type : types)
        if (type.empty()) type = kLinear;
      return types;
    }
    case Pattern::kAttnTypes: {
      const auto each = config.integers("attn_type_list", 0, 1);
      if (!each || static_cast<int>(each->size()) != layers)
        refuse(Code::kInvalid, config.where("attn_type_list"),
               "want 0 or 1 for each of the " + std::to_string(layers) + " layers, got " +
                   (each ? std::to_string(each->size()) : "none"));
      return by_index(layers, [&](int i) { return (*each)[static_cast<std::size_t>(i)] == 1 ? kFull : kLinear; });
    }
    case Pattern::kRecurrent: {
      const auto blocks =
          config.texts("block_types").value_or(std::vector<std::string>{"recurrent", "recurrent", "attention"});
      if (blocks.empty()) refuse(Code::kInvalid, config.where("block_types"), "want a type or more, got an empty list");
      return by_index(layers, [&](int i) {
        return blocks[static_cast<std::size_t>(i) % blocks.size()] == "recurrent" ? kLinear : kSliding;
      });
    }
  }
  return {};
}

}  // namespace ropewalk::config
