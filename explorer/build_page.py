#!/usr/bin/env python3
"""Puts the explorer's page together: one HTML file with style, script, Chart.js and the library as WebAssembly inside.

    build_page.py --face javascript/ropewalk.mjs --wasm ropewalk.wasm --chart-js chart.min.js --version 0.1.0 --out page.html

What stays open in it are @GIVEN@ and @EVALUATION@, which `ropewalk explore` fills in. Needs esbuild.
"""

import argparse
import base64
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def bundle(esbuild, face):
    command = [esbuild, HERE / "src/main.mjs", "--bundle", "--format=iife", "--minify", "--target=es2022", "--charset=utf8", f"--alias:ropewalk={face}",
               "--external:node:*", "--log-override:empty-import-meta=silent", "--log-level=warning"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"build_page: esbuild ended with {done.returncode}")
    return done.stdout.decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("face", "wasm", "chart-js", "out"):
        parser.add_argument("--" + name, type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--esbuild", default="esbuild")
    arguments = parser.parse_args()
    parts = {
        "STYLE": (HERE / "style.css").read_text(),
        "SCRIPT": bundle(arguments.esbuild, arguments.face.resolve()),
        "CHART_JS": re.sub(r"\n//# sourceMappingURL=.*", "", arguments.chart_js.read_text()),
        "WASM": base64.b64encode(arguments.wasm.read_bytes()).decode(),
        "VERSION": arguments.version,
    }
    for name in ("SCRIPT", "CHART_JS"):
        if re.search(r"</script|<!--", parts[name], re.IGNORECASE):
            sys.exit(f"build_page: {name}: want a script without </script and <!--, got one with")
    page = re.sub(r"@([A-Z_]+)@", lambda m: parts.get(m[1], m[0]), (HERE / "page.html").read_text())
    arguments.out.write_text(page)


if __name__ == "__main__":
    main()
