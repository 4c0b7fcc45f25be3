#!/usr/bin/env python3
"""The rotation as Python calls it, against torch and onnxruntime, on CPU tensors.

    python bench/python_rotary.py [--seconds 0.15] [--rounds 7] [--threads N] [--tokens 1,64,1024,8192] [--dtypes float32,bfloat16,float16]
                                  [--train] [--json FILE]
    python bench/python_rotary.py --table FILE      (what --json wrote, as the table of docs/torch.md)

q has 32 heads of 128 and k has 8, as a model holds them: projections of [1, tokens, heads, 128], seen as [1, heads, tokens, 128], at
positions from 100 000 on. Every opponent has a process of its own and the rounds alternate, so that drift and neighbours reach all alike. Times are medians of the rounds, with
their spread; the ratio is the median over rounds of theirs / rotate's, for onnxruntime, which allocates nothing either, theirs / into's. The error is the largest one against float64 over 64 tokens at the end.

    rotate          ropewalk.torch.rotate: cosines and sines formed on the way, new tensors
    into            the same into given tensors (out=): no allocation
    rotate_         the same in place
    table           ropewalk.torch.apply_rotary_emb_qk with float32 cosines and sines
    torch-eager     transformers' apply_rotary_pos_emb with cosines and sines of the tensors' dtype; forming them is not counted
    torch-compile   the same under torch.compile
    onnxruntime     the RotaryEmbedding operator of opset 23, with input and output bound (no allocation is counted)

--train: forward and backward instead, for those that have one.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time

HEADS, HEAD_DIM, THETA, CHECKED, FIRST = (32, 8), 128, 500000.0, 64, 100000
NAMES = ("rotate", "into", "rotate_", "table", "torch-eager", "torch-compile", "onnxruntime")


def eager(q, k, cos, sin):
    """What transformers.models.llama.modeling_llama.apply_rotary_pos_emb computes."""
    import torch

    def half_turned(x):
        first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return torch.cat((-second, first), dim=-1)

    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return q * cos + half_turned(q) * sin, k * cos + half_turned(k) * sin


def tensors(tokens: int, dtype):
    import torch

    torch.manual_seed(0)
    return [torch.randn(1, tokens, heads, HEAD_DIM).to(dtype).transpose(1, 2) for heads in HEADS]


def error_of(results, inputs) -> float:
    import ropewalk
    import ropewalk.torch
    import torch

    tokens = inputs[0].shape[2]
    last = slice(max(0, tokens - CHECKED), tokens)
    spec = ropewalk.RotarySpec(head_dim=HEAD_DIM, theta=THETA)
    exact = ropewalk.torch.rotate(spec, *(x[:, :, last].double() for x in inputs), layout="bhsd", position_ids=FIRST + torch.arange(tokens)[last])
    return max((a[:, :, last].double() - b).abs().max().item() for a, b in zip(results, exact))


def prepare(name: str, tokens: int, kind: str, train: bool):
    """(a call without arguments, its error)"""
    import ropewalk
    import ropewalk.torch
    import torch

    dtype = getattr(torch, kind)
    q, k = tensors(tokens, dtype)
    rotary = ropewalk.Rotary(ropewalk.RotarySpec(head_dim=HEAD_DIM, theta=THETA))
    positions = FIRST + torch.arange(tokens)
    half, rows = [torch.from_numpy(one) for one in rotary.cos_sin(positions)], torch.arange(tokens)
    full = [torch.cat((one, one), -1)[None].to(dtype) for one in half]
    if name == "onnxruntime":
        return onnxruntime(q, k, half, dtype)
    outs = tuple(torch.empty_like(x) for x in (q, k))
    call = {
        "rotate": lambda q, k: ropewalk.torch.rotate(rotary, q, k, position_ids=positions, layout="bhsd"),
        "into": lambda q, k: ropewalk.torch.rotate(rotary, q, k, position_ids=positions, layout="bhsd", out=outs),
        "rotate_": lambda q, k: ropewalk.torch.rotate_(rotary, q, k, position_ids=positions, layout="bhsd"),
        "table": lambda q, k: ropewalk.torch.apply_rotary_emb_qk(q, k, *half, position_ids=rows, layout="bhsd"),
        "torch-eager": lambda q, k: eager(q, k, *full),
        "torch-compile": None,
    }[name]
    if call is None:
        torch._dynamo.reset()
        program = torch.compile(eager, dynamic=False)
        call = lambda q, k: program(q, k, *full)  # noqa: E731
    torch.set_grad_enabled(train)  # once: entering no_grad takes as long as turning a token
    if not train:
        return lambda: call(q, k), error_of(call(q.clone(), k.clone()), (q, k))
    if name in ("into", "rotate_"):
        raise NotImplementedError("no gradient")
    q, k = (x.detach().requires_grad_() for x in (q, k))
    gradients = [torch.ones_like(x) for x in (q, k)]
    error = error_of(call(q, k), (q.detach(), k.detach()))
    return lambda: torch.autograd.grad(call(q, k), (q, k), gradients), error


def onnxruntime(q, k, half, dtype):
    import numpy as np
    import onnx
    import onnxruntime as ort
    import torch

    if dtype == torch.bfloat16:
        raise NotImplementedError("its CPU operator takes float32 and float16")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT if dtype == torch.float32 else onnx.TensorProto.FLOAT16
    tokens = q.shape[2]
    arrays = {"q": q.transpose(1, 2).flatten(2), "k": k.transpose(1, 2).flatten(2), "cos": half[0][None].to(dtype), "sin": half[1][None].to(dtype)}
    arrays = {name: x.contiguous().numpy() for name, x in arrays.items()}
    nodes = [helper.make_node("RotaryEmbedding", [x, "cos", "sin"], [x + "_out"], num_heads=heads) for x, heads in zip("qk", HEADS)]
    values = [helper.make_tensor_value_info(name, kind, x.shape) for name, x in arrays.items()]
    outputs = [helper.make_tensor_value_info(x + "_out", kind, arrays[x].shape) for x in "qk"]
    model = helper.make_model(helper.make_graph(nodes, "rotary", values, outputs), ir_version=10, opset_imports=[helper.make_opsetid("", 23)])
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = {x: np.empty_like(arrays[x]) for x in "qk"}
    binding = session.io_binding()
    for name, x in arrays.items():
        binding.bind_input(name, "cpu", 0, x.dtype, x.shape, x.ctypes.data)
    for name, x in results.items():
        binding.bind_output(name + "_out", "cpu", 0, x.dtype, x.shape, x.ctypes.data)
    run = session.run_with_iobinding
    run(binding)
    as_heads = [torch.from_numpy(results[x]).view(1, tokens, heads, HEAD_DIM).transpose(1, 2) for x, heads in zip("qk", HEADS)]
    error = error_of(as_heads, (q, k))
    keep = arrays, results

    def call(_keep=keep):
        run(binding)

    return call, error


def machine() -> dict:
    import importlib.metadata
    import platform

    lines = open("/proc/cpuinfo").read().splitlines() if os.path.exists("/proc/cpuinfo") else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "onnxruntime", "numpy")}
    return {"processor": (named or [platform.machine()])[0], "when": time.strftime("%Y-%m-%d", time.gmtime()), "versions": versions}


def table(path: str) -> None:
    """Who is how many times slower, and everybody's error."""
    with open(path) as file:
        run = json.load(file)
    others = [name for name in ("torch-eager", "torch-compile", "onnxruntime") if not (run["train"] and name == "onnxruntime")]
    print("| dtype | tokens | rotate, us | into, us |" + "".join(f" {name} |" for name in others) + " error, ours | theirs |")
    print("|---|---|---|---|" + "---|" * (len(others) + 2))
    cases = {}
    for row in run["rows"]:
        cases.setdefault((row["dtype"], row["tokens"]), {})[row["name"]] = row
    for (dtype, tokens), by in cases.items():
        medians = [1e6 * statistics.median(by[name]["seconds"]) if name in by else None for name in ("rotate", "into")]
        micro = ["" if one is None else f"{one:.3g}" if one < 1000 else f"{one:,.0f}".replace(",", " ") for one in medians]
        cells = []
        for name in others:
            ours = by.get("into" if name == "onnxruntime" else "rotate")
            ratios = sorted(a / b for a, b in zip(by[name]["seconds"], ours["seconds"])) if name in by and ours else []
            cells.append(f"{statistics.median(ratios):.3g} ({ratios[0]:.2g} - {ratios[-1]:.2g})" if ratios else "")
        errors = [by["rotate"]["max_abs_error"], max(by[name]["max_abs_error"] for name in others if name in by)]
        print("| " + " | ".join([dtype, str(tokens), *micro, *cells, *(f"{error:.1e}" for error in errors)]) + " |")


