#!/usr/bin/env python3
"""Makes the pictures and tables of docs/lab.md from the results of the experiments.

    python lab/report.py            docs/lab/*.svg, and what stands between the marks `<!-- table NAME -->` in docs/lab.md
    python lab/report.py --partial  the same from whatever results are there, in --docs, to look at

Pictures and tables are functions of the results alone, byte for byte.
"""

import argparse
import json
import math
import re
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))
import harness  # noqa: E402

LAB = Path(__file__).resolve().parent
DOCS = LAB.parent / "docs"

plt.rcParams.update({
    "svg.hashsalt": "ropewalk", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "figure.dpi": 72,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e1e4e8", "axes.axisbelow": True,
})

NAMES = {
    "rope": "RoPE", "rope-100": "RoPE, base 100", "rope-1000": "RoPE, base 1 000", "rope-500000": "RoPE, base 500 000",
    "sinusoidal": "sinusoidal", "learned": "learned", "t5": "T5", "shaw": "Shaw", "alibi": "ALiBi", "none": "none (NoPE)", "kerple": "KERPLE", "fire": "FIRE",
    "log-cpb": "log-CPB", "rope-axial": "RoPE, axial", "rope-mixed": "RoPE, mixed",
}
COLOURS = {
    "rope": "#b40426", "rope-100": "#f4a259", "rope-1000": "#e4572e", "rope-500000": "#6a0019", "sinusoidal": "#7f8c8d", "learned": "#34495e", "t5": "#1f77b4",
    "shaw": "#8e44ad", "alibi": "#16a085", "none": "#000000", "kerple": "#76b041", "fire": "#d4a017", "log-cpb": "#1f77b4", "rope-axial": "#b40426", "rope-mixed": "#6a0019",
}
SCALINGS = {
    "none": ("no scaling", "#b40426"), "linear": ("linear", "#7f8c8d"), "ntk": ("NTK", "#1f77b4"), "ntk-fixed": ("NTK, fixed", "#6baed6"),
    "ntk-mixed": ("NTK, mixed", "#08519c"), "dynamic-2": ("dynamic NTK, 2", "#16a085"), "llama3": ("Llama 3", "#8e44ad"),
    "yarn": ("YaRN, betas 32 and 1", "#d4a017"), "yarn-fitted": ("YaRN, fitted betas", "#e4572e"),
}


def read(folder, partial):
    """name of encoding -> its results by seed, in the order of the experiment's runs."""
    paths = sorted((LAB / folder / "results").glob("*.json")) if not isinstance(folder, Path) else sorted(folder.glob("*.json"))
    results = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        results.setdefault(result["run"].split("/")[0], []).append(result)
    seeds = max(map(len, results.values()), default=0)
    short = [name for name, runs in results.items() if len(runs) < seeds]
    if short and not partial:
        sys.exit(f"{folder}: want {seeds} seeds of every encoding, got fewer of {', '.join(short)}; run.py makes them, --partial does without")
    return {name: results[name] for name in NAMES if name in results}


# ---- numbers ---------------------------------------------------------------------------------------------------------


def spread(values, shown):
    """median (least to largest)"""
    low, middle, high = shown(min(values)), shown(statistics.median(values)), shown(max(values))
    return middle if low == high else f"{middle} ({low} to {high})"


def perplexity(nats):
    value = math.exp(nats)
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def bits(nats):
    return f"{nats / math.log(2):.3f}"


def percent(fraction):
    return f"{100 * fraction:.1f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def times(factor):
    return f"{factor} x"


# ---- 0002: language --------------------------------------------------------------------------------------------------


def figures_of(runs, pick, at):
    return [pick(run)["nats_per_byte"][at] for run in runs]


def own(run):
    return run["measured"]["same_targets"]


def whole(run):
    return run["measured"]["whole_windows"]


def scaled(label):
    return lambda run: run["measured"]["scalings"][label]


def stretched(run):
    """A learned table drawn out over the length: at the trained one it is itself."""
    figures = run["measured"]["interpolated"]
    return {"nats_per_byte": own(run)["nats_per_byte"][:1] + figures["nats_per_byte"]}


def readings(results):
    """(label, runs, how their losses are found): a line of the tables each."""
    lines = [(NAMES[name], runs, own) for name, runs in results.items()]
    return lines + [("learned, stretched", results["learned"], stretched)] * ("learned" in results)


