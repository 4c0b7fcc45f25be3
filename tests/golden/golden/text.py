"""Families with one axis, and every scaling of their frequencies.

A config has the keys that positions depend on, in the shape that the named checkpoint is published in; `source` names
the checkpoint, and "own numbers" says where values are not the published ones.
"""

from __future__ import annotations

import struct

from .encoding import Family, one_axis, oracle


def spelled(name: str, base: dict, theta: float, rope: dict | None = None, source: str = "", partial: float | None = None,
            forms=("v4 type", "v4 rope_type", "v5 flat"), partial_key="partial_rotary_factor") -> dict:
    """One model in several spellings. `rope`: what scales it, with rope_type; None for nothing."""
    out = {}
    kind = (rope or {}).get("rope_type", "default")
    rest = {k: v for k, v in (rope or {}).items() if k != "rope_type"}
    top = {} if partial is None else {partial_key: partial}
    for form in forms:
        if form == "v4 null":
            config = base | {"rope_theta": theta, "rope_scaling": None} | top
        elif form == "v4 type":
            config = base | {"rope_theta": theta, "rope_scaling": {"type": kind} | rest} | top
        elif form == "v4 rope_type":
            config = base | {"rope_theta": theta, "rope_scaling": {"rope_type": kind} | rest} | top
        elif form == "v5 flat":
            inside = {} if partial is None else {"partial_rotary_factor": partial}
            config = base | {"rope_parameters": {"rope_type": kind, "rope_theta": theta} | rest | inside}
        else:
            raise ValueError(form)
        out[f"{name}, {form}"] = {"spelling": form, "source": source, "config": config}
    return out


def plainly(name, base, theta, source, **more):
    return spelled(name, base, theta, None, source, forms=("v4 null", "v5 flat"), **more)


def gguf(name: str, arch: str, keys: dict, source: str, tensors: dict | None = None) -> dict:
    """GGUF metadata as JSON: every value of the file under its key, float32 tensors under their name."""
    meta = {"general.architecture": arch} | {f"{arch}.{k}": v for k, v in keys.items()}
    config = {"gguf": meta} | ({"tensors": tensors} if tensors else {})
    return {f"{name}, gguf": {"spelling": "gguf", "source": source, "config": config}}


def asked(configs: dict, kind: str = "default", layer: int = 0, only: str = "") -> list:
    return [(name, kind, layer) for name in configs if only in name]


def llama_shape(model_type, hidden, heads, kv, layers, context, **more) -> dict:
    return {"model_type": model_type, "hidden_size": hidden, "num_attention_heads": heads, "num_key_value_heads": kv,
            "num_hidden_layers": layers, "max_position_embeddings": context} | more


SMOLLM2 = llama_shape("llama", 576, 9, 3, 30, 8192)
QWEN25 = llama_shape("qwen2", 896, 14, 2, 24, 32768)
LLAMA32 = llama_shape("llama", 2048, 32, 8, 16, 131072, head_dim=64)
LLAMA31 = llama_shape("llama", 4096, 32, 8, 32, 131072)


def plain_half() -> Family:
    smol = plainly("SmolLM2-135M", SMOLLM2, 100000.0, "HuggingFaceTB/SmolLM2-135M-Instruct")
    bare = {"Llama-2-7b, theta not said": {
        "spelling": "v4 without rope_theta", "source": "meta-llama/Llama-2-7b-hf as first published",
        "config": llama_shape("llama", 4096, 32, 32, 32, 4096, rope_scaling=None)}}
    qwen = plainly("Qwen2.5-0.5B", QWEN25, 1000000.0, "Qwen/Qwen2.5-0.5B-Instruct")
    qwen |= gguf("Qwen2.5-0.5B", "qwen2", {
        "block_count": 24, "context_length": 32768, "embedding_length": 896, "attention.head_count": 14,
        "attention.head_count_kv": 2, "rope.freq_base": 1000000.0}, "Qwen/Qwen2.5-0.5B-Instruct-GGUF")
    nano = plainly("nanochat", llama_shape("nanochat", 1280, 10, 10, 20, 2048), 10000.0,
                   "karpathy/nanochat-d20 as converted for transformers")
    return Family(
        "plain_half", "No scaling; channel c turns with channel c + d/2.",
        ["RoFormer, Su et al. 2021 (arXiv 2104.09864)", "transformers models/llama/modeling_llama.py",
         "transformers models/nanochat/modeling_nanochat.py: turns the other way"],
        smol | bare | qwen | nano, [
            one_axis("SmolLM2-135M", head_dim=64, theta=100000.0, trained=8192, asked_by=asked(smol)),
            one_axis("Llama-2-7b", head_dim=128, theta=10000.0, trained=4096, asked_by=asked(bare)),
            one_axis("Qwen2.5-0.5B", head_dim=64, theta=1000000.0, trained=32768, asked_by=asked(qwen)),
            one_axis("nanochat", head_dim=128, theta=10000.0, trained=2048, clockwise=True, asked_by=asked(nano)),
        ])


def plain_interleaved() -> Family:
    cohere = plainly("Command-R", llama_shape("cohere", 8192, 64, 64, 40, 8192), 8000000.0,
                     "CohereForAI/c4ai-command-r-v01")
    ernie = plainly("ERNIE-4.5-0.3B", llama_shape("ernie4_5", 1024, 16, 2, 18, 131072, head_dim=128), 500000.0,
                    "baidu/ERNIE-4.5-0.3B-PT")
    helium = plainly("Helium-1-2B", llama_shape("helium", 2048, 16, 8, 28, 4096, head_dim=128), 100000.0,
                     "kyutai/helium-1-2b, theta an own number")
    roformer = {"RoFormer-base, v4": {
        "spelling": "no key says theta", "source": "junnyu/roformer_chinese_base",
        "config": {"model_type": "roformer", "hidden_size": 768, "embedding_size": 768, "num_attention_heads": 12,
                   "num_hidden_layers": 12, "max_position_embeddings": 1536, "rotary_value": False}}}
    llama = gguf("SmolLM2-135M", "llama", {
        "block_count": 30, "context_length": 8192, "embedding_length": 576, "attention.head_count": 9,
        "attention.head_count_kv": 3, "rope.dimension_count": 64, "rope.freq_base": 100000.0},
        "SmolLM2-135M-Instruct.Q4_1.gguf")
    return Family(
        "plain_interleaved", "No scaling; channel 2c turns with channel 2c + 1.",
        ["transformers models/cohere/modeling_cohere.py: rotate_half", "transformers models/ernie4_5/modeling_ernie4_5.py",
         "transformers models/helium/modeling_helium.py",
         "transformers models/roformer/modeling_roformer.py: RoFormerSinusoidalPositionalEmbedding",
         "llama.cpp src/llama-model.cpp: llama_model_rope_type; converters permute the rows of Q and K"],
        cohere | ernie | helium | roformer | llama, [
            one_axis("Command-R", head_dim=128, theta=8000000.0, trained=8192, layout="interleaved",
                     asked_by=asked(cohere)),
            one_axis("ERNIE-4.5-0.3B", head_dim=128, theta=500000.0, trained=131072, layout="interleaved",
                     asked_by=asked(ernie)),
            one_axis("Helium-1-2B", head_dim=128, theta=100000.0, trained=4096, layout="interleaved",
                     asked_by=asked(helium)),
            one_axis("RoFormer-base", head_dim=64, theta=10000.0, trained=1536, layout="interleaved",
                     asked_by=asked(roformer)),
            one_axis("SmolLM2-135M in GGUF", head_dim=64, theta=100000.0, trained=8192, layout="interleaved",
                     asked_by=asked(llama), note="the same model as in plain_half, behind the converter's permutation"),
        ])


