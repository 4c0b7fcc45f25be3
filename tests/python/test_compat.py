"""Other libraries' words: which channels make a pair, which way they turn, in which order arguments come. Held against those libraries
where they are installed, and otherwise against their published formulas, written out here."""

import math

import numpy as np
import pytest
import ropewalk
from ropewalk import Rotary
from ropewalk.compat import ggml

torch = pytest.importorskip("torch")
from ropewalk.compat import flash_attn, onnx, transformers, vllm  # noqa: E402

ANGLE = torch.arange(8.0)[:, None] * torch.tensor([1.0, 0.25])  # [positions, pairs]
COS, SIN = ANGLE.cos(), ANGLE.sin()


def unit(*shape, channel):
    x = torch.zeros(*shape)
    x[..., channel] = 1
    return x


def lands_on(y):
    """The channels that hold something, and the sign of the second: counterclockwise is positive."""
    row = y.flatten(0, -2)[0]
    return [i for i, value in enumerate(row.tolist()) if abs(value) > 1e-6], row


# ---- polarity and order, one channel at a time


@pytest.mark.parametrize("interleaved, second", [(False, 2), (True, 1)])
def test_flash_attn(interleaved, second):
    x = unit(1, 2, 1, 6, channel=0)
    channels, row = lands_on(flash_attn.apply_rotary_emb(x, COS, SIN, interleaved, seqlen_offsets=3))
    assert channels == [0, second] and torch.allclose(row[channels], torch.tensor([COS[3, 0], SIN[3, 0]]))
    back = flash_attn.apply_rotary_emb(flash_attn.apply_rotary_emb(x, COS, SIN, interleaved), COS, SIN, interleaved, conjugate=True)
    assert torch.allclose(back, x, atol=1e-6)
    packed = flash_attn.apply_rotary_emb(x[0], COS, SIN, interleaved, cu_seqlens=torch.tensor([0, 1, 2], dtype=torch.int32), max_seqlen=1)
    assert torch.equal(packed, x[0])  # both stand at 0
    rows = flash_attn.apply_rotary_emb(x.expand(2, 2, 1, 6), COS, SIN, interleaved, seqlen_offsets=torch.tensor([1, 4], dtype=torch.int32))
    assert torch.allclose(rows[:, 0, 0, 0], COS[[1, 4], 0])
    assert flash_attn.apply_rotary_emb(x, COS, SIN, interleaved, True) is x and not torch.equal(x, unit(1, 2, 1, 6, channel=0))


@pytest.mark.parametrize("is_neox, second", [(True, 2), (False, 1)])
def test_vllm(is_neox, second):
    cache, ids = torch.cat([COS, SIN], -1), torch.tensor([5, 2])
    query, key = unit(2, 3 * 6, channel=slice(0, None, 6)), unit(2, 1, 6, channel=2)
    vllm.rotary_embedding(ids, query, key, 6, cache, is_neox)
    channels, row = lands_on(query.view(2, 3, 6))
    assert channels == [0, second] and torch.allclose(row[channels], torch.tensor([COS[5, 0], SIN[5, 0]]))
    assert torch.allclose(query.view(2, 3, 6)[1, :, 0], COS[2, 0])
    shifted = unit(2, 3 * 6, channel=slice(2, None, 6))
    vllm.rotary_embedding(ids, shifted, None, 6, cache, is_neox, rope_dim_offset=2)
    assert lands_on(shifted.view(2, 3, 6))[0] == [2, 2 + second]
    vllm.rotary_embedding(ids, shifted, None, 6, cache, is_neox, rope_dim_offset=2, inverse=True)
    assert torch.allclose(shifted, unit(2, 3 * 6, channel=slice(2, None, 6)), atol=1e-6)
    rows = unit(1, 2, 3 * 6, channel=slice(0, None, 6))
    vllm.rotary_embedding(ids[None], rows, None, 6, cache, is_neox)
    assert torch.equal(rows[0], query)


