"""Caches from Python: append, quantise, shift; each against the steps that it takes in one."""

import numpy as np
import pytest
import ropewalk
from ropewalk import CacheView, HeadNorm, Rotary, RotarySpec, YarnScaling

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed here")

ROTARY = Rotary(RotarySpec(head_dim=64, theta=10000.0))
rng = np.random.default_rng(1)


def e4m3(byte):
    sign, exponent, mantissa = -1 if byte >> 7 else 1, byte >> 3 & 15, byte & 7
    return sign * (mantissa * 2**-9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10))


E4M3 = np.array([e4m3(byte) for byte in range(256)])


def heads(*shape):
    return rng.standard_normal(shape, np.float32)


def normed(x, weight, epsilon=1e-6):
    return x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + epsilon) * weight


@pytest.mark.parametrize("order", ["nhd", "hnd"])
@pytest.mark.parametrize("pages", [0, 3])
def test_append_is_norm_then_rotation_then_a_copy_into_the_slots(order, pages):
    q, k, v = heads(1, 5, 4, 64), heads(1, 5, 2, 64), heads(1, 5, 2, 32)
    weight = rng.uniform(0.5, 2, 64).astype(np.float32)
    where = [7, 0, 1, -1, 11]

    def cache(width):
        shape = [pages, 4, 2, width] if pages else [12, 2, width]
        if order == "hnd":
            shape[-3], shape[-2] = shape[-2], shape[-3]
        return np.zeros(shape, np.float32)

    keys, values, queries = cache(64), cache(32), q.copy()
    ropewalk.append_(ROTARY, k, CacheView(keys, order=order), slots=where, values=v, value_cache=CacheView(values, order=order), queries=queries,
                     key_norm=HeadNorm(weight=weight), query_norm=HeadNorm(place="after"), seqlen_offsets=100)
    rows = lambda array: (array.swapaxes(-3, -2) if order == "hnd" else array).reshape(12, 2, -1)
    wanted = ROTARY.apply(normed(k, weight).astype(np.float32), seqlen_offsets=100)[0]
    for token, slot in enumerate(where):
        if slot >= 0:
            np.testing.assert_allclose(rows(keys)[slot], wanted[token], atol=3e-6)
            assert (rows(values)[slot] == v[0, token]).all()
    assert not rows(keys)[[2, 3, 4, 5, 6, 8, 9, 10]].any()
    np.testing.assert_allclose(queries, normed(ROTARY.apply(q, seqlen_offsets=100), 1), atol=3e-6)


@pytest.mark.parametrize("make, half_step", [
    pytest.param(lambda: CacheView(torch.zeros(8, 2, 64, dtype=torch.bfloat16)), 2**-8, marks=needs_torch),
    (lambda: CacheView(np.zeros((8, 2, 64), np.float16)), 2**-11),
    (lambda: CacheView(np.zeros((8, 2, 64), np.int8), np.zeros((8, 2), np.float32)), 1 / 254),
    (lambda: CacheView(np.zeros((8, 2, 32), np.uint8), np.zeros((8, 2), np.float32), format="int4"), 1 / 14),
    (lambda: CacheView(np.zeros((8, 2, 64), np.uint8), np.zeros((8, 2), np.float32), format="float8_e4m3"), 2**-4),
    pytest.param(lambda: CacheView(torch.zeros(8, 2, 64, dtype=torch.float8_e4m3fn)), 2**-4, marks=needs_torch),
])
def test_a_shift_moves_stored_keys_in_every_format(make, half_step):
    """To half a step of a row's largest magnitude, once on the way in and once behind the shift, which spreads the first over a pair."""
    cache, k = make(), heads(1, 8, 2, 64)
    ropewalk.append_(ROTARY, k, cache, slots=np.arange(8), seqlen_offsets=1000)
    ropewalk.shift_(ROTARY, cache, slots=np.arange(4, 8), deltas=-500)
    stood = np.concatenate([np.arange(1000, 1004), np.arange(504, 508)])

    def read(view):
        data = view.data
        if not isinstance(data, np.ndarray):
            return data.float().numpy()
        if view.format == "int4":
            lower, upper = data & 15, data >> 4
            codes = np.stack([lower, upper], -1).reshape(8, 2, 64).astype(np.int8)
            data = np.where(codes > 7, codes - 16, codes)
        elif view.format == "float8_e4m3":
            data = E4M3[data]
        return data.astype(np.float32) * (1 if view.scales is None else view.scales[..., None])

    wanted = ROTARY.apply(k, position_ids=stood)[0]
    largest = np.hypot(*np.split(k[0], 2, axis=-1)).max()  # of any channel, wherever its pair has turned
    bound = half_step * largest * np.where(np.arange(8) < 4, 1.0, 1.0 + 2**0.5) + 1e-6
    assert (np.abs(read(cache) - wanted).max(axis=(1, 2)) <= bound).all()


