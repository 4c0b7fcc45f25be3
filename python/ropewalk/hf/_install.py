"""install: this library's operator inside one loaded model of transformers, and out of it again."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Literal, Optional, Set, Tuple, Union

import torch
from torch import nn

from ropewalk._core import Error, fingerprint, make_scaling
from ropewalk.hf import _tables
from ropewalk.hf._cache import Growth, Marks, OnGrowth
from ropewalk.hf._fixed import FixedTable, fixed_table_of
from ropewalk.hf._functions import attention_class
from ropewalk.hf._tables import KindTables, Tables, length_dependent, rotary_class
from ropewalk.rotary import Rotary
from ropewalk.spec import Numerics, RotarySpec, Scaling

CLASSES: Dict[str, Callable[[type], Any]] = {"attention": attention_class, "rotary": rotary_class}

_LOGITS = {torch.float32: 1e-4, torch.float64: 1e-4}  # relative to the largest; halves: what bfloat16 rounds
_HALF_LOGITS = 0.06
LOCAL = ("sliding_attention", "chunked_attention")  # kinds that see near keys only, whose scaling stays


class Installation:
    """What install() did to a model. A context manager: leaving it undoes."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._undo: List[Callable[[], None]] = []
        self._report: Dict[str, Any] = {}
        self._tables: List[Tables] = []

    @property
    def is_installed(self) -> bool:
        return bool(self._undo)

    def undo(self) -> None:
        """Gives the model its own modules, methods and buffers back. A second call does nothing."""
        while self._undo:
            self._undo.pop()()

    def report(self) -> Dict[str, Any]:
        """What was replaced and what the probe saw: plain data.

        model_type: of the config. rotary_modules: one entry a module and kind of layers, with path, kind, spec, fingerprint and
        probe (the positions that were compared, and the largest difference as a share of what float32 phases explain).
        attention: {class: how many of its modules turn with this library's operator}. tables_only: classes that read the exact
        tables and turn by their own arithmetic. left: modules of other parts (vision, audio), untouched. forward_probe: the
        largest difference of logits against the original's, relative to the largest logit; None and a reason if it was not run.
        scaling, on_growth: as asked for.
        """
        return dict(self._report)

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        kinds = ", ".join(f"{one['path']} ({one['kind']})" for one in self._report.get("rotary_modules", []))
        return f"<ropewalk.hf.Installation of {kinds or 'nothing'}{'' if self._undo else ', undone'}>"


def install(
    model: nn.Module,
    scaling: Union[None, str, Scaling] = None,
    numerics: Numerics = "exact",
    *,
    on_growth: OnGrowth = "recompute",
    probe_forward: bool = True,
) -> Installation:
    """Replaces the rotary modules and the rotation of one loaded model of transformers.

    model: any model of transformers with its weights in place. Only this instance changes; others of its class keep theirs.
    scaling: None keeps the checkpoint's own. A scaling class (`YarnScaling(4, 8192)`), or a name with its factor ("yarn:4",
        "dynamic:2", "linear:2", "ntk:4", "none"), which starts from the length the checkpoint was trained for. Layers that see
        only near keys keep their own, as in `ropewalk eval`.
    numerics: "exact", or "fp32" for the float32 phases of transformers.
    on_growth: what happens to a cache when a growing sequence changes the frequencies: LongRoPE once, dynamic NTK with every
        token beyond the trained length. "recompute": the past is computed anew, so that every step equals a fresh prefill, and
        costs one. "rerotate": cached keys are carried over to the new frequencies, which costs little; in one layer that equals
        a fresh prefill, but deeper layers keep what they computed from states under the old frequencies.
    probe_forward: also runs the model on 8 tokens before and after, and compares the logits.

    Everything is compared with the original first. Raises ropewalk.Error, with the module's path, for what is not known or
    differs; the model is then as it was.
    """
    if getattr(model, "config", None) is None:
        raise Error(f"model: want a model of transformers, got {type(model).__name__}")
    if any(isinstance(getattr(m, "_ropewalk", None), (Tables, FixedTable)) for m in model.modules()):
        raise Error("model: want one without this library's rotation, got one that has it (undo() the other installation)")
    if on_growth not in ("recompute", "rerotate"):
        raise Error(f'on_growth: want "recompute" or "rerotate", got {on_growth!r}')
    handle = Installation(model)
    try:
        _replace(handle, model, scaling, numerics, on_growth, probe_forward)
    except BaseException:
        handle.undo()
        raise
    return handle


