#include <ropewalk/grids.hpp>
#include <ropewalk/positions.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

namespace ropewalk {
namespace {

using Positions = std::vector<std::int64_t>;
using Segments = std::vector<MropeSegment>;
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

// One stream of an [axes, tokens] array.
template <class T>
std::vector<T> stream(const std::vector<T>& all, int axes, int axis) {
  const auto tokens = static_cast<std::ptrdiff_t>(all.size()) / axes;
  return {all.begin() + axis * tokens, all.begin() + (axis + 1) * tokens};
}

std::set<std::vector<std::int64_t>> points(const Positions& all, int axes) {
  std::set<std::vector<std::int64_t>> out;
  const std::size_t tokens = all.size() / static_cast<std::size_t>(axes);
  for (std::size_t t = 0; t < tokens; ++t) {
    std::vector<std::int64_t> point;
    for (std::size_t axis = 0; axis < static_cast<std::size_t>(axes); ++axis) point.push_back(all[axis * tokens + t]);
    out.insert(point);
  }
  return out;
}

const MropeRule& rule_of(const char* family) { return find_mrope_family(family)->rule; }

Positions counted(const char* family, const Segments& segments) {
  return mrope_positions(segments, rule_of(family))->positions;
}

// ---- Patches --------------------------------------------------------------------------------------------------------

TEST(Grids, OrdersAreAsDrawn) {
  // The place of patch (row, column) among the tokens, as the header draws it.
  const auto places = [](GridShape grid, GridOptions options) {
    const auto all = *positions_from_grids({&grid, 1}, options);
    const auto rows = stream(all, 2, 0), columns = stream(all, 2, 1);
    Positions out(rows.size());
    for (std::size_t t = 0; t < rows.size(); ++t)
      out[static_cast<std::size_t>(rows[t] * grid.columns + columns[t])] = static_cast<std::int64_t>(t);
    return out;
  };
  EXPECT_EQ(places({1, 2, 3}, {}), (Positions{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(places({1, 4, 4}, {.merge = 2}), (Positions{0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15}));
  EXPECT_EQ(places({1, 3, 3}, {.window = 2}), (Positions{0, 1, 4, 2, 3, 5, 6, 7, 8}));
  EXPECT_EQ(places({1, 2, 6}, {.merge = 2, .window = 2}), (Positions{0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11}));
}

// Trap 15 e: height and width change places only on grids that are not square.
TEST(Grids, RowsAndColumnsKeepTheirSidesOnEveryShape) {
  for (const std::int64_t rows : {2, 4, 6})
    for (const std::int64_t columns : {2, 4, 10})
      for (const std::int64_t merge : {1, 2})
        for (const std::int64_t window : {0, 1, 2, 3}) {
          const GridShape grid{1, rows, columns};
          const GridOptions rc{.merge = merge, .window = window};
          const GridOptions xy{.axes = GridAxes::kColumnRow, .merge = merge, .window = window};
          const GridOptions trc{.axes = GridAxes::kFrameRowColumn, .merge = merge, .window = window};
          const auto a = *positions_from_grids({&grid, 1}, rc), b = *positions_from_grids({&grid, 1}, xy);
          const auto c = *positions_from_grids({&grid, 1}, trc);
          EXPECT_EQ(points(a, 2).size(), static_cast<std::size_t>(rows * columns));  // each patch once
          EXPECT_EQ(*std::max_element(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(rows * columns)), rows - 1);
          EXPECT_EQ(*std::max_element(a.begin() + static_cast<std::ptrdiff_t>(rows * columns), a.end()), columns - 1);
          EXPECT_EQ(stream(a, 2, 0), stream(b, 2, 1));
          EXPECT_EQ(stream(a, 2, 1), stream(b, 2, 0));
          EXPECT_EQ(stream(c, 3, 0), Positions(static_cast<std::size_t>(rows * columns), 0));
          EXPECT_EQ(stream(c, 3, 1), stream(a, 2, 0));
          EXPECT_EQ(stream(c, 3, 2), stream(a, 2, 1));
        }
}

TEST(Grids, FramesAndPicturesFollowEachOther) {
  const std::vector<GridShape> grids = {{2, 1, 3}, {1, 2, 1}};
  EXPECT_EQ(*positions_from_grids(grids), (Positions{0, 0, 0, 0, 0, 0, 0, 1, /**/ 0, 1, 2, 0, 1, 2, 0, 0}));
  EXPECT_EQ(*positions_from_grids(grids, {.axes = GridAxes::kFrameRowColumn}),
            (Positions{0, 0, 0, 1, 1, 1, 0, 0, /**/ 0, 0, 0, 0, 0, 0, 0, 1, /**/ 0, 1, 2, 0, 1, 2, 0, 0}));
  EXPECT_EQ(*positions_from_grids({}), Positions{});
  // A picture may have a merge of its own.
  const std::vector<GridShape> merged = {{1, 2, 2}, {1, 2, 4, 2}};
  EXPECT_EQ(stream(*positions_from_grids(merged), 2, 1), (Positions{0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3}));
}

// Trap 15 g: 0 on an axis is where row 0 stands, and where what does not turn stands; an offset keeps them apart.
TEST(Grids, TokensThatDoNotTurnStandAtZero) {
  const GridShape grid{1, 1, 2};
  EXPECT_EQ(*positions_from_grids({&grid, 1}, find_grid_family("llama4")->options),
            (Positions{1, 2, 0, /**/ 1, 1, 0}));  // x then y, the class token last
  const std::vector<GridShape> two = {{1, 1, 2}, {1, 2, 1}};
  EXPECT_EQ(*positions_from_grids(two, {.offset = 1, .leading_tokens = 1}),
            (Positions{0, 1, 1, 0, 1, 2, /**/ 0, 1, 2, 0, 1, 1}));
  EXPECT_EQ(*positions_from_grids({&grid, 1}, {.axes = GridAxes::kColumnRow, .pad_to = 4}),
            (Positions{0, 1, -1, -1, /**/ 0, 0, -1, -1}));  // Gemma 4
  // SAM 2's memory: a frame each, object pointers behind them.
  const GridShape memory{2, 1, 2};
  EXPECT_EQ(*positions_from_grids({&memory, 1}, {.axes = GridAxes::kColumnRow, .trailing_tokens = 3}),
            (Positions{0, 1, 0, 1, 0, 0, 0, /**/ 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Grids, FlatNumbersGiveTheirPlaceBack) {
  const GridShape clip{3, 2, 5};
  Positions ids(30);
  std::iota(ids.begin(), ids.end(), 0);
  for (const GridAxes axes : {GridAxes::kRowColumn, GridAxes::kColumnRow, GridAxes::kFrameRowColumn})
    EXPECT_EQ(*positions_from_patch_ids(ids, 2, 5, axes), *positions_from_grids({&clip, 1}, {.axes = axes}));
  // V-JEPA 2's masks: any of them, in any order, and frames beyond the trained ones.
  EXPECT_EQ(*positions_from_patch_ids(Positions{29, 0, 11, kMax}, 2, 5, GridAxes::kFrameRowColumn),
            (Positions{2, 0, 1, kMax / 10, /**/ 1, 0, 0, kMax / 5 % 2, /**/ 4, 0, 1, kMax % 5}));
  EXPECT_EQ(positions_from_patch_ids(Positions{0, -1}, 2, 5, GridAxes::kRowColumn).error().line(),
            "ids[1]: want a number >= 0, got -1");
  EXPECT_EQ(positions_from_patch_ids(Positions{0}, 0, 5, GridAxes::kRowColumn).error().path, "rows");
}

TEST(Grids, WhatCannotBeIsRefused) {
  const auto refused = [](GridShape grid, GridOptions options = {}) {
    return positions_from_grids({&grid, 1}, options).error().line();
  };
  EXPECT_EQ(refused({1, 0, 4}), "grids[0].rows: want a number >= 1, got 0");
  EXPECT_EQ(refused({0, 4, 4}), "grids[0].frames: want a number >= 1, got 0");
  EXPECT_EQ(refused({1, 3, 4}, {.merge = 2}), "grids[0].rows: want a multiple of merge = 2, got 3");
  EXPECT_EQ(refused({1, 4, 4, -2}), "grids[0].merge: want a number >= 1, got -2");
  EXPECT_EQ(refused({1, 4, 5}, {.merge = 2}), "grids[0].columns: want a multiple of merge = 2, got 5");
  EXPECT_EQ(refused({1, 4, 4}, {.merge = 0}), "merge: want a number >= 1, got 0");
  EXPECT_EQ(refused({1, 4, 4}, {.window = -1}), "window: want a number >= 0, got -1");
  EXPECT_EQ(refused({1, 4, 4}, {.pad_to = 15}), "pad_to: want at least the tokens there are (16), got 15");
  EXPECT_EQ(refused({1, 4, 4}, {.offset = kMax}).substr(0, 7), "offset:");
  EXPECT_EQ(refused({kMax, kMax, kMax}).substr(0, 7), "tokens:");
  EXPECT_EQ(refused({1, 1, 1}, {.leading_tokens = kMax, .trailing_tokens = kMax}).substr(0, 7), "tokens:");
  EXPECT_EQ(refused({1, 1, 1}, {.pad_to = kMax}).substr(0, 7), "tokens:");
}

TEST(Grids, FamiliesAreFoundByName) {
  std::set<std::string_view> names;
  for (const GridFamily& family : grid_families()) {
    EXPECT_TRUE(names.insert(family.model_type).second) << family.model_type;
    EXPECT_EQ(find_grid_family(family.model_type), &family);
    const GridShape grid{2, 12, 20};
    EXPECT_TRUE(positions_from_grids({&grid, 1}, family.options)) << family.model_type;
  }
  EXPECT_EQ(find_grid_family("llama"), nullptr);
  EXPECT_EQ(find_mrope_family("llama"), nullptr);
}

// ---- Coordinates ----------------------------------------------------------------------------------------------------

TEST(Coordinates, CentresLieEvenlyInsideTheSquare) {
  const CoordinateOptions centres{.unit = CoordinateUnit::kOwnSide, .offset = 0.5};
  const auto line = *coordinates_from_grid({1, 3, 1}, centres);
  EXPECT_EQ(stream(line, 2, 0), (std::vector<double>{-2.0 / 3.0, 0.0, 2.0 / 3.0}));
  EXPECT_EQ(stream(line, 2, 1), (std::vector<double>{0.0, 0.0, 0.0}));
  for (const std::int64_t n : {1, 2, 7, 14, 1000}) {
    const auto rows = stream(*coordinates_from_grid({1, n, 2}, centres), 2, 0);
    for (std::size_t k = 0; k < rows.size(); ++k) EXPECT_EQ(rows[k], -rows[rows.size() - 1 - k]);
    EXPECT_GT(rows.front(), -1.0);
    EXPECT_LT(rows.back(), 1.0);
  }
}

TEST(Coordinates, SidesAndScales) {
  const auto first_row = [](CoordinateOptions options) {  // columns 0 .. 3 of a grid of 2 x 4
    auto all = stream(*coordinates_from_grid({1, 2, 4}, options), 2, options.column_first ? 0 : 1);
    return std::vector<double>(all.begin(), all.begin() + 4);
  };
  using Line = std::vector<double>;
  EXPECT_EQ(first_row({}), (Line{0, 1, 2, 3}));
  EXPECT_EQ(first_row({.column_first = true}), (Line{0, 1, 2, 3}));
  EXPECT_EQ(first_row({.unit = CoordinateUnit::kOwnSide, .offset = 0.5}), (Line{-0.75, -0.25, 0.25, 0.75}));
  EXPECT_EQ(first_row({.unit = CoordinateUnit::kLongerSide, .offset = 0.5}), (Line{-0.75, -0.25, 0.25, 0.75}));
  EXPECT_EQ(first_row({.unit = CoordinateUnit::kShorterSide, .offset = 0.5}), (Line{-0.5, 0.5, 1.5, 2.5}));
  EXPECT_EQ(first_row({.unit = CoordinateUnit::kEnds}), (Line{-1, -1.0 / 3.0, 1.0 / 3.0, 1}));
  EXPECT_EQ(first_row({.offset = 1.0, .column_scale = 0.25}), (Line{0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(stream(*coordinates_from_grid({1, 1, 1}, {.unit = CoordinateUnit::kEnds}), 2, 0), (Line{-1}));
  EXPECT_EQ(*coordinates_from_grid({2, 1, 2}, {.leading_tokens = 1, .trailing_tokens = 1}),
            (Line{0, 0, 0, 0, 0, 0, /**/ 0, 0, 1, 0, 1, 0}));
  EXPECT_EQ(coordinates_from_grid({1, 1, 1}, {.unit = CoordinateUnit::kEnds, .offset = 0.5}).error().path, "offset");
  EXPECT_EQ(coordinates_from_grid({1, 1, 1}, {.row_scale = std::numeric_limits<double>::infinity()}).error().line(),
            "row_scale: want a number in [-2^53, 2^53], got inf");
  EXPECT_EQ(coordinates_from_grid({1, kMax, kMax}).error().path, "tokens");
  EXPECT_EQ(coordinates_from_grid({1, -1, 2}).error().path, "grid.rows");
}

TEST(Coordinates, WindowsOfSound) {
  const auto all = *coordinates_from_audio_windows({2, 3, 0.04, 1200});
  const auto window = stream(all, 2, 0), token = stream(all, 2, 1);
  constexpr double kTurn = 6.283185307179586;
  EXPECT_EQ((std::vector<double>{window[0], window[1], window[2]}), (std::vector<double>{0, 0, 0}));
  EXPECT_DOUBLE_EQ(window[4], kTurn * (4 * 0.04) / 1200);
  EXPECT_DOUBLE_EQ(token[4], kTurn * (4 * 0.04) * kTurn * 1 / 1200);
  EXPECT_EQ(token[3], 0.0);
  EXPECT_FALSE(coordinates_from_audio_windows({2, 0, 0.04, 1200}));
  EXPECT_FALSE(coordinates_from_audio_windows({2, 3, 0.0, 1200}));
  EXPECT_FALSE(coordinates_from_audio_windows({2, 3, 1e300, 1200}));
  EXPECT_FALSE(coordinates_from_audio_windows({2, 3, std::numeric_limits<double>::quiet_NaN(), 1200}));
  EXPECT_FALSE(coordinates_from_audio_windows({kMax, kMax, 0.04, 1200}));
}

// ---- Pictures among text --------------------------------------------------------------------------------------------

TEST(Mrope, APictureTakesAsManyPositionsAsItsLongestSide) {
  const Segments segments = {MropeText{2}, MropeImage{{1, 2, 3}}, MropeText{1}};
  const auto result = *mrope_positions(segments, rule_of("qwen2_vl"));
  EXPECT_EQ(stream(result.positions, 3, 0), (Positions{0, 1, 2, 2, 2, 2, 2, 2, 5}));
  EXPECT_EQ(stream(result.positions, 3, 1), (Positions{0, 1, 2, 2, 2, 3, 3, 3, 5}));
  EXPECT_EQ(stream(result.positions, 3, 2), (Positions{0, 1, 2, 3, 4, 2, 3, 4, 5}));
  EXPECT_EQ(result.rope_delta, -3);
  EXPECT_EQ(result.images, 1);
  for (const std::int64_t t : {1, 5, 9})
    for (const std::int64_t h : {1, 4, 7})
      for (const std::int64_t w : {1, 3, 8}) {
        const Segments clip = {MropeText{4}, MropeVideo{{t, h, w}}, MropeText{1}};
        const auto positions = counted("qwen2_vl", clip);
        EXPECT_EQ(positions.back(), 4 + std::max({t, h, w}));
      }
}

TEST(Mrope, TextAloneIsASequenceOnEveryAxis) {
  for (const MropeFamily& family : mrope_families()) {
    const Segments segments = {MropeText{3}, MropeText{0}, MropeAudio{4}};
    const auto result = mrope_coordinates(segments, family.rule);
    ASSERT_TRUE(result) << family.model_type;
    EXPECT_EQ(result->axes, family.rule.axes);
    for (int axis = 0; axis < result->axes; ++axis)
      EXPECT_EQ(stream(result->positions, result->axes, axis), (std::vector<double>{0, 1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(result->rope_delta, 0.0);
    EXPECT_EQ(find_mrope_family(family.model_type), &family);
  }
}

// Trap 15 d: two pictures; a prefill in chunks; decoding behind the delta; a second turn.
TEST(Mrope, WhatIsCutGoesOnAsTheWhole) {
  const Segments first = {MropeText{3}, MropeImage{{1, 4, 6}}, MropeText{2}, MropeImage{{1, 5, 2}}, MropeText{4}};
  const Segments second = {MropeImage{{1, 2, 9}}, MropeText{5}};
  Segments both = first;
  both.insert(both.end(), second.begin(), second.end());
  for (const char* family : {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "hunyuan_vl", "neomme", "qwen2_5_omni"}) {
    const MropeRule& rule = rule_of(family);
    MropeRule pictures = rule;
    const auto whole = *mrope_positions(both, pictures), head = *mrope_positions(first, pictures);
    const MropeStart start{head.tokens, static_cast<double>(head.rope_delta), head.images};
    const auto tail = *mrope_positions(second, pictures, start);
    ASSERT_EQ(head.tokens + tail.tokens, whole.tokens);
    EXPECT_EQ(tail.rope_delta, whole.rope_delta) << family;
    EXPECT_EQ(tail.images, whole.images);
    for (int axis = 0; axis < whole.axes; ++axis) {
      Positions joined = stream(head.positions, whole.axes, axis);
      const Positions rest = stream(tail.positions, whole.axes, axis);
      joined.insert(joined.end(), rest.begin(), rest.end());
      EXPECT_EQ(joined, stream(whole.positions, whole.axes, axis)) << family << " axis " << axis;
    }
    // Five decoded tokens stand where five more words of prompt would.
    Segments longer = both;
    longer.push_back(MropeText{5});
    const auto prompt = *mrope_positions(longer, pictures);
    const auto decoded = *positions_from_rope_deltas(Positions{whole.tokens}, Positions{whole.rope_delta}, 5);
    for (int axis = 0; axis < whole.axes; ++axis) {
      const Positions all = stream(prompt.positions, whole.axes, axis);
      EXPECT_EQ(Positions(all.end() - 5, all.end()), decoded) << family;
    }
    // A chunk of the prefill is a window on the whole: same array, other token range.
    PositionsView chunk = PositionsView::streams(whole.positions, whole.axes);
    chunk.data += 7;
    chunk.tokens = 10;
    for (int axis = 0; axis < chunk.axes; ++axis)
      EXPECT_EQ(chunk.data[axis * chunk.axis_stride],
                whole.positions[static_cast<std::size_t>(axis * whole.tokens + 7)]);
  }
}

// Trap 15 g: position 0 is a value. A picture at the very start stands at 0 on every axis, and text behind it at its
// side.
TEST(Mrope, APictureMayBeginAtZero) {
  EXPECT_EQ(counted("qwen2_vl", {MropeImage{{1, 1, 2}}, MropeText{1}}),
            (Positions{0, 0, 2, /**/ 0, 0, 2, /**/ 0, 1, 2}));
}

// Trap 15 e.
TEST(Mrope, HeightIsTheSecondAxisAndWidthTheThird) {
  const auto all = counted("qwen2_vl", {MropeImage{{1, 2, 5}}});
  EXPECT_EQ(*std::max_element(all.begin() + 10, all.begin() + 20), 1);
  EXPECT_EQ(*std::max_element(all.begin() + 20, all.end()), 4);
  const auto four = counted("hunyuan_vl", {MropeImage{{1, 2, 5}}});  // tokens, x, y, picture; one more token a row
  EXPECT_EQ(stream(four, 4, 1), (Positions{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(stream(four, 4, 2), (Positions{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}));
}

TEST(Mrope, ClipsCountSecondsWhereTheFamilyDoes) {
  const auto times = [](const char* family, double seconds, std::int64_t frames) {
    return stream(counted(family, {MropeText{1}, MropeVideo{{frames, 1, 1}, seconds}}), 3, 0);
  };
  EXPECT_EQ(times("qwen2_vl", 0.3, 4), (Positions{0, 1, 2, 3, 4}));  // no seconds
  EXPECT_EQ(times("qwen2_5_vl", 1.0, 4), (Positions{0, 1, 3, 5, 7}));
  EXPECT_EQ(times("qwen2_5_vl", 0.3, 6), (Positions{0, 1, 1, 2, 2, 3, 4}));  // trunc of 0, 0.6, 1.2, ...
  EXPECT_EQ(times("qwen2_5_vl", 0.0, 3), (Positions{0, 1, 1, 1}));
  EXPECT_EQ(times("qwen2_5_omni", 0.04, 4), (Positions{0, 1, 2, 3, 4}));
  // In float32 5 * 0.04 * 25 is just below 5: that frame shares the position of the one before, as in the reference.
  const auto omni = times("qwen2_5_omni", 0.04, 40);
  bool truncated = false;
  for (std::int64_t k = 0; k < 40; ++k) {
    const auto reference =
        static_cast<std::int64_t>(static_cast<float>(k) * static_cast<float>(0.04) * static_cast<float>(25.0));
    EXPECT_EQ(omni[static_cast<std::size_t>(k + 1)], 1 + reference);
    truncated = truncated || reference != k;
  }
  EXPECT_TRUE(truncated);
  EXPECT_EQ(omni[6], omni[5]);
}

TEST(Mrope, WhereTextGoesOnBehindALongClip) {
  const Segments segments = {MropeText{1}, MropeVideo{{8, 2, 3}}, MropeText{1}};
  MropeRule rule = rule_of("qwen2_vl");
  EXPECT_EQ(mrope_positions(segments, rule)->positions.back(), 1 + 8);
  rule.advance = MropeAdvance::kLargestSide;
  const auto sides = *mrope_positions(segments, rule);
  EXPECT_EQ(sides.positions.back(), 1 + 3);
  // The delta is behind the clip all the same: transformers 5 jumps here from prompt to decoding.
  EXPECT_EQ(sides.tokens + sides.rope_delta, 1 + 8);
}

TEST(Mrope, SoundBetweenFrames) {
  // 25 positions a second, chunks of 50: frames at 0, 25 | 50, 75, sound 0-49 | 50-59; the markers share a position.
  const Segments both = {MropeText{1}, MropeAudioVideo{{{4, 1, 1}, 1.0}, 60}, MropeText{1}};
  const auto chunks = stream(counted("qwen2_5_omni", both), 3, 0);
  Positions want = {0, 1, 1, 2, 27};
  for (std::int64_t i = 0; i < 50; ++i) want.push_back(2 + i);
  want.insert(want.end(), {52, 77});
  for (std::int64_t i = 50; i < 60; ++i) want.push_back(2 + i);
  want.insert(want.end(), {62, 62, 63});  // behind the sound, which ends before the clip
  EXPECT_EQ(chunks, want);

  // 13 a second, token by token: a frame before the sound of its time.
  const auto merged = *mrope_coordinates(both, rule_of("qwen3_omni_moe"));
  const auto time = stream(merged.positions, 3, 0);
  EXPECT_EQ((std::vector<double>{time[0], time[1], time[2], time[3], time[4]}), (std::vector<double>{0, 1, 2, 3, 3}));
  EXPECT_TRUE(std::is_sorted(time.begin(), time.end()));
  EXPECT_EQ(time.back(), 3 + 60 + 2);
}

TEST(Mrope, TimeMayBeFractional) {
  const MropeRule& rule = rule_of("qwen3_omni_moe");
  const Segments clip = {MropeText{2}, MropeVideo{{3, 1, 1}, 0.5}, MropeText{2}};
  const auto all = *mrope_coordinates(clip, rule);
  EXPECT_EQ(stream(all.positions, 3, 0), (std::vector<double>{0, 1, 2, 8.5, 15, 16, 17}));
  EXPECT_EQ(all.rope_delta, 11.0);
  EXPECT_EQ(mrope_positions(clip, rule).error().path, "rule.fractional_time");
  const Segments far = {MropeText{1}, MropeVideo{{2, 1, 1}, 2e6}};
  EXPECT_EQ(mrope_coordinates(far, rule).error().path, "segments");
  EXPECT_TRUE(mrope_coordinates(far, rule_of("qwen2_5_omni")));
  EXPECT_EQ(mrope_coordinates(clip, rule, {1 << 25, 0.0, 0}).error().path, "start");
}

TEST(Mrope, WhatCannotBeIsRefused) {
  const auto refused = [](const char* family, MropeSegment segment) {
    const Segments segments = {MropeText{1}, segment};
    return mrope_positions(segments, rule_of(family)).error();
  };
  EXPECT_EQ(refused("qwen2_vl", MropeText{-1}).line(), "segments[1].tokens: want a number >= 0, got -1");
  EXPECT_EQ(refused("qwen2_vl", MropeImage{{1, 0, 2}}).line(), "segments[1].grid.rows: want a number >= 1, got 0");
  EXPECT_EQ(refused("qwen3_vl", MropeVideo{{2, 4, 4}}).path, "segments[1].grid.frames");
  EXPECT_EQ(refused("hunyuan_vl", MropeVideo{{1, 4, 4}}).code, Code::kUnsupported);
  EXPECT_EQ(refused("qwen2_vl", MropeAudioVideo{{{1, 1, 1}, 1.0}, 1}).code, Code::kUnsupported);
  EXPECT_EQ(refused("qwen2_5_omni", MropeAudioVideo{{{1, 1, 1}, 1.0}, 0}).path, "segments[1].audio_tokens");
  for (const double seconds : {-0.5, std::numeric_limits<double>::quiet_NaN(), 1e300, 1e16})
    EXPECT_EQ(refused("qwen2_5_vl", MropeVideo{{2, 1, 1}, seconds}).path, "segments[1].seconds_per_grid");
  EXPECT_EQ(refused("qwen2_5_vl", MropeVideo{{1 << 25, 1, 1}, 1.0}).path, "segments[1].grid.frames");
  EXPECT_EQ(refused("qwen2_vl", MropeText{kMax}).path, "tokens");
  EXPECT_EQ(refused("qwen2_vl", MropeImage{{kMax, kMax, kMax}}).path, "tokens");
  EXPECT_EQ(refused("hunyuan_vl", MropeImage{{1, 1, kMax}}).path, "tokens");

  const Segments none;
  const auto rule_refused = [&](MropeRule rule) { return mrope_positions(none, rule).error().path; };
  EXPECT_EQ(rule_refused({.axes = 0}), "rule.axes");
  EXPECT_EQ(rule_refused({.axes = 5}), "rule.axes");
  EXPECT_EQ(rule_refused({.positions_per_second = -1.0}), "rule.positions_per_second");
  EXPECT_EQ(rule_refused({.image_frame_step = kMax}), "rule.image_frame_step");
  EXPECT_EQ(rule_refused({.audio_video = MropeAudioVideoOrder::kChunks}), "rule.seconds_per_chunk");
  EXPECT_EQ(mrope_positions(none, {}, {-1, 0.0, 0}).error().path, "start.cached_tokens");
  EXPECT_EQ(mrope_positions(none, {}, {1, 0.5, 0}).error().path, "start.rope_delta");
  EXPECT_EQ(mrope_positions(none, {}, {1, 1e300, 0}).error().path, "start");
  EXPECT_EQ(mrope_positions(none, {}, {kMax, 0.0, 0}).error().path, "start");
  EXPECT_EQ(mrope_positions(none, {}, {9, -3.0, 0})->rope_delta, -3);
}

TEST(Mrope, ThumbnailAndSlicesShareACanvas) {
  // A thumbnail of 1 x 2 and 1 x 2 slices of 2 x 2: a canvas of 2 x 4 at position 3.
  const Segments segments = {MropeText{3}, MropeCanvas{{1, 1, 2}, 1, 2, {1, 2, 2}, 1}, MropeText{1}};
  const auto all = *mrope_positions(segments, rule_of("minicpmv4_7"));
  EXPECT_EQ(stream(all.positions, 3, 0),
            (Positions{0,      1, 2, /**/ 3, 3, 3, 3, /**/ 3, 3, 3, 3, 3, 3, /**/ 3, 3, 3, 3, 3, 3,
                       /**/ 3, 8}));
  EXPECT_EQ(stream(all.positions, 3, 1),
            (Positions{0,      1, 2, /**/ 2, 3, 3, 5, /**/ 3, 3, 3, 4, 4, 4, /**/ 3, 3, 3, 4, 4, 4,
                       /**/ 3, 8}));
  EXPECT_EQ(stream(all.positions, 3, 2),
            (Positions{0,      1, 2, /**/ 2, 3, 6, 7, /**/ 3, 3, 4, 3, 4, 4, /**/ 5, 5, 6, 5, 6, 6,
                       /**/ 3, 8}));
  const auto refused = [](const char* family, MropeSegment segment) {
    return mrope_positions({&segment, 1}, rule_of(family)).error();
  };
  EXPECT_EQ(refused("minicpmv4_7", MropeImage{{1, 2, 2}}).code, Code::kUnsupported);
  EXPECT_EQ(refused("qwen2_vl", MropeCanvas{{1, 2, 2}}).code, Code::kUnsupported);
  EXPECT_EQ(refused("minicpmv4_7", MropeCanvas{{2, 2, 2}}).path, "segments[0].thumbnail.frames");
  EXPECT_EQ(refused("minicpmv4_7", MropeCanvas{{1, 2, 2}, 1, 0}).path, "segments[0].slice_columns");
  EXPECT_EQ(refused("minicpmv4_7", MropeCanvas{{1, 2, 2}, 0, 1}).path, "segments[0].slice_rows");
  EXPECT_EQ(refused("minicpmv4_7", MropeCanvas{{1, 2, 2}, 1, 1}).path, "segments[0].slice.rows");
  EXPECT_EQ(refused("minicpmv4_7", MropeCanvas{{1, 2, 2}, kMax, kMax, {1, 1, 1}}).path, "tokens");
}

TEST(Mrope, DecodingRowByRow) {
  EXPECT_EQ(*positions_from_rope_deltas(Positions{9}, Positions{-3}, 2), (Positions{6, 7}));
  EXPECT_EQ(*positions_from_rope_deltas(Positions{9, 4}, Positions{-3, 0}, 2), (Positions{6, 7, 4, 5}));
  EXPECT_EQ(*positions_from_rope_deltas(Positions{9}, Positions{-3, 1}, 1), (Positions{6, 10}));
  EXPECT_EQ(positions_from_rope_deltas(Positions{1, 2, 3}, Positions{-3, 1}, 1).error().path, "cached_tokens");
  EXPECT_EQ(positions_from_rope_deltas(Positions{-1}, Positions{0}, 1).error().path, "cached_tokens[0]");
  EXPECT_EQ(positions_from_rope_deltas(Positions{1}, Positions{kMax}, 1).error().path, "rope_deltas[0]");
  EXPECT_FALSE(positions_from_rope_deltas(Positions{0}, Positions{kMax}, 2));
}

// ---- Chunks ---------------------------------------------------------------------------------------------------------

TEST(DualChunk, NoDistanceExceedsTheChunk) {
  const DualChunk sizes{8, 2};  // chunks of 6
  Positions p(20);
  std::iota(p.begin(), p.end(), 0);
  const auto query = [&](DualChunkQuery kind) { return *dual_chunk_query_positions(p, sizes, kind); };
  const auto keys = *dual_chunk_key_positions(p, sizes);
  const auto intra = query(DualChunkQuery::kIntra), successive = query(DualChunkQuery::kSuccessive);
  const auto inter = query(DualChunkQuery::kInter);
  for (std::size_t q = 0; q < p.size(); ++q)
    for (std::size_t k = 0; k <= q; ++k) {
      const std::size_t apart = q / 6 - k / 6;
      const std::int64_t distance = (apart == 0 ? intra : apart == 1 ? successive : inter)[q] - keys[k];
      EXPECT_GE(distance, 0);
      EXPECT_LE(distance, sizes.chunk_size);
      const bool local = apart == 1 && q - k <= 2;
      if (apart == 0 || local) {
        EXPECT_EQ(distance, static_cast<std::int64_t>(q - k));
      }
    }
  EXPECT_EQ(inter, Positions(20, 8));
  EXPECT_EQ((*dual_chunk_query_positions(Positions{0, 5, 7}, sizes, DualChunkQuery::kSuccessiveCritical)),
            (Positions{6, 11, 7}));
  EXPECT_EQ((*dual_chunk_query_positions(Positions{0, 5, 7}, sizes, DualChunkQuery::kInterCritical)),
            (Positions{8, 13, 9}));
  // A local window larger than half: the table's last row comes before chunk_size.
  EXPECT_EQ((*dual_chunk_query_positions(Positions{0}, {8, 6}, DualChunkQuery::kInter)), (Positions{3}));
  EXPECT_EQ(dual_chunk_key_positions(Positions{0, -1}, sizes).error().path, "positions[1]");
  EXPECT_EQ(dual_chunk_key_positions(Positions{0}, {8, 8}).error().path, "local_size");
  EXPECT_EQ(dual_chunk_key_positions(Positions{0}, {0, 0}).error().path, "chunk_size");
  EXPECT_EQ(dual_chunk_key_positions(Positions{0}, {kMax, 0}).error().path, "chunk_size");
}

TEST(Compressed, EntriesStandOnTheirFirstToken) {
  EXPECT_EQ(*positions_from_compressed(2, 3, 4), (Positions{8, 12, 16}));
  EXPECT_EQ(*positions_from_compressed(0, 0, 128), Positions{});
  EXPECT_EQ(*positions_from_compressed(kMax / 128, 1, 128), (Positions{kMax / 128 * 128}));
  EXPECT_FALSE(positions_from_compressed(kMax / 128, 2, 128));
  EXPECT_FALSE(positions_from_compressed(kMax, 2, 1));
  EXPECT_EQ(positions_from_compressed(-1, 2, 4).error().path, "first_entry");
  EXPECT_EQ(positions_from_compressed(0, -2, 4).error().path, "entries");
  EXPECT_EQ(positions_from_compressed(0, 2, 0).error().path, "ratio");
  EXPECT_EQ(positions_from_compressed(0, kMax, 1).error().path, "tokens");
}

}  // namespace
}  // namespace ropewalk
