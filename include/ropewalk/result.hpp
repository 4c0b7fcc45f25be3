#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace ropewalk {

/// What kind of thing went wrong. The numbers never change their meaning.
enum class Code : std::uint8_t {
  kOk = 0,
  kInvalid = 1,      ///< an argument or a field has a value it may not have
  kUnsupported = 2,  ///< well formed, but this version does not know it
  kUnavailable = 3,  ///< known, but not in this build, on this machine, or at this path
  kFormat = 4,       ///< a file is not what it says it is: truncated, overlapping, malformed
};

/// Why something could not be made. Printed as `path: message`.
struct Error {
  Code code = Code::kOk;
  std::string path;     ///< where: "rope_scaling.factor", "gguf:llama.rope.freq_base", "q.shape[2]"
  std::string message;  ///< what was wanted and what came: "want a number >= 1, got 0.25"

  /// `path: message`, the one line a person reads.
  [[nodiscard]] std::string line() const { return path.empty() ? message : path + ": " + message; }
};

/// A value, or the reason why there is none. `operator*` and `operator->` need a value: test it first.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const noexcept { return value_.has_value(); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  const Error& error() const noexcept { return error_; }

 private:
  std::optional<T> value_;
  Error error_;
};

}  // namespace ropewalk
