// Texts that are no config, or try to hurt.

#include "read_text.hpp"

#include <chrono>
#include <random>

namespace {

using namespace ropewalk;

std::string line_of(std::string_view text) {
  const auto positions = read_config_json(text, "config.json");
  if (positions) return "(answered)";
  EXPECT_EQ(positions.error().code, Code::kFormat) << positions.error().line();
  return positions.error().line();
}

TEST(Hostile, EachGetsOneLine) {
  EXPECT_EQ(line_of(""), "config.json: want a JSON object, got an empty file");
  EXPECT_EQ(line_of("[1, 2]"), "config.json: want a JSON object, got an array");
  EXPECT_EQ(line_of("\"text\""), "config.json: want a JSON object, got a string");
  EXPECT_EQ(line_of("{\"model_type\": \"llama\""), "config.json: want JSON, got something else at byte 23");
  EXPECT_EQ(line_of("{\"model_type\": \"llama\",}"), "config.json: want JSON, got something else at byte 24");
  EXPECT_EQ(line_of("{\"a\": 1, \"a\": 2}"), "config.json: want every key once, got \"a\" twice in one object");
  EXPECT_EQ(line_of("{\"rope_scaling\": {\"factor\": 1, \"factor\": 2}}"),
            "config.json: want every key once, got \"factor\" twice in one object");
  EXPECT_EQ(line_of("{\"rope_theta\": 1e999}"),
            "config.json: want numbers within the range of double, got one beyond it, before byte 20");
  EXPECT_EQ(line_of("{\"model_type\": \"ll\xff\xfe\"}").substr(0, 37), "config.json: want JSON, got something");
  EXPECT_EQ(line_of(std::string("{\"a\":\0}", 7)).substr(0, 22), "config.json: want JSON");
  EXPECT_EQ(line_of(std::string(100000, '[')), "config.json: want at most 64 levels of nesting, got more");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_EQ(line_of(deep), "config.json: want at most 64 levels of nesting, got more");
  EXPECT_EQ(line_of("{\"a\": Infinitys}").substr(0, 22), "config.json: want JSON");
}

TEST(Hostile, AByteOrderMarkIsSkipped) {
  EXPECT_TRUE(read_config_json("\xef\xbb\xbf" + json_of(kSmall), "config.json"));
}

TEST(Hostile, BareInfinityElsewhereIsLetBe) {
  EXPECT_TRUE(
      read_text(small("'time_step_limit':[0.0,Infinity],'x':-Infinity,'y':NaN,'note':'NaN is \\' not Infinity'")));
}

TEST(Hostile, AHundredMegabytesAreNotRead) {
  const std::string big(std::size_t{100} << 20, ' ');
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(line_of(big), "config.json: want a config of at most 64 MiB, got 104857600 bytes");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Hostile, HugeCountsAreRefusedBeforeTheyAreUsed) {
  for (const char* const keys :
       {"'model_type':'llama','hidden_size':1e300,'num_attention_heads':1",
        "'model_type':'llama','hidden_size':99999999999999999999,'num_attention_heads':1",
        "'model_type':'llama','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':2000000000",
        "'model_type':'deepseek_v3','qk_nope_head_dim':2000000000,'qk_rope_head_dim':64",
        "'model_type':'cohere2','hidden_size':64,'num_attention_heads':4,'num_hidden_layers':2,'sliding_window_pattern'"
        ":0"})
    EXPECT_FALSE(read_text(keys)) << keys;
}

TEST(Hostile, MessagesStayOnOneLineAndShort) {
  const std::string name(100000, 'x');
  const std::string all[] = {"'model_type':'" + name + "'", "'model_type':'llama\\n\\u0007'",
                             small("'rope_scaling':{'type':'" + name + "'}"), small("'rope_" + name + "':1")};
  for (const std::string& keys : all) {
    const std::string line = refusal(keys);
    EXPECT_LT(line.size(), 500u) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
    for (const char c : line) EXPECT_GE(c, ' ');
  }
}

// Every byte of a rich config changed, cut or doubled in turn: an answer or an error, never a crash.
TEST(Hostile, MutationsNeverCrash) {
  const std::string config = json_of(
      "'model_type':'gemma3','rope_theta':1e6,'text_config':{'model_type':'gemma3_text','num_hidden_layers':7,'head_"
      "dim':256,"
      "'layer_types':['full_attention','sliding_attention'],'rope_parameters':{'full_attention':{'rope_type':'yarn','"
      "factor':8.0,"
      "'rope_theta':1e6},'sliding_attention':null},'per_layer_config':{'1':{'head_dim':8}}}");
  std::mt19937 random(20261122);
  for (std::size_t at = 0; at < config.size(); ++at)
    for (const char replacement : {'\0', '"', '{', '}', '[', ',', '9', '-', 'e', '\xff'}) {
      std::string broken = config;
      broken[at] = replacement;
      (void)read_config_json(broken, "config.json");
      (void)read_config_json(std::string_view(config).substr(0, at), "config.json");
    }
  for (int i = 0; i < 3000; ++i) {
    std::string broken = config;
    for (int k = 0; k < 3; ++k) {
      const std::size_t from = random() % broken.size(), to = random() % broken.size();
      broken.insert(to, broken.substr(from, random() % 20));
    }
    (void)read_config_json(broken, "config.json");
  }
}

// The same of parts inside parts, of axes, and of the keys that single towers have.
TEST(Hostile, MutatedPartsNeverCrash) {
  const std::string config = json_of(
      "'model_type':'qwen2_5_omni','thinker_config':{'model_type':'qwen2_5_omni_thinker','text_config':{'hidden_size':"
      "1792,'num_attention_heads':14},'vision_config':{'depth':2,'hidden_size':64,'num_heads':4}},'atom_encoder':{"
      "'num_uid_rope_pairs':2},'rope_parameters':{'rope_type':'axial','mrope_section':[1,1,1,1]},'per_layer_config':{'"
      "0'"
      ":{'qk_rope_head_dim':4}},'projection_dim':64,'hidden_size':64,'num_attention_heads':4,'audio_config':{"
      "'hidden_size':20}");
  std::mt19937 random(20261123);
  constexpr const char* kFamilies[] = {
      "pixtral",     "dots3_note_text",    "hunyuan_vl_text",       "clvp_encoder",  "sam2_video",
      "deepseek_v4", "musicflamingo_time", "esmfold2_atom_encoder", "efficientloftr"};
  for (int i = 0; i < 4000; ++i) {
    std::string broken = config;
    for (int k = 0; k < 3; ++k) {
      const std::size_t from = random() % broken.size(), to = random() % broken.size();
      if (random() % 2 == 0)
        broken.insert(to, broken.substr(from, random() % 20));
      else
        broken[to] = "\"{}[],019-e"[random() % 11];
    }
    for (const char* const part : {"", "thinker", "thinker.vision", "thinker.text", "atom_encoder", "."})
      (void)read_config_json(broken, "config.json", {.part = part});
    (void)read_config_json(broken, "config.json", {.family = kFamilies[random() % std::size(kFamilies)]});
  }
}

}  // namespace
