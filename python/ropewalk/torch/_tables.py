"""Cosines and sines as others pass them, as apply_rotary_emb wants them: float32, one column a pair."""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor

from ropewalk._core import Error


def from_hf_cos_sin(cos: Tensor, sin: Tensor, *, interleaved: bool = False) -> Tuple[Tensor, Tensor]:
    """Halves of the width that transformers passes around, in which every value stands twice.

    cos, sin: [..., rotary_dim]. interleaved: False for cat(x, x), True for repeat_interleave(x, 2).
    Returns float32 [..., rotary_dim / 2]. Raises ropewalk.Error where the two of a pair differ.
    """
    halves = []
    for name, full in (("cos", cos), ("sin", sin)):
        if full.shape[-1] % 2:
            raise Error(f"{name}: want an even number of columns, got {list(full.shape)}")
        pairs = full.unflatten(-1, (-1, 2)) if interleaved else full.unflatten(-1, (2, -1)).transpose(-1, -2)
        if not torch.equal(pairs[..., 0], pairs[..., 1]):
            order = "repeat_interleave(x, 2)" if interleaved else "cat(x, x)"
            raise Error(f"{name}: want every value twice, as {order} lays them, got others")
        halves.append(pairs[..., 0].float().contiguous())
    return halves[0], halves[1]


def from_cos_sin_cache(cos_sin_cache: Tensor) -> Tuple[Tensor, Tensor]:
    """The two halves of the table of vLLM and FlashInfer: [max_pos, rotary_dim], cosines first.

    Returns float32 [max_pos, rotary_dim / 2] each.
    """
    if cos_sin_cache.ndim != 2 or cos_sin_cache.shape[-1] % 2:
        raise Error(f"cos_sin_cache: want [max_pos, rotary_dim], got {list(cos_sin_cache.shape)}")
    cos, sin = cos_sin_cache.float().chunk(2, dim=-1)
    return cos, sin