def work(name: str, threads: int, pipe) -> None:
    """A worker's life: (tokens, dtype, train) prepares a case, a number of seconds is a round of it, None ends."""
    import torch

    torch.set_num_threads(threads)
    call, calls = None, 1
    while (asked := pipe.recv()) is not None:
        try:
            if isinstance(asked, tuple):
                call, calls = None, 1
                call, error = prepare(name, *asked)
                call()
                pipe.send(error)
                continue
            while True:
                start = time.perf_counter()
                for _ in range(calls):
                    call()
                spent = time.perf_counter() - start
                if spent >= 0.5 * asked:
                    break
                calls = max(2 * calls, int(calls * asked / max(spent, 1e-6)))
            pipe.send(spent / calls)
        except (ImportError, NotImplementedError) as why:
            pipe.send(str(why))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.15, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", default="1,64,1024,8192")
    parser.add_argument("--dtypes", default="float32,bfloat16,float16")
    parser.add_argument("--only", default=",".join(NAMES), help="opponents, by name")
    parser.add_argument("--train", action="store_true", help="forward and backward")
    parser.add_argument("--json", help="also write every round here")
    parser.add_argument("--table", metavar="FILE", help="measure nothing: print what --json wrote as a table")
    options = parser.parse_args()
    if options.table:
        table(options.table)
        return 0

    # OpenMP's runtimes read it when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name in options.only.split(","):
        mine, theirs = context.Pipe()
        process = context.Process(target=work, args=(name, options.threads, theirs), daemon=True)
        process.start()
        workers[name] = mine
    load = os.getloadavg()
    print(f"{options.threads} threads, {'forward and backward' if options.train else 'forward'}, load average before: {load[0]:.2f}")
    print(f"{'tokens':>6} {'dtype':9} {'':14} {'microseconds (spread)':>30} {'theirs / ours':>24} {'error':>9}")
    rows = []
    for kind in options.dtypes.split(","):
        for tokens in map(int, options.tokens.split(",")):
            errors, times = {}, {}
            for name, pipe in workers.items():
                pipe.send((tokens, kind, options.train))
                errors[name] = pipe.recv()
            able = [name for name in workers if not isinstance(errors[name], str)]
            for _ in range(options.rounds):
                for name in able:
                    workers[name].send(options.seconds)
                    times.setdefault(name, []).append(workers[name].recv())
            for name in able:
                micro = sorted(1e6 * t for t in times[name])
                against = times.get("into" if name == "onnxruntime" else "rotate")
                ratios = sorted(a / b for a, b in zip(times[name], against)) if against else []
                ratio = f"{statistics.median(ratios):6.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})" if ratios and name != "rotate" else ""
                print(f"{tokens:6} {kind:9} {name:14} {statistics.median(micro):12.1f} ({micro[0]:.1f} - {micro[-1]:.1f}) {ratio:>24} {errors[name]:9.1e}")
                rows.append({"tokens": tokens, "dtype": kind, "name": name, "seconds": times[name], "max_abs_error": errors[name]})
            sys.stdout.flush()
    for pipe in workers.values():
        pipe.send(None)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({**machine(), "threads": options.threads, "train": options.train, "load_before": load, "rows": rows}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
