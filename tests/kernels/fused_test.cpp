// Sums of a product and a number where rounding twice is not rounding once: what a target whose processor has no fused
// multiply-add gets wrong if it does not look.
#include "kernels/support.hpp"
#include "oracle/quad.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

namespace {

using support::DType;
using support::PairLayout;

/// a * b + c
struct Sum {
  float a, b, c;
};

float either_sign(float x, std::mt19937_64& random) { return random() % 2 == 0 ? x : -x; }
/// Of 24 bits, the last of them 1.
float odd(std::mt19937_64& random) { return static_cast<float>((random() >> 40) | 0x800001u) * 0x1p-23f; }

/// A sum that is half way between two floats, or beside it by less than a double sees. Exponents down to those of
/// subnormals.
Sum about_half_way(std::mt19937_64& random) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const int exponent = below(2) == 0 ? below(24) - 149 : below(240) - 120, unit = std::max(exponent - 23, -149);
  const int of_a = unit / 2 + below(20) - 10;
  switch (below(3)) {
    case 0: {  // the product is half of c's unit but for 1 of 2^24 to 2^46
      const float little = below(4) == 0 ? 0.0f : std::ldexp(1.0f, below(12) - 23),
                  beside = below(4) == 0 ? 0.0f : little;
      return {either_sign(std::ldexp(1.0f + little, of_a), random), std::ldexp(1.0f - beside, unit - 1 - of_a),
              std::ldexp(std::round(std::ldexp(odd(random), exponent - unit)), unit)};
    }
    case 1: {  // the product has 25 bits, and c is far below
      const float below_4_thirds = 1.0f + std::ldexp(odd(random), -2) - 0.25f;
      const float c = std::ldexp(1.0f, std::max(unit - 2 - below(60), -149));
      return {either_sign(std::ldexp(below_4_thirds, of_a), random), std::ldexp(1.5f, exponent - of_a),
              below(4) == 0 ? 0.0f : either_sign(c, random)};
    }
    default:
      return {std::ldexp(odd(random), of_a), either_sign(std::ldexp(odd(random), exponent - of_a), random),
              std::ldexp(odd(random), exponent - below(30))};
  }
}

/// Rounded once: 113 bits hold the sum.
float rounded_once(const Sum& x) {
  const oracle::Quad product = oracle::Quad(x.a) * oracle::Quad(x.b), sum = product + oracle::Quad(x.c);
  EXPECT_TRUE(sum - product == oracle::Quad(x.c) && sum - oracle::Quad(x.c) == product);
  return static_cast<float>(sum);
}
float rounded_twice(const Sum& x) {
  return static_cast<float>(static_cast<double>(x.a) * static_cast<double>(x.b) + static_cast<double>(x.c));
}

constexpr std::size_t kPairs = 509;  // ends within a vector on every target

/// Both results of a pair: y0 = a b - (-c) 1 of the even pairs, y1 = a b + c 1 of the odd ones.
struct Rows {
  std::vector<float> x0, x1, cos, sin;
  explicit Rows(const std::vector<Sum>& sums) : sin(sums.size(), 1.0f) {
    for (std::size_t j = 0; j < sums.size(); ++j) {
      x0.push_back(j % 2 == 0 ? sums[j].a : sums[j].c);
      x1.push_back(j % 2 == 0 ? -sums[j].c : sums[j].a);
      cos.push_back(sums[j].b);
    }
  }
};

class Fused : public support::EveryTarget {};

TEST_P(Fused, SumsAreRoundedOnceWhereTwiceIsNotTheSame) {
  std::mt19937_64 random(31);
  std::size_t differ = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<Sum> sums(kPairs);
    for (Sum& sum : sums) sum = about_half_way(random);
    const Rows rows(sums);
    std::vector<float> half(2 * kPairs), interleaved(2 * kPairs), scattered(2 * kPairs);
    std::vector<std::int32_t> first(kPairs), second(kPairs);
    std::iota(first.begin(), first.end(), 0);
    std::iota(second.begin(), second.end(), static_cast<std::int32_t>(kPairs));
    std::vector<float> x = rows.x0, y(2 * kPairs), minus_sin(kPairs, -1.0f);
    x.insert(x.end(), rows.x1.begin(), rows.x1.end());
    for (std::size_t j = 0; j < kPairs; ++j) y[2 * j] = rows.x0[j], y[2 * j + 1] = rows.x1[j];

    ropewalk::cpu::HeadRows head{.in = x.data(),
                                 .out = half.data(),
                                 .heads = 1,
                                 .second = std::int64_t{kPairs},
                                 .cos = rows.cos.data(),
                                 .sin = rows.sin.data(),
                                 .pairs = std::int64_t{kPairs}};
    GetParam()->kernels->rotate(DType::kFloat32, PairLayout::kHalf)(head);
    head.in = y.data(), head.out = interleaved.data();
    GetParam()->kernels->rotate(DType::kFloat32, PairLayout::kInterleaved)(head);
    GetParam()->kernels->turn_scattered[0]({.in = x.data(),
                                            .out = scattered.data(),
                                            .heads = 1,
                                            .in_first = first.data(),
                                            .in_second = second.data(),
                                            .out_first = first.data(),
                                            .out_second = second.data(),
                                            .m00 = rows.cos.data(),
                                            .m01 = minus_sin.data(),
                                            .m10 = rows.sin.data(),
                                            .m11 = rows.cos.data(),
                                            .pairs = std::int64_t{kPairs}});

    for (std::size_t j = 0; j < kPairs; ++j) {
      const float want = rounded_once(sums[j]);
      differ += want != rounded_twice(sums[j]);
      const std::size_t at = j % 2 == 0 ? j : kPairs + j;
      for (const float got : {half[at], interleaved[2 * j + j % 2], scattered[at]})
        ASSERT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(want))
            << std::hexfloat << sums[j].a << " * " << sums[j].b << " + " << sums[j].c;
    }
  }
  EXPECT_GT(differ, 10000u);  // of 203 600
}