# Published perplexities per token. Each source's own model, text and tokens: what is compared is order and sign.
# Press et al. 2022, arXiv 2108.12409, tables 2 to 4: WikiText-103, trained on 512 tokens; at 512, 1 012, 2 512 and 3 512 tokens, whole windows.
PRESS = {
    "sinusoidal": (20.05, 43.54, 132.4, 179.0), "rope": (20.07, 21.37, 31.58, 35.54), "t5": (19.65, 18.79, 20.41, 22.91), "alibi": (19.73, 18.73, 18.41, 18.40),
}
# Kazemnejad et al. 2023, arXiv 2305.19466, table 3: 1.3 billion parameters on code, trained on 1 024 tokens; at 1 024 and 2 048, the same last tokens.
KAZEMNEJAD = {"none": (2.555, 153.0), "alibi": (2.665, 41.2), "rope": (2.506, 670.0)}
# Haviv et al. 2022, arXiv 2203.16634: 125 million parameters on the Pile, at the trained length.
HAVIV = {"none": 22.15, "learned": 22.04, "sinusoidal": 21.49, "alibi": 19.94}
# EleutherAI 2021, blog.eleuther.ai/rotary-embeddings: nats per token, 125 million parameters on OpenWebText2, at the trained length.
ELEUTHER = {"learned": 2.809, "t5": 2.801, "rope": 2.759}


def signed(nats):
    return f"{nats:+.3f}"


def held_out(run):
    return run["training"]["held_out_loss_by_step"][-1][1]


def paired(runs, others, pick):
    """pick(run) less that of the run of the same seed among the others."""
    by_seed = {other["seed"]: pick(other) for other in others}
    return [pick(run) - by_seed[run["seed"]] for run in runs if run["seed"] in by_seed]


def published_tables(results):
    at_length = []
    for name in ("learned", "sinusoidal", "none", "alibi", "t5", "rope"):
        if name not in results:
            continue
        row = [NAMES[name]]
        for base, theirs in (("learned", [ELEUTHER, {n: math.log(v) for n, v in HAVIV.items()}]), ("sinusoidal", [{n: math.log(v[0]) for n, v in PRESS.items()}])):
            ours = paired(results[name], results.get(base, []), held_out)
            row.append(spread(ours, signed) if ours and name != base else "")
            row += [signed(source[name] - source[base]) if name in source and name != base else "" for source in theirs]
        at_length.append(row)
    beyond = []
    for name, theirs in PRESS.items():
        if name in results:
            ours = [spread([whole(r)["nats_per_byte"][c] - whole(r)["nats_per_byte"][0] for r in results[name]], signed) for c in (1, 2, 3)]
            beyond.append([NAMES[name], *(cell for pair in zip((signed(math.log(v / theirs[0])) for v in theirs[1:]), ours) for cell in pair)])
    same = []
    for name, (at_one, at_two) in KAZEMNEJAD.items():
        if name in results:
            same.append([NAMES[name], signed(math.log(at_two / at_one)), *(
                spread([own(r)["nats_per_byte"][c] - own(r)["nats_per_byte"][0] for r in results[name]], signed) for c in (1, 2, 3))])
    return {
        "published": table(["encoding", "ours, to learned", "EleutherAI, to learned", "Haviv, to learned", "ours, to sinusoidal", "Press, to sinusoidal"], at_length),
        "press": table(["encoding", "Press, 2 x", "ours, 2 x", "Press, 4.9 x", "ours, 4 x", "Press, 6.9 x", "ours, 8 x"], beyond),
        "kazemnejad": table(["encoding", "Kazemnejad, 2 x", "ours, 2 x", "ours, 4 x", "ours, 8 x"], same),
    }


