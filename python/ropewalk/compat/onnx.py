"""ONNX's words: the node RotaryEmbedding of opset 23, run by torch, and written when torch exports."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from torch import Tensor

from ropewalk._core import Error
from ropewalk.torch import apply_rotary_emb


def rotary_embedding(
    x: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Optional[Tensor] = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """What the node computes (https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html).

    x: [batch, heads, tokens, head_size], or [batch, tokens, heads * head_size] with num_heads.
    cos_cache, sin_cache: [max_pos, rotary_dim / 2] with position_ids [batch, tokens], else [batch, tokens, rotary_dim / 2].
    rotary_embedding_dim: channels that turn; 0: all, which the width of the tables has to be.
    An id beyond the tables is refused, where onnxruntime passes x through.
    """
    if x.ndim == 3:
        if num_heads < 1 or x.shape[-1] % num_heads:
            raise Error(f"num_heads: want a divisor of {x.shape[-1]}, got {num_heads}")
        heads, layout = x.unflatten(-1, (num_heads, -1)), "bshd"
    else:
        heads, layout = x, "bhsd"
    width = rotary_embedding_dim or heads.shape[-1]
    if 2 * cos_cache.shape[-1] != width:
        raise Error(f"cos_cache: want {width // 2} columns, got {cos_cache.shape[-1]}")
    if (position_ids is None) != (cos_cache.ndim == 3):
        raise Error("position_ids: want them with tables of two axes, and none with three")
    turned = apply_rotary_emb(
        heads, cos_cache.float(), sin_cache.float(), position_ids=position_ids, layout=layout, interleaved=bool(interleaved)
    )
    return turned.flatten(-2) if x.ndim == 3 else turned


def translation_table() -> Dict[Callable[..., Any], Callable[..., Any]]:
    """For torch.onnx.export(..., dynamo=True, opset_version=23, custom_translation_table=translation_table()): every
    `apply_rotary_emb` and `apply_rotary_emb_qk` of ropewalk.torch with tables becomes the node.

    The node turns heads before tokens; other layouts are transposed around it. `rotate`, which forms its phases from positions of 64
    bits, has no node: export it with the tables of Rotary.cos_sin.
    """
    import onnxscript
    import torch

    op = onnxscript.values.Opset("", 23)
    perms = {"bshd": [0, 2, 1, 3], "sbhd": [1, 2, 0, 3]}
    backs = {"bshd": [0, 2, 1, 3], "sbhd": [2, 0, 1, 3]}

    def one(x: Any, cos: Any, sin: Any, positions: Any, first: Any, layout: str, interleaved: bool, transpose: bool) -> Any:
        if layout == "thd":
            raise Error('layout: want "bshd", "bhsd" or "sbhd" for ONNX, got "thd"')
        if transpose:
            sin = op.Neg(sin)
        if layout in perms:
            x = op.Transpose(x, perm=perms[layout])
        pairs = cos.shape[-1]
        options = {"interleaved": int(interleaved), "rotary_embedding_dim": 2 * int(pairs)}
        rank = len(cos.shape)
        if rank == 2:
            tokens = op.Shape(x, start=2, end=3)
            if positions is None:
                begin = op.Constant(value_int=int(first))
                positions = op.Range(begin, op.Add(begin, op.Squeeze(tokens)), op.Constant(value_int=1))
            batch = op.Shape(x, start=0, end=1)
            positions = op.Expand(op.Cast(positions, to=7), op.Concat(batch, tokens, axis=0))
            turned = op.RotaryEmbedding(x, cos, sin, positions, **options)
        else:
            shape = op.Concat(op.Shape(x, start=0, end=1), op.Shape(x, start=2, end=3), op.Constant(value_ints=[int(pairs)]), axis=0)
            turned = op.RotaryEmbedding(x, op.Expand(cos, shape), op.Expand(sin, shape), **options)
        return op.Transpose(turned, perm=backs[layout]) if layout in backs else turned

    def apply_table(
        x: Any, cos: Any, sin: Any, positions: Any, first: int = 0, layout: str = "bshd", interleaved: bool = False, transpose: bool = False
    ) -> Any:
        return one(x, cos, sin, positions, first, layout, interleaved, transpose)

    def apply_table_qk(
        q: Any,
        k: Any,
        cos: Any,
        sin: Any,
        positions: Any,
        first: int = 0,
        layout: str = "bshd",
        interleaved: bool = False,
        transpose: bool = False,
    ) -> Any:
        return tuple(one(x, cos, sin, positions, first, layout, interleaved, transpose) for x in (q, k))

    return {torch.ops.ropewalk.apply_table.default: apply_table, torch.ops.ropewalk.apply_table_qk.default: apply_table_qk}
