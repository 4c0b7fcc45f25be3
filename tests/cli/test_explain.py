"""The JSON of `ropewalk explain` is a contract: its keys, its digits, its exit codes."""

import json
import math
import re
import subprocess

import numpy as np
import oracle
import pytest
from tool import BINARY, LLAMA, SCALED, ok, refused, run

KIND_KEYS = {"name", "layers", "head_dim", "rotary_dim", "rotary_offset", "pair_layout", "theta", "scaling", "inv_freq",
             "attention_factor", "softmax_scale_multiplier"}


def explained(path, *more):
    return json.loads(ok("explain", path, "--json", *more))


def test_has_every_key_of_the_contract(config):
    answer = explained(config())
    assert {"model_type", "kinds", "keys", "hazards", "fingerprint"} <= answer.keys()
    assert {"used", "ignored"} <= answer["keys"].keys()
    (kind,) = answer["kinds"]
    assert KIND_KEYS <= kind.keys()
    assert (answer["model_type"], kind["name"], kind["layers"]) == ("llama", "default", [0, 1, 2])
    assert (kind["head_dim"], kind["rotary_dim"], kind["rotary_offset"]) == (64, 64, 0)
    assert (kind["pair_layout"], kind["theta"], kind["scaling"]["type"]) == ("half", 500000, "none")
    assert "rope_theta" in answer["keys"]["used"]
    assert re.fullmatch("[0-9a-f]{16}", answer["fingerprint"])


def test_a_folder_and_its_config_give_one_answer(config, tmp_path):
    path = config()
    assert explained(path)["kinds"] == explained(tmp_path)["kinds"]


@pytest.mark.parametrize("method", SCALED)
def test_inv_freq_is_the_formula_to_the_last_digit(config, method):
    (kind,) = explained(config(SCALED[method]))["kinds"]
    want, amplitude = oracle.frequencies(SCALED[method])
    assert kind["inv_freq"] == [float(f) for f in want]
    assert kind["attention_factor"] == pytest.approx(float(amplitude), rel=1e-15)
    assert kind["scaling"]["type"] == method


def test_inv_freq_is_written_with_17_significant_digits(config):
    text = re.search(r'"inv_freq": \[(.*?)\]', ok("explain", config(), "--json")).group(1).split(", ")
    assert len(text) == 32
    for number in text[1:]:
        assert len(re.sub(r"e.*|\.", "", number).lstrip("0")) >= 15
    assert [f"{float(number):.17g}" for number in text[1:]] == text[1:]


def test_fp32_gives_the_float32_chain(config):
    (kind,) = explained(config(), "--numerics", "fp32")["kinds"]
    exponent = (np.arange(0, 64, 2).astype(np.float32) / np.float32(64)).astype(np.float32)
    power = np.power(500000.0, exponent.astype(np.float64)).astype(np.float32)  # rounded once, as a right powf does
    want = (np.float32(1) / power).astype(np.float32)
    got = np.array(kind["inv_freq"])
    assert np.array_equal(got, got.astype(np.float32).astype(np.float64)), "every number is a float32"
    assert np.all(np.abs(got.astype(np.float32).view(np.int32) - want.view(np.int32)) <= 1)


def test_length_moves_a_scaling_that_depends_on_it(config):
    path = config(SCALED["dynamic"])
    want, _ = oracle.frequencies(SCALED["dynamic"], 32768)
    assert explained(path, "--length", "32k")["kinds"][0]["inv_freq"] == [float(f) for f in want]
    assert explained(path, "--length", "4096") ["kinds"] == explained(path)["kinds"]


def test_spellings_of_one_encoding_have_one_fingerprint(config):
    scaling = {"factor": 4.0}
    flat = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    spelled = [
        LLAMA | {"rope_scaling": {"type": "linear"} | scaling},
        LLAMA | {"rope_scaling": {"rope_type": "linear"} | scaling},
        flat | {"rope_parameters": {"rope_type": "linear", "rope_theta": 500000.0} | scaling},
    ]
    prints = {explained(config(content))["fingerprint"] for content in spelled}
    assert len(prints) == 1
    assert explained(config())["fingerprint"] not in prints


