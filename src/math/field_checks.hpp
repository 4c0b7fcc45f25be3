// What options of encodings may hold, field by field, and axes of positions.
#pragma once

#include <ropewalk/bias.hpp>
#include <ropewalk/result.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "math/text.hpp"

namespace ropewalk::math {

/// Looks at one field after the other and keeps the first that is wrong.
class Checks {
 public:
  explicit Checks(std::string_view kind) : kind_(kind) {}

  Checks& whole(const char* field, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value < least || value > most)
      refuse(field, "want a number in [" + std::to_string(least) + ", " + std::to_string(most) + "], got " +
                        std::to_string(value));
    return *this;
  }
  Checks& that(const char* field, bool holds, const char* wanted, double got) {
    if (!holds || !std::isfinite(got)) refuse(field, std::string("want ") + wanted + ", got " + math::shown(got));
    return *this;
  }
  template <class T>
  Checks& numbers(const char* field, const std::vector<T>& values, std::int64_t wanted) {
    const std::string name = field;
    if (static_cast<std::int64_t>(values.size()) != wanted)
      refuse(name + ".size", "want " + std::to_string(wanted) + ", got " + std::to_string(values.size()));
    for (std::size_t i = 0; i < values.size() && !error_; ++i)
      if (!std::isfinite(values[i]))
        refuse(name + '[' + std::to_string(i) + ']',
               "want a finite number, got " + math::shown(static_cast<double>(values[i])));
    return *this;
  }
  void take(const Error& error) {
    if (!error_) error_ = Error{error.code, std::string(kind_) + '.' + error.path, error.message};
  }
  std::optional<Error> first() && { return std::move(error_); }
  bool passed() const { return !error_; }

 private:
  void refuse(const std::string& field, std::string message) { take(Error{Code::kInvalid, field, std::move(message)}); }
  std::string_view kind_;
  std::optional<Error> error_;
};

inline std::optional<Error> check_axis(const char* name, const BiasAxis& axis) {
  const auto invalid = [&](const char* what, std::string message) {
    return std::optional<Error>(Error{Code::kInvalid, std::string(name) + what, std::move(message)});
  };
  if (axis.count < 0 || axis.count > (std::int64_t{1} << 40))
    return invalid(".count", "want a number in [0, 2^40], got " + std::to_string(axis.count));
  if (axis.data == nullptr && axis.count > 0 &&
      axis.first > std::numeric_limits<std::int64_t>::max() - (axis.count - 1))
    return invalid(".first", "want " + std::to_string(axis.count) + " positions within int64, got the first at " +
                                 std::to_string(axis.first));
  return std::nullopt;
}

}  // namespace ropewalk::math
