"""rotary-embedding-torch under `ropewalk conform`. It turns neighbours, on a ladder over `dim`, from `start_index` on.

    ropewalk conform --against 'python examples/conform/rotary_embedding_torch_adapter.py'

It reads no configs: what stands here is how a user would set it up by hand, for the models it can do. xPos it does for
whole sequences only, so that a whole one is handed over and the asked rows are read.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb

sys.path.insert(0, str(Path(__file__).resolve().parent))
from protocol import Unsupported, serve  # noqa: E402

torch.set_num_threads(1)
NEIGHBOURS = {"cohere", "ernie4_5", "helium", "roformer", "gptj", "codegen", "glm4", "moonshine"}


def xpos(request: dict) -> dict:
    config, length = request["config"], request["running_length"]
    rotary = RotaryEmbedding(dim=request["head_dim"], use_xpos=True, xpos_scale_base=config["xpos_scale_base"],
                             cache_if_possible=False)
    rows = torch.tensor(request["positions"][0])
    whole = torch.zeros(len(request["x"][0]), length, request["head_dim"])
    whole[:, rows] = torch.tensor(request["x"], dtype=torch.float32).transpose(0, 1)
    query, key = rotary.rotate_queries_and_keys(whole, whole.clone())
    y = query if request["operand"] == "query" else key
    return {"y": y[:, rows].detach().transpose(0, 1).tolist()}


def answer(request: dict) -> dict:
    config = request["config"]
    if config.get("xpos_rel_pos"):
        return xpos(request)
    if config.get("model_type") not in NEIGHBOURS:
        raise Unsupported("turns neighbours only, and knows models whose heads are laid out so")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise Unsupported("no scaling of this type")
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    fraction = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    width = config.get("rotary_dim") or int(request["head_dim"] * fraction)
    rotary = RotaryEmbedding(dim=width - width % 2, theta=theta, cache_if_possible=False)
    freqs = rotary.forward(torch.tensor(request["positions"][0], dtype=torch.float32))
    x = torch.tensor(request["x"], dtype=torch.float32).transpose(0, 1)  # [heads, tokens, head_dim]
    y = apply_rotary_emb(freqs, x)
    return {"y": y.detach().transpose(0, 1).tolist()}


if __name__ == "__main__":
    serve(answer)
