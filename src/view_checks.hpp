// What the operators say about views that do not fit.
#pragma once

#include <ropewalk/dtype.hpp>
#include <ropewalk/result.hpp>
#include <ropewalk/tensor.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace ropewalk {

/// Where something lies in a call: "operands[1].in.batch". Put together only when something is wrong there, for a call
/// at decoding takes less time than its strings would.
class Path {
 public:
  Path(const char* name) noexcept : parts_{name} {}
  Path(const char* name, std::size_t index) noexcept : parts_{name}, index_(static_cast<std::int64_t>(index)) {}

  Path operator+(const char* part) const noexcept {
    Path longer = *this;
    std::size_t end = 1;
    while (end < parts_.size() && parts_[end] != nullptr) ++end;
    longer.parts_[end] = part;
    return longer;
  }
  std::string text() const {
    std::string out = parts_[0];
    if (index_ >= 0) out += '[' + std::to_string(index_) + ']';
    for (std::size_t i = 1; i < parts_.size() && parts_[i] != nullptr; ++i) out += parts_[i];
    return out;
  }

 private:
  std::array<const char*, 4> parts_{};  // a name and what is said behind it, as far as any check goes
  std::int64_t index_ = -1;
};

inline std::optional<Error> invalid(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}
inline std::optional<Error> invalid(const Path& path, std::string message) {
  return invalid(path.text(), std::move(message));
}
inline std::optional<Error> invalid(const char* path, std::string message) {
  return invalid(std::string(path), std::move(message));
}

inline std::optional<Error> want(const Path& path, std::int64_t wanted, std::int64_t got) {
  if (wanted == got) return std::nullopt;
  return invalid(path, "want " + std::to_string(wanted) + ", got " + std::to_string(got));
}

inline std::optional<Error> want_at_least(const Path& path, std::int64_t least, std::int64_t got) {
  if (got >= least) return std::nullopt;
  return invalid(path, "want at least " + std::to_string(least) + ", got " + std::to_string(got));
}

/// Far above any memory, far below where counting tiles could overflow.
inline constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

inline bool has_elements(const HeadsView& x) { return x.batch > 0 && x.tokens > 0 && x.heads > 0; }

inline std::optional<Error> check_dtype(const Path& path, DType dtype) {
  if (static_cast<unsigned>(dtype) <= static_cast<unsigned>(DType::kFloat16)) return std::nullopt;
  return invalid(path + ".dtype",
                 "want float32, bfloat16 or float16, got number " + std::to_string(static_cast<int>(dtype)));
}

/// Of a view of heads or of embeddings that has elements: how many rows and where they lie.
template <class View>
std::optional<Error> check_storage(const Path& path, const View& x) {
  if (x.batch > kMostTokens / x.tokens)
    return invalid(path + ".tokens", "want at most 2^40 in all rows, got " + std::to_string(x.tokens) + " in each of " +
                                         std::to_string(x.batch));
  if (x.data == nullptr) return invalid(path + ".data", "want an address, got null");
  if (reinterpret_cast<std::uintptr_t>(x.data) % size_of(x.dtype) != 0)
    return invalid(path + ".data", "want an address that " + std::to_string(size_of(x.dtype)) + " divides, as a " +
                                       std::string(name_of(x.dtype)) + " needs");
  return std::nullopt;
}

inline std::optional<Error> check_view(const Path& path, const HeadsView& x, int head_dim) {
  if (auto error = check_dtype(path, x.dtype)) return error;
  if (auto error = want(path + ".head_dim", head_dim, x.head_dim)) return error;
  if (auto error = want_at_least(path + ".batch", 0, x.batch)) return error;
  if (auto error = want_at_least(path + ".tokens", 0, x.tokens)) return error;
  if (auto error = want_at_least(path + ".heads", 0, x.heads)) return error;
  if (!has_elements(x)) return std::nullopt;
  return check_storage(path, x);
}

/// Elements of a written view must be apart from each other; only the plain mistake, a repeated axis, is found.
inline std::optional<Error> check_written(const Path& path, const HeadsView& x) {
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
