"""What users call, and the way each call takes: straight to the kernels, or through torch's dispatcher."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Optional, Tuple, Union, overload

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ropewalk import _core, text
from ropewalk._core import Error
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec
from ropewalk.torch import _cuda, _expression, _kernels
from ropewalk.torch import _ops as _ops  # registers the operators
from ropewalk.torch._kernels import TRANSPOSED, gradients_are_transformed
from ropewalk.torch._positions import axes_of, positions_of, refuse_gradient

Operator = Union[Rotary, RotarySpec]
Turned = Union[Tensor, Tuple[Tensor, Tensor]]

_grad_enabled = torch.is_grad_enabled
_is_tracing = torch._C._is_tracing
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_functorch_level = torch._C._functorch.peek_interpreter_stack
_is_legacy_batched = torch._C._functorch.is_legacy_batchedtensor  # those of autograd.grad(is_grads_batched=True)
_Parameter = torch.nn.Parameter


def _openmp() -> Optional[str]:
    """The OpenMP runtime in torch's own folder, if it brings one."""
    found = sorted((Path(torch.__file__).parent / "lib").glob("lib[gi]omp*"))
    return str(found[0]) if found else None


_core.ask_torch({
    "openmp": _openmp(),
    "Tensor": Tensor,
    "Parameter": _Parameter,
    "empty_like": torch.empty_like,
    "is_grad_enabled": torch.is_grad_enabled,
    "is_inference_mode_enabled": torch.is_inference_mode_enabled,
    "get_num_threads": torch.get_num_threads,
    "forward_ad": forward_ad,
    "counts": [_is_tracing, _dispatch_modes, _function_modes],
    "objects": [_functorch_level],
})
_turned_straight, _turn_straight = _core.turned_straight, _core.turn_straight
_increment_version = torch._C._increment_version
_is_compiling = torch.compiler.is_compiling


def _is_plain(x: Any) -> bool:
    kind = type(x)
    return (kind is Tensor or kind is _Parameter) and x.is_cpu and not x.is_neg() and not _is_legacy_batched(x)


def _has_kernels(x: Any) -> bool:
    """A tensor of torch's own class, whose memory holds what it says, on the CPU or where this build has kernels."""
    if _is_plain(x):
        return True
    kind = type(x)
    return _cuda.BUILT and (kind is Tensor or kind is _Parameter) and _cuda.is_here(x) and not x.is_neg() and not _is_legacy_batched(x)


def _nobody_listens() -> bool:
    """True if no mode, transform or tracer wants to see what torch is asked to do."""
    return not (
        _is_tracing() or _dispatch_modes() or _function_modes() or _functorch_level() is not None or forward_ad._current_level >= 0
    )


@functools.lru_cache(maxsize=256)
def _rotary_of_spec(spec: RotarySpec) -> Rotary:
    return Rotary(spec)


def _constant_text(spec: RotarySpec) -> str:
    return text.write(spec)


_constant_text._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as torch.compiler.assume_constant_result, without its import


class _Text:
    """What is left of an operator while torch traces."""

    def __init__(self, line: str) -> None:
        self.text = line


def _operator(rotary: Operator) -> Any:
    if isinstance(rotary, Rotary):
        return rotary
    if isinstance(rotary, RotarySpec):
        return _Text(_constant_text(rotary)) if torch.compiler.is_compiling() else _rotary_of_spec(rotary)
    raise Error(f"rotary: want a Rotary or a RotarySpec, got {type(rotary).__name__}")


# ---- straight: no dispatcher, but a history for autograd where it is wanted


