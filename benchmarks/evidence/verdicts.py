"""What recorded rounds say about the verdicts: how often they are false, how often they find what is there (pure)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis import compare, signed_rank
from bench.analysis.compare import Comparison, Effect, Metric, Rounds
from bench.analysis.signed_rank import Floats

Values = Sequence[float | None]
"""One figure of one variant, by round; None where that round has none."""
Pair = tuple[Values, Values]
"""Base and head."""

GATE_FAMILY = 4
"""Metrics that a gate judges together: rate, p50, p99, CPU."""
_NOTHING = Effect(0, 0, None, None, None, None, None, 0)  # counts in a family as a p of 1


def rounds_of(values: Values) -> Rounds:
    """As the comparison takes them: one series."""
    return {(0, number): value for number, value in enumerate(values) if value is not None}


def judge_all(pairs: Mapping[str, Pair], metrics: Sequence[Metric]) -> tuple[Comparison, ...]:
    """A gate's verdicts on one run: all metrics one family, under Holm; a round that a side lacks is missing."""
    longest = max((len(side) for pair in pairs.values() for side in pair), default=0)
    base = {name: rounds_of(pair[0]) for name, pair in pairs.items()}
    head = {name: rounds_of(pair[1]) for name, pair in pairs.items()}
    return compare.compare_metrics(base, head, metrics, expected=[(0, number) for number in range(longest)])


def excludes_one(effect: Effect) -> bool:
    """Whether the comparison's own interval leaves 1 out: what a verdict by the interval alone would be."""
    return effect.log_low is not None and effect.log_high is not None and (effect.log_low > 0 or effect.log_high < 0)


def called(pair: Pair, metric: Metric) -> bool:
    """Whether a comparison of this pair on its own says better or worse."""
    effect = compare.estimate(rounds_of(pair[0]), rounds_of(pair[1]))
    return compare.judge([(metric, effect)], adjust="holm")[0].verdict in ("better", "worse")


def medians(pair: Pair) -> tuple[float, float, float] | None:
    """The second estimate: ratio of medians with its bootstrap interval; None where the rounds do not bear it."""
    base, head = rounds_of(pair[0]), rounds_of(pair[1])
    try:
        return compare.ratio_of_medians(base, head)
    except ValueError:
        return None


# ---- A/A: every verdict but "same" and "inconclusive" is false


@dataclass(frozen=True)
class Silence:
    """One metric over many runs of two equal sides. Ratios are head / base; those "off" are taken above 1."""

    metric: str
    margin: float
    runs: int
    better: int
    worse: int
    same: int
    inconclusive: int
    without_margin: int  # better or worse, were the margin 0: the whole family under Holm
    interval_alone: int  # own intervals that leave 1 out
    medians_alone: int  # the same by the ratio of medians and its bootstrap
    off_median: float | None  # how far the estimates lie from 1
    off_most: float | None
    visible_median: float | None  # smallest effects that would have been seen
    visible_most: float | None

    @property
    def false(self) -> int:
        """Verdicts that are wrong."""
        return self.better + self.worse


def silence(runs: Sequence[Mapping[str, Pair]], metrics: Sequence[Metric]) -> list[Silence]:
    """Count verdicts over runs of two equal sides, metric by metric."""
    judged = [judge_all(run, metrics) for run in runs]
    bare = [judge_all(run, [replace(metric, margin=0.0) for metric in metrics]) for run in runs]
    return [
        _silence(metric, [one[i] for one in judged], [one[i] for one in bare], [run[metric.name] for run in runs])
        for i, metric in enumerate(metrics)
    ]


def _silence(metric: Metric, found: Sequence[Comparison], bare: Sequence[Comparison], pairs: Sequence[Pair]) -> Silence:
    count = {word: sum(one.verdict == word for one in found) for word in ("better", "worse", "same", "inconclusive")}
    off = [math.exp(abs(one.effect.log)) for one in found if one.effect.log is not None]
    visible = [one.smallest for one in found if one.smallest is not None]
    second = [estimate for estimate in map(medians, pairs) if estimate is not None]
    return Silence(
        metric.name, metric.margin, len(found), **count,
        without_margin=sum(one.verdict in ("better", "worse") for one in bare),
        interval_alone=sum(excludes_one(one.effect) for one in found),
        medians_alone=sum(low > 1 or high < 1 for _, low, high in second),
        off_median=statistics.median(off) if off else None, off_most=max(off, default=None),
        visible_median=statistics.median(visible) if visible else None, visible_most=max(visible, default=None),
    )  # fmt: skip


