"""What the README and the pages show is what the tool prints and the tests build: every block of code that is not Python's.

Python's blocks and equations are in tests/python/test_docs.py; CONTRIBUTING.md says what a block may be.
"""

import collections
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tool import BINARY

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*) ?([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Blocks that are not run here, by their mark `not-run=WHY`, and how many there are of each: whoever adds one counts it.
NOT_RUN = {
    "builds": 9,  # builds or installs this project: `make test` itself, tests/consume and tests/python/test_wheel.py do so
    "long": 4,  # minutes, or a model that is not in the repository
    "network": 1,
}


def blocks(page):
    """(language, what stands behind it, text) of every block of a page."""
    return BLOCK.findall(page.read_text())


def test_every_block_is_of_a_kind_that_is_tested():
    not_run = collections.Counter()
    for page in PAGES:
        for language, mark, text in blocks(page):
            what = f"{page.name}: ```{language} {mark}"
            if mark.startswith("not-run="):
                assert language in ("sh", "cmake"), what
                not_run[mark.removeprefix("not-run=")] += 1
            elif language in ("c", "cpp", "js", "ts"):
                assert re.fullmatch(r"file=\S+ region=\S+", mark), f"{what}: want it cut from a file that is built"
            elif language == "json":
                assert re.fullmatch(r"file=\S+", mark), what
            elif language == "console":
                assert mark in ("", "approx") and text.startswith("$ "), what
            else:
                assert (language, mark) in {("python", ""), ("sh", ""), ("text", "equations"), ("text", "printed"), ("text", ""), ("", "")}, what
    assert not_run == NOT_RUN


def test_code_blocks_are_cut_from_files_that_are_built():
    found = 0
    for page in PAGES:
        for name, region, block in re.findall(r"```\w+ file=(\S+) region=(\S+)\n(.*?)```", page.read_text(), re.DOTALL):
            source = (ROOT / name).read_text()
            inside = re.search(rf"^ *// region {region}\n(.*?)^ *// endregion", source, re.DOTALL | re.MULTILINE)
            assert inside, f"{name} has no region {region}"
            assert textwrap.dedent(inside.group(1)) == block, f"{page.name} and {name} differ"
            found += 1
    assert found >= 1


def near(printed: str, shown: str) -> bool:
    """The same words, and numbers within 2 % of each other: what is measured again on another processor."""
    number = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
    if [number.sub("#", line).split() for line in printed.splitlines()] != [number.sub("#", line).split() for line in shown.splitlines()]:
        return False
    pairs = zip(number.findall(printed), number.findall(shown))
    return all(abs(float(a) - float(b)) <= 0.02 * max(abs(float(a)), abs(float(b))) + 0.011 for a, b in pairs)


def test_what_is_near_is_near():
    assert near("x 3.65 +- 0.19\n", "x  3.66 +- 0.19") and not near("x 3.65", "x 3.85") and not near("x 3.65", "y 3.65") and not near("x 3.65\n1", "x 3.65")


@pytest.mark.parametrize("page", [page for page in PAGES if any(language in ("sh", "console") and "not-run" not in mark for language, mark, _ in blocks(page))],
                         ids=lambda page: page.name)
def test_the_commands_of_a_page_run_and_print_what_it_shows(page, tmp_path):
    """In their order, in one folder that has the page's own files, a checkpoint, queries and keys of it, and the repository's data."""
    for name in ("lab", "examples", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "config.json").write_text((ROOT / "examples/c/config.json").read_text())
    for name, heads in (("q", 32), ("k", 8)):
        np.save(tmp_path / f"{name}.npy", np.ones((1, 16, heads, 128), np.float32))
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ropewalk").symlink_to(BINARY)
    environment = {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_WAIT_POLICY": "passive"}
    for language, mark, text in blocks(page):
        if language == "json":
            (tmp_path / mark.removeprefix("file=")).parent.mkdir(exist_ok=True)
            (tmp_path / mark.removeprefix("file=")).write_text(text)
        if language not in ("sh", "console") or "not-run" in mark:
            continue
        command, shown = (text, None) if language == "sh" else text.removeprefix("$ ").split("\n", 1)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if shown is not None:
            assert near(done.stdout, shown) if mark == "approx" else done.stdout.rstrip() == shown.rstrip(), f"{command}\n{done.stdout}"


def test_every_verb_of_the_tool_has_its_place():
    help_text = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    verbs = re.findall(r"^  (\w+) {2,}", help_text.split("Subcommands:")[1], re.MULTILINE)
    assert len(verbs) >= 9 and verbs == [verb for verb in verbs if f"\n## {verb}\n" in (ROOT / "docs/tool.md").read_text()]


def test_links_within_the_repository_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


# What makes a picture that no script of docs/figures makes.
OTHER_PICTURES = {"docs/smollm2.svg": "scripts/demo.sh", "docs/lab/": "lab/report.py", "docs/explore/": "explorer/pictures.py"}


def test_every_picture_has_the_script_that_makes_it():
    named = set()
    for page in PAGES:
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            picture = (page.parent / target).resolve().relative_to(ROOT).as_posix()
            named.add(picture)
            other = next((script for begin, script in OTHER_PICTURES.items() if picture.startswith(begin)), None)
            script = other or f"docs/figures/{Path(picture).stem.split('-')[0]}.py"
            assert (ROOT / picture).exists() and (ROOT / script).exists(), f"{page.name}: {target}"
    drawn = {path.relative_to(ROOT).as_posix() for pattern in ("figures/*.svg", "explore/*.png") for path in (ROOT / "docs").glob(pattern)}
    assert drawn - named == set(), "no page shows them"


def test_explain_is_shown_verbatim():
    model = os.environ.get("ROPEWALK_SMOLLM2")
    if not model:
        pytest.skip("ROPEWALK_SMOLLM2 does not name the model")
    shown = re.search(r"\$ ropewalk explain (\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    printed = subprocess.run([BINARY, "explain", model], capture_output=True, text=True, check=True).stdout
    assert printed.replace(model, shown.group(1)).rstrip() == shown.group(2).rstrip()
