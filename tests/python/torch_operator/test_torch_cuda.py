"""Tensors of CUDA by the library's own kernels: which way calls take, on tensors of the CPU that play those of a device; and the bits, on a
device where there is one."""

import contextlib

import pytest
import torch
from ropewalk import Error, Rotary, RotarySpec, _core
from ropewalk.torch import _cuda, _functional, _kernels, rotate, rotate_
from torch_specs import SPECS

SERVED = {
    "half", "interleaved", "prefix", "offset", "linear", "yarn", "yarn_partial", "dynamic", "longrope", "sections", "clockwise", "multipliers",
    "scale",
}
YARN = Rotary(SPECS["yarn_partial"])
STREAM = 4242

has_device = _core.cuda_is_built() and torch.cuda.is_available() and _core.cuda_runs_here()
on_device = pytest.mark.skipif(not has_device, reason="no CUDA device" if _core.cuda_is_built() else "a build without CUDA kernels")


def heads(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


# ---- a build without kernels


@pytest.mark.skipif(_core.cuda_is_built(), reason="a build with CUDA kernels")
def test_a_build_without_kernels_sends_nobody_there():
    assert not _cuda.BUILT and not _core.cuda_runs_here()
    q = heads(1, 2, 1, 16)
    assert not _cuda.is_here(q) and not _cuda.serves(YARN.text, q, None)
    with pytest.raises(Error, match="cuda: want a library built with ROPEWALK_CUDA") as refused:
        _core.cuda_turn(YARN, q, None, q, None, None, False, 0, "bshd", "forward", 0)
    assert refused.value.path == "cuda"


def test_what_the_kernels_serve():
    assert {name for name, spec in SPECS.items() if _core.cuda_serves(Rotary(spec))} == SERVED
    assert not _core.cuda_serves(Rotary(RotarySpec(head_dim=514, theta=1e4)))


# ---- tensors of the CPU in the part of a device's


class Device:
    """The kernels' place is taken by those of the CPU; what they were asked is kept."""

    def __init__(self):
        self.calls = []

    def turn(self, rotary, q, k, q_out, k_out, positions, are_offsets, first, layout, direction, stream):
        self.calls.append((direction, positions, are_offsets, first, stream))
        if k is not None and q.dtype != k.dtype:
            return False  # as cuda::check says
        if not has_device:
            with pytest.raises(Error) as refused:  # everything is checked before the launch
                self.real(rotary, q, k, q_out, k_out, positions, are_offsets, first, layout, direction, 0)
            if refused.value.path != "cuda":
                raise refused.value
        where = (None, positions, None) if are_offsets else (positions, first if positions is None else None, None)
        _core.turn_tensors(rotary, q, k, q_out, k_out, *where, layout, direction, False, 1)
        return True


@pytest.fixture
def device(monkeypatch):
    played = Device()
    played.real = _core.cuda_turn
    monkeypatch.setattr(_core, "cuda_turn", played.turn)
    monkeypatch.setattr(_cuda, "BUILT", True)
    monkeypatch.setattr(_cuda, "_is_cuda", lambda x: True)
    monkeypatch.setattr(_cuda, "_runs_on", lambda index: True)
    monkeypatch.setattr(_cuda, "_stream_of", lambda where: STREAM)
    monkeypatch.setattr(_cuda, "_at", lambda where: contextlib.nullcontext())
    monkeypatch.setattr(_kernels, "is_elsewhere", lambda x: True)
    monkeypatch.setattr(_functional, "_is_plain", lambda x: False)
    monkeypatch.setattr(_functional, "_turned_straight", lambda *_: None)
    monkeypatch.setattr(_functional, "_turn_straight", lambda *_: False)
    return played


WAYS = {
    "nothing": {},
    "a number": {"seqlen_offsets": 1_000_000},
    "offsets": {"seqlen_offsets": torch.tensor([10_000_000, -5])},
    "short offsets": {"seqlen_offsets": torch.tensor([9, 7], dtype=torch.int32)},
    "one offset": {"seqlen_offsets": torch.tensor(123)},
    "a row": {"position_ids": torch.arange(5) * 1_000_003 - 7},
    "rows": {"position_ids": torch.arange(20)[::2].view(2, 5)},
    "int32": {"position_ids": torch.arange(10, dtype=torch.int32).view(5, 2).t()},
    "int8": {"position_ids": torch.arange(5, dtype=torch.int8)},
    "a list": {"position_ids": [4, 3, 2, 1, 0]},
}


@pytest.mark.parametrize("way", WAYS)
def test_positions_reach_the_kernel_however_they_are_said(way, request):
    q, k = heads(2, 5, 4, 16), heads(2, 5, 2, 16)
    wanted = rotate(YARN, q, k, **WAYS[way])
    device = request.getfixturevalue("device")
    got = rotate(YARN, q, k, **WAYS[way])
    assert all(torch.equal(a, b) for a, b in zip(got, wanted))
    ((direction, positions, are_offsets, first, stream),) = device.calls
    assert direction == "forward" and stream == STREAM
    assert are_offsets == (way in ("offsets", "short offsets", "one offset"))
    assert first == (1_000_000 if way == "a number" else 0)
    if way in ("offsets", "short offsets", "rows", "int32"):  # as they lie, not copied
        assert positions.data_ptr() == next(iter(WAYS[way].values())).data_ptr()


@pytest.mark.parametrize("layout, shape", [("bshd", (2, 5, 4, 16)), ("bhsd", (2, 4, 5, 16)), ("sbhd", (5, 2, 4, 16)), ("thd", (5, 4, 16))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_layouts_strides_and_dtypes(layout, shape, dtype, request):
    q, k = heads(*shape, dtype=dtype), heads(*shape, 2, dtype=dtype).movedim(-1, 0)[0]  # channels of k are apart
    options = {"layout": layout, "cu_seqlens": torch.tensor([0, 2, 5])} if layout == "thd" else {"layout": layout}
    wanted = rotate(YARN, q, k, **options)
    device = request.getfixturevalue("device")
    got = rotate(YARN, q, k, **options)
    assert all(torch.equal(a, b) and a.stride() == b.stride() and a.dtype == dtype for a, b in zip(got, wanted))
    assert len(device.calls) == 1


def test_in_place_and_into_given_tensors(device):
    q, k = heads(2, 5, 4, 16), heads(2, 5, 2, 16)
    wanted = rotate(YARN, q, k)
    device.calls.clear()
    out = torch.empty_like(q), torch.empty_like(k)
    assert rotate(YARN, q, k, out=out) is out
    assert all(torch.equal(a, b) for a, b in zip(out, wanted))
    version = q._version
    addresses = q.data_ptr(), k.data_ptr()
    assert rotate_(YARN, q, k) == (q, k)
    assert (q.data_ptr(), k.data_ptr()) == addresses and q._version == version + 1
    assert torch.equal(q, wanted[0]) and torch.equal(k, wanted[1])
    rotate_(YARN, q, inverse=True)
    assert [call[0] for call in device.calls] == ["forward", "forward", "inverse"]


def test_in_place_is_a_mutation_to_autograd(device):
    leaf = heads(1, 2, 1, 16).requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        rotate_(YARN, leaf)
    x = leaf * 2
    rotate_(YARN, x).sum().backward()
    assert leaf.grad is not None and [call[0] for call in device.calls][-1] == "transpose"


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_are_those_of_the_cpu(inverse, request):
    def gradients():
        q, k = heads(2, 5, 4, 16).requires_grad_(), heads(2, 5, 2, 16).requires_grad_()
        a, b = rotate(YARN, q, k, seqlen_offsets=torch.tensor([7, 10**7]), inverse=inverse)
        return torch.autograd.grad((a * heads(2, 5, 4, 16, seed=1)).sum() + (b**2).sum(), (q, k))

    wanted = gradients()
    device = request.getfixturevalue("device")
    got = gradients()
    if inverse:  # the gradient of an inverse with a factor is the expression's
        assert [call[0] for call in device.calls] == ["inverse"]
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, wanted))
    else:
        assert [call[0] for call in device.calls] == ["forward", "transpose"]
        assert all(torch.equal(a, b) for a, b in zip(got, wanted))


@pytest.mark.parametrize("name", SPECS)
def test_the_expression_takes_what_the_kernels_do_not(name, request):
    rotary = Rotary(SPECS[name])
    q, k = heads(2, 3, 4, 16), heads(2, 3, 2, 16)
    wanted = rotate(rotary, q, k)
    device = request.getfixturevalue("device")
    got = rotate(rotary, q, k)
    assert len(device.calls) == (1 if name in SERVED else 0)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, wanted))
    rotate_(rotary, q, k)
    assert len(device.calls) == (2 if name in SERVED else 0)
    assert torch.allclose(q, wanted[0], atol=1e-6)


