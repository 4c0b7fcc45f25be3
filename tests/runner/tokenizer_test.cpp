#include "runner/tokenizer.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tiny_llama.hpp"

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;
using tiny::json;

const json kGpt2 = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
const json kSmol = {{"type", "Sequence"},
                    {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, kGpt2}}};

Result<Tokenizer> opened(const json& tokenizer) {
  const tiny::Folder folder;
  tiny::write(folder / "tokenizer.json", tokenizer.dump());
  return Tokenizer::from_json_file((folder / "tokenizer.json").string());
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << (ids ? "" : ids.error().line());
  std::vector<std::string> out;
  for (const std::int32_t id : *ids) out.push_back(tokenizer.decode({id}));
  return out;
}

using Words = std::vector<std::string>;

TEST(RunnerTokenizer, WithoutMergesEveryByteIsItsId) {
  auto tokenizer = opened(tiny::tokenizer());
  ASSERT_TRUE(tokenizer) << tokenizer.error().line();
  EXPECT_EQ(tokenizer->pre_tokenizer(), "bytes");
  EXPECT_EQ(tokenizer->vocabulary_size(), 256);
  const std::string text = "A b\n\xc3\xa9";
  auto ids = tokenizer->encode(text);
  ASSERT_TRUE(ids);
  EXPECT_EQ(*ids, (std::vector<std::int32_t>{0x41, 0x20, 0x62, 0x0a, 0xc3, 0xa9}));
  EXPECT_EQ(tokenizer->decode(*ids), text);
  EXPECT_TRUE(tokenizer->encode("")->empty());
}

// "\u0120" is the space.
TEST(RunnerTokenizer, TheLowestRankMergesFirstAndTheLeftmostOfEquals) {
  auto tokenizer = opened(tiny::tokenizer({{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"a", "a"}}, kGpt2));
  ASSERT_TRUE(tokenizer) << tokenizer.error().line();
  EXPECT_EQ(pieces(*tokenizer, "abc"), (Words{"abc"}));
  EXPECT_EQ(pieces(*tokenizer, "abbc"), (Words{"ab", "bc"}));
  EXPECT_EQ(pieces(*tokenizer, "aaa"), (Words{"aa", "a"}));
}

TEST(RunnerTokenizer, LongWordsMergeAsShortOnesDo) {
  auto tokenizer = opened(tiny::tokenizer({{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"a", "a"}, {"aa", "aa"}}, kGpt2));
  ASSERT_TRUE(tokenizer);
  std::string word;
  Words want;
  for (int i = 0; i < 40; ++i) {
    word += i % 2 == 0 ? "abcx" : "aaaay";
    want.insert(want.end(), i % 2 == 0 ? std::initializer_list<std::string>{"abc", "x"}
                                       : std::initializer_list<std::string>{"aaaa", "y"});
  }
  EXPECT_EQ(pieces(*tokenizer, "abcx"), (Words{"abc", "x"}));
  std::string letters = word;  // without "x" and "y" being borders: all of it is one word
  EXPECT_EQ(pieces(*tokenizer, letters), want);
}

TEST(RunnerTokenizer, MergesDoNotCrossWords) {
  auto tokenizer = opened(tiny::tokenizer({{"\u0120", "a"}, {"1", "2"}, {"\u0120", "\u0120"}}, kGpt2));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(pieces(*tokenizer, "a a"), (Words{"a", " a"}));
  EXPECT_EQ(pieces(*tokenizer, "x   a"), (Words{"x", "  ", " a"}));
  EXPECT_EQ(pieces(*tokenizer, "12"), (Words{"12"}));
  auto smol = opened(tiny::tokenizer({{"\u0120", "a"}, {"1", "2"}, {"\u0120", "\u0120"}}, kSmol));
  ASSERT_TRUE(smol) << smol.error().line();
  EXPECT_EQ(smol->pre_tokenizer(), "smollm");
  EXPECT_EQ(pieces(*smol, "12"), (Words{"1", "2"}));
  EXPECT_EQ(pieces(*smol, "x  1"), (Words{"x", "  ", "1"}));
}

