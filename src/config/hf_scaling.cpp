// The keys of rope_parameters and rope_scaling: transformers 5.23.0 modeling_rope_utils.py, and the private keys of the
// families named below.

#include "config/hf_scaling.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::string_view kKnownTypes =
    "want one of default, linear, dynamic, yarn, longrope (su), llama3, proportional (and mrope where the family "
    "has several axes)";

constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr std::string_view kFactorWant = "a number >= 1";

class ScalingReader {
 public:
  ScalingReader(Keys& rope, ScalingContext& context) : rope_(rope), context_(context) {}

  ReadScaling read() {
    ReadScaling out;
    out.type = type();
    check_taken(out.type);
    if (out.type == "linear") out.scaling = LinearOptions{.factor = factor()};
    if (out.type == "dynamic") out.scaling = dynamic();
    if (out.type == "yarn") out.scaling = yarn();
    if (out.type == "longrope") out.scaling = longrope();
    if (out.type == "llama3") out.scaling = llama3();
    if (out.type == "proportional") out.scaling = proportional();
    softmax(out);
    temperature(out);
    check_unused(out);
    return out;
  }

 private:
  const Row& row() const { return context_.row; }
  std::string named(std::string_view what) const {
    return std::string(what) + (context_.kind.empty() ? "" : "[" + context_.kind + "]");
  }
  void provenance(std::string_view what, std::string value, std::string from) {
    context_.provenance.push_back({named(what), std::move(value), std::move(from)});
  }

  // type, rope_type and the aliases. The pairs (su, longrope) and (mrope, default) are the ones in which a newer
  // transformers wrote the second name beside an older file's first.
  std::string type() {
    std::optional<std::string> old_name = rope_.text("type"), name = rope_.text("rope_type");
    if (old_name && name && *old_name != *name && !(*old_name == "su" && *name == "longrope") &&
        !(*old_name == "mrope" && *name == "default"))
      refuse(
          Code::kInvalid, rope_.where("rope_type"),
          "want the same as " + rope_.where("type") + " (" + shown(Json(*old_name)) + "), got " + shown(Json(*name)));
    const std::string_view key = name ? "rope_type" : "type";
    std::string type = name ? *name : old_name ? *old_name : "";
    if (type.empty()) {
      for (const std::string_view scaling_key :
           {"factor", "short_factor", "long_factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow",
            "attention_factor", "alpha", "mscale", "original_max_position_embeddings"})
        if (rope_.has(scaling_key))
          refuse(Code::kInvalid, rope_.where("rope_type"),
                 "want a rope_type beside " + std::string(scaling_key) + ", got none");
      return "default";
    }
    const bool several_axes = row().mrope != MropeForm::kNone;
    if (type == "su") type = "longrope";
    if (type == "yarn" && row().takes == Takes::kPhi3) {
      type = "longrope";
      context_.notes.push_back(rope_.where(key) + ": \"yarn\" in a Phi-3 config is LongRoPE");
    }
    if (type == "mrope" && several_axes) type = "default";
    if (type == "xdrope" && row().mrope == MropeForm::kDoubled) type = "dynamic";
    for (const std::string_view known : {"default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"})
      if (type == known) {
        provenance("scaling", type, rope_.where(key));
        return type;
      }
    if (type == "axial" && row().axial.form != AxialForm::kNone) {
      provenance("scaling", "default", rope_.where(key));
      return "default";
    }
    if (type == "axial")
      refuse(Code::kUnsupported, rope_.where(key), "want the positions of text, got those of an image (\"axial\")");
    refuse(Code::kUnsupported, rope_.where(key), std::string(kKnownTypes) + ", got " + shown(Json(type)));
  }

  void check_taken(std::string_view type) {
    std::string_view want;
    const bool plain = type == "default";
    if (row().takes == Takes::kDefault && !plain) want = "default, the only one this family takes";
    if (row().takes == Takes::kLinearDynamic && !plain && type != "linear" && type != "dynamic")
      want = "default, linear or dynamic for this family";
    if (row().takes == Takes::kPhi3 && !plain && type != "longrope") want = "default or longrope for this family";
    if (type == "proportional" && !row().no_proportional.empty()) want = row().no_proportional;
    if (row().name == "mistral4" && plain) want = "yarn: without it transformers' own width is that of the whole head";
    if (!want.empty())
      refuse(Code::kUnsupported, rope_.where("rope_type"),
             "want " + std::string(want) + ", got " + shown(Json(std::string(type))));
  }

