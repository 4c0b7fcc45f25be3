#include <ropewalk/grids.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "math/positions/common.hpp"
#include "math/text.hpp"

namespace ropewalk {
namespace {

using math::at_least;
using math::invalid;

constexpr double kMostTime = 0x1p53;           // whole positions that a double holds
constexpr std::int64_t kMostFrames = 1 << 24;  // whole numbers that a float holds
constexpr double kMostFractional = 0x1p24;     // above it a float skips whole positions
constexpr double kMostStart = 0x1p61;          // leaves room in int64 for every position of one call

// ---- What a rule and a sequence may be ------------------------------------------------------------------------------

std::string at(const char* name, std::size_t index) { return std::string(name) + "[" + std::to_string(index) + "]"; }

std::optional<Error> rule_error(const MropeRule& rule) {
  if (rule.axes < 1 || rule.axes > 4)
    return invalid("rule.axes", "want a number in [1, 4], got " + std::to_string(rule.axes));
  if (!(rule.positions_per_second >= 0.0) || !std::isfinite(rule.positions_per_second))
    return invalid("rule.positions_per_second", "want a number >= 0, got " + math::shown(rule.positions_per_second));
  if (rule.image_frame_step < 0 || rule.image_frame_step > std::int64_t{1} << 20)
    return invalid("rule.image_frame_step", "want a number in [0, 2^20], got " + std::to_string(rule.image_frame_step));
  if (rule.canvas && rule.axes != 3)
    return invalid("rule.axes", "want 3 for a canvas, got " + std::to_string(rule.axes));
  const bool chunks = rule.audio_video == MropeAudioVideoOrder::kChunks;
  const double chunk = rule.positions_per_second * rule.seconds_per_chunk;
  if (chunks && !(chunk >= 1.0 && chunk < kMostTime))
    return invalid("rule.seconds_per_chunk", "want at least one position in a chunk, got " +
                                                 math::shown(rule.seconds_per_chunk) + " seconds of " +
                                                 math::shown(rule.positions_per_second));
  return std::nullopt;
}

std::optional<Error> start_error(const MropeStart& start, bool fractional) {
  if (auto error = at_least(0, start.cached_tokens, "start.cached_tokens")) return error;
  if (auto error = at_least(0, start.images, "start.images")) return error;
  const double first = static_cast<double>(start.cached_tokens) + start.rope_delta;
  if (!(std::abs(first) <= (fractional ? kMostFractional : kMostStart)) ||
      static_cast<double>(start.cached_tokens) > kMostStart)
    return invalid("start", std::string("want a first position within 2^") + (fractional ? "24" : "61") +
                                " of 0, got " + math::shown(first));
  if (!fractional && start.rope_delta != std::trunc(start.rope_delta))
    return invalid("start.rope_delta", "want a whole number, got " + math::shown(start.rope_delta));
  return std::nullopt;
}

std::int64_t tokens_of(const GridShape& grid, const MropeRule& rule) noexcept {
  return math::product(grid.frames, math::product(grid.rows, math::sum(grid.columns, rule.row_end_token ? 1 : 0)));
}

// The time of a frame in float32, multiplied in the order of Qwen2.5-Omni's and Qwen3-Omni's code. For Qwen2.5-VL's,
// which multiplies the two factors first, the outcome is the same as long as one of them is a power of two (it is 2).
float time_of(std::int64_t frame, double seconds, double per_second) noexcept {
  return static_cast<float>(frame) * static_cast<float>(seconds) * static_cast<float>(per_second);
}

std::optional<Error> grid_error(const GridShape& grid, const std::string& path) {
  if (auto error = at_least(1, grid.frames, path + ".frames")) return error;
  if (auto error = at_least(1, grid.rows, path + ".rows")) return error;
  return at_least(1, grid.columns, path + ".columns");
}

// Checks a segment of each kind and says how many tokens it has.
struct Checker {
  const MropeRule& rule;
  std::string path;

