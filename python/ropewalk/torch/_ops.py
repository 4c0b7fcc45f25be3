"""The operators that torch knows: ropewalk::rotate, rotate_qk, apply_table and apply_table_qk."""

from __future__ import annotations

import functools
from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from ropewalk.rotary import Rotary

LIBRARY = torch.library.Library("ropewalk", "DEF")
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_fixed_stride_order)
LIBRARY.define(
    "rotate(Tensor x, Tensor? positions, str rotary, *, SymInt first=0, str layout='bshd', str direction='forward', "
    "str role='query') -> Tensor",
    tags=_TAGS,
)
LIBRARY.define(
    "rotate_qk(Tensor q, Tensor k, Tensor? positions, str rotary, *, SymInt first=0, str layout='bshd', "
    "str direction='forward') -> (Tensor, Tensor)",
    tags=_TAGS,
)

TRANSPOSED = {"forward": "transpose", "transpose": "forward", "inverse": "inverse_transpose", "inverse_transpose": "inverse"}

rotary_of = functools.lru_cache(maxsize=256)(Rotary.from_text)

_METHODS = {"forward": "apply", "transpose": "transpose", "inverse": "inverse"}


def _side_by_side(x: Tensor) -> Tensor:
    x = x.detach()
    return x if x.stride(-1) == 1 or x.shape[-1] < 2 else x.contiguous()


def _call(rotary: Rotary, direction: str, q: Tensor, k: Optional[Tensor], positions: Optional[Tensor], first: int, layout: str) -> Any:
    where = {"seqlen_offsets": first} if positions is None else {"position_ids": positions.detach()}
    q, k = _side_by_side(q), None if k is None else _side_by_side(k)
    if direction == "inverse_transpose":
        m2 = rotary.attention_factor**2
        out = rotary.apply(q, k, layout=layout, **where)
        return out / m2 if k is None else tuple(one / m2 for one in out)
    return getattr(rotary, _METHODS[direction])(q, k, layout=layout, **where)


@torch.library.impl(LIBRARY, "rotate", "CPU")
def _rotate_cpu(
    x: Tensor, positions: Optional[Tensor], rotary: str, *, first: int = 0, layout: str = "bshd", direction: str = "forward",
    role: str = "query",
) -> Tensor:
    return _call(rotary_of(rotary), direction, x, None, positions, first, layout)


@torch.library.impl(LIBRARY, "rotate_qk", "CPU")
def _rotate_qk_cpu(
    q: Tensor, k: Tensor, positions: Optional[Tensor], rotary: str, *, first: int = 0, layout: str = "bshd", direction: str = "forward",
) -> Tuple[Tensor, Tensor]:
    return _call(rotary_of(rotary), direction, q, k, positions, first, layout)


@torch.library.register_fake("ropewalk::rotate", lib=LIBRARY)
def _rotate_fake(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.empty_like(x)


@torch.library.register_fake("ropewalk::rotate_qk", lib=LIBRARY)
def _rotate_qk_fake(q: Tensor, k: Tensor, *_: Any, **__: Any) -> Tuple[Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k)


def _keep(ctx: Any, inputs: Tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: Any) -> None:
    tensors = len(inputs) - 2
    positions, ctx.rotary = inputs[tensors], inputs[tensors + 1]
    ctx.options = dict(keyword_only_inputs)
    ctx.options["direction"] = TRANSPOSED[ctx.options["direction"]]
    ctx.save_for_backward(positions)


def _rotate_backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
    (positions,) = ctx.saved_tensors
    return torch.ops.ropewalk.rotate(grad, positions, ctx.rotary, **ctx.options), None, None


def _rotate_qk_backward(ctx: Any, grad_q: Optional[Tensor], grad_k: Optional[Tensor]) -> Tuple[Any, ...]:
    (positions,) = ctx.saved_tensors
    if ctx.needs_input_grad[0] and ctx.needs_input_grad[1]:
        return *torch.ops.ropewalk.rotate_qk(grad_q, grad_k, positions, ctx.rotary, **ctx.options), None, None
    grads: list[Any] = [None, None]
    for i, (grad, role) in enumerate(((grad_q, "query"), (grad_k, "key"))):
        if ctx.needs_input_grad[i]:
            grads[i] = torch.ops.ropewalk.rotate(grad, positions, ctx.rotary, role=role, **ctx.options)
    return *grads, None, None


torch.library.register_autograd("ropewalk::rotate", _rotate_backward, setup_context=_keep, lib=LIBRARY)
torch.library.register_autograd("ropewalk::rotate_qk", _rotate_qk_backward, setup_context=_keep, lib=LIBRARY)
