"""Writes the report of a collection of runs: the page, the Markdown, the charts. Nothing is read but the results folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.analysis.summary import PointSummary, RunLike, VariantPoint
from bench.errors import EnvironmentProblem
from bench.report import background, billing, capacity, choose, data, figures, guarantees, hgrm, joining, ladder, method, points, svg, text
from bench.report.collection import Collection
from bench.report.gallery import Shown
from bench.report.headline import Answer, Faults, answer, place
from bench.report.markup import environment
from bench.report.view import View
from bench.store import Run

EXPLAINED = "Machine, placement or servers of these runs differ, so figures of one do not compare with those of another: "


@dataclass(frozen=True)
class ReportFiles:
    """What was written."""

    html: Path
    markdown: Path
    charts: tuple[Path, ...]
    summary: Path


@dataclass(frozen=True)
class _Part:
    """One run of kind "run" with its points."""

    run: Run
    scenario: str
    label: str  # tells it from other runs of the scenario; "" where there is none
    points: tuple[PointSummary, ...]

    def named(self, *, scenario: bool) -> list[PointSummary]:
        """Its points with what tells them from those of other runs in their name, and so in every caption and title."""
        tag = ", ".join(word for word in (self.scenario if scenario else "", self.label) if word)
        return [replace(point, point={**point.point, text.RUN: tag}) if tag else point for point in self.points]


def write(collection: Collection, folder: Path) -> ReportFiles:
    """Write report.html, report.md, summary.csv and charts/ into ``folder``.

    The Markdown of capacity runs alone is capacity.md, that of runs of faults guarantees.md, with guarantees.csv: a row a cell.

    Raises:
        UsageError: a file of a run cannot be read.
        EnvironmentProblem: ``folder`` cannot be written.
    """
    page = view(collection)
    drawn = [chart for view in page["views"] for chart in view.drawn]
    html, markdown = folder / "report.html", folder / _markdown_name(collection)
    try:
        (folder / "charts").mkdir(parents=True, exist_ok=True)
        html.write_text(environment(autoescape=True).get_template("report.html.j2").render(page), encoding="utf-8")
        markdown.write_text(environment(autoescape=False).get_template("report.md.j2").render(page), encoding="utf-8")
        paths = [svg.write(chart, folder / "charts") for chart in drawn]
        for run in collection.runs:
            latency = folder / "charts" / "latency" / (str(run.run["id"]) if len(collection.runs) > 1 else "")
            latency.mkdir(parents=True, exist_ok=True)
            for name, distribution in hgrm.texts(run):
                (latency / name).write_text(distribution, encoding="utf-8")
        summary = _summaries(collection, folder)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: the report cannot be written ({error.strerror}); choose another folder") from error
    return ReportFiles(html, markdown, tuple(paths), summary)


def _markdown_name(collection: Collection) -> str:
    if collection.runs or (collection.capacities and collection.guarantees):
        return "report.md"
    return "capacity.md" if collection.capacities else "guarantees.md"


def _summaries(collection: Collection, folder: Path) -> Path:
    """summary.csv of speed and capacity runs, guarantees.csv of those of faults; several of a kind have their id before each row."""
    written = []
    timed = (*collection.runs, *collection.capacities)
    if timed:
        written.append(folder / "summary.csv")
        frames = [data.summary(run.trials) for run in timed]
        if len(timed) > 1:
            frames = [frame.assign(run=run.run["id"]).set_index("run").reset_index() for run, frame in zip(timed, frames, strict=True)]
        (frames[0] if len(timed) == 1 else pd.concat(frames, ignore_index=True)).to_csv(written[-1], index=False)
    if collection.guarantees:
        written.append(folder / "guarantees.csv")
        written[-1].write_text(guarantees.table_of(collection.guarantees), encoding="utf-8", newline="")
    return written[0]


def view(collection: Collection) -> dict[str, Any]:
    """All that the templates print: text, tables and charts, no logic left."""
    parts = [
        _Part(run, str(run.run.get("scenario") or "scenario"), collection.label(run), collection.points(run)) for run in collection.runs
    ]
    faults = collection.faults
    several = len({part.scenario for part in parts}) > 1
    spots = [(part.run, point) for part in parts for point in part.named(scenario=several)]
    named = [Shown(str(number), run, point) for number, (run, point) in enumerate(spots, 1)]
    every = [point for part in parts for point in part.points]
    known = [(run, _points_of(run, collection)) for run in collection.all]
    where = _place(collection, [result for _, points_ in known for point in points_ for result in point.results])
    answers = [answer(part.scenario, point, faults) for part in parts for point in part.named(scenario=False)]
    views = _views(collection, parts, named, where)
    behind = [(run, background.behind(run, points_)) for run, points_ in known]
    views += _last(collection, [one.point for one in named], behind)
    return {
        "title": _title(collection),
        "place": where,
        "answers": [*answers, *_plain_answers(collection)],
        "warnings": _warnings(collection),
        "tables": [made for one in named if (made := figures.ranking(one.point, faults))],
        "notes": _notes(collection, every, faults),
        "not_run": list(dict.fromkeys(table for _, one in behind if (table := one["not_run"]))),
        "views": views,
        "commands": list(dict.fromkeys(str(one["command"]) for _, one in behind)),
        "files": _names(collection, views),
    }


def _views(collection: Collection, parts: Sequence[_Part], named: Sequence[Shown], where: str) -> list[View]:
    """The sections before what stands behind them, in the page's order; one that is None leaves no trace."""
    every = [point for part in parts for point in part.points]
    colours = {result.id: index for index, result in enumerate(background.variants(every))}
    made: list[View | None] = [points.drawn(named, colours, where)]
    made += [ladder.section(collection, every), choose.section(collection)]
    made += [guarantees.section(run, number, collection.label(run)) for number, run in enumerate(collection.guarantees)]
    made += [points.disturbed(named), points.led(named)]
    made += [capacity.section(run, number, collection.label(run)) for number, run in enumerate(collection.capacities)]
    made.append(points.explained(named, colours))
    made += points.behind(named, colours)
    made.append(billing.view(named))
    return [one for one in made if one]


