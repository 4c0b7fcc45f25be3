"""The golden suite itself: its files are what the formulas give, every family is there, and transformers agrees.

Whether this library agrees is tests/cli/test_conform.py; nothing here runs it.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILES = sorted(HERE.glob("*.json"))

# The rows of the table of variants and of what transformers holds beyond it, each with its file.
ROWS = {
    "plain, half": "plain_half", "plain, adjacent": "plain_interleaved", "partial leading": "partial",
    "trailing (MLA)": "mla", "linear": "linear", "dynamic NTK": "dynamic_ntk", "alpha NTK": "ntk_alpha",
    "fixed and mixed NTK": "ntk_fixed", "YaRN": "yarn", "YaRN with mscales": "yarn_mscale", "YaRN 0.07": "yarn_telechat3",
    "llama3": "llama3", "longrope": "longrope", "proportional": "proportional", "dual theta": "dual_theta",
    "NoPE layers": "nope_layers", "query temperature": "query_temperature", "M-RoPE in blocks": "mrope_blocked",
    "M-RoPE interleaved": "mrope_interleaved", "ERNIE 3-D": "ernie_vl", "XD-RoPE": "xdrope", "TMRoPE": "tmrope",
    "vision [h|w] doubled": "vision_hw_half", "vision, adjacent 2-D": "vision_pairs", "Pixtral": "vision_pixtral",
    "width first, halves": "vision_wh_half", "blocks of axes": "vision_blocks", "normalised coordinates": "vision_coordinates",
    "mismatched pairing": "vision_mismatched", "memory attention": "memory_attention", "xPos": "xpos", "FoPE": "fope",
    "dual chunk": "dual_chunk", "DeepSeek-V4": "deepseek_v4", "learned multipliers": "learned_multipliers",
    "learned frequencies": "learned_frequencies", "rescaled and shifted grids": "rescaled_grid",
    "two-axis text": "two_axis_text", "M-RoPE nested by layer type": "mrope_nested",
    "physical coordinates": "physical_coordinates", "time stamps": "time_stamps", "encoders": "encoders",
    "layer types of their own": "nested_labels", "speech, sound, time series": "speech",
}


def load(path):
    return json.loads(path.read_text())


def test_the_files_are_what_the_generator_writes():
    run = subprocess.run([sys.executable, HERE / "generate.py", "--check"], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_row_has_its_file_and_every_file_its_row():
    assert {p.stem for p in FILES} == set(ROWS.values())
    assert sum(p.stat().st_size for p in FILES) < 4 << 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_shapes_are_those_of_the_readme(path):
    family = load(path)
    assert family["format"] == "ropewalk-golden/1" and family["family"] == path.stem and family["sources"]
    words = (HERE / "README.md").read_text()
    asked = set()
    for e in family["encodings"]:
        assert not set(e) - set(re.findall(r"`(\w+)`", words)), "a key that the README does not explain"
        tokens, channels = len(e["query"]), e["head_dim"]
        asked |= {a["config"] for a in e["asked_by"]}
        assert all(len(axis) == tokens for axis in e["positions"] + e.get("turned_by", []))
        assert all(len(row) == channels for row in e["query"] + e.get("key", []) + [e["x"]])
        assert all(v * 64 == round(v * 64) and 0 < abs(v) < 2 for v in e["x"])
        if "first" in e:
            turned = e["first"] + e["second"]
            assert len(set(turned)) == len(turned) and all(0 <= c < channels for c in turned)
            rates = e["inv_freq"] if e["inv_freq"] and isinstance(e["inv_freq"][0], list) else [e["inv_freq"]]
            assert all(len(row) == len(e["first"]) for row in rates)
            still = set(range(channels)) - set(turned)
            for row in e.get("key", e["query"]):
                assert all(row[c] == e["x"][c] for c in still)
    assert asked == set(family["configs"]), "a config that nobody asks about"
    assert all(c["source"] and c["spelling"] for c in family["configs"].values())


def test_names_are_unique():
    ids = [(p.stem, e["name"], a["config"]) for p in FILES for e in load(p)["encodings"] for a in e["asked_by"]]
    assert len(ids) == len(set(ids))


# Families all of whose encodings need what README's few lines do not do.
NOT_IN_A_FEW_LINES = {"fope", "learned_frequencies", "vision_mismatched", "xdrope", "xpos"}


def test_the_readmes_few_lines_find_no_error():
    shown = re.search(r"```python file=tests/golden/example.py\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    assert shown.group(1) == (HERE / "example.py").read_text()
    run = subprocess.run([sys.executable, HERE / "example.py", *FILES], capture_output=True, text=True, check=True)
    errors = {Path(path).stem: float(x) for path, x in re.findall(r"(\S+): at most (\S+) off", run.stdout)}
    assert max(errors.values()) < 1e-8
    unchecked = {Path(path).stem for path in re.findall(r"(\S+): not checked", run.stdout)}
    assert unchecked == {p.stem for p in FILES} - set(errors) == NOT_IN_A_FEW_LINES


def test_the_trap_figures_that_others_computed_stand_in_the_files():
    """A few numbers that were published elsewhere, so that a slip in the formulas cannot hide in its own output."""
    def encoding(family, name):
        return next(e for e in load(HERE / f"{family}.json")["encodings"] if e["name"] == name)

    assert math.isclose(encoding("yarn", "gpt-oss-20b")["inv_freq"][17], 1.29318701e-4, rel_tol=5e-9)
    assert math.isclose(encoding("yarn", "gpt-oss-20b, truncated")["inv_freq"][17], 2.27947796e-4, rel_tol=5e-9)
    assert math.isclose(encoding("yarn", "Qwen2.5-0.5B, YaRN 4")["attention_factor"], 1.138629436, rel_tol=1e-9)
    assert math.isclose(encoding("yarn_mscale", "DeepSeek-V3")["softmax_scale_multiplier"], 1.873854207, rel_tol=1e-9)
    assert math.isclose(encoding("yarn_mscale", "DeepSeek-V2-Lite")["softmax_scale_multiplier"], 1.589626165, rel_tol=1e-9)
    assert math.isclose(encoding("llama3", "Llama-3.2-1B")["inv_freq"][15], 1.29054793e-3, rel_tol=5e-9)
    assert math.isclose(encoding("llama3", "Llama-3.1-8B")["inv_freq"][34], 1.78507813e-4, rel_tol=5e-9)
    assert math.isclose(encoding("proportional", "Gemma-4-E2B full attention")["inv_freq"][32], 0.1778279410, rel_tol=5e-10)
    assert encoding("proportional", "Gemma-4-E2B full attention")["inv_freq"][64:] == [0.0] * 192
    assert math.isclose(encoding("dual_theta", "Gemma-3-4B full attention")["inv_freq"][64], 1.25e-4, rel_tol=1e-14)
    grown = encoding("dynamic_ntk", "Llama-2-7b, dynamic 2, at 16384 tokens")["inv_freq"][63]
    assert math.isclose(grown ** (-128 / 126), 72195.860087, rel_tol=1e-10)
    axis = encoding("mrope_interleaved", "Qwen3.5-4B")["axis"]
    assert axis == [0, 1, 2] * 10 + [0, 1]
    assert encoding("mrope_interleaved", "Qwen3-VL-4B")["axis"] == [0, 1, 2] * 20 + [0] * 4


# ---- against transformers

# Where transformers 5.23.0 answers and is not what the family's own code does.
DEPARTS = {
    "Phi-3.5-MoE at 131072 tokens": "its module calls the init function without the length, so the long list never applies",
}
MODERATE = 8192


def moderate(e):
    """The tokens that stand near, so that float32 phases are good to 1e-3 everywhere."""
    return [t for t in range(len(e["query"])) if all(0 <= axis[t] <= MODERATE or -MODERATE <= axis[t] < 0 for axis in e["positions"])]


@pytest.fixture(scope="module")
def adapter():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    sys.path.insert(0, str(ROOT / "examples" / "conform"))
    import transformers_adapter
    return transformers_adapter


def questions():
    for path in FILES:
        family = load(path)
        for e in family["encodings"]:
            for a in e["asked_by"]:
                config = family["configs"][a["config"]]["config"]
                if "gguf" not in config:
                    yield pytest.param(family["family"], e, a, config, id=f"{e['name']}/{a['config']}")


# What transformers 5.23.0 has no code for, or code that makes no such answer: by family, encoding or config, and why.
# Nothing else is left out of the comparison below, and test_what_transformers_has_no_code_for holds each of these to it.
NO_CODE = {
    "dual_chunk": "it reads Qwen2.5-1M as plain Qwen2",
    "fope": "no such model type",
    "ntk_fixed": "no such rope type",
    "xpos": "no such model type",
    "yarn_telechat3": "no such model type",
    "ViT-S/16 RoPE-mixed": "no such model type",
    "EVA-02 at 448": "no such model type",
    "Falcon-OCR": "no such model type",
    "MoonViT": "no such model type",
    "Phi-3.5-mini, su": "it refuses the older name of longrope",
    "Llama-4-Scout layers that do not turn": "their temperature is worked out inside the attention module",
}


def has_code(question):
    family, e, asked, _ = question.values
    return not {family, e["name"], asked["config"]} & set(NO_CODE)


def has_table(question):
    """One axis, and a module that hands over cosines and sines."""
    _, e, _, config = question.values
    return (has_code(question) and len(e["positions"]) == 1 and e.get("first") and "turned_by" not in e
            and e["name"] not in DEPARTS and config["model_type"] not in NO_TABLE)


# One axis, and no module that makes a table of it: towers whose attention makes it, and tables made in the attention.
NO_TABLE = {"gptj", "codegen", "roformer"}
QUESTIONS = list(questions())
WITH_CODE = [q for q in QUESTIONS if has_code(q)]
WITH_TABLE = [q for q in QUESTIONS if has_table(q)]


def request_of(family, e, asked, config):
    tokens = moderate(e)
    if e["running_length"]:  # what its modules take it from
        tokens = [t for t in range(len(e["query"]))]
    if config["model_type"] in NO_TABLE:  # tables, which begin at 0
        tokens = [t for t in tokens if e["positions"][0][t] >= 0]
    request = {"config": config, "kind": asked["kind"], "layer": asked["layer"], "operand": "query",
               "head_dim": e["head_dim"], "positions": [[axis[t] for t in tokens] for axis in e["positions"]],
               "x": [[e["x"]]] * len(tokens)}
    return tokens, request | ({"weights": e["weights"]} if "weights" in e else {})


@pytest.mark.parametrize("family, e, asked, config", [q for q in QUESTIONS if not has_code(q)])
def test_what_transformers_has_no_code_for(adapter, family, e, asked, config):
    with pytest.raises(adapter.Unsupported):
        adapter.answer(request_of(family, e, asked, config)[1])


def test_every_name_without_code_is_one_of_the_suites():
    families = {p.stem for p in FILES}
    named = {name for q in QUESTIONS for name in (q.values[0], q.values[1]["name"], q.values[2]["config"])}
    assert set(NO_CODE) <= named
    assert families - {q.values[0] for q in WITH_CODE} == {"dual_chunk", "fope", "ntk_fixed", "xpos", "yarn_telechat3"}
    assert len(QUESTIONS) - len(WITH_CODE) == 23


@pytest.mark.parametrize("family, e, asked, config", WITH_CODE)
def test_transformers_agrees_at_moderate_positions(adapter, family, e, asked, config):
    tokens, request = request_of(family, e, asked, config)
    reply = adapter.answer(request)
    departs = e["name"] in DEPARTS
    if "softmax_scale_multiplier" in reply:
        assert math.isclose(reply["softmax_scale_multiplier"], e["softmax_scale_multiplier"], rel_tol=1e-7)
    where = e.get("turned_by", e["positions"])
    worst = 0.0
    for i, t in enumerate(tokens):
        angle = max((abs(axis[t]) for axis in where), default=0)
        for got, want in zip(reply["y"][i][0], e["query"][t]):
            allowed = 5e-6 * max(1.0, e["attention_factor"]) + 3 * min(1.0, 5e-7 * angle)
            worst = max(worst, abs(got - want) / allowed)
    assert (worst > 1) == departs, f"{worst} times what float32 explains"


@pytest.mark.parametrize("family, e, asked, config", WITH_TABLE)
def test_inv_freq_factors_and_tables_of_its_modules(adapter, family, e, asked, config):
    """inv_freq to 2e-6, the factor to 1e-7, cosines and sines at positions to 8192."""
    tokens, request = request_of(family, e, asked, config)
    config = adapter.config_of(config)
    table, rotary = adapter.table_of(config, adapter.modeling_of(config), request)
    types = getattr(config, "layer_types", None)
    prefix = ""
    if not hasattr(rotary, "inv_freq"):
        prefix = (asked["kind"].split()[0] if config.model_type == "deepseek_v4" else types[asked["layer"]]) + "_"
    inv_freq = getattr(rotary, prefix + "inv_freq").double()
    if hasattr(rotary, "alpha"):
        inv_freq = inv_freq * rotary.alpha.double().exp()
    assert len(inv_freq) == len(e["inv_freq"])
    for got, want in zip(inv_freq.tolist(), e["inv_freq"]):
        assert abs(got - want) <= 2e-6 * want
    scaling = float(getattr(rotary, prefix + "attention_scaling"))
    if config.model_type != "phimoe":  # whose forward multiplies by an mscale of its own
        assert math.isclose(scaling, e["attention_factor"], rel_tol=1e-7)
    cos, sin = (table.real, table.imag) if not isinstance(table, tuple) else table
    pairs = len(e["first"])
    # One angle a pair: modules repeat them side by side or behind each other, and hand over one row for each token.
    cos, sin = cos[0].double(), sin[0].double()
    adjacent = cos.shape[-1] == 2 * pairs and pairs > 1 and bool((cos[:, 0] == cos[:, 1]).all())
    step = slice(0, None, 2) if adjacent else slice(0, pairs)
    for i, t in enumerate(tokens):
        for j, f in enumerate(e["inv_freq"]):
            angle = e["positions"][0][t] * f
            allowed = 2e-6 + min(1.0, 5e-7 * abs(angle))
            assert abs(cos[i, step][j] - e["attention_factor"] * math.cos(angle)) <= allowed
            assert abs(abs(sin[i, step][j]) - abs(e["attention_factor"] * math.sin(angle))) <= allowed
