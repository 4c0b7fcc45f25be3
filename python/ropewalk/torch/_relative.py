"""Encodings that add to scores what queries or keys say of a distance. There is never an array of [tokens, keys, head_dim]: queries (or
keys) are multiplied with the rows of a table once, and products are gathered."""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple

import torch
from torch import Tensor, nn

from ropewalk import _core, absolute
from ropewalk._core import Error
from ropewalk.torch._absolute import SinusoidalEmbedding
from ropewalk.torch._attention import attention, seen
from ropewalk.torch._encoding import PositionEncoding, ScoreMod
from ropewalk.torch._score_biases import constant


def _expanded(index: Tensor, products: Tensor) -> Tensor:
    """[.., tokens, keys] as [batch, heads, tokens, keys]."""
    index = index.unsqueeze(0) if index.ndim == 2 else index
    return index.unsqueeze(1).expand(products.shape[0], products.shape[1], -1, -1)


def _gathered(products: Tensor, index: Tensor) -> Tensor:
    """products[b, h, i, index[i, j]]."""
    return products.gather(-1, _expanded(index, products))


def _difference(i: Tensor, j: Tensor) -> Tensor:
    """i - j: [tokens, keys], or [batch, tokens, keys]."""
    return i.unsqueeze(-1) - j.unsqueeze(-2)


