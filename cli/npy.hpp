#pragma once

#include "cli/output.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

/// What a .npy file may hold here: numpy's own names, little endian.
enum class NpyType : std::uint8_t { kFloat16, kFloat32, kFloat64, kUint16, kInt32, kInt64, kUint64 };

std::string_view name_of(NpyType type) noexcept;  ///< "float16", ...
std::size_t size_of(NpyType type) noexcept;

/// An array, contiguous, slowest axis first.
struct NpyArray {
  NpyType type = NpyType::kFloat32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};

/// "[2, 5, 9, 64]".
std::string shown_shape(const std::vector<std::int64_t>& shape);

/// Reads a .npy file, versions 1 to 3. Nothing in it is trusted: header and shape are held against the file's size
/// before anything is allocated. Refuses (with the file's name as the path) a missing or truncated file, bytes left
/// over, Fortran order, big endian, types that are not listed above, and an array that does not fit in memory.
NpyArray read_npy(const std::string& path);

/// The numbers of a float64 array that was read from `path`. Refuses those that are not finite.
std::vector<double> coordinates_of(const NpyArray& array, const std::string& path);

/// The header that stands before the numbers.
std::string npy_header(NpyType type, const std::vector<std::int64_t>& shape);

/// Header and numbers.
void write_npy(Output& out, const NpyArray& array);

}  // namespace ropewalk::cli
