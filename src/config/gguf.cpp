// The container, as ggml-org/ggml docs/gguf.md describes it: header, metadata, tensor directory, then the tensors at
// multiples of general.alignment. Sizes of blocks: the static_asserts of ggml/src/ggml-common.h.

#include <ropewalk/gguf.hpp>

#include "config/mapped_file.hpp"
#include "config/printable.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace ropewalk {
namespace {

using config::file_name;
using config::printable;

static_assert(std::endian::native == std::endian::little, "numbers are read from the mapping as they lie");

struct TypeRow {
  GgufType type;
  std::string_view name;
  GgufBlock block;
};

constexpr TypeRow kTypes[] = {
    {GgufType::kF32, "F32", {1, 4}},       {GgufType::kF16, "F16", {1, 2}},       {GgufType::kQ4_0, "Q4_0", {32, 18}},
    {GgufType::kQ4_1, "Q4_1", {32, 20}},   {GgufType::kQ5_0, "Q5_0", {32, 22}},   {GgufType::kQ5_1, "Q5_1", {32, 24}},
    {GgufType::kQ8_0, "Q8_0", {32, 34}},   {GgufType::kQ2_K, "Q2_K", {256, 84}},  {GgufType::kQ3_K, "Q3_K", {256, 110}},
    {GgufType::kQ4_K, "Q4_K", {256, 144}}, {GgufType::kQ5_K, "Q5_K", {256, 176}}, {GgufType::kQ6_K, "Q6_K", {256, 210}},
    {GgufType::kQ8_K, "Q8_K", {256, 292}}, {GgufType::kF64, "F64", {1, 8}},       {GgufType::kBF16, "BF16", {1, 2}},
};

const TypeRow* row_of(GgufType type) noexcept {
  const auto* const row = std::find_if(std::begin(kTypes), std::end(kTypes), [&](auto& r) { return r.type == type; });
  return row == std::end(kTypes) ? nullptr : row;
}

// The kinds of metadata values, numbered as in the file.
enum class ValueKind : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// The least a thing can take in the file: what bounds a count before anything is made from it.
constexpr std::uint64_t kLeastEntryBytes = 8 + 4 + 1;           // key length, kind, one byte of value
constexpr std::uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;  // name length, rank, one extent, type, offset

// ggml's GGML_MAX_DIMS, and GGML_MAX_NAME less its final zero.
constexpr std::uint32_t kMostDims = 4;
constexpr std::uint64_t kLongestTensorName = 63;

std::string_view kind_of(const GgufValue& value) noexcept {
  constexpr std::string_view kNames[] = {
      "a boolean",          "an integer",         "an integer",         "a number",          "a string",
      "a list of booleans", "a list of integers", "a list of integers", "a list of numbers", "a list of strings"};
  static_assert(std::size(kNames) == std::variant_size_v<GgufValue>);
  return kNames[value.index()];
}

// Walks the bytes from front to back and never past the end. The first thing that fails is kept, and everything after
// it reads as zero, so that a caller tests once for each thing it makes from what it has read.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  std::uint64_t position() const noexcept { return position_; }
  std::uint64_t remaining() const noexcept { return bytes_.size() - position_; }
  bool failed() const noexcept { return failed_; }
  const Error& error() const noexcept { return error_; }

  void fail(std::string message, Code code = Code::kFormat) {
    if (failed_) return;
    failed_ = true;
    error_ = {code, where_, std::move(message)};
  }

