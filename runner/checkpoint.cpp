#include "runner/checkpoint.hpp"

#include <ropewalk/gguf.hpp>
#include <ropewalk/safetensors.hpp>

#include "runner/dequantize.hpp"
#include "runner/text_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace ropewalk::runner {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// No size of a model is larger; that keeps products of two sizes inside 64 bits.
constexpr std::int64_t kLargestSize = std::int64_t{1} << 28;

// Tensors that say something about positions only; read_positions has read them, or they repeat the config.
bool only_about_positions(std::string_view name) {
  return name == "rope_freqs.weight" || name.ends_with("rotary_emb.inv_freq");
}

// One tensor, wherever it lies.
struct Stored {
  std::string name;
  GgufType type = GgufType::kF32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::span<const std::byte> bytes;
};

std::string size_wanted(const std::string& got) { return "want a number from 1 to 2^28, got " + got; }

std::string shown(const std::vector<std::int64_t>& slowest_first) {
  std::string out = "[";
  for (std::size_t i = 0; i < slowest_first.size(); ++i) out += (i != 0 ? ", " : "") + std::to_string(slowest_first[i]);
  return out + "]";
}

Result<json> json_of(const fs::path& path) {
  const auto text = read_text_file(path);
  if (!text) return text.error();
  json parsed = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return Error{Code::kFormat, path.string(), "want a JSON object, got something else"};
  return parsed;
}

}  // namespace

struct Checkpoint::State {
  const Architecture* architecture = nullptr;
  ModelConfig config;
  std::int64_t window = 0;  // keys a query of a sliding layer sees; 0: the file says nothing
  CheckpointPositions positions;
  std::optional<Tokenizer> tokenizer;
  std::optional<GgufFile> gguf;
  std::vector<SafetensorsFile> shards;
  std::map<std::string, Stored, std::less<>> tensors;

  std::optional<Error> collect_gguf() {
    for (const GgufTensor& tensor : gguf->tensors()) {
      if (only_about_positions(tensor.name)) continue;
      if (!can_dequantize(tensor.type))
        return Error{
            Code::kUnsupported, "gguf:" + tensor.name,
            "want F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K, got " + name_of(tensor.type)};
      if (auto error = add(tensor.name, tensor.type, {tensor.shape.rbegin(), tensor.shape.rend()}, gguf->data(tensor)))
        return error;
    }
    return std::nullopt;
  }

  std::optional<Error> collect_shard(const SafetensorsFile& shard) {
    for (const SafetensorsTensor& tensor : shard.tensors()) {
      if (only_about_positions(tensor.name)) continue;
      GgufType type = GgufType::kF32;
      if (tensor.dtype == "F16") {
        type = GgufType::kF16;
      } else if (tensor.dtype == "BF16") {
        type = GgufType::kBF16;
      } else if (tensor.dtype != "F32") {
        return Error{Code::kUnsupported, "safetensors:" + tensor.name, "want F32, F16 or BF16, got " + tensor.dtype};
      }
      if (auto error = add(tensor.name, type, tensor.shape, shard.data(tensor))) return error;
    }
    return std::nullopt;
  }

  // `shape` is slowest axis first. Axes of length 1 in front of the last two say nothing.
  std::optional<Error> add(const std::string& name, GgufType type, std::vector<std::int64_t> shape,
                           std::span<const std::byte> bytes) {
    while (shape.size() > 1 && shape.front() == 1) shape.erase(shape.begin());
    if (shape.empty() || shape.size() > 2)
      return Error{Code::kUnsupported, name, "want a vector or a matrix, got shape " + shown(shape)};
    const GgufBlock block = block_of(type);
    const std::int64_t rows = shape.size() == 2 ? shape[0] : 1;
    const std::int64_t columns = shape.back();
    if (rows < 1 || columns < 1 || rows > kLargestSize || columns > kLargestSize || columns % block.values != 0 ||
        static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(columns / block.values) *
                static_cast<std::uint64_t>(block.bytes) !=
            bytes.size())
      return Error{Code::kFormat, name,
                   "shape " + shown(shape) + " of " + name_of(type) + " does not fit " + std::to_string(bytes.size()) +
                       " bytes"};
    if (!tensors.emplace(name, Stored{name, type, rows, columns, bytes}).second)
      return Error{Code::kFormat, name, "want each tensor once, got it twice"};
    return std::nullopt;
  }

