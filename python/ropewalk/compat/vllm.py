"""vLLM's words: everything in place, `is_neox=True` is halves, one table with the cosines before the sines, ids first."""

from __future__ import annotations

from typing import Optional

from torch import Tensor

from ropewalk._core import Error
from ropewalk.torch import apply_rotary_emb, from_cos_sin_cache


def rotary_embedding(
    positions: Tensor,
    query: Tensor,
    key: Optional[Tensor],
    head_size: int,
    cos_sin_cache: Tensor,
    is_neox: bool,
    rope_dim_offset: int = 0,
    inverse: bool = False,
) -> None:
    """As torch.ops._C.rotary_embedding of vLLM: turns query and key in place.

    positions: [tokens] or [batch, tokens], rows of cos_sin_cache; one that is no row is refused, where vLLM reads beyond it.
    query, key: [..., heads * head_size] or [..., heads, head_size], with the axes of positions in front.
    cos_sin_cache: [max_position, rot_dim].
    rope_dim_offset: the first channel that turns.
    """
    cos, sin = from_cos_sin_cache(cos_sin_cache)
    turning = 2 * cos.shape[-1]
    if rope_dim_offset < 0 or rope_dim_offset + turning > head_size:
        raise Error(f"rope_dim_offset: want {turning} channels of {head_size} from it on, got {rope_dim_offset}")
    for name, x in (("query", query), ("key", key)):
        if x is None:
            continue
        outer = positions.ndim
        if x.shape[:outer] != positions.shape or x.ndim not in (outer + 1, outer + 2) or x.shape[outer:].numel() % head_size:
            raise Error(f"{name}: want {list(positions.shape)} tokens of whole heads of {head_size}, got {list(x.shape)}")
        heads = x if x.ndim == outer + 2 else x.unflatten(-1, (-1, head_size))
        part = heads[..., rope_dim_offset : rope_dim_offset + turning]
        layout = "thd" if outer == 1 else "bshd"
        part.copy_(apply_rotary_emb(part, cos, sin, position_ids=positions, layout=layout, interleaved=not is_neox, inverse=inverse))
