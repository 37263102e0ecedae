"""Writes the report of one run: the page, the Markdown, the charts. Nothing is read but the results folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.summary import PointSummary, RunLike, VariantPoint, summarise
from bench.errors import EnvironmentProblem
from bench.report import background, data, figures, hgrm, phases, svg, text
from bench.report.charts import cost, forest, percentiles, rates
from bench.report.collection import Collection
from bench.report.headline import answer, place
from bench.report.markup import environment
from bench.report.svg import Chart
from bench.report.table import Table


@dataclass(frozen=True)
class ReportFiles:
    """What was written."""

    html: Path
    markdown: Path
    charts: tuple[Path, ...]
    summary: Path


@dataclass(frozen=True)
class Part:
    """The tables and charts of a point's systems, or of its emulators."""

    ranking: Table | None
    phases: Table | None
    latency: Table | None
    publish: Table | None
    audit: Table | None
    cost: Table | None
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class PointView:
    """One point: what it says of systems, and apart from it, what it says of emulators."""

    name: str
    real: Part
    emulated: Part | None


def write(collection: Collection, folder: Path) -> ReportFiles:
    """Write report.html, report.md, summary.csv, charts/*.svg and charts/latency/*.hgrm into ``folder``.

    Raises:
        UsageError: a file of a run cannot be read.
        EnvironmentProblem: ``folder`` cannot be written.
    """
    run = collection.runs[0]
    page = view(run, collection.missing)
    charts = [*page["sweeps"], *page["emulated_sweeps"]]
    charts += [chart for point in page["points"] for part in (point.real, point.emulated) if part for chart in part.charts]
    try:
        (folder / "charts").mkdir(parents=True, exist_ok=True)
        html, markdown = folder / "report.html", folder / "report.md"
        html.write_text(environment(autoescape=True).get_template("report.html.j2").render(page), encoding="utf-8")
        markdown.write_text(environment(autoescape=False).get_template("report.md.j2").render(page), encoding="utf-8")
        paths = [svg.write(chart, folder / "charts") for chart in charts]
        latency = folder / "charts" / "latency"
        latency.mkdir(exist_ok=True)
        for name, distribution in hgrm.texts(run):
            (latency / name).write_text(distribution, encoding="utf-8")
        summary = folder / "summary.csv"
        data.summary(run.trials).to_csv(summary, index=False)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: the report cannot be written ({error.strerror}); choose another folder") from error
    return ReportFiles(html, markdown, tuple(paths), summary)


def view(run: RunLike, missing: Sequence[str] = ()) -> dict[str, Any]:
    """All that the templates print: text, tables and charts, no logic left."""
    points = summarise(run)
    scenario = str(run.run.get("scenario") or "scenario")
    colours = {result.id: index for index, result in enumerate(background.variants(points))}
    results = [r for p in points for r in p.results]
    shown = [_point(p, number, colours) for number, p in enumerate(points, 1)]
    return {
        "title": scenario,
        "place": place(results),
        "answers": [answer(scenario, p) for p in points],
        "warnings": [*_warnings(run), *missing],
        "facts": _facts(run),
        "points": shown,
        "sweeps": _sweeps(points, colours, "rates"),
        "emulated_sweeps": _sweeps(points, colours, "rates-emulated"),
        "states": background.states(points),
        "disturbed": any(part.phases for point in shown for part in (point.real, point.emulated) if part),
        "findings": figures.findings(points),
        **background.behind(run, points),
        "brokerless": background.brokerless(points),
        "execution": background.execution(run),
        "scenario_text": run.scenario_text,
    }


def _point(point: PointSummary, number: int, colours: dict[str, int]) -> PointView:
    real = [r for r in point.results if not r.emulator]
    emulated = _part(point, point.emulators, f"emulated-{number}", colours, figures.emulators(point)) if point.emulators else None
    return PointView(text.point_name(point.point), _part(point, real, str(number), colours, figures.ranking(point)), emulated)


def _sweeps(points: Sequence[PointSummary], colours: dict[str, int], name: str) -> list[Chart]:
    """What runs over several rates, a chart for each: of the systems, or of the emulators."""
    drawn = [
        rates.draw(sweep, f"{name}-{number}", colours, emulated=name != "rates") for number, sweep in enumerate(rates.sweeps(points), 1)
    ]
    return [chart for chart in drawn if chart]


def _part(point: PointSummary, results: Sequence[VariantPoint], name: str, colours: dict[str, int], ranking: Table | None) -> Part:
    measured = [r for r in results if r.rate]
    charts = (
        None if any(r.emulator for r in measured) else forest.draw(point, measured, f"forest-{name}", colours),
        percentiles.draw(point, measured, f"percentiles-{name}", colours),
        cost.draw(point, measured, f"cost-{name}", colours),
    )
    return Part(
        ranking=ranking,
        phases=phases.table(point, results),
        latency=figures.latency(point, measured),
        publish=figures.publish(point, measured),
        audit=figures.audit(point, results),
        cost=figures.cost(point, measured),
        charts=tuple(c for c in charts if c),
    )


def _warnings(run: RunLike) -> list[str]:
    said = []
    if run.status != "complete":
        said.append(f"This run's status is {run.status}: what follows is what was measured until then.")
    planned = {entry.get("trial") for entry in run.plan}
    missing = len(planned - {t.get("trial") for t in run.trials})
    if missing:
        said.append(f"{missing} of {len(planned)} planned trials are not in the folder.")
    if not run.trials:
        said.append("No trial was measured.")
    return said


def _facts(run: RunLike) -> list[tuple[str, str]]:
    rounds = {(t.get("point") and str(t["point"]), t.get("series"), t.get("round")) for t in run.trials}
    known = [("run", "id"), ("started", "started"), ("ended", "ended"), ("seed", "seed"), ("brokerbench", "brokerbench")]
    facts = [(name, str(run.run[key])) for name, key in known if run.run.get(key) is not None]
    return [*facts, ("trials", str(len(run.trials))), ("rounds over all points", str(len(rounds)))]
