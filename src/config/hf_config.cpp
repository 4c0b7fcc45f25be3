// A config.json in every spelling that checkpoints have (variants section 2.1): rope_theta beside rope_scaling, flat
// rope_parameters, rope_parameters nested by layer type, and the names that single families use. The conventions that
// no key states are rows of families.cpp.
//
// Where two keys say different things the reading ends, naming both. Exceptions, because published checkpoints rely on
// them: Phi-3's top-level original_max_position_embeddings, and YaRN's factor against the ratio of the two lengths.

#include "config/families.hpp"
#include "config/hf_layers.hpp"
#include "config/hf_scaling.hpp"
#include "config/keys.hpp"
#include "config/nearest.hpp"
#include "config/printable.hpp"

#include <ropewalk/config.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr std::int64_t kMostChannels = 1 << 20;
constexpr std::int64_t kMostLayers = 1 << 16;

/// One size of the model under the names that configs have for it.
constexpr std::string_view kHidden[] = {"hidden_size", "n_embd", "d_model"};
constexpr std::string_view kHeads[] = {"num_attention_heads", "n_head", "n_heads"};
constexpr std::string_view kLayers[] = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"};
constexpr std::string_view kContext[] = {"max_position_embeddings", "n_positions", "max_seq_len", "model_max_length"};

struct Head {
  int head_dim = 0;
  int width = 0;   // channels that may turn, before a partial factor
  int offset = 0;  // the first of them
};

class ConfigReader {
 public:
  ConfigReader(const Json& root, const std::string& source, const ReadOptions& options)
      : options_(options), root_(root, "", used_), config_(root_) {
    out_.source = source;
  }

  CheckpointPositions read() {
    choose_family();
    out_.layer_count = static_cast<int>(size(kLayers, kMostLayers, row_->assumes.layers)) * row_->layer_factor;
    out_.max_context = size(kContext, kMostTokens, row_->assumes.context);
    out_.trained_context = out_.max_context;
    if (!row_->remark.empty()) out_.notes.emplace_back(row_->remark);
    if (!row_->rotates) {
      add_kind("default", all_layers(), 0, std::nullopt);
      if (config_.has("mla_use_nope") && config_.flag("mla_use_nope") == false)
        refuse(Code::kUnsupported, config_.where("mla_use_nope"), "want true for this family, got false");
      out_.notes.push_back(out_.family + " has no rotary position encoding");
    } else {
      out_.provenance.push_back({"pair_layout", std::string(name_of(row_->layout)), out_.family + " family"});
      find_rope();
      read_kinds();
      check_stray_keys();
    }
    list_keys();
    return std::move(out_);
  }

 private:
  // ---- which family, and where its keys lie -------------------------------------------------------------------------

  void choose_family() {
    out_.model_type = root_.text("model_type").value_or("");
    const std::string name = options_.family.empty() ? out_.model_type : options_.family;
    if (name.empty())
      refuse(Code::kInvalid, "model_type",
             "want a model_type, or --family NAME to say whose conventions it follows, got none");
    out_.family = name;
    if (!options_.family.empty() && options_.family != out_.model_type)
      out_.notes.push_back("the conventions of " + name + " are followed, as asked; model_type is " +
                           (out_.model_type.empty() ? "missing" : shown(Json(out_.model_type))));
    row_ = find_row(name);
    if (row_ != nullptr) {
      // A composite config read as one of its text families: the keys lie where that family's would.
      if (!options_.family.empty() && config_.has("text_config") && !config_.has("hidden_size")) enter("text_config");
      return;
    }
    const Composite* const composite = find_composite(name);
    if (composite == nullptr) refuse_family("model_type", name);
    if (!root_.has("text_config")) {
      if (!composite->flat)
        refuse(Code::kInvalid, "text_config", "want the config of the language model of " + name + ", got none");
      row_ = find_row(composite->text);
      out_.family = composite->text;
      out_.notes.push_back(
          "the language model's positions, read from the top level; its other parts are not described");
      return;
    }
    enter("text_config");
    own_defaults_ = composite->own;
    const std::string text_type = config_.text("model_type").value_or(std::string(composite->text));
    row_ = text_type == name ? find_row(composite->text) : find_row(text_type);
    if (row_ == nullptr) refuse_family("text_config.model_type", text_type);
    out_.family = row_->name;
    out_.notes.push_back("the positions of text_config (" + out_.family + "); the other parts are not described");
    for (const std::string_view key :
         {"rope_theta", "rope_scaling", "rope_parameters", "head_dim", "max_position_embeddings"}) {
      const Json* const outer = root_.peek(key);
      if (outer == nullptr || (config_.has(key) && *config_.peek(key) == *outer)) continue;
      if (key == "max_position_embeddings" && !config_.has(key)) continue;
      refuse(Code::kInvalid, std::string(key),
             "want none beside text_config, or the same as text_config." + std::string(key) + ", got " + shown(*outer));
    }
  }

