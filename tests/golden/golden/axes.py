"""Text families whose pairs follow several axes: M-RoPE in its orders, and its four-axis kin."""

from __future__ import annotations

from .encoding import Encoding, Family, one_axis
from .text import asked, gguf, llama_shape


def spread(axes: int, trained: int, negative: bool = True) -> list[list[int]]:
    """[axes][tokens]: text (equal axes), and grids where every axis stands elsewhere; an axis at 0 is a value, too."""
    base = [0, 1, 7, trained // 2, trained, 2**17 - 1, 2**20 - 1, 10**7, 5]
    apart = [[0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 2, 3, 1, 5, -7, -11, -5], [0, 0, 5, 11, 14, 2, 9, -3, 31],
             [0, 0, -7, 8, 3, -6, 4, 0, -5]]
    rows = [[b + d for b, d in zip(base, apart[a], strict=True)] for a in range(axes)]
    return [row + [-3 - a] for a, row in enumerate(rows)] if negative else rows


def blocked(sections: list[int], order: list[int] | None = None) -> list[int]:
    order = order or list(range(len(sections)))
    return [axis for axis, n in zip(order, sections, strict=True) for _ in range(n)]


def interleaved(sections: list[int], pairs: int) -> list[int]:
    """t everywhere, then h at 1, 4, 7, ... and w at 2, 5, 8, ..., each below three times its section."""
    axis = [0] * pairs
    for which in (1, 2):
        for j in range(which, min(3 * sections[which], pairs), 3):
            axis[j] = which
    return axis


def several(name, *, axis, trained, positions=None, **more) -> Encoding:
    e = one_axis(name, trained=trained, positions=[0], **more)
    e.axis = axis
    e.positions = positions or spread(1 + max(axis), trained)
    if "temperature" in more:
        raise ValueError("temperature with several axes has no published meaning")
    return e


def mrope_forms(name: str, base: dict, theta: float, rope: dict, source: str) -> dict:
    inside = {k: v for k, v in rope.items() if k not in ("partial_rotary_factor",)}
    top = {k: v for k, v in rope.items() if k == "partial_rotary_factor"}
    return {
        f"{name}, v4 mrope": {"spelling": "v4 type mrope", "source": source,
                              "config": base | {"rope_theta": theta, "rope_scaling": {"type": "mrope"} | inside} | top},
        f"{name}, v5 flat": {"spelling": "v5 flat", "source": source, "config": base | {
            "rope_parameters": {"rope_type": "default", "rope_theta": theta} | rope}},
    }


def v5(name: str, base: dict, theta: float, rope: dict, source: str) -> dict:
    return {f"{name}, v5 flat": {"spelling": "v5 flat", "source": source, "config": base | {
        "rope_parameters": {"rope_type": "default", "rope_theta": theta} | rope}}}


def mrope_blocked() -> Family:
    qwen = mrope_forms("Qwen2-VL-2B", llama_shape("qwen2_vl_text", 1536, 12, 2, 28, 32768), 1000000.0,
                       {"mrope_section": [16, 24, 24]}, "Qwen/Qwen2-VL-2B-Instruct, its text_config")
    glm = v5("GLM-4.1V-9B", llama_shape("glm4v_text", 4096, 32, 2, 40, 65536), 10000.0,
             {"mrope_section": [8, 12, 12], "partial_rotary_factor": 0.5}, "zai-org/GLM-4.1V-9B-Thinking, its text_config")
    air = v5("GLM-4.5V", llama_shape("glm4v_moe_text", 4096, 96, 8, 46, 65536, head_dim=128), 10000.0,
             {"mrope_section": [8, 12, 12], "partial_rotary_factor": 0.5}, "zai-org/GLM-4.5V, its text_config")
    ocr = v5("GLM-OCR", llama_shape("glm_ocr_text", 1536, 16, 8, 16, 131072, head_dim=128), 10000.0,
             {"mrope_section": [16, 24, 24], "partial_rotary_factor": 1.0}, "zai-org/GLM-OCR, its text_config")
    paddle = v5("PaddleOCR-VL", llama_shape("paddleocr_vl_text", 1024, 16, 2, 18, 131072, head_dim=128), 500000.0,
                {"mrope_section": [16, 24, 24]}, "PaddlePaddle/PaddleOCR-VL, its text_config")
    file = gguf("Qwen2-VL-2B", "qwen2vl", {
        "block_count": 28, "context_length": 32768, "embedding_length": 1536, "attention.head_count": 12,
        "attention.head_count_kv": 2, "rope.freq_base": 1000000.0, "rope.dimension_sections": [16, 24, 24, 0]},
        "in the shape of Qwen2-VL-2B's files")
    scaled_p = {"factor": 4.0, "original_max_position_embeddings": 32768}
    scaled = {"Qwen2.5-VL-3B, YaRN 4": {
        "spelling": "v5 flat", "source": "Qwen/Qwen2.5-VL-3B-Instruct with the scaling its card gives",
        "config": llama_shape("qwen2_5_vl_text", 2048, 16, 2, 36, 131072) | {"rope_parameters": {
            "rope_type": "yarn", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]} | scaled_p}}}
    return Family(
        "mrope_blocked", "Three axes (time, height, width), each turning one block of pairs; the ladder goes on through all.",
        ["Qwen2-VL (arXiv 2409.12191)", "transformers models/qwen2_vl, models/glm4v (neighbours), models/glm4v_moe (halves), "
         "models/glm_ocr, models/paddleocr_vl"], qwen | glm | air | ocr | paddle | file | scaled, [
            several("Qwen2-VL-2B", head_dim=128, theta=1000000.0, trained=32768, axis=blocked([16, 24, 24]),
                    asked_by=asked(qwen) + asked(file)),
            several("GLM-4.1V-9B", head_dim=128, rotary_dim=64, theta=10000.0, trained=65536, layout="interleaved",
                    axis=blocked([8, 12, 12]), asked_by=asked(glm)),
            several("GLM-4.5V", head_dim=128, rotary_dim=64, theta=10000.0, trained=65536, axis=blocked([8, 12, 12]),
                    asked_by=asked(air)),
            several("GLM-OCR", head_dim=128, theta=10000.0, trained=131072, layout="interleaved",
                    axis=blocked([16, 24, 24]), asked_by=asked(ocr)),
            several("PaddleOCR-VL", head_dim=128, theta=500000.0, trained=131072, axis=blocked([16, 24, 24]),
                    asked_by=asked(paddle)),
            several("Qwen2.5-VL-3B, YaRN 4", head_dim=128, theta=1000000.0, trained=131072, scaling="yarn",
                    params=scaled_p, axis=blocked([16, 24, 24]), asked_by=asked(scaled)),
        ])


