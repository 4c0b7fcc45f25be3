"""transformers under `ropewalk conform`: its own config classes, rotary modules and application functions.

    ropewalk conform --against 'python examples/conform/transformers_adapter.py'

No formula stands here. What a model does around its application function (which channels it hands over, which layers
turn at all) is asked of its attention module.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.configuration_auto import model_type_to_module_name

sys.path.insert(0, str(Path(__file__).resolve().parent))
import transformers_towers as towers  # noqa: E402
from protocol import Unsupported, serve  # noqa: E402

torch.set_num_threads(1)
LONGEST_TABLE = 2**17


def modeling_of(config):
    name = model_type_to_module_name(config.model_type)
    return importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def config_of(data: dict):
    if "gguf" in data:
        raise Unsupported("reads config.json, not GGUF")
    if data.get("model_type") not in CONFIG_MAPPING:
        raise Unsupported(f"has no model_type {data.get('model_type')}")
    try:
        return CONFIG_MAPPING[data["model_type"]].from_dict(copy.deepcopy(data))
    except Exception as error:
        raise Unsupported(f"its config class fails: {error}".splitlines()[0]) from error


def classes_of(module, pattern: str):
    return [c for n, c in vars(module).items()
            if inspect.isclass(c) and issubclass(c, torch.nn.Module) and re.search(pattern, n)]


def made_for(config, classes):
    """The class whose constructor names this config's class, or the first."""
    for c in classes:
        annotation = getattr(inspect.signature(c.__init__).parameters.get("config"), "annotation", "")
        if (annotation if isinstance(annotation, str) else annotation.__name__) == type(config).__name__:
            return c
    return classes[0] if classes else None


def rotary_module(config, module):
    every = classes_of(module, r"Rotary(Positional)?Emb")
    text = [c for c in every if not re.search(r"Vision|Audio|DiT", c.__name__)]
    cls = made_for(config, text or every)
    if cls is None:
        raise Unsupported("no rotary module")
    try:
        return cls(config)
    except Exception as error:
        raise Unsupported(f"its rotary module cannot be made: {type(error).__name__}: {error}".splitlines()[0]) from error


def turns(config, module, layer: int) -> bool:
    """Whether a layer turns its queries, asked of its attention module (made without memory)."""
    name = config.model_type
    if name == "muse_glimmer_text":  # its model hands such layers no position embeddings
        return config.layer_rope_theta[layer] != 0
    if name not in ("smollm3", "llama4_text", "cohere2", "exaone4"):
        return True
    cls = {"smollm3": "SmolLM3Attention", "llama4_text": "Llama4TextAttention", "cohere2": "Cohere2Attention",
           "exaone4": "Exaone4Attention"}[name]
    with torch.device("meta"):
        attention = getattr(module, cls)(config, layer)
    if hasattr(attention, "use_rope"):
        return bool(attention.use_rope)
    if hasattr(attention, "is_sliding"):
        return attention.sliding_window is None or attention.is_sliding
    return attention.sliding_window is not None


def table_of(config, module, request):
    """cos and sin as the model hands them to its application function, at the request's positions."""
    positions = torch.tensor(request["positions"])
    ids = positions[:1] if len(positions) == 1 else positions[:, None]
    rotary = rotary_module(config, module)
    if "alpha" in request.get("weights", {}):
        rotary.alpha.copy_(torch.tensor(request["weights"]["alpha"]))
    x = torch.zeros(1, 1, dtype=torch.float32)
    extra = ()
    if "layer_type" in inspect.signature(rotary.forward).parameters and not hasattr(rotary, "inv_freq"):
        types = getattr(config, "layer_types", None)
        extra = (types[request["layer"]] if types else request["kind"],)
        if config.model_type == "deepseek_v4":  # nested by rope type; a compressed entry stands where its window begins
            extra = (request["kind"].split()[0],)
            ids = ids * (4 if request["kind"].endswith("ratio 4") else 1)
    try:
        return rotary(x, ids, *extra), rotary
    except Exception as error:
        raise Unsupported(f"its rotary module fails: {type(error).__name__}: {error}".splitlines()[0]) from error


