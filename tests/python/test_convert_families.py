"""`ropewalk convert` on whole models of transformers: after converting, a model computes what it did before, if it turns
its heads in the other layout.

Random small models of many families are saved, converted to the other layout, and read again by transformers. The
function of the family's own module that applies cosine and sine is wrapped: into the old order of the channels, through
it, and out again, which is the same rotation in the other layout. What a model does before and after it with queries and
keys (biases, norms on the channels, splits of fused tensors, gates, latent keys) has to agree with what convert moved. `python test_convert_families.py` tries every
causal model that transformers has and prints the outcome.
"""

import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

from transformers import CONFIG_MAPPING, AutoModelForCausalLM  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ROPEWALK_BIN", ROOT / "build" / "ropewalk"))

SIZES = {"vocab_size": 100, "hidden_size": 64, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128,
         "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
         "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "q_lora_rank": 24, "kv_lora_rank": 20,
         "qk_nope_head_dim": 24, "qk_rope_head_dim": 8, "v_head_dim": 16, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2, "shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
         "linear_key_head_dim": 16, "linear_value_head_dim": 16, "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 128,
         "rotary_dim": 8, "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_expand": 1,
         "intermediate_size_mlp": 48, "ffn_hidden_size": 48, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 100}

# Families, with what has to be said beside the sizes to get at the form meant.
FAMILIES = {
    "llama": {"attention_bias": True},
    "apertus": {},
    "bitnet": {},
    "glm": {},
    "codegen": {},
    "cohere": {"use_qk_norm": True},
    "cohere2": {"num_hidden_layers": 4},
    "diffllama": {},
    "doge": {},
    "afmoe": {"num_hidden_layers": 4},
    "laguna": {},
    "dbrx": {"d_model": 64, "n_heads": 4, "n_layers": 2, "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
             "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 2, "moe_top_k": 1, "hidden_size": 64}},
    "deepseek_v2": {"q_lora_rank": None},
    "deepseek_v3": {},
    "ernie4_5": {},
    "exaone4": {"num_hidden_layers": 4, "layer_types": None},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False, "bias": True},
    "falcon, one key": {"model_type": "falcon", "alibi": False, "new_decoder_architecture": False},
    "falcon, a key each": {"model_type": "falcon", "multi_query": False, "alibi": False, "new_decoder_architecture": False},
    "gemma3_text": {},
    "glm4_moe": {"use_qk_norm": True},
    "gpt_neox": {"rotary_pct": 0.25},
    "gpt_oss": {},
    "gptj": {},
    "granite": {},
    "hunyuan_v1_dense": {},
    "minimax_m2": {"rotary_dim": 8},
    "mistral": {},
    "nemotron": {},
    "olmo2": {},
    "persimmon": {"qk_layernorm": True, "num_key_value_heads": 4},
    "phi": {"qk_layernorm": True},
    "phi3": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_next": {"num_hidden_layers": 4},
    "qwen3_5_text": {"num_hidden_layers": 4, "rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1],
        "mrope_interleaved": True}},
    "smollm3": {"num_hidden_layers": 4, "layer_types": None, "no_rope_layers": None},
    "stablelm": {"qk_layernorm": True, "use_qkv_bias": True},
}


def small_model(family, changes):
    kind = changes.get("model_type", family)
    cls = CONFIG_MAPPING[kind]
    known = cls().to_dict()
    mapped = set(getattr(cls, "attribute_map", {}))
    sizes = {key: value for key, value in SIZES.items() if key in known or (key in mapped and key not in known)}
    sizes |= {key: value for key, value in changes.items() if key != "model_type"}
    if "qk_rope_head_dim" in known:
        sizes.pop("head_dim", None)  # there it is another name for the width that turns
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    if "layer_types" in known and "layer_types" not in changes:
        count, per_type = sizes.get("num_hidden_layers", 2), known["layer_types"]
        sizes["layer_types"] = per_type[:count] if per_type else None
    config = cls(**sizes)
    with torch.device("meta"):
        size = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    if size > 3_000_000:
        raise ValueError(f"want a small model, got {size} numbers")
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name and weight.dim() < 3 else 0.0, 0.3)
    return model


