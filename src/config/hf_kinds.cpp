// Which layers turn, and which of them alike.

#include "config/hf_layers.hpp"
#include "config/hf_reader.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace ropewalk::config {
namespace {

bool is_plain(const Json* type) { return type == nullptr || *type == "default"; }

}  // namespace

void ConfigReader::add_kind(std::string name, std::vector<int> layers, int head_dim, std::optional<RotarySpec> spec) {
  std::vector<std::string> named;
  if (spec && spec->axes() > 1) named = streams(spec->axes());
  out_.kinds.push_back({std::move(name), std::move(layers), head_dim, std::move(spec), std::move(named)});
}

std::vector<std::string> ConfigReader::streams(int axes) const {
  std::vector<std::string> all;
  std::string_view rest = row_->axial.streams;
  if (row_->mrope == MropeForm::kDoubled)  // transformers models/hunyuan_vl: its configuration's words
    rest = axes == 4 ? "token width height image" : "width height image";
  else if (row_->mrope != MropeForm::kNone)
    rest = "time height width";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    all.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return all;
}

void ConfigReader::add_unturned(std::string name, std::vector<int> layers) {
  add_kind(std::move(name), std::move(layers), 0, std::nullopt);
}

void ConfigReader::read_kinds() {
  if (!row_->off_key.empty() && config_.flag(row_->off_key).value_or(false)) {
    out_.notes.push_back(config_.where(row_->off_key) + " is true: no layer turns");
    return add_unturned("default", all_layers());
  }
  if (!row_->rotary_word.empty()) {
    const std::string_view key = row_->rotary_key.empty() ? "position_embedding_type" : row_->rotary_key;
    const auto embedding = config_.text(key);
    if (embedding != row_->rotary_word) {
      out_.notes.push_back(config_.where(key) + " is " + (embedding ? shown(Json(*embedding)) : "missing") +
                           ": no layer turns");
      return add_unturned("default", all_layers());
    }
  }
  if (nested_ && row_->rule != LayerRule::kDeepseekV4) return read_nested();
  const auto flat = [&] {
    RotarySpec one = spec(rope_, nullptr, "");
    const int head_dim = one.head_dim;
    return std::pair{std::move(one), head_dim};
  };
  switch (row_->rule) {
    case LayerRule::kAll: {
      auto [one, head_dim] = flat();
      return add_kind("default", all_layers(), head_dim, std::move(one));
    }
    case LayerRule::kNested: return read_nested_from_flat();
    case LayerRule::kDeepseekV4: return read_deepseek_v4();
    case LayerRule::kGraniteHybrid: {
      const auto embedding = config_.text("position_embedding_type");
      if (embedding != "rope") {
        out_.notes.push_back(config_.where("position_embedding_type") + " is " +
                             (embedding ? shown(Json(*embedding)) : "missing") + ": no layer turns");
        return add_unturned("default", all_layers());
      }
      return read_by_type();
    }
    case LayerRule::kZamba2:
      if (!config_.flag("use_mem_rope").value_or(false)) {
        out_.notes.push_back(config_.where("use_mem_rope") + " is not true: no layer turns");
        return add_unturned("default", all_layers());
      }
      if (config_.flag("use_long_context").value_or(false))
        refuse(Code::kUnsupported, config_.where("use_long_context"),
               "want false: its rescaled base is not described, got true");
      return read_by_type();
    case LayerRule::kOlmoHybrid:
      if (rope_ && rope_->is_null("rope_theta")) {
        rope_->use("rope_theta");
        out_.notes.push_back(rope_->where("rope_theta") + " is null: no layer turns");
        return add_unturned("default", all_layers());
      }
      return read_by_type();
    case LayerRule::kTypes:
    case LayerRule::kCohere2Moe: return read_by_type();
    case LayerRule::kExaone: {
      if (config_.is_null("sliding_window")) {
        out_.notes.push_back(config_.where("sliding_window") + " is null: every layer turns");
        auto [one, head_dim] = flat();
        return add_kind("default", all_layers(), head_dim, std::move(one));
      }
      config_.find("sliding_window");
      return read_by_type();
    }
    case LayerRule::kNoRopeList: return read_no_rope_list();
    case LayerRule::kThetaList: return read_theta_list();
    case LayerRule::kMllama: {
      const auto crossing = config_.integers("cross_attention_layers", 0, kMostLayers);
      if (!crossing) refuse(Code::kInvalid, config_.where("cross_attention_layers"), "want a list of layers, got none");
      const auto crosses = [&](int i) { return std::find(crossing->begin(), crossing->end(), i) != crossing->end(); };
      auto [one, head_dim] = flat();
      add_kind("default", layers_where([&](int i) { return !crosses(i); }), head_dim, std::move(one));
      if (!crossing->empty()) add_unturned("cross_attention", layers_where(crosses));
      return;
    }
    case LayerRule::kBaichuan: {
      constexpr std::int64_t kTurns = 4096, kHasAlibi = 5120;
      const std::int64_t hidden = config_.integer("hidden_size", 1, kMostChannels).value_or(0);
      if (hidden == kHasAlibi) {
        out_.notes.push_back("the 13B model adds ALiBi to its scores: no layer turns");
        return add_unturned("default", all_layers());
      }
      if (hidden != kTurns)
        refuse(Code::kUnsupported, config_.where("hidden_size"),
               "want 4096 (7B, which turns) or 5120 (13B, which has ALiBi) for this family, got " +
                   (hidden == 0 ? "none" : std::to_string(hidden)));
      auto [one, head_dim] = flat();
      return add_kind("default", all_layers(), head_dim, std::move(one));
    }
    case LayerRule::kMolmo2: {
      auto [one, head_dim] = flat();
      const auto scaled = config_.integers("rope_scaling_layers", 0, kMostLayers);
      if (!scaled) return add_kind("default", all_layers(), head_dim, std::move(one));
      if (out_.layer_count == 0)
        refuse(Code::kInvalid, config_.where("num_hidden_layers"),
               "want an integer >= 1 beside rope_scaling_layers, got none");
      const auto is_scaled = [&](int i) { return std::find(scaled->begin(), scaled->end(), i) != scaled->end(); };
      RotarySpec plain = one;
      plain.scaling = NoScaling{};
      const auto unscaled = layers_where([&](int i) { return !is_scaled(i); });
      const auto stretched = layers_where(is_scaled);
      if (!stretched.empty()) add_kind("default", stretched, head_dim, std::move(one));
      if (!unscaled.empty()) add_kind(stretched.empty() ? "default" : "unscaled", unscaled, head_dim, std::move(plain));
      return;
    }
  }
}

