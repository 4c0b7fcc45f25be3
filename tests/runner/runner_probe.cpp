// What the Python tests and timings ask of the runner. Arrays pass as raw little-endian files.
//
//   runner_probe logits MODEL f32|bf16 IDS.i32 OUT.f32 [LAST]     one prefill, logits of every token or the last ones
//   runner_probe tokens MODEL TEXT OUT.i32
//   runner_probe dequantize TYPE BLOCKS OUT.f32                   TYPE is ggml's number
//   runner_probe nll MODEL f32|bf16 IDS.i32 LENGTH SCALING FACTOR SCORE [THREADS]   the window at the start of the text
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "runner/dequantize.hpp"
#include "runner/evaluator.hpp"
#include "runner/model.hpp"

namespace {

using namespace ropewalk;
using namespace ropewalk::runner;

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

template <class T>
std::vector<T> array_of(const std::string& path) {
  const std::string bytes = bytes_of(path);
  std::vector<T> out(bytes.size() / sizeof(T));
  bytes.copy(reinterpret_cast<char*>(out.data()), out.size() * sizeof(T));
  return out;
}

template <class T>
int written(const std::string& path, const std::vector<T>& data) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size() * sizeof(T)));
  return file.flush() ? 0 : 1;
}

int refused(const Error& error) {
  std::fprintf(stderr, "%s\n", error.line().c_str());
  return 2;
}

Result<Model> loaded(const std::string& path, const std::string& dtype, int threads = 0) {
  return Model::load(path, {.dtype = dtype == "bf16" ? DType::kBFloat16 : DType::kFloat32, .threads = threads});
}

int logits(const std::vector<std::string>& args) {
  auto model = loaded(args[1], args[2]);
  if (!model) return refused(model.error());
  const auto ids = array_of<std::int32_t>(args[3]);
  auto decoder = Decoder::make(*model, {.capacity = static_cast<std::int64_t>(ids.size())});
  if (!decoder) return refused(decoder.error());
  if (const auto error = decoder->feed(ids)) return refused(*error);
  const std::int64_t rows = args.size() > 5 ? std::stoll(args[5]) : decoder->last_fed();
  auto out = decoder->logits(decoder->last_fed() - rows, rows);
  return out ? written(args[4], *out) : refused(out.error());
}

int tokens(const std::vector<std::string>& args) {
  auto file = GgufFile::open(args[1]);
  auto tokenizer = file ? Tokenizer::from_gguf(*file) : Tokenizer::from_json_file(args[1] + "/tokenizer.json");
  if (!tokenizer) return refused(tokenizer.error());
  auto ids = tokenizer->encode(bytes_of(args[2]));
  return ids ? written(args[3], *ids) : refused(ids.error());
}

int dequantized(const std::vector<std::string>& args) {
  const auto type = static_cast<GgufType>(std::stoul(args[1]));
  const auto blocks = bytes_of(args[2]);
  const GgufBlock shape = block_of(type);
  if (!can_dequantize(type)) return 2;
  std::vector<float> out(blocks.size() / static_cast<std::size_t>(shape.bytes) *
                         static_cast<std::size_t>(shape.values));
  dequantize(type, reinterpret_cast<const std::byte*>(blocks.data()), static_cast<std::int64_t>(out.size()),
             out.data());
  return written(args[3], out);
}

int nll(const std::vector<std::string>& args) {
  auto model = loaded(args[1], args[2], args.size() > 8 ? std::stoi(args[8]) : 0);
  if (!model) return refused(model.error());
  const auto ids = array_of<std::int32_t>(args[3]);
  const std::int64_t length = std::stoll(args[4]);
  const WindowTask task{.length = length,
                        .scaling = args[5],
                        .factor = std::stod(args[6]),
                        .first_token = 0,
                        .scored_first = length - std::stoll(args[7]),
                        .scored_end = length};
  auto record = measure(*model, ids, task);
  if (!record) return refused(record.error());
  std::printf("{\"nll_sum\": %.9f, \"perplexity\": %.9g, \"tokens_per_second\": %.2f, \"body_seconds\": %.4f}\n",
              record->nll_sum, record->perplexity(), record->tokens_per_second, record->body_seconds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if ((args.size() == 5 || args.size() == 6) && args[0] == "logits") return logits(args);
  if (args.size() == 4 && args[0] == "tokens") return tokens(args);
  if (args.size() == 4 && args[0] == "dequantize") return dequantized(args);
  if (args.size() >= 8 && args[0] == "nll") return nll(args);
  std::fprintf(stderr, "want one of the uses at the top of runner_probe.cpp\n");
  return 2;
}
