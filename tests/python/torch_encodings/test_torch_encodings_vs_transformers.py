"""Encodings against the modules of models: T5's, BLOOM's and MPT's biases, BERT's rows, Marian's and Whisper's sinusoids, DeBERTa's terms."""

import os

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import ropewalk
from ropewalk.torch import LearnedEmbedding, SinusoidalEmbedding, position_encoding

torch.set_num_threads(1)


@pytest.mark.parametrize("causal", [True, False])
def test_t5(causal):
    """A whole layer of T5, scores without a divisor, with its own weights."""
    from transformers.models.t5.modeling_t5 import T5Attention

    torch.manual_seed(0)
    config = transformers.T5Config(d_model=24, d_kv=8, num_heads=3, is_decoder=causal, dropout_rate=0.0)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).eval()
    torch.nn.init.normal_(theirs.relative_attention_bias.weight)
    encoding = position_encoding("t5", model_dim=24, heads=3, head_dim=8, causal=causal)
    encoding.load_state_dict({"table": theirs.relative_attention_bias.weight})
    want = theirs.compute_bias(200, 200)[0]
    torch.testing.assert_close(encoding.bias(200), want.detach() if not causal else torch.where(torch.ones(200, 200).tril() > 0, want, encoding.bias(200)))

    x = torch.randn(2, 40, 24)
    mask = torch.zeros(1, 1, 40, 40).masked_fill(torch.ones(40, 40).triu(1) > 0, -torch.inf) if causal else torch.zeros(1, 1, 40, 40)
    q, k, v = (one(x).view(2, 40, 3, 8) for one in (theirs.q, theirs.k, theirs.v))
    ours = theirs.o(encoding.attend(q, k, v).flatten(-2))
    torch.testing.assert_close(ours, theirs(x, mask=mask)[0], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("heads", [4, 6, 12])
def test_bloom_and_mpt(heads):
    """They add slope * key position, which differs by a number a row."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    ours = position_encoding("alibi", model_dim=8 * heads, heads=heads, head_dim=8).bias(20)
    bloom = build_alibi_tensor(torch.ones(1, 20), heads, torch.float32).view(heads, 1, 20)
    mpt = build_mpt_alibi_tensor(heads, 20, alibi_bias_max=8).view(heads, 1, 20)
    for theirs in (bloom, mpt):
        behind = torch.ones(20, 20).tril() > 0
        rows = (theirs - theirs.expand(heads, 20, 20).diagonal(dim1=1, dim2=2).unsqueeze(-1)).expand(heads, 20, 20)
        torch.testing.assert_close(ours[:, behind], rows[:, behind], atol=2e-6, rtol=1e-5)


def test_bert_and_opt():
    from transformers.models.bert.modeling_bert import BertEmbeddings
    from transformers.models.opt.modeling_opt import OPTLearnedPositionalEmbedding

    torch.manual_seed(0)
    config = transformers.BertConfig(hidden_size=24, vocab_size=9, max_position_embeddings=40, hidden_dropout_prob=0.0)
    theirs = BertEmbeddings(config).eval()
    encoding = position_encoding("learned", model_dim=24, heads=3, head_dim=8, max_tokens=40, causal=False)
    encoding.load_state_dict({"embedding.weight": theirs.position_embeddings.weight})
    ids = torch.randint(0, 9, (2, 17))
    ours = theirs.LayerNorm(encoding.embed(theirs.word_embeddings(ids) + theirs.token_type_embeddings.weight[0]))
    torch.testing.assert_close(ours, theirs(ids))

    opt = OPTLearnedPositionalEmbedding(40, 24)
    rows = LearnedEmbedding(42, 24, position_offset=2)
    rows.load_state_dict({"weight": opt.weight})
    assert torch.equal(rows(torch.zeros(2, 7, 24)), opt(torch.ones(2, 7, dtype=torch.long)))


def test_marian_and_whisper():
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
    from transformers.models.whisper.modeling_whisper import sinusoids

    zeros = torch.zeros(1, 300, 64)
    marian = SinusoidalEmbedding(ropewalk.SinusoidalSpec(64, "concatenated", "paper"))
    torch.testing.assert_close(marian(zeros)[0], MarianSinusoidalPositionalEmbedding(300, 64).create_weight(), atol=2e-7, rtol=0)
    whisper = SinusoidalEmbedding(ropewalk.SinusoidalSpec(64, "concatenated", "tensor2tensor"))
    torch.testing.assert_close(whisper(zeros)[0], sinusoids(300, 64), atol=300 * 2e-7, rtol=0)


def test_deberta():
    """Its position-to-content term counts as c2p does, not as the paper's formula is printed."""
    from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention, build_relative_position

    torch.manual_seed(0)
    config = transformers.DebertaConfig(hidden_size=24, num_attention_heads=3, relative_attention=True, max_relative_positions=5, pos_att_type=["c2p", "p2c"])
    theirs = DisentangledSelfAttention(config).eval()
    encoding = position_encoding("deberta", model_dim=24, heads=3, head_dim=8, span=5, causal=False)
    table = torch.randn(10, 24)
    encoding.load_state_dict({
        "table": table, "key_projection": theirs.pos_proj.weight.view(1, 3, 8, 24), "query_projection": theirs.pos_q_proj.weight.view(1, 3, 8, 24),
        "query_bias": theirs.pos_q_proj.bias.view(1, 3, 8),
    })
    q, k, v = (torch.randn(2, 9, 3, 8) for _ in range(3))
    by_head = [one.transpose(1, 2) for one in (q, k)]
    scaled = by_head[0] * encoding.scale
    term = theirs.disentangled_att_bias(scaled, by_head[1], build_relative_position(*by_head), table, 3)
    want = torch.softmax(scaled @ by_head[1].transpose(-1, -2) + term, -1) @ v.transpose(1, 2)
    torch.testing.assert_close(encoding.attend(q, k, v), want.transpose(1, 2), atol=2e-6, rtol=1e-5)


def test_deberta_v2s_buckets():
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    encoding = position_encoding("deberta", model_dim=24, heads=3, head_dim=8, span=256, max_distance=512, causal=False)
    n = torch.arange(-600, 601)
    theirs = make_log_bucket_position(n, 256, 512)
    assert torch.equal(encoding._row(n), (theirs + 256).clamp(0, 511).long())


def test_swin():
    from transformers.models.swin.modeling_swin import SwinRelativePositionBias

    theirs = SwinRelativePositionBias(3, (3, 5))
    torch.nn.init.normal_(theirs.relative_position_bias_table)
    encoding = position_encoding("window", model_dim=24, heads=3, head_dim=8, window=(3, 5), causal=False)
    encoding.load_state_dict({"table": theirs.relative_position_bias_table[None]})
    assert torch.equal(encoding.bias(15), theirs()[0])
    rows_and_columns = torch.stack((torch.arange(15) // 5, torch.arange(15) % 5))
    assert torch.equal(encoding.bias(15, positions=rows_and_columns), theirs()[0])


def test_beit():
    from transformers.models.beit.modeling_beit import BeitRelativePositionBias

    theirs = BeitRelativePositionBias(transformers.BeitConfig(image_size=(6, 8), patch_size=2, num_attention_heads=3))
    table = theirs.relative_position_bias_table
    torch.nn.init.normal_(table)
    encoding = position_encoding("window", model_dim=24, heads=3, head_dim=8, window=(3, 4), class_token=True, causal=False)
    encoding.load_state_dict({"table": table[None]})
    index = theirs.generate_relative_position_index((3, 4))
    assert torch.equal(encoding.bias(13), table[index.view(-1).long()].view(13, 13, 3).permute(2, 0, 1))


def test_swin_v2():
    from transformers.models.swinv2.modeling_swinv2 import Swinv2SelfAttention

    theirs = Swinv2SelfAttention(transformers.Swinv2Config(), dim=24, num_heads=3, window_size=(6, 4), pretrained_window_size=(4, 4))
    network = theirs.continuous_position_bias_mlp
    encoding = position_encoding("log-cpb", model_dim=24, heads=3, head_dim=8, window=(6, 4), pretrained_window=(4, 4), causal=False)
    encoding.load_state_dict({"w1": network[0].weight[None], "b1": network[0].bias[None], "w2": network[2].weight[None]})
    table = network(theirs.relative_coords_table).view(-1, 3)
    want = 16 * torch.sigmoid(table[theirs.relative_position_index.view(-1)].view(24, 24, 3).permute(2, 0, 1))
    torch.testing.assert_close(encoding.bias(24), want, atol=1e-5, rtol=1e-5)
