// Where a page without a checkpoint may start: the positions' part of published config.json files, read by the library.

const llama = { model_type: "llama", hidden_size: 4096, num_attention_heads: 32, num_hidden_layers: 32 };
const steps = (first, last) => Array.from({ length: 48 }, (_, j) => first + ((last - first) * j) / 47);

export const PRESETS = {
  "Llama 2 7B": { ...llama, max_position_embeddings: 4096, rope_theta: 10000 },
  "Llama 3.1 8B": { ...llama, max_position_embeddings: 131072, rope_theta: 500000, rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 } },
  "SmolLM2 135M": { model_type: "llama", hidden_size: 576, num_attention_heads: 9, num_hidden_layers: 30, max_position_embeddings: 8192, rope_theta: 100000 },
  "Qwen2.5 7B with YaRN": { model_type: "qwen2", hidden_size: 3584, num_attention_heads: 28, num_hidden_layers: 28, max_position_embeddings: 131072, rope_theta: 1000000, rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 32768 } },
  "Phi-3.5 mini, divisors made up": { model_type: "phi3", hidden_size: 3072, num_attention_heads: 32, num_hidden_layers: 32, max_position_embeddings: 131072, original_max_position_embeddings: 4096, rope_theta: 10000, rope_scaling: { type: "longrope", short_factor: steps(1, 1.5), long_factor: steps(1, 60) } },
  "Gemma 3 1B": { model_type: "gemma3_text", hidden_size: 1152, num_attention_heads: 4, head_dim: 256, num_hidden_layers: 26, max_position_embeddings: 32768, sliding_window: 512, rope_theta: 1000000, rope_local_base_freq: 10000, sliding_window_pattern: 6 },
  "GPT-NeoX 20B": { model_type: "gpt_neox", hidden_size: 6144, num_attention_heads: 64, num_hidden_layers: 44, max_position_embeddings: 2048, rotary_pct: 0.25, rotary_emb_base: 10000 },
};
