#pragma once

#include "arrays.hpp"

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace ropewalk::python {

/// An array or a nested sequence of numbers, row after row. One axis holds any number of them, for the library to
/// count; more axes have to be `shape`, so that a transposed table is refused and not read.
template <class Float>
std::vector<Float> numbers_of(nanobind::handle object, const std::string& path,
                              std::initializer_list<std::int64_t> shape);

extern template std::vector<float> numbers_of(nanobind::handle, const std::string&,
                                              std::initializer_list<std::int64_t>);
extern template std::vector<double> numbers_of(nanobind::handle, const std::string&,
                                               std::initializer_list<std::int64_t>);

/// Refuses what is no float32 of two axes that lie row after row. `name` stands in messages.
void want_rows(const Array& table, const std::string& name);

}  // namespace ropewalk::python
