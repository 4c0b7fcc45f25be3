"""Attention from Python against a softmax in float64 that torch differentiates."""

import itertools

import numpy as np
import pytest
import torch

import ropewalk
from ropewalk import AlibiBias, KerpleBias, ScoreBias, SandwichBias, T5Bias, attend, attend_backward

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def seen(tokens, keys, left, right):
    place, key = np.arange(keys - tokens, keys)[:, None], np.arange(keys)
    hidden = np.zeros((tokens, keys), bool)
    if left is not None:
        hidden |= key < place - left
    if right is not None:
        hidden |= key > place + right
    return ~hidden


def reference(q, k, v, scale, visible, bias=None, temperature=None):
    """float64 tensors, [batch, tokens, heads, ...] -> out"""
    group = q.shape[2] // k.shape[2]
    score = torch.einsum("bthd,bshd->bhts", q, k.repeat_interleave(group, 2)) * scale
    if temperature is not None:
        score = score * torch.as_tensor(temperature, dtype=torch.float64).view(-1, 1, q.shape[1], 1)
    if bias is not None:
        score = score + bias
    score = score.masked_fill(~torch.as_tensor(visible), -torch.inf)
    p = torch.softmax(score, -1).nan_to_num(0.0)
    return torch.einsum("bhts,bshd->bthd", p, v.repeat_interleave(group, 2)), torch.logsumexp(score, -1)


def doubles(*arrays):
    return [torch.from_numpy(np.asarray(a, np.float64)).requires_grad_() for a in arrays]


MASKS = [dict(causal=True), dict(causal=False), dict(window=5), dict(causal=False, left=3, right=2), dict(causal=False, left=0)]


def sides(options):
    if "window" in options:
        return options["window"] - 1, 0
    return options.get("left"), options.get("right", 0 if options.get("causal", True) else None)


@pytest.mark.parametrize("options", MASKS)
@pytest.mark.parametrize("tokens, keys", [(1, 1), (1, 300), (70, 70), (33, 150)])
def test_there_and_back(tokens, keys, options):
    q, k, v, d = normal(2, tokens, 6, 20), normal(2, keys, 3, 20), normal(2, keys, 3, 12), normal(2, tokens, 6, 12)
    temperature = np.abs(normal(2, tokens)) + 0.5
    out, sums = attend(q, k, v, softmax_scale=0.3, temperature=temperature, return_log_sum_exp=True, **options)
    exact = doubles(q, k, v)
    want, want_sums = reference(*exact, 0.3, seen(tokens, keys, *sides(options)), None, temperature)
    assert np.abs(out - want.detach().numpy()).max() < 3e-6
    assert np.abs(sums - want_sums.detach().numpy()).max() < 1e-5
    want.backward(torch.from_numpy(d.astype(np.float64)))
    found = attend_backward(q, k, v, out, sums, d, softmax_scale=0.3, temperature=temperature, **options)
    for got, one in zip(found, exact):
        assert np.abs(got - one.grad.numpy()).max() < 2e-5
    assert found.bias == {}


def biases(heads):
    return [
        ScoreBias(AlibiBias(heads)),
        ScoreBias(T5Bias(heads, normal(32, heads), causal=True)),
        ScoreBias(KerpleBias(heads, np.abs(normal(heads)) + 0.1, np.abs(normal(heads)) + 0.1)),
        ScoreBias(SandwichBias(heads, subtrahend=64)),
    ]


