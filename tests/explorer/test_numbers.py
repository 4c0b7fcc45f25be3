"""The numbers of every panel are the tool's, or those of a formula written here once more."""

import json
import math
import re
from urllib.parse import quote

import numpy as np
import pytest
from pages import EVALUATION, LLAMA, ROOT
from tool import ok, run

FAR = 2**36


def table(config, what, *more):
    return json.loads(ok("table", config, "--what", what, *more))


def frequencies(config, *more):
    return np.array(table(config, "inv_freq", *more)["inv_freq"])


def angles(config, positions, *more):
    """[positions, pairs], radians."""
    return 2 * np.pi * np.array(table(config, "turns", "--positions", ",".join(map(str, positions)), *more)["turns"])


def floats(values):
    return np.array([float(value) for value in values])


def write(tmp_path, change, name="config.json"):
    path = tmp_path / name
    path.write_text(json.dumps(LLAMA | change))
    return path


@pytest.mark.parametrize("position", [0, 1, 131072, FAR - 1, FAR])
def test_clocks_point_where_the_tool_says(page, explorer, config, position):
    page.open(explorer, f"#p={position}")
    numbers = page.csv("clocks")
    assert np.array_equal(floats(numbers["inv_freq"]), frequencies(config))
    for column, more in (("angle", ()), ("angle_fp32", ("--numerics", "fp32"))):
        wanted = angles(config, [position], *more)[0]
        assert np.abs(np.sin((floats(numbers[column]) - wanted) / 2)).max() < 1e-9, column
    assert page.data("#clocks canvas", "pairs") == "64"


def test_clocks_that_turn_clockwise_do_so(page, explorer):
    spec = {"head_dim": 8, "layout": "half", "theta": 10000}
    page.open(explorer, "#p=3&spec=" + json.dumps(spec))
    forward = floats(page.csv("clocks")["angle"])
    page.go("#p=3&spec=" + json.dumps(spec | {"clockwise": True}))
    assert floats(page.csv("clocks")["angle"]) == pytest.approx(-forward, abs=1e-12) and abs(forward[0]) > 0.1


@pytest.mark.parametrize("position", [1, 4096, 1000000, 2**24, FAR])
@pytest.mark.parametrize("numerics", ["fp32", "bf16"])
def test_the_sentence_is_as_far_off_as_compare_says(page, explorer, config, numerics, position):
    page.open(explorer, f"#p={position}&numerics={numerics}")
    (kind,) = json.loads(ok("compare", config, "--numerics", f"exact,{numerics}", "--at", position, "--json"))["kinds"]
    (at,) = kind["at"]
    assert float(page.data("#apart", "apart")) == pytest.approx(at["largest"], rel=1e-9, abs=1e-15)
    assert int(page.data("#apart", "pair")) == at["pair"]
    assert f"--numerics exact,{numerics} --at {position}" in page.text("#apart")


def scores(config, words, position, numerics):
    """Every query with every key, from vectors of the words' own and the tool's cosines and sines."""
    dim = 128

    def uniform(text):
        seed = 2166136261
        for byte in text.encode():
            seed = ((seed ^ byte) * 16777619) & 0xFFFFFFFF
        while True:
            seed = (seed + 0x6D2B79F5) & 0xFFFFFFFF
            mixed = ((seed ^ (seed >> 15)) * (seed | 1)) & 0xFFFFFFFF
            mixed = (mixed ^ (mixed + ((mixed ^ (mixed >> 7)) * (mixed | 61)))) & 0xFFFFFFFF
            yield ((mixed ^ (mixed >> 14)) & 0xFFFFFFFF) / 2**32

    def normal(text):
        draw, out = uniform(text), []
        while len(out) < dim:
            radius, angle = math.sqrt(-2 * math.log(1 - next(draw))), 2 * math.pi * next(draw)
            out += [radius * math.cos(angle), radius * math.sin(angle)]
        return np.array(out)

    q = np.array([normal("q " + word.lower()) for word in words])
    k = 0.6 * q + 0.8 * np.array([normal("k " + word.lower()) for word in words])
    turned = np.exp(1j * angles(config, range(position, position + len(words)), "--numerics", numerics))
    q, k = ((x[:, :64] + 1j * x[:, 64:]) * turned for x in (q, k))
    return (q @ k.conj().T).real / math.sqrt(dim)


