"""What is not a plain rotation by a config's numbers: learned frequencies, magnitudes, mixed tones, bent positions."""

from __future__ import annotations

from .encoding import Encoding, Family, channels, mp, one_axis, oracle
from .grids import axial
from .text import asked, llama_shape


def _one(name, spelling, source, config) -> dict:
    return {name: {"spelling": spelling, "source": source, "config": config}}


def deepseek_v4() -> Family:
    p = {"factor": 16.0, "original_max_position_embeddings": 65536, "beta_fast": 32.0, "beta_slow": 1.0,
         "attention_factor": 1.0}
    configs = _one("DeepSeek-V4, v5 nested", "v5 nested by rope type", "in the shape of deepseek-ai/DeepSeek-V4, heads of 128", {
        "model_type": "deepseek_v4", "hidden_size": 1024, "num_attention_heads": 8, "num_hidden_layers": 2, "head_dim": 128,
        "qk_rope_head_dim": 64, "max_position_embeddings": 1048576,
        "layer_types": ["sliding_attention", "compressed_sparse_attention"],
        "rope_parameters": {"main": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
                            "compress": {"rope_type": "yarn", "rope_theta": 160000.0, "partial_rotary_factor": 0.5} | p}})
    head = {"head_dim": 128, "rotary_dim": 64, "offset": 64, "layout": "interleaved", "trained": 1048576}
    compress = head | {"theta": 160000.0, "scaling": "yarn", "params": p}
    entries = one_axis("DeepSeek-V4, entries compressed by 4", positions=[0, 1, 2, 32767, 262143], **compress,
                       asked_by=asked(configs, "compress entry, ratio 4", 1),
                       note="entry j stands where its window of 4 tokens begins; keys and values are one and both turn")
    entries.turned_by = [[4 * j for j in entries.positions[0]]]
    return Family(
        "deepseek_v4", "Trailing channels of queries and of the one head that is key and value turn; the attention's output is "
                       "turned back by its query's position; a compressed entry stands at its window's first token.",
        ["transformers models/deepseek_v4/modeling_deepseek_v4.py", "its amplitude is 1, whatever YaRN's default says"], configs, [
            one_axis("DeepSeek-V4, sliding layers", theta=10000.0, **head, asked_by=asked(configs, "main", 0)),
            one_axis("DeepSeek-V4, compressed layers", **compress, asked_by=asked(configs, "compress", 1)),
            one_axis("DeepSeek-V4, output of compressed layers", clockwise=True, **compress,
                     asked_by=asked(configs, "compress output", 1), note="the attention's output, turned back"),
            entries,
        ])


