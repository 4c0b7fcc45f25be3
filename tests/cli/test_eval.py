"""`ropewalk eval` on a tiny random Llama: the contract of its JSON, resuming, the report. What its numbers mean on a real
model is held by tests/runner."""

import html.parser
import json
import math
import os
import re
import resource
import signal
import subprocess
import time

import numpy as np
import pytest
from tiny_model import write_model, write_safetensors, write_text
from tool import BINARY, hear_signals, ok, refused, run

SCALINGS = "none,linear,ntk,dynamic,yarn"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "text.txt")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def arguments(model, text, lengths="48,64,128", scaling=SCALINGS, score="32", *more):
    return ("eval", model, "--text", text, "--lengths", lengths, "--scaling", scaling, "--score", score, *more)


def test_the_json_has_every_key_of_the_contract(model, text):
    results = json.loads(ok(*arguments(model, text), "--windows", 2, "--json"))
    windows = results["windows"]
    assert len(windows) == 3 * 5 * 2 and "specs" in results
    for window in windows:
        assert {"length", "scaling", "factor", "first_token", "tokens_seen", "scored", "nll_sum",
                "tokens_per_second"} <= window.keys()
        first, end = window["scored"]
        assert end - first == 32 and end == window["first_token"] + window["length"] <= 2000
        assert window["tokens_seen"] == window["length"]
        assert math.isfinite(window["nll_sum"]) and window["nll_sum"] > 0 and window["tokens_per_second"] > 0
    assert {tuple(w["scored"]) for w in windows if w["window"] == 0} == {tuple(windows[0]["scored"])}, "the same tokens"
    factors = {(w["length"], w["scaling"]): w["factor"] for w in windows}
    assert factors[48, "yarn"] == 1 and factors[128, "yarn"] == 2 and factors[128, "none"] == 1
    assert {w["fingerprint"] for w in windows} == {s["fingerprint"] for s in results["specs"]}
    assert results["model"]["trained_context"] == 64 and results["text"]["tokens"] == 2000
    for point in results["perplexity"]:
        mine = [w["nll_sum"] / 32 for w in windows if (w["length"], w["scaling"]) == (point["length"], point["scaling"])]
        assert point["perplexity"] == pytest.approx(math.exp(np.mean(mine)), rel=1e-12)
        assert point["standard_error"] == pytest.approx(
            point["perplexity"] * np.std(mine, ddof=1) / math.sqrt(2), rel=1e-9, abs=1e-12)


