"""older-sinusoids.svg: the sinusoidal table in both published orders, and as it is often misread; older-biases.svg: what ALiBi and T5 add."""

import numpy as np
import ropewalk
from style import BLUE, GREEN, GREY, RED, plt, save

positions, dim = np.arange(100), 64
figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True)
tables = [
    (f"{order}\n{what}", ropewalk.Sinusoidal(ropewalk.SinusoidalSpec(dim, order=order, exponent="paper")).rows(positions))
    for order, what in (("interleaved", "sin cos sin cos ..."), ("concatenated", "all sines, all cosines"))
]
pair = np.arange(dim // 2)
angles = positions[:, None] / 10000 * (2 * pair / dim)  # the misreading, as it is printed
tables.append(("misread\nk / 10000 \u00b7 2t / d", np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), dim)))
for panel, (title, table) in zip(panels, tables):
    drawn = panel.pcolormesh(np.arange(dim), positions, table, cmap="coolwarm", vmin=-1, vmax=1, rasterized=True, shading="nearest")
    panel.set(title=title, xlabel="channel")
    panel.grid(False)
    panel.invert_yaxis() if panel is panels[0] else None
panels[0].set_ylabel("position")
figure.colorbar(drawn, ax=panels, shrink=0.8)
save(figure, "older-sinusoids")

heads, reach = 8, 160
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
alibi = ropewalk.ScoreBias(ropewalk.AlibiBias(heads=heads)).toeplitz(0, reach)
for head, colour in ((0, RED), (2, BLUE), (4, GREEN), (7, GREY)):
    left.plot(np.arange(reach), alibi[head], color=colour, label=f"head {head + 1} of {heads}")
left.set(title="ALiBi: added to the score", xlabel="distance", ylim=(-12, 0.5))
left.legend(loc="lower left", fontsize=8)
buckets = ropewalk.ScoreBias(ropewalk.T5Bias(heads=1, table=np.arange(32, dtype=np.float32).reshape(32, 1), causal=True)).toeplitz(0, reach)[0]
right.plot(np.arange(reach), buckets, color=BLUE, drawstyle="steps-post")
right.set(title="T5: which of 32 learned numbers is added", xlabel="distance", ylabel="bucket")
save(figure, "older-biases")
