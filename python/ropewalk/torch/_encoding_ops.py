"""The operators of encodings that torch knows:

    ropewalk::score_bias(numbers, queries, keys, spec)          -> float32 [heads, queries, keys], or [batch, ...] with rows of positions
    ropewalk::score_bias_gradient(grad, numbers, queries, keys, spec) -> float32, what `numbers` receive
    ropewalk::sinusoids(positions, spec)                        -> float32 [.., tokens, dim]

numbers: what was learned, flat, in the order of ScoreBias.parameters. queries, keys: int64 [count] or [batch, count].
spec: the other fields of the dataclass as JSON, `text_of`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from torch import Tensor

from ropewalk import absolute, bias
from ropewalk._core import Error
from ropewalk.torch._kernels import refuse_tangents
from ropewalk.torch._ops import LIBRARY

for _schema in (
    "score_bias(Tensor numbers, Tensor queries, Tensor keys, str spec) -> Tensor",
    "score_bias_gradient(Tensor grad, Tensor numbers, Tensor queries, Tensor keys, str spec) -> Tensor",
    "sinusoids(Tensor positions, str spec) -> Tensor",
):
    LIBRARY.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))

LEARNED: Dict[str, Tuple[str, ...]] = {
    "AlibiBias": ("slopes",),
    "T5Bias": ("table",),
    "KerpleBias": ("r1", "r2"),
    "FireBias": ("c", "threshold_multiplier", "w1", "b1", "w2", "b2"),
    "SandwichBias": (),
    "WindowBias": ("table",),
    "LogCpbBias": ("w1", "b1", "w2"),
}
"""By class: the fields that are learned, in the order of ScoreBias.parameters."""

_NUMBERS = {"c", "threshold_multiplier"}


def text_of(spec: Any) -> str:
    """The fields of a dataclass that are not learned, as JSON."""
    kind = type(spec).__name__
    learned = LEARNED.get(kind, ())
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.name not in learned}
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


@functools.lru_cache(maxsize=256)
def _fields_of(text: str) -> Tuple[str, Dict[str, Any], List[Tuple[str, int]]]:
    """(class, fields, the learned ones and their sizes)"""
    fields = json.loads(text)
    kind = fields.pop("type")
    heads, width = fields["heads"], fields.get("width", 0)
    sizes = {"slopes": heads, "r1": heads, "r2": heads, "c": 1, "threshold_multiplier": 1, "b1": width, "w2": heads * width, "b2": heads,
             "w1": 2 * width if kind == "LogCpbBias" else width, "table": 0}
    if kind == "T5Bias":
        sizes["table"] = fields["num_buckets"] * heads
    if kind == "WindowBias":
        sizes["table"] = ((2 * fields["rows"] - 1) * (2 * fields["columns"] - 1) + 3 * fields["class_token"]) * heads
    return kind, fields, [(name, sizes[name]) for name in LEARNED[kind]]


@functools.lru_cache(maxsize=256)
def _fixed(text: str) -> bias.ScoreBias:
    kind, fields, _ = _fields_of(text)
    return bias.ScoreBias(getattr(bias, kind)(**fields))


def prepared(text: str, numbers: Tensor) -> bias.ScoreBias:
    """The operator of text_of(spec) with these learned numbers."""
    if numbers.numel() == 0:
        return _fixed(text)
    kind, fields, learned = _fields_of(text)
    flat: Any = numbers.detach().to("cpu", torch.float32).contiguous().numpy()
    arrays: Dict[str, Any] = {}
    offset = 0
    for name, size in learned:
        part = flat[offset : offset + size]
        arrays[name] = float(part[0]) if name in _NUMBERS else part
        offset += size
    if offset != flat.size:
        raise Error(f"numbers: want {offset}, got {flat.size}")
    return bias.ScoreBias(getattr(bias, kind)(**fields, **arrays))


def _rows(positions: Tensor, batch: int) -> List[Tensor]:
    return [positions] * batch if positions.ndim == 1 else list(positions.expand(batch, -1))


def _batch(queries: Tensor, keys: Tensor) -> int:
    return max(one.shape[0] if one.ndim == 2 else 1 for one in (queries, keys))


def _shape(queries: Tensor, keys: Tensor, heads: int) -> Tuple[Any, ...]:
    shape = (heads, queries.shape[-1], keys.shape[-1])
    return shape if queries.ndim == 1 and keys.ndim == 1 else (_batch(queries, keys), *shape)


def _score_bias(numbers: Tensor, queries: Tensor, keys: Tensor, spec: str) -> Tensor:
    refuse_tangents("score_bias", numbers)
    made = prepared(spec, numbers)
    q, k = queries.detach().cpu(), keys.detach().cpu()
    out = torch.empty(_shape(q, k, made.heads), dtype=torch.float32)
    if out.ndim == 3:
        made.fill_into(q, k, out)
    else:
        for block, row, column in zip(out, _rows(q, len(out)), _rows(k, len(out))):
            made.fill_into(row, column, block)
    return out.to(numbers.device)


def _score_bias_gradient(grad: Tensor, numbers: Tensor, queries: Tensor, keys: Tensor, spec: str) -> Tensor:
    made = prepared(spec, numbers)
    q, k, d = queries.detach().cpu(), keys.detach().cpu(), grad.detach().to("cpu", torch.float32)
    total = np.zeros(made.parameter_count)
    if d.ndim == 3:
        made.add_gradient(q, k, d, total)
    else:
        for block, row, column in zip(d, _rows(q, len(d)), _rows(k, len(d))):
            made.add_gradient(row, column, block, total)
    return torch.from_numpy(total).to(numbers.device, torch.float32)


@functools.lru_cache(maxsize=256)
def sinusoidal_of(text: str) -> absolute.Sinusoidal:
    fields = json.loads(text)
    fields.pop("type")
    return absolute.Sinusoidal(absolute.SinusoidalSpec(**fields))


def _sinusoid_shape(positions: Tensor, axes: int, dim: int) -> Tuple[Any, ...]:
    return (*positions.shape[int(axes > 1) :], dim)


def _sinusoids(positions: Tensor, spec: str) -> Tensor:
    refuse_tangents("sinusoids", positions)
    made = sinusoidal_of(spec)
    where = positions.detach().cpu()
    out = torch.empty(_sinusoid_shape(where, made.spec.axes, made.spec.dim), dtype=torch.float32)
    if where.ndim == 2 and made.spec.axes > 1:
        where = where.unsqueeze(1)
    made.fill_into(out, where, threads=torch.get_num_threads())
    return out.to(positions.device)


for _name, _kernel in (("score_bias", _score_bias), ("score_bias_gradient", _score_bias_gradient), ("sinusoids", _sinusoids)):
    LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")


@torch.library.register_fake("ropewalk::score_bias", lib=LIBRARY)
def _score_bias_fake(numbers: Tensor, queries: Tensor, keys: Tensor, spec: str) -> Tensor:
    return numbers.new_empty(_shape(queries, keys, _fields_of(spec)[1]["heads"]), dtype=torch.float32)


@torch.library.register_fake("ropewalk::score_bias_gradient", lib=LIBRARY)
def _score_bias_gradient_fake(grad: Tensor, numbers: Tensor, queries: Tensor, keys: Tensor, spec: str) -> Tensor:
    return torch.empty_like(numbers, dtype=torch.float32)


@torch.library.register_fake("ropewalk::sinusoids", lib=LIBRARY)
def _sinusoids_fake(positions: Tensor, spec: str) -> Tensor:
    fields = sinusoidal_of(spec).spec
    return positions.new_empty(_sinusoid_shape(positions, fields.axes, fields.dim), dtype=torch.float32)


def _keep(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
    numbers, queries, keys, ctx.spec = inputs
    ctx.save_for_backward(numbers, queries, keys)


def _backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
    numbers, queries, keys = ctx.saved_tensors
    if not ctx.needs_input_grad[0]:
        return None, None, None, None
    return torch.ops.ropewalk.score_bias_gradient(grad, numbers, queries, keys, ctx.spec), None, None, None


def _no_second(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
    raise Error("score_bias: want first gradients (float64 tensors have all), got one of a gradient")


torch.library.register_autograd("ropewalk::score_bias", _backward, setup_context=_keep, lib=LIBRARY)
torch.library.register_autograd("ropewalk::score_bias_gradient", _no_second, lib=LIBRARY)
