#pragma once

#include "cli/output.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

/// JSON as it is written: keys in the order they are given, real numbers with 17 significant digits (so that reading
/// them back gives the same double), and nothing held in memory. A number that is not finite becomes the word
/// "Infinity", "-Infinity" or "NaN" in a string, since JSON has no number for it.
class JsonOut {
 public:
  explicit JsonOut(Output& out) : sink_([&out](std::string_view bytes) { out.write(bytes); }) {}
  explicit JsonOut(std::string& out) : sink_([&out](std::string_view bytes) { out += bytes; }) {}

  void begin_object() { open('{', false); }
  void begin_array() { open('[', false); }
  void begin_row() { open('[', true); }  ///< an array on one line, for numbers
  void end();                            ///< of whatever was begun last; the outermost end writes the last newline

  JsonOut& key(std::string_view name);
  void value(std::string_view text);
  void value(const char* text) { value(std::string_view(text)); }
  void value(const std::string& text) { value(std::string_view(text)); }
  void value(bool truth) { raw(truth ? "true" : "false"); }
  void value(int number) { value(static_cast<std::int64_t>(number)); }
  void value(std::int64_t number);
  void value(double number);
  void null() { raw("null"); }

  template <class T>
  void value(const std::optional<T>& maybe) {
    if (maybe)
      value(*maybe);
    else
      null();
  }
  template <class T>
  void value(const std::vector<T>& items) {
    begin_row();
    for (const auto& item : items) value(item);
    end();
  }
  /// `name: value`.
  template <class T>
  void field(std::string_view name, const T& content) {
    key(name).value(content);
  }

 private:
  struct Level {
    char close;
    bool one_line;
    bool empty = true;
  };
  void open(char bracket, bool one_line);
  void raw(std::string_view token);
  void separate();

  std::function<void(std::string_view)> sink_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

/// `text` as a JSON string, quotes included. Safe inside a <script>, too: "<", ">" and "&" are written as \u003c and so
/// on.
std::string json_string(std::string_view text);

/// 17 significant digits, with a point or an exponent.
std::string json_number(double number);

}  // namespace ropewalk::cli
