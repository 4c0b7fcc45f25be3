"""The operator inside models of transformers, and their perplexity by length.

    handle = ropewalk.hf.install(model)                    # the model's own encoding, at exact phases
    handle = ropewalk.hf.install(model, scaling="yarn:4")  # another scaling, which takes effect
    handle.undo()
"""

from ropewalk.hf._evaluate import evaluate
from ropewalk.hf._install import Installation, install

__all__ = ["Installation", "evaluate", "install"]
