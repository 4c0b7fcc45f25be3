#include <ropewalk/frequencies.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/table.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "cases.hpp"
#include "oracle/rotate.hpp"

// The golden traps: what implementations in the field got wrong, each with numbers that the wrong code does not give.
// The expected figures were worked out in double or better from the published formulas, not with this library.

namespace ropewalk {
namespace {

using test::spec_of;

constexpr double kDigits = 5e-10;  // relative: the figures below have ten digits

void expect_digits(double got, double want, double relative = kDigits) {
  EXPECT_NEAR(got, want, relative * std::abs(want));
}

Frequencies frequencies_of(const RotarySpec& spec, std::int64_t running_length = 0) {
  auto result = make_frequencies(spec, running_length);
  EXPECT_TRUE(result) << result.error().line();
  return result ? *result : Frequencies{};
}

double inv_freq(const RotarySpec& spec, std::size_t pair, std::int64_t running_length = 0) {
  return frequencies_of(spec, running_length).inv_freq[pair];
}

// A head turned by the library's own phases, in double.
std::vector<double> turned(std::vector<double> head, const RotarySpec& spec, std::int64_t position) {
  const Frequencies frequencies = frequencies_of(spec);
  for (int j = 0; j < spec.pairs(); ++j) {
    const Turns turns = phase(position, frequencies.turns_per_token[static_cast<std::size_t>(j)]);
    double c = 0, s = 0;
    fill_cos_sin({&turns, 1}, frequencies.attention_factor, &c, &s);
    const ChannelPair channels = channels_of(spec.layout, j, spec.pairs());
    const auto first = static_cast<std::size_t>(spec.rotary_offset + channels.first);
    const auto second = static_cast<std::size_t>(spec.rotary_offset + channels.second);
    const double x0 = head[first], x1 = head[second];
    head[first] = x0 * c - x1 * s;
    head[second] = x1 * c + x0 * s;
  }
  return head;
}

void expect_heads_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << "channel " << i;
}

RotarySpec with_layout(RotarySpec spec, PairLayout layout) {
  spec.layout = layout;
  return spec;
}

RotarySpec yarn_spec(int dim, double theta, YarnOptions options) { return spec_of(dim, theta, options); }

TEST(Trap01, PairLayoutsGiveTheirOwnNumbers) {
  const std::vector<double> x = {1, 2, 3, 4};
  const RotarySpec half = spec_of(4, 1e4), adjacent = with_layout(half, PairLayout::kInterleaved);
  expect_heads_near(turned(x, half, 3), {-1.413352521, 1.879118067, -2.828857482, 4.058191135}, 5e-10);
  expect_heads_near(turned(x, adjacent, 3), {-1.272232513, -1.838864985, 2.878668100, 4.088186636}, 5e-10);
  expect_heads_near(turned(x, half, 3), oracle::rotated(x, oracle::angles(3, 1e4, 4), oracle::halves), 1e-15);
  expect_heads_near(turned(x, adjacent, 3), oracle::rotated(x, oracle::angles(3, 1e4, 4), oracle::adjacent), 1e-15);
}

TEST(Trap01, OneLayoutIsTheOtherBehindAGather) {
  // The gather 0 2 1 3: y[c] = x[c // 2 + (c % 2) * D / 2].
  const auto gathered = [](const std::vector<double>& x) {
    std::vector<double> y(x.size());
    for (std::size_t c = 0; c < x.size(); ++c) y[c] = x[c / 2 + c % 2 * x.size() / 2];
    return y;
  };
  std::vector<double> x(64);
  for (std::size_t c = 0; c < x.size(); ++c) x[c] = std::sin(1.0 + static_cast<double>(c));
  const RotarySpec half = spec_of(64, 1e4);
  for (const std::int64_t position : {1, -3, 511, 1048575})
    EXPECT_EQ(gathered(turned(x, half, position)),
              turned(gathered(x), with_layout(half, PairLayout::kInterleaved), position));
}

TEST(Trap01, PairsKeepTheirNorm) {
  const std::vector<double> y = turned({1, 2, 3, 4}, spec_of(4, 1e4), 3);
  EXPECT_NEAR(y[0] * y[0] + y[2] * y[2], 10.0, 1e-14);
  EXPECT_NEAR(y[1] * y[1] + y[3] * y[3], 20.0, 1e-14);
}

TEST(Trap02, Llama3ScalingTakesEffectWhereItShould) {
  struct Row {
    int dim;
    double factor;
    int kept, blended;
    std::vector<std::pair<std::size_t, double>> figures;
    std::vector<double> mean_cos_of_gap;  // at positions 1000, 8192, 60000
  };
  const Row rows[] = {
      {64,
       32,
       15,
       3,
       {{15, 1.29054793e-3}, {16, 4.29556797e-4}, {17, 9.7082878e-5}, {18, 1.94616382e-5}},
       {0.955, 0.764, 0.595}},
      {128,
       8,
       29,
       6,
       {{29, 2.16657076e-3}, {32, 5.2484616099e-4}, {34, 1.78507813e-4}, {35, 9.55621235e-5}},
       {0.963, 0.769, 0.539}},
  };
  for (const Row& row : rows) {
    const Frequencies plain = frequencies_of(spec_of(row.dim, 5e5));
    const Frequencies scaled =
        frequencies_of(spec_of(row.dim, 5e5, Llama3Options{.factor = row.factor, .trained_context = 8192}));
    int kept = 0, divided = 0;
    for (std::size_t j = 0; j < plain.inv_freq.size(); ++j) {
      kept += scaled.inv_freq[j] == plain.inv_freq[j];
      divided += scaled.inv_freq[j] == plain.inv_freq[j] / row.factor;  // powers of two: exact
    }
    EXPECT_EQ(kept, row.kept);
    EXPECT_EQ(divided, row.dim / 2 - row.kept - row.blended);
    for (const auto& [pair, figure] : row.figures) expect_digits(scaled.inv_freq[pair], figure, 5e-9);

    const std::int64_t positions[] = {1000, 8192, 60000};
    for (std::size_t p = 0; p < 3; ++p) {
      double sum = 0;
      for (std::size_t j = 0; j < plain.inv_freq.size(); ++j) {
        const Turns gap = phase(positions[p], plain.turns_per_token[j] - scaled.turns_per_token[j]);
        double c = 0, s = 0;
        fill_cos_sin({&gap, 1}, 1.0, &c, &s);
        sum += c;
      }
      EXPECT_NEAR(sum / static_cast<double>(plain.inv_freq.size()), row.mean_cos_of_gap[p], 6e-4);
    }
  }
}

TEST(Trap02, Llama3DivisorsOfTheGgufConverter) {
  const Frequencies plain = frequencies_of(spec_of(128, 5e5));
  const Frequencies scaled = frequencies_of(spec_of(128, 5e5, Llama3Options{.factor = 8, .trained_context = 8192}));
  const std::pair<std::size_t, double> divisors[] = {{29, 1.20748387}, {32, 2.69452969}, {34, 5.25732659}};
  for (const auto& [pair, divisor] : divisors)
    expect_digits(plain.inv_freq[pair] / scaled.inv_freq[pair], divisor, 5e-9);
}

TEST(Trap06, YarnAmplitudeIsCountedOnce) {
  // (a) plain: cos and sin times m, logits times m^2, the softmax scale alone.
  const Frequencies plain = frequencies_of(yarn_spec(128, 1e6, {.factor = 4, .trained_context = 32768}));
  expect_digits(plain.attention_factor, 1.138629436);
  expect_digits(plain.attention_factor * plain.attention_factor, 1.296476993);
  EXPECT_EQ(plain.softmax_scale_multiplier, 1.0);

  // (b) an explicit factor is what it is; 0 is a factor, not "missing".
  for (const double factor : {1.0, 0.0, 2.5})
    EXPECT_EQ(frequencies_of(yarn_spec(128, 1e6, {.factor = 4, .trained_context = 32768, .attention_factor = factor}))
                  .attention_factor,
              factor);

  // (c) DeepSeek-V3, and V2 with 0.707: both mscales cancel on cos and sin and stand on the softmax scale.
  const Frequencies v3 = frequencies_of(yarn_spec(
      64, 1e4, {.factor = 40, .trained_context = 4096, .mscale = 1, .mscale_all_dim = 1, .scale_softmax = true}));
  EXPECT_EQ(v3.attention_factor, 1.0);
  expect_digits(v3.softmax_scale_multiplier, 1.873854207);
  const Frequencies v2 = frequencies_of(yarn_spec(
      64, 1e4,
      {.factor = 40, .trained_context = 4096, .mscale = 0.707, .mscale_all_dim = 0.707, .scale_softmax = true}));
  EXPECT_EQ(v2.attention_factor, 1.0);
  expect_digits(v2.softmax_scale_multiplier, 1.589626165);

  // (d) what DeepSeek-V4's explicit 1 protects from, at factor 16.
  const Frequencies generic = frequencies_of(yarn_spec(64, 1.6e5, {.factor = 16, .trained_context = 65536}));
  expect_digits(generic.attention_factor, 1.277258872);
  expect_digits(generic.attention_factor * generic.attention_factor, 1.631390227);
}

TEST(Trap06, MscaleRulesDifferWithOneKey) {
  // transformers reads the mscales only if both are there; DeepSeek's own code reads them one by one.
  YarnOptions options{.factor = 40, .trained_context = 4096, .mscale = 0.707};
  expect_digits(frequencies_of(yarn_spec(64, 1e4, options)).attention_factor, 0.1 * std::log(40.0) + 1, 1e-15);
  options.mscale_rule = MscaleRule::kNumerator;
  expect_digits(frequencies_of(yarn_spec(64, 1e4, options)).attention_factor, 0.0707 * std::log(40.0) + 1, 1e-15);
  options.mscale = 0;
  options.mscale_all_dim = 1;
  EXPECT_EQ(frequencies_of(yarn_spec(64, 1e4, options)).attention_factor, 1.0);
  // TeleChat3's coefficient.
  expect_digits(frequencies_of(yarn_spec(64, 1e4, {.factor = 40, .trained_context = 4096, .mscale_coefficient = 0.07}))
                    .attention_factor,
                0.07 * std::log(40.0) + 1, 1e-15);
}

TEST(Trap07, PackedPositionsRestart) {
  const std::vector<std::int64_t> cu_seqlens = {0, 3, 8};
  EXPECT_EQ(*positions_from_cu_seqlens(cu_seqlens), (std::vector<std::int64_t>{0, 1, 2, 0, 1, 2, 3, 4}));

  // Any order of positions gives each token what it would get alone.
  const Frequencies frequencies = frequencies_of(spec_of(16, 1e4));
  for (const std::vector<std::int64_t>& positions :
       {std::vector<std::int64_t>{7, 8, 9}, {4, 3, 2, 1, 0}, {5, 5, 5}, {0, 17, 3, 1000000}}) {
    std::vector<Turns> together(positions.size() * 8), alone(8);
    fill_turns(frequencies, PositionsView::row(positions), {}, together.data());
    for (std::size_t t = 0; t < positions.size(); ++t) {
      fill_turns(frequencies, PositionsView::row({&positions[t], 1}), {}, alone.data());
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(8 * t)));
    }
  }
}

