#include <ropewalk/rotary.hpp>
#include <ropewalk/table.hpp>

#include <memory>
#include <utility>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"

using namespace ropewalk::capi;

namespace {

using Rotary = ropewalk::Rotary;

/// Positions or coordinates: what the two have in common.
template <class Given, class View>
struct Turn {
  Operands operands;
  View where;

  Failure take(const rw_rotary* rotary, const rw_operand* given, std::size_t count, const Given* positions,
               Failure (*take_view)(const Given*, const Where&, View&), const char* name) {
    if (auto failure = want_address(rotary, Where{"rotary"})) return failure;
    if (auto failure = operands.take(given, count)) return failure;
    return take_view(positions, Where{name}, where);
  }
};

struct TurnAtPositions : Turn<rw_positions_view, ropewalk::PositionsView> {
  Failure take(const rw_rotary* rotary, const rw_operand* given, std::size_t count,
               const rw_positions_view* positions) {
    return Turn::take(rotary, given, count, positions, take_positions, "positions");
  }
};

struct TurnAtCoordinates : Turn<rw_coordinates_view, ropewalk::CoordinatesView> {
  Failure take(const rw_rotary* rotary, const rw_operand* given, std::size_t count,
               const rw_coordinates_view* coordinates) {
    return Turn::take(rotary, given, count, coordinates, take_coordinates, "positions");
  }
};

template <class OfTurn, class Given>
Failure check_turn(const rw_rotary* rotary, const rw_operand* operands, std::size_t count, const Given* positions) {
  OfTurn turn;
  if (auto failure = turn.take(rotary, operands, count, positions)) return failure;
  return rotary->rotary.check(turn.operands.list(), turn.where);
}

template <class OfTurn, class Given>
Failure apply_turn(const rw_rotary* rotary, const rw_operand* operands, std::size_t count, const Given* positions,
                   const rw_call* given) {
  OfTurn turn;
  Call call;
  if (auto failure = turn.take(rotary, operands, count, positions)) return failure;
  if (auto failure = call.take(given)) return failure;
  if (!call.checked)
    if (auto failure = rotary->rotary.check(turn.operands.list(), turn.where)) return failure;
  rotary->rotary.apply(turn.operands.list(), turn.where, call.call);
  return std::nullopt;
}

}  // namespace

rw_status rw_rotary_create(const rw_spec* spec, int64_t running_length, rw_rotary** rotary_out, char* error,
                           size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_place(rotary_out, Where{"rotary_out"})) return failure;
    if (auto failure = want_address(spec, Where{"spec"})) return failure;
    auto made = Rotary::make(spec->spec, running_length);
    if (!made) return made.error();
    *rotary_out = std::make_unique<rw_rotary>(*std::move(made)).release();
    return std::nullopt;
  });
}

void rw_rotary_destroy(rw_rotary* rotary) { delete rotary; }

const rw_spec* rw_rotary_spec(const rw_rotary* rotary) { return rotary == nullptr ? nullptr : &rotary->spec; }

const rw_frequencies* rw_rotary_frequencies(const rw_rotary* rotary) {
  return rotary == nullptr ? nullptr : &rotary->frequencies;
}

rw_status rw_rotary_check(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                          const rw_positions_view* positions, char* error, size_t error_size) {
  return guarded(error, error_size,
                 [&] { return check_turn<TurnAtPositions>(rotary, operands, operand_count, positions); });
}

rw_status rw_rotary_check_coordinates(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                      const rw_coordinates_view* coordinates, char* error, size_t error_size) {
  return guarded(error, error_size,
                 [&] { return check_turn<TurnAtCoordinates>(rotary, operands, operand_count, coordinates); });
}

rw_status rw_rotary_check_table(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                const rw_cos_sin_table* table, const rw_positions_view* positions,
                                rw_direction direction, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    TurnAtPositions turn;
    ropewalk::CosSinTable rows;
    ropewalk::Direction way{};
    if (auto failure = turn.take(rotary, operands, operand_count, positions)) return failure;
    if (auto failure = take_table(table, Where{"table"}, rows)) return failure;
    if (auto failure = take_enum(direction, ropewalk::Direction::kShift, Where{"direction"}, "", way)) return failure;
    return rotary->rotary.check(turn.operands.list(), rows, turn.where, way);
  });
}

