#include "spec.hpp"

#include "fields.hpp"

#include <ropewalk/frequencies.hpp>

#include <concepts>
#include <type_traits>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

nb::object spec_class(const char* name) { return class_named("ropewalk.spec", name); }
bool is_a(nb::handle object, const char* name) { return nb::isinstance(object, spec_class(name)); }

constexpr Words<NtkForm, 3> kNtkForms{
    {{"base", NtkForm::kBase}, {"fixed", NtkForm::kFixed}, {"mixed", NtkForm::kMixed}}};
constexpr Words<DynamicGrowth, 2> kGrowths{
    {{"running_length", DynamicGrowth::kRunningLength}, {"full_length", DynamicGrowth::kFullLength}}};
constexpr Words<MscaleRule, 2> kMscaleRules{{{"both", MscaleRule::kBoth}, {"numerator", MscaleRule::kNumerator}}};
constexpr Words<RampGuard, 2> kRampGuards{{{"nudge", RampGuard::kNudge}, {"floor", RampGuard::kFloor}}};
constexpr Words<LongRopePolicy, 3> kPolicies{
    {{"by_length", LongRopePolicy::kByLength}, {"short", LongRopePolicy::kShort}, {"long", LongRopePolicy::kLong}}};
constexpr Words<Numerics, 2> kNumerics{{{"exact", Numerics::kExact}, {"fp32", Numerics::kFp32}}};

// One to be read or, const, to be written.
template <class T, class Of>
concept Is = std::same_as<std::remove_const_t<T>, Of>;

void fields_of(auto&&, Is<NoScaling> auto&) {}
void fields_of(auto&& f, Is<LinearOptions> auto& options) { f("factor", options.factor); }
void fields_of(auto&& f, Is<NtkOptions> auto& options) {
  f("factor", options.factor);
  f.choice("form", options.form, kNtkForms);
  f("mixed_b", options.mixed_b);
}
void fields_of(auto&& f, Is<DynamicNtkOptions> auto& options) {
  f("factor", options.factor);
  f("trained_context", options.trained_context);
  f.choice("growth", options.growth, kGrowths);
}
void fields_of(auto&& f, Is<YarnOptions> auto& options) {
  f("factor", options.factor);
  f("trained_context", options.trained_context);
  f("beta_fast", options.beta_fast);
  f("beta_slow", options.beta_slow);
  f("truncate", options.truncate);
  f("attention_factor", options.attention_factor);
  f("mscale", options.mscale);
  f("mscale_all_dim", options.mscale_all_dim);
  f.choice("mscale_rule", options.mscale_rule, kMscaleRules);
  f("mscale_coefficient", options.mscale_coefficient);
  f("extrapolation_factor", options.extrapolation_factor);
  f.choice("ramp_guard", options.ramp_guard, kRampGuards);
  f("scale_softmax", options.scale_softmax);
}
void fields_of(auto&& f, Is<LongRopeOptions> auto& options) {
  f("short_factor", options.short_factor);
  f("long_factor", options.long_factor);
  f("trained_context", options.trained_context);
  f("factor", options.factor);
  f("attention_factor", options.attention_factor);
  f("short_mscale", options.short_mscale);
  f("long_mscale", options.long_mscale);
  f.choice("policy", options.policy, kPolicies);
}
void fields_of(auto&& f, Is<Llama3Options> auto& options) {
  f("factor", options.factor);
  f("low_freq_factor", options.low_freq_factor);
  f("high_freq_factor", options.high_freq_factor);
  f("trained_context", options.trained_context);
}
void fields_of(auto&& f, Is<ProportionalOptions> auto& options) {
  f("fraction", options.fraction);
  f("factor", options.factor);
}
void fields_of(auto&& f, Is<DivisorOptions> auto& options) {
  f("divisors", options.divisors);
  f("factor", options.factor);
  f("attention_factor", options.attention_factor);
}
void fields_of(auto&& f, Is<QueryTemperature> auto& value) {
  f("beta", value.beta);
  f("context", value.context);
  f("offset", value.offset);
}
void fields_of(auto&& f, Is<GivenFrequencies> auto& value) {
  f("heads", value.heads);
  f("axes", value.axes);
  f("inv_freq", value.inv_freq);
}
void fields_of(auto&& f, Is<SecondAngle> auto& value) {
  f("rung_of_pair", value.rung_of_pair);
  f("axis_of_pair", value.axis_of_pair);
}
void fields_of(auto&& f, Is<XPos> auto& value) {
  f("scale_base", value.scale_base);
  f("gamma", value.gamma);
  f("centre_above", value.centre_above);
}
void fields_of(auto&& f, Is<FourierMix> auto& value) {
  f("heads", value.heads);
  f("tones", value.tones);
  f("outputs", value.outputs);
  f("cos_mix", value.cos_mix);
  f("sin_mix", value.sin_mix);
}