def mrope_interleaved() -> Family:
    vl = v5("Qwen3-VL-4B", llama_shape("qwen3_vl_text", 2560, 32, 8, 36, 262144, head_dim=128), 5000000.0,
            {"mrope_section": [24, 20, 20], "mrope_interleaved": True}, "Qwen/Qwen3-VL-4B-Instruct, its text_config")
    types = ["linear_attention"] * 3 + ["full_attention"]
    five = v5("Qwen3.5-4B", llama_shape("qwen3_5_text", 2560, 16, 4, 4, 262144, head_dim=256, layer_types=types), 10000000.0,
              {"mrope_section": [11, 11, 10], "mrope_interleaved": True, "partial_rotary_factor": 0.25},
              "in the shape of Qwen/Qwen3.5-4B, its text_config, four layers")
    four = v5("Qwen4-exp", llama_shape("qwen4_exp_text", 2048, 16, 2, 4, 32768, head_dim=256, layer_types=[
        "linear_attention"] * 3 + ["indexed_attention"]), 10000.0, {},
        "in the shape of transformers' Qwen4ExpTextConfig, four layers, sections not said")
    file = gguf("Qwen3-VL-4B", "qwen3vl", {
        "block_count": 36, "context_length": 262144, "embedding_length": 2560, "attention.head_count": 32,
        "attention.head_count_kv": 8, "attention.key_length": 128, "rope.freq_base": 5000000.0,
        "rope.dimension_sections": [24, 20, 20, 0]}, "in the shape of Qwen3-VL-4B's files")
    return Family(
        "mrope_interleaved", "Three axes that alternate from pair to pair: t h w t h w ..., what is left over follows t.",
        ["transformers models/qwen3_vl/modeling_qwen3_vl.py: apply_interleaved_mrope", "transformers models/qwen3_5",
         "ggml gives the last pairs of [24, 20, 20] to a fourth axis instead"], vl | five | four | file, [
            several("Qwen3-VL-4B", head_dim=128, theta=5000000.0, trained=262144, axis=interleaved([24, 20, 20], 64),
                    asked_by=asked(vl)),
            several("Qwen3.5-4B", head_dim=256, rotary_dim=64, theta=10000000.0, trained=262144,
                    axis=interleaved([11, 11, 10], 32), asked_by=asked(five, "full_attention", 3)),
            several("Qwen4-exp", head_dim=256, theta=10000.0, trained=32768, axis=interleaved([11, 11, 10], 128),
                    asked_by=asked(four, "indexed_attention", 3)),
            # IMROPE: 61 and 62 satisfy neither test and read plane 3, which text and images leave at 0.
            several("Qwen3-VL-4B in GGUF", head_dim=128, theta=5000000.0, trained=262144,
                    axis=[3 if j in (61, 62) else a for j, a in enumerate(interleaved([24, 20, 20], 64))],
                    positions=spread(3, 262144) + [[0] * 10], asked_by=asked(file),
                    note="as ggml runs it: the fourth plane is 0 for text and images"),
        ])


