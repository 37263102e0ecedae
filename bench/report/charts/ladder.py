"""A ladder as stairs: latency and CPU of each step, joined to the step that it stands against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis import ladder
from bench.analysis.compare import ALPHA
from bench.analysis.ladder import Ratio, Step
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.analysis.summary import PointSummary, Spread, VariantPoint
from bench.report import svg, text
from bench.report.charts import scales
from bench.report.headline import place
from bench.report.ladder_words import noisy, quoted
from bench.report.sheet import EDGE, LABEL, SMALL, WIDTH, Sheet, named_height, sheet, width_of, wrapped
from bench.report.svg import DASHES, INK, MARKERS, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

_NAMES = 140.0  # the column of names
_PANEL, _BETWEEN = 148.0, 16.0
_HEAD, _FOOT = 26.0, 22.0  # heads of the panels; ticks
_ROW = 56.0
_APART = 14.0  # of a label from its dot
_MARGIN = 1.1  # a ratio nearer to 1 is not said to cost anything, however sure


@dataclass(frozen=True)
class _Line:
    """One figure over all steps: its values by step, drawn with ``look`` (a number of colour, marker and dash)."""

    key: str  # in a step's ratios
    name: str
    look: int
    value: Callable[[VariantPoint], float | None]
    by_round: str  # bench.analysis.ladder.by_round
    form: Callable[[float], str]
    above: bool  # where its labels stand


_P50 = _Line("p50", "p50", 0, lambda r: e2e.p50_ns if (e2e := r.latency.get("e2e")) else None, "p50", text.duration, above=True)
_P99 = _Line("p99", "p99", 1, lambda r: e2e.p99_ns if (e2e := r.latency.get("e2e")) else None, "p99", text.duration, above=False)
_CPU = _Line("cpu", "CPU", 2, lambda r: r.cost.total.median if r.cost.total else None, "total", lambda v: f"{text.micro(v)} µs", above=True)


def draw(point: PointSummary, steps: Sequence[Step], name: str) -> Chart | None:
    """Two panels for one point, a row a step; None where fewer than two steps were measured."""
    shown = [one for one in steps if one.result is not None and (_P50.value(one.result) or _CPU.value(one.result))]
    if len(shown) < 2:
        return None
    with svg.style():
        paper = sheet(title(point, shown), _caption(shown), _HEAD + _FOOT + _ROW * len(shown))
        _names(paper, shown)
        _panel(paper, shown, (_P50, _P99), _NAMES, "latency, ms")
        _panel(paper, shown, (_CPU,), _NAMES + _PANEL + _BETWEEN, "CPU, µs a message")
        return svg.render(paper, name, _alt(shown), _table(point, shown))


def title(point: PointSummary, shown: Sequence[Step]) -> str:
    """The step whose cost stands out most, of what can be told from its rounds; else why nothing can."""
    at = f"from {quoted(shown[0].claim.step)} to {quoted(shown[-1].claim.step)}, {text.at(point.point)}"
    steps = [one for one in shown if one.base is not None]
    valid = [one for one in steps if not any(r.doubtful for r in (one.base, one.result) if r)]
    if not valid or noisy(point):
        return f"Not to be relied on: latency and CPU {at}"
    if not all(found.exact for one in valid for found in one.ratios.values()):
        return f"Latency and CPU {at}: too few rounds to tell steps apart"
    costs = {one.claim.step: _clear(one) for one in valid}
    found = [one for one in valid if costs[one.claim.step]]
    if not found:
        return f"No step costs more or less than the one that it stands against, as far as can be told: {at}"
    most = max(found, key=lambda one: max(abs(math.log(ratio.ratio)) for ratio in costs[one.claim.step].values()))
    words = [f"{text.number(ratio.ratio)} times the {_called(key)}" for key, ratio in costs[most.claim.step].items()]
    return f"{quoted(most.claim.step)} has {text.listed(words)} of {quoted(most.claim.after)}, {text.at(point.point)}"


def _clear(one: Step) -> dict[str, Ratio]:
    """Ratios of a step whose interval leaves 1 out, and that matter."""
    return {key: r for key, r in one.ratios.items() if r.apart and abs(math.log(r.ratio)) > math.log(_MARGIN)}


def _called(key: str) -> str:
    return "CPU a message" if key == "cpu" else key


def _caption(shown: Sequence[Step]) -> str:
    rounds = max((len(ladder.by_round(one.result, "total")) for one in shown if one.result), default=1)
    counts = [e2e.n for one in shown if one.result and (e2e := one.result.latency.get("e2e"))]
    n = f"n = {text.count(min(counts))} messages a step at least. " if counts else ""
    whisker = f"Dots: all of {rounds} rounds; whisker: range over rounds. " if rounds > 1 else "One round. "
    return (
        f"{whisker}{n}End to end from the intended send time; CPU of all processes. {text.TIMES}: round by round, to the step that it "
        f"stands against, from which a line leads here; {place([one.result for one in shown if one.result])}."
    )


def _names(paper: Sheet, shown: Sequence[Step]) -> None:
    room = _NAMES - EDGE - 8
    for i, one in enumerate(shown):
        assert one.result is not None  # of what is shown
        name, under = wrapped(one.claim.step, room, LABEL, most=2), wrapped(text.system_name(one.result.variant), room, SMALL, most=2)
        paper.named(EDGE, paper.top - _HEAD - (i + 0.5) * _ROW + named_height(name, under) / 2, name, under)


def _panel(paper: Sheet, shown: Sequence[Step], lines: Sequence[_Line], left: float, head: str) -> None:
    axes = paper.axes(left, _FOOT, WIDTH - left - _PANEL, _HEAD)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    known = [v / _unit(line) for line in lines for one in shown if one.result for v in _ends(one.result, line)]
    if lines == (_CPU,):
        axes.set_xlim(0, 1.2 * max(known, default=1.0))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:,g}")
    else:
        scales.logarithmic(axes.xaxis, known, room=1.35, most=4)
    rows = {one.claim.step: i for i, one in enumerate(shown)}
    for line in lines:
        for i, one in enumerate(shown):
            _step(axes, i, one, rows, line)
    for line in lines:
        for i, one in enumerate(shown):
            _label(paper, axes, i, one, line)
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=SMALL)
    axes.grid(axis="x")
    x, y = left, paper.top - _HEAD + 12
    paper.text(x, y, head, SMALL, color=INK, fontweight="bold")
    x += width_of(head, SMALL, bold=True) + 12
    for line in lines if len(lines) > 1 else ():
        paper.line((x, x + 8), (y + 3, y + 3), color=SERIES[line.look], linestyle=DASHES[line.look], linewidth=1.2)
        paper.line((x + 4,), (y + 3,), color=SERIES[line.look], marker=MARKERS[line.look], markersize=5, linestyle="none")
        paper.text(x + 12, y, line.name, SMALL, color=QUIET)
        x += 12 + width_of(line.name, SMALL) + 10


def _unit(line: _Line) -> float:
    """Nanoseconds of a tick's unit."""
    return 1e3 if line is _CPU else 1e6


