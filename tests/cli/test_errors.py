"""Wrong input: one line on stderr, exit code 2, whatever is wrong."""

import json
import os
import resource
import signal
import subprocess
import time

import pytest
from tool import BINARY, LLAMA, hear_signals, ok, refused, run


def test_help_and_version_answer_with_0():
    assert ok("--version").startswith("ropewalk ")
    assert "explain" in ok("--help")
    for verb in ("explain", "rotate", "table", "eval", "compare", "convert"):
        page = ok(verb, "--help")
        assert "Examples" in page and "--" in page


@pytest.mark.parametrize("arguments", [
    [], ["exlpain"], ["explain"], ["explain", "a", "b"], ["explain", "--nonsense", "a"], ["table", "a"],
    ["rotate", "a", "--q", "b"], ["eval", "a"], ["explain", "a", "--numerics", "fp64"], ["explain", "a", "--length", "0"],
    ["explain", "a", "--length", "-5"], ["explain", "a", "--length", "2g"], ["explain", "a", "--length", "99999999999999999m"],
    ["table", "a", "--what", "tan", "--positions", "0"], ["table", "a", "--what", "cos"],
    ["eval", "a", "--text", "b", "--windows", "many"],
])
def test_wrong_words_are_refused(arguments):
    refused(*arguments)


def test_an_unknown_verb_is_answered_with_the_known_ones():
    refused("exlpain", "config.json", says=("explain", "rotate", "table", "eval", "compare", "convert", "exlpain"))


def test_a_path_that_is_not_there(tmp_path):
    for verb in (["explain"], ["table", "--what", "inv_freq"]):
        refused(verb[0], tmp_path / "missing.json", *verb[1:], says="missing.json")
    refused("explain", tmp_path, says=str(tmp_path))
    refused("explain", "", says="")
    refused("explain", "/dev/null")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"model_type": 5}', "\x00\x01", "[" * 100000,
                                  json.dumps(LLAMA)[:-1], '{"model_type": "llama"}'])
def test_a_config_that_is_none(config, text):
    refused("explain", config(text))


@pytest.mark.parametrize("change", [
    {"rope_theta": -1.0}, {"rope_theta": "many"}, {"rope_theta": 0}, {"head_dim": 63}, {"head_dim": 0}, {"head_dim": -64},
    {"head_dim": 2**40}, {"num_attention_heads": 0}, {"rope_scaling": {"rope_type": "linear", "factor": 0.25}},
    {"rope_scaling": {"rope_type": "linear"}}, {"rope_scaling": {"rope_type": "sideways", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "linear", "type": "dynamic", "factor": 2.0}}, {"rope_scaling": "linear"},
    {"max_position_embeddings": -1}, {"num_hidden_layers": -3}, {"num_hidden_layers": 10**12},
])
def test_a_config_with_a_wrong_number(config, change):
    refused("explain", config(LLAMA | change))


def test_an_odd_rotary_dim(config):
    gptj = {"model_type": "gptj", "n_embd": 256, "n_head": 4, "n_layer": 2, "n_positions": 2048, "rotary_dim": 31}
    refused("explain", config(gptj), says=("rotary_dim", "31"))


@pytest.mark.parametrize("body", [b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, b"GGUF\x03\x00\x00\x00" + bytes(16),
                                  b"GGUF\x00\x00\x00\x03" + bytes(16), b"GGUF" + bytes(1000)])
def test_a_hostile_gguf(tmp_path, body):
    path = tmp_path / "model.gguf"
    path.write_bytes(body)
    refused("explain", path, says="gguf")
    refused("eval", path, "--text", path)


def test_control_characters_do_not_reach_the_terminal(config):
    message = refused("explain", config(LLAMA | {"model_type": "a\x1b[2J\nb"}))
    assert "\x1b" not in message


def test_an_unknown_option_is_named_before_a_missing_one():
    refused("rotate", "a", "--qq", "b", says=("--qq", "rotate"))
    refused("explain", "a", "b", says='"b"')


def test_help_that_cannot_be_written_is_no_success():
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
def test_a_signal_leaves_no_half_file(config, tmp_path, number):
    folder = tmp_path / "out"
    folder.mkdir()
    # More than can be written before the signal comes.
    tool = subprocess.Popen([BINARY, "table", config(LLAMA), "--what", "cos", "--positions", "0:3000000",
                             "--out", folder / "cos.json"], stderr=subprocess.PIPE, preexec_fn=hear_signals)
    for _ in range(1000):
        if list(folder.iterdir()):
            break
        time.sleep(0.01)
    assert list(folder.iterdir()), "the temporary stands there while the tool writes"
    os.kill(tool.pid, number)
    assert tool.wait(30) == -number
    assert list(folder.iterdir()) == []


def test_a_file_beyond_its_limit_is_a_failure_and_not_left(config, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    done = run("table", config(LLAMA), "--what", "cos", "--positions", "0:100000", "--out", folder / "cos.json",
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)))
    assert done.returncode == 1 and "cos.json" in done.stderr and done.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_nothing_is_written_over_what_is_read(config, tmp_path):
    import numpy as np

    path = config(LLAMA)
    np.save(tmp_path / "q.npy", np.ones((1, 4, 1, 64), np.float32))
    before = path.read_bytes(), (tmp_path / "q.npy").read_bytes()
    np.save(tmp_path / "other.npy", np.ones((1, 4, 1, 64), np.float32))
    refused("rotate", path, "--q", tmp_path / "other.npy", "--k", tmp_path / "q.npy", "--positions", "0:4", "--out", tmp_path,
            says="of its own")
    refused("table", path, "--what", "cos", "--positions", "0:4", "--out", path, says="of its own")
    assert before == (path.read_bytes(), (tmp_path / "q.npy").read_bytes())
