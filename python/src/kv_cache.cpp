#include "caches.hpp"
#include "lock.hpp"
#include "rooms.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <span>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

constexpr CacheFormat kFormats[] = {CacheFormat::kFloat32,    CacheFormat::kBFloat16, CacheFormat::kFloat16,
                                    CacheFormat::kFloat8E4M3, CacheFormat::kInt8,     CacheFormat::kInt4};

CacheFormat format_of(const Array& data, const std::optional<std::string>& said, const std::string& name) {
  std::optional<CacheFormat> by_dtype;
  switch (data.element()) {
    case Element::kFloat32: by_dtype = CacheFormat::kFloat32; break;
    case Element::kBFloat16: by_dtype = CacheFormat::kBFloat16; break;
    case Element::kFloat16: by_dtype = CacheFormat::kFloat16; break;
    case Element::kInt8: by_dtype = CacheFormat::kInt8; break;
    case Element::kFloat8E4M3: by_dtype = CacheFormat::kFloat8E4M3; break;
    case Element::kUInt8: break;
    default: refuse(name + ".data", "want float32, bfloat16, float16, int8, float8_e4m3fn or uint8, got another dtype");
  }
  if (!said) {
    if (!by_dtype) refuse(name + ".format", "want \"int4\" or \"float8_e4m3\" for bytes, got none");
    return *by_dtype;
  }
  for (const CacheFormat format : kFormats) {
    if (*said != name_of(format)) continue;
    const bool in_bytes = format == CacheFormat::kInt4 || format == CacheFormat::kFloat8E4M3;
    if (by_dtype ? *by_dtype != format : !in_bytes)
      refuse(name + ".format", "want the one of its dtype, got \"" + *said + '"');
    return format;
  }
  refuse(name + ".format", "want float32, bfloat16, float16, float8_e4m3, int8 or int4, got \"" + *said + '"');
}

HeadNorm norm_from(nb::handle norm, std::int64_t heads, std::int64_t head_dim, const std::string& name,
                   std::optional<Array>& held) {
  HeadNorm out;
  if (norm.is_none()) return out;
  if (!nb::isinstance(norm, nb::module_::import_("ropewalk.cache").attr("HeadNorm")))
    refuse(name, "want a HeadNorm or None, got " + nb::cast<std::string>(nb::repr(norm)));
  const auto place = nb::cast<std::string>(nb::str(norm.attr("place")));
  if (place != "before" && place != "after")
    refuse(name + ".place", "want \"before\" or \"after\", got \"" + place + '"');
  out.place = place == "before" ? NormPlace::kBeforeRotation : NormPlace::kAfterRotation;
  if (!nb::try_cast(norm.attr("epsilon"), out.epsilon)) refuse(name + ".epsilon", "want a number, got another thing");
  out.weight_plus_one = nb::cast<bool>(nb::bool_(norm.attr("weight_plus_one")));
  const nb::object weight = norm.attr("weight");
  if (weight.is_none()) return out;
  held = Array::to_read(weight, name + ".weight");
  const bool each = held->dims() == 2;
  if (held->element() != Element::kFloat32) refuse(name + ".weight", "want float32, got another dtype");
  if (held->dims() < 1 || held->dims() > 2 || held->size(held->dims() - 1) != head_dim ||
      (each && held->size(0) != heads) || held->stride(held->dims() - 1) != 1)
    refuse(name + ".weight", "want [" + std::to_string(head_dim) + "] or [" + std::to_string(heads) + ", " +
                                 std::to_string(head_dim) + "], channels side by side, got " + held->shape());
  out.weight = static_cast<const float*>(held->data());
  out.weight_stride = each ? held->stride(0) : 0;
  return out;
}

}  // namespace

