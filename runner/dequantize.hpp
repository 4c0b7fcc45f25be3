#pragma once

#include <ropewalk/gguf.hpp>

#include <cstddef>
#include <cstdint>

namespace ropewalk::runner {

/// IEEE binary16 to binary32, exact.
float float_from_half(std::uint16_t bits) noexcept;
/// The upper half of a binary32.
float float_from_bfloat16(std::uint16_t bits) noexcept;
/// Rounded to nearest, ties to even; a NaN stays one.
std::uint16_t bfloat16_from_float(float value) noexcept;

/// True for F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K.
bool can_dequantize(GgufType type) noexcept;

/// Writes `values` floats. `from` has values / block_of(type).values whole blocks; can_dequantize(type) holds.
/// Each value is scale * integer (+ minimum) in float32, the products rounded once each.
void dequantize(GgufType type, const std::byte* from, std::int64_t values, float* out) noexcept;

}  // namespace ropewalk::runner
