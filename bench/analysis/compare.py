"""Comparing two systems, or two revisions of one, by rounds that both ran: ratio, interval, verdict (pure).

A round is a block: what disturbed it hit both sides, so only ratios *within* a round are looked at. Everything is computed
on the logarithm of head / base, so that swapping the two sides inverts ratio and interval and turns better into worse, exactly.

- estimate: Hodges-Lehmann on the paired log-ratios, with the exact signed-rank interval (``signed_rank``).
- several series (servers restarted between them): rounds of one series share what its start gave them, so an interval over all
  rounds is too sure. A bootstrap resamples series, then rounds within; its standard error, times sqrt(k/(k-1)), with Student's t on
  k-1 degrees of freedom (k series), gives a second interval; the wider end counts on each side, and the larger p. Davison & Hinkley,
  Bootstrap Methods and their Application (1997), section 3.8; Hesterberg, The American Statistician 69 (2015):371-386, for "t with
  bootstrap standard error" and the correction for few.
- families: Holm, Scandinavian Journal of Statistics 6 (1979):65-70, for a gate (no false alarm at all); Benjamini & Hochberg, Journal
  of the Royal Statistical Society B 57 (1995):289-300, for a report (few of its claims are false).
- smallest effect: Bloom, Evaluation Review 19 (1995):547-556, "minimum detectable effect", with the margin.

What is missing is never "same": a round, a metric or a series that one side lacks makes its comparison inconclusive and says so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import special, stats

from bench.analysis import signed_rank
from bench.analysis.signed_rank import ROUNDS_MIN, Floats
from bench.errors import UsageError

Round = tuple[int, int]
"""Series and round."""
Rounds = Mapping[Round, float]
"""One figure of one side by round, in any unit: only ratios are used."""
Verdict = Literal["better", "worse", "same", "inconclusive"]
"""Of head, compared with base."""

ALPHA = 0.05
POWER = 0.8
"""How surely the smallest effect would have been seen."""
RESAMPLES = 1000
_SEED = 20_261_122  # fixed: the same files give the same report
_EDGE = 1e-9  # a ratio at the margin is within it, however logarithms round
_CHUNK = 2_000_000  # Walsh averages held at a time


def round_of(trial: Mapping[str, Any]) -> Round:
    """Which round a trial (trial.json) is of."""
    return int(trial.get("series") or 0), int(trial.get("round") or 0)


@dataclass(frozen=True)
class Metric:
    """What is compared. ``margin``: the change that matters, as a share (0.1: ratios from 1/1.1 to 1.1 are as good as equal)."""

    name: str
    higher_is_better: bool
    margin: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin of {self.name}: {self.margin}; a share of at least 0 is needed")


@dataclass(frozen=True)
class Effect:
    """Head / base over the rounds that both have. Logs are natural; None where the rounds are too few."""

    rounds: int
    series: int
    log: float | None
    log_low: float | None
    log_high: float | None
    p: float | None  # exact, two-sided, for a ratio of 1; of several series the larger of both
    error: float | None  # standard error of log that the interval stands for
    freedom: int  # degrees of freedom of it
    unpaired: tuple[str, ...] = ()  # what one side lacks, in words

    @property
    def ratio(self) -> float | None:
        """Head / base."""
        return None if self.log is None else math.exp(self.log)

    @property
    def low(self) -> float | None:
        """The interval's lower end, as a ratio."""
        return None if self.log_low is None else math.exp(self.log_low)

    @property
    def high(self) -> float | None:
        """The interval's upper end, as a ratio."""
        return None if self.log_high is None else math.exp(self.log_high)


@dataclass(frozen=True)
class Comparison:
    """One metric's verdict, and what it rests on."""

    metric: Metric
    effect: Effect
    p: float | None  # adjusted for the family
    verdict: Verdict
    why: str  # of "inconclusive"; else ""
    smallest: float | None  # the smallest effect that could have been seen, as a ratio above 1: ``smallest_effect``

    @property
    def missing(self) -> bool:
        """Whether a side lacks something that the other has: a gate fails on it."""
        return bool(self.effect.unpaired)


# ---- one pair


