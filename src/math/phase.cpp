#include <ropewalk/phase.hpp>

#include <array>
#include <bit>
#include <cmath>

namespace ropewalk {
namespace {

// The first 320 binary places of 1 / (2 pi), the first word those from 2^-1 to 2^-64. A finite float is m * 2^e with
// e <= 104, of which 104 + 128 places are read.
constexpr std::array<std::uint64_t, 5> kInverseTwoPi = {0x28be60db9391054a, 0x7f09d5f47d4d3770, 0x36d8a5664f10e410,
                                                        0x7f9458eaf7aef158, 0x6dc91b8e909374b8};

// 64 places of 1 / (2 pi) from the one after 2^-`skipped` on; places before the point are zeros.
std::uint64_t places(int skipped) noexcept {
  if (skipped <= -64) return 0;
  if (skipped < 0) return kInverseTwoPi[0] >> -skipped;
  const auto word = static_cast<std::size_t>(skipped) / 64;
  const int offset = skipped % 64;
  const std::uint64_t high = kInverseTwoPi[word] << offset;
  return offset == 0 ? high : high | kInverseTwoPi[word + 1] >> (64 - offset);
}

// A fraction of a turn in [-0.5, 0.5], to the nearest 2^-64.
Turns fraction_of_turn(double fraction) noexcept {
  // A double below 1/2 holds no more than 63 places here unless it is small, and then rounding is what is wanted.
  const double scaled = std::nearbyint(fraction * 0x1p64);
  if (scaled >= 0x1p63) return Turns{1} << 63;
  return static_cast<Turns>(static_cast<std::int64_t>(scaled));
}

}  // namespace

Turns phase_fp32(std::int64_t position, float inv_freq) noexcept {
  return turns_from_radians(static_cast<float>(position) * inv_freq);
}

Turns phase_fp32(double coordinate, float scale, float inv_freq) noexcept {
  return turns_from_radians(static_cast<float>(coordinate) * scale * inv_freq);
}

Turns phase(double coordinate, const TurnsPerUnit& turns_per_unit) noexcept {
  // coordinate * high = product + rest exactly; whole turns leave each part exactly too.
  const double product = coordinate * turns_per_unit.high;
  if (!std::isfinite(product)) return 0;
  const double rest = std::fma(coordinate, turns_per_unit.high, -product) + coordinate * turns_per_unit.low;
  const double high = product - std::nearbyint(product), low = rest - std::nearbyint(rest);
  return fraction_of_turn(high) + fraction_of_turn(low);
}

Turns turns_from_radians(float radians) noexcept {
  if (!std::isfinite(radians)) return 0;

  // |radians| = m * 2^e with a whole m below 2^24. Modulo a turn m * (2^e / 2 pi) needs only the places of 1 / (2 pi)
  // behind the first e. Of them 128 are taken, so that what is cut off stays below 2^24 * 2^-128 turn.
  const auto bits = std::bit_cast<std::uint32_t>(radians);
  const std::uint32_t field = bits >> 23 & 0xff;
  const std::uint64_t m = (bits & 0x7fffff) | (field != 0 ? 0x800000u : 0u);
  const int e = (field != 0 ? static_cast<int>(field) : 1) - 150;

  // m times the 128 places, modulo 2^128, rounded at 2^64.
  const std::uint64_t high = places(e), low = places(e + 64);
  const std::uint64_t low_product = m * (low & 0xffffffff);
  const std::uint64_t middle = m * (low >> 32) + (low_product >> 32);
  const std::uint64_t turns = m * high + (middle >> 32) + (middle >> 31 & 1);
  return std::signbit(radians) ? Turns{0} - turns : turns;
}

}  // namespace ropewalk
