"""Tensors of CUDA by the library's own kernels, where this build has them for the device."""

from __future__ import annotations

import contextlib
import functools
from typing import Any, ContextManager, Optional

import torch
from torch import Tensor

from ropewalk import _core
from ropewalk.rotary import Rotary
from ropewalk.torch._positions import axes_of, offsets_of, positions_of

BUILT: bool = _core.cuda_is_built()

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)


def _is_cuda(x: Tensor) -> bool:
    return x.is_cuda


@functools.lru_cache(maxsize=None)
def _runs_on(index: Optional[int]) -> bool:
    if not torch.cuda.is_available():
        return False
    with torch.cuda.device(index if index is not None else -1):
        return _core.cuda_runs_here()


@functools.lru_cache(maxsize=256)
def _serves(text: str) -> bool:
    return _core.cuda_serves(Rotary.from_text(text))


def _serves_on(text: str, index: Optional[int]) -> bool:
    return _runs_on(index) and _serves(text)


_serves_on._dynamo_marked_constant = True  # type: ignore[attr-defined]  # as torch.compiler.assume_constant_result, without its import


def is_here(x: Tensor) -> bool:
    """Whether x lies where the kernels run."""
    return BUILT and _is_cuda(x) and _runs_on(x.device.index)


def serves(text: str, x: Tensor, positions: Any) -> bool:
    """Whether they turn x as the operator of `text` says, at positions or seqlen_offsets of this kind."""
    if not BUILT or not _is_cuda(x) or x.dtype not in _DTYPES or not _serves_on(text, x.device.index):
        return False
    return not (isinstance(positions, Tensor) and positions.is_floating_point())


def _stream_of(device: torch.device) -> int:
    if _raw_stream is not None and device.index is not None:
        return int(_raw_stream(device.index))
    return int(torch.cuda.current_stream(device).cuda_stream)


def _at(device: torch.device) -> ContextManager[Any]:
    """Makes `device` the current one, where it is not."""
    if device.index is None or device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)


def turn(
    rotary: Rotary, q: Tensor, k: Optional[Tensor], q_out: Tensor, k_out: Optional[Tensor], position_ids: Any, seqlen_offsets: Any,
    cu_seqlens: Any, layout: str, direction: str,
) -> bool:
    """One launch on torch's current stream, without waiting for it; False, and nothing done, if the kernels do not serve the call."""
    device = q.device
    if any(x is not None and x.device != device for x in (k, q_out, k_out)):
        return False
    batch, tokens, _ = axes_of(layout)
    rows = 1 if batch is None else q.shape[batch]
    first = 0
    are_offsets = position_ids is None and cu_seqlens is None and isinstance(seqlen_offsets, Tensor)
    if are_offsets:
        positions: Optional[Tensor] = offsets_of(seqlen_offsets, rows, device)
    else:
        positions, first = positions_of(position_ids, seqlen_offsets, cu_seqlens, q.shape[tokens], rows, device)
    if positions is not None and positions.dtype not in (torch.int64, torch.int32):
        if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
            return False
        positions = positions.long()
    with _at(device):
        return _core.cuda_turn(rotary, q, k, q_out, k_out, positions, are_offsets, first, layout, direction, _stream_of(device))
