"""Runs `brokerbench guarantees`: trial after trial, a round over all cells at a time, so that wherever it ends each has been tried.

Trials are like any, on a run's stage. guarantees.json is written anew after each, and follows from the trials: `--resume` takes them up.
Journals are kept where somebody will want to look: of trials with a surprise, of undetermined and of failed ones. Those of the
others are removed, as a run has hundreds; --keep-evidence keeps them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment, scenario, stage, store
from bench.clock import now_ns, utc_now
from bench.errors import Incompatible, UsageError
from bench.guarantees import observed, shape, verdicts
from bench.guarantees.record import FILE, KIND, Asked, Record, Tried
from bench.likeness import exactly
from bench.plan import Planned
from bench.progress import Progress
from bench.scenario import Scenario
from bench.stage import Stage
from bench.store import RunWriter
from bench.workload import Point

INCONCLUSIVE = 4  # exit code
_START_S = 15.0  # of all servers
_NAME_ENVIRONMENT = ("machine", "python", "clients")


class Guarantees:
    """One run of the verb into one folder."""

    def __init__(
        self, record: Record, writer: RunWriter, progress: Progress, plan: Sequence[dict[str, Any]] = (), *,
        time_s: float | None = None, keep_evidence: bool = False,
    ) -> None:  # fmt: skip
        """``time_s``: begin no trial after so long. ``keep_evidence``: the journals of every trial."""
        self.record = record
        self._writer = writer
        self.folder = writer.folder
        self._progress = progress
        self._plan = list(plan)
        self._number = max((entry["trial"] for entry in self._plan), default=0)
        self._keep_evidence = keep_evidence
        self._told: set[str] = set()
        self._until_ns = None if time_s is None else now_ns() + int(time_s * 1e9)
        self._pace = 1.0  # how much longer trials take than was thought

    def expected_s(self) -> float:
        """About how long the rest takes."""
        left_s = sum(shape.trial_s for one in self.record.tried for shape in one.left())
        return left_s * self._pace + (_START_S if left_s else 0.0)

    def run(self) -> int:
        """Try every cell; return the exit code: 1 for a surprise or a failed cell, 3 where nothing could be run, 4 out of time, else 0."""
        record = self.record
        sitting: dict[str, Any] = {"started": utc_now(), "ended": None, "environment": environment.capture()}
        record.sittings.append(sitting)
        with stage.opened(base(record), self._writer, self._progress, breaks=True) as on:
            try:
                on.admit(base(record).variants())
                self._rounds(on)
            finally:
                sitting["ended"] = utc_now()
                self._save()
        if any(one.judged.surprises or one.status == "failed" for one in record.tried):
            return 1
        late = any(one.missing and one.cell.variant.id in on.entries for one in record.tried)
        return on.unavailable() or (INCONCLUSIVE if late else 0)

    def _rounds(self, on: Stage) -> None:
        """Every cell that lacks injections once, the core ones first, again and again."""
        number = 0
        while todo := [(i, one) for i, one in enumerate(self.record.tried) if one.missing and one.cell.variant.id in on.entries]:
            for position, (place, one) in enumerate(sorted(todo, key=lambda each: not each[1].cell.core)):
                if self._until_ns is not None and now_ns() >= self._until_ns:
                    return
                self._trial(on, place, one, number, position)
            number += 1

    def _trial(self, on: Stage, place: int, one: Tried, number: int, position: int) -> None:
        cell = one.cell
        wanted = cell.shape(one.missing)
        load = scenario.parse(wanted.yaml(), where=f"cell {cell.id}").points()[0].workload
        self._number += 1
        planned = Planned(self._number, Point(load, (("cell", place),)), cell.variant, 0, number, position)
        self._plan.append(planned.to_json())
        self._writer.save_plan(self._plan)
        what = f"{cell.name} · {one.judged.n} of {cell.wanted}"
        left = sum(len(other.left()) for other in self.record.tried)
        self._progress.trial(self._number, self._number + left - 1, what, self.expected_s())
        on.entries[cell.variant.id].failures = 0  # a cell that fails is given up by itself, others of its variant are not
        began_ns = now_ns()
        trial, _ = on.trial(planned)
        on.close_sessions()
        if trial["status"] == "failed":
            on.renew_server(cell.variant.id)
        one.take(trial)
        self._pace = 0.9 * self._pace + 0.1 * (now_ns() - began_ns) / 1e9 / wanted.trial_s
        self._tell(one)
        if trial["status"] == "ok" and not self._keep_evidence and self._quiet(one, trial):
            self._forget(trial)
        self._save()

    def _tell(self, one: Tried) -> None:
        """Say a verdict as it comes, and a surprise loudly, once."""
        judged, name = one.judged, one.cell.name
        if one.status != "waiting":
            self._progress.say(f"{name}: {judged.words if one.injections else one.status}{f' ({one.reason})' if one.reason else ''}")
        for surprise in judged.surprises:
            if f"{one.cell.id} {surprise.split(',')[-1]}" not in self._told:
                self._told.add(f"{one.cell.id} {surprise.split(',')[-1]}")
                self._progress.say(f"SURPRISE: {name}: {surprise}; trial {one.trials[-1]}, evidence kept")

    def _quiet(self, one: Tried, trial: dict[str, Any]) -> bool:
        """Whether nobody will ask for this trial's journals."""
        alone = verdicts.judge(one.cell.mode.delivery.value, one.cell.expected, observed.injections(trial), observed.rest(trial))
        return not alone.surprises and not alone.undetermined

    def _forget(self, trial: dict[str, Any]) -> None:
        """Remove the journals and logs of a trial's session."""
        for prefix in {entry["name"].split("-", 1)[0] for entry in trial["evidence"]}:
            for path in (self._writer.folder / "evidence").glob(f"{prefix}-*"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _save(self) -> None:
        self._writer.save_data(FILE, self.record.to_json())


def base(record: Record) -> Scenario:
    """What the run's folder is made with: all variants, and the widest of the cells' workloads without its fault."""
    shapes = [one.cell.shape(one.cell.wanted) for one in record.tried]
    widest = max(shapes, key=lambda one: one.groups)
    made = scenario.parse(widest.yaml(), where=f"the cells' scenario ({shape.NAME})")
    specs = list(dict.fromkeys(one.cell.variant.spec for one in record.tried if not one.cell.unsupported))
    return made.model_copy(update={"systems": tuple(specs), "faults": (), "title": "what each mode does under each fault"})


def begin(asked: Asked, results: Path | None, *, command: str) -> tuple[Record, RunWriter]:
    """Make the folder of a new run. Raises UsageError for what cannot be tried."""
    record = Record.of(asked)
    if all(one.cell.unsupported for one in record.tried):
        raise UsageError(f"nothing to try: {record.tried[0].cell.unsupported}")
    writer = RunWriter.create(results, base(record), command=command, kind=KIND)
    return record, writer


def resumed(folder: Path) -> tuple[Record, RunWriter, list[dict[str, Any]]]:
    """The record, writer and plan of a run that was cut off.

    Raises UsageError for a folder that is none of this verb, Incompatible where it was begun on another machine or with other clients.
    """
    opened = store.open_run(folder)
    if opened.run["kind"] != KIND:
        raise UsageError(f'{folder}: a run of kind "{opened.run["kind"]}", not of `brokerbench guarantees`')
    data = store.read_data(folder, FILE)
    here = environment.capture()
    for sitting in data["sittings"]:
        other = exactly(sitting["environment"], here, _NAME_ENVIRONMENT)
        if other:
            raise Incompatible(f"{folder}: begun with another {other}: begin anew, without --resume")
    record = Record.of(Asked.from_json(data["asked"]))
    record.take(opened.trials, data["cells"])
    record.sittings = data["sittings"]
    return record, RunWriter.reopen(folder), opened.plan
