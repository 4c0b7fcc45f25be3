// The nine methods, there and back.
#include <iterator>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/spec_fields.hpp"
#include "capi/structs.hpp"

namespace ropewalk::capi {
namespace {

constexpr Where kScaling{"scaling"};
constexpr std::size_t kMostPairs = 65536;

static_assert(static_cast<int>(NtkForm::kBase) == RW_NTK_BASE && static_cast<int>(NtkForm::kFixed) == RW_NTK_FIXED &&
              static_cast<int>(NtkForm::kMixed) == RW_NTK_MIXED);
static_assert(static_cast<int>(DynamicGrowth::kRunningLength) == RW_GROWTH_RUNNING_LENGTH &&
              static_cast<int>(DynamicGrowth::kFullLength) == RW_GROWTH_FULL_LENGTH);
static_assert(static_cast<int>(MscaleRule::kBoth) == RW_MSCALE_BOTH &&
              static_cast<int>(MscaleRule::kNumerator) == RW_MSCALE_NUMERATOR);
static_assert(static_cast<int>(RampGuard::kNudge) == RW_RAMP_NUDGE &&
              static_cast<int>(RampGuard::kFloor) == RW_RAMP_FLOOR);
static_assert(static_cast<int>(LongRopePolicy::kByLength) == RW_LONGROPE_BY_LENGTH &&
              static_cast<int>(LongRopePolicy::kShort) == RW_LONGROPE_SHORT &&
              static_cast<int>(LongRopePolicy::kLong) == RW_LONGROPE_LONG);

Failure take_optional(std::int32_t has, double value, const char* field, std::optional<double>& to) {
  bool given = false;
  if (auto failure = take_flag(has, kScaling, (std::string(".has_") + field).c_str(), given)) return failure;
  if (given) to = value;
  if (given || value == 0.0) return std::nullopt;
  return refused(kScaling + (std::string(".has_") + field).c_str(),
                 std::string("want 1 where ") + field + " is not 0, got 0");
}

Failure take_method(const rw_linear& given, Scaling& to) {
  to = LinearOptions{.factor = given.factor};
  return std::nullopt;
}

Failure take_method(const rw_ntk& given, Scaling& to) {
  NtkOptions made{.factor = given.factor, .mixed_b = given.mixed_b};
  if (auto failure = take_enum(given.form, NtkForm::kMixed, kScaling, ".form", made.form)) return failure;
  if (auto failure = want_reserved(given.reserved, kScaling)) return failure;
  to = made;
  return std::nullopt;
}

Failure take_method(const rw_dynamic_ntk& given, Scaling& to) {
  DynamicNtkOptions made{.factor = given.factor, .trained_context = given.trained_context};
  if (auto failure = take_enum(given.growth, DynamicGrowth::kFullLength, kScaling, ".growth", made.growth))
    return failure;
  if (auto failure = want_reserved(given.reserved, kScaling)) return failure;
  to = made;
  return std::nullopt;
}

Failure take_method(const rw_yarn& given, Scaling& to) {
  YarnOptions made{.factor = given.factor,
                   .trained_context = given.trained_context,
                   .beta_fast = given.beta_fast,
                   .beta_slow = given.beta_slow,
                   .mscale = given.mscale,
                   .mscale_all_dim = given.mscale_all_dim,
                   .mscale_coefficient = given.mscale_coefficient,
                   .extrapolation_factor = given.extrapolation_factor};
  if (auto failure = take_flag(given.truncate, kScaling, ".truncate", made.truncate)) return failure;
  if (auto failure =
          take_optional(given.has_attention_factor, given.attention_factor, "attention_factor", made.attention_factor))
    return failure;
  if (auto failure = take_enum(given.mscale_rule, MscaleRule::kNumerator, kScaling, ".mscale_rule", made.mscale_rule))
    return failure;
  if (auto failure = take_enum(given.ramp_guard, RampGuard::kFloor, kScaling, ".ramp_guard", made.ramp_guard))
    return failure;
  if (auto failure = take_flag(given.scale_softmax, kScaling, ".scale_softmax", made.scale_softmax)) return failure;
  if (auto failure = want_reserved(given.reserved, kScaling)) return failure;
  to = made;
  return std::nullopt;
}

Failure take_method(const rw_longrope& given, Scaling& to) {
  LongRopeOptions made{.trained_context = given.trained_context, .factor = given.factor};
  if (auto failure = take_list(given.short_factor, given.short_factor_count, kMostPairs, kScaling, ".short_factor",
                               made.short_factor))
    return failure;
  if (auto failure =
          take_list(given.long_factor, given.long_factor_count, kMostPairs, kScaling, ".long_factor", made.long_factor))
    return failure;
  if (auto failure =
          take_optional(given.has_attention_factor, given.attention_factor, "attention_factor", made.attention_factor))
    return failure;
  if (auto failure = take_optional(given.has_short_mscale, given.short_mscale, "short_mscale", made.short_mscale))
    return failure;
  if (auto failure = take_optional(given.has_long_mscale, given.long_mscale, "long_mscale", made.long_mscale))
    return failure;
  if (auto failure = take_enum(given.policy, LongRopePolicy::kLong, kScaling, ".policy", made.policy)) return failure;
  to = std::move(made);
  return std::nullopt;
}

Failure take_method(const rw_llama3& given, Scaling& to) {
  to = Llama3Options{.factor = given.factor,
                     .low_freq_factor = given.low_freq_factor,
                     .high_freq_factor = given.high_freq_factor,
                     .trained_context = given.trained_context};
  return std::nullopt;
}

Failure take_method(const rw_proportional& given, Scaling& to) {
  to = ProportionalOptions{.fraction = given.fraction, .factor = given.factor};
  return std::nullopt;
}

Failure take_method(const rw_divisors& given, Scaling& to) {
  DivisorOptions made{.factor = given.factor, .attention_factor = given.attention_factor};
  if (auto failure = take_list(given.divisors, given.divisors_count, kMostPairs, kScaling, ".divisors", made.divisors))
    return failure;
  to = std::move(made);
  return std::nullopt;
}

template <class T>
Failure take_pointed(const T* given, Scaling& to) {
  if (given == nullptr) return std::nullopt;
  T method;
  if (auto failure = take_struct(given, kScaling, method)) return failure;
  return take_method(method, to);
}

struct Mirror {
  std::monostate operator()(const NoScaling&) const { return {}; }

