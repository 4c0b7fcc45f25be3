from typing import Literal
OnGrowth = Literal["rerotate","recompute"]
class Growth:
    def __init__(self, model, growing, on): self.on=on
    def remove(self): pass
    def described(self): return self.on
