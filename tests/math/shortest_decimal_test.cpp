// The decimals that builds without std::to_chars of floating numbers write (cmake/wasm32), against those of one with
// it.
#include "shortest_decimal.hpp"

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

namespace {

using ropewalk::wasm32::Notation;

template <class Float>
std::string ours(Float value, Notation notation = Notation::kShorter) {
  char text[512];
  return {text, ropewalk::wasm32::write_shortest(value, notation, text, text + sizeof text)};
}

template <class Float>
std::string wanted(Float value) {
  char text[512];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

TEST(ShortestDecimal, IsThatOfTheStandardLibraryAtEveryPowerOfTwoAndItsNeighbours) {
  for (int exponent = -1074; exponent <= 1023; ++exponent) {
    const double power = std::ldexp(1.0, exponent);
    for (const double value : {power, -power, std::nextafter(power, 0.0), std::nextafter(power, HUGE_VAL)}) {
      ASSERT_EQ(ours(value), wanted(value)) << exponent;
    }
    const auto narrow = static_cast<float>(power);
    ASSERT_EQ(ours(narrow), wanted(narrow)) << exponent;
  }
}

TEST(ShortestDecimal, IsThatOfTheStandardLibraryForNumbersOfAllKinds) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t bits = random();
    double wide;
    float narrow;
    std::memcpy(&wide, &bits, sizeof wide);
    std::memcpy(&narrow, &bits, sizeof narrow);
    if (std::isnan(wide) || std::isnan(narrow)) continue;
    ASSERT_EQ(ours(wide), wanted(wide));
    ASSERT_EQ(ours(narrow), wanted(narrow));
    const double whole = std::floor(std::ldexp(static_cast<double>(bits), -static_cast<int>(bits % 60)));
    char text[64];
    char* const end = std::to_chars(text, text + sizeof text, whole, std::chars_format::fixed).ptr;
    ASSERT_EQ(ours(whole, Notation::kFixed), std::string(text, end));
    const double few = static_cast<double>(bits % 100000) / 1000.0;
    ASSERT_EQ(ours(few), wanted(few));
  }
  for (const double value : {0.0, -0.0, 1e15, 1e16, 1e22, 1e23, 5e-324, std::numeric_limits<double>::infinity()})
    EXPECT_EQ(ours(value), wanted(value));
}

TEST(ShortestDecimal, SaysWhereThereIsNoRoomAndReadsWhatItWrote) {
  char text[8];
  EXPECT_EQ(ropewalk::wasm32::write_shortest(0.1234567, Notation::kShorter, text, text + sizeof text), nullptr);
  double value = 0.0;
  const char decimal[] = "0.0707,";
  EXPECT_EQ(ropewalk::wasm32::read_decimal(decimal, decimal + 6, value), decimal + 6);
  EXPECT_EQ(value, 0.0707);
  EXPECT_EQ(ropewalk::wasm32::read_decimal(decimal + 6, decimal + 7, value), decimal + 6);
}

}  // namespace
