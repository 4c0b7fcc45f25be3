#pragma once

#include "cli/bench/cases.hpp"
#include "cli/bench/machine.hpp"
#include "cli/output.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ropewalk::cli::bench {

/// The middle of some figures, and the least and the largest of them.
struct Spread {
  double median = 0, min = 0, max = 0;
};
Spread spread_of(std::vector<double> figures);

/// What one contestant did in one case.
struct Entry {
  std::string name;
  std::string cannot{};                   ///< why there are no figures; empty if there are
  std::vector<double> seconds{};          ///< of a call, a round each
  std::vector<double> cores{};            ///< processor time over wall time, a round each
  std::int64_t calls = 0;                 ///< in a sample
  std::optional<double> max_abs_error{};  ///< none for the ceiling
};

/// A case: entries[0] is the ceiling, entries[1] the library, the others what they are compared with. All that have
/// figures have as many, measured in turns.
struct CaseResult {
  Case asked;
  std::int64_t bytes = 0;  ///< that have to be read, and those that have to be written
  int ceiling_threads = 1;
  std::vector<Entry> entries;

  Spread gigabytes_per_second(const Entry& entry) const;
  /// How many times as fast as `other` the entry was, as the median of the rounds' ratios.
  static Spread speed_ratio(const Entry& entry, const Entry& other);
};

struct OpponentState {
  std::string name, shown, version, unavailable;
};

struct BenchResults {
  Machine machine;
  std::string when;  ///< "2026-11-22T13:00:00Z"
  double load_at_start = -1, load_at_end = -1, seconds = 0;
  double sample_seconds = 0;
  std::string extent;
  std::vector<OpponentState> opponents;
  std::vector<CaseResult> cases;

  bool busy() const { return load_at_start >= 0.5; }
};

void write_json(Output& out, const BenchResults& results);

/// The machine, in a few lines.
void print_head(Output& out, const BenchResults& results);
/// A table: a row for each contestant of each case, and at the end each opponent over all cases.
void print_table(Output& out, const BenchResults& results);

/// "2.1 GB/s" with three digits: "2.13", "21.3", "213".
std::string three_digits(double figure);

}  // namespace ropewalk::cli::bench
