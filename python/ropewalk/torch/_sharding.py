"""Rules for DTensor: how the operators' arguments may lie on a mesh, so that every rank turns its own part and none speaks.

    batch      each rank its rows, with their positions
    tokens     each rank its tokens, with their positions: a shard does not know where it begins, so positions are a tensor here
    heads      each rank its heads, all positions; not where groups of heads turn differently
    channels   no: a pair would be cut
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.experimental import register_sharding

from ropewalk.torch import _positions
from ropewalk.torch._expression import numbers_of
from ropewalk.torch._positions import axes_of

_Rule = Tuple[List[Any], List[Any]]


def positions_of(x: DTensor, position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, tokens: int, batch: int) -> DTensor:
    """Positions of the whole sequence as a DTensor, sharded by the rules above when x is."""

    def whole(value: Any) -> Any:
        return value.full_tensor() if isinstance(value, DTensor) else value

    if isinstance(position_ids, DTensor) and seqlen_offsets is None and cu_seqlens is None:
        return position_ids
    positions, first = _positions.positions_of(
        whole(position_ids), whole(seqlen_offsets), whole(cu_seqlens), tokens, batch, torch.device(x.device_mesh.device_type))
    if positions is None:
        positions = torch.arange(tokens, device=x.device_mesh.device_type) + first
    return DTensor.from_local(positions, x.device_mesh, [Replicate()] * x.device_mesh.ndim, run_check=False)


def replicated(table: Tensor, like: DTensor) -> DTensor:
    """A caller's table that every rank holds."""
    if isinstance(table, DTensor):
        return table
    return DTensor.from_local(table, like.device_mesh, [Replicate()] * like.device_mesh.ndim, run_check=False)


def _positions_on(ndim: int, shape: Any, axis: str) -> Any:
    """The placement of positions [tokens], [batch, tokens] or [axes, batch, tokens] where x is sharded along `axis`."""
    if axis == "tokens":
        return Shard(ndim - 1)
    if axis == "batch" and ndim > 1 and shape[-2] != 1:
        return Shard(ndim - 2)
    return Replicate()


def _rules(tensors: int, outputs: int, layout: str, positions: Any, between: Any, heads_apart: bool = True) -> List[_Rule]:
    """between(axis): placements of what stands between x and the positions."""
    batch, tokens, heads = axes_of(layout)
    axes = {"batch": batch, "tokens": tokens, "heads": heads if heads_apart else None}
    rules: List[_Rule] = []
    at = None if positions is None else Replicate()
    if (kept := between(None)) is not None:
        rules.append(([Replicate()] * outputs, [Replicate()] * tensors + kept + [at]))
    for name, axis in axes.items():
        kept = between(name)
        if axis is None or kept is None or (name == "tokens" and positions is None and not kept):
            continue
        where = None if positions is None else _positions_on(len(positions.shape), positions.shape, name)
        rules.append(([Shard(axis)] * outputs, [Shard(axis)] * tensors + kept + [where]))
    return rules


def _nothing(_: Optional[str]) -> List[Any]:
    return []


@register_sharding(torch.ops.ropewalk.rotate.default)
def _rotate(x: Any, positions: Any, first: int, rotary: str, layout: str = "bshd", direction: str = "forward",
            is_key: bool = False) -> List[_Rule]:
    return _rules(1, 1, layout, positions, _nothing, numbers_of(rotary).tables == 1)


@register_sharding(torch.ops.ropewalk.rotate_qk.default)
def _rotate_qk(q: Any, k: Any, positions: Any, first: int, rotary: str, layout: str = "bshd",
               direction: str = "forward") -> List[_Rule]:
    rules = _rules(2, 2, layout, positions, _nothing, numbers_of(rotary).tables == 1)
    if numbers_of(rotary).tables == 1:  # a key head for all query heads stays where it is
        heads, at = axes_of(layout)[2], None if positions is None else Replicate()
        rules.append(([Shard(heads), Replicate()], [Shard(heads), Replicate(), at]))
    return rules


def _table_rules(tensors: int, layout: str, cos: Any, positions: Any) -> List[_Rule]:
    def table(axis: Optional[str]) -> Optional[List[Any]]:
        if len(cos.shape) == 3:  # a row for each token goes where its token goes
            if axis == "tokens":
                return [Shard(1)] * 2
            return [Shard(0)] * 2 if axis == "batch" and cos.shape[0] != 1 else [Replicate()] * 2
        return None if axis == "tokens" and positions is None else [Replicate()] * 2

    return _rules(tensors, tensors, layout, positions, table)


@register_sharding(torch.ops.ropewalk.apply_table.default)
def _apply_table(x: Any, cos: Any, sin: Any, positions: Any, first: int = 0, layout: str = "bshd", interleaved: bool = False,
                 transpose: bool = False) -> List[_Rule]:
    return _table_rules(1, layout, cos, positions)


@register_sharding(torch.ops.ropewalk.apply_table_qk.default)
def _apply_table_qk(q: Any, k: Any, cos: Any, sin: Any, positions: Any, first: int = 0, layout: str = "bshd",
                    interleaved: bool = False, transpose: bool = False) -> List[_Rule]:
    return _table_rules(2, layout, cos, positions)
