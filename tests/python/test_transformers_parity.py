"""Runs transformers over its own config classes and holds every answer of ours against what its modules compute.

For every model type that transformers knows: its default config, and the same with linear, dynamic, yarn, llama3,
longrope and proportional parameters where the class takes them, in the present and the older spelling. The oracle is
transformers' own rotary module and its own function that applies cosine and sine; nothing here knows a formula.

A model type is either answered with the same numbers, or refused. `python test_transformers_parity.py --write FILE`
writes the outcome as a table.
"""

import ast
import copy
import importlib
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from transformers import CONFIG_MAPPING
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name

ROOT = pathlib.Path(__file__).resolve().parents[2]
DUMP = pathlib.Path(os.environ.get("ROPEWALK_DUMP", ROOT / "build/tests/config/dump_positions"))

EXACT = 2e-6  # relative; transformers' chain is rounded to float32 at every step
FP32_ULPS = 1  # one more where torch's own power is not the correctly rounded one (its reciprocal may double that)

# Rope parameters to try, besides a class's own default. `ctx` is max_position_embeddings, `pairs` what turns.
VARIANTS = {
    "linear": lambda ctx, pairs: {"rope_type": "linear", "factor": 4.0},
    "dynamic": lambda ctx, pairs: {"rope_type": "dynamic", "factor": 2.0},
    "yarn": lambda ctx, pairs: {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": max(ctx // 4, 1)},
    "llama3": lambda ctx, pairs: {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192},
    "longrope": lambda ctx, pairs: {
        "rope_type": "longrope", "short_factor": [1.0 + 0.01 * i for i in range(pairs)],
        "long_factor": [1.0 + 0.3 * i for i in range(pairs)], "original_max_position_embeddings": max(ctx // 4, 1)},
    "yarn-mscale": lambda ctx, pairs: {
        "rope_type": "yarn", "factor": 8.0, "mscale": 1.0, "mscale_all_dim": 0.707, "beta_fast": 24, "beta_slow": 2,
        "truncate": False, "original_max_position_embeddings": max(ctx // 4, 1)},
    "proportional": lambda ctx, pairs: {"rope_type": "proportional", "partial_rotary_factor": 0.5},
}
# The five that every class is asked for; a type counts as agreeing only if none of these is refused where its class
# takes it.
ASKED = ("default", "linear", "dynamic", "yarn", "llama3")

# Which layers turn, in the words of transformers' modeling files (`if self.use_rope`, `if self.sliding_window is not
# None`, ...), as far as a config says it. Everything else turns everywhere.
LAYERS = {
    "afmoe": lambda c, i: c.layer_types[i] == "sliding_attention",
    "beam": lambda c, i: c.layer_types[i] == "sliding_attention",
    "cohere2": lambda c, i: c.layer_types[i] == "sliding_attention",
    "cohere2_moe": lambda c, i: c.layer_types[i] == "sliding_attention" or (
        c.mlp_layer_types[i] == "dense" and c.prefix_dense_sliding_window_pattern == 1),
    "exaone4": lambda c, i: c.sliding_window is None or c.layer_types[i] == "sliding_attention",
    "exaone_moe": lambda c, i: c.sliding_window is None or c.layer_types[i] == "sliding_attention",
    "kolibri1": lambda c, i: c.sliding_window is None or c.layer_types[i] == "sliding_attention",
    "flint": lambda c, i: c.layer_types[i] == "sliding_attention",
    "qwen4_exp_text": lambda c, i: c.layer_types[i] == "indexed_attention",
    "smollm3": lambda c, i: bool(c.no_rope_layers[i]),
    "llama4_text": lambda c, i: bool(c.no_rope_layers[i]),
    "muse_glimmer_text": lambda c, i: c.layer_rope_theta[i] != 0,
    "muse_spark_text": lambda c, i: c.layer_rope_theta[i] != 0,
    "granite_swa": lambda c, i: c.layer_rope_theta[i] != 0,
    "granitemoe_swa": lambda c, i: c.layer_rope_theta[i] != 0,
    "mllama_text_model": lambda c, i: i not in c.cross_attention_layers,
    "recurrent_gemma": lambda c, i: c.layers_block_type[i] == "sliding_attention",
    "zamba2": lambda c, i: c.use_mem_rope and c.layers_block_type[i] == "hybrid",
    "granitemoehybrid": lambda c, i: c.position_embedding_type == "rope" and c.layer_types[i] == "full_attention",
    "lfm3": lambda c, i: c.layer_types[i] != "conv",
    "falcon": lambda c, i: not c.alibi,
    "esm": lambda c, i: c.position_embedding_type == "rotary",
} | {
    name: lambda c, i: c.layer_types[i] == "full_attention"
    for name in ("bailing_hybrid", "bamba", "lfm2", "lfm2_moe", "minimax", "olmo_hybrid", "qwen3_5_moe_text",
                 "qwen3_5_text", "qwen3_next")
}


# Model types of published checkpoints with code of their own. Each has a row, or is refused with its reason.
ELSEWHERE = (
    "RefinedWeb", "RefinedWebModel", "Yi", "baichuan", "bailing_moe", "bailing_moe_linear", "bailing_moe_v2", "chatglm",
    "codeshell", "exaone", "falcon_ocr", "falcon_perception", "gpt_refact", "grok-1", "internlm2", "jais", "kimi_k2",
    "kimi_vl", "llada2_moe", "minimax_m1", "minimax_text_01", "mistral_large_3", "moondream1", "moondream3", "moonvit",
    "neobert",
    "openelm", "orion", "plamo", "plamo2", "plamo3", "plm", "qwen", "smallthinker", "telechat3", "xverse",
)
MODULE_RULE = ("the classes of torch.nn.Module in models/*/modeling_*.py whose name says Rotary, RoPE or Rope and that "
               "make angles themselves")
REASONED = "want a family that this version describes"
# Parts of configs whose own classes have no model type: ReadOptions::part names them.
NAMELESS = ("esmfold2_atom_encoder", "evolla_protein_encoder", "musicflamingo_time", "qwen3_omni_moe_code2wav",
            "qwen3_omni_moe_talker", "vjepa2_predictor")
# Several axes of a picture, angles that are no rotation, or a module of its own: test_rotary_modules.py compares these.
BY_MODULE = re.compile(
    r"_vision(_encoder|_model)?$|^(clvp_encoder|cohere_compass_text|deepseek_v4|dinov3_vit|dots3_note_text|"
    r"dots3_note_audio_encoder|edgetam_video|efficientloftr|eomt_dinov3|gemma4_vision|hunyuan_vl_text|mistral_large4_text|neomme|pixtral|qwen2_5_omni_dit|"
    r"sam2_video|sam3_tracker_video|sam3_vit_model|sapiens2|seamless_m4t|vjepa2|wav2vec2-bert|wav2vec2-conformer)$")
# Composites of composites.
NESTED = ("colmodernvbert", "colpali", "colqwen2", "pi0", "qwen2_5_omni", "qwen3_omni_moe", "sam3", "sam3_lite_text",
          "sam3_tracker")
# What a class insists on.
WHOLE = {name: {"text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}} for name in (
    "gemma4_assistant", "gemma4_unified_assistant")}
# Whose defaults make no module.
INCOMPLETE = ("cohere_compass_text", "hunyuan_vl_text")
# The part that a composite means where it is not text_config.
MEANT = {
    "blt": "decoder_config", "chmv2": "backbone_config", "colmodernvbert": "vlm_config", "colpali": "vlm_config",
    "colqwen2": "vlm_config", "deepseek_ocr2_vision": "encoder_config", "dia": "decoder_config",
    "esmfold2": "esmc_config", "lasr_ctc": "encoder_config", "nemotron3_5_transcribe_audio": "asr_config",
    "nemotron3_diarization": "audio_config", "pi0": "vlm_config", "qwen2_5_omni": "thinker_config",
    "qwen2_5_omni_token2wav": "dit_config", "qwen3_omni_moe": "thinker_config", "sam3": "vision_config",
    "sam3_lite_text": "vision_config", "sam3_tracker": "vision_config", "sam3_video": "tracker_config",
    "sam3_vision_model": "backbone_config", "t5gemma": "decoder", "t5gemma2": "decoder",
}


def ask(requests):
    """One answer a request, from one process."""
    lines = "\n".join(json.dumps(r) for r in requests) + "\n"
    run = subprocess.run([DUMP], input=lines, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers


# ---- transformers' side ------------------------------------------------------------------------------------------


def as_json(config, diff=False):
    """As save_pretrained writes it."""
    return json.loads(config.to_json_string(use_diff=diff))


def modeling(config):
    name = model_type_to_module_name(config.model_type)
    if config.model_type == "step3p5":
        name = "step3p7"
    for kind in ("modeling", "modular"):
        try:
            return importlib.import_module(f"transformers.models.{name}.{kind}_{name}")
        except ModuleNotFoundError:
            continue
    return None


def source_of(config_class):
    """The code of the classes that take this config, and of whatever of their file these name; else the whole file."""
    module = importlib.import_module(config_class.__module__.replace("configuration_", "modeling_"))
    source = inspect.getsource(module)
    parts = {node.name: ast.get_source_segment(source, node) for node in ast.parse(source).body
             if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    takes = re.compile(rf"config: \"?{config_class.__name__}\b|config_class = {config_class.__name__}\b")
    todo, found = [name for name, text in parts.items() if takes.search(text)], set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            named = set(re.findall(r"\w+", re.sub(r'"[^"\n]*"', "", parts[name])))
            todo += [other for other in named & set(parts) if not other.endswith("PreTrainedModel")]
    return "\n".join(parts[name] for name in sorted(found)) or source


def rotary_class(config):
    """The module class whose constructor is annotated with this config's class, or the only one that could be meant."""
    module = modeling(config)
    if module is None:
        return None
    classes = [c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, torch.nn.Module)
               and re.search(r"Rotary(Positional)?Emb", n)]
    annotated = []
    for c in classes:
        parameter = inspect.signature(c.__init__).parameters.get("config")
        wanted = getattr(parameter, "annotation", None)
        wanted = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "")
        if wanted == type(config).__name__:
            annotated.append(c)
    if annotated:
        return annotated[0]
    text = [c for c in classes if not re.search(r"Vision|Audio|Encoder|DiT|SaProt", c.__name__)]
    return text[0] if text else None


class Oracle:
    """What transformers computes for a config."""

    def __init__(self, config):
        self.config = config
        self.modeling = modeling(config)
        cls = rotary_class(config)
        self.module = None if cls is None else cls(config)

    def kinds(self):
        """{layer type or None: module buffer name prefix}"""
        if self.module is None:
            return {}
        if hasattr(self.module, "inv_freq"):
            return {None: ""}
        return {t: f"{t}_" for t in self.module.layer_types if hasattr(self.module, f"{t}_inv_freq")}

    def table(self, kind, positions):
        """cos and sin of one angle a pair at positions [axes or 1][T], float32."""
        positions = torch.tensor(positions)
        ids = positions[0][None] if len(positions) == 1 else positions[:, None]
        x = torch.zeros(1, 1, dtype=torch.float32)
        extra = () if kind is None else (kind,)
        out = self.module(x, ids, *extra)
        if torch.is_tensor(out):  # one complex factor a pair
            return out.real[0].numpy(), out.imag[0].numpy(), out
        return out[0][0].numpy(), out[1][0].numpy(), out

    def inv_freq(self, kind, running_length=None):
        if running_length is not None:
            self.table(kind, [[running_length - 1]])
        return getattr(self.module, self.kinds()[kind] + "inv_freq").double().numpy()

    def softmax(self):
        apply = getattr(self.modeling, "yarn_apply_mscale", None)
        return 1.0 if apply is None else float(apply(self.config.rope_parameters, 1.0))

    def turn(self, kind, positions, q, complex_or_tables):
        """q [T, channels] through the function that the model calls, or None if it has another signature."""
        m = self.modeling
        x = torch.tensor(q, dtype=torch.float32)[None, None]  # [1, 1, T, channels]
        if torch.is_tensor(complex_or_tables):
            if self.config.model_type == "llama4_text":  # [1, T, heads, channels]
                return m.apply_rotary_emb(x.transpose(1, 2), x.transpose(1, 2), complex_or_tables)[0][0, :, 0].numpy()
            return m.apply_rotary_emb(x, x, complex_or_tables)[0][0, 0].numpy()
        cos, sin = complex_or_tables
        interleave = getattr(m, "apply_rotary_pos_emb_interleave", None)
        apply = getattr(m, "apply_rotary_pos_emb", None)
        if interleave is not None and getattr(self.config, "rope_interleave", True) is not False:
            apply = interleave
        if apply is None:
            return None
        names = list(inspect.signature(apply).parameters)
        if names[:4] == ["q", "k", "cos", "sin"]:
            return apply(x, x, cos, sin)[0][0, 0].numpy()
        if names[:3] == ["x", "cos", "sin"]:
            return apply(x, cos, sin)[0, 0].numpy()
        return None


class TableOracle(Oracle):
    """GPT-J, CodeGen and RoFormer: a table made by a function instead of a module."""

    def __init__(self, config):
        super().__init__(config)
        if config.model_type == "roformer":
            embedding = self.modeling.RoFormerSinusoidalPositionalEmbedding(
                2, config.hidden_size // config.num_attention_heads)
            weight = embedding.create_weight()
        else:
            weight = self.modeling.create_sinusoidal_positions(2, config.rotary_dim)
        self.sines = weight[1, : weight.shape[1] // 2].double().numpy()

    def kinds(self):
        return {None: ""}

    def inv_freq(self, kind, running_length=None):
        return np.arcsin(self.sines)  # every angle at position 1 is at most 1 radian

    def turn_once(self, q):
        """q [1, channels that turn] at position 1, through the function that the model calls."""
        sin = torch.tensor(self.sines, dtype=torch.float32)
        cos = torch.sqrt(1 - sin.double() ** 2).float()
        x = torch.tensor(q)[None, None]
        if self.config.model_type == "roformer":
            apply = self.modeling.RoFormerSelfAttention.apply_rotary_position_embeddings
            return apply(torch.cat([sin, cos])[None, None, None], x, x)[0][0, 0].numpy()
        return self.modeling.apply_rotary_pos_emb(x, sin[None, None], cos[None, None])[0, 0].numpy()


def oracle_of(config):
    return (TableOracle if config.model_type in ("gptj", "codegen", "roformer") else Oracle)(config)


def text_config(config):
    """The config of the part that a composite means, its language model mostly."""
    key = MEANT.get(config.model_type)
    if key is None and hasattr(config, "rope_parameters") and config.model_type != "musicflamingo":
        return None
    inner = getattr(config, key or "text_config", None)
    deeper = None if inner is None or not key else text_config(inner)
    return inner if deeper is None else deeper


def older_spelling(data):
    """rope_parameters as a 4.x file has them: rope_theta and partial_rotary_factor beside rope_scaling with `type`."""
    rope = data.get("rope_parameters")
    if not isinstance(rope, dict) or any(isinstance(v, dict) or v is None for v in rope.values()):
        return None
    data = copy.deepcopy(data)
    rope = data.pop("rope_parameters")
    for key, older in (("rope_theta", "rope_theta"), ("partial_rotary_factor", "partial_rotary_factor")):
        if key in rope:
            data[older] = rope.pop(key)
    if data["model_type"].startswith("gpt_neox"):
        data["rotary_emb_base"], data["rotary_pct"] = data.pop("rope_theta"), data.pop("partial_rotary_factor")
    kind = rope.pop("rope_type", "default")
    rope.pop("type", None)
    data["rope_scaling"] = None if kind == "default" and not rope else {"type": kind, **rope}
    if data["rope_scaling"] is None and as_json(CONFIG_MAPPING[data["model_type"]]()).get("rope_parameters", {}).get(
            "rope_type", "default") != "default":
        return None  # null means something else to each generation; ours refuses it
    return data


# Keys that a config may leave out. What a class assumes then must be what ours assumes, or ours must refuse.
DROPPED = ("rope_parameters", "rope_theta", "head_dim", "layer_types", "no_rope_layers", "no_rope_layer_interval",
           "layer_rope_theta", "mlp_layer_types", "layers_block_type", "per_layer_config", "qk_rope_head_dim",
           "qk_nope_head_dim", "rope_interleave", "sliding_window", "sliding_window_pattern", "rotary_dim", "kv_channels",
           "attn_layer_indices", "block_types", "global_attn_every_n_layers", "full_attention_interval",
           "layer_group_size", "cross_attention_layers", "rope_scaling_layers", "position_embedding_type",
           "use_mem_rope", "alibi", "num_hidden_layers", "max_position_embeddings")

# Settings that single families have, beside rope parameters.
SETTINGS = {
    "minimax_m2": [{"rotary_dim": 64}],
    "exaone4": [{"sliding_window": None}],
    "exaone_moe": [{"layer_types": ["sliding_attention", "full_attention"] * 16}],
    "falcon": [{"alibi": True}],
    "esm": [{"position_embedding_type": "rotary"}, {"position_embedding_type": "rotary", "rope_theta": 5e5},
            {"position_embedding_type": "relative_key"}],
    "moonshine": [{"hidden_size": 416}, {"partial_rotary_factor": 0.5}, {"pad_head_dim_to_multiple_of": 8}],
    "cohere2_moe": [{"first_k_dense_replace": 2},
                    {"first_k_dense_replace": 2, "prefix_dense_sliding_window_pattern": 2}],
    "llama4_text": [{"no_rope_layers": [1, 0] * 24}, {"no_rope_layers": []}],
    "smollm3": [{"no_rope_layer_interval": 3}],
    "molmo2_text": [{"rope_scaling_layers": [0, 1]}],
    "granite_swa": [{"layer_rope_theta": [10000.0, 0] * 12}],
    "muse_glimmer_text": [{"layer_rope_theta": [10000.0, 0] * 26}],
    "deepseek_v3": [{"rope_interleave": False}],
    "youtu": [{"rope_interleave": False}],
    "bamba": [{"attn_layer_indices": [3, 7]}],
    "lfm2": [{"full_attn_idxs": [2, 5]}],
    "gemma3_text": [{"sliding_window_pattern": 2}, {"rope_theta": 5e5, "rope_local_base_freq": 2e4},
                    {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}],
    "gemma3n_text": [{"rope_theta": 5e5, "rope_local_base_freq": 2e4}],
    "t5gemma2_text": [{"rope_theta": 5e5, "rope_local_base_freq": 2e4}],
    "modernbert": [{"global_rope_theta": 5e5, "local_rope_theta": 2e4, "global_attn_every_n_layers": 4},
                   {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}],
    "modernbert-decoder": [{"global_rope_theta": 5e5, "local_rope_theta": 2e4}],
    "olmo3": [{"rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192}}],
    "gemma4_text": [{"global_head_dim": 256}],
    "qwen3_next": [{"full_attention_interval": 3}, {"partial_rotary_factor": 0.5}],
    "phi": [{"partial_rotary_factor": 0.4}, {"partial_rotary_factor": 0.29, "hidden_size": 3200}],
    "stablelm": [{"partial_rotary_factor": 0.5}],
    "gpt_neox": [{"rotary_pct": 0.5, "rotary_emb_base": 20000}],
    "mllama_text_model": [{"cross_attention_layers": [1, 2]}],
    "jetmoe": [{"kv_channels": 64}],
    "recurrent_gemma": [{"block_types": ["attention", "recurrent"]}],
    "llama": [{"hidden_size": 4100}, {"head_dim": 96}, {"rope_theta": 5e5}],
    "mistral": [{"head_dim": None, "rope_theta": 1e6}],
    "hunyuan_v1_dense": [{"rope_theta": 5e5, "head_dim": 128, "rope_scaling": {
        "alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0, "mscale_all_dim": 0.0,
        "type": "dynamic"}}],
    "phi3": [{"rope_theta": 1e4, "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
              "rope_scaling": {"type": "su", "short_factor": [1.0] * 48, "long_factor": [1.5] * 48}},
             {"partial_rotary_factor": 0.75}],
    "qwen2_vl_text": [{"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}],
    "qwen3_vl_text": [{"rope_theta": 5e6, "rope_scaling": {
        "rope_type": "default", "mrope_section": [32, 16, 16], "mrope_interleaved": True}}],
}


def variants(mt):
    """(name, config, json) of everything that is tried for a model type that has rope parameters of its own."""
    cls = CONFIG_MAPPING[mt]
    extra = {}
    if mt == "lfm2_moe":
        extra = {"layer_types": ["conv", "full_attention"] * 16}
    if mt in ("glm4v_text", "glm_image_text"):
        extra = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}
    if mt == "glm_ocr_text":
        extra = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}}
    if mt == "qwen3_omni_moe_talker_text":
        extra = {"head_dim": 128}
    if mt == "qwen3_omni_moe_text":
        extra = {"head_dim": 128}
    if mt == "minimax_m3_vl_text":  # the class's own rotary_dim of 64 is not read by its model, which turns all of 128
        extra = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5}}
    if mt in ("glm4_moe", "glm4v_moe_text"):
        extra = {"head_dim": 128}  # the default of 42 channels turns an odd number
    base = cls(**extra)
    yield "default", base, as_json(base)
    yield "default, as saved", base, as_json(base, diff=True)
    if mt == "granitemoehybrid":
        config = cls(position_embedding_type="rope", layer_types=["mamba", "attention"] * 16)
        yield "rope", config, as_json(config)
    if mt == "zamba2":
        config = cls(use_mem_rope=True)
        yield "rope", config, as_json(config)
    rope = base.to_dict().get("rope_parameters")
    if not rope:
        return
    nested = [k for k, v in rope.items() if isinstance(v, dict)]
    oracle = oracle_of(base)
    for name, make in VARIANTS.items():
        try:
            ctx = base.max_position_embeddings
            parameters = {}
            for label in nested or [None]:
                pairs = len(oracle.inv_freq(label)) if label in oracle.kinds() else 32
                old = rope[label] if label else rope
                kept = {k: old[k] for k in ("rope_theta", "partial_rotary_factor", "mrope_section",
                                            "llama_4_scaling_beta") if k in old}
                if old.get("rope_type") == "proportional":  # where the fraction means something else
                    kept.pop("partial_rotary_factor", None)
                if "llama_4_scaling_beta" in kept:  # which is measured in trained lengths
                    kept["original_max_position_embeddings"] = old["original_max_position_embeddings"]
                one = {**kept, **make(ctx, pairs)}
                if mt == "phimoe" and name == "longrope":
                    one |= {"short_mscale": 1.25, "long_mscale": 1.5}
                if label:
                    parameters[label] = one
                else:
                    parameters = one
            given = {**extra, "rope_parameters": parameters}
            if mt in ("hunyuan_v1_dense", "hunyuan_v1_moe", "mixtral", "ministral", "minimax", "phimoe"):
                given["head_dim"] = base.hidden_size // base.num_attention_heads  # else transformers fails on None
            if mt in ("phi3", "phi4_multimodal"):
                given["original_max_position_embeddings"] = max(ctx // 4, 1)
            config = cls(**copy.deepcopy(given))
            Oracle(config)
        except Exception:  # the class does not take it, or its module cannot be made from it
            continue
        yield name, config, as_json(config)
    if mt in ("hunyuan_v1_dense", "hunyuan_v1_moe"):
        config = cls(head_dim=128, rope_parameters={
            "rope_type": "dynamic", "factor": 1.0, "alpha": 1000.0, "rope_theta": 10000.0})
        yield "alpha", config, as_json(config)


def collect(mt):
    """Everything to compare for a model type: (label, request, compare)."""
    cases = []

    def whatever_is_read(label, data):
        """Ours may refuse it; if it answers, it must answer what transformers reads."""
        try:
            oracle = oracle_of(CONFIG_MAPPING[mt].from_dict(copy.deepcopy(data)))
        except Exception:
            return
        cases.append((mt, label, {"config": data}, oracle, None))

    for name, config, data in variants(mt):
        if name == "default":
            present = [key for key in DROPPED if key in data]
            for key in present:
                whatever_is_read(f"without {key}", {k: v for k, v in data.items() if k != key})
            whatever_is_read("without any", {k: v for k, v in data.items() if k not in present})
            sizes = {"num_hidden_layers", "max_position_embeddings"}
            whatever_is_read("sizes only", {k: v for k, v in data.items() if k not in present or k in sizes})
            for setting in SETTINGS.get(mt, ()):
                hidden = {"rope_parameters", "layer_types", "no_rope_layers", "layers_block_type", "per_layer_config",
                          "mlp_layer_types", "layer_rope_theta", "head_dim"} - set(setting)
                whatever_is_read(f"with {setting}", {k: v for k, v in data.items() if k not in hidden} | setting)
        spellings = [("", config, data)]
        older = older_spelling(data)
        # This class keeps rope_scaling as a field and never reads it; ours refuses such a file.
        unread = mt == "cohere2_moe" and older is not None and older["rope_scaling"]
        if older is not None and not unread:
            try:
                read = CONFIG_MAPPING[mt].from_dict(copy.deepcopy(older))
                Oracle(read)
                spellings.append((" (older spelling)", read, older))
            except Exception:
                pass
        for spelling, config, data in spellings:
            oracle = oracle_of(config)
            for numerics in ("exact", "fp32"):
                cases.append((mt, name + spelling, {"config": data, "numerics": numerics}, oracle, None))
            kind = "dynamic" if name == "dynamic" else "longrope" if name == "longrope" else ""
            lengths = []
            if kind == "dynamic":
                ctx = config.max_position_embeddings
                lengths = [ctx // 2 + 1, ctx, ctx + 1, 3 * ctx]
            if kind == "longrope":
                every = [config.rope_parameters, *config.rope_parameters.values()]
                trained = next((r["original_max_position_embeddings"] for r in every
                                if isinstance(r, dict) and "original_max_position_embeddings" in r), None)
                if trained is None:  # transformers did not read the scaling
                    continue
                lengths = [trained] if mt == "phimoe" else [trained, trained + 1, 4 * trained]
            for length in lengths:
                # A fresh module for each: the remembered length must not leak from one into the next.
                cases.append((mt, f"{name}{spelling} at {length}", {"config": data, "length": length},
                              oracle_of(config), length))
    return cases


# ---- comparing -----------------------------------------------------------------------------------------------------


def ulps(a, b):
    a, b = np.float32(a), np.float32(b)
    return np.abs(a.view(np.int32).astype(np.int64) - b.view(np.int32).astype(np.int64))


def torch_power_is_off(theta, dim):
    """1 for each pair where torch's float32 theta ** (2j / dim) is not the nearest float32, else 0."""
    exponent = torch.arange(0, dim, 2, dtype=torch.float) / dim
    nearest = (np.float64(theta) ** exponent.double().numpy()).astype(np.float32)
    return ((theta**exponent).numpy() != nearest).astype(np.int64)


def natural_order(inv_freq, kind):
    """ERNIE's module stores height's frequencies, then width's; the pairs themselves alternate."""
    axes = np.array(kind["axis_of_pair"])
    if len(axes) == 0 or kind["pair_layout"] != "interleaved" or not (axes[:2] == [1, 2]).all():
        return inv_freq
    out = np.empty_like(inv_freq)
    hw = int((axes > 0).sum())
    out[0:hw:2], out[1:hw:2], out[hw:] = inv_freq[: hw // 2], inv_freq[hw // 2 : hw], inv_freq[hw:]
    return out


def differences(case, answer):
    mt, label, request, oracle, length = case
    problems = []
    ours = {k["name"]: k for k in answer["kinds"] if k["inv_freq"]}
    for kind, _ in oracle.kinds().items():
        mine = ours.get(kind or "default")
        if mine is None:
            config = oracle.config
            if mt in LAYERS and not any(LAYERS[mt](config, i) for i in range(config.num_hidden_layers)):
                continue  # nothing turns, whatever module there is
            problems.append(f"{kind}: no such kind in {sorted(ours)}")
            continue
        if "error" in mine:
            problems.append(mine["error"])
            continue
        theirs, got = natural_order(oracle.inv_freq(kind, length), mine), np.array(mine["inv_freq"])
        if theirs.shape != got.shape:
            problems.append(f"{kind}: {theirs.shape[0]} pairs, ours {got.shape[0]}")
            continue
        if request.get("numerics") == "fp32":
            allowed = FP32_ULPS + natural_order(torch_power_is_off(mine["theta"], 2 * len(got)), mine)
            worst = (ulps(got, theirs) - allowed).max()
            if worst > 0 and not isinstance(oracle, TableOracle):
                problems.append(f"{kind}: fp32 inv_freq off by {worst} ulp more than {FP32_ULPS}")
            continue
        error = np.abs(got - theirs) / np.maximum(np.abs(theirs), 1e-300)
        if error.max() > EXACT:
            problems.append(f"{kind}: inv_freq off by {error.max():.3g} at pair {error.argmax()}")
            continue
        if mine["softmax_scale_multiplier"] != pytest.approx(oracle.softmax(), rel=1e-12):
            problems.append(f"{kind}: softmax {mine['softmax_scale_multiplier']}, theirs {oracle.softmax()}")
        if isinstance(oracle, TableOracle):
            q = np.random.default_rng(7).standard_normal((1, mine["rotary_dim"])).astype(np.float32)
            if np.abs(oracle.turn_once(q) - reference_turn(q, [1], mine)).max() > 1e-5:
                problems.append(f"{kind}: the model turns other pairs than {mine['pair_layout']}")
        else:
            problems += [f"{kind}: {p}" for p in applied(oracle, kind, mine, length)]
    if request.get("numerics") != "fp32" and length is None:
        problems += layers(mt, oracle.config, answer)
        problems += temperature(oracle, ours)
    return problems


def applied(oracle, kind, mine, length):
    """cos and sin, their factor, their axes, the pair layout and the direction."""
    problems = []
    several = len(mine["axis_of_pair"]) > 0
    streams = 3 if several else 1
    positions = [[0, 1, 5, 7]] * streams  # within every trained length here
    if length is not None:
        positions = [[length - 1, 0]] * streams
    pairs = len(mine["inv_freq"])
    inv_freq = np.array(mine["inv_freq"])
    cos, sin, raw = oracle.table(kind, positions)
    zero = positions[0].index(0)
    factor = float(np.hypot(cos[zero], sin[zero]).max())
    if factor != pytest.approx(mine["attention_factor"], rel=3e-7):
        problems.append(f"attention_factor {mine['attention_factor']}, theirs {factor}")
    if length is not None:
        return problems
    if several:
        per_pair = (lambda t: t[..., ::2]) if mine["pair_layout"] == "interleaved" else (lambda t: t[..., :pairs])
        for axis in range(3):
            one = [[1 if a == axis else 0] for a in range(3)]
            _, s, _ = oracle.table(kind, one)
            moved = np.abs(per_pair(s)[0]) > 0
            expected = (np.array(mine["axis_of_pair"]) == axis) & (inv_freq > 0)
            if (moved != expected).any():
                problems.append(f"axis {axis} turns other pairs")
    rng = np.random.default_rng(7)
    width, offset = mine["rotary_dim"], mine["rotary_offset"]
    tried = False
    for channels in ([mine["head_dim"], width] if offset == 0 else [width]):
        q = rng.standard_normal((4, channels)).astype(np.float32)
        try:
            got = oracle.turn(kind, positions, q, raw)
        except Exception:
            continue
        if got is None:
            break
        tried = True
        expected = reference_turn(q, positions[0], mine)
        deinterleaved = np.concatenate([expected[:, 0:width:2], expected[:, 1:width:2], expected[:, width:]], axis=1)
        close = [np.abs(got - e).max() < 2e-4 * mine["attention_factor"] for e in
                 ([expected, deinterleaved] if mine["pair_layout"] == "interleaved" else [expected])]
        if not any(close):
            problems.append(f"the model turns other pairs than {mine['pair_layout']}"
                            f"{' clockwise' if mine['clockwise'] else ''}")
        break
    if not tried:
        UNTRIED.add(oracle.config.model_type)
    return problems


UNTRIED = set()  # families whose function has a signature of its own


def reference_turn(q, positions, kind):
    out = q.astype(np.float64).copy()
    width, pairs = kind["rotary_dim"], kind["rotary_dim"] // 2
    for j in range(pairs):
        a, b = (2 * j, 2 * j + 1) if kind["pair_layout"] == "interleaved" else (j, j + pairs)
        angle = np.array(positions) * kind["inv_freq"][j] * (-1 if kind["clockwise"] else 1)
        c, s = kind["attention_factor"] * np.cos(angle), kind["attention_factor"] * np.sin(angle)
        out[:, a], out[:, b] = q[:, a] * c - q[:, b] * s, q[:, b] * c + q[:, a] * s
    assert width == 2 * pairs
    return out


def layers(mt, config, answer):
    if not answer["layer_count"]:
        return []  # neither said nor assumed
    n = getattr(config, "num_hidden_layers", 0) or 0
    turning = {i for k in answer["kinds"] if k["inv_freq"] for i in k["layers"]}
    rule = LAYERS.get(mt, lambda c, i: True)
    expected = {i for i in range(n) if rule(config, i)}
    problems = [] if turning == expected else [f"layers {sorted(turning ^ expected)} turn on one side only"]
    types = getattr(config, "layer_types", None)
    for k in answer["kinds"]:
        if k["name"] in ("full_attention", "sliding_attention") and types:
            if k["layers"] != [i for i, t in enumerate(types) if t == k["name"]]:
                problems.append(f"other layers are {k['name']}")
    return problems


def temperature(oracle, ours):
    scale = getattr(oracle.modeling, "get_llama_4_attn_scale", None)
    beta = None if scale is None else oracle.config.rope_parameters.get("llama_4_scaling_beta")
    problems = []
    for kind in ours.values():
        t = kind.get("query_temperature")
        if (t is None) != (not beta):
            problems.append("query temperature on one side only")
        elif t is not None:
            p = torch.tensor([[0, 1, t["context"] - 1, t["context"], 300000]])
            theirs = scale(p, beta, oracle.config.rope_parameters["original_max_position_embeddings"]).flatten().numpy()
            mine = 1 + t["beta"] * np.log(1 + np.floor((p.numpy()[0] + t["offset"]) / t["context"]))
            if np.abs(theirs - mine).max() > 1e-6:
                problems.append("query temperature differs")
    return problems


# ---- the survey ------------------------------------------------------------------------------------------------------


def survey():
    outcome = {}  # model type: (status, remark)
    failures = []
    defaults, texts = {}, {}
    for mt in CONFIG_MAPPING_NAMES:
        try:
            config = CONFIG_MAPPING[mt](**copy.deepcopy(WHOLE.get(mt, {})))
            defaults[mt] = as_json(config)
            inner = text_config(config)
            if inner is not None and hasattr(inner, "model_type"):
                texts[mt] = inner
        except Exception:
            defaults[mt] = {"model_type": mt}
    first = dict(zip(defaults, ask([{"config": d} for d in defaults.values()])))

    rows = {f["name"]: f for f in families()}
    cases, composites = [], []
    for mt, answer in first.items():
        row = rows.get(mt)
        if row is None and defaults[mt]["model_type"] in rows:  # another name of the same config class
            outcome[mt] = ("agrees", f"as {defaults[mt]['model_type']}")
            continue
        if row is None:
            if answer["ok"]:
                failures.append(f"{mt}: answered without a row")
            outcome[mt] = ("refused", answer.get("error", ""))
            continue
        if not row["rotates"]:
            source = source_of(CONFIG_MAPPING[mt])
            if mt not in texts and re.search(r"(?<!Vision)RotaryEmbedding\(|inv_freq|rotate_half|apply_rotary", source):
                failures.append(f"{mt}: said not to turn, but its model makes a rotary module")
            outcome[mt] = ("does not turn", "")
            if not answer["ok"] or any(k["inv_freq"] for k in answer["kinds"]):
                failures.append(f"{mt}: {answer}")
            continue
        if mt in texts:
            composites.append(mt)
            continue
        if BY_MODULE.search(mt):
            outcome[mt] = ("agrees", "see the modules below")
            if not answer["ok"] and mt not in INCOMPLETE:
                failures.append(f"{mt}: {answer}")
            continue
        cases += collect(mt)
    answers = ask([c[2] for c in cases])

    agreed, declined = {}, {}
    for case, answer in zip(cases, answers):
        mt, label = case[0], case[1]
        base = re.split(r"[ ,]", label)[0]
        agreed.setdefault(mt, set())
        if not answer["ok"]:
            declined.setdefault(mt, {})[label] = answer["error"]
            if base in ASKED:
                failures.append(f"{mt} {label}: refused: {answer['error']}")
            continue
        problems = differences(case, answer)
        failures += [f"{mt} {label} {case[2].get('numerics', '')}: {p}" for p in problems]
        if not problems:
            agreed[mt].add(base)
    failed = {f.split(" ")[0].rstrip(":") for f in failures}
    for mt, labels in agreed.items():
        tried = [name for name in ("default", *VARIANTS, "alpha") if name in labels]
        outcome[mt] = ("agrees", ", ".join(tried)) if mt not in failed and labels else (
            "refused", next(iter(declined.get(mt, {}).values()), ""))

    # A composite answers for its language model: the same kinds as that config alone.
    # What it leaves out of text_config is what that class assumes.
    for mt in composites:
        key = MEANT.get(mt, "text_config")
        if BY_MODULE.search(texts[mt].model_type) or getattr(CONFIG_MAPPING[mt], "model_type", mt) in NESTED:
            continue
        bare = {"model_type": mt, key: {"model_type": texts[mt].model_type}}
        try:
            inner = text_config(CONFIG_MAPPING[mt].from_dict(copy.deepcopy(bare)))
            case = (inner.model_type, "", {"config": bare}, oracle_of(inner), None)
        except Exception:
            continue
        (answer,) = ask([case[2]])
        if answer["ok"]:
            failures += [f"{mt} bare: {p}" for p in differences(case, answer)]
    alone = ask([{"config": as_json(texts[mt])} for mt in composites])
    saved = ask([{"config": as_json(CONFIG_MAPPING[mt](**copy.deepcopy(WHOLE.get(mt, {}))), diff=True)} for mt in composites])
    for mt, inner, short in zip(composites, alone, saved):
        whole = first[mt]
        text = texts[mt].model_type
        if not whole["ok"]:
            outcome[mt] = ("refused", whole["error"])
        elif not inner["ok"] or whole["kinds"] != inner["kinds"]:
            failures.append(f"{mt}: answered otherwise than its text_config")
        elif short["ok"] and short["kinds"] != whole["kinds"]:
            failures.append(f"{mt}: as saved, answered otherwise")
        elif outcome.get(text, ("", ""))[0] not in ("agrees", "does not turn"):
            failures.append(f"{mt}: answered by {text}, which did not agree")
        else:
            outcome[mt] = ("agrees", f"as {text}")
    return outcome, failures, declined


def families():
    run = subprocess.run([DUMP, "--families"], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def surveyed():
    assert DUMP.exists(), f"{DUMP}: build the target dump_positions, or name it in ROPEWALK_DUMP"
    return survey()


def test_no_model_type_is_answered_with_other_numbers(surveyed):
    _, failures, _ = surveyed
    assert not failures, f"{len(failures)} problems:\n" + "\n".join(failures[:60])


def test_at_least_sixty_model_types_agree(surveyed):
    outcome, _, _ = surveyed
    agreeing = [mt for mt, (status, remark) in outcome.items() if status == "agrees" and not remark.startswith("as ")]
    assert len(agreeing) >= 60, agreeing


def test_every_model_type_is_answered_or_refused_by_name(surveyed):
    outcome, _, _ = surveyed
    assert set(outcome) == set(CONFIG_MAPPING_NAMES)
    for mt, (status, remark) in outcome.items():
        if status == "refused":
            assert ":" in remark, (mt, remark)


@pytest.mark.parametrize("change", [{}, {"floor_scale": 100}, {"attn_scale": 0.25}, {"attn_temperature_tuning": False}])
def test_llama_4_warms_the_queries_of_layers_that_do_not_turn(change, monkeypatch):
    from transformers.models.llama4 import modeling_llama4 as theirs

    class Past:
        def get_seq_length(self, _):
            return self.length

        def update(self, k, v, _):
            return k, v

    seen = []
    monkeypatch.setattr(theirs, "eager_attention_forward", lambda _, q, *rest, **more: (seen.append(q), q.transpose(1, 2))[::-1])
    config = CONFIG_MAPPING["llama4_text"](hidden_size=8, num_attention_heads=2, num_key_value_heads=2, head_dim=4,
                                           num_hidden_layers=4, **change)
    config._attn_implementation = "eager"
    (answer,) = ask([{"config": {"model_type": "llama4_text", "num_hidden_layers": 4} | change}])
    (kind,) = [k for k in answer["kinds"] if k["name"] == "nope"]
    assert kind["layers"] == [3]
    t = kind.get("query_temperature", {"beta": 0.0, "context": 1, "offset": 0})
    assert (t["beta"] == 0.0) == ("attn_temperature_tuning" in change)
    attention = theirs.Llama4TextAttention(config, 3)
    past, x = Past(), torch.ones(1, 1, 8)
    plain = attention.q_proj(x).view(2, 4)
    for past.length in (0, 98, 99, 4095, 8190, 8191, 300000):
        attention(x, None, None, past_key_values=past)
        warmth = 1 + t["beta"] * np.log(1 + np.floor((past.length + t["offset"]) / t["context"]))
        assert torch.allclose(seen[-1].view(2, 4), warmth * plain, rtol=1e-6), past.length


def test_published_model_types_outside_transformers_are_known_by_name():
    rows = {f["name"] for f in families()}
    assert not set(ELSEWHERE) & set(CONFIG_MAPPING_NAMES)
    for mt, (reply,) in {mt: ask([{"config": {"model_type": mt}}]) for mt in ELSEWHERE}.items():
        assert mt in rows or REASONED in reply["error"], (mt, reply)
    assert rows - set(CONFIG_MAPPING_NAMES) <= set(ELSEWHERE) | set(NAMELESS)


def test_most_pair_layouts_are_proved_by_the_model_s_own_function(surveyed):
    outcome, _, _ = surveyed
    agreeing = {mt for mt, (status, remark) in outcome.items() if status == "agrees" and not remark.startswith("as ")}
    proved = agreeing - UNTRIED
    assert len(proved) >= 0.9 * len(agreeing), sorted(UNTRIED)


def parts_that_turn():
    """{model type: [(part, family)]} of every default config of several parts, where any but the language model turns."""
    whole = {}
    for mt in CONFIG_MAPPING_NAMES:
        try:
            whole[mt] = as_json(CONFIG_MAPPING[mt](**copy.deepcopy(WHOLE.get(mt, {}))))
        except Exception:
            continue
    def names(data, prefix=""):
        for key, value in data.items():
            if isinstance(value, dict) and (key.endswith("_config") or "model_type" in value):
                yield prefix + key.removesuffix("_config")
                yield from names(value, prefix + key.removesuffix("_config") + ".")

    own = {"musicflamingo": ["time"], "vjepa2": ["predictor"]}
    asked = [(mt, part) for mt, data in whole.items() for part in [*own.get(mt, ()), *names(data)]]
    found = {}
    for (mt, part), answer in zip(asked, ask([{"config": whole[mt], "part": part} for mt, part in asked])):
        if answer["ok"] and any(k["inv_freq"] for k in answer["kinds"]) and answer["part"] == part:
            found.setdefault(mt, []).append((part, answer["family"]))
    return {mt: parts for mt, parts in found.items() if any(not part.endswith("text") for part, _ in parts)}


def write_table(path):
    from test_rotary_modules import rows_of_modules

    outcome, failures, _ = survey()
    rows = {f["name"]: f for f in families()}
    count = {s: sum(1 for v in outcome.values() if v[0] == s) for s in ("agrees", "does not turn", "refused")}
    out = ["# Model families", "",
           f"Written by `tests/python/test_transformers_parity.py --write`, against transformers {transformers.__version__}: "
           f"{count['agrees']} model types agree, {count['does not turn']} are known to have no rotary position, "
           f"{count['refused']} are refused by name.", "",
           "| model type | pairs | agrees with transformers for |", "|---|---|---|"]
    for mt in sorted(outcome):
        status, remark = outcome[mt]
        if status == "agrees":
            row = rows.get(mt) or rows[remark.removeprefix("as ")]
            out.append(f"| {mt} | {row['pair_layout']} | {remark} |")
    out += ["", "Parts of configs that turn beside the language model, as `--part` names them, and the family that each is "
            "read as:", "", "| model type | parts |", "|---|---|"]
    out += [f"| {mt} | {', '.join(f'{part} ({family})' for part, family in parts)} |"
            for mt, parts in sorted(parts_that_turn().items())]
    modules = list(rows_of_modules())
    out += ["", "## Rotary modules", "",
            f"All {len(modules)} of transformers {transformers.__version__}: {MODULE_RULE}. Each agrees in "
            "`fp32` and `exact` numerics, at positions to 131 071, in its frequencies and in vectors turned by its model's "
            "own function, as far as tests/python/test_rotary_modules.py says.", "",
            "| module | model types | agrees for | refused |", "|---|---|---|---|"]
    out += [f"| {name} | {', '.join(types)} | {', '.join(scalings)} | {', '.join(refused)} |"
            for name, types, scalings, refused in modules]
    out += ["", "Model types that transformers does not have:", "", "| model type | pairs | read in |", "|---|---|---|"]
    out += [f"| {n} | {f['pair_layout'] if f['rotates'] else 'none turn'} | {f['source']} |"
            for n, f in sorted(rows.items()) if n not in outcome and n not in NAMELESS]
    elsewhere = dict(zip(ELSEWHERE, (r.get("error", "") for r in ask([{"config": {"model_type": n}} for n in ELSEWHERE]))))
    reasons = {n: error for n, error in ({n: v[1] for n, v in outcome.items()} | elsewhere).items() if REASONED in error}
    incomplete = {n: v[1] for n, v in outcome.items() if v[0] == "refused" and n in rows}
    out += ["", "Refused, with the reason:", ""]
    out += [f"- {n}: {error.split(': ', 2)[2]}" for n, error in sorted(reasons.items()) if n not in rows]
    out += ["", "Refused as their class's defaults are, from which transformers makes no module either, or whose sections do "
            "not fit:", ""]
    out += [f"- {n}: {error}" for n, error in sorted(incomplete.items())]
    out += ["", "No rotary position: " + ", ".join(sorted(m for m, v in outcome.items() if v[0] == "does not turn")) + ".",
            "", "Not known, and refused as such: " + ", ".join(sorted(
                m for m, v in outcome.items() if v[0] == "refused" and m not in reasons and m not in incomplete)) + "."]
    pathlib.Path(path).write_text("\n".join(out) + "\n")
    print(count, len(failures), "problems")


if __name__ == "__main__":
    write_table(sys.argv[sys.argv.index("--write") + 1])
