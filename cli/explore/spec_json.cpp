#include "cli/explore/spec_json.hpp"

#include <string_view>

namespace ropewalk::cli {
namespace {

// Writes a field if it is not what a value of its struct begins with.
class Fields {
 public:
  explicit Fields(JsonOut& json) : json_(json) {}

  template <class T>
  void put(std::string_view name, const T& value, const T& otherwise) const {
    if (!(value == otherwise)) json_.field(name, value);
  }
  void put(std::string_view name, const std::vector<std::uint8_t>& list) const {
    if (list.empty()) return;
    json_.key(name).begin_row();
    for (const std::uint8_t one : list) json_.value(int{one});
    json_.end();
  }
  void put(std::string_view name, const std::vector<int>& list) const {
    if (list.empty()) return;
    json_.key(name).begin_row();
    for (const int one : list) json_.value(one);
    json_.end();
  }
  void put(std::string_view name, const std::optional<double>& value) const {
    if (value) json_.field(name, *value);
  }

 private:
  JsonOut& json_;
};

void options(JsonOut&, const NoScaling&) {}

void options(JsonOut& json, const LinearOptions& linear) { json.field("factor", linear.factor); }

void options(JsonOut& json, const NtkOptions& ntk) {
  json.field("factor", ntk.factor);
  json.field("form", ntk.form == NtkForm::kBase ? "base" : ntk.form == NtkForm::kFixed ? "fixed" : "mixed");
  json.field("mixed_b", ntk.mixed_b);
}

void options(JsonOut& json, const DynamicNtkOptions& dynamic) {
  json.field("factor", dynamic.factor);
  json.field("trained_context", dynamic.trained_context);
  json.field("growth", dynamic.growth == DynamicGrowth::kRunningLength ? "running_length" : "full_length");
}

void options(JsonOut& json, const YarnOptions& yarn) {
  const YarnOptions plain;
  const Fields fields(json);
  json.field("factor", yarn.factor);
  json.field("trained_context", yarn.trained_context);
  fields.put("beta_fast", yarn.beta_fast, plain.beta_fast);
  fields.put("beta_slow", yarn.beta_slow, plain.beta_slow);
  fields.put("truncate", yarn.truncate, plain.truncate);
  fields.put("attention_factor", yarn.attention_factor);
  fields.put("mscale", yarn.mscale, plain.mscale);
  fields.put("mscale_all_dim", yarn.mscale_all_dim, plain.mscale_all_dim);
  if (yarn.mscale_rule == MscaleRule::kNumerator) json.field("mscale_rule", "numerator");
  if (yarn.ramp_guard == RampGuard::kFloor) json.field("ramp_guard", "floor");
  fields.put("mscale_coefficient", yarn.mscale_coefficient, plain.mscale_coefficient);
  fields.put("extrapolation_factor", yarn.extrapolation_factor, plain.extrapolation_factor);
  fields.put("scale_softmax", yarn.scale_softmax, plain.scale_softmax);
}

void options(JsonOut& json, const LongRopeOptions& longrope) {
  const Fields fields(json);
  json.field("factor", longrope.factor);
  json.field("trained_context", longrope.trained_context);
  json.field("short_factor", longrope.short_factor);
  json.field("long_factor", longrope.long_factor);
  fields.put("attention_factor", longrope.attention_factor);
  fields.put("short_mscale", longrope.short_mscale);
  fields.put("long_mscale", longrope.long_mscale);
  if (longrope.policy != LongRopePolicy::kByLength)
    json.field("policy", longrope.policy == LongRopePolicy::kShort ? "short" : "long");
}

void options(JsonOut& json, const Llama3Options& llama3) {
  json.field("factor", llama3.factor);
  json.field("low_freq_factor", llama3.low_freq_factor);
  json.field("high_freq_factor", llama3.high_freq_factor);
  json.field("trained_context", llama3.trained_context);
}

void options(JsonOut& json, const ProportionalOptions& proportional) {
  json.field("fraction", proportional.fraction);
  json.field("factor", proportional.factor);
}

void options(JsonOut& json, const DivisorOptions& divisors) {
  json.field("divisors", divisors.divisors);
  json.field("factor", divisors.factor);
  json.field("attention_factor", divisors.attention_factor);
}

}  // namespace

void write_spec(JsonOut& json, const RotarySpec& spec) {
  const RotarySpec plain;
  const Fields fields(json);
  json.begin_object();
  json.field("head_dim", spec.head_dim);
  json.field("rotary_dim", spec.rotary_dim);
  json.field("layout", name_of(spec.layout));
  fields.put("theta", spec.theta, plain.theta);
  fields.put("rotary_offset", spec.rotary_offset, plain.rotary_offset);
  fields.put("frequency_dim", spec.frequency_dim, plain.frequency_dim);
  if (spec.output_layout != PairLayout::kUnset) json.field("output_layout", name_of(spec.output_layout));
  if (spec.numerics != Numerics::kExact) json.field("numerics", name_of(spec.numerics));
  fields.put("clockwise", spec.clockwise, plain.clockwise);
  fields.put("position_scale", spec.position_scale, plain.position_scale);
  fields.put("softmax_scale_multiplier", spec.softmax_scale_multiplier, plain.softmax_scale_multiplier);
  fields.put("rung_of_pair", spec.rung_of_pair);
  fields.put("axis_of_pair", spec.axis_of_pair);
  fields.put("frequency_multipliers", spec.frequency_multipliers, plain.frequency_multipliers);
  fields.put("pair_blocks", spec.pair_blocks);
  if (!std::holds_alternative<NoScaling>(spec.scaling)) {
    json.key("scaling").begin_object();
    json.field("kind", std::holds_alternative<DynamicNtkOptions>(spec.scaling) ? "dynamic_ntk" : name_of(spec.scaling));
    std::visit([&](const auto& one) { options(json, one); }, spec.scaling);
    json.end();
  }
  if (spec.given) {
    json.key("given").begin_object();
    json.field("heads", spec.given->heads);
    json.field("axes", spec.given->axes);
    json.field("inv_freq", spec.given->inv_freq);
    json.end();
  }
  if (spec.second) {
    json.key("second").begin_object();
    fields.put("rung_of_pair", spec.second->rung_of_pair);
    fields.put("axis_of_pair", spec.second->axis_of_pair);
    json.end();
  }
  if (spec.xpos) {
    json.key("xpos").begin_object();
    json.field("scale_base", spec.xpos->scale_base);
    json.field("gamma", spec.xpos->gamma);
    json.field("centre_above", spec.xpos->centre_above);
    json.end();
  }
  if (spec.fourier) {
    json.key("fourier").begin_object();
    json.field("heads", spec.fourier->heads);
    json.field("tones", spec.fourier->tones);
    json.field("outputs", spec.fourier->outputs);
    json.field("cos_mix", spec.fourier->cos_mix);
    json.field("sin_mix", spec.fourier->sin_mix);
    json.end();
  }
  if (spec.query_temperature) {
    json.key("query_temperature").begin_object();
    json.field("beta", spec.query_temperature->beta);
    json.field("context", spec.query_temperature->context);
    json.field("offset", spec.query_temperature->offset);
    json.end();
  }
  json.end();
}

}  // namespace ropewalk::cli
