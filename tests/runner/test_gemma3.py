"""Gemma 3 against transformers and torch, on the same weights: the real one, and small ones with random weights."""

import json
import os
import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

from torch_reference import byte_tokenizer, reference_logits, reference_nll, relative  # noqa: E402
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig  # noqa: E402

BEGIN = 2
WINDOW = 512


# ---- the real checkpoint


@pytest.fixture(scope="module")
def in_torch(gemma3):
    return AutoModelForCausalLM.from_pretrained(gemma3.parent, gguf_file=gemma3.name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def ids(gemma3, shared_probe, real_text):
    """The real text, behind the token that this checkpoint wants before it."""
    return np.concatenate([[BEGIN], shared_probe.tokens(gemma3, real_text)])


@pytest.fixture(scope="module")
def ours(gemma3, shared_probe, ids):
    """700 tokens, of which a sliding layer's last query sees 512. The last 40 rows: a row is a megabyte."""
    return shared_probe.logits(gemma3, "f32", ids[:700], last=40)


def last_logits(model, ids, last):
    with torch.no_grad():
        return model(torch.tensor([list(map(int, ids))]), logits_to_keep=last).logits[0].numpy()


def test_logits_behind_the_window(in_torch, ids, ours):
    ids = ids[:700]
    theirs = last_logits(in_torch, ids, 40)
    assert ours.shape == theirs.shape == (40, 262144)
    assert relative(ours, theirs) < 1e-3
    assert relative(ours, theirs) < 1e-4  # what float32 sums in another order leave
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    # One key more or less in the window is told from it.
    for window in (WINDOW - 1, WINDOW + 1):
        in_torch.config.sliding_window = window
        try:
            assert relative(ours, last_logits(in_torch, ids, 40)) > 5 * relative(ours, theirs), window
        finally:
            in_torch.config.sliding_window = WINDOW


def test_perplexity_to_four_digits(probe, gemma3, in_torch, ids):
    length, score = 1024, 256
    # The tool is given the text, and puts the begin token in its first place by itself.
    text = np.concatenate([[107], ids[1:length]])
    ours = probe.nll(gemma3, "f32", text, length, "none", 1, score)
    nll = 0.0
    with torch.no_grad():
        states = in_torch.model(torch.tensor([ids[:length].tolist()])).last_hidden_state[0]
        for first in range(length - score - 1, length - 1, 64):
            rows = slice(first, min(first + 64, length - 1))
            logits = in_torch.lm_head(states[rows]).double()
            target = torch.tensor(ids[rows.start + 1:rows.stop + 1])
            nll -= torch.log_softmax(logits, -1).gather(1, target[:, None]).sum().item()
    assert ours["perplexity"] == pytest.approx(np.exp(nll / score), rel=5e-5)
    assert ours["perplexity"] < 60, "a language model"


def test_bf16_follows_float32(probe, gemma3, ids, ours):
    short = probe.logits(gemma3, "bf16", ids[:700], last=40)
    assert relative(short, ours) < 0.05
    assert (short.argmax(1) == ours.argmax(1)).mean() > 0.9


def test_eval_scales_the_full_layers_only(ropewalk, gemma3, real_text, tmp_path):
    (tmp_path / "text.txt").write_text(real_text[:9000])
    done = subprocess.run([ropewalk, "eval", gemma3, "--text", tmp_path / "text.txt", "--lengths", "640", "--score", "64",
                           "--scaling", "none,own,yarn:4", "--json", "--state", tmp_path / "state"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["text"]["begin_token"] == BEGIN
    none, own, yarn = results["windows"]
    assert own["same_as"] == "none" and own["nll_sum"] == none["nll_sum"] != yarn["nll_sum"]
    specs = {spec["fingerprint"]: spec["spec"] for spec in results["specs"]}
    sliding, full = specs[yarn["fingerprint"]].split("; ")
    assert sliding.startswith("sliding_attention:") and "yarn" not in sliding
    assert full.startswith("full_attention:") and "yarn" in full
    done = subprocess.run([ropewalk, "explain", gemma3, "--json"], capture_output=True, text=True)
    assert done.returncode == 0 and "full_attention" in done.stdout, done.stderr


# ---- the real vocabulary

HARD = [
    "", " ", "a", " a", "a ", "  a", "   leading and trailing   ", " " * 31 + "x", " " * 32 + "x", " " * 100, "a" * 500,
    "The pig chased the dog.", "don't DON'T we'll", "1234567890 12 3 0x1F 3.14159 1,000", "\n", "\n\n\nx\n \n", "\n" * 70,
    "\t", "\t\tint main() {\n\t\t\treturn 0;\n\t}\n", "a\r\nb\rc", "tabs \t mixed \n", "\u2581 \u2581\u2581x", "x\u00a0y\u3000z",
    "na\u00efve cafe\u0301 \u00c5ngstr\u00f6m \u1e9e", "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0 \ud55c\uad6d\uc5b4 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f600\U0001f469\u200d\U0001f4bb\U0001f1ea\U0001f1fa emoji\ufe0f", "\U00010348\U0001d7d8 \U000e0001 \ufffd\ufeff", "\x00\x01\x7f",
    "<table> <tr><td>x</td></tr></table><table", "<<b>>b<b", "</i></i>i>", "<bos>hi<eos><unk><pad>", "<0x41><0x0A>", "<unused7>",
    "<start_of_turn>user\nhi<end_of_turn>", "[multimodal][multimodal", "snake_case CamelCase __dunder__", "-" * 333 + "=" * 77,
]


def random_texts(seed, count):
    generator = np.random.default_rng(seed)
    letters = list("ab eEsStT'  \t\n\r01239.,-_<b>/i \u00e9\u00bd\u00a0\u3000\u65e5\U0001f600\u0301\u2581")
    return ["".join(generator.choice(letters, generator.integers(1, 60))) for _ in range(count)]


def in_bytes(tokens, scores, types):
    """A SentencePiece model file (its protobuf, by hand) with the vocabulary of a GGUF, whose types are its own."""

    def number(n):
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes(out) + bytes([n])

    def integer(field, n):
        return number(field << 3) + number(n)

    def nested(field, data):
        return number(field << 3 | 2) + number(len(data)) + data

    out = bytearray()
    for i, (token, score, kind) in enumerate(zip(tokens, scores, types)):
        token = token.replace(" ", "\u2581") if kind == 4 else token
        out += nested(1, nested(1, token.encode()) + number(2 << 3 | 5) + np.float32(score).tobytes()
                      + integer(3, 2 if i == 3 else kind))
    bpe, unknown, begin, end, pad = integer(3, 2), integer(40, 3), integer(41, 2), integer(42, 1), integer(43, 0)
    out += nested(2, bpe + integer(35, 1) + unknown + begin + end + pad + nested(45, b"<unk>") + nested(46, b"<bos>")
                  + nested(47, b"<eos>") + nested(48, b"<pad>"))
    return bytes(out + nested(3, nested(1, b"identity") + integer(3, 0) + integer(4, 0) + integer(5, 1)))


@pytest.fixture(scope="module")
def sentencepiece(gemma3):
    from transformers.integrations.gguf import get_gguf_tokenizer  # six times as fast as gguf's own reader

    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor
    _, vocabulary, _ = get_gguf_tokenizer(str(gemma3))
    return processor(model_proto=in_bytes(*(vocabulary[name] for name in ("tokens", "scores", "token_type"))))


def test_ids_are_those_of_sentencepiece(probe, gemma3, sentencepiece, real_text):
    """Not against the tokenizer that transformers makes of a GGUF: that takes special tokens out of the text and joins
    more than 31 spaces otherwise. On all else in these texts the two agree."""
    # One run of the probe for each text would read the vocabulary each time: texts are joined, and the long stay alone.
    texts = [real_text, "\n".join(HARD), "|".join(HARD), *HARD[5:7], " ".join(random_texts(1, 2000)),
             "".join(random_texts(2, 2000))]
    for text in texts:
        assert np.array_equal(probe.tokens(gemma3, text), sentencepiece.encode(text)), repr(text[:200])


# ---- small models with random weights

MIXED = ["sliding_attention", "sliding_attention", "full_attention"]
SIZES = dict(vocab_size=300, hidden_size=72, intermediate_size=100, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, head_dim=20, max_position_embeddings=256, rms_norm_eps=1e-6, sliding_window=32,
             query_pre_attn_scalar=24, layer_types=MIXED)


def small_gemma(folder=None, dtype=torch.float32, **changes):
    """Given back as float32, read anew if it was saved: a model turned to bf16 and back has rounded frequencies."""
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.15)
    if folder is None:
        return model
    model.to(dtype).save_pretrained(folder)
    byte_tokenizer(folder)
    return Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("changes", [
    {}, {"num_key_value_heads": 1}, {"num_key_value_heads": 6}, {"tie_word_embeddings": False}, {"sliding_window": 1},
    {"sliding_window": 200}, {"query_pre_attn_scalar": 13}, {"layer_types": ["full_attention"] * 3},
    {"layer_types": ["sliding_attention"] * 3}, {"dtype": torch.bfloat16},
    {"num_hidden_layers": 1, "layer_types": MIXED[:1], "hidden_size": 50, "intermediate_size": 37, "head_dim": 10,
     "num_attention_heads": 5, "num_key_value_heads": 1},
], ids=str)
def test_small_gemmas(probe, tmp_path, changes):
    model = small_gemma(tmp_path / "model", **changes)
    ids = np.random.default_rng(1).integers(0, 256, 150)
    assert relative(probe.logits(tmp_path / "model", "f32", ids), reference_logits(model, ids)) < 3e-5


@pytest.mark.parametrize("scaling, factor, parameters", [
    ("linear", 4, {"rope_type": "linear", "factor": 4.0}),
    ("dynamic", 2, {"rope_type": "dynamic", "factor": 2.0}),
    ("yarn", 4, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
])
def test_scalings_turn_the_full_layers_otherwise(probe, tmp_path, scaling, factor, parameters):
    plain = small_gemma(tmp_path / "plain", max_position_embeddings=64)
    config = Gemma3TextConfig.from_pretrained(tmp_path / "plain")
    config.rope_parameters = {"sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                              "full_attention": {"rope_theta": 1_000_000.0, **parameters}}
    scaled = Gemma3ForCausalLM(config).eval()
    scaled.load_state_dict(plain.state_dict())
    ids = np.random.default_rng(2).integers(0, 256, 240)
    theirs = reference_nll(scaled, ids, 240, 100)
    assert probe.nll(tmp_path / "plain", "f32", ids, 240, scaling, factor, 100)["nll_sum"] == pytest.approx(theirs, rel=3e-5)
    assert abs(reference_nll(plain, ids, 240, 100) - theirs) > 3e-4 * theirs, "scalings are told apart"


def write_gguf(path, model, **changes):
    """As llama.cpp's converter does: norm weights with their 1, a SentencePiece vocabulary of bytes and a few tokens."""
    config = model.config
    writer = gguf.GGUFWriter(path, "gemma3")
    numbers = {"block_count": config.num_hidden_layers, "context_length": 256, "embedding_length": config.hidden_size,
               "feed_forward_length": config.intermediate_size, "attention.head_count": config.num_attention_heads,
               "attention.head_count_kv": config.num_key_value_heads, "attention.key_length": config.head_dim,
               "attention.value_length": config.head_dim, "attention.sliding_window": config.sliding_window, **changes}
    for key, value in numbers.items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(f"gemma3.{key}", value)
    writer.add_float32("gemma3.rope.freq_base", 1e6)
    writer.add_float32("gemma3.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_string("tokenizer.ggml.model", "llama")
    tokens = ["<unk>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256)), "a", "b", "\u2581", "ab", "\u2581ab"]
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.scores", [float(-i) for i in range(len(tokens))])
    writer.add_array("tokenizer.ggml.token_type", [2, 3, *[6] * 256, *[1] * 5])
    writer.add_uint32("tokenizer.ggml.bos_token_id", 1)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
             "post_feedforward_layernorm": "post_ffw_norm", "self_attn.q_norm": "attn_q_norm",
             "self_attn.k_norm": "attn_k_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
             "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    for name, weight in model.named_parameters():
        name = name.removesuffix(".weight")
        own, at = name, ""
        if name.startswith("model.layers."):
            layer, own = name.removeprefix("model.layers.").split(".", 1)
            at = f"blk.{layer}."
        data = weight.detach().numpy()
        writer.add_tensor(f"{at}{names[own]}.weight", data + 1 if "norm" in name else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


EVERY_SIXTH = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]


def test_a_small_gguf(probe, tmp_path):
    model = small_gemma(num_hidden_layers=7, layer_types=EVERY_SIXTH, query_pre_attn_scalar=20)
    write_gguf(tmp_path / "model.gguf", model)
    ids = probe.tokens(tmp_path / "model.gguf", "ab abba\n" * 30)
    assert ids[:8].tolist() == [262, 262, 259, 258, 12, 261, 262, 259]  # a space before it all, as the default is
    assert relative(probe.logits(tmp_path / "model.gguf", "f32", ids), reference_logits(model, ids)) < 3e-5
    fed = [1, *ids[1:]]
    ours = probe.nll(tmp_path / "model.gguf", "f32", ids, 150, "none", 1, 100)["nll_sum"]
    assert ours == pytest.approx(reference_nll(model, fed, 150, 100), rel=3e-5)


def test_the_scalar_of_27b_is_the_mean_width_of_a_head(probe, tmp_path):
    sizes = dict(num_hidden_layers=62, layer_types=[("sliding_attention", "full_attention")[i % 6 == 5] for i in range(62)],
                 hidden_size=24, intermediate_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8)
    model = small_gemma(**sizes, query_pre_attn_scalar=12)
    write_gguf(tmp_path / "model.gguf", model)
    ids = np.random.default_rng(1).integers(0, 256, 60)
    assert relative(probe.logits(tmp_path / "model.gguf", "f32", ids), reference_logits(model, ids)) < 1e-4


@pytest.mark.parametrize("key, value", [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0),
                                        ("attention.key_length", 24), ("attention.value_length", 24),
                                        ("block_count", 8), ("block_count", 6), ("attention.sliding_window", 0)])
def test_metadata_that_this_is_not(probe, tmp_path, key, value):
    model = small_gemma(num_hidden_layers=7, layer_types=EVERY_SIXTH)
    write_gguf(tmp_path / "model.gguf", model, **{key: value})
    source = probe.file("ids.i32", np.arange(4, dtype=np.int32))
    done = subprocess.run([probe.path, "logits", tmp_path / "model.gguf", "f32", source, os.devnull], capture_output=True,
                          text=True)
    if key == "attention.sliding_window":
        assert done.returncode == 0, "no window: every layer sees all"
        return
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "want" in done.stderr, done
