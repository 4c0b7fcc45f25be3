#pragma once

#include <ropewalk/absolute.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace ropewalk::math {

/// The speeds of an axis' pairs, rounded once each from 104 bits.
struct SinusoidSpeeds {
  std::vector<double> inv_freq;
  std::vector<Turns> turns_per_token;
  std::vector<TurnsPerUnit> turns_per_unit;
};

std::optional<Error> check_spec(const SinusoidalSpec& spec);
/// Requires check_spec to have nothing to say.
SinusoidSpeeds speeds_of(const SinusoidalSpec& spec);

}  // namespace ropewalk::math
