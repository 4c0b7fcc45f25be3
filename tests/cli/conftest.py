"""What every test of the tool is given; what they import is in tool.py."""

from __future__ import annotations

import json
import pathlib

import pytest
from tool import BINARY, LLAMA


@pytest.fixture(scope="session", autouse=True)
def _binary_exists():
    if not BINARY.exists():
        pytest.fail(f"{BINARY} is not built: make build, or set ROPEWALK_BIN")


@pytest.fixture
def config(tmp_path):
    """Writes a config.json and gives its path."""

    def write(content: dict | str = LLAMA, name: str = "config.json") -> pathlib.Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write
