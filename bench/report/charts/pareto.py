"""Capacity against latency: the highest rate that held the objective across, p99 at a share of it up, the guarantee as marker.

A frontier joins the variants of which no other is both faster and quicker, within one guarantee only: across two it would compare
what a promise costs with what it is worth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from bench.capacity import result
from bench.report import svg, text
from bench.report.charts import scales
from bench.report.headline import place
from bench.report.sheet import EDGE, LABEL, SMALL, SPACED, WIDTH, Sheet, sheet, spread, wrapped
from bench.report.svg import INK, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

Json = Mapping[str, Any]

SHARE = 0.7
"""The share of the capacity at which latency is taken, or the measured one that is nearest to it."""
_MARKS = {"exactly-once": "D", "at-least-once": "o", "at-most-once": "^", "none": "s"}
_DASHES: Mapping[str, Any] = {"exactly-once": "-", "at-least-once": (0, (5, 2)), "at-most-once": (0, (1, 1.4)), "none": (0, (6, 2, 1, 2))}
_RIGHT = 178.0
_REACH = 2.0  # of the arrow, in times the rate


@dataclass(frozen=True)
class Spot:
    """One search's answer: rates a second, latency in ns at ``share`` of the rate; ``at_least``: the system may do more."""

    variant: str
    name: str
    delivery: str
    rate: float
    low: float | None
    high: float | None
    p99_ns: float
    n: int
    at_least: bool
    producers: int

    @property
    def capacity(self) -> str:
        """In signs: >= 17,000."""
        return f"{'>= ' if self.at_least else ''}{result.rate(self.rate)}"


def draw(
    searches: Sequence[Json], deliveries: Mapping[str, str], names: Mapping[str, str], objective: Json, name: str, *,
    emulated: Collection[str] = (),
) -> Chart | None:  # fmt: skip
    """The searches of one point. ``deliveries``: variant id -> promise of its mode; ``emulated``: ids whose server imitates the system.

    None where fewer than two have rate and latency. An emulator has no place among systems; neither has the raw TCP reference.
    """
    share, spots = chosen([one for one in searches if one["variant"] not in emulated], deliveries, names)
    if len(spots) < 2:
        return None
    with svg.style():
        labels = [_label(spot) for spot in spots]
        body = max(262.0, sum(_height(one) for one in labels))
        paper = sheet(title(spots), _caption(share, objective), body)
        axes = paper.axes(60, 38, _RIGHT, EDGE)
        _axes(axes, spots, share)
        for delivery in dict.fromkeys(spot.delivery for spot in spots):
            front = frontier([spot for spot in spots if spot.delivery == delivery])
            if len(front) > 1:
                _front(axes, front, delivery)
        for i, spot in enumerate(spots):
            _spot(axes, spot, SERIES[i % len(SERIES)])
        _labels(paper, axes, spots, labels)
        return svg.render(paper, name, _alt(spots, share), _table(spots, share, objective))


def chosen(searches: Sequence[Json], deliveries: Mapping[str, str], names: Mapping[str, str]) -> tuple[float, list[Spot]]:
    """The share that most searches have a p99 at (of those, the nearest to SHARE), and the spots of these; the best number of producers."""
    answered = [one for one in searches if not one.get("reference") and _answer(one)]
    counted: dict[float, int] = {}
    for one in answered:
        for row in one.get("sweep") or ():
            if row.get("p99_ns") is not None:
                counted[row["share"]] = counted.get(row["share"], 0) + 1
    if not counted:
        return SHARE, []
    share = min(counted, key=lambda s: (-counted[s], abs(s - SHARE), s))
    best: dict[str, Spot] = {}
    for one in answered:
        row = next((row for row in one["sweep"] if row["share"] == share and row.get("p99_ns") is not None), None)
        if row is None:
            continue
        variant, answer = str(one["variant"]), one["answer"]
        spot = Spot(
            variant, names.get(variant, variant), deliveries.get(variant, "none"), float(answer["rate_per_s"]), answer.get("low_per_s"),
            answer.get("high_per_s"), float(row["p99_ns"]), int(row.get("n") or 0), bool(result.bound(one)), int(one.get("producers") or 1),
        )  # fmt: skip
        if variant not in best or spot.rate > best[variant].rate:
            best[variant] = spot
    return share, list(best.values())


