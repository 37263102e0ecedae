"""CPU of a delivered message, stacked: producers, intermediary, consumers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.summary import PointSummary, VariantPoint
from bench.report import text
from bench.report.figures import label
from bench.report.headline import place
from bench.report.svg import GRID, INK, QUIET, SERIES, STYLE, Chart, render

_PARTS = (("producers", SERIES[0], ""), ("intermediary", SERIES[1], "////"), ("consumers", SERIES[2], "\\\\\\\\"))


def draw(point: PointSummary, results: Sequence[VariantPoint], name: str) -> Chart | None:
    """One panel for one point; None where no CPU was measured."""
    shown = [r for r in results if r.cost.producers or r.cost.consumers or r.cost.intermediary]
    if not shown:
        return None
    title = f"CPU a delivered message {text.at(point.point)}{' (emulator)' if shown[0].emulator else ''}"
    height = 1.15 + 0.42 * len(shown)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, height))
        axes = figure.add_axes((0.3, 0.5 / height, 0.53, 1 - 1.05 / height))
        for row, result in enumerate(shown):
            _bar(axes, row, result)
        axes.set_yticks(range(len(shown)), [label(r) for r in shown], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlabel(f"µs of CPU; whisker: range over rounds; {place([])}", fontsize=8)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        figure.text(0.012, 1 - 0.2 / height, title, color=INK, fontweight="bold", fontsize=10, va="center")
        _legend(figure, height)
        return render(figure, name, title, _alt(title, shown))


def _bar(axes: Axes, row: int, result: VariantPoint) -> None:
    left = 0.0
    for part, colour, hatch in _PARTS:
        spread = getattr(result.cost, part)
        if spread is not None and spread.median > 0:
            axes.barh(row, spread.median / 1e3, left=left, height=0.56, color=colour, hatch=hatch, linewidth=0)
            left += spread.median / 1e3
    total = result.cost.total
    end = left
    if total is not None and total.rounds > 1:
        axes.plot([total.low / 1e3, total.high / 1e3], [row, row], color=INK, linewidth=1.1, marker="|", markersize=5)
        end = max(left, total.high / 1e3)
    axes.annotate(
        _total(result), (end, row), xytext=(6, 0), textcoords="offset points", va="center", color=INK, fontsize=8.5, annotation_clip=False
    )


def _total(result: VariantPoint) -> str:
    if result.cost.total is not None:
        return text.micro(result.cost.total.median)
    return "server not measured" if result.variant.get("intermediary") else "incomplete"


def _legend(figure: Figure, height: float) -> None:
    at = 0.3
    for part, colour, hatch in _PARTS:
        y = 1 - 0.42 / height
        patch = mpl.patches.Rectangle(
            (at, y - 0.05 / height), 0.022, 0.1 / height, transform=figure.transFigure, facecolor=colour, hatch=hatch, linewidth=0
        )
        figure.add_artist(patch)
        figure.text(at + 0.03, y, part, color=QUIET, fontsize=8, va="center")
        at += 0.18


def _alt(title: str, shown: Sequence[VariantPoint]) -> str:
    def told(result: VariantPoint) -> str:
        parts = [f"{part} {text.micro(s.median)}" for part, _, _ in _PARTS if (s := getattr(result.cost, part)) is not None]
        return f"{label(result)}: {', '.join(parts)}, total {_total(result)}"

    return f"{title}, in microseconds. {'; '.join(told(r) for r in shown)}."
