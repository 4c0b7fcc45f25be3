// libFuzzer: any bytes as a GGUF file. It must be read or refused; nothing else may happen.

#include "config/gguf_positions.hpp"
#include "fuzz/memory_file.hpp"

#include <ropewalk/gguf.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile memory(data, size);
  const auto file = ropewalk::GgufFile::open(memory.path());
  if (!file) return 0;
  for (const ropewalk::GgufTensor& tensor : file->tensors()) fuzz::touch(file->data(tensor));
  (void)ropewalk::config::positions_from_gguf(*file);
  (void)ropewalk::config::positions_from_gguf(*file, {.family = "llama"});
  return 0;
}
