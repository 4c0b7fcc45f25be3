"""What is added to scores before the softmax, by position alone. The classes mirror `ropewalk/bias.hpp`, field by field.

bias[h, i, j] of head h, query position i, key position j; n = i - j. None is multiplied by 1 / sqrt(head_dim), and none has the mask in
it: where an option says causal, a key behind its query gets the bias of n = 0.

    >>> alibi = ScoreBias(AlibiBias(heads=4))
    >>> print(alibi.fill(range(2, 4), range(4))[0])  # queries 2 and 3, keys 0 to 3
    [[-0.5  -0.25  0.    0.  ]
     [-0.75 -0.5  -0.25  0.  ]]
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Literal, Optional, Tuple, Union

import numpy as np

from ropewalk import _core
from ropewalk._core import Error


class _Plain:
    """Equal if all fields are, arrays of numbers by what stands in them."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class AlibiBias(_Plain):
    """ALiBi (arXiv 2108.12409): -slope_h * n. BLOOM, MPT, Falcon-RW, Baichuan-13B, Jina v2, MosaicBERT.

    symmetric: -slope_h * |n|, for encoders. bias_max: MPT's `alibi_bias_max`. slopes: [heads], instead of the formula.
    """

    heads: int
    symmetric: bool = False
    bias_max: float = 8.0
    slopes: Any = ()


@dataclass(frozen=True, eq=False)
class T5Bias(_Plain):
    """T5 (arXiv 1910.10683): a learned number for each bucket of distances. Also mT5, UL2, LongT5, MPNet.

    table: [num_buckets, heads], as `relative_attention_bias.weight`. causal: decoders; False splits the buckets between keys before and
    behind the query. num_buckets, max_distance: `relative_attention_num_buckets`, `relative_attention_max_distance`.
    """

    heads: int
    table: Any
    causal: bool = False
    num_buckets: int = 32
    max_distance: int = 128


@dataclass(frozen=True, eq=False)
class KerpleBias(_Plain):
    """KERPLE (arXiv 2205.09921): -r1 ln(1 + r2 n) ("log") or -r1 n^r2 ("power").

    r1, r2: [heads], raised to `smallest` before use; r2 of "power" is also cut at 2. symmetric: |n| instead of max(n, 0).
    """

    heads: int
    r1: Any
    r2: Any
    kind: Literal["log", "power"] = "log"
    symmetric: bool = False
    smallest: float = 0.01


@dataclass(frozen=True, eq=False)
class FireBias(_Plain):
    """FIRE (arXiv 2310.04418): f_h(psi(n) / (psi(max(i - first_position, L)) + epsilon)), psi(x) = ln(|c| x + 1),
    L = |threshold_multiplier * threshold|, f = w2 relu(w1 x + b1) + b2. Causal.

    w1, b1: [width]; w2: [heads, width]; b2: [heads]. first_position: where rows begin.
    """

    heads: int
    w1: Any
    b1: Any
    w2: Any
    b2: Any
    width: int = 32
    c: float = 0.1
    threshold_multiplier: float = 1.0
    threshold: float = 512.0
    first_position: int = 0
    epsilon: float = 1e-6


@dataclass(frozen=True, eq=False)
class SandwichBias(_Plain):
    """Sandwich (arXiv 2212.10356): (sum over dim / 2 terms of cos(n theta^(-2k/dim)) - subtrahend) / (8 (h + 1) / heads).

    dim: the paper's d-bar, no head_dim. first_term: 0 as sinusoids count, or 1 as the sum is printed.
    """

    heads: int
    dim: int = 128
    theta: float = 10000.0
    first_term: int = 0
    subtrahend: float = 0.0


@dataclass(frozen=True, eq=False)
class WindowBias(_Plain):
    """Swin (arXiv 2103.14030): a learned number for each displacement in a window. A position is a token's number in it.

    table: [(2 rows - 1) (2 columns - 1), heads], 3 rows more with class_token (BEiT).
    """

    heads: int
    rows: int
    columns: int
    table: Any
    class_token: bool = False


@dataclass(frozen=True, eq=False)
class LogCpbBias(_Plain):
    """Swin v2 (arXiv 2111.09883): 16 sigmoid(w2 relu(w1 (y, x) + b1)) of the displacement's logarithms.

    w1: [width, 2], the row's displacement first; b1: [width]; w2: [heads, width]. pretrained_rows, pretrained_columns: of the window that
    was trained; 0: the window's own.
    """

    heads: int
    rows: int
    columns: int
    w1: Any
    b1: Any
    w2: Any
    pretrained_rows: int = 0
    pretrained_columns: int = 0
    width: int = 512


BiasSpec = Union[AlibiBias, T5Bias, KerpleBias, FireBias, SandwichBias, WindowBias, LogCpbBias]

Positions = Any
"""A range, or whole numbers [count] of any order: a list, an array, a tensor."""


def _count(positions: Positions) -> int:
    return len(positions)


class ScoreBias(_core.ScoreBias):
    """The prepared bias: made once, then asked for any block. Immutable; any number of threads may use one.

    Every entry is computed in float64 and rounded to float32 once: the same bits on every machine.
    """

    __slots__ = ("_spec",)

    def __init__(self, spec: BiasSpec) -> None:
        """Raises ropewalk.Error by the field that is wrong: "t5.table.size: want 96, got 95"."""
        super().__init__(spec)
        self._spec = spec

    @property
    def spec(self) -> BiasSpec:
        return self._spec

    def fill(self, queries: Positions, keys: Positions, out: Optional[np.ndarray] = None) -> np.ndarray:
        """float32 [heads, queries, keys]. out: where it is written, in any strides."""
        if out is None:
            out = np.empty((self.heads, _count(queries), _count(keys)), np.float32)
        self.fill_into(queries, keys, out)
        return out

    def gradient(self, queries: Positions, keys: Positions, d_bias: Any) -> Dict[str, np.ndarray]:
        """What the gradient of the block (float32 [heads, queries, keys]) says of what was learned: float64 arrays by the name of their
        field; empty for Sandwich. ALiBi's is of its slopes.

        >>> table = np.zeros((32, 1), np.float32)
        >>> bias = ScoreBias(T5Bias(heads=1, table=table, causal=True))
        >>> print(bias.gradient(range(3), range(3), np.ones((1, 3, 3), np.float32))["table"][:4, 0])
        [6. 2. 1. 0.]
        """
        flat = np.zeros(self.parameter_count)
        self.add_gradient(queries, keys, d_bias, flat)
        return self.named(flat)

    def named(self, flat: np.ndarray) -> Dict[str, np.ndarray]:
        """The parts of an array [parameter_count] in the order of add_gradient, by the name of their field."""
        return {name: flat[offset : offset + size].reshape(self._shape(name, size)) for name, offset, size in self.parameters}

    def _shape(self, name: str, size: int) -> Tuple[int, ...]:
        spec = self._spec
        if name == "table" or name == "w2":
            return (size // spec.heads, spec.heads) if name == "table" else (spec.heads, size // spec.heads)
        if name in ("c", "threshold_multiplier"):
            return ()
        return (size // 2, 2) if name == "w1" and isinstance(spec, LogCpbBias) else (size,)

    def __repr__(self) -> str:
        return f"ScoreBias({self._spec})"

    def __eq__(self, other: object) -> bool:
        return self._spec == other._spec if isinstance(other, ScoreBias) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self._spec,)


__all__ = [
    "AlibiBias", "BiasSpec", "Error", "FireBias", "KerpleBias", "LogCpbBias", "SandwichBias", "ScoreBias", "T5Bias", "WindowBias",
]
