"""stretching-METHOD.svg: what a method does to every pair of a head of 128 channels, base 10 000, trained on 4 096 tokens, read to 16 384."""

import json
from pathlib import Path

import numpy as np
import ropewalk
from style import BLUE, GREY, RED, plt, save

TRAINED, FACTOR, DIM = 4096, 4.0, 128
WANTED = int(TRAINED * FACTOR)

# A checkpoint of Phi-3.5-mini's shape with two lists of the golden suite: 96 channels, trained on 4 096 tokens, stretched to 131 072.
SUITE = json.loads((Path(__file__).resolve().parents[2] / "tests/golden/longrope.json").read_text())
PHI = SUITE["configs"]["Phi-3.5-mini, v4 type"]["config"]


def plain(dim):
    return ropewalk.Rotary(ropewalk.RotarySpec(head_dim=dim, theta=10000.0)).inv_freq


def scaled(scaling, dim=DIM, length=0):
    return ropewalk.Rotary(ropewalk.RotarySpec(head_dim=dim, theta=10000.0, scaling=scaling), running_length=length).inv_freq


METHODS = {
    "none": (DIM, [("", plain(DIM))]),
    "linear": (DIM, [("", scaled(ropewalk.LinearScaling(FACTOR)))]),
    "ntk": (DIM, [("", scaled(ropewalk.NtkScaling(FACTOR)))]),
    "dynamic": (DIM, [(f"at {length:,} tokens".replace(",", " "), scaled(ropewalk.DynamicNtkScaling(FACTOR, TRAINED), length=length)) for length in (4096, 8192, 16384)]),
    "yarn": (DIM, [("", scaled(ropewalk.YarnScaling(FACTOR, TRAINED)))]),
    "llama3": (DIM, [("", scaled(ropewalk.Llama3Scaling(FACTOR, 1.0, 4.0, TRAINED)))]),
    "longrope": (96, [(name, ropewalk.Rotary.from_config(PHI, running_length=length).inv_freq) for name, length in (("short list", 4096), ("long list", 131072))]),
}

for method, (dim, curves) in METHODS.items():
    ladder = plain(dim)
    pairs = np.arange(dim // 2)
    unfinished = np.argmax(ladder * TRAINED < 2 * np.pi)
    wanted, factor = (131072, 32.0) if method == "longrope" else (WANTED, FACTOR)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9))
    left.axhline(factor, color=GREY, lw=0.8, ls="--")
    right.axhline(1, color=GREY, lw=0.8, ls="--")
    right.plot(pairs, ladder * TRAINED / (2 * np.pi), color=GREY, label=f"seen in training ({TRAINED:,} tokens)".replace(",", " "))
    for (name, speeds), colour, style in zip(curves, (BLUE, RED, "#6a0019") if len(curves) > 1 else (RED,), ("-", "-", "-")):
        left.plot(pairs, ladder / speeds, color=colour, ls=style, label=name or None)
        reach = {"at 4 096 tokens": 4096, "at 8 192 tokens": 8192, "short list": TRAINED}.get(name, wanted)
        right.plot(pairs, speeds * reach / (2 * np.pi), color=colour, label=name or f"at {reach:,} tokens".replace(",", " "))
    for panel in (left, right):
        panel.axvspan(unfinished, dim // 2 - 1, color="#fff4d6", lw=0)
        panel.set(xlabel="pair, from fast to slow", yscale="log", xlim=(0, dim // 2 - 1))
    left.set(title="slowed by", ylim=(0.8, 1.3 * max(factor, *(np.max(ladder / speeds) for _, speeds in curves))))
    ticks = [1, 2, 4, 8, 16, 32][: 3 if factor == 4 and method != "dynamic" else 4 if factor == 4 else 6]
    left.set_yticks(ticks, labels=map(str, ticks))
    left.minorticks_off()
    right.set(title="turns made by the end of the text")
    if any(name for name, _ in curves):
        left.legend(fontsize=8)
    right.legend(fontsize=8)
    save(figure, f"stretching-{method}")
