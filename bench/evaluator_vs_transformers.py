#!/usr/bin/env python3
"""How many prompt tokens a second does the evaluator read, against transformers + torch on the same cores?

Question:  the body of one forward pass (embedding to last norm, no output matrix), tokens per second.
Opponent:  transformers' LlamaModel with dense weights of the same dtype from the same GGUF, same number of threads.
Expected:  at least 1.5x at 2 048 tokens and 3x at 8 192, in each dtype. Runs alternate, so that a drift of the machine meets both;
           figures are medians over --repeats, the ratio's spread is its smallest and largest over the pairs.

    bench/evaluator_vs_transformers.py MODEL.gguf TEXT [--lengths 2048,8192] [--dtypes f32,bf16] [--repeats 3]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = os.environ.get("ROPEWALK_BIN", str(ROOT / "build/ropewalk"))


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    flags = Path("/proc/cpuinfo").read_text()
    features = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
    return f"{name} ({', '.join(features)}; {os.cpu_count()} cores)"


def ours(model: str, text: str, length: int, dtype: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "eval.json"
        subprocess.run(
            [BIN, "eval", model, "--text", text, "--lengths", str(length), "--scaling", "none", "--score", "1",
             "--dtype", dtype, "--fresh", "--json", str(out)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(out.read_text())["windows"][0]["tokens_per_second"]


class Theirs:
    def __init__(self, model: str, dtype: str):
        import torch
        from transformers import AutoModelForCausalLM, GgufConfig

        torch.set_num_threads(os.cpu_count() or 1)
        path = Path(model)
        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype],
            quantization_config=GgufConfig(dequantize=True)).eval()

    def run(self, length: int) -> float:
        ids = self.torch.randint(0, self.model.config.vocab_size, (1, length), generator=self.torch.Generator().manual_seed(1))
        with self.torch.no_grad():
            begin = time.perf_counter()
            self.model.model(ids, use_cache=False)
            return length / (time.perf_counter() - begin)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--lengths", default="2048,8192")
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="write the rows here too")
    args = parser.parse_args()

    rows = []
    print(f"processor: {processor()}; {platform.platform()}")
    print("| dtype | tokens | ropewalk, tokens/s | transformers, tokens/s | ratio (median, min-max) |")
    print("|---|---|---|---|---|")
    for dtype in args.dtypes.split(","):
        peer = Theirs(args.model, dtype)
        peer.run(256)
        for length in map(int, args.lengths.split(",")):
            pairs = [(ours(args.model, args.text, length, dtype), peer.run(length)) for _ in range(args.repeats)]
            ratios = sorted(a / b for a, b in pairs)
            mine, theirs = (statistics.median(column) for column in zip(*pairs))
            rows.append({"dtype": dtype, "tokens": length, "ropewalk": mine, "transformers": theirs, "ratios": ratios})
            print(f"| {dtype} | {length} | {mine:.0f} | {theirs:.0f} | "
                  f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |", flush=True)
        del peer
    if args.json:
        Path(args.json).write_text(json.dumps({"processor": processor(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
