"""The part of the transformers adapter that is about vision towers and other coordinates.

Questions give positions height first, then width (time before both). What a tower's own module wants is said here: the
columns of its position ids, and where the model makes them.
"""

from __future__ import annotations

import importlib

import torch
from protocol import Unsupported

# model_type: (module, rotary class, columns of position ids). COUNTS_FROM_ONE: the model adds 1 to them.
AXIAL = {
    "qwen2_vl_vision": ("qwen2_vl", "Qwen2VLVisionRotaryEmbedding", (0, 1)),
    "glm4v_vision": ("glm4v", "Glm4vVisionRotaryEmbedding", (0, 1)),
    "lfm3_vl_vision": ("lfm3_vl", "Lfm3VlVisionRotaryEmbedding", (0, 1)),
    "glm5_next_vision": ("glm5_next", "Glm5NextVisionRotaryEmbedding", (0, 1)),
    "muse_glimmer_vision": ("muse_glimmer", "MuseGlimmerVisionRotaryEmbedding", (1, 0)),
    "dots3_note_vision_encoder": ("dots3_note", "Dots3NoteVisionRotaryEmbedding", (0, 1)),
    "cohere_compass_vision": ("cohere_compass", "CohereCompassVisionRotaryEmbedding", (0, 1)),
    "kimi_k25_vision": ("kimi_k25", "Kimi_K25VisionRotaryEmbedding", (0, 1)),
    "step3p5_vision": ("step3p7", "Step3p7VisionRotaryEmbedding", (0, 1)),
    "inkling2_vision": ("inkling2", "Inkling2VisionRotaryEmbedding", (0, 1)),
    "minimax_m3_vl_vision": ("minimax_m3_vl", "MiniMaxM3VLVisionRotaryEmbedding", (0, 1, 2)),
    "pixtral": ("pixtral", "PixtralVisionRotaryEmbedding", (0, 1)),
    "gemma4_vision": ("gemma4", "Gemma4VisionRotaryEmbedding", (1, 0)),  # its image processor counts x before y
    "sam3_vit_model": ("sam3", "Sam3ViTRotaryEmbedding", (1, 0)),  # precompute_positions stacks w before h
    "sam2_video": ("sam2_video", "Sam2VideoVisionRotaryEmbedding", (1, 0)),
}
COUNTS_FROM_ONE = ("muse_glimmer_vision", "inkling2_vision")
OTHERS = ("llama4_vision_model", "dinov3_vit", "vjepa2", "esmfold2", "musicflamingo", "lightglue", "efficientloftr")


def knows(model_type: str) -> bool:
    return model_type in AXIAL or model_type in OTHERS


def modeling(name: str):
    return importlib.import_module(f"transformers.models.{name}.modeling_{name}")


def axial(config, request, x):
    """x [tokens, heads, channels]"""
    name, cls, columns = AXIAL[config.model_type]
    m = modeling(name)
    ids = torch.tensor(request["positions"])[list(columns)].T  # [tokens, axes]
    ids = ids + (config.model_type in COUNTS_FROM_ONE)
    if config.model_type in ("pixtral", "gemma4_vision"):
        ids = ids if config.model_type == "pixtral" else ids[None]
    cos, sin = getattr(m, cls)(config)(torch.zeros(1, 1), ids)
    if config.model_type == "gemma4_vision":
        return m.apply_multidimensional_rope(x[None], cos, sin, ids)[0]
    if config.model_type == "pixtral":
        return m.apply_rotary_pos_emb(x[None], x[None], cos[None], sin[None], unsqueeze_dim=2)[0][0]
    if hasattr(m, "apply_rotary_pos_emb_2d"):
        heads = x.transpose(0, 1)[None]
        return m.apply_rotary_pos_emb_2d(heads, heads, cos, sin)[0][0].transpose(0, 1)
    return m.apply_rotary_pos_emb_vision(x, x, cos, sin)[0]


def llama4(config, request, x):
    m = modeling("llama4")
    side = config.image_size // config.patch_size
    table = m.Llama4VisionRotaryEmbedding(config)(x)
    rows, columns = request["positions"]
    table = table[torch.tensor(rows) * side + torch.tensor(columns)]
    return m.vision_apply_rotary_emb(x[None], x[None], table)[0][0]  # [1, tokens, heads, channels]


