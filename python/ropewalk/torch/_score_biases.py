"""Encodings that add to scores by position alone (`ropewalk/bias.hpp`)."""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ropewalk import _core, bias
from ropewalk._core import Error
from ropewalk._options import number, pair, whole
from ropewalk.torch import _encoding_ops, _expression
from ropewalk.torch._attention import attention, has_kernel, streamed
from ropewalk.torch._encoding import Entry, PositionEncoding, ScoreMod
from ropewalk.torch._kernels import gradients_are_transformed
from ropewalk.torch._positions import want_between, want_on_grid, want_whole


def constant(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers of an encoding that are no parameters: made where they are wanted, so that no cast of a model rounds them."""
    return torch.tensor(values, dtype=dtype, device=device)


class ScoreBiasEncoding(PositionEncoding):
    """What a ScoreBias adds. float32 and narrower scores get the library's entries on the CPU; float64 and other devices those of
    `_entry`, the same formula in torch."""

    adds_to_scores = True

    shared = True

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        """What was learned, in the order of ScoreBias.parameters."""
        return ()

    def _text(self) -> str:
        raise NotImplementedError

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        raise NotImplementedError

    def _of_layer(self, parameter: Tensor, layer: int) -> Tensor:
        return parameter if self.shared else parameter[layer]

    def _sets(self, *shape: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(shape if self.shared else (self.layers, *shape)))

    def _check_range(self, positions: Tensor, name: str) -> None:
        """Refuses positions that the encoding has nothing for."""

    def bias(
        self, tokens: int, keys: Optional[int] = None, *, layer: int = 0, positions: Optional[Tensor] = None,
        key_positions: Optional[Tensor] = None, dtype: torch.dtype = torch.float32, device: Any = None,
    ) -> Tensor:
        """What is added to scores, [heads, tokens, keys] or [batch, heads, tokens, keys]. No mask is in it."""
        device = torch.device("cpu") if device is None else torch.device(device)
        keys = tokens if keys is None else keys
        q = torch.empty(1, tokens, 0, 0, device=device)
        k = torch.empty(1, keys, 0, 0, device=device)
        return self._bias(layer, *self._where(q, k, positions, key_positions), dtype, device)

    def _bias(self, layer: int, positions: Tensor, key_positions: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        queries, keys = positions, key_positions
        self._check_range(queries, "positions")
        self._check_range(keys, "key_positions")
        if dtype == torch.float64 or device.type != "cpu" or gradients_are_transformed():
            if queries.ndim == 2 or keys.ndim == 2:
                queries, keys = (one.unsqueeze(0) if one.ndim == 1 else one for one in (queries, keys))
            heads = torch.arange(self.heads, device=device).view(-1, 1, 1)
            entry = self._entry(layer, torch.float64 if dtype == torch.float64 else torch.float32, device)
            return entry(heads, queries.unsqueeze(-2).unsqueeze(-1), keys.unsqueeze(-2).unsqueeze(-2))
        return torch.ops.ropewalk.score_bias(self._flat(layer, device), queries, keys, self._text())

    def _flat(self, layer: int, device: torch.device) -> Tensor:
        learned = [one.float().flatten() for one in self._numbers(layer)]
        return torch.cat(learned) if learned else torch.empty(0, device=device)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float
    ) -> Tensor:
        if positions is None and key_positions is None and has_kernel(q, k, v):
            return streamed(q, k, v, self._flat(layer, q.device), self._text(), self.causal, scale)
        queries, keys = self._where(q, k, positions, key_positions)
        return attention(q, k, v, self._bias(layer, queries, keys, q.dtype, q.device), self.causal, scale)

    def _score_mod(
        self, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], q: Optional[Tensor], k: Optional[Tensor]
    ) -> Optional[ScoreMod]:
        for name, one in (("positions", positions), ("key_positions", key_positions)):
            if one is None:
                continue
            want_whole(one, name)
            if one.ndim != 1:
                raise Error(f"{name}: want [tokens], got {list(one.shape)}")
            self._check_range(one, name)
        device = next((one.device for one in (*self.parameters(), positions, key_positions) if one is not None), None)
        entry = self._entry(layer, torch.float32, torch.empty(0).device if device is None else device)

        def add(score: Tensor, b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
            i = q_idx if positions is None else positions[q_idx]
            j = kv_idx if key_positions is None else key_positions[kv_idx]
            return score + entry(h, i, j).to(score.dtype)

        return add


class Alibi(ScoreBiasEncoding):
    def __init__(self, *common: Any, bias_max: float = 8.0, slopes: Optional[Sequence[float]] = None, trained: bool = False) -> None:
        super().__init__(*common)
        values = _core.alibi_slopes(self.heads, bias_max).tolist() if slopes is None else [float(one) for one in slopes]
        self._spec = bias.AlibiBias(self.heads, symmetric=not self.causal, bias_max=bias_max, slopes=() if slopes is None else values)
        bias.ScoreBias(self._spec)
        self._line = _encoding_ops.text_of(self._spec)
        self._slopes, self._given = tuple(values), slopes is not None
        self.slopes = nn.Parameter(torch.tensor(values)) if trained else None

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        if self.slopes is not None:
            return (self.slopes,)
        return (torch.tensor(self._slopes),) if self._given else ()

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        slopes = constant(self._slopes, dtype, device) if self.slopes is None else self.slopes.to(dtype)
        return lambda h, i, j: -slopes[h] * ((i - j).clamp(min=0) if self.causal else (i - j).abs()).to(dtype)


class T5(ScoreBiasEncoding):
    def __init__(
        self, *common: Any, num_buckets: int = 32, max_distance: int = 128, shared: bool = True, scale: Optional[float] = 1.0
    ) -> None:
        super().__init__(*common)
        self.shared = shared
        self.num_buckets, self.max_distance = whole("num_buckets", num_buckets, 1), whole("max_distance", max_distance, 1)
        if scale is not None:
            self.scale = number("scale", scale, above=0.0)
        self._starts = _core.t5_bucket_starts(num_buckets, max_distance, self.causal).tolist()
        self._line = _encoding_ops.text_of(bias.T5Bias(self.heads, (), self.causal, num_buckets, max_distance))
        self.table = self._sets(num_buckets, self.heads)
        nn.init.normal_(self.table, std=self.model_dim**-0.5)

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        return (self._of_layer(self.table, layer),)

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        table = self._of_layer(self.table, layer).to(dtype)
        half, last = len(self._starts), self._starts[-1]
        # The bucket of each distance up to the last one's start: 114 entries at T5's own numbers.
        near = min(last, 1 << 16)
        edges = torch.tensor(self._starts, device=device)
        bucket_of = torch.searchsorted(edges, torch.arange(near + 1, device=device), right=True) - 1
        beyond = [start for start in self._starts if start > near]

        def entry(h: Any, i: Any, j: Any) -> Tensor:
            n = i - j
            far = n.clamp(min=0) if self.causal else n.abs()
            bucket = bucket_of[far.clamp(max=near)]
            for start in beyond:  # compared one by one, for a score_mod may not search
                bucket = bucket + (far >= start)
            return table[bucket if self.causal else bucket + half * (n < 0), h]

        return entry


class Kerple(ScoreBiasEncoding):
    def __init__(self, *common: Any, kind: str = "log", shared: bool = True, smallest: float = 0.01) -> None:
        super().__init__(*common)
        if kind not in ("log", "power"):
            raise Error(f'kind: want "log" or "power", got {kind!r}')
        self.shared, self.kind, self.smallest = shared, kind, number("smallest", smallest, least=0.0)
        spec = bias.KerpleBias(self.heads, (), (), kind, not self.causal, self.smallest)  # type: ignore[arg-type]
        self._line = _encoding_ops.text_of(spec)
        self.r1, self.r2 = self._sets(self.heads), self._sets(self.heads)
        nn.init.uniform_(self.r1, 0.0, 2.0)
        nn.init.uniform_(self.r2, 0.0, 1.0)

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        return self._of_layer(self.r1, layer), self._of_layer(self.r2, layer)

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        r1, r2 = (_raised(one.to(dtype), self.smallest, limit)
                  for one, limit in zip(self._numbers(layer), (math.inf, 2.0 if self.kind == "power" else math.inf)))

        def entry(h: Any, i: Any, j: Any) -> Tensor:
            n = ((i - j).clamp(min=0) if self.causal else (i - j).abs()).to(dtype)
            if self.kind == "log":
                return -r1[h] * torch.log1p(r2[h] * n)
            # n = 0 by itself: the slope of a power there is none that a product with 0 would take away
            return torch.where(n > 0, -r1[h] * torch.exp(r2[h] * torch.log(n.clamp(min=1))), 0.0)

        return entry


def _raised(x: Tensor, smallest: float, largest: float) -> Tensor:
    """Cut, with the gradient of the value that it was cut to, as the authors' code has it: it assigns to the parameter's data."""
    return x + (x.clamp(smallest, largest) - x).detach()


class Fire(ScoreBiasEncoding):
    def __init__(
        self, *common: Any, width: int = 32, c: float = 0.1, threshold: float = 512.0, first_position: int = 0, epsilon: float = 1e-6,
        shared: bool = False,
    ) -> None:
        super().__init__(*common)
        if not self.causal:
            raise Error("causal: want True, for FIRE divides by the query's own position, got False")
        self.shared, self.width, self.threshold, self.epsilon = shared, width, float(threshold), float(epsilon)
        self.first_position = first_position
        spec = bias.FireBias(self.heads, [0.0] * width, [0.0] * width, [0.0] * (width * self.heads), [0.0] * self.heads, width,
                             float(c), 1.0, self.threshold, first_position, self.epsilon)
        bias.ScoreBias(spec)
        self._line = _encoding_ops.text_of(spec)
        self.c, self.threshold_multiplier = self._sets(), self._sets()
        self.w1, self.b1 = self._sets(width), self._sets(width)
        self.w2, self.b2 = self._sets(self.heads, width), self._sets(self.heads)
        nn.init.constant_(self.c, c)
        nn.init.constant_(self.threshold_multiplier, 1.0)
        for part in (self.w1, self.b1):  # as Linear(1, width)
            nn.init.uniform_(part, -1.0, 1.0)
        for part in (self.w2, self.b2):  # as Linear(width, heads)
            nn.init.uniform_(part, -(width**-0.5), width**-0.5)

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        return tuple(self._of_layer(one, layer) for one in (self.c, self.threshold_multiplier, self.w1, self.b1, self.w2, self.b2))

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        c, multiplier, w1, b1, w2, b2 = (one.to(dtype) for one in self._numbers(layer))
        c, limit = c.abs().view(1), (multiplier * self.threshold).abs().view(1)

        def entry(h: Any, i: Any, j: Any) -> Tensor:
            # One number at a time and each by an index that is a tensor, as the kernels and gradients of score_mods want it.
            zero = torch.zeros_like(h)
            n = (i - j).clamp(min=0).to(dtype)
            row = torch.maximum((i - self.first_position).to(dtype), limit[zero])
            x = torch.log1p(c[zero] * n) / (torch.log1p(c[zero] * row) + self.epsilon)
            out = b2[h]
            for unit in range(self.width):
                at = zero + unit
                out = out + w2[h, at] * torch.relu(w1[at] * x + b1[at])
            return out

        return entry


class Sandwich(ScoreBiasEncoding):
    def __init__(
        self, *common: Any, dim: int = 128, theta: float = 10000.0, first_term: int = 0, subtrahend: Optional[float] = None
    ) -> None:
        super().__init__(*common)
        self._spec = bias.SandwichBias(self.heads, dim, float(theta), first_term, dim / 2 if subtrahend is None else float(subtrahend))
        bias.ScoreBias(self._spec)
        self._line = _encoding_ops.text_of(self._spec)

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        spec = self._spec
        turns = _expression.ladder_of(spec.theta, spec.dim // 2, spec.dim, spec.first_term).turns

        def entry(h: Any, i: Any, j: Any) -> Tensor:
            n = i - j
            total = torch.zeros_like(n, dtype=torch.float64)
            for one in turns:  # wrapping products, 2^64 to a turn
                total = total + torch.cos((n * one).double() * (2.0 * math.pi * 2.0**-64))
            return ((total - spec.subtrahend) * (self.heads / 8.0) / (h + 1)).to(dtype)

        return entry


class _OfWindow(ScoreBiasEncoding):
    """Tokens of a window, numbered row by row, behind a class token if there is one."""

    def __init__(self, *common: Any, window: Optional[Tuple[int, int]], class_token: bool = False) -> None:
        super().__init__(*common)
        self.rows, self.columns = pair("window", window)
        if self.causal:
            raise Error("causal: want False, for the tokens of a window have no order, got True")
        self.class_token = class_token

    def _check_positions(self, positions: Tensor, name: str, tokens: int, batch: int) -> Tensor:
        """[tokens], numbers in the window; or rows and columns, [2, tokens] or [2, batch, tokens]."""
        if isinstance(positions, Tensor) and positions.ndim > 1:
            if positions.shape[0] != 2 or positions.ndim > 3:
                raise Error(f"{name}: want [{tokens}], [2, {tokens}] or [2, {batch}, {tokens}], got {list(positions.shape)}")
            want_whole(positions, name)
            want_on_grid(positions, name, self.rows, self.columns)
            positions = positions[0] * self.columns + positions[1] + int(self.class_token)
        return super()._check_positions(positions, name, tokens, batch)

    def _check_range(self, positions: Tensor, name: str) -> None:
        last = self.rows * self.columns - 1 + int(self.class_token)
        want_between(positions, name, last, f"tokens of a window of {self.rows} x {self.columns},")

    def _place(self, i: Any, j: Any) -> Tensor:
        """The row of the table of each pair of tokens."""
        lead = int(self.class_token)
        a, b = (i - lead).clamp(min=0), (j - lead).clamp(min=0)
        width = 2 * self.columns - 1
        down = torch.div(a, self.columns, rounding_mode="floor") - torch.div(b, self.columns, rounding_mode="floor")
        across = a % self.columns - b % self.columns
        place = (down + self.rows - 1) * width + across + self.columns - 1
        if not lead:
            return place
        last = (2 * self.rows - 1) * width
        place = torch.where(i == 0, last, place)
        place = torch.where(j == 0, last + 1, place)
        return torch.where((i == 0) & (j == 0), last + 2, place)


class Window(_OfWindow):
    def __init__(self, *common: Any, window: Optional[Tuple[int, int]] = None, class_token: bool = False, shared: bool = False) -> None:
        super().__init__(*common, window=window, class_token=class_token)
        self.shared = shared
        places = (2 * self.rows - 1) * (2 * self.columns - 1) + 3 * int(class_token)
        spec = bias.WindowBias(self.heads, self.rows, self.columns, [0.0] * (places * self.heads), class_token)
        bias.ScoreBias(spec)
        self._line = _encoding_ops.text_of(spec)
        self.table = self._sets(places, self.heads)
        nn.init.trunc_normal_(self.table, std=0.02)

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        return (self._of_layer(self.table, layer),)

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        table = self._of_layer(self.table, layer).to(dtype)
        return lambda h, i, j: table[self._place(i, j), h]


class LogCpb(_OfWindow):
    def __init__(
        self, *common: Any, window: Optional[Tuple[int, int]] = None, pretrained_window: Tuple[int, int] = (0, 0), width: int = 512,
        shared: bool = False,
    ) -> None:
        super().__init__(*common, window=window)
        self.shared, self.width = shared, width
        whole("width", width, 1)
        self.pretrained = pair("pretrained_window", pretrained_window, 0)
        spec = bias.LogCpbBias(self.heads, self.rows, self.columns, [0.0] * (2 * width), [0.0] * width, [0.0] * (self.heads * width),
                               *self.pretrained, width)
        bias.ScoreBias(spec)
        self._line = _encoding_ops.text_of(spec)
        self.w1, self.b1, self.w2 = self._sets(width, 2), self._sets(width), self._sets(self.heads, width)
        nn.init.trunc_normal_(self.w1, std=0.02)
        nn.init.zeros_(self.b1)
        nn.init.trunc_normal_(self.w2, std=0.02)

    def _numbers(self, layer: int) -> Sequence[Tensor]:
        return tuple(self._of_layer(one, layer) for one in (self.w1, self.b1, self.w2))

    def _text(self) -> str:
        return self._line

    def _entry(self, layer: int, dtype: torch.dtype, device: torch.device) -> Entry:
        w1, b1, w2 = (one.to(dtype) for one in self._numbers(layer))

        def axis(side: int, trained: int) -> Tensor:
            u = torch.arange(1 - side, side, device=device).to(torch.float64) * 8.0 / max((trained or side) - 1, 1)
            return (u.sign() * torch.log2(u.abs() + 1.0) / 3.0).to(dtype)

        places = torch.cartesian_prod(axis(self.rows, self.pretrained[0]), axis(self.columns, self.pretrained[1])).view(-1, 2)
        table = 16.0 * torch.sigmoid(torch.relu(places @ w1.T + b1) @ w2.T)
        return lambda h, i, j: table[self._place(i, j), h]