  Result<std::int64_t> operator()(const MropeText& text) const { return counted(text.tokens, 0, ".tokens"); }
  Result<std::int64_t> operator()(const MropeAudio& audio) const { return counted(audio.tokens, 0, ".tokens"); }
  Result<std::int64_t> operator()(const MropeImage& image) const {
    if (rule.canvas) return Error{Code::kUnsupported, path, "want a canvas for each picture of this family"};
    if (auto error = grid_error(image.grid, path + ".grid")) return *std::move(error);
    return tokens_of(image.grid, rule);
  }
  Result<std::int64_t> operator()(const MropeVideo& video) const {
    const GridShape& grid = video.grid;
    if (rule.videos == MropeVideos::kNone) return Error{Code::kUnsupported, path, "want no clips: the family has none"};
    if (auto error = grid_error(grid, path + ".grid")) return *std::move(error);
    if (rule.videos == MropeVideos::kFrameByFrame && grid.frames != 1)
      return invalid(
          path + ".grid.frames",
          "want 1, each frame a segment of its own behind the text of its time, got " + std::to_string(grid.frames));
    if (rule.positions_per_second > 0.0) {
      if (!(video.seconds_per_grid >= 0.0) || !std::isfinite(video.seconds_per_grid))
        return invalid(path + ".seconds_per_grid", "want a number >= 0, got " + math::shown(video.seconds_per_grid));
      if (grid.frames > kMostFrames)
        return invalid(path + ".grid.frames", "want at most 2^24, got " + std::to_string(grid.frames));
      if (!(time_of(grid.frames - 1, video.seconds_per_grid, rule.positions_per_second) < kMostTime))
        return invalid(path + ".seconds_per_grid", "want times below 2^53 positions, got " +
                                                       math::shown(video.seconds_per_grid) + " for each frame");
    }
    return tokens_of(grid, rule);
  }
  Result<std::int64_t> operator()(const MropeAudioVideo& both) const {
    if (rule.audio_video == MropeAudioVideoOrder::kNone)
      return Error{Code::kUnsupported, path, "want no sound between frames: the family has none"};
    const auto video = (*this)(both.video);
    if (!video) return video;
    const auto audio = counted(both.audio_tokens, 1, ".audio_tokens");
    if (!audio) return audio;
    return math::sum(4, math::sum(*video, *audio));
  }
  Result<std::int64_t> operator()(const MropeCanvas& canvas) const {
    if (!rule.canvas) return Error{Code::kUnsupported, path, "want no canvas: the family has none"};
    if (auto error = frame_error(canvas.thumbnail, path + ".thumbnail")) return *std::move(error);
    if (auto error = at_least(0, canvas.slice_rows, path + ".slice_rows")) return *std::move(error);
    if (auto error = at_least(canvas.slice_rows > 0 ? 1 : 0, canvas.slice_columns, path + ".slice_columns"))
      return *std::move(error);
    if (canvas.slice_rows == 0 && canvas.slice_columns > 0)
      return invalid(path + ".slice_rows", "want a number >= 1, got 0");
    if (auto error = at_least(0, canvas.trailing_markers, path + ".trailing_markers")) return *std::move(error);
    const auto patches = [](const GridShape& grid) { return math::product(grid.rows, grid.columns); };
    std::int64_t tokens = math::sum(2, math::sum(patches(canvas.thumbnail), canvas.trailing_markers));
    if (canvas.slice_rows > 0) {
      if (auto error = frame_error(canvas.slice, path + ".slice")) return *std::move(error);
      const std::int64_t slices = math::product(canvas.slice_rows, canvas.slice_columns);
      tokens = math::sum(tokens, math::product(slices, math::sum(2, patches(canvas.slice))));
      tokens = math::sum(tokens, canvas.slice_rows - 1);
    }
    return tokens;
  }
  static std::optional<Error> frame_error(const GridShape& grid, const std::string& where) {
    if (auto error = grid_error(grid, where)) return error;
    if (grid.frames == 1) return std::nullopt;
    return invalid(where + ".frames", "want 1, got " + std::to_string(grid.frames));
  }
  Result<std::int64_t> counted(std::int64_t tokens, std::int64_t least, const char* field) const {
    if (auto error = at_least(least, tokens, path + field)) return *std::move(error);
    return tokens;
  }
};

Result<std::int64_t> tokens_of(std::span<const MropeSegment> segments, const MropeRule& rule, const MropeStart& start) {
  if (auto error = rule_error(rule)) return *std::move(error);
  if (auto error = start_error(start, rule.fractional_time)) return *std::move(error);
  std::int64_t tokens = 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const auto here = std::visit(Checker{rule, at("segments", s)}, segments[s]);
    if (!here) return here;
    tokens = math::sum(tokens, *here);
  }
  return tokens;
}

// ---- Counting -------------------------------------------------------------------------------------------------------

// The pictures and clips of a sequence, one token at a time. T is what positions are counted in: int64, or float where
// the reference counts in float32.
template <class T>
struct Grid {
  const MropeRule& rule;
  GridShape shape;
  bool image = false;
  double seconds = 1.0;
  T first{};
  std::int64_t number = 0;  // of the picture