HeldCache cache_from(nb::handle object, const std::string& name) {
  if (!nb::isinstance(object, nb::module_::import_("ropewalk.cache").attr("CacheView")))
    refuse(name, "want a CacheView, got " + nb::cast<std::string>(nb::repr(object)));
  HeldCache held;
  held.data = Array::to_write(object.attr("data"), name + ".data");
  const Array& data = *held.data;
  const std::size_t dims = data.dims();
  if (dims != 3 && dims != 4)
    refuse(name + ".data",
           "want [pages, page_tokens, heads, head_dim] or [capacity, heads, head_dim] (order \"nhd\"; "
           "\"hnd\" has the heads before), got " +
               data.shape());
  const auto order = nb::cast<std::string>(nb::str(object.attr("order")));
  if (order != "nhd" && order != "hnd") refuse(name + ".order", "want \"nhd\" or \"hnd\", got \"" + order + '"');
  std::optional<std::string> said;
  if (const nb::object format = object.attr("format"); !format.is_none()) said = nb::cast<std::string>(nb::str(format));

  CacheView& view = held.view;
  view.format = format_of(data, said, name);
  const std::size_t first = dims - 3, heads = order == "nhd" ? first + 1 : first,
                    tokens = order == "nhd" ? first : first + 1;
  const std::int64_t bytes = view.format == CacheFormat::kInt4 ? 1 : row_bytes(view.format, 1);
  view.data = data.data();
  view.pages = dims == 4 ? data.size(0) : 1;
  view.page_tokens = data.size(tokens);
  view.heads = data.size(heads);
  view.page_stride = dims == 4 ? data.stride(0) * bytes : 0;
  view.token_stride = data.stride(tokens) * bytes;
  view.head_stride = data.stride(heads) * bytes;
  const std::int64_t width = data.size(dims - 1);
  if (width > 1 && data.stride(dims - 1) != 1)
    refuse(name + ".data", "want the channels of a row side by side (stride 1), got a stride of " +
                               std::to_string(data.stride(dims - 1)));
  view.head_dim = width;
  if (view.format == CacheFormat::kInt4) {
    view.head_dim = nb::cast<std::int64_t>(object.attr("head_dim"));
    if (view.head_dim == 0) view.head_dim = 2 * width;
    if (view.head_dim < 0 || row_bytes(view.format, view.head_dim) != width)
      refuse(name + ".head_dim",
             "want one whose rows have " + std::to_string(width) + " bytes, got " + std::to_string(view.head_dim));
  }

  const nb::object scales = object.attr("scales");
  if (scales.is_none()) return held;
  held.scales = Array::to_write(scales, name + ".scales");
  const Array& scale = *held.scales;
  bool fits = scale.element() == Element::kFloat32 && scale.dims() == dims - 1;
  for (std::size_t axis = 0; fits && axis < dims - 1; ++axis) fits = scale.size(axis) == data.size(axis);
  if (!fits) refuse(name + ".scales", "want float32 of the axes of data without the last, got " + scale.shape());
  view.scales = static_cast<float*>(scale.data());
  view.scale_page_stride = dims == 4 ? scale.stride(0) : 0;
  view.scale_token_stride = scale.stride(tokens);
  view.scale_head_stride = scale.stride(heads);
  return held;
}

