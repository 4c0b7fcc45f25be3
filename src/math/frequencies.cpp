#include <ropewalk/frequencies.hpp>

#include <utility>
#include <variant>

#include "math/real.hpp"
#include "math/scaling/scaling.hpp"

namespace ropewalk {
namespace {

math::Ladder ladder_of(const RotarySpec& spec, const std::vector<int>& rungs) {
  math::Ladder ladder{
      .theta = spec.theta, .dim = spec.frequency_dim > 0 ? spec.frequency_dim : spec.rotary_dim, .rungs = rungs};
  if (ladder.rungs.empty())
    for (int j = 0; j < spec.pairs(); ++j) ladder.rungs.push_back(j);
  return ladder;
}

template <class T>
math::Scaled<T> scaled(const RotarySpec& spec, const std::vector<int>& rungs, std::int64_t running_length) {
  if (spec.given) {
    math::Scaled<T> result;
    for (const double inv_freq : spec.given->inv_freq) result.inv_freq.push_back(T(math::Setting<T>(inv_freq)));
    return result;
  }
  const math::Ladder ladder = ladder_of(spec, rungs);
  auto result =
      std::visit([&](const auto& options) { return math::scaled<T>(ladder, options, running_length); }, spec.scaling);
  for (std::size_t j = 0; j < spec.frequency_multipliers.size(); ++j)
    result.inv_freq[j] = result.inv_freq[j] * T(math::Setting<T>(spec.frequency_multipliers[j]));
  return result;
}

// The second channel's frequencies: those of its own rungs, or the first one's.
template <class T>
std::vector<T> second_of(const RotarySpec& spec, const std::vector<T>& first, std::int64_t running_length) {
  if (!spec.second) return {};
  if (spec.second->rung_of_pair.empty()) return first;
  return scaled<T>(spec, spec.second->rung_of_pair, running_length).inv_freq;
}

struct Exact {
  double position_scale;
  std::vector<double>& inv_freq;
  std::vector<std::uint64_t>& turns_per_token;
  std::vector<TurnsPerUnit>& turns_per_unit;

  void take(const std::vector<math::Real>& from) {
    for (const math::Real unscaled : from) {
      const math::Real radians = position_scale == 1.0 ? unscaled : unscaled * math::Real(position_scale);
      const math::Real turns = radians * math::kInverseTwoPi;
      inv_freq.push_back(math::to_double(radians));
      turns_per_token.push_back(math::to_turns(radians));
      turns_per_unit.push_back({turns.hi, turns.lo});
    }
  }
};

}  // namespace

Result<Frequencies> make_frequencies(const RotarySpec& spec, std::int64_t running_length) {
  if (auto error = validate(spec)) return *std::move(error);
  if (running_length < 0)
    return Error{Code::kInvalid, "running_length",
                 "want a number of tokens >= 0, got " + std::to_string(running_length)};

  Frequencies result;
  const auto take_factors = [&](const auto& from) {
    result.attention_factor = from.attention_factor;
    result.softmax_scale_multiplier = from.softmax_scale_multiplier * spec.softmax_scale_multiplier;
  };
  if (spec.xpos) result.centre = running_length / 2 + (spec.xpos->centre_above ? running_length % 2 : 0);
  if (spec.numerics == Numerics::kFp32) {
    auto fp32 = scaled<float>(spec, spec.rung_of_pair, running_length);
    take_factors(fp32);
    result.second_inv_freq_fp32 = second_of(spec, fp32.inv_freq, running_length);
    result.inv_freq_fp32 = std::move(fp32.inv_freq);
    for (const float inv_freq : result.inv_freq_fp32) result.inv_freq.push_back(double{inv_freq} * spec.position_scale);
    for (const float inv_freq : result.second_inv_freq_fp32)
      result.second_inv_freq.push_back(double{inv_freq} * spec.position_scale);
  } else {
    const auto exact = scaled<math::Real>(spec, spec.rung_of_pair, running_length);
    take_factors(exact);
    Exact{spec.position_scale, result.inv_freq, result.turns_per_token, result.turns_per_unit}.take(exact.inv_freq);
    Exact{spec.position_scale, result.second_inv_freq, result.second_turns_per_token, result.second_turns_per_unit}
        .take(second_of(spec, exact.inv_freq, running_length));
  }
  return result;
}

}  // namespace ropewalk