@pytest.mark.parametrize("position", [0, 1000000, FAR])
def test_scores_of_the_sentence_are_those_of_the_tools_angles(page, explorer, config, position):
    words = ["The", "pig", "chased", "the", "dog"]
    for numerics in ("exact", "fp32"):
        page.open(explorer, f"#p={position}&numerics={numerics}")
        numbers = page.csv("sentence")
        shown = np.array([floats(numbers[name]) for name in list(numbers)[1:]]).T
        assert np.abs(shown - scores(config, words, position, numerics)).max() < 1e-9
        cells = page.js("return [...document.querySelectorAll('#scores td')].map((cell) => cell.textContent)")
        assert cells == [f"{value:.4f}" for value in shown.ravel()] or np.abs(floats(cells) - shown.ravel()).max() <= 0.5001e-4


def test_in_exact_arithmetic_not_a_digit_moves_and_in_the_others_it_does(page, explorer):
    page.open(explorer)
    begin = page.csv("sentence")
    for position in (1, 999983, 2**24, FAR):
        page.go(f"#p={position}")
        assert page.csv("sentence") == begin and page.data("#moved", "moved") == "0" and "not a digit" in page.text("#moved")
    for numerics, least in (("fp32", 0.5), ("bf16", 0.5)):
        page.go(f"#p={2**24}&numerics={numerics}")
        assert float(page.data("#moved", "moved")) > least


def test_words_are_the_readers_own(page, explorer):
    page.open(explorer)
    page.set("#words", "a rose is a rose <b>", "input")
    assert page.js("return [...document.querySelectorAll('#scores thead th')].map((cell) => cell.textContent)") == ["query \\ key", "a", "rose", "is", "a", "rose", "<b>"]
    page.set("#words", "", "input")
    assert page.js("return document.querySelectorAll('#scores td').length") == 0


@pytest.mark.parametrize("change", [{}, {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}], ids=["plain", "dynamic"])
def test_the_decay_is_the_mean_cosine_of_the_tools_angles(page, explorer, tmp_path, change):
    path = write(tmp_path, change)
    page.open(explorer)
    page.drop(path.read_text())
    page.set("#reach", "16384")
    numbers = page.csv("decay")
    distances, shown = (floats(column) for column in numbers.values())
    assert len(distances) == 401 and distances[0] == 0 and distances[-1] == 16384
    turned = angles(path, distances.astype(int), "--length", 16385)
    assert np.abs(shown - np.cos(turned).mean(axis=1)).max() < 1e-9
    page.set("#decay-what", "bound")
    partial = np.abs(np.cumsum(np.exp(1j * turned), axis=1)).mean(axis=1)
    assert np.abs(floats(list(page.csv("decay").values())[1]) - partial / partial[0]).max() < 1e-9


def test_several_decays_lie_over_each_other(page, explorer):
    page.open(explorer)
    page.js("document.getElementById('keep').click()")
    page.set("#theta", "500000")
    assert list(page.csv("decay")) == ["distance", "128 channels, theta 500000", "128 channels, theta 10000"]
    page.js("document.getElementById('drop').click()")
    page.settle()
    assert list(page.csv("decay")) == ["distance", "128 channels, theta 500000"]


def test_wavelengths_under_each_scaling_are_the_tools(page, explorer, config, tmp_path):
    divisors = [1 + 3 * (1 - math.cos(math.pi * j / 63)) / 2 for j in range(64)]
    trained = {"original_max_position_embeddings": 4096, "factor": 4.0}
    scalings = {
        "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        "NTK-aware": {"rope_theta": 10000.0 * 4 ** (128 / 126)},
        "dynamic NTK": {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
        "YaRN": {"rope_scaling": {"rope_type": "yarn", **trained}},
        "LongRoPE (made up)": {"model_type": "phi3", "max_position_embeddings": 16384, "original_max_position_embeddings": 4096,
                                        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 64, "long_factor": divisors}},
        "Llama 3": {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **trained}},
    }
    page.open(explorer)
    numbers = {name.replace(" at 16k tokens", ""): column for name, column in page.csv("wavelengths").items()}
    assert list(page.csv("wavelengths"))[5] == "dynamic NTK at 16k tokens wavelength"
    assert list(numbers) == ["pair", "as it is wavelength", "none wavelength", *(f"{name} wavelength" for name in scalings)]
    rows = page.js("return [...document.querySelectorAll('#turns tbody tr')].map((row) => [row.cells[0].textContent, Number(row.dataset.never), row.cells[4].textContent])")
    never = {name.replace(" at 16k tokens", ""): count for name, count, _ in rows}
    for name, change in {"as it is": {}, "none": {}, **scalings}.items():
        wanted = 2 * np.pi / frequencies(write(tmp_path, change), "--length", 16384)
        assert floats(numbers[f"{name} wavelength"]) == pytest.approx(wanted, rel=1e-12), name
        assert never[name] == (wanted > 4096).sum(), name
    assert {name: factor for name, _, factor in rows}["YaRN"] == "1.14"  # 0.1 ln 4 + 1
    assert f"{never['as it is']} of 64 pairs never finish a turn" in page.text("#wavelengths .reading")


