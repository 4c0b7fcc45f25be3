#include "config/gguf_positions.hpp"

#include "config/gguf/gguf_writer.hpp"
#include "config/gguf/temporary_file.hpp"
#include "config/gguf_architectures.hpp"
#include "config/nearest.hpp"

#include <ropewalk/frequencies.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace {

using namespace ropewalk;
using config::GgufRope;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Result<CheckpointPositions> read(const GgufWriter& writer, const ReadOptions& options = {}) {
  const TemporaryFile file(writer.build(), "gguf_positions_test.gguf");
  const auto gguf = GgufFile::open(file.path());
  if (!gguf) return gguf.error();
  return config::positions_from_gguf(*gguf, options);
}

/// 8 layers, heads of 64, base 500000, 4096 tokens.
GgufWriter model(const std::string& arch) {
  GgufWriter writer;
  writer.text("general.architecture", arch).u32(arch + ".block_count", 8).u32(arch + ".context_length", 4096);
  writer.u32(arch + ".embedding_length", 512).u32(arch + ".attention.head_count", 8);
  writer.u32(arch + ".rope.dimension_count", 64).f32(arch + ".rope.freq_base", 500000);
  return writer;
}

GgufWriter latent() {
  GgufWriter writer;
  writer.text("general.architecture", "deepseek2")
      .u32("deepseek2.block_count", 3)
      .u32("deepseek2.context_length", 163840);
  writer.u32("deepseek2.embedding_length", 7168).u32("deepseek2.attention.head_count", 128);
  writer.u32("deepseek2.attention.key_length", 576).u32("deepseek2.attention.key_length_mla", 192);
  writer.u32("deepseek2.rope.dimension_count", 64).f32("deepseek2.rope.freq_base", 10000);
  return writer;
}

const RotarySpec& only_spec(const CheckpointPositions& positions) {
  EXPECT_EQ(positions.kinds.size(), 1u);
  EXPECT_TRUE(positions.kinds.at(0).spec.has_value());
  return *positions.kinds.at(0).spec;
}

std::string origin_of(const CheckpointPositions& positions, const std::string& what) {
  for (const Provenance& row : positions.provenance)
    if (row.what == what) return row.value + " from " + row.from;
  return "nothing";
}

void expect_refused(const GgufWriter& writer, Code code, const std::string& path, const std::string& words) {
  const auto positions = read(writer);
  ASSERT_FALSE(positions) << "answered, though: " << words;
  EXPECT_EQ(positions.error().code, code) << positions.error().line();
  EXPECT_EQ(positions.error().path, path) << positions.error().line();
  EXPECT_THAT(positions.error().message, HasSubstr(words));
  EXPECT_EQ(positions.error().line().find('\n'), std::string::npos);
}

TEST(GgufPositions, PlainModelWithWhereEveryNumberCameFrom) {
  const auto positions = read(model("llama"));
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->model_type, "llama");
  EXPECT_EQ(positions->family, "llama");
  EXPECT_EQ(positions->layer_count, 8);
  EXPECT_EQ(positions->trained_context, 4096);
  EXPECT_EQ(positions->max_context, 4096);
  EXPECT_EQ(positions->kinds[0].name, "default");
  EXPECT_THAT(positions->kinds[0].layers, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  const RotarySpec want{.head_dim = 64, .rotary_dim = 64, .theta = 500000, .layout = PairLayout::kInterleaved};
  EXPECT_EQ(only_spec(*positions), want);
  EXPECT_EQ(origin_of(*positions, "theta"), "500000 from gguf:llama.rope.freq_base");
  EXPECT_EQ(origin_of(*positions, "head_dim"), "64 from gguf:llama.embedding_length / attention.head_count");
  EXPECT_EQ(origin_of(*positions, "rotary_dim"), "64 from gguf:llama.rope.dimension_count");
  EXPECT_THAT(origin_of(*positions, "pair_layout"), HasSubstr("interleaved from llama.cpp"));
  EXPECT_THAT(positions->keys_used, Contains("llama.rope.freq_base"));
  EXPECT_TRUE(positions->keys_ignored.empty());
}

TEST(GgufPositions, LayoutFollowsTheArchitecture) {
  for (const auto& [arch, layout] : {std::pair{"llama", PairLayout::kInterleaved},
                                     {"qwen2", PairLayout::kHalf},
                                     {"mistral3", PairLayout::kInterleaved},
                                     {"phi3", PairLayout::kHalf},
                                     {"command-r", PairLayout::kInterleaved},
                                     {"glm4", PairLayout::kInterleaved},
                                     {"glm4moe", PairLayout::kHalf},
                                     {"gptneox", PairLayout::kHalf}}) {
    const auto positions = read(model(arch));
    ASSERT_TRUE(positions) << positions.error().line();
    EXPECT_EQ(only_spec(*positions).layout, layout) << arch;
  }
}

