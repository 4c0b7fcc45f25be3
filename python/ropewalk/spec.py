"""A rotary encoding as plain data. The classes mirror `ropewalk/spec.hpp` and `ropewalk/scaling.hpp`, field by field.

All of them are frozen and comparable; `dataclasses.replace` makes variants. Nothing is checked here: `Rotary` and
`make_frequencies` refuse a spec whose fields are outside of their domain, by the field's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional, Tuple, Union

Numerics = Literal["exact", "fp32"]
"""`exact`: phases as exact integers, right at any position. `fp32`: the float32 chain of transformers, for parity."""


@dataclass(frozen=True)
class NoScaling:
    """The ladder as it is (RoFormer, Su et al. 2021)."""


@dataclass(frozen=True)
class LinearScaling:
    """Position interpolation (Chen et al. 2023): every frequency divided by `factor` >= 1."""

    factor: float


@dataclass(frozen=True)
class NtkScaling:
    """NTK-aware scaling with a fixed factor >= 1.

    form: "base" (theta * s^(d/(d-2)): bloc97 2023), "fixed" (theta * s, then divided by s^(2/d): Su 2023) or "mixed" (the same
    article's mixed form, with `mixed_b`).
    """

    factor: float
    form: Literal["base", "fixed", "mixed"] = "base"
    mixed_b: float = 0.625


@dataclass(frozen=True)
class DynamicNtkScaling:
    """Dynamic NTK: theta grows with the running length beyond `trained_context` tokens.

    growth: "running_length" (transformers) or "full_length" (vLLM: fixed at factor * trained_context).
    """

    factor: float
    trained_context: int
    growth: Literal["running_length", "full_length"] = "running_length"


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (Peng et al. 2023, arXiv 2309.00071).

    trained_context: tokens; the checkpoint's original_max_position_embeddings.
    beta_fast, beta_slow: pairs that turn oftener than the first over trained_context are left alone, those that turn more
    rarely than the second are divided by factor; between them, a ramp, widened to whole pairs if `truncate`.
    attention_factor: on cos and sin; None: from mscale and mscale_all_dim (0 is "not given"), else
    mscale_coefficient * ln(factor) + 1.
    mscale_rule: "both" (transformers) or "numerator" (DeepSeek's own code, vLLM).
    ramp_guard: "nudge" (the paper's code, transformers, vLLM) or "floor" (ggml).
    scale_softmax: DeepSeek's extra factor on the softmax scale.
    """

    factor: float
    trained_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: Optional[float] = None
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    mscale_rule: Literal["both", "numerator"] = "both"
    mscale_coefficient: float = 0.1
    extrapolation_factor: float = 1.0
    ramp_guard: Literal["nudge", "floor"] = "nudge"
    scale_softmax: bool = False


@dataclass(frozen=True)
class LongRopeScaling:
    """LongRoPE (Ding et al. 2024, arXiv 2402.13753): two lists of divisors, one entry a pair.

    policy: "by_length" (the long list once the running length is above trained_context), "short" or "long".
    attention_factor: None: 1 for factor <= 1, else sqrt(1 + ln factor / ln trained_context).
    """

    short_factor: Tuple[float, ...]
    long_factor: Tuple[float, ...]
    trained_context: int
    factor: float = 1.0
    attention_factor: Optional[float] = None
    short_mscale: Optional[float] = None
    long_mscale: Optional[float] = None
    policy: Literal["by_length", "short", "long"] = "by_length"


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's scaling by wavelength: above trained_context / low_freq_factor divided by factor, below
    trained_context / high_freq_factor left alone, a blend between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    trained_context: int


@dataclass(frozen=True)
class ProportionalScaling:
    """Gemma 4's: the first `fraction` of the pairs turn, divided by `factor`; the others stand still."""

    fraction: float
    factor: float = 1.0


@dataclass(frozen=True)
class DivisorScaling:
    """A list of divisors, one a pair, times `factor` (GGUF's rope_freqs.weight); infinity stops a pair."""

    divisors: Tuple[float, ...]
    factor: float = 1.0
    attention_factor: float = 1.0


Scaling = Union[
    NoScaling,
    LinearScaling,
    NtkScaling,
    DynamicNtkScaling,
    YarnScaling,
    LongRopeScaling,
    Llama3Scaling,
    ProportionalScaling,
    DivisorScaling,
]


@dataclass(frozen=True)
class QueryTemperature:
    """A factor on the query that grows with its position p: 1 + beta * ln(1 + floor((p + offset) / context)).

    Llama 4 and Ministral 3. `Rotary` does not apply it: it is the caller's to multiply.
    """

    beta: float
    context: int
    offset: int = 0


@dataclass(frozen=True)
class GivenFrequencies:
    """Frequencies that are given, not computed: [heads, axes, pairs] radians per unit of position, flat.

    Head h of H uses table h * heads / H. With axes > 1 a pair's phase is the sum over that many streams of positions.
    """

    inv_freq: Tuple[float, ...]
    heads: int = 1
    axes: int = 1


@dataclass(frozen=True)
class SecondAngle:
    """An angle of its own for the second channel of a pair (V-JEPA 2, HunyuanVL): no rotation. Empty: as the first."""

    rung_of_pair: Tuple[int, ...] = ()
    axis_of_pair: Tuple[int, ...] = ()


@dataclass(frozen=True)
class XPos:
    """xPos (arXiv 2212.10554): queries grow and keys shrink with their position."""

    scale_base: float = 512.0
    gamma: float = 0.4
    centre_above: bool = False


@dataclass(frozen=True)
class FourierMix:
    """FoPE (arXiv 2412.17739): cosines and sines of `tones` pairs mixed by matrices [heads, tones, outputs], flat."""

    tones: int
    outputs: int
    cos_mix: Tuple[float, ...]
    sin_mix: Tuple[float, ...]
    heads: int = 1


@dataclass(frozen=True)
class RotarySpec:
    """What one kind of layer does to its queries and keys.

    head_dim: channels in one head.
    theta: the base of the ladder, `rope_theta`. There is no default: a checkpoint says it. 0 with `given`.
    interleaved: True if the two channels of a pair lie side by side (GPT-J), False if a half apart (GPT-NeoX, Llama in
        transformers). A property of the weights.
    rotary_dim: channels that turn, even; 0: all of the head from rotary_offset on.
    rotary_offset: the first of them (DeepSeek's MLA turns the last ones).
    scaling: one of the scaling classes.
    numerics: "exact" or "fp32".
    frequency_dim: d in theta^(-2j/d); 0 is rotary_dim.
    rung_of_pair, axis_of_pair: [pairs], for axes that restart the ladder and for several streams of positions (M-RoPE,
        grids); empty: pair j stands on rung j and follows stream 0.
    frequency_multipliers: [pairs], learned factors; empty: none.
    clockwise: turn by minus the phase.
    position_scale: radians that one unit of position stands for on the rung of 1.
    pair_blocks: pairs of each block of channels that is laid out by itself.
    output_interleaved: where results go if not where they came from; None: as `interleaved`.
    given, second, xpos, fourier, softmax_scale_multiplier, query_temperature: see their classes.
    """

    head_dim: int
    theta: float = 0.0
    interleaved: bool = False
    rotary_dim: int = 0
    rotary_offset: int = 0
    scaling: Scaling = NoScaling()
    numerics: Numerics = "exact"
    frequency_dim: int = 0
    rung_of_pair: Tuple[int, ...] = ()
    axis_of_pair: Tuple[int, ...] = ()
    frequency_multipliers: Tuple[float, ...] = ()
    clockwise: bool = False
    position_scale: float = 1.0
    pair_blocks: Tuple[int, ...] = ()
    output_interleaved: Optional[bool] = None
    given: Optional[GivenFrequencies] = None
    second: Optional[SecondAngle] = None
    xpos: Optional[XPos] = None
    fourier: Optional[FourierMix] = None
    softmax_scale_multiplier: float = 1.0
    query_temperature: Optional[QueryTemperature] = None

    def __post_init__(self) -> None:
        if self.rotary_dim == 0:
            object.__setattr__(self, "rotary_dim", self.head_dim - self.rotary_offset)

    @property
    def pairs(self) -> int:
        """Planes that turn: rotary_dim / 2."""
        return self.rotary_dim // 2

    @property
    def axes(self) -> int:
        """Streams of positions it needs."""
        axes = [*self.axis_of_pair, *(self.second.axis_of_pair if self.second else ())]
        return max([0, *axes, (self.given.axes - 1 if self.given else 0)]) + 1

    @property
    def is_rotation(self) -> bool:
        """True if norms are kept (attention factor aside) and a score depends on the distance of its tokens alone."""
        return self.second is None and self.xpos is None and self.fourier is None
