"""Whether two measurements are of like machines: which fields of their environment.json differ (pure).

Two measures. `exactly`: what one measurement that was cut off may go on under. `machines`: what figures of several runs may stand
side by side under; CPU placement alone is a tenfold effect (docs/method.md), the core count nearly as much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

MACHINE = (
    "cpu", "cores", "cores_physical", "cores_allowed_by_cgroup", "memory_b", "memory_allowed_by_cgroup_b", "kernel", "architecture", "os",
    "virtualisation", "governor",
)  # fmt: skip
PLACEMENT = ("pinned", "usable_cores")
MEMORY_STEP_B = 1 << 30
"""Memory counts in whole GiB: what the kernel keeps for itself moves with its version."""

_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One field that differs, as it stands in the two files."""

    field: str  # "machine.cores"
    ours: Any
    theirs: Any


def exactly(before: Json, here: Json, parts: Iterable[str], aside: Iterable[str] = ()) -> str:
    """Which of ``parts`` of an environment is not the same, and what of it: "machine (cores 2, now 4)"; "" where all are.

    ``aside``: keys that may differ.
    """
    for part in parts:
        other = [key for key in here[part] if key not in aside and before[part].get(key) != here[part][key]]
        if other:
            return f"{part} ({', '.join(f'{key} {before[part].get(key)}, now {here[part][key]}' for key in other)})"
    return ""


def machines(ours: Json, theirs: Json) -> list[Difference]:
    """What forbids to put figures from two environments side by side; [] where nothing does.

    A field that one of the two does not have at all (an older format) says nothing; an environment without "machine" cannot be
    shown to be like another.
    """
    found = []
    for part, fields in (("machine", MACHINE), ("placement", PLACEMENT)):
        one, other = ours.get(part), theirs.get(part)
        if part == "machine" and not (isinstance(one, Mapping) and one and isinstance(other, Mapping) and other):
            return [Difference(part, *("recorded" if isinstance(side, Mapping) and side else "not recorded" for side in (one, other)))]
        for name in fields:
            a, b = (_comparable(name, side.get(name, _ABSENT) if isinstance(side, Mapping) else _ABSENT) for side in (one, other))
            if a is not _ABSENT and b is not _ABSENT and a != b:
                found.append(Difference(f"{part}.{name}", a, b))
    return found


def _comparable(name: str, value: Any) -> Any:
    if name == "kernel" and isinstance(value, str):
        series = re.match(r"\S+ \d+(?:\.\d+)?", value)  # "Linux 6.18" of "Linux 6.18.44-amd64": patches do not change what is measured
        return series[0] if series else value
    if name.startswith("memory") and isinstance(value, int | float):
        return f"{value / MEMORY_STEP_B:.0f} GiB"
    return value
