// Where DeBERTa's buckets begin, exactly.
#include <ropewalk/relative.hpp>

#include <algorithm>
#include <string>

#include "math/log_steps.hpp"

namespace ropewalk {

Result<std::vector<std::int64_t>> deberta_bucket_starts(std::int64_t span, std::int64_t max_distance) {
  if (span < 8 || span > 4096)
    return Error{Code::kInvalid, "span", "want a number in [8, 4096], got " + std::to_string(span)};
  const std::int64_t mid = span / 2;
  if (max_distance < mid + 2 || max_distance > (std::int64_t{1} << 20))
    return Error{Code::kInvalid, "max_distance",
                 "want a number in [" + std::to_string(mid + 2) + ", 2^20], got " + std::to_string(max_distance)};
  std::vector<std::int64_t> starts;
  for (std::int64_t a = 0; a <= mid; ++a) starts.push_back(a);
  for (std::int64_t bucket = mid + 1; bucket <= span; ++bucket) {
    // The first distance whose logarithm is above bucket - mid - 1, for the ceiling is taken. It may be one step
    // behind max_distance - 1, yet with 3 steps or more to there it is below 2^31.
    const auto reaches = [&](std::int64_t a) {
      return math::compare_log_steps(a, mid, max_distance - 1, static_cast<int>(mid - 1),
                                     static_cast<int>(bucket - mid - 1)) > 0;
    };
    std::int64_t out = std::max(starts.back() - 1, mid), in = out + 1;
    while (!reaches(in)) out = in, in *= 2;
    starts.push_back(math::first_that(out, in, reaches));
  }
  return starts;
}

}  // namespace ropewalk
