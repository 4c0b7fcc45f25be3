#pragma once

#include "cli/conform/turning.hpp"

#include <functional>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// Of which sort a mistake is. Two of one group are not combined, and an order of two is that of their groups.
enum class Group { kPairing, kSpeed, kWidth, kGain, kScale, kAxes, kPlace, kSense, kArithmetic, kPrecision, kRounding };

/// One usual mistake: its words, and what it does to an encoding. False if it makes no difference there.
struct Mistake {
  std::string words;
  Group group;
  std::function<bool(Turning&)> make;
  bool alone = false;  ///< not combined with any: one of many of its sort
};

/// Those that can be made with a case, in the order in which they are tried. `siblings` are the other encodings of the
/// family. The case has to outlive them.
std::vector<Mistake> usual_mistakes(const GoldenCase& asked, const std::vector<const GoldenEncoding*>& siblings);

}  // namespace ropewalk::cli
