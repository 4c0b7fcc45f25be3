"""Encodings that take queries and keys against what users run: transformers' attention modules with torch's autograd.

Where no installed package has one (Shaw's values, CoPE, DeBERTa's term as its paper prints it), the formula stands here
as its paper gives it, in float64.

ROPEWALK_RELATIVE_PROBE  the program that answers (default: build/tests/math/relative_probe)
"""

import os
import pathlib

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

from line_probe import asking

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ROPEWALK_BUILD", ROOT / "build"))
PROBE = pathlib.Path(os.environ.get("ROPEWALK_RELATIVE_PROBE", BUILD / "tests/math/relative_probe"))

HEADS, DIM = 3, 8


@pytest.fixture(scope="module")
def ask():
    with asking(PROBE) as question:
        yield question


def normal(*shape, seed=0):
    """float64 numbers that float32 holds, a leaf of autograd."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double().requires_grad_()


def flat(x):
    return x.detach().flatten().tolist()


def near(ours, theirs, what, tolerance=1e-5):
    theirs = theirs.detach().numpy()
    np.testing.assert_allclose(np.array(ours).reshape(theirs.shape), theirs, rtol=tolerance, atol=tolerance, err_msg=what)


def compare(ask, kind, options, q, k, theirs, learned, first_query=None, tolerance=1e-5):
    """theirs: what is added to the scores, [heads, queries, keys], of q [queries, heads, dim] and k [keys, kv_heads, dim].
    learned: the parameters by the names of ours, or (parameter, from its gradient to ours)."""
    queries, keys = len(q), len(k)
    d_score = normal(*theirs.shape, seed=99)
    leaves = [q, k] + [p[0] if isinstance(p, tuple) else p for p in learned.values()]
    grads = torch.autograd.grad((theirs * d_score).sum(), leaves, allow_unused=True)
    options = {"heads": q.shape[1], "head_dim": q.shape[2]} | options
    first_query = keys - queries if first_query is None else first_query
    where = {"queries": [first_query, queries], "keys": [0, keys]}
    ours = ask(kind=kind, options=options, q=flat(q), k=flat(k), kv_heads=k.shape[1], d_score=flat(d_score), **where)
    near(ours["score"], theirs, "score", tolerance)
    for name, leaf, grad in zip(["d_q", "d_k"], leaves, grads):
        near(ours[name], torch.zeros_like(leaf) if grad is None else grad, name, 10 * tolerance)
    assert set(learned) <= set(ours["gradient"])
    for (name, parameter), grad in zip(learned.items(), grads[2:]):
        turned = parameter[1](grad) if isinstance(parameter, tuple) else grad
        near(ours["gradient"][name], turned, name, 10 * tolerance)
    return ours["softmax_scale"]


def heads_first(x):
    """[tokens, heads, dim] as the modules have it: [1, heads, tokens, dim]."""
    return x.transpose(0, 1)[None]


# ---- Shaw


@pytest.mark.parametrize("model", ["wav2vec2_bert", "seamless_m4t_v2"])
@pytest.mark.parametrize("left, right", [(64, 8), (5, 3), (0, 2)])
def test_shaws_keys_are_those_of_relative_key(ask, model, left, right):
    tokens = 30
    table = normal(left + right + 1, DIM, seed=1)
    q, k = normal(tokens, HEADS, DIM, seed=2), normal(tokens, HEADS, DIM, seed=3)
    if model == "wav2vec2_bert":
        from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import _apply_relative_key_position_encoding as bias_of

        class Module:
            left_max_position_embeddings, right_max_position_embeddings = left, right
            scaling = DIM**-0.5

            @staticmethod
            def distance_embedding(rows):
                return table[rows]

        theirs = bias_of(Module, heads_first(q), heads_first(k))[1][0]
    else:
        from transformers import SeamlessM4Tv2Config
        from transformers.models.seamless_m4t_v2.modeling_seamless_m4t_v2 import SeamlessM4Tv2ConformerSelfAttention as Attention

        config = SeamlessM4Tv2Config(hidden_size=HEADS * DIM, speech_encoder_attention_heads=HEADS,
                                     position_embeddings_type="relative_key", left_max_position_embeddings=left,
                                     right_max_position_embeddings=right)
        module = Attention(config).double().eval()
        module.linear_q = module.linear_k = module.linear_v = module.linear_out = torch.nn.Identity()
        with torch.no_grad():
            module.distance_embedding.weight.copy_(table)
        x = normal(1, tokens, HEADS * DIM, seed=4)
        scores = module(x, output_attentions=True)[1][0].log()
        heads = x[0].view(tokens, HEADS, DIM)
        plain = torch.einsum("ihd,jhd->hij", heads, heads) * DIM**-0.5
        options = {"heads": HEADS, "head_dim": DIM, "left": left, "right": right, "key_table": flat(table)}
        ours = ask(kind="shaw", options=options, q=flat(x), k=flat(x), kv_heads=HEADS, queries=[0, tokens], keys=[0, tokens])
        term = torch.tensor(ours["score"]).view(HEADS, tokens, tokens)
        near((plain + term).log_softmax(-1).detach().numpy(), scores, "log of probabilities")
        return
    compare(ask, "shaw", {"left": left, "right": right, "key_table": flat(table)}, q, k, theirs, {"key_table": table})


def test_shaws_values_and_their_gradients(ask):
    """arXiv 1803.02155, equations 3 and 4 with clipping of equation 5."""
    tokens, keys, clip = 12, 20, 4
    key_table, value_table = normal(2 * clip + 1, DIM, seed=1), normal(2 * clip + 1, DIM, seed=2)
    q, k = normal(tokens, HEADS, DIM, seed=3), normal(keys, HEADS, DIM, seed=4)
    i, j = torch.arange(keys - tokens, keys)[:, None], torch.arange(keys)[None]
    rows = (j - i).clamp(-clip, clip) + clip
    scores = torch.einsum("ihd,jhd->hij", q, k) + torch.einsum("ihd,ijd->hij", q, key_table[rows])
    p = (scores * DIM**-0.5).softmax(-1)
    out = torch.einsum("hij,ijd->ihd", p, value_table[rows])
    d_out = normal(tokens, HEADS, DIM, seed=5)
    d_p, d_table = torch.autograd.grad((out * d_out).sum(), [p, value_table])
    options = {"heads": HEADS, "head_dim": DIM, "left": clip, "right": clip}
    options |= {"key_table": flat(key_table), "value_table": flat(value_table)}
    where = {"queries": [keys - tokens, tokens], "keys": [0, keys]}
    ours = ask(kind="shaw", options=options, q=flat(q), k=flat(k), kv_heads=HEADS, p=flat(p), d_out=flat(d_out), **where)
    near(ours["out"], out, "out")
    near(ours["d_p"], d_p, "d_p")
    near(ours["gradient"]["value_table"], d_table, "value_table")
    theirs = torch.einsum("ihd,ijd->hij", q, key_table[rows]) * DIM**-0.5
    compare(ask, "shaw", options, q, k, theirs, {"key_table": key_table})


# ---- Transformer-XL


@pytest.mark.parametrize("model", ["wav2vec2_conformer", "wav2vec2_bert"])
def test_conformers(ask, model):
    module_of = __import__(f"transformers.models.{model}.modeling_{model}", fromlist=["x"])
    name = {"wav2vec2_conformer": "Wav2Vec2Conformer", "wav2vec2_bert": "Wav2Vec2Bert"}[model]
    width, tokens = HEADS * DIM, 17
    config = getattr(transformers, name + "Config")
    config = config(hidden_size=width, num_attention_heads=HEADS, position_embeddings_type="relative", max_source_positions=40)
    module = getattr(module_of, name + "SelfAttention")(config).double().eval()
    with torch.no_grad():
        for seed, p in enumerate([module.pos_bias_u, module.pos_bias_v, module.linear_pos.weight]):
            p.copy_(normal(*p.shape, seed=seed))
    embedding = getattr(module_of, name + "RelPositionalEmbedding")(config)(torch.zeros(1, tokens, width)).double()
    q, k = normal(tokens, HEADS, DIM, seed=5), normal(tokens, HEADS, DIM, seed=6)
    with_u, bias = module_of._apply_relative_position_encoding(module, heads_first(q), heads_first(k), embedding)
    of_u = torch.einsum("hid,jhd->hij", (with_u - heads_first(q))[0], k) * DIM**-0.5
    options = {"least_distance": 1 - tokens, "most_distance": tokens - 1, "model_dim": width, "order": "interleaved"}
    learned = {"projection": module.linear_pos.weight, "u": module.pos_bias_u, "v": module.pos_bias_v}
    options |= {name: flat(p) for name, p in learned.items()}
    compare(ask, "transformer_xl", options, q, k, bias[0] + of_u, learned, tolerance=5e-5)  # their sinusoids are float32


@pytest.mark.parametrize("memory", [0, 9])
@pytest.mark.parametrize("attn_type, clamp_len", [("bi", -1), ("uni", -1), ("bi", 6)])
def test_xlnet_with_and_without_memory(ask, memory, attn_type, clamp_len):
    from transformers import XLNetConfig
    from transformers.models.xlnet.modeling_xlnet import XLNetModel

    width, tokens = HEADS * DIM, 11
    keys = tokens + memory
    config = XLNetConfig(vocab_size=10, d_model=width, n_layer=1, n_head=HEADS, d_inner=8, attn_type=attn_type, clamp_len=clamp_len)
    model = XLNetModel(config)
    module = model.layer[0].rel_attn.double().eval()
    with torch.no_grad():
        for seed, p in enumerate([module.r, module.r_w_bias, module.r_r_bias]):
            p.copy_(normal(*p.shape, seed=seed))
    r = model.relative_positional_encoding(tokens, keys, bsz=1).double()
    q, k = normal(tokens, HEADS, DIM, seed=5), normal(keys, HEADS, DIM, seed=6)
    k_of_r = torch.einsum("ibh,hnd->ibnd", r, module.r)
    mask = None
    if attn_type == "uni":
        mask = (torch.arange(keys)[None] > torch.arange(tokens)[:, None] + memory)[:, :, None, None].double()
    _, p = module.rel_attn_core(q[:, None], k[:, None], normal(keys, 1, HEADS, DIM), k_of_r, attn_mask=mask, output_attentions=True)
    # What a softmax leaves of the scores: they less a number a row.
    theirs = p[:, :, 0].permute(2, 0, 1)
    far = clamp_len if clamp_len > 0 else keys
    options = {"least_distance": 0 if attn_type == "uni" else -far, "most_distance": far, "clamp": clamp_len > 0, "model_dim": width}
    learned = {"projection": module.r.permute(1, 2, 0), "u": module.r_w_bias, "v": module.r_r_bias}
    options |= {name: flat(x) for name, x in learned.items()} | {"heads": HEADS, "head_dim": DIM}
    request = {"kind": "transformer_xl", "options": options, "q": flat(q), "k": flat(k), "kv_heads": HEADS}
    request |= {"queries": [memory, tokens], "keys": [0, keys]}
    term = torch.tensor(ask(**request)["score"], dtype=torch.float64).view(HEADS, tokens, keys).requires_grad_()
    scores = torch.einsum("ihd,jhd->hij", q, k) * DIM**-0.5 + term
    if mask is not None:
        scores = scores.masked_fill(mask[:, :, 0, 0] > 0, -torch.inf)
    ours = scores.softmax(-1)
    near(ours.detach().numpy(), theirs, "probabilities", 5e-6)

    # Both ways back from the probabilities: theirs by autograd, ours by autograd to the term and then by add_gradient.
    d_p = normal(*theirs.shape, seed=7)
    wanted = torch.autograd.grad((theirs * d_p).sum(), [q, k, module.r, module.r_w_bias, module.r_r_bias])
    d_q, d_k, d_term = torch.autograd.grad((ours * d_p).sum(), [q, k, term])
    answer = ask(**request, d_score=flat(d_term))
    near(np.array(answer["d_q"]) + np.array(flat(d_q)), wanted[0], "d_q", 2e-5)
    near(np.array(answer["d_k"]) + np.array(flat(d_k)), wanted[1], "d_k", 2e-5)
    near(answer["gradient"]["projection"], wanted[2].permute(1, 2, 0), "projection", 2e-4)
    near(answer["gradient"]["u"], wanted[3], "u", 2e-5)
    near(answer["gradient"]["v"], wanted[4], "v", 2e-5)


# ---- DeBERTa


class Given(torch.nn.Module):
    """Stands for a projection of the table of positions."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, _):
        return self.table[None]


