// One spec from one set of rope parameters: base, width, axes, layout, and the checks that need all of them.

#include "config/hf_reader.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::string_view kFractionKey = "partial_rotary_factor";
constexpr std::string_view kFractionWant = "a number in (0, 1]";

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

// The part of `width` channels that the config states under any of its names.
ConfigReader::Fraction ConfigReader::stated_fraction(std::optional<Keys>& rope, int width, double assumed) {
  Agreed fraction;
  const auto take = [&](Keys& keys, std::string_view key) {
    if (!keys.has(key)) return;
    const auto value = keys.number_above(key, 0.0, kFractionWant);
    if (*value > 1.0)
      refuse(Code::kInvalid, keys.where(key), "want " + std::string(kFractionWant) + ", got " + shown(*value));
    fraction.add(keys.where(key), value);
  };
  // To transformers a null is there: the family's own fraction does not step in.
  const auto no_null = [&](Keys& keys, std::string_view key) {
    if (keys.is_null(key)) refuse(Code::kInvalid, keys.where(key), "want " + std::string(kFractionWant) + ", got null");
  };
  if (rope) take(*rope, kFractionKey);
  if (!rope_is_nested_entry(rope)) take(config_, kFractionKey);
  if (assumed > 0.0) {
    if (rope) no_null(*rope, kFractionKey);
    if (!rope_is_nested_entry(rope) && !fraction.value()) no_null(config_, kFractionKey);
    if (!row_->fraction_key.empty() && row_->fraction_key != "rotary_dim") no_null(config_, row_->fraction_key);
  }
  if (row_->fraction_key == "rotary_dim") {
    if (const auto channels = config_.integer("rotary_dim", 1, width))
      fraction.add(config_.where("rotary_dim") + " / head_dim", static_cast<double>(*channels) / width);
  } else if (!row_->fraction_key.empty()) {
    take(config_, row_->fraction_key);
  }
  return {fraction.value(), fraction.from()};
}

// The part of the ladder that turns under the proportional encoding. It narrows nothing: `width` channels have pairs.
double ConfigReader::proportional_fraction(std::optional<Keys>& rope, int width, double assumed,
                                           const std::string& kind) {
  const std::string path = rope->where(kFractionKey);  // there are parameters: the type stands among them
  const double missing = assumed > 0.0 ? assumed : 1.0;
  if (rope->is_null(kFractionKey)) refuse(Code::kInvalid, path, "want " + std::string(kFractionWant) + ", got null");
  const Fraction stated = stated_fraction(rope, width, assumed);
  const double value = stated.value.value_or(missing);
  if (!stated.value && missing != 1.0) assume(path, shown(missing));
  if (stated.value || missing != 1.0)
    out_.provenance.push_back(
        {tagged("scaling.fraction", kind), shown(value),
         stated.value ? stated.from : out_.family + " family: " + shown(missing) + " if missing"});
  check_indexer(rope->where("rope_type"), width, kind);
  if (row_->cuts_part && static_cast<int>(width * value) != width)
    refuse(Code::kUnsupported, stated.value ? stated.from : path,
           "want 1 beside proportional for this family, whose attention cuts that part off a head and has tables for "
           "all of it, got " +
               shown(value));
  return value;
}

// Indexers turn heads of their own with the tables of their layer, which proportional makes as wide as its heads.
void ConfigReader::check_indexer(std::string path, int width, const std::string& kind) {
  if (row_->index.key.empty() || kind == "main") return;
  const std::vector<std::string>& each = types();
  if (!each.empty() && std::find(each.begin(), each.end(), row_->index.layers) == each.end()) return;
  const std::int64_t index = config_.integer(row_->index.key, 1, kMostChannels).value_or(row_->index.width);
  if (index == 0 || index >= width) return;
  refuse(Code::kUnsupported, std::move(path),
         "want another type beside " + config_.where(row_->index.key) + " (" + std::to_string(index) +
             "), whose heads cannot take tables of " + std::to_string(width) + " channels, got \"proportional\"");
}