def order(head_dim, rotary_dim, offset, to):
    """Channel c of a head in the other layout is channel order[c] of the old one."""
    pairs, out = rotary_dim // 2, list(range(head_dim))
    for j in range(pairs):
        near, far = (offset + 2 * j, offset + 2 * j + 1), (offset + j, offset + pairs + j)
        for a, b in zip(near, far):
            if to == "interleaved":
                out[a] = b
            else:
                out[b] = a
    return out


def wrapped(function, kinds, to):
    """The family's function in the other layout: into the old order, through it, and out again."""
    there = {}
    for head_dim, rotary_dim, offset in kinds:
        there[rotary_dim] = torch.tensor(order(rotary_dim, rotary_dim, 0, to))
    for head_dim, rotary_dim, offset in kinds:
        there[head_dim] = torch.tensor(order(head_dim, rotary_dim, offset, to))
    back = {dim: torch.argsort(each) for dim, each in there.items()}

    def put(orders, x):
        return x[..., orders[x.shape[-1]]] if x.dim() == 4 and x.shape[-1] in orders else x

    def inner(*args, **kwargs):
        args = [put(back, a) if i < 2 else a for i, a in enumerate(args)]
        kwargs = {name: put(back, a) if name in ("q", "k", "xq", "xk", "x", "tensor") else a for name, a in kwargs.items()}
        out = function(*args, **kwargs)
        return put(there, out) if torch.is_tensor(out) else tuple(put(there, each) for each in out)

    return inner


def outcome(family, changes, folder):
    """"right", or what convert said, or how far off the model is."""
    model = small_model(family, changes)
    model.save_pretrained(folder / "before")
    explained = subprocess.run([BINARY, "explain", folder / "before", "--json"], capture_output=True, text=True)
    if explained.returncode != 0:
        return "refused: " + explained.stderr.strip()
    specs = [kind for kind in json.loads(explained.stdout)["kinds"] if kind["rotates"]]
    if not specs:
        return "refused: does not rotate"
    kinds = sorted({(s["head_dim"], s["rotary_dim"], s["rotary_offset"]) for s in specs})
    to = "half" if specs[0]["pair_layout"] == "interleaved" else "interleaved"
    done = subprocess.run([BINARY, "convert", folder / "before", "--to", to, "--out", folder / "after"], capture_output=True, text=True)
    if done.returncode != 0:
        return "refused: " + done.stderr.strip()

    ids = torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(2))
    module = sys.modules[type(model).__module__]
    names = [name for name in ("apply_rotary_pos_emb", "apply_rotary_emb", "apply_rotary_pos_emb_interleave") if hasattr(module, name)]
    with torch.no_grad():
        def logits(it):
            return it(ids, use_cache=False).logits

        before = logits(AutoModelForCausalLM.from_pretrained(folder / "before", attn_implementation="eager", dtype=torch.float32).eval())
        after_model = AutoModelForCausalLM.from_pretrained(folder / "after", attn_implementation="eager", dtype=torch.float32).eval()
        wrong = logits(after_model)
        originals = {name: getattr(module, name) for name in names}
        try:
            for name, function in originals.items():
                setattr(module, name, wrapped(function, kinds, to))
            after = logits(after_model)
        finally:
            for name, function in originals.items():
                setattr(module, name, function)
    scale = before.abs().max()
    off, unpatched = float((after - before).abs().max() / scale), float((wrong - before).abs().max() / scale)
    if unpatched < 1e-2:
        return f"blind: the model does not see its layout ({unpatched:.1e})"
    return "right" if off < 1e-4 else f"WRONG by {off:.1e} ({unpatched:.1e} without the wrapper)"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_model_computes_the_same(tmp_path, family):
    assert outcome(family, FAMILIES[family], tmp_path) == "right"


if __name__ == "__main__":
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    asked = dict(FAMILIES) | {name: {} for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in FAMILIES}
    for word, more in sorted(asked.items()):
        if len(sys.argv) > 1 and word not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as place:
            try:
                print(word, "|", outcome(word, copy.deepcopy(more), pathlib.Path(place)), flush=True)
            except Exception as error:  # noqa: BLE001: a model that cannot be made small says nothing about convert
                print(word, "| not built:", type(error).__name__, str(error).replace("\n", " ")[:150], flush=True)
