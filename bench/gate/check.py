"""One check, as a test asks for it: a gate against another side, or a run of its own, and limits on what came out.

Knows nothing of pytest: bench/pytest_plugin.py does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import runner, scenario, stage, store, units
from bench.analysis.summary import VariantPoint, summarise
from bench.errors import UsageError
from bench.gate import command
from bench.gate.asked import METRICS
from bench.gate.figures import median
from bench.gate.limits import Limit, figures, missed, parse
from bench.gate.result import Result, sentence
from bench.gate.run import Options, run
from bench.progress import Progress
from bench.scenario import Scenario


@dataclass(frozen=True)
class Checked:
    """What a check came to. ``verdict``: a gate's, or "passed" and "failed" of a run."""

    ok: bool
    verdict: str
    told: str  # the verdict's sentence, what does not hold, and the results folder: an assertion's text
    folder: Path
    figures: Mapping[str, Any]  # absolute: {point: {name: figure}} of what was checked
    ratios: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By metric, of a gate: of each round the ratio to base, above 1 is worse; of the last measurement."""
    gate: Mapping[str, Any] | None = None  # gate.json

    @property
    def inconclusive(self) -> bool:
        """Whether the gate could not tell, and everything else holds."""
        return self.verdict == "inconclusive"


@dataclass(frozen=True)
class Asked:
    """What a test asks for; texts with their units, as the command line has them."""

    scenario: str
    spec: str
    against: str | None = None
    metrics: Sequence[str] = ()
    margin: Sequence[str] = ()
    max_time: str = "60s"
    rounds: int | None = None
    retry: bool = False
    at: Mapping[str, str] = field(default_factory=dict)  # values of axes
    warmup: str | None = None
    measure: str | None = None


def check(asked: Asked, limits: Mapping[str, object], results: Path | None = None) -> Checked:
    """Measure and judge; raises what `bench.gate.run.run` and a run raise."""
    read = [parse(name, given) for name, given in limits.items()]
    if asked.against is None and not read:
        raise UsageError('nothing to check: give a limit, such as p99="<= 20 ms" or lost=0, or a side to compare with: against="kafka"')
    loaded = scenario.load(asked.scenario).override(
        axes={name: [value] for name, value in asked.at.items()}, warmup=asked.warmup, measure=asked.measure,
    )  # fmt: skip
    return _against(asked, loaded, read, results) if asked.against is not None else _alone(asked, loaded, read, results)


def _against(asked: Asked, loaded: Scenario, limits: Sequence[Limit], results: Path | None) -> Checked:
    assert asked.against is not None
    options = Options(
        asked.against, asked.spec, command.read_metrics("metrics", asked.metrics), command.read_margins(asked.margin),
        units.of_option("max_time", asked.max_time, units.duration_s), asked.rounds, "retry" if asked.retry else "",
    )  # fmt: skip
    result = run(loaded, options, results=results, command=_told(asked))
    found = _of(result.folder, "head")
    wrong = missed(limits, found)
    told = _text(asked, sentence(result.data).replace("**", "").replace("`", ""), wrong, result.folder)
    verdict = "failed" if wrong and result.verdict in ("passed", "inconclusive") else result.verdict
    return Checked(verdict == "passed", verdict, told, result.folder, figures(found), _ratios(result), result.data)


def _alone(asked: Asked, loaded: Scenario, limits: Sequence[Limit], results: Path | None) -> Checked:
    one = loaded.override(systems=[asked.spec], rounds=asked.rounds, lanes=False)
    writer = runner.create(one, results, command=_told(asked))
    code = runner.Runner(one, writer, Progress(quiet=True)).run()
    opened = store.open_run(writer.folder)
    if not opened.trials and opened.run["not_run"]:
        raise stage.absent(opened.run["not_run"])
    found = _of(writer.folder)
    broken = [f"{result.standing}: {result.why}" for result in found if result.standing in ("failed", "unsupported", "violated")]
    wrong = [*broken, *missed(limits, found)]
    ok = code == 0 and not wrong
    sentence_ = f"{'Passed' if ok else 'Failed'}: {asked.spec} " + ("holds " if ok else "was to hold ") + _asked_for(limits)
    return Checked(ok, "passed" if ok else "failed", _text(asked, sentence_, wrong, writer.folder), writer.folder, figures(found))


def _of(folder: Path, variant: str | None = None) -> list[VariantPoint]:
    points = summarise(store.open_run(folder))
    return [one for point in points for one in point.results if variant is None or one.id == variant]


def _ratios(result: Result) -> dict[str, list[float]]:
    """Round by round, as worse in the same direction for all."""
    measured = result.data["measurements"][-1:]
    found: dict[str, list[float]] = {}
    for name, sides in (measured[0]["figures"] if measured else {}).items():
        pairs = [(base, head) for base, head in zip(sides["base"], sides["head"], strict=True) if base is not None and head is not None]
        found[name] = [base / head if METRICS[name].higher_is_better else head / base for base, head in pairs]
    return {name: ratios for name, ratios in found.items() if ratios}


def medians(gate: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """{side: {metric: median over the rounds of the last measurement}} of gate.json, in /s, ns and B."""
    measured = gate["measurements"][-1:]
    by_metric = measured[0]["figures"] if measured else {}
    return {side: {name: median(sides[side]) for name, sides in by_metric.items()} for side in ("base", "head")}


def _text(asked: Asked, said: str, wrong: Sequence[str], folder: Path) -> str:
    return "\n".join([f"{asked.scenario}: {said}", *(f"  {one}" for one in wrong), f"  results: {folder}"])


def _asked_for(limits: Sequence[Limit]) -> str:
    return ", ".join(f"{one.name} {one.text}" for one in limits)


def _told(asked: Asked) -> str:
    against = f", against={asked.against!r}" if asked.against else ""
    return f"brokerbench.check({asked.scenario!r}, {asked.spec!r}{against})"
