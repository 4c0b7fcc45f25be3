"""Attention and its gradients against torch's autograd over the plain softmax, in float64.

ROPEWALK_BUILD  where tests/kernels/attention_gradients_probe lies (default: build)
"""

import os
import pathlib

import pytest

from line_probe import asking

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("ROPEWALK_BUILD", ROOT / "build")) / "tests/kernels/attention_gradients_probe"


@pytest.fixture(scope="module")
def ask():
    with asking(PROBE) as question:
        yield question


ALL = 2**63 - 1  # AttentionMask::kUnlimited
CASES = {
    "causal": {"right": 0},
    "everything": {},
    "wide heads, values of another width": {"heads": (3, 3), "dims": (128, 72), "right": 0},
    "a window to both sides": {"left": 20, "right": 7},
    "all but near keys": {"right": -12},
    "a chunk over a cache": {"tokens": 33, "keys": 290, "right": 0},
    "more queries than keys": {"tokens": 90, "keys": 40, "right": 0},
    "one query": {"tokens": 1, "keys": 150, "right": 0},
    "temperature": {"temperature": True, "right": 0},
    "bias": {"bias": True, "right": 0},
    "all of it": {"batch": 2, "tokens": 150, "keys": 170, "left": 100, "right": 30, "temperature": True, "bias": True},
    "packed": {"tokens": 150, "keys": 160, "right": 0, "query_starts": [0, 40, 40, 41, 150], "key_starts": [0, 50, 50, 51, 160], "temperature": True},
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_autograd(ask, name):
    case = {"batch": 1, "tokens": 150, "keys": 150, "heads": (6, 2), "dims": (32, 32), "left": ALL, "right": ALL, **CASES[name]}
    batch, tokens, keys, (heads, kv_heads), (dim, value_dim) = (case[x] for x in ("batch", "tokens", "keys", "heads", "dims"))
    generator = torch.Generator().manual_seed(7)

    def leaf(*shape):
        return torch.randn(*shape, generator=generator).double().requires_grad_()

    q, k, v = leaf(batch, tokens, heads, dim), leaf(batch, keys, kv_heads, dim), leaf(batch, keys, kv_heads, value_dim)
    d_out = torch.randn(batch, tokens, heads, value_dim, generator=generator).double()
    bias, scale = leaf(batch, heads, tokens, keys), 0.9 / dim**0.5
    temperature = (torch.rand(batch, tokens, generator=generator) + 0.5).double().requires_grad_()

    query_starts = case.get("query_starts", [0, tokens])
    key_starts = case.get("key_starts", [0, keys])
    query_at = torch.empty(tokens, dtype=torch.int64)
    seen = torch.zeros(tokens, keys, dtype=torch.bool)
    for s in range(len(query_starts) - 1):
        mine = slice(query_starts[s], query_starts[s + 1])
        query_at[mine] = torch.arange(query_starts[s], query_starts[s + 1]) + key_starts[s + 1] - query_starts[s + 1]
        seen[mine, key_starts[s] : key_starts[s + 1]] = True
    back = query_at[:, None] - torch.arange(keys)
    seen &= (back <= case["left"]) & (-back <= case["right"])

    group = heads // kv_heads
    scores = scale * torch.einsum("bthd,bjhd->bhtj", q, k.repeat_interleave(group, 2))
    if case.get("temperature"):
        scores = scores * temperature[:, None, :, None]
    if case.get("bias"):
        scores = scores + bias
    p = torch.softmax(scores.masked_fill(~seen, -1e30), -1) * seen  # a query that sees nothing gets zeros
    out = torch.einsum("bhtj,bjhd->bthd", p, v.repeat_interleave(group, 2))
    out.backward(d_out)

    def flat(x):
        return x.detach().float().flatten().tolist()

    request = {x: case[x] for x in ("left", "right", "query_starts", "key_starts") if x in case}
    request |= {"q": flat(q), "k": flat(k), "v": flat(v), "d_out": flat(d_out)}
    if case.get("temperature"):
        request["temperature"] = flat(temperature)
    if case.get("bias"):
        request["bias"] = flat(bias)
    got = ask(shape=[batch, tokens, keys, heads, kv_heads, dim, value_dim], scale=scale, threads=2, **request)

    wanted = {"out": out, "d_q": q.grad, "d_k": k.grad, "d_v": v.grad}
    if case.get("temperature"):
        wanted["d_temperature"] = temperature.grad
    if case.get("bias"):
        wanted["d_score"] = bias.grad
    for what, want in wanted.items():
        want = want.detach().flatten()
        error = (torch.tensor(got[what], dtype=torch.float64) - want).abs().max()
        assert error <= 4e-6 * max(1.0, float(want.abs().max())), what
