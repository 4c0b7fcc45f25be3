#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace ropewalk::cli {

/// SHA-256 (FIPS 180-4), a stretch at a time.
class Sha256 {
 public:
  void add(std::string_view bytes);
  /// 64 hexadecimal digits. Call once, at the end.
  std::string hex();

 private:
  void block(const unsigned char* bytes);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::string pending_;
  std::uint64_t bytes_ = 0;
};

std::string sha256_of(std::string_view bytes);

/// Of what a file holds. Refuses with the path if it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace ropewalk::cli
