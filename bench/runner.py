"""Runs a scenario: its plan, trial by trial, on a stage. All control flow of a run is here."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adapters.errors import AdapterError
from bench import stage
from bench.plan import AA, FLOOR, Planned
from bench.progress import Progress
from bench.scenario import Scenario
from bench.session import AdapterBug
from bench.stage import Stage
from bench.store import RunWriter

_BETWEEN_S = 0.6  # of a trial's own time, beside its load: readying, draining, auditing, writing


class Runner:
    """One run of one scenario into one folder."""

    def __init__(self, scenario: Scenario, writer: RunWriter, progress: Progress) -> None:
        self._scenario = scenario.kept(writer.folder)
        self._writer = writer
        self._progress = progress

    def run(self) -> int:
        """Run everything; return the exit code: 1 where a trial failed or a promise was broken, 3 where nothing could be run, else 0."""
        plan_ = self._scenario.planned()
        with stage.opened(self._scenario, self._writer, self._progress) as on:
            self._writer.save_plan([planned.to_json() for planned in plan_])
            self._rounds(plan_, on)
        return on.exit_code()

    def _rounds(self, plan_: Sequence[Planned], on: Stage) -> None:
        on.admit(self._scenario.variants(), self._scenario.floor())
        place: tuple[Any, ...] | None = None
        todo = [planned for planned in plan_ if planned.variant.id in on.entries]
        for i, planned in enumerate(todo):
            here = (planned.series, planned.point.workload.wiring_key)
            if here != place:
                on.close_sessions()
                if place is not None and place[0] != planned.series:
                    on.stop_servers()
                place = here
                on.open_all(planned.point.workload)
            self._announce(todo, i)
            on.trial(planned)

    def _announce(self, todo: Sequence[Planned], i: int) -> None:
        planned = todo[i]
        left_s = sum(later.point.workload.warmup_s + later.point.workload.measure_s + _BETWEEN_S for later in todo[i:])
        what = planned.variant.id + {AA: " (A/A lane)", FLOOR: " (floor)"}.get(planned.lane, "")
        self._progress.trial(i + 1, len(todo), f"{what} · {planned.point.label} · round {planned.round + 1}", left_s)


def create(scenario: Scenario, results: Path | None, *, command: str, kind: str = "run") -> RunWriter:
    """Make the folder of a new run under ``results`` (None: the default place).

    Raises UsageError where a variant has a setting, mode or profile that its adapter does not know: before anything is made.
    """
    for variant in scenario.variants():
        with contextlib.suppress(AdapterBug, AdapterError, OSError):  # these become rows of the report
            stage.made(variant)
    writer = RunWriter.create(results, scenario, command=command, kind=kind)
    writer.save_scenario(lambda: scenario.kept(writer.folder).to_yaml(writer.folder))
    return writer