// Flat parameters, and only the layers of some types turn.
void ConfigReader::read_by_type() {
  RotarySpec one = spec(rope_, nullptr, "");
  const int head_dim = one.head_dim;
  if ((row_->turning == "sliding_attention" && row_->name != "recurrent_gemma" && row_->rule != LayerRule::kExaone) &&
      config_.is_null("sliding_window"))
    refuse(Code::kUnsupported, config_.where("sliding_window"),
           "want the number of tokens: this family turns the layers that have a window, got null");
  bool dense_prefix = false;
  std::vector<std::string> mlp;
  if (row_->rule == LayerRule::kCohere2Moe) {
    dense_prefix = config_.integer("prefix_dense_sliding_window_pattern", 1, kMostLayers).value_or(1) == 1;
    const std::int64_t dense = config_.integer("first_k_dense_replace", 0, kMostLayers).value_or(0);
    if (const auto listed = config_.texts("mlp_layer_types")) {
      mlp = *listed;
    } else {
      for (int i = 0; i < out_.layer_count; ++i) mlp.emplace_back(i < dense ? "dense" : "sparse");
      if (dense > 0 && !config_.has("layer_types"))
        refuse(Code::kInvalid, config_.where("layer_types"),
               "want the type of every layer beside first_k_dense_replace, got none");
    }
  }
  const std::vector<std::string>& each = types();
  if (each.empty()) {
    if (out_.layer_count > 0)
      refuse(Code::kInvalid, config_.where("layer_types"), "want the type of every layer for this family, got none");
    out_.notes.push_back("how many layers there are is not said; those of type " + std::string(row_->turning) +
                         " turn");
    add_kind("default", {}, head_dim, std::move(one));
    return;
  }
  if (row_->rule == LayerRule::kOlmoHybrid && std::find(each.begin(), each.end(), row_->turning) == each.end())
    refuse(Code::kInvalid, config_.where("layer_types"), "want a full_attention layer, got none");
  std::vector<int> turning;
  std::map<std::string, std::vector<int>> unturned;
  for (int i = 0; i < static_cast<int>(each.size()); ++i) {
    const std::string& type = each[static_cast<std::size_t>(i)];
    const bool forced = dense_prefix && i < static_cast<int>(mlp.size()) && mlp[static_cast<std::size_t>(i)] == "dense";
    if (type == row_->turning || forced)
      turning.push_back(i);
    else
      unturned[type].push_back(i);
  }
  if (!turning.empty()) add_kind("default", std::move(turning), head_dim, std::move(one));
  for (auto& [type, layers] : unturned)
    add_kind(type, std::move(layers), type == "full_attention" || type == "sliding_attention" ? head_dim : 0,
             std::nullopt);
}

