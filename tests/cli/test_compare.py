"""ropewalk compare: the known divergences, located; and what it must not find."""

import json
import os
import re
import subprocess

import ml_dtypes
import mpmath
import numpy as np
import pytest
from tool import BINARY, LLAMA, ROOT, SCALED, ok, refused, run

GPT_OSS = {
    "model_type": "gpt_oss", "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "num_hidden_layers": 36, "max_position_embeddings": 131072, "sliding_window": 128, "rope_theta": 150000,
    "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0,
                     "beta_slow": 1.0, "truncate": False},
}


def compared(*arguments) -> dict:
    return json.loads(ok("compare", *arguments, "--json"))


def gap(theta_a: float, theta_b: float, dim: int, position: int, factor: float = 1.0) -> np.ndarray:
    """How far apart two plain ladders leave each pair, in double."""
    j = np.arange(0, dim, 2) / dim
    return factor * np.abs(2 * np.sin(position * (theta_a**-j - theta_b**-j) / 2))


@pytest.mark.parametrize("name", SCALED)
def test_a_checkpoint_is_itself(config, name):
    path = config(SCALED[name])
    found = compared(path, path)
    assert found["same"] and all(kind["same"] and kind["pairs"] == [] for kind in found["kinds"])
    assert "the same" in ok("compare", path, path, "--check")


def test_two_spellings_are_one(config):
    flat = config(SCALED["llama3"], "a.json")
    later = {key: value for key, value in SCALED["llama3"].items() if key not in ("rope_theta", "rope_scaling")}
    later["rope_parameters"] = SCALED["llama3"]["rope_scaling"] | {"rope_theta": 500000.0}
    assert compared(flat, config(later, "b.json"))["same"]


def test_another_base_is_found_at_its_first_position(config):
    a, b = config(LLAMA, "a.json"), config(LLAMA | {"rope_theta": 501000.0}, "b.json")
    kind = compared(a, b, "--lengths", "3000", "--tolerance", "0.01")["kinds"][0]
    assert kind["length"] == 3000 and not kind["same"]
    every = np.stack([gap(500000.0, 501000.0, 64, p) for p in range(3000)])
    for j in range(32):
        over = np.flatnonzero(every[:, j] > 0.01)
        entry = [one for one in kind["pairs"] if one["pair"] == j]
        assert bool(entry) == bool(over.size), j
        if entry:
            assert entry[0]["first_position"] == over[0]
            assert entry[0]["largest"] == pytest.approx(every[:, j].max(), rel=1e-9)
    assert kind["first_position"] == min(one["first_position"] for one in kind["pairs"])


def test_llama_cpp_widens_the_ramp_of_gpt_oss(config):
    found = compared(config(GPT_OSS), "--as", "llama.cpp")
    assert [one["id"] for one in found["b"]["departures"]] == ["B-3"]
    # The ramp from 8.09 to 17.4 begins at pair 9, the one from 8 to 18 ends with pair 17.
    assert [one["pair"] for one in found["kinds"][-1]["pairs"]] == list(range(9, 18))
    assert compared(config(GPT_OSS), "--as", "vllm")["same"]


def test_vllm_has_one_dynamic_base(config):
    path = config(LLAMA | {"rope_theta": 10000.0, "max_position_embeddings": 4096,
                           "rope_scaling": {"type": "dynamic", "factor": 2.0}})
    at = {kind["length"]: kind for kind in compared(path, "--as", "vllm", "--lengths", "4k,8k,16k")["kinds"]}
    assert at[8192]["same"] and not at[4096]["same"] and not at[16384]["same"]
    assert compared(path, "--as", "llama.cpp", "--lengths", "4k")["same"]
    assert not compared(path, "--as", "llama.cpp", "--lengths", "8k")["same"]


def test_longrope_is_chosen_by_the_configured_length(config):
    path = config(SCALED["longrope"])
    short = compared(path, "--as", "vllm", "--context", "4k", "--lengths", "4k,128k")["kinds"]
    long = compared(path, "--as", "vllm", "--context", "128k", "--lengths", "4k,128k")["kinds"]
    assert [kind["same"] for kind in short] == [True, False]
    assert [kind["same"] for kind in long] == [False, True]


