"""What a server's nodes said of themselves while it was measured (bench/health.py), as a table (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis.summary import PointSummary, Spread, VariantPoint
from bench.report import text
from bench.report.figures import name
from bench.report.table import Builder, Cell, Table

Json = Mapping[str, Any]


def told(points: Sequence[PointSummary]) -> Table | None:
    """A group a variant, a row a node and figure; None where no node told anything."""
    builder = Builder(
        "What servers' nodes said of themselves",
        (("Node", False), ("Figure", False), ("At the end of a trial", True), ("Most", True)),
        note="Asked once a second; counts and latencies are of the trial, or since the node was started again in it. "
        "At the end: the median over trials, with the smallest and the largest.",
    )
    by_variant: dict[str, list[VariantPoint]] = {}
    for point in points:
        for result in point.results:
            by_variant.setdefault(result.id, []).append(result)
    for results in by_variant.values():
        rows = [row for result in results for trial in result.trials for row in trial.get("health") or ()]
        nodes = sorted({str(row["node"]) for row in rows})
        builder.add(name(results[0]), [line for node in nodes for line in _of_node(node, [row for row in rows if row["node"] == node])])
    return builder.build()


def _of_node(node: str, rows: Sequence[Json]) -> list[tuple[str | Cell, ...]]:
    looks, answered = (sum(row[key] for row in rows) for key in ("looks", "answered"))
    silent = f"{looks - answered} of {looks} looks" if answered < looks else "none"
    made: list[tuple[str | Cell, ...]] = [(node, "did not answer", Cell(silent, "warn" if answered < looks else ""), text.DASH)]
    for figure in dict.fromkeys(key for row in rows for key in row["last"]):
        values = [row["last"][figure] for row in rows if figure in row["last"]]
        if any(isinstance(value, str) for value in values):
            made.append((node, figure, text.listed(sorted({str(value) for value in values})), text.DASH))
            continue
        most = [row["most"][figure] for row in rows if figure in row["most"]]
        made.append((node, figure, text.ranged(Spread.of(values)), text.number(max(most)) if most else text.DASH))
    return made
