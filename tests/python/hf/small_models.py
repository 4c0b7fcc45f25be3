"""A small model of random weights for every causal-language-model type of transformers, from its config class alone."""

import copy
import inspect
import os
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import ropewalk.hf
import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

# Sizes by the names that config classes give them. A name that a class does not have is not set.
SIZES = {
    "vocab_size": 96, "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "embed_dim": 64, "emb_dim": 64, "n_embed": 64,
    "num_hidden_layers": 2, "num_layers": 2, "n_layer": 2, "n_layers": 2, "decoder_layers": 2, "encoder_layers": 2,
    "num_decoder_layers": 2, "num_encoder_layers": 2, "depth": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "decoder_attention_heads": 4, "encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4, "num_encoder_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "kv_channels": 16, "d_kv": 16,
    "intermediate_size": 64, "ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_ffn_dim": 64, "n_inner": 64, "d_ff": 64, "ffn_hidden_size": 64,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_num_experts": 4,
    "moe_k": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "index_head_dim": 16, "index_n_heads": 2, "index_topk": 8,
    "hidden_size_global": 64, "max_position_embeddings": 128, "n_positions": 128, "n_ctx": 128, "max_seq_len": 128, "sliding_window": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}

# What a few families need beside.
TWO = ["sliding_attention", "full_attention"]
PLAIN = {"rope_type": "default", "rope_theta": 1e4}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16}
MAMBA = {"mamba_d_state": 8, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_chunk_size": 16}
GEMMA4 = {"num_hidden_layers": 2, "layer_types": TWO, "global_head_dim": 32, "head_dim": 16, "vocab_size_per_layer_input": 96,
          "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
ASSISTANT = {**GEMMA4, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "num_kv_shared_layers": 2, "hidden_size": 64,
             "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 96, "sliding_window": 8}
V4 = {"head_dim": 32, "index_head_dim": 16, "index_n_heads": 2, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 8,
      "rope_parameters": {"main": {**PLAIN, "partial_rotary_factor": 0.5},
                          "compress": {**PLAIN, "rope_theta": 1.6e5, "partial_rotary_factor": 0.5}}}
DOTS = {"num_hidden_layers": 2, "layer_types": ["indexed_attention", "sliding_attention"], "head_dim": 24, "swa_head_dim": 24,
        "swa_qk_nope_head_dim": 16, "swa_v_head_dim": 16}
QSA = {"layer_types": ["linear_attention", "indexed_attention"], "indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16,
       "indexer_budget": 8, "indexer_compress_ratio": 4, "hc_lowrank": 8, **LINEAR,
       "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}}
QWEN = {**LINEAR, "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]}}
NEEDED = {
    "bailing_hybrid": {"num_experts": 4, "num_experts_per_token": 2, "num_expert_group": 1, "linear_head_dim": 16, "linear_num_heads": 4},
    "bamba": {"attn_layer_indices": [1], **MAMBA},
    "codegen": {"rotary_dim": 8},
    "cohere_compass_text": {"layer_types": TWO, "rope_parameters": {
        "sliding_attention": {**PLAIN, "mrope_section": [4, 2, 2]}, "full_attention": None}},
    "cpmant": {"dim_head": 16, "dim_ff": 64, "prompt_types": 4, "prompt_length": 4, "segment_types": 4},
    "dbrx": {"d_model": 64, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
             "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2}},
    "deepseek_v4": {**V4, "num_hidden_layers": 4, "mlp_layer_types": ["moe"] * 4, "layer_types": [
        "sliding_attention", "compressed_sparse_attention", "sliding_attention", "heavily_compressed_attention"]},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_shared_experts": 1},
    "longcat_flash": {"moe_topk": 2, "zero_expert_num": 2, "expert_ffn_hidden_size": 32, "num_layers": 1},
    "dots1": {"num_local_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_routed_experts": 4},
    "dots3_note_text": DOTS,
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_chunk_size": 16},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": TWO, "activation_sparsity_pattern": [0.0, 0.0], "laurel_rank": 8,
                     "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 96},
    "gemma4_assistant": {"text_config": {**ASSISTANT, "model_type": "gemma4_text"}},
    "gemma4_unified_assistant": {"text_config": {**ASSISTANT, "model_type": "gemma4_unified_text"}},
    "gemma4_text": GEMMA4,
    "gemma4_unified_text": GEMMA4,
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gptj": {"rotary_dim": 8},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"], "position_embedding_type": "rope", **MAMBA},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4, "mamba_d_state": 8},
    "kimi_linear": {"num_experts": 4, "num_expert_group": 1, "num_experts_per_token": 2, "linear_head_dim": 16, "linear_num_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"expand": 1, "head_dim": 16, "num_heads": 4, "state_size": 8, "time_step_rank": 4, "n_groups": 1, "chunk_size": 16},
    "nemotron_h": {"ssm_state_size": 8, "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2, "chunk_size": 16,
                   "moe_shared_expert_intermediate_size": 32},
    "phi3": {"partial_rotary_factor": 1.0},
    "mimo_v2_flash": {"head_dim": 24, "v_head_dim": 16},
    "minimax_m3_vl_text": {"rotary_dim": 8, "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}, "dense_intermediate_size": 64,
                           "shared_intermediate_size": 32, "index_block_size": 4, "index_topk_blocks": 2},
    "roformer": {"is_decoder": True},
    "blt": {"encoder_hash_byte_group_vocab": 64, "encoder_hash_byte_group_size": [3]},
    "dots3_note_audio_encoder": {"adapter_input_size": 64, "adapter_out_dim": 64},
    "dots3_note_vision_encoder": {"adapter_in_dim": 64, "adapter_out_dim": 64},
    "qwen3_5_text": QWEN, "qwen3_5_moe_text": QWEN, "qwen3_next": LINEAR, "olmo_hybrid": LINEAR,
    "qwen4_exp_text": QSA,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 64, "attention_window_size": 8},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "local"], "axial_pos_shape": [4, 4], "axial_pos_embds_dim": [16, 48],
                 "attention_head_size": 16, "feed_forward_size": 64, "local_attn_chunk_length": 4},
    "roc_bert": {"pronunciation_vocab_size": 96, "shape_vocab_size": 96, "pronunciation_embed_dim": 16, "shape_embed_dim": 16},
    "rwkv": {"attention_hidden_size": 64, "context_length": 64},
    "xlstm": {"qk_dim_factor": 1.0, "embedding_dim": 64, "num_blocks": 2},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
              "attention_hidden_size": 128, "attention_head_dim": 32, "mamba_dt_rank": 4, "n_mamba_heads": 2, "mamba_d_state": 8},
    "zamba2": {"use_mem_rope": True, "num_hidden_layers": 4, "adapter_rank": 8, "num_query_groups": 4, "mamba_d_state": 8,
               "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
               "mamba_headdim": 16, "n_mamba_heads": 8, "mamba_ngroups": 1, "chunk_size": 16},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}


