#!/usr/bin/env python3
"""Trains a byte-level Llama of a million parameters on the King James Bible, exports it, and measures it.

    python train.py --text bible.txt             trains, writes model/, text.txt and result.json beside this file
    python train.py --text bible.txt --measure   leaves model/ as it is and only measures it anew

bible.txt is what Debian's bible-kjv prints: bible -f gen1:1-rev22:21 (scripts/fetch_texts.sh makes it).
Needs torch, transformers (5 or later), safetensors and numpy. Takes about half an hour on one core.

An interrupted run goes on from its last checkpoint: every step draws its crops from its own seed, so that a resumed run
sees the bytes an uninterrupted one would have seen.
"""

import argparse
import hashlib
import json
import math
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

HERE = Path(__file__).resolve().parent

CONTEXT = 256  # positions the model is trained on, and the number its config.json states
HELD_OUT = 0.1  # of the text, at its end, never trained on
EXCERPT_BYTES = 300_000  # of the held-out text, kept beside the model as text.txt

# Spelled as transformers 4 and 5 both read it: rope_theta at the top level, no rope_parameters, head_dim written out.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": CONTEXT,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-05,
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}

BATCH = 8
PEAK_LR = 3e-3
WARMUP_STEPS = 200
WEIGHT_DECAY = 0.1
SEED = 1611


# ---- text ------------------------------------------------------------------------------------------------------------


def split_text(data):
    """The training bytes and the held-out bytes, cut where a verse begins."""
    cut = data.index(b"\n", int(len(data) * (1 - HELD_OUT))) + 1
    return data[:cut], data[cut:]


def excerpt_of(held_out):
    """The first whole verses of the held-out text, EXCERPT_BYTES of them or a little less."""
    return held_out[: held_out.rindex(b"\n", 0, EXCERPT_BYTES) + 1]


def crops(bytes_, step):
    """The CONTEXT + 1 byte crops of one step: a function of the step alone."""
    generator = np.random.default_rng([SEED, step])
    starts = generator.integers(0, len(bytes_) - CONTEXT, size=BATCH)
    return torch.stack([bytes_[s : s + CONTEXT + 1] for s in starts.tolist()]).long()


# ---- training --------------------------------------------------------------------------------------------------------


def learning_rate(step, steps):
    if step < WARMUP_STEPS:
        return PEAK_LR * (step + 1) / WARMUP_STEPS
    along = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_LR * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def next_byte_loss(model, ids):
    """Mean nats per byte of ids[:, 1:], each predicted from all the bytes before it in its row."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def train(text, steps, work):
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(LlamaConfig.from_dict(CONFIG)).float().train()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": gains, "weight_decay": 0.0}],
        lr=PEAK_LR,
        betas=(0.9, 0.98),
    )
    bytes_ = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    checkpoint = work / "checkpoint.pt"
    step, seconds, curve, recent = 0, 0.0, [], []
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["steps"] != steps:
            sys.exit(f"{checkpoint}: want a run of {steps} steps, got one of {saved['steps']}; remove it to start over")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds, curve = saved["step"], saved["seconds"], saved["curve"]
        print(f"goes on at step {step}", flush=True)

    started, first = time.monotonic() - seconds, step
    resumed_at = time.monotonic()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = next_byte_loss(model, crops(bytes_, step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        step += 1
        if step % 100 == 0 or step == steps:
            left = (time.monotonic() - resumed_at) / (step - first) * (steps - step)
            curve.append([step, round(sum(recent) / len(recent), 4)])
            recent = []
            print(f"step {step}/{steps}  {curve[-1][1]:.4f} nats/byte  {left / 60:.1f} min left", flush=True)
        if step % 500 == 0 and step < steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps, "step": step,
                     "seconds": time.monotonic() - started, "curve": curve}
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)
    return model, {
        "steps": steps,
        "batch": BATCH,
        "bytes_seen": steps * BATCH * CONTEXT,
        "seconds": round(time.monotonic() - started),
        "loss_by_step": curve,
    }


# ---- export ----------------------------------------------------------------------------------------------------------


def byte_characters():
    """The printable stand-in of each byte in a byte-level BPE vocabulary: the table of GPT-2's tokenizer, restated.

    A byte that prints in Latin-1 stands for itself; the other 68 take U+0100 and onwards, in byte order.
    """
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in prints]
    return {**{b: chr(b) for b in prints}, **{b: chr(0x100 + i) for i, b in enumerate(others)}}


def tokenizer_json():
    """Byte-level BPE without merges: a token is a byte, and its id is the byte's value."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {character: byte for byte, character in sorted(byte_characters().items())},
            "merges": [],
        },
    }


