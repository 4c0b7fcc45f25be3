// One spec from one set of rope parameters: base, width, axes, layout, and the checks that need all of them.

#include "config/hf_reader.hpp"

#include <algorithm>
#include <utility>

namespace ropewalk::config {
namespace {

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

std::string tagged(std::string_view what, const std::string& kind) {
  return std::string(what) + (kind.empty() ? "" : "[" + kind + "]");
}

}  // namespace

double ConfigReader::theta(std::optional<Keys>& rope, const NestedKind* nested, const std::string& kind) {
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
  } else if (row_->theta_fixed) {
    // One that is there must agree.
    theta.add(std::string(row_->name) + " family: always " + shown(row_->theta), row_->theta);
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
  if (theta.value() && row_->theta_key == "rotary_emb_base" && from == config_.where("rope_theta") && value != assumed)
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
int ConfigReader::rotary_width(std::optional<Keys>& rope, int width, double assumed, const std::string& kind,
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
    if (*value > 1.0) refuse(Code::kInvalid, keys.where(key), "want " + std::string(kWant) + ", got " + shown(*value));
    fraction.add(keys.where(key), value);
  };
  // To transformers a null is there: the family's own fraction does not step in.
  const auto no_null = [&](Keys& keys, std::string_view key) {
    if (keys.is_null(key)) refuse(Code::kInvalid, keys.where(key), "want " + std::string(kWant) + ", got null");
  };
  if (rope) take(*rope, kKey);
  if (!rope_is_nested_entry(rope)) take(config_, kKey);
  if (assumed > 0.0) {
    if (rope) no_null(*rope, kKey);
    if (!rope_is_nested_entry(rope) && !fraction.value()) no_null(config_, kKey);
    if (!row_->fraction_key.empty() && row_->fraction_key != "rotary_dim") no_null(config_, row_->fraction_key);
  }
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
             "want what qk_rope_head_dim says (" + std::to_string(width) + " of " + shown(whole) + " channels), got " +
                 shown(*fraction.value()));
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

bool ConfigReader::rope_is_nested_entry(const std::optional<Keys>& rope) const { return nested_ && rope.has_value(); }

int ConfigReader::even(int dim, int width, const std::string& path) {
  if (dim < 2 || dim % 2 != 0)
    refuse(
        Code::kInvalid, path,
        "want an even number of channels that turn, >= 2, got " + std::to_string(dim) + " of " + std::to_string(width));
  return dim;
}

std::vector<std::uint8_t> ConfigReader::axes(std::optional<Keys>& rope, int pairs) {
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
RotarySpec ConfigReader::spec(std::optional<Keys> rope, const NestedKind* nested, const std::string& layer_type) {
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

void ConfigReader::note_text_axes() {
  const std::string note = "several position axes; for text alone all of them are equal";
  if (std::find(out_.notes.begin(), out_.notes.end(), note) == out_.notes.end()) out_.notes.push_back(note);
}

PairLayout ConfigReader::layout() {
  if (!row_->rope_interleave_key) return row_->layout;
  const auto interleave = config_.flag("rope_interleave");
  return !interleave || *interleave ? PairLayout::kInterleaved : PairLayout::kHalf;
}

void ConfigReader::check_lists(std::optional<Keys>& rope, const RotarySpec& spec) {
  const LongRopeOptions* const longrope = std::get_if<LongRopeOptions>(&spec.scaling);
  if (longrope == nullptr) return;
  for (const auto& [key, list] :
       {std::pair{"short_factor", &longrope->short_factor}, {"long_factor", &longrope->long_factor}})
    if (static_cast<int>(list->size()) != spec.pairs())
      refuse(Code::kInvalid, rope->where(key),
             "want " + std::to_string(spec.pairs()) + " numbers, one a pair, got " + std::to_string(list->size()));
}

void ConfigReader::note_trained(const Scaling& scaling) {
  std::int64_t trained = 0;
  if (const auto* yarn = std::get_if<YarnOptions>(&scaling)) trained = yarn->trained_context;
  if (const auto* longrope = std::get_if<LongRopeOptions>(&scaling)) trained = longrope->trained_context;
  if (const auto* llama3 = std::get_if<Llama3Options>(&scaling)) trained = llama3->trained_context;
  if (trained == 0) return;
  if (out_.max_context == 0 || trained < out_.trained_context) out_.trained_context = trained;
}

}  // namespace ropewalk::config
