#pragma once

#include <string>
#include <string_view>

namespace ropewalk::config {

/// Bytes from a file as one line of ASCII for a message: what is not printable becomes \xNN, what is longer than `most`
/// bytes is cut and ends in "...".
inline std::string printable(std::string_view bytes, std::size_t most = 80) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f)
      out += c;
    else
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
  }
  if (bytes.size() > most) out += "...";
  return out;
}

/// The same between double quotes.
inline std::string in_quotes(std::string_view bytes) {
  std::string out = "\"";
  out += printable(bytes);
  return out += '"';
}

/// The last component of a path, printable.
inline std::string file_name(std::string_view path) {
  const std::size_t slash = path.find_last_of('/');
  return printable(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

}  // namespace ropewalk::config