def partial() -> Family:
    pythia = spelled("Pythia-70M", {
        "model_type": "gpt_neox", "hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 6,
        "max_position_embeddings": 2048}, 10000.0, None, "EleutherAI/pythia-70m", partial=0.25, forms=("v5 flat",))
    pythia |= {"Pythia-70M, v4": {"spelling": "v4 rotary_pct, rotary_emb_base", "source": "EleutherAI/pythia-70m",
                                  "config": {"model_type": "gpt_neox", "hidden_size": 512, "num_attention_heads": 8,
                                             "num_hidden_layers": 6, "max_position_embeddings": 2048,
                                             "rotary_pct": 0.25, "rotary_emb_base": 10000}}}
    phi = plainly("Phi-2", llama_shape("phi", 2560, 32, 32, 32, 2048), 10000.0, "microsoft/phi-2", partial=0.4)
    stable = plainly("StableLM-2-1.6B", llama_shape("stablelm", 2048, 32, 32, 24, 4096), 10000.0,
                     "stabilityai/stablelm-2-1_6b", partial=0.25)
    gptj = {"GPT-J-6B, v4": {
        "spelling": "v4 rotary_dim", "source": "EleutherAI/gpt-j-6b",
        "config": {"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 28, "n_positions": 2048,
                   "rotary_dim": 64}}}
    codegen = {"CodeGen-350M, v4": {
        "spelling": "v4 rotary_dim", "source": "Salesforce/codegen-350M-mono",
        "config": {"model_type": "codegen", "n_embd": 1024, "n_head": 16, "n_layer": 20, "n_positions": 2048,
                   "rotary_dim": 32}}}
    glm4 = plainly("GLM-4-9B-0414", llama_shape("glm4", 4096, 32, 2, 40, 32768, head_dim=128), 10000.0,
                   "THUDM/GLM-4-9B-0414", partial=0.5)
    air = plainly("GLM-4.5-Air", llama_shape("glm4_moe", 4096, 96, 8, 46, 131072, head_dim=128), 1000000.0,
                  "zai-org/GLM-4.5-Air", partial=0.5)
    nxt = plainly("Qwen3-Next-80B", llama_shape("qwen3_next", 2048, 16, 2, 4, 262144, head_dim=256,
                                                layer_types=["linear_attention"] * 3 + ["full_attention"]),
                  10000000.0, "Qwen/Qwen3-Next-80B-A3B-Instruct, four of its layers", partial=0.25)
    m2 = {"MiniMax-M2, v4": {
        "spelling": "v4 rotary_dim", "source": "MiniMaxAI/MiniMax-M2",
        "config": llama_shape("minimax_m2", 3072, 48, 8, 62, 196608, head_dim=128, rotary_dim=64, rope_theta=5000000)}}
    moon = plainly("Moonshine-tiny", {
        "model_type": "moonshine", "hidden_size": 288, "encoder_num_attention_heads": 8, "decoder_num_attention_heads": 8,
        "encoder_num_hidden_layers": 6, "decoder_num_hidden_layers": 6, "max_position_embeddings": 194}, 10000.0,
        "UsefulSensors/moonshine-tiny", partial=0.9)
    full = asked(nxt, "full_attention", 3)
    return Family(
        "partial", "The first d of the head's channels turn, on a ladder over d; the others keep their bits.",
        ["transformers modeling_gpt_neox.py, modeling_phi.py, modeling_stablelm.py, modeling_gptj.py, modeling_codegen.py, "
         "modeling_glm4.py (interleaved), modeling_glm4_moe.py (half), modeling_qwen3_next.py, modeling_minimax_m2.py, "
         "modeling_moonshine.py (trunc(0.9 * 36) = 32)"],
        pythia | phi | stable | gptj | codegen | glm4 | air | nxt | m2 | moon, [
            one_axis("Pythia-70M", head_dim=64, rotary_dim=16, theta=10000.0, trained=2048, asked_by=asked(pythia)),
            one_axis("Phi-2", head_dim=80, rotary_dim=32, theta=10000.0, trained=2048, asked_by=asked(phi)),
            one_axis("StableLM-2-1.6B", head_dim=64, rotary_dim=16, theta=10000.0, trained=4096, asked_by=asked(stable)),
            one_axis("GPT-J-6B", head_dim=256, rotary_dim=64, theta=10000.0, trained=2048, layout="interleaved",
                     asked_by=asked(gptj)),
            one_axis("CodeGen-350M", head_dim=64, rotary_dim=32, theta=10000.0, trained=2048, layout="interleaved",
                     asked_by=asked(codegen)),
            one_axis("GLM-4-9B-0414", head_dim=128, rotary_dim=64, theta=10000.0, trained=32768, layout="interleaved",
                     asked_by=asked(glm4)),
            one_axis("GLM-4.5-Air", head_dim=128, rotary_dim=64, theta=1000000.0, trained=131072, asked_by=asked(air)),
            one_axis("Qwen3-Next-80B", head_dim=256, rotary_dim=64, theta=10000000.0, trained=262144, asked_by=full),
            one_axis("Qwen3-Next-80B linear attention", head_dim=256, theta=10000000.0, trained=262144, rotates=False,
                     positions=[0, 1, 131071], asked_by=[], note="layers of this kind have no positions"),
            one_axis("MiniMax-M2", head_dim=128, rotary_dim=64, theta=5000000.0, trained=196608, asked_by=asked(m2)),
            one_axis("Moonshine-tiny", head_dim=36, rotary_dim=32, theta=10000.0, trained=194, layout="interleaved",
                     asked_by=asked(moon)),
        ])


DEEPSEEK = {"model_type": "deepseek_v3", "hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128,
            "num_hidden_layers": 61, "max_position_embeddings": 163840, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
            "v_head_dim": 128, "kv_lora_rank": 512, "q_lora_rank": 1536}


