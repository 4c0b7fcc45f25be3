#include <ropewalk/positions.hpp>

#include "arrays.hpp"
#include "rooms.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

ShardScheme scheme_named(const std::string& name) {
  if (name == "contiguous") return ShardScheme::kContiguous;
  if (name == "zigzag") return ShardScheme::kZigzag;
  refuse("scheme", "want \"contiguous\" or \"zigzag\", got \"" + name + '"');
}

}  // namespace

void bind_positions(nb::module_& m) {
  m.def(
      "positions_from_range",
      [](std::int64_t first, std::int64_t tokens) {
        auto values = value_or_refuse(positions_from_range(first, tokens));
        return as_numpy(std::move(values), {static_cast<std::size_t>(tokens)});
      },
      "first"_a, "tokens"_a, "first, first + 1, ..., `tokens` of them: int64 [tokens].");
  m.def(
      "positions_from_offsets",
      [](nb::handle seqlen_offsets, std::int64_t batch, std::int64_t tokens) {
        auto values =
            value_or_refuse(positions_from_offsets(whole_numbers(seqlen_offsets, "seqlen_offsets"), batch, tokens));
        return as_numpy(std::move(values), {static_cast<std::size_t>(batch), static_cast<std::size_t>(tokens)});
      },
      "seqlen_offsets"_a, "batch"_a, "tokens"_a,
      "int64 [batch, tokens]: row b counts from seqlen_offsets[b]; one offset serves every row.");
  m.def(
      "positions_from_cu_seqlens",
      [](nb::handle cu_seqlens, nb::handle seqlen_offsets) {
        std::vector<std::int64_t> offsets;
        if (!seqlen_offsets.is_none()) offsets = whole_numbers(seqlen_offsets, "seqlen_offsets");
        auto values = value_or_refuse(positions_from_cu_seqlens(whole_numbers(cu_seqlens, "cu_seqlens"), offsets));
        return as_numpy(std::move(values));
      },
      "cu_seqlens"_a, "seqlen_offsets"_a = nb::none(),
      "int64 [cu_seqlens[-1]]: packed sequences, each counting from 0: [0, 3, 8] gives 0 1 2 0 1 2 3 4.");
  m.def(
      "positions_from_mask",
      [](nb::handle mask, std::int64_t padding) {
        const nb::object held = nb::module_::import_("numpy").attr("asarray")(mask);
        const Array array = Array::to_read(held, "mask");
        if (array.dims() != 1 && array.dims() != 2)
          refuse("mask", "want [tokens] or [batch, tokens], got " + array.shape());
        const std::int64_t batch = array.dims() == 2 ? array.size(0) : 1;
        std::vector<std::uint8_t> real;
        for (const std::int64_t value : whole_numbers(held, "mask")) real.push_back(value != 0);
        auto values = value_or_refuse(positions_from_mask(real, batch, padding));
        return as_numpy(std::move(values), {static_cast<std::size_t>(batch),
                                            static_cast<std::size_t>(batch > 0 ? array.elements() / batch : 0)});
      },
      "mask"_a, "padding"_a = 0,
      "int64 [batch, tokens]: real tokens of each row count 0, 1, 2, ... wherever they stand; a padded one gets "
      "`padding`.");
  m.def(
      "positions_for_rank",
      [](std::int64_t tokens, int ranks, int rank, const std::string& scheme, std::int64_t first) {
        auto values = value_or_refuse(positions_for_rank(tokens, ranks, rank, scheme_named(scheme), first));
        return as_numpy(std::move(values));
      },
      "tokens"_a, "ranks"_a, "rank"_a, nb::kw_only(), "scheme"_a = "contiguous", "first"_a = 0,
      "The positions that one rank holds of a sequence: int64 [tokens / ranks]. zigzag: chunk r and chunk 2 ranks - 1 "
      "- r.");
}

}  // namespace ropewalk::python
