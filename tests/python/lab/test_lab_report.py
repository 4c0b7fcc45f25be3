"""lab/report.py: tables and pictures are what the results say, and the page in docs/ is what it makes of those in the repository."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[3]
REPORT = ROOT / "lab/report.py"
MARKS = ("learnt", "perplexity", "bits", "whole", "scalings", "betas", "sliding", "bases", "published", "press", "kazemnejad", "vision")


def language_result(name, seed, nats):
    """A result whose losses are `nats` at the trained length, a quarter more at each doubling, and a hundredth more a seed."""
    nats += seed / 100
    losses = [nats + i / 4 for i in range(4)]
    figures = {"lengths": [128, 256, 512, 1024], "nats_per_byte": losses, "nats_per_byte_of_last": losses}
    behind = {"lengths": [256, 512, 1024], "nats_per_byte": losses[1:], "nats_per_byte_of_last": losses[1:]}
    curve = [[25 * (i + 1), nats + 1 / (i + 1)] for i in range(8)]
    result = {
        "run": f"{name}/{seed}", "seed": seed, "options": {"theta": 10000.0},
        "settings": {"trained_length": 128, "factors": [1, 2, 4, 8], "scored": 32, "scored_last": 8},
        "training": {"encoding_parameters": 1234, "processor_seconds": 100, "train_loss_by_step": curve, "held_out_loss_by_step": curve[3::4]},
        "measured": {"same_targets": figures, "whole_windows": figures},
    }
    if name == "rope":
        result["measured"].update(yarn_fit={"betas": [4.0, 0.25]}, scalings={"yarn": behind, "linear": behind})
    if name == "learned":
        result["measured"]["interpolated"] = behind
    return result


def vision_result(name, seed, accuracy):
    tested = [{"size": size, "accuracy": accuracy - i / 10, "nats": 1.0 + i} for i, size in enumerate((14, 20, 28))]
    return {"run": f"{name}/{seed}", "seed": seed, "settings": {"trained_size": 14, "tested_sizes": [14, 20, 28]}, "measured": {"as it is": tested}}


@pytest.fixture
def folders(tmp_path):
    results = [language_result(name, seed, nats) for name, nats in (("rope", 1.0), ("alibi", 1.5), ("learned", 2.0)) for seed in range(3)]
    results += [vision_result(name, seed, accuracy) for name, accuracy in (("none", 0.5), ("rope-axial", 0.9)) for seed in range(3)]
    for folder in ("language", "vision", "docs"):
        (tmp_path / folder).mkdir()
    for result in results:
        folder = "language" if "training" in result else "vision"
        (tmp_path / folder / (result["run"].replace("/", ".seed-") + ".json")).write_text(json.dumps(result))
    (tmp_path / "docs/lab.md").write_text("# Page\n" + "".join(f"\n<!-- table {mark} -->\nold\n<!-- end -->\n" for mark in MARKS) + "\nend\n")
    return tmp_path


def report(folder, *more, check=True):
    command = [sys.executable, str(REPORT), "--language", str(folder / "language"), "--vision", str(folder / "vision"), "--docs", str(folder / "docs"), *more]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def test_tables_hold_medians_and_spread(folders):
    report(folders)
    page = (folders / "docs/lab.md").read_text()
    assert "old" not in page and page.startswith("# Page\n") and page.endswith("\nend\n")
    cell = f"{math.exp(1.01):.2f} ({math.exp(1.0):.2f} to {math.exp(1.02):.2f})"
    assert f"| RoPE | {cell} |" in page
    assert f"| RoPE | {1.01 / math.log(2):.3f} ({1 / math.log(2):.3f} to {1.02 / math.log(2):.3f}) |" in page
    assert page.index("| RoPE | 2") < page.index("| ALiBi | 4") < page.index("| learned | 7")  # best first
    assert "| ALiBi | +0.7500 | +0.7500 | +0.7500 |" in page  # of one seed, at eight lengths less at one
    assert "| RoPE | +0.063 | +0.250 | +0.453 | +0.500 | +0.571 | +0.750 |" in page
    assert "| RoPE | -1.000 | -0.050 |  |  | +0.001 |" in page  # beside learned of the same seed
    assert f"| RoPE | {math.log(670 / 2.506):+.3f} | +0.250 | +0.500 | +0.750 |" in page
    assert "| RoPE, axial |  | 90.0 | 80.0 | 70.0 | 1.00 | 3.00 |" in page


def test_the_same_results_give_the_same_bytes(folders):
    report(folders)
    made = {path.name: path.read_bytes() for path in (folders / "docs/lab").iterdir()}
    assert set(made) == {"lengths.svg", "losses.svg", "bases.svg", "scalings.svg", "alibi.svg", "vision.svg"}
    page = (folders / "docs/lab.md").read_bytes()
    report(folders)
    assert made == {path.name: path.read_bytes() for path in (folders / "docs/lab").iterdir()}
    assert page == (folders / "docs/lab.md").read_bytes()


def test_missing_seeds_and_marks_are_named(folders):
    (folders / "language/alibi.seed-1.json").unlink()
    refused = report(folders, check=False)
    assert refused.returncode == 1 and "alibi" in refused.stderr and "old" in (folders / "docs/lab.md").read_text()
    assert "ALiBi" in report(folders, "--partial").stdout
    shutil.copy(folders / "language/alibi.seed-0.json", folders / "language/alibi.seed-1.json")
    page = folders / "docs/lab.md"
    page.write_text(page.read_text().replace("<!-- table press -->", ""))
    assert "press" in report(folders, check=False).stderr


def test_the_page_in_docs_is_what_the_results_say(tmp_path):
    page = ROOT / "docs/lab.md"
    if not page.exists():
        pytest.skip("the experiments are not all made yet")
    shutil.copy(page, tmp_path / "lab.md")
    subprocess.run([sys.executable, str(REPORT), "--docs", str(tmp_path)], check=True)
    assert (tmp_path / "lab.md").read_text() == page.read_text()
    for picture in (ROOT / "docs/lab").glob("*.svg"):
        assert (tmp_path / "lab" / picture.name).read_bytes() == picture.read_bytes(), picture.name
