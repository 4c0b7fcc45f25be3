// Where T5's buckets begin, exactly.
#include <ropewalk/bias.hpp>

#include <algorithm>
#include <string>

#include "math/log_steps.hpp"

namespace ropewalk {

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
    const auto reaches = [&](std::int64_t a) {
      return math::compare_log_steps(a, exact, max_distance, logarithmic, step) >= 0;
    };
    if (step > 1 && reaches(starts.back())) {
      starts.push_back(starts.back());
      continue;
    }
    // max_distance reaches every step.
    starts.push_back(math::first_that(std::max<std::int64_t>(starts.back() - 1, exact), max_distance, reaches));
  }
  return starts;
}

}  // namespace ropewalk