template <class T>
constexpr const char* kClassOf = nullptr;
template <>
constexpr const char* kClassOf<NoScaling> = "NoScaling";
template <>
constexpr const char* kClassOf<LinearOptions> = "LinearScaling";
template <>
constexpr const char* kClassOf<NtkOptions> = "NtkScaling";
template <>
constexpr const char* kClassOf<DynamicNtkOptions> = "DynamicNtkScaling";
template <>
constexpr const char* kClassOf<YarnOptions> = "YarnScaling";
template <>
constexpr const char* kClassOf<LongRopeOptions> = "LongRopeScaling";
template <>
constexpr const char* kClassOf<Llama3Options> = "Llama3Scaling";
template <>
constexpr const char* kClassOf<ProportionalOptions> = "ProportionalScaling";
template <>
constexpr const char* kClassOf<DivisorOptions> = "DivisorScaling";
template <>
constexpr const char* kClassOf<QueryTemperature> = "QueryTemperature";
template <>
constexpr const char* kClassOf<GivenFrequencies> = "GivenFrequencies";
template <>
constexpr const char* kClassOf<SecondAngle> = "SecondAngle";
template <>
constexpr const char* kClassOf<XPos> = "XPos";
template <>
constexpr const char* kClassOf<FourierMix> = "FourierMix";

template <class T>
nb::object data_to_python(const T& value) {
  FieldWriter writer;
  fields_of(writer, value);
  return writer.make(spec_class(kClassOf<T>));
}
template <class T>
nb::object data_to_python(const std::optional<T>& value) {
  return value ? data_to_python(*value) : nb::none();
}

template <class T>
T data_from(nb::handle object, const std::string& path) {
  if (!is_a(object, kClassOf<T>))
    refuse(path.substr(0, path.size() - 1),
           std::string("want a ") + kClassOf<T> + ", got " + nb::cast<std::string>(nb::repr(object)));
  T value{};
  const FieldReader reader(object, path);
  fields_of(reader, value);
  return value;
}

// The plain fields of a spec; layouts, scaling and nested ones are said apart.
void plain_fields(auto&& f, Is<RotarySpec> auto& spec) {
  f("head_dim", spec.head_dim);
  f("theta", spec.theta);
  f("rotary_dim", spec.rotary_dim);
  f("rotary_offset", spec.rotary_offset);
  f.choice("numerics", spec.numerics, kNumerics);
  f("frequency_dim", spec.frequency_dim);
  f("rung_of_pair", spec.rung_of_pair);
  f("axis_of_pair", spec.axis_of_pair);
  f("frequency_multipliers", spec.frequency_multipliers);
  f("clockwise", spec.clockwise);
  f("position_scale", spec.position_scale);
  f("pair_blocks", spec.pair_blocks);
  f("softmax_scale_multiplier", spec.softmax_scale_multiplier);
}

PairLayout layout_of(bool interleaved) noexcept { return interleaved ? PairLayout::kInterleaved : PairLayout::kHalf; }