def test_transformers():
    cohere = pytest.importorskip("transformers.models.cohere.modeling_cohere")
    from transformers.models.llama import modeling_llama as llama

    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 5, 8), torch.randn(2, 1, 5, 8)
    angle = torch.randn(2, 5, 4)
    half = torch.cat([angle, angle], -1)
    repeated = angle.repeat_interleave(2, -1)
    for ours, theirs in zip(transformers.apply_rotary_pos_emb(q, k, half.cos(), half.sin()), llama.apply_rotary_pos_emb(q, k, half.cos(), half.sin())):
        torch.testing.assert_close(ours, theirs)
    theirs = cohere.apply_rotary_pos_emb(q, k, repeated.cos(), repeated.sin())
    for ours, other in zip(transformers.apply_rotary_pos_emb(q, k, repeated.cos(), repeated.sin(), interleaved=True), theirs):
        torch.testing.assert_close(ours, other)
    turned = transformers.apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), half.cos(), half.sin(), unsqueeze_dim=2)
    torch.testing.assert_close(turned[0].transpose(1, 2), llama.apply_rotary_pos_emb(q, k, half.cos(), half.sin())[0])
    with pytest.raises(ropewalk.Error, match="every value twice"):
        transformers.apply_rotary_pos_emb(q, k, repeated.cos(), repeated.sin())


# ---- the node of ONNX, against onnxruntime


def node(x, cos, sin, ids, **attributes):
    ort, helper = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx").helper
    feeds = {"x": x, "cos": cos, "sin": sin} | ({} if ids is None else {"ids": ids})
    types = {np.dtype(np.float32): 1, np.dtype(np.float16): 10, np.dtype(np.int64): 7}
    inputs = [helper.make_tensor_value_info(name, types[value.dtype], value.shape) for name, value in feeds.items()]
    made = helper.make_node("RotaryEmbedding", list(feeds), ["y"], **attributes)
    graph = helper.make_graph([made], "g", inputs, [helper.make_tensor_value_info("y", types[x.dtype], None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 1e-6), (torch.float16, 2e-3)])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", ["4-D", "3-D", "partial", "gathered"])
def test_onnx(form, interleaved, dtype, atol):
    torch.manual_seed(1)
    width = 4 if form == "partial" else 8
    angle = torch.randn(16, width // 2)
    ids = torch.randint(0, 16, (2, 5))
    x = torch.randn(2, 5, 24) if form == "3-D" else torch.randn(2, 3, 5, 8)
    attributes = {"interleaved": interleaved} | ({"num_heads": 3} if form == "3-D" else {}) | ({"rotary_embedding_dim": 4} if form == "partial" else {})
    cos, sin = angle.cos(), angle.sin()
    if form == "gathered":
        cos, sin, ids = cos[ids], sin[ids], None
    x, cos, sin = x.to(dtype), cos.to(dtype), sin.to(dtype)
    ours = onnx.rotary_embedding(x, cos, sin, ids, **attributes)
    theirs = node(x.numpy(), cos.numpy(), sin.numpy(), None if ids is None else ids.numpy(), **attributes)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=atol)


@pytest.mark.parametrize("layout", ["bshd", "bhsd"])
def test_export_writes_the_node(layout, tmp_path):
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    from ropewalk.torch import apply_rotary_emb_qk

    class Turn(torch.nn.Module):
        def forward(self, q, k, cos, sin, ids):
            return apply_rotary_emb_qk(q, k, cos, sin, position_ids=ids, layout=layout, interleaved=True)

    torch.manual_seed(2)
    angle = torch.randn(16, 4)
    q, k = torch.randn(2, 5, 3, 8), torch.randn(2, 5, 1, 8)
    if layout == "bhsd":
        q, k = q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous()
    arguments = (q, k, angle.cos(), angle.sin(), torch.randint(0, 16, (2, 5)))
    program = torch.onnx.export(Turn().eval(), arguments, dynamo=True, opset_version=23, custom_translation_table=onnx.translation_table())
    path = tmp_path / "turn.onnx"
    program.save(str(path))
    assert [node.op_type for node in program.model_proto.graph.node].count("RotaryEmbedding") == 2
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {one.name: value.numpy() for one, value in zip(session.get_inputs(), arguments)})
    for ours, theirs in zip(Turn()(*arguments), got):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)


