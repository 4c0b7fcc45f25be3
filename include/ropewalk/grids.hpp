#pragma once

#include <ropewalk/result.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace ropewalk {

// Where tokens stand that are no plain sequence: patches of pictures and clips, pictures among text, chunks. Every
// builder returns whole arrays, [axes, tokens] with the first axis outermost, for PositionsView::streams or
// CoordinatesView::streams; a batch is one call a row. docs/positions.md draws which family counts how.

// ---- 1. Patches of a vision tower: whole positions ------------------------------------------------------------------

/// A picture or a clip, counted in patches (checkpoints' `grid_thw`).
struct GridShape {
  std::int64_t frames = 1;
  std::int64_t rows = 0;     ///< h
  std::int64_t columns = 0;  ///< w
  std::int64_t merge = 0;    ///< 0: GridOptions::merge; VideoLLaMA 3 gives every picture its own
};

/// Which coordinates a token has, first stream first.
enum class GridAxes : std::uint8_t {
  kRowColumn = 0,       ///< h, w: frames repeat the same positions
  kColumnRow = 1,       ///< x, y
  kFrameRowColumn = 2,  ///< t, h, w
};

/// Streams of positions.
constexpr int axes_of(GridAxes axes) noexcept { return axes == GridAxes::kFrameRowColumn ? 3 : 2; }

/// In which order the patches come and what their coordinates are counted from. Frames are outermost in any order.
/// A frame of 4 x 4 patches, each numbered by its place among the tokens:
///
///     raster        merge = 2       merge = 1, window = 2, on 3 x 3
///      0  1  2  3    0  1  4  5      0  1  4
///      4  5  6  7    2  3  6  7      2  3  5
///      8  9 10 11    8  9 12 13      6  7  8
///     12 13 14 15   10 11 14 15
struct GridOptions {
  GridAxes axes = GridAxes::kRowColumn;
  std::int64_t merge = 1;            ///< blocks of merge x merge patches come together; `spatial_merge_size`
  std::int64_t window = 0;           ///< > 0: windows of window x window blocks come together, cut off at the edges
  std::int64_t offset = 0;           ///< where row 0 and column 0 stand; frames count from 0
  std::int64_t leading_tokens = 0;   ///< before each grid, at 0 on every axis, where nothing turns: CLS, registers
  std::int64_t trailing_tokens = 0;  ///< behind each grid, likewise: Llama 4's CLS, SAM 2's object pointers
  std::int64_t pad_to = 0;           ///< > 0: fill the whole up to so many tokens with `padding` on every axis
  std::int64_t padding = -1;
};

/// [axes, tokens]: the positions of every patch of every grid, one grid behind the other.
///
/// {2, 1, 3} by row and column is two frames of one row:  0 0 0 0 0 0
///                                                        0 1 2 0 1 2
/// Errors: kInvalid for a side below 1, sides that merge does not divide, more tokens than pad_to, positions that leave
/// int64 or memory.
Result<std::vector<std::int64_t>> positions_from_grids(std::span<const GridShape> grids,
                                                       const GridOptions& options = {});

/// [axes, tokens]: where flat patch numbers stand, id = (frame * rows + row) * columns + column. For subsets of patches
/// in any order (V-JEPA 2's masks) and for numbers in a wider raster (Pixtral's row * max_width + column).
/// Errors: kInvalid for a negative id, or rows or columns below 1.
Result<std::vector<std::int64_t>> positions_from_patch_ids(std::span<const std::int64_t> ids, std::int64_t rows,
                                                           std::int64_t columns, GridAxes axes);

/// How a family's vision tower numbers its patches; merge is its configuration's default, where checkpoints may differ.
struct GridFamily {
  std::string_view model_type;
  GridOptions options;
  std::string_view source;
};

std::span<const GridFamily> grid_families() noexcept;
/// Null if there is no such row.
const GridFamily* find_grid_family(std::string_view model_type) noexcept;

