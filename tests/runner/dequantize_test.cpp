// Every quantised type against the format's description, written out bit by bit and apart from the runner's code.
#include "runner/dequantize.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;

double half_value(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31u);
  const double fraction = static_cast<double>(bits & 1023u) / 1024.0;
  const double size = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1.0 + fraction, exponent - 15);
  return (bits & 0x8000u) != 0 ? -size : size;
}

// Value i of one block.
double plain(GgufType type, const std::vector<unsigned char>& b, int i) {
  const auto half = [&](int at) { return half_value(b[at] | static_cast<unsigned>(b[at + 1]) << 8); };
  const auto nibble = [&](int first, int n) { return n < 16 ? b[first + n] & 15 : b[first + n - 16] >> 4; };
  const auto bit = [&](int first, int n) { return b[first + n / 8] >> (n % 8) & 1; };
  switch (type) {
    case GgufType::kQ4_0: return half(0) * (nibble(2, i) - 8);
    case GgufType::kQ4_1: return half(0) * nibble(4, i) + half(2);
    case GgufType::kQ5_0: return half(0) * (nibble(6, i) + 16 * bit(2, i) - 16);
    case GgufType::kQ5_1: return half(0) * (nibble(8, i) + 16 * bit(4, i)) + half(2);
    case GgufType::kQ8_0: return half(0) * static_cast<signed char>(b[2 + i]);
    case GgufType::kQ4_K:
    case GgufType::kQ5_K: {
      const int sub = i / 32;
      int scale = 0, minimum = 0;
      if (sub < 4) {
        scale = b[4 + sub] % 64;
        minimum = b[8 + sub] % 64;
      } else {
        scale = b[8 + sub] % 16 + 16 * (b[sub] / 64);
        minimum = b[8 + sub] / 16 + 16 * (b[4 + sub] / 64);
      }
      const bool five = type == GgufType::kQ5_K;
      const int at = (five ? 48 : 16) + 32 * (sub / 2) + i % 32;
      int q = sub % 2 == 0 ? b[at] % 16 : b[at] / 16;
      if (five) q += 16 * (b[16 + i % 32] >> sub & 1);
      return half(0) * scale * q - half(2) * minimum;
    }
    case GgufType::kQ6_K: {
      const int inside = i % 128, large = i / 128;
      const int at = 64 * large + inside % 64;
      const int low = inside < 64 ? b[at] % 16 : b[at] / 16;
      const int high = b[128 + 32 * large + inside % 32] >> (2 * (inside / 32)) & 3;
      return half(208) * static_cast<signed char>(b[192 + i / 16]) * (low + 16 * high - 32);
    }
    default: ADD_FAILURE(); return 0;
  }
}

TEST(RunnerDequantize, EveryBlockTypeIsItsDescription) {
  std::mt19937 random(11);
  struct Shape {
    GgufType type;
    int values, bytes;
    std::vector<int> halves;
  };
  for (const Shape& shape : {Shape{GgufType::kQ4_0, 32, 18, {0}}, Shape{GgufType::kQ4_1, 32, 20, {0, 2}},
                             Shape{GgufType::kQ5_0, 32, 22, {0}}, Shape{GgufType::kQ5_1, 32, 24, {0, 2}},
                             Shape{GgufType::kQ8_0, 32, 34, {0}}, Shape{GgufType::kQ4_K, 256, 144, {0, 2}},
                             Shape{GgufType::kQ5_K, 256, 176, {0, 2}}, Shape{GgufType::kQ6_K, 256, 210, {208}}}) {
    ASSERT_TRUE(can_dequantize(shape.type));
    for (int trial = 0; trial < 200; ++trial) {
      std::vector<unsigned char> block(static_cast<std::size_t>(shape.bytes));
      for (auto& byte : block) byte = static_cast<unsigned char>(random());
      for (const int at : shape.halves) block[at + 1] &= 0xbf;  // no infinities: the scales stay below 2
      std::vector<float> out(static_cast<std::size_t>(shape.values));
      dequantize(shape.type, reinterpret_cast<const std::byte*>(block.data()), shape.values, out.data());
      for (int i = 0; i < shape.values; ++i) {
        const double want = plain(shape.type, block, i);
        ASSERT_NEAR(out[i], want, 1e-3 * 0x1p-10 * (std::fabs(want) + 64)) << "type " << static_cast<int>(shape.type);
      }
    }
  }
}

TEST(RunnerDequantize, EveryHalfIsExact) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = float_from_half(static_cast<std::uint16_t>(bits));
    if ((bits & 0x7c00u) == 0x7c00u) {
      EXPECT_EQ(std::isinf(value), (bits & 1023u) == 0);
      EXPECT_EQ(std::isnan(value), (bits & 1023u) != 0);
    } else {
      ASSERT_EQ(value, half_value(bits));
    }
    EXPECT_EQ(std::signbit(value), (bits & 0x8000u) != 0);
  }
}

TEST(RunnerDequantize, Bf16RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(bfloat16_from_float(1.00390625f), 0x3f80);  // halfway, to even
  EXPECT_EQ(bfloat16_from_float(1.01171875f), 0x3f82);  // halfway, to even
  EXPECT_EQ(bfloat16_from_float(1.0039064f), 0x3f81);
  EXPECT_EQ(bfloat16_from_float(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_TRUE(std::isnan(float_from_bfloat16(bfloat16_from_float(std::nanf("1")))));
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = float_from_bfloat16(static_cast<std::uint16_t>(bits));
    if (!std::isnan(value)) {
      ASSERT_EQ(bfloat16_from_float(value), bits);
    }
  }
}

}  // namespace
