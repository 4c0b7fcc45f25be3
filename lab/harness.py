"""What the experiments of this folder share: runs that are kept whole or not at all, several side by side, and the time that is left.

An experiment is a list of runs, each with a name such as `alibi/1`. A run's result is one JSON file, written whole or not at
all; a run that has one is not made again. The runs are made by processes of their own (`--jobs`, one thread each unless
`--threads` says more), and a lock a run keeps two of them from making the same one. Whatever stops an experiment, the same
command goes on where it was.
"""

import argparse
import fcntl
import fnmatch
import hashlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[1]
MADE_ELSEWHERE = 75  # exit code of a run that another process is making


@dataclass(frozen=True)
class Experiment:
    """folder: where run.py lies. runs: names of all of them, in the order in which they are made.
    settings: what every figure depends on; a result of other settings is refused. make(name, settings, arguments,
    progress) -> its result; progress(done, say) takes a fraction and a few words. add_arguments(parser) adds to the command line.
    origin(name, arguments) -> what else stands in a result that may be kept: its encoding's options, the data's hash."""

    folder: Path
    about: str
    runs: Callable[[bool], list[str]]
    settings: Callable[[bool], dict[str, Any]]
    make: Callable[[str, dict[str, Any], argparse.Namespace, Callable[[float, str], None]], dict[str, Any]]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    origin: Callable[[str, argparse.Namespace], dict[str, Any]] = lambda name, arguments: {}


def write_whole(path, data):
    """Writes bytes, or text, so that the file is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def to_json(value):
    text = json.dumps(value, indent=1, allow_nan=False)
    # Innermost lists stand on one line.
    return re.sub(r"\[([^][{}]*)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text) + "\n"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def result_path(out, name):
    return out / (name.replace("/", ".seed-") + ".json")


def read_results(experiment, names, settings, arguments):
    """The results that are there, by name. One of other settings, options or data ends the program."""
    results = {}
    for name in names:
        path = result_path(arguments.out, name)
        if not path.exists():
            continue
        result = json.loads(path.read_text())
        for key, wanted in {"settings": settings, **experiment.origin(name, arguments)}.items():
            if result.get(key) != json.loads(json.dumps(wanted)):
                sys.exit(f"{path}: {key}: want a result of this script's and this data's, got one of another; remove it, or name another --out")
        results[name] = result
    return results


def lasts(seconds):
    return f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


class Progress:
    """How much of everything is done, on stderr: one line a report."""

    def __init__(self, total, done):
        self.total, self.finished, self.running, self.lock = total, done, {}, threading.Lock()
        self.at_first, self.started = float(done), time.monotonic()

    def report(self, name, fraction, say):
        with self.lock:
            if fraction >= 1:
                self.running.pop(name, None)
                self.finished += 1
            else:
                # What an earlier process had done of a run is no measure of speed.
                if name not in self.running:
                    self.at_first += fraction
                self.running[name] = fraction
            done = self.finished + sum(self.running.values())
            gained = done - self.at_first
            left = (time.monotonic() - self.started) / gained * (self.total - done) if gained > 0.02 else None
            print(f"{self.finished}/{self.total}  {name:>18}  {say}" + ("" if left is None else f"  ({lasts(left)} left)"), file=sys.stderr, flush=True)


def make_one(experiment, name, settings, arguments, progress):
    """Makes a run and writes its result. Returns False if another process is making it."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(result_path(arguments.work, name).with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path = result_path(arguments.out, name)
        if not path.exists():
            write_whole(path, to_json({"run": name, "settings": settings, **experiment.make(name, settings, arguments, progress)}))
    return True


