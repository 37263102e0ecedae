"""What a trial did over time: its series, backlog and slices of latency in bins that are few enough to be drawn (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bench.histogram import Histogram, Log, Used, highest, lowest

WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_TAG = "e2e"
PERCENTILES = ((0.99, "p99"), (0.9, "p90"), (0.5, "p50"))

Json = Mapping[str, Any]


class Timed(Protocol):
    """What is read of a run: ``bench.store.Run`` is one."""

    def series(self, number: int) -> Sequence[Mapping[str, int]]:
        """Rows of series.csv of a trial; empty where it has none."""

    def log(self, number: int) -> Log:
        """latency.hlog of a trial; without a line where it has none."""


@dataclass(frozen=True)
class Latency:
    """End-to-end latencies of some messages, in some KB where a Histogram has 270."""

    n: int
    percentiles: Mapping[float, int | None]  # of PERCENTILES, in ns; None with fewer than ten samples beyond
    used: Used

    @classmethod
    def of(cls, parts: Iterable[Used]) -> Latency:
        """All of these together."""
        whole = Histogram()
        for part in parts:
            whole.count(part)
        known = [q for q, _ in PERCENTILES if whole.supported(q)]
        values: dict[float, int | None] = dict.fromkeys((q for q, _ in PERCENTILES), None)
        if known:
            values |= dict(zip(known, whole.quantiles(known), strict=True))
        at = np.flatnonzero(whole.counts)
        return cls(whole.n, values, (at.astype(np.uint16), whole.counts[at]))

    @property
    def min_ns(self) -> int:
        """The smallest; of none at all ValueError."""
        return lowest(int(self.used[0].min()))

    @property
    def max_ns(self) -> int:
        """The largest; of none at all ValueError."""
        return highest(int(self.used[0].max()))


@dataclass(frozen=True)
class Bin:
    """What happened in [start_s, end_s), seconds from go; warm-up and drain are among the counts. Latency: of what the window had due."""

    start_s: int
    end_s: int
    published_per_s: float
    delivered_per_s: Mapping[str, float]  # by group
    behind: Mapping[str, int]  # by group: the most messages accepted and not processed, or sent and not delivered at the end of a second
    latency: Mapping[str, Latency]  # by group, by the time of arrival; "" = of all groups; none where nothing arrived

    @property
    def middle_s(self) -> float:
        """Where a point of it is drawn."""
        return (self.start_s + self.end_s) / 2


def groups(trial: Json) -> list[str]:
    """Consumer groups of a trial, in the scenario's order."""
    return [str(name) for name in (trial.get("workload") or {}).get("groups") or {}]


def width(seconds: float, most: int) -> int:
    """The width of a bin, so that there are at most so many."""
    return min(next((one for one in WIDTHS_S if seconds <= one * most), math.ceil(seconds / most)), max(1, math.ceil(seconds)))


def length(run: Timed, trial: Json) -> int:
    """How many seconds there is something of, from go."""
    known = [int(row.get("second", 0)) + 1 for row in run.series(int(trial["trial"]))]
    return max(known, default=0)


def bins(run: Timed, trial: Json, width_s: int) -> list[Bin]:
    """Return all of a trial in bins of so many seconds; empty where it has no series."""
    rows = {int(row.get("second", 0)): row for row in run.series(int(trial["trial"]))}
    names = groups(trial)
    if not rows:
        return []
    behind = _behind(trial, rows, names)
    latency = _latency(run, trial, names, width_s)
    found = []
    for start in range(0, max(rows) + 1, width_s):
        seconds = range(start, start + width_s)
        own = [rows[second] for second in seconds if second in rows]
        found.append(
            Bin(
                start,
                start + width_s,
                sum(row.get("published", 0) for row in own) / width_s,
                {name: sum(row.get(name, 0) for row in own) / width_s for name in names},
                {name: max((behind[name].get(second, 0) for second in seconds), default=0) for name in names},
                latency.get(start // width_s, {}),
            )
        )
    return found


def _behind(trial: Json, rows: Mapping[int, Mapping[str, int]], names: Sequence[str]) -> dict[str, dict[int, int]]:
    """By group and second: from the journals' own times where the trial kept them, else sent less delivered at each second's end."""
    phases = trial.get("phases") or {}
    step = phases.get("step_s")
    found: dict[str, dict[int, int]] = {}
    for name in names:
        kept = ((phases.get("groups") or {}).get(name) or {}).get("backlog")
        one: dict[int, int] = {}
        if kept and step:
            for i, most in enumerate(kept):
                # A step may be longer than a second: then it is of each that it touches.
                for second in range(int(i * step + 1e-9), max(int(i * step + 1e-9) + 1, math.ceil((i + 1) * step - 1e-9))):
                    one[second] = max(one.get(second, 0), int(most))
        else:
            sent = delivered = 0
            for second in sorted(rows):
                sent += rows[second].get("published", 0)
                delivered += rows[second].get(name, 0)
                one[second] = max(sent - delivered, 0)
        found[name] = one
    return found


def exact(trial: Json) -> bool:
    """Whether its backlog is of the journals' own times."""
    kept = (trial.get("phases") or {}).get("groups") or {}
    return bool(kept) and all((one or {}).get("backlog") for one in kept.values())


def _latency(run: Timed, trial: Json, names: Sequence[str], width_s: int) -> dict[int, dict[str, Latency]]:
    """By bin, then group ("" = all); a tag that was kept over the whole window only has none."""
    tags = {"": _TAG, **({name: f"{_TAG}-{name}" for name in names} if len(names) > 1 else dict.fromkeys(names, _TAG))}
    start_s = float((trial.get("workload") or {}).get("warmup_s") or 0.0)
    log = run.log(int(trial["trial"]))
    parts: dict[str, dict[int, list[Used]]] = {}
    lengths: dict[str, list[float]] = {}
    for tag, after_s, length_s, used in log.intervals() if log.start_s is not None else ():
        if tag in tags.values():
            parts.setdefault(tag, {}).setdefault(round(after_s + start_s) // width_s, []).append(used)
            lengths.setdefault(tag, []).append(length_s)
    found: dict[int, dict[str, Latency]] = {}
    for name, tag in tags.items():
        if len(lengths.get(tag, ())) == 1 and lengths[tag][0] > 1.0:
            continue
        for place, own in parts.get(tag, {}).items():
            if any(len(at) for at, _ in own):
                found.setdefault(place, {})[name] = Latency.of(own)
    return found


def percentile(latencies: Sequence[Latency]) -> tuple[float, str]:
    """The highest of PERCENTILES that can be told for nine in ten messages, with its name: a bin with few messages matters little."""
    whole = sum(one.n for one in latencies)
    for q, name in PERCENTILES:
        if 10 * sum(one.n for one in latencies if one.percentiles[q] is not None) >= 9 * whole:
            return q, name
    return PERCENTILES[-1]


def at(latency: Latency | None, q: float) -> int | None:
    """One of PERCENTILES in ns; None with fewer than ten samples beyond it."""
    return None if latency is None else latency.percentiles[q]
