#!/usr/bin/env python3
"""One opponent of `ropewalk bench`: rotates the same q and k as the tool does, when the tool says so.

    opponents.py NAME THREADS        NAME: torch-eager, torch-compile, onnxruntime, jax, ggml

Started by `ropewalk bench`, a process for each opponent, so that no library's threads or crashes reach another's figures. A line of JSON in,
a line of JSON out (docs/bench.md):

    on starting       {"version": "torch 2.13.0, ..."} or {"unavailable": why}
    {"prepare": case} {"max_abs_error": e} or {"cannot": why}
    {"sample": s}     {"seconds": of a call, "calls": n, "cores": processor time over wall time}: enough calls to last s seconds
    {"release": true} {"released": true}: the case's memory is given back

What a library prints goes to stderr. The timing loop is here, so the pipe is not measured.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import sys
import time

NAME, THREADS = (sys.argv[1], int(sys.argv[2])) if len(sys.argv) == 3 else ("", 0)


class Cannot(Exception):
    """Why this opponent does not do a case, or is not there."""


# ---- the case, as cli/bench/data.cpp makes it

PERIOD = 1048573  # values before they repeat; a prime, so that no two heads or tokens hold the same ones
ERROR_TOKENS = 64  # tokens whose result is compared with float64


def normals(seed: int, count: int):
    """The tool's own normal numbers, from SplitMix64 and Box-Muller."""
    import numpy as np

    def uniform(stream: int):
        with np.errstate(over="ignore"):
            z = (np.arange(PERIOD, dtype=np.uint64) * np.uint64(2) + np.uint64(stream) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
        return ((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    block = np.sqrt(-2.0 * np.log(uniform(1))) * np.cos(2.0 * np.pi * uniform(2))
    return np.resize(block.astype(np.float32), count)


class Case:
    """Shapes, and the float32 values of q and k before they are rounded to the case's dtype."""

    def __init__(self, asked: dict):
        self.in_place: bool = asked["in_place"]
        self.dtype: str = asked["dtype"]  # float32, bfloat16, float16
        self.interleaved: bool = asked["layout"] == "interleaved"
        self.order: str = asked["order"]  # bshd, bhsd
        self.tokens: int = asked["tokens"]
        self.heads: tuple[int, int] = (asked["query_heads"], asked["key_heads"])
        self.head_dim: int = asked["head_dim"]
        self.theta: float = asked["theta"]
        self.first_position: int = asked["first_position"]
        self.seed: int = asked["seed"]

    def shape(self, heads: int) -> tuple[int, ...]:
        return (1, self.tokens, heads, self.head_dim) if self.order == "bshd" else (1, heads, self.tokens, self.head_dim)

    def operands(self):
        """q and k in float32, in memory as the case says."""
        return [normals(self.seed + n, self.tokens * h * self.head_dim).reshape(self.shape(h)) for n, h in enumerate(self.heads)]

    def positions(self):
        import numpy as np

        return np.arange(self.first_position, self.first_position + self.tokens, dtype=np.int64)

    def cos_sin_float64(self, tokens):
        """[tokens, head_dim / 2] each, of the formula in float64."""
        import numpy as np

        pair = np.arange(self.head_dim // 2, dtype=np.float64)
        angle = (self.first_position + np.asarray(tokens, np.float64))[:, None] * self.theta ** (-2.0 * pair / self.head_dim)
        return np.cos(angle), np.sin(angle)

    def error(self, before, after) -> float:
        """The largest difference from float64. before, after: one (tokens -> [len(tokens), heads, head_dim] float64) an operand."""
        import numpy as np

        tokens = np.unique(np.linspace(0, self.tokens - 1, min(self.tokens, ERROR_TOKENS)).astype(np.int64))
        cos, sin = (x[:, None, :] for x in self.cos_sin_float64(tokens))
        worst = 0.0
        for read_before, read_after in zip(before, after):
            x, y = read_before(tokens), read_after(tokens)
            half = self.head_dim // 2
            first, second = (slice(0, None, 2), slice(1, None, 2)) if self.interleaved else (slice(0, half), slice(half, None))
            want = np.empty_like(x)
            want[..., first] = x[..., first] * cos - x[..., second] * sin
            want[..., second] = x[..., second] * cos + x[..., first] * sin
            worst = max(worst, float(np.max(np.abs(want - y))))
            if not np.all(np.isfinite(y)):
                raise Cannot("its result is not finite")
        return worst

    def reader(self, array):
        """Reads tokens of an array that lies as the case says, as float64 [tokens, heads, head_dim]."""
        import numpy as np

        if self.order == "bshd":
            return lambda tokens: np.asarray(array[0, tokens]).astype(np.float64)
        return lambda tokens: np.asarray(array[0][:, tokens]).astype(np.float64).transpose(1, 0, 2)


# ---- opponents: each has a version, and prepare(case) -> (call, error of one call)


class Torch:
    """transformers' own function of the Llama family, eager or compiled, with the cosines and sines that it shares between layers."""

    def __init__(self, compiled: bool):
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # else it starts processes for what is one kernel
        import torch
        import transformers
        from transformers.models.llama import modeling_llama

        self.torch, self.llama, self.compiled = torch, modeling_llama, compiled
        torch.set_num_threads(THREADS)
        torch.set_num_interop_threads(1)
        self.version = f"torch {torch.__version__}, transformers {transformers.__version__}"

    def prepare(self, case: Case):
        torch = self.torch
        if case.interleaved:
            raise Cannot("transformers' Llama turns halves")
        dtype = getattr(torch, case.dtype)
        stored = [torch.from_numpy(x).to(dtype) for x in case.operands()]
        q, k = (x.transpose(1, 2) if case.order == "bshd" else x for x in stored)  # the model sees heads before tokens
        config = self.llama.LlamaConfig(
            hidden_size=case.heads[0] * case.head_dim, num_attention_heads=case.heads[0], num_key_value_heads=case.heads[1],
            head_dim=case.head_dim, max_position_embeddings=case.first_position + case.tokens,
            rope_parameters={"rope_type": "default", "rope_theta": case.theta})
        rotary = self.llama.LlamaRotaryEmbedding(config)
        function = self.llama.apply_rotary_pos_emb
        if self.compiled:
            torch._dynamo.reset()
            function = torch.compile(function, fullgraph=True, dynamic=False)
        with torch.inference_mode():
            cos, sin = rotary(q, torch.from_numpy(case.positions())[None])
            out = function(q, k, cos, sin)
            read = lambda x: lambda tokens: x[0][:, tokens].double().numpy().transpose(1, 0, 2)  # noqa: E731
            error = case.error([read(q), read(k)], [read(x) for x in out])
        del out

        def call():
            with torch.inference_mode():
                function(q, k, cos, sin)

        return call, error


class OnnxRuntime:
    """Two RotaryEmbedding nodes of opset 23, cosines and sines of the positions given, outputs where they were the last time."""

    def __init__(self):
        import onnx
        import onnxruntime

        self.onnx, self.ort = onnx, onnxruntime
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def prepare(self, case: Case):
        import numpy as np

        if case.dtype == "bfloat16":
            raise Cannot("its CPU RotaryEmbedding takes float32 and float16")
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        kind = kinds.FLOAT if case.dtype == "float32" else kinds.FLOAT16
        inputs, outputs, nodes = [], [], []
        table = [1, case.tokens, case.head_dim // 2]
        for name, heads in zip("qk", case.heads):
            # [batch, tokens, heads * head_dim] where tokens come first, [batch, heads, tokens, head_dim] otherwise
            shape = [1, case.tokens, heads * case.head_dim] if case.order == "bshd" else list(case.shape(heads))
            inputs.append(helper.make_tensor_value_info(name, kind, shape))
            outputs.append(helper.make_tensor_value_info(name + "_out", kind, shape))
            nodes.append(helper.make_node("RotaryEmbedding", [name, "cos", "sin"], [name + "_out"], num_heads=heads,
                                          interleaved=int(case.interleaved)))
        inputs += [helper.make_tensor_value_info(name, kind, table) for name in ("cos", "sin")]
        model = helper.make_model(helper.make_graph(nodes, "rotary", inputs, outputs), ir_version=10,
                                  opset_imports=[helper.make_opsetid("", 23)])
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
        session = self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

        dtype = np.dtype(case.dtype)
        stored = [x.astype(dtype) for x in case.operands()]
        results = [np.empty_like(x) for x in stored]
        tables = [x[None].astype(dtype) for x in case.cos_sin_float64(np.arange(case.tokens))]
        binding = session.io_binding()
        for value, array in zip(inputs, [*stored, *tables]):
            binding.bind_input(value.name, "cpu", 0, dtype, [d.dim_value for d in value.type.tensor_type.shape.dim], array.ctypes.data)
        for value, array in zip(outputs, results):
            binding.bind_output(value.name, "cpu", 0, dtype, [d.dim_value for d in value.type.tensor_type.shape.dim], array.ctypes.data)
        keep = (stored, tables, results)
        run = session.run_with_iobinding
        run(binding)
        error = case.error([case.reader(x) for x in stored], [case.reader(x) for x in results])

        def call(_keep=keep):
            run(binding)

        return call, error


class Jax:
    """The rotation as JAX models write it, under jit; in place, its inputs are given away."""

    def __init__(self):
        # Read when jax starts. NPROC is what XLA's client takes for the number of cores.
        os.environ["NPROC"] = str(THREADS)
        if THREADS == 1:
            os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false").strip()
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        self.jax = jax
        self.version = f"jax {jax.__version__}"

    def prepare(self, case: Case):
        import numpy as np

        jax, jnp = self.jax, self.jax.numpy
        dtype = jnp.dtype(case.dtype)
        x = [jax.block_until_ready(jnp.asarray(a).astype(dtype)) for a in case.operands()]
        first = [np.asarray(a) for a in x] if not case.in_place else [np.array(a) for a in x]
        spread = (None, slice(None), None) if case.order == "bshd" else (None, None, slice(None))
        cos, sin = (jnp.asarray(t.astype(np.float32)[spread]).astype(dtype) for t in case.cos_sin_float64(np.arange(case.tokens)))

        def turned(a, cos, sin):
            if case.interleaved:
                pairs = a.reshape(*a.shape[:-1], -1, 2)
                a0, a1 = pairs[..., 0], pairs[..., 1]
                return jnp.stack([a0 * cos - a1 * sin, a1 * cos + a0 * sin], axis=-1).reshape(a.shape)
            a0, a1 = jnp.split(a, 2, axis=-1)
            return jnp.concatenate([a0 * cos - a1 * sin, a1 * cos + a0 * sin], axis=-1)

        rotate = jax.jit(lambda q, k, cos, sin: (turned(q, cos, sin), turned(k, cos, sin)), donate_argnums=(0, 1) if case.in_place else ())
        state = list(jax.block_until_ready(rotate(*x, cos, sin)))
        error = case.error([case.reader(a) for a in first], [case.reader(a) for a in state])
        del first
        if not case.in_place:
            del state
            return lambda: jax.block_until_ready(rotate(*x, cos, sin)), error
        del x

        def call():
            state[:] = jax.block_until_ready(rotate(*state, cos, sin))

        return call, error


class Ggml:
    """ggml_rope_ext on the shared libraries of llama-cpp-python; in place where asked, as llama.cpp's allocator makes it."""

    TYPES = {"float32": 0, "float16": 1}
    OVERHEAD = 1 << 20  # bytes for tensors' heads and the graph

    class InitParams(ctypes.Structure):
        _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]

    def __init__(self):
        try:
            self.version = "llama-cpp-python " + importlib.metadata.version("llama-cpp-python")
            # Found without importing the package, which would load more than is needed.
            folder = pathlib.Path(importlib.util.find_spec("llama_cpp").submodule_search_locations[0]) / "lib"
        except (importlib.metadata.PackageNotFoundError, AttributeError):
            raise Cannot("llama-cpp-python is not installed") from None
        library = lambda stem: ctypes.CDLL(str(next(iter(sorted(folder.glob(f"lib{stem}.*"))))), mode=ctypes.RTLD_GLOBAL)  # noqa: E731
        try:
            base, cpu = library("ggml-base"), library("ggml-cpu")
        except StopIteration:
            raise Cannot(f"no libggml-base and libggml-cpu in {folder}") from None
        pointer, i32, i64, f32 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float

        def function(home, name, result, *arguments):
            found = getattr(home, name)
            found.restype, found.argtypes = result, arguments
            return found

        self.init = function(base, "ggml_init", pointer, self.InitParams)
        self.free = function(base, "ggml_free", None, pointer)
        self.tensor_1d = function(base, "ggml_new_tensor_1d", pointer, pointer, i32, i64)
        self.tensor_3d = function(base, "ggml_new_tensor_3d", pointer, pointer, i32, i64, i64, i64)
        self.permute = function(base, "ggml_permute", pointer, pointer, pointer, i32, i32, i32, i32)
        self.data = function(base, "ggml_get_data", pointer, pointer)
        rope = (pointer, pointer, pointer, pointer, pointer, i32, i32, i32, f32, f32, f32, f32, f32, f32)
        self.rope = {True: function(base, "ggml_rope_ext_inplace", *rope), False: function(base, "ggml_rope_ext", *rope)}
        self.new_graph = function(base, "ggml_new_graph", pointer, pointer)
        self.expand = function(base, "ggml_build_forward_expand", None, pointer, pointer)
        self.compute = function(base, "ggml_backend_graph_compute", i32, pointer, pointer)
        self.backend = function(cpu, "ggml_backend_cpu_init", pointer)()
        function(cpu, "ggml_backend_cpu_set_n_threads", None, pointer, i32)(self.backend, THREADS)
        if not self.backend:
            raise Cannot("ggml_backend_cpu_init gave no backend")
        self.context = None

    def release(self):
        if self.context:
            self.free(self.context)
        self.context = None

    def prepare(self, case: Case):
        import numpy as np

        if case.dtype not in self.TYPES:
            raise Cannot("ggml's rope takes float32 and float16")
        if case.order == "bhsd":
            raise Cannot("llama.cpp rotates with tokens before heads")
        dtype = np.dtype(case.dtype)
        stored = [x.astype(dtype) for x in case.operands()]
        memory = sum(x.nbytes for x in stored) * (1 if case.in_place else 2) + case.tokens * 4 + self.OVERHEAD
        self.release()
        self.context = self.init(self.InitParams(memory, None, False))
        if not self.context:
            raise Cannot(f"ggml_init gave no {memory} bytes")
        where = self.tensor_1d(self.context, 26, case.tokens)  # GGML_TYPE_I32
        positions = case.positions().astype(np.int32)
        ctypes.memmove(self.data(where), positions.ctypes.data, positions.nbytes)
        graph, sources, results = self.new_graph(self.context), [], []
        for x, heads in zip(stored, case.heads):
            tensor = self.tensor_3d(self.context, self.TYPES[case.dtype], case.head_dim, heads, case.tokens)
            ctypes.memmove(self.data(tensor), x.ctypes.data, x.nbytes)
            sources.append(tensor)
            turned = self.rope[case.in_place](self.context, tensor, where, None, case.head_dim, 0 if case.interleaved else 2, 0, case.theta,
                                              1.0, 0.0, 1.0, 32.0, 1.0)
            results.append(turned)
            self.expand(graph, turned)
        compute, backend = self.compute, self.backend
        if compute(backend, graph) != 0:
            raise Cannot("ggml_backend_graph_compute failed")
        views = [np.frombuffer((ctypes.c_char * x.nbytes).from_address(self.data(t)), dtype).reshape(x.shape) for t, x in zip(results, stored)]
        error = case.error([case.reader(x) for x in stored], [case.reader(x) for x in views])
        return lambda: compute(backend, graph), error


OPPONENTS = {
    "torch-eager": lambda: Torch(compiled=False),
    "torch-compile": lambda: Torch(compiled=True),
    "onnxruntime": OnnxRuntime,
    "jax": Jax,
    "ggml": Ggml,
}


# ---- the conversation


def timed(call, calls: int) -> tuple[float, float]:
    """Wall and processor seconds of so many calls."""
    cpu, start = time.process_time(), time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start, time.process_time() - cpu


def main() -> int:
    if NAME not in OPPONENTS or THREADS < 1:
        print(__doc__, file=sys.stderr)
        return 2
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**content):
        answers.write(json.dumps(content) + "\n")

    # OpenMP runtimes read it when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    try:
        opponent = OPPONENTS[NAME]()
    except ImportError as error:
        answer(unavailable=f"{error.name or error} is not installed")
        return 0
    except Cannot as error:
        answer(unavailable=str(error))
        return 0
    answer(version=opponent.version)
    call, seconds = None, 0.0
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            call = None
            try:
                call, error = opponent.prepare(Case(request["prepare"]))
            except Cannot as reason:
                answer(cannot=str(reason))
                continue
            timed(call, 1)
            seconds = timed(call, 1)[0]
            answer(max_abs_error=error)
        elif "sample" in request:
            wanted = float(request["sample"])
            calls = max(1, min(1 << 20, round(wanted / max(seconds, 1e-9) + 0.5)))
            if seconds < wanted:  # the threads of the one measured before may still be spinning
                seconds = timed(call, calls)[0] / calls
                calls = max(1, min(1 << 20, round(wanted / max(seconds, 1e-9) + 0.5)))
            wall, cpu = timed(call, calls)
            seconds = wall / calls
            answer(seconds=seconds, calls=calls, cores=cpu / wall)
        elif "release" in request:
            call = None
            if hasattr(opponent, "release"):
                opponent.release()
            answer(released=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
