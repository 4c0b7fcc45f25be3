#include "runner/architecture.hpp"

#include <algorithm>
#include <array>

namespace ropewalk::runner {
namespace {

constexpr std::array kLlamaTensors = {
    TensorName{Role::kEmbedding, "token_embd.weight", "model.embed_tokens.weight", false},
    TensorName{Role::kOutput, "output.weight", "lm_head.weight", false},
    TensorName{Role::kFinalNorm, "output_norm.weight", "model.norm.weight", false},
    TensorName{Role::kAttentionNorm, "attn_norm.weight", "input_layernorm.weight", true},
    TensorName{Role::kQuery, "attn_q.weight", "self_attn.q_proj.weight", true},
    TensorName{Role::kKey, "attn_k.weight", "self_attn.k_proj.weight", true},
    TensorName{Role::kValue, "attn_v.weight", "self_attn.v_proj.weight", true},
    TensorName{Role::kAttentionOut, "attn_output.weight", "self_attn.o_proj.weight", true},
    TensorName{Role::kFeedNorm, "ffn_norm.weight", "post_attention_layernorm.weight", true},
    TensorName{Role::kGate, "ffn_gate.weight", "mlp.gate_proj.weight", true},
    TensorName{Role::kUp, "ffn_up.weight", "mlp.up_proj.weight", true},
    TensorName{Role::kDown, "ffn_down.weight", "mlp.down_proj.weight", true},
};

// A Llama's tensors, with `changed` in the place of those of the same role and `added` behind them.
template <std::size_t kAdded>
constexpr std::array<TensorName, kLlamaTensors.size() + kAdded> llama_with(TensorName changed,
                                                                           std::array<TensorName, kAdded> added) {
  std::array<TensorName, kLlamaTensors.size() + kAdded> out{};
  for (std::size_t i = 0; i < kLlamaTensors.size(); ++i)
    out[i] = kLlamaTensors[i].role == changed.role ? changed : kLlamaTensors[i];
  for (std::size_t i = 0; i < kAdded; ++i) out[kLlamaTensors.size() + i] = added[i];
  return out;
}

// What is called post_attention_layernorm stands behind attention here, and before the feed-forward part in a Llama.
constexpr auto kGemma3Tensors = llama_with(
    TensorName{Role::kFeedNorm, "ffn_norm.weight", "pre_feedforward_layernorm.weight", true},
    std::array{
        TensorName{Role::kQueryNorm, "attn_q_norm.weight", "self_attn.q_norm.weight", true},
        TensorName{Role::kKeyNorm, "attn_k_norm.weight", "self_attn.k_norm.weight", true},
        TensorName{Role::kPostAttentionNorm, "post_attention_norm.weight", "post_attention_layernorm.weight", true},
        TensorName{Role::kPostFeedNorm, "post_ffw_norm.weight", "post_feedforward_layernorm.weight", true},
    });

constexpr std::array<std::string_view, 2> kLlamaLacks = {"attention_bias", "mlp_bias"};
constexpr std::array<std::string_view, 4> kGemma3Lacks = {"attention_bias", "use_bidirectional_attention",
                                                          "attn_logit_softcapping", "final_logit_softcapping"};

constexpr std::array kArchitectures = {
    Architecture{.gguf = "llama",
                 .model_type = "llama",
                 .tensors = kLlamaTensors,
                 .activation = Activation::kSilu,
                 .activation_key = "hidden_act",
                 .activation_word = "silu",
                 .lacks = kLlamaLacks},
    // transformers models/gemma3 (defaults of Gemma3TextConfig); llama.cpp src/models/gemma3.cpp (27B has 62 layers).
    Architecture{.gguf = "gemma3",
                 .model_type = "gemma3_text",
                 .tensors = kGemma3Tensors,
                 .activation = Activation::kGeluTanh,
                 .activation_key = "hidden_activation",
                 .activation_word = "gelu_pytorch_tanh",
                 .scales_embedding = true,
                 .norms_less_one = true,
                 .tied = true,
                 .head_dim = 256,
                 .query_scalar = 256,
                 .layers_with_mean_scalar = 62,
                 .window = 4096,
                 .lacks = kGemma3Lacks},
};

const Architecture* find(std::string_view Architecture::*word, std::string_view name) noexcept {
  const auto found = std::find_if(kArchitectures.begin(), kArchitectures.end(),
                                  [&](const Architecture& each) { return each.*word == name; });
  return found == kArchitectures.end() ? nullptr : &*found;
}

}  // namespace

bool is_norm(Role role) noexcept {
  switch (role) {
    case Role::kFinalNorm:
    case Role::kAttentionNorm:
    case Role::kQueryNorm:
    case Role::kKeyNorm:
    case Role::kPostAttentionNorm:
    case Role::kFeedNorm:
    case Role::kPostFeedNorm: return true;
    default: return false;
  }
}

bool Architecture::has(Role role) const noexcept {
  return std::any_of(tensors.begin(), tensors.end(), [&](const TensorName& each) { return each.role == role; });
}

std::string Architecture::tensor_name(Role role, int layer, bool in_gguf) const {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const TensorName& each) { return each.role == role; });
  const std::string own(in_gguf ? found->gguf : found->safetensors);
  return found->in_layer ? (in_gguf ? "blk." : "model.layers.") + std::to_string(layer) + "." + own : own;
}

bool is_local(std::string_view layer_kind) noexcept {
  return layer_kind == kSlidingKind || layer_kind == "chunked_attention";
}

const Architecture* architecture_of_gguf(std::string_view name) noexcept { return find(&Architecture::gguf, name); }
const Architecture* architecture_of_model_type(std::string_view model_type) noexcept {
  return find(&Architecture::model_type, model_type);
}

std::string known_architectures(bool in_gguf) {
  std::string out;
  for (const Architecture& each : kArchitectures)
    out += (out.empty() ? "\"" : " or \"") + std::string(in_gguf ? each.gguf : each.model_type) + "\"";
  return out;
}

}  // namespace ropewalk::runner
