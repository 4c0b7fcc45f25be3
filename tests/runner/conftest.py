"""Where the Python tests of the runner find what they run.

ROPEWALK_BIN       the tool (default: build/ropewalk); runner_probe lies beside it, in tests/runner
ROPEWALK_SMOLLM2   SmolLM2-135M-Instruct as GGUF, or the folder that holds it; tests of it are skipped if it is unset
"""

import os
import pathlib
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

    def logits(self, model, dtype, ids):
        out = self.file("logits.f32")
        self.run("logits", model, dtype, self.file("ids.i32", np.asarray(ids, np.int32)), out)
        return np.fromfile(out, np.float32).reshape(len(ids), -1)

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


@pytest.fixture
def probe(tmp_path):
    tool = pathlib.Path(os.environ.get("ROPEWALK_BIN", ROOT / "build" / "ropewalk"))
    path = tool.resolve().parent / "tests" / "runner" / "runner_probe"
    assert path.exists(), f"{path} is missing: build the tests first (make build)"
    return Probe(path, tmp_path)


@pytest.fixture(scope="session")
def smollm2():
    """The checkpoint's file."""
    where = os.environ.get("ROPEWALK_SMOLLM2")
    if not where:
        pytest.skip("ROPEWALK_SMOLLM2 is not set")
    path = pathlib.Path(where)
    if path.is_dir():
        (path,) = sorted(path.rglob("*.gguf"))
    assert path.exists(), f"ROPEWALK_SMOLLM2: no such file: {path}"
    return path
