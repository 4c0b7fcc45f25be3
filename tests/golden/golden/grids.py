"""Vision towers and other coordinates: pairs that follow rows and columns of patches, frames, or numbers that are no grid.

Positions are height first, then width (time before both where there is time), whatever the tower itself counts first.
"""

from __future__ import annotations

from .encoding import Encoding, Family, mp, oracle
from .text import asked

GRID = [[0, 1, 2, 0, 7, 63, 127, 31, 2**17 - 1, 2**20 - 1, 10**7], [0, 0, 3, 5, 7, 14, 1, 127, 2**10, 9, 10**7 - 5]]
FROM_ONE = [[p + 1 for p in row] for row in GRID]


def tower(name: str, config: dict, source: str, spelling: str = "v5 vision_config") -> dict:
    return {f"{name}, vision_config": {"spelling": spelling, "source": source, "config": config}}


def axial(name, *, head_dim, theta, axis, rung, ladder_dim, layout="half", first=None, second=None, positions=None,
          turned_by=None, asked_by=(), **more) -> Encoding:
    """Pairs that stand on rungs of one ladder and follow an axis each."""
    pairs = len(axis)
    if first is None:
        first = list(range(pairs)) if layout == "half" else list(range(0, 2 * pairs, 2))
        second = [c + pairs for c in first] if layout == "half" else [c + 1 for c in first]
    rates = [mp.power(mp.mpf(theta), -mp.mpf(2 * r) / ladder_dim) for r in rung]
    return Encoding(name=name, head_dim=head_dim, first=first, second=second, inv_freq=rates,
                    positions=positions or [list(row) for row in GRID], turned_by=turned_by, axis=axis,
                    asked_by=list(asked_by), layout=layout, **more)


def rows_then_columns(pairs: int) -> dict:
    """[h | w]: the first half of the pairs follows the height, the other the width; the ladder begins again."""
    half = pairs // 2
    return {"axis": [0] * half + [1] * half, "rung": list(range(half)) * 2, "ladder_dim": pairs}


def columns_then_rows(pairs: int) -> dict:
    half = pairs // 2
    return {"axis": [1] * half + [0] * half, "rung": list(range(half)) * 2, "ladder_dim": pairs}


AXIAL = {"rope_theta": 10000.0, "rope_type": "axial"}


