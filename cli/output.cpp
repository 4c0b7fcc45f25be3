#include "cli/output.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

namespace ropewalk::cli {
namespace {

constexpr std::size_t kBufferBytes = 1 << 16;

// What is not finished, where a signal handler finds it: appended to and marked, never taken out or freed, since a
// handler may be reading it in another thread.
struct Unfinished {
  const std::string path;
  const bool is_folder;
  std::atomic<bool> there{true};
  Unfinished* next = nullptr;
};
std::atomic<Unfinished*> unfinished{nullptr};
static_assert(std::atomic<Unfinished*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void remember(const std::string& path, bool is_folder) {
  auto* const one = new Unfinished{path, is_folder};
  one->next = unfinished.load();
  while (!unfinished.compare_exchange_weak(one->next, one)) {
  }
}

void forget(const std::string& path) {
  for (Unfinished* one = unfinished.load(); one != nullptr; one = one->next)
    if (one->there && one->path == path) one->there = false;
}

constexpr int kSignals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

// While one lives, the signals of drop_temporaries_on_signals wait: between the making of a file and the noting of its
// name nobody would drop it.
class SignalsWait {
 public:
  SignalsWait() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : kSignals) ::sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;
  ~SignalsWait() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// unlink and rmdir are among the few calls that POSIX lets a handler make.
extern "C" void drop_and_die(int signal) {
  for (const Unfinished* one = unfinished.load(); one != nullptr; one = one->next)
    if (one->there && !one->is_folder) ::unlink(one->path.c_str());
  for (bool dropped = true; dropped;) {  // a folder goes once those inside it have gone
    dropped = false;
    for (const Unfinished* one = unfinished.load(); one != nullptr; one = one->next)
      if (one->there && one->is_folder && ::rmdir(one->path.c_str()) == 0) dropped = true;
  }
  // By hand: SA_RESETHAND puts the default back before Linux blocks the signal, and a second one in between kills.
  std::signal(signal, SIG_DFL);
  ::raise(signal);  // waits until this handler has returned
}

void handle_signals(std::span<const int> signals, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  for (const int other : kSignals) ::sigaddset(&action.sa_mask, other);
  for (const int signal : signals) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);  // nohup stays nohup
  }
}

extern "C" void note(int) {
  interrupted = true;
  drop_temporaries_on_signals();
}

// A place that will not do is the input's fault; one that is full is not.
[[noreturn]] void cannot_write(const std::string& name, const std::string& want, int reason) {
  const bool full = reason == ENOSPC || reason == EDQUOT || reason == EIO || reason == EMFILE || reason == ENFILE;
  throw Refused{Error{Code::kUnavailable, name, want + std::strerror(reason)}, full ? kFailed : kInputWrong};
}

}  // namespace

void not_written_whole(const std::string& name, int reason) {
  throw Refused{Error{Code::kUnavailable, name, std::string("want it written whole, got: ") + std::strerror(reason)},
                kFailed};
}

std::atomic<bool> interrupted{false};

void drop_temporaries_on_signals() { handle_signals(kSignals, drop_and_die); }

void note_signals() {
  constexpr int kOrderly[] = {SIGHUP, SIGINT, SIGTERM};
  handle_signals(kOrderly, note);
}

Output Output::to_stdout() { return Output(STDOUT_FILENO, "stdout"); }

Output Output::to(const std::string& path) { return path.empty() || path == "-" ? to_stdout() : to_file(path); }

