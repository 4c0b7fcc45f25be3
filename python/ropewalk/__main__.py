"""`python -m ropewalk` and the command `ropewalk`: the tool that this package carries."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# In a wheel, and in a build folder of the sources.
PLACES = (HERE / "bin" / "ropewalk", HERE.parents[1] / "ropewalk")


def main() -> int:
    for tool in PLACES:
        if tool.is_file() and os.access(tool, os.X_OK):
            os.execv(tool, [str(tool), *sys.argv[1:]])
    print(
        "ropewalk: this package was built without the tool; want oneDNN, PCRE2, CLI11, fmt, OpenSSL and Chart.js where it is built",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
