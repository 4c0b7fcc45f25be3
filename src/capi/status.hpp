// The border: what leaves a call is a status and a line of text, never an exception.
#pragma once

#include <ropewalk/ropewalk.h>
#include <ropewalk/result.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace ropewalk::capi {

using Failure = std::optional<Error>;

/// Where something stands: "operands[1].in". Text is made of it only when there is an error to report.
struct Where {
  const char* name;
  std::int64_t index = -1;
  const char* field = "";

  std::string operator+(const char* suffix) const {
    std::string text = name;
    if (index >= 0) text += '[' + std::to_string(index) + ']';
    return (text += field) += suffix;
  }
};

inline Failure refused(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}

inline Failure want_address(const void* given, const Where& where) {
  if (given != nullptr) return std::nullopt;
  return refused(where + "", "want an address, got null");
}

/// A place for a new handle, which is null until there is one.
template <class Handle>
Failure want_place(Handle** place, const Where& where) {
  if (auto failure = want_address(place, where)) return failure;
  *place = nullptr;
  return std::nullopt;
}

template <class Enum>
Failure take_enum(std::int32_t number, Enum last, const Where& where, const char* field, Enum& to) {
  if (number < 0 || number > static_cast<std::int32_t>(last))
    return refused(where + field, "want a number from 0 to " + std::to_string(static_cast<int>(last)) + ", got " +
                                      std::to_string(number));
  to = static_cast<Enum>(number);
  return std::nullopt;
}

inline Failure take_flag(std::int32_t number, const Where& where, const char* field, bool& to) {
  if (number != 0 && number != 1) return refused(where + field, "want 0 or 1, got " + std::to_string(number));
  to = number == 1;
  return std::nullopt;
}

inline Failure want_reserved(std::int32_t number, const Where& where) {
  if (number == 0) return std::nullopt;
  return refused(where + ".reserved", "want 0, got " + std::to_string(number));
}

/// Writes a line into a caller's buffer, cut to fit.
void write_line(std::string_view line, char* error, std::size_t error_size) noexcept;

/// What an exception that is being handled says; in a catch clause only.
rw_status report_exception(char* error, std::size_t error_size) noexcept;

/// Runs a body that returns a Failure.
template <class Body>
rw_status guarded(char* error, std::size_t error_size, Body&& body) noexcept {
  try {
    if (const Failure failure = body()) {
      write_line(failure->line(), error, error_size);
      return static_cast<rw_status>(failure->code);
    }
  } catch (...) {
    return report_exception(error, error_size);
  }
  write_line({}, error, error_size);
  return RW_OK;
}

}  // namespace ropewalk::capi
