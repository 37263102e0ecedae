"""Runs a gate: environments, rounds, a confirmation where it is needed, and the verdict. All control flow of a gate is here.

gate.json is written anew after each trial, so that a gate which is cut short leaves what it measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import adapters
from bench import environment, runner, stage
from bench.clock import now_ns
from bench.errors import EnvironmentProblem, Incompatible, Interrupted, UsageError
from bench.gate import budget, compatible, decision, environments, figures, past
from bench.gate.asked import FULL, PACED, Asked, chosen, show_percent
from bench.gate.environments import Environment
from bench.gate.result import FILE, PAGE, Result, page
from bench.gate.schedule import BASE, BLOCK, HEAD, SIDES, Step, block
from bench.gate.side import Side, parse_side
from bench.plan import Planned
from bench.progress import Progress
from bench.scenario import Scenario
from bench.scenario_fields import AXES
from bench.stage import Stage
from bench.store import FORMAT, RunWriter
from bench.trial import broken
from bench.units import show_duration, show_rate
from bench.workload import Point

KIND = "gate"
SCHEDULES = ("constant", "poisson", "bursts", "max")
"""Of a scenario: those that have one rate, or none."""
ON_INCONCLUSIVE = ("pass", "fail", "retry")
_BETWEEN_S = 0.3  # of a trial's own time, before it is known


@dataclass(frozen=True)
class Options:
    """What a gate is asked. Names of metrics are known ones; none = the scenario's."""

    base: str
    head: str
    metrics: tuple[str, ...] = ()
    margins: Mapping[str, float] = field(default_factory=dict)
    max_time_s: float = 60.0  # of the rounds of one measurement
    rounds: int | None = None  # None = as many as fit
    on_inconclusive: str = ""  # one of ON_INCONCLUSIVE; "" = exit code 4
    baseline: Path | None = None  # gate.json or summary.json of the past, that head is held against too

    @property
    def alone(self) -> bool:
        """Whether there is nothing but the past to compare with: base is head itself, for the noise."""
        return self.baseline is not None and self.base == self.head


@dataclass(frozen=True)
class Task:
    """A gate that is ready to be measured."""

    scenario: Scenario  # of one point
    options: Options
    sides: Mapping[str, Side]
    asked: tuple[Asked, ...]
    points: Mapping[str, Point]  # by FULL, PACED
    before: past.Past | None = None


class Ended(Exception):
    """``side`` breaks its promise or cannot be measured: no further trial is worth making."""

    def __init__(self, side: str, why: str) -> None:
        super().__init__(f"{side} {why}")
        self.side = side


def run(
    scenario: Scenario, options: Options, *, results: Path | None = None, progress: Progress | None = None, command: str = ""
) -> Result:
    """Run a gate on ``scenario`` and return what came of it.

    Raises UsageError (2) for what cannot be asked, EnvironmentProblem (3) where an environment does not build or the machine or a server
    is not to be had, Incompatible (4) for endpoints of another protocol, Interrupted (130); what was measured is kept.
    """
    progress = progress or Progress(quiet=True)
    task = prepared(scenario, options)
    refused = [check for check in environment.doctor() if check.ok == "bad"]
    if refused:
        why = "; ".join(f"{check.name}: {check.found}" + (f" ({check.advice})" if check.advice else "") for check in refused)
        raise EnvironmentProblem(f"nothing can be measured here (brokerbench doctor): {why}")
    made = {name: environments.made(side, progress.say) for name, side in task.sides.items()}
    told = {name: _asked(side, made[name]) for name, side in task.sides.items()}
    writer = runner.create(task.scenario, results, command=command, kind=KIND)
    return Gate(task, made, told, writer, progress).run()


