#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ropewalk::cli::bench {

struct Cache {
  std::string name;  ///< "L1d", "L2", "L3"
  std::int64_t bytes = 0;
};

/// What was measured on.
struct Machine {
  std::string processor;  ///< processor_name
  int cores = 1;          ///< that this process may use
  std::vector<Cache> caches;
  std::int64_t memory_bytes = 0;
  std::string huge_pages;  ///< the system's word for transparent ones: always, madvise, never; empty: unknown
  std::string system;      ///< "Linux 6.1.0 x86_64"
  std::string target;      ///< the library's: active_target_name
  std::string build;       ///< compiler and build type

  std::string slug() const;  ///< of the processor, for file names: "amd-epyc-9b14"
};

Machine this_machine();

/// As the system calls it; "unknown" where it does not say.
std::string processor_name();

/// Processes that were running or waiting to, on average over the last minute; below 0 where the system does not say.
double load_average();

}  // namespace ropewalk::cli::bench
