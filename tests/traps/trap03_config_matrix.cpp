// One model, every way of writing it down (vllm#42624, DeepSpeed#8345, transformers#32167, unsloth#7028). What
// overrides and later changes do to a loaded model (i, j) has no counterpart: what is read is immutable.

#include "support.hpp"

#include <algorithm>
#include <string>

namespace traps {
namespace {

constexpr char kLlama[] =
    "'model_type':'llama','hidden_size':2048,'num_attention_heads':32,'head_dim':64,'num_hidden_layers':16,"
    "'max_position_embeddings':131072";
constexpr char kScaling[] =
    "'factor':32.0,'low_freq_factor':1.0,'high_freq_factor':4.0,'original_max_position_embeddings':8192";

Result<CheckpointPositions> read(const std::string& more) {
  std::string text = "{" + std::string(kLlama) + "," + more + "}";
  for (char& c : text)
    if (c == '\'') c = '"';
  return read_config_json(text, "config.json");
}

std::string print_of(const std::string& more) {
  const auto positions = read(more);
  if (!positions) return positions.error().line();
  const auto print = fingerprint(*positions);
  return print ? *print : print.error().line();
}

std::string refusal_of(const std::string& more) {
  const auto positions = read(more);
  return positions ? "answered" : positions.error().line();
}

TEST(Trap03ConfigMatrix, EverySpellingHasOneFingerprint) {
  const std::string s = kScaling;
  const std::string wanted = print_of("'rope_theta':500000.0,'rope_scaling':{'type':'llama3'," + s + "}");
  EXPECT_EQ(wanted.size(), 16u) << wanted;
  EXPECT_EQ(wanted, print_of("'rope_theta':500000.0,'rope_scaling':{'rope_type':'llama3'," + s + "}"));
  EXPECT_EQ(wanted, print_of("'rope_parameters':{'rope_type':'llama3','rope_theta':500000.0," + s + "}"));
  EXPECT_EQ(wanted,
            print_of("'rope_parameters':{'full_attention':{'rope_type':'llama3','rope_theta':500000.0," + s + "}}"));
  EXPECT_EQ(wanted, print_of("'rope_theta':500000.0,'rope_scaling':{'type':'llama3','rope_type':'llama3'," + s + "}"));
}

TEST(Trap03ConfigMatrix, ADefaultBesideTheDictionaryIsNeverTheAnswer) {
  const std::string s = kScaling;
  const std::string line =
      refusal_of("'rope_theta':10000.0,'rope_parameters':{'rope_type':'llama3','rope_theta':500000.0," + s + "}");
  if (line != "answered") {
    EXPECT_NE(line.find("rope_theta"), std::string::npos) << line;
    return;
  }
  EXPECT_EQ(print_of("'rope_theta':10000.0,'rope_parameters':{'rope_type':'llama3','rope_theta':500000.0," + s + "}"),
            print_of("'rope_theta':500000.0,'rope_scaling':{'type':'llama3'," + s + "}"));
}

TEST(Trap03ConfigMatrix, UnknownTypesAndContradictionsAreErrors) {
  const std::string s = kScaling;
  EXPECT_NE(refusal_of("'rope_theta':500000.0,'rope_scaling':{'type':'llama4'," + s + "}").find("rope_scaling.type"),
            std::string::npos);
  EXPECT_NE(refusal_of("'rope_theta':500000.0,'rope_scaling':{'type':'linear','rope_type':'llama3'," + s + "}")
                .find("rope_scaling"),
            std::string::npos);
}

TEST(Trap03ConfigMatrix, AKeyThatNothingReadsIsNamed) {
  const auto positions = read("'rope_theta':500000.0,'rope_scaling':{'rope_type':'llama3','low_frequency_factor':2.0," +
                              std::string(kScaling) + "}");
  ASSERT_TRUE(positions) << positions.error().line();
  const auto& ignored = positions->keys_ignored;
  EXPECT_NE(std::find(ignored.begin(), ignored.end(), "rope_scaling.low_frequency_factor"), ignored.end());
}

TEST(Trap03ConfigMatrix, NullScalingIsNoScaling) {
  EXPECT_EQ(print_of("'rope_theta':500000.0,'rope_scaling':null"), print_of("'rope_theta':500000.0"));
}

}  // namespace
}  // namespace traps