  // The sizes that metadata gives are held against each tensor that has them; what is left over would be part of a
  // model that this decoder does not know, so it is refused and not dropped.
  std::optional<Error> check_tensors() {
    const std::int64_t q = std::int64_t{config.heads} * config.head_dim;
    const std::int64_t kv = std::int64_t{config.kv_heads} * config.head_dim;
    const std::int64_t hidden = config.hidden_size;
    const std::int64_t inner = config.intermediate_size;
    const auto shape_of = [&](Role role) -> std::pair<std::int64_t, std::int64_t> {
      switch (role) {
        case Role::kEmbedding:
        case Role::kOutput: return {config.vocabulary, hidden};
        case Role::kQuery: return {q, hidden};
        case Role::kKey:
        case Role::kValue: return {kv, hidden};
        case Role::kAttentionOut: return {hidden, q};
        case Role::kGate:
        case Role::kUp: return {inner, hidden};
        case Role::kDown: return {hidden, inner};
        case Role::kQueryNorm:
        case Role::kKeyNorm: return {1, config.head_dim};
        default: return {1, hidden};
      }
    };
    std::set<std::string> expected;
    config.parameters = 0;
    for (const TensorName& known : architecture->tensors)
      for (int layer = 0; layer < (known.in_layer ? config.layers : 1); ++layer) {
        const std::string name = architecture->tensor_name(known.role, layer, gguf.has_value());
        const auto [rows, columns] = shape_of(known.role);
        const auto found = tensors.find(name);
        if (found == tensors.end()) {
          if (known.role == Role::kOutput && config.tied_embeddings) continue;
          return Error{Code::kInvalid, name, "want a tensor of shape " + shown({rows, columns}) + ", got none"};
        }
        if (found->second.rows != rows || found->second.columns != columns)
          return Error{Code::kInvalid, name,
                       "want shape " + shown({rows, columns}) + " by the config, got " +
                           shown({found->second.rows, found->second.columns})};
        expected.insert(name);
        // Some files carry the tied matrix a second time; the config's word is followed.
        if (known.role != Role::kOutput || !config.tied_embeddings) config.parameters += rows * columns;
      }
    for (const auto& [name, tensor] : tensors)
      if (!expected.contains(name))
        return Error{Code::kUnsupported, name,
                     "want no tensor that a plain " + std::string(architecture->gguf) + " of " +
                         std::to_string(config.layers) + " layers does not have, got this one"};
    return std::nullopt;
  }

  std::optional<Error> check_sizes() {
    const std::string at = gguf ? "gguf" : "config";
    const auto range = [&](const char* what, std::int64_t value) -> std::optional<Error> {
      if (value >= 1 && value <= kLargestSize) return std::nullopt;
      return Error{Code::kInvalid, at + ":" + what, size_wanted(std::to_string(value))};
    };
    for (const auto& [what, value] :
         {std::pair{"vocabulary", config.vocabulary}, std::pair{"hidden_size", config.hidden_size},
          std::pair{"intermediate_size", config.intermediate_size}, std::pair{"layers", std::int64_t{config.layers}},
          std::pair{"heads", std::int64_t{config.heads}}, std::pair{"kv_heads", std::int64_t{config.kv_heads}},
          std::pair{"head_dim", std::int64_t{config.head_dim}}})
      if (auto error = range(what, value)) return error;
    if (config.layers > 65536 || config.heads > 65536 || config.head_dim > 65536)
      return Error{Code::kInvalid, at, "want at most 65536 layers, heads and channels a head, got more"};
    if (config.heads % config.kv_heads != 0)
      return Error{Code::kInvalid, at + ":kv_heads",
                   "want a divisor of the " + std::to_string(config.heads) + " query heads, got " +
                       std::to_string(config.kv_heads)};
    if (!(config.rms_norm_eps >= 0.0) || !(config.rms_norm_eps < 1.0))
      return Error{Code::kInvalid, at + ":rms_norm_eps",
                   "want a number in [0, 1), got " + std::to_string(config.rms_norm_eps)};
    if (!(config.query_scale > 0.0) || !std::isfinite(config.query_scale))
      return Error{Code::kInvalid, at + ":query_pre_attn_scalar", "want a number > 0, got another"};
    for (const LayerKind& kind : positions.kinds)
      if (kind.head_dim != config.head_dim)
        return Error{Code::kInvalid, at + ":head_dim",
                     "want " + std::to_string(kind.head_dim) + " as the positions have it, got " +
                         std::to_string(config.head_dim)};
    return std::nullopt;
  }

