// Parts of a config of several, the axes of towers, and what stands in the weights. Expected numbers were worked out by
// hand from the sources that the rows of families.cpp name; tests/python/test_rotary_modules.py runs those sources.

#include "read_text.hpp"

#include <ropewalk/rotary.hpp>

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace {

using namespace ropewalk;

std::string quoted(std::string keys) {
  for (char& c : keys)
    if (c == '\'') c = '"';
  return "{" + keys + "}";
}

Result<CheckpointPositions> read_part(const std::string& keys, const std::string& part) {
  return read_config_json(quoted(keys), "config.json", {.part = part});
}

RotarySpec tower(const std::string& keys) {
  const auto positions = read_part(keys, "");
  EXPECT_TRUE(positions) << (positions ? "" : positions.error().line());
  if (!positions || !positions->kinds[0].spec) return {};
  return *positions->kinds[0].spec;
}

constexpr const char* kQwen =
    "'model_type':'qwen2_vl','text_config':{'model_type':'qwen2_vl_text','hidden_size':1536,'num_attention_heads':12,"
    "'num_hidden_layers':2},'vision_config':{'depth':4,'embed_dim':64,'num_heads':4,'hidden_size':1536}";

TEST(Parts, AreListedAndReadByName) {
  const auto text = read_part(kQwen, "");
  ASSERT_TRUE(text) << text.error().line();
  EXPECT_EQ(text->family, "qwen2_vl_text");
  EXPECT_EQ(text->part, "text");
  EXPECT_EQ(text->parts, (std::vector<std::string>{"text", "vision"}));
  EXPECT_EQ(text->kinds[0].streams, (std::vector<std::string>{"time", "height", "width"}));
  const auto same = read_part(kQwen, "text");
  ASSERT_TRUE(same) << same.error().line();
  EXPECT_EQ(*fingerprint(*same), *fingerprint(*text));

  const auto vision = read_part(kQwen, "vision");
  ASSERT_TRUE(vision) << vision.error().line();
  EXPECT_EQ(vision->family, "qwen2_vl_vision");
  EXPECT_EQ(vision->part, "vision");
  EXPECT_EQ(vision->layer_count, 4);
  EXPECT_EQ(vision->kinds[0].head_dim, 16);
  EXPECT_EQ(vision->kinds[0].streams, (std::vector<std::string>{"height", "width"}));
  const auto alone =
      read_part("'model_type':'qwen2_vl_vision','depth':4,'embed_dim':64,'num_heads':4,'hidden_size':1536", "");
  ASSERT_TRUE(alone) << alone.error().line();
  EXPECT_EQ(*fingerprint(*alone), *fingerprint(*vision));
}

TEST(Parts, AreFoundInsideParts) {
  const std::string keys =
      "'model_type':'qwen2_5_omni','thinker_config':{'model_type':'qwen2_5_omni_thinker','text_config':{'hidden_size':"
      "1792,'num_attention_heads':14,'num_hidden_layers':3},'vision_config':{'depth':2,'hidden_size':64,'num_heads':4}}"
      ","
      "'talker_config':{'model_type':'qwen2_5_omni_talker','hidden_size':896,'num_attention_heads':12,"
      "'num_hidden_layers':5}";
  const auto whole = read_part(keys, "");
  ASSERT_TRUE(whole) << whole.error().line();
  EXPECT_EQ(whole->part, "thinker.text");
  EXPECT_EQ(whole->layer_count, 3);
  EXPECT_EQ(whole->parts, (std::vector<std::string>{"talker", "thinker", "thinker.text", "thinker.vision"}));
  for (const auto& [part, layers] :
       {std::pair{"thinker.text", 3}, {"thinker.vision", 2}, {"talker", 5}, {"thinker", 3}}) {
    const auto one = read_part(keys, part);
    ASSERT_TRUE(one) << part << ": " << one.error().line();
    EXPECT_EQ(one->layer_count, layers) << part;
  }
}

TEST(Parts, OfTheConfigItselfHaveANameOfTheirOwn) {
  const std::string keys =
      "'model_type':'vjepa2','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':3,'pred_hidden_size':96,"
      "'pred_num_attention_heads':4,'pred_num_hidden_layers':2";
  const auto predictor = read_part(keys, "predictor");
  ASSERT_TRUE(predictor) << predictor.error().line();
  EXPECT_EQ(predictor->kinds[0].head_dim, 24);
  EXPECT_EQ(predictor->layer_count, 2);
  const auto encoder = read_part(keys, "");
  ASSERT_TRUE(encoder) << encoder.error().line();
  EXPECT_EQ(encoder->kinds[0].head_dim, 16);
  EXPECT_EQ(encoder->parts, std::vector<std::string>{"predictor"});
}

TEST(Parts, StandForTheWholeWhereTheyAreAllThereIs) {
  const auto atoms = read_part("'model_type':'esmfold2','atom_encoder':{'head_dim':32}", "");
  ASSERT_TRUE(atoms) << atoms.error().line();
  EXPECT_EQ(atoms->part, "atom_encoder");
  EXPECT_EQ(atoms->kinds[0].spec->given->inv_freq.size(), 16u);
  EXPECT_EQ(atoms->kinds[0].streams.size(), 4u);
  const auto music = read_part(
      "'model_type':'musicflamingo','head_dim':20,'rope_parameters':{'rope_theta':1200.0,'partial_rotary_factor':0.2}",
      "");
  ASSERT_TRUE(music) << music.error().line();
  EXPECT_EQ(music->kinds[0].spec->rotary_dim, 8);
  EXPECT_TRUE(music->kinds[0].spec->clockwise);
  EXPECT_EQ(read_part("'model_type':'qwen2_5_omni','talker_config':{}", "")->part, "talker");
  EXPECT_FALSE(read_part("'model_type':'blt','encoder_config':{},'patcher_config':{}", ""));
  EXPECT_FALSE(read_part("'model_type':'glm4v','vision_config':{'model_type':'clip_vision_model'}", ""));
}

TEST(Parts, ThatAreNotThereOrNotKnownAreRefused) {
  const auto line = [](const std::string& keys, const std::string& part) {
    const auto positions = read_part(keys, part);
    return positions ? std::string("answered") : positions.error().line();
  };
  EXPECT_EQ(line(kQwen, "audio"), "part: want one of text, vision, got \"audio\"");
  EXPECT_EQ(line(kQwen, "vision."), "part: want one of text, vision, got \"vision.\"");
  EXPECT_EQ(line("'model_type':'llama','hidden_size':64,'num_attention_heads':4", "vision"),
            "part: want no part, as this config has none, got \"vision\"");
  // A tower of a class that the config's own does not fix is known by its name or not at all.
  EXPECT_NE(line("'model_type':'llava','text_config':{'model_type':'llama'},'vision_config':{'model_type':'strange'}",
                 "vision")
                .find("want a known model type"),
            std::string::npos);
}

TEST(Parts, ThatDoNotTurnAreAnsweredAsSuch) {
  for (const std::string tower : {"siglip_vision_model", "clip_vision_model", "smolvlm_vision", "idefics3_vision",
                                  "internvl_vision", "mllama_vision_model"}) {
    const auto vision = read_part(
        "'model_type':'llava','text_config':{'model_type':'llama'},'vision_config':{"
        "'model_type':'" +
            tower + "','hidden_size':64,'num_attention_heads':4}",
        "vision");
    ASSERT_TRUE(vision) << vision.error().line();
    EXPECT_EQ(vision->part, "vision");
    EXPECT_FALSE(vision->kinds[0].spec);
    EXPECT_NE(vision->notes.back().find(tower + " has no rotary position encoding"), std::string::npos);
  }
}

// "text" is what most configs of several parts mean; where it is another part, or none, nothing else answers for it.
TEST(Parts, TheTextIsTheOneThatIsAskedForOrRefused) {
  const std::string detector =
      "'model_type':'sam3','text_config':{'model_type':'clip_text_model','hidden_size':64},'vision_config':{"
      "'model_type':'sam3_vision_model','backbone_config':{'model_type':'sam3_vit_model','hidden_size':64,"
      "'num_attention_heads':4,'num_hidden_layers':2}}";
  const auto text = read_part(detector, "text");
  ASSERT_TRUE(text) << text.error().line();
  EXPECT_EQ(text->part, "text");
  EXPECT_EQ(text->family, "clip_text_model");
  EXPECT_FALSE(text->kinds[0].spec);
  for (const std::string keys :
       {"'model_type':'chmv2','backbone_config':{'model_type':'dinov3_vit','hidden_size':64,'num_attention_heads':4,"
        "'rope_theta':100.0}",
        "'model_type':'esmfold2','esmc_config':{'hidden_size':64,'num_attention_heads':4}",
        "'model_type':'dia','decoder_config':{'hidden_size':64,'num_attention_heads':4}"}) {
    const auto other = read_part(keys, "text");
    ASSERT_FALSE(other) << keys;
    EXPECT_EQ(other.error().path, "part") << other.error().line();
    EXPECT_NE(other.error().line().find("got \"text\""), std::string::npos);
  }
  // A file that holds another part alone.
  EXPECT_FALSE(read_part("'model_type':'qwen2_vl','vision_config':{'depth':4,'embed_dim':64,'num_heads':4}", "text"));
}

TEST(Parts, ErrorsNameTheKeyWithItsPart) {
  const auto odd = read_part(
      "'model_type':'qwen3_omni_moe','thinker_config':{'model_type':'qwen3_omni_moe_thinker','text_config':{"
      "'model_type':'qwen3_omni_moe_text','hidden_size':292,'num_attention_heads':4,'num_hidden_layers':2,'head_dim':"
      "73,"
      "'rope_theta':1000000.0}}",
      "");
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().path, "thinker_config.text_config.head_dim") << odd.error().line();
}

