"""Every documented way to use the library from another project, tried on an installed copy."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ROPEWALK_BUILD", ROOT / "build"))
HERE = Path(__file__).parent
EXPECTED = "0.540302 0.841471\n"
C99 = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]


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


def test_find_package_from_c_alone(prefix, tmp_path):
    """A project without C++: its C compiler links."""
    run("cmake", "-S", HERE / "find_package_c", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "consumer") == EXPECTED


def flags_of(prefix: Path, package: str) -> list[str]:
    if not shutil.which("pkg-config"):
        pytest.skip("no pkg-config here")
    # The prefix of the .pc file is the one configured, as for any package; a moved copy overrides it.
    search = next(prefix.rglob(f"{package}.pc")).parent
    return run("pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", package,
               env={**os.environ, "PKG_CONFIG_PATH": str(search)}).split()


def test_pkg_config(prefix, tmp_path):
    run("g++", HERE / "main.cpp", "-o", tmp_path / "consumer", *flags_of(prefix, "ropewalk"))
    assert run(tmp_path / "consumer") == EXPECTED


@pytest.mark.parametrize("compiler", ["gcc", "clang-14", "clang"])
def test_pkg_config_from_c(prefix, tmp_path, compiler):
    """Linked by a C compiler, which knows nothing of the C++ runtime that the library needs."""
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    run(compiler, *C99, HERE / "main.c", "-o", tmp_path / "consumer", *flags_of(prefix, "ropewalk-c"), "-lm")
    assert run(tmp_path / "consumer") == EXPECTED


def test_add_subdirectory(tmp_path):
    run("cmake", "-G", "Ninja", "-S", HERE / "add_subdirectory", "-B", tmp_path, f"-DROPEWALK_ROOT={ROOT}")
    run("cmake", "--build", tmp_path, "--parallel", "2")
    assert run(tmp_path / "consumer_c") == EXPECTED
    assert run(tmp_path / "consumer") == EXPECTED


def test_the_headers_stand_alone_and_need_only_the_standard_library(tmp_path):
    for header in sorted((ROOT / "include/ropewalk").glob("*.hpp")):
        source = tmp_path / f"{header.stem}.cpp"
        source.write_text(f"#include <ropewalk/{header.name}>\n#include <ropewalk/{header.name}>\n")
        run("g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", ROOT / "include", source)


@pytest.mark.parametrize("compiler", ["gcc", "clang-14", "clang"])
def test_the_header_for_c_is_c99(tmp_path, compiler):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    source = tmp_path / "twice.c"
    source.write_text("#include <ropewalk/ropewalk.h>\n#include <ropewalk/ropewalk.h>\nint main(void) { return 0; }\n")
    for program in (source, ROOT / "tests/abi/in_c.c", ROOT / "tests/abi/first_version.c", HERE / "main.c"):
        run(compiler, *C99, "-fsyntax-only", "-I", ROOT / "include", program)


def test_the_first_version_of_every_struct_for_c_is_written_down():
    structs = re.findall(r"^typedef struct (rw_\w+) \{", (ROOT / "include/ropewalk/ropewalk.h").read_text(), re.MULTILINE)
    listed = re.findall(r"^RW_STRUCT\((\w+),", (ROOT / "tests/abi/first_version.inc").read_text(), re.MULTILINE)
    assert len(structs) > 30
    assert sorted(structs) == sorted(listed)


@pytest.mark.parametrize("standard", ["c++98", "c++11", "c++20"])
def test_the_header_for_c_is_cpp_too(tmp_path, standard):
    source = tmp_path / "twice.cpp"
    source.write_text("#include <ropewalk/ropewalk.h>\n#include <ropewalk/ropewalk.h>\nrw_yarn yarn = RW_YARN_INIT;\n")
    run("g++", f"-std={standard}", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wold-style-cast",
        "-Werror", "-I", ROOT / "include", source)


def test_the_header_declares_what_is_exported_and_a_c_program_calls_all_of_it():
    header = (ROOT / "include/ropewalk/ropewalk.h").read_text()
    code = re.sub(r"//.*", "", header)
    inline = set(re.findall(r"^static inline \w+ (rw_\w+)\(", code, re.MULTILINE))
    declared = set(re.findall(r"^(?!static)[a-z][\w *]*?\b(rw_\w+)\(", code, re.MULTILINE)) - inline
    listed = {line for line in (ROOT / "tests/abi/symbols.txt").read_text().splitlines() if line.startswith("rw_")}
    assert declared == listed
    called = set(re.findall(r"\b(rw_\w+)\(", (ROOT / "tests/abi/in_c.c").read_text()))
    assert called == listed | inline