def ernie_vl() -> Family:
    configs = v5("ERNIE-4.5-VL-28B", llama_shape("ernie4_5_vl_moe_text", 2560, 20, 4, 28, 131072, head_dim=128), 500000.0,
                 {"mrope_section": [22, 22, 20]}, "baidu/ERNIE-4.5-VL-28B-A3B-PT, its text_config")
    axis = [1 + j % 2 for j in range(44)] + [0] * 20
    return Family(
        "ernie_vl", "Height and width alternate over the first pairs, and time has the slowest ones; neighbours turn together.",
        ["transformers models/ernie4_5_vl_moe/modeling_ernie4_5_vl_moe.py"], configs,
        [several("ERNIE-4.5-VL-28B", head_dim=128, theta=500000.0, trained=131072, layout="interleaved", axis=axis,
                 asked_by=asked(configs))])


def xdrope() -> Family:
    base = llama_shape("hunyuan_vl_text", 1024, 16, 8, 24, 32768, head_dim=128)
    configs = {"HunyuanOCR, v5 flat": {"spelling": "v5 flat", "source": "in the shape of tencent/HunyuanOCR, its text_config",
                                       "config": base | {"rope_parameters": {
        "rope_type": "dynamic", "rope_theta": 10000.0, "alpha": 1000.0, "factor": 1.0, "mrope_section": [16, 16, 16, 16]}}}}
    e = several("HunyuanOCR", head_dim=128, theta=10000.0, trained=32768, scaling="ntk", params={"factor": 1000.0},
                axis=[j // 32 for j in range(64)], asked_by=asked(configs), positions=spread(4, 32768))
    e.inv_freq_second, e.axis_second = list(e.inv_freq), [2 + j // 32 for j in range(64)]
    e.layout = "half, two angles"
    e.note = "sections are cut from the doubled table, so the two channels of a pair follow different axes: no rotation"
    return Family(
        "xdrope", "Four axes, rows of positions in the caller's order. The table of head_dim / 2 angles is doubled to head_dim "
                  "columns, of which section i, 2 mrope_section[i] wide, follows axis i: channel c and its partner c + head_dim "
                  "/ 2 lie in different sections, and so a pair has two angles. The base is theta alpha^(d / (d - 2)).",
        ["transformers models/hunyuan_vl/modeling_hunyuan_vl.py: recomposition_frequencies; the order of axes is the caller's"],
        configs, [e])


def two_axis_text() -> Family:
    base = llama_shape("neomme", 1024, 16, 4, 2, 16384, head_dim=64,
                       layer_types=["sliding_attention", "full_attention"])
    configs = {"NeoMME, v5 nested": {"spelling": "v5 nested", "source": "the defaults of transformers' NeoMMEConfig, two layers",
                                     "config": base | {"rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1000000.0, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}}}}}
    return Family(
        "two_axis_text", "Rows and columns alternate from pair to pair, with a base and a width for each kind of layer.",
        ["transformers models/neomme/modeling_neomme.py"], configs, [
            several("NeoMME full attention", head_dim=64, rotary_dim=16, theta=1000000.0, trained=16384,
                    axis=[j % 2 for j in range(8)], asked_by=asked(configs, "full_attention", 1)),
            several("NeoMME sliding attention", head_dim=64, theta=10000.0, trained=16384,
                    axis=[j % 2 for j in range(32)], asked_by=asked(configs, "sliding_attention", 0)),
        ])


def mrope_nested() -> Family:
    base = llama_shape("cohere_compass_text", 2048, 16, 4, 2, 131072, head_dim=128,
                       layer_types=["sliding_attention", "full_attention"])
    configs = {"Cohere Compass, v5 nested": {
        "spelling": "v5 nested", "source": "in the shape of transformers' CohereCompassTextConfig, own numbers",
        "config": base | {"rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [24, 20, 20]},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [24, 20, 20]}}}}}
    axis = interleaved([24, 20, 20], 64)
    return Family(
        "mrope_nested", "Alternating axes with a base for each kind of layer.",
        ["transformers models/cohere_compass/modeling_cohere_compass.py"], configs, [
            several("Cohere Compass full attention", head_dim=128, theta=1000000.0, trained=131072, axis=axis,
                    asked_by=asked(configs, "full_attention", 1)),
            several("Cohere Compass sliding attention", head_dim=128, theta=10000.0, trained=131072, axis=axis,
                    asked_by=asked(configs, "sliding_attention", 0)),
        ])


def tmrope() -> Family:
    omni = v5("Qwen2.5-Omni-3B", llama_shape("qwen2_5_omni_text", 2048, 16, 2, 36, 32768), 1000000.0,
              {"mrope_section": [16, 24, 24]}, "Qwen/Qwen2.5-Omni-3B, the text_config of its thinker")
    three = v5("Qwen3-Omni-30B", llama_shape("qwen3_omni_moe_text", 2048, 32, 4, 48, 65536, head_dim=128), 1000000.0,
               {"mrope_section": [24, 20, 20], "mrope_interleaved": True}, "Qwen/Qwen3-Omni-30B-A3B-Instruct, its thinker")
    # 2 frames a second at 25 positions a second are whole; at 13 they are not, and Qwen3-Omni keeps the fractions.
    fractions = [[0.0, 6.5, 13.0, 19.5, 4096.5, 131071.5, 1000000.25], [0, 1, 2, 3, 4100, 131075, 1000007],
                 [0, 4, 2, 9, 4111, 131089, 1000003]]
    return Family(
        "tmrope", "Time in units of seconds: whole positions for Qwen2.5-Omni, fractions for Qwen3-Omni.",
        ["transformers models/qwen2_5_omni, models/qwen3_omni_moe: get_rope_index; position_id_per_seconds 25 and 13"],
        omni | three, [
            several("Qwen2.5-Omni-3B", head_dim=128, theta=1000000.0, trained=32768, axis=blocked([16, 24, 24]),
                    positions=[[0, 0, 50, 50, 75, 32768], [0, 1, 12, 13, 12, 32768], [0, 2, 12, 12, 15, 32768]],
                    asked_by=asked(omni)),
            several("Qwen3-Omni-30B, fractions", head_dim=128, theta=1000000.0, trained=65536,
                    axis=interleaved([24, 20, 20], 64), positions=fractions, asked_by=asked(three)),
            several("Qwen3-Omni-30B, text", head_dim=128, theta=1000000.0, trained=65536,
                    axis=interleaved([24, 20, 20], 64), asked_by=asked(three)),
        ])


FAMILIES = (mrope_blocked, mrope_interleaved, ernie_vl, xdrope, two_axis_text, mrope_nested, tmrope)
