#include <ropewalk/spec.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "math/text.hpp"

namespace ropewalk {
namespace {

using math::shown;
using MaybeError = std::optional<Error>;

// The domain ends where a number is no longer the setting of any encoding, and early enough that the arithmetic behind
// it (real.hpp) cannot leave its own.
constexpr int kLargestHead = 65536;
constexpr double kLargestTheta = 1e30;
constexpr double kLargestFactor = 1e12;       // of scaling factors
constexpr double kLargestMagnitude = 1e6;     // of factors on cos, sin and logits, and of what they are made from
constexpr double kLargestMultiplier = 65536;  // of learned multipliers, and one over the least divisor
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Error invalid(std::string path, std::string want, std::string got) {
  return Error{Code::kInvalid, std::move(path), "want " + std::move(want) + ", got " + std::move(got)};
}

std::string at(const std::string& path, std::size_t index) { return path + "[" + std::to_string(index) + "]"; }

// A NaN fails every check: the comparisons ask for what is wanted.

MaybeError check_at_least(const std::string& path, double value, double least, double most) {
  if (!(value >= least)) return invalid(path, "a number >= " + shown(least), shown(value));
  if (!(value <= most)) return invalid(path, "a number <= " + shown(most), shown(value));
  return std::nullopt;
}

MaybeError check_above(const std::string& path, double value, double bound, double most) {
  if (!(value > bound)) return invalid(path, "a number > " + shown(bound), shown(value));
  if (!(value <= most)) return invalid(path, "a number <= " + shown(most), shown(value));
  return std::nullopt;
}

MaybeError check_whole(const std::string& path, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return std::nullopt;
  return invalid(path, "a whole number in [" + std::to_string(least) + ", " + std::to_string(most) + "]",
                 std::to_string(value));
}

MaybeError check_tokens(const std::string& path, std::int64_t value, std::int64_t least = 1) {
  if (value >= least) return std::nullopt;
  return invalid(path, "a number of tokens >= " + std::to_string(least), std::to_string(value));
}

MaybeError check_magnitude(const std::string& path, double value) {
  return check_at_least(path, value, 0.0, kLargestMagnitude);
}

MaybeError check_magnitude(const std::string& path, const std::optional<double>& value) {
  return value ? check_magnitude(path, *value) : std::nullopt;
}

MaybeError check_factor(double factor) { return check_at_least("scaling.factor", factor, 1.0, kLargestFactor); }

MaybeError check_size(const std::string& path, std::size_t size, const RotarySpec& spec) {
  if (size == static_cast<std::size_t>(spec.pairs())) return std::nullopt;
  return invalid(path, std::to_string(spec.pairs()) + " entries, one a pair", std::to_string(size));
}

MaybeError check_divisors(const std::string& path, const std::vector<double>& divisors, const RotarySpec& spec,
                          double most) {
  if (auto error = check_size(path, divisors.size(), spec)) return error;
  for (std::size_t j = 0; j < divisors.size(); ++j)
    if (auto error = check_at_least(at(path, j), divisors[j], 1.0 / kLargestMultiplier, most)) return error;
  return std::nullopt;
}

template <class Enum>
MaybeError check_enum(const std::string& path, Enum value, Enum last) {
  return check_whole(path, static_cast<std::int64_t>(value), 0, static_cast<std::int64_t>(last));
}

int ladder_dim(const RotarySpec& spec) noexcept {
  return spec.frequency_dim > 0 ? spec.frequency_dim : spec.rotary_dim;
}

// d / (d - 2) wants d > 2.
MaybeError check_ntk_dim(const RotarySpec& spec) {
  if (ladder_dim(spec) > 2) return std::nullopt;
  return invalid(spec.frequency_dim > 0 ? "frequency_dim" : "rotary_dim",
                 "more than 2 for " + std::string(name_of(spec.scaling)) + " scaling, whose exponent is d / (d - 2)",
                 std::to_string(ladder_dim(spec)));
}

// The first of the checks that has something to say.
template <class... Checks>
MaybeError first_of(Checks&&... checks) {
  MaybeError error;
  ((error = checks(), !error) && ...);
  return error;
}

struct ScalingCheck {
  const RotarySpec& spec;

  MaybeError operator()(const NoScaling&) const { return std::nullopt; }

  MaybeError operator()(const LinearOptions& o) const { return check_factor(o.factor); }