TEST(GgufPositions, EveryKnownArchitectureIsAnsweredOrRefusedByName) {
  std::size_t answered = 0;
  for (const config::GgufArchitecture& row : config::gguf_architectures()) {
    const std::string arch(row.name);
    GgufWriter writer = model(arch);
    writer.u32(arch + ".attention.sliding_window", 512);
    if (row.rope == GgufRope::kSections) writer.i32s(arch + ".rope.dimension_sections", {8, 12, 12, 0});
    if (row.latent) writer.u32(arch + ".attention.key_length", 192);
    const auto positions = read(writer);
    if (row.rope == GgufRope::kRefused) {
      ASSERT_FALSE(positions) << arch;
      EXPECT_EQ(positions.error().code, Code::kUnsupported);
      EXPECT_THAT(positions.error().line(), HasSubstr("\"" + arch + "\""));
      continue;
    }
    ASSERT_TRUE(positions) << arch << ": " << positions.error().line();
    ++answered;
    std::vector<int> layers;
    for (const LayerKind& kind : positions->kinds) {
      EXPECT_EQ(kind.head_dim, row.latent ? 192 : 64) << arch;
      layers.insert(layers.end(), kind.layers.begin(), kind.layers.end());
      EXPECT_TRUE(!kind.spec || row.rope != GgufRope::kNone) << arch;
      if (!kind.spec) continue;
      EXPECT_EQ(validate(*kind.spec), std::nullopt) << arch;
      EXPECT_EQ(kind.spec->layout, row.rope == GgufRope::kNorm ? PairLayout::kInterleaved : PairLayout::kHalf) << arch;
    }
    std::sort(layers.begin(), layers.end());
    EXPECT_THAT(layers, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7)) << arch;
  }
  EXPECT_GT(answered, 90u);
}

TEST(GgufPositions, UnknownArchitectureNamesTheNearest) {
  expect_refused(model("lama"), Code::kUnsupported, "gguf:general.architecture",
                 "want one of the architectures this version knows (nearest: llama, ");
  expect_refused(model("evil\n\x1b"), Code::kUnsupported, "gguf:general.architecture", "got \"evil\\x0a\\x1b\"");
  expect_refused(GgufWriter{}, Code::kInvalid, "gguf:general.architecture", "got nothing");
  expect_refused(GgufWriter{}.u32("general.architecture", 3), Code::kInvalid, "gguf:general.architecture",
                 "want a string");
  constexpr std::string_view kNames[] = {"beta", "alpha", "alphb"};
  EXPECT_THAT(config::nearest("alpha", kNames, 2), ElementsAre("alpha", "alphb"));
  EXPECT_EQ(config::edit_distance("kitten", "sitting"), 3u);
}

TEST(GgufPositions, FamilyOverridesTheArchitecture) {
  const auto positions = read(model("my-own"), {.family = "qwen2"});
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->model_type, "my-own");
  EXPECT_EQ(positions->family, "qwen2");
  EXPECT_EQ(only_spec(*positions).layout, PairLayout::kHalf);
  EXPECT_EQ(only_spec(*positions).theta, 500000);
  EXPECT_THAT(positions->notes, Contains(HasSubstr("follows the conventions of qwen2, as asked")));
  EXPECT_EQ(read(model("llama"), {.family = "quen"}).error().path, "family");
}

TEST(GgufPositions, MissingBaseIsAnsweredAloud) {
  GgufWriter writer;
  writer.text("general.architecture", "llama").u32("llama.attention.key_length", 128);
  const auto positions = read(writer);
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(only_spec(*positions).theta, 10000);
  EXPECT_EQ(only_spec(*positions).rotary_dim, 128);
  EXPECT_TRUE(positions->kinds[0].layers.empty());
  EXPECT_EQ(origin_of(*positions, "theta"), "10000 from llama.cpp: rope.freq_base is 10000 if missing");
  EXPECT_THAT(positions->notes, Contains(HasSubstr("has no llama.rope.freq_base")));
}

