"""clocks.svg: the pairs of a head of 8 channels as hands of clocks, at a few positions."""

import numpy as np
import ropewalk
from style import RED, plt, save

rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=8, theta=10000.0, interleaved=True))
positions = [0, 1, 10, 100, 1000]
start = np.tile(np.array([1, 0], np.float32), 4)
hands = rotary.apply(np.tile(start, (1, len(positions), 1, 1)), position_ids=positions).reshape(len(positions), 4, 2)

figure, panels = plt.subplots(len(positions), 4, figsize=(7, 8))
circle = np.linspace(0, 2 * np.pi, 100)
for row, position in enumerate(positions):
    for pair in range(4):
        panel = panels[row, pair]
        panel.plot(np.cos(circle), np.sin(circle), color="#c8ccd0", lw=1)
        panel.plot([0, hands[row, pair, 0]], [0, hands[row, pair, 1]], color=RED, lw=2)
        panel.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
        panel.grid(False)
        for side in panel.spines.values():
            side.set_visible(False)
        turns = position * rotary.inv_freq[pair] / (2 * np.pi)
        panel.set_xlabel(f"{turns:.3g} turns", fontsize=8)
        if row == 0:
            panel.set_title(f"pair {pair}\n{rotary.inv_freq[pair]:g} rad", fontsize=9)
    panels[row, 0].set_ylabel(f"position\n{position}", rotation=0, ha="right", va="center")
save(figure, "clocks")
