"""Caches of keys and values: plain data beside the operations of `ropewalk/kv_cache.hpp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Optional

from ropewalk import _core
from ropewalk.rotary import Rotary

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


def append_(
    rotary: _core.Rotary,
    keys: Any,
    key_cache: CacheView,
    *,
    slots: Any,
    values: Any = None,
    value_cache: Optional[CacheView] = None,
    queries: Any = None,
    key_norm: Optional[HeadNorm] = None,
    query_norm: Optional[HeadNorm] = None,
    position_ids: Any = None,
    seqlen_offsets: Any = None,
    cu_seqlens: Any = None,
    layout: str = "bshd",
    threads: int = 0,
) -> None:
    """Norms, turns and stores new tokens in one pass: keys go to key_cache, values to value_cache, queries are normed and turned in
    place.

    keys, values, queries: as Rotary.apply takes them, of as many tokens.
    slots: [batch * tokens], the tokens of row 0 first, apart from each other; below 0: not stored.
    position_ids, seqlen_offsets, cu_seqlens, layout, threads: as Rotary.apply.

    >>> import numpy as np, ropewalk
    >>> rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=4, theta=10000.0))
    >>> cache = CacheView(np.zeros((16, 2, 4), np.int8), scales=np.zeros((16, 2), np.float32))  # 16 slots, 2 heads, int8
    >>> append_(rotary, np.ones((1, 3, 2, 4), np.float32), cache, slots=[0, 1, 2])
    >>> cache.data[0, 0].tolist(), cache.data[3, 0].tolist()
    ([127, 127, 127, 127], [0, 0, 0, 0])
    """
    _core.append_to_cache(
        rotary,
        keys,
        key_cache,
        slots=slots,
        values=values,
        value_cache=value_cache,
        queries=queries,
        key_norm=key_norm,
        query_norm=query_norm,
        position_ids=position_ids,
        seqlen_offsets=seqlen_offsets,
        cu_seqlens=cu_seqlens,
        layout=layout,
        threads=threads,
    )


def shift_(rotary: _core.Rotary, key_cache: CacheView, *, slots: Any, deltas: Any, threads: int = 0) -> None:
    """Moves cached keys in place: the key in slots[t], which stands at p, stands at p + deltas[t] afterwards.

    deltas: a number, [slots], or [axes, 1, slots]. Slots below 0 are left alone. Quantised rows are read, turned and rounded anew with
    a scale of their own.
    """
    _core.shift_cache(rotary, key_cache, slots=slots, deltas=deltas, threads=threads)


class Rerotation:
    """Carries keys that one operator has turned over to another: what dynamic NTK needs as the sequence grows, LongRoPE as it crosses the
    trained length, and any scaling that is switched on over cached keys. The attention factor is counted once.

    before, after: alike in head_dim, in the channels that turn and in their axes. Raises ropewalk.Error, by the field's name.

    >>> import dataclasses, numpy as np, ropewalk
    >>> plain = ropewalk.RotarySpec(head_dim=4, theta=10000.0)
    >>> before = ropewalk.Rotary(plain)
    >>> after = ropewalk.Rotary(dataclasses.replace(plain, scaling=ropewalk.LinearScaling(factor=4.0)))
    >>> keys = before.apply(np.ones((1, 3, 1, 4), np.float32), seqlen_offsets=100)
    >>> print(Rerotation(before, after).apply_(keys, seqlen_offsets=100)[0, 2, 0].round(3))  # at 102, a quarter of it now
    [0.574 0.715 1.292 1.22 ]
    """

    __slots__ = ("_turn", "_axes")

    def __init__(self, before: Rotary, after: Rotary) -> None:
        self._turn = _core.Rerotation(before, before.running_length, after, after.running_length)
        self._axes = after.spec.axes

    @property
    def gain(self) -> float:
        """What keys grow by: the attention factor of `after` over that of `before`."""
        return self._turn.gain

    def apply_cache_(self, key_cache: CacheView, *, slots: Any, position_ids: Any, threads: int = 0) -> None:
        """The keys in slots[t], which stand at position_ids[t] ([slots], or [axes, 1, slots]), in place. Slots below 0 are left alone.
        Quantised rows are read, turned and rounded anew with a scale of their own."""
        self._turn.turn_cache(key_cache, slots=slots, position_ids=position_ids, axes=self._axes, threads=threads)

    def apply_(
        self,
        keys: Any,
        *,
        position_ids: Any = None,
        seqlen_offsets: Any = None,
        cu_seqlens: Any = None,
        layout: str = "bshd",
        threads: int = 0,
    ) -> Any:
        """Keys in an array, with positions as Rotary.apply takes them, in place; gives it back."""
        self._turn.turn_keys(
            keys,
            position_ids=position_ids,
            seqlen_offsets=seqlen_offsets,
            cu_seqlens=cu_seqlens,
            layout=layout,
            axes=self._axes,
            threads=threads,
        )
        return keys
