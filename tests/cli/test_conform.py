"""`ropewalk conform`: the golden suite against this library, against others, and against ones that are wrong on purpose."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tool import ROOT, ok, refused, run

SUITE = ROOT / "tests" / "golden"
WRONG = SUITE / "wrong"
ADAPTERS = ROOT / "examples" / "conform"
PYTHON = sys.executable

# What this library refuses by name today. A family that it learns has to leave this list.
NOT_YET = {"dual_chunk", "fope", "learned_frequencies", "ntk_fixed", "xpos", "yarn_telechat3"}
# Single cases of families that it answers otherwise.
PARTLY = {
    "mrope_interleaved": ("interleaved position sections",),
    "rescaled_grid": ("timm_rope_cat",),
}


def conform(*arguments, rc=0, timeout=300):
    done = run("conform", "--suite", SUITE, "--json", *arguments, timeout=timeout)
    assert done.returncode == rc, (done.returncode, done.stdout[-2000:], done.stderr)
    return {family["name"]: family for family in json.loads(done.stdout)["families"]}


def command(script: Path) -> str:
    return f"'{PYTHON}' '{script}'"


# ---- this library


def test_this_library_is_right_in_the_exact_class_wherever_it_answers():
    families = conform("--self", "--tolerance", "exact")
    wrong = {name: family["findings"] for name, family in families.items() if family["wrong"]}
    assert not wrong
    assert {name for name, family in families.items() if family["status"] == "unsupported"} == NOT_YET
    for name, family in families.items():
        if name not in NOT_YET and family["unsupported"]:
            assert name in PARTLY, family["reasons"]
            assert all(any(words in reason for words in PARTLY[name]) for reason in family["reasons"]), family["reasons"]


def test_this_librarys_fp32_numerics_are_right_in_their_class_and_wrong_in_the_other():
    families = conform("--self", "--tolerance", "fp32")
    assert not any(family["wrong"] for family in families.values())


def test_a_slip_in_the_suite_would_be_seen(tmp_path):
    """The comparison can fail: one number of one result off by 1e-5 is found, in its channel and at its position."""
    family = json.loads((SUITE / "plain_half.json").read_text())
    family["encodings"][0]["query"][6][40] += 1e-5
    (tmp_path / "plain_half.json").write_text(json.dumps(family))
    done = run("conform", "--suite", tmp_path, "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["families"][0]["findings"]
    assert finding["channels"] == [40] and finding["tokens_wrong"] == 1
    assert finding["first_position"] == family["encodings"][0]["positions"][0][6]
    assert finding["operands"] == ["key", "query"] and abs(finding["largest_error"] - 1e-5) < 1e-6


def test_every_config_means_what_its_encoding_says(tmp_path):
    """explain, to 1e-14: the frequencies, the factors, the pairs and the axes of every config and kind."""
    seen = 0
    for path in sorted(SUITE.glob("*.json")):
        if path.stem in NOT_YET:
            continue
        family = json.loads(path.read_text())
        for name, body in family["configs"].items():
            if "gguf" in body["config"]:
                continue  # a file, not a config.json: answered through conform above
            if body["config"].get("model_type") in PARTLY.get(path.stem, ()):
                continue
            config = tmp_path / "config.json"
            config.write_text(json.dumps(body["config"]))
            lengths = {e["running_length"] for e in family["encodings"]
                       if name in {a["config"] for a in e["asked_by"]}}
            for length in sorted(lengths, key=lambda n: n or 0):
                said = json.loads(ok("explain", config, "--json", *(["--length", length] if length else [])))
                for e in family["encodings"]:
                    # An attention's output turns back what its kind of layer says.
                    layers = [a["layer"] for a in e["asked_by"] if a["config"] == name and "output" not in a["kind"]]
                    if not layers or e["running_length"] != length or "weights" in e:
                        continue
                    kinds = [k for k in said["kinds"] if layers[0] in k["layers"]] or said["kinds"]
                    compare(e, kinds[0])
                    seen += 1
    assert seen > 100


STREAMS = {2: ["height", "width"], 3: ["time", "height", "width"]}  # as the suite counts them


def compare(e, kind):
    assert kind["rotates"] == bool(e["first"]), e["name"]
    if not e["first"]:
        return
    assert kind["head_dim"] == e["head_dim"] and kind["clockwise"] == e["clockwise"]
    assert len(kind["inv_freq"]) == len(e["inv_freq"]), e["name"]
    if any(isinstance(v, float) for row in e.get("turned_by", []) for v in row):
        return  # coordinates: what one unit stands for is part of the frequency here and of the position there
    for mine, theirs in zip(kind["inv_freq"], e["inv_freq"]):
        assert abs(mine - theirs) <= 1e-14 * theirs, e["name"]
    assert abs(kind["attention_factor"] - e["attention_factor"]) < 1e-14, e["name"]
    assert abs(kind["softmax_scale_multiplier"] - e["softmax_scale_multiplier"]) < 1e-14
    assert list(zip(e["first"], e["second"])) == list(zip(kind["channels"][::2], kind["channels"][1::2])), e["name"]
    names = STREAMS.get(len(e["positions"]))
    if e["axis"] and names and set(kind["streams"]) == set(names):  # which may come in an order of their own
        assert [kind["streams"][a] for a in kind["axis_of_pair"]] == [names[a] for a in e["axis"]], e["name"]
    elif "turned_by" not in e:
        assert (kind["axis_of_pair"] or None) == e["axis"], e["name"]


@pytest.mark.parametrize("path", sorted((SUITE / "malformed").glob("*.json")), ids=lambda p: p.stem)
def test_malformed_configs_are_refused_by_their_key(path, tmp_path):
    case = json.loads(path.read_text())
    config = tmp_path / "config.json"
    config.write_text(case.get("text") or json.dumps(case["config"]))
    line = refused("explain", config, says=case["needle"])
    where = line.removeprefix("ropewalk: ").split(": ")[0]
    assert where == case["path"] or where.endswith("/" + case["path"]), line


# ---- ones that are wrong on purpose


def test_a_small_implementation_that_is_right_is_found_right():
    families = conform("--against", command(WRONG / "stranger.py"))
    assert {n for n, f in families.items() if f["status"] == "right"} == {"linear", "llama3", "partial", "plain_half", "yarn"}


def findings(script, family, **more):
    return conform("--against", command(WRONG / script), "--families", family, rc=1, **more)[family]["findings"]


def test_swapped_pairs_are_caught_from_position_one_on():
    for family in ("plain_half", "partial", "llama3"):
        for finding in findings("neighbours.py", family):
            assert finding["first_position"] in (1.0, -1.0)
            assert "pairing swapped: neighbours" in finding["cause"], finding
            assert finding["operands"] == ["key", "query"]


def test_lost_scaling_is_caught_in_the_pairs_that_it_changes():
    assert conform("--against", command(WRONG / "scaling_lost.py"), "--families", "plain_half")["plain_half"]["status"] == "right"
    found = {f["encoding"]: f for f in findings("scaling_lost.py", "llama3")}
    assert found["Llama-3.2-1B"]["pairs"] == list(range(15, 32))  # pairs 0-14 are kept by the scaling
    assert found["Llama-3.1-8B"]["pairs"] == list(range(29, 64))
    for family in ("llama3", "linear", "yarn"):
        for finding in findings("scaling_lost.py", family):
            assert finding["cause"].startswith("scaling ignored"), finding


def test_the_documents_example_is_what_is_printed():
    printed = run("conform", "--suite", SUITE, "--families", "llama3", "--against", command(WRONG / "scaling_lost.py")).stdout
    shown = (ROOT / "docs" / "conform.md").read_text().split("\n...\n")[1]
    assert shown.startswith("llama3\n  Llama-3.2-1B") and "\n" + shown in printed


def test_a_factor_on_queries_alone_is_caught_on_the_keys_at_position_zero():
    found = findings("factor_on_queries.py", "yarn")
    assert found and {f["encoding"] for f in found} == {"Qwen2.5-0.5B, YaRN 4", "gpt-oss-20b", "gpt-oss-20b, truncated"}
    for finding in found:
        assert finding["operands"] == ["key"] and finding["first_position"] == 0.0
        assert finding["cause"].startswith("attention factor") and finding["cause"].endswith("missing")


def test_a_phase_in_bfloat16_is_named_as_such():
    for finding in findings("bfloat16_phase.py", "plain_half"):
        assert finding["cause"] == "phase in bfloat16: the error grows with the position", finding
        assert abs(finding["first_position"]) == 1.0


def test_denominators_over_the_whole_head_are_caught_in_every_pair_but_the_first():
    for finding in findings("whole_head_denominators.py", "partial"):
        assert 0 not in finding["pairs"] and finding["pairs"][0] == 1
        assert "denominators over the whole head" in finding["cause"], finding


SCRIPT = """
import json, math, sys
for line in sys.stdin:
    r = json.loads(line)
    if "gguf" in r["config"]:
        print(json.dumps({"id": r["id"], "unsupported": "GGUF"}), flush=True)
        continue
    x, positions = r["x"], r["positions"]
    %s
    print(json.dumps({"id": r["id"], "y": y}), flush=True)
