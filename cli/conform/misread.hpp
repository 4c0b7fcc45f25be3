#pragma once

#include "cli/conform/golden.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// What an encoding becomes where a key of its config is not heeded.
struct Misread {
  std::string words;
  std::vector<int> first, second;  ///< [pairs]
  std::vector<std::uint8_t> axis;  ///< [pairs] or empty
  std::vector<double> inv_freq;    ///< [pairs]
  double attention_factor = 1.0;
};

/// This library's reading of the config without each of the keys that it uses, and with the default theta, where that
/// changes the encoding. None where its reading of the config itself is another than the suite's, and none of GGUF.
std::vector<Misread> misread_configs(const GoldenCase& asked);

}  // namespace ropewalk::cli
