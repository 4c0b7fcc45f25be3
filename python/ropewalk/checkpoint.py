"""Checkpoints: what their own words say about positions."""

from __future__ import annotations

import json
import os
from typing import Any, Mapping, Union

from ropewalk import _core
from ropewalk._core import CheckpointPositions, Error
from ropewalk.spec import Numerics

Source = Union[str, "os.PathLike[str]", Mapping[str, Any], Any]
"""A path (config.json, GGUF, folder of a model), the dict of a config.json, or a config object of transformers."""


def read_positions(source: Source, *, family: str = "", part: str = "", numerics: Numerics = "exact") -> CheckpointPositions:
    """What a checkpoint's positions do.

    source: a path to a config.json, a GGUF file or a folder with config.json; the dict of a config.json; an object with
        `to_dict()`, such as a config of transformers; or what this function has given before.
    family: follow this model family's conventions whatever model_type says.
    part: which part of a config of several ("vision"); empty: the language model, or the whole.

    A checkpoint is answered rightly or refused by name: ropewalk.Error says by which key.
    """
    if isinstance(source, CheckpointPositions):
        return source
    options = {"family": family, "part": part, "numerics": numerics}
    if isinstance(source, (str, os.PathLike)):
        return _core.read_positions(os.fspath(source), **options)
    to_dict = getattr(source, "to_dict", None)
    if to_dict is not None:
        name, source = type(source).__name__, to_dict()
    else:
        name = "config"
    if not isinstance(source, Mapping):
        raise TypeError(f"source: want a path, a dict or a config object, got {type(source).__name__}")
    return _core.read_config_json(json.dumps(source, default=_plain), name, **options)


def _plain(value: Any) -> Any:
    """What JSON has no word for: numpy's numbers and arrays as Python's; dtypes, which nobody reads, as text."""
    to_list = getattr(value, "tolist", None)
    return str(value) if to_list is None else to_list()


def explain(source: Source, *, length: int = 0, family: str = "", part: str = "") -> str:
    """A page for people: every kind of layer, where its numbers came from, and what may go wrong at `length` tokens."""
    positions = read_positions(source, family=family, part=part)
    lines = [f"{positions.source}: {positions.model_type or 'no model_type'}"]
    if positions.family != positions.model_type:
        lines[0] += f", read as {positions.family}"
    if positions.part:
        lines[0] += f", part {positions.part}"
    if positions.trained_context:
        lines.append(f"trained context  {positions.trained_context} tokens")
    if positions.max_context and positions.max_context != positions.trained_context:
        lines.append(f"claims           {positions.max_context} tokens")
    for kind in positions.kinds:
        layers = f", {len(kind.layers)} layers" if kind.layers else ""
        if kind.spec is None:
            lines.append(f"{kind.name}{layers}: does not rotate")
            continue
        lines.append(f"{kind.name}{layers}: {_core.describe(kind.spec)}")
        lines.append(f"  fingerprint    {_core.fingerprint(kind.spec, length)}")
    width = max((len(one.what) for one in positions.provenance), default=0)
    lines += [f"  {one.what:<{width}}  {one.value}  ({one.source})" for one in positions.provenance]
    lines += [f"ignored: {key}" for key in positions.keys_ignored]
    lines += [f"note: {note}" for note in positions.notes]
    for hazard in positions.hazards(length):
        lines.append(f"beware: {hazard.kind + ': ' if hazard.kind else ''}{hazard.message}")
    return "\n".join(lines)


def kind_of(positions: CheckpointPositions, layer: Union[int, None], kind: str) -> _core.LayerKind:
    """The kind that a layer index or a name asks for; the only one that rotates if neither is given."""
    kinds = positions.kinds
    if kind:
        for one in kinds:
            if one.name == kind:
                return one
        raise Error(f"kind: want one of {', '.join(one.name for one in kinds)}, got {kind!r}")
    if layer is not None:
        for one in kinds:
            if layer in one.layers:
                return one
        if len(kinds) == 1 and not kinds[0].layers:
            return kinds[0]
        raise Error(f"layer: want one in [0, {positions.layer_count}), got {layer}")
    rotating = [one for one in kinds if one.spec is not None]
    if len(rotating) == 1:
        return rotating[0]
    if not rotating:
        raise Error(f"{positions.model_type}: want layers that rotate, got none")
    raise Error(f"kind: want one of {', '.join(one.name for one in kinds)} (or layer=), for these layers turn differently, got neither")