template <std::size_t I = 0>
Scaling scaling_from_alternatives(nb::handle object, const std::string& path) {
  if constexpr (I < std::variant_size_v<Scaling>) {
    using Options = std::variant_alternative_t<I, Scaling>;
    if (is_a(object, kClassOf<Options>)) return data_from<Options>(object, path + ".");
    return scaling_from_alternatives<I + 1>(object, path);
  } else {
    refuse(path, "want one of the scaling classes of ropewalk (YarnScaling, ...), got " +
                     nb::cast<std::string>(nb::repr(object)));
  }
}

}  // namespace

Scaling scaling_from(nb::handle scaling, const std::string& path) { return scaling_from_alternatives(scaling, path); }

nb::object scaling_to_python(const Scaling& scaling) {
  return std::visit([](const auto& options) { return data_to_python(options); }, scaling);
}

nb::object to_python(const QueryTemperature& temperature) { return data_to_python(temperature); }

Numerics numerics_named(const std::string& name) {
  for (const auto& [spelling, value] : kNumerics)
    if (name == spelling) return value;
  refuse("numerics", "want \"exact\" or \"fp32\", got \"" + name + '"');
}

RotarySpec spec_from(nb::handle object) {
  if (!is_a(object, "RotarySpec")) refuse("spec", "want a RotarySpec, got " + nb::cast<std::string>(nb::repr(object)));
  RotarySpec spec;
  const FieldReader reader(object, "");
  plain_fields(reader, spec);
  bool interleaved = false;
  reader("interleaved", interleaved);
  spec.layout = layout_of(interleaved);
  std::optional<bool> output;
  reader("output_interleaved", output);
  if (output) spec.output_layout = layout_of(*output);
  spec.scaling = scaling_from(object.attr("scaling"));
  reader.nested("given", spec.given, data_from<GivenFrequencies>);
  reader.nested("second", spec.second, data_from<SecondAngle>);
  reader.nested("xpos", spec.xpos, data_from<XPos>);
  reader.nested("fourier", spec.fourier, data_from<FourierMix>);
  reader.nested("query_temperature", spec.query_temperature, data_from<QueryTemperature>);
  return spec;
}

nb::object spec_to_python(const RotarySpec& spec) {
  FieldWriter writer;
  plain_fields(writer, spec);
  writer.set("interleaved", nb::bool_(spec.layout == PairLayout::kInterleaved));
  if (spec.output_layout != PairLayout::kUnset)
    writer.set("output_interleaved", nb::bool_(spec.output_layout == PairLayout::kInterleaved));
  writer.set("scaling", scaling_to_python(spec.scaling));
  writer.set("given", data_to_python(spec.given));
  writer.set("second", data_to_python(spec.second));
  writer.set("xpos", data_to_python(spec.xpos));
  writer.set("fourier", data_to_python(spec.fourier));
  writer.set("query_temperature", data_to_python(spec.query_temperature));
  return writer.make(spec_class("RotarySpec"));
}

void bind_spec(nb::module_& m) {
  m.def(
      "fingerprint",
      [](nb::handle spec, std::int64_t running_length) {
        return value_or_refuse(fingerprint(spec_from(spec), running_length));
      },
      "spec"_a, "running_length"_a = 0,
      "16 hexadecimal digits of a hash of what a spec does: two spellings of one encoding have one fingerprint.");
  m.def(
      "describe", [](nb::handle spec) { return to_string(spec_from(spec)); }, "spec"_a,
      "One line with every field that differs from its default, in the words of config.json.");
  m.def(
      "make_scaling",
      [](const std::string& name, double factor, std::int64_t trained_context) {
        return scaling_to_python(value_or_refuse(make_scaling(name, factor, trained_context)));
      },
      "name"_a, "factor"_a, "trained_context"_a,
      "A method by its name (none, linear, ntk, dynamic, yarn), everything else at its default.");
}

}  // namespace ropewalk::python
