"""The operator as an expression of torch's own operators, for devices and dtypes that the kernels do not serve.

Phases are exact integers as in the kernels (docs/precision.md): positions times turns_per_token in wrapping int64, 2^64 to a turn. The
quadrant comes from the top two bits, the rest goes to float32 (float64 for float64 tensors) once. Everything is elementwise, so a compiler
makes one loop of it, and autocast and TF32 have nothing to round.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

from ropewalk import _core
from ropewalk._core import Error
from ropewalk.rotary import Rotary
from ropewalk.spec import FourierMix, RotarySpec
from ropewalk.torch._positions import axes_of, check_positions



_TURN = 2.0 * math.pi


@dataclasses.dataclass(frozen=True)
class _Ladder:
    """What forms phases: [heads, axes, pairs], flat; and the stream that each pair follows."""

    turns: Tuple[int, ...]
    units_high: Tuple[float, ...]
    units_low: Tuple[float, ...]
    inv_freq_fp32: Tuple[float, ...]
    axis_of_pair: Tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Numbers:
    """An operator as plain numbers."""

    spec: RotarySpec
    attention_factor: float
    centre: int
    first: _Ladder
    second: Optional[_Ladder]
    channels: Tuple[int, ...]  # [2, pairs], flat, in the head that is read
    output_channels: Tuple[int, ...]
    axes: int  # streams of positions
    pairs: int
    tables: int  # groups of heads that turn differently


def numbers_of(text: str) -> Numbers:
    return _numbers_of(text)


numbers_of._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as torch.compiler.assume_constant_result, without its import


@functools.lru_cache(maxsize=256)
def _numbers_of(text: str) -> Numbers:
    rotary = Rotary.from_text(text)
    spec, raw = rotary.spec, _core.numbers_of(rotary)

    def ladder(prefix: str, axes: Sequence[int]) -> _Ladder:
        return _Ladder(
            raw[prefix + "turns_per_token"], raw[prefix + "turns_per_unit_high"], raw[prefix + "turns_per_unit_low"],
            raw[prefix + "inv_freq_fp32"], tuple(axes) if any(axes) else (),
        )

    second = None
    if spec.second is not None:
        second = ladder("second_", spec.second.axis_of_pair or spec.axis_of_pair)
    tables = max(spec.given.heads if spec.given else 1, spec.fourier.heads if spec.fourier else 1)
    return Numbers(spec, rotary.attention_factor, raw["centre"], ladder("", spec.axis_of_pair), second, raw["channels"],
                   raw["output_channels"], spec.axes, spec.pairs, tables)


def _list(values: Sequence[float], dtype: torch.dtype, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=like.device)


def _cos_sin_of_turns(turns: Tensor, dtype: torch.dtype) -> Tuple[Tensor, Tensor]:
    """Of phases in int64, 2^64 to a turn: the nearest quarter exactly, what is left in [-pi/4, pi/4]."""
    quarter = (turns + 2**61) >> 62
    angle = (turns - (quarter << 62)).to(dtype) * (_TURN * 2.0**-64)
    return _in_quarter(quarter, angle)


def _cos_sin_of_fractions(turns: Tensor, dtype: torch.dtype) -> Tuple[Tensor, Tensor]:
    """Of phases in float64, 1 to a turn."""
    quarter = torch.round(turns * 4.0)
    return _in_quarter(quarter.to(torch.int64), ((turns - quarter * 0.25) * _TURN).to(dtype))


def _in_quarter(quarter: Tensor, angle: Tensor) -> Tuple[Tensor, Tensor]:
    cos, sin = torch.cos(angle), torch.sin(angle)
    crossed = (quarter & 1) != 0
    c, s = torch.where(crossed, sin, cos), torch.where(crossed, cos, sin)
    return torch.where(((quarter + 1) & 2) != 0, -c, c), torch.where((quarter & 2) != 0, -s, s)


def _product_in_turns(coordinates: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """coordinates * (high + low) without its whole turns: Dekker's product, for there is no fma to ask for."""

    def halves(x: Tensor) -> Tuple[Tensor, Tensor]:
        big = x * 134217729.0
        top = big - (big - x)
        return top, x - top

    product = coordinates * high
    (a, b), (c, d) = halves(coordinates), halves(high)
    rest = ((a * c - product) + a * d + b * c) + b * d + coordinates * low
    turns = (product - torch.round(product)) + (rest - torch.round(rest))
    return torch.where(torch.isfinite(product), turns, torch.zeros_like(turns))


