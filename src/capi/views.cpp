#include "capi/views.hpp"

#include <cstdint>
#include <cstring>
#include <string>

#include "capi/structs.hpp"

namespace ropewalk::capi {
namespace {

static_assert(static_cast<int>(DType::kFloat32) == RW_FLOAT32 && static_cast<int>(DType::kBFloat16) == RW_BFLOAT16 &&
              static_cast<int>(DType::kFloat16) == RW_FLOAT16);
static_assert(static_cast<int>(CacheFormat::kFloat32) == RW_CACHE_FLOAT32 &&
              static_cast<int>(CacheFormat::kBFloat16) == RW_CACHE_BFLOAT16 &&
              static_cast<int>(CacheFormat::kFloat16) == RW_CACHE_FLOAT16 &&
              static_cast<int>(CacheFormat::kFloat8E4M3) == RW_CACHE_FLOAT8_E4M3 &&
              static_cast<int>(CacheFormat::kInt8) == RW_CACHE_INT8 &&
              static_cast<int>(CacheFormat::kInt4) == RW_CACHE_INT4);
static_assert(static_cast<int>(Role::kUnset) == RW_ROLE_UNSET && static_cast<int>(Role::kQuery) == RW_ROLE_QUERY &&
              static_cast<int>(Role::kKey) == RW_ROLE_KEY);
static_assert(static_cast<int>(Direction::kForward) == RW_FORWARD &&
              static_cast<int>(Direction::kInverse) == RW_INVERSE &&
              static_cast<int>(Direction::kTranspose) == RW_TRANSPOSE &&
              static_cast<int>(Direction::kShift) == RW_SHIFT);

Failure want_words(const void* data, const Where& where) {
  if (reinterpret_cast<std::uintptr_t>(data) % 8 == 0) return std::nullopt;
  return refused(where + ".data", "want an address that 8 divides");
}

template <class Given, class View>
Failure take_stream(const Given* pointed, const Where& where, View& to) {
  Given given;
  if (auto failure = take_struct(pointed, where, given)) return failure;
  if (auto failure = want_reserved(given.reserved, where)) return failure;
  if (auto failure = want_words(given.data, where)) return failure;
  to = {given.data, given.axes, given.batch, given.tokens, given.axis_stride, given.batch_stride, given.token_stride};
  return std::nullopt;
}

}  // namespace

Failure take_heads(const rw_heads_view* pointed, const Where& where, HeadsView& to) {
  rw_heads_view given;
  if (auto failure = take_struct(pointed, where, given)) return failure;
  DType dtype = DType::kFloat32;
  if (auto failure = take_enum(given.dtype, DType::kFloat16, where, ".dtype", dtype)) return failure;
  if (auto failure = want_reserved(given.reserved, where)) return failure;
  to = {given.data,       dtype,          given.batch,        given.tokens,
        given.heads,      given.head_dim, given.batch_stride, given.token_stride,
        given.head_stride};
  return std::nullopt;
}

Failure take_positions(const rw_positions_view* given, const Where& where, PositionsView& to) {
  return take_stream(given, where, to);
}

Failure take_coordinates(const rw_coordinates_view* given, const Where& where, CoordinatesView& to) {
  return take_stream(given, where, to);
}

Failure take_cache(const rw_cache_view* pointed, const Where& where, CacheView& to) {
  rw_cache_view given;
  if (auto failure = take_struct(pointed, where, given)) return failure;
  CacheFormat format = CacheFormat::kFloat32;
  if (auto failure = take_enum(given.format, CacheFormat::kInt4, where, ".format", format)) return failure;
  if (auto failure = want_reserved(given.reserved, where)) return failure;
  to = {given.data,
        format,
        given.pages,
        given.page_tokens,
        given.heads,
        given.head_dim,
        given.page_stride,
        given.token_stride,
        given.head_stride,
        given.scales,
        given.scale_page_stride,
        given.scale_token_stride,
        given.scale_head_stride};
  return std::nullopt;
}

Failure take_table(const rw_cos_sin_table* pointed, const Where& where, CosSinTable& to) {
  rw_cos_sin_table given;
  if (auto failure = take_struct(pointed, where, given)) return failure;
  for (const float* list : {given.cos, given.sin})
    if (reinterpret_cast<std::uintptr_t>(list) % alignof(float) != 0)
      return refused(where + (list == given.cos ? ".cos" : ".sin"), "want an address that 4 divides");
  to = {given.cos, given.sin, given.rows, given.row_stride};
  return std::nullopt;
}

Failure take_operand(const rw_operand* pointed, const Where& where, RotaryOperand& to) {
  rw_operand given;
  if (auto failure = take_struct(pointed, where, given)) return failure;
  if (auto failure = take_heads(given.in, Where{where.name, where.index, ".in"}, to.in)) return failure;
  to.out = to.in;
  if (given.out != nullptr)
    if (auto failure = take_heads(given.out, Where{where.name, where.index, ".out"}, to.out)) return failure;
  if (auto failure = take_enum(given.role, Role::kKey, where, ".role", to.role)) return failure;
  return want_reserved(given.reserved, where);
}

Failure Operands::take(const rw_operand* given, std::size_t count) {
  constexpr std::size_t kMost = 4096;
  if (count == 0) return std::nullopt;
  if (count > kMost)
    return refused("operand_count", "want at most " + std::to_string(kMost) + ", got " + std::to_string(count));
  if (auto failure = want_address(given, Where{"operands"})) return failure;
  list_ = few_;
  if (count > few_.size()) {
    many_.resize(count);
    list_ = many_;
  }
  list_ = list_.first(count);
  // The first one says how far apart they are, which is its own size in the caller's program.
  const std::size_t stride = struct_size_of(given);
  for (std::size_t i = 0; i < count; ++i) {
    const Where where{"operands", static_cast<std::int64_t>(i)};
    const auto* one = reinterpret_cast<const rw_operand*>(reinterpret_cast<const char*>(given) + i * stride);
    if (i == 0) {
      if (auto failure = check_struct(one, sizeof(rw_operand), where)) return failure;
    } else if (struct_size_of(one) != stride) {
      return refused(where + ".struct_size",
                     "want " + std::to_string(stride) + " as the first, got " + std::to_string(struct_size_of(one)));
    }
    if (auto failure = take_operand(one, where, list_[i])) return failure;
  }
  return std::nullopt;
}

Failure Call::take(const rw_call* pointed) {
  constexpr Where kWhere{"call"};
  if (pointed == nullptr) return std::nullopt;
  rw_call given;
  if (auto failure = take_struct(pointed, kWhere, given)) return failure;
  if (auto failure = take_enum(given.direction, Direction::kShift, kWhere, ".direction", call.direction))
    return failure;
  if (given.threads < 0) return refused("call.threads", "want a number >= 0, got " + std::to_string(given.threads));
  if (auto failure = take_flag(given.checked, kWhere, ".checked", checked)) return failure;
  if (auto failure = want_reserved(given.reserved, kWhere)) return failure;
  call.threads = given.threads;
  if (given.run == nullptr) return std::nullopt;
  pool_ = {given.run, given.pool};
  call.pool = &pool_;
  return std::nullopt;
}

}  // namespace ropewalk::capi
