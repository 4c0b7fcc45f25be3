"""What users call."""

from __future__ import annotations

import functools
from typing import Any, Optional, Tuple, Union, overload

import torch
from torch import Tensor

from ropewalk._core import Error
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec
from ropewalk.torch import _ops  # noqa: F401 (registers the operators)
from ropewalk.torch._positions import axes_of, positions_of


@functools.lru_cache(maxsize=256)
def _text_of_spec(spec: RotarySpec) -> str:
    return Rotary(spec).text


def text_of(rotary: Union[Rotary, RotarySpec, str]) -> str:
    if isinstance(rotary, Rotary):
        return rotary.text
    if isinstance(rotary, RotarySpec):
        return _text_of_spec(rotary)
    if isinstance(rotary, str):
        return rotary
    raise Error(f"rotary: want a Rotary or a RotarySpec, got {type(rotary).__name__}")


def _where(x: Tensor, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str) -> Tuple[Optional[Tensor], int]:
    batch, tokens, _ = axes_of(layout)
    if x.ndim != (3 if layout == "thd" else 4):
        raise Error(f"q: want {'3' if layout == 'thd' else '4'} axes for layout={layout!r}, got {list(x.shape)}")
    return positions_of(position_ids, seqlen_offsets, cu_seqlens, x.shape[tokens], 1 if batch is None else x.shape[batch], x.device)


@overload
def rotate(rotary: Union[Rotary, RotarySpec], q: Tensor, k: None = None, *, position_ids: Any = ..., seqlen_offsets: Any = ...,
           cu_seqlens: Any = ..., layout: str = ..., inverse: bool = ...) -> Tensor: ...
@overload
def rotate(rotary: Union[Rotary, RotarySpec], q: Tensor, k: Tensor, *, position_ids: Any = ..., seqlen_offsets: Any = ...,
           cu_seqlens: Any = ..., layout: str = ..., inverse: bool = ...) -> Tuple[Tensor, Tensor]: ...


def rotate(
    rotary: Union[Rotary, RotarySpec],
    q: Tensor,
    k: Optional[Tensor] = None,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    inverse: bool = False,
) -> Union[Tensor, Tuple[Tensor, Tensor]]:
    positions, first = _where(q, position_ids, seqlen_offsets, cu_seqlens, layout)
    direction = "inverse" if inverse else "forward"
    if k is None:
        return torch.ops.ropewalk.rotate(q, positions, text_of(rotary), first=first, layout=layout, direction=direction)
    return torch.ops.ropewalk.rotate_qk(q, k, positions, text_of(rotary), first=first, layout=layout, direction=direction)


def rotate_(
    rotary: Union[Rotary, RotarySpec],
    q: Tensor,
    k: Optional[Tensor] = None,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    inverse: bool = False,
) -> Union[Tensor, Tuple[Tensor, Tensor]]:
    turned = rotate(rotary, q, k, position_ids=position_ids, seqlen_offsets=seqlen_offsets, cu_seqlens=cu_seqlens, layout=layout, inverse=inverse)  # type: ignore[call-overload]
    if k is None:
        return q.copy_(turned)
    return q.copy_(turned[0]), k.copy_(turned[1])


def apply_rotary_emb(x: Tensor, cos: Tensor, sin: Tensor, *, position_ids: Any = None, seqlen_offsets: Any = None, cu_seqlens: Any = None,
                     layout: str = "bshd", interleaved: bool = False, inverse: bool = False) -> Tensor:
    positions, first = _where(x, position_ids, seqlen_offsets, cu_seqlens, layout)
    batch, tokens, heads = axes_of(layout)
    if cos.ndim == 2:
        if positions is None:
            positions = first + torch.arange(x.shape[tokens], device=x.device)
        cos, sin = cos[positions], sin[positions]
    if cos.ndim == 2:
        cos, sin = cos[None], sin[None]
    if layout == "thd":
        cos, sin = cos[0][:, None], sin[0][:, None]
    else:
        cos, sin = (one.unsqueeze(2) if layout == "bshd" else one.unsqueeze(1) if layout == "bhsd" else one.transpose(0, 1).unsqueeze(2)
                    for one in (cos, sin))
    if inverse:
        sin = -sin
    width = 2 * cos.shape[-1]
    turning, rest = x[..., :width], x[..., width:]
    parts = turning.float().unflatten(-1, (-1, 2)).unbind(-1) if interleaved else turning.float().chunk(2, -1)
    pair = parts[0] * cos - parts[1] * sin, parts[1] * cos + parts[0] * sin
    turned = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    return torch.cat((turned.to(x.dtype), rest), -1)


def apply_rotary_emb_qk(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, **options: Any) -> Tuple[Tensor, Tensor]:
    return apply_rotary_emb(q, cos, sin, **options), apply_rotary_emb(k, cos, sin, **options)
