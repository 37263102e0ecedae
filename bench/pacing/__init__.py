"""When each message is due: a schedule for each producer, seeded, no clock, no drift.

An open loop measures from the intended time, whether or not the sender could keep it (no coordinated omission: Tene, "How
NOT to measure latency"). The schedules "max" and "closed" have no intended times: there a message is due when it is sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.pacing.poisson import Poisson
from bench.pacing.rates import Bursts, Constant, Ramp, Steps
from bench.pacing.replay import Replay
from bench.workload import Workload

__all__ = ["Bursts", "Constant", "Poisson", "Ramp", "Replay", "Schedule", "Steps", "of", "offered_per_s", "planned"]


class Schedule(Protocol):
    """The messages of one producer, numbered from 0; times in ns after the start of the load, never descending."""

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1; shape (count,)."""

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages are due ``elapsed_ns`` after the start: exact inverse of block()."""

    def at(self, n: int) -> int:
        """Return the intended time of message n."""


def of(load: Workload, index: int) -> Schedule | None:
    """Return the schedule of producer ``index``; None where messages are due when they are sent ("max", "closed")."""
    kind, producers, rate = load.schedule, load.producers, load.rate_per_s
    if kind == "steps":
        return Steps(load.steps, producers, index)
    if kind == "ramp":
        return Ramp(*load.ramp, load.warmup_s + load.measure_s, producers, index)
    if kind == "replay":
        return Replay.of_file(Path(load.replay), producers, index)
    if rate is None:
        return None
    if kind == "poisson":
        return Poisson(rate, producers, index, load.seed)
    return Bursts(rate, load.burst, producers, index) if kind == "bursts" else Constant(rate, producers, index)


def planned(load: Workload, index: int) -> int | None:
    """Return how many messages producer ``index`` sends in warm-up and measurement; None without a schedule."""
    schedule = of(load, index)
    return None if schedule is None else schedule.due(_ns(load.warmup_s + load.measure_s) - 1)


def offered_per_s(load: Workload) -> float | None:
    """Return messages a second of all producers together in the measured window; None without a schedule.

    Of a constant rate the rate itself, else what is planned in the window divided by its length.
    """
    if load.schedule == "constant":
        return load.rate_per_s
    start, end = _ns(load.warmup_s), _ns(load.warmup_s + load.measure_s)
    schedules = [of(load, index) for index in range(load.producers)]
    within = sum(one.due(end - 1) - one.due(start - 1) for one in schedules if one is not None)
    return None if None in schedules else within / load.measure_s


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
