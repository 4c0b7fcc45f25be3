#include <ropewalk/gguf.hpp>

#include "config/gguf/gguf_writer.hpp"
#include "config/gguf/temporary_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <limits>
#include <numeric>

namespace {

using ropewalk::Code;
using ropewalk::GgufFile;
using ropewalk::GgufType;
using testing::HasSubstr;

constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;

ropewalk::Result<GgufFile> open_bytes(const std::string& bytes) {
  const TemporaryFile file(bytes, "gguf_file_test.gguf");  // the mapping outlives the name
  return GgufFile::open(file.path());
}

void expect_refused(const std::string& bytes, Code code, const std::string& words) {
  const auto file = open_bytes(bytes);
  ASSERT_FALSE(file) << "taken, though: " << words;
  EXPECT_EQ(file.error().code, code) << file.error().line();
  EXPECT_THAT(file.error().line(), HasSubstr(words));
  EXPECT_EQ(file.error().line().find('\n'), std::string::npos);
}

GgufWriter small() {
  GgufWriter writer;
  writer.text("general.architecture", "llama").u32("llama.block_count", 2).f32("llama.rope.freq_base", 1e5f);
  writer.list("tokens", 8, 2, GgufWriter::string("a") + GgufWriter::string("bc"));
  writer.f32_tensor("one", {1, 2, 3}).f32_tensor("two", {4, 5});
  return writer;
}

TEST(GgufFile, ReadsEveryKindOfValueAndWidensIntegers) {
  GgufWriter writer;
  writer.u8("u8", 255).i8("i8", -128).u16("u16", 65535).i16("i16", -32768).u32("u32", 4294967295u);
  writer.i32("i32", std::numeric_limits<std::int32_t>::min())
      .f32("f32", 0.1f)
      .boolean("no", false)
      .boolean("yes", true);
  writer.text("text", std::string("\xff\0\n", 3)).u64("u64", ~std::uint64_t{0}).i64("i64", -5).f64("f64", 0.1);
  writer.i32s("list", {-1, 2}).list("bools", 7, 3, std::string("\0\1\2", 3)).list("empty", 8, 0, "");
  for (const std::uint32_t version : {2u, 3u}) {
    writer.version = version;
    const auto file = open_bytes(writer.build());
    ASSERT_TRUE(file) << file.error().line();
    EXPECT_EQ(file->metadata().size(), 16u);
    EXPECT_EQ(**file->integer("u8"), 255);
    EXPECT_EQ(**file->integer("i8"), -128);
    EXPECT_EQ(**file->integer("u16"), 65535);
    EXPECT_EQ(**file->integer("i16"), -32768);
    EXPECT_EQ(**file->integer("u32"), 4294967295);
    EXPECT_EQ(**file->integer("i32"), -2147483648);
    EXPECT_EQ(**file->number("f32"), static_cast<double>(0.1f));
    EXPECT_EQ(**file->number("f64"), 0.1);
    EXPECT_EQ(**file->number("i64"), -5.0);
    EXPECT_EQ(std::get<bool>(*file->find("no")), false);
    EXPECT_EQ(std::get<bool>(*file->find("yes")), true);
    EXPECT_EQ(**file->text("text"), std::string("\xff\0\n", 3));
    EXPECT_EQ(std::get<std::uint64_t>(*file->find("u64")), ~std::uint64_t{0});
    EXPECT_EQ(std::get<std::vector<std::int64_t>>(*file->find("list")), (std::vector<std::int64_t>{-1, 2}));
    EXPECT_EQ(std::get<std::vector<bool>>(*file->find("bools")), (std::vector<bool>{false, true, true}));
    EXPECT_TRUE(std::get<std::vector<std::string>>(*file->find("empty")).empty());
    EXPECT_EQ(file->find("absent"), nullptr);
    EXPECT_FALSE(file->integer("absent")->has_value());
  }
}

TEST(GgufFile, TypedLooksNameTheKey) {
  GgufWriter writer;
  writer.u64("big", ~std::uint64_t{0}).text("text", "x").i32s("list", {1}).f32("real", 1).boolean("flag", true);
  const auto file = open_bytes(writer.build());
  ASSERT_TRUE(file);
  EXPECT_EQ(file->integer("big").error().line(), "gguf:big: want an integer below 2^63, got 18446744073709551615");
  EXPECT_EQ(file->integer("real").error().line(), "gguf:real: want an integer, got a number");
  EXPECT_EQ(file->integer("flag").error().line(), "gguf:flag: want an integer, got a boolean");
  EXPECT_EQ(file->number("text").error().line(), "gguf:text: want a number, got a string");
  EXPECT_EQ(file->number("list").error().line(), "gguf:list: want a number, got a list of integers");
  EXPECT_EQ(file->text("real").error().line(), "gguf:real: want a string, got a number");
}

TEST(GgufFile, FindsTensorsAndTheirBytes) {
  const auto file = open_bytes(small().build());
  ASSERT_TRUE(file) << file.error().line();
  ASSERT_EQ(file->tensors().size(), 2u);
  const auto* const two = file->find_tensor("two");
  ASSERT_NE(two, nullptr);
  EXPECT_EQ(two->values(), 2);
  EXPECT_EQ(two->bytes, 8u);
  float values[2];
  ASSERT_EQ(file->data(*two).size(), sizeof values);
  std::memcpy(values, file->data(*two).data(), sizeof values);
  EXPECT_EQ(values[0], 4);
  EXPECT_EQ(values[1], 5);
  EXPECT_EQ(file->find_tensor("three"), nullptr);

  ropewalk::GgufTensor foreign = *two;
  foreign.offset = std::numeric_limits<std::uint64_t>::max() - 3;
  EXPECT_TRUE(file->data(foreign).empty());
}

TEST(GgufFile, KnowsTheBlocksOfEveryListedType) {
  struct Row {
    std::uint32_t type;
    const char* name;
    std::uint64_t values, bytes;
  };
  for (const Row& row :
       {Row{0, "F32", 1, 4}, Row{1, "F16", 1, 2}, Row{2, "Q4_0", 32, 18}, Row{3, "Q4_1", 32, 20},
        Row{6, "Q5_0", 32, 22}, Row{7, "Q5_1", 32, 24}, Row{8, "Q8_0", 32, 34}, Row{10, "Q2_K", 256, 84},
        Row{11, "Q3_K", 256, 110}, Row{12, "Q4_K", 256, 144}, Row{13, "Q5_K", 256, 176}, Row{14, "Q6_K", 256, 210},
        Row{15, "Q8_K", 256, 292}, Row{28, "F64", 1, 8}, Row{30, "BF16", 1, 2}}) {
    EXPECT_EQ(ropewalk::name_of(GgufType{row.type}), row.name);
    GgufWriter writer;
    writer.tensor("w", {2 * row.values, 3}, row.type, std::string(6 * row.bytes, 'x'));
    const auto file = open_bytes(writer.build());
    ASSERT_TRUE(file) << row.name << ": " << file.error().line();
    EXPECT_EQ(file->tensors()[0].bytes, 6 * row.bytes) << row.name;
    if (row.values > 1) {
      GgufWriter odd;
      odd.tensor("w", {row.values + 1}, row.type, std::string(2 * row.bytes, 'x'));
      expect_refused(odd.build(), Code::kFormat, "tensor \"w\": want rows of a multiple of");
    }
  }
}

TEST(GgufFile, KeepsATensorOfAnUnknownTypeWithoutItsBytes) {
  GgufWriter writer;
  writer.tensor("exotic", {256}, 99, std::string(100, 'x')).f32_tensor("plain", {1});
  const auto file = open_bytes(writer.build());
  ASSERT_TRUE(file) << file.error().line();
  EXPECT_EQ(ropewalk::name_of(file->tensors()[0].type), "type 99");
  EXPECT_EQ(file->tensors()[0].bytes, 0u);
  EXPECT_TRUE(file->data(file->tensors()[0]).empty());
  EXPECT_EQ(file->data(file->tensors()[1]).size(), 4u);
}

TEST(GgufFile, EveryPrefixOfAFileIsRefused) {
  const std::string whole = small().build();
  ASSERT_TRUE(open_bytes(whole));
  TemporaryFile file("", "prefix.gguf");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    file.write(std::string_view(whole).substr(0, length));
    const auto opened = GgufFile::open(file.path());
    EXPECT_FALSE(opened) << length << " of " << whole.size() << " bytes";
  }
}