TEST(Trap08, LeftPaddingAndNegativePositions) {
  const std::vector<std::uint8_t> mask = {0, 0, 1, 1, 1};
  const auto positions = *positions_from_mask(mask, 1);
  EXPECT_EQ((std::vector<std::int64_t>(positions.begin() + 2, positions.end())), *positions_from_range(0, 3));

  // R(-p) = R(p)^T: turning back undoes turning.
  std::vector<double> x(16);
  std::iota(x.begin(), x.end(), 1.0);
  const RotarySpec spec = spec_of(16, 1e4);
  for (std::int64_t p = -5; p <= 4; ++p) expect_heads_near(turned(turned(x, spec, p), spec, -p), x, 1e-14);
}

TEST(Trap11, PartialWidthOfBothKinds) {
  // A prefix: the ladder is as steep as the channels that turn are many.
  RotarySpec prefix = spec_of(256, 1e7);
  prefix.rotary_dim = 64;
  expect_digits(inv_freq(prefix, 1), 0.6042963902);
  std::vector<double> x(256);
  std::iota(x.begin(), x.end(), 1.0);
  const auto y = turned(x, prefix, 12345);
  EXPECT_TRUE(std::equal(x.begin() + 64, x.end(), y.begin() + 64));
  EXPECT_EQ(channels_of(prefix.layout, 3, prefix.pairs()).second, 3 + 32);

  // Proportional: a ladder over the whole head, of which the first pairs turn.
  const RotarySpec gemma = spec_of(512, 1e6, ProportionalOptions{.fraction = 0.25});
  const Frequencies frequencies = frequencies_of(gemma);
  ASSERT_EQ(frequencies.inv_freq.size(), 256u);
  expect_digits(frequencies.inv_freq[32], 0.1778279410);
  expect_digits(frequencies.inv_freq[63], 0.0333762469, 5e-9);
  for (std::size_t j = 64; j < 256; ++j) EXPECT_EQ(frequencies.inv_freq[j], 0.0);
  EXPECT_EQ(channels_of(gemma.layout, 3, gemma.pairs()).second, 3 + 256);

  // The ladder is that of the channels that turn, wherever in the head they lie: 64 behind 128 of a latent head. One
  // that is stated otherwise counts its own rungs: a quarter of 512 is more than 32 pairs have.
  RotarySpec latent = spec_of(192, 1e4, ProportionalOptions{.fraction = 0.5, .factor = 2});
  latent.rotary_offset = 128;
  latent.rotary_dim = 64;
  EXPECT_EQ(frequencies_of(latent).inv_freq, frequencies_of(spec_of(64, 1e4, latent.scaling)).inv_freq);
  expect_digits(frequencies_of(latent).inv_freq[15], 0.5 * std::pow(1e4, -30.0 / 64), 1e-12);
  for (std::size_t j = 16; j < 32; ++j) EXPECT_EQ(frequencies_of(latent).inv_freq[j], 0.0);
  latent.frequency_dim = 512;
  latent.scaling = ProportionalOptions{.fraction = 0.25};
  expect_digits(frequencies_of(latent).inv_freq[31], std::pow(1e4, -62.0 / 512), 1e-12);
  latent.scaling = ProportionalOptions{.fraction = 0.0625};
  for (std::size_t j = 0; j < 32; ++j) EXPECT_EQ(frequencies_of(latent).inv_freq[j] == 0.0, j >= 16) << j;

  // Widths that are no power of two keep their norm.
  for (const int width : {72, 80, 96, 192}) {
    RotarySpec spec = spec_of(256, 1e4);
    spec.rotary_dim = width;
    spec.rotary_offset = 256 - width;
    const auto z = turned(x, spec, 99991);
    EXPECT_NEAR(
        std::inner_product(z.begin(), z.end(), z.begin(), 0.0) / std::inner_product(x.begin(), x.end(), x.begin(), 0.0),
        1.0, 1e-14);
    EXPECT_TRUE(std::equal(x.begin(), x.begin() + spec.rotary_offset, z.begin()));
  }

  for (const int wrong : {63, 258, 0, -2}) {
    prefix.rotary_dim = wrong;
    EXPECT_FALSE(make_frequencies(prefix));
  }
}

