#!/usr/bin/env python3
"""Trains the same byte-level decoder with each position encoding, and measures each behind contexts of up to eight trained lengths.

    python lab/0002-encodings/run.py             what is missing in results/: an hour and a half on two idle cores from nothing
    python lab/0002-encodings/run.py --list      what there is to make, and what is there
    python lab/0002-encodings/run.py --quick     seconds; the same code on a toy

Encodings are those of ropewalk.torch.position_encoding. Between two of them nothing differs but that: a seed fixes the first
weights and the order of the text for all. README.md says what is asked and what came out.
"""

import copy
import json
import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import ropewalk
from ropewalk.torch import position_encoding

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import harness  # noqa: E402

FULL = {
    "model_dim": 192,
    "layers": 5,
    "heads": 6,
    "trained_length": 128,
    "batch": 16,
    "steps": 1000,
    "warmup": 100,
    "learning_rate": 2e-3,
    "score_rate": 10.0,  # numbers that are added to scores learn so many times as fast: see README.md
    "weight_decay": 0.1,
    "held_out": 0.1,  # of the text, at its end
    "factors": [1, 2, 4, 8],  # of the trained length
    "scored": 32,  # bytes at a window's end, the same behind every context
    "scored_last": 8,  # of them, the last: what a window of stride 8 would score
    "windows": 192,
    "validation_windows": 48,  # YaRN's betas are fitted on these, which are not among the others
    "whole_bytes": 65536,  # cut into whole windows of each length, every byte scored
    "curve_every": 25,  # steps of the loss curve
    "held_out_every": 100,
    "held_out_rows": 64,
}
QUICK = {
    **FULL,
    "model_dim": 32,
    "layers": 2,
    "heads": 2,
    "trained_length": 16,
    "batch": 2,
    "steps": 6,
    "warmup": 2,
    "scored": 8,
    "scored_last": 2,
    "windows": 3,
    "validation_windows": 2,
    "whole_bytes": 256,
    "curve_every": 2,
    "held_out_every": 3,
    "held_out_rows": 2,
}

# name of a run -> name and options of its encoding
ENCODINGS = {
    "rope": ("rope", {"theta": 10000.0}),
    "sinusoidal": ("sinusoidal", {}),
    "learned": ("learned", {}),
    "t5": ("t5", {"scale": None}),  # with 1 / sqrt(head_dim), as all others
    "shaw": ("shaw", {}),
    "alibi": ("alibi", {}),
    "none": ("none", {}),
    "rope-100": ("rope", {"theta": 100.0}),
    "rope-1000": ("rope", {"theta": 1000.0}),
    "rope-500000": ("rope", {"theta": 500000.0}),
    "kerple": ("kerple", {}),
    "fire": ("fire", {"threshold": FULL["trained_length"] / 4}),  # the paper: 512 for 2 048
}
ON_SCORES = ("t5", "kerple", "fire")  # their parameters are added to scores as they are
SEEDS = (0, 1, 2)
LAST = ("kerple", "fire")  # made when all others are there

# A threshold of YaRN is in turns over the trained length. The published ones (32 and 1) were found for 4 096 tokens.
BETAS_FAST, BETAS_SLOW = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0), (0.125, 0.25, 0.5, 1.0)
FITTED_AT = 4  # trained lengths


# ---- text ------------------------------------------------------------------------------------------------------------


def split_text(data, held_out):
    """The training bytes and the held-out bytes, cut where a verse begins."""
    cut = data.index(b"\n", int(len(data) * (1 - held_out))) + 1
    return data[:cut], data[cut:]


def as_tensor(data):
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def crops(text, settings, seed, step):
    """[batch, trained_length + 1] bytes of one step: a function of seed and step alone, so the same for every encoding."""
    generator = np.random.default_rng([1611, seed, step])
    length = settings["trained_length"]
    starts = generator.integers(0, len(text) - length, size=settings["batch"])
    return torch.stack([text[s : s + length + 1] for s in starts.tolist()]).long()


