#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ropewalk::runner {

/// What a tensor of a decoder is for. A layer's roles come once a layer; those marked so are not in every architecture.
enum class Role : std::uint8_t {
  kEmbedding,          ///< [vocabulary, hidden]
  kOutput,             ///< [vocabulary, hidden]; absent when tied
  kFinalNorm,          ///< [hidden]
  kAttentionNorm,      ///< [hidden], before attention
  kQuery,              ///< [heads * head_dim, hidden]
  kKey,                ///< [kv_heads * head_dim, hidden]
  kValue,              ///< [kv_heads * head_dim, hidden]
  kQueryNorm,          ///< [head_dim], of every query head before it turns; optional
  kKeyNorm,            ///< [head_dim], of every key head before it turns; optional
  kAttentionOut,       ///< [hidden, heads * head_dim]
  kPostAttentionNorm,  ///< [hidden], of what attention adds to the stream; optional
  kFeedNorm,           ///< [hidden], before the feed-forward part
  kGate,               ///< [intermediate, hidden]
  kUp,                 ///< [intermediate, hidden]
  kDown,               ///< [hidden, intermediate]
  kPostFeedNorm,       ///< [hidden], of what the feed-forward part adds to the stream; optional
};

bool is_norm(Role role) noexcept;

/// What the gate of a feed-forward part passes through.
enum class Activation : std::uint8_t {
  kSilu,      ///< x / (1 + exp(-x))
  kGeluTanh,  ///< x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
};

/// How files name a tensor.
struct TensorName {
  Role role;
  std::string_view gguf;         ///< in a layer, behind "blk.N."
  std::string_view safetensors;  ///< in a layer, behind "model.layers.N."
  bool in_layer;
};

/// A decoder that this runner knows, as data: a row of architecture.cpp. A role that `tensors` lacks is a step that
/// the architecture does not take.
struct Architecture {
  std::string_view gguf;        ///< general.architecture, with which its metadata keys begin
  std::string_view model_type;  ///< of config.json
  std::span<const TensorName> tensors;
  Activation activation = Activation::kSilu;
  std::string_view activation_key{};          ///< of config.json
  std::string_view activation_word{};         ///< what stands there; also what a missing key means
  bool scales_embedding = false;              ///< embeddings times sqrt(hidden)
  bool norms_less_one = false;                ///< safetensors hold norm weights less 1; GGUF holds them whole
  bool tied = false;                          ///< what a missing tie_word_embeddings means
  std::int64_t head_dim = 0;                  ///< what a missing head_dim means; 0: hidden / heads
  std::int64_t query_scalar = 0;              ///< what a missing query_pre_attn_scalar means; 0: there is no such key
  int layers_with_mean_scalar = 0;            ///< GGUF has no such key: its scalar is head_dim, with so many layers
                                              ///< hidden / heads
  std::int64_t window = 0;                    ///< what a missing sliding_window means, where layers slide
  std::span<const std::string_view> lacks{};  ///< keys of config.json that have to be false, null or absent

  bool has(Role role) const noexcept;
  /// "blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"; the architecture has the role.
  std::string tensor_name(Role role, int layer, bool in_gguf) const;
};

/// A kind of layer whose queries see near keys only, by its name in config.json's layer_types.
bool is_local(std::string_view layer_kind) noexcept;
/// The one whose windows end at the query; another ("chunked_attention") cuts the text into pieces.
inline constexpr std::string_view kSlidingKind = "sliding_attention";

/// nullptr: not known.
const Architecture* architecture_of_gguf(std::string_view name) noexcept;
const Architecture* architecture_of_model_type(std::string_view model_type) noexcept;
/// "\"llama\" or \"gemma3\"".
std::string known_architectures(bool in_gguf);

}  // namespace ropewalk::runner
