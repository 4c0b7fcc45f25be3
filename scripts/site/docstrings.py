"""Docstrings of the package as Markdown: a line `name: what it is` becomes an entry of a list."""

import re

import griffe

ENTRY = re.compile(r"^([a-z_][\w, ]{0,60}?): (?=\S)")


def as_markdown(text: str) -> str:
    if re.fullmatch(r"\(self\) -> .*|Initialize self\..*", text):  # what nanobind and Python say where nobody said anything
        return ""
    lines, entry, example = [], False, False
    for line in text.split("\n"):
        line = re.sub(r"^    (?=>>> )", "", line) if not example else line.removeprefix("    ")
        match = ENTRY.match(line)
        if match and not example:
            names = ", ".join(f"`{name.strip()}`" for name in match[1].split(","))
            if not entry and lines and lines[-1]:
                lines.append("")
            lines.append(f"- {names}: {line[match.end():]}")
            entry = True
            continue
        if line.startswith(">>> ") and not example:
            if lines and lines[-1]:
                lines.append("")
            lines.append("```pycon")
            example = True
        elif example and not line:
            lines += ["```", ""]
            example = entry = False
            continue
        elif not line:
            entry = False
        elif entry and not line.startswith(" "):
            line = "  " + line
        lines.append(line)
    if example:
        lines.append("```")
    return "\n".join(lines)


class Docstrings(griffe.Extension):
    def on_instance(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
