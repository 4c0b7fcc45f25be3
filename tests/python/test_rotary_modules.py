"""Every rotary module of transformers against `ropewalk explain` and `ropewalk rotate`, one test a module.

A module is built from its config class's defaults and with every scaling that it takes, and asked for the tables at
given positions; the function that its model applies then turns vectors: for each pair (1, 0) and (0, 1), which shows
cosines and sines bare, and random ones. The tool turns the same vectors from the same config.json.

What has to agree, m being the factor on cosine and sine, and f a pair's frequency in transformers, a float32:

  fp32   f to 2 ulp (one more where torch's own power is not the correctly rounded one). Cosine and sine to 2 ulp of 1
         (2.4e-7 m) where f has the same bits, as the two sides differ by libm only; where it has not, by what that
         makes of the phase: |p| times the difference, and a rounding of the phase on either side.
  exact  the stated bound of the tool (1.2e-7 max(1, m)), and what float32 takes from transformers: |p| times the error
         of f, half an ulp of the phase, and 1.2e-7 m for its cosine.

Rotated vectors add three float32 roundings of each product.
"""

import copy
import functools
import importlib
import inspect
import json
import os
import pathlib
import re
import subprocess
import tempfile
import types

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

import test_transformers_parity as parity
from transformers import CONFIG_MAPPING

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("ROPEWALK_BIN", ROOT / "build/ropewalk"))
MODELS = pathlib.Path(transformers.__file__).parent / "models"

ULP = 2.0**-23  # of 1
EXACT_BOUND = 1.2e-7
LIBM = 1.2e-7  # torch's cosine of a float32 phase
SCALINGS = {name: make for name, make in parity.VARIANTS.items()}

# ---- which modules there are ------------------------------------------------------------------------------------------

# A rotary module is a class of torch.nn.Module in models/*/modeling_*.py whose name says Rotary, RoPE or Rope and that
# makes angles itself. The attention classes of that name are handed theirs, V-JEPA 2's excepted.
NAMED = re.compile(r"Rotary|RoPE|Rope")
USUAL = re.compile(r"(RotaryEmbedding|RopePositionEmbedding)$")
HANDED = re.compile(r"(RoPEAttention|RoPESelfAttention|RoPECrossAttention)$")


@functools.cache
def modules():
    """{"package.Class": class}"""
    found = {}
    for path in sorted(MODELS.glob("*/modeling_*.py")):
        if not re.search(r"^class \w*(Rotary|RoPE|Rope)", path.read_text(), re.M):
            continue
        module = importlib.import_module(f"transformers.models.{path.parent.name}.{path.stem}")
        for name, cls in vars(module).items():
            if (inspect.isclass(cls) and cls.__module__ == module.__name__ and issubclass(cls, torch.nn.Module)
                    and NAMED.search(name) and not HANDED.search(name)):
                found[f"{path.parent.name}.{name}"] = cls
    return found


def test_the_modules_are_those_that_this_file_knows():
    names = list(modules())
    usual = [n for n in names if USUAL.search(n)]
    assert transformers.__version__ == "5.23.0", "count anew"
    assert len(usual) == 223
    assert sorted(n.split(".")[1] for n in names if n not in usual) == [
        "ClvpRotaryPositionalEmbedding", "SeamlessM4TConformerRotaryPositionalEmbedding", "VJEPA2RopeAttention",
        "Wav2Vec2BertRotaryPositionalEmbedding", "Wav2Vec2ConformerRotaryPositionalEmbedding"]
    unknown = [n for n in names if not configs_of(n)]
    assert not unknown


# ---- which configs each is made from ----------------------------------------------------------------------------------

# Where the annotation of the constructor names the whole's config, or none: the model types whose configs its models
# hand to it.
MADE_FROM = {
    "BltRotaryEmbedding": ["blt_local_encoder", "blt_local_decoder", "blt_global_transformer", "blt_patcher"],
    "ClvpRotaryPositionalEmbedding": ["clvp_encoder"],
    "CsmRotaryEmbedding": ["csm", "csm_depth_decoder_model"],
    "DeepseekOcr2VisionRotaryEmbedding": ["deepseek_ocr2_encoder"],
    "DiaRotaryEmbedding": ["dia_encoder", "dia_decoder"],
    "Emu3RotaryEmbedding": ["emu3_text_model"],
    "EsmFold2RotaryEmbedding": ["esmfold2:atom_encoder"],
    "EvollaSaProtRotaryEmbedding": ["evolla:protein_encoder_config"],
    "GlmAsrRotaryEmbedding": ["glmasr_encoder"],
    "MiniMaxM3VLRotaryEmbedding": ["minimax_m3_vl_text"],
    "MllamaRotaryEmbedding": ["mllama_text_model"],
    "MuseGlimmerTextRotaryEmbedding": ["muse_glimmer_text"],
    "MuseSparkTextRotaryEmbedding": ["muse_spark_text"],
    "Nemotron3_5TranscribeRotaryEmbedding": [
        "nemotron3_5_transcribe_asr_audio", "nemotron3_5_transcribe_word_timestamp"],
    "Nemotron3DiarizationRotaryEmbedding": ["nemotron3_diarization_audio"],
    "PaddleOCRRotaryEmbedding": ["paddleocr_vl_text"],
    "Qwen2_5OmniRotaryEmbedding": ["qwen2_5_omni_text", "qwen2_5_omni_talker"],
    "Qwen2_5_VLRotaryEmbedding": ["qwen2_5_vl_text"],
    "Qwen2VLRotaryEmbedding": ["qwen2_vl_text"],
    "Qwen3OmniMoeRotaryEmbedding": ["qwen3_omni_moe_talker_code_predictor", "qwen3_omni_moe:code2wav_config"],
    "Qwen3OmniMoeTalkerRotaryEmbedding": ["qwen3_omni_moe_talker_text"],
    "SeamlessM4TConformerRotaryPositionalEmbedding": ["seamless_m4t"],
    "Step3p7RotaryEmbedding": ["step3p5"],
    "T5GemmaRotaryEmbedding": ["t5_gemma_module"],
    "T5Gemma2RotaryEmbedding": ["t5gemma2_text", "t5gemma2_decoder"],
    "VoxtralRealtimeRotaryEmbedding": ["voxtral_realtime_text", "voxtral_realtime_encoder"],
    "Wav2Vec2BertRotaryPositionalEmbedding": ["wav2vec2-bert"],
    "Wav2Vec2ConformerRotaryPositionalEmbedding": ["wav2vec2-conformer"],
}