@pytest.mark.parametrize("case", ["float64", "coordinates", "two dtypes"])
def test_calls_that_the_kernels_do_not_take(case, request):
    q, k = heads(2, 3, 4, 16), heads(2, 3, 2, 16)
    where = {"position_ids": torch.tensor([0.5, 1.5, 2.5])} if case == "coordinates" else {}
    if case == "float64":
        q, k = q.double(), k.double()
    if case == "two dtypes":
        k = k.bfloat16()
        wanted = rotate(YARN, q), rotate(YARN, k)
    else:
        wanted = rotate(YARN, q, k, **where)
    device = request.getfixturevalue("device")
    got = rotate(YARN, q, k, **where)
    assert len(device.calls) == (1 if case == "two dtypes" else 0)
    assert all(torch.allclose(a, b, atol=1e-6 if a.dtype != torch.bfloat16 else 2e-2) and a.dtype == b.dtype for a, b in zip(got, wanted))


def test_mistakes_are_named_as_on_the_cpu(device):
    q = heads(2, 3, 4, 16)
    for bad, message in (
        ({"position_ids": torch.arange(4)}, "positions.tokens: want 3, got 4"),
        ({"position_ids": torch.zeros(3, 3, dtype=torch.int64)}, "positions.batch: want 2, got 3"),
        ({"position_ids": torch.zeros(2, 2, 3, dtype=torch.int64)}, r"position_ids: want \[1, batch, tokens\]"),
        ({"seqlen_offsets": torch.zeros(3, dtype=torch.int64)}, r"seqlen_offsets: want 1 entry or one a row \(2\), got 3"),
        ({"position_ids": torch.arange(3), "seqlen_offsets": 1}, "position_ids: want one word"),
    ):
        with pytest.raises(Error, match=message):
            rotate(YARN, q, **bad)
    with pytest.raises(Error, match="k.in.batch|k.batch: want 2, got 1"):
        rotate(YARN, q, heads(1, 3, 2, 16))
    before = q.clone()
    with pytest.raises(Error, match="^k: want memory apart"):
        rotate_(YARN, q, q.view_as(q))
    out = torch.empty_like(q)
    with pytest.raises(Error, match="^out: want memory apart"):
        rotate(YARN, q, before, out=(out, out.view_as(out)))
    assert torch.equal(q, before)


