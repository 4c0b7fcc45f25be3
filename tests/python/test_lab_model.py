"""The small model in lab/0001-small-llama: its files are what they claim, and its result can be measured again."""

import importlib.util
import json
import math
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[2] / "lab" / "0001-small-llama"
MODEL = LAB / "model"


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def config():
    return read_json(MODEL / "config.json")


@pytest.fixture(scope="module")
def result():
    return read_json(LAB / "result.json")


@pytest.fixture(scope="module")
def train_script():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as measured; on a busy machine two threads would mostly wait for each other
    spec = importlib.util.spec_from_file_location("lab_0001_train", LAB / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    torch.set_num_threads(threads)


def expected_shapes(config):
    """Every tensor of a Llama with tied embeddings, from its config alone."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    q_rows = config["num_attention_heads"] * config["head_dim"]
    kv_rows = config["num_key_value_heads"] * config["head_dim"]
    shapes = {"model.embed_tokens.weight": [config["vocab_size"], width], "model.norm.weight": [width]}
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {
            at + "input_layernorm.weight": [width],
            at + "self_attn.q_proj.weight": [q_rows, width],
            at + "self_attn.k_proj.weight": [kv_rows, width],
            at + "self_attn.v_proj.weight": [kv_rows, width],
            at + "self_attn.o_proj.weight": [width, q_rows],
            at + "post_attention_layernorm.weight": [width],
            at + "mlp.gate_proj.weight": [inner, width],
            at + "mlp.up_proj.weight": [inner, width],
            at + "mlp.down_proj.weight": [width, inner],
        }
    return shapes


def test_weights_are_those_the_config_describes(config, result):
    data = (MODEL / "model.safetensors").read_bytes()
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])
    header.pop("__metadata__")
    assert {name: tensor["shape"] for name, tensor in header.items()} == expected_shapes(config)
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    parameters = sum(math.prod(tensor["shape"]) for tensor in header.values())
    assert parameters == result["measured"]["parameters"]
    assert len(data) == 8 + header_bytes + 2 * parameters


def test_folder_stays_small():
    assert sum(path.stat().st_size for path in LAB.rglob("*") if "__pycache__" not in path.parts) < 3_000_000


def test_a_token_is_a_byte_and_its_id_the_bytes_value():
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 256
    assert set(tokenizer.get_vocab()) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    assert sorted(tokenizer.get_vocab().values()) == list(range(256))
    # All of the first two planes but the surrogates, then a character of each other plane: every byte that UTF-8 has.
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 0x10000)]))
    for text in ("", " In the beginning", "  a\n\n b \0", everything):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert bytes(ids) == text.encode("utf-8")
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_transformers_loads_the_tokenizer():
    transformers = pytest.importorskip("transformers")
    for tokenizer in (
        transformers.AutoTokenizer.from_pretrained(MODEL),
        transformers.PreTrainedTokenizerFast.from_pretrained(MODEL),
    ):
        text = " Ge1:1 In the beginning \u00e9\n"
        assert bytes(tokenizer(text)["input_ids"]) == text.encode("utf-8")
        assert tokenizer.decode(list(text.encode("utf-8"))) == text


def test_text_is_from_the_held_out_end_of_the_bible(result):
    text = (LAB / "text.txt").read_bytes()
    assert text.isascii() and text.endswith(b"\n")
    if shutil.which("bible") is None:
        pytest.skip("bible-kjv is not installed")
    bible = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, check=True).stdout
    assert bible.count(text) == 1
    assert bible.index(text) == result["text"]["trained_bytes"] >= 0.9 * len(bible)


def test_result_says_what_the_verdict_says(result):
    table = result["measured"]["perplexity_behind_context"]
    at = {name: dict(zip(table["contexts"], row)) for name, row in table["perplexity"].items()}
    assert at["none"][512] > 1.5 * at["none"][256]
    assert at["none"][1024] > 2 * at["none"][256]
    for scaling, context in (("yarn 2", 512), ("yarn 4", 1024), ("dynamic 2", 512)):
        assert at[scaling][context] < 1.2 * at["none"][256]


# Past the trained length, where a base of 11 000 for 10 000 shows: at 256 it changes the fourth digit only.
@pytest.mark.parametrize("scaling, context", [("none", 512), ("yarn 2", 512)])
def test_result_can_be_measured_again(train_script, result, scaling, context):
    table = result["measured"]["perplexity_behind_context"]
    recorded = table["perplexity"][scaling][table["contexts"].index(context)]
    model = train_script.load(MODEL, table["scalings"][scaling])
    losses = train_script.loss_behind_context(model, (LAB / "text.txt").read_bytes(), context, table["windows"])
    assert math.exp(sum(losses) / len(losses)) == pytest.approx(recorded, rel=1e-4)