class _Turn(torch.autograd.Function):
    """q and k by the kernels; k may be None."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Optional[Tensor], rotary: Rotary, where: Tuple[Any, ...], layout: str, direction: str,
                is_key: bool) -> Any:
        ctx.rotary, ctx.layout, ctx.direction, ctx.is_key = rotary, layout, TRANSPOSED[direction], is_key
        ctx.set_materialize_grads(False)
        kept = []
        for one in where:
            if isinstance(one, Tensor):
                refuse_gradient(one)
                kept.append(one)
        ctx.where = tuple(None if isinstance(one, Tensor) else one for one in where)
        ctx.which = tuple(i for i, one in enumerate(where) if isinstance(one, Tensor))
        ctx.save_for_backward(*kept)
        return _kernels.turned(rotary, q, k, *where, layout, direction, is_key)

    @staticmethod
    def backward(ctx: Any, *grads: Optional[Tensor]) -> Tuple[Any, ...]:
        where = list(ctx.where)
        for i, one in zip(ctx.which, ctx.saved_tensors):
            where[i] = one
        q, k = (*grads, None) if len(grads) == 1 else grads
        q = q if ctx.needs_input_grad[0] else None
        k = k if ctx.needs_input_grad[1] else None
        first, is_key = (q, ctx.is_key) if q is not None else (k, True)
        if first is None:
            return (None,) * 7
        turned = _turn(ctx.rotary, first, None if q is None else k, *where, ctx.layout, ctx.direction, is_key)
        if q is None:
            return None, turned, None, None, None, None, None
        return (turned, None, None, None, None, None, None) if k is None else (*turned, None, None, None, None, None)


def _turn(
    rotary: Rotary, q: Tensor, k: Optional[Tensor], position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    direction: str, is_key: bool = False,
) -> Any:
    if not torch.compiler.is_compiling():
        if _has_kernels(q) and (k is None or _has_kernels(k)) and _nobody_listens():
            if _grad_enabled() and (q.requires_grad or (k is not None and k.requires_grad)):
                return _Turn.apply(q, k, rotary, (position_ids, seqlen_offsets, cu_seqlens), layout, direction, is_key)
            return _kernels.turned(rotary, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key)
        if gradients_are_transformed():
            return _kernels.turned_by_expression(rotary.text, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key)
    elif _is_traced_as_expression(q, rotary.text, position_ids):
        return _kernels.turned_by_expression(rotary.text, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction, is_key)
    _refuse_devices(q, k=k)
    positions, first = _where(q, position_ids, seqlen_offsets, cu_seqlens, layout)
    if k is None:
        return torch.ops.ropewalk.rotate(q, positions, first, rotary.text, layout, direction, is_key)
    return torch.ops.ropewalk.rotate_qk(q, k, positions, first, rotary.text, layout, direction)


def turned(rotary: Rotary, x: Tensor, position_ids: Tensor, is_key: bool) -> Tensor:
    """One tensor, as queries or as keys."""
    return _turn(rotary, x, None, position_ids, None, None, "bshd", "forward", is_key)  # type: ignore[no-any-return]


# ---- through the dispatcher


def _is_traced_as_expression(x: Tensor, text: Optional[str] = None, positions: Any = None) -> bool:
    """Where there is no kernel a compiler makes a better one of the expression than the operator would run. text: None for a table."""
    if gradients_are_transformed():
        return True
    if not _kernels.is_elsewhere(x) or _is_dtensor(x):
        return False
    return text is None or not _cuda.serves(text, x, positions)


def _is_dtensor(x: Tensor) -> bool:
    if type(x) is Tensor or type(x) is _Parameter:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(x, DTensor)


def _refuse_devices(q: Tensor, **others: Optional[Tensor]) -> None:
    """A kernel on q's device, or a fake one, would answer for all of them."""
    for name, other in others.items():
        if other is not None and other.device != q.device:
            raise Error(f"{name}: want a tensor on {q.device}, as q is, got one on {other.device}")


def _refuse_same(name: str, one: Tensor, other: Tensor) -> None:
    if one is other:
        raise Error(f"{name}: want memory apart for q and k, got the same: it would be written twice")


