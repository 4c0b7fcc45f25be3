#pragma once

#include "cli/bench/cases.hpp"
#include "cli/child_process.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli::bench {

/// What is compared with, in the order of tables and pictures.
struct OpponentKind {
  std::string_view name;   ///< for --opponents and opponents.py
  std::string_view shown;  ///< for people
};
std::span<const OpponentKind> opponent_kinds();

/// One call of an opponent, on average over a sample.
struct Sample {
  double seconds = 0;
  std::int64_t calls = 0;
  double cores = 0;  ///< processor time over wall time
};

/// The processes of the opponents, and a folder that takes what they leave behind and goes with them.
class OpponentSetup {
 public:
  /// Refuses a python or script that is not there.
  OpponentSetup(std::string python, const std::string& script, double timeout_seconds);
  OpponentSetup(const OpponentSetup&) = delete;
  OpponentSetup& operator=(const OpponentSetup&) = delete;
  ~OpponentSetup();

  const std::string& python() const { return python_; }
  const std::string& script() const { return script_; }
  const std::string& scratch() const { return scratch_; }
  double timeout() const { return timeout_; }

 private:
  std::string python_, script_, scratch_;
  double timeout_;
};

/// An opponent with a number of threads, in a process of its own. Whatever goes wrong in it is an answer, not the end:
/// a process that dies, falls silent or says what it should not is started anew for the next case, twice at most.
class Opponent {
 public:
  /// Starts the process, and does not wait for it.
  Opponent(const OpponentSetup& setup, const OpponentKind& kind, int threads);

  const OpponentKind& kind() const { return kind_; }
  const std::string& version() const { return version_; }          ///< once it has greeted
  const std::string& unavailable() const { return unavailable_; }  ///< why it is not there; empty if it is

  /// Waits for its first line.
  void greet();
  /// Makes the case ready; why not, if it cannot. max_abs_error is set if it can.
  std::optional<std::string> prepare(const Case& one, bool in_place, double& max_abs_error);
  /// Calls for about so many seconds; nothing, and `why`, if it is lost.
  std::optional<Sample> sample(double seconds, std::string& why);
  void release();

 private:
  void start();
  nlohmann::json ask(const nlohmann::json& request);
  nlohmann::json answer();
  [[noreturn]] void lose(std::string why);

  const OpponentSetup& setup_;
  OpponentKind kind_;
  int threads_;
  int lives_ = 3;
  std::unique_ptr<ChildProcess> child_;
  std::string incoming_, complaints_, version_, unavailable_;
  bool greeted_ = false;
};

}  // namespace ropewalk::cli::bench
