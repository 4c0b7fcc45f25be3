"""The core of the package: arrays in and out, positions however they are said, and what is refused."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import ropewalk
from ropewalk import Rotary, RotarySpec, YarnScaling

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed here")

SPEC = RotarySpec(head_dim=64, theta=10000.0)
rng = np.random.default_rng(0)


def by_formula(x, positions, rotary):
    """Halves, [batch, tokens, heads, head_dim], in float64."""
    angle = np.asarray(positions, np.float64)[..., None, None] * rotary.inv_freq
    x0, x1 = np.split(x.astype(np.float64), 2, axis=-1)
    m = rotary.attention_factor
    return np.concatenate([x0 * np.cos(angle) - x1 * np.sin(angle), x1 * np.cos(angle) + x0 * np.sin(angle)], -1) * m


def heads(*shape):
    return rng.standard_normal(shape, np.float32)


@pytest.mark.parametrize("scaling", [ropewalk.NoScaling(), YarnScaling(4.0, 2048)])
def test_queries_and_keys_turn_as_the_formula_says(scaling):
    rotary = Rotary(replace(SPEC, scaling=scaling))
    q, k = heads(2, 7, 4, 64), heads(2, 7, 2, 64)
    before = q.copy()
    positions = rng.integers(-1000, 1000, (2, 7))
    for x, got in zip((q, k), rotary.apply(q, k, position_ids=positions)):
        np.testing.assert_allclose(got, by_formula(x, positions, rotary), atol=2e-6)
    assert (q == before).all()
    np.testing.assert_allclose(rotary.inverse(rotary.apply(q)), q, atol=2e-6)


def test_every_order_of_axes_is_the_same_call():
    rotary = Rotary(SPEC)
    x = heads(2, 5, 3, 64)
    wanted = rotary.apply(x)
    for layout, axes in {"bhsd": (0, 2, 1, 3), "sbhd": (1, 0, 2, 3)}.items():
        got = rotary.apply(x.transpose(axes), layout=layout)
        assert (got.transpose(np.argsort(axes)) == wanted).all(), layout
    assert (rotary.apply(x[0], layout="thd") == wanted[0]).all()


def test_in_place_writes_through_any_strides_and_gives_the_array_back():
    rotary = Rotary(SPEC)
    memory = heads(2, 5, 3, 3, 64)
    wanted = rotary.apply(memory[:, :, 1])
    rest = memory[:, :, ::2].copy()
    assert rotary.apply_(memory[:, :, 1]).base is not None
    assert (memory[:, :, 1] == wanted).all() and (memory[:, :, ::2] == rest).all()


@pytest.mark.parametrize("kind", ["int64", "int32", "list", pytest.param("torch", marks=needs_torch)])
def test_positions_in_every_dtype(kind):
    rotary = Rotary(SPEC)
    x, numbers = heads(1, 3, 1, 64), [5, 10**7, 0]
    ids = {"int64": np.array, "int32": lambda x: np.array(x, np.int32), "list": list, "torch": lambda x: torch.tensor(x)}[kind](numbers)
    assert (rotary.apply(x, position_ids=ids) == rotary.apply(x, position_ids=np.array([numbers]))).all()


def test_offsets_and_packed_sequences():
    rotary = Rotary(SPEC)
    x = heads(2, 8, 1, 64)
    rows = np.stack([np.arange(3, 11), np.arange(100, 108)])
    assert (rotary.apply(x, seqlen_offsets=[3, 100]) == rotary.apply(x, position_ids=rows)).all()
    assert (rotary.apply(x, seqlen_offsets=3) == rotary.apply(x, position_ids=rows[0])).all()
    packed = rotary.apply(x[0], layout="thd", cu_seqlens=[0, 3, 8])
    assert (packed == rotary.apply(x[0], layout="thd", position_ids=[0, 1, 2, 0, 1, 2, 3, 4])).all()


def test_streams_of_positions_and_coordinates():
    spec = RotarySpec(head_dim=8, theta=100.0, axis_of_pair=(0, 1, 0, 1))
    rotary = Rotary(spec)
    x = heads(1, 3, 2, 8)
    text = np.array([4, 5, 6])
    assert (rotary.apply(x, position_ids=text) == rotary.apply(x, position_ids=np.stack([text, text])[:, None])).all()
    grid = np.array([[[0, 0, 1]], [[0, 1, 0]]])
    np.testing.assert_allclose(rotary.apply(x, position_ids=grid), rotary.apply(x, position_ids=grid.astype(float)), atol=1e-6)


@needs_torch
@pytest.mark.parametrize("name, atol", [("float32", 2e-6), ("bfloat16", 0.02), ("float16", 2e-3)])
def test_torch_tensors_stay_tensors_of_their_dtype(name, atol):
    rotary, dtype = Rotary(SPEC), getattr(torch, name)
    x = torch.randn(1, 6, 2, 64).to(dtype)
    got = rotary.apply(x)
    assert isinstance(got, torch.Tensor) and got.dtype == dtype
    exact = by_formula(x.float().numpy(), np.arange(6)[None], rotary)
    np.testing.assert_allclose(got.float().numpy(), exact, atol=atol)


@needs_torch
def test_bfloat16_of_numpy():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    x = heads(1, 3, 2, 64).astype(bfloat16)
    got = Rotary(SPEC).apply(x)
    wanted = Rotary(SPEC).apply(torch.from_numpy(x.astype(np.float32)).bfloat16())
    assert got.dtype == bfloat16 and (got.astype(np.float32) == wanted.float().numpy()).all()


def test_a_table_holds_what_apply_forms():
    rotary = Rotary(SPEC)
    ones = np.concatenate([np.ones((1, 4, 1, 32)), np.zeros((1, 4, 1, 32))], -1).astype(np.float32)
    cos, sin = rotary.cos_sin([0, 3, 10**7, -5])
    turned = rotary.apply(ones, position_ids=[0, 3, 10**7, -5])[0, :, 0]
    assert (turned == np.concatenate([cos, sin], -1)).all()


def test_it_can_be_pickled_compared_and_hashed():
    rotary = Rotary(replace(SPEC, scaling=YarnScaling(4.0, 2048)), 5000)
    again = pickle.loads(pickle.dumps(rotary))
    assert again == rotary and hash(again) == hash(rotary) and again.fingerprint == rotary.fingerprint
    assert Rotary(SPEC) != rotary and len({rotary, again, Rotary(SPEC)}) == 2


CONFIG = {"model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "rope_theta": 5e5, "num_hidden_layers": 2}


def test_a_checkpoint_however_it_comes(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    sources = [CONFIG, tmp_path, str(tmp_path / "config.json")]
    try:
        from transformers import LlamaConfig
    except ImportError:
        pass
    else:
        sources.append(LlamaConfig(hidden_size=256, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5}))
    rotaries = {Rotary.from_config(source) for source in sources}
    assert len(rotaries) == 1 and rotaries.pop().spec == RotarySpec(head_dim=64, theta=5e5)
    page = ropewalk.explain(CONFIG)
    assert "rope_theta=500000" in page and "hidden_size / num_attention_heads" in page


def test_layers_that_turn_differently_have_to_be_named():
    gemma = {"model_type": "gemma3_text", "head_dim": 256, "hidden_size": 640, "num_attention_heads": 4, "num_hidden_layers": 6,
             "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    with pytest.raises(ropewalk.Error, match="kind: want one of"):
        Rotary.from_config(gemma)
    assert Rotary.from_config(gemma, layer=0).spec.theta == 1e4 and Rotary.from_config(gemma, layer=5).spec.theta == 1e6
    with pytest.raises(ropewalk.Error, match=r"layer: want one in \[0, 6\), got 6"):
        Rotary.from_config(gemma, layer=6)


X = np.ones((1, 2, 1, 64), np.float32)


class NoArray:
    class dtype:
        name = "bfloat16"

    def view(self, *_):
        raise RuntimeError("no")



@pytest.mark.parametrize("call, words", [
    (lambda: Rotary(SPEC).apply(X, position_ids=[0, 1, 2]), "positions.tokens: want 2, got 3"),
    (lambda: Rotary(SPEC).apply(X[0]), r"q: want \[batch, tokens, heads, head_dim\]"),
    (lambda: Rotary(SPEC).apply(X, X[..., :32]), "^k.head_dim: want 64, got 32"),
    (lambda: Rotary(SPEC).apply(X, np.ones((2, 2, 1, 64), np.float32)), "^k.batch: want 1, got 2"),
    (lambda: Rotary(SPEC).apply_(X, X), "^k: want memory apart from q"),
    (lambda: Rotary(SPEC).apply(NoArray()), "^q: want an array"),
    (lambda: Rotary(SPEC).apply(X.astype(np.float64)), "q: want float32, bfloat16 or float16"),
    (lambda: Rotary(SPEC).apply(X.swapaxes(1, 3)), "side by side"),
    (lambda: Rotary(SPEC).apply("q"), "q: want an array .*got str"),
    (lambda: Rotary(SPEC).apply(X, layout="bsdh"), "layout: want"),
    (lambda: Rotary(SPEC).apply(X, position_ids=[0, 1], seqlen_offsets=1), "position_ids: want one word"),
    (lambda: Rotary(SPEC).apply(X, position_ids=np.array(["a", "b"])), "position_ids: want"),
    (lambda: Rotary(SPEC).apply(X, seqlen_offsets=2**63), "seqlen_offsets: want a whole number of 64 bits"),
    (lambda: Rotary(SPEC).apply(X, threads=-1), "threads: want a number >= 0"),
    pytest.param(lambda: Rotary(SPEC).apply(torch.ones(1, 2, 1, 64, requires_grad=True)), "q: want a tensor without gradient", marks=needs_torch),
    pytest.param(lambda: Rotary(SPEC).apply(torch.ones(1, 2, 1, 64, device="meta")), "q: want an array", marks=needs_torch),
    (lambda: Rotary(SPEC).apply_(np.broadcast_to(X, (3, 2, 1, 64))), "q: want an array that can be written"),
    (lambda: Rotary(SPEC).apply(X, cu_seqlens=[0, 3], layout="bshd"), "cu_seqlens: want it to end at 2"),
    (lambda: Rotary(replace(SPEC, theta=-1.0)), "theta: want a number > 1, got -1"),
    (lambda: Rotary(replace(SPEC, scaling=YarnScaling(0.5, 2048))), "scaling.factor: want"),
    (lambda: Rotary(replace(SPEC, scaling="yarn")), "scaling: want one of the scaling classes"),
    (lambda: Rotary(replace(SPEC, axis_of_pair=(1, "x"))), r"axis_of_pair\[1\]: want a number, got 'x'"),
    (lambda: Rotary(replace(SPEC, numerics="float")), "numerics: want one of \"exact\", \"fp32\""),
    (lambda: Rotary(CONFIG), "spec: want a RotarySpec"),
    (lambda: ropewalk.read_positions({"model_type": "llamma"}), "llama"),
    (lambda: ropewalk.read_positions("/nowhere/config.json"), "nowhere"),
])
def test_what_is_wrong_is_refused_by_name(call, words):
    with pytest.raises(ropewalk.Error, match=words) as caught:
        call()
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    rotary = Rotary(RotarySpec(head_dim=np.int64(8), theta=np.float64(1e4), rotary_dim=np.int32(4), axis_of_pair=np.array([0, 1])))
    assert rotary.spec == RotarySpec(head_dim=8, theta=1e4, rotary_dim=4, axis_of_pair=(0, 1))
    assert pickle.loads(pickle.dumps(rotary)) == rotary


def test_numbers_of_numpy_are_numbers_in_a_config_too():
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 2, "rope_theta": 1e4, "max_position_embeddings": 128}
    counted = config | {"hidden_size": np.int64(64), "rope_theta": np.float32(1e4), "torch_dtype": np.dtype(np.float32)}
    assert Rotary.from_config(counted) == Rotary.from_config(config)


def test_threads_turn_at_once():
    """64 of them through one operator give the bits of one."""
    from concurrent.futures import ThreadPoolExecutor

    rotary = Rotary(SPEC)
    x = heads(1, 300, 4, 64)
    wanted = rotary.apply(x, seqlen_offsets=7)
    with ThreadPoolExecutor(64) as pool:
        for got in pool.map(lambda _: rotary.apply(x, seqlen_offsets=7), range(256)):
            assert (got == wanted).all()


@pytest.mark.parametrize("heads", (2, 64))
def test_threads_that_still_turn_when_the_interpreter_ends_do_not_abort_it(heads):
    code = f"""
