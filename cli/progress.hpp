#pragma once

#include <chrono>
#include <string>

namespace ropewalk::cli {

/// What is going on, on stderr. On a terminal one line that is written over; otherwise a line every few seconds, so
/// that a log stays readable.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(const std::string& text);  ///< for the moment; may be left out if the last one is fresh
  void keep(const std::string& text);  ///< a line that stays
  void clear();

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace ropewalk::cli