@pytest.mark.parametrize("terms", [["c2p", "p2c"], ["c2p"], ["p2c"]])
@pytest.mark.parametrize("tokens", [10, 70])
def test_deberta_v1(ask, terms, tokens):
    from transformers import DebertaConfig
    from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention, build_relative_position

    span, width = 25, HEADS * DIM
    config = DebertaConfig(hidden_size=width, num_attention_heads=HEADS, relative_attention=True,
                           max_relative_positions=span, pos_att_type=terms)
    module = DisentangledSelfAttention(config).double().eval()
    tables = {f"{name}_table": normal(2 * span, width, seed=seed) for seed, name in enumerate(terms)}
    held = min(tokens, span)  # they cut the table to distances that occur
    for name, attribute in (("c2p_table", "pos_proj"), ("p2c_table", "pos_q_proj")):
        if name in tables:
            setattr(module, attribute, Given(tables[name][span - held : span + held] * 1.0))
    q, k = normal(tokens, HEADS, DIM, seed=5), normal(tokens, HEADS, DIM, seed=6)
    factor = 1 + len(terms)
    scale = (factor * DIM) ** 0.5
    rel = build_relative_position(heads_first(q), heads_first(k))
    theirs = module.disentangled_att_bias(heads_first(q) / scale, heads_first(k), rel, torch.zeros(2 * span, width), factor)[0]
    options = {"span": span} | {name: flat(x) for name, x in tables.items()}
    assert compare(ask, "deberta", options, q, k, theirs, tables) == pytest.approx(1 / scale, rel=1e-12)


