"""`ropewalk explore` without a browser: where the page goes, what is refused, and that it is embedded byte for byte. The page itself: tests/explorer."""

import json
import os
import re
import subprocess

import pytest
from tool import BINARY, LLAMA, ROOT, ok, refused, run


@pytest.fixture(scope="module")
def has_page():
    """Builds without WebAssembly have no page, which is one line and no file."""
    done = run("explore", "--out", "-")
    if done.returncode == 0:
        return True
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "ropewalk: explore: want a tool with the explorer's page inside, got one built without it: run `make build`\n"
    return False


def given(page: str):
    return json.loads(re.search(r'<script id="given" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_where_the_page_goes(config, tmp_path, has_page):
    if not has_page:
        pytest.skip("a build without the page")
    before = ok("explore", "--out", "-")
    assert ok("explore", cwd=tmp_path) == "explorer.html\n" and (tmp_path / "explorer.html").read_text() == before
    out = tmp_path / "model.html"
    out.write_text("older")
    assert ok("explore", config(), "--out", out) == f"{out}\n"
    page = out.read_text()
    (kind,) = given(page)["kinds"]
    assert kind["spec"] == {"head_dim": 64, "rotary_dim": 64, "layout": "half", "theta": 500000.0} and kind["trained"] == 8192 and kind["title"] == "llama"
    assert given(before) == {} and '<script id="evaluation" type="application/json">null</script>' in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "explorer.html", "model.html"]


def test_what_a_page_cannot_be_made_of(config, tmp_path, has_page):
    if not has_page:
        pytest.skip("a build without the page")
    path = config()
    refused("explore", "", says="ropewalk: PATH: ")
    refused("explore", tmp_path / "missing.json", says="missing.json")
    refused("explore", config(LLAMA | {"rope_theta": -1}, "bad.json"), says="rope_theta: want a number > 1, got -1")
    refused("explore", config({"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": 64}, "still.json"), says="want a checkpoint that rotates")
    refused("explore", "--out", "", says="--out: want a file or -, got no name")
    refused("explore", "--eval", "", "--out", "-", says="--eval: want the JSON of ropewalk eval --json, got no name")
    refused("explore", config(LLAMA | {"head_dim": 2048}, "wide.json"), says="wide.json: head_dim: want at most 1024 channels for a page, got 2048")
    refused("explore", "--family", "llama", says="--family: want a PATH")
    refused("explore", "--part", "vision", says="--part: want a PATH")
    refused("explore", path, "--out", path, says="--out: want a file of its own")
    refused("explore", tmp_path, "--out", path, says="--out: want a file of its own")
    refused("explore", path, "--out", tmp_path / "no" / "page.html", says="page.html")
    refused("explore", path, "--out", tmp_path, says=str(tmp_path))
    assert not list(tmp_path.glob("*.html"))
    with open("/dev/full", "w") as full:
        done = subprocess.run([BINARY, "explore", "--out", "-"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("text, says", [
    ("", "want JSON, got something else"), ("[1", "want JSON"), ("[]", "perplexity: want the measurements"), ("{}", "perplexity: want the measurements"), ('{"perplexity": []}', "perplexity: want the measurements"),
    ('{"perplexity": [1]}', "perplexity[0].series: want a string, got null"), ('{"perplexity": [{"series": "a", "length": -1, "perplexity": 1}]}', "perplexity[0].length: want a whole number of tokens, got -1"),
    ('{"perplexity": [{"series": "a", "length": 1, "perplexity": "x"}]}', 'perplexity[0].perplexity: want a number > 0, got "x"'), ("[" * 100000, "want JSON"),
])
def test_measurements_that_are_none(tmp_path, has_page, text, says):
    if not has_page:
        pytest.skip("a build without the page")
    path = tmp_path / "eval.json"
    path.write_text(text)
    refused("explore", "--eval", path, "--out", "-", says=(says, "eval.json"))


def test_no_text_of_others_ends_a_script(config, tmp_path, has_page):
    if not has_page:
        pytest.skip("a build without the page")
    path = tmp_path / "eval.json"
    path.write_text(json.dumps({"model": {"name": "</script><script>alert(1)</script><!--"}, "perplexity": [{"series": "@GIVEN@", "length": 1, "perplexity": 2.0}]}))
    page = ok("explore", config(LLAMA, "<b>.json"), "--eval", path, "--out", "-")
    assert "alert(1)</script>" not in page and page.count("</script>") == ok("explore", "--out", "-").count("</script>")
    assert "<b>" not in page.split('id="given"')[1].split("</script>")[0] and given(page)["kinds"][0]["title"] == "<b>.json"
    evaluation = re.search(r'<script id="evaluation" type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(evaluation)["perplexity"][0]["series"] == "@GIVEN@"


@pytest.mark.parametrize("content", [bytes(range(256)) * 5 + b'"\\??/\n\r', b"", b"x", b"0123456789abcdef" * 2, os.urandom(100_001)], ids=["every byte", "nothing", "one", "a line", "much"])
def test_what_is_embedded_are_the_bytes_of_the_file(tmp_path, content):
    (tmp_path / "input").write_bytes(content)
    subprocess.run(["cmake", "-D", "NAME=kProbeText", "-D", f"INPUT={tmp_path}/input", "-D", f"OUTPUT={tmp_path}/embedded.cpp", "-P", ROOT / "cli/embed.cmake"], check=True)
    (tmp_path / "main.cpp").write_text('#include "cli/embedded.hpp"\n#include <cstdio>\n'
                                       "int main() { const auto& text = ropewalk::cli::kProbeText; return std::fwrite(text.data(), 1, text.size(), stdout) != text.size(); }\n")
    subprocess.run(["c++", "-std=c++20", "-I", ROOT, tmp_path / "main.cpp", tmp_path / "embedded.cpp", "-o", tmp_path / "main"], check=True)
    assert subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout == content
