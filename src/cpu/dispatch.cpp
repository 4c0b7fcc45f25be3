#include "cpu/dispatch.hpp"

#include <atomic>
#include <cstdlib>

#include <unistd.h>

namespace ropewalk::cpu {
namespace {

struct Choice {
  const Target* target;
  const char* refused;  // the name that could not be followed, or nullptr
};

Choice choose() noexcept {
  const Target* best = nullptr;
  for (const Target& target : targets())
    if (best == nullptr && target.runs_here()) best = &target;
  const char* wanted = std::getenv("ROPEWALK_TARGET");
  if (wanted == nullptr || *wanted == '\0') return {best, nullptr};
  for (const Target& target : targets())
    if (target.name == wanted && target.runs_here()) return {&target, nullptr};
  return {best, wanted};
}

const Choice& choice() noexcept {
  static const Choice chosen = choose();
  return chosen;
}

std::atomic<const Target*> overriding{nullptr};

std::int64_t measured_cache() noexcept {
  constexpr std::int64_t kUsual = std::int64_t{32} << 20;
#ifdef _SC_LEVEL3_CACHE_SIZE
  const std::int64_t bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? bytes : kUsual;
#else
  return kUsual;
#endif
}

std::atomic<std::int64_t> overriding_cache{-1};

}  // namespace

const Target& active_target() noexcept {
  const Target* const forced = overriding.load(std::memory_order_acquire);
  return forced != nullptr ? *forced : *choice().target;
}

std::string target_error() {
  const char* const refused = choice().refused;
  if (refused == nullptr) return {};
  std::string names;
  for (const Target& target : targets()) {
    if (!target.runs_here()) continue;
    if (!names.empty()) names += ", ";
    names += target.name;
  }
  return "want one of " + names + " (those that run on this processor), got \"" + refused + '"';
}

void override_target(const Target* target) noexcept { overriding.store(target, std::memory_order_release); }

std::int64_t cache_bytes() noexcept {
  static const std::int64_t machine = measured_cache();
  const std::int64_t forced = overriding_cache.load(std::memory_order_relaxed);
  return forced >= 0 ? forced : machine;
}

void override_cache_bytes(std::int64_t bytes) noexcept { overriding_cache.store(bytes, std::memory_order_relaxed); }

}  // namespace ropewalk::cpu
