"""The decoder against transformers and torch, on the same weights."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch_reference import byte_tokenizer, reference_logits, reference_nll, relative  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: E402


# ---- a real checkpoint


@pytest.fixture(scope="module")
def smollm2_in_torch(smollm2):
    return AutoModelForCausalLM.from_pretrained(smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32).eval()


def test_logits_of_smollm2(probe, smollm2, smollm2_in_torch, real_text):
    ids = probe.tokens(smollm2, real_text)[:300]
    ours = probe.logits(smollm2, "f32", ids)
    theirs = reference_logits(smollm2_in_torch, ids)
    assert ours.shape == theirs.shape
    assert relative(ours, theirs) < 1e-3
    assert relative(ours, theirs) < 2e-5  # what float32 sums in another order leave; 4e-6 was measured
    assert (ours.argmax(1) == theirs.argmax(1)).all()


def test_logits_of_smollm2_in_bf16_follow_float32(probe, smollm2, smollm2_in_torch, real_text):
    ids = probe.tokens(smollm2, real_text)[:200]
    ours = probe.logits(smollm2, "bf16", ids)
    theirs = reference_logits(smollm2_in_torch, ids)
    assert relative(ours, theirs) < 0.05
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.95


def test_perplexity_of_smollm2_to_four_digits(probe, smollm2, smollm2_in_torch, real_text):
    ids = probe.tokens(smollm2, real_text)
    ours = probe.nll(smollm2, "f32", ids, 2048, "none", 1, 1024)
    theirs = np.exp(reference_nll(smollm2_in_torch, ids, 2048, 1024) / 1024)
    assert ours["perplexity"] == pytest.approx(theirs, rel=1e-4)


# ---- small models with random weights, in the shapes that break decoders


def small_llama(folder, dtype=torch.float32, shards=False, seed=0, **changes):
    """Saves it, and gives it back as float32, read anew: a model turned to bf16 and back has rounded frequencies."""
    sizes = dict(vocab_size=300, hidden_size=72, intermediate_size=100, num_hidden_layers=3, num_attention_heads=6,
                 num_key_value_heads=2, head_dim=12, max_position_embeddings=64, rms_norm_eps=1e-5,
                 tie_word_embeddings=False)
    torch.manual_seed(seed)
    config = LlamaConfig(**{**sizes, **changes})
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.15)
    model = model.to(dtype)
    model.save_pretrained(folder, **({"max_shard_size": "60KB"} if shards else {}))
    byte_tokenizer(folder)
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("name, changes", [
    ("grouped", {}),
    ("one key head", {"num_key_value_heads": 1}),
    ("a key head each", {"num_key_value_heads": 6}),
    ("tied", {"tie_word_embeddings": True}),
    ("wide heads", {"head_dim": 40, "num_attention_heads": 3, "num_key_value_heads": 3}),
    ("one layer, odd sizes", {"num_hidden_layers": 1, "intermediate_size": 37, "hidden_size": 50, "head_dim": 10,
                              "num_attention_heads": 5, "num_key_value_heads": 1}),
    ("bf16", {"dtype": torch.bfloat16}),
    ("f16", {"dtype": torch.float16}),
    ("shards", {"shards": True}),
])
def test_small_llamas(probe, tmp_path, name, changes):
    model = small_llama(tmp_path / "model", **changes)
    if changes.get("shards"):
        assert (tmp_path / "model" / "model.safetensors.index.json").exists()
    ids = np.random.default_rng(1).integers(0, 256, 150)
    ours = probe.logits(tmp_path / "model", "f32", ids)
    assert relative(ours, reference_logits(model, ids)) < 2e-5, name


@pytest.mark.parametrize("scaling, factor, parameters", [
    ("none", 1, {"rope_type": "default"}),
    ("linear", 4, {"rope_type": "linear", "factor": 4.0}),
    ("dynamic", 2, {"rope_type": "dynamic", "factor": 2.0}),
    ("yarn", 4, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
])
def test_scalings_beyond_the_trained_length(probe, tmp_path, scaling, factor, parameters):
    """A plain checkpoint under `--scaling`, against transformers told the same in its config."""
    plain = small_llama(tmp_path / "plain", rope_parameters={"rope_type": "default", "rope_theta": 5000.0})
    config = LlamaConfig.from_pretrained(tmp_path / "plain")
    config.rope_parameters = {"rope_theta": 5000.0, **parameters}
    scaled = LlamaForCausalLM(config).eval()
    scaled.load_state_dict(plain.state_dict())
    ids = np.random.default_rng(2).integers(0, 256, 240)
    ours = probe.nll(tmp_path / "plain", "f32", ids, 240, scaling, factor, 100)["nll_sum"]
    theirs = reference_nll(scaled, ids, 240, 100)
    assert ours == pytest.approx(theirs, rel=2e-5)
    if scaling != "none":  # the test tells scalings apart, by ten times its tolerance
        assert abs(reference_nll(plain, ids, 240, 100) - theirs) > 2e-4 * theirs


def test_the_checkpoints_own_scaling(probe, tmp_path):
    parameters = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0,
                  "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    model = small_llama(tmp_path / "model", rope_parameters=parameters, max_position_embeddings=512)
    ids = np.random.default_rng(3).integers(0, 256, 200)
    ours = probe.nll(tmp_path / "model", "f32", ids, 200, "own", 1, 100)["nll_sum"]
    assert ours == pytest.approx(reference_nll(model, ids, 200, 100), rel=2e-5)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "llama"
