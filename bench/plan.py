"""The order of execution: rounds of randomised complete blocks (pure).

Within a series, points that share their wiring stand together, since endpoints live through it. In each round every
point is measured once with every variant, the points and the variants of each block in random order, so that a machine
that warms up, slows down or is stolen from favours nobody. The same seed gives the same order.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.spec import Variant
from bench.workload import Point


@dataclass(frozen=True)
class Planned:
    """One trial that is to be run. ``trial`` counts from 1 (0 = none), the other places from 0."""

    trial: int
    point: Point
    variant: Variant
    series: int  # servers are restarted between two series
    round: int
    position: int  # within its block

    def to_json(self) -> dict[str, Any]:
        """One entry of plan.json."""
        return {
            "trial": self.trial,
            "point": self.point.values(),
            "variant": self.variant.id,
            "series": self.series,
            "round": self.round,
            "position": self.position,
        }


def make(points: Sequence[Point], variants: Sequence[Variant], *, rounds: int, series: int = 1, seed: int = 0) -> list[Planned]:
    """All trials in the order in which they are to be run."""
    plan: list[Planned] = []
    for series_index in range(series):
        for topology, together in enumerate(by_wiring(points)):
            for round_index in range(rounds):
                # A generator for each round: a longer run begins with the order of the shorter one.
                shuffler = random.Random(f"{seed} {series_index} {topology} {round_index}")
                for point in shuffler.sample(together, len(together)):
                    for position, variant in enumerate(shuffler.sample(list(variants), len(variants))):
                        plan.append(Planned(len(plan) + 1, point, variant, series_index, round_index, position))
    return plan


def by_wiring(points: Sequence[Point]) -> list[list[Point]]:
    """The points in groups of equal wiring, in the order of the scenario."""
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(point.workload.wiring_key, []).append(point)
    return list(groups.values())
