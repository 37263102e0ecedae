"""What can be done to a link: the toxics that Toxiproxy made standard, by its names, with its attributes (bench.faults.model).

Source: https://github.com/Shopify/toxiproxy#toxics. Attributes are in seconds, bytes and bytes a second. Two differ, on purpose:

- `timeout` *holds* what it does not let through, where Toxiproxy drops it: as a network that carries nothing does, whose
  bytes TCP sends again when it is mended. After `timeout` (0: never) the connection is closed, as Toxiproxy does.
- `down` is no toxic there but `enabled: false`: new connections are refused and those that stand are closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bench.errors import UsageError
from bench.faults.model import DIRECTIONS, NEEDED, TOXICS


@dataclass(frozen=True)
class Toxic:
    """One toxic; attributes that are not given are 0. Raises UsageError where there is none like it, or one is missing."""

    kind: str  # one of TOXICS
    direction: str = "both"  # "up": from the client to the server (or to the peer that listens); "down": back
    attributes: Mapping[str, float] = field(default_factory=dict)  # seconds, bytes, bytes a second

    def __post_init__(self) -> None:
        takes = TOXICS.get(self.kind)
        if takes is None:
            raise UsageError(f"there is no toxic {self.kind!r}; there are: {', '.join(TOXICS)}")
        if self.direction not in DIRECTIONS:
            raise UsageError(f"toxic {self.kind} has no direction {self.direction!r}; it has: {', '.join(DIRECTIONS)}")
        if self.kind == "down" and self.direction != "both":
            raise UsageError("toxic down takes the whole link: its direction is both")
        for name, value in self.attributes.items():
            if name not in takes:
                raise UsageError(f"toxic {self.kind} has no attribute {name!r}; it has: {', '.join(takes) or 'none'}")
            if not 0 <= value < float("inf") or (value == 0 and name in ("rate", "average_size")):
                raise UsageError(f"{name} of toxic {self.kind} cannot be {value:g}")
        for name in takes:
            if name in NEEDED and name not in self.attributes and (self.kind, name) != ("slicer", "delay"):
                raise UsageError(f"toxic {self.kind} needs {name}")
        object.__setattr__(self, "attributes", dict.fromkeys(takes, 0.0) | dict(self.attributes))

    def to_json(self) -> dict[str, Any]:
        """As from_json takes it."""
        return {"kind": self.kind, "direction": self.direction, "attributes": dict(self.attributes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What to_json gave."""
        return cls(data["kind"], data["direction"], data["attributes"])

    def acts(self, direction: str) -> bool:
        """Whether it acts on what goes "up", or "down"."""
        return self.direction in (direction, "both")
