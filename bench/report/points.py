"""The sections that every point of a run has: latency, audit, cost, phases of faults, emulators; each kind over all points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.analysis.summary import PointSummary, VariantPoint
from bench.report import figures, gallery, leaders, phases, struck
from bench.report.gallery import Shown
from bench.report.table import Table
from bench.report.view import Block, View, charts, section, table

Make = Callable[[PointSummary, Sequence[VariantPoint]], Table | None]
AUDITED = (
    "Judged from the journals of producers and consumers, message by message, for each group; counts are summed over trials. "
    "A verdict says what was seen in n deliveries, not what can never happen."
)
IMITATED = (
    "These servers imitate a cloud service. Their figures show that the workload runs, and what the client costs; they say "
    "nothing about the service's speed, and are never ranked with the rest."
)


def drawn(points: Sequence[Shown], colours: Mapping[str, int], where: str) -> View | None:
    """The first charts."""
    words = f"{where} Curves stop where fewer than ten samples are left beyond. Saturated rounds have no curve."
    return section("charts", "Charts", Block("note", words), charts(gallery.first(points, colours)))


def explained(points: Sequence[Shown], colours: Mapping[str, int]) -> View | None:
    """Further charts."""
    return section("more-charts", "More charts", charts(gallery.more(points, colours)))


def disturbed(points: Sequence[Shown]) -> View | None:
    """What faults of the scenario did over time; None where it has none."""
    shown: list[Block | None] = []
    for make in (struck.table, phases.table):
        shown += _every(points, make, measured=False)
        shown += [table(make(one.point, one.point.emulators), note=False) for one in points]
    return section("phases", "What the faults did over time", *shown, brief=shown)


def led(points: Sequence[Shown]) -> View | None:
    """Who led what in clusters; None where every server has one node, or does not say."""
    shown = _every(points, leaders.table, measured=False)
    return section("leaders", "Which node led what, when", *shown, brief=shown)


def behind(points: Sequence[Shown], colours: Mapping[str, int]) -> list[View | None]:
    """What the answers rest on, a section a subject."""
    return [
        section("latency", "Latency, each kind apart", *_every(points, figures.latency), *_every(points, figures.publish)),
        section("audit", "What was delivered", Block("text", AUDITED), *_every(points, figures.audit, measured=False)),
        section("cost", "CPU and memory", *_every(points, figures.cost)),
        _emulators(points, colours),
    ]


def _every(points: Sequence[Shown], make: Make, *, measured: bool = True) -> list[Block | None]:
    """A table a point, of its real systems; the last says what all their columns mean."""
    made = [made for one in points if (made := make(one.point, one.real if measured else [r for r in one.point.results if not r.emulator]))]
    return [table(one, note=one is made[-1]) for one in made]


def _emulators(points: Sequence[Shown], colours: Mapping[str, int]) -> View | None:
    blocks: list[Block | None] = [Block("text", IMITATED), charts(gallery.emulated_rates(points, colours))]
    ranked: list[Block | None] = []
    for one in points:
        point = one.point
        if not point.emulators:
            continue
        measured = [result for result in point.emulators if result.rate]
        ranked.append(table(figures.emulators(point)))
        blocks += [ranked[-1], charts(gallery.emulated(one, colours))]
        made = (figures.latency(point, measured), figures.publish(point, measured), figures.audit(point, point.emulators))
        blocks += [table(shown, note=False) for shown in (*made, figures.cost(point, measured))]
    return section("emulators", "Emulators", *blocks, brief=(Block("text", IMITATED), *ranked))