  rw_linear operator()(const LinearOptions& o) const {
    rw_linear made = RW_LINEAR_INIT;
    made.factor = o.factor;
    return made;
  }

  rw_ntk operator()(const NtkOptions& o) const {
    rw_ntk made = RW_NTK_INIT;
    made.factor = o.factor;
    made.form = static_cast<rw_ntk_form>(o.form);
    made.mixed_b = o.mixed_b;
    return made;
  }

  rw_dynamic_ntk operator()(const DynamicNtkOptions& o) const {
    rw_dynamic_ntk made = RW_DYNAMIC_NTK_INIT;
    made.factor = o.factor;
    made.trained_context = o.trained_context;
    made.growth = static_cast<rw_dynamic_growth>(o.growth);
    return made;
  }

  rw_yarn operator()(const YarnOptions& o) const {
    rw_yarn made = RW_YARN_INIT;
    made.factor = o.factor;
    made.trained_context = o.trained_context;
    made.beta_fast = o.beta_fast;
    made.beta_slow = o.beta_slow;
    made.truncate = o.truncate;
    made.has_attention_factor = o.attention_factor.has_value();
    made.attention_factor = o.attention_factor.value_or(0.0);
    made.mscale = o.mscale;
    made.mscale_all_dim = o.mscale_all_dim;
    made.mscale_rule = static_cast<rw_mscale_rule>(o.mscale_rule);
    made.ramp_guard = static_cast<rw_ramp_guard>(o.ramp_guard);
    made.mscale_coefficient = o.mscale_coefficient;
    made.extrapolation_factor = o.extrapolation_factor;
    made.scale_softmax = o.scale_softmax;
    return made;
  }

