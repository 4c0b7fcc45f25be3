"""What must hold of encodings whatever their formula: shifts, caches, permutations, state, programs, refusals."""

import copy
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import ropewalk
from encoding_formulas import CASES, COMMON, GRIDS, LAYER
from ropewalk import LinearScaling
from ropewalk.torch import LearnedEmbedding, SinusoidalEmbedding, position_encoding
from test_torch_encoding_values import GRID, made, tensors

torch.set_num_threads(1)

# FIRE divides by the query's own position, so that it is relative up to its threshold alone.
RELATIVE = [case for case in CASES if not case.startswith(("sinusoidal", "learned", "fire-rows", "window", "log-cpb", "fope", "xpos"))]


def attended(encoding, q, k, v, positions=None, key_positions=None):
    q, k = encoding.rotate(q, k, positions, LAYER)
    return encoding.attend(q, k, v, LAYER, positions, key_positions)


@pytest.mark.parametrize("case", RELATIVE)
def test_relative_ones_do_not_see_where_a_sequence_begins(case):
    encoding = made(case)
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    here = attended(encoding, q, k, v)
    far = 100 if case == "fire" else 1_000_000
    torch.testing.assert_close(attended(encoding, q, k, v, torch.arange(12) + far), here, atol=2e-6, rtol=1e-5)
    if case not in ("fire",):
        torch.testing.assert_close(attended(encoding, q, k, v, torch.arange(12) - far), here, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", ["sinusoidal", "learned", "fire-rows", "fope"])
def test_the_others_do(case):
    encoding = made(case)
    q, k, v, x = (one.detach() for one in tensors(12, 12))
    shift = torch.arange(12) + 40
    same = torch.allclose(attended(encoding, q, k, v, shift), attended(encoding, q, k, v), atol=1e-4)
    assert not (same and torch.allclose(encoding.embed(x, shift), encoding.embed(x), atol=1e-4))


@pytest.mark.parametrize("case", ["rope", "xpos", "fope"])
def test_the_last_queries_may_turn_beside_all_keys(case):
    encoding = made(case)
    q, k, _, _ = (one.detach() for one in tensors(12, 12))
    whole_q, whole_k = encoding.rotate(q, k, layer=LAYER)
    for positions in (None, torch.arange(9, 12)):
        some_q, all_k = encoding.rotate(q[:, 9:], k, positions, LAYER)
        torch.testing.assert_close(some_q, whole_q[:, 9:])
        torch.testing.assert_close(all_k, whole_k)


def test_rotations_stay_exact_where_float32_cannot_count():
    """At 10^12 neighbours are one number in float32, and turned keys still meet as at 0."""
    encoding = made("rope")
    q, k, _, _ = (one.detach() for one in tensors(12, 12))
    scores = lambda positions: torch.einsum("bthd,bkhd->bhtk", *(one[:, :, :2] for one in encoding.rotate(q, k, positions)))
    torch.testing.assert_close(scores(torch.arange(12) + 10**12), scores(None), atol=1e-5, rtol=1e-5)


CACHED = [case for case in CASES if case not in ("none-encoder",) and CASES[case][1].get("causal", True)]


@pytest.mark.parametrize("case", CACHED)
def test_decoding_from_a_cache_is_the_last_row_of_the_whole(case):
    encoding = made(case)
    q, k, v, x = (one.detach() for one in tensors(12, 12, batch=3))
    whole, embedded = attended(encoding, q, k, v), encoding.embed(x)
    cache = []
    for step in range(12):
        at = torch.tensor([step])
        new_q, new_k = encoding.rotate(q[:, step : step + 1], k[:, step : step + 1], at, LAYER)
        cache.append(new_k)
        keys = torch.cat(cache, 1)
        for positions in (None, at) if step == 11 else (at,):
            one = encoding.attend(new_q, keys, v[:, : step + 1], LAYER, positions)
            torch.testing.assert_close(one, whole[:, step : step + 1], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(encoding.embed(x[:, step : step + 1], at), embedded[:, step : step + 1])


@pytest.mark.parametrize("case", CACHED)
def test_rows_of_a_batch_may_stand_elsewhere(case):
    """Each row with positions of its own is that row alone."""
    encoding = made(case)
    q, k, v, _ = (one.detach() for one in tensors(12, 12, batch=3))
    starts = torch.tensor([0, 7, 31])
    positions = starts.unsqueeze(1) + torch.arange(12)
    both = attended(encoding, q, k, v, positions)
    for row in range(3):
        alone = attended(encoding, *(one[row : row + 1] for one in (q, k, v)), positions[row])
        torch.testing.assert_close(both[row : row + 1], alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][1].get("causal", True)])