  MaybeError operator()(const NtkOptions& o) const {
    return first_of([&] { return check_factor(o.factor); },
                    [&] { return check_enum("scaling.form", o.form, NtkForm::kMixed); },
                    [&] { return check_above("scaling.mixed_b", o.mixed_b, 0.0, 16.0); },
                    [&] { return o.form == NtkForm::kBase ? check_ntk_dim(spec) : std::nullopt; });
  }

  MaybeError operator()(const DynamicNtkOptions& o) const {
    return first_of([&] { return check_factor(o.factor); },
                    [&] { return check_tokens("scaling.trained_context", o.trained_context); },
                    [&] { return check_enum("scaling.growth", o.growth, DynamicGrowth::kFullLength); },
                    [&] { return check_ntk_dim(spec); });
  }

  MaybeError operator()(const YarnOptions& o) const {
    return first_of([&] { return check_factor(o.factor); },
                    [&] { return check_tokens("scaling.trained_context", o.trained_context); },
                    [&] { return check_above("scaling.beta_fast", o.beta_fast, 0.0, kLargestFactor); },
                    [&] { return check_above("scaling.beta_slow", o.beta_slow, 0.0, kLargestFactor); },
                    [&] { return check_magnitude("scaling.attention_factor", o.attention_factor); },
                    [&] { return check_magnitude("scaling.mscale", o.mscale); },
                    [&] { return check_magnitude("scaling.mscale_all_dim", o.mscale_all_dim); },
                    [&] { return check_enum("scaling.mscale_rule", o.mscale_rule, MscaleRule::kNumerator); },
                    [&] { return check_magnitude("scaling.mscale_coefficient", o.mscale_coefficient); },
                    [&] { return check_at_least("scaling.extrapolation_factor", o.extrapolation_factor, 0.0, 1.0); },
                    [&] { return check_enum("scaling.ramp_guard", o.ramp_guard, RampGuard::kFloor); });
  }

  MaybeError operator()(const LongRopeOptions& o) const {
    constexpr double kLargest = std::numeric_limits<double>::max();
    // ln L0 stands under ln s where the factor on cos and sin follows from s.
    const std::int64_t least_context = o.factor > 1.0 && !o.attention_factor ? 2 : 1;
    return first_of([&] { return check_divisors("scaling.short_factor", o.short_factor, spec, kLargest); },
                    [&] { return check_divisors("scaling.long_factor", o.long_factor, spec, kLargest); },
                    [&] { return check_factor(o.factor); },
                    [&] { return check_tokens("scaling.trained_context", o.trained_context, least_context); },
                    [&] { return check_magnitude("scaling.attention_factor", o.attention_factor); },
                    [&] { return check_magnitude("scaling.short_mscale", o.short_mscale); },
                    [&] { return check_magnitude("scaling.long_mscale", o.long_mscale); },
                    [&] { return check_enum("scaling.policy", o.policy, LongRopePolicy::kLong); });
  }

  MaybeError operator()(const Llama3Options& o) const {
    return first_of([&] { return check_factor(o.factor); },
                    [&] { return check_above("scaling.low_freq_factor", o.low_freq_factor, 0.0, kLargestFactor); },
                    [&] {
                      return check_at_least("scaling.high_freq_factor", o.high_freq_factor, o.low_freq_factor,
                                            kLargestFactor);
                    },
                    [&] { return check_tokens("scaling.trained_context", o.trained_context); });
  }

  MaybeError operator()(const ProportionalOptions& o) const {
    return first_of([&] { return check_above("scaling.fraction", o.fraction, 0.0, 1.0); },
                    [&] { return check_factor(o.factor); },
                    [&]() -> MaybeError {
                      if (spec.rotary_dim == spec.head_dim) return std::nullopt;
                      return invalid("rotary_dim",
                                     "all " + std::to_string(spec.head_dim) + " channels of the head for proportional",
                                     std::to_string(spec.rotary_dim));
                    },
                    [&]() -> MaybeError {
                      if (ladder_dim(spec) == spec.head_dim) return std::nullopt;
                      return invalid("frequency_dim", "0 or " + std::to_string(spec.head_dim) + " for proportional",
                                     std::to_string(spec.frequency_dim));
                    });
  }

