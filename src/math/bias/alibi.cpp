// ALiBi's slopes.
#include <ropewalk/bias.hpp>

#include <bit>
#include <cstdint>
#include <string>

#include "math/real.hpp"
#include "math/text.hpp"

namespace ropewalk {

Result<std::vector<double>> alibi_slopes(int heads, double bias_max) {
  if (heads < 1 || heads > 65536)
    return Error{Code::kInvalid, "heads", "want a number in [1, 65536], got " + std::to_string(heads)};
  if (!(bias_max >= 0.0 && bias_max <= 1000.0))
    return Error{Code::kInvalid, "bias_max", "want a number in [0, 1000], got " + math::shown(bias_max)};
  const int whole = static_cast<int>(std::bit_floor(static_cast<unsigned>(heads)));
  const auto slope = [&](int k, int of) {
    return to_double(exp(-(math::Real(bias_max) * math::Real(k) / math::Real(of)) * math::kLn2));
  };
  std::vector<double> slopes;
  for (int k = 1; k <= whole; ++k) slopes.push_back(slope(k, whole));
  for (int k = 1; static_cast<int>(slopes.size()) < heads; k += 2) slopes.push_back(slope(k, 2 * whole));
  return slopes;
}

}  // namespace ropewalk