def language_tables(results):
    settings = next(iter(results.values()))[0]["settings"]
    factors = settings["factors"]
    lengths = [f * settings["trained_length"] for f in factors]
    header = ["encoding", *(f"{length} ({times(f)})" for f, length in zip(factors, lengths))]
    columns = range(len(factors))
    best_first = lambda lines: sorted(lines, key=lambda line: statistics.median(figures_of(line[1], line[2], -1)))
    shown = lambda lines, unit: table(header, [[label, *(spread(figures_of(runs, pick, c), unit) for c in columns)] for label, runs, pick in lines])
    lines = best_first(readings(results))
    tables = {
        "perplexity": shown(lines, perplexity),
        "bits": shown(lines, bits),
        "whole": shown(best_first([(NAMES[name], runs, whole) for name, runs in results.items()]), perplexity),
    }
    learnt = []
    for name in sorted(results, key=lambda n: statistics.median(map(held_out, results[n]))):
        runs = results[name]
        to_rope = paired(runs, results.get("rope", []), held_out) if name != "rope" else []
        learnt.append([
            NAMES[name],
            f"{runs[0]['training']['encoding_parameters']:,}".replace(",", " "),
            spread([r["training"]["train_loss_by_step"][-1][1] for r in runs], lambda v: f"{v:.3f}"),
            spread(list(map(held_out, runs)), lambda v: f"{v:.3f}"),
            spread(to_rope, signed) if to_rope else "",
            spread([r["training"]["processor_seconds"] for r in runs], lambda v: f"{v:.0f}"),
        ])
    tables["learnt"] = table(["encoding", "parameters of its own", "training loss", "held-out loss", "to RoPE of the same seed", "processor seconds"], learnt)
    tables["bases"] = table(["base", "held-out loss", "to 10 000 of the same seed", *header[1:]], [
        [f"{results[n][0]['options']['theta']:,.0f}".replace(",", " "), spread(list(map(held_out, results[n])), lambda v: f"{v:.3f}"),
         spread(paired(results[n], results["rope"], held_out), signed) if n != "rope" else "",
         *(spread(figures_of(results[n], own, c), perplexity) for c in columns)]
        for n in ("rope-100", "rope-1000", "rope", "rope-500000") if n in results and "rope" in results])

    rope = results.get("rope", [])
    if rope:
        rows = [["no scaling", *(spread(figures_of(rope, own, c), perplexity) for c in columns[1:])]]
        for label in rope[0]["measured"]["scalings"]:
            rows.append([SCALINGS[label][0], *(spread(figures_of(rope, scaled(label), c - 1), perplexity) for c in columns[1:])])
        tables["scalings"] = table(["scaling", *header[2:]], rows)
        tables["betas"] = table(["seed", "beta_fast", "beta_slow"], [[str(r["seed"]), *(f"{b:g}" for b in r["measured"]["yarn_fit"]["betas"])] for r in rope])
    sliding = []
    for name in ("alibi", "kerple", "none", "rope"):
        if name in results:
            gains = {
                "whole": [whole(r)["nats_per_byte"][-1] - whole(r)["nats_per_byte"][0] for r in results[name]],
                "scored": [own(r)["nats_per_byte"][-1] - own(r)["nats_per_byte"][0] for r in results[name]],
                "last": [own(r)["nats_per_byte_of_last"][-1] - own(r)["nats_per_byte_of_last"][0] for r in results[name]],
            }
            sliding.append([NAMES[name], *(spread(gains[key], lambda v: f"{v:+.4f}") for key in ("whole", "scored", "last"))])
    tables["sliding"] = table(["encoding", "whole windows", f"the last {settings['scored']} bytes", f"the last {settings['scored_last']} bytes"], sliding)
    tables.update(published_tables(results))
    return tables


def curve(axes, runs, xs, pick, label, colour, style="-"):
    """Median of the seeds, and between the least and the largest a band."""
    values = [[pick(run, i) for run in runs] for i in range(len(xs))]
    axes.plot(xs, [statistics.median(v) for v in values], style, color=colour, label=label, linewidth=1.6, marker="." if len(xs) < 12 else None)
    axes.fill_between(xs, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, linewidth=0)


def lengths_axis(axes, lengths, trained):
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(n) for n in lengths])
    axes.minorticks_off()
    axes.axvline(trained, color="#a14c00", linestyle="--", linewidth=1)
    axes.set_xlabel("bytes of context (trained: dashed)")


def perplexity_axis(axes, lengths, trained):
    axes.set_yscale("log")
    lengths_axis(axes, lengths, trained)
    low, high = axes.get_ylim()
    shown = [n for n in (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000) if low <= n <= high]
    axes.set_yticks(shown, [str(n) for n in shown])
    axes.set_ylabel("perplexity per byte of the same bytes")


def picture(path, figure):
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def language_pictures(results, folder):
    settings = next(iter(results.values()))[0]["settings"]
    trained, lengths = settings["trained_length"], [f * settings["trained_length"] for f in settings["factors"]]
    at = lambda pick: lambda run, i: math.exp(pick(run)["nats_per_byte"][i])
    plain = [n for n in results if not n.startswith("rope-")]

    figure, axes = plt.subplots(figsize=(8.6, 4.6))
    for name in plain:
        curve(axes, results[name], lengths, at(own), NAMES[name], COLOURS[name])
    perplexity_axis(axes, lengths, trained)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    picture(folder / "lengths.svg", figure)

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4))
    for axes, key, title in ((left, "train_loss_by_step", "training"), (right, "held_out_loss_by_step", "held out")):
        for name in results:
            steps = [row[0] for row in results[name][0]["training"][key]]
            curve(axes, results[name], steps, lambda run, i: run["training"][key][i][1], NAMES[name], COLOURS[name])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
    left.set_ylabel("nats per byte")
    curves = [r["training"]["train_loss_by_step"] for runs in results.values() for r in runs]
    left.set_ylim(top=max(losses[min(3, len(losses) - 1)][1] for losses in curves))  # the first fall is the same for all
    right.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    picture(folder / "losses.svg", figure)

    figure, axes = plt.subplots(figsize=(8, 4.4))
    for name in ("rope-100", "rope-1000", "rope", "rope-500000", "none"):
        if name in results:
            curve(axes, results[name], lengths, at(own), "RoPE, base 10 000" if name == "rope" else NAMES[name], COLOURS[name])
    perplexity_axis(axes, lengths, trained)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    picture(folder / "bases.svg", figure)

    if "rope" in results:
        figure, axes = plt.subplots(figsize=(8.4, 4.6))
        runs = results["rope"]
        curve(axes, runs, lengths, at(own), *SCALINGS["none"])
        for label in runs[0]["measured"]["scalings"]:
            both = lambda run, i: math.exp(own(run)["nats_per_byte"][0] if i == 0 else scaled(label)(run)["nats_per_byte"][i - 1])
            curve(axes, runs, lengths, both, *SCALINGS[label])
        perplexity_axis(axes, lengths, trained)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        picture(folder / "scalings.svg", figure)

    if "alibi" in results:
        figure, axes = plt.subplots(figsize=(8, 4))
        last = lambda run, i: math.exp(own(run)["nats_per_byte_of_last"][i])
        curve(axes, results["alibi"], lengths, at(whole), "whole windows, every byte", "#16a085")
        curve(axes, results["alibi"], lengths, at(own), f"the last {settings['scored']} bytes of a window", "#b40426")
        curve(axes, results["alibi"], lengths, last, f"the last {settings['scored_last']} bytes of a window", "#34495e")
        lengths_axis(axes, lengths, trained)
        axes.set_ylabel("perplexity per byte, ALiBi")
        axes.legend(frameon=False)
        picture(folder / "alibi.svg", figure)


