#include <ropewalk/grids.hpp>

#include "arrays.hpp"
#include "fields.hpp"
#include "rooms.hpp"

#include <nanobind/stl/string_view.h>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

constexpr Words<GridAxes, 3> kAxes{
    {{"hw", GridAxes::kRowColumn}, {"wh", GridAxes::kColumnRow}, {"thw", GridAxes::kFrameRowColumn}}};
constexpr Words<CoordinateUnit, 5> kUnits{{{"patches", CoordinateUnit::kPatches},
                                           {"own_side", CoordinateUnit::kOwnSide},
                                           {"longer_side", CoordinateUnit::kLongerSide},
                                           {"shorter_side", CoordinateUnit::kShorterSide},
                                           {"ends", CoordinateUnit::kEnds}}};

nb::object grids_class(const char* name) { return class_named("ropewalk.grids", name); }

void want_a(const char* name, nb::handle object, const std::string& path) {
  if (!nb::isinstance(object, grids_class(name)))
    refuse(path, std::string("want a ") + name + ", got " + nb::cast<std::string>(nb::repr(object)));
}

template <class Fields>
void options_fields(Fields&& f, auto& options) {
  f.choice("axes", options.axes, kAxes);
  f("merge", options.merge);
  f("window", options.window);
  f("offset", options.offset);
  f("leading_tokens", options.leading_tokens);
  f("trailing_tokens", options.trailing_tokens);
  f("pad_to", options.pad_to);
  f("padding", options.padding);
}

GridShape shape_from(nb::handle object, const std::string& path) {
  want_a("GridShape", object, path);
  GridShape shape;
  const FieldReader f(object, path + ".");
  f("frames", shape.frames);
  f("rows", shape.rows);
  f("columns", shape.columns);
  f("merge", shape.merge);
  return shape;
}

std::vector<GridShape> shapes_from(nb::handle grids) {
  if (nb::isinstance(grids, grids_class("GridShape"))) return {shape_from(grids, "grids")};
  std::vector<GridShape> shapes;
  for (const nb::handle one : nb::iter(grids))
    shapes.push_back(shape_from(one, "grids[" + std::to_string(shapes.size()) + "]"));
  return shapes;
}

template <class T>
nb::object by_axis(std::vector<T> values, int axes) {
  const std::size_t streams = static_cast<std::size_t>(axes), tokens = values.size() / streams;
  return as_numpy(std::move(values), {streams, tokens});
}

MropeVideo video_from(nb::handle object, const std::string& path) {
  want_a("MropeVideo", object, path);
  MropeVideo video{.grid = shape_from(object.attr("grid"), path + ".grid")};
  FieldReader(object, path + ".")("seconds_per_grid", video.seconds_per_grid);
  return video;
}

MropeSegment segment_from(nb::handle object, const std::string& path) {
  const FieldReader f(object, path + ".");
  const auto is = [&](const char* name) { return nb::isinstance(object, grids_class(name)); };
  const auto grid = [&](const char* name) { return shape_from(object.attr(name), path + "." + name); };
  if (is("MropeText")) {
    MropeText text;
    f("tokens", text.tokens);
    return text;
  }
  if (is("MropeImage")) return MropeImage{.grid = grid("grid")};
  if (is("MropeVideo")) return video_from(object, path);
  if (is("MropeAudio")) {
    MropeAudio audio;
    f("tokens", audio.tokens);
    return audio;
  }
  if (is("MropeAudioVideo")) {
    MropeAudioVideo both{.video = video_from(object.attr("video"), path + ".video")};
    f("audio_tokens", both.audio_tokens);
    return both;
  }
  if (is("MropeCanvas")) {
    MropeCanvas canvas{.thumbnail = grid("thumbnail"), .slice = grid("slice")};
    f("slice_rows", canvas.slice_rows);
    f("slice_columns", canvas.slice_columns);
    f("trailing_markers", canvas.trailing_markers);
    return canvas;
  }
  refuse(path, "want MropeText, MropeImage, MropeVideo, MropeAudio, MropeAudioVideo or MropeCanvas, got " +
                   nb::cast<std::string>(nb::repr(object)));
}