// no_rope_layers[i] is 1 for a layer that turns, whatever its name says.
void ConfigReader::read_no_rope_list() {
  auto given = config_.integers("no_rope_layers", 0, 1);
  if (given && given->empty() && row_->name == "llama4_text") given.reset();
  const std::int64_t interval = config_.integer(row_->every_key, 1, kMostLayers).value_or(row_->every);
  if (given && out_.layer_count > 0 && static_cast<int>(given->size()) != out_.layer_count)
    refuse(Code::kInvalid, config_.where("no_rope_layers"),
           "want 0 or 1 for each of the " + std::to_string(out_.layer_count) + " layers, got " +
               std::to_string(given->size()));
  const auto turns = [&](int i) {
    return given ? (*given)[static_cast<std::size_t>(i)] == 1 : (i + 1) % interval != 0;
  };
  RotarySpec one = spec(rope_, nullptr, "");
  const int head_dim = one.head_dim;
  const auto unturned = layers_where([&](int i) { return !turns(i); });
  if (out_.layer_count == 0 || unturned.size() != static_cast<std::size_t>(out_.layer_count))
    add_kind("default", layers_where(turns), head_dim, std::move(one));
  const bool all_turn = unturned.empty() && out_.layer_count > 0;
  if (!all_turn) add_kind("nope", unturned, head_dim, std::nullopt);
  if (row_->name == "llama4_text") read_unrotated_temperature(all_turn ? nullptr : &out_.kinds.back());
}

// Llama 4's queries in layers that do not turn (transformers models/llama4: Llama4TextAttention). Published files say
// true or 4, and the class asks only whether it is 0. No such layer: the keys are read and say nothing.
void ConfigReader::read_unrotated_temperature(LayerKind* kind) {
  const Json* const tuning = config_.find("attn_temperature_tuning");
  if (tuning != nullptr && !tuning->is_boolean() && !tuning->is_number())
    refuse(Code::kInvalid, config_.where("attn_temperature_tuning"),
           "want true, false or a number, got " + shown(*tuning));
  const auto beta = config_.number("attn_scale", 0.0, "a number >= 0");
  const auto context = config_.integer("floor_scale", 1, kMostTokens);
  if (kind == nullptr || (tuning != nullptr && (*tuning == false || *tuning == 0)) || beta == 0.0) return;
  const auto& temperature = kind->unrotated_query_temperature =
      QueryTemperature{.beta = beta.value_or(0.1), .context = context.value_or(8192), .offset = 1};
  const auto from = [&](const std::string& key, bool given, const std::string& value) {
    return given ? config_.where(key) : out_.family + " family: " + key + " is " + value + " if missing";
  };
  const std::string shown_beta = shown(temperature->beta), shown_context = std::to_string(temperature->context);
  out_.provenance.push_back(
      {"query_temperature.beta[nope]", shown_beta, from("attn_scale", beta.has_value(), shown_beta)});
  out_.provenance.push_back(
      {"query_temperature.context[nope]", shown_context, from("floor_scale", context.has_value(), shown_context)});
}