def test_causal_ones_see_nothing_behind_a_query(case):
    encoding = made(case)
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    whole = attended(encoding, q, k, v)
    k[:, 8:], v[:, 8:] = 50.0, -50.0
    torch.testing.assert_close(attended(encoding, q, k, v)[:, :8], whole[:, :8], atol=0, rtol=0)


def test_without_a_mask_and_positions_order_is_nothing():
    encoding = made("none-encoder")
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    order = torch.randperm(12)
    torch.testing.assert_close(attended(encoding, q[:, order], k[:, order], v[:, order]), attended(encoding, q, k, v)[:, order])
    alibi = made("alibi-encoder")
    assert not torch.allclose(attended(alibi, q[:, order], k[:, order], v[:, order]), attended(alibi, q, k, v)[:, order], atol=1e-3)


def test_alibi_falls_with_the_distance_for_any_number_of_heads():
    for heads in (1, 2, 3, 8, 12, 25):
        encoding = position_encoding("alibi", model_dim=8 * heads, heads=heads, head_dim=8)
        row = encoding.bias(1, 300)[:, 0]  # one query behind 299 keys
        assert (row.diff(dim=-1) > 0).all() and (row[:, -1] == 0).all()
    both = position_encoding("alibi", model_dim=8, heads=2, head_dim=4, causal=False).bias(9)
    assert torch.equal(both, both.transpose(-1, -2)) and (both < 0).sum() == 2 * 72


def test_kerple_falls_and_t5_keeps_still_beyond_its_last_bucket():
    row = made("kerple").bias(1, 300)[:, 0]
    assert (row.diff(dim=-1) > 0).all()
    row = made("t5").bias(1, 300)[:, 0]
    assert (row[:, : 300 - 113] == row[:, :1]).all() and (row[:, 299 - 113] != row[:, 299 - 112]).any()


def test_a_bias_is_one_number_wherever_it_is_asked_for():
    for case in ("alibi", "t5", "kerple", "sandwich", "fire-rows"):
        encoding = made(case)
        whole = encoding.bias(40, layer=LAYER)
        part = encoding.bias(3, 7, layer=LAYER, positions=torch.tensor([39, 2, 11]), key_positions=torch.tensor([0, 39, 5, 1, 2, 11, 11]))
        assert torch.equal(part, whole[:, [39, 2, 11]][:, :, [0, 39, 5, 1, 2, 11, 11]])


def test_t5_does_not_divide_its_scores_unless_told_to():
    root = math.sqrt(8)
    assert made("t5").scale == 1.0 and made("t5-scaled").scale == pytest.approx(1 / root) and made("alibi").scale == 1 / root
    assert made("deberta").scale == pytest.approx(24**-0.5) and made("deberta-c2p").scale == 0.25
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    assert torch.equal(made("t5").attend(q, k, v, scale=1.0), made("t5").attend(q, k, v))