YARN = Rotary(RotarySpec(head_dim=64, theta=10000.0, scaling=YarnScaling(factor=4.0, trained_context=4096)))


def test_rerotation_is_what_the_other_operator_would_have_stored():
    k = heads(2, 5, 2, 64)
    change = ropewalk.Rerotation(ROTARY, YARN)
    assert change.gain == YARN.attention_factor
    keys = ROTARY.apply(k, seqlen_offsets=[100, 7])
    assert change.apply_(keys, seqlen_offsets=[100, 7]) is keys
    np.testing.assert_allclose(keys, YARN.apply(k, seqlen_offsets=[100, 7]), atol=3e-6)
    packed = ROTARY.apply(k[0], layout="thd", position_ids=range(5))
    change.apply_(packed, layout="thd", position_ids=range(5))
    np.testing.assert_allclose(packed, YARN.apply(k[0], layout="thd"), atol=3e-6)


@pytest.mark.parametrize("make, half_step", [
    (lambda: CacheView(np.zeros((8, 2, 64), np.float32)), 2**-22), (lambda: CacheView(np.zeros((8, 2, 64), np.float16)), 2**-11),
])
def test_rerotation_of_a_cache_at_far_positions(make, half_step):
    cache, k, where = make(), heads(1, 4, 2, 64), [5, -1, 0, 2]
    ropewalk.append_(ROTARY, k, cache, slots=where, seqlen_offsets=10**7)
    kept = cache.data.copy()
    ropewalk.Rerotation(ROTARY, YARN).apply_cache_(cache, slots=where, position_ids=range(10**7, 10**7 + 4))
    wanted = YARN.apply(k, seqlen_offsets=10**7)[0]
    bound = half_step * np.hypot(*np.split(k[0], 2, axis=-1)).max() * YARN.attention_factor * (1 + 2**0.5) + 2e-6
    for token, slot in enumerate(where):
        if slot >= 0:
            assert np.abs(cache.data[slot] - wanted[token]).max() <= bound
    assert (cache.data[[1, 3, 4, 6, 7]] == kept[[1, 3, 4, 6, 7]]).all()


def test_slots_of_pages():
    assert ropewalk.slots_of_pages([5, 2], 4, 2, 4).tolist() == [22, 23, 8, 9]


K = heads(1, 2, 2, 64)
CACHE = np.zeros((8, 2, 64), np.float32)


@pytest.mark.parametrize("call, words", [
    (lambda: ropewalk.append_(ROTARY, K, CACHE, slots=[0, 1]), "key_cache: want a CacheView"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE), slots=[0, 8]), r"slots\[1\]"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE), slots=[0]), "slots"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE[:, :1]), slots=[0, 1]), "key_cache.heads"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE.astype(np.int8)), slots=[0, 1]), "key_cache.scales"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE.astype(np.uint8)), slots=[0, 1]), "key_cache.format"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE, format="int8"), slots=[0, 1]), "key_cache.format: want the one of its dtype"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE.astype(np.int8), np.zeros((8, 1), np.float32)), slots=[0, 1]), "key_cache.scales: want float32"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE, order="dnh"), slots=[0, 1]), "key_cache.order"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE), slots=[0, 1], values=K), "value_cache: want values and value_cache together"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE), slots=[0, 1], key_norm=HeadNorm(weight=np.ones(3, np.float32))), r"key_norm.weight: want \[64\]"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE), slots=[0, 1], key_norm=HeadNorm(place="within")), "key_norm.place"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(CACHE), slots=[0, 1], query_norm=HeadNorm()), "query_norm: want it with queries"),
    (lambda: ropewalk.append_(ROTARY, K, CacheView(np.broadcast_to(CACHE[:1], (8, 2, 64))), slots=[0, 1]), "key_cache.data: want an array that can be written"),
    (lambda: ropewalk.shift_(ROTARY, CacheView(CACHE), slots=[9], deltas=1), r"slots\[0\]"),
    (lambda: ropewalk.shift_(ROTARY, CacheView(CACHE), slots=[0, 1], deltas=[1]), "tokens"),
    (lambda: ropewalk.Rerotation(ROTARY, Rotary(RotarySpec(head_dim=32, theta=10000.0))), "after.head_dim"),
    (lambda: ropewalk.Rerotation(ROTARY, YARN).apply_(K[..., :32], seqlen_offsets=0), "keys.head_dim"),
    (lambda: ropewalk.Rerotation(ROTARY, YARN).apply_cache_(CacheView(CACHE), slots=[9], position_ids=[1]), r"slots\[0\]"),
    (lambda: ropewalk.Rerotation(ROTARY, YARN).apply_cache_(CacheView(CACHE), slots=[0, 1], position_ids=[1]), "tokens"),
])
def test_what_is_wrong_is_refused_by_name(call, words):
    with pytest.raises(ropewalk.Error, match=words):
        call()
