"""Perplexity by context length of any causal model of transformers, by the method of `ropewalk eval` (docs/evaluation.md)."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import platform
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch

if torch.distributed.is_available():
    # Its defaults take the world's group when it is imported (transformers does, with a model): imported after init_process_group, they
    # keep the group beyond destroy_process_group, and gloo's threads into an exit that ends in SIGABRT now and then.
    import torch.distributed.nn.functional

from ropewalk._core import CheckpointPositions, Error, describe
from ropewalk.checkpoint import read_positions
from ropewalk.hf._install import install, scaling_named
from ropewalk.rotary import Rotary
from ropewalk.spec import Numerics, Scaling

_DTYPES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16", torch.float64: "f64"}
_BUCKETS = 64


@dataclass(frozen=True)
class _Choice:
    """A scaling as it was asked for: a word with or without a factor, or a scaling class."""

    name: str
    factor: Optional[float] = None
    given: Optional[Scaling] = None

    @property
    def label(self) -> str:
        return self.name if self.factor is None or self.given is not None else f"{self.name} x{self.factor:g}"


@dataclass
class _Task:
    length: int
    choice: _Choice
    factor: float
    window: int
    first: int
    scored: Tuple[int, int]
    fingerprint: str = ""
    spec: str = ""
    nll: Any = None  # float64 [scored]
    seconds: float = 0.0
    same_as: Optional[str] = None
    shares: Optional["_Task"] = field(default=None, repr=False)

    @property
    def run(self) -> "_Task":
        return self if self.shares is None else self.shares


def evaluate(
    model: Any,
    tokenizer_or_ids: Any,
    text: Union[None, str, "os.PathLike[str]"] = None,
    lengths: Sequence[int] = (2048, 4096, 8192),
    scalings: Sequence[Union[str, Scaling]] = ("none", "yarn"),
    *,
    factor: Optional[float] = None,
    score: int = 1024,
    windows: int = 1,
    by_position: bool = False,
    numerics: Numerics = "exact",
    progress: Optional[Callable[[str], None]] = None,
) -> Dict[str, Any]:
    """The same last tokens scored behind contexts that reach further and further back.

    model: a causal model of transformers, on any device and in any dtype; it is as before afterwards.
    tokenizer_or_ids: a tokenizer of transformers, or the ids of the text, made without special tokens ([tokens], whole numbers).
    text: the text, or the path of a file in UTF-8; unread with ids.
    lengths: tokens of context, each above `score`. The longest one's keys and the scored tokens' logits have to fit in memory.
    scalings: "none", "linear", "ntk", "dynamic", "yarn", "own" (as the checkpoint says); "yarn:4" with a factor of its own; or a
        scaling class. Layers that see only near keys keep their own.
    factor: for words without one; None: length / trained length, at least 1.
    score, windows, by_position: as --score, --windows and --by-position of `ropewalk eval`.
    progress: called with one line when a window is done.

    Gives what `ropewalk eval --json` writes, as a dict; sha256 of the model is None, for it is measured as it lies in memory. In a
    process group of torch.distributed, each rank having the whole model, windows are split over the ranks and every rank gets the
    merged result. Raises ropewalk.Error as install() does, for lengths the text does not have, and for losses that are not finite.
    """
    positions = read_positions(model.config, numerics=numerics)
    ids, about_text, begin = _ids_of(tokenizer_or_ids, text)
    choices = [_choice(word, factor) for word in scalings]
    lengths = sorted(set(int(length) for length in lengths))
    tasks = _planned(positions, len(ids), lengths, choices, score, windows)
    curves = [_by_position(positions, len(ids), lengths[-1], choice) for choice in choices] if by_position else []
    everything = tasks + curves
    _share(everything)
    _measure_all(model, ids, begin, [t for t in everything if t.shares is None], positions, numerics, progress)
    return {
        "model": {
            "path": str(getattr(model.config, "_name_or_path", "") or ""),
            "name": type(model).__name__,
            "sha256": None,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_context": positions.trained_context,
            "fingerprint": positions.fingerprint(),
        },
        "text": {**about_text, "tokens": len(ids), "begin_token": begin},
        "dtype": _DTYPES.get(next(model.parameters()).dtype, "other"),
        "threads": torch.get_num_threads(),
        "processor": _processor(model),
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "score": score,
        "windows_wanted": windows,
        "lengths": lengths,
        "windows": [_window_json(task) for task in tasks],
        "specs": [{"fingerprint": f, "spec": s} for f, s in sorted({t.fingerprint: t.spec for t in tasks}.items())],
        "perplexity": _perplexities(tasks, choices, lengths, positions),
        "by_position": [_curve_json(task) for task in curves],
    }


# ---- what is asked for ------------------------------------------------------------------------------------------------


def _ids_of(tokenizer_or_ids: Any, text: Any) -> Tuple[List[int], Dict[str, Any], Optional[int]]:
    if not callable(tokenizer_or_ids):
        array = np.asarray(tokenizer_or_ids)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise Error(f"tokenizer_or_ids: want a tokenizer, or whole numbers [tokens], got {array.dtype} {list(array.shape)}")
        return array.tolist(), {"path": "", "sha256": None, "bytes": None}, None
    path = ""
    if isinstance(text, os.PathLike):
        path = os.fspath(text)
        with open(text, encoding="utf-8") as file:
            text = file.read()
    if not isinstance(text, str) or not text:
        raise Error(f"text: want a text, or the path of a file, got {type(text).__name__ if not isinstance(text, str) else 'nothing'}")
    raw = text.encode()
    ids = list(tokenizer_or_ids(text, add_special_tokens=False)["input_ids"])
    with_special = tokenizer_or_ids(text[:64])["input_ids"]
    bos = getattr(tokenizer_or_ids, "bos_token_id", None)
    begin = bos if bos is not None and with_special[:1] == [bos] and ids[:1] != [bos] else None
    return ids, {"path": path, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}, begin


def _choice(word: Union[str, Scaling], factor: Optional[float]) -> _Choice:
    if not isinstance(word, str):
        name = type(word).__name__.removesuffix("Scaling").lower()
        names = {"no": "none", "dynamicntk": "dynamic"}
        return _Choice(names.get(name, name), float(getattr(word, "factor", 1.0)), word)
    name, colon, own = word.partition(":")
    plain = name in ("none", "own")
    if plain and colon:
        raise Error(f'scalings: want no factor for {name}, got "{word}"')
    if not plain:
        scaling_named(f"{name}:1", 1)
    try:
        number = float(own) if colon else None if plain else factor
    except ValueError:
        raise Error(f'scalings: want a number behind the colon, got "{word}"') from None
    if number is not None and not 1 <= number < math.inf:
        raise Error(f"scalings: want factors >= 1, got {number:g}")
    return _Choice(name, number)


def _resolved(choice: _Choice, positions: CheckpointPositions, length: int) -> float:
    if choice.name in ("none", "own"):
        return 1.0
    if choice.factor is not None:
        return choice.factor
    if positions.trained_context < 1:
        raise Error("scalings: want a checkpoint that says how many tokens it was trained for, got one that does not")
    return max(1.0, length / positions.trained_context)


def _scaling(choice: _Choice, positions: CheckpointPositions, factor: float) -> Optional[Scaling]:
    if choice.given is not None:
        return choice.given
    if choice.name == "own":
        return None
    return scaling_named(f"{choice.name}:{factor!r}", positions.trained_context)


def _task(positions: CheckpointPositions, length: int, choice: _Choice, window: int, first: int, scored: Tuple[int, int]) -> _Task:
    factor = _resolved(choice, positions, length)
    task = _Task(length, choice, factor, window, first, scored)
    scaling = _scaling(choice, positions, factor)
    scaled = positions if scaling is None else positions.with_scaling(scaling)
    task.fingerprint = scaled.fingerprint(length)
    task.spec = "; ".join(f"{k.name}: {'no rotation' if k.spec is None else describe(k.spec)}" for k in scaled.kinds)
    for kind in scaled.kinds:
        if kind.spec is not None:
            Rotary(kind.spec, length)
    return task


def _planned(
    positions: CheckpointPositions, tokens: int, lengths: List[int], choices: List[_Choice], score: int, windows: int
) -> List[_Task]:
    if score < 1:
        raise Error(f"score: want a number >= 1, got {score}")
    if not lengths or not choices:
        raise Error("lengths: want at least one length and one scaling, got none")
    for length in lengths:
        if length <= score:
            raise Error(f"lengths: want lengths above the {score} scored tokens, got {length}")
        if length > tokens:
            raise Error(f"lengths: want at most the {tokens} tokens that the text has, got {length}")
    longest = lengths[-1]
    spare = tokens - longest
    places = 1 + spare // score
    if not 1 <= windows <= places:
        raise Error(f"windows: want 1 to {places} behind contexts of {longest} in a text of {tokens} tokens, got {windows}")
    tasks, seen = [], set()
    for length in lengths:
        for choice in choices:
            for window in range(windows):
                end = longest + spare * (2 * window + 1) // (2 * windows)
                task = _task(positions, length, choice, window, end - length, (end - score, end))
                key = (length, choice.name, task.factor, choice.given, window)
                if key not in seen:
                    seen.add(key)
                    tasks.append(task)
    return tasks


def _by_position(positions: CheckpointPositions, tokens: int, length: int, choice: _Choice) -> _Task:
    return _task(positions, length, choice, 0, 0, (1, length))


def _share(tasks: List[_Task]) -> None:
    """Tasks that turn alike over the same tokens are run once."""
    first: Dict[Any, _Task] = {}
    for task in tasks:
        key = (task.fingerprint, task.length, task.first, task.scored)
        other = first.setdefault(key, task)
        if other is not task:
            task.shares, task.same_as = other, other.choice.name


# ---- measuring --------------------------------------------------------------------------------------------------------


def _measure_all(
    model: Any, ids: List[int], begin: Optional[int], tasks: List[_Task], positions: CheckpointPositions, numerics: Numerics, progress: Any
) -> None:
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    ranks = torch.distributed.get_world_size() if distributed else 1
    rank = torch.distributed.get_rank() if distributed else 0
    # The long ones first, to and fro, so that no rank gets all of them.
    order = sorted(range(len(tasks)), key=lambda i: (-tasks[i].length, i))
    mine = [i for at, i in enumerate(order) if (at % (2 * ranks) if at % (2 * ranks) < ranks else 2 * ranks - 1 - at % (2 * ranks)) == rank]
    mine.sort(key=lambda i: (tasks[i].fingerprint, i))
    done: Dict[int, Tuple[Any, float]] = {}
    failed: Optional[Error] = None
    training = model.training
    model.eval()
    try:
        for at, i in enumerate(mine):
            task = tasks[i]
            with install(model, _scaling(task.choice, positions, task.factor), numerics, probe_forward=at == 0):
                done[i] = _measured(model, ids, begin, task)
            if progress is not None:
                perplexity = math.exp(min(700.0, float(done[i][0].mean())))
                progress(f"[{at + 1}/{len(mine)}] {task.length} tokens, {task.choice.label}, place {task.window + 1}: {perplexity:.4g}")
    except Error as error:
        failed = error
    finally:
        model.train(training)
    if distributed:
        everyone: List[Any] = [None] * ranks
        torch.distributed.all_gather_object(everyone, (done, None if failed is None else str(failed)))
        for found, message in everyone:
            if message is not None and failed is None:
                failed = Error(message)
            done.update(found)
    if failed is not None:
        raise failed
    for i, (nll, seconds) in done.items():
        tasks[i].nll, tasks[i].seconds = nll, seconds


def _measured(model: Any, ids: List[int], begin: Optional[int], task: _Task) -> Tuple[Any, float]:
    window = list(ids[task.first : task.first + task.length])
    if begin is not None:
        window[0] = begin
    device = model.get_input_embeddings().weight.device
    fed = torch.tensor([window], device=device)
    scored = task.scored[1] - task.scored[0]
    start = time.perf_counter()
    more = {"logits_to_keep": scored + 1} if "logits_to_keep" in inspect.signature(type(model).forward).parameters else {}
    with torch.no_grad():
        logits = model(input_ids=fed, use_cache=False, **more).logits[0, -scored - 1 : -1]
        wanted = fed[0, -scored:].to(logits.device)
        nll = []
        for rows, targets in zip(logits.split(256), wanted.split(256)):
            rows = rows.float()
            nll.append((rows.logsumexp(-1) - rows.gather(-1, targets[:, None])[:, 0]).double().cpu())
    losses = torch.cat(nll).numpy()
    if not np.isfinite(losses).all():
        raise Error(f"model: want finite losses, got NaN or infinity in {task.length} tokens from token {task.first} of the text on")
    return losses, time.perf_counter() - start


# ---- what is said -----------------------------------------------------------------------------------------------------


def _processor(model: Any) -> str:
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or device.type


def _number(value: float) -> Any:
    return value if math.isfinite(value) else "Infinity"


def _exp(value: float) -> float:
    return math.exp(value) if value < 709.7 else math.inf


def _window_json(task: _Task) -> Dict[str, Any]:
    run = task.run
    return {
        "length": task.length,
        "scaling": task.choice.name,
        "factor": task.factor,
        "window": task.window,
        "first_token": task.first,
        "tokens_seen": task.length,
        "scored": list(task.scored),
        "nll_sum": float(run.nll.sum()),
        "tokens_per_second": task.length / max(run.seconds, 1e-9),
        "fingerprint": task.fingerprint,
        "same_as": task.same_as,
    }


def _perplexities(tasks: List[_Task], choices: List[_Choice], lengths: List[int], positions: CheckpointPositions) -> List[Dict[str, Any]]:
    out = []
    for choice in dict.fromkeys(choices):
        for length in lengths:
            factor = _resolved(choice, positions, length)
            group = [t for t in tasks if (t.length, t.factor) == (length, factor) and _is(t.choice, choice)]
            means = np.array([t.run.nll.mean() for t in group])
            mean = float(np.concatenate([t.run.nll for t in group]).mean())
            spread = float(means.std(ddof=1)) if len(group) > 1 else 0.0
            perplexity = _exp(mean)
            out.append({
                "length": length, "scaling": choice.name, "factor": group[0].factor, "series": choice.label, "windows": len(group),
                "perplexity": _number(perplexity), "standard_error": _number(perplexity * spread / math.sqrt(len(group))),
                "mean_nll": mean, "nll_standard_deviation": spread,
                "tokens_per_second": sum(t.length for t in group) / max(sum(t.run.seconds for t in group), 1e-9),
            })
    return out


def _is(one: _Choice, other: _Choice) -> bool:
    """The same method: its factor is compared as it comes out, so that "yarn" and "yarn:4" may meet at a length."""
    return one.name == other.name and one.given == other.given


def _curve_json(task: _Task) -> Dict[str, Any]:
    nll = task.run.nll
    width = -(-len(nll) // _BUCKETS)
    first = task.scored[0] - task.first
    return {
        "length": task.length, "scaling": task.choice.name, "factor": task.factor, "series": task.choice.label, "first_token": task.first,
        "buckets": [
            {"first": first + at, "end": first + min(at + width, len(nll)), "mean_nll": float(nll[at : at + width].mean())}
            for at in range(0, len(nll), width)
        ],
    }
