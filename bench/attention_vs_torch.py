#!/usr/bin/env python3
"""How fast is ropewalk's attention, against torch's on the same cores, and decoding against what memory gives?

Question:  seconds of a call on the same q, k and v: prefill, causal, and one query over many cached keys; with --train forwards and backwards.
Opponent:  torch.nn.functional.scaled_dot_product_attention(enable_gqa=True) on [batch, heads, tokens, head_dim], its own layout, in the same
           dtype and on as many threads, and its gradients by autograd; for decoding also a plain sum over k and v, the least that any attention reads.
Expected:  prefill and training at least as fast at 1 024 to 16 384 tokens; decoding within 1.3 of the sum.

Runs alternate, so that a drift of the machine meets both: a round is --seconds of ours (attention_probe), then of theirs; figures are medians over
--rounds, the ratio's spread is its smallest and largest over the rounds. Errors are the largest distance from torch in float64 over the last tokens;
with --train, of the gradients of one key head's queries, keys and values.

    bench/attention_vs_torch.py [--build build] [--threads 2] [--rounds 5] [--seconds 1] [--lengths 1024,4096,16384] [--dtypes f32,bf16] [--train]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADS = [(9, 3, 64), (32, 8, 128)]  # query heads, key heads, channels of a head: SmolLM2's and Llama 3 8B's
ERROR_TOKENS = 64


def median_of_calls(body, seconds: float) -> float:
    times, begin = [], time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Ours:
    def __init__(self, build: Path, threads: int):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen([build / "bench/attention_probe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, line: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"attention_probe ended at: {line}")
        return answer


def measure(torch, ours: Ours, dtype_name: str, tokens: int, keys: int, heads: tuple[int, int, int], arguments) -> dict:
    count, kv_count, dim = heads
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype_name]
    generator = torch.Generator().manual_seed(tokens + keys)
    q = torch.randn(1, tokens, count, dim, generator=generator).to(dtype)
    k, v = (torch.randn(1, keys, kv_count, dim, generator=generator).to(dtype) for _ in range(2))
    causal = tokens > 1
    with tempfile.TemporaryDirectory() as folder:
        for name, x in (("q", q), ("k", k), ("v", v)):
            x.contiguous().view(torch.uint8).numpy().tofile(f"{folder}/{name}.bin")
        ours.ask(f"case {dtype_name} 1 {tokens} {keys} {count} {kv_count} {dim} {int(causal)} {arguments.threads} {folder}")
        got = torch.frombuffer(bytearray(Path(folder, "out.bin").read_bytes()), dtype=dtype).reshape(1, tokens, count, dim)

    attention = torch.nn.functional.scaled_dot_product_attention
    theirs = [x.transpose(1, 2).contiguous() for x in (q, k, v)]

    def run():
        return attention(*theirs, is_causal=causal, enable_gqa=True)

    reply = run().transpose(1, 2)
    last = min(tokens, ERROR_TOKENS)
    exact_scores = theirs[0][:, :, -last:].double() @ theirs[1].double().repeat_interleave(count // kv_count, 1).transpose(2, 3) / dim**0.5
    if causal:
        exact_scores.masked_fill_(torch.arange(keys) > torch.arange(keys - last, keys)[:, None], float("-inf"))
    exact = (torch.softmax(exact_scores, -1) @ theirs[2].double().repeat_interleave(count // kv_count, 1)).transpose(1, 2)
    del exact_scores

    def error(x) -> float:
        return float((x[:, -last:].double() - exact).abs().max())

    train = arguments.train and causal
    if train:
        d_out = torch.randn(q.shape, generator=generator).to(dtype)
        leaves = [x.clone().requires_grad_() for x in theirs]
        d_theirs = d_out.transpose(1, 2).contiguous()
        with tempfile.TemporaryDirectory() as folder:
            for name, x in (("q", q), ("k", k), ("v", v), ("d_out", d_out)):
                x.contiguous().view(torch.uint8).numpy().tofile(f"{folder}/{name}.bin")
            ours.ask(f"case {dtype_name} 1 {tokens} {keys} {count} {kv_count} {dim} {int(causal)} {arguments.threads} {folder}")
            ours.ask("backward")
            mine = [
                torch.frombuffer(bytearray(Path(folder, f"{name}.bin").read_bytes()), dtype=dtype).reshape(x.shape).transpose(1, 2)
                for name, x in (("d_q", q), ("d_k", k), ("d_v", v))
            ]

        def train_theirs():
            for x in leaves:
                x.grad = None
            attention(*leaves, is_causal=causal, enable_gqa=True).backward(d_theirs)

        train_theirs()
        # One key head and its queries, in float64.
        group = count // kv_count
        exact_leaves = [x[:, : group if x.shape[1] == count else 1].double().clone().requires_grad_() for x in theirs]
        attention(*exact_leaves, is_causal=causal, enable_gqa=True).backward(d_theirs[:, :group].double())

        def gradient_error(gradients) -> float:
            return max(float((x[:, : e.shape[1]].double() - e.grad).abs().max()) for x, e in zip(gradients, exact_leaves))

        errors = gradient_error(mine), gradient_error([x.grad for x in leaves])
        run, verb = train_theirs, "train"
    else:
        errors, verb = (error(got), error(reply)), "run"

    pairs, reads = [], []
    for _ in range(arguments.rounds):
        mine = float(ours.ask(f"{verb} {arguments.seconds}"))
        pairs.append((mine, median_of_calls(run, arguments.seconds)))
        if tokens == 1:
            reads.append((mine, float(ours.ask(f"read {arguments.seconds / 2}"))))
    ratios = [b / a for a, b in pairs]
    row = {
        "dtype": dtype_name, "tokens": tokens, "keys": keys, "heads": f"{count}:{kv_count} x {dim}",
        "ropewalk_ms": 1e3 * statistics.median(a for a, _ in pairs), "torch_ms": 1e3 * statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios), "error": errors[0], "torch_error": errors[1],
    }
    if reads:
        row["of_reading"] = statistics.median(a / b for a, b in reads)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--lengths", default="1024,4096,16384")
    parser.add_argument("--decode", default="16384")
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--train", action="store_true", help="forwards and backwards, no decoding")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    ours = Ours(arguments.build, arguments.threads)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} threads\n")
    print("| dtype | tokens | keys | heads | ropewalk ms | torch ms | ratio (min-max) | error | torch's | of reading |\n|---|---|---|---|---|---|---|---|---|---|")
    rows = []
    for dtype in arguments.dtypes.split(","):
        cases = [(int(n), int(n)) for n in arguments.lengths.split(",") if n] + [(1, int(n)) for n in arguments.decode.split(",") if n and not arguments.train]
        for tokens, keys in cases:
            for heads in HEADS:
                row = measure(torch, ours, dtype, tokens, keys, heads, arguments)
                rows.append(row)
                reading = f"{row['of_reading']:.2f}" if "of_reading" in row else ""
                print(
                    f"| {dtype} | {tokens} | {keys} | {row['heads']} | {row['ropewalk_ms']:.3g} | {row['torch_ms']:.3g} | "
                    f"{row['ratio']:.2f} ({row['smallest']:.2f}-{row['largest']:.2f}) | {row['error']:.1e} | {row['torch_error']:.1e} | {reading} |",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