def learned_multipliers() -> Family:
    p = {"factor": 2048.0, "original_max_position_embeddings": 512, "beta_fast": 32.0, "beta_slow": 1.0,
         "attention_factor": 1.0}
    alpha = [((37 * j * j + 11 * j) % 64 - 32) / 64 for j in range(32)]
    config = {"model_type": "mistral_large4_text", "hidden_size": 6144, "num_attention_heads": 64, "num_key_value_heads": 64,
              "num_hidden_layers": 4, "qk_nope_head_dim": 64, "qk_rope_head_dim": 64, "v_head_dim": 128,
              "no_rope_layers": [1, 1, 1, 0], "max_position_embeddings": 1048576,
              "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0} | p}
    configs = _one("Mistral Large 4, v5 flat", "v5 flat, alpha in the weights",
                   "the defaults of transformers' MistralLarge4TextConfig, four layers, alpha of own numbers", config)
    return Family(
        "learned_multipliers", "A learned number a pair: g = f exp(alpha).",
        ["transformers models/mistral_large4/modeling_mistral_large4.py: rotary_emb.alpha"], configs, [
            one_axis("Mistral Large 4", head_dim=128, rotary_dim=64, offset=64, layout="interleaved", theta=10000.0,
                     trained=1048576, scaling="yarn", params=p, multipliers=[mp.exp(mp.mpf(a)) for a in alpha],
                     weights={"alpha": alpha}, asked_by=asked(configs))])


def learned_frequencies() -> Family:
    vit = _one("ViT-S/16 RoPE-mixed", "timm", "timm vit_small_patch16_rope_mixed_224, frequencies of own numbers",
               {"model_type": "timm_rope_mixed", "embed_dim": 384, "num_heads": 6, "patch_size": 16, "img_size": 224})
    glue = _one("LightGlue", "v5", "ETH-CVG/lightglue_superpoint, projection of own numbers",
                {"model_type": "lightglue", "descriptor_dim": 256, "num_attention_heads": 4})
    falcon = _one("Falcon-OCR", "remote code", "tiiuae/Falcon-OCR as ported to mlx-vlm, vectors of own numbers",
                  {"model_type": "falcon_ocr", "hidden_size": 768, "num_attention_heads": 12, "head_dim": 64,
                   "rope_theta": 10000.0})

    def numbers(n, scale):
        return [((53 * j * j + 29 * j + 7) % 256 - 128) / 128 * scale for j in range(n)]

    mixed = [numbers(32, 1.0), numbers(33, 1.0)[1:]]
    projection = [numbers(32, 4.0), numbers(40, 4.0)[8:]]
    golden = [numbers(16, 2.0), numbers(19, 2.0)[3:]]
    ladder = oracle.inv_freq(10000.0, 32)
    still = [mp.mpf(0)] * 16
    first, second = channels("interleaved", 64)
    pairs = {"head_dim": 64, "first": first, "second": second, "layout": "interleaved"}

    def real(rows):
        return [[mp.mpf(v) for v in row] for row in rows]

    return Family(
        "learned_frequencies", "Every pair has a learned frequency on each axis, and its phase is their sum.",
        ["RoPE-ViT (arXiv 2403.13298); timm layers/pos_embed_sincos.py: RotaryEmbeddingMixed",
         "transformers models/lightglue/modeling_lightglue.py: LightGluePositionalEncoder",
         "mlx-vlm models/falcon_ocr: half of the head turns by the text position, half by two image coordinates"],
        vit | glue | falcon, [
            Encoding(name="ViT-S/16 RoPE-mixed", inv_freq=real(mixed), positions=[[0, 0, 3, 13, 1], [0, 1, 7, 13, 12]],
                     weights={"freqs": mixed}, asked_by=asked(vit), **pairs),
            Encoding(name="LightGlue", inv_freq=real(projection),
                     positions=[[0.0, 0.5, -0.75, 0.9375], [0.0, -0.25, 0.125, 0.9375]],
                     weights={"projector": [list(row) for row in zip(*projection)]}, asked_by=asked(glue), **pairs),
            Encoding(name="Falcon-OCR", inv_freq=[ladder + still, still + real(golden)[0], still + real(golden)[1]],
                     positions=[[0, 1, 17, 131071, 10**6], [0, 0, 1, 5, 13], [0, 1, 0, 7, 3]],
                     weights={"golden_freqs": golden}, asked_by=asked(falcon), **pairs),
        ])


def rescaled_grid() -> Family:
    eva = _one("EVA-02 at 448", "timm", "timm eva02_large_patch14_448: bands of a 16 x 16 grid on one of 32 x 32",
               {"model_type": "timm_rope_cat", "embed_dim": 1024, "num_heads": 16, "ref_feat_shape": [16, 16],
                "feat_shape": [32, 32], "rope_theta": 10000.0})
    loftr = _one("EfficientLoFTR", "v5", "zju-community/efficientloftr", {
        "model_type": "efficientloftr", "hidden_size": 256, "num_attention_heads": 8, "q_aggregation_kernel_size": 4,
        "q_aggregation_stride": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 4.0}})
    rows, columns = [0, 0, 1, 31, 17], [0, 1, 0, 31, 5]
    half = [[mp.mpf(r) / 2 for r in rows], [mp.mpf(c) / 2 for c in columns]]
    place, on = [[0, 0, 1, 7, 5], [0, 1, 0, 7, 3]], [[1, 1, 2, 8, 6], [1, 2, 1, 8, 4]]
    return Family(
        "rescaled_grid", "Grids whose positions are moved or shrunk before they turn anything.",
        ["timm layers/pos_embed_sincos.py: RotaryEmbeddingCat with ref_feat_shape",
         "transformers models/efficientloftr/modeling_efficientloftr.py: compute_embeddings counts from 1 and turns all of the "
         "hidden channels at once"], eva | loftr, [
            axial("EVA-02 at 448", head_dim=64, theta=10000.0, layout="interleaved", axis=[0] * 16 + [1] * 16,
                  rung=list(range(16)) * 2, ladder_dim=32, positions=[rows, columns], turned_by=half, asked_by=asked(eva)),
            axial("EfficientLoFTR", head_dim=256, theta=10000.0, layout="interleaved", axis=[j % 2 for j in range(128)],
                  rung=[j // 2 for j in range(128)], ladder_dim=128, positions=place, turned_by=on, asked_by=asked(loftr)),
        ])


def xpos() -> Family:
    configs = _one("xPos", "torchscale", "torchscale architecture/config.py: xpos_rel_pos, xpos_scale_base",
                   {"model_type": "torchscale_decoder", "embed_dim": 512, "attention_heads": 8, "xpos_rel_pos": True,
                    "xpos_scale_base": 512})
    out = []
    for length in (2048, 8192):
        e = one_axis(f"xPos at {length} tokens", head_dim=64, theta=10000.0, trained=length, layout="interleaved",
                     running_length=length, positions=[0, 1, 7, length // 2, length - 1], asked_by=asked(configs))
        centre = length // 2
        zeta = [(2 * j + mp.mpf("0.4") * 64) / (mp.mpf("1.4") * 64) for j in range(32)]
        power = [mp.mpf(p - centre) / 512 for p in e.positions[0]]
        e.query_gain = [[mp.power(z, w) for z in zeta] for w in power]
        e.key_gain = [[mp.power(z, -w) for z in zeta] for w in power]
        out.append(e)
    return Family(
        "xpos", "Pairs of a query grow with its position and those of a key shrink by the same: zeta^((p - c) / 512), c half the "
                "running length.",
        ["Sun et al. 2022 (arXiv 2212.10554)", "torchscale component/xpos_relative_position.py",
         "lengths are even: torchscale and flash-attn centre odd ones differently"], configs, out)


def fope() -> Family:
    tones, outputs, pairs = 10, 10, 16
    cos_mix = [[(1.0 if t == j else 0.0) + ((7 * t + 3 * j) % 9 - 4) / 32 for j in range(outputs)] for t in range(tones)]
    sin_mix = [[(1.0 if t == j else 0.0) + ((5 * t + 2 * j) % 7 - 3) / 32 for j in range(outputs)] for t in range(tones)]
    configs = _one("FoPE", "vLLM", "in the shape of vLLM rotary_embedding/fope.py, own numbers",
                   {"model_type": "fope", "head_dim": 32, "rope_theta": 10000.0, "num_inv_freq": tones,
                    "max_position_embeddings": 4096})

    def mapping(e, token, x, operand):
        y = [mp.mpf(v) for v in x]
        ladder = oracle.inv_freq(10000.0, 32)
        phase = [mp.mpf(e.positions[0][token]) * ladder[t] for t in range(tones)]
        for j in range(outputs):
            c = sum((mp.cos(phase[t]) * mp.mpf(cos_mix[t][j]) for t in range(tones)), mp.mpf(0))
            s = sum((mp.sin(phase[t]) * mp.mpf(sin_mix[t][j]) for t in range(tones)), mp.mpf(0))
            a, b = j, j + pairs
            y[a] = mp.mpf(x[a]) * c - mp.mpf(x[b]) * s
            y[b] = mp.mpf(x[b]) * c + mp.mpf(x[a]) * s
        return y

    first, second = channels("half", 32)
    e = Encoding(name="FoPE", head_dim=32, first=first, second=second, inv_freq=oracle.inv_freq(10000.0, 32),
                 positions=[[0, 1, 7, 2048, 4095, 131071, 1048575]], mapping=mapping, layout="half, mixed", scaling="fope",
                 weights={"cos_coef": cos_mix, "sin_coef": sin_mix}, asked_by=asked(configs),
                 note="cos_j = sum over t of cos(phase_t) cos_coef[t][j], sines likewise, for the first 10 pairs of 16; the others "
                      "stand still; halves; theta 10000 over 32 channels")
    return Family("fope", "Cosines of the fast pairs are mixed into cosines by a learned matrix, sines into sines; slow pairs stand still.",
                  ["Hua et al. 2024 (arXiv 2412.17739)", "vLLM rotary_embedding/fope.py"], configs, [e])


def dual_chunk() -> Family:
    config = llama_shape("qwen2", 896, 14, 2, 24, 1010000, rope_theta=10000000.0, dual_chunk_attention_config={
        "chunk_size": 262144, "local_size": 8192, "original_max_position_embeddings": 262144})
    configs = _one("Qwen2.5-1M", "v4", "in the shape of Qwen/Qwen2.5-7B-Instruct-1M on Qwen2.5-0.5B's heads", config)
    chunk = 262144 - 8192
    asked_for = [0, 1, 8191, 131071, chunk - 1, chunk, 2**20 - 1, 10**6]
    ways = {
        "key": lambda p: p % chunk, "query inside its chunk": lambda p: p % chunk,
        "query on the chunk before": lambda p: min(p % chunk + chunk, 262144), "query on older chunks": lambda p: 262144,
    }
    out = []
    for kind, where in ways.items():
        e = one_axis(f"Qwen2.5-1M, {kind}", head_dim=64, theta=10000000.0, trained=262144, positions=list(asked_for),
                     asked_by=asked(configs, kind))
        e.turned_by = [[where(p) for p in asked_for]]
        out.append(e)
    return Family(
        "dual_chunk", "Positions modulo a chunk; a query is turned anew for its own chunk, the one before, and all older ones.",
        ["An et al. 2024 (arXiv 2402.17463)", "vLLM rotary_embedding/dual_chunk_rope.py: chunk_size less local_size"], configs, out)


FAMILIES = (deepseek_v4, learned_multipliers, learned_frequencies, rescaled_grid, xpos, fope, dual_chunk)