TEST(Parts, HostileNamesAreNotListedAndManyAreCut) {
  std::string keys =
      "'model_type':'llama','hidden_size':64,'num_attention_heads':4,'_config':{},'a.b_config':{},'c\\n_config':{},";
  for (int i = 0; i < 100; ++i) keys += "'p" + std::to_string(i) + "_config':{'model_type':'llama'},";
  keys += "'vision_config':7,'text_config':[]";
  const auto positions = read_part(keys, "");
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->parts.size(), 100u);
  const auto missing = read_part(keys, "a.b");
  ASSERT_FALSE(missing);
  EXPECT_LT(missing.error().line().size(), 300u);
  EXPECT_NE(missing.error().line().find("and 84 more, got \"a.b\""), std::string::npos) << missing.error().line();
  EXPECT_FALSE(read_part(keys, "vision"));
  EXPECT_FALSE(read_part(keys, "p1."));
  EXPECT_FALSE(read_part(keys, ".p1"));
}

TEST(Axes, RowsThenColumnsEachWithTheWholeLadder) {
  const RotarySpec spec = tower("'model_type':'qwen3_vl_vision','hidden_size':64,'num_heads':4,'depth':1");
  EXPECT_EQ(spec.layout, PairLayout::kHalf);
  EXPECT_EQ(spec.frequency_dim, 8);
  EXPECT_EQ(spec.axis_of_pair, (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(spec.rung_of_pair, (std::vector<int>{0, 1, 2, 3, 0, 1, 2, 3}));
}

TEST(Axes, ColumnsFirstAlternatingParityAndWoven) {
  const auto sizes = [](const char* type) {
    return std::string("'model_type':'") + type + "','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':1";
  };
  const RotarySpec inkling = tower(sizes("inkling2_vision"));
  EXPECT_EQ(inkling.layout, PairLayout::kInterleaved);
  EXPECT_EQ(inkling.axis_of_pair, (std::vector<std::uint8_t>{1, 1, 1, 1, 0, 0, 0, 0}));
  const RotarySpec kimi = tower(sizes("kimi_k25_vision"));
  EXPECT_EQ(kimi.axis_of_pair, (std::vector<std::uint8_t>{1, 0, 1, 0, 1, 0, 1, 0}));
  EXPECT_EQ(kimi.rung_of_pair, (std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3}));
  const RotarySpec pixtral = tower(sizes("pixtral"));
  EXPECT_EQ(pixtral.frequency_dim, 16);
  EXPECT_EQ(pixtral.axis_of_pair, (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(pixtral.rung_of_pair, (std::vector<int>{0, 2, 4, 6, 1, 3, 5, 7}));
}

TEST(Axes, BlocksOfTheirOwnAndATailThatStandsStill) {
  const RotarySpec gemma = tower("'model_type':'gemma4_vision','head_dim':16,'num_hidden_layers':1");
  EXPECT_EQ(gemma.pair_blocks, (std::vector<int>{4, 4}));
  EXPECT_EQ(gemma.channels(5).first, 9);
  EXPECT_EQ(gemma.channels(5).second, 13);
  EXPECT_EQ(gemma.theta, 100.0);
  const RotarySpec minimax =
      tower("'model_type':'minimax_m3_vl_vision','hidden_size':320,'num_attention_heads':4,'num_hidden_layers':1");
  EXPECT_EQ(minimax.head_dim, 80);
  EXPECT_EQ(minimax.rotary_dim, 78);
  EXPECT_EQ(minimax.frequency_dim, 26);
  EXPECT_EQ(minimax.axes(), 3);
}

TEST(Axes, CoordinatesOfDinoCountTurns) {
  const RotarySpec spec = tower("'model_type':'dinov3_vit','hidden_size':64,'num_attention_heads':4,'rope_theta':50");
  EXPECT_EQ(spec.position_scale, 2.0 * std::acos(-1.0));
  EXPECT_EQ(spec.theta, 50.0);
}

TEST(Axes, MismatchedAnglesAreNoRotation) {
  const RotarySpec vjepa =
      tower("'model_type':'vjepa2','hidden_size':72,'num_attention_heads':4,'num_hidden_layers':1");
  // 18 channels: three blocks of 6, whose three angles are repeated, so that channels turn by 0 1 2 0 1 2.
  ASSERT_TRUE(vjepa.second);
  EXPECT_EQ(vjepa.rung_of_pair, (std::vector<int>{0, 2, 1, 0, 2, 1, 0, 2, 1}));
  EXPECT_EQ(vjepa.second->rung_of_pair, (std::vector<int>{1, 0, 2, 1, 0, 2, 1, 0, 2}));
  EXPECT_FALSE(vjepa.is_rotation());

  const std::string keys =
      "'model_type':'hunyuan_vl_text','hidden_size':32,'num_attention_heads':4,'num_hidden_layers':1,'rope_parameters':"
      "{'rope_type':'default','rope_theta':1e4,'";
  const RotarySpec four = tower(keys + "mrope_section':[1,1,1,1]}");
  EXPECT_EQ(four.axis_of_pair, (std::vector<std::uint8_t>{0, 0, 1, 1}));
  ASSERT_TRUE(four.second);
  EXPECT_EQ(four.second->axis_of_pair, (std::vector<std::uint8_t>{2, 2, 3, 3}));
  EXPECT_TRUE(tower(keys + "xdrope_section':[4]}").is_rotation());
}

TEST(Axes, AWidthThatDoesNotDivideIsRefused) {
  const auto positions = read_part("'model_type':'qwen3_vl_vision','hidden_size':72,'num_heads':4,'depth':1", "");
  ASSERT_FALSE(positions);
  EXPECT_EQ(positions.error().line(), "head_dim: want a multiple of 4 channels for 2 axes, got 18");
}

TEST(Output, DeepSeekWritesHalves) {
  const std::string keys =
      "'model_type':'deepseek_v3','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':1,'qk_nope_head_dim':8,"
      "'qk_rope_head_dim':8,'max_position_embeddings':64";
  EXPECT_EQ(tower(keys).output_layout, PairLayout::kHalf);
  const RotarySpec halves = tower(keys + ",'rope_interleave':false");
  EXPECT_EQ(halves.layout, PairLayout::kHalf);
  EXPECT_EQ(halves.output_layout, PairLayout::kUnset);
}

// ---- Mistral Large 4's learned factors
// ---------------------------------------------------------------------------------

class Weights : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("ropewalk_weights_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    write("config.json", quoted("'model_type':'mistral_large4_text','hidden_size':64,'num_attention_heads':4,"
                                "'num_hidden_layers':4,'qk_nope_head_dim':8,'qk_rope_head_dim':4,"
                                "'max_position_embeddings':4096,'rope_parameters':{'rope_type':'default',"
                                "'rope_theta':1e4}"));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  void write_tensor(const std::string& file, const std::string& name, const std::vector<float>& values) const {
    const std::string header = "{\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[" + std::to_string(values.size()) +
                               "],\"data_offsets\":[0," + std::to_string(4 * values.size()) + "]}}";
    std::string bytes(8, '\0');
    const std::uint64_t size = header.size();
    std::memcpy(bytes.data(), &size, 8);
    bytes += header;
    bytes.append(reinterpret_cast<const char*>(values.data()), 4 * values.size());
    write(file, bytes);
  }
  Result<CheckpointPositions> read() const { return read_positions(folder_.string()); }

  std::filesystem::path folder_;
};

TEST_F(Weights, AreReadWhereTheyLie) {
  write_tensor("model.safetensors", "model.rotary_emb.alpha", {0.0f, 0.5f});
  const auto positions = read();
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->kinds[0].spec->frequency_multipliers, (std::vector<double>{1.0, std::exp(0.5)}));
}