// ---- 2. Patches at coordinates that are no whole numbers ------------------------------------------------------------

/// What a coordinate is measured in. k counts patches along an axis of N, `offset` is added to it first.
enum class CoordinateUnit : std::uint8_t {
  kPatches = 0,      ///< k
  kOwnSide = 1,      ///< 2 k / N - 1: [-1, 1] on each axis (DINOv3; timm's "separate")
  kLongerSide = 2,   ///< 2 k / max(rows, columns) - 1
  kShorterSide = 3,  ///< 2 k / min(rows, columns) - 1
  kEnds = 4,         ///< 2 k / (N - 1) - 1, from -1 to 1, both met; -1 if N is 1 (timm's pixel grid)
};

struct CoordinateOptions {
  bool column_first = false;  ///< x, y instead of h, w
  CoordinateUnit unit = CoordinateUnit::kPatches;
  double offset = 0.0;        ///< 0.5 for the centre of a patch; none with kEnds
  double row_scale = 1.0;     ///< on the finished coordinate: EVA-02's reference / actual rows, SAM 3's window / grid
  double column_scale = 1.0;  ///< likewise
  std::int64_t leading_tokens = 0;  ///< at 0 on both axes, as in GridOptions
  std::int64_t trailing_tokens = 0;
};

/// [2, tokens]: the coordinates of the patches of one grid in raster order, frames repeating them. Each is rounded once
/// before its scale: 3 patches at their centres on kOwnSide stand at -2/3, 0, 2/3.
/// Errors: kInvalid for a side below 1, an offset or scale beyond 2^53, an offset with kEnds; what does not fit
/// in memory.
Result<std::vector<double>> coordinates_from_grid(const GridShape& grid, const CoordinateOptions& options = {});

/// Sound cut into windows of equally many tokens, as Music Flamingo lays it out.
struct AudioWindows {
  std::int64_t windows = 0;            ///< of one recording
  std::int64_t tokens_per_window = 0;  ///< >= 1
  double seconds_per_token = 0.0;      ///< in (0, 2^20]; 0.04 for Music Flamingo
  std::int64_t max_positions = 0;      ///< >= 1; `max_position_embeddings`
};

/// [2, windows * tokens_per_window]: the window's and the token's axis, in radians on the rung of 1. With i tokens into
/// window n, t = (n * tokens_per_window + i) * seconds_per_token:
///
///     2 pi t * n / max_positions     and     2 pi t * 2 pi i / max_positions
///
/// Music Flamingo turns by minus these (RotarySpec::clockwise).
/// Errors: kInvalid for a number out of its range; what does not fit in memory.
Result<std::vector<double>> coordinates_from_audio_windows(const AudioWindows& sound);

// ---- 3. Pictures, clips and sound among text (M-RoPE) ---------------------------------------------------------------

struct MropeText {
  std::int64_t tokens = 0;
};
/// A picture as the text model sees it: one token for each merged block. Its start and end markers are text.
struct MropeImage {
  GridShape grid{};  ///< merged: divide `grid_thw` by spatial_merge_size; `merge` is not read
};
struct MropeVideo {
  GridShape grid{};               ///< merged, in time too (ERNIE's temporal_merge_size)
  double seconds_per_grid = 1.0;  ///< from one frame of the grid to the next; `second_per_grid_ts`
};
struct MropeAudio {
  std::int64_t tokens = 0;
};
/// A clip whose sound comes between its frames, with its two opening and its two closing markers.
struct MropeAudioVideo {
  MropeVideo video{};
  std::int64_t audio_tokens = 0;  ///< >= 1
};
/// A picture as MiniCPM-V 4.7 reads it: a thumbnail and slices of it, laid on one canvas as large as the slices
/// together (or the thumbnail, if there are none). With its markers: <image> thumbnail </image>, then <slice> ...
/// </slice> for each slice, rows of slices parted by one newline token.
struct MropeCanvas {
  GridShape thumbnail{};              ///< merged, one frame
  std::int64_t slice_rows = 0;        ///< how many slices one below the other; 0: none
  std::int64_t slice_columns = 0;     ///< how many side by side; 0: none
  GridShape slice{};                  ///< of each: merged, one frame; not read without slices
  std::int64_t trailing_markers = 0;  ///< newline or other markers directly behind it
};
using MropeSegment = std::variant<MropeText, MropeImage, MropeVideo, MropeAudio, MropeAudioVideo, MropeCanvas>;

