// One row a model family: what its config.json does not say. Read in transformers 5.23.0 unless a row's `module` says
// otherwise (a family that transformers does not have; its own code, or what an engine that runs it does):
// models/<module>/configuration_*.py for what is assumed of missing keys, modeling_*.py for the pairs (from the
// function that applies cosine and sine), the width, and the layers that turn. tests/python/
// test_transformers_parity.py runs those files against these rows.

#include "config/families.hpp"

#include <ropewalk/config.hpp>

#include <algorithm>
#include <numbers>
#include <string>
#include <vector>

namespace ropewalk::config {
namespace {

constexpr PairLayout kHalf = PairLayout::kHalf;
constexpr PairLayout kInter = PairLayout::kInterleaved;

constexpr std::string_view kFull = "full_attention";
constexpr std::string_view kSliding = "sliding_attention";
constexpr std::string_view kLinear = "linear_attention";

constexpr std::string_view kGptOssRope =
    R"({"rope_type":"yarn","factor":32.0,"beta_fast":32.0,"beta_slow":1.0,"truncate":false,)"
    R"("original_max_position_embeddings":4096})";
constexpr std::string_view kGemma4Rope =
    R"({"sliding_attention":{"rope_type":"default","rope_theta":10000.0},)"
    R"("full_attention":{"rope_type":"proportional","partial_rotary_factor":0.25,"rope_theta":1000000.0}})";

constexpr std::string_view kIndexer =
    "the lightning indexer's own small heads turn by their own rule and are not described here";
constexpr std::string_view kDeinterleaved =
    "transformers writes the turned channels de-interleaved (first members, then second members of the pairs): the "
    "channel order of cached keys differs from engines that turn in place";

constexpr std::string_view kWiderTables =
    "another type for this family, whose tables would be as wide as head_dim says and whose attention turns "
    "qk_rope_head_dim channels";
constexpr std::string_view kNotRead = "another type for this family, in whose own code this one was not read";
constexpr std::string_view kHiddenStates = "hidden states turn, before they are projected to queries and keys";
constexpr std::string_view kNoRotation =
    "the two channels of a pair turn by different angles: not a rotation, and norms and distances are not kept";

constexpr std::string_view kDeepseekV4 =
    "the layers' one vector is key and value, so the attention output is turned back at the query's position (an "
    "inverse rotation); compressed entries stand on the first token of their window (positions_from_compressed), and "
    "the indexer's own heads turn as the compress layers do";

constexpr Axial kRowsColumns = {AxialForm::kBlocks, "height width"};
constexpr Axial kXY = {AxialForm::kBlocks, "width height"};
constexpr Axial kPatchCentres = {
    .form = AxialForm::kBlocks, .streams = "height width", .coordinates = true, .scale = 2.0 * std::numbers::pi};

// A row a line, in groups, like a table.
// clang-format off
constexpr Row kRows[] = {
    // Half-split pairs over the whole head, every layer alike.
    {.name = "llama", .module = "llama", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "apertus", .module = "apertus", .layout = kHalf, .assumes = {4096, 32, 32, 65536}, .theta = 12000000.0, .default_rope = R"({"rope_type":"llama3","rope_theta":12000000.0,"factor":8.0,"original_max_position_embeddings":8192,"low_freq_factor":1.0,"high_freq_factor":4.0})"},
    {.name = "arcee", .module = "arcee", .layout = kHalf, .assumes = {2560, 32, 32, 4096}},
    {.name = "aria_text", .module = "aria", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "baichuan", .module = "vLLM models/baichuan.py: BaichuanForCausalLM", .layout = kHalf, .theta_fixed = true, .head = HeadRule::kQuotient, .rule = LayerRule::kBaichuan, .takes = Takes::kDefault},
    {.name = "bitnet", .module = "bitnet", .layout = kHalf, .assumes = {2560, 20, 30, 2048}, .theta = 500000.0},
    {.name = "chameleon", .module = "chameleon", .layout = kHalf, .assumes = {4096, 32, 32, 4096}},
    {.name = "codeshell", .module = "its own code as ported in ATB-models: CodeShellRotaryEmbedding", .layout = kHalf, .theta_fixed = true, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .rotary_word = "rope", .needs = "position_embedding_type"},
    {.name = "csm", .module = "csm", .layout = kHalf, .assumes = {2048, 32, 16, 2048}, .theta = 500000.0, .remark = "these are the backbone's positions; depth_decoder_config has its own"},
    {.name = "csm_depth_decoder_model", .module = "csm", .layout = kHalf, .assumes = {1024, 8, 4, 33}, .theta = 500000.0},
    {.name = "cwm", .module = "cwm", .layout = kHalf, .assumes = {6144, 48, 64, 131072}, .theta = 1000000.0, .head_dim = 128, .default_rope = R"({"rope_theta":1000000.0,"factor":16.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"})"},
    {.name = "dbrx", .module = "dbrx", .layout = kHalf, .assumes = {2048, 16, 24, 2048}},
    {.name = "deepseek_ocr2_text", .module = "deepseek_ocr2", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .head = HeadRule::kQuotient},
    {.name = "diffllama", .module = "diffllama", .layout = kHalf, .assumes = {2048, 32, 16, 2048}},
    {.name = "doge", .module = "doge", .layout = kHalf, .assumes = {1024, 8, 32, 2048}},
    {.name = "dots1", .module = "dots1", .layout = kHalf, .assumes = {4608, 32, 62, 2048}},
    {.name = "emu3_text_model", .module = "emu3", .layout = kHalf, .assumes = {4096, 32, 32, 9216}, .theta = 1000000.0},
    {.name = "esm", .module = "esm", .layout = kHalf, .assumes = {768, 12, 12, 1026}, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .rotary_word = "rotary"},
    {.name = "esmc", .module = "esmc", .layout = kHalf, .assumes = {2560, 40, 80, 2048}},
    {.name = "eurobert", .module = "eurobert", .layout = kHalf, .assumes = {768, 12, 12, 8192}},
    {.name = "exaone", .module = "its own code (EXAONE 3.5) as ported in TensorRT-LLM auto_deploy: the functions of transformers", .layout = kHalf},
    {.name = "falcon", .module = "falcon", .layout = kHalf, .assumes = {4544, 71, 32, 2048}, .head = HeadRule::kQuotient, .off_key = "alibi"},
    {.name = "falcon_h1", .module = "falcon_h1", .layout = kHalf, .assumes = {4096, 32, 32, 8192}},
    {.name = "flex_olmo", .module = "flex_olmo", .layout = kHalf, .assumes = {4096, 32, 32, 4096}, .theta = 500000.0},
    {.name = "gemma", .module = "gemma", .layout = kHalf, .assumes = {3072, 16, 28, 8192}, .head_dim = 256},
    {.name = "gemma2", .module = "gemma2", .layout = kHalf, .assumes = {2304, 8, 26, 8192}, .head_dim = 256},
    {.name = "gpt_oss", .module = "gpt_oss", .layout = kHalf, .assumes = {2880, 64, 36, 131072}, .theta = 150000.0, .head_dim = 64, .default_rope = kGptOssRope},
    {.name = "granite", .module = "granite", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "granite4_vision_text", .module = "granite4_vision", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "granite_docling_text", .module = "granite_docling", .layout = kHalf, .assumes = {1024, 16, 28, 32768}},
    {.name = "granitemoe", .module = "granitemoe", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "granitemoeshared", .module = "granitemoeshared", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "grok-1", .module = "xai-org/grok-1 model.py: RotaryEmbedding, rotate_half", .layout = kHalf, .theta_fixed = true, .takes = Takes::kDefault},
    {.name = "gte", .module = "gte", .layout = kHalf, .assumes = {768, 12, 12, 8192}, .theta = 160000.0},
    {.name = "higgs_audio_v2", .module = "higgs_audio_v2", .layout = kHalf, .assumes = {3072, 24, 28, 2048}, .head_dim = 128, .default_rope = R"({"factor":32.0,"rope_theta":500000.0,"high_freq_factor":0.5,"low_freq_factor":0.125,"original_max_position_embeddings":1024,"rope_type":"llama3"})"},
    {.name = "hrm_text", .module = "hrm_text", .layout = kHalf, .assumes = {1536, 12, 128, 2048}, .head_dim = 128},
    {.name = "hunyuan_v1_dense", .module = "hunyuan_v1_dense", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .takes = Takes::kHunyuan, .remark = "turns before the weighted norm of q and k: cached keys cannot be shifted by a rotation"},
    {.name = "hunyuan_v1_moe", .module = "hunyuan_v1_moe", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .takes = Takes::kHunyuan, .remark = "turns before the weighted norm of q and k: cached keys cannot be shifted by a rotation"},
    {.name = "hy_v3", .module = "hy_v3", .layout = kHalf, .assumes = {4096, 64, 80, 131072}, .theta = 11158840.0, .head_dim = 128},
    {.name = "hyperclovax", .module = "hyperclovax", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "internlm2", .module = "its own code, modeling_internlm2.py: InternLM2RotaryEmbedding and its linear and dynamic forms", .layout = kHalf, .head = HeadRule::kQuotient, .takes = Takes::kLinearDynamic, .remark = "its own code keeps a grown dynamic base for later, shorter sequences"},
    {.name = "internlm3", .module = "internlm3", .layout = kHalf, .assumes = {4096, 32, 48, 32768}, .head_dim = 128},
    {.name = "iquestcoder", .module = "iquestcoder", .layout = kHalf, .assumes = {5120, 40, 80, 131072}, .head_dim = 128},
    {.name = "jais2", .module = "jais2", .layout = kHalf, .assumes = {3328, 26, 32, 8192}},
    {.name = "jetmoe", .module = "jetmoe", .layout = kHalf, .assumes = {2048, 32, 12, 4096}, .head_dim = 128, .head_key = "kv_channels"},
    {.name = "jina_embeddings_v3", .module = "jina_embeddings_v3", .layout = kHalf, .assumes = {1024, 16, 24, 8194}, .theta = 20000.0},
    {.name = "ministral", .module = "ministral", .layout = kHalf, .assumes = {4096, 32, 32, 131072}},
    {.name = "ministral3", .module = "ministral3", .layout = kHalf, .assumes = {4096, 32, 34, 262144}, .head_dim = 128, .default_rope = R"({"type":"yarn","rope_theta":1000000.0,"factor":16.0,"original_max_position_embeddings":16384,"beta_fast":32.0,"beta_slow":1.0,"mscale_all_dim":1.0,"mscale":1.0,"llama_4_scaling_beta":0.1})", .query_temperature = true},
    {.name = "mistral", .module = "mistral", .layout = kHalf, .assumes = {4096, 32, 32, 131072}},
    {.name = "mixtral", .module = "mixtral", .layout = kHalf, .assumes = {4096, 32, 32, 131072}, .theta = 1000000.0},
    {.name = "nanochat", .module = "nanochat", .layout = kHalf, .assumes = {768, 6, 12, 2048}, .clockwise = true},
    {.name = "nomic_bert", .module = "nomic_bert", .layout = kHalf, .assumes = {768, 12, 12, 2048}, .theta = 1000.0, .theta_key = "rotary_emb_base"},
    {.name = "olmo", .module = "olmo", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "olmo2", .module = "olmo2", .layout = kHalf, .assumes = {4096, 32, 32, 2048}},
    {.name = "olmoe", .module = "olmoe", .layout = kHalf, .assumes = {2048, 16, 16, 4096}},
    {.name = "openai_privacy_filter", .module = "openai_privacy_filter", .layout = kInter, .assumes = {640, 14, 8, 131072}, .theta = 150000.0, .head_dim = 64, .default_rope = kGptOssRope},
    {.name = "openelm", .module = "its own code, modeling_openelm.py: OpenELMRotaryEmbedding", .layout = kHalf, .theta_key = "rope_freq_constant", .takes = Takes::kDefault, .needs = "head_dim"},
    {.name = "orion", .module = "vLLM models/orion.py", .layout = kHalf, .head = HeadRule::kQuotient, .takes = Takes::kDefault},
    {.name = "phimoe", .module = "phimoe", .layout = kHalf, .assumes = {4096, 32, 32, 131072}, .theta = 1000000.0},
    {.name = "qwen2", .module = "qwen2", .layout = kHalf, .assumes = {4096, 32, 32, 32768}},
    {.name = "qwen2_moe", .module = "qwen2_moe", .layout = kHalf, .assumes = {2048, 16, 24, 32768}},
    {.name = "qwen3", .module = "qwen3", .layout = kHalf, .assumes = {4096, 32, 32, 32768}, .head_dim = 128},
    {.name = "qwen3_moe", .module = "qwen3_moe", .layout = kHalf, .assumes = {2048, 32, 24, 32768}},
    {.name = "qwen3_omni_moe_talker_code_predictor", .module = "qwen3_omni_moe", .layout = kHalf, .assumes = {1024, 16, 5, 32768}, .head_dim = 128},
    {.name = "seed_oss", .module = "seed_oss", .layout = kHalf, .assumes = {4096, 80, 64, 524288}, .head_dim = 128},
    {.name = "solar_open", .module = "solar_open", .layout = kHalf, .assumes = {4096, 64, 48, 131072}, .theta = 1000000.0, .head_dim = 128},
    {.name = "starcoder2", .module = "starcoder2", .layout = kHalf, .assumes = {3072, 24, 30, 4096}},
    {.name = "t5_gemma_module", .module = "t5gemma", .layout = kHalf, .assumes = {2304, 8, 26, 8192}, .head_dim = 256},
    {.name = "unlimited_ocr_text", .module = "unlimited_ocr", .layout = kHalf, .assumes = {1280, 10, 12, 32768}, .head = HeadRule::kQuotient},
    {.name = "vaultgemma", .module = "vaultgemma", .layout = kHalf, .assumes = {2304, 8, 26, 8192}, .head_dim = 256},
    {.name = "voxtral_realtime_text", .module = "voxtral_realtime", .layout = kHalf, .assumes = {4096, 32, 32, 131072}},
    {.name = "xverse", .module = "SGLang models/xverse.py", .layout = kHalf, .head = HeadRule::kQuotient, .takes = Takes::kDefault},

