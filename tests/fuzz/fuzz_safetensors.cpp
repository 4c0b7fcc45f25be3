// libFuzzer: any bytes as a safetensors file. It must be read or refused; nothing else may happen.

#include "fuzz/memory_file.hpp"

#include <ropewalk/safetensors.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile memory(data, size);
  const auto file = ropewalk::SafetensorsFile::open(memory.path());
  if (!file) return 0;
  for (const ropewalk::SafetensorsTensor& tensor : file->tensors()) fuzz::touch(file->data(tensor));
  return 0;
}
