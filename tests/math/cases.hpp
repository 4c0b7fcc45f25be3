#pragma once

#include <ropewalk/spec.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "oracle/rope.hpp"

// An encoding said twice: as a spec of the library, and as what the oracle makes of the same numbers.

namespace ropewalk::test {

struct Case {
  std::string name;
  RotarySpec spec;
  std::int64_t running_length = 0;
  oracle::Encoding truth;
};

inline RotarySpec spec_of(int dim, double theta, Scaling scaling = NoScaling{}) {
  RotarySpec spec;
  spec.head_dim = spec.rotary_dim = dim;
  spec.theta = theta;
  spec.layout = PairLayout::kHalf;
  spec.scaling = std::move(scaling);
  return spec;
}

/// Every method with the numbers of a published checkpoint, or near it.
inline std::vector<Case> published_cases() {
  std::vector<Case> cases;
  const auto add = [&](std::string name, RotarySpec spec, oracle::Encoding truth, std::int64_t length = 0) {
    cases.push_back({std::move(name), std::move(spec), length, std::move(truth)});
  };
  add("none", spec_of(128, 1e4), oracle::none(1e4, 128));
  add("none_theta_1e7", spec_of(64, 1e7), oracle::none(1e7, 64));
  add("linear", spec_of(256, 1e6, LinearOptions{8.0}), oracle::linear(1e6, 256, 8));
  add("ntk_base", spec_of(128, 1e4, NtkOptions{1000.0}), oracle::ntk(1e4, 128, 1000));
  add("ntk_fixed", spec_of(128, 1e4, NtkOptions{.factor = 8, .form = NtkForm::kFixed}), oracle::ntk_fixed(1e4, 128, 8));
  add("ntk_mixed", spec_of(128, 1e4, NtkOptions{.factor = 8, .form = NtkForm::kMixed}),
      oracle::ntk_mixed(1e4, 128, 8, 0.625));
  for (const std::int64_t length : {0, 4096, 4097, 8192, 16384})
    add("dynamic_" + std::to_string(length), spec_of(128, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 4096}),
        oracle::dynamic(1e4, 128, 2, 4096, static_cast<oracle::Quad>(length)), length);
  add("dynamic_full_length",
      spec_of(128, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 4096, .growth = DynamicGrowth::kFullLength}),
      oracle::dynamic(1e4, 128, 2, 4096, 8192));
  add("yarn_qwen3", spec_of(128, 1e6, YarnOptions{.factor = 4, .trained_context = 32768}),
      oracle::yarn(1e6, 128, {.s = 4, .trained = 32768}));
  add("yarn_deepseek_v3",
      spec_of(
          64, 1e4,
          YarnOptions{.factor = 40, .trained_context = 4096, .mscale = 1, .mscale_all_dim = 1, .scale_softmax = true}),
      oracle::yarn(1e4, 64, {.s = 40, .trained = 4096, .mscale = 1, .mscale_all_dim = 1, .softmax = true}));
  add("yarn_gpt_oss", spec_of(64, 150000, YarnOptions{.factor = 32, .trained_context = 4096, .truncate = false}),
      oracle::yarn(150000, 64, {.s = 32, .trained = 4096, .truncate = false}));
  add("yarn_ggml",
      spec_of(64, 1e4,
              YarnOptions{.factor = 4,
                          .trained_context = 40,
                          .beta_fast = 1,
                          .beta_slow = 8,
                          .extrapolation_factor = 0.75,
                          .ramp_guard = RampGuard::kFloor}),
      oracle::yarn(
          1e4, 64,
          {.s = 4, .trained = 40, .beta_fast = 1, .beta_slow = 8, .extrapolation = 0.75, .least_width = true}));
  std::vector<double> shorts, longs;
  for (int j = 0; j < 48; ++j) {
    shorts.push_back(1.0 + 0.01 * j);
    longs.push_back(1.0 + 1.25 * j);
  }
  const LongRopeOptions longrope{.short_factor = shorts, .long_factor = longs, .trained_context = 4096, .factor = 32};
  add("longrope_short", spec_of(96, 1e4, longrope), oracle::longrope(1e4, 96, shorts, 32, 4096), 4096);
  add("longrope_long", spec_of(96, 1e4, longrope), oracle::longrope(1e4, 96, longs, 32, 4096), 4097);
  add("llama3_1", spec_of(128, 5e5, Llama3Options{.factor = 8, .trained_context = 8192}),
      oracle::llama3(5e5, 128, 8, 1, 4, 8192));
  add("llama3_2", spec_of(64, 5e5, Llama3Options{.factor = 32, .trained_context = 8192}),
      oracle::llama3(5e5, 64, 32, 1, 4, 8192));
  add("proportional_gemma4", spec_of(512, 1e6, ProportionalOptions{.fraction = 0.25}),
      oracle::proportional(1e6, 512, 64, 1));
  add("divisors", spec_of(96, 5e5, DivisorOptions{.divisors = longs, .factor = 2}), oracle::divided(5e5, 96, longs, 2));
  return cases;
}

