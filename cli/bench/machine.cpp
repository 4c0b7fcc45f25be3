#include "cli/bench/machine.hpp"

#include "cli/units.hpp"

#include <ropewalk/target.hpp>

#include <fmt/format.h>
#include <sys/utsname.h>

#include <omp.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>

namespace ropewalk::cli::bench {
namespace {

std::string first_line(const std::string& path) {
  std::string line;
  std::getline(std::ifstream(path) >> std::ws, line);
  return line;
}

// The value of "key : value" or "key: value kB" in one of the system's lists; empty if there is none.
std::string value_in(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t colon = line.find(':');
    const std::size_t begin = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    if (begin != std::string::npos) return one_line(line.substr(begin));
  }
  return {};
}

std::vector<Cache> caches() {
  std::vector<Cache> out;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    const std::string level = first_line(folder + "level"), type = first_line(folder + "type"),
                      size = first_line(folder + "size");
    long long kibibytes = 0;
    if (type == "Instruction" || std::sscanf(size.c_str(), "%lldK", &kibibytes) != 1) continue;
    out.push_back({"L" + level + (type == "Data" ? "d" : ""), std::int64_t{kibibytes} * 1024});
  }
  return out;
}

}  // namespace

std::string Machine::slug() const {
  std::string out;
  for (const char c : processor) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0)
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "unknown" : out.substr(0, 60);
}

std::string processor_name() {
  const std::string name = value_in("/proc/cpuinfo", "model name");
  return name.empty() ? "unknown" : name;
}

Machine this_machine() {
  Machine machine;
  machine.processor = processor_name();
  machine.cores = omp_get_num_procs();
  machine.caches = caches();
  machine.memory_bytes = std::atoll(value_in("/proc/meminfo", "MemTotal").c_str()) * 1024;
  const std::string pages = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  if (const std::size_t begin = pages.find('['), end = pages.find(']');
      begin != std::string::npos && end != std::string::npos && begin < end)
    machine.huge_pages = pages.substr(begin + 1, end - begin - 1);
  utsname system{};
  if (::uname(&system) == 0)
    machine.system = one_line(fmt::format("{} {} {}", system.sysname, system.release, system.machine));
  machine.target = active_target_name();
  machine.build = ROPEWALK_BUILD;
  return machine;
}

double load_average() {
  double load = 0;
  return ::getloadavg(&load, 1) == 1 ? load : -1;
}

}  // namespace ropewalk::cli::bench
