// What is added to embeddings: sinusoids, learned rows, and how a table of rows is moved to another grid.
#include <ropewalk/absolute.hpp>

#include "arrays.hpp"
#include "fields.hpp"
#include "lock.hpp"
#include "numbers.hpp"
#include "rooms.hpp"

#include <nanobind/stl/string_view.h>

#include <algorithm>
#include <span>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

constexpr Words<SinusoidOrder, 4> kOrders{{{"interleaved", SinusoidOrder::kInterleaved},
                                           {"concatenated", SinusoidOrder::kConcatenated},
                                           {"interleaved_cos_first", SinusoidOrder::kInterleavedCosFirst},
                                           {"concatenated_cos_first", SinusoidOrder::kConcatenatedCosFirst}}};
constexpr Words<SinusoidExponent, 2> kExponents{
    {{"paper", SinusoidExponent::kPaper}, {"tensor2tensor", SinusoidExponent::kTensor2Tensor}}};
constexpr Words<Resampling, 2> kResamplings{{{"linear", Resampling::kLinear}, {"cubic", Resampling::kCubic}}};

nb::object absolute_class(const char* name) { return class_named("ropewalk.absolute", name); }

void want_a(const char* name, nb::handle object, const std::string& path) {
  if (!nb::isinstance(object, absolute_class(name)))
    refuse(path, std::string("want a ") + name + ", got " + nb::cast<std::string>(nb::repr(object)));
}

template <class Fields>
void sinusoidal_fields(Fields&& f, auto& spec) {
  f("dim", spec.dim);
  f("axes", spec.axes);
  f("theta", spec.theta);
  f.choice("order", spec.order, kOrders);
  f.choice("exponent", spec.exponent, kExponents);
  f("sines_of_all_axes_first", spec.sines_of_all_axes_first);
  f("position_offset", spec.position_offset);
  f("zero_position", spec.zero_position);
  f("gain", spec.gain);
}

template <class Fields>
void grid_fields(Fields&& f, auto& options) {
  f("column_first", options.column_first);
  f("first", options.first);
  f("normalized_to", options.normalized_to);
  f("epsilon", options.epsilon);
  f("shift", options.shift);
}

TableResize resize_from(nb::handle object) {
  want_a("TableResize", object, "resize");
  TableResize resize;
  const FieldReader f(object, "resize.");
  f("rows", resize.rows);
  f("columns", resize.columns);
  f("new_rows", resize.new_rows);
  f("new_columns", resize.new_columns);
  f.choice("resampling", resize.resampling, kResamplings);
  f("antialias", resize.antialias);
  f("leading_rows", resize.leading_rows);
  f("trailing_rows", resize.trailing_rows);
  f("row_step", resize.row_step);
  f("column_step", resize.column_step);
  return resize;
}

/// [batch, tokens, dim] or [tokens, dim].
EmbeddingsView embeddings_of(const Array& array, const std::string& name) {
  const std::size_t dims = array.dims();
  if (dims != 2 && dims != 3) refuse(name, "want [batch, tokens, dim] or [tokens, dim], got " + array.shape());
  EmbeddingsView view{.data = array.data()};
  switch (array.element()) {
    case Element::kFloat32: view.dtype = DType::kFloat32; break;
    case Element::kBFloat16: view.dtype = DType::kBFloat16; break;
    case Element::kFloat16: view.dtype = DType::kFloat16; break;
    default: refuse(name, "want float32, bfloat16 or float16, got " + array.dtype());
  }
  view.dim = array.size(dims - 1);
  view.tokens = array.size(dims - 2);
  view.token_stride = array.stride(dims - 2);
  if (dims == 3) {
    view.batch = array.size(0);
    view.batch_stride = array.stride(0);
  }
  if (view.dim > 1 && array.stride(dims - 1) != 1 && array.elements() > 0)
    refuse(name, "want the channels of a token side by side (stride 1), got a stride of " +
                     std::to_string(array.stride(dims - 1)));
  return view;
}