ROPEWALK_ON_EVERY_TARGET(Fused);

}  // namespace

// The words of kernels/cos_sin_step-inl.hpp, with one lane that looks at every sum by double.
#define ROPEWALK_INLINE inline
namespace ropewalk::cpu::one_lane {
namespace {

using Vec = float;
using Bits = std::uint32_t;
struct TurnsVec {
  Bits high, low;
};
inline Vec splat(float x) { return x; }
inline Bits splat_bits(std::uint32_t x) { return x; }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Bits add(Bits a, Bits b) { return a + b; }
inline Bits sub(Bits a, Bits b) { return a - b; }
inline Bits bit_or(Bits a, Bits b) { return a | b; }
template <int kCount>
Bits shift_left(Bits x) {
  return x << kCount;
}
template <int kCount>
Bits shift_right(Bits x) {
  return x >> kCount;
}
inline Vec to_float(Bits x) { return static_cast<float>(static_cast<std::int32_t>(x)); }
inline Bits to_integer(Vec x) { return static_cast<Bits>(static_cast<std::int64_t>(x)); }

std::int64_t in_doubt = 0;

/// Counts the sum if it is inexact in double and half way between floats there, or of fewer bits than 24.
inline Vec looked_at(double product, double c) {
  const double sum = product + c;
  if ((std::bit_cast<std::uint64_t>(sum) & 0x1fffffffu) == 0x10000000u || std::fabs(sum) < 0x1p-126) {
    const double other = sum - product, left = (product - (sum - other)) + (c - other);
    if (left != 0.0) ++in_doubt;
  }
  return static_cast<float>(sum);
}
struct ByDouble {};
struct Unseen {};
struct Whole {};
inline Vec mul_add(ByDouble, Vec a, Vec b, Vec c) { return looked_at(double{a} * double{b}, double{c}); }
inline Vec mul_sub(ByDouble, Vec a, Vec b, Vec c) { return looked_at(double{a} * double{b}, -double{c}); }
inline Vec sub_mul(ByDouble, Vec c, Vec a, Vec b) { return looked_at(-double{a} * double{b}, double{c}); }
inline Vec mul_add(Unseen, Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec sub_mul(Unseen, Vec c, Vec a, Vec b) { return c - a * b; }
template <bool kIsEverSmall, class Body>
auto together(const Body& body) {
  Unseen sums;
  return body(sums);
}
inline Vec select_by_top_bit(Bits choice, Vec yes, Vec no) { return choice >> 31 != 0 ? yes : no; }
inline Vec negate_by_top_bit(Bits choice, Vec x) { return choice >> 31 != 0 ? -x : x; }
inline void store(Whole, Vec x, float* at) { *at = x; }

#include "cpu/kernels/cos_sin_step-inl.hpp"

// Every r, with numbers of no pattern behind it. Its sign is that of x, and turns none of these sums round.
TEST(SumsByDouble, AreNeverInDoubt) {
  std::mt19937_64 random(37);
  std::int64_t count = 0;
  float cos = 0.0f, sin = 0.0f;
  for (std::uint64_t r = 0, unit = 1; r <= std::uint64_t{1} << 31; r += unit) {
    unit = r < std::uint64_t{1} << 24 ? 1 : std::bit_floor(r) >> 23;
    const std::uint64_t behind = random(), turns = ((r + (behind % (unit / 2 + 1))) << 30) + (behind >> 34);
    cos_sin_step<false>(Whole{}, {static_cast<Bits>(turns >> 32), static_cast<Bits>(turns)}, Gain{}, &cos, &sin);
    ++count;
  }
  EXPECT_EQ(count, (1 << 24) + 7 * (1 << 23) + 1);
  EXPECT_EQ(in_doubt, 0);
}

}  // namespace
}  // namespace ropewalk::cpu::one_lane