def confirmed(words: Sequence[str]) -> int:
    """Of verdicts of one run after another: how many are called and said again by the next (after the last comes the first)."""
    following = [*words[1:], *words[:1]] if len(words) > 1 else []
    return sum(word in ("better", "worse") and word == after for word, after in zip(words, following, strict=False))


# ---- power: "worse" is right


@dataclass(frozen=True)
class Power:
    """How often the first ``rounds`` rounds of runs with a known slowdown were called what, as counts of ``runs``."""

    metric: str
    slower: float  # as injected, percent
    margin: float
    rounds: int
    runs: int
    found: int  # "worse", judged alone
    found_in_family: int  # "worse" where it is one of a gate's metrics and the others show nothing: Holm asks for a smaller p
    same: int
    inconclusive: int
    false: int  # "better"
    resampled: bool = False  # of recorded rounds, not measured


def power(
    metric: Metric, slower: float, pairs: Iterable[Pair], rounds: int, margins: Sequence[float], *, resampled: bool = False
) -> list[Power]:
    """Judge the first ``rounds`` rounds of each pair with each of the margins."""
    expected = [(0, number) for number in range(rounds)]
    effects = [compare.estimate(rounds_of(base[:rounds]), rounds_of(head[:rounds]), expected=expected) for base, head in pairs]
    return [_power(replace(metric, margin=margin), slower, effects, rounds, resampled=resampled) for margin in margins]


def _power(metric: Metric, slower: float, effects: Sequence[Effect], rounds: int, *, resampled: bool) -> Power:
    words = [compare.judge([(metric, effect)], adjust="holm")[0].verdict for effect in effects]
    others = [(metric, _NOTHING)] * (GATE_FAMILY - 1)
    in_family = [compare.judge([(metric, effect), *others], adjust="holm")[0].verdict for effect in effects]
    return Power(
        metric.name, slower, metric.margin, rounds, len(words), words.count("worse"), in_family.count("worse"), words.count("same"),
        words.count("inconclusive"), words.count("better"), resampled,
    )  # fmt: skip


def pooled(pairs: Sequence[Pair]) -> Effect:
    """Head / base over all runs, each a series: what a slowdown truly came to."""
    sides: tuple[dict[compare.Round, float], dict[compare.Round, float]] = ({}, {})
    for series, pair in enumerate(pairs):
        for side, values in zip(sides, pair, strict=True):
            side.update({(series, number): value for (_, number), value in rounds_of(values).items()})
    both = sides[0].keys() & sides[1].keys()
    return compare.estimate({at: sides[0][at] for at in both}, {at: sides[1][at] for at in both})


def log_ratios(pair: Pair) -> Floats:
    """Of the rounds that both sides have, in their order."""
    return np.array([math.log(head / base) for base, head in zip(*pair, strict=True) if base and head])


def resample(groups: Sequence[Sequence[Pair]], ratio: float, *, rounds: int, draws: int, seed: int) -> list[Pair]:
    """Pairs whose true ratio is ``ratio`` and whose noise is that of recorded ones.

    ``groups``: the runs of one slowdown each; their own typical ratio is taken off each. A draw takes one run, then ``rounds`` of its
    rounds with replacement, so what distinguishes one start from another stays in; that neighbouring rounds are alike does not.
    """
    noise: list[Floats] = []
    for group in groups:
        logs = [log_ratios(pair) for pair in group]
        centre = signed_rank.centre(np.concatenate(logs))
        noise += [one - centre for one in logs if len(one)]
    random = np.random.default_rng(seed)
    drawn: list[Pair] = []
    for _ in range(draws):
        run = noise[random.integers(len(noise))]
        values = np.exp(run[random.integers(0, len(run), rounds)]) * ratio
        drawn.append(([1.0] * rounds, [float(value) for value in values]))
    return drawn