  template <class T>
  T read(std::string_view what) {
    T value{};
    if (failed_) return value;
    if (remaining() < sizeof(T)) {
      truncated(what);
      return value;
    }
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  std::string read_string(std::string_view what) {
    const auto length = read<std::uint64_t>(what);
    if (failed_) return {};
    if (length > remaining()) {
      fail("want the length of " + std::string(what) + " within the file's remaining " + std::to_string(remaining()) +
           " bytes, got " + std::to_string(length));
      return {};
    }
    std::string text(reinterpret_cast<const char*>(bytes_.data() + position_), static_cast<std::size_t>(length));
    position_ += length;
    return text;
  }

  // A count of things that take at least `least_bytes` each.
  std::size_t read_count(std::string_view what, std::size_t least_bytes) {
    const auto count = read<std::uint64_t>(what);
    if (failed_) return 0;
    if (count > remaining() / least_bytes) {
      fail("want " + std::string(what) + " within the file's remaining " + std::to_string(remaining()) +
           " bytes, got " + std::to_string(count));
      return 0;
    }
    return static_cast<std::size_t>(count);
  }

 private:
  void truncated(std::string_view what) {
    fail("want " + std::string(what) + " at byte " + std::to_string(position_) + ", got the end of the file");
  }

  std::span<const std::byte> bytes_;
  std::uint64_t position_ = 0;
  std::string where_;
  bool failed_ = false;
  Error error_;
};

// Stored as Stored, held as Held.
template <class Stored, class Held>
GgufValue read_scalars(Cursor& cursor, bool is_array) {
  const auto convert = [](Stored stored) {
    if constexpr (std::is_same_v<Held, bool>)
      return stored != 0;
    else
      return static_cast<Held>(stored);
  };
  if (!is_array) return GgufValue(std::in_place_type<Held>, convert(cursor.read<Stored>("a value")));

  std::vector<Held> list;
  const std::size_t count = cursor.read_count("the number of values in a list", sizeof(Stored));
  list.reserve(count);
  for (std::size_t i = 0; i < count; ++i) list.push_back(convert(cursor.read<Stored>("a value")));
  return GgufValue(std::in_place_type<std::vector<Held>>, std::move(list));
}

GgufValue read_strings(Cursor& cursor, bool is_array) {
  if (!is_array) return GgufValue(std::in_place_type<std::string>, cursor.read_string("a string"));

  std::vector<std::string> list;
  const std::size_t count = cursor.read_count("the number of strings in a list", sizeof(std::uint64_t));
  list.reserve(count);
  for (std::size_t i = 0; i < count && !cursor.failed(); ++i) list.push_back(cursor.read_string("a string"));
  return GgufValue(std::in_place_type<std::vector<std::string>>, std::move(list));
}

GgufValue read_value(Cursor& cursor, const std::string& key) {
  auto kind = ValueKind{cursor.read<std::uint32_t>("the kind of a value")};
  const bool is_array = kind == ValueKind::kArray;
  if (is_array) kind = ValueKind{cursor.read<std::uint32_t>("the kind of a list's values")};
  switch (kind) {
    case ValueKind::kUint8: return read_scalars<std::uint8_t, std::uint64_t>(cursor, is_array);
    case ValueKind::kInt8: return read_scalars<std::int8_t, std::int64_t>(cursor, is_array);
    case ValueKind::kUint16: return read_scalars<std::uint16_t, std::uint64_t>(cursor, is_array);
    case ValueKind::kInt16: return read_scalars<std::int16_t, std::int64_t>(cursor, is_array);
    case ValueKind::kUint32: return read_scalars<std::uint32_t, std::uint64_t>(cursor, is_array);
    case ValueKind::kInt32: return read_scalars<std::int32_t, std::int64_t>(cursor, is_array);
    case ValueKind::kUint64: return read_scalars<std::uint64_t, std::uint64_t>(cursor, is_array);
    case ValueKind::kInt64: return read_scalars<std::int64_t, std::int64_t>(cursor, is_array);
    case ValueKind::kFloat32: return read_scalars<float, double>(cursor, is_array);
    case ValueKind::kFloat64: return read_scalars<double, double>(cursor, is_array);
    case ValueKind::kBool: return read_scalars<std::uint8_t, bool>(cursor, is_array);
    case ValueKind::kString: return read_strings(cursor, is_array);
    case ValueKind::kArray:
      cursor.fail("key \"" + printable(key) + "\": want a list of values, got a list of lists");
      return {};
  }
  cursor.fail("key \"" + printable(key) + "\": want a kind of value from 0 to 12, got " +
              std::to_string(static_cast<std::uint32_t>(kind)));
  return {};
}

// The product of the extents; nullopt past 2^63 - 1.
std::optional<std::int64_t> product(std::span<const std::int64_t> shape) noexcept {
  std::int64_t values = 1;
  for (const std::int64_t extent : shape)
    if (__builtin_mul_overflow(values, extent, &values)) return std::nullopt;
  return values;
}

// One row of the directory. `offset` is still counted from the start of the data; `bytes` stays 0 for an unknown type.
GgufTensor read_tensor(Cursor& cursor) {
  GgufTensor tensor;
  tensor.name = cursor.read_string("a tensor's name");
  const std::string who = "tensor \"" + printable(tensor.name) + "\": ";
  if (tensor.name.size() > kLongestTensorName)
    cursor.fail(who + "want a name of at most 63 bytes, got " + std::to_string(tensor.name.size()));

  const auto dims = cursor.read<std::uint32_t>("a tensor's number of axes");
  if (!cursor.failed() && (dims < 1 || dims > kMostDims))
    cursor.fail(who + "want 1 to 4 axes, got " + std::to_string(dims));
  for (std::uint32_t axis = 0; axis < dims && !cursor.failed(); ++axis) {
    const auto extent = cursor.read<std::uint64_t>("a tensor's extent");
    if (!cursor.failed() && (extent < 1 || extent > std::uint64_t{std::numeric_limits<std::int64_t>::max()}))
      cursor.fail(who + "want an extent from 1 to 2^63 - 1, got " + std::to_string(extent));
    tensor.shape.push_back(static_cast<std::int64_t>(extent));
  }
  tensor.type = GgufType{cursor.read<std::uint32_t>("a tensor's type")};
  tensor.offset = cursor.read<std::uint64_t>("a tensor's offset");
  if (cursor.failed()) return tensor;

  const auto values = product(tensor.shape);
  if (!values) {
    cursor.fail(who + "want fewer than 2^63 values, got a shape of more");
    return tensor;
  }
  const GgufBlock block = block_of(tensor.type);
  if (block.values == 0) return tensor;
  if (tensor.shape[0] % block.values != 0) {
    cursor.fail(who + "want rows of a multiple of " + std::to_string(block.values) + " values for " +
                name_of(tensor.type) + ", got " + std::to_string(tensor.shape[0]));
    return tensor;
  }
  if (__builtin_mul_overflow(static_cast<std::uint64_t>(*values / block.values),
                             static_cast<std::uint64_t>(block.bytes), &tensor.bytes))
    cursor.fail(who + "want its bytes within the file, got more than 2^64");
  return tensor;
}

// Makes the offsets absolute, and holds every tensor against the file and against its neighbours.
void place_tensors(Cursor& cursor, std::uint64_t file_bytes, std::uint64_t alignment,
                   std::vector<GgufTensor>& tensors) {
  if (tensors.empty()) return;
  const std::uint64_t start = (cursor.position() + alignment - 1) & ~(alignment - 1);
  for (GgufTensor& tensor : tensors) {
    const std::string who = "tensor \"" + printable(tensor.name) + "\": ";
    if (tensor.offset % alignment != 0)
      return cursor.fail(who + "want an offset that is a multiple of " + std::to_string(alignment) + ", got " +
                         std::to_string(tensor.offset));
    if (start > file_bytes || tensor.offset > file_bytes - start || tensor.bytes > file_bytes - start - tensor.offset)
      return cursor.fail(who + "want " + std::to_string(tensor.bytes) + " bytes at offset " +
                         std::to_string(tensor.offset) + " of the data, got a file that holds " +
                         std::to_string(start > file_bytes ? 0 : file_bytes - start));
    tensor.offset += start;
  }

  std::vector<const GgufTensor*> by_offset;
  for (const GgufTensor& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i)
    if (by_offset[i - 1]->offset + by_offset[i - 1]->bytes > by_offset[i]->offset)
      return cursor.fail("tensor \"" + printable(by_offset[i]->name) +
                         "\": want bytes of its own, got some of tensor \"" + printable(by_offset[i - 1]->name) + "\"");
}

Error wrong_kind(std::string_view key, std::string_view want, const GgufValue& value) {
  return {Code::kInvalid, "gguf:" + printable(key),
          "want " + std::string(want) + ", got " + std::string(kind_of(value))};
}

}  // namespace

