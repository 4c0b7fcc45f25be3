#include "cli/units.hpp"

#include "cli/refusal.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>

namespace ropewalk::cli {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Bytes of the UTF-8 sequence at the start of `text`; 0 if there is none.
std::size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t size = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || size > text.size()) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
  if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogates
  if (lead == 0xF0 && byte(1) < 0x90) return 0;  // overlong
  if (lead == 0xF4 && byte(1) > 0x8F) return 0;  // past U+10FFFF
  return size;
}

}  // namespace

std::int64_t parse_tokens(std::string_view text, const std::string& option) {
  const std::string_view whole = trimmed(text);
  std::string_view digits = whole;
  std::int64_t unit = 1;
  if (!digits.empty()) {
    const char last = digits.back();
    if (last == 'k' || last == 'K') unit = 1024;
    if (last == 'm' || last == 'M') unit = 1024 * 1024;
    if (unit != 1) digits.remove_suffix(1);
  }
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty() || count < 1 ||
      count > std::numeric_limits<std::int64_t>::max() / unit)
    refuse(option, fmt::format("want a number of tokens >= 1 such as 2048, 2k or 1m, got \"{}\"", one_line(whole)));
  return count * unit;
}

std::vector<std::string> parse_words(std::string_view text, const std::string& option) {
  std::vector<std::string> words;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view word = trimmed(rest.substr(0, comma));
    if (word.empty()) refuse(option, fmt::format("want words with commas between, got \"{}\"", one_line(text)));
    words.emplace_back(word);
    if (comma == std::string_view::npos) return words;
    rest.remove_prefix(comma + 1);
  }
}

std::vector<std::int64_t> parse_token_list(std::string_view text, const std::string& option) {
  std::vector<std::int64_t> counts;
  for (const std::string& word : parse_words(text, option)) counts.push_back(parse_tokens(word, option));
  return counts;
}

double parse_number(std::string_view text, const std::string& option) {
  const std::string_view whole = trimmed(text);
  double number = 0;
  const auto [end, error] = std::from_chars(whole.data(), whole.data() + whole.size(), number);
  if (error != std::errc{} || end != whole.data() + whole.size() || !std::isfinite(number))
    refuse(option, fmt::format("want a number, got \"{}\"", one_line(whole)));
  return number;
}

std::string grouped(std::int64_t count) {
  std::string digits = std::to_string(count);
  const int first = count < 0 ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ' ');
  return digits;
}

std::string short_tokens(std::int64_t tokens) {
  if (tokens >= 1024 * 1024 && tokens % (1024 * 1024) == 0) return fmt::format("{}m", tokens / (1024 * 1024));
  return tokens >= 1024 && tokens % 1024 == 0 ? fmt::format("{}k", tokens / 1024) : std::to_string(tokens);
}

std::string shown_bytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(units)) bytes /= 1024, ++unit;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string shown_seconds(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(std::max(seconds, 0.0)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

std::uint64_t available_memory_bytes() {
  std::uint64_t available = std::numeric_limits<std::uint64_t>::max();
  std::ifstream machine("/proc/meminfo");
  for (std::string line; std::getline(machine, line);) {
    unsigned long long kibibytes = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kibibytes) == 1)
      available = std::uint64_t{kibibytes} * 1024;
  }
  std::uint64_t limit = 0, used = 0;
  std::ifstream group_limit("/sys/fs/cgroup/memory.max"), group_used("/sys/fs/cgroup/memory.current");
  if (group_limit >> limit && group_used >> used) available = std::min(available, limit > used ? limit - used : 0);
  return available;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = utf8_sequence(text);
    if (size == 0)
      out += "\xEF\xBF\xBD";
    else
      out += text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return out;
}

std::string one_line(std::string_view text) {
  std::string out = valid_utf8(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  // What is left that a terminal obeys: C1 controls (U+0080 to U+009F) and the marks that turn the reading direction.
  const auto byte = [&](std::size_t i) { return i < out.size() ? static_cast<unsigned char>(out[i]) : 0u; };
  for (std::size_t i = 0; i < out.size(); ++i) {
    const bool c1 = byte(i) == 0xC2 && byte(i + 1) < 0xA0;
    const bool turns = byte(i) == 0xE2 && ((byte(i + 1) == 0x80 && ((byte(i + 2) >= 0xAA && byte(i + 2) <= 0xAE) ||
                                                                    byte(i + 2) == 0x8E || byte(i + 2) == 0x8F)) ||
                                           (byte(i + 1) == 0x81 && byte(i + 2) >= 0xA6 && byte(i + 2) <= 0xA9));
    if (c1) out.replace(i, 2, "?");
    if (turns) out.replace(i, 3, "?");
  }
  return out;
}

}  // namespace ropewalk::cli