TEST(Trap12, LayersHaveTheirOwnBaseAndScaling) {
  expect_digits(inv_freq(spec_of(256, 1e6, LinearOptions{8}), 64), 1.25e-4, 1e-15);
  expect_digits(inv_freq(spec_of(256, 1e4), 64), 1e-2, 1e-15);
}

TEST(Trap13, YarnRampDetails) {
  const auto gpt_oss = [](bool truncate) {
    return yarn_spec(64, 150000, {.factor = 32, .trained_context = 4096, .truncate = truncate});
  };
  expect_digits(inv_freq(gpt_oss(false), 17), 1.29318701e-4, 5e-9);
  expect_digits(inv_freq(gpt_oss(true), 17), 2.27947796e-4, 5e-9);
  expect_digits(inv_freq(gpt_oss(false), 12), 6.7949594897e-3);
  EXPECT_TRUE(YarnOptions{}.truncate);

  // The upper clamp is dim - 1: corr(beta_slow) = 69.109 is not cut at 63, so the last pair is not fully divided.
  const double last = inv_freq(yarn_spec(128, 1e4, {.factor = 8, .trained_context = 131072, .truncate = false}), 63);
  const double plain = inv_freq(spec_of(128, 1e4), 63);
  EXPECT_NEAR(static_cast<double>(oracle::yarn_corr(1e4, 128, 131072, 1)), 69.109, 5e-4);
  const double low = static_cast<double>(oracle::yarn_corr(1e4, 128, 131072, 32));
  const double along = (63 - low) / (static_cast<double>(oracle::yarn_corr(1e4, 128, 131072, 1)) - low);
  EXPECT_LT(along, 0.9);
  expect_digits(last, plain * (along / 8 + 1 - along), 1e-13);

  // Contexts beyond 32767 go through no int16.
  EXPECT_NE(inv_freq(yarn_spec(128, 1e4, {.factor = 8, .trained_context = 65536}), 40),
            inv_freq(yarn_spec(128, 1e4, {.factor = 8, .trained_context = 32768}), 40));
}