TWO_TYPES = ["sliding_attention", "full_attention"]
# Settings without which a class's defaults turn nothing, or its own module fails on them.
NEEDED = {
    "bamba": {"attn_layer_indices": [0]},
    "cohere_compass_text": {"num_hidden_layers": 4, "layer_types": TWO_TYPES * 2, "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 5e4, "mrope_section": [24, 20, 20]},
        "full_attention": {"rope_type": "default", "rope_theta": 1e6}}},
    "deepseek_v4": {"num_hidden_layers": 4, "layer_types": [
        "sliding_attention", "compressed_sparse_attention", "sliding_attention", "heavily_compressed_attention"]},
    "esm": {"position_embedding_type": "rotary"},
    "glm4_moe": {"head_dim": 128},  # 42 channels are an odd number of pairs
    "glm4v_moe_text": {"head_dim": 128},
    "glm4v_text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    "glm_image_text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    "glm_ocr_text": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}},
    "granitemoehybrid": {"position_embedding_type": "rope", "layer_types": ["linear_attention", "full_attention"] * 16},
    "hunyuan_vl_text": {"head_dim": 128, "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "mrope_section": [16, 20, 12, 16]}},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "lfm3_vl_vision": {},
    "minimax_m3_vl_text": {"rope_parameters": {
        "rope_type": "default", "rope_theta": 5e6, "partial_rotary_factor": 0.5}},
    "qwen3_omni_moe_talker_text": {"head_dim": 128},
    "qwen3_omni_moe_text": {"head_dim": 128},
    "qwen4_exp_text": {"rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10]}},
    "seamless_m4t": {"position_embeddings_type": "rotary"},
    "wav2vec2-bert": {"position_embeddings_type": "rotary"},
    "wav2vec2-conformer": {"position_embeddings_type": "rotary"},
    "zamba2": {"use_mem_rope": True},
}
# Classes that fail on a head_dim of None once there is a scaling.
HEAD_DIM = ("hunyuan_v1_dense", "hunyuan_v1_moe", "mixtral", "ministral", "minimax", "phimoe")
KEPT = ("rope_theta", "partial_rotary_factor", "mrope_section", "llama_4_scaling_beta")
# What a class takes beside the usual scalings.
FURTHER = {
    "hunyuan_v1_dense": {"alpha": {"rope_type": "dynamic", "factor": 1.0, "alpha": 1000.0}},
    "hunyuan_v1_moe": {"alpha": {"rope_type": "dynamic", "factor": 1.0, "alpha": 1000.0}},
    "hunyuan_vl_text": {"alpha": {"rope_type": "dynamic", "factor": 1.0, "alpha": 1000.0}},
    **{mt: {"proportional-whole": {"rope_type": "proportional", "partial_rotary_factor": 1.0, "factor": 2.0}}
       for mt in ("gpt_neox_japanese", "persimmon", "phi", "stablelm")},
}


# Spellings of published and older files, beside what the classes write themselves.
SPELLED = {
    "cohere_compass.CohereCompassRotaryEmbedding": {  # NoPE layers, and entries that its class drops
        "model_type": "cohere_compass_text", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 4,
        "max_position_embeddings": 8192, "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 5e4,
                                                  "mrope_section": [24, 20, 20]},
                            "full_attention": None, "rope_theta": 5e4, "rope_type": "default"}},
    "deepseek_v4.DeepseekV4RotaryEmbedding": {
        "model_type": "deepseek_v4", "hidden_size": 4096, "num_attention_heads": 64, "num_hidden_layers": 4,
        "head_dim": 512, "max_position_embeddings": 1048576, "rope_theta": 1e4, "compress_rope_theta": 1.6e5,
        "qk_rope_head_dim": 64, "compress_ratios": [0, 0, 4, 128],
        "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 65536, "beta_fast": 32,
                         "beta_slow": 1}},
    "dots3_note.Dots3NoteTextRotaryEmbedding": {
        "model_type": "dots3_note_text", "hidden_size": 5120, "num_attention_heads": 128, "num_hidden_layers": 8,
        "max_position_embeddings": 524288, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "swa_head_dim": 256,
        "swa_qk_nope_head_dim": 192, "rope_theta": 8e7, "swa_rope_theta": 5e4,
        "layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 3 + ["full_attention"] + ["sliding_attention"] * 2},
    "hunyuan_vl.HunYuanVLRotaryEmbedding": {
        "model_type": "hunyuan_vl_text", "hidden_size": 1024, "num_attention_heads": 16, "head_dim": 128,
        "num_hidden_layers": 4, "max_position_embeddings": 32768, "rope_theta": 1e4,
        "rope_scaling": {"type": "xdrope", "alpha": 1000.0, "beta_fast": 32, "beta_slow": 1, "factor": 1.0, "mscale": 1.0,
                         "mscale_all_dim": 1.0, "xdrope_section": [16, 16, 16, 16]}},
    "neomme.NeoMMERotaryEmbedding": {
        "model_type": "neomme", "hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 6,
        "max_position_embeddings": 16384},
    "pixtral.PixtralVisionRotaryEmbedding": {
        "model_type": "pixtral", "hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "head_dim": 64,
        "rope_theta": 1e4},
    "qwen2_5_vl.Qwen2_5_VLVisionRotaryEmbedding": {
        "model_type": "qwen2_5_vl_vision", "depth": 32, "hidden_size": 1280, "num_heads": 16},
}

