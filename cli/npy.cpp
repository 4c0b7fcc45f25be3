#include "cli/npy.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

namespace ropewalk::cli {
namespace {

// numpy/lib/format.py: "\x93NUMPY", two version bytes, the header's length (2 bytes little endian in version 1, 4 in 2
// and 3), then a Python dictionary with exactly the keys descr, fortran_order and shape.
constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kLongestHeader = 1 << 16;
constexpr std::size_t kMostAxes = 32;

struct TypeRow {
  NpyType type;
  std::string_view name, descr;
  std::size_t bytes;
};
constexpr TypeRow kTypes[] = {
    {NpyType::kFloat16, "float16", "<f2", 2}, {NpyType::kFloat32, "float32", "<f4", 4},
    {NpyType::kFloat64, "float64", "<f8", 8}, {NpyType::kUint16, "uint16", "<u2", 2},
    {NpyType::kInt32, "int32", "<i4", 4},     {NpyType::kInt64, "int64", "<i8", 8},
    {NpyType::kUint64, "uint64", "<u8", 8},
};

const TypeRow& row_of(NpyType type) noexcept {
  for (const TypeRow& row : kTypes)
    if (row.type == type) return row;
  return kTypes[0];
}

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

// Reads the dictionary, and nothing more of Python than it needs.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  Header read() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    want('{');
    while (!take('}')) {
      const std::string key = word();
      want(':');
      bool* const seen = key == "descr"           ? &has_descr
                         : key == "fortran_order" ? &has_order
                         : key == "shape"         ? &has_shape
                                                  : nullptr;
      if (seen == nullptr || *seen) malformed(fmt::format("the key \"{}\"", one_line(key)));
      *seen = true;
      if (key == "descr") {
        skip();
        if (peek() == '[') refuse(path_, "want a plain dtype, got a structured one");
        header.descr = word();
      } else if (key == "fortran_order") {
        header.fortran_order = truth();
      } else {
        header.shape = tuple();
      }
      if (!take(',')) {
        want('}');
        break;
      }
    }
    skip();
    if (!text_.empty()) malformed("text behind the dictionary");
    if (!has_descr || !has_order || !has_shape) malformed("a dictionary that lacks descr, fortran_order or shape");
    return header;
  }

 private:
  [[noreturn]] void malformed(const std::string& what) {
    refuse(path_, "want a .npy header, got " + what, Code::kFormat);
  }
  void skip() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\n')) text_.remove_prefix(1);
  }
  char peek() const { return text_.empty() ? '\0' : text_.front(); }
  bool take(char c) {
    skip();
    if (peek() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void want(char c) {
    if (!take(c)) malformed(fmt::format("no '{}' where one belongs", c));
  }
  bool truth() {
    skip();
    for (const std::string_view name : {"True", "False"}) {
      if (!text_.starts_with(name)) continue;
      text_.remove_prefix(name.size());
      return name == "True";
    }
    malformed("a fortran_order that is neither True nor False");
  }
  std::string word() {
    skip();
    const char quote = peek();
    const std::size_t end = quote == '\'' || quote == '"' ? text_.find(quote, 1) : std::string_view::npos;
    if (end == std::string_view::npos) malformed("no quoted word where one belongs");
    std::string out(text_.substr(1, end - 1));
    text_.remove_prefix(end + 1);
    return out;
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> out;
    want('(');
    while (!take(')')) {
      skip();
      std::int64_t extent = 0;
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), extent);
      if (error != std::errc{} || extent < 0 || out.size() == kMostAxes) malformed("a shape that is none");
      text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
      out.push_back(extent);
      if (!take(',')) {
        want(')');
        break;
      }
    }
    return out;
  }

  std::string_view text_;
  const std::string& path_;
};

}  // namespace

std::string_view name_of(NpyType type) noexcept { return row_of(type).name; }
std::size_t size_of(NpyType type) noexcept { return row_of(type).bytes; }

