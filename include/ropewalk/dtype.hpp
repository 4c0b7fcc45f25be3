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

}  // namespace ropewalk
