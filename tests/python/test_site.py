"""The site of the documentation: it builds without a warning, every link in it leads somewhere, it asks no network, and its figures are what their scripts draw."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ropewalk

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"
pytest.importorskip("material", reason="mkdocs-material is not installed")
sys.path.insert(0, str(ROOT / "scripts" / "site"))
import check  # noqa: E402
import docstrings  # noqa: E402
import headers  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    package = Path(ropewalk.__path__[0]).parent
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "ROPEWALK_PACKAGE": str(package), "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


def test_every_link_leads_somewhere_and_nothing_is_asked_of_a_network(site):
    assert check.problems(site) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "index.html").write_text('<a href="two.html#there">x</a><a href="two.html#not">x</a><a href="three.html">x</a><a href="https://example.org/">x</a>')
    (tmp_path / "two.html").write_text('<h2 id="there">x</h2><img src="no.svg"><script src="https://example.org/x.js"></script><link rel="stylesheet" href="//example.org/x.css">')
    (tmp_path / "some.css").write_text("@font-face { src: url(https://example.org/font.woff2) }")
    (tmp_path / "some.js").write_text('load("https://unpkg.com/something")')
    assert sorted(check.problems(tmp_path)) == sorted([
        "index.html: two.html#not: the page has no such heading", "index.html: three.html leads nowhere", "two.html: no.svg leads nowhere",
        "two.html: asks for https://example.org/x.js", "two.html: asks for //example.org/x.css", "some.css: asks for https://example.org/font.woff2",
        "some.js: asks for https://unpkg.com/something"])


def test_mathematics_is_there_without_a_script(site):
    page = (site / "complex_numbers.html").read_text()
    assert page.count("<math") > 40 and "arithmatex" not in page and "MathJax" not in page
    article = re.sub(r"<math.*?</math>|<pre.*?</pre>|<code.*?</code>", "", page.split("<article")[1].split("</article>")[0], flags=re.DOTALL)
    assert "$" not in article and "\\(" not in article


def test_the_search_works_from_a_file(site):
    """In a browser, without a server: what is looked for is found, and nothing is complained of."""
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("chromium is not installed")
    done = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom",
                           f"{(site / 'index.html').as_uri()}?q=rosetta"], capture_output=True, text=True, timeout=120)
    assert re.search(r'md-search-result__item"><a href="[^"]*rosetta.html', done.stdout)
    assert "CONSOLE" not in done.stderr


def test_the_reference_has_every_public_name(site):
    for name in ropewalk.__all__:
        if name not in ("__version__", "Scaling"):
            assert f'id="ropewalk.{name}"' in (site / "api/python/ropewalk.html").read_text(), name
    declared = re.findall(r"^(rw_\w+)$", (ROOT / "tests/abi/symbols.txt").read_text(), re.MULTILINE)
    assert declared
    titles = " ".join(re.findall(r"<h[23][^>]*>(.*?)</h[23]>", (site / "api/c.html").read_text(), re.DOTALL))
    for name in declared:
        assert f"<code>{name}</code>" in titles, name
    for path in headers.in_order():
        page = (site / headers.page_of(path)).with_suffix(".html").read_text()
        if path.endswith("ropewalk.hpp"):
            continue
        for name in re.findall(r"^(?:class|struct|enum class) (\w+) ", (ROOT / path).read_text(), re.MULTILINE):
            assert f"<code>{name}</code>" in page, f"{path}: {name}"


def test_nothing_of_a_header_is_lost():
    """Every line of a declaration and every word of a comment is in the page, private members aside."""
    for path in [*headers.in_order(), "include/ropewalk/ropewalk.h"]:
        if path.endswith("ropewalk.hpp"):
            continue
        page = re.sub(r"\s+", "", headers.page(path).replace("**: ", "").replace("&lt;", "<").replace("&gt;", ">").replace("\\", "").replace("*", ""))
        private = False
        for line in (ROOT / path).read_text().splitlines():
            private = (private or line == " private:") and line != "};"
            if private or re.match(r"#pragma|#include|#if|#endif|#undef|namespace |}  // namespace|extern|// clang-format|// ----|}$|static_assert|\s*$", line):
                continue
            text = re.sub(r"^///? ?", "", line) if line.startswith("//") else line
            assert re.sub(r"\s+", "", text.replace("\\", "").replace("*", "")) in page, f"{path}: {line}"


def test_docstrings_become_lists_and_examples():
    text = docstrings.as_markdown("First.\n\nx, y: what\nit is.\nz: another\n\n>>> f()\n1\n")
    assert text == "First.\n\n- `x`, `y`: what\n  it is.\n- `z`: another\n\n```pycon\n>>> f()\n1\n```\n"


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
IMAGE = re.compile(r'xlink:href="data:image/png;base64,([^"]+)"')


def numbers(svg: str):
    """A drawing without its numbers and images, and these: names that matplotlib makes of hashes of them are no part of it."""
    images = [base64.b64decode(re.sub(r"\s", "", one)) for one in IMAGE.findall(svg)]
    svg = re.sub(r'(id="|#)(?:[mpc]|image|hist)?[0-9a-f]{10}', r"\1", IMAGE.sub("", svg))
    return NUMBER.sub("0", svg), [float(one) for one in NUMBER.findall(svg)], images


@pytest.mark.parametrize("script", [path for path in sorted(FIGURES.glob("*.py")) if path.name != "style.py"], ids=lambda path: path.stem)
def test_figures_are_what_their_scripts_draw(script, tmp_path):
    pytest.importorskip("matplotlib")
    np, image = pytest.importorskip("numpy"), pytest.importorskip("PIL.Image")
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=300)
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn == sorted(path.name for path in FIGURES.glob("*.svg") if path.stem.split("-")[0] == script.stem)
    for name in drawn:
        (words, values, images), (kept_words, kept_values, kept_images) = (numbers((folder / name).read_text()) for folder in (tmp_path, FIGURES))
        assert words == kept_words and len(values) == len(kept_values), f"{name}: run docs/figures/{script.name}"
        assert max(map(abs, (a - b for a, b in zip(values, kept_values))), default=0) < 0.05, f"{name}: run docs/figures/{script.name}"
        for one, other in zip(images, kept_images, strict=True):
            one, other = (np.asarray(image.open(io.BytesIO(data)).convert("RGB"), np.int64) for data in (one, other))
            assert one.shape == other.shape and np.abs(one - other).max() <= 3, name
