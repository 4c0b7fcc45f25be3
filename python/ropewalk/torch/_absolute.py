"""Encodings that add to embeddings (`ropewalk/absolute.hpp`), and the modules that do it alone."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor, nn

from ropewalk import absolute
from ropewalk._core import Error, resize_table
from ropewalk._options import number, pair, whole
from ropewalk.torch import _encoding_ops, _expression
from ropewalk.torch._encoding import PositionEncoding
from ropewalk.torch._positions import is_seen, want_on_grid, want_tensor, want_whole


class SinusoidalEmbedding(nn.Module):
    """embedding_scale * x + sines and cosines of positions. Holds plain data and no tensor.

        >>> import torch
        >>> from ropewalk import SinusoidalSpec
        >>> embedding = SinusoidalEmbedding(SinusoidalSpec(dim=4, order="interleaved", exponent="paper"))
        >>> embedding(torch.zeros(1, 2, 4))
        tensor([[[0.0000, 1.0000, 0.0000, 1.0000],
                 [0.8415, 0.5403, 0.0100, 0.9999]]])
    """

    def __init__(self, spec: absolute.SinusoidalSpec, embedding_scale: float = 1.0) -> None:
        super().__init__()
        self.spec = absolute.Sinusoidal(spec).spec
        self.embedding_scale = float(embedding_scale)
        self._line = _encoding_ops.text_of(spec)

    def rows(self, positions: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """[.., tokens, dim]. positions: [tokens] or [batch, tokens]; [axes, tokens] or [axes, batch, tokens] with more than one axis.
        Whole numbers, or floats for coordinates."""
        if dtype == torch.float64 or positions.device.type != "cpu":
            return self._expression(positions).to(dtype)
        if positions.is_floating_point():
            positions = positions.double()
        return torch.ops.ropewalk.sinusoids(positions, self._line)

    def forward(self, x: Tensor, positions: Optional[Tensor] = None) -> Tensor:
        """x: [batch, tokens, dim]; positions None: 0, 1, ..."""
        if x.ndim != 3 or x.shape[-1] != self.spec.dim:
            raise Error(f"x: want [batch, tokens, {self.spec.dim}], got {list(x.shape)}")
        if positions is None:
            if self.spec.axes > 1:
                raise Error(f"positions: want [{self.spec.axes}, {x.shape[1]}], got none")
            positions = torch.arange(x.shape[1], device=x.device)
        else:
            want_tensor(positions, "positions")
            lead = int(self.spec.axes > 1)
            shape = list(positions.shape)
            if len(shape) - lead not in (1, 2) or shape[-1] != x.shape[1] or (lead and shape[0] != self.spec.axes) or (
                len(shape) - lead == 2 and shape[-2] not in (1, x.shape[0])):
                axes = f"{self.spec.axes}, " if lead else ""
                raise Error(f"positions: want [{axes}{x.shape[1]}] or [{axes}{x.shape[0]}, {x.shape[1]}], got {shape}")
        rows = self.rows(positions, torch.float64 if x.dtype == torch.float64 else torch.float32)
        # Where x is narrow the sum is rounded once, not the rows before it.
        if x.dtype in (torch.float32, torch.float64):
            return x + rows if self.embedding_scale == 1.0 else x * self.embedding_scale + rows
        return (x.float() * self.embedding_scale + rows).to(x.dtype)

    def _expression(self, positions: Tensor) -> Tensor:
        spec = self.spec
        half = spec.dim // spec.axes // 2
        ladder = _expression.ladder_of(spec.theta, half, 2 * (half if spec.exponent == "paper" else max(half - 1, 1)))
        where = positions if positions.is_floating_point() else positions + spec.position_offset
        sines, cosines = [], []
        for axis in where.unbind(0) if spec.axes > 1 else (where,):
            cos, sin = _expression.cos_sin(axis, ladder)
            sines.append(sin * spec.gain)
            cosines.append(cos * spec.gain)
        odd = spec.dim // spec.axes % 2

        def axis_of(s: Tensor, c: Tensor) -> Tensor:
            first, second = (c, s) if spec.order.endswith("cos_first") else (s, c)
            both = torch.stack((first, second), -1).flatten(-2) if spec.order.startswith("interleaved") else torch.cat((first, second), -1)
            return torch.cat((both, torch.zeros_like(both[..., :1])), -1) if odd else both

        if spec.sines_of_all_axes_first:
            out = axis_of(torch.cat(sines, -1), torch.cat(cosines, -1))
        else:
            out = torch.cat([axis_of(s, c) for s, c in zip(sines, cosines)], -1)
        if spec.zero_position is not None:
            out = out * (where != spec.zero_position).unsqueeze(-1)
        return out

    def extra_repr(self) -> str:
        return repr(self.spec)


class LearnedEmbedding(nn.Module):
    """embedding_scale * x + a learned row for each position.

    grid: (rows, columns) of a picture whose patches have the rows, behind `leading` ones (a class token's): positions may then be
        [2, tokens], rows and columns.
    position_offset: row = position + this (OPT, BART: 2; RoBERTa: padding_idx + 1).
    """

    def __init__(
        self, rows: int, dim: int, *, grid: Optional[Tuple[int, int]] = None, leading: int = 0, position_offset: int = 0,
        embedding_scale: float = 1.0, std: float = 0.02,
    ) -> None:
        super().__init__()
        for name, value in (("leading", leading), ("position_offset", position_offset)):
            whole(name, value, 0)
        grid = None if grid is None else pair("grid", grid)
        std = number("std", std, least=0.0)
        if grid is not None and rows != leading + grid[0] * grid[1]:
            raise Error(f"rows: want {leading + grid[0] * grid[1]}, {leading} and a grid of {grid[0]} x {grid[1]}, got {rows}")
        self.grid, self.leading = grid, leading
        self.position_offset, self.embedding_scale = position_offset, float(embedding_scale)
        self.weight = nn.Parameter(torch.empty(rows, dim))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Tensor, positions: Optional[Tensor] = None) -> Tensor:
        """x: [batch, tokens, dim]. positions: [tokens] or [batch, tokens], with a grid [tokens], [2, tokens] or [2, batch, tokens];
        None: 0, 1, ..."""
        rows, dim = self.weight.shape
        if x.ndim != 3 or x.shape[-1] != dim:
            raise Error(f"x: want [batch, tokens, {dim}], got {list(x.shape)}")
        tokens = x.shape[1]
        if positions is None:
            positions = torch.arange(tokens, device=x.device)
        want_whole(positions, "positions")
        if self.grid is not None and positions.ndim > 1:
            if positions.shape[0] != 2 or positions.ndim > 3:
                raise Error(f"positions: want [{tokens}], [2, {tokens}] or [2, {x.shape[0]}, {tokens}], got {list(positions.shape)}")
            want_on_grid(positions, "positions", *self.grid)
            positions = positions[0] * self.grid[1] + positions[1] + self.leading
        fits = positions.ndim in (1, 2) and positions.shape[-1] == tokens
        if not fits or (positions.ndim == 2 and positions.shape[0] not in (1, x.shape[0])):
            raise Error(f"positions: want [{tokens}] or [{x.shape[0]}, {tokens}], got {list(positions.shape)}")
        index = positions.long() + self.position_offset
        if index.numel() > 0 and is_seen(index):
            low, high = int(index.min()), int(index.max())
            if low < 0 or high >= rows:
                wrong = (low if low < 0 else high) - self.position_offset
                raise Error(f"positions: want {-self.position_offset} to {rows - 1 - self.position_offset}, the rows that were learned, "
                            f"got {wrong}")
        found = torch.nn.functional.embedding(index, self.weight)
        return x + found if self.embedding_scale == 1.0 else x * self.embedding_scale + found

    @torch.no_grad()
    def resized(self, *grid: int, resampling: str = "cubic", antialias: bool = False) -> "LearnedEmbedding":
        """A new one whose rows stand on another grid: `resized(24, 24)`, or `resized(512)` for a sequence ("linear" or "cubic").

        As torch's interpolate(align_corners=False); leading rows stay.
        """
        weight = self.weight.detach().float().cpu().contiguous()
        old = self.grid if self.grid is not None else (len(weight) - self.leading, 1)
        if len(grid) != (2 if self.grid is not None else 1):
            raise Error(f"grid: want {'rows and columns' if self.grid is not None else 'tokens'}, got {grid}")
        new = (grid[0], grid[1]) if len(grid) == 2 else (grid[0], 1)
        how = absolute.TableResize(*old, *new, resampling, antialias, leading_rows=self.leading)  # type: ignore[arg-type]
        rows = torch.from_numpy(resize_table(weight, how))
        made = LearnedEmbedding(len(rows), rows.shape[1], grid=new if self.grid is not None else None, leading=self.leading,
                                position_offset=self.position_offset, embedding_scale=self.embedding_scale)
        made.weight = nn.Parameter(rows.to(self.weight.device, self.weight.dtype), requires_grad=self.weight.requires_grad)
        return made

    def extra_repr(self) -> str:
        rows, dim = self.weight.shape
        return f"{rows}, {dim}" + (f", grid={self.grid}" if self.grid is not None else "")


class Sinusoids(PositionEncoding):
    def __init__(
        self, *common: Any, order: str = "interleaved", exponent: str = "paper", theta: float = 10000.0, axes: int = 1,
        embedding_scale: float = 1.0, position_offset: int = 0, zero_position: Optional[int] = None, gain: float = 1.0,
        sines_of_all_axes_first: bool = False,
    ) -> None:
        super().__init__(*common)
        spec = absolute.SinusoidalSpec(
            self.model_dim, order, exponent, axes, float(theta), sines_of_all_axes_first, position_offset,  # type: ignore[arg-type]
            zero_position, float(gain))
        self.embedding = SinusoidalEmbedding(spec, embedding_scale)
        self.axes = axes

    def _embed(self, x: Tensor, positions: Optional[Tensor]) -> Tensor:
        return self.embedding(x, positions)  # type: ignore[no-any-return]


class Learned(PositionEncoding):
    def __init__(
        self, *common: Any, grid: Optional[Tuple[int, int]] = None, leading: int = 0, position_offset: int = 0,
        embedding_scale: float = 1.0, std: float = 0.02,
    ) -> None:
        super().__init__(*common)
        grid = None if grid is None else pair("grid", grid)
        whole("leading", leading, 0)
        whole("position_offset", position_offset, 0)
        rows = self.max_tokens + position_offset if grid is None else leading + grid[0] * grid[1]
        self.embedding = LearnedEmbedding(rows, self.model_dim, grid=grid, leading=leading, position_offset=position_offset,
                                          embedding_scale=embedding_scale, std=std)

    def _embed(self, x: Tensor, positions: Optional[Tensor]) -> Tensor:
        return self.embedding(x, positions)  # type: ignore[no-any-return]
