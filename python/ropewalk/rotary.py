"""The prepared operator."""

from __future__ import annotations

from typing import Any, Optional, Tuple

from ropewalk import _core, text
from ropewalk._core import Error
from ropewalk.checkpoint import Source, kind_of, read_positions
from ropewalk.spec import Numerics, RotarySpec


class Rotary(_core.Rotary):
    """Turns queries and keys as one RotarySpec says. Immutable, picklable, and safe for any number of threads."""

    __slots__ = ("_running_length", "_text")

    def __init__(self, spec: RotarySpec, running_length: int = 0) -> None:
        """running_length: tokens the sequence reaches, for scalings that depend on it; 0: the trained ones."""
        super().__init__(spec, running_length)
        self._running_length = running_length
        self._text = text.write(self.spec, running_length)  # as the library has read it: numbers of numpy are Python's here

    @classmethod
    def from_config(
        cls,
        source: Source,
        *,
        layer: Optional[int] = None,
        kind: str = "",
        family: str = "",
        part: str = "",
        numerics: Numerics = "exact",
        running_length: int = 0,
    ) -> "Rotary":
        """The operator of a checkpoint: a path, the dict of a config.json or a config object of transformers.

        layer, kind: which layers are meant, where they turn differently. Raises ropewalk.Error for layers that do not rotate.
        """
        positions = read_positions(source, family=family, part=part, numerics=numerics)
        found = kind_of(positions, layer, kind)
        if found.spec is None:
            raise Error(f"{found.name}: want layers that rotate, got layers that do not")
        return cls(found.spec, running_length)

    @property
    def running_length(self) -> int:
        return self._running_length

    @property
    def text(self) -> str:
        """The spec and the running length as JSON, for programs that outlive this process."""
        return self._text

    @classmethod
    def from_text(cls, line: str) -> "Rotary":
        """The operator that `text` of another one describes."""
        return cls(*text.read(line))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of what the operator does."""
        return _core.fingerprint(self.spec, self._running_length)

    def __repr__(self) -> str:
        return f"Rotary({_core.describe(self.spec)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rotary):
            return NotImplemented
        return self.spec == other.spec and self._running_length == other._running_length

    def __hash__(self) -> int:
        return hash((self.spec, self._running_length))

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.spec, self._running_length)
