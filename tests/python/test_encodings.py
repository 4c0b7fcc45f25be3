"""ScoreBias, Sinusoidal, learned rows and their resizing, from numpy. The formulas are held in C++ and in test_encodings_vs_torch.py; here it
is that what was asked for arrives, by the right name, in the right order, and that what is wrong is refused."""

import pickle
import threading

import numpy as np
import pytest
import ropewalk
from ropewalk import (
    AlibiBias, FireBias, KerpleBias, LogCpbBias, SandwichBias, ScoreBias, Sinusoidal, SinusoidalSpec, SinusoidGridOptions, T5Bias, TableResize, WindowBias,
)

RANDOM = np.random.default_rng(0)


def numbers(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


SPECS = {
    "alibi": AlibiBias(3),
    "slopes": AlibiBias(2, symmetric=True, slopes=(0.5, 0.0)),
    "t5": T5Bias(3, numbers(8, 3), causal=True, num_buckets=8, max_distance=20),
    "kerple": KerpleBias(3, (1.0, 0.5, 2.0), [0.3, 1.0, 0.1], "power"),
    "fire": FireBias(3, numbers(4), numbers(4), numbers(3, 4), numbers(3), width=4, threshold=6.0),
    "sandwich": SandwichBias(3, dim=16),
    "window": WindowBias(3, 2, 3, numbers(18, 3), class_token=True),
    "log_cpb": LogCpbBias(3, 2, 3, numbers(5, 2), numbers(5), numbers(3, 5), width=5),
}


def axes(name):
    return (range(6), range(6)) if name in ("window", "log_cpb") else (range(5, 12), range(12))


@pytest.mark.parametrize("name", SPECS)
def test_a_block_is_its_entries_and_its_runs(name):
    bias = ScoreBias(SPECS[name])
    queries, keys = axes(name)
    block = bias.fill(queries, keys)
    assert block.shape == (bias.heads, len(queries), len(keys)) and block.dtype == np.float32
    for h in range(bias.heads):
        for i, query in enumerate(queries):
            assert [bias.at(h, query, key) for key in keys] == block[h, i].tolist()
    shuffled = RANDOM.permutation(len(keys))
    assert np.array_equal(bias.fill(queries, np.asarray(keys)[shuffled]), block[:, :, shuffled])
    into = np.full((len(keys), len(queries), bias.heads), np.nan, np.float32)
    bias.fill(np.asarray(queries, np.int32), list(keys), out=into.transpose(2, 1, 0))
    assert np.array_equal(into.transpose(2, 1, 0), block)
    if bias.depends_on_distance_only(11):
        line = bias.toeplitz(-6, 18)
        assert all(block[h, i, j] == line[h, query - key + 6] for h in range(bias.heads) for i, query in enumerate(queries) for j, key in enumerate(keys))
    elif name in ("window", "log_cpb"):
        with pytest.raises(ropewalk.Error, match="spec: want"):
            bias.toeplitz(0, 4)


@pytest.mark.parametrize("name", SPECS)
def test_gradients_come_by_the_name_of_their_field(name):
    bias = ScoreBias(SPECS[name])
    queries, keys = axes(name)
    d_bias = numbers(bias.heads, len(queries), len(keys))
    found = bias.gradient(queries, keys, d_bias)
    assert [part[0] for part in bias.parameters] == list(found) and sum(one.size for one in found.values()) == bias.parameter_count
    for field, gradient in found.items():
        given = np.asarray(getattr(bias.spec, field), np.float64)
        if given.size != gradient.size:  # ALiBi's slopes by the formula
            continue
        assert gradient.shape == given.shape, field
        step, at = 1e-2, tuple(0 for _ in given.shape)
        ends = []
        for sign in (1, -1):
            moved = np.array(given)
            moved[at] += sign * step
            other = ScoreBias(type(bias.spec)(**{**vars(bias.spec), field: float(moved) if moved.ndim == 0 else moved}))
            ends.append((other.fill(queries, keys).astype(np.float64) * d_bias).sum())
        assert gradient[at] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05, abs=2e-2), field


def test_specs_are_plain_data():
    for name, spec in SPECS.items():
        assert spec == pickle.loads(pickle.dumps(spec)) and ScoreBias(spec) == pickle.loads(pickle.dumps(ScoreBias(spec)))
        assert spec != SPECS["alibi" if name != "alibi" else "t5"]
        with pytest.raises(AttributeError):
            spec.heads = 4
    assert T5Bias(1, np.zeros((32, 1))) != T5Bias(1, np.ones((32, 1)))


