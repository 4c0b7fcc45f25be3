"""A spec as a line of text: what a compiled or exported program carries in place of an object of Python."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Tuple

from ropewalk import spec as classes
from ropewalk.spec import RotarySpec

_NESTED = {
    "given": classes.GivenFrequencies,
    "second": classes.SecondAngle,
    "xpos": classes.XPos,
    "fourier": classes.FourierMix,
    "query_temperature": classes.QueryTemperature,
}


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        one = getattr(value, field.name)
        if one == field.default:
            continue
        if field.name == "scaling":
            one = {"kind": type(one).__name__, **_fields(one)}
        elif dataclasses.is_dataclass(one):
            one = _fields(one)
        fields[field.name] = one
    return fields


def _made(cls: Any, fields: dict[str, Any]) -> Any:
    return cls(**{name: tuple(one) if isinstance(one, list) else one for name, one in fields.items()})


def write(spec: RotarySpec, running_length: int = 0) -> str:
    """JSON with every field that differs from its default. `read` gives the spec back, the same to the last bit."""
    fields = _fields(spec)
    if running_length:
        fields["running_length"] = running_length
    return json.dumps(fields, separators=(",", ":"))


def read(text: str) -> Tuple[RotarySpec, int]:
    """The spec and the running length that `write` was given.

    >>> read(write(RotarySpec(head_dim=64, theta=1e4), 5000))[1]
    5000
    """
    fields = json.loads(text)
    running_length = fields.pop("running_length", 0)
    if "scaling" in fields:
        kind = fields["scaling"].pop("kind")
        fields["scaling"] = _made(getattr(classes, kind), fields["scaling"])
    for name, cls in _NESTED.items():
        if name in fields:
            fields[name] = _made(cls, fields[name])
    return _made(RotarySpec, fields), running_length
