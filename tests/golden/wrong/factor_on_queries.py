"""Wrong: multiplies queries by the attention factor and leaves keys alone."""

from stranger import Stranger


class FactorOnQueries(Stranger):
    def factor(self, config, operand):
        return super().factor(config, operand) if operand == "query" else 1.0


FactorOnQueries().serve()