    // Half-split pairs over the whole head, some layers unturned.
    {.name = "afmoe", .module = "afmoe", .layout = kHalf, .assumes = {2048, 16, 32, 16384}, .head_dim = 128, .rule = LayerRule::kTypes, .turning = kSliding, .pattern = Pattern::kEvery, .every = 4, .every_key = "global_attn_every_n_layers", .special = kFull, .common = kSliding},
    {.name = "exaone4", .module = "exaone4", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .rule = LayerRule::kExaone, .turning = kSliding, .pattern = Pattern::kEvery, .every = 4, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding},
    {.name = "exaone_moe", .module = "exaone_moe", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .rule = LayerRule::kExaone, .turning = kSliding, .pattern = Pattern::kEvery, .every = 4, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding},
    {.name = "kolibri1", .module = "kolibri1", .layout = kHalf, .assumes = {2560, 48, 50, 262144}, .head_dim = 128, .rule = LayerRule::kExaone, .turning = kSliding, .pattern = Pattern::kEvery, .every = 5, .special = kFull, .common = kSliding},
    {.name = "flint", .module = "flint", .layout = kHalf, .assumes = {2048, 32, 49, 262144}, .head_dim = 128, .rule = LayerRule::kTypes, .turning = kSliding, .pattern = Pattern::kFlint},
    {.name = "granite_swa", .module = "granite_swa", .layout = kHalf, .assumes = {2560, 20, 24, 8192}, .rule = LayerRule::kThetaList},
    {.name = "granitemoe_swa", .module = "granitemoe_swa", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .rule = LayerRule::kThetaList},
    {.name = "granitemoehybrid", .module = "granitemoehybrid", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .rule = LayerRule::kGraniteHybrid, .turning = kFull, .pattern = Pattern::kUniform, .special = kLinear},
    {.name = "lfm2", .module = "lfm2", .layout = kHalf, .assumes = {2560, 32, 32, 128000}, .theta = 1000000.0, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kLfm2},
    {.name = "lfm2_moe", .module = "lfm2_moe", .layout = kHalf, .assumes = {2048, 32, 32, 128000}, .theta = 1000000.0, .rule = LayerRule::kTypes, .turning = kFull},
    {.name = "minimax", .module = "minimax", .layout = kHalf, .assumes = {4096, 32, 32, 131072}, .theta = 1000000.0, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kEvery, .every = 2, .special = kLinear, .common = kFull},
    {.name = "mllama_text_model", .module = "mllama", .layout = kHalf, .assumes = {4096, 32, 40, 131072}, .theta = 500000.0, .rule = LayerRule::kMllama},
    {.name = "molmo2_text", .module = "molmo2", .layout = kHalf, .assumes = {4096, 32, 36, 36864}, .head_dim = 128, .rule = LayerRule::kMolmo2},
    {.name = "muse_glimmer_text", .module = "muse_glimmer", .layout = kHalf, .assumes = {6656, 32, 52, 131072}, .head_dim = 128, .rule = LayerRule::kThetaList, .pattern = Pattern::kFromEnd, .every = 4},
    {.name = "muse_spark_text", .module = "muse_spark", .layout = kHalf, .assumes = {8192, 128, 62, 1048576}, .head_dim = 64, .rule = LayerRule::kThetaList, .pattern = Pattern::kFromEnd, .every = 4, .default_rope = R"({"rope_type":"default","rope_theta":500000.0})"},
    {.name = "olmo_hybrid", .module = "olmo_hybrid", .layout = kHalf, .assumes = {3840, 30, 32, 65536}, .rule = LayerRule::kOlmoHybrid, .turning = kFull, .pattern = Pattern::kEvery, .every = 4, .special = kFull, .common = kLinear},
    {.name = "smollm3", .module = "smollm3", .layout = kHalf, .assumes = {2048, 16, 36, 32768}, .theta = 2000000.0, .rule = LayerRule::kNoRopeList, .every = 4, .every_key = "no_rope_layer_interval"},
    {.name = "zamba2", .module = "zamba2", .layout = kHalf, .assumes = {2560, 32, 54, 4096}, .head = HeadRule::kTwice, .rule = LayerRule::kZamba2, .turning = "hybrid"},

    // Half-split pairs over the leading part of the head.
    {.name = "bamba", .module = "bamba", .layout = kHalf, .assumes = {4096, 32, 32, 262144}, .fraction = 0.5, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kBamba},
    {.name = "bailing_moe", .module = "vLLM models/bailing_moe.py: BailingAttention", .layout = kHalf, .fraction = 1.0, .takes = Takes::kDefault},
    {.name = "bailing_moe_v2", .module = "its own code, modeling_bailing_moe_v2.py: BailingMoeV2RotaryEmbedding", .layout = kHalf, .fraction = 1.0, .no_proportional = kNotRead},
    {.name = "glm4_moe", .module = "glm4_moe", .layout = kHalf, .assumes = {4096, 96, 46, 131072}, .fraction = 0.5},
    {.name = "gpt_neox", .module = "gpt_neox", .layout = kHalf, .assumes = {6144, 64, 44, 2048}, .theta_key = "rotary_emb_base", .fraction = 0.25, .fraction_key = "rotary_pct"},
    {.name = "gpt_neox_japanese", .module = "gpt_neox_japanese", .layout = kHalf, .assumes = {2560, 32, 32, 2048}, .theta_key = "rotary_emb_base", .fraction = 1.0, .fraction_key = "rotary_pct", .cuts_part = true},
    {.name = "llada2_moe", .module = "its own code, modeling_llada2_moe.py: LLaDA2MoeRotaryEmbedding", .layout = kHalf, .fraction = 1.0, .no_proportional = kNotRead},
    {.name = "minimax_m2", .module = "minimax_m2", .layout = kHalf, .assumes = {3072, 48, 62, 196608}, .theta = 5000000.0, .head_dim = 128, .fraction = 1.0, .fraction_key = "rotary_dim"},
    {.name = "minimax_m1", .module = "vLLM models/minimax_text_01.py", .layout = kHalf, .fraction = 1.0, .fraction_key = "rotary_dim", .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kAttnTypes, .takes = Takes::kDefault, .needs = "attn_type_list rope_theta"},
    {.name = "minimax_m3_vl_text", .module = "minimax_m3_vl", .layout = kHalf, .assumes = {6144, 64, 60, 524288}, .theta = 5000000.0, .head_dim = 128, .fraction = 1.0, .remark = "the index branch of sparse layers turns alike"},
    {.name = "minimax_text_01", .module = "vLLM models/minimax_text_01.py", .layout = kHalf, .fraction = 1.0, .fraction_key = "rotary_dim", .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kAttnTypes, .takes = Takes::kDefault, .needs = "attn_type_list rope_theta"},
    {.name = "nemotron", .module = "nemotron", .layout = kHalf, .assumes = {6144, 48, 32, 4096}, .fraction = 0.5},
    {.name = "persimmon", .module = "persimmon", .layout = kHalf, .assumes = {4096, 64, 36, 16384}, .fraction = 0.5, .cuts_part = true},
    {.name = "phi", .module = "phi", .layout = kHalf, .assumes = {2048, 32, 24, 2048}, .fraction = 0.5, .cuts_part = true},
    {.name = "phi3", .module = "phi3", .layout = kHalf, .assumes = {3072, 32, 32, 4096}, .fraction = 1.0, .takes = Takes::kPhi3},
    {.name = "phi4_multimodal", .module = "phi4_multimodal", .layout = kHalf, .assumes = {3072, 32, 32, 131072}, .fraction = 1.0, .takes = Takes::kPhi3},
    {.name = "qwen", .module = "its own code, modeling_qwen.py: RotaryEmbedding, _rotate_half", .layout = kHalf, .theta_key = "rotary_emb_base", .head_key = "kv_channels", .fraction = 1.0, .fraction_key = "rotary_pct", .takes = Takes::kDefault, .needs_false = "use_dynamic_ntk use_logn_attn"},
    {.name = "qwen3_next", .module = "qwen3_next", .layout = kHalf, .assumes = {2048, 16, 48, 32768}, .head_dim = 256, .fraction = 0.25, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kEvery, .every = 4, .every_key = "full_attention_interval", .special = kFull, .common = kLinear},
    {.name = "recurrent_gemma", .module = "recurrent_gemma", .layout = kHalf, .assumes = {2560, 10, 26, 0}, .head = HeadRule::kQuotient, .fraction = 0.5, .rule = LayerRule::kTypes, .turning = kSliding, .pattern = Pattern::kRecurrent, .takes = Takes::kDefault},
    {.name = "stablelm", .module = "stablelm", .layout = kHalf, .assumes = {2560, 32, 32, 4096}, .fraction = 0.25, .cuts_part = true},