def _streams(positions: Tensor, axes: Sequence[int]) -> Tensor:
    """[.., tokens, 1 or pairs]: the position that every pair follows."""
    if positions.ndim < 3:
        return positions.unsqueeze(-1)
    if not axes:
        return positions[0].unsqueeze(-1)
    if len(set(axes)) == 1:
        return positions[axes[0]].unsqueeze(-1)
    return torch.stack([positions[axis] for axis in axes], dim=-1)


def _cos_sin(numbers: Numbers, ladder: _Ladder, positions: Tensor, pairs: int, dtype: torch.dtype) -> Tuple[Tensor, Tensor]:
    """[batch or 1, tokens, tables or 1, pairs] each, without the attention factor."""
    spec = numbers.spec
    heads, summed = (spec.given.heads, spec.given.axes) if spec.given else (1, 1)
    whole = not positions.is_floating_point()
    exact = spec.numerics == "exact"

    def column(values: Sequence[float], kind: torch.dtype, axis: int) -> Tensor:
        every = numbers.pairs
        chosen: list[float] = []
        for head in range(heads):
            begin = (head * summed + axis) * every
            chosen += values[begin : begin + pairs]
        return _list(chosen, kind, positions).view(heads, pairs)

    total: Optional[Tensor] = None
    for axis in range(summed):
        p = positions[axis].unsqueeze(-1) if summed > 1 and positions.ndim == 3 else _streams(positions, ladder.axis_of_pair[:pairs])
        p = p.unsqueeze(-2)  # beside the tables
        if exact and whole:
            part = p * column(ladder.turns, torch.int64, axis)
        elif exact:
            part = _product_in_turns(p.double(), column(ladder.units_high, torch.float64, axis), column(ladder.units_low, torch.float64, axis))
        else:
            scaled = p.float() if spec.position_scale == 1.0 else p.float() * _list([spec.position_scale], torch.float32, positions)
            part = scaled * column(ladder.inv_freq_fp32, torch.float32, axis)
        total = part if total is None else total + part
    assert total is not None
    if total.ndim == 3:
        total = total.unsqueeze(0)
    if not exact:
        return torch.cos(total.to(dtype)), torch.sin(total.to(dtype))
    return _cos_sin_of_turns(total, dtype) if whole else _cos_sin_of_fractions(total, dtype)


@functools.lru_cache(maxsize=256)
def ladder_of(theta: float, pairs: int, frequency_dim: int, first_rung: int = 0) -> _Ladder:
    """The speeds theta^(-2 (k + first_rung) / frequency_dim), k from 0 to pairs - 1, as the library forms those of rotations."""
    if 2 * (first_rung + pairs) > frequency_dim:  # a rotation's ladder ends one rung before 1 / theta: one of twice the rungs does not
        theta, frequency_dim = theta * theta, 2 * frequency_dim
    spec = RotarySpec(2 * pairs, theta=theta, frequency_dim=frequency_dim, rung_of_pair=tuple(range(first_rung, first_rung + pairs)))
    return numbers_of(Rotary(spec).text).first


def cos_sin(positions: Tensor, ladder: _Ladder) -> Tuple[Tensor, Tensor]:
    """float64 [..., pairs] each. positions: [...], whole numbers or coordinates."""
    p = positions.unsqueeze(-1)
    if not p.is_floating_point():
        return _cos_sin_of_turns(p * _list(ladder.turns, torch.int64, p), torch.float64)
    high, low = (_list(one, torch.float64, p) for one in (ladder.units_high, ladder.units_low))
    return _cos_sin_of_fractions(_product_in_turns(p.double(), high, low), torch.float64)


Matrices = Tuple[Tensor, Tensor, Tensor, Tensor]
"""y0 = x0 m00 + x1 m01, y1 = x0 m10 + x1 m11: [batch or 1, tokens, tables or 1, pairs] each."""


def _mixed(numbers: Numbers, mix: FourierMix, positions: Tensor, dtype: torch.dtype) -> Tuple[Tensor, Tensor]:
    pairs = numbers.pairs
    cos, sin = _cos_sin(numbers, numbers.first, positions, mix.tones, dtype)

    def mixed(tones: Tensor, weights: Sequence[float], still: float) -> Tensor:
        by = _list(weights, dtype, positions).view(mix.heads, mix.tones, mix.outputs)
        out = (tones.unsqueeze(-1) * by).sum(-2)  # no matmul: autocast and TF32 would round it
        return torch.cat((out, torch.full_like(out[..., :1], still).expand(*out.shape[:-1], pairs - mix.outputs)), -1)

    return mixed(cos, mix.cos_mix, 1.0), mixed(sin, mix.sin_mix, 0.0)