def estimate(base: Rounds, head: Rounds, *, alpha: float = ALPHA, expected: Collection[Round] = ()) -> Effect:
    """Head / base over paired rounds. ``expected``: rounds that both ought to have, so that one that both lack is told too.

    A figure that is zero, negative or not finite has no ratio: its round counts as missing.
    """
    paired: dict[int, list[float]] = {}
    unpaired = []
    for at in sorted({*base, *head, *expected}):
        lacking = [name for name, side in (("base", base), ("head", head)) if not _usable(side.get(at))]
        if lacking:
            unpaired.append(f"round {at[1]} of series {at[0]} has no figure in {' and '.join(lacking)}")
        else:
            paired.setdefault(at[0], []).append(math.log(head[at]) - math.log(base[at]))
    series = [np.array(values) for values in paired.values()]
    differences = np.concatenate(series) if series else np.zeros(0)
    n = len(differences)
    log = signed_rank.centre(differences) if n else None
    interval = signed_rank.interval(differences, alpha)
    if log is None or interval is None:
        return Effect(n, len(series), log, None, None, None, None, max(n - 1, 0), tuple(unpaired))
    low, high, p = interval.low, interval.high, signed_rank.p_value(differences)
    # The interval's true level, not 1 - alpha: with six rounds it is 96.9%.
    error, freedom = (high - low) / 2 / _student((1 + interval.level) / 2, n - 1), n - 1
    if len(series) > 1:
        own, its_freedom = _series_error(series), len(series) - 1
        half = own * _student(1 - alpha / 2, its_freedom)
        if half > (high - low) / 2:
            error, freedom = own, its_freedom
        low, high, p = min(low, log - half), max(high, log + half), max(p, _student_p(log, own, its_freedom))
    return Effect(n, len(series), log, low, high, p, error, freedom, tuple(unpaired))


def _usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _student(share: float, freedom: int) -> float:
    return float(special.stdtrit(freedom, share))


def _student_p(log: float, error: float, freedom: int) -> float:
    if error == 0:
        return 1.0 if log == 0 else 0.0
    return float(2 * special.stdtr(freedom, -abs(log) / error))