    // Interleaved pairs.
    {.name = "chatglm", .module = "its own code of ChatGLM2 and later, modeling_chatglm.py: RotaryEmbedding, apply_rotary_pos_emb", .layout = kInter, .theta_fixed = true, .head_key = "kv_channels", .fraction = 0.5, .takes = Takes::kDefault, .needs = "kv_channels"},
    {.name = "codegen", .module = "codegen", .layout = kInter, .assumes = {4096, 16, 28, 2048}, .theta_fixed = true, .head = HeadRule::kGptJ, .takes = Takes::kDefault},
    {.name = "cohere", .module = "cohere", .layout = kInter, .assumes = {8192, 64, 40, 8192}, .theta = 500000.0},
    {.name = "cohere2", .module = "cohere2", .layout = kInter, .assumes = {8192, 64, 40, 8192}, .head = HeadRule::kQuotient, .rule = LayerRule::kTypes, .turning = kSliding, .pattern = Pattern::kEvery, .every = 4, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding},
    {.name = "cohere2_moe", .module = "cohere2_moe", .layout = kInter, .assumes = {8192, 64, 40, 8192}, .head_dim = 128, .rule = LayerRule::kCohere2Moe, .turning = kSliding, .pattern = Pattern::kEvery, .every = 4, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding},
    {.name = "ernie4_5", .module = "ernie4_5", .layout = kInter, .assumes = {1024, 16, 18, 131072}, .theta = 500000.0, .head_dim = 128},
    {.name = "ernie4_5_moe", .module = "ernie4_5_moe", .layout = kInter, .assumes = {2560, 20, 28, 131072}, .theta = 500000.0},
    {.name = "glm", .module = "glm", .layout = kInter, .assumes = {4096, 32, 40, 131072}, .head_dim = 128, .fraction = 0.5},
    {.name = "glm4", .module = "glm4", .layout = kInter, .assumes = {4096, 32, 40, 131072}, .head_dim = 128, .fraction = 0.5},
    {.name = "gptj", .module = "gptj", .layout = kInter, .assumes = {4096, 16, 28, 2048}, .theta_fixed = true, .head = HeadRule::kGptJ, .takes = Takes::kDefault},
    {.name = "helium", .module = "helium", .layout = kInter, .assumes = {2560, 20, 24, 4096}, .theta = 100000.0, .head_dim = 128},
    {.name = "llama4_text", .module = "llama4", .layout = kInter, .assumes = {5120, 40, 48, 131072}, .theta = 500000.0, .head_dim = 128, .rule = LayerRule::kNoRopeList, .every = 4, .every_key = "no_rope_layer_interval"},
    {.name = "moonshine", .module = "moonshine", .layout = kInter, .assumes = {288, 8, 6, 512}, .fraction = 0.9, .remark = "the layers are the decoder's; the encoder's turn alike, cross-attention does not turn; channels added by pad_head_dim_to_multiple_of are zeros behind the head, added after the rotation"},
    {.name = "moonshine_streaming", .module = "moonshine_streaming", .layout = kInter, .assumes = {320, 8, 6, 4096}, .fraction = 1.0, .default_rope = R"({"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.8})", .remark = "the layers are the decoder's; its encoder and cross-attention do not turn"},
    {.name = "roformer", .module = "roformer", .layout = kInter, .assumes = {768, 12, 12, 1536}, .theta_fixed = true, .head = HeadRule::kQuotient, .takes = Takes::kDefault},

    // Multi-head latent attention: the trailing qk_rope_head_dim channels turn.
    {.name = "axk1", .module = "axk1", .layout = kInter, .assumes = {7168, 64, 61, 32768}, .mla = {128, 64}, .head = HeadRule::kMla, .rope_interleave_key = true, .output_half = true, .scale_softmax = true, .remark = kDeinterleaved},
    {.name = "axk2", .module = "axk2", .layout = kInter, .assumes = {2048, 32, 48, 131072}, .mla = {64, 32}, .head = HeadRule::kMla, .output_half = true, .scale_softmax = true, .remark = kIndexer},
    {.name = "bailing_hybrid", .module = "bailing_hybrid", .layout = kInter, .assumes = {2560, 32, 42, 262144}, .theta = 6000000.0, .mla = {128, 64}, .head = HeadRule::kMla, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kEvery, .every = 6, .every_key = "layer_group_size", .special = kFull, .common = kLinear, .output_half = true, .scale_softmax = true, .remark = kDeinterleaved},
    {.name = "deepseek_v2", .module = "deepseek_v2", .layout = kInter, .assumes = {4096, 32, 32, 2048}, .mla = {128, 64}, .head = HeadRule::kMla, .scale_softmax = true},
    {.name = "deepseek_v3", .module = "deepseek_v3", .layout = kInter, .assumes = {7168, 128, 61, 4096}, .mla = {128, 64}, .head = HeadRule::kMla, .rope_interleave_key = true, .output_half = true, .scale_softmax = true, .remark = kDeinterleaved},
    {.name = "deepseek_v32", .module = "deepseek_v32", .layout = kInter, .assumes = {7168, 128, 61, 163840}, .mla = {128, 64}, .head = HeadRule::kMla, .output_half = true, .scale_softmax = true, .remark = kIndexer},
    {.name = "glm4_moe_lite", .module = "glm4_moe_lite", .layout = kInter, .assumes = {2048, 20, 47, 202752}, .mla = {192, 64}, .head = HeadRule::kMla, .rope_interleave_key = true, .output_half = true, .scale_softmax = true, .remark = kDeinterleaved},
    {.name = "glm_moe_dsa", .module = "glm_moe_dsa", .layout = kInter, .assumes = {6144, 64, 78, 202752}, .mla = {192, 64}, .head = HeadRule::kMla, .output_half = true, .scale_softmax = true, .remark = kIndexer},
    {.name = "hy_v4", .module = "hy_v4", .layout = kHalf, .assumes = {2816, 32, 34, 262144}, .mla = {192, 64}, .head = HeadRule::kMla, .scale_softmax = true, .remark = kIndexer},
    {.name = "kimi_k2", .module = "vLLM and llama.cpp, which run it as DeepSeek-V3", .layout = kInter, .head = HeadRule::kMla, .no_proportional = kNotRead, .scale_softmax = true},
    {.name = "longcat_flash", .module = "longcat_flash", .layout = kInter, .assumes = {6144, 64, 28, 131072}, .theta = 10000000.0, .mla = {128, 64}, .head = HeadRule::kMla, .output_half = true, .scale_softmax = true, .layer_factor = 2, .remark = kDeinterleaved},
    {.name = "minicpm3", .module = "minicpm3", .layout = kHalf, .assumes = {2560, 40, 62, 32768}, .mla = {64, 32}, .head = HeadRule::kMla, .scale_softmax = true},
    {.name = "mistral_large4_text", .module = "mistral_large4", .layout = kInter, .assumes = {6144, 64, 72, 1048576}, .mla = {64, 64}, .head = HeadRule::kMla, .rule = LayerRule::kNoRopeList, .every = 4, .every_key = "no_rope_layer_interval", .default_rope = R"({"rope_type":"yarn","rope_theta":10000.0,"factor":2048.0,"original_max_position_embeddings":512,"beta_fast":32.0,"beta_slow":1.0,"attention_factor":1.0})", .output_half = true, .learned_alpha = true, .remark = kDeinterleaved},
    {.name = "mistral4", .module = "mistral4", .layout = kInter, .assumes = {4096, 32, 36, 1048576}, .mla = {64, 64}, .head = HeadRule::kMla, .no_proportional = kWiderTables, .default_rope = R"({"type":"yarn","rope_theta":10000.0,"factor":128.0,"original_max_position_embeddings":8192,"beta_fast":32.0,"beta_slow":1.0,"mscale_all_dim":1.0,"mscale":1.0,"llama_4_scaling_beta":0.1})", .rope_interleave_key = true, .output_half = true, .scale_softmax = true, .query_temperature = true, .remark = kDeinterleaved},
    {.name = "youtu", .module = "youtu", .layout = kInter, .assumes = {2048, 16, 32, 131072}, .mla = {128, 64}, .head = HeadRule::kMla, .rope_interleave_key = true, .output_half = true, .scale_softmax = true, .remark = kDeinterleaved},

