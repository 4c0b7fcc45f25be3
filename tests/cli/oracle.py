"""What a small config.json means, in mpmath and numpy: tests/oracle holds the formulas, this file the config's words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import mpmath_oracle  # noqa: E402


def frequencies(config: dict, length: int = 0):
    """inv_freq (mpmath) and the factor on cos and sin of a flat config.json, at a running length."""
    d = config["hidden_size"] // config["num_attention_heads"]
    context = config["max_position_embeddings"]
    parameters = {"max_position_embeddings": context, **(config.get("rope_scaling") or {})}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "longrope":
        trained = config["original_max_position_embeddings"]
        parameters |= {"original_max_position_embeddings": trained, "factor": context / trained}
    inv_freq = mpmath_oracle.inv_freq(config["rope_theta"], d, kind, parameters, length)
    return inv_freq, mpmath_oracle.attention_factor(kind, parameters, length)


def cos_sin(config: dict, positions, length: int = 0):
    """[positions, pairs] cosines and sines, rounded once to double."""
    inv_freq, amplitude = frequencies(config, length)
    pairs = [[mpmath_oracle.cos_sin(p, f) for f in inv_freq] for p in positions]
    cos = np.array([[float(amplitude * c) for c, _ in row] for row in pairs])
    sin = np.array([[float(amplitude * s) for _, s in row] for row in pairs])
    return cos, sin


def rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, *, interleaved: bool, inverse: bool = False) -> np.ndarray:
    """x [..., tokens, heads, head_dim] with cos, sin [..., tokens, pairs], in float64; the pairs from the first channel on."""
    pairs = cos.shape[-1]
    x = x.astype(np.float64)
    out = x.copy()
    first = np.arange(pairs) * 2 if interleaved else np.arange(pairs)
    second = first + (1 if interleaved else pairs)
    c, s = cos[..., None, :], sin[..., None, :]
    if inverse:
        gain = c * c + s * s
        c, s = c / gain, -s / gain
    x0, x1 = x[..., first], x[..., second]
    out[..., first] = x0 * c - x1 * s
    out[..., second] = x1 * c + x0 * s
    return out
