"""Quantised blocks against the gguf package, which shares no code with the runner."""

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType  # noqa: E402
from gguf.quants import dequantize  # noqa: E402

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208]}


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", *SCALES])
def test_random_blocks(probe, name):
    kind = GGMLQuantizationType[name]
    values, size = GGML_QUANT_SIZES[kind]
    generator = np.random.default_rng(4)
    count = 1024 if values > 1 else 8192
    if name == "F32":
        blocks = generator.standard_normal(count).astype(np.float32).view(np.uint8).reshape(count, size)
    elif name == "F16":
        blocks = generator.standard_normal(count).astype(np.float16).view(np.uint8).reshape(count, size)
    elif name == "BF16":
        blocks = (generator.standard_normal(count).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        blocks = blocks.view(np.uint8).reshape(count, size)
    else:
        blocks = generator.integers(0, 256, (count, size), dtype=np.uint8)
        for at in SCALES[name]:
            blocks[:, at:at + 2] = generator.standard_normal(count).astype(np.float16).view(np.uint8).reshape(count, 2)
    want = dequantize(blocks.reshape(1, -1), kind).ravel() if name != "F32" else blocks.view(np.float32).ravel()
    got = probe.dequantize(kind, blocks)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-5)