def mla() -> Family:
    lite = plainly("GLM-4.7-Flash", {
        "model_type": "glm4_moe_lite", "hidden_size": 2048, "num_attention_heads": 20, "num_key_value_heads": 20,
        "num_hidden_layers": 47, "max_position_embeddings": 202752, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64,
        "v_head_dim": 256, "kv_lora_rank": 512, "q_lora_rank": 768}, 1000000.0, "zai-org/GLM-4.7-Flash")
    youtu = plainly("Youtu-LLM-2B", {
        "model_type": "youtu", "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16,
        "num_hidden_layers": 32, "max_position_embeddings": 131072, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "v_head_dim": 128, "kv_lora_rank": 512, "q_lora_rank": 1536, "rope_interleave": True}, 1600000.0,
        "tencent/Youtu-LLM-2B-Base")
    mini = plainly("MiniCPM3-4B without its factors", {
        "model_type": "minicpm3", "hidden_size": 2560, "num_attention_heads": 40, "num_key_value_heads": 40,
        "num_hidden_layers": 62, "max_position_embeddings": 32768, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32,
        "v_head_dim": 64, "kv_lora_rank": 256, "q_lora_rank": 768}, 10000.0, "openbmb/MiniCPM3-4B, own numbers")
    note = "the order of channels is that of the weights; code that de-interleaves first gives the same scores"
    return Family(
        "mla", "Latent attention: the last qk_rope_head_dim channels of a query or key head turn, on a ladder of their own.",
        ["transformers models/deepseek_v3/modeling_deepseek_v3.py: apply_rotary_pos_emb_interleave",
         "transformers models/glm4_moe_lite, models/youtu, models/minicpm3 (half)"],
        lite | youtu | mini, [
            one_axis("GLM-4.7-Flash", head_dim=256, rotary_dim=64, offset=192, theta=1000000.0, trained=202752,
                     layout="interleaved", asked_by=asked(lite), note=note),
            one_axis("Youtu-LLM-2B", head_dim=192, rotary_dim=64, offset=128, theta=1600000.0, trained=131072,
                     layout="interleaved", asked_by=asked(youtu), note=note),
            one_axis("MiniCPM3-4B without its factors", head_dim=96, rotary_dim=32, offset=64, theta=10000.0,
                     trained=32768, asked_by=asked(mini)),
        ])


def linear() -> Family:
    rope = {"rope_type": "linear", "factor": 4.0}
    chat = spelled("LongChat", llama_shape("llama", 4096, 32, 32, 32, 16384), 10000.0, {"rope_type": "linear", "factor": 8.0},
                   "lmsys/longchat-7b-16k (its monkey patch as a config)")
    coder = spelled("DeepSeek-Coder-1.3B", llama_shape("llama", 2048, 16, 16, 24, 16384), 100000.0, rope,
                    "deepseek-ai/deepseek-coder-1.3b-base")
    file = gguf("DeepSeek-Coder-1.3B", "llama", {
        "block_count": 24, "context_length": 16384, "embedding_length": 2048, "attention.head_count": 16,
        "rope.dimension_count": 128, "rope.freq_base": 100000.0, "rope.scaling.type": "linear",
        "rope.scaling.factor": 4.0}, "deepseek-coder-1.3b-base in GGUF")
    return Family(
        "linear", "Position interpolation: every frequency divided by the factor.",
        ["Chen et al. 2023 (arXiv 2306.15595)", "transformers modeling_rope_utils.py: linear"], chat | coder | file, [
            one_axis("LongChat", head_dim=128, theta=10000.0, trained=16384, scaling="linear", params={"factor": 8.0},
                     asked_by=asked(chat)),
            one_axis("DeepSeek-Coder-1.3B", head_dim=128, theta=100000.0, trained=16384, scaling="linear",
                     params={"factor": 4.0}, asked_by=asked(coder)),
            one_axis("DeepSeek-Coder-1.3B in GGUF", head_dim=128, theta=100000.0, trained=16384, scaling="linear",
                     params={"factor": 4.0}, layout="interleaved", asked_by=asked(file)),
        ])