// layer_rope_theta: 0 does not turn.
void ConfigReader::read_theta_list() {
  RotarySpec main = spec(rope_, nullptr, "");
  const int head_dim = main.head_dim;
  std::vector<double> each;
  if (const auto given = config_.numbers("layer_rope_theta", -1e-300, "a number >= 0")) {
    each = *given;
    if (out_.layer_count > 0 && static_cast<int>(each.size()) != out_.layer_count)
      refuse(Code::kInvalid, config_.where("layer_rope_theta"),
             "want a number for each of the " + std::to_string(out_.layer_count) + " layers, got " +
                 std::to_string(each.size()));
  } else {
    for (int i = 0; i < out_.layer_count; ++i)
      each.push_back(row_->pattern == Pattern::kFromEnd && (out_.layer_count - 1 - i) % row_->every == 0 ? 0.0
                                                                                                         : main.theta);
    if (row_->pattern == Pattern::kFromEnd)
      assume(config_.where("layer_rope_theta"), "0 for every fourth layer, counted from the last");
  }
  if (each.empty()) return add_kind("default", {}, head_dim, std::move(main));
  std::map<double, std::vector<int>> by_theta;
  for (int i = 0; i < static_cast<int>(each.size()); ++i) by_theta[each[static_cast<std::size_t>(i)]].push_back(i);
  for (const auto& [theta, layers] : by_theta) {
    if (theta == 0.0) continue;
    RotarySpec one = main;
    one.theta = theta;
    // The Muse models ask of this list only whether a layer turns.
    if (row_->pattern == Pattern::kFromEnd && theta != main.theta)
      refuse(Code::kInvalid, config_.where("layer_rope_theta"),
             "want 0 or the same as rope_theta (" + shown(main.theta) + ") for this family, got " + shown(theta));
    if (theta <= 1.0)
      refuse(Code::kInvalid, config_.where("layer_rope_theta"), "want 0 or a number > 1, got " + shown(theta));
    add_kind(theta == main.theta ? "default" : "rope_theta=" + shown(theta), layers, head_dim, std::move(one));
  }
  if (by_theta.contains(0.0)) add_kind("nope", by_theta[0.0], head_dim, std::nullopt);
}

const NestedKind* ConfigReader::nested_kind(std::string_view type) const {
  for (const NestedKind& kind : row_->nested)
    if (!kind.type.empty() && kind.type == type) return &kind;
  return nullptr;
}