def prepared(scenario: Scenario, options: Options) -> Task:
    """Read the SPECs and choose points and metrics; raises UsageError."""
    if options.on_inconclusive not in ("", *ON_INCONCLUSIVE):
        raise UsageError(f'--on-inconclusive "{options.on_inconclusive}": one of {", ".join(ON_INCONCLUSIVE)}')
    if options.rounds is not None and (options.rounds < BLOCK or options.rounds % BLOCK or options.rounds > budget.ROUNDS_MOST):
        raise UsageError(f"--rounds {options.rounds}: an even number from {BLOCK} to {budget.ROUNDS_MOST}, as rounds come in pairs")
    if scenario.load.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise UsageError(f"{scenario.name}: schedule: {scenario.load.schedule} is not for a gate, whose trials are short; {known} are")
    if scenario.faults or scenario.poison:
        raise UsageError(f"{scenario.name}: a gate breaks nothing; compare what faults do by `brokerbench guarantees`")
    sides = {BASE: parse_side(BASE, options.base), HEAD: parse_side(HEAD, options.head)}
    for side in sides.values():
        stage.made(side.variant)  # raises for a setting that its adapter does not know, before an environment is built
    part = scenario.gate
    names = options.metrics or (part.metrics if part is not None and "metrics" in part.model_fields_set else ())
    margins = {**(part.margins if part is not None else {}), **options.margins}
    # Longer times are for reports; a scenario that asks for shorter ones gets them.
    warmup_s, shortest_s = min(scenario.timing.warmup, budget.WARMUP_S), min(scenario.timing.measure, budget.WINDOW_S)
    plain = list(dict.fromkeys(side.plain for side in sides.values()))
    one = scenario.override(systems=plain, axes=_one_of_each(scenario), lanes=False, warmup=show_duration(warmup_s))
    (point,) = one.points()
    paced = point.rate_per_s is not None
    if names and not paced and (wrong := [name for name in names if name in budget.SAMPLES]):
        told = f"leave out {', '.join(wrong)}"
        raise UsageError(f"{scenario.name} sends as fast as it goes, where a latency is the length of a queue: {told}")
    asked = chosen(names, margins, paced=paced)
    if not asked:
        raise UsageError("no metric to compare")
    window_s = _window(scenario, point, asked, shortest_s) if paced else shortest_s
    one = one.override(measure=show_duration(window_s), lanes=False)
    (point,) = one.points()
    full = Point(replace(point.workload.at_rate(None), measure_s=shortest_s), point.axes)
    wanted = {metric.point for metric in asked}
    before = past.read(options.baseline, scenario.name, sides[HEAD].plain, point.values()) if options.baseline is not None else None
    points = {name: at for name, at in ((FULL, full), (PACED, point)) if name in wanted}
    return Task(one, options, sides, asked, points, before)


def _one_of_each(scenario: Scenario) -> Mapping[str, Sequence[str]]:
    """One value of each swept axis: the highest rate, whose window has most samples, and the first of all others."""
    axes = {name: values for name in AXES if (values := getattr(scenario.sweep, name)) is not None}
    return {name: [AXES[name].quantity.show(max(values) if name == "rate" else values[0])] for name, values in axes.items()}


def _window(scenario: Scenario, point: Point, asked: Sequence[Asked], shortest_s: float) -> float:
    wanted = [one.name for one in asked if one.name in budget.SAMPLES]
    rate = point.rate_per_s
    assert rate is not None
    period_s = point.workload.burst / rate  # 0 where there are no bursts
    window = budget.window_s(rate, len(point.workload.groups), wanted, shortest_s, period_s)
    if window is None:
        slowest = wanted[-1]
        raise UsageError(
            f"{scenario.name}: at {show_rate(rate)} a window for {slowest} ({budget.SAMPLES[slowest]:,} samples) would be longer than "
            f"{show_duration(budget.WINDOW_MOST_S)}: raise the rate (--set rate=...) or leave {slowest} out (--metrics)"
        )
    return window


def _asked(side: Side, made: Environment) -> dict[str, Any]:
    """What a side is, for gate.json; raises where its endpoints cannot be led."""
    built = made.told["built"]
    said = compatible.asked(side, adapters.load(side.variant.system, side.variant.client), made.interpreter, built)
    kept = ("python", "client", "client_version", "packages", "suite", "adapter")
    return {"spec": side.spec, **{name: said[name] for name in kept}, **made.told}