  // Which layers slide is what the file says about its positions, whatever family's conventions they are to follow.
  std::optional<Error> read_windows(std::span<const LayerKind> kinds) {
    config.windows.assign(static_cast<std::size_t>(config.layers), 0);
    for (const LayerKind& kind : kinds) {
      if (!is_local(kind.name)) continue;
      if (kind.name != kSlidingKind || window < 1)
        return Error{Code::kUnsupported, (gguf ? "gguf:" : "config:") + kind.name,
                     "want sliding layers with a window of at least 1 token, got " +
                         (kind.name == kSlidingKind ? std::to_string(window) : "\"" + kind.name + "\"")};
      for (const int layer : kind.layers)
        if (layer >= 0 && layer < config.layers) config.windows[static_cast<std::size_t>(layer)] = window;
    }
    return std::nullopt;
  }

  std::optional<Error> read_gguf_config();
  std::optional<Error> read_json_config(const fs::path& folder);
  std::optional<Error> open_shards(const fs::path& folder);
};

std::optional<Error> Checkpoint::State::read_gguf_config() {
  auto word = gguf->text("general.architecture");
  if (!word) return word.error();
  architecture = *word ? architecture_of_gguf(**word) : nullptr;
  if (architecture == nullptr)
    return Error{Code::kUnsupported, "gguf:general.architecture",
                 "want " + known_architectures(true) + ", got " + (*word ? "\"" + **word + "\"" : "nothing")};
  const auto key = [&](std::string_view own) { return std::string(architecture->gguf) + "." + std::string(own); };

  // Keys with which a model is not the plain one that is computed here.
  for (const char* own : {"attention.scale", "logit_scale", "embedding_scale", "residual_scale", "attention.clamp_kqv"})
    if (gguf->find(key(own)) != nullptr) return Error{Code::kUnsupported, "gguf:" + key(own), "want no such key"};
  if (architecture->window == 0 && gguf->find(key("attention.sliding_window")) != nullptr)
    return Error{Code::kUnsupported, "gguf:" + key("attention.sliding_window"), "want no such key"};
  for (const char* own : {"expert_count", "attn_logit_softcapping", "final_logit_softcapping"}) {
    auto value = gguf->number(key(own));
    if (!value) return value.error();
    if (*value && **value != 0.0)
      return Error{Code::kUnsupported, "gguf:" + key(own), "want 0 or no such key, got " + std::to_string(**value)};
  }

  std::optional<Error> failed;
  const auto integer = [&](std::string_view own, std::optional<std::int64_t> missing) -> std::int64_t {
    auto value = gguf->integer(key(own));
    if (!value) {
      if (!failed) failed = value.error();
    } else if (*value) {
      if (**value >= 1 && **value <= kLargestSize) return **value;
      if (!failed) failed = Error{Code::kInvalid, "gguf:" + key(own), size_wanted(std::to_string(**value))};
    } else if (missing) {
      return *missing;
    } else if (!failed) {
      failed = Error{Code::kInvalid, "gguf:" + key(own), "want a number, got nothing"};
    }
    return 0;
  };
  config.hidden_size = integer("embedding_length", {});
  config.intermediate_size = integer("feed_forward_length", {});
  config.layers = static_cast<int>(integer("block_count", {}));
  config.heads = static_cast<int>(integer("attention.head_count", {}));
  config.kv_heads = static_cast<int>(integer("attention.head_count_kv", config.heads));
  const std::int64_t even = config.heads > 0 ? config.hidden_size / config.heads : 0;
  config.head_dim = static_cast<int>(integer("attention.key_length", even));
  const std::int64_t value_dim = integer("attention.value_length", config.head_dim);
  auto epsilon = gguf->number(key("attention.layer_norm_rms_epsilon"));
  auto name = gguf->text("general.name");
  auto sliding = gguf->integer(key("attention.sliding_window"));
  if (failed) return failed;
  if (value_dim != config.head_dim)
    return Error{Code::kUnsupported, "gguf:" + key("attention.value_length"),
                 "want " + std::to_string(config.head_dim) + " as for keys, got " + std::to_string(value_dim)};
  if (!epsilon) return epsilon.error();
  if (!*epsilon)
    return Error{Code::kInvalid, "gguf:" + key("attention.layer_norm_rms_epsilon"), "want a number, got nothing"};
  config.rms_norm_eps = **epsilon;
  if (name && *name) config.name = **name;
  if (!sliding) return sliding.error();
  window = sliding->value_or(0);
  const bool mean =
      architecture->layers_with_mean_scalar != 0 && config.layers == architecture->layers_with_mean_scalar;
  config.query_scale = 1.0 / std::sqrt(static_cast<double>(mean ? even : config.head_dim));
  const GgufTensor* const embedding = gguf->find_tensor(architecture->tensor_name(Role::kEmbedding, 0, true));
  config.vocabulary =
      embedding != nullptr && embedding->shape.size() == 2 ? embedding->shape[1] : integer("vocab_size", 0);
  config.tied_embeddings = gguf->find_tensor(architecture->tensor_name(Role::kOutput, 0, true)) == nullptr;
  return std::nullopt;
}

