// The operator as a target of XLA's foreign function interface, for ropewalk.jax on CPU.
#include "arrays.hpp"
#include "rooms.hpp"

#include <ropewalk/rotary.hpp>

#include <nanobind/stl/string.h>
#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::python {
namespace nb = nanobind;
namespace ffi = xla::ffi;
using namespace nb::literals;
namespace {

// Compiled programs know an operator by its key, which the process that runs one has registered when it traced it.
std::mutex registry_lock;
std::map<std::string, Rotary, std::less<>>& registry() {
  static auto* const operators = new std::map<std::string, Rotary, std::less<>>;  // programs may outlive the module
  return *operators;
}
const Rotary* find_operator(std::string_view key) {
  const std::lock_guard guard(registry_lock);
  const auto found = registry().find(key);
  return found == registry().end() ? nullptr : &found->second;
}

std::optional<DType> dtype_of(ffi::DataType dtype) noexcept {
  switch (dtype) {
    case ffi::DataType::F32: return DType::kFloat32;
    case ffi::DataType::BF16: return DType::kBFloat16;
    case ffi::DataType::F16: return DType::kFloat16;
    default: return std::nullopt;
  }
}

// Row-major [batch, tokens, heads, head_dim] in one of its orders.
HeadsView heads_at(char* data, DType dtype, Order order, const std::int64_t* sizes) noexcept {
  switch (order) {
    case Order::kBshd: return HeadsView::bshd(data, dtype, sizes[0], sizes[1], sizes[2], sizes[3]);
    case Order::kBhsd: return HeadsView::bhsd(data, dtype, sizes[0], sizes[1], sizes[2], sizes[3]);
    case Order::kSbhd: return HeadsView::sbhd(data, dtype, sizes[0], sizes[1], sizes[2], sizes[3]);
    case Order::kThd: return HeadsView::thd(data, dtype, sizes[0], sizes[1], sizes[2]);
  }
  return {};
}

ffi::Error refused(const Error& error) { return ffi::Error::InvalidArgument(error.line()); }
ffi::Error refused(const char* path, const char* message) { return refused(Error{Code::kInvalid, path, message}); }

// One operand. Axes before those of the order and of the positions are vmap's: each is a call of its own.
ffi::Error turn(ffi::AnyBuffer x, ffi::AnyBuffer positions, ffi::Result<ffi::AnyBuffer> y, std::string_view key,
                std::int64_t direction, std::int64_t order_number, std::int64_t role, std::int64_t position_axes) {
  const Rotary* const rotary = find_operator(key);
  if (rotary == nullptr) return refused("operator", "want one that this process has made, got another's");
  const std::optional<DType> dtype = dtype_of(x.element_type());
  if (!dtype) return refused("x", "want float32, bfloat16 or float16, got another dtype");
  const auto order = static_cast<Order>(order_number);
  const std::size_t own = order == Order::kThd ? 3 : 4;
  const auto sizes = x.dimensions();
  if (sizes.size() < own) return refused("x", "want as many axes as its layout says, got fewer");
  const std::size_t outer = sizes.size() - own;
  const auto where = positions.dimensions();
  const auto position_dims = static_cast<std::size_t>(position_axes);
  if (where.size() != outer + position_dims) return refused("position_ids", "want the outer axes of x, got others");
  const int axes = rotary->spec().axes();
  if (position_axes < 1 || position_axes > 3)
    return refused("position_ids", "want [tokens], [batch, tokens] or [axes, batch, tokens], got other axes");
  if (position_axes == 3 && where[outer] != axes)
    return refused("position_ids", "want as many axes as the spec has, got others");

  std::int64_t calls = 1, elements = 1, numbers = 1;
  for (std::size_t i = 0; i < outer; ++i) {
    calls *= sizes[i];
    if (where[i] != sizes[i]) return refused("position_ids", "want the outer axes of x, got others");
  }
  for (std::size_t i = outer; i < sizes.size(); ++i) elements *= sizes[i];
  for (std::size_t i = outer; i < where.size(); ++i) numbers *= where[i];
  const std::int64_t bytes = elements * static_cast<std::int64_t>(size_of(*dtype));
  const std::int64_t tokens = where[where.size() - 1];
  const std::int64_t batch = position_dims > 1 ? where[where.size() - 2] : 1;

  const auto run = [&](auto view, const auto* first) -> ffi::Error {
    view.axes = axes;
    view.batch = batch;
    view.tokens = tokens;
    view.batch_stride = batch == 1 ? 0 : tokens;
    view.axis_stride = position_dims > 2 ? batch * tokens : 0;
    for (std::int64_t i = 0; i < calls; ++i) {
      char* const from = static_cast<char*>(x.untyped_data()) + i * bytes;
      char* const to = static_cast<char*>(y->untyped_data()) + i * bytes;
      const RotaryOperand operand{.in = heads_at(from, *dtype, order, sizes.begin() + outer),
                                  .out = heads_at(to, *dtype, order, sizes.begin() + outer),
                                  .role = static_cast<Role>(role)};
      view.data = first + i * numbers;
      const std::span<const RotaryOperand> operands(&operand, 1);
      if (const auto error = rotary->check(operands, view)) return refused(*error);
      rotary->apply(operands, view, {.direction = static_cast<Direction>(direction), .threads = 0});
    }
    return ffi::Error::Success();
  };

  const std::int64_t all = calls * numbers;
  switch (positions.element_type()) {
    case ffi::DataType::S64: return run(PositionsView{}, static_cast<const std::int64_t*>(positions.untyped_data()));
    case ffi::DataType::S32: {
      const auto* const narrow = static_cast<const std::int32_t*>(positions.untyped_data());
      const std::vector<std::int64_t> wide(narrow, narrow + all);
      return run(PositionsView{}, wide.data());
    }
    case ffi::DataType::F64: return run(CoordinatesView{}, static_cast<const double*>(positions.untyped_data()));
    case ffi::DataType::F32: {
      const auto* const narrow = static_cast<const float*>(positions.untyped_data());
      const std::vector<double> wide(narrow, narrow + all);
      return run(CoordinatesView{}, wide.data());
    }
    default: return refused("position_ids", "want int32, int64, float32 or float64, got another dtype");
  }
}

XLA_FFI_DEFINE_HANDLER(kTurn, turn,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<std::string_view>("key")
                           .Attr<std::int64_t>("direction")
                           .Attr<std::int64_t>("order")
                           .Attr<std::int64_t>("role")
                           .Attr<std::int64_t>("position_axes"));

}  // namespace

void bind_jax(nb::module_& m) {
  m.def(
      "jax_register_operator",
      [](const std::string& key, const Rotary& rotary) {
        const std::lock_guard guard(registry_lock);
        registry().emplace(key, rotary);
      },
      "key"_a, "rotary"_a);
  m.def(
      "jax_turn", [] { return nb::capsule(reinterpret_cast<void*>(+kTurn), "xla._CUSTOM_CALL_TARGET"); },
      nb::sig("def jax_turn() -> typing.Any"), "The target of XLA's foreign function interface.");
}

}  // namespace ropewalk::python