def _matrices(numbers: Numbers, positions: Tensor, direction: str, is_key: bool, dtype: torch.dtype) -> Matrices:
    spec, gain = numbers.spec, numbers.attention_factor
    back = direction in ("transpose", "inverse")
    by = 1.0 / gain if direction.startswith("inverse") else gain
    if numbers.second is None:
        if spec.fourier is None:
            cos, sin = _cos_sin(numbers, numbers.first, positions, numbers.pairs, dtype)
        else:
            cos, sin = _mixed(numbers, spec.fourier, positions, dtype)
        if spec.fourier is not None and direction.startswith("inverse"):
            norm = cos * cos + sin * sin
            cos, sin = cos / norm, sin / norm
        if by != 1.0:
            cos, sin = cos * by, sin * by
        if back != spec.clockwise:
            sin = -sin
        a, b, c, d = cos, -sin, sin, cos
    else:
        a, b = _cos_sin(numbers, numbers.first, positions, numbers.pairs, dtype)
        d, c = _cos_sin(numbers, numbers.second, positions, numbers.pairs, dtype)
        b, c = (b, -c) if spec.clockwise else (-b, c)
        if direction.startswith("inverse"):
            determinant = a * d - b * c
            a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
        if direction in ("transpose", "inverse_transpose"):
            b, c = c, b
        a, b, c, d = (one * by for one in (a, b, c, d))
    if spec.xpos is not None:
        p = _streams(positions, ())
        p = (p.unsqueeze(0) if p.ndim == 2 else p).unsqueeze(-2)
        width, gamma = spec.rotary_dim, spec.xpos.gamma
        logs = _list([math.log((2 * j + gamma * width) / (width + gamma * width)) for j in range(numbers.pairs)], dtype, positions)
        sign = -1.0 if is_key != direction.startswith("inverse") else 1.0
        power = (p - numbers.centre).to(dtype) * (sign / spec.xpos.scale_base)
        magnitude = torch.exp(torch.clamp(power * logs, -200.0, 200.0))
        a, b, c, d = (one * magnitude for one in (a, b, c, d))
    return a, b, c, d