/// What one stream counts inside a picture. Text counts on in every stream.
enum class MropeAxis : std::uint8_t {
  kFrame = 0,
  kRow = 1,
  kColumn = 2,
  kToken = 3,  ///< its tokens, as if they were text
  kImage = 4,  ///< which picture of the sequence it is, from 0
};

/// Where text goes on behind a picture or a clip. For pictures of one frame the first two agree.
enum class MropeAdvance : std::uint8_t {
  kLargestPosition = 0,  ///< 1 + the largest position in it on any axis: the families' own code, vLLM, transformers 4
  kLargestSide = 1,      ///< its first position + max(rows, columns): transformers 5, whose clips may reach beyond that
  kTokens = 2,           ///< its first position + its tokens
};

/// How many frames one MropeVideo may have.
enum class MropeVideos : std::uint8_t {
  kWhole = 0,         ///< all of them
  kFrameByFrame = 1,  ///< one: every frame is a segment of its own, behind the text of its time
  kNone = 2,
};

/// In which order a clip and its sound come.
enum class MropeAudioVideoOrder : std::uint8_t {
  kNone = 0,    ///< not at all
  kChunks = 1,  ///< frames of the first seconds_per_chunk, their sound, frames of the next, ...
  kByTime = 2,  ///< token by token, whichever is earlier on the first stream; a frame before sound of the same time
};

/// A family's way of counting, as data.
struct MropeRule {
  int axes = 3;  ///< streams in use, 1 to 4
  std::array<MropeAxis, 4> counts = {MropeAxis::kFrame, MropeAxis::kRow, MropeAxis::kColumn, MropeAxis::kToken};
  MropeAdvance advance = MropeAdvance::kLargestPosition;
  MropeVideos videos = MropeVideos::kWhole;
  bool from_zero = false;             ///< frames, rows and columns count from 0, not from where the picture begins
  bool row_end_token = false;         ///< each row of a picture ends in a token of its own, one column further
  double positions_per_second = 0.0;  ///< of a clip's frames; 0: a frame is a position, whatever its seconds
  std::int64_t image_frame_step = 1;  ///< positions from a picture's frame to the next
  bool fractional_time = false;       ///< a clip's frames are not truncated to whole positions
  MropeAudioVideoOrder audio_video = MropeAudioVideoOrder::kNone;
  double seconds_per_chunk = 0.0;  ///< of kChunks
  bool shared_markers = false;     ///< the two markers around an MropeAudioVideo stand at one position
  bool canvas = false;             ///< pictures are MropeCanvas, on three axes
};

/// Where an earlier part of the sequence has left off: what a later turn, or a second picture, goes on from.
struct MropeStart {
  std::int64_t cached_tokens = 0;
  double rope_delta = 0.0;  ///< whole unless the rule's time is fractional
  std::int64_t images = 0;  ///< pictures so far, for kImage
};

template <class T>
struct MropeResult {
  int axes = 0;
  std::int64_t tokens = 0;
  std::vector<T> positions{};  ///< [axes, tokens]
  /// 1 + the largest position so far - tokens so far: token n of what is decoded behind it stands at n + rope_delta on
  /// every axis, n counting from 0 at the first token of all.
  T rope_delta{};
  std::int64_t images = 0;  ///< pictures so far, MropeStart::images included
};
using MropePositions = MropeResult<std::int64_t>;
using MropeCoordinates = MropeResult<double>;

