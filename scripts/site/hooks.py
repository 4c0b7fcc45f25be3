"""What mkdocs does not do of itself for the site: pages that lie outside docs/, links to them, mathematics without a network.

- README, CONTRIBUTING, CHANGELOG and the golden suite's README become pages; so does every other file that a page links to.
- The public headers become the C++ and C reference (headers.py); what ropewalk's modules export becomes the Python reference.
- `$...$` and `$$...$$` become MathML when the site is built.
- What stands behind the language of a code block is for the tests (tests/python/test_docs.py) and is left out, but for the file that it is cut from.
"""

import ast
import html
import posixpath
import re
import subprocess
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).resolve().parent))
import headers  # noqa: E402
from docstrings import as_markdown  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DOCS = "docs/"
PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "tests/golden/README.md": "golden.md",
         "include/ropewalk": "api/index.md"}
PYTHON_MODULES = ["ropewalk", "ropewalk.torch", "ropewalk.hf", "ropewalk.jax", "ropewalk.compat.flash_attn", "ropewalk.compat.vllm",
                  "ropewalk.compat.transformers", "ropewalk.compat.onnx", "ropewalk.compat.ggml"]
LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
FENCE = re.compile(r"^(`{3,})(\w+) (.+)$", re.MULTILINE)
LANGUAGES = {".cpp": "cpp", ".hpp": "cpp", ".h": "c", ".c": "c", ".py": "python", ".sh": "sh", ".json": "json", ".cu": "cpp", ".mjs": "js"}

# What a browser would space as something else: a function's name and its argument, bars around a number, a sign that stands before one.
FUNCTION = "<mi>(?:cos|sin|ln|arctan|max)</mi>"
SPACING = [
    (re.compile(rf"(?<=</mi>|</mn>)(?={FUNCTION})"), '<mspace width="0.17em"/>'),
    (re.compile(rf"(?<=&#x0007C;</mo>)(?={FUNCTION})"), '<mspace width="0.17em"/>'),
    (re.compile(rf"({FUNCTION})(?=<m(?:i|n|sub|frac)>)"), r'\1<mspace width="0.17em"/>'),
    (re.compile(r"<mo>(Re|Im)</mo>"), r"<mi>\1</mi>"),
    (re.compile(r"<mo[^>]*>&#x0007C;</mo>"), '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>'),
    (re.compile(r"(<mo[^>]*>(?:&#x00028;|&#x0003D;)</mo>)<mo>&#x02212;</mo>"), r'\1<mo form="prefix">&#x02212;</mo>'),
]

sources: dict[str, str] = {}  # path of a page in the site -> path in the repository


def place_in_site(path: str) -> str:
    """Where the site has a file or folder of the repository."""
    if path.startswith(DOCS):
        return path[len(DOCS):]
    if path in PAGES:
        return PAGES[path]
    if path.startswith("include/ropewalk/"):
        return headers.page_of(path)
    return f"source/{path}.md"


