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
constexpr int kMostTables = 65536;            // of heads with frequencies of their own
constexpr int kMostScatteredPairs = 1024;     // of encodings that need a whole head at once
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

MaybeError check_product(const std::string& path, std::size_t size, std::int64_t a, std::int64_t b, std::int64_t c) {
  if (static_cast<std::int64_t>(size) == a * b * c) return std::nullopt;
  return invalid(path, std::to_string(a) + " x " + std::to_string(b) + " x " + std::to_string(c) + " entries",
                 std::to_string(size));
}

MaybeError check_each_within(const std::string& path, const std::vector<double>& values, double most) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!(std::abs(values[i]) <= most))
      return invalid(at(path, i), "a number in [-" + shown(most) + ", " + shown(most) + "]", shown(values[i]));
  return std::nullopt;
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
  static_cast<void>(((error = checks(), !error) && ...));
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
                    [&] { return check_factor(o.factor); });
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
  if (spec.given) return std::nullopt;
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
  return check_each_within("frequency_multipliers", spec.frequency_multipliers, kLargestMultiplier);
}

// The base of a ladder, or nothing that speaks of one.
MaybeError check_base(const RotarySpec& spec) {
  if (!spec.given) return check_above("theta", spec.theta, 1.0, kLargestTheta);
  const auto want_none = [](const char* path, bool none, std::string got) -> MaybeError {
    if (none) return std::nullopt;
    return invalid(path, "none where frequencies are given", std::move(got));
  };
  const GivenFrequencies& given = *spec.given;
  return first_of(
      [&] { return want_none("theta", spec.theta == 0.0, shown(spec.theta)); },
      [&] {
        return want_none("scaling", std::holds_alternative<NoScaling>(spec.scaling),
                         std::string(name_of(spec.scaling)));
      },
      [&] { return want_none("frequency_dim", spec.frequency_dim == 0, std::to_string(spec.frequency_dim)); },
      [&] { return want_none("rung_of_pair", spec.rung_of_pair.empty(), "a list"); },
      [&] { return want_none("frequency_multipliers", spec.frequency_multipliers.empty(), "a list"); },
      [&] { return want_none("second", !spec.second, "one"); },
      [&] { return check_whole("given.heads", given.heads, 1, kMostTables); },
      [&] { return check_whole("given.axes", given.axes, 1, 256); },
      [&] {
        return want_none("axis_of_pair", given.axes == 1 || spec.axis_of_pair.empty(), "a list beside given.axes > 1");
      },
      [&] { return check_product("given.inv_freq", given.inv_freq.size(), given.heads, given.axes, spec.pairs()); },
      [&] { return check_each_within("given.inv_freq", given.inv_freq, kLargestMagnitude); });
}

MaybeError check_blocks(const RotarySpec& spec) {
  if (spec.pair_blocks.empty()) return std::nullopt;
  std::int64_t sum = 0;
  for (std::size_t b = 0; b < spec.pair_blocks.size(); ++b) {
    if (auto error = check_whole(at("pair_blocks", b), spec.pair_blocks[b], 1, spec.pairs())) return error;
    sum += spec.pair_blocks[b];
  }
  if (sum == spec.pairs()) return std::nullopt;
  return invalid("pair_blocks", "numbers that add up to " + std::to_string(spec.pairs()) + " pairs",
                 std::to_string(sum));
}

MaybeError check_few_pairs(const char* path, const RotarySpec& spec) {
  if (spec.pairs() <= kMostScatteredPairs) return std::nullopt;
  return invalid(path, "at most " + std::to_string(kMostScatteredPairs) + " pairs", std::to_string(spec.pairs()));
}

MaybeError check_output_layout(const RotarySpec& spec) {
  if (spec.output_layout == PairLayout::kUnset || spec.output_layout == spec.layout) return std::nullopt;
  if (spec.output_layout == PairLayout::kHalf || spec.output_layout == PairLayout::kInterleaved)
    return check_few_pairs("output_layout", spec);
  return invalid("output_layout", "half, interleaved or unset", std::to_string(static_cast<int>(spec.output_layout)));
}

