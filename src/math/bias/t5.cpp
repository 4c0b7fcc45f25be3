// Where T5's buckets begin, exactly.
#include <ropewalk/bias.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "math/real.hpp"

namespace ropewalk {
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

// ln(a / exact) / ln(max / exact) * logarithmic >= step, for whole numbers a > exact: as
// a^logarithmic * exact^step >= max^step * exact^logarithmic. Logarithms of 104 bits decide but where they are too
// near.
bool reaches(std::int64_t a, std::int64_t exact, std::int64_t max, int logarithmic, int step) {
  const auto log_ratio = [&](std::int64_t x) { return log(math::Real(x) / math::Real(exact)); };
  const math::Real left = math::Real(logarithmic) * log_ratio(a), right = math::Real(step) * log_ratio(max);
  const double ahead = to_double(left - right);
  if (std::abs(ahead) > 1e-20 * (1.0 + std::abs(to_double(right)))) return ahead > 0.0;
  const auto word = [](std::int64_t x) { return static_cast<std::uint32_t>(x); };
  Whole above(1), below(1);
  for (int i = 0; i < logarithmic; ++i) above.multiply(word(a)), below.multiply(word(exact));
  for (int i = 0; i < step; ++i) above.multiply(word(exact)), below.multiply(word(max));
  return above >= below;
}

}  // namespace

Result<std::vector<std::int64_t>> t5_bucket_starts(int num_buckets, std::int64_t max_distance, bool causal) {
  const int least = causal ? 2 : 4;
  if (num_buckets < least || num_buckets > 4096)
    return Error{Code::kInvalid, "num_buckets",
                 "want a number in [" + std::to_string(least) + ", 4096], got " + std::to_string(num_buckets)};
  const int of_side = causal ? num_buckets : num_buckets / 2, exact = of_side / 2, logarithmic = of_side - exact;
  if (max_distance <= exact || max_distance > (std::int64_t{1} << 31))
    return Error{Code::kInvalid, "max_distance",
                 "want a number in [" + std::to_string(exact + 1) + ", 2^31], got " + std::to_string(max_distance)};
  std::vector<std::int64_t> starts;
  for (std::int64_t a = 0; a <= exact; ++a) starts.push_back(a);
  for (int step = 1; step < logarithmic; ++step) {
    // The smallest a that reaches the step; max_distance reaches every one.
    std::int64_t out = starts.back() - 1, in = max_distance;
    if (out < exact) out = exact;
    if (step > 1 && reaches(starts.back(), exact, max_distance, logarithmic, step)) {
      starts.push_back(starts.back());
      continue;
    }
    while (in - out > 1) {
      const std::int64_t middle = out + (in - out) / 2;
      (reaches(middle, exact, max_distance, logarithmic, step) ? in : out) = middle;
    }
    starts.push_back(in);
  }
  return starts;
}

}  // namespace ropewalk
