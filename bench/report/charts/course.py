"""A load without faults over time, all variants of a point in one chart: how far behind, how many delivered, how late; by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bench.analysis.compare import round_of
from bench.analysis.summary import PointSummary, VariantPoint
from bench.report import figures, over_time, svg, text
from bench.report.charts import heat, names, scales, timeline
from bench.report.charts.heat import COLUMNS_MAX, Frame, Key
from bench.report.headline import place
from bench.report.over_time import Bin, Timed
from bench.report.sheet import EDGE, LABEL, WIDTH, Sheet, sheet, wrapped
from bench.report.svg import DASHES, INK, MARKERS, SERIES, Chart
from bench.report.table import Builder, Table

Json = Mapping[str, Any]

BINS_MIN = 5
_LEFT, _RIGHT = 56.0, 166.0
_PANEL, _GAP, _FOOT = 96.0, 20.0, 38.0
_KEY = 14.0


@dataclass(frozen=True)
class Course:
    """One variant: what each bin of each round had; latency only where it may be quoted."""

    result: VariantPoint
    bins: Mapping[tuple[Key, int], Bin]  # by round and slot
    quoted: bool

    def values(self, what: str, q: float) -> dict[tuple[Key, int], float]:
        """By round and slot: messages "behind" (of the group most behind), "delivered" a second (of the slowest), "latency" in ns."""
        if what == "latency":
            known = {at: over_time.at(b.latency.get(""), q) for at, b in self.bins.items()} if self.quoted else {}
            return {at: float(value) for at, value in known.items() if value is not None}
        if what == "behind":
            return {at: float(max(b.behind.values(), default=0)) for at, b in self.bins.items()}
        return {at: min(b.delivered_per_s.values(), default=0.0) for at, b in self.bins.items()}


def draw(run: Timed, point: PointSummary, results: Sequence[VariantPoint], name: str, colours: Mapping[str, int]) -> Chart | None:
    """None where a trial had a fault (charts.timeline shows those), or where no variant has five bins."""
    found = _courses(run, results)
    if found is None:
        return None
    frame, courses = found
    q, which = over_time.percentile([h for one in courses if one.quoted for b in one.bins.values() if (h := b.latency.get(""))])
    quoted = any(one.values("latency", q) for one in courses)
    panels = ("behind", "delivered", "latency")[: 3 if quoted else 2]
    with svg.style():
        called = names.called(one.result for one in courses)
        listed = sum(len(_lines(name_)) for name_ in called.values()) * _KEY + len(courses) * 3
        high = max(_PANEL, (listed - _FOOT - (len(panels) - 1) * _GAP) / len(panels))
        body = _FOOT + len(panels) * high + (len(panels) - 1) * _GAP + 4
        paper = sheet(title(point, courses), _caption(courses, frame, which if quoted else ""), body)
        made = []
        for i, what in enumerate(panels):
            bottom = _FOOT + (len(panels) - 1 - i) * (high + _GAP)
            axes = paper.axes(_LEFT, bottom, _RIGHT, body - bottom - high)
            for one in courses:
                values = one.values(what, q)
                if what == "latency":
                    values = {at: scales.ms(value, timeline.FLOOR_NS) for at, value in values.items()}
                _line(axes, frame.curve(values), svg.colour(colours, one.result.id))
            _axes(axes, what, courses, q, which)
            heat.across(axes, frame, last=i == len(panels) - 1)
            made.append(axes)
        _key(paper, made[0], called, colours)
        return svg.render(paper, name, _alt(courses, q, which), _table(point, courses, frame, (q, which) if quoted else None))


def _courses(run: Timed, results: Sequence[VariantPoint]) -> tuple[Frame, list[Course]] | None:
    trials = {r.id: (r, [t for t in r.trials if t.get("status") == "ok"]) for r in results}
    every = [t for _, own in trials.values() for t in own]
    if not every or any(timeline.lanes(t) for t in every):
        return None
    rounds = sorted({round_of(t) for t in every})[:COLUMNS_MAX]
    width_s = over_time.width(max(1, int(min(_load_s(t) for t in every))), max(1, COLUMNS_MAX // len(rounds)))
    courses = []
    for result, own in trials.values():
        bins: dict[tuple[Key, int], Bin] = {}
        for trial in own:
            end_s = _load_s(trial)
            bins |= {
                (round_of(trial), b.start_s // width_s): b
                for b in over_time.bins(run, trial, width_s)
                if round_of(trial) in rounds and b.end_s <= end_s  # what is left of a second, and the drain, are no rate
            }
        if len(bins) >= BINS_MIN:
            courses.append(Course(result, bins, result.latency.get("e2e") is not None))
    if not courses:
        return None
    slots = {slot for one in courses for _, slot in one.bins}
    kept = tuple(sorted({key for one in courses for key, _ in one.bins}))
    return Frame(kept, max(slots) - min(slots) + 1, width_s, min(slots) * width_s, np.empty(0)), courses


def _load_s(trial: Json) -> float:
    """How long messages were due, the warm-up among it."""
    workload = trial.get("workload") or {}
    return float(workload.get("warmup_s") or 0.0) + float(workload.get("measure_s") or 0.0)


def title(point: PointSummary, courses: Sequence[Course]) -> str:
    """How far behind its producers each was at the worst: the most and the least, which ranks nothing."""
    prefix, spoken = figures.spoken_of([one.result for one in courses])
    told_of = {result.id for result in spoken}
    called = {key: names.in_title(name) for key, name in names.called(one.result for one in courses).items()}
    worst = [(max(one.values("behind", 0.5).values()), called[one.result.id]) for one in courses if one.result.id in told_of]
    most, least = max(worst, key=lambda one: one[0]), min(worst, key=lambda one: one[0])
    told = f"{prefix}Over time {text.at(point.point)}, {most[1]} was at most {text.many(int(most[0]), 'message')} behind"
    return told if len(worst) == 1 else f"{told}, {least[1]} {int(least[0]):,}"


def _caption(courses: Sequence[Course], frame: Frame, which: str) -> str:
    n = sum(h.n for one in courses if one.quoted for b in one.bins.values() if (h := b.latency.get("")))
    told = (
        f"{text.many(len(frame.rounds), 'round')}, a point for {timeline.each(frame.width_s)} of the load, its warm-up included. "
        "Behind: sent and not delivered at the end of a second, of the group most behind; delivered: to the slowest group; "
        f"{place([one.result for one in courses])}."
    )
    if which:
        told += (
            f" {which}: end to end from the intended time, by arrival, n = {n:,}, where ten samples lie beyond it; none of saturated ones."
        )
    return told


def _line(axes: Axes, curve: tuple[list[float], list[float]], number: int) -> None:
    every = max(1, len(curve[0]) // 12)
    axes.plot(*curve, color=SERIES[number], linestyle=DASHES[number], linewidth=1.4, marker=MARKERS[number], markersize=4,
              markevery=(number % every, every), zorder=3)  # fmt: skip


def _axes(axes: Axes, what: str, courses: Sequence[Course], q: float, which: str) -> None:
    known = [value for one in courses for value in one.values(what, q).values()]
    if what == "latency":
        scales.logarithmic(axes.yaxis, [scales.ms(value, timeline.FLOOR_NS) for value in known], room=1.5, most=4)
        axes.yaxis.set_major_formatter(lambda v, _: scales.short(v))
        axes.set_ylabel(f"{which} (ms)")
        axes.grid(axis="y")
    else:
        timeline.linear(axes, max(known), "behind (messages)" if what == "behind" else "delivered/s")
    axes.yaxis.set_label_coords(-0.165, 0.5)


def _lines(called: str) -> list[str]:
    return wrapped(called, _RIGHT - 37 - EDGE, LABEL, most=3) or ["?"]


def _key(paper: Sheet, axes: Axes, called: Mapping[str, str], colours: Mapping[str, int]) -> None:
    """Names to the right, from the top of the first panel."""
    right = WIDTH - _RIGHT
    y = paper.place(axes, 0, axes.get_ylim()[1])[1] - 6
    for variant, name in called.items():
        paper.sample(right + 10, y, svg.colour(colours, variant))
        for line in _lines(name):
            paper.text(right + 37, y, line, LABEL, va="center", color=INK)
            y -= _KEY
        y -= 3


def _table(point: PointSummary, courses: Sequence[Course], frame: Frame, quoted: tuple[float, str] | None) -> Table:
    highest = ((f"{quoted[1]}, ms", True),) if quoted else ()
    builder = Builder(
        f"Over time, {text.point_name(point.point)}",
        (("Round", True), ("From, s", True), ("To, s", True), ("Behind", True), ("Delivered /s", True), *highest),
    )
    for one in courses:
        behind, delivered = one.values("behind", 0.5), one.values("delivered", 0.5)
        latency = one.values("latency", quoted[0]) if quoted else {}
        rows = []
        for at in sorted(one.bins):
            b = one.bins[at]
            late = [text.milli(latency.get(at))] if quoted else []
            number = str(frame.rounds.index(at[0]) + 1)
            rows.append((number, str(b.start_s), str(b.end_s), text.count(behind[at]), text.number(delivered[at]), *late))
        builder.add(figures.name(one.result), [*rows])
    return builder.whole()


def _alt(courses: Sequence[Course], q: float, which: str) -> str:
    told = []
    called = names.called(one.result for one in courses)
    for one in courses:
        delivered, latency = one.values("delivered", q).values(), one.values("latency", q).values()
        late = f", {which} {text.duration(min(latency))} to {text.duration(max(latency))}" if latency else ""
        told.append(f"{called[one.result.id]}: {min(delivered):,.0f} to {max(delivered):,.0f} a second{late}")
    return f"Backlog, rate and latency over time. {'; '.join(told)}."
