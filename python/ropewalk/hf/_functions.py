"""The functions by which transformers' attention turns queries and keys, recognised by what they do.

No list of models: a function is run on random numbers, and taken over where one of the known ways gives the same.
"""

from __future__ import annotations

import functools
import inspect
import types
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Literal, Optional, Tuple

import torch
from torch import Tensor

from ropewalk.torch import apply_rotary_emb

Order = Literal["cat", "repeat", "plain"]
"""How a table of cosines is laid out for P pairs: cat(c, c), repeat_interleave(c, 2), or c itself."""

_PROBE_ERROR = 2e-5  # of random normal numbers; float32 products differ by a few 1e-7


@dataclass(frozen=True)
class Way:
    """What a function of transformers does with its tables.

    form: "pair" (q, k, cos, sin), "one" (x, cos, sin), "sin_first" (x, sin, cos) or "complex" (q, k, freqs_cis).
    order: of its tables. interleaved, out_interleaved: where pairs lie before and after. clockwise: turns by minus the angle.
    tail: the last channels turn and not the first. partial: takes heads wider than its tables.
    """

    form: str
    order: Order
    interleaved: bool
    out_interleaved: bool
    clockwise: bool = False
    tail: bool = False
    partial: bool = False


def pairs_of(table: Tensor, order: Order) -> Tensor:
    """One column a pair."""
    if order == "plain":
        return table
    return table[..., : table.shape[-1] // 2] if order == "cat" else table[..., ::2]


def laid_out(columns: Tensor, order: Order) -> Tensor:
    """pairs_of undone."""
    if order == "plain":
        return columns
    return torch.cat((columns, columns), dim=-1) if order == "cat" else columns.repeat_interleave(2, dim=-1)


def turn(x: Tensor, cos: Tensor, sin: Tensor, way: Way, heads_at: int) -> Tensor:
    """x by tables [batch or 1, tokens, pairs], in float32, rounded to x's dtype once.

    x: [batch, heads, tokens, head_dim] for heads_at 1, [batch, tokens, heads, head_dim] for 2.
    """
    width = 2 * cos.shape[-1]
    rest = None
    if way.tail and x.shape[-1] != width:
        rest, x = x[..., :-width], x[..., -width:]
    cos, sin = cos.float(), sin.float()
    if way.clockwise:
        sin = -sin
    if way.interleaved and not way.out_interleaved:
        x = torch.cat((x[..., 0:width:2], x[..., 1:width:2], x[..., width:]), dim=-1)
    interleaved = way.interleaved and way.out_interleaved
    if x.ndim == 4 and cos.ndim == 3 and cos.shape[0] in (1, x.shape[0]) and cos.shape[1] == x.shape[3 - heads_at]:
        y = apply_rotary_emb(x, cos, sin, layout="bhsd" if heads_at == 1 else "bshd", interleaved=interleaved)
    else:
        y = _broadcast(x, cos.unsqueeze(heads_at), sin.unsqueeze(heads_at), interleaved)
    return y if rest is None else torch.cat((rest, y), dim=-1)


def _broadcast(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """The same for tables of other shapes, which broadcast against x."""
    width = 2 * cos.shape[-1]
    part = x[..., :width].float()
    first, second = (part[..., 0::2], part[..., 1::2]) if interleaved else part.chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    y = torch.stack(turned, dim=-1).flatten(-2) if interleaved else torch.cat(turned, dim=-1)
    return torch.cat((y.to(x.dtype), x[..., width:]), dim=-1)


# ---- recognising ------------------------------------------------------------------------------------------------------


def form_of(function: Any) -> Optional[str]:
    """By the names of its parameters; None for what turns nothing, or a grid of pixels."""
    if not callable(function) or isinstance(function, type):
        return None
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None
    if names[2:4] == ["cos", "sin"]:
        return "pair"
    if names[1:3] == ["cos", "sin"]:
        return "one"
    if names == ["tensor", "sin", "cos"]:
        return "sin_first"
    return "complex" if names == ["xq", "xk", "freqs_cis"] else None


def _tables(order: Order, generator: torch.Generator) -> Tuple[Tensor, Tensor]:
    angles = torch.rand(2, 3, 4, generator=generator) * 6
    return laid_out(angles.cos() * 1.25, order), laid_out(angles.sin() * 1.25, order)


def _call(function: Callable[..., Any], form: str, x: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int) -> Tensor:
    if form == "pair":
        q, k = function(x, x[:, :1] if unsqueeze_dim == 1 else x[:, :, :1], cos, sin, unsqueeze_dim=unsqueeze_dim)
        return q
    if form == "one":
        return function(x, cos, sin, unsqueeze_dim=unsqueeze_dim)
    if form == "sin_first":
        return function(x, sin, cos)
    return function(x, x, torch.complex(cos, sin))[0]


_known: Dict[Any, Optional[Way]] = {}


def way_of(function: Any) -> Optional[Way]:
    """What a function does, or None: it turns nothing, or in a way that is not known."""
    form = form_of(function)
    if form is None or "vision" in getattr(function, "__name__", ""):
        return None
    if function not in _known:
        _known[function] = _recognised(function, form)
    return _known[function]


def _unsqueezed(form: str, function: Any) -> List[int]:
    """Axes that a function's tables are given for the heads."""
    if form in ("pair", "one"):
        return [1, 2] if "unsqueeze_dim" in inspect.signature(function).parameters else []
    return [2] if form == "sin_first" else [1, 2]


def _recognised(function: Any, form: str) -> Optional[Way]:
    generator = torch.Generator().manual_seed(5)
    orders: Tuple[Order, ...] = ("plain",) if form in ("sin_first", "complex") else ("cat", "repeat", "plain")
    for order in orders:
        cos, sin = _tables(order, generator)
        for interleaved, out_interleaved in ((False, False), (True, True), (True, False)):
            for clockwise in (False, True):
                way = Way(form, order, interleaved, out_interleaved, clockwise)
                if not _agrees(function, way, cos, sin, 8):
                    continue
                for tail in (False, True):
                    wide = Way(form, order, interleaved, out_interleaved, clockwise, tail, partial=True)
                    if _agrees(function, wide, cos, sin, 14):
                        return wide
                return way
    return None


def _agrees(function: Any, way: Way, cos: Tensor, sin: Tensor, width: int) -> bool:
    generator = torch.Generator().manual_seed(7)
    agreed = 0
    for dim in _unsqueezed(way.form, function):
        x = torch.randn((2, 5, 3, width) if dim == 1 else (2, 3, 5, width), generator=generator)
        try:
            theirs = _call(function, way.form, x, cos, sin, dim)
        except Exception:  # it wants other shapes: of the complex ones each takes one place for the heads
            if way.form == "complex":
                continue
            return False
        ours = turn(x, pairs_of(cos, way.order), pairs_of(sin, way.order), way, dim)
        if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=0, atol=_PROBE_ERROR):
            return False
        agreed += 1
    return agreed > 0


# ---- replacing --------------------------------------------------------------------------------------------------------


def replacement(function: Any) -> Callable[..., Any]:
    """A function with the same parameters that turns with this library's operator. way_of(function) must not be None."""
    way = way_of(function)
    assert way is not None
    if way.form == "pair":
        return _replaced_pair(function, way)
    if way.form == "one":
        return _replaced_one(function, way)
    if way.form == "sin_first":

        def apply_sin_first(tensor: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
            return turn(tensor, cos, sin, way, 2)

        return apply_sin_first

    dim = _complex_axis(function)

    def apply_complex(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> Tuple[Tensor, Tensor]:
        cos, sin = freqs_cis.real.contiguous(), freqs_cis.imag.contiguous()
        return turn(xq, cos, sin, way, dim), turn(xk, cos, sin, way, dim)

    return apply_complex


def _complex_axis(function: Any) -> int:
    """Where the heads stand in what a complex function takes."""
    table = torch.ones(1, 3, 4, dtype=torch.complex64)
    try:
        function(torch.zeros(1, 5, 3, 8), torch.zeros(1, 5, 3, 8), table)
    except RuntimeError:
        return 2
    return 1


def _fits(x: Tensor, columns: Tensor, way: Way) -> bool:
    return way.partial or x.shape[-1] == 2 * columns.shape[-1]


def _replaced_pair(function: Any, way: Way) -> Callable[..., Any]:
    def apply_rotary_pos_emb(q: Any, k: Any = None, cos: Any = None, sin: Any = None, *more: Any, **named: Any) -> Any:
        dim = named.get("unsqueeze_dim", 1)
        c, s = pairs_of(cos, way.order), pairs_of(sin, way.order)
        if more or not _fits(q, c, way):
            return function(q, k, cos, sin, *more, **named)
        if k is None:
            return turn(q, c, s, way, dim)
        return turn(q, c, s, way, dim), turn(k, c, s, way, dim)

    return apply_rotary_pos_emb


def _replaced_one(function: Any, way: Way) -> Callable[..., Any]:
    def apply_rotary_pos_emb(x: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Tensor:
        c, s = pairs_of(cos, way.order), pairs_of(sin, way.order)
        if not _fits(x, c, way):
            return function(x, cos, sin, unsqueeze_dim)
        return turn(x, c, s, way, unsqueeze_dim)

    return apply_rotary_pos_emb


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _turning(function: types.FunctionType) -> Dict[str, Any]:
    """{global name: function of a known way} that a function's code uses."""
    found = {}
    for name in _names_in(function.__code__):
        value = function.__globals__.get(name)
        if value is not None and way_of(value) is not None:
            found[name] = value
    return found


_globals: Dict[Tuple[int, Tuple[str, ...]], Dict[str, Any]] = {}


def rebound(function: Any, inside: Tuple[Any, ...] = ()) -> Optional[Any]:
    """The same function with its rotations replaced, decorators included; None if it has none."""
    if not isinstance(function, types.FunctionType) or function in inside:
        return None
    inside = (*inside, function)
    turning = _turning(function)
    cells = function.__closure__ or ()
    changed = False
    new_cells = []
    for cell in cells:
        try:
            inner = rebound(cell.cell_contents, inside)
        except ValueError:  # an empty cell
            inner = None
        changed = changed or inner is not None
        new_cells.append(cell if inner is None else types.CellType(inner))
    if not turning and not changed:
        return None
    scope = function.__globals__
    if turning:
        key = (id(scope), tuple(sorted(turning)))
        if key not in _globals:
            copied = {**scope, **{name: replacement(value) for name, value in turning.items()}}
            copied.pop("__name__", None)  # torch.compile would look for these names in the module of that name
            _globals[key] = copied
        scope = _globals[key]
    new = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, tuple(new_cells))
    new.__kwdefaults__ = function.__kwdefaults__
    new.__dict__.update({k: v for k, v in function.__dict__.items() if k != "__wrapped__"})
    new.__qualname__, new.__doc__, new.__module__ = function.__qualname__, function.__doc__, function.__module__
    new.__annotations__ = function.__annotations__
    wrapped = function.__dict__.get("__wrapped__")
    if wrapped is not None:
        new.__wrapped__ = rebound(wrapped, inside) or wrapped  # type: ignore[attr-defined]
    return new


@functools.lru_cache(maxsize=None)
def methods_that_turn(cls: type) -> Dict[str, Any]:
    """{method name: the same with its rotations replaced} of a class of modules."""
    found: Dict[str, Any] = {}
    seen = set()
    for base in cls.__mro__:
        if base is torch.nn.Module:
            break
        for name, member in vars(base).items():
            if name in seen:
                continue
            seen.add(name)
            new = rebound(member)
            if new is not None:
                found[name] = new
    return found


# ---- classes ----------------------------------------------------------------------------------------------------------

_classes: Dict[Tuple[type, str], type] = {}


def swapped(cls: type, members: Callable[[type], Dict[str, Any]], label: str) -> type:
    """A subclass with some members replaced, named as the original. One for each class; copies and pickles find it again."""
    key = (cls, label)
    if key not in _classes:
        body = dict(members(cls))
        body.update(
            __module__=cls.__module__, __qualname__=cls.__qualname__, __doc__=cls.__doc__, __reduce_ex__=_reduce, _ropewalk_of=key
        )
        _classes[key] = type(cls.__name__, (cls,), body)
    return _classes[key]


def _reduce(self: Any, protocol: Any) -> Tuple[Any, ...]:
    cls, label = type(self)._ropewalk_of
    return _revived, (cls, label), self.__dict__


def _revived(cls: type, label: str) -> Any:
    from ropewalk.hf import _install

    made = _install.CLASSES[label](cls)
    return made.__new__(made)


def attention_class(cls: type) -> Optional[type]:
    """A class of modules with its rotations replaced, or None: it has none that is known."""
    if (cls, "attention") in _classes or methods_that_turn(cls):
        return swapped(cls, methods_that_turn, "attention")
    return None