# What the tool refuses although a module can be made from it, each with the reason in its own words. The first two
# make tables that their model's attention fails on (test_attention_that_fails_is_refused); the last two drop the factor
# on cosine and sine that comes with most scalings.
REFUSED = (
    (r"^(gpt_neox_japanese|persimmon|phi|stablelm) proportional", r"want 1 beside proportional for this family, whose "
     r"attention cuts that part off a head and has tables for all of it"),
    (r"^(dots3_note_text|mistral4) proportional", r"whose tables would be as wide as head_dim says and whose attention "
     r"turns qk_rope_head_dim channels"),
    ("^musicflamingo ", r"want default, the only one this family takes"),
    ("^efficientloftr ", r"want default, the only one this family takes"),
)


class Given:
    """A config that a module is made from: `made` for the module, `data` and `part` for the tool."""

    def __init__(self, label, made, data, part=None):
        self.label, self.made, self.data, self.part = label, made, data, part


@functools.cache
def configs_of(name):
    """[(model type, class of config or None, part)] of a module."""
    cls = modules()[name]
    if cls.__name__ in MADE_FROM:
        return MADE_FROM[cls.__name__]
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    wanted = parameters[0].annotation if parameters else None
    wanted = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "")
    config = getattr(inspect.getmodule(cls), wanted.strip("'\""), None)
    return [config.model_type] if config is not None and getattr(config, "model_type", "") in CONFIG_MAPPING else []


