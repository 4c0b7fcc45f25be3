// Dataclasses of Python as structs of C++ and back. A struct's fields are listed once, as calls of one visitor, which
// is a FieldReader or a FieldWriter, so that neither way can forget one.
#pragma once

#include "errors.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace ropewalk::python {

/// The words by which Python knows the values of an enumeration.
template <class E, std::size_t N>
using Words = std::array<std::pair<const char*, E>, N>;

/// A dataclass of ropewalk.spec, ropewalk.grids, ...
inline nanobind::object class_named(const char* module, const char* name) {
  return nanobind::module_::import_(module).attr(name);
}

class FieldReader {
 public:
  FieldReader(nanobind::handle object, std::string path) : object_(object), path_(std::move(path)) {}

  template <class T>
  void operator()(const char* name, T& field) const {
    read(object_.attr(name), name, field);
  }
  template <class E, std::size_t N>
  void choice(const char* name, E& field, const Words<E, N>& words) const {
    std::string word, known;
    read(object_.attr(name), name, word);
    for (const auto& [spelling, value] : words) {
      if (word == spelling) return void(field = value);
      known += (known.empty() ? "\"" : ", \"") + std::string(spelling) + '"';
    }
    refuse(path_ + name, "want one of " + known + ", got \"" + word + '"');
  }
  template <class T, class From>
  void nested(const char* name, std::optional<T>& field, const From& from) const {
    const nanobind::object value = object_.attr(name);
    if (!value.is_none()) field = from(value, path_ + name + ".");
  }

 private:
  template <class T>
  void read(nanobind::handle value, const char* name, T& field) const {
    if constexpr (std::is_same_v<T, std::vector<double>> || std::is_same_v<T, std::vector<int>> ||
                  std::is_same_v<T, std::vector<std::uint8_t>>) {
      if (!nanobind::isinstance<nanobind::sequence>(value)) wrong(value, name, "want a sequence of numbers");
      std::size_t i = 0;
      for (const nanobind::handle one : value) {
        typename T::value_type number;
        if (!nanobind::try_cast(one, number))
          wrong(one, (std::string(name) + '[' + std::to_string(i) + ']').c_str(), "want a number");
        field.push_back(number);
        ++i;
      }
    } else if (!nanobind::try_cast(value, field)) {
      wrong(value, name,
            std::is_same_v<T, std::string> ? "want a word"
            : std::is_same_v<T, bool>      ? "want True or False"
            : std::is_integral_v<T>        ? "want a whole number"
                                           : "want a number");
    }
    PyErr_Clear();
  }
  [[noreturn]] void wrong(nanobind::handle value, const std::string& name, const std::string& want) const {
    PyErr_Clear();
    refuse(path_ + name, want + ", got " + nanobind::cast<std::string>(nanobind::repr(value)));
  }

  nanobind::handle object_;
  std::string path_;
};

class FieldWriter {
 public:
  template <class T>
  void operator()(const char* name, const T& field) {
    if constexpr (std::is_same_v<T, std::vector<std::uint8_t>>)
      fields_[name] = nanobind::tuple(nanobind::cast(std::vector<int>(field.begin(), field.end())));
    else if constexpr (std::is_same_v<T, std::vector<double>> || std::is_same_v<T, std::vector<int>>)
      fields_[name] = nanobind::tuple(nanobind::cast(field));
    else
      fields_[name] = nanobind::cast(field);
  }
  template <class E, std::size_t N>
  void choice(const char* name, const E& field, const Words<E, N>& words) {
    for (const auto& [spelling, value] : words)
      if (field == value) fields_[name] = nanobind::str(spelling);
  }
  void set(const char* name, nanobind::object value) { fields_[name] = std::move(value); }
  nanobind::object make(const nanobind::object& type) const { return type(**fields_); }

 private:
  nanobind::dict fields_;
};

}  // namespace ropewalk::python
