"""Where tokens stand, however it was said, as one tensor and a first position."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from ropewalk import _core
from ropewalk._core import Error

LAYOUTS = {"bshd": (0, 1, 2), "bhsd": (0, 2, 1), "sbhd": (1, 0, 2), "thd": (None, 0, 1)}
"""Layout: its axes of batch, tokens and heads."""


def axes_of(layout: str) -> Tuple[Optional[int], int, int]:
    axes = LAYOUTS.get(layout)
    if axes is None:
        raise Error(f'layout: want "bshd", "bhsd", "sbhd" or "thd", got {layout!r}')
    return axes  # type: ignore[return-value]


def tensor_of(numbers: Any, name: str, device: torch.device) -> Tensor:
    if not isinstance(numbers, Tensor):
        try:
            numbers = torch.as_tensor(numbers)
        except (TypeError, ValueError, RuntimeError) as error:
            raise Error(f"{name}: want numbers, got {numbers!r}") from error
    elif numbers.requires_grad:
        raise Error(f"{name}: want positions without gradient, got ones that require it")
    return numbers.to(device) if numbers.device != device else numbers


def _whole_numbers(numbers: Any, name: str, device: torch.device) -> Tensor:
    tensor = tensor_of(numbers, name, device)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        if tensor.numel() > 0:  # an empty list is float32 to torch
            raise Error(f"{name}: want whole numbers (int64, int32), got {tensor.dtype}")
    return tensor.long()


def is_seen(numbers: Any) -> bool:
    """Whether what stands in a tensor can be read without waiting for a device, or for what a program will be given."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return False
    if not isinstance(numbers, Tensor):
        return True
    return type(numbers) is Tensor and numbers.is_cpu and not torch._C._functorch.is_functorch_wrapped_tensor(numbers)


def positions_of(
    position_ids: Any, seqlen_offsets: Any, cu_seqlens: Any, tokens: int, batch: int, device: torch.device
) -> Tuple[Optional[Tensor], int]:
    """(positions, first): the tensor [tokens], [batch, tokens] or [axes, batch, tokens], or None for first, first + 1, ..."""
    if position_ids is not None:
        if seqlen_offsets is not None or cu_seqlens is not None:
            other = "cu_seqlens" if seqlen_offsets is None else "seqlen_offsets"
            raise Error(f"position_ids: want one word for where tokens stand, got {other} beside it")
        return tensor_of(position_ids, "position_ids", device), 0
    if cu_seqlens is not None:
        if batch != 1:
            raise Error(f'cu_seqlens: want packed tokens, one row (layout="thd"), got a batch of {batch}')
        if is_seen(cu_seqlens) and is_seen(seqlen_offsets):
            return _packed(cu_seqlens, seqlen_offsets, tokens).to(device), 0
        ends = _whole_numbers(cu_seqlens, "cu_seqlens", device)
        numbers = torch.arange(tokens, device=device)
        sequence = torch.searchsorted(ends, numbers, right=True) - 1
        positions = numbers - ends[sequence]
        if seqlen_offsets is not None:
            offsets = _whole_numbers(seqlen_offsets, "seqlen_offsets", device)
            positions = positions + (offsets if offsets.ndim == 0 else offsets[sequence])
        return positions, 0
    if seqlen_offsets is None:
        return None, 0
    if isinstance(seqlen_offsets, (int, torch.SymInt)):
        if type(seqlen_offsets) is int and type(tokens) is int and not -(2**63) <= seqlen_offsets <= 2**63 - max(tokens, 1):
            raise Error(f"seqlen_offsets: want whole numbers of 64 bits to the last position, got {seqlen_offsets} and {tokens} tokens")
        return None, seqlen_offsets
    return offsets_of(seqlen_offsets, batch, device).long().unsqueeze(-1) + torch.arange(tokens, device=device), 0


def offsets_of(seqlen_offsets: Any, batch: int, device: torch.device) -> Tensor:
    """[batch] or [1], int64 or int32."""
    offsets = tensor_of(seqlen_offsets, "seqlen_offsets", device)
    if offsets.dtype != torch.int32:
        offsets = _whole_numbers(offsets, "seqlen_offsets", device)
    if not torch.compiler.is_compiling() and offsets.numel() not in (1, batch):
        raise Error(f"seqlen_offsets: want 1 entry or one a row ({batch}), got {offsets.numel() or 'none'}")
    return offsets.reshape(-1)


def _packed(cu_seqlens: Any, seqlen_offsets: Any, tokens: int) -> Tensor:
    """As the kernels count them, and refused as they refuse them."""
    cpu = torch.device("cpu")
    ends = _whole_numbers(cu_seqlens, "cu_seqlens", cpu).flatten()
    offsets = None
    if seqlen_offsets is not None:
        offsets = _whole_numbers(seqlen_offsets, "seqlen_offsets", cpu).flatten()
        if len(offsets) == 1 < len(ends):
            offsets = offsets.expand(len(ends) - 1)
    positions: Tensor = torch.from_numpy(_core.positions_from_cu_seqlens(ends.numpy(), None if offsets is None else offsets.numpy()))
    if len(positions) != tokens:
        raise Error(f"cu_seqlens: want it to end at {tokens}, the tokens there are, got {len(positions)}")
    return positions


def check_positions(positions: Tensor, axes: int, tokens: int, batch: int) -> None:
    """What the kernels check too; broadcasting would pass over it."""
    shape = list(positions.shape)
    if not 1 <= positions.ndim <= 3:
        raise Error(f"position_ids: want [tokens], [batch, tokens] or [axes, batch, tokens], got {shape}")
    if positions.is_complex() or positions.dtype == torch.bool:
        raise Error(f"position_ids: want whole numbers (int64, int32), or float64 or float32 for coordinates, got {positions.dtype}")
    if positions.ndim == 3 and shape[0] != axes:
        raise Error(f"position_ids: want [{axes}, batch, tokens], got {shape}")
    if shape[-1] != tokens:
        raise Error(f"positions.tokens: want {tokens}, got {shape[-1]}")
    if positions.ndim > 1 and shape[-2] not in (1, batch):
        raise Error(f"positions.batch: want {batch}, got {shape[-2]}")


def refuse_gradient(positions: Tensor) -> None:
    if positions.requires_grad:
        raise Error("position_ids: want positions without gradient, got ones that require it")


def want_tensor(positions: Any, name: str) -> None:
    if not isinstance(positions, Tensor):
        raise Error(f"{name}: want a tensor, got {type(positions).__name__}")


def want_whole(positions: Any, name: str) -> None:
    want_tensor(positions, name)
    if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
        raise Error(f"{name}: want whole numbers (int64), got {positions.dtype}")


def want_between(positions: Tensor, name: str, high: int, what: str) -> None:
    """0 to high, where their contents can be seen."""
    if positions.numel() == 0 or not is_seen(positions):
        return
    least, most = (int(one) for one in positions.aminmax())
    if least < 0 or most > high:
        raise Error(f"{name}: want {what} 0 to {high}, got {least if least < 0 else most}")


def want_on_grid(positions: Tensor, name: str, rows: int, columns: int) -> None:
    """positions: [2, ...], rows and columns."""
    want_between(positions[0], name, rows - 1, "rows")
    want_between(positions[1], name, columns - 1, "columns")
