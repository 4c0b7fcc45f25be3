#include "support.hpp"

#include <algorithm>
#include <limits>
#include <set>

namespace traps {
namespace {

// vllm-ascend#12723, flashinfer#4349: channels beside the rotated ones, in place and out of place, at either end.
TEST(Trap11PartialRotary, ChannelsThatDoNotTurnAreCopiedBitForBit) {
  for (const int offset : {0, 192, 96}) {
    RotarySpec spec = spec_of(256, 1e7);
    spec.rotary_dim = 64;
    spec.rotary_offset = offset;
    const Rotary rotary = made(spec);
    Heads x = heads_of(256);
    x[(static_cast<std::size_t>(offset) + 100) % 256] = std::numeric_limits<float>::quiet_NaN();
    x[(static_cast<std::size_t>(offset) + 101) % 256] = -0.0f;
    Heads y(256, 7.0f);
    const Positions where = {12345};
    const RotaryOperand apart{HeadsView::thd(x.data(), DType::kFloat32, 1, 1, 256),
                              HeadsView::thd(y.data(), DType::kFloat32, 1, 1, 256)};
    ASSERT_FALSE(rotary.check({&apart, 1}, PositionsView::row(where)));
    rotary.apply({&apart, 1}, PositionsView::row(where));
    EXPECT_TRUE(same_bits(turned(rotary, x, where), y));
    for (int c = 0; c < 256; ++c)
      if (c < offset || c >= offset + 64) {
        EXPECT_EQ(std::memcmp(&x[static_cast<std::size_t>(c)], &y[static_cast<std::size_t>(c)], 4), 0) << c;
      }
    // Pair 1 is (offset + 1, offset + 33), and its speed is that of a ladder over 64: 0.6042963902 a token.
    const auto first = static_cast<std::size_t>(offset + 1), second = first + 32;
    const Heads near = turned(rotary, x, Positions{1});
    const double a = 0.6042963902;
    EXPECT_NEAR(near[first], x[first] * std::cos(a) - x[second] * std::sin(a), 1e-6);
  }
}

TEST(Trap11PartialRotary, WidthsThatAreNoPowerOfTwoKeepTheirNorm) {
  for (const int width : {72, 80, 96, 192}) {
    RotarySpec spec = spec_of(256, 1e4, PairLayout::kInterleaved);
    spec.rotary_dim = width;
    const Heads x = heads_of(256), y = turned(made(spec), x, Positions{99991});
    double before = 0, after = 0;
    for (std::size_t c = 0; c < 256; ++c) before += x[c] * x[c], after += y[c] * y[c];
    EXPECT_NEAR(after / before, 1.0, 1e-6) << width;
  }
}

// mlx-vlm#1709: swapping, sharing, or scaling both must fail.
TEST(Trap12PerLayerRope, Gemma3sTwoKindsOfLayersAreTwoEncodings) {
  const auto positions = read_config_json(
      R"({"model_type":"gemma3_text","head_dim":256,"num_hidden_layers":12,"sliding_window_pattern":6,
          "max_position_embeddings":131072,"rope_theta":1000000.0,"rope_local_base_freq":10000.0,
          "rope_scaling":{"rope_type":"linear","factor":8.0}})",
      "config.json");
  ASSERT_TRUE(positions) << positions.error().line();
  for (const LayerKind& kind : positions->kinds) {
    ASSERT_TRUE(kind.spec);
    const bool global = std::find(kind.layers.begin(), kind.layers.end(), 5) != kind.layers.end();
    const Heads y = turned(made(*kind.spec), Heads(256, 1.0f), Positions{1});
    const double a = global ? 1.25e-4 : 1e-2;  // pair 64 is (64, 192)
    EXPECT_NEAR(y[64], std::cos(a) - std::sin(a), 2e-7) << kind.name;
    EXPECT_NEAR(y[192], std::cos(a) + std::sin(a), 2e-7) << kind.name;
  }
}

// llama.cpp#24823: what was cached must have been turned by what queries are turned by.
TEST(Trap14NoMixedTablesInOneCache, AShortSessionInALongContextTakesTheShortList) {
  const LongRopeOptions lists{.short_factor = std::vector<double>(48, 1.1),
                              .long_factor = std::vector<double>(48, 30.0),
                              .trained_context = 4096,
                              .factor = 32};
  const RotarySpec spec = spec_of(96, 1e4, PairLayout::kHalf, lists);
  const Heads x = heads_of(96);
  EXPECT_TRUE(same_bits(turned(made(spec, 100), x, Positions{99}), turned(made(spec, 4096), x, Positions{99})));
  EXPECT_FALSE(same_bits(turned(made(spec, 4096), x, Positions{99}), turned(made(spec, 4097), x, Positions{99})));
}

TEST(Trap14NoMixedTablesInOneCache, KeysOfAShorterSessionAreNotThoseOfALongerOne) {
  // The library holds no table: a length that decides is part of `make`, so one object cannot answer for two lengths.
  const RotarySpec spec = spec_of(128, 1e4, PairLayout::kHalf, DynamicNtkOptions{.factor = 2, .trained_context = 4096});
  const Heads x = heads_of(128);
  const Heads short_one = turned(made(spec, 100), x, Positions{99}),
              long_one = turned(made(spec, 16384), x, Positions{99});
  EXPECT_FALSE(same_bits(short_one, long_one));
  EXPECT_TRUE(same_bits(short_one, turned(made(spec, 100), x, Positions{99})));
  EXPECT_TRUE(same_bits(short_one, turned(made(spec_of(128, 1e4)), x, Positions{99})));
}