def dinov3(config, request, x):
    m = modeling("dinov3_vit")
    side = config.image_size // config.patch_size
    cos, sin = m.DINOv3ViTRopePositionEmbedding(config).eval()(torch.zeros(1, 3, config.image_size, config.image_size))
    centres = m.get_patches_center_coordinates(side, side, dtype=torch.float32, device=torch.device("cpu"))
    asked = torch.tensor(request["positions"]).T
    gaps = (asked[:, None].float() - centres[None]).abs().amax(-1)
    if gaps.amin(1).max() > 1e-6:
        raise Unsupported("makes its coordinates itself, and only those of a whole image")
    rows = gaps.argmin(1)
    heads = x.transpose(0, 1)[None]
    return m.apply_rotary_pos_emb(heads, heads, cos[rows], sin[rows])[0][0].transpose(0, 1)


def vjepa2(config, request, x):
    m = modeling("vjepa2")
    attention = m.VJEPA2RopeAttention(config, config.hidden_size, config.num_attention_heads)
    frames, rows, columns = (torch.tensor(row) for row in request["positions"])
    ids = frames * attention.grid_size**2 + rows * attention.grid_size + columns
    where = attention.get_position_ids(x, masks=ids[None])
    heads = x.transpose(0, 1)[None]  # [1, heads, tokens, channels]
    return attention.apply_rotary_embeddings(heads, tuple(w[:, :1] for w in where))[0].transpose(0, 1)


def esmfold2(config, request, x):
    m = modeling("esmfold2")

    class Atoms:
        pass

    for key, value in request["config"]["atom_encoder"].items():
        setattr(Atoms, key, value)
    place = torch.tensor(request["positions"][:3]).T[None]
    cos, sin = m.EsmFold2RotaryEmbedding(Atoms)(place, torch.tensor(request["positions"][3])[None], torch.float32)
    heads = x.transpose(0, 1)[None]
    return m.apply_rotary_pos_emb(heads, heads, cos, sin)[0][0].transpose(0, 1)


def musicflamingo(config, request, x):
    m = modeling("musicflamingo")
    rotary = m.MusicFlamingoRotaryEmbedding(config)
    out = []
    length = 750  # tokens of a 30 s window
    for token, (second, window, index) in enumerate(zip(*request["positions"])):
        # The module takes whole windows: this token's is asked for, and its row is read.
        stamps = 30.0 * window + torch.arange(length, dtype=torch.float64)[None] * 0.04
        stamps[0, index] = second
        cos, sin = rotary(stamps, length)
        out.append(m.apply_rotary_time_emb(x[token], cos[0, index], sin[0, index]))
    return torch.stack(out)


def lightglue(config, request, x):
    m = modeling("lightglue")
    encoder = m.LightGluePositionalEncoder(config)
    encoder.projector.weight.copy_(torch.tensor(request["weights"]["projector"]))
    (cos, sin), = encoder(torch.tensor(request["positions"]).T[None])
    heads = x.transpose(0, 1)[None]
    return m.apply_rotary_pos_emb(heads, heads, cos, sin)[0][0].transpose(0, 1)


def efficientloftr(config, request, x):
    m = modeling("efficientloftr")
    rows, columns = (torch.tensor(row) for row in request["positions"])
    side = 4 * (int(max(rows.max(), columns.max())) + 1)
    cos, sin = m.EfficientLoFTRRotaryEmbedding(config)(torch.zeros(1, config.hidden_size, side, side))
    return m.apply_rotary_pos_emb(x, x, cos[0, rows, columns], sin[0, rows, columns])[0]


def turned(config, request, x):
    if config.model_type in AXIAL:
        return axial(config, request, x)
    return {"llama4_vision_model": llama4, "dinov3_vit": dinov3, "vjepa2": vjepa2, "esmfold2": esmfold2,
            "musicflamingo": musicflamingo, "lightglue": lightglue, "efficientloftr": efficientloftr}[config.model_type](config, request, x)
