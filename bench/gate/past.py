"""Head against stored figures of the past, for those who have nothing else to compare with (pure).

On identical systems stored baselines gave 56-66% false alarms (docs/method.md, Comparing): between two runs everything differs that one run
keeps equal. So a margin is widened by the noise that was measured, the past's or this gate's, whichever is more: the widest ratio of two
trials of the same thing, a round apart. What lies within says little, and the verdict says how wide it was.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.gate.asked import FULL, METRICS, Asked, show_percent
from bench.gate.decision import Figures, Standing, final
from bench.gate.figures import median
from bench.gate.schedule import BLOCK
from bench.store import read_json
from bench.units import show_rate

Json = Mapping[str, Any]
RATE = "rate_per_s"
_EDGE = 1e-9


@dataclass(frozen=True)
class Before:
    """One metric of the past. ``noise``: how much it differed from itself, as a ratio of at least 1."""

    value: float
    noise: float
    point: str  # as gate.json's "points" has it


@dataclass(frozen=True)
class Past:
    """What a file says of the past."""

    source: str
    figures: Mapping[str, Before]


def read(path: Path, scenario: str, spec: str, point: Json) -> Past:
    """Figures of the head of a gate.json, or of the variant ``spec`` in a summary.json; raises UsageError where there are none of them.

    ``point``: values of the axes, as trial.json has them.
    """
    try:
        data = read_json(path)
    except OSError as error:
        raise UsageError(f"--baseline {path}: cannot be read: {error.strerror}") from error
    try:
        if isinstance(data, Mapping) and "measurements" in data:
            found = _of_gate(data, scenario, path)
        elif isinstance(data, Mapping) and "points" in data:
            found = _of_summary(data, scenario, spec, point)
        else:
            raise UsageError(f"--baseline {path}: neither a gate.json nor a summary.json (results/README.md)")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"--baseline {path}: not whole: {type(error).__name__}: {error}") from error
    if not found:
        raise UsageError(f'--baseline {path}: has no figures of "{spec}" on {scenario}')
    return Past(str(path), found)


def _of_gate(data: Json, scenario: str, path: Path) -> dict[str, Before]:
    if data["scenario"] != scenario:
        raise UsageError(f"--baseline {path}: is of the scenario {data['scenario']}, this gate of {scenario}")
    measured = [one for one in data["measurements"] if one["lane"]]
    found: dict[str, Before] = {}
    for name, sides in measured[-1]["figures"].items() if measured else ():
        known = [value for value in sides["head"] if value]
        if name in METRICS and known:
            found[name] = Before(statistics.median(known), float(measured[-1]["lane"]["noise"].get(name, 1.0)), data["points"][name])
    return found


def _of_summary(data: Json, scenario: str, spec: str, point: Json) -> dict[str, Before]:
    """Of a run, at this rate and at full speed where it has them; else at the last rate that it has, so that it can be told."""
    found: dict[str, Before] = {}
    others = {name: value for name, value in point.items() if name != RATE}
    for one in data["points"]:
        if one["scenario"] != scenario or {name: value for name, value in one["point"].items() if name != RATE} != others:
            continue
        rate = one["point"].get(RATE)
        for result in one["results"]:
            if result["variant"]["spec"] == spec:
                own = _of_result(result, FULL if rate is None else f"at {show_rate(rate)}")
                found |= {name: before for name, before in own.items() if name not in found or rate in (None, point.get(RATE))}
    return found


def _of_result(result: Json, point: str) -> dict[str, Before]:
    latency, cost, memory = (result.get(name) or {} for name in ("latency_ns", "cpu_ns_per_delivery", "memory_b"))
    whole = latency.get("e2e") or {}
    rounds = [one["p99_ns"] for one in result.get("rounds") or () if one.get("p99_ns")]
    found: dict[str, tuple[float | None, float]] = {
        "cpu": _spread(cost.get("total")), "p50": (whole.get("p50"), 1.0),
        "p99": (statistics.median(rounds), max(rounds) / min(rounds)) if rounds else (whole.get("p99"), 1.0),
    }  # fmt: skip
    if point == FULL:
        found = {"rate": _spread(result.get("rate_per_s")), "cpu": found["cpu"]}
    sides = [_spread(memory.get(name)) for name in ("producers", "consumers")]
    if all(value is not None for value, _ in sides):
        found["memory"] = (sum(value or 0.0 for value, _ in sides), max(noise for _, noise in sides))
    return {name: Before(value, noise, point) for name, (value, noise) in found.items() if value}


def _spread(spread: Json | None) -> tuple[float | None, float]:
    if spread is None or not spread["median"] or spread["low"] <= 0:
        return None, 1.0
    return float(spread["median"]), spread["high"] / spread["low"]


# ---- judging


def rows(
    asked: Sequence[Asked], past: Past, figures: Figures, noise: Mapping[str, float], points: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One measurement of head, metric by metric: "past" of gate.json. ``noise``: of base against itself, of the same measurement."""
    return [_row(one, past.figures.get(one.name), figures[one.name]["head"], noise.get(one.name), points[one.name]) for one in asked]


