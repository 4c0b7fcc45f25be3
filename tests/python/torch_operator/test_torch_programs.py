"""Programs of torch.compile and torch.export, and transforms of torch.func, with the operator in them."""

import io
import subprocess
import sys

import pytest
import ropewalk
import torch
from ropewalk import Rotary, RotarySpec
from ropewalk.torch import RotaryEmbedding, apply_rotary_emb_qk, rotate, rotate_
from ropewalk.torch import _kernels
from torch.library import opcheck
from torch_specs import SPECS

LLAMA = Rotary(RotarySpec(head_dim=16, theta=1e4))
OPS = torch.ops.ropewalk


def heads(*shape, learns=False):
    return torch.randn(shape, requires_grad=learns)


def tables(dtype=torch.float32):
    return tuple(torch.from_numpy(one).to(dtype) for one in LLAMA.cos_sin(range(32)))


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("learns", [False, True])
def test_torch_s_own_checks_of_an_operator(dtype, learns):
    x, k, p = (torch.randn(2, 5, 3, 16, dtype=dtype, requires_grad=learns) for _ in range(3))
    p = torch.arange(5)
    cos, sin = tables(torch.float64 if dtype == torch.float64 else torch.float32)
    opcheck(OPS.rotate.default, (x, p, 0, LLAMA.text, "bshd", "inverse"))
    opcheck(OPS.rotate.default, (x.transpose(1, 2), None, 7, LLAMA.text, "bhsd"))
    opcheck(OPS.rotate_qk.default, (x, k, torch.stack([p, p]), 0, Rotary(SPECS["yarn"]).text, "bshd", "inverse"))
    opcheck(OPS.apply_table.default, (x, cos.clone().requires_grad_(learns), sin.clone().requires_grad_(learns), p))
    opcheck(OPS.apply_table_qk.default, (x, k, cos, sin, None, 4, "bshd", True, True))


def compiled(function, backend="aot_eager", **options):
    return torch.compile(function, fullgraph=True, backend=backend, **options)


@pytest.mark.parametrize("what, backend", [("rotary", "inductor"), ("rotary", "aot_eager"), ("spec", "aot_eager"), ("module", "aot_eager"),
                                           ("table", "aot_eager"), ("in place", "aot_eager")])
def test_compiled_whole_and_the_same_bits(what, backend):
    module, spec, (cos, sin) = RotaryEmbedding(LLAMA), LLAMA.spec, tables()
    calls = {
        "rotary": lambda q, k, p: rotate(LLAMA, q, k, position_ids=p),
        "spec": lambda q, k, p: rotate(spec, q, k, position_ids=p),
        "module": lambda q, k, p: module(q, k, position_ids=p),
        "table": lambda q, k, p: apply_rotary_emb_qk(q, k, cos, sin, position_ids=p),
        "in place": lambda q, k, p: rotate_(LLAMA, q * 1.0, k * 1.0, position_ids=p),
    }
    program = compiled(lambda q, k, p: [2.0 * one for one in calls[what](q, k, p)], backend)
    for tokens in (5, 9, 17):
        q, k, p = heads(2, tokens, 4, 16, learns=True), heads(2, tokens, 2, 16), torch.randperm(tokens) + 3
        got, wanted = program(q, k, p), rotate(LLAMA, q, k, position_ids=p)
        assert all(torch.equal(a, 2.0 * b) for a, b in zip(got, wanted))
        grads = [torch.autograd.grad([y.square().sum() for y in out], q)[0] for out in (got, [2.0 * y for y in wanted])]
        assert (grads[0] - grads[1]).abs().max() < 1e-5


def test_decoding_does_not_compile_every_token_anew():
    counter = torch._dynamo.testing.CompileCounter()
    step = torch.compile(lambda x, n: rotate(LLAMA, x, seqlen_offsets=n), backend=counter, fullgraph=True)
    for n in range(3, 40):
        x = heads(1, 1, 2, 16)
        assert torch.equal(step(x, n), rotate(LLAMA, x, seqlen_offsets=n))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("name", ["offset", "yarn", "sections", "moved", "given", "second", "xpos", "fourier", "fp32"])