@pytest.mark.parametrize("change", [
    {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "factor": 4.0, "original_max_position_embeddings": 1024}},
    {"model_type": "phi3", "max_position_embeddings": 16384, "original_max_position_embeddings": 4096, "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 64, "long_factor": [4.0] * 64}},
], ids=["dynamic", "llama3", "longrope"])
def test_as_it_is_as_many_pairs_never_finish_a_turn_as_explain_says(page, explorer, tmp_path, change):
    path = write(tmp_path, change)
    never = re.search(r"(\d+) of them never finish a turn", ok("explain", path))[1]
    page.open(explorer)
    page.drop(path.read_text())
    assert page.js("return document.querySelector('#turns tbody tr').dataset.never") == never and page.text("#wavelengths .reading").startswith(f"{never} of 64 pairs")
    assert floats(list(page.csv("wavelengths").values())[1]) == pytest.approx(2 * np.pi / frequencies(path), rel=1e-12)


@pytest.mark.parametrize("order, columns", [("interleaved", lambda j: (2 * j, 2 * j + 1)), ("halves", lambda j: (j, j + 32))])
def test_sinusoids_are_those_of_their_formula(page, explorer, order, columns):
    page.open(explorer, f"#p=1000&order={order}")
    numbers = page.csv("tables")
    assert [int(position) for position in numbers["position"]] == list(range(960, 1024))
    for j in range(32):
        speed = 10000.0 ** (-2 * j / 64) if order == "interleaved" else 10000.0 ** (-j / 31)
        for column, of in zip(columns(j), (math.sin, math.cos)):
            wanted = [of(t * speed) for t in range(960, 1024)]
            assert np.abs(floats(numbers[f"channel {column}"]) - wanted).max() < 1e-6, (j, column)


def test_biases_are_those_of_their_formulas(page, explorer):
    page.open(explorer)
    for head in range(8):
        page.set("#bias-head", str(head), "input")
        assert float(page.data("#alibi", "slope")) == -(2.0 ** -(head + 1))
    exact = [d if d < 16 else 16 + int(math.log(d / 16) / math.log(128 / 16) * 16) for d in range(48)]
    assert f"{len(set(exact))} of them are used within 48 tokens" in page.text("#t5 + figcaption")


@pytest.mark.parametrize("size, stretch", [(1, False), (2, False), (2, True)])
def test_the_picture_is_the_mean_cosine_of_its_offsets(page, explorer, size, stretch):
    state = {"turning": "axial", "size": size, "stretch": stretch, "theta": 100, "at": [3, 9]}
    page.open(explorer, "#picture=" + json.dumps(state))
    numbers, n = page.csv("picture"), 16 * size
    shown = np.array([floats(numbers[f"column {c}"]) for c in range(n)]).T
    speeds, offsets = 100.0 ** (-np.arange(16) / 16), np.arange(n) * (0.5 if stretch else 1)
    along = {at: np.cos(np.outer(offsets - offsets[at], speeds)).sum(axis=1) for at in (3, 9)}
    assert np.abs(shown - (along[3][:, None] + along[9][None, :]) / 32).max() < 1e-6


def test_what_was_measured_is_what_eval_wrote(page, folder, config):
    results, out = folder / "eval.json", folder / "with_eval.html"
    results.write_text(json.dumps(EVALUATION))
    ok("explore", config, "--eval", results, "--out", out)
    page.open(out)
    for _ in range(2):
        assert page.js("return [...document.querySelectorAll('#perplexity tr')].map((row) => [...row.cells].map((cell) => cell.textContent))") == [
            ["context", "none", "yarn <b>4"], ["128", "3.50", "3.75"], ["512", "1.2e+6", "104.3"]]
        assert page.text("#eval-said") == "tiny <model> on 1\u202f000 tokens of text, f32, a processor, today"
        page.open(out)
        page.drop(EVALUATION, "eval.json")
    assert page.csv("measured")["none"] == ["3.5", "1234567"]


