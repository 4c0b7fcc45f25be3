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
        ("window", dict(causal=False), r"window: want \(rows, columns\), got None"),
        ("window", dict(window=(3, 4)), "causal: want False"),
        ("sinusoidal", dict(order="twisted"), "order: want one of"),
        ("sinusoidal", dict(axes=5), "axes: want"),
        ("shaw", dict(clip=-1), "clip: want"),
        ("deberta", dict(terms=("p2p",)), "terms: want"),
        ("rope-mixed", dict(axes=1), "axes: want 2"),
        ("learned", dict(grid=(3, 4), leading=-1), "leading: want"),
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