class RelativeEncoding(PositionEncoding):
    adds_to_scores = True

    def _term(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float) -> Tensor:
        """What is added to scores, [batch, heads, tokens, keys]."""
        raise NotImplementedError

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float
    ) -> Tensor:
        return attention(q, k, v, self._term(q, k, layer, positions, key_positions, scale), self.causal, scale)

    def _score_mod(
        self, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], q: Optional[Tensor], k: Optional[Tensor]
    ) -> Optional[ScoreMod]:
        if q is None or k is None:
            raise Error(f"q: want the queries and keys (score_mod(layer, q=q, k=k)), for {self.name!r} adds what they say, got none")
        self._check_heads(q, k)
        return self._mod(q, k, layer, positions, key_positions)

    def _mod(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> ScoreMod:
        raise NotImplementedError


class Shaw(RelativeEncoding):
    """Shaw et al. (arXiv 1803.02155): a learned key and a learned value for each distance up to a clip."""

    def __init__(self, *common: Any, clip: int = 16, values: bool = True, shared: bool = False) -> None:
        super().__init__(*common)
        if not isinstance(clip, int) or clip < 0:
            raise Error(f"clip: want a whole number >= 0, got {clip!r}")
        self.clip, self.shared = clip, shared
        sets = () if shared else (self.layers,)
        self.key_table = nn.Parameter(torch.empty(*sets, 2 * clip + 1, self.head_dim))
        self.value_table = nn.Parameter(torch.empty(*sets, 2 * clip + 1, self.head_dim)) if values else None
        for table in (self.key_table, self.value_table):
            if table is not None:
                nn.init.normal_(table, std=self.head_dim**-0.5)

    def _row(self, i: Any, j: Any) -> Tensor:
        return (j - i).clamp(-self.clip, self.clip) + self.clip

    def _index(self, q: Tensor, k: Tensor, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> Tensor:
        queries, keys = self._where(q, k, positions, key_positions)
        return self._row(queries.unsqueeze(-1), keys.unsqueeze(-2))

    def _of_layer(self, table: Tensor, layer: int, dtype: torch.dtype) -> Tensor:
        return (table if self.shared else table[layer]).to(dtype)

    def _term(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float) -> Tensor:
        products = (q * scale).transpose(1, 2) @ self._of_layer(self.key_table, layer, q.dtype).T
        return _gathered(products, self._index(q, k, positions, key_positions))

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float
    ) -> Tensor:
        term = self._term(q, k, layer, positions, key_positions, scale)
        if self.value_table is None:
            return attention(q, k, v, term, self.causal, scale)
        if v.shape[-1] != self.head_dim:
            raise Error(f"v: want values of {self.head_dim} channels, as the table's, got {v.shape[-1]}")
        table = self._of_layer(self.value_table, layer, v.dtype)
        index = self._index(q, k, positions, key_positions)

        def values(shares: Tensor) -> Tensor:
            by_row = shares.new_zeros(*shares.shape[:-1], len(table)).scatter_add(-1, _expanded(index, shares), shares)
            return by_row @ table

        return attention(q, k, v, term, self.causal, scale, values)

    def _mod(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> ScoreMod:
        if self.value_table is not None:
            raise Error("values: want False, for a score_mod cannot add to values, got True")
        products = (q * self.scale).transpose(1, 2) @ self._of_layer(self.key_table, layer, q.dtype).T
        queries, keys = self._where(q, k, positions, key_positions)

        def add(score: Tensor, b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
            i, j = (one[idx] if one.ndim == 1 else one[b, idx] for one, idx in ((queries, q_idx), (keys, kv_idx)))
            return score + products[b, h, q_idx, self._row(i, j)].to(score.dtype)

        return add


class TransformerXl(RelativeEncoding):
    """Transformer-XL (arXiv 1901.02860): scale ((q + u) . k + (q + v) . W R_n), R_n a sinusoid of the distance n."""

    def __init__(self, *common: Any, order: str = "concatenated", theta: float = 10000.0, tied: bool = True) -> None:
        super().__init__(*common)
        self.tied = tied
        spec = absolute.SinusoidalSpec(self.model_dim, order, "paper", theta=float(theta))  # type: ignore[arg-type]
        self._sinusoids = SinusoidalEmbedding(spec)
        self.projection = nn.Parameter(torch.empty(self.layers, self.heads, self.head_dim, self.model_dim))
        sets = () if tied else (self.layers,)
        self.u, self.v = (nn.Parameter(torch.empty(*sets, self.heads, self.head_dim)) for _ in range(2))
        for one in (self.projection, self.u, self.v):
            nn.init.normal_(one, std=0.02)

    def _bias_of(self, one: Tensor, layer: int, dtype: torch.dtype) -> Tensor:
        return (one if self.tied else one[layer]).to(dtype)

    def _distances(self, q: Tensor, k: Tensor, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Distances, and which of them stands between each query and key."""
        n = _difference(*self._where(q, k, positions, key_positions))
        n = n.clamp(min=0) if self.causal else n
        if positions is None and key_positions is None:
            low = 0 if self.causal else min(0, 1 - q.shape[1])
            return torch.arange(low, max(k.shape[1], 1), device=q.device), n - low
        return torch.unique(n, return_inverse=True)

    def _products(self, q: Tensor, distances: Tensor, layer: int) -> Tensor:
        kind = torch.promote_types(q.dtype, torch.float32)
        rows = self._sinusoids.rows(distances, kind)
        table = torch.einsum("nc,hdc->hnd", rows, self.projection[layer].to(kind)).to(q.dtype)
        return (q + self._bias_of(self.v, layer, q.dtype)).transpose(1, 2) @ table.transpose(-1, -2)

    def _term(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float) -> Tensor:
        distances, index = self._distances(q, k, positions, key_positions)
        return _gathered(self._products(q, distances, layer) * scale, index)

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float
    ) -> Tensor:
        term = self._term(q, k, layer, positions, key_positions, scale)
        return attention(q + self._bias_of(self.u, layer, q.dtype), k, v, term, self.causal, scale)

    def _mod(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> ScoreMod:
        distances, index = self._distances(q, k, positions, key_positions)
        products = self._products(q, distances, layer) * self.scale
        grouped = k.repeat_interleave(self.heads // self.kv_heads, dim=2)
        of_keys = torch.einsum("bkhd,hd->bhk", grouped, self._bias_of(self.u, layer, k.dtype)) * self.scale

        def add(score: Tensor, b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
            row = index[q_idx, kv_idx] if index.ndim == 2 else index[b, q_idx, kv_idx]
            return score + (products[b, h, q_idx, row] + of_keys[b, h, kv_idx]).to(score.dtype)

        return add


class Deberta(RelativeEncoding):
    """DeBERTa (arXiv 2006.03654): scale (q . k + q . K_r + k . Q_r), K_r and Q_r projections of one table of distances."""

    def __init__(
        self, *common: Any, span: int = 512, max_distance: int = 0, terms: Tuple[str, ...] = ("c2p", "p2c"), norm: bool = False,
        p2c_distance: str = "as_checkpoints",
    ) -> None:
        super().__init__(*common)
        if not terms or set(terms) - {"c2p", "p2c"}:
            raise Error(f'terms: want "c2p", "p2c" or both, got {terms!r}')
        if p2c_distance not in ("as_checkpoints", "as_printed"):
            raise Error(f'p2c_distance: want "as_checkpoints" or "as_printed", got {p2c_distance!r}')
        if span < 1 or (max_distance and (span < 8 or max_distance < span // 2 + 2)):
            raise Error(f"span: want 1 or more, with max_distance 8 or more and at most twice that, got {span} and {max_distance}")
        self.span, self.max_distance, self.terms, self.p2c_distance = span, max_distance, tuple(terms), p2c_distance
        self._starts = _core.deberta_bucket_starts(span, max_distance).tolist() if max_distance else []
        self.scale = 1.0 / math.sqrt((1 + len(set(terms))) * self.head_dim)
        self.table = nn.Parameter(torch.empty(2 * span, self.model_dim))
        nn.init.normal_(self.table, std=0.02)
        self.norm = nn.LayerNorm(self.model_dim, eps=1e-7) if norm else None
        self.key_projection = self._projection("c2p")
        self.query_projection = self._projection("p2c")
        self.query_bias = nn.Parameter(torch.zeros(self.layers, self.heads, self.head_dim)) if "p2c" in terms else None

    def _projection(self, term: str) -> Optional[nn.Parameter]:
        if term not in self.terms:
            return None
        made = nn.Parameter(torch.empty(self.layers, self.heads, self.head_dim, self.model_dim))
        nn.init.normal_(made, std=0.02)
        return made

    def _row(self, n: Tensor) -> Tensor:
        """delta: the row of the table for n = i - j."""
        if self._starts:
            starts = constant(self._starts, torch.int64, n.device)
            n = n.sign() * (torch.searchsorted(starts, n.abs(), right=True) - 1)
        return (n + self.span).clamp(0, 2 * self.span - 1)

    def _tables(self, layer: int, rows: slice, dtype: torch.dtype) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        table = self.table[rows]
        table = table if self.norm is None else self.norm(table)
        made = [None if one is None else torch.einsum("rc,hdc->hrd", table.to(one.dtype), one[layer]).to(dtype)
                for one in (self.key_projection, self.query_projection)]
        if made[1] is not None and self.query_bias is not None:
            made[1] = made[1] + self.query_bias[layer].unsqueeze(1).to(dtype)
        return made[0], made[1]

    def _rows(self, q: Tensor, k: Tensor, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> slice:
        """Those that the distances of a block touch, where that is known without looking."""
        if positions is not None or key_positions is not None:
            return slice(0, 2 * self.span)
        most = min(self.span, max(q.shape[1], k.shape[1]))
        return slice(self.span - most, self.span + most)

    def _products(
        self, q: Tensor, k: Tensor, layer: int, rows: slice, scale: float
    ) -> Tuple[Optional[Tensor], Optional[Tensor]]:
        c2p, p2c = self._tables(layer, rows, q.dtype)
        of_queries = None if c2p is None else (q * scale).transpose(1, 2) @ c2p.transpose(-1, -2)
        of_keys = None
        if p2c is not None:
            keys = k.repeat_interleave(self.heads // self.kv_heads, dim=2) if self.heads != self.kv_heads else k
            of_keys = (keys * scale).transpose(1, 2) @ p2c.transpose(-1, -2)
        return of_queries, of_keys

    def _term(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float) -> Tensor:
        rows = self._rows(q, k, positions, key_positions)
        of_queries, of_keys = self._products(q, k, layer, rows, scale)
        n = _difference(*self._where(q, k, positions, key_positions))
        there = self._row(n) - rows.start
        out = None if of_queries is None else _gathered(of_queries, there)
        if of_keys is not None:
            back = there if self.p2c_distance == "as_checkpoints" else self._row(-n) - rows.start
            part = _gathered(of_keys, back.transpose(-1, -2)).transpose(-1, -2)
            out = part if out is None else out + part
        assert out is not None
        return out

    def _mod(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor]) -> ScoreMod:
        of_queries, of_keys = self._products(q, k, layer, slice(0, 2 * self.span), self.scale)
        n = _difference(*self._where(q, k, positions, key_positions))
        there = self._row(n)
        back = there if self.p2c_distance == "as_checkpoints" else self._row(-n)

        def add(score: Tensor, b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
            at = (q_idx, kv_idx) if there.ndim == 2 else (b, q_idx, kv_idx)
            if of_queries is not None:
                score = score + of_queries[b, h, q_idx, there[at]].to(score.dtype)
            if of_keys is not None:
                score = score + of_keys[b, h, kv_idx, back[at]].to(score.dtype)
            return score

        return add


class Cope(RelativeEncoding):
    """CoPE (arXiv 2405.18719): positions that count the keys that a query asks for; fractions fall between two learned rows."""

    def __init__(self, *common: Any, count: int = 64, shared: bool = False) -> None:
        super().__init__(*common)
        if not isinstance(count, int) or count < 2:
            raise Error(f"count: want a whole number >= 2, got {count!r}")
        self.count, self.shared = count, shared
        self.table = nn.Parameter(torch.zeros(*(() if shared else (self.layers,)), self.head_dim, count))

    def _term(self, q: Tensor, k: Tensor, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], scale: float) -> Tensor:
        if self.heads != self.kv_heads:
            k = k.repeat_interleave(self.heads // self.kv_heads, dim=2)
        kind = torch.promote_types(q.dtype, torch.float32)
        gates = torch.sigmoid(((q * scale).transpose(1, 2) @ k.permute(0, 2, 3, 1)).to(kind))
        if self.causal:
            gates = gates * seen(q.shape[1], k.shape[1], q.device)
        counted = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.count - 1)
        below = counted.detach().floor()
        share = counted - below
        table = (self.table if self.shared else self.table[layer]).to(q.dtype)
        products = (q.transpose(1, 2) @ table).to(kind)
        low = below.nan_to_num(0.0).long()  # what is no number stays one by its share
        high = (low + 1).clamp(max=self.count - 1)
        return ((1.0 - share) * products.gather(-1, low) + share * products.gather(-1, high)).to(q.dtype)

    def _score_mod(
        self, layer: int, positions: Optional[Tensor], key_positions: Optional[Tensor], q: Optional[Tensor], k: Optional[Tensor]
    ) -> Optional[ScoreMod]:
        raise Error("score_mod: want an encoding whose entries need no other keys, got 'cope', which counts them")
