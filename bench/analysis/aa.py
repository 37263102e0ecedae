"""The A/A lane: one system measured twice in a round shows what two measurements of the *same* system differ by (pure).

Below six rounds there is no interval: the widest ratio seen is printed as the noise floor. From six on the lane is judged as a
comparison would be: it is *not silent* where a metric's 95% interval leaves 1 out *and* its ratio is past the margin, metric by
metric (docs/method.md, A/A). An interval alone would void a fifth of good runs with four metrics (../shared/measurement.md). What
is not silent makes every comparison of its point inconclusive: something other than the systems makes rounds differ.

Ratios are of the later measurement to the earlier one of a round, so that what drifts within a round shows on one side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.compare import Comparison, Metric, Round, estimate, judge, round_of
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.plan import AA

Json = Mapping[str, Any]

RATE, P99 = Metric("rate", True, 0.05), Metric("p99", False, 0.10)
P50, CPU = Metric("p50", False, 0.10), Metric("CPU a message", False, 0.10)
METRICS = {"rate": (RATE, CPU), "p99": (P99, P50, CPU)}
"""What the lane is judged by, by what its point is ranked by; the first decides the printed noise floor. A saturated trial's
latency is the length of a queue, so no percentile is looked at there. The margins of rate and p99 are the report's own
(summary.RANKED_BY); p50 and CPU have p99's."""
_P99_SAMPLES = 1000
_PATHS = {
    RATE.name: ("rates", "slowest_group_per_s"),
    P99.name: ("latency", "end_to_end_intended", "p99_ns"),
    P50.name: ("latency", "end_to_end_intended", "p50_ns"),
    CPU.name: ("cost", "total_ns"),
}


@dataclass(frozen=True)
class Repeat:
    """One metric of a system that was measured twice, over the rounds that have both figures."""

    metric: Metric
    rounds: int
    low: float  # smallest ratio of a round, later to earlier
    high: float
    comparison: Comparison | None  # None below six rounds

    @property
    def noise(self) -> float:
        """The widest difference seen in a round, as a ratio of at least 1."""
        return max(self.high, 1 / self.low)

    @property
    def silent(self) -> bool:
        """Whether nothing was seen that the system itself does not explain; below six rounds nothing is known to the contrary."""
        return self.comparison is None or self.comparison.verdict not in ("better", "worse")


@dataclass(frozen=True)
class Lane:
    """The A/A lane of a point, metric by metric."""

    repeats: tuple[Repeat, ...]
    systems: tuple[str, ...]  # ids of the variants that were measured twice

    @property
    def noisy(self) -> tuple[Repeat, ...]:
        """The metrics that are not silent."""
        return tuple(one for one in self.repeats if not one.silent)

    @property
    def silent(self) -> bool:
        """Whether the comparisons of this point may be believed, as far as the lane can tell."""
        return not self.noisy


def of_point(trials: Sequence[Json], by: str) -> Lane | None:
    """The lane of one point from all its trials; ``by``: "rate" or "p99", what it is ranked by. None where nothing was measured twice."""
    pairs = _pairs(trials)
    found = (_repeat(metric, pairs) for metric in METRICS[by])
    repeats = tuple(one for one in found if one is not None)
    if not repeats:
        return None
    return Lane(repeats, tuple(sorted({str(first["variant"]["id"]) for first, _ in pairs.values()})))


def _pairs(trials: Sequence[Json]) -> dict[Round, tuple[Json, Json]]:
    """Earlier and later trial of the system that a round measured twice; only where both ended well."""
    well = [trial for trial in trials if trial.get("status") == "ok"]
    found = {}
    for again in well:
        if again.get("lane") != AA:
            continue
        at, variant = round_of(again), again["variant"]["id"]
        for own in well:
            if round_of(own) == at and own.get("lane") != AA and own["variant"]["id"] == variant:
                first, second = sorted((own, again), key=lambda trial: int(trial["trial"]))
                found[at] = (first, second)
    return found


def _repeat(metric: Metric, pairs: Mapping[Round, tuple[Json, Json]]) -> Repeat | None:
    base, head = {}, {}
    for at, (first, second) in pairs.items():
        before, after = figure(metric, first), figure(metric, second)
        if before and after:
            base[at], head[at] = before, after
    if not base:
        return None
    ratios = [head[at] / base[at] for at in base]
    comparison = None
    if len(base) >= ROUNDS_MIN:
        (comparison,) = judge([(metric, estimate(base, head))], adjust="holm")
    return Repeat(metric, len(base), min(ratios), max(ratios), comparison)


def figure(metric: Metric, trial: Json) -> float | None:
    """One trial's figure; None where it is not known, or is a p99 of too few samples."""
    value: Any = trial
    for key in _PATHS[metric.name]:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return None
    if metric is P99 and int(trial["latency"]["end_to_end_intended"].get("n") or 0) < _P99_SAMPLES:
        return None
    return float(value)


def evidence(lane: Lane) -> str:
    """What was seen of the metrics that are not silent, in words."""
    told = []
    for one in lane.noisy:
        assert one.comparison is not None
        effect = one.comparison.effect
        told.append(f"{one.metric.name} {effect.ratio:.2f} (95% interval {effect.low:.2f} to {effect.high:.2f}, {effect.rounds} rounds)")
    return f"the same system measured twice in a round, later to earlier: {'; '.join(told)}"
