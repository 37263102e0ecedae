"""Distributions of message sizes as tables: the size of message n is that of row n modulo ROWS. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from statistics import NormalDist

ROWS = 1024  # so many messages in a row have the distribution exactly


def lognormal(median: float, sigma: float, low: float, high: float = math.inf) -> list[int]:
    """Sizes whose logarithms are normal about log(median) with standard deviation ``sigma``; cut off at ``low`` and ``high``.

    The quantiles at (i + 1/2) / ROWS: what is rarer than one in 2,048 does not occur.
    """
    normal = NormalDist(math.log(median), sigma)
    return [round(min(max(math.exp(normal.inv_cdf((i + 0.5) / ROWS)), low), high)) for i in range(ROWS)]


def uniform(low: int, high: int) -> list[int]:
    """Sizes spread evenly from ``low`` to ``high``."""
    return [round(low + (high - low) * (i + 0.5) / ROWS) for i in range(ROWS)]


def choice(weights: Mapping[int, float]) -> list[int]:
    """Each size as often as its weight says, to the nearest row (largest remainders). Raises ValueError for one that gets none."""
    total = sum(weights.values())
    exact = {size: weight * ROWS / total for size, weight in weights.items()}
    rows = {size: int(share) for size, share in exact.items()}
    left = ROWS - sum(rows.values())
    for size in sorted(exact, key=lambda size: rows[size] - exact[size])[:left]:
        rows[size] += 1
    for size, count in rows.items():
        if not count:
            raise ValueError(f"a size of {size:,} B has {exact[size] / ROWS:.3%} of the messages; at least one in {ROWS:,}")
    return [size for size, count in rows.items() for _ in range(count)]


def shuffled(sizes: Iterable[int], seed: int) -> tuple[int, ...]:
    """The table in the order of sending."""
    order = list(sizes)
    random.Random(seed).shuffle(order)
    return tuple(order)
