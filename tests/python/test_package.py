"""The package as a whole: examples in docstrings run, types hold, nothing heavy is imported, the tool is at hand."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ropewalk

FILES = sorted(Path(ropewalk.__path__[0]).rglob("*.py"))
MODULES = sorted({".".join(("ropewalk", *path.relative_to(ropewalk.__path__[0]).with_suffix("").parts)).removesuffix(".__init__") for path in FILES} - {"ropewalk.__main__"})


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name}: {error}")
    assert doctest.testmod(module).failed == 0


def test_every_public_name_has_a_docstring():
    for name in ropewalk.__all__:
        if name not in ("__version__", "Scaling"):
            assert getattr(ropewalk, name).__doc__, name


def test_importing_it_imports_nothing_heavy():
    code = "import sys, ropewalk; print([name for name in ('torch', 'jax', 'transformers', 'onnx') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_it_imports_is_there_where_it_is_built():
    """nanobind's stubs are made by an import, in an environment that has no more than pyproject.toml's build-system.requires."""
    code = "import sys; before = set(sys.modules); import ropewalk; print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"ropewalk"}
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    requires = re.search(r"^requires = \[(.*)\]", project, re.MULTILINE).group(1)
    assert others <= set(re.findall(r'"([a-z-]+)', requires))


def test_the_tool_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "ropewalk", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and ropewalk.__version__ in done.stdout
    done = subprocess.run([sys.executable, "-m", "ropewalk", "explain", "/nowhere"], capture_output=True, text=True)
    assert done.returncode == 2 and "/nowhere" in done.stderr


PROGRAM = """
import numpy as np
import ropewalk
from ropewalk import CacheView, Rotary, RotarySpec, YarnScaling

rotary: Rotary = Rotary(RotarySpec(head_dim=64, theta=1e4, scaling=YarnScaling(4.0, 8192)))
q = np.ones((1, 2, 3, 64), np.float32)
one: np.ndarray = rotary.apply(q)
both: tuple[np.ndarray, np.ndarray] = rotary.apply(q, q, position_ids=[0, 1])
cache = CacheView(q[0])
ropewalk.append_(rotary, q, cache, slots=[0, 1])
try:
    rotary.apply(q, layout="bhsd")
except ropewalk.Error as error:
    code: str = error.code
kinds: list[str] = [kind.name for kind in ropewalk.read_positions({}).kinds]
"""


def test_types_hold(tmp_path):
    pytest.importorskip("mypy")
    environment = {**os.environ, "MYPYPATH": os.path.dirname(ropewalk.__path__[0]), "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    mypy = lambda *words: subprocess.run([sys.executable, "-m", "mypy", "--strict", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = mypy("program.py")
    assert done.returncode == 0, done.stdout
    (tmp_path / "program.py").write_text(PROGRAM.replace("theta=1e4", "theta='1e4'").replace("code: str", "code: int"))
    wrong = mypy("program.py").stdout
    assert "theta" in wrong or "RotarySpec" in wrong
    assert wrong.count("error:") == 2, wrong
    # What stands on torch cannot be strict: torch's own functions are in part untyped.
    own = mypy(*[word for name in MODULES if not name.startswith(("ropewalk.torch", "ropewalk.hf", "ropewalk.compat")) for word in ("-m", name)])
    assert own.returncode == 0, own.stdout