TEST_F(Weights, MayBeMissingWithTheFilesAndNotAlone) {
  const auto none = read();
  ASSERT_TRUE(none) << none.error().line();
  EXPECT_TRUE(none->kinds[0].spec->frequency_multipliers.empty());
  EXPECT_NE(none->notes.back().find("alpha is taken for 0"), std::string::npos);
  write_tensor("model.safetensors", "model.embed_tokens.weight", {0.0f});
  ASSERT_FALSE(read());
  EXPECT_EQ(read().error().line(), "rotary_emb.alpha: want this tensor in the weights beside the config, got none");
}

TEST_F(Weights, OfAnotherWidthOrWithAnotherValueElsewhereAreRefused) {
  write_tensor("a.safetensors", "model.rotary_emb.alpha", {0.0f, 0.5f, 1.0f});
  ASSERT_FALSE(read());
  EXPECT_EQ(read().error().line(), "a.safetensors: model.rotary_emb.alpha: want 2 numbers, one a pair, got 3");
  write_tensor("a.safetensors", "model.rotary_emb.alpha", {0.0f, 0.5f});
  write_tensor("b.safetensors", "mtp.rotary_emb.alpha", {0.0f, 0.25f});
  ASSERT_FALSE(read());
  EXPECT_EQ(read().error().line(),
            "b.safetensors: mtp.rotary_emb.alpha: want the same numbers as a.safetensors: model.rotary_emb.alpha, got "
            "others");
}

TEST_F(Weights, AreFoundThroughTheirIndexAlone) {
  write("model.safetensors.index.json", "{\"weight_map\":{\"model.rotary_emb.alpha\":\"../secret.safetensors\"}}");
  ASSERT_FALSE(read());
  EXPECT_NE(read().error().line().find("want the name of a file"), std::string::npos);
  write("model.safetensors.index.json", "{\"weight_map\":{\"model.rotary_emb.alpha\":\"b.safetensors\"}}");
  write_tensor("a.safetensors", "model.rotary_emb.alpha", {9.0f, 9.0f});
  write_tensor("b.safetensors", "model.rotary_emb.alpha", {0.0f, 0.0f});
  const auto positions = read();
  ASSERT_TRUE(positions) << positions.error().line();
  EXPECT_EQ(positions->kinds[0].spec->frequency_multipliers, (std::vector<double>{1.0, 1.0}));
}

}  // namespace
