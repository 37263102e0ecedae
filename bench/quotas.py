"""Which quotas of its systems a scenario is over, told before it starts (pure but for the adapters, which are asked).

An adapter with over_quota() knows the limits of its service. Emulators do not throttle, so that there a figure above a quota is one that
the service would not have given: it is said all the same, before the run and in its report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from adapters.base import Adapter, Demand, HasQuotas
from bench.keys import PERIOD, router_of
from bench.session import own_errors
from bench.workload import Point, Workload


class Over(NamedTuple):
    """A quota that a variant is over at a point of its scenario."""

    variant: str  # id
    point: str  # label
    quota: str  # a sentence without its full stop


def demand_of(load: Workload) -> Demand:
    """What a workload asks of a system, at its busiest; of a replay on average."""
    peak = load.rate_per_s
    if peak is not None:
        peak = max([peak, *(rate for rate, _ in load.steps), *load.ramp, float(load.burst)])
    share = 1 / load.partitions
    if load.routing == "key":
        lanes = router_of(load, 0, 0).lanes_of(np.arange(PERIOD))
        share = float(np.bincount(lanes).max()) / PERIOD
    return Demand(peak, float(load.mean_b), load.partitions, share, len(load.groups), load.batch)


def over(adapters: Mapping[str, Adapter], points: Iterable[Point]) -> Iterator[Over]:
    """Of each variant (by id) and point."""
    asked = {variant: adapter for variant, adapter in adapters.items() if isinstance(adapter, HasQuotas)}
    for point in points if asked else ():
        demand = demand_of(point.workload)
        for variant, adapter in asked.items():
            with own_errors():
                yield from (Over(variant, point.label, quota) for quota in adapter.over_quota(demand))


def lines(found: Iterable[Over]) -> list[str]:
    """A line a variant and point, for people."""
    by: dict[tuple[str, str], list[str]] = {}
    for one in found:
        by.setdefault((one.variant, one.point), []).append(one.quota)
    return [f"{variant}, {point}: over its service's quota: {'; '.join(quotas)}" for (variant, point), quotas in by.items()]
