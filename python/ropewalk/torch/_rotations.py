"""Encodings that turn queries and keys."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from ropewalk._core import Error
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec
from ropewalk.torch._encoding import PositionEncoding
from ropewalk.torch._functional import rotate


class Rope(PositionEncoding):
    """RoPE of any RotarySpec. Nothing is learned, so that a trained model may be given another: another scaling, say."""

    def __init__(self, *common: Any, theta: float = 10000.0, axes: int = 1, running_length: int = 0, **fields: Any) -> None:
        super().__init__(*common)
        self.rotary = Rotary(self._spec(theta, axes, fields), running_length)
        self.axes = self.rotary.spec.axes
        self.scale *= self.rotary.softmax_scale_multiplier

    def _spec(self, theta: float, axes: int, fields: Any) -> RotarySpec:
        known = {field.name for field in dataclasses.fields(RotarySpec)} - {"head_dim"}
        for name in fields:
            if name not in known:
                raise Error(f"{name}: want an option of {self.name!r} ({', '.join(sorted(known))}), got another")
        spec = RotarySpec(self.head_dim, theta=theta, **fields)
        if axes == 1:
            return spec
        if axes < 1 or spec.pairs % axes or spec.axis_of_pair:
            raise Error(f"axes: want 1, or a number that divides {spec.pairs} pairs and no axis_of_pair, got {axes}")
        each = spec.pairs // axes  # a ladder for each axis, as in rope-vit's axial one
        return dataclasses.replace(spec, axis_of_pair=tuple(pair // each for pair in range(spec.pairs)),
                                   rung_of_pair=tuple(range(each)) * axes, frequency_dim=spec.frequency_dim or 2 * each)

    def _rotate(self, q: Tensor, k: Tensor, positions: Optional[Tensor], layer: int) -> Tuple[Tensor, Tensor]:
        if q.shape[1] != k.shape[1]:
            queries, keys = self._where(q, k, positions, None)
            return self._turn(q, self._streams(queries)), self._turn(k, self._streams(keys), is_key=True)
        if positions is None:
            if self.axes > 1:
                raise Error(f"positions: want [{self.axes}, {q.shape[1]}], the rows and columns of a grid, got none")
            return rotate(self.rotary, q, k)
        positions = self._check_positions(positions, "positions", q.shape[1], q.shape[0])
        return rotate(self.rotary, q, k, position_ids=self._streams(positions))

    def _turn(self, x: Tensor, positions: Tensor, is_key: bool = False) -> Tensor:
        if not is_key or self.rotary.spec.xpos is None:
            return rotate(self.rotary, x, position_ids=positions)
        return rotate(self.rotary, x[:, :, :0], x, position_ids=positions)[1]

    def _streams(self, positions: Tensor) -> Tensor:
        return positions.unsqueeze(1) if self.axes > 1 and positions.ndim == 2 else positions

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.rotary!r}"