def window_ends(text, settings):
    """Where windows end in the held-out text: those that are reported, and those for fitting. No byte is scored twice."""
    longest = max(settings["factors"]) * settings["trained_length"]
    both = settings["windows"] + settings["validation_windows"]
    ends = np.linspace(longest + 1, len(text), both).astype(int).tolist()
    fitting = set(np.linspace(0, both - 1, settings["validation_windows"] + 2).astype(int)[1:-1].tolist())
    assert min(b - a for a, b in zip(ends, ends[1:])) >= settings["scored"] or len(text) < both * settings["scored"]
    return [e for i, e in enumerate(ends) if i not in fitting], [e for i, e in enumerate(ends) if i in fitting]


def window(text, end, length, scored):
    """What a model reads (`length` bytes, at positions 0, 1, ...) and what it is scored on: the `scored` bytes before `end`,
    the first of them behind length - scored + 1 bytes, the last behind `length`."""
    ids = text[end - length - 1 : end].long()
    return ids[:-1], ids[-scored:]


# ---- model -----------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(dim, bias=False)
        self.before_mlp = nn.LayerNorm(dim, bias=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, 4 * dim, bias=False)
        self.down = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x, encoding, layer):
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(batch, tokens, 3, self.heads, dim // self.heads).unbind(2)
        with torch.autocast("cpu", enabled=False):  # positions and scores in float32, products with weights in bfloat16
            q, k = encoding.rotate(q.float(), k.float(), layer=layer)
            heard = encoding.attend(q, k, v.float(), layer=layer)
        x = x + self.out(heard.reshape(batch, tokens, dim))
        return x + self.down(F.gelu(self.up(self.before_mlp(x)), approximate="tanh"))


class Decoder(nn.Module):
    """Pre-norm, bytes in and out, embeddings tied. `encoding` may be replaced by any other at any time."""

    def __init__(self, settings, encoding=None):
        super().__init__()
        dim = settings["model_dim"]
        self.bytes = nn.Embedding(256, dim)
        self.blocks = nn.ModuleList(Block(dim, settings["heads"]) for _ in range(settings["layers"]))
        self.norm = nn.LayerNorm(dim, bias=False)
        nn.init.normal_(self.bytes.weight, std=dim**-0.5)
        for block in self.blocks:
            for linear in (block.qkv, block.out, block.up, block.down):
                nn.init.normal_(linear.weight, std=dim**-0.5)
            for linear in (block.out, block.down):  # the residual stream's variance does not grow with depth
                linear.weight.data /= math.sqrt(2 * settings["layers"])
        self.encoding = encoding

    def forward(self, ids, last=None):
        """ids [batch, tokens] -> logits [batch, tokens or the `last` ones, 256]."""
        x = self.encoding.embed(self.bytes(ids) * math.sqrt(self.bytes.embedding_dim))
        for layer, block in enumerate(self.blocks):
            x = block(x, self.encoding, layer)
        if last is not None:
            x = x[:, -last:]
        return F.linear(self.norm(x), self.bytes.weight)


def make_encoding(name, settings, **other_options):
    """The encoding of a run. A learned table gets rows for every length that is measured; those past training stay as they began."""
    kind, options = ENCODINGS[name]
    rows = max(settings["factors"]) if kind == "learned" else 1
    return position_encoding(
        kind,
        model_dim=settings["model_dim"],
        heads=settings["heads"],
        head_dim=settings["model_dim"] // settings["heads"],
        layers=settings["layers"],
        max_tokens=rows * settings["trained_length"],
        causal=True,
        **{**options, **other_options},
    )


def make_model(name, settings, seed):
    """The model before training: of one seed the same weights whatever the encoding."""
    torch.manual_seed(seed)
    model = Decoder(settings)
    torch.manual_seed(1_000_000 + seed)
    model.encoding = make_encoding(name, settings)
    return model


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


# ---- training --------------------------------------------------------------------------------------------------------


def learning_rate(step, settings):
    if step < settings["warmup"]:
        return settings["learning_rate"] * (step + 1) / settings["warmup"]
    along = (step - settings["warmup"]) / max(1, settings["steps"] - settings["warmup"])
    return settings["learning_rate"] * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * along)))


