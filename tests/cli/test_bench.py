"""`ropewalk bench`: what it prints adds up, and no opponent's misbehaviour ends it. The machine may be busy: no figure is judged here."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree

import pytest
from tool import BINARY, ROOT, hear_signals, ok, refused, run

SMALL = ("--tokens", "1,3", "--seconds", "0.01")
OWN = ("--opponents", "none")
ONE = ("--only", "^in place/float32/half/bshd/32.8x128/3/1 thread$", "--threads", "1", *SMALL)


def bench(*arguments, **options) -> dict:
    return json.loads(ok("bench", *arguments, "--json", **options))


@pytest.fixture
def tmpdir_of_its_own(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def script(tmp_path):
    """Writes an opponent of a few lines that speaks the protocol; `at` replaces what it does there."""

    def write(hello='say(version="fake 1")', prepare='say(max_abs_error=0.25)',
              sample='say(seconds=1e-4, calls=20, cores=1.0)', release="say(released=True)"):
        path = tmp_path / "fake.py"
        path.write_text(f"""
import json, os, sys, time
name, threads = sys.argv[1], int(sys.argv[2])
def say(**content): print(json.dumps(content), flush=True)
def hello(): {hello}
def prepare(case): {prepare}
def sample(seconds): {sample}
def release(_): {release}
hello()
for line in sys.stdin:
    (what, content), = json.loads(line).items()
    {{"prepare": prepare, "sample": sample, "release": release}}[what](content)
