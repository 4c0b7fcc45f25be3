// Sandwich: sums of cosines of the distance.
#include <ropewalk/table.hpp>

#include <array>

#include "math/bias/kinds.hpp"
#include "math/real.hpp"

namespace ropewalk::math {

Sandwich::Sandwich(const SandwichBias& options) : heads_(options.heads), subtrahend_(options.subtrahend) {
  for (int k = options.first_term; k < options.first_term + options.dim / 2; ++k)
    turns_per_token_.push_back(to_turns(pow(Real(options.theta), -(Real(2 * k) / Real(options.dim)))));
}

double Sandwich::sum_of_cosines(std::int64_t n) const noexcept {
  constexpr std::size_t kChunk = 64;
  std::array<Turns, kChunk> turns{};
  std::array<double, kChunk> cos{}, sin{};
  const Turns length = n < 0 ? Turns{0} - static_cast<Turns>(n) : static_cast<Turns>(n);
  double sum = 0.0;
  for (std::size_t first = 0; first < turns_per_token_.size(); first += kChunk) {
    const std::size_t count = std::min(kChunk, turns_per_token_.size() - first);
    for (std::size_t k = 0; k < count; ++k) turns[k] = length * turns_per_token_[first + k];
    fill_cos_sin(std::span(turns).first(count), 1.0, cos.data(), sin.data());
    for (std::size_t k = 0; k < count; ++k) sum += cos[k];
  }
  return sum;
}

}  // namespace ropewalk::math
