"""What the README shows is what the tool prints and the tests build."""

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("ROPEWALK_BIN", str(ROOT / "build/ropewalk"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def test_links_within_the_repository_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_explain_is_shown_verbatim():
    model = os.environ.get("ROPEWALK_SMOLLM2")
    if not model:
        pytest.skip("ROPEWALK_SMOLLM2 does not name the model")
    shown = re.search(r"\$ ropewalk explain (\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    printed = subprocess.run([BIN, "explain", model], capture_output=True, text=True, check=True).stdout
    assert printed.replace(model, shown.group(1)).rstrip() == shown.group(2).rstrip()