  rw_longrope operator()(const LongRopeOptions& o) const {
    rw_longrope made = RW_LONGROPE_INIT;
    made.short_factor = o.short_factor.data();
    made.short_factor_count = o.short_factor.size();
    made.long_factor = o.long_factor.data();
    made.long_factor_count = o.long_factor.size();
    made.trained_context = o.trained_context;
    made.factor = o.factor;
    made.has_attention_factor = o.attention_factor.has_value();
    made.has_short_mscale = o.short_mscale.has_value();
    made.has_long_mscale = o.long_mscale.has_value();
    made.policy = static_cast<rw_longrope_policy>(o.policy);
    made.attention_factor = o.attention_factor.value_or(0.0);
    made.short_mscale = o.short_mscale.value_or(0.0);
    made.long_mscale = o.long_mscale.value_or(0.0);
    return made;
  }

  rw_llama3 operator()(const Llama3Options& o) const {
    rw_llama3 made = RW_LLAMA3_INIT;
    made.factor = o.factor;
    made.low_freq_factor = o.low_freq_factor;
    made.high_freq_factor = o.high_freq_factor;
    made.trained_context = o.trained_context;
    return made;
  }

  rw_proportional operator()(const ProportionalOptions& o) const {
    rw_proportional made = RW_PROPORTIONAL_INIT;
    made.fraction = o.fraction;
    made.factor = o.factor;
    return made;
  }

  rw_divisors operator()(const DivisorOptions& o) const {
    rw_divisors made = RW_DIVISORS_INIT;
    made.divisors = o.divisors.data();
    made.divisors_count = o.divisors.size();
    made.factor = o.factor;
    made.attention_factor = o.attention_factor;
    return made;
  }
};

}  // namespace

Failure take_scaling(const rw_spec_fields& fields, Scaling& to) {
  const void* const methods[] = {fields.linear,   fields.ntk,    fields.dynamic_ntk,  fields.yarn,
                                 fields.longrope, fields.llama3, fields.proportional, fields.divisors};
  static_assert(std::size(methods) + 1 == std::variant_size_v<Scaling>);
  int given = 0;
  for (const void* method : methods) given += method != nullptr;
  if (given > 1) return refused("scaling", "want at most one method, got " + std::to_string(given));
  if (auto failure = take_pointed(fields.linear, to)) return failure;
  if (auto failure = take_pointed(fields.ntk, to)) return failure;
  if (auto failure = take_pointed(fields.dynamic_ntk, to)) return failure;
  if (auto failure = take_pointed(fields.yarn, to)) return failure;
  if (auto failure = take_pointed(fields.longrope, to)) return failure;
  if (auto failure = take_pointed(fields.llama3, to)) return failure;
  if (auto failure = take_pointed(fields.proportional, to)) return failure;
  return take_pointed(fields.divisors, to);
}

}  // namespace ropewalk::capi

void rw_spec::mirror_scaling() {
  using ropewalk::capi::Mirror;
  std::visit([this](const auto& method) { scaling_ = Mirror{}(method); }, spec.scaling);
  fields.linear = std::get_if<rw_linear>(&scaling_);
  fields.ntk = std::get_if<rw_ntk>(&scaling_);
  fields.dynamic_ntk = std::get_if<rw_dynamic_ntk>(&scaling_);
  fields.yarn = std::get_if<rw_yarn>(&scaling_);
  fields.longrope = std::get_if<rw_longrope>(&scaling_);
  fields.llama3 = std::get_if<rw_llama3>(&scaling_);
  fields.proportional = std::get_if<rw_proportional>(&scaling_);
  fields.divisors = std::get_if<rw_divisors>(&scaling_);
}
