"""What a command under `ropewalk conform --against` may do: hostile, hasty and hanging ones, and options that do not fit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tool import BINARY, ROOT, hear_signals, ok, refused, run

SUITE = ROOT / "tests" / "golden"
FAMILY = "mla"

LOOP = """
import json, sys
questions = 0
for line in sys.stdin:
    r = json.loads(line)
    questions += 1
    answer = lambda **more: json.dumps({"id": r["id"], **more})
    say = lambda text: (sys.stdout.write(text), sys.stdout.flush())
    %s
"""


@pytest.fixture
def adapter(tmp_path):
    def write(body: str) -> str:
        path = tmp_path / "adapter.py"
        path.write_text(LOOP % body.replace("\n", "\n    "))
        return f"'{sys.executable}' '{path}'"
    return write


def against(command, *more):
    return ("conform", "--suite", SUITE, "--families", FAMILY, "--against", command, *more)


def cases() -> int:
    return ok("conform", "--suite", SUITE, "--requests", "--families", FAMILY).count("\n")


@pytest.mark.parametrize("key", ["y", "softmax_scale_multiplier", "anything"])
def test_deep_nesting_is_refused(adapter, key):
    refused(*against(adapter(f"say('{{\"id\": %s, \"{key}\": ' % json.dumps(r['id']) + '[' * 300000 + ']' * 300000 + '}}\\n')")),
            says=("--against", "deep"))


def test_brackets_in_words_are_no_nesting(adapter):
    done = run(*against(adapter("say(answer(unsupported='[' * 5000 + '\"' + '{' * 5000) + '\\n')")))
    assert done.returncode == 1 and "1 unsupported" in done.stdout, done.stderr


def test_deep_nesting_in_a_suite_is_refused(tmp_path):
    family = json.loads((SUITE / "mla.json").read_text())
    name = next(iter(family["configs"]))
    text = json.dumps(family).replace('"config": {', '"config": {"deep": ' + "[" * 300000 + "]" * 300000 + ", ", 1)
    assert name and text != json.dumps(family)
    (tmp_path / "mla.json").write_text(text)
    refused("conform", "--suite", tmp_path, says=("mla.json", "deep"))


@pytest.mark.parametrize("command", ["", " ", "\t \n"])
def test_an_empty_command_is_no_command(command):
    refused(*against(command), says=("--against", "want a command"))
    refused(*against(command, "--self"), says="--self")


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["sleep 91", "while read -r x; do sleep 93; done"])
def test_a_signal_ends_the_command_too(tmp_path, kind, command):
    mark = tmp_path / "mark"  # stands in the command line, so that its processes can be told from others
    process = subprocess.Popen([str(BINARY), *map(str, against(f": '{mark}'; {command}; :", "--out", tmp_path / "out"))],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals)
    until = time.monotonic() + 20
    while not left(mark) and time.monotonic() < until:
        time.sleep(0.01)
    assert left(mark)
    process.send_signal(kind)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 1, (out, err)
    assert out == "" and err == "ropewalk: interrupted: nothing was written\n"
    assert not list(tmp_path.iterdir()) and not left(mark)


def left(mark) -> list[int]:
    """The command's processes: its shell, and what that has started."""
    groups, shells = {}, set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            groups[int(path.name)] = os.getpgid(int(path.name))
            if Path(words[0].decode()).name == "sh" and any(str(mark).encode() in word for word in words):
                shells.add(int(path.name))
    return [process for process, group in groups.items() if group in shells]


@pytest.mark.parametrize("written", ["null", "NaN", "Infinity", "-Infinity", "true", "\"1\"", "[1]"])
def test_a_softmax_multiplier_that_is_no_number_is_refused(adapter, written):
    command = adapter(f"say(answer(y=r['x'])[:-1] + ', \"softmax_scale_multiplier\": {written}}}\\n')")
    refused(*against(command), says=("mla/", "softmax_scale_multiplier"))


def test_numbers_beyond_a_double_are_named(adapter):
    refused(*against(adapter("say(answer(y='Y').replace('\"Y\"', '[[[1e999]]]') + '\\n')")), says=("--against", "out of its range"))


def test_y_beside_unsupported_is_refused(adapter):
    refused(*against(adapter("say(answer(y=r['x'], unsupported='x') + '\\n')")), says=("mla/", "got both"))
    done = run(*against(adapter("say(answer(y=None, unsupported='not this one') + '\\n')")))
    assert done.returncode == 1 and "not this one" in done.stdout
    refused(*against(adapter("say(answer(y=None, unsupported=None) + '\\n')")), says=("mla/", "\"y\" or"))


def test_the_last_answer_may_lack_its_newline(adapter):
    done = run(*against(adapter(f"say(answer(unsupported='not this one') + ('\\n' if questions < {cases()} else ''))")))
    assert done.returncode == 1 and "not this one" in done.stdout, done.stderr


@pytest.mark.parametrize("blank", ["\\n", " \\t\\n", "\\r\\n"])
def test_blank_lines_are_no_sign_of_life(adapter, blank):
    command = adapter(f"import time\nwhile True: say('{blank}'); time.sleep(0.05)")
    begin = time.monotonic()
    refused(*against(command, "--timeout", "0.5"), says=("--timeout", "within 0.5 s"), timeout=30)
    assert time.monotonic() - begin < 10


def test_a_flood_of_blank_lines_ends_too(adapter):
    command = adapter("while True: sys.stdout.write('\\n' * 65536)")
    refused(*against(command, "--timeout", "0.5"), says="--timeout", timeout=30)


def test_requests_ask_nobody(tmp_path):
    for more in (("--against", "true"), ("--json",), ("--self",)):
        refused("conform", "--suite", SUITE, "--requests", *more, says=("--requests", more[0]))


def test_outside_the_sources_the_suite_has_to_be_named(tmp_path):
    program = tmp_path / "ropewalk"
    program.write_bytes(BINARY.read_bytes())
    program.chmod(0o755)
    done = subprocess.run([program, "conform"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--suite DIR" in done.stderr and "docs/conform.md" in done.stderr


@pytest.mark.parametrize("text", ['{"format"', '{"format": "ropewalk-golden/1"}', '{"format": "ropewalk-golden/1", "family": 3}', "3"])
def test_a_bad_suite_is_refused_in_words_of_its_own(tmp_path, text):
    (tmp_path / "plain_half.json").write_text(text)
    assert "json.exception" not in refused("conform", "--suite", tmp_path, says="plain_half.json")
