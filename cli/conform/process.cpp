#include "cli/conform/process.hpp"

#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace ropewalk::cli {
namespace {

constexpr std::size_t kLongestLine = std::size_t{256} << 20;
constexpr int kBlocksAtOnce = 64;            // of what one side writes, before the others have their turn
constexpr double kLongestWaitSeconds = 0.2;  // after which a signal is noticed at the latest

// One end of a pipe, closed once.
class End {
 public:
  End() = default;
  explicit End(int fd) : fd_(fd) {}
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  ~End() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void hold(int fd) {
    close();
    fd_ = fd;
  }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

void make_pipe(End& read_end, End& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) refuse("--against", std::string("want a pipe, got: ") + std::strerror(errno));
  read_end.hold(ends[0]);
  write_end.hold(ends[1]);
}

// The child, in a process group of its own, so that what it starts ends with it.
class Child {
 public:
  explicit Child(const std::string& command) {
    End child_in, child_out, child_err;
    make_pipe(child_in, in_);
    make_pipe(out_, child_out);
    make_pipe(err_, child_err);
    pid_ = ::fork();
    if (pid_ < 0) refuse("--against", std::string("want a process, got: ") + std::strerror(errno));
    if (pid_ == 0) {
      ::setpgid(0, 0);
      ::signal(SIGPIPE, SIG_DFL);
      ::signal(SIGXFSZ, SIG_DFL);
      ::dup2(child_in.fd(), 0);
      ::dup2(child_out.fd(), 1);
      ::dup2(child_err.fd(), 2);
      ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::setpgid(pid_, pid_);
    for (const End* end : {&in_, &out_, &err_}) ::fcntl(end->fd(), F_SETFL, O_NONBLOCK);
  }
  ~Child() {
    if (pid_ > 0 && status_ < 0) {
      ::kill(-pid_, SIGKILL);
      wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  End& in() { return in_; }
  End& out() { return out_; }
  End& err() { return err_; }

  // Waits for a child that has closed its stdout; one that goes on regardless is ended after a moment.
  int finish() {
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

 private:
  void wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    status_ = status;
  }

  pid_t pid_ = -1;
  int status_ = -1;
  End in_, out_, err_;
};

std::string ending(int status) {
  if (WIFSIGNALED(status)) return fmt::format("it died of signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) == 127) return "the shell did not find it (exit 127)";
  return fmt::format("it ended with exit code {}", WEXITSTATUS(status));
}

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of("\r\n \t");
  if (end == std::string::npos) return {};
  const std::size_t before = text.find_last_of('\n', end);
  std::string line = one_line(std::string_view(text).substr(before == std::string::npos ? 0 : before + 1,
                                                            end + 1 - (before == std::string::npos ? 0 : before + 1)));
  if (line.size() > 200) line = line.substr(0, 200) + "...";
  return fmt::format("; its last words: {}", line);
}

// What there is to read, appended. False at the end of the stream.
bool drain(End& end, std::string& into) {
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

void stop_if_interrupted() {
  if (interrupted) throw Refused{Error{Code::kUnavailable, "interrupted", "nothing was written"}, kFailed};
}

bool is_blank(const std::string& line) { return line.find_first_not_of(" \t\r") == std::string::npos; }

}  // namespace

void exchange_lines(const std::string& command, const std::vector<std::function<std::string()>>& lines, double seconds,
                    const std::function<bool(const std::string&)>& take,
                    const std::function<std::string()>& still_wanted) {
  using Clock = std::chrono::steady_clock;
  note_signals();  // the command is in a group of its own, which nobody else would end
  Child child(command);
  std::string outgoing, incoming, complaints;
  std::size_t sent = 0, next = 0;
  bool content = lines.empty();
  auto heard = Clock::now();
  while (!content) {
    if (sent == outgoing.size() && child.in().fd() >= 0) {
      sent = 0;
      outgoing = next < lines.size() ? lines[next++]() + '\n' : std::string();
      if (outgoing.empty()) child.in().close();
    }
    pollfd waits[] = {{child.out().fd(), POLLIN, 0}, {child.err().fd(), POLLIN, 0}, {child.in().fd(), POLLOUT, 0}};
    stop_if_interrupted();
    const double left = seconds - std::chrono::duration<double>(Clock::now() - heard).count();
    if (left <= 0)
      refuse("--against", fmt::format("want an answer within {:g} s of the last (--timeout), got none to {}{}", seconds,
                                      still_wanted(), last_line(complaints)));
    const int ready = ::poll(waits, 3, static_cast<int>(std::min(left, kLongestWaitSeconds) * 1000 + 1));
    if (ready < 0 && errno != EINTR) refuse("--against", std::string("poll: ") + std::strerror(errno));
    if (ready <= 0) continue;

    if (child.in().fd() >= 0 && waits[2].revents != 0) {
      const ssize_t wrote = ::write(child.in().fd(), outgoing.data() + sent, outgoing.size() - sent);
      if (wrote > 0) sent += static_cast<std::size_t>(wrote);
      if (wrote < 0 && errno != EAGAIN && errno != EINTR) child.in().close();  // it reads no more; it may still answer
    }
    if (child.err().fd() >= 0 && waits[1].revents != 0) {
      if (!drain(child.err(), complaints)) child.err().close();
      if (complaints.size() > 8192) complaints.erase(0, complaints.size() - 4096);
    }
    if (waits[0].revents == 0) continue;
    const bool open = drain(child.out(), incoming);
    if (!open && !incoming.empty()) incoming += '\n';  // the last line may lack its own
    std::size_t begin = 0;
    for (std::size_t end; !content && !interrupted && (end = incoming.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      const std::string line = incoming.substr(begin, end - begin);
      if (is_blank(line)) continue;
      content = take(line);
      heard = Clock::now();
    }
    incoming.erase(0, begin);
    if (incoming.size() > kLongestLine) refuse("--against", "want lines of at most 256 MiB, got a longer one");
    if (!open && !content && !interrupted) {
      const int status = child.finish();
      if (child.err().fd() >= 0) drain(child.err(), complaints);
      refuse("--against", fmt::format("want an answer to {}, got none: {}{}", still_wanted(), ending(status),
                                      last_line(complaints)));
    }
  }
  child.in().close();
  child.finish();
  stop_if_interrupted();
  drop_temporaries_on_signals();
}

}  // namespace ropewalk::cli
