"""The kernels of the library on tensors of torch, below autograd, and the expression for what they do not serve."""

from __future__ import annotations

import functools
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ropewalk import _core
from ropewalk._core import Error
from ropewalk.rotary import Rotary
from ropewalk.torch import _cuda, _expression
from ropewalk.torch._positions import axes_of, positions_of

TRANSPOSED = {"forward": "transpose", "transpose": "forward", "inverse": "inverse_transpose", "inverse_transpose": "inverse"}
"""The direction of a direction's gradient. inverse_transpose is the inverse's: R(p) x / m."""

rotary_of = functools.lru_cache(maxsize=256)(Rotary.from_text)


def _a_transform_is_on() -> bool:
    stack = torch._C._functorch
    if stack.peek_interpreter_stack() is None:
        return False
    return any(level.key() != stack.TransformType.Vmap for level in stack.get_interpreter_stack())


_a_transform_is_on._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as torch.compiler.assume_constant_result


def gradients_are_transformed() -> bool:
    """Forward mode and torch.func's transforms are torch's own business: its operators have rules for all of them."""
    return _a_transform_is_on() or (not torch.compiler.is_compiling() and forward_ad._current_level >= 0)


def is_mapped() -> bool:
    """Whether torch.vmap, or another transform of torch.func, is on."""
    return torch._C._functorch.peek_interpreter_stack() is not None


is_mapped._dynamo_marked_constant = True  # type: ignore[attr-defined]


def refuse_tangents(operator: str, *tensors: Tensor) -> None:
    """For operators below autograd, where a tangent would be lost in silence."""
    if forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(one).tangent is not None for one in tensors):
        raise Error(f"{operator}: want tensors without tangents, for it has no forward mode, got one")


def like(x: Tensor) -> Tensor:
    """A tensor for the result of x: its strides where the channels of a head lie side by side, else contiguous."""
    if x.shape[-1] == 1 or x.stride(-1) == 1:
        out = torch.empty_like(x)
        if x.shape[-1] == 1 or out.stride(-1) == 1:
            return out
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def side_by_side(x: Tensor) -> Tensor:
    """x with the channels of a head in a row, copied if they do not lie so."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def is_elsewhere(x: Tensor) -> bool:
    """Where the kernels of the CPU do not reach."""
    return x.device.type not in ("cpu", "meta")


def has_kernel(rotary: Optional[Rotary], x: Tensor, direction: str, positions: Any = None) -> bool:
    """Whether a kernel turns x, or the expression. rotary: None for a table."""
    if is_elsewhere(x):
        if rotary is None or not _cuda.serves(rotary.text, x, positions):
            return False
    elif x.dtype == torch.float64:
        return False
    return direction != "inverse_transpose" or rotary is None or (rotary.attention_factor == 1.0 and rotary.spec.is_rotation)


def turned(
    rotary: Rotary, q: Tensor, k: Optional[Tensor], position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    direction: str, is_key: bool = False,
) -> Any:
    """New tensors. Gradients are not looked at."""
    threads = torch.get_num_threads()
    if q.is_cpu and not _cuda.is_here(q) and direction != "inverse_transpose":
        out = _core.turned_tensors(rotary, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key, threads)
        if out is not None:
            return out
    if not has_kernel(rotary, q, direction, position_ids):
        return turned_by_expression(rotary.text, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key)
    q_out, k_out = like(q), None if k is None else like(k)
    direction = "forward" if direction == "inverse_transpose" else direction
    q, k = side_by_side(q), None if k is None else side_by_side(k)
    if _cuda.is_here(q):
        if not _cuda.turn(rotary, q, k, q_out, k_out, position_ids, seqlen_offsets, cu_seqlens, layout, direction):
            turned_q = turned_by_expression(rotary.text, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key)
            for out, one in zip((q_out, k_out), (turned_q,) if k is None else turned_q):
                out.copy_(one)  # type: ignore[union-attr]
        return q_out if k is None else (q_out, k_out)
    _core.turn_tensors(rotary, q, k, q_out, k_out, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key, threads)
    return q_out if k is None else (q_out, k_out)


def turned_by_expression(
    text: str, q: Tensor, k: Optional[Tensor], position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    direction: str, is_key: bool,
) -> Any:
    batch, tokens, _ = axes_of(layout)
    positions, first = positions_of(
        position_ids, seqlen_offsets, cu_seqlens, q.shape[tokens], 1 if batch is None else q.shape[batch], q.device)
    numbers = _expression.numbers_of(text)
    turned_q = _expression.rotate(q, numbers, positions, first, layout, direction, "key" if is_key else "query")
    if k is None:
        return turned_q
    return turned_q, _expression.rotate(k, numbers, positions, first, layout, direction, "key")


def turned_by_table(
    q: Tensor, k: Optional[Tensor], cos: Tensor, sin: Tensor, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    interleaved: bool, transpose: bool,
) -> Any:
    """The same with a caller's table."""
    if not has_kernel(None, q, "forward"):
        return turned_by_table_expression(q, k, cos, sin, position_ids, seqlen_offsets, cu_seqlens, layout, interleaved, transpose)
    q_out, k_out = like(q), None if k is None else like(k)
    q, k = side_by_side(q), None if k is None else side_by_side(k)
    if not _evenly_spaced(cos) or cos.stride() != sin.stride():
        cos, sin = cos.contiguous(), sin.contiguous()
    _core.turn_tensors_by_table(q, k, cos, sin, q_out, k_out, position_ids, seqlen_offsets, cu_seqlens, layout, interleaved, transpose,
                                torch.get_num_threads())
    return q_out if k is None else (q_out, k_out)


def turned_by_table_expression(
    q: Tensor, k: Optional[Tensor], cos: Tensor, sin: Tensor, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    interleaved: bool, transpose: bool,
) -> Any:
    batch, tokens, _ = axes_of(layout)
    positions, first = positions_of(
        position_ids, seqlen_offsets, cu_seqlens, q.shape[tokens], 1 if batch is None else q.shape[batch], q.device)
    turned_q = _expression.apply_table(q, cos, sin, positions, first, layout, interleaved, transpose)
    if k is None:
        return turned_q
    return turned_q, _expression.apply_table(k, cos, sin, positions, first, layout, interleaved, transpose)


def _evenly_spaced(table: Tensor) -> bool:
    strides = table.stride()
    if strides[-1] != 1 and table.shape[-1] > 1:
        return False
    if len(strides) == 3 and table.shape[0] > 1 and strides[0] != strides[1] * table.shape[1]:
        return False
    return table.shape[-2] < 2 or strides[-2] >= table.shape[-1]
