// One row a family: how its published code numbers patches and tokens. Read in transformers 5.23.0 unless a source says
// otherwise; tests/python/test_grids_vs_transformers.py runs that code against these rows.

#include <ropewalk/grids.hpp>

#include <algorithm>

namespace ropewalk {
namespace {

constexpr GridAxes kColumnRow = GridAxes::kColumnRow;
constexpr GridAxes kFrameRowColumn = GridAxes::kFrameRowColumn;

constexpr std::string_view kBlocks = "transformers vision_utils.py: get_vision_position_ids";
constexpr std::string_view kWindows = "transformers vision_utils.py: get_vision_position_ids, get_vision_window_index";
constexpr std::string_view kMemory = "its MemoryAttention.precompute_positions; keys repeat it, a frame each";

// A row a line, like a table.
// clang-format off
constexpr GridFamily kGridFamilies[] = {
    {"cohere_compass", {.merge = 2}, kBlocks},
    {"dots3_note", {.merge = 2}, kBlocks},
    {"edgetam_video", {.axes = kColumnRow}, kMemory},
    {"efficientloftr", {.offset = 1}, "transformers efficientloftr: compute_embeddings, a running sum of ones"},
    {"ernie4_5_vl_moe", {.merge = 2}, kBlocks},
    {"exaone4_5", {.merge = 2, .window = 4}, kWindows},
    {"gemma4", {.axes = kColumnRow}, "transformers image_processing_gemma4.py; padded to the longest picture with -1"},
    {"glm46v", {.merge = 2}, kBlocks},
    {"glm4v", {.merge = 2}, kBlocks},
    {"glm4v_moe", {.merge = 2}, kBlocks},
    {"glm5_next", {.merge = 2}, kBlocks},
    {"glm_image", {.merge = 1}, kBlocks},
    {"glm_ocr", {.merge = 2}, kBlocks},
    {"inkling2", {.merge = 2, .offset = 1, .leading_tokens = 1}, "transformers inkling2: Inkling2VisionModel.forward"},
    {"kimi_k25", {.merge = 1}, kBlocks},
    {"lfm3_vl", {.merge = 2}, kBlocks},
    {"llama4", {.axes = kColumnRow, .offset = 1, .trailing_tokens = 1}, "transformers llama4: Llama4VisionRotaryEmbedding"},
    {"minimax_m3_vl", {.axes = kFrameRowColumn, .merge = 2}, "transformers minimax_m3_vl: get_vision_position_ids with include_temporal"},
    {"mistral3", {}, "as pixtral"},
    {"mlcd", {}, "transformers mlcd: MLCDVisionTransformer.forward; the class token before them has learned angles"},
    {"muse_glimmer", {.axes = kColumnRow, .window = 32, .offset = 1}, kWindows},
    {"muse_spark", {.axes = kColumnRow, .window = 32, .offset = 1}, kWindows},
    {"paddleocr_vl", {.merge = 1}, kBlocks},
    {"pixtral", {}, "transformers pixtral: PixtralVisionModel.forward"},
    {"qwen2_5_omni", {.merge = 2, .window = 4}, kWindows},
    {"qwen2_5_vl", {.merge = 2, .window = 4}, kWindows},
    {"qwen2_vl", {.merge = 2}, kBlocks},
    {"qwen3_5", {.merge = 2}, kBlocks},
    {"qwen3_5_moe", {.merge = 2}, kBlocks},
    {"qwen3_omni_moe", {.merge = 2}, kBlocks},
    {"qwen3_vl", {.merge = 2}, kBlocks},
    {"qwen3_vl_moe", {.merge = 2}, kBlocks},
    {"qwen4_exp", {.merge = 2}, kBlocks},
    {"sam2_video", {.axes = kColumnRow}, kMemory},
    {"sam3_tracker_video", {.axes = kColumnRow}, kMemory},
    {"step3p7", {.merge = 1}, kBlocks},
    {"video_llama_3", {.merge = 1}, "transformers video_llama_3: get_vision_position_ids with a merge for every picture"},
    {"vjepa2", {.axes = kFrameRowColumn}, "transformers vjepa2: VJEPA2RopeAttention.get_position_ids"},
};

constexpr std::string_view kRopeIndex = "its get_rope_index";
constexpr MropeRule kQwen2{};
constexpr MropeRule kFrameByFrame{.videos = MropeVideos::kFrameByFrame};
constexpr MropeAxis kRow = MropeAxis::kRow, kColumn = MropeAxis::kColumn;
constexpr MropeAxis kToken = MropeAxis::kToken, kImage = MropeAxis::kImage;

constexpr MropeFamily kMropeFamilies[] = {
    {"cohere_compass", kFrameByFrame, kRopeIndex},
    {"cosmos3_edge", kFrameByFrame, kRopeIndex},
    {"cosmos3_omni", kFrameByFrame, kRopeIndex},
    {"ernie4_5_vl_moe", kQwen2, "its get_rope_index; grids merged in time by temporal_merge_size"},
    {"glm46v", kFrameByFrame, kRopeIndex},
    {"glm4v", kFrameByFrame, kRopeIndex},
    {"glm4v_moe", kFrameByFrame, kRopeIndex},
    {"glm_image", {.videos = MropeVideos::kNone}, "its get_rope_index; pictures it draws follow the prompt, last grid first"},
    {"glm_ocr", kFrameByFrame, kRopeIndex},
    {"hunyuan_vl", {.axes = 4, .counts = {kToken, kColumn, kRow, kImage}, .advance = MropeAdvance::kTokens, .videos = MropeVideos::kNone, .from_zero = true, .row_end_token = true}, kRopeIndex},
    {"minicpmv4_7", {.videos = MropeVideos::kNone, .canvas = true}, "its get_rope_index; a frame of a clip is a canvas of its own"},
    {"neomme", {.axes = 2, .counts = {kRow, kColumn, kToken, kToken}, .videos = MropeVideos::kNone, .row_end_token = true}, "NeoMMEProcessor._build_position_ids"},
    {"paddleocr_vl", kQwen2, kRopeIndex},
    {"qwen2_5_omni", {.positions_per_second = 25.0, .image_frame_step = 25, .audio_video = MropeAudioVideoOrder::kChunks, .seconds_per_chunk = 2.0, .shared_markers = true}, kRopeIndex},
    {"qwen2_5_vl", {.positions_per_second = 2.0}, "its get_rope_index; 2 is what its checkpoints say, 4 its class's default"},
    {"qwen2_vl", kQwen2, kRopeIndex},
    {"qwen3_5", kFrameByFrame, kRopeIndex},
    {"qwen3_5_moe", kFrameByFrame, kRopeIndex},
    {"qwen3_omni_moe", {.positions_per_second = 13.0, .image_frame_step = 13, .fractional_time = true, .audio_video = MropeAudioVideoOrder::kByTime}, "its get_rope_index; 13 is what its checkpoints say, 25 its class's default"},
    {"qwen3_vl", kFrameByFrame, kRopeIndex},
    {"qwen3_vl_moe", kFrameByFrame, kRopeIndex},
    {"qwen4_exp", kFrameByFrame, kRopeIndex},
};
// clang-format on

template <class Row>
const Row* found(std::span<const Row> rows, std::string_view model_type) noexcept {
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.model_type == model_type; });
  return row == rows.end() ? nullptr : &*row;
}

}  // namespace

std::span<const GridFamily> grid_families() noexcept { return kGridFamilies; }
const GridFamily* find_grid_family(std::string_view model_type) noexcept { return found(grid_families(), model_type); }

std::span<const MropeFamily> mrope_families() noexcept { return kMropeFamilies; }
const MropeFamily* find_mrope_family(std::string_view model_type) noexcept {
  return found(mrope_families(), model_type);
}

}  // namespace ropewalk
