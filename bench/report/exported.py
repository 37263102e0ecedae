"""summary.json: all that the first screen and the tables say, for other tools (results/README.md has the format; pure).

The same summaries (bench.analysis.summary) and joins (bench.report.joining) that the page prints, with their units in their names:
nothing is worked out here. The same folders give the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import __version__
from bench.analysis.compare import ALPHA, Comparison
from bench.analysis.phases import PHASES, ratio
from bench.analysis.summary import Board, Percentiles, Place, PointSummary, Spread, VariantPoint
from bench.errors import EnvironmentProblem
from bench.report import capacity, guarantees, headline, text
from bench.report.collection import Collection
from bench.report.joining import not_joined
from bench.store import Run

FORMAT = 1
FILE = "summary.json"

Json = dict[str, Any]


def write(collection: Collection, folder: Path) -> Path:
    """Write summary.json into ``folder``, which exists. Raises EnvironmentProblem where it cannot."""
    path = folder / FILE
    try:
        path.write_text(json.dumps(_finite(document(collection)), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
    return path


def document(collection: Collection) -> Json:
    """The whole file as data."""
    return {
        "format": FORMAT,
        "brokerbench": __version__,
        "runs": [_run(collection, run) for run in collection.all],
        "differences": list(collection.differences),
        "missing": list(collection.missing),
        "points": [_point(collection, run, point) for run in collection.runs for point in collection.points(run)],
        "capacity": [_search(run, one) for run in collection.capacities for one in capacity.read(run)["searches"]],
        "faults": [_cell(run, one) for run in collection.guarantees for one in guarantees.read(run)["cells"]],
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity: an interval without an end, and a ratio that cannot be had, are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _run(collection: Collection, run: Run) -> Json:
    known = {name: run.run.get(name) for name in ("id", "kind", "scenario", "started", "ended", "seed", "brokerbench", "command")}
    placement = run.environment.get("placement") or {}
    return {
        **known,
        "status": run.status,
        "label": collection.label(run),
        "trials": len(run.trials),
        "machine": run.environment.get("machine"),
        "placement": {name: placement.get(name) for name in ("pinned", "usable_cores")},
        "not_run": [dict(row) for row in run.run.get("not_run") or ()],
    }


def _point(collection: Collection, run: Run, point: PointSummary) -> Json:
    said = headline.answer(str(run.run.get("scenario") or "scenario"), point, collection.faults)
    places = {place.result.id: (board, place) for board in point.boards for place in board.places}
    lane = point.lane
    return {
        "run": run.run["id"],
        "scenario": run.run.get("scenario"),
        "point": dict(point.point),
        "name": text.point_name(point.point),
        "place": headline.place(point.results),
        "answer": said.sentence,
        "alarms": list(said.alarms),
        "beside": [{"label": label, "said": words} for label, words in said.lines],
        "ranked_by": point.by,
        "comparisons": point.family,
        "noise_floor": [] if lane is None else [_repeat(one, lane.systems) for one in lane.repeats],
        "findings": [asdict(one) for one in point.findings],
        "results": [_result(collection, result, *places.get(result.id, (None, None))) for result in point.results],
    }


def _repeat(one: Any, systems: Sequence[str]) -> Json:
    known = {"metric": one.metric.name, "rounds": one.rounds, "low": one.low, "high": one.high, "noise": one.noise}
    return {**known, "silent": one.silent, "variants": list(systems), "compared": _compared(one.comparison)}


def _result(collection: Collection, result: VariantPoint, board: Board | None, place: Place | None) -> Json:
    return {
        "variant": _variant(result),
        "standing": result.standing,
        "why": result.why,
        "promise": board.delivery if board else result.delivery,
        "rank": None if place is None else {"first": place.first, "last": place.last, "too_close_to_call": place.close},
        "ratio_to_best": None if place is None else _ratio(place),
        "rate_per_s": _spread(result.rate),
        "rate_is_lower_bound": result.at_least,
        "published_per_s": _spread(result.published),
        "latency_ns": {tag: _percentiles(found, result.absent.get(tag)) for tag, found in result.latency.items()},
        "cpu_ns_per_delivery": {
            **{name: _spread(getattr(result.cost, name)) for name in ("producers", "intermediary", "consumers", "total")},
            "nodes": {name: _spread(one) for name, one in result.cost.nodes.items()},
        },
        "memory_b": {
            "producers": _spread(result.cost.producers_b),
            "consumers": _spread(result.cost.consumers_b),
            "nodes": {name: _spread(one) for name, one in result.cost.nodes_b.items()},
        },
        "audit": [
            {"group": one.group, "verdict": one.verdict, "trials": one.trials, **one.counts, "lost_where": dict(one.lost_where)}
            for one in result.audit
        ],
        "under_faults": [asdict(one) for one in collection.faults(result)],
        "not_joined": list(not_joined(collection, result.variant, result.server)),
        "phases": _phases(result),
        "findings": [asdict(one) for one in result.findings],
        "rounds": _rounds(result),
    }  # fmt: skip


def _variant(result: VariantPoint) -> Json:
    names = ("id", "spec", "system", "title", "client", "client_version", "profile", "architecture", "intermediary", "stores", "confirms")
    mode = result.variant.get("mode") or {}
    server = result.server
    kept = ("kind", "product", "version", "released", "end_of_life", "emulator")
    return {
        **{name: result.variant.get(name) for name in names},
        "name": text.variant_name(result.variant),
        "mode": {name: mode.get(name) for name in ("name", "delivery", "ordering", "persistence", "copies")},
        "server": None if server is None else {name: server.get(name) for name in kept},
    }


def _spread(spread: Spread | None) -> Json | None:
    return None if spread is None else asdict(spread)


def _percentiles(found: Percentiles | None, absent: str | None) -> Json:
    """SUMMARY's names; ``absent`` says why there is none."""
    if found is None:
        return {"n": 0, "absent": absent or "not measured"}
    names = ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns")
    return {"n": found.n, "rounds": found.rounds, **{name.removesuffix("_ns"): getattr(found, name) for name in names}}


