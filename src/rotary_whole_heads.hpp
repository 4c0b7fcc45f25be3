// The general way through a call: token by token, a 2 x 2 matrix for every pair, a head read whole before it is
// written. For specs whose heads have frequencies of their own, whose results go to other channels, or that are no
// rotation at all (second angles, xPos, Fourier mixes).
#pragma once

#include <ropewalk/rotary.hpp>

#include "cpu/dispatch.hpp"
#include "math/real.hpp"
#include "math/token_turns.hpp"
#include "rotary_tiles.hpp"

#include <array>
#include <cmath>

namespace ropewalk {

/// [4, pairs]: every pair's first and second channel in `layout`, then those in `output_layout`.
using RotaryChannels = std::vector<std::int32_t>;

inline RotaryChannels channels_of(const RotarySpec& spec) {
  const auto pairs = static_cast<std::size_t>(spec.pairs());
  RotaryChannels channels(4 * pairs);
  for (std::size_t j = 0; j < pairs; ++j) {
    const ChannelPair in = spec.channels(static_cast<int>(j)), out = spec.output_channels(static_cast<int>(j));
    channels[j] = in.first;
    channels[pairs + j] = in.second;
    channels[2 * pairs + j] = out.first;
    channels[3 * pairs + j] = out.second;
  }
  return channels;
}

template <class View>
class WholeHeadPass {
 public:
  WholeHeadPass(const RotarySpec& spec, const Frequencies& frequencies, const RotaryChannels& channels,
                std::span<const RotaryOperand> operands, const View& positions, Direction direction) noexcept
      : spec_(spec),
        frequencies_(frequencies),
        channels_(channels),
        operands_(operands),
        turns_(spec, frequencies, positions),
        kernels_(*cpu::active_target().kernels),
        direction_(direction),
        pairs_(spec.pairs()),
        tables_(tables_of(spec)) {}

  std::int64_t items() const noexcept { return operands_.front().in.tokens * operands_.front().in.batch; }

  void run(std::int64_t first, std::int64_t last) const noexcept {
    const std::int64_t tokens = operands_.front().in.tokens;
    Matrices matrices;
    for (std::int64_t i = first; i < last; ++i)
      for (std::int64_t table = 0; table < tables_; ++table) {
        fill(i / tokens, i % tokens, table, matrices);
        for (const RotaryOperand& operand : operands_)
          if (spec_.xpos) {
            Matrices own = matrices;
            scale_by_xpos(i / tokens, i % tokens, operand.role, own);
            turn(operand, i / tokens, i % tokens, table, own);
          } else {
            turn(operand, i / tokens, i % tokens, table, matrices);
          }
      }
  }

 private:
  // y0 = x0 m00 + x1 m01, y1 = x1 m11 + x0 m10
  struct Matrices {
    alignas(64) std::array<float, kTilePairs> m00, m01, m10, m11;
  };

  void cos_sin(std::int64_t row, std::int64_t token, std::int64_t table, std::int64_t pairs, bool second,
               const cpu::Gain& gain, float* cos, float* sin) const noexcept {
    constexpr std::int64_t kSome = 64;
    std::array<Turns, kSome> turns;
    for (std::int64_t at = 0; at < pairs; at += kSome) {
      const std::int64_t some = std::min(kSome, pairs - at);
      if (second)
        turns_.fill_second(row, token, at, some, turns.data());
      else
        turns_.fill(row, token, table, at, some, turns.data());
      kernels_.cos_sin_of(turns.data(), some, gain, cos + at, sin + at);
    }
  }

  void fill(std::int64_t row, std::int64_t token, std::int64_t table, Matrices& m) const noexcept {
    const auto pairs = static_cast<std::size_t>(pairs_);
    const std::int64_t given_table = spec_.given && spec_.given->heads > 1 ? table : 0;
    if (!spec_.second && !spec_.fourier) {
      const cpu::Gain gain = gain_of(spec_, frequencies_, direction_);
      cos_sin(row, token, given_table, pairs_, false, gain, m.m00.data(), m.m10.data());
      for (std::size_t j = 0; j < pairs; ++j) {
        m.m01[j] = -m.m10[j];
        m.m11[j] = m.m00[j];
      }
      return;
    }
    const cpu::Gain one = cpu::Gain::of(1.0, spec_.clockwise);
    if (spec_.second) {
      cos_sin(row, token, given_table, pairs_, false, one, m.m00.data(), m.m01.data());
      for (std::size_t j = 0; j < pairs; ++j) m.m01[j] = -m.m01[j];
      cos_sin(row, token, given_table, pairs_, true, one, m.m11.data(), m.m10.data());
    } else {
      mix(row, token, given_table, spec_.fourier->heads > 1 ? table : 0, one, m);
    }
    for (std::size_t j = 0; j < pairs; ++j) in_direction(m.m00[j], m.m01[j], m.m10[j], m.m11[j]);
  }

