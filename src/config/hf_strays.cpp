// Keys about positions that nobody read: harmless, or the end of the reading.

#include "config/hf_reader.hpp"

#include <algorithm>
#include <set>

namespace ropewalk::config {
namespace {

const std::set<std::string_view>& known_strays() {
  static const std::set<std::string_view> all = {"rotary_emb_base",
                                                 "rotary_embedding_base",
                                                 "rope_local_base_freq",
                                                 "rope_global_base_freq",
                                                 "rotary_pct",
                                                 "rope_pct",
                                                 "rotary_emb_fraction",
                                                 "rotary_percent",
                                                 "rope_percent",
                                                 "rope_percentage",
                                                 "rotary_dim",
                                                 "rope_ratio",
                                                 "rotary_scaling_factor",
                                                 "rotary_value",
                                                 "rope_interleave",
                                                 "rope_interleaved",
                                                 "rotary_emb_interleaved",
                                                 "rotary_interleaved"};
  return all;
}

// What published checkpoints of families that turn say there all the same: ModernBERT-base, Command R7B and Command A.
bool published_word(std::string_view family, const Json& word) {
  if (family == "modernbert") return word == "absolute";
  return (family == "cohere" || family == "cohere2") && word == "rope_gptj";
}

}  // namespace

// Keys that change positions in the families that read them. Here nobody did: they may stand only if they say what
// the answer says anyway.
void ConfigReader::check_stray_keys() {
  const RotarySpec* first = nullptr;
  for (const LayerKind& kind : out_.kinds)
    if (kind.spec && first == nullptr) first = &*kind.spec;
  if (first == nullptr) return;
  const auto stray = [&](std::string_view key, const std::string& want, std::string_view why = {}) {
    if (!config_.has(key) || config_.was_used(key)) return;
    refuse(Code::kUnsupported, config_.where(key),
           "want " + (want.empty() ? "none" : want + " or none") + " for the " + out_.family + " family" +
               std::string(why) + ", got " + shown(*config_.peek(key)));
  };
  const auto is = [&](std::string_view key, double value) {
    const Json* const given = config_.peek(key);
    return given != nullptr && given->is_number() && given->get<double>() == value;
  };
  const auto only = [&](std::string_view key, double value) {
    if (!is(key, value)) stray(key, shown(value));
  };
  const auto all = [&](std::string_view key, double value) {
    const Json* const given = config_.peek(key);
    const bool neutral = given != nullptr && given->is_array() &&
                         std::all_of(given->begin(), given->end(), [&](const Json& one) { return one == value; });
    if (!neutral) stray(key, "a list of " + shown(value));
  };
  const auto flag = [&](std::string_view key, bool value) {
    const Json* const given = config_.peek(key);
    if (given != nullptr && *given != value) stray(key, value ? "true" : "false");
  };
  const bool several_thetas = std::any_of(out_.kinds.begin(), out_.kinds.end(),
                                          [&](const LayerKind& k) { return k.spec && k.spec->theta != first->theta; });
  if (!several_thetas)
    for (const std::string_view key :
         {"rope_theta", "rotary_emb_base", "rotary_embedding_base", "rope_local_base_freq", "rope_global_base_freq",
          "local_rope_theta", "global_rope_theta", "swa_rope_theta", "compress_rope_theta", "rope_freq_constant"})
      only(key, first->theta);
  else
    for (const std::string_view key :
         {"rotary_emb_base", "rotary_embedding_base", "rope_local_base_freq", "rope_global_base_freq",
          "local_rope_theta", "global_rope_theta", "swa_rope_theta", "compress_rope_theta", "rope_theta"})
      stray(key, "");
  // Under the proportional encoding a part may be said of the channels that have a pair or of those that turn.
  const auto* const proportional = std::get_if<ProportionalOptions>(&first->scaling);
  const double turning = first->rotary_dim * (proportional != nullptr ? proportional->fraction : 1.0);
  for (const std::string_view key : {"partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction",
                                     "rotary_percent", "rope_percent", "rope_percentage"})
    if (!is(key, turning / first->head_dim)) only(key, static_cast<double>(first->rotary_dim) / first->head_dim);
  if (!is("rotary_dim", turning)) only("rotary_dim", first->rotary_dim);
  if (!is("rope_ratio", 1.0))
    stray("rope_ratio", "1",
          row_->name == "chatglm" ? ", as ChatGLM2 divides positions by it and later releases multiply the base by it"
                                  : "");
  only("rotary_scaling_factor", 1.0);
  if (row_->head != HeadRule::kMla && row_->name != "mistral4") stray("qk_rope_head_dim", "");
  all("partial_rotary_factors", 1.0);
  all("layer_rope_theta", first->theta);
  all("no_rope_layers", 1.0);
  stray("no_rope_layer_interval", "");
  for (const std::string_view key : {"use_dynamic_ntk", "use_logn_attn", "alibi", "position_encoding_2d",
                                     "mla_use_nope", "attn_temperature_tuning", "rotary_value"})
    flag(key, false);
  for (const std::string_view key :
       {"rope_interleave", "rope_interleaved", "rotary_emb_interleaved", "rotary_interleaved"})
    flag(key, first->layout == PairLayout::kInterleaved);
  if (const Json* const kind = config_.peek("position_embedding_type")) {
    if (published_word(row_->name, *kind))
      out_.notes.push_back(config_.where("position_embedding_type") + " is " + shown(*kind) +
                           " in published files of this family, whose code does not read it");
    else if (*kind != "rope" && *kind != "rotary" && *kind != "ROPE")
      stray("position_embedding_type", "\"rope\"");
  }
  for (const std::string_view key : {"hybrid_layer_pattern", "attn_type_list", "dual_chunk_attention_config"})
    stray(key, "");
  if (row_->name == "openelm") config_.find("rope_max_length");  // how long the table is made
  // Whatever else says rope or rotary and is known to nobody.
  for (const auto& [key, value] : config_.object().items()) {
    const bool rope = key.rfind("rope_", 0) == 0 || key.rfind("rotary_", 0) == 0;
    const bool known =
        key == "rope_theta" || key == "rope_scaling" || key == "rope_parameters" || known_strays().count(key) != 0;
    if (rope && !known && !value.is_null()) stray(key, "");
  }
}

// A family without rotation, whose file says that its model turns all the same.
void ConfigReader::check_unturned() {
  constexpr std::string_view kWant =
      " for a family without rotation, or --family NAME to say whose conventions it follows, got ";
  const auto turns = [&](Keys& keys, std::string_view key, const std::string& want) {
    refuse(Code::kUnsupported, keys.where(key), "want " + want + std::string(kWant) + shown(*keys.peek(key)));
  };
  if (const auto embedding =
          config_.has("position_embedding_type") ? config_.text("position_embedding_type") : std::nullopt)
    for (const std::string_view word : {"rotary", "rope", "ROPE", "RoPE"})
      if (*embedding == word) turns(config_, "position_embedding_type", "none or another word");
  if (const Json* const part = config_.peek("rotary_emb_fraction"); part && *part != 0)
    turns(config_, "rotary_emb_fraction", "0");
  if (const Json* const width = config_.peek("qk_rope_head_dim"); width && *width != 0 && row_->name != "kimi_linear")
    turns(config_, "qk_rope_head_dim", "0");
  if (config_.has("mla_use_nope") && config_.flag("mla_use_nope") == false) turns(config_, "mla_use_nope", "true");
  // MPT keeps it among the keys of its attention.
  if (const Json* const attention = config_.peek("attn_config"); attention && attention->is_object())
    if (attention->value("rope", Json()) == true) {
      Keys inner(*attention, config_.where("attn_config"), used_);
      turns(inner, "rope", "false");
    }
}

}  // namespace ropewalk::config
