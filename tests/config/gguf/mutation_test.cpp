// What `make test` has of a fuzzer: good files, broken in seeded ways, must be read or refused and never more than
// that. tests/fuzz has the same entry points for libFuzzer.

#include "config/gguf/gguf_writer.hpp"
#include "config/gguf/temporary_file.hpp"
#include "config/gguf_positions.hpp"

#include <ropewalk/gguf.hpp>
#include <ropewalk/safetensors.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

namespace {

using namespace ropewalk;

std::string good_gguf(const std::string& arch) {
  GgufWriter writer;
  writer.text("general.architecture", arch).u32(arch + ".block_count", 8).u32(arch + ".context_length", 4096);
  writer.u32(arch + ".embedding_length", 256).u32(arch + ".attention.head_count", 8).u32("general.alignment", 32);
  writer.u32(arch + ".rope.dimension_count", 32)
      .f32(arch + ".rope.freq_base", 10000)
      .f32(arch + ".rope.scaling.factor", 2);
  writer.text(arch + ".rope.scaling.type", arch == "qwen2" ? "yarn" : "linear")
      .u32(arch + ".attention.sliding_window", 9);
  writer.list("tokens", 8, 3, GgufWriter::string("a") + GgufWriter::string("") + GgufWriter::string("bcd"));
  writer.i32s(arch + ".attention.head_count_kv", {1, 2, 3, 4, 5, 6, 7, 8}).u64("big", ~std::uint64_t{0});
  if (arch == "llama") writer.f32_tensor("rope_freqs.weight", std::vector<float>(16, 2.0f));
  writer.tensor("q", {32, 2}, 3, std::string(40, 'q')).f32_tensor("w", {1, 2, 3});
  return writer.build();
}

std::string good_safetensors() {
  const std::string header = R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                             R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]}})";
  return GgufWriter::bytes<std::uint64_t>(header.size()) + header + std::string(20, 'd');
}

// One to four of: a byte replaced, a bit turned, eight bytes made extreme, a run cut out, a run doubled, the end cut
// off.
std::string broken(std::string bytes, std::mt19937_64& random) {
  constexpr std::uint64_t kExtremes[] = {0,
                                         1,
                                         0x7fffffff,
                                         0x80000000,
                                         0xffffffff,
                                         std::uint64_t{1} << 60,
                                         ~std::uint64_t{0} >> 1,
                                         ~std::uint64_t{0} - 7,
                                         ~std::uint64_t{0}};
  for (auto rounds = 1 + random() % 4; rounds > 0 && !bytes.empty(); --rounds) {
    const std::size_t at = random() % bytes.size();
    const std::size_t run = std::min<std::size_t>(1 + random() % 16, bytes.size() - at);
    switch (random() % 6) {
      case 0: bytes[at] = static_cast<char>(random()); break;
      case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
      case 2: {
        const std::string extreme = GgufWriter::bytes(kExtremes[random() % std::size(kExtremes)]);
        bytes.replace(at, std::min<std::size_t>(random() % 2 ? 4 : 8, bytes.size() - at),
                      extreme.substr(0, std::min<std::size_t>(8, bytes.size() - at)));
        break;
      }
      case 3: bytes.erase(at, run); break;
      case 4: bytes.insert(at, bytes.substr(at, run)); break;
      default: bytes.resize(at); break;
    }
  }
  return bytes;
}

void touch(const GgufFile& file) {
  std::uint64_t sum = 0;
  for (const GgufTensor& tensor : file.tensors())
    for (const std::byte byte : file.data(tensor)) sum += static_cast<std::uint64_t>(byte);
  EXPECT_LT(sum, std::uint64_t{1} << 40);
}

TEST(Mutations, GgufIsReadOrRefused) {
  std::mt19937_64 random(20240611);
  TemporaryFile file("", "mutation.gguf");
  int opened = 0, answered = 0;
  for (const std::string arch : {"llama", "qwen2", "gemma3"}) {
    const std::string good = good_gguf(arch);
    file.write(good);
    const auto whole = GgufFile::open(file.path());
    ASSERT_TRUE(whole) << whole.error().line();
    for (int i = 0; i < 1500; ++i) {
      file.write(broken(good, random));
      const auto gguf = GgufFile::open(file.path());
      if (!gguf) {
        EXPECT_FALSE(gguf.error().message.empty());
        continue;
      }
      ++opened;
      touch(*gguf);
      const auto positions = config::positions_from_gguf(*gguf);
      if (!positions) {
        EXPECT_FALSE(positions.error().line().empty());
        continue;
      }
      ++answered;
      for (const LayerKind& kind : positions->kinds) EXPECT_TRUE(!kind.spec || !validate(*kind.spec));
    }
  }
  // The mutations must reach the depths, or they test nothing.
  EXPECT_GT(opened, 300);
  EXPECT_GT(answered, 100);
}

TEST(Mutations, SafetensorsIsReadOrRefused) {
  std::mt19937_64 random(7);
  TemporaryFile file("", "mutation.safetensors");
  const std::string good = good_safetensors();
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    file.write(broken(good, random));
    const auto tensors = SafetensorsFile::open(file.path());
    if (!tensors) {
      EXPECT_FALSE(tensors.error().message.empty());
      continue;
    }
    ++opened;
    for (const SafetensorsTensor& tensor : tensors->tensors()) EXPECT_EQ(tensors->data(tensor).size(), tensor.bytes);
  }
  EXPECT_GT(opened, 20);
}

}  // namespace