def test_what_is_shared_is_shared():
    tables = {case: made(case).table.shape for case in ("t5", "t5-scaled", "window")}
    assert tables == {"t5": (32, 6), "t5-scaled": (2, 32, 6), "window": (2, 5 * 7, 6)}
    assert made("shaw").key_table.shape == (2, 7, 8)  # by layer, shared by heads
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    for case, same in (("t5", True), ("shaw", False), ("window", False), ("kerple", True), ("fire", False)):
        encoding = made(case)
        assert torch.equal(encoding.attend(q, k, v, 0), encoding.attend(q, k, v, 1)) == same, case


def test_a_trained_model_may_be_given_another_scaling():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoding = made("rope")

    model = Model()
    assert not list(model.parameters()) and not model.state_dict()
    model.encoding = made("rope", scaling=LinearScaling(2.0))
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    torch.testing.assert_close(model.encoding.rotate(q, k, torch.arange(12) * 2)[0], made("rope").rotate(q, k)[0])


# ---- modules


@pytest.mark.parametrize("case", [*CASES, *GRIDS])
def test_state_goes_out_and_comes_in(case):
    encoding, other = made(case), made(case)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(encoding.state_dict())
    positions = GRID if case in GRIDS else None
    q, k, v, x = (one.detach() for one in tensors(12, 12))
    for copied in (other, copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):
        a, b = copied.rotate(q, k, positions, LAYER)
        c, d = encoding.rotate(q, k, positions, LAYER)
        assert torch.equal(copied.attend(a, b, v, LAYER), encoding.attend(c, d, v, LAYER))
        assert torch.equal(copied.embed(x, positions), encoding.embed(x, positions))
    assert set(encoding.state_dict()) == {name for name, _ in encoding.named_parameters()}


@pytest.mark.parametrize("case", [case for case in (*CASES, *GRIDS) if list(made(case).parameters())])
def test_everything_learns(case):
    encoding = made(case)
    positions = GRID if case in GRIDS else None
    q, k, v, x = (one.detach() for one in tensors(12, 12))
    for layer in range(2):
        a, b = encoding.rotate(q, k, positions, layer)
        (encoding.attend(a, b, v, layer).square().sum() + encoding.embed(x, positions).square().sum()).backward()
    for name, parameter in encoding.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        if not (case == "fire" and name == "b2"):  # alike for all keys, so that the softmax does not see it
            assert parameter.grad.abs().max() > 0 or (encoding.name, name) in (("fire", "threshold_multiplier"),), name


class Model(torch.nn.Module):
    def __init__(self, encoding):
        super().__init__()
        self.encoding = encoding
        self.inner = torch.nn.Linear(24, 6 * 8 + 2 * 2 * 8)
        self.outer = torch.nn.Linear(48, 24)

    def forward(self, x, positions=None):
        x = self.encoding.embed(x, positions)
        q, k, v = self.inner(x).split((48, 16, 16), -1)
        q, k, v = q.unflatten(-1, (6, 8)), k.unflatten(-1, (2, 8)), v.unflatten(-1, (2, 8))
        q, k = self.encoding.rotate(q, k, positions, LAYER)
        return self.outer(self.encoding.attend(q, k, v, LAYER, positions).flatten(-2))


@pytest.mark.parametrize("case", ["sinusoidal", "learned", "rope", "fope", "t5", "kerple", "fire", "window", "log-cpb", "shaw", "transformer-xl", "deberta", "cope", "rope-mixed"])
def test_programs_hold_the_same(case):
    torch.manual_seed(0)
    model, x = Model(made(case)), torch.randn(2, 12, 24)
    arguments = (x, GRID) if case in GRIDS else (x,)
    torch._dynamo.reset()
    program = torch.compile(model, fullgraph=True, backend="aot_eager")
    want = model(*arguments)
    torch.testing.assert_close(program(*arguments), want, atol=1e-6, rtol=1e-6)
    gradients = torch.autograd.grad(want.square().sum(), list(model.parameters()), allow_unused=True)
    for one, other in zip(torch.autograd.grad(program(*arguments).square().sum(), list(model.parameters()), allow_unused=True), gradients):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["rope", "alibi"])
