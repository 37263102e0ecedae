"""Latency over time as a heat map: time across, latency up, how many messages as shade; one panel a variant, rounds side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bench.analysis.compare import round_of
from bench.analysis.summary import RATE_NOT_REACHED, PointSummary, VariantPoint, codes_of
from bench.histogram import LENGTH, highest, lowest
from bench.report import figures, over_time, svg, text
from bench.report.charts import names, scales, timeline
from bench.report.headline import place
from bench.report.over_time import Latency, Timed
from bench.report.sheet import EDGE, LABEL, SMALL, WIDTH, Sheet, fitted, sheet, wrapped
from bench.report.svg import INK, PAPER, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

Json = Mapping[str, Any]
Key = tuple[int, int]
"""A round: series, round."""

COLUMNS_MAX = 120
BINS_MIN = 3
_HEADROOM = 1.12
_STEPS = 8  # to a factor of ten in latency
_CELLS_MAX = 40
_SHADES = (0.16, 0.36, 0.62, 1.0)
_LEFT, _RIGHT = 56.0, 166.0
_PANEL, _GAP, _FOOT = 92.0, 12.0, 38.0


@dataclass(frozen=True)
class Column:
    """One bin of one round."""

    round: Key
    slot: int  # of the round's bins
    start_s: int
    end_s: int
    latency: Latency
    cells: NDArray[np.int64]  # messages, by the frame's edges


@dataclass(frozen=True)
class Panel:
    """One variant, with the columns in which something arrived, and its faults: (round, injected, healed or None)."""

    result: VariantPoint
    columns: tuple[Column, ...]
    faults: tuple[tuple[Key, float, float | None], ...]


@dataclass(frozen=True)
class Frame:
    """What all panels share: rounds in order, bins of a round, the seconds where the first begins, and the edges of cells in ns."""

    rounds: tuple[Key, ...]
    slots: int
    width_s: int
    start_s: int
    edges: NDArray[np.float64]

    def at(self, round_: Key, second: float) -> float:
        """Where a second of a round stands on the axis, in columns."""
        gap = 1 if len(self.rounds) > 1 else 0
        return self.rounds.index(round_) * (self.slots + gap) + (second - self.start_s) / self.width_s

    @property
    def places(self) -> range:
        """Slots of a round."""
        first = self.start_s // self.width_s
        return range(first, first + self.slots)

    def curve(self, values: Mapping[tuple[Key, int], float]) -> tuple[list[float], list[float]]:
        """Of values by round and slot, in the middle of each; a gap between rounds, and where there is none."""
        xs: list[float] = []
        ys: list[float] = []
        for round_ in self.rounds:
            for slot in self.places:
                xs.append(self.at(round_, slot * self.width_s) + 0.5)
                ys.append(values.get((round_, slot), math.nan))
            xs.append(math.nan)
            ys.append(math.nan)
        return xs, ys

    @property
    def end(self) -> float:
        """Where the last round ends."""
        return self.at(self.rounds[-1], self.start_s) + self.slots


def draw(run: Timed, point: PointSummary, results: Sequence[VariantPoint], name: str) -> Chart | None:
    """All variants of one point on the same axes; None where no latency was kept over time, or in less than three bins of it."""
    found = _panels(run, results)
    if found is None:
        return None
    frame, panels = found
    q, which = over_time.percentile([column.latency for panel in panels for column in panel.columns])
    levels = _levels(panels)
    called = names.called(panel.result for panel in panels)
    with svg.style():
        body = _FOOT + len(panels) * _PANEL + (len(panels) - 1) * _GAP + 8
        paper = sheet(title(point, panels, q, which), _caption(panels, frame), body)
        for i, panel in enumerate(panels):
            bottom = _FOOT + (len(panels) - 1 - i) * (_PANEL + _GAP)
            axes = paper.axes(_LEFT, bottom, _RIGHT, body - bottom - _PANEL)
            _draw(axes, panel, frame, levels, q)
            _axes(axes, frame, last=i == len(panels) - 1)
            _name(paper, axes, panel, called[panel.result.id])
            if i == 0:
                _key(paper, axes, levels, which)
        return svg.render(paper, name, _alt(panels, q, which), _table(point, panels, frame, q, which))


def _panels(run: Timed, results: Sequence[VariantPoint]) -> tuple[Frame, list[Panel]] | None:
    """What is drawn, in bins that are the same for all."""
    chosen = {r.id: (r, [t for t in r.trials if _quotable(r, t)]) for r in results}
    rounds = sorted({round_of(t) for _, trials in chosen.values() for t in trials})[:COLUMNS_MAX]
    seconds = max((over_time.length(run, t) for _, trials in chosen.values() for t in trials), default=0)
    if not rounds or not seconds:
        return None
    width_s = over_time.width(seconds, max(1, COLUMNS_MAX // len(rounds)))
    found = []
    for result, trials in chosen.values():
        own = sorted((t for t in trials if round_of(t) in rounds), key=round_of)
        bins = [(round_of(t), b) for t in own for b in over_time.bins(run, t, width_s) if "" in b.latency]
        faults = [(round_of(t), *times[:2]) for t in own for lane in timeline.lanes(t) for times in lane.times]
        if len(bins) >= BINS_MIN:
            found.append((result, bins, faults))
    if not found:
        return None
    every = [(key, b) for _, bins, _ in found for key, b in bins]
    edges = _edges([b.latency[""] for _, b in every])
    panels = [
        Panel(r, tuple(Column(k, b.start_s // width_s, b.start_s, b.end_s, h := b.latency[""], cells(h, edges)) for k, b in bins), tuple(f))
        for r, bins, f in found
    ]
    first = min(b.start_s for _, b in every)
    slots = (max(b.end_s for _, b in every) - first) // width_s
    return Frame(tuple(sorted({key for key, _ in every})), slots, width_s, first, edges), panels


def _quotable(result: VariantPoint, trial: Json) -> bool:
    """No latency is quoted from a saturated round; one that a fault kept from its rate is what the chart is there for."""
    if trial.get("status") != "ok":
        return False
    if timeline.lanes(trial):
        return True
    return RATE_NOT_REACHED not in codes_of(trial) and result.absent.get("e2e") != "saturated"


def _edges(latencies: Sequence[Latency]) -> NDArray[np.float64]:
    """Of the cells, in ns: the same in all panels, from the smallest latency to the largest."""
    low = max(min(one.min_ns for one in latencies), timeline.FLOOR_NS)
    high = max(low + 1, *(one.max_ns for one in latencies))
    decades = math.log10(high / low)
    steps = min(_STEPS, max(2, int(_CELLS_MAX / max(decades, 0.1))))
    first, last = math.floor(math.log10(low) * steps), math.floor(math.log10(high) * steps) + 1
    edges: NDArray[np.float64] = 10.0 ** (np.arange(first, last + 1) / steps)
    return edges


@lru_cache(maxsize=1)
def _middles() -> NDArray[np.float64]:
    """Of every counter of a histogram, in ns."""
    return np.array([(lowest(i) + highest(i)) / 2 for i in range(LENGTH)])


def cells(latency: Latency, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the messages are in each cell: all of them, the first and last cell taking what lies beyond."""
    at, counts = latency.used
    places = np.clip(np.searchsorted(edges, _middles()[at], side="right") - 1, 0, len(edges) - 2)
    return np.bincount(places, weights=counts, minlength=len(edges) - 1).astype(np.int64)


