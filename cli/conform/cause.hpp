#pragma once

#include "cli/conform/golden.hpp"

#include <optional>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// How near an answer has to come (docs/conform.md has the bounds).
enum class Tolerance { kExact, kFp32 };

/// An answer: [tokens][heads][head_dim], not a number where it was none.
using Answer = std::vector<std::vector<std::vector<double>>>;

/// Where an answer is wrong.
struct Finding {
  bool wrong = false;
  std::size_t tokens_wrong = 0;
  double first_position = 0;         ///< of the wrong tokens, the one nearest to 0 on its farthest axis
  std::optional<double> last_right;  ///< of the right tokens nearer to 0 than that, the farthest; unset: none is
  std::vector<int> pairs;            ///< rising; empty for an encoding that is given by results alone
  std::vector<int> channels;         ///< rising
  double largest_error = 0;          ///< in one channel; infinity for what is no number
  double largest_error_position = 0;
  std::string cause;  ///< a guess, or empty
};

/// What a channel may be off by: [tokens][head_dim], for head 0.
std::vector<std::vector<double>> bounds_of(const GoldenCase& asked, Tolerance tolerance);

/// Holds an answer against the suite. `siblings` are the other encodings of the same family, whose frequencies may have
/// been taken instead.
Finding compare(const GoldenCase& asked, const Answer& answer, Tolerance tolerance,
                const std::vector<const GoldenEncoding*>& siblings);

}  // namespace ropewalk::cli
