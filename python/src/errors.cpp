#include "errors.hpp"

#include <nanobind/stl/string.h>

namespace ropewalk::python {
namespace nb = nanobind;
namespace {

const char* word_of(Code code) noexcept {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalid: return "invalid";
    case Code::kUnsupported: return "unsupported";
    case Code::kUnavailable: return "unavailable";
    case Code::kFormat: return "format";
  }
  return "?";
}

}  // namespace

void bind_errors(nb::module_& m) {
  static nb::object type;  // lives as long as the interpreter
  // What Python code raises has its text alone; nothing else is kept in two places.
  nb::dict members;
  members["code"] = "invalid";
  members["__getattr__"] = nb::cpp_function(
      [](nb::handle self, const std::string& name) {
        if (name != "path") throw nb::attribute_error(("'Error' object has no attribute '" + name + "'").c_str());
        const auto said = nb::cast<std::string>(nb::str(self));
        const std::size_t end = said.find(": ");
        return end == std::string::npos ? std::string() : said.substr(0, end);
      },
      nb::is_method());
  type = nb::steal(PyErr_NewExceptionWithDoc(
      "ropewalk.Error",
      "What ropewalk refuses: a ValueError whose text is one line, `path: want ..., got ...`.\n\n"
      "code: \"invalid\", \"unsupported\", \"unavailable\" or \"format\".\n"
      "path: where, for example \"scaling.factor\" or \"rope_parameters.rope_type\".",
      PyExc_ValueError, members.ptr()));
  m.attr("Error") = type;
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Refused& refused) {
      nb::object exception = type(nb::str(refused.what()));
      exception.attr("code") = nb::str(word_of(refused.error().code));
      exception.attr("path") = nb::str(refused.error().path.c_str());
      PyErr_SetObject(type.ptr(), exception.ptr());
    }
  });
}

}  // namespace ropewalk::python
