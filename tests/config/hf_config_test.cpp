#include "read_text.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <unistd.h>

namespace {

using namespace ropewalk;

bool has_note(const CheckpointPositions& p, std::string_view part) {
  return std::any_of(p.notes.begin(), p.notes.end(), [&](const std::string& n) { return n.find(part) != n.npos; });
}

TEST(Spellings, OneModelHasOneFingerprint) {
  const std::string scaling =
      "'factor':8.0,'low_freq_factor':1.0,'high_freq_factor':4.0,'original_max_position_embeddings':8192";
  const std::string base =
      "'model_type':'llama','hidden_size':4096,'num_attention_heads':32,'num_hidden_layers':32,'max_position_"
      "embeddings':131072,";
  const std::string v4_type = print_of(base + "'rope_theta':500000.0,'rope_scaling':{'type':'llama3'," + scaling + "}");
  EXPECT_EQ(v4_type.size(), 16u);
  EXPECT_EQ(v4_type, print_of(base + "'rope_theta':500000.0,'rope_scaling':{'rope_type':'llama3'," + scaling + "}"));
  EXPECT_EQ(v4_type, print_of(base + "'rope_theta':500000,'rope_scaling':{'rope_type':'llama3','type':'llama3'," +
                              scaling + "}"));
  EXPECT_EQ(v4_type, print_of(base + "'rope_parameters':{'rope_theta':500000.0,'rope_type':'llama3'," + scaling + "}"));
  EXPECT_EQ(v4_type, print_of(base + "'rope_parameters':{'full_attention':{'rope_theta':5e5,'rope_type':'llama3'," +
                              scaling + "}}"));
  EXPECT_EQ(v4_type,
            print_of(base + "'rope_theta':500000.0,'rope_parameters':{'rope_theta':500000.0,'rope_type':'llama3'," +
                     scaling + "},'rope_scaling':{'type':'llama3'," + scaling + "}"));
  EXPECT_NE(v4_type, print_of(base + "'rope_theta':500000.0"));
  EXPECT_NE(v4_type, print_of(base + "'rope_theta':10000.0,'rope_scaling':{'type':'llama3'," + scaling + "}"));
}

TEST(Spellings, NestedFlatAndOlderGemma3AreOneModel) {
  const std::string base =
      "'model_type':'gemma3_text','head_dim':256,'num_hidden_layers':12,'sliding_window_pattern':6,'max_position_"
      "embeddings':131072,";
  const std::string older = print_of(
      base +
      "'rope_theta':1000000.0,'rope_local_base_freq':10000.0,'rope_scaling':{'rope_type':'linear','factor':8.0}");
  const std::string nested =
      print_of(base +
               "'rope_parameters':{'full_attention':{'rope_type':'linear','factor':8.0,'rope_theta':1000000.0},"
               "'sliding_attention':{'rope_type':'default','rope_theta':10000.0}}");
  EXPECT_EQ(older, nested);
  EXPECT_NE(older, print_of(base + "'rope_theta':1000000.0,'rope_local_base_freq':10000.0"));
}

TEST(Spellings, FamiliesOwnNames) {
  EXPECT_EQ(print_of("'model_type':'gpt_neox','hidden_size':512,'num_attention_heads':8,'num_hidden_layers':2,'rotary_"
                     "emb_base':20000,'rotary_pct':0.5"),
            print_of("'model_type':'gpt_neox','hidden_size':512,'num_attention_heads':8,'num_hidden_layers':2,"
                     "'rope_parameters':{'rope_type':'default','rope_theta':20000.0,'partial_rotary_factor':0.5}"));
  EXPECT_EQ(
      print_of("'model_type':'minimax_m2','head_dim':128,'rotary_dim':64,'rope_theta':5000000"),
      print_of(
          "'model_type':'minimax_m2','head_dim':128,'rope_parameters':{'rope_theta':5e6,'partial_rotary_factor':0.5}"));
  const auto gptj =
      answer("'model_type':'gptj','n_embd':4096,'n_head':16,'n_layer':28,'n_positions':2048,'rotary_dim':64");
  EXPECT_EQ(gptj.kinds[0].head_dim, 256);
  EXPECT_EQ(gptj.kinds[0].spec->rotary_dim, 64);
  EXPECT_EQ(gptj.kinds[0].spec->layout, PairLayout::kInterleaved);
  EXPECT_EQ(gptj.layer_count, 28);
}

TEST(Spellings, SuIsLongRopeAndMropeIsDefault) {
  const std::string phi =
      "'model_type':'phi3','hidden_size':32,'num_attention_heads':4,'num_hidden_layers':1,'max_position_embeddings':"
      "131072,"
      "'original_max_position_embeddings':4096,'rope_theta':10000.0,'rope_scaling':{'short_factor':[1,1,1,1],'long_"
      "factor':[2,3,4,5],";
  const std::string su = print_of(phi + "'type':'su'}");
  EXPECT_EQ(su, print_of(phi + "'type':'longrope'}"));
  EXPECT_EQ(su, print_of(phi + "'type':'su','rope_type':'longrope'}"));
  EXPECT_EQ(su, print_of(phi + "'type':'yarn'}"));
  const auto positions = answer(phi + "'type':'su'}");
  EXPECT_NEAR(frequencies_of(positions, "default").attention_factor, 1.190238071, 1e-9);
  EXPECT_EQ(positions.trained_context, 4096);

  const auto vl = answer(
      "'model_type':'qwen2_vl','hidden_size':1024,'num_attention_heads':8,'num_hidden_layers':2,'max_position_"
      "embeddings':32768,"
      "'rope_theta':1000000.0,'rope_scaling':{'type':'mrope','mrope_section':[16,24,24]}");
  ASSERT_EQ(vl.kinds.size(), 1u);
  EXPECT_EQ(vl.kinds[0].spec->axes(), 3);
  EXPECT_EQ(vl.family, "qwen2_vl_text");
  const auto& axis = vl.kinds[0].spec->axis_of_pair;
  EXPECT_EQ(std::count(axis.begin(), axis.end(), 0), 16);
  EXPECT_TRUE(std::is_sorted(axis.begin(), axis.end()));
}

TEST(Answer, SaysWhereEveryNumberCameFrom) {
  const auto p = answer(small("'rope_scaling':{'type':'linear','factor':2.0},'rope_theta':20000.0"));
  const auto from = [&](std::string_view what) {
    for (const Provenance& one : p.provenance)
      if (one.what == what) return one.value + " from " + one.from;
    return std::string();
  };
  EXPECT_EQ(from("theta"), "20000 from rope_theta");
  EXPECT_EQ(from("head_dim"), "128 from hidden_size / num_attention_heads");
  EXPECT_EQ(from("scaling"), "linear from rope_scaling.type");
  EXPECT_EQ(from("scaling.factor"), "2 from rope_scaling.factor");
  EXPECT_EQ(from("pair_layout"), "half from llama family");
}

TEST(Answer, AMissingThetaIsTheFamilysAndSaysSo) {
  const auto p = answer(kSmall);
  EXPECT_EQ(p.kinds[0].spec->theta, 10000.0);
  EXPECT_TRUE(has_note(p, "rope_theta is missing: the llama family assumes 10000"));
  EXPECT_EQ(answer("'model_type':'cohere','hidden_size':8192,'num_attention_heads':64").kinds[0].spec->theta, 500000.0);
}

TEST(Answer, ListsKeysUsedAndIgnored) {
  const auto p = answer(
      small("'rope_theta':10000.0,'rope_scaling':{'type':'default','finetuned':true},'partial_rotary_factor':1.0"));
  EXPECT_TRUE(std::count(p.keys_used.begin(), p.keys_used.end(), "rope_theta"));
  EXPECT_TRUE(std::count(p.keys_used.begin(), p.keys_used.end(), "rope_scaling.type"));
  EXPECT_EQ(p.keys_ignored, std::vector<std::string>{"rope_scaling.finetuned"});
}

TEST(Answer, HeadDimIsFlooredAsTransformersDoes) {
  EXPECT_EQ(answer("'model_type':'llama','hidden_size':100,'num_attention_heads':8").kinds[0].head_dim, 12);
  EXPECT_EQ(
      answer("'model_type':'mistral','hidden_size':5120,'num_attention_heads':32,'head_dim':128").kinds[0].head_dim,
      128);
  EXPECT_EQ(answer("'model_type':'gemma','hidden_size':3072,'num_attention_heads':16").kinds[0].head_dim, 256);
}

TEST(Answer, Llama3ScalingTakesEffectWhereItShould) {
  const auto f = frequencies_of(answer("'model_type':'llama','hidden_size':2048,'num_attention_heads':32,'max_position_"
                                       "embeddings':131072,'rope_theta':500000.0,"
                                       "'rope_scaling':{'rope_type':'llama3','factor':32.0,'low_freq_factor':1.0,'high_"
                                       "freq_factor':4.0,'original_max_position_embeddings':8192}"),
                                "default");
  ASSERT_EQ(f.inv_freq.size(), 32u);
  EXPECT_NEAR(f.inv_freq[15], 1.29054793e-3, 1e-11);
  EXPECT_NEAR(f.inv_freq[17], 9.7082878e-5, 1e-12);
  EXPECT_NEAR(f.inv_freq[18], 1.94616382e-5, 1e-13);
}

TEST(Answer, PartialWidthsOfBothKinds) {
  const auto prefix = answer(
      "'model_type':'qwen3_next','head_dim':256,'num_hidden_layers':4,'rope_theta':1e7,'partial_rotary_factor':0.25");
  EXPECT_NEAR(frequencies_of(prefix, "default").inv_freq[1], 0.6042963902, 1e-10);
  EXPECT_EQ(kind_named(prefix, "default")->spec->rotary_dim, 64);
  EXPECT_EQ(kind_named(prefix, "default")->layers, std::vector<int>{3});
  EXPECT_FALSE(kind_named(prefix, "linear_attention")->spec);

  const auto neomme = answer(
      "'model_type':'neomme','num_hidden_layers':3,'rope_parameters':{'full_attention':{'rope_type':'default',"
      "'rope_theta':1e6},'sliding_attention':{'rope_type':'default','rope_theta':1e4}},'layer_types':['full_attention',"
      "'sliding_attention','full_attention']");
  EXPECT_EQ(kind_named(neomme, "full_attention")->spec->rotary_dim, 16);
  EXPECT_EQ(kind_named(neomme, "sliding_attention")->spec->rotary_dim, 64);

  const auto gemma4 = answer("'model_type':'gemma4_text','num_hidden_layers':6");
  const auto full = frequencies_of(gemma4, "full_attention");
  ASSERT_EQ(full.inv_freq.size(), 256u);
  EXPECT_NEAR(full.inv_freq[32], 0.1778279410, 1e-10);
  EXPECT_NEAR(full.inv_freq[63], 0.0333762469, 1e-10);
  EXPECT_EQ(full.inv_freq[64], 0.0);
  EXPECT_EQ(kind_named(gemma4, "full_attention")->head_dim, 512);
  EXPECT_EQ(kind_named(gemma4, "sliding_attention")->head_dim, 256);
}

constexpr std::string_view kProportional = "'rope_type':'proportional','rope_theta':10000.0";

/// Channels that have a pair, where they begin, and how many of the pairs turn.
std::vector<std::ptrdiff_t> widths(const CheckpointPositions& positions, std::string_view kind = "default") {
  const auto frequencies = frequencies_of(positions, kind).inv_freq;
  const RotarySpec& spec = *kind_named(positions, kind)->spec;
  return {spec.rotary_dim, spec.rotary_offset,
          std::count_if(frequencies.begin(), frequencies.end(), [](double f) { return f != 0.0; })};
}

TEST(Answer, DeepseekV4sPartIsThatOfEachEntry) {
  using Widths = std::vector<std::ptrdiff_t>;
  constexpr std::string_view kV4 =
      "'model_type':'deepseek_v4','head_dim':512,'num_hidden_layers':2,"
      "'layer_types':['sliding_attention','heavily_compressed_attention']";
  const auto nested = [&](std::string_view type) {
    return answer(std::string(kV4) + ",'partial_rotary_factor':0.5,'rope_parameters':{'main':{'rope_type':'" +
                  std::string(type) + "','rope_theta':1e4,'partial_rotary_factor':0.25},'compress':{'rope_type':'" +
                  std::string(type) + "','rope_theta':1.6e5}}");
  };
  EXPECT_EQ(widths(nested("default"), "main"), (Widths{128, 384, 64}));
  EXPECT_EQ(widths(nested("default"), "compress"), (Widths{256, 256, 128}));
  EXPECT_EQ(widths(nested("proportional"), "main"), (Widths{512, 0, 64}));
  EXPECT_EQ(widths(nested("proportional"), "compress"), (Widths{512, 0, 128}));
  EXPECT_EQ(
      refusal(std::string(kV4) + ",'rope_scaling':{'rope_type':'linear','factor':2,'partial_rotary_factor':0.5}"),
      "rope_scaling.partial_rotary_factor: want 0.125 or none, as transformers does not look for it here, got 0.5");
}

// What a fraction means under any other type is not what it means here: all channels that a class has tables for keep
// their pairs. Which part turns is its own where the parameters do not say one.
TEST(Answer, ProportionalTurnsAPartOfEveryLadder) {
  using Widths = std::vector<std::ptrdiff_t>;
  const auto with = [](std::string_view keys, std::string_view more = "") {
    return answer(std::string(keys) + ",'rope_parameters':{" + std::string(kProportional) + std::string(more) + "}");
  };
  constexpr std::string_view kLatent =
      "'model_type':'deepseek_v3','hidden_size':7168,'num_attention_heads':128,'num_hidden_layers':2,"
      "'max_position_embeddings':4096,'qk_nope_head_dim':128,'qk_rope_head_dim':64";
  constexpr std::string_view kGlm = "'model_type':'glm4','num_hidden_layers':2,'head_dim':128";
  constexpr std::string_view kNeoX =
      "'model_type':'gpt_neox','hidden_size':6144,'num_attention_heads':64,'num_hidden_layers':2";
  EXPECT_EQ(widths(with(kLatent)), (Widths{64, 128, 32}));
  EXPECT_EQ(widths(with(kLatent, ",'partial_rotary_factor':0.5")), (Widths{64, 128, 16}));
  EXPECT_EQ(widths(with(kGlm)), (Widths{128, 0, 32}));
  EXPECT_EQ(widths(with(kGlm, ",'partial_rotary_factor':0.25")), (Widths{128, 0, 16}));
  EXPECT_EQ(widths(with(std::string(kGlm) + ",'partial_rotary_factor':0.75")), (Widths{128, 0, 48}));
  EXPECT_EQ(widths(with(kNeoX)), (Widths{96, 0, 12}));
  EXPECT_EQ(widths(with(std::string(kNeoX) + ",'rotary_pct':0.5")), (Widths{96, 0, 24}));
  EXPECT_EQ(widths(with(std::string(kSmall) + ",'partial_rotary_factor':0.25")), (Widths{128, 0, 16}));
  const auto glm = frequencies_of(with(kGlm, ",'factor':4"), "default");
  EXPECT_NEAR(glm.inv_freq[31], 0.25 * std::pow(1e4, -62.0 / 128), 1e-15);

  // Sections are those of a partial width: the ladder goes on behind them, with time.
  const auto several = with("'model_type':'qwen3_5_text','num_hidden_layers':4", ",'mrope_section':[11,11,10]");
  EXPECT_EQ(widths(several), (Widths{256, 0, 32}));
  EXPECT_EQ(kind_named(several, "default")->spec->axis_of_pair[31], 1);
  EXPECT_EQ(kind_named(several, "default")->spec->axis_of_pair[34], 0);

  // MiMo's own part is that of its plain formula alone, NeoMME's that of every type.
  const auto nested = [&](std::string_view keys) {
    const std::string one = "{" + std::string(kProportional) + "}";
    return answer(std::string(keys) + ",'rope_parameters':{'full_attention':" + one + ",'sliding_attention':" + one +
                  "},'layer_types':['full_attention','sliding_attention','full_attention']");
  };
  EXPECT_EQ(widths(nested("'model_type':'mimo_v2_flash','num_hidden_layers':3"), "full_attention"),
            (Widths{192, 0, 96}));
  const auto neomme = nested("'model_type':'neomme','num_hidden_layers':3,'head_dim':64");
  EXPECT_EQ(widths(neomme, "full_attention"), (Widths{64, 0, 8}));
  EXPECT_EQ(widths(neomme, "sliding_attention"), (Widths{64, 0, 32}));
}

TEST(Answer, ProportionalIsRefusedWhereItsTablesAreTooWide) {
  const auto refused = [](std::string_view keys, std::string_view more = ",'partial_rotary_factor':0.5") {
    return refusal(std::string(keys) + ",'num_hidden_layers':2,'rope_parameters':{" + std::string(kProportional) +
                   std::string(more) + "}");
  };
  constexpr std::string_view kPhi = "'model_type':'phi','hidden_size':2048,'num_attention_heads':32";
  constexpr std::string_view kCut =
      "rope_parameters.partial_rotary_factor: want 1 beside proportional for this family, whose attention cuts that "
      "part off a head and has tables for all of it, got 0.5";
  EXPECT_EQ(refused(kPhi), kCut);
  EXPECT_EQ(refused(kPhi, ""), kCut);
  EXPECT_EQ(refused(kPhi, ",'partial_rotary_factor':1"), "(answered)");
  EXPECT_EQ(refused(kPhi, ",'partial_rotary_factor':null"),
            "rope_parameters.partial_rotary_factor: want a number in (0, 1], got null");
  EXPECT_EQ(refused("'model_type':'mistral4','qk_nope_head_dim':64,'qk_rope_head_dim':64"),
            "rope_parameters.rope_type: want another type for this family, whose tables would be as wide as "
            "head_dim says and whose attention turns qk_rope_head_dim channels, got \"proportional\"");
  EXPECT_EQ(refused("'model_type':'bailing_moe_v2','head_dim':128"),
            "rope_parameters.rope_type: want another type for this family, in whose own code this one was "
            "not read, got \"proportional\"");
  constexpr std::string_view kQwen4 =
      "'model_type':'qwen4_exp_text','layer_types':['linear_attention','indexed_attention']";
  EXPECT_EQ(refused(std::string(kQwen4) + ",'indexer_head_dim':128"),
            "rope_parameters.rope_type: want another type beside indexer_head_dim (128), whose heads cannot "
            "take tables of 256 channels, got \"proportional\"");
  EXPECT_EQ(refused(std::string(kQwen4) + ",'indexer_head_dim':256"), "(answered)");
  EXPECT_EQ(refused(kQwen4), "(answered)");

  const auto v4 = [](std::string_view types, std::string_view main, std::string_view compress) {
    return refusal("'model_type':'deepseek_v4','head_dim':512,'num_hidden_layers':2,'layer_types':[" +
                   std::string(types) + "],'rope_parameters':{'main':{'rope_theta':1e4,'rope_type':'" +
                   std::string(main) + "'},'compress':{'rope_theta':1.6e5,'rope_type':'" + std::string(compress) +
                   "'}}");
  };
  EXPECT_EQ(v4("'sliding_attention','compressed_sparse_attention'", "default", "proportional"),
            "rope_parameters.compress.rope_type: want another type beside index_head_dim (128), whose heads "
            "cannot take tables of 512 channels, got \"proportional\"");
  EXPECT_EQ(v4("'sliding_attention','compressed_sparse_attention'", "proportional", "default"), "(answered)");
  EXPECT_EQ(v4("'sliding_attention','heavily_compressed_attention'", "proportional", "proportional"), "(answered)");
}

TEST(Answer, EachLayerTypeHasItsOwnSpeed) {
  const auto p = answer(
      "'model_type':'gemma3','text_config':{'model_type':'gemma3_text','hidden_size':2560,'num_hidden_layers':34,"
      "'rope_scaling':{'rope_type':'linear','factor':8.0},'sliding_window':1024}");
  EXPECT_NEAR(frequencies_of(p, "full_attention").inv_freq[64], 1.25e-4, 1e-18);
  EXPECT_NEAR(frequencies_of(p, "sliding_attention").inv_freq[64], 1e-2, 1e-16);
  EXPECT_EQ(kind_named(p, "full_attention")->layers, (std::vector<int>{5, 11, 17, 23, 29}));
  EXPECT_EQ(kind_named(p, "full_attention")->head_dim, 256);
  EXPECT_TRUE(has_note(p, "text_config.head_dim is missing: the gemma3_text family assumes 256"));
}

TEST(Answer, YarnAmplitudeIsCountedOnce) {
  const std::string qwen = small(
      "'rope_theta':1000000.0,'rope_scaling':{'rope_type':'yarn','factor':4.0,'original_max_position_embeddings':"
      "32768");
  auto f = frequencies_of(answer(qwen + "}"), "default");
  EXPECT_NEAR(f.attention_factor, 1.138629436, 1e-9);
  EXPECT_EQ(f.softmax_scale_multiplier, 1.0);
  EXPECT_EQ(frequencies_of(answer(qwen + ",'attention_factor':1.0}"), "default").attention_factor, 1.0);

  const std::string deepseek =
      "'hidden_size':7168,'num_attention_heads':128,'num_hidden_layers':2,'qk_nope_head_dim':128,'qk_rope_head_dim':64,"
      "'max_position_embeddings':163840,'rope_theta':10000,'rope_scaling':{'type':'yarn','factor':40,"
      "'original_max_position_embeddings':4096,'beta_fast':32,'beta_slow':1,";
  const auto v3 = answer("'model_type':'deepseek_v3'," + deepseek + "'mscale':1.0,'mscale_all_dim':1.0}");
  f = frequencies_of(v3, "default");
  EXPECT_EQ(f.attention_factor, 1.0);
  EXPECT_NEAR(f.softmax_scale_multiplier, 1.873854207, 1e-9);
  EXPECT_EQ(v3.kinds[0].head_dim, 192);
  EXPECT_EQ(v3.kinds[0].spec->rotary_offset, 128);
  EXPECT_EQ(v3.kinds[0].spec->rotary_dim, 64);
  EXPECT_EQ(v3.kinds[0].spec->layout, PairLayout::kInterleaved);
  EXPECT_EQ(v3.trained_context, 4096);
  const auto v2 = frequencies_of(
      answer("'model_type':'deepseek_v2'," + deepseek + "'mscale':0.707,'mscale_all_dim':0.707}"), "default");
  EXPECT_EQ(v2.attention_factor, 1.0);
  EXPECT_NEAR(v2.softmax_scale_multiplier, 1.589626165, 1e-9);
  EXPECT_EQ(
      answer("'model_type':'deepseek_v3','rope_interleave':false," + deepseek + "'mscale':1.0}").kinds[0].spec->layout,
      PairLayout::kHalf);
}

TEST(Answer, YarnRampKeepsItsTruncation) {
  const std::string oss =
      "'model_type':'gpt_oss','head_dim':64,'max_position_embeddings':131072,'rope_theta':150000,"
      "'rope_scaling':{'rope_type':'yarn','factor':32.0,'original_max_position_embeddings':4096,"
      "'beta_fast':32.0,'beta_slow':1.0";
  EXPECT_NEAR(frequencies_of(answer(oss + ",'truncate':false}"), "default").inv_freq[17], 1.29318701e-4, 1e-12);
  EXPECT_NEAR(frequencies_of(answer(oss + ",'truncate':true}"), "default").inv_freq[17], 2.27947796e-4, 1e-12);
  EXPECT_EQ(print_of(oss + "}"), print_of(oss + ",'truncate':true}"));
  EXPECT_EQ(print_of(oss + ",'truncate':false}"),
            print_of("'model_type':'gpt_oss','head_dim':64,'max_position_embeddings':131072"));
}

TEST(Answer, YarnFollowsTheFactorAndSaysSo) {
  const auto p = answer(
      "'model_type':'qwen3','head_dim':128,'max_position_embeddings':40960,'rope_theta':1000000,"
      "'rope_scaling':{'rope_type':'yarn','factor':4.0,'original_max_position_embeddings':32768}");
  EXPECT_EQ(std::get<YarnOptions>(p.kinds[0].spec->scaling).factor, 4.0);
  EXPECT_TRUE(has_note(p, "would be 1.25"));
}

TEST(Answer, DynamicGrowsWithTheLength) {
  const auto p = answer(
      "'model_type':'llama','hidden_size':4096,'num_attention_heads':32,'max_position_embeddings':4096,"
      "'rope_theta':10000.0,'rope_scaling':{'type':'dynamic','factor':2.0}");
  EXPECT_EQ(frequencies_of(p, "default", 4096).inv_freq[1], frequencies_of(answer(kSmall), "default").inv_freq[1]);
  const double base = std::pow(frequencies_of(p, "default", 8192).inv_freq[32], -2.0);
  EXPECT_NEAR(base, 30527.736749, 1e-5);
  EXPECT_NE(*fingerprint(p), print_of(small("'rope_theta':10000.0")));
}

TEST(Answer, LayersThatDoNotTurn) {
  const auto smol = answer("'model_type':'smollm3','hidden_size':2048,'num_attention_heads':16,'num_hidden_layers':8");
  EXPECT_EQ(kind_named(smol, "default")->layers, (std::vector<int>{0, 1, 2, 4, 5, 6}));
  EXPECT_EQ(kind_named(smol, "nope")->layers, (std::vector<int>{3, 7}));
  EXPECT_EQ(kind_named(smol, "nope")->head_dim, 128);
  const auto listed = answer(
      "'model_type':'smollm3','hidden_size':2048,'num_attention_heads':16,'num_hidden_layers':3,'no_rope_layers':[1,0,"
      "1]");
  EXPECT_EQ(kind_named(listed, "nope")->layers, std::vector<int>{1});

  const auto command = answer(
      "'model_type':'cohere2','hidden_size':4096,'num_attention_heads':32,'num_hidden_layers':4,'sliding_window':4096,'"
      "rope_theta':50000");
  EXPECT_EQ(kind_named(command, "default")->layers, (std::vector<int>{0, 1, 2}));
  EXPECT_FALSE(kind_named(command, "full_attention")->spec);
  EXPECT_EQ(kind_named(command, "full_attention")->head_dim, 128);

  const auto falcon =
      answer("'model_type':'falcon','hidden_size':4544,'num_attention_heads':71,'num_hidden_layers':2,'alibi':true");
  EXPECT_FALSE(falcon.kinds[0].spec);
  const auto gpt2 = answer("'model_type':'gpt2','n_embd':768,'n_head':12,'n_layer':12");
  EXPECT_FALSE(gpt2.kinds[0].spec);
  EXPECT_EQ(gpt2.kinds[0].layers.size(), 12u);
  EXPECT_NE(*fingerprint(gpt2), "");
  const auto exaone = answer(
      "'model_type':'exaone4','hidden_size':2048,'num_attention_heads':32,'num_hidden_layers':2,'sliding_window':null");
  EXPECT_EQ(kind_named(exaone, "default")->layers.size(), 2u);
}

TEST(Answer, NanochatTurnsTheOtherWay) {
  EXPECT_TRUE(answer("'model_type':'nanochat','hidden_size':768,'num_attention_heads':6").kinds[0].spec->clockwise);
}

TEST(Answer, MinistralsQueriesGrowWithTheirPosition) {
  const auto p = answer("'model_type':'ministral3','head_dim':128,'max_position_embeddings':262144");
  ASSERT_TRUE(p.kinds[0].spec->query_temperature);
  EXPECT_EQ(*p.kinds[0].spec->query_temperature, (QueryTemperature{.beta = 0.1, .context = 16384, .offset = 0}));
}

TEST(Answer, InterleavedAxesAreThoseOfQwen3) {
  const auto p = answer(
      "'model_type':'qwen3_vl_text','head_dim':128,'rope_theta':5e6,'rope_scaling':{'rope_type':'default','mrope_"
      "section':[24,20,20],'mrope_interleaved':true}");
  const auto& axis = p.kinds[0].spec->axis_of_pair;
  std::string text;
  for (const std::uint8_t a : axis) text += "THW"[a];
  std::string expected;
  for (int i = 0; i < 20; ++i) expected += "THW";
  EXPECT_EQ(text, expected + "TTTT");
}

TEST(Answer, AnotherFamilysConventionsOnRequest) {
  const auto p =
      answer("'model_type':'my_llama','hidden_size':64,'num_attention_heads':4,'rope_theta':10000.0", "llama");
  EXPECT_EQ(p.model_type, "my_llama");
  EXPECT_EQ(p.family, "llama");
  EXPECT_TRUE(has_note(p, "conventions of llama"));
  EXPECT_EQ(refusal("'model_type':'llama'", "lama").substr(0, 38), "model_type: want a known model type (n");
}

TEST(Families, AreSortedAndNamedOnce) {
  const auto all = known_families();
  ASSERT_GE(all.size(), 200u);
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_LT(all[i - 1].name, all[i].name);
  for (const Family& family : all) {
    EXPECT_EQ(family.rotates, family.layout != PairLayout::kUnset) << family.name;
    EXPECT_FALSE(family.source.empty()) << family.name;
  }
}

class Paths : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("ropewalk_paths_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_ / "empty");
    std::ofstream(folder_ / "config.json") << json_of(kSmall);
    std::ofstream(folder_ / "empty.json");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(Paths, FileAndFolderAreTheSame) {
  const auto file = read_positions((folder_ / "config.json").string()), folder = read_positions(folder_.string());
  ASSERT_TRUE(file && folder);
  EXPECT_EQ(*fingerprint(*file), *fingerprint(*folder));
  EXPECT_EQ(folder->source, (folder_ / "config.json").string());
}

TEST_F(Paths, WhatIsNotThereIsSaidInOneLine) {
  for (const char* const name : {"nothing", "empty", "empty.json", "config.json/x"}) {
    const auto positions = read_positions((folder_ / name).string());
    ASSERT_FALSE(positions) << name;
    EXPECT_EQ(positions.error().code, Code::kUnavailable) << positions.error().line();
    EXPECT_NE(positions.error().path.find(folder_.filename().string()), std::string::npos);
    EXPECT_EQ(positions.error().line().find('\n'), std::string::npos);
  }
}

}  // namespace
