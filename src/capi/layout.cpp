#include <ropewalk/layout.hpp>

#include <algorithm>
#include <cstddef>

#include "capi/lists.hpp"
#include "capi/structs.hpp"

using namespace ropewalk::capi;

namespace {

struct Relayout {
  ropewalk::PairLayout from{}, to{};
  ropewalk::HeadChannels head;

  Failure take(const rw_relayout* pointed) {
    constexpr Where kWhere{"relayout"};
    rw_relayout given;
    if (auto failure = take_struct(pointed, kWhere, given)) return failure;
    if (auto failure = take_enum(given.from, ropewalk::PairLayout::kHalf, kWhere, ".from", from)) return failure;
    if (auto failure = take_enum(given.to, ropewalk::PairLayout::kHalf, kWhere, ".to", to)) return failure;
    head = {given.head_dim, given.rotary_dim, given.rotary_offset};
    return want_reserved(given.reserved, kWhere);
  }
};

}  // namespace

rw_status rw_channel_order(const rw_relayout* relayout, int32_t* order, size_t order_count, char* error,
                           size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Relayout how;
    std::span<int32_t> room;
    if (auto failure = how.take(relayout)) return failure;
    const auto made = ropewalk::channel_order(how.from, how.to, how.head);
    if (!made) return made.error();
    if (auto failure = want_room(order, order_count, how.head.head_dim, "order", room)) return failure;
    std::copy(made->begin(), made->end(), room.begin());
    return std::nullopt;
  });
}

rw_status rw_permute_rows(const rw_relayout* relayout, int64_t heads, int64_t row_bytes, const void* from_rows,
                          size_t from_bytes, void* to_rows, size_t to_bytes, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    Relayout how;
    std::span<const std::byte> from;
    std::span<std::byte> to;
    if (auto failure = how.take(relayout)) return failure;
    if (auto failure = take_span(static_cast<const std::byte*>(from_rows), from_bytes, Where{"from_rows"}, "", from))
      return failure;
    if (auto failure = take_span(static_cast<std::byte*>(to_rows), to_bytes, Where{"to_rows"}, "", to)) return failure;
    return ropewalk::permute_rows(how.from, how.to, how.head, heads, row_bytes, from, to);
  });
}