TEST(RunnerTokenizer, SpecialTokensInTextAreText) {
  json tokenizer = tiny::tokenizer({}, kGpt2);
  tokenizer["added_tokens"] = {{{"id", 256}, {"content", "<|x|>"}, {"special", true}}};
  auto opened_one = opened(tokenizer);
  ASSERT_TRUE(opened_one);
  EXPECT_EQ(opened_one->vocabulary_size(), 257);
  EXPECT_EQ(opened_one->encode("<|x|>")->size(), 5u);
  EXPECT_EQ(opened_one->decode({256}), "<|x|>");
}

TEST(RunnerTokenizer, OtherBytesThanUtf8AreRefusedWithTheirPlace) {
  auto tokenizer = opened(tiny::tokenizer({}, kGpt2));
  ASSERT_TRUE(tokenizer);
  for (const std::string& bad : {std::string("abc\xff"), std::string("abc\xc3"), std::string("abc\xed\xa0\x80"),
                                 std::string("abc\xc0\x80"), std::string("abc\xf4\x90\x80\x80")}) {
    auto ids = tokenizer->encode(bad);
    ASSERT_FALSE(ids);
    EXPECT_NE(ids.error().message.find("offset 3"), std::string::npos) << ids.error().line();
  }
}

TEST(RunnerTokenizer, WhatIsNotKnownIsRefusedByName) {
  const auto message = [](const json& tokenizer) {
    auto made = opened(tokenizer);
    return made ? std::string() : made.error().line();
  };
  json other = tiny::tokenizer({}, {{"type", "Metaspace"}, {"replacement", "_"}});
  EXPECT_NE(message(other).find("Metaspace"), std::string::npos);
  other = tiny::tokenizer({}, kGpt2);
  other["model"]["type"] = "Unigram";
  EXPECT_NE(message(other).find("Unigram"), std::string::npos);
  other = tiny::tokenizer({}, kGpt2);
  other["normalizer"] = {{"type", "NFC"}};
  EXPECT_NE(message(other).find("NFC"), std::string::npos);
  other = tiny::tokenizer({}, kGpt2);
  other["model"]["merges"].push_back({"a", "zz"});
  EXPECT_NE(message(other).find("merge 0"), std::string::npos);
  other = tiny::tokenizer({}, kGpt2);
  other["model"]["vocab"]["a"] = other["model"]["vocab"]["b"];
  EXPECT_NE(message(other).find("twice"), std::string::npos);
  other = tiny::tokenizer({}, {{"type", "ByteLevel"}, {"add_prefix_space", true}});
  EXPECT_NE(message(other).find("add_prefix_space"), std::string::npos);
  EXPECT_FALSE(Tokenizer::from_json_file("/nowhere/tokenizer.json"));
}

TEST(RunnerTokenizer, AByteWithoutATokenIsNamed) {
  json poor = tiny::tokenizer({}, kGpt2);
  poor["model"]["vocab"].erase("q");
  auto tokenizer = opened(poor);
  ASSERT_TRUE(tokenizer);
  EXPECT_TRUE(tokenizer->encode("abc"));
  auto ids = tokenizer->encode("quick");
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("byte 113"), std::string::npos) << ids.error().line();
}

// One word of a megabyte: a quadratic merge would take hours.
TEST(RunnerTokenizer, AMegabyteWithoutBordersTakesSeconds) {
  auto tokenizer = opened(tiny::tokenizer({{"a", "a"}, {"aa", "aa"}}, kGpt2));
  ASSERT_TRUE(tokenizer);
  const auto start = std::chrono::steady_clock::now();
  auto ids = tokenizer->encode(std::string(1 << 20, 'a'));
  ASSERT_TRUE(ids);
  EXPECT_EQ(ids->size(), std::size_t{1} << 18);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
