"""The same as a module."""

from __future__ import annotations

from typing import Any, Optional, Tuple, Union

from torch import Tensor, nn

from ropewalk.checkpoint import Source
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec
from ropewalk.torch._functional import rotate
from ropewalk.torch._positions import axes_of


class RotaryEmbedding(nn.Module):
    """Turns queries and keys. Holds plain data and no tensor: nothing to save, to cast, to shard or to initialise."""

    def __init__(self, rotary: Union[Rotary, RotarySpec], *, layout: str = "bshd") -> None:
        super().__init__()
        self.rotary = rotary if isinstance(rotary, Rotary) else Rotary(rotary)
        axes_of(layout)
        self.layout = layout

    @classmethod
    def from_config(cls, source: Source, *, layout: str = "bshd", **which: Any) -> "RotaryEmbedding":
        """The module of a checkpoint; arguments as those of Rotary.from_config."""
        return cls(Rotary.from_config(source, **which), layout=layout)

    def forward(
        self,
        q: Tensor,
        k: Optional[Tensor] = None,
        *,
        position_ids: Any = None,
        seqlen_offsets: Any = None,
        cu_seqlens: Any = None,
        inverse: bool = False,
    ) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        return rotate(self.rotary, q, k, position_ids=position_ids, seqlen_offsets=seqlen_offsets, cu_seqlens=cu_seqlens,
                      layout=self.layout, inverse=inverse)  # type: ignore[call-overload]

    def extra_repr(self) -> str:
        return repr(self.rotary)
