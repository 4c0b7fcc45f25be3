"""turning.svg: a query and a key of one pair, turned by their positions, in two places of a text."""

import numpy as np
import ropewalk
from style import BLUE, RED, plt, save

rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=2, interleaved=True, given=ropewalk.GivenFrequencies((np.pi / 6,))))


def turned(x, position):
    return rotary.apply(np.array(x, np.float32).reshape(1, 1, 1, 2), position_ids=[position]).reshape(2)


figure, panels = plt.subplots(1, 3, figsize=(9, 3.2))
for panel, (m, n) in zip(panels, [(0, 0), (5, 2), (8, 5)]):
    q, k = turned((1, 2), m), turned((3, 1), n)
    for x, other, colour, name, position in ((q, k, RED, "query", m), (k, q, BLUE, "key", n)):
        panel.annotate("", x, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0})
        panel.annotate(f"{name} at {position}", x + (0, 0.9 * np.sign(x[1] - other[1])), color=colour, ha="center", va="center", fontsize=9)
    first, second = np.degrees(np.arctan2(k[1], k[0])), np.degrees(np.arctan2(q[1], q[0]))
    between = (second - first) % 360
    arc = np.radians(np.linspace(first, first + between, 60))
    panel.plot(0.8 * np.cos(arc), 0.8 * np.sin(arc), color="black", lw=1)
    where = np.radians(first + between / 2)
    beyond = 1.35 if between > 90 else 2.1
    panel.text(beyond * np.cos(where), beyond * np.sin(where), f"{between:.0f}\u00b0", ha="center", va="center", fontsize=9)
    panel.set(xlim=(-5, 5), ylim=(-4.2, 4.2), aspect="equal", title=f"{m - n} apart: score {q @ k:+.2f}", xticks=range(-4, 5, 2), yticks=range(-4, 5, 2))
panels[0].set_title("not turned: score +5.00")
save(figure, "turning")