def _levels(panels: Sequence[Panel]) -> list[int]:
    """From how many messages on a cell has which shade: powers of ten, or of more where there are more of them than shades."""
    most = max(int(column.cells.max()) for panel in panels for column in panel.columns)
    factor = 10 if most < 10 ** len(_SHADES) else 10 ** math.ceil(math.log10(most + 1) / len(_SHADES))
    return [factor**i for i in range(len(_SHADES)) if factor**i <= most]


def _draw(axes: Axes, panel: Panel, frame: Frame, levels: Sequence[int], q: float) -> None:
    counts = {(column.round, column.slot): column.cells for column in panel.columns}
    strips: dict[int, list[tuple[float, float, float]]] = {}
    middles = np.sqrt(frame.edges[:-1] * frame.edges[1:]) / 1e6
    for round_ in frame.rounds:
        for cell, middle in enumerate(middles.tolist()):
            for level, begin, end in _runs(counts, round_, frame, cell, levels):
                strips.setdefault(level, []).append((begin, end, middle))
    # Thick lines, not rectangles: half of the bytes, and a page has many. All cells of a panel are of the same height.
    thick = _PANEL * math.log(frame.edges[1] / frame.edges[0]) / math.log(_HEADROOM**2 * frame.edges[-1] / frame.edges[0])
    for level, own in sorted(strips.items()):
        xs = [x for begin, end, _ in own for x in (begin, end, math.nan)]
        ys = [y for _, _, middle in own for y in (middle, middle, math.nan)]
        axes.plot(xs, ys, color=SERIES[0], alpha=_SHADES[level], linewidth=thick, solid_capstyle="butt", zorder=1)
    for round_, injected, healed in panel.faults:
        if round_ in frame.rounds:
            begin = frame.at(round_, injected)
            end = frame.at(round_, frame.start_s + frame.slots * frame.width_s if healed is None else healed)
            for at in (begin, end):
                axes.axvline(at, color=INK, linewidth=0.8, linestyle=(0, (1, 1.2)), zorder=2)
            axes.plot(
                [begin, end], [0.985, 0.985], transform=axes.get_xaxis_transform(), color=INK, linewidth=3, solid_capstyle="butt", zorder=5
            )
    for share, line in ((0.5, "-"), (q, (0, (3, 1.5)))) if q > 0.5 else ((0.5, "-"),):
        xs, ys = _curve(panel, frame, share)
        axes.plot(xs, ys, color=PAPER, linewidth=3.2, zorder=3)
        axes.plot(xs, ys, color=INK, linewidth=1.3, linestyle=line, zorder=4)


