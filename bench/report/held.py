"""A run whose files are read once and kept small, however many charts ask for them, and of which what is damaged is named.

A report asks for each latency.hlog a dozen times: decoding it was most of its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.histogram import Log
from bench.store import Json, Run, open_run, read_data

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
    """Read all that a report reads of a run; ``damaged`` is told what cannot be read. Raises what open_run() raises then."""
    run = open_run(folder, damaged)
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
    return Held(run.folder, run.run, run.plan, run.environment, run.scenario_text, run.trials, logs, seconds)
