"""Ladders, step by step: what each changes, what it costs in latency and CPU, and whether it changes more than it says (pure).

A ladder is declared in scenario.yaml (bench/scenario_ladder.py). Each step is held against the one that it names (the one before, unless
``after`` says otherwise), round by round, as each round ran both: bench.analysis.compare from six paired rounds on; with fewer the
median of the ratios and their range, which is no interval. Latencies are of rounds that reached their rate, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bench import differences, marked_yaml
from bench.analysis.compare import Round, Rounds, estimate, round_of
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.analysis.summary import REFERENCES, PointSummary, RunLike, Spread, VariantPoint, number_at, percentile
from bench.differences import ASPECTS, Difference
from bench.errors import UsageError

Json = Mapping[str, Any]

LATENCIES = {"p50": 0.5, "p99": 0.99}
COSTS = ("total", "producers", "intermediary", "consumers")
"""CPU a delivered message: of all, and by who used it."""


@dataclass(frozen=True)
class Claim:
    """A step as the scenario declares it."""

    step: str
    spec: str
    changes: tuple[str, ...]
    after: str  # the step that it is compared with; "" of the first


@dataclass(frozen=True)
class Ratio:
    """Head / base over the rounds of both; ``low`` and ``high``: the 95% interval, or (``exact`` False) the range over rounds."""

    ratio: float
    low: float | None
    high: float | None
    exact: bool
    rounds: int

    @property
    def apart(self) -> bool:
        """Whether 1 lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Step:
    """One step and what it is compared with; both None where no trial of it is in the run."""

    claim: Claim
    result: VariantPoint | None
    base: VariantPoint | None
    differences: tuple[Difference, ...] = ()
    undeclared: tuple[str, ...] = ()  # aspects that differ, and that it does not name
    unseen: tuple[str, ...] = ()  # that it names, and that do not differ
    # By LATENCIES and "cpu" (COSTS: their values are in the results); what lacks has no figure.
    ratios: Mapping[str, Ratio] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """Whether what it claims is what differs."""
        return not self.undeclared and not self.unseen


@dataclass(frozen=True)
class Pair:
    """A variant without an intermediary and one with, of the same point, that are no step of a ladder."""

    direct: VariantPoint
    through: VariantPoint
    differences: tuple[Difference, ...]
    ratios: Mapping[str, Ratio]


@lru_cache(maxsize=8)  # asked for at every point of a run
def claims(scenario_text: str) -> tuple[Claim, ...]:
    """The steps that a run's scenario.yaml declares; () where there are none, or the text is not such a file."""
    try:
        steps = marked_yaml.read(scenario_text.encode(), "scenario.yaml").data.get("ladder")
    except UsageError:
        return ()
    if not isinstance(steps, list) or not all(isinstance(one, dict) and {"step", "system"} <= one.keys() for one in steps):
        return ()
    names = [str(one["step"]) for one in steps]
    befores = ["", *names]
    return tuple(
        Claim(name, str(one["system"]), _words(one.get("changes")), str(one.get("after") or before))
        for one, name, before in zip(steps, names, befores, strict=False)
    )


def of(run: RunLike, point: PointSummary) -> tuple[Step, ...]:
    """The ladder of a run at one point; () where the scenario declares none, or nothing of it was measured."""
    declared = claims(run.scenario_text)
    by_spec = {str(result.variant.get("spec")): result for result in point.results}
    found = {claim.step: by_spec.get(claim.spec) for claim in declared}
    if not any(found.values()):
        return ()
    return tuple(_step(claim, found[claim.step], found.get(claim.after)) for claim in declared)


def pairs(points: Sequence[PointSummary], steps: Sequence[Step]) -> Iterator[tuple[PointSummary, tuple[Pair, ...]]]:
    """Every variant without an intermediary against every one with, at the last point that has latencies of both; ``steps``: left out.

    Emulators and the harness's floor are no sides: the one says nothing of its service, the other is no system. Nor is what was measured
    while something was broken.
    """
    known = {frozenset((step.result.id, step.base.id)) for step in steps if step.result and step.base}
    last: dict[tuple[str, str], tuple[PointSummary, Pair]] = {}
    for point in points:
        sides = [r for r in point.results if _stands(r)]
        for direct in (r for r in sides if not r.variant.get("intermediary")):
            for through in (r for r in sides if r.variant.get("intermediary")):
                if frozenset((direct.id, through.id)) in known:
                    continue
                pair = Pair(direct, through, differences.between(_side(direct), _side(through)), _ratios(direct, through))
                before = last.get((direct.id, through.id))
                if before is None or pair.ratios or not before[1].ratios:
                    last[direct.id, through.id] = point, pair
    for point in points:
        here = tuple(pair for at, pair in last.values() if at is point)
        if here:
            yield point, here


def by_round(result: VariantPoint, figure: str) -> Rounds:
    """A figure of a variant by round: "p50", "p99" (ns, of rounds that reached their rate), or one of COSTS (ns a message)."""
    found: dict[Round, float] = {}
    if figure in LATENCIES and result.latency.get("e2e") is None:
        return found
    for trial in result.trials:
        value = percentile(trial, figure, LATENCIES[figure]) if figure in LATENCIES else number_at(trial, "cost", f"{figure}_ns")
        if value is not None and trial.get("status") == "ok":
            found[round_of(trial)] = value
    return found


def ratio(base: Rounds, head: Rounds) -> Ratio | None:
    """Head / base over the rounds that both have; None where there is none."""
    both = [at for at in head if at in base and base[at] > 0 and head[at] > 0]
    spread = Spread.of(head[at] / base[at] for at in both)
    if spread is None:
        return None
    if len(both) < ROUNDS_MIN:
        one = len(both) == 1
        return Ratio(spread.median, None if one else spread.low, None if one else spread.high, exact=False, rounds=len(both))
    effect = estimate({at: base[at] for at in both}, {at: head[at] for at in both})
    assert effect.ratio is not None  # there are rounds
    return Ratio(effect.ratio, effect.low, effect.high, exact=True, rounds=len(both))


def _step(claim: Claim, result: VariantPoint | None, base: VariantPoint | None) -> Step:
    if result is None or base is None:
        return Step(claim, result, base)
    found = differences.between(_side(base), _side(result))
    changes = claim.changes
    return Step(
        claim, result, base, found, differences.undeclared(found, changes), differences.unseen(found, changes), _ratios(base, result)
    )


def _ratios(base: VariantPoint, head: VariantPoint) -> dict[str, Ratio]:
    figures = {**{name: name for name in LATENCIES}, "cpu": "total"}
    found = {name: ratio(by_round(base, figure), by_round(head, figure)) for name, figure in figures.items()}
    return {name: one for name, one in found.items() if one is not None}


def _stands(result: VariantPoint) -> bool:
    """Whether it is a side of a pair: a system, measured while nothing was broken."""
    broken = any(trial.get("phases") for trial in result.trials)
    return bool(result.rate) and not result.emulator and not broken and result.variant.get("system") not in REFERENCES


def _side(result: VariantPoint) -> Json:
    return {"variant": result.variant, "server": result.server}


def _words(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(name for name in listed if name in ASPECTS)
