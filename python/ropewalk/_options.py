"""Options of encodings and of attention: each is refused by its name."""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple

import numpy as np

from ropewalk._core import Error


def whole(name: str, value: Any, least: int, most: Optional[int] = None) -> int:
    fits = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least and (most is None or value <= most)
    if not fits:
        bound = f" >= {least}" if most is None else f", {least} to {most}"
        raise Error(f"{name}: want a whole number{bound}, got {value!r}")
    return int(value)


def checked_scale(name: str, value: Any) -> float:
    """What scores are multiplied by, in the range that the library's attention takes, on every path."""
    fits = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and 2.0**-60 <= value <= 2.0**60
    if not fits:
        raise Error(f"{name}: want a number > 0 (2^-60 to 2^60), got {value!r}")
    return float(value)


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