def _where(x: Tensor, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str) -> Tuple[Optional[Tensor], int]:
    batch, tokens, _ = axes_of(layout)
    if x.ndim != (3 if layout == "thd" else 4):
        raise Error(f"q: want {3 if layout == 'thd' else 4} axes for layout {layout!r}, got {list(x.shape)}")
    rows = 1 if batch is None else x.shape[batch]
    if _is_dtensor(x):
        from ropewalk.torch import _sharding

        return _sharding.positions_of(x, position_ids, seqlen_offsets, cu_seqlens, x.shape[tokens], rows), 0
    return positions_of(position_ids, seqlen_offsets, cu_seqlens, x.shape[tokens], rows, x.device)


# ---- public


@overload
def rotate(rotary: Operator, q: Tensor, k: None = None, *, position_ids: Any = ..., seqlen_offsets: Any = ..., cu_seqlens: Any = ...,
           layout: str = ..., inverse: bool = ..., out: Optional[Tensor] = ...) -> Tensor: ...
@overload
def rotate(rotary: Operator, q: Tensor, k: Tensor, *, position_ids: Any = ..., seqlen_offsets: Any = ..., cu_seqlens: Any = ...,
           layout: str = ..., inverse: bool = ..., out: Optional[Tuple[Tensor, Tensor]] = ...) -> Tuple[Tensor, Tensor]: ...


def rotate(
    rotary: Operator,
    q: Tensor,
    k: Optional[Tensor] = None,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    inverse: bool = False,
    out: Any = None,
) -> Turned:
    """Turns queries, and keys if there are any, into new tensors. Differentiable any number of times.

    rotary: a Rotary, or a RotarySpec (which takes longer, for it is looked up by its value).
    q, k: [batch, tokens, heads, head_dim] as `layout` says (bshd, bhsd, sbhd; thd: [tokens, heads, head_dim]), any strides. Heads may
        differ. Float32, bfloat16 and float16 go to kernels on the CPU, and on CUDA in builds with them; all else to an expression of torch.
    position_ids: [tokens], [batch, tokens] or [axes, batch, tokens], whole numbers of any size and sign, or floats for coordinates.
        Or seqlen_offsets: a number or [batch]. Or cu_seqlens: [sequences + 1] over packed tokens ("thd"), with seqlen_offsets if they do
        not begin at 0. Nothing: 0, 1, 2, ...
    inverse: undo it: y = R(-p) x / attention_factor.
    out: where results go: a tensor like q, or (like q, like k). Not differentiable. Large results cost more time to allocate than to form.

    Returns tensors of the dtypes and shapes of q and k. Arithmetic is float32 (float64 for float64) under any autocast.
    Raises ropewalk.Error, by the argument's name. While torch traces, values cannot be looked at: shapes are checked and contents of
    cu_seqlens are not.

        >>> import torch, ropewalk
        >>> spec = ropewalk.RotarySpec(head_dim=4, theta=10000.0)
        >>> q = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
        >>> turned = rotate(spec, q, seqlen_offsets=3)
        >>> turned.flatten()
        tensor([-1.4134,  1.8791, -2.8289,  4.0582])
        >>> rotate(spec, turned, seqlen_offsets=3, inverse=True).flatten()
        tensor([1., 2., 3., 4.])
    """
    direction = "inverse" if inverse else "forward"
    if out is not None:
        return _rotate_into(_operator(rotary), q, k, out, position_ids, seqlen_offsets, cu_seqlens, layout, direction)
    if not _is_compiling() and type(rotary) is Rotary:
        turned = _turned_straight(rotary, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction)
        if turned is not None:
            return turned
    return _turn(_operator(rotary), q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction)