def write_json(path, value):
    text = json.dumps(value, indent=2)
    # A list of numbers stands on one line.
    text = re.sub(r"\[([\s\d.,]*)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    path.write_text(text + "\n", encoding="utf-8")


def export(model, folder):
    folder.mkdir(exist_ok=True)
    weights = {name: w.detach().to(torch.bfloat16).contiguous() for name, w in model.state_dict().items()
               if name != "lm_head.weight"}  # tied: the embedding is the head
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # save_file makes it readable by its owner alone
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "tokenizer.json", tokenizer_json())
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    })


# ---- measurement -----------------------------------------------------------------------------------------------------

SCORED = 128  # bytes at a window's end, the same ones behind every context
WINDOWS = 64
CONTEXTS = [128, 256, 384, 512, 1024, 2048]
SCALINGS = {
    "none": None,
    "linear 2": {"rope_type": "linear", "factor": 2.0},
    "linear 4": {"rope_type": "linear", "factor": 4.0},
    "dynamic 2": {"rope_type": "dynamic", "factor": 2.0},
    "yarn 2": {"rope_type": "yarn", "factor": 2.0},
    "yarn 4": {"rope_type": "yarn", "factor": 4.0},
    "yarn 8": {"rope_type": "yarn", "factor": 8.0},
}


def load(folder, scaling=None):
    """The exported model, read by transformers as anybody would, in float32."""
    config = LlamaConfig.from_pretrained(folder)
    if scaling is not None:
        config.rope_parameters = {"rope_theta": CONFIG["rope_theta"], **scaling}
        if scaling["rope_type"] == "yarn":
            config.rope_parameters["original_max_position_embeddings"] = CONTEXT
    return LlamaForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def loss_in_rows(model, text):
    """Mean nats per byte over the text cut into rows of CONTEXT bytes, each read from position 0 on."""
    bytes_ = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    rows = (len(bytes_) - 1) // CONTEXT
    ids = torch.stack([bytes_[r * CONTEXT : (r + 1) * CONTEXT + 1] for r in range(rows)])
    with torch.inference_mode():
        parts = [(len(part), next_byte_loss(model, part).item()) for part in ids.split(32)]
    return sum(n * loss for n, loss in parts) / rows


def loss_behind_context(model, text, context, windows=WINDOWS):
    """Nats per byte of each window's last SCORED bytes, read at positions 0 to context - 1; one number a window."""
    bytes_ = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    ends = np.linspace(max(CONTEXTS) + 1, len(bytes_), windows).astype(int).tolist()
    losses = []
    with torch.inference_mode():
        for end in ends:
            ids = bytes_[end - context - 1 : end]
            logits = model(input_ids=ids[None, :-1], use_cache=False, logits_to_keep=SCORED).logits[0].float()
            losses.append(F.cross_entropy(logits, ids[-SCORED:]).item())
    return losses


def measure(folder, text, trained_text):
    model = load(folder)
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "loss_in_rows_of_256": {
            "text.txt": round(loss_in_rows(model, text), 5),
            "as_much_of_the_trained_text": round(loss_in_rows(model, trained_text[-len(text) :]), 5),
        },
        "perplexity_behind_context": {
            "text": "text.txt",
            "windows": WINDOWS,
            "scored_bytes_at_each_windows_end": SCORED,
            "contexts": CONTEXTS,
            "scalings": SCALINGS,
            "perplexity": {},
            "standard_error_of_mean_loss": {},
        },
    }
    table = result["perplexity_behind_context"]
    for name, scaling in SCALINGS.items():
        perplexities, errors = [], []
        for context in CONTEXTS:
            # A fresh model each time: transformers' dynamic scaling remembers the longest context it has seen.
            losses = np.array(loss_behind_context(load(folder, scaling), text, context))
            perplexities.append(round(float(np.exp(losses.mean())), 4))
            errors.append(round(float(losses.std(ddof=1) / math.sqrt(len(losses))), 4))
        table["perplexity"][name] = perplexities
        table["standard_error_of_mean_loss"][name] = errors
        print(f"{name:10}", *(f"{p:9.3f}" for p in perplexities), flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="bible.txt")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=HERE, help="for model/, text.txt and result.json (default: here)")
    parser.add_argument("--work", type=Path, default=HERE.parents[1] / ".cache/lab-0001", help="for checkpoints")
    parser.add_argument("--measure", action="store_true", help="measure the model that is there; do not train")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)

    data = arguments.text.read_bytes()
    text, held_out = split_text(data)
    (arguments.out / "text.txt").write_bytes(excerpt_of(held_out))
    result_path = arguments.out / "result.json"
    if not arguments.measure:
        model, facts = train(text, arguments.steps, arguments.work)
        export(model, arguments.out / "model")
        write_json(result_path, {
            "text": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "trained_bytes": len(text),
                     "held_out_bytes": len(held_out)},
            "training": {**facts, "peak_learning_rate": PEAK_LR, "seed": SEED, "torch": torch.__version__,
                         "threads": 1},
        })
    result = json.loads(result_path.read_text())
    result["measured"] = measure(arguments.out / "model", excerpt_of(held_out), text)
    write_json(result_path, result)


if __name__ == "__main__":
    main()
