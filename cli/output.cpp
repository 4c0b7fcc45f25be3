#include "cli/output.hpp"

#include "cli/refusal.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace ropewalk::cli {
namespace {

constexpr std::size_t kBufferBytes = 1 << 16;

// The names of what is not finished, where a signal handler finds them. A slot is claimed for as long as its file is.
std::array<std::atomic<char*>, 16> pending{};
static_assert(std::atomic<char*>::is_always_lock_free);

void remember(char* path) {
  for (std::atomic<char*>& slot : pending) {
    char* none = nullptr;
    if (slot.compare_exchange_strong(none, path)) return;
  }
  std::free(path);  // more files than slots: this one is dropped in order only
}

void forget(const std::string& path) {
  for (std::atomic<char*>& slot : pending) {
    char* held = slot.load();
    if (held != nullptr && path == held && slot.compare_exchange_strong(held, nullptr)) std::free(held);
  }
}

// While one lives, the signals of drop_temporaries_on_signals wait: between the making of a file and the noting of its
// name nobody would drop it.
class SignalsWait {
 public:
  SignalsWait() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGHUP, SIGINT, SIGTERM}) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;
  ~SignalsWait() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

extern "C" void drop_and_die(int signal) {
  for (const std::atomic<char*>& slot : pending)
    if (const char* const path = slot.load(); path != nullptr) ::unlink(path);
  ::raise(signal);  // SA_RESETHAND has put the default back
}

}  // namespace

namespace {

void handle_signals(void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);  // nohup stays nohup
  }
}

extern "C" void note(int) {
  interrupted = true;
  drop_temporaries_on_signals();
}

}  // namespace

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void drop_temporaries_on_signals() { handle_signals(drop_and_die, static_cast<int>(SA_RESETHAND)); }

void note_signals() { handle_signals(note, 0); }

Output Output::to_stdout() { return Output(STDOUT_FILENO, "stdout"); }

Output Output::to(const std::string& path) { return path.empty() || path == "-" ? to_stdout() : to_file(path); }

Output Output::to_file(const std::string& path) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) refuse(path, "want a file to write, got a folder");
  if (exists && !S_ISREG(status.st_mode)) {  // /dev/null, a pipe: there is nothing to rename
    Output out(::open(path.c_str(), O_WRONLY | O_CLOEXEC), path);
    if (out.fd_ < 0) refuse(path, std::string("want a place to write, got: ") + std::strerror(errno));
    return out;
  }
  if (exists && ::access(path.c_str(), W_OK) != 0)
    refuse(path, std::string("want a place to write, got: ") + std::strerror(errno));
  std::error_code ignored;
  const auto resolved = exists ? std::filesystem::canonical(path, ignored) : std::filesystem::path(path);
  Output out(-1, path);
  out.target_ = resolved.empty() ? path : resolved.string();
  {
    std::string temporary = out.target_ + ".XXXXXX";
    const SignalsWait until_noted;
    out.fd_ = ::mkostemp(temporary.data(), O_CLOEXEC);
    if (out.fd_ >= 0) {
      remember(::strdup(temporary.c_str()));
      out.temporary_ = std::move(temporary);
    }
  }
  if (out.fd_ < 0) refuse(path, std::string("want a place to write, got: ") + std::strerror(errno));
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const mode_t mode = exists ? status.st_mode & 0777 : 0666 & ~mask;
  if (::fchmod(out.fd_, mode) != 0)
    refuse(path, std::string("want a file whose mode can be set: ") + std::strerror(errno));
  return out;
}

Output::Output(Output&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      buffer_(std::move(other.buffer_)) {}

Output::~Output() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  forget(temporary_);
}

bool Output::is_terminal() const noexcept { return ::isatty(fd_) == 1; }

void Output::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes)
    write_all(bytes);
  else
    buffer_.append(bytes);
}

void Output::flush() {
  write_all(buffer_);
  buffer_.clear();
}

void Output::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const bool reader_left = errno == EPIPE;
      const std::string message = std::string("want it written whole, got: ") + std::strerror(errno);
      buffer_.clear();
      if (fd_ == STDOUT_FILENO) throw Refused{Error{Code::kUnavailable, name_, reader_left ? "" : message}, kFailed};
      refuse(name_, message, Code::kUnavailable);
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Output::finish() {
  flush();
  if (fd_ == STDOUT_FILENO) return;
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) refuse(name_, std::string("want it written whole, got: ") + std::strerror(errno));
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0)
    refuse(name_, std::string("want a place to write, got: ") + std::strerror(errno));
  forget(temporary_);
  temporary_.clear();
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  if (std::filesystem::equivalent(a, b, error))
    return !std::filesystem::is_character_file(a, error);  // /dev/null may take several results
  const std::filesystem::path left = std::filesystem::weakly_canonical(a, error),
                              right = error ? std::filesystem::path() : std::filesystem::weakly_canonical(b, error);
  return !error && left == right && !std::filesystem::is_character_file(left, error);
}

void want_file_of_its_own(const std::string& option, const std::string& path,
                          std::initializer_list<std::string> inputs) {
  for (const std::string& input : inputs)
    if (!input.empty() && !path.empty() && path != "-" && same_file(path, input))
      refuse(option, "want a file of its own, got one that is read: " + path);
}

void make_folder(const std::string& path, const std::string& option) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) refuse(option, "want a folder to write into, got " + path + ": " + error.message());
  if (!std::filesystem::is_directory(path, error)) refuse(option, "want a folder to write into, got the file " + path);
  if (::access(path.c_str(), W_OK | X_OK) != 0)
    refuse(option, "want a folder to write into, got " + path + ": " + std::strerror(errno));
}

}  // namespace ropewalk::cli
