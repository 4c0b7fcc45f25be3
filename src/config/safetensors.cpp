// The container, as huggingface/safetensors describes it (README.md, "Format"): eight bytes of header length, a JSON
// object, then the tensors side by side.

#include <ropewalk/safetensors.hpp>

#include "config/mapped_file.hpp"
#include "config/printable.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace ropewalk {
namespace {

using config::file_name;
using config::in_quotes;
using config::printable;

static_assert(std::endian::native == std::endian::little, "the header's length is read as it lies");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // the limit of the format's own reader

struct DTypeRow {
  std::string_view name;
  std::uint64_t bytes;
};

constexpr DTypeRow kDTypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
    {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},     {"I32", 4},
    {"F32", 4},  {"U64", 8}, {"I64", 8}, {"F64", 8},     {"C64", 8},
};

std::optional<std::uint64_t> bytes_of(std::string_view dtype) noexcept {
  for (const DTypeRow& row : kDTypes)
    if (row.name == dtype) return row.bytes;
  return std::nullopt;
}

// Takes the header as it is parsed, with no tree in between: a header has three levels and no more, so a nesting bomb
// ends at its fourth bracket, and a name that stands twice is seen (a tree would keep the last).
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<SafetensorsTensor> tensors;  // `offset` counted from the start of the data, `bytes` from data_offsets
  std::vector<std::pair<std::string, std::string>> metadata;
  std::string failure;  // empty while all is well

  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) return enter(Place::kTop);
    if (place_ == Place::kTop && name_ == "__metadata__") return enter(Place::kMetadata);
    if (place_ != Place::kTop) return fail_value("an object");
    tensors.emplace_back().name = name_;
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    return enter(Place::kTensor);
  }

  bool end_object() override {
    switch (place_) {
      case Place::kMetadata: return enter(Place::kTop);
      case Place::kTensor:
        if (!seen_dtype_ || !seen_shape_ || !seen_offsets_)
          return fail(who() + "want dtype, shape and data_offsets, got not all of them");
        return enter(Place::kTop);
      default: return enter(Place::kOutside);
    }
  }

  bool key(string_t& text) override {
    if (place_ == Place::kTop) {
      name_ = text;
      field_.clear();
      return names_.insert(text).second || fail("want every tensor once, got \"" + printable(text) + "\" twice");
    }
    field_ = text;
    if (place_ == Place::kMetadata)
      return metadata_keys_.insert(text).second ||
             fail(who() + "want every key once, got \"" + printable(text) + "\" twice");
    if (text == "dtype") return once(seen_dtype_);
    if (text == "shape") return once(seen_shape_);
    if (text == "data_offsets") return once(seen_offsets_);
    return fail(who() + "want dtype, shape and data_offsets, got \"" + printable(text) + "\"");
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kTensor && field_ == "shape") return enter(Place::kShape);
    if (place_ == Place::kTensor && field_ == "data_offsets") {
      offset_count_ = 0;
      return enter(Place::kOffsets);
    }
    return fail_value("a list");
  }

  bool end_array() override {
    if (place_ == Place::kOffsets) {
      if (offset_count_ != 2) return fail(who() + "want two data_offsets, got " + std::to_string(offset_count_));
      if (offsets_[1] < offsets_[0])
        return fail(who() + "want data_offsets that rise, got " + std::to_string(offsets_[0]) + " to " +
                    std::to_string(offsets_[1]));
      tensors.back().offset = offsets_[0];
      tensors.back().bytes = offsets_[1] - offsets_[0];
    }
    return enter(Place::kTensor);
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape && value <= number_unsigned_t{std::numeric_limits<std::int64_t>::max()}) {
      tensors.back().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets) {
      if (offset_count_ < 2) offsets_[offset_count_] = value;
      ++offset_count_;
      return true;
    }
    return fail_value(std::to_string(value));
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      metadata.emplace_back(field_, value);
      return true;
    }
    if (place_ == Place::kTensor && field_ == "dtype") {
      tensors.back().dtype = value;
      return true;
    }
    return fail_value(in_quotes(value));
  }

  bool number_integer(number_integer_t value) override { return fail_value(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return fail_value(printable(text)); }
  bool boolean(bool value) override { return fail_value(value ? "true" : "false"); }
  bool null() override { return fail_value("null"); }
  bool binary(binary_t&) override { return fail_value("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    return fail("want a header of JSON in UTF-8, got something else at its byte " + std::to_string(position));
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets };

  bool enter(Place place) {
    place_ = place;
    return true;
  }

  bool fail(std::string message) {
    if (failure.empty()) failure = std::move(message);
    return false;
  }

  bool fail_value(const std::string& got) {
    switch (place_) {
      case Place::kOutside: return fail("want a header that is a JSON object, got " + got);
      case Place::kTop: return fail(who() + "want an object, got " + got);
      case Place::kMetadata: return fail(who() + "want strings, got " + got);
      case Place::kTensor:
        return fail(who() + printable(field_) + ": want " + (field_ == "dtype" ? "a string" : "a list") + ", got " +
                    got);
      case Place::kShape: return fail(who() + "shape: want integers from 0 to 2^63 - 1, got " + got);
      case Place::kOffsets: return fail(who() + "data_offsets: want integers from 0, got " + got);
    }
    return false;
  }

  bool once(bool& seen) {
    if (seen) return fail(who() + "want every key once, got \"" + field_ + "\" twice");
    return seen = true;
  }

  std::string who() const { return std::string(name_ == "__metadata__" ? "" : "tensor ") + in_quotes(name_) + ": "; }

  Place place_ = Place::kOutside;
  std::string name_;   // of the tensor, or __metadata__
  std::string field_;  // the key inside it
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> metadata_keys_;
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  std::uint64_t offsets_[2] = {0, 0};
  std::size_t offset_count_ = 0;
};

// Holds every tensor's size against its shape, and all of them against the data: side by side, from its first byte to
// its last. Makes the offsets absolute.
std::optional<Error> place_tensors(std::vector<SafetensorsTensor>& tensors, std::uint64_t start,
                                   std::uint64_t data_bytes, const std::string& where) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  std::uint64_t end = 0;
  for (SafetensorsTensor& tensor : tensors) {
    const std::string who = "tensor \"" + printable(tensor.name) + "\": ";
    const auto size = bytes_of(tensor.dtype);
    if (!size)
      return Error{
          Code::kUnsupported, where,
          who + "want a dtype of whole bytes that this version knows, got \"" + printable(tensor.dtype) + "\""};

    // A zero extent makes a tensor empty, whatever the others would overflow to.
    std::uint64_t want = *size;
    bool overflows = false;
    for (const std::int64_t extent : tensor.shape)
      overflows = __builtin_mul_overflow(want, static_cast<std::uint64_t>(extent), &want) || overflows;
    if (std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end()) {
      want = 0;
      overflows = false;
    }
    if (overflows)
      return Error{Code::kFormat, where,
                   who + "shape: want one of the " + std::to_string(tensor.bytes) +
                       " bytes between its data_offsets, got one of more than 2^64"};
    if (want != tensor.bytes)
      return Error{
          Code::kFormat, where,
          who + "want " + std::to_string(want) + " bytes for its shape and dtype, got " + std::to_string(tensor.bytes)};
    if (tensor.offset != end)
      return Error{Code::kFormat, where,
                   who + "want data from byte " + std::to_string(end) + ", where the one before it ends, got byte " +
                       std::to_string(tensor.offset)};
    if (tensor.bytes > data_bytes - end)
      return Error{Code::kFormat, where,
                   who + "want data within the file's " + std::to_string(data_bytes) + " bytes of it, got bytes " +
                       std::to_string(tensor.offset) + " to " + std::to_string(tensor.offset + tensor.bytes)};
    end += tensor.bytes;
    tensor.offset += start;
  }
  if (end != data_bytes)
    return Error{Code::kFormat, where,
                 "want tensors that fill the " + std::to_string(data_bytes) + " bytes behind the header, got " +
                     std::to_string(end)};
  return std::nullopt;
}

}  // namespace

