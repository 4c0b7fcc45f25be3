#pragma once

#include <ropewalk/result.hpp>

#include <cstddef>
#include <span>
#include <string>

namespace ropewalk::config {

/// A regular file mapped read-only for as long as the object lives. Like every mapping it trusts the file not to shrink
/// meanwhile: the system ends a process that reads a page which is no longer there.
class MappedFile {
 public:
  /// Errors (all kUnavailable, path: the file's): it cannot be opened or mapped (with the system's reason), it is
  /// empty, or it is not a regular file. A FIFO does not block.
  static Result<MappedFile> open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ropewalk::config
