"""Encodings that turn queries and keys."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Optional, Tuple

import torch
from torch import Tensor, nn

from ropewalk import _core
from ropewalk._core import Error
from ropewalk._options import number
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec, XPos
from ropewalk.torch import _expression
from ropewalk.torch._encoding import PositionEncoding
from ropewalk.torch._functional import apply_rotary_emb, rotate, turned
from ropewalk.torch._positions import is_seen


class _Turning(PositionEncoding):
    def _streams(self, positions: Tensor) -> Tensor:
        """With the axis of the batch, where there are streams."""
        return positions.unsqueeze(1) if self.axes > 1 and positions.ndim == 2 else positions

    def _positions_of(self, q: Tensor, k: Tensor, positions: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        queries, keys = self._where(q, k, positions, None)
        return self._streams(queries), self._streams(keys)


class Rope(_Turning):
    """RoPE of any RotarySpec. Nothing is learned, so that a trained model may be given another: another scaling, say."""

    def __init__(self, *common: Any, theta: float = 10000.0, axes: int = 1, running_length: int = 0, **fields: Any) -> None:
        super().__init__(*common)
        self.rotary = Rotary(self._spec(theta, axes, fields), running_length)
        self.axes = self.rotary.spec.axes
        self.scale *= self.rotary.softmax_scale_multiplier

    def _spec(self, theta: float, axes: int, fields: Any) -> RotarySpec:
        known = {field.name for field in dataclasses.fields(RotarySpec)} - {"head_dim", "theta"}
        for name in fields:
            if name not in known:
                options = ["axes", "running_length", "theta", *known]
                raise Error(f"{name}: want an option of {self.name!r} ({', '.join(sorted(options))}), got it with {fields[name]!r}")
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
            queries, keys = self._positions_of(q, k, positions)
            return rotate(self.rotary, q, position_ids=queries), turned(self.rotary, k, keys, is_key=True)
        if positions is None:
            if self.axes > 1:
                self._first(q.shape[1], q.device)
            return rotate(self.rotary, q, k)
        positions = self._check_positions(positions, "positions", q.shape[1], q.shape[0])
        return rotate(self.rotary, q, k, position_ids=self._streams(positions))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.rotary!r}"


class Xpos(Rope):
    """xPos (arXiv 2212.10554): RoPE whose queries grow and whose keys shrink with their positions."""

    def __init__(self, *common: Any, scale_base: float = 512.0, gamma: float = 0.4, interleaved: bool = True, **fields: Any) -> None:
        super().__init__(*common, interleaved=interleaved, xpos=XPos(float(scale_base), float(gamma)), **fields)
        raw = _core.numbers_of(self.rotary)
        self._centre, width = raw["centre"], self.rotary.spec.rotary_dim
        # Pair 0 grows and shrinks most, by this in the logarithm a token.
        self._steepest = math.log((width + gamma * width) / (gamma * width)) / scale_base

    def _rotate(self, q: Tensor, k: Tensor, positions: Optional[Tensor], layer: int) -> Tuple[Tensor, Tensor]:
        if positions is None:
            if not torch.compiler.is_compiling():
                self._check_reach(0, max(q.shape[1], k.shape[1]) - 1, k.dtype)
        elif isinstance(positions, Tensor) and positions.numel() > 0 and is_seen(positions):
            low, high = (int(one) for one in positions.aminmax())
            self._check_reach(low if k.shape[1] == q.shape[1] else high + 1 - k.shape[1], high, k.dtype)
        return super()._rotate(q, k, positions, layer)

    def _check_reach(self, low: int, high: int, dtype: torch.dtype) -> None:
        """Refuses positions whose factor leaves less than 2^6 of the dtype for a key, or where the expression cuts it."""
        log = min(math.log(torch.finfo(dtype).max) - 6 * math.log(2.0), 200.0)
        reach = int(log / self._steepest)
        if low < self._centre - reach or high > self._centre + reach:
            wrong = low if low < self._centre - reach else high
            raise Error(f"positions: want {self._centre - reach} to {self._centre + reach}, where xPos' factors fit {dtype} "
                        f"(running_length / 2 is their middle), got {wrong}")


class _TurningByLearned(_Turning):
    """Turned by cosines and sines of each group of heads, which autograd follows."""

    def __init__(self, *common: Any, interleaved: bool) -> None:
        super().__init__(*common)
        self.interleaved = interleaved
        if self.head_dim % 2:
            raise Error(f"head_dim: want an even number, got {self.head_dim}")

    def _cos_sin(self, positions: Tensor, layer: int) -> Tuple[Tensor, Tensor]:
        """[batch or 1, tokens, kv_heads, pairs] each."""
        raise NotImplementedError

    def _rotate(self, q: Tensor, k: Tensor, positions: Optional[Tensor], layer: int) -> Tuple[Tensor, Tensor]:
        queries, keys = self._positions_of(q, k, positions)
        of_queries = self._cos_sin(queries, layer)
        same = queries is keys or (q.shape[1] == k.shape[1] and positions is not None)
        of_keys = of_queries if same else self._cos_sin(keys, layer)
        return self._turn(q, *of_queries), self._turn(k, *of_keys)

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        _, tokens, heads, _ = x.shape
        times = heads // cos.shape[2]

        def of_every_head(one: Tensor) -> Tensor:
            one = one.repeat_interleave(times, dim=2) if times > 1 else one
            kind = torch.float64 if x.dtype == torch.float64 else torch.float32
            return one.to(kind).expand(-1, tokens, -1, -1).flatten(1, 2).contiguous()

        # A row for each token and head: the heads stand among the tokens, one head to each.
        turned_x = apply_rotary_emb(x.flatten(1, 2).unsqueeze(2), of_every_head(cos), of_every_head(sin), interleaved=self.interleaved)
        return turned_x.view(x.shape)  # type: ignore[no-any-return, union-attr]


class RopeMixed(_TurningByLearned):
    """RoPE-Mixed (arXiv 2403.13298): every pair follows rows and columns by frequencies that are learned, for each layer and head."""

    def __init__(self, *common: Any, theta: float = 10.0, axes: int = 2, interleaved: bool = True) -> None:
        super().__init__(*common, interleaved=interleaved)
        if axes != 2 or self.head_dim % 4:
            raise Error(f"axes: want 2 and a head_dim that 4 divides, got {axes} and {self.head_dim}")
        theta = number("theta", theta, above=0.0)
        self.axes = axes
        magnitude = theta ** (-torch.arange(0, self.head_dim, 4) / self.head_dim)
        angle = torch.rand(self.layers, self.kv_heads, 1) * 2 * math.pi
        across = torch.cat((magnitude * torch.cos(angle), magnitude * torch.cos(angle + math.pi / 2)), -1)
        down = torch.cat((magnitude * torch.sin(angle), magnitude * torch.sin(angle + math.pi / 2)), -1)
        # [2, layers, heads, pairs], of columns and then of rows: as checkpoints of rope-vit and timm have it
        self.frequencies = nn.Parameter(torch.stack((across, down)))

    def _cos_sin(self, positions: Tensor, layer: int) -> Tuple[Tensor, Tensor]:
        across, down = (one.double() for one in self.frequencies[:, layer])
        rows, columns = positions.double().unsqueeze(-1).unsqueeze(-1).unbind(0)
        angle = columns * across + rows * down
        return angle.cos(), angle.sin()


class Fope(_TurningByLearned):
    """FoPE (arXiv 2412.17739): cosines and sines of RoPE's pairs mixed by learned matrices; pairs that do not turn once in max_tokens
    stand still."""

    def __init__(self, *common: Any, theta: float = 10000.0, init_gain: float = 0.1, interleaved: bool = False) -> None:
        super().__init__(*common, interleaved=interleaved)
        theta, init_gain = number("theta", theta, above=0.0), number("init_gain", init_gain, least=0.0)
        speeds = [theta ** (-2.0 * pair / self.head_dim) for pair in range(self.head_dim // 2)]
        tones = sum(speed >= 2 * math.pi / self.max_tokens for speed in speeds)
        if tones == 0:
            raise Error(f"max_tokens: want 7 or more, for a pair to turn once, got {self.max_tokens}")
        self._ladder = _expression.ladder_of(theta, tones, self.head_dim)
        shape = (self.layers, self.kv_heads, tones, tones)
        self.cos_mix, self.sin_mix = nn.Parameter(torch.empty(shape)), nn.Parameter(torch.empty(shape))
        with torch.no_grad():
            for mix in (self.cos_mix, self.sin_mix):
                for one in mix.flatten(0, 1):
                    nn.init.xavier_normal_(one, gain=init_gain)
                    one += torch.eye(len(one))

    def _cos_sin(self, positions: Tensor, layer: int) -> Tuple[Tensor, Tensor]:
        kind = torch.promote_types(self.cos_mix.dtype, torch.float32)
        cos, sin = _expression.cos_sin(positions, self._ladder)
        still = self.head_dim // 2 - cos.shape[-1]
        out = []
        for tones, mix, rest in ((cos, self.cos_mix, 1.0), (sin, self.sin_mix, 0.0)):
            mixed = torch.einsum("...t,hto->...ho", tones.to(kind), mix[layer].to(kind))
            mixed = torch.cat((mixed, torch.full_like(mixed[..., :1], rest).expand(*mixed.shape[:-1], still)), -1)
            out.append(mixed if mixed.ndim == 4 else mixed.unsqueeze(0))
        return out[0], out[1]
