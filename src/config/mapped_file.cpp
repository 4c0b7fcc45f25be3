#include "config/mapped_file.hpp"

#include "config/printable.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

namespace ropewalk::config {
namespace {

Error unavailable(const std::string& path, const std::string& got) {
  return {Code::kUnavailable, printable(path, 512), "want a file that can be read, got " + got};
}

std::string reason(int error) {
  std::string text = "\"";
  text += std::generic_category().message(error);
  return text += '"';
}

class Descriptor {
 public:
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const noexcept { return number_; }

 private:
  int number_;
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  // A path with a zero byte would be cut there by the system, and another file opened.
  if (path.empty() || path.find('\0') != std::string::npos) return unavailable(path, "a path that names no file");
  // O_NONBLOCK: opening a FIFO that nobody writes would wait for ever.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number() < 0) return unavailable(path, reason(errno));

  struct stat status {};
  if (::fstat(file.number(), &status) != 0) return unavailable(path, reason(errno));
  if (S_ISDIR(status.st_mode)) return unavailable(path, "a folder");
  if (!S_ISREG(status.st_mode)) return unavailable(path, "something that is not a regular file");
  if (status.st_size == 0) return unavailable(path, "an empty file");

  if (static_cast<std::uintmax_t>(status.st_size) > PTRDIFF_MAX) return unavailable(path, "more than fits in memory");
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (data == MAP_FAILED) return unavailable(path, reason(errno));
  return MappedFile(static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace ropewalk::config
