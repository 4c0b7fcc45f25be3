"""onnxruntime's RotaryEmbedding node (opset 23) under `ropewalk conform`.

    ropewalk conform --against 'python examples/conform/onnxruntime_adapter.py'

The node turns what its caches say; the caches are made by whoever exports a model. They are made here as exporters do,
in float32 from inv_freq, for encodings without scaling: what is tried is the node, in both layouts and in partial width.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parent))
from protocol import Unsupported, serve  # noqa: E402

INTERLEAVED = {"llama": 0, "qwen2": 0, "eurobert": 0, "gpt_neox": 0, "phi": 0, "stablelm": 0, "glm4_moe": 0,
               "cohere": 1, "ernie4_5": 1, "helium": 1, "gptj": 1, "codegen": 1, "glm4": 1, "moonshine": 1}


def session_of(interleaved: int, width: int):
    """One node. Its cos and sin caches are inputs, [positions, width / 2]; `width` 0 turns the whole head."""
    node = helper.make_node("RotaryEmbedding", ["x", "cos", "sin", "ids"], ["y"], interleaved=interleaved,
                            rotary_embedding_dim=width)
    free = [None] * 4
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, free),
              helper.make_tensor_value_info("cos", TensorProto.FLOAT, [None, None]),
              helper.make_tensor_value_info("sin", TensorProto.FLOAT, [None, None]),
              helper.make_tensor_value_info("ids", TensorProto.INT64, [None, None])]
    graph = helper.make_graph([node], "rotary", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, free)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answer(request: dict) -> dict:
    config = request["config"]
    interleaved = INTERLEAVED.get(config.get("model_type"))
    if interleaved is None or "dual_chunk_attention_config" in config:
        raise Unsupported("a node, not a reader of configs: only plain models were set up by hand")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise Unsupported("its caches would have to be scaled by the exporter")
    theta = rope.get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000.0)))
    fraction = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", config.get("rotary_pct", 1.0)))
    head_dim = request["head_dim"]
    width = config.get("rotary_dim") or int(head_dim * fraction)
    width -= width % 2
    inv_freq = (1.0 / theta ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))).astype(np.float32)
    angles = np.array(request["positions"][0], dtype=np.float32)[:, None] * inv_freq  # a row for every token asked
    x = np.array(request["x"], dtype=np.float32).transpose(1, 0, 2)[None]  # [1, heads, tokens, head_dim]
    ids = np.arange(x.shape[2], dtype=np.int64)[None]
    session = session_of(interleaved, width if width < head_dim else 0)
    (y,) = session.run(None, {"x": x, "cos": np.cos(angles), "sin": np.sin(angles), "ids": ids})
    return {"y": y[0].transpose(1, 0, 2).tolist()}


if __name__ == "__main__":
    serve(answer)