TEST(GgufPositions, PartialWidthAndWholeHeads) {
  GgufWriter writer;
  writer.text("general.architecture", "gptneox")
      .u32("gptneox.attention.key_length", 96)
      .u32("gptneox.rope.dimension_count", 24);
  EXPECT_EQ(only_spec(*read(writer)).rotary_dim, 24);
  GgufWriter odd;
  odd.text("general.architecture", "gptneox")
      .u32("gptneox.attention.key_length", 96)
      .u32("gptneox.rope.dimension_count", 23);
  expect_refused(odd, Code::kInvalid, "gguf:gptneox.rope.dimension_count", "want an even number > 0, got 23");
  GgufWriter wide;
  wide.text("general.architecture", "gptneox")
      .u32("gptneox.attention.key_length", 96)
      .u32("gptneox.rope.dimension_count", 128);
  expect_refused(wide, Code::kInvalid, "gguf:gptneox.rope.dimension_count", "want an integer from 0 to 96, got 128");
  GgufWriter part;
  part.text("general.architecture", "llama")
      .u32("llama.attention.key_length", 128)
      .u32("llama.rope.dimension_count", 64);
  expect_refused(part, Code::kInvalid, "gguf:llama.rope.dimension_count",
                 "want head_dim 128, as llama.cpp demands of llama, got 64");
}

TEST(GgufPositions, LinearScaling) {
  for (const char* const key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    const auto positions = read(model("llama").f32(key, 8));
    ASSERT_TRUE(positions) << positions.error().line();
    EXPECT_EQ(only_spec(*positions).scaling, Scaling(LinearOptions{.factor = 8}));
    EXPECT_EQ(origin_of(*positions, "scaling.factor"), "8 from gguf:" + std::string(key));
  }
  const auto none = read(model("llama").text("llama.rope.scaling.type", "linear"));
  EXPECT_EQ(only_spec(*none).scaling, Scaling(NoScaling{}));
  const auto off = read(model("llama").text("llama.rope.scaling.type", "none").f32("llama.rope.scaling.factor", 4));
  EXPECT_EQ(only_spec(*off).scaling, Scaling(NoScaling{}));
  EXPECT_THAT(off->notes, Contains(HasSubstr("the factor 4 has no effect")));
  const auto louder = read(model("llama").f32("llama.rope.scaling.attn_factor", 1.25f));
  EXPECT_EQ(make_frequencies(only_spec(*louder))->attention_factor, 1.25);
}

TEST(GgufPositions, ConflictsAndDomainsNameTheKey) {
  expect_refused(model("llama").f32("llama.rope.scaling.factor", 4).f32("llama.rope.scale_linear", 8), Code::kInvalid,
                 "gguf:llama.rope.scale_linear", "want 4 as in rope.scaling.factor, got 8");
  expect_refused(model("llama").f32("llama.rope.scaling.factor", 0.25f), Code::kInvalid,
                 "gguf:llama.rope.scaling.factor", "want a number >= 1, or 0 for none, got 0.25");
  expect_refused(model("llama").f32("llama.rope.scaling.factor", NAN), Code::kInvalid, "gguf:llama.rope.scaling.factor",
                 "got nan");
  expect_refused(model("llama").text("llama.rope.scaling.factor", "4"), Code::kInvalid,
                 "gguf:llama.rope.scaling.factor", "want a number, got a string");
  expect_refused(model("llama").text("llama.rope.scaling.type", "dynamic"), Code::kUnsupported,
                 "gguf:llama.rope.scaling.type", "got \"dynamic\"");
  expect_refused(model("llama").f32("llama.rope.scaling.alpha", 1000), Code::kUnsupported,
                 "gguf:llama.rope.scaling.alpha", "got 1000");
  expect_refused(model("llama").i32s("llama.rope.dimension_sections", {16, 8, 8}), Code::kUnsupported,
                 "gguf:llama.rope.dimension_sections", "got some");
  expect_refused(model("llama").f32("llama.rope.freq_base_swa", 10000), Code::kUnsupported,
                 "gguf:llama.rope.freq_base_swa", "want rope.freq_base 500000");
  GgufWriter one;
  one.text("general.architecture", "llama").u32("llama.attention.key_length", 64).f32("llama.rope.freq_base", 1);
  expect_refused(one, Code::kInvalid, "gguf:llama.rope.freq_base", "want a number > 1, got 1");
  GgufWriter deep;
  deep.text("general.architecture", "llama").u32("llama.block_count", 4000000000u);
  expect_refused(deep, Code::kInvalid, "gguf:llama.block_count", "want an integer from 1 to 65536, got 4000000000");
  GgufWriter headless;
  headless.text("general.architecture", "llama");
  expect_refused(headless, Code::kInvalid, "gguf:llama.attention.key_length", "got neither");
  GgufWriter uneven;
  uneven.text("general.architecture", "llama").u32("llama.embedding_length", 100).u32("llama.attention.head_count", 3);
  expect_refused(uneven, Code::kInvalid, "gguf:llama.attention.head_count",
                 "want a divisor of embedding_length 100, got 3");
}

