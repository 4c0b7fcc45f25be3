"""An encoding as numbers: which channels turn together, how fast, and what comes out.

Everything is a real number of mpmath_oracle.PRECISION bits until it is written, and is then rounded once to double.
"""

from __future__ import annotations

import dataclasses
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracle"))
import mpmath_oracle as oracle  # noqa: E402

mp = oracle._mp
FAR = (2**17 - 1, 2**20 - 1, 10**7)


def positions_1d(trained: int, largest: int | None = None, negative: bool = True) -> list[int]:
    """0, 1, the middle, the trained length, far ones and negative ones, in no order; none beyond `largest`."""
    wanted = [1, 0, trained // 2, trained, *FAR, 7]
    if negative:
        wanted += [-1, -4099]
    if largest is not None:
        wanted = [p for p in wanted if p <= largest] + [largest]
    return list(dict.fromkeys(wanted))


def input_vector(name: str, channels: int) -> list[float]:
    """Multiples of 1/64 between -2 and 2, none of them zero: exact in float32, bfloat16 and float16 alike."""
    state, out = zlib.crc32(name.encode()), []
    for _ in range(channels):
        state = (1664525 * state + 1013904223) % 2**32
        out.append(((state >> 16) % 128 * 2 - 127) / 64)
    return out


@dataclasses.dataclass
class Encoding:
    """One kind of layer of one checkpoint. `first`, `second`: the two channels of every pair, counted in the head."""

    name: str
    head_dim: int
    first: list[int]
    second: list[int]
    inv_freq: list  # [pairs] mpf, or [axes][pairs] where every axis turns every pair (`axis` is then None)
    positions: list[list]  # [axes][tokens]
    turned_by: list[list] | None = None  # [axes][tokens], where positions stand for something else
    axis: list[int] | None = None  # [pairs]; None: all follow axis 0
    inv_freq_second: list | None = None  # [pairs], where the second channel has an angle of its own
    axis_second: list[int] | None = None
    attention_factor: object = 1.0
    softmax_scale_multiplier: object = 1.0
    clockwise: bool = False
    query_scale: list | None = None  # [tokens]
    running_length: int | None = None
    asked_by: list = dataclasses.field(default_factory=list)  # [(config name, kind, layer)]
    ladder: dict | None = None  # {"theta", "dim"}: the ladder before scaling, where pair j stands on rung j
    scaling: str = "none"
    layout: str = "half"
    note: str = ""
    weights: dict | None = None  # learned numbers that no config holds
    query_gain: list | None = None  # [tokens][pairs], xPos: what the query's pairs are multiplied by
    key_gain: list | None = None
    mapping: object = None  # a callable(encoding, token, x, operand) -> y instead of pairs

    def angle(self, pair: int, token: int, second: bool = False):
        rates, axis = self.inv_freq, self.axis
        where = self.positions if self.turned_by is None else self.turned_by
        if second and self.inv_freq_second is not None:
            rates, axis = self.inv_freq_second, self.axis_second
        if rates and isinstance(rates[0], list):
            total = sum((mp.mpf(where[a][token]) * rates[a][pair] for a in range(len(rates))), mp.mpf(0))
        else:
            total = mp.mpf(where[0 if axis is None else axis[pair]][token]) * rates[pair]
        return -total if self.clockwise else total

    def turned(self, token: int, x: list[float], operand: str = "query") -> list[float]:
        if self.mapping is not None:
            return [float(v) for v in self.mapping(self, token, x, operand)]
        y = [mp.mpf(v) for v in x]
        m = mp.mpf(self.attention_factor)
        gains = self.query_gain if operand == "query" else self.key_gain
        for j, (a, b) in enumerate(zip(self.first, self.second, strict=True)):
            angle = self.angle(j, token)
            c, s = mp.cos(angle), mp.sin(angle)
            c2, s2 = (c, s) if self.inv_freq_second is None else (
                mp.cos(self.angle(j, token, True)), mp.sin(self.angle(j, token, True)))
            gain = m if gains is None else m * gains[token][j]
            y[a] = gain * (mp.mpf(x[a]) * c - mp.mpf(x[b]) * s)
            y[b] = gain * (mp.mpf(x[b]) * c2 + mp.mpf(x[a]) * s2)
        if operand == "query" and self.query_scale is not None:
            y = [mp.mpf(self.query_scale[token]) * v for v in y]
        return [float(v) for v in y]

    def as_json(self) -> dict:
        tokens = len(self.positions[0])
        x = input_vector(self.name, self.head_dim)
        out = {
            "name": self.name,
            "asked_by": [{"config": c, "kind": k, "layer": n} for c, k, n in self.asked_by],
            "head_dim": self.head_dim,
            "layout": self.layout,
            "scaling": self.scaling,
            "attention_factor": float(self.attention_factor),
            "softmax_scale_multiplier": float(self.softmax_scale_multiplier),
            "clockwise": self.clockwise,
            "running_length": self.running_length,
        }
        if self.note:
            out["note"] = self.note
        if self.ladder:
            out["ladder"] = self.ladder
        if self.mapping is None:
            out["first"], out["second"] = self.first, self.second
            out["axis"] = self.axis
            rates = self.inv_freq
            out["inv_freq"] = ([[float(f) for f in row] for row in rates] if rates and isinstance(rates[0], list)
                               else [float(f) for f in rates])
            if self.inv_freq_second is not None:
                out["axis_second"] = self.axis_second
                out["inv_freq_second"] = [float(f) for f in self.inv_freq_second]
        if self.weights:
            out["weights"] = self.weights
        if self.query_gain is not None:
            out["query_gain"] = [[float(v) for v in row] for row in self.query_gain]
            out["key_gain"] = [[float(v) for v in row] for row in self.key_gain]
        if self.query_scale is not None:
            out["query_scale"] = [float(v) for v in self.query_scale]
        out["positions"] = self.positions
        if self.turned_by is not None:
            out["turned_by"] = [[v if isinstance(v, int) else float(v) for v in row] for row in self.turned_by]
        out["x"] = x
        out["query"] = [self.turned(t, x, "query") for t in range(tokens)]
        if self.query_scale is not None or self.query_gain is not None:
            out["key"] = [self.turned(t, x, "key") for t in range(tokens)]
        return out


def channels(layout: str, rotary_dim: int, offset: int = 0) -> tuple[list[int], list[int]]:
    """The channels of every pair, the definition of the words half and interleaved."""
    pairs = rotary_dim // 2
    if layout == "half":
        return [offset + j for j in range(pairs)], [offset + pairs + j for j in range(pairs)]
    if layout == "interleaved":
        return [offset + 2 * j for j in range(pairs)], [offset + 2 * j + 1 for j in range(pairs)]
    raise ValueError(layout)


def one_axis(name, *, head_dim, theta, trained, rotary_dim=None, offset=0, layout="half", scaling="none", params=None,
             running_length=None, clockwise=False, asked_by=(), positions=None, temperature=None, rotates=True, note="",
             multipliers=None, **more) -> Encoding:
    """A text encoding: one axis, pair j on rung j. `params` in the words of config.json (mpmath_oracle.py).

    temperature  (beta, context, offset): the query times 1 + beta ln(1 + floor((p + offset) / context))
    """
    width = head_dim if rotary_dim is None else rotary_dim
    params = dict(params or {})
    if scaling == "dynamic":
        params.setdefault("max_position_embeddings", trained)
    if not rotates:
        width = 0
    first, second = channels(layout, width, offset)
    length = running_length or 0
    rates = oracle.inv_freq(theta, width, scaling, params, length) if width else []
    if multipliers is not None:
        rates = [f * m for f, m in zip(rates, multipliers, strict=True)]
    if positions is None:
        positions = positions_1d(trained, None if running_length is None else running_length - 1)
    scale = None
    if temperature is not None:
        beta, context, shift = temperature
        positions = [p for p in positions if p >= 0]  # the floor of a negative position has no published meaning
        scale = [1 + mp.mpf(beta) * mp.log(1 + (p + shift) // context) for p in positions]
    return Encoding(
        name=name, head_dim=head_dim, first=first, second=second, inv_freq=rates, positions=[positions],
        attention_factor=oracle.attention_factor(scaling, params, length) if width else 1.0,
        softmax_scale_multiplier=oracle.softmax_scale_multiplier(scaling, params),
        clockwise=clockwise, query_scale=scale, running_length=running_length, asked_by=list(asked_by),
        ladder={"theta": theta, "dim": width} if width else None, scaling=scaling if width else "none",
        layout=layout if width else "none", note=note, **more)


@dataclasses.dataclass
class Family:
    """One file of the suite."""

    name: str
    about: str
    source: list[str]
    configs: dict  # name -> {"spelling", "source", "config"}
    encodings: list[Encoding]