import threading, time, numpy as np, ropewalk
rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=64, theta=10000.0))
def turn():
    x = np.zeros((1, 64, {heads}, 64), np.float32)
    while True:
        rotary.apply_(x)
for _ in range(4):
    threading.Thread(target=turn, daemon=True).start()
time.sleep(0.1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_process_turns_without_its_parents_threads():
    code = """
import multiprocessing, numpy as np, ropewalk
rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=64, theta=10000.0))
x = np.ones((1, 512, 16, 64), np.float32)
turned = rotary.apply(x, threads=2)
def same(i):
    return np.array_equal(turned, rotary.apply(x, threads=2))
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(pool.map_async(same, range(4)).get(timeout=20))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("refused", [
    lambda: Rotary.from_config(CONFIG, layer=99), lambda: Rotary(SPEC).apply(heads(2, 5, 3, 8)), lambda: Rotary(replace(SPEC, theta=0.0)),
])
def test_every_error_has_its_code_and_path(refused):
    with pytest.raises(ropewalk.Error) as error:
        refused()
    assert error.value.code == "invalid" and str(error.value).startswith(error.value.path + ": want ") and error.value.path
    with pytest.raises(AttributeError):
        error.value.nothing_of_this_name
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.code, again.path) == (str(error.value), error.value.code, error.value.path)


def test_an_array_of_another_dtype_is_refused_by_its_dtype():
    rotary = Rotary(SPEC)
    x = heads(2, 5, 3, 64)
    for wrong, word in ((x.astype(np.float64), "float64"), (x.astype(">f4"), ">f4"), (x.astype(object), "object"), (x > 0, "bool")):
        with pytest.raises(ropewalk.Error, match=f"^q: want .*{word}"):
            rotary.apply(wrong)
    for wrong, word in ((np.arange(5, dtype=np.uint16), "uint16"), (np.arange(5) > 2, "bool"), (np.arange(5, dtype=">i8"), ">i8")):
        with pytest.raises(ropewalk.Error, match=f"^position_ids: want .*{word}"):
            rotary.apply(x, position_ids=wrong)


@pytest.mark.parametrize("none", ([], np.zeros(0, np.int64)))
def test_no_offsets_are_not_offsets_of_zero(none):
    with pytest.raises(ropewalk.Error, match="seqlen_offsets: want 1 entry or one a row .2., got none"):
        Rotary(SPEC).apply(heads(2, 5, 3, 64), seqlen_offsets=none)
    assert Rotary(SPEC).apply(heads(0, 5, 3, 64), seqlen_offsets=none).shape == (0, 5, 3, 64)