@pytest.mark.parametrize("terms", [["c2p", "p2c"], ["p2c"]])
@pytest.mark.parametrize("buckets, furthest, tokens", [(256, 512, 700), (16, 64, 90), (9, 33, 50), (32, 512, 60)])
def test_deberta_v2(ask, terms, buckets, furthest, tokens):
    from transformers import DebertaV2Config
    from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, build_relative_position

    heads, dim = (1, 4) if tokens > 100 else (HEADS, DIM)
    width = heads * dim
    config = DebertaV2Config(hidden_size=width, num_attention_heads=heads, relative_attention=True, position_buckets=buckets,
                             max_relative_positions=furthest, pos_att_type=terms, share_att_key=False)
    module = DisentangledSelfAttention(config).double().eval()
    tables = {f"{name}_table": normal(2 * buckets, width, seed=seed) for seed, name in enumerate(terms)}
    for name, attribute in (("c2p_table", "pos_key_proj"), ("p2c_table", "pos_query_proj")):
        if name in tables:
            setattr(module, attribute, Given(tables[name] * 1.0))
    q, k = normal(tokens, heads, dim, seed=5), normal(tokens, heads, dim, seed=6)
    rel = build_relative_position(q.transpose(0, 1), k.transpose(0, 1), buckets, furthest)
    unseen = torch.zeros(2 * buckets, width)
    theirs = module.disentangled_attention_bias(q.transpose(0, 1), k.transpose(0, 1), rel, unseen, 1 + len(terms))
    options = {"span": buckets, "max_distance": furthest} | {name: flat(x) for name, x in tables.items()}
    compare(ask, "deberta", options, q, k, theirs, tables)


