#include "read_text.hpp"

#include <algorithm>

namespace {

using namespace ropewalk;

std::string all_of(const CheckpointPositions& positions, std::int64_t length = 0) {
  std::string text;
  for (const Hazard& hazard : hazards_of(positions, length)) text += "[" + hazard.kind + "] " + hazard.message + "\n";
  return text;
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "want " << part << "\nin\n" << text;
}

constexpr std::string_view kLong =
    "'model_type':'llama','hidden_size':4096,'num_attention_heads':32,'max_position_embeddings':131072,'rope_theta':"
    "10000.0";

TEST(Hazards, Float32PhaseErrorIsHalfAnUlpOfTheLastPosition) {
  // 131071 lies between 2^16 and 2^17, where float32 steps by 2^-7.
  expect_part(all_of(answer(kLong)),
              "[default] in float32 the angle of the fastest pair is off by up to 0.0039 radians at position 131071");
  EXPECT_EQ(all_of(answer(kLong), 128).find("float32 the angle"), std::string::npos);
}

TEST(Hazards, PairsThatNeverFinishATurn) {
  // 10000^(-2j/128) * 8192 < 2 pi for j > 49.84.
  expect_part(all_of(answer(small("'rope_theta':10000.0"))),
              "14 of 64 pairs never finish a turn within the trained 8192 tokens (");
  // Training was before the scaling, which makes more pairs slow.
  expect_part(
      all_of(answer("'model_type':'llama','hidden_size':4096,'num_attention_heads':32,'max_position_embeddings':32768,"
                    "'rope_theta':10000.0,"
                    "'rope_scaling':{'type':'yarn','factor':4,'original_max_position_embeddings':8192}")),
      "14 of 64 pairs never finish a turn within the trained 8192 tokens before scaling (");
}

TEST(Hazards, LengthsBeyondTheTrainedOne) {
  expect_part(all_of(answer(small("'rope_theta':10000.0")), 32768),
              "32768 tokens are 4 times the trained 8192, without scaling");
  const auto yarn = answer(
      "'model_type':'llama','hidden_size':4096,'num_attention_heads':32,'max_position_embeddings':32768,'rope_theta':"
      "10000.0,"
      "'rope_scaling':{'type':'yarn','factor':4,'original_max_position_embeddings':8192}");
  EXPECT_EQ(all_of(yarn, 32768).find("times the trained"), std::string::npos);
  expect_part(all_of(yarn, 65536), "65536 tokens are 8 times the trained 8192, and the scaling is for 4 times");
  expect_part(all_of(yarn), "cos and sin are multiplied by 1.13862944, logits by 1.29647699: it must be applied once");
}

TEST(Hazards, AmplitudeOnAPartOfTheHeadCannotBeFolded) {
  const auto p = answer(
      "'model_type':'glm4_moe','hidden_size':512,'num_attention_heads':8,'max_position_embeddings':32768,"
      "'rope_scaling':{'type':'yarn','factor':4,'original_max_position_embeddings':8192}");
  expect_part(all_of(p), "on the 32 of 64 channels that turn only: it cannot be folded into the softmax scale");
}

TEST(Hazards, KeysMustBeTurnedAgainWhereTheLengthDecides) {
  expect_part(all_of(answer(small("'rope_scaling':{'type':'dynamic','factor':2}"))),
              "keys cached under another length must be re-rotated");
}

TEST(Hazards, FactorsThatEnginesForget) {
  const auto p = answer(
      "'model_type':'deepseek_v3','qk_nope_head_dim':128,'qk_rope_head_dim':64,'max_position_embeddings':163840,"
      "'rope_scaling':{'type':'yarn','factor':40,'original_max_position_embeddings':4096,'mscale':1.0,'mscale_all_dim':"
      "1.0}");
  expect_part(all_of(p), "the softmax scale is multiplied by 1.87385421");
  expect_part(all_of(answer("'model_type':'ministral3','head_dim':128,'max_position_embeddings':262144")),
              "queries are multiplied by 1 + 0.1 * ln");
  expect_part(all_of(answer("'model_type':'nanochat','hidden_size':768,'num_attention_heads':6")),
              "turns the other way");
}

TEST(Hazards, NothingTurnsNothingIsWrong) {
  EXPECT_TRUE(hazards_of(answer("'model_type':'gpt2','n_positions':1024")).empty());
}

}  // namespace