def test_llama_cpp_takes_8192_for_llama_3(config):
    other = LLAMA | {"rope_scaling": SCALED["llama3"]["rope_scaling"] | {"original_max_position_embeddings": 4096},
                     "max_position_embeddings": 32768}
    assert compared(config(SCALED["llama3"], "a.json"), "--as", "llama.cpp")["same"]
    found = compared(config(other, "b.json"), "--as", "llama.cpp")
    assert found["b"]["departures"][0]["id"] == "B-10" and not found["same"]


def test_the_leftover_pairs_of_three_interleaved_axes_stand_still_in_ggml(config):
    path = config({"model_type": "qwen3_vl_text", "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128,
                   "num_hidden_layers": 2, "max_position_embeddings": 262144, "rope_theta": 5000000,
                   "rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True}})
    kind = compared(path, "--as", "llama.cpp")["kinds"][0]
    assert [one["pair"] for one in kind["pairs"]] == [61, 62]


def test_layouts_are_a_difference_without_an_angle(config):
    half = config(LLAMA | {"rope_theta": 10000.0}, "a.json")
    adjacent = config({"model_type": "cohere", "hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 3,
                       "max_position_embeddings": 8192, "rope_theta": 10000.0}, "b.json")
    kind = compared(half, adjacent)["kinds"][0]
    assert kind["pairs"] == [] and not kind["same"]
    assert {"what": "pair_layout", "a": "half", "b": "interleaved"} in kind["structure"]


def test_what_a_float32_phase_costs(config):
    path = config(LLAMA | {"rope_theta": 10000.0})
    found = compared(path, "--as", "hf", "--numerics", "exact,fp32", "--lengths", "4k,1m")["kinds"]
    assert found[0]["same"]
    assert 0.01 < found[1]["largest"] < 0.1 and found[1]["first_position"] > 8192


def exact_points(positions, theta, pairs):
    with mpmath.workdps(60):
        return np.array([[complex(mpmath.expj(position * mpmath.power(theta, mpmath.mpf(-j) / pairs))) for j in range(pairs)]
                         for position in positions])


def test_positions_that_are_asked_for_show_every_pair(config):
    """Against the float32 chain written out, and bfloat16 of another package."""
    path = config(LLAMA | {"rope_theta": 10000.0})
    positions = [0, 1, 4097, 999_999, 2**24 + 1, 10**9, 2**36]
    inv_freq = np.float32(1) / (10000.0 ** np.arange(0, 1, 1 / 32)).astype(np.float32)
    angles = (np.array(positions).astype(np.float32)[:, None] * inv_freq).astype(np.float64)
    exact = exact_points(positions, 10000, 32)
    rounded = [part.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64) for part in (np.cos(angles), np.sin(angles))]
    for numerics, theirs in [("fp32", np.exp(1j * angles)), ("bf16", rounded[0] + 1j * rounded[1])]:
        want = np.abs(theirs - exact)
        (kind,) = compared(path, "--numerics", f"exact,{numerics}", "--at", ",".join(map(str, positions)))["kinds"]
        assert [one["position"] for one in kind["at"]] == positions
        got = np.array([one["apart"] for one in kind["at"]])
        assert np.abs(got - want).max() < 1e-6
        assert [one["largest"] for one in kind["at"]] == list(got.max(axis=1))
        assert [one["pair"] for one in kind["at"]] == list(got.argmax(axis=1))
        assert [one["pair"] for one in kind["pairs"]] == list(np.flatnonzero(got.max(axis=0) > 1e-3))
    (kind,) = compared(path, path, "--at", "0,1000000000")["kinds"]
    assert kind["same"] and not np.any([one["apart"] for one in kind["at"]])


def test_a_position_has_the_distance_that_its_length_has(config):
    path = config(LLAMA | {"rope_theta": 10000.0})
    for numerics in ("exact,fp32", "exact,bf16", "bf16,fp32"):
        (kind,) = compared(path, "--numerics", numerics, "--lengths", "40000")["kinds"]
        worst = max(kind["pairs"], key=lambda one: one["largest"])
        (again,) = compared(path, "--numerics", numerics, "--at", str(worst["largest_at"]))["kinds"]
        assert again["at"][0]["largest"] == worst["largest"] and again["at"][0]["pair"] == worst["pair"]


def test_kinds_are_matched_by_name(config):
    gemma = {"model_type": "gemma3_text", "hidden_size": 640, "num_attention_heads": 4, "head_dim": 256,
             "num_hidden_layers": 6, "max_position_embeddings": 32768, "sliding_window": 512, "rope_theta": 1e6,
             "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    a, b = config(gemma, "a.json"), config(gemma | {"rope_local_base_freq": 2e4}, "b.json")
    same = {(kind["name"], kind["same"]) for kind in compared(a, b)["kinds"]}
    assert same == {("full_attention", True), ("sliding_attention", False)}
    assert compared(a, b, "--kind", "full_attention")["same"]
    assert compared(a, config(LLAMA, "c.json"))["unmatched"]


def test_the_layers_of_a_kind_count(config):
    smollm3 = {"model_type": "smollm3", "hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 8,
               "max_position_embeddings": 8192, "rope_theta": 1e4, "no_rope_layer_interval": 4}
    a, b = config(smollm3, "a.json"), config(smollm3 | {"no_rope_layer_interval": 2}, "b.json")
    layers = {kind["name"]: [one for one in kind["structure"] if one["what"] == "layers"] for kind in compared(a, b)["kinds"]}
    assert layers["default"] == [{"what": "layers", "a": "0-2, 4-6 (6)", "b": "0, 2, 4, 6 (4)"}]
    assert layers["nope"] == [{"what": "layers", "a": "3, 7 (2)", "b": "1, 3, 5, 7 (4)"}]


LLAMA4 = {"model_type": "llama4_text", "hidden_size": 256, "num_attention_heads": 2, "num_hidden_layers": 8, "head_dim": 128,
          "max_position_embeddings": 262144, "rope_theta": 500000.0}


@pytest.mark.parametrize("change, theirs", [
    ({"floor_scale": 4096}, "1 + 0.1 ln(1 + floor((p + 1) / 4096))"),
    ({"attn_scale": 0.25}, "1 + 0.25 ln(1 + floor((p + 1) / 8192))"),
    ({"attn_temperature_tuning": False}, "none"),
    ({"attn_temperature_tuning": 0}, "none"),
    ({"attn_scale": 0.0}, "none"),
])
def test_the_query_temperature_of_layers_that_do_not_turn(config, change, theirs):
    a, b = config(LLAMA4, "a.json"), config(LLAMA4 | change, "b.json")
    found = compared(a, b)
    assert not found["same"]
    kinds = {kind["name"]: kind for kind in found["kinds"]}
    assert kinds["default"]["same"]
    assert kinds["nope"]["structure"] == [
        {"what": "query_temperature", "a": "1 + 0.1 ln(1 + floor((p + 1) / 8192))", "b": theirs}]
    assert f"query_temperature: 1 + 0.1 ln(1 + floor((p + 1) / 8192)) | {theirs}" in ok("compare", a, b)
    prints = [json.loads(ok("explain", path, "--json"))["fingerprint"] for path in (a, b)]
    assert prints[0] != prints[1]
    # llama.cpp has the family's own numbers as constants.
    assert compared(a, "--as", "llama.cpp")["same"]
    assert [one["id"] for one in compared(b, "--as", "llama.cpp")["b"]["departures"]] == ["B-25"]


def test_the_family_says_the_temperature_where_the_config_does_not(config):
    said = LLAMA4 | {"attn_temperature_tuning": 4, "attn_scale": 0.1, "floor_scale": 8192}
    assert compared(config(LLAMA4, "a.json"), config(said, "b.json"))["same"]
    without = [config(LLAMA4 | {"attn_temperature_tuning": False}, "a.json"), config(LLAMA4 | {"attn_scale": 0.0}, "b.json")]
    assert compared(*without)["same"]
    # Where every layer turns, nothing asks for it.
    assert compared(config(LLAMA4 | {"no_rope_layers": [1] * 8}, "a.json"),
                    config(said | {"no_rope_layers": [1] * 8, "floor_scale": 1}, "b.json"))["same"]
    refused("explain", config(LLAMA4 | {"attn_temperature_tuning": "yes"}), says="attn_temperature_tuning")
    refused("explain", config(LLAMA4 | {"floor_scale": 0}), says="floor_scale")


def test_pairs_that_one_side_does_not_have_stand_still_there(config):
    neox = {"model_type": "gpt_neox", "hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2,
            "max_position_embeddings": 2048, "rotary_pct": 0.25}
    kind = compared(config(neox, "a.json"), config(neox | {"rotary_pct": 0.5}, "b.json"))["kinds"][0]
    assert set(range(8, 16)) <= {one["pair"] for one in kind["pairs"]}


def test_what_the_top_level_says_is_no_departure_of_llama_cpp(config):
    said = LLAMA | {"rope_scaling": SCALED["llama3"]["rope_scaling"] | {"original_max_position_embeddings": 4096},
                    "original_max_position_embeddings": 4096, "max_position_embeddings": 32768}
    assert compared(config(said), "--as", "llama.cpp")["same"]


def test_wide_heads_and_long_contexts_are_compared_soon_and_say_how_far_they_are(config):
    """2^15 pairs at 2^20 positions: a sine for each would be hours."""
    wide = LLAMA | {"head_dim": 65536, "num_attention_heads": 1, "num_key_value_heads": 1}
    a, b = config(wide, "a.json"), config(wide | {"rope_theta": 500000.5}, "b.json")
    terminal, its_end = os.openpty()
    done = subprocess.run([BINARY, "compare", a, b, "--lengths", "1m", "--json"], stdout=subprocess.PIPE, stderr=its_end, timeout=120)
    os.close(its_end)
    assert re.search(rb"default, 1 048 576 tokens: pair \d+ of 32768", os.read(terminal, 65536))
    os.close(terminal)
    (kind,) = json.loads(done.stdout)["kinds"]
    for one in kind["pairs"][:: len(kind["pairs"]) // 50]:
        j = one["pair"] / 32768
        step = 500000.0**-j - 500000.5**-j
        first = np.ceil(2 * np.arcsin(1e-3 / 2) / step)
        assert one["first_position"] == pytest.approx(first, rel=1e-4, abs=1)
        last = 2 * np.sin(min(step * (2**20 - 1), np.pi) / 2)
        assert one["largest"] == pytest.approx(last, rel=1e-4)


def test_check_is_an_exit_code(config):
    a, b = config(LLAMA, "a.json"), config(LLAMA | {"rope_theta": 10000.0}, "b.json")
    assert run("compare", a, b).returncode == 0
    assert run("compare", a, b, "--check").returncode == 1
    assert run("compare", a, a, "--check").returncode == 0


def test_wrong_words_are_refused(config):
    path = config(LLAMA)
    refused("compare", path, says="--as")
    refused("compare", path, path, "--as", "tgi", says=("--as", "vllm"))
    refused("compare", path, "--as", "", says=("ropewalk: --as: want hf, vllm or llama.cpp, got \"\""))
    refused("compare", path, path, "--a-as", "", says=("ropewalk: --a-as: want hf, vllm or llama.cpp, got \"\""))
    refused("compare", path, path, "--numerics", "fp16", says="ropewalk: --numerics: want exact, fp32, bf16")
    refused("compare", path, "--numerics", "bf16", says="--numerics A,B")
    refused("compare", path, path, "--at", "x", says="--at")
    refused("compare", path, path, "--at", "0:65537", says="want at most 65536 positions, got 65537")
    refused("compare", path, path, "--at", "1", "--lengths", "4k", says="--at: want positions or --lengths, got both")
    refused("compare", path, path, "--tolerance", "0", says="--tolerance")
    refused("compare", path, path, "--kind", "none", says="--kind")
    refused("compare", path, path, "--lengths", "x", says="--lengths")
    refused("compare", path, "nowhere.json", says="nowhere.json")
