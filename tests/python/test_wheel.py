"""What a user gets: an sdist that builds, a wheel that runs where nothing else is installed."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """From the sdist, so that a file which the sdist lacks is missed; then with what it links against inside."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, ROOT)
    (sdist,) = folder.glob("ropewalk-*.tar.gz")
    run("tar", "-xzf", sdist, "-C", folder)
    (sources,) = [path for path in folder.iterdir() if path.is_dir()]
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder / "plain", sources)
    (plain,) = (folder / "plain").glob("*.whl")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run(sys.executable, "-m", "auditwheel", "repair", plain, "--wheel-dir", folder / "repaired", env=environment)
    (repaired,) = (folder / "repaired").glob("*.whl")
    return repaired


def test_it_is_tagged_and_holds_what_it_should(wheel):
    assert "manylinux_2_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("ropewalk/py.typed", "ropewalk/_core.pyi", "ropewalk/bin/ropewalk", "ropewalk/share/ropewalk/golden/yarn.json"):
        assert name in names, name
    assert not [name for name in names if name.startswith(("include/", "lib/", "tests/"))]


def test_it_runs_in_an_environment_of_its_own(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel, "pytest==9.2.0")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "ROPEWALK_BIN", "ROPEWALK_BUILD")}
    tests = [ROOT / "tests" / "python" / f"test_{name}.py" for name in ("rotary", "cache_operations", "builders", "package")]
    summary = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=tmp_path, env=environment).splitlines()[-1]
    assert "passed" in summary and "failed" not in summary
    run(tmp_path / "venv" / "bin" / "ropewalk", "conform", "--families", "yarn", cwd=tmp_path, env=environment)