  void enter(std::string_view key) {
    config_ = *root_.keys(key);
    used_.erase(std::string(key));
    inner_ = true;
  }

  [[noreturn]] void refuse_family(std::string path, const std::string& name) {
    if (const Refused* const refused = find_refused(name))
      refuse(Code::kUnsupported, std::move(path),
             "want a family that this version describes, got " + shown(Json(name)) + ": " + std::string(refused->why));
    std::string near;
    for (const std::string& one : nearest(name, known_names())) near += (near.empty() ? "" : ", ") + one;
    refuse(Code::kUnsupported, std::move(path),
           "want a known model type (nearest: " + near +
               "), or --family NAME to say whose conventions it follows, got " + shown(Json(name)));
  }

  // ---- sizes
  // ----------------------------------------------------------------------------------------------------------

  // The first of the names that is there; two that differ are a conflict. A sub-config may leave out what its class
  // assumes, as transformers writes only the differences there. 0 if unknown.
  template <std::size_t N>
  std::int64_t size(const std::string_view (&names)[N], std::int64_t most, std::int64_t assumed) {
    std::int64_t value = 0;
    std::string from;
    for (const std::string_view name : names) {
      // model_max_length and num_layers mean something else in some configs that also have the usual name.
      if (value != 0 && (name == "model_max_length" || name == "num_layers")) break;
      const auto given = config_.integer(name, 1, most);
      if (!given) continue;
      if (value != 0 && *given != value)
        refuse(Code::kInvalid, config_.where(name),
               "want the same as " + from + " (" + std::to_string(value) + "), got " + std::to_string(*given));
      value = *given;
      if (from.empty()) from = config_.where(name);
    }
    if (value == 0 && inner_ && assumed > 0) {
      value = assumed;
      assume(config_.where(names[0]), std::to_string(assumed));
    }
    return value;
  }

  void assume(const std::string& key, const std::string& value) {
    if (own_defaults_)
      refuse(Code::kInvalid, key,
             "want it said, as " + out_.model_type + " has another value for a missing one than " + out_.family +
                 ", got none");
    const std::string note = key + " is missing: the " + out_.family + " family assumes " + value;
    if (std::find(out_.notes.begin(), out_.notes.end(), note) == out_.notes.end()) out_.notes.push_back(note);
  }

  std::int64_t need(std::int64_t value, std::string_view key) {
    if (value <= 0) refuse(Code::kInvalid, config_.where(key), "want an integer >= 1, got none");
    return value;
  }

  int quotient(int times) {
    const std::int64_t hidden = need(size(kHidden, kMostChannels * 64, row_->assumes.hidden), kHidden[0]);
    const std::int64_t heads = need(size(kHeads, kMostChannels, row_->assumes.heads), kHeads[0]);
    const std::int64_t head_dim = times * hidden / heads;
    if (head_dim < 1 || head_dim > kMostChannels)
      refuse(Code::kInvalid, config_.where("hidden_size"),
             "want at least one channel a head and at most 2^20, got " + std::to_string(head_dim));
    return static_cast<int>(head_dim);
  }

  std::optional<int> given_head_dim() {
    if (!row_->head_key.empty())
      if (const auto own = config_.integer(row_->head_key, 1, kMostChannels)) {
        if (const auto usual = config_.integer("head_dim", 1, kMostChannels); usual && *usual != *own)
          refuse(Code::kInvalid, config_.where("head_dim"),
                 "want the same as " + config_.where(row_->head_key) + " (" + std::to_string(*own) + "), got " +
                     std::to_string(*usual));
        note_head(static_cast<int>(*own), config_.where(row_->head_key));
        return static_cast<int>(*own);
      }
    const auto head_dim = config_.integer("head_dim", 1, kMostChannels);
    if (!head_dim) return std::nullopt;
    note_head(static_cast<int>(*head_dim), config_.where("head_dim"));
    return static_cast<int>(*head_dim);
  }

  void note_head(int head_dim, std::string from) { note_once("head_dim", std::to_string(head_dim), std::move(from)); }

  void note_once(const std::string& what, std::string value, std::string from) {
    for (const Provenance& p : out_.provenance)
      if (p.what == what) return;
    out_.provenance.push_back({what, std::move(value), std::move(from)});
  }

