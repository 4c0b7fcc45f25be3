#include "cli/json_out.hpp"

#include "cli/units.hpp"

#include <fmt/format.h>

#include <cmath>

namespace ropewalk::cli {

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&')
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        else
          out += c;
    }
  }
  return out + '"';
}

std::string json_number(double number) {
  if (std::isnan(number)) return "\"NaN\"";
  if (std::isinf(number)) return number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  std::string digits = fmt::format("{:.17g}", number);
  if (digits.find_first_of(".e") == std::string::npos) digits += ".0";
  return digits;
}

void JsonOut::open(char bracket, bool one_line) {
  separate();
  sink_(std::string_view(&bracket, 1));
  levels_.push_back({bracket == '{' ? '}' : ']', one_line});
}

void JsonOut::end() {
  const Level level = levels_.back();
  levels_.pop_back();
  if (!level.empty && !level.one_line) sink_("\n" + std::string(2 * levels_.size(), ' '));
  sink_(std::string_view(&level.close, 1));
  if (levels_.empty()) sink_("\n");
}

void JsonOut::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (levels_.empty()) return;
  Level& level = levels_.back();
  if (!level.empty) sink_(level.one_line ? ", " : ",");
  if (!level.one_line) sink_("\n" + std::string(2 * levels_.size(), ' '));
  level.empty = false;
}

JsonOut& JsonOut::key(std::string_view name) {
  separate();
  sink_(json_string(name));
  sink_(": ");
  after_key_ = true;
  return *this;
}

void JsonOut::raw(std::string_view token) {
  separate();
  sink_(token);
}

void JsonOut::value(std::string_view text) { raw(json_string(text)); }
void JsonOut::value(std::int64_t number) { raw(std::to_string(number)); }
void JsonOut::value(double number) { raw(json_number(number)); }

}  // namespace ropewalk::cli
