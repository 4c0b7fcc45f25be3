"""What the parity tests ask of torch, and the tokenizer they save beside small models."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")


def reference_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([list(map(int, ids))])).logits[0].float().numpy()


def reference_nll(model, ids, length, score):
    """Nats over the last `score` of `length` tokens, in one forward pass."""
    logits = torch.tensor(reference_logits(model, ids[:length])).double()
    target = torch.tensor(np.asarray(ids[:length]), dtype=torch.int64)
    nll = -torch.log_softmax(logits[length - score - 1:length - 1], -1)
    return nll.gather(1, target[length - score:, None]).sum().item()


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def byte_tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
