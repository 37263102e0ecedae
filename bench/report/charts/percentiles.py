"""End-to-end latency over percentiles, on the axis 1/(1-p) that gives the tail its room; a curve stops where ten samples are left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bench.analysis.summary import RANKED_BY, Percentiles, PointSummary, VariantPoint
from bench.report import figures, svg, text
from bench.report.charts import ends, names, scales
from bench.report.headline import STANDING, place
from bench.report.sheet import EDGE, sheet
from bench.report.svg import DASHES, MARKERS, SERIES, Chart
from bench.report.table import Builder, Table

_TICKS = ((2.0, "50"), (10.0, "90"), (100.0, "99"), (1e3, "99.9"), (1e4, "99.99"), (1e5, "99.999"), (1e6, "99.9999"))
_EVERY = 3  # of the summary's 24 points a decade: 8 are as smooth at this size, and a table that can be read
Points = list[tuple[float, float]]


def draw(point: PointSummary, results: Sequence[VariantPoint], name: str, colours: Mapping[str, int]) -> Chart | None:
    """One panel for one point; None where no latency can be quoted. ``colours``: variant id -> number of its colour."""
    shown = [(result, points) for result in results if len(points := curve(result.latency.get("e2e"))) > 1]
    if not shown:
        return None
    called = names.called(result for result, _ in shown)
    labels = [_end(result, points, called[result.id], svg.colour(colours, result.id)) for result, points in shown]
    with svg.style():
        paper = sheet(
            title(point, [result for result, _ in shown]), _caption([result for result, _ in shown]), max(262.0, ends.height(labels))
        )
        axes = paper.axes(62, 36, ends.ROOM, EDGE)
        for result, points in shown:
            number = svg.colour(colours, result.id)
            # A marker each half decade, so that curves stay apart without colour and in print.
            axes.plot(
                [x for x, _ in points], [scales.ms(y) for _, y in points], color=SERIES[number], linestyle=DASHES[number],
                marker=MARKERS[number], markevery=4, markersize=5, linewidth=1.6,
            )  # fmt: skip
        _axes(axes, [points for _, points in shown])
        paper.ylabel(axes, "latency (ms)")
        ends.draw(paper, axes, labels)
        return svg.render(paper, name, _alt([result for result, _ in shown]), _table(point, shown))


def curve(found: Percentiles | None) -> Points:
    """(1/(1-p), ns) from the median up (below it, the one smallest sample would take half of the axis); empty without samples."""
    if found is None or not found.curve:
        return []
    middle = [(2.0, found.p50_ns)] if found.p50_ns is not None else []
    upper = [(i, at) for i, at in enumerate(found.curve) if at[0] > 2]
    last = len(found.curve) - 1
    return [*middle, *(at for i, at in upper if i % _EVERY == 0 or i == last)]


def title(point: PointSummary, shown: Sequence[VariantPoint]) -> str:
    """Whose tail is longest: p99 over p50, which needs no common promise to be told side by side."""
    at = text.at(point.point) + (", of emulators" if shown and all(r.emulator for r in shown) else "")
    called = {key: names.in_title(name) for key, name in names.called(shown).items()}
    prefix, told = figures.spoken_of(shown)
    tails = [(e2e.p99_ns / e2e.p50_ns, r) for r in told if (e2e := r.latency["e2e"]) and e2e.p99_ns and e2e.p50_ns]
    if not tails:
        medians = text.listed(f"{called[r.id]} {figures.latency_cell(r, 'e2e', 'p50_ns')}" for r in told)
        return f"{prefix}Median latency {at}: {medians}; too few samples for a p99"
    longest, shortest = max(tails, key=lambda one: one[0]), min(tails, key=lambda one: one[0])
    if len(tails) == 1:
        return f"{prefix}{called[longest[1].id]}: the p99 is {text.number(longest[0])} times the median {at}"
    if longest[0] <= shortest[0] * (1 + RANKED_BY["p99"].margin):
        return f"{prefix}The tails are alike {at}: each p99 is {text.number(shortest[0])} to {text.number(longest[0])} times its median"
    return (
        f"{prefix}{called[longest[1].id]} has the longest tail {at}: its p99 is {text.number(longest[0])} times its median; "
        f"{called[shortest[1].id]} the shortest, {text.number(shortest[0])} times"
    )


def _caption(shown: Sequence[VariantPoint]) -> str:
    merged = text.rounds(e2e.rounds for r in shown if (e2e := r.latency["e2e"]))
    return (
        f"End to end from the intended send time; {merged} merged, n samples; {place(shown)}. "
        "Each curve stops where ten samples are left beyond it. Saturated rounds have no curve."
    )


def _end(result: VariantPoint, points: Points, name: str, number: int) -> ends.End:
    e2e = result.latency["e2e"]
    told = STANDING[result.standing] if result.doubtful else f"n = {e2e.n if e2e else 0:,}"
    x, y = points[-1]
    return ends.End(x, scales.ms(y), name, (text.promise(result.delivery), told), number)


def _axes(axes: Axes, curves: Sequence[Points]) -> None:
    last = max(points[-1][0] for points in curves) * 1.1
    scales.logarithmic(axes.yaxis, [scales.ms(y) for points in curves for _, y in points])
    axes.set_xscale("log")
    axes.set_xlim(2, last)
    ticks = [(x, t) for x, t in _TICKS if x <= last]
    axes.set_xticks([x for x, _ in ticks], [t for _, t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid()
    axes.set_xlabel("percentile (%), axis 1/(1-p)")


def _table(point: PointSummary, shown: Sequence[tuple[VariantPoint, Points]]) -> Table:
    head = [("Percentile", True), *((f"{figures.name(result)}, ms", True) for result, _ in shown)]
    builder = Builder(f"End-to-end latency by percentile, {text.point_name(point.point)}", tuple(head))
    builder.add("", [("n", *(f"{e2e.n:,}" if (e2e := result.latency["e2e"]) else "" for result, _ in shown))])
    by_x = [dict(points) for _, points in shown]
    rows = [(x, [known.get(x) for known in by_x]) for x in sorted({x for known in by_x for x in known})]
    builder.add("", [(percentile(x), *("" if y is None else text.number(y / 1e6) for y in row)) for x, row in rows])
    return builder.whole()


def percentile(x: float) -> str:
    """1/(1-p) as a percentile, with as many digits as tell it from its neighbours: 99.68 for 10^2.5."""
    digits = max(1, math.ceil(math.log10(x)))
    return f"{100 - 100 / x:.{digits}f}".rstrip("0").rstrip(".")


def _alt(shown: Sequence[VariantPoint]) -> str:
    called = names.called(shown)
    told = (
        f"{called[r.id]} {figures.latency_cell(r, 'e2e', 'p50_ns')} at p50, {figures.latency_cell(r, 'e2e', 'p99_ns')} at p99"
        for r in shown
    )
    return f"{'; '.join(told)}."