def _turn_on_device(
    rotary: Any, q: Tensor, k: Optional[Tensor], outs: Tuple[Tensor, ...], position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any,
    layout: str, direction: str,
) -> bool:
    """What _core.turn_straight does on the CPU, on a device of CUDA: into given tensors, if torch need not see it."""
    if not _cuda.BUILT or not isinstance(rotary, Rotary):
        return False
    ins = (q,) if k is None else (q, k)
    every = (*ins, *outs)
    if not all(_has_kernels(x) and (x.shape[-1:] == (1,) or x.stride()[-1:] == (1,)) for x in every) or not _nobody_listens():
        return False
    if _grad_enabled() and any(x.requires_grad for x in every):
        return False
    if any(out.shape != x.shape or out.dtype != x.dtype for x, out in zip(ins, outs)):
        return False
    if any(out.is_inference() != torch.is_inference_mode_enabled() for out in outs):
        return False
    if not _kernels.has_kernel(rotary, q, direction, position_ids):
        return False
    return _cuda.turn(rotary, q, k, outs[0], None if k is None else outs[1], position_ids, seqlen_offsets, cu_seqlens, layout, direction)


def _rotate_into(
    operator: Any, q: Tensor, k: Optional[Tensor], out: Any, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    direction: str,
) -> Any:
    outs = (out,) if k is None else tuple(out) if isinstance(out, (tuple, list)) else ()
    if len(outs) != (1 if k is None else 2):
        raise Error(f"out: want two tensors, for q and for k, got {type(out).__name__}")
    second = None if k is None else outs[1]
    if second is not None:
        _refuse_same("out", outs[0], second)
    if not _is_compiling() and _turn_straight(operator, q, k, outs[0], second, position_ids, seqlen_offsets, cu_seqlens, layout, direction):
        _increment_version(outs)
        return out
    if not _is_compiling() and _turn_on_device(operator, q, k, outs, position_ids, seqlen_offsets, cu_seqlens, layout, direction):
        _increment_version(outs)
        return out
    for x, one in zip((q, k), outs):
        if not isinstance(one, Tensor) or one.shape != x.shape or one.dtype != x.dtype:  # type: ignore[union-attr]
            got = f"{one.dtype} {list(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
            want = f"{x.dtype} {list(x.shape)}"  # type: ignore[union-attr]
            raise Error(f"out: want tensors of the shape and dtype of what is turned, {want}, got {got}")
    if _grad_enabled() and any(one is not None and one.requires_grad for one in (q, k, *outs)):
        raise Error("out: want tensors without gradient, for what is written there has no history")
    turned = _turn(operator, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction)
    for one, result in zip(outs, (turned,) if k is None else turned):
        one.copy_(result)
    return out


@overload
def rotate_(rotary: Operator, q: Tensor, k: None = None, *, position_ids: Any = ..., seqlen_offsets: Any = ..., cu_seqlens: Any = ...,
            layout: str = ..., inverse: bool = ...) -> Tensor: ...
@overload
def rotate_(rotary: Operator, q: Tensor, k: Tensor, *, position_ids: Any = ..., seqlen_offsets: Any = ..., cu_seqlens: Any = ...,
            layout: str = ..., inverse: bool = ...) -> Tuple[Tensor, Tensor]: ...


def rotate_(
    rotary: Operator,
    q: Tensor,
    k: Optional[Tensor] = None,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    inverse: bool = False,
) -> Turned:
    """`rotate` in place; gives q, or (q, k), back.

    Autograd sees a mutation as torch's own ones: refused for a leaf that requires a gradient, and for a tensor that a backward pass
    still needs.
    """
    operator, direction = _operator(rotary), "inverse" if inverse else "forward"
    if k is not None:
        _refuse_same("k", q, k)
    if not _is_compiling() and _turn_straight(operator, q, k, None, None, position_ids, seqlen_offsets, cu_seqlens, layout, direction):
        _increment_version((q,) if k is None else (q, k))
        return q if k is None else (q, k)
    both = (q,) if k is None else (q, k)
    if not _is_compiling() and _turn_on_device(operator, q, k, both, position_ids, seqlen_offsets, cu_seqlens, layout, direction):
        _increment_version(both)
        return q if k is None else both
    turned = _turn(operator, q, k, position_ids, seqlen_offsets, cu_seqlens, layout, direction)
    if k is None:
        return q.copy_(turned)
    return q.copy_(turned[0]), k.copy_(turned[1])


