"""Attention with something added to its scores: the one place where it is done."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def seen(tokens: int, keys: int, device: torch.device) -> Tensor:
    """bool [tokens, keys]: causal, the last query at the last key."""
    return torch.arange(keys, device=device) <= torch.arange(keys - tokens, keys, device=device).unsqueeze(-1)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Optional[Tensor], causal: bool, scale: float) -> Tensor:
    """softmax(scale q.k + bias) v, [batch, tokens, heads, value_dim].

    q: [batch, tokens, heads, head_dim]; k, v: [batch, keys, kv_heads, ...]. bias: [heads or 1, tokens, keys], or with the batch before.
    """
    tokens, keys = q.shape[1], k.shape[1]
    straight = causal and bias is None and tokens == keys
    mask = bias
    if causal and not straight and tokens > 1:
        visible = seen(tokens, keys, q.device)
        mask = visible if bias is None else bias.masked_fill(~visible, float("-inf"))
    if mask is not None and mask.dtype != torch.bool and q.dtype == torch.float64:
        mask = mask.to(q.dtype)
    if mask is not None and mask.ndim == 3:
        mask = mask.unsqueeze(0)
    out = scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, is_causal=straight, scale=scale,
        enable_gqa=q.shape[2] != k.shape[2])
    return out.transpose(1, 2)
