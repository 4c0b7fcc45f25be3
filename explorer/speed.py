#!/usr/bin/env python3
"""How soon the explorer's page is there and how long it takes to answer the position slider, in headless Chromium.

    speed.py --tool build/ropewalk

Prints medians and the longest of several openings and of 360 steps of the slider at head_dim 128: what the page itself does between the slider's event and
the frame that shows it (performance entry "ropewalk:frame"), and how far the frames were apart meanwhile. Needs what pictures.py needs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import browser as chromium  # noqa: E402

STEPS = """
const [numerics, done] = arguments, slider = document.getElementById('slider'), took = [], apart = [];
document.querySelector(`[name=numerics][value=${numerics}]`).click();
let step = 0, before = 0;
const next = (now) => {
  if (step > 1) took.push(performance.getEntriesByName('ropewalk:frame').at(-1).duration), apart.push(now - before);
  before = now;
  if (step === 122) return done([took, apart]);
  slider.value = (step++ * 1009) % 3600;
  slider.dispatchEvent(new Event('input'));
  requestAnimationFrame(next);
};
requestAnimationFrame(next);"""


def say(what, times):
    print(f"{what:44} {statistics.median(times):7.1f} {max(times):7.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True)
    arguments = parser.parse_args()
    browser = chromium.start()
    try:
        chromium.look_as(browser, chromium.DESKTOP)
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "explorer.html"
            subprocess.run([arguments.tool, "explore", "--out", page], check=True, stdout=subprocess.DEVNULL)
            print(f"{'the file':44} {page.stat().st_size / 1e6:7.2f} MB")
            print(f"{'':44}  median longest")
            opened = []
            for _ in range(7):
                chromium.open_page(browser, page)
                opened.append(browser.execute_script("const [one] = performance.getEntriesByName('ropewalk:ready'); return one.startTime + one.duration"))
            say("opened, to every panel drawn", opened)
            for numerics in ("exact", "fp32", "bf16"):
                took, apart = browser.execute_async_script(STEPS, numerics)
                say(f"a step of the slider, {numerics}", took)
                say("  from frame to frame", apart)
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