def test_a_program_holds_the_operator(device):
    """Where there are kernels a compiler is not given the expression."""
    graphs = []

    def look(graph, example):
        graphs.append(graph)
        return graph.forward

    q, k = heads(2, 5, 4, 16), heads(2, 5, 2, 16)
    program = torch.compile(lambda q, k, p: rotate(YARN, q, k, position_ids=p), backend=look, fullgraph=True)
    got = program(q, k, torch.arange(5))
    assert "ropewalk.rotate_qk" in graphs[0].code and len(device.calls) == 1
    device.calls.clear()
    assert all(torch.equal(a, b) for a, b in zip(got, rotate(YARN, q, k)))
    coordinates = torch.compile(lambda q, p: rotate(YARN, q, position_ids=p), backend=look, fullgraph=True)
    coordinates(q, torch.arange(5) + 0.5)
    assert "ropewalk.rotate" not in graphs[1].code


def test_fake_results_have_the_strides_of_real_ones(device):
    q = heads(2, 4, 5, 32)[..., ::2].transpose(1, 2)  # channels apart
    for rotary in (YARN, Rotary(SPECS["fp32"]), Rotary(SPECS["second"])):
        for p in (None, torch.arange(5), torch.arange(5.0)):
            torch.library.opcheck(torch.ops.ropewalk.rotate.default, (q, p, 0, rotary.text), test_utils=("test_faketensor",))
            torch.library.opcheck(torch.ops.ropewalk.rotate_qk.default, (q, q.clone(), p, 0, rotary.text), test_utils=("test_faketensor",))