void ConfigReader::read_nested() {
  if (row_->rule != LayerRule::kNested && row_->rule != LayerRule::kAll)
    refuse(Code::kUnsupported, rope_->path(),
           "want one set of parameters for this family, got one for each layer type");
  // These classes merge rope_scaling into the full-attention parameters, where entries by layer type mean nothing.
  if (legacy_scaling_ && (!row_->nested[0].theta_key.empty() || row_->name == "step3p5"))
    refuse(Code::kUnsupported, rope_->path(),
           "want the parameters of each layer type under rope_parameters for this family, as transformers does not "
           "look for them here, got " +
               shown(rope_->object()));
  std::vector<std::string> labels;
  bool all_theta = true;
  for (const auto& [key, value] : rope_->object().items()) {
    if (!is_layer_type(key) || !(value.is_object() || value.is_null())) continue;
    labels.push_back(key);
    rope_->use(key);
    all_theta = all_theta && (value.is_null() || value.contains("rope_theta"));
  }
  for (const auto& [key, value] : rope_->object().items()) {
    const bool label = std::find(labels.begin(), labels.end(), key) != labels.end();
    const bool plain = key == "rope_type" && value == "default";
    if (!label && !value.is_null() && !plain && !(key == "rope_theta" && all_theta))
      refuse(Code::kInvalid, rope_->where(key), "want it among the parameters of each layer type, got " + shown(value));
  }
  const std::vector<std::string>& each = types();
  std::map<std::string, std::vector<int>> layers_of;
  for (int i = 0; i < static_cast<int>(each.size()); ++i) layers_of[each[static_cast<std::size_t>(i)]].push_back(i);
  const bool one_for_all = each.empty() && labels.size() == 1;
  if (each.empty() && labels.size() > 1 && out_.layer_count > 0)
    refuse(Code::kInvalid, config_.where("layer_types"), "want the type of every layer, got none");

  for (const std::string& label : labels) {
    std::vector<int> layers = one_for_all ? all_layers() : layers_of[modern_layer_type(label)];
    layers_of.erase(modern_layer_type(label));
    if (layers.empty() && !each.empty()) continue;  // no layer is of this type
    const Json& entry = rope_->object().at(label);
    // Null is a layer that does not turn where a class says so; these fill in a default, or fail.
    if (entry.is_null() && row_->rule == LayerRule::kNested && !row_->rests)
      refuse(Code::kUnsupported, rope_->where(label),
             "want its parameters, as transformers does not leave these layers of this family unturned, got null");
    if (entry.is_null()) {
      out_.notes.push_back(rope_->where(label) + " is null: its layers do not turn");
      add_unturned(label, std::move(layers));
      continue;
    }
    const NestedKind* const known = nested_kind(label);
    if (row_->rule == LayerRule::kNested && known == nullptr)
      refuse(Code::kUnsupported, rope_->where(label),
             "want a layer type that this family has parameters for, got " + shown(entry));
    NestedKind plain{.type = label, .theta = 0.0, .fraction = row_->fraction};
    RotarySpec one = spec(*rope_->keys(label), known ? known : &plain, label);
    const int head_dim = one.head_dim;
    add_kind(label, std::move(layers), head_dim, std::move(one));
  }
  for (auto& [type, layers] : layers_of) {
    if (layers.empty()) continue;
    const bool attends_not = row_->rule == LayerRule::kNested ? type == "conv" && row_->pattern == Pattern::kLfm3
                                                              : type == "conv" || type == "linear_attention";
    if (!attends_not)
      refuse(Code::kInvalid, rope_->where(type),
             "want its parameters or null, as there are layers of this type, got none");
    add_unturned(type, std::move(layers));
  }
  if (out_.kinds.empty())
    refuse(Code::kInvalid, rope_->path(), "want parameters for a layer type that occurs, got none");
}

// DeepSeek-V4: parameters under main and compress, or the older flat ones, which are those of compress; main is plain
// then.
void ConfigReader::read_deepseek_v4() {
  const bool both = nested_ && rope_->peek("main") != nullptr && rope_->peek("compress") != nullptr;
  if (nested_ && !both)
    refuse(Code::kInvalid, rope_->path(), "want both main and compress among the parameters, or neither, got one");
  for (const NestedKind& kind : row_->nested) config_.find(kind.theta_key);
  double fraction = row_->fraction;
  if (const auto channels = config_.integer("qk_rope_head_dim", 2, kMostChannels);
      channels && !config_.has("partial_rotary_factor"))
    fraction = static_cast<double>(*channels) / head("").head_dim;
  // One at the top is that of the entries without one; among flat parameters its class does not look for it.
  std::optional<Keys> none;
  fraction = stated_fraction(none, 0, 0.0).value.value_or(fraction);
  if (!both && rope_)
    if (const auto inner = rope_->number("partial_rotary_factor", 0.0, "a number in (0, 1]");
        inner && *inner != fraction)
      refuse(Code::kUnsupported, rope_->where("partial_rotary_factor"),
             "want " + shown(fraction) + " or none, as transformers does not look for it here, got " + shown(*inner));
  std::vector<std::string> each = types();
  if (each.empty()) {
    if (const auto ratios = config_.integers("compress_ratios", 0, kMostTokens)) {
      for (const std::int64_t ratio : *ratios) each.emplace_back(ratio == 0 ? "sliding_attention" : "compressed");
      if (out_.layer_count > 0 && static_cast<int>(each.size()) < out_.layer_count)
        refuse(Code::kInvalid, config_.where("compress_ratios"),
               "want a ratio for each of the " + std::to_string(out_.layer_count) + " layers, got " +
                   std::to_string(each.size()));
      if (out_.layer_count > 0) each.resize(static_cast<std::size_t>(out_.layer_count));
    } else {
      each.assign(static_cast<std::size_t>(out_.layer_count), "compressed");
    }
  }
  for (const NestedKind& kind : row_->nested) {
    const bool is_main = &kind == row_->nested.data();
    std::vector<int> layers;
    for (int i = 0; i < static_cast<int>(each.size()); ++i)
      if ((each[static_cast<std::size_t>(i)] == "sliding_attention") == is_main) layers.push_back(i);
    if (layers.empty() && !each.empty()) continue;
    NestedKind known = kind;
    known.fraction = fraction;
    std::optional<Keys> rope = both ? rope_->keys(kind.type) : is_main ? std::nullopt : rope_;
    RotarySpec one = spec(std::move(rope), &known, std::string(kind.type));
    // Its class writes this factor where YaRN does not say one.
    if (auto* const yarn = std::get_if<YarnOptions>(&one.scaling); yarn && !both && !yarn->attention_factor)
      yarn->attention_factor = 1.0;
    const int head_dim = one.head_dim;
    add_kind(std::string(kind.type), std::move(layers), head_dim, std::move(one));
  }
}