@pytest.mark.parametrize("which", range(4))
def test_a_bias_and_what_it_learned(which):
    tokens, keys, heads = 90, 140, 4
    bias = biases(heads)[which]
    q, k, v, d = (normal(2, n, h, 16) for n, h in ((tokens, heads), (keys, 2), (keys, 2), (tokens, heads)))
    out, sums = attend(q, k, v, bias=bias, return_log_sum_exp=True)
    exact = doubles(q, k, v)
    added = torch.from_numpy(bias.fill(range(keys - tokens, keys), range(keys)).astype(np.float64)).requires_grad_()
    want, _ = reference(*exact, 0.25, seen(tokens, keys, None, 0), added)
    assert np.abs(out - want.detach().numpy()).max() < 3e-6
    want.backward(torch.from_numpy(d.astype(np.float64)))
    found = attend_backward(q, k, v, out, sums, d, bias=bias)
    for got, one in zip(found, exact):
        assert np.abs(got - one.grad.numpy()).max() < 2e-5
    learned = bias.gradient(range(keys - tokens, keys), range(keys), added.grad.numpy().astype(np.float32))
    assert found.bias.keys() == learned.keys()
    for name, one in learned.items():
        assert np.abs(found.bias[name] - one).max() < 1e-4 * max(1.0, np.abs(one).max()), name


def test_threads_do_not_change_a_bit():
    bias = biases(4)[1]
    q, k, v, d = (normal(2, 200, h, 16) for h in (4, 2, 2, 4))
    alone = attend(q, k, v, bias=bias, return_log_sum_exp=True, threads=1)
    back = attend_backward(q, k, v, *alone, d, bias=bias, threads=1)
    for threads in (2, 5):
        again = attend(q, k, v, bias=bias, return_log_sum_exp=True, threads=threads)
        assert all(np.array_equal(a, b) for a, b in zip(alone, again))
        for a, b in zip(back[:3], attend_backward(q, k, v, *again, d, bias=bias, threads=threads)[:3]):
            assert np.array_equal(a, b)
        assert np.array_equal(back.bias["table"], attend_backward(q, k, v, *again, d, bias=bias, threads=threads).bias["table"])


@pytest.mark.parametrize("layout, order", [("bhsd", (0, 2, 1, 3)), ("sbhd", (1, 0, 2, 3))])
def test_layouts_say_which_axis_is_which(layout, order):
    q, k, v, d = (normal(2, 9, h, 8) for h in (4, 2, 2, 4))
    want, sums = attend(q, k, v, return_log_sum_exp=True)
    moved = [np.ascontiguousarray(x.transpose(order)) for x in (q, k, v, d)]
    got, got_sums = attend(*moved[:3], layout=layout, return_log_sum_exp=True)
    assert np.array_equal(got, want.transpose(order)) and np.array_equal(sums, got_sums)
    back = attend_backward(q, k, v, want, sums, d)
    for a, b in zip(attend_backward(*moved[:3], got, sums, moved[3], layout=layout)[:3], back[:3]):
        assert np.array_equal(a, b.transpose(order))


def test_packed_sequences_do_not_see_each_other():
    starts = [0, 40, 41, 130]
    q, k, v, d = (normal(130, h, 16) for h in (4, 2, 2, 4))
    options = dict(query_starts=starts, key_starts=starts, layout="thd", bias=biases(4)[0])
    out, sums = attend(q, k, v, return_log_sum_exp=True, **options)
    back = attend_backward(q, k, v, out, sums, d, **options)
    for first, end in itertools.pairwise(starts):
        part = [x[None, first:end] for x in (q, k, v)]
        alone, alone_sums = attend(*part, bias=options["bias"], return_log_sum_exp=True)
        assert np.array_equal(alone[0], out[first:end]) or end - first == 1 and np.abs(alone[0] - out[first:end]).max() < 1e-6
        for a, b in zip(attend_backward(*part, alone, alone_sums, d[None, first:end], bias=options["bias"])[:3], back[:3]):
            assert np.abs(a[0] - b[first:end]).max() < 1e-5


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_sixteen_bits(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name, np.float16))
    q, k, v, d = (normal(1, 50, h, 16).astype(dtype) for h in (4, 2, 2, 4))
    out, sums = attend(q, k, v, return_log_sum_exp=True)
    assert out.dtype == dtype
    exact = doubles(q, k, v)
    want, _ = reference(*exact, 0.25, seen(50, 50, None, 0))
    close = 2.0 ** (-7 if name == "bfloat16" else -9)
    assert np.abs(out.astype(np.float64) - want.detach().numpy()).max() < 4 * close
    want.backward(torch.from_numpy(np.asarray(d, np.float64)))
    for got, one in zip(attend_backward(q, k, v, out, sums, d), exact):
        assert got.dtype == dtype
        assert np.abs(got.astype(np.float64) - one.grad.numpy()).max() < 8 * close