  void mix(std::int64_t row, std::int64_t token, std::int64_t given_table, std::int64_t mix_table, const cpu::Gain& one,
           Matrices& m) const noexcept {
    const FourierMix& mix = *spec_.fourier;
    const auto tones = static_cast<std::size_t>(mix.tones), outputs = static_cast<std::size_t>(mix.outputs);
    alignas(64) std::array<float, kTilePairs> cos, sin;
    cos_sin(row, token, given_table, mix.tones, false, one, cos.data(), sin.data());
    const std::size_t begin = static_cast<std::size_t>(mix_table) * tones * outputs;
    for (std::size_t j = 0; j < static_cast<std::size_t>(pairs_); ++j) {
      double c = 1.0, s = 0.0;
      if (j < outputs) {
        c = 0.0;
        for (std::size_t t = 0; t < tones; ++t) {
          c += double{cos[t]} * mix.cos_mix[begin + t * outputs + j];
          s += double{sin[t]} * mix.sin_mix[begin + t * outputs + j];
        }
      }
      m.m00[j] = m.m11[j] = static_cast<float>(c);
      m.m10[j] = static_cast<float>(s);
      m.m01[j] = static_cast<float>(-s);
    }
  }

  // From the matrix of kForward without its gain to that of the direction, with it.
  void in_direction(float& m00, float& m01, float& m10, float& m11) const noexcept {
    const double a = m00, b = m01, c = m10, d = m11, gain = frequencies_.attention_factor;
    switch (direction_) {
      case Direction::kShift: return;
      case Direction::kForward: return set(gain, a, b, c, d, m00, m01, m10, m11);
      case Direction::kTranspose: return set(gain, a, c, b, d, m00, m01, m10, m11);
      case Direction::kInverse: return set(1.0 / (gain * (a * d - b * c)), d, -b, -c, a, m00, m01, m10, m11);
    }
  }
  static void set(double gain, double a, double b, double c, double d, float& m00, float& m01, float& m10,
                  float& m11) noexcept {
    m00 = static_cast<float>(gain * a);
    m01 = static_cast<float>(gain * b);
    m10 = static_cast<float>(gain * c);
    m11 = static_cast<float>(gain * d);
  }

  void scale_by_xpos(std::int64_t row, std::int64_t token, Role role, Matrices& m) const noexcept {
    const double p = static_cast<double>(turns_.position(0, row, token));
    const double centre = direction_ == Direction::kShift ? 0.0 : static_cast<double>(frequencies_.centre);
    const bool shrinks = (role == Role::kKey) != (direction_ == Direction::kInverse);
    const double power = (p - centre) / spec_.xpos->scale_base * (shrinks ? -1.0 : 1.0);
    const double d = spec_.rotary_dim, gamma = spec_.xpos->gamma;
    for (std::size_t j = 0; j < static_cast<std::size_t>(pairs_); ++j) {
      const double zeta = (2.0 * static_cast<double>(j) + gamma * d) / (d + gamma * d);
      // Beyond what float holds the exponential would leave its own domain; it is 0 or infinity there anyway.
      const double exponent = std::clamp(power * math::log(zeta), -200.0, 200.0);
      const double magnitude = math::to_double(math::exp(math::Real(exponent)));
      for (auto* const entries : {&m.m00, &m.m01, &m.m10, &m.m11})
        (*entries)[j] = static_cast<float>(magnitude * double{(*entries)[j]});
    }
  }

  void turn(const RotaryOperand& operand, std::int64_t row, std::int64_t token, std::int64_t table,
            const Matrices& m) const noexcept {
    const HeadsView &in = operand.in, &out = operand.out;
    const std::int64_t heads = in.heads / tables_, head = table * heads;
    if (heads == 0) return;
    const auto size = static_cast<std::int64_t>(size_of(in.dtype));
    const auto element = [&](const HeadsView& x) {
      return static_cast<char*>(x.data) + size * (row * x.batch_stride + token * x.token_stride + head * x.head_stride);
    };
    if (!same_place(in, out))
      copy_untouched(spec_, element(in), element(out), size, heads, in.head_stride, out.head_stride);
    // Forward goes from `layout` to `output_layout`, the ways back from there; a shift stays there.
    const std::int32_t* const map = channels_.data();
    const bool forward = direction_ == Direction::kForward, back = !forward && direction_ != Direction::kShift;
    const std::int32_t* const from = forward ? map : map + 2 * pairs_;
    const std::int32_t* const to = back ? map : map + 2 * pairs_;
    kernels_.turn_scattered[static_cast<std::size_t>(in.dtype)]({.in = element(in),
                                                                 .out = element(out),
                                                                 .in_stride = in.head_stride,
                                                                 .out_stride = out.head_stride,
                                                                 .heads = heads,
                                                                 .in_first = from,
                                                                 .in_second = from + pairs_,
                                                                 .out_first = to,
                                                                 .out_second = to + pairs_,
                                                                 .m00 = m.m00.data(),
                                                                 .m01 = m.m01.data(),
                                                                 .m10 = m.m10.data(),
                                                                 .m11 = m.m11.data(),
                                                                 .pairs = pairs_});
  }

  const RotarySpec& spec_;
  const Frequencies& frequencies_;
  const RotaryChannels& channels_;
  std::span<const RotaryOperand> operands_;
  math::TokenTurns<View> turns_;
  const cpu::KernelTable& kernels_;
  Direction direction_;
  std::int64_t pairs_, tables_;
};

}  // namespace ropewalk