struct GgufFile::State {
  std::string path;
  config::MappedFile file;
  std::vector<GgufEntry> metadata;
  std::vector<GgufTensor> tensors;
  std::unordered_map<std::string_view, std::size_t> key_index;     // views into metadata
  std::unordered_map<std::string_view, std::size_t> tensor_index;  // views into tensors
};

std::string name_of(GgufType type) {
  const TypeRow* const row = row_of(type);
  return row ? std::string(row->name) : "type " + std::to_string(static_cast<std::uint32_t>(type));
}

GgufBlock block_of(GgufType type) noexcept {
  const TypeRow* const row = row_of(type);
  return row ? row->block : GgufBlock{};
}

std::int64_t GgufTensor::values() const noexcept { return product(shape).value_or(0); }

Result<GgufFile> GgufFile::open(const std::string& path) {
  auto mapped = config::MappedFile::open(path);
  if (!mapped) return mapped.error();
  const auto state = std::make_shared<State>(State{path, *std::move(mapped), {}, {}, {}, {}});
  const std::span<const std::byte> bytes = state->file.bytes();

  Cursor cursor(bytes, "gguf:" + file_name(path));
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    cursor.fail("want a file that begins with \"GGUF\", got \"" +
                printable({reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), 4)}) +
                "\"");
    return cursor.error();
  }
  cursor.read<std::uint32_t>("the magic");
  const auto version = cursor.read<std::uint32_t>("the version");
  // A small number with its bytes turned round has nothing in its lower half.
  if (version != 0 && (version & 0xffff) == 0)
    cursor.fail("want a little-endian file, got a big-endian one (version " +
                std::to_string(__builtin_bswap32(version)) + ")");
  else if (version != 2 && version != 3)
    cursor.fail("want GGUF version 2 or 3, got " + std::to_string(version), Code::kUnsupported);

  // Both counts come before what they count, so both are first held against the whole rest of the file.
  const auto tensor_count = cursor.read_count("the number of tensors", kLeastTensorBytes);
  const auto entry_count = cursor.read_count("the number of keys", kLeastEntryBytes);

  for (std::uint64_t i = 0; i < entry_count && !cursor.failed(); ++i) {
    GgufEntry entry;
    entry.key = cursor.read_string("a key");
    entry.value = read_value(cursor, entry.key);
    if (!cursor.failed()) state->metadata.push_back(std::move(entry));
  }
  for (std::size_t i = 0; i < state->metadata.size() && !cursor.failed(); ++i)
    if (!state->key_index.emplace(state->metadata[i].key, i).second)
      cursor.fail("want every key once, got \"" + printable(state->metadata[i].key) + "\" twice");

  for (std::uint64_t i = 0; i < tensor_count && !cursor.failed(); ++i) {
    GgufTensor tensor = read_tensor(cursor);
    if (!cursor.failed()) state->tensors.push_back(std::move(tensor));
  }
  for (std::size_t i = 0; i < state->tensors.size() && !cursor.failed(); ++i)
    if (!state->tensor_index.emplace(state->tensors[i].name, i).second)
      cursor.fail("want every tensor once, got \"" + printable(state->tensors[i].name) + "\" twice");
  if (cursor.failed()) return cursor.error();

  GgufFile file;
  file.state_ = state;

  const auto part = file.integer("split.no");
  if (!part) return part.error();
  if (part->value_or(0) != 0)
    return Error{Code::kUnsupported, "gguf:split.no",
                 "want the first part of a split file, which holds the metadata, got part " +
                     std::to_string(part->value_or(0)) + " (counted from 0)"};

  // What ggml takes: any power of two (the specification's "multiple of 8" is not held there).
  const auto alignment = file.integer("general.alignment");
  if (!alignment) return alignment.error();
  const std::int64_t align = alignment->value_or(32);
  if (align < 1 || align > std::int64_t{1} << 31 || (align & (align - 1)) != 0)
    return Error{Code::kFormat, "gguf:general.alignment", "want a power of two, got " + std::to_string(align)};

  place_tensors(cursor, bytes.size(), static_cast<std::uint64_t>(align), state->tensors);
  if (cursor.failed()) return cursor.error();
  return file;
}

