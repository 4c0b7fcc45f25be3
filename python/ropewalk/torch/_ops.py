"""The operators that torch knows, as programs of torch.compile and torch.export hold them:

    ropewalk::rotate(x, positions, first, rotary, layout, direction, is_key)
    ropewalk::rotate_qk(q, k, positions, first, rotary, layout, direction)
    ropewalk::apply_table(x, cos, sin, positions, first, layout, interleaved, transpose)
    ropewalk::apply_table_qk(q, k, cos, sin, positions, first, layout, interleaved, transpose)

positions: [tokens], [batch, tokens] or [axes, batch, tokens]; None: first, first + 1, ...
rotary: Rotary.text. Everything behind the tensors is positional, `first` first: register_sharding takes what follows the first whole
number, and nothing else, for part of a call's identity.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

import torch
from torch import Tensor

from ropewalk.torch import _expression
from ropewalk.torch._kernels import TRANSPOSED, has_kernel, like, rotary_of, turned, turned_by_table
from ropewalk.torch._positions import axes_of, refuse_gradient

LIBRARY = torch.library.Library("ropewalk", "DEF")

for _schema in (
    "rotate(Tensor x, Tensor? positions, SymInt first, str rotary, str layout='bshd', str direction='forward', bool is_key=False) -> Tensor",
    "rotate_qk(Tensor q, Tensor k, Tensor? positions, SymInt first, str rotary, str layout='bshd', str direction='forward') "
    "-> (Tensor, Tensor)",
    "apply_table(Tensor x, Tensor cos, Tensor sin, Tensor? positions, SymInt first=0, str layout='bshd', bool interleaved=False, "
    "bool transpose=False) -> Tensor",
    "apply_table_qk(Tensor q, Tensor k, Tensor cos, Tensor sin, Tensor? positions, SymInt first=0, str layout='bshd', "
    "bool interleaved=False, bool transpose=False) -> (Tensor, Tensor)",
):
    LIBRARY.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))

_Pair = Tuple[Tensor, Tensor]


def _contiguous(out: Any) -> Any:
    return out.contiguous() if isinstance(out, Tensor) else tuple(one.contiguous() for one in out)


# ---- kernels. Results have the strides that the fake ones say: those of `like`, or contiguous from the expression.


def _rotate(
    x: Tensor, positions: Optional[Tensor], first: int, rotary: str, layout: str = "bshd", direction: str = "forward",
    is_key: bool = False,
) -> Tensor:
    operator = rotary_of(rotary)
    out = turned(operator, x, None, positions, first if positions is None else None, None, layout, direction, is_key)
    return out if has_kernel(operator, x, direction, positions) else _contiguous(out)


def _rotate_qk(
    q: Tensor, k: Tensor, positions: Optional[Tensor], first: int, rotary: str, layout: str = "bshd", direction: str = "forward",
) -> _Pair:
    operator = rotary_of(rotary)
    out = turned(operator, q, k, positions, first if positions is None else None, None, layout, direction)
    return out if has_kernel(operator, q, direction, positions) else _contiguous(out)


def _apply_table(
    x: Tensor, cos: Tensor, sin: Tensor, positions: Optional[Tensor], first: int = 0, layout: str = "bshd",
    interleaved: bool = False, transpose: bool = False,
) -> Tensor:
    start = first if positions is None and cos.ndim == 2 else None
    out = turned_by_table(x, None, cos, sin, positions, start, None, layout, interleaved, transpose)
    return out if has_kernel(None, x, "forward") else _contiguous(out)


def _apply_table_qk(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Optional[Tensor], first: int = 0, layout: str = "bshd",
    interleaved: bool = False, transpose: bool = False,
) -> _Pair:
    start = first if positions is None and cos.ndim == 2 else None
    out = turned_by_table(q, k, cos, sin, positions, start, None, layout, interleaved, transpose)
    return out if has_kernel(None, q, "forward") else _contiguous(out)


for _name, _kernel in (
    ("rotate", _rotate), ("rotate_qk", _rotate_qk), ("apply_table", _apply_table), ("apply_table_qk", _apply_table_qk),
):
    LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")


def _fake_like(x: Tensor, by_kernel: bool) -> Tensor:
    return like(x) if by_kernel else torch.empty_like(x, memory_format=torch.contiguous_format)


def _fake_of(operator: Any, x: Tensor, direction: str, positions: Any = None) -> Tensor:
    return _fake_like(x, has_kernel(operator, x, direction, positions))


@torch.library.register_fake("ropewalk::rotate", lib=LIBRARY)
def _rotate_fake(x: Tensor, positions: Any, first: int, rotary: str, layout: str = "bshd", direction: str = "forward", *_: Any) -> Tensor:
    return _fake_of(rotary_of(rotary), x, direction, positions)


@torch.library.register_fake("ropewalk::rotate_qk", lib=LIBRARY)
def _rotate_qk_fake(
    q: Tensor, k: Tensor, positions: Any, first: int, rotary: str, layout: str = "bshd", direction: str = "forward",
) -> _Pair:
    operator = rotary_of(rotary)
    by_kernel = has_kernel(operator, q, direction, positions)  # for both, as above
    return _fake_like(q, by_kernel), _fake_like(k, by_kernel)


@torch.library.register_fake("ropewalk::apply_table", lib=LIBRARY)
def _apply_table_fake(x: Tensor, *_: Any) -> Tensor:
    return _fake_of(None, x, "forward")


@torch.library.register_fake("ropewalk::apply_table_qk", lib=LIBRARY)
def _apply_table_qk_fake(q: Tensor, k: Tensor, *_: Any) -> _Pair:
    return _fake_of(None, q, "forward"), _fake_of(None, k, "forward")


# ---- gradients: the transpose, by the same operators, so that a gradient has a gradient


def _keep_rotate(ctx: Any, inputs: Tuple[Any, ...], output: Any) -> None:
    positions, first, rotary, layout, direction = inputs[1 if isinstance(output, Tensor) else 2 :][:5]
    if positions is not None:
        refuse_gradient(positions)
    ctx.options = first, rotary, layout, TRANSPOSED[direction]
    ctx.is_key = isinstance(output, Tensor) and inputs[-1]
    ctx.save_for_backward(positions)
    ctx.set_materialize_grads(False)


def _rotate_backward(ctx: Any, grad: Optional[Tensor]) -> Tuple[Any, ...]:
    (positions,) = ctx.saved_tensors
    if grad is not None:
        grad = torch.ops.ropewalk.rotate(grad, positions, *ctx.options, ctx.is_key)
    return grad, *(None,) * 6


def _rotate_qk_backward(ctx: Any, grad_q: Optional[Tensor], grad_k: Optional[Tensor]) -> Tuple[Any, ...]:
    (positions,) = ctx.saved_tensors
    want_q, want_k = (ctx.needs_input_grad[i] and grad is not None for i, grad in enumerate((grad_q, grad_k)))
    out: Tuple[Optional[Tensor], ...] = (None, None)
    if want_q and want_k:
        out = torch.ops.ropewalk.rotate_qk(grad_q, grad_k, positions, *ctx.options)
    elif want_q:
        out = torch.ops.ropewalk.rotate(grad_q, positions, *ctx.options, False), None
    elif want_k:
        out = None, torch.ops.ropewalk.rotate(grad_k, positions, *ctx.options, True)
    return *out, *(None,) * 5


torch.library.register_autograd("ropewalk::rotate", _rotate_backward, setup_context=_keep_rotate, lib=LIBRARY)
torch.library.register_autograd("ropewalk::rotate_qk", _rotate_qk_backward, setup_context=_keep_rotate, lib=LIBRARY)


def gradient_of_table(
    inputs: Tuple[Tensor, ...], grads: Tuple[Optional[Tensor], ...], cos: Tensor, positions: Optional[Tensor], first: int, layout: str,
    interleaved: bool, transpose: bool,
) -> Tuple[Tensor, Tensor]:
    """What cos and sin receive: sums over heads, and over the tokens that read one row."""
    batch_axis, tokens_axis, heads_axis = axes_of(layout)
    total: Any = None
    for x, grad in zip(inputs, grads):
        if grad is None:
            continue
        kind = torch.promote_types(x.dtype, cos.dtype)
        pairs, width = cos.shape[-1], 2 * cos.shape[-1]

        def split(one: Tensor) -> _Pair:
            one = one[..., :width].to(kind)
            return one.unflatten(-1, (pairs, 2)).unbind(-1) if interleaved else one.chunk(2, -1)  # type: ignore[return-value]

        (x0, x1), (g0, g1) = split(x), split(grad)
        both = torch.stack((g0 * x0 + g1 * x1, g1 * x0 - g0 * x1)).sum(heads_axis + 1)  # [2, .., tokens, pairs]
        both = both.unsqueeze(1) if batch_axis is None else both.transpose(1, 2) if batch_axis == 1 else both
        total = both if total is None else total + both
    batch, tokens = total.shape[1], total.shape[2]
    if cos.ndim == 3:
        if cos.shape[0] == 1:
            total = total.sum(1, keepdim=True)
    else:
        if positions is None:
            positions = torch.arange(tokens, device=total.device) + first
        if positions.ndim == 3:
            positions = positions[0]
        rows = positions.long().expand(batch, tokens).reshape(-1)
        total = total.new_zeros(2, *cos.shape).index_add(1, rows, total.flatten(1, 2))
    total = total.to(cos.dtype)
    return total[0], -total[1] if transpose else total[1]


def _keep_table(ctx: Any, inputs: Tuple[Any, ...], output: Any) -> None:
    ctx.count = 1 if isinstance(output, Tensor) else 2
    cos, sin, positions, *ctx.options = inputs[ctx.count :]
    table_learns = cos.requires_grad or sin.requires_grad
    ctx.save_for_backward(cos, sin, positions, *(inputs[: ctx.count] if table_learns else ()))
    ctx.set_materialize_grads(False)


def _table_backward(ctx: Any, *grads: Optional[Tensor]) -> Tuple[Any, ...]:
    cos, sin, positions, *inputs = ctx.saved_tensors
    first, layout, interleaved, transpose = ctx.options
    back = first, layout, interleaved, not transpose
    count = ctx.count
    out: list[Optional[Tensor]] = [None] * count
    wanted = [i for i in range(count) if ctx.needs_input_grad[i] and grads[i] is not None]
    if len(wanted) == 2:
        out = list(torch.ops.ropewalk.apply_table_qk(*grads, cos, sin, positions, *back))
    else:
        for i in wanted:
            out[i] = torch.ops.ropewalk.apply_table(grads[i], cos, sin, positions, *back)
    of_table: Tuple[Optional[Tensor], Optional[Tensor]] = (None, None)
    if inputs and any(grad is not None for grad in grads):
        of_table = gradient_of_table(tuple(inputs), grads, cos, positions, *ctx.options)
    return *out, *(one if need else None for one, need in zip(of_table, ctx.needs_input_grad[count : count + 2])), *(None,) * 5


torch.library.register_autograd("ropewalk::apply_table", _table_backward, setup_context=_keep_table, lib=LIBRARY)
torch.library.register_autograd("ropewalk::apply_table_qk", _table_backward, setup_context=_keep_table, lib=LIBRARY)


# ---- vmap: one more axis of batch


def _fold(x: Tensor, dim: Optional[int], size: int, layout: str) -> Tensor:
    """The mapped axis into that of the batch; "thd" becomes "bshd"."""
    x = x.movedim(dim, 0) if dim is not None else x.unsqueeze(0).expand(size, *x.shape)
    batch = axes_of(layout)[0]
    if batch is None:
        return x
    return x.movedim(0, batch).flatten(batch, batch + 1)


def _unfold(x: Tensor, size: int, layout: str) -> Tensor:
    batch = axes_of(layout)[0]
    return x if batch is None else x.unflatten(batch, (size, -1)).movedim(batch, 0)


def _fold_positions(positions: Optional[Tensor], dim: Optional[int], size: int, batch: int) -> Optional[Tensor]:
    if positions is None or (dim is None and positions.ndim == 1):
        return positions
    p = positions.movedim(dim, 0) if dim is not None else positions.unsqueeze(0).expand(size, *positions.shape)
    if p.ndim == 4:
        p = p.movedim(1, 0)
        return p.expand(p.shape[0], size, batch, p.shape[-1]).flatten(1, 2)
    p = p.unsqueeze(1) if p.ndim == 2 else p
    return p.expand(size, batch, p.shape[-1]).flatten(0, 1)


def _batch_of(x: Tensor, dim: Optional[int], layout: str) -> int:
    axis = axes_of(layout)[0]
    if axis is None:
        return 1
    shape = list(x.shape)
    if dim is not None:
        del shape[dim]
    return shape[axis]


def _mapped(op: Callable[..., Any], count: int) -> Callable[..., Any]:
    def rule(info: Any, in_dims: Tuple[Any, ...], *args: Any) -> Any:
        size, tensors, dims = info.batch_size, args[:count], in_dims[:count]
        positions, first, rotary, layout, *rest = (*args[count:], *("bshd",)[: count + 4 - len(args)])
        folded = [_fold(x, dim, size, layout) for x, dim in zip(tensors, dims)]
        positions = _fold_positions(positions, in_dims[count], size, _batch_of(tensors[0], dims[0], layout))
        out = op(*folded, positions, first, rotary, "bshd" if layout == "thd" else layout, *rest)
        if count == 1:
            return _unfold(out, size, layout), 0
        return tuple(_unfold(one, size, layout) for one in out), (0, 0)

    return rule


def _mapped_table(op: Callable[..., Any], count: int) -> Callable[..., Any]:
    def rule(info: Any, in_dims: Tuple[Any, ...], *args: Any) -> Any:
        size, tensors, dims = info.batch_size, args[:count], in_dims[:count]
        first, layout, *rest = (*args[count + 3 :], *(0, "bshd")[max(0, len(args) - count - 3) :])
        batch = _batch_of(tensors[0], dims[0], layout)
        folded = [_fold(x, dim, size, layout) for x, dim in zip(tensors, dims)]
        cos, sin, positions = args[count : count + 3]
        cos_dim, sin_dim, positions_dim = in_dims[count : count + 3]
        by_token = cos.ndim - (cos_dim is not None) == 3
        if not by_token and cos_dim is None and sin_dim is None:
            positions = _fold_positions(positions, positions_dim, size, batch)
        else:
            tokens = folded[0].shape[axes_of("bshd" if layout == "thd" else layout)[1]]
            cos, sin = (_rows_for_each(table, dim, positions, positions_dim, size, batch, tokens, first, by_token)
                        for table, dim in ((cos, cos_dim), (sin, sin_dim)))
            positions, first = None, 0
        out = op(*folded, cos, sin, positions, first, "bshd" if layout == "thd" else layout, *rest)
        if count == 1:
            return _unfold(out, size, layout), 0
        return tuple(_unfold(one, size, layout) for one in out), (0, 0)

    return rule


def _rows_for_each(
    table: Tensor, dim: Optional[int], positions: Optional[Tensor], positions_dim: Optional[int], size: int, batch: int, tokens: int,
    first: int, by_token: bool,
) -> Tensor:
    """[size * batch, tokens, pairs]: the row that every token of every mapped call reads."""
    table = table.movedim(dim, 0) if dim is not None else table.unsqueeze(0).expand(size, *table.shape)
    if not by_token:
        if positions is None:
            positions, positions_dim = torch.arange(tokens, device=table.device) + first, None
        p = _fold_positions(positions, positions_dim, size, batch)
        assert p is not None
        p = p.expand(size * batch, tokens).reshape(size, batch * tokens, 1).long()
        table = table.gather(1, p.expand(-1, -1, table.shape[-1])).unflatten(1, (batch, tokens))
    return table.expand(size, batch, tokens, table.shape[-1]).flatten(0, 1)


torch.library.register_vmap("ropewalk::rotate", _mapped(torch.ops.ropewalk.rotate, 1), lib=LIBRARY)
torch.library.register_vmap("ropewalk::rotate_qk", _mapped(torch.ops.ropewalk.rotate_qk, 2), lib=LIBRARY)
torch.library.register_vmap("ropewalk::apply_table", _mapped_table(torch.ops.ropewalk.apply_table, 1), lib=LIBRARY)
torch.library.register_vmap("ropewalk::apply_table_qk", _mapped_table(torch.ops.ropewalk.apply_table_qk, 2), lib=LIBRARY)
