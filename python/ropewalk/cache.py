"""Caches of keys and values: plain data beside the operations of `ropewalk/kv_cache.hpp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Optional

CacheFormat = Literal["float32", "bfloat16", "float16", "float8_e4m3", "int8", "int4"]


@dataclass(frozen=True)
class CacheView:
    """Rows kept for later, in an array of the caller: one row is one head of one token.

    data: order "nhd": [pages, page_tokens, heads, head_dim], or [capacity, heads, head_dim] without pages; order "hnd":
        [pages, heads, page_tokens, head_dim], or [heads, capacity, head_dim]. Any strides, channels side by side. A token's slot is
        page * page_tokens + its place in the page.
    scales: float32, the same axes without the last; int8 and int4 need them, float8_e4m3 may have them.
    format: how a row is stored. None: by data's dtype (float32, bfloat16, float16, int8, float8_e4m3fn). For uint8 it has to be
        said: "int4" (two channels in a byte, the even one in its lower half; the last axis has ceil(head_dim / 2) bytes) or
        "float8_e4m3".
    head_dim: of int4 rows, if it is odd.
    """

    data: Any
    scales: Any = None
    order: Literal["nhd", "hnd"] = "nhd"
    format: Optional[CacheFormat] = None
    head_dim: int = 0


@dataclass(frozen=True)
class HeadNorm:
    """RMS norm of every head by itself: x / sqrt(mean of x^2 + epsilon) * weight, in float32.

    place: "before" the rotation (Qwen 3, Gemma 3) or "after" it (Llama 4, HunYuan).
    weight: float32 [head_dim] or [heads, head_dim]; None: 1.
    weight_plus_one: the factor is 1 + weight (Gemma).
    """

    place: Literal["before", "after"] = "before"
    epsilon: float = 1e-6
    weight: Any = None
    weight_plus_one: bool = False
