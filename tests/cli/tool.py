"""What the tests of the tool share: running it, and small handwritten checkpoints."""

from __future__ import annotations

import os
import pathlib
import resource
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ROPEWALK_BIN", ROOT / "build" / "ropewalk"))

LLAMA = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}

# Every method that a config.json can name, on one small model. The oracle (oracle.py) reads the same dictionaries.
SCALED = {
    "none": LLAMA,
    "linear": LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "dynamic": LLAMA | {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    "yarn": LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4096},
                     "max_position_embeddings": 32768},
    "llama3": LLAMA | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
                       "max_position_embeddings": 131072},
    "longrope": {
        "model_type": "phi3", "hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 3, "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0 + 0.01 * j for j in range(32)],
                         "long_factor": [1.0 + 1.7 * j for j in range(32)]},
    },
}


def run(*arguments, env=None, timeout=120, **options) -> subprocess.CompletedProcess:
    """Runs the tool. Text in and out, unless told otherwise."""
    options.setdefault("text", True)
    return subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, **options)


def hear_signals() -> None:
    """For preexec_fn: a background job of a shell ignores SIGINT, and what it starts inherits that. No core is dumped."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def ok(*arguments, **options) -> str:
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments, says: str | tuple[str, ...] = (), **options) -> str:
    """Exit code 2 and exactly one line on stderr, which has every word asked for. Nothing on stdout."""
    done = run(*arguments, **options)
    assert done.returncode == 2, (done.returncode, done.stdout[:500], done.stderr)
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
    assert done.stderr.startswith("ropewalk: ")
    assert done.stdout == ""
    for word in (says,) if isinstance(says, str) else says:
        assert word in done.stderr, done.stderr
    return done.stderr
