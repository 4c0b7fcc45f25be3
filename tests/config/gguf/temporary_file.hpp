#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

/// A folder in memory where there is one: rewriting a file that is still mapped takes milliseconds on a disk.
inline std::string scratch_folder() { return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : testing::TempDir(); }

/// A file with the given bytes, gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view bytes, const std::string& name = "file")
      : path_(scratch_folder() + "ropewalk_" + std::to_string(::getpid()) + "_" + name) {
    write(bytes);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::remove(path_.c_str()); }

  void write(std::string_view bytes) {
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};
