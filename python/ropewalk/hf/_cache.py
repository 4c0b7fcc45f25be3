"""Cached keys of a model whose frequencies move with the length of the sequence (dynamic NTK, LongRoPE).

A cache remembers, in an attribute of its own, where its tokens stand and under which running length they were turned. When a
longer sequence asks for other frequencies, its keys are carried over, or the past is computed anew.
"""

from __future__ import annotations

import inspect
import itertools
import threading
from typing import Any, Dict, List, Literal, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ropewalk._core import Error
from ropewalk.hf._functions import Way, turn
from ropewalk.hf._tables import KindTables, Tables, columns_of, length_dependent
from ropewalk.spec import RotarySpec

OnGrowth = Literal["rerotate", "recompute"]

_MOST_OFF = 1e-4  # of a key, relative to the largest
_numbers = itertools.count(1)


class Record:
    """What a cache has in it. Copied along when a cache is copied."""

    def __init__(self, installation: int) -> None:
        self.installation = installation
        self.positions: List[Tensor] = []  # [batch, tokens] or [axes, batch, tokens]
        self.inputs: List[Tensor] = []  # where the past may be computed anew
        self.lengths: Dict[str, int] = {}  # running length of each kind

    @property
    def tokens(self) -> int:
        return sum(p.shape[-1] for p in self.positions)

    @property
    def longest(self) -> int:
        return max((int(p.max()) + 1 for p in self.positions if p.numel()), default=0)

    def trim(self, tokens: int) -> None:
        """Forgets what has been cropped off the cache."""
        for chunks, axis in ((self.positions, -1), (self.inputs, 1)):
            excess = sum(c.shape[axis] for c in chunks) - tokens
            while chunks and excess > 0:
                last = chunks.pop()
                if last.shape[axis] > excess:
                    chunks.append(last.narrow(axis, 0, last.shape[axis] - excess))
                excess -= last.shape[axis]

    def where(self) -> Tensor:
        self.positions[:] = [_joined(self.positions, -1)]
        return self.positions[0]