def test_a_tensor_is_read_without_dlpack_too():
    """torch before 2.10 has no exchange of C functions; its DLPack would make streams wait."""

    class Old:
        def __init__(self, x):
            self.x, self.shape, self.dtype, self.stride, self.data_ptr = x, x.shape, x.dtype, x.stride, x.data_ptr

    q = Old(heads(2, 3, 4, 16, dtype=torch.bfloat16))
    p = Old(torch.arange(3, dtype=torch.int32))
    if not has_device:
        with pytest.raises(Error, match="^cuda: "):
            _core.cuda_turn(YARN, q, None, q, None, p, False, 0, "bshd", "forward", 0)
    with pytest.raises(Error, match="positions.tokens: want 3, got 2"):
        _core.cuda_turn(YARN, q, None, q, None, Old(torch.arange(2)), False, 0, "bshd", "forward", 0)
    with pytest.raises(Error, match="head_dim: want 16, got 8"):
        _core.cuda_turn(YARN, Old(heads(2, 3, 4, 8)), None, q, None, p, False, 0, "bshd", "forward", 0)


# ---- a device


@on_device
@pytest.mark.parametrize("name", sorted(SERVED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_device_has_the_bits_of_the_cpu(name, dtype):
    rotary = Rotary(SPECS[name])
    q, k = heads(2, 37, 8, 16, dtype=dtype), heads(2, 37, 2, 16, dtype=dtype)
    positions = torch.randint(-(2**36), 2**36, (rotary.spec.axes, 2, 37))
    positions = positions[0] if rotary.spec.axes == 1 else positions
    for inverse in (False, True):
        wanted = rotate(rotary, q, k, position_ids=positions, inverse=inverse)
        got = rotate(rotary, q.cuda(), k.cuda(), position_ids=positions.cuda(), inverse=inverse)
        assert all(torch.equal(a.cpu().view(torch.uint8), b.view(torch.uint8)) for a, b in zip(got, wanted))
    q_there, k_there = q.cuda(), k.cuda()
    rotate_(rotary, q_there, k_there, position_ids=positions.cuda())
    wanted = rotate(rotary, q, k, position_ids=positions)
    assert torch.equal(q_there.cpu(), wanted[0]) and torch.equal(k_there.cpu(), wanted[1])


@on_device
def test_a_captured_graph_follows_its_positions():
    q = heads(3, 1, 32, 128, dtype=torch.bfloat16)
    rotary = Rotary(RotarySpec(head_dim=128, theta=5e5))
    x, offsets = q.cuda(), torch.zeros(3, dtype=torch.int64, device="cuda")
    ids = offsets.view(3, 1)
    warm = torch.cuda.Stream()
    with torch.cuda.stream(warm):
        rotate(rotary, x, seqlen_offsets=offsets)
        rotate(rotary, x, position_ids=ids)
    torch.cuda.current_stream().wait_stream(warm)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        by_offsets = rotate(rotary, x, seqlen_offsets=offsets)
        by_ids = rotate(rotary, x, position_ids=ids)
    for at in ([0, 1, 2], [10**7, -3, 2**36], [5, 5, 5]):
        offsets.copy_(torch.tensor(at))
        graph.replay()
        wanted = rotate(rotary, q, seqlen_offsets=torch.tensor(at))
        assert torch.equal(by_offsets.cpu(), wanted) and torch.equal(by_ids.cpu(), wanted)


@on_device
def test_a_call_stays_on_the_current_stream():
    x = heads(1, 4096, 32, 128).cuda()
    rotary = Rotary(RotarySpec(head_dim=128, theta=5e5))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        x.mul_(2.0)
        y = rotate(rotary, x)
        assert not stream.query()  # nobody waited
    stream.synchronize()
    assert torch.equal(y.cpu(), rotate(rotary, x.cpu()))


@on_device
def test_a_compiled_program_on_a_device():
    rotary = Rotary(RotarySpec(head_dim=128, theta=5e5))
    q, k = heads(1, 64, 8, 128), heads(1, 64, 2, 128)
    program = torch.compile(lambda q, k, n: rotate(rotary, q * 2, k, seqlen_offsets=n), fullgraph=True)
    a = q.cuda().requires_grad_()
    got = program(a, k.cuda(), torch.tensor([10**7], device="cuda"))
    got[0].sum().backward()
    b = q.clone().requires_grad_()
    wanted = rotate(rotary, b * 2, k, seqlen_offsets=torch.tensor([10**7]))
    wanted[0].sum().backward()
    assert all(torch.equal(x.cpu(), y) for x, y in zip(got, wanted)) and torch.equal(a.grad.cpu(), b.grad)