  double factor() {
    const std::optional<double> factor = rope_.number("factor", 1.0, kFactorWant);
    if (!factor) refuse(Code::kInvalid, rope_.where("factor"), "want " + std::string(kFactorWant) + ", got none");
    provenance("scaling.factor", shown(*factor), rope_.where("factor"));
    return *factor;
  }

  std::int64_t max_context(std::string_view why) {
    if (context_.max_context <= 0)
      refuse(Code::kInvalid, context_.config.where("max_position_embeddings"),
             "want the number of tokens, which " + std::string(why) + " needs, got none");
    return context_.max_context;
  }

  // The trained length. transformers lets a top-level value overwrite the one among the rope parameters; Phi-3's class
  // even has a default that does. Only there do published checkpoints rely on it.
  std::int64_t original_context() {
    constexpr std::string_view kKey = "original_max_position_embeddings";
    Keys& config = context_.config;
    const std::optional<std::int64_t> inner = rope_.integer(kKey, 1, kMostTokens);
    const std::optional<std::int64_t> outer = config.integer(kKey, 1, kMostTokens);
    const auto from = [&](std::int64_t tokens, std::string where) {
      provenance("scaling.trained_context", std::to_string(tokens), std::move(where));
      return tokens;
    };
    if (row().takes == Takes::kPhi3) {
      if (inner && outer && *inner != *outer)
        context_.notes.push_back(config.where(kKey) + " (" + std::to_string(*outer) + ") overrides " +
                                 rope_.where(kKey) + " (" + std::to_string(*inner) +
                                 "): a Phi-3 config keeps the trained length there");
      if (outer) return from(*outer, config.where(kKey));
      constexpr std::int64_t kPhi3Context = 4096;
      if (inner && *inner != kPhi3Context)
        refuse(Code::kInvalid, config.where(kKey),
               "want " + std::to_string(*inner) + " as in " + rope_.where(kKey) +
                   ", got none, for which this family assumes " + std::to_string(kPhi3Context));
      context_.notes.push_back(config.where(kKey) + " is missing: " + std::string(row().name) + " assumes 4096");
      return from(kPhi3Context, std::string(row().name) + " family: 4096 if missing");
    }
    if (inner && outer && *inner != *outer)
      refuse(Code::kInvalid, rope_.where(kKey),
             "want the same as " + config.where(kKey) + " (" + std::to_string(*outer) + "), got " +
                 std::to_string(*inner));
    if (inner) return from(*inner, rope_.where(kKey));
    if (outer && !context_.nested) return from(*outer, config.where(kKey));
    const std::int64_t most = max_context("a missing " + std::string(kKey));
    if (outer && *outer != most)
      refuse(Code::kInvalid, rope_.where(kKey),
             "want " + config.where(kKey) + " (" + std::to_string(*outer) + ") repeated for each layer type, got none");
    context_.notes.push_back(rope_.where(kKey) + " is missing: transformers takes max_position_embeddings (" +
                             std::to_string(most) + ")");
    return from(most, "max_position_embeddings, as " + std::string(kKey) + " is missing");
  }

  Scaling dynamic() {
    if (row().takes == Takes::kHunyuan) {
      const std::optional<double> alpha = rope_.number("alpha", 0.0, "a number >= 1");
      if (alpha && *alpha != 0.0) {
        if (*alpha < 1.0) refuse(Code::kInvalid, rope_.where("alpha"), "want a number >= 1, got " + shown(*alpha));
        provenance("scaling.factor", shown(*alpha), rope_.where("alpha"));
        context_.notes.push_back(rope_.where("alpha") + ": fixed NTK; the factor beside it is not used");
        return NtkOptions{.factor = *alpha, .form = NtkForm::kBase};
      }
    }
    const double s = factor();
    return DynamicNtkOptions{.factor = s, .trained_context = max_context("dynamic scaling")};
  }

