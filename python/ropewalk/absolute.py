"""What is added to embeddings: sinusoids and learned rows. The classes mirror `ropewalk/absolute.hpp`, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Optional, Tuple

import numpy as np

from ropewalk import _core


@dataclass(frozen=True)
class SinusoidalSpec:
    """Sines and cosines of positions (arXiv 1706.03762).

    dim: channels of an embedding. axes: 1, 2 (row and column of a picture) or 3; the channels divide by them.
    order: where sines and cosines stand: "interleaved" (the paper), "concatenated" (tensor2tensor, fairseq, Marian, Whisper), or either
        with "_cos_first". exponent: pair k turns by theta^(-k / half) ("paper") or theta^(-k / (half - 1)) ("tensor2tensor") radians a
        position. Neither has a default, for checkpoints differ.
    sines_of_all_axes_first: timm's order. position_offset: added to every position (fairseq: padding_idx + 1).
    zero_position: the position, offset included, whose row is zero. gain: on every sine and cosine.
    """

    dim: int
    order: Literal["interleaved", "concatenated", "interleaved_cos_first", "concatenated_cos_first"]
    exponent: Literal["paper", "tensor2tensor"]
    axes: int = 1
    theta: float = 10000.0
    sines_of_all_axes_first: bool = False
    position_offset: int = 0
    zero_position: Optional[int] = None
    gain: float = 1.0


@dataclass(frozen=True)
class SinusoidGridOptions:
    """Where the patches of a picture stand for a sinusoid of two axes.

    column_first: axis 0 is the column (MAE). first: coordinate of the first row and column. normalized_to: coordinates are divided by the
    last one (plus epsilon) and multiplied by this (DETR: 2 pi). shift: added before the division.
    """

    column_first: bool = False
    first: float = 0.0
    normalized_to: Optional[float] = None
    epsilon: float = 1e-6
    shift: float = 0.0


@dataclass(frozen=True)
class TableResize:
    """A table of rows on a grid, moved to another grid, as torch's interpolate(align_corners=False).

    columns: 1 for a sequence. antialias: where it shrinks (timm's default). leading_rows, trailing_rows: before and behind the grid, kept.
    row_step, column_step: old places for each new one; None: rows / new_rows.
    """

    rows: int
    columns: int
    new_rows: int
    new_columns: int
    resampling: Literal["linear", "cubic"] = "cubic"
    antialias: bool = False
    leading_rows: int = 0
    trailing_rows: int = 0
    row_step: Optional[float] = None
    column_step: Optional[float] = None


class Sinusoidal(_core.Sinusoidal):
    """The prepared embedding. Holds no table: any position is as exact as any other.

    >>> spec = SinusoidalSpec(dim=4, order="interleaved", exponent="paper")
    >>> print(Sinusoidal(spec).rows([0, 1]).round(4))
    [[0.     1.     0.     1.    ]
     [0.8415 0.5403 0.01   1.    ]]
    """

    __slots__ = ("_spec",)

    def __init__(self, spec: SinusoidalSpec) -> None:
        """Raises ropewalk.Error by the field that is wrong."""
        super().__init__(spec)
        self._spec = spec

    @property
    def spec(self) -> SinusoidalSpec:
        return self._spec

    def rows(self, position_ids: Any, *, threads: int = 0) -> np.ndarray:
        """float32 [tokens, dim], or [batch, tokens, dim].

        position_ids: [tokens] or [batch, tokens] of whole numbers, or floats for coordinates; with more than one axis [axes, tokens] or
            [axes, batch, tokens].
        """
        where = self._streams(position_ids)
        shape = where.shape[1:] if where.ndim == 3 else where.shape
        if where.ndim == 3 and np.ndim(position_ids) == 2:
            shape = shape[1:]
        out = np.empty((*shape, self._spec.dim), np.float32)
        self.fill_into(out, where, threads=threads)
        return out

    def add(self, x: Any, position_ids: Any = None, *, embedding_scale: float = 1.0, threads: int = 0) -> Any:
        """embedding_scale * x + rows, a new array like x: [batch, tokens, dim] or [tokens, dim]; float32, bfloat16 or float16.

        position_ids: as for rows; None: 0, 1, 2, ... embedding_scale: sqrt(dim) in the original.
        """
        return self.add_to(x, None if position_ids is None else self._streams(position_ids), embedding_scale, threads, False)

    def add_(self, x: Any, position_ids: Any = None, *, embedding_scale: float = 1.0, threads: int = 0) -> Any:
        """The same in place; gives x back."""
        return self.add_to(x, None if position_ids is None else self._streams(position_ids), embedding_scale, threads, True)

    def _streams(self, position_ids: Any) -> Any:
        where = np.asarray(position_ids)
        return where[:, None] if self._spec.axes > 1 and where.ndim == 2 else where

    def __repr__(self) -> str:
        return f"Sinusoidal({self._spec})"

    def __eq__(self, other: object) -> bool:
        return self._spec == other._spec if isinstance(other, Sinusoidal) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._spec)

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self._spec,)