// mlx-vlm#1282, timm#2541, xllm#2120.
RotarySpec sections(std::vector<std::uint8_t> axis, PairLayout layout = PairLayout::kHalf) {
  RotarySpec spec = spec_of(static_cast<int>(2 * axis.size()), 1e6, layout);
  spec.axis_of_pair = std::move(axis);
  return spec;
}

std::vector<std::uint8_t> letters(std::string_view text, int times, std::string_view rest = "") {
  std::vector<std::uint8_t> out;
  const auto add = [&](std::string_view part) {
    for (const char c : part) out.push_back(c == 'T' ? 0 : c == 'H' ? 1 : 2);
  };
  for (int i = 0; i < times; ++i) add(text);
  add(rest);
  return out;
}

TEST(Trap15MRope, EqualAxesAreOneAxisBitForBit) {
  for (const PairLayout layout : {PairLayout::kHalf, PairLayout::kInterleaved}) {
    const RotarySpec spec = sections(letters("THW", 20, "TTTT"), layout);
    const Heads x = heads_of(3 * 128);
    const Positions one = {7, 131071, 1048575}, three = {7, 131071, 1048575, 7, 131071, 1048575, 7, 131071, 1048575};
    EXPECT_TRUE(same_bits(turned(made(spec_of(128, 1e6, layout)), x, one),
                          turned(made(spec), x, PositionsView::streams(three, 3))));
  }
}

TEST(Trap15MRope, ConfigsSelectTheSectionsOfTheirFamilies) {
  const auto axis_of = [](const char* text) {
    const auto positions = read_config_json(text, "config.json");
    EXPECT_TRUE(positions) << positions.error().line();
    if (positions)
      for (const LayerKind& kind : positions->kinds)
        if (kind.spec) return kind.spec->axis_of_pair;
    return std::vector<std::uint8_t>{};
  };
  // A type of "default" with sections still selects them.
  EXPECT_EQ(axis_of(R"({"model_type":"qwen2_vl_text","hidden_size":1536,"num_attention_heads":12,"num_hidden_layers":28,
      "max_position_embeddings":32768,"rope_parameters":{"rope_type":"default","rope_theta":1000000.0,
      "mrope_section":[16,24,24]}})"),
            letters("T", 16, "HHHHHHHHHHHHHHHHHHHHHHHHWWWWWWWWWWWWWWWWWWWWWWWW"));
  EXPECT_EQ(axis_of(R"({"model_type":"qwen3_vl_text","head_dim":128,"hidden_size":2560,"num_attention_heads":32,
      "num_hidden_layers":36,"max_position_embeddings":262144,"rope_parameters":{"rope_type":"default",
      "rope_theta":5000000.0,"mrope_section":[24,20,20],"mrope_interleaved":true}})"),
            letters("THW", 20, "TTTT"));
  EXPECT_EQ(axis_of(R"({"model_type":"qwen3_5_text","head_dim":256,"hidden_size":2560,"num_attention_heads":16,
      "num_hidden_layers":4,"layer_types":["linear_attention","linear_attention","linear_attention","full_attention"],
      "max_position_embeddings":262144,"rope_parameters":{"rope_type":"default","rope_theta":10000000.0,
      "partial_rotary_factor":0.25,"mrope_section":[11,11,10],"mrope_interleaved":true}})"),
            letters("THW", 10, "TH"));
}

TEST(Trap15MRope, EachPairFollowsItsAxisAlsoAtZero) {
  // A grid that is not square, beginning at row and column 0: a position of 0 is a value, not "missing".
  const RotarySpec spec = sections(letters("THW", 20, "TTTT"));
  const Positions streams = {5, 5, 5, 5, 5, 5, 0, 0, 0, 1, 1, 1, 0, 1, 2, 0, 1, 2};
  const Heads x = heads_of(6 * 128), y = turned(made(spec), x, PositionsView::streams(streams, 3));
  for (std::size_t t = 0; t < 6; ++t)
    for (std::size_t j = 0; j < 64; ++j) {
      const double p = static_cast<double>(streams[6 * spec.axis_of_pair[j] + t]);
      const double a = p * std::pow(1e6, -2.0 * static_cast<double>(j) / 128);
      const double x0 = x[128 * t + j], x1 = x[128 * t + 64 + j];
      EXPECT_NEAR(y[128 * t + j], x0 * std::cos(a) - x1 * std::sin(a), 1e-6);
      EXPECT_NEAR(y[128 * t + 64 + j], x1 * std::cos(a) + x0 * std::sin(a), 1e-6);
    }
}

// transformers#48428 (TF32 turns 2049 into 2048), tt-metal#51845.
TEST(Trap16FarPositions, NeighboursAreDistinctAndRight) {
  const Rotary rotary = made(spec_of(128, 1e4));
  for (const std::int64_t first : {2046, 65536, 16777215, 1000000000}) {
    std::set<float> seen;
    for (std::int64_t p = first; p < first + 9; ++p) {
      Heads x(128, 0.0f);
      x[0] = 1.0f;
      const Heads y = turned(rotary, x, Positions{p});
      EXPECT_NEAR(y[0], std::cos(static_cast<double>(p)), 2e-7) << p;
      EXPECT_NEAR(y[64], std::sin(static_cast<double>(p)), 2e-7) << p;
      seen.insert(y[0]);
    }
    EXPECT_EQ(seen.size(), 9u) << first;
  }
}

}  // namespace
}  // namespace traps
