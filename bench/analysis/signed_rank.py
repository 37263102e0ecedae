"""Wilcoxon's signed ranks on the differences of pairs: estimate, exact interval, exact p, all by Walsh averages (pure).

Sources: Wilcoxon 1945 (Biometrics Bulletin 1:80-83); Hodges & Lehmann 1963 (Annals of Mathematical Statistics 34:598-611) for the
estimate; Hollander & Wolfe, Nonparametric Statistical Methods, sections 3.1-3.3, for the interval (Tukey's) and its exact level.

What is assumed: differences are independent and symmetric about one centre. Nothing is assumed of their shape.

**Ties and zeros.** The null distribution is the one without ties. A Walsh average that is exactly the value under test counts for
the null, on both sides; so with ties and zeros the interval is wider and the p larger than they need be, never the other way, and
they always agree: p <= alpha exactly where the interval of level 1 - alpha leaves 0 out. Zeros are not dropped (Wilcoxon's way
forgets rounds that say "no difference"). Without ties p is ``scipy.stats.wilcoxon(x, method="exact")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS_MIN = 6
"""Fewer have no interval of 95%: the smallest p of n pairs is 2^(1-n)."""
_DIGITS = 12
"""Walsh averages are kept to so many decimals: what logarithms round differently is a tie."""


@dataclass(frozen=True)
class Interval:
    """Closed; ``level`` is what it truly covers, at least what was asked for, as the distribution is discrete."""

    low: float
    high: float
    level: float


@lru_cache(maxsize=64)
def null_distribution(n: int) -> Floats:
    """P(T = t) for t = 0 ... n(n+1)/2, T the sum of the positive ranks of n differences without ties, centre 0.

    Rank k is positive with probability one half, so it is the convolution of n coins of values 0 and k. Multiples of 2^-n:
    exact in double precision up to n = 53.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"n = {n}: at least one difference is needed")
    chances = np.ones(1)
    for rank in range(1, n + 1):
        none, all_ = np.zeros(rank), np.asarray(chances)
        chances = (np.concatenate([all_, none]) + np.concatenate([none, all_])) / 2
    chances.flags.writeable = False  # it is shared by the cache
    return chances


@lru_cache(maxsize=64)
def _both_tails(n: int) -> Floats:
    """2 P(T <= t): the p of each t below the middle. One table for test and interval, so that they cannot disagree."""
    tails = 2 * np.cumsum(null_distribution(n))
    tails.flags.writeable = False
    return tails


def rounds_needed(alpha: float) -> int:
    """The fewest pairs whose p can reach alpha: 6 for 0.05, 8 for 0.05 / 4 (four metrics under Holm)."""
    n = ROUNDS_MIN
    while 2.0 ** (1 - n) > alpha:
        n += 1
    return n


def walsh_averages(differences: Sequence[float] | Floats) -> Floats:
    """(x_i + x_j) / 2 for all i <= j, sorted: n(n+1)/2 of them."""
    x = np.asarray(differences, dtype=np.float64)
    i, j = np.triu_indices(len(x))
    return np.sort(np.round((x[i] + x[j]) / 2, _DIGITS))


def centre(differences: Sequence[float] | Floats) -> float:
    """Hodges and Lehmann's estimate: the median of the Walsh averages."""
    return float(np.median(walsh_averages(differences)))


def p_value(differences: Sequence[float] | Floats) -> float:
    """Exact and two-sided, for "the centre is 0". By Tukey's identity T is the number of positive Walsh averages."""
    walsh = walsh_averages(differences)
    extreme = min(int(np.sum(walsh >= 0)), int(np.sum(walsh <= 0)))
    return min(1.0, float(_both_tails(len(differences))[extreme]))


def interval(differences: Sequence[float] | Floats, alpha: float) -> Interval | None:
    """Every centre that the exact test does not reject at alpha; None where the pairs are too few for it to reject any.

    Also None below ``ROUNDS_MIN`` pairs, whatever alpha.
    """
    n = len(differences)
    if n < ROUNDS_MIN:
        return None
    tails = _both_tails(n)
    cut = int(np.searchsorted(tails, alpha, side="right"))  # how many Walsh averages are cut off on each side
    if cut == 0:
        return None
    walsh = walsh_averages(differences)
    return Interval(float(walsh[cut - 1]), float(walsh[len(walsh) - cut]), 1 - float(tails[cut - 1]))
