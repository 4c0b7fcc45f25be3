#include "cli/conform/process.hpp"

#include "cli/child_process.hpp"
#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace ropewalk::cli {
namespace {

constexpr std::size_t kLongestLine = std::size_t{256} << 20;
constexpr double kLongestWaitSeconds = 0.2;  // after which a signal is noticed at the latest

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
  ChildProcess child({"/bin/sh", "-c", command}, "--against");
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
                                      still_wanted(), last_words(complaints)));
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
      refuse("--against", fmt::format("want an answer to {}, got none: {}{}", still_wanted(), shown_ending(status),
                                      last_words(complaints)));
    }
  }
  child.in().close();
  child.finish();
  stop_if_interrupted();
  drop_temporaries_on_signals();
}

}  // namespace ropewalk::cli
