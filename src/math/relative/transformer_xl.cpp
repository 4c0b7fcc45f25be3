// Transformer-XL's rows: a matrix applied to sinusoids of distances.
#include <ropewalk/phase.hpp>
#include <ropewalk/table.hpp>

#include "math/real.hpp"
#include "math/relative/prepared.hpp"

namespace ropewalk::math {

ProjectedSinusoids::ProjectedSinusoids(const TransformerXlRelative& options)
    : first(options.least_distance),
      rows(options.most_distance - options.least_distance + 1),
      width(std::int64_t{options.heads} * options.head_dim),
      dim(options.model_dim),
      order(options.order) {
  for (std::int64_t k = 0; k < dim / 2; ++k)
    turns_per_token.push_back(to_turns(pow(Real(options.theta), -(Real(2 * k) / Real(dim)))));
}

void ProjectedSinusoids::sinusoid(std::int64_t r, std::vector<double>& out) const {
  const std::size_t half = turns_per_token.size();
  std::vector<Turns> turns(half);
  std::vector<double> cos(half), sin(half);
  for (std::size_t k = 0; k < half; ++k) turns[k] = phase(first + r, turns_per_token[k]);
  fill_cos_sin(turns, 1.0, cos.data(), sin.data());
  const bool cos_first = order == SinusoidOrder::kInterleavedCosFirst || order == SinusoidOrder::kConcatenatedCosFirst;
  const bool interleaved = order == SinusoidOrder::kInterleaved || order == SinusoidOrder::kInterleavedCosFirst;
  const std::vector<double>&before = cos_first ? cos : sin, &behind = cos_first ? sin : cos;
  for (std::size_t k = 0; k < half; ++k) {
    out[interleaved ? 2 * k : k] = before[k];
    out[interleaved ? 2 * k + 1 : half + k] = behind[k];
  }
}

std::vector<float> ProjectedSinusoids::table(const std::vector<float>& projection) const {
  const auto channels = index(width), inputs = index(dim);
  std::vector<double> columns(inputs * channels);  // the matrix, transposed
  for (std::size_t o = 0; o < channels; ++o)
    for (std::size_t m = 0; m < inputs; ++m)
      columns[m * channels + o] = static_cast<double>(projection[o * inputs + m]);
  std::vector<float> out;
  out.reserve(index(rows) * channels);
  std::vector<double> sinusoid_of_row(inputs), sums(channels);
  for (std::int64_t r = 0; r < rows; ++r) {
    sinusoid(r, sinusoid_of_row);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::size_t m = 0; m < inputs; ++m) {
      const double weight = sinusoid_of_row[m];
      const double* const column = columns.data() + m * channels;
      for (std::size_t o = 0; o < channels; ++o) sums[o] += weight * column[o];
    }
    for (const double sum : sums) out.push_back(static_cast<float>(sum));
  }
  return out;
}

void ProjectedSinusoids::add_gradient(const std::vector<double>& d_table, double* d_projection) const {
  const auto channels = index(width), inputs = index(dim);
  std::vector<double> sinusoid_of_row(inputs);
  for (std::int64_t r = 0; r < rows; ++r) {
    const double* const d_row = d_table.data() + index(r) * channels;
    if (std::all_of(d_row, d_row + channels, [](double d) { return d == 0.0; })) continue;
    sinusoid(r, sinusoid_of_row);
    for (std::size_t o = 0; o < channels; ++o) {
      if (d_row[o] == 0.0) continue;
      double* const out = d_projection + o * inputs;
      for (std::size_t m = 0; m < inputs; ++m) out[m] += d_row[o] * sinusoid_of_row[m];
    }
  }
}

}  // namespace ropewalk::math