def test_programs_of_the_default_compiler(case):
    torch.manual_seed(0)
    model, x = Model(made(case)), torch.randn(2, 12, 24)
    torch._dynamo.reset()
    positions = torch.arange(12) + 5
    program = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(program(x, positions), model(x, positions), atol=2e-6, rtol=1e-5)
    program(x, positions).square().sum().backward()


def test_programs_ask_for_float64_where_the_model_has_it():
    model = Model(made("alibi")).double()
    torch._dynamo.reset()
    x = torch.randn(2, 12, 24, dtype=torch.float64)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


def test_operators_are_registered_as_torch_wants_them():
    from ropewalk.torch._encoding_ops import text_of

    axis = torch.arange(9)
    fill = torch.ops.ropewalk.score_bias.default
    t5 = text_of(ropewalk.T5Bias(2, (), True))
    torch.library.opcheck(fill, (torch.randn(64, requires_grad=True), axis, axis, t5))
    torch.library.opcheck(fill, (torch.randn(64, requires_grad=True), torch.stack((axis, axis + 3)), axis, t5))
    torch.library.opcheck(fill, (torch.empty(0), axis[:2], axis, text_of(ropewalk.AlibiBias(3))))
    row = text_of(ropewalk.SinusoidalSpec(6, "interleaved", "paper"))
    torch.library.opcheck(torch.ops.ropewalk.sinusoids.default, (axis, row))
    torch.library.opcheck(torch.ops.ropewalk.sinusoids.default, (torch.stack((axis, axis)), row))


def test_a_gradient_of_a_gradient_is_refused_by_the_kernels_and_given_in_float64():
    encoding = made("t5")
    q, k, v, _ = tensors(12, 12)
    (first,) = torch.autograd.grad(encoding.attend(q, k, v).square().sum(), [encoding.table], create_graph=True)
    with pytest.raises(ropewalk.Error, match="first gradients"):
        first.square().sum().backward()
    encoding = encoding.double()
    q, k, v = (one.detach().double() for one in (q, k, v))
    (first,) = torch.autograd.grad(encoding.attend(q, k, v).square().sum(), [encoding.table], create_graph=True)
    first.square().sum().backward()
    assert encoding.table.grad.abs().max() > 0


# ---- faces that stand alone


def test_learned_rows_move_to_other_grids_as_torch_interpolates():
    rows = LearnedEmbedding(1 + 3 * 4, 5, grid=(3, 4), leading=1)
    moved = rows.resized(6, 8)
    grid = rows.weight.detach()[1:].T.reshape(1, 5, 3, 4)
    want = torch.nn.functional.interpolate(grid, (6, 8), mode="bicubic", align_corners=False).reshape(5, 48).T
    torch.testing.assert_close(moved.weight.detach()[1:], want, atol=1e-6, rtol=1e-5)
    assert torch.equal(moved.weight[0], rows.weight[0]) and moved.grid == (6, 8)
    x = torch.zeros(2, 2, 5)
    assert torch.equal(moved(x, torch.tensor([[5, 0], [7, 1]]))[0], moved.weight[[1 + 47, 1 + 1]])
    line = LearnedEmbedding(6, 5)
    want = torch.nn.functional.interpolate(line.weight.detach().T[None], 12, mode="linear", align_corners=False)[0].T
    torch.testing.assert_close(line.resized(12, resampling="linear").weight.detach(), want)


