"""A run whose files are read once and kept small, however many charts ask for them, and of which what is damaged is named.

A report asks for each latency.hlog a dozen times: decoding it was most of its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.capacity.result import FILE as CAPACITY
from bench.errors import BenchError, UsageError
from bench.histogram import Log
from bench.report.joining import FILE as GUARANTEES
from bench.report.whole import ANY, CELL, ENTRY, ENVIRONMENT, OBJECTIVE, RUN, SEARCH, TRIAL, Shape, wrong
from bench.store import Json, Run, open_run, read_data

PARTS: Mapping[str, tuple[str, str, Shape]] = {"guarantees": (GUARANTEES, "cells", CELL), "capacity": (CAPACITY, "searches", SEARCH)}
"""By kind of run: the file that its report is made from, and that may lie alone in a committed folder; the list in it; an item's shape."""
_NOTHING = Log((), 0.0, {})


@dataclass(frozen=True)
class Held(Run):
    """A run in memory. A file that could not be read is as one that is missing."""

    logs: dict[int, Log] = field(default_factory=dict, repr=False)
    seconds: dict[int, list[dict[str, int]]] = field(default_factory=dict, repr=False)
    files: dict[str, Json] = field(default_factory=dict, repr=False)

    def log(self, number: int) -> Log:
        """latency.hlog of a trial; without a line where it has none that can be read."""
        return self.logs.get(number, _NOTHING)

    def data(self, name: str) -> Json:
        """guarantees.json or capacity.json, read once; raises what read_data() raises."""
        if name not in self.files:
            self.files[name] = read_data(self.folder, name)
        return self.files[name]

    def series(self, number: int) -> list[dict[str, int]]:
        """The rows of series.csv; empty where it has none that can be read."""
        return self.seconds.get(number, [])


def hold(folder: Path, damaged: Callable[[str], None]) -> Held:
    """Read all that a report reads of a run; ``damaged`` is told what cannot be read or has not its shape: that is left out.

    Raises what open_run() raises then; UsageError also for a run.json that has not its shape.
    """
    run = open_run(folder, damaged)
    told = wrong(run.run, RUN)
    if told:
        raise UsageError(f"{folder / 'run.json'}: {told}")
    environment = "" if not run.environment else wrong(run.environment, ENVIRONMENT)
    if environment:
        damaged(f"{folder / 'environment.json'}: {environment}; left out")
    run = replace(
        run,
        environment={} if environment else run.environment,
        plan=sound(run.plan, ENTRY, lambda i: f"{folder / 'plan.json'}, entry {i}", damaged),
        trials=sound(run.trials, TRIAL, lambda i: str(folder / "trials" / f"{run.trials[i]['trial']:04d}" / "trial.json"), damaged),
    )
    logs: dict[int, Log] = {}
    seconds: dict[int, list[dict[str, int]]] = {}
    without: dict[str, list[int]] = {"latency.hlog": [], "series.csv": []}
    for trial in run.trials:
        number, ok = int(trial["trial"]), trial.get("status") == "ok"
        try:
            logs[number] = run.log(number)
            without["latency.hlog"].extend([number] * (ok and not logs[number].lines))
        except BenchError as error:
            damaged(str(error))
        try:
            seconds[number] = run.series(number)
            without["series.csv"].extend([number] * (ok and not seconds[number]))
        except BenchError as error:
            damaged(str(error))
    for name, numbers in without.items():
        if numbers:
            shown = ", ".join(f"{number:04d}" for number in numbers[:10]) + (", ..." if len(numbers) > 10 else "")
            damaged(f"{run.folder / 'trials'}: no {name} in {len(numbers)} of {len(run.trials)} trials ({shown})")
    files = {}
    if run.run["kind"] in PARTS:
        name, part, shape = PARTS[run.run["kind"]]
        files[name] = data(folder, name, part, shape, damaged)
    return Held(run.folder, run.run, run.plan, run.environment, run.scenario_text, run.trials, logs, seconds, files)


def alone(folder: Path, kind: str, damaged: Callable[[str], None]) -> Held:
    """A committed folder of which only the data file of a kind is kept: evidence, made smaller. Raises what read_data() raises."""
    name, part, shape = PARTS[kind]
    found = data(folder, name, part, shape, damaged)
    sittings = [one for one in found.get("sittings") or () if isinstance(one, Mapping)]
    waiting = any(cell.get("status") == "waiting" for cell in found[part])
    run = {
        "format": found["format"], "id": f"{folder.parent.name}/{folder.name}", "kind": kind, "scenario": kind, "not_run": [],
        "started": sittings[0].get("started") if sittings else None, "ended": sittings[-1].get("ended") if sittings else None,
        "status": "interrupted" if waiting else "complete",
    }  # fmt: skip
    environment = dict(sittings[-1].get("environment") or {}) if sittings else {}
    return Held(folder, run, environment={} if wrong(environment, ENVIRONMENT) else environment, files={name: found})


def data(folder: Path, name: str, part: str, shape: Shape, damaged: Callable[[str], None]) -> Json:
    """guarantees.json or capacity.json with those items of ``part`` that have their shape; raises UsageError where it has no such list."""
    found = read_data(folder, name)
    told = wrong(found.get(part), [ANY], part) or (wrong(found, OBJECTIVE) if part == "searches" else "")
    if told:
        raise UsageError(f"{folder / name}: not whole: {told}")
    return found | {part: sound(found[part], shape, lambda i: f"{folder / name}, {part}[{i}]", damaged)}


def sound(items: Sequence[Any], shape: Shape, called: Callable[[int], str], damaged: Callable[[str], None]) -> list[Any]:
    """The items that have their shape; of each other one its name and what is wrong is told."""
    kept = []
    for i, one in enumerate(items):
        told = wrong(one, shape)
        if told:
            damaged(f"{called(i)}: {told}; left out")
        else:
            kept.append(one)
    return kept
