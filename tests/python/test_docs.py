"""The documentation's blocks of Python run, in the order in which they stand, and print what the pages say; its equations hold.

What the other blocks have to do is in tests/cli/test_readme.py; CONTRIBUTING.md has the list.
"""

import ast
import cmath
import contextlib
import io
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block of Python and, if the page shows it, what it prints.
PYTHON = re.compile(r"^```python\n(.*?)^```\n(?:\n```text printed\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
EQUATIONS = re.compile(r"^```text equations\n(.*?)^```", re.MULTILINE | re.DOTALL)
WORDS = {name: getattr(math, name) for name in ("sqrt", "sin", "cos", "atan", "atan2", "degrees", "radians", "exp", "log", "log2", "floor", "ceil")}
WORDS |= {"abs": abs, "min": min, "max": max, "phase": cmath.phase, "pi": math.pi}


def with_blocks(pattern):
    return [page for page in PAGES if pattern.search(page.read_text())]


@pytest.mark.parametrize("page", with_blocks(PYTHON), ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": page.name}
    for number, (block, shown) in enumerate(PYTHON.findall(page.read_text()), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)
        if shown:
            assert printed.getvalue() == shown, f"{page.name}, block {number}"


def value(text: str) -> complex:
    """An expression of numbers; 2i is imaginary. Names that are not in WORDS, and anything but arithmetic, are refused."""
    tree = ast.parse(re.sub(r"(?<=\d)i\b", "j", text.strip()), mode="eval")
    for node in ast.walk(tree):
        assert isinstance(node, (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Name, ast.Call, ast.operator, ast.unaryop, ast.Load)), text
    return complex(eval(compile(tree, text, "eval"), {"__builtins__": {}}, WORDS))


def holds(line: str) -> bool:
    """`left = right   remark`: the left side, rounded to the digits of the right, is the right."""
    equation = re.split(r" {2,}", line.strip())[0]
    left, right = equation.split(" = ")
    digits = max((len(fraction) for fraction in re.findall(r"\.(\d+)", right)), default=0)
    difference = value(left) - value(right)
    return max(abs(difference.real), abs(difference.imag)) <= 0.5 * 10.0**-digits * (digits > 0) + 1e-9 * max(1, abs(value(right)))


@pytest.mark.parametrize("page", with_blocks(EQUATIONS), ids=lambda page: page.name)
def test_the_equations_of_a_page_hold(page):
    lines = [line for block in EQUATIONS.findall(page.read_text()) for line in block.splitlines() if line.strip()]
    assert [line for line in lines if not holds(line)] == []


def test_an_equation_that_does_not_hold_is_found():
    assert holds("1 + 1 = 2   as everybody knows") and holds("(1 + 2i) * 1i = -2 + 1i") and holds("sqrt(2) = 1.414")
    assert not holds("1 + 1 = 3") and not holds("(1 + 2i) * 1i = -2 - 1i") and not holds("sqrt(2) = 1.415") and not holds("10 / 4 = 2")
    with pytest.raises((AssertionError, NameError)):
        holds("[1][0] = 1")
