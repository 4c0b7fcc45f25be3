#include "cli/bench/opponents.hpp"

#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace ropewalk::cli::bench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kLongestLine = 1 << 20;
constexpr int kDeepestJson = 8;
constexpr double kLongestWaitSeconds = 0.2;  // after which a signal is noticed at the latest

constexpr OpponentKind kKinds[] = {{"torch-eager", "torch eager"},
                                   {"torch-compile", "torch.compile"},
                                   {"onnxruntime", "onnxruntime"},
                                   {"jax", "JAX jit"},
                                   {"ggml", "ggml"}};

// A process that is of no more use; the text is the reason.
struct Lost {
  std::string why;
};

std::string found_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : std::string();
  const char* const path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string candidate = rest.substr(0, colon) + '/' + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest = colon == std::string::npos ? std::string() : rest.substr(colon + 1);
  }
  return {};
}

std::string found_script(const std::string& given) {
  std::error_code ignored;
  if (!given.empty()) {
    if (!fs::is_regular_file(given, ignored))
      refuse("--script", fmt::format("want a file, got \"{}\"", one_line(given)));
    return given;
  }
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const fs::path& folder :
       {program / ".." / "bench", program / ".." / "share" / "ropewalk" / "bench", fs::path("bench")})
    if (fs::is_regular_file(folder / "opponents.py", ignored))
      return (folder / "opponents.py").lexically_normal().string();
  refuse("--script", "want the file opponents.py (bench/ of the sources, share/ropewalk/bench), got none");
}

double number_in(const Json& answer, const char* key) {
  const auto found = answer.find(key);
  if (found == answer.end() || !found->is_number()) throw Lost{fmt::format("want a number as \"{}\", got none", key)};
  return found->get<double>();
}

}  // namespace

std::span<const OpponentKind> opponent_kinds() { return kKinds; }

OpponentSetup::OpponentSetup(std::string python, const std::string& script, double timeout_seconds)
    : python_(found_program(python)), script_(found_script(script)), timeout_(timeout_seconds) {
  if (python_.empty()) refuse("--python", fmt::format("want a Python interpreter, got \"{}\"", one_line(python)));
  const char* const given = std::getenv("TMPDIR");
  std::string folder = std::string(given != nullptr && *given != '\0' ? given : "/tmp") + "/ropewalk-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr)
    refuse(folder, std::string("want a folder for the opponents, got: ") + std::strerror(errno));
  scratch_ = folder;
}

OpponentSetup::~OpponentSetup() {
  std::error_code ignored;
  fs::remove_all(scratch_, ignored);
}

Opponent::Opponent(const OpponentSetup& setup, const OpponentKind& kind, int threads)
    : setup_(setup), kind_(kind), threads_(threads) {
  start();
}

void Opponent::start() {
  --lives_;
  greeted_ = false;
  incoming_.clear();
  complaints_.clear();
  child_ = std::make_unique<ChildProcess>(
      std::vector<std::string>{setup_.python(), setup_.script(), std::string(kind_.name), std::to_string(threads_)},
      "--python",
      std::vector<std::pair<std::string, std::string>>{{"TMPDIR", setup_.scratch()},
                                                       {"TORCHINDUCTOR_CACHE_DIR", setup_.scratch() + "/inductor"},
                                                       {"PYTHONDONTWRITEBYTECODE", "1"}});
}

void Opponent::lose(std::string why) {
  child_.reset();
  greeted_ = false;
  if (lives_ == 0) unavailable_ = why;
  throw Lost{std::move(why)};
}