/// Positions as calls on heads take them.
Positions positions_for(nb::handle position_ids, const EmbeddingsView& x, int axes) {
  const HeadsView heads{.batch = x.batch, .tokens = x.tokens};
  return Positions(position_ids, nb::none(), nb::none(), heads, axes);
}

AbsoluteCall call_of(float embedding_scale, int threads) {
  if (threads < 0) refuse("threads", "want a number >= 0, got " + std::to_string(threads));
  return {.embedding_scale = embedding_scale, .threads = threads};
}

void fill(const Sinusoidal& self, nb::handle out, nb::handle position_ids, int threads) {
  const Array array = Array::to_write(out, "out");
  const EmbeddingsView view = embeddings_of(array, "out");
  const Positions positions = positions_for(position_ids, view, self.spec().axes);
  const AbsoluteCall how = call_of(1.0f, threads);
  const auto run = [&](const auto& where) {
    refuse_if(self.check(view, view, where));
    const OthersMayRun others_may_run;
    self.fill(view, where, how);
  };
  positions.are_whole() ? run(positions.whole()) : run(positions.coordinates());
}

nb::object add(const Sinusoidal& self, nb::handle x, nb::handle position_ids, float embedding_scale, int threads,
               bool in_place) {
  const Array in = in_place ? Array::to_write(x, "x") : Array::to_read(x, "x");
  const EmbeddingsView from = embeddings_of(in, "x");
  const nb::object result = in_place ? nb::borrow(x) : empty_like(x);
  const Array out = in_place ? Array() : Array::to_write(result, "out");
  const EmbeddingsView to = in_place ? from : embeddings_of(out, "out");
  const Positions positions = positions_for(position_ids, from, self.spec().axes);
  const AbsoluteCall how = call_of(embedding_scale, threads);
  const auto run = [&](const auto& where) {
    refuse_if(self.check(from, to, where));
    const OthersMayRun others_may_run;
    self.add(from, to, where, how);
  };
  positions.are_whole() ? run(positions.whole()) : run(positions.coordinates());
  return in_place ? result : finished(result, x);
}

/// A table of rows that somebody else holds, in any dtype of embeddings.
LearnedTable table_of(const Array& array, std::int64_t position_offset) {
  if (array.dims() != 2) refuse("table", "want [rows, dim], got " + array.shape());
  const EmbeddingsView rows = embeddings_of(array, "table");
  return {rows.data, rows.dtype, rows.tokens, rows.dim, rows.token_stride, position_offset};
}

nb::object add_learned_rows(nb::handle table, nb::handle x, nb::handle position_ids, std::int64_t position_offset,
                            float embedding_scale, int threads) {
  const Array rows = Array::to_read(table, "table"), in = Array::to_read(x, "x");
  const EmbeddingsView from = embeddings_of(in, "x");
  const nb::object result = empty_like(x);
  const Array out = Array::to_write(result, "out");
  const EmbeddingsView to = embeddings_of(out, "out");
  const LearnedTable learned = table_of(rows, position_offset);
  const Positions positions = positions_for(position_ids, from, 1);
  if (!positions.are_whole()) refuse("position_ids", "want whole numbers, got floats");
  refuse_if(check_learned(learned, from, to, positions.whole()));
  const AbsoluteCall how = call_of(embedding_scale, threads);
  {
    const OthersMayRun others_may_run;
    add_learned(learned, from, to, positions.whole(), how);
  }
  return finished(result, x);
}