def _replace(
    handle: Installation,
    model: Any,
    scaling: Union[None, str, Scaling],
    numerics: Numerics,
    on_growth: OnGrowth,
    probe_forward: bool,
) -> None:
    found: List[Tuple[str, nn.Module, Tables, Any]] = []
    fixed: List[Tuple[str, nn.Module, FixedTable]] = []
    left = []
    for path, module in model.named_modules():
        if _tables.is_rotary_module(module):
            positions, _ = _tables.read(path, module, model.config, numerics)
            kinds = _tables.kinds_of_module(module, positions, path)
            tables = Tables(
                path, {key: _tables.probed(path, module, key, kind, positions.trained_context) for key, kind in kinds.items()}
            )
            found.append((path, module, tables, positions))
        elif (table := fixed_table_of(path, module, model.config, numerics)) is not None:
            fixed.append((path, module, table))
        elif _tables.ROTARY_NAME.search(type(module).__name__):
            left.append(path)
    if not found and not fixed:
        raise Error(f"model: want one whose queries and keys turn by position, got {model.config.model_type}, {_no_rotation(model)}")

    if probe_forward:
        before, reason = _logits(model)
    attention, tables_only = _swap_attention(handle, model)
    for _, module, tables, _ in found:
        tables.keeps_float32 = not tables_only
        _swap(handle, module, rotary_class(type(module)), tables)
    for _, module, table in fixed:
        handle._undo.append(table.put(module))
    probe: Dict[str, Any] = {"relative": None, "reason": "not asked for"}
    if probe_forward:
        probe = {"relative": None, "reason": reason} if before is None else _compared(model, before)

    rows = []
    for path, module, tables, positions in found:
        _rescale(handle, model, tables, positions, scaling)
        rows += [{"path": path, **_tables.described(kind)} for kind in tables.kinds.values()]
    for path, module, table in fixed:
        table.rescale(module, scaling)
        rows.append({"path": path, **table.described()})
    growing = [(path, tables) for path, _, tables, _ in found if any(length_dependent(k.spec) for k in tables.kinds.values())]
    if growing:
        growth = Growth(model, growing, on_growth)
        handle._undo.append(growth.remove)
    elif scaling is not None and found:
        handle._undo.append(Marks(model, [(path, tables) for path, _, tables, _ in found]).remove)
    handle._report = {
        "model_type": model.config.model_type,
        "rotary_modules": rows,
        "attention": attention,
        "tables_only": sorted(tables_only),
        "left": left,
        "forward_probe": probe,
        "scaling": scaling,
        "numerics": numerics,
        "on_growth": growth.described() if growing else None,
    }


def _no_rotation(model: Any) -> str:
    from ropewalk.checkpoint import read_positions

    try:
        positions = read_positions(model.config)
    except Error as error:
        if not any(_reads_tables(type(module)) for module in model.modules()):
            return "which does not rotate: no module makes or reads a table of cosines"
        return f"of which nothing is known ({error})"
    if all(kind.spec is None for kind in positions.kinds):
        return "which does not rotate"
    return "whose rotation stands in no module that is known"


# ---- swapping ---------------------------------------------------------------------------------------------------------


def _swap(handle: Installation, module: nn.Module, cls: type, tables: Optional[Tables] = None) -> None:
    old = type(module)
    held = dict(module.__dict__)

    def back() -> None:
        module.__class__ = old
        for name in ("forward", "_old_forward"):
            if name in held:
                module.__dict__[name] = held[name]
        module.__dict__.pop("_ropewalk", None)

    module.__class__ = cls
    if tables is not None:
        module.__dict__["_ropewalk"] = tables
    # accelerate's hooks keep the method that they wrap in the instance.
    if isinstance(held.get("_old_forward"), types.MethodType):
        module.__dict__["_old_forward"] = types.MethodType(cls.forward, module)  # type: ignore[attr-defined]
    elif "forward" in held:
        module.__class__ = old
        raise Error(f"{old.__name__}: want a module with the forward of its class, got one that something else has replaced")
    handle._undo.append(back)


def _reads_tables(cls: type) -> bool:
    for base in cls.__mro__:
        if base is nn.Module:
            return False
        for member in vars(base).values():
            function = inspect.unwrap(member) if callable(member) and not isinstance(member, type) else member
            code = getattr(function, "__code__", None)
            if code is not None and ("cos" in code.co_varnames or "freqs_cis" in code.co_varnames):
                return True
    return False


def _swap_attention(handle: Installation, model: nn.Module) -> Tuple[Dict[str, int], Set[str]]:
    attention: Dict[str, int] = {}
    tables_only: Set[str] = set()
    for path, module in model.named_modules():
        cls = type(module)
        if _tables.ROTARY_NAME.search(cls.__name__) and _tables.is_rotary_module(module):
            continue
        new = attention_class(cls)
        if new is not None:
            _swap(handle, module, new)
            attention[cls.__name__] = attention.get(cls.__name__, 0) + 1
        elif _reads_tables(cls) and "Vision" not in cls.__name__ and cls.__module__.startswith("transformers."):
            tables_only.add(cls.__name__)
    return attention, tables_only


