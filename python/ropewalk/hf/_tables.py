"""Cosines and sines of transformers' rotary modules, formed by this library's operator at exact phases."""

from __future__ import annotations

import copy
import inspect
import re
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from ropewalk._core import CheckpointPositions, Error, fingerprint
from ropewalk.checkpoint import read_positions
from ropewalk.hf._functions import Order, laid_out, swapped
from ropewalk.rotary import Rotary
from ropewalk.spec import DynamicNtkScaling, LongRopeScaling, RotarySpec
from ropewalk.torch import rotate

ROTARY_NAME = re.compile(r"Rotary|RoPE|Rope")


def length_dependent(spec: RotarySpec) -> bool:
    """True if frequencies or amplitude move with the running length."""
    scaling = spec.scaling
    return (isinstance(scaling, DynamicNtkScaling) and scaling.growth == "running_length") or (
        isinstance(scaling, LongRopeScaling) and scaling.policy == "by_length"
    )


def table_spec(spec: RotarySpec) -> RotarySpec:
    """The same angles without a word on where pairs lie: the attention's function knows."""
    return replace(
        spec, head_dim=spec.rotary_dim, rotary_offset=0, interleaved=False, output_interleaved=None, pair_blocks=(), query_temperature=None
    )


@dataclass
class KindTables:
    """The tables of one kind of layers.

    order, complex: how transformers lays them out. dtype_of_x: rounds them to the dtype of x. sin_sign: -1 for a module that
    hands out the sines of minus the angle.
    """

    name: str
    spec: RotarySpec
    order: Order
    is_complex: bool
    dtype_of_x: bool
    sin_sign: int
    probe: Dict[str, Any]
    layers: Tuple[int, ...] = ()
    _rotaries: Dict[int, Rotary] = field(default_factory=dict)

    def rotary(self, running_length: int) -> Rotary:
        """The operator at a running length (0 where it does not matter)."""
        made = self._rotaries.get(running_length)
        if made is None:
            if len(self._rotaries) > 64:
                self._rotaries.clear()
            made = self._rotaries[running_length] = Rotary(table_spec(self.spec), running_length)
        return made

    def columns(self, position_ids: Tensor, running_length: int) -> Tuple[Tensor, Tensor]:
        """cos, sin: float32 [batch, tokens, pairs] on the device of position_ids ([batch, tokens] or [axes, batch, tokens])."""
        return columns_of(self.rotary(running_length), self.spec, position_ids)

    def handed_out(self, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Any:
        """As transformers' own module hands them out."""
        if self.sin_sign < 0:
            sin = -sin
        if self.is_complex:
            return torch.complex(cos, sin)
        cos, sin = laid_out(cos, self.order), laid_out(sin, self.order)
        return (cos.to(dtype), sin.to(dtype)) if self.dtype_of_x else (cos, sin)


def columns_of(rotary: Rotary, spec: RotarySpec, position_ids: Tensor) -> Tuple[Tensor, Tensor]:
    """Float32 [batch, tokens, pairs] of cosines and sines: what the operator makes of the pairs (1, 0), to the bit.

    spec: as the operator's own, which torch.compile cannot ask for it.
    """
    if position_ids.ndim == 3 and spec.axes == 1:
        position_ids = position_ids[0]
    elif position_ids.ndim == 2 and spec.axes > 1:
        position_ids = position_ids.expand(spec.axes, -1, -1)
    batch, tokens = position_ids.shape[-2:]
    unit = torch.zeros(batch, tokens, 1, spec.rotary_dim, device=position_ids.device)
    unit[..., : spec.pairs] = 1.0
    cos, sin = rotate(rotary, unit, position_ids=position_ids)[:, :, 0].chunk(2, dim=-1)
    return cos, sin


class Tables:
    """What a rotary module of one model is given instead of its own arithmetic."""

    def __init__(self, path: str, kinds: Dict[Optional[str], KindTables]) -> None:
        self.path = path
        self.kinds = kinds
        self.growth: Any = None  # of _cache.py, where a kind moves with the length
        self.keeps_float32 = False  # every reader of the tables is ours, and takes them whole

    def __call__(self, x: Tensor, position_ids: Tensor, layer_type: Optional[str]) -> Any:
        tables = self.kinds.get(layer_type, self.kinds.get(None))
        if tables is None:
            raise Error(f"{self.path}: want one of {', '.join(map(str, self.kinds))}, got layer_type {layer_type!r}")
        running = 0
        if length_dependent(tables.spec):
            running = self.growth.running_length(tables, position_ids) if self.growth else int(position_ids.max()) + 1
        cos, sin = tables.columns(position_ids, running)
        device = x.device
        return tables.handed_out(cos.to(device), sin.to(device), torch.float32 if self.keeps_float32 else x.dtype)


def _forward(self: Any, x: Tensor, position_ids: Any = None, layer_type: Optional[str] = None, **named: Any) -> Any:
    with torch.no_grad():
        return self._ropewalk(x, position_ids, layer_type)


def rotary_class(cls: type) -> type:
    """A class of rotary modules whose instances hand out the tables of their attribute _ropewalk."""
    return swapped(cls, lambda _: {"forward": _forward}, "rotary")


# ---- finding and probing ----------------------------------------------------------------------------------------------


def is_rotary_module(module: torch.nn.Module) -> bool:
    """A module of transformers that makes the cosines of text."""
    cls = type(module)
    if not ROTARY_NAME.search(cls.__name__) or "Vision" in cls.__name__:
        return False
    names = list(inspect.signature(cls.forward).parameters)
    return names[1:3] == ["x", "position_ids"] and any(name.endswith("inv_freq") for name, _ in module.named_buffers(recurse=False))


def kinds_of_module(module: torch.nn.Module, positions: CheckpointPositions, path: str) -> Dict[Optional[str], Any]:
    """{layer_type that its forward is called with: LayerKind}; None where it is called with none."""
    rotating = [kind for kind in positions.kinds if kind.spec is not None]
    named = [kind for kind in rotating if hasattr(module, f"{kind.name}_inv_freq")]
    if named:
        return {kind.name: kind for kind in named}
    if not rotating:
        raise Error(f"{path}: want layers that rotate, got a config of {positions.model_type} that says none does")
    if len({kind.spec for kind in rotating}) > 1:
        raise Error(f"{path}: want one kind of rotation for a module without layer types, got {', '.join(k.name for k in rotating)}")
    return {None: rotating[0]}


def _probe_positions(spec: RotarySpec, trained: int) -> List[Tensor]:
    near = sorted({0, 1, 2, 3, 5, 8, 13, 100, 511} & set(range(max(trained, 16))))
    rows = [torch.tensor([near])]
    if length_dependent(spec):
        context = spec.scaling.trained_context  # type: ignore[union-attr]
        rows = [torch.tensor([[p for p in near if p < context]])]
        rows.append(torch.tensor([[*near, context + context // 2]]))
    if spec.axes > 1:  # a stream each, so that none can stand for another
        rows = [torch.stack([row, row * 2 % (row.max() + 1), row.flip(-1)][: spec.axes]) for row in rows] if spec.axes <= 3 else rows
    return rows


def _bound(spec: RotarySpec, position: Tensor, factor: float) -> Tensor:
    """What float32 phases may differ by: the frequency is off by 2 roundings, the phase by one, cosine and sine by one."""
    return factor * (4e-7 + position.abs().double() * abs(spec.position_scale) * 3.0e-7)


def probed(path: str, module: torch.nn.Module, layer_type: Optional[str], kind: Any, trained: int) -> KindTables:
    """Compares a module's own tables with ours, at positions near and far. Raises Error where they differ."""
    original = copy.deepcopy(module)  # dynamic types change their buffers as they are asked
    named = {} if layer_type is None else {"layer_type": layer_type}
    spec: RotarySpec = kind.spec
    device = next((b.device for b in module.buffers()), torch.device("cpu"))
    if device.type == "meta":
        raise Error(f"{path}: want a model that is loaded, got one on the meta device")
    found: Optional[KindTables] = None
    worst, farthest = 0.0, 0
    for position_ids in _probe_positions(spec, trained):
        position_ids = position_ids.to(device)
        running = int(position_ids.max()) + 1 if length_dependent(spec) else 0
        rotary = Rotary(table_spec(spec), running)
        ours = columns_of(rotary, spec, position_ids)
        with torch.no_grad():
            theirs = original(torch.zeros(1, 1, device=device), position_ids, **named)
            in_half = original(torch.zeros(1, 1, device=device, dtype=torch.bfloat16), position_ids, **named)
        form = _form_of(theirs, ours)
        if form is None:
            shapes = list(theirs.shape) if isinstance(theirs, Tensor) else [list(t.shape) for t in theirs]
            raise Error(f"{path}: want tables of {ours[0].shape[-1]} pairs, got {shapes}")
        order, is_complex = form
        made = KindTables(
            kind.name, spec, order, is_complex, not is_complex and in_half[0].dtype == torch.bfloat16, 1, {}, tuple(kind.layers)
        )
        far = position_ids.abs().amax(0) if position_ids.ndim == 3 else position_ids.abs()
        bound = _bound(spec, far, max(1.0, rotary.attention_factor))[..., None]
        errors = {}
        for sign in (1, -1):
            made.sin_sign = sign
            mine = made.handed_out(*ours, torch.float32)
            if is_complex:
                mine, seen = (mine.real, mine.imag), (theirs.real, theirs.imag)
            else:
                seen = theirs
            errors[sign] = max(((a.double() - b.double()).abs() / bound).max().item() for a, b in zip(mine, seen))
        made.sin_sign = min(errors, key=lambda sign: (errors[sign], -sign))
        error = errors[made.sin_sign]
        if not error <= 1.0:
            for name, buffer in module.named_buffers():
                if buffer.is_floating_point() and buffer.element_size() < 4:
                    raise Error(
                        f"{path}.{name}: want float32, which from_pretrained(dtype=...) leaves it, got {buffer.dtype} from a cast of the "
                        "whole model (install before the cast: it is harmless then)"
                    )
            raise Error(
                f"{path}: want the original's cosines and sines at positions 0 to {int(position_ids.max())}"
                f"{'' if layer_type is None else ' of ' + layer_type}, got others (by {error:.3g} times what float32 explains)"
            )
        if found is not None and (found.order, found.is_complex, found.sin_sign) != (order, is_complex, made.sin_sign):
            raise Error(f"{path}: want tables of one form at every length, got two")
        worst, farthest = max(worst, error), max(farthest, int(position_ids.max()))
        found = made
    assert found is not None
    found.probe = {"positions": [0, farthest], "of_what_float32_explains": round(worst, 4)}
    return found


def _form_of(theirs: Any, ours: Tuple[Tensor, Tensor]) -> Optional[Tuple[Order, bool]]:
    pairs = ours[0].shape[-1]
    if isinstance(theirs, Tensor):
        return ("plain", True) if theirs.is_complex() and theirs.shape[-1] == pairs else None
    if not isinstance(theirs, tuple) or len(theirs) != 2 or theirs[0].shape[:-1] != ours[0].shape[:-1]:
        return None
    width = theirs[0].shape[-1]
    if width == pairs:
        return ("plain", False)
    if width != 2 * pairs:
        return None
    halves, twins = theirs[0].unflatten(-1, (2, -1)), theirs[0].unflatten(-1, (-1, 2))
    if torch.equal(halves[..., 0, :], halves[..., 1, :]):
        return ("cat", False)
    return ("repeat", False) if torch.equal(twins[..., 0], twins[..., 1]) else None


def read(path: str, module: torch.nn.Module, whole: Any, numerics: str) -> Tuple[CheckpointPositions, Any]:
    """The positions of a module's own config, or of the whole model's."""
    config = getattr(module, "config", None) or whole
    try:
        return read_positions(config, numerics=numerics), config  # type: ignore[arg-type]
    except Error as error:
        raise Error(f"{path}: {error}") from None


def described(tables: KindTables) -> Dict[str, Any]:
    return {"kind": tables.name, "spec": tables.spec, "fingerprint": fingerprint(tables.spec, 0), "probe": tables.probe}


def with_scaling(tables: KindTables, spec: RotarySpec) -> KindTables:
    return replace(tables, spec=spec, _rotaries={})