""")
        return "--script", path, "--python", sys.executable

    return write


def test_help_names_every_option():
    text = ok("bench", "--help")
    for word in ("--quick", "--full", "--only", "--tokens", "--threads", "--seconds", "--opponents", "--python", "--out", "--json"):
        assert word in text


def test_a_small_run_has_every_key_and_its_ratios_are_those_of_its_times():
    said = bench("--quick", "--threads", "1,2", *SMALL, *OWN)
    assert said["format"] == 1 and said["extent"] == "quick" and said["opponents"] == []
    assert set(said["machine"]) == {"processor", "cores", "caches", "memory_bytes", "huge_pages", "system", "target", "build",
                                    "load_at_start", "load_at_end", "busy"}
    assert said["machine"]["cores"] >= 1 and said["machine"]["memory_bytes"] > 0
    assert set(said["method"]) == {"sample_seconds", "theta", "first_position", "seed"}
    assert len(said["cases"]) == 3 * 2 * 2
    for case in said["cases"]:
        width = 4 if case["dtype"] == "float32" else 2
        assert case["bytes"] == 2 * case["tokens"] * (case["query_heads"] + case["key_heads"]) * case["head_dim"] * width
        assert 1 <= case["ceiling_threads"] <= case["threads"]
        ceiling, own, table = case["contestants"]
        assert [c["name"] for c in case["contestants"]] == ["ceiling", "ropewalk", "ropewalk, given a table"]
        assert ceiling["max_abs_error"] is None
        # A float rounded once is off by 2^-24 of itself, and no normal number here is beyond 8.
        for way in (own, table):
            assert 0 < way["max_abs_error"] < {"float32": 2e-6, "float16": 4e-3, "bfloat16": 4e-2}[case["dtype"]]
        rounds = len(own["seconds"])
        assert rounds >= 5
        for one in case["contestants"]:
            assert one["cannot"] is None and one["calls_a_sample"] >= 1 and len(one["seconds"]) == rounds
            speeds = [case["bytes"] / s / 1e9 for s in one["seconds"]]
            check(one["gigabytes_per_second"], speeds)
            check(one["of_ceiling"], [c / s for c, s in zip(ceiling["seconds"], one["seconds"])])
            check(one["ropewalk_is_faster_by"], [s / o for s, o in zip(one["seconds"], own["seconds"])])


def check(spread, figures):
    assert spread["median"] == pytest.approx(statistics.median(figures))
    assert spread["min"] == pytest.approx(min(figures)) and spread["max"] == pytest.approx(max(figures))


def test_operations_on_caches_do_what_the_formula_says():
    """To the rounding of the cache: a row's largest number is near 3 after the norm's weight and 4 without."""
    said = bench("--full", "--only", "append|shift|rescale", "--threads", "1", "--tokens", "3", "--seconds", "0.01", *OWN)
    bounds = {"bfloat16": 2e-2, "int8": 2.5e-2, "int4": 0.4, "float8_e4m3": 0.2}
    assert len(said["cases"]) == 9
    for case in said["cases"]:
        ceiling, own = case["contestants"]
        operation, _, cache = case["operation"].rpartition(" ")
        assert 1e-4 < own["max_abs_error"] < bounds[cache], case["operation"]
        width = {"bfloat16": 2, "int8": 1, "int4": 0.5, "float8_e4m3": 1}[cache] * case["head_dim"] + 4 * cache.startswith("int")
        rows = 2 * case["tokens"] * case["key_heads"]
        moved = rows * width
        if "append" in operation:  # queries twice, new keys and values once
            moved += 2 * case["tokens"] * (case["query_heads"] + case["key_heads"]) * case["head_dim"] * 2
        assert case["bytes"] == moved


def test_the_table_has_speed_and_error_in_a_row():
    text = ok("bench", *ONE, *OWN)
    row = next(line for line in text.splitlines() if line.split()[:1] == ["ropewalk"] and "e-0" in line)
    assert "e-07" in row and "GB/s" in text and "of ceiling" in text


def test_every_listed_case_has_a_name_of_its_own_and_only_takes_some():
    names = ok("bench", "--full", "--list", "--threads", "1,2").splitlines()
    assert len(names) == len(set(names)) > 100
    for word in ("out of place", "interleaved", "bhsd", "float16", "bfloat16", "/16384/", "6+2x128", "append to int4", "shift in int8", "rescale"):
        assert any(word in name for name in names)
    some = ok("bench", "--full", "--list", "--only", "out of place/.*/64/").splitlines()
    assert some and all("out of place" in name and "/64/" in name for name in some)


@pytest.mark.parametrize("arguments, says", [
    (("--quick", "--full"), "--quick"), (("--seconds", "-1"), "--seconds"), (("--seconds", "nan"), "--seconds"),
    (("--threads", "0"), "--threads"), (("--threads", "1,x"), "--threads"), (("--threads", "1e3"), "--threads"),
    (("--tokens", "0"), "--tokens"), (("--tokens", "2m"), "--tokens"), (("--only", "["), "--only"),
    (("--only", "no such case"), "--only"), (("--opponents", "abacus"), "abacus"), (("--opponents", ""), "--opponents"),
    (("--opponents", "jax", "--python", "/no/python"), "--python"), (("--opponents", "jax", "--script", "/no/script"), "--script"),
    (("--timeout", "0"), "--timeout"), (("--out", "/dev/null"), "--out"), (("--loud",), "--loud"),
])
def test_wrong_input_is_refused_before_anything_is_measured(arguments, says):
    refused("bench", *arguments, says=says, timeout=10)


def test_a_target_that_cannot_be_followed_is_refused():
    refused("bench", *OWN, says="ROPEWALK_TARGET", env={"ROPEWALK_TARGET": "abacus"})


def test_the_target_in_use_is_named():
    assert bench(*ONE, *OWN, env={"ROPEWALK_TARGET": "scalar"})["machine"]["target"] == "scalar"


def test_out_has_the_results_and_pictures_that_are_xml(tmp_path):
    folder = tmp_path / "a" / "results"
    for n in (1, 2):
        ok("bench", "--quick", "--threads", "1,2", *SMALL, *OWN, "--only", "32.8x128/(1|3)/" if n == 1 else "/3/", "--out", folder)
        assert len(list(folder.glob("*.json"))) == n, "a second run of a day does not replace the first"
    assert len(list(folder.iterdir())) == 6
    for path in folder.glob("*.json"):
        assert json.loads(path.read_text())["cases"]
    for path in folder.glob("*.svg"):
        root = xml.etree.ElementTree.parse(path).getroot()
        texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
        for word in ("float32", "bfloat16", "float16", "ceiling", "ropewalk", "tokens"):
            assert word in texts
        assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 3 * 2 * (1 if "-2-threads" in path.name else 2)


def test_a_run_without_the_picture_s_cases_writes_none(tmp_path):
    ok("bench", "--only", "6.2x128/3/1 thread", "--threads", "1", *SMALL, *OWN, "--out", tmp_path / "r")
    assert [p.suffix for p in (tmp_path / "r").iterdir()] == [".json"]


# ---- opponents


def contestant(said, name):
    return next(c for c in said["cases"][0]["contestants"] if c["name"] == name)


def test_an_opponent_is_asked_and_stands_in_the_same_row(script, tmpdir_of_its_own):
    said = bench(*ONE, "--opponents", "jax,ggml", *script())
    assert [(o["name"], o["version"], o["unavailable"]) for o in said["opponents"]] == [("JAX jit", "fake 1", None), ("ggml", "fake 1", None)]
    jax = contestant(said, "JAX jit")
    assert jax["max_abs_error"] == 0.25 and jax["calls_a_sample"] == 20 and set(jax["seconds"]) == {1e-4}
    own = contestant(said, "ropewalk")
    assert jax["ropewalk_is_faster_by"]["median"] == pytest.approx(statistics.median(1e-4 / s for s in own["seconds"]))
    assert list(tmpdir_of_its_own.iterdir()) == []


def test_the_case_is_told_whole(script):
    said = bench(*ONE, "--opponents", "jax", *script(prepare="say(cannot=json.dumps(case, sort_keys=True))"))
    case = json.loads(contestant(said, "JAX jit")["cannot"])
    assert case == {"in_place": True, "dtype": "float32", "layout": "half", "order": "bshd", "tokens": 3, "query_heads": 32, "key_heads": 8,
                    "head_dim": 128, "theta": 500000.0, "first_position": 100000, "seed": 1}


@pytest.mark.parametrize("at, says", [
    ({"hello": 'say(unavailable="no such package")'}, "no such package"),
    ({"hello": "sys.exit('gone at once')"}, "gone at once"),
    ({"hello": "print('hello')"}, "hello"),
    ({"hello": "say(hello=1)"}, "version"),
    ({"prepare": 'say(cannot="three tokens")'}, "three tokens"),
    ({"prepare": "os.abort()"}, "signal 6"),
    ({"prepare": "say(seconds=1.0)"}, "max_abs_error"),
    ({"sample": "print('[1, 2')"}, "[1, 2"),
    ({"sample": "say(seconds=-1.0, calls=1, cores=1.0)"}, "seconds > 0"),
    ({"sample": "say(seconds='1', calls=1, cores=1.0)"}, "seconds"),
    ({"sample": "sys.exit(3)"}, "exit code 3"),
    ({"sample": "time.sleep(60)"}, "--timeout"),
    ({"sample": "print('x' * (3 << 20))"}, "1 MiB"),
    ({"sample": "import fcntl; fcntl.fcntl(1, 1031, 1 << 20); print('x' * ((1 << 20) + 1))"}, "1 MiB"),  # F_SETPIPE_SZ: it comes whole
    ({"sample": '''print('{"seconds": ' + '[' * 400000 + ']' * 400000 + '}')'''}, "seconds"),
    ({"prepare": '''print('{"max_abs_error": 1e999}')'''}, "JSON"),
])
def test_an_opponent_that_fails_costs_its_own_figures_alone(script, tmpdir_of_its_own, at, says):
    patience = ("--timeout", "1.5") if "--timeout" in says else ()
    said = bench(*ONE, "--opponents", "jax", *patience, *script(**at))
    jax = next((c for c in said["cases"][0]["contestants"] if c["name"] == "JAX jit"), None)
    why = jax["cannot"] if jax else said["opponents"][0]["unavailable"]
    assert says in why
    assert contestant(said, "ropewalk")["cannot"] is None
    assert list(tmpdir_of_its_own.iterdir()) == []


def test_one_that_dies_is_started_anew_for_the_next_case(script):
    dies_once = script(prepare="os.abort() if case['tokens'] == 1 else say(max_abs_error=0.5)")
    said = bench("--only", "^in place/float32/half/bshd/32.8x128/", "--threads", "1", *SMALL, "--opponents", "jax", *dies_once)
    one, three = (next(c for c in case["contestants"] if c["name"] == "JAX jit") for case in said["cases"])
    assert "signal 6" in one["cannot"] and three["cannot"] is None and three["max_abs_error"] == 0.5


def test_an_opponent_s_control_characters_do_not_reach_the_terminal(script):
    text = ok("bench", *ONE, "--opponents", "jax", *script(hello=r"say(version='\x1b[2J')", prepare=r"say(cannot='\x1b]0;')"))
    assert "\x1b" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(script, tmp_path, tmpdir_of_its_own, number):
    mark = tmp_path / "asked"
    slow = script(sample=f"open({str(mark)!r}, 'w').close(); time.sleep(60)")
    tool = subprocess.Popen([BINARY, "bench", *ONE, "--opponents", "jax", *map(str, slow), "--out", tmp_path / "new" / "results"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals)
    for _ in range(1000):
        if mark.exists():
            break
        time.sleep(0.01)
    assert mark.exists()
    os.kill(tool.pid, number)
    out, err = tool.communicate(timeout=20)
    assert tool.returncode == 1 and out == "" and "interrupted" in err
    assert not (tmp_path / "new").exists() and list(tmpdir_of_its_own.iterdir()) == []


def test_the_opponents_that_are_installed_agree_with_float64():
    """onnxruntime by its real script: the two sides make the same data and know the same formula."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    said = bench("--only", "(in|out of) place/float(32|16)/(half|interleaved)/b(sh|hs)d/32.8x128/3/", "--full", "--threads", "1",
                 "--tokens", "3", "--seconds", "0.01", "--opponents", "onnxruntime", "--python", sys.executable)
    assert {(c["layout"], c["order"], c["dtype"]) for c in said["cases"]} >= {
        ("half", "bshd", "float32"), ("interleaved", "bshd", "float16"), ("half", "bhsd", "float32"), ("interleaved", "bhsd", "float32")}
    for case in said["cases"]:
        ort = next(c for c in case["contestants"] if c["name"] == "onnxruntime")
        assert ort["cannot"] is None
        assert ort["max_abs_error"] < {"float32": 2e-6, "float16": 1e-2}[case["dtype"]]


def test_the_script_s_numbers_are_normal_and_repeat():
    np = pytest.importorskip("numpy")
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import opponents
    finally:
        sys.path.pop(0)
    first, second = opponents.normals(1, opponents.PERIOD), opponents.normals(2, 100)
    assert abs(first.mean()) < 0.01 and abs(first.std() - 1) < 0.01 and not np.array_equal(first[:100], second)
    assert np.array_equal(opponents.normals(1, opponents.PERIOD + 5)[-5:], first[:5])
