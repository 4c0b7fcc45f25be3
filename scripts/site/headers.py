"""The public headers as pages: what stands before a declaration as text, the declaration with the comments behind its fields as code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "include/ropewalk"
SECTION = re.compile(r"^// ---- (?:\d+\. )?(.*?) -*$")
NAME = re.compile(r"^(?:typedef )?(?:class|struct|enum class|enum|union)\s+(?:RW_API\s+)?(\w+)|^using (\w+)|^#define (\w+)")
SCALAR = re.compile(r"^typedef \w+ (\w+);|^inline constexpr .*?(\w+) *[={]")


def page_of(path: str) -> str:
    """include/ropewalk/spec.hpp -> api/cpp/spec.md, and ropewalk.h -> api/c.md."""
    name = Path(path).name
    return "api/c.md" if name.endswith(".h") else f"api/cpp/{Path(name).stem}.md"


def in_order() -> list[str]:
    """The C++ headers, those of ropewalk.hpp in its order, the others behind them."""
    first = re.findall(r"#include <ropewalk/(\S+)>", (ROOT / FOLDER / "ropewalk.hpp").read_text())
    rest = sorted(path.name for path in (ROOT / FOLDER).glob("*.hpp") if path.name not in (*first, "ropewalk.hpp"))
    return ["include/ropewalk/ropewalk.hpp", *(f"{FOLDER}/{name}" for name in (*first, *rest))]


def chunks(path: str) -> list[tuple[list[str], list[str]]]:
    """(comment, declaration) pairs at the level of the namespace, in their order; either may be empty."""
    found, comment, code, depth = [], [], [], 0

    def close():
        nonlocal comment, code
        if comment or code:
            found.append((comment, code))
        comment, code = [], []

    continued = False
    for line in (ROOT / path).read_text().splitlines():
        bare = re.sub(r'//.*|"(?:[^"\\]|\\.)*"', "", line)
        if depth == 0 and not continued:
            if re.match(r"#pragma|#include|#if|#endif|namespace |}  // namespace|extern \"C\"|// clang-format|}$|#undef|static_assert", line):
                continue
            if not line.strip():
                close()
                continue
            if line.startswith("//"):
                if code:
                    close()
                comment.append(line)
                continue
        if depth == 1 and re.match(r" private:", line):
            code.append("  // private members")
            depth = -1
        if depth == -1:
            if line == "};":
                depth = 0
                code.append(line)
            continue
        code.append(line)
        depth += bare.count("{") + bare.count("(") - bare.count("}") - bare.count(")")
        continued = line.endswith("\\") or (depth == 0 and not bare.rstrip().endswith((";", "}")) and not bare.startswith("#define"))
        if bare.startswith("#define"):
            continued = line.endswith("\\")
    close()
    return found


def text_of(comment: list[str]) -> str:
    """A comment as Markdown: prose as prose, what is set in columns as it is set."""
    lines = [re.sub(r"^///? ?", "", line).rstrip() for line in comment]
    blocks, block = [], []
    for line in [*lines, ""]:
        if line:
            block.append(line)
        elif block:
            blocks.append(block)
            block = []
    written = []
    for block in blocks:
        if all(re.match(r"[A-Z]\w+ {2,}|  {6,}\S", line) for line in block):  # words and what is said of each
            entries = re.split(r"(?m)^(?=\w)", "\n".join(block))
            for entry in filter(None, entries):
                word, said = entry.split(maxsplit=1)
                written.append(f"- **{word}**: " + escape(" ".join(said.split())))
            continue
        columns = any(re.search(r"\S {2,}\S", line) for line in block) or any(line.startswith("    ") for line in block)
        if columns:
            written.append("```text\n" + "\n".join(block) + "\n```")
        else:
            written.append("\n".join(escape(line) for line in block))
    return "\n\n".join(written)


def escape(line: str) -> str:
    """Prose of a comment, in which *, _, <, [ and $ mean themselves; what stands in backticks is code already."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]$\\|])", r"\\\1", part).replace("\\<", "&lt;").replace("\\>", "&gt;") for part in parts)


def title_of(code: list[str]) -> list[str]:
    """The names that a chunk declares."""
    names = []
    text = "\n".join(code)
    depth = 0
    for line in code:
        if depth == 0:
            bare = re.sub(r"//.*", "", line)
            match = NAME.match(bare) or SCALAR.match(bare) or re.search(r"(\w+)\s*\(", re.sub(r"^\[\[nodiscard\]\]|^template.*|std::\w+<.*?>(?= )", "", bare))
            name = next((group for group in match.groups() if group), "") if match else ""
            if name and name not in names and name not in ("if", "for", "defined", "sizeof"):
                names.append(name)
        bare = re.sub(r"//.*", "", line)
        depth += bare.count("{") + bare.count("(") - bare.count("}") - bare.count(")")
    if not names and (closing := re.search(r"^} (\w+);", text, re.MULTILINE)):
        names.append(closing[1])
    return names


def names_of(path: str) -> str:
    """The types that a header declares, for a table."""
    if path.endswith("ropewalk.hpp"):
        return "all of it, in the order the numbers flow"
    names = [name for _, code in chunks(path) for name in title_of(code)]
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names) if not name.startswith("k"))


def page(path: str) -> str:
    language = "c" if path.endswith(".h") else "cpp"
    if path.endswith("ropewalk.hpp"):
        listing = (ROOT / path).read_text().rstrip()
        return f"# ropewalk/ropewalk.hpp\n\nThe whole library, read from top to bottom.\n\n```cpp\n{listing}\n```\n"
    written = [f"# {path.removeprefix('include/')}"]
    sections = 0
    for comment, code in chunks(path):
        section = [SECTION.match(line) for line in comment]
        for match in section:
            if match:
                written.append(f"## {match[1]}")
                sections += 1
        comment = [line for line, match in zip(comment, section) if not match]
        names = title_of(code)
        if names:
            level = "###" if sections else "##"
            written.append(f"{level} " + ", ".join(f"`{name}`" for name in names))
        if comment:
            written.append(text_of(comment))
        if code:
            written.append(f"```{language}\n" + "\n".join(code) + "\n```")
    return "\n\n".join(written) + "\n"
