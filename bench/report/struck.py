"""What each fault of a scenario cost: how long nothing was acknowledged or processed, what was lost and what came twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.summary import PointSummary, Spread, VariantPoint
from bench.report import figures, text
from bench.report.charts import timeline
from bench.report.table import Builder, Cell, Table

Json = Mapping[str, Any]
_COUNTS = ("lost", "unknown", "duplicated", "reordered")


def table(point: PointSummary, results: Sequence[VariantPoint]) -> Table | None:
    """A row a fault and group; None where no trial of the point had a fault that was injected."""
    builder = Builder(
        f"What each fault cost, {text.point_name(point.point)}",
        (
            ("Fault, group", False),
            ("Times", True),
            ("Healed after", True),
            ("No acknowledgement for", True),
            ("Nothing processed for", True),
            ("In flight", True),
            ("Lost", True),
            ("Unknown", True),
            ("Repeated", True),
            ("Reordered", True),
        ),
        note="Of all rounds: medians, smallest and largest in brackets; counts are sums. No acknowledgement for: the longest time in "
        "which no producer got one, between this injection and the next. Nothing processed for: the same of the group's consumers. "
        "In flight: sent and not processed by the group as the fault struck.",
    )
    for result in results:
        struck: dict[tuple[str, str], list[Json]] = {}
        for trial in result.trials:
            for fault in trial.get("faults") or ():
                for group in fault.get("counts") or {}:
                    if fault.get("injected_s") is not None:
                        struck.setdefault((timeline.called(fault), str(group)), []).append(fault)
        builder.add(figures.name(result), [_row(called, group, faults) for (called, group), faults in struck.items()])
    return builder.build()


def _row(called: str, group: str, faults: Sequence[Json]) -> tuple[str | Cell, ...]:
    counts = [fault["counts"][group] for fault in faults]
    lasted = [None if fault.get("healed_s") is None else fault["healed_s"] - fault["injected_s"] for fault in faults]
    return (
        f"{called}: {group}",
        f"{len(faults):,}",
        _seconds(lasted),
        _seconds([one.get("unavailable_to_producers_s") for one in counts]),
        _seconds([one.get("unavailable_to_consumers_s") for one in counts]),
        text.ranged(Spread.of((fault.get("in_flight") or {}).get(group) for fault in faults), text.count),
        *(_sum([one.get(name) for one in counts]) for name in _COUNTS),
    )


def _seconds(values: Sequence[float | None]) -> str:
    return text.ranged(Spread.of(None if value is None else value * 1e9 for value in values), text.duration)


def _sum(values: Sequence[int | None]) -> str:
    """A dash where one of them could not be decided."""
    return text.count(None if None in values else sum(value or 0 for value in values))
