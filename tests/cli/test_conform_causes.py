"""The causes that `ropewalk conform` names: each of the usual mistakes made on purpose, and errors that are none of them."""

from __future__ import annotations

import json
import sys

import pytest
from tool import ROOT, run

SUITE = ROOT / "tests" / "golden"
WRONG = SUITE / "wrong"

STRANGER = f"""
import sys
sys.path.insert(0, {str(WRONG)!r})
import numpy as np
from stranger import Stranger

def bits(values, count):
    mantissa, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, count)), exponent - count)

def bfloat16(values):
    return bits(values, 8)

def float16(values):
    return np.asarray(values).astype(np.float16).astype(np.float64)

class Wrong(Stranger):
    def phase(self, positions, inv_freq):
        return positions.astype(np.float64)[:, None] * inv_freq

    %s

Wrong().serve()
"""


def found(tmp_path, body: str, family: str) -> dict[str, dict]:
    """Findings by encoding. The stranger is right, in double, but for what `body` overrides."""
    path = tmp_path / "adapter.py"
    path.write_text(STRANGER % body.strip().replace("\n", "\n    "))
    done = run("conform", "--suite", SUITE, "--json", "--families", family, "--against", f"'{sys.executable}' '{path}'",
               timeout=300)
    assert done.returncode == 1, (done.returncode, done.stderr)
    return {f["encoding"]: f for f in json.loads(done.stdout)["families"][0]["findings"]}


def phase(positions="p", inv_freq="f", result="a"):
    return f"def phase(self, p, f):\n    a = ({positions}).astype(np.float64)[:, None] * ({inv_freq})\n    return {result}"


def table(cosine, sine):
    return f"def turned(self, x, c, s):\n    return super().turned(x, {cosine}, {sine})"


TURNED = """
def turned(self, x, c, s):
    half = c.shape[-1]
    a, b = x[..., :half].astype(np.float64), x[..., half:].astype(np.float64)
    %s
    return np.concatenate([y0, y1], axis=-1)
"""
SMOLLM, PLAIN, YARN = "SmolLM2-135M", "Qwen2.5-0.5B", "Qwen2.5-0.5B, YaRN 4"


@pytest.mark.parametrize("body, family, encoding, cause", [
    (table("bfloat16(c)", "bfloat16(s)"), "plain_half", None, "cosine and sine rounded to bfloat16"),
    (table("float16(c)", "float16(s)"), "plain_half", None, "cosine and sine rounded to float16"),
    ("def turned(self, x, c, s):\n    return bfloat16(super().turned(x, c, s))", "plain_half", None, "results rounded to bfloat16"),
    ("def turned(self, x, c, s):\n    return float16(super().turned(x, c, s))", "plain_half", None, "results rounded to float16"),
    (TURNED % "r = bfloat16; c, s = r(c), r(s); y0, y1 = r(r(a * c) - r(b * s)), r(r(b * c) + r(a * s))", "plain_half", None,
     "cosine and sine, products and results in bfloat16"),
    (phase("np.minimum(p, 4095)"), "plain_half", PLAIN,
     "positions beyond 4095 taken for 4095 (a table of 4096 rows, clamped at its end)"),
    (phase("np.clip(p, 0, 2047)"), "plain_half", SMOLLM,
     "positions beyond 2047 taken for 2047 (a table of 2048 rows, clamped at its end, and negative ones taken for 0)"),
    (phase("np.mod(p, 131072)"), "plain_half", PLAIN, "positions modulo 131072 (a table of so many rows, begun again)"),
    (phase("np.maximum(p, 0)"), "plain_half", PLAIN, "negative positions taken for 0"),
    (phase("p.astype(np.int16)"), "plain_half", PLAIN, "positions in 16 bits: from 32 768 on they wrap around"),
    (phase(inv_freq="float16(f)"), "plain_half", None, "frequencies in float16"),
    (phase("p.astype(np.float16)"), "plain_half", PLAIN, "positions in float16; where they overflow, no number"),
    (phase(result="np.deg2rad(a)"), "plain_half", None, "angles taken for degrees"),
    (TURNED % "y0 = a * c - b * s; y1 = b * c + y0 * s", "plain_half", None,
     "the second channel of a pair made of the first one's result (written over before it was read)"),
    (table("s", "c"), "plain_half", None, "cosine and sine exchanged"),
    (table("c", "s / 1.1386294361119891"), "yarn", YARN, "attention factor 1.13863 on the cosine only"),
    ("def factor(self, c, o):\n    return 0.1 * np.log(self.rope(c)['factor']) + 1 if self.kind(c) == 'yarn' else 1.0", "yarn",
     "Qwen2.5-0.5B, YaRN 4, attention_factor 1", "as if the config had no attention_factor"),
    ("def theta(self, c): return 10000.0", "yarn", YARN, "theta 10000 (the default) instead of 1000000"),
    ("def theta(self, c): return 10000.0", "llama3", "Llama-3.1-8B", "theta 10000 (the default) instead of 500000"),
    ("def inv_freq(self, c, d):\n    f = super().inv_freq(c, d)\n    return f * self.rope(c).get('factor', 1) ** 2", "linear", None,
     "linear scaling multiplies where it should divide"),
    ("def rope(self, c): return super().rope(c) | {'truncate': False}", "yarn", YARN,
     "YaRN's ramp between broken pairs where it is widened to whole ones (truncate)"),
], ids=lambda v: v[:40].replace("\n", " ").strip() if isinstance(v, str) else None)
def test_a_mistake_is_named(tmp_path, body, family, encoding, cause):
    findings = found(tmp_path, body, family)
    assert findings
    assert encoding is None or encoding in findings
    for name, finding in findings.items():
        if encoding in (None, name):
            assert finding["cause"] == cause, name