TEST(Trap13, YarnFiguresOfPublishedCheckpoints) {
  const RotarySpec qwen = yarn_spec(128, 1e6, {.factor = 4, .trained_context = 32768});
  expect_digits(inv_freq(qwen, 31), 8.0295972755e-4);
  expect_digits(inv_freq(qwen, 40), 4.4456985251e-5);
  expect_digits(inv_freq(spec_of(128, 1e6), 31), 1.2409377608e-3);
  const RotarySpec deepseek = yarn_spec(64, 1e4, {.factor = 40, .trained_context = 4096});
  expect_digits(inv_freq(deepseek, 16), 5.5e-3, 1e-14);
  expect_digits(inv_freq(deepseek, 23), 3.3338035804e-5);
  expect_digits(frequencies_of(yarn_spec(64, 150000, {.factor = 32, .trained_context = 4096})).attention_factor,
                1.346573590);
}

TEST(Trap14, LongRopeKeepsShortFactorsInALongSession) {
  const LongRopeOptions phi3{.short_factor = std::vector<double>(48, 1.1),
                             .long_factor = std::vector<double>(48, 30.0),
                             .trained_context = 4096,
                             .factor = 131072.0 / 4096.0};
  const RotarySpec spec = spec_of(96, 1e4, phi3);
  expect_digits(frequencies_of(spec, 100).attention_factor, 1.190238071);
  expect_digits(frequencies_of(spec, 131072).attention_factor, 1.190238071);
  expect_digits(inv_freq(spec, 0, 100), 1 / 1.1, 1e-15);
  expect_digits(inv_freq(spec, 0, 4096), 1 / 1.1, 1e-15);
  expect_digits(inv_freq(spec, 0, 4097), 1 / 30.0, 1e-15);
}

