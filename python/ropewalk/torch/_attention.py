"""Attention with something added to its scores: the one place where it is done."""

from __future__ import annotations

from typing import Callable, Optional

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


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
    values: what is added to the result, [batch, heads, tokens, value_dim], of the probabilities [batch, heads, tokens, keys].
    """
    tokens, keys = q.shape[1], k.shape[1]
    straight = causal and bias is None and tokens == keys and values is None
    mask = bias if straight else masked(bias, tokens, keys, causal, q.device)
    if mask is not None and mask.dtype != torch.bool and q.dtype == torch.float64:
        mask = mask.to(q.dtype)
    if mask is not None and mask.ndim == 3:
        mask = mask.unsqueeze(0)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    grouped = q.shape[1] != k.shape[1]
    if values is None:
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=straight, scale=scale, enable_gqa=grouped)
        return out.transpose(1, 2)
    if grouped:
        k, v = (one.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for one in (k, v))
    scores = (q * scale) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    shares = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return (shares @ v + values(shares)).transpose(1, 2)
