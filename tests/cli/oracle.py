"""The formulas as the papers state them, in mpmath and numpy. Shares nothing with the library but the config's words.

Sources: RoFormer (Su et al. 2021); position interpolation (Chen et al. 2023); dynamic NTK (transformers' formula);
YaRN (Peng et al. 2023, arXiv 2309.00071); Llama 3.1; LongRoPE (Ding et al. 2024, arXiv 2402.13753).
"""

from __future__ import annotations

import mpmath
import numpy as np
from mpmath import mp, mpf

mp.dps = 60


def frequencies(config: dict, length: int = 0):
    """inv_freq (mpmath) and the factor on cos and sin of a flat config.json, at a running length."""
    d = config["hidden_size"] // config["num_attention_heads"]
    pairs = d // 2
    theta, context = mpf(config["rope_theta"]), config["max_position_embeddings"]
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    plain = [theta ** (mpf(-2 * j) / d) for j in range(pairs)]
    factor = mpf(scaling.get("factor", 1))
    if kind == "default":
        return plain, mpf(1)
    if kind == "linear":
        return [f / factor for f in plain], mpf(1)
    if kind == "dynamic":
        base = theta * (factor * max(length, context) / context - (factor - 1)) ** (mpf(d) / (d - 2))
        return [base ** (mpf(-2 * j) / d) for j in range(pairs)], mpf(1)
    if kind == "yarn":
        trained = scaling["original_max_position_embeddings"]

        def pair_that_turns(times):
            return d * mpmath.log(trained / (times * 2 * mp.pi)) / (2 * mpmath.log(theta))

        low = max(mpmath.floor(pair_that_turns(mpf(32))), 0)
        high = min(mpmath.ceil(pair_that_turns(mpf(1))), d - 1)
        ramp = [min(max((j - low) / (high - low), mpf(0)), mpf(1)) for j in range(pairs)]
        return [f / factor * r + f * (1 - r) for f, r in zip(plain, ramp)], mpf(1) / 10 * mpmath.log(factor) + 1
    if kind == "llama3":
        trained, low, high = scaling["original_max_position_embeddings"], mpf(scaling["low_freq_factor"]), mpf(
            scaling["high_freq_factor"])
        out = []
        for f in plain:
            wavelength = 2 * mp.pi / f
            if wavelength < trained / high:
                out.append(f)
            elif wavelength > trained / low:
                out.append(f / factor)
            else:
                smooth = (trained / wavelength - low) / (high - low)
                out.append((1 - smooth) * f / factor + smooth * f)
        return out, mpf(1)
    if kind == "longrope":
        trained = config["original_max_position_embeddings"]
        divisors = scaling["long_factor"] if length > trained else scaling["short_factor"]
        stretch = mpf(context) / trained
        return [f / mpf(e) for f, e in zip(plain, divisors)], mpmath.sqrt(1 + mpmath.log(stretch) / mpmath.log(trained))
    raise ValueError(kind)


def cos_sin(config: dict, positions, length: int = 0):
    """[positions, pairs] cosines and sines, rounded once to double."""
    inv_freq, amplitude = frequencies(config, length)
    cos = np.array([[float(amplitude * mpmath.cos(p * f)) for f in inv_freq] for p in positions])
    sin = np.array([[float(amplitude * mpmath.sin(p * f)) for f in inv_freq] for p in positions])
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
