"""What a gate decides, from figures by round (pure).

A metric's *standing* in one measurement:

- **fails**: worse than base by its comparison (adjusted by Holm over all metrics of the gate) and past its margin.
- **passes**: better or same; or *not worse*: the estimate is not past the margin in the bad direction, and a change that is past what the
  gate has to see (`Asked.sees`) would have been seen.
- **unclear**: neither; and everything where the A/A lane was not silent.

A metric fails the gate only where two measurements, each with processes of its own, say so. A head that breaks a promise of its mode
which base keeps fails without any of this: an audit is no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.analysis.compare import Comparison, Metric, Rounds, compare_metrics, estimate, judge
from bench.analysis.signed_rank import ROUNDS_MIN
from bench.gate.asked import Asked, show_percent
from bench.gate.budget import SAMPLES
from bench.gate.schedule import BLOCK

Standing = Literal["fails", "passes", "unclear"]
Values = Sequence[float | None]
"""One side's figures by round; None where it has none."""
Figures = Mapping[str, Mapping[str, Values]]
"""{metric: {"base": Values, "head": Values}}."""
_EDGE = 1e-9


@dataclass(frozen=True)
class Row:
    """One metric in one measurement."""

    asked: Asked
    comparison: Comparison
    standing: Standing
    why: str  # of "unclear", else ""

    @property
    def word(self) -> str:
        """The verdict as people read it."""
        if self.standing == "unclear":
            return "inconclusive"
        return "not worse" if self.comparison.verdict == "inconclusive" else self.comparison.verdict

    def to_json(self) -> dict[str, Any]:
        """One of "rows" in gate.json."""
        effect = self.comparison.effect
        return {
            "metric": self.asked.name, "verdict": self.word, "standing": self.standing, "why": self.why, "rounds": effect.rounds,
            "ratio": effect.ratio, "low": effect.low, "high": effect.high, "p": self.comparison.p,
            "margin": self.asked.margin, "visible_from": self.comparison.smallest,
        }  # fmt: skip