def _last(collection: Collection, shown: Sequence[PointSummary], behind: Sequence[tuple[Run, Mapping[str, Any]]]) -> list[View]:
    objectives = tuple(dict.fromkeys(str(capacity.read(run)["objective"]["text"]) for run in collection.capacities))
    found = [background.promised([one["promises"] for _, one in behind])]
    if collection.runs:
        found.append(background.found(figures.findings(shown)))
    found.append(View("method", "How it was measured", blocks=tuple(method.paragraphs(collection, objectives))))
    found.append(background.settled(behind))
    return [one for one in found if one]


def _points_of(run: Run, collection: Collection) -> Sequence[PointSummary]:
    return guarantees.points(run) if run.run["kind"] == "guarantees" else collection.points(run)


def _notes(collection: Collection, every: Sequence[PointSummary], faults: Faults) -> list[str]:
    """How to read the rankings: what is true of several points is said once."""
    notes = [figures.ranking_note(point, faults) for point in every]
    return [note for note in dict.fromkeys((*notes, background.states(every), *_not_joined(collection))) if note]


def _not_joined(collection: Collection) -> list[str]:
    """Why faults of the same system and mode say nothing here: another version is another variant."""
    if not collection.guarantees:
        return []
    every = [result for run in collection.runs for result in background.variants(collection.points(run))]  # an id is unique in a run
    said = [words for result in every for words in joining.not_joined(collection, result.variant, result.server)]
    return [f"Faults of another version are not joined: {text.listed(dict.fromkeys(said))}."] if said else []


def _plain_answers(collection: Collection) -> list[Answer]:
    """The answers of capacity runs, one a search, and of runs of faults, one a run; what surprised stands before it."""
    answers = [
        Answer(collection.label(run), words.removesuffix("."), (), ()) for run in collection.capacities for words in capacity.sentences(run)
    ]
    for run in collection.guarantees:
        said = guarantees.sentences(guarantees.read(run)["cells"])
        odd = tuple(words for words in said if words.startswith(guarantees.SURPRISE))
        told = "; ".join(f"{words[0].lower()}{words[1:]}".removesuffix(".") for words in said if words not in odd)
        answers.append(Answer(text.tagged("Delivery under faults", collection.label(run)), told, odd, ()))
    return answers


def _title(collection: Collection) -> str:
    return " \u00b7 ".join(dict.fromkeys(_called(run) for run in collection.all))


def _called(run: Run) -> str:
    """A run by what it is about."""
    if run.run["kind"] == "guarantees":
        return "Delivery guarantees under faults"
    return f"{run.run.get('scenario') or 'scenario'}{': capacity' if run.run['kind'] == 'capacity' else ''}"


def _place(collection: Collection, results: Sequence[VariantPoint]) -> str:
    """Where: the machine, where all runs name the same one, and how the parts met."""
    machines = {background.machine(run) for run in collection.all}
    machine = f"{machines.pop()}, " if len(machines) == 1 and all(machines) else ""
    return f"Measured on {machine}{place(results)}."


def _warnings(collection: Collection) -> list[str]:
    said = [EXPLAINED + "; ".join(collection.differences) + "."] if collection.differences else []
    for run in collection.all:
        own = {"run": _speed_warnings, "capacity": capacity.warnings, "guarantees": guarantees.warnings}[str(run.run["kind"])](run)
        whose = f"{text.tagged(_called(run), collection.label(run))}: " if len(collection.all) > 1 else ""
        said += [f"{whose}{words}" for words in (*own, *billing.over_quota(run))]
    return [*said, *collection.missing]


def _speed_warnings(run: RunLike) -> list[str]:
    said = background.unfinished(run)
    planned = {entry.get("trial") for entry in run.plan}
    missing = len(planned - {t.get("trial") for t in run.trials})
    if missing:
        said.append(f"{missing} of {len(planned)} planned trials are not in the folder.")
    if not run.trials:
        said.append("No trial was measured.")
    return said


def _names(collection: Collection, views: Sequence[View]) -> list[str]:
    names = ["report.html"] + ["summary.csv"] * bool(collection.runs or collection.capacities)
    names += ["guarantees.csv"] * bool(collection.guarantees)
    return [*names, *(["charts/"] if any(view.drawn for view in views) else [])]