def test_deberta_v2_with_shared_projections(ask):
    from transformers import DebertaV2Config
    from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder

    tokens, width, span = 40, HEADS * DIM, 16
    config = DebertaV2Config(hidden_size=width, num_attention_heads=HEADS, num_hidden_layers=1, intermediate_size=8,
                             relative_attention=True, position_buckets=span, max_relative_positions=64,
                             pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm")
    encoder = DebertaV2Encoder(config).double().eval()
    module = encoder.layer[0].attention.self
    with torch.no_grad():
        for seed, p in enumerate(encoder.parameters()):
            p.copy_(0.5 * normal(*p.shape, seed=seed))
    x, rel = normal(1, tokens, width, seed=50), encoder.get_rel_embedding()
    everything, rel_pos = torch.ones(1, 1, tokens, tokens), encoder.get_rel_pos(x)
    probabilities = module(x, everything, output_attentions=True, relative_pos=rel_pos, rel_embeddings=rel)[1][0]
    q, k = (f(x)[0].view(tokens, HEADS, DIM) for f in (module.query_proj, module.key_proj))
    options = {"heads": HEADS, "head_dim": DIM, "span": span, "max_distance": 64}
    options |= {"c2p_table": flat(module.key_proj(rel)), "p2c_table": flat(module.query_proj(rel))}
    ours = ask(kind="deberta", options=options, q=flat(q), k=flat(k), kv_heads=HEADS, queries=[0, tokens], keys=[0, tokens])
    scores = torch.einsum("ihd,jhd->hij", q, k) * ours["softmax_scale"] + torch.tensor(ours["score"]).view(HEADS, tokens, tokens)
    near(scores.softmax(-1).detach().numpy(), probabilities, "probabilities", 3e-5)


def test_debertas_p2c_as_its_paper_prints_it(ask):
    """arXiv 2006.03654, equations 3 and 4: the key's content with Q_r of delta(j, i)."""
    tokens, span = 30, 10
    table = normal(2 * span, HEADS, DIM, seed=1)
    q, k = normal(tokens, HEADS, DIM, seed=2), normal(tokens, HEADS, DIM, seed=3)

    def delta(i, j):
        return torch.where(i - j <= -span, 0, torch.where(i - j >= span, 2 * span - 1, i - j + span))

    i, j = torch.arange(tokens)[:, None], torch.arange(tokens)[None]
    by_key, by_query = (torch.einsum("jhd,ijhd->hij", k, table[d]) / (2 * DIM) ** 0.5 for d in (delta(j, i), delta(i, j)))
    options = {"span": span, "p2c_table": flat(table)}
    compare(ask, "deberta", options | {"printed": True}, q, k, by_key, {"p2c_table": table})
    compare(ask, "deberta", options, q, k, by_query, {"p2c_table": table})
    assert (by_key - by_query).abs().max() > 1


# ---- CoPE


@pytest.mark.parametrize("positions", [64, 5])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_cope(ask, positions, causal, kv_heads):
    """arXiv 2405.18719, appendix B: gates of masked, scaled scores; positions summed from the query back."""
    heads, tokens, keys = 4, 9, 23
    table = normal(DIM, positions, seed=1)
    q, k = normal(tokens, heads, DIM, seed=2), normal(keys, kv_heads, DIM, seed=3)
    scores = torch.einsum("ihd,jhd->hij", q, k.repeat_interleave(heads // kv_heads, 1)) * DIM**-0.5
    if causal:
        scores = scores.masked_fill(torch.arange(keys)[None] > torch.arange(tokens)[:, None] + keys - tokens, -torch.inf)
    p = scores.sigmoid().flip(-1).cumsum(-1).flip(-1).clamp(max=positions - 1)
    of_positions = torch.einsum("ihd,dm->him", q, table)
    before, behind = (of_positions.gather(-1, f(p).long()) for f in (torch.floor, torch.ceil))
    w = p - p.floor()
    theirs = behind * w + before * (1 - w)
    options = {"positions": positions, "causal": causal, "table": flat(table)}
    compare(ask, "cope", options, q, k, theirs, {"table": table}, tolerance=2e-5)
