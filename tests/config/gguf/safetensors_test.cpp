#include <ropewalk/safetensors.hpp>

#include "config/gguf/temporary_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace {

using ropewalk::Code;
using ropewalk::SafetensorsFile;
using testing::HasSubstr;

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + rest;
}
std::string built(const std::string& header, std::size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, 'd'));
}

ropewalk::Result<SafetensorsFile> open_bytes(const std::string& bytes) {
  const TemporaryFile file(bytes, "safetensors_test.safetensors");
  return SafetensorsFile::open(file.path());
}

void expect_refused(const std::string& bytes, const std::string& words, Code code = Code::kFormat) {
  const auto file = open_bytes(bytes);
  ASSERT_FALSE(file) << "taken, though: " << words;
  EXPECT_EQ(file.error().code, code);
  EXPECT_THAT(file.error().line(), HasSubstr(words));
  EXPECT_EQ(file.error().line().find('\n'), std::string::npos);
}

const std::string kTwo =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
    R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"none":{"dtype":"F32","shape":[0,9],"data_offsets":[4,4]}}   )";

TEST(Safetensors, ReadsTensorsByOffset) {
  const auto file = open_bytes(built(kTwo, 16));
  ASSERT_TRUE(file) << file.error().line();
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->tensors()[0].name, "a");
  EXPECT_EQ(file->tensors()[1].name, "none");
  EXPECT_EQ(file->tensors()[2].name, "b");
  EXPECT_EQ(file->tensors()[2].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(file->find_tensor("b")->offset, 8 + kTwo.size() + 4);
  EXPECT_EQ(file->data(*file->find_tensor("b")).size(), 12u);
  EXPECT_EQ(file->find_tensor("c"), nullptr);
  ASSERT_EQ(file->metadata().size(), 1u);
  EXPECT_EQ(file->metadata()[0].second, "pt");
  EXPECT_TRUE(open_bytes(built("{}", 0)));
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string whole = built(kTwo, 16);
  TemporaryFile file("", "prefix.safetensors");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    file.write(std::string_view(whole).substr(0, length));
    EXPECT_FALSE(SafetensorsFile::open(file.path())) << length << " of " << whole.size() << " bytes";
  }
}

TEST(Safetensors, HoldsTheHeadersLengthAgainstTheFile) {
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{7}})
    expect_refused(with_length(length, "{}"), "want a header of at most 2 bytes, got " + std::to_string(length));
  expect_refused("1234567", "want at least 8 bytes, got 7");
  EXPECT_EQ(SafetensorsFile::open("/nowhere/x.safetensors").error().code, Code::kUnavailable);
}

TEST(Safetensors, RefusesWhatIsNotJson) {
  for (const std::string header :
       {"", "{", "{]", "nul", "{\"a\":}", "{\"\xff\":1}", "{} x", "{\"a\":{\"dtype\":\"F32\",}}"})
    expect_refused(built(header, 0), "want a header of JSON in UTF-8");
  for (const std::string header : {"[]", "3", "\"x\"", "null", "true", "1.5", "-1"})
    expect_refused(built(header, 0), "want a header that is a JSON object, got ");
}

TEST(Safetensors, NestingBombsDoNotReachTheStack) {
  for (const char* const bracket : {"[", "{\"a\":"}) {
    std::string bomb;
    for (int i = 0; i < 2'000'000; ++i) bomb += bracket;
    expect_refused(built(bomb, 0), "got");
    expect_refused(built("{\"a\":{\"dtype\":\"F32\",\"shape\":" + bomb, 0), "tensor \"a\": shape: want ");
  }
}

TEST(Safetensors, RefusesWrongRows) {
  const auto row = [](const std::string& inner) { return built("{\"t\":{" + inner + "}}", 8); };
  EXPECT_TRUE(open_bytes(row(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])")));
  expect_refused(row(R"("dtype":"F32","shape":[2])"), "want dtype, shape and data_offsets, got not all of them");
  expect_refused(row(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)"), "got \"x\"");
  expect_refused(row(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"), "got \"dtype\" twice");
  expect_refused(row(R"("dtype":3,"shape":[2],"data_offsets":[0,8])"), "dtype: want a string, got 3");
  expect_refused(row(R"("dtype":"F32","shape":8,"data_offsets":[0,8])"), "shape: want a list, got 8");
  expect_refused(row(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
                 "shape: want integers from 0 to 2^63 - 1, got -2");
  expect_refused(row(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "got 2.0");
  expect_refused(row(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"),
                 "got 18446744073709551615");
  expect_refused(row(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])"),
                 "got 99999999999999999999");
  expect_refused(row(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "want two data_offsets, got 1");
  expect_refused(row(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), "want two data_offsets, got 3");
  expect_refused(row(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "want data_offsets that rise, got 8 to 0");
  expect_refused(row(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
                 "want 12 bytes for its shape and dtype, got 8");
  expect_refused(row(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"),
                 "shape: want one of the 8 bytes between its data_offsets, got one of more than 2^64");
  expect_refused(row(R"("dtype":"F4","shape":[16],"data_offsets":[0,8])"), "got \"F4\"", Code::kUnsupported);
  expect_refused(built(R"({"t":3})", 8), "tensor \"t\": want an object, got 3");
  expect_refused(built(R"({"__metadata__":{"a":1}})", 0), "\"__metadata__\": want strings, got 1");
  expect_refused(built(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "got \"a\" twice");
}

TEST(Safetensors, RefusesHolesOverlapsAndStrays) {
  const auto two = [](const std::string& a, const std::string& b, std::size_t data_bytes) {
    return built(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
                     R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}",
                 data_bytes);
  };
  EXPECT_TRUE(open_bytes(two("[4,8]", "[0,4]", 8)));
  expect_refused(two("[0,4]", "[5,9]", 9), "want data from byte 4, where the one before it ends, got byte 5");
  expect_refused(two("[0,4]", "[3,7]", 7), "want data from byte 4");
  expect_refused(two("[0,4]", "[0,4]", 4), "want data from byte 4");
  expect_refused(two("[1,5]", "[5,9]", 9), "want data from byte 0");
  expect_refused(two("[0,4]", "[4,8]", 7), "want data within the file's 7 bytes of it");
  expect_refused(two("[0,4]", "[4,8]", 9), "want tensors that fill the 9 bytes behind the header, got 8");
  expect_refused(two("[0,4]", "[18446744073709551610,18446744073709551614]", 9), "want data from byte 4");
  expect_refused(
      built(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          2),
      "want every tensor once, got \"a\" twice");
}

}  // namespace
