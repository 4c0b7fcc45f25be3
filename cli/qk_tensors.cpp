#include "cli/qk_tensors.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string_view>
#include <utility>

namespace ropewalk::cli {
namespace {

using nlohmann::json;
using Names = std::vector<std::string_view>;

// What stands before "layers.N." in the decoder that a config's positions are about. Vision towers, audio encoders and
// encoders with cross-attention have other prefixes, and rotate by rules of their own if at all.
constexpr std::string_view kModelPrefixes[] = {
    "",
    "model.",
    "gpt_neox.",
    "gpt_neox_japanese.",
    "transformer.",
    "transformer.encoder.",
    "language_model.",
    "language_model.model.",
    "model.language_model.",
};
constexpr std::string_view kLayerWords[] = {"layers", "h", "blocks", "layer"};
constexpr std::string_view kAttentionWords[] = {"self_attn", "attn", "attention", "self_attention", "temporal_block"};

enum class Member : std::uint8_t {
  kQuery,
  kKey,
  kValue,
  kFused,
  kQueryNorm,
  kKeyNorm,
  kLatentKey,    // [kv_lora_rank + qk_rope_head_dim, hidden]: one key for all heads, its turning channels last
  kLatentValue,  // what the unturned keys and the values of MLA are made of
  kOther,        // in an attention block, but not on the way of queries and keys to the rotation
};

struct MemberName {
  std::string_view name;
  Member member;
};

// Read in transformers 5.23.0, models/*/modeling_*.py, and for families it does not have in their own code.
constexpr MemberName kMembers[] = {
    {"q_proj", Member::kQuery},
    {"q_b_proj", Member::kQuery},
    {"k_proj", Member::kKey},
    {"v_proj", Member::kValue},
    {"query_key_value", Member::kFused},
    {"qkv_proj", Member::kFused},
    {"Wqkv", Member::kFused},
    {"wqkv", Member::kFused},
    {"W_pack", Member::kFused},
    {"c_attn", Member::kFused},
    {"q_norm", Member::kQueryNorm},
    {"q_layernorm", Member::kQueryNorm},
    {"query_layernorm", Member::kQueryNorm},
    {"k_norm", Member::kKeyNorm},
    {"k_layernorm", Member::kKeyNorm},
    {"key_layernorm", Member::kKeyNorm},
    {"kv_a_proj_with_mqa", Member::kLatentKey},
    {"kv_b_proj", Member::kLatentValue},
    {"gate_proj", Member::kOther},  // AFMoE, Laguna (g_proj): a gate on the heads' outputs
    {"g_proj", Member::kOther},
    {"lambda_q1", Member::kOther},  // DiffLlama: numbers of its own, not on the channels of queries
    {"lambda_q2", Member::kOther},
    {"lambda_k1", Member::kOther},
    {"lambda_k2", Member::kOther},
    {"A", Member::kOther},  // Doge: a mask made of the values
    {"dt_proj", Member::kOther},
    {"o_proj", Member::kOther},
    {"out_proj", Member::kOther},
    {"c_proj", Member::kOther},
    {"dense", Member::kOther},
    {"Wo", Member::kOther},
    {"wo", Member::kOther},
    {"v_norm", Member::kOther},
    {"q_a_proj", Member::kOther},
    {"q_a_layernorm", Member::kOther},
    {"kv_a_layernorm", Member::kOther},
    {"attn_sub_norm", Member::kOther},  // BitNet: on the heads' outputs
    {"sinks", Member::kOther},          // GPT-OSS: one number a head
    {"rotary_emb", Member::kOther},     // inv_freq, saved by old versions: it belongs to pairs
    {"bias", Member::kOther},           // the causal mask, saved by old versions
    {"masked_bias", Member::kOther},
    {"embed_positions", Member::kOther},  // GPT-J: its table of sines, one a pair
};

// How one tensor holds queries, keys and values.
enum class FusedForm : std::uint8_t {
  kStacked,  // all queries, all keys, all values
  kPerHead,  // of every head its query, key and value
  kGrouped,  // of every key head its queries, its key, its value
  kFalcon,   // kGrouped, kPerHead or kStacked, as new_decoder_architecture and multi_query say
  kCodegen,  // four parts, each with its queries, values and keys: the order of the machines it was trained on
  kChatglm,  // kStacked; without multi_query_attention it is another order
};

struct FusedName {
  std::string_view family;
  std::string_view member;
  FusedForm form;
};

constexpr FusedName kFused[] = {
    {"baichuan", "W_pack", FusedForm::kStacked},
    {"bailing_moe", "query_key_value", FusedForm::kStacked},
    {"bailing_moe_v2", "query_key_value", FusedForm::kStacked},
    {"chatglm", "query_key_value", FusedForm::kChatglm},
    {"codegen", "qkv_proj", FusedForm::kCodegen},
    {"codeshell", "c_attn", FusedForm::kStacked},
    {"dbrx", "Wqkv", FusedForm::kStacked},
    {"falcon", "query_key_value", FusedForm::kFalcon},
    {"gpt_neox", "query_key_value", FusedForm::kPerHead},
    {"gpt_neox_japanese", "query_key_value", FusedForm::kPerHead},
    {"internlm2", "wqkv", FusedForm::kGrouped},
    {"llada2_moe", "query_key_value", FusedForm::kStacked},
    {"modernbert", "Wqkv", FusedForm::kStacked},
    {"persimmon", "query_key_value", FusedForm::kPerHead},
    {"phi3", "qkv_proj", FusedForm::kStacked},
    {"qwen", "c_attn", FusedForm::kStacked},
};

// q_proj gives every head its query and, behind it, a gate on its output (modeling_qwen3_next.py: torch.chunk).
constexpr std::string_view kGatedQueries[] = {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"};

// Beside "weight" and "bias": what quantisers write with one entry a row, or one for all.
constexpr std::string_view kRowLeaves[] = {"weight", "bias", "weight_packed", "weight_scale", "weight_zero_point"};
constexpr std::string_view kWholeLeaves[] = {
    "input_scale",        "weight_scale", "weight_scale_2", "weight_global_scale",
    "input_global_scale", "output_scale", "k_scale",        "q_scale"};

template <class Range>
bool has(const Range& range, std::string_view word) {
  return std::find(std::begin(range), std::end(range), word) != std::end(range);
}

Names split(std::string_view name) {
  Names parts;
  while (true) {
    const std::size_t dot = name.find('.');
    parts.push_back(name.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    name.remove_prefix(dot + 1);
  }
}

std::string joined(std::span<const std::string_view> parts) { return fmt::format("{}", fmt::join(parts, ".")); }

// A word of a name that could be an attention block's, or part of one.
bool sounds_like_attention(std::string_view word) {
  std::string lower(word);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const auto contains = [&](std::string_view part) { return lower.find(part) != std::string::npos; };
  if (contains("lora")) return true;
  if (contains("norm") || contains("residual") || lower.starts_with("ln_")) return false;
  return contains("attn") || contains("attention") || contains("qkv") || contains("q_proj") || contains("k_proj") ||
         contains("kv_proj") || contains("query") || contains("wq") || contains("wk") || contains("q_b_proj") ||
         contains("kv_a_proj") || contains("indexer");
}

bool sounds_like_attention(std::span<const std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [](std::string_view word) { return sounds_like_attention(word); });
}

std::string shown(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// The numbers of heads that config.json gives.
class HeadCounts {
 public:
  explicit HeadCounts(const json& config) : config_(config) {
    for (const char* part : {"text_config", "llm_config", "language_config"})
      if (const auto found = config.find(part); found != config.end() && found->is_object())
        sections_.push_back(&*found);
    if (const auto found = config.find("attn_config"); found != config.end() && found->is_object())
      sections_.push_back(&*found);
    sections_.push_back(&config);
  }

  std::int64_t heads() const {
    const auto count = number({"num_attention_heads", "n_head", "n_heads", "num_heads"});
    if (!count) refuse("config.json", "want num_attention_heads, got none");
    return *count;
  }
  /// Nothing if the config leaves it to the family's class.
  std::optional<std::int64_t> key_heads() const {
    return number({"num_key_value_heads", "num_kv_heads", "kv_n_heads", "n_head_kv", "multi_query_group_num"});
  }
  std::optional<std::int64_t> number(std::initializer_list<const char*> keys) const {
    for (const json* section : sections_)
      for (const char* key : keys) {
        const auto found = section->find(key);
        if (found == section->end() || found->is_null()) continue;
        if (!found->is_number_integer() || *found < 1 || *found > 1 << 20)
          refuse(std::string("config.json: ") + key,
                 "want a whole number from 1 to 1048576, got " + one_line(found->dump()).substr(0, 60));
        return found->get<std::int64_t>();
      }
    return std::nullopt;
  }
  bool flag(const char* key, bool missing) const {
    const auto found = config_.find(key);
    return found != config_.end() && found->is_boolean() ? found->get<bool>() : missing;
  }

 private:
  const json& config_;
  std::vector<const json*> sections_;
};

class Finder {
 public:
  Finder(const CheckpointPositions& positions, const json& config) : positions_(positions), counts_(config) {
    for (const LayerKind& kind : positions.kinds) {
      if (kind.spec && kind.layers.empty()) refuse(positions.source, "want the number of layers, got none");
      if (kind.spec && (!kind.spec->is_rotation() || !kind.spec->pair_blocks.empty()))
        refuse(positions.source, "want pairs that turn in one block, got " + one_line(to_string(*kind.spec)),
               Code::kUnsupported);
      for (const int layer : kind.layers) layers_[layer].spec = kind.spec ? &*kind.spec : nullptr;
    }
    if (std::none_of(layers_.begin(), layers_.end(), [](const auto& each) { return each.second.spec != nullptr; }))
      refuse(positions.source, "want a checkpoint that rotates, got one whose layers do not");
  }

  void add(const SafetensorsTensor& tensor) {
    const Names words = split(tensor.name);
    const auto layer_at = std::find_if(words.begin(), words.end(), [](auto word) { return has(kLayerWords, word); });
    const std::span<const std::string_view> before(words.begin(), layer_at);
    const std::string prefix = before.empty() ? "" : joined(before) + ".";
    const std::optional<int> number =
        words.end() - layer_at >= 2 && has(kModelPrefixes, prefix) ? index_of(layer_at[1]) : std::nullopt;
    if (!number) {
      if (sounds_like_attention(words)) refuse_name(tensor, "want attention in the model's own layers only");
      return;
    }
    const std::span<const std::string_view> rest(layer_at + 2, words.end());
    const auto found = layers_.find(*number);
    if (found == layers_.end()) {
      if (sounds_like_attention(rest))
        refuse_name(tensor, fmt::format("want layers below {} by the config", layers_.rbegin()->first + 1));
      return;
    }
    if (found->second.spec != nullptr) add_to_layer(tensor, *number, found->second, rest);
  }

  std::map<std::string, QkTensor> finish() {
    for (const auto& [number, layer] : layers_) {
      if (layer.spec == nullptr) continue;
      const std::string where = fmt::format("layer {}", number);
      const auto want = [&](bool there, std::string_view what) {
        if (!there)
          refuse(where,
                 fmt::format("want weights for {}, got none by a name that {} has", what, one_line(positions_.family)));
      };
      want(layer.has_query, "queries");
      want(layer.has_key, "keys");
      // Without values of its own a layer takes its keys for them, and their order cannot be changed.
      want(layer.has_value, "values");
    }
    return std::move(out_);
  }

 private:
  struct Layer {
    const RotarySpec* spec = nullptr;
    bool has_query = false, has_key = false, has_value = false;
  };

  static std::optional<int> index_of(std::string_view word) {
    int value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    const bool plain = word == "0" || (!word.empty() && word.front() >= '1' && word.front() <= '9');
    return error == std::errc() && end == word.data() + word.size() && plain ? std::optional(value) : std::nullopt;
  }

  [[noreturn]] static void refuse_name(const SafetensorsTensor& tensor, const std::string& want) {
    refuse("tensor " + one_line(tensor.name), want + ", got one that this version does not know", Code::kUnsupported);
  }
  [[noreturn]] static void refuse_shape(const SafetensorsTensor& tensor, const std::string& want) {
    refuse("tensor " + one_line(tensor.name), fmt::format("want {}, got shape {}", want, shown(tensor.shape)));
  }

  void add_to_layer(const SafetensorsTensor& tensor, int number, Layer& layer, std::span<const std::string_view> rest) {
    const auto block = std::find_if(rest.begin(), rest.end(), [](auto word) { return has(kAttentionWords, word); });
    if (block == rest.end() || rest.end() - block < 2) {
      if (sounds_like_attention(rest)) refuse_name(tensor, "want self-attention only in a layer");
      return;
    }
    const std::string_view name = block[1];
    const std::string leaf = joined(std::span(block + 2, rest.end()));
    const auto* const known = std::find_if(std::begin(kMembers), std::end(kMembers),
                                           [&](const MemberName& each) { return each.name == name; });
    if (known == std::end(kMembers))
      refuse_name(tensor, fmt::format("want tensors of layer {}'s attention that are known by name", number));
    if (known->member == Member::kOther) return;
    const bool weight = leaf == "weight" || leaf == "weight_packed";
    const RotarySpec& spec = *layer.spec;
    const HeadChannels head{spec.head_dim, spec.rotary_dim, spec.rotary_offset};
    switch (known->member) {
      case Member::kValue:
      case Member::kLatentValue: layer.has_value = layer.has_value || weight; return;
      case Member::kQuery:
        layer.has_query = layer.has_query || weight;
        return add_rows(tensor, leaf, query_runs(head), counts_.heads() * query_rows(head));
      case Member::kKey:
        layer.has_key = layer.has_key || weight;
        return add_rows(tensor, leaf, {{head.head_dim, head}}, key_rows(tensor, head));
      case Member::kLatentKey: {
        layer.has_key = layer.has_key || weight;
        const auto rank = counts_.number({"kv_lora_rank"});
        if (!rank) refuse("config.json", "want kv_lora_rank, got none");
        const int rows = static_cast<int>(*rank) + spec.rotary_dim;
        return add_rows(tensor, leaf, {{rows, HeadChannels{rows, spec.rotary_dim, static_cast<int>(*rank)}}}, rows);
      }
      case Member::kFused:
        layer.has_query = layer.has_query || weight;
        layer.has_key = layer.has_value = layer.has_query;
        return add_fused(tensor, leaf, name, head);
      case Member::kQueryNorm:
      case Member::kKeyNorm: return add_norm(tensor, leaf, head, known->member == Member::kKeyNorm);
      case Member::kOther: return;
    }
  }

  bool gated() const { return has(kGatedQueries, positions_.family); }
  std::int64_t query_rows(const HeadChannels& head) const { return gated() ? 2 * head.head_dim : head.head_dim; }
  std::vector<RowRun> query_runs(const HeadChannels& head) const {
    if (gated()) return {{head.head_dim, head}, {head.head_dim, std::nullopt}};
    return {{head.head_dim, head}};
  }

  // Keys may have any number of heads that divides that of queries; config.json's own word is held to.
  std::int64_t key_rows(const SafetensorsTensor& tensor, const HeadChannels& head) const {
    if (const auto stated = counts_.key_heads()) return *stated * head.head_dim;
    const std::int64_t rows = tensor.shape.empty() ? 0 : tensor.shape[0], heads = counts_.heads();
    const bool fits = rows > 0 && rows % head.head_dim == 0 && heads % (rows / head.head_dim) == 0;
    return fits ? rows : heads * head.head_dim;
  }

  void add_fused(const SafetensorsTensor& tensor, std::string_view leaf, std::string_view name,
                 const HeadChannels& head) {
    const auto* const known = std::find_if(std::begin(kFused), std::end(kFused), [&](const FusedName& each) {
      return each.family == positions_.family && each.member == name;
    });
    if (known == std::end(kFused))
      refuse_name(tensor, fmt::format("want a tensor whose order of queries, keys and values is known for {}",
                                      one_line(positions_.family)));
    const std::int64_t heads = counts_.heads(), dim = head.head_dim;
    std::int64_t keys = counts_.key_heads().value_or(heads);
    FusedForm form = known->form;
    if (form == FusedForm::kFalcon) {  // modeling_falcon.py: _split_heads
      const bool grouped = counts_.flag("new_decoder_architecture", false), one = counts_.flag("multi_query", true);
      form = grouped ? FusedForm::kGrouped : one ? FusedForm::kStacked : FusedForm::kPerHead;
      if (!grouped) keys = one ? 1 : heads;
    }
    if (form == FusedForm::kChatglm) {
      if (!counts_.flag("multi_query_attention", false)) refuse_name(tensor, "want multi_query_attention");
      form = FusedForm::kStacked;
    }
    if (form == FusedForm::kPerHead) keys = heads;
    if (heads % keys != 0)
      refuse("config.json", fmt::format("want key heads that divide the {} query heads, got {}", heads, keys));
    const RowRun stay{dim, std::nullopt}, turn{dim, head};
    switch (form) {
      case FusedForm::kPerHead: return add_rows(tensor, leaf, {turn, turn, stay}, 3 * heads * dim);
      case FusedForm::kGrouped:
        return add_rows(tensor, leaf, {{heads / keys * dim, head}, turn, stay}, (heads + 2 * keys) * dim);
      case FusedForm::kCodegen:
        if (heads % 4 != 0) refuse("config.json", fmt::format("want heads in four equal parts, got {}", heads));
        return add_rows(tensor, leaf,
                        {{heads / 4 * dim, head}, {heads / 4 * dim, std::nullopt}, {heads / 4 * dim, head}},
                        3 * heads * dim);
      default:
        return add_rows(tensor, leaf, {{heads * dim, head}, {keys * dim, head}, {keys * dim, std::nullopt}},
                        (heads + 2 * keys) * dim);
    }
  }

  void add_rows(const SafetensorsTensor& tensor, std::string_view leaf, std::vector<RowRun> runs, std::int64_t rows) {
    const bool one_number =
        std::all_of(tensor.shape.begin(), tensor.shape.end(), [](auto extent) { return extent == 1; });
    if (one_number && has(kWholeLeaves, leaf)) return;
    if (leaf == "weight_shape") return;  // two numbers about the packed weight, which keeps its shape
    if (!has(kRowLeaves, leaf)) refuse_name(tensor, "want weights, biases and scales that are stored by rows");
    if (tensor.shape.empty() || tensor.shape[0] != rows)
      refuse_shape(tensor, fmt::format("{} rows, as the config's heads and channels make", rows));
    out_.emplace(tensor.name, QkTensor{std::move(runs), rows});
  }

  // On the channels of one head, for all heads alike, or on those of all heads.
  void add_norm(const SafetensorsTensor& tensor, std::string_view leaf, const HeadChannels& head, bool of_keys) {
    if (!(leaf == "weight" || leaf == "bias" || (leaf.starts_with("norms.") && leaf.ends_with(".weight"))))
      refuse_name(tensor, "want the weight or the bias of a norm");
    std::int64_t numbers = 1;
    for (const std::int64_t extent : tensor.shape)
      if (__builtin_mul_overflow(numbers, extent, &numbers)) numbers = 0;
    const std::int64_t heads = of_keys ? counts_.key_heads().value_or(counts_.heads()) : counts_.heads();
    if (numbers != head.head_dim && numbers != heads * head.head_dim)
      refuse_shape(tensor, fmt::format("{} or {} numbers, as a head or all {} have channels", head.head_dim,
                                       heads * head.head_dim, heads));
    out_.emplace(tensor.name, QkTensor{{{head.head_dim, head}}, numbers});
  }

  const CheckpointPositions& positions_;
  HeadCounts counts_;
  std::map<int, Layer> layers_;
  std::map<std::string, QkTensor> out_;
};

}  // namespace

std::map<std::string, QkTensor> find_qk_tensors(const CheckpointPositions& positions, const json& config,
                                                std::span<const SafetensorsTensor> tensors) {
  Finder finder(positions, config);
  for (const SafetensorsTensor& tensor : tensors) finder.add(tensor);
  return finder.finish();
}

}  // namespace ropewalk::cli
