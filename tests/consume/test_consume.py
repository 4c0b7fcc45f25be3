"""Every documented way to use the library from another project, tried on an installed copy."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ROPEWALK_BUILD", ROOT / "build"))
HERE = Path(__file__).parent
EXPECTED = "0.540302 0.841471\n"


def run(*command, **kwargs) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory) -> Path:
    if not (BUILD / "cmake_install.cmake").exists():
        pytest.skip(f"no build at {BUILD}")
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", prefix)
    return prefix


def test_find_package(prefix, tmp_path):
    run("cmake", "-S", HERE / "find_package", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "consumer") == EXPECTED


def test_pkg_config(prefix, tmp_path):
    if not shutil.which("pkg-config"):
        pytest.skip("no pkg-config here")
    # The prefix of the .pc file is the one configured, as for any package; a moved copy overrides it.
    search = next(prefix.rglob("ropewalk.pc")).parent
    flags = run("pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "ropewalk",
                env={**os.environ, "PKG_CONFIG_PATH": str(search)}).split()
    run("g++", HERE / "main.cpp", "-o", tmp_path / "consumer", *flags)
    assert run(tmp_path / "consumer") == EXPECTED


def test_add_subdirectory(tmp_path):
    run("cmake", "-G", "Ninja", "-S", HERE / "add_subdirectory", "-B", tmp_path, f"-DROPEWALK_ROOT={ROOT}")
    run("cmake", "--build", tmp_path, "--parallel", "2")
    assert run(tmp_path / "consumer") == EXPECTED


def test_the_headers_stand_alone_and_need_only_the_standard_library(tmp_path):
    for header in sorted((ROOT / "include/ropewalk").glob("*.hpp")):
        source = tmp_path / f"{header.stem}.cpp"
        source.write_text(f"#include <ropewalk/{header.name}>\n#include <ropewalk/{header.name}>\n")
        run("g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", ROOT / "include", source)
