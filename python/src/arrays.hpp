#pragma once

#include "errors.hpp"

#include <ropewalk/dtype.hpp>
#include <ropewalk/positions.hpp>
#include <ropewalk/rotary.hpp>
#include <ropewalk/tensor.hpp>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ropewalk::python {

/// What an element is, by the words of numpy and torch.
enum class Element : std::uint8_t {
  kFloat32,
  kBFloat16,
  kFloat16,
  kFloat64,
  kInt64,
  kInt32,
  kUInt8,
  kInt8,
  kBool,
  kFloat8E4M3,
  kOther
};

/// Somebody else's array in the memory of this process, held while this lives. Never copied.
class Array {
 public:
  /// Anything with DLPack or a buffer, numpy's ml_dtypes.bfloat16 too. `name` stands in messages.
  static Array to_read(nanobind::handle object, std::string_view name);
  static Array to_write(nanobind::handle object, std::string_view name);
  /// A tensor of torch, to read or to write, whose gradient is somebody else's business.
  static Array of_tensor(nanobind::handle tensor, std::string_view name);
  /// The same wherever it lies. Its device is not asked for anything, not even to wait.
  static Array of_device_tensor(nanobind::handle tensor);

  std::size_t dims() const noexcept { return dims_; }
  std::int64_t size(std::size_t axis) const noexcept { return sizes_[axis]; }
  std::int64_t stride(std::size_t axis) const noexcept { return strides_[axis]; }
  std::int64_t elements() const noexcept;
  Element element() const noexcept { return element_; }
  std::int64_t element_bytes() const noexcept {
    return (read_.is_valid() ? read_.dtype().bits : written_.dtype().bits) / 8;
  }
  /// The views of this library take addresses that may be written; nobody writes to what came in by to_read.
  void* data() const noexcept { return data_; }
  std::string shape() const;  ///< "[2, 7, 64]"
  std::string dtype() const;  ///< "float64"

 private:
  template <class View>
  void take(nanobind::handle object, std::string_view name, View& held);
  bool borrow(nanobind::handle object);
  bool borrow_from_cpu(nanobind::handle object, std::string_view name);

  nanobind::object owner_;
  nanobind::ndarray<nanobind::ro> read_;
  nanobind::ndarray<> written_;
  void* data_ = nullptr;
  std::size_t dims_ = 0;
  const std::int64_t* sizes_ = nullptr;
  const std::int64_t* strides_ = nullptr;
  nanobind::dlpack::dtype dtype_{};
  Element element_ = Element::kOther;
  bool on_cpu_ = true;
  std::vector<std::int64_t> axes_;  // sizes and strides, where nobody else holds them
};

/// In which order the axes of queries and keys lie: b batch, s tokens, h heads, d channels, t packed tokens.
enum class Order : std::uint8_t { kBshd, kBhsd, kSbhd, kThd };
Order order_named(std::string_view name);

/// "forward", "inverse", "transpose" or "shift".
Direction direction_named(std::string_view name);

/// Refuses, by `name`, another number of axes, a dtype that is not float32, bfloat16 or float16, and channels that do
/// not lie side by side.
HeadsView heads_of(const Array& array, Order order, const std::string& name);

/// Refuses what Rotary::check says, in the words of a call from Python: "operands[1].in.heads" is "k.heads" there.
void refuse_operands(std::optional<Error> error);

/// An array of whole numbers as int64, in its own order, row after row.
std::vector<std::int64_t> whole_numbers(nanobind::handle object, std::string_view name);

/// Where the tokens of a call stand, however it was said.
class Positions {
 public:
  /// position_ids: [tokens], [batch, tokens] or [axes, batch, tokens] of whole numbers, or of floats for coordinates.
  /// seqlen_offsets: a number, or [batch]. cu_seqlens: [sequences + 1], with seqlen_offsets [sequences] or a number.
  /// Nothing: 0, 1, 2, ...
  Positions(nanobind::handle position_ids, nanobind::handle seqlen_offsets, nanobind::handle cu_seqlens,
            const HeadsView& x, int axes);

  bool are_whole() const noexcept { return are_whole_; }
  const PositionsView& whole() const noexcept { return whole_; }
  const CoordinatesView& coordinates() const noexcept { return coordinates_; }

 private:
  void from_ids(nanobind::handle ids, int axes);

  bool are_whole_ = true;
  PositionsView whole_;
  CoordinatesView coordinates_;
  std::optional<Array> held_;
  std::vector<std::int64_t> numbers_;
  std::vector<double> reals_;
};

/// A new array of numpy that owns its numbers; of one axis if no shape is given.
template <class T>
nanobind::object as_numpy(std::vector<T> values, std::vector<std::size_t> shape = {}) {
  if (shape.empty()) shape = {values.size()};
  auto held = std::make_unique<std::vector<T>>(std::move(values));
  T* const data = held->data();
  nanobind::capsule owner(held.release(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nanobind::cast(nanobind::ndarray<nanobind::numpy, T>(data, shape.size(), shape.data(), owner));
}

/// A new array of the same kind, shape and dtype, not filled, whose numbers can be written.
nanobind::object empty_like(nanobind::handle object);
/// What empty_like gave, as an array of `like`'s own kind.
nanobind::object finished(nanobind::object filled, nanobind::handle like);

}  // namespace ropewalk::python