def _answer(one: Json) -> bool:
    answer = one.get("answer") or {}
    return answer.get("kind") in ("found", "at-least") and bool(answer.get("rate_per_s"))


def frontier(spots: Sequence[Spot]) -> list[Spot]:
    """Those of which no other has at least the rate and at most the latency, one of both better; by ascending rate."""

    def beaten(spot: Spot) -> bool:
        return any(
            other.rate >= spot.rate and other.p99_ns <= spot.p99_ns and (other.rate > spot.rate or other.p99_ns < spot.p99_ns)
            for other in spots
        )

    return sorted((spot for spot in spots if not beaten(spot)), key=lambda spot: (spot.rate, spot.p99_ns))


def title(spots: Sequence[Spot]) -> str:
    """Within each guarantee: who has both the highest rate and the lowest latency, or whose choice it is."""
    told = []
    for delivery in sorted({spot.delivery for spot in spots}, key=lambda d: list(_MARKS).index(d) if d in _MARKS else len(_MARKS)):
        own = [spot for spot in spots if spot.delivery == delivery]
        front = frontier(own)
        if len(own) == 1:
            told.append(f"{text.promise(delivery)}: {own[0].name} alone, {own[0].capacity}/s, p99 {text.duration(own[0].p99_ns)}")
        elif len(front) == 1:
            told.append(f"{text.promise(delivery)}: {front[0].name} has the highest capacity and the lowest p99{_close(own)}")
        else:
            told.append(f"{text.promise(delivery)}: highest capacity {front[-1].name}{_close(own)}, lowest p99 {front[0].name}")
    words = "; ".join(told)
    return f"{words[0].upper()}{words[1:]}"


def _close(own: Sequence[Spot]) -> str:
    """Said where the interval of the highest capacity meets another's."""
    first, *rest = sorted(own, key=lambda spot: -spot.rate)
    near = [spot.name for spot in rest if (spot.high or spot.rate) >= (first.low or first.rate)]
    return f" (too close to call with {text.listed(near)})" if near else ""


def _caption(share: float, objective: Json) -> str:
    return (
        f"Across: the highest rate that held {objective['text']}, whisker: 95% interval; an arrow: client, machine or search was the "
        f"limit, so the system may do more. Up: end-to-end p99 at {share:.0%} of that rate, n samples. A line joins what nothing of the "
        f"same guarantee beats in both; guarantees are not compared with each other; {place([])}."
    )


def _axes(axes: Axes, spots: Sequence[Spot], share: float) -> None:
    scales.logarithmic(axes.xaxis, [v for spot in spots for v in _across(spot)], room=1.3)
    ticks = [float(v) for v in axes.get_xticks()]
    scales.apart(axes, ticks, [scales.plain(v) for v in ticks])
    scales.logarithmic(axes.yaxis, [scales.ms(spot.p99_ns) for spot in spots], room=1.6)
    axes.grid()
    axes.set_xlabel("capacity (messages/s)")
    axes.set_ylabel(f"p99 at {share:.0%} of it (ms)")


def _across(spot: Spot) -> list[float]:
    """All that is drawn of it along the axis of rates."""
    return [v for v in (spot.rate, spot.low, spot.high, spot.rate * _REACH if spot.at_least else None) if v]


def _front(axes: Axes, front: Sequence[Spot], delivery: str) -> None:
    axes.plot(
        [spot.rate for spot in front], [scales.ms(spot.p99_ns) for spot in front], color=QUIET, linewidth=1.2,
        linestyle=_DASHES.get(delivery, "-"), zorder=2,
    )  # fmt: skip


