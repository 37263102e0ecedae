"""Which charts stand where on the page, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.summary import PointSummary, VariantPoint
from bench.report.charts import cost, course, forest, heat, payload, percentiles, rates, timeline
from bench.report.svg import Chart
from bench.store import Run


@dataclass(frozen=True)
class Shown:
    """A point of the page, with its run and with what its charts' files are called by: "1", "2", ..."""

    name: str
    run: Run
    point: PointSummary

    @property
    def real(self) -> list[VariantPoint]:
        """What was measured on a server of its own kind, or without one."""
        return [result for result in self.point.results if result.rate and not result.emulator]


def first(points: Sequence[Shown], colours: Mapping[str, int]) -> list[Chart | None]:
    """What an architect looks at first, a kind after the other, a chart a point; the delivery matrix stands in its own section."""
    return [
        *(forest.draw(one.point, one.real, f"forest-{one.name}", colours) for one in points),
        *(rates.draw(sweep, f"rates-{number}", colours) for number, sweep in enumerate(_sweeps(points), 1)),
        *(percentiles.draw(one.point, one.real, f"percentiles-{one.name}", colours) for one in points),
        *(timeline.draw(one.run, result, f"timeline-{one.name}-{number}") for one in points for number, result in enumerate(one.real, 1)),
        *(course.draw(one.run, one.point, one.real, f"course-{one.name}", colours) for one in points),  # where there was no fault
        *(cost.draw(one.point, one.real, f"cost-{one.name}", colours) for one in points),
    ]


def more(points: Sequence[Shown], colours: Mapping[str, int]) -> list[Chart | None]:
    """What explains the first ones. Points of two runs are no family of sizes: what tells the runs apart is in the points."""
    families = payload.families([one.point for one in points])
    return [
        *(heat.draw(one.run, one.point, one.real, f"heat-{one.name}") for one in points),
        *(payload.draw(family, f"payload-{number}", colours) for number, family in enumerate(families, 1)),
    ]


def emulated_rates(points: Sequence[Shown], colours: Mapping[str, int]) -> list[Chart | None]:
    """What emulators did over several rates."""
    return [rates.draw(sweep, f"rates-emulated-{number}", colours, emulated=True) for number, sweep in enumerate(_sweeps(points), 1)]


def _sweeps(points: Sequence[Shown]) -> Sequence[Sequence[PointSummary]]:
    return rates.sweeps([one.point for one in points])


def emulated(one: Shown, colours: Mapping[str, int]) -> list[Chart | None]:
    """Of a point's emulators, which never stand in a chart with the rest."""
    results = [result for result in one.point.emulators if result.rate]
    return [
        percentiles.draw(one.point, results, f"percentiles-emulated-{one.name}", colours),
        cost.draw(one.point, results, f"cost-emulated-{one.name}", colours),
        *(timeline.draw(one.run, result, f"timeline-emulated-{one.name}-{number}") for number, result in enumerate(results, 1)),
    ]