def _ends(result: VariantPoint, line: _Line) -> list[float]:
    spread = Spread.of(ladder.by_round(result, line.by_round).values())
    return [v for v in (line.value(result), *((spread.low, spread.high) if spread else ())) if v]


def _step(axes: Axes, row: int, one: Step, rows: Mapping[str, int], line: _Line) -> None:
    """The dot of a step, its whisker, and the stair from the step that it stands against: down, then across."""
    assert one.result is not None  # of what is shown
    value = line.value(one.result)
    if not value:
        return
    colour, unit = SERIES[line.look], _unit(line)
    ends = [v / unit for v in _ends(one.result, line)]
    axes.plot([min(ends), max(ends)], [row, row], color=colour, linewidth=1.1, marker="|", markersize=6)
    axes.plot([value / unit], [row], color=colour, marker=MARKERS[line.look], markersize=6.5, linestyle="none", zorder=3)
    before = line.value(one.base) if one.base is not None and one.claim.after in rows else None
    if before:
        xs, ys = [before / unit, before / unit, value / unit], [rows[one.claim.after], row, row]
        axes.plot(xs, ys, color=colour, linewidth=0.9, linestyle=DASHES[line.look], alpha=0.75, zorder=1)


def _label(paper: Sheet, axes: Axes, row: int, one: Step, line: _Line) -> None:
    """Value and ratio, centred on the dot as far as the panel has room; on paper of its own, as lines pass behind it."""
    assert one.result is not None  # of what is shown
    value = line.value(one.result)
    if not value:
        return
    ratio = one.ratios.get(line.key)
    told = line.form(value) + (f" · {text.number(ratio.ratio)}{text.TIMES}" if ratio else "")
    half = width_of(told, SMALL) / 2
    x, y = paper.place(axes, value / _unit(line), row)
    (left, _), (right, _) = (paper.place(axes, end, row) for end in axes.get_xlim())
    x = min(max(x, left + half), right - half)
    y += _APART - 0.35 * SMALL if line.above else -_APART - 0.35 * SMALL
    paper.box(x - half - 1, y - 2, 2 * half + 2, SMALL + 2, facecolor=svg.PAPER, linewidth=0, alpha=0.85)
    paper.text(x - half, y, told, SMALL, color=SERIES[line.look])


def _table(point: PointSummary, shown: Sequence[Step]) -> Table:
    builder = Builder(
        f"The figures of the steps {text.at(point.point)}",
        (
            ("Step", False),
            ("Against", False),
            ("p50", True),
            ("p99", True),
            *((f"CPU µs/msg, {part}", True) for part in ladder.COSTS),
            *((f"{_called(line.key)} ÷{word}", True) for line in (_P50, _P99, _CPU) for word in ("", ", low", ", high")),
        ),
        note="Latency: merged over rounds. CPU: median, range over rounds in brackets. ÷: to the step that it stands against; low and "
        f"high: {1 - ALPHA:.0%} interval from {ROUNDS_MIN} rounds on, else range.",
    )
    builder.add("", [_row(one) for one in shown])
    return builder.whole()


def _row(one: Step) -> tuple[str, ...]:
    assert one.result is not None  # of what is shown
    latencies = [text.duration(line.value(one.result)) for line in (_P50, _P99)]
    costs = [text.ranged(getattr(one.result.cost, part), text.micro) for part in ladder.COSTS]
    if not one.result.variant.get("intermediary"):
        costs[ladder.COSTS.index("intermediary")] = "none"
    found = [one.ratios.get(line.key) for line in (_P50, _P99, _CPU)]
    ratios = [text.number(v) if v is not None else "" for r in found for v in ((r.ratio, r.low, r.high) if r else (None,) * 3)]
    return (one.claim.step, one.claim.after, *latencies, *costs, *ratios)


def _alt(shown: Sequence[Step]) -> str:
    def told(one: Step) -> str:
        assert one.result is not None  # of what is shown
        parts = [f"{line.name} {line.form(value)}" for line in (_P50, _P99, _CPU) if (value := line.value(one.result))]
        against = f", against {quoted(one.claim.after)}" if one.claim.after else ""
        return f"{quoted(one.claim.step)}{against}: {', '.join(parts)}"

    return ". ".join(told(one) for one in shown) + "."
