"""ropewalk.hf.evaluate against `ropewalk eval`: the same windows, the same losses, the same keys; alone and in a process group."""

import json
import os
import pathlib
import re
import subprocess
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import ropewalk.hf
from ropewalk import Error, YarnScaling

ROOT = pathlib.Path(__file__).resolve().parents[3]
TOOL = pathlib.Path(os.environ.get("ROPEWALK_BIN", ROOT / "build/ropewalk"))
SMOLLM2 = pathlib.Path(os.environ.get("ROPEWALK_SMOLLM2", ROOT / ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
sys.path.insert(0, str(ROOT / "tests/cli"))

from tiny_model import write_model, write_text

SCALINGS = ("none", "linear", "dynamic", "yarn", "yarn:2", "own")
# Of a model in memory there is no file, and clocks differ.
APART = {"path", "name", "sha256", "date", "threads", "processor", "tokens_per_second"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_model(folder / "model")
    spoken = json.loads((folder / "model/tokenizer.json").read_text())
    spoken["decoder"] = spoken["pre_tokenizer"]  # in which the tokenizers package wants every field
    (folder / "tokenizer.json").write_text(json.dumps(spoken))
    write_text(folder / "text.txt")
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(folder):
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def tool(model, text, lengths, scalings, score, *more):
    run = subprocess.run([TOOL, "eval", model, "--text", text, "--lengths", ",".join(map(str, lengths)), "--scaling", ",".join(scalings),
                          "--score", str(score), "--dtype", "f32", "--fresh", "--state", text.parent / "state", "--json", *map(str, more)],
                         capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def same(ours, theirs, path=""):
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), path
        for key in theirs:
            if key not in APART:
                same(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), path
        for i, (a, b) in enumerate(zip(ours, theirs)):
            same(a, b, f"{path}[{i}]")
    elif isinstance(theirs, float) and not isinstance(ours, str):
        # spreads and errors are small differences of large numbers
        assert ours == pytest.approx(theirs, rel=2e-5, abs=1e-4), path
    else:
        assert ours == theirs, path


def test_everything_is_as_the_tool_has_it(folder, model, tokenizer):
    classes = [type(m) for m in model.modules()]
    ours = ropewalk.hf.evaluate(model, tokenizer, folder / "text.txt", (64, 48, 128), SCALINGS, score=32, windows=2, by_position=True)
    theirs = tool(folder / "model", folder / "text.txt", (48, 64, 128), SCALINGS, 32, "--windows", 2, "--by-position")
    same(ours, theirs)
    assert any(window["same_as"] for window in ours["windows"])
    assert ours["text"]["sha256"] == theirs["text"]["sha256"]
    json.dumps(ours, allow_nan=False)
    assert [type(m) for m in model.modules()] == classes


def test_ids_and_scaling_classes(folder, model, tokenizer):
    text = (folder / "text.txt").read_text()
    ids = tokenizer(text)["input_ids"]
    by_word = ropewalk.hf.evaluate(model, tokenizer, text, [128], ["yarn:2"], score=32)
    for given in (ids, torch.tensor(ids)):
        by_class = ropewalk.hf.evaluate(model, given, None, [128], [YarnScaling(2, 64)], score=32)
        assert by_class["windows"][0]["nll_sum"] == by_word["windows"][0]["nll_sum"]
        assert by_class["text"]["tokens"] == len(ids) and by_class["text"]["sha256"] is None
    with torch.no_grad():  # the window by hand
        window = by_word["windows"][0]
        fed = torch.tensor([ids[window["first_token"] : window["first_token"] + 128]])
        with ropewalk.hf.install(model, scaling=YarnScaling(2, 64)):
            loss = torch.nn.functional.cross_entropy(model(fed).logits[0, -33:-1].double(), fed[0, -32:], reduction="sum")
    assert loss.item() == pytest.approx(window["nll_sum"], rel=1e-6)


@pytest.mark.parametrize("change, match", [
    ({"lengths": [32]}, "lengths: want lengths above the 32 scored tokens, got 32"),
    ({"lengths": [4096]}, "lengths: want at most the 2000 tokens that the text has, got 4096"),
    ({"scalings": ["wide"]}, "scaling: "), ({"scalings": ["none:2"]}, "scalings: want no factor for none"),
    ({"scalings": ["yarn:0.5"]}, "scalings: want factors >= 1"), ({"scalings": []}, "want at least one length and one scaling"),
    ({"windows": 100}, "windows: want 1 to 59 behind contexts of 128"), ({"score": 0}, "score: want a number >= 1"),
    ({"text": ""}, "text: want a text, or the path of a file, got nothing"),
])
def test_refusals(folder, model, tokenizer, change, match):
    asked = {"text": folder / "text.txt", "lengths": [128], "scalings": ["none"], "score": 32} | change
    with pytest.raises(Error, match=re.escape(match)):
        ropewalk.hf.evaluate(model, tokenizer, **asked)


def test_weights_that_give_nan_are_refused(folder, tokenizer):
    broken = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    broken.model.norm.weight.data[0] = float("nan")
    with pytest.raises(Error):
        ropewalk.hf.evaluate(broken, tokenizer, folder / "text.txt", [128], ["none"], score=32)


RANK = """
import glob, json, os, sys
os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
import torch, transformers, ropewalk.hf
torch.set_num_threads(1)
folder, tokens = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group("gloo")
model = transformers.AutoModelForCausalLM.from_pretrained(folder + "/model", dtype=torch.float32)
tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json")
calls = []
model.register_forward_hook(lambda *_: calls.append(1))
result = ropewalk.hf.evaluate(model, tokenizer, open(folder + "/text.txt").read(), [48, 64, 128], ["none", "yarn:2"], score=32, windows=2)
rank = torch.distributed.get_rank()
json.dump({"result": result, "calls": len(calls)}, open(f"{folder}/rank{rank}.json", "w"))
torch.distributed.destroy_process_group()
left = [name for name in (open(task + "/comm").read() for task in glob.glob("/proc/self/task/*")) if "gloo" in name]
assert not left, f"{left} would live on into the exit of the interpreter, which aborts now and then"
"""


def test_a_process_group_merges_to_the_same_figures(folder, model, tokenizer):
    (folder / "rank.py").write_text(RANK)
    run = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", folder / "rank.py",
                          str(folder), "0"], capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    ranks = [json.loads((folder / f"rank{i}.json").read_text()) for i in (0, 1)]
    text = (folder / "text.txt").read_text()
    alone = ropewalk.hf.evaluate(model, tokenizer, text, [48, 64, 128], ["none", "yarn:2"], score=32, windows=2)
    for rank in ranks:
        same(rank["result"], alone)
        assert 6 <= rank["calls"] <= 6 + 2, "half of the windows each, and a probe"
    nll = [[w["nll_sum"] for w in rank["result"]["windows"]] for rank in ranks]
    assert nll[0] == nll[1]


@pytest.mark.skipif(not SMOLLM2.exists(), reason=f"no {SMOLLM2}: fetch the model, or name it in ROPEWALK_SMOLLM2")
def test_smollm2_has_the_tool_s_perplexity(tmp_path):
    pytest.importorskip("gguf")
    # Letters and full stops only: transformers splits digits of a GGUF's text otherwise than the model's tokenizer.
    pages = ((ROOT / f"docs/{name}.md").read_text().lower() for name in ("evaluation", "kv_cache", "precision"))
    text = " ".join(re.sub(r"[^a-z. \n]", "", page) for page in pages)
    (tmp_path / "text.txt").write_text(re.sub(r"\s+", " ", text))
    lengths, scalings = (1024, 2048), ("none", "yarn:4")
    named = {"gguf_file": SMOLLM2.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(SMOLLM2.parent, dtype=torch.float32, **named)
    tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2.parent, **named)
    ours = ropewalk.hf.evaluate(model, tokenizer, tmp_path / "text.txt", lengths, scalings, score=256)
    theirs = tool(SMOLLM2, tmp_path / "text.txt", lengths, scalings, 256)
    assert ours["text"]["tokens"] == theirs["text"]["tokens"]
    for a, b in zip(ours["perplexity"], theirs["perplexity"]):
        assert (a["length"], a["scaling"], a["factor"]) == (b["length"], b["scaling"], b["factor"])
        assert a["perplexity"] == pytest.approx(b["perplexity"], rel=5e-5)
    assert len({round(a["perplexity"], 2) for a in ours["perplexity"]}) == 4
