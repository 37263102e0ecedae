"""Latency against offered rate up to the capacity: the hockey stick, with the objective, the capacity's interval and the knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from bench.capacity import result
from bench.report import text
from bench.report.charts import ends, scales
from bench.report.sheet import EDGE, SMALL, sheet
from bench.report.svg import DASHES, INK, MARKERS, SERIES, Chart, render, style
from bench.report.table import Builder, Table

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
    labels = [_end(one, shown, names, key, i % len(SERIES)) for i, one in enumerate(shown)]
    caption = (
        "Shaded: the capacity's 95% interval. Ringed: the first load from which on latency stays over "
        f"{result.KNEE:g} times its smallest value at up to half of the capacity; loopback, shared cores."
    )
    with style():
        paper = sheet(title, caption, max(262.0, ends.height(labels)))
        axes = paper.axes(56, 36, ends.ROOM, EDGE)
        for i, one in enumerate(shown):
            _curve(axes, one, key, i % len(SERIES))
        _axes(axes, shown, key, objective)
        ends.draw(paper, axes, labels)
        return render(paper, name, _alt(shown, names, objective), _table(shown, names, objective, key))


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
    limit_ms = objective["limit_s"] * 1e3
    xs = [x for one in shown for x, _ in _points(one, key)] + [one["answer"]["high_per_s"] or one["answer"]["rate_per_s"] for one in shown]
    scales.logarithmic(axes.xaxis, xs)
    scales.logarithmic(axes.yaxis, [*(y for one in shown for _, y in _points(one, key)), limit_ms], room=1.6)
    axes.axhline(limit_ms, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2)
    axes.annotate(
        f"objective: {objective['text']}", (0.012, limit_ms), xycoords=("axes fraction", "data"), xytext=(0, 2.5),
        textcoords="offset points", fontsize=SMALL, color=INK, zorder=5,
    )  # fmt: skip
    axes.grid()
    axes.set_xlabel("offered rate (messages/s)")
    axes.set_ylabel(f"end-to-end {objective['percentile']} (ms)")


def _end(one: Json, shown: Sequence[Json], names: Mapping[str, str], key: str, number: int) -> ends.End:
    x, y = _points(one, key)[-1]
    told = [f"capacity {result.bound(one)}{result.rate(one['answer']['rate_per_s'])}/s"]
    if any(other is not one and other["variant"] == one["variant"] for other in shown):
        told.append(text.many(one["producers"], "producer"))
    return ends.End(x, y, names.get(one["variant"], one["variant"]), tuple(told), number)


def _table(shown: Sequence[Json], names: Mapping[str, str], objective: Json, key: str) -> Table:
    percentile = objective["percentile"]
    head = (("Offered, msg/s", True), ("Share of capacity", True), ("n", True), (f"{percentile}, ms", True))
    builder = Builder("What is drawn: latency against load", head)
    for one in shown:
        called = f"{names.get(one['variant'], one['variant'])}, {text.many(one['producers'], 'producer')}"
        rows = [row for row in one["sweep"] if row[key] is not None]
        builder.add(called, [(text.number(r["rate_per_s"]), f"{r['share']:.0%}", f"{r['n']:,}", text.number(r[key] / 1e6)) for r in rows])
    return Table(builder.caption, builder.head, tuple(builder.groups))


def _alt(shown: Sequence[Json], names: Mapping[str, str], objective: Json) -> str:
    told = [
        f"{names.get(one['variant'], one['variant'])}: {result.rate(one['answer']['rate_per_s'])}/s hold {objective['text']}"
        for one in shown
    ]
    return f"{'; '.join(told)}."