  Scaling yarn() {
    YarnOptions yarn;
    yarn.trained_context = original_context();
    if (rope_.is_null("factor")) {
      yarn.factor = static_cast<double>(max_context("a factor of null")) / static_cast<double>(yarn.trained_context);
      if (yarn.factor < 1.0)
        refuse(Code::kInvalid, rope_.where("factor"),
               "want a number >= 1, got null, which means " + shown(yarn.factor));
      provenance("scaling.factor", shown(yarn.factor),
                 "max_position_embeddings / original_max_position_embeddings, as factor is null");
    } else {
      yarn.factor = factor();
      const double stretched = yarn.factor * static_cast<double>(yarn.trained_context);
      if (context_.max_context > yarn.trained_context && static_cast<double>(context_.max_context) != stretched)
        context_.notes.push_back(
            rope_.where("factor") + " (" + shown(yarn.factor) +
            ") is followed, as in transformers; max_position_embeddings / " +
            "original_max_position_embeddings would be " +
            shown(static_cast<double>(context_.max_context) / static_cast<double>(yarn.trained_context)));
    }
    // 0 counts as missing, as in transformers.
    constexpr std::string_view kTurns = "a number >= 0";
    if (const auto fast = rope_.number("beta_fast", 0.0, kTurns); fast && *fast != 0.0) yarn.beta_fast = *fast;
    if (const auto slow = rope_.number("beta_slow", 0.0, kTurns); slow && *slow != 0.0) yarn.beta_slow = *slow;
    // transformers takes null for false, other readers for missing.
    if (rope_.is_null("truncate")) refuse(Code::kInvalid, rope_.where("truncate"), "want true or false, got null");
    if (const auto truncate = rope_.flag("truncate")) {
      if (!*truncate && context_.nested)
        refuse(Code::kUnsupported, rope_.where("truncate"),
               "want true or none for a layer type: transformers does not look there, other engines do, got false");
      yarn.truncate = *truncate;
    }
    yarn.attention_factor = rope_.number("attention_factor", 0.0, "a number >= 0");
    yarn.mscale = rope_.number("mscale", 0.0, "a number >= 0").value_or(0.0);
    yarn.mscale_all_dim = rope_.number("mscale_all_dim", 0.0, "a number >= 0").value_or(0.0);
    return yarn;
  }

  Scaling longrope() {
    LongRopeOptions longrope;
    for (auto [key, list] :
         {std::pair{"short_factor", &longrope.short_factor}, {"long_factor", &longrope.long_factor}}) {
      auto divisors = rope_.numbers(key, 0.0, "a number > 0");
      if (!divisors) refuse(Code::kInvalid, rope_.where(key), "want a list of numbers, one a pair, got none");
      *list = std::move(*divisors);
    }
    longrope.trained_context = original_context();
    if (const auto s = rope_.number("factor", 1.0, kFactorWant)) {
      longrope.factor = *s;
      provenance("scaling.factor", shown(*s), rope_.where("factor"));
    } else {
      longrope.factor =
          static_cast<double>(max_context("LongRoPE without a factor")) / static_cast<double>(longrope.trained_context);
      provenance("scaling.factor", shown(longrope.factor),
                 "max_position_embeddings / original_max_position_embeddings");
    }
    longrope.factor = std::max(longrope.factor, 1.0);  // at 1 and below there is no factor on cos and sin
    longrope.attention_factor = rope_.number("attention_factor", 0.0, "a number >= 0");
    if (row().name == "phimoe") {
      for (auto [key, mscale] :
           {std::pair{"short_mscale", &longrope.short_mscale}, {"long_mscale", &longrope.long_mscale}}) {
        *mscale = rope_.number_above(key, 0.0, "a number > 0");
        if (!*mscale) refuse(Code::kInvalid, rope_.where(key), "want a number > 0 for this family, got none");
      }
      context_.notes.push_back(
          "beyond the trained length the long list is followed, as in the model's own code; transformers 5.23.0 keeps "
          "the "
          "short list there");
    }
    return longrope;
  }

  Scaling llama3() {
    Llama3Options llama3;
    llama3.factor = factor();
    llama3.trained_context = original_context();
    for (auto [key, value] :
         {std::pair{"low_freq_factor", &llama3.low_freq_factor}, {"high_freq_factor", &llama3.high_freq_factor}}) {
      const auto number = rope_.number_above(key, 0.0, "a number > 0");
      if (!number) refuse(Code::kInvalid, rope_.where(key), "want a number > 0, got none");
      *value = *number;
    }
    if (llama3.high_freq_factor < llama3.low_freq_factor)
      refuse(Code::kInvalid, rope_.where("high_freq_factor"),
             "want a number >= low_freq_factor (" + shown(llama3.low_freq_factor) + "), got " +
                 shown(llama3.high_freq_factor));
    return llama3;
  }

