// What the operators say about views that do not fit.
#pragma once

#include <ropewalk/dtype.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/tensor.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace ropewalk {

inline std::optional<Error> invalid(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}

inline std::optional<Error> want(const std::string& path, std::int64_t wanted, std::int64_t got) {
  if (wanted == got) return std::nullopt;
  return invalid(path, "want " + std::to_string(wanted) + ", got " + std::to_string(got));
}

inline std::optional<Error> want_at_least(const std::string& path, std::int64_t least, std::int64_t got) {
  if (got >= least) return std::nullopt;
  return invalid(path, "want at least " + std::to_string(least) + ", got " + std::to_string(got));
}

/// Far above any memory, far below where counting tiles could overflow.
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

inline bool has_elements(const HeadsView& x) { return x.batch > 0 && x.tokens > 0 && x.heads > 0; }

inline std::optional<Error> check_view(const std::string& path, const HeadsView& x, int head_dim) {
  if (static_cast<unsigned>(x.dtype) > static_cast<unsigned>(DType::kFloat16))
    return invalid(path + ".dtype",
                   "want float32, bfloat16 or float16, got number " + std::to_string(static_cast<int>(x.dtype)));
  if (auto error = want(path + ".head_dim", head_dim, x.head_dim)) return error;
  if (auto error = want_at_least(path + ".batch", 0, x.batch)) return error;
  if (auto error = want_at_least(path + ".tokens", 0, x.tokens)) return error;
  if (auto error = want_at_least(path + ".heads", 0, x.heads)) return error;
  if (!has_elements(x)) return std::nullopt;
  if (x.batch > kMostTokens / x.tokens)
    return invalid(path + ".tokens", "want at most 2^40 in all rows, got " + std::to_string(x.tokens) + " in each of " +
                                         std::to_string(x.batch));
  if (x.data == nullptr) return invalid(path + ".data", "want an address, got null");
  if (reinterpret_cast<std::uintptr_t>(x.data) % size_of(x.dtype) != 0)
    return invalid(path + ".data", "want an address that " + std::to_string(size_of(x.dtype)) + " divides, as a " +
                                       std::string(name_of(x.dtype)) + " needs");
  return std::nullopt;
}

/// Elements of a written view must be apart from each other; only the plain mistake, a repeated axis, is found.
inline std::optional<Error> check_written(const std::string& path, const HeadsView& x) {
  const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> axes[] = {
      {".batch_stride", {x.batch, x.batch_stride}},
      {".token_stride", {x.tokens, x.token_stride}},
      {".head_stride", {x.heads, x.head_stride}}};
  for (const auto& [name, axis] : axes)
    if (axis.first > 1 && axis.second == 0)
      return invalid(path + name, "want a stride other than 0 on an axis of " + std::to_string(axis.first) +
                                      " that is written, got 0");
  return std::nullopt;
}

}  // namespace ropewalk