def _small(config, names):
    """Settings that make a config small, by the names it has."""
    data = config.to_dict()
    out = {k: v for k, v in SIZES.items() if isinstance(data.get(k), int) and not isinstance(data[k], bool)}
    latent = "qk_rope_head_dim" in data
    if "head_dim" in data:
        out["head_dim"] = SIZES["qk_rope_head_dim" if latent else "head_dim"]
    if "num_key_value_heads" in data:
        out["num_key_value_heads"] = SIZES["num_attention_heads" if latent else "num_key_value_heads"]
    layers = None
    for key in ("layer_types", "layers_block_type"):
        if isinstance(data.get(key), (list, tuple)):
            distinct = list(dict.fromkeys(data[key]))
            layers = out[key] = (distinct * 2)[: max(2, len(distinct))]
    if layers:
        for key in ("num_hidden_layers", "num_layers", "n_layer"):
            if key in out:
                out[key] = len(layers)
        if "mlp_layer_types" in data:
            out["mlp_layer_types"] = [data["mlp_layer_types"][-1]] * len(layers)
    elif isinstance(data.get("mlp_layer_types"), (list, tuple)):
        out["mlp_layer_types"] = [data["mlp_layer_types"][0], data["mlp_layer_types"][-1]]
    for key in data:
        if not key.endswith(("config", "coder")) or key in ("per_layer_config", "quantization_config"):
            continue
        part = getattr(config, key, None)
        if isinstance(part, transformers.PreTrainedConfig):
            out[key] = {**_small(part, names), "model_type": part.model_type}
            out[key].update(NEEDED.get(part.model_type, {}))
    return out


