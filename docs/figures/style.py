"""How the figures of the documentation look, and how they are written: byte for byte the same from the same numbers."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
RED, BLUE, GREY, GREEN, GOLD, PURPLE = "#b40426", "#1f5fa8", "#7f8c8d", "#16855e", "#b07c00", "#7a3fa0"

plt.rcParams.update({
    "svg.hashsalt": "ropewalk", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "figure.dpi": 72, "figure.facecolor": "white",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e1e4e8", "axes.axisbelow": True, "axes.titlesize": 10,
    "legend.frameon": False, "path.simplify": False,  # which points are left out hangs on last digits
})


def save(figure, name: str) -> None:
    """name.svg in the folder of the command line, or beside the scripts."""
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.1)
    plt.close(figure)
