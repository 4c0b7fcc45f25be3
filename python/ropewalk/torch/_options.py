"""Options of encodings: each is refused by its name."""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple

from ropewalk._core import Error


def whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Error(f"{name}: want a whole number >= {least}, got {value!r}")
    return value


def pair(name: str, value: Any, least: int = 1) -> Tuple[int, int]:
    """(rows, columns)"""
    fits = isinstance(value, (tuple, list)) and len(value) == 2
    if not fits or any(not isinstance(one, int) or isinstance(one, bool) or one < least for one in value):
        raise Error(f"{name}: want (rows, columns), whole numbers >= {least}, got {value!r}")
    return value[0], value[1]


def number(name: str, value: Any, *, above: Optional[float] = None, least: Optional[float] = None) -> float:
    """A finite number, above one or at least another."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (above is not None and value <= above) or (least is not None and value < least):
        bound = "" if above is None and least is None else f" > {above:g}" if above is not None else f" >= {least:g}"
        raise Error(f"{name}: want a finite number{bound}, got {value!r}")
    return float(value)
