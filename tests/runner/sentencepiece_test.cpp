// SentencePiece's byte-pair encoding on vocabularies of a few tokens, written as GGUF.
#include "runner/tokenizer.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "config/gguf/gguf_writer.hpp"
#include "tiny_llama.hpp"

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;

enum Type : std::int32_t { kNormal = 1, kUnknown, kControl, kUser, kUnused, kByte };

struct Token {
  std::string spelling;
  float score = 0.0f;
  Type type = kNormal;
};
using Tokens = std::vector<Token>;
using Words = std::vector<std::string>;

const std::string kGap = "\xe2\x96\x81";  // U+2581

// <unk>, <s>, the 256 bytes, the letters a to e and the space, and what is given behind them.
Tokens with(const Tokens& more) {
  Tokens out{{"<unk>", 0, kUnknown}, {"<s>", 0, kControl}};
  for (int b = 0; b < 256; ++b) {
    const std::string digits = "0123456789ABCDEF";
    out.push_back(
        {std::string("<0x") + digits[static_cast<std::size_t>(b / 16)] + digits[static_cast<std::size_t>(b % 16)] + ">",
         0, kByte});
  }
  for (const std::string letter : {"a", "b", "c", "d", "e"}) out.push_back({letter, -1000});
  out.push_back({kGap, -1000});
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

GgufWriter written(const Tokens& tokens) {
  std::string spellings, scores, types;
  for (const Token& token : tokens) {
    spellings += GgufWriter::string(token.spelling);
    scores += GgufWriter::bytes(token.score);
    types += GgufWriter::bytes(static_cast<std::int32_t>(token.type));
  }
  GgufWriter out;
  out.text("tokenizer.ggml.model", "llama");
  out.list("tokenizer.ggml.tokens", 8, tokens.size(), spellings);
  out.list("tokenizer.ggml.scores", 6, tokens.size(), scores);
  out.list("tokenizer.ggml.token_type", 5, tokens.size(), types);
  return out;
}

Result<Tokenizer> opened(const GgufWriter& gguf) {
  const tiny::Folder folder;
  tiny::write(folder / "t.gguf", gguf.build());
  auto file = GgufFile::open((folder / "t.gguf").string());
  if (!file) return file.error();
  return Tokenizer::from_gguf(*file);
}

Tokenizer made(const Tokens& more) {
  auto tokenizer = opened(written(with(more)).boolean("tokenizer.ggml.add_space_prefix", false));
  EXPECT_TRUE(tokenizer) << (tokenizer ? "" : tokenizer.error().line());
  return *std::move(tokenizer);
}

Words pieces(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << (ids ? "" : ids.error().line());
  EXPECT_EQ(tokenizer.decode(*ids), text);
  Words out;
  for (const std::int32_t id : *ids) out.push_back(tokenizer.decode({id}));
  return out;
}

TEST(RunnerSentencePiece, TheBestScoreJoinsFirstAndTheLeftmostOfEquals) {
  const Tokenizer tokenizer = made({{"bc", -1}, {"ab", -2}, {"abc", -3}, {"aa", -4}, {"dd", -5}, {"ddd", -5}});
  EXPECT_EQ(tokenizer.pre_tokenizer(), "sentencepiece");
  EXPECT_EQ(pieces(tokenizer, "abc"), (Words{"abc"}));
  EXPECT_EQ(pieces(tokenizer, "abbc"), (Words{"ab", "bc"}));
  EXPECT_EQ(pieces(tokenizer, "aaa"), (Words{"aa", "a"}));
  EXPECT_EQ(pieces(tokenizer, "ddddd"), (Words{"ddd", "dd"}));
  EXPECT_EQ(pieces(tokenizer, ""), Words{});
}

// Scores decide, not the order in the file; and a token no join leads to is never found.
TEST(RunnerSentencePiece, ATokenIsReachedByJoinsAlone) {
  const Tokenizer tokenizer = made({{"abcd", -1}, {"bc", -2}, {"de", 5}, {"cd", 4}});
  EXPECT_EQ(pieces(tokenizer, "abcd"), (Words{"a", "b", "cd"}));
  EXPECT_EQ(pieces(tokenizer, "cde"), (Words{"c", "de"}));
}

TEST(RunnerSentencePiece, SpacesBelongToTheWordBehindThem) {
  const Tokenizer tokenizer = made({{kGap + "a", -1}, {kGap + kGap, -2}});
  EXPECT_EQ(pieces(tokenizer, "a a"), (Words{"a", " a"}));
  EXPECT_EQ(pieces(tokenizer, "b   a"), (Words{"b", "  ", " a"}));
  EXPECT_EQ(pieces(tokenizer, "b    "), (Words{"b", "  ", "  "}));
}

TEST(RunnerSentencePiece, APieceMayCrossWords) {
  const Tokenizer tokenizer = made({{"a" + kGap, -1}, {"a" + kGap + "b", -2}});
  EXPECT_EQ(pieces(tokenizer, "a b"), (Words{"a b"}));
  EXPECT_EQ(pieces(tokenizer, "a c a"), (Words{"a ", "c", " ", "a"}));
}

TEST(RunnerSentencePiece, WhatIsNoTokenIsWrittenInBytes) {
  const Tokenizer tokenizer = made({{"z\xc3\xa9", -1}, {"az\xc3\xa9", -2}});
  EXPECT_EQ(pieces(tokenizer, "x"), (Words{"x"}));
  EXPECT_EQ(tokenizer.encode("x")->front(), 2 + 'x');
  EXPECT_EQ(pieces(tokenizer, "\xf0\x9f\x98\x80"), (Words{"\xf0", "\x9f", "\x98", "\x80"}));
  EXPECT_EQ(pieces(tokenizer, std::string("\0\n", 2)), (Words{std::string("\0", 1), "\n"}));
  // Its parts are no tokens, and yet they join.
  EXPECT_EQ(pieces(tokenizer, "az\xc3\xa9"), (Words{"az\xc3\xa9"}));
}

TEST(RunnerSentencePiece, UserDefinedTokensAreCutOutLongestFirst) {
  const Tokenizer tokenizer = made({{"  ", 0, kUser},
                                    {"    ", 0, kUser},
                                    {"\n\n", 0, kUser},
                                    {"<b>", 0, kUser},
                                    {kGap + "a", -1},
                                    {"ca", 9},
                                    {"<", -1},
                                    {"<b", 9},
                                    {">a", 9}});
  EXPECT_EQ(pieces(tokenizer, "a  a"), (Words{"a", "  ", "a"}));
  EXPECT_EQ(pieces(tokenizer, "a       a"), (Words{"a", "    ", "  ", " a"}));
  EXPECT_EQ(pieces(tokenizer, "\n\n\n"), (Words{"\n\n", "\n"}));
  EXPECT_EQ(pieces(tokenizer, "<b>a"), (Words{"<b>", "a"}));
  EXPECT_EQ(pieces(tokenizer, "<b><b<b>"), (Words{"<b>", "<b", "<b>"}));
}

TEST(RunnerSentencePiece, ControlAndByteTokensInTextAreText) {
  const Tokenizer tokenizer = made({{"<", -1}, {"s", -1}, {">", -1}, {"<s", -2}, {"0", -1}, {"x", -1}});
  EXPECT_EQ(pieces(tokenizer, "<s>"), (Words{"<s", ">"}));
  EXPECT_EQ(pieces(tokenizer, "<0x0a>").size(), 6u);
}

TEST(RunnerSentencePiece, AnUnusedTokenJoinsAndIsTakenApart) {
  const Tokenizer tokenizer = made({{"ab", -1, kUnused}, {"abc", -2}, {"de", -3, kUnused}});
  EXPECT_EQ(pieces(tokenizer, "abc"), (Words{"abc"}));
  EXPECT_EQ(pieces(tokenizer, "abde"), (Words{"a", "b", "d", "e"}));
}

TEST(RunnerSentencePiece, TheFileSaysWhatStandsBeforeAText) {
  const auto spaced = [](std::optional<bool> says) {
    GgufWriter gguf = written(with({{kGap + "a", -1}}));
    if (says) gguf.boolean("tokenizer.ggml.add_space_prefix", *says);
    return *opened(gguf)->encode("a");
  };
  EXPECT_EQ(spaced(false), (std::vector<std::int32_t>{258}));
  EXPECT_EQ(spaced(true), (std::vector<std::int32_t>{264}));
  EXPECT_EQ(spaced({}), spaced(true));
  const auto begin = [](std::optional<bool> says, std::optional<std::uint32_t> id) {
    GgufWriter gguf = written(with({}));
    if (says) gguf.boolean("tokenizer.ggml.add_bos_token", *says);
    if (id) gguf.u32("tokenizer.ggml.bos_token_id", *id);
    auto tokenizer = opened(gguf);
    return tokenizer ? tokenizer->begin_token().value_or(-1) : -2;
  };
  EXPECT_EQ(begin(true, 1), 1);
  EXPECT_EQ(begin({}, 1), 1);
  EXPECT_EQ(begin(false, 1), -1);
  EXPECT_EQ(begin({}, {}), -1);
  EXPECT_EQ(begin(true, {}), -2);
  EXPECT_EQ(begin(true, 264), -2);
}

TEST(RunnerSentencePiece, WhatDoesNotHoldTogetherIsRefusedByName) {
  const auto why = [](const GgufWriter& gguf) {
    auto tokenizer = opened(gguf);
    return tokenizer ? std::string("opened") : tokenizer.error().line();
  };
  EXPECT_EQ(why(written(with({}))), "opened");
  EXPECT_NE(why(written(with({{"a", -1}}))).find("twice"), std::string::npos);
  EXPECT_NE(why(written(with({{"f", std::nanf("")}}))).find("scores"), std::string::npos);
  EXPECT_NE(why(written(with({{"", 0, kUser}}))).find("user-defined"), std::string::npos);
  EXPECT_NE(why(written(with({{"<0xZZ>", 0, kByte}}))).find("<0xZZ>"), std::string::npos);
  EXPECT_NE(why(written(with({{"f", 0, static_cast<Type>(7)}}))).find("1 to 6"), std::string::npos);
  EXPECT_NE(why(written(with({})).boolean("tokenizer.ggml.remove_extra_whitespaces", true)).find("whitespaces"),
            std::string::npos);
  EXPECT_NE(why(written(with({})).text("tokenizer.ggml.precompiled_charsmap", "x")).find("charsmap"),
            std::string::npos);
  GgufWriter bare;
  bare.text("tokenizer.ggml.model", "llama");
  bare.list("tokenizer.ggml.tokens", 8, 1, GgufWriter::string("a"));
  EXPECT_NE(why(bare).find("token_type"), std::string::npos);
  bare.list("tokenizer.ggml.token_type", 5, 1, GgufWriter::bytes<std::int32_t>(1));
  EXPECT_NE(why(bare).find("scores"), std::string::npos);
}

TEST(RunnerSentencePiece, AByteWithoutATokenIsNamed) {
  auto tokenizer = opened(written({{"a", -1}, {"b", -1}}).boolean("tokenizer.ggml.add_space_prefix", false));
  ASSERT_TRUE(tokenizer) << tokenizer.error().line();
  EXPECT_TRUE(tokenizer->encode("ab"));
  auto ids = tokenizer->encode("aq");
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("byte 113"), std::string::npos) << ids.error().line();
  EXPECT_FALSE(tokenizer->encode("a\xff"));
}

// One word of a megabyte: a quadratic join would take hours.
TEST(RunnerSentencePiece, AMegabyteWithoutBordersTakesSeconds) {
  const Tokenizer tokenizer = made({{"aa", -1}, {"aaaa", -2}});
  const auto start = std::chrono::steady_clock::now();
  auto ids = tokenizer.encode(std::string(1 << 20, 'a'));
  ASSERT_TRUE(ids);
  EXPECT_EQ(ids->size(), std::size_t{1} << 18);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