nb::object learned_rows_gradient(std::int64_t rows, nb::handle d_out, nb::handle position_ids,
                                 std::int64_t position_offset, int threads) {
  const Array in = Array::to_read(d_out, "d_out");
  const EmbeddingsView from = embeddings_of(in, "d_out");
  if (rows < 1 || rows > (std::int64_t{1} << 40) / std::max<std::int64_t>(from.dim, 1))
    refuse("rows", "want 1 or more rows of at most 2^40 numbers in all, got " + std::to_string(rows));
  const LearnedTable learned{.rows = rows, .dim = from.dim, .row_stride = from.dim, .position_offset = position_offset};
  const Positions positions = positions_for(position_ids, from, 1);
  if (!positions.are_whole()) refuse("position_ids", "want whole numbers, got floats");
  std::vector<float> d_table(static_cast<std::size_t>(rows * from.dim));
  const AbsoluteCall how = call_of(1.0f, threads);
  std::optional<Error> error;
  {
    const OthersMayRun others_may_run;
    error = add_learned_gradient(learned, from, positions.whole(), d_table, how);
  }
  refuse_if(error);
  return as_numpy(std::move(d_table), {static_cast<std::size_t>(rows), static_cast<std::size_t>(from.dim)});
}

/// Rows, or the gradient of rows, through resize_table or its transpose.
nb::object resized(nb::handle table, nb::handle how, const char* name, bool transpose) {
  const TableResize resize = resize_from(how);
  const Array array = Array::to_read(table, name);
  want_rows(array, name);
  const std::int64_t dim = array.size(1);
  const std::span<const float> in(static_cast<const float*>(array.data()), static_cast<std::size_t>(array.elements()));
  // Sides that no table can have are refused before memory is asked for.
  const auto want = [&](std::int64_t side, const char* field, int least = 1) {
    if (side < least || side > (std::int64_t{1} << 20))
      refuse(std::string("resize.") + field,
             "want " + std::to_string(least) + " to 1048576, got " + std::to_string(side));
  };
  want(resize.rows, "rows");
  want(resize.columns, "columns");
  want(resize.new_rows, "new_rows");
  want(resize.new_columns, "new_columns");
  want(resize.leading_rows, "leading_rows", 0);
  want(resize.trailing_rows, "trailing_rows", 0);
  const std::int64_t count = transpose ? resize.rows_in() : resize.rows_out();
  if (count < 1 || count > (std::int64_t{1} << 36) / std::max<std::int64_t>(dim, 1))
    refuse("resize", "want at most 2^36 numbers in all, got " + std::to_string(count) + " rows");
  std::vector<float> out(static_cast<std::size_t>(count * dim));
  std::optional<Error> error;
  {
    const OthersMayRun others_may_run;
    error = transpose ? add_resize_gradient(resize, dim, in, out) : resize_table(resize, dim, in, out);
  }
  refuse_if(error);
  return as_numpy(std::move(out), {static_cast<std::size_t>(count), static_cast<std::size_t>(dim)});
}

}  // namespace