TEST(Trap14, DynamicBaseGrowsAndGoesBack) {
  const RotarySpec spec = spec_of(128, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 4096});
  // g[63] = theta'^(-126/128), hence theta'.
  const auto base = [&](std::int64_t length) { return std::pow(inv_freq(spec, 63, length), -128.0 / 126.0); };
  EXPECT_EQ(frequencies_of(spec, 4096).inv_freq, frequencies_of(spec_of(128, 1e4)).inv_freq);
  expect_digits(base(4097), 10004.960337);
  expect_digits(base(8192), 30527.736749);
  expect_digits(base(16384), 72195.860087);

  DynamicLength length(4096);
  const auto at = [&](std::int64_t running) { return frequencies_of(spec, length.observe(running)).inv_freq; };
  const auto fresh = at(100), grown = at(16384);
  EXPECT_NE(fresh, grown);
  EXPECT_EQ(at(6000), grown);
  EXPECT_EQ(at(3000), fresh);

  const RotarySpec vllm =
      spec_of(128, 1e4, DynamicNtkOptions{.factor = 2, .trained_context = 4096, .growth = DynamicGrowth::kFullLength});
  expect_digits(std::pow(inv_freq(vllm, 63, 1), -128.0 / 126.0), 30527.736749);
}

TEST(Trap14, HunYuanAlpha) {
  expect_digits(std::pow(inv_freq(spec_of(128, 1e4, NtkOptions{1000}), 63), -128.0 / 126.0), 11158839.925);
}