  std::int64_t columns() const noexcept { return shape.columns + (rule.row_end_token ? 1 : 0); }
  std::int64_t tokens() const noexcept { return shape.frames * shape.rows * columns(); }

  T frame_time(std::int64_t frame) const noexcept {
    if (image) return static_cast<T>(frame * rule.image_frame_step);
    if (rule.positions_per_second == 0.0) return static_cast<T>(frame);
    return static_cast<T>(time_of(frame, seconds, rule.positions_per_second));  // to int64: towards zero
  }
  T on(MropeAxis axis, std::int64_t token) const noexcept {
    const std::int64_t column = token % columns(), row = token / columns() % shape.rows;
    const T base = rule.from_zero ? T{} : first;
    switch (axis) {
      case MropeAxis::kFrame: return frame_time(token / columns() / shape.rows) + base;
      case MropeAxis::kRow: return static_cast<T>(row) + base;
      case MropeAxis::kColumn: return static_cast<T>(column) + base;
      case MropeAxis::kImage: return static_cast<T>(number);
      case MropeAxis::kToken: break;
    }
    return static_cast<T>(token) + first;
  }
};

// Where the i-th of `count` points lies that are spread over 0 .. length - 1, both ends met: formed in float32 from the
// nearer end and rounded to even, as torch.linspace and round do.
std::int64_t spread(std::int64_t i, std::int64_t count, std::int64_t length) noexcept {
  if (count == 1) return 0;
  const auto end = static_cast<float>(length - 1);
  const float step = end / static_cast<float>(count - 1);
  const float place = i < count / 2 ? step * static_cast<float>(i) : end - step * static_cast<float>(count - 1 - i);
  return static_cast<std::int64_t>(std::nearbyint(place));
}

// Writes [axes, tokens] of Out, counting in T.
template <class T, class Out>
class Writer {
 public:
  Writer(const MropeRule& rule, const MropeStart& start, MropeResult<Out>& out)
      : rule_(rule),
        out_(out),
        next_(static_cast<T>(start.cached_tokens) + static_cast<T>(start.rope_delta)),
        largest_(next_ - 1) {}

  void operator()(const MropeText& text) { count_on(text.tokens); }
  void operator()(const MropeAudio& audio) { count_on(audio.tokens); }
  void operator()(const MropeImage& image) { write(Grid<T>{rule_, image.grid, true, 1.0, next_, out_.images++}); }
  void operator()(const MropeVideo& video) {
    write(Grid<T>{rule_, video.grid, false, video.seconds_per_grid, next_, out_.images});
  }
  void operator()(const MropeAudioVideo& both) {
    write_markers();
    const Grid<T> video{rule_, both.video.grid, false, both.video.seconds_per_grid, next_, out_.images};
    if (rule_.audio_video == MropeAudioVideoOrder::kChunks)
      write_chunks(video, both.audio_tokens);
    else
      write_by_time(video, both.audio_tokens);
    write_markers();
  }

