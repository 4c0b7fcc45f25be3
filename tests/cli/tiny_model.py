"""A random Llama of a few thousand parameters and a text for it, as files."""

import json

import numpy as np


def byte_letters():
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others for letters from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(array.tobytes())


def write_model(folder, hidden=32, layers=2, heads=4, kv_heads=2, inner=64, context=64):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(11)
    head_dim = hidden // heads

    def matrix(rows, columns, scale=0.3):
        return (generator.standard_normal((rows, columns)) * scale).astype(np.float32)

    tensors = {"model.embed_tokens.weight": matrix(256, hidden, 1.0)}
    for i in range(layers):
        base = f"model.layers.{i}."
        tensors |= {
            base + "input_layernorm.weight": np.ones(hidden, np.float32),
            base + "self_attn.q_proj.weight": matrix(heads * head_dim, hidden),
            base + "self_attn.k_proj.weight": matrix(kv_heads * head_dim, hidden),
            base + "self_attn.v_proj.weight": matrix(kv_heads * head_dim, hidden),
            base + "self_attn.o_proj.weight": matrix(hidden, heads * head_dim),
            base + "post_attention_layernorm.weight": np.ones(hidden, np.float32),
            base + "mlp.gate_proj.weight": matrix(inner, hidden),
            base + "mlp.up_proj.weight": matrix(inner, hidden),
            base + "mlp.down_proj.weight": matrix(hidden, inner),
        }
    tensors["model.norm.weight"] = np.ones(hidden, np.float32)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 256, "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": context, "tie_word_embeddings": True}))
    letters = byte_letters()
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                  "vocab": {letters[b]: b for b in range(256)}, "merges": []}}))
    return folder


def write_text(path, characters=2000):
    words = np.random.default_rng(13).choice(["rope", "walk", "strand", "turn", "phase", "the", "a", "of", "lane"], characters)
    path.write_text(" ".join(words)[:characters])
    return path
