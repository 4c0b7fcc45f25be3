#include "kernels/support.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numbers>
#include <tuple>

namespace support {

std::vector<const ropewalk::cpu::Target*> targets_that_run_here() {
  std::vector<const ropewalk::cpu::Target*> found;
  for (const auto& target : ropewalk::cpu::targets())
    if (target.runs_here()) found.push_back(&target);
  return found;
}

// ---- numbers

namespace {
struct Format {
  int digits, smallest_exponent, largest_exponent;  // of the leading digit
};
Format format_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return {24, -126, 127};
    case DType::kBFloat16: return {8, -126, 127};
    case DType::kFloat16: return {11, -14, 15};
  }
  return {};
}
}  // namespace

double rounded(double x, DType dtype) {
  if (x == 0 || !std::isfinite(x)) return x;
  const Format format = format_of(dtype);
  const int exponent = std::max(std::ilogb(x), format.smallest_exponent);
  const double unit = std::ldexp(1.0, exponent - format.digits + 1);
  const double y = std::nearbyint(x / unit) * unit;
  return std::ilogb(y) > format.largest_exponent && y != 0 ? std::copysign(INFINITY, x) : y;
}

std::uint32_t bits_of(double x, DType dtype) {
  if (dtype == DType::kFloat32) {
    const auto y = static_cast<float>(x);
    std::uint32_t bits;
    std::memcpy(&bits, &y, 4);
    return bits;
  }
  if (dtype == DType::kBFloat16) return bits_of(x, DType::kFloat32) >> 16;
  const std::uint32_t sign = std::signbit(x) ? 0x8000u : 0u;
  if (std::isnan(x)) return sign | 0x7e00u;
  const double a = std::fabs(x);
  if (std::isinf(a)) return sign | 0x7c00u;
  if (a < std::ldexp(1.0, -14)) return sign | static_cast<std::uint32_t>(std::ldexp(a, 24));
  const int exponent = std::ilogb(a);
  return sign | static_cast<std::uint32_t>((exponent + 15) << 10) |
         static_cast<std::uint32_t>(std::ldexp(a, 10 - exponent) - 1024.0);
}

double value_of(std::uint32_t bits, DType dtype) {
  if (dtype == DType::kFloat16) {
    const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
    const int exponent = static_cast<int>((bits >> 10) & 31u), mantissa = static_cast<int>(bits & 1023u);
    if (exponent == 31) return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * INFINITY;
    return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
  }
  const std::uint32_t wide = dtype == DType::kBFloat16 ? bits << 16 : bits;
  float y;
  std::memcpy(&y, &wide, 4);
  return static_cast<double>(y);
}

// ---- memory

Pages::Pages(std::size_t bytes, Edge edge) : bytes_(bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t inner = (bytes + page - 1) / page * page;
  mapped_ = inner + 2 * page;
  void* const got = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(got);
  mprotect(mapping_, page, PROT_NONE);
  mprotect(mapping_ + page + inner, page, PROT_NONE);
  data_ = mapping_ + page + (edge == Edge::kEnd ? inner - bytes : 0);
}
Pages::~Pages() { munmap(mapping_, mapped_); }

namespace {

constexpr std::byte kBorder{0xa5};

/// Strides for an order of the axes, and how many elements they reach over.
HeadsView strides_of(const Shape& shape, DType dtype, std::int64_t* reach) {
  HeadsView view{nullptr, dtype, shape.batch, shape.tokens, shape.heads, shape.head_dim};
  std::int64_t stride = shape.head_dim + shape.gap, last = shape.head_dim - 1;
  const std::string order = shape.order == "thd" ? "bshd" : shape.order;
  for (int i = 2; i >= 0; --i) {
    std::int64_t extent = 0;
    switch (order[static_cast<std::size_t>(i)]) {
      case 'b': extent = view.batch, view.batch_stride = stride; break;
      case 's': extent = view.tokens, view.token_stride = stride; break;
      default: extent = view.heads, view.head_stride = stride; break;
    }
    last += std::max<std::int64_t>(extent - 1, 0) * stride;
    stride = stride * std::max<std::int64_t>(extent, 1) + 2 * shape.gap;
  }
  *reach = last + 1;
  return view;
}

std::size_t bytes_of(const Shape& shape, DType dtype) {
  std::int64_t reach = 0;
  strides_of(shape, dtype, &reach);
  return static_cast<std::size_t>(reach) * size_of(dtype);
}

}  // namespace

Tensor::Tensor(const Shape& shape, DType dtype, Pages::Edge edge)
    : shape_(shape), size_of_element_(size_of(dtype)), pages_(bytes_of(shape, dtype), edge) {
  std::int64_t reach = 0;
  view_ = strides_of(shape, dtype, &reach);
  auto* data = pages_.data();
  if (shape.backwards) {
    data += static_cast<std::ptrdiff_t>(size_of_element_) * view_.token_stride * (shape.tokens - 1);
    view_.token_stride = -view_.token_stride;
  }
  view_.data = data;
  std::fill_n(pages_.data(), pages_.size(), kBorder);
}

std::size_t Tensor::at(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) const {
  const std::int64_t element = b * view_.batch_stride + t * view_.token_stride + h * view_.head_stride + c;
  return static_cast<std::size_t>(static_cast<std::byte*>(view_.data) - pages_.data() +
                                  element * static_cast<std::int64_t>(size_of_element_));
}

