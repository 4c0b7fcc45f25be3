"""Wrong: turns neighbouring channels, as Meta's own code does, with weights in the order of transformers."""

import numpy as np
from stranger import Stranger


class Neighbours(Stranger):
    def turned(self, x, cos, sin):
        x0, x1 = x[..., 0::2], x[..., 1::2]
        return np.stack([x0 * cos - x1 * sin, x1 * cos + x0 * sin], axis=-1).reshape(x.shape)


Neighbours().serve()