def make_beside(experiment, names, arguments, progress):
    """Makes runs in processes of their own, `--jobs` at a time. Returns the names of those that failed."""
    waiting, failed, children, stop = queue.Queue(), [], set(), threading.Event()
    for name in names:
        waiting.put(name)

    def work():
        while not stop.is_set():
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            command = [sys.executable, str(experiment.folder / "run.py"), *sys.argv[1:], "--run", name]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            children.add(child)
            last = 0.0
            for line in child.stdout:
                said = json.loads(line)
                if said["done"] < 1:
                    progress.report(name, said["done"], said["say"])
                    last = said["done"]
            code = child.wait()
            children.discard(child)
            if code == 0:
                progress.report(name, 1.0, "done")
            elif code == MADE_ELSEWHERE:
                progress.report(name, last, "is being made by another process")
            elif not stop.is_set():
                failed.append(name)
                progress.report(name, last, f"failed with exit code {code}")

    def end(number, frame):
        stop.set()
        for child in list(children):
            child.terminate()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = [threading.Thread(target=work) for _ in range(arguments.jobs or 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, handler in before.items():
        signal.signal(number, handler)
    if stop.is_set():
        sys.exit("stopped; the same command goes on from here")
    return failed


def main(experiment):
    parser = argparse.ArgumentParser(description=experiment.about.splitlines()[0], epilog="An interrupted run goes on where it was: give the same command again.")
    parser.add_argument("--quick", action="store_true", help="seconds instead of an hour: tiny models, a few steps; says nothing about encodings")
    parser.add_argument("--only", metavar="NAMES", help="runs to make, separated by commas, * allowed: rope-*,alibi/0")
    parser.add_argument("--list", action="store_true", help="print the names of the runs, and which are there")
    parser.add_argument("--jobs", type=int, help="runs side by side, each in a process of its own (default 2; with --quick in this process, one by one)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each (default 1: two runs of one thread are done sooner than one of two)")
    parser.add_argument("--out", type=Path, help="for the results (default: results/ beside the script; with --quick, a folder of the cache)")
    parser.add_argument("--work", type=Path, help="for checkpoints and trained weights (default: .cache/lab/NAME)")
    parser.add_argument("--json", action="store_true", help="print all results as one JSON document")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    experiment.add_arguments(parser)
    arguments = parser.parse_args()
    if (arguments.jobs is not None and arguments.jobs < 1) or arguments.threads < 1:
        parser.error("--jobs, --threads: want numbers >= 1")
    cache = Path(os.environ.get("ROPEWALK_CACHE", ROOT / ".cache")) / "lab" / (experiment.folder.name + ("-quick" if arguments.quick else ""))
    arguments.work = arguments.work or cache
    arguments.out = arguments.out or (cache / "results" if arguments.quick else experiment.folder / "results")
    settings = experiment.settings(arguments.quick)
    names = experiment.runs(arguments.quick)
    if arguments.only:
        patterns = arguments.only.split(",")
        for pattern in patterns:
            if not fnmatch.filter(names, pattern) and not fnmatch.filter(names, pattern + "/*"):
                parser.error(f"--only: want names out of --list, got {pattern!r}")
        names = [n for n in names if any(fnmatch.fnmatch(n, p) or fnmatch.fnmatch(n, p + "/*") for p in patterns)]

    if arguments.run:
        made = make_one(experiment, arguments.run, settings, arguments, lambda done, say: print(json.dumps({"done": done, "say": say}), flush=True))
        return 0 if made else MADE_ELSEWHERE

    there = read_results(experiment, names, settings, arguments)
    if arguments.list:
        for name in names:
            print(f"{name:20} {'there' if name in there else 'to be made'}")
        return 0
    missing = [name for name in names if name not in there]
    progress = Progress(len(names), len(there))
    failed = []
    if arguments.quick and arguments.jobs is None:
        for name in missing:
            make_one(experiment, name, settings, arguments, lambda done, say: None)
            progress.report(name, 1.0, "done")
    elif missing:
        failed = make_beside(experiment, missing, arguments, progress)
    if arguments.json:
        print(to_json(read_results(experiment, names, settings, arguments)), end="")
    if failed:
        print("failed: " + ", ".join(failed), file=sys.stderr)
        return 1
    return 0
