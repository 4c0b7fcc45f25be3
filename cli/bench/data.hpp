#pragma once

#include "cli/bench/cases.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>

namespace ropewalk::cli::bench {

struct Free {
  void operator()(void* p) const noexcept { std::free(p); }
};
using Buffer = std::unique_ptr<void, Free>;

/// From the first byte of a page on; not touched yet.
Buffer pages(std::int64_t bytes);

/// Writes normal numbers, rounded to the dtype: number i of a stream is a function of the stream and of
/// i modulo 1 048 573 alone, the same here and in bench/opponents.py.
void fill_normal(void* data, DType dtype, std::int64_t elements, std::uint32_t stream);

/// Element number i of what fill_normal writes.
long double normal_at(DType dtype, std::int64_t element, std::uint32_t stream);

/// An element of an array of floats.
long double value_at(const void* data, DType dtype, std::int64_t element);

/// What rows went through: y0 = x0 cos a - x1 sin a, y1 = x1 cos a + x0 sin a, for pair j of token t
///
///     a = (first_position + t * position_step) * angle_factor * theta^(-2j / head_dim)
struct Turned {
  PairLayout layout = PairLayout::kHalf;
  std::int64_t first_position = kFirstPosition;
  std::int64_t position_step = 1;
  double angle_factor = 1;
  double norm_weight = 0;  ///< > 0: before that, x / sqrt(mean of x^2 + 1e-6) times this
};

using ReadElement = std::function<long double(std::int64_t token, std::int64_t head, std::int64_t channel)>;

/// The largest difference between `after` and what the formula makes of `before`, in long double, over at most 64
/// tokens spread over all.
double rotation_error(std::int64_t tokens, std::int64_t heads, std::int64_t head_dim, const Turned& turned,
                      const ReadElement& before, const ReadElement& after);

}  // namespace ropewalk::cli::bench