def _runs(
    counts: Mapping[tuple[Key, int], NDArray[np.int64]], round_: Key, frame: Frame, cell: int, levels: Sequence[int]
) -> list[tuple[int, float, float]]:
    """Of one row of cells of a round: (shade, begin, end) of neighbours that have the same, which makes for small files."""
    found: list[tuple[int, float, float]] = []
    for slot in frame.places:
        own = counts.get((round_, slot))
        count = 0 if own is None else int(own[cell])
        if count:
            level = sum(count >= least for least in levels) - 1
            begin = frame.at(round_, slot * frame.width_s)
            if found and found[-1][0] == level and found[-1][2] == begin:
                found[-1] = (level, found[-1][1], begin + 1)
            else:
                found.append((level, begin, begin + 1))
    return found


def _curve(panel: Panel, frame: Frame, share: float) -> tuple[list[float], list[float]]:
    """A percentile by bin in ms; a gap between rounds, and where a bin has too few messages for it."""
    known = {(column.round, column.slot): over_time.at(column.latency, share) for column in panel.columns}
    return frame.curve({at: scales.ms(value, timeline.FLOOR_NS) for at, value in known.items() if value is not None})


def _axes(axes: Axes, frame: Frame, *, last: bool) -> None:
    scales.logarithmic(axes.yaxis, [frame.edges[0] / 1e6, frame.edges[-1] / 1e6], room=_HEADROOM, most=4)
    axes.yaxis.set_major_formatter(lambda v, _: scales.short(v))
    axes.set_ylabel("latency (ms)")
    axes.yaxis.set_label_coords(-0.165, 0.5)
    across(axes, frame, last=last)