void bind_kv_cache(nb::module_& m) {
  nb::class_<Rerotation> rerotation(m, "Rerotation");
  rerotation.def(
      "__init__",
      [](Rerotation* self, const Rotary& before, std::int64_t length_before, const Rotary& after,
         std::int64_t length_after) {
        auto made = Rerotation::make(before.spec(), length_before, after.spec(), length_after);
        if (!made) {
          Error error = made.error();  // "from" is no name that Python could give an argument
          if (error.path.starts_with("from.")) error.path.replace(0, 4, "before");
          if (error.path.starts_with("to.")) error.path.replace(0, 2, "after");
          refuse_if(error);
        }
        new (self) Rerotation(*std::move(made));
      },
      "before"_a, "length_before"_a, "after"_a, "length_after"_a);
  rerotation.def_prop_ro("gain", &Rerotation::gain,
                         "The attention factor of the new operator over that of the old one: what keys grow by.");
  rerotation.def(
      "turn_cache",
      [](const Rerotation& self, nb::handle key_cache, nb::handle slots, nb::handle position_ids, int axes,
         int threads) {
        if (threads < 0) refuse("threads", "want a number >= 0, got " + std::to_string(threads));
        const HeldCache rows = cache_from(key_cache, "key_cache");
        const std::vector<std::int64_t> numbers = whole_numbers(slots, "slots");
        HeadsView tokens;
        tokens.tokens = static_cast<std::int64_t>(numbers.size());
        const Positions positions(position_ids, nb::none(), nb::none(), tokens, axes);
        if (!positions.are_whole()) refuse("position_ids", "want whole numbers, got floats", Code::kUnsupported);
        refuse_if(self.check(rows.view, numbers, positions.whole()));
        const OthersMayRun others_may_run;
        self.apply(rows.view, numbers, positions.whole(), {.threads = threads});
      },
      "key_cache"_a, nb::kw_only(), "slots"_a, "position_ids"_a, "axes"_a, "threads"_a);
  rerotation.def(
      "turn_keys",
      [](const Rerotation& self, nb::handle keys, nb::handle position_ids, nb::handle seqlen_offsets,
         nb::handle cu_seqlens, const char* layout, int axes, int threads) {
        if (threads < 0) refuse("threads", "want a number >= 0, got " + std::to_string(threads));
        const Array array = Array::to_write(keys, "keys");
        const HeadsView view = heads_of(array, order_named(layout), "keys");
        const Positions positions(position_ids, seqlen_offsets, cu_seqlens, view, axes);
        if (!positions.are_whole()) refuse("position_ids", "want whole numbers, got floats", Code::kUnsupported);
        refuse_if(self.check(view, positions.whole()));
        const OthersMayRun others_may_run;
        self.apply(view, positions.whole(), {.threads = threads});
      },
      "keys"_a, nb::kw_only(), "position_ids"_a.none(), "seqlen_offsets"_a.none(), "cu_seqlens"_a.none(), "layout"_a,
      "axes"_a, "threads"_a);
  m.def(
      "slots_of_pages",
      [](nb::handle block_table, std::int64_t page_tokens, std::int64_t first, std::int64_t tokens) {
        return as_numpy(
            value_or_refuse(slots_of_pages(whole_numbers(block_table, "block_table"), page_tokens, first, tokens)));
      },
      "block_table"_a, "page_tokens"_a, "first"_a, "tokens"_a,
      "int64 [tokens]: the slots of tokens [first, first + tokens) of one sequence, whose token t lies in page\n"
      "block_table[t // page_tokens].");
  m.def(
      "append_to_cache",
      [](const Rotary& rotary, nb::handle keys, nb::handle key_cache, nb::handle slots, nb::handle values,
         nb::handle value_cache, nb::handle queries, nb::handle key_norm, nb::handle query_norm,
         nb::handle position_ids, nb::handle seqlen_offsets, nb::handle cu_seqlens, const char* layout, int threads) {
        if (threads < 0) refuse("threads", "want a number >= 0, got " + std::to_string(threads));
        const Order order = order_named(layout);
        const Array key_array = Array::to_read(keys, "keys");
        CacheAppend append;
        append.keys = heads_of(key_array, order, "keys");
        const HeldCache key_rows = cache_from(key_cache, "key_cache");
        append.key_cache = key_rows.view;
        std::optional<Array> value_array, query_array, key_weight, query_weight;
        std::optional<HeldCache> value_rows;
        if (values.is_none() != value_cache.is_none())
          refuse("value_cache", "want values and value_cache together, got one of them");
        if (!values.is_none()) {
          value_array = Array::to_read(values, "values");
          append.values = heads_of(*value_array, order, "values");
          value_rows = cache_from(value_cache, "value_cache");
          append.value_cache = value_rows->view;
        }
        if (!queries.is_none()) {
          query_array = Array::to_write(queries, "queries");
          append.queries = RotaryOperand::in_place(heads_of(*query_array, order, "queries"), Role::kQuery);
        } else if (!query_norm.is_none()) {
          refuse("query_norm", "want it with queries, got none");
        }
        append.key_norm = norm_from(key_norm, append.keys.heads, append.keys.head_dim, "key_norm", key_weight);
        if (query_array)
          append.query_norm =
              norm_from(query_norm, append.queries.in.heads, append.queries.in.head_dim, "query_norm", query_weight);
        const std::vector<std::int64_t> numbers = whole_numbers(slots, "slots");
        append.slots = numbers;
        const Positions positions(position_ids, seqlen_offsets, cu_seqlens, append.keys, rotary.spec().axes());
        if (!positions.are_whole()) refuse("position_ids", "want whole numbers, got floats", Code::kUnsupported);
        refuse_if(check_append(rotary, append, positions.whole()));
        const OthersMayRun others_may_run;
        ropewalk::append(rotary, append, positions.whole(), {.threads = threads});
      },
      "rotary"_a, "keys"_a, "key_cache"_a, nb::kw_only(), "slots"_a, "values"_a = nb::none(),
      "value_cache"_a = nb::none(), "queries"_a = nb::none(), "key_norm"_a = nb::none(), "query_norm"_a = nb::none(),
      "position_ids"_a = nb::none(), "seqlen_offsets"_a = nb::none(), "cu_seqlens"_a = nb::none(), "layout"_a = "bshd",
      "threads"_a = 0);
  m.def(
      "shift_cache",
      [](const Rotary& rotary, nb::handle key_cache, nb::handle slots, nb::handle deltas, int threads) {
        if (threads < 0) refuse("threads", "want a number >= 0, got " + std::to_string(threads));
        const HeldCache rows = cache_from(key_cache, "key_cache");
        const std::vector<std::int64_t> numbers = whole_numbers(slots, "slots");
        HeadsView tokens;
        tokens.tokens = static_cast<std::int64_t>(numbers.size());
        const nb::object one = PyIndex_Check(deltas.ptr()) ? nb::object(nb::module_::import_("numpy").attr("full")(
                                                                 numbers.size(), deltas, nb::arg("dtype") = "int64"))
                                                           : nb::borrow(deltas);
        const Positions positions(one, nb::none(), nb::none(), tokens, rotary.spec().axes());
        if (!positions.are_whole()) refuse("deltas", "want whole numbers, got floats", Code::kUnsupported);
        refuse_if(check_shift(rotary, rows.view, numbers, positions.whole()));
        const OthersMayRun others_may_run;
        shift(rotary, rows.view, numbers, positions.whole(), {.threads = threads});
      },
      "rotary"_a, "key_cache"_a, nb::kw_only(), "slots"_a, "deltas"_a, "threads"_a = 0);
}

}  // namespace ropewalk::python
