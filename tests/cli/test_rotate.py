"""`ropewalk rotate` against a float64 oracle: every layout, dtype, shape of positions, both directions."""

import json
import resource

import numpy as np
import oracle
import pytest
from tool import LLAMA, SCALED, ok, refused, run

BATCH, TOKENS, Q_HEADS, K_HEADS, HEAD_DIM = 2, 5, 4, 2, 64
# Half a unit in the last place of results below 8 in magnitude, and a little for float32 arithmetic.
TOLERANCE = {"f32": 4e-6, "f16": 2.5e-3, "bf16": 2e-2}


def to_bf16(x):
    """float32 to bfloat16 bits, to nearest even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def stored(x, dtype):
    return {"f32": lambda: x.astype(np.float32), "f16": lambda: x.astype(np.float16), "bf16": lambda: to_bf16(x)}[dtype]()


def loaded(x, dtype):
    return from_bf16(x) if dtype == "bf16" else x.astype(np.float32)


def arranged(x, layout):
    """[batch, tokens, heads, head_dim] as the layout stores it."""
    x = {"bshd": x, "bhsd": x.transpose(0, 2, 1, 3), "sbhd": x.transpose(1, 0, 2, 3), "thd": x[0]}[layout]
    return np.ascontiguousarray(x)


def heads(seed, count, batch=BATCH, tokens=TOKENS):
    return np.random.default_rng(seed).standard_normal((batch, tokens, count, HEAD_DIM))


class Case:
    """q and k on disk, rotated by the tool, read back as [batch, tokens, heads, head_dim] arrays in float32."""

    def __init__(self, folder, path, q, k, positions, layout="bshd", dtype="f32", more=()):
        np.save(folder / "q_in.npy", arranged(stored(q, dtype), layout))
        np.save(folder / "k_in.npy", arranged(stored(k, dtype), layout))
        if not isinstance(positions, str):
            np.save(folder / "positions.npy", positions)
            positions = folder / "positions.npy"
        flag = ["--dtype", "bf16"] if dtype == "bf16" else []
        ok("rotate", path, "--q", folder / "q_in.npy", "--k", folder / "k_in.npy", "--positions", positions, "--layout", layout,
           "--out", folder / "out", *flag, *more)
        self.q_in, self.k_in = loaded(stored(q, dtype), dtype), loaded(stored(k, dtype), dtype)
        self.raw = {name: np.load(folder / "out" / f"{name}.npy") for name in "qk"}
        back = {"bshd": lambda x: x, "bhsd": lambda x: x.transpose(0, 2, 1, 3), "sbhd": lambda x: x.transpose(1, 0, 2, 3),
                "thd": lambda x: x[None]}[layout]
        self.q, self.k = (loaded(np.ascontiguousarray(back(self.raw[name])), dtype) for name in "qk")


def table(config, positions):
    positions = np.asarray(positions)
    cos, sin = oracle.cos_sin(config, [int(p) for p in positions.ravel()], int(positions.max()) + 1)
    shape = (*positions.shape, -1)
    return cos.reshape(shape), sin.reshape(shape)


@pytest.mark.parametrize("layout", ["bshd", "bhsd", "sbhd", "thd"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_is_the_formula_in_every_layout_and_dtype(config, tmp_path, layout, dtype):
    batch = 1 if layout == "thd" else BATCH
    positions = [0, 511, -(2**36), 2**20 - 1, 10**7]
    q, k = heads(1, Q_HEADS, batch), heads(2, K_HEADS, batch)
    case = Case(tmp_path, config(), q, k, ",".join(map(str, positions)), layout, dtype)
    cos, sin = table(LLAMA, positions)
    for got, given, name in ((case.q, case.q_in, "q"), (case.k, case.k_in, "k")):
        want = oracle.rotated(given, cos, sin, interleaved=False)
        assert np.abs(got - want).max() < TOLERANCE[dtype], name
        assert case.raw[name].dtype == {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}[dtype]
    assert np.array_equal(case.q[:, 0], case.q_in[:, 0]), "position 0 leaves everything as it is"


def test_rows_of_positions_are_rows_of_the_batch(config, tmp_path):
    generator = np.random.default_rng(3)
    for dtype in (np.int64, np.int32):
        positions = generator.integers(-1000, 100000, (BATCH, TOKENS)).astype(dtype)
        case = Case(tmp_path, config(), heads(1, Q_HEADS), heads(2, K_HEADS), positions, "bhsd")
        cos, sin = table(LLAMA, positions)
        assert np.abs(case.q - oracle.rotated(case.q_in, cos, sin, interleaved=False)).max() < TOLERANCE["f32"]
        assert np.abs(case.k - oracle.rotated(case.k_in, cos, sin, interleaved=False)).max() < TOLERANCE["f32"]


@pytest.mark.parametrize("method", ["yarn", "dynamic", "longrope", "llama3", "linear"])
def test_scaling_reaches_the_operator(config, tmp_path, method):
    positions = np.arange(20000, 20000 + TOKENS)
    case = Case(tmp_path, config(SCALED[method]), heads(1, Q_HEADS), heads(2, K_HEADS), "20000:20005")
    cos, sin = table(SCALED[method], positions)
    assert np.abs(case.q - oracle.rotated(case.q_in, cos, sin, interleaved=False)).max() < TOLERANCE["f32"]


@pytest.mark.parametrize("method", ["none", "yarn"])
def test_inverse_undoes_with_the_attention_factor(config, tmp_path, method):
    q, k, positions = heads(1, Q_HEADS), heads(2, K_HEADS), np.array([[5, -9, 2**33, 0, 131071]] * BATCH)
    forward = Case(tmp_path, config(SCALED[method]), q, k, positions)
    back = Case(tmp_path, config(SCALED[method]), forward.q, forward.k, positions, more=["--inverse"])
    assert np.abs(back.q - q).max() < 3e-6 and np.abs(back.k - k).max() < 3e-6
    cos, sin = table(SCALED[method], positions)
    want = oracle.rotated(back.q_in, cos, sin, interleaved=False, inverse=True)
    assert np.abs(back.q - want).max() < TOLERANCE["f32"]


def test_interleaved_and_partial_models_turn_their_own_channels(config, tmp_path):
    gptj = {"model_type": "gptj", "n_embd": 256, "n_head": 4, "n_layer": 2, "n_positions": 2048, "rotary_dim": 32}
    case = Case(tmp_path, config(gptj), heads(1, Q_HEADS), heads(2, K_HEADS), "7:12")
    narrow = LLAMA | {"hidden_size": 128, "rope_theta": 10000.0}  # the same ladder: 32 channels, base 10000
    cos, sin = table(narrow, np.arange(7, 12))
    assert np.abs(case.q - oracle.rotated(case.q_in, cos, sin, interleaved=True)).max() < TOLERANCE["f32"]
    assert np.array_equal(case.q[..., 32:], case.q_in[..., 32:]), "untouched to the bit"


def test_fp32_numerics_is_another_rotation_far_out(config, tmp_path):
    q, k = heads(1, Q_HEADS), heads(2, K_HEADS)
    exact = Case(tmp_path, config(), q, k, "1000000:1000005")
    fp32 = Case(tmp_path, config(), q, k, "1000000:1000005", more=["--numerics", "fp32"])
    assert 1e-3 < np.abs(exact.q - fp32.q).max() < 1
    near = Case(tmp_path, config(), q, k, "0:5", more=["--numerics", "fp32"])
    assert np.abs(near.q - Case(tmp_path, config(), q, k, "0:5").q).max() < 1e-5


def test_several_kinds_need_a_name(config, tmp_path):
    gemma = {"model_type": "gemma3_text", "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
             "num_hidden_layers": 6, "max_position_embeddings": 32768,
             "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
             "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                                 "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}
    path = config(gemma)
    np.save(tmp_path / "q.npy", heads(1, Q_HEADS).astype(np.float32))
    arguments = ("rotate", path, "--q", tmp_path / "q.npy", "--positions", "0:5", "--out", tmp_path / "out")
    refused(*arguments, says=("--kind", "full_attention", "sliding_attention"))
    refused(*arguments, "--kind", "global", says=("--kind", "full_attention", "global"))
    ok(*arguments, "--kind", "full_attention")
    cos, sin = table(LLAMA | {"rope_theta": 1e6}, np.arange(5))
    want = oracle.rotated(np.load(tmp_path / "q.npy"), cos, sin, interleaved=False)
    assert np.abs(np.load(tmp_path / "out" / "q.npy") - want).max() < TOLERANCE["f32"]
    assert not (tmp_path / "out" / "k.npy").exists()


def test_axes_of_positions_for_m_rope(config, tmp_path):
    qwen = {"model_type": "qwen2_vl", "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
            "num_hidden_layers": 2, "max_position_embeddings": 32768, "rope_theta": 1000000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]}}
    path = config(qwen)
    axis = json.loads(ok("explain", path, "--json"))["kinds"][0]["axis_of_pair"]
    assert axis == [0] * 8 + [1] * 12 + [2] * 12
    positions = np.random.default_rng(5).integers(0, 5000, (3, TOKENS))
    case = Case(tmp_path, path, heads(1, Q_HEADS), heads(2, K_HEADS), positions)
    cos, sin = np.empty((TOKENS, 32)), np.empty((TOKENS, 32))
    for stream in range(3):
        c, s = table(LLAMA | {"rope_theta": 1e6}, positions[stream])
        own = [j for j in range(32) if axis[j] == stream]
        cos[:, own], sin[:, own] = c[:, own], s[:, own]
    assert np.abs(case.q - oracle.rotated(case.q_in, cos, sin, interleaved=False)).max() < TOLERANCE["f32"]
    whole = np.repeat(positions[:, None, :], BATCH, axis=1)
    assert np.array_equal(Case(tmp_path, path, heads(1, Q_HEADS), heads(2, K_HEADS), whole).q, case.q)
    equal = np.repeat(np.arange(TOKENS)[None], 3, axis=0)
    as_text = Case(tmp_path, path, heads(1, Q_HEADS), heads(2, K_HEADS), f"0:{TOKENS}")
    assert np.array_equal(Case(tmp_path, path, heads(1, Q_HEADS), heads(2, K_HEADS), equal).q, as_text.q)


def test_no_tokens_and_one_token_are_shapes_like_others(config, tmp_path):
    case = Case(tmp_path, config(), heads(1, Q_HEADS, tokens=1), heads(2, K_HEADS, tokens=1), "12")
    cos, sin = table(LLAMA, np.array([12]))
    assert np.abs(case.q - oracle.rotated(case.q_in, cos, sin, interleaved=False)).max() < TOLERANCE["f32"]
    none = Case(tmp_path, config(), heads(1, Q_HEADS, tokens=0), heads(2, K_HEADS, tokens=0), np.zeros(0, np.int64))
    assert none.raw["q"].shape == (BATCH, 0, Q_HEADS, HEAD_DIM)


def test_threads_change_nothing(config, tmp_path):
    q, k = heads(1, Q_HEADS, tokens=300), heads(2, K_HEADS, tokens=300)
    one = Case(tmp_path, config(), q, k, "0:300", more=["--threads", "1"])
    many = Case(tmp_path, config(), q, k, "0:300", more=["--threads", "3"])
    assert np.array_equal(one.raw["q"], many.raw["q"]) and np.array_equal(one.raw["k"], many.raw["k"])


def test_out_may_be_where_the_input_lies(config, tmp_path):
    q = heads(1, Q_HEADS).astype(np.float32)
    np.save(tmp_path / "q.npy", q)
    for direction in ([], ["--inverse"]):
        ok("rotate", config(), "--q", tmp_path / "q.npy", "--positions", "3:8", "--out", tmp_path, *direction)
    assert np.abs(np.load(tmp_path / "q.npy") - q).max() < 1e-6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "q.npy"]


# ---- what is refused ---------------------------------------------------------------------------------------------------


def attempt(config, tmp_path, q, positions="0:5", *more, says=()):
    path = tmp_path / "q.npy"
    if isinstance(q, bytes):
        path.write_bytes(q)
    else:
        np.save(path, q)
    return refused("rotate", config(), "--q", path, "--positions", positions, "--out", tmp_path / "out", *more, says=says)


def test_wrong_shapes_are_refused(config, tmp_path):
    good = heads(1, Q_HEADS).astype(np.float32)
    attempt(config, tmp_path, good[0], says=("q.npy", "[batch, tokens, heads, head_dim]", "[5, 4, 64]"))
    attempt(config, tmp_path, good, "0:5", "--layout", "thd", says=("q.npy", "[tokens, heads, head_dim]"))
    attempt(config, tmp_path, good[..., :32], says=("q.npy", "head_dim", "64", "32"))
    attempt(config, tmp_path, good, "0:6", says=("--positions", "5", "6"))
    attempt(config, tmp_path, good, "0:9223372036854775807", says="--positions")
    attempt(config, tmp_path, good, "0:5", "--layout", "dhsb", says="--layout")
    np.save(tmp_path / "k.npy", good[:, :4])
    attempt(config, tmp_path, good, "0:5", "--k", tmp_path / "k.npy", says="k.npy")
    np.save(tmp_path / "k.npy", good.astype(np.float16))
    for shape in ((3, TOKENS), (BATCH, TOKENS + 1), (TOKENS + 1,), (1, BATCH, TOKENS), ()):
        np.save(tmp_path / "p.npy", np.zeros(shape, np.int64))
        attempt(config, tmp_path, good, tmp_path / "p.npy", says=("--positions", "want the shape"))
    np.save(tmp_path / "p.npy", np.zeros(TOKENS, np.float32))
    attempt(config, tmp_path, good, tmp_path / "p.npy", says=("p.npy", "int64", "float64", "float32"))
    for wild in (np.nan, np.inf):
        np.save(tmp_path / "p.npy", np.full(TOKENS, wild))
        attempt(config, tmp_path, good, tmp_path / "p.npy", says=("p.npy", "finite"))
    np.save(tmp_path / "p.npy", np.zeros((3, TOKENS)))
    attempt(config, tmp_path, good, tmp_path / "p.npy", says=("--positions", "want the shape"))


def test_wrong_dtypes_are_refused(config, tmp_path):
    good = heads(1, Q_HEADS)
    attempt(config, tmp_path, good, says=("q.npy", "float64"))
    attempt(config, tmp_path, to_bf16(good), says=("q.npy", "--dtype bf16"))
    attempt(config, tmp_path, good.astype(np.float32), "0:5", "--dtype", "bf16", says=("q.npy", "uint16", "float32"))
    attempt(config, tmp_path, good.astype(np.float16), "0:5", "--dtype", "f32", says=("q.npy", "float16"))
    attempt(config, tmp_path, good.astype(">f4"), says=("q.npy", "little-endian", ">f4"))
    attempt(config, tmp_path, np.asfortranarray(good.astype(np.float32)), says=("q.npy", "Fortran"))
    attempt(config, tmp_path, np.zeros(3, [("a", "f4"), ("b", "i4")]), says=("q.npy", "structured"))


def header(text, version=(1, 0), length=None):
    encoded = text.encode() + b"\n"
    size = len(encoded) if length is None else length
    return b"\x93NUMPY" + bytes(version) + size.to_bytes(2 if version[0] == 1 else 4, "little") + encoded


@pytest.mark.parametrize("hostile", [
    b"",
    b"\x93NUMPY",
    b"PK\x03\x04 not an array at all",
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 5, 4, 64), }"),                           # truncated
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 5, 4, 64), }", (9, 0)),                   # no such version
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 64), }") + bytes(257),              # bytes left over
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4, 64), }"),         # wraps 64 bits
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2, 2, 2), }"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 5, 4, 64), }"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 1000 + "), }"),
    header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,", (2, 0), 2**32 - 1),                     # header beyond file
    header("{'descr': '<f4', 'fortran_order': False}"),
    header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}"),
    header("{'descr': '<f4', 'fortran_order': Maybe, 'shape': ()}"),
    header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + bytes(8),                            # objects
    header("{'descr': '" + "x" * 60000),
    header("__import__('os').system('true')"),
    header("{" * 30000),
])
def test_hostile_npy_files_are_refused(config, tmp_path, hostile):
    attempt(config, tmp_path, hostile, says="q.npy")


def test_npy_versions_2_and_3_are_read(config, tmp_path):
    q = heads(1, Q_HEADS).astype(np.float32)
    want = Case(tmp_path, config(), q, q, "3:8").raw["q"]
    for version in ((2, 0), (3, 0)):
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 5, 4, 64), }"
        (tmp_path / "q2.npy").write_bytes(header(text, version) + q.tobytes())
        ok("rotate", config(), "--q", tmp_path / "q2.npy", "--positions", "3:8", "--out", tmp_path / "out")
        assert np.array_equal(np.load(tmp_path / "out" / "q.npy"), want)


def test_a_sparse_file_beyond_memory_is_refused(config, tmp_path):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {2**34}, 1, 64), }}"
    path = tmp_path / "q.npy"
    path.write_bytes(header(text))
    import os

    os.truncate(path, path.stat().st_size + 2**34 * 64 * 4)
    refused("rotate", config(), "--q", path, "--positions", "0:5", "--out", tmp_path / "out", says=("q.npy", "memory"))


def test_places_that_cannot_be_written_are_refused(config, tmp_path):
    np.save(tmp_path / "q.npy", heads(1, Q_HEADS).astype(np.float32))
    arguments = ("rotate", config(), "--q", tmp_path / "q.npy", "--positions", "0:5", "--out")
    refused(*arguments, tmp_path / "q.npy", says="--out")
    refused(*arguments, "/proc/nothing", says="--out")
    (tmp_path / "out" / "q.npy").mkdir(parents=True)
    refused(*arguments, tmp_path / "out", says="q.npy")


def test_an_attention_factor_of_nothing_cannot_be_undone(tmp_path, config):
    scaling = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096, "attention_factor": 0.0}
    path = config(LLAMA | {"rope_scaling": scaling})
    np.save(tmp_path / "q.npy", np.ones((1, 2, 4, 64), np.float32))
    refused("rotate", path, "--q", tmp_path / "q.npy", "--positions", "0:2", "--inverse", "--out", tmp_path / "out",
            says=("--inverse", "got 0"))


def test_a_header_of_endless_empty_rows_ends(tmp_path, config):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 5, 0, 64), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    (tmp_path / "q.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    done = run("rotate", config(), "--q", tmp_path / "q.npy", "--positions", "0:5", "--out", tmp_path / "out", timeout=20)
    assert done.returncode in (0, 2) and done.stderr.count("\n") <= 1


def test_a_refused_array_leaves_no_folder(config, tmp_path):
    refused("rotate", config(LLAMA), "--q", tmp_path / "none.npy", "--positions", "0:3", "--out", tmp_path / "new" / "er")
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_written_leaves_no_folder(config, tmp_path):
    """Those above --out go again with it, and those that were there stay."""
    np.save(tmp_path / "q.npy", np.ones((1, 64, Q_HEADS, HEAD_DIM), np.float32))
    arguments = ("rotate", config(), "--q", tmp_path / "q.npy", "--positions", "0:64", "--out")
    before = sorted(tmp_path.iterdir())
    refused(*arguments, tmp_path / "new" / "er" / ("x" * 256), says="--out")
    assert sorted(tmp_path.iterdir()) == before
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))  # noqa: E731
    for out in (tmp_path / "new" / "er" / "est", tmp_path / "new" / ".." / "newer"):
        done = run(*arguments, out, preexec_fn=limit)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "q.npy" in done.stderr
        assert sorted(tmp_path.iterdir()) == before
    assert run(*arguments, f"{tmp_path}/new//", preexec_fn=limit).stderr.startswith(f"ropewalk: {tmp_path}/new/q.npy: ")
    (tmp_path / "there").mkdir()
    assert run(*arguments, tmp_path / "there" / "new", preexec_fn=limit).returncode == 1
    assert list((tmp_path / "there").iterdir()) == []
    ok(*arguments, tmp_path / "new" / "er" / "")
    assert [path.name for path in (tmp_path / "new" / "er").iterdir()] == ["q.npy"]
