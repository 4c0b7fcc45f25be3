// What tests/python/test_grids_vs_transformers.py asks: one request a line, or one as arguments; one answer a line,
// JSON.
//
//   grids FAMILY [merge=M] [window=W] [pad_to=N] [leading=N] [trailing=N] 2x4x6 [1x8x8/2]   (/2: merge of that grid)
//   patch_ids ROWS COLUMNS rc|xy|trc ID...
//   coordinates [unit=patches|own|longer|shorter|ends] [offset=F] [scale=F,F] [xy] [leading=N] 1x4x6
//   audio_windows WINDOWS TOKENS SECONDS MAX_POSITIONS
//   mrope FAMILY [float] [advance=side] [rate=F] [cached=N] [delta=F] [images=N] text:3 image:1x2x3 video:4x2x3@0.5
//         audio:7 both:4x2x3@0.5+20 canvas:THUMB_HxW[/ROWSxCOLUMNS/SLICE_HxW][+MARKERS]
//   dual_chunk CHUNK LOCAL keys|0|1|2|3|4 POSITION...
//   compressed FIRST ENTRIES RATIO
//   decode CACHED DELTA TOKENS
#include <ropewalk/grids.hpp>

#include <nlohmann/json.hpp>

#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace ropewalk;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

// "key=value" split in two; the second is empty without a '='.
std::pair<std::string, std::string> split(const std::string& word, char mark = '=') {
  const auto at = word.find(mark);
  return at == std::string::npos ? std::pair{word, std::string()} : std::pair{word.substr(0, at), word.substr(at + 1)};
}

GridShape grid_of(const std::string& word) {  // TxHxW or TxHxW/MERGE
  const auto [sides, merge] = split(word, '/');
  const auto [frames, rest] = split(sides, 'x');
  const auto [rows, columns] = split(rest, 'x');
  return {std::stoll(frames), std::stoll(rows), std::stoll(columns), merge.empty() ? 0 : std::stoll(merge)};
}

template <class T>
Json streams(const std::vector<T>& values, int axes) {
  Json out = Json::array();
  const std::size_t tokens = values.size() / static_cast<std::size_t>(axes);
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(axes); ++axis)
    out.push_back(std::vector<T>(values.begin() + static_cast<std::ptrdiff_t>(axis * tokens),
                                 values.begin() + static_cast<std::ptrdiff_t>((axis + 1) * tokens)));
  return out;
}

template <class T>
Json answer_of(const Result<std::vector<T>>& result, int axes = 1) {
  if (!result) return {{"error", result.error().line()}};
  return {{"positions", streams(*result, axes)}};
}

template <class T>
Json answer_of(const Result<MropeResult<T>>& result) {
  if (!result) return {{"error", result.error().line()}};
  return {{"positions", streams(result->positions, result->axes)},
          {"rope_delta", result->rope_delta},
          {"images", result->images}};
}

Json grids(const Words& words) {
  const GridFamily* family = find_grid_family(words.at(1));
  GridOptions options = family ? family->options : GridOptions{};
  std::vector<GridShape> shapes;
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto [key, value] = split(words[i]);
    if (key == "merge")
      options.merge = std::stoll(value);
    else if (key == "window")
      options.window = std::stoll(value);
    else if (key == "pad_to")
      options.pad_to = std::stoll(value);
    else if (key == "leading")
      options.leading_tokens = std::stoll(value);
    else if (key == "trailing")
      options.trailing_tokens = std::stoll(value);
    else
      shapes.push_back(grid_of(words[i]));
  }
  return answer_of(positions_from_grids(shapes, options), axes_of(options.axes));
}

Json patch_ids(const Words& words) {
  const GridAxes axes = words.at(3) == "rc"   ? GridAxes::kRowColumn
                        : words.at(3) == "xy" ? GridAxes::kColumnRow
                                              : GridAxes::kFrameRowColumn;
  std::vector<std::int64_t> ids;
  for (std::size_t i = 4; i < words.size(); ++i) ids.push_back(std::stoll(words[i]));
  return answer_of(positions_from_patch_ids(ids, std::stoll(words[1]), std::stoll(words[2]), axes), axes_of(axes));
}

Json coordinates(const Words& words) {
  CoordinateOptions options;
  GridShape shape;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto [key, value] = split(words[i]);
    if (key == "unit") {
      const Words units = {"patches", "own", "longer", "shorter", "ends"};
      for (std::size_t u = 0; u < units.size(); ++u)
        if (units[u] == value) options.unit = static_cast<CoordinateUnit>(u);
    } else if (key == "offset") {
      options.offset = std::stod(value);
    } else if (key == "scale") {
      options.row_scale = std::stod(split(value, ',').first);
      options.column_scale = std::stod(split(value, ',').second);
    } else if (key == "xy") {
      options.column_first = true;
    } else if (key == "leading") {
      options.leading_tokens = std::stoll(value);
    } else {
      shape = grid_of(words[i]);
    }
  }
  return answer_of(coordinates_from_grid(shape, options), 2);
}

