#include "runner/dequantize.hpp"

#include <bit>
#include <cstring>

// Block layouts: the facts are those of the GGUF format's block structures (ggml-common.h). Every block begins or ends
// with one or two binary16 scales; nibbles of the 32-value blocks hold value i low and value i + 16 high.

namespace ropewalk::runner {
namespace {

std::uint16_t half_bits(const std::byte* at) noexcept {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return bits;
}

float half_at(const std::byte* at) noexcept { return float_from_half(half_bits(at)); }

unsigned low(std::byte b) noexcept { return std::to_integer<unsigned>(b) & 15u; }
unsigned high(std::byte b) noexcept { return std::to_integer<unsigned>(b) >> 4; }
unsigned byte_at(const std::byte* at) noexcept { return std::to_integer<unsigned>(*at); }

// 32 values: [scale] (+ [minimum]) (+ 4 bytes of fifth bits) + 16 bytes of nibbles. Without a minimum, integers are
// centred on half their range.
template <int kBits, bool kMinimum>
void nibble_block(const std::byte* block, float* out) noexcept {
  const float scale = half_at(block);
  const float minimum = kMinimum ? half_at(block + 2) : 0.0f;
  const std::byte* at = block + (kMinimum ? 4 : 2);
  std::uint32_t fifth = 0;
  if constexpr (kBits == 5) {
    std::memcpy(&fifth, at, sizeof fifth);
    at += sizeof fifth;
  }
  const int centre = kMinimum ? 0 : 1 << (kBits - 1);
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned first = low(at[i]) | (((fifth >> i) & 1u) << 4);
    const unsigned second = high(at[i]) | (((fifth >> (i + 16)) & 1u) << 4);
    out[i] = scale * static_cast<float>(static_cast<int>(first) - centre) + minimum;
    out[i + 16] = scale * static_cast<float>(static_cast<int>(second) - centre) + minimum;
  }
}

void q8_0_block(const std::byte* block, float* out) noexcept {
  const float scale = half_at(block);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(std::to_integer<std::int8_t>(block[2 + i]));
}

struct SubBlock {
  float scale = 0;
  float minimum = 0;
};

// Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each lie in the low six bits of bytes 0-3
// and 4-7; the others have four bits in bytes 8-11 and two in the top bits of the bytes before.
SubBlock sub_block(const std::byte* packed, int j) noexcept {
  if (j < 4) return {static_cast<float>(byte_at(packed + j) & 63u), static_cast<float>(byte_at(packed + j + 4) & 63u)};
  return {static_cast<float>((byte_at(packed + j + 4) & 15u) | ((byte_at(packed + j - 4) >> 6) << 4)),
          static_cast<float>((byte_at(packed + j + 4) >> 4) | ((byte_at(packed + j) >> 6) << 4))};
}

// 256 values in eight sub-blocks of 32; sub-blocks 2i and 2i + 1 share 32 bytes, low and high nibbles. The fifth bits
// of sub-block j are bit j of 32 bytes.
template <bool kFifthBits>
void k_block(const std::byte* block, float* out) noexcept {
  const float scale = half_at(block);
  const float minimum = half_at(block + 2);
  const std::byte* const packed = block + 4;
  const std::byte* const fifth = block + 16;
  const std::byte* const nibbles = fifth + (kFifthBits ? 32 : 0);
  for (int j = 0; j < 8; ++j) {
    const SubBlock sub = sub_block(packed, j);
    const float d = scale * sub.scale;
    const float m = minimum * sub.minimum;
    for (int i = 0; i < 32; ++i) {
      const std::byte b = nibbles[32 * (j / 2) + i];
      unsigned q = j % 2 == 0 ? low(b) : high(b);
      if constexpr (kFifthBits) q |= ((byte_at(fifth + i) >> j) & 1u) << 4;
      out[32 * j + i] = d * static_cast<float>(q) - m;
    }
  }
}

// 256 values: 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales (one for 16 values), the scale.
// A half of 128 values: quarter q (32 values) has its nibbles in bytes 32 * (q % 2), low for q < 2 and high above, and
// its upper bits in bits 2q of 32 bytes.
void q6_k_block(const std::byte* block, float* out) noexcept {
  const float scale = half_at(block + 208);
  for (int half = 0; half < 2; ++half) {
    const std::byte* const nibbles = block + 64 * half;
    const std::byte* const upper = block + 128 + 32 * half;
    const std::byte* const scales = block + 192 + 8 * half;
    for (int quarter = 0; quarter < 4; ++quarter)
      for (int i = 0; i < 32; ++i) {
        const std::byte b = nibbles[32 * (quarter % 2) + i];
        const unsigned q = (quarter < 2 ? low(b) : high(b)) | (((byte_at(upper + i) >> (2 * quarter)) & 3u) << 4);
        const float d = scale * static_cast<float>(std::to_integer<std::int8_t>(scales[2 * quarter + i / 16]));
        out[128 * half + 32 * quarter + i] = d * static_cast<float>(static_cast<int>(q) - 32);
      }
  }
}

template <void (*kBlock)(const std::byte*, float*) noexcept>
void blocks(GgufBlock shape, const std::byte* from, std::int64_t values, float* out) noexcept {
  for (std::int64_t done = 0; done < values; done += shape.values, from += shape.bytes) kBlock(from, out + done);
}

}  // namespace

float float_from_half(std::uint16_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x400u) return std::bit_cast<float>(sign | ((magnitude + (112u << 10)) << 13));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
  return sign != 0 ? -subnormal : subnormal;
}

float float_from_bfloat16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t bfloat16_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

bool can_dequantize(GgufType type) noexcept {
  switch (type) {
    case GgufType::kF32:
    case GgufType::kF16:
    case GgufType::kBF16:
    case GgufType::kQ8_0:
    case GgufType::kQ4_0:
    case GgufType::kQ4_1:
    case GgufType::kQ5_0:
    case GgufType::kQ5_1:
    case GgufType::kQ4_K:
    case GgufType::kQ5_K:
    case GgufType::kQ6_K: return true;
    default: return false;
  }
}

void dequantize(GgufType type, const std::byte* from, std::int64_t values, float* out) noexcept {
  switch (type) {
    case GgufType::kF32: std::memcpy(out, from, static_cast<std::size_t>(values) * sizeof(float)); return;
    case GgufType::kF16:
      for (std::int64_t i = 0; i < values; ++i) out[i] = half_at(from + 2 * i);
      return;
    case GgufType::kBF16:
      for (std::int64_t i = 0; i < values; ++i) out[i] = float_from_bfloat16(half_bits(from + 2 * i));
      return;
    case GgufType::kQ8_0: return blocks<q8_0_block>({32, 34}, from, values, out);
    case GgufType::kQ4_0: return blocks<nibble_block<4, false>>({32, 18}, from, values, out);
    case GgufType::kQ4_1: return blocks<nibble_block<4, true>>({32, 20}, from, values, out);
    case GgufType::kQ5_0: return blocks<nibble_block<5, false>>({32, 22}, from, values, out);
    case GgufType::kQ5_1: return blocks<nibble_block<5, true>>({32, 24}, from, values, out);
    case GgufType::kQ4_K: return blocks<k_block<false>>({256, 144}, from, values, out);
    case GgufType::kQ5_K: return blocks<k_block<true>>({256, 176}, from, values, out);
    case GgufType::kQ6_K: return blocks<q6_k_block>({256, 210}, from, values, out);
    default: return;
  }
}

}  // namespace ropewalk::runner