// The number of channels that turn, of `width`.
int ConfigReader::rotary_width(std::optional<Keys>& rope, int width, double assumed, const std::string& kind) {
  if (row_->head == HeadRule::kGptJ) {
    const auto given = config_.integer("rotary_dim", 1, width);
    if (!given && config_.is_null("rotary_dim"))
      refuse(Code::kUnsupported, config_.where("rotary_dim"), "want an even integer, got null");
    if (!given) assume(config_.where("rotary_dim"), "64");
    const int dim = static_cast<int>(given.value_or(64));
    out_.provenance.push_back({"rotary_dim", std::to_string(dim), config_.where("rotary_dim")});
    return even(dim, width, config_.where("rotary_dim"));
  }
  if (row_->head == HeadRule::kWhole) {  // one axis has half of the whole, said as a part of a head
    const double head_dim = static_cast<double>(hidden_size() / head_count());
    const auto said = rope ? rope->number_above(kFractionKey, 0.0, "a number > 0") : std::nullopt;
    if (said && static_cast<int>(head_dim * *said) != width / 2)
      refuse(Code::kUnsupported, rope->where(kFractionKey),
             "want " + shown(width / 2 / head_dim) + ", so that two axes fill hidden_size, got " + shown(*said));
    return even(width, width, config_.where("hidden_size"));
  }
  const Fraction stated = stated_fraction(rope, width, assumed);
  if (row_->head == HeadRule::kMlaByType) return even(width, width, config_.where("qk_rope_head_dim"));
  if (row_->head == HeadRule::kMla) {
    // Mistral 4 writes the turning part of its head; everybody else has it as a width and no fraction.
    const double whole = width + offset_of_latent_;
    if (stated.value && *stated.value != 1.0 &&
        !(row_->name == "mistral4" && static_cast<int>(whole * *stated.value) == width))
      refuse(Code::kInvalid, stated.from,
             "want what qk_rope_head_dim says (" + std::to_string(width) + " of " + shown(whole) + " channels), got " +
                 shown(*stated.value));
    return even(width, width, config_.where("qk_rope_head_dim"));
  }
  if (assumed <= 0.0) {
    if (stated.value && *stated.value != 1.0)
      refuse(Code::kUnsupported, stated.from,
             "want 1 or none for a family that turns the whole head, got " + shown(*stated.value));
    return even(width, width, config_.where("head_dim"));
  }
  const double value = stated.value.value_or(assumed);
  const std::string from = stated.value ? stated.from : out_.family + " family: " + shown(assumed) + " if missing";
  if (!stated.value && assumed != 1.0) assume(config_.where(kFractionKey), shown(assumed));
  out_.provenance.push_back({tagged(kFractionKey, kind), shown(value), from});
  return even(static_cast<int>(width * value), width, stated.value ? stated.from : std::string(kFractionKey));
}

bool ConfigReader::rope_is_nested_entry(const std::optional<Keys>& rope) const { return nested_ && rope.has_value(); }

int ConfigReader::even(int dim, int width, const std::string& path) {
  if (dim < 2 || dim % 2 != 0)
    refuse(
        Code::kInvalid, path,
        "want an even number of channels that turn, >= 2, got " + std::to_string(dim) + " of " + std::to_string(width));
  return dim;
}