  void operator()(const MropeCanvas& canvas) {
    const bool sliced = canvas.slice_rows > 0;
    const GridShape& slice = canvas.slice;
    const std::int64_t high = sliced ? canvas.slice_rows * slice.rows : canvas.thumbnail.rows;
    const std::int64_t wide = sliced ? canvas.slice_columns * slice.columns : canvas.thumbnail.columns;
    const T origin = next_;
    const auto on_canvas = [&](std::int64_t row, std::int64_t column) {
      put([&](int axis) { return axis == 0 ? origin : origin + static_cast<T>(axis == 1 ? row : column); });
    };

    begin_run();
    const std::int64_t before = origin > T{} ? -1 : 0;
    on_canvas(before, before);
    for (std::int64_t row = 0; row < canvas.thumbnail.rows; ++row)
      for (std::int64_t column = 0; column < canvas.thumbnail.columns; ++column)
        on_canvas(spread(row, canvas.thumbnail.rows, high), spread(column, canvas.thumbnail.columns, wide));
    on_canvas(high, wide);
    for (std::int64_t r = 0; r < canvas.slice_rows; ++r) {
      const std::int64_t top = r * slice.rows, bottom = top + slice.rows - 1;
      if (r > 0) on_canvas(top - 1, wide);  // the newline, at the right end of the row before
      for (std::int64_t c = 0; c < canvas.slice_columns; ++c) {
        const std::int64_t left = c * slice.columns, right = left + slice.columns - 1;
        on_canvas(top, left);
        for (std::int64_t row = top; row <= bottom; ++row)
          for (std::int64_t column = left; column <= right; ++column) on_canvas(row, column);
        on_canvas(bottom, right);
      }
    }
    for (std::int64_t i = 0; i < canvas.trailing_markers; ++i) on_canvas(0, 0);
    next_ = origin + static_cast<T>(std::max(high, wide)) + 1;
  }

  T largest() const noexcept { return largest_; }

 private:
  // One token; `run_` is the largest position since begin_run.
  template <class OnAxis>
  void put(const OnAxis& on) {
    for (int axis = 0; axis < rule_.axes; ++axis) {
      const T value = on(axis);
      out_.positions[static_cast<std::size_t>(axis) * static_cast<std::size_t>(out_.tokens) + token_] =
          static_cast<Out>(value);
      run_ = std::max(run_, value);
    }
    largest_ = std::max(largest_, run_);
    ++token_;
  }
  void begin_run() noexcept { run_ = std::numeric_limits<T>::lowest(); }

  void put_text(T position) {
    put([&](int) { return position; });
  }
  void put_grid(const Grid<T>& grid, std::int64_t token) {
    put([&](int axis) { return grid.on(rule_.counts[static_cast<std::size_t>(axis)], token); });
  }

  void count_on(std::int64_t tokens) {
    begin_run();
    for (std::int64_t i = 0; i < tokens; ++i) put_text(static_cast<T>(i) + next_);
    if (tokens > 0) next_ = run_ + 1;
  }

  void write(const Grid<T>& grid) {
    begin_run();
    for (std::int64_t i = 0; i < grid.tokens(); ++i) put_grid(grid, i);
    switch (rule_.advance) {
      case MropeAdvance::kLargestPosition: next_ = run_ + 1; break;
      case MropeAdvance::kLargestSide:
        next_ = grid.first + static_cast<T>(std::max(grid.shape.rows, grid.shape.columns));
        break;
      case MropeAdvance::kTokens: next_ = grid.first + static_cast<T>(grid.tokens()); break;
    }
  }

  void write_markers() {
    if (!rule_.shared_markers) return count_on(2);
    begin_run();
    put_text(next_);
    put_text(next_);
    next_ = run_ + 1;
  }

