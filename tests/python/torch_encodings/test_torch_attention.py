"""ropewalk::attend, the operator behind PositionEncoding.attend on the CPU."""

import pytest
import torch

import ropewalk
from ropewalk.torch import position_encoding
from ropewalk.torch._attention import has_kernel

ADDED = ["none", "alibi", "t5", "kerple", "fire", "sandwich"]


def made(name, **options):
    torch.manual_seed(5)
    return position_encoding(name, model_dim=64, heads=4, head_dim=16, layers=2, kv_heads=2, max_tokens=64, **options)


def inputs(tokens, keys, dtype=torch.float32, batch=2):
    torch.manual_seed(tokens * 1000 + keys)
    shapes = (batch, tokens, 4, 16), (batch, keys, 2, 16), (batch, keys, 2, 16)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def gradients(encoding, x, out, weights):
    wanted = [one for one in (*x, *encoding.parameters()) if one.requires_grad]
    return torch.autograd.grad((out * weights).sum(), wanted, allow_unused=True)


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("tokens, keys", [(70, 70), (1, 200), (30, 160)])
def test_streamed_is_what_torch_s_own_attention_gives(name, tokens, keys):
    encoding, x = made(name), inputs(tokens, keys)
    weights = torch.randn(2, tokens, 4, 16)
    assert has_kernel(*x)
    streamed = encoding.attend(*x, layer=1)
    # Positions that are said take the way over an array of scores.
    dense = encoding.attend(*x, layer=1, positions=torch.arange(keys - tokens, keys), key_positions=torch.arange(keys))
    torch.testing.assert_close(streamed, dense, atol=2e-5, rtol=1e-4)
    for got, want in zip(gradients(encoding, x, streamed, weights), gradients(encoding, x, dense, weights)):
        assert (got is None) == (want is None)
        if got is not None:
            torch.testing.assert_close(got, want, atol=2e-4, rtol=1e-3)


def test_float64_is_torch_s_own():
    assert not has_kernel(*inputs(3, 5, torch.float64))


def test_a_second_gradient_is_refused():
    encoding, x = made("none"), inputs(3, 3)
    (first,) = torch.autograd.grad(encoding.attend(*x).square().sum(), x[:1], create_graph=True)
    with pytest.raises(ropewalk.Error, match="attend: want first gradients"):
        first.sum().backward()


@pytest.mark.parametrize("name", ["none", "t5"])
def test_torch_s_own_check_of_operators(name):
    encoding, x = made(name), inputs(6, 9)
    numbers = encoding._flat(0, x[0].device).detach().requires_grad_() if name != "none" else torch.empty(0)
    text = encoding._text() if name != "none" else ""
    torch.library.opcheck(torch.ops.ropewalk.attend, (*x, numbers, text, True, 0.25))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits(dtype):
    encoding, x = made("alibi"), inputs(50, 50, dtype)
    out = encoding.attend(*x)
    assert out.dtype == dtype
    exact = encoding.attend(*(one.double() for one in x))
    torch.testing.assert_close(out.double(), exact, atol=0.03, rtol=0.03)
    assert all(one.dtype == dtype for one in gradients(encoding, x, out, torch.ones_like(out)))


def test_channels_that_do_not_lie_side_by_side():
    encoding, x = made("alibi"), inputs(20, 20)
    spread = [one.detach().transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_() for one in x]
    assert spread[0].stride(-1) != 1
    torch.testing.assert_close(encoding.attend(*spread), encoding.attend(*x), atol=0, rtol=0)
    weights = torch.randn(2, 20, 4, 16)
    for got, want in zip(gradients(encoding, spread, encoding.attend(*spread), weights),
                         gradients(encoding, x, encoding.attend(*x), weights)):
        torch.testing.assert_close(got, want, atol=0, rtol=0)


def test_a_sum_s_gradient_of_stride_nothing():
    encoding, x = made("none"), inputs(20, 20)
    encoding.attend(*x).sum().backward()  # d_out is one number, expanded
    ones = torch.ones(2, 20, 4, 16)
    for one, want in zip(x, gradients(encoding, x, encoding.attend(*x), ones)):
        torch.testing.assert_close(one.grad, want, atol=0, rtol=0)


def test_frozen_numbers_get_no_gradient():
    encoding, x = made("t5"), inputs(20, 20)
    encoding.table.requires_grad_(False)
    encoding.attend(*x).sum().backward()
    assert encoding.table.grad is None and x[0].grad is not None


def test_nothing_to_attend_to():
    encoding = made("none")
    empty = torch.empty(2, 0, 4, 16), torch.empty(2, 7, 2, 16), torch.empty(2, 7, 2, 16)
    assert encoding.attend(*empty).shape == (2, 0, 4, 16)


def test_a_compiled_step_is_the_eager_one():
    encoding, x = made("kerple"), inputs(24, 24)
    compiled = torch.compile(lambda *y: encoding.attend(*y, layer=1), fullgraph=True, backend="aot_eager")
    weights = torch.randn(2, 24, 4, 16)
    torch.testing.assert_close(compiled(*x), encoding.attend(*x, layer=1), atol=0, rtol=0)
    for got, want in zip(gradients(encoding, x, compiled(*x), weights), gradients(encoding, x, encoding.attend(*x, layer=1), weights)):
        assert (got is None) == (want is None)
        if got is not None:
            torch.testing.assert_close(got, want, atol=0, rtol=0)