def _ratio(place: Place) -> Json | None:
    """With an interval where there were rounds enough for one, else with the range over rounds; None of the best itself."""
    if place.comparison is not None:
        return {"kind": "interval", **(_compared(place.comparison) or {})}
    return None if place.ratio is None else {"kind": "range", "ratio": place.ratio.median, **asdict(place.ratio)}


def _compared(one: Comparison | None) -> Json | None:
    if one is None:
        return None
    effect = one.effect
    known = {"ratio": effect.ratio, "low": effect.low, "high": effect.high, "level": 1 - ALPHA, "p": effect.p, "p_adjusted": one.p}
    return {
        **known,
        "rounds": effect.rounds,
        "series": effect.series,
        "verdict": one.verdict,
        "why": one.why,
        "margin": one.metric.margin,
        "smallest_visible": one.smallest,
        "unpaired": list(effect.unpaired),
    }


def _rounds(result: VariantPoint) -> list[Json]:
    """What the comparison rests on: by series and round, null where a round has no such figure."""
    both = sorted({*result.rate_by_round, *result.p99_by_round})
    return [
        {"series": at[0], "round": at[1], "rate_per_s": result.rate_by_round.get(at), "p99_ns": result.p99_by_round.get(at)} for at in both
    ]


def _phases(result: VariantPoint) -> Json:
    """By group, what the table of phases shows: spreads over the trials that had a fault; {} where none had."""
    trials = [trial for trial in result.trials if trial.get("phases")]
    found: Json = {}
    for group in dict.fromkeys(name for trial in trials for name in trial["phases"]["groups"]):
        own = [trial["phases"]["groups"][group] for trial in trials if group in trial["phases"]["groups"]]
        found[group] = {
            "trials": len(own),
            "backlog_max": _spread(Spread.of(one.get("backlog_max") for one in own)),
            "catch_up_per_s": _spread(Spread.of(one.get("catch_up_per_s") for one in own)),
            "p99_during_to_before": _spread(Spread.of(ratio(one, "p99_ns") for one in own)),
            **{
                phase: {
                    name: _spread(Spread.of((one.get(phase) or {}).get(name) for one in own))
                    for name in ("processed_per_s", "p50_ns", "p99_ns")
                }
                for phase in PHASES
            },
        }
    return found


def _search(run: Run, one: Mapping[str, Any]) -> Json:
    kept = ("variant", "point", "producers", "reference", "status", "reason", "saturated_per_s", "answer", "limit", "sweep", "knee")
    said = {"run": run.run["id"], "objective": capacity.read(run)["objective"], **{name: one.get(name) for name in kept}}
    return {**said, "probes": len(one.get("probes") or ())}


def _cell(run: Run, one: Mapping[str, Any]) -> Json:
    kept = (
        "id",
        "variant",
        "spec",
        "system",
        "mode",
        "fault",
        "title",
        "core",
        "wanted",
        "status",
        "reason",
        "expected",
        "timer",
        "judged",
    )
    return {"run": run.run["id"], **{name: one.get(name) for name in kept}, "trials": list(one.get("trials") or ())}
