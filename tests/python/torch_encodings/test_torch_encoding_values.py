"""Outputs and gradients of every encoding are those of its paper's formula in float64, written in full (encoding_formulas.py)."""

import copy

import pytest

torch = pytest.importorskip("torch")
import encoding_formulas as formulas
from encoding_formulas import CASES, COMMON, GRIDS, LAYER
from ropewalk.torch import PositionEncoding, position_encoding

torch.set_num_threads(1)
GRID = torch.stack((torch.arange(12) // 4, torch.arange(12) % 4))


def made(case, **others):
    name, options = {**CASES, **GRIDS}[case]
    torch.manual_seed(len(case))
    encoding = position_encoding(name, **{**COMMON, **options, **others})
    if name == "cope":
        torch.nn.init.normal_(encoding.table)
    if name in ("window", "log-cpb", "transformer-xl", "deberta"):  # so small at first that a mistake would not be seen
        for parameter in encoding.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    if case == "kerple-power":
        encoding.r2.data += 1.5  # some above 2, which cuts them
    if case == "kerple":
        encoding.r1.data[0] = -1.0
    if case == "fire":
        encoding.c.data *= -1.0
    return encoding


def tensors(tokens, keys, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, tokens, 6, 8), (batch, keys, 2, 8), (batch, keys, 2, 8), (batch, tokens, 24))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def wide(ones):
    return [one.detach().double().requires_grad_() for one in ones]


def compare(got, want, learned, tolerance=3e-6):
    """Of a loss that weighs every number of the outputs differently."""
    for one, other in zip(got[0], want[0]):
        assert one.shape == other.shape
        torch.testing.assert_close(one.double(), other, atol=tolerance, rtol=tolerance)
    gradients = []
    for outputs, inputs in (got, want):
        loss = sum((one.double() * torch.linspace(-1, 1, one.numel()).double().view(one.shape)).sum() for one in outputs)
        gradients.append(torch.autograd.grad(loss, inputs, allow_unused=True))
    for name, one, other in zip(["q", "k", "v", "x", *learned], *gradients):
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one.double(), other, atol=10 * tolerance, rtol=10 * tolerance, msg=lambda text: f"{name}: {text}")


POSITIONS = {
    "whole": (12, 12, None, None),
    "cached": (3, 12, None, None),
    "far": (12, 12, torch.arange(12) + 20, None),
    "gaps": (4, 12, torch.tensor([30, 31, 33, 40]), torch.cat((torch.arange(8) * 3, torch.tensor([30, 31, 33, 40])))),
    "rows": (12, 12, torch.stack((torch.arange(12), torch.arange(12) * 2 + 1)), None),
}


@pytest.mark.parametrize("where", POSITIONS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_formula(case, where):
    tokens, keys, positions, key_positions = POSITIONS[where]
    encoding = made(case)
    if encoding.name in ("window", "log-cpb") and where not in ("whole", "cached"):
        pytest.skip("positions are tokens of a window")
    i = torch.arange(keys - tokens, keys) if positions is None else positions
    j = (torch.arange(keys) if positions is None else positions) if key_positions is None else key_positions
    q, k, v, x = tensors(tokens, keys)
    names = [name for name, _ in encoding.named_parameters()]

    embedded = encoding.embed(x, i) if tokens == keys else x
    if tokens == keys:
        turned_q, turned_k = encoding.rotate(q, k, positions, LAYER)
    else:
        turned_q, turned_k = encoding.rotate(q, torch.zeros_like(q)[:, :, :2], i, LAYER)[0], encoding.rotate(k.repeat(1, 1, 3, 1), k, j, LAYER)[1]
    out = encoding.attend(turned_q, turned_k, v, LAYER, positions, key_positions)

    q64, k64, v64, x64 = wide((q, k, v, x))
    p = dict(zip(names, wide(encoding.parameters())))
    want_embedded = formulas.embed(encoding, p, x64, i) if tokens == keys else x64
    want = formulas.attend(encoding, p, formulas.rotate(encoding, p, q64, i, "q"), formulas.rotate(encoding, p, k64, j, "k"), v64, i, j)
    tolerance = 2e-5 if encoding.name == "t5" and encoding.scale == 1.0 else 5e-6
    compare(((out, embedded), (q, k, v, x, *encoding.parameters())), ((want, want_embedded), (q64, k64, v64, x64, *p.values())), names, tolerance)


@pytest.mark.parametrize("case", GRIDS)
def test_it_is_the_formula_on_a_grid(case):
    encoding = made(case)
    q, k, v, x = tensors(12, 12)
    names = [name for name, _ in encoding.named_parameters()]
    turned_q, turned_k = encoding.rotate(q, k, GRID, LAYER)
    out, embedded = encoding.attend(turned_q, turned_k, v, LAYER, GRID), encoding.embed(x, GRID)
    q64, k64, v64, x64 = wide((q, k, v, x))
    p = dict(zip(names, wide(encoding.parameters())))
    want = formulas.attend(encoding, p, formulas.rotate(encoding, p, q64, GRID, "q"), formulas.rotate(encoding, p, k64, GRID, "k"), v64,
                           torch.arange(12), torch.arange(12))
    compare(((out, embedded), (q, k, v, x, *encoding.parameters())), ((want, formulas.embed(encoding, p, x64, GRID)), (q64, k64, v64, x64, *p.values())),
            names, 5e-6)


@pytest.mark.parametrize("case", [*CASES, *GRIDS])
def test_gradients_are_those_of_differences(case):
    """float64 takes the expression, whose gradient is checked by differences; kernels were compared with the same formula above."""
    encoding = made(case).double()
    if encoding.name == "kerple":  # none is cut: a cut number has a gradient that differences do not see
        encoding.r1.data.clamp_(0.1, 2.0)
        encoding.r2.data.clamp_(0.1, 1.9)
    positions = GRID if case in GRIDS else None
    q, k, v, x = (one.detach().double() for one in tensors(12, 12, batch=1))
    inputs = [one.requires_grad_() for one in (q, k, v)]

    def run(q, k, v, *_):
        q, k = encoding.rotate(q, k, positions, LAYER)
        return encoding.attend(q, k, v, LAYER, positions)

    assert torch.autograd.gradcheck(run, (*inputs, *encoding.parameters()), fast_mode=True)


@pytest.mark.parametrize("case", [*CASES, *GRIDS])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_models_keep_their_dtype_and_round_no_more(case, dtype):
    encoding = made(case)
    positions = GRID if case in GRIDS else None
    q, k, v, x = (one.detach() for one in tensors(12, 12))

    def run(e, kind):
        a, b = e.rotate(q.to(kind), k.to(kind), positions, LAYER)
        return e.attend(a, b, v.to(kind), LAYER, positions), e.embed(x.to(kind), positions)

    narrow = run(copy.deepcopy(encoding).to(dtype), dtype)
    for one, other in zip(narrow, run(encoding, torch.float32)):
        assert one.dtype == dtype
        worst = (one.float() - other).abs().max()
        assert worst < (0.25 if encoding.name in ("t5", "deberta", "transformer-xl", "cope") else 0.12) * (1.0 if dtype == torch.bfloat16 else 0.3), worst


def test_names_are_all_tried():
    from ropewalk.torch._factory import ENCODINGS

    assert {name for name, _ in (*CASES.values(), *GRIDS.values())} == set(ENCODINGS)
    for case in (*CASES, *GRIDS):
        assert isinstance(made(case), PositionEncoding)
