#include "math/real.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <string>

#include "oracle/rope.hpp"

namespace ropewalk::math {
namespace {

using oracle::Quad;

Quad quad(Real x) { return Quad(x.hi) + Quad(x.lo); }

// A double-double near a Quad: a Quad holds 113 bits, of which 106 fit.
Real real(Quad x) {
  const auto hi = static_cast<double>(x);
  return {hi, static_cast<double>(x - Quad(hi))};
}

// log2 of the largest relative error seen.
class Worst {
 public:
  void see(Real got, Quad want) {
    const Quad error = fabsq(quad(got) - want) / fabsq(want);
    if (error > worst_) worst_ = error;
  }
  double log2() const { return worst_ == 0 ? -200.0 : static_cast<double>(log2q(worst_)); }

 private:
  Quad worst_ = 0;
};

struct Draw {
  std::mt19937_64 random{20240607};

  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random); }
  // Any sign and a magnitude from 2^-20 to 2^20, all 106 bits in use.
  Real any() {
    const double hi = std::exp2(uniform(-20, 20)) * (random() % 2 == 0 ? 1 : -1);
    return real(Quad(hi) * (1 + Quad(uniform(-1, 1)) * Quad(0x1p-54)));
  }
  Real positive() {
    const Real x = any();
    return x.hi < 0 ? -x : x;
  }
};

void report(const char* name, double bits) { testing::Test::RecordProperty(name, std::to_string(bits)); }

TEST(Real, ConstantsAreTheNearest) {
  const auto expect_nearest = [](Real constant, Quad value) {
    EXPECT_EQ(constant.hi, static_cast<double>(value));
    EXPECT_EQ(constant.lo, static_cast<double>(value - Quad(constant.hi)));
  };
  expect_nearest(kTwoPi, 2 * oracle::kPi);
  expect_nearest(kInverseTwoPi, 1 / (2 * oracle::kPi));
  expect_nearest(kLn2, logq(2));
}

TEST(Real, OperationsKeepTheirBits) {
  Draw draw;
  Worst sum, product, quotient, root;
  for (int i = 0; i < 20000; ++i) {
    const Real a = draw.any(), b = draw.any();
    sum.see((a.hi > 0) == (b.hi > 0) ? a + b : a - b, (a.hi > 0) == (b.hi > 0) ? quad(a) + quad(b) : quad(a) - quad(b));
    product.see(a * b, quad(a) * quad(b));
    quotient.see(a / b, quad(a) / quad(b));
    const Real c = draw.positive();
    root.see(sqrt(c), sqrtq(quad(c)));
  }
  report("sum", sum.log2());
  report("product", product.log2());
  report("quotient", quotient.log2());
  report("root", root.log2());
  EXPECT_LE(sum.log2(), -101);
  EXPECT_LE(product.log2(), -101);
  EXPECT_LE(quotient.log2(), -101);
  EXPECT_LE(root.log2(), -101);
}

TEST(Real, DifferencesOfNeighboursAreExact) {
  Draw draw;
  for (int i = 0; i < 1000; ++i) {
    const double a = draw.uniform(1, 2), b = std::nextafter(a, 3);
    EXPECT_TRUE(Real(b) - Real(a) == Real(b - a));
  }
}

TEST(Real, ExpLogAndPowKeepTheirBits) {
  Draw draw;
  Worst exp_worst, log_worst, pow_worst;
  for (int i = 0; i < 20000; ++i) {
    const Real x = real(Quad(draw.uniform(-69, 69)) * (1 + Quad(draw.uniform(-1, 1)) * Quad(0x1p-54)));
    exp_worst.see(exp(x), expq(quad(x)));
    const Real y = draw.positive();
    if (std::abs(y.hi - 1.0) > 0.25) log_worst.see(log(y), logq(quad(y)));
    const Real theta(std::exp2(draw.uniform(1, 60))), rung = Real(draw.uniform(0, 1));
    pow_worst.see(pow(theta, rung), powq(quad(theta), quad(rung)));
  }
  report("exp", exp_worst.log2());
  report("log", log_worst.log2());
  report("pow", pow_worst.log2());
  EXPECT_LE(exp_worst.log2(), -98);
  EXPECT_LE(log_worst.log2(), -98);
  EXPECT_LE(pow_worst.log2(), -98);
}