std::uint32_t Tensor::bits(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) const {
  std::uint32_t bits = 0;
  std::memcpy(&bits, pages_.data() + at(b, t, h, c), size_of_element_);
  return bits;
}
void Tensor::set_bits(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c, std::uint32_t bits) {
  std::memcpy(pages_.data() + at(b, t, h, c), &bits, size_of_element_);
}
double Tensor::get(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) const {
  return value_of(bits(b, t, h, c), view_.dtype);
}
void Tensor::set(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c, double value) {
  set_bits(b, t, h, c, bits_of(rounded(value, view_.dtype), view_.dtype));
}

void for_each_element(const Shape& shape,
                      const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& body) {
  for (std::int64_t b = 0; b < shape.batch; ++b)
    for (std::int64_t t = 0; t < shape.tokens; ++t)
      for (std::int64_t h = 0; h < shape.heads; ++h)
        for (std::int64_t c = 0; c < shape.head_dim; ++c) body(b, t, h, c);
}

Tensor& Tensor::fill(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for_each_element(shape_, [&](auto b, auto t, auto h, auto c) { set(b, t, h, c, normal(random)); });
  return *this;
}

bool Tensor::border_untouched() const {
  std::vector<bool> is_element(pages_.size(), false);
  for_each_element(shape_, [&](auto b, auto t, auto h, auto c) {
    for (std::size_t i = 0; i < size_of_element_; ++i) is_element[at(b, t, h, c) + i] = true;
  });
  for (std::size_t i = 0; i < pages_.size(); ++i)
    if (!is_element[i] && pages_.data()[i] != kBorder) return false;
  return true;
}

bool Tensor::same_elements(const Tensor& other) const {
  bool same = true;
  for_each_element(shape_, [&](auto b, auto t, auto h, auto c) {
    if (bits(b, t, h, c) != other.bits(b, t, h, c)) same = false;
  });
  return same;
}

// ---- the operator

ropewalk::Rotary made(const ropewalk::RotarySpec& spec) {
  auto rotary = ropewalk::Rotary::make(spec);
  if (!rotary) throw std::runtime_error(rotary.error().line());
  return *rotary;
}

std::uint64_t digest(std::span<const std::uint32_t> words) {
  std::uint64_t sum = 0xcbf29ce484222325u;
  for (const std::uint32_t word : words)
    for (int shift = 0; shift < 32; shift += 8) sum = (sum ^ ((word >> shift) & 0xffu)) * 0x100000001b3u;
  return sum;
}

void turn(const ropewalk::Rotary& rotary, const HeadsView& x, const ropewalk::PositionsView& positions,
          const ropewalk::RotaryCall& call) {
  const ropewalk::RotaryOperand operands[] = {ropewalk::RotaryOperand::in_place(x)};
  const auto error = rotary.check(operands, positions);
  ASSERT_FALSE(error) << error->line();
  rotary.apply(operands, positions, call);
}

namespace {

struct Truth {
  double cosine, sine;
};

/// Kept, because all heads ask the same and long double is slow where it is software (AArch64, and there under an
/// emulator).
const Truth& truth_of(double theta, int rotary_dim, std::int64_t pair, double direction, std::int64_t position) {
  static std::map<std::tuple<double, int, std::int64_t, double, std::int64_t>, Truth> known;
  const auto [at, is_new] = known.try_emplace({theta, rotary_dim, pair, direction, position});
  if (is_new) {
    const long double inv_freq =
        std::pow(static_cast<long double>(theta), -2.0L * static_cast<long double>(pair) / rotary_dim);
    const long double angle = direction * static_cast<long double>(position) * inv_freq;
    at->second = {static_cast<double>(std::cos(angle)), static_cast<double>(std::sin(angle))};
  }
  return at->second;
}

}  // namespace

double plainly_turned(const ropewalk::RotarySpec& spec, double gain, double direction, const Tensor& x, std::int64_t b,
                      std::int64_t t, std::int64_t h, std::int64_t c,
                      const std::function<std::int64_t(std::int64_t, std::int64_t, int)>& position_of) {
  const std::int64_t turning = c - spec.rotary_offset, half = spec.rotary_dim / 2;
  if (turning < 0 || turning >= spec.rotary_dim) return x.get(b, t, h, c);
  const bool interleaved = spec.layout == PairLayout::kInterleaved;
  const std::int64_t j = interleaved ? turning / 2 : turning % half;
  const bool is_first = interleaved ? turning % 2 == 0 : turning < half;
  const std::int64_t first = spec.rotary_offset + (interleaved ? 2 * j : j), second = first + (interleaved ? 1 : half);
  const int axis = spec.axis_of_pair.empty() ? 0 : spec.axis_of_pair[static_cast<std::size_t>(j)];
  const auto [cosine, sine] = truth_of(spec.theta, spec.rotary_dim, j, direction, position_of(b, t, axis));
  const double x0 = x.get(b, t, h, first), x1 = x.get(b, t, h, second);
  return gain * (is_first ? x0 * cosine - x1 * sine : x1 * cosine + x0 * sine);
}

}  // namespace support