  Head head(std::string_view layer_type) {
    switch (row_->head) {
      case HeadRule::kMla: return latent_head();
      case HeadRule::kTwice:
      case HeadRule::kQuotient:
      case HeadRule::kGptJ: {
        const int times = row_->head == HeadRule::kTwice ? 2 : 1;
        const int head_dim = quotient(times);
        for (const std::string_view key : {"head_dim", "attention_head_dim"})
          if (config_.has(key))
            if (const auto given = config_.integer(key, 1, kMostChannels); *given != head_dim)
              refuse(Code::kInvalid, config_.where(key),
                     "want " + std::string(times == 2 ? "2 * " : "") + "hidden_size / num_attention_heads (" +
                         std::to_string(head_dim) + ") for this family, got " + std::to_string(*given));
        note_head(head_dim, std::string(times == 2 ? "2 * " : "") + "hidden_size / num_attention_heads");
        return {head_dim, head_dim, 0};
      }
      case HeadRule::kKey:
      case HeadRule::kByType: break;
    }
    if (row_->head == HeadRule::kByType && layer_type == "full_attention") return full_head();
    int head_dim = 0;
    if (const auto given = given_head_dim()) {
      head_dim = *given;
    } else if (row_->head_dim > 0) {
      if (config_.is_null("head_dim"))
        refuse(Code::kInvalid, config_.where("head_dim"), "want an integer >= 1 for this family, got null");
      head_dim = row_->head_dim;
      assume(config_.where("head_dim"), std::to_string(head_dim));
      note_head(head_dim, out_.family + " family: " + std::to_string(head_dim) + " if missing");
    } else {
      head_dim = quotient(1);
      note_head(head_dim, "hidden_size / num_attention_heads");
    }
    return {head_dim, head_dim, 0};
  }

  Head latent_head() {
    const auto part = [&](std::string_view key, int assumed) {
      if (const auto given = config_.integer(key, 0, kMostChannels)) return static_cast<int>(*given);
      if (!inner_) refuse(Code::kInvalid, config_.where(key), "want an integer, got none");
      assume(config_.where(key), std::to_string(assumed));
      return assumed;
    };
    const int nope = part("qk_nope_head_dim", row_->mla[0]), rope = part("qk_rope_head_dim", row_->mla[1]);
    if (rope < 2)
      refuse(Code::kUnsupported, config_.where("qk_rope_head_dim"),
             "want at least 2 channels that turn, got " + std::to_string(rope));
    note_head(nope + rope, "qk_nope_head_dim + qk_rope_head_dim");
    // Configs of this kind store one of the two widths as head_dim.
    if (const auto stored = config_.integer("head_dim", 0, kMostChannels);
        stored && *stored != rope && *stored != nope + rope)
      out_.notes.push_back(config_.where("head_dim") + " (" + std::to_string(*stored) +
                           ") is neither the turning part nor the whole head, and is not used");
    // LongCat is the one that takes the width of its frequencies from there.
    if (row_->name == "longcat_flash" && config_.has("head_dim") && *config_.peek("head_dim") != rope)
      refuse(
          Code::kInvalid, config_.where("head_dim"),
          "want the same as qk_rope_head_dim (" + std::to_string(rope) + "), got " + shown(*config_.peek("head_dim")));
    return {nope + rope, rope, nope};
  }

  // Gemma 4: full-attention layers have heads of their own width.
  Head full_head() {
    std::int64_t head_dim = config_.integer("global_head_dim", 1, kMostChannels).value_or(0);  // 0: not said
    std::string from = config_.where("global_head_dim");
    if (auto per_layer = config_.keys("per_layer_config")) {
      head_dim = 0;
      for (const auto& [layer, entry] : per_layer->object().items()) {
        auto one = per_layer->keys(layer);
        const std::int64_t width = one ? one->integer("head_dim", 1, kMostChannels).value_or(0) : 0;
        const bool is_full = layer_type_at(layer) == "full_attention";
        if (width == 0 && !is_full) continue;
        if (!is_full || width == 0 || (head_dim != 0 && head_dim != width))
          refuse(Code::kUnsupported, per_layer->where(layer),
                 "want one head_dim for all full_attention layers and none for others, got " + shown(entry));
        head_dim = width;
        from = config_.where("per_layer_config") + ".*.head_dim";
      }
      if (head_dim == 0) {  // listed, and nobody differs
        head_dim = given_head_dim().value_or(row_->head_dim);
        from = config_.where("head_dim");
      }
    }
    constexpr std::int64_t kGlobal = 512;
    if (head_dim == 0) {
      head_dim = kGlobal;
      assume(config_.where("global_head_dim"), std::to_string(kGlobal));
      from = out_.family + " family: 512 if missing";
    }
    out_.provenance.push_back({"head_dim[full_attention]", std::to_string(head_dim), from});
    return {static_cast<int>(head_dim), static_cast<int>(head_dim), 0};
  }

