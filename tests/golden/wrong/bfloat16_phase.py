"""Wrong: forms the phase in bfloat16, as a model does whose buffers were cast with it."""

import numpy as np
from stranger import Stranger


def bfloat16(values):
    """Rounded to nearest even, kept in float32."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


class Bfloat16Phase(Stranger):
    def phase(self, positions, inv_freq):
        return bfloat16(bfloat16(positions)[:, None] * bfloat16(inv_freq))


Bfloat16Phase().serve()
