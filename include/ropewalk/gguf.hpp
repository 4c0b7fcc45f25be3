#pragma once

#include <ropewalk/result.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ropewalk {

/// How the numbers of a GGUF tensor are stored. The values are those of the file format (ggml_type).
enum class GgufType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kF64 = 28,
  kBF16 = 30,
};

/// "F32", "Q4_1", ...; "type 99" for one this version does not know.
std::string name_of(GgufType type);

/// Values in a block and bytes a block takes; {0, 0} for a type this version does not know.
struct GgufBlock {
  std::int64_t values = 0;
  std::int64_t bytes = 0;
};
GgufBlock block_of(GgufType type) noexcept;

/// One metadata value. Integers of every width are widened; an array holds one kind only.
using GgufValue =
    std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<bool>, std::vector<std::int64_t>,
                 std::vector<std::uint64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufEntry {
  std::string key;
  GgufValue value;
};

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<std::int64_t> shape;  ///< fastest axis first, as in the file: [columns, rows] of a matrix
  std::uint64_t offset = 0;         ///< bytes from the start of the file
  std::uint64_t bytes = 0;          ///< checked to lie inside the file; 0 for a type this version does not know

  std::int64_t values() const noexcept;  ///< product of the shape
};

/// A GGUF file (versions 2 and 3, little endian), its directory read and checked, its tensors mapped and not copied.
/// Nothing in the file is trusted: every count, length and offset is held against the file's size before it is used.
class GgufFile {
 public:
  /// Errors: kUnavailable (cannot be opened: the reason of the system), kFormat (not a GGUF, truncated, a count or an
  /// offset beyond the file, a key or tensor twice, big endian), kUnsupported (another version, a split file's later
  /// part).
  static Result<GgufFile> open(const std::string& path);

  const std::string& path() const noexcept;
  std::span<const GgufEntry> metadata() const noexcept;  ///< in the file's order
  std::span<const GgufTensor> tensors() const noexcept;  ///< in the file's order

  const GgufValue* find(std::string_view key) const noexcept;
  const GgufTensor* find_tensor(std::string_view name) const noexcept;

  /// Typed looks at a key. nullopt if it is absent; an Error (path "gguf:KEY") if it is there with another type.
  Result<std::optional<std::int64_t>> integer(std::string_view key) const;
  Result<std::optional<double>> number(std::string_view key) const;
  Result<std::optional<std::string>> text(std::string_view key) const;

  /// The tensor's bytes, valid while any copy of this file lives; empty for a type this version does not know, so that
  /// such a file can still be explained.
  std::span<const std::byte> data(const GgufTensor& tensor) const noexcept;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace ropewalk
