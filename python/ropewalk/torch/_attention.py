"""Attention with something added to its scores: the one place where it is done.

    ropewalk::attend(q, k, v, numbers, bias, causal, scale) -> (out, log_sum_exp)
    ropewalk::attend_backward(grad, q, k, v, out, log_sum_exp, numbers, bias, causal, scale) -> (d_q, d_k, d_v, d_numbers)

are the library's own, keys streamed in blocks: no array of tokens by keys, there or back. numbers, bias: as ropewalk::score_bias has
them, of positions 0, 1, ...; an empty bias: nothing is added. Everything else goes by torch's own attention.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ropewalk import _core
from ropewalk._core import Error
from ropewalk.torch._encoding_ops import prepared
from ropewalk.torch._kernels import gradients_are_transformed, is_mapped, refuse_tangents
from ropewalk.torch._ops import LIBRARY

for _schema in (
    "attend(Tensor q, Tensor k, Tensor v, Tensor numbers, str bias, bool causal, float scale) -> (Tensor, Tensor)",
    "attend_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor log_sum_exp, Tensor numbers, str bias, bool causal, "
    "float scale) -> (Tensor, Tensor, Tensor, Tensor)",
):
    LIBRARY.define(_schema, tags=(torch.Tag.pt2_compliant_tag,))

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def has_kernel(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the library's attention takes these."""
    return (q.device.type == "cpu" and q.dtype in _DTYPES and q.dtype == k.dtype == v.dtype and q.numel() > 0 and k.numel() > 0
            and not gradients_are_transformed())


def _rows(x: Tensor) -> Tensor:
    """With the channels of a head side by side."""
    x = x.detach()
    return x if x.stride(-1) == 1 else x.contiguous()


def _options(numbers: Tensor, bias: str, causal: bool, scale: float) -> Dict[str, Any]:
    return dict(softmax_scale=scale, right=0 if causal else None, bias=prepared(bias, numbers) if bias else None,
                threads=torch.get_num_threads())


def _attend(q: Tensor, k: Tensor, v: Tensor, numbers: Tensor, bias: str, causal: bool, scale: float) -> Tuple[Tensor, Tensor]:
    refuse_tangents("attend", q, k, v, numbers)
    out, sums = _attend_fake(q, k, v, numbers, bias, causal, scale)
    _core.attend_into(_rows(q), _rows(k), _rows(v), out, sums, **_options(numbers, bias, causal, scale))
    return out, sums


def _attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sum_exp: Tensor, numbers: Tensor, bias: str, causal: bool, scale: float
) -> Tuple[Tensor, ...]:
    found = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    flat = np.zeros(numbers.numel()) if numbers.numel() else None
    _core.attend_backward_into(_rows(q), _rows(k), _rows(v), _rows(out), log_sum_exp.detach(), _rows(grad.to(q.dtype)), *found, flat,
                               **_options(numbers, bias, causal, scale))
    return *found, torch.empty_like(numbers) if flat is None else torch.from_numpy(flat).to(torch.float32)


for _name, _kernel in (("attend", _attend), ("attend_backward", _attend_backward)):
    LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")


@torch.library.register_fake("ropewalk::attend", lib=LIBRARY)
def _attend_fake(q: Tensor, k: Tensor, v: Tensor, numbers: Tensor, bias: str, causal: bool, scale: float) -> Tuple[Tensor, Tensor]:
    out = q.new_empty((*q.shape[:3], v.shape[3]))
    return out, q.new_empty((q.shape[0], q.shape[2], q.shape[1]), dtype=torch.float32)


@torch.library.register_fake("ropewalk::attend_backward", lib=LIBRARY)
def _attend_backward_fake(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sum_exp: Tensor, numbers: Tensor, bias: str, causal: bool, scale: float
) -> Tuple[Tensor, ...]:
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v, numbers))


def _keep(ctx: Any, inputs: Tuple[Any, ...], output: Tuple[Tensor, Tensor]) -> None:
    q, k, v, numbers, *ctx.options = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, numbers)


def _backward(ctx: Any, grad: Tensor, _: Any) -> Tuple[Any, ...]:
    found = torch.ops.ropewalk.attend_backward(grad, *ctx.saved_tensors, *ctx.options)
    return *(one if wanted else None for one, wanted in zip(found, ctx.needs_input_grad)), None, None, None


def _no_second(ctx: Any, *_: Any) -> Tuple[Any, ...]:
    raise Error("attend: want first gradients, as torch's own attention has on the CPU, got one of a gradient")


torch.library.register_autograd("ropewalk::attend", _backward, setup_context=_keep, lib=LIBRARY)
torch.library.register_autograd("ropewalk::attend_backward", _no_second, lib=LIBRARY)


def streamed(q: Tensor, k: Tensor, v: Tensor, numbers: Optional[Tensor], bias: str, causal: bool, scale: float) -> Tensor:
    """By the library, where has_kernel: [batch, tokens, heads, value_dim]. Tokens stand at 0, 1, ..., the last query at the last key."""
    out, _ = torch.ops.ropewalk.attend(q, k, v, q.new_empty(0, dtype=torch.float32) if numbers is None else numbers, bias, causal, scale)
    return out


def seen(tokens: int, keys: int, device: torch.device) -> Tensor:
    """bool [tokens, keys]: causal, the last query at the last key."""
    return torch.arange(keys, device=device) <= torch.arange(keys - tokens, keys, device=device).unsqueeze(-1)


def masked(bias: Optional[Tensor], tokens: int, keys: int, causal: bool, device: torch.device) -> Optional[Tensor]:
    """What is added to scores, with what is not seen at -infinity; bool where nothing is added."""
    if not causal or tokens == 1:
        return bias
    visible = seen(tokens, keys, device)
    return visible if bias is None else bias.masked_fill(~visible, float("-inf"))


def attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Optional[Tensor], causal: bool, scale: float,
    values: Optional[Callable[[Tensor], Tensor]] = None,
) -> Tensor:
    """softmax(scale q.k + bias) v, [batch, tokens, heads, value_dim].

    q: [batch, tokens, heads, head_dim]; k, v: [batch, keys, kv_heads, ...]. bias: [heads or 1, tokens, keys], or with the batch before.
    A query before all keys (causal, more tokens than keys) gets zeros.
    values: what is added to the result, [batch, heads, tokens, value_dim], of the probabilities [batch, heads, tokens, keys].
    """
    if bias is None and values is None and has_kernel(q, k, v):
        return streamed(q, k, v, None, "", causal, scale)
    tokens, keys = q.shape[1], k.shape[1]
    # torch's own attention has no forward mode on the CPU, and under vmap no gradient of its mask.
    in_full = values is not None or gradients_are_transformed() or is_mapped()
    straight = causal and bias is None and tokens == keys and not in_full
    mask = bias if straight else masked(bias, tokens, keys, causal, q.device)
    if mask is not None and mask.dtype != torch.bool and q.dtype == torch.float64:
        mask = mask.to(q.dtype)
    if mask is not None and mask.ndim == 3:
        mask = mask.unsqueeze(0)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    grouped = q.shape[1] != k.shape[1]
    if not in_full:
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=straight, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    if grouped:
        k, v = (one.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for one in (k, v))
    scores = (q * scale) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    blind = max(tokens - keys, 0) if causal else 0  # queries before all keys, which see nothing: zeros
    shares = torch.softmax(scores[..., blind:, :], -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    if blind:
        shares = torch.nn.functional.pad(shares, (0, 0, blind, 0))
    out = shares @ v
    return (out if values is None else out + values(shares)).transpose(1, 2)