# ---- 0003: vision ----------------------------------------------------------------------------------------------------

HOW = {"as it is": "", "resized": "resized", "rescaled": "coordinates rescaled"}


def ways(results):
    """(encoding, how it is carried to another size) in the order of the table."""
    return [(name, how) for name, runs in results.items() for how in runs[0]["measured"]]


def vision_tables(results):
    settings = next(iter(results.values()))[0]["settings"]
    sizes = settings["tested_sizes"]
    rows = []
    for name, how in ways(results):
        cells = [spread([r["measured"][how][c]["accuracy"] for r in results[name]], percent) for c in range(len(sizes))]
        nats = [spread([r["measured"][how][c]["nats"] for r in results[name]], lambda v: f"{v:.2f}") for c in (0, len(sizes) - 1)]
        rows.append([NAMES[name], HOW[how], *cells, *nats])
    header = ["encoding", "carried by", *(f"{size} pixels ({size / sizes[0]:.3g} x)" for size in sizes), f"loss at {sizes[0]}", f"loss at {sizes[-1]}"]
    return {"vision": table(header, rows)}


def vision_pictures(results, folder):
    settings = next(iter(results.values()))[0]["settings"]
    sizes = settings["tested_sizes"]
    figure, axes = plt.subplots(figsize=(8.6, 4.4))
    for name, how in ways(results):
        label = NAMES[name] + (f", {HOW[how]}" if HOW[how] else "")
        curve(axes, results[name], sizes, lambda run, i: 100 * run["measured"][how][i]["accuracy"], label, COLOURS[name], "--" if how == "rescaled" else "-")
    axes.axvline(settings["trained_size"], color="#a14c00", linestyle="--", linewidth=1)
    axes.set_xticks(sizes)
    axes.set_xlabel("pixels a side (trained: dashed)")
    axes.set_ylabel("accuracy, %")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    picture(folder / "vision.svg", figure)


# ---- the page --------------------------------------------------------------------------------------------------------


def filled(page, tables):
    """The page with each table between its marks. A mark without a table, or a table without a mark, ends the program."""
    names = re.findall(r"<!-- table (\w+) -->", page)
    if sorted(names) != sorted(tables):
        sys.exit(f"docs/lab.md: want marks for the tables {sorted(tables)}, got {sorted(names)}")
    for name, text in tables.items():
        page = re.sub(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.S)
    return page


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of lab.md and lab/ (default: %(default)s)")
    parser.add_argument("--language", type=Path, default=LAB / "0002-encodings/results")
    parser.add_argument("--vision", type=Path, default=LAB / "0003-vision/results")
    parser.add_argument("--partial", action="store_true", help="do with the results that are there; print the tables instead of writing the page")
    arguments = parser.parse_args()
    folder = arguments.docs / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for path, make_tables, make_pictures in (
        (arguments.language, language_tables, language_pictures), (arguments.vision, vision_tables, vision_pictures)):
        results = read(path, arguments.partial)
        if results:
            tables.update(make_tables(results))
            make_pictures(results, folder)
    if arguments.partial:
        for name, text in tables.items():
            print(f"{name}\n{text}\n")
    else:
        page = arguments.docs / "lab.md"
        harness.write_whole(page, filled(page.read_text(), tables))


if __name__ == "__main__":
    main()
