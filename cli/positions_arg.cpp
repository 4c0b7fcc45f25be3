#include "cli/positions_arg.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace ropewalk::cli {
namespace {

// Tokens of a range, modulo 2^64 arithmetic: the distance of two int64 always fits a uint64.
std::uint64_t tokens_between(std::int64_t start, std::int64_t stop, std::int64_t step) noexcept {
  if (step > 0 ? start >= stop : start <= stop) return 0;
  const auto low = static_cast<std::uint64_t>(std::min(start, stop)),
             high = static_cast<std::uint64_t>(std::max(start, stop));
  const std::uint64_t stride = step > 0 ? static_cast<std::uint64_t>(step) : -static_cast<std::uint64_t>(step);
  return (high - low - 1) / stride + 1;
}

std::int64_t position_at(std::int64_t start, std::int64_t step, std::uint64_t index) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(start) + static_cast<std::uint64_t>(step) * index);
}

}  // namespace

PositionList PositionList::parse(std::string_view text, const std::string& option) {
  PositionList list;
  for (const std::string& word : parse_words(text, option)) {
    const auto malformed = [&]() {
      refuse(option, fmt::format("want positions such as 0,5,-3 or start:stop:step (64-bit integers), got \"{}\"",
                                 one_line(word)));
    };
    std::vector<std::int64_t> numbers;
    for (std::string_view rest = word;;) {
      const std::size_t colon = rest.find(':');
      const std::string_view digits = rest.substr(0, colon);
      std::int64_t number = 0;
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
      const bool open_start = digits.empty() && numbers.empty() && colon != std::string_view::npos;
      if (!open_start && (error != std::errc{} || end != digits.data() + digits.size())) malformed();
      numbers.push_back(number);
      if (colon == std::string_view::npos) break;
      rest.remove_prefix(colon + 1);
    }
    if (numbers.size() > 3 || (numbers.size() == 3 && numbers[2] == 0)) malformed();
    const bool is_range = numbers.size() > 1;
    const std::int64_t step = numbers.size() == 3 ? numbers[2] : 1;
    const std::uint64_t tokens = is_range ? tokens_between(numbers[0], numbers[1], step) : 1;
    if (tokens == 0) continue;
    list.ranges_.push_back({numbers[0], step, tokens});
    list.largest_ = std::max({list.largest_, numbers[0], position_at(numbers[0], step, tokens - 1)});
    list.count_ = list.count_ > UINT64_MAX - tokens ? UINT64_MAX : list.count_ + tokens;
  }
  if (list.count_ == 0) refuse(option, fmt::format("want at least one position, got \"{}\"", one_line(text)));
  return list;
}

std::vector<std::int64_t> PositionList::slice(std::uint64_t first, std::uint64_t count) const {
  std::vector<std::int64_t> out;
  out.reserve(count);
  for (const Range& range : ranges_) {
    if (first >= range.count) {
      first -= range.count;
      continue;
    }
    for (; first < range.count && out.size() < count; ++first)
      out.push_back(position_at(range.start, range.step, first));
    first = 0;
    if (out.size() == count) break;
  }
  return out;
}

std::int64_t running_length_of(std::int64_t largest_position) noexcept {
  return largest_position < 0 ? 0 : largest_position == INT64_MAX ? INT64_MAX : largest_position + 1;
}

}  // namespace ropewalk::cli