  std::string layer_type_at(const std::string& index) {
    const bool digits =
        !index.empty() && index.size() <= 6 && index.find_first_not_of("0123456789") == std::string::npos;
    const std::size_t i = digits ? std::stoul(index) : types().size();
    return i < types().size() ? types()[i] : std::string();
  }

  const std::vector<std::string>& types() {
    if (!types_) types_ = layer_types(config_, *row_, out_.layer_count);
    return *types_;
  }

  std::vector<int> all_layers() const {
    std::vector<int> all;
    for (int i = 0; i < out_.layer_count; ++i) all.push_back(i);
    return all;
  }

  // ---- the rope parameters
  // ----------------------------------------------------------------------------------------------

  // rope_parameters or rope_scaling; both only if they agree. An empty object is nothing, as in transformers.
  void find_rope() {
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

  // One number that several keys may say. All that do must say the same.
  class Agreed {
   public:
    void add(std::string where, std::optional<double> value) {
      if (!value) return;
      if (value_ && *value_ != *value)
        refuse(Code::kInvalid, std::move(where),
               "want the same as " + from_ + " (" + shown(*value_) + "), got " + shown(*value));
      if (value_) return;
      value_ = value;
      from_ = std::move(where);
    }
    const std::optional<double>& value() const { return value_; }
    const std::string& from() const { return from_; }

   private:
    std::optional<double> value_;
    std::string from_;
  };

  static std::string tagged(std::string_view what, const std::string& kind) {
    return std::string(what) + (kind.empty() ? "" : "[" + kind + "]");
  }

  double theta(std::optional<Keys>& rope, const NestedKind* nested, const std::string& kind) {
    constexpr std::string_view kWant = "a number > 1";
    Agreed theta;
    const auto take = [&](Keys& keys, std::string_view key) {
      if (keys.has(key)) theta.add(keys.where(key), keys.number_above(key, 1.0, kWant));
    };
    const auto no_null = [&](Keys& keys, std::string_view key) {
      if (keys.is_null(key)) refuse(Code::kInvalid, keys.where(key), "want " + std::string(kWant) + ", got null");
    };
    if (rope) {
      no_null(*rope, "rope_theta");
      take(*rope, "rope_theta");
    }
    double assumed = row_->theta;
    if (nested != nullptr) {
      if (!nested->theta_key.empty()) take(config_, nested->theta_key);
      assumed = nested->theta;
    } else if (row_->head == HeadRule::kGptJ || row_->name == "roformer") {
      // The table of these is made without a key; one that is there must agree.
      theta.add(std::string(row_->name) + " family: always 10000", 10000.0);
      take(config_, "rope_theta");
    } else {
      if (!row_->theta_key.empty()) take(config_, row_->theta_key);
      take(config_, "rope_theta");
      if (!theta.value()) no_null(config_, "rope_theta");
      // dbrx keeps it among the keys of its attention.
      if (config_.has("attn_config") && config_.peek("attn_config")->is_object())
        if (auto attention = config_.keys("attn_config")) take(*attention, "rope_theta");
    }
    std::string from = theta.from();
    double value = theta.value().value_or(assumed);
    // GPT-NeoX names it rotary_emb_base; transformers' class reads nothing else.
    if (theta.value() && row_->theta_key == "rotary_emb_base" && from == config_.where("rope_theta") &&
        value != assumed)
      refuse(Code::kInvalid, from, "want rotary_emb_base, the name this family has for it, got " + shown(value));
    if (!theta.value()) {
      if (assumed <= 0.0)
        refuse(Code::kInvalid, rope ? rope->where("rope_theta") : config_.where("rope_theta"),
               "want " + std::string(kWant) + ", got none");
      from = out_.family + " family: " + shown(assumed) + " if missing";
      assume(rope && nested ? rope->where("rope_theta") : config_.where("rope_theta"), shown(assumed));
    }
    out_.provenance.push_back({tagged("theta", kind), shown(value), from});
    return value;
  }

  // The number of channels that turn, of `width`.
  int rotary_width(std::optional<Keys>& rope, int width, double assumed, const std::string& kind,
                   const ReadScaling& read) {
    constexpr std::string_view kKey = "partial_rotary_factor";
    constexpr std::string_view kWant = "a number in (0, 1]";
    if (std::holds_alternative<ProportionalOptions>(read.scaling)) return width;
    if (row_->head == HeadRule::kGptJ) {
      const auto given = config_.integer("rotary_dim", 1, width);
      if (!given && config_.is_null("rotary_dim"))
        refuse(Code::kUnsupported, config_.where("rotary_dim"), "want an even integer, got null");
      if (!given) assume(config_.where("rotary_dim"), "64");
      const int dim = static_cast<int>(given.value_or(64));
      out_.provenance.push_back({"rotary_dim", std::to_string(dim), config_.where("rotary_dim")});
      return even(dim, width, config_.where("rotary_dim"));
    }
    Agreed fraction;
    const auto take = [&](Keys& keys, std::string_view key) {
      if (!keys.has(key)) return;
      const auto value = keys.number_above(key, 0.0, kWant);
      if (*value > 1.0)
        refuse(Code::kInvalid, keys.where(key), "want " + std::string(kWant) + ", got " + shown(*value));
      fraction.add(keys.where(key), value);
    };
    if (rope) take(*rope, kKey);
    if (!rope_is_nested_entry(rope)) take(config_, kKey);
    if (row_->fraction_key == "rotary_dim") {
      if (const auto channels = config_.integer("rotary_dim", 1, width))
        fraction.add(config_.where("rotary_dim") + " / head_dim", static_cast<double>(*channels) / width);
    } else if (!row_->fraction_key.empty()) {
      take(config_, row_->fraction_key);
    }
    if (row_->head == HeadRule::kMla) {
      // Mistral 4 writes the turning part of its head; everybody else has it as a width and no fraction.
      const double whole = width + offset_of_latent_;
      if (fraction.value() && *fraction.value() != 1.0 &&
          !(row_->name == "mistral4" && static_cast<int>(whole * *fraction.value()) == width))
        refuse(Code::kInvalid, fraction.from(),
               "want what qk_rope_head_dim says (" + std::to_string(width) + " of " + shown(whole) +
                   " channels), got " + shown(*fraction.value()));
      return even(width, width, config_.where("qk_rope_head_dim"));
    }
    if (assumed <= 0.0) {
      if (fraction.value() && *fraction.value() != 1.0)
        refuse(Code::kUnsupported, fraction.from(),
               "want 1 or none for a family that turns the whole head, got " + shown(*fraction.value()));
      return even(width, width, "head_dim");
    }
    const double value = fraction.value().value_or(assumed);
    const std::string from =
        fraction.value() ? fraction.from() : out_.family + " family: " + shown(assumed) + " if missing";
    if (!fraction.value() && assumed != 1.0) assume(config_.where(kKey), shown(assumed));
    out_.provenance.push_back({tagged(kKey, kind), shown(value), from});
    return even(static_cast<int>(width * value), width, fraction.value() ? fraction.from() : std::string(kKey));
  }

  bool rope_is_nested_entry(const std::optional<Keys>& rope) const { return nested_ && rope.has_value(); }

  int even(int dim, int width, const std::string& path) {
    if (dim < 2 || dim % 2 != 0)
      refuse(Code::kInvalid, path,
             "want an even number of channels that turn, >= 2, got " + std::to_string(dim) + " of " +
                 std::to_string(width));
    return dim;
  }

  std::vector<std::uint8_t> axes(std::optional<Keys>& rope, int pairs) {
    std::vector<std::int64_t> sections;
    std::string from = out_.family + " family";
    const bool given = rope && rope->has("mrope_section");
    if (given) {
      sections = *rope->integers("mrope_section", 0, kMostChannels);
      from = rope->where("mrope_section");
    } else {
      sections.assign(row_->sections.begin(), row_->sections.begin() + 3);
    }
    std::int64_t sum = 0;
    for (const std::int64_t section : sections) sum += section;
    if (sections.size() != 3 || sum != pairs)
      refuse(Code::kInvalid,
             given ? from : (rope ? rope->where("mrope_section") : config_.where("rope_scaling.mrope_section")),
             "want three numbers of pairs that add up to " + std::to_string(pairs) + ", got " +
                 (given ? "" : "none, for which this family assumes ") + shown(Json(sections)));
    if (rope) {
      const auto interleaved = rope->flag("mrope_interleaved");
      if (interleaved && *interleaved != (row_->mrope == MropeForm::kInterleaved))
        refuse(Code::kUnsupported, rope->where("mrope_interleaved"),
               std::string("want ") + (*interleaved ? "false" : "true") + " or none for this family, got " +
                   (*interleaved ? "true" : "false"));
    }
    if (!given)
      assume(rope ? rope->where("mrope_section") : config_.where("rope_scaling.mrope_section"), shown(Json(sections)));
    note_once("axis_of_pair", shown(Json(sections)), from);

    std::vector<std::uint8_t> axis(static_cast<std::size_t>(pairs), 0);
    std::size_t pair = 0;
    switch (row_->mrope) {
      case MropeForm::kNone: break;
      case MropeForm::kChunked:
        for (std::size_t a = 0; a < 3; ++a)
          for (std::int64_t i = 0; i < sections[a]; ++i) axis[pair++] = static_cast<std::uint8_t>(a);
        break;
      case MropeForm::kInterleaved:
        for (std::size_t a = 1; a < 3; ++a)
          for (std::size_t i = a; i < 3 * static_cast<std::size_t>(sections[a]) && i < axis.size(); i += 3)
            axis[i] = static_cast<std::uint8_t>(a);
        break;
      case MropeForm::kErnie:  // sections in the order h, w, t; axes t, h, w
        if (sections[0] != sections[1])
          refuse(Code::kUnsupported, from, "want as many pairs for height as for width, got " + shown(Json(sections)));
        for (; pair < static_cast<std::size_t>(sections[0] + sections[1]); ++pair)
          axis[pair] = static_cast<std::uint8_t>(1 + pair % 2);
        break;
    }
    return axis;
  }

  // One kind's spec from its own parameters. `layer_type` is empty where the parameters are those of every layer.
  RotarySpec spec(std::optional<Keys> rope, const NestedKind* nested, const std::string& layer_type) {
    ScalingContext context{.row = *row_,
                           .config = config_,
                           .max_context = out_.max_context,
                           .nested = nested != nullptr || !layer_type.empty(),
                           .kind = layer_type,
                           .provenance = out_.provenance,
                           .notes = out_.notes};
    const ReadScaling read = read_scaling(rope, context);
    const Head where = head(layer_type);
    offset_of_latent_ = where.offset;

    RotarySpec spec;
    spec.head_dim = where.head_dim;
    spec.rotary_offset = where.offset;
    spec.theta = theta(rope, nested, layer_type);
    spec.rotary_dim = rotary_width(rope, where.width, nested ? nested->fraction : row_->fraction, layer_type, read);
    spec.layout = layout();
    spec.scaling = read.scaling;
    spec.numerics = options_.numerics;
    spec.clockwise = row_->clockwise;
    spec.softmax_scale_multiplier = read.softmax_scale_multiplier;
    spec.query_temperature = read.query_temperature;
    if (row_->mrope != MropeForm::kNone) {
      spec.axis_of_pair = axes(rope, spec.pairs());
      note_text_axes();
    }
    check_lists(rope, spec);
    note_trained(spec.scaling);
    if (auto error = validate(spec)) {
      const std::string path = rope ? rope->path() : config_.path();
      refuse(error->code, path.empty() ? error->path : path + ": " + error->path, error->message);
    }
    return spec;
  }

  void note_text_axes() {
    const std::string note = "several position axes; for text alone all of them are equal";
    if (std::find(out_.notes.begin(), out_.notes.end(), note) == out_.notes.end()) out_.notes.push_back(note);
  }

  PairLayout layout() {
    if (!row_->rope_interleave_key) return row_->layout;
    const auto interleave = config_.flag("rope_interleave");
    return !interleave || *interleave ? PairLayout::kInterleaved : PairLayout::kHalf;
  }

  void check_lists(std::optional<Keys>& rope, const RotarySpec& spec) {
    const LongRopeOptions* const longrope = std::get_if<LongRopeOptions>(&spec.scaling);
    if (longrope == nullptr) return;
    for (const auto& [key, list] :
         {std::pair{"short_factor", &longrope->short_factor}, {"long_factor", &longrope->long_factor}})
      if (static_cast<int>(list->size()) != spec.pairs())
        refuse(Code::kInvalid, rope->where(key),
               "want " + std::to_string(spec.pairs()) + " numbers, one a pair, got " + std::to_string(list->size()));
  }

  void note_trained(const Scaling& scaling) {
    std::int64_t trained = 0;
    if (const auto* yarn = std::get_if<YarnOptions>(&scaling)) trained = yarn->trained_context;
    if (const auto* longrope = std::get_if<LongRopeOptions>(&scaling)) trained = longrope->trained_context;
    if (const auto* llama3 = std::get_if<Llama3Options>(&scaling)) trained = llama3->trained_context;
    if (trained == 0) return;
    if (out_.max_context == 0 || trained < out_.trained_context) out_.trained_context = trained;
  }

  // ---- which layers
  // -------------------------------------------------------------------------------------------------------

  void add_kind(std::string name, std::vector<int> layers, int head_dim, std::optional<RotarySpec> spec) {
    out_.kinds.push_back({std::move(name), std::move(layers), head_dim, std::move(spec)});
  }

  void add_unturned(std::string name, std::vector<int> layers) {
    add_kind(std::move(name), std::move(layers), 0, std::nullopt);
  }

  std::vector<int> layers_where(auto&& wanted) const {
    std::vector<int> found;
    for (int i = 0; i < out_.layer_count; ++i)
      if (wanted(i)) found.push_back(i);
    return found;
  }

  void read_kinds() {
    if (!row_->off_key.empty() && config_.flag(row_->off_key).value_or(false)) {
      out_.notes.push_back(config_.where(row_->off_key) + " is true: no layer turns");
      return add_unturned("default", all_layers());
    }
    if (nested_) return read_nested();
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
        if (!crossing)
          refuse(Code::kInvalid, config_.where("cross_attention_layers"), "want a list of layers, got none");
        const auto crosses = [&](int i) { return std::find(crossing->begin(), crossing->end(), i) != crossing->end(); };
        auto [one, head_dim] = flat();
        add_kind("default", layers_where([&](int i) { return !crosses(i); }), head_dim, std::move(one));
        if (!crossing->empty()) add_unturned("cross_attention", layers_where(crosses));
        return;
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
        if (!unscaled.empty())
          add_kind(stretched.empty() ? "default" : "unscaled", unscaled, head_dim, std::move(plain));
        return;
      }
    }
  }

  // Flat parameters, and only the layers of some types turn.
  void read_by_type() {
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
      const bool forced =
          dense_prefix && i < static_cast<int>(mlp.size()) && mlp[static_cast<std::size_t>(i)] == "dense";
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
  void read_no_rope_list() {
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
    if (!unturned.empty() || out_.layer_count == 0) add_kind("nope", unturned, head_dim, std::nullopt);
    if (config_.has("attn_temperature_tuning")) {
      const Json& tuning = *config_.find("attn_temperature_tuning");
      if (tuning != false && tuning != 0)
        out_.notes.push_back(
            "layers that do not turn multiply their queries by 1 + attn_scale * ln(1 + floor((p + 1) / floor_scale))");
      config_.find("attn_scale");
      config_.find("floor_scale");
    }
  }

  // layer_rope_theta: 0 does not turn.
  void read_theta_list() {
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
        each.push_back(
            row_->pattern == Pattern::kFromEnd && (out_.layer_count - 1 - i) % row_->every == 0 ? 0.0 : main.theta);
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

  // ---- parameters of their own for each layer type
  // ------------------------------------------------------------------------

  const NestedKind* nested_kind(std::string_view type) const {
    for (const NestedKind& kind : row_->nested)
      if (!kind.type.empty() && kind.type == type) return &kind;
    return nullptr;
  }

  void read_nested() {
    if (row_->rule != LayerRule::kNested && row_->rule != LayerRule::kAll)
      refuse(Code::kUnsupported, rope_->path(),
             "want one set of parameters for this family, got one for each layer type");
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
        refuse(Code::kInvalid, rope_->where(key),
               "want it among the parameters of each layer type, got " + shown(value));
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
      if (type != "conv" && type != "linear_attention")
        refuse(Code::kInvalid, rope_->where(type),
               "want its parameters or null, as there are layers of this type, got none");
      add_unturned(type, std::move(layers));
    }
    if (out_.kinds.empty())
      refuse(Code::kInvalid, rope_->path(), "want parameters for a layer type that occurs, got none");
  }

  // The older spelling of a nested family: a theta under its own top-level key, and rope_scaling for some of the types.
  void read_nested_from_flat() {
    const bool flat_parameters = rope_ && !legacy_scaling_;
    const bool older = !row_->nested[0].theta_key.empty();
    if (flat_parameters || (rope_ && !older))
      refuse(Code::kInvalid, rope_->path(),
             "want the parameters of each layer type (" + std::string(row_->nested[0].type) + ", " +
                 std::string(row_->nested[1].type) + "), got one set for all");
    if (!older)
      refuse(Code::kInvalid, config_.where("rope_parameters"), "want the parameters of each layer type, got none");
    if (row_->nested[0].theta_key == row_->nested[1].theta_key)
      if (const auto theta = config_.number_above(row_->nested[0].theta_key, 1.0, "a number > 1");
          theta && *theta != row_->nested[1].theta)
        refuse(Code::kUnsupported, config_.where(row_->nested[0].theta_key),
               "want it among rope_parameters for each layer type: from here the present transformers gives " +
                   shown(*theta) + " to one type only, the older one to both");
    const std::vector<std::string>& each = types();
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

  // ---- what was not used
  // ----------------------------------------------------------------------------------------------------

  // Keys that change positions in the families that read them. Here nobody did: they may stand only if they say what
  // the answer says anyway.
  void check_stray_keys() {
    const RotarySpec* first = nullptr;
    for (const LayerKind& kind : out_.kinds)
      if (kind.spec && first == nullptr) first = &*kind.spec;
    if (first == nullptr) return;
    const auto stray = [&](std::string_view key, const std::string& want) {
      if (!config_.has(key) || config_.was_used(key)) return;
      refuse(Code::kUnsupported, config_.where(key),
             "want " + (want.empty() ? "none" : want + " or none") + " for the " + out_.family + " family, got " +
                 shown(*config_.peek(key)));
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
    const bool several_thetas = std::any_of(out_.kinds.begin(), out_.kinds.end(), [&](const LayerKind& k) {
      return k.spec && k.spec->theta != first->theta;
    });
    if (!several_thetas)
      for (const std::string_view key :
           {"rope_theta", "rotary_emb_base", "rotary_embedding_base", "rope_local_base_freq", "rope_global_base_freq",
            "local_rope_theta", "global_rope_theta", "swa_rope_theta", "compress_rope_theta"})
        only(key, first->theta);
    else
      for (const std::string_view key :
           {"rotary_emb_base", "rotary_embedding_base", "rope_local_base_freq", "rope_global_base_freq",
            "local_rope_theta", "global_rope_theta", "swa_rope_theta", "compress_rope_theta", "rope_theta"})
        stray(key, "");
    for (const std::string_view key : {"partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction",
                                       "rotary_percent", "rope_percent", "rope_percentage"})
      only(key, static_cast<double>(first->rotary_dim) / first->head_dim);
    only("rotary_dim", first->rotary_dim);
    only("rope_ratio", 1.0);
    only("rotary_scaling_factor", 1.0);
    if (row_->head != HeadRule::kMla && row_->name != "mistral4") stray("qk_rope_head_dim", "");
    all("partial_rotary_factors", 1.0);
    all("layer_rope_theta", first->theta);
    all("no_rope_layers", 1.0);
    stray("no_rope_layer_interval", "");
    for (const std::string_view key :
         {"use_dynamic_ntk", "use_logn_attn", "alibi", "mla_use_nope", "attn_temperature_tuning", "rotary_value"})
      flag(key, false);
    for (const std::string_view key :
         {"rope_interleave", "rope_interleaved", "rotary_emb_interleaved", "rotary_interleaved"})
      flag(key, first->layout == PairLayout::kInterleaved);
    if (const Json* const kind = config_.peek("position_embedding_type"))
      if (*kind != "rope" && *kind != "rotary" && *kind != "ROPE") stray("position_embedding_type", "\"rope\"");
    for (const std::string_view key : {"hybrid_layer_pattern", "attn_type_list", "dual_chunk_attention_config"})
      stray(key, "");
    // Whatever else says rope or rotary and is known to nobody.
    for (const auto& [key, value] : config_.object().items()) {
      const bool rope = key.rfind("rope_", 0) == 0 || key.rfind("rotary_", 0) == 0;
      const bool known =
          key == "rope_theta" || key == "rope_scaling" || key == "rope_parameters" || known_strays().count(key) != 0;
      if (rope && !known && !value.is_null()) stray(key, "");
    }
  }

  static const std::set<std::string_view>& known_strays() {
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

  // Keys about positions that were there and not used. Inside rope parameters every key is about positions.
  void list_keys() {
    const auto about = [](std::string_view key) {
      for (const std::string_view word :
           {"rope", "rotary", "theta", "position_embedding", "alibi", "head_dim", "layer_types",
            "sliding_window_pattern", "yarn", "ntk", "logn", "temperature_tuning", "kv_channels"})
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
  bool is_holder(const std::string& path) const {
    const std::size_t dot = path.rfind('.');
    const std::string last = dot == std::string::npos ? path : path.substr(dot + 1);
    return last == "rope_parameters" || last == "rope_scaling" || is_layer_type(last) || last == "per_layer_config" ||
           path.find("per_layer_config.") != std::string::npos;
  }

  ReadOptions options_;
  std::set<std::string> used_, assumed_used_;
  Keys root_, config_;
  bool inner_ = false;         // config_ is a sub-config
  bool own_defaults_ = false;  // of a kind whose missing keys mean something else than in its family
  const Row* row_ = nullptr;
  CheckpointPositions out_;
  std::optional<std::vector<std::string>> types_;
  std::optional<Keys> rope_;
  bool nested_ = false, legacy_scaling_ = false;
  Json assumed_rope_;
  int offset_of_latent_ = 0;
};

}  // namespace
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
