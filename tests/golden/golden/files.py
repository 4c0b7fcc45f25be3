"""The suite as text: one number list a line, the shortest decimal that gives the double back, and nothing random."""

from __future__ import annotations

import json

from .encoding import Family

FORMAT = "ropewalk-golden/1"


def _line(value) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def _rows(value, indent: str) -> str:
    """Lists of lists with a line each, everything else on one."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + ",\n".join(f"{indent} {_line(row)}" for row in value) + f"\n{indent}]"
    if isinstance(value, dict) and any(isinstance(v, list) for v in value.values()):
        return "{\n" + ",\n".join(f"{indent} {_line(k)}: {_rows(v, indent + ' ')}" for k, v in value.items()) + f"\n{indent}}}"
    return _line(value)


def text_of(family: Family) -> str:
    head = {"format": FORMAT, "family": family.name, "about": family.about, "sources": family.source}
    out = ["{"] + [f" {_line(k)}: {_line(v)}," for k, v in head.items()]
    out.append(' "configs": {')
    configs = [f"  {_line(name)}: {_line(body)}" for name, body in family.configs.items()]
    out += [",\n".join(configs), " },", ' "encodings": [']
    encodings = []
    for encoding in family.encodings:
        lines = [f"   {_line(k)}: {_rows(v, '   ')}" for k, v in encoding.as_json().items()]
        encodings.append("  {\n" + ",\n".join(lines) + "\n  }")
    out += [",\n".join(encodings), " ]", "}"]
    return "\n".join(out) + "\n"
