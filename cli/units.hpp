#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

/// A count of tokens: "2048", "2k" (= 2 048), "1m" (= 1 048 576). Refuses anything else with `option` as the path.
std::int64_t parse_tokens(std::string_view text, const std::string& option);

/// Several, with commas between: "2k,4k,32k".
std::vector<std::int64_t> parse_token_list(std::string_view text, const std::string& option);

/// Words with commas between, none of them empty.
std::vector<std::string> parse_words(std::string_view text, const std::string& option);

/// A finite number.
double parse_number(std::string_view text, const std::string& option);

/// "131 072": thousands apart.
std::string grouped(std::int64_t count);

/// "32k" where a whole number of 1 024s, "500" otherwise.
std::string short_tokens(std::int64_t tokens);

/// "1.5 GiB".
std::string shown_bytes(double bytes);

/// "2 min 05 s".
std::string shown_seconds(double seconds);

/// Bytes that can still be had: of the machine, or of the control group the process lives in if that is less.
std::uint64_t available_memory_bytes();

/// Text that is safe in a line: control characters become "?", and what is not UTF-8 U+FFFD.
std::string one_line(std::string_view text);

/// What is not UTF-8 becomes U+FFFD; everything else stays.
std::string valid_utf8(std::string_view text);

}  // namespace ropewalk::cli
