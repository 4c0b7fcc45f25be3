#pragma once

#include <ropewalk/result.hpp>

#include <nanobind/nanobind.h>

#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace ropewalk::python {

/// An Error on its way to Python, where it is ropewalk.Error: a ValueError with `code` and `path`.
class Refused : public std::exception {
 public:
  explicit Refused(Error error) : error_(std::move(error)), line_(error_.line()) {}
  const char* what() const noexcept override { return line_.c_str(); }
  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
  std::string line_;
};

[[noreturn]] inline void refuse(std::string path, std::string message, Code code = Code::kInvalid) {
  throw Refused(Error{code, std::move(path), std::move(message)});
}

template <class T>
T value_or_refuse(Result<T> result) {
  if (!result) throw Refused(result.error());
  return *std::move(result);
}

inline void refuse_if(const std::optional<Error>& error) {
  if (error) throw Refused(*error);
}

void bind_errors(nanobind::module_& m);

}  // namespace ropewalk::python
