// The decimals of std::to_chars by printf and strtod of the "C" locale, for a standard library without them.
// tests/math/shortest_decimal_test.cpp compares them with one that has them.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace ropewalk::wasm32 {

enum class Notation { kShorter, kFixed };

/// |value| = 0.digits * 10^exponent
struct Decimal {
  char digits[24];
  int count;
  int exponent;
};

inline double read_as(double, const char* text) { return std::strtod(text, nullptr); }
inline float read_as(float, const char* text) { return std::strtof(text, nullptr); }

/// Adds one in the last place of d.ddde+xx. False if that makes a digit more.
inline bool next_up(char* text) {
  for (char* at = std::strchr(text, 'e') - 1; at >= text; --at) {
    if (*at == '.') continue;
    if (++*at <= '9') return true;
    *at = '0';
  }
  return false;
}

/// The fewest digits that read back as `magnitude`, > 0 and finite, and among those the nearest.
template <class Float>
Decimal shortest(Float magnitude) {
  char text[40];
  for (int places = 0;; ++places) {
    std::snprintf(text, sizeof text, "%.*e", places, static_cast<double>(magnitude));
    if (read_as(magnitude, text) == magnitude) break;
    // At a power of two what reads back reaches twice as far up as down: the nearest decimal below may be out of it
    // where the next one above is in.
    if (next_up(text) && read_as(magnitude, text) == magnitude) break;
  }
  Decimal decimal{};
  const char* at = text;
  for (; *at != 'e'; ++at)
    if (*at != '.') decimal.digits[decimal.count++] = *at;
  decimal.exponent = std::atoi(at + 1) + 1;
  while (decimal.count > 1 && decimal.digits[decimal.count - 1] == '0') --decimal.count;
  return decimal;
}

/// std::to_chars(first, last, value), or with std::chars_format::fixed; null if there is no room.
template <class Float>
char* write_shortest(Float value, Notation notation, char* first, char* last) {
  std::string text = std::signbit(value) ? "-" : "";
  const Float magnitude = std::fabs(value);
  if (std::isnan(value)) {
    text += "nan";
  } else if (std::isinf(value)) {
    text += "inf";
  } else if (magnitude == Float{0}) {
    text += '0';
  } else {
    const Decimal decimal = shortest(magnitude);
    const std::string digits(decimal.digits, static_cast<std::size_t>(decimal.count));
    const auto point = static_cast<std::size_t>(decimal.exponent > 0 ? decimal.exponent : 0);

    std::string scientific = digits.substr(0, 1);
    if (decimal.count > 1) scientific += '.' + digits.substr(1);
    char power[16];
    std::snprintf(power, sizeof power, "e%+03d", decimal.exponent - 1);
    scientific += power;

    std::string fixed;
    if (decimal.exponent <= 0) {
      fixed = "0." + std::string(static_cast<std::size_t>(-decimal.exponent), '0') + digits;
    } else if (digits.size() <= point) {
      char whole[400];
      std::snprintf(whole, sizeof whole, "%.0f", static_cast<double>(magnitude));
      fixed = whole;
    } else {
      fixed = digits.substr(0, point) + '.' + digits.substr(point);
    }
    text += notation == Notation::kFixed || fixed.size() <= scientific.size() ? fixed : scientific;
  }
  if (text.size() > static_cast<std::size_t>(last - first)) return nullptr;
  std::memcpy(first, text.data(), text.size());
  return first + text.size();
}

/// std::from_chars(first, last, value) of a decimal; what is behind the number, or `first` if there is none.
inline const char* read_decimal(const char* first, const char* last, double& value) {
  const std::string text(first, last);
  char* end = nullptr;
  const double read = std::strtod(text.c_str(), &end);
  if (end != text.c_str()) value = read;
  return first + (end - text.c_str());
}

}  // namespace ropewalk::wasm32
