#pragma once

#include <ropewalk/layout.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ropewalk::config {

/// How a family finds the width of a query and key head, and where in it the rotated channels lie.
enum class HeadRule : std::uint8_t {
  kKey,        ///< head_dim; if missing, the class default; if that is none, hidden_size / num_attention_heads, floored
  kQuotient,   ///< always hidden_size / num_attention_heads, floored; a head_dim beside it must agree
  kMla,        ///< qk_nope_head_dim + qk_rope_head_dim, of which the last qk_rope_head_dim turn
  kTwice,      ///< 2 * hidden_size / num_attention_heads (Zamba2 attends over two concatenated streams)
  kGptJ,       ///< as kQuotient; the first rotary_dim channels turn, all if it is null
  kByType,     ///< as kKey, but full-attention layers have their own: per_layer_config, or global_head_dim (Gemma 4)
  kMlaByType,  ///< per_layer_config, or keys with a prefix, give each layer type a latent head of its own (dots3.note)
  kMemory,     ///< memory_attention_hidden_size / (memory_attention_downsample_rate *
               ///< memory_attention_num_attention_heads)
  kWhole,      ///< all of hidden_size, before it is cut into heads (EfficientLoFTR)
  kClvp,       ///< hidden_size / heads, of which max(projection_dim / (2 * heads), 32) turn
  kAudio,      ///< audio_config.hidden_size (Music Flamingo turns hidden states)
};

/// How the rungs of the ladder fall to the axes of an image or a clip. D channels turn, of which each of n axes has
/// w = 2 * floor(D / n / 2).
enum class AxialForm : std::uint8_t {
  kNone,
  kBlocks,     ///< axis after axis, each with a ladder of w channels of its own
  kAlternate,  ///< the same ladders, the axes taking turns on every rung: rung 0 of each, rung 1 of each, ...
  kParity,  ///< one ladder of D channels: its even rungs to the first axis, and behind them its odd ones to the second
  kTwoBases,  ///< three ladders of num_spatial_rope_pairs_per_axis rungs over one base, then one of num_uid_rope_pairs
              ///< over another; what is left of the head stands still (ESMFold2)
  kWoven,     ///< one ladder of D channels, whose rungs fall to the axes in turns, each pair on its own rung
};

/// The axes of a tower.
struct Axial {
  AxialForm form = AxialForm::kNone;
  std::string_view streams{};  ///< what the position streams count, in order: "height width"
  std::string_view order{};  ///< streams in the order in which the form takes them, as digits: "10"; empty: as they are
  bool own_blocks = false;   ///< every axis's channels are laid out by themselves (RotarySpec::pair_blocks)
  bool tiled = false;  ///< each block's angles are repeated for halves while its adjacent channels turn (V-JEPA 2)
  bool coordinates = false;  ///< positions that are no whole numbers
  double scale = 1.0;        ///< RotarySpec::position_scale
};

/// Which layers turn.
enum class LayerRule : std::uint8_t {
  kAll,            ///< every layer alike
  kTypes,          ///< those whose layer type is in Row::turning; layer_types, or Row::pattern if missing
  kExaone,         ///< all if sliding_window is null, else those of type sliding_attention
  kNoRopeList,     ///< no_rope_layers[i] = 1 turns (the name is inverted); if missing, (i + 1) mod interval != 0
  kThetaList,      ///< layer_rope_theta[i], 0 does not turn
  kNested,         ///< each layer type has its own parameters, one of them may be null
  kMllama,         ///< all but cross_attention_layers
  kGraniteHybrid,  ///< as kTypes if position_embedding_type is "rope", else none
  kZamba2,         ///< the hybrid layers if use_mem_rope, else none
  kCohere2Moe,     ///< as kTypes, and dense layers if prefix_dense_sliding_window_pattern is 1
  kOlmoHybrid,     ///< as kTypes; an explicit null theta means that none turns
  kMolmo2,         ///< all; those outside rope_scaling_layers unscaled
  kBaichuan,       ///< all if hidden_size is 4096 (7B), none if it is 5120 (13B)
  kDeepseekV4,     ///< parameters under "main" for sliding_attention, "compress" for the others
};

