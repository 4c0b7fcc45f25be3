#pragma once

#include "runner/evaluator.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// What an evaluation has measured so far, kept in a file as it goes: a JSON object a line, appended when a window is
/// done. A line belongs to a run by its key (model, text and arithmetic) and to a window by what it fed and scored.
class EvalState {
 public:
  /// Reads what is there, and makes sure that more can be written. `fresh` drops this run's lines.
  /// Refuses a place that may not be written, and a file that does not begin as a state does.
  static EvalState open(const std::string& path, const std::string& key, bool fresh);

  const std::string& path() const noexcept { return path_; }
  std::size_t ignored_lines() const noexcept { return ignored_lines_; }  ///< neither ours nor another run's

  /// The window measured before, or null. Its number in the plan does not matter.
  const runner::WindowRecord* find(const runner::WindowTask& task) const;
  /// Keeps a window: here and in the file. `with_losses` keeps the loss of every token, too.
  void add(const runner::WindowRecord& record, bool with_losses);

 private:
  EvalState(std::string path, std::string key) : path_(std::move(path)), key_(std::move(key)) {}

  std::string path_;
  std::string key_;
  std::vector<runner::WindowRecord> records_;
  std::size_t ignored_lines_ = 0;
  bool ends_in_newline_ = true;
};

/// Where the state lies unless the user says: beside a result that is written, or in the user's cache folder.
std::string default_state_path(const std::string& result_file, const std::string& key);

}  // namespace ropewalk::cli