std::string shown_shape(const std::vector<std::int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

NpyArray read_npy(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) refuse(path, "want a .npy file, got none: no such file", Code::kUnavailable);
  if (!std::filesystem::is_regular_file(status)) refuse(path, "want a .npy file, got something that is no file");
  const std::uint64_t file_bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file)
    refuse(path, std::string("want a readable file, got: ") + std::strerror(errno), Code::kUnavailable);

  unsigned char start[12] = {};
  file.read(reinterpret_cast<char*>(start), sizeof start);
  if (file.gcount() < 10 || std::memcmp(start, kMagic.data(), kMagic.size()) != 0)
    refuse(path, "want a .npy file, got other bytes at its start", Code::kFormat);
  const int version = start[6];
  if (version < 1 || version > 3)
    refuse(path, fmt::format("want .npy version 1, 2 or 3, got {}", version), Code::kFormat);
  const std::uint64_t before = version == 1 ? 10 : 12;
  const std::uint64_t header_bytes = version == 1 ? std::uint64_t{start[8]} | std::uint64_t{start[9]} << 8
                                                  : std::uint64_t{start[8]} | std::uint64_t{start[9]} << 8 |
                                                        std::uint64_t{start[10]} << 16 | std::uint64_t{start[11]} << 24;
  if (header_bytes > kLongestHeader || before + header_bytes > file_bytes)
    refuse(path, fmt::format("want a header inside the file's {} bytes, got one of {}", file_bytes, header_bytes),
           Code::kFormat);
  std::string text(header_bytes, '\0');
  file.clear();
  file.seekg(static_cast<std::streamoff>(before));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file) refuse(path, "want a .npy file, got one that cannot be read", Code::kFormat);
  const Header header = HeaderReader(text, path).read();

  const TypeRow* row = nullptr;
  for (const TypeRow& candidate : kTypes)
    if (candidate.descr == header.descr) row = &candidate;
  if (row == nullptr)
    refuse(path,
           fmt::format("want little-endian float16, float32, float64, uint16, int32, int64 or uint64, got dtype \"{}\"",
                       one_line(header.descr)));
  if (header.fortran_order) refuse(path, "want C order, got Fortran order (numpy.ascontiguousarray changes it)");

  // Counted in values, with 0 anywhere meaning 0; each step is checked, so that no product wraps.
  const std::uint64_t held = file_bytes - before - header_bytes;
  std::uint64_t values = 1;
  bool beyond = false;
  for (const std::int64_t extent : header.shape) {
    const auto factor = static_cast<std::uint64_t>(extent);
    if (factor != 0 && values > UINT64_MAX / row->bytes / factor) beyond = true;
    values = factor == 0 ? 0 : beyond ? values : values * factor;
  }
  if (values == 0) beyond = false;
  if (beyond || values * row->bytes != held)
    refuse(path, fmt::format("want the bytes of {} {} in the file, got {}", shown_shape(header.shape), row->name, held),
           Code::kFormat);
  if (held > available_memory_bytes())
    refuse(path, fmt::format("want an array that fits in memory, got {} where {} are free", shown_bytes(double(held)),
                             shown_bytes(double(available_memory_bytes()))));
  NpyArray array{row->type, header.shape, {}};
  array.data.resize(held);
  file.read(reinterpret_cast<char*>(array.data.data()), static_cast<std::streamsize>(held));
  if (static_cast<std::uint64_t>(file.gcount()) != held)
    refuse(path, "want a whole .npy file, got a truncated one", Code::kFormat);
  return array;
}

std::vector<double> coordinates_of(const NpyArray& array, const std::string& path) {
  std::vector<double> coordinates(array.data.size() / sizeof(double));
  if (!coordinates.empty()) std::memcpy(coordinates.data(), array.data.data(), array.data.size());
  for (const double coordinate : coordinates)
    if (!std::isfinite(coordinate)) refuse(path, "want finite coordinates, got one that is not");
  return coordinates;
}

std::string npy_header(NpyType type, const std::vector<std::int64_t>& shape) {
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", row_of(type).descr,
                                 fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  // The numbers begin at a multiple of 64 bytes.
  text.append((64 - (10 + text.size() + 1) % 64) % 64, ' ');
  text += '\n';
  std::string out(kMagic);
  out += '\x01';
  out += '\x00';
  out += static_cast<char>(text.size() & 0xFF);
  out += static_cast<char>(text.size() >> 8);
  return out + text;
}

void write_npy(Output& out, const NpyArray& array) {
  out.write(npy_header(array.type, array.shape));
  out.write(array.data.data(), array.data.size());
}

}  // namespace ropewalk::cli