std::optional<Error> Checkpoint::State::read_json_config(const fs::path& folder) {
  const auto parsed = json_of(folder / "config.json");
  if (!parsed) return parsed.error();
  const json& words = *parsed;
  std::optional<Error> failed;
  const auto refuse = [&](Code code, const std::string& key, const std::string& message) {
    if (!failed) failed = Error{code, "config:" + key, message};
  };
  const auto given = [&](const std::string& key) -> const json* {
    const auto found = words.find(key);
    return found == words.end() || found->is_null() ? nullptr : &*found;
  };
  const auto integer = [&](const char* key, std::optional<std::int64_t> missing) -> std::int64_t {
    const json* const value = given(key);
    if (value == nullptr && missing) return *missing;
    if (value == nullptr) {
      refuse(Code::kInvalid, key, "want a number, got nothing");
    } else if (!value->is_number_integer()) {
      refuse(Code::kInvalid, key, "want a whole number, got " + value->dump());
    } else if (*value < 1 || *value > kLargestSize) {
      refuse(Code::kInvalid, key, size_wanted(value->dump()));
    } else {
      return value->get<std::int64_t>();
    }
    return 0;
  };
  const auto flag = [&](const char* key, bool missing) -> bool {
    const json* const value = given(key);
    if (value == nullptr) return missing;
    if (!value->is_boolean()) refuse(Code::kInvalid, key, "want true or false, got " + value->dump());
    return value->is_boolean() && value->get<bool>();
  };
  const json* const type = given("model_type");
  architecture = type != nullptr && type->is_string() ? architecture_of_model_type(type->get<std::string>()) : nullptr;
  if (architecture == nullptr)
    return Error{Code::kUnsupported, "config:model_type",
                 "want " + known_architectures(false) + ", got " + (type != nullptr ? type->dump() : "nothing")};
  const std::string activation(architecture->activation_key);
  const std::string wanted(architecture->activation_word);
  if (const json* const act = given(activation); act != nullptr && *act != json(wanted))
    refuse(Code::kUnsupported, activation, "want \"" + wanted + "\", got " + act->dump());
  for (const std::string_view key : architecture->lacks)
    if (const json* const value = given(std::string(key)); value != nullptr && *value != false)
      refuse(Code::kUnsupported, std::string(key), "want false or null, got " + value->dump());
  config.hidden_size = integer("hidden_size", {});
  config.intermediate_size = integer("intermediate_size", {});
  config.layers = static_cast<int>(integer("num_hidden_layers", {}));
  config.heads = static_cast<int>(integer("num_attention_heads", {}));
  config.kv_heads = static_cast<int>(integer("num_key_value_heads", config.heads));
  const std::int64_t even = config.heads > 0 ? config.hidden_size / config.heads : std::int64_t{0};
  config.head_dim = static_cast<int>(integer("head_dim", architecture->head_dim > 0 ? architecture->head_dim : even));
  config.vocabulary = integer("vocab_size", {});
  config.tied_embeddings = flag("tie_word_embeddings", architecture->tied);
  if (architecture->window > 0) window = integer("sliding_window", architecture->window);
  auto scalar = static_cast<double>(config.head_dim);
  if (architecture->query_scalar > 0) {
    scalar = static_cast<double>(architecture->query_scalar);
    if (const json* const value = given("query_pre_attn_scalar")) {
      if (!value->is_number()) refuse(Code::kInvalid, "query_pre_attn_scalar", "want a number, got " + value->dump());
      if (value->is_number()) scalar = value->get<double>();
    }
  }
  config.query_scale = 1.0 / std::sqrt(scalar);
  config.rms_norm_eps = 1e-6;  // the default of every config class here
  if (const json* const epsilon = given("rms_norm_eps")) {
    if (!epsilon->is_number()) refuse(Code::kInvalid, "rms_norm_eps", "want a number, got " + epsilon->dump());
    if (epsilon->is_number()) config.rms_norm_eps = epsilon->get<double>();
  }
  config.name = fs::absolute(folder).lexically_normal().filename().string();
  return failed;
}

