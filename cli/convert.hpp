#pragma once

#include <string>

namespace ropewalk::cli {

struct ConvertArgs {
  std::string path;
  std::string to, from;  ///< "half" or "interleaved"; `from` empty: as the checkpoint says
  std::string out;
  std::string family;
  std::string text;  ///< --detect: empty for the built-in one
  bool detect = false;
  bool json = false;
  int threads = 0;
};

/// Which of both layouts makes the evaluator lose less on a text. Returns the exit code.
int detect_layout(const ConvertArgs& args);

}  // namespace ropewalk::cli
