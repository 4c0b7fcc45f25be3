"""Gradients of every option, by differences in float64 and against the transpose in the kernels' dtypes."""

import pytest
import torch
from ropewalk import Rotary, RotarySpec
from ropewalk.torch import apply_rotary_emb, apply_rotary_emb_qk, rotate, rotate_
from torch.autograd import gradcheck, gradgradcheck
from torch_specs import SPECS

LLAMA = Rotary(RotarySpec(head_dim=16, theta=1e4))


def heads(*shape, dtype=torch.float64, learns=True):
    return torch.randn(shape, dtype=dtype, requires_grad=learns)


def positions_for(spec):
    p = torch.tensor([[0, 1, 20], [7, 3, -2]])
    return p if spec.axes == 1 else torch.stack([p + axis for axis in range(spec.axes)])


@pytest.mark.parametrize("way", ["straight", "operator"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_gradients_of_every_spec(name, inverse, way):
    rotary = Rotary(SPECS[name])
    p = positions_for(rotary.spec)
    direction = "inverse" if inverse else "forward"
    calls = {"straight": lambda q, k: rotate(rotary, q, k, position_ids=p, inverse=inverse),
             "operator": lambda q, k: torch.ops.ropewalk.rotate_qk(q, k, p, 0, rotary.text, "bshd", direction)}
    q, k = heads(2, 3, 2, 16), heads(2, 3, 2, 16)
    assert gradcheck(calls[way], (q, k), fast_mode=True)
    assert gradgradcheck(calls[way], (q, k), fast_mode=True)


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "thd"])
@pytest.mark.parametrize("where", [{}, {"seqlen_offsets": 5}, {"seqlen_offsets": torch.tensor([5, 9])}, {"cu_seqlens": torch.tensor([0, 1, 3])}])
def test_gradients_of_every_way_to_say_positions(layout, where):
    if layout == "thd" and isinstance(where.get("seqlen_offsets"), torch.Tensor):
        where = {"seqlen_offsets": torch.tensor([5])}
    shape = {"bshd": (2, 3, 2, 16), "bhsd": (2, 2, 3, 16), "sbhd": (3, 2, 2, 16), "thd": (3, 2, 16)}[layout]
    if "cu_seqlens" in where:
        shape = {"bshd": (1, 3, 2, 16), "bhsd": (1, 2, 3, 16), "sbhd": (3, 1, 2, 16), "thd": (3, 2, 16)}[layout]
    q, k = heads(*shape), heads(*shape, learns=False)
    assert gradcheck(lambda q: rotate(LLAMA, q, k, layout=layout, **where), (q,))
    assert gradcheck(lambda k: rotate(LLAMA, q.detach(), k, layout=layout, **where), (k.clone().requires_grad_(),))
    assert gradgradcheck(lambda q: rotate(LLAMA, q, layout=layout, **where), (q,), fast_mode=True)
    assert gradcheck(lambda q: rotate_(LLAMA, q.clone(), layout=layout, **where), (q,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_in_the_kernels_dtypes_the_gradient_is_the_transpose(name, inverse, dtype):
    """<g, R x> = <R^T g, x>, with the attention factor; straight and through the operator, bit for bit."""
    rotary = Rotary(SPECS[name])
    p = positions_for(rotary.spec)
    q, k = heads(2, 3, 2, 16, dtype=dtype), heads(2, 3, 2, 16, dtype=dtype)
    gq, gk = torch.randn(2, 3, 2, 16).to(dtype), torch.randn(2, 3, 2, 16).to(dtype)
    out = rotate(rotary, q, k, position_ids=p, inverse=inverse)
    got = torch.autograd.grad(out, (q, k), (gq, gk))
    out = torch.ops.ropewalk.rotate_qk(q, k, p, 0, rotary.text, "bshd", "inverse" if inverse else "forward")
    through = torch.autograd.grad(out, (q, k), (gq, gk))
    q64, k64 = q.detach().double().requires_grad_(), k.detach().double().requires_grad_()
    out = rotate(rotary, q64, k64, position_ids=p, inverse=inverse)
    wanted = torch.autograd.grad(out, (q64, k64), (gq.double(), gk.double()))
    bits = {torch.float32: 1e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    if inverse and not rotary.spec.is_rotation:
        bits *= 100  # a 2 x 2 system nearly without solution
    for a, b, c in zip(got, through, wanted):
        assert a.dtype == dtype and torch.equal(a, b)
        assert (a.double() - c).abs().max() <= bits * c.abs().max()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "thd"])
def test_tables_learn_too(layout, interleaved):
    shape = {"bshd": (2, 3, 2, 8), "bhsd": (2, 2, 3, 8), "sbhd": (3, 2, 2, 8), "thd": (3, 2, 8)}[layout]
    q, k, cos, sin = heads(*shape), heads(*shape), heads(6, 3), heads(6, 3)
    rows = torch.tensor([1, 1, 5]) if layout == "thd" else torch.tensor([[1, 1, 5], [0, 5, 2]])
    batch = 1 if layout == "thd" else 2
    for inverse in (False, True):
        options = {"layout": layout, "interleaved": interleaved, "inverse": inverse}
        assert gradcheck(lambda q, k, c, s: apply_rotary_emb_qk(q, k, c, s, position_ids=rows, **options), (q, k, cos, sin), fast_mode=True)
        assert gradcheck(lambda q, c, s: apply_rotary_emb(q, c, s, seqlen_offsets=2, **options), (q, cos, sin), fast_mode=True)
        assert gradcheck(lambda q, c: apply_rotary_emb(q, c, sin.detach(), **options), (q.detach(), cos), fast_mode=True)
        assert gradcheck(lambda q: apply_rotary_emb(q, cos.detach(), sin.detach(), **options), (q,), fast_mode=True)
        assert gradgradcheck(lambda q, c, s: apply_rotary_emb(q, c, s, position_ids=rows, **options), (q, cos, sin), fast_mode=True)
        for each in (heads(batch, 3, 3), heads(1, 3, 3)):
            assert gradcheck(lambda q, c, s: apply_rotary_emb(q, c, s, **options), (q, each, each.detach().clone().requires_grad_()), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tables_learn_in_the_kernels_dtypes(dtype):
    cos, sin = heads(6, 4, dtype=torch.float32), heads(6, 4, dtype=torch.float32)
    q, k, rows = heads(2, 3, 4, 16, dtype=dtype), heads(2, 3, 1, 16, dtype=dtype), torch.randint(0, 6, (2, 3))
    grads = torch.autograd.grad([y.float().square().sum() for y in apply_rotary_emb_qk(q, k, cos, sin, position_ids=rows)], (q, k, cos, sin))
    doubled = [one.detach().double().requires_grad_() for one in (q, k, cos, sin)]
    wanted = torch.autograd.grad([y.square().sum() for y in apply_rotary_emb_qk(*doubled, position_ids=rows)], doubled)
    for a, b, x in zip(grads, wanted, (q, k, cos, sin)):
        assert a.dtype == x.dtype and (a.double() - b).abs().max() <= (1e-5 if dtype == torch.float32 else 2e-2) * b.abs().max()


def test_who_does_not_learn_gets_nothing():
    q, k = heads(1, 3, 2, 16, dtype=torch.float32), heads(1, 3, 2, 16, dtype=torch.float32, learns=False)
    for turn in (lambda q, k: rotate(LLAMA, q, k), lambda q, k: torch.ops.ropewalk.rotate_qk(q, k, None, 0, LLAMA.text)):
        for a, b in ((q, k), (k, q)):
            out = turn(a, b)
            out[0 if a is q else 1].sum().backward()
            assert q.grad is not None and k.grad is None
            q.grad = None
        out = turn(q, k)
        out[1].sum().backward() if out[1].requires_grad else None
        assert q.grad is None or not q.grad.any()
        q.grad = None


def test_a_gradient_in_strange_strides():
    """The gradient of a sum is one number in every place, stride 0; that of a transpose has its channels apart."""
    for loss in (lambda y: y.sum(), lambda y: (y.permute(3, 0, 1, 2).contiguous() ** 2).sum(), lambda y: y[..., ::2].sum()):
        q = heads(2, 3, 2, 16, dtype=torch.float32)
        loss(rotate(LLAMA, q)).backward()
        other = q.detach().double().requires_grad_()
        loss(rotate(LLAMA, other)).backward()
        assert (q.grad - other.grad).abs().max() < 2e-6


def test_checkpointing_and_hooks_see_the_history():
    from torch.utils.checkpoint import checkpoint

    q = heads(2, 3, 2, 16, dtype=torch.float32)
    p = torch.arange(3) + 5
    checkpoint(lambda x: rotate(LLAMA, x, position_ids=p).square(), q, use_reentrant=False).sum().backward()
    got, q.grad = q.grad, None
    with torch.autograd.graph.save_on_cpu():
        loss = rotate(LLAMA, q, position_ids=p).square().sum()
    loss.backward()
    assert torch.equal(got, q.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_of_gradients(dtype):
    rotary = Rotary(RotarySpec(head_dim=8, theta=10000.0))
    x = torch.randn(1, 2, 1, 8, dtype=dtype)
    cos, sin = torch.randn(2, 5, 4, dtype=dtype)
    for turn in (lambda x: rotate(rotary, x, seqlen_offsets=3), lambda x: apply_rotary_emb(x, cos, sin, seqlen_offsets=3)):
        one_by_one, at_once = (torch.autograd.functional.jacobian(turn, x, vectorize=way) for way in (False, True))
        torch.testing.assert_close(at_once, one_by_one)
