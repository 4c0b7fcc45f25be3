// What the encodings that need q or k are made of, whatever their kind: products with rows of a table that the distance
// chooses, a product of each key with a vector, and CoPE.
#pragma once

#include <ropewalk/relative.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "math/bias/kinds.hpp"

namespace ropewalk::math {

/// Which row of a table a distance has: clip(bucket(+-n) + center, 0, rows - 1).
struct RowOfDistance {
  bool negated = false;  ///< j - i instead of i - j
  std::int64_t center = 0;
  std::int64_t rows = 0;
  std::vector<std::int64_t> starts;  ///< smallest |distance| of each bucket; empty: bucket(n) = n
  std::vector<std::int16_t> near;    ///< bucket of each |distance| so near that it is asked for often
  bool by_single_steps = true;       ///< neighbouring distances are in the same or neighbouring rows

  std::int64_t operator()(std::int64_t n) const noexcept {
    std::int64_t m = negated ? distance(0, n) : n;
    if (!starts.empty()) {
      const std::int64_t length = m < 0 ? distance(0, m) : m;
      const std::int64_t bucket =
          length < static_cast<std::int64_t>(near.size()) ? near[index(length)] : bucket_of(length);
      m = m < 0 ? -bucket : bucket;
    }
    return std::clamp(distance(m, -center), std::int64_t{0}, rows - 1);
  }
  std::int64_t bucket_of(std::int64_t length) const noexcept {
    return std::upper_bound(starts.begin(), starts.end(), length) - starts.begin() - 1;
  }
};

/// scale (x + added) . table[row], x a query or a key.
struct TableTerm {
  bool of_keys = false;
  RowOfDistance row_of;
  std::vector<float> table;  // rows of head_dim
  std::int64_t row_stride = 0, head_stride = 0;
  std::vector<float> added{};  // [heads, head_dim], or empty
  std::size_t offset = 0;      // among the parameters: of the table, or of what it is made from
  std::size_t offset_of_added = 0;

  const float* row(std::int64_t head, std::int64_t r) const noexcept {
    return table.data() + r * row_stride + head * head_stride;
  }
  const float* added_of(std::int64_t head, std::int64_t dim) const noexcept {
    return added.empty() ? nullptr : added.data() + head * dim;
  }
};

struct CopeTerm {
  std::int64_t positions = 0;
  std::vector<float> table;  // [positions, head_dim]
  bool causal = true;
  double gate_scale = 1.0;
};

/// A table of sinusoids that a matrix was applied to.
struct ProjectedSinusoids {
  std::int64_t first = 0, rows = 0;  // distances
  std::int64_t width = 0;            // heads * head_dim
  std::int64_t dim = 0;              // of a sinusoid
  SinusoidOrder order = SinusoidOrder::kConcatenated;
  std::vector<Turns> turns_per_token;  // [dim / 2]

  explicit ProjectedSinusoids(const TransformerXlRelative& options);
  /// R_n of row r, [dim].
  void sinusoid(std::int64_t r, std::vector<double>& out) const;
  /// [rows, width] from a matrix [width, dim].
  std::vector<float> table(const std::vector<float>& projection) const;
  /// d_projection[width, dim] += the rows of d_table[rows, width] that are not 0, each times its sinusoid.
  void add_gradient(const std::vector<double>& d_table, double* d_projection) const;
};

struct PreparedRelative {
  RelativeSpec spec;
  int heads = 0, head_dim = 0;
  double scale = 1.0, softmax_scale = 1.0;
  std::vector<TableTerm> tables{};  // up to two
  std::vector<float> of_keys{};     // [heads, head_dim], Transformer-XL's u, or empty
  std::size_t offset_of_keys = 0;
  std::optional<ProjectedSinusoids> projected{};  // what tables[0] is made from
  std::optional<CopeTerm> cope{};
  std::optional<TableTerm> values{};
  int value_dim = 0;
  std::vector<BiasParameter> parameters{};
  std::size_t parameter_count = 0;

  bool reads_queries() const noexcept;
  bool reads_keys() const noexcept;
};

Result<PreparedRelative> prepare(const RelativeSpec& spec);

}  // namespace ropewalk::math
