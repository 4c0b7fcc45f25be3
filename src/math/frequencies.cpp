#include <ropewalk/frequencies.hpp>

#include <utility>
#include <variant>

#include "math/real.hpp"
#include "math/scaling/scaling.hpp"

namespace ropewalk {
namespace {

math::Ladder ladder_of(const RotarySpec& spec) {
  math::Ladder ladder{.theta = spec.theta,
                      .dim = spec.frequency_dim > 0 ? spec.frequency_dim : spec.rotary_dim,
                      .rungs = spec.rung_of_pair};
  if (ladder.rungs.empty())
    for (int j = 0; j < spec.pairs(); ++j) ladder.rungs.push_back(j);
  return ladder;
}

template <class T>
math::Scaled<T> scaled(const RotarySpec& spec, std::int64_t running_length) {
  const math::Ladder ladder = ladder_of(spec);
  auto result =
      std::visit([&](const auto& options) { return math::scaled<T>(ladder, options, running_length); }, spec.scaling);
  for (std::size_t j = 0; j < spec.frequency_multipliers.size(); ++j)
    result.inv_freq[j] = result.inv_freq[j] * T(math::Setting<T>(spec.frequency_multipliers[j]));
  return result;
}

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
  if (spec.numerics == Numerics::kFp32) {
    auto fp32 = scaled<float>(spec, running_length);
    take_factors(fp32);
    result.inv_freq.assign(fp32.inv_freq.begin(), fp32.inv_freq.end());
    result.inv_freq_fp32 = std::move(fp32.inv_freq);
  } else {
    const auto exact = scaled<math::Real>(spec, running_length);
    take_factors(exact);
    for (const math::Real inv_freq : exact.inv_freq) {
      result.inv_freq.push_back(math::to_double(inv_freq));
      result.turns_per_token.push_back(math::to_turns(inv_freq));
    }
  }
  return result;
}

}  // namespace ropewalk
