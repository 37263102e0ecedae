"""How the size of a message matters: latency and delivered megabytes a second against bytes, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from bench import units
from bench.analysis.summary import PointSummary, Spread, VariantPoint
from bench.report import figures, svg, text
from bench.report.charts import ends, names, scales
from bench.report.charts.families import along, rest
from bench.report.headline import STANDING, place
from bench.report.sheet import EDGE, SMALL, sheet
from bench.report.svg import DASHES, INK, MARKERS, PAPER, SERIES, Chart
from bench.report.table import Builder, Table

Json = Mapping[str, Any]
_PANEL, _GAP, _FOOT = 170.0, 20.0, 38.0


@dataclass(frozen=True)
class Line:
    """One variant over the sizes, ascending; what there is no figure of is None."""

    results: tuple[VariantPoint, ...]
    sizes_b: tuple[int, ...]
    p50_ns: tuple[float | None, ...]
    p99_ns: tuple[float | None, ...]
    rate_mb: tuple[Spread | None, ...]  # 10^6 bytes a second, headers included, of the slowest group

    def values(self, which: str) -> Sequence[float | None]:
        """Of p50, p99 (ns) or MB/s."""
        known = {"p50": self.p50_ns, "p99": self.p99_ns}
        return known[which] if which in known else [rate.median if rate else None for rate in self.rate_mb]

    @property
    def last(self) -> VariantPoint:
        """At the largest size."""
        return self.results[-1]


def families(points: Sequence[PointSummary]) -> list[list[PointSummary]]:
    """Points that differ in nothing but the size of a message, of two sizes at least; each in ascending order."""
    sized = (one for one in points if isinstance(size := one.point.get("size_b"), int) and size > 0 and "payload" not in one.point)
    return along("size_b", sized)


def draw(points: Sequence[PointSummary], name: str, colours: Mapping[str, int]) -> Chart | None:
    """Points of one family (`families`); None where fewer than two sizes have a figure. Emulators have no place beside systems."""
    lines = _lines(points)
    drawn = [line for line in lines if _known(line.p50_ns) + _known(line.p99_ns) or any(line.rate_mb)]
    if not drawn or len({size for line in drawn for size in line.sizes_b}) < 2:
        return None
    timed = [line for line in drawn if _known(line.p50_ns) or _known(line.p99_ns)]
    moved = [line for line in drawn if any(line.rate_mb)]
    panels = [part for part in (timed, moved) if part]
    with svg.style():
        called = names.called(line.last for line in drawn)
        named = [_end(line, called[line.last.id], colours, timed=bool(timed)) for line in panels[0]]
        body = max(len(panels) * _PANEL + (len(panels) - 1) * _GAP + _FOOT, ends.height(named))
        paper = sheet(title(points, drawn), _caption(drawn), body)
        high = (body - _FOOT - (len(panels) - 1) * _GAP) / len(panels)
        made = []
        for i in range(len(panels)):
            bottom = _FOOT + (len(panels) - 1 - i) * (high + _GAP)
            made.append(paper.axes(60, bottom, ends.ROOM, body - bottom - high + (EDGE if i == 0 else 0)))
        sizes = sorted({size for line in drawn for size in line.sizes_b})
        if timed:
            _latency(made[0], timed, colours)
            paper.ylabel(made[0], "latency (ms)")
        if moved:
            _moved(made[-1], moved, colours)
            paper.ylabel(made[-1], "delivered (MB/s)")
        for i, axes in enumerate(made):
            _sizes(axes, sizes, last=i == len(made) - 1)
        ends.draw(paper, made[0], named)
        return svg.render(paper, name, _alt(drawn), _table(points, drawn))


def _known(values: Sequence[float | None]) -> int:
    return sum(value is not None for value in values)


def _lines(points: Sequence[PointSummary]) -> list[Line]:
    found: dict[str, list[tuple[int, VariantPoint]]] = {}
    for point in points:
        for result in point.results:
            if not result.emulator and result.rate:
                found.setdefault(result.id, []).append((int(point.point["size_b"]), result))
    lines = []
    for own in found.values():
        own.sort(key=lambda one: one[0])
        e2e = [result.latency.get("e2e") for _, result in own]
        rates = [Spread.of(_megabytes(trial) for trial in result.trials if trial.get("status") == "ok") for _, result in own]
        lines.append(
            Line(
                tuple(result for _, result in own), tuple(size for size, _ in own), tuple(one.p50_ns if one else None for one in e2e),
                tuple(one.p99_ns if one else None for one in e2e), tuple(rates),
            )
        )  # fmt: skip
    return lines


def _megabytes(trial: Json) -> float | None:
    value = (trial.get("rates") or {}).get("slowest_group_b_per_s")
    return value / 1e6 if isinstance(value, int | float) and value > 0 else None


def title(points: Sequence[PointSummary], lines: Sequence[Line]) -> str:
    """By how much latency (or else the delivered bytes) grows from the smallest to the largest size, at its most and least."""
    prefix, spoken = figures.spoken_of([line.last for line in lines])
    told_of = {result.id for result in spoken}
    own = [line for line in lines if line.last.id in told_of]
    others = rest("size_b", points[0].point)
    at = text.at(others) if others else ""
    for which in ("p99", "p50", "MB/s"):
        grown = [(found[3] / found[2], line, found) for line in own if (found := _ends(line.sizes_b, line.values(which)))]
        if grown:
            called = names.called(line.last for line in lines)
            return prefix + _grown(grown, f"{which} {at}".strip(), called)
    return f"{prefix}Sizes of messages {at}: no figure at two of them"


def _ends(sizes: Sequence[int], values: Sequence[float | None]) -> tuple[int, int, float, float] | None:
    """The smallest and largest size of which there is a value, with these."""
    known = [(size, value) for size, value in zip(sizes, values, strict=True) if value]
    return (known[0][0], known[-1][0], known[0][1], known[-1][1]) if len(known) > 1 else None


def _grown(grown: Sequence[tuple[float, Line, tuple[int, int, float, float]]], what: str, called: Mapping[str, str]) -> str:
    most, least = max(grown, key=lambda one: one[0]), min(grown, key=lambda one: one[0])

    def told(one: tuple[float, Line, tuple[int, int, float, float]]) -> str:
        ratio, line, (small, large, _, _) = one
        with_ = names.in_title(called[line.last.id])
        return f"{text.number(ratio)} times from {units.show_size(small)} to {units.show_size(large)} with {with_}"

    if len(grown) == 1:
        return f"{what} grows {told(most)}"
    if most[2][:2] == least[2][:2]:
        return f"{what} grows {told(most)}, {text.number(least[0])} times with {names.in_title(called[least[1].last.id])}"
    return f"{what} grows {told(most)}, {told(least)}"


def _caption(lines: Sequence[Line]) -> str:
    known = [e2e for line in lines for result in line.results if (e2e := result.latency.get("e2e"))]
    counted, samples = text.rounds([e2e.rounds for e2e in known] or [1]), text.between([e2e.n for e2e in known] or [0])
    return (
        f"End-to-end latency from the intended send time, n = {samples} a point, p99 where ten samples lie beyond it; none where the rate "
        f"was not reached (hollow below). MB/s: 10^6 bytes delivered to the slowest group, headers included; {counted}, whisker: range; "
        f"{place([])}."
    )


def _latency(axes: Axes, lines: Sequence[Line], colours: Mapping[str, int]) -> None:
    seen = [scales.ms(v) for line in lines for v in (*line.p50_ns, *line.p99_ns) if v is not None]
    for line in lines:
        number = svg.colour(colours, line.last.id)
        for values, thick in ((line.p50_ns, 0.8), (line.p99_ns, 1.8)):
            known = [(size, scales.ms(v)) for size, v in zip(line.sizes_b, values, strict=True) if v is not None]
            if known:
                axes.plot(
                    *zip(*known, strict=True), color=SERIES[number], linestyle=DASHES[number], marker=MARKERS[number],
                    markersize=6 if thick > 1 else 3.5, linewidth=thick, zorder=3 + (thick > 1),
                )  # fmt: skip
    scales.logarithmic(axes.yaxis, seen, room=1.5)
    axes.grid()
    axes.annotate(
        "thick: p99, thin: p50", (0.02, 0.98), xycoords="axes fraction", va="top", fontsize=SMALL, color=INK, zorder=6,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )  # fmt: skip


def _moved(axes: Axes, lines: Sequence[Line], colours: Mapping[str, int]) -> None:
    for line in lines:
        number = svg.colour(colours, line.last.id)
        known = [(size, rate, result) for size, rate, result in zip(line.sizes_b, line.rate_mb, line.results, strict=True) if rate]
        axes.plot([size for size, _, _ in known], [rate.median for _, rate, _ in known], color=SERIES[number], linestyle=DASHES[number],
                  linewidth=1.6, zorder=3)  # fmt: skip
        for size, rate, result in known:
            hollow = result.standing == "rate-not-reached"
            axes.plot([size], [rate.median], color=SERIES[number], marker=MARKERS[number], markersize=6, zorder=4,
                      markerfacecolor=PAPER if hollow else SERIES[number], linestyle="none")  # fmt: skip
            if rate.rounds > 1:
                axes.plot([size, size], [rate.low, rate.high], color=SERIES[number], linewidth=1.2, zorder=3)
    scales.logarithmic(axes.yaxis, [v for line in lines for rate in line.rate_mb if rate for v in (rate.low, rate.high)], room=1.5)
    axes.grid()


def _sizes(axes: Axes, sizes: Sequence[int], *, last: bool) -> None:
    """The sizes that were measured as ticks, those left out whose names would touch."""
    axes.set_xscale("log")
    axes.set_xlim(sizes[0] / 1.4, sizes[-1] * 1.4)
    scales.apart(axes, sizes, [units.show_size(size) for size in sizes])
    axes.tick_params(axis="x", labelbottom=last)
    if last:
        axes.set_xlabel("size of a message")


def _end(line: Line, called: str, colours: Mapping[str, int], *, timed: bool) -> ends.End:
    number = svg.colour(colours, line.last.id)
    unwell = next((STANDING[r.standing] for r in reversed(line.results) if r.doubtful), "")
    under = (text.promise(line.last.delivery), *([unwell] if unwell else []))
    if timed:
        values = line.p99_ns if _known(line.p99_ns) else line.p50_ns
        size, value = next((s, v) for s, v in zip(reversed(line.sizes_b), reversed(values), strict=True) if v is not None)
        return ends.End(size, scales.ms(value), called, under, number)
    size, rate = next((s, r) for s, r in zip(reversed(line.sizes_b), reversed(line.rate_mb), strict=True) if r)
    return ends.End(size, rate.median, called, under, number)


def _table(points: Sequence[PointSummary], lines: Sequence[Line]) -> Table:
    builder = Builder(
        f"Size of a message, {text.point_name(rest('size_b', points[0].point))}",
        (("Size, B", True), ("n", True), ("p50, ms", True), ("p99, ms", True), ("MB/s", True), ("State", False)),
    )
    for line in lines:
        rows = []
        for i, result in enumerate(line.results):
            e2e = result.latency.get("e2e")
            p50, p99 = (text.milli(v) for v in (line.p50_ns[i], line.p99_ns[i]))
            moved = text.ranged(line.rate_mb[i]) if line.rate_mb[i] else text.NONE
            rows.append(
                (f"{line.sizes_b[i]:,}", f"{e2e.n if e2e else 0:,}", p50, p99, moved, STANDING.get(result.standing, result.standing))
            )
        builder.add(figures.name(line.last), [*rows])
    return builder.whole()


def _alt(lines: Sequence[Line]) -> str:
    told = []
    called = names.called(line.last for line in lines)
    for line in lines:
        found = [
            f"{which} {text.duration(at[2])} at {units.show_size(at[0])}, {text.duration(at[3])} at {units.show_size(at[1])}"
            for which, values in (("p50", line.p50_ns), ("p99", line.p99_ns))
            if (at := _ends(line.sizes_b, values))
        ]
        told.append(f"{called[line.last.id]}: {'; '.join(found) or 'no latency at two sizes'}")
    return f"{'. '.join(told)}."
