#include "cpu/dispatch.hpp"

#include <atomic>
#include <cstdlib>

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

// What a core has a claim on in most machines. A smaller last cache makes calls between the two sizes write into caches
// what those will not keep; a larger one makes calls write past caches that would have kept it.
constexpr std::int64_t kCacheBytes = std::int64_t{32} << 20;

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
  const std::int64_t forced = overriding_cache.load(std::memory_order_relaxed);
  return forced >= 0 ? forced : kCacheBytes;
}

void override_cache_bytes(std::int64_t bytes) noexcept { overriding_cache.store(bytes, std::memory_order_relaxed); }

}  // namespace ropewalk::cpu
