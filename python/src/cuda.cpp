// What ropewalk.torch asks of the kernels for NVIDIA devices.
#include "arrays.hpp"
#include "rooms.hpp"

#include <ropewalk/cuda.hpp>

#include <nanobind/stl/string.h>

#include <array>
#include <span>
#include <string>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

cuda::DevicePositions positions_of(const Array& array, bool are_offsets, const HeadsView& x, int axes) {
  const std::string name = are_offsets ? "seqlen_offsets" : "position_ids";
  const bool is_int32 = array.element() == Element::kInt32;
  if (!is_int32 && array.element() != Element::kInt64)
    refuse(name, "want int64 or int32 on a device, got another dtype", Code::kUnsupported);
  const std::size_t dims = array.dims();
  if (are_offsets) {
    if (dims > 1) refuse(name, "want a number or [batch], got " + array.shape());
    const std::int64_t rows = dims == 0 ? 1 : array.size(0);
    auto view = cuda::DevicePositions::offsets(array.data(), is_int32, rows, x.tokens, axes);
    view.batch_stride = dims == 0 ? 0 : array.stride(0);
    return view;
  }
  if (dims < 1 || dims > 3)
    refuse(name, "want [tokens], [batch, tokens] or [axes, batch, tokens], got " + array.shape());
  if (dims == 3 && array.size(0) != axes)
    refuse(name, "want [" + std::to_string(axes) + ", batch, tokens], got " + array.shape());
  return {.data = array.data(),
          .is_int32 = is_int32,
          .axes = axes,
          .batch = dims > 1 ? array.size(dims - 2) : 1,
          .tokens = array.size(dims - 1),
          .axis_stride = dims < 3 ? 0 : array.stride(0),
          .batch_stride = dims < 2 ? 0 : array.stride(dims - 2),
          .token_stride = array.stride(dims - 1)};
}

bool turn(const Rotary& rotary, nb::handle q, nb::handle k, nb::handle q_out, nb::handle k_out, nb::handle positions,
          bool are_offsets, std::int64_t first, const char* layout, const char* direction, std::uintptr_t stream) {
  const Order order = order_named(layout);
  const nb::handle in[] = {q, k}, out[] = {q_out, k_out};
  const std::size_t count = k.is_none() ? 1 : 2;
  std::array<RotaryOperand, 2> operands;
  std::array<Array, 5> held;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = i == 0 ? "q" : "k";
    held[2 * i] = Array::of_device_tensor(in[i]);
    held[2 * i + 1] = Array::of_device_tensor(out[i]);
    operands[i].in = heads_of(held[2 * i], order, name);
    operands[i].out = heads_of(held[2 * i + 1], order, name);
  }
  if (count == 2 && held[1].elements() > 0 && held[3].elements() > 0 && held[1].data() == held[3].data())
    refuse(held[2].data() == held[3].data() ? "k" : "out",
           "want memory apart for q and k, got the same: it would be written twice");
  const HeadsView& x = operands.front().in;
  const int axes = rotary.spec().axes();
  cuda::DevicePositions where = cuda::DevicePositions::range(first, x.tokens, axes);
  if (!positions.is_none()) {
    held[4] = Array::of_device_tensor(positions);
    where = positions_of(held[4], are_offsets, x, axes);
  }
  auto error = cuda::apply(rotary, std::span(operands).first(count), where, direction_named(direction),
                           reinterpret_cast<void*>(stream));
  if (error && error->code == Code::kUnsupported) return false;
  refuse_operands(std::move(error));
  return true;
}

}  // namespace

void bind_cuda(nb::module_& m) {
  m.def("cuda_is_built", cuda::is_built, "Whether this build has kernels for NVIDIA devices.");
  m.def("cuda_runs_here", cuda::runs_here, "Whether it has them for the current device.");
  m.def(
      "cuda_serves", [](const Rotary& rotary) { return !cuda::check(rotary); }, "rotary"_a,
      "Whether those kernels turn what this operator turns.");
  m.def(
      "cuda_turn", turn, "rotary"_a, "q"_a, "k"_a.none(), "q_out"_a, "k_out"_a.none(), "positions"_a.none(),
      "are_offsets"_a, "first"_a, "layout"_a, "direction"_a, "stream"_a,
      "Puts the kernel on a stream of the current device, where all tensors lie; False if it does not serve the call.\n"
      "positions: int64 or int32 as position_ids, or [batch] from which rows count; None: first, first + 1, ...");
}

}  // namespace ropewalk::python
