"""transformers' words: heads before tokens, cosines and sines of full width that were gathered by position already."""

from __future__ import annotations

from typing import Tuple

from torch import Tensor

from ropewalk._core import Error
from ropewalk.torch import apply_rotary_emb_qk, from_hf_cos_sin


def apply_rotary_pos_emb(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1, *, interleaved: bool = False
) -> Tuple[Tensor, Tensor]:
    """As apply_rotary_pos_emb of transformers.models.llama (interleaved=True: of cohere, glm, whose tables repeat each value twice).

    q, k: [batch, heads, tokens, head_dim] for unsqueeze_dim 1, [batch, tokens, heads, head_dim] for 2.
    cos, sin: [batch or 1, tokens, rotary_dim], every value twice. Arithmetic is float32 whatever the dtypes.
    """
    if unsqueeze_dim not in (1, 2):
        raise Error(f"unsqueeze_dim: want 1 or 2, got {unsqueeze_dim}")
    half_cos, half_sin = from_hf_cos_sin(cos, sin, interleaved=interleaved)
    if half_cos.ndim == 2:
        half_cos, half_sin = half_cos[None], half_sin[None]
    return apply_rotary_emb_qk(q, k, half_cos, half_sin, layout="bhsd" if unsqueeze_dim == 1 else "bshd", interleaved=interleaved)
