#!/usr/bin/env python3
"""Draws every panel of the explorer's page for docs/explore.md, as wide as a desktop's and as a phone's.

    pictures.py --tool build/ropewalk --eval eval.json [--out docs/explore]

Needs chromium, its driver, selenium and pillow (scripts/setup.sh --python --browser).
"""

import argparse
import base64
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import browser as chromium  # noqa: E402

PANELS = ["clocks", "sentence", "decay", "wavelengths", "tables", "picture", "measured"]
# Where a panel shows more than in the state that the page begins with.
STATES = {
    "clocks": "#p=16777216&numerics=fp32&pair=2",
    "sentence": "#p=16777216&numerics=fp32",
    "tables": "#p=64&bias=3",
    "picture": '#picture={"turning":"mixed","size":2,"stretch":true,"theta":100,"at":[11,17]}',
}


def picture(browser, selector):
    box = browser.execute_script("const box = document.querySelector(arguments[0]).getBoundingClientRect();"
                                 "return [box.x + scrollX, box.y + scrollY, box.width, box.height]", selector)
    clip = dict(zip(("x", "y", "width", "height"), box), scale=1)
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/explore")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "explorer.html"
        subprocess.run([arguments.tool, "explore", "--eval", arguments.eval, "--out", page], check=True, stdout=subprocess.DEVNULL)
        browser = chromium.start()
        try:
            for name, size, dark in (("desktop", chromium.DESKTOP, False), ("phone", chromium.PHONE, True)):
                chromium.look_as(browser, size, dark)
                for panel in PANELS:
                    chromium.open_page(browser, page, STATES.get(panel, ""))
                    chromium.settle(browser)
                    # 256 colours without a pattern of dots: small, and letters keep their edges.
                    picture(browser, f"#{panel}").quantize(256, dither=Image.Dither.NONE).save(arguments.out / f"{panel}-{name}.png", optimize=True)
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