void bind_absolute(nb::module_& m) {
  nb::class_<Sinusoidal>(m, "Sinusoidal",
                         "The prepared embedding of one SinusoidalSpec. Immutable; any number of threads may use one.")
      .def(
          "__init__",
          [](Sinusoidal* self, nb::handle object) {
            want_a("SinusoidalSpec", object, "spec");
            SinusoidalSpec spec;
            sinusoidal_fields(FieldReader(object, ""), spec);
            new (self) Sinusoidal(value_or_refuse(Sinusoidal::make(spec)));
          },
          "spec"_a)
      .def_prop_ro(
          "inv_freq",
          [](const Sinusoidal& self) {
            return as_numpy(std::vector<double>(self.inv_freq().begin(), self.inv_freq().end()));
          },
          "Radians a position, float64, one for each pair of an axis.")
      .def("fill_into", fill, "out"_a, "position_ids"_a = nb::none(), nb::kw_only(), "threads"_a = 0,
           "Writes the rows of the positions into out, [batch, tokens, dim] or [tokens, dim].")
      .def("add_to", add, "x"_a, "position_ids"_a.none(), "embedding_scale"_a, "threads"_a, "in_place"_a,
           "embedding_scale * x + rows, a new array or x itself.");
  m.def(
      "sinusoid_grid",
      [](std::int64_t rows, std::int64_t columns, nb::handle options) {
        SinusoidGridOptions how;
        if (!options.is_none()) {
          want_a("SinusoidGridOptions", options, "options");
          grid_fields(FieldReader(options, "options."), how);
        }
        auto values = value_or_refuse(sinusoid_grid(rows, columns, how));
        const std::size_t patches = values.size() / 2;
        return as_numpy(std::move(values), {2, patches});
      },
      "rows"_a, "columns"_a, "options"_a = nb::none(),
      nb::sig("def sinusoid_grid(rows: int, columns: int, options: object | None = None) -> typing.Any"),
      "float64 [2, rows * columns]: the coordinates of patches in raster order. options: SinusoidGridOptions.");
  m.def(
      "sinusoid_grid_families",
      [] {
        nb::list names;
        for (const auto& row : sinusoid_grid_families()) names.append(nb::str(row.name.data(), row.name.size()));
        return names;
      },
      nb::sig("def sinusoid_grid_families() -> list[str]"), "The ways of embedding patches that are known by name.");
  m.def(
      "sinusoid_grid_family",
      [](const std::string& name) {
        const SinusoidGridFamily* const found = find_sinusoid_grid_family(name);
        if (found == nullptr) {
          std::string known;
          for (const auto& row : sinusoid_grid_families()) known += (known.empty() ? "" : ", ") + std::string(row.name);
          refuse("family", "want one of " + known + ", got " + name, Code::kUnsupported);
        }
        FieldWriter spec, grid;
        sinusoidal_fields(spec, found->spec);
        grid_fields(grid, found->grid);
        return nb::make_tuple(spec.make(absolute_class("SinusoidalSpec")),
                              grid.make(absolute_class("SinusoidGridOptions")));
      },
      "family"_a,
      nb::sig("def sinusoid_grid_family(family: str) -> tuple[ropewalk.absolute.SinusoidalSpec, "
              "ropewalk.absolute.SinusoidGridOptions]"),
      "How a family embeds the patches of a picture; dim is 0, for it is its configuration's.");
  m.def("add_learned", add_learned_rows, "table"_a, "x"_a, "position_ids"_a = nb::none(), nb::kw_only(),
        "position_offset"_a = 0, "embedding_scale"_a = 1.0f, "threads"_a = 0,
        "embedding_scale * x + table[position + position_offset], a new array. table: [rows, dim]; x: [batch, tokens, "
        "dim]\nor [tokens, dim], float32, bfloat16 or float16. Every position must have a row.");
  m.def("learned_gradient", learned_rows_gradient, "rows"_a, "d_out"_a, "position_ids"_a = nb::none(), nb::kw_only(),
        "position_offset"_a = 0, "threads"_a = 0,
        nb::sig("def learned_gradient(rows: int, d_out: object, position_ids: object | None = None, *, "
                "position_offset: int = 0, threads: int = 0) -> typing.Any"),
        "float32 [rows, dim]: the gradient of add_learned's table, in one order whatever the number of threads.");
  m.def(
      "resize_table", [](nb::handle table, nb::handle resize) { return resized(table, resize, "table", false); },
      "table"_a, "resize"_a, nb::sig("def resize_table(table: object, resize: object) -> typing.Any"),
      "float32 [rows_out, dim]: learned rows (float32 [rows_in, dim]) on another grid. resize: TableResize.");
  m.def(
      "resize_gradient",
      [](nb::handle d_table, nb::handle resize) { return resized(d_table, resize, "d_table", true); }, "d_table"_a,
      "resize"_a, nb::sig("def resize_gradient(d_table: object, resize: object) -> typing.Any"),
      "float32 [rows_in, dim]: the gradient of resize_table's table.");
}

}  // namespace ropewalk::python
