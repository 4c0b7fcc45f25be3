#include <ropewalk/kv_cache.hpp>

#include <algorithm>
#include <memory>
#include <utility>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/structs.hpp"
#include "capi/views.hpp"

using namespace ropewalk::capi;

namespace {

static_assert(static_cast<int>(ropewalk::NormPlace::kNone) == RW_NORM_NONE &&
              static_cast<int>(ropewalk::NormPlace::kBeforeRotation) == RW_NORM_BEFORE_ROTATION &&
              static_cast<int>(ropewalk::NormPlace::kAfterRotation) == RW_NORM_AFTER_ROTATION);

/// Null: none.
Failure take_norm(const rw_head_norm* pointed, const Where& where, ropewalk::HeadNorm& to) {
  if (pointed == nullptr) return std::nullopt;
  rw_head_norm given;
  if (auto failure = take_struct(pointed, where, given)) return failure;
  if (auto failure = take_enum(given.place, ropewalk::NormPlace::kAfterRotation, where, ".place", to.place))
    return failure;
  if (auto failure = take_flag(given.weight_plus_one, where, ".weight_plus_one", to.weight_plus_one)) return failure;
  if (auto failure = want_reserved(given.reserved, where)) return failure;
  to.epsilon = given.epsilon;
  to.weight = given.weight;
  to.weight_stride = given.weight_stride;
  return std::nullopt;
}

struct Append {
  ropewalk::CacheAppend append;
  ropewalk::PositionsView positions;

  Failure take(const rw_rotary* rotary, const rw_append* pointed, const rw_positions_view* where) {
    rw_append given;
    if (auto failure = want_address(rotary, Where{"rotary"})) return failure;
    if (auto failure = take_struct(pointed, Where{"append"}, given)) return failure;
    if (auto failure = take_heads(given.keys, Where{"keys"}, append.keys)) return failure;
    if (append.keys.heads != 0)
      if (auto failure = take_cache(given.key_cache, Where{"key_cache"}, append.key_cache)) return failure;
    if (given.values != nullptr) {
      if (auto failure = take_heads(given.values, Where{"values"}, append.values)) return failure;
      if (append.values.heads != 0)
        if (auto failure = take_cache(given.value_cache, Where{"value_cache"}, append.value_cache)) return failure;
    }
    if (given.queries != nullptr)
      if (auto failure = take_operand(given.queries, Where{"queries"}, append.queries)) return failure;
    if (auto failure = take_span(given.slots, given.slots_count, Where{"slots"}, "", append.slots)) return failure;
    if (auto failure = take_norm(given.query_norm, Where{"query_norm"}, append.query_norm)) return failure;
    if (auto failure = take_norm(given.key_norm, Where{"key_norm"}, append.key_norm)) return failure;
    return take_positions(where, Where{"positions"}, positions);
  }
};

/// Keys in a cache, and where they stand or by how much they move.
struct Cached {
  ropewalk::CacheView keys;
  std::span<const std::int64_t> slots;
  ropewalk::PositionsView positions;

  Failure take(const rw_cache_view* given, const std::int64_t* slot_list, std::size_t slots_count,
               const rw_positions_view* where, const char* name) {
    if (auto failure = take_cache(given, Where{"keys"}, keys)) return failure;
    if (auto failure = take_span(slot_list, slots_count, Where{"slots"}, "", slots)) return failure;
    return take_positions(where, Where{name}, positions);
  }
};

Failure want_direction(const Call& call, ropewalk::Direction other) {
  if (call.call.direction == ropewalk::Direction::kForward || call.call.direction == other) return std::nullopt;
  return refused("call.direction", "want " + std::to_string(RW_FORWARD) +
                                       (other == ropewalk::Direction::kShift ? " or " + std::to_string(RW_SHIFT) : "") +
                                       ", got " + std::to_string(static_cast<int>(call.call.direction)));
}

}  // namespace

int64_t rw_cache_row_bytes(rw_cache_format format, int64_t head_dim) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (format < RW_CACHE_FLOAT32 || format > RW_CACHE_INT4 || head_dim < 1 || head_dim > kMost) return 0;
  return ropewalk::row_bytes(static_cast<ropewalk::CacheFormat>(format), head_dim);
}

rw_status rw_slots_of_pages(const int64_t* block_table, size_t block_count, int64_t page_tokens, int64_t first,
                            int64_t tokens, int64_t* slots, size_t slots_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<const int64_t> blocks;
    std::span<int64_t> room;
    if (auto failure = take_span(block_table, block_count, Where{"block_table"}, "", blocks)) return failure;
    if (auto failure = want_room(slots, slots_count, tokens, "slots", room)) return failure;
    const auto made = ropewalk::slots_of_pages(blocks, page_tokens, first, tokens);
    if (!made) return made.error();
    std::copy(made->begin(), made->end(), room.begin());
    return std::nullopt;
  });
}

rw_status rw_cache_check_append(const rw_rotary* rotary, const rw_append* append, const rw_positions_view* positions,
                                char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Append made;
    if (auto failure = made.take(rotary, append, positions)) return failure;
    return ropewalk::check_append(rotary->rotary, made.append, made.positions);
  });
}