def test_known_numbers():
    assert ropewalk.alibi_slopes(6).tolist() == [2.0**-x for x in (2, 4, 6, 8, 1, 3)]
    assert ropewalk.t5_bucket_starts(causal=True).tolist()[16:] == [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    assert ropewalk.t5_bucket_starts().tolist() == [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: ScoreBias(T5Bias(3, numbers(3, 32))), r"t5.table: want \[32, 3\], got \[3, 32\]"),
        (lambda: ScoreBias(T5Bias(3, numbers(95))), "t5.table.size: want 96, got 95"),
        (lambda: ScoreBias(T5Bias(3, "words")), "t5.table: want"),
        (lambda: ScoreBias(KerpleBias(2, (1.0, 1.0), (1.0, float("nan")))), "kerple.r2"),
        (lambda: ScoreBias(KerpleBias(2, (1.0, 1.0), (1.0, 1.0), kind="square")), 'kerple.kind: want one of "log", "power"'),
        (lambda: ScoreBias(AlibiBias("many")), "alibi.heads: want a whole number, got 'many'"),
        (lambda: ScoreBias({"heads": 3}), "spec: want AlibiBias, .*, got .*dict"),
        (lambda: ScoreBias(AlibiBias(2)).fill(range(3), [0.5]), "keys: want whole numbers"),
        (lambda: ScoreBias(AlibiBias(2)).fill(range(3), range(3), np.zeros((2, 3, 4), np.float32)), r"out: want \[2, 3, 3\] .*got \[2, 3, 4\]"),
        (lambda: ScoreBias(AlibiBias(2)).fill(range(3), range(3), np.zeros((2, 3, 3))), "out: want float32, got float64"),
        (lambda: ScoreBias(AlibiBias(2)).at(2, 0, 0), "head: want 0 to 1, got 2"),
        (lambda: ScoreBias(WindowBias(1, 2, 2, np.zeros((9, 1)))).fill(range(5), range(4)), "queries"),
        (lambda: ScoreBias(AlibiBias(2)).gradient(range(3), range(3), np.zeros((2, 3, 2), np.float32)), "d_bias: want"),
        (lambda: ropewalk.alibi_slopes(0), "heads: want"),
        (lambda: ropewalk.t5_bucket_starts(1), "num_buckets: want"),
        (lambda: Sinusoidal(SinusoidalSpec(8, "", "paper")), 'order: want one of "interleaved"'),
        (lambda: Sinusoidal(SinusoidalSpec(8, "interleaved", "exact")), 'exponent: want one of "paper"'),
        (lambda: Sinusoidal(SinusoidalSpec(0, "interleaved", "paper")), "dim: want"),
        (lambda: Sinusoidal(AlibiBias(2)), "spec: want a SinusoidalSpec"),
        (lambda: Sinusoidal(SinusoidalSpec(8, "interleaved", "paper")).add(np.zeros((2, 3, 7), np.float32)), "in.dim|dim: want 8, got 7"),
        (lambda: Sinusoidal(SinusoidalSpec(8, "interleaved", "paper")).add(np.zeros((2, 3, 8), np.float32), [0, 1]), "positions.tokens: want 3, got 2"),
        (lambda: ropewalk.add_learned(np.zeros((4, 8), np.float32), np.zeros((1, 2, 8), np.float32), [3, 4]), r"positions\[0, 1\]"),
        (lambda: ropewalk.resize_table(np.zeros((12, 2), np.float32), TableResize(3, 4, 6, 0)), "resize.new_columns: want"),
        (lambda: ropewalk.resize_table(np.zeros((12, 2), np.float32), TableResize(3, 4, 6, 6, leading_rows=2**63 - 1)), "resize.leading_rows: want 0 to"),
        (lambda: ScoreBias(WindowBias(1, 2**31 - 1, 2**31 - 1, np.zeros(1))), "window.rows: want"),
        (lambda: ScoreBias(AlibiBias(10**9)), "alibi.heads: want"),
        (lambda: ropewalk.resize_table(np.zeros((11, 2), np.float32), TableResize(3, 4, 6, 8)), "table_in.size: want 24, got 22"),
        (lambda: ropewalk.sinusoid_grid_family("vit-9"), "family: want one of detr, .*, got vit-9"),
        (lambda: ropewalk.sinusoid_grid(0, 3), "rows: want"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(make, said):
    with pytest.raises(ropewalk.Error, match=said):
        make()


# ---- embeddings


def rows_in_float64(spec, positions):
    half = spec.dim // 2
    phase = np.asarray(positions, np.float64)[..., None] * 10000.0 ** (-np.arange(half) / half)
    return np.concatenate((np.sin(phase), np.cos(phase)), -1)


def test_sinusoids():
    spec = SinusoidalSpec(6, "concatenated", "paper")
    made = Sinusoidal(spec)
    positions = np.array([[0, 1, 2], [7, 100, 3]])
    np.testing.assert_allclose(made.rows(positions), rows_in_float64(spec, positions), atol=2e-7)
    np.testing.assert_allclose(made.rows([0.5, 2.25]), rows_in_float64(spec, [0.5, 2.25]), atol=2e-7)
    x = numbers(2, 3, 6)
    np.testing.assert_allclose(made.add(x, positions, embedding_scale=2.0), 2 * x + rows_in_float64(spec, positions), atol=1e-6)
    np.testing.assert_allclose(made.add(x), x + rows_in_float64(spec, range(3)), atol=1e-6)
    there = x.copy()
    assert made.add_(there, positions) is there and np.array_equal(there, made.add(x, positions))
    assert np.array_equal(made.inv_freq, 10000.0 ** (-np.arange(3) / 3)) or np.allclose(made.inv_freq, 10000.0 ** (-np.arange(3) / 3), rtol=1e-15)
    assert made == Sinusoidal(spec) == pickle.loads(pickle.dumps(made)) and hash(made) == hash(Sinusoidal(spec))


def test_sinusoids_on_a_grid():
    spec, options = ropewalk.sinusoid_grid_family("mae")
    assert spec.dim == 0 and options.column_first and "detr" in ropewalk.sinusoid_grid_families()
    where = ropewalk.sinusoid_grid(2, 3, options)
    assert where.tolist() == [[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1]]
    assert ropewalk.sinusoid_grid(2, 3, SinusoidGridOptions(first=1.0)).tolist() == [[1, 1, 1, 2, 2, 2], [1, 2, 3, 1, 2, 3]]
    made = Sinusoidal(SinusoidalSpec(**{**vars(spec), "dim": 8}))
    rows = made.rows(where)
    half = SinusoidalSpec(4, "concatenated", "paper")
    np.testing.assert_allclose(rows, np.concatenate([rows_in_float64(half, axis) for axis in where], -1), atol=2e-7)


def test_learned_rows_and_their_gradient():
    table, x, positions = numbers(6, 4), numbers(2, 3, 4), np.array([[0, 3, 3], [1, 0, 2]])
    assert np.array_equal(ropewalk.add_learned(table, x, positions, position_offset=2), x + table[positions + 2])
    gradient = ropewalk.learned_gradient(6, x, positions, position_offset=2)
    want = np.zeros((6, 4), np.float32)
    np.add.at(want, positions + 2, x)
    np.testing.assert_allclose(gradient, want, atol=1e-6)


def test_tables_move_to_other_grids_and_gradients_back():
    resize = TableResize(3, 4, 5, 9, "cubic", leading_rows=1)
    table, d_moved = numbers(13, 2), numbers(46, 2)
    moved = ropewalk.resize_table(table, resize)
    back = ropewalk.resize_gradient(d_moved, resize)
    assert moved.shape == (46, 2) and back.shape == (13, 2) and np.array_equal(moved[0], table[0])
    assert (moved * d_moved).sum() == pytest.approx((table * back).sum(), rel=1e-4)  # the transpose
    assert np.array_equal(ropewalk.resize_table(table, TableResize(3, 4, 3, 4, "linear", leading_rows=1)), table)


def test_many_threads_may_use_one():
    bias = ScoreBias(SPECS["t5"])
    want = bias.fill(range(64), range(64))
    wrong = []
    threads = [threading.Thread(target=lambda: wrong.append(1) if any(not np.array_equal(bias.fill(range(64), range(64)), want) for _ in range(50)) else None) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
