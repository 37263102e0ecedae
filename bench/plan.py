"""The order of execution: rounds of randomised complete blocks (pure).

Within a series, points that share their wiring stand together, since endpoints live through it. In each round every
point is measured once with every variant, the points and the variants of each block in random order, so that a machine
that warms up, slows down or is stolen from favours nobody. The same seed gives the same order.

Two lanes may stand in each block beside the variants: the A/A lane, one of the variants measured a second time (what two
measurements of the *same* system differ by), and the floor, raw TCP (what the harness and the machine cost without a system).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.spec import Variant
from bench.workload import Point

AA = "aa"
"""Lane of the second measurement of a block's reference variant."""
FLOOR = "floor"
"""Lane of the raw-TCP reference, where it is none of the systems."""


@dataclass(frozen=True)
class Planned:
    """One trial that is to be run. ``trial`` counts from 1 (0 = none), the other places from 0."""

    trial: int
    point: Point
    variant: Variant
    series: int  # servers are restarted between two series
    round: int
    position: int  # within its block
    lane: str = ""  # "", AA or FLOOR

    def to_json(self) -> dict[str, Any]:
        """One entry of plan.json."""
        return {
            "trial": self.trial,
            "point": self.point.values(),
            "variant": self.variant.id,
            "series": self.series,
            "round": self.round,
            "position": self.position,
            "lane": self.lane,
        }


@dataclass(frozen=True)
class Lanes:
    """What is measured beside the variants."""

    aa: bool = False
    reference: str = ""  # id of the variant that is measured twice; "" = all in turn over the rounds
    floor: Variant | None = None

    def of_round(self, variants: Sequence[Variant], number: int) -> list[tuple[Variant, str]]:
        """The (variant, lane)s that round ``number`` (over all series, from 0) has beside its variants."""
        chosen = [variant for variant in variants if variant.id == self.reference] or [variants[number % len(variants)]]
        return [(chosen[0], AA)] * self.aa + ([(self.floor, FLOOR)] if self.floor is not None else [])


NONE = Lanes()


def make(
    points: Sequence[Point], variants: Sequence[Variant], *, rounds: int, series: int = 1, seed: int = 0, lanes: Lanes = NONE
) -> list[Planned]:
    """All trials in the order in which they are to be run.

    Which of the reference's two trials is the lane's is random too: else its own figures would come from an earlier place in the
    block than those of the others.
    """
    plan: list[Planned] = []
    for series_index in range(series):
        for topology, together in enumerate(by_wiring(points)):
            for round_index in range(rounds):
                # A generator for each round: a longer run begins with the order of the shorter one.
                shuffler = random.Random(f"{seed} {series_index} {topology} {round_index}")
                block = [(variant, "") for variant in variants] + lanes.of_round(variants, series_index * rounds + round_index)
                for point in shuffler.sample(together, len(together)):
                    for position, (variant, lane) in enumerate(shuffler.sample(block, len(block))):
                        plan.append(Planned(len(plan) + 1, point, variant, series_index, round_index, position, lane))
    return plan


def by_wiring(points: Sequence[Point]) -> list[list[Point]]:
    """The points in groups of equal wiring, in the order of the scenario."""
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(point.workload.wiring_key, []).append(point)
    return list(groups.values())
