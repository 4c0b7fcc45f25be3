"""score_mod functions give flex_attention what attend gives, and a gradient."""

import pytest

torch = pytest.importorskip("torch")
flex = pytest.importorskip("torch.nn.attention.flex_attention")
from encoding_formulas import CASES, LAYER
from test_torch_encoding_values import made, tensors

torch.set_num_threads(1)
WITH = [case for case in CASES if made(case).adds_to_scores and not case.startswith("cope") and case not in ("shaw", "fire")]


def by_flex(encoding, q, k, v, positions=None, key_positions=None):
    reads = {"q": q, "k": k} if encoding.name in ("shaw", "transformer-xl", "deberta") else {}
    mask = None
    if encoding.causal:
        behind = k.shape[1] - q.shape[1]
        mask = flex.create_block_mask(lambda b, h, i, j: j <= i + behind, None, None, q.shape[1], k.shape[1], device="cpu")
    out = flex.flex_attention(*(one.transpose(1, 2) for one in (q, k, v)), score_mod=encoding.score_mod(LAYER, positions, key_positions, **reads),
                              block_mask=mask, scale=encoding.scale, enable_gqa=True)
    return out.transpose(1, 2)


@pytest.mark.parametrize("case", WITH)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_is_attend(case):
    encoding = made(case)
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    torch.testing.assert_close(by_flex(encoding, q, k, v), encoding.attend(q, k, v, LAYER), atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("case", WITH)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_so_it_is_with_a_cache(case):
    encoding = made(case)
    q, k, v, _ = (one.detach() for one in tensors(3, 12))
    keys = torch.arange(12)
    torch.testing.assert_close(by_flex(encoding, q, k, v, keys[9:], keys), encoding.attend(q, k, v, LAYER), atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("case", ["t5", "kerple", "fire-rows", "window", "log-cpb", "shaw-keys", "deberta"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_what_is_learned_is_learned_through_it(case):
    encoding = made(case)
    q, k, v, _ = (one.detach() for one in tensors(12, 12))
    losses = [(out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum() for out in (by_flex(encoding, q, k, v), encoding.attend(q, k, v, LAYER))]
    for one, other in zip(*(torch.autograd.grad(loss, list(encoding.parameters())) for loss in losses)):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_nothing_is_added_where_nothing_is():
    for case in ("none", "rope", "sinusoidal", "learned", "xpos"):
        assert made(case).score_mod(LAYER) is None


def test_a_program_may_hold_it():
    for case in ("alibi", "fire-rows"):
        encoding = made(case)
        torch._dynamo.reset()
        q, k, v, _ = (one.detach() for one in tensors(12, 12))
        with torch.no_grad():
            compiled = torch.compile(lambda q, k, v: by_flex_whole(encoding, q, k, v), fullgraph=True, backend="aot_eager")
            torch.testing.assert_close(compiled(q, k, v), encoding.attend(q, k, v, LAYER), atol=1e-5, rtol=1e-4)


def by_flex_whole(encoding, q, k, v):
    add = encoding.score_mod(LAYER)

    def masked(score, b, h, i, j):
        return torch.where(j <= i, add(score, b, h, i, j), -float("inf"))

    groups = q.shape[2] // k.shape[2]
    k, v = (one.repeat_interleave(groups, 2) for one in (k, v))
    return flex.flex_attention(*(one.transpose(1, 2) for one in (q, k, v)), score_mod=masked, scale=encoding.scale).transpose(1, 2)
