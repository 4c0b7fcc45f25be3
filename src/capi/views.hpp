// A caller's views as the library's own. Nothing is allocated where nothing is refused.
#pragma once

#include <ropewalk/ropewalk.h>
#include <ropewalk/kv_cache.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/rotary.hpp>
#include <ropewalk/tensor.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "capi/status.hpp"

namespace ropewalk::capi {

Failure take_heads(const rw_heads_view* given, const Where& where, HeadsView& to);
Failure take_positions(const rw_positions_view* given, const Where& where, PositionsView& to);
Failure take_coordinates(const rw_coordinates_view* given, const Where& where, CoordinatesView& to);
Failure take_cache(const rw_cache_view* given, const Where& where, CacheView& to);
Failure take_table(const rw_cos_sin_table* given, const Where& where, CosSinTable& to);
Failure take_operand(const rw_operand* given, const Where& where, RotaryOperand& to);

/// Operands in the library's words; few of them lie on the stack.
class Operands {
 public:
  Failure take(const rw_operand* given, std::size_t count);
  std::span<const RotaryOperand> list() const noexcept { return list_; }

 private:
  std::array<RotaryOperand, 4> few_{};
  std::vector<RotaryOperand> many_{};
  std::span<RotaryOperand> list_{};
};

/// A call in the library's words. Points into itself: it stays where it is.
struct Call {
  Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  /// Null: all at its default.
  Failure take(const rw_call* given);

  RotaryCall call{};
  bool checked = false;

 private:
  ThreadPool pool_{};
};

}  // namespace ropewalk::capi