// The older spelling of a nested family: a theta under its own top-level key, and rope_scaling for some of the types.
void ConfigReader::read_nested_from_flat() {
  const bool flat_parameters = rope_ && !legacy_scaling_;
  const bool older = !row_->nested[0].theta_key.empty();
  if (flat_parameters || (rope_ && !older))
    refuse(Code::kInvalid, rope_->path(),
           "want the parameters of each layer type (" + std::string(row_->nested[0].type) + ", " +
               std::string(row_->nested[1].type) + "), got one set for all");
  if (!older)
    refuse(Code::kInvalid, config_.where("rope_parameters"), "want the parameters of each layer type, got none");
  // The classes merge rope_scaling into parameters that already have rope_type "default", and rope_type wins.
  if (rope_ && !rope_->has("rope_type") && (rope_->is_null("rope_type") || !is_plain(rope_->peek("type"))))
    refuse(Code::kUnsupported, rope_->where(rope_->is_null("rope_type") ? "rope_type" : "type"),
           "want rope_type for this family: transformers 5 does not apply a scaling spelled with type here, got " +
               (rope_->is_null("rope_type") ? "null" : shown(*rope_->peek("type"))));
  if (row_->nested[0].theta_key == row_->nested[1].theta_key)
    if (const auto theta = config_.number_above(row_->nested[0].theta_key, 1.0, "a number > 1");
        theta && *theta != row_->nested[1].theta)
      refuse(Code::kUnsupported, config_.where(row_->nested[0].theta_key),
             "want it among rope_parameters for each layer type: from here the present transformers gives " +
                 shown(*theta) + " to one type only, the older one to both");
  const std::vector<std::string>& each = types();
  for (std::size_t i = 0; i < each.size(); ++i)
    if (nested_kind(each[i]) == nullptr)
      refuse(Code::kInvalid, config_.where("layer_types") + "[" + std::to_string(i) + "]",
             "want one of " + std::string(row_->nested[0].type) + ", " + std::string(row_->nested[1].type) +
                 " for this family, got " + shown(Json(each[i])));
  for (const NestedKind& kind : row_->nested) {
    std::vector<int> layers;
    for (int i = 0; i < static_cast<int>(each.size()); ++i)
      if (each[static_cast<std::size_t>(i)] == kind.type) layers.push_back(i);
    if (layers.empty() && !each.empty()) continue;
    RotarySpec one = spec(kind.scaled ? rope_ : std::nullopt, &kind, std::string(kind.type));
    const int head_dim = one.head_dim;
    add_kind(std::string(kind.type), std::move(layers), head_dim, std::move(one));
  }
}

}  // namespace ropewalk::config
