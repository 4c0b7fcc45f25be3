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
//     only for a spec that has them, each behind its name and in this order:
//         "given": heads, axes and every frequency but those above, which are the first table's
//         "output": for every pair its two output channels
//         "second": for every pair its second channel's axis and frequency
//         "xpos": scale_base, gamma, centre
//         "fourier": heads, tones, outputs, cos_mix, sin_mix
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
  const bool exact = spec.numerics == Numerics::kExact;
  const auto add_frequency = [&](const std::vector<std::uint64_t>& turns, const std::vector<float>& fp32,
                                 std::size_t j) {
    if (exact)
      hash.add(spec.clockwise ? std::uint64_t{0} - turns[j] : turns[j]);
    else
      hash.add(sign * spec.position_scale * double{fp32[j]});
  };
  const auto pairs = static_cast<std::size_t>(spec.pairs());
  for (std::size_t j = 0; j < pairs; ++j) {
    const bool still = exact ? frequencies->turns_per_token[j] == 0 : frequencies->inv_freq_fp32[j] == 0.0f;
    if (still && frequencies->attention_factor == 1.0) continue;

    const ChannelPair channels = spec.channels(static_cast<int>(j));
    hash.add(static_cast<std::uint64_t>(channels.first));
    hash.add(static_cast<std::uint64_t>(channels.second));
    hash.add(static_cast<std::uint64_t>(spec.axis_of_pair.empty() ? 0 : spec.axis_of_pair[j]));
    add_frequency(frequencies->turns_per_token, frequencies->inv_freq_fp32, j);
  }
  if (spec.given && frequencies->inv_freq.size() > pairs) {
    hash.add("given");
    hash.add(static_cast<std::uint64_t>(spec.given->heads));
    hash.add(static_cast<std::uint64_t>(spec.given->axes));
    for (std::size_t j = pairs; j < frequencies->inv_freq.size(); ++j)
      add_frequency(frequencies->turns_per_token, frequencies->inv_freq_fp32, j);
  }
  if (spec.output_layout != PairLayout::kUnset && spec.output_layout != spec.layout) {
    hash.add("output");
    for (int j = 0; j < spec.pairs(); ++j) {
      hash.add(static_cast<std::uint64_t>(spec.output_channels(j).first));
      hash.add(static_cast<std::uint64_t>(spec.output_channels(j).second));
    }
  }
  if (spec.second) {
    hash.add("second");
    const std::vector<std::uint8_t>& axes =
        spec.second->axis_of_pair.empty() ? spec.axis_of_pair : spec.second->axis_of_pair;
    for (std::size_t j = 0; j < pairs; ++j) {
      hash.add(static_cast<std::uint64_t>(axes.empty() ? 0 : axes[j]));
      add_frequency(frequencies->second_turns_per_token, frequencies->second_inv_freq_fp32, j);
    }
  }
  if (spec.xpos) {
    hash.add("xpos");
    hash.add(spec.xpos->scale_base);
    hash.add(spec.xpos->gamma);
    hash.add(static_cast<std::uint64_t>(frequencies->centre));
  }
  if (spec.fourier) {
    hash.add("fourier");
    for (const int number : {spec.fourier->heads, spec.fourier->tones, spec.fourier->outputs})
      hash.add(static_cast<std::uint64_t>(number));
    for (const auto* const mix : {&spec.fourier->cos_mix, &spec.fourier->sin_mix})
      for (const double weight : *mix) hash.add(weight);
  }
  return hash.hexadecimal();
}

}  // namespace ropewalk
