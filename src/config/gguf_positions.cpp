// The keys: ggml-org/ggml docs/gguf.md and llama.cpp src/llama-arch.cpp. Their defaults: llama_model::load_hparams in
// src/llama-model.cpp. How they become an attention factor: src/llama-context.cpp.

#include "config/gguf_positions.hpp"

#include "config/gguf_architectures.hpp"
#include "config/nearest.hpp"
#include "config/printable.hpp"
#include "math/text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ropewalk::config {
namespace {

// Far above any model (llama.cpp stops at 512 layers), far below what would hurt to allocate.
constexpr std::int64_t kMostLayers = 1 << 16;
constexpr std::int64_t kMostChannels = 1 << 20;

using math::shown;
std::string shown(std::int64_t value) { return std::to_string(value); }

// A converter writes the decimal of config.json as a float32. The shortest decimal that names this float32 is that
// decimal again (0.0707 and not 0.07069999724626541), so that both files give the same answer.
double as_written(double value) {
  const auto narrow = static_cast<float>(value);
  if (!std::isfinite(value) || static_cast<double>(narrow) != value) return value;
  char text[32];
  const char* const end = std::to_chars(text, text + sizeof text, narrow).ptr;
  std::from_chars(text, end, value);
  return value;
}

class Reader {
 public:
  Reader(const GgufFile& file, const ReadOptions& options) : file_(file), options_(options) {}

  Result<CheckpointPositions> read();

 private:
  // Keys. `suffix` stands behind "{arch}."; a key that was looked at and found counts as used.
  std::string key_of(std::string_view suffix) const { return prefix_ + std::string(suffix); }
  std::string where(std::string_view suffix) const { return "gguf:" + printable(key_of(suffix)); }
  bool has(std::string_view suffix) const { return file_.find(key_of(suffix)) != nullptr; }
  std::optional<std::int64_t> integer(std::string_view suffix, std::int64_t least, std::int64_t most);
  std::optional<double> number(std::string_view suffix, double least, std::string_view want);
  std::optional<std::string> text(std::string_view suffix);
  std::optional<bool> flag(std::string_view suffix);
  std::optional<std::vector<std::int64_t>> integers(std::string_view suffix);  // a scalar is a list of one
  std::vector<double> divisors(std::string_view tensor, int pairs);

  // The first failure is kept; what is read after it does not matter.
  void fail(Code code, std::string path, std::string message) {
    if (!error_) error_ = Error{code, std::move(path), std::move(message)};
  }
  void invalid(std::string_view suffix, std::string message) {
    fail(Code::kInvalid, where(suffix), std::move(message));
  }
  void unsupported(std::string_view suffix, std::string message) {
    fail(Code::kUnsupported, where(suffix), std::move(message));
  }

  void used(std::string key) {
    if (std::find(out_.keys_used.begin(), out_.keys_used.end(), key) == out_.keys_used.end())
      out_.keys_used.push_back(std::move(key));
  }
  void note(std::string text) { out_.notes.push_back(std::move(text)); }
  void from(std::string what, std::string value, std::string source) {
    out_.provenance.push_back({std::move(what), std::move(value), std::move(source)});
  }
  void from_key(std::string what, std::string value, std::string_view suffix) {
    from(std::move(what), std::move(value), where(suffix));
  }

  void find_architecture();
  void read_sizes();
  void read_heads();
  void read_unrotated_head();
  void read_base();
  void read_axes();
  void read_temperature();
  void read_scaling();
  double read_factor(std::string_view type);
  void read_long_rope(double factor, std::optional<double> attention);
  void read_yarn(double factor, std::optional<double> attention);
  void refuse_what_would_change_the_answer();
  bool layers_without_attention(std::vector<bool>& without);
  void make_kinds();
  std::optional<std::vector<bool>> sliding_layers();
  void list_ignored();

