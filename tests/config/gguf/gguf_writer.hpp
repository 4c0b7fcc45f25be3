#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

/// Writes GGUF files into memory, from the format's description and with nothing of the reader: the tests' own hand. It
/// writes whatever it is told, right or wrong.
class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;  ///< of the data; the key general.alignment is the caller's to write
  std::string magic = "GGUF";
  std::uint64_t extra_entries = 0;  ///< added to the count of keys
  std::uint64_t extra_tensors = 0;  ///< added to the count of tensors

  template <class T>
  static std::string bytes(T value) {
    std::string text(sizeof value, '\0');
    std::memcpy(text.data(), &value, sizeof value);
    return text;
  }
  static std::string string(std::string_view text) { return bytes<std::uint64_t>(text.size()) + std::string(text); }

  /// An entry of any kind: `value` is what stands behind the kind.
  GgufWriter& raw(std::string_view key, std::uint32_t kind, std::string_view value) {
    entries_ += string(key) + bytes(kind) + std::string(value);
    ++entry_count_;
    return *this;
  }
  GgufWriter& u8(std::string_view key, std::uint8_t value) { return raw(key, 0, bytes(value)); }
  GgufWriter& i8(std::string_view key, std::int8_t value) { return raw(key, 1, bytes(value)); }
  GgufWriter& u16(std::string_view key, std::uint16_t value) { return raw(key, 2, bytes(value)); }
  GgufWriter& i16(std::string_view key, std::int16_t value) { return raw(key, 3, bytes(value)); }
  GgufWriter& u32(std::string_view key, std::uint32_t value) { return raw(key, 4, bytes(value)); }
  GgufWriter& i32(std::string_view key, std::int32_t value) { return raw(key, 5, bytes(value)); }
  GgufWriter& f32(std::string_view key, float value) { return raw(key, 6, bytes(value)); }
  GgufWriter& boolean(std::string_view key, bool value) { return raw(key, 7, bytes<std::uint8_t>(value)); }
  GgufWriter& text(std::string_view key, std::string_view value) { return raw(key, 8, string(value)); }
  GgufWriter& u64(std::string_view key, std::uint64_t value) { return raw(key, 10, bytes(value)); }
  GgufWriter& i64(std::string_view key, std::int64_t value) { return raw(key, 11, bytes(value)); }
  GgufWriter& f64(std::string_view key, double value) { return raw(key, 12, bytes(value)); }
  GgufWriter& list(std::string_view key, std::uint32_t kind, std::uint64_t count, std::string_view values) {
    return raw(key, 9, bytes(kind) + bytes(count) + std::string(values));
  }
  GgufWriter& i32s(std::string_view key, std::initializer_list<std::int32_t> values) {
    std::string text;
    for (const std::int32_t value : values) text += bytes(value);
    return list(key, 5, values.size(), text);
  }

  /// A tensor whose data follow the ones before it.
  GgufWriter& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                     std::string_view data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment, '\0');
    tensor_at(name, shape, type, data_.size());
    data_ += data;
    return *this;
  }
  /// Only its row in the directory.
  GgufWriter& tensor_at(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint32_t type,
                        std::uint64_t offset) {
    directory_ += string(name) + bytes<std::uint32_t>(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t extent : shape) directory_ += bytes(extent);
    directory_ += bytes(type) + bytes(offset);
    ++tensor_count_;
    return *this;
  }
  GgufWriter& f32_tensor(std::string_view name, const std::vector<float>& values) {
    std::string data;
    for (const float value : values) data += bytes(value);
    return tensor(name, {values.size()}, 0, data);
  }

  std::string build() const {
    std::string file = magic + bytes(version) + bytes(tensor_count_ + extra_tensors) +
                       bytes(entry_count_ + extra_entries) + entries_ + directory_;
    if (tensor_count_ == 0) return file;
    file.resize((file.size() + alignment - 1) / alignment * alignment, '\0');
    return file + data_;
  }

 private:
  std::string entries_, directory_, data_;
  std::uint64_t entry_count_ = 0, tensor_count_ = 0;
};
