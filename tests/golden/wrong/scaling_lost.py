"""Wrong: reads theta and forgets that there may be scaling. The YaRN factor on cosine and sine is there, though."""

import numpy as np
from stranger import Stranger


class ScalingLost(Stranger):
    def inv_freq(self, config, head_dim):
        width = self.width(config, head_dim)
        return self.theta(config) ** (-2.0 * np.arange(width // 2) / width)


ScalingLost().serve()
