"""What faults did over time: before them, while they lasted, until the backlog was gone, after (pure).

A backlog is what was acknowledged and is not processed yet, by group: a broker keeps it, or whoever else does. It is caught up with when
it is as small again as it ever was before the first fault, what never comes at all taken off: of what is lost there is no backlog.
Repeats count as processed, so a group that gets some twice seems to catch up by as many sooner.

Rates are of the journals' own times. Latencies are of whole seconds (bench.histogram slices, by arrival): one that a phase does not hold
in full belongs to none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.histogram import Histogram

PHASES = ("before", "during", "catching_up", "after")
SHORT_S = 0.02  # a phase that is shorter has no rate
_STEPS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_STEPS_MAX = 240
_SLACK_S = 1e-6  # of a second's edges: phases begin at times of the journals

Span = tuple[float, float]
"""Seconds from go: [from, to)."""


@dataclass(frozen=True)
class Curve:
    """How many messages by when: times in seconds from go, ascending, and running sums."""

    times_s: NDArray[np.float64]
    sums: NDArray[np.int64]

    @classmethod
    def of(cls, times_s: Sequence[float] | NDArray[np.float64], counts: Sequence[int] | NDArray[np.int64]) -> Curve:
        """Of events in any order: when, how many messages."""
        times, numbers = np.asarray(times_s, np.float64), np.asarray(counts, np.int64)
        order = np.argsort(times, kind="stable")
        return cls(times[order], np.cumsum(numbers[order]))

    @property
    def total(self) -> int:
        """Of all."""
        return int(self.sums[-1]) if len(self.sums) else 0

    def by(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many by each of these times, those of the time itself included."""
        at = np.searchsorted(self.times_s, times_s, side="right")
        return np.concatenate(([0], self.sums))[at]

    def within(self, span: Span) -> int:
        """How many in a span, its begin left out."""
        low, high = self.by(np.asarray(span, np.float64)).tolist()
        return int(high - low)


@dataclass(frozen=True)
class Backlog:
    """What one group had before it: messages by time."""

    times_s: NDArray[np.float64]
    messages: NDArray[np.int64]  # never below 0: a repeat is no credit
    never: int  # of those, that never came

    @classmethod
    def of(cls, acknowledged: Curve, processed: Curve) -> Backlog:
        """At every time at which it changed."""
        times = np.unique(np.concatenate((acknowledged.times_s, processed.times_s)))
        left = np.maximum(acknowledged.by(times) - processed.by(times), 0)
        return cls(times, left, max(acknowledged.total - processed.total, 0))

    def most(self) -> tuple[int, float | None]:
        """The largest, and when it first was."""
        if not len(self.messages):
            return 0, None
        at = int(np.argmax(self.messages))
        return int(self.messages[at]), float(self.times_s[at])

    def sampled(self, step_s: float, steps: int) -> list[int]:
        """The largest in each of so many steps from go: no peak is lost, however short."""
        edges = np.searchsorted(self.times_s, np.arange(steps + 1) * step_s).tolist()
        # One before it: what was there as the step began.
        return [int(self.messages[max(low - 1, 0) : high].max(initial=0)) for low, high in pairwise(edges)]

    def gone(self, injected_s: float, healed_s: float) -> float | None:
        """When, from ``healed_s`` on, it was as small as before ``injected_s``, but for what never came; None = not in this trial."""
        usual = int(self.messages[self.times_s < injected_s].max(initial=0))
        at_heal = int(np.searchsorted(self.times_s, healed_s, side="right")) - 1
        if at_heal >= 0 and self.messages[at_heal] <= usual + self.never:
            return healed_s
        small = np.flatnonzero((self.times_s >= healed_s) & (self.messages <= usual + self.never))
        return float(self.times_s[small[0]]) if len(small) else None


