"""Broker against broker-less: what an intermediary costs, what it buys, and what having none leaves to the application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.analysis import absence, ladder
from bench.analysis.compare import ALPHA
from bench.analysis.ladder import Pair, Step
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.analysis.summary import PointSummary, VariantPoint
from bench.capacity.result import FILE as CAPACITY
from bench.capacity.result import bound, rate
from bench.report import background, brokerless, ladder_buys, text
from bench.report.charts import ladder as stairs
from bench.report.collection import Collection, variants
from bench.report.figures import name
from bench.report.ladder_words import COSTS, cell, changed, heading, noisy, sentence
from bench.report.svg import Chart
from bench.report.table import Builder, Cell, Table
from bench.report.view import View
from bench.store import Run

Json = Mapping[str, Any]


def section(collection: Collection, points: Sequence[PointSummary]) -> View | None:
    """The section of a page; None where no run has a ladder, and no variant is without an intermediary.

    ``points``: those of all of the collection's runs. A ladder is its run's own: steps of two were not measured round by round.
    """
    tables: list[Table | None] = []
    charts: list[Chart | None] = []
    sentences: list[str] = []
    capacities = _capacities(collection)
    for run in collection.runs:
        own = collection.points(run)
        walked: list[Step] = []
        for point in own:
            steps, where = ladder.of(run, point), _where(collection, run, point)
            walked += steps
            sentences += [f"{where}: {told}" for one in steps if (told := sentence(one, point, steps))]
            tables += [_costs(where, point, steps, capacities), ladder_buys.table(collection, where, steps)]
            charts.append(stairs.draw(point, steps, f"ladder-{len(charts) + 1}"))
        tables += [_pairs(_where(collection, run, point), pairs) for point, pairs in ladder.pairs(own, walked)]
    results = background.variants(points)
    content = {
        "sentences": sentences,
        "tables": [table for table in tables if table],
        "left": brokerless.table(results),
        "passing": brokerless.passing(results),
    }
    if not content["tables"] and not content["left"]:
        return None
    return View("ladder", "Broker against broker-less", content, tuple(chart for chart in charts if chart))


def said(run: Run, points: Sequence[PointSummary]) -> list[str]:
    """What the command line prints of a run's ladder: a line a step; [] where it has none. ``points``: its summary."""
    walked = [(point, ladder.of(run, point)) for point in points]
    lines = [(text.point_name(point.point), sentence(one, point, steps)) for point, steps in walked for one in steps]
    return [f"{at}: {told}" for at, told in lines if told]


def _where(collection: Collection, run: Run, point: PointSummary) -> str:
    label = collection.label(run)
    return f"{run.run.get('scenario')}{f' ({label})' if label else ''}, {text.point_name(point.point)}"


# ---- what steps cost


def _costs(where: str, point: PointSummary, steps: Sequence[Step], capacities: Sequence[Json]) -> Table | None:
    capable = any(one.result and _capacity(one.result, capacities) for one in steps)
    builder = Builder(
        f"What each step costs: {where}",
        (
            ("Step", False),
            ("System (client)", False),
            ("What changed", False),
            *((f"{word} ÷", True) for _, word in COSTS),
            ("CPU µs/msg: producers + intermediary + consumers", True),
            *([("Highest rate ÷", True)] if capable else []),
        ),
        note=_note(steps, point),
    )
    rows: list[tuple[str | Cell, ...]] = []
    for one in steps:
        if one.result is None:
            rows.append((heading(one), Cell("not in this run", "quiet"), *[""] * (len(builder.head) - 2)))
            continue
        cells: list[str | Cell] = [heading(one), _system(one.result), changed(one)]
        cells += [*(_ratio(one, key) for key, _ in COSTS), _shares(one.result)]
        cells += [_capacity_ratio(one, capacities)] if capable else []
        rows.append(tuple(cells))
    builder.add("", rows)
    return builder.build()


def _system(result: VariantPoint) -> str | Cell:
    return name(result) if result.rate else Cell(f"{name(result)}: {result.why or result.standing}", "warn")


