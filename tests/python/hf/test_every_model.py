"""Every causal-language-model type of transformers: the original's logits with this library's operator in it, or a refusal by name.

Small models of random weights, from the config classes alone; float32, batch of 3: whole, left-padded, and through a cache with both.
`python test_every_model.py --write FILE` writes the outcome into docs/transformers.md, between its marks.
"""

import collections
import os
import pathlib
import re
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import small_models
from small_models import TYPES, compared

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/transformers.md"
MARKS = ("<!-- generated: tests/python/hf/test_every_model.py --write -->\n", "<!-- end of what is generated -->\n")

AGREE, STILL = "agree", "does not rotate"
# Types that no small model can be made of here, with what transformers says about it.
NOT_BUILT = {
    "gemma3n": "requires the timm library",
    "gemma4_assistant": "layer types producing a cache",
    "gemma4_unified_assistant": "layer types producing a cache",
}
# What cannot be asked of the original either.
NO_CACHE = {"blt": "has no attribute 'num_hidden_layers'", "recurrent_gemma": "has no attribute 'past_key_values'"}
# Models that read exact tables and turn by their own arithmetic, inside of a method.
TABLES_ONLY = {"roformer"}
COUNTS = {AGREE: 130, STILL: 56, "not built": len(NOT_BUILT)}


_outcomes = {}


def outcome(mt):
    if mt not in _outcomes:
        _outcomes[mt] = compared(mt)
    return _outcomes[mt]


def blocks(count):
    return [TYPES[i::count] for i in range(count)]


@pytest.mark.parametrize("types", blocks(12), ids=lambda types: types[0])
def test_logits_are_those_of_the_original_or_the_model_is_refused(types):
    problems = []
    for mt in types:
        found = outcome(mt)
        problem = problem_of(mt, found)
        if problem:
            problems.append(f"{mt}: {problem}")
    assert not problems, "\n".join(problems)


def problem_of(mt, found):
    if mt in NOT_BUILT:
        return "" if found["state"] == "not built" else f"can be built by now: {found['state']}"
    if found["state"] == STILL:
        return ""
    if found["state"] != AGREE:
        return str(found)
    if not found.get("felt", 0) > 1e-2:
        return f"logits that do not feel a wrong rotation prove nothing: {found}"
    if (mt in TABLES_ONLY) != bool(found["tables_only"]) or (mt not in TABLES_ONLY and not found["attention"]):
        return f"turns by its own arithmetic: {found['tables_only']}, by ours: {found['attention']}"
    if found["not run"]:
        if mt not in NO_CACHE or any(not case.startswith("cached") or NO_CACHE[mt] not in why for case, why in found["not run"].items()):
            return f"was not run: {found['not run']}"
    return ""


def counts():
    return dict(collections.Counter(outcome(mt)["state"] for mt in TYPES))


def test_no_type_is_lost():
    assert transformers.__version__ == "5.23.0", "count anew"
    assert counts() == COUNTS


def test_the_page_says_what_is_found():
    begin, end = MARKS
    assert PAGE.read_text().partition(begin)[2].partition(end)[0] == table()


# ---- the page ---------------------------------------------------------------------------------------------------------


def ways(found):
    names = [f"{name} x{count}" if count > 1 else name for name, count in sorted(found["attention"].items())]
    return ", ".join(names) or "exact tables only: " + ", ".join(found["tables_only"])


def table():
    count = counts()
    built = len(TYPES) - count["not built"]
    lines = [
        f"Of the {len(TYPES)} causal-language-model types of transformers {transformers.__version__}, {built} can be built small from their "
        f"config class alone: {count[AGREE]} give the original's logits, {count[STILL]} do not rotate and are refused with that reason, "
        f"none differs; {count['not built']} cannot be built.\n",
        "| model type | turns by the operator in | compared |",
        "|---|---|---|",
    ]
    rows = {AGREE: [], STILL: [], "not built": []}
    for mt in TYPES:
        found = outcome(mt)
        if found["state"] == AGREE:
            rows[AGREE].append(f"| {mt} | {ways(found)} | {'; '.join(found['cases'])} |")
        else:
            rows[found["state"]].append(mt)
    lines += rows[AGREE]
    lines += ["", f"Do not rotate: {', '.join(rows[STILL])}.", "", "Cannot be built small from the config class:", ""]
    for mt in rows["not built"]:
        reason = re.sub(r"\s+", " ", outcome(mt)["reason"])
        lines.append(f"- {mt}: {reason}")
    return "\n".join(lines) + "\n"


def write(path):
    text = path.read_text()
    begin, end = MARKS
    before, _, rest = text.partition(begin)
    path.write_text(before + begin + table() + end + rest.partition(end)[2])


if __name__ == "__main__" and sys.argv[1:2] == ["--write"]:
    torch.set_num_threads(1)
    write(pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else PAGE)