def _joined(chunks: List[Tensor], axis: int) -> Tensor:
    rows_at = -2 if axis == -1 else 0
    rows = max(c.shape[rows_at] for c in chunks)
    grown = []
    for chunk in chunks:
        if chunk.shape[rows_at] != rows:  # one row for all, or beams of it
            if rows % chunk.shape[rows_at]:
                raise Error(f"past_key_values: want rows as they were filled, got {chunk.shape[rows_at]} and {rows}")
            chunk = chunk.repeat_interleave(rows // chunk.shape[rows_at], dim=rows_at)
        grown.append(chunk)
    return torch.cat(grown, dim=axis)


def _of_one_kind(module: nn.Module, chunks: List[Tensor]) -> List[Tensor]:
    """Ids as they are; as vectors where other tokens came as such, as generate(inputs_embeds=...) begins."""
    if len({chunk.ndim for chunk in chunks}) == 1:
        return chunks
    with torch.no_grad():
        vectors = module.get_input_embeddings()  # type: ignore[operator]
        return [vectors(chunk) if chunk.ndim == 2 else chunk for chunk in chunks]


class _Call:
    """One forward pass of the module that owns the layers."""

    def __init__(self, cache: Any, record: Record) -> None:
        self.cache, self.record = cache, record
        self.positions: Optional[Tensor] = None
        self.inputs: Optional[Tensor] = None
        self.keep: Optional[int] = None  # tokens that were asked for, where more are computed


class Growth:
    """Hooks on the modules of one model that run layers over a cache."""

    def __init__(self, model: nn.Module, growing: List[Tuple[str, Tables]], on_growth: OnGrowth) -> None:
        self._model = model
        self._number = next(_numbers)
        self._local = threading.local()
        self._forced: Optional[int] = None
        self._handles: List[Any] = []
        self._tables: Dict[nn.Module, List[Tables]] = {}
        kinds = [k for _, tables in growing for k in tables.kinds.values() if length_dependent(k.spec)]
        self.on_growth: OnGrowth = on_growth
        if self.on_growth == "rerotate":
            for kind in kinds:
                _refuse_what_cannot_move(kind.spec)
        for path, tables in growing:
            tables.growth = self
            self._tables.setdefault(_owner(model, path), []).append(tables)
        for owner in self._tables:
            self._handles.append(owner.register_forward_pre_hook(self._before, with_kwargs=True))
            self._handles.append(owner.register_forward_hook(self._after, with_kwargs=True, always_call=True))
        try:
            self.checked = self._check(kinds) if self.on_growth == "rerotate" else "nothing to check: the past is computed anew"
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        for tables in itertools.chain(*self._tables.values()):
            tables.growth = None

    def described(self) -> Dict[str, Any]:
        return {"policy": self.on_growth, "checked": self.checked}

    # ---- called by the rotary modules

    def running_length(self, kind: KindTables, position_ids: Tensor) -> int:
        """Tokens the sequence reaches; cached keys of this kind stand under it afterwards."""
        now = int(position_ids.max()) + 1 if position_ids.numel() else 0
        if self._forced is not None:
            return self._forced
        stack = getattr(self._local, "stack", None)
        if not stack:
            return now
        call = stack[-1]
        record = call.record
        call.positions = position_ids.detach()
        length = max(now, record.longest)
        old = record.lengths.get(kind.name)
        if old is not None and record.tokens and not _same(kind, old, length):
            with torch.no_grad():
                _rerotate(kind, call.cache, record.where(), old, length)
        record.lengths[kind.name] = length
        return length

    # ---- hooks

    def _before(self, module: nn.Module, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        self._local.stack.append(None)  # for _after, which is called whatever happens here
        named = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
        named = {**named, **named.get("kwargs", {})}
        cache = _attention_cache(named.get("past_key_values"))
        tables = self._tables[module]
        tokens = _tokens_in(cache, tables)
        record = getattr(cache, "_ropewalk", None) if tokens else None
        if tokens and (record is None or record.installation != self._number):
            raise Error(_unknown_cache(tokens))
        record = record or Record(self._number)
        if tokens > record.tokens:
            raise Error(f"past_key_values: want the {record.tokens} tokens that were seen, got {tokens}")
        record.trim(tokens)
        call = _Call(cache, record)
        inputs = named.get("input_ids") if named.get("input_ids") is not None else named.get("inputs_embeds")
        if self.on_growth == "recompute" and inputs is not None:
            call.inputs = inputs.detach()
            if tokens and self._would_change(record, tables, named, tokens + inputs.shape[1], tokens):
                args, kwargs = (), self._anew(module, call, named, tokens)
        self._local.stack[-1] = call
        return args, kwargs

    def _after(self, module: nn.Module, args: Any, kwargs: Dict[str, Any], output: Any) -> Any:
        call = self._local.stack.pop()
        if output is None or call is None or call.positions is None:
            return None
        cache = call.cache if call.cache is not None else _attention_cache(_cache_in(output))
        if cache is not None:
            call.record.positions.append(call.positions)
            if call.inputs is not None:
                call.record.inputs.append(call.inputs)
            cache._ropewalk = call.record
        return output if call.keep is None else _last(output, call.keep)

    # ---- the past anew

    def _would_change(self, record: Record, tables: List[Tables], named: Dict[str, Any], total: int, past: int) -> bool:
        position_ids = named.get("position_ids")
        length = max(record.longest, total if position_ids is None else int(position_ids.max()) + 1)
        for kind in itertools.chain(*(t.kinds.values() for t in tables)):
            old = record.lengths.get(kind.name)
            if old is not None and length_dependent(kind.spec) and not _same(kind, old, length):
                return True
        return False

    def _anew(self, module: nn.Module, call: _Call, named: Dict[str, Any], past: int) -> Dict[str, Any]:
        """The arguments of a forward pass over all tokens, the cache emptied."""
        record, new = call.record, call.inputs
        assert new is not None
        tokens = new.shape[1]
        kwargs = {k: v for k, v in named.items() if k not in ("self", "kwargs", "cache_position") and v is not None}
        for name, value in kwargs.items():
            if isinstance(value, Tensor) and name not in ("input_ids", "inputs_embeds", "position_ids", "attention_mask", "logits_to_keep"):
                raise Error(f'{name}: want no other tensor where the past is computed anew (on_growth="rerotate" does not), got one')
        position_ids = named.get("position_ids")
        if position_ids is None:
            position_ids = torch.arange(past, past + tokens, device=new.device)[None]
        mask = named.get("attention_mask")
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
            where = record.where()
            if not bool((where == torch.arange(past, device=where.device)).all()):
                raise Error(
                    "attention_mask: want [batch, tokens] where the past is computed anew, got a finished mask of a padded batch "
                    '(on_growth="rerotate" takes it)'
                )
            kwargs.pop("attention_mask")
        call.inputs = _joined(_of_one_kind(module, [*record.inputs, new]), 1)
        kwargs.pop("input_ids", None)
        kwargs["input_ids" if call.inputs.ndim == 2 else "inputs_embeds"] = call.inputs
        kwargs["position_ids"] = _joined([record.where(), position_ids.to(record.where().device)], -1)
        call.cache.reset()
        call.record = Record(self._number)
        call.keep = tokens
        return kwargs

    # ---- the check

    def _check(self, kinds: List[KindTables]) -> str:
        """That cached keys are as the rotation left them: keys of one length, carried over, are those of another."""
        first = min((min(kind.layers), i) for i, kind in enumerate(kinds) if kind.layers) if any(k.layers for k in kinds) else (0, 0)
        layer, kind = first[0], kinds[first[1]]
        context = kind.spec.scaling.trained_context  # type: ignore[union-attr]
        lengths = (context, 3 * context)
        found = []
        from ropewalk.hf._install import _probe_ids, _quiet

        try:
            for self._forced in lengths:
                with _quiet(self._model):
                    out = self._model(input_ids=_probe_ids(self._model), use_cache=True)
                cache = _attention_cache(out.past_key_values)
                found.append((cache, cache.layers[layer].keys.clone()))
        except Error:
            raise
        except Exception as error:
            return f"not checked: the model fails on 8 tokens with a cache: {type(error).__name__}"
        finally:
            self._forced = None
        (cache, before), (_, wanted) = found
        where = torch.arange(before.shape[-2], device=before.device)[None]
        _rerotate(kind, cache, where, *lengths)
        got = cache.layers[layer].keys
        off = ((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30)).item()
        allowed = _MOST_OFF if got.dtype in (torch.float32, torch.float64) else 0.05
        if not off <= allowed:
            raise Error(
                f"on_growth: want keys that are cached as the rotation left them, got others in layer {layer} (off by {off:.3g} after "
                'they were carried over); "recompute" serves this model'
            )
        return f"keys of layer {layer} at lengths {lengths[0]} and {lengths[1]}: {off:.2g} relative"


class Marks:
    """Hooks that keep caches of other frequencies out of a model whose scaling was changed."""

    def __init__(self, model: nn.Module, changed: List[Tuple[str, Tables]]) -> None:
        self._number = next(_numbers)
        self._handles: List[Any] = []
        self._tables: Dict[nn.Module, List[Tables]] = {}
        for path, tables in changed:
            self._tables.setdefault(_owner(model, path), []).append(tables)
        for owner in self._tables:
            self._handles.append(owner.register_forward_pre_hook(self._before, with_kwargs=True))
            self._handles.append(owner.register_forward_hook(self._after, with_kwargs=True))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(self, module: nn.Module, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        if torch.compiler.is_compiling():
            return
        named = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
        cache = _attention_cache(named.get("past_key_values"))
        tokens = _tokens_in(cache, self._tables[module])
        if tokens and getattr(getattr(cache, "_ropewalk", None), "installation", None) != self._number:
            raise Error(_unknown_cache(tokens))

    def _after(self, module: nn.Module, args: Any, kwargs: Dict[str, Any], output: Any) -> None:
        cache = None if torch.compiler.is_compiling() else _attention_cache(_cache_in(output) or kwargs.get("past_key_values"))
        if cache is not None:
            cache._ropewalk = Record(self._number)


def _unknown_cache(tokens: int) -> str:
    return (
        f"past_key_values: want a cache that was filled under this installation, got one of {tokens} tokens whose rotation is not known "
        "to it"
    )


def _refuse_what_cannot_move(spec: RotarySpec) -> None:
    if spec.rotary_offset or spec.pair_blocks or not spec.is_rotation or spec.given is not None:
        raise Error(
            'on_growth: want "recompute" for latent attention and for what does more than turn pairs, whose caches hold no keys of whole '
            'heads, got "rerotate"'
        )


def _owner(model: nn.Module, path: str) -> nn.Module:
    while path:
        path = path.rpartition(".")[0]
        module = model.get_submodule(path)
        names = inspect.signature(type(module).forward).parameters
        if "past_key_values" in names and "input_ids" in names:
            return module
    raise Error("model: want a module that takes input_ids and past_key_values above its rotary module, got none")


def _attention_cache(cache: Any) -> Any:
    return getattr(cache, "self_attention_cache", cache)


def _cache_in(output: Any) -> Any:
    found = getattr(output, "past_key_values", None)
    if found is None and isinstance(output, tuple):
        found = next((one for one in output if hasattr(one, "get_seq_length")), None)
    return found


def _tokens_in(cache: Any, tables: List[Tables]) -> int:
    if cache is None:
        return 0
    kinds = [kind for t in tables for kind in t.kinds.values() if kind.layers]
    layers = [min(kind.layers) for kind in kinds if length_dependent(kind.spec)] or [min(kind.layers) for kind in kinds]
    index = min(layers, default=0)
    if index >= len(cache.layers):
        return 0
    return int(cache.layers[index].get_seq_length())


def _same(kind: KindTables, a: int, b: int) -> bool:
    if a == b:
        return True
    one, other = kind.rotary(a), kind.rotary(b)
    return one.attention_factor == other.attention_factor and np.array_equal(one.inv_freq, other.inv_freq)


def _last(output: Any, tokens: int) -> Any:
    if isinstance(output, tuple):
        return (output[0][:, -tokens:], *output[1:])
    output["last_hidden_state"] = output["last_hidden_state"][:, -tokens:]
    if getattr(output, "hidden_states", None) is not None:
        output["hidden_states"] = tuple(h[:, -tokens:] for h in output["hidden_states"])
    return output


def _rerotate(kind: KindTables, cache: Any, where: Tensor, old: int, new: int) -> None:
    """Keys of a kind's layers: from the frequencies of one running length to those of another, the amplitude counted once."""
    spec = kind.spec
    of_old, of_new = kind.rotary(old), kind.rotary(new)
    c0, s0 = columns_of(of_old, spec, where)
    c1, s1 = columns_of(of_new, spec, where)
    grown = of_old.attention_factor**2
    cos, sin = (c1 * c0 + s1 * s0) / grown, (s1 * c0 - c1 * s0) / grown
    interleaved = spec.interleaved if spec.output_interleaved is None else spec.output_interleaved
    way = Way("one", "plain", interleaved, interleaved)
    for index in kind.layers or range(len(cache.layers)):
        if index >= len(cache.layers):
            break
        layer = cache.layers[index]
        keys = getattr(layer, "keys", None)
        if keys is None or keys.numel() == 0:
            continue
        if hasattr(layer, "_quantize"):
            raise Error(f"past_key_values: want keys as floats where frequencies move with the length, got {type(layer).__name__}")
        if keys.shape[-1] != spec.head_dim:
            raise Error(f"past_key_values: want keys of {spec.head_dim} channels, got {keys.shape[-1]}")
        filled = min(keys.shape[-2], where.shape[-1])
        c, s = (_rows(t[..., -filled:, :], keys.shape[0]).to(keys.device) for t in (cos, sin))
        turned = turn(keys[..., :filled, :], c, s, way, 1)
        if filled == keys.shape[-2] and not hasattr(layer, "max_cache_len"):
            layer.keys = turned
        else:
            keys[..., :filled, :].copy_(turned)


def _rows(table: Tensor, rows: int) -> Tensor:
    if table.shape[0] in (1, rows):
        return table
    if rows % table.shape[0]:
        raise Error(f"past_key_values: want a batch of {table.shape[0]} rows (or beams of it), got {rows}")
    return table.repeat_interleave(rows // table.shape[0], dim=0)
