#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

namespace fuzz {

/// Bytes under a path, without a disk (Linux).
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* data, std::size_t size) : number_(::memfd_create("fuzz", 0)) {
    if (number_ < 0 || (size > 0 && ::write(number_, data, size) != static_cast<ssize_t>(size))) std::abort();
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(number_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(number_); }

 private:
  int number_;
};

/// Reads every byte, so that a sanitizer or the system sees those that are not there.
inline void touch(std::span<const std::byte> bytes) {
  static volatile unsigned sum = 0;
  for (const std::byte byte : bytes) sum = sum + static_cast<unsigned>(byte);
}

}  // namespace fuzz
