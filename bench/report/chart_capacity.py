"""Latency against offered rate up to the capacity: the hockey stick, with the objective, the capacity's interval and the knee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.capacity import result
from bench.report import text
from bench.report.svg import DASHES, GRID, INK, MARKERS, PAPER, QUIET, SERIES, STYLE, Chart, render

Json = Mapping[str, Any]
_KEYS = {"p50": "p50_ns", "p90": "p90_ns", "p99": "p99_ns", "p99.9": "p999_ns"}


def draw(searches: Sequence[Json], names: Mapping[str, str], objective: Json, name: str) -> Chart | None:
    """One panel for the searches of one point; None where none has a sweep of two loads."""
    key = _KEYS[objective["percentile"]]
    shown = [one for one in searches if len(_points(one, key)) > 1]
    if not shown:
        return None
    size_b = shown[0]["point"].get("size_b")
    title = f"Latency against load, {size_b:,} B" if isinstance(size_b, int) else "Latency against load"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.9))
        axes = figure.add_axes((0.09, 0.14, 0.57, 0.76))
        for i, one in enumerate(shown):
            _curve(axes, one, key, i % len(SERIES))
        _axes(axes, shown, key, objective)
        axes.set_title(title, color=INK, fontweight="bold")
        _labels(axes, shown, names, key)
        return render(figure, name, title, _alt(title, shown, names, objective))


def _points(one: Json, key: str) -> list[tuple[float, float]]:
    return [(row["rate_per_s"], row[key] / 1e6) for row in one["sweep"] if row[key] is not None]


def _curve(axes: Axes, one: Json, key: str, i: int) -> None:
    points = _points(one, key)
    colour = SERIES[i]
    axes.plot(*zip(*points, strict=True), color=colour, linestyle=DASHES[i], marker=MARKERS[i], markersize=4, linewidth=1.5, zorder=3)
    if one["knee"]:
        at = next(point for point in points if point[0] == one["knee"]["by_per_s"])
        axes.plot(*at, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.3, zorder=4)
    answer = one["answer"]
    if answer["low_per_s"] and answer["high_per_s"]:
        axes.axvspan(answer["low_per_s"], answer["high_per_s"], color=colour, alpha=0.16, linewidth=0, zorder=1)
    axes.axvline(answer["rate_per_s"], color=colour, linewidth=0.9, linestyle=DASHES[i], zorder=2)


def _axes(axes: Axes, shown: Sequence[Json], key: str, objective: Json) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    limit_ms = objective["limit_s"] * 1e3
    xs = [x for one in shown for x, _ in _points(one, key)] + [one["answer"]["high_per_s"] or one["answer"]["rate_per_s"] for one in shown]
    ys = [y for one in shown for _, y in _points(one, key)]
    axes.set_xlim(min(xs) / 1.2, max(xs) * 1.2)
    axes.set_ylim(max(min(ys), 1e-6) / 1.6, max(*ys, limit_ms) * 1.6)
    axes.axhline(limit_ms, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2)
    axes.annotate(
        f"objective: {objective['text']}", (0.012, limit_ms), xycoords=("axes fraction", "data"), xytext=(0, 2.5),
        textcoords="offset points", fontsize=7.5, color=INK, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}, zorder=5,
    )  # fmt: skip
    for axis, decades in ((axes.xaxis, math.log10(max(xs) / min(xs))), (axes.yaxis, math.log10(max(*ys, limit_ms) / max(min(ys), 1e-6)))):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("offered rate (messages/s); loopback, shared cores", fontsize=8)
    axes.set_ylabel(f"end-to-end {objective['percentile']} (ms)")


def _labels(axes: Axes, shown: Sequence[Json], names: Mapping[str, str], key: str) -> None:
    """Names to the right, in the order of the curves' ends, none on another, each led to its curve."""
    low, high = (math.log10(v) for v in axes.get_ylim())
    ends = sorted(range(len(shown)), key=lambda i: _points(shown[i], key)[-1][1])
    gap = min(0.15, 0.95 / len(shown))
    heights: list[float] = []
    for i in ends:
        want = (math.log10(_points(shown[i], key)[-1][1]) - low) / (high - low)
        heights.append(max(want, heights[-1] + gap) if heights else max(want, 0.06))
    top = 0.97
    for place in range(len(heights) - 1, -1, -1):
        heights[place] = min(heights[place], top)
        top = heights[place] - gap
    for i, height in zip(ends, heights, strict=True):
        one, colour = shown[i], SERIES[i % len(SERIES)]
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "relpos": (0, 0), "shrinkA": 0}
        several = any(other is not one and other["variant"] == one["variant"] for other in shown)
        called = text.shortened(names.get(one["variant"], one["variant"]), 30)
        axes.annotate(
            called, _points(one, key)[-1], (1.05, height), textcoords="axes fraction", va="bottom", color=INK, fontsize=8.5,
            annotation_clip=False, arrowprops=line,
        )  # fmt: skip
        told = f"{result.bound(one)}{result.rate(one['answer']['rate_per_s'])}/s"
        if several:
            told += f", {one['producers']} producer{'s' * (one['producers'] > 1)}"
        axes.annotate(
            f"capacity {told}", (1.05, height), xycoords="axes fraction", va="top", color=QUIET,
            fontsize=7, annotation_clip=False,
        )  # fmt: skip


def _alt(title: str, shown: Sequence[Json], names: Mapping[str, str], objective: Json) -> str:
    told = [
        f"{names.get(one['variant'], one['variant'])}: {result.rate(one['answer']['rate_per_s'])}/s hold {objective['text']}"
        for one in shown
    ]
    return f"{title}. {'; '.join(told)}."
