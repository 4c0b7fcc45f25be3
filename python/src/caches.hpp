#pragma once

#include "arrays.hpp"

#include <ropewalk/kv_cache.hpp>

#include <optional>
#include <string>

namespace ropewalk::python {

/// The dataclass CacheView as the library's, its arrays held while this lives.
struct HeldCache {
  CacheView view;
  std::optional<Array> data{}, scales{};
};
HeldCache cache_from(nanobind::handle view, const std::string& name);

}  // namespace ropewalk::python