TEST(Trap16, FarPositionsAreDistinctAndRight) {
  const RotarySpec spec = spec_of(128, 1e4);
  const Frequencies frequencies = frequencies_of(spec);
  double c = 0, s = 0;
  const Turns far = phase(16777217, frequencies.turns_per_token[0]);
  fill_cos_sin({&far, 1}, 1.0, &c, &s);
  EXPECT_NEAR(c, 0.994383964, 5e-10);
  const Turns far_fp32 = phase_fp32(16777217, 1.0f);
  fill_cos_sin({&far_fp32, 1}, 1.0, &c, &s);
  EXPECT_NEAR(c, 0.626322983, 5e-10);

  for (const std::int64_t first : {2046, 65536})
    for (std::int64_t p = first; p < first + 64; ++p) {
      const Turns turns = phase(p, frequencies.turns_per_token[0]);
      fill_cos_sin({&turns, 1}, 1.0, &c, &s);
      EXPECT_NEAR(c, std::cos(static_cast<double>(p)), 1.2e-14);  // 65600 * 2^-65 turns
    }
}

TEST(Trap16, PhaseErrorOfFp32IsWhatItIsKnownToBe) {
  // Worst over the pairs of one ladder, theta 1e4, d 128: 1.22e-4 rad at 4096, 3.9e-3 at 131072, 5.2e-2 at 1e6, each at
  // some position near; and `exact` has none of it.
  RotarySpec spec = spec_of(128, 1e4);
  const Frequencies exact = frequencies_of(spec);
  spec.numerics = Numerics::kFp32;
  const Frequencies fp32 = frequencies_of(spec);
  const std::pair<std::int64_t, double> known[] = {
      {4096, 1.22e-4}, {32768, 9.7e-4}, {131072, 3.9e-3}, {1000000, 5.2e-2}};
  for (const auto& [position, radians] : known) {
    double worst = 0;
    for (std::size_t j = 0; j < 64; ++j) {
      const Turns gap = phase_fp32(position, fp32.inv_freq_fp32[j]) - phase(position, exact.turns_per_token[j]);
      worst = std::max(worst, std::abs(signed_turns(gap)) * 2 * M_PI);
    }
    EXPECT_NEAR(worst, radians, 0.03 * radians) << position;
  }
}

TEST(Trap20, RotationsComposeAndShardsCover) {
  const std::vector<double> x = {1, 2, 3, 4};
  const RotarySpec spec = spec_of(4, 1e4);
  expect_heads_near(turned(turned(x, spec, 5), spec, -2), {-1.413352521, 1.879118067, -2.828857482, 4.058191135},
                    5e-10);
  EXPECT_EQ(turned(x, spec, 0), x);

  const auto zigzag = [](std::int64_t tokens, int ranks, int rank) {
    return *positions_for_rank(tokens, ranks, rank, ShardScheme::kZigzag);
  };
  EXPECT_EQ(zigzag(16, 2, 0), (std::vector<std::int64_t>{0, 1, 2, 3, 12, 13, 14, 15}));
  EXPECT_EQ(zigzag(16, 2, 1), (std::vector<std::int64_t>{4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(zigzag(32, 4, 1), (std::vector<std::int64_t>{4, 5, 6, 7, 24, 25, 26, 27}));
}

}  // namespace
}  // namespace ropewalk