struct SafetensorsFile::State {
  std::string path;
  config::MappedFile file;
  std::vector<SafetensorsTensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::unordered_map<std::string_view, std::size_t> tensor_index;  // views into tensors
};

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  auto mapped = config::MappedFile::open(path);
  if (!mapped) return mapped.error();
  const auto state = std::make_shared<State>(State{path, *std::move(mapped), {}, {}, {}});
  const std::span<const std::byte> bytes = state->file.bytes();
  const std::string where = "safetensors:" + file_name(path);

  if (bytes.size() < kLengthBytes)
    return Error{Code::kFormat, where, "want at least 8 bytes, got " + std::to_string(bytes.size())};
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  const std::uint64_t most = std::min<std::uint64_t>(bytes.size() - kLengthBytes, kMostHeaderBytes);
  if (header_bytes > most)
    return Error{Code::kFormat, where,
                 "want a header of at most " + std::to_string(most) + " bytes, got " + std::to_string(header_bytes)};

  const auto* const header = reinterpret_cast<const char*>(bytes.data()) + kLengthBytes;
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(header, header + header_bytes, &reader))
    return Error{Code::kFormat, where, reader.failure};

  state->tensors = std::move(reader.tensors);
  state->metadata = std::move(reader.metadata);
  const std::uint64_t start = kLengthBytes + header_bytes;
  if (auto error = place_tensors(state->tensors, start, bytes.size() - start, where)) return *std::move(error);
  for (std::size_t i = 0; i < state->tensors.size(); ++i) state->tensor_index.emplace(state->tensors[i].name, i);

  SafetensorsFile file;
  file.state_ = state;
  return file;
}

const std::string& SafetensorsFile::path() const noexcept { return state_->path; }
std::span<const SafetensorsTensor> SafetensorsFile::tensors() const noexcept { return state_->tensors; }
std::span<const std::pair<std::string, std::string>> SafetensorsFile::metadata() const noexcept {
  return state_->metadata;
}

const SafetensorsTensor* SafetensorsFile::find_tensor(std::string_view name) const noexcept {
  const auto found = state_->tensor_index.find(name);
  return found == state_->tensor_index.end() ? nullptr : &state_->tensors[found->second];
}

std::span<const std::byte> SafetensorsFile::data(const SafetensorsTensor& tensor) const noexcept {
  const std::span<const std::byte> bytes = state_->file.bytes();
  if (tensor.offset > bytes.size() || tensor.bytes > bytes.size() - tensor.offset) return {};
  return bytes.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.bytes));
}

}  // namespace ropewalk