def rewrite(text: str, here: str, there: str) -> str:
    """The links of a file at `here` in the repository, as its page at `there` in the site needs them."""

    def link(match: re.Match) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[1]))
        if path.startswith(DOCS) and here.startswith(DOCS):
            return match[0]
        place = place_in_site(path)
        if place.startswith("source/"):
            sources[place] = path
        return posixpath.relpath(place, posixpath.dirname(there)) + match[2]

    # Not in code: what looks like a link there is none.
    parts = re.split(r"(^`{3,}.*?^`{3,}$|`[^`\n]*`)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("`") else LINK.sub(link, part) for part in parts)


def source_page(path: str) -> str:
    """A file of the repository as a page, or a folder's README and names."""
    full = ROOT / path
    if not full.exists():
        raise FileNotFoundError(f"{path}: a page links to it")
    if full.is_dir():
        names = subprocess.run(["git", "ls-files", "."], cwd=full, capture_output=True, text=True).stdout.split()
        about = (full / "README.md").read_text() if (full / "README.md").exists() else f"# {path}\n"
        return rewrite(about, f"{path}/README.md", f"source/{path}.md") + "\n\n" + "\n".join(f"- `{path}/{name}`" for name in names) + "\n"
    text = full.read_text()
    if full.suffix == ".md":
        return rewrite(text, path, f"source/{path}.md")
    return f"# {path}\n\n````{LANGUAGES.get(full.suffix, 'text')}\n{text.rstrip()}\n````\n"


def python_page(module: str) -> str:
    """Every public name of a module, for mkdocstrings."""
    path = ROOT / "python" / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text())
    names = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names = ast.literal_eval(node.value)
    if names is None:
        names = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")]
    about = as_markdown(ast.get_docstring(tree) or "")
    head = f"# {module}\n\n{about}\n\n"
    kinds = {"Classes": [], "Functions": []}
    for name in sorted(names):
        if not name.startswith("__"):
            kinds["Classes" if name[0].isupper() else "Functions"].append(name)
    body = "".join(f"## {kind}\n\n" + "".join(f"::: {module}.{name}\n\n" for name in found) for kind, found in kinds.items() if found)
    return head + body


def api_index() -> str:
    lines = ["# API reference", "", "Made from the headers and docstrings when the site is built: what stands there is the contract, here as there.", "",
             "## C++, in the order the numbers flow", "", "| header | |", "|---|---|"]
    for path in headers.in_order():
        lines.append(f"| [`{path.removeprefix('include/')}`]({posixpath.relpath(headers.page_of(path), 'api')}) | {headers.names_of(path)} |")
    c = posixpath.relpath(headers.page_of("include/ropewalk/ropewalk.h"), "api")
    lines += ["", "## C", "", f"[`ropewalk/ropewalk.h`]({c}); [how its parts hang together](../c.md).", "", "## Python", "", "| module | |", "|---|---|"]
    for module in PYTHON_MODULES:
        first = python_page(module).split("\n")[2]
        lines.append(f"| [`{module}`](python/{module}.md) | {first} |")
    return "\n".join(lines) + "\n"


def generated() -> dict[str, str]:
    """Path in the site -> Markdown, of the pages that stand in no file of docs/."""
    pages = {there: rewrite((ROOT / here).read_text(), here, there) for here, there in PAGES.items() if here.endswith(".md")}
    pages["api/index.md"] = api_index()
    for path in [*headers.in_order(), "include/ropewalk/ropewalk.h"]:
        pages[headers.page_of(path)] = headers.page(path)
    for module in PYTHON_MODULES:
        pages[f"api/python/{module}.md"] = python_page(module)
    return pages


def on_config(config):
    nav = []
    for entry in config.nav:
        if isinstance(entry, dict) and "API" in entry:
            cpp = [{Path(path).name: headers.page_of(path)} for path in headers.in_order()]
            python = [{module: f"api/python/{module}.md"} for module in PYTHON_MODULES]
            entry = {"API": ["api/index.md", {"C++": cpp}, {"C": headers.page_of("include/ropewalk/ropewalk.h")}, {"Python": python}]}
        nav.append(entry)
    config.nav = nav
    return config


def on_files(files, config):
    sources.clear()
    for place, text in generated().items():
        files.append(File.generated(config, place, content=text))
    for page in sorted((ROOT / DOCS).rglob("*.md")):
        here = page.relative_to(ROOT).as_posix()
        rewrite(page.read_text(), here, place_in_site(here))
    done: set[str] = set()
    while left := sorted(set(sources) - done):  # a source's own links may name more
        for place in left:
            files.append(File.generated(config, place, content=source_page(sources[place])))
            done.add(place)
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    if not page.file.generated_by:
        markdown = rewrite(markdown, DOCS + here, here)

    def fence(match: re.Match) -> str:
        source = re.match(r"file=(\S+)", match[3])
        return f"{match[1]}{match[2]}" + (f' title="{source[1]}"' if source else "")

    return FENCE.sub(fence, markdown)


def mathematics(match: re.Match) -> str:
    text = html.unescape(match[2])
    block = match[1] == "div"
    written = convert(text[2:-2].strip(), display="block" if block else "inline")
    for pattern, better in SPACING:
        written = pattern.sub(better, written)
    return written


def on_page_content(content, page, config, files):
    return re.sub(r'<(div|span) class="arithmatex">(.*?)</\1>', mathematics, content, flags=re.DOTALL)