    // Parameters of their own for each layer type; half-split pairs.
    {.name = "beam", .module = "beam", .layout = kHalf, .assumes = {5120, 48, 52, 8192}, .head_dim = 128, .rule = LayerRule::kNested, .pattern = Pattern::kEveryAndEnd, .every = 6, .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta = 10000.0}, {.type = kSliding, .theta = 10000.0}}}, .rests = true, .default_rope = R"({"sliding_attention":{"rope_type":"default","rope_theta":10000.0},"full_attention":null})", .remark = "layers that do not turn multiply their queries by (1 + (p + 1) / 2048)^0.1"},
    {.name = "cohere_compass_text", .module = "cohere_compass", .layout = kHalf, .assumes = {8192, 64, 40, 8192}, .head = HeadRule::kQuotient, .rule = LayerRule::kNested, .pattern = Pattern::kUniform, .special = kFull, .nested = {{{.type = kFull, .theta = 10000.0}, {.type = kSliding, .theta = 10000.0}}}, .rests = true, .mrope = MropeForm::kInterleaved, .sections = {24, 20, 20}},
    {.name = "deepseek_v4", .module = "deepseek_v4", .layout = kInter, .assumes = {4096, 64, 43, 1048576}, .head_dim = 512, .fraction = 0.125, .rule = LayerRule::kDeepseekV4, .nested = {{{.type = "main", .theta_key = "rope_theta", .theta = 10000.0}, {.type = "compress", .theta_key = "compress_rope_theta", .theta = 160000.0}}}, .index = {"index_head_dim", 128, "compressed_sparse_attention"}, .trailing = true, .remark = kDeepseekV4},
    {.name = "dots3_note_text", .module = "dots3_note", .layout = kInter, .assumes = {5120, 128, 46, 524288}, .mla = {128, 64}, .head = HeadRule::kMlaByType, .rule = LayerRule::kNested, .pattern = Pattern::kDots3, .nested = {{{.type = "indexed_attention", .theta_key = "rope_theta", .theta = 80000000.0, .scaled = true}, {.type = kSliding, .theta_key = "swa_rope_theta", .theta = 50000.0, .scaled = true}}}, .no_proportional = kWiderTables, .output_half = true, .remark = kDeinterleaved},
    {.name = "diffusion_gemma_text", .module = "diffusion_gemma", .layout = kHalf, .assumes = {2304, 8, 30, 131072}, .head_dim = 256, .head = HeadRule::kByType, .rule = LayerRule::kNested, .pattern = Pattern::kEveryAndLast, .every = 6, .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .fraction = 1.0}, {.type = kSliding, .fraction = 1.0}}}, .default_rope = kGemma4Rope},
    {.name = "embedding_gemma2_text", .module = "embedding_gemma2", .layout = kHalf, .assumes = {512, 4, 24, 262144}, .head_dim = 256, .head = HeadRule::kByType, .rule = LayerRule::kNested, .pattern = Pattern::kEveryAndLast, .every = 6, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding, .nested = {{{.type = kFull}, {.type = kSliding}}}, .default_rope = R"({"sliding_attention":{"rope_type":"default","rope_theta":10000.0},"full_attention":{"rope_type":"default","rope_theta":1000000.0}})"},
    {.name = "gemma3_text", .module = "gemma3", .layout = kHalf, .assumes = {2304, 8, 26, 131072}, .head_dim = 256, .rule = LayerRule::kNested, .pattern = Pattern::kEvery, .every = 6, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "rope_theta", .theta = 1000000.0, .scaled = true}, {.type = kSliding, .theta_key = "rope_local_base_freq", .theta = 10000.0}}}},
    {.name = "gemma3n_text", .module = "gemma3n", .layout = kHalf, .assumes = {2048, 8, 35, 32768}, .head_dim = 256, .rule = LayerRule::kNested, .pattern = Pattern::kEvery, .every = 5, .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "rope_theta", .theta = 1000000.0, .scaled = true}, {.type = kSliding, .theta_key = "rope_local_base_freq", .theta = 10000.0}}}},
    {.name = "gemma4_text", .module = "gemma4", .layout = kHalf, .assumes = {2304, 8, 30, 131072}, .head_dim = 256, .head = HeadRule::kByType, .rule = LayerRule::kNested, .pattern = Pattern::kEveryAndLast, .every = 6, .special = kFull, .common = kSliding, .nested = {{{.type = kFull}, {.type = kSliding}}}, .default_rope = kGemma4Rope},
    {.name = "gemma4_unified_text", .module = "gemma4_unified", .layout = kHalf, .assumes = {2304, 8, 30, 262144}, .head_dim = 256, .head = HeadRule::kByType, .rule = LayerRule::kNested, .pattern = Pattern::kEveryAndLast, .every = 6, .special = kFull, .common = kSliding, .nested = {{{.type = kFull}, {.type = kSliding}}}, .default_rope = kGemma4Rope},
    {.name = "laguna", .module = "laguna", .layout = kHalf, .assumes = {2048, 48, 40, 131072}, .head_dim = 128, .rule = LayerRule::kNested, .pattern = Pattern::kUniform, .special = kFull, .nested = {{{.type = kFull, .fraction = 1.0}, {.type = kSliding, .fraction = 1.0}}}, .default_rope = R"({"full_attention":{"rope_type":"default","rope_theta":500000.0,"partial_rotary_factor":0.5},"sliding_attention":{"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":1.0}})"},
    {.name = "lfm3", .module = "lfm3", .layout = kHalf, .assumes = {2048, 16, 24, 128000}, .head_dim = 128, .rule = LayerRule::kNested, .pattern = Pattern::kLfm3, .nested = {{{.type = kFull, .theta = 1000000.0}, {.type = kSliding, .theta = 1000000.0}}}, .default_rope = R"({"sliding_attention":{"rope_type":"default","rope_theta":10000.0},"full_attention":{"rope_type":"proportional","rope_theta":1000000.0,"partial_rotary_factor":0.5}})"},
    {.name = "mellum", .module = "mellum", .layout = kHalf, .assumes = {2304, 32, 28, 131072}, .head_dim = 128, .rule = LayerRule::kNested, .pattern = Pattern::kUniform, .special = kFull, .nested = {{{.type = kFull}, {.type = kSliding}}}, .default_rope = R"({"full_attention":{"rope_type":"default","rope_theta":500000.0},"sliding_attention":{"rope_type":"default","rope_theta":10000.0}})"},
    {.name = "mimo_v2_flash", .module = "mimo_v2_flash", .layout = kHalf, .assumes = {4096, 64, 48, 131072}, .head_dim = 192, .rule = LayerRule::kNested, .pattern = Pattern::kFirstAndEvery, .every = 6, .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .fraction = 0.334}, {.type = kSliding, .fraction = 0.334}}}, .default_rope = R"({"full_attention":{"rope_type":"default","rope_theta":5000000.0,"partial_rotary_factor":0.334},"sliding_attention":{"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.334}})"},
    {.name = "modernbert", .module = "modernbert", .layout = kHalf, .assumes = {768, 12, 22, 8192}, .rule = LayerRule::kNested, .pattern = Pattern::kModulo, .every = 3, .every_key = "global_attn_every_n_layers", .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "global_rope_theta", .theta = 160000.0, .scaled = true}, {.type = kSliding, .theta_key = "local_rope_theta", .theta = 10000.0, .scaled = true}}}},
    {.name = "modernbert-decoder", .module = "modernbert_decoder", .layout = kHalf, .assumes = {768, 12, 22, 8192}, .rule = LayerRule::kNested, .pattern = Pattern::kModulo, .every = 3, .every_key = "global_attn_every_n_layers", .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "global_rope_theta", .theta = 160000.0, .scaled = true}, {.type = kSliding, .theta_key = "local_rope_theta", .theta = 10000.0, .scaled = true}}}},
    {.name = "olmo3", .module = "olmo3", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .rule = LayerRule::kNested, .pattern = Pattern::kEvery, .every = 4, .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "rope_theta", .theta = 500000.0, .scaled = true}, {.type = kSliding, .theta_key = "rope_theta", .theta = 500000.0}}}},
    {.name = "step3p5", .module = "step3p7", .layout = kHalf, .assumes = {4096, 64, 45, 128000}, .head_dim = 128, .rule = LayerRule::kNested, .pattern = Pattern::kUniform, .special = kFull, .nested = {{{.type = kFull, .fraction = 1.0}, {.type = kSliding, .fraction = 1.0}}}},
    {.name = "t5gemma2_decoder", .module = "t5gemma2", .layout = kHalf, .assumes = {2304, 8, 26, 131072}, .head_dim = 256, .rule = LayerRule::kNested, .pattern = Pattern::kEvery, .every = 6, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "rope_theta", .theta = 1000000.0, .scaled = true}, {.type = kSliding, .theta_key = "rope_local_base_freq", .theta = 10000.0}}}},
    {.name = "t5gemma2_text", .module = "t5gemma2", .layout = kHalf, .assumes = {2304, 8, 26, 131072}, .head_dim = 256, .rule = LayerRule::kNested, .pattern = Pattern::kEvery, .every = 6, .every_key = "sliding_window_pattern", .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .theta_key = "rope_theta", .theta = 1000000.0, .scaled = true}, {.type = kSliding, .theta_key = "rope_local_base_freq", .theta = 10000.0}}}},
    {.name = "ultrabert", .module = "ultrabert", .layout = kHalf, .assumes = {4096, 32, 32, 32768}, .rule = LayerRule::kNested, .pattern = Pattern::kEvery, .every = 3, .special = kFull, .common = kSliding, .nested = {{{.type = kFull}, {.type = kSliding}}}, .default_rope = R"({"sliding_attention":{"rope_type":"default","rope_theta":10000.0},"full_attention":{"rope_type":"default","rope_theta":2560000.0}})"},
    {.name = "zaya", .module = "zaya", .layout = kHalf, .assumes = {2048, 8, 40, 131072}, .head_dim = 128, .rule = LayerRule::kNested, .pattern = Pattern::kUniform, .special = "hybrid", .nested = {{{.type = "hybrid", .fraction = 1.0}, {.type = "hybrid_sliding", .fraction = 1.0}}}, .default_rope = R"({"hybrid":{"rope_type":"default","rope_theta":5000000.0,"partial_rotary_factor":0.5},"hybrid_sliding":{"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.5}})"},

    // Several position axes.
    {.name = "cosmos3_edge_text", .module = "cosmos3_edge", .layout = kHalf, .assumes = {2048, 16, 28, 131072}, .theta = 100000000.0, .head_dim = 128, .takes = Takes::kDefault, .mrope = MropeForm::kInterleaved, .sections = {24, 20, 20}},
    {.name = "ernie4_5_vl_moe_text", .module = "ernie4_5_vl_moe", .layout = kInter, .assumes = {2560, 20, 28, 131072}, .theta = 500000.0, .takes = Takes::kDefault, .mrope = MropeForm::kErnie, .sections = {22, 22, 20}},
    {.name = "glm4v_moe_text", .module = "glm4v_moe", .layout = kHalf, .assumes = {4096, 96, 46, 65536}, .fraction = 0.5, .mrope = MropeForm::kChunked, .sections = {8, 12, 12}},
    {.name = "glm4v_text", .module = "glm4v", .layout = kInter, .assumes = {4096, 32, 40, 32768}, .fraction = 1.0, .mrope = MropeForm::kChunked, .sections = {8, 12, 12}},
    {.name = "glm_image_text", .module = "glm_image", .layout = kHalf, .assumes = {4096, 32, 40, 131072}, .fraction = 1.0, .mrope = MropeForm::kChunked, .sections = {8, 12, 12}},
    {.name = "glm_ocr_text", .module = "glm_ocr", .layout = kInter, .assumes = {1024, 16, 16, 131072}, .fraction = 1.0, .mrope = MropeForm::kChunked, .sections = {8, 12, 12}},
    {.name = "hunyuan_vl_text", .module = "hunyuan_vl", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .takes = Takes::kHunyuan, .mrope = MropeForm::kDoubled, .remark = "turns before the weighted norm of q and k; where its sections do not mirror each other, the two channels of a pair turn by different angles: not a rotation"},
    {.name = "paddleocr_vl_text", .module = "paddleocr_vl", .layout = kHalf, .assumes = {1024, 16, 18, 131072}, .theta = 500000.0, .head_dim = 128, .mrope = MropeForm::kChunked, .sections = {16, 24, 24}},
    {.name = "qwen2_5_omni_talker", .module = "qwen2_5_omni", .layout = kHalf, .assumes = {3584, 28, 28, 32768}, .theta = 1000000.0, .head_dim = 128, .mrope = MropeForm::kChunked, .sections = {16, 24, 24}},
    {.name = "qwen2_5_omni_text", .module = "qwen2_5_omni", .layout = kHalf, .assumes = {3584, 28, 28, 32768}, .theta = 1000000.0, .mrope = MropeForm::kChunked, .sections = {16, 24, 24}},
    {.name = "qwen2_5_vl_text", .module = "qwen2_5_vl", .layout = kHalf, .assumes = {8192, 64, 80, 32768}, .theta = 1000000.0, .mrope = MropeForm::kChunked, .sections = {16, 24, 24}},
    {.name = "qwen2_vl_text", .module = "qwen2_vl", .layout = kHalf, .assumes = {8192, 64, 80, 32768}, .theta = 1000000.0, .mrope = MropeForm::kChunked, .sections = {16, 24, 24}},
    {.name = "qwen3_5_moe_text", .module = "qwen3_5_moe", .layout = kHalf, .assumes = {2048, 16, 40, 32768}, .head_dim = 256, .fraction = 0.25, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kEvery, .every = 4, .every_key = "full_attention_interval", .special = kFull, .common = kLinear, .mrope = MropeForm::kInterleaved, .sections = {11, 11, 10}},
    {.name = "qwen3_5_text", .module = "qwen3_5", .layout = kHalf, .assumes = {4096, 16, 32, 32768}, .head_dim = 256, .fraction = 0.25, .rule = LayerRule::kTypes, .turning = kFull, .pattern = Pattern::kEvery, .every = 4, .every_key = "full_attention_interval", .special = kFull, .common = kLinear, .mrope = MropeForm::kInterleaved, .sections = {11, 11, 10}},
    {.name = "qwen3_omni_moe_talker_text", .module = "qwen3_omni_moe", .layout = kHalf, .assumes = {1024, 16, 20, 32768}, .mrope = MropeForm::kInterleaved, .sections = {24, 20, 20}},
    {.name = "qwen3_omni_moe_text", .module = "qwen3_omni_moe", .layout = kHalf, .assumes = {2048, 28, 28, 32768}, .theta = 1000000.0, .mrope = MropeForm::kInterleaved, .sections = {24, 20, 20}},
    {.name = "qwen3_vl_moe_text", .module = "qwen3_vl_moe", .layout = kHalf, .assumes = {2048, 16, 24, 128000}, .theta = 500000.0, .mrope = MropeForm::kInterleaved, .sections = {24, 20, 20}},
    {.name = "qwen3_vl_text", .module = "qwen3_vl", .layout = kHalf, .assumes = {4096, 32, 32, 128000}, .theta = 500000.0, .head_dim = 128, .mrope = MropeForm::kInterleaved, .sections = {24, 20, 20}},
    {.name = "qwen4_exp_text", .module = "qwen4_exp", .layout = kHalf, .assumes = {2048, 16, 40, 32768}, .head_dim = 256, .fraction = 1.0, .rule = LayerRule::kTypes, .turning = "indexed_attention", .pattern = Pattern::kEvery, .every = 4, .every_key = "full_attention_interval", .special = "indexed_attention", .common = kLinear, .index = {"indexer_head_dim", 0, "indexed_attention"}, .mrope = MropeForm::kInterleaved, .sections = {11, 11, 10}},

    // Encoders, decoders and codecs for sound, and others with one axis.
    {.name = "blt_local_encoder", .module = "blt", .layout = kInter, .assumes = {1024, 16, 1, 24576}, .theta = 500000.0},
    {.name = "blt_local_decoder", .module = "blt", .layout = kInter, .assumes = {1024, 16, 9, 24576}, .theta = 500000.0},
    {.name = "blt_global_transformer", .module = "blt", .layout = kInter, .assumes = {2048, 16, 25, 4096}, .theta = 500000.0},
    {.name = "blt_patcher", .module = "blt", .layout = kInter, .assumes = {768, 12, 14, 8192}},
    {.name = "clvp_encoder", .module = "clvp", .layout = kHalf, .assumes = {768, 12, 20, 0}, .theta_fixed = true, .head = HeadRule::kClvp, .takes = Takes::kDefault, .remark = "values turn with queries and keys"},
    {.name = "deepseek_ocr2_encoder", .module = "deepseek_ocr2", .layout = kHalf, .assumes = {4096, 32, 32, 32768}},
    {.name = "dia_encoder", .module = "dia", .layout = kHalf, .assumes = {1024, 16, 12, 1024}, .head_dim = 128},
    {.name = "dia_decoder", .module = "dia", .layout = kHalf, .assumes = {2048, 16, 18, 3072}, .head_dim = 128, .remark = "cross-attention does not turn"},
    {.name = "dots3_note_audio_encoder", .module = "dots3_note", .layout = kHalf, .assumes = {1280, 20, 32, 6000}, .fraction = 0.5},
    {.name = "evolla", .module = "evolla", .layout = kHalf, .assumes = {4096, 32, 32, 8192}, .theta = 500000.0},
    {.name = "evolla_protein_encoder", .module = "evolla", .layout = kHalf, .assumes = {1280, 20, 33, 1026}, .head = HeadRule::kQuotient, .takes = Takes::kDefault},
    {.name = "glmasr_encoder", .module = "glmasr", .layout = kHalf, .assumes = {1280, 20, 32, 1500}, .fraction = 0.5},
    {.name = "gradium_phonon_tts", .module = "gradium_phonon_tts", .layout = kHalf, .assumes = {768, 12, 6, 8192}, .head_dim = 64},
    {.name = "idefics", .module = "idefics", .layout = kHalf, .assumes = {4096, 32, 32, 2048}, .remark = "cross-attention does not turn"},
    {.name = "kyutai_speech_to_text", .module = "kyutai_speech_to_text", .layout = kHalf, .assumes = {2048, 32, 48, 750}},
    {.name = "lasr_encoder", .module = "lasr", .layout = kHalf, .assumes = {512, 8, 17, 10000}},
    {.name = "mimi", .module = "mimi", .layout = kHalf, .assumes = {512, 8, 8, 8000}},
    {.name = "mimi_encoder", .module = "mimi", .layout = kHalf, .assumes = {512, 8, 8, 8000}},
    {.name = "mimi_decoder", .module = "mimi", .layout = kHalf, .assumes = {512, 8, 8, 8000}},
    {.name = "moshi", .module = "moshi", .layout = kHalf, .assumes = {4096, 32, 32, 3000}, .remark = "the depth decoder does not turn"},
    {.name = "muse_glimmer_assistant", .module = "muse_glimmer_assistant", .layout = kHalf, .assumes = {6656, 32, 5, 131072}, .theta = 500000.0, .head_dim = 128},
    {.name = "nemotron3_5_transcribe_asr_audio", .module = "nemotron3_5_transcribe", .layout = kHalf, .assumes = {1280, 10, 32, 5000}, .fraction = 1.0, .default_rope = R"({"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.5})"},
    {.name = "nemotron3_5_transcribe_word_timestamp", .module = "nemotron3_5_transcribe", .layout = kHalf, .assumes = {1280, 16, 2, 5000}, .fraction = 1.0, .default_rope = R"({"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.5})"},
    {.name = "nemotron3_diarization_audio", .module = "nemotron3_diarization", .layout = kHalf, .assumes = {512, 8, 31, 5000}, .fraction = 1.0},
    {.name = "neucodec", .module = "neucodec", .layout = kHalf, .assumes = {1024, 16, 12, 4096}},
    {.name = "pe_audio_encoder", .module = "pe_audio", .layout = kInter, .assumes = {1792, 14, 6, 10000}, .theta = 20000.0, .head_dim = 128},
    {.name = "pe_audio_video_encoder", .module = "pe_audio_video", .layout = kInter, .assumes = {1792, 14, 6, 10000}, .theta = 20000.0, .head_dim = 128},
    {.name = "pe_video_encoder", .module = "pe_video", .layout = kInter, .assumes = {1792, 14, 6, 10000}, .theta = 20000.0, .head_dim = 128},
    {.name = "pocket_tts", .module = "pocket_tts", .layout = kHalf, .assumes = {1024, 16, 6, 8192}, .head_dim = 64},
    {.name = "pocket_tts_audio_tokenizer", .module = "pocket_tts_audio_tokenizer", .layout = kHalf, .assumes = {512, 8, 2, 8000}},
    {.name = "qwen2_5_omni_dit", .module = "qwen2_5_omni", .layout = kInter, .assumes = {1024, 16, 22, 32768}, .head_dim = 64, .output_half = true, .remark = "only the first head turns"},
    {.name = "qwen3_omni_moe_code2wav", .module = "qwen3_omni_moe", .layout = kHalf, .assumes = {1024, 16, 8, 8000}},
    {.name = "seamless_m4t", .module = "seamless_m4t", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .theta_key = "rotary_embedding_base", .heads_key = "speech_encoder_attention_heads", .layers_key = "speech_encoder_layers", .head = HeadRule::kQuotient, .takes = Takes::kDefault, .rotary_word = "rotary", .rotary_key = "position_embeddings_type", .remark = kHiddenStates},
    {.name = "timesfm2_5", .module = "timesfm2_5", .layout = kHalf, .assumes = {1280, 16, 20, 16384}, .head_dim = 80},
    {.name = "voxtral_realtime_encoder", .module = "voxtral_realtime", .layout = kHalf, .assumes = {1280, 32, 32, 1500}, .head_dim = 64},
    {.name = "wav2vec2-bert", .module = "wav2vec2_bert", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .theta_key = "rotary_embedding_base", .head = HeadRule::kQuotient, .takes = Takes::kDefault, .rotary_word = "rotary", .rotary_key = "position_embeddings_type", .remark = kHiddenStates},
    {.name = "wav2vec2-conformer", .module = "wav2vec2_conformer", .layout = kHalf, .assumes = {768, 12, 12, 0}, .theta_key = "rotary_embedding_base", .head = HeadRule::kQuotient, .takes = Takes::kDefault, .rotary_word = "rotary", .rotary_key = "position_embeddings_type", .remark = kHiddenStates},
    {.name = "xcodec2", .module = "xcodec2", .layout = kHalf, .assumes = {1024, 16, 12, 4096}},

    // Towers for images and clips: several axes, each with a ladder of its own unless the form says otherwise.
    {.name = "cohere_compass_vision", .module = "cohere_compass", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "ernie4_5_vl_moe_vision", .module = "ernie4_5_vl_moe", .layout = kHalf, .assumes = {1280, 16, 32, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "exaone4_5_vision", .module = "exaone4_5", .layout = kHalf, .assumes = {3584, 16, 32, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "glm4v_vision", .module = "glm4v", .layout = kHalf, .assumes = {1536, 12, 24, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "glm4v_moe_vision", .module = "glm4v_moe", .layout = kHalf, .assumes = {1536, 12, 24, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "glm5_next_vision", .module = "glm5_next", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "glm_ocr_vision", .module = "glm_ocr", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen2_5_omni_vision_encoder", .module = "qwen2_5_omni", .layout = kHalf, .assumes = {3584, 16, 32, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen2_5_vl_vision", .module = "qwen2_5_vl", .layout = kHalf, .assumes = {3584, 16, 32, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen2_vl_vision", .module = "qwen2_vl", .layout = kHalf, .assumes = {1280, 16, 32, 0}, .hidden_key = "embed_dim", .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen3_5_moe_vision", .module = "qwen3_5_moe", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen3_5_vision", .module = "qwen3_5", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen3_omni_moe_vision_encoder", .module = "qwen3_omni_moe", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen3_vl_moe_vision", .module = "qwen3_vl_moe", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen3_vl_vision", .module = "qwen3_vl", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "qwen4_exp_vision", .module = "qwen4_exp", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .heads_key = "num_heads", .layers_key = "depth", .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "dots3_note_vision_encoder", .module = "dots3_note", .layout = kHalf, .assumes = {1536, 24, 42, 0}, .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "mlcd_vision_model", .module = "mlcd", .layout = kHalf, .assumes = {1664, 16, 48, 0}, .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "muse_glimmer_vision", .module = "muse_glimmer", .layout = kHalf, .assumes = {1536, 16, 50, 0}, .takes = Takes::kDefault, .axial = kXY},
    {.name = "muse_spark_vision", .module = "muse_spark", .layout = kHalf, .assumes = {1536, 16, 50, 0}, .takes = Takes::kDefault, .axial = kXY},
    {.name = "paddleocr_vl_vision", .module = "paddleocr_vl", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "video_llama_3_vision", .module = "video_llama_3", .layout = kHalf, .assumes = {768, 12, 12, 0}, .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "lfm3_vl_vision", .module = "lfm3_vl", .layout = kHalf, .assumes = {1024, 16, 14, 0}, .theta = 1000000.0, .rule = LayerRule::kTypes, .turning = kFull, .takes = Takes::kDefault, .axial = kRowsColumns},
    {.name = "step3p5_vision", .module = "step3p7", .layout = kHalf, .assumes = {1536, 16, 47, 0}, .takes = Takes::kDefault, .axial = {AxialForm::kBlocks, "height width", "10"}},
    {.name = "kimi_k25_vision", .module = "kimi_k25", .layout = kHalf, .assumes = {1152, 16, 27, 0}, .takes = Takes::kDefault, .axial = {AxialForm::kAlternate, "height width", "10"}},
    {.name = "moonvit", .module = "its own code, modeling_kimi_vl.py: Rope2DPosEmb, as ported in mlx-vlm", .layout = kInter, .takes = Takes::kDefault, .axial = {AxialForm::kAlternate, "height width", "10"}},
    {.name = "pixtral", .module = "pixtral", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .takes = Takes::kDefault, .axial = {AxialForm::kParity, "height width"}},
    {.name = "gemma4_vision", .module = "gemma4", .layout = kHalf, .assumes = {768, 12, 16, 0}, .theta = 100.0, .head_dim = 64, .takes = Takes::kDefault, .axial = {.form = AxialForm::kBlocks, .streams = "width height", .own_blocks = true}},
    {.name = "minimax_m3_vl_vision", .module = "minimax_m3_vl", .layout = kHalf, .assumes = {1280, 16, 32, 0}, .takes = Takes::kDefault, .axial = {AxialForm::kBlocks, "time height width"}},
    {.name = "neomme", .module = "neomme", .layout = kHalf, .assumes = {1024, 16, 17, 16384}, .head_dim = 64, .rule = LayerRule::kNested, .pattern = Pattern::kEveryAndEnd, .every = 6, .special = kFull, .common = kSliding, .nested = {{{.type = kFull, .fraction = 0.25}, {.type = kSliding, .fraction = 1.0}}}, .default_rope = R"({"sliding_attention":{"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":1.0},"full_attention":{"rope_type":"default","rope_theta":1000000.0,"partial_rotary_factor":0.25}})", .axial = {AxialForm::kWoven, "height width"}},
    {.name = "inkling2_vision", .module = "inkling2", .layout = kInter, .assumes = {1024, 16, 23, 0}, .takes = Takes::kDefault, .axial = {AxialForm::kBlocks, "height width", "10"}},
    {.name = "llama4_vision_model", .module = "llama4", .layout = kInter, .assumes = {768, 16, 34, 0}, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .axial = {AxialForm::kBlocks, "width height"}, .remark = "a patch stands at its column + 1 and its row + 1, the class token at 0 on both axes"},
    {.name = "sam3_vit_model", .module = "sam3", .layout = kInter, .assumes = {1024, 16, 32, 0}, .takes = Takes::kDefault, .axial = {.form = AxialForm::kBlocks, .streams = "width height", .coordinates = true}},
    {.name = "sam2_video", .module = "sam2_video", .layout = kInter, .assumes = {256, 0, 0, 0}, .head = HeadRule::kMemory, .takes = Takes::kDefault, .axial = kXY, .remark = "these are the positions of the memory attention; object pointers among the keys do not turn"},
    {.name = "edgetam_video", .module = "edgetam_video", .layout = kInter, .assumes = {256, 0, 0, 0}, .head = HeadRule::kMemory, .takes = Takes::kDefault, .axial = kXY, .remark = "these are the positions of the memory attention; object pointers among the keys do not turn"},
    {.name = "sam3_tracker_video", .module = "sam3_tracker_video", .layout = kInter, .assumes = {256, 0, 0, 0}, .head = HeadRule::kMemory, .takes = Takes::kDefault, .axial = kXY, .remark = "these are the positions of the memory attention; object pointers among the keys do not turn"},
    {.name = "efficientloftr", .module = "efficientloftr", .layout = kInter, .assumes = {256, 8, 4, 0}, .layers_key = "num_attention_layers", .head = HeadRule::kWhole, .takes = Takes::kDefault, .axial = {AxialForm::kAlternate, "height width"}, .remark = "hidden states turn before they are cut into heads; rows and columns count from 1"},
    {.name = "dinov3_vit", .module = "dinov3_vit", .layout = kHalf, .assumes = {384, 6, 12, 0}, .theta = 100.0, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .axial = kPatchCentres, .remark = "class and register tokens do not turn"},
    {.name = "eomt_dinov3", .module = "eomt_dinov3", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .theta = 100.0, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .axial = kPatchCentres, .remark = "class and register tokens do not turn"},
    {.name = "sapiens2", .module = "sapiens2", .layout = kHalf, .assumes = {1024, 16, 24, 0}, .theta = 100.0, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .axial = kPatchCentres, .remark = "class and register tokens do not turn"},
    {.name = "vjepa2", .module = "vjepa2", .layout = kInter, .assumes = {1024, 16, 24, 0}, .theta_fixed = true, .head = HeadRule::kQuotient, .takes = Takes::kDefault, .axial = {.form = AxialForm::kBlocks, .streams = "time height width", .tiled = true}, .remark = kNoRotation},
    {.name = "vjepa2_predictor", .module = "vjepa2", .layout = kInter, .assumes = {384, 12, 12, 0}, .theta_fixed = true, .hidden_key = "pred_hidden_size", .heads_key = "pred_num_attention_heads", .layers_key = "pred_num_hidden_layers", .head = HeadRule::kQuotient, .takes = Takes::kDefault, .axial = {.form = AxialForm::kBlocks, .streams = "time height width", .tiled = true}, .remark = kNoRotation},
    {.name = "esmfold2_atom_encoder", .module = "esmfold2", .layout = kHalf, .assumes = {128, 4, 3, 0}, .takes = Takes::kDefault, .axial = {.form = AxialForm::kTwoBases, .streams = "x y z space_uid", .coordinates = true}},
    {.name = "musicflamingo_time", .module = "musicflamingo", .layout = kInter, .theta = 1200.0, .head = HeadRule::kAudio, .fraction = 0.2, .takes = Takes::kDefault, .axial = {.form = AxialForm::kBlocks, .streams = "window token", .coordinates = true}, .clockwise = true, .remark = "hidden states of the audio tower turn by minus these angles; coordinates_from_audio_windows (grids.hpp) makes the coordinates"},

    // No rotary position at all.
    {.name = "aimv2_text_model", .module = "aimv2", .rotates = false},
    {.name = "aimv2_vision_model", .module = "aimv2", .rotates = false},
    {.name = "albert", .module = "albert", .rotates = false},
    {.name = "align_text_model", .module = "align", .rotates = false},
    {.name = "align_vision_model", .module = "align", .rotates = false},
    {.name = "altclip_text_model", .module = "altclip", .rotates = false},
    {.name = "altclip_vision_model", .module = "altclip", .rotates = false},
    {.name = "audio-spectrogram-transformer", .module = "audio_spectrogram_transformer", .rotates = false},
    {.name = "audioflamingo3_encoder", .module = "audioflamingo3", .rotates = false},
    {.name = "bart", .module = "bart", .rotates = false},
    {.name = "beit", .module = "beit", .rotates = false},
    {.name = "bert", .module = "bert", .rotates = false},
    {.name = "big_bird", .module = "big_bird", .rotates = false},
    {.name = "biogpt", .module = "biogpt", .rotates = false},
    {.name = "blip_2_qformer", .module = "blip_2", .rotates = false},
    {.name = "blip_2_vision_model", .module = "blip_2", .rotates = false},
    {.name = "blip_text_model", .module = "blip", .rotates = false},
    {.name = "blip_vision_model", .module = "blip", .rotates = false},
    {.name = "bloom", .module = "bloom", .rotates = false},
    {.name = "bridgetower_text_model", .module = "bridgetower", .rotates = false},
    {.name = "bridgetower_vision_model", .module = "bridgetower", .rotates = false},
    {.name = "camembert", .module = "camembert", .rotates = false},
    {.name = "chinese_clip", .module = "chinese_clip", .rotates = false},
    {.name = "chinese_clip_text_model", .module = "chinese_clip", .rotates = false},
    {.name = "chinese_clip_vision_model", .module = "chinese_clip", .rotates = false},
    {.name = "clap_audio_model", .module = "clap", .rotates = false},
    {.name = "clap_text_model", .module = "clap", .rotates = false},
    {.name = "clip", .module = "clip", .rotates = false},
    {.name = "clip_text_model", .module = "clip", .rotates = false},
    {.name = "clip_vision_model", .module = "clip", .rotates = false},
    {.name = "clipseg", .module = "clipseg", .rotates = false},
    {.name = "clipseg_text_model", .module = "clipseg", .rotates = false},
    {.name = "clipseg_vision_model", .module = "clipseg", .rotates = false},
    {.name = "cosmos3_edge_vision", .module = "cosmos3_edge", .rotates = false},
    {.name = "ctrl", .module = "ctrl", .rotates = false},
    {.name = "data2vec-audio", .module = "data2vec", .rotates = false},
    {.name = "data2vec-vision", .module = "data2vec", .rotates = false},
    {.name = "deberta", .module = "deberta", .rotates = false},
    {.name = "deberta-v2", .module = "deberta_v2", .rotates = false},
    {.name = "deepseek_ocr2_sam_vision_model", .module = "deepseek_ocr2", .rotates = false},
    {.name = "deit", .module = "deit", .rotates = false},
    {.name = "dinov2", .module = "dinov2", .rotates = false},
    {.name = "dinov2_with_registers", .module = "dinov2_with_registers", .rotates = false},
    {.name = "distilbert", .module = "distilbert", .rotates = false},
    {.name = "electra", .module = "electra", .rotates = false},
    {.name = "falcon_mamba", .module = "falcon_mamba", .rotates = false},
    {.name = "flava_text_model", .module = "flava", .rotates = false},
    {.name = "florence_vision", .module = "florence2", .rotates = false},
    {.name = "gemma3n_audio", .module = "gemma3n", .rotates = false},
    {.name = "git_vision_model", .module = "git", .rotates = false},
    {.name = "glm5_next_text", .module = "glm5_next", .rotates = false},
    {.name = "glm_image_vision", .module = "glm_image", .rotates = false},
    {.name = "got_ocr2_vision", .module = "got_ocr2", .rotates = false},
    {.name = "gpt-sw3", .module = "gpt2", .rotates = false},
    {.name = "gpt2", .module = "gpt2", .rotates = false},
    {.name = "gpt_bigcode", .module = "gpt_bigcode", .rotates = false},
    {.name = "gpt_neo", .module = "gpt_neo", .rotates = false},
    {.name = "gpt_refact", .module = "llama.cpp src/llama-model.cpp: no rotation (ALiBi)", .rotates = false},
    {.name = "granite_docling_vision", .module = "granite_docling", .rotates = false},
    {.name = "granite_speech5_encoder", .module = "granite_speech5", .rotates = false},
    {.name = "granite_speech_encoder", .module = "granite_speech", .rotates = false},
    {.name = "granite_speech_plus_encoder", .module = "granite_speech_plus", .rotates = false},
    {.name = "groupvit_text_model", .module = "groupvit", .rotates = false},
    {.name = "groupvit_vision_model", .module = "groupvit", .rotates = false},
    {.name = "hubert", .module = "hubert", .rotates = false},
    {.name = "hunyuan_vl_vision", .module = "hunyuan_vl", .rotates = false},
    {.name = "idefics2_vision", .module = "idefics2", .rotates = false},
    {.name = "idefics3_vision", .module = "idefics3", .rotates = false},
    {.name = "inkling_audio", .module = "inkling", .rotates = false},
    {.name = "inkling_vision", .module = "inkling", .rotates = false},
    {.name = "instructblip_qformer", .module = "instructblip", .rotates = false},
    {.name = "instructblip_vision_model", .module = "instructblip", .rotates = false},
    {.name = "instructblipvideo_qformer", .module = "instructblipvideo", .rotates = false},
    {.name = "instructblipvideo_vision_model", .module = "instructblipvideo", .rotates = false},
    {.name = "internvl_vision", .module = "internvl", .rotates = false},
    {.name = "jais", .module = "llama.cpp src/llama-model.cpp: no rotation (ALiBi)", .rotates = false},
    {.name = "jamba", .module = "jamba", .rotates = false},
    {.name = "janus_vision_model", .module = "janus", .rotates = false},
    {.name = "kimi_linear", .module = "kimi_linear", .rotates = false, .remark = "its qk_rope_head_dim channels exist and are not turned"},
    {.name = "kosmos_2_5_text_model", .module = "kosmos2_5", .rotates = false},
    {.name = "kosmos_2_5_vision_model", .module = "kosmos2_5", .rotates = false},
    {.name = "kosmos_2_text_model", .module = "kosmos2", .rotates = false},
    {.name = "kosmos_2_vision_model", .module = "kosmos2", .rotates = false},
    {.name = "mamba", .module = "mamba", .rotates = false},
    {.name = "mamba2", .module = "mamba2", .rotates = false},
    {.name = "mbart", .module = "mbart", .rotates = false},
    {.name = "metaclip_2", .module = "metaclip_2", .rotates = false},
    {.name = "metaclip_2_text_model", .module = "metaclip_2", .rotates = false},
    {.name = "metaclip_2_vision_model", .module = "metaclip_2", .rotates = false},
    {.name = "minicpm_ocr_vision", .module = "minicpm_ocr", .rotates = false},
    {.name = "minicpmv4_6_vision", .module = "minicpmv4_6", .rotates = false},
    {.name = "minicpmv4_7_vision", .module = "minicpmv4_7", .rotates = false},
    {.name = "mllama_vision_model", .module = "mllama", .rotates = false},
    {.name = "molmo2_vision", .module = "molmo2", .rotates = false},
    {.name = "moss_transcribe_diarize_audio", .module = "moss_transcribe_diarize", .rotates = false},
    {.name = "mpt", .module = "mpt", .rotates = false},
    {.name = "mt5", .module = "mt5", .rotates = false},
    {.name = "muse_spark_audio", .module = "muse_spark", .rotates = false},
    {.name = "nemotron_h", .module = "nemotron_h", .rotates = false},
    {.name = "openai-gpt", .module = "openai", .rotates = false},
    {.name = "opt", .module = "opt", .rotates = false},
    {.name = "ovis2_vision", .module = "ovis2", .rotates = false},
    {.name = "owlv2_text_model", .module = "owlv2", .rotates = false},
    {.name = "owlv2_vision_model", .module = "owlv2", .rotates = false},
    {.name = "owlvit", .module = "owlvit", .rotates = false},
    {.name = "owlvit_text_model", .module = "owlvit", .rotates = false},
    {.name = "owlvit_vision_model", .module = "owlvit", .rotates = false},
    {.name = "phi4_multimodal_audio", .module = "phi4_multimodal", .rotates = false},
    {.name = "phi4_multimodal_vision", .module = "phi4_multimodal", .rotates = false},
    {.name = "pix2struct_text_model", .module = "pix2struct", .rotates = false},
    {.name = "pix2struct_vision_model", .module = "pix2struct", .rotates = false},
    {.name = "qianfan_ocr_vision", .module = "qianfan_ocr", .rotates = false},
    {.name = "qwen2_5_omni_audio_encoder", .module = "qwen2_5_omni", .rotates = false},
    {.name = "qwen2_audio_encoder", .module = "qwen2_audio", .rotates = false},
    {.name = "qwen3_asr_encoder", .module = "qwen3_asr", .rotates = false},
    {.name = "qwen3_omni_moe_audio_encoder", .module = "qwen3_omni_moe", .rotates = false},
    {.name = "roberta", .module = "roberta", .rotates = false},
    {.name = "rwkv", .module = "rwkv", .rotates = false},
    {.name = "sam2_vision_model", .module = "sam2", .rotates = false},
    {.name = "sam3_lite_text_text_model", .module = "sam3_lite_text", .rotates = false},
    {.name = "sam_hq_vision_model", .module = "sam_hq", .rotates = false},
    {.name = "sam_vision_model", .module = "sam", .rotates = false},
    {.name = "siglip", .module = "siglip", .rotates = false},
    {.name = "siglip2", .module = "siglip2", .rotates = false},
    {.name = "siglip2_text_model", .module = "siglip2", .rotates = false},
    {.name = "siglip2_vision_model", .module = "siglip2", .rotates = false},
    {.name = "siglip_text_model", .module = "siglip", .rotates = false},
    {.name = "siglip_vision_model", .module = "siglip", .rotates = false},
    {.name = "smolvlm_vision", .module = "smolvlm", .rotates = false},
    {.name = "swin", .module = "swin", .rotates = false},
    {.name = "swinv2", .module = "swinv2", .rotates = false},
    {.name = "switch_transformers", .module = "switch_transformers", .rotates = false},
    {.name = "t5", .module = "t5", .rotates = false},
    {.name = "tipsv2_text_model", .module = "tipsv2", .rotates = false},
    {.name = "tipsv2_vision_model", .module = "tipsv2", .rotates = false},
    {.name = "umt5", .module = "umt5", .rotates = false},
    {.name = "unlimited_ocr_sam_vision_model", .module = "unlimited_ocr", .rotates = false},
    {.name = "unlimited_ocr_vision_encoder", .module = "unlimited_ocr", .rotates = false},
    {.name = "videoprism_vision_model", .module = "videoprism", .rotates = false},
    {.name = "vit", .module = "vit", .rotates = false},
    {.name = "voxtral_encoder", .module = "voxtral", .rotates = false},
    {.name = "wav2vec2", .module = "wav2vec2", .rotates = false},
    {.name = "wavlm", .module = "wavlm", .rotates = false},
    {.name = "whisper", .module = "whisper", .rotates = false},
    {.name = "xclip_text_model", .module = "x_clip", .rotates = false},
    {.name = "xclip_vision_model", .module = "x_clip", .rotates = false},
    {.name = "xlm-roberta", .module = "xlm_roberta", .rotates = false},
    {.name = "zamba", .module = "zamba", .rotates = false},
};

// Configs of several parts: models/<name>/configuration_<name>.py says which family text_config follows if it does not
// say itself.
constexpr Composite kComposites[] = {
    {"aria", "aria_text"},
    {"audioflamingo3", "qwen2"},
    {"aya_vision", "cohere2"},
    {.name = "blt", .text = "blt_local_decoder", .key = "decoder_config"},
    {.name = "chmv2", .text = "dinov3_vit", .own = true, .key = "backbone_config"},
    {"clvp", "clvp_encoder"},
    {"cohere2_vision", "cohere2"},
    {"cohere_compass", "cohere_compass_text"},
    {.name = "colmodernvbert", .text = "modernvbert", .key = "vlm_config"},
    {.name = "colpali", .text = "paligemma", .key = "vlm_config"},
    {.name = "colqwen2", .text = "qwen2_vl", .key = "vlm_config"},
    {"cosmos3_edge", "cosmos3_edge_text"},
    {"cosmos3_omni", "qwen3_vl_text"},
    {"deepseek_ocr2", "deepseek_ocr2_text"},
    {.name = "deepseek_ocr2_vision", .text = "deepseek_ocr2_encoder", .key = "encoder_config"},
    {"deepseek_vl", "llama"},
    {"deepseek_vl_hybrid", "llama"},
    {.name = "dia", .text = "dia_decoder", .key = "decoder_config"},
    {"diffusion_gemma", "diffusion_gemma_text"},
    {"dots3_note", "dots3_note_text", true},
    {"embedding_gemma2", "embedding_gemma2_text"},
    {"emu3", "emu3_text_model"},
    {"ernie4_5_vl_moe", "ernie4_5_vl_moe_text"},
    {.name = "esmfold2", .text = "esmc", .key = "esmc_config"},
    {"exaone4_5", "exaone4"},
    {"fast_vlm", "qwen2"},
    {"fun_asr_nano", "qwen3"},
    {"fuyu", "persimmon", true},
    {"gemma3", "gemma3_text"},
    {"gemma3n", "gemma3n_text"},
    {"gemma4", "gemma4_text"},
    {"gemma4_assistant", "gemma4_text"},
    {"gemma4_unified", "gemma4_unified_text"},
    {"gemma4_unified_assistant", "gemma4_unified_text"},
    {"glm46v", "glm4v_text"},
    {"glm4v", "glm4v_text"},
    {"glm4v_moe", "glm4v_moe_text"},
    {"glm5_next", "glm5_next_text"},
    {"glm_image", "glm_image_text"},
    {"glm_ocr", "glm_ocr_text"},
    {.name = "glmasr", .text = "llama", .own = true},
    {"glmga", "glm4v_text"},
    {"got_ocr2", "qwen2"},
    {"granite4_vision", "granite4_vision_text"},
    {"granite_docling", "granite_docling_text"},
    {"granite_speech", "granite"},
    {"granite_speech_plus", "granite"},
    {"hunyuan_vl", "hunyuan_vl_text"},
    {"hyperclovax_vision_v2", "hyperclovax"},
    {"idefics2", "mistral"},
    {"idefics3", "llama"},
    {"internvl", "qwen2"},
    {"janus", "llama"},
    {"jev", "qwen3_5_text"},
    {"kimi_k25", "deepseek_v3"},
    {"kimi_vl", "deepseek_v3"},
    {.name = "lasr_ctc", .text = "lasr_encoder", .key = "encoder_config"},
    {"lfm2_vl", "lfm2"},
    {"lfm3_vl", "lfm3"},
    {"lighton_ocr", "qwen3"},
    {"llama4", "llama4_text"},
    {"llava", "llama"},
    {"llava_next", "llama"},
    {"llava_next_video", "llama"},
    {"llava_onevision", "qwen2"},
    {"minicpm_ocr", "qwen3_5_text"},
    {"minicpmv4_6", "qwen3_5_text"},
    {"minicpmv4_7", "qwen3_5_text"},
    {"minimax_m3_vl", "minimax_m3_vl_text"},
    {"mistral3", "mistral"},
    {"mistral_large4", "mistral_large4_text"},
    {"mllama", "mllama_text_model"},
    {"modernvbert", "modernbert"},
    {"molmo2", "molmo2_text"},
    {"moss_transcribe_diarize", "qwen3"},
    {"muse_glimmer", "muse_glimmer_text"},
    {"muse_spark", "muse_spark_text"},
    {"musicflamingo", "qwen2"},
    {.name = "nemo_speechlm", .text = "nemotron_h", .own = true},
    {.name = "nemotron3_5_transcribe_audio", .text = "nemotron3_5_transcribe_asr_audio", .key = "asr_config"},
    {.name = "nemotron3_diarization", .text = "nemotron3_diarization_audio", .key = "audio_config"},
    {"ovis2", "qwen2"},
    {"paddleocr_vl", "paddleocr_vl_text", true},
    {"paligemma", "gemma"},
    {.name = "pe_audio", .text = "modernbert", .own = true},
    {.name = "pe_audio_video", .text = "modernbert", .own = true},
    {.name = "pe_video", .text = "modernbert", .own = true},
    {"perception_lm", "llama"},
    {.name = "pi0", .text = "paligemma", .own = true, .key = "vlm_config"},
    {"pp_chart2table", "qwen2"},
    {"qianfan_ocr", "qwen3"},
    {.name = "qwen2_5_omni", .text = "qwen2_5_omni_thinker", .key = "thinker_config"},
    {"qwen2_5_omni_thinker", "qwen2_5_omni_text"},
    {.name = "qwen2_5_omni_token2wav", .text = "qwen2_5_omni_dit", .key = "dit_config"},
    {"qwen2_5_vl", "qwen2_5_vl_text", true},
    {"qwen2_audio", "qwen2"},
    {"qwen2_vl", "qwen2_vl_text", true},
    {"qwen3_5", "qwen3_5_text"},
    {"qwen3_5_moe", "qwen3_5_moe_text"},
    {"qwen3_asr", "qwen3"},
    {.name = "qwen3_omni_moe", .text = "qwen3_omni_moe_thinker", .key = "thinker_config"},
    {"qwen3_omni_moe_talker", "qwen3_omni_moe_talker_text"},
    {"qwen3_omni_moe_thinker", "qwen3_omni_moe_text"},
    {"qwen3_vl", "qwen3_vl_text"},
    {"qwen3_vl_moe", "qwen3_vl_moe_text"},
    {"qwen4_exp", "qwen4_exp_text"},
    {.name = "sam3", .text = "sam3_vision_model", .key = "vision_config"},
    {.name = "sam3_lite_text", .text = "sam3_vision_model", .key = "vision_config"},
    {.name = "sam3_tracker", .text = "sam3_vision_model", .own = true, .key = "vision_config"},
    {.name = "sam3_video", .text = "sam3_tracker_video", .key = "tracker_config"},
    {.name = "sam3_vision_model", .text = "sam3_vit_model", .key = "backbone_config"},
    {"shieldgemma2", "gemma3_text"},
    {"smolvlm", "llama"},
    {"step3p7", "step3p5"},
    {.name = "t5gemma", .text = "t5_gemma_module", .key = "decoder"},
    {.name = "t5gemma2", .text = "t5gemma2_decoder", .key = "decoder"},
    {"t5gemma2_encoder", "t5gemma2_text"},
    {"ultravbert", "ultrabert"},
    {"unlimited_ocr", "unlimited_ocr_text"},
    {"vibevoice", "qwen2"},
    {"vibevoice_asr", "qwen2"},
    {"video_llama_3", "qwen2"},
    {"video_llava", "llama"},
    {"vipllava", "llama"},
    {.name = "voxtral", .text = "llama", .own = true},
    {.name = "voxtral_realtime", .text = "voxtral_realtime_text", .own = true},
};

// Parts that turn, and what each is where its object does not say: sub_configs of models/<owner>/configuration_<owner>.py.
constexpr Part kParts[] = {
    {"blt", "decoder", "blt_local_decoder", "decoder_config"},
    {"blt", "encoder", "blt_local_encoder", "encoder_config"},
    {"blt", "global", "blt_global_transformer", "global_config"},
    {"blt", "patcher", "blt_patcher", "patcher_config"},
    {"chmv2", "backbone", "dinov3_vit", "backbone_config", true},
    {"clvp", "speech", "clvp_encoder", "speech_config"},
    {"cohere_compass", "vision", "cohere_compass_vision", "vision_config"},
    {"colmodernvbert", "vlm", "modernvbert", "vlm_config"},
    {"colpali", "vlm", "paligemma", "vlm_config"},
    {"colqwen2", "vlm", "qwen2_vl", "vlm_config"},
    {"cosmos3_omni", "vision", "qwen3_vl_vision", "vision_config"},
    {"csm", "codec", "mimi", "codec_config"},
    {"csm", "depth_decoder", "csm_depth_decoder_model", "depth_decoder_config"},
    {"deepseek_ocr2", "vision", "deepseek_ocr2_vision", "vision_config"},
    {"deepseek_ocr2_vision", "encoder", "deepseek_ocr2_encoder", "encoder_config"},
    {"dia", "decoder", "dia_decoder", "decoder_config"},
    {"dia", "encoder", "dia_encoder", "encoder_config"},
    {"diffusion_gemma", "vision", "gemma4_vision", "vision_config"},
    {"dots3_note", "audio", "dots3_note_audio_encoder", "audio_config"},
    {"dots3_note", "vision", "dots3_note_vision_encoder", "vision_config"},
    {"embedding_gemma2", "vision", "gemma4_vision", "vision_config"},
    {"ernie4_5_vl_moe", "vision", "ernie4_5_vl_moe_vision", "vision_config"},
    {"esmfold2", "esmc", "esmc", "esmc_config"},
    {"esmfold2", "atom_encoder", "esmfold2_atom_encoder", "atom_encoder"},
    {"evolla", "protein_encoder", "evolla_protein_encoder", "protein_encoder_config"},
    {"exaone4_5", "vision", "exaone4_5_vision", "vision_config"},
    {"gemma4", "vision", "gemma4_vision", "vision_config"},
    {"glm46v", "vision", "glm4v_vision", "vision_config"},
    {"glm4v", "vision", "glm4v_vision", "vision_config"},
    {"glm4v_moe", "vision", "glm4v_moe_vision", "vision_config"},
    {"glm5_next", "vision", "glm5_next_vision", "vision_config"},
    {"glm_ocr", "vision", "glm_ocr_vision", "vision_config"},
    {"glmasr", "audio", "glmasr_encoder", "audio_config"},
    {"glmga", "vision", "glm4v_vision", "vision_config"},
    {"hyperclovax_vision_v2", "vision", "qwen2_5_vl_vision", "vision_config"},
    {"inkling2", "vision", "inkling2_vision", "vision_config"},
    {"kimi_k25", "vision", "kimi_k25_vision", "vision_config"},
    {"kyutai_speech_to_text", "codec", "mimi", "codec_config"},
    {"lasr_ctc", "encoder", "lasr_encoder", "encoder_config"},
    {"kimi_vl", "vision", "moonvit", "vision_config"},
    {"lfm3_vl", "vision", "lfm3_vl_vision", "vision_config"},
    {"lighton_ocr", "vision", "pixtral", "vision_config", true},
    {"llama4", "vision", "llama4_vision_model", "vision_config"},
    {"minimax_m3_vl", "vision", "minimax_m3_vl_vision", "vision_config"},
    {"mistral3", "vision", "pixtral", "vision_config", true},
    {"mistral_large4", "vision", "pixtral", "vision_config", true},
    {"moshi", "audio_encoder", "mimi", "audio_encoder_config"},
    {"muse_glimmer", "vision", "muse_glimmer_vision", "vision_config"},
    {"muse_spark", "vision", "muse_spark_vision", "vision_config"},
    {"musicflamingo", "time", "musicflamingo_time", ""},
    {"nemo_speechlm", "audio", "nemotron3_5_transcribe_audio", "audio_config"},
    {"nemo_speechlm", "word_timestamp", "nemotron3_5_transcribe_word_timestamp", "word_timestamp_config"},
    {"nemotron3_5_transcribe_audio", "asr", "nemotron3_5_transcribe_asr_audio", "asr_config"},
    {"nemotron3_5_transcribe_audio", "diarization", "nemotron3_diarization", "diarization_config", true},
    {"nemotron3_diarization", "audio", "nemotron3_diarization_audio", "audio_config"},
    {"neucodec", "semantic_model", "wav2vec2-bert", "semantic_model_config", true},
    {"paddleocr_vl", "vision", "paddleocr_vl_vision", "vision_config"},
    {"pe_audio", "audio", "pe_audio_encoder", "audio_config"},
    {"pe_audio_video", "audio_video", "pe_audio_video_encoder", "audio_video_config"},
    {"pe_audio_video_encoder", "audio", "pe_audio_encoder", "audio_config"},
    {"pe_audio_video_encoder", "video", "pe_video_encoder", "video_config"},
    {"pe_video", "video", "pe_video_encoder", "video_config"},
    {"pi0", "dit", "gemma", "dit_config", true},
    {"pi0", "vlm", "paligemma", "vlm_config", true},
    {"qwen2_5_omni", "talker", "qwen2_5_omni_talker", "talker_config"},
    {"qwen2_5_omni", "thinker", "qwen2_5_omni_thinker", "thinker_config"},
    {"qwen2_5_omni", "token2wav", "qwen2_5_omni_token2wav", "token2wav_config"},
    {"qwen2_5_omni_thinker", "vision", "qwen2_5_omni_vision_encoder", "vision_config"},
    {"qwen2_5_omni_token2wav", "dit", "qwen2_5_omni_dit", "dit_config"},
    {"qwen2_5_vl", "vision", "qwen2_5_vl_vision", "vision_config"},
    {"qwen2_vl", "vision", "qwen2_vl_vision", "vision_config"},
    {"qwen3_5", "vision", "qwen3_5_vision", "vision_config"},
    {"qwen3_5_moe", "vision", "qwen3_5_moe_vision", "vision_config"},
    {"qwen3_omni_moe", "code2wav", "qwen3_omni_moe_code2wav", "code2wav_config"},
    {"qwen3_omni_moe", "talker", "qwen3_omni_moe_talker", "talker_config"},
    {"qwen3_omni_moe", "thinker", "qwen3_omni_moe_thinker", "thinker_config"},
    {"qwen3_omni_moe_talker", "code_predictor", "qwen3_omni_moe_talker_code_predictor", "code_predictor_config"},
    {"qwen3_omni_moe_thinker", "vision", "qwen3_omni_moe_vision_encoder", "vision_config"},
    {"qwen3_vl", "vision", "qwen3_vl_vision", "vision_config"},
    {"qwen3_vl_moe", "vision", "qwen3_vl_moe_vision", "vision_config"},
    {"qwen4_exp", "vision", "qwen4_exp_vision", "vision_config"},
    {"sam3", "vision", "sam3_vision_model", "vision_config"},
    {"sam3_lite_text", "vision", "sam3_vision_model", "vision_config"},
    {"sam3_tracker", "vision", "sam3_vision_model", "vision_config", true},
    {"sam3_tracker_video", "vision", "sam3_vision_model", "vision_config", true},
    {"sam3_video", "detector", "sam3", "detector_config"},
    {"sam3_video", "tracker", "sam3_tracker_video", "tracker_config"},
    {"sam3_vision_model", "backbone", "sam3_vit_model", "backbone_config"},
    {"step3p7", "vision", "step3p5_vision", "vision_config"},
    {"t5gemma", "decoder", "t5_gemma_module", "decoder"},
    {"t5gemma", "encoder", "t5_gemma_module", "encoder"},
    {"t5gemma2", "decoder", "t5gemma2_decoder", "decoder"},
    {"t5gemma2", "encoder", "t5gemma2_encoder", "encoder"},
    {"video_llama_3", "vision", "video_llama_3_vision", "vision_config"},
    {"vjepa2", "predictor", "vjepa2_predictor", ""},
    {"voxtral_realtime", "audio", "voxtral_realtime_encoder", "audio_config"},
    {"xcodec2", "semantic_model", "wav2vec2-bert", "semantic_model_config", true},
};

constexpr Refused kRefused[] = {
    {"RefinedWeb", "Falcon's older name; --family falcon follows its conventions"},
    {"RefinedWebModel", "Falcon's older name; --family falcon follows its conventions"},
    {"Yi", "an older name in the files of Yi, whose later ones say llama; --family llama follows its conventions"},
    {"bailing_moe_linear", "its linear-attention layers turn by a rule that was not read"},
    {"falcon_ocr", "half of its head turns by a position and half by two image coordinates"},
    {"falcon_perception", "half of its head turns by a position and half by two image coordinates"},
    {"mistral_large_3", "it is published with params.json, which this version does not read; --family deepseek_v3 follows those conventions"},
    {"moondream1", "its config.json does not hold its sizes"},
    {"moondream3", "its config.json does not hold its sizes"},
    {"neobert", "its published code turns adjacent channels, other code under the same name halves, and the config does not say which"},
    {"plamo", "its own code was not read, only that it turns halves; --family llama follows Llama's conventions"},
    {"plamo2", "its own code was not read, and its full and sliding layers differ"},
    {"plamo3", "its own code was not read, and its full and sliding layers differ"},
    {"plm", "its own code was not read, only that llama.cpp runs it as DeepSeek-V2; --family deepseek_v2 follows those conventions"},
    {"smallthinker", "its rope_layout was not read in its own code"},
    {"telechat3", "ports disagree whether its YaRN scales cosine and sine by 0.07 or by 0.1 times ln(factor)"},
};
// clang-format on

template <class T, std::size_t N>
const T* find_named(const T (&all)[N], std::string_view name) noexcept {
  const auto* const found = std::find_if(std::begin(all), std::end(all), [&](const T& t) { return t.name == name; });
  return found == std::end(all) ? nullptr : found;
}

struct Synonyms {
  std::string_view family, keys;
};

// Sizes under other names than hidden_size, num_attention_heads, num_hidden_layers and max_position_embeddings: the
// fields and the attribute_map of the family's config class, or for families with code of their own what that reads.
constexpr Synonyms kSynonyms[] = {
    {"bailing_hybrid", "model_max_length"},
    {"baichuan", "model_max_length"},
    {"bart", "d_model"},
    {"bloom", "n_layer n_head"},
    {"chatglm", "num_layers seq_length"},
    {"codegen", "n_layer n_positions n_embd n_head"},
    {"codeshell", "n_layer n_positions n_embd n_head"},
    {"ctrl", "n_layer n_positions n_embd n_head"},
    {"dbrx", "n_layers max_seq_len d_model n_heads"},
    {"distilbert", "n_layers n_heads"},
    {"exaone", "num_layers"},
    {"gpt-sw3", "n_layer n_positions n_embd n_head"},
    {"gpt2", "n_layer n_positions n_embd n_head"},
    {"gpt_bigcode", "n_layer n_positions n_embd n_head"},
    {"gpt_neo", "num_layers"},
    {"gpt_refact", "n_layer n_positions n_embd n_head"},
    {"gptj", "n_layer n_positions n_embd n_head"},
    {"jais", "n_layer n_positions n_embd n_head"},
    {"kimi_linear", "model_max_length"},
    {"longcat_flash", "num_layers"},
    {"mbart", "d_model"},
    {"moonshine", "decoder_num_hidden_layers decoder_num_attention_heads"},
    {"mpt", "n_layers max_seq_len d_model n_heads"},
    {"mt5", "num_layers d_model"},
    {"openai-gpt", "n_layer n_positions n_embd n_head"},
    {"openelm", "num_transformer_layers max_context_length"},
    {"qwen", "seq_length"},
    {"switch_transformers", "num_layers d_model"},
    {"t5", "num_layers d_model"},
    {"umt5", "num_layers d_model"},
};

struct Published {
  std::vector<std::string> sources;  // what Family::source points into
  std::vector<Family> families;
  std::vector<std::string_view> names;
};

const Published& published() {
  static const Published all = [] {
    Published p;
    p.sources.reserve(std::size(kRows) + std::size(kComposites));
    const auto add = [&](std::string_view name, PairLayout layout, bool rotates, std::string source) {
      p.sources.push_back(std::move(source));
      p.families.push_back({.name = name, .layout = layout, .rotates = rotates, .source = p.sources.back()});
      p.names.push_back(name);
    };
    for (const Row& row : kRows) {
      const bool file = row.module.find(' ') == std::string_view::npos;
      add(row.name, row.layout, row.rotates,
          file ? "transformers 5.23.0 models/" + std::string(row.module) : std::string(row.module));
    }
    for (const Composite& c : kComposites) {
      const Composite* const inner = find_composite(c.text);
      const Row& row = *find_row(inner != nullptr ? inner->text : c.text);
      add(c.name, row.layout, row.rotates,
          "transformers 5.23.0: " + std::string(c.key) + " follows " + std::string(c.text) +
              " unless it says otherwise");
    }
    std::sort(p.families.begin(), p.families.end(), [](const Family& a, const Family& b) { return a.name < b.name; });
    std::sort(p.names.begin(), p.names.end());
    return p;
  }();
  return all;
}

}  // namespace

const Row* find_row(std::string_view name) noexcept { return find_named(kRows, name); }
const Composite* find_composite(std::string_view name) noexcept { return find_named(kComposites, name); }
const Refused* find_refused(std::string_view name) noexcept { return find_named(kRefused, name); }
const Part* find_part(std::string_view owner, std::string_view name) noexcept {
  const auto* const found = std::find_if(std::begin(kParts), std::end(kParts),
                                         [&](const Part& part) { return part.owner == owner && part.name == name; });
  return found == std::end(kParts) ? nullptr : found;
}
std::vector<const Part*> parts_of(std::string_view owner) {
  std::vector<const Part*> all;
  for (const Part& part : kParts)
    if (part.owner == owner) all.push_back(&part);
  return all;
}
bool has_synonym(std::string_view family, std::string_view key) noexcept {
  for (const Synonyms& one : kSynonyms)
    if (one.family == family) {
      std::string_view rest = one.keys;
      while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(' '), rest.size());
        if (rest.substr(0, end) == key) return true;
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
  return false;
}
std::span<const std::string_view> known_names() { return published().names; }

}  // namespace ropewalk::config

namespace ropewalk {

std::span<const Family> known_families() { return config::published().families; }

}  // namespace ropewalk
