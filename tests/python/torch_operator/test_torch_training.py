"""A tiny Llama of transformers trained with our operator has the original's losses."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ropewalk.torch import RotaryEmbedding, apply_rotary_emb_qk, from_hf_cos_sin
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

STEPS = 30


def config(**more):
    return LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1, **more)


def losses(settings):
    torch.manual_seed(0)
    model = LlamaForCausalLM(settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    data = torch.Generator().manual_seed(1)
    curve = []
    for _ in range(STEPS):
        start = torch.randint(0, 64, (4, 1), generator=data)
        tokens = (start + torch.arange(33) * torch.randint(1, 4, (4, 1), generator=data)) % 64
        loss = model(input_ids=tokens, labels=tokens, position_ids=torch.arange(33)[None] + 7).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return torch.tensor(curve)


@pytest.mark.parametrize("rope", [{"rope_type": "default", "rope_theta": 10000.0},
                                  {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}])
def test_the_curve_is_the_original_s(monkeypatch, rope):
    settings = config(rope_parameters=rope)
    original = losses(settings)
    assert original[-5:].mean() < 0.8 * original[0]  # it learns
    module = RotaryEmbedding.from_config(settings, layout="bhsd")
    where = {}

    def note(self, x, position_ids):
        where["position_ids"] = position_ids
        return theirs(self, x, position_ids)

    theirs = modeling_llama.LlamaRotaryEmbedding.forward
    monkeypatch.setattr(modeling_llama.LlamaRotaryEmbedding, "forward", note)
    calls = []

    def exact(q, k, cos, sin, unsqueeze_dim=1):
        calls.append(None)
        return module(q, k, position_ids=where["position_ids"])

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", exact)
    ours = losses(settings)
    assert len(calls) == 2 * STEPS
    noise = (ours - original).abs().max()
    assert noise < 1e-4, noise

    if rope["rope_type"] == "default":

        def wrong(q, k, cos, sin, unsqueeze_dim=1):
            return module(q, k, position_ids=where["position_ids"] * 2)

        monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", wrong)
        assert (losses(settings) - original).abs().max() > 100 * 1e-4  # a wrong position shows
        return

    def by_table(q, k, cos, sin, unsqueeze_dim=1):
        return apply_rotary_emb_qk(q, k, *from_hf_cos_sin(cos, sin), layout="bhsd")

    monkeypatch.setattr(modeling_llama, "apply_rotary_pos_emb", by_table)
    assert (losses(settings) - original).abs().max() < 1e-4

def test_the_example_learns_and_carries_far():
    program = Path(__file__).resolve().parents[3] / "examples" / "python" / "train_with_torch.py"
    lines = subprocess.run([sys.executable, program], check=True, capture_output=True, text=True).stdout.splitlines()
    far, long = (float(line.rsplit(" ", 1)[1]) for line in lines[-2:])
    assert far < 0.01 and long < 0.05, lines