def test_sinusoids_of_any_order_are_one_permutation():
    x, positions = torch.zeros(1, 3, 8), torch.tensor([0, 5, 10_000_000])
    rows = {}
    for order in ("interleaved", "concatenated", "interleaved_cos_first", "concatenated_cos_first"):
        module = SinusoidalEmbedding(ropewalk.SinusoidalSpec(8, order, "paper"))
        rows[order] = module(x, positions)[0]
        torch.testing.assert_close(rows[order], module(x.double(), positions)[0].float(), atol=2e-7, rtol=0)
    assert torch.equal(rows["interleaved"][:, [0, 2, 4, 6, 1, 3, 5, 7]], rows["concatenated"])
    assert torch.equal(rows["interleaved"][:, [1, 0, 3, 2, 5, 4, 7, 6]], rows["interleaved_cos_first"])
    assert torch.equal(rows["concatenated"].roll(4, -1), rows["concatenated_cos_first"])


def test_float64_is_exact_where_its_products_are_not():
    """Phases are turns of 2^-64, so that position p is off by p 2^-65 turns at most."""
    from fractions import Fraction

    def turns(position, speed):  # speed: 1 / (2 pi 10^power), to 60 digits
        return float(Fraction(position) * speed % 1)

    pi = Fraction("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
    for far in (5, 2**36 + 1, 2**44 + 12345):
        row = SinusoidalEmbedding(ropewalk.SinusoidalSpec(4, "interleaved", "paper")).rows(torch.tensor([far]), torch.float64)[0]
        t2t = SinusoidalEmbedding(ropewalk.SinusoidalSpec(4, "interleaved", "tensor2tensor")).rows(torch.tensor([far]), torch.float64)[0]
        for got, speed in ((row[:2], 1 / (2 * pi)), (row[2:], 1 / (200 * pi)), (t2t[2:], 1 / (20_000 * pi))):
            angle = 2 * math.pi * turns(far, speed)
            want = torch.tensor([math.sin(angle), math.cos(angle)], dtype=torch.float64)
            torch.testing.assert_close(got, want, atol=1e-14 + far * 2.0**-62, rtol=0)
    far = torch.arange(4) + 2**36
    sandwich, narrow = (made("sandwich").bias(1, 4, positions=torch.tensor([0]), key_positions=-far, dtype=kind)
                        for kind in (torch.float64, torch.float32))
    torch.testing.assert_close(sandwich.float(), narrow, atol=1e-5, rtol=1e-6)


# ---- refusals


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("alibbi", {}, "name: want one of none, sinusoidal, .*, got 'alibbi'"),
        ("alibi", dict(thetas=1), r"thetas: want an option of 'alibi' \(bias_max, slopes, trained\), got it with 1"),
        ("none", dict(theta=1.0), "theta: want no option of 'none'"),
        ("rope", dict(thetas=1.0), "thetas: want an option of 'rope'"),
        ("rope", dict(theta=-1.0), "theta: want"),
        ("rope", dict(kv_heads=4), "kv_heads: want a divisor of 6 heads, got 4"),
        ("alibi", dict(heads=0), "heads: want a whole number >= 1, got 0"),
        ("alibi", dict(causal=1), "causal: want True or False"),
        ("t5", dict(num_buckets=1), "num_buckets: want"),
        ("fire", dict(causal=False), "causal: want True"),
        ("kerple", dict(kind="linear"), 'kind: want "log" or "power"'),
        ("window", dict(causal=False), r"window: want \(rows, columns\), .* got None"),
        ("window", dict(window=(3, 4)), "causal: want False"),
        ("sinusoidal", dict(order="twisted"), "order: want one of"),
        ("sinusoidal", dict(axes=5), "axes: want"),
        ("shaw", dict(clip=-1), "clip: want"),
        ("deberta", dict(terms=("p2p",)), "terms: want"),
        ("rope-mixed", dict(axes=1), "axes: want 2"),
        ("learned", dict(grid=(3, 4), leading=-1), "leading: want"),
        ("learned", dict(grid=4), r"grid: want \(rows, columns\), whole numbers >= 1, got 4"),
        ("learned", dict(std=-1.0), "std: want a finite number >= 0, got -1.0"),
        ("window", dict(window=3, causal=False), r"window: want \(rows, columns\), .*, got 3"),
        ("window", dict(window=(2.7, 3), causal=False), r"window: want .* got \(2.7, 3\)"),
        ("log-cpb", dict(window=(3, 4), pretrained_window=7, causal=False), r"pretrained_window: want \(rows, columns\)"),
        ("t5", dict(num_buckets="32"), "num_buckets: want a whole number >= 1, got '32'"),
        ("t5", dict(scale=math.nan), "scale: want a finite number > 0, got nan"),
        ("fope", dict(theta=0), "theta: want a finite number > 0, got 0"),
        ("rope-mixed", dict(theta=-1, causal=False), "theta: want a finite number > 0, got -1"),
        ("kerple", dict(smallest=math.nan), "smallest: want a finite number >= 0, got nan"),
        ("kerple", dict(smallest=-1), "smallest: want a finite number >= 0, got -1"),
    ],
)
def test_wrong_words_are_refused(name, options, said):
    with pytest.raises(ropewalk.Error, match=said):
        position_encoding(name, **{**COMMON, **options})