/// How layer types follow from an index where a config does not list them.
enum class Pattern : std::uint8_t {
  kNone,           ///< the family has no layer types, or must list them
  kEvery,          ///< layer i is `special` if (i + 1) mod every == 0, else `common`
  kEveryAndLast,   ///< the same, and the last layer is `special`
  kEveryAndEnd,    ///< as kEveryAndLast, but a list that is there may end otherwise
  kDots3,          ///< indexed at 0, 1 and every 4k + 1; sliding elsewhere
  kFirstAndEvery,  ///< the same as kEvery, and layer 0 is `special` (MiMo-V2)
  kModulo,         ///< layer i is `special` if i mod every == 0, else `common`
  kUniform,        ///< all are `special`
  kFlint,          ///< full at 0, 1, every 4k + 1 and the last; sliding elsewhere
  kLfm2,           ///< full at full_attn_idxs, conv elsewhere; all full if that is missing
  kLfm3,           ///< full at 4k + 2, sliding at 4k (but 0), conv elsewhere
  kBamba,          ///< full at attn_layer_indices, linear elsewhere
  kRecurrent,      ///< block_types, repeated
  kFromEnd,        ///< layer i is `special` if (n - 1 - i) mod every == 0, else `common`
  kAttnTypes,      ///< full where attn_type_list[i] is 1, linear where it is 0
};

/// How several position axes share the pairs.
enum class MropeForm : std::uint8_t {
  kNone,
  kChunked,      ///< section[0] pairs of axis 0, then section[1] of axis 1, ...
  kInterleaved,  ///< t h w t h w ... up to 3 * section; the rest t
  kErnie,        ///< h w h w ..., then section[2] pairs of t; sections in the order h, w, t
  kDoubled,      ///< 2 * section[i] channels of axis i over the whole head, whose halves pair: two angles (HunyuanVL)
};

/// Which rope types the family's own class takes.
enum class Takes : std::uint8_t {
  kAll,
  kDefault,        ///< none but "default"
  kLinearDynamic,  ///< default, linear and dynamic
  kPhi3,
  kHunyuan,
};

/// What a nested family assumes for one layer type.
struct NestedKind {
  std::string_view type{};
  std::string_view theta_key{};  ///< the older top-level key with its theta; empty: none
  double theta = 0.0;            ///< if neither says it; 0: it must be said
  double fraction = 0.0;         ///< partial_rotary_factor if missing; 0: the family takes none for this type
  bool scaled = false;           ///< an older top-level rope_scaling applies to it
};