  MaybeError operator()(const DivisorOptions& o) const {
    return first_of([&] { return check_divisors("scaling.divisors", o.divisors, spec, kInfinity); },
                    [&] { return check_factor(o.factor); },
                    [&] { return check_magnitude("scaling.attention_factor", o.attention_factor); });
  }
};

MaybeError check_channels(const RotarySpec& spec) {
  if (auto error = check_whole("head_dim", spec.head_dim, 2, kLargestHead)) return error;
  if (auto error = check_whole("rotary_offset", spec.rotary_offset, 0, spec.head_dim - 2)) return error;
  const int most = spec.head_dim - spec.rotary_offset;
  if (spec.rotary_dim >= 2 && spec.rotary_dim <= most && spec.rotary_dim % 2 == 0) return std::nullopt;
  return invalid("rotary_dim", "an even number in [2, " + std::to_string(most) + "]", std::to_string(spec.rotary_dim));
}

MaybeError check_layout(const RotarySpec& spec) {
  if (spec.layout == PairLayout::kHalf || spec.layout == PairLayout::kInterleaved) return std::nullopt;
  return invalid("layout", "half or interleaved", std::string(name_of(spec.layout)));
}

// Every pair's rung is one of the ceil(d / 2) that a ladder of d channels has. (transformers makes ladders of odd d for
// odd partial widths; they have a rung more than d / 2.)
MaybeError check_rungs(const RotarySpec& spec) {
  if (auto error = check_whole("frequency_dim", spec.frequency_dim, 0, kLargestHead)) return error;
  const int rungs = (ladder_dim(spec) + 1) / 2;
  if (spec.rung_of_pair.empty()) {
    if (spec.pairs() <= rungs) return std::nullopt;
    return invalid("frequency_dim",
                   "at least " + std::to_string(2 * spec.pairs() - 1) + " for " + std::to_string(spec.pairs()) +
                       " pairs on rungs of their own",
                   std::to_string(spec.frequency_dim));
  }
  if (auto error = check_size("rung_of_pair", spec.rung_of_pair.size(), spec)) return error;
  for (std::size_t j = 0; j < spec.rung_of_pair.size(); ++j)
    if (auto error = check_whole(at("rung_of_pair", j), spec.rung_of_pair[j], 0, rungs - 1)) return error;
  return std::nullopt;
}

MaybeError check_per_pair(const RotarySpec& spec) {
  if (!spec.axis_of_pair.empty())
    if (auto error = check_size("axis_of_pair", spec.axis_of_pair.size(), spec)) return error;
  if (!spec.frequency_multipliers.empty())
    if (auto error = check_size("frequency_multipliers", spec.frequency_multipliers.size(), spec)) return error;
  for (std::size_t j = 0; j < spec.frequency_multipliers.size(); ++j) {
    const double multiplier = spec.frequency_multipliers[j];
    if (!(std::abs(multiplier) <= kLargestMultiplier))
      return invalid(at("frequency_multipliers", j), "a number in [-65536, 65536]", shown(multiplier));
  }
  return std::nullopt;
}

MaybeError check_temperature(const RotarySpec& spec) {
  if (!spec.query_temperature) return std::nullopt;
  const QueryTemperature& t = *spec.query_temperature;
  return first_of([&] { return check_magnitude("query_temperature.beta", t.beta); },
                  [&] { return check_tokens("query_temperature.context", t.context); },
                  [&] { return check_tokens("query_temperature.offset", t.offset, 0); });
}

}  // namespace

int RotarySpec::axes() const noexcept {
  if (axis_of_pair.empty()) return 1;
  return 1 + *std::max_element(axis_of_pair.begin(), axis_of_pair.end());
}

std::optional<Error> validate(const RotarySpec& spec) {
  return first_of(
      [&] { return check_channels(spec); }, [&] { return check_above("theta", spec.theta, 1.0, kLargestTheta); },
      [&] { return check_layout(spec); }, [&] { return check_enum("numerics", spec.numerics, Numerics::kFp32); },
      [&] { return check_rungs(spec); }, [&] { return check_per_pair(spec); },
      [&] { return check_above("softmax_scale_multiplier", spec.softmax_scale_multiplier, 0.0, kLargestMagnitude); },
      [&] { return check_temperature(spec); }, [&] { return std::visit(ScalingCheck{spec}, spec.scaling); });
}

}  // namespace ropewalk