TEST(GgufPositions, YarnAsTransformersReadsIt) {
  GgufWriter writer;
  writer.text("general.architecture", "qwen2").u32("qwen2.block_count", 2).u32("qwen2.context_length", 32768);
  writer.u32("qwen2.attention.key_length", 128)
      .f32("qwen2.rope.freq_base", 1e6f)
      .text("qwen2.rope.scaling.type", "yarn");
  writer.f32("qwen2.rope.scaling.factor", 4).u32("qwen2.rope.scaling.original_context_length", 32768);
  const auto positions = read(writer);
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->trained_context, 32768);
  const auto frequencies = make_frequencies(only_spec(*positions));
  ASSERT_TRUE(frequencies);
  // Reference numbers computed from the formulas in double precision.
  EXPECT_NEAR(frequencies->attention_factor, 1.138629436, 1e-9);
  EXPECT_NEAR(frequencies->inv_freq[31], 8.0295972755e-4, 1e-13);
  EXPECT_NEAR(frequencies->inv_freq[40], 4.4456985251e-5, 1e-14);
}

TEST(GgufPositions, YarnFollowsTheFilesOwnWords) {
  const auto yarn = [](const std::string& arch) {
    return model(arch).text(arch + ".rope.scaling.type", "yarn").f32(arch + ".rope.scaling.factor", 4);
  };
  const auto betas =
      read(yarn("qwen3").f32("qwen3.rope.scaling.yarn_beta_fast", 64).f32("qwen3.rope.scaling.yarn_beta_slow", 2));
  ASSERT_TRUE(betas) << betas.error().line();
  EXPECT_EQ(std::get<YarnOptions>(only_spec(*betas).scaling).beta_fast, 64);
  EXPECT_EQ(std::get<YarnOptions>(only_spec(*betas).scaling).beta_slow, 2);
  EXPECT_THAT(betas->notes, Contains(HasSubstr("the file's YaRN betas are followed")));
  const auto louder = read(yarn("qwen3").f32("qwen3.rope.scaling.attn_factor", 2));
  EXPECT_NEAR(make_frequencies(only_spec(*louder))->attention_factor, 2 * 1.138629436, 1e-8);

  expect_refused(model("qwen3").text("qwen3.rope.scaling.type", "yarn"), Code::kInvalid,
                 "gguf:qwen3.rope.scaling.factor", "got nothing");
  expect_refused(yarn("qwen3").f32("qwen3.rope.scaling.yarn_ext_factor", 0.5f), Code::kUnsupported,
                 "gguf:qwen3.rope.scaling.yarn_ext_factor", "got 0.5");
  expect_refused(yarn("qwen3").f32("qwen3.rope.scaling.yarn_attn_factor", 2), Code::kUnsupported,
                 "gguf:qwen3.rope.scaling.yarn_attn_factor", "got 2");
  expect_refused(yarn("qwen3").f32("qwen3.rope.scaling.yarn_log_multiplier", 1), Code::kUnsupported,
                 "gguf:qwen3.rope.scaling.yarn_log_multiplier", "got 1");
  expect_refused(yarn("qwen3").f32_tensor("rope_freqs.weight", std::vector<float>(32, 1)), Code::kUnsupported,
                 "gguf:rope_freqs.weight", "beside YaRN");
  expect_refused(yarn("grok"), Code::kUnsupported, "gguf:grok.rope.scaling.type", "want no scaling for grok");
}

TEST(GgufPositions, GptOssIsNotTruncated) {
  GgufWriter writer;
  writer.text("general.architecture", "gpt-oss").u32("gpt-oss.block_count", 24).u32("gpt-oss.context_length", 131072);
  writer.u32("gpt-oss.attention.key_length", 64)
      .f32("gpt-oss.rope.freq_base", 150000)
      .u32("gpt-oss.attention.sliding_window", 128);
  writer.text("gpt-oss.rope.scaling.type", "yarn")
      .f32("gpt-oss.rope.scaling.factor", 32)
      .u32("gpt-oss.rope.scaling.original_context_length", 4096);
  const auto positions = read(writer);
  ASSERT_TRUE(positions) << positions.error().line();
  const auto frequencies = make_frequencies(only_spec(*positions));
  EXPECT_NEAR(frequencies->attention_factor, 1.346573590, 1e-9);
  EXPECT_NEAR(frequencies->inv_freq[12], 6.7949594897e-3, 1e-12);
  EXPECT_THAT(positions->notes, Contains(HasSubstr("not widened to whole pairs")));
}

