"""`ropewalk table` against the real-number formula in mpmath, far from where it is easy."""

import io
import json
import subprocess

import numpy as np
import oracle
import pytest
from tool import BINARY, LLAMA, SCALED, ok, refused, run

POSITIONS = [0, 1, 511, 2**17 - 1, 2**20 - 1, 10**7, 2**36, -(2**36)]
LIST = ",".join(map(str, POSITIONS))


def table(path, what, positions=LIST, *more):
    return json.loads(ok("table", path, "--what", what, "--positions", positions, "--format", "json", *more))


@pytest.mark.parametrize("method", SCALED)
@pytest.mark.parametrize("length", [0, 65536])
def test_cos_and_sin_are_the_formula_at_any_position(config, method, length):
    """1.2e-7 of the real-number formula; where YaRN or LongRoPE amplify, the rounding grows with the amplitude."""
    path = config(SCALED[method])
    running = length or 2**36 + 1
    more = ["--length", length] if length else []
    want_cos, want_sin = oracle.cos_sin(SCALED[method], POSITIONS, running)
    cos, sin = table(path, "cos", LIST, *more), table(path, "sin", LIST, *more)
    assert cos["positions"] == POSITIONS and sin["positions"] == POSITIONS
    bound = 1.2e-7
    assert np.abs(np.array(cos["cos"]) - want_cos).max() < bound
    assert np.abs(np.array(sin["sin"]) - want_sin).max() < bound


def test_the_bound_can_be_missed(config):
    """A base that is off by 1e-9 of itself, or one position, is seen by the test above."""
    cos = np.array(table(config(), "cos")["cos"])
    near, _ = oracle.cos_sin(LLAMA | {"rope_theta": LLAMA["rope_theta"] * (1 + 1e-9)}, POSITIONS)
    moved, _ = oracle.cos_sin(LLAMA, [p + 1 for p in POSITIONS])
    assert np.abs(cos - near).max() > 1e-3 and np.abs(cos - moved).max() > 1e-3


@pytest.mark.parametrize("what, dtype", [("cos", np.float32), ("sin", np.float32), ("turns", np.uint64)])
def test_npy_csv_and_json_hold_the_same_numbers(config, tmp_path, what, dtype):
    path, positions = config(SCALED["yarn"]), "0:50:7,-3,1099511627776"
    want = [*range(0, 50, 7), -3, 1099511627776]
    as_json = table(path, what, positions)
    assert as_json["positions"] == want
    out = tmp_path / "table.npy"
    ok("table", path, "--what", what, "--positions", positions, "--format", "npy", "--out", out)
    array = np.load(out)
    assert array.dtype == dtype and array.shape == (len(want), 32)
    piped = run("table", path, "--what", what, "--positions", positions, "--format", "npy", text=False).stdout
    assert np.array_equal(np.load(io.BytesIO(piped)), array)
    csv = ok("table", path, "--what", what, "--positions", positions, "--format", "csv").splitlines()
    assert csv[0].split(",")[:2] == ["position", f"{what}[0]"]
    rows = np.array([[float(cell) for cell in line.split(",")] for line in csv[1:]])
    assert rows[:, 0].tolist() == want
    if what == "turns":
        fraction = array.view(np.int64).astype(np.float64) * 2.0**-64
        assert np.array_equal(np.array(as_json[what]), fraction) and np.array_equal(rows[:, 1:], fraction)
    else:
        assert np.array_equal(np.array(as_json[what]), array.astype(np.float64))
        assert np.array_equal(rows[:, 1:].astype(np.float32), array)


def test_turns_obey_the_law_of_the_encoding(config, tmp_path):
    """phase(m) - phase(n) == phase(m - n), bit for bit."""
    generator = np.random.default_rng(7)
    m, n = generator.integers(-(2**62), 2**62, 40), generator.integers(-(2**62), 2**62, 40)
    turns = []
    for positions in (m, n, m - n):
        out = tmp_path / "turns.npy"
        ok("table", config(), "--what", "turns", "--positions", ",".join(map(str, positions)), "--format", "npy", "--out", out)
        turns.append(np.load(out))
    assert np.array_equal(turns[0] - turns[1], turns[2])