def small_config(mt, **changes):
    default = CONFIG_MAPPING[mt]
    try:
        base = default()
    except Exception:
        base = default(**copy.deepcopy(NEEDED.get(mt, {})))
    settings = {**_small(base, SIZES), **copy.deepcopy(NEEDED.get(mt, {})), **changes}
    return default(**{k: v for k, v in settings.items() if v != "drop"})


def small_model(mt, seed=0, **changes):
    torch.manual_seed(seed)
    config = small_config(mt, **changes)
    try:
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    except AttributeError:  # a decoder's class that is mapped from the whole's config
        config = config.get_text_config(decoder=True)
        config._attn_implementation = "eager"
        model = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[mt])(config)
    return model.eval()


def enliven(model, seed=0):
    """Weights large enough for positions to show in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2 and parameter.is_floating_point() and parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 1.5 / parameter.shape[-1] ** 0.5)
            elif parameter.ndim == 1 and parameter.is_floating_point() and not parameter.any():  # biases, temperatures
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


IDS = (torch.arange(36).reshape(3, 12) * 7) % 80 + 5
MASK = torch.ones(3, 12, dtype=torch.long)
MASK[0, :3] = 0
MASK[2, :5] = 0


def takes(model, name):
    return name in inspect.signature(type(model).forward).parameters


def runs(model):
    """{case: function that gives logits of real tokens}: whole, left-padded, and through a cache."""

    def positions_of(mask):
        return (mask.cumsum(-1) - 1).clamp_min(0)

    def whole():
        return model(input_ids=IDS, use_cache=False).logits

    def padded():
        out = model(input_ids=IDS, attention_mask=MASK, position_ids=positions_of(MASK), use_cache=False).logits
        return out[MASK.bool()]

    def cached(mask=None):
        steps, cache = [], None
        mask = torch.ones_like(MASK) if mask is None else mask
        for begin, end in ((0, 8), (8, 9), (9, 10), (10, 12)):
            out = model(input_ids=IDS[:, begin:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True,
                        position_ids=positions_of(mask[:, :end])[:, begin:])
            cache = out.past_key_values
            steps.append(out.logits)
        return torch.cat(steps, dim=1)[mask.bool()]

    return {"whole": whole, "padded": padded, "cached": cached, "cached, padded": lambda: cached(MASK)}


def outcome(function):
    """Logits, or why there are none."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function().float()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"


def relative(a, b):
    return ((a - b).abs().max() / a.abs().max().clamp_min(1e-30)).item()


def turned_back(model):
    """A mistake, to see whether logits would show it: every angle the other way round."""
    for module in model.modules():
        tables = module.__dict__.get("_ropewalk")
        if hasattr(tables, "kinds"):
            for kind in tables.kinds.values():
                kind.sin_sign = -kind.sin_sign
        elif tables is not None:
            held = module.weight.data if tables.name == "weight" else module.__dict__[tables.name]
            held[:, : held.shape[1] // 2].neg_()


def compared(mt):
    """What installing does to one model type: {"state": "agree" | "does not rotate" | "refused" | "not built" | "differs", ...}."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = enliven(small_model(mt))
    except Exception as error:
        return {"state": "not built", "reason": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}
    functions = runs(model)
    theirs = {case: outcome(function) for case, function in functions.items()}
    try:
        handle = ropewalk.hf.install(model)
    except ropewalk.Error as error:
        state = "does not rotate" if "which does not rotate" in str(error) else "refused"
        # What is said not to rotate must not feel its positions through a cosine: it has no module that makes one.
        return {"state": state, "reason": str(error)}
    report = handle.report()
    result = {"state": "agree", "attention": report["attention"], "tables_only": report["tables_only"], "cases": {}, "not run": {},
              "probe": report["forward_probe"]["relative"]}
    for case, function in functions.items():
        if isinstance(theirs[case], str):
            result["not run"][case] = theirs[case]
            continue
        ours = outcome(function)
        result["cases"][case] = ours if isinstance(ours, str) else relative(theirs[case], ours)
        if isinstance(ours, str) or not result["cases"][case] <= 1e-4:
            result["state"] = "differs"
    if isinstance(theirs["whole"], torch.Tensor):
        turned_back(model)
        result["felt"] = relative(theirs["whole"], outcome(functions["whole"]))
    handle.undo()
    after = outcome(functions["whole"])
    if isinstance(after, torch.Tensor) and not torch.equal(after, theirs["whole"]):
        result["state"] = "not undone"
    if not result["cases"]:
        result["state"] = "not run"
    return result
