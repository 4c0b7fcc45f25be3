#!/usr/bin/env python3
"""One layer of attention learns to look three tokens back, on 64 tokens, and is then asked at 2048 and at position ten million.

    python examples/python/train_with_torch.py
"""

import torch
from ropewalk import RotarySpec
from ropewalk.torch import RotaryEmbedding

HEADS, HEAD_DIM, BACK = 2, 32, 3


class Attention(torch.nn.Module):
    """Scores come from positions alone: queries and keys are one learned vector a head."""

    def __init__(self):
        super().__init__()
        self.query, self.key = (torch.nn.Parameter(0.3 * torch.randn(HEADS, HEAD_DIM)) for _ in range(2))
        self.rope = RotaryEmbedding(RotarySpec(head_dim=HEAD_DIM, theta=10000.0), layout="bhsd")

    def forward(self, values, positions):
        tokens = values.shape[-2]
        q, k = (one[None, :, None].expand(1, HEADS, tokens, HEAD_DIM) for one in (self.query, self.key))
        q, k = self.rope(q, k, position_ids=positions)
        return torch.nn.functional.scaled_dot_product_attention(q, k, values, is_causal=True).mean(1)


def loss_of(model, tokens, first):
    values = torch.randn(1, 1, tokens, 8).expand(1, HEADS, tokens, 8)
    out = model(values, first + torch.arange(tokens))
    return (out[:, BACK:] - values[:, 0, :-BACK]).square().mean()


def main():
    torch.manual_seed(0)
    model = Attention()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for step in range(201):
        loss = loss_of(model, 64, first=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3}: loss {loss.item():.4f}")
    with torch.no_grad():
        for tokens, first in ((64, 10_000_000), (2048, 0)):
            print(f"{tokens} tokens from position {first}: loss {loss_of(model, tokens, first).item():.4f}")


if __name__ == "__main__":
    main()
