"""flash-attn's words: `interleaved=False` is halves, tables have one column a pair, an offset or `cu_seqlens` says where tokens stand."""

from __future__ import annotations

from typing import Any, Optional, Union

from torch import Tensor

from ropewalk._core import Error
from ropewalk.torch import apply_rotary_emb as apply_table


def apply_rotary_emb(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    interleaved: bool = False,
    inplace: bool = False,
    seqlen_offsets: Union[int, Tensor] = 0,
    cu_seqlens: Optional[Tensor] = None,
    max_seqlen: Optional[int] = None,
    *,
    conjugate: bool = False,
) -> Tensor:
    """As flash_attn.layers.rotary.apply_rotary_emb.

    x: [batch, tokens, heads, head_dim], or [total, heads, head_dim] with cu_seqlens.
    cos, sin: [max_pos, rotary_dim / 2]; the first rotary_dim channels turn.
    seqlen_offsets: a number or [batch]. max_seqlen: a hint there, unread here.
    inplace: writes to x and gives it back. conjugate: turn the other way (flash-attn's backward).
    """
    if (x.ndim == 3) != (cu_seqlens is not None):
        raise Error(f"x: want 4 axes, or 3 with cu_seqlens, got {list(x.shape)}")
    where: Any = {"cu_seqlens": cu_seqlens} if cu_seqlens is not None else {}
    if isinstance(seqlen_offsets, Tensor) or seqlen_offsets != 0 or not where:
        where["seqlen_offsets"] = seqlen_offsets
    turned = apply_table(
        x, cos.float(), sin.float(), layout="thd" if cu_seqlens is not None else "bshd", interleaved=interleaved, inverse=conjugate, **where
    )
    return x.copy_(turned) if inplace else turned