def vision_hw_half() -> Family:
    made = [
        ("Qwen2-VL tower", {"model_type": "qwen2_vl_vision", "depth": 32, "embed_dim": 1280, "hidden_size": 1536,
                            "num_heads": 16, "patch_size": 14, "spatial_merge_size": 2}, 80, 10000.0,
         "Qwen/Qwen2-VL-2B-Instruct"),
        ("GLM-4.1V tower", {"model_type": "glm4v_vision", "depth": 24, "hidden_size": 1536, "num_heads": 12,
                            "patch_size": 14, "spatial_merge_size": 2}, 128, 10000.0, "zai-org/GLM-4.1V-9B-Thinking"),
        ("LFM3-VL tower", {"model_type": "lfm3_vl_vision", "hidden_size": 1024, "num_attention_heads": 16,
                           "patch_size": 16}, 64, 1000000.0, "the defaults of transformers' Lfm3VlVisionConfig"),
        ("GLM-5-Next tower", {"model_type": "glm5_next_vision", "depth": 24, "hidden_size": 1024, "num_heads": 16,
                              "patch_size": 14}, 64, 10000.0, "the defaults of transformers' Glm5NextVisionConfig"),
        ("dots3.note tower", {"model_type": "dots3_note_vision_encoder", "hidden_size": 1536, "num_attention_heads": 24,
                              "patch_size": 14}, 64, 10000.0, "the defaults of transformers' Dots3NoteVisionConfig"),
        ("Cohere Compass tower", {"model_type": "cohere_compass_vision", "depth": 27, "hidden_size": 1152, "num_heads": 16,
                                  "patch_size": 16}, 72, 10000.0, "the defaults of transformers' CohereCompassVisionConfig"),
    ]
    configs, encodings = {}, []
    for name, config, head_dim, theta, source in made:
        mine = tower(name, config | {"rope_parameters": AXIAL | {"rope_theta": theta}}, source)
        configs |= mine
        encodings.append(axial(name, head_dim=head_dim, theta=theta, asked_by=asked(mine), **rows_then_columns(head_dim // 2)))
    return Family(
        "vision_hw_half", "[h | w]: a quarter of the head's channels each, then the same again; channel c with c + d/2.",
        ["transformers models/qwen2_vl: VisionRotaryEmbedding; models/glm4v, lfm3_vl, glm5_next, dots3_note, "
         "cohere_compass"], configs, encodings)


def vision_pairs() -> Family:
    llama = tower("Llama 4 tower", {"model_type": "llama4_vision_model", "hidden_size": 1408, "num_attention_heads": 16,
                                    "image_size": 336, "patch_size": 14,
                                    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
                  "meta-llama/Llama-4-Scout-17B-16E, its vision_config")
    sam = tower("SAM 3 tower", {"model_type": "sam3_vit_model", "hidden_size": 1024, "num_attention_heads": 16,
                                "image_size": 1008, "patch_size": 14, "window_size": 24, "rope_parameters": AXIAL},
                "the defaults of transformers' Sam3ViTConfig")
    ink = tower("Inkling 2 tower", {"model_type": "inkling2_vision", "hidden_size": 1024, "num_attention_heads": 16,
                                    "patch_size": 20, "rope_parameters": AXIAL},
                "the defaults of transformers' Inkling2VisionConfig")
    patches = [[0, 0, 1, 5, 23, 23], [0, 1, 0, 17, 0, 23]]
    one_on = [[r + 1 for r in row] for row in patches]
    moon = {"MoonViT, vision_config": {"spelling": "remote code", "source": "moonshotai/Kimi-VL-A3B-Instruct, its vision_config",
                                       "config": {"model_type": "moonvit", "hidden_size": 1152, "num_attention_heads": 16,
                                                  "patch_size": 14, "num_hidden_layers": 27}}}
    return Family(
        "vision_pairs", "Width before height, neighbours turn together: in two halves, or alternating (MoonViT).",
        ["transformers models/llama4/modeling_llama4.py: Llama4VisionRotaryEmbedding (positions from 1 on; the class token, "
         "which is last, does not turn)", "transformers models/sam3, models/inkling2",
         "Kimi-VL's own code: Rope2DPosEmb (its comment says the opposite order)"], llama | sam | ink | moon, [
            axial("Llama 4 tower", head_dim=88, theta=10000.0, layout="interleaved", positions=patches, turned_by=one_on,
                  asked_by=asked(llama), **columns_then_rows(44), note="patches count from 1"),
            axial("SAM 3 tower", head_dim=64, theta=10000.0, layout="interleaved", asked_by=asked(sam),
                  **columns_then_rows(32)),
            axial("Inkling 2 tower", head_dim=64, theta=10000.0, layout="interleaved", asked_by=asked(ink),
                  turned_by=FROM_ONE, **columns_then_rows(32), note="patches count from 1; the class token stands at 0"),
            axial("MoonViT", head_dim=72, theta=10000.0, layout="interleaved", asked_by=asked(moon),
                  axis=[1 - j % 2 for j in range(36)], rung=[j // 2 for j in range(36)], ladder_dim=36),
        ])


def vision_wh_half() -> Family:
    kimi = tower("Kimi-K2.5 tower", {"model_type": "kimi_k25_vision", "hidden_size": 1152, "num_attention_heads": 16,
                                     "patch_size": 14, "rope_parameters": AXIAL}, "moonshotai/Kimi-K2.5, its vision_config")
    step = tower("Step 3.7 tower", {"model_type": "step3p5_vision", "hidden_size": 1536, "num_attention_heads": 16,
                                    "image_size": 728, "patch_size": 14, "rope_parameters": AXIAL},
                 "the defaults of transformers' Step3p7VisionConfig")
    muse = tower("Muse Glimmer tower", {"model_type": "muse_glimmer_vision", "hidden_size": 1536, "num_attention_heads": 16,
                                        "patch_size": 14, "rope_parameters": AXIAL},
                 "the defaults of transformers' MuseGlimmerVisionConfig")
    return Family(
        "vision_wh_half", "Width before height, channel c with c + d/2: alternating (Kimi-K2.5), or in two halves (Step 3.7, and "
                          "Muse Glimmer, whose patches count from 1).",
        ["transformers models/kimi_k25, models/step3p7, models/muse_glimmer (position_ids.flip(-1) + 1)"], kimi | step | muse, [
            axial("Muse Glimmer tower", head_dim=96, theta=10000.0, turned_by=FROM_ONE, asked_by=asked(muse),
                  **columns_then_rows(48), note="patches count from 1"),
            axial("Kimi-K2.5 tower", head_dim=72, theta=10000.0, asked_by=asked(kimi),
                  axis=[1 - j % 2 for j in range(36)], rung=[j // 2 for j in range(36)], ladder_dim=36),
            axial("Step 3.7 tower", head_dim=96, theta=10000.0, asked_by=asked(step), **columns_then_rows(48)),
        ])


def vision_pixtral() -> Family:
    configs = tower("Pixtral tower", {"model_type": "pixtral", "hidden_size": 1024, "num_attention_heads": 16,
                                      "image_size": 1024, "patch_size": 16, "rope_parameters": AXIAL},
                    "mistralai/Pixtral-12B-2409, its vision_config")
    return Family(
        "vision_pixtral", "One ladder over the whole head: height takes its even rungs, width its odd ones.",
        ["transformers models/pixtral/modeling_pixtral.py"], configs, [
            axial("Pixtral tower", head_dim=64, theta=10000.0, axis=[0] * 16 + [1] * 16,
                  rung=[2 * j for j in range(16)] + [2 * j + 1 for j in range(16)], ladder_dim=64,
                  asked_by=asked(configs))])


def vision_blocks() -> Family:
    gemma = tower("Gemma 4 tower", {"model_type": "gemma4_vision", "hidden_size": 768, "num_attention_heads": 12,
                                    "head_dim": 64, "patch_size": 16,
                                    "rope_parameters": AXIAL | {"rope_theta": 100.0}}, "google/gemma-4-E2B-it, its vision_config")
    minimax = tower("MiniMax-M3 tower", {"model_type": "minimax_m3_vl_vision", "hidden_size": 1280, "num_attention_heads": 16,
                                         "image_size": 2016, "patch_size": 14, "rope_parameters": AXIAL},
                    "the defaults of transformers' MiniMaxM3VLVisionConfig")
    sixteen = list(range(16))
    three = [[0, 0, 0, 1, 3, 0, 5], [0, 1, 2, 7, 63, 10**6, 11], [0, 0, 5, 7, 14, 9, 10**7]]
    return Family(
        "vision_blocks", "A block of channels for each axis: halves inside each block (Gemma 4, width first), or over all "
                         "blocks together with a tail that does not turn (MiniMax-M3: time, height, width).",
        ["transformers models/gemma4/modeling_gemma4.py: apply_multidimensional_rope; patches counted x before y",
         "transformers models/minimax_m3_vl/modeling_minimax_m3_vl.py"], gemma | minimax, [
            axial("Gemma 4 tower", head_dim=64, theta=100.0, axis=[1] * 16 + [0] * 16, rung=sixteen * 2, ladder_dim=32,
                  first=sixteen + [32 + j for j in sixteen], second=[16 + j for j in sixteen] + [48 + j for j in sixteen],
                  layout="blocks", asked_by=asked(gemma)),
            axial("MiniMax-M3 tower", head_dim=80, theta=10000.0, axis=[0] * 13 + [1] * 13 + [2] * 13,
                  rung=list(range(13)) * 3, ladder_dim=26, positions=three, asked_by=asked(minimax)),
        ])


def vision_coordinates() -> Family:
    config = {"model_type": "dinov3_vit", "hidden_size": 384, "num_attention_heads": 6, "image_size": 224, "patch_size": 16,
              "rope_theta": 100.0}
    configs = tower("DINOv3 ViT-S/16", config, "facebook/dinov3-vits16-pretrain-lvd1689m", "v5")
    rows, columns = 14, 14
    where = [(0, 0), (0, 1), (1, 0), (7, 3), (13, 13), (6, 7)]
    positions = [[2 * ((h + 0.5) / rows) - 1 for h, _ in where], [2 * ((w + 0.5) / columns) - 1 for _, w in where]]
    turned = [[2 * mp.pi * mp.mpf(v) for v in row] for row in positions]
    return Family(
        "vision_coordinates", "Centres of patches, from -1 to 1 along each axis, times 2 pi: numbers that are not whole.",
        ["transformers models/dinov3_vit/modeling_dinov3_vit.py: a 14 x 14 grid; class and register tokens do not turn"],
        configs, [axial("DINOv3 ViT-S/16", head_dim=64, theta=100.0, positions=positions, turned_by=turned,
                        asked_by=asked(configs), axis=[0] * 16 + [1] * 16, rung=list(range(16)) * 2, ladder_dim=32)])


def vision_mismatched() -> Family:
    configs = tower("V-JEPA 2 ViT-L", {"model_type": "vjepa2", "hidden_size": 1024, "num_attention_heads": 16,
                                       "crop_size": 256, "patch_size": 16, "frames_per_clip": 64, "tubelet_size": 2},
                    "facebook/vjepa2-vitl-fpc64-256", "v5")
    ids = [0, 1, 17, 255, 256, 4097, 8191]
    positions = [[i // 256 for i in ids], [i % 256 // 16 for i in ids], [i % 16 for i in ids]]
    pairs = 10  # of each axis: 2 * ((64 // 3) // 2) = 20 channels
    first = [20 * a + 2 * j for a in range(3) for j in range(pairs)]
    axis = [a for a in range(3) for _ in range(pairs)]
    e = axial("V-JEPA 2 ViT-L", head_dim=64, theta=10000.0, axis=axis, rung=[2 * j % pairs for _ in range(3) for j in range(pairs)],
              ladder_dim=20, first=first, second=[c + 1 for c in first], positions=positions, asked_by=asked(configs))
    ladder = [mp.power(mp.mpf(10000), -mp.mpf(r) / pairs) for r in range(pairs)]
    e.inv_freq = [ladder[2 * j % pairs] for _ in range(3) for j in range(pairs)]
    e.inv_freq_second = [ladder[(2 * j + 1) % pairs] for _ in range(3) for j in range(pairs)]
    e.axis_second = list(axis)
    e.layout = "interleaved, two angles"
    e.note = "the table is laid out for halves and the channels for neighbours: published so, and no rotation"
    return Family(
        "vision_mismatched", "Neighbouring channels under angles that were repeated for halves: no rotation.",
        ["transformers models/vjepa2/modeling_vjepa2.py: rotate_queries_or_keys"], configs, [e])


def memory_attention() -> Family:
    configs = {"SAM 2.1, memory attention": {
        "spelling": "v5", "source": "facebook/sam2.1-hiera-tiny",
        "config": {"model_type": "sam2_video", "memory_attention_hidden_size": 256, "memory_attention_num_attention_heads": 1,
                   "memory_attention_downsample_rate": 1, "memory_attention_rope_feat_sizes": [64, 64],
                   "rope_parameters": AXIAL}}}
    where = [[0, 0, 1, 5, 63, 63], [0, 1, 0, 17, 0, 63]]
    return Family(
        "memory_attention", "Width then height, neighbours; keys of several memory frames repeat the table of one.",
        ["transformers models/sam2_video/modeling_sam2_video.py: Sam2VideoVisionRotaryEmbedding"], configs, [
            axial("SAM 2.1 memory attention", head_dim=256, theta=10000.0, layout="interleaved", positions=where,
                  asked_by=asked(configs), **columns_then_rows(128))])


def physical_coordinates() -> Family:
    config = {"model_type": "esmfold2", "atom_encoder": {
        "head_dim": 32, "num_spatial_rope_pairs_per_axis": 4, "num_uid_rope_pairs": 2,
        "spatial_rope_base_frequency": 100.0, "uid_rope_base_frequency": 10000.0}}
    configs = {"ESMFold2 atoms": {"spelling": "v5", "source": "in the shape of transformers' EsmFold2AtomEncoderConfig, own numbers",
                                  "config": config}}
    positions = [[0.0, 1.5, -12.25, 3.75, 100.5], [0.0, -2.25, 4.125, 0.0, 7.0], [0.0, 31.0, -0.5, 8.0, -64.0],
                 [0, 1, 2, 500, 131071]]
    spatial = [mp.power(mp.mpf(100), -mp.mpf(j) / 4) for j in range(4)]
    uid = [mp.power(mp.mpf(10000), -mp.mpf(j) / 2) for j in range(2)]
    rates = spatial * 3 + uid + [mp.mpf(0)] * 2
    return Family(
        "physical_coordinates", "Three coordinates of an atom and the number of its residue, two bases, and pairs that stand still.",
        ["transformers models/esmfold2/modeling_esmfold2.py: EsmFold2RotaryEmbedding"], configs, [
            Encoding(name="ESMFold2 atoms", head_dim=32, first=list(range(16)), second=[16 + j for j in range(16)],
                     inv_freq=rates, axis=[0] * 4 + [1] * 4 + [2] * 4 + [3] * 4, positions=positions,
                     asked_by=asked(configs))])


def time_stamps() -> Family:
    config = {"model_type": "musicflamingo", "audio_frame_step": 0.01, "head_dim": 1280, "max_position_embeddings": 1200, "rope_parameters": {
        "rope_type": "default", "rope_theta": 1200.0, "partial_rotary_factor": 0.2}}
    configs = {"Music Flamingo": {"spelling": "v5", "source": "the defaults of transformers' MusicFlamingoConfig", "config": config}}
    # Tokens of two windows of 30 s (750 tokens of 0.04 s each): seconds, the window, and the token in its window.
    seconds = [0.0, 0.04, 1.0, 29.96, 30.0, 45.0]
    window = [0, 0, 0, 0, 1, 1]
    index = [0, 1, 25, 749, 0, 375]
    limit = 1200
    angle = [2 * mp.pi * mp.mpf(t) for t in seconds]
    turned = [[a * mp.mpf(w) / limit for a, w in zip(angle, window)],
              [a * 2 * mp.pi * mp.mpf(i) / limit for a, i in zip(angle, index)]]
    ladder = oracle.inv_freq(1200.0, 256)
    first = list(range(0, 512, 2))
    return Family(
        "time_stamps", "Two axes made of time stamps: the window's number and the token's place in it, each times -2 pi seconds.",
        ["transformers models/musicflamingo/modeling_musicflamingo.py: MusicFlamingoRotaryEmbedding"], configs, [
            Encoding(name="Music Flamingo", head_dim=1280, first=first, second=[c + 1 for c in first], inv_freq=ladder * 2,
                     axis=[0] * 128 + [1] * 128, positions=[seconds, window, index], turned_by=turned, clockwise=True,
                     layout="interleaved", asked_by=asked(configs),
                     note="positions: seconds, the number of the 30 s window, the token in it; 1200 is the trained length")])


FAMILIES = (vision_hw_half, vision_pairs, vision_wh_half, vision_pixtral, vision_blocks, vision_coordinates,
            vision_mismatched, memory_attention, physical_coordinates, time_stamps)