Output Output::to_file(const std::string& path, const std::string& shown) {
  const std::string& name = shown.empty() ? path : shown;
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) refuse(name, "want a file to write, got a folder");
  if (exists && !S_ISREG(status.st_mode)) {  // /dev/null, a pipe: there is nothing to rename
    Output out(::open(path.c_str(), O_WRONLY | O_CLOEXEC), name);
    if (out.fd_ < 0) cannot_write(name, "want a place to write, got: ", errno);
    return out;
  }
  if (exists && ::access(path.c_str(), W_OK) != 0) cannot_write(name, "want a place to write, got: ", errno);
  std::error_code ignored;
  const auto resolved = exists ? std::filesystem::canonical(path, ignored) : std::filesystem::path(path);
  Output out(-1, name);
  out.target_ = resolved.empty() ? path : resolved.string();
  {
    std::string temporary = out.target_ + ".XXXXXX";
    const SignalsWait until_noted;
    out.fd_ = ::mkostemp(temporary.data(), O_CLOEXEC);
    if (out.fd_ >= 0) {
      remember(temporary, false);
      out.temporary_ = std::move(temporary);
    }
  }
  if (out.fd_ < 0) cannot_write(name, "want a place to write, got: ", errno);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const mode_t mode = exists ? status.st_mode & 0777 : 0666 & ~mask;
  if (::fchmod(out.fd_, mode) != 0) cannot_write(name, "want a file whose mode can be set, got: ", errno);
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
      const int reason = errno;
      buffer_.clear();
      if (fd_ == STDOUT_FILENO && reason == EPIPE) throw Refused{Error{Code::kUnavailable, name_, ""}, kFailed};
      not_written_whole(name_, reason);
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Output::finish() {
  flush();
  if (fd_ == STDOUT_FILENO) return;
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) not_written_whole(name_, errno);
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) not_written_whole(name_, errno);
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

std::string in_folder(std::string folder, const std::string& name) {
  while (folder.ends_with('/')) folder.pop_back();
  return folder + "/" + name;
}

void want_file_of_its_own(const std::string& option, const std::string& path,
                          std::initializer_list<std::string> inputs) {
  for (const std::string& input : inputs)
    if (!input.empty() && !path.empty() && path != "-" && same_file(path, input))
      refuse(option, "want a file of its own, got one that is read: " + path);
}

MadeFolders::MadeFolders(const std::string& path, const std::string& option) : MadeFolders() {
  std::error_code error;
  const auto want = [&] { return "want a folder to write into, got " + one_line(path) + ": "; };
  std::filesystem::path at;
  for (const std::filesystem::path& part : std::filesystem::path(path)) {
    at /= part;
    const SignalsWait until_noted;
    if (::mkdir(at.c_str(), 0777) == 0) {
      made_.push_back(at.string());
      remember(made_.back(), true);
    } else if (errno != EEXIST) {
      cannot_write(option, want(), errno);
    }
  }
  if (!std::filesystem::is_directory(path, error)) cannot_write(option, want(), path.empty() ? ENOENT : ENOTDIR);
  if (::access(path.c_str(), W_OK | X_OK) != 0) cannot_write(option, want(), errno);
}

MadeFolders::~MadeFolders() {
  for (auto one = made_.rbegin(); one != made_.rend(); ++one) ::rmdir(one->c_str());
  keep();
}

void MadeFolders::keep() {
  for (const std::string& one : made_) forget(one);
  made_.clear();
}

namespace {

// Where a new folder of that name stands in the end: behind a link, what it points to.
std::filesystem::path place_of(const std::string& path, const std::string& option) {
  namespace fs = std::filesystem;
  fs::path place = fs::absolute(path).lexically_normal();
  if (!place.has_filename()) place = place.parent_path();
  std::error_code error;
  if (!fs::exists(fs::symlink_status(place, error))) return place;
  if (!fs::is_directory(place, error) || !fs::is_empty(place, error))
    refuse(option, "want a folder that is not there yet or is empty, got " + one_line(path));
  return fs::canonical(place);
}

}  // namespace

NewFolder::NewFolder(const std::string& path, const std::string& option)
    : option_(option), target_(place_of(path, option)), parents_(target_.parent_path().string(), option) {
  std::string name = target_.string() + ".XXXXXX";
  const SignalsWait until_noted;
  if (::mkdtemp(name.data()) == nullptr)
    cannot_write(option, "want a place to write, got " + one_line(path) + ": ", errno);
  remember(name, true);
  folder_ = name;
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  forget_all();
}

Output NewFolder::file(const std::string& name) {
  const std::string path = (folder_ / name).string();
  files_.push_back(path);
  remember(path, false);
  return Output::to_file(path, (target_ / name).string());
}

void NewFolder::finish() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const SignalsWait until_forgotten;
  if (::chmod(folder_.c_str(), 0777 & ~mask) != 0 || ::rename(folder_.c_str(), target_.c_str()) != 0)
    not_written_whole(option_ + " " + one_line(target_.string()), errno);
  forget_all();
  folder_.clear();
  parents_.keep();
}

void NewFolder::forget_all() {
  for (const std::string& file : files_) forget(file);
  forget(folder_.string());
}

}  // namespace ropewalk::cli