def _spread(matrix: Tensor, layout: str, heads: int) -> Tensor:
    """From [batch or 1, tokens, tables or 1, pairs] to the axes of `layout`."""
    if matrix.shape[2] > 1:
        matrix = matrix.repeat_interleave(heads // matrix.shape[2], dim=2)
    if layout == "bhsd":
        return matrix.transpose(1, 2)
    if layout == "sbhd":
        return matrix.transpose(0, 1)
    return matrix[0] if layout == "thd" else matrix


def _runs(channels: Sequence[int]) -> Optional[Tuple[int, int, int]]:
    """(first, step, count) of evenly spaced channels."""
    step = channels[1] - channels[0] if len(channels) > 1 else 1
    even = all(b - a == step for a, b in zip(channels, channels[1:])) and step > 0
    return (channels[0], step, len(channels)) if even else None


def _taken(x: Tensor, channels: Sequence[int]) -> Tensor:
    run = _runs(channels)
    if run is None:
        return x.index_select(-1, _list(channels, torch.int64, x))
    first, step, count = run
    return x[..., first : first + step * (count - 1) + 1 : step]


def _laid(x: Tensor, y0: Tensor, y1: Tensor, channels: Sequence[int]) -> Tensor:
    """A head with y0, y1 in their channels and everything else as in x."""
    pairs = len(channels) // 2
    low, high = min(channels), max(channels) + 1
    if tuple(channels) == tuple(range(low, high)):
        turned = torch.cat((y0, y1), -1)
    elif tuple(channels) == (*range(low, high, 2), *range(low + 1, high, 2)):
        turned = torch.stack((y0, y1), -1).flatten(-2)
    else:
        order = [0] * (2 * pairs)
        for at, channel in enumerate(channels):
            order[channel - low] = at
        turned = torch.cat((y0, y1), -1).index_select(-1, _list(order, torch.int64, x))
    if low == 0 and high == x.shape[-1]:
        return turned
    return torch.cat((x[..., :low], turned, x[..., high:]), -1)


def turn_pairs(x: Tensor, matrices: Matrices, from_channels: Sequence[int], to_channels: Sequence[int]) -> Tensor:
    pairs, kind = len(from_channels) // 2, matrices[0].dtype
    x0, x1 = _taken(x, from_channels[:pairs]).to(kind), _taken(x, from_channels[pairs:]).to(kind)
    a, b, c, d = matrices
    return _laid(x, (x0 * a + x1 * b).to(x.dtype), (x0 * c + x1 * d).to(x.dtype), to_channels)


def check_shape(x: Tensor, numbers: Numbers, layout: str, heads_axis: int, name: str) -> None:
    if x.ndim != (3 if layout == "thd" else 4):
        raise Error(f"{name}: want {3 if layout == 'thd' else 4} axes for layout {layout!r}, got {list(x.shape)}")
    if not x.is_floating_point():
        raise Error(f"{name}: want a dtype of floats, got {x.dtype}")
    if x.shape[-1] != numbers.spec.head_dim:
        raise Error(f"{name}.head_dim: want {numbers.spec.head_dim}, got {x.shape[-1]}")
    if x.shape[heads_axis] % numbers.tables:
        raise Error(f"{name}.heads: want a multiple of the spec's {numbers.tables} tables, got {x.shape[heads_axis]}")


def rotate(
    x: Tensor, numbers: Numbers, positions: Optional[Tensor], first: int, layout: str, direction: str, role: str = "query"
) -> Tensor:
    """x turned. positions as `_positions.positions_of` gives them."""
    batch, tokens, heads = axes_of(layout)
    check_shape(x, numbers, layout, heads, "q" if role == "query" else "k")
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    if positions is None:
        positions = torch.arange(x.shape[tokens], device=x.device) + first
    else:
        check_positions(positions, numbers.axes, x.shape[tokens], 1 if batch is None else x.shape[batch])
        positions = positions if positions.is_floating_point() else positions.long()
    matrices = _matrices(numbers, positions, direction, role == "key", kind)
    a, b, c, d = (_spread(one, layout, x.shape[heads]) for one in matrices)
    forward = direction in ("forward", "inverse_transpose")
    there, here = (numbers.channels, numbers.output_channels) if forward else (numbers.output_channels, numbers.channels)
    return turn_pairs(x, (a, b, c, d), there, here)


def table_channels(head_dim: int, pairs: int, interleaved: bool) -> Tuple[int, ...]:
    if interleaved:
        return (*range(0, 2 * pairs, 2), *range(1, 2 * pairs, 2))
    return tuple(range(2 * pairs))


def check_table(x: Tensor, cos: Tensor, sin: Tensor, positions: Optional[Tensor], tokens: int, batch: int) -> None:
    if cos.ndim == 2:
        if positions is not None:
            check_positions(positions, 1, tokens, batch)
            if positions.is_floating_point():
                raise Error(f"position_ids: want rows of the table, whole numbers, got {positions.dtype}")
        return
    if cos.ndim != 3:
        raise Error(f"cos: want [max_pos, rotary_dim / 2] or [batch, tokens, rotary_dim / 2], got {list(cos.shape)}")
    if cos.shape[0] not in (1, batch) or cos.shape[1] != tokens:
        raise Error(f"cos: want rows for {batch} x {tokens} tokens, got {list(cos.shape)}")


def rows_of(table: Tensor, positions: Optional[Tensor], first: int, tokens: int, layout: str) -> Tensor:
    """The table's row of every token, in the axes of `layout`, broadcast over heads."""
    if table.ndim == 3:
        rows = table
    else:
        if positions is None:
            positions = torch.arange(tokens, device=table.device) + first
        # embedding: an index below 0 is an error, not a row from the end
        rows = torch.nn.functional.embedding(positions.long(), table)
        rows = rows.unsqueeze(0) if rows.ndim == 2 else rows
    return _spread(rows.unsqueeze(2), layout, 1)


def apply_table(
    x: Tensor, cos: Tensor, sin: Tensor, positions: Optional[Tensor], first: int, layout: str, interleaved: bool, transpose: bool
) -> Tensor:
    batch, tokens, _ = axes_of(layout)
    check_table(x, cos, sin, positions, x.shape[tokens], 1 if batch is None else x.shape[batch])
    c, s = rows_of(cos, positions, first, x.shape[tokens], layout), rows_of(sin, positions, first, x.shape[tokens], layout)
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    c, s = c.to(kind), (-s if transpose else s).to(kind)
    channels = table_channels(x.shape[-1], cos.shape[-1], interleaved)
    return turn_pairs(x, (c, -s, s, c), channels, channels)
