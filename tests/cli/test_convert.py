"""convert: query and key weights from one pair layout to the other, and which one a model was trained with.

The oracle reorders with numpy's reshape and swapaxes, splits fused tensors as each model's own code does, and turns heads
in float64; nothing here knows how the tool finds its order. Files are written and read here byte by byte."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

import numpy as np
import pytest
from tool import BINARY, LLAMA, ROOT, hear_signals, ok, refused, run

LAB = ROOT / "lab" / "0001-small-llama"
KEY = "ropewalk.pair_layout"
BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1, "I64": 8}

# 64 query heads on 8 key heads alone would be no test: 64 / 8 = 8, so a wrong count of key heads passes it.
HEADS = [(32, 4), (32, 8), (64, 8), (28, 4), (8, 1), (3, 3)]


# ---- files


def random_tensor(dtype, shape, seed):
    return dtype, list(shape), np.random.default_rng(seed).bytes(math.prod(shape) * BYTES[dtype])


def write_file(path, tensors, metadata=None):
    header, at = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def read_file(path):
    """Its tensors in the order of their data, and its metadata."""
    whole = path.read_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    assert (8 + length) % 8 == 0
    header = json.loads(whole[8:8 + length])
    metadata = header.pop("__metadata__", {})
    data = whole[8 + length:]
    entries = sorted(header.items(), key=lambda each: each[1]["data_offsets"])
    return {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in entries}, metadata


def write_folder(folder, config, tensors, metadata=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_file(folder / "model.safetensors", tensors, metadata)
    return folder


def convert(folder, to, out, *more):
    """Runs it and gives the tensors of the result, and the report."""
    report = json.loads(ok("convert", folder, "--to", to, "--out", out, "--json", *more))
    assert report["pair_layout"] == to
    return read_file(out / "model.safetensors")[0], report


# ---- the oracle


def reordered(rows, head_dim, rotary_dim=None, offset=0):
    """Half to interleaved: rows [heads * head_dim, ...] of any dtype."""
    rotary_dim = rotary_dim or head_dim
    heads = rows.reshape(-1, head_dim, *rows.shape[1:]).copy()
    turning = heads[:, offset:offset + rotary_dim]
    pairs = turning.reshape(len(heads), 2, rotary_dim // 2, *rows.shape[1:]).swapaxes(1, 2)
    heads[:, offset:offset + rotary_dim] = pairs.reshape(turning.shape)
    return heads.reshape(rows.shape)


def as_rows(tensor):
    """Its rows as bytes, [rows, bytes of a row]."""
    return np.frombuffer(tensor[2], np.uint8).reshape(tensor[1][0], -1)


def turned(x, half, position, theta=10000.0, rotary_dim=None, offset=0):
    """Heads [heads, head_dim] at a position, in float64."""
    rotary_dim = rotary_dim or x.shape[1]
    pairs, out = rotary_dim // 2, x.astype(np.float64)
    angle = position * theta ** (-2.0 * np.arange(pairs) / rotary_dim)
    first = offset + (np.arange(pairs) if half else 2 * np.arange(pairs))
    second = first + (pairs if half else 1)
    x0, x1 = out[:, first].copy(), out[:, second].copy()
    out[:, first] = x0 * np.cos(angle) - x1 * np.sin(angle)
    out[:, second] = x1 * np.cos(angle) + x0 * np.sin(angle)
    return out


# ---- plain projections


def plain(heads, kv_heads, head_dim=16, hidden=24, layers=2, dtype="BF16", bias=True):
    config = LLAMA | {"hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
                      "head_dim": head_dim, "num_hidden_layers": layers}
    tensors = {"model.embed_tokens.weight": random_tensor(dtype, (50, hidden), 1)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for i, (name, rows) in enumerate([("q", heads), ("k", kv_heads), ("v", kv_heads)]):
            seed = 10 * layer + i
            tensors[f"{at}self_attn.{name}_proj.weight"] = random_tensor(dtype, (rows * head_dim, hidden), seed)
            if bias:
                tensors[f"{at}self_attn.{name}_proj.bias"] = random_tensor(dtype, (rows * head_dim,), 100 + seed)
        tensors[f"{at}self_attn.o_proj.weight"] = random_tensor(dtype, (hidden, heads * head_dim), 5)
        tensors[f"{at}input_layernorm.weight"] = random_tensor("F32", (hidden,), 6)
        tensors[f"{at}mlp.gate_proj.weight"] = random_tensor(dtype, (40, hidden), 7)
    return config, tensors


def moves(name):
    return ".q_proj." in name or ".k_proj." in name


@pytest.mark.parametrize("heads, kv_heads", HEADS)
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64", "F8_E4M3"])
def test_there_and_back_is_every_byte(tmp_path, heads, kv_heads, dtype):
    config, tensors = plain(heads, kv_heads, dtype=dtype)
    folder = write_folder(tmp_path / "a", config, tensors, {"format": "pt", "who": "\u00e9\n\"x\""})
    there, report = convert(folder, "interleaved", tmp_path / "b")
    assert report["from"] == "half" and report["tensors"] == len(tensors)
    assert sorted(report["reordered"]) == sorted(filter(moves, tensors))
    assert list(there) == list(tensors)
    for name, tensor in tensors.items():
        assert there[name][:2] == tensor[:2]
        if moves(name):
            assert (as_rows(there[name]) == reordered(as_rows(tensor), 16)).all()
            assert there[name] != tensor
        else:
            assert there[name] == tensor
    assert (tmp_path / "b" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert read_file(tmp_path / "b" / "model.safetensors")[1] == {"format": "pt", "who": "\u00e9\n\"x\"", KEY: "interleaved"}

    back, report = convert(tmp_path / "b", "half", tmp_path / "c")
    assert report["from"] == "interleaved"
    assert back == tensors
    convert(tmp_path / "c", "interleaved", tmp_path / "d")
    assert (tmp_path / "d" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("heads, kv_heads", HEADS)
def test_turned_projections_are_the_same_in_the_other_layout(tmp_path, heads, kv_heads):
    """rope_half(W x + b), its channels in the other order, is rope_interleaved(W' x + b'), and no score changes."""
    config, tensors = plain(heads, kv_heads, layers=1)
    generator = np.random.default_rng(3)
    for name in filter(moves, tensors):
        shape = tensors[name][1]
        tensors[name] = ("F64", shape, generator.integers(-9, 9, shape).astype("<f8").tobytes())
    there, _ = convert(write_folder(tmp_path / "a", config, tensors), "interleaved", tmp_path / "b")
    x, position = generator.integers(-5, 5, 24).astype(float), 1048573
    scores = []
    for file, half in ((tensors, True), (there, False)):
        def heads_of(which):
            at = f"model.layers.0.self_attn.{which}_proj."
            weight = np.frombuffer(file[at + "weight"][2], "<f8").reshape(-1, 24)
            return (weight @ x + np.frombuffer(file[at + "bias"][2], "<f8")).reshape(-1, 16)
        q, k = turned(heads_of("q"), half, position), turned(heads_of("k"), half, 17)
        scores.append((q, np.einsum("hd,hd->h", q, np.repeat(k, heads // kv_heads, axis=0))))
    want = reordered(scores[0][0].reshape(-1), 16).reshape(-1, 16)
    assert (scores[1][0] == want).all()
    assert not (scores[0][0] == want).all()
    np.testing.assert_allclose(scores[1][1], scores[0][1], rtol=1e-13)


@pytest.mark.parametrize("partial", [0.25, 0.5, 0.75])
def test_partial_width(tmp_path, partial):
    config, tensors = plain(8, 2, head_dim=32)
    config |= {"model_type": "phi", "partial_rotary_factor": partial}
    tensors = {name.replace("o_proj", "dense"): tensor for name, tensor in tensors.items()}
    there, _ = convert(write_folder(tmp_path / "a", config, tensors), "interleaved", tmp_path / "b")
    for name in filter(moves, tensors):
        assert (as_rows(there[name]) == reordered(as_rows(tensors[name]), 32, int(32 * partial))).all()


@pytest.mark.parametrize("scale_shape", [lambda rows: (rows, 1), lambda rows: (rows, 3), lambda rows: (rows,)])
def test_packed_rows_move_with_their_scales(tmp_path, scale_shape):
    """Four bits a weight, two to a byte, and scales by row or by block of a row (llama.cpp#22611)."""
    config, tensors = plain(8, 2, bias=False, dtype="U8")
    for name in list(filter(moves, tensors)):
        rows, module = tensors[name][1][0], name.removesuffix(".weight")
        tensors[f"{module}.weight_scale"] = random_tensor("F8_E4M3", scale_shape(rows), 31)
        tensors[f"{module}.weight_scale_2"] = random_tensor("F32", (), 32)
        tensors[f"{module}.input_scale"] = random_tensor("F32", (1,), 33)
    there, _ = convert(write_folder(tmp_path / "a", config, tensors), "interleaved", tmp_path / "b")
    for name, tensor in tensors.items():
        if moves(name) and name.endswith((".weight", ".weight_scale")):
            assert (as_rows(there[name]) == reordered(as_rows(tensor), 16)).all()
        else:
            assert there[name] == tensor
    assert convert(tmp_path / "b", "half", tmp_path / "c")[0] == tensors


@pytest.mark.parametrize("shape", [(16,), (8 * 16,), (8, 16)])
def test_norms_on_the_channels_of_a_head(tmp_path, shape):
    config, tensors = plain(8, 2, bias=False)
    at = "model.layers.1.self_attn."
    tensors[at + "q_norm.weight"] = random_tensor("BF16", shape, 41)
    tensors[at + "k_norm.weight"] = random_tensor("BF16", (16,) if shape == (16,) else (2 * 16,), 42)
    there, _ = convert(write_folder(tmp_path / "a", config, tensors), "interleaved", tmp_path / "b")
    for name in ("q_norm", "k_norm"):
        before, after = (np.frombuffer(file[f"{at}{name}.weight"][2], "<u2") for file in (tensors, there))
        assert (after == reordered(before, 16)).all() and not (after == before).all()


# ---- fused tensors, split as each model's own code splits them


def split_stacked(rows, heads, kv, dim):
    return np.split(rows, [heads * dim, (heads + kv) * dim])


def split_per_head(rows, heads, kv, dim):
    each = rows.reshape(heads, 3, dim, -1)
    return [each[:, i].reshape(heads * dim, -1) for i in range(3)]


def split_grouped(rows, heads, kv, dim):
    each = rows.reshape(kv, heads // kv + 2, dim, -1)
    return [each[:, :-2].reshape(heads * dim, -1), each[:, -2].reshape(kv * dim, -1), each[:, -1].reshape(kv * dim, -1)]


def split_codegen(rows, heads, kv, dim):
    query, value, key = np.split(rows.reshape(4, -1, rows.shape[-1]), 3, axis=1)
    return [each.reshape(heads * dim, -1) for each in (query, key, value)]


NEOX = {"model_type": "gpt_neox", "hidden_size": 128, "num_attention_heads": 8, "num_hidden_layers": 1,
        "max_position_embeddings": 2048, "rotary_pct": 0.25, "rotary_emb_base": 10000}
FALCON = {"model_type": "falcon", "hidden_size": 128, "num_attention_heads": 8, "num_hidden_layers": 1, "rope_theta": 10000.0,
          "max_position_embeddings": 2048, "alibi": False}
FUSED = {
    "phi3": (LLAMA | {"model_type": "phi3", "hidden_size": 128, "num_attention_heads": 8, "num_hidden_layers": 1},
             "model.layers.0.self_attn.qkv_proj", split_stacked, 2, 16),
    "gpt_neox": (NEOX, "gpt_neox.layers.0.attention.query_key_value", split_per_head, 8, 4),
    "falcon, grouped": (FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
                        "transformer.h.0.self_attention.query_key_value", split_grouped, 2, 16),
    "falcon, one key": (FALCON | {"multi_query": True}, "transformer.h.0.self_attention.query_key_value", split_stacked, 1, 16),
    "falcon, a key each": (FALCON | {"multi_query": False}, "transformer.h.0.self_attention.query_key_value", split_per_head,
                           8, 16),
    "internlm2": (LLAMA | {"model_type": "internlm2", "hidden_size": 128, "num_attention_heads": 8, "num_hidden_layers": 1},
                  "model.layers.0.attention.wqkv", split_grouped, 2, 16),
    "codegen": ({"model_type": "codegen", "n_embd": 128, "n_head": 8, "n_layer": 1, "n_positions": 2048, "rotary_dim": 8},
                "transformer.h.0.attn.qkv_proj", split_codegen, 8, 8),
    "baichuan": ({"model_type": "baichuan", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 1,
                  "max_position_embeddings": 4096}, "model.layers.0.self_attn.W_pack", split_stacked, 32, 128),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", FUSED)
def test_fused_tensors(tmp_path, name, bias):
    config, module, split, kv, rotary_dim = FUSED[name]
    heads = 32 if name == "baichuan" else 8
    dim = 128 if name == "baichuan" else 16
    rows = (heads + 2 * kv) * dim
    tensors = {f"{module}.weight": random_tensor("BF16", (rows, 3), 1)}
    if bias:
        tensors[f"{module}.bias"] = random_tensor("F32", (rows,), 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    from_, to = ("interleaved", "half") if name == "codegen" else ("half", "interleaved")
    there, _ = convert(folder, to, tmp_path / "b")
    for tensor in tensors:
        before, after = tensors[tensor], there[tensor]
        if name == "codegen":
            before, after = after, before
        (q, k, v), now = (split(as_rows(each), heads, kv, dim) for each in (before, after))
        assert (now[0] == reordered(q, dim, rotary_dim)).all()
        assert (now[1] == reordered(k, dim, rotary_dim)).all()
        assert (now[2] == v).all()
    assert convert(tmp_path / "b", from_, tmp_path / "c")[0] == tensors


@pytest.mark.parametrize("lora", [True, False])
def test_latent_attention(tmp_path, lora):
    """DeepSeek's: the last channels of every query turn, and those of one key for all heads."""
    nope, rope, rank, heads = 24, 8, 20, 4
    config = {"model_type": "deepseek_v3", "hidden_size": 32, "num_attention_heads": heads, "num_key_value_heads": heads,
              "num_hidden_layers": 1, "qk_nope_head_dim": nope, "qk_rope_head_dim": rope, "kv_lora_rank": rank,
              "v_head_dim": 16, "q_lora_rank": 12 if lora else None, "max_position_embeddings": 4096, "rope_theta": 10000.0}
    at = "model.layers.0.self_attn."
    query = at + ("q_b_proj.weight" if lora else "q_proj.weight")
    tensors = {query: random_tensor("BF16", (heads * (nope + rope), 12 if lora else 32), 1),
               at + "kv_a_proj_with_mqa.weight": random_tensor("BF16", (rank + rope, 32), 2),
               at + "kv_a_layernorm.weight": random_tensor("BF16", (rank,), 3),
               at + "kv_b_proj.weight": random_tensor("BF16", (heads * (nope + 16), rank), 4),
               at + "o_proj.weight": random_tensor("BF16", (32, heads * 16), 5)}
    if lora:
        tensors |= {at + "q_a_proj.weight": random_tensor("BF16", (12, 32), 6),
                    at + "q_a_layernorm.weight": random_tensor("BF16", (12,), 7)}
    there, report = convert(write_folder(tmp_path / "a", config, tensors), "half", tmp_path / "b")
    assert report["reordered"] == [query, at + "kv_a_proj_with_mqa.weight"]
    assert (as_rows(tensors[query]) == reordered(as_rows(there[query]), nope + rope, rope, nope)).all()
    key = at + "kv_a_proj_with_mqa.weight"
    assert (as_rows(tensors[key]) == reordered(as_rows(there[key]), rank + rope, rope, rank)).all()
    assert {name for name in tensors if tensors[name] != there[name]} == {query, key}


def test_layers_that_do_not_rotate_stay_as_they_are(tmp_path):
    config, tensors = plain(8, 2, layers=4)
    config |= {"model_type": "smollm3", "no_rope_layers": [1, 1, 0, 1]}
    there, _ = convert(write_folder(tmp_path / "a", config, tensors), "interleaved", tmp_path / "b")
    assert {int(name.split(".")[2]) for name in tensors if tensors[name] != there[name]} == {0, 1, 3}


# ---- files and folders


def sharded(folder, config, tensors, parts=3):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    names, where = list(tensors), {}
    for i in range(parts):
        file = f"model-{i + 1:05}-of-{parts:05}.safetensors"
        part = names[i::parts]
        write_file(folder / file, {name: tensors[name] for name in part}, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return folder


def test_shards_keep_their_files(tmp_path):
    config, tensors = plain(8, 2)
    folder = sharded(tmp_path / "a", config, tensors)
    report = json.loads(ok("convert", folder, "--to", "interleaved", "--out", tmp_path / "b", "--json"))
    assert sorted(report["files"]) == sorted(path.name for path in folder.iterdir())
    for path in folder.glob("*.safetensors"):
        before, (after, metadata) = read_file_loosely(path), read_file(tmp_path / "b" / path.name)
        assert metadata[KEY] == "interleaved"
        assert list(before) == list(after)
        for name, tensor in after.items():
            want = reordered(as_rows(before[name]), 16).tobytes() if moves(name) else before[name][2]
            assert tensor[2] == want
    index = "model.safetensors.index.json"
    assert (tmp_path / "b" / index).read_bytes() == (folder / index).read_bytes()


def test_an_index_beside_the_whole_file_stays_behind(tmp_path):
    """Loaders take model.safetensors, and the shards that the index names are not in the result."""
    config, tensors = plain(8, 2)
    folder = sharded(tmp_path / "a", config, tensors)
    write_file(folder / "model.safetensors", tensors)
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    _, report = convert(folder, "interleaved", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["config.json", "model.safetensors"]
    assert report["left_out"] == sorted({path.name for path in folder.iterdir()} - {"config.json", "model.safetensors"})
    convert(tmp_path / "b", "half", tmp_path / "c")


def read_file_loosely(path):
    whole = path.read_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    header = json.loads(whole[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"], whole[8 + length:][slice(*e["data_offsets"])]) for name, e in header.items()}


def test_a_single_file(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    (folder / "notes.txt").write_text("stays")
    ok("convert", folder / "weights.safetensors", "--to", "interleaved", "--out", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["config.json", "weights.safetensors"]


def test_what_else_a_folder_holds(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    for name in ("tokenizer.json", "tokenizer.model", "chat_template.jinja", "pytorch_model.bin", "consolidated.safetensors"):
        (folder / name).write_bytes(name.encode())
    (folder / "onnx").mkdir()
    report = json.loads(ok("convert", folder, "--to", "interleaved", "--out", tmp_path / "b" / "c", "--json"))
    assert report["left_out"] == ["consolidated.safetensors", "onnx", "pytorch_model.bin"]
    assert sorted(report["files"]) == sorted(path.name for path in (tmp_path / "b" / "c").iterdir())
    assert (tmp_path / "b" / "c" / "tokenizer.model").read_bytes() == b"tokenizer.model"


def test_the_text_report(tmp_path):
    config, tensors = plain(8, 2, bias=False)
    text = ok("convert", write_folder(tmp_path / "a", config, tensors), "--to", "interleaved", "--out", tmp_path / "b")
    assert "half -> interleaved" in text and "2 x self_attn.q_proj.weight" in text and KEY in text


def test_an_empty_folder_may_be_there_and_a_full_one_may_not(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    (tmp_path / "empty").mkdir()
    convert(folder, "interleaved", tmp_path / "empty")
    refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "empty", says="--out")
    before = (folder / "model.safetensors").read_bytes()
    refused("convert", folder, "--to", "interleaved", "--out", folder, says="--out")
    assert (folder / "model.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("x")
    refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "file", says="--out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", "file"]


def test_twice_in_the_same_direction_is_refused(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    refused("convert", folder, "--to", "half", "--out", tmp_path / "b", says=("--to", "by their config"))
    convert(folder, "interleaved", tmp_path / "b")
    refused("convert", tmp_path / "b", "--to", "interleaved", "--out", tmp_path / "c", says=("--to", "metadata"))
    refused("convert", tmp_path / "b", "--to", "interleaved", "--from", "half", "--out", tmp_path / "c", says="--from")
    assert not (tmp_path / "c").exists()


def test_from_overrules_the_family_but_not_the_metadata(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    refused("convert", folder, "--to", "half", "--from", "half", "--out", tmp_path / "b", says="--to")
    there, report = convert(folder, "half", tmp_path / "b", "--from", "interleaved")
    assert report["from"] == "interleaved"
    name = "model.layers.0.self_attn.q_proj.weight"
    assert (as_rows(tensors[name]) == reordered(as_rows(there[name]), 16)).all()


def page_example(words):
    """The command that the page shows, and what it prints."""
    for command, printed in re.findall(r"\$ ropewalk (convert .*)\n((?:.+\n)+?)```", (ROOT / "docs" / "convert.md").read_text()):
        if words in command:
            return command.split(), printed
    raise AssertionError(f"docs/convert.md shows no convert {words}")


def test_the_page_shows_what_convert_prints(tmp_path):
    (tmp_path / "lab").symlink_to(ROOT / "lab")
    command, printed = page_example("--to")
    assert ok(*command, cwd=tmp_path) == printed


# ---- nothing half


def big_folder(tmp_path, mebibytes):
    """Its file has a hole where the weights are, and takes no place on the disk."""
    config = LLAMA | {"hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 128,
                      "num_hidden_layers": 1}
    at = "model.layers.0.self_attn."
    header, end = {}, 0
    for name, shape in {**{f"{at}{x}_proj.weight": [1024, 1024] for x in "qkv"}, "lm_head.weight": [mebibytes * 512, 1024]}.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return folder


def test_memory_does_not_grow_with_the_file(tmp_path):
    folder = big_folder(tmp_path, 384)
    process = subprocess.Popen([BINARY, "convert", folder, "--to", "interleaved", "--out", tmp_path / "out"],
                               stdout=subprocess.DEVNULL)
    peak = 0  # KiB; wait4's would count what this process held when it forked
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found.group(1)) if found else 0)
        time.sleep(0.002)
    assert process.returncode == 0
    assert 0 < peak < 120 * 1024  # the program itself takes 30 MiB
    shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_nothing(tmp_path, kind):
    folder = big_folder(tmp_path, 1024)
    process = subprocess.Popen([BINARY, "convert", folder, "--to", "interleaved", "--out", tmp_path / "out"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals)
    until = time.monotonic() + 20
    while not list(tmp_path.glob("out.*/*")) and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(kind)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, (out, err)
    assert out == "" and err.splitlines()[-1].startswith("ropewalk: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


def test_a_full_disk_leaves_nothing(tmp_path):
    folder = big_folder(tmp_path, 8)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # noqa: E731
    done = run("convert", folder, "--to", "interleaved", "--out", tmp_path / "new" / "out", preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr == f"ropewalk: {tmp_path}/new/out/model.safetensors: want it written whole, got: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


def test_a_refused_run_leaves_no_folder(tmp_path):
    config, tensors = plain(2, 1, layers=1)
    folder = write_folder(tmp_path / "a", config, tensors)
    command = ("convert", folder, "--to", "interleaved", "--out")
    refused(*command, tmp_path / "new" / "er" / ("x" * 256), says="--out")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    (folder / "notes.txt").symlink_to("/nowhere")  # no regular file: left out
    (folder / "tokenizer.json").mkdir()
    assert f"  written   {tmp_path}/new/er/: model.safetensors" in ok(*command, f"{tmp_path}/new/er//")
    assert sorted(path.name for path in (tmp_path / "new" / "er").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_a_second_signal_leaves_nothing(tmp_path, last):
    """The first one asks for an end in order. It may be over before the second comes, so that it is sent until then. If
    both are waiting, the system delivers the lower number first, and it is SIGTERM that ends the process."""
    folder = big_folder(tmp_path, 2048)
    process = subprocess.Popen([BINARY, "convert", folder, "--to", "interleaved", "--out", tmp_path / "new" / "out"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=hear_signals)
    until = time.monotonic() + 20
    while not list(tmp_path.glob("new/out.*/*")) and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    while process.poll() is None and time.monotonic() < until:
        process.send_signal(last)
    assert process.returncode in (1, -last, -signal.SIGTERM)
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


def test_a_core_dump_asked_for_leaves_nothing(tmp_path):
    folder = big_folder(tmp_path, 1024)
    process = subprocess.Popen([BINARY, "convert", folder, "--to", "interleaved", "--out", tmp_path / "out"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=hear_signals)
    until = time.monotonic() + 20
    while not list(tmp_path.glob("out.*/*")) and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(signal.SIGQUIT)
    assert process.wait(60) == -signal.SIGQUIT
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


def test_out_may_be_a_link_to_an_empty_folder(tmp_path):
    config, tensors = plain(2, 1, layers=1)
    folder = write_folder(tmp_path / "a", config, tensors)
    (tmp_path / "elsewhere" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere/b")
    convert(folder, "interleaved", tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "elsewhere" / "b" / "model.safetensors").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "elsewhere", "link"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["b"]
    for target in ("elsewhere/b", "nowhere", "a/config.json"):
        (tmp_path / "other").symlink_to(target)
        refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "other", says=("--out", "is empty"))
        (tmp_path / "other").unlink()


# ---- refused by name


def refused_by_name(tmp_path, config, tensors, *words, **options):
    folder = write_folder(tmp_path / "a", config, tensors, **options)
    message = refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "b", says=words)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    return message


AT = "model.layers.1.self_attn."


@pytest.mark.parametrize("name, tensor", [
    (AT + "q_proj.lora_A.weight", ("F32", (4, 24))),
    (AT + "q_proj.base_layer.weight", ("F32", (128, 24))),
    (AT + "q_proj.weight_scale_inv", ("F32", (1, 1, 2))),
    (AT + "q_proj.qweight", ("U8", (24, 16))),
    (AT + "k_proj.scales", ("F16", (2, 16))),
    (AT + "k_proj.weight.absmax", ("F32", (12,))),
    (AT + "k_proj.weight_scale", ("F32", (7,))),
    (AT + "k_proj.weight_zero_point", ("U8", (4, 1))),
    (AT + "q_rotation.weight", ("F32", (16, 16))),
    (AT + "indexer.wk.weight", ("F32", (16, 24))),
    (AT + "q_norm.weight", ("F32", (8,))),
    (AT + "qkv_proj.weight", ("F32", (192, 24))),
    ("model.layers.1.cross_attn.q_proj.weight", ("F32", (128, 24))),
    ("model.layers.2.self_attn.q_proj.weight", ("F32", (128, 24))),
    ("model.layers.01.self_attn.q_proj.weight", ("F32", (128, 24))),
    ("model.layers.99999999999.self_attn.q_proj.weight", ("F32", (128, 24))),
    ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", ("F32", (128, 24))),
    ("model.visual.blocks.0.attn.qkv.weight", ("F32", (128, 24))),
    ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", ("F32", (128, 4))),
])
def test_a_tensor_that_is_not_known(tmp_path, name, tensor):
    config, tensors = plain(8, 2)
    tensors[name] = random_tensor(tensor[0], tensor[1], 9)
    refused_by_name(tmp_path, config, tensors, name)


@pytest.mark.parametrize("change, says", [
    ({"num_attention_heads": 4}, "q_proj"), ({"num_key_value_heads": 8}, "k_proj"), ({"head_dim": 32}, "q_proj"),
    ({"num_hidden_layers": 3}, "layer 2"), ({"num_hidden_layers": 1}, "model.layers.1."),
    ({"num_attention_heads": "8"}, "num_attention_heads"), ({"num_key_value_heads": 0}, "num_key_value_heads"),
    ({"model_type": "gpt2", "n_layer": 2, "n_embd": 128, "n_head": 8}, "rotates"), ({"model_type": "mystery"}, "mystery"),
    ({"num_key_value_heads": 2.5}, "num_key_value_heads"),
])
def test_a_config_that_does_not_fit(tmp_path, change, says):
    config, tensors = plain(8, 2)
    refused_by_name(tmp_path, config | change, tensors, says)


def test_twice_the_rows_are_not_taken_for_twice_the_heads(tmp_path):
    """Qwen3-Next puts a gate behind every query; in a family that does not, such rows are refused."""
    config, tensors = plain(8, 2)
    tensors[AT + "q_proj.weight"] = random_tensor("BF16", (2 * 8 * 16, 24), 1)
    refused_by_name(tmp_path, config, tensors, AT + "q_proj.weight", "128 rows")


@pytest.mark.parametrize("missing", ["q_proj", "k_proj", "v_proj"])
def test_a_layer_without_one_of_its_projections(tmp_path, missing):
    config, tensors = plain(8, 2)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(AT + missing)}
    refused_by_name(tmp_path, config, tensors, "layer 1")


def test_a_file_without_queries_and_keys(tmp_path):
    config, _ = plain(8, 2)
    refused_by_name(tmp_path, config, {"lm_head.weight": random_tensor("F32", (4, 4), 1)}, "layer 0")
    shutil.rmtree(tmp_path / "a")
    refused_by_name(tmp_path, config, {}, "layer 0")


def test_metadata_that_is_no_layout(tmp_path):
    config, tensors = plain(8, 2)
    refused_by_name(tmp_path, config, tensors, KEY, "sideways", metadata={KEY: "sideways"})


def test_shards_that_do_not_agree(tmp_path):
    config, tensors = plain(8, 2)
    folder = sharded(tmp_path / "a", config, tensors)
    again = ["convert", folder, "--to", "interleaved", "--out", tmp_path / "b"]
    shard = folder / "model-00002-of-00003.safetensors"
    original = shard.read_bytes()
    held = read_file_loosely(shard)
    write_file(shard, held, {KEY: "half"})
    refused(*again, says=KEY)
    other = next(name for name in tensors if name not in held)
    write_file(shard, held | {other: tensors[other]})
    refused(*again, says="weight_map")
    write_file(shard, dict(list(held.items())[1:]))
    refused(*again, says="weight_map")
    shard.unlink()
    refused(*again, says=shard.name)
    shard.write_bytes(original)
    index = folder / "model.safetensors.index.json"
    for weight_map in ({}, [], {"x": "../a.safetensors"}, {"x": 5}, {"x": "pytorch_model.bin"}, {"x": "model-00001-of-00003.safetensors"}):
        index.write_text(json.dumps({"weight_map": weight_map}))
        refused(*again, says="index.json")
    index.write_text("[")
    refused(*again, says="index.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_adapters(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    (folder / "adapter_config.json").write_text("{}")
    refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "b", says="adapter")


@pytest.mark.parametrize("body", [b"", b"GGUF", struct.pack("<Q", 1 << 62), struct.pack("<Q", 2) + b"[]",
                                  struct.pack("<Q", 9) + b'{"a":{}} ', struct.pack("<Q", 2) + b"{}" + b"extra"])
def test_a_hostile_header(tmp_path, body):
    config, _ = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, {})
    (folder / "model.safetensors").write_bytes(body)
    refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "b", says="model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_every_prefix_of_a_file_is_refused(tmp_path):
    config, tensors = plain(2, 1, head_dim=4, hidden=4, layers=1, bias=False)
    folder = write_folder(tmp_path / "a", config | {"num_attention_heads": 2}, tensors)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for kept in (*range(0, 12), len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        refused("convert", folder, "--to", "interleaved", "--out", tmp_path / "b")
    path.write_bytes(whole)
    ok("convert", folder, "--to", "interleaved", "--out", tmp_path / "b")


@pytest.mark.parametrize("arguments", [
    [], ["a"], ["a", "--to", "half"], ["a", "--out", "b"], ["a", "--to", "sideways", "--out", "b"], ["a", "--detect", "--to", "half"],
    ["a", "--to", "half", "--out", "b", "--text", "c"], ["a", "b", "--detect"], ["", "--detect"], ["missing", "--detect"],
    ["missing", "--to", "half", "--out", "b"], ["/dev/null", "--to", "half", "--out", "b"], ["/dev/null", "--detect"],
    ["model.gguf", "--to", "half", "--out", "b"],
])
def test_wrong_words(arguments):
    refused("convert", *arguments)


def test_the_help_has_examples():
    page = ok("convert", "--help")
    assert "Examples" in page and "--detect" in page


def test_out_where_nothing_can_be_written(tmp_path):
    config, tensors = plain(8, 2)
    folder = write_folder(tmp_path / "a", config, tensors)
    refused("convert", folder, "--to", "interleaved", "--out", "/proc/ropewalk", says="--out")
    refused("convert", folder, "--to", "interleaved", "--out", folder / "config.json" / "b", says="--out")


# ---- detect


def detect(path, *more):
    return json.loads(ok("convert", path, "--detect", "--json", *more, timeout=600))


@pytest.fixture(scope="module")
def lab_in_both(tmp_path_factory):
    other = tmp_path_factory.mktemp("lab") / "interleaved"
    ok("convert", LAB / "model", "--to", "interleaved", "--out", other)
    return {"half": LAB / "model", "interleaved": other}


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_detect_knows_the_small_model(lab_in_both, layout):
    found = detect(lab_in_both[layout], "--text", LAB / "text.txt")
    assert f" {layout} " in re.sub(r"\s+", " ", ok("explain", lab_in_both[layout]).split("pair_layout")[1])
    assert found["pair_layout"] == found["declared"] == layout
    assert found["tokens"] == 256
    other = {"half": "interleaved", "interleaved": "half"}[layout]
    assert found["perplexity"][other] > 2 * found["perplexity"][layout]


def test_detect_gives_the_same_perplexities_for_the_same_weights(lab_in_both):
    """A reordered model computes the same: only the sums of a score run in another order."""
    one, two = (detect(lab_in_both[layout])["perplexity"] for layout in ("half", "interleaved"))
    assert one["half"] == pytest.approx(two["interleaved"], rel=1e-5)


def test_detect_says_when_the_claim_is_wrong(lab_in_both, tmp_path):
    """Without its metadata, a converted file is what its config does not say."""
    folder = shutil.copytree(lab_in_both["interleaved"], tmp_path / "a")
    tensors, metadata = read_file(folder / "model.safetensors")
    assert metadata.pop(KEY) == "interleaved"
    write_file(folder / "model.safetensors", tensors, metadata)
    found = detect(folder)
    assert (found["pair_layout"], found["declared"]) == ("interleaved", "half")
    assert "which these weights are not" in ok("convert", folder, "--detect")


def test_detect_is_undecided_where_nothing_was_learnt(tmp_path):
    folder = shutil.copytree(LAB / "model", tmp_path / "a")
    tensors, metadata = read_file_loosely(folder / "model.safetensors"), {}
    noise = np.random.default_rng(1)
    for name, (dtype, shape, data) in tensors.items():
        if "norm" not in name:  # bf16: the upper half of a float32
            values = (0.02 * noise.standard_normal(math.prod(shape))).astype("<f4").view("<u4") >> 16
            tensors[name] = (dtype, shape, values.astype("<u2").tobytes())
    write_file(folder / "model.safetensors", tensors, metadata)
    assert detect(folder)["pair_layout"] is None
    assert "undecided" in ok("convert", folder, "--detect")


def test_detect_wants_a_text_that_is_long_enough(tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("In the beginning")
    refused("convert", LAB / "model", "--detect", "--text", short, says=("short.txt", "64"))
    short.write_bytes(b"\xff" * 1000)
    refused("convert", LAB / "model", "--detect", "--text", short, says="short.txt")
    refused("convert", LAB / "model", "--detect", "--text", tmp_path / "missing.txt", says="missing.txt")


# ---- SmolLM2 in both layouts


@pytest.fixture(scope="module")
def smollm2():
    where = os.environ.get("ROPEWALK_SMOLLM2")
    if not where:
        pytest.skip("ROPEWALK_SMOLLM2 is not set")
    path = pathlib.Path(where)
    return sorted(path.rglob("*.gguf"))[0] if path.is_dir() else path


@pytest.fixture(scope="module")
def smollm2_folder(smollm2, tmp_path_factory):
    """The same model as Hugging Face has it: rows of q and k in halves, bfloat16, a config.json and a tokenizer.json."""
    gguf = pytest.importorskip("gguf")
    tokenizers = pytest.importorskip("tokenizers")
    from gguf.quants import dequantize
    from tokenizers import models, pre_tokenizers

    reader = gguf.GGUFReader(smollm2)
    words = {key: field.contents() for key, field in reader.fields.items()}
    heads, kv_heads = words["llama.attention.head_count"], words["llama.attention.head_count_kv"]
    head_dim = words["llama.embedding_length"] // heads
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
             "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
             "token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    tensors = {}
    for tensor in reader.tensors:
        name = tensor.name.removesuffix(".weight")
        weight = dequantize(tensor.data, tensor.tensor_type).astype("<f4").reshape(tuple(int(n) for n in tensor.shape[::-1]))
        if name.endswith(("attn_q", "attn_k")):  # GGUF's neighbours back to halves
            count = heads if name.endswith("q") else kv_heads
            weight = weight.reshape(count, head_dim // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)
        if name.startswith("blk."):
            _, layer, name = name.split(".")
            name = f"model.layers.{layer}.{names[name]}"
        else:
            name = names[name]
        bits = np.ascontiguousarray(weight).view("<u4")
        bf16 = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        tensors[name + ".weight"] = ("BF16", list(weight.shape), bf16.tobytes())
    config = {"model_type": "llama", "hidden_size": words["llama.embedding_length"], "hidden_act": "silu",
              "intermediate_size": words["llama.feed_forward_length"], "num_hidden_layers": words["llama.block_count"],
              "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": len(words["tokenizer.ggml.tokens"]),
              "max_position_embeddings": words["llama.context_length"], "rope_theta": words["llama.rope.freq_base"],
              "rms_norm_eps": words["llama.attention.layer_norm_rms_epsilon"], "tie_word_embeddings": True}
    folder = write_folder(tmp_path_factory.mktemp("smollm2") / "half", config, tensors, {"format": "pt"})
    tokenizer = tokenizers.Tokenizer(models.BPE(
        vocab={token: i for i, token in enumerate(words["tokenizer.ggml.tokens"])},
        merges=[tuple(merge.split(" ", 1)) for merge in words["tokenizer.ggml.merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    yield folder
    shutil.rmtree(folder.parent)


@pytest.fixture(scope="module")
def found_in_gguf(smollm2):
    return detect(smollm2)


def test_detect_is_right_on_smollm2_in_gguf(found_in_gguf):
    found = found_in_gguf
    assert found["pair_layout"] == found["declared"] == "interleaved"
    assert 512 <= found["tokens"] <= 1024
    assert found["perplexity"]["half"] > 5 * found["perplexity"]["interleaved"]


def test_the_page_shows_what_detect_prints(smollm2, tmp_path):
    command, printed = page_example("--detect")
    (tmp_path / command[1]).symlink_to(smollm2)
    number = r"\d+\.\d+"
    got = ok(*command, cwd=tmp_path, timeout=600)
    assert re.sub(number, "x", got) == re.sub(number, "x", printed)
    for ours, shown in zip(re.findall(number, got), re.findall(number, printed), strict=True):
        assert float(ours) == pytest.approx(float(shown), rel=0.01)


def test_detect_is_right_on_smollm2_in_both_layouts(smollm2_folder, found_in_gguf):
    found = detect(smollm2_folder)
    assert found["pair_layout"] == found["declared"] == "half"
    assert found["perplexity"]["interleaved"] > 5 * found["perplexity"]["half"]
    other = smollm2_folder.parent / "interleaved"
    ok("convert", smollm2_folder, "--to", "interleaved", "--out", other)
    again = detect(other)
    assert again["pair_layout"] == again["declared"] == "interleaved"
    assert again["perplexity"]["interleaved"] == pytest.approx(found["perplexity"]["half"], rel=1e-4)
    # The GGUF's rows are those that convert makes; its weights differ by the rounding to bfloat16.
    assert again["perplexity"]["interleaved"] == pytest.approx(found_in_gguf["perplexity"]["interleaved"], rel=0.05)
