#!/usr/bin/env python3
"""check.py FOLDER: whether every link of a built site leads somewhere within it, anchors too, and no page asks a network for anything.

One line for each that does not, and exit code 1. Links that a reader may follow to other sites are not asked.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

# What the theme's script would ask for, and why it never does: no page draws with mermaid, and every browser of the last years has ResizeObserver.
NEVER_ASKED = {"https://unpkg.com/mermaid@11/dist/mermaid.min.js", "https://unpkg.com/resize-observer-polyfill"}


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []  # what a reader follows
        self.loads: list[str] = []  # what a browser asks for by itself
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.names.update(value for key, value in attributes if key in ("id", "name") and value)
        if tag == "a" and values.get("href") is not None:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical", "alternate", "prev", "next") and values.get("href"):
            self.loads.append(values["href"])
        if tag in ("img", "script", "iframe", "video", "audio", "source", "embed") and values.get("src"):
            self.loads.append(values["src"])


def outside(address: str) -> bool:
    return bool(re.match(r"(https?:)?//", address))


def problems(folder: Path) -> list[str]:
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        here = path.relative_to(folder.resolve())
        found += [f"{here}: asks for {load}" for load in page.loads if outside(load)]
        for address in {*page.links, *page.loads}:
            if outside(address) or re.match(r"mailto:|data:|javascript:", address):
                continue
            where, anchor = urldefrag(unquote(address))
            target = (path.parent / where).resolve() if where else path
            if target.is_dir():
                target = target / "index.html"
            if not target.exists():
                found.append(f"{here}: {address} leads nowhere")
            elif anchor and target in pages and anchor not in pages[target].names:
                found.append(f"{here}: {address}: the page has no such heading")
    for path in sorted([*folder.rglob("*.css"), *folder.rglob("*.js")]):
        text = path.read_text()
        asked = re.findall(r"""(?:url\(|@import\s*)["']?((?:https?:)?//[^"')\s]+)""", text) if path.suffix == ".css" else re.findall(r"https://unpkg\.com/[^\"'`]+", text)
        found += [f"{path.relative_to(folder)}: asks for {address}" for address in asked if address not in NEVER_ASKED]
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "index.html").exists():
        sys.exit("check.py: want the folder of a built site")
    wrong = problems(Path(sys.argv[1]))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)
