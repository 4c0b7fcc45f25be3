#pragma once

namespace ropewalk::cpu {

/// What cos and sin are multiplied by, held to twice the precision of a float so that the product is rounded once.
struct Gain {
  float high = 1.0f;        ///< the factor rounded to float
  float low = 0.0f;         ///< what that rounding left
  bool turns_back = false;  ///< the sine changes its sign: turn by -phase

  static Gain of(double factor, bool turns_back) noexcept {
    const auto high = static_cast<float>(factor);
    return {high, static_cast<float>(factor - static_cast<double>(high)), turns_back};
  }
};

}  // namespace ropewalk::cpu