def of(
    faults: Sequence[Mapping[str, Any]],
    acknowledged: Mapping[str, Curve],
    processed: Mapping[str, Curve],
    latency: Mapping[str, Iterable[tuple[int, Histogram]]],
    *,
    window: Span,
) -> dict[str, Any] | None:
    """Return "phases" of trial.json; None where nothing was injected.

    ``faults``: of trial.json; curves and latencies (second from go, histogram) by group; ``window``: the measured part of the load.
    """
    done = [fault for fault in faults if fault.get("injected_s") is not None]
    if not done:
        return None
    start, end = window
    injected = min(float(fault["injected_s"]) for fault in done)
    healed = max(end if fault.get("healed_s") is None else float(fault["healed_s"]) for fault in done)
    backlogs = {group: Backlog.of(acknowledged[group], processed[group]) for group in processed}
    caught_up = {group: backlog.gone(injected, healed) for group, backlog in backlogs.items()}
    known = [at for at in caught_up.values() if at is not None]
    last = max(known) if len(known) == len(caught_up) else None  # None: at least one group never was
    spans = _spans(start, end, injected, healed, last)
    slices = {group: list(latency.get(group, ())) for group in processed}
    step, steps = _steps(max([end, *(float(one.times_s[-1]) for one in backlogs.values() if len(one.times_s))]))
    return {
        "step_s": step,
        "injected_s": injected,
        "healed_s": healed,
        "caught_up_s": last,
        "spans": {name: list(span) for name, span in spans.items()},
        "groups": {
            group: {
                **_group(backlogs[group], (healed, caught_up[group]), processed[group], spans, slices[group]),
                "backlog": backlogs[group].sampled(step, steps),
            }
            for group in processed
        },
    }


def _steps(until_s: float) -> tuple[float, int]:
    """A step, and how many of it: fine enough to be drawn, few enough to be kept."""
    step = next((one for one in _STEPS_S if until_s / one <= _STEPS_MAX), until_s / _STEPS_MAX)
    return step, max(1, math.ceil(until_s / step))


def _spans(start: float, end: float, injected: float, healed: float, caught_up: float | None) -> dict[str, Span]:
    """The phases that have some length."""
    over = end if caught_up is None else caught_up
    spans = {
        "before": (start, injected),
        "during": (injected, healed),
        "catching_up": (healed, over),
        "after": (max(over, start), end if caught_up is not None else over),
    }
    return {name: span for name, span in spans.items() if span[1] > span[0]}


def _group(
    backlog: Backlog,
    caught: tuple[float, float | None],
    processed: Curve,
    spans: Mapping[str, Span],
    slices: Sequence[tuple[int, Histogram]],
) -> dict[str, Any]:
    """``caught``: from when on it could catch up, and when it had."""
    most, at = backlog.most()
    healed, caught_up = caught
    phases = {name: _phase(spans[name], processed, slices) if name in spans else None for name in PHASES}
    rate = None if caught_up is None else _rate(processed, (healed, caught_up))
    return {"backlog_max": most, "backlog_max_s": at, "caught_up_s": caught_up, "catch_up_per_s": rate, **phases}


def _phase(span: Span, processed: Curve, slices: Iterable[tuple[int, Histogram]]) -> dict[str, Any]:
    whole = Histogram()
    for second, histogram in slices:
        if second >= span[0] - _SLACK_S and second + 1 <= span[1] + _SLACK_S:
            whole.merge(histogram)
    summary = whole.summary()
    return {"processed_per_s": _rate(processed, span), **{name: summary[name] for name in ("n", "p50_ns", "p99_ns")}}


def _rate(processed: Curve, span: Span) -> float | None:
    length = span[1] - span[0]
    return processed.within(span) / length if length >= SHORT_S else None


def ratio(group: Mapping[str, Any], which: str) -> float | None:
    """A figure of a group of "phases" during the faults over that before them; None where one of the two is missing."""
    before, during = ((group.get(name) or {}).get(which) for name in ("before", "during"))
    return during / before if before and during is not None else None
