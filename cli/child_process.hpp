#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ropewalk::cli {

/// One end of a pipe, closed once.
class PipeEnd {
 public:
  PipeEnd() = default;
  PipeEnd(const PipeEnd&) = delete;
  PipeEnd& operator=(const PipeEnd&) = delete;
  ~PipeEnd() { close(); }
  void close();
  void hold(int fd);
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

/// A program with its stdin, stdout and stderr on pipes that do not block, in a process group of its own, so that what
/// it starts ends with it. The destructor kills the whole group.
class ChildProcess {
 public:
  /// words        the program, found on PATH, and its arguments
  /// environment  names and values to set beside the tool's own
  /// Refuses, with `option` as the path, if there is no process to be had; a program that is not there ends with 127.
  ChildProcess(const std::vector<std::string>& words, const std::string& option,
               const std::vector<std::pair<std::string, std::string>>& environment = {});
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  PipeEnd& in() { return in_; }
  PipeEnd& out() { return out_; }
  PipeEnd& err() { return err_; }

  /// Waits for a child that has closed its stdout, and gives its wait status; one that goes on regardless is ended
  /// after a moment.
  int finish();

 private:
  void wait();

  pid_t pid_ = -1;
  int status_ = -1;
  PipeEnd in_, out_, err_;
};

/// What there is to read, at most 4 MiB of it at once, appended. False at the end of the stream.
bool drain(PipeEnd& end, std::string& into);

/// How a process ended: "it died of signal 11", "it ended with exit code 3".
std::string shown_ending(int status);

/// "; its last words: ..." for a text that has any, else nothing.
std::string last_words(std::string_view text);

}  // namespace ropewalk::cli