std::vector<std::uint8_t> ConfigReader::axes(std::optional<Keys>& rope, const RotarySpec& spec) {
  const int pairs = spec.pairs();
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
  // The interleaved classes cut the time stream where sections end, and take their own for granted over any width; the
  // proportional encoding widens the ladder beyond the sections of a partial width.
  const bool over_any_width = !given || std::holds_alternative<ProportionalOptions>(spec.scaling);
  const bool rest_is_time = over_any_width && row_->mrope == MropeForm::kInterleaved && sum < pairs;
  if (sections.size() != 3 || (sum != pairs && !rest_is_time))
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
  if (rest_is_time)
    out_.notes.push_back("the sections add up to " + std::to_string(sum) + " of " + std::to_string(pairs) +
                         " pairs: the rest follow time");
  if (!given)
    assume(rope ? rope->where("mrope_section") : config_.where("rope_scaling.mrope_section"), shown(Json(sections)));
  note_once("axis_of_pair", shown(Json(sections)), from);

  std::vector<std::uint8_t> axis(static_cast<std::size_t>(pairs), 0);
  std::size_t pair = 0;
  switch (row_->mrope) {
    case MropeForm::kNone:
    case MropeForm::kDoubled: break;
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
  const bool two_bases = row_->axial.form == AxialForm::kTwoBases;
  if (!two_bases) spec.theta = theta(rope, nested, layer_type);
  spec.layout = layout();
  spec.scaling = read.scaling;
  double assumed = nested ? nested->fraction : row_->fraction;
  if (row_->name == "mimo_v2_flash" && read.type != "default") assumed = 1.0;  // 0.334 stands in its plain formula only
  if (auto* const proportional = std::get_if<ProportionalOptions>(&spec.scaling)) {
    proportional->fraction = proportional_fraction(rope, where.width, assumed, layer_type);
    spec.rotary_dim = where.width;
  } else {
    spec.rotary_dim = rotary_width(rope, where.width, assumed, layer_type);
  }
  if (row_->trailing) spec.rotary_offset = spec.head_dim - spec.rotary_dim;
  if (row_->output_half && spec.layout == PairLayout::kInterleaved) spec.output_layout = PairLayout::kHalf;
  spec.numerics = options_.numerics;
  spec.clockwise = row_->clockwise;
  spec.softmax_scale_multiplier = read.softmax_scale_multiplier;
  spec.query_temperature = read.query_temperature;
  if (two_bases)
    lay_out_atoms(spec);
  else if (row_->axial.form != AxialForm::kNone)  // Music Flamingo's fraction is that of one axis
    lay_out(spec, row_->head == HeadRule::kAudio ? 2 * spec.rotary_dim : spec.rotary_dim);
  if (row_->mrope == MropeForm::kDoubled) {
    doubled_axes(rope, spec);
  } else if (row_->mrope != MropeForm::kNone) {
    spec.axis_of_pair = axes(rope, spec);
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

// The axes of a tower over `width` channels.
void ConfigReader::lay_out(RotarySpec& spec, int width) {
  const Axial& axial = row_->axial;
  const int axes = 1 + static_cast<int>(std::count(axial.streams.begin(), axial.streams.end(), ' '));
  const int block = 2 * (width / axes / 2);  // channels of one axis
  const bool one_ladder = axial.form == AxialForm::kParity || axial.form == AxialForm::kWoven;
  const int odd = axes == 2 && width % 4 != 0 ? width : 0;
  if (block < 2 || odd != 0)
    refuse(Code::kUnsupported, config_.where("head_dim"),
           "want a multiple of 4 channels for " + std::to_string(axes) + " axes, got " + std::to_string(width));
  spec.rotary_dim = one_ladder ? width : axes * block;
  spec.frequency_dim = one_ladder ? width : block;
  spec.position_scale = axial.scale;
  const int rungs = block / 2;
  const auto axis = [&](int turn) {
    return static_cast<std::uint8_t>(axial.order.empty() ? turn : axial.order[static_cast<std::size_t>(turn)] - '0');
  };
  if (axial.own_blocks) spec.pair_blocks.assign(static_cast<std::size_t>(axes), rungs);
  if (axial.tiled) spec.second.emplace();
  for (int pair = 0; pair < spec.pairs(); ++pair) {
    const int behind = pair / rungs, inside = pair % rungs;  // blocks before it, and its place in its own
    switch (axial.form) {
      case AxialForm::kNone:
      case AxialForm::kTwoBases: break;
      case AxialForm::kBlocks:
        spec.axis_of_pair.push_back(axis(behind));
        spec.rung_of_pair.push_back(axial.tiled ? 2 * inside % rungs : inside);
        if (axial.tiled) spec.second->rung_of_pair.push_back((2 * inside + 1) % rungs);
        break;
      case AxialForm::kAlternate:
        spec.axis_of_pair.push_back(axis(pair % axes));
        spec.rung_of_pair.push_back(pair / axes);
        break;
      case AxialForm::kParity:
        spec.axis_of_pair.push_back(axis(behind));
        spec.rung_of_pair.push_back(2 * inside + behind);
        break;
      case AxialForm::kWoven: spec.axis_of_pair.push_back(axis(pair % axes)); break;
    }
  }
  note_streams(axes);
}

// ESMFold2's atoms: x, y, z, and which molecule they belong to.
void ConfigReader::lay_out_atoms(RotarySpec& spec) {
  const auto part = [&](std::string_view key, double assumed) {
    if (const auto given = config_.number_above(key, 0.0, "a number > 0")) return *given;
    assume(config_.where(key), shown(assumed));
    return assumed;
  };
  const auto pairs_of = [&](std::string_view key, std::int64_t assumed) {
    if (const auto given = config_.integer(key, 0, spec.pairs())) return *given;
    assume(config_.where(key), std::to_string(assumed));
    return assumed;
  };
  const std::int64_t spatial = pairs_of("num_spatial_rope_pairs_per_axis", 2), uid = pairs_of("num_uid_rope_pairs", 10);
  const double spatial_base = part("spatial_rope_base_frequency", 20.0),
               uid_base = part("uid_rope_base_frequency", 10000.0);
  constexpr std::uint8_t kUid = 3;
  if (kUid * spatial + uid > spec.pairs())
    refuse(Code::kInvalid, config_.where("num_uid_rope_pairs"),
           "want at most " + std::to_string(spec.pairs() - kUid * spatial) + " beside three axes of " +
               std::to_string(spatial) + ", got " + std::to_string(uid));
  GivenFrequencies given;
  const auto ladder = [&](double base, std::int64_t rungs, std::uint8_t axis) {
    for (std::int64_t rung = 0; rung < rungs; ++rung) {
      given.inv_freq.push_back(std::pow(base, -static_cast<double>(rung) / static_cast<double>(rungs)));
      spec.axis_of_pair.push_back(axis);
    }
  };
  for (std::uint8_t axis = 0; axis < kUid; ++axis) ladder(spatial_base, spatial, axis);
  ladder(uid_base, uid, kUid);
  given.inv_freq.resize(static_cast<std::size_t>(spec.pairs()), 0.0);
  spec.axis_of_pair.resize(static_cast<std::size_t>(spec.pairs()), kUid);
  spec.given = std::move(given);
  note_once("theta", shown(spatial_base) + " and " + shown(uid_base),
            "spatial_rope_base_frequency and uid_rope_base_frequency");
  note_streams(kUid + 1);
}

void ConfigReader::note_streams(int axes) {
  const Axial& axial = row_->axial;
  std::string streams(axial.streams);
  for (std::size_t space = 0; (space = streams.find(' ', space)) != std::string::npos; space += 2)
    streams.replace(space, 1, ", ");
  note_once("axis_of_pair", std::to_string(axes) + " axes", out_.family + " family: " + streams);
  const std::string note = "several position axes, in this order: " + streams +
                           (axial.coordinates ? "; coordinates that need not be whole" : "");
  if (std::find(out_.notes.begin(), out_.notes.end(), note) == out_.notes.end()) out_.notes.push_back(note);
}

// HunyuanVL: twice a section's channels follow an axis, over the head as it stands, whose halves pair.
void ConfigReader::doubled_axes(std::optional<Keys>& rope, RotarySpec& spec) {
  std::optional<std::vector<std::int64_t>> sections;
  std::string from;
  for (const std::string_view key : {"mrope_section", "xdrope_section"}) {
    if (!rope || !rope->has(key)) continue;
    auto given = rope->integers(key, 0, kMostChannels);
    if (sections && *sections != *given)
      refuse(Code::kInvalid, rope->where(key), "want the same as " + from + ", got " + shown(Json(*given)));
    sections = std::move(given);
    from = rope->where(key);
  }
  if (!sections)
    refuse(Code::kInvalid, (rope ? rope->path() : config_.where("rope_parameters")) + ".mrope_section",
           "want the number of pairs of each axis, got none");
  constexpr std::size_t kMostAxes = 4;
  std::int64_t sum = 0;
  for (const std::int64_t section : *sections) sum += section;
  if (sum != spec.pairs() || sections->size() > kMostAxes)
    refuse(Code::kInvalid, from,
           "want at most four numbers of pairs that add up to " + std::to_string(spec.pairs()) + ", got " +
               shown(Json(*sections)));
  std::vector<std::uint8_t> axis_of_channel;
  for (std::size_t axis = 0; axis < sections->size(); ++axis)
    axis_of_channel.insert(axis_of_channel.end(), 2 * static_cast<std::size_t>((*sections)[axis]),
                           static_cast<std::uint8_t>(axis));
  const auto half = axis_of_channel.begin() + spec.pairs();
  spec.axis_of_pair.assign(axis_of_channel.begin(), half);
  SecondAngle second;
  second.axis_of_pair.assign(half, axis_of_channel.end());
  if (second.axis_of_pair != spec.axis_of_pair) spec.second = std::move(second);
  note_once("axis_of_pair", shown(Json(*sections)), from);
  note_text_axes();
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
