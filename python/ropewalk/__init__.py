"""Position encodings for transformers, exact at any length.

    >>> import numpy as np, ropewalk
    >>> rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=4, theta=10000.0))
    >>> q = np.ones((1, 2, 1, 4), np.float32)  # [batch, tokens, heads, head_dim]
    >>> print(rotary.apply(q, position_ids=[0, 1])[0, :, 0].round(2))
    [[ 1.    1.    1.    1.  ]
     [-0.3   0.99  1.38  1.01]]
"""

from ropewalk._core import (
    CheckpointPositions,
    Error,
    Hazard,
    LayerKind,
    Provenance,
    __version__,
    active_target_name,
    append_,
    channel_order,
    coordinates_from_audio_windows,
    coordinates_from_grid,
    describe,
    dual_chunk_key_positions,
    dual_chunk_query_positions,
    fingerprint,
    grid_families,
    grid_options,
    known_families,
    make_scaling,
    mrope_families,
    permute_rows,
    positions_for_rank,
    positions_from_compressed,
    positions_from_cu_seqlens,
    positions_from_grids,
    positions_from_mask,
    positions_from_offsets,
    positions_from_patch_ids,
    positions_from_range,
    positions_from_rope_deltas,
    shift_,
    slots_of_pages,
)
from ropewalk.cache import CacheView, HeadNorm
from ropewalk.checkpoint import explain, read_positions
from ropewalk.grids import (
    CoordinateOptions,
    GridOptions,
    GridShape,
    MropeAudio,
    MropeAudioVideo,
    MropeCanvas,
    MropeImage,
    MropePositions,
    MropeText,
    MropeVideo,
    mrope_positions,
)
from ropewalk.rotary import Rotary
from ropewalk.spec import (
    DivisorScaling,
    DynamicNtkScaling,
    FourierMix,
    GivenFrequencies,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NoScaling,
    NtkScaling,
    ProportionalScaling,
    QueryTemperature,
    RotarySpec,
    Scaling,
    SecondAngle,
    XPos,
    YarnScaling,
)

_ROOMS = ("cache", "checkpoint", "grids", "rotary", "spec")
__all__ = [name for name in dir() if not name.startswith("_") and name not in _ROOMS] + ["__version__"]
