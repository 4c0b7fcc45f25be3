"""vision.svg: how alike every patch of a picture is to one in the middle, by position alone: axial and mixed, at 14 x 14 and at 28 x 28 patches."""

import numpy as np
import ropewalk
from style import plt, save

DIM = 64
ladder = tuple(range(DIM // 4)) * 2
axial = ropewalk.RotarySpec(head_dim=DIM, theta=100.0, interleaved=True, frequency_dim=DIM // 2, rung_of_pair=ladder, axis_of_pair=(0,) * (DIM // 4) + (1,) * (DIM // 4))
# RoPE-Mixed as it begins its training (arXiv 2403.13298): every pair sees both axes, along a direction that belongs to the head and one across it.
speed = 10.0 ** (-4 * np.arange(DIM // 4) / DIM)
direction = 0.6
rows = np.concatenate([speed * np.sin(direction), speed * np.sin(direction + np.pi / 2)])
columns = np.concatenate([speed * np.cos(direction), speed * np.cos(direction + np.pi / 2)])
mixed = ropewalk.RotarySpec(head_dim=DIM, interleaved=True, given=ropewalk.GivenFrequencies((*rows, *columns), axes=2))

figure, panels = plt.subplots(1, 4, figsize=(11, 3.2))
for panel, (name, spec, side) in zip(panels, [("axial", axial, 14), ("axial", axial, 28), ("mixed", mixed, 14), ("mixed", mixed, 28)]):
    where = np.asarray(ropewalk.positions_from_grids(ropewalk.GridShape(1, side, side)))[-2:]  # [axes, tokens]: row, column
    patches = np.tile(np.array([1, 0], np.float32), (1, side * side, 1, DIM // 2)).reshape(1, side * side, 1, DIM)
    turned = ropewalk.Rotary(spec).apply(patches, position_ids=where[:, None, :]).reshape(side * side, DIM)
    middle = side // 2 * side + side // 2
    drawn = panel.imshow((turned @ turned[middle]).reshape(side, side) / (DIM // 2), cmap="coolwarm", vmin=-1, vmax=1)
    panel.set(title=f"{name}, {side} x {side}", xticks=[], yticks=[])
    panel.grid(False)
figure.colorbar(drawn, ax=panels, shrink=0.7)
save(figure, "vision")