def _row(asked: Asked, before: Before | None, head: Sequence[float | None], noise: float | None, point: str) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": asked.name, "margin": asked.margin, "before": before.value if before is not None else None}
    row |= {"now": median(head), "ratio": None, "noise": None, "widened": None, "standing": "unclear"}
    if before is None:
        return row | {"why": "the past has no figure of it"}
    if before.point != point:
        return row | {"why": f"the past's is {before.point}, this one {point}"}
    if None in head or noise is None or len(head) < BLOCK:
        return row | {"why": "a round lacks a figure"}
    ratio, widest = row["now"] / before.value, max(noise, before.noise, 1.0)
    widened = (1 + asked.margin) * widest
    bad = -math.log(ratio) if asked.higher_is_better else math.log(ratio)
    standing: Standing = "fails" if bad > math.log(widened) + _EDGE else "passes"
    return row | {"ratio": ratio, "noise": widest, "widened": widened - 1, "standing": standing, "why": ""}


def widened(last: Sequence[Json]) -> str:
    """How wide the margins were, for a sentence."""
    return ", ".join(f"{METRICS[row['metric']].title} {row['widened']:.0%}" for row in last if row["widened"] is not None)


def confirm(measured: Sequence[Sequence[Json]]) -> bool:
    """Whether what is worse than the past has to be measured once more."""
    return len(measured) == 1 and any(row["standing"] == "fails" for row in measured[0])


def standings(measured: Sequence[Sequence[Json]]) -> dict[str, Standing]:
    """Of each metric over all measurements."""
    return {of[0]["metric"]: final([row["standing"] for row in of]) for of in zip(*measured, strict=True)}


def reasons(measured: Sequence[Sequence[Json]]) -> list[str]:
    """What is worse than the past, or cannot be told, in words."""
    failing, unclear = [], []
    for name, standing in standings(measured).items():
        own = [row for of in measured for row in of if row["metric"] == name]
        if standing == "fails":
            ratios = " and again ".join(f"{row['ratio']:.2f}x" for row in own if row["standing"] == "fails")
            failing.append(f"{METRICS[name].title} is worse than the past: {ratios}, {how_wide(own[-1])}")
        elif standing == "unclear":
            why = own[-1]["why"] or "worse than the past once, not confirmed"
            unclear.append(f"{METRICS[name].title} against the past: {why}")
    return failing or unclear


def how_wide(row: Json) -> str:
    """A metric's margin, and what it became."""
    return f"margin {show_percent(row['margin'])}, widened to {row['widened']:.0%} by the measured noise ({row['noise']:.2f}x)"


def told(source: str, last: Sequence[Json]) -> str:
    """For the page: what was compared, and how little it says."""
    how = (
        "a stored figure is of another run, so margins are widened by the measured noise; what lies within them is not shown to be as good"
    )
    lines = [
        f"Against the past ({source}): {how}.",
        "",
        "| metric | past | now | now / past | margin | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in last:
        asked = METRICS[row["metric"]]
        before, now = (f"{row[name]:.4g} {asked.unit}" if row[name] is not None else "n/a" for name in ("before", "now"))
        ratio = f"{row['ratio']:.3f}" if row["ratio"] is not None else "n/a"
        margin = how_wide(row).removeprefix("margin ") if row["widened"] is not None else show_percent(row["margin"])
        verdict = {"fails": "worse", "passes": "within", "unclear": f"inconclusive: {row['why']}"}[row["standing"]]
        lines.append(f"| {asked.title} | {before} | {now} | {ratio} | {margin} | {verdict} |")
    return "\n".join(lines)
