"""Attention on the CPU, keys streamed in blocks (`ropewalk/attention.hpp`): never an array of tokens by keys.

    >>> import numpy as np
    >>> q, k, v = np.random.default_rng(0).standard_normal((3, 1, 5, 2, 8), np.float32)  # [batch, tokens, heads, head_dim]
    >>> out = attend(q, k, v)
    >>> print(np.abs(out[0, 0] - v[0, 0]).max())  # the first token sees itself alone
    0.0
    >>> last = attend(q[:, -1:], k, v)  # one query over what is cached
    >>> print(np.abs(last[0, 0] - out[0, -1]).max() < 1e-6)
    True
"""

from __future__ import annotations

import math
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from ropewalk import _core
from ropewalk._core import Error
from ropewalk._options import checked_scale, whole
from ropewalk.bias import ScoreBias


_MOST = 2**63 - 1


class Gradients(NamedTuple):
    """What goes back through an attention. bias: by the name of what was learned, as ScoreBias.gradient; empty without one."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    bias: Dict[str, np.ndarray]


def _query_shape(q: Any, layout: str) -> Tuple[int, int, int]:
    """(batch, heads, tokens)"""
    shape = tuple(np.shape(q))
    places = {"bshd": (0, 2, 1), "bhsd": (0, 1, 2), "sbhd": (1, 2, 0), "thd": (None, 1, 0)}.get(layout)
    if places is None:
        raise Error(f'layout: want "bshd", "bhsd", "sbhd" or "thd", got {layout!r}')
    if len(shape) != (3 if layout == "thd" else 4):
        raise Error(f"q: want {'3' if layout == 'thd' else '4'} axes, {layout}, got {list(shape)}")
    batch, heads, tokens = (1 if place is None else shape[place] for place in places)
    return batch, heads, tokens


def _options(
    q: Any, softmax_scale: Optional[float], causal: bool, window: Optional[int], left: Optional[int], right: Optional[int], **rest: Any
) -> Dict[str, Any]:
    if causal and right is None:
        right = 0
    if window is not None:
        if not causal or left is not None:
            raise Error(f"window: want it with causal and without left, got {window!r}")
        left = whole("window", window, 1, _MOST) - 1
    left, right = (None if one is None else whole(name, one, 0, _MOST) for name, one in (("left", left), ("right", right)))
    rest["first_position"] = whole("first_position", rest["first_position"], -_MOST, _MOST)
    # More threads than this are of use to nobody, and each has a room of its own.
    rest["threads"] = min(whole("threads", rest["threads"], 0, _MOST), 4 * (os.cpu_count() or 1))
    if np.ndim(q) == 0:
        raise Error(f"q: want an array, got {type(q).__name__}")
    scale = 1.0 / math.sqrt(max(np.shape(q)[-1], 1)) if softmax_scale is None else checked_scale("softmax_scale", softmax_scale)
    return dict(softmax_scale=scale, left=left, right=right, **rest)


def _want_arrays(**arrays: Any) -> None:
    for name, one in arrays.items():
        if one is None or np.ndim(one) == 0:
            raise Error(f"{name}: want an array, got {type(one).__name__}")


def attend(
    q: Any, k: Any, v: Any, *, softmax_scale: Optional[float] = None, causal: bool = True, window: Optional[int] = None,
    left: Optional[int] = None, right: Optional[int] = None, bias: Optional[ScoreBias] = None, first_position: int = 0,
    temperature: Any = None, query_starts: Any = None, key_starts: Any = None, layout: str = "bshd", out: Any = None,
    return_log_sum_exp: bool = False, threads: int = 0,
) -> Any:
    """softmax(softmax_scale * temperature * q . k + bias) v: [batch, tokens, heads, value_dim], an array of the dtype of q.

    q: [batch, tokens, heads, head_dim]; k: [batch, keys, kv_heads, head_dim], kv_heads divides heads; v: [batch, keys, kv_heads,
        value_dim]; as `layout` says (bshd, bhsd, sbhd; thd without a batch); float32, bfloat16 or float16, k and v alike, any strides
        as long as the channels of a head lie side by side.
    softmax_scale: None: 1 / sqrt(head_dim).
    causal: the last query stands at the last key, and none sees a key behind its own. window: and only so many keys, its own the
        last. left, right: keys seen before and behind its own, None: all (right: 0 if causal).
    bias: added to the scores; the first key of each sequence stands at first_position.
    temperature: [tokens] or [batch, tokens], float32, > 0: a factor on the scores of each query.
    query_starts, key_starts: packed sequences (cu_seqlens), batch 1.
    out: where it is written. return_log_sum_exp: (out, float32 [batch, heads, tokens]), which attend_backward wants.
    threads: most to use, 0 for one a core; the bits do not depend on it.

    Raises ropewalk.Error, by the argument's name.
    """
    options = _options(q, softmax_scale, causal, window, left, right, bias=bias, first_position=first_position, temperature=temperature,
                       query_starts=query_starts, key_starts=key_starts, layout=layout, threads=threads)
    shape = _query_shape(q, layout)
    _want_arrays(k=k, v=v)
    if out is None:
        if np.ndim(v) != np.ndim(q):
            raise Error(f"v: want {np.ndim(q)} axes, {layout}, got {list(np.shape(v))}")
        like = q if isinstance(q, np.ndarray) else np.asarray(q)
        out = np.empty((*like.shape[:-1], np.shape(v)[-1]), like.dtype)
    sums = np.empty(shape, np.float32) if return_log_sum_exp else None
    _core.attend_into(q, k, v, out, sums, **options)
    return (out, sums) if return_log_sum_exp else out


def attend_backward(
    q: Any, k: Any, v: Any, out: Any, log_sum_exp: Any, d_out: Any, *, softmax_scale: Optional[float] = None, causal: bool = True,
    window: Optional[int] = None, left: Optional[int] = None, right: Optional[int] = None, bias: Optional[ScoreBias] = None,
    first_position: int = 0, temperature: Any = None, query_starts: Any = None, key_starts: Any = None, layout: str = "bshd",
    threads: int = 0,
) -> Gradients:
    """The gradients of q, k, v and of what the bias learned, given d_out, shaped like out. All else as `attend` was told.

    out, log_sum_exp: what attend gave, with return_log_sum_exp.
    """
    options = _options(q, softmax_scale, causal, window, left, right, bias=bias, first_position=first_position, temperature=temperature,
                       query_starts=query_starts, key_starts=key_starts, layout=layout, threads=threads)
    _want_arrays(k=k, v=v, out=out, log_sum_exp=log_sum_exp, d_out=d_out)
    q, k, v = (one if isinstance(one, np.ndarray) else np.asarray(one) for one in (q, k, v))
    d_q, d_k, d_v = (np.empty(one.shape, one.dtype) for one in (q, k, v))
    flat = None if bias is None else np.zeros(bias.parameter_count)
    _core.attend_backward_into(q, k, v, out, log_sum_exp, d_out, d_q, d_k, d_v, flat, **options)
    return Gradients(d_q, d_k, d_v, {} if bias is None or flat is None else bias.named(flat))
