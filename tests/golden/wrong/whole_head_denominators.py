"""Wrong: partial rotary with the exponent's denominator taken over the whole head."""

from stranger import Stranger


class WholeHeadDenominators(Stranger):
    def denominator(self, config, head_dim):
        return head_dim


WholeHeadDenominators().serve()
