"""Absolute positions and score biases against what users run: transformers, torch's interpolate, torch's autograd.

Where no installed package has an encoding (KERPLE, FIRE, Sandwich, MAE's and timm's grids, the tables of fairseq), the
formula stands here as its paper or repository gives it, in float64.

ROPEWALK_ENCODINGS_PROBE  the program that answers (default: build/tests/math/encodings_probe)
"""

import os
import pathlib

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import mpmath
import numpy as np
import pytest

from line_probe import asking

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from torch.nn.functional import interpolate

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ROPEWALK_BUILD", ROOT / "build"))
PROBE = pathlib.Path(os.environ.get("ROPEWALK_ENCODINGS_PROBE", BUILD / "tests/math/encodings_probe"))


@pytest.fixture(scope="module")
def ask():
    with asking(PROBE) as question:
        yield question


def rows_of(ask, spec, positions):
    if not isinstance(positions[0], list):
        positions = [positions]
    return np.array(ask(what="sinusoid", spec=spec, positions=positions)["rows"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- sinusoids


@pytest.mark.parametrize("exponent", ["paper", "tensor2tensor"])
@pytest.mark.parametrize("order", ["interleaved", "concatenated", "interleaved_cos_first", "concatenated_cos_first"])
def test_sinusoids_are_those_of_mpmath_at_any_position(ask, order, exponent):
    positions = [0, 1, 511, 131071, 10_000_000, 2**36, -(2**36), -7]
    dim, half = 12, 6
    got = rows_of(ask, {"dim": dim, "order": order, "exponent": exponent}, positions)
    with mpmath.workdps(50):
        for row, position in zip(got, positions):
            for k in range(half):
                steps = half if exponent == "paper" else half - 1
                phase = position * mpmath.power(10000, -mpmath.mpf(k) / steps)
                pair = [mpmath.sin(phase), mpmath.cos(phase)]
                if order.endswith("cos_first"):
                    pair.reverse()
                places = (2 * k, 2 * k + 1) if order.startswith("interleaved") else (k, half + k)
                assert row[list(places)] == pytest.approx([float(x) for x in pair], abs=1.2e-7)


def test_marian_and_pegasus(ask):
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
    from transformers.models.pegasus.modeling_pegasus import PegasusSinusoidalPositionalEmbedding

    for cls in (MarianSinusoidalPositionalEmbedding, PegasusSinusoidalPositionalEmbedding):
        theirs = cls(600, 64).create_weight().numpy()
        ours = rows_of(ask, {"dim": 64, "order": "concatenated", "exponent": "paper"}, list(range(600)))
        np.testing.assert_allclose(ours, theirs, atol=1.2e-7)


def test_xlm_and_videomae(ask):
    from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table
    from transformers.models.xlm.modeling_xlm import create_sinusoidal_embeddings

    ours = rows_of(ask, {"dim": 64, "order": "interleaved", "exponent": "paper"}, list(range(600)))
    np.testing.assert_allclose(ours, create_sinusoidal_embeddings(600, 64, torch.empty(600, 64)).numpy(), atol=1.2e-7)
    np.testing.assert_allclose(ours, get_sinusoid_encoding_table(600, 64)[0].numpy(), atol=1.2e-7)


def test_ctrl(ask):
    from transformers.models.ctrl.modeling_ctrl import positional_encoding

    ours = rows_of(ask, {"dim": 64, "order": "concatenated", "exponent": "paper"}, list(range(600)))
    np.testing.assert_allclose(ours, positional_encoding(600, 64, torch.float64).numpy(), atol=1.2e-7)


def test_whisper(ask):
    """In float32: its angles carry half a unit in the last place of a position, and the error of their speeds."""
    from transformers.models.whisper.modeling_whisper import sinusoids

    theirs = sinusoids(1500, 384).numpy()
    ours = rows_of(ask, {"dim": 384, "order": "concatenated", "exponent": "tensor2tensor"}, list(range(1500)))
    np.testing.assert_allclose(ours, theirs, atol=1500 * 2e-7)


@pytest.mark.parametrize("dim", [64, 65])
def test_fairseqs_in_m2m_100(ask, dim):
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding as Embedding

    theirs = Embedding(600, dim, padding_idx=1)
    ids = torch.tensor([[5, 6, 7, 8, 1, 1]])  # 1 is padding
    spec = {"dim": dim, "order": "concatenated", "exponent": "tensor2tensor", "zero_position": 1}
    ours = rows_of(ask, spec, list(range(600)))
    np.testing.assert_allclose(ours, theirs.weights[:600].numpy(), atol=600 * 2e-7)
    assert not ours[1].any()
    if dim % 2:
        assert not ours[:, -1].any()
    # The first real token stands at padding_idx + 1.
    offset = rows_of(ask, spec | {"position_offset": 2}, [0, 1, 2, 3, -1, -1])
    np.testing.assert_allclose(offset, theirs(ids)[0].numpy(), atol=1e-5)


# ---- sinusoids on grids


def grid_of(ask, family, dim, rows, columns):
    return np.array(ask(what="sinusoid_grid", family=family, dim=dim, rows=rows, columns=columns)["rows"])


@pytest.mark.parametrize(
    "family, module, name",
    [
        ("detr", "detr", "DetrSinePositionEmbedding"),
        ("sam2", "sam2", "Sam2SinePositionEmbedding"),
        ("deformable_detr", "deformable_detr", "DeformableDetrSinePositionEmbedding"),
    ],
)
def test_grids_of_detr_and_its_kin(ask, family, module, name):
    theirs_of = getattr(__import__(f"transformers.models.{module}.modeling_{module}", fromlist=[name]), name)
    for rows, columns in [(4, 6), (1, 3), (25, 17)]:
        theirs = theirs_of(num_position_features=32, normalize=True)(torch.Size([1, 3, rows, columns]), "cpu", torch.float64)
        theirs = theirs[0] if theirs.dim() == 4 else theirs
        if theirs.shape[0] == 64:  # [channels, rows, columns]
            theirs = theirs.flatten(1).T
        ours = grid_of(ask, family, 64, rows, columns)
        np.testing.assert_allclose(ours, theirs.reshape(rows * columns, 64).numpy(), atol=1.3e-7)


def test_the_grid_of_vit_mae(ask):
    from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

    theirs = build_2d_sinusoidal_position_embedding(5, 7, 64)
    np.testing.assert_allclose(grid_of(ask, "vit_mae", 64, 5, 7), theirs.numpy(), atol=1.2e-7)


def sines_and_cosines(coordinates, dim):
    phases = np.outer(coordinates, 10000.0 ** (-np.arange(dim // 2) / (dim // 2)))
    return np.sin(phases), np.cos(phases)


def test_the_grids_of_mae_and_timm(ask):
    """facebookresearch/mae puts the column first; timm 1.0.31 all sines first, or with interleave_sin_cos each axis."""
    rows, columns, dim = 5, 7, 64
    down, right = (x.ravel() for x in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    (sin_h, cos_h), (sin_w, cos_w) = sines_and_cosines(down, dim // 2), sines_and_cosines(right, dim // 2)
    for family, parts in {
        "mae": [sin_w, cos_w, sin_h, cos_h],
        "timm": [sin_h, sin_w, cos_h, cos_w],
        "timm_interleaved": [sin_h, cos_h, sin_w, cos_w],
    }.items():
        np.testing.assert_allclose(grid_of(ask, family, dim, rows, columns), np.concatenate(parts, 1), atol=1.2e-7)


# ---- learned tables


def test_opt_and_roberta_offsets(ask):
    from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding

    theirs = OPTLearnedPositionalEmbedding(20, 6)
    mask = torch.tensor([[1, 1, 1, 1, 1]])
    ours = ask(what="learned", table=theirs.weight.tolist(), offset=2, positions=list(range(5)), x=[[0.0] * 6] * 5)
    np.testing.assert_array_equal(np.array(ours["rows"], np.float32), theirs(mask)[0].detach().numpy())

    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    ids = torch.tensor([[7, 8, 9, 10]])
    where = RobertaEmbeddings.create_position_ids_from_input_ids(ids, padding_idx=1)[0]
    table, x = torch.randn(20, 6, generator=generator()), torch.randn(4, 6, generator=generator(1))
    ours = ask(what="learned", table=table.tolist(), offset=2, positions=[0, 1, 2, 3], x=x.tolist(), scale=3.0)
    np.testing.assert_allclose(np.array(ours["rows"]), (3 * x + table[where]).numpy(), atol=1e-6)


def resized(ask, torchs, table, rows, columns, new, resampling, leading=0, trailing=0, steps=None, antialias=False):
    """Ours and torch's, with the gradients of a random sum."""
    dim = table.shape[1]
    d_out = torch.randn(leading + trailing + new[0] * new[1], dim, generator=generator(9))
    resize = {"rows": rows, "columns": columns, "new_rows": new[0], "new_columns": new[1], "resampling": resampling}
    resize |= {"leading_rows": leading, "trailing_rows": trailing, "antialias": antialias} | (steps or {})
    ours = ask(what="resize", resize=resize, dim=dim, table=table.flatten().tolist(), d_out=d_out.flatten().tolist())
    table = table.double().requires_grad_()
    theirs = torchs(table)
    (theirs * d_out).sum().backward()
    np.testing.assert_allclose(np.array(ours["table"]), theirs.detach().flatten().numpy(), atol=2e-6)
    np.testing.assert_allclose(np.array(ours["gradient"]), table.grad.flatten().numpy(), atol=5e-6)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode, resampling", [("bilinear", "linear"), ("bicubic", "cubic")])
@pytest.mark.parametrize("new", [(14, 9), (3, 4), (5, 8), (1, 1), (50, 2)])
def test_torchs_interpolate_in_two_dimensions(ask, mode, resampling, new, antialias):
    rows, columns, dim = 5, 8, 3
    table = torch.randn(2 + rows * columns + 3, dim, generator=generator())

    def torchs(t):
        grid = t[2:-3].reshape(1, rows, columns, dim).permute(0, 3, 1, 2)
        grid = interpolate(grid, size=new, mode=mode, align_corners=False, antialias=antialias)
        return torch.cat([t[:2], grid.permute(0, 2, 3, 1).reshape(-1, dim), t[-3:]])

    resized(ask, torchs, table, rows, columns, new, resampling, 2, 3, antialias=antialias)


@pytest.mark.parametrize("new", [1, 4, 7, 13, 64])
def test_torchs_interpolate_in_one_dimension(ask, new):
    table = torch.randn(7, 4, generator=generator())
    resized(ask, lambda t: interpolate(t.T[None], size=new, mode="linear", align_corners=False)[0].T, table, 7, 1, (new, 1), "linear")


def test_dinos_offset_scale_factor(ask):
    """DINO passes scale_factor = (new + 0.1) / old, and torch steps by its inverse."""
    old, new, dim = 5, (9, 7), 3
    table = torch.randn(1 + old * old, dim, generator=generator())

    def torchs(t):
        grid = t[1:].reshape(1, old, old, dim).permute(0, 3, 1, 2)
        grid = interpolate(grid, scale_factor=tuple((n + 0.1) / old for n in new), mode="bicubic")
        assert grid.shape[2:] == new
        return torch.cat([t[:1], grid.permute(0, 2, 3, 1).reshape(-1, dim)])

    steps = {"row_step": old / (new[0] + 0.1), "column_step": old / (new[1] + 0.1)}
    resized(ask, torchs, table, old, old, new, "cubic", 1, steps=steps)


def test_interpolate_pos_encoding_of_vit(ask):
    from transformers import ViTConfig
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    theirs = ViTEmbeddings(ViTConfig(image_size=32, patch_size=8, hidden_size=12))
    with torch.no_grad():
        theirs.position_embeddings.normal_(generator=generator())
        wanted = theirs.interpolate_pos_encoding(torch.zeros(1, 1 + 6 * 9, 12), 48, 72)[0]
    resize = {"rows": 4, "columns": 4, "new_rows": 6, "new_columns": 9, "resampling": "cubic", "leading_rows": 1}
    ours = ask(what="resize", resize=resize, dim=12, table=theirs.position_embeddings.flatten().tolist())["table"]
    np.testing.assert_allclose(np.array(ours), wanted.flatten().numpy(), atol=3e-6)


# ---- biases


def block(ask, kind, options, queries, keys, d_bias=None):
    request = {"what": "bias", "kind": kind, "options": options, "queries": queries, "keys": keys}
    if d_bias is not None:
        request["d_bias"] = d_bias.flatten().tolist()
    answer = ask(**request)
    return np.array(answer["bias"]).reshape(options["heads"], queries[1], keys[1]), answer.get("gradient")


def flat(parameter):
    return parameter.detach().flatten().tolist()


def assert_gradients(theirs, ours):
    assert set(theirs) == set(ours)
    for name, parameter in theirs.items():
        np.testing.assert_allclose(np.array(ours[name]), parameter.grad.flatten().numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (64, 256), (16, 100), (320, 800)])
def test_t5_buckets(ask, causal, num_buckets, max_distance):
    """transformers takes a logarithm in float32, which at these settings never falls on the other side."""
    from transformers.models.t5.modeling_t5 import T5Attention

    starts = ask(what="t5_starts", num_buckets=num_buckets, max_distance=max_distance, causal=causal)["starts"]
    distances = torch.arange(3 * max_distance)
    theirs = T5Attention._relative_position_bucket(-distances, not causal, num_buckets, max_distance).tolist()
    ours = [max(b for b, start in enumerate(starts) if start <= n) for n in distances.tolist()]
    assert ours == theirs


@pytest.mark.parametrize("decoder", [True, False])
def test_t5_in_blocks_with_gradients(ask, decoder):
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    config = T5Config(d_model=32, num_heads=4, d_kv=8, is_decoder=decoder)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    weight = theirs.relative_attention_bias.weight
    torch.nn.init.normal_(weight, generator=generator())
    wanted = theirs.compute_bias(30, 230, past_seen_tokens=200)[0]
    d_bias = torch.randn(wanted.shape, generator=generator(1))
    (wanted * d_bias).sum().backward()
    options = {"heads": 4, "causal": decoder, "table": flat(weight)}
    ours, gradient = block(ask, "t5", options, [200, 30], [0, 230], d_bias)
    np.testing.assert_array_equal(ours.astype(np.float32), wanted.detach().numpy())
    assert_gradients({"table": weight}, gradient)


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12, 25, 64, 71])
def test_alibi_is_blooms_and_mpts_but_for_a_number_a_row(ask, heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    tokens = 50
    ours, _ = block(ask, "alibi", {"heads": heads}, [0, tokens], [0, tokens])
    for theirs in (
        build_alibi_tensor(torch.ones(1, tokens), heads, torch.float32).reshape(heads, 1, tokens),
        build_mpt_alibi_tensor(heads, tokens).reshape(heads, 1, tokens),
    ):
        theirs = theirs.numpy() - theirs.numpy().reshape(heads, tokens)[:, :, None]  # the row's own number
        causal = np.tril(np.ones((tokens, tokens), bool))
        np.testing.assert_allclose(ours[:, causal], theirs[:, causal], rtol=2e-5, atol=1e-6)
    assert not ours[:, ~causal].any()


def test_alibi_bias_max(ask):
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    theirs = build_mpt_alibi_tensor(12, 20, alibi_bias_max=16).numpy()[:, 0]
    ours, _ = block(ask, "alibi", {"heads": 12, "bias_max": 16}, [19, 1], [0, 20])
    np.testing.assert_allclose(ours[:, 0], theirs, rtol=1e-6)


def distances(queries, keys):
    return torch.clamp(torch.arange(queries)[:, None] - torch.arange(keys)[None, :], min=0).double()


@pytest.mark.parametrize("kernel", ["log", "power"])
def test_kerple_and_its_gradients(ask, kernel):
    heads, tokens = 3, 40
    r1 = (torch.rand(heads, generator=generator()) * 2).double().requires_grad_()
    r2 = (torch.rand(heads, generator=generator(1))).double().requires_grad_()
    n = distances(tokens, tokens)
    a, b = r1[:, None, None], r2[:, None, None]
    if kernel == "log":
        wanted = -a * torch.log(1 + b * n)
    else:
        wanted = -a * torch.where(n > 0, torch.exp(b * torch.log(torch.clamp(n, min=1))), 0.0)
    d_bias = torch.randn(wanted.shape, generator=generator(2))
    (wanted * d_bias).sum().backward()
    options = {"heads": heads, "kernel": kernel, "r1": flat(r1), "r2": flat(r2)}
    ours, gradient = block(ask, "kerple", options, [0, tokens], [0, tokens], d_bias)
    np.testing.assert_allclose(ours, wanted.detach().numpy(), rtol=1e-6, atol=1e-6)
    assert_gradients({"r1": r1, "r2": r2}, gradient)


@pytest.mark.parametrize("c", [0.1, -0.4])
@pytest.mark.parametrize("zero_bias", [False, True])
@pytest.mark.parametrize("first_position", [0, 3])
def test_fire_and_its_gradients(ask, c, zero_bias, first_position):
    """The listing of arXiv 2310.04418, on causal distances; the threshold lies within the block."""
    heads, width, tokens = 5, 32, 60
    first, second = torch.nn.Linear(1, width).double(), torch.nn.Linear(width, heads).double()
    with torch.no_grad():
        for p in [*first.parameters(), *second.parameters()]:
            p.copy_(torch.randn(p.shape, generator=generator(p.numel())).float())
        if zero_bias:
            first.bias.zero_()
    c_, multiplier = (torch.tensor(x, dtype=torch.float32).double().requires_grad_() for x in (c, 0.75))
    threshold = torch.abs(multiplier * 30.0)
    position = torch.maximum(torch.arange(tokens).double() - first_position, threshold)[:, None]
    n = distances(tokens, tokens)
    x = torch.log(torch.abs(c_) * n + 1) / (torch.log(torch.abs(c_) * position + 1) + 1e-6)
    wanted = second(torch.relu(first(x[..., None]))).permute(2, 0, 1)
    d_bias = torch.randn(wanted.shape, generator=generator(3))
    (wanted * d_bias).sum().backward()
    options = {"heads": heads, "width": width, "c": c, "threshold_multiplier": 0.75, "threshold": 30.0}
    options |= {"first_position": first_position}
    names = {"w1": first.weight, "b1": first.bias, "w2": second.weight, "b2": second.bias}
    options |= {name: flat(p) for name, p in names.items()}
    ours, gradient = block(ask, "fire", options, [0, tokens], [0, tokens], d_bias)
    np.testing.assert_allclose(ours, wanted.detach().numpy(), rtol=1e-6, atol=2e-6)
    assert_gradients(names | {"c": c_, "threshold_multiplier": multiplier}, gradient)


def test_sandwich(ask):
    """The product of two rows of sinusoids, over each head's ratio of compression, as arXiv 2212.10356 lists it."""
    heads, dim, tokens = 12, 128, 100
    phases = np.outer(np.arange(tokens), 10000.0 ** (-2 * np.arange(dim // 2) / dim))
    rows = np.concatenate([np.sin(phases), np.cos(phases)], 1)
    wanted = (rows @ rows.T)[None] / (np.arange(1, heads + 1) * 8 / heads)[:, None, None]
    ours, _ = block(ask, "sandwich", {"heads": heads, "dim": dim}, [0, tokens], [0, tokens])
    np.testing.assert_allclose(ours, wanted, rtol=2e-7, atol=1e-6)


def test_swin(ask):
    from transformers.models.swin.modeling_swin import SwinRelativePositionBias

    for window in [(4, 4), (3, 5), (1, 6)]:
        theirs = SwinRelativePositionBias(3, window)
        table = theirs.relative_position_bias_table
        torch.nn.init.normal_(table, generator=generator())
        wanted = theirs()[0]
        d_bias = torch.randn(wanted.shape, generator=generator(1))
        (wanted * d_bias).sum().backward()
        tokens = window[0] * window[1]
        options = {"heads": 3, "rows": window[0], "columns": window[1], "table": flat(table)}
        ours, gradient = block(ask, "window", options, [0, tokens], [0, tokens], d_bias)
        np.testing.assert_array_equal(ours.astype(np.float32), wanted.detach().numpy())
        assert_gradients({"table": table}, gradient)


def test_beit(ask):
    from transformers import BeitConfig
    from transformers.models.beit.modeling_beit import BeitRelativePositionBias

    theirs = BeitRelativePositionBias(BeitConfig(image_size=(6, 8), patch_size=2, num_attention_heads=3))
    table = theirs.relative_position_bias_table
    torch.nn.init.normal_(table, generator=generator())
    index = theirs.generate_relative_position_index((3, 4))
    wanted = table[index.view(-1).long()].view(13, 13, 3).permute(2, 0, 1)
    d_bias = torch.randn(wanted.shape, generator=generator(1))
    (wanted * d_bias).sum().backward()
    options = {"heads": 3, "rows": 3, "columns": 4, "class_token": True, "table": flat(table)}
    ours, gradient = block(ask, "window", options, [0, 13], [0, 13], d_bias)
    np.testing.assert_array_equal(ours.astype(np.float32), wanted.detach().numpy())
    assert_gradients({"table": table}, gradient)


@pytest.mark.parametrize("window, pretrained", [((4, 4), (0, 0)), ((6, 4), (4, 4)), ((8, 8), (4, 6))])
def test_swin_v2(ask, window, pretrained):
    from transformers import Swinv2Config
    from transformers.models.swinv2.modeling_swinv2 import Swinv2SelfAttention

    heads, tokens = 3, window[0] * window[1]
    theirs = Swinv2SelfAttention(Swinv2Config(), dim=12, num_heads=heads, window_size=window, pretrained_window_size=pretrained)
    network = theirs.continuous_position_bias_mlp
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator(p.numel())) * 0.2)
    network.double()
    table = network(theirs.relative_coords_table.double()).view(-1, heads)
    wanted = 16 * torch.sigmoid(table[theirs.relative_position_index.view(-1)].view(tokens, tokens, heads).permute(2, 0, 1))
    d_bias = torch.randn(wanted.shape, generator=generator(1))
    (wanted * d_bias).sum().backward()
    names = {"w1": network[0].weight, "b1": network[0].bias, "w2": network[2].weight}
    options = {"heads": heads, "rows": window[0], "columns": window[1], "width": 512}
    options |= {"pretrained_rows": pretrained[0], "pretrained_columns": pretrained[1]}
    options |= {name: flat(p) for name, p in names.items()}
    ours, gradient = block(ask, "log_cpb", options, [0, tokens], [0, tokens], d_bias)
    np.testing.assert_allclose(ours, wanted.detach().numpy(), atol=5e-6)
    for name, p in names.items():  # their coordinates are of float32
        np.testing.assert_allclose(np.array(gradient[name]), p.grad.flatten().numpy(), rtol=1e-3, atol=2e-3, err_msg=name)
