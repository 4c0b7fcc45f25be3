"""ggml's words: `ggml_rope_ext` and `ggml_rope_multi` by mode number, as a RotarySpec."""

from __future__ import annotations

import math
from typing import Optional, Sequence

from ropewalk._core import Error
from ropewalk.spec import DivisorScaling, LinearScaling, NoScaling, RotarySpec, Scaling, YarnScaling

NORMAL, NEOX, MROPE, VISION, IMROPE = 0, 2, 8, 24, 40


def rope_spec(
    head_dim: int,
    n_dims: int,
    mode: int,
    *,
    freq_base: float,
    n_ctx_orig: int = 0,
    freq_scale: float = 1.0,
    ext_factor: float = 0.0,
    attn_factor: float = 1.0,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    freq_factors: Optional[Sequence[float]] = None,
    sections: Optional[Sequence[int]] = None,
) -> RotarySpec:
    """The encoding that ggml computes (ggml/src/ggml-cpu/ops.cpp, rope_yarn and ggml_mrope_cache_init).

    head_dim: a's first axis. n_dims: channels that turn; for VISION pairs (i, i + n_dims), so that 2 n_dims = head_dim turn.
    mode: NORMAL (0, neighbours), NEOX (2, halves), MROPE (8), VISION (24), IMROPE (40): halves; those three want sections.
    freq_scale: 1 / factor, at most 1. ext_factor: 0, or YaRN's weight, which wants n_ctx_orig (not for VISION).
    freq_factors: [pairs], ggml's tensor c, which divides. sections: pairs of each of four streams (time, height, width, extra).

    >>> rope_spec(128, 128, NEOX, freq_base=500000.0).interleaved
    False
    """
    if mode not in (NORMAL, NEOX, MROPE, VISION, IMROPE):
        raise Error(f"mode: want 0, 2, 8, 24 or 40, got {mode}")
    if not 0 < freq_scale <= 1:
        raise Error(f"freq_scale: want a number in (0, 1], got {freq_scale}")
    if (sections is not None) != (mode in (MROPE, VISION, IMROPE)):
        raise Error("sections: want them for the modes 8, 24 and 40, and none for 0 and 2")
    if mode == VISION and ext_factor != 0:
        raise Error(f"ext_factor: want 0 for mode 24, whose ramp would run over the head and its ladder over a section, got {ext_factor}")
    pairs = n_dims if mode == VISION else n_dims // 2
    if freq_factors is not None and len(freq_factors) != pairs:
        raise Error(f"freq_factors: want {pairs}, got {len(freq_factors)}")

    factor = 1 / freq_scale
    scaling: Scaling = NoScaling()
    multipliers: Sequence[float] = ()
    if ext_factor != 0:
        scaling = YarnScaling(
            factor,
            n_ctx_orig,
            beta_fast,
            beta_slow,
            extrapolation_factor=ext_factor,
            ramp_guard="floor",
            attention_factor=attn_factor * (1 + 0.1 * math.log(factor)),
        )
        if freq_factors is not None:
            multipliers = [1 / one for one in freq_factors]
    elif freq_factors is not None or attn_factor != 1:
        scaling = DivisorScaling(tuple(freq_factors) if freq_factors is not None else (1.0,) * pairs, factor, attn_factor)
    elif factor != 1:
        scaling = LinearScaling(factor)

    axes: list[int] = []
    rungs: list[int] = []
    if sections is not None:
        if len(sections) != 4 or min(sections) < 0 or sum(sections) < 1:
            raise Error(f"sections: want four numbers of pairs, got {list(sections)}")
        for pair in range(pairs):
            sector = pair % sum(sections)
            begin, axis = 0, 0
            for axis in range(4):
                if sector < begin + sections[axis]:
                    break
                begin += sections[axis]
            if mode == IMROPE:
                axis = sector % 3 if sector < 3 * sections[sector % 3] else 3
            axes.append(axis)
            rungs.append(sector - begin if mode == VISION else pair)
    return RotarySpec(
        head_dim=head_dim,
        theta=freq_base,
        interleaved=mode == NORMAL,
        rotary_dim=2 * pairs,
        frequency_dim=n_dims if mode == VISION else 0,
        scaling=scaling,
        frequency_multipliers=tuple(multipliers),
        axis_of_pair=tuple(axes),
        rung_of_pair=tuple(rungs) if mode == VISION else (),
    )