def test_a_layer_kind_that_does_not_rotate_says_so(config):
    smollm3 = LLAMA | {"model_type": "smollm3", "num_hidden_layers": 4, "no_rope_layers": [1, 1, 1, 0], "rope_theta": 5e6}
    kinds = explained(config(smollm3))["kinds"]
    still = [kind for kind in kinds if not kind["inv_freq"]]
    assert [kind["layers"] for kind in still] == [[3]]
    assert still[0]["theta"] is None and KIND_KEYS <= still[0].keys()
    assert sorted(layer for kind in kinds for layer in kind["layers"]) == [0, 1, 2, 3]


def test_nested_kinds_carry_their_layer_types(config):
    gemma = {
        "model_type": "gemma3_text", "hidden_size": 1024, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 256, "num_hidden_layers": 6, "max_position_embeddings": 32768, "sliding_window": 512,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    }
    kinds = {kind["name"]: kind for kind in explained(config(gemma))["kinds"]}
    assert kinds["full_attention"]["layers"] == [5] and kinds["sliding_attention"]["layers"] == [0, 1, 2, 3, 4]
    assert kinds["full_attention"]["inv_freq"][64] == pytest.approx(1.25e-4, rel=1e-14)
    assert kinds["sliding_attention"]["inv_freq"][64] == pytest.approx(1e-2, rel=1e-14)


def test_the_page_fits_a_terminal_and_says_the_main_things(config):
    for method, content in SCALED.items():
        page = ok("explain", config(content))
        assert max(map(len, page.splitlines())) <= 100, method
        for word in ("model_type", "fingerprint", "trained context", "rad / token", "Where the numbers come from",
                     "used", "ignored", "Hazards"):
            assert word in page, (method, word)
        assert "\x1b" not in page, "no colours where nobody looks at a terminal"
    assert "/ 8" in ok("explain", config(SCALED["llama3"]))


def test_all_pairs_shows_every_pair(config):
    def pairs_of(page):
        return [int(row.split()[0]) for row in page.splitlines() if re.match(r"\s+\d+\s+\d+, \d+\s", row)]

    assert pairs_of(ok("explain", config(), "--all-pairs")) == list(range(32))
    few = pairs_of(ok("explain", config()))
    assert few[0] == 0 and few[-1] == 31 and 8 <= len(few) < 32


def test_a_family_may_be_named_for_an_unknown_model_type(config):
    path = config(LLAMA | {"model_type": "llamma"})
    message = refused("explain", path, says=("llamma", "llama", "--family"))
    assert "\n" not in message[:-1]
    answer = explained(path, "--family", "llama")
    assert answer["family"] == "llama" and answer["kinds"][0]["theta"] == 500000
    assert math.isfinite(answer["kinds"][0]["attention_factor"])


def test_names_with_quotes_and_control_characters_stay_json(tmp_path):
    folder = tmp_path / 'a "quoted"\n</script> name'
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert explained(folder)["source"].startswith(str(tmp_path))
    assert run("explain", folder / "missing").stderr.count("\n") == 1


def test_a_page_holds_nothing_that_a_terminal_obeys(config):
    page = ok("explain", config(LLAMA | {"model_type": "\u001b[2J\u009b31m\u202e"}), "--family", "llama")
    assert not any(ord(c) < 32 and c != "\n" or 0x7F <= ord(c) < 0xA0 or c == "\u202e" for c in page)


def test_an_error_keeps_its_exit_code_where_nobody_can_read_it():
    for where in ("2>&-", "2>/dev/full"):
        assert subprocess.run(["sh", "-c", f'"{BINARY}" explain /nowhere {where}']).returncode == 2