def given_of(name):
    """Every config to try for a module: the default, and with each scaling that the class takes."""
    cls = modules()[name]
    if name in SPELLED:
        data = SPELLED[name]
        config = CONFIG_MAPPING[data["model_type"]].from_dict(copy.deepcopy(data))
        yield Given(f"{data['model_type']} as published", config, data)
    for source in configs_of(name):
        mt, _, key = source.partition(":")
        config_class = CONFIG_MAPPING[mt]
        if key:  # a part whose class has no model type: only through the whole
            whole = config_class()
            yield Given(mt, getattr(whole, key), parity.as_json(whole), re.sub("_config$", "", key))
            continue
        needed = NEEDED.get(mt, {})
        base = config_class(**copy.deepcopy(needed))
        yield Given(mt, base, parity.as_json(base))
        rope = base.to_dict().get("rope_parameters")
        if not rope or rope.get("rope_type") == "axial":
            continue
        module = cls(base)
        labels = [k for k, v in rope.items() if isinstance(v, dict)]
        if not labels and not hasattr(module, "inv_freq"):  # Llama 4's tower reads a base and no type
            continue
        ctx = getattr(base, "max_position_embeddings", None) or 4096
        for scaling, make in (SCALINGS | {k: (lambda c, p, v=v: v) for k, v in FURTHER.get(mt, {}).items()}).items():
            parameters = {}
            for label in labels or [None]:
                buffer = getattr(module, f"{label}_inv_freq" if label else "inv_freq", None)
                old = rope[label] if label else rope
                kept = {k: old[k] for k in KEPT if k in old}
                if old.get("rope_type") == "proportional":  # where the fraction means something else
                    kept.pop("partial_rotary_factor", None)
                if "llama_4_scaling_beta" in kept:  # which is measured in trained lengths
                    kept["original_max_position_embeddings"] = old["original_max_position_embeddings"]
                one = {**kept, **make(int(ctx), len(buffer) if buffer is not None else 32)}
                if label:  # transformers does not look for it there, other engines do: the tool refuses it
                    one.pop("truncate", None)
                if mt == "phimoe" and scaling == "longrope":
                    one |= {"short_mscale": 1.25, "long_mscale": 1.5}
                parameters = parameters | {label: one} if label else one
            for label, old in rope.items():
                if labels and old is None:
                    parameters[label] = None
            given = {**copy.deepcopy(needed), "rope_parameters": parameters}
            if mt in HEAD_DIM:
                given["head_dim"] = base.hidden_size // base.num_attention_heads
            if mt in ("phi3", "phi4_multimodal"):
                given["original_max_position_embeddings"] = max(ctx // 4, 1)
            if mt == "deepseek_v4" and scaling == "proportional":  # too wide for an indexer
                given["layer_types"] = ["sliding_attention", "heavily_compressed_attention"] * 2
            try:
                config = config_class(**copy.deepcopy(given))
                made = cls(config)
                probe = theirs_of(name, made, config)
                probe.tables(probe.kinds()[0], probe.positions(1))
            except Exception:  # the class does not take it, or its module cannot be made from it
                continue
            if scaling in ("linear", "yarn", "yarn-mscale", "llama3") and taken(made) == "default":
                continue
            yield Given(f"{mt} {scaling}", config, parity.as_json(config))
            # A class may have a part of its own. (MiniMax-M3's saves another width beside it than its model turns, and
            # Qwen4's sections are those of a part.)
            if (scaling in ("linear", "proportional") and "partial_rotary_factor" in str(rope)
                    and mt not in ("minimax_m3_vl_text", "qwen4_exp_text")):
                for one in [given["rope_parameters"][k] for k in labels] or [given["rope_parameters"]]:
                    one.pop("partial_rotary_factor", None)
                try:
                    config = config_class(**copy.deepcopy(given))
                    probe = theirs_of(name, cls(config), config)
                    probe.tables(probe.kinds()[0], probe.positions(1))
                except Exception:
                    continue
                data = parity.as_json(config)
                for one in [data["rope_parameters"][k] for k in labels] or [data["rope_parameters"]]:
                    one.pop("partial_rotary_factor", None)
                yield Given(f"{mt} {scaling}-by-default", config, data)


def taken(module):
    rope_type = getattr(module, "rope_type", "default")
    return rope_type if isinstance(rope_type, str) else next(iter(rope_type.values()), "default")


# ---- transformers' side -----------------------------------------------------------------------------------------------


class Theirs:
    """A module with one table for all layers: forward(x, position_ids [batch, tokens] or [axes, batch, tokens])."""

    axes = 1
    whole = True  # positions are integers

    def __init__(self, module, config):
        self.module, self.config = module, config
        self.code = inspect.getmodule(type(module))
        self.axes = len(getattr(module, "mrope_section", None) or [0])

    def kinds(self):
        """Buffer prefixes by kind."""
        if hasattr(self.module, "inv_freq"):
            return ["default"]
        types_ = getattr(self.module, "layer_types", ())
        return [t for t in types_ if hasattr(self.module, f"{t}_inv_freq")]

    def extra(self, kind):
        return () if kind == "default" else (kind,)

    def inv_freq(self, kind):
        """After the tables were asked for: [pairs] float32 in the order of the pairs."""
        return getattr(self.module, "inv_freq" if kind == "default" else f"{kind}_inv_freq").numpy()

    def positions(self, seed=0):
        """[axes, tokens]"""
        trained = int(getattr(self.config, "max_position_embeddings", 0) or 4096)
        first = [0, 1, min(trained // 2 + 1, 60000), 4095, 131071]
        if type(self.module).__name__ == "PhimoeRotaryEmbedding" and taken(self.module) == "longrope":
            # Beyond the trained length this class keeps the short list; the model's own code does not.
            first = [0, 1, trained // 8, trained // 4 - 1]
        rng = np.random.default_rng(seed)
        return np.array([first] + [[*rng.integers(0, max(first), len(first) - 1), i] for i in range(self.axes - 1)])

    def tables(self, kind, positions):
        ids = torch.tensor(positions)[:, None] if self.axes > 1 else torch.tensor(positions)
        return self.module(torch.zeros(1, 1), ids, *self.extra(kind))

    def function(self, kind):
        latent = getattr(self.config, "qk_rope_head_dim", 0) and not hasattr(self.config, "compress_rope_theta")
        interleave = getattr(self.code, "apply_rotary_pos_emb_interleave", None)
        if latent and interleave is not None and getattr(self.config, "rope_interleave", True) is not False:
            return interleave
        return getattr(self.code, "apply_rotary_pos_emb", None) or self.code.apply_rotary_emb

    def turn(self, kind, q, positions):
        """q [tokens, heads, channels] through the model's own function, whole heads or the channels that turn."""
        tables = self.tables(kind, positions)
        apply = self.function(kind)
        x = torch.tensor(q).transpose(0, 1)[None]  # [1, heads, tokens, channels]
        if torch.is_tensor(tables):  # one complex factor a pair
            if self.config.model_type == "llama4_text":
                x = x.transpose(1, 2)
                return apply(x, x, tables)[0][0].numpy()
            return apply(x, x, tables)[0][0].transpose(0, 1).numpy()
        names = list(inspect.signature(apply).parameters)
        if names[0] == "x":
            return apply(x, *tables)[0].transpose(0, 1).numpy()
        return apply(x, x, *tables)[0][0].transpose(0, 1).numpy()


class ErnieTheirs(Theirs):
    def inv_freq(self, kind):
        f, (h, w, _) = super().inv_freq(kind), self.module.mrope_section
        out = f.copy()
        out[0 : h + w : 2], out[1 : h + w : 2] = f[:h], f[h : h + w]
        return out


class DitTheirs(Theirs):
    def turn(self, kind, q, positions):
        x = self.code.deinterleave_head_dim(torch.tensor(q).transpose(0, 1)[None])
        return self.code.apply_rotary_pos_emb(x, x, *self.tables(kind, positions))[0][0].transpose(0, 1).numpy()


class NeoTheirs(Theirs):
    axes = 2

    def __init__(self, module, config):
        super().__init__(module, config)
        self.axes = 2


class LargeTheirs(Theirs):
    def inv_freq(self, kind):  # a fresh class has alpha 0
        return (self.module.inv_freq * self.module.alpha.exp()).numpy()


class SequenceTheirs(Theirs):
    """Speech encoders: forward(hidden_states), positions 0 to its length."""

    def tables(self, kind, positions):
        out = self.module(torch.zeros(1, int(positions.max()) + 1, 1))
        row = torch.tensor(positions[0])
        if out.dim() == 3:  # CLVP hands out the angles
            return out.cos()[0][row], out.sin()[0][row]
        return out[0][row], out[1][row]

    def turn(self, kind, q, positions):
        cos, sin = self.tables(kind, positions)
        if hasattr(self.code, "apply_rotary_pos_emb"):
            x = torch.tensor(q).transpose(0, 1)[None]
            ids = torch.arange(len(q))[None]
            return self.code.apply_rotary_pos_emb(x, x, x, cos, sin, ids)[0][0].transpose(0, 1).numpy()
        attention = next(c for n, c in vars(self.code).items() if inspect.isclass(c) and
                         hasattr(c, "_apply_rotary_embedding"))
        tokens, heads, channels = q.shape
        self_ = types.SimpleNamespace(num_heads=heads, head_size=channels)
        turned = attention._apply_rotary_embedding(
            self_, torch.tensor(q).reshape(1, tokens, heads * channels), torch.stack([cos, sin]))
        return turned.reshape(tokens, heads, channels).numpy()


class GridTheirs(Theirs):
    """A tower: forward(x, position_ids [tokens, axes])."""

    function_names = ("apply_rotary_pos_emb_vision", "apply_rotary_pos_emb_2d", "apply_rotary_pos_emb_2d_self_attn")

    def __init__(self, module, config):
        super().__init__(module, config)
        self.axes = 3 if "MiniMaxM3" in type(module).__name__ else 2

    def kinds(self):
        return ["default"]

    def positions(self, seed=0):
        grid = np.array([[t, h, w] for t in range(2) for h in range(3) for w in range(4)]).T[-self.axes:]
        far = np.array([[4095, 131071, 17], [3, 12, 70000], [131071, 5, 4095]])[-self.axes:]
        return np.concatenate([grid, far], axis=1)

    def inv_freq(self, kind):
        return None if not hasattr(self.module, "inv_freq") else self.laid_out(self.module.inv_freq.numpy())

    def laid_out(self, ladder):
        """[pairs] from one axis's ladder."""
        return np.tile(ladder, self.axes)

    def tables(self, kind, positions):
        return self.module(torch.zeros(1), torch.tensor(positions.T))

    def turn(self, kind, q, positions):
        cos, sin = self.tables(kind, positions)
        apply = next(getattr(self.code, n) for n in self.function_names if hasattr(self.code, n))
        x = torch.tensor(q)  # [tokens, heads, channels]
        if "2d" in apply.__name__:
            x = x.transpose(0, 1)[None]
            return apply(x, x, cos, sin)[0][0].transpose(0, 1).numpy()
        return apply(x, x, cos, sin)[0].numpy()


class KimiTheirs(GridTheirs):
    def laid_out(self, ladder):
        return np.repeat(ladder, 2)


class PixtralTheirs(GridTheirs):
    def laid_out(self, ladder):
        return ladder  # its own two halves, even rungs and odd ones

    def turn(self, kind, q, positions):
        x = torch.tensor(q).transpose(0, 1)[None]
        tables = self.tables(kind, positions)
        return self.code.apply_rotary_pos_emb(x, x, *tables, unsqueeze_dim=0)[0][0].transpose(0, 1).numpy()


class GemmaTheirs(GridTheirs):
    def tables(self, kind, positions):
        return self.module(torch.zeros(1), torch.tensor(positions.T)[None])

    def turn(self, kind, q, positions):
        ids = torch.tensor(positions.T)[None]
        return self.code.apply_multidimensional_rope(torch.tensor(q)[None], *self.tables(kind, positions), ids)[0].numpy()


class LlamaTheirs(GridTheirs):
    """Llama 4's tower has its grid in a buffer."""

    def positions(self, seed=0):
        side = self.config.image_size // self.config.patch_size
        patches = np.array([[1 + i % side, 1 + i // side] for i in range(side * side)] + [[0, 0]])
        return patches.T

    def inv_freq(self, kind):
        return None

    def tables(self, kind, positions):
        return self.module(torch.zeros(1))

    def turn(self, kind, q, positions):
        x = torch.tensor(q)[None]
        return self.code.vision_apply_rotary_emb(x, x, self.tables(kind, positions))[0][0].numpy()


class LoftrTheirs(GridTheirs):
    rows, columns = 5, 7

    def positions(self, seed=0):
        return np.array([[1 + i // self.columns, 1 + i % self.columns] for i in range(self.rows * self.columns)]).T

    def laid_out(self, ladder):
        return np.repeat(ladder, 2)

    def tables(self, kind, positions):
        c = self.config
        sides = [(n - 1) * c.q_aggregation_stride + c.q_aggregation_kernel_size for n in (self.rows, self.columns)]
        return tuple(t.reshape(1, -1, t.shape[-1]) for t in self.module(torch.zeros(1, 1, *sides)))

    def turn(self, kind, q, positions):
        x = torch.tensor(q)[None]
        return self.code.apply_rotary_pos_emb(x, x, *self.tables(kind, positions), unsqueeze_dim=2)[0][0].numpy()


class CentreTheirs(GridTheirs):
    """DINOv3 and its kin: forward(pixel_values), coordinates of patch centres."""

    whole = False
    rows, columns = 5, 7

    def positions(self, seed=0):
        return self.code.get_patches_center_coordinates(
            self.rows, self.columns, dtype=torch.float32, device=torch.device("cpu")).double().numpy().T

    def tables(self, kind, positions):
        side = self.config.patch_size
        return self.module.eval()(torch.zeros(1, 3, self.rows * side, self.columns * side))

    def turn(self, kind, q, positions):
        x = torch.tensor(q).transpose(0, 1)[None]
        return self.code.apply_rotary_pos_emb(x, x, *self.tables(kind, positions))[0][0].transpose(0, 1).numpy()


class VJepaTheirs(GridTheirs):
    def __init__(self, module, config):
        super().__init__(module, config)
        self.axes = 3

    def tables(self, kind, positions):
        return None

    def turn(self, kind, q, positions):
        x = torch.tensor(q).transpose(0, 1)[None]
        ids = tuple(torch.tensor(p)[None, None].float() for p in positions)
        return self.module.apply_rotary_embeddings(x, ids)[0].transpose(0, 1).numpy()


class AtomTheirs(GridTheirs):
    whole = False

    def __init__(self, module, config):
        super().__init__(module, config)
        self.axes = 4

    def positions(self, seed=0):
        rng = np.random.default_rng(seed)
        space = rng.uniform(-60, 60, (3, 12)).astype(np.float32).astype(np.float64)
        return np.concatenate([space, rng.integers(0, 2000, (1, 12))])

    def tables(self, kind, positions):
        return self.module(torch.tensor(positions[:3].T)[None], torch.tensor(positions[3])[None], torch.float32)

    def turn(self, kind, q, positions):
        x = torch.tensor(q).transpose(0, 1)[None]
        return self.code.apply_rotary_pos_emb(x, x, *self.tables(kind, positions))[0][0].transpose(0, 1).numpy()


class MusicTheirs(GridTheirs):
    """Windows of 25 tokens, 0.04 s each. Its positions are angles on the rung of 1 (coordinates_from_audio_windows)."""

    whole = False
    windows, length = 4, 25
    phase_roundings = 6  # products in its float32 chain

    def positions(self, seed=0):
        step, most = self.config.audio_frame_step * 4, self.module.max_seq_len_cached
        t = np.array([(n * self.length + i) * step for n in range(self.windows) for i in range(self.length)])
        n, i = np.divmod(np.arange(self.windows * self.length), self.length)
        return np.stack([2 * np.pi * t * n / most, 2 * np.pi * t * 2 * np.pi * i / most])

    def inv_freq(self, kind):
        return None

    def tables(self, kind, positions):
        step = self.config.audio_frame_step * 4
        stamps = torch.tensor([[(n * self.length + i) * step for i in range(self.length)]
                               for n in range(self.windows)], dtype=torch.float64)
        return tuple(t.reshape(-1, t.shape[-1]) for t in self.module(stamps, self.length))

    def turn(self, kind, q, positions):
        cos, sin = self.tables(kind, positions)
        return self.code.apply_rotary_time_emb(torch.tensor(q).transpose(0, 1), cos, sin).transpose(0, 1).numpy()


SPECIAL = {
    "Ernie4_5_VLMoeTextRotaryEmbedding": ErnieTheirs, "Qwen2_5OmniDiTRotaryEmbedding": DitTheirs,
    "NeoMMERotaryEmbedding": NeoTheirs, "MistralLarge4TextRotaryEmbedding": LargeTheirs,
    "ClvpRotaryPositionalEmbedding": SequenceTheirs, "SeamlessM4TConformerRotaryPositionalEmbedding": SequenceTheirs,
    "Wav2Vec2BertRotaryPositionalEmbedding": SequenceTheirs,
    "Wav2Vec2ConformerRotaryPositionalEmbedding": SequenceTheirs, "Kimi_K25VisionRotaryEmbedding": KimiTheirs,
    "PixtralVisionRotaryEmbedding": PixtralTheirs, "Gemma4VisionRotaryEmbedding": GemmaTheirs,
    "Llama4VisionRotaryEmbedding": LlamaTheirs, "EfficientLoFTRRotaryEmbedding": LoftrTheirs,
    "DINOv3ViTRopePositionEmbedding": CentreTheirs, "EomtDinov3RotaryEmbedding": CentreTheirs,
    "Sapiens2RopePositionEmbedding": CentreTheirs, "VJEPA2RopeAttention": VJepaTheirs,
    "EsmFold2RotaryEmbedding": AtomTheirs, "MusicFlamingoRotaryEmbedding": MusicTheirs,
}


def theirs_of(name, module, config):
    cls = SPECIAL.get(type(module).__name__)
    if cls is None:
        cls = GridTheirs if hasattr(module, "compute_axial_rope_parameters") else Theirs
        if type(module).__name__ == "CohereCompassRotaryEmbedding":
            cls = NeoTheirs
    theirs = cls(module, config)
    if type(module).__name__ == "CohereCompassRotaryEmbedding":
        theirs.axes = 3
    return theirs


# ---- the tool's side --------------------------------------------------------------------------------------------------


def tool(*args):
    run = subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def part_of(given):
    if type(given.made).model_type == "musicflamingo":
        return ["--part", "time"]
    return ["--part", given.part] if given.part else []


def ulps32(x):
    return np.spacing(np.abs(x).astype(np.float32)).astype(np.float64)


class Compared:
    """One config of one module, both numerics."""

    def __init__(self, name, given, folder):
        self.name, self.given, self.folder = name, given, folder
        self.theirs = theirs_of(name, made_module(name, given), given.made)
        self.config = folder / "config.json"
        self.config.write_text(json.dumps(given.data))
        self.problems = []

    def run(self):
        for kind in self.theirs.kinds():
            positions = self.theirs.positions()
            length = ["--length", int(positions.max()) + 1] if self.theirs.whole else []
            self.theirs.tables(kind, positions)  # which makes the frequencies of that length
            f = self.theirs.inv_freq(kind)
            for numerics in ("fp32", "exact"):
                answer = json.loads(tool("explain", self.config, "--json", "--numerics", numerics, *length,
                                         *part_of(self.given)))
                mine = [k for k in answer["kinds"] if k["rotates"] and k["name"] == kind]
                if not mine:
                    self.say(f"{kind} {numerics}: no such kind")
                    continue
                self.kind(kind, numerics, positions, f, mine[0], length)
        return self.problems

    def say(self, text):
        self.problems.append(f"{self.given.label}: {text}")

    def kind(self, kind, numerics, positions, f, mine, length):
        where = f"{kind} {numerics}"
        ours = np.array(mine["inv_freq"]) / mine["position_scale"]
        if f is None:  # not shown: 2 ulp are allowed for it
            f = ours.astype(np.float32)
            slack = 2 * ulps32(ours)
        else:
            slack = 0.0
            if f.shape != ours.shape:
                return self.say(f"{where}: {f.shape} frequencies, ours {ours.shape}")
            if numerics == "fp32":
                far = parity.ulps(ours, f)
                if far.max() > 2 and not allowed_ulps(mine, f, far):
                    return self.say(f"{where}: inv_freq off by {far.max()} ulp at pair {far.argmax()}")
            elif (np.abs(ours - f) > 2e-6 * np.abs(f)).any():
                return self.say(f"{where}: inv_freq off by {(np.abs(ours - f) / np.maximum(f, 1e-300)).max():.3g}")
        m = mine["attention_factor"]
        frequency_error = np.abs(ours - f.astype(np.float64)) + slack
        bound = self.bounds(numerics, positions, ours, frequency_error, m, mine)

        channels = np.array(mine["channels"]).reshape(-1, 2)
        head, tokens = mine["head_dim"], positions.shape[1]
        rng = np.random.default_rng(11)
        q = rng.standard_normal((tokens, 4, head)).astype(np.float32)
        q[:, :2] = 0
        q[:, 0, channels[:, 0]] = 1
        q[:, 1, channels[:, 1]] = 1
        try:
            expected = self.turned(kind, q, positions, mine)
        except Exception as error:
            return self.say(f"{where}: their function failed: {error}")
        got = self.rotated(kind, numerics, q, positions, length)
        out = channels
        if mine["output_layout"] != mine["pair_layout"]:
            pairs = len(channels)
            out = mine["rotary_offset"] + np.stack([np.arange(pairs), np.arange(pairs) + pairs], axis=1)
        still = np.ones(head, bool)
        still[out] = False
        if (got[..., still] != expected[..., still]).any():
            self.say(f"{where}: channels that do not turn differ")
        for half in (0, 1):  # of every pair
            error = np.abs(got[..., out[:, half]].astype(np.float64) - expected[..., out[:, half]])
            size = np.abs(q[..., channels[:, 0]]) + np.abs(q[..., channels[:, 1]])
            allowed = size * bound[:, None, :]
            allowed[:, 2:] += 3 * 2.0**-24 * size[:, 2:] * max(m, 1.0)
            excess = error - allowed
            if excess.max() > 0:
                t, h, j = np.unravel_index(excess.argmax(), excess.shape)
                self.say(f"{where}: {'cos and sin' if h < 2 else 'vectors'} off by {error[t, h, j]:.3g}, "
                         f"{allowed[t, h, j]:.3g} allowed, at {positions[:, t]} in pair {j}")
                break

    def bounds(self, numerics, positions, ours, frequency_error, m, mine):
        """[tokens, pairs] on cosine and sine."""
        axes = np.array(mine["axis_of_pair"], int) if mine["axis_of_pair"] else np.zeros(len(ours), int)
        p = np.abs(positions[axes % len(positions)].T) * mine["position_scale"]  # [tokens, pairs]
        if "second_inv_freq" in mine:  # the pair's other channel: the larger of the two
            second = np.array(mine["second_axis_of_pair"], int)
            p = np.maximum(p, np.abs(positions[second].T))
            ours = np.maximum(ours, np.array(mine["second_inv_freq"]))
            frequency_error = frequency_error + 2 * ulps32(ours) * (frequency_error.max() > 0)
        roundings = getattr(self.theirs, "phase_roundings", 1)
        phase = ulps32(p * np.abs(ours)) * roundings
        if numerics == "fp32":
            off = (frequency_error > 0) | (roundings > 1)
            return m * (2 * ULP + p * frequency_error + np.where(off, phase, 0.0))
        return EXACT_BOUND * max(m, 1.0) + m * (LIBM + p * frequency_error + phase)

    def turned(self, kind, q, positions, mine):
        """Their function on whole heads, or on the channels that turn where it is handed only those."""
        begin, width = mine["rotary_offset"], mine["rotary_dim"]
        if type(self.theirs.module).__name__ == "ClvpRotaryPositionalEmbedding" or (
                begin > 0 and not hasattr(self.given.made, "compress_rope_theta")):
            parts = [(begin, width)]
        else:
            parts = [(0, q.shape[2]), (begin, width)]
        for first, channels in parts:
            try:
                turned = self.theirs.turn(kind, np.ascontiguousarray(q[..., first : first + channels]), positions)
            except Exception:
                if (first, channels) == parts[-1]:
                    raise
                continue
            out = q.copy()
            out[..., first : first + channels] = turned
            return out

    def rotated(self, kind, numerics, q, positions, length):
        np.save(self.folder / "q.npy", q)
        several = positions.shape[0] > 1
        np.save(self.folder / "positions.npy", np.ascontiguousarray(positions if several else positions[0]))
        tool("rotate", self.config, "--q", self.folder / "q.npy", "--positions", self.folder / "positions.npy",
             "--layout", "thd", "--numerics", numerics, "--kind", kind, "--out", self.folder / "out", *length,
             *part_of(self.given))
        return np.load(self.folder / "out/q.npy")


def allowed_ulps(mine, f, far):
    """Beyond 2 ulp: one more where torch's own power is not the correctly rounded one."""
    if len(f) * 2 != mine["rotary_dim"] or mine["axis_of_pair"] and mine["axes"] == 2:
        return False
    return (far <= 2 + parity.torch_power_is_off(mine["theta"], 2 * len(f))).all()


def made_module(name, given):
    cls = modules()[name]
    if cls.__name__ == "VJEPA2RopeAttention":
        return cls(given.made, given.made.hidden_size, given.made.num_attention_heads)
    return cls(given.made)


def outcome_of(name, folder):
    """Labels that agree, labels that are refused for a known reason, and problems."""
    agreed, refused, problems = [], [], []
    for given in given_of(name):
        try:
            found = Compared(name, given, folder).run()
        except AssertionError as refusal:
            if any(re.search(label, given.label) and re.search(reason, str(refusal)) for label, reason in REFUSED):
                refused.append(given.label)
                continue
            found = [f"{given.label}: {refusal}"]
        problems += found
        agreed += [] if found else [given.label]
    return agreed, refused, problems


@pytest.mark.parametrize("name", list(modules()))
def test_module(name, tmp_path):
    assert TOOL.exists(), f"{TOOL}: build the tool, or name it in ROPEWALK_BIN"
    agreed, refused, problems = outcome_of(name, tmp_path)
    assert not problems, "\n".join(problems)
    assert agreed
    assert len(scalings_of(refused)) <= 2


# Whole models of tiny sizes, of which some fail where the proportional encoding makes their tables wider than what their
# attention, or its indexer, turns.
SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 2, "vocab_size": 50,
         "intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
LATENT = {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "kv_lora_rank": 16, "q_lora_rank": 16,
          "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16,
          "first_k_dense_replace": 2}
INDEXER = {"index_head_dim": 16, "index_n_heads": 2}
V4 = {"head_dim": 32, **INDEXER, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 8}
QSA = {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "indexer_n_heads": 2, "indexer_kv_heads": 1,
       "indexer_budget": 8, "indexer_compress_ratio": 4, "layer_types": ["indexed_attention"] * 2}
# model type, its settings, the reason it is refused for, if it is
TINY = [
    ("phi", {}, "whose attention cuts that part off a head"),
    ("persimmon", {}, "whose attention cuts that part off a head"),
    ("stablelm", {}, "whose attention cuts that part off a head"),
    ("gpt_neox_japanese", {}, "whose attention cuts that part off a head"),
    ("gpt_neox", {}, None),
    ("nemotron", {}, None),
    ("glm4", {"head_dim": 16}, None),
    ("mistral4", LATENT, "whose attention turns qk_rope_head_dim channels"),
    ("dots3_note_text", {**LATENT, **INDEXER, "head_dim": 24, "swa_head_dim": 24, "swa_qk_nope_head_dim": 16},
     "whose attention turns qk_rope_head_dim channels"),
    ("deepseek_v3", LATENT, None),
    ("deepseek_v32", {**LATENT, **INDEXER}, None),
    ("deepseek_v4", {**V4, "layer_types": ["sliding_attention", "compressed_sparse_attention"]},
     "whose heads cannot take tables of 32 channels"),
    ("deepseek_v4", {**V4, "layer_types": ["sliding_attention", "heavily_compressed_attention"]}, None),
    ("qwen4_exp_text", {**QSA, "indexer_head_dim": 8}, "whose heads cannot take tables of 16 channels"),
    ("qwen4_exp_text", {**QSA, "indexer_head_dim": 16}, None),
]


@pytest.mark.parametrize("mt, settings, reason", TINY, ids=lambda v: v if isinstance(v, str) and " " not in v else "")
def test_attention_that_fails_is_refused(mt, settings, reason, tmp_path):
    if mt == "mistral4":  # whose attention fails on the plain type too
        plain = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32, "llama_4_scaling_beta": 0.1}
    else:
        plain = {"rope_type": "default", "partial_rotary_factor": 0.5}
    wide = {"rope_type": "proportional", "partial_rotary_factor": 0.5,
            **{k: v for k, v in plain.items() if k in ("llama_4_scaling_beta", "original_max_position_embeddings")}}

    def config_of(rope):
        rope = {"rope_theta": 1e4, **rope}
        if mt == "qwen4_exp_text":
            rope["mrope_section"] = [2, 1, 1]
        if mt == "deepseek_v4":
            rope = {"main": rope, "compress": rope | {"rope_theta": 1.6e5}}
        if mt == "dots3_note_text":
            rope = {"indexed_attention": rope, "sliding_attention": rope}
        return CONFIG_MAPPING[mt](**SMALL, **settings, rope_parameters=copy.deepcopy(rope), attn_implementation="eager")

    def run(config):
        with torch.no_grad():
            transformers.AutoModel.from_config(config).eval()(input_ids=torch.arange(1, 17)[None])

    run(config_of(plain))
    config = config_of(wide)
    (tmp_path / "config.json").write_text(json.dumps(parity.as_json(config)))
    if reason is None:
        run(config)
        kinds = json.loads(tool("explain", tmp_path, "--json"))["kinds"]
        assert {k["scaling"]["type"] for k in kinds if k["rotates"]} == {"proportional"}
    else:
        with pytest.raises(RuntimeError, match="must match the size"):
            run(config)
        with pytest.raises(AssertionError, match=reason):
            tool("explain", tmp_path, "--json")


def rows_of_modules():
    """For docs/families.md: module, model types, what it agrees for."""
    with tempfile.TemporaryDirectory() as folder:
        for name in modules():
            agreed, refused, problems = outcome_of(name, pathlib.Path(folder))
            assert agreed and not problems, (name, problems)
            types_ = list(dict.fromkeys(label.split(" ")[0] for label in agreed))
            yield name, types_, scalings_of(agreed), scalings_of(refused)


def scalings_of(labels):
    words = (label.partition(" ")[2].removesuffix("-by-default") or "default" for label in labels)
    return list(dict.fromkeys(words))
