#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace ropewalk::cli {

/// SHA-256, a stretch at a time.
class Sha256 {
 public:
  Sha256();
  void add(std::string_view bytes);
  /// 64 hexadecimal digits. Call once, at the end.
  std::string hex();

 private:
  std::shared_ptr<void> context_;  ///< OpenSSL's, which only sha256.cpp knows
};

std::string sha256_of(std::string_view bytes);

/// Of what a file holds. Refuses with the path if it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace ropewalk::cli