TEST(GgufPositions, DeepSeekTurnsTheLastChannelsAndScalesTheSoftmax) {
  const auto yarn = [](float log_multiplier) {
    return latent()
        .text("deepseek2.rope.scaling.type", "yarn")
        .f32("deepseek2.rope.scaling.factor", 40)
        .u32("deepseek2.rope.scaling.original_context_length", 4096)
        .f32("deepseek2.rope.scaling.yarn_log_multiplier", log_multiplier);
  };
  const auto v3 = read(yarn(0.1f));
  ASSERT_TRUE(v3) << v3.error().line();
  const RotarySpec& spec = only_spec(*v3);
  EXPECT_EQ(spec.head_dim, 192);
  EXPECT_EQ(spec.rotary_dim, 64);
  EXPECT_EQ(spec.rotary_offset, 128);
  EXPECT_EQ(spec.layout, PairLayout::kInterleaved);
  const auto frequencies = make_frequencies(spec);
  ASSERT_TRUE(frequencies) << frequencies.error().line();
  EXPECT_NEAR(frequencies->attention_factor, 1.0, 1e-15);
  EXPECT_NEAR(frequencies->softmax_scale_multiplier, 1.873854207, 1e-9);
  EXPECT_NEAR(frequencies->inv_freq[16], 5.5e-3, 1e-12);
  EXPECT_NEAR(frequencies->inv_freq[23], 3.3338035804e-5, 1e-14);

  const auto v2 = read(yarn(0.0707f));
  EXPECT_EQ(std::get<YarnOptions>(only_spec(*v2).scaling).mscale_all_dim, 0.707);
  EXPECT_NEAR(make_frequencies(only_spec(*v2))->attention_factor, 1.0, 1e-15);
  EXPECT_NEAR(make_frequencies(only_spec(*v2))->softmax_scale_multiplier, 1.589626165, 1e-9);

  EXPECT_TRUE(read(latent()));
  expect_refused(yarn(0), Code::kInvalid, "gguf:deepseek2.rope.scaling.yarn_log_multiplier",
                 "want 0.1 * mscale_all_dim");
  expect_refused(yarn(1), Code::kInvalid, "gguf:deepseek2.rope.scaling.yarn_log_multiplier", "got 1");
  expect_refused(latent().f32("deepseek2.rope.scaling.factor", 2), Code::kUnsupported,
                 "gguf:deepseek2.rope.scaling.factor", "want no linear scaling");
  expect_refused(latent().f32("deepseek2.attention.temperature_scale", 0.1f), Code::kUnsupported,
                 "gguf:deepseek2.attention.temperature_scale", "got 0.1");
}

TEST(GgufPositions, Ministral3HasATemperature) {
  const auto yarn = [](float log_multiplier) {
    return model("mistral3")
        .text("mistral3.rope.scaling.type", "yarn")
        .f32("mistral3.rope.scaling.factor", 16)
        .u32("mistral3.rope.scaling.original_context_length", 1024)
        .f32("mistral3.attention.temperature_scale", 0.1f)
        .f32("mistral3.rope.scaling.yarn_log_multiplier", log_multiplier);
  };
  const auto flat = read(yarn(1));
  ASSERT_TRUE(flat) << flat.error().line();
  EXPECT_EQ(only_spec(*flat).query_temperature, (QueryTemperature{.beta = 0.1, .context = 1024, .offset = 0}));
  EXPECT_EQ(make_frequencies(only_spec(*flat))->attention_factor, 1.0);
  EXPECT_NEAR(make_frequencies(only_spec(*read(yarn(0))))->attention_factor, 0.1 * std::log(16.0) + 1, 1e-12);
  expect_refused(model("llama").f32("llama.attention.temperature_scale", 0.5f), Code::kUnsupported,
                 "gguf:llama.attention.temperature_scale", "got 0.5");
}