# ---- ggml's formula (ggml-cpu/ops.cpp: rope_yarn, ggml_mrope_cache_init), written out


def ggml_rope(x, positions, n_dims, mode, freq_base, n_ctx_orig, freq_scale, ext_factor, attn_factor, beta_fast, beta_slow, freq_factors, sections):
    def corr_dim(rotations):
        return n_dims * math.log(n_ctx_orig / (rotations * 2 * math.pi)) / (2 * math.log(freq_base))

    head_dim, out = x.shape[-1], x.astype(np.float64).copy()
    scale = freq_base ** (-2.0 / n_dims)
    pairs = n_dims if mode == ggml.VISION else n_dims // 2
    for token in range(x.shape[1]):
        exponent = [0, 0, 0, 0]
        for i in range(pairs):
            axis, power = 0, i
            if sections is not None:
                sector = i % sum(sections)
                ends = np.cumsum(sections)
                axis = int(np.searchsorted(ends, sector, side="right"))
                if mode == ggml.IMROPE:
                    axis = next((a for a in range(3) if sector % 3 == a and sector < 3 * sections[a]), 3)
                if mode == ggml.VISION:  # each stream's ladder begins anew with its section
                    exponent[axis] = 0 if sector == [0, *ends][axis] else exponent[axis] + 1
                    power = exponent[axis]
            divisor = freq_factors[i] if freq_factors is not None else 1.0
            extrapolated = positions[axis][token] * scale**power / divisor
            angle, gain = freq_scale * extrapolated, attn_factor
            if ext_factor:
                low, high = max(0, math.floor(corr_dim(beta_fast))), min(n_dims - 1, math.ceil(corr_dim(beta_slow)))
                mix = (1 - min(1, max(0, (i - low) / max(0.001, high - low)))) * ext_factor
                angle = angle * (1 - mix) + extrapolated * mix
                gain *= 1 + 0.1 * math.log(1 / freq_scale)
            a, b = (2 * i, 2 * i + 1) if mode == ggml.NORMAL else (i, i + (n_dims if mode == ggml.VISION else n_dims // 2))
            x0, x1 = x[0, token, :, a].astype(np.float64), x[0, token, :, b].astype(np.float64)
            out[0, token, :, a] = gain * (x0 * math.cos(angle) - x1 * math.sin(angle))
            out[0, token, :, b] = gain * (x0 * math.sin(angle) + x1 * math.cos(angle))
    assert head_dim >= 2 * pairs
    return out


@pytest.mark.parametrize("mode, head_dim, n_dims, sections", [
    (ggml.NORMAL, 64, 64, None),
    (ggml.NEOX, 80, 64, None),
    (ggml.MROPE, 64, 64, [8, 12, 12, 0]),
    (ggml.MROPE, 64, 64, [4, 4, 4, 4]),
    (ggml.IMROPE, 64, 64, [12, 10, 10, 0]),
    (ggml.VISION, 32, 16, [8, 8, 0, 0]),
])
@pytest.mark.parametrize("options", [
    {},
    {"freq_scale": 0.25},
    {"attn_factor": 1.3},
    {"freq_scale": 0.25, "ext_factor": 1.0, "attn_factor": 0.9, "n_ctx_orig": 4096},
    {"factors": True, "freq_scale": 0.5},
    {"factors": True, "freq_scale": 0.25, "ext_factor": 0.7, "n_ctx_orig": 4096, "beta_fast": 16.0, "beta_slow": 2.0},
])
def test_ggml(mode, head_dim, n_dims, sections, options):
    if mode == ggml.VISION and "ext_factor" in options:
        with pytest.raises(ropewalk.Error, match="ext_factor: want 0 for mode 24"):
            ggml.rope_spec(head_dim, n_dims, mode, freq_base=1e4, sections=sections, ext_factor=1.0, n_ctx_orig=4096)
        return
    rng = np.random.default_rng(4)
    options = dict(options)
    pairs = n_dims if mode == ggml.VISION else n_dims // 2
    factors = list(rng.uniform(1, 8, pairs)) if options.pop("factors", False) else None
    x = rng.standard_normal((1, 3, 2, head_dim), np.float32)
    positions = rng.integers(0, 5000, (4, 3))
    spec = ggml.rope_spec(head_dim, n_dims, mode, freq_base=1e4, freq_factors=factors, sections=sections, **options)
    streams = positions[: spec.axes, None] if sections is not None else positions[0]
    words = {"n_ctx_orig": 0, "freq_scale": 1.0, "ext_factor": 0.0, "attn_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0} | options
    wanted = ggml_rope(x, positions, n_dims, mode, 1e4, freq_factors=factors, sections=sections, **words)
    np.testing.assert_allclose(Rotary(spec).apply(x, position_ids=streams), wanted, atol=3e-6)


# ---- what is wrong is refused, not guessed

X = unit(1, 2, 1, 6, channel=0)


@pytest.mark.parametrize("call, words", [
    (lambda: flash_attn.apply_rotary_emb(X[0], COS, SIN), "x: want 4 axes"),
    (lambda: flash_attn.apply_rotary_emb(X, COS, SIN, seqlen_offsets=7), "table|row"),
    (lambda: vllm.rotary_embedding(torch.tensor([8]), unit(1, 6, channel=0), None, 6, torch.cat([COS, SIN], -1), True), "table|row"),
    (lambda: vllm.rotary_embedding(torch.tensor([1]), unit(1, 7, channel=0), None, 6, torch.cat([COS, SIN], -1), True), "query: want"),
    (lambda: vllm.rotary_embedding(torch.tensor([1]), unit(1, 6, channel=0), None, 6, torch.cat([COS, SIN], -1), True, 3), "rope_dim_offset"),
    (lambda: transformers.apply_rotary_pos_emb(X, X, COS, SIN, unsqueeze_dim=0), "unsqueeze_dim: want 1 or 2"),
    (lambda: onnx.rotary_embedding(torch.zeros(1, 2, 12), COS, SIN, torch.tensor([[0, 1]])), "num_heads"),
    (lambda: onnx.rotary_embedding(torch.zeros(1, 1, 2, 8), COS, SIN, torch.tensor([[0, 1]])), "cos_cache: want 4 columns"),
    (lambda: onnx.rotary_embedding(torch.zeros(1, 1, 2, 4), COS, SIN), "position_ids"),
    (lambda: onnx.rotary_embedding(torch.zeros(1, 1, 2, 4), COS, SIN, torch.tensor([[0, 8]])), "table|row"),
    (lambda: ggml.rope_spec(64, 64, 1, freq_base=1e4), "mode: want"),
    (lambda: ggml.rope_spec(64, 64, 2, freq_base=1e4, freq_scale=4.0), "freq_scale"),
    (lambda: ggml.rope_spec(64, 64, 8, freq_base=1e4), "sections: want"),
    (lambda: ggml.rope_spec(64, 64, 8, freq_base=1e4, sections=[1, 2]), "sections: want four"),
    (lambda: ggml.rope_spec(64, 64, 0, freq_base=1e4, freq_factors=[1.0]), "freq_factors: want 32"),
])
def test_what_is_wrong_is_refused_by_name(call, words):
    with pytest.raises(ropewalk.Error, match=words):
        call()