def nll_in_numpy(folder, ids, score, distance):
    """A decoder in twenty lines of float64; distance(i, j) is how far key j stands from query i."""
    tokens = len(ids)
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    weights = {name: np.frombuffer(raw[8 + size:][slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"]).astype(
        np.float64) for name, entry in json.loads(raw[8:8 + size]).items()}
    norm = lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w
    table = np.array([[distance(i, j) if j <= i else 0 for j in range(tokens)] for i in range(tokens)], np.float64)
    turns = np.exp(1j * table[..., None] * 10000.0 ** (-np.arange(0, 8, 2) / 8))  # [queries, keys, pairs]
    pairs = lambda h: h[..., :4] + 1j * h[..., 4:]
    x = weights["model.embed_tokens.weight"][ids]
    for i in range(2):
        w = lambda name: weights[f"model.layers.{i}.{name}.weight"]
        h = norm(x, w("input_layernorm"))
        q = pairs((h @ w("self_attn.q_proj").T).reshape(tokens, 4, 8))
        k = pairs((h @ w("self_attn.k_proj").T).reshape(tokens, 2, 8)).repeat(2, axis=1)
        v = (h @ w("self_attn.v_proj").T).reshape(tokens, 2, 8).repeat(2, axis=1)
        scores = np.einsum("thd,shd,tsd->hts", q, k.conj(), turns).real / np.sqrt(8) + np.where(np.tri(tokens), 0, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        x = x + np.einsum("hts,shd->thd", scores / scores.sum(-1, keepdims=True), v).reshape(tokens, 32) @ w(
            "self_attn.o_proj").T
        h = norm(x, w("post_attention_layernorm"))
        gate = h @ w("mlp.gate_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w("mlp.up_proj").T)) @ w("mlp.down_proj").T
    logits = norm(x, weights["model.norm.weight"]) @ weights["model.embed_tokens.weight"].T
    log_sum = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return sum(log_sum[t - 1] - logits[t - 1, ids[t]] for t in range(tokens - score, tokens))


def tokens_of(window, text):
    return np.frombuffer(text.read_bytes(), np.uint8)[window["first_token"]:][:window["length"]].astype(int)


def test_nll_is_that_of_the_tiny_model_in_numpy(model, text):
    (window,) = json.loads(ok(*arguments(model, text, "128", "none"), "--json"))["windows"]
    want = nll_in_numpy(model, tokens_of(window, text), 32, lambda i, j: i - j)
    assert window["nll_sum"] == pytest.approx(want, rel=1e-5)


# ---- position maps: the tiny model was trained on 64 tokens


def self_extend(group, window):
    return lambda i, j: i - j if i - j < window else i // group - j // group + window - window // group


def rerope(window, divisor=math.inf):
    return lambda i, j: i - j if i - j < window else window + (i - j - window) / divisor


def dual_chunk(size, local):
    c = size - local
    query = lambda i, back: i % c if back == 0 else min(i % c + c, size) if back == 1 else min(2 * c - 1, size)
    return lambda i, j: query(i, i // c - j // c) - j % c


MAPS = [  # the word, what comes out of it at 160 tokens, its distances
    ("self-extend", {"type": "self-extend", "group": 4, "window": 16}, self_extend(4, 16)),
    ("self-extend:8:window=7", {"type": "self-extend", "group": 8, "window": 7}, self_extend(8, 7)),
    ("rerope", {"type": "rerope", "window": 16}, rerope(16)),
    ("rerope:window=33", {"type": "rerope", "window": 33}, rerope(33)),
    ("leaky-rerope", {"type": "leaky-rerope", "divisor": 143 / 47, "window": 16}, rerope(16, 143 / 47)),
    ("leaky-rerope:window=8:2.5", {"type": "leaky-rerope", "divisor": 2.5, "window": 8}, rerope(8, 2.5)),
    ("dual-chunk", {"type": "dual-chunk", "chunk_size": 48, "local_size": 4}, dual_chunk(48, 4)),
    ("dual-chunk:chunk=20:window=9", {"type": "dual-chunk", "chunk_size": 20, "local_size": 9}, dual_chunk(20, 9)),
]


@pytest.mark.parametrize("word, resolved, distance", MAPS, ids=[word for word, _, _ in MAPS])
def test_maps_have_the_distances_of_their_papers(model, text, word, resolved, distance):
    results = json.loads(ok(*arguments(model, text, "160", f"none,{word}"), "--json"))
    plain, window = results["windows"]
    assert window["map"] == resolved and "map" not in plain and results["perplexity"][1]["map"] == resolved
    assert window["scaling"] == resolved["type"] and window["factor"] == resolved.get("group", resolved.get("divisor", 1))
    want = nll_in_numpy(model, tokens_of(window, text), 32, distance)
    assert window["nll_sum"] == pytest.approx(want, rel=1e-5)
    assert abs(window["nll_sum"] - plain["nll_sum"]) > 1e-3, "the map is seen at all"
    assert window["fingerprint"] != plain["fingerprint"] and window["same_as"] is None
    farthest = max(distance(i, j) for i in range(160) for j in range(i + 1))
    assert farthest < 64 + 1e-9 or "leaky-rerope:" in word
    spec = next(s["spec"] for s in results["specs"] if s["fingerprint"] == window["fingerprint"])
    assert f"{resolved['type']} " in spec


def test_maps_change_nothing_within_their_windows(model, text):
    words = "none,self-extend:4:window=48,rerope:window=48,leaky-rerope:4:window=48,dual-chunk:chunk=60:window=12"
    for windows in (json.loads(ok(*arguments(model, text, "48", words), "--json"))["windows"],
                    json.loads(ok(*arguments(model, text, "48", words), "--dtype", "bf16", "--json"))["windows"]):
        assert [w["same_as"] for w in windows] == [None] + 4 * ["none"]
    assert len({w["fingerprint"] for w in windows}) == 1


def test_maps_are_kept_by_all_of_their_numbers(model, text, tmp_path):
    words = "self-extend:4,self-extend:4:window=8,self-extend:5,rerope,rerope:window=8,leaky-rerope:4,dual-chunk," \
            "dual-chunk:window=8,dual-chunk:chunk=40"
    command = (*arguments(model, text, "128", words), "--json", "--state", tmp_path / "state")
    first = json.loads(ok(*command))
    assert len({w["nll_sum"] for w in first["windows"]}) == 9 and len({w["fingerprint"] for w in first["windows"]}) == 9
    assert len((tmp_path / "state").read_text().splitlines()) == 9
    again = run(*command)
    assert "9 of 9 windows are known" in again.stderr
    assert json.loads(again.stdout)["windows"] == first["windows"]
    assert [p["series"] for p in first["perplexity"]] == [
        "self-extend x4", "self-extend x4 w8", "self-extend x5", "rerope", "rerope w8", "leaky-rerope x4", "dual-chunk",
        "dual-chunk w8", "dual-chunk c40"]


def test_maps_go_by_position_too(model, text):
    results = json.loads(ok(*arguments(model, text, "64,128", "self-extend,dual-chunk"), "--by-position", "--json"))
    assert [curve["map"]["type"] for curve in results["by_position"]] == ["self-extend", "dual-chunk"]
    assert results["by_position"][0]["map"]["group"] == 3 and results["windows"][0]["map"]["group"] == 1


@pytest.mark.parametrize("word, says", [
    ("rerope:4", ("rerope", "no factor")), ("dual-chunk:4", ("dual-chunk", "no factor")),
    ("self-extend:2.5", ("whole number", "2.5")), ("self-extend:0.5", ">= 1"), ("self-extend:4:window", "window"),
    ("self-extend:chunk=8", ("window=TOKENS", "self-extend")), ("yarn:window=8", ("yarn", "factor alone")),
    ("dual-chunk:group=8", ("chunk=TOKENS", "group=8")), ("self-extend:window=0", '"0"'),
    ("self-extend:window=64", ("window", "63", "64")), ("rerope:window=-3", "-3"), ("leaky-rerope:window=63", ("62", "63")),
    ("dual-chunk:chunk=64", ("chunk", "63", "64")), ("dual-chunk:window=48", ("window", "47", "48")),
    ("dual-chunk:chunk=0", '"0"'), ("self-extend:1e300", "whole number"), ("self-extend::", "--scaling"),
    ("selfextend", ("self-extend", "dual-chunk", "yarn")),
])
def test_maps_that_cannot_be_are_refused(model, text, word, says):
    refused(*arguments(model, text, "128", word), says=("--scaling", *([says] if isinstance(says, str) else says)), timeout=20)


def test_windows_that_turn_alike_are_run_once(model, text):
    windows = json.loads(ok(*arguments(model, text), "--json"))["windows"]
    by = {(w["length"], w["scaling"]): w for w in windows}
    for scaling in ("linear", "ntk", "yarn"):
        assert by[48, scaling]["same_as"] == "none" and by[48, scaling]["nll_sum"] == by[48, "none"]["nll_sum"]
        assert by[128, scaling]["same_as"] is None and by[128, scaling]["nll_sum"] != by[128, "none"]["nll_sum"]


def test_the_table_marks_the_trained_length(model, text):
    table = ok(*arguments(model, text), "--windows", 2)
    assert re.search(r"context +factor +none +linear +ntk +dynamic +yarn", table)
    assert re.search(r"^ +64 \* +1 ", table, re.M) and re.search(r"^ +128 +2 ", table, re.M)
    assert "+-" in table and "standard error" in table


def test_json_goes_to_a_file_or_stands_instead_of_the_table(model, text, tmp_path):
    command = arguments(model, text, "64", "none")
    path = tmp_path / "results.json"
    assert "context" in ok(*command, "--json", path)
    for places in (("--json",), ("--json", "-")):
        assert json.loads(ok(*command, *places, "--state", f"{path}.state")) | {"date": 0} == json.loads(
            path.read_text()) | {"date": 0}
    before = ok("eval", "--json", *command[1:], "--state", f"{path}.state")
    assert json.loads(before)["windows"] == json.loads(path.read_text())["windows"]


def test_a_factor_may_be_given_for_all_or_for_one(model, text):
    windows = json.loads(ok(*arguments(model, text, "128", "none,yarn,yarn:4"), "--factor", "8", "--json"))["windows"]
    assert [(w["scaling"], w["factor"]) for w in windows] == [("none", 1), ("yarn", 8), ("yarn", 4)]


def test_loss_by_position_covers_the_whole_window(model, text):
    results = json.loads(ok(*arguments(model, text, "64,128", "none,yarn"), "--by-position", "--json"))
    assert [curve["series"] for curve in results["by_position"]] == ["none", "yarn"]
    for curve in results["by_position"]:
        buckets = curve["buckets"]
        assert curve["length"] == 128 and buckets[-1]["end"] == 128 and buckets[0]["first"] <= 1
        assert all(a["end"] == b["first"] for a, b in zip(buckets, buckets[1:]))
        assert all(math.isfinite(bucket["mean_nll"]) for bucket in buckets)
    assert len(results["windows"]) == 4, "the passes by position are no windows"


def test_finished_windows_are_kept_and_not_run_again(model, text, tmp_path):
    state, more = tmp_path / "state", ("--windows", 2, "--json")
    first = json.loads(ok(*arguments(model, text), *more, "--state", state))
    lines = state.read_text().splitlines()
    assert len(lines) == sum(w["same_as"] is None for w in first["windows"])
    again = run(*arguments(model, text), *more, "--state", state)
    assert json.loads(again.stdout)["windows"] == first["windows"], "speed included: nothing ran"
    assert f"{len(lines)} of 30 windows are known" in again.stderr or "windows are known" in again.stderr
    assert state.read_text().splitlines() == lines
    ok(*arguments(model, text), *more, "--state", state, "--fresh")
    assert len(state.read_text().splitlines()) == len(lines) and state.read_text().splitlines() != lines


def test_a_damaged_state_costs_only_what_is_damaged(model, text, tmp_path):
    state = tmp_path / "state"
    first = json.loads(ok(*arguments(model, text), "--json", "--state", state))
    lines = state.read_text().splitlines(keepends=True)
    foreign = json.dumps(json.loads(lines[0]) | {"run": "0" * 64, "nll_sum": "1"}) + "\n"
    wrong = [lines[1][:40] + "\n", '{"run": 5}\n', "\x00\xff\n", lines[1].replace('"scored":[', '"scored":["x",'), foreign]
    state.write_bytes(("".join([lines[0], *wrong]) + lines[2][:-20]).encode("latin-1"))
    again = run(*arguments(model, text), "--json", "--state", state)
    assert again.returncode == 0 and "ignored 5 lines" in again.stderr
    for a, b in zip(json.loads(again.stdout)["windows"], first["windows"]):
        assert a["nll_sum"] == b["nll_sum"]
    assert foreign.encode() in state.read_bytes(), "another run's lines stay"


def test_another_text_or_dtype_is_another_run(model, text, tmp_path):
    state = tmp_path / "state"
    ok(*arguments(model, text, "64", "none"), "--state", state)
    other = tmp_path / "other.txt"
    other.write_text(text.read_text().upper())
    assert "are known" not in run(*arguments(model, other, "64", "none"), "--state", state).stderr
    assert "are known" in run(*arguments(model, text, "64", "none"), "--state", state).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, number):
    model = write_model(tmp_path / "slower", hidden=64, layers=4, inner=256, context=256)
    text, state = write_text(tmp_path / "text.txt", 12000), tmp_path / "state"
    command = arguments(model, text, "256,4096", "none,yarn", "128", "--windows", "3", "--state", state, "--threads", "1")
    tool = subprocess.Popen([BINARY, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=hear_signals)
    deadline = time.monotonic() + 60
    while (not state.exists() or state.read_text().count("\n") < 1) and time.monotonic() < deadline and tool.poll() is None:
        time.sleep(0.01)
    tool.send_signal(number)
    out, err = tool.communicate(timeout=60)
    kept = state.read_text().count("\n")
    assert tool.returncode == 1 and out == "", err
    assert re.search(r"interrupted: \d+ of 12 windows kept in .*state, run the same command again to resume", err)
    assert 1 <= kept < 9
    resumed = run(*command, "--json")
    assert resumed.returncode == 0 and "windows are known" in resumed.stderr
    assert state.read_text().count("\n") == 9, "256 tokens: yarn turns as none does"
    whole = json.loads(ok(*command, "--json", "--fresh"))
    for a, b in zip(json.loads(resumed.stdout)["windows"], whole["windows"]):
        assert a["nll_sum"] == b["nll_sum"]


class Page(html.parser.HTMLParser):
    """What a browser would load, and which elements and scripts there are."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.tags, self.scripts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "data", "action", "poster", "srcset")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


def test_the_report_is_one_page_with_the_numbers(model, text, tmp_path):
    report, svg, results = tmp_path / "report.html", tmp_path / "curves.svg", tmp_path / "results.json"
    ok(*arguments(model, text), "--windows", 2, "--by-position", "--report", report, "--svg", svg, "--json", results)
    page = Page(report.read_text())
    assert page.loads == [] and "@import" not in report.read_text() and "link" not in page.tags
    assert len(page.scripts) == 3 and "Chart.js v3" in page.scripts[0]
    data = json.loads(page.scripts[1])
    measured = json.loads(results.read_text())
    assert data["trained_context"] == 64 and data["lengths"] == [48, 64, 128]
    assert [series["label"] for series in data["series"]] == SCALINGS.split(",")
    assert [p["y"] for s in data["series"] for p in s["points"]] == [p["perplexity"] for p in measured["perplexity"]]
    assert len(data["by_position"]) == 5
    assert "(trained)" in report.read_text() and measured["model"]["sha256"] in report.read_text()
    import xml.etree.ElementTree as tree

    drawing = tree.parse(svg).getroot()
    assert drawing.tag.endswith("svg") and len(drawing.findall("{*}path")) == 5


def test_names_cannot_inject_into_the_report(model, tmp_path):
    """Neither markup, nor the end of a script, nor the name of another part of the page."""
    folder = tmp_path / "a<"
    text = write_text(tmp_path / '<img src=x onerror=alert(1)> & "@DATA@" @CHART_JS@.txt')
    evil = folder / "script><script>alert(1)<"
    evil.mkdir(parents=True)
    for file in model.iterdir():
        (evil / file.name).write_bytes(file.read_bytes())
    report, svg = tmp_path / "report.html", tmp_path / "curves.svg"
    ok(*arguments(evil, text, "64,128", "none,yarn"), "--report", report, "--svg", svg)
    page = Page(report.read_text())
    assert len(page.scripts) == 3 and "img" not in page.tags and page.loads == []
    assert page.scripts[0].count("Chart.js v3") >= 1 and report.read_text().count("Chart.js v3.9") == 1
    import xml.etree.ElementTree as tree

    tree.parse(svg)


def test_what_cannot_work_is_refused_before_it_begins(model, text, tmp_path):
    at_once = {"timeout": 20}
    refused(*arguments(model, tmp_path / "missing.txt"), says="missing.txt", **at_once)
    refused(*arguments(model, tmp_path), says=str(tmp_path), **at_once)
    refused(*arguments(tmp_path / "missing", text), says="missing", **at_once)
    refused(*arguments(model, text, "4k"), says=("--lengths", "2000", "4096"), **at_once)
    refused(*arguments(model, text, "1000000m"), says="--lengths", **at_once)
    refused(*arguments(model, text, "32"), says="--lengths", **at_once)
    refused(*arguments(model, text, "64,,128"), says="--lengths", **at_once)
    refused(*arguments(model, text, "64", "none,sideways"), says=("--scaling", "sideways", "yarn"), **at_once)
    refused(*arguments(model, text, "64", "none:2"), says="--scaling", **at_once)
    refused(*arguments(model, text, "64", "yarn"), "--factor", "0.5", says=("--factor", "0.5"), **at_once)
    refused(*arguments(model, text, "64", "yarn"), "--factor", "much", says=("--factor", "much"), **at_once)
    refused(*arguments(model, text), "--windows", 0, says="--windows", **at_once)
    refused(*arguments(model, text), "--windows", 100000, says="--windows", **at_once)
    for threads in (-1, 100000):
        refused(*arguments(model, text), "--threads", threads, says=("--threads", "from 0 to", str(threads)), **at_once)
    refused(*arguments(model, text, str(2**62), "none", "64"), says=("--lengths", "2000 tokens", str(2**62)), **at_once)
    for scaling in ("yarn:1e13", "linear:1e300"):
        refused(*arguments(model, text, "64", scaling), says="factor", **at_once)
        refused(*arguments(model, text, "64", scaling), "--by-position", says="factor", **at_once)
    refused(*arguments(model, text, "64", "yarn"), "--factor", "1e308", says="factor", **at_once)
    refused(*arguments(model, text), env={"ROPEWALK_TARGET": "nonsense"}, says=("ROPEWALK_TARGET", "nonsense"), **at_once)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    refused(*arguments(model, empty), says="empty.txt", **at_once)
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"a" * 300 + b"\xff\xfe" + b"a" * 300)
    refused(*arguments(model, binary), says=("binary.txt", "UTF-8", "300"), **at_once)


def bytes_below(*places):
    return {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("option", ["--report", "--json", "--svg", "--state"])
def test_what_is_read_is_never_written(text, tmp_path, option):
    folder = write_model(tmp_path / "model")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "hard.txt").hardlink_to(text)
    before = bytes_below(tmp_path)
    command = arguments(folder, text, "64", "none")
    for place in (text, tmp_path / "model" / ".." / "text.txt", tmp_path / "hard.txt", folder / "config.json",
                  folder / "model.safetensors", tmp_path / "link" / "tokenizer.json", folder / "other.safetensors"):
        refused(*command, option, place, says=(option, place.name))
    assert bytes_below(tmp_path) == before
    refused("eval", text, "--text", text, option, text, says=option)


def test_results_and_state_do_not_share_a_file(model, text, tmp_path):
    command, place = arguments(model, text, "64", "none"), tmp_path / "place"
    for one, two in (("--json", "--state"), ("--json", "--report"), ("--svg", "--report"), ("--svg", "--state")):
        refused(*command, one, place, two, tmp_path / "." / "place", says=("own", "--"))
    refused(*command, "--json", place, "--svg", f"{place}.state", says=("--state", "--svg"))
    assert not place.exists()
    ok(*command, "--report", "/dev/null", "--svg", "/dev/null", "--state", place)


@pytest.mark.parametrize("content", ["A text\nof two lines.\n", '{"architectures": ["LlamaForCausalLM"]}', "\n\n{\n  \"run\": 1\n}\n",
                                     "[1]", '{"run": "a"}\n', "GGUF\0\3\0"])
def test_another_kind_of_file_is_no_state(model, text, tmp_path, content):
    state = tmp_path / "state"
    state.write_text(content)
    for more in ((), ("--fresh",)):
        refused(*arguments(model, text, "64", "none"), "--state", state, *more, says=(str(state), "state"))
    assert state.read_text() == content


@pytest.mark.parametrize("kept", [0, 1, 5, 17, 60])
def test_a_state_cut_off_in_its_first_line_goes_on(model, text, tmp_path, kept):
    state = tmp_path / "state"
    command = (*arguments(model, text, "64,128", "none"), "--state", state)
    ok(*command)
    state.write_bytes(state.read_bytes()[:kept])
    ok(*command)
    again = run(*command)
    assert again.returncode == 0 and "2 of 2 windows are known" in again.stderr


def test_pipes_and_devices_do_not_hang_it(model, text, tmp_path):
    pipe, at_once = tmp_path / "pipe", {"timeout": 20}
    os.mkfifo(pipe)
    command = arguments(model, text, "64", "none")
    refused(*command, "--state", pipe, says=("pipe", "regular"), **at_once)
    for place in (pipe, "/dev/zero", "/dev/null"):
        refused(*arguments(model, place, "64", "none"), says=(str(place), "regular"), **at_once)
    refused(*arguments(pipe, text, "64", "none"), says="pipe", **at_once)
    for name in ("config.json", "tokenizer.json", "model.safetensors", "x.safetensors"):
        folder = tmp_path / f"with-{name}"
        write_model(folder)
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        refused(*arguments(folder, text, "64", "none"), says=(str(folder / name), "regular"), **at_once)


def spoil(folder, tensor, value, count=1):
    """Writes `value` over the first numbers of a tensor of the small model."""
    path = folder / "model.safetensors"
    whole = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(whole[:8], "little")
    at = start + json.loads(whole[8:start])[tensor]["data_offsets"][0]
    whole[at:at + 4 * count] = np.full(count, value, np.float32).tobytes()
    path.write_bytes(whole)


@pytest.mark.parametrize("tensor, says", [
    ("model.layers.1.mlp.down_proj.weight", "weights of layer 1: "), ("model.layers.0.self_attn.k_proj.weight", "weights of layer 0: "),
    ("model.norm.weight", "weights of the output: "), ("model.embed_tokens.weight", "weights of the output: "),
])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(text, tmp_path, tensor, says, value):
    folder = write_model(tmp_path / "model")
    spoil(folder, tensor, value)
    done = run(*arguments(folder, text, "48,64", "none,yarn:2"), "--json", tmp_path / "r.json", "--state", tmp_path / "state")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"ropewalk: {says}want finite numbers out of them, got NaN or infinity")
    assert not (tmp_path / "r.json").exists() and (tmp_path / "state").read_text() == ""
    refused("convert", folder, "--detect", says="NaN")


def test_a_perplexity_beyond_double_is_infinite_and_its_json_is_json(text, tmp_path):
    folder = write_model(tmp_path / "model")
    spoil(folder, "model.norm.weight", 1e4, 32)

    def no_number(word):
        raise ValueError(word)

    (point,) = json.loads(ok(*arguments(folder, text, "64", "none"), "--json"), parse_constant=no_number)["perplexity"]
    assert point["perplexity"] == "Infinity" and 709 < point["mean_nll"] < math.inf
    assert "inf" in ok(*arguments(folder, text, "64", "none")).splitlines()[-3].split()


def test_a_window_without_a_number_is_not_taken_from_the_state(model, text, tmp_path):
    state = tmp_path / "state"
    ok(*arguments(model, text, "64", "none"), "--state", state)
    line = json.loads(state.read_text())
    state.write_text(json.dumps(line | {"nll_sum": "nan"}) + "\n")
    done = run(*arguments(model, text, "64", "none"), "--state", state)
    assert done.returncode == 0 and "ignored 1 lines" in done.stderr and "are known" not in done.stderr


def test_the_star_is_explained_where_it_stands(model, text):
    assert "* the length it was trained to" in ok(*arguments(model, text, "48,64", "none"))
    assert "*" not in ok(*arguments(model, text, "48,128", "none"))


def test_a_full_disk_is_named(model, text, tmp_path):
    state = tmp_path / "state"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
    # Python ignores SIGXFSZ, and so does what it starts like this: the write fails.
    done = run(*arguments(model, text, "64,128", "none"), "--state", state, preexec_fn=limit, restore_signals=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        f"ropewalk: {state}: want it written whole, got: File too large")


@pytest.mark.parametrize("key", ["vocab_size", "num_key_value_heads", "num_hidden_layers", "hidden_size"])
@pytest.mark.parametrize("value", [2**40, 2**64 - 1, 0, -7])
def test_a_size_out_of_range_is_named_as_given(text, tmp_path, key, value):
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    refused(*arguments(folder, text, "64", "none"), says=(key, f"got {value}"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_part_of_a_model_is_named(text, tmp_path, name):
    folder = write_model(tmp_path / "model")
    (folder / name).unlink()
    refused(*arguments(folder, text, "64", "none"), says=(str(folder / name), "No such file"))


@pytest.mark.parametrize("option", ["--report", "--json", "--svg", "--state"])
def test_an_unwritable_result_is_refused_before_it_begins(model, text, tmp_path, option):
    for place in ("/proc/nothing/here", "/proc/nothing", tmp_path):
        refused(*arguments(model, text), option, place, says=str(place))
    assert {p.name for p in tmp_path.iterdir()} <= {"text.txt", "cache"}


def test_progress_is_told_on_stderr_only(model, text):
    done = run(*arguments(model, text, "64,128", "none,yarn"))
    assert done.returncode == 0
    assert re.search(r"\[1/4\] 64 tokens, none.*perplexity .* tokens/s", done.stderr)
    assert re.search(r"left", done.stderr) and "\r" not in done.stderr and "\x1b" not in done.stderr