/// Every method with settings drawn at random from all that a checkpoint might say, awkward ones among them.
inline std::vector<Case> random_cases(int rounds, unsigned seed) {
  std::mt19937_64 random(seed);
  const auto uniform = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  const auto whole = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const auto chance = [&] { return whole(0, 1) == 1; };

  std::vector<Case> cases;
  for (int round = 0; round < rounds; ++round) {
    const int d = static_cast<int>(2 * whole(2, 150));
    const double theta = chance() ? std::pow(10.0, static_cast<double>(whole(1, 8))) : uniform(2.0, 2e7);
    const double s = chance() ? static_cast<double>(whole(1, 64)) : uniform(1.0, 64.0);
    const std::int64_t trained = chance() ? 1024 * whole(1, 1024) : whole(2, 2'000'000);
    const std::int64_t length = trained * whole(1, 40) + whole(0, 1000);
    const auto trained_quad = static_cast<oracle::Quad>(trained);
    std::vector<double> divisors;
    for (int j = 0; j < d / 2; ++j) divisors.push_back(uniform(0.5, 70.0));

    const auto add = [&](const char* name, const Scaling& scaling, oracle::Encoding truth) {
      cases.push_back({std::string(name) + " round " + std::to_string(round), spec_of(d, theta, scaling), length,
                       std::move(truth)});
    };
    add("none", NoScaling{}, oracle::none(theta, d));
    add("linear", LinearOptions{s}, oracle::linear(theta, d, s));
    add("ntk", NtkOptions{s}, oracle::ntk(theta, d, s));
    add("ntk_fixed", NtkOptions{.factor = s, .form = NtkForm::kFixed}, oracle::ntk_fixed(theta, d, s));
    const double b = uniform(0.1, 2.0);
    add("ntk_mixed", NtkOptions{.factor = s, .form = NtkForm::kMixed, .mixed_b = b}, oracle::ntk_mixed(theta, d, s, b));
    add("dynamic", DynamicNtkOptions{.factor = s, .trained_context = trained},
        oracle::dynamic(theta, d, s, trained_quad, static_cast<oracle::Quad>(length)));

    YarnOptions yarn{
        .factor = s, .trained_context = trained, .beta_fast = uniform(1, 64), .beta_slow = uniform(0.5, 4)};
    yarn.truncate = chance();
    yarn.scale_softmax = chance();
    if (chance()) yarn.mscale = uniform(0.1, 2.0);
    if (chance()) yarn.mscale_all_dim = uniform(0.1, 2.0);
    if (chance()) yarn.mscale_rule = MscaleRule::kNumerator;
    if (chance()) yarn.mscale_coefficient = 0.07;
    if (chance()) yarn.ramp_guard = RampGuard::kFloor;
    add("yarn", yarn,
        oracle::yarn(theta, d,
                     {.s = s,
                      .trained = trained_quad,
                      .beta_fast = yarn.beta_fast,
                      .beta_slow = yarn.beta_slow,
                      .truncate = yarn.truncate,
                      .mscale = yarn.mscale,
                      .mscale_all_dim = yarn.mscale_all_dim,
                      .each_mscale_alone = yarn.mscale_rule == MscaleRule::kNumerator,
                      .coefficient = yarn.mscale_coefficient,
                      .least_width = yarn.ramp_guard == RampGuard::kFloor,
                      .softmax = yarn.scale_softmax}));

    LongRopeOptions longrope{.short_factor = std::vector<double>(divisors.size(), 1.0),
                             .long_factor = divisors,
                             .trained_context = trained,
                             .factor = s,
                             .policy = LongRopePolicy::kLong};
    add("longrope", longrope, oracle::longrope(theta, d, divisors, s, trained_quad));
    const double low = uniform(0.5, 2.0), high = low + uniform(0.0, 6.0);
    add("llama3",
        Llama3Options{.factor = s, .low_freq_factor = low, .high_freq_factor = high, .trained_context = trained},
        oracle::llama3(theta, d, s, low, high, trained_quad));
    const int live = static_cast<int>(whole(1, d / 2));
    const double fraction = std::min(1.0, (live + uniform(0.01, 0.99)) * 2.0 / d);  // truncated, not rounded
    add("proportional", ProportionalOptions{.fraction = fraction, .factor = s},
        oracle::proportional(theta, d, live, s));
    add("divisors", DivisorOptions{.divisors = divisors, .factor = s}, oracle::divided(theta, d, divisors, s));
  }
  return cases;
}

}  // namespace ropewalk::test