def _series_error(series: Sequence[Floats]) -> float:
    """Standard error of the Hodges-Lehmann estimate when series are resampled, then rounds within each, times sqrt(k/(k-1))."""
    k, longest = len(series), max(len(values) for values in series)
    table = np.full((k, longest), np.nan)
    for row, values in zip(table, series, strict=True):
        row[: len(values)] = values
    sizes = np.array([len(values) for values in series])
    i, j = np.triu_indices(k * longest)
    random = np.random.default_rng(_SEED)
    median = np.median if sizes.min() == longest else np.nanmedian
    found: list[Floats] = []
    left = RESAMPLES
    while left:
        count = min(left, max(_CHUNK // len(i), 1))
        left -= count
        drawn = random.integers(0, k, (count, k))
        within = (random.random((count, k, longest)) * sizes[drawn][..., None]).astype(np.int64)
        values = table[drawn[..., None], within]
        values[np.arange(longest) >= sizes[drawn][..., None]] = np.nan  # a short series gives as many as it has
        flat = values.reshape(count, k * longest)
        found.append(np.asarray(median((flat[:, i] + flat[:, j]) / 2, axis=1), dtype=np.float64))
    return float(np.std(np.concatenate(found)) * math.sqrt(k / (k - 1)))


def ratio_of_medians(base: Rounds, head: Rounds, *, alpha: float = ALPHA) -> tuple[float, float, float]:
    """Median(head) / median(base), low, high: a paired percentile bootstrap over the rounds that both have (one series).

    For where the ratio of typical values is asked for, not the typical ratio; its interval is approximate, the exact one is
    ``estimate``'s. Seeded: equal input gives equal output.

    Raises:
        ValueError: fewer than ``ROUNDS_MIN`` paired rounds, or one that is not a positive number.
    """
    both = sorted(base.keys() & head.keys())
    if len(both) < ROUNDS_MIN or not all(_usable(side[at]) for at in both for side in (base, head)):
        raise ValueError(f"{len(both)} paired rounds: {ROUNDS_MIN} with positive figures are needed")
    ours, theirs = np.array([head[at] for at in both]), np.array([base[at] for at in both])

    def statistic(h: Floats, b: Floats, axis: int = -1) -> Floats:
        return np.asarray(np.log(np.median(h, axis=axis)) - np.log(np.median(b, axis=axis)))

    # Percentile: BCa's acceleration comes from a jackknife, which says nothing about a median.
    found = stats.bootstrap(
        (ours, theirs), statistic, paired=True, vectorized=True, n_resamples=RESAMPLES * 5, confidence_level=1 - alpha,
        method="percentile", rng=np.random.default_rng(_SEED),
    ).confidence_interval  # fmt: skip
    return float(np.median(ours) / np.median(theirs)), math.exp(float(found.low)), math.exp(float(found.high))


def smallest_effect(effect: Effect, margin: float, power: float = POWER) -> float | None:
    """The smallest true ratio (above 1) that these rounds would have called better or worse with a probability of about ``power``.

    To be called, the interval has to leave 1 out and the estimate to be past the margin, so on the log scale it is
    max(h, log(1 + margin)) + t(power) s, with h half the interval's width, s the standard error that the interval stands for and t
    Student's quantile on its degrees of freedom (Bloom 1995). Of the comparison alone: a family's adjustment asks for more. None
    where there is no interval. It says how fine these rounds were, not how large the difference is; being estimated from their own
    scatter, it is itself uncertain. Simulated at its median with 6 to 40 normal rounds, 73 to 80 of 100 were found for 0.8.
    """
    if effect.error is None or effect.log_low is None or effect.log_high is None:
        return None
    needed = max((effect.log_high - effect.log_low) / 2, math.log1p(margin))
    return math.exp(needed + _student(power, effect.freedom) * effect.error)


# ---- families and verdicts


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p, in the order given: below alpha for any true "no difference" with probability alpha at most."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for step, at in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        highest = max(highest, min(1.0, (len(ps) - step) * ps[at]))
        adjusted[at] = highest
    return adjusted


def false_discovery(ps: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p, in the order given."""
    return [float(p) for p in stats.false_discovery_control(ps, method="bh")] if ps else []


def judge(
    effects: Sequence[tuple[Metric, Effect]], *, adjust: Literal["holm", "false-discovery"], alpha: float = ALPHA
) -> tuple[Comparison, ...]:
    """A verdict for each, adjusted as one family; one without a p counts in the family as a p of 1.

    - **same**: the whole interval lies within the margin.
    - **better, worse**: the adjusted p is at most alpha (one comparison: the interval leaves 1 out) *and* the estimate is past the margin.
    - **inconclusive**: neither, or the rounds are too few, or a side lacks something.
    """
    ps = [1.0 if effect.p is None else effect.p for _, effect in effects]
    adjusted = holm(ps) if adjust == "holm" else false_discovery(ps)
    return tuple(_judged(metric, effect, p, len(effects), alpha) for (metric, effect), p in zip(effects, adjusted, strict=True))


def _judged(metric: Metric, effect: Effect, p: float, family: int, alpha: float) -> Comparison:
    verdict, why = _verdict(metric, effect, p, family, alpha)
    return Comparison(metric, effect, None if effect.p is None else p, verdict, why, smallest_effect(effect, metric.margin))


def _verdict(metric: Metric, effect: Effect, p: float, family: int, alpha: float) -> tuple[Verdict, str]:
    if effect.unpaired:
        more = f" and {len(effect.unpaired) - 1} more" if len(effect.unpaired) > 1 else ""
        return "inconclusive", f"missing: {effect.unpaired[0]}{more}"
    if effect.log is None or effect.log_low is None or effect.log_high is None:
        return "inconclusive", f"{effect.rounds} paired rounds; an interval needs {signed_rank.rounds_needed(alpha)}"
    margin = math.log1p(metric.margin) + _EDGE
    if -margin <= effect.log_low and effect.log_high <= margin:
        return "same", ""
    if p > alpha:
        among = f" among {family} comparisons" if family > 1 else ""
        return "inconclusive", f"a ratio of 1 is not ruled out (p = {p:.2g}{among})"
    if abs(effect.log) <= margin:
        return "inconclusive", f"different, but not known to be by more than the margin of {metric.margin:.0%}"
    return ("better" if (effect.log > 0) == metric.higher_is_better else "worse"), ""


def compare_metrics(
    base: Mapping[str, Rounds],
    head: Mapping[str, Rounds],
    metrics: Sequence[Metric],
    *,
    alpha: float = ALPHA,
    expected: Collection[Round] = (),
) -> tuple[Comparison, ...]:
    """Every metric of head against base, as a gate does: one family under Holm; a metric that a side lacks is inconclusive, ``missing``.

    Raises:
        UsageError: a side has a metric that ``metrics`` does not name (a renamed one would pass unseen).
    """
    known = {metric.name for metric in metrics}
    strangers = sorted((base.keys() | head.keys()) - known)
    if strangers:
        raise UsageError(f"{', '.join(strangers)}: no such metric here; known: {', '.join(sorted(known))}")
    effects = []
    for metric in metrics:
        lacking = [name for name, side in (("base", base), ("head", head)) if not side.get(metric.name)]
        if lacking:
            effects.append((metric, Effect(0, 0, None, None, None, None, None, 0, (f"{metric.name} in {' and '.join(lacking)}",))))
        else:
            effects.append((metric, estimate(base[metric.name], head[metric.name], alpha=alpha, expected=expected)))
    return judge(effects, adjust="holm", alpha=alpha)