const std::string& GgufFile::path() const noexcept { return state_->path; }
std::span<const GgufEntry> GgufFile::metadata() const noexcept { return state_->metadata; }
std::span<const GgufTensor> GgufFile::tensors() const noexcept { return state_->tensors; }

const GgufValue* GgufFile::find(std::string_view key) const noexcept {
  const auto found = state_->key_index.find(key);
  return found == state_->key_index.end() ? nullptr : &state_->metadata[found->second].value;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const noexcept {
  const auto found = state_->tensor_index.find(name);
  return found == state_->tensor_index.end() ? nullptr : &state_->tensors[found->second];
}

Result<std::optional<std::int64_t>> GgufFile::integer(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (!value) return std::optional<std::int64_t>{};
  if (const auto* whole = std::get_if<std::int64_t>(value)) return std::optional(*whole);
  if (const auto* whole = std::get_if<std::uint64_t>(value)) {
    if (*whole <= std::uint64_t{std::numeric_limits<std::int64_t>::max()})
      return std::optional(static_cast<std::int64_t>(*whole));
    return Error{Code::kInvalid, "gguf:" + printable(key), "want an integer below 2^63, got " + std::to_string(*whole)};
  }
  return wrong_kind(key, "an integer", *value);
}

Result<std::optional<double>> GgufFile::number(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (!value) return std::optional<double>{};
  if (const auto* real = std::get_if<double>(value)) return std::optional(*real);
  if (const auto* whole = std::get_if<std::int64_t>(value)) return std::optional(static_cast<double>(*whole));
  if (const auto* whole = std::get_if<std::uint64_t>(value)) return std::optional(static_cast<double>(*whole));
  return wrong_kind(key, "a number", *value);
}

Result<std::optional<std::string>> GgufFile::text(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (!value) return std::optional<std::string>{};
  if (const auto* text = std::get_if<std::string>(value)) return std::optional(*text);
  return wrong_kind(key, "a string", *value);
}

std::span<const std::byte> GgufFile::data(const GgufTensor& tensor) const noexcept {
  const std::span<const std::byte> bytes = state_->file.bytes();
  if (tensor.offset > bytes.size() || tensor.bytes > bytes.size() - tensor.offset) return {};
  return bytes.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.bytes));
}

}  // namespace ropewalk
