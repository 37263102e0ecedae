"""Latency against offered rate, and what was delivered of it: the drawing that runs with a sweep and capacity runs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from bench.report import svg, text
from bench.report.charts import ends, scales
from bench.report.charts.scales import ms
from bench.report.sheet import EDGE, SMALL, Sheet, sheet, width_of
from bench.report.svg import DASHES, INK, MARKERS, PAPER, SERIES, Chart
from bench.report.table import Builder, Cell, Table

_FOOT, _GAP, _AXIS = 36.0, 9.0, 66.0
_SHARE = 58.0  # the panel of what was delivered
Range = tuple[float, float]


@dataclass(frozen=True)
class Load:
    """One offered rate: figures in ns and messages a second, ranges over rounds. Saturated: no latency is told."""

    offered: float
    delivered: float | None
    n: int
    rounds: int
    high_ns: float | None  # of the upper panel's percentile
    low_ns: float | None  # of the lower one's
    high_range: Range | None = None
    low_range: Range | None = None
    saturated: bool = False
    note: str = ""  # why it is not valid


@dataclass(frozen=True)
class Curve:
    """One system's loads; ``knee``: the first load from which on latency stays over a multiple of its low-load value."""

    name: str
    under: tuple[str, ...]
    colour: int
    loads: tuple[Load, ...]
    knee: float | None = None  # rate
    capacity: float | None = None
    interval: Range | None = None  # of the capacity

    @property
    def quoted(self) -> list[Load]:
        """Loads with a latency."""
        return [load for load in self.loads if load.high_ns is not None and not load.saturated]


@dataclass(frozen=True)
class Panels:
    """What the panels show: names of the percentiles, and the objective where there is one."""

    high: str
    low: str
    objective: str = ""
    limit_ns: float | None = None


def draw(curves: Sequence[Curve], panels: Panels, name: str, title: str, caption: str) -> Chart | None:
    """Three panels with one axis of rates; None where no curve has a latency at two loads."""
    shown = [curve for curve in curves if len(curve.quoted) > 1]
    if not shown:
        return None
    left = text.listed(curve.name for curve in curves if curve not in shown)
    caption += f" Not drawn, with a latency at fewer than two rates: {left}." if left else ""
    labels = [_end(curve) for curve in shown]
    room = max(300.0, ends.height(labels))
    with svg.style():
        paper = sheet(title, caption, room)
        rest = room - _SHARE - _FOOT - EDGE - 2 * _GAP
        high = paper.axes(_AXIS, _FOOT + _SHARE + 2 * _GAP + rest * 0.4, ends.ROOM, EDGE)
        low = paper.axes(_AXIS, _FOOT + _SHARE + _GAP, ends.ROOM, room - _FOOT - _SHARE - _GAP - rest * 0.4)
        share = paper.axes(_AXIS, _FOOT, ends.ROOM, room - _FOOT - _SHARE)
        for curve in shown:
            _latency(high, curve, upper=True)
            _latency(low, curve, upper=False)
            _delivered(share, curve)
        _axes(paper, (high, low, share), shown, panels)
        for curve in shown:  # on the edge of what can be shown: only now it is known where that is
            _marks(high, curve)
        ends.draw(paper, high, labels)
        return svg.render(paper, name, _alt(shown, panels), table(shown, panels))


def _end(curve: Curve) -> ends.End:
    last = curve.quoted[-1]
    return ends.End(last.offered, ms(last.high_ns or 0), curve.name, curve.under, curve.colour)


def _latency(axes: Axes, curve: Curve, *, upper: bool) -> None:
    points = [
        (load.offered, load.high_ns if upper else load.low_ns, load.high_range if upper else load.low_range, load.note)
        for load in curve.quoted
    ]
    known = [(x, ms(y), span, note) for x, y, span, note in points if y is not None]
    i, colour = curve.colour, SERIES[curve.colour]
    axes.plot([x for x, *_ in known], [y for _, y, *_ in known], color=colour, linestyle=DASHES[i], linewidth=1.6, zorder=3)
    for x, y, span, note in known:
        axes.plot(
            [x], [y], color=colour, marker=MARKERS[i], markersize=5, markerfacecolor=PAPER if note else colour, linestyle="none", zorder=4
        )
        if span is not None:
            axes.plot([x, x], [ms(span[0]), ms(span[1])], color=colour, linewidth=0.9, marker="_", markersize=5, zorder=3)


def _marks(axes: Axes, curve: Curve) -> None:
    """The knee as a ring, the capacity as a line with its interval, saturated loads as crosses on the upper edge."""
    colour = SERIES[curve.colour]
    if curve.knee is not None:
        y = next((ms(load.high_ns or 0) for load in curve.quoted if load.offered == curve.knee), None)
        if y is not None:
            axes.plot(
                [curve.knee], [y], marker="o", markersize=12, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.3, zorder=5
            )
    if curve.interval is not None:
        axes.axvspan(*curve.interval, color=colour, alpha=0.16, linewidth=0, zorder=1)
    if curve.capacity is not None:
        axes.axvline(curve.capacity, color=colour, linewidth=0.9, linestyle=DASHES[curve.colour], zorder=2)
    over = [load.offered for load in curve.loads if load.saturated]
    top = axes.get_ylim()[1]
    axes.plot(
        over, [top] * len(over), color=colour, marker="x", markersize=6, markeredgewidth=1.6, linestyle="none", clip_on=False, zorder=6
    )