TEST(GgufPositions, Llama3DivisorsComeFromTheTensor) {
  std::vector<float> divisors(32, 1.0f);
  divisors[31] = 8;
  const auto positions = read(model("llama").f32_tensor("rope_freqs.weight", divisors));
  ASSERT_TRUE(positions) << positions.error().line();
  const auto& scaling = std::get<DivisorOptions>(only_spec(*positions).scaling);
  EXPECT_EQ(scaling.divisors, std::vector<double>(divisors.begin(), divisors.end()));
  EXPECT_EQ(positions->trained_context, 0);
  EXPECT_THAT(positions->keys_used, Contains("rope_freqs.weight"));

  divisors.pop_back();
  expect_refused(model("llama").f32_tensor("rope_freqs.weight", divisors), Code::kInvalid, "gguf:rope_freqs.weight",
                 "want one divisor for each of the 32 pairs, got 31");
  divisors = std::vector<float>(32, 1.0f);
  for (const float bad : {0.0f, -1.0f, NAN}) {
    divisors[3] = bad;
    expect_refused(model("llama").f32_tensor("rope_freqs.weight", divisors), Code::kInvalid, "gguf:rope_freqs.weight",
                   "want divisors > 0");
  }
  expect_refused(model("llama").tensor("rope_freqs.weight", {32}, 1, std::string(64, '\1')), Code::kInvalid,
                 "gguf:rope_freqs.weight", "want F32, got F16");
  expect_refused(model("llama").tensor("rope_freqs.weight", {32}, 99, std::string(64, '\1')), Code::kInvalid,
                 "gguf:rope_freqs.weight", "want F32, got type 99");
  expect_refused(model("smollm3").f32_tensor("rope_freqs.weight", std::vector<float>(32, 1)), Code::kUnsupported,
                 "gguf:rope_freqs.weight", "for smollm3");
}

TEST(GgufPositions, LongRopeNeedsBothListsAndItsFactor) {
  const std::vector<float> shorter(32, 1.0f), longer(32, 4.0f);
  const auto phi = [] { return model("phi3").u32("phi3.rope.scaling.original_context_length", 1024); };
  const auto positions = read(phi()
                                  .f32("phi3.rope.scaling.attn_factor", 1.5f)
                                  .f32_tensor("rope_factors_long.weight", longer)
                                  .f32_tensor("rope_factors_short.weight", shorter));
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->trained_context, 1024);
  const RotarySpec& spec = only_spec(*positions);
  EXPECT_EQ(make_frequencies(spec, 1024)->inv_freq[0], 1.0);
  EXPECT_EQ(make_frequencies(spec, 1025)->inv_freq[0], 0.25);
  EXPECT_EQ(make_frequencies(spec)->attention_factor, 1.5);

  expect_refused(phi().f32_tensor("rope_factors_long.weight", longer).f32_tensor("rope_factors_short.weight", shorter),
                 Code::kInvalid, "gguf:phi3.rope.scaling.attn_factor", "4 times the trained one, got nothing");
  expect_refused(phi().f32_tensor("rope_factors_long.weight", longer), Code::kInvalid, "gguf:rope_factors_short.weight",
                 "got one");
  expect_refused(phi().text("phi3.rope.scaling.type", "longrope"), Code::kInvalid, "gguf:rope_factors_long.weight",
                 "got no such tensor");
  expect_refused(phi().f32_tensor("rope_factors_long.weight", longer).f32_tensor("rope_freqs.weight", shorter),
                 Code::kUnsupported, "gguf:rope_freqs.weight", "got all of them");
}