Json Opponent::answer() {
  const auto begin = Clock::now();
  for (;;) {
    const std::size_t end = incoming_.find('\n');
    // One reading may bring a long line whole, so that what is pending and what is complete have the same bound.
    if (std::min(end, incoming_.size()) > kLongestLine) lose("want lines of at most 1 MiB from it, got a longer one");
    if (end != std::string::npos) {
      const std::string line = incoming_.substr(0, end);
      incoming_.erase(0, end + 1);
      // No answer is nested; a document's copies go as deep as it does.
      Json json = Json::parse(
          line, [](int depth, Json::parse_event_t, Json&) { return depth < kDeepestJson; }, false);
      if (!json.is_object()) lose(fmt::format("want a line of JSON from it, got: {}", one_line(line.substr(0, 80))));
      return json;
    }
    if (interrupted) throw Refused{Error{Code::kUnavailable, "interrupted", "nothing is kept"}, kFailed};
    const double left = setup_.timeout() - std::chrono::duration<double>(Clock::now() - begin).count();
    if (left <= 0)
      lose(fmt::format("want an answer within {} (--timeout), got none{}", shown_seconds(setup_.timeout()),
                       last_words(complaints_)));
    pollfd waits[] = {{child_->out().fd(), POLLIN, 0}, {child_->err().fd(), POLLIN, 0}};
    if (::poll(waits, 2, static_cast<int>(std::min(left, kLongestWaitSeconds) * 1000 + 1)) <= 0) continue;
    if (child_->err().fd() >= 0 && waits[1].revents != 0) {
      if (!drain(child_->err(), complaints_)) child_->err().close();
      if (complaints_.size() > 8192) complaints_.erase(0, complaints_.size() - 4096);
    }
    if (waits[0].revents != 0 && !drain(child_->out(), incoming_) && incoming_.find('\n') == std::string::npos) {
      const int status = child_->finish();
      if (child_->err().fd() >= 0) drain(child_->err(), complaints_);
      lose(shown_ending(status) + last_words(complaints_));
    }
  }
}

Json Opponent::ask(const Json& request) {
  const std::string line = request.dump() + '\n';
  for (std::size_t sent = 0; sent < line.size();) {
    const ssize_t wrote = ::write(child_->in().fd(), line.data() + sent, line.size() - sent);
    if (wrote > 0) sent += static_cast<std::size_t>(wrote);
    if (wrote < 0 && errno == EPIPE) break;  // it has ended; answer() says how
    if (wrote < 0 && errno == EAGAIN) {
      pollfd wait{child_->in().fd(), POLLOUT, 0};
      if (::poll(&wait, 1, static_cast<int>(std::min(setup_.timeout() * 1000 + 1, 1e9))) == 0)
        lose("want it to read a line, got no such thing");
    }
  }
  return answer();
}

void Opponent::greet() {
  while (!greeted_ && unavailable_.empty()) {
    try {
      if (child_ == nullptr) start();
      const Json first = answer();
      greeted_ = true;
      if (first.contains("unavailable") && first["unavailable"].is_string()) {
        unavailable_ = one_line(first["unavailable"].get<std::string>());
        child_.reset();
      } else if (first.contains("version") && first["version"].is_string()) {
        version_ = one_line(first["version"].get<std::string>());
      } else {
        lose("want \"version\" or \"unavailable\" first, got neither");
      }
    } catch (const Lost& lost) {
      greeted_ = false;
      if (unavailable_.empty()) unavailable_ = lost.why;  // what cannot even greet will not do so the next time
    }
  }
}

std::optional<std::string> Opponent::prepare(const Case& one, bool in_place, double& max_abs_error) {
  if (unavailable_.empty() && child_ == nullptr) greet();
  if (!unavailable_.empty()) return unavailable_;
  try {
    const Json said = ask({{"prepare",
                            {{"in_place", in_place},
                             {"dtype", name_of(one.dtype)},
                             {"layout", name_of(one.layout)},
                             {"order", one.order},
                             {"tokens", one.tokens},
                             {"query_heads", one.query_heads},
                             {"key_heads", one.key_heads},
                             {"head_dim", one.head_dim},
                             {"theta", kTheta},
                             {"first_position", kFirstPosition},
                             {"seed", kSeed}}}});
    if (said.contains("cannot"))
      return said["cannot"].is_string() ? one_line(said["cannot"].get<std::string>()) : "it cannot";
    try {
      max_abs_error = number_in(said, "max_abs_error");
    } catch (const Lost& lost) {
      lose(lost.why);
    }
    return std::nullopt;
  } catch (const Lost& lost) {
    return lost.why;
  }
}

std::optional<Sample> Opponent::sample(double seconds, std::string& why) {
  try {
    const Json said = ask({{"sample", seconds}});
    Sample out;
    try {
      out = {number_in(said, "seconds"), static_cast<std::int64_t>(number_in(said, "calls")), number_in(said, "cores")};
      if (!(out.seconds > 0) || !std::isfinite(out.seconds)) throw Lost{"want seconds > 0, got others"};
    } catch (const Lost& lost) {
      lose(lost.why);
    }
    return out;
  } catch (const Lost& lost) {
    why = lost.why;
    return std::nullopt;
  }
}

void Opponent::release() {
  if (child_ == nullptr || !unavailable_.empty()) return;
  try {
    ask({{"release", true}});
  } catch (const Lost&) {  // the next case starts it anew, or says why not
  }
}

}  // namespace ropewalk::cli::bench