TEST(GgufFile, HoldsCountsAndLengthsAgainstTheFile) {
  for (const std::uint64_t huge : {kHuge, ~std::uint64_t{0} - 6, std::uint64_t{1} << 63, std::uint64_t{100000}}) {
    GgufWriter many = small();
    many.extra_entries = huge;
    expect_refused(many.build(), Code::kFormat, "want the number of keys within the file's remaining");
    many = small();
    many.extra_tensors = huge;
    expect_refused(many.build(), Code::kFormat, "want the number of tensors within the file's remaining");

    for (const std::uint32_t kind : {0u, 4u, 7u, 8u, 12u}) {
      GgufWriter list;
      list.list("k", kind, huge, "abc");
      expect_refused(list.build(), Code::kFormat, "want the number of ");
    }
    GgufWriter text;
    text.raw("k", 8, GgufWriter::bytes(huge) + "abc");
    expect_refused(text.build(), Code::kFormat, "want the length of a string within the file's remaining");
  }
}

TEST(GgufFile, RefusesShapesThatDoNotFit) {
  const auto with = [](std::vector<std::uint64_t> shape, std::uint32_t type = 0) {
    GgufWriter writer;
    return writer.tensor("w", shape, type, std::string(64, 'x')).build();
  };
  expect_refused(with({}), Code::kFormat, "want 1 to 4 axes, got 0");
  expect_refused(with({1, 1, 1, 1, 1}), Code::kFormat, "want 1 to 4 axes, got 5");
  expect_refused(with({0}), Code::kFormat, "want an extent from 1 to 2^63 - 1, got 0");
  expect_refused(with({~std::uint64_t{0}}), Code::kFormat, "want an extent from 1 to 2^63 - 1");
  expect_refused(with({std::uint64_t{1} << 32, std::uint64_t{1} << 32}), Code::kFormat, "fewer than 2^63 values");
  expect_refused(with({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 99), Code::kFormat, "fewer than 2^63 values");
  expect_refused(with({std::uint64_t{1} << 62}), Code::kFormat, "got more than 2^64");
  expect_refused(with({std::uint64_t{1} << 61}), Code::kFormat, "want 9223372036854775808 bytes");
  expect_refused(with({17}), Code::kFormat, "want 68 bytes at offset 0 of the data, got a file that holds 64");
  EXPECT_TRUE(open_bytes(with({16})));
}

TEST(GgufFile, RefusesOffsetsThatDoNotFit) {
  const auto with = [](std::uint64_t offset, std::uint32_t type = 0) {
    GgufWriter writer;
    return writer.tensor("a", {16}, 0, std::string(64, 'x')).tensor_at("b", {8}, type, offset).build();
  };
  expect_refused(with(0), Code::kFormat, "want bytes of its own");
  expect_refused(with(32), Code::kFormat, "want bytes of its own");
  expect_refused(with(33), Code::kFormat, "want an offset that is a multiple of 32, got 33");
  expect_refused(with(64), Code::kFormat, "want 32 bytes at offset 64 of the data, got a file that holds 64");
  expect_refused(with(~std::uint64_t{31}), Code::kFormat, "of the data, got a file that holds 64");
  expect_refused(with(96, 99), Code::kFormat, "of the data, got a file that holds 64");
  EXPECT_TRUE(open_bytes(with(64, 99)));
}

TEST(GgufFile, TakesTheAlignmentsThatGgmlTakes) {
  for (const std::uint32_t alignment : {1u, 2u, 8u, 64u, 4096u}) {
    GgufWriter writer;
    writer.alignment = alignment;
    writer.u32("general.alignment", alignment).f32_tensor("a", {1}).f32_tensor("b", {2});
    const auto file = open_bytes(writer.build());
    ASSERT_TRUE(file) << file.error().line();
    EXPECT_EQ(file->tensors()[1].offset % alignment, 0u);
  }
  for (const std::uint32_t alignment : {0u, 3u, 24u, 4294967295u}) {
    GgufWriter writer;
    writer.u32("general.alignment", alignment).f32_tensor("a", {1});
    expect_refused(writer.build(), Code::kFormat, "gguf:general.alignment: want a power of two, got ");
  }
  GgufWriter writer;
  expect_refused(writer.text("general.alignment", "32").build(), Code::kInvalid,
                 "gguf:general.alignment: want an integer");
}

TEST(GgufFile, RefusesWhatIsThereTwice) {
  expect_refused(small().u32("llama.block_count", 3).build(), Code::kFormat,
                 "want every key once, got \"llama.block_count\" twice");
  expect_refused(small().f32_tensor("one", {1}).build(), Code::kFormat, "want every tensor once, got \"one\" twice");
}

TEST(GgufFile, RefusesKindsThatDoNotExist) {
  GgufWriter nested;
  nested.list("k", 9, 1, GgufWriter::bytes<std::uint32_t>(4) + GgufWriter::bytes<std::uint64_t>(0));
  expect_refused(nested.build(), Code::kFormat, "key \"k\": want a list of values, got a list of lists");
  GgufWriter unknown;
  expect_refused(unknown.raw("k\n\x01", 13, "x").build(), Code::kFormat,
                 "key \"k\\x0a\\x01\": want a kind of value from 0 to 12, got 13");
  GgufWriter in_list;
  expect_refused(in_list.list("k", 77, 0, "").build(), Code::kFormat, "want a kind of value from 0 to 12, got 77");
}

TEST(GgufFile, RefusesOtherFilesByName) {
  GgufWriter writer = small();
  writer.magic = "GGML";
  expect_refused(writer.build(), Code::kFormat, "want a file that begins with \"GGUF\", got \"GGML\"");
  for (const std::uint32_t version : {0u, 1u, 4u, 65537u}) {
    writer = small();
    writer.version = version;
    expect_refused(writer.build(), Code::kUnsupported, "want GGUF version 2 or 3, got " + std::to_string(version));
  }
  writer = small();
  writer.version = 0x03000000;
  expect_refused(writer.build(), Code::kFormat, "want a little-endian file, got a big-endian one (version 3)");
  expect_refused(small().u16("split.no", 1).build(), Code::kUnsupported,
                 "gguf:split.no: want the first part of a split file");
  EXPECT_TRUE(open_bytes(small().u16("split.no", 0).u16("split.count", 3).build()));
  expect_refused(small().f32_tensor(std::string(64, 'n'), {1}).build(), Code::kFormat,
                 "want a name of at most 63 bytes, got 64");
}

TEST(GgufFile, RefusesWhatIsNotAFile) {
  const auto line = [](const std::string& path) {
    const auto file = GgufFile::open(path);
    EXPECT_FALSE(file);
    EXPECT_EQ(file.error().code, Code::kUnavailable);
    return file.error().line();
  };
  EXPECT_THAT(line(testing::TempDir()), HasSubstr("want a file that can be read, got a folder"));
  EXPECT_THAT(line("/nowhere/at/all.gguf"),
              HasSubstr("/nowhere/at/all.gguf: want a file that can be read, got \"No such file"));
  EXPECT_THAT(line(""), HasSubstr("a path that names no file"));
  EXPECT_THAT(line("/dev/null"), HasSubstr("not a regular file"));
  const TemporaryFile empty("", "empty.gguf");
  EXPECT_THAT(line(empty.path()), HasSubstr("got an empty file"));
  const std::string fifo = testing::TempDir() + "ropewalk_fifo_" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(line(fifo), HasSubstr("not a regular file"));  // and does not wait for a writer
  std::remove(fifo.c_str());
}

TEST(GgufFile, ReadsTheRealModel) {
  const char* const path = std::getenv("ROPEWALK_SMOLLM2");
  if (!path) GTEST_SKIP() << "ROPEWALK_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf";
  const auto file = GgufFile::open(path);
  ASSERT_TRUE(file) << file.error().line();
  EXPECT_EQ(**file->integer("llama.block_count"), 30);
  EXPECT_EQ(std::get<std::vector<std::string>>(*file->find("tokenizer.ggml.tokens")).size(), 49152u);
  ASSERT_EQ(file->tensors().size(), 272u);
  EXPECT_EQ(file->find_tensor("token_embd.weight")->type, GgufType::kQ8_0);
  EXPECT_EQ(file->find_tensor("token_embd.weight")->values(), 576 * 49152);
}

}  // namespace