rw_status rw_cache_append(const rw_rotary* rotary, const rw_append* append, const rw_positions_view* positions,
                          const rw_call* call, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Append made;
    Call how;
    if (auto failure = made.take(rotary, append, positions)) return failure;
    if (auto failure = how.take(call)) return failure;
    if (!how.checked)
      if (auto failure = ropewalk::check_append(rotary->rotary, made.append, made.positions)) return failure;
    ropewalk::append(rotary->rotary, made.append, made.positions, how.call);
    return std::nullopt;
  });
}

rw_status rw_cache_check_shift(const rw_rotary* rotary, const rw_cache_view* keys, const int64_t* slots,
                               size_t slots_count, const rw_positions_view* deltas, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Cached cached;
    if (auto failure = want_address(rotary, Where{"rotary"})) return failure;
    if (auto failure = cached.take(keys, slots, slots_count, deltas, "deltas")) return failure;
    return ropewalk::check_shift(rotary->rotary, cached.keys, cached.slots, cached.positions);
  });
}

rw_status rw_cache_shift(const rw_rotary* rotary, const rw_cache_view* keys, const int64_t* slots, size_t slots_count,
                         const rw_positions_view* deltas, const rw_call* call, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Cached cached;
    Call how;
    if (auto failure = want_address(rotary, Where{"rotary"})) return failure;
    if (auto failure = cached.take(keys, slots, slots_count, deltas, "deltas")) return failure;
    if (auto failure = how.take(call)) return failure;
    if (auto failure = want_direction(how, ropewalk::Direction::kShift)) return failure;
    if (!how.checked)
      if (auto failure = ropewalk::check_shift(rotary->rotary, cached.keys, cached.slots, cached.positions))
        return failure;
    ropewalk::shift(rotary->rotary, cached.keys, cached.slots, cached.positions, how.call);
    return std::nullopt;
  });
}

rw_status rw_rerotation_create(const rw_spec* from, int64_t from_running_length, const rw_spec* to,
                               int64_t to_running_length, rw_rerotation** rerotation_out, char* error,
                               size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_place(rerotation_out, Where{"rerotation_out"})) return failure;
    if (auto failure = want_address(from, Where{"from"})) return failure;
    if (auto failure = want_address(to, Where{"to"})) return failure;
    auto made = ropewalk::Rerotation::make(from->spec, from_running_length, to->spec, to_running_length);
    if (!made) return made.error();
    *rerotation_out = new rw_rerotation{*std::move(made)};
    return std::nullopt;
  });
}

void rw_rerotation_destroy(rw_rerotation* rerotation) { delete rerotation; }

double rw_rerotation_gain(const rw_rerotation* rerotation) {
  return rerotation == nullptr ? 0.0 : rerotation->rerotation.gain();
}

rw_status rw_rerotation_check(const rw_rerotation* rerotation, const rw_cache_view* keys, const int64_t* slots,
                              size_t slots_count, const rw_positions_view* positions, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Cached cached;
    if (auto failure = want_address(rerotation, Where{"rerotation"})) return failure;
    if (auto failure = cached.take(keys, slots, slots_count, positions, "positions")) return failure;
    return rerotation->rerotation.check(cached.keys, cached.slots, cached.positions);
  });
}

rw_status rw_rerotation_apply(const rw_rerotation* rerotation, const rw_cache_view* keys, const int64_t* slots,
                              size_t slots_count, const rw_positions_view* positions, const rw_call* call, char* error,
                              size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Cached cached;
    Call how;
    if (auto failure = want_address(rerotation, Where{"rerotation"})) return failure;
    if (auto failure = cached.take(keys, slots, slots_count, positions, "positions")) return failure;
    if (auto failure = how.take(call)) return failure;
    if (auto failure = want_direction(how, ropewalk::Direction::kForward)) return failure;
    if (!how.checked)
      if (auto failure = rerotation->rerotation.check(cached.keys, cached.slots, cached.positions)) return failure;
    rerotation->rerotation.apply(cached.keys, cached.slots, cached.positions, how.call);
    return std::nullopt;
  });
}

rw_status rw_rerotation_check_heads(const rw_rerotation* rerotation, const rw_heads_view* keys,
                                    const rw_positions_view* positions, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::HeadsView heads;
    ropewalk::PositionsView where;
    if (auto failure = want_address(rerotation, Where{"rerotation"})) return failure;
    if (auto failure = take_heads(keys, Where{"keys"}, heads)) return failure;
    if (auto failure = take_positions(positions, Where{"positions"}, where)) return failure;
    return rerotation->rerotation.check(heads, where);
  });
}

rw_status rw_rerotation_apply_heads(const rw_rerotation* rerotation, const rw_heads_view* keys,
                                    const rw_positions_view* positions, const rw_call* call, char* error,
                                    size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::HeadsView heads;
    ropewalk::PositionsView where;
    Call how;
    if (auto failure = want_address(rerotation, Where{"rerotation"})) return failure;
    if (auto failure = take_heads(keys, Where{"keys"}, heads)) return failure;
    if (auto failure = take_positions(positions, Where{"positions"}, where)) return failure;
    if (auto failure = how.take(call)) return failure;
    if (auto failure = want_direction(how, ropewalk::Direction::kForward)) return failure;
    if (!how.checked)
      if (auto failure = rerotation->rerotation.check(heads, where)) return failure;
    rerotation->rerotation.apply(heads, where, how.call);
    return std::nullopt;
  });
}