/// The positions of a sequence of segments.
///
/// Two words, a picture of 2 x 3, one word, with Qwen2-VL's rule (rope_delta 6 - 9 = -3):
///
///     t  0 1  2 2 2 2 2 2  5
///     h  0 1  2 2 2 3 3 3  5
///     w  0 1  2 3 4 2 3 4  5
///
/// A clip's time is rounded as its reference rounds it, in float32: trunc(frame * seconds * positions_per_second).
/// A prompt cut into chunks takes its part of one call's result; positions of a part alone would begin again at 0.
/// Errors: kInvalid for a segment or rule out of its range (path "segments[2].grid.rows"), time beyond 2^53, a rule of
/// fractional time; kUnsupported for a kind of segment that the rule does not have.
Result<MropePositions> mrope_positions(std::span<const MropeSegment> segments, const MropeRule& rule,
                                       const MropeStart& start = {});

/// The same for any rule, as coordinates. A rule of fractional time counts in float32, as its reference does: which of
/// two tokens is earlier hangs on it. Errors: beside those, kInvalid for a position of such a rule beyond 2^24.
Result<MropeCoordinates> mrope_coordinates(std::span<const MropeSegment> segments, const MropeRule& rule,
                                           const MropeStart& start = {});

/// [batch, tokens]: the next tokens of each row, the same on every axis (an axis_stride of 0).
///
/// cached_tokens  [batch] or [1], real tokens so far, padding not counted
/// rope_deltas    [batch]
/// cached 9, delta -3, two tokens: 6 7. Errors: as positions_from_offsets.
Result<std::vector<std::int64_t>> positions_from_rope_deltas(std::span<const std::int64_t> cached_tokens,
                                                             std::span<const std::int64_t> rope_deltas,
                                                             std::int64_t tokens);

struct MropeFamily {
  std::string_view model_type;
  MropeRule rule;
  std::string_view source;
};

std::span<const MropeFamily> mrope_families() noexcept;
/// Null if there is no such row.
const MropeFamily* find_mrope_family(std::string_view model_type) noexcept;

// ---- 4. Chunks and compressed keys ----------------------------------------------------------------------------------

/// Dual chunk attention (Qwen2.5-1M): positions repeat every c = chunk_size - local_size, so that no distance exceeds
/// the trained one.
struct DualChunk {
  std::int64_t chunk_size = 0;
  std::int64_t local_size = 0;  ///< in [0, chunk_size)
  bool operator==(const DualChunk&) const = default;
};

/// Which keys a query is turned for.
enum class DualChunkQuery : std::uint8_t {
  kIntra = 0,               ///< of its own chunk: p mod c
  kSuccessive = 1,          ///< of the chunk before: min(p mod c + c, chunk_size)
  kInter = 2,               ///< of all earlier ones: min(2 c - 1, chunk_size), wherever it stands
  kSuccessiveCritical = 3,  ///< p mod c + c
  kInterCritical = 4,       ///< p mod c + chunk_size
};

/// [tokens]: where keys stand, p mod c. Errors: kInvalid for a negative position or sizes out of their range.
Result<std::vector<std::int64_t>> dual_chunk_key_positions(std::span<const std::int64_t> positions, DualChunk sizes);

/// [tokens]: where queries stand, for one kind of key. Errors: as for keys.
Result<std::vector<std::int64_t>> dual_chunk_query_positions(std::span<const std::int64_t> positions, DualChunk sizes,
                                                             DualChunkQuery kind);

/// [entries]: where keys stand that each stand for `ratio` tokens (DeepSeek-V4): on the first of them.
/// Entry 2 on, three of them, ratio 4: 8 12 16. Errors: kInvalid for a negative number, a ratio below 1, int64 left.
Result<std::vector<std::int64_t>> positions_from_compressed(std::int64_t first_entry, std::int64_t entries,
                                                            std::int64_t ratio);

}  // namespace ropewalk