rw_status rw_rotary_apply(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                          const rw_positions_view* positions, const rw_call* call, char* error, size_t error_size) {
  return guarded(error, error_size,
                 [&] { return apply_turn<TurnAtPositions>(rotary, operands, operand_count, positions, call); });
}

rw_status rw_rotary_apply_coordinates(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                      const rw_coordinates_view* coordinates, const rw_call* call, char* error,
                                      size_t error_size) {
  return guarded(error, error_size,
                 [&] { return apply_turn<TurnAtCoordinates>(rotary, operands, operand_count, coordinates, call); });
}

rw_status rw_rotary_apply_table(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                const rw_cos_sin_table* table, const rw_positions_view* positions, const rw_call* call,
                                char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    TurnAtPositions turn;
    Call how;
    ropewalk::CosSinTable rows;
    if (auto failure = turn.take(rotary, operands, operand_count, positions)) return failure;
    if (auto failure = take_table(table, Where{"table"}, rows)) return failure;
    if (auto failure = how.take(call)) return failure;
    if (!how.checked)
      if (auto failure = rotary->rotary.check(turn.operands.list(), rows, turn.where, how.call.direction))
        return failure;
    rotary->rotary.apply(turn.operands.list(), rows, turn.where, how.call);
    return std::nullopt;
  });
}

rw_status rw_rotary_fill_table(const rw_rotary* rotary, const rw_positions_view* positions, float* cos,
                               size_t cos_count, float* sin, size_t sin_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::PositionsView where;
    std::span<float> cosines, sines;
    if (auto failure = want_address(rotary, Where{"rotary"})) return failure;
    if (auto failure = take_positions(positions, Where{"positions"}, where)) return failure;
    if (auto failure = take_span(cos, cos_count, Where{"cos"}, "", cosines)) return failure;
    if (auto failure = take_span(sin, sin_count, Where{"sin"}, "", sines)) return failure;
    return rotary->rotary.fill_table(where, cosines, sines);
  });
}

rw_status rw_rotary_fill_turns(const rw_rotary* rotary, const rw_positions_view* positions, uint64_t* turns,
                               size_t turns_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::PositionsView where;
    std::span<uint64_t> room;
    if (auto failure = want_address(rotary, Where{"rotary"})) return failure;
    if (auto failure = take_positions(positions, Where{"positions"}, where)) return failure;
    if (where.batch != 1) return refused("positions.batch", "want 1, got " + std::to_string(where.batch));
    if (where.tokens < 0) return refused("positions.tokens", "want a count, got " + std::to_string(where.tokens));
    if (where.axes < rotary->rotary.spec().axes())
      return refused("positions.axes", "want at least " + std::to_string(rotary->rotary.spec().axes()) + ", got " +
                                           std::to_string(where.axes));
    if (where.tokens > 0 && where.data == nullptr) return refused("positions.data", "want an address, got null");
    const std::int64_t pairs = rotary->rotary.spec().pairs();
    const bool fits = where.tokens <= INT64_MAX / pairs;
    if (!fits) return refused("positions.tokens", "want fewer, got " + std::to_string(where.tokens));
    if (auto failure = want_room(turns, turns_count, where.tokens * pairs, "turns", room)) return failure;
    ropewalk::fill_turns(rotary->rotary.spec(), rotary->rotary.frequencies(), where, room.data());
    return std::nullopt;
  });
}

rw_status rw_halve_table(const float* full, size_t full_count, int64_t rows, rw_layout duplicate, float* half,
                         size_t half_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<const float> whole;
    std::span<float> halved;
    ropewalk::PairLayout layout{};
    if (auto failure = take_span(full, full_count, Where{"full"}, "", whole)) return failure;
    if (auto failure = take_span(half, half_count, Where{"half"}, "", halved)) return failure;
    if (auto failure = take_enum(duplicate, ropewalk::PairLayout::kHalf, Where{"duplicate"}, "", layout))
      return failure;
    return ropewalk::halve_table(whole, rows, layout, halved);
  });
}