@dataclass(frozen=True)
class Lane:
    """Base against itself. ``noise``: the widest ratio of a pair by metric; ``noisy``: metrics past interval and margin, in words."""

    pairs: int
    noise: Mapping[str, float]
    noisy: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Its part of gate.json."""
        return {"pairs": self.pairs, "noise": dict(self.noise), "noisy": list(self.noisy), "judged": self.pairs >= ROUNDS_MIN}


@dataclass(frozen=True)
class Measured:
    """One measurement, judged."""

    rows: tuple[Row, ...]
    lane: Lane


def judged(asked: Sequence[Asked], figures: Figures, rounds: int, no_latency: str = "") -> Measured:
    """Judge one measurement of ``rounds`` rounds; one that a side lacks makes its metric unclear.

    ``no_latency``: why latencies say nothing here (base does not keep up with the set rate), in words.
    """
    metrics = [Metric(one.name, one.higher_is_better, one.margin) for one in asked]
    base, head = (_rounds(figures, side) for side in ("base", "head"))
    expected = [(0, number) for number in range(rounds)]
    lane = of_lane(asked, figures)
    comparisons = compare_metrics(base, head, metrics, expected=expected)
    told = {one.name: no_latency if one.name in SAMPLES else "" for one in asked}
    rows = (_row(one, comparison, lane, told[one.name]) for one, comparison in zip(asked, comparisons, strict=True))
    return Measured(tuple(rows), lane)


def _rounds(figures: Figures, side: str) -> dict[str, Rounds]:
    return {name: _present(sides[side]) for name, sides in figures.items()}


def _present(values: Values) -> dict[tuple[int, int], float]:
    return {(0, number): value for number, value in enumerate(values) if value is not None}


def _row(asked: Asked, comparison: Comparison, lane: Lane, void: str) -> Row:
    standing, why = _standing(asked, comparison)
    if void and comparison.verdict != "better":  # a head that keeps up where base does not is better
        standing, why = "unclear", void
    elif lane.noisy:
        standing, why = "unclear", f"base differs from itself: {'; '.join(lane.noisy)}"
    return Row(asked, comparison, standing, why)


def _standing(asked: Asked, comparison: Comparison) -> tuple[Standing, str]:
    effect, smallest = comparison.effect, comparison.smallest
    if comparison.verdict == "worse":
        return "fails", ""
    if comparison.verdict in ("better", "same"):
        return "passes", ""
    if comparison.missing or effect.log is None or smallest is None:
        return "unclear", comparison.why
    bad = -effect.log if asked.higher_is_better else effect.log
    if bad > math.log1p(asked.margin) + _EDGE:
        return "unclear", f"seems worse by more than {show_percent(asked.margin)}, and {comparison.why}"
    if smallest > asked.sees:
        return "unclear", f"too noisy: only a change from {smallest:.2f}x on would have been seen; {asked.sees:.2f}x is asked for"
    return "passes", ""


def of_lane(asked: Sequence[Asked], figures: Figures) -> Lane:
    """Compare base's later trial of each block with its earlier one, each metric on its own; judged from six blocks on."""
    noise: dict[str, float] = {}
    noisy: list[str] = []
    most = 0
    for one in asked:
        values = figures[one.name]["base"]
        pairs = [
            (earlier, later)
            for earlier, later in zip(values[::BLOCK], values[1::BLOCK], strict=False)
            if earlier is not None and later is not None
        ]  # fmt: skip
        if not pairs:
            continue
        most = max(most, len(pairs))
        noise[one.name] = max(max(later / earlier, earlier / later) for earlier, later in pairs)
        if len(pairs) < ROUNDS_MIN:
            continue
        effect = estimate(_present([earlier for earlier, _ in pairs]), _present([later for _, later in pairs]))
        (found,) = judge([(Metric(one.name, one.higher_is_better, one.margin), effect)], adjust="holm")
        if found.verdict in ("better", "worse"):
            noisy.append(f"{one.title} {effect.ratio:.2f}x ({effect.low:.2f} to {effect.high:.2f}), later to earlier")
    return Lane(most, noise, tuple(noisy))


# ---- over several measurements


def final(standings: Sequence[Standing]) -> Standing:
    """A metric's standing over all measurements: it fails where two say so, else passes where one does."""
    if standings.count("fails") >= 2:
        return "fails"
    return "passes" if "passes" in standings else "unclear"


def again(measured: Sequence[Measured], *, retry: bool) -> str:
    """Why another measurement is needed: "confirmation", "retry" or "" (it is not).

    One confirmation, and before it one retry where that is wanted of what was unclear: at most three measurements.
    """
    by_metric = zip(*([row.standing for row in one.rows] for one in measured), strict=True)
    standings = [list(one) for one in by_metric]
    if any(final(one) == "fails" for one in standings):
        return ""
    retried = len(measured) > 1 and not any("fails" in one[:1] for one in standings)
    if len(measured) < 2 + retried and any("fails" in one and "passes" not in one for one in standings):
        return "confirmation"
    if retry and len(measured) == 1 and any(final(one) == "unclear" for one in standings):
        return "retry"
    return ""


Outcome = Literal["passed", "failed", "inconclusive", "base broken"]


def outcome(standings: Mapping[str, Standing], *, head_broken: bool, base_broken: bool) -> Outcome:
    """What the gate says."""
    if base_broken:
        return "base broken"
    if head_broken or "fails" in standings.values():
        return "failed"
    return "inconclusive" if "unclear" in standings.values() else "passed"


def exit_code(said: Outcome, on_inconclusive: str) -> int:
    """0 passed, 1 failed (or base breaks its promise: formats.md), 4 inconclusive unless that is to pass or to fail."""
    if said == "inconclusive":
        return {"pass": 0, "fail": 1}.get(on_inconclusive, 4)
    return 0 if said == "passed" else 1
