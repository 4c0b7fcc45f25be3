#pragma once

#include <ropewalk/result.hpp>

#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ropewalk::math {

/// The most numbers that one call writes: 8 TiB of them, which no machine is asked for.
constexpr std::int64_t kMostEntries = std::int64_t{1} << 40;

inline Error invalid(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}

inline std::optional<Error> at_least(std::int64_t least, std::int64_t got, std::string path) {
  if (got >= least) return std::nullopt;
  return invalid(std::move(path), "want a number >= " + std::to_string(least) + ", got " + std::to_string(got));
}

/// a * b, or kMostEntries + 1 if that is larger. a and b >= 0.
constexpr std::int64_t product(std::int64_t a, std::int64_t b) noexcept {
  if (a == 0 || b == 0) return 0;
  return a > kMostEntries / b ? kMostEntries + 1 : a * b;
}

/// a + b likewise.
constexpr std::int64_t sum(std::int64_t a, std::int64_t b) noexcept {
  return a > kMostEntries - b || b > kMostEntries ? kMostEntries + 1 : a + b;
}

/// `count` copies of `value`, or why not. count >= 0.
template <class T>
Result<std::vector<T>> filled(std::int64_t count, T value) {
  if (count <= kMostEntries) {
    try {
      return std::vector<T>(static_cast<std::size_t>(count), value);
    } catch (const std::bad_alloc&) {
    }
  }
  return invalid("tokens", "want positions that fit in memory, got too many");
}

}  // namespace ropewalk::math
