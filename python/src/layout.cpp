#include <ropewalk/layout.hpp>

#include "arrays.hpp"
#include "rooms.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <span>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

PairLayout layout_named(const std::string& name, const char* argument) {
  if (name == "half") return PairLayout::kHalf;
  if (name == "interleaved") return PairLayout::kInterleaved;
  refuse(argument, "want \"half\" or \"interleaved\", got \"" + name + '"');
}

HeadChannels channels_of(int head_dim, int rotary_dim, int rotary_offset) {
  return {.head_dim = head_dim,
          .rotary_dim = rotary_dim > 0 ? rotary_dim : head_dim - rotary_offset,
          .rotary_offset = rotary_offset};
}

}  // namespace

void bind_layout(nb::module_& m) {
  m.def(
      "channel_order",
      [](const std::string& from, const std::string& to, int head_dim, int rotary_dim, int rotary_offset) {
        return as_numpy(value_or_refuse(channel_order(layout_named(from, "from_layout"), layout_named(to, "to_layout"),
                                                      channels_of(head_dim, rotary_dim, rotary_offset))));
      },
      "from_layout"_a, "to_layout"_a, "head_dim"_a, "rotary_dim"_a = 0, "rotary_offset"_a = 0,
      "The order of a head's channels that takes it from one pair layout (\"half\", \"interleaved\") to the other, "
      "int32\n"
      "[head_dim]: to_head[c] = from_head[order[c]]. rotary_dim 0: all from rotary_offset on.");
  m.def(
      "permute_rows",
      [](nb::handle weight, const std::string& from, const std::string& to, int head_dim, std::int64_t heads,
         int rotary_dim, int rotary_offset) {
        const Array in = Array::to_read(weight, "weight");
        if (in.dims() < 1 || in.dims() > 2)
          refuse("weight", "want [heads * head_dim, columns] or [heads * head_dim], got " + in.shape());
        const std::int64_t columns = in.dims() == 2 ? in.size(1) : 1;
        const std::int64_t row = columns * in.element_bytes();
        if (in.elements() > 0 &&
            ((columns > 1 && in.dims() == 2 && in.stride(1) != 1) || (in.size(0) > 1 && in.stride(0) != columns)))
          refuse("weight", "want contiguous rows, got strides");
        const HeadChannels head = channels_of(head_dim, rotary_dim, rotary_offset);
        if (heads < 0) refuse("heads", "want a number >= 0, got " + std::to_string(heads));
        if (heads == 0 && head_dim > 0) heads = in.size(0) / head_dim;
        nb::object result = empty_like(weight);
        const Array out = Array::to_write(result, "weight");
        const auto bytes = static_cast<std::size_t>(in.size(0) * row);
        refuse_if(permute_rows(layout_named(from, "from_layout"), layout_named(to, "to_layout"), head, heads, row,
                               std::span(static_cast<const std::byte*>(in.data()), bytes),
                               std::span(static_cast<std::byte*>(out.data()), bytes)));
        return finished(std::move(result), weight);
      },
      "weight"_a, "from_layout"_a, "to_layout"_a, nb::kw_only(), "head_dim"_a, "heads"_a = 0, "rotary_dim"_a = 0,
      "rotary_offset"_a = 0,
      "Reorders the rows of what projects to queries or keys, so that the other pair layout gives the same scores.\n\n"
      "weight: [heads * head_dim, columns], or a bias [heads * head_dim], of any dtype, contiguous. heads 0: by its "
      "size.");
}

}  // namespace ropewalk::python
