"""Forest plot: each variant's ratio to the best of its promise, with its interval; what is too close to call looks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from bench.analysis.compare import ALPHA
from bench.analysis.summary import RANKED_BY, Board, Place, PointSummary, VariantPoint
from bench.report import compared, figures, svg, text
from bench.report.charts import names, scales
from bench.report.headline import STANDING, figure, place
from bench.report.sheet import EDGE, LABEL, SMALL, SPACED, WIDTH, Sheet, sheet, wrapped
from bench.report.svg import GRID, INK, MARKERS, PAPER, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

_NAMES, _TOLD = 138.0, 146.0  # the columns left and right of the axes
_FOOT, _HEAD = 36.0, 6.0


@dataclass(frozen=True)
class _Row:
    """One line of the chart; ``top``: how far below the top of the axes, in points. A head of a group has no place."""

    top: float
    height: float
    lines: tuple[tuple[str, float], ...]  # on the left, with their size
    told: tuple[tuple[str, float], ...] = ()  # on the right
    place: Place | None = None
    best: bool = False


def draw(point: PointSummary, results: Sequence[VariantPoint], name: str, colours: Mapping[str, int]) -> Chart | None:
    """A row a ranked variant, in groups by promise; None where no group has two. ``results`` not ranked are named below."""
    if not any(len(board.places) > 1 for board in point.boards):
        return None
    rows = _rows(point)
    height = rows[-1].top + rows[-1].height
    with svg.style():
        paper = sheet(title(point), _caption(point, results), _HEAD + height + _FOOT)
        axes = paper.axes(_NAMES, _FOOT, _TOLD, _HEAD)
        axes.set_ylim(height, 0)
        scales.logarithmic(axes.xaxis, _reach(point), room=1.12)
        _ground(axes, point, rows)
        for row in rows:
            _row(paper, axes, row, svg.colour(colours, row.place.result.id) if row.place else 0)
        return svg.render(paper, name, _alt(point), _table(point))


def title(point: PointSummary) -> str:
    """Who leads within each promise and by how much the others are behind, or that it is too close to call."""
    at = text.at(point.point)
    boards = [board for board in point.boards if len(board.places) > 1]
    if point.findings:
        return f"{at[0].upper()}{at[1:]}, nothing is told apart: {point.findings[0].evidence or point.findings[0].code}"
    called = {key: names.in_title(name) for key, name in names.called(point.results).items()}
    told = [_led(board, point.by, called) for board in boards]
    if len(point.boards) > 1:
        told = [f"{text.promise(board.delivery)}: {words}" for board, words in zip(boards, told, strict=True)]
    words = ". ".join(f"{one[0].upper()}{one[1:]}" if i else one for i, one in enumerate(told))
    return f"{at[0].upper()}{at[1:]}, {words}"


def _led(board: Board, by: str, called: Mapping[str, str]) -> str:
    what = "delivery rate" if by == "rate" else "p99"
    best, close = called[board.places[0].result.id], [p for p in board.places[1:] if p.close]
    behind = [p for p in board.places[1:] if not p.close]
    head = f"{best} has the {'highest' if by == 'rate' else 'lowest'} {what}"
    if close:
        names = [best, *(called[p.result.id] for p in close)]
        head = (
            f"{text.listed(names)} are too close to call in {what}" if len(names) < 4 else f"{len(names)} are too close to call in {what}"
        )
    ratios = [(ratio, p) for p in behind if (ratio := _ratio(p)) is not None]
    if not ratios:
        return head
    if len(ratios) == 1:
        return f"{head}; that of {called[ratios[0][1].result.id]} is {text.number(ratios[0][0])} times as high"
    low, high = min(r for r, _ in ratios), max(r for r, _ in ratios)
    which = f"{len(ratios)} behind" if close else f"other {len(ratios)}"
    return f"{head}; those of the {which} are {text.number(low)} to {text.number(high)} times as high"


def _ratio(one: Place) -> float | None:
    if one.comparison is not None:
        return one.comparison.effect.ratio
    return one.ratio.median if one.ratio else None


def _ends(one: Place) -> tuple[float | None, float | None]:
    """Of the 95% interval; of the range over rounds where there is none."""
    if one.comparison is not None:
        return one.comparison.effect.low, one.comparison.effect.high
    return (one.ratio.low, one.ratio.high) if one.ratio and one.ratio.rounds > 1 else (None, None)


def _rows(point: PointSummary) -> list[_Row]:
    called = names.called(point.results)
    rows: list[_Row] = []
    top = 0.0
    for board in point.boards:
        unequal = "" if board.same_acknowledgement else "; acknowledgements are unequal"
        heads = wrapped(f"Promise: {text.promise(board.delivery)}{unequal}", WIDTH - 2 * EDGE, SMALL, bold=True, most=2)
        rows.append(_Row(top, len(heads) * SMALL * SPACED + 8, tuple((line, SMALL) for line in heads)))
        top += rows[-1].height
        for one in board.places:
            lines = [(line, LABEL) for line in wrapped(called[one.result.id], _NAMES - EDGE - 8, LABEL, most=3) or ["?"]]
            what = "" if point.by == "rate" else "p99 "
            lines += [(line, SMALL) for line in wrapped(f"{what}{figure(one.result, point.by)}", _NAMES - EDGE - 8, SMALL, most=1)]
            told = _told(one, alone=len(board.places) == 1, best=one is board.places[0])
            height = max(sum(size for _, size in lines), sum(size for _, size in told)) * SPACED + 9
            rows.append(_Row(top, height, tuple(lines), told, one, one is board.places[0] and len(board.places) > 1))
            top += height
    return rows


def _told(one: Place, *, alone: bool, best: bool) -> tuple[tuple[str, float], ...]:
    parts = ["alone: nothing to compare with"] if alone else ["the best"] if best else compared.cell(one).split(",\n")
    if not alone and not best and one.comparison is None and one.ratio and one.ratio.rounds > 1:
        parts.append(f"range of {one.ratio.rounds} rounds")
    first, *rest = parts
    lines = [(line, LABEL if not alone else SMALL) for line in wrapped(first, _TOLD - 8 - EDGE, LABEL, most=2)]
    return (*lines, *((line, SMALL) for part in rest for line in wrapped(part, _TOLD - 8 - EDGE, SMALL, most=2)))


def _reach(point: PointSummary) -> list[float]:
    margin = 1 + RANKED_BY[point.by].margin
    known = [v for board in point.boards for one in board.places for v in (_ratio(one), *_ends(one)) if v is not None]
    return [margin**2, 1 / margin**2, *known]


def _ground(axes: Axes, point: PointSummary, rows: Sequence[_Row]) -> None:
    """Within each group, not behind its head: the line at 1, the margin, the grid."""
    margin = 1 + RANKED_BY[point.by].margin
    heads = [i for i, row in enumerate(rows) if row.place is None]
    for first, following in pairwise([*heads, len(rows)]):
        top, bottom = rows[first + 1].top, rows[following - 1].top + rows[following - 1].height
        axes.fill_betweenx([top, bottom], 1 / margin, margin, color=GRID, alpha=0.45, linewidth=0, zorder=0)
        axes.vlines(axes.get_xticks(), top, bottom, colors=GRID, linewidth=0.6, zorder=0.5)
        axes.vlines([1], top, bottom, colors=INK, linewidth=0.9, zorder=1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    what = "rate ÷ best (left: slower)" if point.by == "rate" else "p99 ÷ best (right: slower)"
    axes.set_xlabel(what, fontsize=LABEL)


def _row(paper: Sheet, axes: Axes, row: _Row, colour: int) -> None:
    top = paper.top - _HEAD - row.top
    if row.place is None:
        _column(paper, EDGE, top - 5, row.lines, bold=True)
        return
    _column(paper, EDGE, top - (row.height - sum(size for _, size in row.lines) * SPACED) / 2, row.lines)
    _column(paper, WIDTH - _TOLD + 10, top - (row.height - sum(size for _, size in row.told) * SPACED) / 2, row.told)
    ratio, (low, high) = _ratio(row.place), _ends(row.place)
    y, shade = row.top + row.height / 2, SERIES[colour]
    if low is not None and high is not None and high > 0:
        certain = row.place.comparison is not None
        axes.plot(
            [max(low, axes.get_xlim()[0]), high], [y, y], color=shade, linewidth=2.0, linestyle="-" if certain else (0, (1.5, 1.5)),
            marker="|" if certain else None, markersize=9, zorder=3,
        )  # fmt: skip
    at = 1.0 if row.best else ratio
    if at is not None and at > 0:
        axes.plot(
            [at], [y], marker=MARKERS[colour], markersize=8, markeredgecolor=shade, markeredgewidth=1.6, zorder=4,
            markerfacecolor=PAPER if row.place.close else shade, linestyle="none",
        )  # fmt: skip


def _column(paper: Sheet, x: float, top: float, lines: Sequence[tuple[str, float]], *, bold: bool = False) -> None:
    for line, size in lines:
        weight = "bold" if bold else "normal"
        paper.text(x, top - 0.82 * size * SPACED, line, size, color=INK if size > SMALL or bold else QUIET, fontweight=weight)
        top -= size * SPACED


def _caption(point: PointSummary, results: Sequence[VariantPoint]) -> str:
    margin = RANKED_BY[point.by].margin
    rounds = max((one.result.rate.rounds for board in point.boards for one in board.places if one.result.rate), default=1)
    if point.family:
        bars = f"Bars: {1 - ALPHA:.0%} intervals over {rounds} paired rounds."
    elif rounds > 1:
        bars = f"Dotted bars: ranges over {rounds} rounds, too few for an interval."
    else:
        bars = "One round: no range, so nothing is told apart."
    shaded = f"Hollow: too close to call. Shaded: within {margin:.0%} of the best, which is no difference."
    called = names.called(point.results)
    out = [f"{called.get(r.id, r.id)} ({STANDING[r.standing]})" for r in results if r.standing in STANDING and r.standing != "reference"]
    left = f" Not ranked: {text.listed(out)}." if out else ""
    floor = compared.noise_floor(point)
    return f"{bars} {shaded}{left} Measured on {place(results)}.{f' Noise floor: {floor}.' if floor else ''}"


def _table(point: PointSummary) -> Table:
    what = "Rate, /s" if point.by == "rate" else "p99, ms"
    head = (
        ("System (client)", False), (what, True), ("÷ best", True), ("from", True), ("to", True), ("from-to is", False), ("Rounds", True),
        ("Verdict", False),
    )  # fmt: skip
    builder = Builder(f"Ratio to the best, {text.point_name(point.point)}", head)
    for board in point.boards:
        builder.add(f"Promise: {text.promise(board.delivery)}", [_cells(one, board, point.by) for one in board.places])
    return builder.whole()


def _cells(one: Place, board: Board, by: str) -> tuple[str, ...]:
    e2e = one.result.latency.get("e2e")
    value = one.result.rate.median if by == "rate" and one.result.rate else e2e.p99_ns / 1e6 if e2e and e2e.p99_ns is not None else None
    low, high = _ends(one)
    kind = text.NONE if low is None else f"{1 - ALPHA:.0%} interval" if one.comparison else "range over rounds"
    rounds = (
        one.comparison.effect.rounds
        if one.comparison
        else one.ratio.rounds
        if one.ratio
        else one.result.rate.rounds
        if one.result.rate
        else 0
    )
    verdict = "alone" if len(board.places) == 1 else "best" if one is board.places[0] else compared.TOO_CLOSE if one.close else "told apart"
    told = [text.NONE if v is None else text.number(v) for v in (value, 1.0 if one is board.places[0] else _ratio(one), low, high)]
    return (figures.name(one.result), *told, kind, str(rounds), verdict)


def _alt(point: PointSummary) -> str:
    called, told = names.called(point.results), []
    for board in point.boards:
        parts = []
        for i, one in enumerate(board.places):
            words = "best" if i == 0 else compared.cell(one).replace("\n", " ")
            parts.append(f"{called[one.result.id]} {figure(one.result, point.by)}, {words}")
        told.append(f"{text.promise(board.delivery)}: {'; '.join(parts)}")
    return f"{'. '.join(told)}."
