"""How many rounds a gate has, and how long its trials are (pure).

The number of rounds is fixed before anything is known of the outcome: a gate that measured until it liked what it saw would be wrong more
often than its intervals say. It is decided after the first block, from the pace that this block had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.analysis import signed_rank
from bench.analysis.compare import ALPHA

ROUNDS_LEAST = 8
ROUNDS_MOST = 40  # more narrow an interval little, and the exact null distribution is of at most 53
WARMUP_S = 0.1
WINDOW_S = 0.3
WINDOW_MOST_S = 3.0
SAMPLES = {"p50": 100, "p99": 1000}  # ten beyond the percentile; p50 by the same care
_SPARE = 1.15  # of samples: what is late falls into no window


def rounds_needed(comparisons: int) -> int:
    """The fewest rounds that can call a difference: the smallest p that they can have, times the family, has to be within alpha; even."""
    needed = max(ROUNDS_LEAST, signed_rank.rounds_needed(ALPHA / comparisons))
    return needed + needed % 2


def rounds_that_fit(limit_s: float, spent_s: float, done: int, needed: int) -> int | None:
    """Rounds in all, an even number: ``done`` of them took ``spent_s``, ``limit_s`` is for all. None: fewer fit than are needed."""
    fit = int(limit_s / (spent_s / done) + 1e-9) if spent_s > 0 else ROUNDS_MOST
    fit = min(max(fit, done), ROUNDS_MOST)
    fit -= fit % 2
    return fit if fit >= needed else None


def time_needed_s(spent_s: float, done: int, needed: int) -> float:
    """What ``needed`` rounds take at the pace of the first ``done``: for the advice."""
    return math.ceil(spent_s / done * needed * 1.1)


def window_s(
    rate_per_s: float, groups: int, percentiles: Sequence[str], shortest_s: float = WINDOW_S, period_s: float = 0.0
) -> float | None:
    """The window of a trial at a set rate: long enough for the samples of its percentiles. None: that would be too long for a gate.

    ``period_s``: the time between two bursts, of which it has a whole number.
    """
    samples = max((SAMPLES[name] for name in percentiles), default=0) * _SPARE
    window = max(shortest_s, math.ceil(samples / (rate_per_s * groups) * 100) / 100)
    if period_s:
        window = math.ceil(window / period_s - 1e-9) * period_s
    return window if window <= WINDOW_MOST_S else None
