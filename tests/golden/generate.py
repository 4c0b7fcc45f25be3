"""Writes the golden suite: `python generate.py`, or `python generate.py --check` to say whether the files are what it writes.

    python tests/golden/generate.py [--check] [FAMILY ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
from golden import axes, files, grids, research, text  # noqa: E402

FAMILIES = text.FAMILIES + axes.FAMILIES + grids.FAMILIES + research.FAMILIES


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    wanted = {a for a in arguments if not a.startswith("--")}
    stale = []
    made = [make for make in FAMILIES if not wanted or make.__name__ in wanted]
    for make in made:
        family = make()
        path = FOLDER / f"{family.name}.json"
        content = files.text_of(family)
        if not path.exists() or path.read_text() != content:
            stale.append(path.name)
            if not check:
                path.write_text(content)
    if not wanted:
        known = {f"{make.__name__}.json" for make in FAMILIES}
        strays = sorted(p.name for p in FOLDER.glob("*.json") if p.name not in known)
        if strays:
            print("of no family:", ", ".join(strays))
            return 1
    if check and stale:
        print("not as generate.py writes them:", ", ".join(stale))
        return 1
    print(f"{len(made)} families, {'as they were' if not stale else 'written: ' + ', '.join(stale)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
