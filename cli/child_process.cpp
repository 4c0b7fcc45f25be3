#include "cli/child_process.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace ropewalk::cli {
namespace {

constexpr int kBlocksAtOnce = 64;  // of what one side writes, before the others have their turn

void make_pipe(PipeEnd& read_end, PipeEnd& write_end, const std::string& option) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) refuse(option, std::string("want a pipe, got: ") + std::strerror(errno));
  read_end.hold(ends[0]);
  write_end.hold(ends[1]);
}

}  // namespace

void PipeEnd::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void PipeEnd::hold(int fd) {
  close();
  fd_ = fd;
}

ChildProcess::ChildProcess(const std::vector<std::string>& words, const std::string& option,
                           const std::vector<std::pair<std::string, std::string>>& environment) {
  PipeEnd child_in, child_out, child_err;
  make_pipe(child_in, in_, option);
  make_pipe(out_, child_out, option);
  make_pipe(err_, child_err, option);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) refuse(option, std::string("want a process, got: ") + std::strerror(errno));
  if (pid_ == 0) {
    ::setpgid(0, 0);
    ::signal(SIGPIPE, SIG_DFL);
    ::signal(SIGXFSZ, SIG_DFL);
    ::dup2(child_in.fd(), 0);
    ::dup2(child_out.fd(), 1);
    ::dup2(child_err.fd(), 2);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execvp(arguments.front(), arguments.data());
    ::_exit(127);
  }
  ::setpgid(pid_, pid_);
  for (const PipeEnd* end : {&in_, &out_, &err_}) ::fcntl(end->fd(), F_SETFL, O_NONBLOCK);
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0 && status_ < 0) {
    ::kill(-pid_, SIGKILL);
    wait();
  }
}

int ChildProcess::finish() {
  for (int tenth = 0; tenth < 20 && status_ < 0; ++tenth) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
    if (status_ < 0) ::usleep(100000);
  }
  if (status_ < 0) {
    ::kill(-pid_, SIGKILL);
    wait();
  }
  return status_;
}

void ChildProcess::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  status_ = status;
}

bool drain(PipeEnd& end, std::string& into) {
  char block[65536];
  for (int blocks = 0; blocks < kBlocksAtOnce; ++blocks) {
    const ssize_t got = ::read(end.fd(), block, sizeof block);
    if (got > 0) {
      into.append(block, static_cast<std::size_t>(got));
      continue;
    }
    if (got < 0 && errno == EINTR) continue;
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  }
  return true;
}

std::string shown_ending(int status) {
  if (WIFSIGNALED(status)) return fmt::format("it died of signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) == 127) return "it was not found (exit 127)";
  return fmt::format("it ended with exit code {}", WEXITSTATUS(status));
}

std::string last_words(std::string_view text) {
  const std::size_t end = text.find_last_not_of("\r\n \t");
  if (end == std::string_view::npos) return {};
  const std::size_t before = text.find_last_of('\n', end);
  const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
  std::string line = one_line(text.substr(begin, end + 1 - begin));
  if (line.size() > 200) line = line.substr(0, 200) + "...";
  return fmt::format("; its last words: {}", line);
}

}  // namespace ropewalk::cli