  // Where the n-th piece begins, cut from `times` at each token that reaches the end of the running chunk. As in the
  // reference, a jump over several chunks cuts at several tokens in a row, one chunk each.
  template <class Time>
  std::int64_t chunk_end(std::int64_t begin, std::int64_t tokens, std::int64_t chunk, const Time& time) const {
    const auto length = static_cast<std::int64_t>(rule_.positions_per_second * rule_.seconds_per_chunk);
    std::int64_t i = begin;
    // The token that begins a piece has been looked at when it cut the piece before.
    if (begin > 0) ++i;
    while (i < tokens && static_cast<double>(time(i)) < static_cast<double>(chunk) * static_cast<double>(length)) ++i;
    return i;
  }

  void write_chunks(const Grid<T>& video, std::int64_t audio_tokens) {
    const T first = next_;
    const std::int64_t video_tokens = video.tokens();
    const std::int64_t frame_tokens = video.columns() * video.shape.rows;
    std::int64_t v = 0, a = 0;
    for (std::int64_t chunk = 1; v < video_tokens || a < audio_tokens; ++chunk) {
      if (v < video_tokens) {
        const std::int64_t end =
            chunk_end(v, video_tokens, chunk, [&](std::int64_t i) { return video.frame_time(i / frame_tokens); });
        begin_run();
        while (v < end) put_grid(video, v++);
      }
      if (a < audio_tokens) {
        const std::int64_t end = chunk_end(a, audio_tokens, chunk, [](std::int64_t i) { return i; });
        begin_run();
        for (; a < end; ++a) put_text(static_cast<T>(a) + first);
      }
    }
    // As the references do: behind the last run alone, be it the sound or the clip.
    next_ = run_ + 1;
  }

  void write_by_time(const Grid<T>& video, std::int64_t audio_tokens) {
    const T first = next_;
    const std::int64_t video_tokens = video.tokens();
    std::int64_t v = 0, a = 0;
    while (v < video_tokens && a < audio_tokens) {
      const T sound = static_cast<T>(a) + first;
      if (video.on(rule_.counts[0], v) <= sound)
        put_grid(video, v++);
      else
        put_text(static_cast<T>(a++) + first);
    }
    begin_run();
    while (v < video_tokens) put_grid(video, v++);
    for (; a < audio_tokens; ++a) put_text(static_cast<T>(a) + first);
    next_ = run_ + 1;
  }

  const MropeRule& rule_;
  MropeResult<Out>& out_;
  std::size_t token_ = 0;
  T next_;
  T largest_;
  T run_{};
};

template <class T, class Out>
Result<MropeResult<Out>> counted(std::span<const MropeSegment> segments, const MropeRule& rule,
                                 const MropeStart& start) {
  const auto tokens = tokens_of(segments, rule, start);
  if (!tokens) return tokens.error();
  auto positions = math::filled(math::product(rule.axes, *tokens), Out{});
  if (!positions) return positions.error();

  MropeResult<Out> out{rule.axes, *tokens, *std::move(positions), Out{}, start.images};
  Writer<T, Out> writer(rule, start, out);
  for (const MropeSegment& segment : segments) std::visit(writer, segment);
  if constexpr (std::is_same_v<T, float>)
    if (!(static_cast<double>(writer.largest()) <= kMostFractional))
      return invalid("segments", "want positions up to 2^24 where time is fractional, got " +
                                     math::shown(static_cast<double>(writer.largest())));
  out.rope_delta = static_cast<Out>(writer.largest() + 1 - static_cast<T>(start.cached_tokens + *tokens));
  return out;
}

}  // namespace

Result<MropePositions> mrope_positions(std::span<const MropeSegment> segments, const MropeRule& rule,
                                       const MropeStart& start) {
  if (rule.fractional_time)
    return invalid("rule.fractional_time", "want a rule of whole positions here, got one for mrope_coordinates");
  return counted<std::int64_t, std::int64_t>(segments, rule, start);
}

Result<MropeCoordinates> mrope_coordinates(std::span<const MropeSegment> segments, const MropeRule& rule,
                                           const MropeStart& start) {
  if (rule.fractional_time) return counted<float, double>(segments, rule, start);
  return counted<std::int64_t, double>(segments, rule, start);
}

}  // namespace ropewalk
