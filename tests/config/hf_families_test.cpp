// Families that transformers does not have, on the keys that their published files have. What each must be was worked
// out by hand from the sources that the rows name.

#include "read_text.hpp"

#include <algorithm>
#include <cmath>

namespace {

using namespace ropewalk;

struct Expected {
  std::string_view keys;
  int head_dim, rotary_dim;
  PairLayout layout;
  double theta;
  int layers;
  std::int64_t context;
};

TEST(Families, OutsideTransformersTurnAsTheirOwnCodeDoes) {
  constexpr PairLayout kHalf = PairLayout::kHalf, kInterleaved = PairLayout::kInterleaved;
  const Expected all[] = {
      {"'model_type':'baichuan','hidden_size':4096,'num_attention_heads':32,'num_hidden_layers':32,'max_position_"
       "embeddings':4096,'model_max_length':4096",
       128, 128, kHalf, 1e4, 32, 4096},
      {"'model_type':'bailing_moe','hidden_size':2048,'num_attention_heads':16,'head_dim':128,'num_hidden_layers':28,"
       "'max_position_embeddings':16384,'rope_theta':600000,'rope_scaling':null",
       128, 128, kHalf, 6e5, 28, 16384},
      {"'model_type':'bailing_moe_v2','hidden_size':2048,'num_attention_heads':16,'head_dim':128,'num_hidden_layers':"
       "20,'max_position_embeddings':32768,'rope_theta':600000,'partial_rotary_factor':0.5,'rotary_dim':64",
       128, 64, kHalf, 6e5, 20, 32768},
      {"'model_type':'chatglm','hidden_size':4096,'num_attention_heads':32,'kv_channels':128,'num_layers':28,"
       "'seq_length':32768,'original_rope':true,'multi_query_group_num':2",
       128, 64, kInterleaved, 1e4, 28, 32768},
      {"'model_type':'codeshell','n_embd':4096,'n_head':32,'n_layer':42,'n_positions':8192,'position_embedding_type':"
       "'rope','rope_scaling':null",
       128, 128, kHalf, 1e4, 42, 8192},
      {"'model_type':'exaone','hidden_size':4096,'num_attention_heads':32,'num_layers':32,'max_position_embeddings':"
       "4096,'rope_scaling':null,'rope_theta':500000.0",
       128, 128, kHalf, 5e5, 32, 4096},
      {"'model_type':'grok-1','hidden_size':6144,'num_attention_heads':48,'num_hidden_layers':64,'max_position_"
       "embeddings':8192",
       128, 128, kHalf, 1e4, 64, 8192},
      {"'model_type':'internlm2','hidden_size':4096,'num_attention_heads':32,'num_hidden_layers':32,'max_position_"
       "embeddings':32768,'rope_theta':1000000,'rope_scaling':null",
       128, 128, kHalf, 1e6, 32, 32768},
      {"'model_type':'llada2_moe','hidden_size':2048,'num_attention_heads':16,'head_dim':128,'num_hidden_layers':20,"
       "'max_position_embeddings':32768,'rope_theta':600000,'partial_rotary_factor':0.5,'rotary_dim':64",
       128, 64, kHalf, 6e5, 20, 32768},
      {"'model_type':'openelm','model_dim':1280,'head_dim':64,'num_transformer_layers':16,'max_context_length':2048,"
       "'rope_freq_constant':10000,'rope_max_length':4096",
       64, 64, kHalf, 1e4, 16, 2048},
      {"'model_type':'orion','hidden_size':5120,'num_attention_heads':40,'num_hidden_layers':40,'max_position_"
       "embeddings':4096,'rope_scaling':null,'rope_theta':10000.0",
       128, 128, kHalf, 1e4, 40, 4096},
      {"'model_type':'qwen','hidden_size':4096,'num_attention_heads':32,'kv_channels':128,'num_hidden_layers':32,"
       "'max_position_embeddings':32768,'seq_length':8192,'rotary_emb_base':10000,'rotary_pct':1.0,"
       "'use_dynamic_ntk':false,'use_logn_attn':false",
       128, 128, kHalf, 1e4, 32, 32768},
      {"'model_type':'xverse','hidden_size':5120,'num_attention_heads':40,'num_hidden_layers':40,'max_position_"
       "embeddings':8192",
       128, 128, kHalf, 1e4, 40, 8192},
  };
  for (const Expected& e : all) {
    const auto p = answer(e.keys);
    ASSERT_EQ(p.kinds.size(), 1u) << e.keys;
    ASSERT_TRUE(p.kinds[0].spec) << e.keys;
    EXPECT_EQ(p.kinds[0].spec->head_dim, e.head_dim) << e.keys;
    EXPECT_EQ(p.kinds[0].spec->rotary_dim, e.rotary_dim) << e.keys;
    EXPECT_EQ(p.kinds[0].spec->rotary_offset, 0) << e.keys;
    EXPECT_EQ(p.kinds[0].spec->layout, e.layout) << e.keys;
    EXPECT_EQ(p.kinds[0].spec->theta, e.theta) << e.keys;
    EXPECT_EQ(static_cast<int>(p.kinds[0].layers.size()), e.layers) << e.keys;
    EXPECT_EQ(p.max_context, e.context) << e.keys;
    const auto f = frequencies_of(p, "default");
    ASSERT_EQ(static_cast<int>(f.inv_freq.size()), e.rotary_dim / 2) << e.keys;
    EXPECT_NEAR(f.inv_freq[3], std::pow(e.theta, -6.0 / e.rotary_dim), 1e-15) << e.keys;
  }
}

TEST(Families, MiniMax01TurnsItsSoftmaxLayersOnly) {
  for (const char* name : {"minimax_text_01", "minimax_m1"}) {
    const auto p = answer("'model_type':'" + std::string(name) +
                          "','hidden_size':6144,'num_attention_heads':64,'head_dim':128,'rotary_dim':64,'num_hidden_"
                          "layers':8,'attn_type_list':[0,0,0,0,0,0,0,1],'rope_theta':10000000");
    ASSERT_EQ(p.kinds.size(), 2u);
    EXPECT_EQ(p.kinds[0].layers, std::vector<int>{7});
    EXPECT_EQ(p.kinds[0].spec->rotary_dim, 64);
    EXPECT_EQ(p.kinds[0].spec->theta, 1e7);
    EXPECT_FALSE(p.kinds[1].spec);
    EXPECT_EQ(p.kinds[1].layers.size(), 7u);
  }
}

TEST(Families, OneKeyTellsWhetherAnythingTurns) {
  const auto turns = [](std::string_view keys) {
    const auto p = answer(keys);
    return std::any_of(p.kinds.begin(), p.kinds.end(), [](const LayerKind& k) { return k.spec.has_value(); });
  };
  const std::string esm = "'model_type':'esm','hidden_size':320,'num_attention_heads':20,'num_hidden_layers':6,";
  EXPECT_TRUE(turns(esm + "'position_embedding_type':'rotary'"));
  EXPECT_FALSE(turns(esm + "'position_embedding_type':'absolute'"));
  EXPECT_FALSE(turns(esm + "'max_position_embeddings':1026"));
  EXPECT_FALSE(
      turns("'model_type':'codeshell','n_embd':4096,'n_head':32,'n_layer':2,'position_embedding_type':"
            "'learned_absolute'"));
  EXPECT_FALSE(
      turns("'model_type':'baichuan','hidden_size':5120,'num_attention_heads':40,'num_hidden_layers':40,"
            "'model_max_length':4096"));
}

TEST(Families, InternLM2GrowsAsItsOwnCodeDoes) {
  const auto p = answer(
      "'model_type':'internlm2','hidden_size':4096,'num_attention_heads':32,'num_hidden_layers':1,'max_"
      "position_embeddings':32768,'rope_theta':1000000,'rope_scaling':{'type':'dynamic','factor':2.0}");
  const auto at = make_frequencies(*p.kinds[0].spec, 65536);
  ASSERT_TRUE(at);
  const double base = 1e6 * std::pow(2.0 * 65536 / 32768 - 1.0, 128.0 / 126.0);
  EXPECT_NEAR(at->inv_freq[10], std::pow(base, -20.0 / 128), 1e-14);
  EXPECT_NEAR(frequencies_of(p, "default").inv_freq[10], std::pow(1e6, -20.0 / 128), 1e-14);
}

TEST(Families, MoonshineRoundsItsWidthDown) {
  const auto p = answer(
      "'model_type':'moonshine','hidden_size':288,'encoder_num_attention_heads':8,'decoder_num_attention_"
      "heads':8,'encoder_num_hidden_layers':6,'decoder_num_hidden_layers':6,'max_position_embeddings':"
      "194,'partial_rotary_factor':0.9,'pad_head_dim_to_multiple_of':8");
  ASSERT_EQ(p.kinds.size(), 1u);
  EXPECT_EQ(p.kinds[0].spec->head_dim, 36);
  EXPECT_EQ(p.kinds[0].spec->rotary_dim, 32);
  EXPECT_EQ(p.kinds[0].spec->layout, PairLayout::kInterleaved);
  EXPECT_EQ(p.layer_count, 6);
}

TEST(Families, FuyuKeepsItsLanguageModelAtTheTop) {
  const std::string fuyu =
      "'model_type':'fuyu','hidden_size':4096,'num_attention_heads':64,'num_hidden_layers':36,'rope_"
      "theta':25000.0";
  const auto p = answer(fuyu);
  EXPECT_EQ(p.family, "persimmon");
  EXPECT_EQ(p.kinds[0].spec->rotary_dim, 32);
  EXPECT_EQ(p.kinds[0].spec->theta, 25000.0);
  EXPECT_EQ(refusal(fuyu + ",'partial_rotary_factor':0.25"),
            "partial_rotary_factor: want 0.5 or none at the top level of this family, got 0.25");
}

TEST(Families, KimiVlReadsItsTextConfig) {
  const auto p = answer(
      "'model_type':'kimi_vl','text_config':{'model_type':'deepseek_v3','qk_nope_head_dim':128,'qk_rope_"
      "head_dim':64,'num_hidden_layers':27,'rope_theta':800000.0,'rope_scaling':null}");
  EXPECT_EQ(p.kinds[0].spec->rotary_offset, 128);
  EXPECT_EQ(p.kinds[0].spec->rotary_dim, 64);
  EXPECT_EQ(p.kinds[0].spec->theta, 8e5);
}

TEST(Families, WhatAFileDoesNotDetermineIsRefusedByItsKey) {
  const std::string qwen = "'model_type':'qwen','hidden_size':4096,'num_attention_heads':32,'kv_channels':128,";
  const std::string glm = "'model_type':'chatglm','hidden_size':4096,'num_attention_heads':32,'num_layers':28,";
  const std::pair<std::string, std::string> all[] = {
      {qwen + "'use_dynamic_ntk':true,'use_logn_attn':false",
       "use_dynamic_ntk: want false, as what the qwen family does otherwise is not described, got true"},
      {qwen + "'use_dynamic_ntk':false",
       "use_logn_attn: want false, as what the qwen family does otherwise is not described, got none, which it takes "
       "for "
       "true"},
      {glm + "'kv_channels':128,'rope_ratio':500",
       "rope_ratio: want 1 or none for the chatglm family, as ChatGLM2 divides positions by it and later releases "
       "multiply the base by it, got 500"},
      {glm + "'position_encoding_2d':true",
       "kv_channels: want it said, as without it a file of model_type chatglm may be of another model, got none"},
      {glm + "'kv_channels':128,'rope_theta':20000",
       "rope_theta: want the same as chatglm family: always 10000 (10000), got 20000"},
      {"'model_type':'baichuan','hidden_size':2048,'num_attention_heads':16",
       "hidden_size: want 4096 (7B, which turns) or 5120 (13B, which has ALiBi) for this family, got 2048"},
      {"'model_type':'internlm2','hidden_size':64,'num_attention_heads':4,'rope_scaling':{'type':'yarn','factor':2.0}",
       "rope_scaling.rope_type: want default, linear or dynamic for this family, got \"yarn\""},
      {"'model_type':'minimax_m1','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':2,'rope_theta':1e7,"
       "'attn_type_list':[1]",
       "attn_type_list: want 0 or 1 for each of the 2 layers, got 1"},
      {"'model_type':'telechat3'",
       "model_type: want a family that this version describes, got \"telechat3\": ports disagree whether its YaRN "
       "scales "
       "cosine and sine by 0.07 or by 0.1 times ln(factor)"},
  };
  for (const auto& [keys, line] : all) EXPECT_EQ(refusal(keys), line) << keys;
}

// A family without rotation whose file says otherwise: jina-embeddings-v3 calls itself xlm-roberta.
TEST(Families, AFileThatTurnsIsNotAnsweredByAFamilyThatDoesNot) {
  const std::string want = "for a family without rotation, or --family NAME to say whose conventions it follows, got ";
  const std::string jina =
      "'model_type':'xlm-roberta','hidden_size':1024,'num_attention_heads':16,'num_hidden_layers':24,"
      "'position_embedding_type':'rotary','rotary_emb_base':20000.0";
  EXPECT_EQ(refusal(jina), "position_embedding_type: want none or another word " + want + "\"rotary\"");
  EXPECT_EQ(answer(jina, "jina_embeddings_v3").kinds[0].spec->theta, 20000.0);
  EXPECT_EQ(refusal("'model_type':'mpt','attn_config':{'alibi':false,'rope':true}"),
            "attn_config.rope: want false " + want + "true");
  EXPECT_EQ(refusal("'model_type':'kimi_linear','mla_use_nope':false"), "mla_use_nope: want true " + want + "false");
  EXPECT_EQ(refusal("'model_type':'glm5_next_text','qk_rope_head_dim':64"), "qk_rope_head_dim: want 0 " + want + "64");
  EXPECT_FALSE(answer("'model_type':'bert','position_embedding_type':'absolute','num_hidden_layers':2").kinds[0].spec);
}

}  // namespace