# ---- scaling ----------------------------------------------------------------------------------------------------------


def scaling_named(scaling: Union[str, Scaling], trained: int) -> Scaling:
    """A scaling class as it is; "yarn:4" with everything else at its default, from the trained length on."""
    if not isinstance(scaling, str):
        return scaling
    name, colon, factor = scaling.partition(":")
    if name != "none" and not colon:
        raise Error(f'scaling: want a name with its factor ("yarn:4"), got "{scaling}"')
    try:
        number = float(factor) if colon else 1.0
    except ValueError:
        raise Error(f'scaling: want a number behind the colon, got "{scaling}"') from None
    if name != "none" and trained < 1:
        raise Error("scaling: want a checkpoint that says how many tokens it was trained for, got one that does not")
    try:
        return make_scaling(name, number, max(trained, 1))  # type: ignore[return-value]
    except Error as error:
        raise Error(str(error) if error.path == "scaling" else f"scaling.{error}") from None


def _rescale(handle: Installation, model: nn.Module, tables: Tables, positions: Any, scaling: Union[None, str, Scaling]) -> None:
    if scaling is None:
        return
    new = scaling_named(scaling, positions.trained_context)
    changed = 0
    for key, kind in tables.kinds.items():
        if kind.name in LOCAL:
            continue
        spec = replace(kind.spec, scaling=new)
        ratio = Rotary(spec).softmax_scale_multiplier / Rotary(kind.spec).softmax_scale_multiplier
        if ratio != 1.0:
            _rescale_softmax(handle, model, ratio, kind, tables)
        tables.kinds[key] = _tables.with_scaling(kind, spec)
        changed += 1
    if not changed:
        raise Error(f"{tables.path}: want a layer that sees the whole context, for a scaling to take effect, got none")


def _rescale_softmax(handle: Installation, model: nn.Module, ratio: float, kind: KindTables, tables: Tables) -> None:
    """The factor on 1 / sqrt(head_dim) that comes or goes with a scaling, in the attention modules' own number."""
    if len(tables.kinds) > 1:
        raise Error(f"scaling: want a scaling without a factor on the softmax for layers of several kinds, got one of {ratio:.6g}")
    attentions = [(path, m) for path, m in model.named_modules() if getattr(type(m), "_ropewalk_of", (None, ""))[1] == "attention"]
    if not attentions:
        raise Error(f"scaling: want attention modules whose softmax's scale can be multiplied by {ratio:.6g}, got none")
    for path, module in attentions:
        scale = module.__dict__.get("scaling")
        if not isinstance(scale, float):
            raise Error(f"{path}.scaling: want the softmax's scale, to multiply it by {ratio:.6g}, got {scale!r}")
        module.__dict__["scaling"] = scale * ratio
        handle._undo.append(functools.partial(module.__dict__.__setitem__, "scaling", scale))


# ---- the model itself -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    training = [m for m in model.modules() if m.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def _probe_ids(model: Any) -> torch.Tensor:
    embedding = model.get_input_embeddings()
    rows = int(getattr(embedding, "num_embeddings", 0) or embedding.weight.shape[0])
    low = min(5, rows - 1)
    ids = low + torch.arange(8) * 7 % max(1, min(rows, 256) - low)
    return ids[None].to(embedding.weight.device)


def _logits(model: Any) -> Tuple[Optional[torch.Tensor], str]:
    try:
        with _quiet(model):
            out = model(input_ids=_probe_ids(model), use_cache=False)
        logits = out.logits if hasattr(out, "logits") else out[0]
        return logits.float(), ""
    except Exception as error:
        return None, f"the original fails on 8 tokens: {type(error).__name__}: {str(error)[:200]}"


def _compared(model: Any, before: torch.Tensor) -> Dict[str, Any]:
    with _quiet(model):
        out = model(input_ids=_probe_ids(model), use_cache=False)
    after = (out.logits if hasattr(out, "logits") else out[0]).float()
    relative = ((after - before).abs().max() / before.abs().max().clamp_min(1e-30)).item()
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    allowed = _LOGITS.get(dtype, _HALF_LOGITS)
    if not relative <= allowed:
        raise Error(f"model: want the original's logits on 8 tokens, got others (by {relative:.3g} of the largest, {allowed:g} allowed)")
    return {"relative": relative, "tokens": 8}
