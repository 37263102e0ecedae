"""CPU and memory of a delivered message, stacked: producers, the intermediary's nodes, consumers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.analysis.summary import PointSummary, Spread, VariantPoint
from bench.report import figures, svg, text
from bench.report.charts import names
from bench.report.headline import place
from bench.report.sheet import EDGE, LABEL, SMALL, WIDTH, Sheet, named_height, sheet, width_of, wrapped
from bench.report.svg import HATCHES, INK, QUIET, SERIES, Chart
from bench.report.table import Builder, Table

_PARTS = ("producers", "intermediary", "consumers")
_NAMES = 138.0  # the column of names
_PANEL, _BETWEEN = 150.0, 14.0
_HEAD, _FOOT = 42.0, 20.0  # legend and heads of the panels; ticks


@dataclass(frozen=True)
class _Row:
    """One variant: the parts of each stack, None where a part is not known, and its ends."""

    result: VariantPoint
    called: str
    name: list[str]
    under: list[str]
    cpu_us: tuple[float | None, ...]
    total_us: Spread | None
    memory_kib: tuple[float | None, ...]
    memory_mib: float | None  # all together

    @property
    def height(self) -> float:
        return named_height(self.name, self.under) + 9


@dataclass(frozen=True)
class _Bar:
    """A stack, the range of its total (of CPU, in ns), what is written behind it."""

    parts: Sequence[float | None]
    total: Spread | None
    told: str


def draw(point: PointSummary, results: Sequence[VariantPoint], name: str, colours: Mapping[str, int]) -> Chart | None:
    """Two panels for one point, a row a variant; None where no CPU was measured. ``colours`` is not needed: they tell parts apart."""
    del colours
    shown = [r for r in results if r.cost.producers or r.cost.consumers or r.cost.intermediary]
    if not shown:
        return None
    called = names.called(shown)
    rows = [_row(r, called[r.id]) for r in shown]
    height = max(row.height for row in rows)
    with svg.style():
        paper = sheet(title(point, shown), _caption(shown), _HEAD + _FOOT + height * len(rows))
        _names(paper, rows, height)
        _legend(paper)
        cpu = [_Bar(row.cpu_us, row.total_us, _cpu_told(row)) for row in rows]
        memory = [_Bar(row.memory_kib, None, _memory_told(row)) for row in rows]
        _panel(paper, cpu, height, _NAMES, "CPU, µs a message")
        _panel(paper, memory, height, _NAMES + _PANEL + _BETWEEN, "memory, KiB a message")
        return svg.render(paper, name, _alt(rows), _table(point, rows))


def _row(result: VariantPoint, name: str) -> _Row:
    cost, room = result.cost, _NAMES - EDGE - 8
    deliveries = cost.deliveries.median if cost.deliveries else 0.0
    nodes = [spread.median if spread else None for spread in cost.nodes_b.values()]
    known = [v for v in nodes if v is not None]
    between = sum(known) if nodes and len(known) == len(nodes) else None
    memory = (_median(cost.producers_b), between, _median(cost.consumers_b))
    complete = not _unknown(result, memory)
    return _Row(
        result,
        name,
        wrapped(name, room, LABEL, most=3) or ["?"],
        wrapped(_between(result), room, SMALL, most=2),
        tuple(spread.median / 1e3 if (spread := getattr(cost, part)) is not None else None for part in _PARTS),
        cost.total,
        tuple(v / deliveries / 1024 if v is not None and deliveries else None for v in memory),
        sum(v for v in memory if v is not None) / 2**20 if complete else None,
    )


def _median(spread: Spread | None) -> float | None:
    return spread.median if spread else None


def _between(result: VariantPoint) -> str:
    """What stands between producer and consumer: said also where nothing does."""
    if not result.variant.get("intermediary"):
        return "no intermediary"
    nodes = list(result.cost.nodes)
    return "server not measured" if not nodes else f"server: {nodes[0]}" if len(nodes) == 1 else f"server: {len(nodes)} nodes"


def _unknown(result: VariantPoint, parts: Sequence[float | None]) -> bool:
    """Whether a part is missing that there is: the intermediary of a system without one is not."""
    return parts[0] is None or parts[2] is None or (parts[1] is None and bool(result.variant.get("intermediary")))


def title(point: PointSummary, shown: Sequence[VariantPoint]) -> str:
    """The cheapest and the dearest message."""
    at = text.at(point.point) + (", on emulators" if all(r.emulator for r in shown) else "")
    called = {key: names.in_title(name) for key, name in names.called(shown).items()}
    prefix, spoken = figures.spoken_of(shown)
    known = sorted(((r.cost.total.median, i, r) for i, r in enumerate(spoken) if r.cost.total), key=lambda one: one[:2])
    if not known:
        return f"{prefix}CPU of a delivered message {at}: not all of it was measured"
    (least, _, cheap), (most, _, dear) = known[0], known[-1]
    told = f"{prefix}A delivered message costs {text.micro(least)} µs of CPU with {called[cheap.id]}"
    return f"{told} {at}" if len(known) == 1 else f"{told}, {text.micro(most)} µs with {called[dear.id]}, {at}"


def _caption(shown: Sequence[VariantPoint]) -> str:
    rounds = max((r.cost.total.rounds for r in shown if r.cost.total), default=1)
    whisker = f"Medians of {rounds} rounds; whisker: range of the total. " if rounds > 1 else "One round. "
    idle = [v for r in shown for v in idle_cores(r)]
    told = f" Idle servers used {text.between(idle, text.number)} cores meanwhile: not counted here." if idle else ""
    counts = [r.cost.deliveries.median for r in shown if r.cost.deliveries]
    n = f"n = {text.between(counts)} deliveries a round. " if counts else ""
    return f"{whisker}{n}CPU within the window; memory resident at its end, for a message delivered in it; {place(shown)}.{told}"


def idle_cores(result: VariantPoint) -> list[float]:
    """What this run's own idle processes used beside it, in cores, by trial; none where it was not measured."""
    known = [(trial.get("machine") or {}).get("idle_servers_cores") for trial in result.trials if trial.get("status") == "ok"]
    return [float(v) for v in known if isinstance(v, int | float)]


