#pragma once

#include <ropewalk/result.hpp>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>

namespace ropewalk::runner {

/// All bytes of a regular file: a pipe or a device could keep the reader for ever.
/// Errors: kUnavailable with the system's reason.
inline Result<std::string> read_text_file(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status))
    return Error{Code::kUnavailable, path.string(), "want a file that can be read, got: " + error.message()};
  if (!std::filesystem::is_regular_file(status))
    return Error{Code::kUnavailable, path.string(), "want a regular file, got something else"};
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{Code::kUnavailable, path.string(),
                 std::string("want a file that can be read, got: ") + std::strerror(errno)};
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

}  // namespace ropewalk::runner
