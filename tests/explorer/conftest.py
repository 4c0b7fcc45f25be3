"""One headless Chromium for all tests of the explorer's page, and pages written by the tool."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from pages import LLAMA, ROOT, Page

sys.path[:0] = [str(ROOT / "tests/cli"), str(ROOT / "explorer")]
from tool import ok  # noqa: E402


@pytest.fixture(scope="session")
def chromium():
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: scripts/setup.sh --browser")
    return pytest.importorskip("browser", reason="selenium is not installed")


@pytest.fixture(scope="session")
def _browser(chromium):
    browser = chromium.start()
    yield browser
    browser.quit()


@pytest.fixture
def page(_browser, chromium):
    """The browser at a desktop's size; afterwards its console must have had nothing to say."""
    page = Page(_browser, chromium)
    _browser.get_log("browser")
    page.look_as(chromium.DESKTOP)
    yield page
    said = [entry["message"] for entry in _browser.get_log("browser")]
    assert said == []


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def config(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(LLAMA))
    return path


@pytest.fixture(scope="session")
def explorer(folder, config):
    """A page about LLAMA."""
    out = folder / "explorer.html"
    ok("explore", config, "--out", out)
    return out
