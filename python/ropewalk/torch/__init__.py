"""Rotary positions for torch: differentiable, compiled, exported and sharded like torch's own operators.

    >>> import torch, ropewalk
    >>> from ropewalk.torch import rotate
    >>> rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=4, theta=10000.0))
    >>> q = torch.ones(1, 2, 1, 4)  # [batch, tokens, heads, head_dim]
    >>> rotate(rotary, q, position_ids=torch.tensor([0, 3]))[0, 1, 0]
    tensor([-1.1311,  0.9696, -0.8489,  1.0295])
"""

from ropewalk.torch._absolute import LearnedEmbedding, SinusoidalEmbedding
from ropewalk.torch._encoding import PositionEncoding
from ropewalk.torch._factory import position_encoding
from ropewalk.torch._functional import apply_rotary_emb, apply_rotary_emb_qk, rotate, rotate_
from ropewalk.torch._module import RotaryEmbedding
from ropewalk.torch._tables import from_cos_sin_cache, from_hf_cos_sin

__all__ = [
    "LearnedEmbedding",
    "PositionEncoding",
    "RotaryEmbedding",
    "SinusoidalEmbedding",
    "apply_rotary_emb",
    "apply_rotary_emb_qk",
    "from_cos_sin_cache",
    "from_hf_cos_sin",
    "position_encoding",
    "rotate",
    "rotate_",
]
