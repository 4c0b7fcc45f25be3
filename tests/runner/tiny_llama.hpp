#pragma once

// A Llama of a few thousand parameters with random weights, written to a folder as Hugging Face writes one: what the
// tests of the runner open, whole or with something wrong in it.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace tiny {

using nlohmann::json;
namespace fs = std::filesystem;

// A folder that goes away with its owner.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "ropewalk-runner-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const std::string& name) const { return path_ / name; }
  std::string string() const { return path_.string(); }

 private:
  fs::path path_;
};

inline void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

inline std::string utf8(unsigned point) {
  if (point < 0x80) return {static_cast<char>(point)};
  return {static_cast<char>(0xc0u | point >> 6), static_cast<char>(0x80u | (point & 0x3fu))};
}

// GPT-2's alphabet: the characters that stand for the 256 bytes.
inline std::vector<std::string> alphabet() {
  std::vector<std::string> out(256);
  unsigned next = 256;
  for (unsigned b = 0; b < 256; ++b) out[b] = utf8((b > 32 && b < 127) || (b > 160 && b != 173) ? b : next++);
  return out;
}

// A tokenizer whose first 256 ids are the bytes; each merge adds one behind them.
inline json tokenizer(const std::vector<std::pair<std::string, std::string>>& merges = {}, const json& pre = json()) {
  json vocab = json::object();
  const auto letters = alphabet();
  for (std::size_t b = 0; b < letters.size(); ++b) vocab[letters[b]] = b;
  json list = json::array();
  for (const auto& [left, right] : merges) {
    vocab[left + right] = vocab.size();
    list.push_back({left, right});
  }
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"pre_tokenizer", pre.is_null() ? bytes : pre},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}}};
}

struct Sizes {
  int hidden = 48, inner = 80, layers = 2, heads = 6, kv_heads = 2, head_dim = 8, vocabulary = 256;
  bool tied = true;
};

inline json config(const Sizes& s) {
  return {{"model_type", "llama"},
          {"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", s.hidden},
          {"intermediate_size", s.inner},
          {"num_hidden_layers", s.layers},
          {"num_attention_heads", s.heads},
          {"num_key_value_heads", s.kv_heads},
          {"head_dim", s.head_dim},
          {"vocab_size", s.vocabulary},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", s.tied},
          {"max_position_embeddings", 256},
          {"hidden_act", "silu"}};
}

using Tensors = std::map<std::string, std::vector<std::int64_t>>;

inline Tensors tensors(const Sizes& s) {
  Tensors out{{"model.embed_tokens.weight", {s.vocabulary, s.hidden}}, {"model.norm.weight", {s.hidden}}};
  if (!s.tied) out["lm_head.weight"] = {s.vocabulary, s.hidden};
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    out[at + "input_layernorm.weight"] = {s.hidden};
    out[at + "post_attention_layernorm.weight"] = {s.hidden};
    out[at + "self_attn.q_proj.weight"] = {s.heads * s.head_dim, s.hidden};
    out[at + "self_attn.k_proj.weight"] = {s.kv_heads * s.head_dim, s.hidden};
    out[at + "self_attn.v_proj.weight"] = {s.kv_heads * s.head_dim, s.hidden};
    out[at + "self_attn.o_proj.weight"] = {s.hidden, s.heads * s.head_dim};
    out[at + "mlp.gate_proj.weight"] = {s.inner, s.hidden};
    out[at + "mlp.up_proj.weight"] = {s.inner, s.hidden};
    out[at + "mlp.down_proj.weight"] = {s.hidden, s.inner};
  }
  return out;
}

// A Gemma 3 of the same sizes: four norms a layer, norms of heads, a layer type each.
inline json gemma_config(const Sizes& s, const std::vector<std::string>& layer_types, int window) {
  json out = config(s);
  out["model_type"] = "gemma3_text";
  out["architectures"] = {"Gemma3ForCausalLM"};
  out.erase("hidden_act");
  out["hidden_activation"] = "gelu_pytorch_tanh";
  // The reader refuses a base of layers that are not there.
  out.erase("rope_theta");
  if (std::count(layer_types.begin(), layer_types.end(), "full_attention") > 0) out["rope_theta"] = 1000000.0;
  out["rope_local_base_freq"] = 10000.0;
  out["query_pre_attn_scalar"] = 20;
  out["num_hidden_layers"] = layer_types.size();
  out["layer_types"] = layer_types;
  out["sliding_window"] = window;
  return out;
}

inline Tensors gemma_tensors(const Sizes& s) {
  Tensors out = tensors(s);
  for (int i = 0; i < s.layers; ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    out[at + "pre_feedforward_layernorm.weight"] = {s.hidden};
    out[at + "post_feedforward_layernorm.weight"] = {s.hidden};
    out[at + "self_attn.q_norm.weight"] = {s.head_dim};
    out[at + "self_attn.k_norm.weight"] = {s.head_dim};
  }
  return out;
}

/// `scaled` multiplies every number of the tensors whose names end so.
inline void write_safetensors(const fs::path& path, const Tensors& shapes, const std::string& scaled = "nothing",
                              float scale = 1.0f) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 0.3f);
  json header = json::object();
  std::string data;
  for (const auto& [name, shape] : shapes) {
    std::int64_t count = 1;
    for (const std::int64_t n : shape) count *= n;
    const std::size_t first = data.size();
    for (std::int64_t i = 0; i < count; ++i) {
      const float value =
          (normal(random) + (shape.size() == 1 ? 1.0f : 0.0f)) * (name.ends_with(scaled) ? scale : 1.0f);
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {first, data.size()}}};
  }
  const std::string text = header.dump();
  const std::uint64_t size = text.size();
  write(path, std::string(reinterpret_cast<const char*>(&size), sizeof size) + text + data);
}

inline void write_model(const Folder& folder, const Sizes& sizes = {}) {
  write(folder / "config.json", config(sizes).dump());
  write(folder / "tokenizer.json", tokenizer().dump());
  write_safetensors(folder / "model.safetensors", tensors(sizes));
}

inline void write_gemma(const Folder& folder, const std::vector<std::string>& layer_types, int window) {
  const Sizes sizes{.layers = static_cast<int>(layer_types.size())};
  write(folder / "config.json", gemma_config(sizes, layer_types, window).dump());
  write(folder / "tokenizer.json", tokenizer().dump());
  write_safetensors(folder / "model.safetensors", gemma_tensors(sizes));
}

inline std::vector<std::int32_t> ids(std::int64_t count, int vocabulary = 256) {
  std::mt19937 random(3);
  std::vector<std::int32_t> out(static_cast<std::size_t>(count));
  for (auto& id : out) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary));
  return out;
}

}  // namespace tiny