template <class Rows>
nb::list names_of(const Rows& rows) {
  nb::list names;
  for (const auto& row : rows) names.append(nb::str(row.model_type.data(), row.model_type.size()));
  return names;
}

template <class Row, class Rows>
const Row& row_named(const Row* found, const std::string& name, const Rows& rows) {
  if (found != nullptr) return *found;
  std::string known;
  for (const auto& row : rows) known += (known.empty() ? "" : ", ") + std::string(row.model_type);
  refuse("family", "want one of " + known + ", got " + name, Code::kUnsupported);
}

DualChunkQuery query_named(const std::string& name) {
  constexpr Words<DualChunkQuery, 5> kQueries{{{"intra", DualChunkQuery::kIntra},
                                               {"successive", DualChunkQuery::kSuccessive},
                                               {"inter", DualChunkQuery::kInter},
                                               {"successive_critical", DualChunkQuery::kSuccessiveCritical},
                                               {"inter_critical", DualChunkQuery::kInterCritical}}};
  for (const auto& [word, value] : kQueries)
    if (name == word) return value;
  refuse("kind", "want intra, successive, inter, successive_critical or inter_critical, got \"" + name + '"');
}

}  // namespace

void bind_grids(nb::module_& m) {
  m.def(
      "positions_from_grids",
      [](nb::handle grids, nb::handle options) {
        GridOptions how;
        if (!options.is_none()) {
          want_a("GridOptions", options, "options");
          const FieldReader f(options, "options.");
          options_fields(f, how);
        }
        return by_axis(value_or_refuse(positions_from_grids(shapes_from(grids), how)), axes_of(how.axes));
      },
      "grids"_a, "options"_a = nb::none(),
      "int64 [axes, tokens]: the positions of every patch of every grid (GridShape, or a list of them), one grid "
      "behind the\n"
      "other. options: GridOptions.");
  m.def(
      "grid_families", [] { return names_of(grid_families()); }, nb::sig("def grid_families() -> list[str]"),
      "The vision towers whose way of counting patches is known, by model_type.");
  m.def(
      "grid_options",
      [](const std::string& family) {
        const GridFamily& row = row_named(find_grid_family(family), family, grid_families());
        FieldWriter f;
        options_fields(f, row.options);
        return f.make(grids_class("GridOptions"));
      },
      "family"_a, nb::sig("def grid_options(family: str) -> ropewalk.grids.GridOptions"),
      "How a family's vision tower counts its patches; merge is its configuration's default.");
  m.def(
      "positions_from_patch_ids",
      [](nb::handle ids, std::int64_t rows, std::int64_t columns, const std::string& axes) {
        for (const auto& [word, value] : kAxes)
          if (axes == word)
            return by_axis(value_or_refuse(positions_from_patch_ids(whole_numbers(ids, "ids"), rows, columns, value)),
                           axes_of(value));
        refuse("axes", "want \"hw\", \"wh\" or \"thw\", got \"" + axes + '"');
      },
      "ids"_a, "rows"_a, "columns"_a, "axes"_a = "hw",
      "int64 [axes, tokens]: where flat patch numbers stand, id = (frame * rows + row) * columns + column.");
  m.def(
      "coordinates_from_grid",
      [](nb::handle grid, nb::handle options) {
        CoordinateOptions how;
        if (!options.is_none()) {
          want_a("CoordinateOptions", options, "options");
          const FieldReader f(options, "options.");
          f("column_first", how.column_first);
          f.choice("unit", how.unit, kUnits);
          f("offset", how.offset);
          f("row_scale", how.row_scale);
          f("column_scale", how.column_scale);
          f("leading_tokens", how.leading_tokens);
          f("trailing_tokens", how.trailing_tokens);
        }
        return by_axis(value_or_refuse(coordinates_from_grid(shape_from(grid, "grid"), how)), 2);
      },
      "grid"_a, "options"_a = nb::none(),
      "float64 [2, tokens]: the coordinates of a grid's patches in raster order. options: CoordinateOptions.");
  m.def(
      "coordinates_from_audio_windows",
      [](std::int64_t windows, std::int64_t tokens_per_window, double seconds_per_token, std::int64_t max_positions) {
        return by_axis(value_or_refuse(coordinates_from_audio_windows({.windows = windows,
                                                                       .tokens_per_window = tokens_per_window,
                                                                       .seconds_per_token = seconds_per_token,
                                                                       .max_positions = max_positions})),
                       2);
      },
      "windows"_a, "tokens_per_window"_a, "seconds_per_token"_a, "max_positions"_a,
      "float64 [2, windows * tokens_per_window]: sound cut into windows, as Music Flamingo lays it out, in radians on "
      "the\n"
      "rung of 1.");
  m.def(
      "mrope_families", [] { return names_of(mrope_families()); }, nb::sig("def mrope_families() -> list[str]"),
      "The families whose positions of pictures and clips among text are known, by model_type.");
  m.def(
      "mrope_positions",
      [](nb::handle segments, const std::string& family, std::int64_t cached_tokens, double rope_delta,
         std::int64_t images) {
        const MropeRule& rule = row_named(find_mrope_family(family), family, mrope_families()).rule;
        std::vector<MropeSegment> list;
        for (const nb::handle one : nb::iter(segments))
          list.push_back(segment_from(one, "segments[" + std::to_string(list.size()) + "]"));
        const MropeStart start{.cached_tokens = cached_tokens, .rope_delta = rope_delta, .images = images};
        const auto answer = [](auto result) {
          return nb::make_tuple(by_axis(std::move(result.positions), result.axes), result.rope_delta, result.images);
        };
        if (rule.fractional_time) return answer(value_or_refuse(mrope_coordinates(list, rule, start)));
        return answer(value_or_refuse(mrope_positions(list, rule, start)));
      },
      "segments"_a, "family"_a, "cached_tokens"_a, "rope_delta"_a, "images"_a,
      nb::sig(
          "def mrope_positions(segments: object, family: str, cached_tokens: int, rope_delta: float, images: int) -> "
          "tuple[typing.Any, typing.Any, int]"));
  m.def(
      "positions_from_rope_deltas",
      [](nb::handle cached_tokens, nb::handle rope_deltas, std::int64_t tokens) {
        const std::vector<std::int64_t> deltas = whole_numbers(rope_deltas, "rope_deltas");
        auto values =
            value_or_refuse(positions_from_rope_deltas(whole_numbers(cached_tokens, "cached_tokens"), deltas, tokens));
        return as_numpy(std::move(values), {deltas.size(), static_cast<std::size_t>(tokens)});
      },
      "cached_tokens"_a, "rope_deltas"_a, "tokens"_a,
      "int64 [batch, tokens]: the next tokens of each row, the same on every axis. cached_tokens: real tokens so far,\n"
      "[batch] or [1]; rope_deltas: [batch].");
  m.def(
      "dual_chunk_key_positions",
      [](nb::handle positions, std::int64_t chunk_size, std::int64_t local_size) {
        return as_numpy(
            value_or_refuse(dual_chunk_key_positions(whole_numbers(positions, "positions"), {chunk_size, local_size})));
      },
      "positions"_a, "chunk_size"_a, "local_size"_a,
      "int64 [tokens]: where keys stand under dual chunk attention (Qwen2.5-1M).");
  m.def(
      "dual_chunk_query_positions",
      [](nb::handle positions, std::int64_t chunk_size, std::int64_t local_size, const std::string& kind) {
        return as_numpy(value_or_refuse(dual_chunk_query_positions(whole_numbers(positions, "positions"),
                                                                   {chunk_size, local_size}, query_named(kind))));
      },
      "positions"_a, "chunk_size"_a, "local_size"_a, "kind"_a,
      "int64 [tokens]: where queries stand for one kind of key: intra, successive, inter, successive_critical or\n"
      "inter_critical.");
  m.def(
      "positions_from_compressed",
      [](std::int64_t first_entry, std::int64_t entries, std::int64_t ratio) {
        return as_numpy(value_or_refuse(positions_from_compressed(first_entry, entries, ratio)));
      },
      "first_entry"_a, "entries"_a, "ratio"_a,
      "int64 [entries]: where keys stand that each stand for `ratio` tokens: on the first of them.");
}

}  // namespace ropewalk::python