def _shares(result: VariantPoint) -> str | Cell:
    """Who uses the CPU of a message, in microseconds."""
    return " + ".join(_cpu(result, part) for part in ladder.COSTS[1:]) if result.cost.total else Cell("not measured", "quiet")


def _cpu(result: VariantPoint, part: str) -> str:
    if part == "intermediary" and not result.variant.get("intermediary"):
        return "none"
    spread = getattr(result.cost, part)
    return text.micro(spread.median) if spread else "not measured"


def _ratio(one: Step, key: str) -> Cell | str:
    return "" if one.base is None or one.result is None else cell(one.ratios.get(key), (one.base, one.result), key)


def _note(steps: Sequence[Step], point: PointSummary) -> str:
    ratios = [found for one in steps for found in one.ratios.values()]
    rounds = min((found.rounds for found in ratios), default=0)
    how = (
        f"Hodges-Lehmann over {rounds} paired rounds, {1 - ALPHA:.0%} interval in brackets, each on its own"
        if ratios and all(found.exact for found in ratios)
        else f"median over {text.many(rounds, 'paired round')}, range in brackets; an interval needs {ROUNDS_MIN}"
    )
    said = [f"÷: this step's figure divided by that of the step it stands against, of the same round ({how})."]
    if noisy(point):
        said.append("The A/A lane is not silent: what the ratios show may be noise.")
    said.append("What changes is found from the capabilities and effective settings of both, not from the scenario's claim.")
    return " ".join(said)


# ---- capacity


def _capacities(collection: Collection) -> list[Json]:
    """Every search that found a rate, with its variant as a trial has it ("described") and its run."""
    found: list[Json] = []
    for run in collection.capacities:
        described = variants(run)
        for search in run.data(CAPACITY).get("searches") or ():
            answer = search.get("answer") or {}
            if answer.get("rate_per_s") and answer.get("kind") in ("found", "at-least") and search.get("variant") in described:
                found.append({**search, "described": described[search["variant"]], "run": run.run.get("id")})
    return found


def _capacity(result: VariantPoint, capacities: Sequence[Json]) -> Json | None:
    """The first search of this variant."""
    return next((one for one in capacities if absence.same(result.variant, one["described"])), None)


def _capacity_ratio(one: Step, capacities: Sequence[Json]) -> str | Cell:
    """Of two searches of one run, alike in all but the variant; with the widest ends that their intervals allow."""
    if one.base is None or one.result is None:
        return ""
    head = _capacity(one.result, capacities)
    alike = [other for other in capacities if head and all(other.get(key) == head.get(key) for key in ("run", "point", "producers"))]
    base = _capacity(one.base, alike)
    if head is None or base is None:
        return Cell("not measured", "quiet")
    ours, theirs = head["answer"], base["answer"]
    low = high = None
    if all(side.get(end) for side in (ours, theirs) for end in ("low_per_s", "high_per_s")):
        low, high = ours["low_per_s"] / theirs["high_per_s"], ours["high_per_s"] / theirs["low_per_s"]
    return f"{text.ratio(ours['rate_per_s'] / theirs['rate_per_s'], low, high)},\n{bound(head)}{rate(ours['rate_per_s'])}/s"


# ---- pairs that are no step


def _pairs(where: str, pairs: Sequence[Pair]) -> Table | None:
    builder = Builder(
        f"With a broker and without, no step of a ladder: {where}",
        (
            ("Without", False),
            ("With", False),
            ("Differ", True),
            ("What differs at once", False),
            *((f"{word} ÷", True) for _, word in COSTS),
        ),
        note="÷: the one with an intermediary divided by the one without, of the same round. Where several things differ, no ratio "
        "is what a broker costs: a ladder changes one at a time. Emulators, which say nothing of their service, are left out.",
    )
    builder.add("", [_pair(one) for one in pairs])
    return builder.build()


def _pair(one: Pair) -> tuple[str | Cell, ...]:
    told = text.listed(found.aspect for found in one.differences)
    ratios = [cell(one.ratios.get(key), (one.direct, one.through), key) for key, _ in COSTS]
    return (name(one.direct), name(one.through), str(len(one.differences)), told, *ratios)
