#include <ropewalk/spec.hpp>

#include <cstddef>
#include <utility>

#include "math/text.hpp"

// head_dim=64 rotary_dim=64 rope_theta=100000 layout=half scaling={rope_type=linear factor=4}

namespace ropewalk {
namespace {

class Line {
 public:
  void add(std::string_view name, std::string_view value) {
    if (!text_.empty()) text_ += ' ';
    text_ += name;
    text_ += '=';
    text_ += value;
  }
  void add(std::string_view name, double value) { add(name, math::shown(value)); }
  void add(std::string_view name, std::int64_t value) { add(name, std::to_string(value)); }

  void add_group(std::string_view name, std::string_view inner) {
    add(name, "{");
    text_ += inner;
    text_ += '}';
  }

  template <class T>
  void add_unless(std::string_view name, const T& value, const T& usual) {
    if (value != usual) add(name, value);
  }
  void add_if(std::string_view name, const std::optional<double>& value) {
    if (value) add(name, *value);
  }
  template <class T>
  void add_list(std::string_view name, const std::vector<T>& list) {
    std::string value = "[";
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (i > 0) value += ',';
      value += math::shown(static_cast<double>(list[i]));
    }
    add(name, value + "]");
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

// One overload a method; a field stands there if it differs from its default.
struct Describe {
  Line& line;