class Gate:
    """One gate into one folder."""

    def __init__(self, task: Task, made: Mapping[str, Environment], told: Mapping[str, Any], writer: RunWriter, progress: Progress) -> None:
        self._task = task
        self._made = made
        self._writer = writer
        self._progress = progress
        self._plan: list[Planned] = []
        self._trials: list[dict[str, Any]] = []
        self._measured: list[decision.Measured] = []
        self._rounds = task.options.rounds
        self._began_ns = now_ns()
        self._data: dict[str, Any] = {
            "format": FORMAT, "status": "running", "scenario": task.scenario.name, **told,
            "metrics": [one.name for one in task.asked], "points": {one.name: self._label(one.point) for one in task.asked},
            "options": {
                "max_time_s": task.options.max_time_s, "rounds": task.options.rounds,
                "on_inconclusive": task.options.on_inconclusive or None,
            },
            "past": {"source": task.before.source, "alone": task.options.alone, "standings": {}} if task.before is not None else None,
            "rounds": 0, "round_s": None, "seconds": 0.0, "measurements": [],
            "delivery": {side: {"audits": 0, "broken_groups": 0, "reasons": []} for side in SIDES},
            "verdict": "inconclusive", "reasons": ["not ended"], "standings": {}, "exit_code": decision.exit_code("inconclusive", ""),
        }  # fmt: skip

    def _label(self, point: str) -> str:
        rate = self._task.points[point].rate_per_s
        return FULL if rate is None else f"at {show_rate(rate)}"

    def run(self) -> Result:
        """Measure, decide, write; the folder has all of it."""
        ended = None
        try:
            with stage.opened(self._task.scenario, self._writer, self._progress) as on:
                self._save()
                self._admit(on)
                try:
                    self._measure_all(on)
                except Ended as reason:
                    ended = reason
        except BaseException as error:
            word = "interrupted" if isinstance(error, Interrupted) else "failed"
            self._data |= {"status": word, "reasons": [str(error) or type(error).__name__]}
            self._save()
            raise
        self._conclude(ended)
        return Result(self._writer.folder, self._data)

    def _admit(self, on: Stage) -> None:
        on.admit([side.variant for side in self._task.sides.values()])
        if on.not_run:
            raise stage.absent(on.not_run)
        for name, made in self._made.items():
            entry = on.entries[name]
            entry.interpreter = made.interpreter
            entry.client_version = self._data[name]["client_version"]

    # ---- measuring

    def _measure_all(self, on: Stage) -> None:
        why, retry = "first", self._task.options.on_inconclusive == "retry"
        while why:
            if self._measured:
                self._progress.say(f"{why}: once more, with fresh processes")
                on.close_sessions()
                on.stop_servers()
            measured = self._measure(on, why)
            if measured is None:
                return
            self._measured.append(measured)
            why = decision.again(self._measured, retry=retry) or ("confirmation" if past.confirm(self._held()) else "")

    def _held(self) -> list[list[dict[str, Any]]]:
        """Rows against the past, by measurement; empty without a past."""
        return [own["past"] for own in self._data["measurements"] if own.get("past")]

    def _measure(self, on: Stage, why: str) -> decision.Measured | None:
        """One measurement of all rounds; None where fewer fit than are needed."""
        series, number = len(self._measured), 0
        own: dict[str, Any] = {"why": why, "rounds": 0, "figures": {}, "rows": [], "lane": None}
        self._data["measurements"].append(own)
        on.open_all(next(iter(self._task.points.values())).workload)
        began = now_ns()
        while self._rounds is None or number * BLOCK < self._rounds:
            for step in block(list(self._task.points), number, f"{self._task.scenario.seed} {series}"):
                self._trial(on, step, series, own)
            number += 1
            if self._rounds is None and not self._settled((now_ns() - began) / 1e9):
                return None
        own["rounds"] = number * BLOCK
        self._data |= {"rounds": number * BLOCK, "round_s": (now_ns() - began) / 1e9 / (number * BLOCK)}
        void = figures.too_fast([trial for trial in self._trials if trial["series"] == series])
        measured = decision.judged(self._task.asked, own["figures"], number * BLOCK, void)
        own |= {"rows": [row.to_json() for row in measured.rows], "lane": measured.lane.to_json()}
        if self._task.before is not None:
            own["past"] = past.rows(self._task.asked, self._task.before, own["figures"], measured.lane.noise, self._data["points"])
        self._save()
        return measured

    def _settled(self, block_s: float) -> bool:
        """Fix the number of rounds by the pace of the first block; False where fewer fit than are needed."""
        needed, limit = budget.rounds_needed(len(self._task.asked)), self._task.options.max_time_s
        self._rounds = budget.rounds_that_fit(limit, block_s, BLOCK, needed)
        if self._rounds is None:
            time = show_duration(budget.time_needed_s(block_s, BLOCK, needed)).replace(" ", "")
            told = f"{int(limit / block_s * BLOCK)} of the {needed} rounds that are needed fit into {show_duration(limit)}"
            self._data["reasons"] = [f"{told}: --max-time {time}, or fewer metrics (--metrics)"]
            return False
        self._progress.say(f"{self._rounds} rounds, {block_s / BLOCK:.1f} s each")
        return True

    def _trial(self, on: Stage, step: Step, series: int, own: dict[str, Any]) -> None:
        point, side = self._task.points[step.point], self._task.sides[step.side]
        planned = Planned(len(self._plan) + 1, point, side.variant, series, step.round, step.position)
        self._plan.append(planned)
        self._writer.save_plan([one.to_json() for one in self._plan])
        if step.position == 0:
            self._announce(step)
        trial = self._tried(on, planned, side)
        self._trials.append(trial)
        if trial["server"]:
            self._data[step.side]["server"] = f"{trial['server']['product']} {trial['server']['version']}".rstrip()
        of_series = [one for one in self._trials if one["series"] == series]
        own["figures"] = figures.by_round(self._task.asked, of_series, step.round + 1)
        self._note_delivery(step.side, trial)
        self._save()
        if trial["status"] == "unsupported":
            raise UsageError(f'--{side.name} "{side.spec}": {trial["reason"]}')
        if trial["status"] != "ok":
            raise Ended(step.side, f"failed in trial {planned.trial}: {trial['reason']}")
        if self._data["delivery"][BASE]["broken_groups"]:
            raise Ended(BASE, "breaks its promise")
        last_of_round = step.position == len(SIDES) * len(self._task.points) - 1
        if last_of_round and self._data["delivery"][HEAD]["broken_groups"]:  # by then base was measured beside it
            raise Ended(HEAD, "breaks its promise")

    def _tried(self, on: Stage, planned: Planned, side: Side) -> dict[str, Any]:
        try:
            trial, _ = on.trial(planned)
        except (KeyError, TypeError, IndexError) as error:
            if not side.rev:
                raise
            told = f"what they report is not what this runner reads ({type(error).__name__}: {error})"
            raise Incompatible(f'--{side.name} "{side.spec}": its endpoints cannot be led by this runner: {told}') from error
        return trial

    def _announce(self, step: Step) -> None:
        done, a_round = len(self._plan), len(SIDES) * len(self._task.points)
        of = (self._rounds or budget.ROUNDS_LEAST) * a_round * (len(self._measured) + 1)
        passed_s = (now_ns() - self._began_ns) / 1e9
        each_s = passed_s / (done - 1) if done > a_round else self._task.points[step.point].workload.measure_s + _BETWEEN_S
        self._progress.trial(done, of, f"round {step.round + 1}", max(of - done + 1, 1) * each_s)

    def _note_delivery(self, side: str, trial: Mapping[str, Any]) -> None:
        noted, reasons = self._data["delivery"][side], broken(trial)
        noted["audits"] += len(trial["audit"])
        noted["broken_groups"] += len(reasons)
        noted["reasons"] += [f"trial {trial['trial']}, {one}" for one in reasons]

    # ---- deciding

    def _conclude(self, ended: Ended | None) -> None:
        """Verdict, reasons, exit code; gate.json and gate.md."""
        standings = {}
        if self._measured and not self._task.options.alone:  # alone: nothing can be worse than itself
            by_metric = zip(*(one.rows for one in self._measured), strict=True)
            standings = {rows[0].asked.name: decision.final([row.standing for row in rows]) for rows in by_metric}
        held = past.standings(self._held())
        together = {**standings, **{f"{name}, past": standing for name, standing in held.items()}}
        side = ended.side if ended is not None else ""
        said = decision.outcome(
            together or dict.fromkeys(self._data["metrics"], "unclear"), head_broken=side == HEAD, base_broken=side == BASE
        )
        if ended is not None:
            reasons = [str(ended), *self._data["delivery"][side]["reasons"][:3]]
        else:
            reasons = self._all_reasons(standings, held) or self._data["reasons"]
        if self._data["past"] is not None:
            self._data["past"]["standings"] = held
        self._data |= {
            "status": "complete", "verdict": said, "reasons": [] if said == "passed" else reasons, "standings": standings,
            "exit_code": decision.exit_code(said, self._task.options.on_inconclusive), "seconds": (now_ns() - self._began_ns) / 1e9,
        }  # fmt: skip
        self._save()
        self._writer.save_text(PAGE, page(self._data))

    def _all_reasons(self, standings: Mapping[str, decision.Standing], held: Mapping[str, decision.Standing]) -> list[str]:
        """Of base and of the past; what fails alone, where anything does."""
        worse, older = "fails" in standings.values(), "fails" in held.values()
        own = self._reasons(standings) if worse or not older else []
        return own + (past.reasons(self._held()) if older or not worse else [])

    def _reasons(self, standings: Mapping[str, decision.Standing]) -> list[str]:
        """Why a metric fails or is unclear, in words."""
        failing: list[str] = []
        unclear: dict[str, list[str]] = {}
        for i, standing in enumerate(standings.values()):
            rows = [one.rows[i] for one in self._measured]
            asked, last = rows[0].asked, rows[-1]
            if standing == "fails":
                ratios = " and again ".join(f"{row.comparison.effect.ratio:.2f}x" for row in rows if row.standing == "fails")
                failing.append(f"{asked.title} is worse: {ratios} base's, margin {show_percent(asked.margin)}")
            elif standing == "unclear":
                once = any(row.standing == "fails" for row in rows)
                why = f"worse once, not confirmed{last.why and ': '}{last.why}" if once else last.why
                unclear.setdefault(why, []).append(asked.title)
        return failing or [f"{', '.join(titles)}: {why}" for why, titles in unclear.items()]

    def _save(self) -> None:
        with contextlib.suppress(EnvironmentProblem):  # a full disk is told by the trial that could not be kept
            self._writer.save_data(FILE, self._data)