  const GgufFile& file_;
  const ReadOptions& options_;
  const GgufArchitecture* row_ = nullptr;
  std::string prefix_;
  std::int64_t context_ = 0;           // {arch}.context_length
  std::int64_t original_context_ = 0;  // 0 if the file does not say
  RotarySpec spec_;                    // of the layers that take the file's whole scaling
  CheckpointPositions out_;
  std::optional<Error> error_;
};

std::optional<std::int64_t> Reader::integer(std::string_view suffix, std::int64_t least, std::int64_t most) {
  const auto value = file_.integer(key_of(suffix));
  if (!value) {
    fail(value.error().code, value.error().path, value.error().message);
    return std::nullopt;
  }
  if (!*value) return std::nullopt;
  if (**value < least || **value > most) {
    invalid(suffix, "want an integer from " + shown(least) + " to " + shown(most) + ", got " + shown(**value));
    return std::nullopt;
  }
  used(key_of(suffix));
  return *value;
}

std::optional<double> Reader::number(std::string_view suffix, double least, std::string_view want) {
  const auto value = file_.number(key_of(suffix));
  if (!value) {
    fail(value.error().code, value.error().path, value.error().message);
    return std::nullopt;
  }
  if (!*value) return std::nullopt;
  if (!std::isfinite(**value) || **value < least) {
    invalid(suffix, "want " + std::string(want) + ", got " + shown(**value));
    return std::nullopt;
  }
  used(key_of(suffix));
  return as_written(**value);
}

std::optional<std::string> Reader::text(std::string_view suffix) {
  const auto value = file_.text(key_of(suffix));
  if (!value) {
    fail(value.error().code, value.error().path, value.error().message);
    return std::nullopt;
  }
  if (*value) used(key_of(suffix));
  return *value;
}

std::optional<bool> Reader::flag(std::string_view suffix) {
  const GgufValue* const value = file_.find(key_of(suffix));
  if (!value) return std::nullopt;
  if (const auto* const yes = std::get_if<bool>(value)) {
    used(key_of(suffix));
    return *yes;
  }
  invalid(suffix, "want a boolean, got another kind of value");
  return std::nullopt;
}

std::optional<std::vector<std::int64_t>> Reader::integers(std::string_view suffix) {
  const GgufValue* const value = file_.find(key_of(suffix));
  if (!value) return std::nullopt;
  used(key_of(suffix));
  constexpr auto kTooLarge = std::uint64_t{1} << 62;
  std::vector<std::int64_t> list;
  if (const auto* const one = std::get_if<std::int64_t>(value)) list = {*one};
  if (const auto* const one = std::get_if<std::uint64_t>(value))
    list = {static_cast<std::int64_t>(std::min(*one, kTooLarge))};
  if (const auto* const many = std::get_if<std::vector<std::int64_t>>(value)) list = *many;
  if (const auto* const many = std::get_if<std::vector<std::uint64_t>>(value))
    for (const std::uint64_t one : *many) list.push_back(static_cast<std::int64_t>(std::min(one, kTooLarge)));
  if (const auto* const many = std::get_if<std::vector<bool>>(value)) list.assign(many->begin(), many->end());
  if (list.empty()) {
    invalid(suffix, "want an integer or a list of integers, got another kind of value");
    return std::nullopt;
  }
  return list;
}

std::vector<double> Reader::divisors(std::string_view tensor_name, int pairs) {
  const GgufTensor* const tensor = file_.find_tensor(tensor_name);
  if (!tensor) return {};
  const std::string path = "gguf:" + std::string(tensor_name);
  if (tensor->type != GgufType::kF32) {
    fail(Code::kInvalid, path, "want F32, got " + name_of(tensor->type));
    return {};
  }
  if (tensor->values() != pairs) {
    fail(Code::kInvalid, path,
         "want one divisor for each of the " + shown(std::int64_t{pairs}) + " pairs, got " + shown(tensor->values()));
    return {};
  }
  std::vector<double> list;
  const std::span<const std::byte> bytes = file_.data(*tensor);
  for (int j = 0; j < pairs; ++j) {
    float value = 0;
    std::memcpy(&value, bytes.data() + static_cast<std::size_t>(j) * sizeof value, sizeof value);
    if (!(value > 0)) {  // +infinity is a divisor: it stops a pair
      fail(Code::kInvalid, path,
           "want divisors > 0, got " + shown(static_cast<double>(value)) + " for pair " + shown(std::int64_t{j}));
      return {};
    }
    list.push_back(static_cast<double>(value));
  }
  used(std::string(tensor_name));
  return list;
}

void Reader::find_architecture() {
  const auto architecture = file_.text("general.architecture");
  if (!architecture) return fail(architecture.error().code, architecture.error().path, architecture.error().message);
  if (!*architecture || (*architecture)->empty())
    return fail(Code::kInvalid, "gguf:general.architecture", "want the name of an architecture, got nothing");
  used("general.architecture");
  out_.source = file_.path();
  out_.model_type = printable(**architecture);
  prefix_ = **architecture + ".";
  out_.family = options_.family.empty() ? out_.model_type : options_.family;
  const std::string path = options_.family.empty() ? "gguf:general.architecture" : "family";

  row_ = find_gguf_architecture(options_.family.empty() ? **architecture : options_.family);
  if (row_ && row_->rope != GgufRope::kRefused) {
    if (!options_.family.empty() && options_.family != **architecture)
      note("follows the conventions of " + out_.family + ", as asked; the file calls itself " + out_.model_type);
    return;
  }
  if (row_)
    return fail(Code::kUnsupported, path,
                "want an architecture whose positions this version answers, got \"" + out_.family + "\" (" +
                    std::string(row_->source) + "); --family says whose conventions to follow");

  std::vector<std::string_view> answered;
  for (const GgufArchitecture& row : gguf_architectures())
    if (row.rope != GgufRope::kRefused) answered.push_back(row.name);
  std::string names;
  for (const std::string& name : nearest(out_.family, answered)) names += (names.empty() ? "" : ", ") + name;
  fail(Code::kUnsupported, path,
       "want one of the architectures this version knows (nearest: " + names + "), got \"" + printable(out_.family) +
           "\"; --family says whose conventions to follow");
}

void Reader::read_sizes() {
  if (const auto layers = integer("block_count", 1, kMostLayers)) {
    out_.layer_count = static_cast<int>(*layers);
    from_key("layer_count", shown(*layers), "block_count");
  }
  if (const auto context = integer("context_length", 1, std::int64_t{1} << 40)) {
    context_ = *context;
    out_.max_context = *context;
    from_key("max_context", shown(*context), "context_length");
  }
  if (const auto original = integer("rope.scaling.original_context_length", 1, std::int64_t{1} << 40))
    original_context_ = *original;
}

// head_dim: MLA's key_length_mla (of the decompressed head) goes before key_length (of the compressed one, where both
// are written); without either it is embedding_length / head_count.
void Reader::read_heads() {
  const std::string_view length_key =
      row_->latent && has("attention.key_length_mla") ? "attention.key_length_mla" : "attention.key_length";
  if (const auto length = integer(length_key, 1, kMostChannels)) {
    spec_.head_dim = static_cast<int>(*length);
    from_key("head_dim", shown(*length), length_key);
  } else {
    const auto channels = integer("embedding_length", 1, kMostChannels);
    const auto heads = integers("attention.head_count");
    if (error_) return;
    if (!channels || !heads)
      return invalid("attention.key_length", "want it, or embedding_length and attention.head_count, got neither");
    if (heads->front() < 1 || *channels % heads->front() != 0)
      return invalid("attention.head_count",
                     "want a divisor of embedding_length " + shown(*channels) + ", got " + shown(heads->front()));
    spec_.head_dim = static_cast<int>(*channels / heads->front());
    from("head_dim", shown(std::int64_t{spec_.head_dim}), where("embedding_length") + " / attention.head_count");
  }
  if (const auto count = integer("rope.dimension_count", 0, spec_.head_dim)) {
    if (*count < 2 || *count % 2 != 0)
      return invalid("rope.dimension_count", "want an even number > 0, got " + shown(*count));
    spec_.rotary_dim = static_cast<int>(*count);
    from_key("rotary_dim", shown(*count), "rope.dimension_count");
  } else if (!error_) {
    if (row_->latent) return invalid("rope.dimension_count", "want the width of the part that turns, got nothing");
    if (spec_.head_dim % 2 != 0)
      return invalid("rope.dimension_count",
                     "want it for a head of " + shown(std::int64_t{spec_.head_dim}) + " channels, got nothing");
    spec_.rotary_dim = spec_.head_dim;
    from("rotary_dim", shown(std::int64_t{spec_.rotary_dim}), "llama.cpp: rope.dimension_count is head_dim if missing");
  }
  if (row_->whole_head && spec_.rotary_dim != spec_.head_dim)
    return invalid("rope.dimension_count", "want head_dim " + shown(std::int64_t{spec_.head_dim}) +
                                               ", as llama.cpp demands of " + std::string(row_->name) + ", got " +
                                               shown(std::int64_t{spec_.rotary_dim}));
  if (row_->latent) {
    if (spec_.rotary_dim == spec_.head_dim)
      return invalid("rope.dimension_count",
                     "want less than head_dim " + shown(std::int64_t{spec_.head_dim}) + ", got as much");
    spec_.rotary_offset = spec_.head_dim - spec_.rotary_dim;
    from("rotary_offset", shown(std::int64_t{spec_.rotary_offset}),
         std::string(row_->name) + ": the last channels of a head turn");
  }
}

// The head of a model that does not turn it is worth naming, but not worth an error: state-space models write 0 heads.
void Reader::read_unrotated_head() {
  const auto length = file_.integer(key_of("attention.key_length"));
  const auto channels = file_.integer(key_of("embedding_length"));
  const auto heads = file_.integer(key_of("attention.head_count"));
  std::int64_t head_dim = 0;
  if (length && *length)
    head_dim = **length;
  else if (channels && *channels && heads && *heads && **heads > 0 && **channels % **heads == 0)
    head_dim = **channels / **heads;
  if (head_dim >= 1 && head_dim <= kMostChannels) spec_.head_dim = static_cast<int>(head_dim);
}

void Reader::read_base() {
  spec_.layout = row_->rope == GgufRope::kNorm ? PairLayout::kInterleaved : PairLayout::kHalf;
  spec_.numerics = options_.numerics;
  from("pair_layout", std::string(name_of(spec_.layout)), std::string(row_->source));
  note(
      "the pair layout is that of the file: converters to GGUF permute the rows of Q and K of some families, so the "
      "same model's config.json may have the other");

  if (const auto theta = number("rope.freq_base", 0, "a number > 1")) {
    if (*theta <= 1) return invalid("rope.freq_base", "want a number > 1, got " + shown(*theta));
    spec_.theta = *theta;
    from_key("theta", shown(*theta), "rope.freq_base");
  } else if (!error_) {
    spec_.theta = 10000;
    from("theta", "10000", "llama.cpp: rope.freq_base is 10000 if missing");
    note("the file has no " + printable(key_of("rope.freq_base")) +
         "; 10000 is the published meaning of that, but old converters forgot the key");
  }
}

// Streams of positions. Only the blocked form is answered: pair j follows the section it lies in (time, height, width).
void Reader::read_axes() {
  const auto sections = integers("rope.dimension_sections");
  if (error_) return;
  const bool any = sections && std::any_of(sections->begin(), sections->end(), [](auto count) { return count != 0; });
  if (row_->rope != GgufRope::kSections) {
    if (any) unsupported("rope.dimension_sections", "want no position sections for " + out_.family + ", got some");
    return;
  }
  if (!any) return invalid("rope.dimension_sections", "want the pairs of time, height and width, got nothing");

  std::vector<std::uint8_t> axis_of_pair;
  for (std::size_t axis = 0; axis < sections->size(); ++axis) {
    const std::int64_t count = (*sections)[axis];
    if (axis > 2 ? count != 0 : count < 0 || count > spec_.rotary_dim)
      return invalid("rope.dimension_sections", "want three counts of pairs, got " + shown(count) + " for section " +
                                                    shown(static_cast<std::int64_t>(axis)));
    axis_of_pair.insert(axis_of_pair.end(), static_cast<std::size_t>(count), static_cast<std::uint8_t>(axis));
  }
  if (axis_of_pair.size() != static_cast<std::size_t>(spec_.pairs()))
    return invalid("rope.dimension_sections", "want counts that add up to the " + shown(std::int64_t{spec_.pairs()}) +
                                                  " pairs, got " +
                                                  shown(static_cast<std::int64_t>(axis_of_pair.size())));
  spec_.axis_of_pair = std::move(axis_of_pair);
  from_key("axis_of_pair", "time, height, width in blocks", "rope.dimension_sections");
}

// Ministral 3: every layer's query grows with its position (src/models/mistral3.cpp).
void Reader::read_temperature() {
  const auto scale = number("attention.temperature_scale", 0, "a number >= 0");
  const auto length = integer("attention.temperature_length", 1, std::int64_t{1} << 40);
  if (error_ || !scale || *scale == 0) return;
  if (row_->name != "mistral3")
    return unsupported("attention.temperature_scale",
                       "want no query temperature for " + out_.family + ", got " + shown(*scale));
  const std::int64_t context = length.value_or(original_context_ ? original_context_ : context_);
  if (context < 1) return invalid("attention.temperature_length", "want the length of a step, got nothing");
  spec_.query_temperature = QueryTemperature{.beta = *scale, .context = context, .offset = 0};
  from_key("query_temperature.beta", shown(*scale), "attention.temperature_scale");
  from("query_temperature.context", shown(context),
       length ? where("attention.temperature_length")
              : "mistral3: rope.scaling.original_context_length, or context_length without it");
}

// s of freq_scale = 1 / s; 1 if the file has none.
double Reader::read_factor(std::string_view type) {
  const auto factor = number("rope.scaling.factor", 0, "a number >= 1, or 0 for none");
  const auto legacy = number("rope.scale_linear", 0, "a number >= 1, or 0 for none");
  if (error_) return 1;
  if (factor && legacy && *factor != *legacy) {
    invalid("rope.scale_linear", "want " + shown(*factor) + " as in rope.scaling.factor, got " + shown(*legacy));
    return 1;
  }
  const std::string_view suffix = factor ? "rope.scaling.factor" : "rope.scale_linear";
  const double value = factor ? *factor : legacy.value_or(0);
  if (value == 0) return 1;
  if (value < 1) {
    invalid(suffix, "want a number >= 1, or 0 for none, got " + shown(value));
    return 1;
  }
  if (type == "none") {
    if (value != 1) note("the scaling type is none, so the factor " + shown(value) + " has no effect");
    return 1;
  }
  from_key("scaling.factor", shown(value), suffix);
  return value;
}

void Reader::read_scaling() {
  const auto given = text("rope.scaling.type");
  if (error_) return;
  // "linear" is the loader's default; without a factor it scales nothing.
  const std::string type = given.value_or("linear");
  if (type != "none" && type != "linear" && type != "yarn" && type != "longrope")
    return unsupported("rope.scaling.type", "want none, linear, yarn or longrope, got \"" + printable(type) + "\"");
  const double factor = read_factor(type);
  const auto attention = number("rope.scaling.attn_factor", 0, "a number > 0");
  if (error_) return;
  if (attention && *attention == 0) return invalid("rope.scaling.attn_factor", "want a number > 0, got 0");

  const bool has_long = file_.find_tensor("rope_factors_long.weight") || file_.find_tensor("rope_factors_short.weight");
  const bool has_divisors = file_.find_tensor("rope_freqs.weight") != nullptr;
  if (has_long && has_divisors)
    return fail(Code::kUnsupported, "gguf:rope_freqs.weight",
                "want it, or rope_factors_long and _short, got all of them");
  if (type == "yarn" && (has_long || has_divisors))
    return fail(Code::kUnsupported, has_long ? "gguf:rope_factors_long.weight" : "gguf:rope_freqs.weight",
                "want no divisors beside YaRN, got some");
  if (type == "longrope" && !has_long)
    return fail(Code::kInvalid, "gguf:rope_factors_long.weight", "want LongRoPE's divisors, got no such tensor");

  if (type == "yarn") {
    read_yarn(factor, attention);
  } else if (has_long) {
    read_long_rope(factor, attention);
  } else if (has_divisors) {
    spec_.scaling = DivisorOptions{.divisors = divisors("rope_freqs.weight", spec_.pairs()),
                                   .factor = factor,
                                   .attention_factor = attention.value_or(1)};
    from("scaling.divisors", shown(std::int64_t{spec_.pairs()}) + " numbers", "gguf:rope_freqs.weight");
    if (attention) from_key("scaling.attention_factor", shown(*attention), "rope.scaling.attn_factor");
  } else if (attention.value_or(1) != 1) {
    // ggml takes the factor with any scaling; divisors of 1 carry it here.
    spec_.scaling = DivisorOptions{.divisors = std::vector<double>(static_cast<std::size_t>(spec_.pairs()), 1.0),
                                   .factor = factor,
                                   .attention_factor = *attention};
    from_key("scaling.attention_factor", shown(*attention), "rope.scaling.attn_factor");
  } else if (factor != 1) {
    spec_.scaling = LinearOptions{.factor = factor};
    if (!given) from("scaling", "linear", "llama.cpp: rope.scaling.type is linear if missing");
  }
  if (given) from_key("scaling", std::string(name_of(spec_.scaling)), "rope.scaling.type");

  const bool plain = std::holds_alternative<NoScaling>(spec_.scaling);
  out_.trained_context = original_context_ ? original_context_ : plain ? context_ : 0;
  if (const auto* const yarn = std::get_if<YarnOptions>(&spec_.scaling)) out_.trained_context = yarn->trained_context;
  if (original_context_)
    from_key("trained_context", shown(original_context_), "rope.scaling.original_context_length");
  else if (out_.trained_context)
    from_key("trained_context", shown(out_.trained_context), "context_length");
}

// The factor on cos and sin stands in attn_factor, computed by the converter (transformers computes it from the
// lengths). llama.cpp picks one list from the configured context; the weights were trained with the list by length.
void Reader::read_long_rope(double factor, std::optional<double> attention) {
  if (factor != 1)
    return unsupported("rope.scaling.factor", "want no factor beside LongRoPE's divisors, got " + shown(factor));
  LongRopeOptions options;
  options.short_factor = divisors("rope_factors_short.weight", spec_.pairs());
  options.long_factor = divisors("rope_factors_long.weight", spec_.pairs());
  if (error_) return;
  if (options.short_factor.empty() || options.long_factor.empty())
    return fail(Code::kInvalid,
                options.short_factor.empty() ? "gguf:rope_factors_short.weight" : "gguf:rope_factors_long.weight",
                "want both lists of LongRoPE, got one");
  options.trained_context = original_context_ ? original_context_ : context_;
  if (options.trained_context < 1)
    return invalid("rope.scaling.original_context_length", "want LongRoPE's trained context, got nothing");
  options.factor = context_ > options.trained_context
                       ? static_cast<double>(context_) / static_cast<double>(options.trained_context)
                       : 1.0;
  if (!attention && options.factor > 1)
    return invalid("rope.scaling.attn_factor", "want LongRoPE's factor on cos and sin for a context " +
                                                   shown(options.factor) + " times the trained one, got nothing");
  options.attention_factor = attention.value_or(1);
  spec_.scaling = std::move(options);
  from("scaling.short_factor", shown(std::int64_t{spec_.pairs()}) + " numbers", "gguf:rope_factors_short.weight");
  from("scaling.long_factor", shown(std::int64_t{spec_.pairs()}) + " numbers", "gguf:rope_factors_long.weight");
  if (attention) from_key("scaling.attention_factor", shown(*attention), "rope.scaling.attn_factor");
  note(
      "llama.cpp chooses between LongRoPE's two lists once, from the context it is started with; the model was trained "
      "to change to the long one past its trained context");
}

void Reader::read_yarn(double factor, std::optional<double> attention) {
  if (!has("rope.scaling.factor") && !has("rope.scale_linear"))
    return invalid("rope.scaling.factor", "want YaRN's factor, got nothing");
  YarnOptions options;
  options.factor = factor;
  options.ramp_guard = RampGuard::kFloor;
  options.trained_context = original_context_ ? original_context_ : context_;
  if (options.trained_context < 1)
    return invalid("rope.scaling.original_context_length", "want YaRN's trained context, got nothing");
  from_key("scaling.trained_context", shown(options.trained_context),
           original_context_ ? "rope.scaling.original_context_length" : "context_length");

  const auto beta_fast = number("rope.scaling.yarn_beta_fast", 0, "a number > 0");
  const auto beta_slow = number("rope.scaling.yarn_beta_slow", 0, "a number > 0");
  const auto ext_factor = number("rope.scaling.yarn_ext_factor", -1e30, "a number");
  const auto attn_factor = number("rope.scaling.yarn_attn_factor", -1e30, "a number");
  const auto log_multiplier = number("rope.scaling.yarn_log_multiplier", 0, "a number >= 0");
  if (error_) return;
  if (beta_fast.value_or(32) != 32 || beta_slow.value_or(1) != 1)
    if (row_->name != "mistral3")
      note(
          "the file's YaRN betas are followed; llama.cpp reads them for Grok and Mistral 3 only and takes 32 and 1 "
          "here");
  if (beta_fast) from_key("scaling.beta_fast", shown(*beta_fast), "rope.scaling.yarn_beta_fast");
  if (beta_slow) from_key("scaling.beta_slow", shown(*beta_slow), "rope.scaling.yarn_beta_slow");
  options.beta_fast = beta_fast.value_or(32);
  options.beta_slow = beta_slow.value_or(1);
  // A negative one is "auto", which for YaRN is 1.
  if (ext_factor && *ext_factor >= 0 && *ext_factor != 1)
    return unsupported("rope.scaling.yarn_ext_factor", "want 1 or a negative number, got " + shown(*ext_factor));
  // Overwritten by llama.cpp whenever YaRN is on.
  if (attn_factor && *attn_factor != 1)
    return unsupported("rope.scaling.yarn_attn_factor", "want 1, got " + shown(*attn_factor));

  const double log_factor = std::log(factor);
  if (row_->latent) {
    // DeepSeek: the converter writes 0.1 * mscale_all_dim and the loader divides by 0.1; mscale is assumed to be the
    // same (it is in DeepSeek-V2, V3, R1 and Kimi K2), so cos and sin keep their size and the softmax scale takes the
    // square.
    if (row_->name != "deepseek2")
      return unsupported("rope.scaling.type", "want no YaRN for " + out_.family + ", got it");
    if (!log_multiplier || *log_multiplier == 0 || *log_multiplier > 0.25)
      return invalid("rope.scaling.yarn_log_multiplier",
                     "want 0.1 * mscale_all_dim, above 0 and at most 0.25, got " +
                         (log_multiplier ? shown(*log_multiplier) : std::string("nothing")));
    if (attention.value_or(1) != 1)
      return unsupported("rope.scaling.attn_factor", "want 1 beside DeepSeek's YaRN, got " + shown(*attention));
    // 0.0707 * 10 is 0.7070000000000001 in binary: one rounding to a float brings the writer's decimal back.
    options.mscale = options.mscale_all_dim = as_written(static_cast<double>(static_cast<float>(*log_multiplier * 10)));
    options.scale_softmax = true;
    from_key("scaling.mscale_all_dim", shown(options.mscale_all_dim), "rope.scaling.yarn_log_multiplier");
    from("scaling.mscale", shown(options.mscale), "deepseek2: assumed equal to mscale_all_dim");
  } else if (log_multiplier && *log_multiplier != 0) {
    // Mistral 3 writes mscale_all_dim itself: 1 if its config says apply_scale = false (then cos and sin keep their
    // size).
    if (row_->name != "mistral3")
      return unsupported("rope.scaling.yarn_log_multiplier",
                         "want 0 for " + out_.family + ", got " + shown(*log_multiplier));
    const double net = factor > 1 ? (0.1 * log_factor + 1) / (0.1 * *log_multiplier * log_factor + 1) : 1.0;
    options.attention_factor = net * attention.value_or(1);
    from_key("scaling.attention_factor", shown(*options.attention_factor), "rope.scaling.yarn_log_multiplier");
  } else if (attention && *attention != 1) {
    options.attention_factor = (0.1 * log_factor + 1) * *attention;
    from("scaling.attention_factor", shown(*options.attention_factor),
         where("rope.scaling.attn_factor") + " * (0.1 ln factor + 1)");
  }
  // The file cannot say it, the model's own config.json does: "truncate": false.
  if (row_->name == "gpt-oss") {
    options.truncate = false;
    from("scaling.truncate", "false", "gpt-oss family: its config.json has truncate = false, which GGUF cannot say");
    note("the ramp is not widened to whole pairs, as gpt-oss was trained; llama.cpp widens it");
  }
  spec_.scaling = std::move(options);
}

void Reader::refuse_what_would_change_the_answer() {
  if (const auto alpha = number("rope.scaling.alpha", -1e30, "a number"); alpha && *alpha != 0 && *alpha != 1)
    return unsupported("rope.scaling.alpha", "want no NTK alpha for " + out_.family + ", got " + shown(*alpha));
  if (const auto count = integer("rope.dimension_count_swa", 0, kMostChannels); count && *count != spec_.rotary_dim)
    return unsupported("rope.dimension_count_swa",
                       "want rope.dimension_count " + shown(std::int64_t{spec_.rotary_dim}) + ", got " + shown(*count));
  if (const auto length = integer("attention.key_length_swa", 0, kMostChannels); length && *length != spec_.head_dim)
    return unsupported("attention.key_length_swa",
                       "want attention.key_length " + shown(std::int64_t{spec_.head_dim}) + ", got " + shown(*length));
  if (const auto theta = number("rope.freq_base_swa", 0, "a number > 1");
      theta && *theta != spec_.theta && !row_->layers.reads_sliding_theta)
    return unsupported("rope.freq_base_swa",
                       "want rope.freq_base " + shown(spec_.theta) + " for " + out_.family + ", got " + shown(*theta));
  if (has("attention.compress_rope_freq_base"))
    return unsupported("attention.compress_rope_freq_base",
                       "want no compressed positions for " + out_.family + ", got a base for them");
  // deepseek2's graph works a factor into the softmax scale whatever the type is.
  if (const auto* const linear = std::get_if<LinearOptions>(&spec_.scaling); linear && row_->latent)
    return unsupported("rope.scaling.factor",
                       "want no linear scaling for " + out_.family + ", got " + shown(linear->factor));
  if (row_->name == "grok" && !std::holds_alternative<NoScaling>(spec_.scaling))
    return unsupported("rope.scaling.type", "want no scaling for grok, whose defaults differ, got one");

  const GgufLayers& layers = row_->layers;
  if (layers.period == 0) return;
  if (std::holds_alternative<LongRopeOptions>(spec_.scaling))
    return fail(Code::kUnsupported, "gguf:rope_factors_long.weight",
                "want no LongRoPE for " + out_.family + ", got it");
  if (std::holds_alternative<DivisorOptions>(spec_.scaling) && !layers.takes_divisors)
    return fail(Code::kUnsupported, "gguf:rope_freqs.weight", "want no divisors for " + out_.family + ", got some");
}

// Layers with no heads have no attention to turn (state-space, convolution and pruned layers). False if there are none.
bool Reader::layers_without_attention(std::vector<bool>& without) {
  without.assign(static_cast<std::size_t>(out_.layer_count), false);
  for (const std::string_view suffix : {"attention.head_count", "attention.head_count_kv"}) {
    const auto heads = integers(suffix);
    if (!heads || heads->size() < 2) continue;
    if (heads->size() < without.size()) {
      invalid(suffix, "want one number for each of the " + shown(std::int64_t{out_.layer_count}) + " layers, got " +
                          shown(static_cast<std::int64_t>(heads->size())));
      return false;
    }
    for (std::size_t i = 0; i < without.size(); ++i) without[i] = without[i] || (*heads)[i] == 0;
  }
  return std::find(without.begin(), without.end(), true) != without.end();
}

// [layers]: whether it is a sliding one; nullopt if all are alike.
std::optional<std::vector<bool>> Reader::sliding_layers() {
  const GgufLayers& rule = row_->layers;
  if (rule.period == 0) return std::nullopt;
  const auto window = integer("attention.sliding_window", 0, std::int64_t{1} << 40);
  const auto pattern = integers("attention.sliding_window_pattern");
  if (error_) return std::nullopt;
  if (rule.only_with_window && window.value_or(0) == 0) return std::nullopt;
  if (row_->name == "llama4" && window && *window == 0) {
    unsupported("attention.sliding_window", "want chunked attention for llama4, got none");
    return std::nullopt;
  }
  if (out_.layer_count == 0) {
    invalid("block_count", "want the number of layers, got nothing");
    return std::nullopt;
  }

  std::vector<bool> sliding(static_cast<std::size_t>(out_.layer_count));
  if (pattern && pattern->size() >= 2) {
    if (pattern->size() < sliding.size() || rule.fixed_period) {
      unsupported("attention.sliding_window_pattern", rule.fixed_period
                                                          ? "want no list for " + out_.family + ", got one"
                                                          : "want one value a layer, got fewer");
      return std::nullopt;
    }
    for (std::size_t i = 0; i < sliding.size(); ++i) sliding[i] = (*pattern)[i] != 0;
    from_key("layers", "a list", "attention.sliding_window_pattern");
    return sliding;
  }
  const std::int64_t period = pattern ? pattern->front() : rule.period;
  if (period < 1 || (rule.fixed_period && period != rule.period)) {
    invalid("attention.sliding_window_pattern",
            (rule.fixed_period ? "want " + shown(std::int64_t{rule.period}) : std::string("want at least 1")) +
                ", got " + shown(period));
    return std::nullopt;
  }
  for (std::size_t i = 0; i < sliding.size(); ++i) sliding[i] = (static_cast<std::int64_t>(i) + 1) % period != 0;
  from("layers", "every " + shown(period) + ". is " + std::string(rule.full),
       pattern ? where("attention.sliding_window_pattern") : std::string(row_->source));
  return sliding;
}

void Reader::make_kinds() {
  const bool turns = row_->rope != GgufRope::kNone;
  std::vector<bool> without;
  if (out_.layer_count > 0 && turns && layers_without_attention(without))
    note("layers without attention heads are in no kind");
  const auto sliding = turns ? sliding_layers() : std::nullopt;
  if (error_) return;

  const auto layers_where = [&](auto&& wanted) {
    std::vector<int> list;
    for (int i = 0; i < out_.layer_count; ++i)
      if ((without.empty() || !without[static_cast<std::size_t>(i)]) && wanted(static_cast<std::size_t>(i)))
        list.push_back(i);
    return list;
  };
  const auto all = [](std::size_t) { return true; };
  if (!sliding) {
    out_.kinds.push_back({"default", layers_where(all), spec_.head_dim, turns ? std::optional(spec_) : std::nullopt});
    return;
  }

  const GgufLayers& rule = row_->layers;
  LayerKind local{std::string(rule.sliding), layers_where([&](std::size_t i) { return (*sliding)[i]; }), spec_.head_dim,
                  spec_};
  LayerKind global{std::string(rule.full), layers_where([&](std::size_t i) { return !(*sliding)[i]; }), spec_.head_dim,
                   spec_};
  if (!rule.full_turns) global.spec.reset();
  if (rule.reads_sliding_theta) {
    const auto theta = number("rope.freq_base_swa", 0, "a number > 1");
    if (theta && *theta <= 1) return invalid("rope.freq_base_swa", "want a number > 1, got " + shown(*theta));
    if (theta || rule.sliding_theta != 0) {
      local.spec->theta = theta.value_or(rule.sliding_theta);
      from("theta[" + local.name + "]", shown(local.spec->theta),
           theta ? where("rope.freq_base_swa")
                 : out_.family + " family: rope.freq_base_swa is " + shown(rule.sliding_theta) + " if missing");
    }
  }
  if (!rule.sliding_scaled && !std::holds_alternative<NoScaling>(spec_.scaling)) {
    if (std::holds_alternative<YarnOptions>(spec_.scaling) && !rule.yarn_spares_sliding)
      return unsupported("rope.scaling.type", "want no YaRN for the sliding layers of " + out_.family + ", got it");
    local.spec->scaling = NoScaling{};
    from("scaling[" + local.name + "]", "none", std::string(row_->source));
  }
  if (row_->name == "llama4") {  // no key has it: llama.cpp's own constants
    global.unrotated_query_temperature = QueryTemperature{.beta = 0.1, .context = 8192, .offset = 1};
    if (!global.layers.empty()) from("query_temperature[" + global.name + "]", "0.1", std::string(row_->source));
  }

  if (local.spec == global.spec) {
    out_.kinds.push_back({"default", layers_where(all), spec_.head_dim, spec_});
    return;
  }
  for (LayerKind* const kind : {&local, &global})
    if (!kind->layers.empty()) out_.kinds.push_back(std::move(*kind));
  if (out_.kinds.empty()) invalid("block_count", "want a layer with attention, got none");
}

// Of the keys about positions, those that nothing asked for.
void Reader::list_ignored() {
  for (const GgufEntry& entry : file_.metadata()) {
    const std::string_view key = entry.key;
    const bool about_positions =
        key.find(".rope.") != std::string_view::npos || key.find("sliding_window") != std::string_view::npos ||
        key.find("attention.temperature_") != std::string_view::npos || key.find("freq_base") != std::string_view::npos;
    if (about_positions && std::find(out_.keys_used.begin(), out_.keys_used.end(), key) == out_.keys_used.end())
      out_.keys_ignored.push_back(printable(key));
  }
  for (const GgufTensor& tensor : file_.tensors())
    if (tensor.name.find("rope_") != std::string::npos &&
        std::find(out_.keys_used.begin(), out_.keys_used.end(), tensor.name) == out_.keys_used.end())
      out_.keys_ignored.push_back(printable(tensor.name));
  for (std::string& key : out_.keys_used) key = printable(key);
}

Result<CheckpointPositions> Reader::read() {
  // Granite's converters say "no rotation" with a key that everywhere else is a mere remark.
  const auto granite_without = [&] {
    return row_->name.starts_with("granite") && has("rope.scaling.finetuned") &&
           !flag("rope.scaling.finetuned").value_or(true);
  };
  find_architecture();
  if (!error_) read_sizes();
  GgufArchitecture still;
  if (!error_ && granite_without()) {
    still = *row_;
    still.rope = GgufRope::kNone;
    row_ = &still;
    from_key("rotation", "none", "rope.scaling.finetuned");
  }
  if (!error_ && row_->rope == GgufRope::kNone) {
    read_unrotated_head();
    out_.trained_context = context_;
    note(out_.family + " does not turn its queries and keys (" + std::string(row_->source) + ")");
    if (!error_) make_kinds();
  } else if (!error_) {
    read_heads();
    if (!error_) read_base();
    if (!error_) read_axes();
    if (!error_) read_scaling();
    if (!error_) read_temperature();
    if (!error_) refuse_what_would_change_the_answer();
    if (!error_) make_kinds();
  }
  if (error_) return *error_;
  for (const LayerKind& kind : out_.kinds)
    if (kind.spec)
      if (auto error = validate(*kind.spec))
        return Error{error->code, "gguf:" + out_.model_type + " (" + kind.name + "): " + error->path, error->message};
  list_ignored();
  return std::move(out_);
}

}  // namespace

Result<CheckpointPositions> positions_from_gguf(const GgufFile& file, const ReadOptions& options) {
  return Reader(file, options).read();
}

}  // namespace ropewalk::config
