"""What a gate looks at, and by how much it may change: metrics, their margins, and how fine a measurement has to be (pure).

A *margin* is the change that matters. *Sees* is how large a change may be that the rounds could not have shown: a gate that was blind to
more has nothing to say, whatever its estimate. Both are shares: 0.1 = 10%.

Rate and p50 have 10%, p99, whose rounds scatter as tails do, 25%. CPU and memory have 10%: in the 40 A/A runs of
results/reference/*/evidence-aa the CPU a message of two equal sides with endpoints of their own differed by at most 8% over eight rounds
(at full speed), memory by 1.2%. Memory is nearly constant within one start, so that its rounds say little more than one of them does:
its margin, and the confirmation with fresh processes, are what keeps it silent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.units import did_you_mean

FULL, PACED = "full speed", "set rate"
"""Where a metric is measured: as fast as it goes, or at the scenario's rate. A latency at full speed is the length of a queue."""
MARGIN_MIN, MARGIN_MAX = 0.01, 10.0
_PERCENT = re.compile(r"\s*(\d{1,4}(?:\.\d{1,3})?)\s*%\s*")
_SEES = 2.5  # times the margin, on the log scale: 10% -> 27%
_SEES_TAIL = 5.0  # of p99, whose rounds differ so much that 25% -> 205%


@dataclass(frozen=True)
class Asked:
    """One metric of a gate."""

    name: str
    title: str  # for tables
    unit: str  # of the kept figures: "/s", "ns", "B"
    higher_is_better: bool
    margin: float
    tail: bool = False  # its rounds scatter as tails do
    point: str = PACED

    @property
    def sees(self) -> float:
        """The largest change that may go unseen, as a ratio above 1."""
        return float((1 + self.margin) ** (_SEES_TAIL if self.tail else _SEES))


METRICS: Mapping[str, Asked] = {
    one.name: one
    for one in (
        Asked("rate", "delivered rate", "/s", True, 0.10, point=FULL),
        Asked("p50", "latency p50", "ns", False, 0.10),
        Asked("p99", "latency p99", "ns", False, 0.25, tail=True),
        Asked("cpu", "CPU a message", "ns", False, 0.10, point=FULL),
        Asked("memory", "memory of the endpoints", "B", False, 0.10, point=FULL),
    )
}
"""All that there are, in the order of tables."""


def known(name: object) -> str:
    """The name of a metric; raises ValueError that says what would be right."""
    if not isinstance(name, str) or name not in METRICS:
        raise ValueError(f'unknown metric "{name}"; {did_you_mean(str(name), METRICS)}')
    return name


def percent(text: object) -> float:
    """Read `10%` as 0.1; raises ValueError that says what would be right."""
    match = _PERCENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f'"{text}" is not a percentage; write one such as 10%')
    share = float(match[1]) / 100
    if not MARGIN_MIN <= share <= MARGIN_MAX:
        raise ValueError(f'"{text}": from {MARGIN_MIN:.0%} (no measurement shows that two things are equal) to {MARGIN_MAX:.0%}')
    return share


def show_percent(share: float) -> str:
    """`0.1` as `10%`: reads back as the same number."""
    return f"{round(share * 100, 3):g}%"


def chosen(names: Sequence[str], margins: Mapping[str, float], *, paced: bool) -> tuple[Asked, ...]:
    """The metrics of one gate, each with its margin and where it is measured (pure).

    ``names`` are known ones; none = all that the load has. ``paced``: the load has a rate. CPU and memory are taken at full speed where
    the rate is measured, else at the set rate: one point less.
    """
    wanted = [one for one in METRICS.values() if (one.name in names if names else paced or one.point == FULL)]
    full = not paced or any(one.name == "rate" for one in wanted)
    return tuple(
        replace(one, margin=margins.get(one.name, one.margin), point=FULL if full and one.point == FULL else PACED) for one in wanted
    )
