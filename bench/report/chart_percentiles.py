"""End-to-end latency over percentiles, on the axis 1/(1-p) that gives the tail its room; a curve stops where ten samples are left."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from bench.analysis.summary import PointSummary, VariantPoint
from bench.report import text
from bench.report.figures import label
from bench.report.headline import STANDING, place
from bench.report.svg import DASHES, GRID, INK, MARKERS, QUIET, SERIES, STYLE, Chart, render

_TICKS = ((2, "50"), (10, "90"), (100, "99"), (1e3, "99.9"), (1e4, "99.99"), (1e5, "99.999"), (1e6, "99.9999"))


def draw(point: PointSummary, results: Sequence[VariantPoint], name: str, colours: dict[str, int]) -> Chart | None:
    """One panel for one point; None where no latency can be quoted. ``colours``: variant id -> number of its colour."""
    shown = [r for r in results if (p := r.latency.get("e2e")) and p.curve and p.curve[-1][0] > 2]
    if not shown:
        return None
    title = f"End-to-end latency {text.at(point.point)}{' (emulator)' if shown[0].emulator else ''}"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.7))
        axes = figure.add_axes((0.105, 0.15, 0.53, 0.74))
        for result in shown:
            _curve(axes, result, colours[result.id] % len(SERIES))
        _axes(axes, shown)
        axes.set_title(title, color=INK, fontweight="bold")
        _labels(axes, shown, colours)
        return render(figure, name, title, _alt(title, shown))


def _points(result: VariantPoint) -> tuple[list[float], list[float]]:
    e2e = result.latency["e2e"]
    curve = e2e.curve if e2e else ()
    # From the median up: below it, the one smallest sample would take half of a logarithmic axis.
    return [x for x, _ in curve if x >= 2], [y / 1e6 for x, y in curve if x >= 2]


def _curve(axes: Axes, result: VariantPoint, colour: int) -> None:
    xs, ys = _points(result)
    # A marker each half decade, so that curves stay apart without colour and in print.
    axes.plot(xs, ys, color=SERIES[colour], linestyle=DASHES[colour], marker=MARKERS[colour], markevery=12, markersize=4, linewidth=1.4)


def _axes(axes: Axes, shown: Sequence[VariantPoint]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    last = max(_points(r)[0][-1] for r in shown)
    axes.set_xlim(2, last * 1.15)
    lowest, highest = min(min(_points(r)[1]) for r in shown), max(max(_points(r)[1]) for r in shown)
    axes.set_ylim(max(lowest, 1e-6) / 1.3, highest * 1.3)
    ticks = [(x, t) for x, t in _TICKS if x <= last * 1.15]
    axes.set_xticks([x for x, _ in ticks], [t for _, t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    few_decades = math.log10(highest / max(lowest, 1e-6)) < 1.2
    axes.yaxis.set_minor_formatter(
        FuncFormatter(lambda v, _: f"{v:g}" if round(v / 10 ** math.floor(math.log10(v))) in {2, 5} else "")
        if few_decades
        else NullFormatter()
    )
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"percentile (%), from the intended send time; {place([])}", fontsize=8)
    axes.set_ylabel("latency (ms)")


def _labels(axes: Axes, shown: Sequence[VariantPoint], colours: dict[str, int]) -> None:
    """Names to the right of the axes, spread so that none lies on another, each led to where its curve ends."""
    low, high = (math.log10(v) for v in axes.get_ylim())
    ends = _ends(shown, low, high)
    gap = 0.125
    heights: list[float] = []
    for want, _ in ends:
        heights.append(max(want, heights[-1] + gap) if heights else max(want, 0.02))
    top = 0.99
    for i in range(len(heights) - 1, -1, -1):
        heights[i] = min(heights[i], top)
        top = heights[i] - gap
    for height, (_, result) in zip(heights, ends, strict=True):
        line = {"arrowstyle": "-", "color": SERIES[colours[result.id] % len(SERIES)], "linewidth": 0.7, "relpos": (0, 0), "shrinkA": 0}
        at, where = (1.06, height), "axes fraction"
        xs, ys = _points(result)
        axes.annotate(
            label(result),
            (xs[-1], ys[-1]),
            at,
            textcoords=where,
            va="bottom",
            color=INK,
            fontsize=8.5,
            annotation_clip=False,
            arrowprops=line,
        )
        e2e = result.latency["e2e"]
        unwell = result.standing in {"not-valid", "violated", "rate-not-reached"}
        told = STANDING[result.standing] if unwell else f"n = {e2e.n if e2e else 0:,}"
        under = f"{text.promise(result.delivery)}, {told}"
        axes.annotate(under, at, xycoords=where, va="top", color=QUIET, fontsize=7, annotation_clip=False)


def _ends(shown: Sequence[VariantPoint], low: float, high: float) -> list[tuple[float, VariantPoint]]:
    return sorted((((math.log10(_points(r)[1][-1]) - low) / (high - low), r) for r in shown), key=lambda pair: (pair[0], pair[1].id))


def _alt(title: str, shown: Sequence[VariantPoint]) -> str:
    told = []
    for result in shown:
        e2e = result.latency["e2e"]
        if e2e:
            told.append(f"{label(result)}: p50 {text.duration(e2e.p50_ns)}, p99 {text.duration(e2e.p99_ns)}")
    return f"{title}, by percentile. {'; '.join(told)}."
