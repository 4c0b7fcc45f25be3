"""A position encoding as one type, whatever it is: what a model calls, and what encodings have in common."""

from __future__ import annotations

import math
from typing import Any, Callable, Optional, Tuple

import torch
from torch import Tensor, nn

from ropewalk._core import Error
from ropewalk._options import checked_scale
from ropewalk.torch._attention import attention
from ropewalk.torch._positions import want_tensor, want_whole

ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Entry = Callable[[Any, Any, Any], Tensor]
"""entry(head, query position, key position): what is added to the score, of tensors of whole numbers that broadcast."""


class PositionEncoding(nn.Module):
    """How a transformer is told where its tokens stand. A model is written once against it, and changes its encoding by one word:

        x = encoding.embed(tokens)                      # once, at the input
        q, k = encoding.rotate(q, k, positions, layer)  # in every layer, before keys are cached
        out = encoding.attend(q, k, v, layer)           # in every layer

    Each does nothing (or attends plainly) where an encoding does not enter there. Made by `position_encoding`.

    Positions are int64 [tokens] or [batch, tokens]; where axes is 2, [2, tokens] or [2, batch, tokens], rows and then columns. None:
    0, 1, ..., and where there are more keys than queries the queries are the last. What a query may see goes by the order of the keys,
    not by positions: with causal, query t of T sees the keys up to t + K - T.
    """

    adds_to_scores = False

    def __init__(
        self, name: str, model_dim: int, heads: int, head_dim: int, layers: int, kv_heads: Optional[int], max_tokens: int, causal: bool
    ) -> None:
        super().__init__()
        for field, value in (("model_dim", model_dim), ("heads", heads), ("head_dim", head_dim), ("layers", layers),
                             ("max_tokens", max_tokens), ("kv_heads", heads if kv_heads is None else kv_heads)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise Error(f"{field}: want a whole number >= 1, got {value!r}")
        if kv_heads is not None and heads % kv_heads:
            raise Error(f"kv_heads: want a divisor of {heads} heads, got {kv_heads}")
        if not isinstance(causal, bool):
            raise Error(f"causal: want True or False, got {causal!r}")
        self.name, self.model_dim, self.heads, self.head_dim, self.layers = name, model_dim, heads, head_dim, layers
        self.kv_heads = heads if kv_heads is None else kv_heads
        self.max_tokens, self.causal = max_tokens, causal
        self.axes = 1
        self.scale = 1.0 / math.sqrt(head_dim)

    # ---- what a model calls

    def embed(self, x: Tensor, positions: Optional[Tensor] = None) -> Tensor:
        """x, [batch, tokens, model_dim], with what the encoding adds to embeddings."""
        if x.ndim != 3 or x.shape[-1] != self.model_dim:
            raise Error(f"x: want [batch, tokens, {self.model_dim}], got {list(x.shape)}")
        return self._embed(x, positions)

    def rotate(self, q: Tensor, k: Tensor, positions: Optional[Tensor] = None, layer: int = 0) -> Tuple[Tensor, Tensor]:
        """q and k, [batch, tokens, heads, head_dim], turned; keys are cached turned."""
        self._check_heads(q, k)
        self._check_layer(layer)
        return self._rotate(q, k, positions, layer)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int = 0, positions: Optional[Tensor] = None, key_positions: Optional[Tensor] = None,
        scale: Optional[float] = None,
    ) -> Tensor:
        """softmax(scale q.k + what the encoding adds) v: [batch, tokens, heads, value_dim].

        q: [batch, tokens, heads, head_dim]; k, v: [batch, keys, kv_heads, ...]. Rotary ones: turned already.
        key_positions: None: `positions` where there are as many keys, else those that end with the last query's.
        scale: None: `self.scale`, 1 / sqrt(head_dim) for most.
        """
        self._check_heads(q, k)
        self._check_layer(layer)
        if v.ndim != 4 or v.shape[:3] != k.shape[:3]:
            raise Error(f"v: want [{k.shape[0]}, {k.shape[1]}, {k.shape[2]}, value_dim], as k has, got {list(v.shape)}")
        for name, one in (("k", k), ("v", v)):
            if one.dtype != q.dtype and not torch.is_autocast_enabled(q.device.type):
                raise Error(f"{name}: want {q.dtype}, as q has, got {one.dtype}")
        scale = checked_scale("scale", self.scale if scale is None else scale)
        if k.shape[1] == 0:
            return attention(q, k, v, None, self.causal, scale)  # zeros
        return self._attend(q, k, v, layer, positions, key_positions, scale)

    def score_mod(
        self, layer: int = 0, positions: Optional[Tensor] = None, key_positions: Optional[Tensor] = None, *, q: Optional[Tensor] = None,
        k: Optional[Tensor] = None,
    ) -> Optional[ScoreMod]:
        """f(score, b, h, q_idx, kv_idx) for torch.nn.attention.flex_attention, to be called with scale=self.scale; None where nothing
        is added to scores. Masks are not in it.

        positions, key_positions: [tokens] where a query or key is not at its own index, as in a cache.
        q, k: what attends, for encodings that add what queries or keys say: "shaw" (values=False), "transformer-xl", "deberta".
        """
        self._check_layer(layer)
        return self._score_mod(layer, positions, key_positions, q, k)

    # ---- what encodings fill in

    def _embed(self, x: Tensor, positions: Optional[Tensor]) -> Tensor:
        return x

    def _rotate(self, q: Tensor, k: Tensor, positions: Optional[Tensor], layer: int) -> Tuple[Tensor, Tensor]:
        return q, k

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float
    ) -> Tensor:
        return attention(q, k, v, None, self.causal, scale)

    def _score_mod(
        self, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], q: Optional[Tensor], k: Optional[Tensor]
    ) -> Optional[ScoreMod]:
        return None

    # ---- shapes

    def _check_layer(self, layer: int) -> None:
        if not isinstance(layer, int) or not 0 <= layer < self.layers:
            raise Error(f"layer: want 0 to {self.layers - 1}, got {layer!r}")

    def _check_heads(self, q: Tensor, k: Tensor) -> None:
        if q.ndim != 4 or q.shape[2] != self.heads or q.shape[3] != self.head_dim:
            raise Error(f"q: want [batch, tokens, {self.heads}, {self.head_dim}], got {list(q.shape)}")
        if k.ndim != 4 or k.shape[2] != self.kv_heads or k.shape[3] != self.head_dim or k.shape[0] != q.shape[0]:
            raise Error(f"k: want [{q.shape[0]}, keys, {self.kv_heads}, {self.head_dim}], got {list(k.shape)}")
        for name, one in (("q", q), ("k", k)):
            if not one.is_floating_point():
                raise Error(f"{name}: want floats, got {one.dtype}")

    def _check_positions(self, positions: Tensor, name: str, tokens: int, batch: int) -> Tensor:
        """int64 (or floats where the caller lets them), [tokens] or [batch, tokens], with a leading 2 where axes is 2."""
        want_tensor(positions, name)
        lead = 0 if self.axes == 1 else 1
        shape = list(positions.shape)
        fits = (lead == 0 or (shape and shape[0] == self.axes)) and len(shape) - lead in (1, 2) and shape[-1] == tokens
        if fits and len(shape) - lead == 2 and shape[-2] not in (1, batch):
            fits = False
        if not fits:
            axes = f"{self.axes}, " if lead else ""
            raise Error(f"{name}: want [{axes}{tokens}] or [{axes}{batch}, {tokens}], got {shape}")
        want_whole(positions, name)
        return positions.long()

    def _where(
        self, q: Tensor, k: Tensor, positions: Optional[Tensor], key_positions: Optional[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """The positions of queries and keys, [tokens] or [batch, tokens] each (with a leading 2 where axes is 2)."""
        tokens, keys, batch = q.shape[1], k.shape[1], q.shape[0]
        if positions is not None:
            positions = self._check_positions(positions, "positions", tokens, batch)
        if key_positions is not None:
            key_positions = self._check_positions(key_positions, "key_positions", keys, batch)
        if key_positions is None:
            if positions is None:
                key_positions = self._first(keys, q.device)
            elif keys == tokens:
                key_positions = positions
            elif self.axes > 1:
                raise Error(f"key_positions: want those of the {keys} keys beside {tokens} queries on a grid, got none")
            else:
                key_positions = positions[..., -1:] + torch.arange(1 - keys, 1, device=q.device)
        if positions is None:
            if tokens <= keys:
                positions = key_positions[..., keys - tokens :]
            elif self.axes > 1:
                raise Error(f"positions: want those of {tokens} queries beside {keys} keys on a grid, got none")
            else:
                positions = key_positions[..., -1:] + torch.arange(1 - tokens, 1, device=q.device)
        return positions, key_positions

    def _first(self, tokens: int, device: Any) -> Tensor:
        if self.axes > 1:
            raise Error(f"positions: want [{self.axes}, tokens], the rows and columns of a grid, got none")
        return torch.arange(tokens, device=device)

    def extra_repr(self) -> str:
        kv = "" if self.kv_heads == self.heads else f", kv_heads={self.kv_heads}"
        return (f"{self.name!r}, model_dim={self.model_dim}, heads={self.heads}, head_dim={self.head_dim}, layers={self.layers}{kv}, "
                f"causal={self.causal}")


class NoPosition(PositionEncoding):
    """Nothing: a causal mask alone tells order (NoPE)."""
