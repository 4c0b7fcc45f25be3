"""Where the Python tests of the runner find what they run.

ROPEWALK_BIN       the tool (default: build/ropewalk); runner_probe lies beside it, in tests/runner
ROPEWALK_SMOLLM2   SmolLM2-135M-Instruct as GGUF, or the folder that holds it; tests of it are skipped if it is unset
ROPEWALK_GEMMA3    Gemma 3 270M likewise
"""

import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Probe:
    """Calls runner_probe, with arrays in and out of files."""

    def __init__(self, path, folder):
        self.path = path
        self.folder = folder

    def run(self, *args):
        done = subprocess.run([self.path, *map(str, args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def file(self, name, array=None):
        path = self.folder / name
        if array is not None:
            np.asarray(array).tofile(path)
        return path

    def logits(self, model, dtype, ids, last=None):
        """Of every token, or of the last ones."""
        rows = len(ids) if last is None else last
        out = self.file("logits.f32")
        self.run("logits", model, dtype, self.file("ids.i32", np.asarray(ids, np.int32)), out, rows)
        return np.fromfile(out, np.float32).reshape(rows, -1)

    def tokens(self, model, text):
        source, out = self.folder / "text.txt", self.file("tokens.i32")
        source.write_bytes(text.encode())
        self.run("tokens", model, source, out)
        return np.fromfile(out, np.int32)

    def dequantize(self, kind, blocks):
        out = self.file("values.f32")
        self.run("dequantize", int(kind), self.file("blocks.bin", blocks), out)
        return np.fromfile(out, np.float32)

    def nll(self, model, dtype, ids, length, scaling, factor, score):
        import json

        return json.loads(self.run("nll", model, dtype, self.file("ids.i32", np.asarray(ids, np.int32)), length, scaling,
                                   factor, score))


def tool():
    return pathlib.Path(os.environ.get("ROPEWALK_BIN", ROOT / "build" / "ropewalk")).resolve()


def probe_in(folder):
    path = tool().parent / "tests" / "runner" / "runner_probe"
    assert path.exists(), f"{path} is missing: build the tests first (make build)"
    return Probe(path, folder)


@pytest.fixture
def probe(tmp_path):
    return probe_in(tmp_path)


@pytest.fixture(scope="session")
def ropewalk():
    """The tool."""
    return tool()


@pytest.fixture(scope="module")
def shared_probe(tmp_path_factory):
    """One for what several tests need."""
    return probe_in(tmp_path_factory.mktemp("shared"))


def real_model(variable):
    where = os.environ.get(variable)
    if not where:
        pytest.skip(f"{variable} is not set")
    path = pathlib.Path(where)
    if path.is_dir():
        (path,) = sorted(path.rglob("*.gguf"))
    assert path.exists(), f"{variable}: no such file: {path}"
    return path


@pytest.fixture(scope="session")
def smollm2():
    """The checkpoint's file."""
    return real_model("ROPEWALK_SMOLLM2")


@pytest.fixture(scope="session")
def gemma3():
    """The checkpoint's file."""
    return real_model("ROPEWALK_GEMMA3")


@pytest.fixture(scope="session")
def real_text():
    if shutil.which("bible") is None:
        return "In the beginning God created the heaven and the earth. And the earth was without form. 1:3 And " * 400
    return subprocess.run(["bible", "-f", "gen1:1-gen40:1"], capture_output=True, text=True, check=True).stdout