def _spot(axes: Axes, spot: Spot, colour: str) -> None:
    y = scales.ms(spot.p99_ns)
    if spot.low and spot.high:
        axes.plot([spot.low, spot.high], [y, y], color=colour, linewidth=1.6, marker="|", markersize=11, markeredgewidth=1.4, zorder=3)
    if spot.at_least:
        axes.annotate(
            "", (spot.rate * _REACH, y), (spot.rate, y), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6}, zorder=3
        )
    axes.plot([spot.rate], [y], marker=_MARKS.get(spot.delivery, "X"), markersize=7.5, color=colour, linestyle="none", zorder=4)


def _label(spot: Spot) -> list[tuple[str, float, str]]:
    """Lines beside a marker: words, size, colour."""
    room = _RIGHT - 36 - EDGE
    lines = [(line, LABEL, INK) for line in wrapped(spot.name, room, LABEL, most=2) or ["?"]]
    told = f"{spot.capacity}/s, {text.duration(spot.p99_ns)}"
    under = [text.promise(spot.delivery), *([text.many(spot.producers, "producer")] if spot.producers > 1 else []), told]
    return lines + [(line, SMALL, QUIET) for part in under for line in wrapped(part, room, SMALL, most=2)]


def _height(lines: Sequence[tuple[str, float, str]]) -> float:
    return sum(size * SPACED for _, size, _ in lines) + 7


def _labels(paper: Sheet, axes: Axes, spots: Sequence[Spot], labels: Sequence[list[tuple[str, float, str]]]) -> None:
    """To the right, apart from each other, each led to its marker and beginning with the same one."""
    right = WIDTH - _RIGHT
    found = [paper.place(axes, spot.rate, scales.ms(spot.p99_ns)) for spot in spots]
    placed = sorted((y, x, i) for i, (x, y) in enumerate(found))
    centres = spread([y for y, _, _ in placed], [_height(labels[i]) for _, _, i in placed], paper.bottom, paper.top)
    for (y, x, i), centre in zip(placed, centres, strict=True):
        spot, lines = spots[i], labels[i]
        colour = SERIES[i % len(SERIES)]
        top = centre + (_height(lines) - 7) / 2
        middle = top - LABEL * 0.62
        paper.line((x, right + 4, right + 16), (y, y, middle), color=colour, linewidth=0.6, alpha=0.55, linestyle=(0, (1, 1.5)))
        paper.line((right + 24,), (middle,), color=colour, marker=_MARKS.get(spot.delivery, "X"), markersize=8, linestyle="none")
        for words, size, ink in lines:
            paper.text(right + 34, top - size * 1.0, words, size, color=ink)
            top -= size * SPACED


def _table(spots: Sequence[Spot], share: float, objective: Json) -> Table:
    builder = Builder(
        f"Capacity ({objective['text']}) and p99 at {share:.0%} of it",
        (("System (client)", False), ("Producers", True), ("Capacity, msg/s", True), ("95% interval", True), ("n", True), ("p99, ms", True),
         ("On its frontier", False)),
    )  # fmt: skip
    for delivery in dict.fromkeys(spot.delivery for spot in spots):
        own = [spot for spot in spots if spot.delivery == delivery]
        front = frontier(own)
        rows = []
        for spot in own:
            interval = f"{result.rate(spot.low)}{text.DASH}{result.rate(spot.high)}" if spot.low and spot.high else text.NONE
            told = (spot.capacity, interval, f"{spot.n:,}", text.milli(spot.p99_ns), "yes" if spot in front else "no")
            rows.append((spot.name, str(spot.producers), *told))
        builder.add(f"Promise: {text.promise(delivery)}", [*rows])
    return builder.whole()


def _alt(spots: Sequence[Spot], share: float) -> str:
    told = [
        f"{spot.name} ({text.promise(spot.delivery)}): {'at least ' if spot.at_least else ''}{result.rate(spot.rate)}/s, "
        f"p99 {text.duration(spot.p99_ns)}"
        for spot in spots
    ]
    return f"Capacity against p99 at {share:.0%} of it. {'; '.join(told)}."
