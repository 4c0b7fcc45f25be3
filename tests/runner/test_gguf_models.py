"""Small Llamas written as GGUF by the gguf package: rows of q and k permuted, types mixed, and files gone wrong."""

import subprocess

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

from gguf import GGMLQuantizationType as Type  # noqa: E402
from gguf.quants import dequantize, quantize  # noqa: E402
from tokenizers import pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INNER, LAYERS = 4, 2, 16, 64, 96, 2
# One byte gives way to the merged token, so that ids stay below 256.
VOCABULARY = [*sorted(pre_tokenizers.ByteLevel.alphabet())[:-1], "ab"]


def interleaved(weight, heads):
    """Rows from the order of Hugging Face (halves) to that of GGUF (neighbours)."""
    return weight.reshape(heads, 2, HEAD_DIM // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, kind, pre="gpt-2", tied=False, **changes):
    """Returns the same model in transformers, its weights rounded as the file has them."""
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=256, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=128, rms_norm_eps=1e-5,
        tie_word_embeddings=tied, rope_parameters={"rope_type": "default", "rope_theta": 7000.0})).eval()
    writer = gguf.GGUFWriter(path, "llama")
    numbers = {"llama.block_count": LAYERS, "llama.context_length": 128, "llama.embedding_length": HIDDEN,
               "llama.feed_forward_length": INNER, "llama.attention.head_count": HEADS,
               "llama.attention.head_count_kv": KV_HEADS, "llama.rope.dimension_count": HEAD_DIM, **changes}
    for key, value in numbers.items():
        writer.add_uint32(key, value)
    writer.add_float32("llama.rope.freq_base", 7000.0)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", pre)
    writer.add_array("tokenizer.ggml.tokens", VOCABULARY)
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
             "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            norm = "norm" in name
            weight.normal_(1.0 if norm else 0.0, 0.2)
            own = Type.F32 if norm else kind
            name = name.removesuffix(".weight")
            if name.startswith("model.layers."):
                layer, name = name.removeprefix("model.layers.").split(".", 1)
                out = f"blk.{layer}.{names[name]}.weight"
            else:
                out = names[name] + ".weight"
            data = weight.numpy()
            heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}.get(name)
            packed = quantize(interleaved(data, heads) if heads else data, own)
            rounded = quantize(data, own)  # rows are quantised one by one, so their order does not matter
            weight.copy_(torch.tensor(np.array(dequantize(rounded, own), dtype=np.float32).reshape(data.shape)))
            writer.add_tensor(out, packed, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.mark.parametrize("kind, tied", [(Type.F32, False), (Type.F16, True), (Type.BF16, False), (Type.Q8_0, True),
                                        (Type.Q4_0, False), (Type.Q4_1, True), (Type.Q5_0, False), (Type.Q5_1, True)])
def test_logits(probe, tmp_path, kind, tied):
    model = write_gguf(tmp_path / "model.gguf", kind, tied=tied)
    ids = np.random.default_rng(1).integers(0, 256, 100)
    ours = probe.logits(tmp_path / "model.gguf", "f32", ids)
    with torch.no_grad():
        theirs = model(torch.tensor([ids.tolist()])).logits[0].numpy()
    assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def refusal(probe, path):
    """The one line with which a model is refused."""
    ids = probe.file("ids.i32", np.arange(4, dtype=np.int32))
    done = subprocess.run([probe.path, "logits", path, "f32", ids, probe.folder / "out.f32"], capture_output=True,
                          text=True)
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_an_unknown_pre_tokenizer_is_refused_by_name(probe, tmp_path):
    write_gguf(tmp_path / "model.gguf", Type.F32, pre="mystery-bpe")
    assert "mystery-bpe" in refusal(probe, tmp_path / "model.gguf")


@pytest.mark.parametrize("key, value", [("llama.block_count", 3), ("llama.block_count", 1),
                                        ("llama.embedding_length", 128), ("llama.feed_forward_length", 95),
                                        ("llama.attention.head_count_kv", 4), ("llama.attention.head_count", 0),
                                        ("llama.expert_count", 8), ("llama.attention.key_length", 32)])
def test_metadata_that_does_not_fit_the_tensors(probe, tmp_path, key, value):
    write_gguf(tmp_path / "model.gguf", Type.F32, **{key: value})
    assert "want" in refusal(probe, tmp_path / "model.gguf")


@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.01, 0.05, 0.5, 0.999])
def test_a_truncated_file(probe, tmp_path, kept):
    path = tmp_path / "model.gguf"
    write_gguf(path, Type.Q8_0)
    whole = path.read_bytes()
    path.write_bytes(whole[:int(len(whole) * kept)])
    assert refusal(probe, path)
