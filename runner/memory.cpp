#include "runner/memory.hpp"

#include <array>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string_view>

#include <unistd.h>

#include "runner/evaluator.hpp"

namespace ropewalk::runner {
namespace {

// A line "Name:  123 kB" of /proc/meminfo, in bytes; 0 if there is none.
std::int64_t from_meminfo(std::string_view name) {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    std::int64_t kilobytes = 0;
    if (word == name && file >> kilobytes) return kilobytes * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

// A file with one number; 0 if it has none ("max").
std::int64_t number_in(const char* path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : 0;
}

}  // namespace

// MemAvailable counts what the page cache would give back; a control group may allow less.
std::int64_t memory_available() {
  std::int64_t free = from_meminfo("MemAvailable:");
  if (free == 0) free = std::int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  if (const std::int64_t limit = number_in("/sys/fs/cgroup/memory.max"); limit > 0) {
    const std::int64_t left = limit - number_in("/sys/fs/cgroup/memory.current");
    if (left > 0 && left < free) free = left;
  }
  return free > 0 ? free : 0;
}

std::string shown_bytes(std::int64_t bytes) {
  const bool large = bytes >= std::int64_t{1} << 30;
  const double value = static_cast<double>(bytes) / (large ? 0x1p30 : 0x1p20);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, large ? "GiB" : "MiB");
  return text.data();
}

}  // namespace ropewalk::runner