def dynamic_ntk() -> Family:
    rope = {"rope_type": "dynamic", "factor": 2.0}
    configs = spelled("Llama-2-7b, dynamic 2", llama_shape("llama", 4096, 32, 32, 32, 4096), 10000.0, rope,
                      "in the shape of meta-llama/Llama-2-7b-hf, with dynamic scaling")
    lengths = (100, 4096, 4097, 8192, 16384, 131072, 1048576, 10**7 + 1)
    encodings = [one_axis(f"Llama-2-7b, dynamic 2, at {n} tokens", head_dim=128, theta=10000.0, trained=4096,
                          scaling="dynamic", params={"factor": 2.0}, running_length=n, asked_by=asked(configs),
                          positions=[p for p in (1, 0, n // 2, n - 1, -3)]) for n in lengths]
    return Family(
        "dynamic_ntk", "The base grows with the tokens that the sequence has reached (running_length): plain up to "
                       "max_position_embeddings, larger beyond, and plain again for a sequence that is shorter.",
        ["reddit.com/u/emozilla, 2023: dynamic NTK", "transformers modeling_rope_utils.py: dynamic"], configs, encodings)


def ntk_alpha() -> Family:
    rope = {"rope_type": "dynamic", "alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
            "mscale_all_dim": 0.0}
    configs = spelled("Hunyuan-1.8B", llama_shape("hunyuan_v1_dense", 2048, 16, 4, 32, 262144, head_dim=128), 10000.0, rope,
                      "tencent/Hunyuan-1.8B-Instruct", forms=("v4 type", "v5 flat"))
    return Family(
        "ntk_alpha", "theta' = theta * alpha^(d/(d-2)), once; the type says dynamic and nothing grows.",
        ["transformers models/hunyuan_v1_dense/modeling_hunyuan_v1_dense.py",
         "positions stay below max_position_embeddings: past it, transformers' generic code forgets alpha"], configs, [
            one_axis("Hunyuan-1.8B", head_dim=128, theta=10000.0, trained=262144, scaling="ntk",
                     params={"factor": 1000.0}, asked_by=asked(configs),
                     positions=[1, 0, 131072, 131071, 262143, -1])])


def ntk_fixed() -> Family:
    base = llama_shape("llama", 2048, 16, 16, 24, 16384)
    fixed = spelled("NTK fixed", base, 10000.0, {"rope_type": "ntk", "factor": 8.0}, "vLLM's words, own numbers",
                    forms=("v4 type", "v4 rope_type"))
    mixed = spelled("NTK mixed", base, 10000.0, {"rope_type": "ntk", "factor": 8.0, "mixed_b": 0.625},
                    "vLLM's words, own numbers", forms=("v4 type", "v4 rope_type"))
    return Family(
        "ntk_fixed", "theta' = theta * s and divided by s^(2/d) (fixed); or g = f / exp(a (i+1)^b), a = ln s / (d/2)^b (mixed).",
        ["kexue.fm/archives/9706", "vLLM rotary_embedding/ntk_scaling_rope.py"], fixed | mixed, [
            one_axis("NTK fixed", head_dim=128, theta=10000.0, trained=16384, scaling="ntk",
                     params={"factor": 8.0, "form": "fixed"}, asked_by=asked(fixed)),
            one_axis("NTK mixed", head_dim=128, theta=10000.0, trained=16384, scaling="ntk",
                     params={"factor": 8.0, "form": "mixed", "mixed_b": 0.625}, asked_by=asked(mixed)),
        ])


def yarn() -> Family:
    p = {"factor": 4.0, "original_max_position_embeddings": 32768}
    qwen = spelled("Qwen2.5-0.5B, YaRN 4", QWEN25 | {"max_position_embeddings": 131072}, 1000000.0, {"rope_type": "yarn"} | p,
                   "Qwen/Qwen2.5-0.5B-Instruct, with the scaling that the Qwen2.5 model cards give")
    given = {"factor": 4.0, "original_max_position_embeddings": 32768, "attention_factor": 1.0}
    one = spelled("Qwen2.5-0.5B, YaRN 4, attention_factor 1", QWEN25 | {"max_position_embeddings": 131072}, 1000000.0,
                  {"rope_type": "yarn"} | given, "own numbers", forms=("v4 rope_type", "v5 flat"))
    g = {"factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
    oss = spelled("gpt-oss-20b", llama_shape("gpt_oss", 2880, 64, 8, 24, 131072, head_dim=64), 150000.0,
                  {"rope_type": "yarn"} | g, "openai/gpt-oss-20b", forms=("v4 rope_type", "v5 flat"))
    cut = dict(g, truncate=True)
    cut_configs = spelled("gpt-oss-20b, truncated", llama_shape("gpt_oss", 2880, 64, 8, 24, 131072, head_dim=64), 150000.0,
                          {"rope_type": "yarn"} | cut, "own numbers: what GPT-OSS is not", forms=("v5 flat",))
    file = gguf("Qwen2.5-0.5B, YaRN 4", "qwen2", {
        "block_count": 24, "context_length": 131072, "embedding_length": 896, "attention.head_count": 14,
        "attention.head_count_kv": 2, "rope.freq_base": 1000000.0, "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32768}, "in the shape of Qwen2.5's files")
    return Family(
        "yarn", "NTK by parts with a factor on cosine and sine.",
        ["Peng et al. 2023 (arXiv 2309.00071)", "transformers modeling_rope_utils.py: yarn"],
        qwen | one | oss | cut_configs | file, [
            one_axis("Qwen2.5-0.5B, YaRN 4", head_dim=64, theta=1000000.0, trained=131072, scaling="yarn", params=p,
                     asked_by=asked(qwen) + asked(file)),
            one_axis("Qwen2.5-0.5B, YaRN 4, attention_factor 1", head_dim=64, theta=1000000.0, trained=131072,
                     scaling="yarn", params=given, asked_by=asked(one)),
            one_axis("gpt-oss-20b", head_dim=64, theta=150000.0, trained=131072, scaling="yarn", params=g,
                     asked_by=asked(oss)),
            one_axis("gpt-oss-20b, truncated", head_dim=64, theta=150000.0, trained=131072, scaling="yarn", params=cut,
                     asked_by=asked(cut_configs)),
        ])


def yarn_mscale() -> Family:
    v3 = {"factor": 40.0, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
          "mscale_all_dim": 1.0}
    v2 = dict(v3, mscale=0.707, mscale_all_dim=0.707)
    odd = dict(v3, mscale=1.0, mscale_all_dim=0.707)
    r1 = spelled("DeepSeek-V3", DEEPSEEK, 10000.0, {"rope_type": "yarn"} | v3, "deepseek-ai/DeepSeek-V3",
                 forms=("v4 type", "v5 flat"))
    lite_base = {"model_type": "deepseek_v2", "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 16,
                 "num_hidden_layers": 27, "max_position_embeddings": 163840, "qk_nope_head_dim": 128,
                 "qk_rope_head_dim": 64, "v_head_dim": 128, "kv_lora_rank": 512, "q_lora_rank": None}
    lite = spelled("DeepSeek-V2-Lite", lite_base, 10000.0, {"rope_type": "yarn"} | v2, "deepseek-ai/DeepSeek-V2-Lite",
                   forms=("v4 type", "v5 flat"))
    k2p = {"factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0,
           "mscale_all_dim": 1.0}
    k2 = spelled("Kimi-K2", DEEPSEEK | {"num_attention_heads": 64, "num_key_value_heads": 64,
                                        "max_position_embeddings": 131072}, 50000.0, {"rope_type": "yarn"} | k2p,
                 "moonshotai/Kimi-K2-Instruct (model_type deepseek_v3 in its older files)", forms=("v4 type",))
    unequal = spelled("DeepSeek-V3, mscale 1 over 0.707", DEEPSEEK, 10000.0, {"rope_type": "yarn"} | odd, "own numbers",
                      forms=("v5 flat",))
    mla_head = {"head_dim": 192, "rotary_dim": 64, "offset": 128, "layout": "interleaved", "scaling": "yarn"}
    return Family(
        "yarn_mscale", "YaRN where mscale and mscale_all_dim decide: gm(mscale)/gm(mscale_all_dim) on cosine and sine, "
                       "gm(mscale_all_dim)^2 on the softmax scale, gm(a) = 0.1 a ln s + 1.",
        ["transformers models/deepseek_v3/modeling_deepseek_v3.py", "deepseek-ai/DeepSeek-V2 modeling_deepseek.py"],
        r1 | lite | k2 | unequal, [
            one_axis("DeepSeek-V3", theta=10000.0, trained=163840, params=v3 | {"scale_softmax": True}, asked_by=asked(r1),
                     **mla_head),
            one_axis("DeepSeek-V2-Lite", theta=10000.0, trained=163840, params=v2 | {"scale_softmax": True},
                     asked_by=asked(lite), **mla_head),
            one_axis("Kimi-K2", theta=50000.0, trained=131072, params=k2p | {"scale_softmax": True}, asked_by=asked(k2),
                     **mla_head),
            one_axis("DeepSeek-V3, mscale 1 over 0.707", theta=10000.0, trained=163840, params=odd | {"scale_softmax": True},
                     asked_by=asked(unequal), **mla_head),
        ])


def yarn_telechat3() -> Family:
    p = {"factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0, "beta_slow": 1.0}
    configs = spelled("TeleChat3", llama_shape("telechat3", 4096, 32, 8, 32, 131072, head_dim=128), 1000000.0,
                      {"rope_type": "telechat3-yarn"} | p, "vLLM's words, own numbers", forms=("v4 type",))
    return Family(
        "yarn_telechat3", "YaRN with 0.07 ln s + 1 on cosine and sine.",
        ["vLLM rotary_embedding/telechat3_scaling_rope.py; another port takes 0.1"], configs, [
            one_axis("TeleChat3", head_dim=128, theta=1000000.0, trained=131072, scaling="yarn",
                     params=p | {"coefficient": 0.07}, asked_by=asked(configs))])


def llama3() -> Family:
    small = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    large = dict(small, factor=8.0)
    one = spelled("Llama-3.2-1B", LLAMA32, 500000.0, {"rope_type": "llama3"} | small, "meta-llama/Llama-3.2-1B")
    eight = spelled("Llama-3.1-8B", LLAMA31, 500000.0, {"rope_type": "llama3"} | large, "meta-llama/Llama-3.1-8B",
                    forms=("v4 rope_type", "v5 flat"))
    exact = oracle.inv_freq(500000.0, 64, "llama3", small)
    plain = oracle.inv_freq(500000.0, 64)
    divisors = [struct.unpack("<f", struct.pack("<f", float(p / g)))[0] for p, g in zip(plain, exact, strict=True)]
    file = gguf("Llama-3.2-1B", "llama", {
        "block_count": 16, "context_length": 131072, "embedding_length": 2048, "attention.head_count": 32,
        "attention.head_count_kv": 8, "attention.key_length": 64, "rope.dimension_count": 64,
        "rope.freq_base": 500000.0}, "in the shape of Llama-3.2-1B's files", {"rope_freqs.weight": divisors})
    equal = {"factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 8192}
    scout = spelled("equal factors", LLAMA32, 500000.0, {"rope_type": "llama3"} | equal,
                    "Llama 4 Scout's two equal factors on a Llama, own numbers", forms=("v5 flat",))
    return Family(
        "llama3", "By wavelength: short ones kept, long ones divided, a blend between them.",
        ["transformers modeling_rope_utils.py: llama3", "llama.cpp: rope_freqs.weight"], one | eight | file | scout, [
            one_axis("Llama-3.2-1B", head_dim=64, theta=500000.0, trained=131072, scaling="llama3", params=small,
                     asked_by=asked(one)),
            one_axis("Llama-3.1-8B", head_dim=128, theta=500000.0, trained=131072, scaling="llama3", params=large,
                     asked_by=asked(eight)),
            one_axis("Llama-3.2-1B in GGUF", head_dim=64, theta=500000.0, trained=131072, scaling="divisors",
                     params={"divisors": divisors}, layout="interleaved", asked_by=asked(file),
                     note="by the divisors as the file holds them, in float32"),
            one_axis("equal factors", head_dim=64, theta=500000.0, trained=131072, scaling="llama3", params=equal,
                     asked_by=asked(scout), note="the blend divides by zero where it is not guarded"),
        ])


def longrope() -> Family:
    short = [1.0 + 0.0625 * (j // 8) for j in range(48)]
    long = [1.0 + 0.25 * j + 0.0625 * (j * j % 7) for j in range(48)]
    base = llama_shape("phi3", 3072, 32, 32, 32, 131072, original_max_position_embeddings=4096)
    rope = {"rope_type": "longrope", "short_factor": short, "long_factor": long}
    phi = spelled("Phi-3.5-mini", base, 10000.0, rope, "microsoft/Phi-3.5-mini-instruct with lists of own numbers")
    phi["Phi-3.5-mini, su"] = {"spelling": "v4 su", "source": "microsoft/Phi-3-mini-128k-instruct as first published, "
                               "with lists of own numbers",
                               "config": base | {"rope_theta": 10000.0, "rope_scaling": {
                                   "type": "su", "short_factor": short, "long_factor": long}}}
    p = {"short_factor": short, "long_factor": long, "original_max_position_embeddings": 4096, "factor": 32.0}
    four = spelled("Phi-4-mini", llama_shape("phi3", 3072, 24, 8, 32, 131072, original_max_position_embeddings=4096), 10000.0,
                   rope, "microsoft/Phi-4-mini-instruct with lists of own numbers", partial=0.75,
                   forms=("v4 type", "v5 flat"))
    moe_rope = rope | {"short_mscale": 1.25, "long_mscale": 1.5, "original_max_position_embeddings": 4096}
    moe = spelled("Phi-3.5-MoE", llama_shape("phimoe", 4096, 32, 8, 32, 131072, head_dim=96), 10000.0, moe_rope,
                  "in the shape of microsoft/Phi-3.5-MoE-instruct, own numbers", forms=("v5 flat",))
    moe_p = p | {"short_mscale": 1.25, "long_mscale": 1.5}
    out = []
    for n in (100, 4096, 4097, 131072, 10**7 + 1):
        where = [1, 0, n // 2, n - 1, -3]
        out.append(one_axis(f"Phi-3.5-mini at {n} tokens", head_dim=96, theta=10000.0, trained=131072, scaling="longrope",
                            params=p, running_length=n, positions=where, asked_by=asked(phi)))
    for n in (4096, 131072):
        where = [1, 0, n // 2, n - 1]
        out.append(one_axis(f"Phi-4-mini at {n} tokens", head_dim=128, rotary_dim=96, theta=10000.0, trained=131072,
                            scaling="longrope", params=p, running_length=n, positions=where, asked_by=asked(four)))
        out.append(one_axis(f"Phi-3.5-MoE at {n} tokens", head_dim=96, theta=10000.0, trained=131072, scaling="longrope",
                            params=moe_p, running_length=n, positions=where, asked_by=asked(moe)))
    return Family(
        "longrope", "One of two lists of divisors: the long one once the running length is above the trained context.",
        ["Ding et al. 2024 (arXiv 2402.13753)", "transformers modeling_rope_utils.py: longrope",
         "transformers models/phimoe/modeling_phimoe.py: mscales"], phi | four | moe, out)


def proportional() -> Family:
    types = ["sliding_attention"] * 5 + ["full_attention"]
    base = llama_shape("gemma4_text", 1536, 8, 1, 6, 131072, head_dim=256, layer_types=types, sliding_window=512)
    nested = {"Gemma-4-E2B, v5 nested": {
        "spelling": "v5 nested", "source": "google/gemma-4-E2B-it, six of its layers",
        "config": base | {"per_layer_config": {"full_attention": {"head_dim": 512}}, "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0}}}}}
    older = {"Gemma-4-E2B, global_head_dim": {
        "spelling": "v5 nested, global_head_dim", "source": "google/gemma-4-E2B-it as first published, six of its layers",
        "config": base | {"global_head_dim": 512, "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0}}}}}
    configs = older
    full = one_axis("Gemma-4-E2B full attention", head_dim=512, theta=1000000.0, trained=131072, scaling="proportional",
                    params={"partial_rotary_factor": 0.25}, asked_by=asked(configs, "full_attention", 5),
                    positions=[1, 0, 65536, 131072, *(2**17 - 1, 2**20 - 1, 10**7), -1])
    slide = one_axis("Gemma-4-E2B sliding attention", head_dim=256, theta=10000.0, trained=131072,
                     asked_by=asked(configs, "sliding_attention", 0),
                     positions=[1, 0, 131072, *(2**17 - 1, 2**20 - 1, 10**7), -1])
    return Family(
        "proportional", "A ladder over the whole head of which the first pairs turn; the others stand still.",
        ["transformers models/gemma4/modeling_gemma4.py", "transformers modeling_rope_utils.py: proportional"], configs,
        [full, slide])


def dual_theta() -> Family:
    types = ["sliding_attention"] * 5 + ["full_attention"]
    g3 = llama_shape("gemma3_text", 2560, 8, 4, 6, 131072, head_dim=256, sliding_window=1024)
    gemma = {
        "Gemma-3-4B, v4": {"spelling": "v4 rope_local_base_freq", "source": "google/gemma-3-4b-it, six of its layers",
                           "config": g3 | {"rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
                                           "sliding_window_pattern": 6,
                                           "rope_scaling": {"rope_type": "linear", "factor": 8.0}}},
        "Gemma-3-4B, v5 nested": {"spelling": "v5 nested", "source": "google/gemma-3-4b-it as saved by transformers 5",
                                  "config": g3 | {"layer_types": types, "rope_parameters": {
                                      "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                                      "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}}}},
    }
    bert = {"ModernBERT-base, v4": {
        "spelling": "v4 global_rope_theta, local_rope_theta", "source": "answerdotai/ModernBERT-base, three of its layers",
        "config": {"model_type": "modernbert", "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 3,
                   "max_position_embeddings": 8192, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0,
                   "global_attn_every_n_layers": 3, "local_attention": 128}}}
    olmo_rope = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
                 "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0}
    olmo_types = ["sliding_attention"] * 3 + ["full_attention"]
    olmo = {"Olmo-3-7B, v4": {
        "spelling": "v4, scaling for full layers only", "source": "allenai/Olmo-3-1025-7B, four of its layers",
        "config": llama_shape("olmo3", 4096, 32, 32, 4, 65536, rope_theta=500000.0, rope_scaling=olmo_rope,
                              sliding_window=4096, layer_types=olmo_types)}}
    mimo = {"MiMo-V2-Flash, v5 nested": {
        "spelling": "v5 nested", "source": "in the shape of XiaomiMiMo/MiMo-V2-Flash, two layers",
        "config": llama_shape("mimo_v2_flash", 4096, 64, 4, 2, 262144, head_dim=192, v_head_dim=128,
                              layer_types=["full_attention", "sliding_attention"], rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 5000000.0, "partial_rotary_factor": 0.334},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.334}})}}
    far = [1, 0, 4096, 8192, 2**17 - 1, 2**20 - 1, 10**7, -1]
    linear8 = {"factor": 8.0}
    return Family(
        "dual_theta", "Each kind of layer has a base, a scaling or a width of its own.",
        ["transformers models/gemma3, models/modernbert, models/olmo3, models/mimo_v2_flash"], gemma | bert | olmo | mimo, [
            one_axis("Gemma-3-4B full attention", head_dim=256, theta=1000000.0, trained=131072, scaling="linear",
                     params=linear8, positions=far, asked_by=asked(gemma, "full_attention", 5)),
            one_axis("Gemma-3-4B sliding attention", head_dim=256, theta=10000.0, trained=131072, positions=far,
                     asked_by=asked(gemma, "sliding_attention", 0)),
            one_axis("ModernBERT-base full attention", head_dim=64, theta=160000.0, trained=8192,
                     asked_by=asked(bert, "full_attention", 0)),
            one_axis("ModernBERT-base sliding attention", head_dim=64, theta=10000.0, trained=8192,
                     asked_by=asked(bert, "sliding_attention", 1)),
            one_axis("Olmo-3-7B full attention", head_dim=128, theta=500000.0, trained=65536, scaling="yarn",
                     params=olmo_rope, asked_by=asked(olmo, "full_attention", 3)),
            one_axis("Olmo-3-7B sliding attention", head_dim=128, theta=500000.0, trained=65536,
                     asked_by=asked(olmo, "sliding_attention", 0)),
            one_axis("MiMo-V2-Flash full attention", head_dim=192, rotary_dim=64, theta=5000000.0, trained=262144,
                     positions=far, asked_by=asked(mimo, "full_attention", 0)),
            one_axis("MiMo-V2-Flash sliding attention", head_dim=192, rotary_dim=64, theta=10000.0, trained=262144,
                     positions=far, asked_by=asked(mimo, "sliding_attention", 1)),
        ])


def nope_layers() -> Family:
    smol = plainly("SmolLM3-3B", llama_shape("smollm3", 2048, 16, 4, 4, 65536, no_rope_layers=[1, 1, 1, 0]), 5000000.0,
                   "HuggingFaceTB/SmolLM3-3B, four of its layers")
    r7b = plainly("Command-R7B", llama_shape("cohere2", 4096, 32, 8, 4, 8192, sliding_window=4096, layer_types=[
        "sliding_attention"] * 3 + ["full_attention"]), 50000.0, "CohereForAI/c4ai-command-r7b-12-2024, four of its layers")
    p = {"factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    exaone = spelled("EXAONE-4.0-32B", llama_shape("exaone4", 5120, 40, 8, 4, 131072, head_dim=128, sliding_window=4096,
                                                   layer_types=["sliding_attention"] * 3 + ["full_attention"]),
                     1000000.0, {"rope_type": "llama3"} | p, "LGAI-EXAONE/EXAONE-4.0-32B, four of its layers",
                     forms=("v4 rope_type", "v5 flat"))
    still = {"positions": [0, 1, 131071], "rotates": False, "trained": 8192}
    return Family(
        "nope_layers", "Some layers turn nothing at all.",
        ["transformers models/smollm3 (no_rope_layers: 1 means that it turns), models/cohere2, models/exaone4"],
        smol | r7b | exaone, [
            one_axis("SmolLM3-3B", head_dim=128, theta=5000000.0, trained=65536, asked_by=asked(smol, "default", 0)),
            one_axis("SmolLM3-3B layers that do not turn", head_dim=128, theta=5000000.0,
                     asked_by=asked(smol, "nope", 3), **still),
            one_axis("Command-R7B", head_dim=128, theta=50000.0, trained=8192, layout="interleaved",
                     asked_by=asked(r7b, "sliding_attention", 0)),
            one_axis("Command-R7B full attention", head_dim=128, theta=50000.0, asked_by=asked(r7b, "full_attention", 3),
                     **still),
            one_axis("EXAONE-4.0-32B", head_dim=128, theta=1000000.0, trained=131072, scaling="llama3", params=p,
                     asked_by=asked(exaone, "sliding_attention", 0)),
            one_axis("EXAONE-4.0-32B full attention", head_dim=128, theta=1000000.0,
                     asked_by=asked(exaone, "full_attention", 3), **still),
        ])


def query_temperature() -> Family:
    p = {"factor": 16.0, "original_max_position_embeddings": 16384, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
         "mscale_all_dim": 1.0}
    ministral = {"Ministral-3-3B, v5 flat": {
        "spelling": "v5 flat", "source": "mistralai/Ministral-3-3B-Instruct-2512",
        "config": llama_shape("ministral3", 3072, 32, 8, 26, 262144, head_dim=128, rope_parameters={
            "rope_type": "yarn", "rope_theta": 1000000.0, "llama_4_scaling_beta": 0.1} | p)}}
    scout_p = {"factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 8192}
    scout = spelled("Llama-4-Scout", llama_shape("llama4_text", 5120, 40, 8, 4, 10485760, head_dim=128,
                                                 no_rope_layers=[1, 1, 1, 0], attn_temperature_tuning=True,
                                                 floor_scale=8192, attn_scale=0.1), 500000.0,
                    {"rope_type": "llama3"} | scout_p, "in the shape of meta-llama/Llama-4-Scout-17B-16E, four layers",
                    forms=("v4 rope_type", "v5 flat"))
    return Family(
        "query_temperature", "A factor on the query alone that grows with its position: 1 + beta ln(1 + floor((p + offset) / n)).",
        ["transformers models/ministral3/modeling_ministral3.py: get_llama_4_attn_scale (every layer, offset 0)",
         "transformers models/llama4/modeling_llama4.py (layers that do not turn, offset 1)"], ministral | scout, [
            one_axis("Ministral-3-3B", head_dim=128, theta=1000000.0, trained=262144, scaling="yarn", params=p,
                     temperature=(0.1, 16384, 0), asked_by=asked(ministral)),
            one_axis("Llama-4-Scout", head_dim=128, theta=500000.0, trained=262144, layout="interleaved", scaling="llama3",
                     params=scout_p, asked_by=asked(scout, "default", 0)),
            one_axis("Llama-4-Scout layers that do not turn", head_dim=128, theta=500000.0, trained=262144, rotates=False,
                     temperature=(0.1, 8192, 1), positions=[0, 1, 8190, 8191, 131071, 10**7],
                     asked_by=asked(scout, "nope", 3)),
        ])


def encoders() -> Family:
    esm = {"ESM-2 8M, v4": {
        "spelling": "v4, theta not said", "source": "facebook/esm2_t6_8M_UR50D",
        "config": {"model_type": "esm", "hidden_size": 320, "num_attention_heads": 20, "num_hidden_layers": 6,
                   "max_position_embeddings": 1026, "position_embedding_type": "rotary"}}}
    eurobert = plainly("EuroBERT-210m", llama_shape("eurobert", 768, 12, 12, 12, 8192), 250000.0, "EuroBERT/EuroBERT-210m")
    csm = spelled("CSM-1B", llama_shape("csm", 2048, 32, 8, 16, 2048, head_dim=64), 500000.0, {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 0.125, "high_freq_factor": 0.5,
        "original_max_position_embeddings": 1024}, "sesame/csm-1b", forms=("v4 rope_type", "v5 flat"))
    nomic = plainly("nomic-embed-text", llama_shape("nomic_bert", 768, 12, 12, 12, 2048, head_dim=64), 1000.0,
                    "nomic-ai/nomic-embed-text-v1.5 as saved by transformers 5")
    del nomic["nomic-embed-text, v4 null"]
    return Family(
        "encoders", "Encoders, speech and time series: plain ladders with bases and tables of their own.",
        ["transformers models/esm/modeling_esm.py", "transformers models/eurobert, models/csm, models/nomic_bert"],
        esm | eurobert | csm | nomic, [
            one_axis("ESM-2 8M", head_dim=16, theta=10000.0, trained=1026, asked_by=asked(esm)),
            one_axis("EuroBERT-210m", head_dim=64, theta=250000.0, trained=8192, asked_by=asked(eurobert)),
            one_axis("CSM-1B", head_dim=64, theta=500000.0, trained=2048, scaling="llama3", params={
                "factor": 32.0, "low_freq_factor": 0.125, "high_freq_factor": 0.5,
                "original_max_position_embeddings": 1024}, asked_by=asked(csm)),
            one_axis("nomic-embed-text", head_dim=64, theta=1000.0, trained=2048, asked_by=asked(nomic)),
        ])


SHORT = [1, 0, 4096, 2**17 - 1, 2**20 - 1, 10**7, -1]


def nested_labels() -> Family:
    """Models whose layer types have names of their own, or where a type has no entry or an entry of null."""
    plain, far = {"rope_type": "default", "rope_theta": 10000.0}, SHORT
    lfm = llama_shape("lfm3", 2048, 16, 4, 3, 128000, head_dim=128, layer_types=[
        "conv", "full_attention", "sliding_attention"], rope_parameters={
        "sliding_attention": plain,
        "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.5}})
    laguna = llama_shape("laguna", 2048, 48, 8, 2, 131072, head_dim=128, num_attention_heads_per_layer=[48, 48],
                         mlp_layer_types=["dense", "sparse"], layer_types=["full_attention", "sliding_attention"],
                         rope_parameters={
        "full_attention": {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
        "sliding_attention": plain | {"partial_rotary_factor": 1.0}})
    zaya = llama_shape("zaya", 2048, 8, 2, 2, 131072, head_dim=128, sliding_window=4096, layer_types=["hybrid", "hybrid_sliding"],
                       rope_parameters={
        "hybrid": {"rope_type": "default", "rope_theta": 5000000.0, "partial_rotary_factor": 0.5},
        "hybrid_sliding": plain | {"partial_rotary_factor": 0.5}})
    beam = llama_shape("beam", 5120, 48, 8, 2, 8192, head_dim=128, layer_types=["sliding_attention", "full_attention"],
                       mlp_layer_types=["dense", "dense"],
                       rope_parameters={"sliding_attention": plain, "full_attention": None})
    dots = llama_shape("dots3_note_text", 5120, 128, 128, 2, 524288, head_dim=256, qk_rope_head_dim=64, qk_nope_head_dim=128,
                       v_head_dim=128, kv_lora_rank=512, q_lora_rank=1536, mlp_layer_types=["dense", "sparse"],
                       layer_types=["indexed_attention", "sliding_attention"], rope_parameters={
        "indexed_attention": {"rope_type": "default", "rope_theta": 80000000.0, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 50000.0, "partial_rotary_factor": 0.25}},
        per_layer_config={"1": {"num_attention_heads": 64, "num_key_value_heads": 64, "kv_lora_rank": 1024,
                                "qk_nope_head_dim": 192}})
    muse = llama_shape("muse_glimmer_text", 6656, 32, 8, 4, 131072, head_dim=128, layer_rope_theta=[10000.0, 10000.0, 10000.0, 0],
                       layer_types=["sliding_attention"] * 3 + ["full_attention"], rope_parameters=plain)

    def one(name, config, source):
        return {f"{name}, v5 nested": {"spelling": "v5 nested", "source": f"in the shape of {source}", "config": config}}

    files = {
        "LFM3": one("LFM3", lfm, "transformers' Lfm3Config, three layers"),
        "Laguna": one("Laguna", laguna, "transformers' LagunaConfig, two layers"),
        "Zaya": one("Zaya", zaya, "transformers' ZayaConfig, two layers"),
        "Beam": one("Beam", beam, "transformers' BeamConfig, two layers"),
        "dots3.note": one("dots3.note", dots, "transformers' Dots3NoteTextConfig, two layers"),
        "Muse Glimmer": one("Muse Glimmer", muse, "transformers' MuseGlimmerTextConfig, four layers"),
    }

    def layer(name, kind, index, **more):
        return one_axis(f"{name} {kind}", positions=list(far), asked_by=asked(files[name], kind, index), **more)

    full = {"head_dim": 128, "trained": 131072}
    latent = {"layout": "interleaved", "rotary_dim": 64, "trained": 524288}
    return Family(
        "nested_labels", "Layer types under their own names, each with its parameters; null, no entry or a base of 0: no rotation.",
        ["transformers models/lfm3, laguna, zaya, beam, dots3_note, muse_glimmer"],
        {k: v for made in files.values() for k, v in made.items()}, [
            layer("LFM3", "full_attention", 1, theta=1000000.0, scaling="proportional",
                  params={"partial_rotary_factor": 0.5}, **full),
            layer("LFM3", "sliding_attention", 2, theta=10000.0, **full),
            layer("Laguna", "full_attention", 0, theta=500000.0, rotary_dim=64, **full),
            layer("Laguna", "sliding_attention", 1, theta=10000.0, **full),
            layer("Zaya", "hybrid", 0, theta=5000000.0, rotary_dim=64, **full),
            layer("Zaya", "hybrid_sliding", 1, theta=10000.0, rotary_dim=64, **full),
            layer("Beam", "sliding_attention", 0, theta=10000.0, **full),
            layer("dots3.note", "indexed_attention", 0, head_dim=192, offset=128, theta=80000000.0, **latent),
            layer("dots3.note", "sliding_attention", 1, head_dim=256, offset=192, theta=50000.0, **latent),
            layer("Muse Glimmer", "sliding_attention", 0, theta=10000.0, **full),
            one_axis("Muse Glimmer layers that do not turn", positions=[0, 1, 131071], theta=10000.0, rotates=False,
                     asked_by=asked(files["Muse Glimmer"], "full_attention", 3), **full),
        ])


def speech() -> Family:
    made = [
        ("Mimi", llama_shape("mimi", 512, 8, 8, 8, 8000, head_dim=64), 64, 10000.0, "kyutai/mimi"),
        ("Moshi", llama_shape("moshi", 4096, 32, 32, 32, 3000, head_dim=128), 128, 10000.0, "kmhf/hf-moshiko"),
        ("Kyutai STT", llama_shape("kyutai_speech_to_text", 2048, 32, 32, 48, 750, head_dim=64), 64, 10000.0,
         "transformers' KyutaiSpeechToTextConfig"),
        ("TimesFM 2.5", llama_shape("timesfm2_5", 1280, 16, 16, 20, 16384, head_dim=80), 80, 10000.0,
         "transformers' TimesFm2_5Config"),
        ("Voxtral Realtime encoder", llama_shape("voxtral_realtime_encoder", 1280, 32, 32, 32, 1500, head_dim=64), 64, 10000.0,
         "transformers' VoxtralRealtimeEncoderConfig"),
        ("PE audio", llama_shape("pe_audio_encoder", 1792, 14, 14, 6, 10000, head_dim=128), 128, 20000.0,
         "transformers' PeAudioEncoderConfig"),
        ("PE video", llama_shape("pe_video_encoder", 1792, 14, 14, 6, 10000, head_dim=128), 128, 20000.0,
         "transformers' PeVideoEncoderConfig"),
        ("Pocket TTS", llama_shape("pocket_tts", 1024, 16, 16, 6, 8192, head_dim=64), 64, 10000.0,
         "transformers' PocketTTSConfig"),
        ("X-Codec 2", llama_shape("xcodec2", 1024, 16, 16, 12, 4096, head_dim=64), 64, 10000.0, "transformers' Xcodec2Config"),
        ("NeuCodec", llama_shape("neucodec", 1024, 16, 16, 12, 4096, head_dim=64), 64, 10000.0, "transformers' NeuCodecConfig"),
    ]
    configs, encodings = {}, []
    for name, base, head_dim, theta, source in made:
        mine = {f"{name}, v5 flat": {"spelling": "v5 flat", "source": f"in the shape of {source}", "config": base | {
            "rope_parameters": {"rope_type": "default", "rope_theta": theta}}}}
        configs |= mine
        encodings.append(one_axis(name, head_dim=head_dim, theta=theta, trained=base["max_position_embeddings"],
                                  layout="interleaved" if name.startswith("PE ") else "half", positions=list(SHORT),
                                  asked_by=asked(mine)))
    return Family("speech", "Speech, sound, video and time series: plain ladders, each with a base and a context of its own.",
                  ["transformers models/mimi, moshi, kyutai_speech_to_text, timesfm2_5, voxtral_realtime, pe_audio, pe_video, "
                   "pocket_tts, xcodec2, neucodec; neighbours in pe_audio and pe_video alone"], configs, encodings)


FAMILIES = (plain_half, plain_interleaved, partial, mla, linear, dynamic_ntk, ntk_alpha, ntk_fixed, yarn, yarn_mscale,
            yarn_telechat3, llama3, longrope, proportional, dual_theta, nope_layers, query_temperature, encoders, nested_labels,
            speech)