def test_wrong_shapes_are_refused():
    q, k, v, x = (one.detach() for one in tensors(12, 12))
    alibi, rope, learned = made("alibi"), made("rope"), made("learned")
    for said, call in {
        r"q: want \[batch, tokens, 6, 8\], got \[2, 12, 2, 8\]": lambda: alibi.attend(k, k, v),
        r"k: want \[2, keys, 2, 8\], got \[2, 12, 6, 8\]": lambda: alibi.attend(q, q, v),
        r"v: want \[2, 12, 2, value_dim\]": lambda: alibi.attend(q, k, v[:, :3]),
        "layer: want 0 to 1, got 2": lambda: alibi.attend(q, k, v, 2),
        r"positions: want \[12\] or \[2, 12\], got \[11\]": lambda: alibi.attend(q, k, v, positions=torch.arange(11)),
        r"positions: want whole numbers \(int64\), got torch.float32": lambda: rope.rotate(q, k, torch.arange(12.0)),
        r"x: want \[batch, tokens, 24\], got \[2, 12, 23\]": lambda: learned.embed(x[..., :23]),
        "positions: want 0 to 63, the rows that were learned, got 64": lambda: learned.embed(x, torch.arange(12) + 53),
        r"positions: want \[2, tokens\], the rows and columns of a grid, got none": lambda: made("rope-2d").rotate(q, k),
        r"score_mod: want an encoding whose entries need no other keys": lambda: made("cope").score_mod(),
        "values: want False": lambda: made("shaw").score_mod(q=q, k=k),
        r"q: want the queries and keys": lambda: made("shaw-keys").score_mod(),
    }.items():
        with pytest.raises(ropewalk.Error, match=said):
            call()


def test_places_that_no_grid_has_are_refused():
    x, (q, k, v) = torch.zeros(1, 2, 24), (one.detach() for one in tensors(2, 2)[:3])
    learned, rows = made("learned-2d"), made("learned")
    at = lambda *places: torch.tensor(places).T
    for said, call in {
        "positions: want columns 0 to 3, got 4": lambda: learned.embed(x, at((0, 0), (0, 4))),
        "positions: want columns 0 to 3, got -1": lambda: learned.embed(x, at((0, 0), (1, -1))),
        "positions: want rows 0 to 2, got 3": lambda: learned.embed(x, at((0, 0), (3, 0))),
        r"positions: want whole numbers \(int64\), got torch.float32": lambda: rows.embed(x, torch.tensor([0.0, 1.5])),
        r"positions: want whole numbers \(int64\), got torch.bool": lambda: rows.embed(x, torch.tensor([True, False])),
        "positions: want a tensor, got list": lambda: rows.embed(x, [0, 1]),
        "x: want|positions: want a tensor, got list": lambda: made("sinusoidal").embed(x, [0, 1]),
    }.items():
        with pytest.raises(ropewalk.Error, match=said):
            call()
    for case, last in (("window", 11), ("window-beit", 12)):
        for dtype in (torch.float32, torch.float64):
            window, y = made(case).to(dtype), [one.to(dtype) for one in (q, k, v)]
            with pytest.raises(ropewalk.Error, match="positions: want columns 0 to 3, got 4"):
                window.attend(*y, positions=at((0, 0), (0, 4)))
            for wrong in (-1, last + 1):
                with pytest.raises(ropewalk.Error, match=f"positions: want tokens of a window of 3 x 4, 0 to {last}, got {wrong}"):
                    window.attend(*y, positions=torch.tensor([0, wrong]))
            with pytest.raises(ropewalk.Error, match="positions: want"):
                window.score_mod(positions=torch.tensor([0, last + 1]))


