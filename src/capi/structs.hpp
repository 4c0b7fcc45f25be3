// Structs that grow: a caller's may be shorter than ours, or longer by zeros.
#pragma once

#include <ropewalk/ropewalk.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "capi/status.hpp"

namespace ropewalk::capi {

/// What the header's own INIT sets.
template <class T>
inline constexpr T kInitial{};
template <>
inline constexpr rw_linear kInitial<rw_linear> = RW_LINEAR_INIT;
template <>
inline constexpr rw_ntk kInitial<rw_ntk> = RW_NTK_INIT;
template <>
inline constexpr rw_dynamic_ntk kInitial<rw_dynamic_ntk> = RW_DYNAMIC_NTK_INIT;
template <>
inline constexpr rw_yarn kInitial<rw_yarn> = RW_YARN_INIT;
template <>
inline constexpr rw_longrope kInitial<rw_longrope> = RW_LONGROPE_INIT;
template <>
inline constexpr rw_llama3 kInitial<rw_llama3> = RW_LLAMA3_INIT;
template <>
inline constexpr rw_proportional kInitial<rw_proportional> = RW_PROPORTIONAL_INIT;
template <>
inline constexpr rw_divisors kInitial<rw_divisors> = RW_DIVISORS_INIT;
template <>
inline constexpr rw_given kInitial<rw_given> = RW_GIVEN_INIT;
template <>
inline constexpr rw_second_angle kInitial<rw_second_angle> = RW_SECOND_ANGLE_INIT;
template <>
inline constexpr rw_xpos kInitial<rw_xpos> = RW_XPOS_INIT;
template <>
inline constexpr rw_fourier_mix kInitial<rw_fourier_mix> = RW_FOURIER_MIX_INIT;
template <>
inline constexpr rw_query_temperature kInitial<rw_query_temperature> = RW_QUERY_TEMPERATURE_INIT;
template <>
inline constexpr rw_spec_fields kInitial<rw_spec_fields> = RW_SPEC_FIELDS_INIT;
template <>
inline constexpr rw_frequencies_fields kInitial<rw_frequencies_fields> = RW_FREQUENCIES_FIELDS_INIT;
template <>
inline constexpr rw_positions_view kInitial<rw_positions_view> = RW_POSITIONS_VIEW_INIT;
template <>
inline constexpr rw_coordinates_view kInitial<rw_coordinates_view> = RW_COORDINATES_VIEW_INIT;
template <>
inline constexpr rw_heads_view kInitial<rw_heads_view> = RW_HEADS_VIEW_INIT;
template <>
inline constexpr rw_operand kInitial<rw_operand> = RW_OPERAND_INIT;
template <>
inline constexpr rw_call kInitial<rw_call> = RW_CALL_INIT;
template <>
inline constexpr rw_cos_sin_table kInitial<rw_cos_sin_table> = RW_COS_SIN_TABLE_INIT;
template <>
inline constexpr rw_cache_view kInitial<rw_cache_view> = RW_CACHE_VIEW_INIT;
template <>
inline constexpr rw_head_norm kInitial<rw_head_norm> = RW_HEAD_NORM_INIT;
template <>
inline constexpr rw_append kInitial<rw_append> = RW_APPEND_INIT;
template <>
inline constexpr rw_read_options kInitial<rw_read_options> = RW_READ_OPTIONS_INIT;
template <>
inline constexpr rw_checkpoint_fields kInitial<rw_checkpoint_fields> = RW_CHECKPOINT_FIELDS_INIT;
template <>
inline constexpr rw_layer_kind kInitial<rw_layer_kind> = RW_LAYER_KIND_INIT;
template <>
inline constexpr rw_provenance kInitial<rw_provenance> = RW_PROVENANCE_INIT;
template <>
inline constexpr rw_hazard kInitial<rw_hazard> = RW_HAZARD_INIT;
template <>
inline constexpr rw_relayout kInitial<rw_relayout> = RW_RELAYOUT_INIT;
template <>
inline constexpr rw_sinusoidal_fields kInitial<rw_sinusoidal_fields> = RW_SINUSOIDAL_FIELDS_INIT;
template <>
inline constexpr rw_alibi kInitial<rw_alibi> = RW_ALIBI_INIT;
template <>
inline constexpr rw_t5 kInitial<rw_t5> = RW_T5_INIT;

/// Whether a caller's struct_size can be one: whole words, and nothing in what we do not know. `known` is our sizeof.
Failure check_struct(const void* given, std::size_t known, const Where& where);

inline std::size_t struct_size_of(const void* given) noexcept {
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  return size;
}

/// Reads a caller's struct.
template <class T>
Failure take_struct(const T* given, const Where& where, T& to) {
  static_assert(kInitial<T>.struct_size == sizeof(T));
  if (auto failure = want_address(given, where)) return failure;
  if (struct_size_of(given) == sizeof(T)) {  // of the same header, as nearly every call is
    to = *given;
    return std::nullopt;
  }
  if (auto failure = check_struct(given, sizeof(T), where)) return failure;
  to = kInitial<T>;
  std::memcpy(&to, given, std::min(struct_size_of(given), sizeof(T)));
  to.struct_size = sizeof(T);
  return std::nullopt;
}

/// Writes as much of `value` as a caller's struct has room for.
template <class T>
Failure give_struct(const T& value, T* to, const Where& where) {
  static_assert(kInitial<T>.struct_size == sizeof(T));
  if (auto failure = want_address(to, where)) return failure;
  if (auto failure = check_struct(to, sizeof(T), where)) return failure;
  const std::size_t size = struct_size_of(to);
  std::memcpy(static_cast<void*>(to), &value, std::min(size, sizeof(T)));
  to->struct_size = size;
  return std::nullopt;
}

}  // namespace ropewalk::capi
