"""Who may include whom: docs/architecture.md states the rule, this file holds it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
STANDARD = re.compile(r"^[a-z_0-9]+$")  # <vector>, <cstdint>: no slash, no dot
INTRINSICS = {"immintrin.h", "arm_neon.h", "wasm_simd128.h", "omp.h"}
POSIX = re.compile(r"^(sys/\w+|fcntl|unistd|signal|errno)\.h$")

C_HEADERS = {"stddef.h", "stdint.h"}  # of the header for C

CUDA_HEADERS = {"cuda_runtime.h", "cuda_bf16.h", "cuda_fp16.h"}

KERNEL_HEADERS = {f"ropewalk/{name}.hpp" for name in ("tensor", "dtype", "layout", "phase")}


def public(name: str) -> bool:
    return name.startswith("ropewalk/")


# room -> what it may include beside the standard library and its own folder
RULES = {
    "include/ropewalk": lambda name: public(name) or name in C_HEADERS,
    "src/math": lambda name: public(name) or name.startswith("math/"),
    "src/cpu": lambda name: name in KERNEL_HEADERS or name.startswith("cpu/") or name in INTRINSICS,
    # The words of src/cpu/kernels once more, with vectors of one lane.
    "src/cuda": lambda name: name in KERNEL_HEADERS | CUDA_HEADERS or name.startswith("cuda/") or name in {"cpu/gain.hpp", "cpu/vec/fused.hpp", "cpu/kernels/cos_sin_step-inl.hpp"},
    "src/config": lambda name: public(name) or name == "math/text.hpp" or name.startswith("config/") or name.startswith("nlohmann/") or bool(POSIX.match(name)),
    "src/capi": lambda name: public(name) or name.startswith("capi/"),
    "cli": lambda name: not name.startswith(("math/", "cpu/", "config/")),
    "runner": lambda name: not name.startswith(("math/", "cpu/", "config/")),
    "python/src": lambda name: public(name) or name.startswith(("nanobind/", "xla/ffi/", "sys/mman.h", "dlfcn.h", "pthread.h", "unistd.h", "cxxabi.h")),
    "tests/oracle": lambda name: name == "quadmath.h",
}


def sources(room: str):
    return sorted(p for p in (ROOT / room).rglob("*") if p.suffix in {".hpp", ".cpp", ".inc", ".h", ".cu", ".cuh"})


def offences(room: str):
    allowed = RULES[room]
    for path in sources(room):
        for quote, name in INCLUDE.findall(path.read_text()):
            own = quote == '"' and ((path.parent / name).exists() or (ROOT / room / name).exists())
            if not (STANDARD.match(name) or own or allowed(name)):
                yield f"{path.relative_to(ROOT)} includes {name}"


@pytest.mark.parametrize("room", RULES)
def test_a_room_includes_only_what_it_may(room):
    assert sources(room), f"{room} has no sources: has it moved?"
    assert list(offences(room)) == []


def test_kernels_do_not_know_specs_models_or_scaling():
    for path in sources("src/cpu") + sources("src/cuda"):
        text = path.read_text()
        for word in ("RotarySpec", "Scaling", "model_type"):
            assert word not in text, f"{path.relative_to(ROOT)} mentions {word}"


def test_only_the_operators_see_both_mathematics_and_kernels():
    both = []
    for path in sources("src"):
        names = [name for _, name in INCLUDE.findall(path.read_text())]
        if any(n.startswith(("cpu/", "cuda/")) for n in names) and any(n in ("ropewalk/frequencies.hpp", "ropewalk/rotary.hpp", "ropewalk/kv_cache.hpp", "ropewalk/cuda.hpp", "ropewalk/absolute.hpp", "ropewalk/attention.hpp", "ropewalk/relative.hpp") for n in names):
            both.append(path.relative_to(ROOT).as_posix())
    assert sorted(both) == ["src/absolute.cpp", "src/attention.cpp", "src/attention_backward.hpp", "src/attention_few.hpp", "src/attention_merge.cpp", "src/attention_panels.hpp", "src/attention_scores.hpp", "src/attention_shape.hpp", "src/kv_cache_pass.hpp", "src/relative.cpp", "src/rotary.cpp", "src/rotary_call.hpp", "src/rotary_cuda.hpp", "src/rotary_tiles.hpp", "src/rotary_whole_heads.hpp"]


def test_who_calls_the_operator_on_a_device_needs_no_cuda():
    headers = [name for path in sources("include/ropewalk") + sources("src") for _, name in INCLUDE.findall(path.read_text())
               if path.suffix not in {".cu", ".cuh"}]
    assert not [name for name in headers if name.startswith("cuda_") or name.endswith(".cuh")]


def test_the_header_for_c_includes_nothing_of_cpp():
    names = [name for _, name in INCLUDE.findall((ROOT / "include/ropewalk/ropewalk.h").read_text())]
    assert set(names) == C_HEADERS


def test_only_the_header_for_c_and_its_room_use_c_headers():
    """The C++ headers stay free of the C interface: who includes them gets no rw_ names."""
    for path in sources("include/ropewalk"):
        names = {name for _, name in INCLUDE.findall(path.read_text())}
        if path.suffix == ".hpp":
            assert not names & (C_HEADERS | {"ropewalk/ropewalk.h"}), path


def test_no_preprocessor_conditions_outside_the_targets():
    """An #ifdef belongs to vec/ and targets/: everywhere else absence is a file (docs/architecture.md)."""
    for room in ("include", "src", "runner", "cli"):
        for path in sources(room):
            if {"vec", "targets"} & set(path.parts):
                continue
            found = re.findall(r"^\s*#\s*(?:if|ifdef|ifndef)\b.*$", path.read_text(), re.MULTILINE)
            if path.name == "ropewalk.h":  # read by two languages
                found = [line for line in found if line.strip() != "#ifdef __cplusplus"]
            assert not found, f"{path.relative_to(ROOT)}: {found[0].strip()}"


def test_one_file_of_the_explorers_page_knows_the_library():
    folder = ROOT / "explorer/src"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.mjs")}
    listed = re.search(r"set\(parts (.*?)\)", (ROOT / "explorer/CMakeLists.txt").read_text(), re.DOTALL)[1].split()
    assert {f"{part}.mjs" for part in listed} == files
    for name in files:
        for target in re.findall(r'^import .*? from "([^"]+)";$', (folder / name).read_text(), re.MULTILINE):
            assert (folder / name).parent.joinpath(target).exists() if target.startswith(".") else (target, name) == ("ropewalk", "library.mjs"), f"{name} imports {target}"