_KINDS_OF_WIDE_TABLES = (
    "one column for each pair is wanted: a table of transformers, in which every value stands twice, goes through from_hf_cos_sin; a "
    "cos_sin_cache of vLLM, cosines and sines side by side, through from_cos_sin_cache; else it is a table for wider heads"
)


def _check_table(x: Tensor, cos: Tensor, sin: Tensor, *where: Any) -> None:
    for name, table in (("cos", cos), ("sin", sin)):
        if not isinstance(table, Tensor):
            raise Error(f"{name}: want a tensor, got {type(table).__name__}")
        if table.dtype != torch.float32 and not (table.dtype == torch.float64 and x.dtype == torch.float64):
            raise Error(f"{name}: want float32 (a table in fewer bits has lost the far positions), got {table.dtype}")
        if table.ndim not in (2, 3):
            raise Error(f"{name}: want [max_pos, rotary_dim / 2] or [batch, tokens, rotary_dim / 2], got {list(table.shape)}")
    if cos.shape != sin.shape:
        raise Error(f"sin: want the shape of cos, {list(cos.shape)}, got {list(sin.shape)}")
    if cos.ndim == 3 and any(one is not None for one in where):
        raise Error(f"cos: want [max_pos, rotary_dim / 2] beside positions, got a row for each token, {list(cos.shape)}")
    pairs = cos.shape[-1]
    if 2 * pairs > x.shape[-1]:
        raise Error(f"cos: want at most {x.shape[-1] // 2} columns for heads of {x.shape[-1]}, got {pairs}: {_KINDS_OF_WIDE_TABLES}")


def _refuse_wide_table(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Where part of a head turns, the shape does not give a table of full width away; its last row does."""
    pairs = cos.shape[-1]
    if 2 * pairs == x.shape[-1] or pairs % 2 or cos.numel() == 0:
        return
    rows = torch.stack((cos.detach().flatten(0, -2)[-1], sin.detach().flatten(0, -2)[-1]))
    halves, twos = rows.chunk(2, -1), rows.unflatten(-1, (-1, 2)).unbind(-1)
    if rows[1].any() and (torch.equal(*halves) or torch.equal(*twos)):
        raise Error(f"cos: want {pairs // 2} columns, got {pairs} in which every value stands twice: {_KINDS_OF_WIDE_TABLES}")


class _TurnByTable(torch.autograd.Function):
    """As _Turn, for a table that does not learn."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Optional[Tensor], cos: Tensor, sin: Tensor, where: Tuple[Any, ...], layout: str,
                interleaved: bool, transpose: bool) -> Any:
        kept = [one for one in where if isinstance(one, Tensor)]
        ctx.where = tuple(None if isinstance(one, Tensor) else one for one in where)
        ctx.which = tuple(i for i, one in enumerate(where) if isinstance(one, Tensor))
        ctx.how = layout, interleaved, not transpose
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(cos, sin, *kept)
        return _kernels.turned_by_table(q, k, cos, sin, *where, layout, interleaved, transpose)

    @staticmethod
    def backward(ctx: Any, *grads: Optional[Tensor]) -> Tuple[Any, ...]:
        cos, sin, *kept = ctx.saved_tensors
        where = list(ctx.where)
        for i, one in zip(ctx.which, kept):
            where[i] = one
        wanted = [grad if ctx.needs_input_grad[i] else None for i, grad in enumerate(grads)]
        given = [grad for grad in wanted if grad is not None]
        out: list[Optional[Tensor]] = [None, None]
        if given:
            turned = _turn_by_table(given[0], given[1] if len(given) > 1 else None, cos, sin, *where, *ctx.how)
            turned = [turned] if len(given) == 1 else list(turned)
            for i, grad in enumerate(wanted):
                if grad is not None:
                    out[i] = turned.pop(0)
        return (*out, None, None, None, None, None, None)


