"""score_by_distance.svg: the score of two vectors that are alike in every pair, by their distance, for three bases."""

import numpy as np
import ropewalk
from style import BLUE, GREEN, RED, plt, save

distances = np.unique(np.round(np.geomspace(1, 65536, 900)).astype(np.int64))
figure, panel = plt.subplots(figsize=(8, 3.4))
for theta, colour in ((1e4, RED), (5e5, BLUE), (1e7, GREEN)):
    rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=128, theta=theta, interleaved=True))
    start = np.tile(np.array([1, 0], np.float32), 64)
    turned = rotary.apply(np.tile(start, (1, len(distances), 1, 1)), position_ids=distances)
    panel.plot(distances, turned.reshape(len(distances), 64, 2)[:, :, 0].mean(axis=1), color=colour, lw=1.2, label=f"base {theta:,.0f}".replace(",", " "))
panel.set(xscale="log", xlabel="distance in tokens (logarithmic)", ylabel="score / score at distance 0", ylim=(-0.35, 1.05), xlim=(1, 65536))
panel.axhline(0, color="black", lw=0.8)
panel.legend()
save(figure, "score_by_distance")