def across(axes: Axes, frame: Frame, *, last: bool) -> None:
    """The axis of time: rounds by their number, of a single one its seconds; words only beneath the ``last`` panel."""
    axes.set_xlim(0, frame.end)
    if len(frame.rounds) > 1:
        every = math.ceil(len(frame.rounds) / 8)
        middles = [frame.at(key, frame.start_s) + frame.slots / 2 for key in frame.rounds]
        axes.set_xticks(middles[::every], [str(i + 1) for i in range(0, len(frame.rounds), every)])
        axes.tick_params(axis="x", length=0)
        words = f"rounds in their order, {text.many(frame.slots * frame.width_s, 'second')} each"
    else:
        end_s = frame.start_s + frame.slots * frame.width_s
        step = over_time.width(end_s - frame.start_s, 6)
        seconds = range(-(-frame.start_s // step) * step, end_s + 1, step)
        axes.set_xticks([frame.at(frame.rounds[0], s) for s in seconds], [f"{s:,}" for s in seconds])
        words = "seconds from the start of the load"
    axes.tick_params(axis="x", labelbottom=last)
    if last:
        axes.set_xlabel(words)


def _name(paper: Sheet, axes: Axes, panel: Panel, called: str) -> None:
    right = WIDTH - _RIGHT + 10
    room = _RIGHT - 10 - EDGE
    _, top = paper.place(axes, 0, axes.get_ylim()[1])
    lines = wrapped(called, room, LABEL, most=2)
    for i, line in enumerate(lines):
        paper.text(right, top - 9 - i * LABEL * 1.25, line, LABEL, color=INK)
    n = sum(column.latency.n for column in panel.columns)
    for i, words in enumerate((fitted(text.promise(panel.result.delivery), room, SMALL), f"n = {n:,}")):
        paper.text(right, top - 9 - len(lines) * LABEL * 1.25 - i * SMALL * 1.25, words, SMALL, color=QUIET)


def _key(paper: Sheet, axes: Axes, levels: Sequence[int], which: str) -> None:
    """Beneath the first name: the shades, then the lines."""
    right = WIDTH - _RIGHT + 10
    _, low = paper.place(axes, 0, axes.get_ylim()[0])
    for i, least in enumerate(levels):
        paper.box(right + i * 36, low + 17, 34, 9, facecolor=SERIES[0], alpha=_SHADES[i], linewidth=0)
        paper.text(right + i * 36 + 17, low + 6, scales.plain(least), SMALL - 0.5, color=QUIET, ha="center")
    y = low + 35
    for x, words, line in ((0.0, "p50", "-"), (62.0, which, (0, (3, 1.5))))[: 2 if which != "p50" else 1]:
        paper.line((right + x, right + x + 20), (y, y), color=INK, linewidth=1.3, linestyle=line)
        paper.text(right + x + 24, y, words, SMALL, va="center", color=INK)


def title(point: PointSummary, panels: Sequence[Panel], q: float, which: str) -> str:
    """Whose latency changes most over time, and whose least: the worst bin over the one in the middle, which needs no common promise."""
    width = _width(panels)
    prefix, spoken = figures.spoken_of([panel.result for panel in panels])
    told_of = {result.id for result in spoken}
    called = {key: names.in_title(name) for key, name in names.called(panel.result for panel in panels).items()}
    uneven: list[tuple[float, int, VariantPoint]] = []
    for panel in panels:
        known = [v for column in panel.columns if (v := over_time.at(column.latency, q))]
        if known and panel.result.id in told_of:
            uneven.append((max(known) / statistics.median(known), max(known), panel.result))
    at = text.at(point.point)
    if not uneven:
        return f"{prefix}Latency over time {at}: too few messages in each {width} for a percentile"
    most, least = max(uneven, key=lambda one: one[0]), min(uneven, key=lambda one: one[0])
    told = (
        f"{prefix}Over time {at}, the {which} of the worst {width} is {text.number(most[0])} times that of the middle one "
        f"with {called[most[2].id]} ({text.duration(most[1])})"
    )
    return told if len(uneven) == 1 else f"{told}, {text.number(least[0])} times with {called[least[2].id]} ({text.duration(least[1])})"


def _width(panels: Sequence[Panel]) -> str:
    column = panels[0].columns[0]
    return "second" if column.end_s - column.start_s == 1 else f"{column.end_s - column.start_s} seconds"


def _caption(panels: Sequence[Panel], frame: Frame) -> str:
    width = "one second" if frame.width_s == 1 else _width(panels)
    where = place([panel.result for panel in panels])
    told = (
        f"Shade: messages in a cell of {width} (from so many on as stand below it). End to end from the intended send time, by the "
        f"time of arrival; {text.many(len(frame.rounds), 'round')}; {where}. Lines: where ten messages lie beyond the percentile."
    )
    return told + (" Bars and dotted lines: faults, from injection to heal." if any(panel.faults for panel in panels) else "")


def _table(point: PointSummary, panels: Sequence[Panel], frame: Frame, q: float, which: str) -> Table:
    highest_ = ((f"{which}, ms", True),) if q > 0.5 else ()
    builder = Builder(
        f"Latency over time, {text.point_name(point.point)}",
        (("Round", True), ("From, s", True), ("To, s", True), ("n", True), ("p50, ms", True), *highest_,
         ("Messages by latency, from ms", False)),
        note="A second is counted from the start of its round's load, warm-up included.",
    )  # fmt: skip
    for panel in panels:
        rows = []
        for column in panel.columns:
            told = ", ".join(f"{frame.edges[i] / 1e6:.3g}: {column.cells[i]}" for i in np.flatnonzero(column.cells).tolist())
            shares = (0.5, q) if q > 0.5 else (0.5,)
            values = [text.milli(over_time.at(column.latency, share)) for share in shares]
            number = str(frame.rounds.index(column.round) + 1)
            rows.append((number, str(column.start_s), str(column.end_s), f"{column.latency.n:,}", *values, told))
        builder.add(figures.name(panel.result), [*rows])
    return builder.whole()


def _alt(panels: Sequence[Panel], q: float, which: str) -> str:
    told = []
    called = names.called(panel.result for panel in panels)
    for panel in panels:
        known = [v for column in panel.columns if (v := over_time.at(column.latency, q)) is not None]
        if known:
            told.append(f"{called[panel.result.id]}: {which} by bin from {text.duration(min(known))} to {text.duration(max(known))}")
    return f"Heat map of latency over time. {'; '.join(told)}."