/// One model family: what no config.json says. Facts, not code; each row with the file they were read in.
struct Row {
  std::string_view name{};
  std::string_view module{};  ///< transformers 5.23.0, models/<module>; or the source in words
  PairLayout layout = PairLayout::kUnset;
  /// What the class assumes for keys that a sub-config leaves out (transformers writes only differences there).
  struct {
    int hidden = 0, heads = 0, layers = 0;
    std::int64_t context = 0;
  } assumes{};
  double theta = 10000.0;        ///< rope_theta if missing
  std::string_view theta_key{};  ///< the older name of rope_theta, if the family has one
  bool theta_fixed = false;      ///< its code reads no key for it
  int head_dim = 0;              ///< head_dim if missing; 0: the quotient
  std::string_view head_key{};   ///< the family's own name of head_dim, if it has one
  /// The family's own names of hidden_size, num_attention_heads and num_hidden_layers, if it has them.
  std::string_view hidden_key{}, heads_key{}, layers_key{};
  std::array<int, 2> mla{};  ///< qk_nope_head_dim and qk_rope_head_dim if missing
  HeadRule head = HeadRule::kKey;
  double fraction = 0.0;            ///< partial_rotary_factor if missing; 0: the family takes none
  std::string_view fraction_key{};  ///< the older name of partial_rotary_factor, if the family has one
  bool cuts_part = false;           ///< its attention cuts the fraction off a head itself, whatever the tables' width
  LayerRule rule = LayerRule::kAll;
  std::string_view turning{};  ///< layer types that turn, separated by spaces
  Pattern pattern = Pattern::kNone;
  int every = 0;
  std::string_view every_key{};  ///< the key that overrides `every`
  std::string_view special{}, common{};
  std::array<NestedKind, 2> nested{};
  bool rests = false;  ///< layers of a type whose parameters are null do not turn
  Takes takes = Takes::kAll;
  std::string_view no_proportional{};  ///< why its code cannot turn by the proportional encoding, after "want "
  /// Its indexer's heads: the key of their width, that if missing (0: then there are none), and the layers that have
  /// one.
  struct {
    std::string_view key{};
    int width = 0;
    std::string_view layers{};
  } index{};
  std::string_view default_rope{};  ///< rope_parameters if missing, as JSON
  Axial axial{};
  MropeForm mrope = MropeForm::kNone;
  std::array<int, 4> sections{};     ///< mrope_section if missing
  bool rope_interleave_key = false;  ///< rope_interleave: false means half (DeepSeek-V3)
  bool output_half = false;          ///< interleaved pairs are written as halves (DeepSeek-V3)
  bool trailing = false;             ///< the last channels turn
  bool learned_alpha = false;        ///< frequencies times exp(alpha), a tensor among the weights (Mistral Large 4)
  bool scale_softmax = false;        ///< DeepSeek: softmax scale times gm(factor, mscale_all_dim)^2
  bool query_temperature = false;    ///< llama_4_scaling_beta in the rope parameters (Ministral 3)
  std::string_view off_key{};        ///< a key that, if true, means that no layer turns (Falcon: alibi)
  std::string_view rotary_word{};    ///< layers turn only if position_embedding_type is this word
  std::string_view rotary_key{};     ///< the family's own name of position_embedding_type, if it has one
  std::string_view needs{};          ///< keys, separated by spaces, without which a file of this name is another model
  std::string_view needs_false{};  ///< keys that must be there and false: the family's code does what is not described
  int layer_factor = 1;            ///< attention layers to one counted layer (LongCat: 2)
  bool clockwise = false;          ///< turns by -phase
  bool rotates = true;
  std::string_view remark{};  ///< said in the notes of every answer
};

/// A config of several parts that has no positions of its own: its language model's are meant.
struct Composite {
  std::string_view name{};
  std::string_view text{};  ///< the family of text_config where that does not say its model_type
  bool flat = false;        ///< older files hold the text keys at the top level
  bool own = false;         ///< its class fills missing text keys with values of its own: nothing may be assumed
  std::string_view key = "text_config";  ///< the part that is meant
};

/// A part of a config that turns: what its object is where that does not say its model_type.
struct Part {
  std::string_view owner{};  ///< the config's model_type
  std::string_view name{};   ///< as ReadOptions::part has it
  std::string_view family{};
  std::string_view key{};  ///< where its keys stand; empty: among the owner's own
  bool own = false;        ///< as in Composite
};

/// A model type that is known and cannot be described by this version.
struct Refused {
  std::string_view name{};
  std::string_view why{};
};

/// The row of that name, or nullptr.
const Row* find_row(std::string_view name) noexcept;
const Composite* find_composite(std::string_view name) noexcept;
const Refused* find_refused(std::string_view name) noexcept;
const Part* find_part(std::string_view owner, std::string_view name) noexcept;
/// Those of one config.
std::vector<const Part*> parts_of(std::string_view owner);
std::span<const std::string_view> known_names();
/// True if that family's own config class reads a size of the model under that name too.
bool has_synonym(std::string_view family, std::string_view key) noexcept;

}  // namespace ropewalk::config
