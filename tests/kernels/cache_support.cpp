#include "kernels/cache_support.hpp"

#include "oracle/quantise.hpp"

#include <algorithm>
#include <cmath>

namespace support {
namespace {

CacheView strided(const CacheShape& shape, CacheFormat format, std::int64_t* bytes, std::int64_t* floats) {
  const std::int64_t element = std::max<std::int64_t>(ropewalk::row_bytes(format, 2) / 2, 1);
  const std::int64_t row = ropewalk::row_bytes(format, shape.head_dim) + shape.gap * element;
  const std::int64_t inner = shape.by_head ? shape.page_tokens : shape.heads;
  const std::int64_t outer = shape.by_head ? shape.heads : shape.page_tokens;
  const std::int64_t between = row * inner + 2 * shape.gap * element, page = between * outer + 2 * shape.gap * element;
  CacheView view{nullptr, format, shape.pages, shape.page_tokens, shape.heads, shape.head_dim};
  view.page_stride = page;
  view.token_stride = shape.by_head ? row : between;
  view.head_stride = shape.by_head ? between : row;
  // One scale more than needed on every axis if there are gaps.
  const std::int64_t more = shape.gap > 0 ? 1 : 0;
  view.scale_page_stride = (inner + more) * (outer + more);
  view.scale_token_stride = shape.by_head ? 1 : inner + more;
  view.scale_head_stride = shape.by_head ? inner + more : 1;
  *bytes = (shape.pages - 1) * view.page_stride + (shape.page_tokens - 1) * view.token_stride +
           (shape.heads - 1) * view.head_stride + ropewalk::row_bytes(format, shape.head_dim);
  *floats = (shape.pages - 1) * view.scale_page_stride + (shape.page_tokens - 1) * view.scale_token_stride +
            (shape.heads - 1) * view.scale_head_stride + 1;
  return view;
}

std::size_t size_of_rows(const CacheShape& shape, CacheFormat format) {
  std::int64_t bytes, floats;
  strided(shape, format, &bytes, &floats);
  return static_cast<std::size_t>(bytes);
}
std::size_t size_of_scales(const CacheShape& shape, CacheFormat format) {
  std::int64_t bytes, floats;
  strided(shape, format, &bytes, &floats);
  return static_cast<std::size_t>(floats) * sizeof(float);
}

int most_of(CacheFormat format) { return format == CacheFormat::kInt8 ? 127 : format == CacheFormat::kInt4 ? 7 : 448; }

}  // namespace

Cache::Cache(const CacheShape& shape, Format format, Pages::Edge edge)
    : format_(format),
      shape_(shape),
      rows_(size_of_rows(shape, format.format), edge),
      scales_(size_of_scales(shape, format.format), edge) {
  std::int64_t bytes, floats;
  view_ = strided(shape, format.format, &bytes, &floats);
  view_.data = rows_.data();
  std::fill_n(rows_.data(), rows_.size(), std::byte{0x35});
  std::fill_n(scales_.data(), scales_.size(), std::byte{0x35});
  if (format.scaled) view_.scales = reinterpret_cast<float*>(scales_.data());
}

std::byte* Cache::row(std::int64_t slot, std::int64_t head) const {
  return rows_.data() + slot / shape_.page_tokens * view_.page_stride + slot % shape_.page_tokens * view_.token_stride +
         head * view_.head_stride;
}
float* Cache::scale(std::int64_t slot, std::int64_t head) const {
  return view_.scales + slot / shape_.page_tokens * view_.scale_page_stride +
         slot % shape_.page_tokens * view_.scale_token_stride + head * view_.scale_head_stride;
}

void Cache::store(std::int64_t slot, std::int64_t head, const std::vector<float>& x) {
  std::byte* const at = row(slot, head);
  if (static_cast<int>(format_.format) <= 2) {
    const auto dtype = static_cast<DType>(format_.format);
    for (std::size_t c = 0; c < x.size(); ++c) {
      const std::uint32_t bits = bits_of(rounded(double{x[c]}, dtype), dtype);
      std::memcpy(at + c * size_of(dtype), &bits, size_of(dtype));
    }
    return;
  }
  if (!format_.scaled) {
    for (std::size_t c = 0; c < x.size(); ++c) at[c] = static_cast<std::byte>(oracle::e4m3_byte(double{x[c]}));
    return;
  }
  const oracle::QuantisedRow made = oracle::quantised(x, most_of(format_.format));
  std::memcpy(scale(slot, head), &made.scale, sizeof made.scale);
  if (format_.format == CacheFormat::kInt4)
    for (std::size_t c = 0; c < x.size(); c += 2) {
      const int upper = c + 1 < x.size() ? made.codes[c + 1] & 15 : 0;
      at[c / 2] = static_cast<std::byte>((made.codes[c] & 15) | (upper << 4));
    }
  else
    for (std::size_t c = 0; c < x.size(); ++c) at[c] = static_cast<std::byte>(made.codes[c]);
}

std::vector<float> Cache::load(std::int64_t slot, std::int64_t head) const {
  const std::byte* const at = row(slot, head);
  std::vector<float> x(static_cast<std::size_t>(shape_.head_dim));
  const double factor = format_.scaled ? double{*scale(slot, head)} : 1.0;
  for (std::size_t c = 0; c < x.size(); ++c) {
    double value = 0.0;
    const auto byte = [&](std::size_t i) { return static_cast<int>(at[i]); };
    switch (format_.format) {
      case CacheFormat::kInt8: value = byte(c) < 128 ? byte(c) : byte(c) - 256; break;
      case CacheFormat::kInt4: {
        const int half = byte(c / 2) >> (c % 2 == 0 ? 0 : 4) & 15;
        value = half < 8 ? half : half - 16;
        break;
      }
      case CacheFormat::kFloat8E4M3: value = oracle::e4m3_value(byte(c)); break;
      default: {
        const auto dtype = static_cast<DType>(format_.format);
        std::uint32_t bits = 0;
        std::memcpy(&bits, at + c * size_of(dtype), size_of(dtype));
        value = value_of(bits, dtype);
      }
    }
    x[c] = static_cast<float>(value * factor);
  }
  return x;
}

bool Cache::same_bytes(const Cache& other) const {
  return rows_.size() == other.rows_.size() && std::memcmp(rows_.data(), other.rows_.data(), rows_.size()) == 0 &&
         std::memcmp(scales_.data(), other.scales_.data(), scales_.size()) == 0;
}
void Cache::copy_from(const Cache& other) {
  std::memcpy(rows_.data(), other.rows_.data(), rows_.size());
  std::memcpy(scales_.data(), other.scales_.data(), scales_.size());
}

std::vector<float> plainly_normed(const ropewalk::RotarySpec& spec, const ropewalk::HeadNorm& norm, std::int64_t head,
                                  std::vector<float> row) {
  const auto begin = static_cast<std::size_t>(spec.rotary_offset), turning = static_cast<std::size_t>(spec.rotary_dim);
  std::vector<std::pair<std::size_t, std::size_t>> stretches;
  if (spec.layout == PairLayout::kHalf)
    stretches = {{begin, begin + turning / 2}, {begin + turning / 2, begin + turning}};
  else
    stretches = {{begin, begin + turning}};
  stretches.push_back({0, begin});
  stretches.push_back({begin + turning, row.size()});

  float sums[4][16] = {};
  std::size_t group = 0;
  for (const auto& [first, end] : stretches)
    for (std::size_t c = first; c < end; c += 16, ++group)
      for (std::size_t lane = 0; lane < 16 && c + lane < end; ++lane) {
        float& sum = sums[group % 4][lane];
        sum = std::fma(row[c + lane], row[c + lane], sum);
      }
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = (sums[0][i] + sums[2][i]) + (sums[1][i] + sums[3][i]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  const float mean = lanes[0] / static_cast<float>(row.size());
  const float factor = 1.0f / std::sqrt(mean + norm.epsilon);
  for (std::size_t c = 0; c < row.size(); ++c) {
    row[c] *= factor;
    if (norm.weight == nullptr) continue;
    const float weight = norm.weight[static_cast<std::size_t>(head * norm.weight_stride) + c];
    row[c] *= norm.weight_plus_one ? 1.0f + weight : weight;
  }
  return row;
}

}  // namespace support