def test_the_expression_compiles_whole(name):
    """What tensors of another device take under a compiler, here on the CPU."""
    rotary = Rotary(SPECS[name])
    text = rotary.text
    program = compiled(lambda q, k, p: _kernels.turned_by_expression(text, q, k, p, None, None, "bshd", "forward", False), dynamic=True)
    q, k, p = heads(2, 5, 4, 16), heads(2, 5, 2, 16), torch.tensor([10**7, -3, 5, 2, 131071])
    if rotary.spec.numerics == "fp32" or rotary.spec.xpos is not None:
        p = p % 100
    for got, wanted in zip(program(q, k, p), rotate(rotary, q, k, position_ids=p)):
        assert (got - wanted).abs().max() <= 1e-6 * max(1.0, wanted.abs().max())


def test_the_expression_becomes_one_kernel():
    from torch._inductor.utils import run_and_get_code

    text = LLAMA.text
    program = compiled(lambda q, p: _kernels.turned_by_expression(text, q, None, p, None, None, "bshd", "forward", False), "inductor")
    q, p = heads(1, 6, 4, 16), torch.tensor([10**7, -3, 5, 2, -(2**40), 131071])
    got, (code,) = run_and_get_code(program, q, p)
    assert (got - rotate(LLAMA, q, position_ids=p)).abs().max() < 1e-6
    assert code.count("async_compile.cpp_pybinding") == 1 and "extern_kernels." not in code.split("def call")[1]


class Model(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.rope = RotaryEmbedding(spec)

    def forward(self, q, k, p):
        return self.rope(q, k, position_ids=p)


@pytest.mark.parametrize("name, strict", [("half", False), ("half", True), ("yarn", False), ("longrope", False), ("dynamic", False), ("sections", False)])
def test_exported_with_any_batch_and_length_saved_and_loaded(name, strict):
    rotary = Rotary(SPECS[name])
    axes = rotary.spec.axes
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")

    def call(b, s):
        p = torch.randint(-5, 10**6, (b, s) if axes == 1 else (axes, b, s))
        return heads(b, s, 4, 16), heads(b, s, 2, 16), p

    shapes = ({0: batch, 1: tokens}, {0: batch, 1: tokens}, {0: batch, 1: tokens} if axes == 1 else {1: batch, 2: tokens})
    program = torch.export.export(Model(rotary), call(2, 5), dynamic_shapes=shapes, strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for b, s in ((2, 5), (3, 33), (7, 2)):
        q, k, p = call(b, s)
        assert all(torch.equal(x, y) for x, y in zip(loaded(q, k, p), rotate(rotary, q, k, position_ids=p)))


def test_an_exported_program_runs_where_only_the_operators_are(tmp_path):
    program = torch.export.export(Model(LLAMA), (heads(1, 5, 2, 16), heads(1, 5, 2, 16), torch.arange(5)))
    torch.export.save(program, tmp_path / "program.pt2")
    code = (f"import torch, ropewalk.torch; m = torch.export.load({str(tmp_path / 'program.pt2')!r}).module(); "
            "print(m(torch.ones(1, 5, 2, 16), torch.ones(1, 5, 2, 16), torch.arange(5))[0][0, 3, 0, 0].item())")
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert abs(float(run.stdout) - rotate(LLAMA, torch.ones(1, 5, 2, 16))[0, 3, 0, 0].item()) < 1e-6


# ---- torch.func


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "thd"])
def test_vmap_over_everything(layout):
    shape = {"bshd": (4, 2, 3, 2, 16), "bhsd": (4, 2, 2, 3, 16), "sbhd": (4, 3, 2, 2, 16), "thd": (4, 3, 2, 16)}[layout]
    q, k = heads(*shape), heads(*shape)
    rows = torch.randint(-9, 99, (4, 3) if layout == "thd" else (4, 2, 3))
    one = torch.arange(3)
    cases = [
        (lambda q, k, p: rotate(LLAMA, q, k, position_ids=p, layout=layout), (q, k, rows), (0, 0, 0)),
        (lambda q, k, p: rotate(LLAMA, q, k, position_ids=p, layout=layout), (q, k, one), (0, 0, None)),
        (lambda q, k, p: rotate(LLAMA, q, k, position_ids=p, layout=layout), (q, k[0], rows), (0, None, 0)),
        (lambda q, k, p: rotate(LLAMA, q, k, seqlen_offsets=p[..., 0].reshape(-1), layout=layout), (q, k, rows), (0, 0, 0)),
        (lambda q: rotate(LLAMA, q, seqlen_offsets=5, layout=layout), (q.movedim(0, 2),), (2,)),
    ]
    for function, args, dims in cases:
        got = torch.vmap(function, in_dims=dims)(*args)
        each = [function(*(a if d is None else a.select(d, i) for a, d in zip(args, dims))) for i in range(4)]
        wanted = torch.stack(each) if isinstance(got, torch.Tensor) else [torch.stack(x) for x in zip(*each)]
        assert torch.equal(got, wanted) if isinstance(got, torch.Tensor) else all(torch.equal(a, b) for a, b in zip(got, wanted))


