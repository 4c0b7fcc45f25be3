"""The truth about rotary frequencies, from the published formulas in mpmath.

Written as the formulas read, and apart from everything else in the project: it knows neither the library nor the C++
oracle. Settings (theta, factor, ...) are the doubles that a config holds; everything after them is a real number of
PRECISION bits.

    inv_freq(theta, dim, "yarn", {"factor": 4.0, "original_max_position_embeddings": 32768})   [mpf], radians per token
    attention_factor("yarn", {...}), softmax_scale_multiplier("yarn", {...})                   mpf
    cos_sin(position, one_inv_freq)                                                            (mpf, mpf)

Parameters have the words of config.json: factor, original_max_position_embeddings, max_position_embeddings (dynamic),
beta_fast, beta_slow, truncate, attention_factor, mscale, mscale_all_dim, short_factor, long_factor, short_mscale,
long_mscale, low_freq_factor, high_freq_factor, partial_rotary_factor; and of our own: form ("base", "fixed", "mixed")
and mixed_b of NTK, divisors, coefficient, extrapolation_factor, ramp_guard ("nudge", "floor"), mscale_rule ("both",
"numerator"), scale_softmax, growth ("running", "full"), policy ("by_length", "short", "long").
"""

import struct

import mpmath

PRECISION = 240  # bits: positions of 64 bits and phases of 64 bits leave more than 100 to spare
_mp = mpmath.mp.clone()
_mp.prec = PRECISION

_inf = float("inf")


def _real(value):
    return _mp.mpf(value)