  // Its fraction has the names of a partial width, and is read with that.
  Scaling proportional() {
    return ProportionalOptions{.factor = rope_.number("factor", 1.0, kFactorWant).value_or(1.0)};
  }

  // DeepSeek's attention multiplies its softmax scale by gm(factor, mscale_all_dim)^2 whenever there is a scaling of
  // any type (transformers models/deepseek_v3, yarn_apply_mscale).
  void softmax(ReadScaling& out) {
    if (!row().scale_softmax || out.type == "default") return;
    if (YarnOptions* const yarn = std::get_if<YarnOptions>(&out.scaling)) {
      yarn->scale_softmax = yarn->mscale_all_dim != 0.0;
      return;
    }
    const double all_dim = rope_.number("mscale_all_dim", 0.0, "a number >= 0").value_or(0.0);
    if (all_dim == 0.0) return;
    const auto s = rope_.number("factor", 1.0, kFactorWant);
    if (!s) refuse(Code::kInvalid, rope_.where("factor"), "want a number >= 1 beside mscale_all_dim, got none");
    const double gm = *s <= 1.0 ? 1.0 : 0.1 * all_dim * std::log(*s) + 1.0;
    out.softmax_scale_multiplier = gm * gm;
  }

  // Ministral 3: queries times 1 + beta * ln(1 + floor(p / L0)) (transformers models/ministral3).
  void temperature(ReadScaling& out) {
    if (!row().query_temperature) return;
    const auto beta = rope_.number("llama_4_scaling_beta", 0.0, "a number >= 0");
    if (!beta)
      refuse(Code::kInvalid, rope_.where("llama_4_scaling_beta"), "want a number >= 0 for this family, got none");
    if (*beta == 0.0) return;
    std::int64_t context = 0;
    if (const YarnOptions* const yarn = std::get_if<YarnOptions>(&out.scaling)) context = yarn->trained_context;
    if (context == 0 && !rope_.has("original_max_position_embeddings"))
      refuse(Code::kInvalid, rope_.where("original_max_position_embeddings"),
             "want the number of tokens that llama_4_scaling_beta counts in, got none");
    if (context == 0) context = original_context();
    out.query_temperature = QueryTemperature{.beta = *beta, .context = context, .offset = 0};
    provenance("query_temperature", shown(*beta), rope_.where("llama_4_scaling_beta"));
  }

  // Keys that would change the answer if somebody read them, and that this type or family does not read.
  void check_unused(const ReadScaling& out) {
    const auto neutral = [&](std::string_view key, double value) {
      const Json* const given = rope_.peek(key);
      return given->is_number() && given->get<double>() == value;
    };
    const auto stray = [&](std::string_view key, std::string_view why) {
      refuse(Code::kUnsupported, rope_.where(key),
             "want none " + std::string(why) + ", got " + shown(*rope_.peek(key)));
    };
    for (const std::string_view key : {"factor", "attention_factor", "attn_factor", "extrapolation_factor"})
      if (rope_.has(key) && !rope_.was_used(key) && !neutral(key, 1.0) &&
          !std::holds_alternative<NtkOptions>(out.scaling))
        stray(key, "for rope_type " + out.type);
    for (const std::string_view key :
         {"short_factor", "long_factor", "low_freq_factor", "high_freq_factor", "short_mscale", "long_mscale"})
      if (rope_.has(key) && !rope_.was_used(key)) stray(key, "for rope_type " + out.type + " of this family");
    if (rope_.has("alpha") && !rope_.was_used("alpha") && !neutral("alpha", 0.0))
      stray("alpha", "for this family and rope_type");
    if (rope_.has("llama_4_scaling_beta") && !rope_.was_used("llama_4_scaling_beta") &&
        !neutral("llama_4_scaling_beta", 0.0))
      stray("llama_4_scaling_beta", "for this family");
    if (row().mrope == MropeForm::kNone)
      for (const std::string_view key : {"mrope_section", "xdrope_section"})
        if (rope_.has(key)) stray(key, "for a family with one position axis");
    if (rope_.has("apply_yarn_scaling") && *rope_.peek("apply_yarn_scaling") == false)
      stray("apply_yarn_scaling", "or true");
  }

  Keys& rope_;
  ScalingContext& context_;
};

}  // namespace

ReadScaling read_scaling(std::optional<Keys>& rope, ScalingContext& context) {
  if (!rope) return {};
  return ScalingReader(*rope, context).read();
}

}  // namespace ropewalk::config
