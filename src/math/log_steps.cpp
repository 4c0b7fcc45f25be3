#include "math/log_steps.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "math/real.hpp"

namespace ropewalk::math {
namespace {

/// A whole number of any size, only what comparing products of powers needs.
class Whole {
 public:
  explicit Whole(std::uint64_t value)
      : words_{static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)} {
    trim();
  }
  void multiply(std::uint32_t factor) {
    std::uint64_t carry = 0;
    for (std::uint32_t& word : words_) {
      carry += std::uint64_t{word} * factor;
      word = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) words_.push_back(static_cast<std::uint32_t>(carry));
    trim();
  }
  bool operator>=(const Whole& other) const {
    if (words_.size() != other.words_.size()) return words_.size() > other.words_.size();
    return !std::lexicographical_compare(words_.rbegin(), words_.rend(), other.words_.rbegin(), other.words_.rend());
  }

 private:
  void trim() {
    while (words_.size() > 1 && words_.back() == 0) words_.pop_back();
  }
  std::vector<std::uint32_t> words_;  // the lowest first
};

}  // namespace

int compare_log_steps(std::int64_t a, std::int64_t from, std::int64_t to, int parts, int step) {
  // As a^parts * from^step against to^step * from^parts. Logarithms of 104 bits decide but where they are too near.
  const auto log_ratio = [&](std::int64_t x) { return log(Real(x) / Real(from)); };
  const Real left = Real(parts) * log_ratio(a), right = Real(step) * log_ratio(to);
  const double ahead = to_double(left - right);
  if (std::abs(ahead) > 1e-20 * (1.0 + std::abs(to_double(right)))) return ahead > 0.0 ? 1 : -1;
  const auto word = [](std::int64_t x) { return static_cast<std::uint32_t>(x); };
  Whole above(1), below(1);
  for (int i = 0; i < parts; ++i) above.multiply(word(a)), below.multiply(word(from));
  for (int i = 0; i < step; ++i) above.multiply(word(from)), below.multiply(word(to));
  if (!(above >= below)) return -1;
  return below >= above ? 0 : 1;
}

}  // namespace ropewalk::math