def _ladder(theta, dim):
    """theta^(-2i/d) for every rung."""
    return [_mp.power(_real(theta), -_real(2 * i) / dim) for i in range((dim + 1) // 2)]


def _ntk(theta, dim, p):
    s, form = _real(p["factor"]), p.get("form", "base")
    if form == "base":
        return _ladder(_real(theta) * _mp.power(s, _real(dim) / (dim - 2)), dim)
    if form == "fixed":
        return [f / _mp.power(s, _real(2) / dim) for f in _ladder(_real(theta) * s, dim)]
    b = _real(p.get("mixed_b", 0.625))
    a = _mp.log(s) / _mp.power(_real(dim) / 2, b)
    return [f / _mp.exp(a * _mp.power(_real(i + 1), b)) for i, f in enumerate(_ladder(theta, dim))]


def dynamic_theta(theta, dim, p, running_length=0):
    """The base at a running length (0: the trained one)."""
    s, trained = _real(p["factor"]), _real(p["max_position_embeddings"])
    length = max(_real(running_length), trained)
    if p.get("growth", "running") == "full":
        length = s * trained
    return _real(theta) * _mp.power(s * length / trained - (s - 1), _real(dim) / (dim - 2))


def yarn_range(theta, dim, p):
    """(low, high) of the ramp, after truncation and clamping."""
    trained = _real(p["original_max_position_embeddings"])

    def corr(turns):
        return dim * _mp.log(trained / (2 * _mp.pi * _real(turns))) / (2 * _mp.log(_real(theta)))

    low, high = corr(p.get("beta_fast") or 32), corr(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        low, high = _mp.floor(low), _mp.ceil(high)
    return max(low, _real(0)), min(high, _real(dim - 1))


def _yarn(theta, dim, p):
    s, e = _real(p["factor"]), _real(p.get("extrapolation_factor", 1.0))
    low, high = yarn_range(theta, dim, p)
    width = high - low
    if p.get("ramp_guard", "nudge") == "floor":
        width = max(width, _real(0.001))
    elif width == 0:
        width = _real(0.001)
    result = []
    for i, f in enumerate(_ladder(theta, dim)):
        r = min(max((i - low) / width, _real(0)), _real(1))
        kept = (1 - r) * e
        result.append(f / s * (1 - kept) + f * kept)
    return result


def _use_long(p, running_length):
    policy = p.get("policy", "by_length")
    return policy == "long" or (policy == "by_length" and running_length > p["original_max_position_embeddings"])


def _llama3(theta, dim, p):
    s, low, high = (_real(p[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    trained = _real(p["original_max_position_embeddings"])
    result = []
    for f in _ladder(theta, dim):
        wavelength = 2 * _mp.pi / f
        if wavelength < trained / high:
            result.append(f)
        elif wavelength > trained / low:
            result.append(f / s)
        else:
            t = (trained / wavelength - low) / (high - low)
            result.append((1 - t) * f / s + t * f)
    return result


def inv_freq(theta, dim, scaling_name="none", params=None, running_length=0):
    """Radians per token of every pair. `dim` is the ladder's width, which a proportional fraction does not narrow."""
    p = params or {}
    if scaling_name in ("none", "default"):
        return _ladder(theta, dim)
    if scaling_name == "linear":
        return [f / _real(p["factor"]) for f in _ladder(theta, dim)]
    if scaling_name == "ntk":
        return _ntk(theta, dim, p)
    if scaling_name == "dynamic":
        return _ladder(dynamic_theta(theta, dim, p, running_length), dim)
    if scaling_name == "yarn":
        return _yarn(theta, dim, p)
    if scaling_name == "longrope":
        divisors = p["long_factor"] if _use_long(p, running_length) else p["short_factor"]
        return [f / _real(c) for f, c in zip(_ladder(theta, dim), divisors, strict=True)]
    if scaling_name == "llama3":
        return _llama3(theta, dim, p)
    if scaling_name == "proportional":
        live = int(p.get("partial_rotary_factor", 1.0) * dim // 2)
        s = _real(p.get("factor", 1.0))
        return [f / s if i < live else _real(0) for i, f in enumerate(_ladder(theta, dim))]
    if scaling_name == "divisors":
        s = _real(p.get("factor", 1.0))
        ladder = zip(_ladder(theta, dim), p["divisors"], strict=True)
        return [_real(0) if c == _inf else f / (_real(c) * s) for f, c in ladder]
    raise ValueError(f"no scaling is called {scaling_name!r}")


def _magnitude(p, weight):
    """gm(s, a) = c a ln s + 1, and 1 where nothing is stretched."""
    s = _real(p["factor"])
    return _real(1) if s <= 1 else _real(p.get("coefficient", 0.1)) * _real(weight) * _mp.log(s) + 1


def attention_factor(scaling_name="none", params=None, running_length=0):
    """What cos and sin are multiplied by."""
    p = params or {}
    given = p.get("attention_factor")
    if scaling_name == "longrope":
        mscale = p.get("long_mscale" if _use_long(p, running_length) else "short_mscale")
        if mscale is not None:
            return _real(mscale)
        if given is not None:
            return _real(given)
        s = _real(p.get("factor", 1.0))
        trained = _real(p["original_max_position_embeddings"])
        return _real(1) if s <= 1 else _mp.sqrt(1 + _mp.log(s) / _mp.log(trained))
    if given is not None:
        return _real(given)
    if scaling_name != "yarn":
        return _real(1)
    mscale, all_dim = p.get("mscale") or 0, p.get("mscale_all_dim") or 0
    if p.get("mscale_rule", "both") == "numerator":
        return _magnitude(p, mscale or 1) / _magnitude(p, all_dim)
    return _magnitude(p, mscale) / _magnitude(p, all_dim) if mscale and all_dim else _magnitude(p, 1)


def softmax_scale_multiplier(scaling_name="none", params=None):
    """What the softmax scale is multiplied by."""
    p = params or {}
    if scaling_name != "yarn" or not p.get("scale_softmax") or not p.get("mscale_all_dim"):
        return _real(1)
    return _magnitude(p, p["mscale_all_dim"]) ** 2


def cos_sin(position, one_inv_freq):
    """cos and sin of position * inv_freq, positions being exact integers (or floats)."""
    angle = _real(position) * one_inv_freq
    return _mp.cos(angle), _mp.sin(angle)


def turns_per_token(one_inv_freq):
    """2^64 to a turn, modulo a turn, rounded to nearest."""
    return int(_mp.nint(one_inv_freq / (2 * _mp.pi) * _mp.mpf(2) ** 64)) % 2**64


def fingerprint(head_dim, frequencies, layout, factor=1.0, softmax=1.0):
    """The fingerprint of a plain spec (exact numerics, no offset, one axis, no temperature), from its frequencies."""
    pairs = len(frequencies)
    message = b"ropewalk/1" + struct.pack("<QQdd", head_dim, 0, float(factor), float(softmax))
    message += struct.pack("<dqq", 0.0, 1, 0)
    for j, f in enumerate(frequencies):
        turns = turns_per_token(f)
        if turns == 0 and factor == 1.0:
            continue
        first, second = (2 * j, 2 * j + 1) if layout == "interleaved" else (j, j + pairs)
        message += struct.pack("<QQQQ", first, second, 0, turns)
    state = 0xCBF29CE484222325
    for byte in message:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    return f"{state:016x}"
