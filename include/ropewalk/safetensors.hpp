#pragma once

#include <ropewalk/result.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ropewalk {

struct SafetensorsTensor {
  std::string name;
  std::string dtype;                ///< as the file writes it: "F32", "BF16", "F16", "I64", ...
  std::vector<std::int64_t> shape;  ///< slowest axis first: [rows, columns] of a matrix
  std::uint64_t offset = 0;         ///< bytes from the start of the file
  std::uint64_t bytes = 0;          ///< checked to lie inside the file, and to be the product of shape and dtype
};

/// A safetensors file, its header read and checked, its tensors mapped and not copied. Nothing in it is trusted.
class SafetensorsFile {
 public:
  /// Errors: kUnavailable (cannot be opened), kFormat (header longer than the file, not JSON, a tensor beyond the file,
  /// overlapping or with holes, a name twice, a size that does not fit its shape), kUnsupported (a dtype this version
  /// does not know).
  static Result<SafetensorsFile> open(const std::string& path);

  const std::string& path() const noexcept;
  std::span<const SafetensorsTensor> tensors() const noexcept;                     ///< by offset
  std::span<const std::pair<std::string, std::string>> metadata() const noexcept;  ///< "__metadata__"
  const SafetensorsTensor* find_tensor(std::string_view name) const noexcept;
  std::span<const std::byte> data(const SafetensorsTensor& tensor) const noexcept;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace ropewalk