"""


def adapter(tmp_path, body: str) -> str:
    path = tmp_path / "adapter.py"
    path.write_text(SCRIPT % body.replace("\n", "\n    "))
    return command(path)


def cause_of(tmp_path, body, family, encoding):
    found = conform("--against", adapter(tmp_path, body), "--families", family, rc=1)[family]["findings"]
    return {f["encoding"]: f["cause"] for f in found}[encoding]


PLAIN = """
c = r["config"]
rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
d = r["head_dim"]; n = d // 2
theta = %s
axis = lambda j: %s
where = lambda t, j: %s
y = []
for t in range(len(x)):
    heads = []
    for h in x[t]:
        o = list(h)
        for j in range(n):
            a = where(t, j) * theta ** (-2 * j / d)
            o[j] = h[j] * math.cos(a) - h[j + n] * math.sin(a)
            o[j + n] = h[j + n] * math.cos(a) + h[j] * math.sin(a)
        heads.append(o)
    y.append(heads)
"""
THETA = 'rope.get("rope_theta", c.get("rope_theta", 10000.0))'


def plain(theta=THETA, axis="0", where="positions[axis(j)][t]"):
    return PLAIN % (theta, axis, where)


@pytest.mark.parametrize("body, family, encoding, cause", [
    (plain(theta="10000.0"), "plain_half", "SmolLM2-135M", "theta 10000 (the default) instead of 100000"),
    (plain(where="t"), "plain_half", "Qwen2.5-0.5B", "positions ignored"),
    (plain(where="positions[0][t] + 1"), "plain_half", "Qwen2.5-0.5B", "every position one too large"),
    (plain(where="-positions[0][t]"), "plain_half", "Qwen2.5-0.5B", "turns the other way"),
    (plain(where="abs(positions[0][t])"), "plain_half", "Qwen2.5-0.5B", "the sign of negative positions lost"),
    ("y = x", "plain_half", "Qwen2.5-0.5B", "nothing turns"),
    ("y = [[h, h] for h in [t[0] for t in x]]", "plain_half", "Qwen2.5-0.5B", "every head"),
    ("y = [[[float('nan')] * len(h) for h in t] for t in x]", "plain_half", "Qwen2.5-0.5B", "not every number is finite"),
    (plain(), "mrope_interleaved", "Qwen3-VL-4B", "every pair follows axis 0"),
    (plain(axis="(0 if j < 24 else 1 if j < 44 else 2)"), "mrope_interleaved", "Qwen3-VL-4B", "axis sections in blocks"),
    (plain(axis="(0 if j < 16 else 2 if j < 40 else 1)"), "mrope_blocked", "Qwen2-VL-2B", "axis order"),
], ids=lambda v: v[:24].strip() if isinstance(v, str) else None)
def test_the_usual_mistakes_are_named(tmp_path, body, family, encoding, cause):
    assert cause_of(tmp_path, body, family, encoding).startswith(cause)


def test_two_mistakes_at_once_are_both_named(tmp_path):
    body = plain(theta="10000.0", where="-positions[0][t]")
    said = cause_of(tmp_path, body, "plain_half", "SmolLM2-135M")
    assert "theta 10000" in said and "turns the other way" in said


def test_a_wrong_multiplier_of_the_softmax_scale_is_told(tmp_path):
    body = "y = x\nprint(json.dumps({'id': r['id'], 'y': y, 'softmax_scale_multiplier': 2.0}), flush=True); continue"
    found = conform("--against", adapter(tmp_path, body), "--families", "nope_layers", rc=1)["nope_layers"]["findings"]
    assert found and all(f["softmax_scale_multiplier"] == 2.0 for f in found)


# ---- implementations that exist

DEPARTS = {"longrope": "Phi-3.5-MoE at 131072 tokens"}  # transformers 5.23.0: tests/golden/test_golden.py says why


def test_transformers_is_right_in_its_own_class_but_for_what_is_known():
    pytest.importorskip("transformers")
    families = conform("--against", command(ADAPTERS / "transformers_adapter.py"), rc=1, timeout=900)
    assert {n: [f["encoding"] for f in family["findings"]] for n, family in families.items() if family["wrong"]} == {
        name: [encoding] for name, encoding in DEPARTS.items()}
    (finding,) = families["longrope"]["findings"]
    assert finding["cause"].startswith("frequencies of"), finding
    assert sum(family["status"] == "right" for family in families.values()) >= 38


def test_transformers_is_not_right_in_the_exact_class():
    pytest.importorskip("transformers")
    families = conform("--against", command(ADAPTERS / "transformers_adapter.py"), "--tolerance", "exact", "--families",
                       "plain_half,llama3", rc=1)
    for finding in families["plain_half"]["findings"]:
        assert abs(finding["first_position"]) > 100
        assert finding["cause"].startswith("phase in float32"), finding


def test_rotary_embedding_torch_is_right_where_it_was_set_up():
    pytest.importorskip("rotary_embedding_torch")
    families = conform("--against", command(ADAPTERS / "rotary_embedding_torch_adapter.py"))
    assert {n for n, f in families.items() if f["status"] == "right"} == {"plain_interleaved", "partial", "xpos"}


def test_onnxruntimes_node_is_right_where_it_was_set_up():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    families = conform("--against", command(ADAPTERS / "onnxruntime_adapter.py"))
    assert {n for n, f in families.items() if f["status"] == "right"} == {
        "plain_half", "plain_interleaved", "partial", "encoders"}


# ---- the protocol and the options


def test_requests_are_what_the_document_says():
    lines = ok("conform", "--suite", SUITE, "--requests", "--families", "dynamic_ntk").splitlines()
    assert len(lines) == 48
    for line in lines:
        request = json.loads(line)
        assert {"id", "family", "config", "kind", "layer", "operand", "dtype", "head_dim", "positions", "x"} <= set(request)
        assert request["dtype"] == "float32" and request["running_length"] > max(request["positions"][0])
        for token in request["x"]:
            assert len(token) == 2 and token[1] == [-2 * v for v in token[0]] and len(token[0]) == request["head_dim"]


@pytest.mark.parametrize("script, says", [
    ("/no/such/program", ("--against", "exit 127")),
    ("true", ("--against", "exit code 0")),
    ("exit 3", ("--against", "exit code 3")),
    ("echo some words", ("--against", "some words")),
    ("echo '{\"id\": \"nobody asked\"}'", ("--against", "nobody asked")),
    ("echo '[1]'", ("--against", "\"id\"")),
    ("echo it broke >&2; exit 1", ("--against", "it broke")),
    ("kill -9 $$", ("--against", "signal 9")),
])
def test_commands_that_break_the_protocol_are_refused_in_one_line(script, says):
    refused("conform", "--suite", SUITE, "--families", "mla", "--against", script, says=says)


@pytest.mark.parametrize("y, says", [
    ("[]", "\"y\""), ("[[[1.0]]]", "channels"), ("x[:1]", "tokens"), ("[t[:1] for t in x]", "heads"),
    ("[[['a'] * len(h) for h in t] for t in x]", "numbers"),
])
def test_answers_of_another_shape_are_refused(tmp_path, y, says):
    refused("conform", "--suite", SUITE, "--families", "mla", "--against", adapter(tmp_path, f"y = {y}"), says=says)


def test_silence_ends_after_the_timeout():
    refused("conform", "--suite", SUITE, "--families", "mla", "--timeout", "0.3", "--against", "sleep 60", says="--timeout")


def test_answers_may_come_at_the_end_and_in_any_order(tmp_path):
    script = tmp_path / "late.py"
    script.write_text("import json, sys\n"
                      "for line in reversed(sys.stdin.readlines()):\n"
                      "    print(json.dumps({'id': json.loads(line)['id'], 'unsupported': 'nothing'}))\n")
    done = run("conform", "--suite", SUITE, "--against", command(script))
    assert done.returncode == 1 and "0 families right, 0 wrong" in done.stdout  # nothing was answered


def test_options_that_do_not_fit_are_refused(tmp_path):
    refused("conform", "--suite", tmp_path / "none", says="--suite")
    refused("conform", "--suite", tmp_path, says="--suite")
    refused("conform", "--suite", SUITE, "--families", "nobody", says=("--families", "nobody"))
    refused("conform", "--suite", SUITE, "--self", "--against", "true", says="--self")
    refused("conform", "--suite", SUITE, "--timeout", "0", says="--timeout")
    (tmp_path / "plain_half.json").write_text('{"format": "another"}')
    refused("conform", "--suite", tmp_path, says=("plain_half.json", "ropewalk-golden/1"))
    (tmp_path / "plain_half.json").write_text('{"format"')
    refused("conform", "--suite", tmp_path, says="plain_half.json")