def from_a_table(config, module, request, x):
    """GPT-J, CodeGen and RoFormer look positions up in a table, which begins at 0 and ends."""
    ids = torch.tensor(request["positions"][0])
    if ids.min() < 0 or ids.max() >= LONGEST_TABLE:
        raise Unsupported(f"a table of positions from 0 to its end (asked up to {LONGEST_TABLE} only)")
    if config.model_type == "roformer":
        table = module.RoFormerSinusoidalPositionalEmbedding(int(ids.max()) + 1, x.shape[-1])
        weight = torch.nn.Parameter(table.create_weight()) if hasattr(table, "create_weight") else table.weight
        rows = weight[ids][None, None]
        apply = module.RoFormerSelfAttention.apply_rotary_position_embeddings
        return apply(rows, x.clone(), x.clone())[0].detach()
    width = config.rotary_dim or x.shape[-1]
    sin, cos = torch.split(module.create_sinusoidal_positions(int(ids.max()) + 1, width)[ids][None], width // 2, dim=-1)
    y = x.clone()
    y[..., :width] = module.apply_rotary_pos_emb(x[..., :width].transpose(1, 2), sin, cos).transpose(1, 2)
    return y


def applied(config, module, request, x, table):
    """x [1, heads, tokens, channels] through the model's own function."""
    if torch.is_tensor(table):  # one complex factor a pair
        if config.model_type == "llama4_text":
            turned = module.apply_rotary_emb(x.transpose(1, 2), x.transpose(1, 2), table)[0]
            return turned.transpose(1, 2)
        return module.apply_rotary_emb(x, x, table)[0]
    cos, sin = table
    if config.model_type == "deepseek_v4":
        return module.apply_rotary_pos_emb(x, cos, -sin if request["kind"].endswith("output") else sin)
    if hasattr(module, "apply_rotary_pos_emb_interleave") and getattr(config, "rope_interleave", True):
        halves = module.apply_rotary_pos_emb_interleave(x, x, cos, sin)[0]
        pairs = halves.shape[-1] // 2  # it writes halves where it read neighbours: put back where they came from
        return torch.stack([halves[..., :pairs], halves[..., pairs:]], dim=-1).flatten(-2)
    apply = getattr(module, "apply_rotary_pos_emb", None)
    if apply is None:
        raise Unsupported("no application function")
    names = list(inspect.signature(apply).parameters)
    attempts = [x.shape[-1]] + ([cos.shape[-1]] if cos.shape[-1] < x.shape[-1] else [])
    for width in attempts:
        part = x[..., :width]
        try:
            if names[:4] == ["q", "k", "cos", "sin"]:
                turned = apply(part, part, cos, sin)[0]
            elif names[:3] == ["x", "cos", "sin"]:
                turned = apply(part, cos, sin)
            else:
                break
        except RuntimeError:
            continue
        return torch.cat([turned, x[..., width:]], dim=-1)
    raise Unsupported("its application function has a signature of its own")


def softmax_multiplier(config, module):
    apply = getattr(module, "yarn_apply_mscale", None)
    return None if apply is None else float(apply(config.rope_parameters, 1.0))


def answer(request: dict) -> dict:
    config = config_of(request["config"])
    if not set(request.get("weights", {})) <= {"alpha", "projector"}:
        raise Unsupported("has no module with such weights")
    if "dual_chunk_attention_config" in request["config"]:
        raise Unsupported("no dual chunk attention")
    if towers.knows(config.model_type):
        with torch.no_grad():
            return {"y": towers.turned(config, request, torch.tensor(request["x"], dtype=torch.float32)).tolist()}
    module = modeling_of(config)
    x = torch.tensor(request["x"], dtype=torch.float32).transpose(0, 1)[None]  # [1, heads, tokens, head_dim]
    query = request["operand"] == "query"
    if not turns(config, module, request["layer"]):
        if query and getattr(config, "attn_temperature_tuning", False):
            raise Unsupported("its temperature is worked out inside the attention module")
        y = x
    elif config.model_type in ("gptj", "codegen", "roformer"):
        y = from_a_table(config, module, request, x)
    else:
        table, _ = table_of(config, module, request)
        width = getattr(config, "qk_rope_head_dim", None)
        if width and width < x.shape[-1] and config.model_type != "deepseek_v4":
            y = torch.cat([x[..., :-width], applied(config, module, request, x[..., -width:], table)], dim=-1)
        else:
            y = applied(config, module, request, x, table)
        scale = getattr(module, "get_llama_4_attn_scale", None)
        if scale is not None and query:
            rope = config.rope_parameters
            ids = torch.tensor(request["positions"][:1])
            y = y * scale(ids, rope["llama_4_scaling_beta"], rope["original_max_position_embeddings"]).view(1, 1, -1, 1)
    reply = {"y": y[0].transpose(0, 1).tolist()}
    multiplier = softmax_multiplier(config, module)
    if multiplier is not None:
        reply["softmax_scale_multiplier"] = multiplier
    return reply


if __name__ == "__main__":
    serve(answer)
