#include "capi/status.hpp"

#include <algorithm>
#include <cstring>

namespace ropewalk::capi {

static_assert(static_cast<int>(Code::kOk) == RW_OK && static_cast<int>(Code::kInvalid) == RW_INVALID &&
              static_cast<int>(Code::kUnsupported) == RW_UNSUPPORTED &&
              static_cast<int>(Code::kUnavailable) == RW_UNAVAILABLE && static_cast<int>(Code::kFormat) == RW_FORMAT);

void write_line(std::string_view line, char* error, std::size_t error_size) noexcept {
  if (error == nullptr || error_size == 0) return;
  std::size_t size = std::min(line.size(), error_size - 1);
  // What is cut off must not begin with a continuation byte of UTF-8.
  if (size < line.size())
    while (size > 0 && (static_cast<unsigned char>(line[size]) & 0xC0) == 0x80) --size;
  if (size > 0) std::memcpy(error, line.data(), size);
  error[size] = '\0';
}

rw_status report_exception(char* error, std::size_t error_size) noexcept {
  constexpr std::string_view kNoMemory = "memory: want room for what the call makes, got none";
  try {
    throw;
  } catch (const std::bad_alloc&) {
    write_line(kNoMemory, error, error_size);
    return RW_NO_MEMORY;
  } catch (const std::length_error&) {  // a container larger than any memory
    write_line(kNoMemory, error, error_size);
    return RW_NO_MEMORY;
  } catch (const std::exception& exception) {
    write_line(exception.what(), error, error_size);
  } catch (...) {
    write_line("internal: want no exception, got one of unknown type", error, error_size);
  }
  return RW_INTERNAL;
}

}  // namespace ropewalk::capi

const char* rw_status_name(rw_status status) {
  switch (status) {
    case RW_OK: return "ok";
    case RW_INVALID: return "invalid";
    case RW_UNSUPPORTED: return "unsupported";
    case RW_UNAVAILABLE: return "unavailable";
    case RW_FORMAT: return "format";
    case RW_NO_MEMORY: return "no memory";
    case RW_INTERNAL: return "internal";
    default: return "?";
  }
}
