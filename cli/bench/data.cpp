#include "cli/bench/data.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <new>
#include <numbers>
#include <utility>
#include <vector>

namespace ropewalk::cli::bench {
namespace {

constexpr std::int64_t kPeriod = 1048573;  // a prime: no two heads or tokens hold the same numbers
constexpr std::int64_t kErrorTokens = 64;

double uniform(std::uint32_t seed, std::int64_t index, std::uint64_t stream) {
  std::uint64_t z =
      (static_cast<std::uint64_t>(index) * 2 + stream + (std::uint64_t{seed} << 32)) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return (static_cast<double>(z >> 11) + 0.5) * 0x1p-53;
}

float normal(std::uint32_t seed, std::int64_t index) {
  const double radius = std::sqrt(-2.0 * std::log(uniform(seed, index, 1)));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * uniform(seed, index, 2)));
}

// Round to nearest even, for the finite and not too large numbers of fill_normal.
std::uint16_t to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

std::uint16_t to_float16(float x) {
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float magnitude = std::abs(x);
  if (magnitude < 0x1p-14f)  // subnormal: a whole number of 2^-24
    return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  const auto bits = std::bit_cast<std::uint32_t>(magnitude);
  const std::uint32_t rounded = bits + 0xfff + ((bits >> 13) & 1);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

long double from_float16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const long double fraction = bits & 1023;
  const long double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                                : exponent == 31 ? (fraction == 0 ? HUGE_VALL : std::nanl(""))
                                                 : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace

long double value_at(const void* data, DType dtype, std::int64_t element) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(data)[element];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[element];
  return dtype == DType::kBFloat16 ? std::bit_cast<float>(std::uint32_t{bits} << 16) : from_float16(bits);
}

long double normal_at(DType dtype, std::int64_t element, std::uint32_t stream) {
  const float x = normal(stream, element % kPeriod);
  if (dtype == DType::kFloat32) return x;
  const std::uint16_t bits = dtype == DType::kBFloat16 ? to_bfloat16(x) : to_float16(x);
  return value_at(&bits, dtype, 0);
}

Buffer pages(std::int64_t bytes) {
  void* const data =
      std::aligned_alloc(4096, static_cast<std::size_t>((std::max<std::int64_t>(bytes, 1) + 4095) / 4096 * 4096));
  if (data == nullptr) throw std::bad_alloc();
  return Buffer(data);
}

void fill_normal(void* data, DType dtype, std::int64_t elements, std::uint32_t stream) {
  const std::int64_t first = std::min(elements, kPeriod);
  for (std::int64_t i = 0; i < first; ++i) {
    const float x = normal(stream, i);
    if (dtype == DType::kFloat32)
      static_cast<float*>(data)[i] = x;
    else
      static_cast<std::uint16_t*>(data)[i] = dtype == DType::kBFloat16 ? to_bfloat16(x) : to_float16(x);
  }
  const std::size_t size = size_of(dtype);
  auto* const bytes = static_cast<char*>(data);
  for (std::int64_t i = first; i < elements; i += kPeriod)
    std::memcpy(bytes + static_cast<std::size_t>(i) * size, bytes,
                static_cast<std::size_t>(std::min(kPeriod, elements - i)) * size);
}

double rotation_error(std::int64_t tokens, std::int64_t heads, std::int64_t head_dim, const Turned& turned,
                      const ReadElement& before, const ReadElement& after) {
  const std::int64_t pairs = head_dim / 2, looked_at = std::min(tokens, kErrorTokens);
  std::vector<long double> x(static_cast<std::size_t>(head_dim));
  std::vector<std::pair<long double, long double>> cos_sin(static_cast<std::size_t>(pairs));
  long double worst = 0;
  for (std::int64_t n = 0; n < looked_at; ++n) {
    const std::int64_t token = looked_at == 1 ? 0 : n * (tokens - 1) / (looked_at - 1);
    const auto position = static_cast<long double>(turned.first_position + token * turned.position_step);
    for (std::int64_t j = 0; j < pairs; ++j) {
      const long double exponent = -2.0L * static_cast<long double>(j) / static_cast<long double>(head_dim);
      const long double angle = position * turned.angle_factor * std::pow(static_cast<long double>(kTheta), exponent);
      cos_sin[static_cast<std::size_t>(j)] = {std::cos(angle), std::sin(angle)};
    }
    for (std::int64_t head = 0; head < heads; ++head) {
      long double squares = 0;
      for (std::int64_t i = 0; i < head_dim; ++i) {
        x[static_cast<std::size_t>(i)] = before(token, head, i);
        squares += x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(i)];
      }
      const long double gain =
          turned.norm_weight > 0 ? turned.norm_weight / std::sqrt(squares / static_cast<long double>(head_dim) + 1e-6L)
                                 : 1.0L;
      for (std::int64_t j = 0; j < pairs; ++j) {
        const bool half = turned.layout == PairLayout::kHalf;
        const std::int64_t a = half ? j : 2 * j, b = half ? j + pairs : 2 * j + 1;
        const auto [c, s] = cos_sin[static_cast<std::size_t>(j)];
        const long double x0 = gain * x[static_cast<std::size_t>(a)], x1 = gain * x[static_cast<std::size_t>(b)];
        for (const long double off :
             {after(token, head, a) - (x0 * c - x1 * s), after(token, head, b) - (x1 * c + x0 * s)})
          worst = !(std::abs(off) <= worst) ? std::abs(off) : worst;  // a NaN is the worst
      }
    }
  }
  return static_cast<double>(worst);
}

}  // namespace ropewalk::cli::bench
