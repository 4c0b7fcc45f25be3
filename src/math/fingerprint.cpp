#include <ropewalk/frequencies.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/spec.hpp>

#include <bit>
#include <cstddef>
#include <string_view>
#include <utility>

// The hash is FNV-1a of 64 bits (Fowler, Noll, Vo) over these bytes, every number as 8 bytes, least significant first,
// a double by its IEEE bits with -0 as 0:
//
//     "ropewalk/1"                                      the version of this list
//     head_dim, numerics (0 exact, 1 fp32)
//     attention_factor, softmax_scale_multiplier
//     query temperature: beta, context, offset          0, 1, 0 where there is none or beta is 0
//     for every pair that moves its channels, in the order of its first channel:
//         first channel, second channel, axis           counted from the head's first
//         exact: turns_per_token; fp32: inv_freq        negated if the spec turns clockwise
//
// Hence what counts is what is done to a head: a pair that stands still with factor 1 is as good as a channel outside
// rotary_dim, and a linear factor of 1 is as good as none.

namespace ropewalk {
namespace {

class Hash {
 public:
  void add(std::string_view text) noexcept {
    for (const char c : text) add_byte(static_cast<std::uint8_t>(c));
  }
  void add(std::uint64_t number) noexcept {
    for (int shift = 0; shift < 64; shift += 8) add_byte(static_cast<std::uint8_t>(number >> shift & 0xff));
  }
  void add(double number) noexcept { add(std::bit_cast<std::uint64_t>(number == 0.0 ? 0.0 : number)); }

  std::string hexadecimal() const {
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[state_ >> shift & 0xf];
    return text;
  }

 private:
  void add_byte(std::uint8_t byte) noexcept { state_ = (state_ ^ byte) * 0x100000001b3; }

  std::uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace

Result<std::string> fingerprint(const RotarySpec& spec, std::int64_t running_length) {
  auto frequencies = make_frequencies(spec, running_length);
  if (!frequencies) return frequencies.error();

  Hash hash;
  hash.add("ropewalk/1");
  hash.add(static_cast<std::uint64_t>(spec.head_dim));
  hash.add(static_cast<std::uint64_t>(spec.numerics));
  hash.add(frequencies->attention_factor);
  hash.add(frequencies->softmax_scale_multiplier);
  const bool tempered = spec.query_temperature && spec.query_temperature->beta != 0.0;
  const QueryTemperature temperature = tempered ? *spec.query_temperature : QueryTemperature{};
  hash.add(temperature.beta);
  hash.add(static_cast<std::uint64_t>(temperature.context));
  hash.add(static_cast<std::uint64_t>(temperature.offset));

  const double sign = spec.clockwise ? -1.0 : 1.0;
  for (int j = 0; j < spec.pairs(); ++j) {
    const auto at_j = static_cast<std::size_t>(j);
    const bool exact = spec.numerics == Numerics::kExact;
    const bool still = exact ? frequencies->turns_per_token[at_j] == 0 : frequencies->inv_freq_fp32[at_j] == 0.0f;
    if (still && frequencies->attention_factor == 1.0) continue;

    const ChannelPair channels = channels_of(spec.layout, j, spec.pairs());
    hash.add(static_cast<std::uint64_t>(spec.rotary_offset + channels.first));
    hash.add(static_cast<std::uint64_t>(spec.rotary_offset + channels.second));
    hash.add(static_cast<std::uint64_t>(spec.axis_of_pair.empty() ? 0 : spec.axis_of_pair[at_j]));
    if (exact) {
      const std::uint64_t turns = frequencies->turns_per_token[at_j];
      hash.add(spec.clockwise ? std::uint64_t{0} - turns : turns);
    } else {
      hash.add(sign * double{frequencies->inv_freq_fp32[at_j]});
    }
  }
  return hash.hexadecimal();
}

}  // namespace ropewalk
