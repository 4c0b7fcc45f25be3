// A config.json in every spelling that checkpoints have (transformers 4 and 5): rope_theta beside rope_scaling, flat
// rope_parameters, rope_parameters nested by layer type, and the names that single families use. The conventions that
// no key states are rows of families.cpp.
//
// Where two keys say different things the reading ends, naming both. Exceptions, because published checkpoints rely on
// them: Phi-3's top-level original_max_position_embeddings, and YaRN's factor against the ratio of the two lengths.

#include "config/hf_layers.hpp"
#include "config/hf_reader.hpp"
#include "config/nearest.hpp"

#include <algorithm>
#include <utility>

namespace ropewalk::config {
namespace {

/// One size of the model under the names that configs have for it.
constexpr std::string_view kLayers[] = {
    "num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers", "decoder_num_hidden_layers"};
constexpr std::string_view kContext[] = {"max_position_embeddings", "n_positions", "max_seq_len",
                                         "model_max_length",        "seq_length",  "max_context_length"};
/// Names that mean something else in some configs that also have a usual one.
constexpr std::string_view kWeaker[] = {
    "num_layers", "num_transformer_layers", "decoder_num_hidden_layers",  "model_max_length",
    "seq_length", "max_context_length",     "decoder_num_attention_heads"};

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> all;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    all.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return all;
}

}  // namespace

CheckpointPositions ConfigReader::read() {
  choose_family();
  out_.layer_count =
      static_cast<int>(size(kLayers, kMostLayers, row_->assumes.layers, row_->layers_key)) * row_->layer_factor;
  out_.max_context = size(kContext, kMostTokens, row_->assumes.context);
  out_.trained_context = out_.max_context;
  if (!row_->remark.empty()) out_.notes.emplace_back(row_->remark);
  if (!row_->rotates) {
    add_kind("default", all_layers(), 0, std::nullopt);
    check_unturned();
    out_.notes.push_back(out_.family + " has no rotary position encoding");
  } else {
    out_.provenance.push_back({"pair_layout", std::string(name_of(row_->layout)), out_.family + " family"});
    check_needs();
    for (const std::string_view key : {"layer_types", "layers_block_type"}) check_layer_types(config_, key);
    find_rope();
    read_kinds();
    check_stray_keys();
  }
  list_keys();
  return std::move(out_);
}

void ConfigReader::choose_family() {
  out_.model_type = root_.text("model_type").value_or("");
  list_parts();
  std::optional<Part> part;
  std::string said = out_.model_type;
  // "text" is what such a config means anyway: its older files hold the keys at the top level, where no part is listed.
  const Composite* const asked = options_.part == "text" ? find_composite(said) : nullptr;
  if (!options_.part.empty() && (asked == nullptr || asked->key != "text_config")) {
    part = enter_part();
    if (inner_) said = config_.text("model_type").value_or("");
    // Older files repeat the whole's type in its parts.
    if (part && (said.empty() || (said == out_.model_type && find_composite(said) != nullptr))) said = part->family;
    if (part && part->key.empty()) said = part->family;
    own_defaults_ = part && part->own;
  }
  const std::string name = options_.family.empty() ? said : options_.family;
  if (name.empty())
    refuse(Code::kInvalid, config_.where("model_type"),
           "want a model_type, or --family NAME to say whose conventions it follows, got none");
  out_.family = name;
  if (!options_.family.empty() && options_.family != said)
    out_.notes.push_back("the conventions of " + name + " are followed, as asked; model_type is " +
                         (said.empty() ? "missing" : shown(Json(said))));
  row_ = find_row(name);
  if (row_ != nullptr) {
    // A composite config read as one of its text families: the keys lie where that family's would.
    if (!options_.family.empty() && config_.has("text_config") && !config_.has("hidden_size")) {
      enter("text_config");
      out_.part = "text";
    }
    if (!out_.part.empty()) note_part();
    return;
  }
  const Composite* composite = find_composite(name);
  if (composite != nullptr && !config_.has(composite->key) && !composite->flat && options_.part.empty() &&
      read_only_part(name))
    return;
  if (composite == nullptr) refuse_family(config_.where("model_type"), name);
  Keys whole = config_;
  for (std::string type = name; row_ == nullptr;) {  // the part that is meant may have parts of its own
    const std::string key(composite->key);
    if (!config_.has(key)) return read_flat(*composite, type);
    whole = config_;
    enter(key);
    own_defaults_ = composite->own;
    if (out_.part != "text") out_.part += (out_.part.empty() ? "" : ".") + part_name(key);
    std::string inner = config_.text("model_type").value_or(std::string(composite->text));
    if (inner == type) inner = composite->text;
    row_ = find_row(inner);
    if (row_ != nullptr) break;
    const Composite* const next = find_composite(inner);
    if (next == nullptr) refuse_family(config_.where("model_type"), inner);
    composite = next;
    type = std::move(inner);
  }
  out_.family = row_->name;
  note_part();
  if (composite->key != "text_config") return;
  for (const Part* own : parts_of(name))
    if (own->key.empty()) return;  // what stands outside is that part's
  for (const std::string_view outer_key :
       {"rope_theta", "rope_scaling", "rope_parameters", "head_dim", "max_position_embeddings"}) {
    const Json* const outer = whole.peek(outer_key);
    if (outer == nullptr || row_->axial.form != AxialForm::kNone) continue;
    if (config_.has(outer_key) && *config_.peek(outer_key) == *outer) continue;
    if (outer_key == "max_position_embeddings" && !config_.has(outer_key)) continue;
    refuse(Code::kInvalid, whole.where(outer_key),
           "want none beside text_config, or the same as " + config_.where(outer_key) + ", got " + shown(*outer));
  }
}

