"""Where tokens stand that are no plain sequence: the plain data of `ropewalk/grids.hpp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Tuple

import numpy as np

from ropewalk import _core


@dataclass(frozen=True)
class GridShape:
    """A picture or a clip, counted in patches (checkpoints' `grid_thw`).

    merge: 0: as the options say; VideoLLaMA 3 gives every picture its own.
    """

    frames: int = 1
    rows: int = 0
    columns: int = 0
    merge: int = 0


@dataclass(frozen=True)
class GridOptions:
    """In which order patches come and what their positions are counted from.

    axes: the streams: "hw", "wh" or "thw".
    merge: blocks of merge x merge patches come together (`spatial_merge_size`); window: windows of so many blocks likewise.
    offset: where row 0 and column 0 stand. leading_tokens, trailing_tokens: before and behind each grid, at 0 on every axis.
    pad_to, padding: fills the whole up to so many tokens with this position.
    """

    axes: Literal["hw", "wh", "thw"] = "hw"
    merge: int = 1
    window: int = 0
    offset: int = 0
    leading_tokens: int = 0
    trailing_tokens: int = 0
    pad_to: int = 0
    padding: int = -1


@dataclass(frozen=True)
class CoordinateOptions:
    """What the coordinate of a patch is measured in.

    unit: "patches", "own_side" ([-1, 1] on each axis: DINOv3), "longer_side", "shorter_side" or "ends" (both met).
    offset: 0.5 for the centre of a patch.
    """

    column_first: bool = False
    unit: Literal["patches", "own_side", "longer_side", "shorter_side", "ends"] = "patches"
    offset: float = 0.0
    row_scale: float = 1.0
    column_scale: float = 1.0
    leading_tokens: int = 0
    trailing_tokens: int = 0


@dataclass(frozen=True)
class MropeText:
    """So many tokens of text."""

    tokens: int


@dataclass(frozen=True)
class MropeImage:
    """A picture as the text model sees it: one token for each merged block (divide `grid_thw` by spatial_merge_size)."""

    grid: GridShape


@dataclass(frozen=True)
class MropeVideo:
    """A clip, its grid merged. seconds_per_grid: `second_per_grid_ts`."""

    grid: GridShape
    seconds_per_grid: float = 1.0


@dataclass(frozen=True)
class MropeAudio:
    """So many tokens of sound."""

    tokens: int


@dataclass(frozen=True)
class MropeAudioVideo:
    """A clip whose sound comes between its frames."""

    video: MropeVideo
    audio_tokens: int


@dataclass(frozen=True)
class MropeCanvas:
    """A picture as MiniCPM-V 4.7 reads it: a thumbnail and slices of it on one canvas."""

    thumbnail: GridShape
    slice_rows: int = 0
    slice_columns: int = 0
    slice: GridShape = GridShape()
    trailing_markers: int = 0


@dataclass(frozen=True)
class MropePositions:
    """positions: int64 (float64 if time is fractional) [axes, tokens]. rope_delta: token n of what is decoded behind stands at
    n + rope_delta on every axis. images: pictures so far."""

    positions: np.ndarray
    rope_delta: Any
    images: int


Segment = Any
"""One of MropeText, MropeImage, MropeVideo, MropeAudio, MropeAudioVideo, MropeCanvas."""


def mrope_positions(segments: Tuple[Segment, ...], family: str, *, cached_tokens: int = 0, rope_delta: float = 0, images: int = 0) -> MropePositions:
    """The positions of a sequence of text, pictures, clips and sound, as a model family counts them.

    family: a model_type of `mrope_families()`.
    cached_tokens, rope_delta, images: where an earlier part of the sequence has left off.

    >>> two_words_a_picture_a_word = (MropeText(2), MropeImage(GridShape(rows=2, columns=3)), MropeText(1))
    >>> print(mrope_positions(two_words_a_picture_a_word, "qwen2_vl").positions)
    [[0 1 2 2 2 2 2 2 5]
     [0 1 2 2 2 3 3 3 5]
     [0 1 2 3 4 2 3 4 5]]
    """
    return MropePositions(*_core.mrope_positions(list(segments), family, cached_tokens, rope_delta, images))
