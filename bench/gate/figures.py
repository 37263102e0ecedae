"""From trial.json to the figures that a gate compares (pure)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.gate.asked import FULL, PACED, Asked
from bench.gate.budget import SAMPLES
from bench.gate.schedule import BASE, SIDES

Json = Mapping[str, Any]
_KEPT_UP = 0.9


def figure(name: str, trial: Json, *, clients_only: bool = False) -> float | None:
    """One trial's figure: messages a second, ns, ns of CPU a delivered message, bytes. None where it is not known.

    A percentile is one of enough samples. ``clients_only``: CPU without the server's, where that is not known of every trial.
    Memory is that of the endpoints: the server's is shared by both sides.
    """
    if trial.get("status") != "ok":
        return None
    if name == "rate":
        return _positive(trial["rates"]["slowest_group_per_s"])
    if name == "cpu":
        cost = trial["cost"]
        parts = [cost["producers_ns"], cost["consumers_ns"]]
        return _positive(cost["total_ns"] if not clients_only else None if None in parts else sum(parts))
    if name == "memory":
        held = [one["rss_b"] for side in ("producers", "consumers") for one in trial[side]]
        return None if not held or None in held else _positive(sum(held))
    summary = trial["latency"]["end_to_end_intended"] or {}
    return _positive(summary.get(f"{name}_ns")) if int(summary.get("n") or 0) >= SAMPLES[name] else None


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) and value > 0 else None


def clients_only(trials: Sequence[Json]) -> bool:
    """Whether the server's CPU is unknown of any trial that ended well (an external one), so that it is left out of all."""
    return any(trial["cost"]["total_ns"] is None for trial in trials if trial.get("status") == "ok")


def by_round(metrics: Sequence[Asked], trials: Sequence[Json], rounds: int) -> dict[str, dict[str, list[float | None]]]:
    """{metric: {side: [figure by round]}} of one measurement, whose ``trials`` have their side as variant."""
    without_server = clients_only(trials)
    found: dict[str, dict[str, list[float | None]]] = {one.name: {side: [None] * rounds for side in SIDES} for one in metrics}
    for trial in trials:
        for one in metrics:
            if one.point == point_of(trial) and trial["round"] < rounds:
                found[one.name][trial["variant"]["id"]][trial["round"]] = figure(one.name, trial, clients_only=without_server)
    return found


def median(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def point_of(trial: Json) -> str:
    """Where a trial was made: FULL or PACED."""
    return FULL if trial["point"]["rate_per_s"] is None else PACED


def too_fast(trials: Sequence[Json]) -> str:
    """Why base's latencies are of a growing queue, in words; "" where they are not: in most of its trials it kept up with the set rate.

    A tenth is allowed for: over so short a window a delivery rate is as uneven as its latencies.
    """
    own = [one for one in trials if one["variant"]["id"] == BASE and one.get("status") == "ok" and point_of(one) == PACED]
    rates = [one["rates"]["slowest_group_per_s"] / one["rates"]["offered_per_s"] for one in own]
    behind = sum(rate < _KEPT_UP for rate in rates)
    if 2 * behind <= len(rates):
        return ""
    return f"base did not reach the set rate in {behind} of {len(rates)} trials, so that its latencies are of a growing queue"