// A file that holds one part alone of those that turn, and not the one that is meant.
bool ConfigReader::read_only_part(const std::string& name) {
  const Part* only = nullptr;
  for (const Part* part : parts_of(name)) {
    const bool there = part->key.empty() ? config_.has("rope_parameters") : config_.has(part->key);
    if (there && only != nullptr) return false;
    if (there) only = part;
  }
  if (only == nullptr || find_row(only->family) == nullptr) return false;
  if (!only->key.empty()) {
    enter(only->key);
    if (const auto said = config_.text("model_type"); said && *said != name && *said != only->family)
      refuse_family(config_.where("model_type"), *said);
  }
  own_defaults_ = only->own;
  row_ = find_row(only->family);
  out_.family = only->family;
  out_.part = only->name;
  note_part();
  return true;
}

// An older file of several parts, which holds its language model's keys beside them.
void ConfigReader::read_flat(const Composite& composite, const std::string& name) {
  if (!composite.flat)
    refuse(Code::kInvalid, config_.where(composite.key),
           "want the config of the language model of " + name + ", got none");
  row_ = find_row(composite.text);
  out_.family = composite.text;
  // Fuyu's class does not hand this key on to the language model.
  if (const auto fraction = config_.number("partial_rotary_factor", 0.0, "a number");
      fraction && row_->fraction > 0.0 && *fraction != row_->fraction)
    refuse(Code::kUnsupported, config_.where("partial_rotary_factor"),
           "want " + shown(row_->fraction) + " or none at the top level of this family, got " + shown(*fraction));
  if (out_.part.empty()) out_.part = "text";
  out_.notes.push_back("the language model's positions, read from " +
                       (config_.path().empty() ? "the top level" : config_.path()) + other_parts());
}

void ConfigReader::note_part() {
  out_.notes.push_back("the positions of " + (config_.path().empty() ? out_.part : config_.path()) + " (" +
                       out_.family + ")" + other_parts());
}

// What else could be asked for.
std::string ConfigReader::other_parts() const {
  std::vector<std::string> others;
  for (const std::string& name : out_.parts)
    if (name != out_.part) others.push_back(name);
  return others.empty() ? "" : "; --part names another: " + listed_parts(others);
}

// Keys that tell a family from another of the same name, and switches for what this version does not describe.
void ConfigReader::check_needs() {
  for (const std::string_view key : words(row_->needs))
    if (!config_.has(key))
      refuse(Code::kUnsupported, config_.where(key),
             "want it said, as without it a file of model_type " + out_.family + " may be of another model, got none");
  for (const std::string_view key : words(row_->needs_false))
    if (config_.flag(key) != false)
      refuse(Code::kUnsupported, config_.where(key),
             "want false, as what the " + out_.family + " family does otherwise is not described, got " +
                 (config_.has(key) ? "true" : "none, which it takes for true"));
}