Q, K = normal(1, 3, 4, 8), normal(1, 3, 2, 8)


@pytest.mark.parametrize("path, call", [
    ("k.heads", lambda: attend(Q, normal(1, 3, 3, 8), K)),
    ("v.tokens", lambda: attend(Q, K, K[:, :2])),
    ("k.head_dim", lambda: attend(Q, K[..., :6], K)),
    ("softmax_scale", lambda: attend(Q, K, K, softmax_scale=0.0)),
    ("bias.heads", lambda: attend(Q, K, K, bias=ScoreBias(AlibiBias(2)))),
    ("bias", lambda: attend(Q, K, K, bias=AlibiBias(4))),
    ("first_position", lambda: attend(Q, K, K, bias=ScoreBias(AlibiBias(4)), first_position=2**62 + 1)),
    ("temperature", lambda: attend(Q, K, K, temperature=[1.0, 2.0])),
    ("temperature[0, 1]", lambda: attend(Q, K, K, temperature=[1.0, -2.0, 1.0])),
    ("window", lambda: attend(Q, K, K, window=0)),
    ("window", lambda: attend(Q, K, K, causal=False, window=3)),
    ("layout", lambda: attend(Q, K, K, layout="hsbd")),
    ("q", lambda: attend(Q[0], K, K)),
    ("v", lambda: attend(Q, K, K[0])),
    ("threads", lambda: attend(Q, K, K, threads=-1)),
    ("key_starts[2]", lambda: attend(Q, K, K, query_starts=[0, 1, 3], key_starts=[0, 1, 2])),
    ("out", lambda: attend(Q, K, K, out=np.zeros((1, 3, 4, 8)))),
    ("d_out.tokens", lambda: attend_backward(Q, K, K, Q, np.zeros((1, 4, 3), np.float32), Q[:, :2])),
    ("log_sum_exp", lambda: attend_backward(Q, K, K, Q, np.zeros((1, 3, 4), np.float32), Q)),
    ("log_sum_exp", lambda: attend_backward(Q, K, K, Q, np.zeros((1, 4, 3)), Q)),
])
def test_what_is_wrong_is_named(path, call):
    with pytest.raises(ropewalk.Error) as refused:
        call()
    assert str(refused.value).startswith(path + ": want ")


@pytest.mark.parametrize(
    "options, said",
    [
        (dict(window=2.5), "window: want a whole number, 1 to .*, got 2.5"),
        (dict(window=2**64), "window: want a whole number"),
        (dict(window=0), "window: want a whole number, 1 to"),
        (dict(left=2**70), "left: want a whole number, 0 to"),
        (dict(left=-1), "left: want a whole number, 0 to"),
        (dict(right="1"), "right: want a whole number"),
        (dict(first_position=1.5), "first_position: want a whole number"),
        (dict(first_position=2**70), "first_position: want a whole number"),
        (dict(threads=2.5), "threads: want a whole number"),
        (dict(threads=-1), "threads: want a whole number, 0 to"),
        (dict(softmax_scale=1e300), r"softmax_scale: want a number > 0 \(2\^-60 to 2\^60\), got 1e\+300$"),
        (dict(softmax_scale="1"), "softmax_scale: want a number > 0"),
        (dict(q=None), "q: want an array, got NoneType"),
        (dict(k=None), "k: want an array, got NoneType"),
        (dict(v=None), "v: want an array, got NoneType"),
    ],
)
def test_what_a_call_is_told_is_refused_by_name(options, said):
    arrays = {name: normal(1, 3, 2, 4) for name in "qkv"}
    with pytest.raises(ropewalk.Error, match=said):
        attend(**{**arrays, **options})


def test_more_threads_than_help_are_none():
    q = normal(1, 3, 2, 4)
    assert (attend(q, q, q, threads=2**40) == attend(q, q, q, threads=1)).all()
