"""Encodings by their names."""

from __future__ import annotations

import inspect
from typing import Any, Dict, Optional, Type

from ropewalk._core import Error
from ropewalk.torch._absolute import Learned, Sinusoids
from ropewalk.torch._encoding import NoPosition, PositionEncoding
from ropewalk.torch._relative import Cope, Deberta, Shaw, TransformerXl
from ropewalk.torch._rotations import Fope, Rope, RopeMixed, Xpos
from ropewalk.torch._score_biases import Alibi, Fire, Kerple, LogCpb, Sandwich, T5, Window

ENCODINGS: Dict[str, Type[PositionEncoding]] = {
    "none": NoPosition,
    "sinusoidal": Sinusoids,
    "learned": Learned,
    "rope": Rope,
    "xpos": Xpos,
    "rope-mixed": RopeMixed,
    "fope": Fope,
    "t5": T5,
    "alibi": Alibi,
    "kerple": Kerple,
    "fire": Fire,
    "sandwich": Sandwich,
    "window": Window,
    "log-cpb": LogCpb,
    "shaw": Shaw,
    "transformer-xl": TransformerXl,
    "deberta": Deberta,
    "cope": Cope,
}


def position_encoding(
    name: str, *, model_dim: int, heads: int, head_dim: int, layers: int = 1, kv_heads: Optional[int] = None, max_tokens: int = 2048,
    causal: bool = True, **options: Any,
) -> PositionEncoding:
    """A position encoding by its name, with whatever is learned in it at its start.

    name: "none", "sinusoidal", "learned"; "rope", "xpos", "rope-mixed", "fope"; "t5", "alibi", "kerple", "fire", "sandwich"; "window",
        "log-cpb" (tokens of a window); "shaw", "transformer-xl", "deberta", "cope".
    model_dim: channels of an embedding. heads, head_dim, kv_heads: of attention; kv_heads None: as heads.
    layers: how many there are; what is learned is shared by them or not, as published (`shared` says otherwise).
    max_tokens: rows of "learned"; no bound of the others.
    causal: False for encoders and pictures.
    options: the encoding's own (docs/encodings.md). Raises ropewalk.Error for names and values that are none.

        >>> import torch
        >>> encoding = position_encoding("alibi", model_dim=8, heads=2, head_dim=4)
        >>> q = torch.ones(1, 3, 2, 4)  # [batch, tokens, heads, head_dim]
        >>> encoding.attend(q, q, q).shape
        torch.Size([1, 3, 2, 4])
    """
    cls = ENCODINGS.get(name)
    if cls is None:
        raise Error(f"name: want one of {', '.join(ENCODINGS)}, got {name!r}")
    parameters = inspect.signature(cls.__init__).parameters
    known = [key for key, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    takes_fields = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    for key in options:
        if key not in known and not takes_fields:
            want = f"an option of {name!r} ({', '.join(known)})" if known else f"no option of {name!r}"
            raise Error(f"{key}: want {want}, got it with {options[key]!r}")
    return cls(name, model_dim, heads, head_dim, layers, kv_heads, max_tokens, causal, **options)
