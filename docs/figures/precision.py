"""precision.svg: how far the cosine of the worst pair is off by position, with a phase in float32 and with one in whole turns."""

import mpmath
import numpy as np
import ropewalk
from style import BLUE, RED, plt, save

PAIRS, THETA, SAMPLES = 64, 10000.0, 12
mpmath.mp.prec = 150
rng = np.random.default_rng(1)
edges = 2 ** np.arange(4, 37, 2)
positions = np.concatenate([rng.integers(low, 2 * low, SAMPLES) for low in edges])
frequencies = [mpmath.mpf(THETA) ** (-mpmath.mpf(j) / PAIRS) for j in range(PAIRS)]
truth = np.array([[float(mpmath.cos(int(p) * f)) for f in frequencies] for p in positions])

figure, panel = plt.subplots(figsize=(8, 3.4))
for numerics, colour, label in (("fp32", RED, "float32 phase, as most code forms it"), ("exact", BLUE, "whole turns, as this library forms it")):
    rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=2 * PAIRS, theta=THETA, interleaved=True, numerics=numerics))
    start = np.tile(np.array([1, 0], np.float32), PAIRS)
    turned = rotary.apply(np.tile(start, (1, len(positions), 1, 1)), position_ids=positions)
    error = np.abs(turned.reshape(len(positions), PAIRS, 2)[:, :, 0] - truth).max(axis=1)
    panel.plot(edges, error.reshape(len(edges), SAMPLES).max(axis=1), color=colour, label=label, marker=".")
panel.set(xscale="log", yscale="log", xlabel="position, from here to twice as far", ylabel="worst error of a cosine", ylim=(1e-8, 5))
panel.legend(loc="upper left")
save(figure, "precision")