def test_vmap_of_streams_and_tables():
    rotary = Rotary(SPECS["sections"])
    q, p = heads(4, 2, 3, 2, 16), torch.randint(0, 30, (4, 3, 2, 3))
    got = torch.vmap(lambda q, p: rotate(rotary, q, position_ids=p))(q, p)
    assert torch.equal(got, torch.stack([rotate(rotary, a, position_ids=b) for a, b in zip(q, p)]))
    cos, sin = tables()
    wanted = torch.stack([rotate(LLAMA, a, position_ids=b) for a, b in zip(q, p[:, 0])])
    turn = lambda q, c, s, p: apply_rotary_emb_qk(q, q, c, s, position_ids=p)[1]  # noqa: E731
    four = cos.expand(4, 32, 8), sin.expand(4, 32, 8)
    assert torch.equal(torch.vmap(turn, in_dims=(0, None, None, 0))(q, cos, sin, p[:, 0]), wanted)
    assert torch.equal(torch.vmap(turn, in_dims=(0, 0, None, 0))(q, four[0], sin, p[:, 0]), wanted)
    each = cos[p[:, 0]], sin[p[:, 0]]
    assert torch.equal(torch.vmap(lambda q, c, s: apply_rotary_emb_qk(q, q, c, s)[1])(q, *each), wanted)
    assert torch.equal(torch.vmap(turn, in_dims=(0, 0, 0, None))(q, *four, p[0, 0, 0])[0], rotate(LLAMA, q[0], position_ids=p[0, 0, 0]))
    for layout in ("bhsd", "thd"):
        x = q[:, 0] if layout == "thd" else q
        offset = lambda x, c: apply_rotary_emb_qk(x, x, c, sin, seqlen_offsets=3, layout=layout)[0]  # noqa: B023, E731
        assert torch.equal(torch.vmap(offset)(x, four[0]), torch.stack([rotate(LLAMA, one, seqlen_offsets=3, layout=layout) for one in x]))


def test_transforms_of_gradients():
    x, p = heads(4, 2, 3, 2, 16), torch.arange(3) + 10**6
    loss = lambda q: rotate(LLAMA, q, position_ids=p).pow(3).sum()  # noqa: E731
    leaf = x.clone().requires_grad_()
    wanted = torch.autograd.grad(sum(loss(one) for one in leaf), leaf)[0]
    for got in (torch.vmap(torch.func.grad(loss))(x), torch.func.grad(lambda q: torch.vmap(loss)(q).sum())(x)):
        assert (got - wanted).abs().max() < 1e-4
    turned, tangent = torch.func.jvp(lambda q: rotate(LLAMA, q, position_ids=p), (x[0],), (x[1],))
    assert (tangent - rotate(LLAMA, x[1], position_ids=p)).abs().max() < 1e-6
    small = torch.randn(1, 2, 1, 16)
    matrix = torch.func.jacrev(lambda q: rotate(LLAMA, q))(small).reshape(32, 32)
    assert (matrix @ small.flatten() - rotate(LLAMA, small).flatten()).abs().max() < 1e-5
    assert (matrix @ matrix.T - torch.eye(32)).abs().max() < 1e-5
    assert (compiled(torch.func.grad(loss))(x[0]) - wanted[0]).abs().max() < 1e-4
    assert torch.equal(compiled(torch.vmap(lambda q: rotate(LLAMA, q)))(x), rotate(LLAMA, x.flatten(0, 1)).view_as(x))