MropeVideo video_of(const std::string& word) {
  const auto [grid, seconds] = split(word, '@');
  return {grid_of(grid), seconds.empty() ? 1.0 : std::stod(seconds)};
}

MropeSegment segment_of(const std::string& word) {
  const auto [kind, value] = split(word, ':');
  if (kind == "text") return MropeText{std::stoll(value)};
  if (kind == "audio") return MropeAudio{std::stoll(value)};
  if (kind == "image") return MropeImage{grid_of(value)};
  if (kind == "video") return video_of(value);
  if (kind == "both") return MropeAudioVideo{video_of(split(value, '+').first), std::stoll(split(value, '+').second)};
  if (kind == "canvas") {
    const auto [shapes, markers] = split(value, '+');
    const auto [thumbnail, slices] = split(shapes, '/');
    const auto [count, slice] = split(slices, '/');
    MropeCanvas canvas{grid_of("1x" + thumbnail), 0, 0, {}, markers.empty() ? 0 : std::stoll(markers)};
    if (!count.empty()) {
      canvas.slice_rows = std::stoll(split(count, 'x').first);
      canvas.slice_columns = std::stoll(split(count, 'x').second);
      canvas.slice = grid_of("1x" + slice);
    }
    return canvas;
  }
  throw std::invalid_argument("no such segment: " + word);
}

Json mrope(const Words& words) {
  const MropeFamily* family = find_mrope_family(words.at(1));
  if (!family) return {{"error", "no such family: " + words[1]}};
  MropeRule rule = family->rule;
  MropeStart start;
  bool as_float = rule.fractional_time;
  std::vector<MropeSegment> segments;
  for (std::size_t i = 2; i < words.size(); ++i) {
    const auto [key, value] = split(words[i]);
    if (key == "float")
      as_float = true;
    else if (key == "advance")
      rule.advance = MropeAdvance::kLargestSide;
    else if (key == "rate")
      rule.positions_per_second = std::stod(value);
    else if (key == "cached")
      start.cached_tokens = std::stoll(value);
    else if (key == "delta")
      start.rope_delta = std::stod(value);
    else if (key == "images")
      start.images = std::stoll(value);
    else
      segments.push_back(segment_of(words[i]));
  }
  return as_float ? answer_of(mrope_coordinates(segments, rule, start))
                  : answer_of(mrope_positions(segments, rule, start));
}

Json dual_chunk(const Words& words) {
  const DualChunk sizes{std::stoll(words.at(1)), std::stoll(words.at(2))};
  std::vector<std::int64_t> positions;
  for (std::size_t i = 4; i < words.size(); ++i) positions.push_back(std::stoll(words[i]));
  if (words.at(3) == "keys") return answer_of(dual_chunk_key_positions(positions, sizes));
  return answer_of(dual_chunk_query_positions(positions, sizes, static_cast<DualChunkQuery>(std::stoi(words[3]))));
}

Json answer(const std::string& request) {
  std::istringstream text(request);
  Words words;
  for (std::string word; text >> word;) words.push_back(word);
  const std::string verb = words.empty() ? "" : words[0];
  if (verb == "grids") return grids(words);
  if (verb == "patch_ids") return patch_ids(words);
  if (verb == "coordinates") return coordinates(words);
  if (verb == "mrope") return mrope(words);
  if (verb == "dual_chunk") return dual_chunk(words);
  if (verb == "audio_windows")
    return answer_of(coordinates_from_audio_windows({std::stoll(words.at(1)), std::stoll(words.at(2)),
                                                     std::stod(words.at(3)), std::stoll(words.at(4))}),
                     2);
  if (verb == "compressed")
    return answer_of(
        positions_from_compressed(std::stoll(words.at(1)), std::stoll(words.at(2)), std::stoll(words.at(3))));
  if (verb == "decode") {
    const std::int64_t cached = std::stoll(words.at(1)), delta = std::stoll(words.at(2));
    return answer_of(positions_from_rope_deltas({&cached, 1}, {&delta, 1}, std::stoll(words.at(3))));
  }
  if (verb == "families") {
    Json names = {{"grids", Json::array()}, {"mrope", Json::array()}};
    for (const GridFamily& row : grid_families()) names["grids"].push_back(std::string(row.model_type));
    for (const MropeFamily& row : mrope_families()) names["mrope"].push_back(std::string(row.model_type));
    return names;
  }
  throw std::invalid_argument("no such request: " + request);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1) {
      std::string request;
      for (int i = 1; i < argc; ++i) request += std::string(i > 1 ? " " : "") + argv[i];
      std::cout << answer(request).dump() << '\n';
      return 0;
    }
    for (std::string line; std::getline(std::cin, line);) std::cout << answer(line).dump() << std::endl;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
  return 0;
}
