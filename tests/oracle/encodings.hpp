#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quad.hpp"

// What is added to embeddings and to scores, as the papers write it, in 113 bits. Shares nothing with the library.

namespace oracle {

inline Quad abs_of(Quad x) { return x < 0 ? -x : x; }
inline Quad larger(Quad a, Quad b) { return a < b ? b : a; }

/// Sine and cosine of pair k of `half` at a position; the slowest turns by 1 / theta if `to_the_end`.
inline Quad sinusoid_phase(Quad position, Quad theta, int k, int half, bool to_the_end) {
  const int steps = to_the_end ? (half > 1 ? half - 1 : 1) : half;
  return position * powq(theta, -Quad(k) / steps);
}

/// arXiv 2108.12409, section 3 and the listing of its code.
inline std::vector<Quad> alibi_slopes(int heads, Quad bias_max = 8) {
  int power = 1;
  while (2 * power <= heads) power *= 2;
  std::vector<Quad> slopes;
  for (int k = 1; k <= power; ++k) slopes.push_back(powq(2, -bias_max * k / power));
  for (int k = 0; static_cast<int>(slopes.size()) < heads; k += 2)
    slopes.push_back(powq(2, -bias_max * (k + 1) / (2 * power)));
  return slopes;
}

/// Bucket of a distance >= 0 on one side by whole numbers alone: the largest step whose power is reached. Only for
/// parameters whose powers fit 127 bits.
inline int t5_bucket(std::int64_t a, int of_side, std::int64_t max_distance) {
  const int exact = of_side / 2, steps = of_side - exact;
  if (a < exact) return static_cast<int>(a);
  if (a >= max_distance) return of_side - 1;
  __extension__ using Wide = unsigned __int128;
  const auto power = [](Wide base, int n) {
    Wide product = 1;
    for (int i = 0; i < n; ++i) product *= base;
    return product;
  };
  int step = 0;  // a^steps exact^step >= max^step exact^steps, a factor of exact^min(step, steps) taken out
  while (step + 1 < steps &&
         power(Wide(a), steps) >= power(Wide(max_distance), step + 1) * power(Wide(exact), steps - step - 1))
    ++step;
  return exact + step;
}

inline Quad kerple_log(Quad r1, Quad r2, Quad n) { return -r1 * logq(1 + r2 * n); }
inline Quad kerple_power(Quad r1, Quad r2, Quad n) { return n == 0 ? 0 : -r1 * powq(n, r2); }

inline Quad sandwich(Quad n, int dim, Quad theta, int first_term) {
  Quad sum = 0;
  for (int k = first_term; k < first_term + dim / 2; ++k) sum += cosq(n * powq(theta, -2 * Quad(k) / dim));
  return sum;
}

/// A network of one hidden layer with relu: [inputs] -> [width] -> [outputs].
struct Network {
  std::vector<Quad> w1, b1, w2, b2;
  Quad operator()(const std::vector<Quad>& x, std::size_t output) const {
    const std::size_t width = b1.size();
    Quad y = b2.empty() ? Quad(0) : b2[output];
    for (std::size_t k = 0; k < width; ++k) {
      Quad hidden = b1[k];
      for (std::size_t i = 0; i < x.size(); ++i) hidden += w1[k * x.size() + i] * x[i];
      if (hidden > 0) y += w2[output * width + k] * hidden;
    }
    return y;
  }
};

/// arXiv 2310.04418, equation 9 with the listing's epsilon.
inline Quad fire_input(Quad c, Quad threshold, Quad epsilon, Quad query, Quad n) {
  const auto psi = [&](Quad x) { return logq(abs_of(c) * x + 1); };
  return psi(larger(n, 0)) / (psi(larger(query, threshold)) + epsilon);
}

/// arXiv 2111.09883, equation 4 on displacements of which a whole window counts as 8.
inline Quad log_coordinate(Quad displacement, Quad pretrained) {
  const Quad u = 8 * displacement / (pretrained - 1);
  const Quad y = log2q(abs_of(u) + 1) / log2q(8);
  return u < 0 ? -y : y;
}
inline Quad sixteen_sigmoids(Quad x) { return 16 / (1 + expq(-x)); }

}  // namespace oracle