def _turn_by_table(
    q: Tensor, k: Optional[Tensor], cos: Tensor, sin: Tensor, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, layout: str,
    interleaved: bool, transpose: bool,
) -> Any:
    where = position_ids, seqlen_offsets, cu_seqlens
    if not torch.compiler.is_compiling():
        plain = _is_plain(q) and (k is None or _is_plain(k)) and _is_plain(cos) and _is_plain(sin)
        if plain and _nobody_listens():
            learns = _grad_enabled() and (q.requires_grad or (k is not None and k.requires_grad))
            table_learns = _grad_enabled() and (cos.requires_grad or sin.requires_grad)
            if not table_learns:
                if learns:
                    return _TurnByTable.apply(q, k, cos, sin, where, layout, interleaved, transpose)
                return _kernels.turned_by_table(q, k, cos, sin, *where, layout, interleaved, transpose)
        elif gradients_are_transformed():
            return _kernels.turned_by_table_expression(q, k, cos, sin, *where, layout, interleaved, transpose)
    elif _is_traced_as_expression(q):
        return _kernels.turned_by_table_expression(q, k, cos, sin, *where, layout, interleaved, transpose)
    _refuse_devices(q, k=k, cos=cos, sin=sin)
    positions, first = (None, 0) if cos.ndim == 3 else _where(q, *where, layout)
    if _is_dtensor(q):
        from ropewalk.torch import _sharding

        cos, sin = _sharding.replicated(cos, q), _sharding.replicated(sin, q)
    if k is None:
        return torch.ops.ropewalk.apply_table(q, cos, sin, positions, first, layout, interleaved, transpose)
    return torch.ops.ropewalk.apply_table_qk(q, k, cos, sin, positions, first, layout, interleaved, transpose)


def apply_rotary_emb(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    interleaved: bool = False,
    inverse: bool = False,
) -> Tensor:
    """Turns x by a caller's cosines and sines. Differentiable in x, cos and sin.

    x: as q of `rotate`.
    cos, sin: float32 [max_pos, rotary_dim / 2], a row for each position, one column for each pair; or [batch, tokens, rotary_dim / 2]
        (batch may be 1), a row for each token, without positions beside it. The first rotary_dim channels of a head turn.
    position_ids, seqlen_offsets, cu_seqlens: as in `rotate`; every position is a row of the table, or an error.
    interleaved: False for pairs (i, i + rotary_dim / 2), True for pairs (2i, 2i + 1).
    inverse: turn by -sin. A gain within the table counts again: there is no telling it from the table.

    Raises ropewalk.Error, by the argument's name; for a table of full width it names what that might be.

        >>> import torch
        >>> angle = torch.arange(4.0).unsqueeze(1) * torch.tensor([1.0, 0.01])
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
        >>> apply_rotary_emb(x, angle.cos(), angle.sin(), position_ids=torch.tensor([3])).flatten()
        tensor([-1.4134,  1.8791, -2.8289,  4.0582])
    """
    _check_table(x, cos, sin, position_ids, seqlen_offsets, cu_seqlens)
    if not torch.compiler.is_compiling() and _is_plain(cos) and _nobody_listens():
        _refuse_wide_table(x, cos, sin)
    return _turn_by_table(x, None, cos, sin, position_ids, seqlen_offsets, cu_seqlens, layout, interleaved, inverse)


def apply_rotary_emb_qk(
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    interleaved: bool = False,
    inverse: bool = False,
) -> Tuple[Tensor, Tensor]:
    """`apply_rotary_emb` of queries and keys at once, whose heads and strides may differ."""
    _check_table(q, cos, sin, position_ids, seqlen_offsets, cu_seqlens)
    if not torch.compiler.is_compiling() and _is_plain(cos) and _nobody_listens():
        _refuse_wide_table(q, cos, sin)
    return _turn_by_table(q, k, cos, sin, position_ids, seqlen_offsets, cu_seqlens, layout, interleaved, inverse)
