#!/usr/bin/env python3
"""One model, one word changed: which token came three back, learned on 32 tokens and asked for on 32 and on 96.

    python examples/python/one_word.py [ENCODING ...]
"""

import sys

import torch
from ropewalk.torch import position_encoding
from torch import nn

TOKENS, LONGER, ALPHABET, BACK = 32, 96, 12, 3
DIM, HEADS, HEAD_DIM, STEPS = 48, 3, 16, 200


class Model(nn.Module):
    """Two layers of attention. `encoding` is all that knows of positions."""

    def __init__(self, name):
        super().__init__()
        self.encoding = position_encoding(name, model_dim=DIM, heads=HEADS, head_dim=HEAD_DIM, layers=2, max_tokens=LONGER)
        self.words = nn.Embedding(ALPHABET, DIM)
        self.norms = nn.ModuleList(nn.LayerNorm(DIM) for _ in range(3))
        self.inner = nn.ModuleList(nn.Linear(DIM, 3 * DIM) for _ in range(2))
        self.outer = nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(2))
        self.answer = nn.Linear(DIM, ALPHABET)

    def forward(self, ids):
        x = self.encoding.embed(self.words(ids))
        for layer in range(2):
            q, k, v = self.inner[layer](self.norms[layer](x)).unflatten(-1, (3, HEADS, HEAD_DIM)).unbind(2)
            q, k = self.encoding.rotate(q, k, layer=layer)
            x = x + self.outer[layer](self.encoding.attend(q, k, v, layer=layer).flatten(-2))
        return self.answer(self.norms[2](x))


def share_right(model, tokens):
    ids = torch.randint(ALPHABET, (32, tokens))
    with torch.no_grad():
        return (model(ids)[:, BACK:].argmax(-1) == ids[:, :-BACK]).float().mean().item()


def main(names):
    torch.set_num_threads(1)  # so small a model is slower with more
    print(f"{'encoding':<16}{'at ' + str(TOKENS):>8}{'at ' + str(LONGER):>8}")
    for name in names:
        torch.manual_seed(0)
        model = Model(name)
        optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
        for _ in range(STEPS):
            ids = torch.randint(ALPHABET, (32, TOKENS))
            loss = nn.functional.cross_entropy(model(ids)[:, BACK:].flatten(0, 1), ids[:, :-BACK].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"{name:<16}{share_right(model, TOKENS):>8.2f}{share_right(model, LONGER):>8.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["none", "sinusoidal", "learned", "rope", "t5", "alibi", "fire", "shaw"])