std::optional<Error> Checkpoint::State::open_shards(const fs::path& folder) {
  std::set<std::string> names;
  if (fs::exists(folder / "model.safetensors")) {
    names.insert("model.safetensors");
  } else {
    const fs::path index_path = folder / "model.safetensors.index.json";
    if (!fs::exists(index_path))
      return Error{Code::kUnavailable, folder.string(),
                   "want model.safetensors or model.safetensors.index.json, got neither"};
    const auto index = json_of(index_path);
    if (!index) return index.error();
    const auto map = index->find("weight_map");
    if (map == index->end() || !map->is_object() || map->empty())
      return Error{Code::kFormat, index_path.string(), "want a weight_map with at least one entry"};
    for (const auto& [tensor, shard] : map->items()) {
      // A shard lies in the folder itself: a name with a separator would reach outside.
      if (!shard.is_string() || shard.get<std::string>().find('/') != std::string::npos)
        return Error{Code::kFormat, index_path.string(), "weight_map: want a file name, got " + shard.dump()};
      names.insert(shard.get<std::string>());
    }
  }
  for (const std::string& name : names) {
    auto shard = SafetensorsFile::open((folder / name).string());
    if (!shard) return shard.error();
    shards.push_back(*std::move(shard));
    if (auto error = collect_shard(shards.back())) return error;
  }
  return std::nullopt;
}

Result<Checkpoint> Checkpoint::open(const std::string& path, const std::string& family) {
  auto state = std::make_shared<State>();
  std::error_code code;
  const bool folder = fs::is_directory(path, code);
  if (!folder && !fs::exists(path, code)) return Error{Code::kUnavailable, path, "no such file or folder"};

  if (folder) {
    if (auto error = state->read_json_config(path)) return *std::move(error);
  } else {
    auto file = GgufFile::open(path);
    if (!file) return file.error();
    state->gguf = *std::move(file);
    if (auto error = state->read_gguf_config()) return *std::move(error);
  }
  ModelConfig& config = state->config;
  config.activation = state->architecture->activation;
  config.embedding_scale =
      state->architecture->scales_embedding ? std::sqrt(static_cast<float>(config.hidden_size)) : 1.0f;
  auto positions = read_positions(path, {.family = family});
  if (!positions) return positions.error();
  state->positions = *std::move(positions);
  if (auto error = state->check_sizes()) return *std::move(error);
  const auto own = family.empty() ? Result<CheckpointPositions>(state->positions) : read_positions(path);
  if (!own) return own.error();
  if (auto error = state->read_windows(own->kinds)) return *std::move(error);
  if (auto error = folder ? state->open_shards(path) : state->collect_gguf()) return *std::move(error);
  if (auto error = state->check_tensors()) return *std::move(error);

  auto tokenizer = folder ? Tokenizer::from_json_file((fs::path(path) / "tokenizer.json").string())
                          : Tokenizer::from_gguf(*state->gguf);
  if (!tokenizer) return tokenizer.error();
  if (tokenizer->vocabulary_size() > config.vocabulary)
    return Error{Code::kInvalid, "tokenizer",
                 "want ids below " + std::to_string(config.vocabulary) + " as the embedding has rows, got " +
                     std::to_string(tokenizer->vocabulary_size() - 1)};
  state->tokenizer = *std::move(tokenizer);
  return Checkpoint(std::move(state));
}

const ModelConfig& Checkpoint::config() const noexcept { return state_->config; }
const CheckpointPositions& Checkpoint::positions() const noexcept { return state_->positions; }
const Tokenizer& Checkpoint::tokenizer() const noexcept { return *state_->tokenizer; }
const Architecture& Checkpoint::architecture() const noexcept { return *state_->architecture; }

void Checkpoint::read(Role role, int layer, std::int64_t first, std::int64_t count, float* out) const noexcept {
  const Architecture& architecture = *state_->architecture;
  const bool in_gguf = state_->gguf.has_value();
  const Stored& tensor = state_->tensors.find(architecture.tensor_name(role, layer, in_gguf))->second;
  const GgufBlock block = block_of(tensor.type);
  const std::int64_t row_bytes = tensor.columns / block.values * block.bytes;
  dequantize(tensor.type, tensor.bytes.data() + first * row_bytes, count * tensor.columns, out);
  if (architecture.norms_less_one && !in_gguf && is_norm(role))
    for (std::int64_t i = 0; i < tensor.columns; ++i) out[i] += 1.0f;
}

}  // namespace ropewalk::runner
