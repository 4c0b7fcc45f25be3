// Sinusoidal embeddings: what a spec may hold, and how fast each pair turns.
#include "math/absolute/absolute.hpp"
#include "math/real.hpp"
#include "math/text.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace ropewalk::math {
namespace {

constexpr int kMostChannels = 1 << 24;

bool is_interleaved(SinusoidOrder order) noexcept {
  return order == SinusoidOrder::kInterleaved || order == SinusoidOrder::kInterleavedCosFirst;
}

}  // namespace

std::optional<Error> check_spec(const SinusoidalSpec& spec) {
  const auto invalid = [](const char* path, std::string message) {
    return std::optional<Error>(Error{Code::kInvalid, path, std::move(message)});
  };
  if (spec.axes < 1 || spec.axes > 3) return invalid("axes", "want 1, 2 or 3, got " + std::to_string(spec.axes));
  if (spec.dim < 1 || spec.dim > kMostChannels || spec.dim % spec.axes != 0)
    return invalid("dim", "want a number in [1, 2^24] that " + std::to_string(spec.axes) + " divides, got " +
                              std::to_string(spec.dim));
  if (!(spec.theta > 0.0) || !std::isfinite(spec.theta) || spec.theta > 1e30 || spec.theta < 1e-30)
    return invalid("theta", "want a number in [1e-30, 1e30], got " + shown(spec.theta));
  if (spec.order < SinusoidOrder::kInterleaved || spec.order > SinusoidOrder::kConcatenatedCosFirst)
    return invalid(
        "order", "want interleaved or concatenated, the sine or the cosine first, got " +
                     (spec.order == SinusoidOrder::kUnset ? std::string("unset")
                                                          : "number " + std::to_string(static_cast<int>(spec.order))));
  if (spec.exponent < SinusoidExponent::kPaper || spec.exponent > SinusoidExponent::kTensor2Tensor)
    return invalid("exponent", "want the paper's or tensor2tensor's, got " +
                                   (spec.exponent == SinusoidExponent::kUnset
                                        ? std::string("unset")
                                        : "number " + std::to_string(static_cast<int>(spec.exponent))));
  if (spec.sines_of_all_axes_first && is_interleaved(spec.order))
    return invalid("sines_of_all_axes_first", "want false with an interleaved order, got true");
  if (spec.sines_of_all_axes_first && spec.dim / spec.axes % 2 != 0)
    return invalid("sines_of_all_axes_first", "want false with an odd number of channels an axis, got true");
  if (spec.zero_position && spec.axes > 1)
    return invalid("zero_position", "want none with several axes, got " + std::to_string(*spec.zero_position));
  if (!std::isfinite(spec.gain) || std::abs(spec.gain) > 1e30)
    return invalid("gain", "want a number within 1e30 of 0, got " + shown(spec.gain));
  return std::nullopt;
}

SinusoidSpeeds speeds_of(const SinusoidalSpec& spec) {
  const int half = spec.dim / spec.axes / 2;
  const int steps = spec.exponent == SinusoidExponent::kPaper ? half : std::max(half - 1, 1);
  SinusoidSpeeds speeds;
  for (int k = 0; k < half; ++k) {
    const Real radians = pow(Real(spec.theta), -(Real(k) / Real(steps)));
    const Real turns = radians * kInverseTwoPi;
    speeds.inv_freq.push_back(to_double(radians));
    speeds.turns_per_token.push_back(to_turns(radians));
    speeds.turns_per_unit.push_back({turns.hi, turns.lo});
  }
  return speeds;
}

}  // namespace ropewalk::math
