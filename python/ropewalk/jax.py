"""The operator under JAX: jit, grad, vmap and jvp, on CPU, through XLA's foreign function interface.

    >>> import jax, jax.numpy as jnp, ropewalk
    >>> from ropewalk.jax import rotate
    >>> rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=4, theta=10000.0))
    >>> q = jnp.ones((1, 2, 1, 4))  # [batch, tokens, heads, head_dim]
    >>> print(jax.jit(lambda q: rotate(rotary, q, position_ids=jnp.arange(2)))(q)[0, :, 0])
    [[ 1.          1.          1.          1.        ]
     [-0.30116868  0.9899502   1.3817732   1.0099498 ]]

Other devices are refused when the program is compiled: there is no kernel of ours for them yet.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Literal, Optional, Tuple, Union, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ropewalk import _core
from ropewalk._core import Error
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec

if not hasattr(_core, "jax_turn"):
    raise ImportError(
        "ropewalk.jax: this package was built without XLA's headers; install jax first and build with "
        "`pip install --no-build-isolation ropewalk`"
    )

_TARGET = "ropewalk_turn"
jax.ffi.register_ffi_target(_TARGET, _core.jax_turn(), platform="cpu")

_ORDERS = {"bshd": 0, "bhsd": 1, "sbhd": 2, "thd": 3}
_FORWARD, _INVERSE, _TRANSPOSE = 0, 1, 2  # Direction
_QUERY, _KEY = 1, 2  # Role

Layout = Literal["bshd", "bhsd", "sbhd", "thd"]


# Compiled programs name their operator; the process that traces one makes it known.
_operators: Dict[str, Rotary] = {}


def _key_of(rotary: Rotary) -> str:
    key = hashlib.sha256(f"{rotary.spec!r} {rotary.running_length}".encode()).hexdigest()
    if key not in _operators:
        _core.jax_register_operator(key, rotary)
        _operators[key] = rotary
    return key


# A primitive of its own, linear in x, for jax.custom_derivatives.linear_call knows no vmap and jax.custom_vjp no jvp.
_turn_p: Any = Primitive("ropewalk_turn")


def _call(x: jax.Array, positions: jax.Array, *, key: str, direction: int, order: int, role: int, outer: int) -> jax.Array:
    """x with `outer` axes before those of its order, and positions with as many."""
    call: Any = jax.ffi.ffi_call(_TARGET, ShapedArray(x.shape, x.dtype))
    numbers = {"direction": direction, "order": order, "role": role, "position_axes": positions.ndim - outer}
    turned: jax.Array = call(x, positions, key=key, **{name: np.int64(value) for name, value in numbers.items()})
    return turned


def _abstract(x: Any, positions: Any, **_: Any) -> Any:
    return ShapedArray(x.shape, x.dtype)


def _jvp(primals: Any, tangents: Any, **how: Any) -> Any:
    (x, positions), (dx, moved) = primals, tangents
    if not isinstance(moved, ad.Zero):
        raise Error("position_ids: want positions without derivative (jax.lax.stop_gradient), got some to differentiate by")
    turned = _turn_p.bind(x, positions, **how)
    return turned, dx if isinstance(dx, ad.Zero) else _turn_p.bind(dx, positions, **how)


def _transpose(ct: Any, x: Any, positions: Any, *, key: str, direction: int, **how: Any) -> Any:
    if isinstance(ct, ad.Zero):
        return ad.Zero(x.aval), None
    if direction != _INVERSE:
        back = _FORWARD if direction == _TRANSPOSE else _TRANSPOSE
        return _turn_p.bind(ct, positions, key=key, direction=back, **how), None
    # (R(-p) / m)^T = m R(p) / m^2, on the channels that turn.
    rotary = _operators[key]
    spec, m = rotary.spec, rotary.attention_factor
    scale = np.ones(spec.head_dim, np.float64)
    scale[spec.rotary_offset : spec.rotary_offset + spec.rotary_dim] = 1 / m**2
    return _turn_p.bind(ct * jnp.asarray(scale, ct.dtype), positions, key=key, direction=_FORWARD, **how), None


def _batch(arguments: Any, axes: Any, *, outer: int, **how: Any) -> Any:
    (size,) = {x.shape[axis] for x, axis in zip(arguments, axes) if axis is not None}
    x, positions = (
        jnp.broadcast_to(x[None], (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(arguments, axes)
    )
    return _turn_p.bind(x, positions, outer=outer + 1, **how), 0


_turn_p.def_impl(jax.jit(_call, static_argnames=("key", "direction", "order", "role", "outer")))
_turn_p.def_abstract_eval(_abstract)
mlir.register_lowering(_turn_p, mlir.lower_fun(_call, multiple_results=False))
ad.primitive_jvps[_turn_p] = _jvp
ad.primitive_transposes[_turn_p] = _transpose
batching.primitive_batchers[_turn_p] = _batch


def _as_array(numbers: Any, name: str, *, coordinates: bool = False) -> jax.Array:
    """On the device; what JAX would narrow to int32 without a word is refused where it can be seen."""
    if not isinstance(numbers, jax.Array):
        numbers = np.asarray(numbers)
        if numbers.size == 0 and numbers.dtype == np.float64:  # an empty list
            numbers = numbers.astype(np.int64)
        bits = jax.dtypes.canonicalize_dtype(np.int64).itemsize * 8
        ends = (numbers.min(initial=0), numbers.max(initial=0)) if numbers.dtype.kind in "iuO" else ()
        if any(not -(2 ** (bits - 1)) <= end < 2 ** (bits - 1) for end in ends):
            hint = " where jax_enable_x64 is not set" if bits == 32 else ""
            raise Error(f"{name}: want numbers of {bits} bits{hint}, got others")
    array = jnp.asarray(numbers)
    whole = jnp.issubdtype(array.dtype, jnp.integer)
    if not whole and not (coordinates and array.dtype in (jnp.float32, jnp.float64)):
        floats = ", or float64 or float32 for coordinates" if coordinates else ""
        raise Error(f"{name}: want whole numbers (int64, int32){floats}, got {array.dtype}")
    return array.astype(jnp.int32) if whole and array.dtype.itemsize < 4 else array


def _is_known(*arrays: Any) -> bool:
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def _positions_of(position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, x: jax.Array, layout: str, axes: int) -> jax.Array:
    batch_axis, tokens_axis = {"bshd": (0, 1), "bhsd": (0, 2), "sbhd": (1, 0), "thd": (None, 0)}[layout]
    tokens, batch = x.shape[tokens_axis], 1 if batch_axis is None else x.shape[batch_axis]
    if position_ids is not None:
        if seqlen_offsets is not None or cu_seqlens is not None:
            raise Error("position_ids: want one word for where tokens stand, got another beside it")
        positions = _as_array(position_ids, "position_ids", coordinates=True)
        if not 1 <= positions.ndim <= 3:
            raise Error(f"position_ids: want [tokens], [batch, tokens] or [axes, batch, tokens], got {list(positions.shape)}")
        if positions.ndim == 3 and positions.shape[0] != axes:
            raise Error(f"position_ids: want [{axes}, batch, tokens], got {list(positions.shape)}")
        return positions
    offsets = _as_array(0 if seqlen_offsets is None else seqlen_offsets, "seqlen_offsets")
    if cu_seqlens is None:
        if offsets.size not in (1, batch):
            raise Error(f"seqlen_offsets: want 1 entry or one a row ({batch}), got {offsets.size or 'none'}")
        if offsets.size > 0 and _is_known(offsets):
            last, bits = int(np.asarray(offsets).max()), offsets.dtype.itemsize * 8
            if last > 2 ** (bits - 1) - max(tokens, 1):
                hint = " (64 with jax_enable_x64)" if bits == 32 else ""
                raise Error(f"seqlen_offsets: want a last position of {bits} bits{hint}, got {last} and {tokens} tokens")
        return offsets.reshape(-1, 1) + jnp.arange(tokens, dtype=offsets.dtype)
    if layout != "thd":
        raise Error(f'cu_seqlens: want packed tokens (layout="thd"), got layout="{layout}"')
    ends = _as_array(cu_seqlens, "cu_seqlens").ravel()
    if _is_known(ends):
        counted: Any = _core.positions_from_cu_seqlens(np.asarray(ends))
        if len(counted) != tokens:
            raise Error(f"cu_seqlens: want it to end at {tokens}, the tokens there are, got {len(counted)}")
    row = jnp.arange(tokens, dtype=ends.dtype)
    sequence = jnp.searchsorted(ends, row, side="right") - 1
    return row - ends[sequence] + (offsets if offsets.ndim == 0 else offsets[sequence]).astype(ends.dtype)


@overload
def rotate(rotary: Union[Rotary, RotarySpec], q: jax.Array, k: None = None, *, position_ids: Any = None, seqlen_offsets: Any = None,
           cu_seqlens: Any = None, layout: Layout = "bshd", inverse: bool = False) -> jax.Array: ...  # fmt: skip
@overload
def rotate(rotary: Union[Rotary, RotarySpec], q: jax.Array, k: jax.Array, *, position_ids: Any = None, seqlen_offsets: Any = None,
           cu_seqlens: Any = None, layout: Layout = "bshd", inverse: bool = False) -> Tuple[jax.Array, jax.Array]: ...  # fmt: skip
def rotate(
    rotary: Union[Rotary, RotarySpec],
    q: jax.Array,
    k: Optional[jax.Array] = None,
    *,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: Layout = "bshd",
    inverse: bool = False,
) -> Union[jax.Array, Tuple[jax.Array, jax.Array]]:
    """Turns queries and keys; the result has their dtype (float32, bfloat16, float16). Linear in q and k, so that every derivative is
    exact: the gradient turns back, attention factor included.

    q, k: [batch, tokens, heads, head_dim] as `layout` says ("thd": [tokens, heads, head_dim]).
    position_ids: [tokens], [batch, tokens] or [axes, batch, tokens], int32 or int64; floats are coordinates. Or seqlen_offsets: a number or
        [batch]. Or cu_seqlens: [sequences + 1] over packed tokens. Nothing: 0, 1, 2, ...
    inverse: undo.
    JAX counts in int32 unless jax_enable_x64 is set: positions beyond 2^31 need it, and traced offsets that reach them wrap.
    Raises ropewalk.Error for what can be seen while tracing; jax.errors.JaxRuntimeError, with the same line, for the rest.
    """
    operator = Rotary(rotary) if isinstance(rotary, RotarySpec) else rotary
    if layout not in _ORDERS:
        raise Error(f'layout: want "bshd", "bhsd", "sbhd" or "thd", got "{layout}"')
    axes = 3 if layout == "thd" else 4
    operands = [(name, x, role) for name, x, role in (("q", q, _QUERY), ("k", k, _KEY)) if x is not None]
    for name, x, _ in operands:
        if x.ndim != axes:
            raise Error(f"{name}: want {axes} axes (layout says so), got {list(x.shape)}")
        if x.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
            raise Error(f"{name}: want float32, bfloat16 or float16, got {x.dtype}")
        if x.shape[-1] != operator.spec.head_dim:
            raise Error(f"{name}: want head_dim {operator.spec.head_dim}, got {x.shape[-1]}")
    if inverse and not operator.spec.is_rotation:
        raise Error("inverse: want a spec that is a rotation, got one that is not (second, xpos or fourier)")
    positions = _positions_of(position_ids, seqlen_offsets, cu_seqlens, q, layout, operator.spec.axes)
    how = {"key": _key_of(operator), "direction": _INVERSE if inverse else _FORWARD, "order": _ORDERS[layout], "outer": 0}
    turned = [_turn_p.bind(x, positions, role=role, **how) for _, x, role in operands]
    return turned[0] if len(turned) == 1 else (turned[0], turned[1])
