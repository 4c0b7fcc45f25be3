#pragma once

#include "cli/bench/cases.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli::bench {

/// One of the library's own ways to do a case, ready to be called again and again.
struct OwnWay {
  std::string name;  ///< "ropewalk", "ropewalk, given a table"; the first of a case is what others are compared with
  std::function<void()> run;
  double max_abs_error = 0;  ///< of one call, against long double
};

/// A case with its data in memory.
struct PreparedCase {
  std::int64_t bytes = 0;  ///< that have to be read, and those that have to be written
  /// Merely moves the bytes of part `part` of `parts`: what no operation does without.
  std::function<void(int part, int parts)> ceiling;
  std::vector<OwnWay> ways;
  std::shared_ptr<void> memory;  ///< what the ways point into
};

/// An operation of the library. To measure another, write its `prepare` and give it a row in operations() and one or
/// more in cases.cpp.
struct Operation {
  std::string name;  ///< as in Case::operation
  bool in_place;     ///< what opponents that can do both are asked for
  std::function<PreparedCase(const Case&)> prepare;
};

/// Those of kv_cache.hpp.
std::vector<Operation> cache_operations();

std::span<const Operation> operations();
const Operation& operation_of(const Case& one);

}  // namespace ropewalk::cli::bench