def _names(paper: Sheet, rows: Sequence[_Row], height: float) -> None:
    for i, row in enumerate(rows):
        paper.named(EDGE, paper.top - _HEAD - (i + 0.5) * height + (row.height - 9) / 2, row.name, row.under)


def _legend(paper: Sheet) -> None:
    x, y = _NAMES, paper.top - 12
    for i, part in enumerate(_PARTS):
        paper.box(x, y - 1, 14, 9, facecolor=SERIES[i], hatch=HATCHES[i], linewidth=0)
        paper.text(x + 19, y, part, SMALL, color=QUIET)
        x += 19 + width_of(part, SMALL) + 16


def _panel(paper: Sheet, bars: Sequence[_Bar], height: float, left: float, head: str) -> None:
    axes = paper.axes(left, _FOOT, WIDTH - left - _PANEL, _HEAD)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    ends = [_stack(axes, i, bar, height) for i, bar in enumerate(bars)]
    # As long as leaves room for what is written behind it.
    words = [width_of(bar.told, LABEL) + 9 for bar in bars]
    reach = max(end * _PANEL / max(_PANEL - room, 1) for end, room in zip(ends, words, strict=True))
    axes.set_xlim(0, reach or 1.0)
    for i, (bar, end) in enumerate(zip(bars, ends, strict=True)):
        axes.annotate(bar.told, (end, i), xytext=(5, 0), textcoords="offset points", va="center", color=INK, fontsize=LABEL)
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    # None near the right edge: its label would lie on the next panel's first.
    axes.set_xticks([v for v in MaxNLocator(3).tick_values(0, reach or 1.0) if 0 <= v <= 0.85 * (reach or 1.0)])
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:,g}")
    axes.tick_params(axis="x", length=0, labelsize=SMALL)
    axes.grid(axis="x")
    paper.text(left, paper.top - _HEAD + 6, head, SMALL, color=INK, fontweight="bold")


def _stack(axes: Axes, place: int, bar: _Bar, height: float) -> float:
    """One row's bar; returns where it ends, whisker and all."""
    left = 0.0
    for i, part in enumerate(bar.parts):
        if part:
            axes.barh(place, part, left=left, height=20 / height, color=SERIES[i], hatch=HATCHES[i], linewidth=0)
            left += part
    if bar.total is None or bar.total.rounds < 2:
        return left
    axes.plot([bar.total.low / 1e3, bar.total.high / 1e3], [place, place], color=INK, linewidth=1.1, marker="|", markersize=6)
    return max(left, bar.total.high / 1e3)


def _cpu_told(row: _Row) -> str:
    return text.micro(row.total_us.median) if row.total_us else "incomplete"


def _memory_told(row: _Row) -> str:
    if row.memory_mib is None:
        return "incomplete"
    parts = [v for v in row.memory_kib if v is not None]
    return text.number(sum(parts)) if parts else text.NONE


def _table(point: PointSummary, rows: Sequence[_Row]) -> Table:
    head = [("System (client)", False), ("Between", False)]
    head += [(f"CPU µs/msg, {part}", True) for part in (*_PARTS, "total", "total, least", "total, most")]
    head += [(f"Memory KiB/msg, {part}", True) for part in (*_PARTS, "total")]
    head += [("Memory MiB, total", True), ("Deliveries a round", True), ("Idle servers, cores (median)", True)]
    builder = Builder(f"CPU and memory of a delivered message, {text.point_name(point.point)}", tuple(head))
    builder.add("", [_cells(row) for row in rows])
    return builder.whole()


def _cells(row: _Row) -> tuple[str, ...]:
    def told(value: float | None, part: int | None = None) -> str:
        if value is None:
            return "none" if part == 1 and not row.result.variant.get("intermediary") else text.NONE
        return text.number(value)

    total, idle = row.total_us, Spread.of(idle_cores(row.result))
    cpu = [told(v, i) for i, v in enumerate(row.cpu_us)]
    cpu += [text.micro(v) for v in ((total.median, total.low, total.high) if total else (None,) * 3)]
    memory = [told(v, i) for i, v in enumerate(row.memory_kib)]
    memory += [_memory_told(row) if row.memory_mib is not None else text.NONE, told(row.memory_mib)]
    count = row.result.cost.deliveries
    return (
        figures.name(row.result), _between(row.result), *cpu, *memory, text.count(_median(count)),
        told(_median(idle)),
    )  # fmt: skip


def _alt(rows: Sequence[_Row]) -> str:
    def one(row: _Row) -> str:
        parts = [f"{part} {text.number(v)}" for part, v in zip(_PARTS, row.cpu_us, strict=True) if v is not None]
        held = "memory incomplete" if row.memory_mib is None else f"memory {text.number(row.memory_mib)} MiB in all"
        return f"{row.called}, {_between(row.result)}: {', '.join(parts)}, total {_cpu_told(row)}; {held}"

    return f"Microseconds of CPU a message. {'. '.join(one(row) for row in rows)}."