@pytest.mark.parametrize("body", [
    phase(result="a + 0.002"),
    phase(result="a + 0.003 * np.sin(7 * a)"),
    phase("p + 0.3"),
    phase("p * (1 + 1e-4)"),
    phase(inv_freq="f * (1 + 1e-5)"),
    phase(inv_freq="f * (1 + 2e-4 * np.cos(np.arange(len(f))))"),
    phase("np.minimum(p, 3000)"),
    table("np.rint(c * 256) / 256", "np.rint(s * 256) / 256"),
    table("bits(c, 9)", "bits(s, 9)"),
    table("bits(c, 14)", "bits(s, 14)"),
    table("c * (1 + 0.004 * np.cos(9 * s))", "s"),
    "def turned(self, x, c, s):\n    return bits(super().turned(x, c, s), 10)",
    TURNED % "y0 = a * c - b * s; y1 = (b * c + a * s) * 1.002",
], ids=lambda v: v.split("\n")[-1][:60].strip() if "np.con" not in v else "a gain of its own")
def test_what_is_no_usual_mistake_has_no_cause(tmp_path, body):
    for name, finding in found(tmp_path, body, "plain_half").items():
        assert finding["cause"] == "", name


def test_a_phase_of_few_bits_is_read_off_the_growth_of_its_error(tmp_path):
    for finding in found(tmp_path, phase(result="bits(bits(a, 11) * (1 + 2.0**-12 * np.sin(a)), 12)"), "plain_half").values():
        assert finding["cause"].startswith("phase in float16 or TF32: the error grows with the position"), finding


def interleaved_as_qwen3(sections, pairs):
    axis = [0] * pairs
    for which in (1, 2):
        for j in range(which, min(3 * sections[which], pairs), 3):
            axis[j] = which
    return axis


def test_qwen3s_order_of_axes_on_qwen2s_sections_is_named(tmp_path):
    axis = interleaved_as_qwen3([16, 24, 24], 64)
    assert [axis.count(a) for a in range(3)] == [22, 21, 21]
    findings = found(tmp_path, f"""
def answer(self, request):
    c, d, half = request["config"].get("text_config", request["config"]), request["head_dim"], request["head_dim"] // 2
    if (self.rope(c).get("mrope_section") or c.get("mrope_section")) != [16, 24, 24]:
        return {{"unsupported": "other sections"}}
    p = np.array(request["positions"], dtype=np.float64)[{axis}]
    a = (p * (self.theta(c) ** (-2.0 * np.arange(half) / d))[:, None]).T
    if self.kind(c) not in ("default", None):
        return {{"unsupported": "scaled"}}
    return {{"y": super().turned(np.array(request["x"]), np.cos(a)[:, None], np.sin(a)[:, None]).tolist()}}
""", "mrope_blocked")
    assert findings["Qwen2-VL-2B"]["cause"] == "axis sections alternate where they stand in blocks"


def test_the_last_right_position_is_said(tmp_path):
    body = phase("np.minimum(p, 4095)")
    for finding in found(tmp_path, body, "plain_half").values():
        family = json.loads((SUITE / "plain_half.json").read_text())
        (asked,) = {tuple(e["positions"][0]) for e in family["encodings"] if e["name"] == finding["encoding"]}
        assert finding["first_position"] == min((p for p in asked if p > 4095), key=abs)
        assert abs(finding["last_right_position"]) == max(abs(p) for p in asked if abs(p) < finding["first_position"])
    path = tmp_path / "adapter.py"
    done = run("conform", "--suite", SUITE, "--families", "plain_half", "--against", f"'{sys.executable}' '{path}'")
    assert ", wrong from position " in done.stdout and "    right up to " in done.stdout


def test_nothing_is_right_before_the_first_position(tmp_path):
    for finding in found(tmp_path, phase("p + 1"), "plain_half").values():
        assert finding["first_position"] == 0 and finding["last_right_position"] is None