void ConfigReader::enter(std::string_view key) {
  const std::string path = config_.where(key);
  const std::optional<Keys> inner = config_.keys(key);
  if (!inner) refuse(Code::kInvalid, path, "want an object, got none");
  config_ = *inner;
  used_.erase(path);
  inner_ = true;
}

void ConfigReader::refuse_family(std::string path, const std::string& name) {
  if (const Refused* const refused = find_refused(name))
    refuse(Code::kUnsupported, std::move(path),
           "want a family that this version describes, got " + shown(Json(name)) + ": " + std::string(refused->why));
  std::string near;
  for (const std::string& one : nearest(name, known_names())) near += (near.empty() ? "" : ", ") + one;
  refuse(Code::kUnsupported, std::move(path),
         "want a known model type (nearest: " + near + "), or --family NAME to say whose conventions it follows, got " +
             shown(Json(name)));
}

// The first of the names that is there; two that differ are a conflict. A sub-config may leave out what its class
// assumes, as transformers writes only the differences there. 0 if unknown.
std::int64_t ConfigReader::size(std::span<const std::string_view> names, std::int64_t most, std::int64_t assumed,
                                std::string_view own) {
  std::int64_t value = 0;
  std::string from;
  if (!own.empty()) {  // the only name that this family reads
    value = config_.integer(own, 1, most).value_or(0);
    if (value != 0) return value;
    names = std::span(&own, 1);
  }
  for (const std::string_view name : names) {
    if (value != 0 && std::find(std::begin(kWeaker), std::end(kWeaker), name) != std::end(kWeaker)) continue;
    const auto given = config_.integer(name, 1, most);
    if (!given) continue;
    if (value != 0 && *given != value)
      refuse(Code::kInvalid, config_.where(name),
             "want the same as " + from + " (" + std::to_string(value) + "), got " + std::to_string(*given));
    if (value == 0 && name != names[0] && row_->rotates && !has_synonym(row_->name, name))
      refuse(Code::kInvalid, config_.where(names[0]),
             "want it under this name, as the " + out_.family + " family does not read " + config_.where(name) + " (" +
                 std::to_string(*given) + "), got none");
    value = *given;
    if (from.empty()) from = config_.where(name);
  }
  if (value == 0 && inner_ && assumed > 0) {
    value = assumed;
    assume(config_.where(names[0]), std::to_string(assumed));
  }
  return value;
}

void ConfigReader::assume(const std::string& key, const std::string& value) {
  if (own_defaults_)
    refuse(Code::kInvalid, key,
           "want it said, as " + out_.model_type + " has another value for a missing one than " + out_.family +
               ", got none");
  const std::string note = key + " is missing: the " + out_.family + " family assumes " + value;
  if (std::find(out_.notes.begin(), out_.notes.end(), note) == out_.notes.end()) out_.notes.push_back(note);
}

std::int64_t ConfigReader::need(std::int64_t value, std::string_view key) {
  if (value <= 0) refuse(Code::kInvalid, config_.where(key), "want an integer >= 1, got none");
  return value;
}

void ConfigReader::note_once(const std::string& what, std::string value, std::string from) {
  for (const Provenance& p : out_.provenance)
    if (p.what == what) return;
  out_.provenance.push_back({what, std::move(value), std::move(from)});
}

const std::vector<std::string>& ConfigReader::types() {
  if (!types_) types_ = layer_types(config_, *row_, out_.layer_count);
  return *types_;
}

std::vector<int> ConfigReader::all_layers() const {
  std::vector<int> all;
  for (int i = 0; i < out_.layer_count; ++i) all.push_back(i);
  return all;
}