def test_xpos_refuses_positions_whose_factors_leave_the_dtype():
    """Pair 0 grows by (1 + gamma) / gamma every scale_base tokens."""
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    for length, far in ((0, 34_000), (1_000_000, 500_000 + 34_000)):
        encoding = made("xpos", running_length=length)
        for sign in (1, -1):
            where = torch.arange(12) + length // 2 + sign * (far - length // 2)
            out = attended(encoding, q * 10, k * 10, v, where)
            assert torch.isfinite(out).all()
            torch.testing.assert_close(out, attended(encoding, q * 10, k * 10, v, torch.arange(12) + length // 2), atol=1e-5, rtol=1e-4)
            with pytest.raises(ropewalk.Error, match="positions: want .* where xPos' factors fit torch.float32 .* got"):
                encoding.rotate(q, k, where + sign * 1000)
    encoding = made("xpos")
    with pytest.raises(ropewalk.Error, match="positions: want -2832 to 2832, .* torch.float16"):
        encoding.rotate(q.half(), k.half(), torch.arange(12) + 2830)
    with pytest.raises(ropewalk.Error, match="positions: want .* got -35986"):  # of the keys before the query
        encoding.rotate(q[:, :1], k.repeat(1, 2999, 1, 1), torch.tensor([1]))


@pytest.mark.parametrize("case", ["none", "alibi", "rope", "shaw", "cope"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_that_are_none_are_refused_alike(case, dtype):
    q, k, v = (one.detach().to(dtype) for one in tensors(3, 3)[:3])
    for scale in (0, -1.0, math.nan, math.inf, 1e300, "1", True):
        with pytest.raises(ropewalk.Error, match=r"scale: want a number > 0 \(2\^-60 to 2\^60\), got"):
            made(case).to(dtype).attend(q, k, v, scale=scale)


def test_tensors_of_other_kinds_are_refused():
    q, k, v, _ = (one.detach() for one in tensors(3, 3))
    for case in ("none", "alibi", "rope", "shaw"):
        encoding = made(case)
        with pytest.raises(ropewalk.Error, match="q: want floats, got torch.int64"):
            encoding.attend(q.long(), k.long(), v.long())
        with pytest.raises(ropewalk.Error, match="v: want torch.float32, as q has, got torch.bfloat16"):
            encoding.attend(q, k, v.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            assert encoding.attend(q, k, v.bfloat16()).shape == q.shape


@pytest.mark.parametrize("case", ["cope", "cope-encoder", "shaw"])
def test_what_is_no_number_goes_through(case):
    for dtype in (torch.float32, torch.float64):
        q, k, v = (one.detach().to(dtype) for one in tensors(5, 5)[:3])
        q[0, 3] = math.nan
        out = made(case).to(dtype).attend(q, k, v, LAYER)
        assert out[0, 3].isnan().all() and torch.isfinite(out[1]).all() and torch.isfinite(out[0, :3]).all()


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith(("window", "log-cpb"))])
def test_queries_without_keys_get_zeros(case):
    q, k, v = (one.detach() for one in tensors(5, 0)[:3])
    for dtype in (torch.float32, torch.float64):
        out = made(case).to(dtype).attend(q.to(dtype), k.to(dtype), v.to(dtype), LAYER)
        assert out.shape == (2, 5, 6, 8) and (out == 0).all()


def test_learned_rotations_turn_nothing():
    q, k, _, _ = (one.detach() for one in tensors(0, 0))
    assert made("fope").rotate(q, k)[0].shape == q.shape
    assert made("rope-mixed").rotate(q, k, torch.empty(2, 0, dtype=torch.int64))[1].shape == k.shape


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (128, 2**24)])
def test_t5_s_buckets_are_the_library_s_at_any_distance(causal, num_buckets, max_distance):
    encoding = position_encoding("t5", model_dim=8, heads=2, head_dim=4, num_buckets=num_buckets, max_distance=max_distance, causal=causal)
    starts = ropewalk.t5_bucket_starts(num_buckets, max_distance, causal)
    keys = torch.tensor(sorted({sign * int(start) + by for start in starts for sign in (1, -1) for by in (-1, 0, 1)} | {-(2**40), 2**40}))
    zero = torch.tensor([0])
    want = encoding.bias(1, len(keys), positions=zero, key_positions=keys)
    got = encoding.bias(1, len(keys), positions=zero, key_positions=keys, dtype=torch.float64)
    assert torch.equal(got.float(), want)
    add = encoding.score_mod(positions=zero, key_positions=keys)
    index = torch.arange(len(keys))
    assert torch.equal(add(torch.zeros(len(keys)), 0 * index, 0 * index, 0 * index, index), want[0, 0])


def test_deberta_s_buckets_are_those_of_whole_numbers():
    for span, most in ((8, 12), (9, 40), (256, 512)):
        mid, steps, buckets = span // 2, 0, list(range(span // 2 + 1))
        for n in range(mid + 1, most + 1):
            while n ** (mid - 1) * mid**steps > mid ** (mid - 1) * (most - 1) ** steps:
                steps += 1
            buckets.append(mid + steps)
        encoding = position_encoding("deberta", model_dim=8, heads=2, head_dim=4, span=span, max_distance=most)
        assert (encoding._row(torch.arange(most + 1)) - span).tolist() == [min(one, span - 1) for one in buckets]
    large = position_encoding("deberta", model_dim=8, heads=2, head_dim=4, span=600, max_distance=2**20)  # at once
    assert large._row(torch.tensor([-(2**40), 2**40])).tolist() == [0, 1199]


def test_a_query_before_all_keys_gets_zeros():
    """As the library's attention has it: queries 0 and 1 of 5 stand before the first of 3 keys."""
    for case in ("none", "alibi", "t5", "shaw"):
        q, k, v, _ = (one.detach() for one in tensors(5, 3))
        out = made(case).attend(q, k, v, LAYER)
        assert torch.isfinite(out).all() and (out[:, :2] == 0).all() and (out[:, 2:] != 0).all(), case


def test_nothing_to_attend_with_is_nothing():
    for case in ("rope", "alibi", "t5", "shaw", "none"):
        encoding = made(case)
        q, k, v = torch.zeros(2, 0, 6, 8), torch.zeros(2, 0, 2, 8), torch.zeros(2, 0, 2, 8)
        q, k = encoding.rotate(q, k)
        assert encoding.attend(q, k, v).shape == (2, 0, 6, 8)


def test_the_example_changes_one_word():
    program = Path(__file__).resolve().parents[3] / "examples" / "python" / "one_word.py"
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    lines = subprocess.run([sys.executable, program, "learned", "rope"], env=alone, check=True, capture_output=True, text=True).stdout.splitlines()
    (near, far), (near_rope, far_rope) = ([float(word) for word in line.split()[1:]] for line in lines[1:])
    assert near > 0.7 and far < 0.6 and near_rope > 0.95 and far_rope > 0.9, lines
