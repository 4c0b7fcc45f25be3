#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

namespace ropewalk::runner {

/// "1.5 GiB", "300 MiB".
std::string shown_bytes(std::int64_t bytes);

/// Scalars on a 64-byte boundary, not initialised: pages that are never touched cost nothing.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  /// Throws std::bad_alloc.
  explicit Buffer(std::int64_t size) : size_(size) {
    const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(T) + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes > 0 ? bytes : 64)));
    if (!data_) throw std::bad_alloc();
  }
  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  std::int64_t size() const noexcept { return size_; }

 private:
  struct Free {
    void operator()(T* at) const noexcept { std::free(at); }
  };
  std::unique_ptr<T, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace ropewalk::runner
