"""What a trial did over time: its series, backlog and slices of latency in bins that are few enough to be drawn (pure)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench.histogram import Histogram, Slice

WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_TAG = "e2e"
_PERCENTILES = ((0.99, "p99"), (0.9, "p90"), (0.5, "p50"))

Json = Mapping[str, Any]


class Timed(Protocol):
    """What is read of a run: ``bench.store.Run`` is one."""

    def series(self, number: int) -> Sequence[Mapping[str, int]]:
        """Rows of series.csv of a trial; empty where it has none."""

    def slices(self, number: int, tags: Collection[str] | None = None) -> Mapping[str, Sequence[Slice]]:
        """latency.hlog of a trial by tag (of these only), interval by interval; empty where it has none."""


@dataclass(frozen=True)
class Bin:
    """What happened in [start_s, end_s), seconds from go; warm-up and drain are among the counts. Latency: of what the window had due."""

    start_s: int
    end_s: int
    published_per_s: float
    delivered_per_s: Mapping[str, float]  # by group
    behind: Mapping[str, int]  # by group: the most messages accepted and not processed, or sent and not delivered at the end of a second
    latency: Mapping[str, Histogram]  # by group, by the time of arrival; "" = of all groups; none where nothing arrived

    @property
    def middle_s(self) -> float:
        """Where a point of it is drawn."""
        return (self.start_s + self.end_s) / 2


def groups(trial: Json) -> list[str]:
    """Consumer groups of a trial, in the scenario's order."""
    return [str(name) for name in (trial.get("workload") or {}).get("groups") or {}]


def width(seconds: float, most: int) -> int:
    """The width of a bin, so that there are at most so many."""
    return next((one for one in WIDTHS_S if seconds <= one * most), math.ceil(seconds / most))


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
    latency = _latency(run, trial, names)
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
                _merged(latency, seconds),
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


def _latency(run: Timed, trial: Json, names: Sequence[str]) -> dict[str, dict[int, Histogram]]:
    """By group ("" = all) and second from go; a tag that was kept over the whole window only has none."""
    start_s = float((trial.get("workload") or {}).get("warmup_s") or 0.0)
    tags = {"": _TAG, **({name: f"{_TAG}-{name}" for name in names} if len(names) > 1 else dict.fromkeys(names, _TAG))}
    slices = run.slices(int(trial["trial"]), set(tags.values()))
    found: dict[str, dict[int, Histogram]] = {}
    for name, tag in tags.items():
        parts = slices.get(tag, ())
        if len(parts) == 1 and parts[0][1] > 1.0:
            continue
        own = found.setdefault(name, {})
        for after_s, _, histogram in parts:
            own.setdefault(round(after_s + start_s), Histogram()).merge(histogram)
    return found


def _merged(latency: Mapping[str, Mapping[int, Histogram]], seconds: range) -> dict[str, Histogram]:
    found = {}
    for name, by_second in latency.items():
        parts = [by_second[second] for second in seconds if second in by_second]
        if parts:
            whole = Histogram()
            for part in parts:
                whole.merge(part)
            found[name] = whole
    return found


def percentile(histograms: Sequence[Histogram]) -> tuple[float, str]:
    """The highest of p99, p90 and p50 that can be told for nine in ten messages, with its name: a bin with few messages matters little."""
    whole = sum(one.n for one in histograms)
    for q, name in _PERCENTILES:
        if 10 * sum(one.n for one in histograms if one.supported(q)) >= 9 * whole:
            return q, name
    return _PERCENTILES[-1]


def at(histogram: Histogram | None, q: float) -> int | None:
    """A percentile in ns; None with fewer than ten samples beyond it."""
    return histogram.quantile(q) if histogram is not None and histogram.supported(q) else None
