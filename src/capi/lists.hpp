// Arrays of a caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "capi/status.hpp"

namespace ropewalk::capi {

template <class T>
Failure take_span(T* data, std::size_t count, const Where& where, const char* field, std::span<T>& to) {
  if (count == 0) {
    to = {};
    return std::nullopt;
  }
  constexpr std::size_t kMost = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T);
  if (count > kMost)
    return refused((where + field) + "_count",
                   "want at most " + std::to_string(kMost) + ", got " + std::to_string(count));
  if (data == nullptr) return refused(where + field, "want an address, got null");
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0)
    return refused(where + field, "want an address that " + std::to_string(alignof(T)) + " divides");
  to = std::span<T>(data, count);
  return std::nullopt;
}

/// A list to keep. `most` bounds what is read on a caller's word.
template <class T>
Failure take_list(const T* data, std::size_t count, std::size_t most, const Where& where, const char* field,
                  std::vector<T>& to) {
  if (count > most)
    return refused((where + field) + "_count",
                   "want at most " + std::to_string(most) + ", got " + std::to_string(count));
  std::span<const T> list;
  if (auto failure = take_span(data, count, where, field, list)) return failure;
  to.assign(list.begin(), list.end());
  return std::nullopt;
}

/// Room for exactly `count` results, asked before they are made: a wrong count must not cost their memory.
template <class T>
Failure want_room(T* data, std::size_t room, std::int64_t count, const char* name, std::span<T>& to) {
  if (count >= 0 && static_cast<std::uint64_t>(count) != room)
    return refused(std::string(name) + "_count", "want " + std::to_string(count) + ", got " + std::to_string(room));
  return take_span(data, room, Where{name}, "", to);
}

}  // namespace ropewalk::capi