MaybeError check_second(const RotarySpec& spec) {
  if (!spec.second) return std::nullopt;
  const SecondAngle& second = *spec.second;
  const int rungs = (ladder_dim(spec) + 1) / 2;
  if (auto error = check_few_pairs("second", spec)) return error;
  if (spec.fourier) return invalid("second", "none beside fourier", "one");
  if (!second.axis_of_pair.empty())
    if (auto error = check_size("second.axis_of_pair", second.axis_of_pair.size(), spec)) return error;
  if (second.rung_of_pair.empty()) return std::nullopt;
  if (auto error = check_size("second.rung_of_pair", second.rung_of_pair.size(), spec)) return error;
  if (!spec.frequency_multipliers.empty())
    return invalid("frequency_multipliers", "none beside second.rung_of_pair", "a list");
  for (std::size_t j = 0; j < second.rung_of_pair.size(); ++j)
    if (auto error = check_whole(at("second.rung_of_pair", j), second.rung_of_pair[j], 0, rungs - 1)) return error;
  return std::nullopt;
}

MaybeError check_xpos(const RotarySpec& spec) {
  if (!spec.xpos) return std::nullopt;
  return first_of([&] { return check_at_least("xpos.scale_base", spec.xpos->scale_base, 1.0, kLargestFactor); },
                  [&] { return check_at_least("xpos.gamma", spec.xpos->gamma, 1e-3, kLargestMagnitude); });
}

MaybeError check_fourier(const RotarySpec& spec) {
  if (!spec.fourier) return std::nullopt;
  const FourierMix& mix = *spec.fourier;
  return first_of(
      [&] { return check_few_pairs("fourier", spec); },
      [&] { return check_whole("fourier.heads", mix.heads, 1, kMostTables); },
      [&]() -> MaybeError {
        if (!spec.given || spec.given->heads == 1 || spec.given->heads == mix.heads) return std::nullopt;
        return invalid("fourier.heads", "as many as given.heads (" + std::to_string(spec.given->heads) + ")",
                       std::to_string(mix.heads));
      },
      [&] { return check_whole("fourier.tones", mix.tones, 1, spec.pairs()); },
      [&] { return check_whole("fourier.outputs", mix.outputs, 1, spec.pairs()); },
      [&] { return check_product("fourier.cos_mix", mix.cos_mix.size(), mix.heads, mix.tones, mix.outputs); },
      [&] { return check_product("fourier.sin_mix", mix.sin_mix.size(), mix.heads, mix.tones, mix.outputs); },
      [&] { return check_each_within("fourier.cos_mix", mix.cos_mix, kLargestMagnitude); },
      [&] { return check_each_within("fourier.sin_mix", mix.sin_mix, kLargestMagnitude); });
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
  int axes = given ? given->axes : 1;
  const auto reach = [&](const std::vector<std::uint8_t>& list) {
    if (!list.empty()) axes = std::max(axes, 1 + *std::max_element(list.begin(), list.end()));
  };
  reach(axis_of_pair);
  if (second) reach(second->axis_of_pair);
  return axes;
}

namespace {

ChannelPair channels_in(const RotarySpec& spec, PairLayout layout, int pair) noexcept {
  int first = 0, pairs = spec.pairs();  // of the block that holds it
  for (const int block : spec.pair_blocks) {
    pairs = block;
    if (pair < first + block) break;
    first += block;
  }
  const ChannelPair inside = channels_of(layout, pair - first, pairs);
  const int begin = spec.rotary_offset + 2 * first;
  return {begin + inside.first, begin + inside.second};
}

}  // namespace

ChannelPair RotarySpec::channels(int pair) const noexcept { return channels_in(*this, layout, pair); }

ChannelPair RotarySpec::output_channels(int pair) const noexcept {
  return channels_in(*this, output_layout == PairLayout::kUnset ? layout : output_layout, pair);
}

std::optional<Error> validate(const RotarySpec& spec) {
  return first_of(
      [&] { return check_channels(spec); }, [&] { return check_base(spec); }, [&] { return check_layout(spec); },
      [&] { return check_enum("numerics", spec.numerics, Numerics::kFp32); }, [&] { return check_rungs(spec); },
      [&] { return check_per_pair(spec); },
      [&] { return check_above("position_scale", spec.position_scale, 0.0, kLargestMagnitude); },
      [&] { return check_blocks(spec); }, [&] { return check_output_layout(spec); }, [&] { return check_second(spec); },
      [&] { return check_xpos(spec); }, [&] { return check_fourier(spec); },
      [&] { return check_above("softmax_scale_multiplier", spec.softmax_scale_multiplier, 0.0, kLargestMagnitude); },
      [&] { return check_temperature(spec); }, [&] { return std::visit(ScalingCheck{spec}, spec.scaling); });
}

}  // namespace ropewalk