# ---- modes


def test_modes_see_the_operator():
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    x = heads(1, 3, 2, 16)
    with Listener():
        rotate(LLAMA, x)
    assert "ropewalk.rotate.default" in seen


def test_fake_and_meta_tensors():
    from torch._subclasses import FakeTensorMode

    for shape in ((2, 5, 3, 16), (2, 0, 3, 16)):
        x = torch.empty(shape, device="meta", dtype=torch.bfloat16, requires_grad=True)
        got = rotate(LLAMA, x, position_ids=torch.arange(shape[1]))
        assert got.is_meta and got.shape == shape and got.dtype == torch.bfloat16
        got.sum().backward()
        assert x.grad.is_meta
    with FakeTensorMode():
        x = torch.empty(2, 3, 5, 16).transpose(1, 2)
        assert rotate(LLAMA, x).stride() == x.stride()


def test_traced_by_jit():
    program = torch.jit.trace(lambda q, p: rotate(LLAMA, q, position_ids=p), (heads(1, 3, 2, 16), torch.arange(3)), check_trace=False)
    x, p = heads(2, 7, 2, 16), torch.arange(7) + 9
    assert torch.equal(program(x, p), rotate(LLAMA, x, position_ids=p))


def test_two_operators_share_nothing():
    a, b = Rotary(RotarySpec(head_dim=16, theta=1e4)), Rotary(RotarySpec(head_dim=16, theta=5e5))
    program = compiled(lambda q: (rotate(a, q, seqlen_offsets=100), rotate(b, q, seqlen_offsets=100)))
    x = heads(1, 3, 2, 16)
    got = program(x)
    assert torch.equal(got[0], rotate(a, x, seqlen_offsets=100)) and torch.equal(got[1], rotate(b, x, seqlen_offsets=100))
    assert not torch.equal(*got)


def test_an_operator_that_changes_is_compiled_anew():
    module = RotaryEmbedding(RotarySpec(head_dim=16, theta=1e4))
    program = compiled(lambda q: module(q, seqlen_offsets=100))
    x = heads(1, 3, 2, 16)
    program(x)
    module.rotary = Rotary(RotarySpec(head_dim=16, theta=5e5))
    assert torch.equal(program(x), rotate(module.rotary, x, seqlen_offsets=100))


def test_errors_while_tracing_are_the_same():
    with pytest.raises(Exception, match="position_ids: want one word"):
        compiled(lambda q: rotate(LLAMA, q, position_ids=[0], seqlen_offsets=1))(heads(1, 1, 2, 16))
    with pytest.raises(ropewalk.Error, match="positions.tokens"):
        compiled(lambda q, p: rotate(LLAMA, q, position_ids=p))(heads(1, 5, 2, 16), torch.arange(4))


def test_a_forked_process_turns_without_its_parents_threads():
    code = """
import multiprocessing, numpy as np, ropewalk, torch
from ropewalk.torch import rotate
rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=64, theta=10000.0))
x = torch.from_numpy(np.ones((1, 512, 16, 64), np.float32))
torch.set_num_threads(2)
turned = rotate(rotary, x).numpy()
def same(i):
    return np.array_equal(turned, rotate(rotary, x).numpy())
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map_async(same, range(4)).get(timeout=20))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
