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


@pytest.mark.parametrize("name", [*ADDED, "rope", "shaw", "transformer-xl", "deberta", "cope"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_transforms_of_gradients_are_right(name):
    """Tangents beside differences in float64, torch.func.grad beside backward, alone and for each of a batch."""
    encoding, x = made(name), [one.detach() for one in inputs(9, 9)]
    toward = [torch.randn_like(one) for one in x]
    forward = lambda *y: encoding.attend(*y, layer=1)
    _, tangent = torch.func.jvp(forward, tuple(x), tuple(toward))
    with torch.autograd.forward_ad.dual_level():
        pairs = (torch.autograd.forward_ad.make_dual(*pair) for pair in zip(x, toward))
        dual = torch.autograd.forward_ad.unpack_dual(forward(*pairs)).tangent
    wide = made(name).double()
    ends = [wide.attend(*(a.double() + h * b.double() for a, b in zip(x, toward)), layer=1) for h in (1e-6, -1e-6)]
    for one in (tangent, dual):
        torch.testing.assert_close(one.double(), (ends[0] - ends[1]) / 2e-6, atol=1e-4, rtol=1e-4)
    loss = lambda q: forward(q, *x[1:]).square().sum()
    learns = x[0].clone().requires_grad_()
    loss(learns).backward()
    torch.testing.assert_close(torch.func.grad(loss)(x[0]), learns.grad, atol=1e-4, rtol=1e-4)
    for one in torch.vmap(torch.func.grad(loss))(torch.stack((x[0], x[0]))):
        torch.testing.assert_close(one, learns.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.vmap(lambda q: forward(q, *x[1:]))(x[0][None])[0], forward(*x), atol=1e-5, rtol=1e-5)


def test_what_is_learned_has_tangents():
    encoding, x = made("alibi", trained=True), [one.detach() for one in inputs(9, 9)]
    slopes = encoding.slopes.detach()
    out = lambda one: torch.func.functional_call(Attends(encoding), {"encoding.slopes": one}, tuple(x))
    _, tangent = torch.func.jvp(out, (slopes,), (slopes,))
    torch.testing.assert_close(tangent, (out(slopes * 1.001) - out(slopes * 0.999)) / 0.002, atol=1e-3, rtol=1e-2)


class Attends(torch.nn.Module):
    def __init__(self, encoding):
        super().__init__()
        self.encoding = encoding

    def forward(self, *x):
        return self.encoding.attend(*x)


def test_operators_refuse_dual_tensors():
    from ropewalk.torch._encoding_ops import text_of

    q, axis = torch.randn(1, 3, 2, 4), torch.arange(3)
    calls = {
        "attend": lambda x: torch.ops.ropewalk.attend(x, q, q, torch.empty(0), "", True, 0.5)[0],
        "score_bias": lambda x: torch.ops.ropewalk.score_bias(x[0, 0, :, 0], axis, axis, text_of(ropewalk.AlibiBias(2))),
        "sinusoids": lambda x: torch.ops.ropewalk.sinusoids(x[0, 0, 0].double(), text_of(ropewalk.SinusoidalSpec(6, "interleaved", "paper"))),
    }
    for name, call in calls.items():
        assert torch.isfinite(call(q)).all()
        with torch.autograd.forward_ad.dual_level(), pytest.raises(ropewalk.Error, match=f"{name}: want tensors without tangents"):
            call(torch.autograd.forward_ad.make_dual(q, q))


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
