#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ropewalk {

/// How one scalar of an array is stored. Arithmetic is float32 or better whatever this says.
enum class DType : std::uint8_t {
  kFloat32 = 0,   ///< IEEE binary32
  kBFloat16 = 1,  ///< the upper half of a binary32
  kFloat16 = 2,   ///< IEEE binary16
};

constexpr std::size_t size_of(DType dtype) noexcept { return dtype == DType::kFloat32 ? 4 : 2; }

constexpr std::string_view name_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat32: return "float32";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat16: return "float16";
  }
  return "?";
}

/// How a row of a cache is stored; a row is the channels of one head of one token. kv_cache.hpp defines the bits.
/// The first three are those of DType, by number too.
enum class CacheFormat : std::uint8_t {
  kFloat32 = 0,
  kBFloat16 = 1,
  kFloat16 = 2,
  kFloat8E4M3 = 3,  ///< OCP E4M3: 1, 4 and 3 bits, largest 448, no infinity; a float scale a row, or none
  kInt8 = 4,        ///< -127 ... 127 and a float scale a row
  kInt4 = 5,        ///< -7 ... 7 and a float scale a row; two in a byte, the even channel in its lower half
};

constexpr CacheFormat cache_format_of(DType dtype) noexcept { return static_cast<CacheFormat>(dtype); }

/// Bytes of one row, its scale not counted.
constexpr std::int64_t row_bytes(CacheFormat format, std::int64_t head_dim) noexcept {
  switch (format) {
    case CacheFormat::kFloat32: return 4 * head_dim;
    case CacheFormat::kBFloat16:
    case CacheFormat::kFloat16: return 2 * head_dim;
    case CacheFormat::kFloat8E4M3:
    case CacheFormat::kInt8: return head_dim;
    case CacheFormat::kInt4: return (head_dim + 1) / 2;
  }
  return 0;
}

constexpr std::string_view name_of(CacheFormat format) noexcept {
  switch (format) {
    case CacheFormat::kFloat32: return "float32";
    case CacheFormat::kBFloat16: return "bfloat16";
    case CacheFormat::kFloat16: return "float16";
    case CacheFormat::kFloat8E4M3: return "float8_e4m3";
    case CacheFormat::kInt8: return "int8";
    case CacheFormat::kInt4: return "int4";
  }
  return "?";
}

}  // namespace ropewalk
