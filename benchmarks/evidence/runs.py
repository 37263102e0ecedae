"""One run of the real thing for an evidence: scenario, runner, real processes; what is kept of it is plain data."""

from __future__ import annotations

import contextlib
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench import environment, runner, scenario, store
from bench.clock import now_ns, utc_now
from bench.errors import EnvironmentProblem
from bench.progress import Progress
from bench.store import Run

Json = dict[str, Any]
Trial = Mapping[str, Any]

BETWEEN_S = 0.12  # of a trial's own time beside its load, measured with tcp and zeromq: readying, draining, auditing, writing
START_S = 1.8  # of a scenario: environment, endpoints of two to four variants
_DIGITS = 7  # of a figure that is kept: far below what any two rounds differ by


def _rate(trial: Trial) -> float | None:
    return trial["rates"]["slowest_group_per_s"]  # type: ignore[no-any-return]


def _cpu(trial: Trial) -> float | None:
    return trial["cost"]["total_ns"]  # type: ignore[no-any-return]


def _clients(trial: Trial) -> float | None:
    parts = [trial["cost"][name] for name in ("producers_ns", "consumers_ns")]
    return None if None in parts else float(sum(parts))


def _memory(trial: Trial) -> float | None:
    held = [one["rss_b"] for side in ("producers", "consumers", "nodes") for one in trial[side]]
    return None if not held or None in held else float(sum(held))


def _latency(name: str) -> Callable[[Trial], float | None]:
    def found(trial: Trial) -> float | None:
        return (trial["latency"]["end_to_end_intended"] or {}).get(name)

    return found


FIGURES: Mapping[str, tuple[bool, Callable[[Trial], float | None]]] = {
    "rate": (True, _rate),
    "cpu": (True, _cpu),
    "memory": (True, _memory),
    "p50": (False, _latency("p50_ns")),
    "p99": (False, _latency("p99_ns")),
    "cpu at a rate": (False, _cpu),
    "cpu of clients": (False, _clients),
    "cpu of servers": (False, lambda trial: trial["cost"]["intermediary_ns"]),
}
"""Metric -> whether it is taken of the point at full speed (else of the one at a set rate), and how from a trial.json.
Messages a second of the slowest group; ns of CPU a delivered message; bytes resident of all endpoints; ns from intended time."""


def measure(texts: Sequence[str], folder: Path, metrics: Sequence[str], variants: Sequence[str], *, command: str) -> Json:
    """Run the scenarios ``texts`` one after another and return their figures by metric, variant and round, and what disturbed them.

    ``variants``: ids, in the order in which they are to be kept; "ID (aa)" is the A/A lane's. Raises BenchError where one could not be run.
    """
    trials: list[Trial] = []
    spacing = []
    with clocked() as when:
        for text in texts:
            chosen = scenario.parse(text, where="benchmarks/evidence")
            writer = runner.create(chosen, folder, command=command)
            runner.Runner(chosen, writer, Progress(quiet=True)).run()
            run = opened(writer.folder)
            trials += run.trials
            spacing.append(_trial_s(run.trials))
    return when | {"trial_s": spacing, "revision": run.environment["brokerbench"]} | kept(trials, metrics, variants, chosen.rounds)


def keep(chosen: scenario.Scenario, work: Path, out: Path, *, command: str) -> None:
    """Run a scenario in ``work``, and keep all of it but evidence and logs in ``out``, in place of what is there."""
    writer = runner.create(chosen, work, command=command)
    runner.Runner(chosen, writer, Progress()).run()
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(writer.folder, out, ignore=shutil.ignore_patterns("evidence", "servers", ".lock"))


@contextlib.contextmanager
def clocked() -> Iterator[Json]:
    """When a run was measured, how long it took, and what share of it the hypervisor took: filled in as the block ends."""
    when: Json = {"started": utc_now()}
    begun_ns, before = now_ns(), psutil.cpu_times()
    yield when
    when |= {"seconds": round((now_ns() - begun_ns) / 1e9, 2), "steal": round(environment.stolen(before, psutil.cpu_times()), 5)}


def opened(folder: Path) -> Run:
    """A run that ended; raises EnvironmentProblem where something of it could not be run."""
    run = store.open_run(folder)
    if run.run["not_run"] or not run.trials:
        raise EnvironmentProblem(f"{run.run['scenario']}: not run: {run.run['not_run'] or 'no trial'}")
    return run


def kept(trials: Sequence[Trial], metrics: Sequence[str], variants: Sequence[str], rounds: int) -> Json:
    """The figures of a run's trials as {metric: {variant: [by round, null where there is none]}}, with findings and audits (pure)."""
    figures: Json = {metric: {variant: [None] * rounds for variant in variants} for metric in metrics}
    for trial in trials:
        lane = trial.get("lane")
        name = f"{trial['variant']['id']} ({lane})" if lane else trial["variant"]["id"]
        if trial["status"] != "ok" or name not in variants:
            continue
        full_speed = trial["point"]["rate_per_s"] is None
        for metric in metrics:
            wanted, figure = FIGURES[metric]
            if wanted == full_speed:
                figures[metric][name][trial["round"]] = _short(figure(trial))
    return {"figures": figures, "findings": dict(Counter(one["code"] for trial in trials for one in trial["findings"]))} | told(trials)


def told(trials: Sequence[Trial]) -> Json:
    """What a summary says of trials beside their figures: audits, those that failed, what others used (pure)."""
    others = [trial["cost"]["others_cores"] for trial in trials if trial["cost"]["others_cores"] is not None]
    return {
        "audit": dict(Counter(row["verdict"] for trial in trials for row in trial["audit"].values())),
        "not_ok": [
            {"trial": trial["trial"], "variant": trial["variant"]["id"], "status": trial["status"], "reason": trial["reason"]}
            for trial in trials
            if trial["status"] != "ok"
        ],
        "others_cores": round(statistics.median(others), 3) if others else None,
    }


def _trial_s(trials: Sequence[Trial]) -> float | None:
    """What a trial took with all around it: the time from the first start to the last, over those between."""
    starts = [trial["go_ns"] for trial in trials if trial["go_ns"] is not None]
    return round((max(starts) - min(starts)) / 1e9 / (len(trials) - 1), 4) if len(starts) > 1 else None


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