// rope_parameters or rope_scaling; both only if they agree. An empty object is nothing, as in transformers.
void ConfigReader::find_rope() {
  std::optional<Keys> parameters = config_.keys("rope_parameters"), scaling = config_.keys("rope_scaling");
  if (parameters && parameters->object().empty()) parameters.reset();
  if (scaling && scaling->object().empty()) scaling.reset();
  if (parameters && scaling) {
    for (const auto& [key, value] : scaling->object().items()) {
      const Json* other = parameters->peek(key);
      if (key == "type" && other == nullptr) other = parameters->peek("rope_type");
      if (key == "rope_type" && other == nullptr) other = parameters->peek("type");
      if (!value.is_null() && (other == nullptr || *other != value))
        refuse(Code::kInvalid, scaling->where(key),
               "want the same as " + parameters->where(key) + " (" + (other ? shown(*other) : "none") + "), got " +
                   shown(value));
      if (other != nullptr) scaling->use(key);
    }
  }
  if (!parameters && scaling && row_->rule == LayerRule::kCohere2Moe)
    refuse(Code::kUnsupported, scaling->path(),
           "want rope_parameters for this family, as transformers does not read rope_scaling, got " +
               shown(scaling->object()));
  rope_ = parameters ? parameters : scaling;
  legacy_scaling_ = !parameters && scaling;
  if (rope_) {
    for (const auto& [key, value] : rope_->object().items())
      nested_ = nested_ || (is_layer_type(key) && (value.is_object() || value.is_null()));
    return;
  }
  if (row_->default_rope.empty()) return;
  assumed_rope_ = Json::parse(row_->default_rope);
  const bool scaled = assumed_rope_.value("rope_type", assumed_rope_.value("type", "default")) != "default";
  if (scaled && config_.is_null("rope_scaling"))
    refuse(Code::kInvalid, config_.where("rope_scaling"),
           "want the scaling, or no such key: to an older transformers null is none, to the present one it is the "
           "family's "
           "own default, got null");
  rope_ = Keys(assumed_rope_, std::string(row_->name) + " family", assumed_used_);
  nested_ = row_->rule == LayerRule::kNested;
  out_.notes.push_back(config_.where("rope_parameters") + " is missing: the " + out_.family + " family assumes " +
                       std::string(row_->default_rope));
}

// Keys about positions that were there and not used. Inside rope parameters every key is about positions.
void ConfigReader::list_keys() {
  const auto about = [](std::string_view key) {
    for (const std::string_view word :
         {"rope", "rotary", "theta", "position_embedding", "alibi", "head_dim", "layer_types", "sliding_window_pattern",
          "yarn", "ntk", "logn", "temperature_tuning", "kv_channels"})
      if (key.find(word) != std::string_view::npos && key != "mlp_layer_types") return true;
    return false;
  };
  const auto ignore = [&](std::string path) {
    if (used_.count(path) == 0) out_.keys_ignored.push_back(std::move(path));
  };
  const auto visit = [&](Keys& keys, auto&& self, bool inside) -> void {
    for (const auto& [key, value] : keys.object().items()) {
      const bool dict = key == "rope_parameters" || key == "rope_scaling" || (inside && value.is_object());
      if (dict && value.is_object()) {
        Keys inner(value, keys.where(key), used_);
        self(inner, self, true);
      } else if ((inside || about(key)) && !(value.is_null() && !inside)) {
        ignore(keys.where(key));
      }
    }
  };
  visit(config_, visit, false);
  if (inner_)
    for (const std::string_view key :
         {"rope_theta", "rope_scaling", "rope_parameters", "head_dim", "max_position_embeddings"})
      if (root_.has(key)) ignore(std::string(key));
  for (const std::string& key : used_)
    if (!is_holder(key)) out_.keys_used.push_back(key);
}

// Objects count by their keys.
bool ConfigReader::is_holder(const std::string& path) const {
  const std::size_t dot = path.rfind('.');
  const std::string last = dot == std::string::npos ? path : path.substr(dot + 1);
  return last == "rope_parameters" || last == "rope_scaling" || is_layer_type(last) || last == "per_layer_config" ||
         path.find("per_layer_config.") != std::string::npos;
}

}  // namespace ropewalk::config

namespace ropewalk {

Result<CheckpointPositions> read_config_json(std::string_view text, const std::string& source,
                                             const ReadOptions& options) {
  const Result<config::Json> root = config::parse_config(text, source);
  if (!root) return root.error();
  try {
    return config::ConfigReader(*root, source, options).read();
  } catch (const config::Refusal& refusal) {
    return refusal.error;
  }
}

}  // namespace ropewalk