  void operator()(const NoScaling&) const {}
  void operator()(const LinearOptions& o) const { line.add("factor", o.factor); }
  void operator()(const NtkOptions& o) const {
    line.add("factor", o.factor);
    if (o.form == NtkForm::kFixed) line.add("form", "fixed");
    if (o.form == NtkForm::kMixed) {
      line.add("form", "mixed");
      line.add("mixed_b", o.mixed_b);
    }
  }
  void operator()(const DynamicNtkOptions& o) const {
    line.add("factor", o.factor);
    line.add("max_position_embeddings", o.trained_context);
    if (o.growth == DynamicGrowth::kFullLength) line.add("growth", "full_length");
  }
  void operator()(const YarnOptions& o) const {
    const YarnOptions usual;
    line.add("factor", o.factor);
    line.add("original_max_position_embeddings", o.trained_context);
    line.add_unless("beta_fast", o.beta_fast, usual.beta_fast);
    line.add_unless("beta_slow", o.beta_slow, usual.beta_slow);
    if (!o.truncate) line.add("truncate", "false");
    line.add_if("attention_factor", o.attention_factor);
    line.add_unless("mscale", o.mscale, usual.mscale);
    line.add_unless("mscale_all_dim", o.mscale_all_dim, usual.mscale_all_dim);
    if (o.mscale_rule == MscaleRule::kNumerator) line.add("mscale_rule", "numerator");
    line.add_unless("mscale_coefficient", o.mscale_coefficient, usual.mscale_coefficient);
    line.add_unless("extrapolation_factor", o.extrapolation_factor, usual.extrapolation_factor);
    if (o.ramp_guard == RampGuard::kFloor) line.add("ramp_guard", "floor");
    if (o.scale_softmax) line.add("scale_softmax", "true");
  }
  void operator()(const LongRopeOptions& o) const {
    const LongRopeOptions usual;
    line.add_list("short_factor", o.short_factor);
    line.add_list("long_factor", o.long_factor);
    line.add("original_max_position_embeddings", o.trained_context);
    line.add_unless("factor", o.factor, usual.factor);
    line.add_if("attention_factor", o.attention_factor);
    line.add_if("short_mscale", o.short_mscale);
    line.add_if("long_mscale", o.long_mscale);
    if (o.policy == LongRopePolicy::kShort) line.add("policy", "short");
    if (o.policy == LongRopePolicy::kLong) line.add("policy", "long");
  }
  void operator()(const Llama3Options& o) const {
    line.add("factor", o.factor);
    line.add("low_freq_factor", o.low_freq_factor);
    line.add("high_freq_factor", o.high_freq_factor);
    line.add("original_max_position_embeddings", o.trained_context);
  }
  void operator()(const ProportionalOptions& o) const {
    const ProportionalOptions usual;
    line.add("partial_rotary_factor", o.fraction);
    line.add_unless("factor", o.factor, usual.factor);
  }
  void operator()(const DivisorOptions& o) const {
    const DivisorOptions usual;
    line.add_list("divisors", o.divisors);
    line.add_unless("factor", o.factor, usual.factor);
    line.add_unless("attention_factor", o.attention_factor, usual.attention_factor);
  }
};

}  // namespace

std::string to_string(const Scaling& scaling) {
  Line line;
  line.add("rope_type", name_of(scaling));
  std::visit(Describe{line}, scaling);
  return line.take();
}

std::string to_string(const RotarySpec& spec) {
  const RotarySpec usual;
  const auto whole = [](int value) { return std::int64_t{value}; };
  Line line;
  line.add("head_dim", whole(spec.head_dim));
  line.add("rotary_dim", whole(spec.rotary_dim));
  line.add_unless("rotary_offset", whole(spec.rotary_offset), whole(usual.rotary_offset));
  if (!spec.given) line.add("rope_theta", spec.theta);
  line.add("layout", name_of(spec.layout));
  if (!std::holds_alternative<NoScaling>(spec.scaling)) line.add_group("scaling", to_string(spec.scaling));
  if (spec.numerics != usual.numerics) line.add("numerics", name_of(spec.numerics));
  line.add_unless("frequency_dim", whole(spec.frequency_dim), whole(usual.frequency_dim));
  if (!spec.rung_of_pair.empty()) line.add_list("rung_of_pair", spec.rung_of_pair);
  if (!spec.axis_of_pair.empty()) line.add_list("axis_of_pair", spec.axis_of_pair);
  if (!spec.frequency_multipliers.empty()) line.add_list("frequency_multipliers", spec.frequency_multipliers);
  if (spec.clockwise) line.add("direction", "clockwise");
  line.add_unless("position_scale", spec.position_scale, usual.position_scale);
  if (!spec.pair_blocks.empty()) line.add_list("pair_blocks", spec.pair_blocks);
  if (spec.output_layout != usual.output_layout) line.add("output_layout", name_of(spec.output_layout));
  if (spec.given) {
    Line inner;
    inner.add_unless("heads", whole(spec.given->heads), std::int64_t{1});
    inner.add_unless("axes", whole(spec.given->axes), std::int64_t{1});
    inner.add_list("inv_freq", spec.given->inv_freq);
    line.add_group("given", inner.take());
  }
  if (spec.second) {
    Line inner;
    if (!spec.second->rung_of_pair.empty()) inner.add_list("rung_of_pair", spec.second->rung_of_pair);
    if (!spec.second->axis_of_pair.empty()) inner.add_list("axis_of_pair", spec.second->axis_of_pair);
    line.add_group("second", inner.take());
  }
  if (spec.xpos) {
    Line inner;
    inner.add("scale_base", spec.xpos->scale_base);
    inner.add("gamma", spec.xpos->gamma);
    if (spec.xpos->centre_above) inner.add("centre", "above");
    line.add_group("xpos", inner.take());
  }
  if (spec.fourier) {
    Line inner;
    inner.add("heads", whole(spec.fourier->heads));
    inner.add("tones", whole(spec.fourier->tones));
    inner.add("outputs", whole(spec.fourier->outputs));
    inner.add_list("cos_mix", spec.fourier->cos_mix);
    inner.add_list("sin_mix", spec.fourier->sin_mix);
    line.add_group("fourier", inner.take());
  }
  line.add_unless("softmax_scale_multiplier", spec.softmax_scale_multiplier, usual.softmax_scale_multiplier);
  if (spec.query_temperature) {
    Line inner;
    inner.add("beta", spec.query_temperature->beta);
    inner.add("context", spec.query_temperature->context);
    inner.add("offset", spec.query_temperature->offset);
    line.add_group("query_temperature", inner.take());
  }
  return line.take();
}

}  // namespace ropewalk