def nats(model, ids):
    """Nats of ids[:, 1:], each predicted from all the bytes before it in its row: [batch, tokens]."""
    with autocast():
        logits = model(ids[:, :-1])
    return F.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")


@torch.inference_mode()
def held_out_loss(model, held_out, settings):
    """Mean nats per byte of rows of the trained length, spread over the held-out text and read from position 0 on."""
    length = settings["trained_length"]
    starts = np.linspace(0, len(held_out) - length - 1, settings["held_out_rows"]).astype(int).tolist()
    rows = torch.stack([held_out[s : s + length + 1].long() for s in starts])
    return sum(nats(model, part).sum().item() for part in rows.split(settings["batch"])) / (len(rows) * length)


def train(name, seed, settings, text, held_out, checkpoint, progress, stop_at=None, origin=None):
    """Trains to the end, or to step `stop_at`, going on from `checkpoint` if it is there and of this origin. Returns (model, facts)."""
    model = make_model(name, settings, seed)
    encodings = {id(p) for p in model.encoding.parameters()}
    decayed = [p for p in model.parameters() if p.dim() == 2 and id(p) not in encodings]
    others = [p for p in model.parameters() if p.dim() != 2 and id(p) not in encodings]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings["weight_decay"], "rate": 1.0},
            {"params": others, "weight_decay": 0.0, "rate": 1.0},
            {"params": list(model.encoding.parameters()), "weight_decay": 0.0, "rate": settings["score_rate"] if name in ON_SCORES else 1.0},
        ],
        betas=(0.9, 0.98),
    )
    step, curve, held_out_curve, recent, seconds = 0, [], [], [], 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["settings"] != settings or saved.get("origin") != origin:
            sys.exit(f"{checkpoint}: want a checkpoint of this script's settings and this text, got one of others; remove it")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, curve, held_out_curve, recent, seconds = (saved[key] for key in ("step", "curve", "held_out_curve", "recent", "seconds"))
    steps = settings["steps"]
    started = time.process_time() - seconds

    def keep():
        state = {"settings": settings, "origin": origin, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "curve": curve,
                 "held_out_curve": held_out_curve, "recent": recent, "seconds": time.process_time() - started}
        torch.save(state, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)

    progress(0.8 * step / steps, f"begins at step {step} of {steps}")
    while step < steps:
        if step == stop_at:
            keep()
            return None
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate(step, settings)
        loss = nats(model, crops(text, settings, seed, step)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        step += 1
        if step % settings["curve_every"] == 0:
            curve.append([step, round(sum(recent) / len(recent), 4)])
            recent = []
        if step % settings["held_out_every"] == 0 or step == steps:
            held_out_curve.append([step, round(held_out_loss(model, held_out, settings), 4)])
        if step % 50 == 0 or step == steps:
            keep()
            progress(0.8 * step / steps, f"step {step} of {steps}, {sum(recent) / len(recent) if recent else curve[-1][1]:.3f} nats a byte")
    count = sum(p.numel() for p in model.encoding.parameters())
    return model, {
        "parameters": sum(p.numel() for p in model.parameters()) - count,
        "encoding_parameters": count,
        "bytes_seen": steps * settings["batch"] * settings["trained_length"],
        "processor_seconds": round(time.process_time() - started),
        "train_loss_by_step": curve,
        "held_out_loss_by_step": held_out_curve,
    }


def drawn_out(encoding, trained, length):
    """A learned table whose first `trained` rows are stretched linearly over `length` positions."""
    other = copy.deepcopy(encoding)
    other.embedding.weight = nn.Parameter(encoding.embedding.weight.detach()[:trained].clone())
    other.embedding = other.embedding.resized(length, resampling="linear")
    return other


# ---- measurement -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def losses_behind(model, text, ends, length, scored):
    """[windows, scored] nats of the last bytes of each window, read behind a context of `length` bytes."""
    rows = max(1, 4096 // length)
    losses = []
    for first in range(0, len(ends), rows):
        read, targets = zip(*(window(text, end, length, scored) for end in ends[first : first + rows]))
        with autocast():
            logits = model(torch.stack(read), last=scored)
        losses.append(F.cross_entropy(logits.float().transpose(1, 2), torch.stack(targets), reduction="none"))
    return torch.cat(losses).double()


@torch.inference_mode()
def whole_window_loss(model, text, bytes_, length):
    """Mean nats per byte of the first `bytes_` bytes cut into windows of `length`, every byte scored: windows begin anew."""
    rows = torch.stack([text[s : s + length + 1].long() for s in range(0, bytes_ - length + 1, length)])
    return sum(nats(model, part).double().sum().item() for part in rows.split(max(1, 4096 // length))) / (len(rows) * length)


@dataclass
class Figures:
    """One model's losses at some lengths, as they go into the result."""

    lengths: list
    mean: list
    error: list
    last: list

    def shown(self):
        return {"lengths": self.lengths, "nats_per_byte": self.mean, "standard_error": self.error, "nats_per_byte_of_last": self.last}


def same_targets(model, text, ends, lengths, settings, encoding_at=None):
    """The same bytes behind growing contexts. encoding_at(length): the encoding to read that length with."""
    own, figures = model.encoding, Figures([], [], [], [])
    for length in lengths:
        if encoding_at is not None:
            model.encoding = encoding_at(length)
        losses = losses_behind(model, text, ends, length, settings["scored"])
        model.encoding = own
        by_window = losses.mean(1)
        figures.lengths.append(length)
        figures.mean.append(round(losses.mean().item(), 5))
        figures.error.append(round((by_window.std() / math.sqrt(len(by_window))).item(), 5))
        figures.last.append(round(losses[:, -settings["scored_last"] :].mean().item(), 5))
    return figures.shown()


def scalings(settings, betas):
    """name -> the scaling that carries RoPE to `factor` trained lengths, as a function of the factor."""
    trained = settings["trained_length"]
    yarn = lambda factor, fast, slow: ropewalk.YarnScaling(factor=factor, trained_context=trained, beta_fast=fast, beta_slow=slow)
    return {
        "linear": lambda s: ropewalk.LinearScaling(factor=s),
        "ntk": lambda s: ropewalk.NtkScaling(factor=s),
        "ntk-fixed": lambda s: ropewalk.NtkScaling(factor=s, form="fixed"),
        "ntk-mixed": lambda s: ropewalk.NtkScaling(factor=s, form="mixed"),
        "dynamic-2": lambda s: ropewalk.DynamicNtkScaling(factor=2.0, trained_context=trained),
        "llama3": lambda s: ropewalk.Llama3Scaling(factor=s, low_freq_factor=1.0, high_freq_factor=4.0, trained_context=trained),
        "yarn": lambda s: yarn(s, 32.0, 1.0),
        "yarn-fitted": lambda s: yarn(s, *betas),
    }


def fit_betas(model, name, text, ends, settings):
    """The two thresholds of YaRN that carry this model best to FITTED_AT trained lengths, on the windows for fitting."""
    trained, tried = settings["trained_length"], []
    for fast in BETAS_FAST:
        for slow in BETAS_SLOW:
            scaling = ropewalk.YarnScaling(factor=float(FITTED_AT), trained_context=trained, beta_fast=fast, beta_slow=slow)
            encoding = make_encoding(name, settings, scaling=scaling, running_length=FITTED_AT * trained)
            figures = same_targets(model, text, ends, [FITTED_AT * trained], settings, lambda length: encoding)
            tried.append([fast, slow, figures["nats_per_byte"][0]])
    return min(tried, key=lambda row: row[2]), tried


class Parts:
    """Parts of a measurement, kept one by one: `of(name, compute)` gives what an interrupted process had, or computes and keeps it."""

    def __init__(self, path):
        self.path, self.kept = path, json.loads(path.read_text()) if path.exists() else {}

    def of(self, name, compute):
        if name not in self.kept:
            self.kept[name] = compute()
            harness.write_whole(self.path, harness.to_json(self.kept))
        return self.kept[name]


def measure(model, name, text, settings, parts, progress):
    trained, factors = settings["trained_length"], settings["factors"]
    ends, validation = window_ends(text, settings)
    lengths = [factor * trained for factor in factors]
    targets = b"".join(bytes(window(text, end, trained, settings["scored"])[1].to(torch.uint8).numpy()) for end in ends)
    measured = {
        "scored_sha256": harness.sha256(targets),
        "same_targets": parts.of("same_targets", lambda: same_targets(model, text, ends, lengths, settings)),
        "whole_windows": {
            "lengths": lengths,
            "nats_per_byte": [
                parts.of(f"whole {length}", lambda: round(whole_window_loss(model, text, settings["whole_bytes"], length), 5)) for length in lengths
            ],
        },
    }
    progress(0.85, "measured as trained")
    if name == "learned":
        # As it is, the rows past training are those it began with. The usual way out: the trained rows drawn out to the length.
        measured["interpolated"] = same_targets(model, text, ends, [n for n in lengths if n > trained], settings, lambda n: drawn_out(model.encoding, trained, n))
    if name == "rope":
        best, tried = parts.of("fit", lambda: fit_betas(model, name, text, validation, settings))
        measured["yarn_fit"] = {"trained_lengths": FITTED_AT, "betas": best[:2], "tried": tried}
        progress(0.9, f"YaRN's betas fitted: {best[0]:g} and {best[1]:g}")
        measured["scalings"] = {}
        for label, scaling in scalings(settings, best[:2]).items():
            at = lambda length: make_encoding(name, settings, scaling=scaling(length / trained), running_length=length)
            beyond = [n for n in lengths if n > trained]
            measured["scalings"][label] = parts.of(label, lambda: same_targets(model, text, ends, beyond, settings, at))
            progress(0.95, f"measured with {label}")
    return measured


# ---- the experiment --------------------------------------------------------------------------------------------------


def read_text(path):
    if not path.exists():
        sys.exit(f"{path}: want the King James Bible as Debian's bible-kjv prints it; scripts/fetch_texts.sh makes it")
    return path.read_bytes()


def origin(run, arguments):
    kind, options = ENCODINGS[run.rsplit("/", 1)[0]]
    # Without the text (--list) the results that are there are believed.
    text = {"text_sha256": harness.sha256(arguments.text.read_bytes())} if arguments.text.exists() else {}
    return {"encoding": kind, "options": options, **text}


def make(run, settings, arguments, progress):
    name, seed = run.rsplit("/", 1)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    data = read_text(arguments.text)
    text, held_out = (as_tensor(part) for part in split_text(data, settings["held_out"]))
    checkpoint = harness.result_path(arguments.work, run).with_suffix(".pt")
    measured_so_far = checkpoint.with_suffix(".measured")
    if not checkpoint.exists():
        measured_so_far.unlink(missing_ok=True)  # of other weights
    model, facts = train(name, int(seed), settings, text, held_out, checkpoint, progress, origin=origin(run, arguments))
    measured = measure(model.eval(), name, held_out, settings, Parts(measured_so_far), progress)
    measured_so_far.unlink()
    return {
        **origin(run, arguments),
        "seed": int(seed),
        "training": facts,
        "measured": measured,
        "made_with": {"torch": torch.__version__, "ropewalk": ropewalk.__version__, "threads": arguments.threads, "machine": platform.machine()},
    }


def add_arguments(parser):
    cache = Path(os.environ.get("ROPEWALK_CACHE", harness.ROOT / ".cache"))
    parser.add_argument("--text", type=Path, default=cache / "texts/bible.txt", help="the text (default: %(default)s, which scripts/fetch_texts.sh makes)")


EXPERIMENT = harness.Experiment(
    folder=HERE,
    about=__doc__,
    runs=lambda quick: [
        f"{name}/{seed}" for last in (False, True) for seed in (SEEDS[:1] if quick else SEEDS) for name in ENCODINGS if (name in LAST) == last
    ],
    settings=lambda quick: QUICK if quick else FULL,
    make=make,
    add_arguments=add_arguments,
    origin=origin,
)

if __name__ == "__main__":
    sys.exit(harness.main(EXPERIMENT))