TEST(GgufPositions, Gemma3HasALocalBaseThatTheFileDoesNotSay) {
  const auto gemma = [] { return model("gemma3").u32("gemma3.attention.sliding_window", 512); };
  const auto positions = read(gemma().f32("gemma3.rope.scaling.factor", 8));
  ASSERT_TRUE(positions) << positions.error().line();
  ASSERT_EQ(positions->kinds.size(), 2u);
  EXPECT_EQ(positions->kinds[0].name, "sliding_attention");
  EXPECT_THAT(positions->kinds[0].layers, ElementsAre(0, 1, 2, 3, 4, 6, 7));
  EXPECT_EQ(positions->kinds[0].spec->theta, 10000);
  EXPECT_EQ(positions->kinds[0].spec->scaling, Scaling(NoScaling{}));
  EXPECT_EQ(positions->kinds[1].name, "full_attention");
  EXPECT_THAT(positions->kinds[1].layers, ElementsAre(5));
  EXPECT_EQ(positions->kinds[1].spec->theta, 500000);
  EXPECT_EQ(positions->kinds[1].spec->scaling, Scaling(LinearOptions{.factor = 8}));
  EXPECT_EQ(origin_of(*positions, "theta[sliding_attention]"),
            "10000 from gemma3 family: rope.freq_base_swa is 10000 if missing");

  const auto own =
      read(gemma().f32("gemma3.rope.freq_base_swa", 20000).u32("gemma3.attention.sliding_window_pattern", 2));
  EXPECT_EQ(own->kinds[0].spec->theta, 20000);
  EXPECT_THAT(own->kinds[1].layers, ElementsAre(1, 3, 5, 7));
  const auto listed =
      read(gemma().list("gemma3.attention.sliding_window_pattern", 7, 8, std::string("\0\1\1\1\1\1\1\1", 8)));
  ASSERT_TRUE(listed) << listed.error().line();
  EXPECT_THAT(listed->kinds[1].layers, ElementsAre(0));
  EXPECT_EQ(read(model("gemma3"))->kinds.size(), 1u);  // without a window all layers are full ones
  expect_refused(gemma().text("gemma3.rope.scaling.type", "yarn").f32("gemma3.rope.scaling.factor", 2),
                 Code::kUnsupported, "gguf:gemma3.rope.scaling.type", "want no YaRN for the sliding layers");
  expect_refused(gemma().list("gemma3.attention.sliding_window_pattern", 7, 2, std::string("\0\1", 2)),
                 Code::kUnsupported, "gguf:gemma3.attention.sliding_window_pattern", "want one value a layer");
  expect_refused(gemma().u32("gemma3.attention.sliding_window_pattern", 0), Code::kInvalid,
                 "gguf:gemma3.attention.sliding_window_pattern", "got 0");
  GgufWriter layerless;
  layerless.text("general.architecture", "gemma3")
      .u32("gemma3.attention.key_length", 64)
      .u32("gemma3.attention.sliding_window", 5);
  expect_refused(layerless, Code::kInvalid, "gguf:gemma3.block_count", "got nothing");
}

TEST(GgufPositions, LayersThatDoNotTurn) {
  const auto smollm3 = read(model("smollm3"));
  ASSERT_TRUE(smollm3) << smollm3.error().line();
  EXPECT_EQ(smollm3->kinds[0].name, "default");
  EXPECT_EQ(smollm3->kinds[1].name, "nope");
  EXPECT_THAT(smollm3->kinds[1].layers, ElementsAre(3, 7));
  EXPECT_FALSE(smollm3->kinds[1].spec);

  for (const std::string arch : {"cohere2", "llama4", "exaone4"}) {
    GgufWriter writer = model(arch);
    if (arch != "llama4") writer.u32(arch + ".attention.sliding_window", 4096);
    const auto positions = read(writer);
    ASSERT_TRUE(positions) << positions.error().line();
    ASSERT_EQ(positions->kinds.size(), 2u) << arch;
    EXPECT_EQ(positions->kinds[0].name, arch == "llama4" ? "chunked_attention" : "sliding_attention");
    EXPECT_TRUE(positions->kinds[0].spec);
    EXPECT_THAT(positions->kinds[1].layers, ElementsAre(3, 7));
    EXPECT_FALSE(positions->kinds[1].spec);
    EXPECT_EQ(
        positions->kinds[1].query_temperature(),
        arch == "llama4" ? std::optional(QueryTemperature{.beta = 0.1, .context = 8192, .offset = 1}) : std::nullopt)
        << arch;
  }
  EXPECT_EQ(read(model("exaone4"))->kinds.size(), 1u);
  expect_refused(model("llama4").u32("llama4.attention.sliding_window", 0), Code::kUnsupported,
                 "gguf:llama4.attention.sliding_window", "got none");
  expect_refused(model("smollm3").u32("smollm3.attention.sliding_window_pattern", 2), Code::kInvalid,
                 "gguf:smollm3.attention.sliding_window_pattern", "want 4, got 2");

  const auto granite = read(model("granite").boolean("granite.rope.scaling.finetuned", false));
  ASSERT_TRUE(granite) << granite.error().line();
  EXPECT_FALSE(granite->kinds[0].spec);
  EXPECT_TRUE(read(model("granite").boolean("granite.rope.scaling.finetuned", true))->kinds[0].spec);
  const auto llama = read(model("llama").boolean("llama.rope.scaling.finetuned", false));
  EXPECT_TRUE(llama->kinds[0].spec);
  EXPECT_THAT(llama->keys_ignored, ElementsAre("llama.rope.scaling.finetuned"));
}