TEST(Real, LogNearOneIsExactToItsAbsoluteBits) {
  Draw draw;
  for (int i = 0; i < 5000; ++i) {
    const Real x(1.0 + draw.uniform(-0.25, 0.25) * std::exp2(draw.uniform(-40, 0)));
    EXPECT_LE(fabsq(quad(log(x)) - logq(quad(x))), Quad(0x1p-98)) << x.hi;
  }
  EXPECT_TRUE(log(Real(1.0)) == Real(0.0));
}

TEST(Real, WholePowersAreMultiplied) {
  EXPECT_TRUE(pow(Real(10.0), Real(0.0)) == Real(1.0));
  EXPECT_TRUE(pow(Real(150000.0), Real(1.0)) == Real(150000.0));
  EXPECT_TRUE(pow(Real(10.0), Real(15.0)) == Real(1e15));
}

TEST(Real, FarEndsOfExp) {
  EXPECT_TRUE(exp(Real(0.0)) == Real(1.0));
  EXPECT_TRUE(exp(Real(-1e6)) == Real(0.0));
  EXPECT_NEAR(exp(Real(700.0)).hi / 1.0142320547350045e304, 1.0, 1e-15);
}

TEST(Real, FloorAndCeilSeeTheLowHalf) {
  EXPECT_TRUE(floor(Real(3.0, -0x1p-60)) == Real(2.0));
  EXPECT_TRUE(floor(Real(3.0, 0x1p-60)) == Real(3.0));
  EXPECT_TRUE(ceil(Real(3.0, 0x1p-60)) == Real(4.0));
  EXPECT_TRUE(ceil(Real(-2.5)) == Real(-2.0));
}

TEST(Real, HoldsEveryInt64) {
  for (const std::int64_t value : std::initializer_list<std::int64_t>{INT64_MIN, INT64_MAX, -1, 0, (1ll << 53) + 1})
    EXPECT_TRUE(quad(Real(value)) == Quad(value)) << value;
}

TEST(Real, RoundsToFloatOnce) {
  // 1 + 2^-24 is half way between two floats; what is below it in the low half must decide.
  const double half_way = 1.0 + 0x1p-24;
  EXPECT_EQ(to_float(Real(half_way)), 1.0f);
  EXPECT_EQ(to_float(Real(half_way, 0x1p-80)), 1.0f + 0x1p-23f);
  EXPECT_EQ(to_float(Real(half_way, -0x1p-80)), 1.0f);
  const double other = 1.0 + 3 * 0x1p-24;
  EXPECT_EQ(to_float(Real(other, -0x1p-80)), 1.0f + 0x1p-23f);
  EXPECT_EQ(to_float(Real(-half_way, -0x1p-80)), -1.0f - 0x1p-23f);

  Draw draw;
  for (int i = 0; i < 20000; ++i) {
    Real x = draw.any();
    if (i % 2 == 0) {  // as near to a tie of floats as a double-double can be
      const auto bits = std::bit_cast<std::uint64_t>(x.hi) >> 29 << 29 | 1u << 28;
      x = Real(std::bit_cast<double>(bits), x.hi * 0x1p-60 * (i % 4 == 0 ? 1 : -1));
    }
    EXPECT_EQ(to_float(x), static_cast<float>(quad(x)));
  }
}

TEST(Real, TurnsAreRoundedOnce) {
  Draw draw;
  for (int i = 0; i < 20000; ++i) {
    const Real x = draw.any();
    EXPECT_EQ(to_turns(x), oracle::turns(quad(x))) << x.hi;
  }
  EXPECT_EQ(to_turns(Real(0.0)), 0u);
  EXPECT_EQ(to_turns(kTwoPi), 0u);
  EXPECT_EQ(to_turns(Real(0.5) * kTwoPi), std::uint64_t{1} << 63);
  EXPECT_EQ(to_turns(Real(1e-30)), 0u);
  EXPECT_EQ(to_turns(Real(-1e-30)), 0u);
}

TEST(Real, FloatPowerIsTheNearestFloat) {
  Draw draw;
  for (int i = 0; i < 20000; ++i) {
    const auto x = static_cast<float>(std::exp2(draw.uniform(1, 24)));
    const auto y = static_cast<float>(draw.uniform(0, 1));
    EXPECT_EQ(pow(x, y), static_cast<float>(powq(x, y))) << x << " ^ " << y;
  }
}

}  // namespace
}  // namespace ropewalk::math