def test_inv_freq_needs_no_positions(config, tmp_path):
    path = config(SCALED["llama3"])
    want = [float(f) for f in oracle.frequencies(SCALED["llama3"])[0]]
    assert json.loads(ok("table", path, "--what", "inv_freq"))["inv_freq"] == want
    assert table(path, "inv_freq", "0,5") == {"positions": [0, 5], "inv_freq": want}
    out = tmp_path / "f.npy"
    ok("table", path, "--what", "inv_freq", "--format", "npy", "--out", out)
    assert np.load(out).tolist() == want
    csv = ok("table", path, "--what", "inv_freq", "--format", "csv").splitlines()
    assert [float(line.split(",")[1]) for line in csv[1:]] == want


@pytest.mark.parametrize("text", ["0:4096:64", "5", "-3", "-5:5", "10:-10:-3", ":4", "0:3,9,7:9,-1",
                                  "9223372036854775800:9223372036854775807", "-9223372036854775808,9223372036854775807"])
def test_ranges_mean_what_python_means(config, text):
    want = []
    for part in text.split(","):
        numbers = [int(n) if n else 0 for n in part.split(":")]
        want += range(*numbers) if len(numbers) > 1 else numbers
    assert table(config(), "cos", text)["positions"] == want


def test_the_attention_factor_is_in_the_table_and_can_be_left_out(config):
    path = config(SCALED["yarn"])
    with_it = np.array(table(path, "cos", "0")["cos"])
    without = np.array(table(path, "cos", "0", "--no-attention-factor")["cos"])
    amplitude = float(oracle.frequencies(SCALED["yarn"])[1])
    assert np.all(without == 1) and np.all(np.abs(with_it - amplitude) < 1e-7)


def test_fp32_numerics_forms_the_float_product(config):
    position = 1048575
    inv_freq = np.array(json.loads(ok("table", config(), "--what", "inv_freq", "--numerics", "fp32"))["inv_freq"], np.float32)
    want = np.cos((np.float32(position) * inv_freq).astype(np.float64))
    got = np.array(table(config(), "cos", str(position), "--numerics", "fp32")["cos"])
    assert np.abs(got - want).max() < 1e-7
    assert np.abs(got - np.array(table(config(), "cos", str(position))["cos"])).max() > 1e-3


def test_default_length_is_the_largest_position_and_one(config):
    path = config(SCALED["dynamic"])
    assert table(path, "cos", "5,9999") == table(path, "cos", "5,9999", "--length", "10000")
    assert table(path, "cos", "5,9999") != table(path, "cos", "5,9999", "--length", "8192")


@pytest.mark.parametrize("text", ["", ",", "a", "1.5", "0:5:0", "1:2:3:4", "5:5", "9223372036854775808", "0:", "1,,2", "0x10"])
def test_positions_that_are_none_are_refused(config, text):
    refused("table", config(), "--what", "cos", "--positions", text, says="--positions")


@pytest.mark.parametrize("format", ["npy", "csv", "json"])
def test_a_table_beyond_memory_is_refused_at_once(config, format):
    for positions in ("0:1099511627776", "-9223372036854775808:9223372036854775807", ",".join(["0:9223372036854775807"] * 3)):
        refused("table", config(), "--what", "cos", "--positions", positions, "--format", format, says=("--positions", "memory"))


def test_a_place_that_cannot_be_written_is_refused(config, tmp_path):
    path = config()
    for out in (tmp_path, tmp_path / "no" / "such" / "folder.json", "/proc/nothing"):
        refused("table", path, "--what", "cos", "--positions", "0:9999", "--out", out)
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"], "nothing half-written is left"


def test_a_reader_that_leaves_is_no_crash(config):
    tool = subprocess.Popen([BINARY, "table", config(), "--what", "cos", "--positions", "0:200000", "--format", "csv"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tool.stdout.read(100)
    tool.stdout.close()
    assert tool.wait(60) == 1 and tool.stderr.read() == b""


def test_a_full_disk_is_a_failure_and_not_the_inputs_fault(config):
    done = run("table", config(), "--what", "cos", "--positions", "0:9999", "--out", "/dev/full")
    assert done.returncode == 1
    assert done.stderr == "ropewalk: /dev/full: want it written whole, got: No space left on device\n"


def test_a_full_stdout_is_a_failure_and_not_the_inputs_fault(config):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "table", config(), "--what", "cos", "--positions", "0:99"], stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