def _delivered(axes: Axes, curve: Curve) -> None:
    known = [(load.offered, load.delivered / load.offered, load.saturated) for load in curve.loads if load.delivered is not None]
    i, colour = curve.colour, SERIES[curve.colour]
    reached = [(x, y) for x, y, saturated in known if not saturated]
    over = [(x, y) for x, y, saturated in known if saturated]
    axes.plot(
        [x for x, _ in reached], [y for _, y in reached], color=colour, linestyle=DASHES[i], linewidth=1.2, marker=MARKERS[i], markersize=4
    )
    axes.plot([x for x, _ in over], [y for _, y in over], color=colour, marker="x", markersize=5, markeredgewidth=1.6, linestyle="none")


def _axes(paper: Sheet, panels: tuple[Axes, Axes, Axes], shown: Sequence[Curve], told: Panels) -> None:
    high, low, share = panels
    rates = [load.offered for curve in shown for load in curve.loads]
    rates += [v for curve in shown for v in (curve.capacity, *(curve.interval or ())) if v]
    uppers = [v for c in shown for load in c.quoted for v in (load.high_ns, *(load.high_range or ())) if v is not None]
    lowers = [v for c in shown for load in c.quoted for v in (load.low_ns, *(load.low_range or ())) if v is not None]
    for axes, values, most in ((high, uppers, 5), (low, lowers, 4)):
        limit = [told.limit_ns] if axes is high and told.limit_ns else []
        scales.logarithmic(axes.yaxis, [ms(v) for v in (*values, *limit)], room=1.5, most=most)
    for axes in panels:
        scales.logarithmic(axes.xaxis, rates, room=1.15, most=5)
        axes.grid()
        if axes is not share:
            axes.tick_params(axis="x", labelbottom=False, length=0)
    share.set_ylim(0, 1.12)
    share.set_yticks([0, 0.5, 1], ["0", "50%", "100%"])
    share.set_xlabel("offered rate (messages/s)")
    for axes, words in ((high, f"{told.high} (ms)"), (low, f"{told.low} (ms)"), (share, "delivered")):
        paper.ylabel(axes, words)
    if told.limit_ns:
        high.axhline(ms(told.limit_ns), color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=2)
        _objective(paper, high, shown, told)


def _objective(paper: Sheet, axes: Axes, shown: Sequence[Curve], told: Panels) -> None:
    """Its name, on the line, at the end where fewer curves run through."""
    words, limit = f"objective: {told.objective}", ms(told.limit_ns or 0)
    left, right = (paper.place(axes, x, limit)[0] for x in axes.get_xlim())
    y = paper.place(axes, axes.get_xlim()[0], limit)[1]
    points = [paper.place(axes, load.offered, ms(load.high_ns or 0)) for curve in shown for load in curve.quoted]
    near = [x for x, at in points if y - 6 < at < y + SMALL + 10]
    wide = width_of(words, SMALL) + 8
    at = min((left, right - wide), key=lambda start: sum(start - 8 < x < start + wide + 8 for x in near))
    paper.text(at + 4, y + 3.5, words, SMALL, color=INK, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.85})


def counted(curves: Sequence[Curve]) -> str:
    """Rounds, what the bars are, and n, for a caption."""
    loads = [one for curve in curves for one in curve.quoted]
    bars = "; bars: ranges over them" if max(one.rounds for one in loads) > 1 else ""
    return f"{text.rounds(one.rounds for one in loads)} a rate merged{bars}; n = {text.between(one.n for one in loads)} samples a rate"


def table(shown: Sequence[Curve], panels: Panels) -> Table:
    """What is drawn, a row a load."""
    head = (
        ("Offered, /s", True), ("Delivered, /s", True), ("Rounds", True), ("n", True),
        *((f"{which}, ms{end}", True) for which in (panels.low, panels.high) for end in ("", " least", " most")), ("State", False),
    )  # fmt: skip
    builder = Builder("Latency against offered rate", head)
    for curve in shown:
        between = f" ({text.number(curve.interval[0])} to {text.number(curve.interval[1])})" if curve.interval else ""
        builder.add(f"{curve.name}: {', '.join(curve.under)}{between}", [_cells(load, curve) for load in curve.loads])
    return builder.whole()


def _cells(load: Load, curve: Curve) -> tuple[str | Cell, ...]:
    if load.saturated:
        load = replace(load, low_ns=None, high_ns=None, low_range=None, high_range=None)
    figures = [load.low_ns, *(load.low_range or (None, None)), load.high_ns, *(load.high_range or (None, None))]
    states = ["saturated: no latency"] if load.saturated else [load.note] if load.note else []
    if load.offered == curve.knee:
        states.append("knee")
    told = [text.milli(v) for v in figures]
    delivered = text.NONE if load.delivered is None else text.number(load.delivered)
    return text.number(load.offered), delivered, str(load.rounds), f"{load.n:,}", *told, ", ".join(states)


def _alt(shown: Sequence[Curve], panels: Panels) -> str:
    def one(curve: Curve) -> str:
        first, last = curve.quoted[0], curve.quoted[-1]
        ends_ = [f"{text.duration(load.high_ns)} at {text.number(load.offered)}/s" for load in (first, last)]
        knee = f", knee at {text.number(curve.knee)}/s" if curve.knee else ""
        over = [load.offered for load in curve.loads if load.saturated]
        beyond = f", saturated at {text.number(min(over))}/s" if over else ""
        return f"{curve.name}: {panels.high} {' and '.join(ends_)}{knee}{beyond}"

    return f"{'; '.join(one(curve) for curve in shown)}."