def test_a_real_evaluation_is_shown(page, folder, explorer, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from tiny_model import write_model, write_text

    results = json.loads(ok("eval", write_model(tmp_path / "tiny"), "--text", write_text(tmp_path / "text.txt"), "--lengths", "48,128", "--scaling", "none,yarn:2", "--score", 32, "--json"))
    page.open(explorer)
    page.drop(results, "eval.json")
    assert page.error == ""
    numbers = page.csv("measured")
    for point in results["perplexity"]:
        assert float(numbers[point["series"]][numbers["context"].index(str(point["length"]))]) == point["perplexity"]


def settings_of_every_kind():
    """A configuration of each family of the golden suite, and what these leave at its default."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    for more in ({"truncate": False}, {"attention_factor": 1.5}, {"beta_fast": 16.0, "beta_slow": 2.0}, {"mscale": 0.7, "mscale_all_dim": 0.4}):
        yield str(more), LLAMA | {"rope_scaling": yarn | more}
    for path in sorted((ROOT / "tests/golden").glob("*.json")):
        for name, one in json.loads(path.read_text())["configs"].items():
            yield f"{path.stem}: {name}", one["config"]
            break


def test_what_the_tool_reads_and_what_the_page_reads_are_one_spec(page, explorer, tmp_path):
    """`ropewalk explore PATH` puts the spec of its own reader into the page; a dropped config.json is read by the page's."""
    page.open(explorer)
    read = refused = 0

    def shown():
        return page.text("#text").split(": ", 1)[-1], page.csv("clocks"), page.js("return document.getElementById('beyond').hidden")

    for name, settings in settings_of_every_kind():
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings))
        done = run("explore", path, "--out", "-")
        page.drop(settings)
        if done.returncode:
            assert page.error == done.stderr.removeprefix("ropewalk: ").removesuffix("\n").replace(str(path), "config.json"), name
            refused += 1
            continue
        kinds = json.loads(re.search(r'<script id="given" type="application/json">(.*?)</script>', done.stdout, re.DOTALL)[1])["kinds"]
        assert page.error == "", name
        dropped = shown()
        page.go("#spec=" + quote(json.dumps(kinds[0]["spec"])))
        assert page.error == "", name
        assert shown() == dropped, name
        read += 1
    assert read >= 30 and refused >= 1


CHART = """const { scales, data } = Chart.getChart(document.querySelector(arguments[0]));
return { x: [scales.x.type, scales.x.min, scales.x.max, scales.x.options.title.text], y: [scales.y.type, scales.y.options.title.text],
         sets: data.datasets.map(({ label, data }) => [label, data.map(({ x, y }) => [x, y])]) };"""


def test_charts_draw_these_numbers_along_their_axes(page, explorer):
    page.open(explorer)
    page.drop(EVALUATION, "eval.json")
    chart = page.js(CHART, "#measured canvas")
    assert chart["sets"] == [["none", [[128, 3.5], [512, 1234567]]], ["yarn <b>4", [[128, 3.75], [512, 104.25]]]]
    assert chart["x"][0] == "logarithmic" and chart["x"][3] == "context, tokens" and chart["y"] == ["logarithmic", "perplexity"]
    chart = page.js(CHART, "#decay canvas")
    assert chart["x"] == ["linear", 0, 4096, "distance, tokens"] and chart["y"] == ["linear", "score, of that at 0"]
    (_, points), numbers = chart["sets"][0], page.csv("decay")
    assert [[str(x), str(y)] for x, y in points[1:3]] == [[numbers["distance"][i], list(numbers.values())[1][i]] for i in (1, 2)]
    plain, yarn = floats(page.csv("wavelengths")["none wavelength"]), floats(page.csv("wavelengths")["YaRN wavelength"])
    chart = page.js(CHART, "#wavelengths canvas")
    assert chart["x"] == ["linear", 0, 63, "pair"] and chart["y"] == ["linear", "share of the frequency"]
    assert [y for _, y in dict(chart["sets"])["YaRN"]] == pytest.approx(plain / yarn)
    page.set("[name=wave-what][value=wavelength]", True)
    chart = page.js(CHART, "#wavelengths canvas")
    assert chart["y"] == ["logarithmic", "wavelength, tokens"] and [y for _, y in dict(chart["sets"])["YaRN"]] == pytest.approx(yarn)