TEST(GgufPositions, Olmo3ScalesItsFullLayersOnly) {
  const auto positions = read(model("olmo2")
                                  .u32("olmo2.attention.sliding_window", 4096)
                                  .text("olmo2.rope.scaling.type", "yarn")
                                  .f32("olmo2.rope.scaling.factor", 8));
  ASSERT_TRUE(positions) << positions.error().line();
  ASSERT_EQ(positions->kinds.size(), 2u);
  EXPECT_EQ(positions->kinds[0].spec->scaling, Scaling(NoScaling{}));
  EXPECT_TRUE(std::holds_alternative<YarnOptions>(positions->kinds[1].spec->scaling));
  EXPECT_EQ(positions->kinds[0].spec->theta, positions->kinds[1].spec->theta);
}

TEST(GgufPositions, SectionsBecomeAxes) {
  const auto positions = read(model("qwen2vl").i32s("qwen2vl.rope.dimension_sections", {8, 12, 12, 0}));
  ASSERT_TRUE(positions) << positions.error().line();
  const RotarySpec& spec = only_spec(*positions);
  EXPECT_EQ(spec.axes(), 3);
  EXPECT_EQ(std::count(spec.axis_of_pair.begin(), spec.axis_of_pair.begin() + 8, 0), 8);
  EXPECT_EQ(std::count(spec.axis_of_pair.begin() + 8, spec.axis_of_pair.begin() + 20, 1), 12);
  EXPECT_EQ(std::count(spec.axis_of_pair.begin() + 20, spec.axis_of_pair.end(), 2), 12);
  expect_refused(model("qwen2vl"), Code::kInvalid, "gguf:qwen2vl.rope.dimension_sections", "got nothing");
  expect_refused(model("qwen2vl").i32s("qwen2vl.rope.dimension_sections", {8, 12, 11, 0}), Code::kInvalid,
                 "gguf:qwen2vl.rope.dimension_sections", "add up to the 32 pairs, got 31");
  expect_refused(model("qwen2vl").i32s("qwen2vl.rope.dimension_sections", {8, 12, 11, 1}), Code::kInvalid,
                 "gguf:qwen2vl.rope.dimension_sections", "got 1 for section 3");
  expect_refused(model("qwen2vl").i32s("qwen2vl.rope.dimension_sections", {2147483647, -1, -2147483647}),
                 Code::kInvalid, "gguf:qwen2vl.rope.dimension_sections", "got 2147483647");
  expect_refused(model("glm4").i32s("glm4.rope.dimension_sections", {8, 12, 12, 0}), Code::kUnsupported,
                 "gguf:glm4.rope.dimension_sections", "for glm4");
}

TEST(GgufPositions, LayersWithoutHeadsAreInNoKind) {
  GgufWriter writer;
  writer.text("general.architecture", "lfm2").u32("lfm2.block_count", 4).u32("lfm2.attention.key_length", 64);
  writer.i32s("lfm2.attention.head_count_kv", {0, 0, 8, 0}).f32("lfm2.rope.freq_base", 1e6f);
  const auto positions = read(writer);
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_THAT(positions->kinds[0].layers, ElementsAre(2));
  EXPECT_THAT(positions->notes, Contains(HasSubstr("layers without attention heads")));
  GgufWriter brief;
  brief.text("general.architecture", "lfm2")
      .u32("lfm2.block_count", 4)
      .u32("lfm2.attention.key_length", 64)
      .i32s("lfm2.attention.head_count_kv", {0, 8});
  expect_refused(brief, Code::kInvalid, "gguf:lfm2.attention.head_count_kv",
                 "want one number for each of the 4 layers, got 2");
}

TEST(GgufPositions, KeysThatNothingAskedForAreListed) {
  const auto positions = read(model("llama")
                                  .f32("llama.rope.invention", 3)
                                  .u32("llama.attention.sliding_window", 4096)
                                  .f32_tensor("blk.0.rope_thing", {1}));
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_THAT(positions->keys_ignored,
              ElementsAre("llama.rope.invention", "llama.attention.sliding_window", "blk.0.rope_thing"));
  EXPECT_THAT(positions->keys_used, Not(Contains("llama.rope.invention")));
}

TEST(GgufPositions, ReadsTheRealModel) {
  const char* const path = std::getenv("ROPEWALK_SMOLLM2");
  if (!path) GTEST_SKIP() << "ROPEWALK_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf";
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file);
  const auto positions = config::positions_from_gguf(*file);
  ASSERT_TRUE(positions) << positions.error().line();
  const RotarySpec want{.head_dim = 64, .rotary_dim = 64, .theta = 100000, .layout = PairLayout::kInterleaved};
  EXPECT_EQ(only_spec(*positions), want);
  EXPECT_EQ(positions->layer_count, 30);
  EXPECT_EQ(positions->trained_context, 8192);
}

}  // namespace
