#include "numbers.hpp"

namespace ropewalk::python {
namespace nb = nanobind;
namespace {

template <class From, class Float>
void append(const Array& array, std::size_t axis, std::int64_t offset, std::vector<Float>& out) {
  if (axis == array.dims()) return out.push_back(static_cast<Float>(static_cast<const From*>(array.data())[offset]));
  for (std::int64_t i = 0; i < array.size(axis); ++i)
    append<From>(array, axis + 1, offset + i * array.stride(axis), out);
}

// Whatever numpy makes of it, in float64.
nb::object as_float64(nb::handle object, const std::string& path) {
  try {
    return nb::module_::import_("numpy").attr("asarray")(object, nb::arg("dtype") = "float64");
  } catch (const nb::python_error&) {
    refuse(path, "want an array of numbers, got " + nb::cast<std::string>(nb::repr(object)));
  }
}

bool is_sequence(nb::handle object) {
  return nb::isinstance<nb::list>(object) || nb::isinstance<nb::tuple>(object) || PyFloat_Check(object.ptr()) ||
         PyLong_Check(object.ptr());
}

}  // namespace

template <class Float>
std::vector<Float> numbers_of(nb::handle object, const std::string& path, std::initializer_list<std::int64_t> shape) {
  nb::object held = is_sequence(object) ? as_float64(object, path) : nb::borrow(object);
  Array array = Array::to_read(held, path);
  if (array.element() != Element::kFloat32 && array.element() != Element::kFloat64) {
    held = as_float64(held, path);
    array = Array::to_read(held, path);
  }
  bool fits = array.dims() == 1 || (array.dims() == shape.size());
  std::string want = "[";
  std::size_t axis = 0;
  for (const std::int64_t size : shape) {
    if (array.dims() > 1 && axis < array.dims() && array.size(axis) != size) fits = false;
    want += (axis++ == 0 ? "" : ", ") + std::to_string(size);
  }
  if (!fits) refuse(path, "want " + want + "], got " + array.shape());
  std::vector<Float> out;
  out.reserve(static_cast<std::size_t>(array.elements()));
  if (array.element() == Element::kFloat32)
    append<float>(array, 0, 0, out);
  else
    append<double>(array, 0, 0, out);
  return out;
}

template std::vector<float> numbers_of(nb::handle, const std::string&, std::initializer_list<std::int64_t>);
template std::vector<double> numbers_of(nb::handle, const std::string&, std::initializer_list<std::int64_t>);

void want_rows(const Array& table, const std::string& name) {
  if (table.element() != Element::kFloat32) refuse(name, "want float32, got " + table.dtype());
  if (table.dims() != 2) refuse(name, "want [rows, dim], got " + table.shape());
  const bool packed =
      (table.size(1) < 2 || table.stride(1) == 1) && (table.size(0) < 2 || table.stride(0) == table.size(1));
  if (!packed && table.elements() > 0) refuse(name, "want its rows one behind the other (contiguous), got strides");
}

}  // namespace ropewalk::python
