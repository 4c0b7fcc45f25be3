"""Models that hold one finished table of sines and cosines (GPT-J, CodeGen, RoFormer): exact numbers in its place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, Optional, Union

import torch
from torch import Tensor, nn

from ropewalk._core import Error, fingerprint
from ropewalk.checkpoint import kind_of, read_positions
from ropewalk.rotary import Rotary
from ropewalk.spec import RotarySpec, Scaling


class FixedTable:
    """A table [positions, sines then cosines] of a module, and the one that takes its place."""

    def __init__(self, path: str, name: str, theirs: Tensor, spec: RotarySpec, trained: int) -> None:
        self.path, self.name, self.theirs, self.spec, self.trained = path, name, theirs, spec, trained
        error = (self.made(spec).double() - theirs.double().cpu()).abs()
        rows = torch.arange(theirs.shape[0])[:, None].double()
        coarse = 0.0 if theirs.dtype == torch.float32 else 1.0
        share = (error / (4e-7 + 3e-7 * rows + coarse * 0.02)).max().item()
        if not share <= 1.0:
            raise Error(f"{path}.{name}: want the sines and cosines of the config, got others (by {share:.3g} times what float32 explains)")
        self.probe = {"positions": [0, theirs.shape[0] - 1], "of_what_float32_explains": round(share, 4)}

    def made(self, spec: RotarySpec) -> Tensor:
        cos, sin = Rotary(spec).cos_sin(torch.arange(self.theirs.shape[0]))
        return torch.cat((torch.from_numpy(sin), torch.from_numpy(cos)), dim=-1)

    def put(self, module: nn.Module) -> Callable[[], None]:
        """Gives the module the exact table, in float32 and out of reach of casts; returns what undoes it."""
        table = self.made(self.spec).to(self.theirs.device)
        module.__dict__["_ropewalk"] = self
        if self.name == "weight":
            parameter = module._parameters["weight"]
            assert parameter is not None
            held = parameter.data
            parameter.data = table.to(held.dtype)

            def back() -> None:
                parameter.data = held
                module.__dict__.pop("_ropewalk", None)

            return back
        buffer = module._buffers.pop(self.name)
        module.__dict__[self.name] = table

        def back_to_buffer() -> None:
            module.__dict__.pop(self.name, None)
            module._buffers[self.name] = buffer
            module.__dict__.pop("_ropewalk", None)

        return back_to_buffer

    def rescale(self, module: nn.Module, scaling: Union[None, str, Scaling]) -> None:
        from ropewalk.hf._install import scaling_named
        from ropewalk.hf._tables import length_dependent

        if scaling is None:
            return
        spec = replace(self.spec, scaling=scaling_named(scaling, self.trained))
        if length_dependent(spec):
            raise Error(f"{self.path}: want a scaling that does not move with the length, for this model has one table, got {scaling!r}")
        self.spec = spec
        if self.name == "weight":
            parameter = module._parameters["weight"]
            assert parameter is not None
            parameter.data = self.made(spec).to(parameter.device, parameter.dtype)
        else:
            module.__dict__[self.name] = self.made(spec).to(self.theirs.device)

    def described(self) -> Dict[str, Any]:
        return {"kind": "default", "spec": self.spec, "fingerprint": fingerprint(self.spec, 0), "probe": self.probe, "table": self.name}


def fixed_table_of(path: str, module: nn.Module, config: Any, numerics: str) -> Optional[FixedTable]:
    """The table of a module that has one, or None."""
    buffer = module._buffers.get("embed_positions")
    if buffer is not None and hasattr(module, "pos_embd_dim"):
        name, theirs = "embed_positions", buffer
    elif type(module).__name__.endswith("SinusoidalPositionalEmbedding") and type(module).__name__.startswith("RoFormer"):
        name, theirs = "weight", module.get_parameter("weight").data
    else:
        return None
    positions = read_positions(config, numerics=numerics)  # type: ignore[arg-type]
    spec = kind_of(positions, None, "").spec
    assert spec is not None
    return FixedTable(path, name, theirs, spec, positions.trained_context)
